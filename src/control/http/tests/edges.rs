use super::*;

const FORM: &str = "application/x-www-form-urlencoded";

struct Edge {
    id: String,
    secret: String,
}

impl Edge {
    async fn of(rig: &Rig, audience: &str) -> Self {
        let (id, secret) = rig.edge(audience).await;
        Self { id, secret }
    }

    fn about(&self, token: &str) -> Ask {
        form(&format!("token={token}")).header("authorization", &basic(&self.id, &self.secret))
    }
}

fn form(body: &str) -> Ask {
    ask("POST", "/oauth/introspect").header("content-type", FORM).body(body.to_owned())
}

#[track_caller]
fn inactive(got: &Got) {
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(&got.body[..], br#"{"active":false}"#);
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_good_token_is_active_with_its_claims() {
    let rig = Rig::new().await;
    let edge = Edge::of(&rig, "edge").await;
    let (id, key) = rig.account(600).await;
    let token = rig.activate(&key).await.ok().text("token");
    let got = rig.public(edge.about(&token)).await.ok();
    assert_eq!(got.header("cache-control"), Some("no-store"));
    let json = got.json();
    assert_eq!(json["active"], true);
    assert_eq!(json["token_type"], "Bearer");
    assert_eq!(json["iss"], "https://tank.test");
    assert_eq!(json["aud"], "edge");
    assert_eq!(json["client_id"], "gastank");
    assert_eq!(json["iat"], 1_700_000_000);
    assert_eq!(json["exp"], 1_700_000_601);
    assert!(json["jti"].is_string());
    assert_ne!(json["sub"], id);
    let members: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["active", "aud", "client_id", "exp", "iat", "iss", "jti", "sub", "token_type"]);
    assert_eq!(*rig.stub.told.lock(), [IntrospectionOutcome::Active]);
    assert_eq!(rig.stub.routes.lock().last().map(String::as_str), Some("/oauth/introspect"));
}

#[tokio::test]
async fn whatever_is_not_active_is_answered_byte_for_byte_the_same() {
    let rig = Rig::new().await;
    let edge = Edge::of(&rig, "edge").await;
    let other = Edge::of(&rig, "other").await;
    let (_, key) = rig.account(600).await;
    let superseded = rig.activate(&key).await.ok().text("token");
    let token = rig.activate(&key).await.ok().text("token");
    rig.public(edge.about(&token)).await.ok();

    inactive(&rig.public(edge.about(&superseded)).await);
    inactive(&rig.public(other.about(&token)).await);
    let mut forged = token.clone().into_bytes();
    let last = forged.last_mut().unwrap();
    *last = if *last == b'A' { b'B' } else { b'A' };
    inactive(&rig.public(edge.about(std::str::from_utf8(&forged).unwrap())).await);
    for nonsense in ["", "x", "a.b.c", "gtk_x", "%FF%FE", &"a".repeat(20_000), "e30.e30."] {
        inactive(&rig.public(edge.about(nonsense)).await);
    }
    rig.public(ask("POST", "/v1/deactivate").bearer(&key)).await.ok();
    inactive(&rig.public(edge.about(&token)).await);
}

#[tokio::test]
async fn silence_and_the_wall_clock_end_a_token() {
    let rig = Rig::new().await;
    let edge = Edge::of(&rig, "edge").await;
    let (_, key) = rig.account(600).await;
    let token = rig.activate(&key).await.ok().text("token");
    rig.clock.step_wall(UnixMs::from_ms(1_700_000_600_999));
    rig.public(edge.about(&token)).await.ok().json()["active"].as_bool().filter(|active| *active).unwrap();
    rig.clock.step_wall(UnixMs::from_ms(1_700_000_601_000));
    inactive(&rig.public(edge.about(&token)).await);
    rig.clock.step_wall(START);
    rig.clock.advance(Millis::from_secs(91));
    inactive(&rig.public(edge.about(&token)).await);
}

#[tokio::test]
async fn edges_prove_who_they_are_in_one_of_two_ways() {
    let rig = Rig::new().await;
    let edge = Edge::of(&rig, "edge").await;
    let (id, secret) = (&edge.id, &edge.secret);
    inactive(&rig.public(form(&format!("token=x&client_id={id}&client_secret={secret}"))).await);
    inactive(&rig.public(edge.about("x&token_type_hint=refresh_token&unknown=1")).await);
    inactive(&rig.public(edge.about(&format!("x&client_id={id}"))).await);

    let both = edge.about(&format!("x&client_id={id}&client_secret={secret}"));
    let refused = rig.public(both).await.is(ErrorCode::BadRequest);
    assert_eq!(refused["error"], "invalid_request");

    let not_known = [
        form("token=x"),
        form(&format!("token=x&client_id={id}")),
        form(&format!("token=x&client_id={id}&client_secret=x")),
        form(&format!("token=x&client_id=nobody&client_secret={secret}")),
        form("token=x").header("authorization", &basic(id, "x")),
        form("token=x").header("authorization", "Basic %%%"),
        form("token=x").bearer(ADMIN),
    ];
    for ask in not_known {
        let got = rig.public(ask).await;
        assert_eq!(got.is(ErrorCode::BadCredentials)["error"], "invalid_client");
        assert_eq!(got.header("www-authenticate"), Some(r#"Basic realm="gastank", charset="UTF-8""#));
    }
    let twice = edge.about("x").header("authorization", &basic(id, secret));
    rig.public(twice).await.is(ErrorCode::BadRequest);
}

#[tokio::test]
async fn malformed_questions_are_refused() {
    let rig = Rig::new().await;
    let edge = Edge::of(&rig, "edge").await;
    let known = basic(&edge.id, &edge.secret);
    let in_query = ask("POST", "/oauth/introspect?token=x").header("content-type", FORM);
    rig.public(in_query.header("authorization", &known)).await.is(ErrorCode::BadRequest);
    rig.public(edge.about("x&token=y")).await.is(ErrorCode::BadRequest);
    rig.public(edge.about("x&client_id=a&client_id=a")).await.is(ErrorCode::BadRequest);
    rig.public(form("token_type_hint=x").header("authorization", &known)).await.is(ErrorCode::BadRequest);
    let json = ask("POST", "/oauth/introspect").header("authorization", &known).json(&json!({"token": "x"}));
    rig.public(json).await.is(ErrorCode::UnsupportedMediaType);
    rig.public(edge.about(&"a".repeat(65 * 1024))).await.is(ErrorCode::BodyTooLarge);
    let got = rig.public(ask("GET", "/oauth/introspect")).await;
    got.is(ErrorCode::MethodNotAllowed);
    assert_eq!(got.header("allow"), Some("POST"));
}

#[tokio::test]
async fn before_the_sessions_are_known_no_token_is_called_inactive() {
    let rig = Rig::new().await;
    let edge = Edge::of(&rig, "edge").await;
    rig.stub.cold.store(true, Ordering::Relaxed);
    rig.public(edge.about("x")).await.is(ErrorCode::WarmingUp);
    assert_eq!(*rig.stub.told.lock(), [IntrospectionOutcome::Unavailable]);
}

#[tokio::test]
async fn verdicts_need_no_store_and_no_limit_holds_for_who_is_known() {
    let rig = Rig::with(|settings| {
        settings.per_account = Rate::new(1, 1);
        settings.per_address = Rate::new(1, 1);
    })
    .await;
    let edge = Edge::of(&rig, "edge").await;
    let (_, key) = rig.account(600).await;
    let token = rig.activate(&key).await.ok().text("token");
    rig.store.close().await.unwrap();
    for _ in 0..100 {
        assert_eq!(rig.public(edge.about(&token).from("192.0.2.1:1")).await.ok().json()["active"], true);
    }
    assert!(rig.stub.limited.lock().is_empty());
}

#[tokio::test]
async fn an_address_that_guesses_client_secrets_is_slowed_down_and_its_neighbours_are_not() {
    let rig = Rig::new().await;
    let edge = Edge::of(&rig, "edge").await;
    let guess = |address: &str| form("token=x").header("authorization", &basic(&edge.id, "guess")).from(address);
    let mut limited = 0;
    for _ in 0..40 {
        limited += u32::from(rig.public(guess("192.0.2.1:1")).await.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!((15..=20).contains(&limited), "{limited}");
    rig.public(guess("192.0.2.2:1")).await.is(ErrorCode::BadCredentials);
    inactive(&rig.public(edge.about("x").from("192.0.2.1:1")).await);
}

#[tokio::test]
async fn revocations_of_tokens_that_are_not_ours_do_not_reach_the_store_or_only_so_often() {
    let rig = Rig::new().await;
    let edge = Edge::of(&rig, "edge").await;
    let (_, key) = rig.account(600).await;
    let token = rig.activate(&key).await.ok().text("token");
    let revoke = |token: &str| {
        let asked = ask("POST", "/oauth/revoke").header("content-type", FORM).body(format!("token={token}"));
        rig.public(asked.header("authorization", &basic(&edge.id, &edge.secret)))
    };
    rig.store.close().await.unwrap();
    revoke(&altered(&token)).await.ok();
    revoke(&token).await.is(ErrorCode::StoreUnavailable);
    // Another node may have made the key: who knows.
    let (_, rest) = token.split_once('.').unwrap();
    let unknown = format!("{}.{rest}", encode(br#"{"typ":"at+jwt","alg":"EdDSA","kid":"another"}"#));
    assert_eq!(revoke(&unknown).await.text("code"), "store_unavailable");
    for asked in 0.. {
        assert!(asked < 3_000, "they are looked up without a limit");
        if revoke(&unknown).await.text("code") == "overloaded" {
            break;
        }
    }
}

#[tokio::test]
async fn the_keys_and_the_metadata_are_published() {
    let rig = Rig::new().await;
    let got = rig.public(ask("GET", "/.well-known/jwks.json")).await.ok();
    assert_eq!(got.header("cache-control"), Some("public, max-age=300"));
    let keys = got.json();
    assert_eq!(keys["keys"][0]["kty"], "EC");
    assert!(keys["keys"][0].get("d").is_none());
    let metadata = rig.public(ask("GET", "/.well-known/oauth-authorization-server")).await.ok().json();
    assert_eq!(metadata["issuer"], "https://tank.test");
    assert_eq!(metadata["jwks_uri"], "https://tank.test/.well-known/jwks.json");
    assert_eq!(metadata["introspection_endpoint"], "https://tank.test/oauth/introspect");
    assert_eq!(metadata["revocation_endpoint"], "https://tank.test/oauth/revoke");
    // RFC 8414, 3.2: what has no elements is left out.
    let empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty) || value.is_null();
    assert!(metadata.as_object().unwrap().values().all(|value| !empty(value)), "{metadata}");
    assert_eq!(metadata["response_types_supported"], json!(["code"]));
    assert_eq!(metadata["grant_types_supported"], json!(["authorization_code", "https://tank.test/v1/activate"]));
    assert_eq!(metadata["token_endpoint"], "https://tank.test/oauth/token");
    for endpoint in ["introspection", "revocation"] {
        let methods = &metadata[format!("{endpoint}_endpoint_auth_methods_supported")];
        assert_eq!(methods, &json!(["client_secret_basic", "client_secret_post"]));
    }
}

/// Lets the engine vouch for more sessions.
fn crowd(rig: &Rig, numbers: std::ops::Range<u32>) {
    use crate::engine::{
        Account, AccountId, ActivationNames, Entry, EntryKind, ListId, Moment, Session, Source, StatusIndex, TokenHash,
        Tokens,
    };
    let moment = Moment { now: Clock::now(&*rig.clock), wall: Clock::wall(&*rig.clock), sighting: None };
    for n in numbers {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&n.to_le_bytes());
        let account = Account::new(AccountId::from_bytes(id));
        let status = StatusIndex { list: ListId::from_bytes([0; 8]), idx: 0 };
        let expires_at = moment.wall.plus(Millis::from_secs(600));
        let tokens = Tokens {
            current: TokenHash::of(&id),
            previous: None,
            expires_at,
            expires: None,
            uncharged: Millis::ZERO,
            renewed: None,
            status,
        };
        let session = Session {
            id: crate::wire::SessionId::new(SecretId::default(), id),
            started: moment.now,
            started_at: moment.wall,
            audience: String::new(),
            tokens,
            names: ActivationNames::default(),
            end: None,
        };
        let grant = Entry {
            number: 1,
            kind: EntryKind::Grant,
            amount: Credit::from_secs(600),
            owed: Credit::ZERO,
            source: Source::Admin,
            external_id: n.to_string(),
            reason: None,
            at: moment.wall,
        };
        let act = Act { opens: Some(session), entries: vec![grant], ..account.nothing() };
        rig.engine.apply(&account.after(&act), &act, &moment);
    }
}

#[tokio::test]
async fn an_answer_allocates_the_same_however_many_sessions_there_are() {
    let rig = Rig::new().await;
    let edge = Edge::of(&rig, "edge").await;
    let (_, key) = rig.account(600).await;
    let token = rig.activate(&key).await.ok().text("token");
    let known = basic(&edge.id, &edge.secret);
    let good = format!("token={token}");
    let bad = format!("token={token}x");
    let mut measured = Vec::new();
    for (from, to) in [(0, 0), (0, 1_000), (1_000, 30_000)] {
        crowd(&rig, from..to);
        let (mut caller, mut body) = (Caller::default(), Vec::with_capacity(1024));
        for (form, active) in [(&good, true), (&bad, false)] {
            let mut ask = || {
                body.clear();
                let (kind, known) = (Some(FORM.as_bytes()), Some(known.as_bytes()));
                assert!(rig.surface.introspect_at_once(&mut caller, kind, known, form.as_bytes(), &mut body));
                assert_eq!(body.starts_with(br#"{"active":true"#), active);
            };
            ask();
            // What is told is counted by the tests in a list, which grows now and then.
            let least = (0..8).map(|_| allocation_counter::measure(&mut ask)).min_by_key(|info| info.bytes_total);
            let least = least.expect("it was asked");
            measured.push((active, least.count_total, least.bytes_total));
        }
    }
    println!("{measured:?}");
    for later in measured.chunks(2) {
        assert_eq!(later, &measured[..2], "{measured:?}");
    }
}

#[tokio::test]
async fn errors_of_oauth_have_the_form_of_oauth_whoever_makes_them() {
    let rig = Rig::new().await;
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        for (method, status, error) in [("POST", 415, "invalid_request"), ("GET", 405, "invalid_request")] {
            let got = rig.public(ask(method, path)).await;
            assert_eq!(got.status, status, "{method} {path}");
            assert_eq!(got.header("content-type"), Some("application/json"), "{method} {path}");
            let json = got.json();
            assert_eq!(json["error"], error, "{json}");
            assert_eq!(json["error_description"], json["detail"], "{json}");
        }
    }
}

#[tokio::test]
async fn nobody_keeps_an_answer_with_a_secret_and_errors_lead_somewhere_at_the_operators_listener_too() {
    let rig = Rig::new().await;
    let (account, key) = rig.account(100).await;
    let (edge, _) = rig.edge("a").await;
    for (method, path) in [
        ("POST", "/admin/accounts".to_owned()),
        ("POST", format!("/admin/accounts/{account}/keys")),
        ("POST", format!("/admin/edges/{edge}/secrets")),
        ("GET", "/admin/keys".to_owned()),
        ("GET", format!("/admin/accounts/{account}")),
        ("POST", "/admin/keys/rotate-secret".to_owned()),
    ] {
        let got = rig.admin(ask(method, &path).json(&json!({"key": true}))).await;
        assert_eq!(got.header("cache-control"), Some("no-store"), "{method} {path}: {:?}", got.body);
    }
    for path in ["/v1/activate", "/v1/deactivate"] {
        let got = rig.public(ask("POST", path).bearer(&key)).await.ok();
        assert_eq!(got.header("cache-control"), Some("no-store"), "{path}");
    }
    let page = rig.stranger(ask("GET", "/errors/not_found")).await.ok();
    assert!(page.body.starts_with(b"# "));
    assert_eq!(page.header("cache-control"), Some("public, max-age=300"));
}
