//! A way to the store as a store.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use gastank::{
    engine::{AccountId, Act, Checkpoint, Entry, ListId, Source},
    store::{
        AccountKey, AccountStore, Added, AuditDay, AuditKey, AuditRecord, AuditStore, Begun, Change, ClusterStore,
        Commit, Created, CredentialStore, Edge, Era, FoundHandle, FoundHubSession, Granted, HandleRecord, Heard,
        HeardKey, HeardRow, Held, HeldCredit, HistoryStore, HubClient, HubSessionRecord, HubSighting, HubStore,
        Identity, IdentityStore, Leased, ListCopy, ListOwner, LogoutRecord, NodeId, NodeLease, OpenAccount, Owned,
        Participant, Person, Profile, ProviderFacts, RECOVERY_PARTS, Redeemed, Removed, Replaced, Result, Retired,
        RewardKey, RewardRecord, RewardStore, SealedKey, SecretDigest, SessionRecord, SessionStore, StatusLease,
        StatusListStore, Store, StoreError,
    },
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};

use super::Link;

/// Parts that are read at a time by who starts.
const PARTS_AT_ONCE: usize = 4;

/// A [`Link`] as a store: the trait wants a type of this crate that can be shared.
#[derive(Clone)]
pub struct LinkedStore(pub Arc<Link>);

/// Passes a call on to what conditional batches change.
macro_rules! serial {
    ($self:ident, $($arg:ident = $value:expr,)* |$serial:ident| $work:expr) => {{
        $(let $arg = $value;)*
        $self.0.call(move |server, _| async move { let $serial = &server.tables.serial; $work.await }).await
    }};
}

#[async_trait]
impl AccountStore for LinkedStore {
    async fn create_account(&self, id: AccountId, identity: &Identity, at: UnixMs) -> Result<(Owned, Created)> {
        serial!(self, identity = identity.clone(), |serial| serial.create_account(id, &identity, at))
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Owned>> {
        let id = *id;
        self.0
            .call(move |server, _| async move {
                server.tables.fence(&id);
                server.tables.serial.account(&id).await
            })
            .await
    }

    async fn account_of(&self, identity: &Identity) -> Result<Option<AccountId>> {
        serial!(self, identity = identity.clone(), |serial| serial.account_of(&identity))
    }

    async fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Owned>> {
        serial!(self, |serial| serial.accounts(after, limit))
    }

    async fn commit(&self, act: &Act, audit: Option<&AuditRecord>) -> Result<Commit> {
        let ticket = self.0.server.tickets.fetch_add(1, Ordering::SeqCst);
        let (sent, audit) = (act.clone(), audit.cloned());
        let committed = self
            .0
            .call(move |server, reach| async move {
                if reach.0 < 2 {
                    return Err(StoreError::Unavailable("no quorum for the ballot".to_owned()));
                }
                let at = server.elapsed();
                server.tables.commit(&sent, audit.as_ref(), ticket, at).await
            })
            .await;
        if committed.is_err() {
            self.0.server.tables.gave_up(act.account, ticket);
        }
        committed
    }

    async fn entry(&self, account: &AccountId, source: Source, external_id: &str) -> Result<Option<Entry>> {
        serial!(self, account = *account, external_id = external_id.to_owned(), |serial| serial.entry(
            &account,
            source,
            &external_id
        ))
    }

    async fn entries(&self, account: &AccountId, after: u64, limit: usize) -> Result<Vec<Entry>> {
        serial!(self, account = *account, |serial| serial.entries(&account, after, limit))
    }
}

#[async_trait]
impl SessionStore for LinkedStore {
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>> {
        serial!(self, id = *id, |serial| serial.session(&id))
    }

    async fn checkpoint(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()> {
        let (rows, era) = (rows.to_vec(), self.0.era.load(Ordering::SeqCst));
        self.0.call(move |server, reach| async move { server.tables.checkpoint(bucket, &rows, era, reach).await }).await
    }

    // What is kept of sessions comes first, and then part by part the accounts they are of.
    fn recover(&self) -> BoxStream<'_, Result<Vec<OpenAccount>>> {
        let kept = self.0.call(|server, _| async move { server.tables.kept_sessions().await });
        let part = |kept: Vec<_>| self.0.call(move |server, _| async move { server.tables.still_open(&kept).await });
        let parts = move |kept: Vec<_>| {
            let mut parts = vec![Vec::new(); RECOVERY_PARTS];
            kept.into_iter().enumerate().for_each(|(n, kept)| parts[n % RECOVERY_PARTS].push(kept));
            stream::iter(parts).map(part).buffer_unordered(PARTS_AT_ONCE)
        };
        stream::once(kept).map_ok(parts).try_flatten().boxed()
    }

    async fn clock(&self) -> Result<Option<ClockFact>> {
        self.0.call(move |server, _| async move { Ok(server.tables.clock().await) }).await
    }

    async fn keep_clock(&self, fact: ClockFact) -> Result<()> {
        let era = self.0.era.load(Ordering::SeqCst);
        self.0.call(move |server, reach| async move { server.tables.keep_clock(fact, era, reach) }).await
    }
}

#[async_trait]
impl CredentialStore for LinkedStore {
    async fn add_account_key(&self, key: &AccountKey) -> Result<Added> {
        serial!(self, key = key.clone(), |serial| serial.add_account_key(&key))
    }

    async fn account_by_key(&self, hash: &[u8; 32]) -> Result<Option<AccountKey>> {
        serial!(self, hash = *hash, |serial| serial.account_by_key(&hash))
    }

    async fn account_keys(&self, account: &AccountId) -> Result<Vec<AccountKey>> {
        serial!(self, account = *account, |serial| serial.account_keys(&account))
    }

    async fn remove_account_key(&self, account: &AccountId, key_id: &str) -> Result<Removed> {
        serial!(self, account = *account, key_id = key_id.to_owned(), |serial| serial
            .remove_account_key(&account, &key_id))
    }

    async fn put_edge(&self, edge: &Edge) -> Result<()> {
        serial!(self, edge = edge.clone(), |serial| serial.put_edge(&edge))
    }

    async fn edges(&self) -> Result<Vec<Edge>> {
        serial!(self, |serial| serial.edges())
    }

    async fn remove_edge(&self, client_id: &str) -> Result<Removed> {
        serial!(self, client_id = client_id.to_owned(), |serial| serial.remove_edge(&client_id))
    }

    async fn signing_keys(&self) -> Result<Vec<SealedKey>> {
        serial!(self, |serial| serial.signing_keys())
    }

    async fn put_signing_key(&self, key: &SealedKey) -> Result<()> {
        serial!(self, key = key.clone(), |serial| serial.put_signing_key(&key))
    }

    async fn remove_signing_key(&self, kid: &str) -> Result<Removed> {
        serial!(self, kid = kid.to_owned(), |serial| serial.remove_signing_key(&kid))
    }
}

#[async_trait]
impl IdentityStore for LinkedStore {
    async fn hold_credit(&self, identity: &Identity, held: &HeldCredit, most: usize) -> Result<Held> {
        serial!(self, identity = identity.clone(), held = held.clone(), |serial| serial
            .hold_credit(&identity, &held, most))
    }

    async fn held_credit(&self, identity: &Identity, limit: usize) -> Result<Vec<HeldCredit>> {
        serial!(self, identity = identity.clone(), |serial| serial.held_credit(&identity, limit))
    }

    async fn release_credit(&self, identity: &Identity, source: Source, external_id: &str) -> Result<Removed> {
        serial!(self, identity = identity.clone(), external_id = external_id.to_owned(), |serial| serial
            .release_credit(&identity, source, &external_id))
    }

    async fn facts(&self, identity: &Identity) -> Result<ProviderFacts> {
        serial!(self, identity = identity.clone(), |serial| serial.facts(&identity))
    }

    async fn put_facts(&self, identity: &Identity, facts: &ProviderFacts) -> Result<Replaced> {
        serial!(self, identity = identity.clone(), facts = facts.clone(), |serial| serial.put_facts(&identity, &facts))
    }
}

#[async_trait]
impl AuditStore for LinkedStore {
    async fn append_audit(&self, rows: &[AuditRecord]) -> Result<()> {
        serial!(self, rows = rows.to_vec(), |serial| serial.append_audit(&rows))
    }

    async fn audit_of_day(&self, day: AuditDay, after: Option<AuditKey>, limit: usize) -> Result<Vec<AuditRecord>> {
        serial!(self, |serial| serial.audit_of_day(day, after, limit))
    }

    async fn audit_of_account(
        &self,
        account: &AccountId,
        after: Option<AuditKey>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>> {
        serial!(self, account = *account, |serial| serial.audit_of_account(&account, after, limit))
    }

    async fn prune_audit(&self, before: UnixMs, most: usize) -> Result<usize> {
        serial!(self, |serial| serial.prune_audit(before, most))
    }
}

#[async_trait]
impl HistoryStore for LinkedStore {
    async fn append_history(&self, rows: &[HeardRow]) -> Result<()> {
        serial!(self, rows = rows.to_vec(), |serial| serial.append_history(&rows))
    }

    async fn history(&self, session: &SessionId, after: HeardKey, until: UnixMs, limit: usize) -> Result<Vec<Heard>> {
        serial!(self, session = *session, |serial| serial.history(&session, after, until, limit))
    }

    async fn prune_history(&self, before: UnixMs, most: usize) -> Result<usize> {
        serial!(self, |serial| serial.prune_history(before, most))
    }
}

#[async_trait]
impl RewardStore for LinkedStore {
    async fn reward_record(&self, key: &RewardKey) -> Result<RewardRecord> {
        serial!(self, key = key.clone(), |serial| serial.reward_record(&key))
    }

    async fn put_reward_record(&self, key: &RewardKey, record: &RewardRecord) -> Result<Replaced> {
        serial!(self, key = key.clone(), record = record.clone(), |serial| serial.put_reward_record(&key, &record))
    }

    async fn reward_records(
        &self,
        part: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RewardKey, RewardRecord)>> {
        serial!(self, part = part.to_owned(), after = after.map(ToOwned::to_owned), |serial| serial.reward_records(
            &part,
            after.as_deref(),
            limit
        ))
    }

    async fn remove_reward_record(&self, key: &RewardKey) -> Result<Removed> {
        serial!(self, key = key.clone(), |serial| serial.remove_reward_record(&key))
    }
}

#[async_trait]
impl StatusListStore for LinkedStore {
    async fn lease_status_list(&self, lease: &StatusLease) -> Result<Leased> {
        serial!(self, lease = lease.clone(), |serial| serial.lease_status_list(&lease))
    }

    async fn grant_status(&self, list: &ListId, from: u32, to: u32) -> Result<Granted> {
        serial!(self, list = *list, |serial| serial.grant_status(&list, from, to))
    }

    async fn retire_status_list(&self, list: &ListId, at: UnixMs) -> Result<Retired> {
        serial!(self, list = *list, |serial| serial.retire_status_list(&list, at))
    }

    async fn status_lists(&self) -> Result<Vec<StatusLease>> {
        serial!(self, |serial| serial.status_lists())
    }

    async fn remove_status_list(&self, list: &ListId) -> Result<Removed> {
        serial!(self, list = *list, |serial| serial.remove_status_list(&list))
    }
}

#[async_trait]
impl HubStore for LinkedStore {
    async fn person(&self, account: &AccountId) -> Result<Option<Person>> {
        serial!(self, account = *account, |serial| serial.person(&account))
    }

    async fn put_profile(&self, account: &AccountId, version: u64, profile: &Profile) -> Result<Replaced> {
        serial!(self, account = *account, profile = profile.clone(), |serial| serial
            .put_profile(&account, version, &profile))
    }

    async fn raise_epoch(&self, account: &AccountId) -> Result<Option<u64>> {
        serial!(self, account = *account, |serial| serial.raise_epoch(&account))
    }

    async fn add_hub_session(&self, session: &HubSessionRecord) -> Result<Added> {
        serial!(self, session = session.clone(), |serial| serial.add_hub_session(&session))
    }

    async fn hub_session(&self, digest: &SecretDigest) -> Result<Option<FoundHubSession>> {
        serial!(self, digest = *digest, |serial| serial.hub_session(&digest))
    }

    async fn hub_sessions(&self, account: &AccountId) -> Result<Vec<HubSessionRecord>> {
        serial!(self, account = *account, |serial| serial.hub_sessions(&account))
    }

    async fn hub_sessions_of_provider(&self, issuer: &str, sid: &str) -> Result<Vec<HubSessionRecord>> {
        serial!(self, issuer = issuer.to_owned(), sid = sid.to_owned(), |serial| serial
            .hub_sessions_of_provider(&issuer, &sid))
    }

    async fn see_hub_sessions(&self, sightings: &[HubSighting]) -> Result<()> {
        serial!(self, sightings = sightings.to_vec(), |serial| serial.see_hub_sessions(&sightings))
    }

    async fn remove_hub_session(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        serial!(self, account = *account, digest = *digest, |serial| serial.remove_hub_session(&account, &digest))
    }

    async fn put_hub_client(&self, client: &HubClient) -> Result<()> {
        serial!(self, client = client.clone(), |serial| serial.put_hub_client(&client))
    }

    async fn hub_clients(&self) -> Result<Vec<HubClient>> {
        serial!(self, |serial| serial.hub_clients())
    }

    async fn remove_hub_client(&self, client_id: &str) -> Result<Removed> {
        serial!(self, client_id = client_id.to_owned(), |serial| serial.remove_hub_client(&client_id))
    }

    async fn redeem_code(
        &self,
        code: &SecretDigest,
        account: &AccountId,
        handle: &SecretDigest,
        now: UnixMs,
        until: UnixMs,
    ) -> Result<Redeemed> {
        serial!(self, code = *code, account = *account, handle = *handle, |serial| serial
            .redeem_code(&code, &account, &handle, now, until))
    }

    async fn is_redeemed(&self, code: &SecretDigest) -> Result<bool> {
        serial!(self, code = *code, |serial| serial.is_redeemed(&code))
    }

    async fn add_handle(&self, handle: &HandleRecord) -> Result<Added> {
        serial!(self, handle = handle.clone(), |serial| serial.add_handle(&handle))
    }

    async fn handle(&self, digest: &SecretDigest) -> Result<Option<FoundHandle>> {
        serial!(self, digest = *digest, |serial| serial.handle(&digest))
    }

    async fn handles(&self, account: &AccountId) -> Result<Vec<HandleRecord>> {
        serial!(self, account = *account, |serial| serial.handles(&account))
    }

    async fn remove_handle(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        serial!(self, account = *account, digest = *digest, |serial| serial.remove_handle(&account, &digest))
    }

    async fn add_participant(&self, participant: &Participant, now: UnixMs) -> Result<Added> {
        serial!(self, participant = participant.clone(), |serial| serial.add_participant(&participant, now))
    }

    async fn due_logouts(&self, client_id: &str, now: UnixMs, limit: usize) -> Result<Vec<LogoutRecord>> {
        serial!(self, client_id = client_id.to_owned(), |serial| serial.due_logouts(&client_id, now, limit))
    }

    async fn postpone_logout(&self, from: &LogoutRecord, to: &LogoutRecord) -> Result<Replaced> {
        serial!(self, from = from.clone(), to = to.clone(), |serial| serial.postpone_logout(&from, &to))
    }

    async fn remove_logout(&self, logout: &LogoutRecord) -> Result<Removed> {
        serial!(self, logout = logout.clone(), |serial| serial.remove_logout(&logout))
    }

    async fn prune_hub_sessions(&self, before: UnixMs, most: usize) -> Result<usize> {
        serial!(self, |serial| serial.prune_hub_sessions(before, most))
    }
}

#[async_trait]
impl Store for LinkedStore {
    async fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl ClusterStore for LinkedStore {
    fn enter(&self, era: u64) {
        self.0.era.fetch_max(era, Ordering::SeqCst);
    }
    async fn put_node(&self, lease: &NodeLease) -> Result<()> {
        let lease = lease.clone();
        self.0.call(move |server, reach| async move { server.tables.put_node(&lease, reach) }).await
    }
    async fn nodes(&self) -> Result<Vec<NodeLease>> {
        self.0.call(move |server, _| async move { Ok(server.tables.nodes()) }).await
    }
    async fn remove_node(&self, node: &NodeId) -> Result<Removed> {
        let node = *node;
        self.0.call(move |server, reach| async move { server.tables.remove_node(&node, reach) }).await
    }
    async fn era(&self) -> Result<Option<Era>> {
        self.0.call(move |server, _| async move { Ok(server.tables.era()) }).await
    }
    async fn begin_era(&self, era: &Era) -> Result<Begun> {
        let era = *era;
        self.0.call(move |server, _| async move { Ok(server.tables.begin_era(&era)) }).await
    }
    async fn announce(&self, change: &Change) -> Result<()> {
        let change = *change;
        self.0.call(move |server, reach| async move { server.tables.announce(&change, reach) }).await
    }
    async fn changes(&self, slot: u64, from: MeterTime) -> Result<Vec<Change>> {
        self.0.call(move |server, _| async move { Ok(server.tables.changes(slot, from)) }).await
    }
    async fn list_owners(&self) -> Result<Vec<ListOwner>> {
        self.0.call(move |server, _| async move { Ok(server.tables.list_owners()) }).await
    }
    async fn own_list(&self, owner: &ListOwner) -> Result<Begun> {
        let owner = *owner;
        self.0.call(move |server, _| async move { Ok(server.tables.own_list(&owner)) }).await
    }
    async fn disown_list(&self, list: &ListId) -> Result<()> {
        let list = *list;
        self.0
            .call(move |server, _| async move {
                server.tables.disown_list(&list);
                Ok(())
            })
            .await
    }
    async fn put_list_copy(&self, copy: &ListCopy, _: Duration) -> Result<()> {
        let copy = copy.clone();
        self.0.call(move |server, reach| async move { server.tables.put_list_copy(&copy, reach) }).await
    }
    async fn list_copy(&self, list: &ListId) -> Result<Option<ListCopy>> {
        let list = *list;
        self.0.call(move |server, _| async move { Ok(server.tables.list_copy(&list)) }).await
    }
    async fn heard(&self, bucket: u8, sessions: &[SessionId]) -> Result<Vec<Checkpoint>> {
        let sessions = sessions.to_vec();
        self.0.call(move |server, _| async move { server.tables.heard(bucket, &sessions).await }).await
    }
}
