//! The distributed store: a keyspace of a CQL cluster, ScyllaDB or another with lightweight transactions.
//!
//! CQL decides within one partition and nowhere else, so everything an act writes is in its account's partition
//! ([`acts`]), and what leads there from elsewhere is only a pointer: made before, removed after, and believed by nobody
//! who has not asked the account. A crash between two partitions leaves pointers to nothing. `schema.cql` is the format.
//!
//! * *Decisions* ([`cluster`]) are lightweight transactions. One that is not answered is never sent again: what became of
//!   it is read, and for acts made final ([`acts`]).
//! * *Maxima* ([`checkpoints`]) are plain writes whose timestamps are the era and the value.
//! * No cell is written both ways. There are no counters, no secondary indexes, and only a start and
//!   moving in look through tables.

mod accounts;
mod acts;
mod audit;
mod batcher;
mod checkpoints;
mod cluster;
mod datacenters;
mod erasure;
mod error;
mod facts;
mod held;
mod history;
mod keys;
mod ledger;
mod leftovers;
mod lists;
mod moving;
mod nodes;
mod pieces;
mod recovery;
mod registry;
mod rows;
mod schema;
mod statements;
mod survey;

use std::{
    collections::HashMap,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    engine::{AccountId, Act, Checkpoint, Entry, ListId, Source},
    entropy::Entropy,
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};

use super::{
    AccountKey, Added, AuditDay, AuditKey, AuditRecord, Commit, Created, Edge, Granted, Heard, HeardKey, HeardRow,
    Held, HeldCredit, Identity, Leased, OpenAccount, Owned, ProviderFacts, Removed, Replaced, Result, Retired,
    SealedKey, SessionRecord, StatusLease, Store,
};
use acts::Doubt;
use batcher::Batcher;
use cluster::Cluster;
pub use moving::ScyllaTarget;

/// The longest that CQL lets a row live by itself, in seconds: twenty years.
const MAX_TTL: i32 = 20 * 365 * 86_400;

/// How a cluster is used. The defaults are good where there is one datacenter.
#[derive(Clone, Debug)]
pub struct ScyllaOptions {
    /// `host:port` of servers to begin with; the others are learnt from them.
    pub nodes: Vec<String>,
    /// The keyspace. Made if it is missing.
    pub keyspace: String,
    /// Who to say we are, if the cluster asks.
    pub credentials: Option<Credentials>,
    /// Certificates to trust, in PEM. `None` is without TLS.
    pub tls_ca: Option<PathBuf>,
    /// The datacenter whose servers are asked. Needed where there are several and [`Consistency::Local`] decides.
    pub datacenter: Option<String>,
    /// Who has to agree.
    pub consistency: Consistency,
    /// Servers that a keyspace which is made has each row on. `None` is as many as are named or known, up to three.
    pub replication: Option<u32>,
    /// How long an answer may take. Longer than the cluster's own timeouts, or outcomes are unknown without need.
    pub request_timeout: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long rows of the audit log stay.
    pub audit_ttl: Duration,
    /// How long rows of the heartbeat history stay.
    pub history_ttl: Duration,
}

/// A user of the cluster.
#[derive(Clone)]
pub struct Credentials {
    /// Their name.
    pub username: String,
    /// Their password.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Whose majority agrees to what is read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// That of the datacenter: `LOCAL_QUORUM` and `LOCAL_SERIAL`.
    #[default]
    Local,
    /// That of all datacenters: `QUORUM` and `SERIAL`. Needed where gastank runs in more than one, or is to.
    Global,
}

impl ScyllaOptions {
    /// The defaults for a keyspace.
    pub const fn new(nodes: Vec<String>, keyspace: String) -> Self {
        Self {
            nodes,
            keyspace,
            credentials: None,
            tls_ca: None,
            datacenter: None,
            consistency: Consistency::Local,
            replication: None,
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            audit_ttl: Duration::from_secs(365 * 86_400),
            history_ttl: Duration::from_secs(30 * 86_400),
        }
    }
}

/// A store in a keyspace of a CQL cluster.
pub struct ScyllaStore {
    cluster: Arc<Cluster>,
    entropy: Arc<dyn Entropy>,
    /// Seconds.
    audit_ttl: i32,
    /// Seconds.
    history_ttl: i32,
    /// Acts whose outcome is not known yet: at most one for each account, as who commits waits for it.
    doubts: Mutex<HashMap<AccountId, Doubt>>,
    batcher: Batcher,
    /// The era that this node lives in; 0 before it has joined any.
    era: AtomicU64,
    remembered: Mutex<leftovers::Remembered>,
}

impl ScyllaStore {
    /// Connects to a cluster, and makes or migrates the keyspace. Any number of processes may.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if a newer version of this program wrote the keyspace, a copy into it has not ended, or
    /// decisions on it are made elsewhere than configured;
    /// [`StoreError::Unavailable`] if the cluster cannot be reached or does not answer in time.
    ///
    /// [`StoreError::Refused`]: super::StoreError::Refused
    /// [`StoreError::Unavailable`]: super::StoreError::Unavailable
    pub async fn open(options: &ScyllaOptions, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let store = Self::reach(options, entropy).await?;
        if let Some(moving) = store.read_moving().await?
            && let Some(refused) = moving.unfinished(&format!("the keyspace {}", options.keyspace))
        {
            return Err(refused);
        }
        Ok(store)
    }

    /// The same, whatever is in the keyspace.
    async fn reach(options: &ScyllaOptions, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let session = cluster::connect(options).await?;
        let scope = datacenters::scope(options, &session)?;
        Box::pin(schema::bring_up_to_date(&session, options, &*entropy)).await?;
        let cluster = Arc::new(Box::pin(Cluster::new(session, options)).await?);
        let ttl = |span: Duration| i32::try_from(span.as_secs()).unwrap_or(MAX_TTL).clamp(1, MAX_TTL);
        let store = Self {
            cluster,
            entropy,
            audit_ttl: ttl(options.audit_ttl),
            history_ttl: ttl(options.history_ttl),
            doubts: Mutex::default(),
            batcher: Batcher::default(),
            era: AtomicU64::new(0),
            remembered: Mutex::default(),
        };
        store.agree_on(&scope).await?;
        Ok(store)
    }

    /// How many batches of checkpoints have been sent to the cluster.
    pub fn checkpoint_batches(&self) -> u64 {
        self.batcher.batches().load(Ordering::Relaxed)
    }

    /// How many conditional round trips the cluster was asked for: what costs most there.
    pub fn decisions(&self) -> u64 {
        self.cluster.decisions()
    }

    /// How many reads of a row, or of a few, were asked for.
    pub fn reads(&self) -> u64 {
        self.cluster.reads()
    }

    /// What counts the batches of checkpoints, for who shows it.
    pub fn checkpoint_batch_counter(&self) -> Arc<AtomicU64> {
        self.batcher.batches()
    }
}

#[async_trait]
impl Store for ScyllaStore {
    async fn create_account(&self, id: AccountId, identity: &Identity, at: UnixMs) -> Result<(Owned, Created)> {
        self.make_account(id, identity, at).await
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Owned>> {
        self.settled_account(id).await
    }

    async fn account_of(&self, identity: &Identity) -> Result<Option<AccountId>> {
        self.find_account(identity).await
    }

    async fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Owned>> {
        self.list_accounts(after, limit).await
    }

    async fn commit(&self, act: &Act, audit: Option<&AuditRecord>) -> Result<Commit> {
        self.commit_act(act, audit).await
    }

    async fn entry(&self, account: &AccountId, source: Source, external_id: &str) -> Result<Option<Entry>> {
        self.named_entry(account, source, external_id).await
    }

    async fn entries(&self, account: &AccountId, after: u64, limit: usize) -> Result<Vec<Entry>> {
        self.read_ledger(account, after, limit).await
    }

    async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>> {
        self.read_session(id).await
    }

    async fn checkpoint(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()> {
        self.write_checkpoints(bucket, rows).await
    }

    fn recover(&self) -> BoxStream<'_, Result<Vec<OpenAccount>>> {
        self.recover_parts()
    }

    async fn clock(&self) -> Result<Option<ClockFact>> {
        self.read_clock().await
    }

    async fn keep_clock(&self, fact: ClockFact) -> Result<()> {
        self.raise_clock(fact.last_alive, fact.wall).await
    }

    async fn add_account_key(&self, key: &AccountKey) -> Result<Added> {
        self.put_key(key).await
    }

    async fn account_by_key(&self, hash: &[u8; 32]) -> Result<Option<AccountKey>> {
        self.find_key(hash).await
    }

    async fn account_keys(&self, account: &AccountId) -> Result<Vec<AccountKey>> {
        self.read_keys(account).await
    }

    async fn remove_account_key(&self, account: &AccountId, key_id: &str) -> Result<Removed> {
        self.drop_key(account, key_id).await
    }

    async fn put_edge(&self, edge: &Edge) -> Result<()> {
        self.write_edge(edge).await
    }

    async fn edges(&self) -> Result<Vec<Edge>> {
        self.read_edges().await
    }

    async fn remove_edge(&self, client_id: &str) -> Result<Removed> {
        self.drop_edge(client_id).await
    }

    async fn signing_keys(&self) -> Result<Vec<SealedKey>> {
        self.read_signing_keys().await
    }

    async fn put_signing_key(&self, key: &SealedKey) -> Result<()> {
        self.write_signing_key(key).await
    }

    async fn remove_signing_key(&self, kid: &str) -> Result<Removed> {
        self.drop_signing_key(kid).await
    }

    async fn hold_credit(&self, identity: &Identity, held: &HeldCredit, most: usize) -> Result<Held> {
        self.hold(identity, held, most).await
    }

    async fn held_credit(&self, identity: &Identity, limit: usize) -> Result<Vec<HeldCredit>> {
        self.read_held(identity, limit).await
    }

    async fn release_credit(&self, identity: &Identity, source: Source, external_id: &str) -> Result<Removed> {
        self.let_go_of(identity, source, external_id).await
    }

    async fn facts(&self, identity: &Identity) -> Result<ProviderFacts> {
        self.read_facts(identity).await
    }

    async fn put_facts(&self, identity: &Identity, facts: &ProviderFacts) -> Result<Replaced> {
        self.replace_facts(identity, facts).await
    }

    async fn append_audit(&self, rows: &[AuditRecord]) -> Result<()> {
        self.append(rows).await
    }

    async fn audit_of_day(&self, day: AuditDay, after: Option<AuditKey>, limit: usize) -> Result<Vec<AuditRecord>> {
        self.read_audit_of_day(day, after, limit).await
    }

    async fn audit_of_account(
        &self,
        account: &AccountId,
        after: Option<AuditKey>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>> {
        self.read_audit_of_account(account, after, limit).await
    }

    async fn prune_audit(&self, _: UnixMs, _: usize) -> Result<usize> {
        Ok(0)
    }

    async fn append_history(&self, rows: &[HeardRow]) -> Result<()> {
        self.write_history(rows).await
    }

    async fn history(&self, session: &SessionId, after: HeardKey, until: UnixMs, limit: usize) -> Result<Vec<Heard>> {
        self.read_history(session, after, until, limit).await
    }

    async fn prune_history(&self, _: UnixMs, _: usize) -> Result<usize> {
        Ok(0)
    }

    async fn lease_status_list(&self, lease: &StatusLease) -> Result<Leased> {
        self.lease_list(lease).await
    }

    async fn grant_status(&self, list: &ListId, from: u32, to: u32) -> Result<Granted> {
        self.grant_numbers(list, from, to).await
    }

    async fn retire_status_list(&self, list: &ListId, at: UnixMs) -> Result<Retired> {
        self.retire_list(list, at).await
    }

    async fn status_lists(&self) -> Result<Vec<StatusLease>> {
        self.read_lists().await
    }

    async fn remove_status_list(&self, list: &ListId) -> Result<Removed> {
        self.drop_list(list).await
    }

    async fn clear_leftovers(&self, now: MeterTime, parts: Range<u16>) -> Result<()> {
        self.clear(now, parts).await
    }

    async fn close(&self) -> Result<()> {
        self.cluster.close();
        Ok(())
    }
}
