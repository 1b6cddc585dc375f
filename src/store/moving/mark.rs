//! Rows as far as comparing goes: each leaves a [`Mark`], its table, its key, and a hash of all it says.

use sha2::{Digest, Sha256};

use crate::{
    engine::{AccountId, Credit, End, Entry, Session},
    store::{
        AccountKey, AuditRecord, Edge, HandleRecord, HeldCredit, HubClient, HubSessionRecord, Identity, LogoutRecord,
        Owned, Participant, Person, ProviderFacts, RewardKey, RewardRecord, SealedKey, StatusLease, facts_json,
    },
    time::{ClockFact, MeterTime, UnixMs},
};

use super::{OpenSession, RememberedSession};

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
    /// What the hub keeps of people.
    Person = "hub people",
    /// Hub sessions.
    HubSession = "hub sessions",
    /// Records of rewards and shops.
    Reward = "reward records",
    /// Clients of the hub.
    HubClient = "hub clients",
    /// What clients have for hub sessions.
    Handle = "handles",
    /// Clients that take part in hub sessions.
    Participant = "participants",
    /// What clients are to be told of hub sessions that have ended.
    Logout = "logouts to deliver",
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
    /// What leads from digests of secrets to hub sessions and handles.
    HubPointer = "ways from secrets to hub sessions and handles",
    /// What leads from sessions of identity providers to hub sessions.
    ProviderPointer = "ways from providers' sessions to hub sessions",
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
                | Self::HubPointer
                | Self::ProviderPointer
                | Self::Foreign
        )
    }
}

/// A row, as far as comparing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) digest: [u8; 32],
}

impl Mark {
    /// What it is of.
    pub const fn table(&self) -> Table {
        self.table
    }

    /// Which part of its table it falls into.
    pub(super) fn part(&self) -> usize {
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
        self.tokens.uncharged.get().say(sha);
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
            .with(account.earnings.to_bytes().as_slice())
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
            .with(key.scope.name())
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

impl From<(&AccountId, &Person)> for Mark {
    fn from((account, person): (&AccountId, &Person)) -> Self {
        Marked::new(Table::Person, &[account.as_bytes()])
            .with(person.epoch)
            .with(person.version)
            .with(person.profile.to_json().as_str())
            .done()
    }
}

impl From<&HubSessionRecord> for Mark {
    fn from(session: &HubSessionRecord) -> Self {
        Marked::new(Table::HubSession, &[session.digest.as_bytes()])
            .with(session.account.as_bytes().as_slice())
            .with(session.last_seen)
            .with(session.to_json().as_str())
            .done()
    }
}

impl From<(&RewardKey, &RewardRecord)> for Mark {
    fn from((key, record): (&RewardKey, &RewardRecord)) -> Self {
        Marked::new(Table::Reward, &[key.part.as_bytes(), key.name.as_bytes()])
            .with(record.revision)
            .with(record.content.as_str())
            .done()
    }
}

impl From<&HubClient> for Mark {
    fn from(client: &HubClient) -> Self {
        Marked::new(Table::HubClient, &[client.client_id.as_bytes()]).with(client.to_json().as_str()).done()
    }
}

impl From<&HandleRecord> for Mark {
    fn from(handle: &HandleRecord) -> Self {
        Marked::new(Table::Handle, &[handle.digest.as_bytes()])
            .with(handle.account.as_bytes().as_slice())
            .with(handle.to_json().as_str())
            .done()
    }
}

impl From<&Participant> for Mark {
    fn from(participant: &Participant) -> Self {
        Marked::new(Table::Participant, &[participant.session.as_bytes(), participant.client_id.as_bytes()])
            .with(participant.account.as_bytes().as_slice())
            .with(participant.ends_at)
            .done()
    }
}

impl From<&LogoutRecord> for Mark {
    fn from(logout: &LogoutRecord) -> Self {
        let key = [logout.client_id.as_bytes(), logout.account.as_bytes().as_slice(), logout.sid()];
        Marked::new(Table::Logout, &key).with(logout.due).with(logout.since).with(u64::from(logout.tries)).done()
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
