//! What an identity provider told of a person, beyond who they are.
//!
//! All of it is one row for each identity, changed only by who has read it as it is. So the order of what was told is
//! decided by pure functions, and any store that can write one row on a condition can keep it. Rows go by a digest of
//! the identity: of a person who is gone, it is all that remains.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::time::UnixMs;

use super::Identity;

/// What a digest is of: for nothing else does the same one come out.
const LABEL: &[u8] = b"gastank/identity/v1";

/// What a provider told of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderFacts {
    /// How often it has been written; 0 of an identity nothing was ever told of.
    pub revision: u64,
    /// When it was told that the person is gone, which is for good.
    pub gone_at: Option<UnixMs>,
    /// When they last changed their password.
    pub password_changed_at: Option<UnixMs>,
    /// What they have subscribed to, now or once, by the provider's names.
    pub capabilities: BTreeMap<String, Capability>,
    /// The latest events that have been dealt with, the oldest first.
    pub events: Vec<SeenEvent>,
}

/// Something that a person can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Whether they have it.
    pub active: bool,
    /// Since when that is so, by the provider's clock.
    pub changed_at: UnixMs,
    /// When they had it for the first time. Its periods count from then.
    pub first_active_at: Option<UnixMs>,
}

/// An event that has been dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenEvent {
    /// The first 128 bits of the SHA-256 of what it says.
    pub digest: [u8; 16],
    /// When it was dealt with, on the wall clock.
    pub at: UnixMs,
}

impl Identity {
    /// The digest that what is told of an identity is kept under.
    pub fn digest(&self) -> [u8; 32] {
        let mut sha = Sha256::new_with_prefix(LABEL);
        // With its length before it, no issuer can be taken for part of a subject.
        sha.update((self.issuer.len() as u64).to_be_bytes());
        sha.update(&self.issuer);
        sha.update(&self.subject);
        sha.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn identities_are_told_apart_by_their_digests(text in "[a-c]{0,6}", cut: prop::sample::Index, other: prop::sample::Index) {
            let identity = |at: usize| Identity { issuer: text[..at].to_owned(), subject: text[at..].to_owned() };
            let (one, two) = (identity(cut.index(text.len() + 1)), identity(other.index(text.len() + 1)));
            prop_assert_eq!(one == two, one.digest() == two.digest());
        }
    }
}
