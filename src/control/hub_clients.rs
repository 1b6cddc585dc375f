//! The hub's clients: sibling services and apps that people sign in to through it. The store's rows, kept in memory, and
//! every change of them in the audit log.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use tokio::sync::Mutex as Gate;

use crate::{
    entropy::Entropy,
    store::{Actor, AuditAct, ClientKind, HubClient, Removed, Store, StoreError},
    time::Clock,
};

use super::{
    audit::{AuditLog, Deed},
    client_secrets::{self, NewClientSecret, SecretError},
    credentials::{SecretHash, new_short_id},
    redirects::RedirectUri,
};

/// Clients that may be registered.
pub const MAX_CLIENTS: usize = 1000;
/// Redirect URIs that a client may have.
pub const MAX_REDIRECTS: usize = 16;

/// Why a change of the clients was not made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There are as many as there may be.
    #[error("there are {MAX_CLIENTS} clients at most")]
    Full,
    /// There is no such client.
    #[error("there is no such client")]
    NoSuchClient,
    /// A public client keeps no secret.
    #[error("a public client has no secrets: whatever an app or a page has, its users have too")]
    Public,
    /// Its secrets may not be changed so.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be registered.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// A name for people.
    pub name: String,
    /// Whether it can keep a secret.
    pub kind: ClientKind,
    /// Where browsers are sent back to; at least one.
    pub redirect_uris: Vec<RedirectUri>,
    /// Whether its handles may open tanks (`tank`).
    pub tank: bool,
}

/// A client that has just been registered.
pub struct Registered {
    /// The client.
    pub client: Arc<HubClient>,
    /// Its secret, if it keeps one.
    pub secret: Option<NewClientSecret>,
}

/// The registered clients, by client id.
pub struct ClientRegistry {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    audit: Arc<AuditLog>,
    known: RwLock<HashMap<String, Arc<HubClient>>>,
    /// Held while clients are changed: of what is registered here, no change may undo another.
    changes: Gate<()>,
}

impl ClientRegistry {
    /// Reads the registered clients.
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
        Ok(Self { store, clock, entropy, audit, known, changes: Gate::default() })
    }

    /// Takes over what other nodes have made of the clients.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the clients are as they were.
    pub async fn learn(&self) -> Result<(), StoreError> {
        let _change = self.changes.lock().await;
        let now = read(&*self.store).await?;
        *self.known.write() = now;
        Ok(())
    }

    /// Registers a client, for `actor`. A confidential one gets its first secret.
    ///
    /// # Errors
    ///
    /// [`ClientError::Full`] and [`ClientError::Store`].
    pub async fn add(&self, new: NewClient, actor: &Actor) -> Result<Registered, ClientError> {
        let _change = self.changes.lock().await;
        if self.known.read().len() >= MAX_CLIENTS {
            return Err(ClientError::Full);
        }
        let (client_id, mut secret_hashes) = (new_short_id(&*self.entropy), Vec::new());
        let secret = match new.kind {
            ClientKind::Confidential => Some(client_secrets::add(&mut secret_hashes, &client_id, &*self.entropy)?),
            ClientKind::Public => None,
        };
        let client = self
            .keep(HubClient {
                client_id: client_id.clone(),
                name: new.name,
                kind: new.kind,
                secret_hashes,
                redirect_uris: new.redirect_uris.into_iter().map(RedirectUri::into_text).collect(),
                tank: new.tank,
                created_at: self.clock.wall(),
            })
            .await?;
        self.audit.write(actor, Deed::to(AuditAct::ClientAdded, client_id)).await?;
        Ok(Registered { client, secret })
    }

    /// Removes a client, for `actor`: nobody signs in to it any more.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoSuchClient`] and [`ClientError::Store`].
    pub async fn remove(&self, client_id: String, actor: &Actor) -> Result<(), ClientError> {
        let _change = self.changes.lock().await;
        let removed = self.store.remove_hub_client(&client_id).await?;
        self.known.write().remove(&client_id);
        if removed == Removed::NotThere {
            return Err(ClientError::NoSuchClient);
        }
        Ok(self.audit.write(actor, Deed::to(AuditAct::ClientRemoved, client_id)).await?)
    }

    /// Adds a secret to a confidential client, for `actor`. Both are good until the old one is removed.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoSuchClient`], [`ClientError::Public`], [`ClientError::Secret`] and [`ClientError::Store`].
    pub async fn add_secret(&self, client_id: String, actor: &Actor) -> Result<NewClientSecret, ClientError> {
        let _change = self.changes.lock().await;
        let mut client = self.confidential(&client_id)?;
        let secret = client_secrets::add(&mut client.secret_hashes, &client_id, &*self.entropy)?;
        self.keep(client).await?;
        self.audit.write(actor, Deed::to(AuditAct::ClientSecretAdded, client_id)).await?;
        Ok(secret)
    }

    /// Removes a secret, for `actor`: it is good no more, from now on. A confidential client keeps at least one.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoSuchClient`], [`ClientError::Public`], [`ClientError::Secret`] and [`ClientError::Store`].
    pub async fn remove_secret(&self, client_id: String, wanted: &str, actor: &Actor) -> Result<(), ClientError> {
        let _change = self.changes.lock().await;
        let mut client = self.confidential(&client_id)?;
        client_secrets::remove(&mut client.secret_hashes, wanted)?;
        self.keep(client).await?;
        Ok(self.audit.write(actor, Deed::to(AuditAct::ClientSecretRemoved, client_id)).await?)
    }

    /// The ids of a client's secrets, the oldest first; `None` if there is no such client.
    pub fn secret_ids(&self, client_id: &str) -> Option<Vec<String>> {
        Some(client_secrets::ids(&self.find(client_id)?.secret_hashes))
    }

    /// The clients, in order of their registration.
    pub fn all(&self) -> Vec<Arc<HubClient>> {
        let mut clients: Vec<_> = self.known.read().values().cloned().collect();
        clients.sort_by(|a, b| (a.created_at, &a.client_id).cmp(&(b.created_at, &b.client_id)));
        clients
    }

    /// The client with this id.
    pub fn find(&self, client_id: &str) -> Option<Arc<HubClient>> {
        self.known.read().get(client_id).cloned()
    }

    /// The confidential client whose id and secret these are.
    pub fn proven(&self, client_id: &str, secret: &str) -> Option<Arc<HubClient>> {
        let client = self.find(client_id)?;
        SecretHash::of(secret.as_bytes()).is_any_of(&client.secret_hashes).then_some(client)
    }

    fn confidential(&self, client_id: &str) -> Result<HubClient, ClientError> {
        let client = self.find(client_id).ok_or(ClientError::NoSuchClient)?;
        match client.kind {
            ClientKind::Confidential => Ok((*client).clone()),
            ClientKind::Public => Err(ClientError::Public),
        }
    }

    /// Writes a client, then knows it.
    async fn keep(&self, client: HubClient) -> Result<Arc<HubClient>, StoreError> {
        self.store.put_hub_client(&client).await?;
        let client = Arc::new(client);
        self.known.write().insert(client.client_id.clone(), Arc::clone(&client));
        Ok(client)
    }
}

async fn read(store: &dyn Store) -> Result<HashMap<String, Arc<HubClient>>, StoreError> {
    let clients = store.hub_clients().await?.into_iter();
    Ok(clients.map(|client| (client.client_id.clone(), Arc::new(client))).collect())
}
