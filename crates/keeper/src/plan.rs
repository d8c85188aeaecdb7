//! Decides what to do with a shard that a site lists, what a blob misses, and which packs are worth
//! writing anew. Pure.
//!
//! **Invariant.** What the catalog needs, or somebody holds, is left alone (I6).
//!
//! **Deliberately absent.** Looking anything up: [`crate::execute`] and [`crate::repair`] do, in
//! the order that makes the view true.
//!
//! **Crash.** Nothing is kept.

use havre_catalog::{BlobRow, BlobState, PackRow};
use havre_codec::pack::PACK_HEADER_BYTES;
use havre_model::{Geometry, ShardIndex, SiteId};

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

/// A pack of which fewer bytes count is small: it costs as many files and requests as a large one.
const SMALL_BYTES: u64 = 128 * 1024;

/// What is known of a pack beside its row.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// Whether it is the last of its chain: the next one names it.
    pub is_last: bool,
    /// Whether whatever is dead has to go, be it ever so little.
    pub thorough: bool,
    /// The geometry of its policy today; `None` when it is under none by name.
    pub geometry: Option<Geometry>,
    /// Whether its shards may not lie as they do.
    pub misplaced: bool,
}

/// What it is worth to write a pack anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Nothing, or it cannot be done now.
    Nothing,
    /// One file less at each site.
    Little,
    /// So many bytes, before dispersal.
    Gain(u64),
    /// It has to be.
    Must,
}

/// Whether nobody knows where a shard of the pack is to be: it was half written when a gateway was
/// killed, or the site was away during a recovery.
#[must_use]
fn is_homeless(row: &BlobRow) -> bool {
    row.sites.contains(&SiteId::NOWHERE)
}

/// Decides about a pack.
#[must_use]
pub fn worth(pack: &PackRow, chance: &Chance) -> Worth {
    let row = &pack.blob;
    if chance.is_last || !pack.is_listed || row.state == BlobState::Garbage {
        return Worth::Nothing;
    }
    // Shards that it misses cannot be made anew: nobody knows where, or nobody is permitted to as
    // the others lie, and without them those may not move.
    if is_homeless(row) || row.state != BlobState::Whole && chance.misplaced {
        return Worth::Must;
    }
    // What misses a shard is repaired first: its successor would not be safer than it is.
    if row.state != BlobState::Whole {
        return Worth::Nothing;
    }
    if chance.geometry.is_some_and(|geometry| geometry != row.geometry) {
        return Worth::Must;
    }
    let records = row.bytes.saturating_sub(PACK_HEADER_BYTES as u64);
    let alive = records.saturating_sub(pack.dead_bytes);
    match pack.dead_bytes {
        dead if dead > 0 && chance.thorough => Worth::Must,
        dead if dead * 2 >= records && dead > 0 => Worth::Gain(dead),
        _ if alive < SMALL_BYTES => Worth::Little,
        _ => Worth::Nothing,
    }
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
            extent: None,
            bucket: None,
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

    #[track_caller]
    fn check_worth(
        bytes: u64,
        dead_bytes: u64,
        change: impl Fn(&mut PackRow, &mut Chance),
        is: Worth,
    ) {
        let mut pack = PackRow {
            blob: BlobRow { bytes, ..row(BlobState::Whole) },
            dead_bytes,
            order: None,
            is_listed: true,
        };
        let mut chance = Chance {
            is_last: false,
            thorough: false,
            geometry: Geometry::new(1, 0).ok(),
            misplaced: false,
        };
        change(&mut pack, &mut chance);
        assert_eq!(worth(&pack, &chance), is);
    }

    #[test]
    fn packs_are_written_anew_when_half_of_them_is_dead_or_they_are_small() {
        const MIB: u64 = 1 << 20;
        let nothing = |_: &mut PackRow, _: &mut Chance| {};
        check_worth(4 * MIB, 0, nothing, Worth::Nothing);
        check_worth(4 * MIB, MIB, nothing, Worth::Nothing);
        check_worth(4 * MIB, 2 * MIB, nothing, Worth::Gain(2 * MIB));
        check_worth(1000, 0, nothing, Worth::Little);
        check_worth(PACK_HEADER_BYTES as u64, 0, nothing, Worth::Little);
        check_worth(4 * MIB, 1, |_, chance| chance.thorough = true, Worth::Must);
        check_worth(4 * MIB, 0, |_, chance| chance.thorough = true, Worth::Nothing);
        check_worth(4 * MIB, 0, |_, it| it.geometry = Geometry::new(2, 1).ok(), Worth::Must);
        check_worth(4 * MIB, 0, |_, it| it.geometry = None, Worth::Nothing);
    }

    #[test]
    fn the_last_pack_what_misses_shards_and_what_nobody_knows_are_left_alone() {
        let dead = 4 << 20;
        check_worth(dead, dead, |_, chance| chance.is_last = true, Worth::Nothing);
        check_worth(dead, dead, |pack, _| pack.is_listed = false, Worth::Nothing);
        for state in [BlobState::Incomplete, BlobState::BelowGuarantee, BlobState::Garbage] {
            check_worth(dead, dead, |pack, _| pack.blob.state = state, Worth::Nothing);
        }
    }

    #[test]
    fn what_cannot_be_repaired_is_written_anew() {
        for state in [BlobState::Incomplete, BlobState::BelowGuarantee] {
            let homeless = |pack: &mut PackRow, _: &mut Chance| {
                pack.blob.state = state;
                pack.blob.sites = vec![SiteId::NOWHERE];
            };
            check_worth(4 << 20, 0, homeless, Worth::Must);
            let misplaced = |pack: &mut PackRow, chance: &mut Chance| {
                (pack.blob.state, chance.misplaced) = (state, true);
            };
            check_worth(4 << 20, 0, misplaced, Worth::Must);
        }
        check_worth(4 << 20, 0, |_, chance| chance.misplaced = true, Worth::Nothing);
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
