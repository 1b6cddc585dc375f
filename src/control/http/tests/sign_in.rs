use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{
    engine::{EntryKind, NewEntry, Source},
    identity::{Event, EventKind},
    store::{Held, HeldCredit},
};

use super::*;

#[tokio::test]
async fn a_token_of_an_identity_provider_opens_its_persons_account() {
    let rig = Rig::new().await;
    let calls =
        [("POST", "/v1/deactivate"), ("GET", "/v1/account"), ("GET", "/v1/account/entries"), ("GET", "/v1/account")];
    for (method, path) in calls {
        rig.public(ask(method, path).bearer("id:ada")).await.ok();
    }
    rig.activate("id:ada").await.is(ErrorCode::TankEmpty);
    let account = rig.public(ask("GET", "/v1/account").bearer("id:ada")).await.ok().text("account");
    let other = rig.public(ask("GET", "/v1/account").bearer("id:eve")).await.ok().text("account");
    assert_ne!(account, other);
    let made = json!({"issuer": "https://id.test", "subject": "ada", "credit_s": 60});
    let made = rig.admin(ask("POST", "/admin/accounts").json(&made)).await;
    assert_eq!((made.status, made.text("account")), (StatusCode::OK, account), "one person, one account");
    assert_eq!(rig.activate("id:ada").await.ok().json()["remaining_s"], 60);
}

#[tokio::test]
async fn a_bad_token_is_401_and_a_provider_that_is_down_503() {
    let rig = Rig::new().await;
    for (method, path) in
        [("POST", "/v1/activate"), ("POST", "/v1/deactivate"), ("GET", "/v1/account"), ("GET", "/v1/account/entries")]
    {
        rig.public(ask(method, path).bearer("anything")).await.is(ErrorCode::BadCredentials);
        rig.public(ask(method, path).bearer("down")).await.is(ErrorCode::ProviderUnavailable);
    }
}

#[tokio::test]
async fn two_first_sights_at_once_make_one_account_with_one_starting_credit() {
    let rig = Rig::new().await;
    rig.stub.starting_credit_s.store(600, Ordering::Relaxed);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let surface = rig.surface.clone();
        let request = ask("GET", "/v1/account").bearer("id:ada").request;
        tasks.spawn(async move { got(surface.public(request).await).await.ok().json() });
    }
    let seen = tasks.join_all().await;
    for account in &seen {
        assert_eq!((&account["account"], &account["remaining_s"]), (&seen[0]["account"], &json!(600)));
    }
    let entries = rig.public(ask("GET", "/v1/account/entries").bearer("id:ada")).await.ok().json();
    assert_eq!(entries["entries"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn starting_credit_is_for_accounts_that_were_never_activated() {
    let rig = Rig::new().await;
    let remaining = async |token: &str| {
        rig.public(ask("GET", "/v1/account").bearer(token)).await.ok().json()["remaining_s"].as_u64().unwrap()
    };
    assert_eq!(remaining("id:ada").await, 0);
    let eve = json!({"issuer": "https://id.test", "subject": "eve", "credit_s": 5});
    rig.admin(ask("POST", "/admin/accounts").json(&eve)).await.ok();
    rig.stub.starting_credit_s.store(600, Ordering::Relaxed);
    // As after a crash between making the account and filling it.
    assert_eq!(remaining("id:ada").await, 600);
    assert_eq!(remaining("id:eve").await, 5, "the operator's is the one it began with");
    rig.activate("id:ada").await.ok();
    rig.clock.advance(Millis::from_secs(600));
    assert_eq!(remaining("id:ada").await, 510, "the session timed out; nothing was granted again");
}

#[tokio::test]
async fn credit_that_was_held_for_somebody_is_theirs_at_first_sight_beside_the_starting_credit() {
    let rig = Rig::new().await;
    rig.stub.starting_credit_s.store(600, Ordering::Relaxed);
    let identity = Identity { issuer: "https://id.test".into(), subject: "ada".into() };
    let entry = NewEntry {
        kind: EntryKind::Purchase,
        amount: Credit::from_secs(60),
        source: Source::Webhook,
        external_id: "msg_1".into(),
        reason: None,
    };
    let held = rig.store.hold_credit(&identity, &HeldCredit { entry, at: START }, 10).await;
    assert_eq!(held.unwrap(), Held::Kept);
    for _ in 0..2 {
        let account = rig.public(ask("GET", "/v1/account").bearer("id:ada")).await.ok().json();
        assert_eq!(account["remaining_s"], 660);
    }
    // As after a crash between making the account and filling it, with a purchase in between.
    let eve = json!({"issuer": "https://id.test", "subject": "eve"});
    let eve = rig.admin(ask("POST", "/admin/accounts").json(&eve)).await.ok().text("account");
    let purchase = ask("POST", &format!("/admin/accounts/{eve}/credit")).header("idempotency-key", "k");
    rig.admin(purchase.json(&json!({"seconds": 60}))).await.ok();
    assert_eq!(rig.public(ask("GET", "/v1/account").bearer("id:eve")).await.ok().json()["remaining_s"], 660);
}

#[tokio::test]
async fn who_was_deleted_returns_as_somebody_new() {
    let rig = Rig::new().await;
    let see = async || rig.public(ask("GET", "/v1/account").bearer("id:ada")).await.ok().text("account");
    let before = see().await;
    rig.admin(ask("DELETE", &format!("/admin/accounts/{before}"))).await.ok();
    assert_ne!(see().await, before);
}

/// A body that ends when it is told to, and tells when it is waited for.
struct Waited {
    begun: Option<oneshot::Sender<()>>,
    end: oneshot::Receiver<()>,
}

impl hyper::body::Body for Waited {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.begun.take().map(|begun| begun.send(()));
        Pin::new(&mut self.end).poll(cx).map(|_| None)
    }
}

/// An activation with `token`, in the middle of which something happens.
async fn activated(rig: &Rig, token: &str, meanwhile: impl Future<Output = ()>) -> Got {
    let ((begun, began), (go, end)) = (oneshot::channel(), oneshot::channel());
    let request = Request::post("/v1/activate").header("authorization", format!("Bearer {token}"));
    let request = request.body(Waited { begun: Some(begun), end }).unwrap();
    let answer = tokio::spawn(rig.surface.clone().public(request));
    began.await.unwrap();
    meanwhile.await;
    go.send(()).unwrap();
    got(answer.await.unwrap()).await
}

#[tokio::test]
async fn no_session_is_opened_by_what_was_outdated_before_it_was() {
    let rig = Rig::new().await;
    rig.stub.starting_credit_s.store(600, Ordering::Relaxed);
    let identity = Identity { issuer: "https://id.test".into(), subject: "ada".into() };
    let changed = EventKind::PasswordChanged { at: START.plus(Millis::from_secs(1)) };
    let told = crate::identity::ProviderEvents {
        identity: identity.clone(),
        events: vec![Event { kind: changed, digest: [1; 16] }],
        gives: gifts(),
    };
    rig.stub.events.lock().insert("changed".to_owned(), told);
    let change = async { drop(rig.public(ask("POST", "/hooks/account-events").bearer("changed")).await.ok()) };
    activated(&rig, "old:ada", change).await.is(ErrorCode::BadCredentials);
    assert_eq!(rig.engine.live(), 0, "what was opened is taken back");
    let account = rig.public(ask("GET", "/v1/account").bearer("id:ada")).await.ok().json();
    assert_eq!(account["remaining_s"], 600, "and costs nothing");
    activated(&rig, "id:ada", async {}).await.ok();

    let (account, key) = rig.account(600).await;
    let keys = format!("/admin/accounts/{account}/keys");
    let listed = rig.admin(ask("GET", &keys)).await.ok().json();
    let path = format!("{keys}/{}", listed["keys"][0]["key_id"].as_str().unwrap());
    let removal = async { drop(rig.admin(ask("DELETE", &path)).await.ok()) };
    activated(&rig, &key, removal).await.is(ErrorCode::BadCredentials);
    assert_eq!(rig.engine.live(), 1, "hers alone");
}

#[tokio::test]
async fn an_address_that_asks_too_often_costs_no_verification() {
    let rig = Rig::with(|settings| settings.per_address = Rate::new(1, 3)).await;
    let guess = || ask("GET", "/v1/account").bearer("forged").from("192.0.2.1:1");
    for _ in 0..3 {
        rig.public(guess()).await.is(ErrorCode::BadCredentials);
    }
    rig.public(guess()).await.is(ErrorCode::RateLimited);
    rig.public(ask("GET", "/v1/account").bearer("down").from("192.0.2.1:1")).await.is(ErrorCode::RateLimited);
}
