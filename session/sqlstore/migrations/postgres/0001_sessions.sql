-- Sessions. Times are microseconds since 1970 UTC. Text that is searched for
-- is compared byte by byte: an index then survives a change of the system's
-- collations.
CREATE TABLE gatewire_sessions (
    id                TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    key               BYTEA   NOT NULL UNIQUE, -- SHA-256 of what the client holds
    kind              TEXT    NOT NULL,
    rev               BIGINT  NOT NULL,
    user_id           TEXT COLLATE "C" NOT NULL,
    scopes            TEXT    NOT NULL,        -- JSON array
    roles             TEXT    NOT NULL,        -- JSON array
    auth_time         BIGINT  NOT NULL,
    created           BIGINT  NOT NULL,
    seen              BIGINT  NOT NULL,
    idle_expires      BIGINT  NOT NULL,
    expires           BIGINT  NOT NULL,
    user_agent        TEXT    NOT NULL,
    ip                TEXT    NOT NULL,
    origin_issuer     TEXT    NOT NULL,
    origin_subject    TEXT    NOT NULL,
    origin_sid        TEXT    NOT NULL,
    refresh_secret    BYTEA,                   -- SHA-256
    refresh_previous  BYTEA,                   -- SHA-256
    refresh_rotated   BIGINT  NOT NULL,
    refresh_successor BYTEA,                   -- sealed
    data              BYTEA,
    dies              BIGINT GENERATED ALWAYS AS (LEAST(idle_expires, expires)) STORED
);
CREATE INDEX gatewire_sessions_user ON gatewire_sessions (user_id, created);
CREATE INDEX gatewire_sessions_dies ON gatewire_sessions (dies);

-- The log of ended sessions.
CREATE TABLE gatewire_session_ended (
    seq     BIGINT  NOT NULL PRIMARY KEY,
    id      TEXT COLLATE "C" NOT NULL,
    key     BYTEA   NOT NULL,
    user_id TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    at      BIGINT  NOT NULL
);
CREATE INDEX gatewire_session_ended_id ON gatewire_session_ended (id);
CREATE INDEX gatewire_session_ended_key ON gatewire_session_ended (key);

-- The head of the log, one row: a name that tells this log from another one,
-- the last number given out, and the last number forgotten. Whoever ends
-- sessions holds this row until it has committed, so numbers are committed in
-- their order; those of a sequence would not be.
CREATE TABLE gatewire_session_head (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    log    TEXT    NOT NULL,
    seq    BIGINT  NOT NULL,
    pruned BIGINT  NOT NULL
);
INSERT INTO gatewire_session_head (one, log, seq, pruned) VALUES (1, replace(gen_random_uuid()::text, '-', ''), 0, 0);

-- A row for each user whose sessions were ended all at once; it stays. The
-- epoch is a number of the log, so no value is ever given out twice.
CREATE TABLE gatewire_session_epochs (
    user_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    epoch   BIGINT NOT NULL
);
