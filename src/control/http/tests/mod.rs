//! The surfaces, asked as their callers ask them.

mod administration;
mod admission;
mod audit;
mod bodies;
mod clients;
mod description;
mod edges;
mod events;
mod hardening;
mod history;
mod hooks;
mod hub_clients;
mod panics;
mod sign_in;
mod status;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use parking_lot::Mutex;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    control::{
        acts::{Acts, Witness},
        hooks::secrets::HookSecrets,
        hub_clients::ClientRegistry,
        keyring::{KeyPolicy, Keyring},
        keys::Algorithm,
        secrets::{SecretFile, Secrets},
        status::{StatusKeeper, StatusPolicy},
        status_token::StatusTokens,
        tokens::Issuer,
    },
    engine::{AccountId, Act, Credit, Engine, ListSize, Policy, SecretRing},
    entropy::SeededEntropy,
    identity::{AuthError, Authenticator, CapabilityCredit, EventError, EventReader, SignedIn, verify::Fault},
    store::{Identity, SqliteStore, StoreError, roles::*},
    time::{Clock, FakeClock, MeterTime, Millis, UnixMs},
    web::{
        admission::{Admission, Capacity},
        peer::Peer,
    },
    wire::{ClusterSecret, Heartbeat, HeartbeatKind, SecretId, SessionKey, StateBits},
};

use super::*;

const ADMIN: &str = "an admin token of the tests";
const START: UnixMs = UnixMs::from_ms(1_700_000_000_042);

/// A service without listeners.
struct Rig {
    surface: Arc<Surface>,
    clock: Arc<FakeClock>,
    engine: Arc<Engine>,
    store: Arc<SqliteStore>,
    stub: Arc<Stub>,
    home: tempfile::TempDir,
}

#[derive(Default)]
struct Stub {
    cold: AtomicBool,
    starting_credit_s: AtomicI64,
    routes: Mutex<Vec<String>>,
    answers: Mutex<Vec<Answered>>,
    told: Mutex<Vec<IntrospectionOutcome>>,
    activated: Mutex<Vec<Activated>>,
    limited: Mutex<Vec<LimitedBy>>,
    hooked: Mutex<Vec<WebhookResult>>,
    heard: Mutex<Vec<EventResult>>,
    /// What the event tokens of the tests say.
    events: Mutex<HashMap<String, crate::identity::ProviderEvents>>,
}

impl Instruments for Stub {
    fn phase(&self) -> Phase {
        if self.cold.load(Ordering::Relaxed) { Phase::WarmingUp } else { Phase::Ready }
    }

    fn store_reachable(&self) -> bool {
        true
    }

    fn warmed(&self) -> (u64, u64) {
        (3, 256)
    }

    fn nodes(&self) -> Option<u64> {
        None
    }

    fn exposition(&self, _under_way: &[(Budget, usize)]) -> String {
        "gastank_up 1\n".to_owned()
    }

    fn answered(&self, route: &str, answered: Answered, _took: Duration) {
        self.routes.lock().push(route.to_owned());
        self.answers.lock().push(answered);
    }

    fn activated(&self, outcome: Activated) {
        self.activated.lock().push(outcome);
    }

    fn renewed(&self, _refused: Option<ErrorCode>) {}

    fn told(&self, told: IntrospectionOutcome) {
        self.told.lock().push(told);
    }

    fn hooked(&self, outcome: WebhookResult) {
        self.hooked.lock().push(outcome);
    }

    fn heard(&self, outcome: EventResult) {
        self.heard.lock().push(outcome);
    }

    fn limited(&self, by: LimitedBy) {
        self.limited.lock().push(by);
    }

    fn shed(&self, _budget: Budget) {}
}

/// Tokens of the tests are `id:SUBJECT`, and `old:SUBJECT` where they tell that they were issued before the start; and `down` is shown while the provider is.
#[async_trait::async_trait]
impl Authenticator for Stub {
    async fn authenticate(&self, bearer: &str, _now: UnixMs) -> Result<SignedIn, AuthError> {
        match bearer.split_once(':') {
            Some((kind @ ("id" | "old"), subject)) => Ok(SignedIn {
                identity: Identity { issuer: "https://id.test".into(), subject: subject.into() },
                starting_credit: Credit::from_secs(self.starting_credit_s.load(Ordering::Relaxed)),
                issued_before: (kind == "old").then_some(START),
                generation: None,
                gives: gifts(),
            }),
            _ if bearer == "down" => Err(AuthError::Unavailable),
            _ => Err(AuthError::Rejected),
        }
    }
}

/// What subscriptions give in the tests.
fn gifts() -> Arc<[CapabilityCredit]> {
    let (credit, period) = (Credit::from_secs(600), Millis::from_secs(86_400));
    [CapabilityCredit { capability: "pro".into(), credit, period }].into()
}

/// Event tokens of the tests are names of what they say.
#[async_trait::async_trait]
impl EventReader for Stub {
    fn takes_events(&self) -> bool {
        !self.events.lock().is_empty()
    }

    async fn read(&self, set: &str, _now: UnixMs) -> Result<crate::identity::ProviderEvents, EventError> {
        match set {
            "down" => Err(EventError::Unavailable),
            "forged" => Err(EventError::Refused(Fault::Signature)),
            _ => self.events.lock().get(set).cloned().ok_or(EventError::Refused(Fault::Malformed)),
        }
    }
}

struct Nobody;

impl Witness for Nobody {
    fn committed(&self, _act: &Act) {}
}

/// Cluster secrets that are kept nowhere.
struct NoFile;

impl SecretFile for NoFile {
    fn keep(&self, _ring: &SecretRing) -> std::io::Result<()> {
        Ok(())
    }
}

/// What came back.
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    fn text(&self, field: &str) -> String {
        let json = self.json();
        json[field].as_str().unwrap_or_else(|| panic!("no {field} in {json}")).to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Holds an error against the shape that all of them have.
    #[track_caller]
    fn is(&self, code: ErrorCode) -> Value {
        assert_eq!(self.status, code.status(), "{:?}", self.body);
        let json = self.json();
        let of_oauth = json.get("error").is_some();
        let form = if of_oauth { "application/json" } else { "application/problem+json" };
        assert_eq!(self.header("content-type"), Some(form));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(json["code"], code.name());
        assert_eq!(json["type"], format!("/errors/{}", code.name()));
        assert_eq!(json["title"], code.title());
        assert_eq!(json["status"], code.status().as_u16());
        assert!(json["detail"].is_string());
        let must_say_when = [429, 503].contains(&code.status().as_u16());
        assert_eq!(self.header("retry-after").is_some(), must_say_when);
        json
    }

    #[track_caller]
    fn ok(self) -> Self {
        assert!(self.status.is_success(), "{} {:?}", self.status, self.body);
        self
    }
}

/// A request to be made.
struct Ask {
    request: Request<Full<Bytes>>,
}

fn ask(method: &str, path: &str) -> Ask {
    Ask { request: Request::builder().method(method).uri(path).body(Full::default()).unwrap() }
}

impl Ask {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().append(name, value.parse().unwrap());
        self
    }

    fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Full::new(body.into());
        self
    }

    fn from(mut self, address: &str) -> Self {
        self.request.extensions_mut().insert(Peer(address.parse().unwrap()));
        self
    }
}

/// Of what is asked about handles nothing is ever answered.
#[async_trait::async_trait]
impl Handles for Stub {
    async fn introspect(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        std::future::pending().await
    }

    async fn revoke(&self, _: &str, _: &str) -> Result<(), StoreError> {
        std::future::pending().await
    }

    async fn owner(&self, handle: &str) -> Result<HandleOutcome, StoreError> {
        if let Some(account) = handle.strip_prefix("gth_1_of_").and_then(AccountId::parse) {
            return Ok(HandleOutcome::Opens(HandleOwner { account, client_id: "app".into() }));
        }
        Ok(if handle.ends_with("other") { HandleOutcome::OutOfScope } else { HandleOutcome::NotGood })
    }
}

/// A surface of another room, for owners.
fn of_owners() -> Mounted {
    let whose = async |owner: Owner| owner.account.to_string();
    Mounted {
        public: OpenApiRouter::new().route("/v1/of-owners", get(whose)),
        admin: OpenApiRouter::new(),
        bodies: Vec::new(),
    }
}

impl Rig {
    /// The same with another issuer.
    async fn of_issuer(issuer: &str) -> Self {
        Self::made(issuer, false, |_| {}).await
    }

    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::made("https://tank.test", false, change).await
    }

    /// One of several nodes.
    async fn among_others() -> Self {
        Self::made("https://tank.test", true, |_| {}).await
    }

    async fn made(issuer: &str, among_others: bool, change: impl FnOnce(&mut Settings)) -> Self {
        let store = Arc::new(SqliteStore::open_in_memory().unwrap());
        let clock = Arc::new(FakeClock::new(MeterTime::from_ms(5_000), START));
        let entropy = Arc::new(SeededEntropy::new(7));
        let secret = ClusterSecret::from_bytes([9; 32]);
        let ring = || SecretRing::new(SecretId::default(), secret.clone());
        let policy = KeyPolicy::new(Algorithm::ES256, Millis::from_secs(86_400));
        let keyring = Arc::new(Keyring::open(&*store, &ring(), policy, START).await.unwrap());
        let issuer = Arc::new(Issuer::new(issuer.into(), "gastank".into(), "https://tank.test", keyring));
        let engine = Engine::new(Policy::default(), ring(), 1000);
        let engine = Arc::new(if among_others { engine.among_others() } else { engine });
        let lists = StatusPolicy { size: ListSize::new(256).unwrap(), ..StatusPolicy::new(Policy::default().max_ttl) };
        let keeper =
            StatusKeeper::open(engine.clone(), store.clone(), clock.clone(), entropy.clone(), lists).await.unwrap();
        let keeper = Arc::new(keeper);
        let ttl = Millis::from_secs(60);
        let statuses = StatusTokens::new(engine.clone(), clock.clone(), issuer.clone(), keeper.clone(), ttl);
        let acts = Arc::new(Acts::new(
            engine.clone(),
            store.clone(),
            clock.clone(),
            entropy.clone(),
            issuer.clone(),
            keeper,
            Arc::new(Nobody),
        ));
        let secrets =
            Secrets::new(engine.clone(), issuer.keyring().clone(), store.clone(), entropy.clone(), Arc::new(NoFile));
        let stub = Arc::new(Stub::default());
        let mut settings = Settings {
            audience: "edge".into(),
            http_url: "https://tank.test".into(),
            udp: Some("tank.test:7080".into()),
            quic: Some("tank.test:7443".into()),
            webtransport: Some("https://tank.test:7443/v1/webtransport".into()),
            certificates: None,
            listeners: vec![("http".into(), "127.0.0.1:7080".into())],
            admin_token: AdminToken::new(ADMIN),
            max_body_bytes: 64 * 1024,
            body_timeout: Duration::from_millis(200),
            audit_retention: Millis::from_secs(90 * 86_400),
            history_keep: Some(Millis::from_secs(30 * 86_400)),
            client: ClientDocument::default(),
            per_account: None,
            per_address: None,
            hooks_per_address: None,
        };
        change(&mut settings);
        let home = tempfile::tempdir().unwrap();
        let hooks = HookSecrets::open(home.path().join("hooks.secrets"), Millis::from_secs(300), START).unwrap();
        let audit = acts.audit().clone();
        let clients = ClientRegistry::open(store.clone(), clock.clone(), entropy.clone(), audit).await.unwrap();
        let parts = Parts {
            clients: Arc::new(clients),
            handles: Some(stub.clone()),
            sign_ins: None,
            acts,
            engine: engine.clone(),
            store: store.clone(),
            clock: clock.clone(),
            entropy,
            issuer,
            identity: stub.clone(),
            events: stub.clone(),
            hooks: Arc::new(hooks),
            statuses: Arc::new(statuses),
            secrets: Arc::new(secrets),
            instruments: stub.clone(),
            admission: Admission::new(Capacity { total: 16, per_network: Some(4) }),
            settings,
        };
        let surface = Arc::new(Surface::open(parts, vec![of_owners()]).await.unwrap());
        Self { surface, clock, engine, store, stub, home }
    }

    async fn public(&self, ask: Ask) -> Got {
        let call = Call::of(&ask);
        call.described(got(self.surface.clone().public(ask.request).await).await)
    }

    /// As an operator.
    async fn admin(&self, ask: Ask) -> Got {
        self.stranger(ask.bearer(ADMIN)).await
    }

    /// At the operators' listener, as whoever the request says.
    async fn stranger(&self, ask: Ask) -> Got {
        let call = Call::of(&ask);
        call.described(got(self.surface.clone().admin(ask.request).await).await)
    }

    /// An account with credit: its id and a key.
    async fn account(&self, credit_s: u64) -> (String, String) {
        let made = self.admin(ask("POST", "/admin/accounts").json(&json!({"credit_s": credit_s, "key": true}))).await;
        let made = made.ok();
        (made.text("account"), made.text("key"))
    }

    /// An edge: its client id and secret.
    async fn edge(&self, audience: &str) -> (String, String) {
        let body = json!({"name": "an edge", "audience": audience});
        let made = self.admin(ask("POST", "/admin/edges").json(&body)).await.ok();
        (made.text("client_id"), made.text("client_secret"))
    }

    async fn activate(&self, key: &str) -> Got {
        self.public(ask("POST", "/v1/activate").bearer(key)).await
    }
}

/// What is asked, to be held against the description with what is answered: every test of the surfaces does so.
struct Call {
    method: String,
    path: String,
}

impl Call {
    fn of(ask: &Ask) -> Self {
        Self { method: ask.request.method().as_str().to_lowercase(), path: ask.request.uri().path().to_owned() }
    }

    /// Panics if the description of the call does not have this answer. What is no call of the description is let pass.
    #[track_caller]
    fn described(self, got: Got) -> Got {
        static DOCUMENT: std::sync::OnceLock<Value> = std::sync::OnceLock::new();
        let document = DOCUMENT.get_or_init(|| {
            serde_json::from_slice(&openapi::render(&openapi::routers(Vec::new()).2)).expect("it is JSON")
        });
        let segments = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let asked = segments(&self.path);
        let fits = |template: &str| {
            let template = segments(template);
            let same = |(part, wanted): (&String, &String)| part == wanted || wanted.starts_with('{');
            template.len() == asked.len() && asked.iter().zip(&template).all(same)
        };
        let paths = document["paths"].as_object().expect("it has paths");
        // What is written out comes before what has a parameter.
        let exact = paths.get(&self.path);
        let Some(item) = exact.or_else(|| paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item))
        else {
            return got;
        };
        let Some(call) = item.get(&self.method) else { return got };
        let status = got.status.as_u16().to_string();
        let answer = call["responses"].get(&status);
        let Self { method, path } = self;
        let answer = answer
            .unwrap_or_else(|| panic!("{method} {path} answers {status}, which is not described: {:?}", got.body));
        let code =
            serde_json::from_slice::<Value>(&got.body).ok().and_then(|body| body["code"].as_str().map(str::to_owned));
        if let Some(code) = code.filter(|_| !got.status.is_success()) {
            let described = answer["description"].as_str().unwrap_or_default();
            assert!(described.contains(&format!("`{code}`")), "{method} {path} answers {status} {code}: {described}");
        }
        got
    }
}

async fn got(response: Response<Body>) -> Got {
    let (parts, body) = response.into_parts();
    #[expect(clippy::disallowed_methods, reason = "what is collected is limited to 1 MiB")]
    let body = Limited::new(body, 1 << 20).collect().await.unwrap().to_bytes();
    Got { status: parts.status, headers: parts.headers, body }
}

/// A signed frame of the session that an activation opened.
fn frame(activation: &Got, kind: HeartbeatKind, clock: MeterTime) -> Vec<u8> {
    let json = activation.json();
    let session = crate::engine::parse_session(json["session_id"].as_str().unwrap()).unwrap();
    let key = decode(json["heartbeat_key"].as_str().unwrap());
    let mac = SessionKey::from_bytes(key.try_into().unwrap()).body_mac();
    Heartbeat { kind, state: StateBits(0), seq: 1, session, clock }.sign(&mac).to_vec()
}

fn decode(text: &str) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn encode(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token that says what another does, with another signature.
fn altered(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = decode(signature);
    signature[5] ^= 1;
    format!("{message}.{}", encode(&signature))
}

fn basic(id: &str, secret: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}
