//! What many nodes tell each other through a store that they share.
//!
//! Leases say who lives, changes say which accounts to read again, the era says since when the meter has been running.
//! All of it is hints but the era: the truth of an account is the account.
//!
//! On a CQL server this is: a partition with a row for each node; a partition for each slot of changes; one row for the
//! era. Only [`ClusterStore::begin_era`] is conditional. Reads and writes are at quorum, so that what was written is seen
//! by whoever reads afterwards.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    engine::{AccountId, Checkpoint, ListId},
    time::{MeterTime, Millis, UnixMs},
    wire::SessionId,
};

use super::{Begun, Removed, Result, Store};

/// How much meter time the changes of one slot span.
pub const CHANGE_SLOT: Millis = Millis::from_secs(10);
/// How long changes are kept at the least, in meter time.
pub const CHANGES_KEPT: Millis = Millis::from_secs(60 * 60);

/// How far a node's meter may be ahead of another's of the same era.
pub const METERS_DIFFER: Millis = Millis::from_secs(3);
/// How far apart the stamps of two eras are, in milliseconds of the meter: 49 days.
const ERA_STAMP: u64 = 1 << 32;

/// What decides which of two unconditional writes of an instant of the meter is the last: the later era, or else the later
/// instant. So within an era such a cell is a maximum, and what a node writes that was left behind in an era before, which
/// may have run on by itself, is never the last word, unless it has run on for 49 days.
///
/// CQL servers refuse timestamps that are days beyond the wall clock's microseconds. 400,000 eras are not.
pub const fn stamp(era: u64, at: MeterTime) -> u64 {
    at.as_ms().saturating_add(era.saturating_mul(ERA_STAMP))
}

/// Whether what is kept of `at` cannot have been lived by any node of the era in which the meter shows `now`: it is to be
/// ignored.
pub const fn is_void(at: MeterTime, now: MeterTime) -> bool {
    at.since(now).get() > METERS_DIFFER.get()
}

/// A node, for as long as its process runs: drawn when it starts, and never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node:{self}")
    }
}

/// That a node lives, as it says itself. Others go by its changing, not by any clock in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLease {
    /// The node.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// The era it lives in.
    pub era: u64,
    /// How often the lease has been renewed.
    pub renewals: u64,
    /// What its meter showed then.
    pub meter: MeterTime,
    /// Of each session that had lapsed by this instant, as the store had it, the store knows all that the node has heard.
    pub told_until: MeterTime,
    /// It was frozen or suspended, and does not know yet how far the meter went meanwhile: what its own shows is behind.
    pub is_behind: bool,
    /// Its wall clock then; for people to read.
    pub wall: UnixMs,
}

/// A run of the meter, from the first node that comes up after all were down until all are down again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// Counts from 1.
    pub number: u64,
    /// Where the meter went on.
    pub began: MeterTime,
    /// The node that began it.
    pub by: NodeId,
}

/// Which node says the bits of a status list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOwner {
    /// The list.
    pub list: ListId,
    /// Counts its owners, from 1.
    pub term: u64,
    /// The node.
    pub node: NodeId,
}

/// What the owner of a status list says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCopy {
    /// The list.
    pub list: ListId,
    /// The term of its owner.
    pub term: u64,
    /// All tokens that had ended by then are INVALID in it.
    pub as_of: MeterTime,
    /// The bits, by zlib. At most a little more than the list has bytes: 2 MiB.
    pub bits: Bytes,
}

/// That an account is about to change. Written before the act is committed, so that no change goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    /// When, by the meter of the node that acts.
    pub at: MeterTime,
    /// The account.
    pub account: AccountId,
    /// The version that it will have, unless somebody else is faster or the act fails.
    pub version: u64,
    /// The node that acts.
    pub node: NodeId,
    /// The session that is open before.
    pub open: Option<SessionId>,
}

impl Change {
    /// The slot it is in.
    pub const fn slot(&self) -> u64 {
        change_slot(self.at)
    }
}

/// The slot of changes that an instant is in.
pub const fn change_slot(at: MeterTime) -> u64 {
    at.as_ms() / CHANGE_SLOT.get()
}

/// A store that many nodes may use at the same time. All of its methods may be repeated.
#[async_trait]
pub trait ClusterStore: Store {
    /// This node lives in `era` from now on: what it writes of the meter without a condition is stamped with it
    /// ([`stamp`]). Before, it is of no era, and whatever is there stays. To be called once, and not asked of any server.
    fn enter(&self, era: u64);

    /// Keeps a node's lease in place of the one that it has. Only the node itself writes it, one renewal after the other.
    ///
    /// In CQL: `INSERT … USING TIMESTAMP renewals AND TTL 3600` into the one partition of nodes. No wall clock, which may
    /// step back, decides which write is the last.
    async fn put_node(&self, lease: &NodeLease) -> Result<()>;

    /// The leases of all nodes, in no particular order. One that was renewed an hour ago may be missing.
    async fn nodes(&self) -> Result<Vec<NodeLease>>;

    /// Forgets a node that has left or died. It writes no lease afterwards.
    async fn remove_node(&self, node: &NodeId) -> Result<Removed>;

    /// The latest era, if there ever was one. In CQL a serial read: it sees every era that anybody was told has begun.
    async fn era(&self) -> Result<Option<Era>>;

    /// Begins an era, if it is the one after the latest (or the first, number 1, where there was none). Asked again by
    /// the node that has begun it: [`Begun::Ours`].
    async fn begin_era(&self, era: &Era) -> Result<Begun>;

    /// Tells all nodes of a change. In CQL: a plain `INSERT` into the slot's partition, with a TTL of [`CHANGES_KEPT`] or
    /// more, keyed by all fields but `open`.
    async fn announce(&self, change: &Change) -> Result<()>;

    /// The changes of one slot from `from` on, in no particular order.
    async fn changes(&self, slot: u64, from: MeterTime) -> Result<Vec<Change>>;

    /// Who owns which status list, in no particular order.
    async fn list_owners(&self) -> Result<Vec<ListOwner>>;

    /// Makes a node the owner of a status list, if its term is the one after the latest (or the first, number 1, where there
    /// was none). Asked again by the same node: [`Begun::Ours`].
    async fn own_list(&self, owner: &ListOwner) -> Result<Begun>;

    /// Forgets who owns a status list that is forgotten itself.
    async fn disown_list(&self, list: &ListId) -> Result<()>;

    /// Keeps what the owner of a list says of it in place of what it said before, for `keep` at least. Copies of other terms
    /// stay as they are, and so does one of a later instant.
    ///
    /// In CQL: one plain `INSERT … USING TIMESTAMP as_of AND TTL keep`, in a partition for each list.
    async fn put_list_copy(&self, copy: &ListCopy, keep: Duration) -> Result<()>;

    /// What was last said of a list: of the latest term, and in that of the latest instant.
    async fn list_copy(&self, list: &ListId) -> Result<Option<ListCopy>>;

    /// The checkpoints of sessions of one bucket, in no particular order. One that is over, or that is not, has none.
    ///
    /// In CQL: one read of the bucket's partition, `session IN …`.
    async fn heard(&self, bucket: u8, sessions: &[SessionId]) -> Result<Vec<Checkpoint>>;
}
