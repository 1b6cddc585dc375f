//! How a node learns that another has ended a hub session or changed a person.

use async_trait::async_trait;

use crate::{engine::AccountId, store::StoreError};

/// What nodes tell each other of people, as the token cache sees it.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Whether this node has heard of all that others have done, so that what it has in memory may be believed. Asked on
    /// each validation: no I/O.
    fn is_current(&self) -> bool;

    /// Tells the others that something of a person is about to change. To be called before it is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when they cannot be told; it must not be written then.
    async fn announce(&self, account: &AccountId) -> Result<(), StoreError>;
}

/// One process has the store for itself: nobody else changes anything.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

#[async_trait]
impl Bus for Alone {
    fn is_current(&self) -> bool {
        true
    }

    async fn announce(&self, _: &AccountId) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Other nodes share the store and do not tell: each validation asks the store, so that a revocation holds everywhere once
/// it has been answered.
#[derive(Clone, Copy, Debug)]
pub struct Unheard;

#[async_trait]
impl Bus for Unheard {
    fn is_current(&self) -> bool {
        false
    }

    async fn announce(&self, _: &AccountId) -> Result<(), StoreError> {
        Ok(())
    }
}
