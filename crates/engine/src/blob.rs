//! A blob as the engine handles it: its catalog row, its layout and its keys of the second lock.
//!
//! **Invariant.** A handle is of one blob and one geometry; shards of other blobs never meet in it
//! (I5).
//!
//! **Deliberately absent.** Moving bytes: [`crate::gather`] reads, [`crate::extent`] and
//! [`crate::journal`] write.
//!
//! **Crash.** Handles are memory; the row is in the catalog.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use havre_catalog::{BlobRow, BlobState};
use havre_codec::{BlobKeys, ErasureCode, Layout};
use havre_model::limits::PACK_CHUNK_BYTES;
use havre_model::record::BlobSecret;
use havre_model::{BlobName, Geometry, SiteId};
use havre_sites::Fleet;

/// Bytes by which the last sealed chunk of a shard is longer: the length of its stripe's bytes.
pub(crate) const LAST_CHUNK_EXTRA: usize = 4;

/// A blob that can be read.
pub(crate) struct BlobHandle {
    pub(crate) row: BlobRow,
    pub(crate) layout: Layout,
    pub(crate) keys: BlobKeys,
    pub(crate) code: ErasureCode,
    /// Position in the fleet of each shard's site; `None` where the site is no longer configured.
    pub(crate) positions: Vec<Option<usize>>,
}

impl BlobHandle {
    pub(crate) fn new(row: BlobRow, code: ErasureCode, fleet: &Fleet) -> Self {
        let blob = row.name.blob();
        let layout = Layout::new(row.geometry, row.chunk_bytes, row.bytes);
        let keys = BlobKeys::new(&row.secret, blob, row.geometry, row.chunk_bytes);
        let position = |site: &SiteId| fleet.by_id(*site).map(|(position, _)| position);
        let positions = row.sites.iter().map(position).collect();
        Self { layout, keys, code, positions, row }
    }
}

/// The row of a pack that is about to be written.
pub(crate) fn pack_row(
    name: BlobName,
    secret: BlobSecret,
    geometry: Geometry,
    bytes: u64,
    sites: Vec<SiteId>,
) -> BlobRow {
    let (chunk_bytes, stored, state) = (PACK_CHUNK_BYTES, 0, BlobState::Incomplete);
    let (policy, extent, bucket) = (None, None, None);
    BlobRow {
        name,
        secret,
        geometry,
        chunk_bytes,
        bytes,
        sites,
        stored,
        state,
        policy,
        extent,
        bucket,
    }
}

/// Deletes a blob at all its sites, as far as they let us; true when every one of them did.
pub(crate) async fn delete_shards(fleet: &Fleet, name: &BlobName, sites: &[SiteId]) -> bool {
    let positions = sites.iter().filter_map(|site| fleet.by_id(*site)).map(|(at, _)| at);
    let deletes: FuturesUnordered<_> =
        positions.map(|position| fleet.site(position).delete(name)).collect();
    let results: Vec<_> = deletes.collect().await;
    results.len() == sites.len() && results.iter().all(Result::is_ok)
}
