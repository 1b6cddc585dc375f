//! Moving house: all that one store holds is copied to another, and then both are read and compared.
//!
//! The source is read in an order that is always the same, and it must not change meanwhile; so how far a copy has come
//! is one number, which the target keeps. Every row may be written again: what a copy that was killed had written after
//! that number is written once more, and is the same.
//!
//! The target says that it is moved into from before the first row until both have been compared, and nobody can serve
//! from it in that time. What is compared are [`Mark`]s: of each row of the source, the target says which marks it ought to
//! leave, pointers and all, and then which it has.

mod copy;
mod mark;
mod tally;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::{
    engine::{AccountId, End, Entry},
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};

use super::{
    AccountKey, AuditRecord, Edge, HandleRecord, HeldCredit, HubClient, HubSessionRecord, Identity, LogoutRecord,
    Owned, Participant, Person, ProviderFacts, Result, RewardKey, RewardRecord, SealedKey, StatusLease, StoreError,
};

pub(super) use copy::Patience;
pub use copy::{Copied, MoveError, Step, Watch, copy};
pub use mark::{Mark, Table};
pub(super) use mark::{Marked, audited};
pub use tally::{Difference, Tally};

/// How many rows a page of the source has.
pub(super) const PAGE: usize = 2000;

/// Something that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A key that tokens are made with, sealed.
    SigningKey(SealedKey),
    /// A registered edge.
    Edge(Edge),
    /// A token status list.
    StatusList(StatusLease),
    /// An account, with its latest session and who it belongs to; a deleted one too.
    Account(Box<Owned>),
    /// An entry of an account's ledger. The entries of an account follow each other.
    Entry(AccountId, Entry),
    /// A session that is remembered.
    Session(RememberedSession),
    /// An account key, by its hash.
    AccountKey(AccountKey),
    /// When an open session was last heard of.
    Checkpoint(OpenSession),
    /// All credit that is held for somebody.
    Held(Identity, Vec<HeldCredit>),
    /// What a provider told of somebody, by the digest of who.
    Facts([u8; 32], ProviderFacts),
    /// A row of the audit log.
    Audit(AuditRecord),
    /// What the hub keeps of an account's owner.
    Person(AccountId, Person),
    /// A hub session.
    HubSession(Box<HubSessionRecord>),
    /// A record of rewards or shops.
    Reward(RewardKey, RewardRecord),
    /// A client of the hub.
    HubClient(HubClient),
    /// What a client has for a hub session.
    Handle(HandleRecord),
    /// A client that takes part in a hub session.
    Participant(Participant),
    /// What a client is to be told of hub sessions that have ended.
    Logout(LogoutRecord),
    /// Where the meter stands.
    Clock(ClockFact),
}

/// A session that is remembered: whose, when it was opened, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// When it was opened.
    pub started: MeterTime,
    /// The same on the wall clock.
    pub started_at: UnixMs,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// The checkpoint of an open session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Its id.
    pub session: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// When it was last heard of.
    pub last_seen: MeterTime,
}

/// What a target says of being moved into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    /// What the source held, in a hash.
    pub source: [u8; 32],
    /// What people call the source.
    pub name: String,
    /// How many of its rows are here.
    pub rows: u64,
    /// When both had been compared, and were the same.
    pub ended: Option<UnixMs>,
}

impl Moving {
    /// Why nobody may serve from what is being moved into.
    pub(super) fn unfinished(&self, what: &str) -> Option<StoreError> {
        self.ended.is_none().then(|| {
            StoreError::Refused(format!(
                "{what} has a part of what is in {}: a copy of it has begun and not ended. Run the same `gastank store \
                 copy` again, to its end; or drop {what} to begin anew",
                self.name
            ))
        })
    }
}

/// A store that things move out of.
#[async_trait]
pub trait Source: Send + Sync {
    /// Reads everything there is, in an order that is always the same, page after page, for as long as there is somebody
    /// to take it.
    async fn read_out(&self, pages: mpsc::Sender<Vec<Row>>) -> Result<()>;
}

/// A store that things move into. All of its methods may be repeated.
#[async_trait]
pub trait Target: Send + Sync {
    /// What it says of being moved into, if it ever was.
    async fn moving(&self) -> Result<Option<Moving>>;

    /// Says from now on that it is moved into. [`StoreError::Refused`] if it holds anything, or somebody uses it.
    async fn begin(&self, moving: &Moving) -> Result<()>;

    /// Writes rows, in any order. What is there already stays as it is.
    async fn write(&self, rows: &[Row]) -> Result<()>;

    /// Keeps how many rows of this source are here.
    async fn reach(&self, source: &[u8; 32], rows: u64) -> Result<()>;

    /// Says that all of it is here. From now on it can be served from.
    async fn end(&self, source: &[u8; 32], at: UnixMs) -> Result<()>;

    /// Notes the marks that a row leaves in here.
    fn expect(&self, row: &Row, note: &mut (dyn FnMut(Mark) + Send)) -> Result<()>;

    /// Reads everything there is, and notes its marks. One that no row of the source leaves is a difference.
    async fn survey(&self, note: &mut (dyn FnMut(Mark) + Send)) -> Result<()>;
}
