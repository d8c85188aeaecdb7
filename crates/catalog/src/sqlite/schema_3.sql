-- Schema 3 adds what compaction needs (what of a pack still counts, and which packs are retired), and
-- what dispersing extents anew needs.

-- The pack's place in the order of all packs; NULL for packs that an earlier schema took in.
ALTER TABLE blob ADD COLUMN pack_order BIGINT;
-- Bytes of a pack's records that do not count any more.
ALTER TABLE blob ADD COLUMN dead BIGINT NOT NULL DEFAULT 0;
-- The lowest seq of those records that an end keeps from coming back in a recovery.
ALTER TABLE blob ADD COLUMN oldest_dead BIGINT;
CREATE INDEX blob_dead ON blob (oldest_dead) WHERE oldest_dead IS NOT NULL;
-- Of packs that an earlier schema took in nobody knows what is dead: no end is forgotten beside them.
UPDATE blob SET oldest_dead = 0 WHERE chain IS NOT NULL;

-- The blob by which objects name the extent, where its bytes were dispersed anew into this one, and the
-- seq of the record that says so; the bucket that it is in (NULL for extents that an earlier schema took
-- in).
ALTER TABLE blob ADD COLUMN extent BLOB;
ALTER TABLE blob ADD COLUMN moved_seq BIGINT;
ALTER TABLE blob ADD COLUMN bucket BLOB;
CREATE UNIQUE INDEX blob_extent ON blob (extent) WHERE extent IS NOT NULL;

-- What stands in a pack, for as long as it counts: kind, seq and place of each record.
CREATE TABLE pack_contents (
    blob BLOB PRIMARY KEY,
    contents BLOB NOT NULL
) WITHOUT ROWID;

-- Where each record stands that counts and is no version: those are in `manifest`.
CREATE TABLE placed (
    seq INTEGER PRIMARY KEY,
    kind SMALLINT NOT NULL,
    pack BLOB NOT NULL,
    pack_offset BIGINT NOT NULL,
    pack_len BIGINT NOT NULL,
    -- The upload of a begin, the upload and number of a part, the bucket of an end.
    subject BLOB
);
CREATE INDEX placed_by_subject ON placed (subject) WHERE subject IS NOT NULL;

-- Runs of packs that say nothing any more. Runs of a chain do not overlap.
CREATE TABLE retired (
    chain BLOB NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    before_blob BLOB NOT NULL,
    before_hash BLOB NOT NULL,
    end_blob BLOB NOT NULL,
    end_hash BLOB NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (chain, first)
) WITHOUT ROWID;

UPDATE schema_version SET version = 3;
