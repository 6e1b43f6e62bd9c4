-- What nodes count together: until when a key's tries are not all there again.
CREATE TABLE gatewire_limits (
    key     TEXT    NOT NULL PRIMARY KEY,
    full_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX gatewire_limits_full_at ON gatewire_limits (full_at);

-- What happened once. A key counts until it expires; times is how often it was
-- taken since it last was new.
CREATE TABLE gatewire_once (
    key     TEXT    NOT NULL PRIMARY KEY,
    taken   INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    times   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX gatewire_once_expires ON gatewire_once (expires);
