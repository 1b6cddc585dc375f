-- Version 1 of the data file. Ids are 16 bytes, times are milliseconds (meter time since the meter first ran, wall time
-- since 1970), credit is milliseconds. The views at the end are for people.

CREATE TABLE accounts (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    version          INTEGER NOT NULL CHECK (version >= 0),
    balance          INTEGER NOT NULL,
    entries          INTEGER NOT NULL CHECK (entries >= 0),
    created_at       INTEGER NOT NULL,
    deleted          INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    -- The latest session, open while `end_reason` is null.
    session          BLOB CHECK (length(session) = 16),
    started          INTEGER,
    started_at       INTEGER,
    audience         TEXT,
    token            BLOB,
    token_before     BLOB,
    token_expires_at INTEGER,
    -- Where the token's bit is.
    status_list      BLOB CHECK (length(status_list) = 8),
    status_idx       INTEGER,
    end_reason       TEXT,
    end_at           INTEGER,
    end_at_wall      INTEGER,
    end_last_seen    INTEGER,
    -- What refunds asked for and the tank did not have: the sum of `entries.owed`.
    debt             INTEGER NOT NULL DEFAULT 0 CHECK (debt >= 0)
) STRICT, WITHOUT ROWID;

-- Whose account: apart from `accounts`, so that deleting a person is deleting a row.
CREATE TABLE identities (
    issuer  TEXT NOT NULL,
    subject TEXT NOT NULL,
    account BLOB NOT NULL UNIQUE,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
    account     BLOB    NOT NULL,
    number      INTEGER NOT NULL CHECK (number > 0),
    kind        TEXT    NOT NULL,
    amount      INTEGER NOT NULL,
    source      TEXT    NOT NULL,
    external_id TEXT    NOT NULL,
    reason      TEXT,
    at          INTEGER NOT NULL,
    -- What it adds to the account's debt, or pays of it.
    owed        INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (account, number),
    UNIQUE (account, source, external_id)
) STRICT, WITHOUT ROWID;

-- Every session there was. What is needed of the open one is in `accounts`.
CREATE TABLE sessions (
    id            BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    account       BLOB    NOT NULL,
    started       INTEGER NOT NULL,
    started_at    INTEGER NOT NULL,
    end_reason    TEXT,
    end_at        INTEGER,
    end_at_wall   INTEGER,
    end_last_seen INTEGER
) STRICT, WITHOUT ROWID;

-- One row per open session: made when it opens, deleted when it closes. Clustered by bucket, so that a batch of
-- checkpoints and the recovery of a bucket each touch one run of pages.
CREATE TABLE checkpoints (
    bucket    INTEGER NOT NULL,
    session   BLOB    NOT NULL,
    account   BLOB    NOT NULL,
    last_seen INTEGER NOT NULL,
    PRIMARY KEY (bucket, session)
) STRICT, WITHOUT ROWID;

CREATE TABLE clock (
    one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    last_alive INTEGER NOT NULL,
    wall       INTEGER NOT NULL
) STRICT;

CREATE TABLE account_keys (
    account    BLOB    NOT NULL,
    key_id     TEXT    NOT NULL,
    hash       BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account, key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE edges (
    client_id     TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    audience      TEXT    NOT NULL,
    -- The hashes, 32 bytes each, one after the other.
    secret_hashes BLOB    NOT NULL CHECK (length(secret_hashes) % 32 = 0),
    created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
    kid        TEXT    NOT NULL PRIMARY KEY,
    algorithm  TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    signs_from INTEGER NOT NULL,
    retires_at INTEGER
) STRICT, WITHOUT ROWID;

-- Credit for people who have no account yet: entered when they get one.
CREATE TABLE held_credit (
    issuer      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    external_id TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    amount      INTEGER NOT NULL,
    reason      TEXT,
    at          INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject, source, external_id)
) STRICT, WITHOUT ROWID;

-- Token status lists. The numbers below `granted` may have been handed out; what order their indices are in follows
-- from the seed.
CREATE TABLE status_lists (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 8),
    entries    INTEGER NOT NULL,
    seed       BLOB    NOT NULL CHECK (length(seed) = 32),
    granted    INTEGER NOT NULL CHECK (granted BETWEEN 0 AND entries),
    leased_at  INTEGER NOT NULL,
    -- When all its tokens have expired; null while it takes more.
    retires_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE VIEW ledger AS
SELECT lower(hex(account)) AS account, number, kind, amount / 1000.0 AS seconds, source, external_id, reason,
       strftime('%Y-%m-%d %H:%M:%S', at / 1000, 'unixepoch') AS at, owed / 1000.0 AS owed_seconds
FROM entries;

CREATE VIEW accounts_readable AS
SELECT lower(hex(a.id)) AS account, i.issuer, i.subject, a.version, a.balance / 1000.0 AS seconds, a.entries,
       CASE WHEN a.deleted THEN 'deleted' WHEN a.session IS NOT NULL AND a.end_reason IS NULL THEN 'running'
            ELSE 'idle' END AS state,
       lower(hex(a.session)) AS session, a.audience, a.end_reason,
       strftime('%Y-%m-%d %H:%M:%S', a.created_at / 1000, 'unixepoch') AS created_at, a.debt / 1000.0 AS debt_seconds
FROM accounts a LEFT JOIN identities i ON i.account = a.id;

CREATE VIEW sessions_readable AS
SELECT lower(hex(s.id)) AS session, lower(hex(s.account)) AS account, s.started AS started_meter_ms,
       strftime('%Y-%m-%d %H:%M:%S', s.started_at / 1000, 'unixepoch') AS started_at,
       s.end_reason, s.end_at AS end_meter_ms, (s.end_at - s.started) / 1000.0 AS charged_seconds,
       strftime('%Y-%m-%d %H:%M:%S', s.end_at_wall / 1000, 'unixepoch') AS ended_at
FROM sessions s;

CREATE VIEW open_sessions AS
SELECT lower(hex(c.session)) AS session, lower(hex(c.account)) AS account, a.audience, a.started AS started_meter_ms,
       c.last_seen AS last_seen_meter_ms, (c.last_seen - a.started) / 1000.0 AS seconds_heard, a.balance / 1000.0 AS fuel_seconds
FROM checkpoints c JOIN accounts a ON a.id = c.account;

CREATE VIEW clock_readable AS
SELECT last_alive AS meter_ms, strftime('%Y-%m-%d %H:%M:%S', wall / 1000, 'unixepoch') AS wall FROM clock;
