//! What a site may cost: an operator's choice, with defaults that fit a store in another city.
//!
//! **Invariant.** Every wait, retry and answer of a guarded site is bounded by a value here (I8).
//!
//! **Deliberately absent.** Limits of formats: `model::limits`.
//!
//! **Crash.** Values only.

use std::time::Duration;

/// Limits of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteLimits {
    /// The longest that any operation takes, retries included, its bytes aside.
    pub deadline: Duration,
    /// The slowest transfer that is still waited for; adds `bytes / this` seconds to the deadline.
    pub bytes_per_second_min: u64,
    /// Operations under way at once.
    pub concurrency: usize,
    /// The longest that an operation waits for its turn.
    pub wait_max: Duration,
    /// Attempts of one operation, the first included.
    pub attempts_max: u32,
    /// The pause before the first retry is drawn between zero and this; it doubles each time.
    pub backoff: Duration,
    /// The longest answer that is read into memory.
    pub answer_bytes_max: u64,
    /// Unanswered calls in a row after which the site counts as down.
    pub silent_calls_max: u32,
    /// The first pause before a site that is down is probed; it doubles.
    pub probe_pause_min: Duration,
    /// The longest such pause.
    pub probe_pause_max: Duration,
    /// Bytes of one part of a multipart upload, and what a streamed shard keeps in memory of it.
    pub part_bytes: usize,
}

impl Default for SiteLimits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            bytes_per_second_min: 1024 * 1024,
            concurrency: 64,
            wait_max: Duration::from_secs(5),
            attempts_max: 3,
            backoff: Duration::from_millis(50),
            answer_bytes_max: 64 * 1024 * 1024,
            silent_calls_max: 5,
            probe_pause_min: Duration::from_millis(500),
            probe_pause_max: Duration::from_secs(30),
            part_bytes: 5 * 1024 * 1024,
        }
    }
}

impl SiteLimits {
    /// The deadline of an operation that moves `bytes`.
    #[must_use]
    pub fn deadline_for(&self, bytes: u64) -> Duration {
        let millis = bytes.saturating_mul(1000) / self.bytes_per_second_min.max(1);
        self.deadline.saturating_add(Duration::from_millis(millis))
    }
}
