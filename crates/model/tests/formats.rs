//! Golden bytes of records: every variant, with every field set and with none that may be left out.
//! What was written on the first day is read for ever, and the same is written today. The files are
//! never edited; `HAVRE_WRITE_GOLDEN=1` writes those that do not exist yet.
//!
//! The values are the ones that `docs/formats/record.md` names: an id of 16 or 8 bytes counts up
//! from its first byte, a secret from `0x40`.

use havre_model::record::{BlobSecret, WrappedKey};
use havre_model::record::{
    Body, BucketDeleted, BucketKeyEpoch, BucketRecord, Checksum, ChecksumAlgorithm, ChecksumKind,
    DeleteMarkerRecord, Excluded, ExclusionRecord, Extent, Metadata, ObjectKey, ObjectRecord,
    PackEnd, Part, PartRecord, Record, RedispersedRecord, Retention, RetentionMode, RetiredRecord,
    RetiredRun, SequencedRecord, TenantRecord, TombstoneRecord, UploadAborted, UploadRecord,
    Versioning, decode, encode,
};
use havre_model::{
    BlobId, BucketId, ChainId, Geometry, Seq, SiteId, TenantId, Timestamp, UploadId, VersionId,
};
use std::fs;
use std::path::PathBuf;

const TENANT: TenantId = TenantId::from_bytes(counting(0x10));
const BUCKET: BucketId = BucketId::from_bytes(counting(0x20));
const VERSION: VersionId = VersionId::from_bytes(counting(0x30));
const UPLOAD: UploadId = UploadId::from_bytes(counting(0x50));
const BLOB: BlobId = BlobId::from_bytes(counting(0xb0));
/// A varint of more than one byte, and of the longest there is.
const SEQ: Seq = Seq::new(300);
const LAST_SEQ: Seq = Seq::new(u64::MAX);
const TIME: Timestamp = Timestamp::from_millis(1_790_000_000_123);

const fn counting<const N: usize>(first: u8) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    let mut value = first;
    while at < N {
        bytes[at] = value;
        value = value.wrapping_add(1);
        at += 1;
    }
    bytes
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text.to_owned()).expect("a valid key")
}

fn wrapped(first: u8) -> WrappedKey {
    WrappedKey::from_bytes(counting::<40>(first).to_vec())
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn metadata() -> Metadata {
    Metadata {
        content_type: some("text/plain"),
        content_encoding: some("gzip"),
        content_language: some("de"),
        content_disposition: some("attachment"),
        cache_control: some("no-cache"),
        expires: some("Thu, 01 Dec 2033 16:00:00 GMT"),
        website_redirect: some("/elsewhere"),
        storage_class: some("STANDARD_IA"),
        user: vec![pair("a", "1"), pair("name", "Zoë")],
        tags: vec![pair("kind", "test"), pair("empty", "")],
    }
}

fn checksum(algorithm: ChecksumAlgorithm, kind: ChecksumKind, bytes: usize) -> Option<Checksum> {
    Some(Checksum { algorithm, kind, value: counting::<32>(0x70)[..bytes].to_vec() })
}

fn extent(first: u8, k: u8, m: u8) -> Extent {
    let geometry = Geometry::new(k, m).expect("a geometry");
    let sites = (0..k + m).map(|at| SiteId::from_bytes(counting(0xd0 + at))).collect();
    let (blob, secret) =
        (BlobId::from_bytes(counting(first)), BlobSecret::from_bytes(counting(0x40)));
    Extent { blob, secret, geometry, bytes: 66_000, sites, stored: 0b1_1011 }
}

fn part(number: u16, checksum: Option<Checksum>, extents: Vec<Extent>) -> Part {
    let etag = "d41d8cd98f00b204e9800998ecf8427e".to_owned();
    Part { number, bytes: 5_242_880, etag, checksum, key: wrapped(0x80), extents }
}

/// An inline object without anything that may be left out.
fn bare_object() -> ObjectRecord {
    ObjectRecord {
        tenant: TENANT,
        bucket: BUCKET,
        key: key("k"),
        version: VERSION,
        null_version: true,
        bytes: 5,
        etag: "5d41402abc4b2a76b9719d911017c592".to_owned(),
        modified: TIME,
        metadata: Metadata::default(),
        checksum: None,
        retention: None,
        legal_hold: false,
        completes: None,
        body: Body::Inline,
    }
}

/// A completed upload with everything.
fn full_object() -> ObjectRecord {
    let sha256 = checksum(ChecksumAlgorithm::Sha256, ChecksumKind::Composite, 32);
    let sha1 = checksum(ChecksumAlgorithm::Sha1, ChecksumKind::FullObject, 20);
    let first = part(1, sha256.clone(), vec![extent(0xb0, 3, 3), extent(0xb8, 4, 2)]);
    let parts =
        vec![first, part(10_000, sha1, vec![extent(0xc0, 1, 0)]), part(2, None, Vec::new())];
    ObjectRecord {
        key: key("Ordner/Bär.txt"),
        null_version: false,
        bytes: 3 * 5_242_880,
        metadata: metadata(),
        checksum: sha256,
        retention: Some(Retention { mode: RetentionMode::Compliance, until: TIME }),
        legal_hold: true,
        completes: Some(UPLOAD),
        body: Body::Parts(parts),
        ..bare_object()
    }
}

fn bucket() -> BucketRecord {
    BucketRecord {
        tenant: TENANT,
        bucket: BUCKET,
        name: "photos".to_owned(),
        policy: "default".to_owned(),
        created: TIME,
        keys: vec![
            BucketKeyEpoch { epoch: 1, key: wrapped(0x01) },
            BucketKeyEpoch { epoch: 200, key: wrapped(0x02) },
        ],
        versioning: Versioning::Suspended,
        settings: vec![("policy-changes".to_owned(), vec![1, 0, 0, 0])],
    }
}

fn upload() -> UploadRecord {
    UploadRecord {
        tenant: TENANT,
        bucket: BUCKET,
        key: key("k"),
        upload: UPLOAD,
        initiated: TIME,
        metadata: metadata(),
        checksum: Some((ChecksumAlgorithm::Crc64nvme, ChecksumKind::FullObject)),
        retention: Some(Retention { mode: RetentionMode::Governance, until: TIME }),
        legal_hold: true,
    }
}

fn run(first: u64, last: u64) -> RetiredRun {
    let before = PackEnd { blob: BLOB, hash: counting(0x01) };
    let end = PackEnd { blob: BlobId::from_bytes(counting(0xb1)), hash: counting(0x02) };
    RetiredRun { chain: ChainId::from_bytes(counting(0xc0)), first, last, before, end }
}

fn path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/formats/record");
    folder.join(format!("v1-{name}.bin"))
}

#[track_caller]
fn check(name: &str, seq: Seq, record: Record, inline: &[u8]) {
    let record = SequencedRecord { seq, record };
    let written = encode(&record, inline).expect("within the limits");
    let path = path(name);
    if std::env::var_os("HAVRE_WRITE_GOLDEN").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("the source tree");
        fs::write(&path, &written).expect("the source tree");
    }
    let golden = fs::read(&path).expect("a golden file");
    assert_eq!(decode(&golden), Ok((record, inline)), "{name} is read as it was meant");
    assert!(golden == written, "{name}: other bytes are written today");
}

#[test]
fn tenants_and_buckets_are_the_golden_ones() {
    let name = "acme".to_owned();
    let tenant = TenantRecord { tenant: TENANT, name, key: wrapped(0x03), created: TIME };
    check("tenant", SEQ, Record::Tenant(tenant), b"");
    check("bucket", SEQ, Record::Bucket(bucket()), b"");
    let bare = BucketRecord {
        policy: String::new(),
        keys: Vec::new(),
        versioning: Versioning::Unversioned,
        settings: Vec::new(),
        ..bucket()
    };
    check("bucket-bare", SEQ, Record::Bucket(bare), b"");
    let versioned = BucketRecord { versioning: Versioning::Enabled, ..bucket() };
    check("bucket-versioned", SEQ, Record::Bucket(versioned), b"");
    let deleted = BucketDeleted { tenant: TENANT, bucket: BUCKET };
    check("bucket-deleted", LAST_SEQ, Record::BucketDeleted(deleted), b"");
}

#[test]
fn objects_and_their_ends_are_the_golden_ones() {
    check("object-inline", SEQ, Record::Object(bare_object()), b"hello");
    let empty = ObjectRecord { bytes: 0, ..bare_object() };
    check("object-empty", SEQ, Record::Object(empty), b"");
    check("object-parts", SEQ, Record::Object(full_object()), b"");
    let tombstone =
        |version| TombstoneRecord { tenant: TENANT, bucket: BUCKET, key: key("k"), version };
    check("tombstone", SEQ, Record::Tombstone(tombstone(None)), b"");
    check("tombstone-version", SEQ, Record::Tombstone(tombstone(Some(VERSION))), b"");
    let marker = DeleteMarkerRecord {
        tenant: TENANT,
        bucket: BUCKET,
        key: key("k"),
        version: VERSION,
        null_version: true,
        modified: TIME,
    };
    check("delete-marker", SEQ, Record::DeleteMarker(marker), b"");
}

#[test]
fn checksums_of_every_algorithm_are_the_golden_ones() {
    let lengths = [
        ("crc32", ChecksumAlgorithm::Crc32, 4),
        ("crc32c", ChecksumAlgorithm::Crc32c, 4),
        ("crc64nvme", ChecksumAlgorithm::Crc64nvme, 8),
        ("sha1", ChecksumAlgorithm::Sha1, 20),
        ("sha256", ChecksumAlgorithm::Sha256, 32),
    ];
    for (name, algorithm, bytes) in lengths {
        let checksum = checksum(algorithm, ChecksumKind::FullObject, bytes);
        let object = ObjectRecord { checksum, ..bare_object() };
        check(&format!("object-{name}"), SEQ, Record::Object(object), b"hello");
    }
}

#[test]
fn uploads_are_the_golden_ones() {
    check("upload", SEQ, Record::Upload(upload()), b"");
    let bare = UploadRecord {
        metadata: Metadata::default(),
        checksum: None,
        retention: None,
        legal_hold: false,
        ..upload()
    };
    check("upload-bare", SEQ, Record::Upload(bare), b"");
    let crc = checksum(ChecksumAlgorithm::Crc32, ChecksumKind::FullObject, 4);
    let part = part(7, crc, vec![extent(0xb0, 3, 3)]);
    let part = PartRecord { tenant: TENANT, bucket: BUCKET, upload: UPLOAD, modified: TIME, part };
    check("part", SEQ, Record::Part(part), b"");
    let aborted = UploadAborted { tenant: TENANT, bucket: BUCKET, upload: UPLOAD };
    check("upload-aborted", SEQ, Record::UploadAborted(aborted), b"");
}

#[test]
fn what_the_system_says_is_the_golden_one() {
    let exclusion = ExclusionRecord {
        subject: Excluded::Party("operator:North".to_owned()),
        in_force: true,
        reason: "sold".to_owned(),
        decided: TIME,
        deadline: Some(TIME),
    };
    let admission = ExclusionRecord {
        subject: Excluded::Site("north-1".to_owned()),
        in_force: false,
        reason: String::new(),
        deadline: None,
        ..exclusion.clone()
    };
    check("exclusion", SEQ, Record::Exclusion(exclusion), b"");
    check("exclusion-lifted", SEQ, Record::Exclusion(admission), b"");
    let retired = RetiredRecord { runs: vec![run(1, 1), run(3, 70_000)] };
    check("retired", SEQ, Record::Retired(retired), b"");
    let (to, policy) = (extent(0xb8, 4, 2), "thrifty".to_owned());
    let redispersed = RedispersedRecord { extent: BLOB, to, policy };
    check("redispersed", SEQ, Record::Redispersed(redispersed), b"");
}
