//! The provider by its routes, on a real store.

mod logout;

use std::{collections::BTreeMap, sync::Arc};

use axum::{body::Body, extract::Request};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, StatusCode, header::LOCATION};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt as _;

use super::*;
use crate::{
    control::{
        audit::AuditLog,
        hub_clients::{AddedClient, ClientRegistry, NewClient},
        keyring::{KeyPolicy, Keyring},
        keys::Algorithm,
        redirects::RedirectUri,
        tokens::Issuer,
    },
    engine::{AccountId, Engine, Policy, SecretRing},
    entropy::SeededEntropy,
    hub::{AddressLimits, Alone, DeviceText, HubSessions, Lifetimes, Profile, SessionSecret, SignIn},
    store::{Actor, ClientKind, Identity, SqliteStore, Store},
    time::{Clock, FakeClock, MeterTime, Millis, UnixMs},
    web::{limits::Rate, peer::Peer},
    wire::{ClusterSecret, SecretId},
};

const START: UnixMs = UnixMs::from_ms(1_700_000_000_000);
const ISSUER: &str = "https://tank.test";
const REDIRECT: &str = "https://app.example/cb?x=1";
const AFTER: &str = "https://app.example/bye?x=1";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const ADA: AccountId = AccountId::from_bytes([1; 16]);

struct Rig {
    store: Arc<dyn Store>,
    clock: Arc<FakeClock>,
    provider: Arc<OpenIdProvider>,
    client: (String, String),
    other: (String, String),
    public: String,
}

impl Rig {
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let _ = store.create_account(ADA, &identity(), START).await.unwrap();
        let fake = Arc::new(FakeClock::new(MeterTime::from_ms(5_000), START));
        let clock: Arc<dyn Clock> = Arc::<FakeClock>::clone(&fake);
        let entropy: Arc<dyn crate::entropy::Entropy> = Arc::new(SeededEntropy::new(3));
        let ring = || SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([9; 32]));
        let policy = KeyPolicy::new(Algorithm::ES256, Millis::from_secs(86_400));
        let keyring = Arc::new(Keyring::open(&*store, &ring(), policy, START).await.unwrap());
        let issuer = Arc::new(Issuer::new(ISSUER.into(), "gastank".into(), ISSUER, keyring));
        let engine = Arc::new(Engine::new(Policy::default(), ring(), 10));
        let audit = Arc::new(AuditLog::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy)));
        let clients = ClientRegistry::open(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy), audit);
        let clients = Arc::new(clients.await.unwrap());
        let add = async |kind, uri: &str| {
            let redirect_uris = vec![RedirectUri::parse(uri).unwrap()];
            let post_logout_redirect_uris = vec![RedirectUri::parse(AFTER).unwrap()];
            let new = NewClient {
                name: "app".to_owned(),
                kind,
                redirect_uris,
                post_logout_redirect_uris,
                tank: uri == REDIRECT,
                backchannel_logout_uri: None,
            };
            let AddedClient { client, secret } = clients.add(new, &Actor::operator()).await.unwrap();
            (client.client_id.clone(), secret.map_or_else(String::new, |made| made.secret))
        };
        let client = add(ClientKind::Confidential, REDIRECT).await;
        let other = add(ClientKind::Confidential, "https://other.example/cb").await;
        let public = add(ClientKind::Public, "http://127.0.0.1/cb").await.0;
        let lifetimes = Lifetimes { absolute: Millis::from_secs(36_000), idle: Millis::from_secs(7_200) };
        let sessions = HubSessions::new(Arc::clone(&store), Arc::clone(&clock), entropy, Arc::new(Alone), lifetimes);
        let (limits, public_url) = (Arc::new(AddressLimits::new(Rate::new(100, 200), || ())), ISSUER.to_owned());
        let parts =
            ProviderParts { clients, sessions, issuer, engine, clock, limits, public_url, is_development: false };
        let provider = OpenIdProvider::new(parts);
        Self { store, clock: fake, provider: Arc::new(provider), client, other, public }
    }

    async fn sign_in(&self) -> SessionSecret {
        self.sign_in_at(Some(self.clock.wall())).await
    }

    /// The mark of who is sent to sign in anew.
    async fn asked(&self, who: &SessionSecret, but: &[(&str, &str)]) -> String {
        let next = self.authorize(Some(who), but).await.param("next").expect("a sign-in");
        next.split_once("&gastank_asked=").expect("a mark").1.to_owned()
    }

    /// Somebody signs in who proved who they are at this instant, by the word of their provider.
    async fn sign_in_at(&self, auth_time: Option<UnixMs>) -> SessionSecret {
        let sign_in = SignIn {
            account: ADA,
            identity: identity(),
            profile: Profile {
                name: Some("Ada".to_owned()),
                email: Some("ada@example.org".to_owned()),
                ..Profile::default()
            },
            auth_time,
            acr: Some("mfa".to_owned()),
            amr: vec!["pwd".to_owned()],
            provider_sid: None,
            device: DeviceText::new("Firefox"),
        };
        self.provider.sessions.begin(sign_in, None).await.unwrap().0
    }

    async fn ask(&self, request: Request) -> (StatusCode, HeaderMap, Value) {
        let response = self.provider.router::<()>().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        #[expect(clippy::disallowed_methods, reason = "the body is our own")]
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// The parameters of a request that is as it should be, but for these; an empty one is left out.
    fn params(&self, but: &[(&str, &str)]) -> String {
        let mut params = BTreeMap::from([
            ("response_type", "code"),
            ("client_id", &*self.client.0),
            ("redirect_uri", REDIRECT),
            ("scope", "openid profile tank unheard-of"),
            ("state", "a state & more"),
            ("nonce", "n-1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        params.extend(but.iter().copied());
        let given = params.into_iter().filter(|(_, value)| !value.is_empty());
        form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish()
    }

    /// Where a browser is sent to.
    async fn authorize(&self, who: Option<&SessionSecret>, but: &[(&str, &str)]) -> Sent {
        let mut request = Request::get(format!("{AUTHORIZE}?{}", self.params(but)));
        if let Some(who) = who {
            request = request.header("cookie", format!("a=b; __Host-gastank={}", who.expose()));
        }
        let (status, headers, body) = self.ask(request.body(Body::empty()).unwrap()).await;
        let location = headers.get(LOCATION).map(|to| to.to_str().unwrap().to_owned());
        Sent { status, location, body }
    }

    async fn code(&self, who: &SessionSecret, but: &[(&str, &str)]) -> String {
        self.authorize(Some(who), but).await.param("code").expect("a code")
    }

    async fn redeem(&self, code: &str, but: &[(&str, &str)]) -> (StatusCode, Value) {
        let mut params = BTreeMap::from([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
            ("client_id", &*self.client.0),
            ("client_secret", &*self.client.1),
        ]);
        params.extend(but.iter().copied());
        let given = params.into_iter().filter(|(_, value)| !value.is_empty());
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
        let request = Request::post(TOKEN).header("content-type", "application/x-www-form-urlencoded");
        let (status, _, body) = self.ask(request.body(Body::from(form)).unwrap()).await;
        (status, body)
    }

    async fn handle(&self, who: &SessionSecret) -> String {
        let (status, answer) = self.redeem(&self.code(who, &[]).await, &[]).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn userinfo(&self, handle: &str) -> (StatusCode, Value) {
        let request = Request::get(USERINFO).header("authorization", format!("Bearer {handle}"));
        let (status, _, body) = self.ask(request.body(Body::empty()).unwrap()).await;
        (status, body)
    }

    async fn lives(&self, handle: &str) -> bool {
        self.userinfo(handle).await.0 == StatusCode::OK
    }
}

struct Sent {
    status: StatusCode,
    location: Option<String>,
    body: Value,
}

impl Sent {
    fn param(&self, name: &str) -> Option<String> {
        let (_, query) = self.location.as_ref()?.split_once('?')?;
        form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    fn is_to(&self, start: &str) -> bool {
        self.location.as_ref().is_some_and(|to| to.starts_with(start))
    }
}

fn identity() -> Identity {
    Identity { issuer: "https://id.example".to_owned(), subject: "ada".to_owned() }
}

fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_code_becomes_a_handle_and_an_id_token() {
    let rig = Rig::new().await;
    let who = rig.sign_in().await;
    let sent = rig.authorize(Some(&who), &[]).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    assert!(sent.is_to(&format!("{REDIRECT}&code=")), "{:?}", sent.location);
    assert_eq!((sent.param("state").as_deref(), sent.param("iss").as_deref()), (Some("a state & more"), Some(ISSUER)));
    let (status, answer) = rig.redeem(&sent.param("code").unwrap(), &[]).await;
    assert_eq!(
        (status, &answer["token_type"], &answer["scope"]),
        (StatusCode::OK, &json!("Bearer"), &json!("openid profile tank"))
    );
    assert_eq!(answer["expires_in"], 36_000);
    let handle = answer["access_token"].as_str().unwrap();
    assert!(handle.starts_with("gth_1_"));
    let told = claims(&answer["id_token"]);
    let half = URL_SAFE_NO_PAD.encode(&Sha256::digest(handle)[..16]);
    for (name, value) in [
        ("iss", json!(ISSUER)),
        ("aud", json!(rig.client.0)),
        ("sub", json!(ADA.to_string())),
        ("nonce", json!("n-1")),
        ("at_hash", json!(half)),
        ("acr", json!("mfa")),
        ("amr", json!(["pwd"])),
        ("auth_time", json!(START.as_secs())),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    let (_, info) = rig.userinfo(handle).await;
    assert_eq!(info, json!({"sub": ADA.to_string(), "name": "Ada"}), "the scope has no email");
    let told_client = rig.provider.introspect(&rig.client.0, handle).await.unwrap().unwrap();
    let told_client: Value = serde_json::from_slice(&told_client).unwrap();
    assert_eq!(
        (&told_client["active"], &told_client["name"], &told_client["sid"]),
        (&json!(true), &json!("Ada"), &told["sid"])
    );
    assert_eq!(rig.provider.introspect(&rig.other.0, handle).await.unwrap(), None, "it is another client's");
    let HandleOutcome::Opens(owner) = rig.provider.owner(handle).await.unwrap() else { panic!("{answer}") };
    assert_eq!((owner.account, owner.client_id), (ADA, rig.client.0.clone()));
}

#[tokio::test]
async fn a_code_that_is_redeemed_again_ends_what_it_was_redeemed_for() {
    let rig = Rig::new().await;
    let who = rig.sign_in().await;
    let code = rig.code(&who, &[]).await;
    let (_, first) = rig.redeem(&code, &[]).await;
    let handle = first["access_token"].as_str().unwrap();
    assert!(rig.lives(handle).await);
    let (status, again) = rig.redeem(&code, &[]).await;
    assert_eq!((status, &again["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    assert!(!rig.lives(handle).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_redemptions_of_one_code_at_once_none_is_left_with_a_handle() {
    let rig = Arc::new(Rig::new().await);
    let who = rig.sign_in().await;
    for _ in 0..10 {
        let code = rig.code(&who, &[]).await;
        let racers: Vec<_> = (0..4)
            .map(|_| {
                let (rig, code) = (Arc::clone(&rig), code.clone());
                tokio::spawn(async move { rig.redeem(&code, &[]).await })
            })
            .collect();
        let mut given = Vec::new();
        for racer in racers {
            given.extend(racer.await.unwrap().1["access_token"].as_str().map(ToOwned::to_owned));
        }
        assert!(given.len() <= 1, "one at the most: {}", given.len());
        for handle in given {
            assert!(!rig.lives(&handle).await, "somebody else had the code");
        }
    }
}

#[tokio::test]
async fn a_code_is_good_for_its_client_redirect_uri_and_verifier_alone() {
    let rig = Rig::new().await;
    let who = rig.sign_in().await;
    let code = rig.code(&who, &[]).await;
    let (id, secret) = (&*rig.other.0, &*rig.other.1);
    for (but, error) in [
        (vec![("client_id", id), ("client_secret", secret)], "invalid_grant"),
        (vec![("client_id", &*rig.public), ("client_secret", "")], "invalid_grant"),
        (vec![("redirect_uri", "https://app.example/cb")], "invalid_grant"),
        (vec![("redirect_uri", "https://app.example/cb/?x=1")], "invalid_grant"),
        (vec![("redirect_uri", "https://APP.example/cb?x=1")], "invalid_grant"),
        (vec![("redirect_uri", "https://app.example:443/cb?x=1")], "invalid_grant"),
        (vec![("redirect_uri", "")], "invalid_grant"),
        (vec![("code_verifier", "")], "invalid_request"),
        (vec![("code_verifier", CHALLENGE)], "invalid_grant"),
        (vec![("code_verifier", &VERIFIER[..42])], "invalid_grant"),
        (vec![("code", &code[..code.len() - 2])], "invalid_grant"),
        (vec![("grant_type", "refresh_token")], "unsupported_grant_type"),
    ] {
        let (status, answer) = rig.redeem(&code, &but).await;
        assert_eq!((status, answer["error"].as_str()), (StatusCode::BAD_REQUEST, Some(error)), "{but:?}");
    }
    for but in [vec![("client_secret", "wrong")], vec![("client_secret", "")], vec![("client_id", "")]] {
        let (status, answer) = rig.redeem(&code, &but).await;
        assert_eq!((status, answer["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_client")), "{but:?}");
    }
    let (status, _) = rig.redeem(&code, &[]).await;
    assert_eq!(status, StatusCode::OK, "nobody else has used it up");
    let late = rig.code(&who, &[]).await;
    rig.clock.advance(Millis::from_secs(60));
    assert_eq!(rig.redeem(&late, &[]).await.1["error"], "invalid_grant", "a minute has passed");
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_a_known_clients() {
    let rig = Rig::new().await;
    let who = rig.sign_in().await;
    for but in [
        [("client_id", "unknown"), ("state", "s")],
        [("client_id", ""), ("state", "s")],
        [("redirect_uri", "https://evil.example/"), ("state", "s")],
        [("redirect_uri", "https://app.example/cb?x=1&y=2"), ("state", "s")],
        [("redirect_uri", ""), ("state", "s")],
        [("client_id", &*rig.other.0), ("state", "s")],
    ] {
        let sent = rig.authorize(Some(&who), &but).await;
        assert_eq!((sent.status, sent.location), (StatusCode::BAD_REQUEST, None), "{but:?} {}", sent.body);
    }
    let query = format!("{}&client_id={}", rig.params(&[]), rig.client.0);
    let request = Request::get(format!("{AUTHORIZE}?{query}")).body(Body::empty()).unwrap();
    assert_eq!(rig.ask(request).await.0, StatusCode::BAD_REQUEST, "a parameter is given twice");
}

#[tokio::test]
async fn what_a_known_client_asks_wrongly_is_told_to_it() {
    let rig = Rig::new().await;
    let who = rig.sign_in().await;
    for (but, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_mode", "fragment"), "invalid_request"),
        (("request", "e30."), "request_not_supported"),
        (("request_uri", "https://app.example/r"), "request_uri_not_supported"),
        (("scope", "profile"), "invalid_scope"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", VERIFIER.trim_end_matches('k')), "invalid_request"),
        (("max_age", "soon"), "invalid_request"),
        (("prompt", "none login"), "invalid_request"),
    ] {
        let sent = rig.authorize(Some(&who), &[but]).await;
        assert!(sent.is_to(REDIRECT) && sent.param("code").is_none(), "{but:?}");
        let told = (sent.param("error"), sent.param("state"), sent.param("iss"));
        assert_eq!(
            told,
            (Some(error.to_owned()), Some("a state & more".to_owned()), Some(ISSUER.to_owned())),
            "{but:?}"
        );
    }
    let tank = [("client_id", &*rig.other.0), ("redirect_uri", "https://other.example/cb")];
    assert_eq!(rig.authorize(Some(&who), &tank).await.param("error").as_deref(), Some("invalid_scope"));
}

#[tokio::test]
async fn people_are_asked_to_sign_in_when_they_have_to() {
    let rig = Rig::new().await;
    let sent = rig.authorize(None, &[]).await;
    assert!(sent.is_to("https://tank.test/sign-in?next=%2Foauth%2Fauthorize%3F"), "{:?}", sent.location);
    assert_eq!(sent.param("prompt"), None);
    assert_eq!(rig.authorize(None, &[("prompt", "none")]).await.param("error").as_deref(), Some("login_required"));
    let who = rig.sign_in().await;
    assert!(rig.authorize(Some(&who), &[("prompt", "none")]).await.param("code").is_some());
    let anew = rig.authorize(Some(&who), &[("prompt", "login")]).await;
    assert_eq!(anew.param("prompt").as_deref(), Some("login"));
    let next = anew.param("next").unwrap();
    assert!(!next.contains("prompt=") && next.contains("&gastank_asked="), "{next}");
    rig.clock.advance(Millis::from_secs(100));
    assert!(rig.authorize(Some(&who), &[("max_age", "100")]).await.param("code").is_some());
    let stale = [("max_age", "60")];
    assert!(rig.authorize(Some(&who), &stale).await.is_to("https://tank.test/sign-in?"));
    let silent = [("max_age", "60"), ("prompt", "none")];
    assert_eq!(rig.authorize(Some(&who), &silent).await.param("error").as_deref(), Some("login_required"));
    let asked = rig.asked(&who, &stale).await;
    let asked = [("max_age", "60"), ("gastank_asked", &*asked)];
    let again = rig.authorize(Some(&who), &asked).await;
    assert_eq!(again.param("error").as_deref(), Some("login_required"), "nobody is sent round in circles");
    let fresh = rig.sign_in().await;
    assert!(rig.authorize(Some(&fresh), &asked).await.param("code").is_some());
    let of_zero = rig.asked(&fresh, &[("prompt", "login")]).await;
    rig.clock.advance(Millis::from_secs(20));
    let fresh = rig.sign_in().await;
    rig.clock.advance(Millis::from_secs(20));
    let zero = [("max_age", "0"), ("gastank_asked", &*of_zero)];
    assert!(rig.authorize(Some(&fresh), &zero).await.param("code").is_some(), "the way back takes its time");
}

#[tokio::test]
async fn who_is_to_sign_in_anew_gets_no_code_by_an_older_session() {
    let rig = Rig::new().await;
    let old = rig.sign_in().await;
    rig.clock.advance(Millis::from_secs(7_000));
    let made_up = [("prompt", "login"), ("gastank_asked", "1")];
    assert!(rig.authorize(Some(&old), &made_up).await.is_to("https://tank.test/sign-in?"), "nobody was asked");
    let asked = rig.asked(&old, &[("prompt", "login")]).await;
    let back = [("gastank_asked", &*asked)];
    let refused = rig.authorize(Some(&old), &back).await;
    assert_eq!(refused.param("error").as_deref(), Some("login_required"), "the same session as before");
    let of_other = [("client_id", &*rig.public), ("redirect_uri", "http://127.0.0.1/cb"), ("gastank_asked", &*asked)];
    let of_other = [&of_other[..], &[("scope", "openid")]].concat();
    assert!(rig.authorize(Some(&old), &of_other).await.is_to("https://tank.test/sign-in?"), "another client's");
    rig.clock.advance(Millis::from_secs(30));
    let proved_long_ago = rig.sign_in_at(Some(START)).await;
    let refused = rig.authorize(Some(&proved_long_ago), &back).await;
    assert_eq!(refused.param("error").as_deref(), Some("login_required"), "their provider did not ask them");
    let anew = rig.sign_in().await;
    assert!(rig.authorize(Some(&anew), &back).await.param("code").is_some());
    assert!(rig.authorize(Some(&rig.sign_in_at(None).await), &back).await.param("code").is_some());
    rig.clock.advance(Millis::from_secs(700));
    assert!(rig.authorize(Some(&anew), &back).await.is_to("https://tank.test/sign-in?"), "that was long ago");
}

#[tokio::test]
async fn when_nobody_knows_when_somebody_signed_in_no_age_is_vouched_for() {
    let rig = Rig::new().await;
    let who = rig.sign_in_at(None).await;
    let aged = [("max_age", "3600")];
    assert!(rig.authorize(Some(&who), &aged).await.is_to("https://tank.test/sign-in?"));
    let asked = rig.asked(&who, &aged).await;
    let again = rig.authorize(Some(&rig.sign_in_at(None).await), &[aged[0], ("gastank_asked", &asked)]).await;
    assert_eq!(again.param("error").as_deref(), Some("login_required"));
    let (status, answer) = rig.redeem(&rig.code(&who, &[]).await, &[]).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(claims(&answer["id_token"]).get("auth_time").is_none(), "{answer}");
    let handle = answer["access_token"].as_str().unwrap();
    let told = rig.provider.introspect(&rig.client.0, handle).await.unwrap().unwrap();
    assert!(serde_json::from_slice::<Value>(&told).unwrap().get("auth_time").is_none());
}

#[tokio::test]
async fn parameters_that_a_sign_in_cannot_take_along_are_refused_and_not_dropped() {
    let rig = Rig::new().await;
    let long = "s".repeat(1_500);
    assert!(rig.authorize(None, &[("state", &long)]).await.is_to("https://tank.test/sign-in?next=%2Foauth"));
    let long = "s".repeat(3_000);
    let refused = rig.authorize(None, &[("state", &long)]).await;
    assert_eq!(
        (refused.param("error").as_deref(), refused.param("state")),
        (Some("invalid_request"), Some(long.clone()))
    );
    let who = rig.sign_in().await;
    assert!(rig.authorize(Some(&who), &[("state", &long)]).await.param("code").is_some(), "nobody has to sign in");
}

#[tokio::test]
async fn anonymous_requests_reach_no_store_and_codes_are_given_without_a_write() {
    let rig = Rig::new().await;
    let who = rig.sign_in().await;
    assert!(rig.authorize(Some(&who), &[]).await.param("code").is_some(), "the session is in memory");
    rig.store.close().await.unwrap();
    for _ in 0..1_000 {
        assert!(rig.authorize(None, &[]).await.is_to("https://tank.test/sign-in?"));
    }
    let code = rig.code(&who, &[]).await;
    let (status, answer) = rig.redeem(&code, &[]).await;
    assert_eq!((status, &answer["error"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("temporarily_unavailable")));
    let forged = format!("gth_1_{}A", "A".repeat(42));
    assert_eq!(rig.userinfo(&forged).await.0, StatusCode::SERVICE_UNAVAILABLE, "nobody can tell, and that is no 401");
    assert_eq!(rig.userinfo("gth_1_short").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_handle_ends_with_its_session_its_client_or_its_revocation() {
    let rig = Rig::new().await;
    let (one, two) = (rig.sign_in().await, rig.sign_in().await);
    let (first, second, third) = (rig.handle(&one).await, rig.handle(&one).await, rig.handle(&two).await);
    assert!(rig.lives(&first).await && rig.lives(&second).await && rig.lives(&third).await);
    rig.provider.revoke(&rig.other.0, &first).await.unwrap();
    assert!(rig.lives(&first).await, "another client's");
    rig.provider.revoke(&rig.client.0, &first).await.unwrap();
    assert!(!rig.lives(&first).await && rig.lives(&second).await);
    let session = rig.provider.sessions.find(&one).await.unwrap().unwrap();
    let _ = rig.provider.sessions.end(&ADA, &session.id).await.unwrap();
    assert!(!rig.lives(&second).await && rig.lives(&third).await);
    let code = rig.code(&two, &[]).await;
    rig.provider.sessions.end_everywhere(&ADA).await.unwrap();
    assert!(!rig.lives(&third).await);
    assert_eq!(rig.redeem(&code, &[]).await.1["error"], "invalid_grant", "the person has signed out");
    let after = rig.handle(&rig.sign_in().await).await;
    rig.provider.clients.remove(rig.client.0.clone(), &Actor::operator()).await.unwrap();
    assert!(!rig.lives(&after).await, "its client is gone");
}

#[tokio::test]
async fn a_session_and_client_have_four_handles_at_the_most() {
    let rig = Rig::new().await;
    let who = rig.sign_in().await;
    let mut handles = Vec::new();
    for _ in 0..5 {
        rig.clock.advance(Millis::new(1));
        handles.push(rig.handle(&who).await);
    }
    let mut alive = Vec::new();
    for handle in &handles {
        alive.push(rig.lives(handle).await);
    }
    assert_eq!(alive, [false, true, true, true, true]);
}

#[tokio::test]
async fn a_public_client_redeems_with_its_verifier_alone_at_any_port_of_this_machine() {
    let rig = Rig::new().await;
    let who = rig.sign_in().await;
    let uri = "http://127.0.0.1:49152/cb";
    let of_app = [("client_id", &*rig.public), ("redirect_uri", uri), ("scope", "openid email")];
    let code = rig.code(&who, &of_app).await;
    let (status, answer) =
        rig.redeem(&code, &[("client_id", &rig.public), ("client_secret", ""), ("redirect_uri", uri)]).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let handle = answer["access_token"].as_str().unwrap();
    assert_eq!(rig.userinfo(handle).await.1["email"], "ada@example.org");
    assert_eq!(rig.provider.owner(handle).await.unwrap(), HandleOutcome::OutOfScope);
    assert_eq!(rig.provider.owner(&format!("{handle}A")).await.unwrap(), HandleOutcome::NotGood);
}

#[tokio::test]
async fn the_documents_name_what_there_is() {
    let rig = Rig::new().await;
    let request = Request::get("/.well-known/openid-configuration").body(Body::empty()).unwrap();
    let (status, _, document) = rig.ask(request).await;
    assert_eq!((status, &document["issuer"]), (StatusCode::OK, &json!(ISSUER)));
    assert_eq!(document["authorization_endpoint"], format!("{ISSUER}{AUTHORIZE}"));
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
    assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(document["prompt_values_supported"], json!(["none", "login"]));
    // As an authorization server it is the same.
    let server = serde_json::to_value(crate::control::http::ServerMetadata::of(&rig.provider.issuer, ISSUER)).unwrap();
    assert!(server.as_object().unwrap().iter().all(|(name, value)| &document[name] == value), "{document}");
}

#[tokio::test]
async fn cookies_and_handles_that_were_made_up_are_looked_up_only_so_often() {
    let rig = Rig::new().await;
    let peer = Peer(([192, 0, 2, 1], 4711).into());
    let (cookie, handle) = (format!("__Host-gastank=gts_1_{}A", "A".repeat(42)), format!("gth_1_{}A", "A".repeat(42)));
    let mut answers = Vec::new();
    for n in 0..400 {
        let request = if n % 2 == 0 {
            Request::get(format!("{AUTHORIZE}?{}", rig.params(&[]))).header("cookie", &cookie)
        } else {
            Request::get(USERINFO).header("authorization", format!("Bearer {handle}"))
        };
        let request = request.extension(peer).body(Body::empty()).unwrap();
        let (status, headers, _) = rig.ask(request).await;
        let to = headers.get(LOCATION).map_or("", |to| to.to_str().unwrap());
        answers.push(match status {
            StatusCode::SEE_OTHER if to.contains("error=temporarily_unavailable") => 429,
            status => status.as_u16(),
        });
    }
    let asked = answers.iter().filter(|answer| **answer != 429).count();
    assert!(answers.starts_with(&[303, 401]) && (200..300).contains(&asked), "{asked} {answers:?}");
    let (status, headers, _) = {
        let request = Request::get(format!("{AUTHORIZE}?{}", rig.params(&[]))).extension(peer);
        rig.ask(request.body(Body::empty()).unwrap()).await
    };
    assert!(status == StatusCode::SEE_OTHER && headers[LOCATION].to_str().unwrap().contains("/sign-in?"), "no cookie");
}
