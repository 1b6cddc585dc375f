//! The store as simply as it can be said: what any real one must do when acts are committed.
//!
//! What it holds is what is durable: a test that drops everything else and keeps this has crashed the service.

#[path = "memory_store/hub.rs"]
mod hub;

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use gastank::{
    engine::{Account, AccountId, Act, Checkpoint, Entry, ListId, NewEntry, Source, bucket},
    store::{
        AccountKey, AccountStore, Added, AuditDay, AuditKey, AuditRecord, AuditStore, Commit, Created, CredentialStore,
        Edge, FoundHandle, FoundHubSession, Granted, HandleRecord, Heard, HeardKey, HeardRow, Held, HeldCredit,
        HistoryStore, HubClient, HubSessionRecord, HubSighting, HubStore, Identity, IdentityStore, Leased,
        LogoutRecord, OpenAccount, Owned, Participant, Person, Profile, ProviderFacts, Redeemed, Removed, Replaced,
        Result, Retired, RewardKey, RewardRecord, RewardStore, SealedKey, SecretDigest, SessionRecord, SessionStore,
        StatusLease, StatusListStore, Store,
    },
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};
use parking_lot::Mutex;

/// A store that forgets when the test ends.
#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    accounts: BTreeMap<AccountId, Owned>,
    ledgers: HashMap<AccountId, Vec<Entry>>,
    sessions: HashMap<SessionId, SessionRecord>,
    checkpoints: HashMap<SessionId, MeterTime>,
    /// The latest instant of any act or checkpoint.
    reached: MeterTime,
    clock: Option<ClockFact>,
    account_keys: Vec<AccountKey>,
    edges: BTreeMap<String, Edge>,
    signing_keys: BTreeMap<String, SealedKey>,
    status_lists: BTreeMap<ListId, StatusLease>,
    held: HashMap<Identity, Vec<HeldCredit>>,
    facts: HashMap<Identity, ProviderFacts>,
    audit: BTreeMap<AuditKey, AuditRecord>,
    history: BTreeMap<(SessionId, HeardKey), HeardRow>,
    people: HashMap<AccountId, Person>,
    hub_sessions: BTreeMap<SecretDigest, HubSessionRecord>,
    rewards: BTreeMap<RewardKey, RewardRecord>,
    hub_clients: BTreeMap<String, HubClient>,
    handles: BTreeMap<SecretDigest, HandleRecord>,
    participants: BTreeMap<(SecretDigest, String), Participant>,
    logouts: Vec<LogoutRecord>,
    codes: BTreeMap<SecretDigest, (AccountId, SecretDigest, UnixMs)>,
}

fn same_name(entry: &NewEntry, source: Source, external_id: &str) -> bool {
    (entry.source, entry.external_id.as_str()) == (source, external_id)
}

impl Tables {
    fn commit(&mut self, act: &Act) -> Commit {
        let Some(owned) = self.accounts.get_mut(&act.account) else { return Commit::Conflict };
        let ledger = self.ledgers.entry(act.account).or_default();
        if owned.account.version != act.expects || owned.account.deleted {
            return Commit::Conflict;
        }
        let name = |entry: &Entry| (entry.source, entry.external_id.clone());
        if let Some(known) = ledger.iter().find(|known| act.entries.iter().any(|new| name(new) == name(known))) {
            return Commit::Repeated(known.clone());
        }
        owned.account = owned.account.clone().after(act);
        ledger.extend(act.entries.iter().cloned());
        if let Some((session, end)) = act.closes {
            self.sessions.insert(session, SessionRecord { account: act.account, end: Some(end) });
            self.checkpoints.remove(&session);
            self.reached = self.reached.max(end.at);
        }
        if let Some(session) = &act.opens {
            self.sessions.insert(session.id, SessionRecord { account: act.account, end: None });
            self.checkpoints.insert(session.id, session.started);
            self.reached = self.reached.max(session.started);
        }
        let after = owned.account.clone();
        if act.deletes {
            if let Some(identity) = owned.identity.take() {
                self.held.remove(&identity);
                self.facts.retain(|of, facts| *of != identity || facts.gone_at.is_some());
            }
            ledger.clear();
            self.account_keys.retain(|key| key.account != act.account);
            self.history.retain(|_, row| row.account != act.account);
            self.end_participants(|of| of.account == act.account, true);
            self.people.remove(&act.account);
            self.hub_sessions.retain(|_, session| session.account != act.account);
            self.handles.retain(|_, handle| handle.account != act.account);
        }
        Commit::Done(after)
    }

    /// What takes part in sessions that have ended is owed a logout.
    fn end_participants(&mut self, of: impl Fn(&Participant) -> bool, everywhere: bool) {
        let ended: Vec<_> = self.participants.extract_if(.., |_, participant| of(participant)).collect();
        let owed = LogoutRecord::owed(ended.iter().map(|(_, participant)| participant), everywhere);
        for logout in owed.into_iter().filter(|logout| self.hub_clients.contains_key(&logout.client_id)) {
            let key = |of: &LogoutRecord| (of.client_id.clone(), of.account, of.session);
            self.logouts.retain(|known| key(known) != key(&logout));
            self.logouts.push(logout);
        }
    }

    fn person(&self, account: &AccountId) -> Option<Person> {
        self.accounts.get(account).filter(|owned| !owned.account.deleted)?;
        Some(self.people.get(account).cloned().unwrap_or_default())
    }

    fn hub_session(&self, digest: &SecretDigest) -> Option<FoundHubSession> {
        let session = self.hub_sessions.get(digest)?.clone();
        let identity = self.accounts.get(&session.account)?.identity.clone()?;
        let person = self.person(&session.account)?;
        Some(FoundHubSession { session, person, identity })
    }

    fn recover(&self) -> Vec<OpenAccount> {
        let open = |account: &Account| account.open().map(|session| session.id);
        self.accounts
            .values()
            .filter_map(|owned| {
                let last_seen = self.checkpoints[&open(&owned.account)?];
                Some(OpenAccount { account: owned.account.clone(), last_seen })
            })
            .collect()
    }
}

#[async_trait]
impl AccountStore for MemoryStore {
    async fn create_account(&self, id: AccountId, identity: &Identity, at: UnixMs) -> Result<(Owned, Created)> {
        let mut tables = self.0.lock();
        if let Some(known) = tables.accounts.values().find(|known| known.identity.as_ref() == Some(identity)) {
            return Ok((known.clone(), Created::AlreadyThere));
        }
        let owned = Owned { account: Account::new(id), identity: Some(identity.clone()), created_at: at };
        tables.accounts.insert(id, owned.clone());
        Ok((owned, Created::New))
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Owned>> {
        Ok(self.0.lock().accounts.get(id).cloned())
    }

    async fn account_of(&self, identity: &Identity) -> Result<Option<AccountId>> {
        let tables = self.0.lock();
        Ok(tables.accounts.values().find(|owned| owned.identity.as_ref() == Some(identity)).map(|o| o.account.id))
    }

    async fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Owned>> {
        let tables = self.0.lock();
        let from_there = tables.accounts.values().filter(|owned| Some(owned.account.id) > after);
        Ok(from_there.filter(|owned| !owned.account.deleted).take(limit).cloned().collect())
    }

    async fn commit(&self, act: &Act, audit: Option<&AuditRecord>) -> Result<Commit> {
        let mut tables = self.0.lock();
        let committed = tables.commit(act);
        if let (Commit::Done(_), Some(row)) = (&committed, audit) {
            tables.audit.entry(row.key).or_insert_with(|| row.clone());
        }
        Ok(committed)
    }

    async fn entry(&self, account: &AccountId, source: Source, external_id: &str) -> Result<Option<Entry>> {
        let tables = self.0.lock();
        let mut ledger = tables.ledgers.get(account).into_iter().flatten();
        Ok(ledger.find(|entry| entry.source == source && entry.external_id == external_id).cloned())
    }

    async fn entries(&self, account: &AccountId, after: u64, limit: usize) -> Result<Vec<Entry>> {
        let tables = self.0.lock();
        let ledger = tables.ledgers.get(account).into_iter().flatten();
        Ok(ledger.filter(|entry| entry.number > after).take(limit).cloned().collect())
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>> {
        Ok(self.0.lock().sessions.get(id).cloned())
    }

    async fn checkpoint(&self, wanted: u8, rows: &[Checkpoint]) -> Result<()> {
        let mut tables = self.0.lock();
        for row in rows {
            assert_eq!(bucket(&row.session), wanted, "all rows are of one bucket");
            if let Some(kept) = tables.checkpoints.get_mut(&row.session) {
                *kept = row.last_seen.max(*kept);
                tables.reached = tables.reached.max(row.last_seen);
            }
        }
        Ok(())
    }

    fn recover(&self) -> BoxStream<'_, Result<Vec<OpenAccount>>> {
        stream::once(async { Ok(self.0.lock().recover()) }).boxed()
    }

    async fn clock(&self) -> Result<Option<ClockFact>> {
        let tables = self.0.lock();
        Ok(tables.clock.map(|fact| ClockFact { last_alive: fact.last_alive.max(tables.reached), ..fact }))
    }

    async fn keep_clock(&self, fact: ClockFact) -> Result<()> {
        let kept = &mut self.0.lock().clock;
        if kept.is_none_or(|kept| kept.last_alive <= fact.last_alive) {
            *kept = Some(fact);
        }
        Ok(())
    }
}

#[async_trait]
impl CredentialStore for MemoryStore {
    async fn add_account_key(&self, key: &AccountKey) -> Result<Added> {
        let mut tables = self.0.lock();
        let takes_keys = tables.accounts.get(&key.account).is_some_and(|owned| !owned.account.deleted);
        if takes_keys {
            tables.account_keys.retain(|known| (known.account, &known.key_id) != (key.account, &key.key_id));
            tables.account_keys.push(key.clone());
        }
        Ok(Added::when(takes_keys))
    }

    async fn account_by_key(&self, hash: &[u8; 32]) -> Result<Option<AccountKey>> {
        Ok(self.0.lock().account_keys.iter().find(|key| key.hash == *hash).cloned())
    }

    async fn account_keys(&self, account: &AccountId) -> Result<Vec<AccountKey>> {
        Ok(self.0.lock().account_keys.iter().filter(|key| key.account == *account).cloned().collect())
    }

    async fn remove_account_key(&self, account: &AccountId, key_id: &str) -> Result<Removed> {
        let keys = &mut self.0.lock().account_keys;
        let before = keys.len();
        keys.retain(|key| key.account != *account || key.key_id != key_id);
        Ok(Removed::when(keys.len() < before))
    }

    async fn put_edge(&self, edge: &Edge) -> Result<()> {
        self.0.lock().edges.insert(edge.client_id.clone(), edge.clone());
        Ok(())
    }

    async fn edges(&self) -> Result<Vec<Edge>> {
        Ok(self.0.lock().edges.values().cloned().collect())
    }

    async fn remove_edge(&self, client_id: &str) -> Result<Removed> {
        Ok(Removed::when(self.0.lock().edges.remove(client_id).is_some()))
    }

    async fn signing_keys(&self) -> Result<Vec<SealedKey>> {
        Ok(self.0.lock().signing_keys.values().cloned().collect())
    }

    async fn put_signing_key(&self, key: &SealedKey) -> Result<()> {
        let keys = &mut self.0.lock().signing_keys;
        let known = keys.get(&key.kid).unwrap_or(key);
        let (algorithm, created_at) = (known.algorithm.clone(), known.created_at);
        keys.insert(key.kid.clone(), SealedKey { algorithm, created_at, ..key.clone() });
        Ok(())
    }

    async fn remove_signing_key(&self, kid: &str) -> Result<Removed> {
        Ok(Removed::when(self.0.lock().signing_keys.remove(kid).is_some()))
    }
}

#[async_trait]
impl IdentityStore for MemoryStore {
    async fn hold_credit(&self, identity: &Identity, held: &HeldCredit, most: usize) -> Result<Held> {
        let mut tables = self.0.lock();
        let all = tables.held.entry(identity.clone()).or_default();
        if let Some(known) =
            all.iter().find(|known| same_name(&known.entry, held.entry.source, &held.entry.external_id))
        {
            return Ok(Held::Repeated(known.clone()));
        }
        if all.len() >= most {
            return Ok(Held::Full);
        }
        all.push(held.clone());
        all.sort_by_key(|held| held.at);
        Ok(Held::Kept)
    }

    async fn held_credit(&self, identity: &Identity, limit: usize) -> Result<Vec<HeldCredit>> {
        Ok(self.0.lock().held.get(identity).into_iter().flatten().take(limit).cloned().collect())
    }

    async fn release_credit(&self, identity: &Identity, source: Source, external_id: &str) -> Result<Removed> {
        let mut tables = self.0.lock();
        let Some(all) = tables.held.get_mut(identity) else { return Ok(Removed::NotThere) };
        let before = all.len();
        all.retain(|held| !same_name(&held.entry, source, external_id));
        Ok(Removed::when(all.len() < before))
    }

    async fn facts(&self, identity: &Identity) -> Result<ProviderFacts> {
        Ok(self.0.lock().facts.get(identity).cloned().unwrap_or_default())
    }

    async fn put_facts(&self, identity: &Identity, facts: &ProviderFacts) -> Result<Replaced> {
        let mut tables = self.0.lock();
        let kept = tables.facts.entry(identity.clone()).or_default();
        let current = kept.revision == facts.revision;
        if current {
            *kept = ProviderFacts { revision: facts.revision + 1, ..facts.clone() };
        }
        Ok(Replaced::when(current))
    }
}

#[async_trait]
impl AuditStore for MemoryStore {
    async fn append_audit(&self, rows: &[AuditRecord]) -> Result<()> {
        let log = &mut self.0.lock().audit;
        for row in rows {
            log.entry(row.key).or_insert_with(|| row.clone());
        }
        Ok(())
    }

    async fn audit_of_day(&self, day: AuditDay, after: Option<AuditKey>, limit: usize) -> Result<Vec<AuditRecord>> {
        let tables = self.0.lock();
        let of_day = tables.audit.values().filter(|row| row.key.day() == day && Some(row.key) > after);
        Ok(of_day.take(limit).cloned().collect())
    }

    async fn audit_of_account(
        &self,
        account: &AccountId,
        after: Option<AuditKey>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>> {
        let tables = self.0.lock();
        let of_account = tables.audit.values().filter(|row| row.account == Some(*account) && Some(row.key) > after);
        Ok(of_account.take(limit).cloned().collect())
    }

    async fn prune_audit(&self, before: UnixMs, most: usize) -> Result<usize> {
        let log = &mut self.0.lock().audit;
        let old: Vec<_> = log.keys().copied().take_while(|key| key.at < before).take(most).collect();
        old.iter().for_each(|key| drop(log.remove(key)));
        Ok(old.len())
    }
}

#[async_trait]
impl HistoryStore for MemoryStore {
    async fn append_history(&self, rows: &[HeardRow]) -> Result<()> {
        let mut tables = self.0.lock();
        for row in rows {
            if tables.accounts.get(&row.account).is_some_and(|owned| !owned.account.deleted) {
                tables.history.entry((row.session, row.heard.key)).or_insert(*row);
            }
        }
        Ok(())
    }

    async fn history(&self, session: &SessionId, after: HeardKey, until: UnixMs, limit: usize) -> Result<Vec<Heard>> {
        let tables = self.0.lock();
        let of_session = tables.history.values().filter(|row| row.session == *session).map(|row| row.heard);
        Ok(of_session.filter(|heard| heard.key > after && heard.key.at < until).take(limit).collect())
    }

    async fn prune_history(&self, before: UnixMs, most: usize) -> Result<usize> {
        let rows = &mut self.0.lock().history;
        let day = |at| AuditDay::of(at);
        let old: Vec<_> = rows.keys().copied().filter(|(_, key)| day(key.at) < day(before)).take(most).collect();
        rows.retain(|key, _| !old.contains(key));
        Ok(old.len())
    }
}

#[async_trait]
impl RewardStore for MemoryStore {
    async fn reward_record(&self, key: &RewardKey) -> Result<RewardRecord> {
        Ok(self.0.lock().rewards.get(key).cloned().unwrap_or_default())
    }

    async fn put_reward_record(&self, key: &RewardKey, record: &RewardRecord) -> Result<Replaced> {
        let mut tables = self.0.lock();
        let current = tables.rewards.get(key).map_or(0, |kept| kept.revision) == record.revision;
        if current {
            let next = RewardRecord { revision: record.revision + 1, ..record.clone() };
            tables.rewards.insert(key.clone(), next);
        }
        Ok(Replaced::when(current))
    }

    async fn reward_records(
        &self,
        part: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RewardKey, RewardRecord)>> {
        let tables = self.0.lock();
        let of_part = tables.rewards.iter().filter(|(key, _)| key.part == part && Some(key.name.as_str()) > after);
        Ok(of_part.take(limit).map(|(key, record)| (key.clone(), record.clone())).collect())
    }

    async fn remove_reward_record(&self, key: &RewardKey) -> Result<Removed> {
        Ok(Removed::when(self.0.lock().rewards.remove(key).is_some()))
    }
}

#[async_trait]
impl StatusListStore for MemoryStore {
    async fn lease_status_list(&self, lease: &StatusLease) -> Result<Leased> {
        let lists = &mut self.0.lock().status_lists;
        let new = !lists.contains_key(&lease.id);
        if new {
            lists.insert(lease.id, lease.clone());
        }
        Ok(Leased::when(new))
    }

    async fn grant_status(&self, list: &ListId, from: u32, to: u32) -> Result<Granted> {
        let mut tables = self.0.lock();
        let found = tables.status_lists.get_mut(list);
        let Some(lease) = found.filter(|lease| lease.granted == from && lease.retires_at.is_none()) else {
            return Ok(Granted::Refused);
        };
        lease.granted = to;
        Ok(Granted::Done)
    }

    async fn retire_status_list(&self, list: &ListId, at: UnixMs) -> Result<Retired> {
        let mut tables = self.0.lock();
        let retired = tables.status_lists.get_mut(list).map(|lease| lease.retires_at = Some(at));
        Ok(Retired::when(retired.is_some()))
    }

    async fn status_lists(&self) -> Result<Vec<StatusLease>> {
        Ok(self.0.lock().status_lists.values().cloned().collect())
    }

    async fn remove_status_list(&self, list: &ListId) -> Result<Removed> {
        Ok(Removed::when(self.0.lock().status_lists.remove(list).is_some()))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
