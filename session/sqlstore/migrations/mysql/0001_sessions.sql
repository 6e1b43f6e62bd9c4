-- Sessions. Times are microseconds since 1970 UTC. Text is kept as bytes: it is
-- compared byte by byte, trailing spaces count, and no character set can refuse
-- or change it. MySQL commits each of these statements by itself, so each may
-- run again.
CREATE TABLE IF NOT EXISTS gatewire_sessions (
    id                VARBINARY(255)  NOT NULL PRIMARY KEY,
    `key`             VARBINARY(32)   NOT NULL, -- SHA-256 of what the client holds
    kind              VARBINARY(255)  NOT NULL,
    rev               BIGINT          NOT NULL,
    user_id           VARBINARY(1020) NOT NULL,
    scopes            LONGBLOB        NOT NULL, -- JSON array
    roles             LONGBLOB        NOT NULL, -- JSON array
    auth_time         BIGINT          NOT NULL,
    created           BIGINT          NOT NULL,
    seen              BIGINT          NOT NULL,
    idle_expires      BIGINT          NOT NULL,
    expires           BIGINT          NOT NULL,
    user_agent        LONGBLOB        NOT NULL,
    ip                VARBINARY(255)  NOT NULL,
    origin_issuer     VARBINARY(1020) NOT NULL,
    origin_subject    VARBINARY(1020) NOT NULL,
    origin_sid        VARBINARY(1020) NOT NULL,
    refresh_secret    VARBINARY(32),            -- SHA-256
    refresh_previous  VARBINARY(32),            -- SHA-256
    refresh_rotated   BIGINT          NOT NULL,
    refresh_successor LONGBLOB,                 -- sealed
    data              LONGBLOB,
    dies              BIGINT GENERATED ALWAYS AS (LEAST(idle_expires, expires)) STORED,
    UNIQUE KEY gatewire_sessions_key (`key`),
    KEY gatewire_sessions_user (user_id, created),
    KEY gatewire_sessions_dies (dies),
    KEY gatewire_sessions_sid (origin_issuer, origin_sid),
    KEY gatewire_sessions_subject (origin_issuer, origin_subject)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- The log of ended sessions.
CREATE TABLE IF NOT EXISTS gatewire_session_ended (
    seq     BIGINT          NOT NULL PRIMARY KEY,
    id      VARBINARY(255)  NOT NULL,
    `key`   VARBINARY(32)   NOT NULL,
    user_id VARBINARY(1020) NOT NULL,
    reason  VARBINARY(255)  NOT NULL,
    at      BIGINT          NOT NULL,
    KEY gatewire_session_ended_id (id),
    KEY gatewire_session_ended_key (`key`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- The head of the log, one row: a name that tells this log from another one,
-- the last number given out, and the last number forgotten. Whoever ends
-- sessions holds this row until it has committed, so numbers are committed in
-- their order.
CREATE TABLE IF NOT EXISTS gatewire_session_head (
    one    INTEGER       NOT NULL PRIMARY KEY,
    log    VARBINARY(32) NOT NULL,
    seq    BIGINT        NOT NULL,
    pruned BIGINT        NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
INSERT INTO gatewire_session_head (one, log, seq, pruned)
    VALUES (1, REPLACE(UUID(), x'2d', x''), 0, 0) ON DUPLICATE KEY UPDATE one = 1;

-- A row for each user whose sessions were ended all at once; it stays. The
-- epoch is a number of the log, so no value is ever given out twice.
CREATE TABLE IF NOT EXISTS gatewire_session_epochs (
    user_id VARBINARY(1020) NOT NULL PRIMARY KEY,
    epoch   BIGINT          NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Rows that are locked, and nothing else: one for every 256th user. Who begins a
-- session shares its user's row, who ends all of a user's holds it alone.
CREATE TABLE IF NOT EXISTS gatewire_session_locks (
    n INTEGER NOT NULL PRIMARY KEY
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
INSERT INTO gatewire_session_locks (n)
    SELECT n FROM (
        SELECT a.n + 4 * b.n + 16 * c.n + 64 * d.n AS n
        FROM (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS a
        CROSS JOIN (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS b
        CROSS JOIN (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS c
        CROSS JOIN (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS d
    ) AS wanted
    WHERE NOT EXISTS (SELECT 1 FROM gatewire_session_locks AS l WHERE l.n = wanted.n);

-- A table of one of these names that is another one fails here.
SELECT s.dies, s.data, s.refresh_successor, e.`key`, e.reason, e.at, u.epoch
    FROM gatewire_sessions AS s, gatewire_session_ended AS e, gatewire_session_epochs AS u
    WHERE u.user_id = s.user_id AND e.id = s.id AND e.seq < 0;
