//! The credentials of accounts, account keys and earner tokens: made, listed and removed, each change in the audit log.

use std::sync::Arc;

use crate::{
    engine::AccountId,
    entropy::Entropy,
    store::{AccountKey, Actor, Added, AuditAct, KeyScope, Removed, Store, StoreError},
    time::Clock,
};

use super::{
    audit::{AuditLog, Deed},
    credentials::{new_account_key, new_short_id},
};

/// Keys of one scope that one account may have.
pub const MAX_KEYS: usize = 64;

/// Why a key was not made or removed.
#[derive(Debug, thiserror::Error)]
pub enum AccountKeyError {
    /// There is no such account, or it has been deleted.
    #[error("there is no such account")]
    NoSuchAccount,
    /// The account has no such key.
    #[error("there is no such key")]
    NoSuchKey,
    /// The account has as many as it may have.
    #[error("an account has {MAX_KEYS} keys at most")]
    Full,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An account key that has just been made: the only time that it is known.
#[derive(Debug)]
pub struct NewAccountKey {
    /// Names the key.
    pub key_id: String,
    /// The key.
    pub key: String,
}

/// The keys of all accounts that are of one scope. The store's: nothing of them is kept in memory.
pub struct AccountKeys {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    audit: Arc<AuditLog>,
    scope: KeyScope,
}

impl AccountKeys {
    /// The keys in this store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, audit: Arc<AuditLog>) -> Self {
        Self { store, clock, entropy, audit, scope: KeyScope::Account }
    }

    /// The same for the earner tokens in this store.
    #[must_use]
    pub fn of_earners(self) -> Self {
        Self { scope: KeyScope::Earning, ..self }
    }

    /// Makes a key for an account that exists, for `actor`.
    ///
    /// # Errors
    ///
    /// [`AccountKeyError::Full`], [`AccountKeyError::NoSuchAccount`] and [`AccountKeyError::Store`].
    pub async fn add(&self, account: AccountId, actor: &Actor) -> Result<NewAccountKey, AccountKeyError> {
        if self.of_scope(&account).await?.len() >= MAX_KEYS {
            return Err(AccountKeyError::Full);
        }
        let (key, hash) = new_account_key(&*self.entropy, self.scope);
        let key_id = new_short_id(&*self.entropy);
        let record = AccountKey {
            key_id: key_id.clone(),
            account,
            hash: *hash.as_bytes(),
            scope: self.scope,
            created_at: self.clock.wall(),
        };
        // It may have been deleted since it was looked at.
        if self.store.add_account_key(&record).await? == Added::AccountGone {
            return Err(AccountKeyError::NoSuchAccount);
        }
        self.audit.write(actor, Deed::to(self.added(), &key_id).on(account)).await?;
        Ok(NewAccountKey { key_id, key })
    }

    /// The keys of an account that exists.
    ///
    /// # Errors
    ///
    /// [`AccountKeyError::NoSuchAccount`] and [`AccountKeyError::Store`].
    pub async fn of(&self, account: &AccountId) -> Result<Vec<AccountKey>, AccountKeyError> {
        self.existing(account).await?;
        Ok(self.of_scope(account).await?)
    }

    async fn of_scope(&self, account: &AccountId) -> Result<Vec<AccountKey>, StoreError> {
        let keys = self.store.account_keys(account).await?;
        Ok(keys.into_iter().filter(|key| key.scope == self.scope).collect())
    }

    /// Removes a key, for `actor`. Sessions that were opened with it go on.
    ///
    /// # Errors
    ///
    /// [`AccountKeyError::NoSuchKey`] and [`AccountKeyError::Store`].
    pub async fn remove(&self, account: AccountId, key_id: String, actor: &Actor) -> Result<(), AccountKeyError> {
        let known = self.of_scope(&account).await?.into_iter().any(|key| key.key_id == key_id);
        if !known || self.store.remove_account_key(&account, &key_id).await? == Removed::NotThere {
            return Err(AccountKeyError::NoSuchKey);
        }
        Ok(self.audit.write(actor, Deed::to(self.removed(), key_id).on(account)).await?)
    }

    const fn added(&self) -> AuditAct {
        match self.scope {
            KeyScope::Account => AuditAct::AccountKeyAdded,
            KeyScope::Earning => AuditAct::EarnerTokenAdded,
        }
    }

    const fn removed(&self) -> AuditAct {
        match self.scope {
            KeyScope::Account => AuditAct::AccountKeyRemoved,
            KeyScope::Earning => AuditAct::EarnerTokenRemoved,
        }
    }

    /// Refuses an account that is not there or has been deleted.
    ///
    /// # Errors
    ///
    /// [`AccountKeyError::NoSuchAccount`] and [`AccountKeyError::Store`].
    pub async fn existing(&self, account: &AccountId) -> Result<(), AccountKeyError> {
        match self.store.account(account).await? {
            Some(owned) if !owned.account.deleted => Ok(()),
            _ => Err(AccountKeyError::NoSuchAccount),
        }
    }
}
