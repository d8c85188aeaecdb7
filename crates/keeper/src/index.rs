//! What the keeper asks of the catalog, and nothing else: blobs, where their shards are, and how
//! far its own jobs got.
//!
//! **Invariant.** Narrow: no call here names a tenant, a bucket, an object or a wrapped key, so
//! that a keeper in a process of its own can be given this and not the catalog (I24).
//!
//! **Deliberately absent.** Writers and readers: [`crate::HeldBlobs`]. What a call means is said
//! where it is carried out, at [`Catalog`].
//!
//! **Crash.** As the catalog's.

use async_trait::async_trait;
use havre_catalog::{BlobRow, Catalog, CatalogError, JobRow, Leftover, ShardMove};
use havre_model::{BlobId, ChainId, SiteId};
use std::sync::Arc;

/// The keeper's part of the catalog. Each method but the first two is [`Catalog`]'s of the same
/// name.
#[async_trait]
pub trait Index: Send + Sync + 'static {
    /// The chains that this catalog's gateways write: those that are known from their packs alone
    /// are left out.
    async fn own_chains(&self) -> Result<Vec<ChainId>, CatalogError>;

    /// How many blobs there are, packs and garbage included.
    async fn blob_count(&self) -> Result<u64, CatalogError>;

    /// The blob.
    async fn blob(&self, blob: BlobId) -> Result<Option<BlobRow>, CatalogError>;

    /// All blobs after `after`, by id, at most `limit`.
    async fn blobs(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError>;

    /// Blobs after `after` that are needed and not stored whole, at most `limit`.
    async fn below_guarantee(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError>;

    /// Blobs after `after` that nothing needs any more, at most `limit`.
    async fn garbage(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError>;

    /// Forgets a garbage blob, after every site has deleted it.
    async fn forget_blob(&self, blob: BlobId) -> Result<bool, CatalogError>;

    /// Notes which shards are stored, and which are lost.
    async fn note_shards(
        &self,
        blob: BlobId,
        sites: &[SiteId],
        stored: u32,
        lost: u32,
    ) -> Result<bool, CatalogError>;

    /// Notes that shards are about to be stored at these sites.
    async fn intend_shards(&self, blob: BlobId, sites: Vec<SiteId>) -> Result<bool, CatalogError>;

    /// Notes that shards are stored at other sites now.
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

    /// The job of this name.
    async fn job(&self, name: &str) -> Result<Option<JobRow>, CatalogError>;

    /// Writes how far a job got, durably, and with it everything that was changed before.
    async fn put_job(&self, job: JobRow) -> Result<(), CatalogError>;
}

#[async_trait]
impl<C: Catalog + ?Sized> Index for Arc<C> {
    async fn own_chains(&self) -> Result<Vec<ChainId>, CatalogError> {
        let chains = self.chains().await?;
        let own = chains.into_iter().filter(|state| state.gateway.is_some());
        Ok(own.map(|state| state.chain).collect())
    }

    async fn blob_count(&self) -> Result<u64, CatalogError> {
        let counts = self.counts().await?;
        Ok(counts.blobs + counts.packs)
    }

    async fn blob(&self, blob: BlobId) -> Result<Option<BlobRow>, CatalogError> {
        (**self).blob(blob).await
    }

    async fn blobs(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError> {
        (**self).blobs(after, limit).await
    }

    async fn below_guarantee(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError> {
        (**self).below_guarantee(after, limit).await
    }

    async fn garbage(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError> {
        (**self).garbage(after, limit).await
    }

    async fn forget_blob(&self, blob: BlobId) -> Result<bool, CatalogError> {
        (**self).forget_blob(blob).await
    }

    async fn note_shards(
        &self,
        blob: BlobId,
        sites: &[SiteId],
        stored: u32,
        lost: u32,
    ) -> Result<bool, CatalogError> {
        (**self).note_shards(blob, sites, stored, lost).await
    }

    async fn intend_shards(&self, blob: BlobId, sites: Vec<SiteId>) -> Result<bool, CatalogError> {
        (**self).intend_shards(blob, sites).await
    }

    async fn move_shards(&self, blob: BlobId, moves: Vec<ShardMove>) -> Result<bool, CatalogError> {
        (**self).move_shards(blob, moves).await
    }

    async fn leftovers_of(&self, blob: BlobId) -> Result<Vec<SiteId>, CatalogError> {
        (**self).leftovers_of(blob).await
    }

    async fn leftovers(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<Leftover>, CatalogError> {
        (**self).leftovers(after, limit).await
    }

    async fn forget_leftover(&self, leftover: Leftover) -> Result<(), CatalogError> {
        (**self).forget_leftover(leftover).await
    }

    async fn job(&self, name: &str) -> Result<Option<JobRow>, CatalogError> {
        (**self).job(name).await
    }

    async fn put_job(&self, job: JobRow) -> Result<(), CatalogError> {
        (**self).put_job(job).await
    }
}
