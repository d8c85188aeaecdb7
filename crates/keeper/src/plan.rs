//! Decides what to do with a shard that a site lists, and what a blob misses. Pure.
//!
//! **Invariant.** What the catalog needs, or somebody holds, is left alone (I6).
//!
//! **Deliberately absent.** Looking anything up: [`crate::execute`] and [`crate::repair`] do, in
//! the order that makes the view true.
//!
//! **Crash.** Nothing is kept.

use havre_catalog::{BlobRow, BlobState};
use havre_model::{ShardIndex, SiteId};

/// What is known of a blob that a site lists.
///
/// `held` must have been asked *before* the catalog was: a writer gives a blob up only after the
/// catalog has it, so what is neither held then nor known afterwards is nobody's.
#[derive(Clone, Copy, Debug)]
pub struct ListedBlob<'a> {
    /// Whether a writer or a reader holds it.
    pub held: bool,
    /// The site that lists it.
    pub site: SiteId,
    /// What the catalog has of it.
    pub row: Option<&'a BlobRow>,
}

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It is needed, in use, or garbage that the catalog lists itself.
    Leave,
    /// The blob is needed, and the catalog has none of its shards at this site.
    LookCloser,
    /// No record names it: a write that died, or a pack that is off its chain.
    DeleteOrphan,
}

/// Decides about a listed blob.
#[must_use]
pub fn plan_listed(blob: ListedBlob<'_>) -> Plan {
    match blob {
        ListedBlob { held: false, row: None, .. } => Plan::DeleteOrphan,
        ListedBlob { held: false, site, row: Some(row) }
            if row.state != BlobState::Garbage && !row.sites.contains(&site) =>
        {
            Plan::LookCloser
        }
        _ => Plan::Leave,
    }
}

/// Whether a blob of the catalog may be deleted at the sites now.
#[must_use]
pub fn may_delete(row: &BlobRow, held: bool) -> bool {
    !held && row.state == BlobState::Garbage
}

/// The shards that a blob misses.
pub fn missing(row: &BlobRow) -> impl Iterator<Item = ShardIndex> + use<> {
    let stored = row.stored;
    row.geometry.indices().filter(move |index| stored & 1 << index.get() == 0)
}

/// Shards that a blob can still lose before it is lost: the fewer, the sooner it is repaired.
#[must_use]
pub fn spare(row: &BlobRow) -> usize {
    (row.stored.count_ones() as usize).saturating_sub(row.geometry.data())
}

#[cfg(test)]
mod tests {
    use super::*;
    use havre_model::record::BlobSecret;
    use havre_model::{BlobId, BlobName, Geometry};

    fn row(state: BlobState) -> BlobRow {
        BlobRow {
            name: BlobName::Extent(BlobId::from_bytes([1; 16])),
            secret: BlobSecret::from_bytes([0; 32]),
            geometry: Geometry::new(1, 0).expect("a geometry"),
            chunk_bytes: 1,
            bytes: 1,
            sites: Vec::new(),
            stored: 0,
            state,
            policy: None,
        }
    }

    #[test]
    fn only_what_nobody_knows_and_nobody_holds_is_an_orphan() {
        let site = SiteId::from_bytes([5; 8]);
        let here = BlobRow { sites: vec![site], ..row(BlobState::Whole) };
        let (elsewhere, garbage) = (row(BlobState::Whole), row(BlobState::Garbage));
        for (held, row, plan) in [
            (false, None, Plan::DeleteOrphan),
            (true, None, Plan::Leave),
            (false, Some(&here), Plan::Leave),
            (true, Some(&here), Plan::Leave),
            (false, Some(&elsewhere), Plan::LookCloser),
            (true, Some(&elsewhere), Plan::Leave),
            (false, Some(&garbage), Plan::Leave),
        ] {
            let listed = ListedBlob { held, site, row };
            assert_eq!(plan_listed(listed), plan, "{held} {}", row.is_some());
        }
    }

    #[test]
    fn only_garbage_that_nobody_reads_is_deleted() {
        assert!(may_delete(&row(BlobState::Garbage), false));
        assert!(!may_delete(&row(BlobState::Garbage), true));
        for state in [BlobState::Whole, BlobState::Incomplete, BlobState::BelowGuarantee] {
            assert!(!may_delete(&row(state), false));
        }
    }

    #[test]
    fn what_is_missing_and_what_can_still_be_lost() {
        let row = BlobRow {
            geometry: Geometry::new(3, 3).expect("a geometry"),
            stored: 0b10_1110,
            ..row(BlobState::Incomplete)
        };
        let indices: Vec<usize> = missing(&row).map(ShardIndex::get).collect();
        assert_eq!((indices, spare(&row)), (vec![0, 4], 1));
        assert_eq!(spare(&BlobRow { stored: 1, ..row }), 0);
    }
}
