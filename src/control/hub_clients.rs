//! The hub's clients: sibling services and apps that people sign in to through it.

use std::sync::Arc;

use crate::{
    store::{Actor, AuditAct, ClientKind, HubClient, Removed, Store, StoreError},
    time::UnixMs,
};

use super::{
    client_secrets::{self, NewClientSecret},
    credentials::{SecretHash, new_short_id},
    redirects::{BackchannelUri, RedirectUri},
    registry::{Registered, Registry, RegistryActs, RegistryError},
};

/// Redirect URIs of either kind that a client may have.
pub const MAX_REDIRECTS: usize = 16;

/// The registered clients, by client id.
pub type ClientRegistry = Registry<HubClient>;

/// What is to be registered.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// A name for people.
    pub name: String,
    /// Whether it can keep a secret.
    pub kind: ClientKind,
    /// Where browsers are sent back to; at least one.
    pub redirect_uris: Vec<RedirectUri>,
    /// Where they may be sent after the client has signed somebody out.
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// Whether its handles may open tanks (`tank`).
    pub tank: bool,
    /// Where it is told that hub sessions have ended.
    pub backchannel_logout_uri: Option<BackchannelUri>,
}

/// A client that has just been registered.
pub struct AddedClient {
    /// The client.
    pub client: Arc<HubClient>,
    /// Its secret, if it keeps one.
    pub secret: Option<NewClientSecret>,
}

impl Registered for HubClient {
    const WHAT: &'static str = "client";
    const ACTS: RegistryActs = RegistryActs {
        added: AuditAct::ClientAdded,
        removed: AuditAct::ClientRemoved,
        secret_added: AuditAct::ClientSecretAdded,
        secret_removed: AuditAct::ClientSecretRemoved,
    };

    fn client_id(&self) -> &str {
        &self.client_id
    }

    fn created_at(&self) -> UnixMs {
        self.created_at
    }

    fn keeps_secrets(&self) -> bool {
        self.kind == ClientKind::Confidential
    }

    fn secret_hashes(&self) -> &Vec<[u8; 32]> {
        &self.secret_hashes
    }

    fn secret_hashes_mut(&mut self) -> &mut Vec<[u8; 32]> {
        &mut self.secret_hashes
    }

    async fn read(store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        store.hub_clients().await
    }

    async fn put(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.put_hub_client(self).await
    }

    async fn remove(store: &dyn Store, client_id: &str) -> Result<Removed, StoreError> {
        store.remove_hub_client(client_id).await
    }
}

impl Registry<HubClient> {
    /// Registers a client, for `actor`. A confidential one gets its first secret.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Full`] and [`RegistryError::Store`].
    pub async fn add(&self, new: NewClient, actor: &Actor) -> Result<AddedClient, RegistryError> {
        let (client_id, mut secret_hashes) = (new_short_id(&*self.entropy), Vec::new());
        let secret = match new.kind {
            ClientKind::Confidential => Some(client_secrets::add(&mut secret_hashes, &client_id, &*self.entropy)?),
            ClientKind::Public => None,
        };
        let client = HubClient {
            client_id,
            name: new.name,
            kind: new.kind,
            secret_hashes,
            redirect_uris: texts(new.redirect_uris),
            post_logout_redirect_uris: texts(new.post_logout_redirect_uris),
            tank: new.tank,
            backchannel_logout_uri: new.backchannel_logout_uri.map(BackchannelUri::into_text),
            created_at: self.clock.wall(),
        };
        Ok(AddedClient { client: self.register(client, actor).await?, secret })
    }

    /// The confidential client whose id and secret these are.
    pub fn proven(&self, client_id: &str, secret: &str) -> Option<Arc<HubClient>> {
        let client = self.find(client_id)?;
        SecretHash::of(secret.as_bytes()).is_any_of(&client.secret_hashes).then_some(client)
    }
}

fn texts(uris: Vec<RedirectUri>) -> Vec<String> {
    uris.into_iter().map(RedirectUri::into_text).collect()
}
