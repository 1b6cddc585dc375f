//! How two stores are compared without having all of either in memory.
//!
//! Each row leaves a [`Mark`]: its table, its key, and a hash of all it says. A [`Tally`] adds the hashes up, in any order,
//! in parts that the keys fall into by their own hash. Where two tallies differ, only the parts that do are looked at row
//! by row.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry as Place},
    fmt::Write,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    engine::{AccountId, Credit, End, Entry, Session},
    store::{
        AccountKey, AuditRecord, Edge, HeldCredit, Identity, Owned, ProviderFacts, SealedKey, StatusLease, facts_json,
    },
    time::{ClockFact, MeterTime, UnixMs},
};

use super::{OpenSession, RememberedSession};

/// Parts of a table.
const PARTS: usize = 256;
/// Parts of a table that are looked at row by row.
const PARTS_SEARCHED: usize = 4;
/// Rows that are named of each table.
const NAMED: usize = 5;

macro_rules! tables {
    ($( $(#[doc = $about:literal])+ $name:ident = $text:literal, )+) => {
        /// What marks are of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $( $(#[doc = $about])+ $name, )+
        }

        impl Table {
            /// What people call its rows.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }
        }
    };
}

tables! {
    /// Accounts.
    Account = "accounts",
    /// Entries of their ledgers.
    Entry = "ledger entries",
    /// Sessions that are remembered.
    Session = "sessions",
    /// Open sessions, with when they were last heard of.
    Checkpoint = "open sessions",
    /// Account keys.
    AccountKey = "account keys",
    /// Registered edges.
    Edge = "edges",
    /// Keys that tokens are made with.
    SigningKey = "signing keys",
    /// Token status lists.
    StatusList = "status lists",
    /// Credit that is held.
    Held = "credits held",
    /// What providers told of people.
    Facts = "provider facts",
    /// Rows of the audit log.
    Audit = "audit rows",
    /// The meter.
    Clock = "meter clocks",
    /// What leads from identities to accounts.
    Identity = "ways from identities to accounts",
    /// What leads through all accounts.
    Directory = "accounts that are listed",
    /// What leads from names to entries.
    EntryName = "names of ledger entries",
    /// What leads from sessions to accounts.
    SessionPointer = "ways from sessions to accounts",
    /// What leads from account keys to accounts.
    KeyPointer = "ways from account keys to accounts",
    /// The audit log by account.
    AuditOfAccount = "audit rows by account",
    /// What a service leaves that has used the store.
    Foreign = "traces of a service",
}

impl Table {
    /// Whether its rows say something that no other table's do.
    pub const fn is_truth(self) -> bool {
        !matches!(
            self,
            Self::Identity
                | Self::Directory
                | Self::EntryName
                | Self::SessionPointer
                | Self::KeyPointer
                | Self::AuditOfAccount
                | Self::Foreign
        )
    }
}

/// A row, as far as comparing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    table: Table,
    key: Vec<u8>,
    digest: [u8; 32],
}

impl Mark {
    /// What it is of.
    pub const fn table(&self) -> Table {
        self.table
    }

    /// Which part of its table it falls into.
    fn part(&self) -> usize {
        usize::from(Sha256::digest(&self.key)[0])
    }
}

/// A mark that is being made: each thing that is said goes in with its length.
pub(in crate::store) struct Marked {
    mark: Mark,
    sha: Sha256,
}

/// Something that can be said.
pub(in crate::store) trait Say {
    fn say(&self, sha: &mut Sha256);
}

impl Marked {
    /// Of a row with this key.
    pub(in crate::store) fn new(table: Table, key: &[&[u8]]) -> Self {
        let mut sha = Sha256::new();
        for part in key {
            part.say(&mut sha);
        }
        Self { mark: Mark { table, key: key.concat(), digest: [0; 32] }, sha }
    }

    /// That says this, after what it says already.
    pub(in crate::store) fn with(mut self, what: impl Say) -> Self {
        what.say(&mut self.sha);
        self
    }

    /// That says no more.
    pub(in crate::store) fn done(mut self) -> Mark {
        self.mark.digest = self.sha.finalize().into();
        self.mark
    }
}

impl Say for &[u8] {
    fn say(&self, sha: &mut Sha256) {
        sha.update((self.len() as u64).to_le_bytes());
        sha.update(self);
    }
}

impl Say for &str {
    fn say(&self, sha: &mut Sha256) {
        self.as_bytes().say(sha);
    }
}

impl Say for u64 {
    fn say(&self, sha: &mut Sha256) {
        sha.update(self.to_le_bytes());
    }
}

impl Say for i64 {
    fn say(&self, sha: &mut Sha256) {
        sha.update(self.to_le_bytes());
    }
}

impl<T: Say> Say for Option<T> {
    fn say(&self, sha: &mut Sha256) {
        sha.update([u8::from(self.is_some())]);
        if let Some(what) = self {
            what.say(sha);
        }
    }
}

impl Say for UnixMs {
    fn say(&self, sha: &mut Sha256) {
        self.as_ms().say(sha);
    }
}

impl Say for MeterTime {
    fn say(&self, sha: &mut Sha256) {
        self.as_ms().say(sha);
    }
}

impl Say for Credit {
    fn say(&self, sha: &mut Sha256) {
        self.as_ms().say(sha);
    }
}

impl Say for &Identity {
    fn say(&self, sha: &mut Sha256) {
        self.issuer.as_str().say(sha);
        self.subject.as_str().say(sha);
    }
}

impl Say for &End {
    fn say(&self, sha: &mut Sha256) {
        self.reason.name().say(sha);
        self.at.say(sha);
        self.at_wall.say(sha);
        self.last_seen.say(sha);
    }
}

impl Say for &Session {
    fn say(&self, sha: &mut Sha256) {
        self.id.as_bytes().as_slice().say(sha);
        self.started.say(sha);
        self.started_at.say(sha);
        self.audience.as_str().say(sha);
        self.tokens.current.as_bytes().as_slice().say(sha);
        self.tokens.previous.as_ref().map(|hash| hash.as_bytes().as_slice()).say(sha);
        self.tokens.expires_at.say(sha);
        self.tokens.status.list.as_bytes().as_slice().say(sha);
        u64::from(self.tokens.status.idx).say(sha);
        self.tokens.expires.say(sha);
        self.tokens.renewed.map(|renewed| renewed.clock).say(sha);
        self.tokens.renewed.map(|renewed| u64::from(renewed.seq)).say(sha);
        self.names.to_bytes().as_slice().say(sha);
        self.end.as_ref().say(sha);
    }
}

impl From<&Owned> for Mark {
    fn from(Owned { account, identity, created_at }: &Owned) -> Self {
        Marked::new(Table::Account, &[account.id.as_bytes()])
            .with(account.version)
            .with(account.balance)
            .with(account.debt)
            .with(account.entries)
            .with(account.session.as_ref())
            .with(u64::from(account.deleted))
            .with(identity.as_ref())
            .with(*created_at)
            .done()
    }
}

impl From<(&AccountId, &Entry)> for Mark {
    fn from((account, entry): (&AccountId, &Entry)) -> Self {
        Marked::new(Table::Entry, &[account.as_bytes(), &entry.number.to_be_bytes()])
            .with(entry.kind.name())
            .with(entry.amount)
            .with(entry.owed)
            .with(entry.source.name())
            .with(entry.external_id.as_str())
            .with(entry.reason.as_deref())
            .with(entry.at)
            .done()
    }
}

impl From<&RememberedSession> for Mark {
    fn from(session: &RememberedSession) -> Self {
        Marked::new(Table::Session, &[session.id.as_bytes()])
            .with(session.account.as_bytes().as_slice())
            .with(session.started)
            .with(session.started_at)
            .with(session.end.as_ref())
            .done()
    }
}

impl From<&OpenSession> for Mark {
    fn from(open: &OpenSession) -> Self {
        Marked::new(Table::Checkpoint, &[open.session.as_bytes()])
            .with(open.account.as_bytes().as_slice())
            .with(open.last_seen)
            .done()
    }
}

impl From<&AccountKey> for Mark {
    fn from(key: &AccountKey) -> Self {
        Marked::new(Table::AccountKey, &[key.account.as_bytes(), key.key_id.as_bytes()])
            .with(key.hash.as_slice())
            .with(key.created_at)
            .done()
    }
}

impl From<&Edge> for Mark {
    fn from(edge: &Edge) -> Self {
        Marked::new(Table::Edge, &[edge.client_id.as_bytes()])
            .with(edge.name.as_str())
            .with(edge.audience.as_str())
            .with(edge.secret_hashes.as_flattened())
            .with(edge.created_at)
            .done()
    }
}

impl From<&SealedKey> for Mark {
    fn from(key: &SealedKey) -> Self {
        Marked::new(Table::SigningKey, &[key.kid.as_bytes()])
            .with(key.algorithm.as_str())
            .with(key.sealed.as_slice())
            .with(key.created_at)
            .with(key.signs_from)
            .with(key.retires_at)
            .done()
    }
}

impl From<&StatusLease> for Mark {
    fn from(lease: &StatusLease) -> Self {
        Marked::new(Table::StatusList, &[lease.id.as_bytes()])
            .with(u64::from(lease.size.entries()))
            .with(lease.seed.expose_bytes().as_slice())
            .with(u64::from(lease.granted))
            .with(lease.leased_at)
            .with(lease.retires_at)
            .done()
    }
}

impl From<(&[u8; 32], &HeldCredit)> for Mark {
    /// Of credit that is held for the identity of this digest.
    fn from((identity, HeldCredit { entry, at }): (&[u8; 32], &HeldCredit)) -> Self {
        Marked::new(Table::Held, &[identity, entry.source.name().as_bytes(), entry.external_id.as_bytes()])
            .with(entry.kind.name())
            .with(entry.amount)
            .with(entry.reason.as_deref())
            .with(*at)
            .done()
    }
}

impl From<(&[u8; 32], &ProviderFacts)> for Mark {
    /// Of what was told of the identity of this digest.
    fn from((identity, facts): (&[u8; 32], &ProviderFacts)) -> Self {
        Marked::new(Table::Facts, &[identity])
            .with(facts.revision)
            .with(facts.gone_at)
            .with(facts.password_changed_at)
            .with(facts_json::capabilities(facts).as_str())
            .with(facts_json::events(facts).as_str())
            .done()
    }
}

impl From<&ClockFact> for Mark {
    fn from(clock: &ClockFact) -> Self {
        Marked::new(Table::Clock, &[]).with(clock.last_alive).with(clock.wall).done()
    }
}

/// A row of the audit log, in this table.
pub(in crate::store) fn audited(table: Table, row: &AuditRecord) -> Mark {
    Marked::new(table, &[&row.key.at.as_ms().to_be_bytes(), &row.key.id])
        .with(row.act.name())
        .with(row.actor.kind.name())
        .with(row.actor.name.as_deref())
        .with(row.actor.surface.name())
        .with(row.account.as_ref().map(|id| id.as_bytes().as_slice()))
        .with(row.target.as_deref())
        .with(row.detail.as_deref())
        .done()
}

/// A part of a table: how many rows, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    rows: u64,
    sum: [u64; 4],
}

/// What a store holds, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Table, Vec<Part>>);

impl Tally {
    /// Adds a mark.
    pub fn add(&mut self, mark: &Mark) {
        let parts = self.0.entry(mark.table).or_insert_with(|| vec![Part::default(); PARTS]);
        let part = &mut parts[mark.part()];
        part.rows += 1;
        for (sum, word) in part.sum.iter_mut().zip(mark.digest.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }

    /// How many rows a table has.
    pub fn rows(&self, table: Table) -> u64 {
        self.0.get(&table).map_or(0, |parts| parts.iter().map(|part| part.rows).sum())
    }

    /// How many marks there are.
    pub fn marks(&self) -> u64 {
        self.0.keys().map(|table| self.rows(*table)).sum()
    }

    /// The tables that say something of their own, with how many rows they have.
    pub fn truths(&self) -> Vec<(Table, u64)> {
        self.0.keys().filter(|table| table.is_truth()).map(|table| (*table, self.rows(*table))).collect()
    }

    /// A hash of all of it.
    pub fn digest(&self) -> [u8; 32] {
        let mut sha = Sha256::new_with_prefix(b"gastank/moving/v1");
        for (table, parts) in &self.0 {
            table.name().say(&mut sha);
            for part in parts {
                part.rows.say(&mut sha);
                part.sum.iter().for_each(|word| word.say(&mut sha));
            }
        }
        sha.finalize().into()
    }

    /// Where it differs from another, to be searched.
    pub(super) fn differing(&self, other: &Self) -> Search {
        let empty = vec![Part::default(); PARTS];
        let mut search = Search::default();
        for table in self.0.keys().chain(other.0.keys()).copied().collect::<BTreeSet<_>>() {
            let (ours, theirs) = (self.0.get(&table).unwrap_or(&empty), other.0.get(&table).unwrap_or(&empty));
            let differ = ours.iter().zip(theirs).enumerate().filter(|(_, (one, two))| one != two);
            let parts: BTreeSet<_> = differ.map(|(part, _)| part).take(PARTS_SEARCHED).collect();
            if !parts.is_empty() {
                search.parts.insert(table, parts);
            }
        }
        search
    }
}

/// What is looked at row by row.
#[derive(Debug, Default)]
pub(super) struct Search {
    parts: BTreeMap<Table, BTreeSet<usize>>,
    /// Marks that one side has: whether it is the source, and the digest.
    odd: BTreeMap<(Table, Vec<u8>), (bool, [u8; 32])>,
    /// Rows that both have, and that say different things.
    changed: BTreeSet<(Table, Vec<u8>)>,
}

impl Search {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Looks at a mark of the source, or of the target after all of the source.
    pub(super) fn see(&mut self, of_source: bool, mark: Mark) {
        if !self.parts.get(&mark.table).is_some_and(|parts| parts.contains(&mark.part())) {
            return;
        }
        match self.odd.entry((mark.table, mark.key)) {
            Place::Occupied(place) if place.get().0 != of_source => {
                let (key, (_, digest)) = place.remove_entry();
                if digest != mark.digest {
                    self.changed.insert(key);
                }
            }
            Place::Occupied(_) => {}
            Place::Vacant(place) => {
                place.insert((of_source, mark.digest));
            }
        }
    }

    /// What was found.
    pub(super) fn differences(&self, source: &Tally, target: &Tally) -> Vec<Difference> {
        let of = |table: Table| {
            let odd = self.odd.iter().filter(move |((of, _), _)| *of == table);
            let odd = odd.map(|((of, key), (of_source, _))| {
                format!("{} {}", named(*of, key), if *of_source { "is missing" } else { "is not in the source" })
            });
            let changed = self.changed.iter().filter(move |(of, _)| *of == table);
            odd.chain(changed.map(|(of, key)| format!("{} is not the same", named(*of, key)))).take(NAMED).collect()
        };
        let tables = self.parts.keys().copied();
        tables
            .map(|table| Difference { table, source: source.rows(table), target: target.rows(table), rows: of(table) })
            .collect()
    }
}

/// Where two stores differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In which table.
    pub table: Table,
    /// How many rows the source has.
    pub source: u64,
    /// How many rows the target has.
    pub target: u64,
    /// Some of the rows that differ, and how.
    pub rows: Vec<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} here, {} there", self.table.name(), self.source, self.target)?;
        self.rows.iter().try_for_each(|row| write!(f, "; {row}"))
    }
}

/// What people can find a row by.
fn named(table: Table, key: &[u8]) -> String {
    let id = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().take(100).collect::<String>();
    match (table, key.split_at_checked(16)) {
        (Table::Entry, Some((account, number))) => {
            let number = number.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            format!("entry {number} of account {}", id(account))
        }
        (Table::AccountKey, Some((account, key))) => format!("key {} of account {}", text(key), id(account)),
        (Table::EntryName, Some((account, _))) => format!("the name of an entry of account {}", id(account)),
        (Table::Audit | Table::AuditOfAccount, _) => format!("row {}", id(key)),
        (Table::Edge | Table::SigningKey | Table::Foreign, _) => text(key),
        (Table::Held, _) => {
            let (identity, name) = key.split_at(key.len().min(32));
            format!("{} of the identity with the hash {}", text(name), hex(identity))
        }
        (Table::Facts | Table::Identity | Table::KeyPointer, _) => format!("the one with the hash {}", hex(key)),
        (Table::Clock, _) => "it".to_owned(),
        _ => id(key),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark(key: &[u8], says: u64) -> Mark {
        Marked::new(Table::Account, &[key]).with(says).done()
    }

    fn tally(rows: &BTreeMap<u16, u64>) -> Tally {
        let mut tally = Tally::default();
        rows.iter().for_each(|(key, says)| tally.add(&mark(&key.to_be_bytes(), *says)));
        tally
    }

    proptest! {
        #[test]
        fn tallies_are_the_same_only_of_the_same_rows(
            one: BTreeMap<u16, u64>,
            changes in prop::collection::btree_map(any::<u16>(), any::<Option<u64>>(), 0..3),
        ) {
            let mut two = one.clone();
            for (key, says) in changes {
                match says {
                    Some(says) => two.insert(key, says),
                    None => two.remove(&key),
                };
            }
            let (ours, theirs) = (tally(&one), tally(&two));
            prop_assert_eq!(one == two, ours == theirs);
            prop_assert_eq!(one == two, ours.digest() == theirs.digest());
            let mut search = ours.differing(&theirs);
            prop_assert_eq!(search.is_empty(), one == two);
            one.iter().for_each(|(key, says)| search.see(true, mark(&key.to_be_bytes(), *says)));
            two.iter().for_each(|(key, says)| search.see(false, mark(&key.to_be_bytes(), *says)));
            let named: usize = search.differences(&ours, &theirs).iter().map(|found| found.rows.len()).sum();
            let differing = one.keys().chain(two.keys()).collect::<BTreeSet<_>>();
            let differing = differing.into_iter().filter(|key| one.get(key) != two.get(key)).count();
            prop_assert_eq!(named, differing.min(NAMED));
        }
    }

    #[test]
    fn what_is_said_is_told_apart_by_its_lengths() {
        let says = |one: &str, two: Option<&str>| Marked::new(Table::Edge, &[b"x"]).with(one).with(two).done();
        assert_ne!(says("ab", Some("c")), says("a", Some("bc")));
        assert_ne!(says("a", Some("")), says("a", None));
    }
}
