//! Providers that are down, slow or wrong, and keys that change: nobody is logged out by any of it.

use std::time::{Duration, Instant};

use gastank::control::keys::Algorithm;
use serde_json::json;

use super::{
    Stage, figure,
    handmade::{DISCOVERY, Handmade, KEYS, Reply, key},
    see, start,
    support::Home,
};

const DOWN: Reply = Reply::Json(500, String::new());

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_key_counts_as_soon_as_a_token_names_it_and_an_old_one_no_longer() {
    for algorithm in Algorithm::ALL {
        let stage = Stage::new().await;
        let old = stage.token("ada");
        let account = stage.see(&old).await.ok()["account"].clone();
        let next = key(algorithm);
        stage.provider.publish(&[&next]);
        assert_eq!(stage.see(&old).await.ok()["account"], account, "nobody has asked yet");
        assert_eq!(stage.see(&stage.provider.token(&next, "ada")).await.ok()["account"], account);
        stage.see(&old).await.refused("the provider has dropped the key");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_the_provider_is_down_cached_keys_go_on() {
    let stage = Stage::new().await;
    stage.see(&stage.token("ada")).await.ok();
    stage.provider.set(KEYS, DOWN);
    stage.provider.set(DISCOVERY, DOWN);
    let other = key(Algorithm::ES256);
    stage.see(&stage.provider.token(&other, "eve")).await.unavailable("nobody can tell whether that key is new");
    stage.see(&stage.provider.token(&other, "eve")).await.unavailable("nor within the same seconds");
    stage.see(&stage.token("eve")).await.ok();
    assert!(figure(&stage.service, "gastank_identity_key_fetches_total{outcome=\"failed\"}").await >= 1.0);
    assert_eq!(figure(&stage.service, "gastank_identity_providers_without_keys").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_any_keys_nobody_is_told_that_a_token_is_bad_and_it_heals_by_itself() {
    let stage = Stage::with(&[], |provider| provider.set(KEYS, DOWN)).await;
    let token = stage.token("ada");
    stage.see(&token).await.unavailable("no keys yet");
    assert_eq!(figure(&stage.service, "gastank_identity_providers_without_keys").await, 1.0);
    stage.provider.publish(&[&stage.key]);
    for _ in 0..100 {
        let got = stage.see(&token).await;
        if got.status == 200 {
            return;
        }
        got.unavailable("not yet");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the keys were not fetched again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "how long an answer takes is what is tested")]
async fn an_answer_that_cannot_be_used_is_the_providers_fault_and_not_the_tokens() {
    let elsewhere = Handmade::start(&[]).await;
    let away = Reply::Redirect(elsewhere.at(KEYS));
    let late = || Reply::Late(Duration::from_secs(60));
    let other_issuer = json!({"issuer": "http://127.0.0.1:1", "jwks_uri": elsewhere.at(KEYS)}).to_string();
    let plain =
        |provider: &Handmade| json!({"issuer": provider.issuer(), "jwks_uri": "http://keys.example/"}).to_string();
    let shared = json!({"keys": [{"kty": "oct", "k": "AAAA", "alg": "HS256", "kid": "a"}]}).to_string();
    let many = json!({"keys": vec![json!({}); 65]}).to_string();
    type Change = Box<dyn FnOnce(&Handmade)>;
    let cases: [(&str, Change); 11] = [
        ("megabytes of keys", Box::new(|provider| provider.set(KEYS, Reply::Huge))),
        ("megabytes of metadata", Box::new(|provider| provider.set(DISCOVERY, Reply::Huge))),
        ("late keys", Box::new(move |provider| provider.set(KEYS, late()))),
        ("late metadata", Box::new(move |provider| provider.set(DISCOVERY, late()))),
        ("keys elsewhere", Box::new(move |provider| provider.set(KEYS, away))),
        ("another's metadata", Box::new(move |provider| provider.set(DISCOVERY, Reply::Json(200, other_issuer)))),
        ("keys in the clear", Box::new(move |provider| provider.set(DISCOVERY, Reply::Json(200, plain(provider))))),
        ("shared secrets", Box::new(move |provider| provider.set(KEYS, Reply::Json(200, shared)))),
        ("too many keys", Box::new(move |provider| provider.set(KEYS, Reply::Json(200, many)))),
        ("no JSON", Box::new(|provider| provider.set(KEYS, Reply::Json(200, "<html>".into())))),
        ("no such page", Box::new(|provider| provider.set(DISCOVERY, Reply::Json(404, "{}".into())))),
    ];
    for (why, change) in cases {
        let stage = Stage::with(&[], change).await;
        let began = Instant::now();
        stage.see(&stage.token("ada")).await.unavailable(why);
        assert!(began.elapsed() < Duration::from_secs(12), "{why}: {:?}", began.elapsed());
    }
    assert_eq!(elsewhere.asked_at_all(), 0, "other origins are not asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_where_nobody_listens_is_unavailable_from_the_start() {
    let key = key(Algorithm::EdDSA);
    let provider = Handmade::start(&[&key]).await;
    let token = provider.token(&key, "ada");
    let home = Home::new();
    let (issuer, nowhere) = (provider.issuer(), "http://127.0.0.1:1/keys");
    let service = start(&home, &[("GASTANK_IDENTITY_ISSUER", &issuer), ("GASTANK_IDENTITY_JWKS_URI", nowhere)]);
    see(&service, &token).await.unavailable("nobody listens");
    assert_eq!(provider.asked_at_all(), 0, "where the keys are was configured");
}
