//! The erasure code's shape: `k` data and `m` parity shards.
//!
//! **Invariant.** `1 <= k`, and `k + m <= SHARDS_PER_BLOB_MAX`; a [`ShardIndex`] was below the
//! total of the geometry it was made for.
//!
//! **Deliberately absent.** The code itself (`codec::erasure`) and where shards go (`policy`).
//!
//! **Crash.** Values only.

use crate::limits::SHARDS_PER_BLOB_MAX;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Why a pair of counts is no geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{k}+{m}: a geometry has at least 1 data shard and at most {SHARDS_PER_BLOB_MAX} in all")]
pub struct GeometryError {
    /// Data shards asked for.
    pub k: u8,
    /// Parity shards asked for.
    pub m: u8,
}

/// `k` data shards and `m` parity shards: any `k` of the `k + m` decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)", into = "(u8, u8)")]
pub struct Geometry {
    k: u8,
    m: u8,
}

impl Geometry {
    /// A geometry of `k` data and `m` parity shards.
    ///
    /// # Errors
    /// When `k` is zero or the sum is above [`SHARDS_PER_BLOB_MAX`].
    pub const fn new(k: u8, m: u8) -> Result<Self, GeometryError> {
        if k == 0 || k as usize + m as usize > SHARDS_PER_BLOB_MAX {
            return Err(GeometryError { k, m });
        }
        Ok(Self { k, m })
    }

    /// Data shards: how many any reader needs.
    #[must_use]
    pub const fn data(self) -> usize {
        self.k as usize
    }

    /// Parity shards: how many may be missing.
    #[must_use]
    pub const fn parity(self) -> usize {
        self.m as usize
    }

    /// All shards of a blob.
    #[must_use]
    pub const fn total(self) -> usize {
        self.k as usize + self.m as usize
    }

    /// Every index of this geometry, data shards first.
    pub fn indices(self) -> impl DoubleEndedIterator<Item = ShardIndex> + Clone {
        (0..self.k + self.m).map(ShardIndex)
    }
}

impl TryFrom<(u8, u8)> for Geometry {
    type Error = GeometryError;

    fn try_from((k, m): (u8, u8)) -> Result<Self, GeometryError> {
        Self::new(k, m)
    }
}

impl From<Geometry> for (u8, u8) {
    fn from(geometry: Geometry) -> Self {
        (geometry.k, geometry.m)
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.k, self.m)
    }
}

/// Position of a shard in its blob, always below [`Geometry::total`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardIndex(u8);

impl ShardIndex {
    /// The one place an index read from a frame is checked; `None` means a corrupt frame.
    #[must_use]
    pub const fn new(raw: u8, geometry: Geometry) -> Option<Self> {
        if (raw as usize) < geometry.total() { Some(Self(raw)) } else { None }
    }

    /// The position, for indexing a list of the blob's shards.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// The position as a frame stores it.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }
}
