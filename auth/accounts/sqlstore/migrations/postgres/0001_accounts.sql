-- Accounts. Times are microseconds since 1970 UTC. Text that is searched for
-- is compared byte by byte: an index then survives a change of the system's
-- collations.
CREATE TABLE gatewire_users (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    email          TEXT    NOT NULL,
    email_key      TEXT COLLATE "C" UNIQUE, -- NULL: no address
    email_verified BOOLEAN NOT NULL,
    name           TEXT    NOT NULL,
    picture        TEXT    NOT NULL,
    created        BIGINT  NOT NULL,
    password       TEXT    NOT NULL, -- a hash; empty: no password
    disabled       BOOLEAN NOT NULL,
    scopes         TEXT    NOT NULL, -- JSON array
    roles          TEXT    NOT NULL  -- JSON array
);

-- What ties an account to a provider's subject.
CREATE TABLE gatewire_identities (
    issuer  TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES gatewire_users (id),
    email   TEXT    NOT NULL,
    created BIGINT  NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX gatewire_identities_user ON gatewire_identities (user_id);

-- Keys that sign access tokens.
CREATE TABLE gatewire_signing_keys (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    algorithm   TEXT    NOT NULL,
    public_key  BYTEA   NOT NULL, -- JWK
    sealed      BYTEA   NOT NULL, -- PKCS #8, sealed
    published   BIGINT  NOT NULL,
    signs       BIGINT  NOT NULL,
    retires     BIGINT  NOT NULL,
    gone        BIGINT  NOT NULL
);
CREATE INDEX gatewire_signing_keys_published ON gatewire_signing_keys (published);
