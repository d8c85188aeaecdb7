//! What the engine says of buckets, objects and parts.
//!
//! **Invariant.** ETags stand here without quotes; sizes are plaintext bytes.
//!
//! **Deliberately absent.** XML, headers and dates as text: `server`.
//!
//! **Crash.** Values only.

use crate::condition::Condition;
use havre_catalog::PackPlace;
use havre_model::record::{
    Body, BucketRecord, Checksum, ChecksumAlgorithm, ChecksumKind, Metadata, ObjectKey,
    ObjectRecord, Part,
};
use havre_model::{BucketId, TenantId, Timestamp, UploadId, VersionId};
use std::sync::Arc;

/// A bucket as requests use it.
#[derive(Debug, Clone)]
pub struct Bucket {
    record: BucketRecord,
}

impl Bucket {
    pub(crate) const fn new(record: BucketRecord) -> Self {
        Self { record }
    }

    /// The bucket's id.
    #[must_use]
    pub const fn id(&self) -> BucketId {
        self.record.bucket
    }

    /// Whose it is.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.record.tenant
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The placement policy of its objects as the client named it; empty for the default.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.record.policy
    }

    /// When it was made.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.record.created
    }
}

/// What a write asks for beside its body.
#[derive(Debug, Clone, Default)]
pub struct PutRequest {
    /// Declared length, where the client declared one.
    pub bytes: Option<u64>,
    /// Metadata to store.
    pub metadata: Metadata,
    /// What must hold of the object that is replaced.
    pub condition: Condition,
}

/// What a multipart upload asks for at its begin.
#[derive(Debug, Clone, Default)]
pub struct UploadRequest {
    /// Metadata to store.
    pub metadata: Metadata,
    /// The checksum that the parts will carry, and over what the object's is taken.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// One part of a finished object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSummary {
    /// Its number, as it was uploaded.
    pub number: u16,
    /// Its size.
    pub bytes: u64,
    /// Its checksum.
    pub checksum: Option<Checksum>,
}

/// What is known of an object's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The version.
    pub version: VersionId,
    /// Its size.
    pub bytes: u64,
    /// Its ETag.
    pub etag: String,
    /// When it was written.
    pub modified: Timestamp,
    /// Its metadata.
    pub metadata: Metadata,
    /// The checksum of the whole object.
    pub checksum: Option<Checksum>,
    /// Its parts, where it was uploaded in parts.
    pub parts: Vec<PartSummary>,
}

impl ObjectInfo {
    pub(crate) fn of(record: &ObjectRecord) -> Self {
        let parts = match &record.body {
            Body::Parts(parts) if record.completes.is_some() => {
                parts.iter().map(PartSummary::of).collect()
            }
            _ => Vec::new(),
        };
        Self {
            version: record.version,
            bytes: record.bytes,
            etag: record.etag.clone(),
            modified: record.modified,
            metadata: record.metadata.clone(),
            checksum: record.checksum.clone(),
            parts,
        }
    }
}

impl PartSummary {
    fn of(part: &Part) -> Self {
        Self { number: part.number, bytes: part.bytes, checksum: part.checksum.clone() }
    }
}

/// A version that can be read: what is known of it, and where its bytes are.
#[derive(Debug, Clone)]
pub struct Object {
    pub(crate) record: Arc<ObjectRecord>,
    pub(crate) place: PackPlace,
    info: Arc<ObjectInfo>,
}

impl Object {
    pub(crate) fn new(record: ObjectRecord, place: PackPlace) -> Self {
        let info = Arc::new(ObjectInfo::of(&record));
        Self { record: Arc::new(record), place, info }
    }

    /// What is known of the version.
    #[must_use]
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// The object's key.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.record.key
    }
}

/// A part that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartInfo {
    /// Its number.
    pub number: u16,
    /// Its size.
    pub bytes: u64,
    /// Its ETag.
    pub etag: String,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// When it was written.
    pub modified: Timestamp,
}

/// One entry of the list that completes an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// The part's number.
    pub number: u16,
    /// Its ETag, as the client has it, without quotes.
    pub etag: String,
    /// Its checksum, as the client has it: the raw value.
    pub checksum: Option<Vec<u8>>,
}

/// What a completion asks for.
#[derive(Debug, Clone, Default)]
pub struct CompleteRequest {
    /// The parts, in ascending order.
    pub parts: Vec<CompletedPart>,
    /// What must hold of the object that is replaced.
    pub condition: Condition,
    /// The checksum of the whole object as the client computed it: the raw value.
    pub checksum: Option<Vec<u8>>,
    /// The size of the whole object as the client knows it.
    pub bytes: Option<u64>,
}

/// An upload in progress.
#[derive(Debug, Clone)]
pub struct UploadInfo {
    /// The upload.
    pub upload: UploadId,
    /// The key that it will write.
    pub key: ObjectKey,
    /// When it began.
    pub initiated: Timestamp,
    /// The metadata of the object that it will write.
    pub metadata: Metadata,
    /// The checksum that its parts carry.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}
