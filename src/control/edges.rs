//! The registered edges: the store's rows, kept in memory, and every change of them in the audit log.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;
use tokio::sync::Mutex as Gate;

use crate::{
    entropy::Entropy,
    store::{Actor, AuditAct, Edge, Removed, Store, StoreError},
    time::Clock,
};

use super::{
    audit::{AuditLog, Deed},
    client_secrets::{self, NewClientSecret, SecretError},
    credentials::{SecretHash, new_short_id},
};

/// Edges that may be registered.
pub const MAX_EDGES: usize = 1000;

/// Why a change of the edges was not made.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// There are as many as there may be.
    #[error("there are {MAX_EDGES} edges at most")]
    Full,
    /// There is no such edge.
    #[error("there is no such edge")]
    NoSuchEdge,
    /// Its secrets may not be changed so.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The registered edges, by client id.
pub struct EdgeRegistry {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    audit: Arc<AuditLog>,
    known: RwLock<HashMap<String, Edge>>,
    /// How often they have changed.
    changed: AtomicU64,
    /// Held while edges are changed: of what is registered here, no change may undo another.
    changes: Gate<()>,
}

impl EdgeRegistry {
    /// Reads the registered edges.
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
        let known = RwLock::new(read(&*store).await?);
        Ok(Self { store, clock, entropy, audit, known, changed: AtomicU64::new(0), changes: Gate::default() })
    }

    /// Takes over what other nodes have made of the edges.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the edges are as they were.
    pub async fn learn(&self) -> Result<(), StoreError> {
        let _change = self.changes.lock().await;
        let now = read(&*self.store).await?;
        let mut known = self.known.write();
        if *known != now {
            *known = now;
            self.changed.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// Registers an edge, for `actor`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Full`] and [`EdgeError::Store`].
    pub async fn add(&self, name: String, audience: String, actor: &Actor) -> Result<NewClientSecret, EdgeError> {
        let _change = self.changes.lock().await;
        if self.len() >= MAX_EDGES {
            return Err(EdgeError::Full);
        }
        let (client_id, mut secret_hashes) = (new_short_id(&*self.entropy), Vec::new());
        let secret = client_secrets::add(&mut secret_hashes, &client_id, &*self.entropy)?;
        let created_at = self.clock.wall();
        self.keep(Edge { client_id: client_id.clone(), name, audience, secret_hashes, created_at }).await?;
        self.audit.write(actor, Deed::to(AuditAct::EdgeAdded, client_id)).await?;
        Ok(secret)
    }

    /// Removes an edge, for `actor`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::NoSuchEdge`] and [`EdgeError::Store`].
    pub async fn remove(&self, client_id: String, actor: &Actor) -> Result<(), EdgeError> {
        let _change = self.changes.lock().await;
        let removed = self.store.remove_edge(&client_id).await?;
        self.known.write().remove(&client_id);
        self.changed.fetch_add(1, Ordering::Release);
        if removed == Removed::NotThere {
            return Err(EdgeError::NoSuchEdge);
        }
        Ok(self.audit.write(actor, Deed::to(AuditAct::EdgeRemoved, client_id)).await?)
    }

    /// Adds a client secret to an edge, for `actor`. Both are good until the old one is removed.
    ///
    /// # Errors
    ///
    /// [`EdgeError::NoSuchEdge`], [`EdgeError::Secret`] and [`EdgeError::Store`].
    pub async fn add_secret(&self, client_id: String, actor: &Actor) -> Result<NewClientSecret, EdgeError> {
        let _change = self.changes.lock().await;
        let mut edge = self.find(&client_id).ok_or(EdgeError::NoSuchEdge)?;
        let secret = client_secrets::add(&mut edge.secret_hashes, &client_id, &*self.entropy)?;
        self.keep(edge).await?;
        self.audit.write(actor, Deed::to(AuditAct::EdgeSecretAdded, client_id)).await?;
        Ok(secret)
    }

    /// Removes a client secret, for `actor`: it is good no more, from now on. An edge keeps at least one.
    ///
    /// # Errors
    ///
    /// [`EdgeError::NoSuchEdge`], [`EdgeError::Secret`] and [`EdgeError::Store`].
    pub async fn remove_secret(&self, client_id: String, wanted: &str, actor: &Actor) -> Result<(), EdgeError> {
        let _change = self.changes.lock().await;
        let mut edge = self.find(&client_id).ok_or(EdgeError::NoSuchEdge)?;
        client_secrets::remove(&mut edge.secret_hashes, wanted)?;
        self.keep(edge).await?;
        Ok(self.audit.write(actor, Deed::to(AuditAct::EdgeSecretRemoved, client_id)).await?)
    }

    /// The ids of an edge's secrets, the oldest first; `None` if there is no such edge.
    pub fn secret_ids(&self, client_id: &str) -> Option<Vec<String>> {
        Some(client_secrets::ids(&self.known.read().get(client_id)?.secret_hashes))
    }

    /// The edges, in order of their registration.
    pub fn all(&self) -> Vec<Edge> {
        let mut edges: Vec<_> = self.known.read().values().cloned().collect();
        edges.sort_by(|a, b| (a.created_at, &a.client_id).cmp(&(b.created_at, &b.client_id)));
        edges
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.read().is_empty()
    }

    /// Whether an edge has this audience.
    pub fn know_audience(&self, audience: &str) -> bool {
        self.known.read().values().any(|edge| edge.audience == audience)
    }

    /// The audience of the edge whose credentials these are.
    pub fn audience(&self, client_id: &str, secret: &str) -> Option<Arc<str>> {
        let presented = SecretHash::of(secret.as_bytes());
        let edges = self.known.read();
        let edge = edges.get(client_id)?;
        presented.is_any_of(&edge.secret_hashes).then(|| edge.audience.as_str().into())
    }

    /// Tells one state of the edges from every other: what was found out in this one still holds while it is the same.
    pub fn changed(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    fn find(&self, client_id: &str) -> Option<Edge> {
        self.known.read().get(client_id).cloned()
    }

    /// Writes an edge, then knows it.
    async fn keep(&self, edge: Edge) -> Result<(), StoreError> {
        self.store.put_edge(&edge).await?;
        self.known.write().insert(edge.client_id.clone(), edge);
        self.changed.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

async fn read(store: &dyn Store) -> Result<HashMap<String, Edge>, StoreError> {
    Ok(store.edges().await?.into_iter().map(|edge| (edge.client_id.clone(), edge)).collect())
}
