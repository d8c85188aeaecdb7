//! How requests fared, by class, for whoever compares two stretches of time.
//!
//! **Invariant.** Every request is counted once, when its response ended. Two snapshots and their
//! difference tell exactly what ended in between.
//!
//! **Deliberately absent.** Operations, tenants and names: `/metrics` has the first, nobody the
//! others.
//!
//! **Crash.** Counts begin at zero with the process.

use http::StatusCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of a class: four to each doubling of microseconds, up to half an hour.
const BUCKETS: usize = 120;

/// Requests that read or that write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Get, head and list.
    Read,
    /// All others.
    Write,
}

impl Class {
    fn of(operation: &str) -> Self {
        let reads = ["Get", "Head", "List"];
        match reads.iter().any(|verb| operation.starts_with(verb)) {
            true => Self::Read,
            false => Self::Write,
        }
    }
}

/// Counts since the start, of both classes.
#[derive(Debug)]
pub struct Tally([Counts; 2]);

#[derive(Debug)]
struct Counts {
    served: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Tally {
    fn default() -> Self {
        let counts = || Counts {
            served: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        };
        Self([counts(), counts()])
    }
}

impl Tally {
    /// Counts a request that ended; `complete` when its whole response went out.
    pub fn count(&self, operation: &str, status: StatusCode, complete: bool, took: Duration) {
        let counts = &self.0[Class::of(operation) as usize];
        let outcome = match status {
            status if status.is_server_error() || !complete => &counts.failed,
            status if status.is_client_error() => &counts.refused,
            _ => &counts.served,
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        counts.buckets[bucket_of(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of a class as they are now.
    #[must_use]
    pub fn snapshot(&self, class: Class) -> Snapshot {
        let counts = &self.0[class as usize];
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Snapshot {
            served: read(&counts.served),
            refused: read(&counts.refused),
            failed: read(&counts.failed),
            buckets: counts.buckets.each_ref().map(read),
        }
    }
}

/// Counts of one class at one time, or of what ended between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Answered as asked.
    pub served: u64,
    /// Answered that the client is wrong: no such key, a condition that does not hold.
    pub refused: u64,
    /// Answered 5xx, or broken off.
    pub failed: u64,
    buckets: [u64; BUCKETS],
}

impl Snapshot {
    /// What ended after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            served: self.served.saturating_sub(earlier.served),
            refused: self.refused.saturating_sub(earlier.refused),
            failed: self.failed.saturating_sub(earlier.failed),
            buckets: std::array::from_fn(|at| self.buckets[at].saturating_sub(earlier.buckets[at])),
        }
    }

    /// The time within which `permille` of a thousand of the requests ended, at most a quarter
    /// more than it was; `None` without requests.
    #[must_use]
    pub fn quantile(&self, permille: u64) -> Option<Duration> {
        let all: u64 = self.buckets.iter().sum();
        let wanted = (all.checked_mul(permille)?).div_ceil(1000).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        at.map(bucket_end)
    }
}

/// Four buckets to each doubling; below 4 microseconds one each.
fn bucket_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < 4 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let doubling = micros.ilog2();
    let quarter = usize::try_from((micros >> (doubling - 2)) & 3).unwrap_or(0);
    (4 * (doubling as usize - 1) + quarter).min(BUCKETS - 1)
}

/// The time that the bucket's requests took less than.
fn bucket_end(bucket: usize) -> Duration {
    if bucket < 4 {
        return Duration::from_micros(bucket as u64 + 1);
    }
    let (doubling, quarter) = (bucket / 4 + 1, bucket as u64 % 4);
    Duration::from_micros((4 + quarter + 1) << (doubling - 2))
}
