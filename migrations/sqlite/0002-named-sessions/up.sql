-- Sessions get names: many per provider and auth type, one default per provider.
--
-- SQLite cannot change a unique constraint in place, so the table is rebuilt. Foreign keys are off
-- while migrations run: with them on, dropping the old table would cascade into its children.
CREATE TABLE named_authentications (
    id            TEXT    PRIMARY KEY NOT NULL,
    provider      TEXT    NOT NULL,
    auth_type     TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    credentials   BLOB    NOT NULL,
    -- Hex id of the key that sealed `credentials`; NULL for the former program's envelope.
    key_id        TEXT,
    status        TEXT    NOT NULL DEFAULT 'ready',
    is_default    INTEGER NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1)),
    -- Grows with every change of the sealed part; writers compare it before they swap.
    generation    INTEGER NOT NULL DEFAULT 1,
    account       TEXT,
    expires_at    INTEGER,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    last_used_at  INTEGER,
    last_error    TEXT,
    last_error_at INTEGER,
    -- Who is refreshing this row now, and until when others must leave it alone.
    lease_holder  TEXT,
    lease_until   INTEGER,
    UNIQUE (provider, auth_type, name)
) STRICT;

-- Empty unless an earlier `down` filled it.
CREATE TABLE IF NOT EXISTS parked_sessions (
    id            TEXT    PRIMARY KEY NOT NULL,
    -- 1: the row stayed in saved_authentications, only its newer columns are parked here.
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

-- 1. Rows that were parked whole.
INSERT INTO named_authentications
    (id, provider, auth_type, name, credentials, key_id, status, is_default, generation, account,
     expires_at, created_at, updated_at, last_used_at, last_error, last_error_at,
     lease_holder, lease_until)
SELECT id, provider, auth_type, name, credentials, key_id, status, is_default, generation, account,
       expires_at, created_at, updated_at, last_used_at, last_error, last_error_at,
       lease_holder, lease_until
FROM parked_sessions
WHERE kept = 0;

-- 2. Rows that stayed behind while their newer columns were parked. The former program may have
-- replaced the credential meanwhile; then the recorded key no longer says who sealed it.
INSERT INTO named_authentications
    (id, provider, auth_type, name, credentials, key_id, status, is_default, generation, account,
     expires_at, created_at, updated_at, last_used_at, last_error, last_error_at,
     lease_holder, lease_until)
SELECT old.id, old.provider, old.auth_type, parked.name, old.credentials,
       CASE WHEN old.credentials = parked.credentials THEN parked.key_id END,
       parked.status, parked.is_default, parked.generation, parked.account,
       old.expires_at, old.created_at, old.updated_at, parked.last_used_at, parked.last_error,
       parked.last_error_at, parked.lease_holder, parked.lease_until
FROM saved_authentications AS old
JOIN parked_sessions AS parked ON parked.id = old.id AND parked.kept = 1;

-- 3. Rows that never had a name: `default_{provider}_{auth_type}`, with a number behind it where a
-- parked session already owns that name.
INSERT INTO named_authentications
    (id, provider, auth_type, name, credentials, expires_at, created_at, updated_at)
SELECT old.id, old.provider, old.auth_type,
       (SELECT 'default_' || old.provider || '_' || old.auth_type || suffix.column1
        FROM (VALUES (''), ('_2'), ('_3'), ('_4'), ('_5'), ('_6'), ('_7'), ('_8'), ('_9')) AS suffix
        WHERE NOT EXISTS (
            SELECT 1 FROM named_authentications AS taken
            WHERE taken.provider = old.provider AND taken.auth_type = old.auth_type
              AND taken.name = 'default_' || old.provider || '_' || old.auth_type || suffix.column1)
        LIMIT 1),
       old.credentials, old.expires_at, old.created_at, old.updated_at
FROM saved_authentications AS old
WHERE NOT EXISTS (SELECT 1 FROM parked_sessions AS parked WHERE parked.id = old.id);

-- A provider that was never seen with names gets its oldest login as the default. Where names were
-- in use before, the choice of then stands, also the choice of none.
UPDATE named_authentications
SET is_default = 1
WHERE id IN (
    SELECT id FROM (
        SELECT id, provider,
               row_number() OVER (PARTITION BY provider ORDER BY created_at, auth_type, id) AS place
        FROM named_authentications)
    WHERE place = 1 AND provider NOT IN (SELECT provider FROM parked_sessions));

DROP TABLE parked_sessions;
DROP TABLE saved_authentications;
ALTER TABLE named_authentications RENAME TO saved_authentications;

CREATE UNIQUE INDEX saved_authentications_one_default
    ON saved_authentications (provider) WHERE is_default = 1;
CREATE INDEX saved_authentications_by_name ON saved_authentications (name);
