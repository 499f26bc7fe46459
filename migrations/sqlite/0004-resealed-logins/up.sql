-- Logins of the former program get our envelope; the host does that in this migration, since SQL
-- cannot. It also begins the record of migrations.

-- The text that came in a legacy envelope, sealed with our key: what of it no column and no credential
-- of ours can hold goes back with `down`.
CREATE TABLE legacy_payloads (
    session_id TEXT    PRIMARY KEY NOT NULL
        REFERENCES saved_authentications (id) ON DELETE CASCADE,
    content    BLOB    NOT NULL,
    key_id     TEXT    NOT NULL,
    -- Bytes of the IV that the legacy envelope had.
    iv_len     INTEGER NOT NULL,
    -- The row's own expiry then.
    expires_at INTEGER
) STRICT;

CREATE TABLE IF NOT EXISTS parked_legacy_payloads (
    session_id TEXT    PRIMARY KEY NOT NULL,
    content    BLOB    NOT NULL,
    key_id     TEXT    NOT NULL,
    iv_len     INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;
-- The former program may have deleted logins meanwhile.
INSERT INTO legacy_payloads (session_id, content, key_id, iv_len, expires_at)
SELECT session_id, content, key_id, iv_len, expires_at FROM parked_legacy_payloads
WHERE session_id IN (SELECT id FROM saved_authentications);
DROP TABLE parked_legacy_payloads;

-- Our envelopes of logins that the former program held in between. The host takes them back where
-- that program changed nothing, and drops the table.
CREATE TABLE IF NOT EXISTS parked_envelopes (
    session_id  TEXT PRIMARY KEY NOT NULL,
    credentials BLOB NOT NULL,
    key_id      TEXT NOT NULL,
    -- What the former program was given instead.
    legacy      BLOB NOT NULL,
    expires_at  INTEGER
) STRICT;

-- Which migrations made this schema, so that a build with other ones is noticed.
CREATE TABLE applied_migrations (
    version    INTEGER PRIMARY KEY NOT NULL,
    name       TEXT    NOT NULL,
    checksum   TEXT    NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;
