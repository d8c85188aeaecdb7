//! How many bytes a second are read at the source.
//!
//! **Invariant.** Over any time, no more is read than the rate allows and one piece: a piece is
//! begun when all before it would have been read at the rate.
//!
//! **Deliberately absent.** Smoothness within a piece of an object.
//!
//! **Crash.** Nothing is kept.

use havre_model::ports::Ports;
use parking_lot::Mutex;
use std::time::Duration;

/// A rate that all workers share.
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    /// When the next piece may be begun, on the ports' clock.
    free: Mutex<Duration>,
    ports: Ports,
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>, ports: Ports) -> Self {
        Self { bytes_per_second, free: Mutex::default(), ports }
    }

    /// Waits until so many bytes may be read.
    pub(super) async fn take(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else { return };
        let wait = self.reserve(bytes, rate.max(1));
        if !wait.is_zero() {
            self.ports.runtime.sleep(wait).await;
        }
    }

    fn reserve(&self, bytes: u64, rate: u64) -> Duration {
        let now = self.ports.clock.elapsed();
        let mut free = self.free.lock();
        let begin = now.max(*free);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        *free = begin.saturating_add(takes);
        begin - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_waits_for_those_before_it() {
        let pace = Pace::new(Some(1000), havre_sites::system::ports());
        assert_eq!(pace.reserve(5_000, 1000), Duration::ZERO);
        let second = pace.reserve(3_000, 1000);
        assert!(second > Duration::from_millis(4_900) && second <= Duration::from_secs(5));
        let third = pace.reserve(1, 1000);
        assert!(third > Duration::from_millis(7_900) && third <= Duration::from_secs(8));
    }
}
