//! Wall-clock time as records store it.
//!
//! **Invariant.** Milliseconds since 1970-01-01 UTC; S3 shows times to the second or millisecond.
//!
//! **Deliberately absent.** Reading a clock ([`crate::ports::Clock`]) and calendars.
//!
//! **Crash.** Values only. Order never rests on time: [`crate::Seq`] orders.

use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01 UTC.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch: the precision of HTTP dates and of conditional requests.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
