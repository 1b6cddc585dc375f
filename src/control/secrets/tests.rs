use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt;
use parking_lot::Mutex;

use super::*;
use crate::{
    control::{
        acts::{Activation, Acts, Witness},
        keyring::KeyPolicy,
        keys::Algorithm,
        status::{StatusKeeper, StatusPolicy},
        tokens::{Issuer, claims_of},
    },
    engine::{
        Account, AccountId, Act, Beat, Credit, EntryKind, ListSize, NewEntry, Policy, Source, TokenHash, Verdict,
    },
    entropy::SeededEntropy,
    store::{Identity, SqliteStore, roles::*},
    time::{Clock, FakeClock, MeterTime, Millis, UnixMs},
    wire::{EndReason, Heartbeat, HeartbeatKind, StateBits, WireVerdict},
};

const WALL: UnixMs = UnixMs::from_ms(1_700_000_000_000);

/// The file, in memory. What is in it is what a process that starts finds.
#[derive(Default)]
struct Paper {
    lines: Mutex<Vec<(SecretId, [u8; 32])>>,
    full: AtomicBool,
}

impl Paper {
    fn read(&self) -> SecretRing {
        let lines = self.lines.lock();
        let secret = |bytes: &[u8; 32]| ClusterSecret::from_bytes(*bytes);
        let (first, rest) = lines.split_first().expect("it has a line");
        rest.iter()
            .fold(SecretRing::new(first.0, secret(&first.1)), |ring, (id, bytes)| ring.with_current(*id, secret(bytes)))
    }

    fn ids(&self) -> Vec<u8> {
        self.lines.lock().iter().map(|(id, _)| id.get()).collect()
    }
}

impl SecretFile for Paper {
    fn keep(&self, ring: &SecretRing) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is full"));
        }
        *self.lines.lock() = ring.iter().map(|(id, secret)| (id, *secret.expose_bytes())).collect();
        Ok(())
    }
}

struct Nobody;

impl Witness for Nobody {
    fn committed(&self, _act: &Act) {}
}

/// A process on a store and a file that outlive it.
struct Process {
    engine: Arc<Engine>,
    acts: Acts,
    secrets: Secrets,
    keyring: Arc<Keyring>,
    clock: Arc<FakeClock>,
    seed: u64,
}

impl Process {
    async fn start(store: &Arc<SqliteStore>, file: &Arc<Paper>, seed: u64) -> Self {
        let entropy = Arc::new(SeededEntropy::new(seed));
        let clock = Arc::new(FakeClock::new(MeterTime::from_ms(5_000), WALL));
        let ring = file.read();
        let policy = KeyPolicy::new(Algorithm::EdDSA, Millis::from_secs(86_400));
        let keyring = Arc::new(Keyring::open(&**store, &ring, policy, WALL).await.unwrap());
        let engine = Arc::new(Engine::new(Policy::default(), ring, 100));
        let url = "https://tank.test";
        let issuer = Arc::new(Issuer::new(url.into(), "gastank".into(), url, keyring.clone()));
        let lists = StatusPolicy { size: ListSize::new(256).unwrap(), ..StatusPolicy::new(policy.max_ttl) };
        let (listed, kept) = (engine.clone(), store.clone());
        let keeper = StatusKeeper::open(listed, kept, clock.clone(), entropy.clone(), lists).await.unwrap();
        let (witness, keeper) = (Arc::new(Nobody), Arc::new(keeper));
        let acts = Acts::new(engine.clone(), store.clone(), clock.clone(), entropy.clone(), issuer, keeper, witness);
        for open in store.recover().try_concat().await.unwrap() {
            let moment = crate::engine::Moment { now: clock.now(), wall: WALL, sighting: None };
            engine.restore(&open.account, open.last_seen, &moment);
        }
        let secrets = Secrets::new(engine.clone(), keyring.clone(), store.clone(), entropy, file.clone());
        Self { engine, acts, secrets, keyring, clock, seed }
    }

    async fn account(&self, store: &SqliteStore, n: u8) -> AccountId {
        let id = AccountId::from_bytes([n; 16]);
        let who = Identity { issuer: "local".into(), subject: format!("{n}") };
        let account: Account = store.create_account(id, &who, WALL).await.unwrap().0.account;
        let amount = Credit::from_ms(600_000);
        let new = NewEntry {
            kind: EntryKind::Grant,
            amount,
            source: Source::Admin,
            external_id: format!("{}", self.seed),
            reason: None,
        };
        self.acts.credit(&account.id, new).await.unwrap();
        id
    }

    fn beats(&self, opened: &Activation) -> bool {
        let beat = Heartbeat {
            kind: HeartbeatKind::Beat,
            state: StateBits(0),
            seq: 1,
            session: opened.session,
            clock: self.clock.now(),
        };
        let answer = self.engine.beat(&beat.sign(&opened.key.body_mac()), self.clock.now());
        matches!(answer, Beat::Answer { verdict: WireVerdict::Valid, .. })
    }

    fn is_good(&self, token: &str, opened: &Activation) -> bool {
        let verdict = self.engine.verdict(&opened.session, &TokenHash::of(token.as_bytes()), self.clock.now());
        matches!(verdict, Verdict::Valid { .. })
    }

    async fn renews(&self, token: &str, opened: &Activation) -> String {
        let beat = Heartbeat {
            kind: HeartbeatKind::Renew,
            state: StateBits(0),
            seq: 1,
            session: opened.session,
            clock: self.clock.now(),
        };
        self.acts.renew(token, &beat.sign(&opened.key.body_mac())).await.unwrap().token.text
    }
}

fn set_up() -> (Arc<SqliteStore>, Arc<Paper>) {
    let file = Arc::new(Paper::default());
    file.keep(&SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([7; 32]))).unwrap();
    (Arc::new(SqliteStore::open_in_memory().unwrap()), file)
}

#[tokio::test]
async fn live_sessions_go_on_through_both_rotations_and_the_old_secret_goes_with_the_last_of_them() {
    let (store, file) = set_up();
    let process = Process::start(&store, &file, 1).await;
    let account = process.account(&store, 1).await;
    let opened = process.acts.activate(&account, "edge").await.unwrap();
    let subject = claims_of(&opened.token.text).unwrap().sub;

    process.secrets.rotate().await.unwrap();
    process.keyring.rotate(&*store, &process.engine.secrets(), WALL).await.unwrap();
    assert_eq!(file.ids(), [0, 1]);
    process.clock.advance(Millis::from_secs(10));
    assert!(process.beats(&opened) && process.is_good(&opened.token.text, &opened));
    let renewed = process.renews(&opened.token.text, &opened).await;
    assert!(process.is_good(&renewed, &opened) && !process.is_good(&opened.token.text, &opened));
    assert_eq!(claims_of(&renewed).unwrap().sub, subject, "an edge knows its people by it");

    for _ in 0..3 {
        process.secrets.tend().await.unwrap();
    }
    assert_eq!(file.ids(), [0, 1], "a session depends on it");
    assert!(process.keyring.sealed_under(&*store).await.unwrap().iter().all(|id| id.get() == 1));

    // A new session uses the new secret; with the old one's end, nothing depends on the old secret any more.
    let other = process.acts.activate(&account, "edge").await.unwrap();
    assert_eq!(other.session.secret().get(), 1);
    assert_eq!(claims_of(&other.token.text).unwrap().sub, subject);
    process.secrets.tend().await.unwrap();
    assert_eq!(file.ids(), [0, 1], "an act under way might still be using it");
    process.secrets.tend().await.unwrap();
    assert_eq!(file.ids(), [1]);
    assert!(process.beats(&other) && process.is_good(&other.token.text, &other));

    let again = Process::start(&store, &file, 2).await;
    assert!(again.beats(&other) && again.is_good(&other.token.text, &other));
}

#[tokio::test]
async fn a_process_killed_anywhere_in_a_rotation_starts_again_with_all_its_sessions() {
    let (store, file) = set_up();
    let process = Process::start(&store, &file, 1).await;
    let account = process.account(&store, 1).await;
    let opened = process.acts.activate(&account, "edge").await.unwrap();
    // Killed before the file was written: nothing has happened.
    file.full.store(true, Ordering::Relaxed);
    assert!(matches!(process.secrets.rotate().await, Err(SecretsError::File(_))));
    assert_eq!(process.engine.secrets().current().0.get(), 0);
    file.full.store(false, Ordering::Relaxed);
    // Killed right after: the file has the new secret, and everything in the store is sealed under the old one.
    let ring = file.read().with_current(SecretId::new(1).unwrap(), ClusterSecret::from_bytes([8; 32]));
    file.keep(&ring).unwrap();
    let process = Process::start(&store, &file, 2).await;
    assert!(process.beats(&opened) && process.is_good(&opened.token.text, &opened));
    assert!(process.keyring.sealed_under(&*store).await.unwrap().iter().all(|id| id.get() == 0));
    process.secrets.tend().await.unwrap();
    // Killed after all is sealed anew, before the old secret is dropped.
    let process = Process::start(&store, &file, 3).await;
    assert!(process.beats(&opened) && process.is_good(&opened.token.text, &opened));
    process.acts.end(&account, EndReason::Deactivated).await.unwrap();
    for _ in 0..2 {
        process.secrets.tend().await.unwrap();
    }
    assert_eq!(file.ids(), [1]);
    Process::start(&store, &file, 4).await;
}

#[tokio::test]
async fn sixteen_secrets_are_live_at_most_and_a_rotation_too_many_is_refused() {
    let (store, file) = set_up();
    let process = Process::start(&store, &file, 1).await;
    let mut sessions = Vec::new();
    for n in 0..16 {
        let account = process.account(&store, n).await;
        sessions.push(process.acts.activate(&account, "edge").await.unwrap());
        if n < 15 {
            process.secrets.rotate().await.unwrap();
        }
    }
    assert_eq!(file.ids(), (0..16).collect::<Vec<_>>());
    assert!(matches!(process.secrets.rotate().await, Err(SecretsError::Full)));
    assert!(sessions.iter().all(|opened| process.beats(opened)));
    assert_eq!(process.secrets.status().len(), 16);
    // One comes free: its id is used again, and with it comes another secret.
    process.acts.end(&AccountId::from_bytes([3; 16]), EndReason::Deactivated).await.unwrap();
    for _ in 0..2 {
        process.secrets.tend().await.unwrap();
    }
    assert_eq!(file.ids().len(), 15);
    process.secrets.rotate().await.unwrap();
    assert_eq!(process.engine.secrets().current().0.get(), 3);
    assert!(!process.beats(&sessions[3]));
}

/// Two processes that share a store, each with a file of its own.
async fn two_nodes() -> (Arc<SqliteStore>, [Arc<Paper>; 2], [Process; 2]) {
    let store = Arc::new(SqliteStore::open_in_memory().unwrap());
    let papers: [Arc<Paper>; 2] = std::array::from_fn(|_| {
        let paper = Paper::default();
        paper.lines.lock().push((SecretId::default(), [9; 32]));
        Arc::new(paper)
    });
    let node = async |n: usize, seed| {
        let mut process = Process::start(&store, &papers[n], seed).await;
        let clock: Arc<dyn Clock> = Arc::<FakeClock>::clone(&process.clock);
        process.secrets = process.secrets.among(clock);
        process
    };
    let nodes = [node(0, 1).await, node(1, 2).await];
    (store, papers, nodes)
}

#[tokio::test]
async fn a_secret_that_one_node_makes_is_the_others_too() {
    let (store, papers, [a, b]) = two_nodes().await;
    a.secrets.rotate().await.unwrap();
    b.secrets.learn().await.unwrap();
    assert_eq!(papers[0].ids(), papers[1].ids());
    assert_eq!(papers[0].read().current().1.expose_bytes(), papers[1].read().current().1.expose_bytes());
    assert_eq!(b.secrets.status(), a.secrets.status());

    // What is sealed is sealed under the new one; it is told of for a while, and kept for as long.
    for minute in 0..20 {
        for node in [&a, &b] {
            node.secrets.learn().await.unwrap();
            node.secrets.tend().await.unwrap();
            node.clock.advance(Millis::from_secs(60));
        }
        if minute < 9 {
            assert_eq!(papers[0].ids(), [0, 1], "minute {minute}");
        }
    }
    assert_eq!((papers[0].ids(), papers[1].ids()), (vec![1], vec![1]));
    assert!(store.signing_keys().await.unwrap().iter().all(|key| key.algorithm != "cluster-secret"));
}

#[tokio::test]
async fn of_two_nodes_that_make_a_secret_at_once_no_two_use_different_ones() {
    let (_, papers, [a, b]) = two_nodes().await;
    let (one, other) = tokio::join!(a.secrets.rotate(), b.secrets.rotate());
    assert!(one.is_ok() || matches!(one, Err(SecretsError::Taken)), "{one:?}");
    assert!(other.is_ok() || matches!(other, Err(SecretsError::Taken)), "{other:?}");
    for node in [&a, &b] {
        node.secrets.learn().await.unwrap();
    }
    let bytes = |paper: &Paper| paper.lines.lock().clone();
    assert_eq!(bytes(&papers[0]), bytes(&papers[1]));
}

#[tokio::test]
async fn a_node_that_starts_learns_before_it_reads_the_keys() {
    let (store, papers, [a, _]) = two_nodes().await;
    a.secrets.rotate().await.unwrap();
    let ring = learn(&*store, &papers[1].read()).await.unwrap().expect("there is one more");
    papers[1].keep(&ring).unwrap();
    let started = Process::start(&store, &papers[1], 7).await;
    assert_eq!(started.keyring.published().len(), 1);
    assert!(learn(&*store, &ring).await.unwrap().is_none());
}
