//! A service small enough to be seen through: the real engine behind an admin call, an activation and a UDP socket,
//! with faults that a test can ask for.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{delete, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gastank::{
    engine::{
        Account, AccountId, Act, ActivationNames, Beat, Credit, Engine, EntryKind, ListId, Moment, NewEntry, Policy,
        SecretRing, Session, Source, StatusIndex, TokenHash, Tokens, session_text,
    },
    time::{Millis, UnixMs},
    wire::{ClusterSecret, SecretId, SessionId},
};
use loadtest::clock::{Clock, MeterEstimate};
use serde_json::{Value, json};

/// What goes wrong. Zero is never.
#[derive(Default)]
pub(crate) struct Faults {
    /// Every so many datagrams, one is not answered.
    pub(crate) drop_every: AtomicU64,
    /// Every so many datagrams, an ack has a bit flipped.
    pub(crate) corrupt_every: AtomicU64,
    /// Every so many datagrams, one is answered twice.
    pub(crate) repeat_every: AtomicU64,
    /// The datagram with this number...
    pub(crate) stall_at: AtomicU64,
    /// ...keeps the service busy for so many milliseconds.
    pub(crate) stall_ms: AtomicU64,
    /// So many activations are answered with 429 or 503 before one is let through.
    pub(crate) busy_activations: AtomicU64,
}

/// The service, for as long as the program runs.
pub(crate) struct Service {
    pub(crate) http: SocketAddr,
    pub(crate) token_file: PathBuf,
    pub(crate) shared: Arc<Shared>,
    _dir: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) accounts: Mutex<HashMap<AccountId, Account>>,
    pub(crate) faults: Faults,
    pub(crate) activations: AtomicU64,
    clock: Clock,
    udp: SocketAddr,
}

const TOKEN: &str = "the-admin-token";

impl Service {
    pub(crate) fn start(policy: Policy) -> Self {
        let secret = ClusterSecret::from_bytes([42; 32]);
        let secrets = SecretRing::new(SecretId::new(3).unwrap(), secret);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            engine: Engine::new(policy, secrets, 100),
            accounts: Mutex::default(),
            faults: Faults::default(),
            activations: AtomicU64::new(0),
            clock: Clock::start(),
            udp,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let http = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/admin/accounts", post(create))
            .route("/admin/accounts/{id}", delete(remove))
            .route("/v1/activate", post(activate))
            .route("/v1/heartbeat", post(heartbeat))
            .with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, router).await });
        let answering = Arc::clone(&shared);
        thread::spawn(move || answer(&socket, &answering));
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("admin.token");
        std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        Self { http, token_file, shared, _dir: dir, _runtime: runtime }
    }

    pub(crate) fn live_accounts(&self) -> usize {
        self.shared.accounts.lock().unwrap().values().filter(|account| !account.deleted).count()
    }
}

impl Shared {
    fn moment(&self, account: Option<&Account>) -> Moment {
        let now = MeterEstimate::new(gastank::time::MeterTime::from_ms(1_000_000), Duration::ZERO).at(self.clock.now());
        let wall = UnixMs::from_ms(1_700_000_000_000 + now.as_ms());
        let open = account.and_then(Account::open);
        Moment { now, wall, sighting: open.and_then(|session| self.engine.sighting(&session.id, now)) }
    }

    fn commit(&self, accounts: &mut HashMap<AccountId, Account>, id: AccountId, act: &Act, moment: &Moment) {
        let after = accounts[&id].clone().after(act);
        self.engine.apply(&after, act, moment);
        accounts.insert(id, after);
    }
}

fn answer(socket: &UdpSocket, shared: &Shared) -> io::Result<()> {
    let every = |fault: &AtomicU64, n: u64| {
        let every = fault.load(Ordering::Relaxed);
        every > 0 && n.is_multiple_of(every)
    };
    let mut buffer = [0; 64];
    for n in 1.. {
        let (length, from) = socket.recv_from(&mut buffer)?;
        if n == shared.faults.stall_at.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(shared.faults.stall_ms.load(Ordering::Relaxed)));
        }
        let Beat::Answer { ack, .. } = shared.engine.beat(&buffer[..length], shared.moment(None).now) else { continue };
        let mut ack = *ack.as_bytes();
        if every(&shared.faults.drop_every, n) {
            continue;
        }
        if every(&shared.faults.corrupt_every, n) {
            ack[24] ^= 1;
        }
        socket.send_to(&ack, from)?;
        if every(&shared.faults.repeat_every, n) {
            socket.send_to(&ack, from)?;
        }
    }
    Ok(())
}

async fn create(State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if headers.get("authorization").is_none_or(|token| token != &format!("Bearer {TOKEN}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut accounts = shared.accounts.lock().unwrap();
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&(accounts.len() as u64).to_be_bytes());
    let id = AccountId::from_bytes(bytes);
    accounts.insert(id, Account::new(id));
    let moment = shared.moment(None);
    let entry = NewEntry {
        kind: EntryKind::Grant,
        amount: Credit::from_secs(body["credit_s"].as_i64().unwrap()),
        source: Source::Admin,
        external_id: "first".to_owned(),
        reason: None,
    };
    let act = accounts[&id].credit(&moment, shared.engine.policy(), entry).unwrap();
    shared.commit(&mut accounts, id, &act, &moment);
    assert_eq!(body["key"], json!(true));
    (StatusCode::CREATED, Json(json!({ "account": id.to_string(), "key": format!("gtk_{id}") }))).into_response()
}

async fn remove(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> StatusCode {
    let mut accounts = shared.accounts.lock().unwrap();
    let Some(account) = AccountId::parse(&id).and_then(|id| accounts.get(&id).cloned()) else {
        return StatusCode::NOT_FOUND;
    };
    let moment = shared.moment(Some(&account));
    let Some(act) = account.delete(&moment, shared.engine.policy()) else { return StatusCode::NOT_FOUND };
    shared.commit(&mut accounts, account.id, &act, &moment);
    StatusCode::NO_CONTENT
}

async fn activate(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let busy = &shared.faults.busy_activations;
    if let Ok(left) = busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
        let status = if left % 2 == 0 { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::SERVICE_UNAVAILABLE };
        return (status, [("retry-after", "0")]).into_response();
    }
    let key = headers["authorization"].to_str().unwrap().strip_prefix("Bearer gtk_").unwrap();
    let mut accounts = shared.accounts.lock().unwrap();
    let Some(account) = AccountId::parse(key).and_then(|id| accounts.get(&id).cloned()) else {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "code": "bad_credentials" }))).into_response();
    };
    let moment = shared.moment(Some(&account));
    let n = shared.activations.fetch_add(1, Ordering::Relaxed);
    let mut random = [1; 16];
    random[4..12].copy_from_slice(&n.to_be_bytes());
    let id = SessionId::new(shared.engine.secrets().current().0, random);
    let tokens = Tokens {
        current: TokenHash::of(&n.to_be_bytes()),
        previous: None,
        expires_at: moment.wall.plus(Millis::from_secs(3600)),
        expires: None,
        uncharged: Millis::ZERO,
        renewed: None,
        status: StatusIndex { list: ListId::from_bytes([0; 8]), idx: 0 },
    };
    let session = Session {
        id,
        started: moment.now,
        started_at: moment.wall,
        audience: "edge".to_owned(),
        tokens,
        names: ActivationNames::default(),
        end: None,
    };
    let policy = shared.engine.policy();
    let act = account.activate(&moment, policy, session);
    shared.commit(&mut accounts, account.id, &act, &moment);
    let heartbeat_key = shared.engine.secrets().session_key(&id).unwrap();
    Json(json!({
        "token": "token",
        "session_id": session_text(&id),
        "heartbeat_key": URL_SAFE_NO_PAD.encode(heartbeat_key.expose_bytes()),
        "meter_ms": moment.now.as_ms(),
        "heartbeat": {
            "interval_ms": policy.interval.get(),
            "timeout_ms": policy.timeout.get(),
            "udp": format!("0.0.0.0:{}", shared.udp.port()),
        },
    }))
    .into_response()
}

async fn heartbeat(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match shared.engine.beat(&body, shared.moment(None).now) {
        Beat::Answer { ack, .. } => ack.as_bytes().to_vec().into_response(),
        Beat::Silence(_) => (StatusCode::BAD_REQUEST, Json(json!({ "code": "bad_frame" }))).into_response(),
    }
}
