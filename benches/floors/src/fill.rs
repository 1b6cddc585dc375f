//! Fills a store with open sessions, much faster than activating them one by one would.
//!
//! It goes through the store as the service does, and leaves what the service would have left: accounts with credit, open
//! sessions, places in status lists. What it does not leave are tokens that anybody holds, and keys of the accounts.

use std::{
    fs::{self, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gastank::{
    config::StoreUrl,
    engine::{
        AccountId, Act, ActivationNames, Credit, Entry, EntryKind, ListId, ListSeed, ListSize, Session, Source,
        StatusIndex, StatusList, TokenHash, Tokens, session_text,
    },
    entropy::OsEntropy,
    store::{Commit, Identity, Leased, ScyllaOptions, ScyllaStore, SqliteOptions, SqliteStore, StatusLease, roles::*},
    time::{MeterTime, Millis, UnixMs},
    wire::{ClusterSecret, SecretId, SessionId},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

/// How many calls are under way at once: as many acts share a sync of the data file.
const CALLERS: u32 = 1024;
/// The same of a cluster, where more would wait for longer than they may.
const CALLERS_OF_A_CLUSTER: u32 = 64;
/// What everybody has: ten years.
const CREDIT_S: i64 = 10 * 365 * 86_400;
/// How often progress is told.
const TELL_EVERY: u32 = 100_000;
/// When tokens expire on the wall clock: no time soon.
const EXPIRES_AT: UnixMs = UnixMs::from_ms(4_000_000_000_000);

/// Fills the store of the service that has its home in `data_dir`, and writes the sessions to `sessions_file`.
pub(crate) fn fill(data_dir: &Path, url: Option<StoreUrl>, sessions: u32, sessions_file: &Path) -> anyhow::Result<()> {
    let (secret_id, secret) = cluster_secret(data_dir)?;
    let url = url.unwrap_or_else(|| StoreUrl::in_data_dir(data_dir));
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (store, callers) = open_store(&url).await?;
        let started = store.clock().await?.context("start the service on this directory once")?.last_alive;
        let places = Arc::new(places(&*store, sessions).await?);
        let mut calling = JoinSet::new();
        for caller in 0..callers {
            let (store, places) = (Arc::clone(&store), Arc::clone(&places));
            calling.spawn(async move {
                for n in (caller..sessions).step_by(callers as usize) {
                    open(&*store, n, session_id(secret_id, n), places[n as usize], started).await?;
                    if n % TELL_EVERY == TELL_EVERY - 1 {
                        eprintln!("{} of {sessions} sessions", n + 1);
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = calling.join_next().await {
            done??;
        }
        store.close().await?;
        anyhow::Ok(())
    })?;
    write_sessions(sessions_file, sessions, secret_id, &secret).context("cannot write the sessions")
}

/// The store, and how many may call it at once.
async fn open_store(url: &StoreUrl) -> anyhow::Result<(Arc<dyn Store>, u32)> {
    match url {
        StoreUrl::Sqlite(path) => {
            let (queue, group) = (4 * CALLERS as usize, 4 * CALLERS as usize);
            let options = SqliteOptions { queue, group, ..SqliteOptions::default() };
            Ok((Arc::new(SqliteStore::open(path, &options)?), CALLERS))
        }
        StoreUrl::Scylla(url) => {
            let nodes = url.nodes.iter().map(ToString::to_string).collect();
            let options = ScyllaOptions::new(nodes, url.keyspace.clone());
            let store = ScyllaStore::open(&options, Arc::new(OsEntropy)).await?;
            Ok((Arc::new(store), CALLERS_OF_A_CLUSTER))
        }
    }
}

/// The current secret: the last line of the file, a number and 32 bytes in base64url.
fn cluster_secret(data_dir: &Path) -> anyhow::Result<(SecretId, ClusterSecret)> {
    let text =
        fs::read_to_string(data_dir.join("cluster.secret")).context("start the service on this directory once")?;
    let (number, secret) = text.trim().lines().last().and_then(|line| line.split_once(' ')).context("no secret")?;
    let id = SecretId::new(number.parse()?).context("no number of a secret")?;
    let secret = URL_SAFE_NO_PAD.decode(secret)?;
    Ok((id, ClusterSecret::from_bytes(secret.as_slice().try_into()?)))
}

/// A place in a status list for each session, out of lists that are leased for it.
async fn places(store: &dyn Store, sessions: u32) -> anyhow::Result<Vec<StatusIndex>> {
    let mut places = Vec::with_capacity(sessions as usize);
    let size = ListSize::DEFAULT;
    for number in 0.. {
        let missing = sessions - u32::try_from(places.len())?;
        if missing == 0 {
            break;
        }
        let (id, seed) = (ListId::from_bytes(hash(number, "list")), ListSeed::from_bytes(hash(number, "seed")));
        let granted = missing.min(size.tokens());
        let lease = StatusLease { id, size, seed, granted, leased_at: UnixMs::from_ms(0), retires_at: None };
        ensure!(store.lease_status_list(&lease).await? == Leased::Done, "this store has been filled before");
        let list = StatusList::new(id, size, &seed, 0);
        list.grant(granted);
        places.extend(std::iter::from_fn(|| list.take()));
    }
    Ok(places)
}

async fn open(
    store: &dyn Store,
    n: u32,
    session: SessionId,
    status: StatusIndex,
    started: MeterTime,
) -> anyhow::Result<()> {
    let identity = Identity { issuer: "bench".to_owned(), subject: n.to_string() };
    let account = AccountId::from_bytes(hash(n, "account"));
    let (owned, _) = store.create_account(account, &identity, UnixMs::from_ms(0)).await?;
    let tokens = Tokens {
        current: TokenHash::from_bytes(hash(n, "token")),
        previous: None,
        expires_at: EXPIRES_AT,
        expires: None,
        uncharged: Millis::ZERO,
        renewed: None,
        status,
    };
    let act = Act {
        opens: Some(Session {
            id: session,
            started,
            started_at: UnixMs::from_ms(0),
            audience: "edge".to_owned(),
            tokens,
            names: ActivationNames::default(),
            end: None,
        }),
        entries: vec![Entry {
            number: 1,
            kind: EntryKind::Grant,
            amount: Credit::from_secs(CREDIT_S),
            owed: Credit::ZERO,
            source: Source::Admin,
            external_id: "bench".to_owned(),
            reason: None,
            at: UnixMs::from_ms(0),
        }],
        ..owned.account.nothing()
    };
    ensure!(matches!(store.commit(&act, None).await?, Commit::Done(_)), "this store has been filled before");
    Ok(())
}

/// One line for each session, for its owner alone, as loadtest keeps them.
fn write_sessions(path: &Path, sessions: u32, id: SecretId, secret: &ClusterSecret) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(file);
    for n in 0..sessions {
        let session = session_id(id, n);
        let line = json!({
            "account": URL_SAFE_NO_PAD.encode(hash::<16>(n, "account")),
            "account_key": "none",
            "session_id": session_text(&session),
            "heartbeat_key": URL_SAFE_NO_PAD.encode(secret.session_key(&session).expose_bytes()),
        });
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn session_id(secret: SecretId, n: u32) -> SessionId {
    SessionId::new(secret, hash(n, "session"))
}

/// Bytes that look random and are the same every time.
fn hash<const N: usize>(n: u32, what: &str) -> [u8; N] {
    let digest = Sha256::new().chain_update(what).chain_update(n.to_le_bytes()).finalize();
    *digest.first_chunk().expect("at most 32 bytes are asked for")
}
