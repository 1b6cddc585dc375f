-- Version 5 of the data file: time of a session that nobody is charged for.

-- From the ends of its tokens to the renewals that came after them, in milliseconds. Nothing there means none.
ALTER TABLE accounts ADD COLUMN uncharged INTEGER;

-- What a session was charged is its entry in the ledger; this says how long it was open.
DROP VIEW sessions_readable;
CREATE VIEW sessions_readable AS
SELECT lower(hex(s.id)) AS session, lower(hex(s.account)) AS account, s.started AS started_meter_ms,
       strftime('%Y-%m-%d %H:%M:%S', s.started_at / 1000, 'unixepoch') AS started_at,
       s.end_reason, s.end_at AS end_meter_ms, (s.end_at - s.started) / 1000.0 AS open_seconds,
       strftime('%Y-%m-%d %H:%M:%S', s.end_at_wall / 1000, 'unixepoch') AS ended_at
FROM sessions s;
