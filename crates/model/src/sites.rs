//! A set of configured sites, as bits: the guarantee is decided on every write.
//!
//! **Invariant.** Positions are those of the configuration's list of sites and below [`SITES_MAX`].
//!
//! **Deliberately absent.** Which site stands at which position: `policy::Facts` knows.
//!
//! **Crash.** Positions change with the configuration and are never stored; [`crate::SiteId`] is.

use crate::limits::SITES_MAX;

/// A set of sites by their position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SiteSet(u64);

const _: () = assert!(SITES_MAX <= 64, "a SiteSet has 64 bits");

impl SiteSet {
    /// No site.
    pub const EMPTY: Self = Self(0);

    /// Bit `i` is set for the site at position `i`.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set with `position` added; positions from [`SITES_MAX`] on are a caller's error.
    #[must_use]
    pub fn with(self, position: usize) -> Self {
        assert!(position < SITES_MAX, "site position {position} is out of range");
        Self(self.0 | 1 << position)
    }

    /// Whether the site at `position` is in the set.
    #[must_use]
    pub fn contains(self, position: usize) -> bool {
        position < SITES_MAX && self.0 & 1 << position != 0
    }

    /// Sites in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether no site is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Sites in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Sites in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Sites of this set that are not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every site of this set is in `other`.
    #[must_use]
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The positions in the set, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let position = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (position < u64::BITS).then_some(position as usize)
        })
    }
}

impl FromIterator<usize> for SiteSet {
    fn from_iter<T: IntoIterator<Item = usize>>(positions: T) -> Self {
        positions.into_iter().fold(Self::EMPTY, Self::with)
    }
}
