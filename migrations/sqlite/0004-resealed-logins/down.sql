-- Credentials keep our envelope down to version 2, whose table says which key sealed what; the host
-- gives them the former program's on the way below that.
DROP TABLE applied_migrations;

CREATE TABLE parked_legacy_payloads (
    session_id TEXT    PRIMARY KEY NOT NULL,
    content    BLOB    NOT NULL,
    key_id     TEXT    NOT NULL,
    iv_len     INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;
INSERT INTO parked_legacy_payloads (session_id, content, key_id, iv_len, expires_at)
SELECT session_id, content, key_id, iv_len, expires_at FROM legacy_payloads;
DROP TABLE legacy_payloads;
