//! A directory as a site, durable: what it acknowledged survives a power cut.
//!
//! **Invariant.** A name appears only after its bytes are on the disk, and is acknowledged only
//! after the directory that has it is on the disk too: write, `fdatasync`, link without
//! overwriting, `fsync` of the directory; a new directory's parent is synced before anything in it
//! counts.
//!
//! **Deliberately absent.** Deadlines: a hung disk holds a thread, of which a site has [`HOPS_MAX`]
//! at most, and [`crate::Guarded`] stops waiting for it. Checksums: every chunk is authentic by
//! itself.
//!
//! **Crash.** Unlinked temporary files vanish by themselves; named ones (where the file system has
//! no unlinked ones) are taken by [`Site::sweep`], which can tell the dead from the living by their
//! locks.

mod handles;
mod listing;
mod tree;
mod writer;

use crate::{
    Operation, ShardWriter, Site, SiteCounts, SiteError, SiteErrorKind, SitePage,
    site::{MARKER_NAME, check_permit, marker_text, parse_marker, range_len},
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use havre_model::{BlobName, SiteId};
use havre_policy::Permit;
use std::{ops::Range, path::Path, sync::Arc};
use tokio::sync::Semaphore;
use tree::Tree;

/// Threads that one local site may hold at once, so that a hung disk cannot take all the
/// runtime's blocking threads (tokio has 512) from the other sites.
pub const HOPS_MAX: usize = 24;

/// Longest range that is tried without a hop to another thread, when the page cache has it: a
/// copy of 128 KiB takes about as long as the two context switches of a hop.
const INLINE_READ_BYTES_MAX: usize = 128 * 1024;

/// A directory as a site. Clones are the same site.
#[derive(Clone)]
pub struct LocalSite {
    tree: Arc<Tree>,
    hops: Arc<Semaphore>,
}

impl LocalSite {
    /// The site in the directory `root`, which is made if it can be. A directory that cannot be
    /// made now (an unmounted or broken disk) is no error: the operations say so until it is there.
    ///
    /// # Errors
    /// `Refused` when `root` is something else than a directory.
    pub fn open(id: SiteId, name: &str, root: &Path) -> Result<Self, SiteError> {
        let tree = Arc::new(Tree::open(id, name, root)?);
        Ok(Self { tree, hops: Arc::new(Semaphore::new(HOPS_MAX)) })
    }

    /// Runs `work` where it may block. The slot moves into the thread: when the caller stops
    /// waiting, the thread still counts.
    async fn hop<T, F>(&self, operation: Operation, work: F) -> Result<T, SiteError>
    where
        T: Send + 'static,
        F: FnOnce(&Tree) -> Result<T, SiteError> + Send + 'static,
    {
        let slot = Arc::clone(&self.hops).acquire_owned().await;
        let slot = slot.expect("the semaphore of a site is never closed");
        let tree = Arc::clone(&self.tree);
        let done = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work(&tree)
        });
        match done.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {
                let detail = "the process is ending";
                Err(self.tree.error(SiteErrorKind::Unreachable, operation, detail))
            }
        }
    }
}

#[async_trait]
impl Site for LocalSite {
    fn id(&self) -> SiteId {
        self.tree.id
    }

    fn name(&self) -> &str {
        &self.tree.name
    }

    async fn put(&self, permit: &Permit, name: &BlobName, shard: Bytes) -> Result<(), SiteError> {
        check_permit(permit, self.tree.id, name, Operation::Put)?;
        let name = *name;
        self.hop(Operation::Put, move |tree| tree.put(&name, &shard)).await
    }

    async fn create(
        &self,
        permit: &Permit,
        name: &BlobName,
        _shard_bytes: Option<u64>,
    ) -> Result<Box<dyn ShardWriter>, SiteError> {
        check_permit(permit, self.tree.id, name, Operation::Create)?;
        Ok(Box::new(writer::LocalWriter::new(self.clone(), *name)))
    }

    async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut, SiteError> {
        let Some(len) = range_len(&range) else {
            let detail = "the range is no range";
            return Err(self.tree.error(SiteErrorKind::Invalid, Operation::Read, detail));
        };
        let mut buffer = BytesMut::zeroed(len);
        if len <= INLINE_READ_BYTES_MAX && self.tree.read_cached(name, range.start, &mut buffer) {
            return Ok(buffer);
        }
        let name = *name;
        self.hop(Operation::Read, move |tree| {
            tree.read(&name, range.start, &mut buffer)?;
            Ok(buffer)
        })
        .await
    }

    async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError> {
        let name = *name;
        self.hop(Operation::ReadAll, move |tree| tree.read_all(&name, bytes_max)).await
    }

    async fn delete(&self, name: &BlobName) -> Result<(), SiteError> {
        let name = *name;
        self.hop(Operation::Delete, move |tree| tree.delete(&name)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        let (prefix, after) = (prefix.to_owned(), after.copied());
        self.hop(Operation::List, move |tree| tree.list(&prefix, after.as_ref(), limit)).await
    }

    async fn marker(&self) -> Result<Option<[u8; 16]>, SiteError> {
        self.hop(Operation::Marker, |tree| {
            let Some(text) = tree.read_marker()? else { return Ok(None) };
            let marker = parse_marker(&text).ok_or_else(|| {
                let detail = format!("the file {MARKER_NAME} is no marker");
                tree.error(SiteErrorKind::Invalid, Operation::Marker, &detail)
            })?;
            tree.note_marker();
            Ok(Some(marker))
        })
        .await
    }

    async fn set_marker(&self, marker: [u8; 16]) -> Result<(), SiteError> {
        self.hop(Operation::SetMarker, move |tree| {
            tree.write_marker(marker_text(marker).as_bytes())?;
            tree.note_marker();
            Ok(())
        })
        .await
    }

    async fn sweep(&self) -> Result<u64, SiteError> {
        self.hop(Operation::Sweep, Tree::sweep).await
    }

    fn counts(&self) -> SiteCounts {
        SiteCounts { fsyncs: self.tree.fsyncs(), requests: 0 }
    }
}

#[cfg(test)]
mod tests;
