-- Version 3 of the data file: the heartbeat history, if it is kept.

-- By the day in UTC, counted from 1970: what is old goes from one end of the table, and what is new comes to the other.
CREATE TABLE history (
    day       INTEGER NOT NULL,
    account   BLOB    NOT NULL,
    session   BLOB    NOT NULL,
    at        INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    -- The state bits of the heartbeat.
    state     INTEGER NOT NULL,
    PRIMARY KEY (day, account, session, at, last_seen)
) STRICT, WITHOUT ROWID;

CREATE VIEW history_readable AS
SELECT lower(hex(session)) AS session, lower(hex(account)) AS account,
       strftime('%Y-%m-%d %H:%M:%f', at / 1000.0, 'unixepoch') AS heard_at, last_seen AS last_seen_meter_ms, state
FROM history;
