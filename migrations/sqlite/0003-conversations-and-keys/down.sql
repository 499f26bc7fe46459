-- The tables step aside under another name until the next `up`: a rollback must not lose
-- conversations, nor forget which key sealed what.
DROP TRIGGER sessions_revision_insert;
DROP TRIGGER sessions_revision_delete;
DROP TRIGGER sessions_revision_update;
DROP TABLE revisions;

-- Renaming a table keeps its indexes, whose names the next `up` needs.
DROP INDEX contexts_by_activity;
DROP INDEX audit_events_by_time;
DROP INDEX usage_by_time;

ALTER TABLE contexts RENAME TO parked_contexts;
ALTER TABLE context_chunks RENAME TO parked_context_chunks;
ALTER TABLE crypto_keys RENAME TO parked_crypto_keys;
ALTER TABLE audit_events RENAME TO parked_audit_events;
ALTER TABLE client_keys RENAME TO parked_client_keys;
ALTER TABLE plugin_verdicts RENAME TO parked_plugin_verdicts;
ALTER TABLE usage RENAME TO parked_usage;
ALTER TABLE settings RENAME TO parked_settings;
