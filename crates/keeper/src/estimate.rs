//! What it would take to close sites, to give each its share, or to put a bucket under another
//! policy: an estimate before anything is done. And what the sites have now.
//!
//! **Invariant.** Nothing is changed, and no site is asked for anything. Memory is bounded by a
//! page of the catalog, and for a bucket by a few dozen bytes a pack.
//!
//! **Deliberately absent.** Prices: whoever pays knows them.
//!
//! **Crash.** Nothing is kept.

use crate::index::Index;
use crate::rebuild::bit;
use crate::redisperse::{is_extent, is_under_another};
use crate::relocate::{policy_at, policy_of, positions_of};
use havre_catalog::{BlobRow, BlobState, Catalog, CatalogError};
use havre_codec::Layout;
use havre_model::{BlobId, BucketId, SiteId, SiteSet};
use havre_policy::{Arrangement, Misplaced, Permit, PlacementPolicy};
use havre_sites::Fleet;
use std::collections::HashMap;

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

/// Bytes of shards that are stored at each site, by position, as the catalog has it.
///
/// # Errors
/// When the catalog fails.
pub async fn stored_bytes(catalog: &dyn Index, fleet: &Fleet) -> Result<Vec<u64>, CatalogError> {
    let (mut sum, mut after) = (vec![0_u64; fleet.len()], None);
    loop {
        let page = catalog.blobs(after, PAGE).await?;
        let Some(last) = page.last().map(BlobRow::blob) else { return Ok(sum) };
        after = Some(last);
        for row in &page {
            let bytes = shard_bytes(row);
            for index in row.geometry.indices().filter(|index| row.stored & bit(*index) != 0) {
                if let Some((at, _)) = fleet.by_id(row.sites[index.get()]) {
                    sum[at] = sum[at].saturating_add(bytes);
                }
            }
        }
    }
}

/// Blobs, garbage included, that the catalog says have a shard at the site, or have one left over
/// there.
///
/// # Errors
/// When the catalog fails.
pub async fn noted_at(catalog: &dyn Catalog, site: SiteId) -> Result<u64, CatalogError> {
    let (mut noted, mut after) = (0, None);
    loop {
        let page = catalog.blobs(after, PAGE).await?;
        let Some(last) = page.last().map(BlobRow::blob) else { break };
        after = Some(last);
        noted += page.iter().filter(|row| row.sites.contains(&site)).count() as u64;
    }
    let mut after = None;
    loop {
        let page = catalog.leftovers(after, PAGE).await?;
        let Some(last) = page.last().map(|leftover| leftover.name.blob()) else {
            return Ok(noted);
        };
        after = Some(last);
        noted += page.iter().filter(|leftover| leftover.site == site).count() as u64;
    }
}

/// Blobs of one policy, and why some of them may not lie as they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Misplacements {
    /// All blobs, garbage aside.
    pub blobs: u64,
    /// Of them: those with a shard at a site that is configured no longer.
    pub homeless: u64,
    /// Those with a shard at a site that takes none, because it is excluded or not eligible.
    pub closed: u64,
    /// Those that a coalition of the guarantee could read.
    pub could_read: u64,
    /// Those that a coalition of the guarantee could cut off.
    pub could_cut_off: u64,
}

/// Counts, for each policy, the blobs that may not lie as they do by these facts; and those of no
/// policy's geometry. A blob counts once, for the first of the reasons.
///
/// # Errors
/// When the catalog fails.
pub async fn misplacements(
    catalog: &dyn Catalog,
    sites: &[SiteId],
    policies: &[PlacementPolicy],
    closed: SiteSet,
) -> Result<(Vec<Misplacements>, u64), CatalogError> {
    let at: HashMap<SiteId, usize> = sites.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let mut counts = vec![Misplacements::default(); policies.len()];
    let (mut foreign, mut after) = (0, None);
    loop {
        let page = catalog.blobs(after, PAGE).await?;
        let Some(last) = page.last().map(BlobRow::blob) else { return Ok((counts, foreign)) };
        after = Some(last);
        for row in page.iter().filter(|row| row.state != BlobState::Garbage) {
            let positions: Vec<_> = row.sites.iter().map(|id| at.get(id).copied()).collect();
            let Some(policy) = policy_at(policies, &positions, row) else {
                foreign += 1;
                continue;
            };
            let same = policies.iter().zip(&mut counts).find(|it| it.0.name() == policy.name());
            let Some((_, count)) = same else { continue };
            count.blobs += 1;
            let now = Arrangement { positions: &positions, leftovers: SiteSet::EMPTY };
            match policy.misplaced(&now, closed) {
                None => {}
                Some(Misplaced::Homeless) => count.homeless += 1,
                Some(Misplaced::Closed) => count.closed += 1,
                Some(Misplaced::CouldRead) => count.could_read += 1,
                Some(Misplaced::CouldCutOff) => count.could_cut_off += 1,
            }
        }
    }
}

/// Looks at every blob as if these sites were closed; with `rebalances`, also at what might lie
/// better where it may lie.
///
/// # Errors
/// When the catalog fails.
pub async fn estimate(
    catalog: &dyn Catalog,
    fleet: &Fleet,
    policies: &[PlacementPolicy],
    closed: SiteSet,
    rebalances: bool,
) -> Result<Estimate, CatalogError> {
    let zeros = || vec![0; fleet.len()];
    let mut sum = Estimate { bytes_read: zeros(), bytes_stored: zeros(), ..Estimate::default() };
    let mut ranking = fleet.ranking();
    ranking.sort_by_key(|at| closed.contains(*at));
    let mut after = None;
    loop {
        let page = catalog.blobs(after, PAGE).await?;
        let Some(last) = page.last().map(BlobRow::blob) else { return Ok(sum) };
        after = Some(last);
        for row in page.iter().filter(|row| row.state != BlobState::Garbage) {
            sum.blobs += 1;
            let Some(policy) = policy_of(policies, fleet, row) else { continue };
            let positions = positions_of(fleet, row);
            let now = Arrangement { positions: &positions, leftovers: SiteSet::EMPTY };
            let blob = row.blob();
            let mut order = fleet.placing(blob);
            order.sort_by_key(|at| closed.contains(*at));
            let permits = match policy.rearrange(blob, &now, closed, &order) {
                Ok(permits) if permits.is_empty() && rebalances => {
                    policy.rebalance(blob, &now, closed, &fleet.settling(blob))
                }
                Ok(permits) => permits,
                Err(error) => {
                    sum.stuck += 1;
                    sum.reason = error.to_string();
                    continue;
                }
            };
            if permits.is_empty() {
                continue;
            }
            sum.blobs_to_move += 1;
            sum.shards += permits.len() as u64;
            add_read(&mut sum.bytes_read, fleet, &ranking, row);
            add_stored(&mut sum.bytes_stored, fleet, &permits, shard_bytes(row));
        }
    }
}

/// What putting a bucket under another policy would take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyEstimate {
    /// Extents that would be dispersed anew.
    pub extents: u64,
    /// Bytes of them, before dispersal.
    pub extent_bytes: u64,
    /// Versions of objects whose records would be carried into other packs.
    pub records: u64,
    /// Bytes of those records, inline objects included.
    pub record_bytes: u64,
    /// Packs that would be read for them.
    pub packs: u64,
    /// Bytes that would be read from each site, by position: what it may charge for.
    pub bytes_read: Vec<u64>,
    /// Bytes that would be stored at each site, by position. What was stored before goes with the
    /// next garbage collection and compaction.
    pub bytes_stored: Vec<u64>,
    /// Extents and records for which the open sites allow no placement.
    pub stuck: u64,
    /// Why, of one of them.
    pub reason: String,
}

/// Looks at all that a bucket holds as if it were under the policy `to`. Records of uploads in
/// progress are left out: they go along where they stand in the same pack.
///
/// # Errors
/// When the catalog fails.
pub async fn policy_change(
    catalog: &dyn Catalog,
    fleet: &Fleet,
    bucket: BucketId,
    to: &PlacementPolicy,
) -> Result<PolicyEstimate, CatalogError> {
    let zeros = || vec![0; fleet.len()];
    let mut sum =
        PolicyEstimate { bytes_read: zeros(), bytes_stored: zeros(), ..PolicyEstimate::default() };
    let ranking = fleet.ranking();
    let mut after = None;
    loop {
        let page = catalog.blobs(after, PAGE).await?;
        let Some(last) = page.last().map(BlobRow::blob) else { break };
        after = Some(last);
        let extents = page.iter().filter(|row| is_extent(row));
        let needed = extents.filter(|row| row.state != BlobState::Garbage);
        let own = needed.filter(|row| row.bucket == Some(bucket));
        for row in own.filter(|row| is_under_another(row, to)) {
            sum.extents += 1;
            sum.extent_bytes += row.bytes;
            let layout = Layout::checked(to.geometry(), row.chunk_bytes, row.bytes);
            let bytes = layout.map_or(0, |layout| layout.shard_bytes());
            sum.store(fleet, to, row.blob(), bytes);
            add_read(&mut sum.bytes_read, fleet, &ranking, row);
        }
    }
    let mut packs: HashMap<BlobId, bool> = HashMap::new();
    let mut after = None;
    loop {
        let page = catalog.places(bucket, after, PAGE).await?;
        let Some((key, seq, _)) = page.last() else { break };
        after = Some((key.clone(), *seq));
        for (_, _, place) in &page {
            let goes = match packs.get(&place.blob) {
                Some(goes) => *goes,
                None => {
                    let row = catalog.blob(place.blob).await?;
                    let row = row.filter(|row| row.policy.as_deref() != Some(to.name()));
                    if let Some(row) = &row {
                        sum.packs += 1;
                        add_read(&mut sum.bytes_read, fleet, &ranking, row);
                    }
                    packs.insert(place.blob, row.is_some());
                    row.is_some()
                }
            };
            if goes {
                sum.records += 1;
                sum.record_bytes += u64::from(place.len);
                // New packs get ids of their own: the old one's is as good for where they may lie.
                let share = u64::from(place.len).div_ceil(to.geometry().data() as u64);
                sum.store(fleet, to, place.blob, share);
            }
        }
    }
    Ok(sum)
}

impl PolicyEstimate {
    fn store(&mut self, fleet: &Fleet, to: &PlacementPolicy, blob: BlobId, bytes: u64) {
        match to.place(&fleet.placing(blob), fleet.closed(), blob) {
            Ok(permits) => add_stored(&mut self.bytes_stored, fleet, &permits, bytes),
            Err(error) => {
                self.stuck += 1;
                self.reason = error.to_string();
            }
        }
    }
}

fn shard_bytes(row: &BlobRow) -> u64 {
    let layout = Layout::checked(row.geometry, row.chunk_bytes, row.bytes);
    layout.map_or(0, |layout| layout.shard_bytes())
}

/// Adds what reading the blob takes from the sites that are asked first.
fn add_read(bytes_read: &mut [u64], fleet: &Fleet, ranking: &[usize], row: &BlobRow) {
    let positions = positions_of(fleet, row);
    let stored = row.geometry.indices().filter(|index| row.stored & bit(*index) != 0);
    let mut sources: Vec<usize> = stored.filter_map(|index| positions[index.get()]).collect();
    sources.sort_by_key(|at| ranking.iter().position(|ranked| ranked == at));
    for at in sources.into_iter().take(row.geometry.data()) {
        bytes_read[at] += shard_bytes(row);
    }
}

fn add_stored(bytes_stored: &mut [u64], fleet: &Fleet, permits: &[Permit], bytes: u64) {
    for permit in permits {
        if let Some((at, _)) = fleet.by_id(permit.site()) {
            bytes_stored[at] += bytes;
        }
    }
}
