//! Ids and hashes that never travel in a frame.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::wire::SessionId;

/// An account's internal id: 128 random bits, written in base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId([u8; 16]);

impl AccountId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads an id as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        decode_id(text).map(Self)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for AccountId {
    /// Only the first four bytes: logs follow an account by them without naming it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account:{:02x}{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// The session id in base64url without padding (22 characters), as JSON and tokens carry it.
pub fn session_text(session: &SessionId) -> String {
    URL_SAFE_NO_PAD.encode(session.as_bytes())
}

/// Reads a session id as [`session_text`] writes it.
pub fn parse_session(text: &str) -> Option<SessionId> {
    decode_id(text).map(SessionId::from_bytes)
}

fn decode_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// The first 128 bits of the SHA-256 of a whole token, as it was issued.
///
/// Finding another token with the same hash takes 2^128 tries, and it would have to be presented by an authenticated
/// edge: as good as the token itself for "is this the one", and it can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHash([u8; 16]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &[u8]) -> Self {
        let digest = Sha256::digest(token);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }

    /// The hash with these bytes, as the store keeps it.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_read_back_as_they_were_written(bytes: [u8; 16]) {
            let account = AccountId::from_bytes(bytes);
            prop_assert_eq!(AccountId::parse(&account.to_string()), Some(account));
            let session = SessionId::from_bytes(bytes);
            prop_assert_eq!(parse_session(&session_text(&session)), Some(session));
        }
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "short", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA+A", "AAAAAAAAAAAAAAAAAAAAAB"] {
            assert_eq!(AccountId::parse(text), None, "{text}");
        }
    }
}
