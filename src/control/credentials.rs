//! Secrets that are shown once and known by their hash afterwards: account keys, client secrets, the administration's token.
//!
//! Each has at least 128 random bits, so that a plain SHA-256 will do. Hashes are compared in constant time.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    entropy::{Entropy, draw},
    store::KeyScope,
};

/// How every account key begins.
pub(super) const ACCOUNT_KEY_PREFIX: &str = "gtk_";
/// How every earner token begins.
pub const EARNER_TOKEN_PREFIX: &str = "gte_";
/// How every client secret begins.
const CLIENT_SECRET_PREFIX: &str = "gts_";

/// The SHA-256 of a secret of at least 128 random bits.
#[derive(Clone, Copy)]
pub(super) struct SecretHash([u8; 32]);

impl SecretHash {
    pub(super) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares with every one of `hashes`, in a time that does not depend on their content.
    pub(super) fn is_any_of(&self, hashes: &[[u8; 32]]) -> bool {
        hashes.iter().fold(Choice::from(0), |any, hash| any | self.0.ct_eq(hash)).into()
    }
}

/// Draws an account key, or a credential of a narrower scope; answers it with its hash.
pub(super) fn new_account_key(entropy: &dyn Entropy, scope: KeyScope) -> (String, SecretHash) {
    new_secret(
        entropy,
        match scope {
            KeyScope::Account => ACCOUNT_KEY_PREFIX,
            KeyScope::Earning => EARNER_TOKEN_PREFIX,
        },
    )
}

/// Draws a client secret; answers it with its hash.
pub(super) fn new_client_secret(entropy: &dyn Entropy) -> (String, SecretHash) {
    new_secret(entropy, CLIENT_SECRET_PREFIX)
}

/// Draws a short id: sixteen hexadecimal digits.
pub(super) fn new_short_id(entropy: &dyn Entropy) -> String {
    format!("{:016x}", u64::from_be_bytes(draw(entropy)))
}

fn new_secret(entropy: &dyn Entropy, prefix: &str) -> (String, SecretHash) {
    let secret = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(draw::<32>(entropy)));
    let hash = SecretHash::of(secret.as_bytes());
    (secret, hash)
}

/// The bearer token of the administration. Only its hash is kept.
#[derive(Clone)]
pub struct AdminToken(SecretHash);

impl AdminToken {
    /// The token `text`.
    pub fn new(text: &str) -> Self {
        Self(SecretHash::of(text.as_bytes()))
    }

    /// Whether `presented` is this token.
    pub(super) fn is(&self, presented: &str) -> bool {
        SecretHash::of(presented.as_bytes()).is_any_of(&[*self.0.as_bytes()])
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash_and_by_nothing_else() {
        let (text, hash) = new_account_key(&crate::entropy::SeededEntropy::new(1), KeyScope::Account);
        assert!(text.starts_with("gtk_") && text.len() == 4 + 43);
        assert!(SecretHash::of(text.as_bytes()).is_any_of(&[[0; 32], *hash.as_bytes()]));
        assert!(!SecretHash::of(&text.as_bytes()[1..]).is_any_of(&[*hash.as_bytes()]));
        assert!(!hash.is_any_of(&[]));
        assert!(AdminToken::new("one").is("one") && !AdminToken::new("one").is("other"));
    }
}
