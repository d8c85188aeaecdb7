-- Schema 1 of the catalog; docs/catalog.md explains it. Placeholders, types and ON CONFLICT are such that
-- PostgreSQL takes them too (BLOB is BYTEA there, and WITHOUT ROWID goes).

CREATE TABLE schema_version (version BIGINT NOT NULL);
INSERT INTO schema_version (version) VALUES (1);

-- One row: what has to outlive a restart.
CREATE TABLE state (
    seq_limit BIGINT NOT NULL,
    recovering SMALLINT NOT NULL
);
INSERT INTO state (seq_limit, recovering) VALUES (1, 0);

-- One row, kept by every change: counting rows is not an option at this size.
CREATE TABLE totals (
    tenants BIGINT NOT NULL,
    buckets BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    uploads BIGINT NOT NULL,
    parts BIGINT NOT NULL,
    blobs BIGINT NOT NULL,
    packs BIGINT NOT NULL,
    garbage BIGINT NOT NULL,
    incomplete BIGINT NOT NULL,
    below_guarantee BIGINT NOT NULL
);
INSERT INTO totals VALUES (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

CREATE TABLE chain (
    chain BLOB PRIMARY KEY,
    gateway TEXT,
    policy TEXT,
    number BIGINT NOT NULL,
    link_blob BLOB NOT NULL,
    link_hash BLOB NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX chain_by_policy ON chain (gateway, policy) WHERE gateway IS NOT NULL;

CREATE TABLE site_marker (
    site BLOB PRIMARY KEY,
    marker BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE tenant (
    tenant BLOB PRIMARY KEY,
    name BLOB NOT NULL,
    seq BIGINT NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX tenant_by_name ON tenant (name, seq);

-- Names are not unique here: in a recovery the record of a bucket's successor may come before the end of
-- its predecessor. They are bytes, so that order is the order of UTF-8 in every database.
CREATE TABLE bucket (
    bucket BLOB PRIMARY KEY,
    tenant BLOB NOT NULL,
    name BLOB NOT NULL,
    seq BIGINT NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX bucket_by_name ON bucket (name, seq);
CREATE INDEX bucket_by_tenant ON bucket (tenant, name);

-- Narrow, because listings run over it; `newest_first` is the negated seq. All that a listing shows comes
-- before the rest.
CREATE TABLE version (
    bucket BLOB NOT NULL,
    key BLOB NOT NULL,
    newest_first BIGINT NOT NULL,
    older SMALLINT NOT NULL,
    marker SMALLINT NOT NULL,
    bytes BIGINT NOT NULL,
    modified BIGINT NOT NULL,
    etag TEXT NOT NULL,
    checksum SMALLINT,
    storage_class TEXT,
    version BLOB NOT NULL,
    null_version SMALLINT NOT NULL,
    extents SMALLINT NOT NULL,
    legal_hold SMALLINT NOT NULL,
    retention_mode SMALLINT,
    retain_until BIGINT,
    PRIMARY KEY (bucket, key, newest_first)
) WITHOUT ROWID;
-- Finds a version that is not the latest. An unversioned bucket has none, so its writes never touch this.
CREATE UNIQUE INDEX version_older ON version (bucket, key, null_version, version) WHERE older = 1;

-- The rest of a version, by the seq of its record.
CREATE TABLE manifest (
    seq INTEGER PRIMARY KEY,
    pack BLOB NOT NULL,
    pack_offset BIGINT NOT NULL,
    pack_len BIGINT NOT NULL,
    record BLOB NOT NULL
);

CREATE TABLE upload (
    upload BLOB PRIMARY KEY,
    bucket BLOB NOT NULL,
    key BLOB NOT NULL,
    seq BIGINT NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX upload_by_key ON upload (bucket, key, seq);

CREATE TABLE part (
    upload BLOB NOT NULL,
    number SMALLINT NOT NULL,
    seq BIGINT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;

-- Packs (chain and number set) and extents. `needs` counts the versions and parts that need an extent;
-- for a pack it is 1.
CREATE TABLE blob (
    blob BLOB PRIMARY KEY,
    chain BLOB,
    number BIGINT,
    records BIGINT,
    k SMALLINT NOT NULL,
    m SMALLINT NOT NULL,
    chunk_bytes BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    incomplete SMALLINT NOT NULL,
    below_guarantee SMALLINT NOT NULL,
    needs BIGINT NOT NULL,
    secret BLOB NOT NULL,
    sites BLOB NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX blob_pack ON blob (chain, number) WHERE chain IS NOT NULL;
CREATE INDEX blob_garbage ON blob (blob) WHERE needs = 0;
CREATE INDEX blob_incomplete ON blob (blob) WHERE incomplete = 1 AND needs > 0;

-- Ends: what keeps a record with a lower seq, that comes late, from coming back. `version` is empty for
-- the null version.
CREATE TABLE tombstone (
    bucket BLOB NOT NULL,
    key BLOB NOT NULL,
    version BLOB NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (bucket, key, version)
) WITHOUT ROWID;
CREATE INDEX tombstone_by_seq ON tombstone (seq);

CREATE TABLE ended_upload (
    upload BLOB PRIMARY KEY,
    seq BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX ended_upload_by_seq ON ended_upload (seq);

-- Kept for good: a bucket's id never comes back, and there are few.
CREATE TABLE ended_bucket (
    bucket BLOB PRIMARY KEY
) WITHOUT ROWID;
