//! The registered edges: gateways that ask about tokens of their audience.

use std::sync::Arc;

use crate::{
    store::{Actor, AuditAct, Edge, Removed, Store, StoreError},
    time::UnixMs,
};

use super::{
    client_secrets::{self, NewClientSecret},
    credentials::{SecretHash, new_short_id},
    registry::{Registered, Registry, RegistryActs, RegistryError},
};

/// The registered edges, by client id.
pub type EdgeRegistry = Registry<Edge>;

impl Registered for Edge {
    const WHAT: &'static str = "edge";
    const ACTS: RegistryActs = RegistryActs {
        added: AuditAct::EdgeAdded,
        removed: AuditAct::EdgeRemoved,
        secret_added: AuditAct::EdgeSecretAdded,
        secret_removed: AuditAct::EdgeSecretRemoved,
    };

    fn client_id(&self) -> &str {
        &self.client_id
    }

    fn created_at(&self) -> UnixMs {
        self.created_at
    }

    fn keeps_secrets(&self) -> bool {
        true
    }

    fn secret_hashes(&self) -> &Vec<[u8; 32]> {
        &self.secret_hashes
    }

    fn secret_hashes_mut(&mut self) -> &mut Vec<[u8; 32]> {
        &mut self.secret_hashes
    }

    async fn read(store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        store.edges().await
    }

    async fn put(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.put_edge(self).await
    }

    async fn remove(store: &dyn Store, client_id: &str) -> Result<Removed, StoreError> {
        store.remove_edge(client_id).await
    }
}

impl Registry<Edge> {
    /// Registers an edge, for `actor`.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Full`] and [`RegistryError::Store`].
    pub async fn add(&self, name: String, audience: String, actor: &Actor) -> Result<NewClientSecret, RegistryError> {
        let (client_id, mut secret_hashes) = (new_short_id(&*self.entropy), Vec::new());
        let secret = client_secrets::add(&mut secret_hashes, &client_id, &*self.entropy)?;
        let created_at = self.clock.wall();
        self.register(Edge { client_id, name, audience, secret_hashes, created_at }, actor).await?;
        Ok(secret)
    }

    /// Whether an edge has this audience.
    pub fn know_audience(&self, audience: &str) -> bool {
        self.any(|edge| edge.audience == audience)
    }

    /// The audience of the edge whose credentials these are.
    pub fn audience(&self, client_id: &str, secret: &str) -> Option<Arc<str>> {
        let presented = SecretHash::of(secret.as_bytes());
        let edge = self.find(client_id)?;
        presented.is_any_of(&edge.secret_hashes).then(|| edge.audience.as_str().into())
    }
}
