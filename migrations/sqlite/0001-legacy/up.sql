-- The schema of the former program: one login per provider and auth type, credentials sealed in
-- its own envelope. A database of that program already has the table, hence IF NOT EXISTS.
CREATE TABLE IF NOT EXISTS saved_authentications (
    id          TEXT    PRIMARY KEY NOT NULL,
    provider    TEXT    NOT NULL,
    auth_type   TEXT    NOT NULL,
    credentials BLOB    NOT NULL,
    expires_at  INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (provider, auth_type)
) STRICT;

-- What an earlier `down` set aside comes back; without one this table is empty.
CREATE TABLE IF NOT EXISTS parked_legacy_authentications (
    id          TEXT    PRIMARY KEY NOT NULL,
    provider    TEXT    NOT NULL,
    auth_type   TEXT    NOT NULL,
    credentials BLOB    NOT NULL,
    expires_at  INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

-- A login made since then is newer than the parked one of its pair, and wins.
INSERT OR IGNORE INTO saved_authentications
    (id, provider, auth_type, credentials, expires_at, created_at, updated_at)
SELECT id, provider, auth_type, credentials, expires_at, created_at, updated_at
FROM parked_legacy_authentications;

DROP TABLE parked_legacy_authentications;
