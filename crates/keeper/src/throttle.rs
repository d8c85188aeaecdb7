//! Spreads what the keeper reads over time.
//!
//! **Invariant.** Over any long time, no more than the rate, but for a second's worth of credit.
//!
//! **Deliberately absent.** Sleeping: the caller waits.
//!
//! **Crash.** Memory only.

use std::time::Duration;

/// A rate that has to be kept.
pub struct Throttle {
    bytes_per_second: u64,
    /// When the bytes read so far are paid for.
    free_at: Duration,
}

impl Throttle {
    /// A rate in bytes a second, at least one.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Duration::ZERO }
    }
    /// How long to wait before more may be read.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        self.free_at.saturating_sub(now)
    }

    pub(crate) fn took(&mut self, now: Duration, bytes: u64) {
        let millis = bytes.saturating_mul(1000) / self.bytes_per_second;
        // A batch's own time counts, idle time before it does not.
        self.free_at = self.free_at.max(now.saturating_sub(Duration::from_secs(1)))
            + Duration::from_millis(millis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_spread_over_time() {
        let mut throttle = Throttle { bytes_per_second: 1000, free_at: Duration::ZERO };
        let now = Duration::from_secs(10);
        assert_eq!(throttle.wait(now), Duration::ZERO);
        throttle.took(now, 3000);
        assert_eq!(throttle.wait(now), Duration::from_secs(2), "a second of credit, then the rate");
        throttle.took(now, 1000);
        assert_eq!(throttle.wait(now), Duration::from_secs(3));
        assert_eq!(throttle.wait(Duration::from_secs(60)), Duration::ZERO);
    }
}
