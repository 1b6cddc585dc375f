-- Version 4 of the data file: what acts are called, so that a late or repeated one does nothing new.

-- When the token expires, on the meter.
ALTER TABLE accounts ADD COLUMN token_expires_meter INTEGER;
-- The frame of the session's last renewal.
ALTER TABLE accounts ADD COLUMN renewed_clock INTEGER;
ALTER TABLE accounts ADD COLUMN renewed_seq INTEGER;
-- What the session's activation was called, and those before it: a byte of flags, then 16 bytes each.
ALTER TABLE accounts ADD COLUMN activations BLOB;
