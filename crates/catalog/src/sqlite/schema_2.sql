-- Schema 2 adds what moving shards needs: who is excluded, what was left where it was, and how far long
-- work got.

-- Highest seq wins, admissions included, so that a late record does not bring an exclusion back.
CREATE TABLE exclusion (
    subject TEXT PRIMARY KEY,
    seq BIGINT NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;

-- Shards that are at another site now and still where they were. The row of their blob may be gone.
CREATE TABLE leftover (
    blob BLOB NOT NULL,
    site BLOB NOT NULL,
    chain BLOB,
    number BIGINT,
    PRIMARY KEY (blob, site)
) WITHOUT ROWID;

CREATE TABLE job (
    name TEXT PRIMARY KEY,
    state BLOB NOT NULL
) WITHOUT ROWID;

-- The placement policy that a blob was written under; NULL where a recovery could not tell.
ALTER TABLE blob ADD COLUMN policy TEXT;

UPDATE schema_version SET version = 2;
