-- Conversations, keys, the audit trail, gateway clients, probe verdicts, usage and settings.
--
-- Each table takes back what an earlier `down` parked; without one the parked tables are empty.

-- A conversation. Its title is what the user typed as one, never derived from the content.
CREATE TABLE contexts (
    id         TEXT    PRIMARY KEY NOT NULL,
    name       TEXT    UNIQUE,
    provider   TEXT,
    session    TEXT,
    model      TEXT,
    title      TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- A counter that orders conversations by last change, finer than seconds.
    activity   INTEGER NOT NULL
) STRICT;

-- One message of a conversation; `content` is sealed like a credential.
CREATE TABLE context_chunks (
    id            TEXT    PRIMARY KEY NOT NULL,
    context_id    TEXT    NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    seq           INTEGER NOT NULL,
    role          TEXT    NOT NULL,
    content       BLOB    NOT NULL,
    key_id        TEXT    NOT NULL,
    input_tokens  INTEGER,
    output_tokens INTEGER,
    created_at    INTEGER NOT NULL,
    UNIQUE (context_id, seq)
) STRICT;

-- Which keys sealed something here, so that a wrong key is noticed before any write.
CREATE TABLE crypto_keys (
    key_id     TEXT    PRIMARY KEY NOT NULL,
    created_at INTEGER NOT NULL,
    source     TEXT    NOT NULL,
    active     INTEGER NOT NULL CHECK (active IN (0, 1))
) STRICT;

-- Who did what to which session. Names, not ids: the row outlives the session.
CREATE TABLE audit_events (
    id       INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    provider TEXT,
    session  TEXT,
    detail   TEXT
) STRICT;

-- Keys of the gateway's clients, stored as SHA-256. Scopes are JSON arrays, NULL for no limit.
CREATE TABLE client_keys (
    id                  TEXT    PRIMARY KEY NOT NULL,
    name                TEXT    NOT NULL UNIQUE,
    hash                BLOB    NOT NULL UNIQUE,
    providers           TEXT,
    sessions            TEXT,
    models              TEXT,
    requests_per_minute INTEGER,
    tokens_per_day      INTEGER,
    created_at          INTEGER NOT NULL,
    expires_at          INTEGER,
    last_used_at        INTEGER,
    revoked_at          INTEGER
) STRICT;

-- What the probe said of a library, so that unchanged files are not probed again.
CREATE TABLE plugin_verdicts (
    hash       TEXT    NOT NULL,
    host_build TEXT    NOT NULL,
    contract   TEXT    NOT NULL,
    verdict    TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (hash, host_build, contract)
) STRICT;

-- One row per finished exchange.
CREATE TABLE usage (
    id                INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at                INTEGER NOT NULL,
    client_key        TEXT,
    provider          TEXT    NOT NULL,
    session           TEXT,
    model             TEXT    NOT NULL,
    operation         TEXT    NOT NULL,
    input_tokens      INTEGER,
    output_tokens     INTEGER,
    cached_tokens     INTEGER,
    reasoning_tokens  INTEGER,
    duration_ms       INTEGER,
    outcome           TEXT    NOT NULL
) STRICT;

-- Choices made on the command line, such as the default model.
CREATE TABLE settings (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;

CREATE INDEX contexts_by_activity ON contexts (activity);
CREATE INDEX audit_events_by_time ON audit_events (at);
CREATE INDEX usage_by_time ON usage (at);

CREATE TABLE IF NOT EXISTS parked_contexts (
    id         TEXT    PRIMARY KEY NOT NULL,
    name       TEXT    UNIQUE,
    provider   TEXT,
    session    TEXT,
    model      TEXT,
    title      TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    activity   INTEGER NOT NULL
) STRICT;
INSERT INTO contexts (id, name, provider, session, model, title, created_at, updated_at, activity)
SELECT id, name, provider, session, model, title, created_at, updated_at, activity FROM parked_contexts;

CREATE TABLE IF NOT EXISTS parked_context_chunks (
    id            TEXT    PRIMARY KEY NOT NULL,
    context_id    TEXT    NOT NULL,
    seq           INTEGER NOT NULL,
    role          TEXT    NOT NULL,
    content       BLOB    NOT NULL,
    key_id        TEXT    NOT NULL,
    input_tokens  INTEGER,
    output_tokens INTEGER,
    created_at    INTEGER NOT NULL,
    UNIQUE (context_id, seq)
) STRICT;
INSERT INTO context_chunks (id, context_id, seq, role, content, key_id, input_tokens, output_tokens, created_at)
SELECT id, context_id, seq, role, content, key_id, input_tokens, output_tokens, created_at FROM parked_context_chunks;

CREATE TABLE IF NOT EXISTS parked_crypto_keys (
    key_id     TEXT    PRIMARY KEY NOT NULL,
    created_at INTEGER NOT NULL,
    source     TEXT    NOT NULL,
    active     INTEGER NOT NULL CHECK (active IN (0, 1))
) STRICT;
INSERT INTO crypto_keys (key_id, created_at, source, active)
SELECT key_id, created_at, source, active FROM parked_crypto_keys;

CREATE TABLE IF NOT EXISTS parked_audit_events (
    id       INTEGER PRIMARY KEY NOT NULL,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    provider TEXT,
    session  TEXT,
    detail   TEXT
) STRICT;
INSERT INTO audit_events (id, at, actor, action, provider, session, detail)
SELECT id, at, actor, action, provider, session, detail FROM parked_audit_events;

CREATE TABLE IF NOT EXISTS parked_client_keys (
    id                  TEXT    PRIMARY KEY NOT NULL,
    name                TEXT    NOT NULL UNIQUE,
    hash                BLOB    NOT NULL UNIQUE,
    providers           TEXT,
    sessions            TEXT,
    models              TEXT,
    requests_per_minute INTEGER,
    tokens_per_day      INTEGER,
    created_at          INTEGER NOT NULL,
    expires_at          INTEGER,
    last_used_at        INTEGER,
    revoked_at          INTEGER
) STRICT;
INSERT INTO client_keys (id, name, hash, providers, sessions, models, requests_per_minute, tokens_per_day, created_at, expires_at, last_used_at, revoked_at)
SELECT id, name, hash, providers, sessions, models, requests_per_minute, tokens_per_day, created_at, expires_at, last_used_at, revoked_at FROM parked_client_keys;

CREATE TABLE IF NOT EXISTS parked_plugin_verdicts (
    hash       TEXT    NOT NULL,
    host_build TEXT    NOT NULL,
    contract   TEXT    NOT NULL,
    verdict    TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (hash, host_build, contract)
) STRICT;
INSERT INTO plugin_verdicts (hash, host_build, contract, verdict, at)
SELECT hash, host_build, contract, verdict, at FROM parked_plugin_verdicts;

CREATE TABLE IF NOT EXISTS parked_usage (
    id                INTEGER PRIMARY KEY NOT NULL,
    at                INTEGER NOT NULL,
    client_key        TEXT,
    provider          TEXT    NOT NULL,
    session           TEXT,
    model             TEXT    NOT NULL,
    operation         TEXT    NOT NULL,
    input_tokens      INTEGER,
    output_tokens     INTEGER,
    cached_tokens     INTEGER,
    reasoning_tokens  INTEGER,
    duration_ms       INTEGER,
    outcome           TEXT    NOT NULL
) STRICT;
INSERT INTO usage (id, at, client_key, provider, session, model, operation, input_tokens, output_tokens, cached_tokens, reasoning_tokens, duration_ms, outcome)
SELECT id, at, client_key, provider, session, model, operation, input_tokens, output_tokens, cached_tokens, reasoning_tokens, duration_ms, outcome FROM parked_usage;

CREATE TABLE IF NOT EXISTS parked_settings (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;
INSERT INTO settings (key, value)
SELECT key, value FROM parked_settings;

-- Children first, or the foreign key of one parked table would dangle.
DROP TABLE parked_context_chunks;
DROP TABLE parked_contexts;
DROP TABLE parked_crypto_keys;
DROP TABLE parked_audit_events;
DROP TABLE parked_client_keys;
DROP TABLE parked_plugin_verdicts;
DROP TABLE parked_usage;
DROP TABLE parked_settings;

-- Counts changes of sessions that a cache must notice. `last_used_at`, `last_error` and leases are
-- left out on purpose: they change with every use and decide nothing.
CREATE TABLE revisions (
    name  TEXT    PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO revisions (name, value) VALUES ('sessions', 1);

CREATE TRIGGER sessions_revision_insert AFTER INSERT ON saved_authentications BEGIN
    UPDATE revisions SET value = value + 1 WHERE name = 'sessions';
END;
CREATE TRIGGER sessions_revision_delete AFTER DELETE ON saved_authentications BEGIN
    UPDATE revisions SET value = value + 1 WHERE name = 'sessions';
END;
CREATE TRIGGER sessions_revision_update AFTER UPDATE OF
    id, provider, auth_type, name, credentials, key_id, status, is_default, generation, account,
    expires_at, created_at, updated_at
ON saved_authentications BEGIN
    UPDATE revisions SET value = value + 1 WHERE name = 'sessions';
END;
