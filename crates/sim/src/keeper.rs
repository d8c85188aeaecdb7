//! The keeper of a simulated gateway: repair, relocation, scrub, compaction, re-dispersal and
//! garbage collection, each as the gateway runs it, one pass at a time.
//!
//! **Invariant.** All of a gateway's workers share one register of what they are at, and die with
//! it. No two passes of a kind run at once.
//!
//! **Deliberately absent.** When a pass begins ([`crate::scenario`]).
//!
//! **Crash.** A pass that is killed is begun again by the next gateway.

use crate::catalog::SimCatalog;
use crate::client::Client;
use crate::inspect::check_needed;
use crate::world::InFlight;
use async_trait::async_trait;
use havre_engine::{Engine, PutError};
use havre_keeper::{
    Busy, Collector, Compactor, Depth, HeldBlobs, Index, Redisperser, Relocator, Repairer,
    Rewriter, Scrubber, SealedRecord, Throttle,
};
use havre_model::BlobId;
use havre_model::ports::{Ports, Task};
use havre_model::record::{Extent, RetiredRun};
use havre_policy::PlacementPolicy;
use havre_sites::Fleet;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the workers read in a second: enough that waiting for it happens and is no burden.
const BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;
/// The pause between two passes of repair: what is incomplete twice is repaired.
const REPAIR_PAUSE: Duration = Duration::from_secs(10);

/// What a keeper can be at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Two passes of repair.
    Repair,
    /// A pass of relocation.
    Move,
    /// A cycle of scrub.
    Scrub(Depth),
    /// A pass of compaction, which may write everything anew in which something is dead.
    Compact {
        /// Whether it does.
        thorough: bool,
    },
    /// A pass of re-dispersal.
    Redisperse,
    /// A garbage collection.
    Collect,
    /// The same, by a catalog that denies every blob: sabotage.
    CollectAll,
}

impl Work {
    /// Whether two of these would be two of a kind.
    #[must_use]
    pub fn is_like(self, other: Self) -> bool {
        let kind = |work| match work {
            Self::Repair => 0,
            Self::Move => 1,
            Self::Scrub(_) => 2,
            Self::Collect | Self::CollectAll => 3,
            Self::Compact { .. } => 4,
            Self::Redisperse => 5,
        };
        kind(self) == kind(other)
    }
}

/// The keeper of one gateway process. Clones are the same one.
#[derive(Clone)]
pub struct Keeper {
    fleet: Arc<Fleet>,
    policies: Arc<[PlacementPolicy]>,
    ports: Ports,
    busy: Busy,
    /// Between passes, since each remembers what the one before saw.
    repairer: Arc<Mutex<Option<Repairer>>>,
    relocator: Arc<Mutex<Option<Relocator>>>,
    paused: Arc<AtomicBool>,
    rebalances: Arc<AtomicBool>,
}

impl Keeper {
    /// The keeper of a process.
    #[must_use]
    pub fn new(fleet: Arc<Fleet>, policies: Arc<[PlacementPolicy]>, ports: Ports) -> Self {
        Self {
            fleet,
            policies,
            ports,
            busy: Busy::default(),
            repairer: Arc::default(),
            relocator: Arc::default(),
            paused: Arc::default(),
            rebalances: Arc::default(),
        }
    }

    /// Moving shards pauses, or goes on.
    pub fn pause(&self, pauses: bool) {
        self.paused.store(pauses, Ordering::Relaxed);
    }

    /// What may stay is moved, too, or no longer.
    pub fn rebalance(&self, rebalances: bool) {
        self.rebalances.store(rebalances, Ordering::Relaxed);
    }

    /// One piece of work, to its end.
    #[must_use]
    pub fn work(&self, work: Work, client: Client, catalog: Arc<SimCatalog>) -> Task {
        let keeper = self.clone();
        match work {
            Work::Repair => Box::pin(async move { keeper.repair(client, catalog).await }),
            Work::Move => Box::pin(async move { keeper.relocate(client, catalog).await }),
            Work::Scrub(depth) => {
                Box::pin(async move { keeper.scrub(depth, client, catalog).await })
            }
            Work::Compact { thorough } => {
                Box::pin(async move { keeper.compact(thorough, client, catalog).await })
            }
            Work::Redisperse => Box::pin(async move { keeper.redisperse(client, catalog).await }),
            Work::Collect | Work::CollectAll => {
                let takes_all = work == Work::CollectAll;
                Box::pin(async move { keeper.collect(takes_all, client, catalog).await })
            }
        }
    }

    async fn repair(&self, client: Client, catalog: Arc<SimCatalog>) {
        let kept = self.repairer.lock().take();
        let mut repairer = kept.unwrap_or_else(|| {
            let (fleet, policies) = (Arc::clone(&self.fleet), Arc::clone(&self.policies));
            let (busy, ports) = (self.busy.clone(), self.ports.clone());
            Repairer::new(Arc::new(catalog), fleet, policies, busy, BYTES_PER_SECOND, ports)
        });
        for _ in 0..2 {
            let report = repairer.pass().await;
            client.note(format_args!("repaired: {report:?}"));
            client.executor.sleep(REPAIR_PAUSE).await;
        }
        *self.repairer.lock() = Some(repairer);
    }

    async fn relocate(&self, client: Client, catalog: Arc<SimCatalog>) {
        // As the gateway does: what may still turn up in the packs is known first.
        if !client.engine.takes_writes() || self.paused.load(Ordering::Relaxed) {
            return;
        }
        let kept = self.relocator.lock().take();
        let mut relocator = kept.unwrap_or_else(|| Relocator {
            catalog: Arc::new(catalog),
            fleet: Arc::clone(&self.fleet),
            policies: Arc::clone(&self.policies),
            held: self.held(&client),
            busy: self.busy.clone(),
            ports: self.ports.clone(),
            throttle: Throttle::new(BYTES_PER_SECOND),
            rebalances: false,
            waiting: HashMap::new(),
        });
        relocator.rebalances = self.rebalances.load(Ordering::Relaxed);
        let (closed, rebalances) = (self.fleet.closed(), relocator.rebalances);
        let goes_on = || {
            !self.paused.load(Ordering::Relaxed)
                && self.fleet.closed() == closed
                && self.rebalances.load(Ordering::Relaxed) == rebalances
        };
        client.note(format_args!("shards move, rebalancing: {rebalances}, closed: {closed:?}"));
        let report = relocator.pass(&goes_on).await;
        client.note(format_args!("moved: {report:?}"));
        if report.is_ok_and(|report| report.done) {
            self.rebalance(false);
        }
        *self.relocator.lock() = Some(relocator);
    }

    async fn scrub(&self, depth: Depth, client: Client, catalog: Arc<SimCatalog>) {
        let (fleet, ports) = (Arc::clone(&self.fleet), self.ports.clone());
        let throttle = Throttle::new(BYTES_PER_SECOND);
        let catalog: Arc<dyn Index> = Arc::new(catalog);
        let mut scrubber = Scrubber { catalog, fleet, depth, ports, throttle };
        let report = scrubber.cycle(&|| true).await;
        client.note(format_args!("scrubbed: {report:?}"));
    }

    async fn compact(&self, thorough: bool, client: Client, catalog: Arc<SimCatalog>) {
        // As the gateway does.
        if !client.engine.takes_writes() {
            return;
        }
        let mut compactor = Compactor {
            catalog,
            fleet: Arc::clone(&self.fleet),
            policies: Arc::clone(&self.policies),
            rewriter: Arc::new(Pen(Arc::clone(&client.engine))),
            busy: self.busy.clone(),
            ports: self.ports.clone(),
            throttle: Throttle::new(BYTES_PER_SECOND),
        };
        let report = compactor.pass(thorough, &|| true).await;
        client.note(format_args!("compacted: {report:?}"));
    }

    async fn redisperse(&self, client: Client, catalog: Arc<SimCatalog>) {
        if !client.engine.takes_writes() || self.paused.load(Ordering::Relaxed) {
            return;
        }
        let mut redisperser = Redisperser {
            catalog,
            fleet: Arc::clone(&self.fleet),
            policies: Arc::clone(&self.policies),
            default_policy: self.policies[0].name().to_owned(),
            rewriter: Arc::new(Pen(Arc::clone(&client.engine))),
            busy: self.busy.clone(),
            ports: self.ports.clone(),
            throttle: Throttle::new(BYTES_PER_SECOND),
        };
        let report = redisperser.pass(&|| !self.paused.load(Ordering::Relaxed)).await;
        client.note(format_args!("dispersed anew: {report:?}"));
    }

    async fn collect(&self, takes_all: bool, client: Client, catalog: Arc<SimCatalog>) {
        // As the gateway does: what is needed is known only when every acknowledged pack is, and no
        // other can turn up.
        if !client.engine.fence().await {
            return client.note(format_args!("no collection now"));
        }
        client.note(format_args!("a collection begins"));
        let believed = match takes_all {
            true => Arc::new(catalog.hiding_blobs()),
            false => Arc::clone(&catalog),
        };
        let believed: Arc<dyn Index> = Arc::new(believed);
        let (fleet, held) = (Arc::clone(&self.fleet), self.held(&client));
        let collector = Collector { catalog: believed, fleet, held, busy: self.busy.clone() };
        let report = collector.collect().await;
        client.note(format_args!("collected: {report:?}"));
        check_needed(&*catalog, &client.ledger).await;
    }

    fn held(&self, client: &Client) -> Arc<dyn HeldBlobs> {
        Arc::new(InFlight(Arc::clone(&client.engine)))
    }
}

/// Writes what compaction asks for, as the gateway's own does.
struct Pen(Arc<Engine>);

fn told<T>(result: Result<T, PutError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

#[async_trait]
impl Rewriter for Pen {
    async fn carry(
        &self,
        from: BlobId,
        records: Vec<SealedRecord>,
        staying: Option<&str>,
    ) -> Result<u64, String> {
        told(self.0.carry(from, records, staying).await)
    }

    async fn retire(&self, packs: Vec<RetiredRun>) -> Result<(), String> {
        told(self.0.retire(packs).await)
    }

    async fn redisperse(&self, extent: BlobId, to: Extent, policy: String) -> Result<(), String> {
        told(self.0.redisperse(extent, to, policy).await)
    }

    fn hold(&self, blob: BlobId) -> Box<dyn Send + Sync> {
        self.0.hold(blob)
    }

    async fn drop_ends(&self) -> Result<u64, String> {
        told(self.0.drop_ends().await)
    }
}
