//! The secrets of a registered client, be it an edge or a client of the hub: one, or two while the old one is replaced.

use crate::entropy::Entropy;

use super::credentials::new_client_secret;

/// Secrets of one client that are good at the same time: the old one and the new one.
pub const MAX_SECRETS: usize = 2;

/// Why the secrets of a client were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The client has no such secret.
    #[error("there is no such secret")]
    NoSuchSecret,
    /// The client has as many secrets as it may have.
    #[error("there are {MAX_SECRETS} secrets, and no more may be; remove the one that is no longer used")]
    Full,
    /// It is the client's only one.
    #[error("it is the only secret, and one must stay; add another one first, or remove its owner")]
    Last,
}

/// A client secret that has just been made: the only time that it is known.
pub struct NewClientSecret {
    /// The client id that it belongs to.
    pub client_id: String,
    /// Names the secret.
    pub secret_id: String,
    /// The secret.
    pub secret: String,
}

/// Makes a secret for a client and adds its hash to those that it has.
pub(super) fn add(
    hashes: &mut Vec<[u8; 32]>,
    client_id: &str,
    entropy: &dyn Entropy,
) -> Result<NewClientSecret, SecretError> {
    if hashes.len() >= MAX_SECRETS {
        return Err(SecretError::Full);
    }
    let (secret, hash) = new_client_secret(entropy);
    hashes.push(*hash.as_bytes());
    Ok(NewClientSecret { client_id: client_id.to_owned(), secret_id: id_of(hash.as_bytes()), secret })
}

/// Takes the hash of a secret out of those that a client has.
pub(super) fn remove(hashes: &mut Vec<[u8; 32]>, secret_id: &str) -> Result<(), SecretError> {
    let at = hashes.iter().position(|hash| id_of(hash) == secret_id).ok_or(SecretError::NoSuchSecret)?;
    if hashes.len() == 1 {
        return Err(SecretError::Last);
    }
    hashes.remove(at);
    Ok(())
}

/// The ids of a client's secrets, the oldest first.
pub(super) fn ids(hashes: &[[u8; 32]]) -> Vec<String> {
    hashes.iter().map(id_of).collect()
}

/// A secret goes by the beginning of its hash: 64 bits tell secrets apart, and nothing about them.
fn id_of(hash: &[u8; 32]) -> String {
    hex::encode(&hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_client_has_one_secret_or_two() {
        let (mut hashes, entropy) = (Vec::new(), SeededEntropy::new(1));
        let another = |hashes: &mut Vec<_>| add(hashes, "id", &entropy).map(|new| new.secret_id);
        let old = another(&mut hashes).unwrap();
        assert_eq!(remove(&mut hashes, &old), Err(SecretError::Last));
        let new = another(&mut hashes).unwrap();
        assert_eq!(another(&mut hashes), Err(SecretError::Full));
        assert_eq!(ids(&hashes), [old.clone(), new.clone()]);
        assert_eq!(remove(&mut hashes, "0011223344556677"), Err(SecretError::NoSuchSecret));
        assert_eq!(remove(&mut hashes, &old), Ok(()));
        assert_eq!(ids(&hashes), [new]);
    }
}
