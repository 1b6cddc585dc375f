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
mod handles;
mod held;
mod history;
mod hub;
mod keys;
mod ledger;
mod leftovers;
mod lists;
mod logouts;
mod moving;
mod nodes;
mod open;
mod options;
mod pending;
mod pieces;
mod recovery;
mod registry;
mod rewards;
mod rows;
mod schema;
mod statements;
mod store;
mod survey;
mod target;

use std::ops::Range;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

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
pub use options::{Consistency, Credentials, ScyllaOptions};
pub use store::ScyllaStore;
pub use target::ScyllaTarget;

#[async_trait]
impl AccountStore for ScyllaStore {
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
}

#[async_trait]
impl SessionStore for ScyllaStore {
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
}

#[async_trait]
impl CredentialStore for ScyllaStore {
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
}

#[async_trait]
impl IdentityStore for ScyllaStore {
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
}

#[async_trait]
impl AuditStore for ScyllaStore {
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
}

#[async_trait]
impl HistoryStore for ScyllaStore {
    async fn append_history(&self, rows: &[HeardRow]) -> Result<()> {
        self.write_history(rows).await
    }

    async fn history(&self, session: &SessionId, after: HeardKey, until: UnixMs, limit: usize) -> Result<Vec<Heard>> {
        self.read_history(session, after, until, limit).await
    }

    async fn prune_history(&self, _: UnixMs, _: usize) -> Result<usize> {
        Ok(0)
    }
}

#[async_trait]
impl RewardStore for ScyllaStore {
    async fn reward_record(&self, key: &RewardKey) -> Result<RewardRecord> {
        self.read_reward_record(key).await
    }

    async fn put_reward_record(&self, key: &RewardKey, record: &RewardRecord) -> Result<Replaced> {
        self.replace_reward_record(key, record).await
    }

    async fn reward_records(
        &self,
        part: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RewardKey, RewardRecord)>> {
        self.read_reward_records(part, after, limit).await
    }

    async fn remove_reward_record(&self, key: &RewardKey) -> Result<Removed> {
        self.drop_reward_record(key).await
    }
}

#[async_trait]
impl StatusListStore for ScyllaStore {
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
}

#[async_trait]
impl HubStore for ScyllaStore {
    async fn person(&self, account: &AccountId) -> Result<Option<Person>> {
        self.read_person(account).await
    }

    async fn put_profile(&self, account: &AccountId, version: u64, profile: &Profile) -> Result<Replaced> {
        self.replace_profile(account, version, profile).await
    }

    async fn raise_epoch(&self, account: &AccountId) -> Result<Option<u64>> {
        self.raise_hub_epoch(account).await
    }

    async fn add_hub_session(&self, session: &HubSessionRecord) -> Result<Added> {
        self.put_hub_session(session).await
    }

    async fn hub_session(&self, digest: &SecretDigest) -> Result<Option<FoundHubSession>> {
        self.find_hub_session(digest).await
    }

    async fn hub_sessions(&self, account: &AccountId) -> Result<Vec<HubSessionRecord>> {
        self.read_hub_sessions(account).await
    }

    async fn hub_sessions_of_provider(&self, issuer: &str, sid: &str) -> Result<Vec<HubSessionRecord>> {
        self.read_hub_sessions_of_provider(issuer, sid).await
    }

    async fn see_hub_sessions(&self, sightings: &[HubSighting]) -> Result<()> {
        self.write_sightings(sightings).await
    }

    async fn remove_hub_session(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        self.drop_hub_session(account, digest).await
    }

    async fn put_hub_client(&self, client: &HubClient) -> Result<()> {
        self.write_hub_client(client).await
    }

    async fn hub_clients(&self) -> Result<Vec<HubClient>> {
        self.read_hub_clients().await
    }

    async fn remove_hub_client(&self, client_id: &str) -> Result<Removed> {
        self.drop_hub_client(client_id).await
    }

    async fn redeem_code(
        &self,
        code: &SecretDigest,
        account: &AccountId,
        handle: &SecretDigest,
        now: UnixMs,
        until: UnixMs,
    ) -> Result<Redeemed> {
        self.decide_code(code, account, handle, until.since(now)).await
    }

    async fn is_redeemed(&self, code: &SecretDigest) -> Result<bool> {
        self.find_code(code).await
    }

    async fn add_handle(&self, handle: &HandleRecord) -> Result<Added> {
        self.put_handle(handle).await
    }

    async fn handle(&self, digest: &SecretDigest) -> Result<Option<FoundHandle>> {
        self.find_handle(digest).await
    }

    async fn handles(&self, account: &AccountId) -> Result<Vec<HandleRecord>> {
        self.read_handles(account).await
    }

    async fn remove_handle(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        self.drop_handle(account, digest).await
    }

    async fn add_participant(&self, participant: &Participant, now: UnixMs) -> Result<Added> {
        self.put_participant(participant, now).await
    }

    async fn due_logouts(&self, client_id: &str, now: UnixMs, limit: usize) -> Result<Vec<LogoutRecord>> {
        self.read_due_logouts(client_id, now, limit).await
    }

    async fn postpone_logout(&self, from: &LogoutRecord, to: &LogoutRecord) -> Result<Replaced> {
        self.move_logout(from, to).await
    }

    async fn remove_logout(&self, logout: &LogoutRecord) -> Result<Removed> {
        self.drop_logout(logout).await
    }

    async fn prune_hub_sessions(&self, _: UnixMs, _: usize) -> Result<usize> {
        Ok(0)
    }
}

#[async_trait]
impl Store for ScyllaStore {
    async fn clear_leftovers(&self, now: MeterTime, parts: Range<u16>) -> Result<()> {
        self.clear(now, parts).await
    }

    async fn close(&self) -> Result<()> {
        self.cluster.close();
        Ok(())
    }
}
