-- Version 2 of the data file: what identity providers tell of people, and the audit log.

-- By the digest of the identity. Of a person who is gone, `gone_at` is all there is.
CREATE TABLE provider_facts (
    identity            BLOB    NOT NULL PRIMARY KEY CHECK (length(identity) = 32),
    revision            INTEGER NOT NULL CHECK (revision > 0),
    gone_at             INTEGER,
    password_changed_at INTEGER,
    -- JSON: {"name":{"active":true,"changed_at":ms,"first_active_at":ms}}
    capabilities        TEXT    NOT NULL,
    -- JSON, the latest events that have been dealt with, oldest first: [{"digest":"base64url","at":ms}]
    events              TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    at         INTEGER NOT NULL,
    id         BLOB    NOT NULL CHECK (length(id) = 8),
    act        TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    actor_name TEXT,
    surface    TEXT    NOT NULL,
    account    BLOB,
    target     TEXT,
    detail     TEXT,
    PRIMARY KEY (at, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_of_account ON audit (account, at, id) WHERE account IS NOT NULL;

CREATE VIEW audit_readable AS
SELECT strftime('%Y-%m-%d %H:%M:%f', at / 1000.0, 'unixepoch') AS at, act, actor, actor_name, surface,
       lower(hex(account)) AS account, target, detail
FROM audit;
