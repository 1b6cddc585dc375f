//! The embedded store: one SQLite file.
//!
//! One thread writes ([`writer`]), in groups, so that a commit's sync is shared. A few connections read ([`readers`]); in
//! WAL mode they see what is committed and wait for nobody. `schema.sql` and the numbered files beside it are the
//! format of the file, and have views for reading it with `sqlite3`.
//!
//! What survives what:
//!
//! * An act that was answered survives a power cut.
//! * Checkpoints and the clock survive a crash of the process. A power cut may undo the latest of them together, so the
//!   clock is never behind a checkpoint.
//!
//! A lock on a file beside it keeps other processes of this program out. `sqlite3` and backups may read the file while
//! it is in use.

mod audit;
mod backup;
mod error;
mod facts;
mod file;
mod history;
mod hub;
mod logouts;
mod moving;
mod options;
mod read;
mod readers;
mod rewards;
mod rows;
mod write;
mod writer;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use rusqlite::Connection;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::{
    engine::{AccountId, Act, Checkpoint, Entry, ListId, Source},
    time::{ClockFact, UnixMs},
    wire::SessionId,
};

use super::{
    AccountKey, AccountStore, Added, AuditDay, AuditKey, AuditRecord, AuditStore, Commit, Created, CredentialStore,
    Edge, FoundHandle, FoundHubSession, Granted, HandleRecord, Heard, HeardKey, HeardRow, Held, HeldCredit,
    HistoryStore, HubClient, HubSessionRecord, HubSighting, HubStore, Identity, IdentityStore, Leased, LogoutRecord,
    OpenAccount, Owned, Participant, Person, Profile, ProviderFacts, Redeemed, Removed, Replaced, Result, Retired,
    RewardKey, RewardRecord, RewardStore, SealedKey, SecretDigest, SessionRecord, SessionStore, StatusLease,
    StatusListStore, Store, StoreError,
};
use readers::Readers;
use writer::{Kind, Writer};

pub use backup::{copy_online, verify};
pub use file::is_in_use;
pub use options::SqliteOptions;

/// Buckets whose accounts are read at a time.
const BUCKETS_AT_ONCE: usize = 4;

/// A store in one SQLite file.
pub struct SqliteStore {
    writer: Arc<Writer>,
    /// `None` in memory: such a database has one connection.
    readers: Option<Readers>,
}

impl SqliteStore {
    /// Opens the data file at `path`, or makes it, readable by its owner alone. Its directory must exist. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if another process uses the file, it may not be written, it is not a data file, or a newer
    /// version of this program wrote it; [`StoreError::Damaged`] if it is damaged; [`StoreError::Unavailable`] if the
    /// disk is full or fails.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self> {
        let lock = file::Lock::take(path)?;
        file::prepare(path, &lock)?;
        let conn = file::writing(path, options)?;
        let readers = Readers::open(path.to_owned(), options)?;
        let writer = Arc::new(Writer::start(conn, Some(lock), options)?);
        Ok(Self { writer, readers: Some(readers) })
    }

    /// Cancelled when the thread that writes ends. Without it the store only reads, until it is opened again.
    pub fn writer_ended(&self) -> CancellationToken {
        self.writer.ended()
    }

    /// Opens a store that is gone when it is closed, for tests.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if there is no memory or thread for it.
    pub fn open_in_memory() -> Result<Self> {
        let options = SqliteOptions::default();
        let conn = file::in_memory(&options)?;
        Ok(Self { writer: Arc::new(Writer::start(conn, None, &options)?), readers: None })
    }

    async fn read<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        match &self.readers {
            Some(readers) => readers.run(read).await,
            None => self.writer.run(Kind::Act, read).await,
        }
    }

    async fn act<T, F>(&self, write: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.writer.run(Kind::Act, write).await
    }
}

#[async_trait]
impl AccountStore for SqliteStore {
    async fn create_account(&self, id: AccountId, identity: &Identity, at: UnixMs) -> Result<(Owned, Created)> {
        let identity = identity.clone();
        self.act(move |conn| write::create_account(conn, &id, &identity, at)).await
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Owned>> {
        let id = *id;
        self.read(move |conn| read::owned(conn, &id)).await
    }

    async fn account_of(&self, identity: &Identity) -> Result<Option<AccountId>> {
        let identity = identity.clone();
        self.read(move |conn| read::account_of(conn, &identity)).await
    }

    async fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Owned>> {
        self.read(move |conn| read::accounts(conn, after, limit)).await
    }

    async fn commit(&self, act: &Act, audit: Option<&AuditRecord>) -> Result<Commit> {
        let (act, audit) = (act.clone(), audit.cloned());
        self.act(move |conn| write::commit(conn, &act, audit.as_ref())).await
    }

    async fn entry(&self, account: &AccountId, source: Source, external_id: &str) -> Result<Option<Entry>> {
        let (account, external_id) = (*account, external_id.to_owned());
        self.read(move |conn| read::entry(conn, &account, source, &external_id)).await
    }

    async fn entries(&self, account: &AccountId, after: u64, limit: usize) -> Result<Vec<Entry>> {
        let account = *account;
        self.read(move |conn| read::entries(conn, &account, after, limit)).await
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>> {
        let id = *id;
        self.read(move |conn| read::session(conn, &id)).await
    }

    async fn checkpoint(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut rows = rows.to_vec();
        // In the order of the table, each page is visited once.
        rows.sort_unstable();
        self.writer.run(Kind::Behind(rows.len()), move |conn| write::checkpoint(conn, bucket, &rows)).await
    }

    fn recover(&self) -> BoxStream<'_, Result<Vec<OpenAccount>>> {
        let bucket = |bucket| self.read(move |conn| read::recover(conn, bucket));
        stream::iter(0..=u8::MAX).map(bucket).buffer_unordered(BUCKETS_AT_ONCE).boxed()
    }

    async fn clock(&self) -> Result<Option<ClockFact>> {
        self.read(read::clock).await
    }

    async fn keep_clock(&self, fact: ClockFact) -> Result<()> {
        self.writer.run(Kind::Behind(1), move |conn| write::keep_clock(conn, fact)).await
    }
}

#[async_trait]
impl CredentialStore for SqliteStore {
    async fn add_account_key(&self, key: &AccountKey) -> Result<Added> {
        let key = key.clone();
        self.act(move |conn| write::add_account_key(conn, &key)).await
    }

    async fn account_by_key(&self, hash: &[u8; 32]) -> Result<Option<AccountKey>> {
        let hash = *hash;
        self.read(move |conn| read::account_by_key(conn, &hash)).await
    }

    async fn account_keys(&self, account: &AccountId) -> Result<Vec<AccountKey>> {
        let account = *account;
        self.read(move |conn| read::account_keys(conn, &account)).await
    }

    async fn remove_account_key(&self, account: &AccountId, key_id: &str) -> Result<Removed> {
        let (account, key_id) = (*account, key_id.to_owned());
        self.act(move |conn| write::remove_account_key(conn, &account, &key_id)).await
    }

    async fn put_edge(&self, edge: &Edge) -> Result<()> {
        let edge = edge.clone();
        self.act(move |conn| write::put_edge(conn, &edge)).await
    }

    async fn edges(&self) -> Result<Vec<Edge>> {
        self.read(read::edges).await
    }

    async fn remove_edge(&self, client_id: &str) -> Result<Removed> {
        let client_id = client_id.to_owned();
        self.act(move |conn| write::remove_edge(conn, &client_id)).await
    }

    async fn signing_keys(&self) -> Result<Vec<SealedKey>> {
        self.read(read::signing_keys).await
    }

    async fn put_signing_key(&self, key: &SealedKey) -> Result<()> {
        let key = key.clone();
        self.act(move |conn| write::put_signing_key(conn, &key)).await
    }

    async fn remove_signing_key(&self, kid: &str) -> Result<Removed> {
        let kid = kid.to_owned();
        self.act(move |conn| write::remove_signing_key(conn, &kid)).await
    }
}

#[async_trait]
impl IdentityStore for SqliteStore {
    async fn hold_credit(&self, identity: &Identity, held: &HeldCredit, most: usize) -> Result<Held> {
        let (identity, held) = (identity.clone(), held.clone());
        self.act(move |conn| write::hold_credit(conn, &identity, &held, most)).await
    }

    async fn held_credit(&self, identity: &Identity, limit: usize) -> Result<Vec<HeldCredit>> {
        let identity = identity.clone();
        self.read(move |conn| read::held_credit(conn, &identity, limit)).await
    }

    async fn release_credit(&self, identity: &Identity, source: Source, external_id: &str) -> Result<Removed> {
        let (identity, external_id) = (identity.clone(), external_id.to_owned());
        self.act(move |conn| write::release_credit(conn, &identity, source, &external_id)).await
    }

    async fn facts(&self, identity: &Identity) -> Result<ProviderFacts> {
        let identity = identity.clone();
        self.read(move |conn| facts::read(conn, &identity)).await
    }

    async fn put_facts(&self, identity: &Identity, facts: &ProviderFacts) -> Result<Replaced> {
        let (identity, facts) = (identity.clone(), facts.clone());
        self.act(move |conn| facts::put(conn, &identity, &facts)).await
    }
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn append_audit(&self, rows: &[AuditRecord]) -> Result<()> {
        let rows = rows.to_vec();
        self.act(move |conn| rows.iter().try_for_each(|row| audit::append(conn, row))).await
    }

    async fn audit_of_day(&self, day: AuditDay, after: Option<AuditKey>, limit: usize) -> Result<Vec<AuditRecord>> {
        self.read(move |conn| audit::of_day(conn, day, after, limit)).await
    }

    async fn audit_of_account(
        &self,
        account: &AccountId,
        after: Option<AuditKey>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>> {
        let account = *account;
        self.read(move |conn| audit::of_account(conn, &account, after, limit)).await
    }

    async fn prune_audit(&self, before: UnixMs, most: usize) -> Result<usize> {
        self.writer.run(Kind::Behind(most), move |conn| audit::prune(conn, before, most)).await
    }
}

#[async_trait]
impl HistoryStore for SqliteStore {
    async fn append_history(&self, rows: &[HeardRow]) -> Result<()> {
        // In pieces, so that acts get their turn between them.
        for piece in rows.chunks(history::PIECE) {
            let piece = piece.to_vec();
            self.writer.run(Kind::Behind(piece.len()), move |conn| history::append(conn, &piece)).await?;
        }
        Ok(())
    }

    async fn history(&self, session: &SessionId, after: HeardKey, until: UnixMs, limit: usize) -> Result<Vec<Heard>> {
        let session = *session;
        self.read(move |conn| history::read(conn, &session, after, until, limit)).await
    }

    async fn prune_history(&self, before: UnixMs, most: usize) -> Result<usize> {
        self.writer.run(Kind::Behind(most), move |conn| history::prune(conn, before, most)).await
    }
}

#[async_trait]
impl RewardStore for SqliteStore {
    async fn reward_record(&self, key: &RewardKey) -> Result<RewardRecord> {
        let key = key.clone();
        self.read(move |conn| rewards::read(conn, &key)).await
    }

    async fn put_reward_record(&self, key: &RewardKey, record: &RewardRecord) -> Result<Replaced> {
        let (key, record) = (key.clone(), record.clone());
        self.act(move |conn| rewards::put(conn, &key, &record)).await
    }

    async fn reward_records(
        &self,
        part: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RewardKey, RewardRecord)>> {
        let (part, after) = (part.to_owned(), after.map(ToOwned::to_owned));
        self.read(move |conn| rewards::list(conn, &part, after.as_deref(), limit)).await
    }

    async fn remove_reward_record(&self, key: &RewardKey) -> Result<Removed> {
        let key = key.clone();
        self.act(move |conn| rewards::remove(conn, &key)).await
    }
}

#[async_trait]
impl StatusListStore for SqliteStore {
    async fn lease_status_list(&self, lease: &StatusLease) -> Result<Leased> {
        let lease = lease.clone();
        self.act(move |conn| write::lease_status_list(conn, &lease)).await
    }

    async fn grant_status(&self, list: &ListId, from: u32, to: u32) -> Result<Granted> {
        let list = *list;
        self.act(move |conn| write::grant_status(conn, &list, from, to)).await
    }

    async fn retire_status_list(&self, list: &ListId, at: UnixMs) -> Result<Retired> {
        let list = *list;
        self.act(move |conn| write::retire_status_list(conn, &list, at)).await
    }

    async fn status_lists(&self) -> Result<Vec<StatusLease>> {
        self.read(read::status_lists).await
    }

    async fn remove_status_list(&self, list: &ListId) -> Result<Removed> {
        let list = *list;
        self.act(move |conn| write::remove_status_list(conn, &list)).await
    }
}

#[async_trait]
impl HubStore for SqliteStore {
    async fn person(&self, account: &AccountId) -> Result<Option<Person>> {
        let account = *account;
        self.read(move |conn| hub::person(conn, &account)).await
    }

    async fn put_profile(&self, account: &AccountId, version: u64, profile: &Profile) -> Result<Replaced> {
        let (account, profile) = (*account, profile.clone());
        self.act(move |conn| hub::put_profile(conn, &account, version, &profile)).await
    }

    async fn raise_epoch(&self, account: &AccountId) -> Result<Option<u64>> {
        let account = *account;
        self.act(move |conn| hub::raise_epoch(conn, &account)).await
    }

    async fn add_hub_session(&self, session: &HubSessionRecord) -> Result<Added> {
        let session = session.clone();
        self.act(move |conn| hub::add(conn, &session)).await
    }

    async fn hub_session(&self, digest: &SecretDigest) -> Result<Option<FoundHubSession>> {
        let digest = *digest;
        self.read(move |conn| hub::find(conn, &digest)).await
    }

    async fn hub_sessions(&self, account: &AccountId) -> Result<Vec<HubSessionRecord>> {
        let account = *account;
        self.read(move |conn| hub::of_account(conn, &account)).await
    }

    async fn hub_sessions_of_provider(&self, issuer: &str, sid: &str) -> Result<Vec<HubSessionRecord>> {
        let (issuer, sid) = (issuer.to_owned(), sid.to_owned());
        self.read(move |conn| hub::of_provider(conn, &issuer, &sid)).await
    }

    async fn see_hub_sessions(&self, sightings: &[HubSighting]) -> Result<()> {
        for piece in sightings.chunks(hub::PIECE) {
            let piece = piece.to_vec();
            self.writer.run(Kind::Behind(piece.len()), move |conn| hub::see(conn, &piece)).await?;
        }
        Ok(())
    }

    async fn remove_hub_session(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        let (account, digest) = (*account, *digest);
        self.act(move |conn| hub::remove(conn, &account, &digest)).await
    }

    async fn put_hub_client(&self, client: &HubClient) -> Result<()> {
        let client = client.clone();
        self.act(move |conn| hub::put_client(conn, &client)).await
    }

    async fn hub_clients(&self) -> Result<Vec<HubClient>> {
        self.read(hub::clients).await
    }

    async fn remove_hub_client(&self, client_id: &str) -> Result<Removed> {
        let client_id = client_id.to_owned();
        self.act(move |conn| hub::remove_client(conn, &client_id)).await
    }

    async fn redeem_code(
        &self,
        code: &SecretDigest,
        account: &AccountId,
        handle: &SecretDigest,
        _now: UnixMs,
        until: UnixMs,
    ) -> Result<Redeemed> {
        let (code, account, handle) = (*code, *account, *handle);
        self.act(move |conn| hub::redeem(conn, &code, &account, &handle, until)).await
    }

    async fn is_redeemed(&self, code: &SecretDigest) -> Result<bool> {
        let code = *code;
        self.read(move |conn| hub::is_redeemed(conn, &code)).await
    }

    async fn add_handle(&self, handle: &HandleRecord) -> Result<Added> {
        let handle = handle.clone();
        self.act(move |conn| hub::add_handle(conn, &handle)).await
    }

    async fn handle(&self, digest: &SecretDigest) -> Result<Option<FoundHandle>> {
        let digest = *digest;
        self.read(move |conn| hub::find_handle(conn, &digest)).await
    }

    async fn handles(&self, account: &AccountId) -> Result<Vec<HandleRecord>> {
        let account = *account;
        self.read(move |conn| hub::handles_of(conn, &account)).await
    }

    async fn remove_handle(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        let (account, digest) = (*account, *digest);
        self.act(move |conn| hub::remove_handle(conn, &account, &digest)).await
    }

    async fn add_participant(&self, participant: &Participant, _: UnixMs) -> Result<Added> {
        let participant = participant.clone();
        self.act(move |conn| logouts::add(conn, &participant)).await
    }

    async fn due_logouts(&self, client_id: &str, now: UnixMs, limit: usize) -> Result<Vec<LogoutRecord>> {
        let client_id = client_id.to_owned();
        self.read(move |conn| logouts::due(conn, &client_id, now, limit)).await
    }

    async fn postpone_logout(&self, from: &LogoutRecord, to: &LogoutRecord) -> Result<Replaced> {
        let (from, to) = (from.clone(), to.clone());
        self.act(move |conn| logouts::postpone(conn, &from, &to)).await
    }

    async fn remove_logout(&self, logout: &LogoutRecord) -> Result<Removed> {
        let logout = logout.clone();
        self.act(move |conn| logouts::remove(conn, &logout)).await
    }

    async fn prune_hub_sessions(&self, before: UnixMs, most: usize) -> Result<usize> {
        self.writer.run(Kind::Behind(most), move |conn| hub::prune(conn, before, most)).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn close(&self) -> Result<()> {
        if let Some(readers) = &self.readers {
            readers.stop().await;
        }
        let writer = Arc::clone(&self.writer);
        spawn_blocking(move || writer.stop())
            .await
            .map_err(|_| StoreError::Unavailable("closing the store failed".to_owned()))
    }
}
