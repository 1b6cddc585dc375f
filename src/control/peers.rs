//! What acts ask of other nodes. A node that is alone asks nobody.

use async_trait::async_trait;

use crate::{
    engine::Account,
    store::{NodeId, StoreError},
    time::MeterTime,
    wire::SessionId,
};

/// The other nodes, as acts see them.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Tells the others that `account` is about to change. To be called before an act on it is committed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when they cannot be told, or this node may not act; the act must not be committed.
    async fn announce(&self, account: &Account) -> Result<(), StoreError>;

    /// When a session was last heard of, as the store keeps it. `None` for one that is over.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn last_seen(&self, session: &SessionId) -> Result<Option<MeterTime>, StoreError>;

    /// Makes sure that this node has heard all that any has of the account's open session, up to when it lapsed, if it has
    /// lapsed; answers when it was last heard of. `None` while another node has not told yet.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn hear(&self, account: &Account) -> Result<Option<MeterTime>, StoreError>;
}

/// The right to write what all nodes go by without a condition: the meter, checkpoints, history, status lists. A write that
/// comes late would be the last word on a maximum, so the right is taken anew for each write, and is never kept.
#[derive(Debug)]
#[must_use]
pub struct MayWrite(());

impl MayWrite {
    /// To be called by a [`Membership`] that has looked, and by nobody else.
    pub(crate) const fn granted() -> Self {
        Self(())
    }
}

/// This node's place among those that share the store.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// The right to write now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the others may have gone on without this node.
    fn may_write(&self) -> Result<MayWrite, StoreError>;

    /// Counts how often this node has been away for so long that others may have taken it for dead. To be asked before
    /// what may have changed meanwhile is read.
    fn stint(&self) -> u64;

    /// The right to write, after the membership has been renewed where it would run out soon: for who writes for long and
    /// renews it otherwise no more.
    ///
    /// # Errors
    ///
    /// Those of [`Self::may_write`], and what the store says.
    async fn confirm(&self) -> Result<MayWrite, StoreError>;
}

/// The membership of a node that has the store for itself.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

#[async_trait]
impl Membership for Alone {
    fn may_write(&self) -> Result<MayWrite, StoreError> {
        Ok(MayWrite::granted())
    }

    fn stint(&self) -> u64 {
        0
    }

    async fn confirm(&self) -> Result<MayWrite, StoreError> {
        self.may_write()
    }
}

/// The other nodes, as what is published sees them.
#[async_trait]
pub trait Others: Send + Sync + 'static {
    /// Returns once all that any node had answered for before is known to this one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that cannot be known now.
    async fn catch_up(&self) -> Result<(), StoreError>;

    /// Whether a node is dead, and all that it did, or ever will have done, is known to this one. `false` while that is
    /// not certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that cannot be known now.
    async fn is_over(&self, node: &NodeId) -> Result<bool, StoreError>;
}
