-- Version 0 knows no table of ours, yet losing logins to a rollback would be absurd: they wait
-- under another name until the next `up`.
ALTER TABLE saved_authentications RENAME TO parked_legacy_authentications;
