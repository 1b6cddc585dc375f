use crate::{
    control::hooks::events::EventEffect,
    identity::{Event, EventKind, ProviderEvents},
    store::Identity,
};

use super::*;

const PATH: &str = "/hooks/account-events";

impl Rig {
    /// What `token` says from now on of ada.
    fn event(&self, token: &str, kind: EventKind) {
        let identity = Identity { issuer: "https://id.test".into(), subject: "ada".into() };
        let mut digest = [0; 16];
        digest[..token.len().min(16)].copy_from_slice(&token.as_bytes()[..token.len().min(16)]);
        let told = ProviderEvents { identity, events: vec![Event { kind, digest }], gives: gifts() };
        self.stub.events.lock().insert(token.to_owned(), told);
    }

    async fn tell(&self, token: &str) -> EventEffect {
        let got = self.public(ask("POST", PATH).bearer(token)).await.ok();
        assert_eq!((got.status, got.body.len()), (StatusCode::OK, 0));
        match self.stub.heard.lock().last() {
            Some(EventResult::Handled(heard)) => *heard,
            other => panic!("{other:?}"),
        }
    }

    async fn remaining(&self) -> u64 {
        self.public(ask("GET", "/v1/account").bearer("id:ada")).await.ok().json()["remaining_s"].as_u64().unwrap()
    }
}

fn subscribed(active: bool, at: UnixMs) -> EventKind {
    EventKind::SubscriptionChanged { capabilities: vec!["pro".into(), "other".into()], active, at }
}

#[tokio::test]
async fn a_changed_password_ends_what_was_opened_before_and_nothing_else() {
    let rig = Rig::new().await;
    rig.stub.starting_credit_s.store(600, Ordering::Relaxed);
    let token = rig.activate("id:ada").await.ok().text("token");
    rig.event("early", EventKind::PasswordChanged { at: START });
    assert_eq!(rig.tell("early").await, EventEffect::PasswordChanged);
    rig.clock.advance(Millis::from_secs(10));
    rig.event("now", EventKind::PasswordChanged { at: rig.clock.wall() });
    assert_eq!(rig.tell("now").await, EventEffect::PasswordChanged);
    let shown = rig.public(ask("GET", "/v1/account").bearer("id:ada")).await.ok().json();
    assert_eq!(shown["session"]["end_reason"], "logged_out", "{token}");
    rig.activate("id:ada").await.ok();
    assert_eq!(rig.tell("now").await, EventEffect::Repeated);
    rig.event("older", EventKind::PasswordChanged { at: START.plus(Millis::from_secs(5)) });
    assert_eq!(rig.tell("older").await, EventEffect::Stale);
    let shown = rig.public(ask("GET", "/v1/account").bearer("id:ada")).await.ok().json();
    assert!(shown["session"]["end_reason"].is_null(), "{shown}");
}

#[tokio::test]
async fn a_subscription_gives_what_is_configured_once_a_period_however_often_it_is_told() {
    let rig = Rig::new().await;
    rig.event("buy", subscribed(true, START));
    assert_eq!(rig.tell("buy").await, EventEffect::SubscriptionChanged, "before she was ever seen");
    assert_eq!(rig.remaining().await, 600);
    let again = START.plus(Millis::from_secs(60));
    rig.event("cancel", subscribed(false, again));
    rig.event("restart", subscribed(true, again.plus(Millis::new(1))));
    for token in ["cancel", "restart", "restart", "buy", "cancel"] {
        rig.tell(token).await;
    }
    assert_eq!(rig.remaining().await, 600);
    rig.clock.advance(Millis::from_secs(86_400));
    assert_eq!((rig.remaining().await, rig.remaining().await), (1200, 1200));
    rig.event("end", subscribed(false, rig.clock.wall()));
    rig.tell("end").await;
    rig.event("late", subscribed(true, again.plus(Millis::new(2))));
    assert_eq!(rig.tell("late").await, EventEffect::Stale);
    rig.clock.advance(Millis::from_secs(86_400));
    assert_eq!(rig.remaining().await, 1200);
    let entries = rig.public(ask("GET", "/v1/account/entries").bearer("id:ada")).await.ok().json();
    let sources: Vec<_> = entries["entries"].as_array().unwrap().iter().map(|entry| &entry["source"]).collect();
    assert_eq!(sources, ["subscription"; 2]);
}

#[tokio::test]
async fn who_is_gone_is_gone_for_good() {
    let rig = Rig::new().await;
    rig.stub.starting_credit_s.store(600, Ordering::Relaxed);
    rig.activate("id:ada").await.ok();
    let id = rig.public(ask("GET", "/v1/account").bearer("id:ada")).await.ok().text("account");
    rig.event("gone", EventKind::Deleted);
    rig.event("sub", subscribed(true, START));
    rig.event("profile", EventKind::ProfileChanged);
    rig.tell("sub").await;
    assert_eq!(rig.tell("gone").await, EventEffect::Deleted);
    assert_eq!(rig.tell("gone").await, EventEffect::Repeated);
    assert_eq!(rig.tell("sub").await, EventEffect::Gone);
    assert_eq!(rig.tell("profile").await, EventEffect::Gone);
    // An identity token that outlived her opens nothing.
    for (method, path) in [("POST", "/v1/activate"), ("GET", "/v1/account"), ("POST", "/v1/deactivate")] {
        rig.public(ask(method, path).bearer("id:ada")).await.is(ErrorCode::BadCredentials);
    }
    let made = json!({"issuer": "https://id.test", "subject": "ada"});
    rig.admin(ask("POST", "/admin/accounts").json(&made)).await.is(ErrorCode::PersonGone);
    rig.admin(ask("GET", &format!("/admin/accounts/{id}"))).await.is(ErrorCode::NotFound);
    let log = rig.admin(ask("GET", &format!("/admin/audit?account={id}"))).await.ok().json();
    let last: Vec<_> = log["rows"].as_array().unwrap().iter().rev().take(2).map(|row| row["act"].clone()).collect();
    assert_eq!(last, ["account_deleted", "person_deleted"]);
    assert!(!log.to_string().contains("ada"), "{log}");
}

#[tokio::test]
async fn both_deliveries_are_answered_as_their_standards_have_it() {
    let rig = Rig::new().await;
    rig.public(ask("POST", PATH).bearer("x")).await.is(ErrorCode::NotFound);
    rig.event("other", EventKind::Other);
    let push = |body: &str| ask("POST", PATH).header("content-type", "application/secevent+jwt").body(body.to_owned());
    assert_eq!(rig.public(push("other")).await.status, StatusCode::ACCEPTED);
    assert_eq!(rig.public(push("forged")).await.json()["err"], "authentication_failed");
    let refused = rig.public(push("nonsense")).await;
    assert_eq!((refused.status, &refused.json()["err"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
    assert_eq!(refused.header("content-type"), Some("application/json"));
    rig.public(push("down")).await.is(ErrorCode::ProviderUnavailable);
    rig.public(push(&"x".repeat(1 << 20))).await.is(ErrorCode::BodyTooLarge);
    rig.public(ask("POST", PATH).bearer("forged")).await.is(ErrorCode::BadCredentials);
    rig.public(ask("POST", PATH).bearer("nonsense")).await.is(ErrorCode::BadRequest);
    rig.public(ask("POST", PATH).bearer("down")).await.is(ErrorCode::ProviderUnavailable);
    rig.public(ask("POST", PATH)).await.is(ErrorCode::BadCredentials);
    rig.public(ask("POST", PATH).bearer("other").bearer("other")).await.is(ErrorCode::BadRequest);
    let with_body = ask("POST", PATH).bearer("other").header("content-type", "application/json").body("{}");
    rig.public(with_body).await.is(ErrorCode::UnsupportedMediaType);
    rig.stub.cold.store(true, Ordering::Relaxed);
    rig.public(ask("POST", PATH).bearer("other")).await.is(ErrorCode::WarmingUp);
}

#[tokio::test]
async fn the_same_event_ten_times_at_once_is_dealt_with_once() {
    let rig = Rig::new().await;
    rig.event("buy", subscribed(true, START));
    rig.remaining().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let surface = rig.surface.clone();
        tasks
            .spawn(async move { got(surface.public(ask("POST", PATH).bearer("buy").request).await).await.ok().status });
    }
    tasks.join_all().await;
    let repeated =
        rig.stub.heard.lock().iter().filter(|heard| **heard == EventResult::Handled(EventEffect::Repeated)).count();
    assert_eq!((repeated, rig.remaining().await), (9, 600));
}
