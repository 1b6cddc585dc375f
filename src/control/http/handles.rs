//! Handles of the hub, as the surfaces see them. The hub has them; without one there are none.

use async_trait::async_trait;

use crate::{engine::AccountId, store::StoreError};

/// How every handle begins: what else is shown as a token is none.
pub(super) const PREFIX: &str = "gth_";

/// Whose tank a handle opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandleOwner {
    /// The account.
    pub account: AccountId,
    /// The client that shows it.
    pub client_id: String,
}

/// What a handle is worth to who shows it for a tank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandleOutcome {
    /// It opens this tank.
    Opens(HandleOwner),
    /// It is good, and not for tanks.
    OutOfScope,
    /// It is not good.
    NotGood,
}

/// What handles are worth.
#[async_trait]
pub trait Handles: Send + Sync + 'static {
    /// What a client is told of a handle: JSON. `None` if it is not good, or another client's.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: nobody can tell now.
    async fn introspect(&self, client_id: &str, handle: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Ends a handle of a client. One that is not good, or another client's, is left alone.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it may still be good.
    async fn revoke(&self, client_id: &str, handle: &str) -> Result<(), StoreError>;

    /// Whose tank a handle opens.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: nobody can tell now.
    async fn owner(&self, handle: &str) -> Result<HandleOutcome, StoreError>;
}
