//! A store that fails, before or after it has written.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use gastank::{
    engine::{AccountId, Act, Checkpoint, Entry, ListId, Source},
    store::{
        AccountKey, AccountStore, Added, AuditDay, AuditKey, AuditRecord, AuditStore, Commit, Created, CredentialStore,
        Edge, FoundHandle, FoundHubSession, Granted, HandleRecord, Heard, HeardKey, HeardRow, Held, HeldCredit,
        HistoryStore, HubClient, HubSessionRecord, HubSighting, HubStore, Identity, IdentityStore, Leased,
        LogoutRecord, OpenAccount, Owned, Participant, Person, Profile, ProviderFacts, Redeemed, Removed, Replaced,
        Result, Retired, RewardKey, RewardRecord, RewardStore, SealedKey, SecretDigest, SessionRecord, SessionStore,
        StatusLease, StatusListStore, Store, StoreError,
    },
    time::{ClockFact, UnixMs},
    wire::SessionId,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::memory_store::MemoryStore;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) write: Write,
    pub(crate) reads_fail: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Write {
    #[default]
    Works,
    /// Nothing is written.
    FailsBefore,
    /// All is written, but the caller is not told.
    FailsAfter,
}

pub(crate) const NONE: Trouble = Trouble { write: Write::Works, reads_fail: false };
pub(crate) const DOWN: Trouble = Trouble { write: Write::FailsBefore, reads_fail: true };

/// What happens to a person while an account is made for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// Their provider tells that they changed their password then.
    PasswordChanged(UnixMs),
    /// Their provider tells that they are gone.
    Gone,
    /// The store goes down.
    Down,
}

/// What becomes of appending to the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Appends {
    #[default]
    Work,
    Fail,
    /// They are never answered.
    Hang,
}

/// A store with trouble. A commit that fails starts `next`: the reads before it work, those after it may not.
#[derive(Default)]
pub(crate) struct Flaky {
    pub(crate) inner: MemoryStore,
    pub(crate) now: Mutex<Trouble>,
    pub(crate) next: Mutex<Option<Trouble>>,
    /// Commits wait for this, when it is there.
    pub(crate) gate: Mutex<Option<Arc<Notify>>>,
    /// What happens while the next account is made.
    pub(crate) meanwhile: Mutex<Option<Meanwhile>>,
    pub(crate) appends: Mutex<Appends>,
    /// What is known of people is never answered.
    pub(crate) facts_hang: Mutex<bool>,
}

impl Flaky {
    pub(crate) fn set(&self, trouble: Trouble) {
        *self.now.lock() = trouble;
        *self.next.lock() = None;
    }

    pub(crate) fn fail_commit(&self, write: Write, then: Trouble) {
        *self.now.lock() = Trouble { write, reads_fail: false };
        *self.next.lock() = Some(then);
    }

    pub(crate) fn read(&self) -> Result<&MemoryStore> {
        if self.now.lock().reads_fail { Err(trouble()) } else { Ok(&self.inner) }
    }

    /// Makes the next commit wait until it is told to go on.
    pub(crate) fn hold_commit(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// For everything but acts: fails cleanly or works.
    pub(crate) fn write(&self) -> Result<&MemoryStore> {
        if self.now.lock().write == Write::Works { Ok(&self.inner) } else { Err(trouble()) }
    }
}

pub(crate) fn trouble() -> StoreError {
    StoreError::Unavailable("as the test has it".into())
}

#[async_trait]
impl AccountStore for Flaky {
    async fn commit(&self, act: &Act, audit: Option<&AuditRecord>) -> Result<Commit> {
        let gate = self.gate.lock().take();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        let write = self.now.lock().write;
        let committed = if write == Write::FailsBefore { Err(trouble()) } else { self.inner.commit(act, audit).await };
        if let Some(next) = self.next.lock().take() {
            *self.now.lock() = next;
        }
        if write == Write::Works { committed } else { Err(trouble()) }
    }

    async fn create_account(&self, id: AccountId, identity: &Identity, at: UnixMs) -> Result<(Owned, Created)> {
        let made = self.write()?.create_account(id, identity, at).await;
        let meanwhile = self.meanwhile.lock().take();
        let mut facts = self.inner.facts(identity).await?;
        match meanwhile {
            None => return made,
            Some(Meanwhile::PasswordChanged(then)) => facts.password_changed_at = Some(then),
            Some(Meanwhile::Gone) => facts.gone_at = Some(at),
            Some(Meanwhile::Down) => self.set(DOWN),
        }
        assert_eq!(self.inner.put_facts(identity, &facts).await?, Replaced::Done);
        made
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Owned>> {
        self.read()?.account(id).await
    }

    async fn account_of(&self, identity: &Identity) -> Result<Option<AccountId>> {
        self.read()?.account_of(identity).await
    }

    async fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Owned>> {
        self.read()?.accounts(after, limit).await
    }

    async fn entry(&self, account: &AccountId, source: Source, external_id: &str) -> Result<Option<Entry>> {
        self.read()?.entry(account, source, external_id).await
    }

    async fn entries(&self, account: &AccountId, after: u64, limit: usize) -> Result<Vec<Entry>> {
        self.read()?.entries(account, after, limit).await
    }
}

#[async_trait]
impl SessionStore for Flaky {
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>> {
        self.read()?.session(id).await
    }

    async fn checkpoint(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()> {
        self.write()?.checkpoint(bucket, rows).await
    }

    fn recover(&self) -> BoxStream<'_, Result<Vec<OpenAccount>>> {
        match self.read() {
            Ok(store) => store.recover(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn clock(&self) -> Result<Option<ClockFact>> {
        self.read()?.clock().await
    }

    async fn keep_clock(&self, fact: ClockFact) -> Result<()> {
        self.write()?.keep_clock(fact).await
    }
}

#[async_trait]
impl CredentialStore for Flaky {
    async fn add_account_key(&self, key: &AccountKey) -> Result<Added> {
        self.write()?.add_account_key(key).await
    }

    async fn account_by_key(&self, hash: &[u8; 32]) -> Result<Option<AccountKey>> {
        self.read()?.account_by_key(hash).await
    }

    async fn account_keys(&self, account: &AccountId) -> Result<Vec<AccountKey>> {
        self.read()?.account_keys(account).await
    }

    async fn remove_account_key(&self, account: &AccountId, key_id: &str) -> Result<Removed> {
        self.write()?.remove_account_key(account, key_id).await
    }

    async fn put_edge(&self, edge: &Edge) -> Result<()> {
        self.write()?.put_edge(edge).await
    }

    async fn edges(&self) -> Result<Vec<Edge>> {
        self.read()?.edges().await
    }

    async fn remove_edge(&self, client_id: &str) -> Result<Removed> {
        self.write()?.remove_edge(client_id).await
    }

    async fn signing_keys(&self) -> Result<Vec<SealedKey>> {
        self.read()?.signing_keys().await
    }

    async fn put_signing_key(&self, key: &SealedKey) -> Result<()> {
        self.write()?.put_signing_key(key).await
    }

    async fn remove_signing_key(&self, kid: &str) -> Result<Removed> {
        self.write()?.remove_signing_key(kid).await
    }
}

#[async_trait]
impl IdentityStore for Flaky {
    async fn hold_credit(&self, identity: &Identity, held: &HeldCredit, most: usize) -> Result<Held> {
        self.write()?.hold_credit(identity, held, most).await
    }

    async fn held_credit(&self, identity: &Identity, limit: usize) -> Result<Vec<HeldCredit>> {
        self.read()?.held_credit(identity, limit).await
    }

    async fn release_credit(&self, identity: &Identity, source: Source, external_id: &str) -> Result<Removed> {
        self.write()?.release_credit(identity, source, external_id).await
    }

    async fn facts(&self, identity: &Identity) -> Result<ProviderFacts> {
        if *self.facts_hang.lock() {
            std::future::pending::<()>().await;
        }
        self.read()?.facts(identity).await
    }

    async fn put_facts(&self, identity: &Identity, facts: &ProviderFacts) -> Result<Replaced> {
        self.write()?.put_facts(identity, facts).await
    }
}

#[async_trait]
impl AuditStore for Flaky {
    async fn append_audit(&self, rows: &[AuditRecord]) -> Result<()> {
        // What fails after an act was written is the commit alone: its row of the log can be appended.
        if self.now.lock().write == Write::FailsBefore { Err(trouble()) } else { self.inner.append_audit(rows).await }
    }

    async fn audit_of_day(&self, day: AuditDay, after: Option<AuditKey>, limit: usize) -> Result<Vec<AuditRecord>> {
        self.read()?.audit_of_day(day, after, limit).await
    }

    async fn audit_of_account(
        &self,
        account: &AccountId,
        after: Option<AuditKey>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>> {
        self.read()?.audit_of_account(account, after, limit).await
    }

    async fn prune_audit(&self, before: UnixMs, most: usize) -> Result<usize> {
        self.write()?.prune_audit(before, most).await
    }
}

#[async_trait]
impl HistoryStore for Flaky {
    async fn append_history(&self, rows: &[HeardRow]) -> Result<()> {
        let appends = *self.appends.lock();
        match appends {
            Appends::Work => self.write()?.append_history(rows).await,
            Appends::Fail => Err(trouble()),
            Appends::Hang => std::future::pending().await,
        }
    }

    async fn history(&self, session: &SessionId, after: HeardKey, until: UnixMs, limit: usize) -> Result<Vec<Heard>> {
        self.read()?.history(session, after, until, limit).await
    }

    async fn prune_history(&self, before: UnixMs, most: usize) -> Result<usize> {
        self.write()?.prune_history(before, most).await
    }
}

#[async_trait]
impl RewardStore for Flaky {
    async fn reward_record(&self, key: &RewardKey) -> Result<RewardRecord> {
        self.read()?.reward_record(key).await
    }

    async fn put_reward_record(&self, key: &RewardKey, record: &RewardRecord) -> Result<Replaced> {
        self.write()?.put_reward_record(key, record).await
    }

    async fn reward_records(
        &self,
        part: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RewardKey, RewardRecord)>> {
        self.read()?.reward_records(part, after, limit).await
    }

    async fn remove_reward_record(&self, key: &RewardKey) -> Result<Removed> {
        self.write()?.remove_reward_record(key).await
    }
}

#[async_trait]
impl StatusListStore for Flaky {
    async fn lease_status_list(&self, lease: &StatusLease) -> Result<Leased> {
        self.write()?.lease_status_list(lease).await
    }

    async fn grant_status(&self, list: &ListId, from: u32, to: u32) -> Result<Granted> {
        self.write()?.grant_status(list, from, to).await
    }

    async fn retire_status_list(&self, list: &ListId, at: UnixMs) -> Result<Retired> {
        self.write()?.retire_status_list(list, at).await
    }

    async fn status_lists(&self) -> Result<Vec<StatusLease>> {
        self.read()?.status_lists().await
    }

    async fn remove_status_list(&self, list: &ListId) -> Result<Removed> {
        self.write()?.remove_status_list(list).await
    }
}

#[async_trait]
impl HubStore for Flaky {
    async fn person(&self, account: &AccountId) -> Result<Option<Person>> {
        self.read()?.person(account).await
    }

    async fn put_profile(&self, account: &AccountId, version: u64, profile: &Profile) -> Result<Replaced> {
        self.write()?.put_profile(account, version, profile).await
    }

    async fn raise_epoch(&self, account: &AccountId) -> Result<Option<u64>> {
        self.write()?.raise_epoch(account).await
    }

    async fn add_hub_session(&self, session: &HubSessionRecord) -> Result<Added> {
        self.write()?.add_hub_session(session).await
    }

    async fn hub_session(&self, digest: &SecretDigest) -> Result<Option<FoundHubSession>> {
        self.read()?.hub_session(digest).await
    }

    async fn hub_sessions(&self, account: &AccountId) -> Result<Vec<HubSessionRecord>> {
        self.read()?.hub_sessions(account).await
    }

    async fn hub_sessions_of_provider(&self, issuer: &str, sid: &str) -> Result<Vec<HubSessionRecord>> {
        self.read()?.hub_sessions_of_provider(issuer, sid).await
    }

    async fn see_hub_sessions(&self, sightings: &[HubSighting]) -> Result<()> {
        self.write()?.see_hub_sessions(sightings).await
    }

    async fn remove_hub_session(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        self.write()?.remove_hub_session(account, digest).await
    }

    async fn put_hub_client(&self, client: &HubClient) -> Result<()> {
        self.write()?.put_hub_client(client).await
    }

    async fn hub_clients(&self) -> Result<Vec<HubClient>> {
        self.read()?.hub_clients().await
    }

    async fn remove_hub_client(&self, client_id: &str) -> Result<Removed> {
        self.write()?.remove_hub_client(client_id).await
    }

    async fn redeem_code(
        &self,
        code: &SecretDigest,
        account: &AccountId,
        handle: &SecretDigest,
        now: UnixMs,
        until: UnixMs,
    ) -> Result<Redeemed> {
        self.write()?.redeem_code(code, account, handle, now, until).await
    }

    async fn is_redeemed(&self, code: &SecretDigest) -> Result<bool> {
        self.read()?.is_redeemed(code).await
    }

    async fn add_handle(&self, handle: &HandleRecord) -> Result<Added> {
        self.write()?.add_handle(handle).await
    }

    async fn handle(&self, digest: &SecretDigest) -> Result<Option<FoundHandle>> {
        self.read()?.handle(digest).await
    }

    async fn handles(&self, account: &AccountId) -> Result<Vec<HandleRecord>> {
        self.read()?.handles(account).await
    }

    async fn remove_handle(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        self.write()?.remove_handle(account, digest).await
    }

    async fn add_participant(&self, participant: &Participant, now: UnixMs) -> Result<Added> {
        self.write()?.add_participant(participant, now).await
    }

    async fn due_logouts(&self, client_id: &str, now: UnixMs, limit: usize) -> Result<Vec<LogoutRecord>> {
        self.read()?.due_logouts(client_id, now, limit).await
    }

    async fn postpone_logout(&self, from: &LogoutRecord, to: &LogoutRecord) -> Result<Replaced> {
        self.write()?.postpone_logout(from, to).await
    }

    async fn remove_logout(&self, logout: &LogoutRecord) -> Result<Removed> {
        self.write()?.remove_logout(logout).await
    }

    async fn prune_hub_sessions(&self, before: UnixMs, most: usize) -> Result<usize> {
        self.write()?.prune_hub_sessions(before, most).await
    }
}

#[async_trait]
impl Store for Flaky {
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
