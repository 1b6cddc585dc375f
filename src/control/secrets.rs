//! The cluster secrets, and their rotation.
//!
//! A rotation adds a secret, which new sessions use at once; live sessions go on with the one that their id names. What
//! is sealed in the store is sealed anew. The old secret goes when its last session has ended and nothing is sealed under
//! it. The file is always ahead of what depends on it: a secret is in it before anything uses it, and leaves it after
//! everything has ceased to. So a crash at any point leaves at worst a secret too many, which goes the next time.

mod announced;

use std::{io, sync::Arc};

use serde::Serialize;
use tokio::sync::Mutex as Gate;
use zeroize::Zeroizing;

use crate::{
    engine::{Engine, SecretRing},
    entropy::{Entropy, draw},
    store::{Store, StoreError},
    time::Clock,
    wire::{ClusterSecret, SecretId},
};

use super::keyring::{Keyring, KeyringError};
use announced::AnnouncedSecrets;

pub use announced::learn;

/// Where the cluster secrets are kept.
pub trait SecretFile: Send + Sync + 'static {
    /// Keeps these secrets, in this order, in place of those that it has: all of them or none.
    ///
    /// # Errors
    ///
    /// What the system said; the file is as it was.
    fn keep(&self, ring: &SecretRing) -> io::Result<()>;
}

/// Why the cluster secrets stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// Another node makes one.
    #[error("another node is making a cluster secret, or began to; try again in a while")]
    Taken,
    /// Every id is taken.
    #[error(
        "{} cluster secrets are live, and there may be no more; the oldest go with their last session",
        SecretId::COUNT
    )]
    Full,
    /// The file cannot be written.
    #[error("the cluster secret's file cannot be written: {0}")]
    File(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is sealed could not be sealed anew.
    #[error(transparent)]
    Keys(#[from] KeyringError),
}

/// A cluster secret as the administration shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SecretStatus {
    /// Its number, which session ids begin with.
    pub id: u8,
    /// `current` (new sessions use it) or `retiring` (kept until its last session has ended).
    #[schema(value_type = String, example = "current")]
    pub state: &'static str,
}

/// Keeps and rotates the cluster secrets.
pub struct Secrets {
    engine: Arc<Engine>,
    keyring: Arc<Keyring>,
    store: Arc<dyn Store>,
    entropy: Arc<dyn Entropy>,
    file: Arc<dyn SecretFile>,
    /// Held while the secrets change. Which of them nothing depended on, the last time.
    idle: Gate<[bool; SecretId::COUNT]>,
    /// Where other nodes share the store: the time, and what they are told.
    others: Option<(Arc<dyn Clock>, Gate<AnnouncedSecrets>)>,
}

impl Secrets {
    /// The secrets of `engine`, which are in `file`.
    pub fn new(
        engine: Arc<Engine>,
        keyring: Arc<Keyring>,
        store: Arc<dyn Store>,
        entropy: Arc<dyn Entropy>,
        file: Arc<dyn SecretFile>,
    ) -> Self {
        Self { engine, keyring, store, entropy, file, idle: Gate::default(), others: None }
    }

    /// The same where other nodes share the store: they tell each other of new secrets.
    #[must_use]
    pub fn among(self, clock: Arc<dyn Clock>) -> Self {
        Self { others: Some((clock, Gate::default())), ..self }
    }

    /// Takes over the secrets that other nodes have made.
    ///
    /// # Errors
    ///
    /// [`SecretsError`]; the secrets are as they were.
    pub async fn learn(&self) -> Result<(), SecretsError> {
        let mut idle = self.idle.lock().await;
        self.catch_up(&mut idle).await
    }

    async fn catch_up(&self, idle: &mut [bool; SecretId::COUNT]) -> Result<(), SecretsError> {
        if let Some(ring) = learn(&*self.store, &self.engine.secrets()).await? {
            self.keep(&ring).await?;
            *idle = [false; SecretId::COUNT];
            tracing::info!(id = ring.current().0.get(), "another node has made a cluster secret; new sessions use it");
            self.engine.replace_secrets(ring);
        }
        Ok(())
    }

    /// The live secrets, the current one last.
    pub fn status(&self) -> Vec<SecretStatus> {
        let ring = self.engine.secrets();
        let (current, _) = ring.current();
        let state = |id| if id == current { "current" } else { "retiring" };
        ring.iter().map(|(id, _)| SecretStatus { id: id.get(), state: state(id) }).collect()
    }

    /// Makes a secret that new sessions use from now on.
    ///
    /// # Errors
    ///
    /// [`SecretsError::Full`] and [`SecretsError::File`]; nothing has changed then.
    pub async fn rotate(&self) -> Result<(), SecretsError> {
        let mut idle = self.idle.lock().await;
        if self.others.is_some() {
            self.catch_up(&mut idle).await?;
        }
        let ring = self.engine.secrets();
        let id = ring.free().ok_or(SecretsError::Full)?;
        let secret = ClusterSecret::from_bytes(*Zeroizing::new(draw::<32>(&*self.entropy)));
        if let Some((clock, _)) = &self.others
            && !announced::tell(&*self.store, &ring, id, &secret, draw(&*self.entropy), clock.wall()).await?
        {
            return Err(SecretsError::Taken);
        }
        let ring = SecretRing::clone(&ring).with_current(id, secret);
        self.keep(&ring).await?;
        *idle = [false; SecretId::COUNT];
        self.engine.replace_secrets(ring);
        tracing::info!(id = id.get(), "new sessions use another cluster secret");
        if let Err(error) = self.keyring.reseal(&*self.store, &self.engine.secrets()).await {
            tracing::warn!(%error, "the signing keys will be sealed under the new cluster secret later");
        }
        Ok(())
    }

    /// Seals anew what is still sealed under an old secret, and drops the secrets that nothing depends on. To be called
    /// now and then: a secret goes when it is found idle twice, so that no act under way can still be using it.
    ///
    /// # Errors
    ///
    /// [`SecretsError`]; the next call goes on from there.
    pub async fn tend(&self) -> Result<(), SecretsError> {
        let mut idle = self.idle.lock().await;
        let ring = self.engine.secrets();
        self.keyring.reseal(&*self.store, &ring).await?;
        let mut sealed = self.keyring.sealed_under(&*self.store).await?;
        if let Some((clock, told)) = &self.others {
            // What is told of must stay, or it would be learnt again.
            sealed.extend(told.lock().await.tidy(&*self.store, clock.now()).await?);
        }
        let used = self.engine.secrets_in_use();
        let (current, _) = ring.current();
        let mut kept = SecretRing::clone(&ring);
        let mut dropped = Vec::new();
        for (id, _) in ring.iter().filter(|(id, _)| *id != current) {
            let was_idle = &mut idle[usize::from(id.get())];
            let is_idle = !used[usize::from(id.get())] && !sealed.contains(&id);
            if is_idle && *was_idle {
                kept = kept.without(id);
                dropped.push(id.get());
            }
            *was_idle = is_idle;
        }
        if !dropped.is_empty() {
            self.keep(&kept).await?;
            self.engine.replace_secrets(kept);
            tracing::info!(ids = ?dropped, "the last session of a cluster secret has ended; it is dropped");
        }
        Ok(())
    }

    async fn keep(&self, ring: &SecretRing) -> io::Result<()> {
        let (file, ring) = (Arc::clone(&self.file), ring.clone());
        tokio::task::spawn_blocking(move || file.keep(&ring)).await.expect("writing a file does not panic")
    }
}

#[cfg(test)]
mod tests;
