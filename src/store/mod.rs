//! Where truth lives. Memory is a cache of it.
//!
//! The trait is made for two kinds of store: an embedded one with transactions, and a distributed one that has only
//! conditional batches within a partition. Hence its shape:
//!
//! * **Acts** are decided elsewhere and committed here, all of it or nothing, on the condition that the account still has
//!   the version they were decided on. All that an act writes belongs to one account: one partition.
//! * **Entries** of the ledger are unique by `(source, external id)` within their account; a repeated one changes nothing.
//! * **Checkpoints** are maxima: writing an older one, or the same one twice, or one for a session that is over, changes
//!   nothing. They come in batches of one bucket, which is one partition.
//! * The **audit log** is only ever appended to. Its partitions are a day's rows, and an account's; a row goes by its key,
//!   so that appending it again changes nothing.
//! * The **heartbeat history** is only ever appended to as well, a day's rows of a session together.
//! * Everything else is single rows, written conditionally where two writers could meet.
//!
//! No method changes anything when it answers with an error, except that an [`StoreError::Unavailable`] from a
//! distributed store may leave the outcome unknown; every method is safe to repeat for that reason. Once the account has
//! been read again, a commit that failed before is in what was read, or will never be.

mod audit;
mod facts;
mod facts_json;
mod fits;
mod history;
pub mod moving;
mod nodes;
mod observed;
mod outcomes;
pub mod scylla;
pub mod sqlite;

use std::ops::Range;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::{
    engine::{Account, AccountId, Act, Checkpoint, End, Entry, ListId, ListSeed, ListSize, NewEntry, Source},
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};

pub use audit::{Actor, ActorKind, AuditAct, AuditDay, AuditKey, AuditRecord, Surface};
pub use facts::{Capability, ProviderFacts, SeenEvent};
pub use history::{Heard, HeardKey, HeardRow};
pub use nodes::{
    CHANGE_SLOT, CHANGES_KEPT, Change, ClusterStore, Era, ListCopy, ListOwner, METERS_DIFFER, NodeId, NodeLease,
    change_slot, is_void, stamp,
};
pub use observed::{Observed, Operation, StoreObserver};
pub use outcomes::{Added, Begun, Created, Granted, Leased, Removed, Replaced, Retired};
pub use scylla::{Consistency, Credentials, ScyllaOptions, ScyllaStore, ScyllaTarget};
pub use sqlite::{SqliteOptions, SqliteStore};

/// Why the store did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or cannot write now; trying again later may help. The text is for operators.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What it holds cannot be read as what it should be. Trying again does not help.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It cannot be opened as configured. The text says what to do.
    #[error("{0}")]
    Refused(String),
}

/// How many parts recovery reads.
pub const RECOVERY_PARTS: usize = 256;

/// How many parts [`Store::clear_leftovers`] looks through.
pub const LEFTOVER_PARTS: u16 = 4096;

/// What a store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the act may not have been committed"]
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

/// An account key `gtk_…`, as the store keeps it: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKey {
    /// Names the key in the administration.
    pub key_id: String,
    /// Whose key it is.
    pub account: AccountId,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
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

/// A durable store. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes an account for `identity`, or answers the one it has, and says which.
    async fn create_account(&self, id: AccountId, identity: &Identity, at: UnixMs) -> Result<(Owned, Created)>;

    /// The account with this id; a deleted one too.
    async fn account(&self, id: &AccountId) -> Result<Option<Owned>>;

    /// Whose account an identity has.
    async fn account_of(&self, identity: &Identity) -> Result<Option<AccountId>>;

    /// Accounts that are not deleted, in order of id, from after `after` on.
    async fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Owned>>;

    /// Commits an act. See the module's text.
    ///
    /// The version is looked at first, so [`Commit::Repeated`] is only ever about an entry that the caller has put into
    /// the act. A deleted account takes no more acts: [`Commit::Conflict`].
    ///
    /// With an act that deletes, the account's identity, keys, entries and heartbeat history go, and what is held for the
    /// identity and was told of it, except that it is gone; the id stays, and so do its sessions' ends.
    ///
    /// `audit` is in the audit log before [`Commit::Done`] is answered, and only then. Whether it is written together with
    /// the act is the store's choice: where it is not, who finds the act to have been written after all appends it.
    async fn commit(&self, act: &Act, audit: Option<&AuditRecord>) -> Result<Commit>;

    /// The entry with this name.
    async fn entry(&self, account: &AccountId, source: Source, external_id: &str) -> Result<Option<Entry>>;

    /// The ledger from after entry number `after` on, oldest first.
    async fn entries(&self, account: &AccountId, after: u64, limit: usize) -> Result<Vec<Entry>>;

    /// What is remembered of a session.
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>>;

    /// Raises the checkpoints of open sessions. All rows are of one bucket, and none is of a session that is yet to open.
    /// Write-behind: a crash of the process does not undo what was answered, a power cut may.
    async fn checkpoint(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()>;

    /// All accounts with an open session, each once, in [`RECOVERY_PARTS`] parts.
    fn recover(&self) -> BoxStream<'_, Result<Vec<OpenAccount>>>;

    /// The durable state of the meter clock, if it ever ran: no earlier than any act or checkpoint that is durable, but for
    /// checkpoints that no node of the latest era can have lived.
    async fn clock(&self) -> Result<Option<ClockFact>>;

    /// Keeps the state of the meter clock. An earlier `last_alive` than the one kept changes nothing. Write-behind.
    async fn keep_clock(&self, fact: ClockFact) -> Result<()>;

    /// Adds an account key, or replaces the account's key of that name.
    async fn add_account_key(&self, key: &AccountKey) -> Result<Added>;

    /// The key that has this hash.
    async fn account_by_key(&self, hash: &[u8; 32]) -> Result<Option<AccountKey>>;

    /// The keys of an account.
    async fn account_keys(&self, account: &AccountId) -> Result<Vec<AccountKey>>;

    /// Removes an account key.
    async fn remove_account_key(&self, account: &AccountId, key_id: &str) -> Result<Removed>;

    /// Registers an edge, or changes one.
    async fn put_edge(&self, edge: &Edge) -> Result<()>;

    /// All registered edges, in no particular order.
    async fn edges(&self) -> Result<Vec<Edge>>;

    /// Removes an edge.
    async fn remove_edge(&self, client_id: &str) -> Result<Removed>;

    /// All signing keys, in no particular order.
    async fn signing_keys(&self) -> Result<Vec<SealedKey>>;

    /// Adds a signing key, or changes how it is sealed and when it signs and retires.
    async fn put_signing_key(&self, key: &SealedKey) -> Result<()>;

    /// Removes a signing key.
    async fn remove_signing_key(&self, kid: &str) -> Result<Removed>;

    /// Holds credit for an identity, unless `most` are held for it.
    async fn hold_credit(&self, identity: &Identity, held: &HeldCredit, most: usize) -> Result<Held>;

    /// What is held for an identity, oldest first.
    async fn held_credit(&self, identity: &Identity, limit: usize) -> Result<Vec<HeldCredit>>;

    /// Lets go of credit that was held.
    async fn release_credit(&self, identity: &Identity, source: Source, external_id: &str) -> Result<Removed>;

    /// What the provider told of an identity; of one that nothing was told of, the default. Goes by
    /// [`Identity::digest`], and is nothing to do with whether there is an account.
    async fn facts(&self, identity: &Identity) -> Result<ProviderFacts>;

    /// Replaces what the provider told of an identity, if it is still of the revision in `facts`. It is of the next one
    /// then.
    async fn put_facts(&self, identity: &Identity, facts: &ProviderFacts) -> Result<Replaced>;

    /// Appends to the audit log. Rows that are there stay as they are.
    async fn append_audit(&self, rows: &[AuditRecord]) -> Result<()>;

    /// The rows of a day from after `after` on, oldest first.
    async fn audit_of_day(&self, day: AuditDay, after: Option<AuditKey>, limit: usize) -> Result<Vec<AuditRecord>>;

    /// The rows about an account from after `after` on, oldest first.
    async fn audit_of_account(
        &self,
        account: &AccountId,
        after: Option<AuditKey>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>>;

    /// Drops rows from before an instant, `most` at a time; answers how many. Fewer than `most`: there are no more. A store
    /// whose rows go by themselves has nothing to do. Write-behind.
    async fn prune_audit(&self, before: UnixMs, most: usize) -> Result<usize>;

    /// Appends to the heartbeat history. Rows that are there stay as they are; rows of a deleted account do not come back by
    /// it. Write-behind.
    async fn append_history(&self, rows: &[HeardRow]) -> Result<()>;

    /// What was heard of a session from after `after` on and before `until`, oldest first.
    async fn history(&self, session: &SessionId, after: HeardKey, until: UnixMs, limit: usize) -> Result<Vec<Heard>>;

    /// Drops the history of days that were over at an instant, `most` rows at a time; answers how many. Fewer than `most`:
    /// there are no more. A store whose rows go by themselves has nothing to do. Write-behind.
    async fn prune_history(&self, before: UnixMs, most: usize) -> Result<usize>;

    /// Leases a new status list.
    async fn lease_status_list(&self, lease: &StatusLease) -> Result<Leased>;

    /// Raises how many numbers of a status list may be handed out, from `from` to `to`.
    async fn grant_status(&self, list: &ListId, from: u32, to: u32) -> Result<Granted>;

    /// Records when a status list retires. It takes no more tokens.
    async fn retire_status_list(&self, list: &ListId, at: UnixMs) -> Result<Retired>;

    /// All status lists, in no particular order.
    async fn status_lists(&self) -> Result<Vec<StatusLease>>;

    /// Forgets a status list.
    async fn remove_status_list(&self, list: &ListId) -> Result<Removed>;

    /// Clears away what acts left that were cut off in the middle, among it what is to be erased of deleted accounts: looks
    /// through some of [`LEFTOVER_PARTS`]. `now` is the meter's time. To be called again and again, by any number of nodes;
    /// what failed is tried again the next time. A store that does all of an act or nothing has nothing to do.
    async fn clear_leftovers(&self, _now: MeterTime, _parts: Range<u16>) -> Result<()> {
        Ok(())
    }

    /// Writes everything out and lets go. Further calls answer [`StoreError::Unavailable`], but closing again is no error.
    async fn close(&self) -> Result<()>;
}
