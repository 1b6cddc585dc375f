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
mod error;
mod facts;
mod facts_json;
mod fits;
mod history;
mod hub;
mod logouts;
pub mod moving;
mod nodes;
mod observed;
mod outcomes;
mod records;
mod rewards;
pub mod roles;
pub mod scylla;
pub mod sqlite;

pub use audit::{Actor, ActorKind, AuditAct, AuditDay, AuditKey, AuditRecord, Surface};
pub use error::{Result, StoreError};
pub use facts::{Capability, ProviderFacts, SeenEvent};
pub use history::{Heard, HeardKey, HeardRow};
pub use hub::{
    Authentication, ClientKind, DeviceText, FoundHandle, FoundHubSession, HandleRecord, HubClient, HubSessionId,
    HubSessionRecord, HubSighting, Person, Profile, Redeemed, SecretDigest,
};
pub use logouts::{LogoutRecord, Participant};
pub use nodes::{
    CHANGE_SLOT, CHANGES_KEPT, Change, ClusterStore, Era, ListCopy, ListOwner, METERS_DIFFER, NodeId, NodeLease,
    change_slot, is_void, stamp,
};
pub use observed::{Observed, Operation, StoreObserver};
pub use outcomes::{Added, Begun, Created, Granted, Leased, Removed, Replaced, Retired};
pub use records::{
    AccountKey, Commit, Edge, Held, HeldCredit, Identity, KeyScope, LEFTOVER_PARTS, OpenAccount, Owned, RECOVERY_PARTS,
    SealedKey, SessionRecord, StatusLease,
};
pub use rewards::{RewardKey, RewardRecord, RewardStore};
pub use roles::{
    AccountStore, AuditStore, CredentialStore, HistoryStore, HubStore, IdentityStore, SessionStore, StatusListStore,
    Store,
};
pub use scylla::{Consistency, Credentials, ScyllaOptions, ScyllaStore, ScyllaTarget};
pub use sqlite::{SqliteOptions, SqliteStore};
