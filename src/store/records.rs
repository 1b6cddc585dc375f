//! The rows of a store, as those who use it see them.

use crate::{
    engine::{Account, AccountId, End, Entry, ListId, ListSeed, ListSize, NewEntry},
    time::{MeterTime, UnixMs},
};

/// How many parts recovery reads.
pub const RECOVERY_PARTS: usize = 256;

/// How many parts [`Store::clear_leftovers`](super::Store::clear_leftovers) looks through.
pub const LEFTOVER_PARTS: u16 = 4096;

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the act may not have been committed"]
#[expect(clippy::large_enum_variant, reason = "there is one for each act, and nearly all are the large one")]
pub enum Commit {
    /// It is durable. The account as it is now.
    Done(Account),
    /// The account has another version, or is not there: read it again and decide anew.
    Conflict,
    /// One of its entries was in the ledger before; nothing was written. That entry.
    Repeated(Entry),
}

/// Who an account belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The identity provider.
    pub issuer: String,
    /// The person's name there.
    pub subject: String,
}

impl Identity {
    /// Characters of an issuer or a subject, at most. Characters and not bytes, everywhere: a name that may be written in
    /// one place may be read in all of them.
    pub const MAX_NAME: usize = 512;

    /// Whether an issuer or a subject may be this: 1 to [`Self::MAX_NAME`] characters, none of them a control character.
    pub fn is_name(text: &str) -> bool {
        !text.is_empty()
            && text.chars().take(Self::MAX_NAME + 1).count() <= Self::MAX_NAME
            && !text.chars().any(char::is_control)
    }
}

/// An account with what is known of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The account.
    pub account: Account,
    /// Whose it is. `None` once it has been deleted.
    pub identity: Option<Identity>,
    /// When it was made, on the wall clock.
    pub created_at: UnixMs,
}

/// An account whose session is open, as recovery finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAccount {
    /// The account; its session is open.
    pub account: Account,
    /// The session's last checkpoint; its start, if there has been none.
    pub last_seen: MeterTime,
}

/// A session that is remembered: whose, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Whose it is.
    pub account: AccountId,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// What a credential of an account is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyScope {
    /// Everything that its owner may do: an account key `gtk_…`.
    #[default]
    Account,
    /// Earning rewards and being told whether it is valid, and nothing else: an earner token `gte_…`.
    Earning,
}

impl KeyScope {
    /// The name that the store uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Earning => "earning",
        }
    }

    /// The scope with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Account, Self::Earning].into_iter().find(|scope| scope.name() == name)
    }
}

/// An account key or an earner token, as the store keeps it: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKey {
    /// Names the key in the administration.
    pub key_id: String,
    /// Whose key it is.
    pub account: AccountId,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// What it is good for.
    pub scope: KeyScope,
    /// When it was made, on the wall clock.
    pub created_at: UnixMs,
}

/// A registered edge, as the store keeps it: never its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The name it authenticates with.
    pub client_id: String,
    /// A name for people.
    pub name: String,
    /// The audience whose tokens it may ask about.
    pub audience: String,
    /// SHA-256 of each secret that is good now: more than one while secrets rotate.
    pub secret_hashes: Vec<[u8; 32]>,
    /// When it was registered, on the wall clock.
    pub created_at: UnixMs,
}

/// A key that tokens are made with, sealed under a cluster secret. Most of them sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    /// The key's id, as tokens name it.
    pub kid: String,
    /// The JWS algorithm it signs with, or `pairwise` for the key that subjects are derived by.
    pub algorithm: String,
    /// The private key, sealed.
    pub sealed: Vec<u8>,
    /// When it was made, on the wall clock.
    pub created_at: UnixMs,
    /// From when on it may sign. Before, it is only published.
    pub signs_from: UnixMs,
    /// When it is dropped, if that is decided.
    pub retires_at: Option<UnixMs>,
}

/// Credit for somebody who has no account yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCredit {
    /// What is to be entered. `(source, external_id)` is unique within the identity.
    pub entry: NewEntry,
    /// When it came, on the wall clock.
    pub at: UnixMs,
}

/// What became of credit that was to be held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the credit may not be held"]
pub enum Held {
    /// It is durable.
    Kept,
    /// Something of this name was held before; nothing was written. That.
    Repeated(HeldCredit),
    /// As much is held for this identity as may be.
    Full,
}

/// A token status list that a node has leased, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusLease {
    /// The list's id. Random, and never used again.
    pub id: ListId,
    /// How many entries it has.
    pub size: ListSize,
    /// What the order of its indices follows from.
    pub seed: ListSeed,
    /// How many of its numbers may have been handed out.
    pub granted: u32,
    /// When it was leased, on the wall clock.
    pub leased_at: UnixMs,
    /// When all its tokens have expired. `None` while it takes more.
    pub retires_at: Option<UnixMs>,
}
