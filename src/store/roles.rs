//! What a store is for: one trait for each role. [`Store`] is their sum.
//!
//! Whoever uses a store as `dyn Store` needs to import none of them; whoever knows which store it is imports the roles that it uses.

use std::ops::Range;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::{
    engine::{AccountId, Act, Checkpoint, Entry, ListId, Source},
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};

use super::{
    AccountKey, Added, AuditDay, AuditKey, AuditRecord, Commit, Created, Edge, FoundHandle, FoundHubSession, Granted,
    HandleRecord, Heard, HeardKey, HeardRow, Held, HeldCredit, HubClient, HubSessionRecord, HubSighting, Identity,
    Leased, LogoutRecord, OpenAccount, Owned, Participant, Person, Profile, ProviderFacts, Redeemed, Removed, Replaced,
    Result, Retired, SealedKey, SecretDigest, SessionRecord, StatusLease,
};

pub use super::RewardStore;

/// Accounts, the acts on them, and their ledgers. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
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
}

/// Sessions, their checkpoints, and the meter. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// What is remembered of a session.
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>>;

    /// Raises the checkpoints of open sessions. All rows are of one bucket, and none is of a session that is yet to open.
    /// Write-behind: a crash of the process does not undo what was answered, a power cut may.
    async fn checkpoint(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()>;

    /// All accounts with an open session, each once, in [`RECOVERY_PARTS`](super::RECOVERY_PARTS) parts.
    fn recover(&self) -> BoxStream<'_, Result<Vec<OpenAccount>>>;

    /// The durable state of the meter clock, if it ever ran: no earlier than any act or checkpoint that is durable, but for
    /// checkpoints that no node of the latest era can have lived.
    async fn clock(&self) -> Result<Option<ClockFact>>;

    /// Keeps the state of the meter clock. An earlier `last_alive` than the one kept changes nothing. Write-behind.
    async fn keep_clock(&self, fact: ClockFact) -> Result<()>;
}

/// What callers prove themselves by: account keys, edges, and the keys that tokens are signed with. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait CredentialStore: Send + Sync + 'static {
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
}

/// Identities: what is held for people who have no account yet, and what their providers have told of them. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait IdentityStore: Send + Sync + 'static {
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
}

/// The audit log. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait AuditStore: Send + Sync + 'static {
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
}

/// The heartbeat history. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait HistoryStore: Send + Sync + 'static {
    /// Appends to the heartbeat history. Rows that are there stay as they are; rows of a deleted account do not come back by
    /// it. Write-behind.
    async fn append_history(&self, rows: &[HeardRow]) -> Result<()>;

    /// What was heard of a session from after `after` on and before `until`, oldest first.
    async fn history(&self, session: &SessionId, after: HeardKey, until: UnixMs, limit: usize) -> Result<Vec<Heard>>;

    /// Drops the history of days that were over at an instant, `most` rows at a time; answers how many. Fewer than `most`:
    /// there are no more. A store whose rows go by themselves has nothing to do. Write-behind.
    async fn prune_history(&self, before: UnixMs, most: usize) -> Result<usize>;
}

/// Leases of status lists. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait StatusListStore: Send + Sync + 'static {
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
}

/// The hub: people, and their hub sessions. Cheap calls; all of them may be repeated.
///
/// All of it goes when its account is deleted, and of a deleted account nothing is found, but for the outbox of logouts: its
/// participants are owed the same as when its epoch is raised.
#[async_trait]
pub trait HubStore: Send + Sync + 'static {
    /// What the hub keeps of an account's owner. `None` if there is no such account, or it has been deleted.
    async fn person(&self, account: &AccountId) -> Result<Option<Person>>;

    /// Replaces a person's profile, if it is still of version `version`. It is of the next one then. The epoch stays.
    async fn put_profile(&self, account: &AccountId, version: u64, profile: &Profile) -> Result<Replaced>;

    /// Raises a person's epoch, and answers it: sessions of an earlier one are over. `None` if there is no such account, or it
    /// has been deleted. Who takes part in them is owed a logout, and each client one for all of them.
    async fn raise_epoch(&self, account: &AccountId) -> Result<Option<u64>>;

    /// Adds a hub session. Adding the same one again changes nothing.
    async fn add_hub_session(&self, session: &HubSessionRecord) -> Result<Added>;

    /// The hub session with this digest, with the person it is of; also one that has expired or is of an earlier epoch, as
    /// long as it has not been removed.
    async fn hub_session(&self, digest: &SecretDigest) -> Result<Option<FoundHubSession>>;

    /// The hub sessions of an account, the oldest first.
    async fn hub_sessions(&self, account: &AccountId) -> Result<Vec<HubSessionRecord>>;

    /// The hub sessions that began from this session of an identity provider, in no particular order.
    async fn hub_sessions_of_provider(&self, issuer: &str, sid: &str) -> Result<Vec<HubSessionRecord>>;

    /// Records when hub sessions were last used; an earlier time than the one kept changes nothing, and neither does one of a
    /// session that has been removed. Write-behind.
    async fn see_hub_sessions(&self, sightings: &[HubSighting]) -> Result<()>;

    /// Removes a hub session. Who takes part in it is owed a logout.
    async fn remove_hub_session(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed>;

    /// Registers a client of the hub, or changes one.
    async fn put_hub_client(&self, client: &HubClient) -> Result<()>;

    /// All registered clients, in no particular order.
    async fn hub_clients(&self) -> Result<Vec<HubClient>>;

    /// Removes a client. It is owed nothing any more.
    async fn remove_hub_client(&self, client_id: &str) -> Result<Removed>;

    /// Redeems an authorization code, which has this digest, for a handle that is about to be made; once, whoever asks and at
    /// whichever node. It is remembered until `until` at least. Asked again for the same handle: [`Redeemed::Now`]. Other names that
    /// count once are kept among the codes.
    async fn redeem_code(
        &self,
        code: &SecretDigest,
        account: &AccountId,
        handle: &SecretDigest,
        now: UnixMs,
        until: UnixMs,
    ) -> Result<Redeemed>;

    /// Whether a code with this digest has been redeemed, as far as that is to be remembered. Asked after a
    /// [`Self::redeem_code`] that was answered, at whichever node, it is so.
    async fn is_redeemed(&self, code: &SecretDigest) -> Result<bool>;

    /// Adds a handle. Adding the same one again changes nothing.
    async fn add_handle(&self, handle: &HandleRecord) -> Result<Added>;

    /// The handle with this digest, with its session: `None` if either has been removed.
    async fn handle(&self, digest: &SecretDigest) -> Result<Option<FoundHandle>>;

    /// The handles of an account, the oldest first; also those of sessions that have been removed.
    async fn handles(&self, account: &AccountId) -> Result<Vec<HandleRecord>>;

    /// Removes a handle.
    async fn remove_handle(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed>;

    /// Records that a client takes part in a hub session. Recording it again changes nothing.
    async fn add_participant(&self, participant: &Participant, now: UnixMs) -> Result<Added>;

    /// What a client is to be told by `now`, what is due first at the front. Nothing to do with whether the account is there.
    async fn due_logouts(&self, client_id: &str, now: UnixMs, limit: usize) -> Result<Vec<LogoutRecord>>;

    /// Replaces an entry of the outbox by the same with another `due`, if it is still as in `from`: of many who try, one does.
    async fn postpone_logout(&self, from: &LogoutRecord, to: &LogoutRecord) -> Result<Replaced>;

    /// Removes an entry of the outbox, if it is still due then.
    async fn remove_logout(&self, logout: &LogoutRecord) -> Result<Removed>;

    /// Drops hub sessions, their participants and handles that ended, and redeemed codes that were to be remembered, until before an instant, `most`
    /// at a time; answers how many. Fewer than `most`: there are no
    /// more. A store whose rows go by themselves has nothing to do. Write-behind.
    async fn prune_hub_sessions(&self, before: UnixMs, most: usize) -> Result<usize>;
}

/// A durable store: all of its roles. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait Store:
    AccountStore
    + SessionStore
    + CredentialStore
    + IdentityStore
    + AuditStore
    + HistoryStore
    + StatusListStore
    + RewardStore
    + HubStore
{
    /// Clears away what acts left that were cut off in the middle, among it what is to be erased of deleted accounts: looks
    /// through some of [`LEFTOVER_PARTS`](super::LEFTOVER_PARTS). `now` is the meter's time. To be called again and again, by any number of nodes;
    /// what failed is tried again the next time. A store that does all of an act or nothing has nothing to do.
    async fn clear_leftovers(&self, _now: MeterTime, _parts: Range<u16>) -> Result<()> {
        Ok(())
    }

    /// Writes everything out and lets go. Further calls answer [`StoreError::Unavailable`](super::StoreError::Unavailable), but closing again is no error.
    async fn close(&self) -> Result<()>;
}
