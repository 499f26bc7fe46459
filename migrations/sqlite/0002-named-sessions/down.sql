-- Back to one login per provider and auth type. The default of each pair stays (or its oldest);
-- everything the old table cannot hold is parked for the next `up` to read back.
CREATE TABLE parked_sessions (
    id            TEXT    PRIMARY KEY NOT NULL,
    kept          INTEGER NOT NULL,
    provider      TEXT    NOT NULL,
    auth_type     TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    credentials   BLOB    NOT NULL,
    key_id        TEXT,
    status        TEXT    NOT NULL,
    is_default    INTEGER NOT NULL,
    generation    INTEGER NOT NULL,
    account       TEXT,
    expires_at    INTEGER,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    last_used_at  INTEGER,
    last_error    TEXT,
    last_error_at INTEGER,
    lease_holder  TEXT,
    lease_until   INTEGER
) STRICT;

INSERT INTO parked_sessions
    (id, kept, provider, auth_type, name, credentials, key_id, status, is_default, generation,
     account, expires_at, created_at, updated_at, last_used_at, last_error, last_error_at,
     lease_holder, lease_until)
SELECT id,
       row_number() OVER (PARTITION BY provider, auth_type
                          ORDER BY is_default DESC, created_at, id) = 1,
       provider, auth_type, name, credentials, key_id, status, is_default, generation,
       account, expires_at, created_at, updated_at, last_used_at, last_error, last_error_at,
       lease_holder, lease_until
FROM saved_authentications;

CREATE TABLE legacy_authentications (
    id          TEXT    PRIMARY KEY NOT NULL,
    provider    TEXT    NOT NULL,
    auth_type   TEXT    NOT NULL,
    credentials BLOB    NOT NULL,
    expires_at  INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (provider, auth_type)
) STRICT;

INSERT INTO legacy_authentications
    (id, provider, auth_type, credentials, expires_at, created_at, updated_at)
SELECT id, provider, auth_type, credentials, expires_at, created_at, updated_at
FROM parked_sessions
WHERE kept = 1;

DROP TABLE saved_authentications;
ALTER TABLE legacy_authentications RENAME TO saved_authentications;
