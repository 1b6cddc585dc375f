//! What the simulated CQL server holds.
//!
//! Accounts, ledgers and sessions are changed by conditional batches and read serially: one place, one order. Everything
//! else is cells on three replicas.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;
use gastank::{
    engine::{Account, AccountId, Act, Checkpoint, ListId, bucket},
    store::{
        AuditRecord, Begun, Change, Commit, Era, ListCopy, ListOwner, NodeId, NodeLease, OpenAccount, Removed, Result,
        StoreError, is_void, roles::*, stamp,
    },
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};
use parking_lot::Mutex;

use crate::{chance::Chance, memory_store::MemoryStore, replicas::Cells};

/// An act that was committed, and when, in virtual time.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Milliseconds since the run began.
    pub at: u64,
    /// The act.
    pub act: Act,
}

/// All tables.
pub struct Tables {
    /// What conditional batches change.
    pub(crate) serial: MemoryStore,
    chance: Chance,
    cells: Mutex<AllCells>,
}

type Told = (u64, MeterTime, AccountId, u64, NodeId);

#[derive(Default)]
struct AllCells {
    checkpoints: Cells<(u8, SessionKey), u64>,
    clock: Cells<(), (u64, u64)>,
    nodes: Cells<NodeId, LeaseCell>,
    changes: Cells<Told, Option<SessionKey>>,
    owners: BTreeMap<ListId, ListOwner>,
    copies: Cells<(ListId, u64), (u64, Vec<u8>)>,
    /// The latest instant of any act, and of the checkpoint of any session that has ended.
    reached: Option<u64>,
    era: Option<Era>,
    applied: Vec<Applied>,
    /// Commits that failed before the account was read again, and so never will be.
    void: BTreeSet<u64>,
    /// Commits that failed, by account.
    failed: BTreeMap<AccountId, Vec<u64>>,
    /// When wall-clock timestamps are asked for: a counter.
    writes: u64,
}

type SessionKey = [u8; 16];
type LeaseCell = (String, u64, u64, u64, u64, bool, u64);

/// How many replicas a write reaches: all, a quorum, or too few to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach(pub usize);

impl Reach {
    fn answer<T>(self, value: T) -> Result<T> {
        if self.0 >= 2 { Ok(value) } else { Err(StoreError::Unavailable("too few replicas answered".to_owned())) }
    }
}

impl Tables {
    /// Empty tables.
    pub fn new(chance: Chance) -> Self {
        Self { serial: MemoryStore::default(), chance, cells: Mutex::default() }
    }

    /// The acts that were committed, in order, from number `first` on.
    pub fn applied_since(&self, first: usize) -> Vec<Applied> {
        self.cells.lock().applied[first..].to_vec()
    }

    /// Commits an act that was sent as number `ticket`, at `at` of virtual time.
    pub async fn commit(&self, act: &Act, audit: Option<&AuditRecord>, ticket: u64, at: u64) -> Result<Commit> {
        if self.cells.lock().void.contains(&ticket) {
            return Err(StoreError::Unavailable("another ballot was faster".to_owned()));
        }
        let committed = self.serial.commit(act, audit).await?;
        if matches!(committed, Commit::Done(_)) {
            // Whoever deletes the checkpoint of a session that has ended raises the clock to it.
            let heard = act.closes.map(|(session, end)| (self.kept(&session), end.at));
            let heard = heard.filter(|(heard, end)| !is_void(*heard, *end)).map(|(heard, _)| heard);
            let mut cells = self.cells.lock();
            let started = act.opens.as_ref().map(|session| session.started);
            let ended = act.closes.map(|(_, end)| end.at);
            cells.reached = cells.reached.max(started.max(ended).max(heard).map(MeterTime::as_ms));
            cells.applied.push(Applied { at, act: act.clone() });
        }
        Ok(committed)
    }

    /// Who sent commit number `ticket` has given up on it.
    pub fn gave_up(&self, account: AccountId, ticket: u64) {
        self.cells.lock().failed.entry(account).or_default().push(ticket);
    }

    /// The account is read serially: what failed before is in it, or never will be.
    pub fn fence(&self, account: &AccountId) {
        let mut cells = self.cells.lock();
        let failed = cells.failed.remove(account).unwrap_or_default();
        cells.void.extend(failed);
    }

    /// Writes checkpoints, by a node that lives in `era`.
    pub async fn checkpoint(&self, bucket: u8, rows: &[Checkpoint], era: u64, reach: Reach) -> Result<()> {
        for row in rows {
            let is_open = self.serial.session(&row.session).await?.is_some_and(|record| record.end.is_none());
            // Whoever ends a session deletes its checkpoint for good.
            if !is_open {
                continue;
            }
            let (key, seen) = ((bucket, *row.session.as_bytes()), row.last_seen.as_ms());
            let mut cells = self.cells.lock();
            cells.checkpoints.write(&key, stamp(era, row.last_seen), Some(seen), reach.0, &self.chance);
        }
        reach.answer(())
    }

    /// The checkpoints of open sessions.
    pub async fn heard(&self, wanted: u8, sessions: &[SessionId]) -> Result<Vec<Checkpoint>> {
        let mut found = Vec::new();
        for session in sessions {
            let Some(record) = self.serial.session(session).await?.filter(|record| record.end.is_none()) else {
                continue;
            };
            let account = self.serial.account(&record.account).await?;
            let opened = account.and_then(|owned| owned.account.session);
            let started = opened.filter(|open| open.id == *session).map(|open| open.started);
            let (Some(started), true) = (started, bucket(session) == wanted) else { continue };
            found.push(Checkpoint { session: *session, last_seen: self.kept(session).max(started) });
        }
        Ok(found)
    }

    /// The accounts with an open session, and what is kept of it.
    pub async fn kept_sessions(&self) -> Result<Vec<(AccountId, Checkpoint)>> {
        let found: Vec<OpenAccount> = self.serial.recover().try_concat().await?;
        let kept = |open: OpenAccount| {
            let session = open.account.open().expect("that is what is recovered").id;
            (open.account.id, Checkpoint { session, last_seen: open.last_seen.max(self.kept(&session)) })
        };
        Ok(found.into_iter().map(kept).collect())
    }

    /// Those of these accounts whose session is open still.
    pub async fn still_open(&self, kept: &[(AccountId, Checkpoint)]) -> Result<Vec<OpenAccount>> {
        let mut found = Vec::new();
        for (id, Checkpoint { session, last_seen }) in kept {
            let account = self.serial.account(id).await?.map(|owned| owned.account);
            let is_open = |account: &Account| account.open().is_some_and(|open| open.id == *session);
            found.extend(account.filter(is_open).map(|account| OpenAccount { account, last_seen: *last_seen }));
        }
        Ok(found)
    }

    /// The meter: no earlier than any act that is durable, nor than the checkpoint of an open session, but for those that
    /// no node of the latest era can have lived.
    pub async fn clock(&self) -> Option<ClockFact> {
        let open = self.kept_sessions().await.expect("a table");
        let mut cells = self.cells.lock();
        let kept = cells.clock.read(.., &self.chance).pop().map(|(_, fact)| fact);
        let wall = kept.map_or(0, |(_, wall)| wall);
        let alive = kept.map(|(alive, _)| alive).max(cells.reached);
        let leases = cells.nodes.read(.., &self.chance).into_iter().map(|(_, lease)| lease);
        let furthest = cells.era.map(|era| {
            let shown = leases.filter(|(_, of, ..)| *of == era.number).map(|(_, _, _, meter, ..)| meter).max();
            MeterTime::from_ms(era.began.as_ms().max(alive.unwrap_or(0)).max(shown.unwrap_or(0)))
        });
        let heard = open.iter().map(|(_, checkpoint)| checkpoint.last_seen);
        let heard = heard.filter(|heard| furthest.is_none_or(|furthest| !is_void(*heard, furthest))).max();
        let alive = alive.max(heard.map(MeterTime::as_ms))?;
        Some(ClockFact { last_alive: MeterTime::from_ms(alive), wall: UnixMs::from_ms(wall) })
    }

    /// Keeps the meter, by a node that lives in `era`: the timestamp is of both.
    pub fn keep_clock(&self, fact: ClockFact, era: u64, reach: Reach) -> Result<()> {
        let alive = fact.last_alive.as_ms();
        // Of two at the same instant the later one stays, whatever the wall clock says: it is written after.
        let mut cells = self.cells.lock();
        cells.clock.write(&(), stamp(era, fact.last_alive), Some((alive, fact.wall.as_ms())), reach.0, &self.chance);
        reach.answer(())
    }

    /// Writes a lease: the timestamp is the number of its renewals.
    pub fn put_node(&self, lease: &NodeLease, reach: Reach) -> Result<()> {
        let cell = (
            lease.name.clone(),
            lease.era,
            lease.renewals,
            lease.meter.as_ms(),
            lease.told_until.as_ms(),
            lease.is_behind,
            lease.wall.as_ms(),
        );
        let mut cells = self.cells.lock();
        cells.nodes.write(&lease.node, lease.renewals, Some(cell), reach.0, &self.chance);
        reach.answer(())
    }

    /// All leases.
    pub fn nodes(&self) -> Vec<NodeLease> {
        let found = self.cells.lock().nodes.read(.., &self.chance);
        let lease = |(node, (name, era, renewals, meter, told, is_behind, wall)): (NodeId, LeaseCell)| NodeLease {
            node,
            name,
            era,
            renewals,
            meter: MeterTime::from_ms(meter),
            told_until: MeterTime::from_ms(told),
            is_behind,
            wall: UnixMs::from_ms(wall),
        };
        found.into_iter().map(lease).collect()
    }

    /// Forgets a lease, with the timestamp of a wall clock.
    pub fn remove_node(&self, node: &NodeId, reach: Reach) -> Result<Removed> {
        let mut cells = self.cells.lock();
        let known = !cells.nodes.read(*node..=*node, &self.chance).is_empty();
        cells.nodes.write(node, u64::MAX, None, reach.0, &self.chance);
        reach.answer(Removed::when(known))
    }

    /// The latest era.
    pub fn era(&self) -> Option<Era> {
        self.cells.lock().era
    }

    /// Begins an era, on condition.
    pub fn begin_era(&self, era: &Era) -> Begun {
        let mut cells = self.cells.lock();
        if cells.era == Some(*era) {
            return Begun::Ours;
        }
        let follows = cells.era.map_or(0, |latest| latest.number) + 1 == era.number;
        if follows {
            cells.era = Some(*era);
        }
        Begun::when(follows)
    }

    /// Who owns which status list.
    pub fn list_owners(&self) -> Vec<ListOwner> {
        self.cells.lock().owners.values().copied().collect()
    }

    /// Makes somebody the owner of a list, on condition.
    pub fn own_list(&self, owner: &ListOwner) -> Begun {
        let mut cells = self.cells.lock();
        let latest = cells.owners.get(&owner.list).copied();
        let follows = latest.map_or(0, |latest| latest.term) + 1 == owner.term;
        if follows {
            cells.owners.insert(owner.list, *owner);
        }
        Begun::when(follows || latest == Some(*owner))
    }

    /// Forgets the owner of a list.
    pub fn disown_list(&self, list: &ListId) {
        self.cells.lock().owners.remove(list);
    }

    /// Writes what the owner of a list says: the timestamp is the instant.
    pub fn put_list_copy(&self, copy: &ListCopy, reach: Reach) -> Result<()> {
        let (key, as_of) = ((copy.list, copy.term), copy.as_of.as_ms());
        self.cells.lock().copies.write(&key, as_of, Some((as_of, copy.bits.to_vec())), reach.0, &self.chance);
        reach.answer(())
    }

    /// What the latest owner of a list that said anything said last.
    pub fn list_copy(&self, list: &ListId) -> Option<ListCopy> {
        let found = self.cells.lock().copies.read((*list, 0)..=(*list, u64::MAX), &self.chance);
        let ((_, term), (as_of, bits)) = found.into_iter().next_back()?;
        Some(ListCopy { list: *list, term, as_of: MeterTime::from_ms(as_of), bits: bits.into() })
    }

    /// Writes a change.
    pub fn announce(&self, change: &Change, reach: Reach) -> Result<()> {
        let mut cells = self.cells.lock();
        cells.writes += 1;
        let key = (change.slot(), change.at, change.account, change.version, change.node);
        let (timestamp, open) = (cells.writes, change.open.map(|session| *session.as_bytes()));
        cells.changes.write(&key, timestamp, Some(open), reach.0, &self.chance);
        reach.answer(())
    }

    /// The changes of a slot.
    pub fn changes(&self, slot: u64, from: MeterTime) -> Vec<Change> {
        let least = (slot, from, AccountId::from_bytes([0; 16]), 0, NodeId::from_bytes([0; 16]));
        let next = (slot + 1, MeterTime::ZERO, AccountId::from_bytes([0; 16]), 0, NodeId::from_bytes([0; 16]));
        if least >= next {
            return Vec::new();
        }
        let found = self.cells.lock().changes.read(least..next, &self.chance);
        let change = |((_, at, account, version, node), open): (Told, Option<SessionKey>)| Change {
            at,
            account,
            version,
            node,
            open: open.map(SessionId::from_bytes),
        };
        found.into_iter().map(change).collect()
    }

    fn kept(&self, session: &SessionId) -> MeterTime {
        let key = (bucket(session), *session.as_bytes());
        let found = self.cells.lock().checkpoints.read(key..=key, &self.chance);
        found.first().map_or(MeterTime::ZERO, |(_, seen)| MeterTime::from_ms(*seen))
    }
}
