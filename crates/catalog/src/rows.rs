//! What goes into a catalog and what comes out of it.
//!
//! **Invariant.** A row names its records by the types of `model::record`; inline objects' bytes
//! are never among them, they stay in the pack that [`PackPlace`] points into.
//!
//! **Deliberately absent.** Database types, and anything sealed: the catalog lives in the trust
//! domain.
//!
//! **Crash.** Values only.

use havre_model::limits::EXTENT_CHUNK_BYTES;
use havre_model::record::{
    BlobSecret, BucketRecord, ChecksumAlgorithm, ChecksumKind, DeleteMarkerRecord, ExclusionRecord,
    Extent, ObjectRecord, PartRecord, SequencedRecord, TenantRecord, UploadRecord,
};
use havre_model::{
    BlobId, BlobName, BucketId, ChainId, Geometry, Seq, ShardIndex, SiteId, Timestamp, UploadId,
};

/// A pack by its blob and the hash of its frame: what the next pack of the chain refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLink {
    /// The blob; zero bytes before the first pack.
    pub blob: BlobId,
    /// SHA-256 of the pack's frame; zero bytes before the first pack.
    pub hash: [u8; 32],
}

impl PackLink {
    /// What the first pack of a chain refers to.
    pub const NONE: Self = Self { blob: BlobId::from_bytes([0; 16]), hash: [0; 32] };
}

/// Where a sealed record lies: in the plaintext frame of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackPlace {
    /// The pack's blob.
    pub blob: BlobId,
    /// First byte of the sealed record in the frame.
    pub offset: u64,
    /// Bytes of the sealed record.
    pub len: u32,
}

/// A record of a durable pack, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedRecord {
    /// The record, without the inline bytes that may follow it in the pack.
    pub record: SequencedRecord,
    /// First byte of the sealed record in the pack's frame.
    pub offset: u64,
    /// Bytes of the sealed record.
    pub len: u32,
}

/// A pack that is durable at the sites, to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedPack {
    /// The chain it belongs to.
    pub chain: ChainId,
    /// Its number in the chain, from 1.
    pub number: u64,
    /// Its own blob and hash: what the next pack refers to.
    pub link: PackLink,
    /// The pack that it refers to: the last acknowledged one before it. Numbers of packs that
    /// failed in between are never used again.
    pub previous: PackLink,
    /// The pack as a blob; `state` is ignored, the catalog derives it.
    pub pack: BlobRow,
    /// Whether it was acknowledged below its policy's guarantee (`on_outage = "degrade"`). Marks
    /// the pack and those extents of its records that are not stored whole.
    pub below_guarantee: bool,
    /// No record with a lower sequence number is still on its way to the catalog: ends
    /// (tombstones) below it may be forgotten. `Seq::default()` when the caller cannot tell;
    /// then nothing is forgotten. Ignored during a recovery.
    pub settled: Seq,
    /// Its place in the order of all packs: of two copies of a record the one in the pack with the
    /// higher order counts.
    pub order: Seq,
    /// Its records.
    pub records: Vec<AppliedRecord>,
}

/// A pack, and how much of it still counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRow {
    /// The pack as a blob.
    pub blob: BlobRow,
    /// Bytes of its records that do not count any more.
    pub dead_bytes: u64,
    /// Its place in the order of all packs; `None` when an earlier schema took it in.
    pub order: Option<Seq>,
    /// Whether what stands in it is known: not of packs that an earlier schema took in.
    pub is_listed: bool,
}

/// A record in a pack, as the catalog knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedRecord {
    /// Of the record.
    pub seq: Seq,
    /// First byte of the sealed record in the pack's frame.
    pub offset: u64,
    /// Bytes of the sealed record.
    pub len: u32,
    /// What a recovery would miss without it.
    pub need: Need,
}

/// What of a record still counts, where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it is dead, or another pack has it too.
    Nothing,
    /// The record.
    Record,
    /// Of a completion whose object is gone: that its upload has ended.
    End,
}

/// A chain of packs and how far it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainState {
    /// The chain.
    pub chain: ChainId,
    /// The gateway that writes it; `None` when the chain is known from its packs only (recovery).
    pub gateway: Option<String>,
    /// The placement policy of its packs; `None` as above.
    pub policy: Option<String>,
    /// The last pack applied, 0 for none. During a recovery, the highest.
    pub number: u64,
    /// That pack's blob and hash; [`PackLink::NONE`] for none.
    pub link: PackLink,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRow {
    /// Its latest record.
    pub record: TenantRecord,
    /// Of the record.
    pub seq: Seq,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketRow {
    /// Its latest record.
    pub record: BucketRecord,
    /// Of the record.
    pub seq: Seq,
}

/// A version of an object, or a delete marker in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    /// Of its record.
    pub seq: Seq,
    /// Where its sealed record lies; an inline object's bytes are in there.
    pub place: PackPlace,
    /// What it is.
    pub version: Version,
}

/// What a version is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// An object.
    Object(Box<ObjectRecord>),
    /// A marker that hides the object.
    DeleteMarker(DeleteMarkerRecord),
}

impl VersionRow {
    /// The object, unless this is a delete marker.
    #[must_use]
    pub fn object(&self) -> Option<&ObjectRecord> {
        match &self.version {
            Version::Object(object) => Some(object),
            Version::DeleteMarker(_) => None,
        }
    }

    /// The object by value, unless this is a delete marker.
    #[must_use]
    pub fn into_object(self) -> Option<ObjectRecord> {
        match self.version {
            Version::Object(object) => Some(*object),
            Version::DeleteMarker(_) => None,
        }
    }
}

/// Which part of a bucket's listing is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// The bucket.
    pub bucket: BucketId,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that have this after the prefix are rolled up into one common prefix. Empty is as
    /// none.
    pub delimiter: Option<String>,
    /// Only keys after this one, in the order of their UTF-8 bytes.
    pub after: Option<String>,
    /// `after` is a common prefix: skip everything that begins with it, too.
    pub after_prefix: bool,
    /// Entries wanted, objects and common prefixes together.
    pub limit: usize,
}

/// A page of a listing, in the order of the UTF-8 bytes of keys and prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ListPage {
    /// At most `limit` entries.
    pub entries: Vec<ListEntry>,
    /// Whether at least one further entry follows. False when `limit` is 0, as S3 answers.
    pub more: bool,
}

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListEntry {
    /// The latest version of an object.
    Object(ListedObject),
    /// A common prefix, the delimiter included.
    Prefix(String),
}

/// What a listing shows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Plaintext bytes.
    pub bytes: u64,
    /// The ETag, without quotes.
    pub etag: String,
    /// Last-Modified.
    pub modified: Timestamp,
    /// The storage class, when it is not STANDARD.
    pub storage_class: Option<String>,
    /// The algorithm of its checksum.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// Over what its checksum was taken; set together with the algorithm.
    pub checksum_kind: Option<ChecksumKind>,
}

/// A multipart upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRow {
    /// Its record.
    pub record: UploadRecord,
    /// Of the record.
    pub seq: Seq,
}

/// Which uploads of a bucket are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadsQuery {
    /// The bucket.
    pub bucket: BucketId,
    /// Only uploads whose key begins with this.
    pub prefix: String,
    /// Uploads whose key has this after the prefix are rolled up. Empty is as none.
    pub delimiter: Option<String>,
    /// Only uploads after this key, or, with `upload_marker`, from this key on.
    pub key_marker: Option<String>,
    /// Within the key `key_marker`, only uploads begun after this one. When that upload has ended
    /// in the meantime, the key's uploads are given from the first again: rather twice than
    /// not.
    pub upload_marker: Option<UploadId>,
    /// `key_marker` is a common prefix: skip everything that begins with it, too.
    pub after_prefix: bool,
    /// Entries wanted.
    pub limit: usize,
}

/// A page of uploads, by key and within a key in the order in which they began.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UploadsPage {
    /// At most `limit` entries.
    pub entries: Vec<UploadEntry>,
    /// Whether at least one further entry follows. False when `limit` is 0.
    pub more: bool,
}

/// An entry of a list of uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadEntry {
    /// An upload.
    Upload(Box<UploadRow>),
    /// A common prefix, the delimiter included.
    Prefix(String),
}

/// A part of an upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRow {
    /// Its record.
    pub record: PartRecord,
    /// Of the record.
    pub seq: Seq,
}

/// A blob: a pack, or an extent of a version or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRow {
    /// Its name at the sites.
    pub name: BlobName,
    /// Its secret.
    pub secret: BlobSecret,
    /// Its geometry.
    pub geometry: Geometry,
    /// Bytes of a full chunk, before sealing.
    pub chunk_bytes: usize,
    /// Bytes of the blob, before dispersal.
    pub bytes: u64,
    /// The site of each shard, by shard index.
    pub sites: Vec<SiteId>,
    /// Bit `i` is set when shard `i` is stored.
    pub stored: u32,
    /// What has to be done about it.
    pub state: BlobState,
    /// The placement policy that it was written under, where the catalog knows.
    pub policy: Option<String>,
    /// Of an extent that was dispersed anew: the blob by which objects name it.
    pub extent: Option<BlobId>,
    /// The bucket that an extent is in, where the catalog knows.
    pub bucket: Option<BucketId>,
}

impl BlobRow {
    /// The extent as a blob, its state by its `stored` alone.
    #[must_use]
    pub fn from_extent(extent: &Extent) -> Self {
        let state = if stored_whole(extent.geometry, extent.stored) {
            BlobState::Whole
        } else {
            BlobState::Incomplete
        };
        Self {
            name: BlobName::Extent(extent.blob),
            secret: extent.secret.clone(),
            geometry: extent.geometry,
            chunk_bytes: EXTENT_CHUNK_BYTES,
            bytes: extent.bytes,
            sites: extent.sites.clone(),
            stored: extent.stored,
            state,
            policy: None,
            extent: None,
            bucket: None,
        }
    }

    /// The blob's id.
    #[must_use]
    pub const fn blob(&self) -> BlobId {
        self.name.blob()
    }

    /// The blob by which objects name the extent: another once it was dispersed anew.
    #[must_use]
    pub const fn named(&self) -> BlobId {
        match self.extent {
            Some(extent) => extent,
            None => self.name.blob(),
        }
    }
}

/// A shard that is at another site now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardMove {
    /// Which shard.
    pub index: ShardIndex,
    /// The site that the catalog has for it so far.
    pub from: SiteId,
    /// The site that it is stored at now.
    pub to: SiteId,
}

/// A shard that was moved away and has to be deleted where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The site that still has it.
    pub site: SiteId,
    /// The blob.
    pub name: BlobName,
}

/// Who may hold no shards, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExclusionRow {
    /// Its record.
    pub record: ExclusionRecord,
    /// Of the record.
    pub seq: Seq,
}

/// Long work of the keeper: how far it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// What it is; one job of a name.
    pub name: String,
    /// Its state, in the keeper's own encoding.
    pub state: Vec<u8>,
}

/// Whether `stored` has a bit for every shard of `geometry`.
#[must_use]
pub const fn stored_whole(geometry: Geometry, stored: u32) -> bool {
    stored.count_ones() as usize >= geometry.total()
}

/// What has to be done about a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobState {
    /// Nothing: needed, and every shard is stored.
    Whole,
    /// Needed and within its guarantee, but a shard is missing: repair it.
    Incomplete,
    /// Needed and acknowledged below its guarantee: repair it first, and show it until then.
    BelowGuarantee,
    /// No version and no part needs it, or it is a retired pack: delete it at the sites, then
    /// forget it.
    Garbage,
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tenants.
    pub tenants: u64,
    /// Buckets.
    pub buckets: u64,
    /// Versions of objects, delete markers not counted.
    pub objects: u64,
    /// Plaintext bytes of those versions.
    pub bytes: u64,
    /// Multipart uploads in progress.
    pub uploads: u64,
    /// Parts of those.
    pub parts: u64,
    /// Extents, garbage included.
    pub blobs: u64,
    /// Packs, those retired and not yet deleted included.
    pub packs: u64,
    /// Extents that nothing needs any more, and retired packs.
    pub garbage: u64,
    /// Packs and needed extents with a shard missing, those below their guarantee included.
    pub incomplete: u64,
    /// Packs and needed extents that were acknowledged below their guarantee.
    pub below_guarantee: u64,
}
