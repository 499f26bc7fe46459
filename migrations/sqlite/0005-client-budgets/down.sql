-- They step aside under another name until the next `up`, as the keys themselves do further down.
ALTER TABLE client_limits RENAME TO parked_client_limits;
ALTER TABLE client_usage RENAME TO parked_client_usage;
