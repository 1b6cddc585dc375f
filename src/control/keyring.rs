//! The signing keys of a service, and their rotation: publish, wait, sign, overlap, drop.
//!
//! A new key is published at once but signs only after everybody's cached key set has run out; the old key is published
//! until the last token it signed has died. Where each key stands follows from two instants that are in the store, so a
//! crash at any point of a rotation leaves nothing half done.

use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;

use crate::{
    engine::{SecretRing, UnixMs},
    store::{SealedKey, Store, StoreError},
    wire::Millis,
};

use super::{
    keys::{Algorithm, KeyError, PublicKey, SigningKey},
    seal::{self, CannotOpen},
};

/// How long verifiers may cache the published keys, and so how long a new one waits before it signs.
pub const JWKS_LIFETIME: Millis = Millis::from_secs(5 * 60);

/// Why there are no usable signing keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key is not what it should be.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key was sealed under another cluster secret.
    #[error("signing key {kid}: {source}")]
    Sealed {
        /// The key.
        kid: String,
        /// Why.
        source: CannotOpen,
    },
}

/// How the keys are made and for how long they are kept.
#[derive(Clone, Copy, Debug)]
pub struct KeyPolicy {
    /// What new keys sign with.
    pub algorithm: Algorithm,
    /// The longest a token lives: how long a key is published after it signed last.
    pub max_ttl: Millis,
}

/// The signing keys of a service.
pub struct Keyring {
    policy: KeyPolicy,
    keys: RwLock<Vec<Held>>,
}

struct Held {
    signing: Arc<SigningKey>,
    record: SealedKey,
}

/// A key as the administration shows it. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct KeyStatus {
    /// The key's id.
    pub kid: String,
    /// The JWS algorithm.
    pub algorithm: String,
    /// `next` (published, does not sign yet), `signing`, or `retiring` (published until its last token has died).
    #[schema(value_type = String, example = "signing")]
    pub state: &'static str,
    /// When it was made.
    pub created_at_ms: u64,
    /// From when on it may sign.
    pub signs_from_ms: u64,
    /// When it is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retires_at_ms: Option<u64>,
}

impl Keyring {
    /// Reads the keys from the store; makes one if there is none that may sign with the algorithm that is asked for.
    ///
    /// # Errors
    ///
    /// [`KeyringError`].
    pub async fn open(
        store: &dyn Store,
        secrets: &SecretRing,
        policy: KeyPolicy,
        now: UnixMs,
    ) -> Result<Self, KeyringError> {
        let mut keys = Vec::new();
        for record in store.signing_keys().await? {
            let pkcs8 = seal::open(|id| secrets.find(id), &record.kid, &record.sealed)
                .map_err(|source| KeyringError::Sealed { kid: record.kid.clone(), source })?;
            let algorithm =
                Algorithm::parse(&record.algorithm).ok_or_else(|| KeyError::Malformed(record.kid.clone()))?;
            keys.push(Held { signing: Arc::new(SigningKey::from_pkcs8(algorithm, &pkcs8)?), record });
        }
        let keyring = Self { policy, keys: RwLock::new(keys) };
        if keyring.find_signing(now).is_none() {
            keyring.add(store, secrets, now, now).await?;
        }
        Ok(keyring)
    }

    /// The key that signs at `now`.
    pub fn signing(&self, now: UnixMs) -> Arc<SigningKey> {
        // A wall clock that was set back may precede every key: then the oldest one signs.
        self.find_signing(now)
            .or_else(|| self.keys.read().first().map(|held| Arc::clone(&held.signing)))
            .expect("`open` leaves at least one key, and only retired ones are dropped")
    }

    /// What is published, and the one JSON document of it (RFC 7517).
    pub fn published(&self) -> Vec<PublicKey> {
        self.keys.read().iter().map(|held| held.signing.public()).collect()
    }

    /// The keys as the administration shows them.
    pub fn status(&self, now: UnixMs) -> Vec<KeyStatus> {
        let signing = self.signing(now).kid().to_owned();
        let keys = self.keys.read();
        keys.iter()
            .map(|held| KeyStatus {
                kid: held.record.kid.clone(),
                algorithm: held.record.algorithm.clone(),
                state: match held.record {
                    ref record if record.kid == signing => "signing",
                    ref record if record.signs_from > now => "next",
                    _ => "retiring",
                },
                created_at_ms: held.record.created_at.as_ms(),
                signs_from_ms: held.record.signs_from.as_ms(),
                retires_at_ms: held.record.retires_at.map(UnixMs::as_ms),
            })
            .collect()
    }

    /// Makes and publishes a key that signs once every cached key set has run out. The others retire after their last
    /// token has died.
    ///
    /// # Errors
    ///
    /// [`KeyringError`].
    pub async fn rotate(&self, store: &dyn Store, secrets: &SecretRing, now: UnixMs) -> Result<(), KeyringError> {
        let signs_from = now.plus(JWKS_LIFETIME);
        self.add(store, secrets, now, signs_from).await?;
        self.retire_superseded(store).await
    }

    /// Drops the keys whose last token has died, and decides when superseded ones are dropped. To be called now and then.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Store`].
    pub async fn tidy(&self, store: &dyn Store, now: UnixMs) -> Result<(), KeyringError> {
        self.retire_superseded(store).await?;
        let signing = self.signing(now).kid().to_owned();
        let dead: Vec<String> = {
            let keys = self.keys.read();
            let is_dead = |record: &SealedKey| record.retires_at.is_some_and(|at| at <= now) && record.kid != signing;
            keys.iter().filter(|held| is_dead(&held.record)).map(|held| held.record.kid.clone()).collect()
        };
        for kid in dead {
            store.remove_signing_key(&kid).await?;
            self.keys.write().retain(|held| held.record.kid != kid);
        }
        Ok(())
    }

    async fn add(
        &self,
        store: &dyn Store,
        secrets: &SecretRing,
        now: UnixMs,
        signs_from: UnixMs,
    ) -> Result<(), KeyringError> {
        let (signing, pkcs8) = SigningKey::generate(self.policy.algorithm)?;
        let kid = signing.kid().to_owned();
        let (id, secret) = secrets.current();
        let record = SealedKey {
            sealed: seal::seal(id, secret, &kid, &pkcs8),
            kid,
            algorithm: signing.algorithm().name().to_owned(),
            created_at: now,
            signs_from,
            retires_at: None,
        };
        store.put_signing_key(&record).await?;
        self.keys.write().push(Held { signing: Arc::new(signing), record });
        Ok(())
    }

    /// A key signs until a younger one does; it is dropped a token's life (and a cached key set's) later.
    async fn retire_superseded(&self, store: &dyn Store) -> Result<(), KeyringError> {
        let changed: Vec<SealedKey> = {
            let keys = self.keys.read();
            let Some(youngest) = keys.iter().map(|held| held.record.signs_from).max() else { return Ok(()) };
            let retires_at = youngest.plus(self.policy.max_ttl).plus(JWKS_LIFETIME);
            keys.iter()
                .filter(|held| held.record.signs_from < youngest && held.record.retires_at.is_none())
                .map(|held| SealedKey { retires_at: Some(retires_at), ..held.record.clone() })
                .collect()
        };
        for record in changed {
            store.put_signing_key(&record).await?;
            if let Some(held) = self.keys.write().iter_mut().find(|held| held.record.kid == record.kid) {
                held.record = record;
            }
        }
        Ok(())
    }

    fn find_signing(&self, now: UnixMs) -> Option<Arc<SigningKey>> {
        let keys = self.keys.read();
        keys.iter()
            .filter(|held| held.signing.algorithm() == self.policy.algorithm && held.record.signs_from <= now)
            .max_by_key(|held| held.record.signs_from)
            .map(|held| Arc::clone(&held.signing))
    }
}
