//! Sealing: what is kept in the store but must not be read from it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

use crate::wire::{ClusterSecret, SecretId};

const LABEL: &[u8] = b"gastank/seal/v1";

/// Why sealed bytes cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed data cannot be opened: another cluster secret made it, or it is damaged")]
pub struct CannotOpen;

/// Seals bytes under a cluster secret with AES-256-GCM and a random nonce.
///
/// A sealed text is the secret's id, the nonce, and the ciphertext with its tag; `context` is authenticated with it, so
/// that one sealed text cannot stand in for another.
pub fn seal(id: SecretId, secret: &ClusterSecret, context: &str, plain: &[u8]) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    let nonce = key(secret)
        .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut buffer)
        .expect("a few kilobytes are within what AES-GCM can seal");
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + buffer.len());
    sealed.push(id.get());
    sealed.extend_from_slice(nonce.as_ref());
    sealed.extend_from_slice(&buffer);
    sealed
}

/// Opens what [`seal`] made, with the secret that `secret` finds by its id.
///
/// # Errors
///
/// [`CannotOpen`].
pub fn open<'s>(
    secret: impl FnOnce(SecretId) -> Option<&'s ClusterSecret>,
    context: &str,
    sealed: &[u8],
) -> Result<Vec<u8>, CannotOpen> {
    let (id, rest) = sealed.split_first().ok_or(CannotOpen)?;
    let (nonce, rest) = rest.split_at_checked(NONCE_LEN).ok_or(CannotOpen)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotOpen)?;
    let secret = SecretId::new(*id).and_then(secret).ok_or(CannotOpen)?;
    let mut buffer = rest.to_vec();
    let plain = key(secret).open_in_place(nonce, Aad::from(context.as_bytes()), &mut buffer).map_err(|_| CannotOpen)?;
    Ok(plain.to_vec())
}

/// Under which secret something is sealed, by what it says.
pub fn sealed_under(sealed: &[u8]) -> Option<SecretId> {
    SecretId::new(*sealed.first()?)
}

fn key(secret: &ClusterSecret) -> RandomizedNonceKey {
    RandomizedNonceKey::new(&AES_256_GCM, &secret.derive(LABEL, b"")).expect("a derived key is 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_and_context_open_what_was_sealed() {
        let (id, other) = (SecretId::new(3).unwrap(), SecretId::new(4).unwrap());
        let secret = ClusterSecret::from_bytes([1; 32]);
        let wrong = ClusterSecret::from_bytes([2; 32]);
        let sealed = seal(id, &secret, "key one", b"private");
        let find = |wanted| (wanted == id).then_some(&secret);
        assert_eq!(open(find, "key one", &sealed).unwrap(), b"private");
        assert_eq!(open(find, "key two", &sealed), Err(CannotOpen));
        assert_eq!(open(|_| Some(&wrong), "key one", &sealed), Err(CannotOpen));
        assert_eq!(open(|wanted| (wanted == other).then_some(&secret), "key one", &sealed), Err(CannotOpen));
        for cut in 0..sealed.len() {
            assert_eq!(open(find, "key one", &sealed[..cut]), Err(CannotOpen), "{cut}");
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_the_same_way_twice() {
        let secret = ClusterSecret::from_bytes([1; 32]);
        let seal = || seal(SecretId::default(), &secret, "c", b"private");
        assert_ne!(seal(), seal());
    }
}
