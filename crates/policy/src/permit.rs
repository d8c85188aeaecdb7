//! Leave to hold one shard at one site.
//!
//! **Invariant.** A [`Permit`] exists only because a policy agreed that the site may hold this
//! shard of this blob; it is consumed by the write, so one permit is one shard at one site (I2).
//!
//! **Deliberately absent.** `Clone`, `Copy`, serialisation: a permit that could be kept or copied
//! would prove nothing about the moment of the write.
//!
//! **Crash.** Permits die with the process; whoever repairs asks the policy again.

use havre_model::{BlobId, ShardIndex, SiteId};

/// Leave to hold one shard of one blob at one site. Only this crate makes one: [`place`] and
/// [`permit`] of a [`PlacementPolicy`]; a site's `put` consumes one.
///
/// [`place`]: crate::PlacementPolicy::place
/// [`permit`]: crate::PlacementPolicy::permit
/// [`PlacementPolicy`]: crate::PlacementPolicy
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit is leave to write a shard; dropped, the shard is not written"]
pub struct Permit {
    site: SiteId,
    blob: BlobId,
    index: ShardIndex,
}

impl Permit {
    pub(crate) const fn new(site: SiteId, blob: BlobId, index: ShardIndex) -> Self {
        Self { site, blob, index }
    }

    /// The site that may hold the shard.
    #[must_use]
    pub const fn site(&self) -> SiteId {
        self.site
    }

    /// The blob that the shard is of.
    #[must_use]
    pub const fn blob(&self) -> BlobId {
        self.blob
    }

    /// Which shard of the blob.
    #[must_use]
    pub const fn index(&self) -> ShardIndex {
        self.index
    }
}

/// Permits without a policy, for the tests of crates that only store shards.
#[doc(hidden)]
#[cfg(feature = "testing")]
pub mod testing {
    use super::{BlobId, Permit, ShardIndex, SiteId};

    /// A permit that no policy agreed to.
    pub const fn permit(site: SiteId, blob: BlobId, index: ShardIndex) -> Permit {
        Permit::new(site, blob, index)
    }
}
