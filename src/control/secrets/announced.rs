//! How the nodes that share a store tell each other of a new cluster secret.
//!
//! It lies in the store for a while, sealed under the one before: among the signing keys, with an "algorithm" of its own.
//! Two nodes that make one at the same time must not both be believed, so a secret is *claimed* first. Who finds no other
//! claim after its own goes on; of two, the later one sees the other's, and neither's secret has been used yet.
//!
//! Who has the old secret and can read the store during that while has the new one too.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    control::{keyring::CLUSTER_SECRET, seal},
    engine::SecretRing,
    store::{Removed, SealedKey, Store, StoreError},
    time::{MeterTime, Millis, UnixMs},
    wire::{ClusterSecret, SecretId},
};

/// How long a secret lies in the store. All nodes that live have it long before.
const ANNOUNCED_FOR: Millis = Millis::from_secs(10 * 60);

/// What is told of, and since when a node knows.
#[derive(Default)]
pub(super) struct AnnouncedSecrets(BTreeMap<String, MeterTime>);

impl AnnouncedSecrets {
    /// Takes away what has been told for long enough. Answers the secrets that are told of still.
    pub(super) async fn tidy(&mut self, store: &dyn Store, now: MeterTime) -> Result<Vec<SecretId>, StoreError> {
        let there = records(store).await?;
        self.0.retain(|kid, _| there.iter().any(|record| record.kid == *kid));
        let mut left = Vec::new();
        for record in there {
            let since = *self.0.entry(record.kid.clone()).or_insert(now);
            if now.since(since) >= ANNOUNCED_FOR {
                match store.remove_signing_key(&record.kid).await? {
                    // Every node tidies.
                    Removed::Done | Removed::NotThere => {}
                }
            } else {
                left.extend(secret_of(&record));
            }
        }
        Ok(left)
    }
}

/// Tells the others of a secret that nobody uses yet. `false` if another node is about to do the same, and nothing changes.
///
/// # Errors
///
/// [`StoreError`]. The others may have been told then.
pub(super) async fn tell(
    store: &dyn Store,
    ring: &SecretRing,
    id: SecretId,
    secret: &ClusterSecret,
    name: [u8; 8],
    now: UnixMs,
) -> Result<bool, StoreError> {
    let kid = format!("{CLUSTER_SECRET}-{}-{}", id.get(), URL_SAFE_NO_PAD.encode(name));
    let (current, sealing) = ring.current();
    let claim = SealedKey {
        sealed: seal::seal(current, sealing, &kid, secret.expose_bytes()),
        kid,
        algorithm: CLUSTER_SECRET.to_owned(),
        created_at: now,
        signs_from: now,
        // Not to be believed yet.
        retires_at: Some(now),
    };
    store.put_signing_key(&claim).await?;
    let is_other = |record: &SealedKey| record.kid != claim.kid && secret_of(record) == Some(id);
    if records(store).await?.iter().any(is_other) {
        match store.remove_signing_key(&claim.kid).await? {
            Removed::Done | Removed::NotThere => return Ok(false),
        }
    }
    store.put_signing_key(&SealedKey { retires_at: None, ..claim }).await?;
    Ok(true)
}

/// `ring` with the secrets that other nodes have told of; `None` if it has them all.
///
/// # Errors
///
/// [`StoreError`]. A secret that is sealed under one that is not in the ring is left out.
pub async fn learn(store: &dyn Store, ring: &SecretRing) -> Result<Option<SecretRing>, StoreError> {
    let mut told: Vec<SealedKey> =
        records(store).await?.into_iter().filter(|record| record.retires_at.is_none()).collect();
    told.sort_by_key(|record| record.created_at);
    let mut learnt: Option<SecretRing> = None;
    for record in told {
        let known = learnt.as_ref().unwrap_or(ring);
        let Some(id) = secret_of(&record).filter(|id| known.find(*id).is_none()) else { continue };
        let Ok(plain) = seal::open(|id| known.find(id), &record.kid, &record.sealed).map(Zeroizing::new) else {
            continue;
        };
        if let Ok(bytes) = <[u8; 32]>::try_from(plain.as_slice()) {
            learnt = Some(known.clone().with_current(id, ClusterSecret::from_bytes(bytes)));
        }
    }
    Ok(learnt)
}

async fn records(store: &dyn Store) -> Result<Vec<SealedKey>, StoreError> {
    let all = store.signing_keys().await?;
    Ok(all.into_iter().filter(|record| record.algorithm == CLUSTER_SECRET).collect())
}

/// The number in a record's name.
fn secret_of(record: &SealedKey) -> Option<SecretId> {
    let (number, _) = record.kid.strip_prefix(CLUSTER_SECRET)?.strip_prefix('-')?.split_once('-')?;
    SecretId::new(number.parse().ok()?)
}
