//! A store that tells how its calls went.

mod nodes;
mod operation;

use std::{
    future::Future,
    ops::Range,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream::BoxStream};

use crate::{
    engine::{AccountId, Act, Checkpoint, Entry, ListId, Source},
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};

use super::{
    AccountKey, AccountStore, Added, AuditDay, AuditKey, AuditRecord, AuditStore, Commit, Created, CredentialStore,
    Edge, FoundHandle, FoundHubSession, Granted, HandleRecord, Heard, HeardKey, HeardRow, Held, HeldCredit,
    HistoryStore, HubClient, HubSessionRecord, HubSighting, HubStore, Identity, IdentityStore, Leased, LogoutRecord,
    OpenAccount, Owned, Participant, Person, Profile, ProviderFacts, Redeemed, Removed, Replaced, Result, Retired,
    RewardKey, RewardRecord, RewardStore, SealedKey, SecretDigest, SessionRecord, SessionStore, StatusLease,
    StatusListStore, Store,
};

pub use operation::Operation;

/// Who is told how each call of a store went. Called on the path of the call: it must be quick.
pub trait StoreObserver: Send + Sync + 'static {
    /// A call ended; `ok` if it was answered without an error.
    fn done(&self, operation: Operation, took: Duration, ok: bool);
}

impl<F> StoreObserver for F
where
    F: Fn(Operation, Duration, bool) + Send + Sync + 'static,
{
    fn done(&self, operation: Operation, took: Duration, ok: bool) {
        self(operation, took, ok);
    }
}

/// A store whose calls are observed.
#[derive(Clone, Debug)]
pub struct Observed<S, O> {
    store: S,
    observer: O,
}

impl<S: Store, O: StoreObserver> Observed<S, O> {
    /// `store`, with `observer` told of each call.
    pub const fn new(store: S, observer: O) -> Self {
        Self { store, observer }
    }

    async fn timed<T>(&self, operation: Operation, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let began = now();
        let answer = call.await;
        self.observer.done(operation, now() - began, answer.is_ok());
        answer
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a call took is told, and decides nothing")]
fn now() -> Instant {
    Instant::now()
}

#[async_trait]
impl<S: Store, O: StoreObserver> AccountStore for Observed<S, O> {
    async fn create_account(&self, id: AccountId, identity: &Identity, at: UnixMs) -> Result<(Owned, Created)> {
        self.timed(Operation::CreateAccount, self.store.create_account(id, identity, at)).await
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Owned>> {
        self.timed(Operation::Account, self.store.account(id)).await
    }

    async fn account_of(&self, identity: &Identity) -> Result<Option<AccountId>> {
        self.timed(Operation::AccountOf, self.store.account_of(identity)).await
    }

    async fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Owned>> {
        self.timed(Operation::Accounts, self.store.accounts(after, limit)).await
    }

    async fn commit(&self, act: &Act, audit: Option<&AuditRecord>) -> Result<Commit> {
        self.timed(Operation::Commit, self.store.commit(act, audit)).await
    }

    async fn entry(&self, account: &AccountId, source: Source, external_id: &str) -> Result<Option<Entry>> {
        self.timed(Operation::Entry, self.store.entry(account, source, external_id)).await
    }

    async fn entries(&self, account: &AccountId, after: u64, limit: usize) -> Result<Vec<Entry>> {
        self.timed(Operation::Entries, self.store.entries(account, after, limit)).await
    }
}

#[async_trait]
impl<S: Store, O: StoreObserver> SessionStore for Observed<S, O> {
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>> {
        self.timed(Operation::Session, self.store.session(id)).await
    }

    async fn checkpoint(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()> {
        self.timed(Operation::Checkpoint, self.store.checkpoint(bucket, rows)).await
    }

    fn recover(&self) -> BoxStream<'_, Result<Vec<OpenAccount>>> {
        // What each part took since the one before it.
        let mut since = now();
        let done = move |part: &Result<_>| {
            let now = now();
            self.observer.done(Operation::Recover, now - since, part.is_ok());
            since = now;
        };
        self.store.recover().inspect(done).boxed()
    }

    async fn clock(&self) -> Result<Option<ClockFact>> {
        self.timed(Operation::Clock, self.store.clock()).await
    }

    async fn keep_clock(&self, fact: ClockFact) -> Result<()> {
        self.timed(Operation::KeepClock, self.store.keep_clock(fact)).await
    }
}

#[async_trait]
impl<S: Store, O: StoreObserver> CredentialStore for Observed<S, O> {
    async fn add_account_key(&self, key: &AccountKey) -> Result<Added> {
        self.timed(Operation::AddAccountKey, self.store.add_account_key(key)).await
    }

    async fn account_by_key(&self, hash: &[u8; 32]) -> Result<Option<AccountKey>> {
        self.timed(Operation::AccountByKey, self.store.account_by_key(hash)).await
    }

    async fn account_keys(&self, account: &AccountId) -> Result<Vec<AccountKey>> {
        self.timed(Operation::AccountKeys, self.store.account_keys(account)).await
    }

    async fn remove_account_key(&self, account: &AccountId, key_id: &str) -> Result<Removed> {
        self.timed(Operation::RemoveAccountKey, self.store.remove_account_key(account, key_id)).await
    }

    async fn put_edge(&self, edge: &Edge) -> Result<()> {
        self.timed(Operation::PutEdge, self.store.put_edge(edge)).await
    }

    async fn edges(&self) -> Result<Vec<Edge>> {
        self.timed(Operation::Edges, self.store.edges()).await
    }

    async fn remove_edge(&self, client_id: &str) -> Result<Removed> {
        self.timed(Operation::RemoveEdge, self.store.remove_edge(client_id)).await
    }

    async fn signing_keys(&self) -> Result<Vec<SealedKey>> {
        self.timed(Operation::SigningKeys, self.store.signing_keys()).await
    }

    async fn put_signing_key(&self, key: &SealedKey) -> Result<()> {
        self.timed(Operation::PutSigningKey, self.store.put_signing_key(key)).await
    }

    async fn remove_signing_key(&self, kid: &str) -> Result<Removed> {
        self.timed(Operation::RemoveSigningKey, self.store.remove_signing_key(kid)).await
    }
}

#[async_trait]
impl<S: Store, O: StoreObserver> IdentityStore for Observed<S, O> {
    async fn hold_credit(&self, identity: &Identity, held: &HeldCredit, most: usize) -> Result<Held> {
        self.timed(Operation::HoldCredit, self.store.hold_credit(identity, held, most)).await
    }

    async fn held_credit(&self, identity: &Identity, limit: usize) -> Result<Vec<HeldCredit>> {
        self.timed(Operation::HeldCredit, self.store.held_credit(identity, limit)).await
    }

    async fn release_credit(&self, identity: &Identity, source: Source, external_id: &str) -> Result<Removed> {
        self.timed(Operation::ReleaseCredit, self.store.release_credit(identity, source, external_id)).await
    }

    async fn facts(&self, identity: &Identity) -> Result<ProviderFacts> {
        self.timed(Operation::Facts, self.store.facts(identity)).await
    }

    async fn put_facts(&self, identity: &Identity, facts: &ProviderFacts) -> Result<Replaced> {
        self.timed(Operation::PutFacts, self.store.put_facts(identity, facts)).await
    }
}

#[async_trait]
impl<S: Store, O: StoreObserver> AuditStore for Observed<S, O> {
    async fn append_audit(&self, rows: &[AuditRecord]) -> Result<()> {
        self.timed(Operation::AppendAudit, self.store.append_audit(rows)).await
    }

    async fn audit_of_day(&self, day: AuditDay, after: Option<AuditKey>, limit: usize) -> Result<Vec<AuditRecord>> {
        self.timed(Operation::AuditOfDay, self.store.audit_of_day(day, after, limit)).await
    }

    async fn audit_of_account(
        &self,
        account: &AccountId,
        after: Option<AuditKey>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>> {
        self.timed(Operation::AuditOfAccount, self.store.audit_of_account(account, after, limit)).await
    }

    async fn prune_audit(&self, before: UnixMs, most: usize) -> Result<usize> {
        self.timed(Operation::PruneAudit, self.store.prune_audit(before, most)).await
    }
}

#[async_trait]
impl<S: Store, O: StoreObserver> HistoryStore for Observed<S, O> {
    async fn append_history(&self, rows: &[HeardRow]) -> Result<()> {
        self.timed(Operation::AppendHistory, self.store.append_history(rows)).await
    }

    async fn history(&self, session: &SessionId, after: HeardKey, until: UnixMs, limit: usize) -> Result<Vec<Heard>> {
        self.timed(Operation::History, self.store.history(session, after, until, limit)).await
    }

    async fn prune_history(&self, before: UnixMs, most: usize) -> Result<usize> {
        self.timed(Operation::PruneHistory, self.store.prune_history(before, most)).await
    }
}

#[async_trait]
impl<S: Store, O: StoreObserver> RewardStore for Observed<S, O> {
    async fn reward_record(&self, key: &RewardKey) -> Result<RewardRecord> {
        self.timed(Operation::RewardRecord, self.store.reward_record(key)).await
    }

    async fn put_reward_record(&self, key: &RewardKey, record: &RewardRecord) -> Result<Replaced> {
        self.timed(Operation::PutRewardRecord, self.store.put_reward_record(key, record)).await
    }

    async fn reward_records(
        &self,
        part: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RewardKey, RewardRecord)>> {
        self.timed(Operation::RewardRecords, self.store.reward_records(part, after, limit)).await
    }

    async fn remove_reward_record(&self, key: &RewardKey) -> Result<Removed> {
        self.timed(Operation::RemoveRewardRecord, self.store.remove_reward_record(key)).await
    }
}

#[async_trait]
impl<S: Store, O: StoreObserver> StatusListStore for Observed<S, O> {
    async fn lease_status_list(&self, lease: &StatusLease) -> Result<Leased> {
        self.timed(Operation::LeaseStatusList, self.store.lease_status_list(lease)).await
    }

    async fn grant_status(&self, list: &ListId, from: u32, to: u32) -> Result<Granted> {
        self.timed(Operation::GrantStatus, self.store.grant_status(list, from, to)).await
    }

    async fn retire_status_list(&self, list: &ListId, at: UnixMs) -> Result<Retired> {
        self.timed(Operation::RetireStatusList, self.store.retire_status_list(list, at)).await
    }

    async fn status_lists(&self) -> Result<Vec<StatusLease>> {
        self.timed(Operation::StatusLists, self.store.status_lists()).await
    }

    async fn remove_status_list(&self, list: &ListId) -> Result<Removed> {
        self.timed(Operation::RemoveStatusList, self.store.remove_status_list(list)).await
    }
}

#[async_trait]
impl<S: Store, O: StoreObserver> HubStore for Observed<S, O> {
    async fn person(&self, account: &AccountId) -> Result<Option<Person>> {
        self.timed(Operation::Person, self.store.person(account)).await
    }

    async fn put_profile(&self, account: &AccountId, version: u64, profile: &Profile) -> Result<Replaced> {
        self.timed(Operation::PutProfile, self.store.put_profile(account, version, profile)).await
    }

    async fn raise_epoch(&self, account: &AccountId) -> Result<Option<u64>> {
        self.timed(Operation::RaiseEpoch, self.store.raise_epoch(account)).await
    }

    async fn add_hub_session(&self, session: &HubSessionRecord) -> Result<Added> {
        self.timed(Operation::AddHubSession, self.store.add_hub_session(session)).await
    }

    async fn hub_session(&self, digest: &SecretDigest) -> Result<Option<FoundHubSession>> {
        self.timed(Operation::HubSession, self.store.hub_session(digest)).await
    }

    async fn hub_sessions(&self, account: &AccountId) -> Result<Vec<HubSessionRecord>> {
        self.timed(Operation::HubSessions, self.store.hub_sessions(account)).await
    }

    async fn hub_sessions_of_provider(&self, issuer: &str, sid: &str) -> Result<Vec<HubSessionRecord>> {
        self.timed(Operation::HubSessionsOfProvider, self.store.hub_sessions_of_provider(issuer, sid)).await
    }

    async fn see_hub_sessions(&self, sightings: &[HubSighting]) -> Result<()> {
        self.timed(Operation::SeeHubSessions, self.store.see_hub_sessions(sightings)).await
    }

    async fn remove_hub_session(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        self.timed(Operation::RemoveHubSession, self.store.remove_hub_session(account, digest)).await
    }

    async fn put_hub_client(&self, client: &HubClient) -> Result<()> {
        self.timed(Operation::PutHubClient, self.store.put_hub_client(client)).await
    }

    async fn hub_clients(&self) -> Result<Vec<HubClient>> {
        self.timed(Operation::HubClients, self.store.hub_clients()).await
    }

    async fn remove_hub_client(&self, client_id: &str) -> Result<Removed> {
        self.timed(Operation::RemoveHubClient, self.store.remove_hub_client(client_id)).await
    }

    async fn redeem_code(
        &self,
        code: &SecretDigest,
        account: &AccountId,
        handle: &SecretDigest,
        now: UnixMs,
        until: UnixMs,
    ) -> Result<Redeemed> {
        self.timed(Operation::RedeemCode, self.store.redeem_code(code, account, handle, now, until)).await
    }

    async fn is_redeemed(&self, code: &SecretDigest) -> Result<bool> {
        self.timed(Operation::IsRedeemed, self.store.is_redeemed(code)).await
    }

    async fn add_handle(&self, handle: &HandleRecord) -> Result<Added> {
        self.timed(Operation::AddHandle, self.store.add_handle(handle)).await
    }

    async fn handle(&self, digest: &SecretDigest) -> Result<Option<FoundHandle>> {
        self.timed(Operation::Handle, self.store.handle(digest)).await
    }

    async fn handles(&self, account: &AccountId) -> Result<Vec<HandleRecord>> {
        self.timed(Operation::Handles, self.store.handles(account)).await
    }

    async fn remove_handle(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        self.timed(Operation::RemoveHandle, self.store.remove_handle(account, digest)).await
    }

    async fn add_participant(&self, participant: &Participant, now: UnixMs) -> Result<Added> {
        self.timed(Operation::AddParticipant, self.store.add_participant(participant, now)).await
    }

    async fn due_logouts(&self, client_id: &str, now: UnixMs, limit: usize) -> Result<Vec<LogoutRecord>> {
        self.timed(Operation::DueLogouts, self.store.due_logouts(client_id, now, limit)).await
    }

    async fn postpone_logout(&self, from: &LogoutRecord, to: &LogoutRecord) -> Result<Replaced> {
        self.timed(Operation::PostponeLogout, self.store.postpone_logout(from, to)).await
    }

    async fn remove_logout(&self, logout: &LogoutRecord) -> Result<Removed> {
        self.timed(Operation::RemoveLogout, self.store.remove_logout(logout)).await
    }

    async fn prune_hub_sessions(&self, before: UnixMs, most: usize) -> Result<usize> {
        self.timed(Operation::PruneHubSessions, self.store.prune_hub_sessions(before, most)).await
    }
}

#[async_trait]
impl<S: Store, O: StoreObserver> Store for Observed<S, O> {
    async fn clear_leftovers(&self, now: MeterTime, parts: Range<u16>) -> Result<()> {
        self.timed(Operation::ClearLeftovers, self.store.clear_leftovers(now, parts)).await
    }

    async fn close(&self) -> Result<()> {
        self.timed(Operation::Close, self.store.close()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::store::SqliteStore;

    #[tokio::test]
    async fn each_call_is_told_with_its_outcome() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hear = {
            let told = Arc::clone(&told);
            move |operation: Operation, _: Duration, ok: bool| told.lock().push((operation.name(), ok))
        };
        let store = Observed::new(SqliteStore::open_in_memory().unwrap(), hear);
        store.clock().await.unwrap();
        store.close().await.unwrap();
        store.edges().await.unwrap_err();
        assert_eq!(*told.lock(), [("clock", true), ("close", true), ("edges", false)]);
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = Operation::ALL.into_iter().map(Operation::name).collect();
        assert_eq!(names.len(), Operation::ALL.len());
    }
}
