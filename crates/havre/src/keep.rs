//! The keeper's work: repair, relocation, scrub and garbage collection, inside the gateway or in a
//! process of its own; or garbage once by hand.
//!
//! **Invariant.** One process keeps for a catalog: the gateway's, or the one that has its post
//! (`havre::apart`). The workers see the catalog and the gateway through [`Index`] and
//! [`Oversight`] alone, wherever they run.
//!
//! **Deliberately absent.** What is garbage (`catalog`), what is an orphan, and how a shard is made
//! anew (`keeper`).
//!
//! **Crash.** The next pass goes on.

use anyhow::{Context, Result};
use havre::apart::Session;
use havre::compose::{self, Gateway};
use havre::config::Config;
use havre::oversight::{Inside, Oversight};
use havre_keeper::{
    Busy, Collector, Depth, GcReport, HeldBlobs, Index, Relocation, Relocator, RepairReport,
    Repairer, Scrubber, Throttle, estimate, shards_listed,
};
use havre_model::SiteSet;
use havre_model::ports::{Ports, Task};
use havre_policy::PlacementPolicy;
use havre_policy::spread::{Measure, Room, shares};
use havre_sites::{Fleet, Share};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The pause between two collections of a running gateway.
const PAUSE: Duration = Duration::from_secs(300);
/// The pause before the first.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The pause between two passes of repair. A blob is repaired when it was incomplete twice.
const REPAIR_PAUSE: Duration = Duration::from_secs(10);
/// The pause between two looks whether a cycle of scrub is due.
const SCRUB_PAUSE: Duration = Duration::from_secs(60);
/// The pause between two looks for shards that have to move, and between two passes over all of
/// them when nothing has changed.
const RELOCATE_PAUSE: Duration = Duration::from_secs(2);
const RELOCATE_EVERY: Duration = Duration::from_secs(3600);
/// The longest pause between two passes while something is left that did not move.
const RELOCATE_STALLED: Duration = Duration::from_secs(60);

/// What all of the keeper's workers share.
#[derive(Clone)]
pub(crate) struct Keeper {
    index: Arc<dyn Index>,
    oversight: Arc<dyn Oversight>,
    fleet: Arc<Fleet>,
    policies: Arc<[PlacementPolicy]>,
    rooms: Vec<Room>,
    busy: Busy,
    bytes_per_second: u64,
    scrub: Scrubbing,
    ports: Ports,
}

/// How scrub was configured.
#[derive(Clone, Copy)]
struct Scrubbing {
    bytes_per_second: u64,
    cycle: Duration,
    depth: Depth,
}

impl Keeper {
    /// Inside the gateway.
    pub(crate) fn inside(gateway: &Gateway, config: &Config, ports: Ports) -> Self {
        let index = Arc::new(Arc::clone(&gateway.catalog));
        let (oversight, fleet) = (Arc::new(Inside::new(gateway)), Arc::clone(&gateway.fleet));
        Self::new(index, oversight, fleet, config, ports)
    }

    /// In a process of its own, for as long as the session lives.
    pub(crate) fn apart(
        session: Arc<Session>,
        fleet: Arc<Fleet>,
        config: &Config,
        ports: Ports,
    ) -> Self {
        Self::new(Arc::clone(&session) as Arc<dyn Index>, session, fleet, config, ports)
    }

    fn new(
        index: Arc<dyn Index>,
        oversight: Arc<dyn Oversight>,
        fleet: Arc<Fleet>,
        config: &Config,
        ports: Ports,
    ) -> Self {
        Self {
            index,
            oversight,
            fleet,
            policies: config.placement_policies().into(),
            rooms: config.sites.iter().map(|site| site.room).collect(),
            busy: Busy::default(),
            bytes_per_second: config.keeper_bytes_per_second(),
            scrub: Scrubbing {
                bytes_per_second: config.scrub_bytes_per_second(),
                cycle: config.scrub_cycle(),
                depth: if config.limits.scrub_whole { Depth::Whole } else { Depth::Sample },
            },
            ports,
        }
    }

    /// All workers, each for ever.
    pub(crate) fn workers(self) -> Vec<Task> {
        vec![
            Box::pin(self.clone().repair_for_ever()),
            Box::pin(self.clone().relocate_for_ever()),
            Box::pin(self.clone().scrub_for_ever()),
            Box::pin(self.collect_for_ever()),
        ]
    }

    /// What its workers are at.
    pub(crate) fn busy(&self) -> Busy {
        self.busy.clone()
    }

    fn held(&self) -> Arc<dyn HeldBlobs> {
        Arc::clone(&self.oversight) as Arc<dyn HeldBlobs>
    }

    pub(crate) fn collector(&self) -> Collector {
        Collector {
            catalog: Arc::clone(&self.index),
            fleet: Arc::clone(&self.fleet),
            held: self.held(),
            busy: self.busy.clone(),
        }
    }

    pub(crate) fn repairer(&self) -> Repairer {
        let (catalog, fleet) = (Arc::clone(&self.index), Arc::clone(&self.fleet));
        let (policies, busy) = (Arc::clone(&self.policies), self.busy.clone());
        Repairer::new(catalog, fleet, policies, busy, self.bytes_per_second, self.ports.clone())
    }

    fn relocator(&self) -> Relocator {
        Relocator {
            catalog: Arc::clone(&self.index),
            fleet: Arc::clone(&self.fleet),
            policies: Arc::clone(&self.policies),
            held: self.held(),
            busy: self.busy.clone(),
            ports: self.ports.clone(),
            throttle: Throttle::new(self.bytes_per_second),
            rebalances: false,
            waiting: HashMap::new(),
        }
    }

    /// Scrubs, cycle after cycle, for as long as the keeper runs.
    async fn scrub_for_ever(self) {
        let Scrubbing { bytes_per_second, cycle, depth } = self.scrub;
        let throttle = Throttle::new(bytes_per_second);
        let (catalog, fleet) = (Arc::clone(&self.index), Arc::clone(&self.fleet));
        let mut scrubber = Scrubber { catalog, fleet, depth, ports: self.ports.clone(), throttle };
        loop {
            self.ports.runtime.sleep(SCRUB_PAUSE).await;
            match Scrubber::progress(&*self.index).await {
                // A clock that was set back begins a cycle.
                Ok(last) if last.ended_ms > 0 => {
                    let now = self.ports.clock.now().millis();
                    let since = now.checked_sub(last.began_ms).map(Duration::from_millis);
                    if since.is_some_and(|since| since < cycle) {
                        continue;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "how far scrub got cannot be read");
                    continue;
                }
            }
            match scrubber.cycle(&|| true).await {
                Ok(scrub) => tracing::info!(
                    good = scrub.good,
                    bad = scrub.bad,
                    unanswered = scrub.unanswered,
                    bytes = scrub.bytes_read,
                    "a cycle of scrub ended"
                ),
                Err(error) => tracing::warn!(%error, "a cycle of scrub was interrupted"),
            }
        }
    }

    /// Collects garbage, pass after pass, for as long as the keeper runs.
    async fn collect_for_ever(self) {
        let collector = self.collector();
        self.ports.runtime.sleep(FIRST_PAUSE).await;
        loop {
            // Without every acknowledged pack in the catalog, what is needed looks like an orphan.
            if self.oversight.fence().await {
                match collector.collect().await {
                    Ok(report) => tell(&report),
                    Err(error) => tracing::warn!(%error, "a garbage collection pass failed"),
                }
            }
            self.ports.runtime.sleep(PAUSE).await;
        }
    }

    /// Repairs what misses shards, for as long as the keeper runs.
    async fn repair_for_ever(self) {
        let mut repairer = self.repairer();
        loop {
            self.ports.runtime.sleep(REPAIR_PAUSE).await;
            match repairer.pass().await {
                Ok(report) => tell_repair(&report),
                Err(error) => tracing::warn!(%error, "a repair pass failed"),
            }
        }
    }

    /// Whether closed sites list nothing any more, after garbage was collected for it.
    async fn is_empty(&self, closed: SiteSet) -> bool {
        if !closed.is_empty() && self.oversight.fence().await {
            match self.collector().collect().await {
                Ok(report) => tell(&report),
                Err(error) => tracing::warn!(%error, "a garbage collection pass failed"),
            }
        }
        for at in closed.iter() {
            match shards_listed(self.fleet.site(at), 1).await {
                Ok(0) => {}
                Ok(_) => return false,
                Err(error) => {
                    tracing::warn!(%error, "a closed site cannot be listed");
                    return false;
                }
            }
        }
        true
    }

    /// Tells the fleet now and then what each site should get: where new blobs go follows it, in
    /// a gateway whose keeper is apart, too.
    pub(crate) async fn share_out_for_ever(self) {
        loop {
            if let Err(error) = self.share_out().await {
                tracing::warn!(%error, "what the sites hold cannot be counted");
            }
            self.ports.runtime.sleep(RELOCATE_EVERY).await;
        }
    }

    /// Tells the fleet how much of what is stored each site should get.
    async fn share_out(&self) -> Result<()> {
        if self.rooms.iter().all(|room| *room == Room::default()) {
            return Ok(());
        }
        let used = estimate::stored_bytes(&*self.index, &self.fleet).await?;
        let rooms: Vec<Room> =
            self.rooms.iter().zip(used).map(|(room, used)| Room { used, ..*room }).collect();
        let (next, whole) = (shares(&rooms, Measure::Free), shares(&rooms, Measure::Capacity));
        let share = |(next, whole)| Share { next, whole };
        self.fleet.share_out(next.into_iter().zip(whole).map(share).collect());
        Ok(())
    }

    /// Moves what may not stay where it is, for as long as the keeper runs: at once while sites
    /// are closed and not empty, and now and then because facts change with the configuration.
    /// When asked to, also what may stay, until each site has its share.
    async fn relocate_for_ever(self) {
        let mut relocator = self.relocator();
        let mut seen = SiteSet::EMPTY;
        let (mut idle, mut pause, mut last) = (Duration::MAX, Duration::ZERO, (0, 0));
        loop {
            let (closed, rebalances) = (self.fleet.closed(), self.oversight.rebalances());
            let paused = || self.oversight.moves_paused();
            let is_new = closed != seen || rebalances != relocator.rebalances;
            let due = is_new || idle >= pause;
            if due && self.oversight.takes_writes() && !paused() {
                (seen, relocator.rebalances) = (closed, rebalances);
                if let Err(error) = self.share_out().await {
                    tracing::warn!(%error, "what the sites hold cannot be counted");
                }
                let same =
                    || self.fleet.closed() == closed && self.oversight.rebalances() == rebalances;
                match relocator.pass(&|| same() && !paused()).await {
                    Ok(progress) => {
                        // Garbage is not moved: it goes, so that closed sites are left empty.
                        let settled = progress.done && self.is_empty(closed).await;
                        let now = (progress.shards, progress.deleted);
                        pause = match settled {
                            true => RELOCATE_EVERY,
                            false if now == last => {
                                (pause.max(RELOCATE_PAUSE) * 2).min(RELOCATE_STALLED)
                            }
                            false => RELOCATE_PAUSE,
                        };
                        (idle, last) = (Duration::ZERO, now);
                        tell_relocation(&progress);
                        if rebalances && progress.done {
                            self.end_rebalance().await;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "a pass of moving shards failed"),
                }
            }
            self.ports.runtime.sleep(RELOCATE_PAUSE).await;
            idle = idle.saturating_add(RELOCATE_PAUSE);
        }
    }

    async fn end_rebalance(&self) {
        match self.oversight.end_rebalance().await {
            Ok(()) => tracing::info!("each site has its share, as far as the guarantee allows"),
            // The next pass finds the same.
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "the end of rebalancing cannot be noted");
            }
        }
    }
}

fn tell_relocation(progress: &Relocation) {
    if progress.stuck > 0 {
        let reason = &progress.reason;
        tracing::warn!(blobs = progress.stuck, reason, "shards cannot be moved where they may be");
    }
    if progress.shards > 0 {
        tracing::info!(
            shards = progress.shards,
            bytes = progress.bytes_stored,
            deleted = progress.deleted,
            waiting = progress.waiting,
            left = progress.left,
            done = progress.done,
            "shards were moved"
        );
    }
}

fn tell_repair(report: &RepairReport) {
    if report.shards > 0 {
        tracing::info!(
            shards = report.shards,
            whole = report.whole,
            left = report.incomplete - report.whole,
            "blobs were repaired"
        );
    }
    if report.refused + report.unreadable > 0 {
        tracing::warn!(
            refused = report.refused,
            unreadable = report.unreadable,
            "blobs cannot be repaired: no policy permits a shard where it was, or too few are left"
        );
    }
}

fn tell(report: &GcReport) {
    if report.garbage_deleted + report.orphans_deleted > 0 {
        tracing::info!(
            garbage = report.garbage_deleted,
            orphans = report.orphans_deleted,
            left = report.garbage_left + report.orphans_left,
            "garbage was collected"
        );
    }
}

/// What `havre gc` prints.
#[derive(Serialize)]
struct Printed {
    garbage_deleted: u64,
    garbage_left: u64,
    orphans_deleted: u64,
    orphans_left: u64,
    extent_shards_needed: u64,
    pack_shards_needed: u64,
    /// That the catalog knows, and how many of both are garbage that is left.
    extents: u64,
    packs: u64,
    garbage: u64,
    objects: u64,
    incomplete: u64,
    sites_unlisted: Vec<String>,
}

/// One pass, while no gateway runs; prints what it did as JSON.
pub(crate) async fn collect_once(config: &Config) -> Result<()> {
    let gateway = compose::start(config)
        .await
        .context("a running gateway keeps by itself; stop it to do so by hand")?;
    anyhow::ensure!(
        gateway.engine.fence().await,
        "too many sites are away to know what is needed; bring them back first"
    );
    let keeper = Keeper::inside(&gateway, config, havre_sites::system::ports());
    let report = keeper.collector().collect().await?;
    let counts = gateway.engine.counts().await?;
    let printed = Printed {
        garbage_deleted: report.garbage_deleted,
        garbage_left: report.garbage_left,
        orphans_deleted: report.orphans_deleted,
        orphans_left: report.orphans_left,
        extent_shards_needed: report.extent_shards_needed,
        pack_shards_needed: report.pack_shards_needed,
        extents: counts.blobs,
        packs: counts.packs,
        garbage: counts.garbage,
        objects: counts.objects,
        incomplete: counts.incomplete,
        sites_unlisted: report.sites_unlisted,
    };
    println!("{}", serde_json::to_string_pretty(&printed)?);
    Ok(())
}
