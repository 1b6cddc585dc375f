//! The signing keys of a service, and their rotation: publish, wait, sign, overlap, drop.
//!
//! A new key is published at once but signs only after everybody's cached key set has run out; the old key is published
//! until the last token it signed has died. Where each key stands follows from two instants that are in the store, so a
//! crash at any point of a rotation leaves nothing half done.
//!
//! Beside them lies the key that subjects are derived by. It is made once and never changes, whatever rotates: an edge
//! knows its people by it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tokio::sync::Mutex as Gate;
use zeroize::Zeroizing;

use crate::{
    engine::SecretRing,
    store::{Removed, SealedKey, Store, StoreError},
    time::{MeterTime, Millis, UnixMs},
    wire::{ClusterSecret, SecretId},
};

use super::{
    keys::{Algorithm, KeyError, PublicKey, SigningKey},
    seal::{self, CannotOpen},
};

/// How long verifiers usually may cache the published keys, and so how long a new one waits before it signs.
pub const JWKS_LIFETIME: Millis = Millis::from_secs(5 * 60);
/// How much longer it waits: who fetched the keys while it was being written has a set without it.
const WRITING: Millis = Millis::from_secs(1);
/// How much longer it waits where nodes share the store, and how much of that may pass until whoever reads the store sees
/// it: a write arrives within 12 s or never, and wall clocks may differ by 5 s. The rest is for nodes to read it in.
const SPREADING: Millis = Millis::from_secs(30);
const ARRIVING: Millis = Millis::from_secs(17);

/// Signing keys that may be published at the same time.
const MAX_KEYS: usize = 16;
/// The "algorithm" of a cluster secret that nodes tell each other of, and what its name begins with.
pub(super) const CLUSTER_SECRET: &str = "cluster-secret";
/// The name and the "algorithm" of the key that subjects are derived by.
const PAIRWISE: &str = "pairwise";
const PAIRWISE_LABEL: &[u8] = b"gastank/pairwise/v1";

/// Where sealed keys are kept: what a keyring needs of a [`Store`].
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// All keys, in no particular order.
    async fn sealed_keys(&self) -> Result<Vec<SealedKey>, StoreError>;

    /// Adds a key, or changes how it is sealed and when it signs and retires.
    async fn put_sealed_key(&self, key: &SealedKey) -> Result<(), StoreError>;

    /// Removes a key.
    async fn remove_sealed_key(&self, kid: &str) -> Result<(), StoreError>;
}

#[async_trait]
impl<S: Store + ?Sized> KeyStore for S {
    async fn sealed_keys(&self) -> Result<Vec<SealedKey>, StoreError> {
        self.signing_keys().await
    }

    async fn put_sealed_key(&self, key: &SealedKey) -> Result<(), StoreError> {
        self.put_signing_key(key).await
    }

    async fn remove_sealed_key(&self, kid: &str) -> Result<(), StoreError> {
        match self.remove_signing_key(kid).await? {
            // Another node may have been faster.
            Removed::Done | Removed::NotThere => Ok(()),
        }
    }
}

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
    /// As many keys as there may be are published.
    #[error("there are {MAX_KEYS} signing keys at most; the oldest go when their last token has died")]
    Full,
}

/// How the keys are made and for how long they are kept.
#[derive(Clone, Copy, Debug)]
pub struct KeyPolicy {
    /// What new keys sign with.
    pub algorithm: Algorithm,
    /// The longest a token lives: how long a key is published after it signed last.
    pub max_ttl: Millis,
    /// How long verifiers may cache the published keys.
    pub lifetime: Millis,
    /// Whether other nodes publish and make keys too.
    pub shared: bool,
}

impl KeyPolicy {
    /// Keys that verifiers may cache for the usual time.
    pub const fn new(algorithm: Algorithm, max_ttl: Millis) -> Self {
        Self { algorithm, max_ttl, lifetime: JWKS_LIFETIME, shared: false }
    }

    /// How long a new key is published before it signs.
    const fn wait(&self) -> Millis {
        self.lifetime.plus(if self.shared { SPREADING } else { WRITING })
    }
}

/// The signing keys of a service.
pub struct Keyring {
    policy: KeyPolicy,
    keys: RwLock<Vec<KeyEntry>>,
    /// When what others have made of the keys was last read, where there are others.
    learned: Mutex<Option<MeterTime>>,
    /// Until then tokens live that were issued when they were configured to live longer. Milliseconds since 1970.
    older_tokens_until: AtomicU64,
    pairwise: Zeroizing<[u8; 32]>,
    /// Held while the stored keys change, so that no change undoes another.
    changes: Gate<()>,
}

struct KeyEntry {
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
    /// Reads the keys from the store. Makes the first one if there is none, which signs at once. If the algorithm has
    /// changed, publishes a key of the new one, which signs when every cached key set has run out.
    ///
    /// # Errors
    ///
    /// [`KeyringError`].
    pub async fn open(
        store: &(impl KeyStore + ?Sized),
        secrets: &SecretRing,
        policy: KeyPolicy,
        now: UnixMs,
    ) -> Result<Self, KeyringError> {
        let mut keys = Vec::new();
        let mut pairwise = None;
        for record in store.sealed_keys().await? {
            if record.algorithm == CLUSTER_SECRET {
                continue;
            }
            if record.algorithm == PAIRWISE {
                let plain = Zeroizing::new(unsealed(secrets, &record)?);
                let malformed = |_| KeyError::Malformed(record.kid.clone());
                pairwise = Some(Zeroizing::new(plain.as_slice().try_into().map_err(malformed)?));
                continue;
            }
            keys.push(KeyEntry { signing: signing_key(secrets, &record)?, record });
        }
        let pairwise = match pairwise {
            Some(pairwise) => pairwise,
            None => make_pairwise(store, secrets, now).await?,
        };
        let (keys, learned, older_tokens_until) = (RwLock::new(keys), Mutex::default(), AtomicU64::new(0));
        let keyring = Self { policy, keys, learned, older_tokens_until, pairwise, changes: Gate::default() };
        let (count, youngest) = {
            let keys = keyring.keys.read();
            (keys.len(), youngest(&keys).map(|held| held.signing.algorithm()))
        };
        match youngest {
            None => keyring.add(store, secrets, now, now).await?,
            Some(algorithm) if algorithm != policy.algorithm && count < MAX_KEYS => {
                keyring.add(store, secrets, now, now.plus(policy.wait())).await?;
            }
            Some(_) => {}
        }
        Ok(keyring)
    }

    /// The key that signs at `now`.
    pub fn signing(&self, now: UnixMs) -> Arc<SigningKey> {
        let keys = self.keys.read();
        // A wall clock that was set back may precede every key: then the oldest one signs.
        let signing = keys.iter().filter(|held| held.record.signs_from <= now).max_by_key(|held| held.age());
        let signing = signing.or_else(|| keys.iter().min_by_key(|held| held.age()));
        let signing = signing.expect("`open` leaves at least one key, and only retired ones are dropped");
        Arc::clone(&signing.signing)
    }

    /// The key with this id.
    pub fn find(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.keys.read().iter().find(|held| held.record.kid == kid).map(KeyEntry::key)
    }

    /// The key that subjects are derived by. It never changes.
    pub fn pairwise(&self) -> ClusterSecret {
        ClusterSecret::from_bytes(*self.pairwise)
    }

    /// How long verifiers may cache what is published at `now`: no key that is not in it signs before.
    ///
    /// That is less than usual where this node has not read for a while what others have made of the keys.
    pub fn max_age(&self, now: MeterTime) -> Millis {
        if !self.policy.shared {
            return self.policy.lifetime;
        }
        let Some(learned) = *self.learned.lock() else { return Millis::ZERO };
        self.policy.lifetime.min(self.policy.wait().minus(ARRIVING).minus(now.since(learned)))
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
    pub async fn rotate(
        &self,
        store: &(impl KeyStore + ?Sized),
        secrets: &SecretRing,
        now: UnixMs,
    ) -> Result<(), KeyringError> {
        let _change = self.changes.lock().await;
        if self.keys.read().len() >= MAX_KEYS {
            return Err(KeyringError::Full);
        }
        self.add(store, secrets, now, now.plus(self.policy.wait())).await?;
        self.retire_superseded(store).await
    }

    /// Learns how long the longest-lived of all good tokens still lives. If that is longer than tokens live by now, they were
    /// once configured to live longer, and the keys that signed them are published for as long.
    pub fn tokens_live(&self, longest: Millis, now: UnixMs) {
        // A token's end is rounded up to a second.
        if longest > self.policy.max_ttl.plus(Millis::from_secs(2)) {
            self.older_tokens_until.fetch_max(now.plus(longest).as_ms(), Ordering::Relaxed);
        }
    }

    /// Drops the keys whose last token has died, and decides when superseded ones are dropped. To be called now and then.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Store`].
    pub async fn tidy(&self, store: &(impl KeyStore + ?Sized), now: UnixMs) -> Result<(), KeyringError> {
        let _change = self.changes.lock().await;
        self.retire_superseded(store).await?;
        let signing = self.signing(now).kid().to_owned();
        let dead: Vec<String> = {
            let keys = self.keys.read();
            let is_dead = |record: &SealedKey| record.retires_at.is_some_and(|at| at <= now) && record.kid != signing;
            keys.iter().filter(|held| is_dead(&held.record)).map(|held| held.record.kid.clone()).collect()
        };
        for kid in dead {
            store.remove_sealed_key(&kid).await?;
            self.keys.write().retain(|held| held.record.kid != kid);
        }
        Ok(())
    }

    /// Takes over what other nodes have made of the keys, at `now`.
    ///
    /// # Errors
    ///
    /// [`KeyringError`]; the keys are as they were.
    pub async fn learn(
        &self,
        store: &(impl KeyStore + ?Sized),
        secrets: &SecretRing,
        now: MeterTime,
    ) -> Result<(), KeyringError> {
        let _change = self.changes.lock().await;
        let mut learnt = Vec::new();
        for record in store.sealed_keys().await?.into_iter().filter(signs) {
            let known = self.keys.read().iter().find(|held| held.record.kid == record.kid).map(KeyEntry::key);
            let signing = known.map_or_else(|| signing_key(secrets, &record), Ok)?;
            learnt.push(KeyEntry { signing, record });
        }
        learnt.sort_by(|a, b| a.age().cmp(&b.age()));
        // Others drop keys, but never all of them.
        if !learnt.is_empty() {
            *self.keys.write() = learnt;
        }
        *self.learned.lock() = Some(now);
        Ok(())
    }

    /// Whether the youngest key has been there for `every`, so that it is time for another one.
    pub fn is_due(&self, every: Millis, now: UnixMs) -> bool {
        youngest(&self.keys.read()).is_some_and(|held| held.record.created_at.plus(every) <= now)
    }

    /// Seals anew, under the current secret, what is sealed under another one.
    ///
    /// # Errors
    ///
    /// [`KeyringError`]. What was sealed anew by then stays so.
    pub async fn reseal(&self, store: &(impl KeyStore + ?Sized), secrets: &SecretRing) -> Result<(), KeyringError> {
        let _change = self.changes.lock().await;
        let (id, secret) = secrets.current();
        for record in store.sealed_keys().await? {
            if record.algorithm == CLUSTER_SECRET || seal::sealed_under(&record.sealed) == Some(id) {
                continue;
            }
            let plain = Zeroizing::new(unsealed(secrets, &record)?);
            let record = SealedKey { sealed: seal::seal(id, secret, &record.kid, &plain), ..record };
            store.put_sealed_key(&record).await?;
            self.note(record);
        }
        Ok(())
    }

    /// The secrets that anything in the store is sealed under.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn sealed_under(&self, store: &(impl KeyStore + ?Sized)) -> Result<Vec<SecretId>, StoreError> {
        let records = store.sealed_keys().await?;
        Ok(records.iter().filter_map(|record| seal::sealed_under(&record.sealed)).collect())
    }

    async fn add(
        &self,
        store: &(impl KeyStore + ?Sized),
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
        store.put_sealed_key(&record).await?;
        self.keys.write().push(KeyEntry { signing: Arc::new(signing), record });
        Ok(())
    }

    /// A key signs until the next younger one does; it is dropped a token's life (and a cached key set's) later.
    async fn retire_superseded(&self, store: &(impl KeyStore + ?Sized)) -> Result<(), KeyringError> {
        let older_tokens_until = UnixMs::from_ms(self.older_tokens_until.load(Ordering::Relaxed));
        let changed: Vec<SealedKey> = {
            let keys = self.keys.read();
            let superseded_at = |record: &SealedKey| {
                keys.iter().map(|held| held.record.signs_from).filter(|from| *from > record.signs_from).min()
            };
            keys.iter()
                .filter_map(|held| {
                    let last_token = superseded_at(&held.record)?.plus(self.policy.max_ttl);
                    let retires_at = last_token.max(older_tokens_until).plus(self.policy.lifetime);
                    // Tokens may be meant to live longer than when this was decided.
                    let decided = held.record.retires_at.is_some_and(|at| at >= retires_at);
                    (!decided).then(|| SealedKey { retires_at: Some(retires_at), ..held.record.clone() })
                })
                .collect()
        };
        for record in changed {
            store.put_sealed_key(&record).await?;
            self.note(record);
        }
        Ok(())
    }

    fn note(&self, record: SealedKey) {
        if let Some(held) = self.keys.write().iter_mut().find(|held| held.record.kid == record.kid) {
            held.record = record;
        }
    }
}

impl KeyEntry {
    fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.signing)
    }

    /// What keys are in order of: when they begin to sign.
    fn age(&self) -> (UnixMs, &str) {
        (self.record.signs_from, &self.record.kid)
    }
}

fn signs(record: &SealedKey) -> bool {
    record.algorithm != PAIRWISE && record.algorithm != CLUSTER_SECRET
}

fn youngest(keys: &[KeyEntry]) -> Option<&KeyEntry> {
    keys.iter().max_by_key(|held| held.age())
}

fn signing_key(secrets: &SecretRing, record: &SealedKey) -> Result<Arc<SigningKey>, KeyringError> {
    let plain = Zeroizing::new(unsealed(secrets, record)?);
    let algorithm = Algorithm::parse(&record.algorithm).ok_or_else(|| KeyError::Malformed(record.kid.clone()))?;
    Ok(Arc::new(SigningKey::from_pkcs8(algorithm, &plain)?))
}

fn unsealed(secrets: &SecretRing, record: &SealedKey) -> Result<Vec<u8>, KeyringError> {
    seal::open(|id| secrets.find(id), &record.kid, &record.sealed)
        .map_err(|source| KeyringError::Sealed { kid: record.kid.clone(), source })
}

/// Makes the key that subjects are derived by. It comes of the secret that is current now, as it always did before it was
/// kept, and no longer depends on that from now on.
async fn make_pairwise(
    store: &(impl KeyStore + ?Sized),
    secrets: &SecretRing,
    now: UnixMs,
) -> Result<Zeroizing<[u8; 32]>, KeyringError> {
    let (id, secret) = secrets.current();
    let key = Zeroizing::new(secret.derive(PAIRWISE_LABEL, b""));
    let record = SealedKey {
        kid: PAIRWISE.to_owned(),
        algorithm: PAIRWISE.to_owned(),
        sealed: seal::seal(id, secret, PAIRWISE, &*key),
        created_at: now,
        signs_from: now,
        retires_at: None,
    };
    store.put_sealed_key(&record).await?;
    Ok(key)
}

#[cfg(test)]
mod tests;
