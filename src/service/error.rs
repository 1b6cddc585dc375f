//! Why the service does not run.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{
    cluster::ClusterError,
    control::{hooks::secrets::HookSecretsError, keyring::KeyringError, keys::KeyError},
    identity::ProviderError,
    rewards::ShopSecretsError,
    store::StoreError,
    tls::PairError,
};

use super::home::HomeError;

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secrets of webhooks cannot be used.
    #[error(transparent)]
    Hooks(#[from] HookSecretsError),
    /// The secrets of shops cannot be used.
    #[error(transparent)]
    Shops(#[from] ShopSecretsError),
    /// There are no usable signing keys.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// The cluster secret is gone, but what it sealed is there.
    #[error(
        "the store has signing keys, but {} is missing: restore it from a backup, or copy it from another node of this \
         store; without it no session and no key can be used",
        .0.display()
    )]
    SecretLost(PathBuf),
    /// A listener's address cannot be bound.
    #[error("cannot listen on {name} {addr}: {source}")]
    Bind {
        /// The listener.
        name: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Signals cannot be waited for, or the like.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] PairError),
    /// The development provider has no key.
    #[error(transparent)]
    Development(#[from] KeyError),
    /// An identity provider cannot be used as it is configured.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A part that cannot begin anew panicked. What memory knew is written.
    #[error("a part of the service failed: {0}; the log has the panic before it. Please report it")]
    Part(&'static str),
    /// It cannot be, or go on as, one of the nodes that share the store.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}
