//! A blob as the engine handles it: its catalog row, its layout and its keys of the second lock.
//!
//! **Invariant.** A handle is of one blob and one geometry; shards of other blobs never meet in it (I5).
//!
//! **Deliberately absent.** Moving bytes: [`crate::gather`] reads, [`crate::extent`] and [`crate::journal`] write.
//!
//! **Crash.** Handles are memory; the row is in the catalog.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use havre_catalog::BlobRow;
use havre_codec::{BlobKeys, ErasureCode, Layout, SHARD_HEADER_BYTES};
use bytes::{Bytes, BytesMut};
use havre_model::limits::{PACK_CHUNK_BYTES, TAG_BYTES};
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
    pub(crate) fn new(row: BlobRow, fleet: &Fleet) -> Self {
        let blob = row.name.blob();
        let layout = Layout::new(row.geometry, row.chunk_bytes, row.bytes);
        let keys = BlobKeys::new(&row.secret, blob, row.geometry, row.chunk_bytes);
        let position = |site: &SiteId| fleet.by_id(*site).map(|(position, _)| position);
        let positions = row.sites.iter().map(position).collect();
        Self { layout, keys, code: ErasureCode::new(row.geometry), positions, row }
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
    BlobRow { name, secret, geometry, chunk_bytes: PACK_CHUNK_BYTES, bytes, sites, stored: 0 }
}

/// The shards of a blob that is in memory.
pub(crate) fn pack_shards(row: &BlobRow, code: &ErasureCode, bytes: &[u8]) -> Vec<Bytes> {
    let layout = Layout::new(row.geometry, row.chunk_bytes, row.bytes);
    let keys = BlobKeys::new(&row.secret, row.name.blob(), row.geometry, row.chunk_bytes);
    let shard_bytes = usize::try_from(layout.shard_bytes()).expect("a pack fits memory");
    let mut shards: Vec<BytesMut> = keys.headers(&row.secret).iter().map(|header| {
        let mut shard = BytesMut::with_capacity(shard_bytes);
        shard.extend_from_slice(header);
        shard
    }).collect();
    debug_assert!(shards.iter().all(|shard| shard.len() == SHARD_HEADER_BYTES));
    let stripes = layout.stripes();
    for stripe in 0..stripes {
        let range = layout.stripe_range(stripe);
        let start = usize::try_from(range.start).expect("a pack fits memory");
        let end = usize::try_from(range.end).expect("a pack fits memory");
        seal_stripe_of(&bytes[start..end], &mut shards, &keys, code, &layout, stripe);
    }
    shards.into_iter().map(BytesMut::freeze).collect()
}

/// Appends stripe `stripe`, which holds `data`, to the shards.
pub(crate) fn seal_stripe_of(
    data: &[u8],
    shards: &mut [BytesMut],
    keys: &BlobKeys,
    code: &ErasureCode,
    layout: &Layout,
    stripe: u64,
) {
    let last = stripe + 1 == layout.stripes();
    let chunk_len = layout.chunk_len(stripe);
    let slot_len = chunk_len + TAG_BYTES + if last { LAST_CHUNK_EXTRA } else { 0 };
    let mut pieces = data.chunks(chunk_len);
    let mut slots: Vec<&mut [u8]> = shards
        .iter_mut()
        .enumerate()
        .map(|(index, shard)| {
            let at = shard.len();
            if index < layout.geometry().data() {
                shard.extend_from_slice(pieces.next().unwrap_or_default());
            }
            shard.resize(at + slot_len, 0);
            &mut shard[at..]
        })
        .collect();
    let data_len = u32::try_from(data.len()).expect("a stripe is below 4 GiB");
    keys.seal_stripe(code, stripe, last.then_some(data_len), &mut slots);
}

/// Deletes a blob at all its sites, as far as they let us; true when every one of them did.
pub(crate) async fn delete_shards(fleet: &Fleet, name: &BlobName, sites: &[SiteId]) -> bool {
    let positions = sites.iter().filter_map(|site| fleet.by_id(*site)).map(|(at, _)| at);
    let deletes: FuturesUnordered<_> =
        positions.map(|position| fleet.site(position).delete(name)).collect();
    let results: Vec<_> = deletes.collect().await;
    results.len() == sites.len() && results.iter().all(Result::is_ok)
}
