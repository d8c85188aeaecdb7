//! Finds out where a blob's shards really are, before any of them is made anew somewhere.
//!
//! **Invariant.** A shard is made anew only when every site that may have one of the blob is known:
//! a coalition that has one which nobody knows of could come to `k` by another (I2). Nothing is
//! deleted here.
//!
//! **Deliberately absent.** Asking about every blob for ever: once garbage collection has listed
//! all sites since the process began, the catalog knows ([`crate::Busy::is_reconciled`]).
//!
//! **Crash.** What was found and not noted is found again.

use crate::index::Index;
use crate::rebuild::bit;
use futures::future;
use havre_catalog::{BlobRow, CatalogError, ShardMove};
use havre_codec::{BlobKeys, SHARD_HEADER_BYTES, shard};
use havre_model::{ShardIndex, SiteId};
use havre_sites::{Fleet, Guarded, SiteErrorKind};

/// What a site says that it has of a blob.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Shard(ShardIndex),
    Nothing,
    NoAnswer,
}

/// The blob with the sites of all its shards, after a look at the sites that the catalog has none
/// of. A shard that is found where the catalog has none, and not where it has it, is there from now
/// on; a copy is a leftover. `None` when a site that may have one does not answer, and when nobody
/// knows where one is to be: such a pack is compacted ([`crate::plan::worth`]), because any site
/// that would get it may have had another.
pub(crate) async fn locate(
    catalog: &dyn Index,
    fleet: &Fleet,
    row: BlobRow,
    is_reconciled: bool,
) -> Result<Option<BlobRow>, CatalogError> {
    if is_reconciled && !row.sites.contains(&SiteId::NOWHERE) {
        return Ok(Some(row));
    }
    let blob = row.blob();
    let left = catalog.leftovers_of(blob).await?;
    let is_known = |site: &SiteId| row.sites.contains(site) || left.contains(site);
    let others: Vec<&Guarded> = fleet.iter().filter(|site| !is_known(&site.id())).collect();
    let mut looks = Vec::with_capacity(others.len());
    for site in &others {
        looks.push(show(site, &row));
    }
    let (mut moves, mut copies): (Vec<ShardMove>, Vec<SiteId>) = (Vec::new(), Vec::new());
    for (site, shown) in others.iter().zip(future::join_all(looks).await) {
        let index = match shown {
            Shown::Nothing => continue,
            Shown::NoAnswer => return Ok(None),
            Shown::Shard(index) => index,
        };
        let from = row.sites[index.get()];
        let noted = match fleet.by_id(from) {
            _ if moves.iter().any(|it| it.index == index) => Shown::Shard(index),
            Some((_, noted)) => show(noted, &row).await,
            None => Shown::Nothing,
        };
        match noted {
            Shown::NoAnswer => return Ok(None),
            Shown::Shard(there) if there == index => copies.push(site.id()),
            _ => moves.push(ShardMove { index, from, to: site.id() }),
        }
    }
    if moves.is_empty() && copies.is_empty() {
        return Ok(Some(row).filter(is_placed));
    }
    // Before it is meant to move: until it did, what is meant for a site counts as left over there,
    // and only what is missing where the catalog has it is no copy.
    let lost = moves.iter().fold(0, |bits, it| bits | bit(it.index));
    if lost != 0 {
        catalog.note_shards(blob, &row.sites, 0, lost).await?;
    }
    let to = moves.iter().map(|it| it.to).chain(copies).collect();
    let noted = catalog.intend_shards(blob, to).await?
        && (moves.is_empty() || catalog.move_shards(blob, moves).await?);
    let now = if noted { catalog.blob(blob).await? } else { None };
    Ok(now.filter(is_placed))
}

/// Whether each shard has a site that it is to be at.
fn is_placed(row: &BlobRow) -> bool {
    !row.sites.contains(&SiteId::NOWHERE)
}

/// Which shard of the blob the site has, by its header.
pub(crate) async fn show(site: &Guarded, row: &BlobRow) -> Shown {
    let keys = BlobKeys::new(&row.secret, row.blob(), row.geometry, row.chunk_bytes);
    match site.read(&row.name, 0..SHARD_HEADER_BYTES as u64).await {
        Ok(bytes) => match shard::parse_header(&bytes, row.blob()) {
            Ok(header) if shard::verify_header(&keys, &header) => Shown::Shard(header.index()),
            _ => Shown::Nothing,
        },
        Err(error) => match error.kind {
            SiteErrorKind::Missing | SiteErrorKind::Invalid => Shown::Nothing,
            _ => Shown::NoAnswer,
        },
    }
}
