-- A provider ends sessions by where they came from: now that this is searched
-- for, it is compared byte by byte. The table is not written anew.
ALTER TABLE gatewire_sessions
    ALTER COLUMN origin_issuer TYPE TEXT COLLATE "C",
    ALTER COLUMN origin_subject TYPE TEXT COLLATE "C",
    ALTER COLUMN origin_sid TYPE TEXT COLLATE "C";
CREATE INDEX gatewire_sessions_sid ON gatewire_sessions (origin_issuer, origin_sid) WHERE origin_sid <> '';
CREATE INDEX gatewire_sessions_subject ON gatewire_sessions (origin_issuer, origin_subject) WHERE origin_subject <> '';
