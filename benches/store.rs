//! How fast the embedded store takes acts and checkpoints, and how fast it recovers. Prints its figures and the floors
//! they are held against, and fails below them.
//!
//! `cargo bench --bench store` takes a million sessions; `cargo bench --bench store -- 50000` fewer. With `--keep DIR` the
//! data file stays in that directory, so that a service can be started on it: `gastank --data-dir DIR`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{TryStreamExt, future};
use gastank::{
    engine::{AccountId, Act, ActivationNames, Checkpoint, ListId, Session, StatusIndex, TokenHash, Tokens, bucket},
    store::{Commit, Created, Identity, SqliteOptions, SqliteStore, roles::*},
    time::{MeterTime, Millis, UnixMs},
    wire::{SecretId, SessionId},
};
use sha2::{Digest, Sha256};

/// Rows of checkpoints a second.
const CHECKPOINT_FLOOR: f64 = 200_000.0;
/// Open sessions recovered a second: a million in five seconds.
const RECOVERY_FLOOR: f64 = 200_000.0;
/// How many calls are under way at once.
const CALLERS: usize = 512;

#[tokio::main]
async fn main() {
    let sessions: u64 = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let kept = std::env::args().skip_while(|arg| arg != "--keep").nth(1).map(PathBuf::from);
    let path = kept.as_deref().unwrap_or(dir.path()).join("gastank.db");
    let options = SqliteOptions { queue: 2 * CALLERS, ..SqliteOptions::default() };
    let store = Arc::new(SqliteStore::open(&path, &options).expect("opens"));

    let began = Instant::now();
    fill(&store, sessions).await;
    report("durable acts", 2 * sessions, began.elapsed());

    let mut buckets: BTreeMap<u8, Vec<Checkpoint>> = BTreeMap::new();
    for n in 0..sessions {
        let session = session_id(n);
        buckets.entry(bucket(&session)).or_default().push(Checkpoint { session, last_seen: MeterTime::ZERO });
    }
    let mut slowest = f64::MAX;
    for round in 1..=3 {
        for rows in buckets.values_mut() {
            for row in &mut *rows {
                row.last_seen = MeterTime::from_ms(30_000 * round);
            }
            rows.sort_unstable();
        }
        let began = Instant::now();
        for (bucket, rows) in &buckets {
            store.checkpoint(*bucket, rows).await.expect("works");
        }
        slowest = slowest.min(report("checkpoint rows", sessions, began.elapsed()));
    }
    act_latency_beside_checkpoints(&store, &buckets).await;

    let began = Instant::now();
    store.close().await.expect("closes");
    println!("{:>24}: {:.2} s", "close", began.elapsed().as_secs_f64());
    drop(store);
    let bytes = std::fs::metadata(&path).expect("the data file").len();
    println!("{:>24}: {:.0} MB, {} bytes a session", "data file", bytes as f64 / 1e6, bytes / sessions.max(1));

    let began = Instant::now();
    let options = SqliteOptions { readers: 2, ..options };
    let store = Arc::new(SqliteStore::open(&path, &options).expect("opens again"));
    println!("{:>24}: {:.3} s", "open", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let found = recover(&store).await;
    let recovery = report("sessions recovered", found, began.elapsed());
    assert_eq!(found, sessions, "recovery finds every open session");
    store.close().await.expect("closes");

    println!("floors: {CHECKPOINT_FLOOR} checkpoint rows/s, {RECOVERY_FLOOR} sessions recovered/s");
    assert!(slowest >= CHECKPOINT_FLOOR && recovery >= RECOVERY_FLOOR, "below the floor");
}

/// Makes an account with an open session for each number.
async fn fill(store: &Arc<SqliteStore>, sessions: u64) {
    let callers: Vec<_> = (0..CALLERS as u64)
        .map(|caller| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for n in (caller..sessions).step_by(CALLERS) {
                    let identity = Identity { issuer: "https://id.example".to_owned(), subject: format!("person-{n}") };
                    let id = AccountId::from_bytes(hash(n, b"account"));
                    let (owned, _) = store.create_account(id, &identity, UnixMs::from_ms(0)).await.expect("works");
                    let act = opening(&owned.account.id, owned.account.version, n);
                    assert!(matches!(store.commit(&act, None).await.expect("works"), Commit::Done(_)));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
}

/// How long a lone act takes while batches of checkpoints are being written.
async fn act_latency_beside_checkpoints(store: &Arc<SqliteStore>, buckets: &BTreeMap<u8, Vec<Checkpoint>>) {
    let sweeping = {
        let (store, buckets) = (Arc::clone(store), buckets.clone());
        tokio::spawn(async move {
            for (bucket, mut rows) in buckets {
                for row in &mut rows {
                    row.last_seen = MeterTime::from_ms(1_000_000);
                }
                store.checkpoint(bucket, &rows).await.expect("works");
            }
        })
    };
    let mut took = Vec::new();
    for n in 0.. {
        if sweeping.is_finished() {
            break;
        }
        let identity = Identity { issuer: "beside".to_owned(), subject: n.to_string() };
        let id = AccountId::from_bytes(hash(n, b"beside"));
        let began = Instant::now();
        assert_eq!(store.create_account(id, &identity, UnixMs::from_ms(0)).await.expect("works").1, Created::New);
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took.sort_unstable();
    if let Some(worst) = took.last() {
        println!(
            "{:>24}: p50 {:?}, p99 {:?}, worst {:?} ({} acts)",
            "act beside checkpoints",
            took[took.len() / 2],
            took[took.len() * 99 / 100],
            worst,
            took.len()
        );
    }
}

async fn recover(store: &SqliteStore) -> u64 {
    let open = |so_far, part: Vec<_>| future::ok(so_far + part.len() as u64);
    store.recover().try_fold(0, open).await.expect("works")
}

fn opening(account: &AccountId, expects: u64, n: u64) -> Act {
    let session = Session {
        id: session_id(n),
        started: MeterTime::from_ms(1),
        started_at: UnixMs::from_ms(1_700_000_000_000),
        audience: "https://edge.example".to_owned(),
        tokens: Tokens {
            current: TokenHash::from_bytes(hash(n, b"token")),
            previous: None,
            expires_at: UnixMs::from_ms(1_700_000_000_000),
            expires: None,
            uncharged: Millis::ZERO,
            renewed: None,
            status: StatusIndex { list: ListId::from_bytes([0; 8]), idx: u32::try_from(n % (1 << 20)).unwrap_or(0) },
        },
        names: ActivationNames::default(),
        end: None,
    };
    Act {
        account: *account,
        expects,
        closes: None,
        opens: Some(session),
        renews: None,
        entries: Vec::new(),
        deletes: false,
        earns: None,
    }
}

fn session_id(n: u64) -> SessionId {
    SessionId::new(SecretId::default(), hash(n, b"session"))
}

fn hash(n: u64, what: &[u8]) -> [u8; 16] {
    let digest = Sha256::new().chain_update(what).chain_update(n.to_le_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes
}

fn report(what: &str, count: u64, took: Duration) -> f64 {
    let rate = count as f64 / took.as_secs_f64();
    println!("{what:>24}: {count} in {:.2} s, {rate:.0} a second", took.as_secs_f64());
    rate
}
