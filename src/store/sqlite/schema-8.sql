-- Version 8 of the data file: the hub's clients, and what they have for people's hub sessions.

CREATE TABLE hub_clients (
    client_id TEXT NOT NULL PRIMARY KEY,
    -- JSON: {"name":"…","kind":"confidential","secret_hashes":["base64url"],"redirect_uris":["…"],"tank":false,"created_at":ms}
    record    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Handles, by their SHA-256. One is good while its hub session is there and not over.
CREATE TABLE hub_handles (
    digest  BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    account BLOB    NOT NULL CHECK (length(account) = 16),
    session BLOB    NOT NULL CHECK (length(session) = 32),
    ends_at INTEGER NOT NULL,
    -- JSON: {"session":"base64url","client_id":"…","scope":"…","created_at":ms,"ends_at":ms}
    record  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX hub_handles_of_account ON hub_handles (account);
CREATE INDEX hub_handles_of_session ON hub_handles (session);
CREATE INDEX hub_handles_by_end ON hub_handles (ends_at);

-- Authorization codes that have been redeemed, by their SHA-256, with the handle that each was redeemed for.
CREATE TABLE hub_codes (
    code    BLOB    NOT NULL PRIMARY KEY CHECK (length(code) = 32),
    account BLOB    NOT NULL,
    handle  BLOB    NOT NULL,
    until   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX hub_codes_by_end ON hub_codes (until);
