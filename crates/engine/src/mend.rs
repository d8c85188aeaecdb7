//! Brings the last pack of a chain to its guarantee, before anything is acknowledged behind it.
//!
//! **Invariant.** Shards are only added, each at the site that it was made for (I2). True is said
//! only of a pack that the loss of no coalition takes away.
//!
//! **Deliberately absent.** A shard of which nobody knows where it was made for: any site that got
//! it may have had another one, so the pack is repeated instead ([`crate::repeat`]). Repair of
//! other blobs: those in front of an acknowledged pack were within their guarantee when it was
//! written, and what they lost since is the keeper's work.
//!
//! **Crash.** A shard that was put and not noted is found by its header.

use crate::blob::BlobHandle;
use crate::fanout::bit;
use crate::gather::shard_at;
use crate::shared::{Placement, Shared};
use futures::future;
use havre_catalog::{BlobRow, CatalogError, ShardMove};
use havre_codec::disperse;
use havre_model::{BlobId, ShardIndex, SiteSet};
use havre_policy::{Acknowledgement, OnOutage, Permit, PlacementPolicy};
use havre_sites::{Guarded, SiteErrorKind};
use std::sync::Arc;

/// A shard, and the position of the site that has it or is to have it.
pub(crate) type Placed = (ShardIndex, usize);

/// Puts the missing shards of a pack; whether it is within its guarantee now.
pub(crate) async fn mend(shared: &Arc<Shared>, placement: &Placement, blob: BlobId) -> bool {
    let policy = &placement.policy;
    shared.blobs.remove(&blob);
    let handle = match shared.blob(blob).await {
        Ok(handle) if handle.row.geometry == policy.geometry() => handle,
        // Of another geometry: an earlier configuration's, and nothing of this one's can help it.
        Ok(_) => return true,
        Err(error) => {
            tracing::warn!(%blob, %error, "the last pack of a chain cannot be looked up");
            return false;
        }
    };
    let mut stored = sites_of(&noted(&handle));
    if policy.acknowledges(stored) == Acknowledgement::Within {
        return true;
    }
    match mend_blob(shared, policy, &handle).await {
        Ok(put) => stored = stored.union(sites_of(&put)),
        Err(error) => {
            tracing::warn!(%blob, %error, "the last pack of a chain cannot be mended");
        }
    }
    shared.blobs.remove(&blob);
    match (policy.acknowledges(stored), policy.on_outage()) {
        (Acknowledgement::Within, _) | (Acknowledgement::Below { .. }, OnOutage::Degrade) => true,
        (verdict, _) => {
            tracing::warn!(%blob, ?verdict, "the last pack of a chain is below its guarantee");
            false
        }
    }
}

async fn mend_blob(
    shared: &Arc<Shared>,
    policy: &PlacementPolicy,
    handle: &Arc<BlobHandle>,
) -> Result<Vec<Placed>, crate::ReadError> {
    let row = &handle.row;
    let frame = shared.blob_bytes(handle, 0..row.bytes).await?;
    let put = put_missing(shared, policy, handle, &frame).await;
    let own = |(index, at): &&Placed| handle.positions[index.get()] == Some(*at);
    let bits = put.iter().filter(own).fold(0, |bits, (index, _)| bits | bit(*index));
    if bits != 0 {
        shared.catalog.note_shards(row.blob(), &row.sites, bits, 0).await?;
    }
    Ok(put)
}

/// The pack that a replay found at the end of a chain.
pub(crate) struct End {
    /// Where its shards are.
    pub(crate) row: BlobRow,
    /// What they were made of.
    pub(crate) bytes: Vec<u8>,
}

/// Puts the missing shards of such a pack while its bytes are at hand: a site that showed its shard
/// a moment ago may not do so again.
pub(crate) async fn mend_end(shared: &Shared, end: End) -> Result<(), CatalogError> {
    let End { row, bytes } = end;
    let mut placements = shared.placements.iter();
    let Some(placement) = placements.find(|it| it.policy.geometry() == row.geometry) else {
        return Ok(());
    };
    let blob = row.blob();
    let handle = BlobHandle::new(row, placement.code.clone(), &shared.fleet);
    let sites = &handle.row.sites;
    let (mut stored, mut moves) = (0, Vec::new());
    for (index, at) in put_missing(shared, &placement.policy, &handle, &bytes).await {
        match handle.positions[index.get()] {
            Some(own) if own == at => stored |= bit(index),
            _ => {
                let (from, to) = (sites[index.get()], shared.fleet.site(at).id());
                moves.push(ShardMove { index, from, to });
            }
        }
    }
    if stored != 0 {
        shared.catalog.note_shards(blob, sites, stored, 0).await?;
    }
    let to = moves.iter().map(|it| it.to).collect();
    if !moves.is_empty() && shared.catalog.intend_shards(blob, to).await? {
        shared.catalog.move_shards(blob, moves).await?;
    }
    Ok(())
}

/// Puts every shard of a pack that is not noted as stored where it belongs; those that are stored
/// now. `frame` is what the pack was made of.
pub(crate) async fn put_missing(
    shared: &Shared,
    policy: &PlacementPolicy,
    handle: &BlobHandle,
    frame: &[u8],
) -> Vec<Placed> {
    let row = &handle.row;
    let places = place(shared, policy, handle, noted(handle)).await;
    // Whoever was given a shard counts, stored or not: what is noted as lost may be there yet.
    let given = handle.positions.iter().flatten().copied();
    let holders = given.chain(places.iter().map(|(_, position)| *position));
    let holders: SiteSet = holders.collect();
    let shards = disperse(&handle.code, &handle.keys, &row.secret, frame);
    let mut puts = Vec::new();
    for (index, position) in places {
        let site = shared.fleet.site(position);
        let others = holders.minus(SiteSet::EMPTY.with(position));
        let permit = || policy.permit(row.blob(), index, site.id(), others);
        let (Ok(first), Ok(second)) = (permit(), permit()) else { continue };
        let shard = shards[index.get()].clone();
        puts.push(async move {
            let is_stored = put_over(site, handle, [first, second], shard).await;
            is_stored.then_some((index, position))
        });
    }
    future::join_all(puts).await.into_iter().flatten().collect()
}

/// Puts a shard, over a spoilt one too; whether the site has it now. The same shard there already
/// is as good as one that is put.
async fn put_over(
    site: &Guarded,
    handle: &BlobHandle,
    [first, second]: [Permit; 2],
    shard: bytes::Bytes,
) -> bool {
    let name = &handle.row.name;
    match site.put(first, name, shard.clone()).await {
        Err(error) if error.kind == SiteErrorKind::Exists => {
            site.delete(name).await.is_ok() && site.put(second, name, shard).await.is_ok()
        }
        put => put.is_ok(),
    }
}

/// The shards that the catalog has as stored, at sites that are still configured.
fn noted(handle: &BlobHandle) -> Vec<Placed> {
    let indices = handle.row.geometry.indices();
    let stored = indices.filter(|index| handle.row.stored & bit(*index) != 0);
    stored.filter_map(|index| Some((index, handle.positions[index.get()]?))).collect()
}

fn sites_of(placed: &[Placed]) -> SiteSet {
    placed.iter().map(|(_, position)| *position).collect()
}

/// Where each shard that is not `known` to be stored is to be: at its own site; if nobody knows
/// which that is, at the one that shows it.
async fn place(
    shared: &Shared,
    policy: &PlacementPolicy,
    handle: &BlobHandle,
    known: Vec<Placed>,
) -> Vec<Placed> {
    let mut places = Vec::new();
    let mut homeless = Vec::new();
    let stored = sites_of(&known);
    // What an excluded site misses, relocation makes anew elsewhere.
    let open = policy.eligible().minus(shared.fleet.closed());
    for index in handle.row.geometry.indices() {
        match handle.positions[index.get()] {
            _ if known.iter().any(|(stored, _)| *stored == index) => {}
            Some(position) if open.contains(position) => places.push((index, position)),
            Some(position) if policy.eligible().contains(position) => {}
            _ => homeless.push(index),
        }
    }
    if homeless.is_empty() {
        return places;
    }
    let others: Vec<usize> = open.minus(stored).minus(sites_of(&places)).iter().collect();
    let looks = others.iter().map(|position| shard_at(&shared.fleet, handle, *position));
    for (position, found) in others.iter().zip(future::join_all(looks).await) {
        if let Ok(index) = found
            && homeless.contains(&index)
        {
            homeless.retain(|other| *other != index);
            places.push((index, *position));
        }
    }
    places
}
