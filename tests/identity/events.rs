//! Account events, through the built program: what is not the provider's changes nothing, what is, once and for good.

use std::time::Duration;

use gastank::control::keys::{Algorithm, SigningKey};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Got, Stage, accounts, ask,
    bad_tokens::hs256,
    client, figure, got,
    handmade::{DISCOVERY, Handmade, KEYS, Reply, compact, key, now_s, sign},
    start,
    support::Home,
};

pub(crate) const PATH: &str = "/hooks/account-events";
const CLIENT: &str = "5882386c6d801776";
const NAMESPACE: &str = "https://schemas.accounts.firefox.com/event/";

/// A service that takes its provider's events, under the provider's name with a slash.
pub(crate) async fn stage(variables: &[(&str, &str)]) -> Stage {
    let key = key(Algorithm::ES256);
    let provider = Handmade::start(&[&key]).await;
    let home = Home::new();
    let (issuer, slashed) = (provider.issuer(), format!("{}/", provider.issuer()));
    let service = start(&home, &[&settings(&issuer, &slashed), variables].concat());
    Stage { provider, key, home, service }
}

/// The variables of a service that takes this provider's events.
pub(crate) fn settings<'a>(issuer: &'a str, slashed: &'a str) -> [(&'a str, &'a str); 7] {
    [
        ("GASTANK_IDENTITY_ISSUER", issuer),
        ("GASTANK_IDENTITY_SCOPE", "tank"),
        // Nobody beats here: a session is to end by an event, however busy the machine is.
        ("GASTANK_HEARTBEAT_TIMEOUT_MS", "600000"),
        ("GASTANK_IDENTITY_EVENT_ISSUER", slashed),
        ("GASTANK_IDENTITY_EVENT_CLIENT_ID", CLIENT),
        ("GASTANK_IDENTITY_STARTING_CREDIT_S", "600"),
        ("GASTANK_IDENTITY_CAPABILITY_CREDIT", "pro=3600/30"),
    ]
}

fn head(key: &SigningKey) -> Value {
    json!({"alg": key.algorithm().name(), "kid": key.kid()})
}

fn claims(stage: &Stage, event: &str, said: &Value) -> Value {
    claims_about(stage, event, "ada", said)
}

fn claims_about(stage: &Stage, event: &str, subject: &str, said: &Value) -> Value {
    json!({
        "iss": format!("{}/", stage.provider.issuer()), "sub": subject, "aud": CLIENT, "iat": now_s(),
        "jti": format!("{}", now_s()), "events": {format!("{NAMESPACE}{event}"): said},
    })
}

/// A good event token.
pub(crate) fn set(stage: &Stage, event: &str, subject: &str, said: &Value) -> String {
    sign(&stage.key, &head(&stage.key), &claims_about(stage, event, subject, said))
}

pub(crate) fn ms(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an instant of this century")]
    let ms = (seconds * 1000.0) as u64;
    ms
}

async fn tell(stage: &Stage, token: &str) -> u16 {
    ask(&stage.service, Method::POST, PATH, token).await.status
}

async fn push(stage: &Stage, body: impl Into<reqwest::Body>) -> Got {
    let url = format!("{}{PATH}", stage.service.http());
    let request = client().post(url).header("content-type", "application/secevent+jwt").body(body);
    got(request.send().await.expect("an answer")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_that_are_not_the_providers_are_refused_in_both_forms_and_change_nothing() {
    let stage = stage(&[]).await;
    let thief = key(Algorithm::ES256);
    let opened = ask(&stage.service, Method::POST, "/v1/activate", &stage.token("ada")).await.ok();
    let good = claims(&stage, "delete-user", &json!({}));
    let own = head(&stage.key);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        sign(&stage.key, &own, &claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("claims").remove(name);
        sign(&stage.key, &own, &claims)
    };
    let kid = stage.key.kid();
    let public = serde_json::to_vec(&stage.key.public()).expect("a JWK");
    let lair = Handmade::start(&[&thief]).await;
    let foreign = json!({"alg": "ES256", "kid": thief.kid(), "jku": lair.at(KEYS)});
    let cases = [
        ("alg none", "invalid_key", compact(&json!({"alg": "none", "kid": kid}), &good, |_| Vec::new())),
        ("HS256", "invalid_key", compact(&json!({"alg": "HS256", "kid": kid}), &good, hs256(&public))),
        ("another algorithm", "invalid_key", sign(&stage.key, &json!({"alg": "RS256", "kid": kid}), &good)),
        ("another's key", "authentication_failed", sign(&thief, &json!({"alg": "ES256", "kid": kid}), &good)),
        ("jku", "invalid_key", sign(&thief, &foreign, &good)),
        ("jku under the provider's name", "authentication_failed", {
            sign(&thief, &json!({"alg": "ES256", "kid": kid, "jku": lair.at(KEYS)}), &good)
        }),
        ("x5u", "invalid_key", {
            sign(&thief, &json!({"alg": "ES256", "kid": thief.kid(), "x5u": lair.at("/cert")}), &good)
        }),
        ("jwk", "invalid_key", {
            sign(&thief, &json!({"alg": "ES256", "kid": thief.kid(), "jwk": thief.public()}), &good)
        }),
        ("no kid and another's key", "authentication_failed", sign(&thief, &json!({"alg": "ES256"}), &good)),
        ("unknown kid", "invalid_key", sign(&thief, &head(&thief), &good)),
        (
            "an access token",
            "invalid_request",
            sign(&stage.key, &json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"}), &good),
        ),
        ("another audience", "invalid_audience", with("aud", json!("other"))),
        ("no audience", "invalid_audience", without("aud")),
        ("the issuer without its slash", "invalid_issuer", with("iss", json!(stage.provider.issuer()))),
        ("another issuer", "invalid_issuer", with("iss", json!(lair.issuer()))),
        ("from the future", "invalid_request", with("iat", json!(now_s() + 120.0))),
        ("no instant", "invalid_request", without("iat")),
        ("over", "invalid_request", with("exp", json!(now_s() - 120.0))),
        ("no subject", "invalid_request", without("sub")),
        ("no events", "invalid_request", without("events")),
        ("empty events", "invalid_request", with("events", json!({}))),
        ("an identity token", "invalid_request", stage.token("ada")),
        ("not a JWT", "invalid_request", "x".to_owned()),
    ];
    for (why, err, token) in &cases {
        let pushed = push(&stage, token.clone()).await;
        // Whose key nobody knows: the provider may have been asked too lately to say.
        let undecided = ["jku", "x5u", "jwk", "unknown kid"].contains(why);
        if undecided && pushed.status == 503 {
            pushed.unavailable(why);
        } else {
            assert_eq!((pushed.status, &pushed.json["err"]), (400, &json!(err)), "{why}: {pushed:?}");
            assert_eq!(pushed.language.as_deref(), Some("en"), "{why}: RFC 8935, 2.3");
            let told = pushed.json["description"].as_str().expect("a description");
            assert_eq!(told == "not a JWT", *why == "not a JWT", "{why}: {told}");
        }
        let told = tell(&stage, token).await;
        assert!([400, 401].contains(&told) || (undecided && told == 503), "{why}: {told}");
    }
    assert_eq!(push(&stage, "x".repeat(1 << 20)).await.status, 413);
    assert_eq!(lair.asked_at_all(), 0);
    stage.see(&sign(&stage.key, &own, &good)).await.refused("an event is no identity token");

    let shown = stage.see(&stage.token("ada")).await.ok();
    assert_eq!(shown["session"]["session_id"], opened["session_id"]);
    assert!(shown["session"]["end_reason"].is_null(), "{shown}");
    assert_eq!(figure(&stage.service, "gastank_account_events_total{outcome=\"deleted\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_forged_events_costs_the_provider_one_fetch() {
    let stage = stage(&[]).await;
    stage.see(&stage.token("ada")).await.ok();
    let (before, began) = (stage.provider.asked_at_all(), now_s());
    let thief = key(Algorithm::ES256);
    for n in 0..200 {
        let forged = json!({"alg": "ES256", "kid": format!("unknown {n}")});
        let token = sign(&thief, &forged, &claims(&stage, "delete-user", &json!({})));
        let got = push(&stage, token).await;
        assert!(got.status == 503 || got.json["err"] == "invalid_key", "{got:?}");
    }
    let fetches = stage.provider.asked_at_all() - before;
    let windows = (now_s() - began) / 10.0;
    assert!(
        u32::try_from(fetches).is_ok_and(|fetches| f64::from(fetches) <= windows.ceil() + 1.0),
        "{fetches} in {windows} times ten seconds"
    );
    stage.see(&stage.token("ada")).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_keys_cannot_be_fetched_events_are_to_be_told_again() {
    let stage = stage(&[]).await;
    for path in [KEYS, DISCOVERY] {
        stage.provider.set(path, Reply::Json(500, String::new()));
    }
    let other = key(Algorithm::ES256);
    let token = sign(&other, &head(&other), &claims(&stage, "delete-user", &json!({})));
    push(&stage, token.clone()).await.unavailable("push");
    ask(&stage.service, Method::POST, PATH, &token).await.unavailable("bearer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_provider_tells_takes_effect_once_in_whatever_order_and_across_crashes() {
    let mut stage = stage(&[]).await;
    let owner = stage.token("ada");
    let begin = now_s();
    let subscribed = |stage: &Stage, active: bool, at: u64| {
        set(
            stage,
            "subscription-state-change",
            "ada",
            &json!({"capabilities": ["pro"], "isActive": active, "changeTime": at}),
        )
    };
    // Told before she was ever seen, and again after each crash.
    assert_eq!(push(&stage, subscribed(&stage, true, ms(begin))).await.status, 202);
    for round in 0..3 {
        assert_eq!(tell(&stage, &subscribed(&stage, true, ms(begin))).await, 200, "{round}");
        assert_eq!(tell(&stage, &subscribed(&stage, false, ms(begin) - 5)).await, 200, "older");
        assert_eq!(stage.see(&owner).await.ok()["remaining_s"], 600 + 3600, "{round}");
        let (issuer, slashed) = (stage.provider.issuer(), format!("{}/", stage.provider.issuer()));
        let service = start_again(&stage, &issuer, &slashed);
        stage.service = service;
    }
    ask(&stage.service, Method::POST, "/v1/activate", &owner).await.ok();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let changed = ms(now_s());
    assert_eq!(tell(&stage, &set(&stage, "password-change", "ada", &json!({"changeTime": changed}))).await, 200);
    let late = sign(&stage.key, &super::handmade::header(&stage.key), &{
        let mut claims = stage.provider.claims("ada");
        claims["iat"] = json!(now_s() + 5.0);
        claims
    });
    assert_eq!(stage.see(&late).await.ok()["session"]["end_reason"], "logged_out");

    for other in ["profile-change", "metrics-opt-out", "never-heard-of"] {
        assert_eq!(tell(&stage, &set(&stage, other, "ada", &json!({}))).await, 200, "{other}");
    }
    assert_eq!(tell(&stage, &set(&stage, "delete-user", "ada", &json!({}))).await, 200);
    stage.see(&late).await.refused("she is gone");
    assert_eq!(accounts(&stage.home, &stage.service).await, 0);
    assert_eq!(push(&stage, set(&stage, "delete-user", "ada", &json!({}))).await.status, 202);
    assert_eq!(tell(&stage, &subscribed(&stage, true, ms(now_s()))).await, 200, "nothing comes of it");
    assert_eq!(accounts(&stage.home, &stage.service).await, 0);
    assert_eq!(figure(&stage.service, "gastank_account_events_total{outcome=\"gone\"}").await, 1.0);
}

/// Kills the service and starts it on what it left behind.
fn start_again(stage: &Stage, issuer: &str, slashed: &str) -> super::support::Service {
    let killed = std::process::Command::new("kill").args(["-9", &stage.service.id().to_string()]).status();
    assert!(killed.expect("kill can be run").success());
    std::thread::sleep(Duration::from_millis(200));
    start(&stage.home, &settings(issuer, slashed))
}
