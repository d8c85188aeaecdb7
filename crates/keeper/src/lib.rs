//! Works on blobs at the sites without being able to read them: repair, relocation, scrub,
//! compaction, re-dispersal and garbage collection.
//!
//! **Invariant.** This crate reaches no customer key: `layers.toml` proves that it links neither
//! `seal` nor `engine`. A blob is deleted only when no version, part, writer or reader needs it
//! (I6).
//!
//! **Deliberately absent.** Writing chains and opening records: what compaction carries is written
//! by whoever implements [`Rewriter`].
//!
//! **Crash.** A pass that dies is begun again; deleting twice is deleting once.

mod busy;
pub mod compact;
pub mod estimate;
pub mod execute;
mod index;
pub mod plan;
mod rebuild;
pub mod redisperse;
pub mod relocate;
pub mod repair;
pub mod scrub;
mod throttle;
mod whereabouts;

pub use busy::Busy;
pub use compact::{Compaction, Compactor, Rewriter, SealedRecord};
pub use execute::{Collector, GcReport, HeldBlobs, shards_listed};
pub use index::Index;
pub use redisperse::{Redispersal, Redisperser};
pub use relocate::{Relocation, Relocator};
pub use repair::{RepairReport, Repairer};
pub use scrub::{Depth, Scrub, Scrubber};
pub use throttle::Throttle;

use futures::future::BoxFuture;
use havre_catalog::{BlobRow, CatalogError};
use havre_sites::Fleet;
use rebuild::{Source, bit};

/// A pass of one of the keeper's workers. Boxed, so that its code is compiled in this crate and not
/// once more in each program that awaits it.
pub type Pass<'a, T> = BoxFuture<'a, Result<T, CatalogError>>;

/// The stored shards of a blob, best sites first.
fn sources<'a>(fleet: &'a Fleet, row: &BlobRow) -> Vec<Source<'a>> {
    let (ranking, closed) = (fleet.ranking(), fleet.closed());
    let rank = |position: usize| ranking.iter().position(|ranked| *ranked == position);
    let stored = row.geometry.indices().filter(|index| row.stored & bit(*index) != 0);
    let mut sources: Vec<(Option<usize>, Source<'a>)> = stored
        .filter_map(|index| {
            let (position, site) = fleet.by_id(row.sites[index.get()])?;
            Some((rank(position), Source { index, site, closed: closed.contains(position) }))
        })
        .collect();
    sources.sort_by_key(|(rank, _)| *rank);
    sources.into_iter().map(|(_, source)| source).collect()
}
