-- Accounts. Times are microseconds since 1970 UTC.
CREATE TABLE gatewire_users (
    id             TEXT    NOT NULL PRIMARY KEY,
    email          TEXT    NOT NULL,
    email_key      TEXT    UNIQUE,   -- NULL: no address
    email_verified INTEGER NOT NULL,
    name           TEXT    NOT NULL,
    picture        TEXT    NOT NULL,
    created        INTEGER NOT NULL,
    password       TEXT    NOT NULL, -- a hash; empty: no password
    disabled       INTEGER NOT NULL,
    scopes         TEXT    NOT NULL, -- JSON array
    roles          TEXT    NOT NULL  -- JSON array
);

-- What ties an account to a provider's subject.
CREATE TABLE gatewire_identities (
    issuer  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    user_id TEXT    NOT NULL REFERENCES gatewire_users (id),
    email   TEXT    NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX gatewire_identities_user ON gatewire_identities (user_id);

-- Keys that sign access tokens.
CREATE TABLE gatewire_signing_keys (
    id          TEXT    NOT NULL PRIMARY KEY,
    algorithm   TEXT    NOT NULL,
    public_key  BLOB    NOT NULL, -- JWK
    sealed      BLOB    NOT NULL, -- PKCS #8, sealed
    published   INTEGER NOT NULL,
    signs       INTEGER NOT NULL,
    retires     INTEGER NOT NULL,
    gone        INTEGER NOT NULL
);
CREATE INDEX gatewire_signing_keys_published ON gatewire_signing_keys (published);
