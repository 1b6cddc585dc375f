//! What operators register, each with a client id and with secrets: edges ([`edges`](super::edges)) and clients of the hub
//! ([`hub_clients`](super::hub_clients)). The store's rows, kept in memory, and every change of them in the audit log.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;
use tokio::sync::Mutex as Gate;

use crate::{
    entropy::Entropy,
    store::{Actor, AuditAct, Removed, Store, StoreError},
    time::{Clock, UnixMs},
};

use super::{
    audit::{AuditLog, Deed},
    client_secrets::{self, NewClientSecret, SecretError},
};

/// Entries that a registry may have.
pub const MAX_REGISTERED: usize = 1000;

/// What can be registered.
pub trait Registered: Clone + PartialEq + Send + Sync + Sized + 'static {
    /// What it is called in errors.
    const WHAT: &'static str;
    /// What is written in the audit log when one is added or removed, or a secret of one.
    const ACTS: RegistryActs;

    /// Its client id.
    fn client_id(&self) -> &str;
    /// When it was registered.
    fn created_at(&self) -> UnixMs;
    /// Whether it can keep a secret.
    fn keeps_secrets(&self) -> bool;
    /// SHA-256 of each of its secrets, the oldest first.
    fn secret_hashes(&self) -> &Vec<[u8; 32]>;
    /// The same, to be changed.
    fn secret_hashes_mut(&mut self) -> &mut Vec<[u8; 32]>;

    /// All that the store has.
    fn read(store: &dyn Store) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send;
    /// Writes this one, in place of what the store has under its client id.
    fn put(&self, store: &dyn Store) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Removes the one with this client id.
    fn remove(store: &dyn Store, client_id: &str) -> impl Future<Output = Result<Removed, StoreError>> + Send;
}

/// The acts of a registry, as the audit log names them.
pub struct RegistryActs {
    pub(super) added: AuditAct,
    pub(super) removed: AuditAct,
    pub(super) secret_added: AuditAct,
    pub(super) secret_removed: AuditAct,
}

/// Why a change of a registry was not made.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There are as many as there may be.
    #[error("there are {MAX_REGISTERED} {0}s at most")]
    Full(&'static str),
    /// There is no such one.
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// It keeps no secret.
    #[error("a public {0} has no secrets: whatever an app or a page has, its users have too")]
    Public(&'static str),
    /// Its secrets may not be changed so.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All that is registered of a kind, by client id.
pub struct Registry<T> {
    store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    audit: Arc<AuditLog>,
    known: RwLock<HashMap<String, Arc<T>>>,
    /// How often it has changed.
    changed: AtomicU64,
    /// Held while something is changed: of what is changed here, no change may undo another.
    changes: Gate<()>,
}

impl<T: Registered> Registry<T> {
    /// Reads what is registered.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        audit: Arc<AuditLog>,
    ) -> Result<Self, StoreError> {
        let (known, changed, changes) = (RwLock::default(), AtomicU64::new(0), Gate::default());
        let registry = Self { store, clock, entropy, audit, known, changed, changes };
        registry.read().await?;
        Ok(registry)
    }

    /// Takes over what other nodes have registered and removed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; all is as it was.
    pub async fn learn(&self) -> Result<(), StoreError> {
        let _change = self.changes.lock().await;
        self.read().await
    }

    /// Registers one, for `actor`.
    pub(super) async fn register(&self, new: T, actor: &Actor) -> Result<Arc<T>, RegistryError> {
        let _change = self.changes.lock().await;
        self.read().await?;
        if self.len() >= MAX_REGISTERED {
            return Err(RegistryError::Full(T::WHAT));
        }
        let registered = self.keep(new).await?;
        self.audit.write(actor, Deed::to(T::ACTS.added, registered.client_id())).await?;
        Ok(registered)
    }

    /// Removes one, for `actor`.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Unknown`] and [`RegistryError::Store`].
    pub async fn remove(&self, client_id: String, actor: &Actor) -> Result<(), RegistryError> {
        let _change = self.changes.lock().await;
        let removed = T::remove(&*self.store, &client_id).await?;
        self.known.write().remove(&client_id);
        self.changed.fetch_add(1, Ordering::Release);
        if removed == Removed::NotThere {
            return Err(RegistryError::Unknown(T::WHAT));
        }
        Ok(self.audit.write(actor, Deed::to(T::ACTS.removed, client_id)).await?)
    }

    /// Adds a secret, for `actor`. It and the one before are good until the old one is removed.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Unknown`], [`RegistryError::Public`], [`RegistryError::Secret`] and [`RegistryError::Store`].
    pub async fn add_secret(&self, client_id: String, actor: &Actor) -> Result<NewClientSecret, RegistryError> {
        let _change = self.changes.lock().await;
        let mut one = self.to_change(&client_id).await?;
        let secret = client_secrets::add(one.secret_hashes_mut(), &client_id, &*self.entropy)?;
        self.keep(one).await?;
        self.audit.write(actor, Deed::to(T::ACTS.secret_added, client_id)).await?;
        Ok(secret)
    }

    /// Removes a secret, for `actor`: it is good no more, from now on. At least one stays.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Unknown`], [`RegistryError::Public`], [`RegistryError::Secret`] and [`RegistryError::Store`].
    pub async fn remove_secret(&self, client_id: String, wanted: &str, actor: &Actor) -> Result<(), RegistryError> {
        let _change = self.changes.lock().await;
        let mut one = self.to_change(&client_id).await?;
        client_secrets::remove(one.secret_hashes_mut(), wanted)?;
        self.keep(one).await?;
        Ok(self.audit.write(actor, Deed::to(T::ACTS.secret_removed, client_id)).await?)
    }

    /// The ids of one's secrets, the oldest first.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Unknown`].
    pub fn secret_ids(&self, client_id: &str) -> Result<Vec<String>, RegistryError> {
        let one = self.find(client_id).ok_or(RegistryError::Unknown(T::WHAT))?;
        Ok(client_secrets::ids(one.secret_hashes()))
    }

    /// All, in order of their registration.
    pub fn all(&self) -> Vec<Arc<T>> {
        let mut all: Vec<_> = self.known.read().values().cloned().collect();
        all.sort_by(|a, b| (a.created_at(), a.client_id()).cmp(&(b.created_at(), b.client_id())));
        all
    }

    /// The one with this client id.
    pub fn find(&self, client_id: &str) -> Option<Arc<T>> {
        self.known.read().get(client_id).cloned()
    }

    /// Whether there is one of which this holds.
    pub(super) fn any(&self, holds: impl FnMut(&Arc<T>) -> bool) -> bool {
        self.known.read().values().any(holds)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.read().is_empty()
    }

    /// Tells one state from every other: what was found out in this one still holds while it is the same.
    pub fn changed(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    /// One whose secrets are to be changed, as the store has it now: another node may have changed or removed it since this
    /// one has learnt of it.
    async fn to_change(&self, client_id: &str) -> Result<T, RegistryError> {
        self.read().await?;
        let one = self.find(client_id).ok_or(RegistryError::Unknown(T::WHAT))?;
        if one.keeps_secrets() { Ok((*one).clone()) } else { Err(RegistryError::Public(T::WHAT)) }
    }

    async fn read(&self) -> Result<(), StoreError> {
        let all = T::read(&*self.store).await?.into_iter();
        let now: HashMap<_, _> = all.map(|one| (one.client_id().to_owned(), Arc::new(one))).collect();
        let mut known = self.known.write();
        if *known != now {
            *known = now;
            self.changed.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// Writes one, then knows it.
    async fn keep(&self, one: T) -> Result<Arc<T>, StoreError> {
        one.put(&*self.store).await?;
        let one = Arc::new(one);
        self.known.write().insert(one.client_id().to_owned(), Arc::clone(&one));
        self.changed.fetch_add(1, Ordering::Release);
        Ok(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::edges::EdgeRegistry,
        entropy::SeededEntropy,
        store::SqliteStore,
        time::{FakeClock, MeterTime},
    };

    async fn node(store: &Arc<dyn Store>, seed: u64) -> EdgeRegistry {
        let clock: Arc<dyn Clock> = Arc::new(FakeClock::new(MeterTime::ZERO, UnixMs::from_ms(1_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
        let audit = Arc::new(AuditLog::new(Arc::clone(store), Arc::clone(&clock), Arc::clone(&entropy)));
        EdgeRegistry::open(Arc::clone(store), clock, entropy, audit).await.unwrap()
    }

    #[tokio::test]
    async fn a_change_undoes_nothing_that_another_node_has_changed_since() {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let (operator, one) = (Actor::operator(), node(&store, 1).await);
        let id = one.add("gateway".into(), "edge".into(), &operator).await.unwrap().client_id;
        let other = node(&store, 2).await;

        let secret = one.add_secret(id.clone(), &operator).await.unwrap();
        let full = other.add_secret(id.clone(), &operator).await;
        assert!(matches!(full, Err(RegistryError::Secret(SecretError::Full))), "it has both by now");
        assert_eq!(other.audience(&id, &secret.secret).as_deref(), Some("edge"));

        one.remove(id.clone(), &operator).await.unwrap();
        let gone = other.remove_secret(id.clone(), &secret.secret_id, &operator).await;
        assert!(matches!(gone, Err(RegistryError::Unknown("edge"))));
        assert_eq!((store.edges().await.unwrap(), other.len()), (Vec::new(), 0), "it does not come back");
    }
}
