//! What a site was asked, and what it cost.
//!
//! **Invariant.** Every attempt is counted once, here and in the metrics, whatever becomes of it.
//!
//! **Deliberately absent.** Latencies (`latency.rs`) and anything that grows.
//!
//! **Crash.** Counts begin at zero with the process.

use crate::{Operation, SiteCounts};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Counts of one site since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Attempts by operation; index with `Operation as usize`.
    pub attempts: [u64; Operation::COUNT],
    /// Attempts that failed, by operation.
    pub errors: [u64; Operation::COUNT],
    /// Bytes sent, or received by the reading operations.
    pub bytes: [u64; Operation::COUNT],
    /// Calls of `fsync` and `fdatasync`.
    pub fsyncs: u64,
    /// Requests that went over the network.
    pub network_requests: u64,
}

impl Counters {
    /// Operations that reached the storage: a streamed shard counts once, when it is finished.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let streamed = [Operation::Create, Operation::Write];
        let counted = Operation::ALL.iter().filter(|operation| !streamed.contains(operation));
        counted.map(|operation| self.attempts[*operation as usize]).sum()
    }

    /// Attempts that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Bytes of shards sent to the site.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.bytes[Operation::Put as usize] + self.bytes[Operation::Write as usize]
    }

    /// Bytes of shards that came from the site.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes[Operation::Read as usize] + self.bytes[Operation::ReadAll as usize]
    }
}

/// The counters and the metrics of one site. The metrics' recorder has to be there before the first
/// call: each meter is looked up once, not once a call.
pub(super) struct Meter {
    site: String,
    operations: [OperationMeter; Operation::COUNT],
    fsyncs: OnceLock<Counter>,
    barred: AtomicBool,
    barred_gauge: OnceLock<Gauge>,
}

#[derive(Default)]
struct OperationMeter {
    attempts: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
    meters: OnceLock<Meters>,
}

struct Meters {
    requests: Counter,
    errors: Counter,
    bytes: Counter,
    seconds: Histogram,
}

impl Meter {
    pub(super) fn new(site: &str) -> Self {
        Self {
            site: site.to_owned(),
            operations: Default::default(),
            fsyncs: OnceLock::new(),
            barred: AtomicBool::new(false),
            barred_gauge: OnceLock::new(),
        }
    }

    pub(super) fn attempt(&self, operation: Operation) {
        self.operations[operation as usize].attempts.fetch_add(1, Ordering::Relaxed);
        self.meters(operation).requests.increment(1);
    }

    /// Whether the site is barred, as of now; the gauge is set where that changed.
    pub(super) fn barred(&self, barred: bool) {
        if self.barred.swap(barred, Ordering::Relaxed) != barred
            || self.barred_gauge.get().is_none()
        {
            let gauge = self
                .barred_gauge
                .get_or_init(|| gauge!("havre_site_barred", "site" => self.site.clone()));
            gauge.set(if barred { 1.0 } else { 0.0 });
        }
    }

    pub(super) fn error(&self, operation: Operation) {
        self.operations[operation as usize].errors.fetch_add(1, Ordering::Relaxed);
        self.meters(operation).errors.increment(1);
    }

    pub(super) fn bytes(&self, operation: Operation, bytes: u64) {
        self.operations[operation as usize].bytes.fetch_add(bytes, Ordering::Relaxed);
        self.meters(operation).bytes.increment(bytes);
    }

    pub(super) fn answered(&self, operation: Operation, took: Duration, costs: SiteCounts) {
        self.meters(operation).seconds.record(took);
        if operation.is_write() && costs.fsyncs > 0 {
            let fsyncs = self
                .fsyncs
                .get_or_init(|| counter!("havre_site_fsyncs_total", "site" => self.site.clone()));
            fsyncs.absolute(costs.fsyncs);
        }
    }

    pub(super) fn snapshot(&self, costs: SiteCounts) -> Counters {
        let read = |pick: fn(&OperationMeter) -> &AtomicU64| {
            self.operations.each_ref().map(|meter| pick(meter).load(Ordering::Relaxed))
        };
        Counters {
            attempts: read(|meter| &meter.attempts),
            errors: read(|meter| &meter.errors),
            bytes: read(|meter| &meter.bytes),
            fsyncs: costs.fsyncs,
            network_requests: costs.requests,
        }
    }

    fn meters(&self, operation: Operation) -> &Meters {
        self.operations[operation as usize].meters.get_or_init(|| {
            let labels = [("site", self.site.clone()), ("operation", operation.to_string())];
            Meters {
                requests: counter!("havre_site_requests_total", &labels),
                errors: counter!("havre_site_errors_total", &labels),
                bytes: counter!("havre_site_bytes_total", &labels),
                seconds: histogram!("havre_site_seconds", &labels),
            }
        })
    }
}
