//! Revocation, secrets that rotate, and what edges may be made to send.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Alg, EncodingKey, Header};
use proptest::prelude::*;

use super::*;
use crate::{
    control::tokens::TokenRequest,
    engine::{AccountId, ListId, SecretRing, StatusIndex, parse_session},
};

const FORM: &str = "application/x-www-form-urlencoded";
const INACTIVE: &[u8] = br#"{"active":false}"#;

fn form(path: &str, known: &(String, String), body: &str) -> Ask {
    ask("POST", path)
        .header("content-type", FORM)
        .header("authorization", &basic(&known.0, &known.1))
        .body(body.to_owned())
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl Rig {
    async fn introspect(&self, known: &(String, String), token: &str) -> Got {
        self.public(form("/oauth/introspect", known, &format!("token={}", encoded(token)))).await
    }

    async fn revoke(&self, known: &(String, String), token: &str) -> Got {
        self.public(form("/oauth/revoke", known, &format!("token={}", encoded(token)))).await
    }

    /// A good token, but of a session that never was.
    fn token_of_no_session(&self, byte: u8) -> String {
        let request = TokenRequest {
            session: crate::wire::SessionId::from_bytes([byte; 16]),
            account: AccountId::parse("AAAAAAAAAAAAAAAAAAAAAA").unwrap(),
            audience: "edge",
            now: Clock::wall(&*self.clock),
            ttl: Millis::from_secs(600),
            nonce: [1; 8],
            status: StatusIndex { list: ListId::from_bytes([1; 8]), idx: 1 },
        };
        self.surface.state.issuer.issue(&request).unwrap().text
    }

    async fn is_active(&self, known: &(String, String), token: &str) -> bool {
        self.introspect(known, token).await.ok().json()["active"] == true
    }
}

#[tokio::test]
async fn a_revoked_token_is_dead_before_the_answer_and_stays_so_in_the_store() {
    let rig = Rig::new().await;
    let edge = rig.edge("edge").await;
    let (id, key) = rig.account(600).await;
    let opened = rig.activate(&key).await.ok();
    let token = opened.text("token");
    rig.clock.advance(Millis::from_secs(10));
    let got = rig.revoke(&edge, &token).await;
    assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &b""[..]));
    assert_eq!(got.header("cache-control"), Some("no-store"));
    assert!(!rig.is_active(&edge, &token).await);
    let account = rig.store.account(&AccountId::parse(&id).unwrap()).await.unwrap().unwrap().account;
    assert_eq!(account.session.unwrap().end.unwrap().reason.name(), "revoked");
    assert_eq!(account.balance.as_ms(), 590_000, "what was vouched for is charged");
    // The client is told by its next ack, and may activate again.
    let beat = frame(&opened, HeartbeatKind::Beat, rig.clock.now());
    let crate::engine::Beat::Answer { verdict, .. } = rig.engine.beat(&beat, rig.clock.now()) else { panic!() };
    assert_eq!(verdict, crate::wire::WireVerdict::Invalid(crate::wire::EndReason::Revoked));
    rig.activate(&key).await.ok();
}

#[tokio::test]
async fn revoking_what_is_not_a_live_token_of_this_edge_is_answered_the_same_and_does_nothing() {
    let rig = Rig::new().await;
    let (edge, other) = (rig.edge("edge").await, rig.edge("other").await);
    let (_, key) = rig.account(600).await;
    let superseded = rig.activate(&key).await.ok().text("token");
    let token = rig.activate(&key).await.ok().text("token");
    let unknown = token.replace('.', "x");
    for dead in ["", "x", "a.b.c", "gtk_x", &superseded, &unknown, &format!("{token}x"), &made_up_token()] {
        let got = rig.revoke(&edge, dead).await;
        assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &b""[..]), "{dead}");
    }
    assert_eq!(rig.revoke(&other, &token).await.status, StatusCode::OK);
    assert!(rig.is_active(&edge, &token).await, "nobody else's edge ends a session");
    for hint in ["refresh_token", "access_token", "nonsense", ""] {
        let body = format!("token=x&token_type_hint={hint}");
        rig.public(form("/oauth/revoke", &edge, &body)).await.ok();
    }
    let hinted = format!("token={token}&token_type_hint=refresh_token");
    rig.public(form("/oauth/revoke", &edge, &hinted)).await.ok();
    assert!(!rig.is_active(&edge, &token).await, "a wrong hint is not followed");
    assert_eq!(rig.revoke(&edge, &token).await.status, StatusCode::OK, "twice is as good as once");
}

#[tokio::test]
async fn a_renewed_sessions_previous_token_neither_counts_nor_ends_the_session() {
    let rig = Rig::new().await;
    let edge = rig.edge("edge").await;
    let (_, key) = rig.account(600).await;
    let opened = rig.activate(&key).await.ok();
    let before = opened.text("token");
    let renew = ask("POST", "/v1/renew").bearer(&before).header("content-type", "application/octet-stream");
    let renewed = rig.public(renew.body(frame(&opened, HeartbeatKind::Renew, rig.clock.now()))).await.ok();
    let token = renewed.text("token");
    assert!(!rig.is_active(&edge, &before).await && rig.is_active(&edge, &token).await);
    rig.revoke(&edge, &before).await.ok();
    assert!(rig.is_active(&edge, &token).await);
}

#[tokio::test]
async fn a_revocation_that_cannot_be_kept_is_answered_503_and_the_token_lives() {
    let rig = Rig::new().await;
    let edge = rig.edge("edge").await;
    let (_, key) = rig.account(600).await;
    let token = rig.activate(&key).await.ok().text("token");
    rig.store.close().await.unwrap();
    let refused = rig.revoke(&edge, &token).await;
    assert_eq!(refused.is(ErrorCode::StoreUnavailable)["error"], "temporarily_unavailable");
    assert!(rig.is_active(&edge, &token).await);
    rig.stub.cold.store(true, Ordering::Relaxed);
    rig.revoke(&edge, &token).await.is(ErrorCode::WarmingUp);
    rig.introspect(&edge, &token).await.is(ErrorCode::WarmingUp);
}

#[tokio::test]
async fn both_endpoints_refuse_the_same_requests() {
    let rig = Rig::new().await;
    let edge = rig.edge("edge").await;
    let known = basic(&edge.0, &edge.1);
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let of = |body: &str| form(path, &edge, body);
        for (body, what) in [
            ("", "no token"),
            ("token_type_hint=x", "no token"),
            ("token=x&token=x", "a parameter twice"),
            ("token=x&token=y", "a parameter twice"),
            ("token=x&to%6Ben=y", "a parameter twice, in disguise"),
            ("token=x&token_type_hint=a&token_type_hint=b", "a parameter twice"),
            ("token=x&client_id=a&client_id=a", "a parameter twice"),
            ("token=x&client_id=somebody_else", "two clients"),
            ("token=x&client_secret=x", "two secrets"),
        ] {
            let got = rig.public(of(body)).await;
            assert_eq!(got.is(ErrorCode::BadRequest)["error"], "invalid_request", "{path} {what}");
            assert!(!String::from_utf8_lossy(&got.body).contains("token=x"));
        }
        let query = ask("POST", &format!("{path}?token=x")).header("content-type", FORM);
        rig.public(query.header("authorization", &known).body("token=x")).await.is(ErrorCode::BadRequest);
        let twice = of("token=x").header("authorization", &known);
        rig.public(twice).await.is(ErrorCode::BadRequest);
        for wrong in
            ["application/json", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencodedx"]
        {
            let ask = ask("POST", path).header("content-type", wrong).header("authorization", &known);
            rig.public(ask.body("token=x")).await.is(ErrorCode::UnsupportedMediaType);
        }
        let typeless = ask("POST", path).header("authorization", &known).body("token=x");
        rig.public(typeless).await.is(ErrorCode::UnsupportedMediaType);
        let charset = ask("POST", path).header("content-type", "Application/X-WWW-Form-Urlencoded; charset=utf-8");
        rig.public(charset.header("authorization", &known).body("token=x")).await.ok();
        rig.public(of(&format!("token={}", "a".repeat(1 << 20)))).await.is(ErrorCode::BodyTooLarge);
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let got = rig.public(ask(method, path)).await;
            got.is(ErrorCode::MethodNotAllowed);
            assert_eq!(got.header("allow"), Some("POST"), "{method} {path}");
        }
        for stranger in [
            ask("POST", path).header("content-type", FORM).body("token=x"),
            ask("POST", path).header("content-type", FORM).bearer("x").body("token=x"),
            form(path, &(edge.0.clone(), "wrong".into()), "token=x"),
            form(path, &("nobody".into(), edge.1.clone()), "token=x"),
            form(path, &(edge.0.clone(), String::new()), "token=x"),
        ] {
            assert_eq!(rig.public(stranger).await.is(ErrorCode::BadCredentials)["error"], "invalid_client");
        }
        let posted = format!("token=x&client_id={}&client_secret={}", edge.0, edge.1);
        rig.public(ask("POST", path).header("content-type", FORM).body(posted)).await.ok();
    }
}

/// A token of a session that never was.
fn made_up_token() -> String {
    let payload = format!(r#"{{"jti":"{}.AAAAAAAAAAA","iss":"x"}}"#, URL_SAFE_NO_PAD.encode([0x0f; 16]));
    format!("e30.{}.AAAA", URL_SAFE_NO_PAD.encode(payload))
}

#[tokio::test]
async fn a_token_that_was_signed_by_anyone_else_in_any_way_is_inactive() {
    let rig = Rig::new().await;
    let edge = rig.edge("edge").await;
    let (_, key) = rig.account(600).await;
    let token = rig.activate(&key).await.ok().text("token");
    let parts: Vec<&str> = token.split('.').collect();
    let jwks = rig.public(ask("GET", "/.well-known/jwks.json")).await.ok();
    let encode = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let with_header = |header: &str, signature: &str| format!("{}.{}.{signature}", encode(header), parts[1]);
    let claims: Value = serde_json::from_slice(&decode(parts[1])).unwrap();
    let mut forged = vec![
        with_header(r#"{"alg":"none"}"#, ""),
        with_header(r#"{"alg":"none","typ":"at+jwt"}"#, parts[2]),
        with_header(r#"{"alg":"ES256","typ":"at+jwt","jku":"http://127.0.0.1:1/"}"#, parts[2]),
        with_header(r#"{"alg":"ES256","typ":"at+jwt","x5u":"http://127.0.0.1:1/"}"#, parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}."),
        format!("{token}="),
        format!(" {token}"),
        token.to_uppercase(),
        jsonwebtoken::encode(&Header::new(Alg::HS256), &claims, &EncodingKey::from_secret(&jwks.body)).unwrap(),
    ];
    for claim in ["aud", "iss", "sub", "client_id"] {
        let mut changed = claims.clone();
        changed[claim] = "other".into();
        forged.push(format!("{}.{}.{}", parts[0], encode(&changed.to_string()), parts[2]));
    }
    for forged in forged {
        let got = rig.introspect(&edge, &forged).await;
        assert_eq!((got.status, &got.body[..]), (StatusCode::OK, INACTIVE), "{forged}");
    }
    assert!(rig.is_active(&edge, &token).await);
}

#[tokio::test]
async fn a_session_nobody_knows_is_looked_up_once_and_without_a_store_nobody_can_tell() {
    let rig = Rig::new().await;
    let edge = rig.edge("edge").await;
    let unheard = rig.token_of_no_session(0x0f);
    assert_eq!(&rig.introspect(&edge, &unheard).await.ok().body[..], INACTIVE);
    rig.store.close().await.unwrap();
    assert_eq!(&rig.introspect(&edge, &unheard).await.ok().body[..], INACTIVE, "it is remembered that there is none");
    let made_up = made_up_token();
    let other = made_up.replace(&made_up[10..14], "xxxx");
    assert_eq!(&rig.introspect(&edge, &other).await.ok().body[..], INACTIVE, "this one names no session");
    let got = rig.introspect(&edge, &rig.token_of_no_session(0x0e)).await;
    assert_eq!(got.is(ErrorCode::StoreUnavailable)["error"], "temporarily_unavailable");
    assert_eq!(rig.stub.told.lock().last(), Some(&IntrospectionOutcome::Unavailable));
    rig.clock.advance(Millis::from_secs(61));
    rig.introspect(&edge, &unheard).await.is(ErrorCode::StoreUnavailable);
}

#[tokio::test]
async fn a_token_that_this_service_did_not_sign_is_inactive_without_a_look_into_the_store() {
    let rig = Rig::among_others().await;
    let edge = rig.edge("edge").await;
    let (_, key) = rig.account(600).await;
    let token = rig.activate(&key).await.ok().text("token");
    assert!(rig.is_active(&edge, &token).await);
    rig.store.close().await.unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let changed = |part: &str| {
        let mut decoded = decode(part);
        let last = decoded.len() - 3;
        decoded[last] ^= 1;
        URL_SAFE_NO_PAD.encode(decoded)
    };
    for forged in [
        format!("{header}.{payload}.{}", changed(signature)),
        format!("{header}.{}.{signature}", changed(payload)),
        format!("{header}.{payload}.AAAA"),
        format!("{header}.{payload}."),
        format!("e30.{payload}.{signature}"),
        made_up_token(),
    ] {
        assert_eq!(&rig.introspect(&edge, &forged).await.ok().body[..], INACTIVE, "{forged}");
        rig.revoke(&edge, &forged).await.ok();
    }
    // A key that is not known here may be another node's: such a token is looked up, but not so often that it matters.
    let foreign =
        format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(r#"{"typ":"at+jwt","alg":"ES256","kid":"?"}"#));
    let mut looked_up = 0;
    for _ in 0..300 {
        looked_up += usize::from(rig.introspect(&edge, &foreign).await.json()["code"] == "store_unavailable");
    }
    assert!((100..200).contains(&looked_up), "{looked_up}");
    rig.introspect(&edge, &foreign).await.is(ErrorCode::Overloaded);
    assert!(rig.is_active(&edge, &token).await);
}

#[tokio::test]
async fn a_session_that_ended_before_this_process_began_is_inactive_by_the_store() {
    let rig = Rig::new().await;
    let edge = rig.edge("edge").await;
    let (_, key) = rig.account(600).await;
    let opened = rig.activate(&key).await.ok();
    rig.public(ask("POST", "/v1/deactivate").bearer(&key)).await.ok();
    let session = parse_session(&opened.text("session_id")).unwrap();
    let fresh =
        Engine::new(Policy::default(), SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([9; 32])), 10);
    assert!(!fresh.knows(&session) && rig.engine.knows(&session));
    assert_eq!(&rig.introspect(&edge, &opened.text("token")).await.ok().body[..], INACTIVE);
    assert_eq!(rig.store.session(&session).await.unwrap().unwrap().end.unwrap().reason.name(), "deactivated");
}

#[tokio::test]
async fn two_secrets_are_good_until_one_is_removed() {
    let rig = Rig::new().await;
    let (id, first) = rig.edge("edge").await;
    let path = format!("/admin/edges/{id}/secrets");
    let made = rig.admin(ask("POST", &path)).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let (second_id, second) = (made.text("secret_id"), made.text("client_secret"));
    rig.admin(ask("POST", &path)).await.is(ErrorCode::LimitReached);
    let listed = rig.admin(ask("GET", &path)).await.ok().json();
    let ids: Vec<_> = listed["secrets"].as_array().unwrap().iter().map(|one| one["secret_id"].clone()).collect();
    assert_eq!((ids.len(), &ids[1]), (2, &json!(second_id)));
    assert!(!listed.to_string().contains("gts_"));
    let (old, new) = ((id.clone(), first), (id.clone(), second));
    for known in [&old, &new] {
        rig.introspect(known, "x").await.ok();
    }
    let first_id = ids[0].as_str().unwrap();
    assert_eq!(rig.admin(ask("DELETE", &format!("{path}/{first_id}"))).await.status, StatusCode::NO_CONTENT);
    rig.introspect(&old, "x").await.is(ErrorCode::BadCredentials);
    rig.introspect(&new, "x").await.ok();
    rig.admin(ask("DELETE", &format!("{path}/{first_id}"))).await.is(ErrorCode::NotFound);
    rig.admin(ask("DELETE", &format!("{path}/{second_id}"))).await.is(ErrorCode::LimitReached);
    rig.introspect(&new, "x").await.ok();
    assert_eq!(rig.store.edges().await.unwrap()[0].secret_hashes.len(), 1);
    for nobody in ["/admin/edges/nobody/secrets", "/admin/edges/%FF/secrets"] {
        let got = rig.admin(ask("POST", nobody)).await;
        assert!(got.status.is_client_error(), "{nobody}");
    }
}

#[tokio::test]
async fn an_issuer_with_a_path_has_its_metadata_behind_the_well_known_path() {
    let rig = Rig::of_issuer("https://tank.test/tenants/one").await;
    let wanted = "/.well-known/oauth-authorization-server/tenants/one";
    let metadata = rig.public(ask("GET", wanted)).await.ok().json();
    assert_eq!(metadata["issuer"], "https://tank.test/tenants/one", "byte for byte");
    for other in ["/tenants/two", "/tenants", "/tenants/one/more"] {
        let path = format!("/.well-known/oauth-authorization-server{other}");
        rig.public(ask("GET", &path)).await.is(ErrorCode::NotFound);
    }
    let plain = Rig::new().await;
    plain.public(ask("GET", wanted)).await.is(ErrorCode::NotFound);
}

#[tokio::test]
async fn the_cluster_secret_rotates_by_command_with_sessions_that_go_on() {
    let rig = Rig::new().await;
    let edge = rig.edge("edge").await;
    let (_, key) = rig.account(600).await;
    let opened = rig.activate(&key).await.ok();
    let after = rig.admin(ask("POST", "/admin/keys/rotate-secret")).await.ok().json();
    assert_eq!(after["cluster_secrets"], json!([{"id": 0, "state": "retiring"}, {"id": 1, "state": "current"}]));
    assert_eq!(rig.admin(ask("GET", "/admin/keys")).await.ok().json(), after);
    rig.admin(ask("POST", "/admin/keys/rotate")).await.ok();
    let renew =
        ask("POST", "/v1/renew").bearer(&opened.text("token")).header("content-type", "application/octet-stream");
    let renewed = rig.public(renew.body(frame(&opened, HeartbeatKind::Renew, rig.clock.now()))).await.ok();
    assert!(rig.is_active(&edge, &renewed.text("token")).await);
    let (_, other) = rig.account(600).await;
    let session = parse_session(&rig.activate(&other).await.ok().text("session_id")).unwrap();
    assert_eq!(session.secret().get(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_token_but_the_right_one_is_ever_active(change in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new().await;
            let edge = rig.edge("edge").await;
            let (_, key) = rig.account(600).await;
            let token = rig.activate(&key).await.ok().text("token");
            let mut bytes = token.clone().into_bytes();
            let at = change.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            let body: String = form_urlencoded::byte_serialize(&bytes).collect();
            let got = rig.public(form("/oauth/introspect", &edge, &format!("token={body}"))).await;
            assert_eq!(got.status, StatusCode::OK);
            assert_eq!(got.body == INACTIVE, bytes != token.as_bytes());
        });
    }

    #[test]
    fn no_body_brings_introspection_down_or_is_told_more_than_it_may_be(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new().await;
            let edge = rig.edge("edge").await;
            for path in ["/oauth/introspect", "/oauth/revoke"] {
                let mut asked = form(path, &edge, "");
                *asked.request.body_mut() = Full::new(Bytes::from(body.clone()));
                let got = rig.public(asked).await;
                assert!(matches!(got.status.as_u16(), 200 | 400), "{path} {}", got.status);
            }
        });
    }
}
