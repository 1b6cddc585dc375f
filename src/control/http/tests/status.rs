use std::io::Read;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::read::{GzDecoder, ZlibDecoder};
use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};

use super::*;
use crate::control::tokens::claims_of;

const TTL: u64 = 60;

/// Where a token's bit is: path and index.
fn place(token: &str) -> (String, usize) {
    let status = claims_of(token).unwrap().status.status_list;
    let path = status.uri.strip_prefix("https://tank.test").unwrap().to_owned();
    (path, usize::try_from(status.idx).unwrap())
}

/// A list's claims and its bytes, as an edge finds them that trusts the published keys alone.
async fn verified(rig: &Rig, jwt: &str) -> (Value, Vec<u8>) {
    let keys: JwkSet = serde_json::from_slice(&rig.public(ask("GET", "/.well-known/jwks.json")).await.body).unwrap();
    let header = jsonwebtoken::decode_header(jwt).unwrap();
    assert_eq!(header.typ.as_deref(), Some("statuslist+jwt"));
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims: Value = jsonwebtoken::decode(jwt, &key, &validation).unwrap().claims;
    assert_eq!(claims["status_list"]["bits"], 1);
    let lst = URL_SAFE_NO_PAD.decode(claims["status_list"]["lst"].as_str().unwrap()).unwrap();
    let mut bytes = Vec::new();
    ZlibDecoder::new(&lst[..]).take(1 << 20).read_to_end(&mut bytes).unwrap();
    (claims, bytes)
}

async fn bit(rig: &Rig, token: &str) -> u8 {
    let (path, idx) = place(token);
    let got = rig.public(ask("GET", &path)).await.ok();
    let (_, bytes) = verified(rig, std::str::from_utf8(&got.body).unwrap()).await;
    bytes[idx >> 3] >> (idx & 7) & 1
}

fn later(rig: &Rig, seconds: u64) {
    rig.clock.advance(Millis::from_secs(seconds));
}

#[tokio::test]
async fn the_list_says_of_every_token_what_introspection_says() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let activation = rig.activate(&key).await.ok();
    let first = activation.text("token");
    assert_eq!(bit(&rig, &first).await, 0);

    let renew = ask("POST", "/v1/renew").bearer(&first).header("content-type", "application/octet-stream");
    let frame = frame(&activation, HeartbeatKind::Renew, MeterTime::ZERO);
    let second = rig.public(renew.body(frame)).await.ok().text("token");
    later(&rig, TTL / 2);
    assert_eq!((bit(&rig, &first).await, bit(&rig, &second).await), (1, 0));

    let third = rig.activate(&key).await.ok().text("token");
    later(&rig, TTL / 2);
    assert_eq!((bit(&rig, &second).await, bit(&rig, &third).await), (1, 0));

    // Silence: nobody but the list has found out that the session is over.
    later(&rig, 91);
    assert_eq!(bit(&rig, &third).await, 1);
}

#[tokio::test]
async fn a_list_is_signed_with_a_published_key_and_says_for_how_long_it_is_good() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let (path, _) = place(&rig.activate(&key).await.ok().text("token"));
    let got = rig.public(ask("GET", &path)).await.ok();
    assert_eq!(got.header("content-type"), Some("application/statuslist+jwt"));
    assert_eq!(got.header("cache-control"), Some("public, max-age=60"));
    assert_eq!(got.header("access-control-allow-origin"), Some("*"));
    assert_eq!(got.header("vary"), Some("accept-encoding"));
    assert_eq!(got.header("content-encoding"), None);
    let (claims, bytes) = verified(&rig, std::str::from_utf8(&got.body).unwrap()).await;
    assert_eq!(claims["sub"], format!("https://tank.test{path}"));
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_700_000_000), &json!(1_700_000_300)));
    assert_eq!(claims["ttl"], 60);
    assert_eq!(bytes.len(), 256 / 8);
}

#[tokio::test]
async fn a_list_is_signed_anew_when_it_has_changed_but_not_before_half_a_ttl() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(6_000).await;
    let (path, _) = place(&rig.activate(&key).await.ok().text("token"));
    let first = rig.public(ask("GET", &path)).await.ok();
    rig.public(ask("POST", "/v1/deactivate").bearer(&key)).await.ok();
    later(&rig, 29);
    let same = rig.public(ask("GET", &path)).await.ok();
    assert_eq!(same.body, first.body);
    assert_eq!(same.header("cache-control"), Some("public, max-age=31"));
    later(&rig, 1);
    let second = rig.public(ask("GET", &path)).await.ok();
    assert_ne!(second.body, first.body);
    assert_ne!(second.header("etag"), first.header("etag"));

    // Nothing changes any more: the same is served for three ttl, and checked in between.
    for _ in 0..5 {
        later(&rig, 35);
        let same = rig.public(ask("GET", &path)).await.ok();
        assert_eq!(same.body, second.body);
        assert_eq!(same.header("cache-control"), Some("public, max-age=60"));
    }
    later(&rig, 5);
    let third = rig.public(ask("GET", &path)).await.ok();
    assert_ne!(third.body, second.body);
}

#[tokio::test]
async fn who_has_the_list_is_told_so() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let (path, _) = place(&rig.activate(&key).await.ok().text("token"));
    let got = rig.public(ask("GET", &path)).await.ok();
    let tag = got.header("etag").unwrap();
    for known in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let again = rig.public(ask("GET", &path).header("if-none-match", &known)).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{known}");
        assert!(again.body.is_empty());
        assert_eq!(again.header("etag"), Some(tag));
        assert_eq!(again.header("cache-control"), Some("public, max-age=60"));
        assert_eq!(again.header("access-control-allow-origin"), Some("*"));
    }
    for unknown in ["\"x\"", tag.trim_matches('"')] {
        rig.public(ask("GET", &path).header("if-none-match", unknown)).await.ok();
    }
    let compressed = ask("GET", &path).header("if-none-match", tag).header("accept-encoding", "gzip");
    assert_ne!(rig.public(compressed).await.ok().header("etag"), Some(tag));
}

#[tokio::test]
async fn a_list_comes_compressed_as_the_caller_wants_it() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let (path, _) = place(&rig.activate(&key).await.ok().text("token"));
    let plain = rig.public(ask("GET", &path)).await.ok().body;
    let gzip = rig.public(ask("GET", &path).header("accept-encoding", "gzip")).await.ok();
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let mut text = Vec::new();
    GzDecoder::new(&gzip.body[..]).take(1 << 20).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain);
    let brotli = rig.public(ask("GET", &path).header("accept-encoding", "br;q=1.0, gzip;q=0.8, *;q=0.1")).await.ok();
    assert_eq!(brotli.header("content-encoding"), Some("br"));
    let mut text = Vec::new();
    brotli::BrotliDecompress(&mut &brotli.body[..], &mut text).unwrap();
    assert_eq!(text, plain);
    let head = rig.public(ask("HEAD", &path)).await.ok();
    assert!(head.body.is_empty() && head.header("etag").is_some());
}

#[tokio::test]
async fn the_past_and_unknown_lists_are_refused() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let (path, _) = place(&rig.activate(&key).await.ok().text("token"));
    for query in ["time=1686925000", "a=b&time", "time="] {
        let refused = rig.public(ask("GET", &format!("{path}?{query}"))).await;
        refused.is(ErrorCode::NotImplemented);
        assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    }
    rig.public(ask("GET", &format!("{path}?timely=1"))).await.ok();
    for unknown in ["AAAAAAAAAAA", "x", "AAAAAAAAAAAA", "%00", "%FF"] {
        let got = rig.public(ask("GET", &format!("/oauth/status/{unknown}"))).await;
        assert!(got.status == StatusCode::NOT_FOUND || got.status == StatusCode::BAD_REQUEST, "{unknown}");
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
    }
    rig.public(ask("POST", &path)).await.is(ErrorCode::MethodNotAllowed);
}

#[tokio::test]
async fn the_lists_are_found_from_the_metadata() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let (path, _) = place(&rig.activate(&key).await.ok().text("token"));
    let metadata = rig.public(ask("GET", "/.well-known/oauth-authorization-server")).await.ok();
    assert_eq!(metadata.text("status_list_aggregation_endpoint"), "https://tank.test/oauth/status");
    let got = rig.public(ask("GET", "/oauth/status")).await.ok();
    assert_eq!(got.json(), json!({"status_lists": [format!("https://tank.test{path}")]}));
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn before_the_sessions_are_known_no_list_is_served() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let (path, _) = place(&rig.activate(&key).await.ok().text("token"));
    rig.stub.cold.store(true, Ordering::Relaxed);
    rig.public(ask("GET", &path)).await.is(ErrorCode::WarmingUp);
    rig.public(ask("GET", "/oauth/status")).await.is(ErrorCode::WarmingUp);
}

#[tokio::test]
async fn an_activation_that_is_refused_uses_up_no_index() {
    let rig = Rig::new().await;
    let (_, empty) = rig.account(0).await;
    for _ in 0..1_000 {
        rig.activate(&empty).await.is(ErrorCode::TankEmpty);
    }
    assert_eq!(rig.store.status_lists().await.unwrap().len(), 1);
}

#[tokio::test]
async fn many_who_ask_at_once_get_the_same_bytes() {
    let rig = Arc::new(Rig::new().await);
    let (_, key) = rig.account(600).await;
    let (path, _) = place(&rig.activate(&key).await.ok().text("token"));
    let asks: Vec<_> = (0..20)
        .map(|_| {
            let (rig, path) = (Arc::clone(&rig), path.clone());
            tokio::spawn(async move { rig.public(ask("GET", &path)).await.ok().body })
        })
        .collect();
    let mut bodies = Vec::new();
    for asked in asks {
        bodies.push(asked.await.unwrap());
    }
    // A signature of another time would differ: ECDSA draws a nonce.
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}
