-- Sessions. Times are microseconds since 1970 UTC.
CREATE TABLE gatewire_sessions (
    id                TEXT    NOT NULL PRIMARY KEY,
    key               BLOB    NOT NULL UNIQUE, -- SHA-256 of what the client holds
    kind              TEXT    NOT NULL,
    rev               INTEGER NOT NULL,
    user_id           TEXT    NOT NULL,
    scopes            TEXT    NOT NULL,        -- JSON array
    roles             TEXT    NOT NULL,        -- JSON array
    auth_time         INTEGER NOT NULL,
    created           INTEGER NOT NULL,
    seen              INTEGER NOT NULL,
    idle_expires      INTEGER NOT NULL,
    expires           INTEGER NOT NULL,
    user_agent        TEXT    NOT NULL,
    ip                TEXT    NOT NULL,
    origin_issuer     TEXT    NOT NULL,
    origin_subject    TEXT    NOT NULL,
    origin_sid        TEXT    NOT NULL,
    refresh_secret    BLOB,                    -- SHA-256
    refresh_previous  BLOB,                    -- SHA-256
    refresh_rotated   INTEGER NOT NULL,
    refresh_successor BLOB,                    -- sealed
    data              BLOB,
    dies              INTEGER GENERATED ALWAYS AS (min(idle_expires, expires)) VIRTUAL
);
CREATE INDEX gatewire_sessions_user ON gatewire_sessions (user_id, created);
CREATE INDEX gatewire_sessions_dies ON gatewire_sessions (dies);

-- The log of ended sessions.
CREATE TABLE gatewire_session_ended (
    seq     INTEGER NOT NULL PRIMARY KEY,
    id      TEXT    NOT NULL,
    key     BLOB    NOT NULL,
    user_id TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    at      INTEGER NOT NULL
);
CREATE INDEX gatewire_session_ended_id ON gatewire_session_ended (id);
CREATE INDEX gatewire_session_ended_key ON gatewire_session_ended (key);

-- The head of the log, one row: a name that tells this log from another one,
-- the last number given out, and the last number forgotten. Whoever ends
-- sessions holds this row, so numbers are committed in their order.
CREATE TABLE gatewire_session_head (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    log    TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    pruned INTEGER NOT NULL
);
INSERT INTO gatewire_session_head (one, log, seq, pruned) VALUES (1, lower(hex(randomblob(8))), 0, 0);

-- A row for each user whose sessions were ended all at once; it stays. The
-- epoch is a number of the log, so no value is ever given out twice.
CREATE TABLE gatewire_session_epochs (
    user_id TEXT    NOT NULL PRIMARY KEY,
    epoch   INTEGER NOT NULL
);
