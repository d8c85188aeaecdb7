//! Tells a client that is slow from a gateway that is.
//!
//! **Invariant.** Only time in which the client was waited for counts against it, and bytes that it
//! moved count for it at once: who keeps the pace is never behind, however long the gateway takes.
//!
//! **Deliberately absent.** Clocks, and what follows for one that is behind: as long as nobody
//! waits for what it holds, nothing.
//!
//! **Crash.** Values only.

use core::time::Duration;

/// How far a client is behind the slowest pace that is put up with while others wait.
#[derive(Debug, Clone)]
pub struct Pace {
    bytes_per_second_min: u64,
    /// Bytes that it may be behind.
    debt_max: u64,
    debt: u64,
}

impl Pace {
    /// A client that keeps `bytes_per_second_min`, and may stop for `grace` without being behind.
    #[must_use]
    pub fn new(bytes_per_second_min: u64, grace: Duration) -> Self {
        Self { bytes_per_second_min, debt_max: due(bytes_per_second_min, grace), debt: 0 }
    }

    /// The client was waited for.
    pub fn waited(&mut self, time: Duration) {
        self.debt = self.debt_after(time);
    }

    /// The client sent or took bytes. What it is ahead is not remembered.
    pub fn moved(&mut self, bytes: u64) {
        self.debt = self.debt.saturating_sub(bytes);
    }

    /// Bytes that it will be behind by more than its grace when it has been waited for `time` more;
    /// zero when it is within.
    #[must_use]
    pub fn behind_after(&self, time: Duration) -> u64 {
        self.debt_after(time).saturating_sub(self.debt_max)
    }

    fn debt_after(&self, time: Duration) -> u64 {
        self.debt.saturating_add(due(self.bytes_per_second_min, time))
    }
}

/// Bytes that are due after `time`.
fn due(bytes_per_second: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    bytes_per_second.saturating_mul(millis) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(1000, 5 * SECOND)
    }

    #[test]
    fn a_pause_within_the_grace_is_none() {
        let mut pace = pace();
        pace.waited(5 * SECOND);
        assert_eq!(pace.behind_after(Duration::ZERO), 0);
        assert_eq!(pace.behind_after(SECOND), 1000);
    }

    #[test]
    fn who_keeps_the_pace_is_never_behind() {
        let mut pace = pace();
        for _ in 0..1000 {
            pace.waited(SECOND);
            pace.moved(1000);
        }
        assert_eq!(pace.behind_after(Duration::ZERO), 0);
    }

    #[test]
    fn a_trickle_is_behind_in_the_end_and_a_burst_before_it_does_not_help() {
        let mut pace = pace();
        pace.moved(1_000_000_000);
        for _ in 0..6 {
            pace.waited(SECOND);
            pace.moved(1);
        }
        assert!(pace.behind_after(Duration::ZERO) > 0);
    }

    #[test]
    fn with_no_least_pace_nobody_is_behind() {
        let mut pace = Pace::new(0, SECOND);
        pace.waited(Duration::MAX);
        assert_eq!(pace.behind_after(Duration::MAX), 0);
    }
}
