-- Version 9 of the data file: which clients take part in hub sessions, and what they are yet to be told of sessions that ended.

CREATE TABLE hub_participants (
    session   BLOB    NOT NULL CHECK (length(session) = 32),
    client_id TEXT    NOT NULL,
    account   BLOB    NOT NULL CHECK (length(account) = 16),
    ends_at   INTEGER NOT NULL,
    PRIMARY KEY (session, client_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX hub_participants_of_account ON hub_participants (account);
CREATE INDEX hub_participants_by_end ON hub_participants (ends_at);

-- The outbox of back-channel logouts. A row goes when it has been delivered or given up, whatever becomes of the account.
CREATE TABLE hub_logouts (
    client_id TEXT    NOT NULL,
    account   BLOB    NOT NULL CHECK (length(account) = 16),
    -- The id of the hub session (16 bytes); empty: all of the account's.
    sid       BLOB    NOT NULL,
    -- Not to be tried before. Whoever tries moves it on first.
    due       INTEGER NOT NULL,
    -- When it was first tried.
    since     INTEGER,
    tries     INTEGER NOT NULL,
    PRIMARY KEY (client_id, account, sid)
) STRICT, WITHOUT ROWID;

CREATE INDEX hub_logouts_by_due ON hub_logouts (client_id, due);
