-- What the keys of clients may spend, and what they have spent. Neither refers to `client_keys` by a
-- foreign key: that table steps aside under another name when it is rolled back further.

CREATE TABLE client_limits (
    client_key        TEXT    PRIMARY KEY NOT NULL,
    tokens_per_minute INTEGER,
    -- Millionths of a US dollar.
    micros_per_day    INTEGER,
    concurrent        INTEGER
) STRICT;

-- One row a key, day and model, added to.
CREATE TABLE client_usage (
    client_key    TEXT    NOT NULL,
    -- Days since 1970 in UTC.
    day           INTEGER NOT NULL,
    provider      TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    requests      INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_micros   INTEGER NOT NULL,
    -- Requests whose cost nobody knows.
    unpriced      INTEGER NOT NULL,
    PRIMARY KEY (client_key, day, provider, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS parked_client_limits (
    client_key        TEXT    PRIMARY KEY NOT NULL,
    tokens_per_minute INTEGER,
    micros_per_day    INTEGER,
    concurrent        INTEGER
) STRICT;
-- Keys may have been deleted meanwhile.
INSERT INTO client_limits (client_key, tokens_per_minute, micros_per_day, concurrent)
SELECT client_key, tokens_per_minute, micros_per_day, concurrent FROM parked_client_limits
WHERE client_key IN (SELECT id FROM client_keys);
DROP TABLE parked_client_limits;

CREATE TABLE IF NOT EXISTS parked_client_usage (
    client_key    TEXT    NOT NULL,
    day           INTEGER NOT NULL,
    provider      TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    requests      INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_micros   INTEGER NOT NULL,
    unpriced      INTEGER NOT NULL,
    PRIMARY KEY (client_key, day, provider, model)
) STRICT, WITHOUT ROWID;
INSERT INTO client_usage (client_key, day, provider, model, requests, input_tokens, output_tokens, cost_micros, unpriced)
SELECT client_key, day, provider, model, requests, input_tokens, output_tokens, cost_micros, unpriced
FROM parked_client_usage WHERE client_key IN (SELECT id FROM client_keys);
DROP TABLE parked_client_usage;
