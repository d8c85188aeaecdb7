//! The catalog: which tenants, buckets, versions, uploads and blobs exist, and how far the packs
//! that say so are applied. `docs/catalog.md` describes the schema.
//!
//! **Invariant.** The catalog is a view: what the packs say, highest sequence number first, and
//! nothing else. A pack is applied whole or not at all, and applying it again changes nothing.
//!
//! **Deliberately absent.** Decisions (conditional writes, retention, quotas: `engine`), keys that
//! open anything a customer wrote, and bytes of objects.
//!
//! **Crash.** A kill loses nothing that was applied. A power cut may lose the last packs applied,
//! which are replayed from the sites; it neither corrupts the catalog nor leaves half a pack in it.

mod error;
mod listing;
mod rows;
mod sqlite;

pub use error::{CatalogError, OpenError};
pub use rows::{
    AppliedPack, AppliedRecord, BlobRow, BlobState, BucketRow, ChainState, Counts, ExclusionRow,
    JobRow, Leftover, ListEntry, ListPage, ListQuery, ListedObject, Need, PackLink, PackPlace,
    PackRow, PackedRecord, PartRow, ShardMove, TenantRow, UploadEntry, UploadRow, UploadsPage,
    UploadsQuery, Version, VersionRow, stored_whole,
};

pub use sqlite::{Mode, Opened, SqliteCatalog};

use async_trait::async_trait;
use havre_model::record::{ObjectKey, RetiredRun};
use havre_model::{BlobId, BucketId, ChainId, Seq, SiteId, TenantId, UploadId, VersionId};
use std::ops::Range;

/// The index of what exists. Every method fails with [`CatalogError::Closed`], `Damaged` or
/// `Storage`; further errors are named where they occur. A call that was sent is carried out even
/// when its future is dropped.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Makes true what a durable pack says: one transaction, shared with other calls that wait at
    /// the same time. A pack that is applied already is a no-op. Live, a chain's packs come in
    /// order, each after the one before it was applied; during a recovery in any, so call
    /// concurrently there.
    ///
    /// # Errors
    /// [`CatalogError::Gap`] when, live, it does not refer to the last pack applied.
    async fn apply(&self, pack: AppliedPack) -> Result<(), CatalogError>;

    /// `count` sequence numbers that were never handed out before and never will be again, above
    /// every one that was ever applied.
    async fn reserve_seqs(&self, count: u64) -> Result<Range<u64>, CatalogError>;

    /// All chains, by id.
    async fn chains(&self) -> Result<Vec<ChainState>, CatalogError>;

    /// The chain that `gateway` writes for `policy`; when there is none, `proposed` becomes it,
    /// durably.
    ///
    /// # Errors
    /// [`CatalogError::ForeignChain`] when `proposed` would be needed but is another's.
    async fn open_chain(
        &self,
        gateway: &str,
        policy: &str,
        proposed: ChainId,
    ) -> Result<ChainState, CatalogError>;

    /// The tenant of this name.
    async fn tenant_by_name(&self, name: &str) -> Result<Option<TenantRow>, CatalogError>;

    /// All tenants, by id.
    async fn tenants(&self) -> Result<Vec<TenantRow>, CatalogError>;

    /// The bucket of this name, whosever it is.
    async fn bucket_by_name(&self, name: &str) -> Result<Option<BucketRow>, CatalogError>;

    /// The bucket of this id.
    async fn bucket(&self, bucket: BucketId) -> Result<Option<BucketRow>, CatalogError>;

    /// A tenant's buckets by name: those after `after` that begin with `prefix`, at most `limit`.
    async fn buckets(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        prefix: Option<&str>,
        limit: usize,
    ) -> Result<Vec<BucketRow>, CatalogError>;

    /// All buckets of all tenants, by id, for the keyring at start.
    async fn all_buckets(&self) -> Result<Vec<BucketRow>, CatalogError>;

    /// Where the records of the bucket's versions stand, those after `after` (key and seq, newest
    /// of a key first), at most `limit`.
    async fn places(
        &self,
        bucket: BucketId,
        after: Option<(ObjectKey, Seq)>,
        limit: usize,
    ) -> Result<Vec<(ObjectKey, Seq, PackPlace)>, CatalogError>;

    /// Whether the bucket has no version and no delete marker; uploads do not count.
    async fn bucket_is_empty(&self, bucket: BucketId) -> Result<bool, CatalogError>;

    /// The newest version of the key, which may be a delete marker.
    async fn latest(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
    ) -> Result<Option<VersionRow>, CatalogError>;

    /// The version of the key with this id, the null version under its own id included.
    async fn version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<Option<VersionRow>, CatalogError>;

    /// A page of the bucket's objects: the latest version of each key, unless it is a delete
    /// marker.
    async fn list(&self, query: ListQuery) -> Result<ListPage, CatalogError>;

    /// The upload, while it is in progress and of this bucket.
    async fn upload(
        &self,
        bucket: BucketId,
        upload: UploadId,
    ) -> Result<Option<UploadRow>, CatalogError>;

    /// A page of the bucket's uploads in progress.
    async fn uploads(&self, query: UploadsQuery) -> Result<UploadsPage, CatalogError>;

    /// The part of this number of an upload in progress.
    async fn part(&self, upload: UploadId, number: u16) -> Result<Option<PartRow>, CatalogError>;

    /// The parts of an upload in progress with a number above `after`, by number, at most `limit`.
    async fn parts(
        &self,
        upload: UploadId,
        after: u16,
        limit: usize,
    ) -> Result<Vec<PartRow>, CatalogError>;

    /// The blob. A pack that is known here is applied.
    async fn blob(&self, blob: BlobId) -> Result<Option<BlobRow>, CatalogError>;

    /// The blob that has the bytes of the extent which objects name by this blob: that one, or what
    /// it was dispersed anew into.
    async fn extent(&self, named: BlobId) -> Result<Option<BlobRow>, CatalogError>;

    /// All blobs after `after`, by id, at most `limit`.
    async fn blobs(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError>;

    /// Notes that the shards of the bits in `stored` are stored now at the sites in `sites` (by
    /// shard index), and those in `lost` no longer are (`lost` counts where both are set). What
    /// the catalog has at another site by now is left as it is. False when the blob is not known:
    /// apply its pack first.
    async fn note_shards(
        &self,
        blob: BlobId,
        sites: &[SiteId],
        stored: u32,
        lost: u32,
    ) -> Result<bool, CatalogError>;

    /// Notes that shards of the blob are about to be stored at these sites: until they are moved
    /// there or deleted, they count as leftovers. False when the blob is not known or one of
    /// the sites has a shard or a leftover of it.
    async fn intend_shards(&self, blob: BlobId, sites: Vec<SiteId>) -> Result<bool, CatalogError>;

    /// Notes that shards are stored at other sites now, and have to be deleted where they were. All
    /// of `moves` or none: false when the blob is not known, a shard is elsewhere by now, or a new
    /// site was not intended for it.
    async fn move_shards(&self, blob: BlobId, moves: Vec<ShardMove>) -> Result<bool, CatalogError>;

    /// The sites that still have a shard of the blob which was moved away.
    async fn leftovers_of(&self, blob: BlobId) -> Result<Vec<SiteId>, CatalogError>;

    /// What was left of blobs after `after`, by blob, about `limit`.
    async fn leftovers(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<Leftover>, CatalogError>;

    /// Forgets a leftover, after its site has deleted it.
    async fn forget_leftover(&self, leftover: Leftover) -> Result<(), CatalogError>;

    /// Packs after that of `after` (chain and number), in this order, at most `limit`; retired ones
    /// left out.
    async fn packs(
        &self,
        after: Option<(ChainId, u64)>,
        limit: usize,
    ) -> Result<Vec<PackRow>, CatalogError>;

    /// What stands in a pack, and what of it still counts; `None` when that is not known, or the
    /// pack is retired.
    async fn pack_contents(&self, blob: BlobId) -> Result<Option<Vec<PackedRecord>>, CatalogError>;

    /// Where the record of this number counts, if it does.
    async fn place_of(&self, seq: Seq) -> Result<Option<PackPlace>, CatalogError>;

    /// Forgets that ends count (tombstones, ends of uploads) which nothing in any pack needs any
    /// more to stay dead; some thousands at a time, how many. `settled` as in [`AppliedPack`]. None
    /// during a recovery.
    async fn drop_ends(&self, settled: Seq) -> Result<u64, CatalogError>;

    /// The retired packs of a chain, in runs by number.
    async fn retired(&self, chain: ChainId) -> Result<Vec<RetiredRun>, CatalogError>;

    /// Who may hold no shards.
    async fn exclusions(&self) -> Result<Vec<ExclusionRow>, CatalogError>;

    /// All jobs, by name.
    async fn jobs(&self) -> Result<Vec<JobRow>, CatalogError>;

    /// The job of this name.
    async fn job(&self, name: &str) -> Result<Option<JobRow>, CatalogError>;

    /// Writes how far a job got, durably, and with it everything that was changed before.
    async fn put_job(&self, job: JobRow) -> Result<(), CatalogError>;

    /// Extents after `after` that no version and no part needs any more, and retired packs, by id,
    /// at most `limit`. None during a recovery: what needs them may not have been seen yet.
    async fn garbage(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError>;

    /// Forgets a garbage blob, after every site has deleted it. False when it is unknown or needed:
    /// then nothing changes.
    async fn forget_blob(&self, blob: BlobId) -> Result<bool, CatalogError>;

    /// Blobs after `after` that are needed and not stored whole, by id, at most `limit`: repair
    /// jobs. Those that were acknowledged below their guarantee say so in their state.
    async fn below_guarantee(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError>;

    /// How much of everything there is; cheap at any size.
    async fn counts(&self) -> Result<Counts, CatalogError>;

    /// Begins a recovery, or goes on with one that was interrupted: from here on packs may be
    /// applied in any order.
    ///
    /// # Errors
    /// [`CatalogError::NotEmpty`] when packs were applied outside of a recovery.
    async fn begin_recovery(&self) -> Result<(), CatalogError>;

    /// Ends a recovery, after every pack was applied: what was kept because something might still
    /// follow goes, and everything is on stable storage when this returns.
    ///
    /// # Errors
    /// [`CatalogError::NotRecovering`].
    async fn finish_recovery(&self) -> Result<(), CatalogError>;

    /// Whether a recovery has begun and not been finished. Survives a restart.
    async fn is_recovering(&self) -> Result<bool, CatalogError>;

    /// The marker that the site was given when it was first used.
    async fn site_marker(&self, site: SiteId) -> Result<Option<[u8; 16]>, CatalogError>;

    /// All sites' markers, by site.
    async fn site_markers(&self) -> Result<Vec<(SiteId, [u8; 16])>, CatalogError>;

    /// Remembers the marker of a site, durably.
    async fn set_site_marker(&self, site: SiteId, marker: [u8; 16]) -> Result<(), CatalogError>;
}
