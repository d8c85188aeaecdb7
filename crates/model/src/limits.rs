//! Every named limit, and the proof that they agree with each other.
//!
//! **Invariant.** The assertions at the end hold, or the crate does not build (I8).
//!
//! **Deliberately absent.** What an operator may choose (deadlines, concurrency): the
//! configuration.
//!
//! **Crash.** A limit that a stored format depends on changes only with the format's version.

/// Plaintext of one segment, the last of a part excepted. What one range read has to open.
pub const SEGMENT_BYTES: usize = 64 * 1024;
/// Authentication tag of one AEAD message.
pub const TAG_BYTES: usize = 16;
/// A sealed segment: what one data chunk of an extent carries.
pub const SEALED_SEGMENT_BYTES: usize = SEGMENT_BYTES + TAG_BYTES;

/// Chunk length of an extent, before the second lock's tag: exactly one sealed segment, so that a
/// range read of a few KiB touches one chunk at one site.
pub const EXTENT_CHUNK_BYTES: usize = SEALED_SEGMENT_BYTES;
/// Chunk length of a pack: smaller, because one record of a few KiB is read at a time.
pub const PACK_CHUNK_BYTES: usize = 16 * 1024;

/// Plaintext bytes of one extent, a multiple of [`SEGMENT_BYTES`].
pub const EXTENT_PLAIN_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Segments of a full extent.
pub const EXTENT_SEGMENTS_MAX: u64 = EXTENT_PLAIN_BYTES_MAX / SEGMENT_BYTES as u64;
/// Sealed bytes of one extent.
pub const EXTENT_BYTES_MAX: u64 = EXTENT_SEGMENTS_MAX * SEALED_SEGMENT_BYTES as u64;

/// An object up to this size rides inside its record.
pub const INLINE_BYTES_MAX: usize = 256 * 1024;
/// A record before sealing: an inline object with its metadata, or the largest manifest.
pub const RECORD_BYTES_MAX: usize = 12 * 1024 * 1024;
/// The reason given for an exclusion, and the name of who is excluded.
pub const REASON_BYTES_MAX: usize = 1024;
/// Runs of retired packs that one record tells of.
pub const RETIRED_RUNS_MAX: usize = 1024;
/// Sum of the records of one pack.
pub const PACK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records of one pack.
pub const PACK_RECORDS_MAX: usize = 16 * 1024;
/// Records that wait for a pack; past this a write is told to slow down.
pub const JOURNAL_QUEUE_MAX: usize = 16 * 1024;
/// Bytes that wait for a pack.
pub const JOURNAL_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Largest object (S3: 5 TiB, since December 2025 50 TB by multipart; we stay with 5 TiB).
pub const OBJECT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// Largest object in one PUT, and largest part.
pub const PART_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// Smallest part that is not the last.
pub const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
/// Parts of one upload; part numbers run from 1 to this.
pub const PARTS_MAX: u16 = 10_000;
/// Bytes of an object's key in UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;
/// Bytes of user metadata, names and values together.
pub const USER_METADATA_BYTES_MAX: usize = 2 * 1024;
/// Keys of one page of a listing.
pub const LIST_KEYS_MAX: usize = 1000;
/// Keys of one batch delete.
pub const DELETE_KEYS_MAX: usize = 1000;
/// Buckets of one tenant.
pub const BUCKETS_PER_TENANT_MAX: usize = 10_000;

/// The slowest client that is put up with while others wait for what it holds, in bytes a second.
pub const CLIENT_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// Sites of one configuration.
pub const SITES_MAX: usize = 64;
/// Shards of one blob.
pub const SHARDS_PER_BLOB_MAX: usize = 32;

/// Names that one page of a site's listing has.
pub const SITE_LIST_PAGE_MAX: usize = 1000;

/// Extents of the largest object: each part may end in an extent that is not full.
pub const EXTENTS_PER_OBJECT_MAX: u64 =
    OBJECT_BYTES_MAX / EXTENT_PLAIN_BYTES_MAX + PARTS_MAX as u64;

/// Encoded bytes that one extent adds to a manifest, at most (ids, secret, sites, lengths).
pub const EXTENT_MANIFEST_BYTES_MAX: usize = 64 + 9 * SHARDS_PER_BLOB_MAX;
/// Encoded bytes that one part adds to a manifest, at most, its extents aside.
pub const PART_MANIFEST_BYTES_MAX: usize = 512;

// A part's segments are counted in 32 bits of the nonce.
const _: () = assert!(PART_BYTES_MAX / SEGMENT_BYTES as u64 + 1 < u32::MAX as u64);
const _: () = assert!(OBJECT_BYTES_MAX / SEGMENT_BYTES as u64 + 1 < u32::MAX as u64);
const _: () = assert!(EXTENT_PLAIN_BYTES_MAX.is_multiple_of(SEGMENT_BYTES as u64));
// An inline object, its key and its metadata fit a record; any record fits a pack.
const _: () = assert!(INLINE_BYTES_MAX + KEY_BYTES_MAX + 64 * 1024 < RECORD_BYTES_MAX);
const _: () = assert!(RECORD_BYTES_MAX + 64 * 1024 < PACK_BYTES_MAX);
const _: () = assert!(JOURNAL_QUEUE_BYTES_MAX >= 2 * RECORD_BYTES_MAX);
// The largest object's manifest fits a record, at the widths of six-site placements (the widest
// geometry is checked at run time, when the record is encoded).
const _: () = assert!(
    EXTENTS_PER_OBJECT_MAX * 128 + PARTS_MAX as u64 * (PART_MANIFEST_BYTES_MAX as u64)
        < RECORD_BYTES_MAX as u64
);
// The largest multipart object is reachable.
const _: () = assert!(PART_BYTES_MAX * PARTS_MAX as u64 >= OBJECT_BYTES_MAX);
