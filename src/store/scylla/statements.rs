//! Every statement there is, prepared once.

use std::sync::Arc;

use scylla::{
    client::session::Session,
    policies::retry::FallthroughRetryPolicy,
    statement::{Statement, prepared::PreparedStatement},
};

use crate::store::Result;

use super::{ScyllaOptions, rows::account_columns};

/// What a statement may do, and so how it is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Reads what was decided and answered.
    Read,
    /// Reads, after decisions under way have been finished.
    SerialRead,
    /// Writes without conditions, and the same again if repeated.
    Write,
    /// Decides, or is part of a decision.
    Decide,
}

macro_rules! statements {
    ($(#[doc = $about:literal])+ $all:ident: $($name:ident: $kind:ident = $cql:expr;)+) => {
        $(#[doc = $about])+
        pub(super) struct $all {
            $(pub(super) $name: PreparedStatement,)+
        }

        impl $all {
            /// Prepares all of them.
            pub(super) async fn prepare(session: &Session, options: &ScyllaOptions) -> Result<Self> {
                Ok(Self { $($name: prepare(session, options, Kind::$kind, $cql).await?,)+ })
            }
        }
    };
}

statements! {
    /// The statements of the store.
    Statements:
    account: Read = concat!("SELECT DISTINCT id, ", account_columns!(), " FROM accounts WHERE id = ?");
    accounts_between: Read = concat!("SELECT DISTINCT id, ", account_columns!(), " FROM accounts \
        WHERE token(id) >= ? AND token(id) <= ?");
    account_serially: SerialRead = "SELECT DISTINCT id, version, act FROM accounts WHERE id = ?";
    make_account: Decide = "UPDATE accounts SET version = 0, act = :act, balance = 0, debt = 0, entry_count = 0, \
        deleted = false, created_at = :created_at, issuer = :issuer, subject = :subject WHERE id = :id \
        IF version = null";
    put_account: Decide = "UPDATE accounts SET version = :version, act = :act, balance = :balance, debt = :debt, \
        entry_count = :entry_count, deleted = :deleted, session = :session, started = :started, \
        started_at = :started_at, audience = :audience, token_now = :token_now, token_before = :token_before, \
        token_expires_at = :token_expires_at, status_list = :status_list, status_idx = :status_idx, \
        end_reason = :end_reason, end_at = :end_at, end_at_wall = :end_at_wall, end_last_seen = :end_last_seen, \
        token_expires_meter = :token_expires_meter, \
        renewed_clock = :renewed_clock, renewed_seq = :renewed_seq, activations = :activations, \
        uncharged = :uncharged, earnings = :earnings WHERE id = :id IF version = :expects AND deleted = false";
    forget_owner: Decide = "UPDATE accounts SET issuer = null, subject = null, hub_profile = null WHERE id = ?";
    fence: Decide = "UPDATE accounts SET version = :version, act = :act WHERE id = :id IF version = :expects";

    name_entry: Decide =
        "INSERT INTO accounts (id, kind, number, name, entry) VALUES (?, 2, 0, ?, ?) IF NOT EXISTS";
    add_entry: Decide = "INSERT INTO accounts (id, kind, number, name, entry_kind, amount, owed, source, external_id, \
        reason, at) VALUES (?, 1, ?, 0x, ?, ?, ?, ?, ?, ?, ?)";
    entry_named: Read =
        "SELECT deleted, entry FROM accounts WHERE id = ? AND kind = 2 AND number = 0 AND name = ?";
    entry: Read = "SELECT deleted, number, entry_kind, amount, owed, source, external_id, reason, at FROM accounts \
        WHERE id = ? AND kind = 1 AND number = ? AND name = 0x";
    entries: Read = "SELECT deleted, number, entry_kind, amount, owed, source, external_id, reason, at FROM accounts \
        WHERE id = ? AND kind = 1 AND number > ? AND number <= ?";

    open_session: Decide = "INSERT INTO accounts (id, kind, number, name, opened_at) VALUES (?, 3, ?, ?, ?)";
    close_session: Decide = "UPDATE accounts SET ended_reason = ?, ended_at = ?, ended_at_wall = ?, \
        ended_last_seen = ? WHERE id = ? AND kind = 3 AND number = ? AND name = ?";
    session: Read = "SELECT ended_reason, ended_at, ended_at_wall, ended_last_seen FROM accounts \
        WHERE id = ? AND kind = 3 AND number = ? AND name = ?";
    point_to_session: Write = "INSERT INTO sessions (id, account, started) VALUES (?, ?, ?)";
    unpoint_session: Write = "DELETE FROM sessions WHERE id = ?";
    session_pointer: Read = "SELECT account, started FROM sessions WHERE id = ?";

    identity: Read = "SELECT issuer, subject, account, created_at FROM identities WHERE name = ?";
    identity_serially: SerialRead = "SELECT issuer, subject, account, created_at FROM identities WHERE name = ?";
    take_identity: Decide = "INSERT INTO identities (name, issuer, subject, account, created_at) \
        VALUES (:name, :issuer, :subject, :account, :created_at) IF NOT EXISTS";
    retake_identity: Decide = "UPDATE identities SET account = :account, created_at = :created_at \
        WHERE name = :name IF account = :was";
    free_identity: Decide = "DELETE FROM identities WHERE name = ? IF account = ?";
    list_account: Write = "INSERT INTO directory (shard, id) VALUES (?, ?)";
    unlist_account: Write = "DELETE FROM directory WHERE shard = ? AND id = ?";
    identities_between: Read = "SELECT name, account FROM identities WHERE token(name) >= ? AND token(name) <= ?";
    directory: Read = "SELECT id FROM directory WHERE shard = ? AND id > ? LIMIT ?";

    facts: Read = "SELECT revision, gone_at, password_changed_at, capabilities, events FROM provider_facts \
        WHERE identity = ?";
    facts_serially: SerialRead = "SELECT revision, gone_at, password_changed_at, capabilities, events \
        FROM provider_facts WHERE identity = ?";
    add_facts: Decide = "INSERT INTO provider_facts (identity, revision, gone_at, password_changed_at, capabilities, \
        events) VALUES (:identity, :revision, :gone_at, :password_changed_at, :capabilities, :events) IF NOT EXISTS";
    change_facts: Decide = "UPDATE provider_facts SET revision = :revision, gone_at = :gone_at, \
        password_changed_at = :password_changed_at, capabilities = :capabilities, events = :events \
        WHERE identity = :identity IF revision = :was";
    forget_facts: Decide = "DELETE FROM provider_facts WHERE identity = ? IF gone_at = null";

    audit: Write = "INSERT INTO audit (hour, at, id, act, actor, actor_name, surface, account, target, detail) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?";
    audit_of_account: Write = "INSERT INTO audit_of_accounts (account, at, id, act, actor, actor_name, surface, \
        target, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?";
    audited: Read = "SELECT at, id, act, actor, actor_name, surface, account, target, detail FROM audit \
        WHERE hour = ? AND at = ? AND id = ?";
    audit_in_hour: Read = "SELECT at, id, act, actor, actor_name, surface, account, target, detail FROM audit \
        WHERE hour = ? AND (at, id) > (?, ?) LIMIT ?";
    audit_in_account: Read = "SELECT at, id, act, actor, actor_name, surface, account, target, detail \
        FROM audit_of_accounts WHERE account = ? AND (at, id) > (?, ?) LIMIT ?";

    heard_of: Write = "INSERT INTO history (part, day, session, at, last_seen, state) VALUES (?, ?, ?, ?, ?, ?) \
        USING TIMESTAMP ? AND TTL ?";
    history: Read = "SELECT at, last_seen, state FROM history WHERE part = ? AND day = ? AND session = ? \
        AND (at, last_seen) > (?, ?) AND (at, last_seen) < (?, ?) LIMIT ?";
    sessions_of: Read = "SELECT name, opened_at, ended_at_wall FROM accounts WHERE id = ? AND kind = 3";
    erase_history: Write = "DELETE FROM history WHERE part = ? AND day = ? AND session = ?";

    point_to_deletion: Write = "INSERT INTO deletions (shard, account, attempt, expects) VALUES (?, ?, ?, ?)";
    deletions: Read = "SELECT account, attempt, expects FROM deletions WHERE shard = ?";
    drop_attempt: Write = "DELETE FROM deletions WHERE shard = ? AND account = ? AND attempt = ?";
    drop_attempts: Write = "DELETE FROM deletions WHERE shard = ? AND account = ?";
    old_erasures: Read = "SELECT account, identity, held_until FROM erasures \
        WHERE one = 1 AND account >= ? AND account < ?";
    drop_old_erasure: Write = "DELETE FROM erasures WHERE one = 1 AND account = ?";
    begin_erasure: Decide = "INSERT INTO accounts (id, kind, number, name, hash, at) VALUES (?, 0, 0, 0x, ?, ?)";
    erasure: Read = "SELECT deleted, hash, at FROM accounts WHERE id = ? AND kind = 0 AND number = 0 AND name = 0x";
    end_erasure: Decide = "UPDATE accounts SET hash = null, at = null \
        WHERE id = ? AND kind = 0 AND number = 0 AND name = 0x";
    erasable_entries: Read = "SELECT number, source, external_id FROM accounts \
        WHERE id = ? AND kind = 1 AND number > ? AND number <= ?";
    erasable_names: Read = "SELECT name, hash FROM accounts \
        WHERE id = ? AND kind = ? AND number = 0 AND name >= ? AND name < ?";
    is_deleted: Decide = "UPDATE accounts SET deleted = true WHERE id = ? IF deleted = true";
    erase_row: Decide = "DELETE FROM accounts WHERE id = ? AND kind = ? AND number = ? AND name = ?";

    is_alive: Decide = "UPDATE accounts SET deleted = false WHERE id = ? IF deleted = false";
    put_key: Decide = "INSERT INTO accounts (id, kind, number, name, key_id, hash, key_created_at, key_scope) \
        VALUES (?, 4, 0, ?, ?, ?, ?, ?)";
    drop_key: Decide = "DELETE FROM accounts WHERE id = ? AND kind = 4 AND number = 0 AND name = ? IF EXISTS";
    key: Read = "SELECT deleted, key_id, hash, key_created_at, key_scope FROM accounts \
        WHERE id = ? AND kind = 4 AND number = 0 AND name = ?";
    keys: Read = "SELECT deleted, key_id, hash, key_created_at, key_scope FROM accounts WHERE id = ? AND kind = 4";
    point_to_key: Write = "INSERT INTO account_keys (hash, account, name) VALUES (?, ?, ?)";
    unpoint_key: Write = "DELETE FROM account_keys WHERE hash = ?";
    key_pointer: Read = "SELECT account, name FROM account_keys WHERE hash = ?";

    point_to_checkpoint: Write = "INSERT INTO checkpoints (shard, bucket, session, account, last_seen) \
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    checkpoint: Write = "UPDATE checkpoints USING TIMESTAMP ? SET last_seen = ? \
        WHERE shard = ? AND bucket = ? AND session = ?";
    drop_checkpoint: Write = "DELETE FROM checkpoints USING TIMESTAMP ? \
        WHERE shard = ? AND bucket = ? AND session = ?";
    latest_checkpoint: Read = "SELECT max(last_seen) FROM checkpoints \
        WHERE shard = ? AND bucket = ? AND session >= ? AND session < ?";
    checkpoints: Read = "SELECT session, account, last_seen, WRITETIME(last_seen) AS written FROM checkpoints \
        WHERE shard = ? AND bucket = ? AND session >= ? AND session < ?";
    keep_clock: Write = "INSERT INTO clock (one, last_alive, wall) VALUES (1, ?, ?) USING TIMESTAMP ?";
    clock: Read = "SELECT last_alive, wall FROM clock WHERE one = 1";

    add_edge: Decide = "INSERT INTO edges (one, name_hash, client_id, name, audience, secret_hashes, created_at) \
        VALUES (1, :name_hash, :client_id, :name, :audience, :secret_hashes, :created_at) IF NOT EXISTS";
    change_edge: Decide = "UPDATE edges SET client_id = :client_id, name = :name, audience = :audience, \
        secret_hashes = :secret_hashes, created_at = :created_at WHERE one = 1 AND name_hash = :name_hash IF EXISTS";
    edges: Read = "SELECT client_id, name, audience, secret_hashes, created_at FROM edges WHERE one = 1";
    drop_edge: Decide = "DELETE FROM edges WHERE one = 1 AND name_hash = ? IF EXISTS";

    add_signing_key: Decide = "INSERT INTO signing_keys (one, kid, algorithm, sealed, created_at, signs_from, \
        retires_at) VALUES (1, :kid, :algorithm, :sealed, :created_at, :signs_from, :retires_at) IF NOT EXISTS";
    change_signing_key: Decide = "UPDATE signing_keys SET sealed = :sealed, signs_from = :signs_from, \
        retires_at = :retires_at WHERE one = 1 AND kid = :kid IF EXISTS";
    signing_keys: Read =
        "SELECT kid, algorithm, sealed, created_at, signs_from, retires_at FROM signing_keys WHERE one = 1";
    drop_signing_key: Decide = "DELETE FROM signing_keys WHERE one = 1 AND kid = ? IF EXISTS";

    lease_list: Decide = "INSERT INTO status_lists (one, id, size, seed, granted, leased_at, retires_at) \
        VALUES (1, ?, ?, ?, ?, ?, ?) IF NOT EXISTS";
    list_serially: SerialRead = "SELECT seed FROM status_lists WHERE one = 1 AND id = ?";
    grant_status: Decide = "UPDATE status_lists SET granted = :to_ WHERE one = 1 AND id = :id \
        IF granted = :from_ AND retires_at = null";
    retire_list: Decide = "UPDATE status_lists SET retires_at = ? WHERE one = 1 AND id = ? IF EXISTS";
    lists: Read = "SELECT id, size, seed, granted, leased_at, retires_at FROM status_lists WHERE one = 1";
    drop_list: Decide = "DELETE FROM status_lists WHERE one = 1 AND id = ? IF EXISTS";

    first_owner: Decide = "INSERT INTO list_owners (one, list, term, node) VALUES (1, ?, ?, ?) IF NOT EXISTS";
    next_owner: Decide = "UPDATE list_owners SET term = ?, node = ? WHERE one = 1 AND list = ? IF term = ?";
    drop_owner: Decide = "DELETE FROM list_owners WHERE one = 1 AND list = ? IF EXISTS";
    list_owners: Read = "SELECT list, term, node FROM list_owners WHERE one = 1";
    list_owner: SerialRead = "SELECT list, term, node FROM list_owners WHERE one = 1 AND list = ?";
    put_list_copy: Write = "INSERT INTO list_copies (list, term, as_of, bits) VALUES (?, ?, ?, ?) \
        USING TIMESTAMP ? AND TTL ?";
    list_copy: Read = "SELECT term, as_of, bits FROM list_copies WHERE list = ? LIMIT 1";

    held_count: Read = "SELECT DISTINCT identity, held FROM held_credit WHERE identity = ?";
    count_held: Decide = "UPDATE held_credit SET held = :held WHERE identity = :identity IF held = :was";
    hold: Decide = "INSERT INTO held_credit (identity, name, kind, amount, source, external_id, reason, at) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS";
    held: Read = "SELECT kind, amount, source, external_id, reason, at FROM held_credit WHERE identity = ?";
    held_named: Read = "SELECT kind, amount, source, external_id, reason, at FROM held_credit \
        WHERE identity = ? AND name = ?";
    held_serially: SerialRead = "SELECT kind, amount, source, external_id, reason, at FROM held_credit \
        WHERE identity = ? AND name = ?";
    release: Decide = "DELETE FROM held_credit WHERE identity = ? AND name = ? IF EXISTS";

    person: Read = "SELECT DISTINCT id, deleted, hub_epoch, hub_version, hub_profile FROM accounts WHERE id = ?";
    put_profile: Decide = "UPDATE accounts SET hub_version = :version, hub_profile = :profile WHERE id = :id \
        IF hub_version = :was AND deleted = false";
    raise_epoch: Decide = "UPDATE accounts SET hub_epoch = :epoch WHERE id = :id IF hub_epoch = :was AND deleted = false";
    put_hub_session: Decide = "INSERT INTO accounts (id, kind, number, name, hub_record) VALUES (?, 5, 0, ?, ?) \
        USING TTL ?";
    drop_hub_session: Decide = "DELETE FROM accounts WHERE id = ? AND kind = 5 AND number = 0 AND name = ? IF EXISTS";
    hub_session: Read = "SELECT name, deleted, issuer, subject, hub_epoch, hub_version, hub_profile, hub_record, hub_seen \
        FROM accounts WHERE id = ? AND kind = 5 AND number = 0 AND name = ?";
    hub_sessions: Read = "SELECT name, deleted, issuer, subject, hub_epoch, hub_version, hub_profile, hub_record, hub_seen \
        FROM accounts WHERE id = ? AND kind = 5";
    erasable_hub_rows: Read = "SELECT name, hub_record FROM accounts WHERE id = ? AND kind = ?";
    put_handle: Decide = "INSERT INTO accounts (id, kind, number, name, hub_record) VALUES (?, 6, 0, ?, ?) USING TTL ?";
    drop_handle: Decide = "DELETE FROM accounts WHERE id = ? AND kind = 6 AND number = 0 AND name = ? IF EXISTS";
    handle: Read = "SELECT name, deleted, hub_record FROM accounts WHERE id = ? AND kind = 6 AND number = 0 AND name = ?";
    handles: Read = "SELECT name, deleted, hub_record FROM accounts WHERE id = ? AND kind = 6";
    put_participant: Decide = "INSERT INTO accounts (id, kind, number, name, hub_record) VALUES (?, 7, 0, ?, ?) USING TTL ?";
    drop_participant: Decide = "DELETE FROM accounts WHERE id = ? AND kind = 7 AND number = 0 AND name = ? IF EXISTS";
    owe_logout: Decide = "INSERT INTO hub_logouts (client_id, due, account, sid, since, tries) VALUES (?, ?, ?, ?, ?, ?) \
        IF NOT EXISTS USING TTL ?";
    put_logout: Decide = "INSERT INTO hub_logouts (client_id, due, account, sid, since, tries) VALUES (?, ?, ?, ?, ?, ?) \
        USING TTL ?";
    drop_logout: Decide = "DELETE FROM hub_logouts WHERE client_id = ? AND due = ? AND account = ? AND sid = ? IF EXISTS";
    due_logouts: Read = "SELECT client_id, due, account, sid, since, tries FROM hub_logouts \
        WHERE client_id = ? AND due <= ? LIMIT ?";
    drop_logouts_of_client: Write = "DELETE FROM hub_logouts WHERE client_id = ?";
    redeem_code: Decide = "INSERT INTO hub_codes (code, account, handle) VALUES (?, ?, ?) IF NOT EXISTS USING TTL ?";
    redeemed: SerialRead = "SELECT account, handle FROM hub_codes WHERE code = ?";
    add_hub_client: Decide = "INSERT INTO hub_clients (one, client_id, record) VALUES (1, :client_id, :record) IF NOT EXISTS";
    change_hub_client: Decide = "UPDATE hub_clients SET record = :record WHERE one = 1 AND client_id = :client_id IF EXISTS";
    hub_clients: Read = "SELECT client_id, record FROM hub_clients WHERE one = 1";
    drop_hub_client: Decide = "DELETE FROM hub_clients WHERE one = 1 AND client_id = ? IF EXISTS";
    see_hub_session: Write = "UPDATE accounts USING TTL ? AND TIMESTAMP ? SET hub_seen = ? \
        WHERE id = ? AND kind = 5 AND number = 0 AND name = ?";
    point_to_hub_session: Write = "INSERT INTO hub_pointers (digest, account) VALUES (?, ?) USING TTL ?";
    unpoint_hub_session: Write = "DELETE FROM hub_pointers WHERE digest = ?";
    hub_pointer: Read = "SELECT account FROM hub_pointers WHERE digest = ?";
    point_from_provider: Write = "INSERT INTO hub_provider_sessions (name, digest, account) VALUES (?, ?, ?) USING TTL ?";
    unpoint_from_provider: Write = "DELETE FROM hub_provider_sessions WHERE name = ? AND digest = ?";
    provider_pointers: Read = "SELECT digest, account FROM hub_provider_sessions WHERE name = ?";
    reward_record: Read = "SELECT name, revision, content FROM reward_records WHERE part = ? AND name = ?";
    reward_record_serially: SerialRead =
        "SELECT name, revision, content FROM reward_records WHERE part = ? AND name = ?";
    reward_records: Read = "SELECT name, revision, content FROM reward_records WHERE part = ? AND name > ? LIMIT ?";
    first_reward_records: Read = "SELECT name, revision, content FROM reward_records WHERE part = ? LIMIT ?";
    add_reward_record: Decide = "INSERT INTO reward_records (part, name, revision, content) \
        VALUES (:part, :name, :revision, :content) IF NOT EXISTS";
    change_reward_record: Decide = "UPDATE reward_records SET revision = :revision, content = :content \
        WHERE part = :part AND name = :name IF revision = :was";
    drop_reward_record: Decide = "DELETE FROM reward_records WHERE part = ? AND name = ? IF EXISTS";

    scope: Read = "SELECT scope FROM deciding WHERE one = 1";
    keep_scope: Write = "INSERT INTO deciding (one, scope) VALUES (1, ?)";
    put_node: Write = "INSERT INTO nodes (one, node, name, era, renewals, meter, told_until, behind, wall) \
        VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL 3600";
    node: Read = "SELECT node FROM nodes WHERE one = 1 AND node = ?";
    nodes: Read = "SELECT node, name, era, renewals, meter, told_until, behind, wall FROM nodes WHERE one = 1";
    drop_node: Write = "DELETE FROM nodes WHERE one = 1 AND node = ?";
    era: SerialRead = "SELECT number, began, node FROM eras WHERE one = 1";
    first_era: Decide = "INSERT INTO eras (one, number, began, node) VALUES (1, ?, ?, ?) IF NOT EXISTS";
    next_era: Decide = "UPDATE eras SET number = ?, began = ?, node = ? WHERE one = 1 IF number = ?";
    moving: SerialRead = "SELECT source, name, reached, ended FROM moving WHERE one = 1";
    announce: Write = "INSERT INTO changes (slot, at, account, version, node, open) VALUES (?, ?, ?, ?, ?, ?) \
        USING TTL 7200";
    changes: Read = "SELECT at, account, version, node, open FROM changes WHERE slot = ? AND at >= ?";
    heard: Read = "SELECT session, account, last_seen, WRITETIME(last_seen) AS written FROM checkpoints \
        WHERE shard = ? AND bucket = ? AND session IN ?";
}

statements! {
    /// The statements of who moves in. What decisions are made on later is written as of long before any of them.
    MovingStatements:
    account: Write = "UPDATE accounts USING TIMESTAMP 1 SET version = :version, balance = :balance, debt = :debt, \
        entry_count = :entry_count, created_at = :created_at, deleted = :deleted, issuer = :issuer, subject = :subject, \
        session = :session, started = :started, started_at = :started_at, audience = :audience, \
        token_now = :token_now, token_before = :token_before, token_expires_at = :token_expires_at, \
        status_list = :status_list, status_idx = :status_idx, end_reason = :end_reason, end_at = :end_at, \
        end_at_wall = :end_at_wall, end_last_seen = :end_last_seen, token_expires_meter = :token_expires_meter, \
        renewed_clock = :renewed_clock, renewed_seq = :renewed_seq, activations = :activations, \
        uncharged = :uncharged, earnings = :earnings WHERE id = :id";
    identity: Write = "INSERT INTO identities (name, issuer, subject, account, created_at) VALUES (?, ?, ?, ?, ?) \
        USING TIMESTAMP 1";
    entry: Write = "INSERT INTO accounts (id, kind, number, name, entry_kind, amount, owed, source, external_id, \
        reason, at) VALUES (?, 1, ?, 0x, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP 1";
    entry_name: Write = "INSERT INTO accounts (id, kind, number, name, entry) VALUES (?, 2, 0, ?, ?) \
        USING TIMESTAMP 1";
    session: Write = "INSERT INTO accounts (id, kind, number, name, opened_at, ended_reason, ended_at, ended_at_wall, \
        ended_last_seen) VALUES (?, 3, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP 1";
    key: Write = "INSERT INTO accounts (id, kind, number, name, key_id, hash, key_created_at, key_scope) \
        VALUES (?, 4, 0, ?, ?, ?, ?, ?) USING TIMESTAMP 1";
    edge: Write = "INSERT INTO edges (one, name_hash, client_id, name, audience, secret_hashes, created_at) \
        VALUES (1, :name_hash, :client_id, :name, :audience, :secret_hashes, :created_at) USING TIMESTAMP 1";
    signing_key: Write = "INSERT INTO signing_keys (one, kid, algorithm, sealed, created_at, signs_from, retires_at) \
        VALUES (1, ?, ?, ?, ?, ?, ?) USING TIMESTAMP 1";
    list: Write = "INSERT INTO status_lists (one, id, size, seed, granted, leased_at, retires_at) \
        VALUES (1, ?, ?, ?, ?, ?, ?) USING TIMESTAMP 1";
    held: Write = "INSERT INTO held_credit (identity, name, held, kind, amount, source, external_id, reason, at) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP 1";
    facts: Write = "INSERT INTO provider_facts (identity, revision, gone_at, password_changed_at, capabilities, events) \
        VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP 1";
    person: Write = "UPDATE accounts USING TIMESTAMP 1 SET hub_epoch = ?, hub_version = ?, hub_profile = ? WHERE id = ?";
    hub_session: Write = "INSERT INTO accounts (id, kind, number, name, hub_record) VALUES (?, 5, 0, ?, ?) \
        USING TIMESTAMP 1 AND TTL ?";
    handle: Write = "INSERT INTO accounts (id, kind, number, name, hub_record) VALUES (?, 6, 0, ?, ?) \
        USING TIMESTAMP 1 AND TTL ?";
    participant: Write = "INSERT INTO accounts (id, kind, number, name, hub_record) VALUES (?, 7, 0, ?, ?) \
        USING TIMESTAMP 1 AND TTL ?";
    logout: Write = "INSERT INTO hub_logouts (client_id, due, account, sid, since, tries) VALUES (?, ?, ?, ?, ?, ?) \
        USING TIMESTAMP 1 AND TTL ?";
    hub_client: Write = "INSERT INTO hub_clients (one, client_id, record) VALUES (1, ?, ?) USING TIMESTAMP 1";

    reward_record: Write = "INSERT INTO reward_records (part, name, revision, content) VALUES (?, ?, ?, ?) \
        USING TIMESTAMP 1";

    begin: Decide = "INSERT INTO moving (one, source, name, reached) VALUES (1, ?, ?, ?) IF NOT EXISTS";
    reach: Decide = "UPDATE moving SET reached = ? WHERE one = 1 IF source = ?";
    end: Decide = "UPDATE moving SET ended = ? WHERE one = 1 IF source = ?";
    give_up: Decide = "DELETE FROM moving WHERE one = 1 IF source = ?";

    accounts: Read = concat!("SELECT DISTINCT id, ", account_columns!(), " FROM accounts");
    parts: Read = "SELECT id, kind, number, name, entry_kind, amount, owed, source, external_id, reason, at, entry, \
        opened_at, ended_reason, ended_at, ended_at_wall, ended_last_seen, key_id, hash, key_created_at, hub_record, \
        hub_seen, key_scope FROM accounts";
    people: Read = "SELECT DISTINCT id, deleted, hub_epoch, hub_version, hub_profile FROM accounts";
    logouts: Read = "SELECT client_id, due, account, sid, since, tries FROM hub_logouts";
    hub_pointers: Read = "SELECT digest, account FROM hub_pointers";
    provider_pointers: Read = "SELECT name, digest, account FROM hub_provider_sessions";
    identities: Read = "SELECT name, issuer, subject, account, created_at FROM identities";
    directory: Read = "SELECT shard, id FROM directory";
    sessions: Read = "SELECT id, account, started FROM sessions";
    account_keys: Read = "SELECT hash, account, name FROM account_keys";
    checkpoints: Read = "SELECT shard, bucket, session, account, last_seen FROM checkpoints";
    all_held: Read = "SELECT identity, name, held, kind, amount, source, external_id, reason, at FROM held_credit";
    all_facts: Read = "SELECT identity, revision, gone_at, password_changed_at, capabilities, events FROM provider_facts";
    all_reward_records: Read = "SELECT part, name, revision, content FROM reward_records";
    audit: Read = "SELECT at, id, act, actor, actor_name, surface, account, target, detail FROM audit";
    audit_of_accounts: Read = "SELECT at, id, act, actor, actor_name, surface, account, target, detail \
        FROM audit_of_accounts";
}

async fn prepare(session: &Session, options: &ScyllaOptions, kind: Kind, cql: &str) -> Result<PreparedStatement> {
    let mut prepared = session.prepare(Statement::new(cql)).await?;
    prepared.set_is_idempotent(kind != Kind::Decide);
    match kind {
        Kind::Read | Kind::Write => {}
        Kind::SerialRead => prepared.set_consistency(options.consistency.serial_read()),
        Kind::Decide => {
            prepared.set_serial_consistency(Some(options.consistency.serial()));
            prepared.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy)));
        }
    }
    Ok(prepared)
}
