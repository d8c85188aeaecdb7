//! When a write may be answered.
//!
//! **Invariant.** [`Acknowledgement::Within`] means that for every coalition that must not be able
//! to cut off, the stored shards outside its reach are at least `k` (I1).
//!
//! **Deliberately absent.** What to do below the guarantee: refuse or degrade is the engine's, by
//! [`crate::PlacementPolicy::on_outage`].
//!
//! **Crash.** Values only.

/// A coalition by its place in [`crate::PlacementPolicy::coalitions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoalitionId(pub(crate) u32);

impl CoalitionId {
    /// The place in the policy's list.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// What the shards stored so far allow to be said to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// The guarantee holds: acknowledge.
    Within,
    /// The blob can be decoded, but this coalition could cut it off.
    Below {
        /// One coalition that could; there may be others.
        coalition: CoalitionId,
    },
    /// Fewer than `k` shards are stored: nobody could decode the blob.
    Undecodable,
}
