//! Records: the durable changes that packs carry and the catalog is rebuilt from.
//!
//! Format: `docs/formats/record.md`. These are the disk structs themselves; their fields are only
//! ever added in a new version, with the older one kept beside it.
//!
//! **Invariant.** `decode(encode(r)) == r`, and whatever decodes is within the limits.
//!
//! **Deliberately absent.** Sealing (`seal`), framing in a pack (`codec::pack`), and what a change
//! does to the catalog (`catalog`).
//!
//! **Crash.** A record is durable with its pack or does not exist.

use crate::limits::{
    INLINE_BYTES_MAX, KEY_BYTES_MAX, PARTS_MAX, REASON_BYTES_MAX, RECORD_BYTES_MAX,
    RETIRED_RUNS_MAX,
};
use crate::{
    BlobId, BucketId, ChainId, Geometry, Seq, SiteId, TenantId, Timestamp, UploadId, VersionId,
};
use alloc::{string::String, vec::Vec};
use core::fmt;
use serde::{Deserialize, Serialize};

/// The version of the encoding that [`encode`] writes.
pub const RECORD_VERSION: u8 = 1;

/// Why bytes are no record, or a record cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The first byte names a version that this release does not know.
    #[error("record version {0} is not known to this release; use a newer one")]
    UnknownVersion(u8),
    /// The bytes are not an encoding of this version.
    #[error("the bytes are not a record")]
    Malformed,
    /// A field is out of its limit.
    #[error("a field of the record is out of its limit: {0}")]
    OutOfLimit(&'static str),
}

/// A key of an object: 1 to 1,024 bytes of UTF-8, no NUL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The key with this text; `None` when it is empty, longer than [`KEY_BYTES_MAX`] or has a NUL.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        let valid = !text.is_empty() && text.len() <= KEY_BYTES_MAX && !text.contains('\0');
        valid.then_some(Self(text))
    }

    /// The text of the key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = RecordError;

    fn try_from(text: String) -> Result<Self, RecordError> {
        Self::new(text).ok_or(RecordError::OutOfLimit("key"))
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl fmt::Debug for ObjectKey {
    /// Names stay out of logs (I3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey(<{} bytes>)", self.0.len())
    }
}

/// The 32-byte secret `S` of a blob, from which the second lock's keys are derived. It is shared
/// k-of-n into the shard headers and kept in the trust domain.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobSecret([u8; 32]);

impl BlobSecret {
    /// The secret with these bytes, drawn from [`crate::ports::Entropy`] or combined from shares.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for key derivation and the catalog.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for BlobSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobSecret(<redacted>)")
    }
}

/// A data key wrapped by the key above it, with its commitment: opaque outside `seal`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey(Vec<u8>);

impl WrappedKey {
    /// The wrapped key with these bytes, as `seal` made them.
    #[must_use]
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey(<{} bytes>)", self.0.len())
    }
}

/// A record with its place in the order of all records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequencedRecord {
    /// Its place: the highest wins.
    pub seq: Seq,
    /// The change.
    pub record: Record,
}

/// One durable change. The order of the variants is part of the format: add at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A tenant came to be, or its settings changed.
    Tenant(TenantRecord),
    /// A bucket came to be, or its settings changed.
    Bucket(BucketRecord),
    /// A bucket was deleted.
    BucketDeleted(BucketDeleted),
    /// An object's version was written (for a multipart upload: completed).
    Object(ObjectRecord),
    /// An object, or one version of it, was deleted for good.
    Tombstone(TombstoneRecord),
    /// A delete marker was written: the object is hidden, its versions stay.
    DeleteMarker(DeleteMarkerRecord),
    /// A multipart upload began.
    Upload(UploadRecord),
    /// A part was uploaded, replacing an earlier one of the same number.
    Part(PartRecord),
    /// A multipart upload was given up.
    UploadAborted(UploadAborted),
    /// A party or a site was excluded from holding shards, or admitted again.
    Exclusion(ExclusionRecord),
    /// Packs were retired: whatever in them still counts stands in other packs.
    Retired(RetiredRecord),
    /// The bytes of an extent were dispersed anew, under another geometry or policy.
    Redispersed(RedispersedRecord),
}

/// An extent's bytes in another blob: objects go on naming the extent as they did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedispersedRecord {
    /// The blob by which objects and parts name the extent.
    pub extent: BlobId,
    /// Where its bytes are now, sealed as they were; of as many bytes.
    pub to: Extent,
    /// The placement policy that it is under now.
    pub policy: String,
}

/// Packs that say nothing any more, although sites may still show them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredRecord {
    /// Runs of them, at most [`RETIRED_RUNS_MAX`].
    pub runs: Vec<RetiredRun>,
}

/// Packs of one chain, one behind the other, all of them retired: who follows the chain goes from
/// `before` to `end` without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredRun {
    /// The chain.
    pub chain: ChainId,
    /// Number of the first of them.
    pub first: u64,
    /// Number of the last of them.
    pub last: u64,
    /// What the first of them names: the pack before the run; zeros at the begin of the chain.
    pub before: PackEnd,
    /// How the last of them is named by the pack behind the run.
    pub end: PackEnd,
}

impl RetiredRun {
    /// Whether the pack of this number is one of them, or was off the chain between them.
    #[must_use]
    pub fn covers(&self, chain: ChainId, number: u64) -> bool {
        self.chain == chain && (self.first..=self.last).contains(&number)
    }

    /// Whether a pack of this chain that names `previous` as the one before it repeats the run's
    /// last pack, when this run stands in it: then the run is true only if that pack counts.
    #[must_use]
    pub fn is_repeated_by(&self, chain: ChainId, previous: BlobId) -> bool {
        self.chain == chain && self.end.blob == previous
    }
}

/// A pack by its blob and by the hash of its frame, as its successor names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackEnd {
    /// The blob.
    pub blob: BlobId,
    /// SHA-256 of the frame.
    pub hash: [u8; 32],
}

/// Who may hold no shards any more: the packs say it, so that a gateway on a blank machine knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExclusionRecord {
    /// Who.
    pub subject: Excluded,
    /// False when it is admitted again.
    pub in_force: bool,
    /// Why, in the words of whoever decided it; at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// When it was decided.
    pub decided: Timestamp,
    /// By when its sites should hold nothing any more.
    pub deadline: Option<Timestamp>,
}

/// Who is excluded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Excluded {
    /// Every site that answers to this party, now or as the declared facts change: `kind:name`.
    Party(String),
    /// One site, by its configured name.
    Site(String),
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Party(party) => f.write_str(party),
            Self::Site(site) => write!(f, "site:{site}"),
        }
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// The tenant.
    pub tenant: TenantId,
    /// Its name in configuration and console.
    pub name: String,
    /// Its key, wrapped by the root key.
    pub key: WrappedKey,
    /// When it came to be.
    pub created: Timestamp,
}

/// Whether a bucket keeps older versions. Only `Unversioned` has an API yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Versioning {
    /// One version per key: a write replaces it, a delete removes it.
    #[default]
    Unversioned,
    /// Every write adds a version, a delete adds a marker.
    Enabled,
    /// Writes replace the null version; older versions stay.
    Suspended,
}

/// The name of a bucket's setting that counts how often its placement policy was changed: `u32`,
/// little-endian.
pub const POLICY_CHANGES: &str = "policy-changes";

/// One epoch of a bucket's key, wrapped by its tenant's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketKeyEpoch {
    /// The epoch, from 1; new data is sealed under the highest.
    pub epoch: u32,
    /// The wrapped key.
    pub key: WrappedKey,
}

/// A bucket with all its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRecord {
    /// Its tenant.
    pub tenant: TenantId,
    /// The bucket.
    pub bucket: BucketId,
    /// Its name, as S3 clients know it; unique in the whole gateway.
    pub name: String,
    /// The placement policy of its objects (S3's LocationConstraint); empty for the default.
    pub policy: String,
    /// When it came to be.
    pub created: Timestamp,
    /// Its keys.
    pub keys: Vec<BucketKeyEpoch>,
    /// Whether older versions are kept.
    pub versioning: Versioning,
    /// Further settings by name (lifecycle, policy, ...), each in its own format.
    pub settings: Vec<(String, Vec<u8>)>,
}

/// The end of a bucket; with its keys' records compacted away, what was sealed under them is gone
/// too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketDeleted {
    /// Its tenant.
    pub tenant: TenantId,
    /// The bucket.
    pub bucket: BucketId,
}

/// System metadata that S3 stores and returns as it came, and the user's own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Metadata {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`, as the client wrote it.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<String>,
    /// `x-amz-storage-class`, when it is not STANDARD.
    pub storage_class: Option<String>,
    /// `x-amz-meta-*`: names in lower case without the prefix, sorted, with their values.
    pub user: Vec<(String, String)>,
    /// Object tags.
    pub tags: Vec<(String, String)>,
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata(<{} user entries>)", self.user.len())
    }
}

/// A checksum algorithm of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// Whether a multipart object's checksum is over its bytes or over its parts' checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChecksumKind {
    /// Over all bytes of the object.
    FullObject,
    /// Over the parts' checksums; shown with `-<parts>` behind it.
    Composite,
}

/// A checksum that was verified against the bytes and is returned with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How it was computed.
    pub algorithm: ChecksumAlgorithm,
    /// Over what.
    pub kind: ChecksumKind,
    /// The raw value, big-endian for the CRCs; 4, 8, 20 or 32 bytes.
    pub value: Vec<u8>,
}

/// An object lock's mode. No API yet; the records have room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetentionMode {
    /// May be lifted with a permission.
    Governance,
    /// May not be lifted by anybody.
    Compliance,
}

/// Until when a version may not be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Who may lift it.
    pub mode: RetentionMode,
    /// Until when.
    pub until: Timestamp,
}

/// One extent of a part: a dispersed blob of sealed segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The blob.
    pub blob: BlobId,
    /// Its secret.
    pub secret: BlobSecret,
    /// Its geometry.
    pub geometry: Geometry,
    /// Sealed bytes in it, before dispersal.
    pub bytes: u64,
    /// The site of each shard, by shard index.
    pub sites: Vec<SiteId>,
    /// Bit `i` is set when shard `i` was stored when the record was written; the others are repair
    /// jobs.
    pub stored: u32,
}

/// A run of plaintext sealed under one data key: a whole object, or one part of a multipart upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The part's number; 0 for an object that was written in one PUT.
    pub number: u16,
    /// Plaintext bytes.
    pub bytes: u64,
    /// The part's ETag, without quotes.
    pub etag: String,
    /// The part's checksum.
    pub checksum: Option<Checksum>,
    /// The data key, wrapped by the bucket's key.
    pub key: WrappedKey,
    /// The extents, in order. Each but the last holds `EXTENT_SEGMENTS_MAX` segments.
    pub extents: Vec<Extent>,
}

/// Where a version's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// In the record itself, behind its encoding.
    Inline,
    /// In extents.
    Parts(Vec<Part>),
}

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its bucket.
    pub bucket: BucketId,
    /// Its key.
    pub key: ObjectKey,
    /// The version.
    pub version: VersionId,
    /// True when this is the bucket's null version of the key and replaces it (unversioned,
    /// suspended).
    pub null_version: bool,
    /// Plaintext bytes.
    pub bytes: u64,
    /// The ETag, without quotes.
    pub etag: String,
    /// Last-Modified.
    pub modified: Timestamp,
    /// Metadata.
    pub metadata: Metadata,
    /// The checksum of the whole object.
    pub checksum: Option<Checksum>,
    /// Until when it may not be deleted.
    pub retention: Option<Retention>,
    /// Whether a legal hold forbids deleting it.
    pub legal_hold: bool,
    /// The upload that this completes.
    pub completes: Option<UploadId>,
    /// Where the bytes are.
    pub body: Body,
}

/// The end of an object or of one of its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its bucket.
    pub bucket: BucketId,
    /// Its key.
    pub key: ObjectKey,
    /// The version that ends; `None`: the null version, the only one of an unversioned bucket.
    pub version: Option<VersionId>,
}

/// A delete marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteMarkerRecord {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its bucket.
    pub bucket: BucketId,
    /// Its key.
    pub key: ObjectKey,
    /// The marker's version.
    pub version: VersionId,
    /// True when it takes the null version's place.
    pub null_version: bool,
    /// When it was written.
    pub modified: Timestamp,
}

/// The begin of a multipart upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its bucket.
    pub bucket: BucketId,
    /// The key that it will write.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// When it began.
    pub initiated: Timestamp,
    /// The metadata of the object that it will write.
    pub metadata: Metadata,
    /// The checksum that its parts carry, and over what the object's is taken.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Until when the object may not be deleted.
    pub retention: Option<Retention>,
    /// Whether a legal hold will forbid deleting the object.
    pub legal_hold: bool,
}

/// A part of a multipart upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its bucket.
    pub bucket: BucketId,
    /// The upload.
    pub upload: UploadId,
    /// When it was written.
    pub modified: Timestamp,
    /// The part.
    pub part: Part,
}

/// The end of a multipart upload that is not completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadAborted {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its bucket.
    pub bucket: BucketId,
    /// The upload.
    pub upload: UploadId,
}

/// The encoding of a record with an inline object's bytes behind it; `inline` is empty for all
/// others.
///
/// Layout: version (1 byte), length of the encoded record (`u32`, little-endian), the encoded
/// record (postcard 1), the inline bytes.
///
/// # Errors
/// When the encoding or the inline bytes are over their limit.
pub fn encode(record: &SequencedRecord, inline: &[u8]) -> Result<Vec<u8>, RecordError> {
    if inline.len() > INLINE_BYTES_MAX {
        return Err(RecordError::OutOfLimit("inline object"));
    }
    let mut bytes = Vec::with_capacity(512 + inline.len());
    bytes.extend_from_slice(&[RECORD_VERSION, 0, 0, 0, 0]);
    let mut bytes = postcard::to_extend(record, bytes).map_err(|_| RecordError::Malformed)?;
    let body = bytes.len() - HEAD_BYTES;
    if body + inline.len() > RECORD_BYTES_MAX - HEAD_BYTES {
        return Err(RecordError::OutOfLimit("record"));
    }
    let length = u32::try_from(body).map_err(|_| RecordError::OutOfLimit("record"))?;
    bytes[1..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(inline);
    Ok(bytes)
}

const HEAD_BYTES: usize = 5;

/// The record in `bytes` and the inline bytes behind it.
///
/// # Errors
/// When the bytes are not a record of this version within the limits, or have anything behind it.
pub fn decode(bytes: &[u8]) -> Result<(SequencedRecord, &[u8]), RecordError> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(RecordError::OutOfLimit("record"));
    }
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(RecordError::Malformed)?;
    if head[0] != RECORD_VERSION {
        return Err(RecordError::UnknownVersion(head[0]));
    }
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let (body, inline) = rest.split_at_checked(length).ok_or(RecordError::Malformed)?;
    let (record, trailing) =
        postcard::take_from_bytes::<SequencedRecord>(body).map_err(|_| RecordError::Malformed)?;
    if !trailing.is_empty() {
        return Err(RecordError::Malformed);
    }
    check_limits(&record.record, inline)?;
    Ok((record, inline))
}

fn check_limits(record: &Record, inline: &[u8]) -> Result<(), RecordError> {
    let inline_expected = match record {
        Record::Object(object) => match &object.body {
            Body::Inline => object.bytes,
            Body::Parts(parts) => {
                parts.iter().try_for_each(check_part)?;
                0
            }
        },
        Record::Part(part) => {
            check_part(&part.part)?;
            0
        }
        Record::Exclusion(exclusion) => {
            let text = match &exclusion.subject {
                Excluded::Party(text) | Excluded::Site(text) => text,
            };
            if exclusion.reason.len() > REASON_BYTES_MAX || text.len() > REASON_BYTES_MAX {
                return Err(RecordError::OutOfLimit("exclusion"));
            }
            0
        }
        Record::Redispersed(redispersed) => {
            check_extent(&redispersed.to)?;
            if redispersed.policy.len() > REASON_BYTES_MAX {
                return Err(RecordError::OutOfLimit("a policy's name"));
            }
            0
        }
        Record::Retired(retired) => {
            if retired.runs.len() > RETIRED_RUNS_MAX {
                return Err(RecordError::OutOfLimit("runs of retired packs"));
            }
            if retired.runs.iter().any(|run| run.first == 0 || run.first > run.last) {
                return Err(RecordError::OutOfLimit("numbers of retired packs"));
            }
            0
        }
        _ => 0,
    };
    if inline_expected != inline.len() as u64 || inline.len() > INLINE_BYTES_MAX {
        return Err(RecordError::OutOfLimit("inline object"));
    }
    Ok(())
}

fn check_part(part: &Part) -> Result<(), RecordError> {
    if part.number > PARTS_MAX {
        return Err(RecordError::OutOfLimit("part number"));
    }
    part.extents.iter().try_for_each(check_extent)
}

fn check_extent(extent: &Extent) -> Result<(), RecordError> {
    match extent.sites.len() == extent.geometry.total() {
        true => Ok(()),
        false => Err(RecordError::OutOfLimit("sites of an extent")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};

    fn object(bytes: u64, body: Body) -> SequencedRecord {
        let record = Record::Object(ObjectRecord {
            tenant: TenantId::from_bytes([1; 16]),
            bucket: BucketId::from_bytes([2; 16]),
            key: ObjectKey::new("a/b".to_string()).expect("a valid key"),
            version: VersionId::from_bytes([3; 16]),
            null_version: true,
            bytes,
            etag: "e".to_string(),
            modified: Timestamp::from_millis(5),
            metadata: Metadata::default(),
            checksum: None,
            retention: None,
            legal_hold: false,
            completes: None,
            body,
        });
        SequencedRecord { seq: Seq::new(9), record }
    }

    #[test]
    fn a_record_reads_back_with_its_inline_bytes() {
        let record = object(3, Body::Inline);
        let bytes = encode(&record, b"abc").expect("within limits");
        assert_eq!(decode(&bytes), Ok((record, &b"abc"[..])));
    }

    #[test]
    fn a_record_with_fewer_or_more_inline_bytes_is_refused() {
        let bytes = encode(&object(3, Body::Inline), b"abc").expect("within limits");
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
        let longer = [&bytes[..], b"d"].concat();
        assert!(decode(&longer).is_err());
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_panics() {
        let bytes = encode(&object(0, Body::Parts(vec![])), b"").expect("within limits");
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "prefix of {length}");
        }
        for position in 0..bytes.len() {
            for value in 0..=255 {
                let mut other = bytes.clone();
                other[position] = value;
                let _ = decode(&other);
            }
        }
    }

    #[test]
    fn an_unknown_version_says_so() {
        let mut bytes = encode(&object(0, Body::Inline), b"").expect("within limits");
        bytes[0] = 2;
        assert_eq!(decode(&bytes), Err(RecordError::UnknownVersion(2)));
    }

    #[test]
    fn keys_have_their_limits() {
        assert!(ObjectKey::new("k".repeat(1024)).is_some());
        assert!(ObjectKey::new("k".repeat(1025)).is_none());
        assert!(ObjectKey::new(String::new()).is_none());
        assert!(ObjectKey::new("a\0b".to_string()).is_none());
    }
}
