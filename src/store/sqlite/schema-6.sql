-- Version 6 of the data file: the hub's people and their sessions.

-- People who have signed in at the hub, as its clients see them.
CREATE TABLE hub_people (
    account BLOB    NOT NULL PRIMARY KEY CHECK (length(account) = 16),
    -- Hub sessions of an earlier epoch are over.
    epoch   INTEGER NOT NULL,
    -- How often the profile has changed.
    version INTEGER NOT NULL,
    -- JSON: {"name":"…","email":"…","email_verified":true,…}
    profile TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Sign-ins of browsers, by the SHA-256 of the secret in their cookie.
CREATE TABLE hub_sessions (
    digest    BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    account   BLOB    NOT NULL CHECK (length(account) = 16),
    ends_at   INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    -- The SHA-256 of the identity provider and what it calls its own session.
    provider  BLOB,
    -- JSON: {"created_at":ms,"ends_at":ms,"auth_time":ms,"acr":"…","amr":["…"],"issuer":"…","provider_sid":"…","device":"…","epoch":n}
    record    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX hub_sessions_of_account ON hub_sessions (account);
CREATE INDEX hub_sessions_of_provider ON hub_sessions (provider) WHERE provider IS NOT NULL;
CREATE INDEX hub_sessions_by_end ON hub_sessions (ends_at);

CREATE VIEW hub_sessions_readable AS
SELECT lower(hex(account)) AS account,
       strftime('%Y-%m-%d %H:%M:%f', json_extract(record, '$.created_at') / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%d %H:%M:%f', last_seen / 1000.0, 'unixepoch') AS last_seen,
       strftime('%Y-%m-%d %H:%M:%f', ends_at / 1000.0, 'unixepoch') AS ends_at,
       json_extract(record, '$.device') AS device,
       json_extract(record, '$.epoch') AS epoch
FROM hub_sessions;
