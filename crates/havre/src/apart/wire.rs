//! The catalog's rows as they go between keeper and gateway.
//!
//! **Invariant.** What is not sound is no row: a blob has a site for each shard, and a name that is
//! one.
//!
//! **Deliberately absent.** Rows with a customer's names or keys in them: the keeper needs none
//! (I24). The second lock's secret `S` is in a blob's row: repair is done with it.
//!
//! **Crash.** Values only, of one release on both sides.

use havre_catalog::{BlobRow, BlobState, CatalogError, Leftover, ShardMove};
use havre_model::record::BlobSecret;
use havre_model::{BlobId, Geometry, ShardIndex, SiteId};
use serde::{Deserialize, Serialize};

use super::Refusal;

/// A blob. In which bucket an extent is, a keeper apart is not told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireBlob {
    name: String,
    secret: BlobSecret,
    geometry: Geometry,
    chunk_bytes: usize,
    bytes: u64,
    sites: Vec<SiteId>,
    stored: u32,
    state: WireState,
    policy: Option<String>,
    extent: Option<BlobId>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum WireState {
    Whole,
    Incomplete,
    BelowGuarantee,
    Garbage,
}

/// A shard that is elsewhere now.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireMove {
    index: u8,
    from: SiteId,
    to: SiteId,
}

/// A shard that has to be deleted where it was.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireLeftover {
    site: SiteId,
    name: String,
}

impl From<BlobRow> for WireBlob {
    fn from(row: BlobRow) -> Self {
        Self {
            name: row.name.to_string(),
            secret: row.secret,
            geometry: row.geometry,
            chunk_bytes: row.chunk_bytes,
            bytes: row.bytes,
            sites: row.sites,
            stored: row.stored,
            state: match row.state {
                BlobState::Whole => WireState::Whole,
                BlobState::Incomplete => WireState::Incomplete,
                BlobState::BelowGuarantee => WireState::BelowGuarantee,
                BlobState::Garbage => WireState::Garbage,
            },
            policy: row.policy,
            extent: row.extent,
        }
    }
}

impl WireBlob {
    /// The row; `None` when it is not sound.
    pub(super) fn row(self) -> Option<BlobRow> {
        if self.sites.len() != self.geometry.total() || self.chunk_bytes == 0 {
            return None;
        }
        Some(BlobRow {
            name: self.name.parse().ok()?,
            secret: self.secret,
            geometry: self.geometry,
            chunk_bytes: self.chunk_bytes,
            bytes: self.bytes,
            sites: self.sites,
            stored: self.stored,
            state: match self.state {
                WireState::Whole => BlobState::Whole,
                WireState::Incomplete => BlobState::Incomplete,
                WireState::BelowGuarantee => BlobState::BelowGuarantee,
                WireState::Garbage => BlobState::Garbage,
            },
            policy: self.policy,
            extent: self.extent,
            bucket: None,
        })
    }
}

impl From<ShardMove> for WireMove {
    fn from(shift: ShardMove) -> Self {
        Self { index: shift.index.raw(), from: shift.from, to: shift.to }
    }
}

impl WireMove {
    /// The move, of a blob of this geometry.
    pub(super) fn shift(&self, geometry: Geometry) -> Option<ShardMove> {
        let index = ShardIndex::new(self.index, geometry)?;
        Some(ShardMove { index, from: self.from, to: self.to })
    }
}

impl From<Leftover> for WireLeftover {
    fn from(leftover: Leftover) -> Self {
        Self { site: leftover.site, name: leftover.name.to_string() }
    }
}

impl WireLeftover {
    /// The leftover; `None` when its name is none.
    pub(super) fn leftover(&self) -> Option<Leftover> {
        Some(Leftover { site: self.site, name: self.name.parse().ok()? })
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Closed => Self::Closed,
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<Refusal> for CatalogError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => Self::Closed,
            Refusal::Failed(reason) | Refusal::TurnedAway(reason) => Self::Storage(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apart::frame::decode;
    use havre_model::{BlobName, ChainId};

    fn row(state: BlobState) -> BlobRow {
        let (chain, blob) = (ChainId::from_bytes([1; 16]), BlobId::from_bytes([2; 16]));
        BlobRow {
            name: BlobName::Pack { chain, number: 7, blob },
            secret: BlobSecret::from_bytes([3; 32]),
            geometry: Geometry::new(2, 1).unwrap(),
            chunk_bytes: 4096,
            bytes: 1 << 40,
            sites: (0..3).map(|at| SiteId::from_bytes([at; 8])).collect(),
            stored: 0b101,
            state,
            policy: Some("default".to_owned()),
            extent: Some(BlobId::from_bytes([4; 16])),
            bucket: None,
        }
    }

    #[test]
    fn a_row_comes_out_as_it_went_in() {
        use BlobState::{BelowGuarantee, Garbage, Incomplete, Whole};
        for state in [Whole, Incomplete, BelowGuarantee, Garbage] {
            let wire = postcard::to_allocvec(&WireBlob::from(row(state))).unwrap();
            let back: WireBlob = decode(&wire).unwrap();
            assert_eq!(back.row(), Some(row(state)));
        }
        let name = row(BlobState::Whole).name;
        let leftover = Leftover { site: SiteId::from_bytes([9; 8]), name };
        assert_eq!(WireLeftover::from(leftover).leftover(), Some(leftover));
    }

    #[test]
    fn what_is_not_sound_is_no_row() {
        let sound = || WireBlob::from(row(BlobState::Whole));
        assert!(WireBlob { sites: Vec::new(), ..sound() }.row().is_none());
        assert!(WireBlob { chunk_bytes: 0, ..sound() }.row().is_none());
        assert!(WireBlob { name: "p/nothing".to_owned(), ..sound() }.row().is_none());
        let geometry = Geometry::new(2, 1).unwrap();
        let shift = |index| WireMove { index, from: SITE, to: SITE };
        assert!(shift(2).shift(geometry).is_some() && shift(3).shift(geometry).is_none());
    }

    const SITE: SiteId = SiteId::from_bytes([5; 8]);
}
