//! The real thing: engine, acts and a store, on a clock that the test moves.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures_util::TryStreamExt;
use gastank::{
    control::{
        acts::{ActError, Activation, Acts, Credited, Witness},
        keyring::{KeyPolicy, Keyring},
        keys::Algorithm,
        peers::Alone,
        secrets::{SecretFile, Secrets},
        status::{StatusKeeper, StatusPolicy},
        tokens::{Issuer, claims_of, session_of},
    },
    engine::{
        AccountId, Act, Beat, Checkpoint, Credit, EndedSession, Engine, EntryKind, ListId, ListSize, Moment, NewEntry,
        Policy, SLICES, SecretRing, Source, StatusIndex, Then, TokenHash, Verdict, bucket,
    },
    entropy::{SeededEntropy, draw},
    hub::{self, HubSessions, Lifetimes},
    service::{history::History, upkeep::Upkeep},
    store::{Created, Identity, roles::*},
    telemetry::Telemetry,
    time::{Clock, FakeClock, MeterTime, Millis, UnixMs},
    wire::{
        Ack, BodyMac, ClusterSecret, EndReason, FRAME_LEN, Heartbeat, HeartbeatKind, SecretId, SessionId, StateBits,
    },
};
use tokio::sync::OnceCell;

use crate::memory_store::MemoryStore;

/// When the wall clocks of the tests start.
pub(crate) const WALL: UnixMs = UnixMs::from_ms(1_800_000_000_000);
const URL: &str = "https://gastank.test";
pub(crate) const AUDIENCE: &str = "edge";
const GRAVES: usize = 10_000;

/// A service that is up.
pub(crate) struct Rig {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) acts: Arc<Acts>,
    pub(crate) keeper: Arc<StatusKeeper>,
    entropy: Arc<SeededEntropy>,
    policy: Policy,
}

/// A client, with what it was given at activation.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) session: SessionId,
    pub(crate) token: String,
    pub(crate) mac: BodyMac,
}

struct Nobody;

impl Witness for Nobody {
    fn committed(&self, _: &Act) {}
}

/// Cluster secrets that are kept nowhere.
struct NoFile;

impl SecretFile for NoFile {
    fn keep(&self, _: &SecretRing) -> std::io::Result<()> {
        Ok(())
    }
}

impl Rig {
    /// A service with an empty store of its own and the policy that users get.
    pub(crate) async fn new() -> Self {
        Self::start(Arc::new(MemoryStore::default()), Arc::new(SeededEntropy::new(1)), Policy::default(), WALL).await
    }

    /// Starts on whatever the store holds, as the program does: the meter resumes, open sessions come back.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        entropy: Arc<SeededEntropy>,
        policy: Policy,
        wall: UnixMs,
    ) -> Self {
        let resumed = store.clock().await.unwrap().map_or(MeterTime::ZERO, |fact| fact.last_alive);
        let clock = Arc::new(FakeClock::new(resumed, wall));
        store.keep_clock(clock.fact()).await.unwrap();
        let engine = Arc::new(Engine::new(policy, secrets(), GRAVES));
        let issuer = issuer().await;
        // Small, so that lists and blocks of indices come to their end within a history.
        let lists = StatusPolicy { size: ListSize::new(64).unwrap(), block: 8, ..StatusPolicy::new(policy.max_ttl) };
        let keeper = StatusKeeper::open(
            Arc::clone(&engine),
            Arc::clone(&store),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&entropy) as Arc<_>,
            lists,
        );
        let keeper = Arc::new(keeper.await.unwrap());
        for open in store.recover().try_concat().await.unwrap() {
            let moment = Moment { now: resumed, wall, sighting: None };
            engine.restore(&open.account, open.last_seen, &moment);
        }
        let acts = Arc::new(Acts::new(
            Arc::clone(&engine),
            Arc::clone(&store),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&entropy) as Arc<_>,
            issuer,
            Arc::clone(&keeper),
            Arc::new(Nobody),
        ));
        Self { store, clock, engine, acts, keeper, entropy, policy }
    }

    /// The service dies and comes back after `outage`; what was not durable is gone.
    pub(crate) async fn crash(&mut self, outage: Millis) {
        let wall = self.clock.wall().plus(outage);
        *self = Self::start(Arc::clone(&self.store), Arc::clone(&self.entropy), self.policy, wall).await;
    }

    /// The service is stopped as an operator does it, and started again after `outage`.
    pub(crate) async fn restart(&mut self, outage: Millis) {
        self.sweep(0..SLICES).await;
        self.keep_clock().await;
        self.crash(outage).await;
    }

    pub(crate) fn now(&self) -> MeterTime {
        self.clock.now()
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.clock.advance(Millis::new(ms));
    }

    pub(crate) async fn keep_clock(&self) {
        self.store.keep_clock(self.clock.fact()).await.unwrap();
    }

    pub(crate) async fn account(&self, credit_ms: i64) -> AccountId {
        let id = AccountId::from_bytes(draw(&*self.entropy));
        let identity = Identity { issuer: "local".into(), subject: id.to_string() };
        let (_, created) = self.store.create_account(id, &identity, self.clock.wall()).await.unwrap();
        assert_eq!(created, Created::New);
        if credit_ms != 0 {
            self.credit(&id, credit_ms, "first").await.unwrap();
        }
        id
    }

    pub(crate) async fn credit(&self, account: &AccountId, ms: i64, name: &str) -> Result<Credited, ActError> {
        self.acts.credit(account, grant(ms, name)).await
    }

    pub(crate) async fn activate(&self, account: &AccountId) -> Result<Client, ActError> {
        self.acts.activate(account, AUDIENCE).await.map(Client::from)
    }

    /// Renews with the client's token. The client keeps the old one unless it is told to take the new one.
    pub(crate) async fn renew(&self, client: &Client) -> Result<String, ActError> {
        let frame = client.frame(HeartbeatKind::Renew, self.now());
        self.acts.renew(&client.token, &frame).await.map(|renewal| renewal.token.text)
    }

    pub(crate) async fn beat(&self, client: &Client) -> Ack {
        self.deliver(client, &client.frame(HeartbeatKind::Beat, self.now())).await
    }

    /// Delivers a frame, and does beside it what a listener does.
    pub(crate) async fn deliver(&self, client: &Client, frame: &[u8]) -> Ack {
        let Beat::Answer { ack, verdict, then } = self.engine.beat(frame, self.now()) else {
            panic!("a good frame is answered")
        };
        match then {
            Then::Done => {}
            Then::Settle(account) => self.acts.settle(&account).await.unwrap(),
            Then::LookUp(session) => {
                if let Some(end) = self.store.session(&session).await.unwrap().and_then(|record| record.end) {
                    self.engine.remember_ended(session, EndedSession { reason: end.reason, remaining_s: 0 });
                }
            }
        }
        let ack = Ack::verify(ack.as_bytes(), &client.mac).unwrap();
        assert_eq!(ack.verdict, verdict);
        ack
    }

    pub(crate) fn verdict(&self, token: &str) -> Verdict {
        let session = session_of(token.as_bytes()).unwrap();
        self.engine.verdict(&session, &TokenHash::of(token.as_bytes()), self.now())
    }

    /// Whether a token's status list says that it is good. `None` once the list is forgotten.
    pub(crate) fn is_listed_valid(&self, token: &str) -> Option<bool> {
        let index = status_of(token);
        self.engine.lists().find(&index.list).map(|list| !list.is_invalid(index.idx).unwrap())
    }

    pub(crate) fn is_valid(&self, token: &str) -> bool {
        matches!(self.verdict(token), Verdict::Valid { .. })
    }

    /// Sweeps slices, settles what is over and writes checkpoints, as the background task does.
    pub(crate) async fn sweep(&self, slices: impl IntoIterator<Item = usize>) {
        for slice in slices {
            let found = self.engine.sweep(slice, self.now(), true);
            for account in found.over {
                self.acts.settle(&account).await.unwrap();
            }
            let mut dirty = found.dirty;
            dirty.sort_by_key(|row| bucket(&row.session));
            for rows in dirty.chunk_by(|a: &Checkpoint, b| bucket(&a.session) == bucket(&b.session)) {
                self.store.checkpoint(bucket(&rows[0].session), rows).await.unwrap();
                self.engine.checkpointed(rows);
            }
        }
    }

    /// The upkeep of this service, as the program has it.
    pub(crate) async fn upkeep(&self, history: Option<Arc<History>>, telemetry: &Telemetry) -> Upkeep {
        let keyring = Arc::clone(issuer().await.keyring());
        let secrets = Secrets::new(
            Arc::clone(&self.engine),
            Arc::clone(&keyring),
            Arc::clone(&self.store),
            Arc::clone(&self.entropy) as Arc<_>,
            Arc::new(NoFile),
        );
        let lifetimes = Lifetimes { absolute: Millis::from_secs(3600), idle: Millis::from_secs(600) };
        let hub_sessions = HubSessions::new(
            Arc::clone(&self.store),
            Arc::clone(&self.clock) as Arc<_>,
            Arc::clone(&self.entropy) as Arc<_>,
            Arc::new(hub::Alone),
            lifetimes,
        );
        Upkeep {
            engine: Arc::clone(&self.engine),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            membership: Arc::new(Alone),
            acts: Arc::clone(&self.acts),
            hub_sessions,
            keyring,
            keeper: Arc::clone(&self.keeper),
            secrets: Arc::new(secrets),
            audit_retention: Millis::from_secs(86_400),
            history,
            rotate_keys: None,
            telemetry: telemetry.clone(),
            checkpoint_interval: Millis::from_secs(30),
            skewed: Arc::default(),
            rounds: Arc::default(),
            data_file: None,
            kept: None,
        }
    }

    /// What is left to burn, without touching the store.
    pub(crate) async fn remaining(&self, account: &AccountId) -> Millis {
        let account = self.store.account(account).await.unwrap().unwrap().account;
        let now = self.now();
        let sighting = account.open().and_then(|session| self.engine.sighting(&session.id, now));
        account.remaining(&Moment { now, wall: self.clock.wall(), sighting }, self.policy.timeout)
    }

    /// The amounts in the ledger, oldest first.
    pub(crate) async fn ledger(&self, account: &AccountId) -> Vec<i64> {
        let entries = self.store.entries(account, 0, usize::MAX).await.unwrap();
        entries.iter().map(|entry| entry.amount.as_ms()).collect()
    }

    /// Why a session ended, as the store has it.
    pub(crate) async fn end_of(&self, client: &Client) -> Option<EndReason> {
        self.store.session(&client.session).await.unwrap().unwrap().end.map(|end| end.reason)
    }
}

impl Client {
    pub(crate) fn frame(&self, kind: HeartbeatKind, clock: MeterTime) -> [u8; FRAME_LEN] {
        // No two frames are the same.
        static SEQ: AtomicU32 = AtomicU32::new(1);
        let (state, seq) = (StateBits::default(), SEQ.fetch_add(1, Ordering::Relaxed));
        Heartbeat { kind, state, seq, session: self.session, clock }.sign(&self.mac)
    }
}

impl From<Activation> for Client {
    fn from(activation: Activation) -> Self {
        Self { session: activation.session, token: activation.token.text, mac: activation.key.body_mac() }
    }
}

/// Where a token says that its bit is.
pub(crate) fn status_of(token: &str) -> StatusIndex {
    let status = claims_of(token).unwrap().status.status_list;
    let id = status.uri.strip_prefix(URL).unwrap().strip_prefix("/oauth/status/").unwrap();
    StatusIndex { list: ListId::parse(id).unwrap(), idx: status.idx }
}

pub(crate) fn grant(ms: i64, name: &str) -> NewEntry {
    NewEntry {
        kind: EntryKind::Grant,
        amount: Credit::from_ms(ms),
        source: Source::Admin,
        external_id: name.to_owned(),
        reason: None,
    }
}

pub(crate) fn refund(ms: i64, name: &str) -> NewEntry {
    NewEntry { kind: EntryKind::Refund, source: Source::Webhook, ..grant(-ms, name) }
}

fn secrets() -> SecretRing {
    SecretRing::new(SecretId::default(), secret())
}

fn secret() -> ClusterSecret {
    ClusterSecret::from_bytes([7; 32])
}

/// One issuer for all: keys are costly to make.
async fn issuer() -> Arc<Issuer> {
    static ISSUER: OnceCell<Arc<Issuer>> = OnceCell::const_new();
    let make = || async {
        let policy = KeyPolicy::new(Algorithm::ES256, Policy::default().max_ttl);
        let keyring = Keyring::open(&MemoryStore::default(), &secrets(), policy, WALL).await.unwrap();
        Arc::new(Issuer::new(URL.into(), "client".into(), URL, Arc::new(keyring)))
    };
    Arc::clone(ISSUER.get_or_init(make).await)
}
