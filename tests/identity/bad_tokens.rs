//! Tokens that nobody is signed in by, and floods of them.

use std::time::Duration;

use gastank::control::keys::Algorithm;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Stage, accounts, ask, client, figure,
    handmade::{DISCOVERY, Handmade, KEYS, compact, header, key, now_s, sign},
};

/// HS256 with a secret that everybody knows.
pub(crate) fn hs256(secret: &[u8]) -> impl FnOnce(&[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
    move |message| {
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_kind_of_bad_token_is_refused_and_none_makes_an_account() {
    let stage = Stage::new().await;
    let thief = key(Algorithm::ES256);
    let lair = Handmade::start(&[&thief]).await;
    let good = stage.provider.claims("ada");
    let own = header(&stage.key);
    let with = |changes: Value| {
        let mut claims = good.clone();
        changes.as_object().expect("changes").iter().for_each(|(name, value)| claims[name] = value.clone());
        sign(&stage.key, &own, &claims)
    };
    let headed = |key, header: Value| sign(key, &header, &good);
    let kid = stage.key.kid();
    let public = serde_json::to_vec(&stage.key.public()).expect("a JWK");
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("claims").remove(name);
        sign(&stage.key, &own, &claims)
    };
    let token = stage.token("ada");
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let cases = [
        ("alg none", compact(&json!({"alg": "none", "kid": kid}), &good, |_| Vec::new())),
        ("alg None with the true signature", headed(&stage.key, json!({"alg": "None", "kid": kid}))),
        ("HS256 with the public key", compact(&json!({"alg": "HS256", "kid": kid}), &good, hs256(&public))),
        ("an algorithm that the key is not for", headed(&stage.key, json!({"alg": "RS256", "kid": kid}))),
        ("another's key under our name", headed(&thief, json!({"alg": "ES256", "kid": kid}))),
        ("jku under our name", headed(&thief, json!({"alg": "ES256", "kid": kid, "jku": lair.at(KEYS)}))),
        ("crit", headed(&stage.key, json!({"alg": "ES256", "kid": kid, "crit": ["exp"]}))),
        ("another type", headed(&stage.key, json!({"alg": "ES256", "kid": kid, "typ": "secevent+jwt"}))),
        ("another audience", with(json!({"aud": ["other", "gastank2"]}))),
        ("no audience", without("aud")),
        ("another issuer", with(json!({"iss": lair.issuer()}))),
        ("the issuer with a slash", with(json!({"iss": format!("{}/", stage.provider.issuer())}))),
        ("expired", with(json!({"exp": now_s() - 61.0}))),
        ("no end", without("exp")),
        ("not valid yet", with(json!({"nbf": now_s() + 120.0}))),
        ("issued in the future", with(json!({"iat": now_s() + 120.0}))),
        ("no scope", without("scope")),
        ("another scope", with(json!({"scope": "tanker openid"}))),
        ("no subject", without("sub")),
        ("an empty subject", with(json!({"sub": ""}))),
        ("a subject without end", with(json!({"sub": "a".repeat(600)}))),
        ("a signature cut short", format!("{message}.{}", &signature[..signature.len() - 4])),
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("five parts", format!("{token}.a.b")),
        ("no JSON", "eyJ.eyJ.AAAA".to_owned()),
        ("opaque, where nobody can be asked", "0123456789abcdef0123456789abcdef".to_owned()),
    ];
    for (why, token) in &cases {
        stage.see(token).await.refused(why);
        ask(&stage.service, reqwest::Method::POST, "/v1/activate", token).await.refused(why);
    }
    let unknown_keys = [
        ("jku", json!({"alg": "ES256", "kid": thief.kid(), "jku": lair.at(KEYS)})),
        ("x5u", json!({"alg": "ES256", "kid": thief.kid(), "x5u": lair.at("/cert")})),
        ("jwk", json!({"alg": "ES256", "kid": thief.kid(), "jwk": thief.public()})),
    ];
    for (why, header) in unknown_keys {
        stage.see(&headed(&thief, header)).await.unknown_key(why);
    }
    let endless = with(json!({"x": "a".repeat(17_000)}));
    let sent = client().get(format!("{}/v1/account", stage.service.http())).bearer_auth(&endless).send().await;
    assert!(sent.is_err() || sent.is_ok_and(|answer| answer.status() == 431), "no head is that long");
    assert_eq!(lair.asked_at_all(), 0, "nothing in a token says where keys are");
    assert_eq!(accounts(&stage.home, &stage.service).await, 0);
    stage.see(&token).await.ok();
    assert_eq!(accounts(&stage.home, &stage.service).await, 1);
    assert_eq!(figure(&stage.service, "gastank_sign_ins_total{outcome=\"accepted\"}").await, 1.0);
    assert_eq!(figure(&stage.service, "gastank_sign_ins_total{outcome=\"audience\"}").await, 4.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_unknown_keys_costs_the_provider_one_fetch() {
    let stage = Stage::new().await;
    stage.see(&stage.token("ada")).await.ok();
    let before = stage.provider.asked(KEYS);
    let (thief, mut undecided) = (key(Algorithm::ES256), 0);
    for n in 0..300 {
        let head = json!({"alg": "ES256", "kid": format!("unknown {n}"), "typ": "at+jwt"});
        let got = stage.see(&sign(&thief, &head, &stage.provider.claims("ada"))).await;
        got.unknown_key("unknown key");
        undecided += u32::from(got.status == 503);
    }
    assert!(undecided >= 290, "{undecided}: whose key may be newer than the last fetch is not told that it is wrong");
    let forged = stage.provider.token(&key(Algorithm::ES256), "ada");
    stage.see(&forged).await.unknown_key("a key that nobody publishes");
    let fetches = stage.provider.asked(KEYS) - before;
    assert!(fetches <= 2, "{fetches}: one in ten seconds, and the flood may take a little longer on a busy machine");
    assert_eq!(stage.provider.asked(DISCOVERY), 1, "where the keys are is known");
    // Those whose times are over, or that are for somebody else, do not even cause that one.
    let mut late = stage.provider.claims("ada");
    late["exp"] = json!(now_s() - 1000.0);
    let fetched = stage.provider.asked(KEYS);
    tokio::time::sleep(Duration::from_secs(11)).await;
    stage.see(&sign(&thief, &header(&thief), &late)).await.refused("expired");
    assert_eq!(stage.provider.asked(KEYS), fetched);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_forged_token_does_not_get_those_refused_that_a_new_key_signed() {
    let stage = Stage::new().await;
    stage.see(&stage.token("ada")).await.ok();
    let (thief, next) = (key(Algorithm::ES256), key(Algorithm::ES256));
    stage.see(&sign(&thief, &header(&thief), &stage.provider.claims("ada"))).await.refused("the provider was asked");
    stage.provider.publish(&[&stage.key, &next]);
    stage.see(&stage.provider.token(&next, "ada")).await.unavailable("within the window that the forged token opened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_that_names_no_key_counts_where_there_is_one_key_alone() {
    let stage = Stage::new().await;
    let nameless = sign(&stage.key, &json!({"alg": "ES256"}), &stage.provider.claims("ada"));
    stage.see(&nameless).await.ok();
    let second = key(Algorithm::ES256);
    stage.provider.publish(&[&stage.key, &second]);
    stage.see(&stage.provider.token(&second, "eve")).await.ok();
    stage.see(&nameless).await.refused("several keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_names_neither_tokens_nor_people() {
    let stage = Stage::with(&[("GASTANK_LOG_FILTER", "debug"), ("GASTANK_LOG_FORMAT", "json")], |_| {}).await;
    let token = stage.token("a-person-of-the-tests");
    stage.see(&token).await.ok();
    let forged = sign(&key(Algorithm::ES256), &header(&stage.key), &stage.provider.claims("another-person"));
    stage.see(&forged).await.refused("forged");
    let log = stage.home.said_once("an identity token was refused");
    for secret in [token.as_str(), &forged, "a-person-of-the-tests", "another-person"] {
        assert!(!log.contains(secret) && !log.contains(&secret[secret.len() - 20.min(secret.len())..]), "{log}");
    }
}
