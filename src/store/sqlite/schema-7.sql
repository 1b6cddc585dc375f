-- Version 7 of the data file: rewards.

-- What the account has earned lately: the day of the latest reward (days since 1970) in 4 bytes and what was paid on that day in
-- 8, big-endian; then 16 bytes for each cooldown, the digest of what was paid for and the millisecond when it ends.
ALTER TABLE accounts ADD COLUMN earnings BLOB;
-- `account` for account keys, `earning` for earner tokens.
ALTER TABLE account_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'account';

-- What has been given out of budgets, and what became of lines of orders. JSON.
CREATE TABLE reward_records (
    part     TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    content  TEXT    NOT NULL,
    PRIMARY KEY (part, name)
) STRICT, WITHOUT ROWID;
