//! What it would take to close sites: an estimate before anything is done.
//!
//! **Invariant.** Nothing is changed, and no site is asked for anything. Memory is bounded by a
//! page of the catalog.
//!
//! **Deliberately absent.** Prices: whoever pays knows them.
//!
//! **Crash.** Nothing is kept.

use crate::rebuild::bit;
use crate::relocate::{policy_of, positions_of};
use havre_catalog::{BlobState, Catalog, CatalogError};
use havre_codec::Layout;
use havre_model::SiteSet;
use havre_policy::{Arrangement, PlacementPolicy};
use havre_sites::Fleet;

/// Blobs read from the catalog at a time.
const PAGE: usize = 1024;

/// What it would take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Blobs that the catalog has.
    pub blobs: u64,
    /// Those of which shards would have to move.
    pub blobs_to_move: u64,
    /// Their shards that would move.
    pub shards: u64,
    /// Bytes that would be read from each site, by position: what it may charge for.
    pub bytes_read: Vec<u64>,
    /// Bytes that would be stored at each site, by position.
    pub bytes_stored: Vec<u64>,
    /// Blobs for which the open sites allow no placement.
    pub stuck: u64,
    /// Why, of one of them.
    pub reason: String,
}

/// Looks at every blob as if these sites were closed.
///
/// # Errors
/// When the catalog fails.
pub async fn estimate(
    catalog: &dyn Catalog,
    fleet: &Fleet,
    policies: &[PlacementPolicy],
    closed: SiteSet,
) -> Result<Estimate, CatalogError> {
    let zeros = || vec![0; fleet.len()];
    let mut sum = Estimate { bytes_read: zeros(), bytes_stored: zeros(), ..Estimate::default() };
    let mut ranking = fleet.ranking();
    ranking.sort_by_key(|at| closed.contains(*at));
    let mut after = None;
    loop {
        let page = catalog.blobs(after, PAGE).await?;
        let Some(last) = page.last().map(|row| row.blob()) else { return Ok(sum) };
        after = Some(last);
        for row in page.iter().filter(|row| row.state != BlobState::Garbage) {
            sum.blobs += 1;
            let Some(policy) = policy_of(policies, fleet, row) else { continue };
            let positions = positions_of(fleet, row);
            let now = Arrangement { positions: &positions, leftovers: SiteSet::EMPTY };
            let permits = match policy.rearrange(row.blob(), &now, closed, &ranking) {
                Ok(permits) if permits.is_empty() => continue,
                Ok(permits) => permits,
                Err(error) => {
                    sum.stuck += 1;
                    sum.reason = error.to_string();
                    continue;
                }
            };
            sum.blobs_to_move += 1;
            sum.shards += permits.len() as u64;
            let layout = Layout::checked(row.geometry, row.chunk_bytes, row.bytes);
            let shard_bytes = layout.map_or(0, |layout| layout.shard_bytes());
            let stored = row.geometry.indices().filter(|index| row.stored & bit(*index) != 0);
            let mut sources: Vec<usize> =
                stored.filter_map(|index| positions[index.get()]).collect();
            sources.sort_by_key(|at| ranking.iter().position(|ranked| ranked == at));
            for at in sources.into_iter().take(row.geometry.data()) {
                sum.bytes_read[at] += shard_bytes;
            }
            for permit in &permits {
                if let Some((at, _)) = fleet.by_id(permit.site()) {
                    sum.bytes_stored[at] += shard_bytes;
                }
            }
        }
    }
}
