//! The keeper's work: repair and garbage collection, beside the gateway, or garbage once by hand.
//!
//! **Invariant.** One process keeps: the one that holds the catalog and knows who writes and
//! reads.
//!
//! **Deliberately absent.** What is garbage (`catalog`), what is an orphan, and how a shard is made
//! anew (`keeper`).
//!
//! **Crash.** The next pass goes on.

use anyhow::{Context, Result};
use havre::compose::{self, Gateway, InFlight};
use havre::config::Config;
use havre_keeper::{Collector, GcReport, RepairReport, Repairer};
use havre_model::ports::Ports;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// The pause between two collections of a running gateway.
const PAUSE: Duration = Duration::from_secs(300);
/// The pause before the first.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The pause between two passes of repair. A blob is repaired when it was incomplete twice.
const REPAIR_PAUSE: Duration = Duration::from_secs(10);
/// What repair reads from all sites together, where the configuration does not say.
const REPAIR_BYTES_PER_SECOND: u64 = 128 << 20;

fn collector(gateway: &Gateway) -> Collector {
    Collector {
        catalog: Arc::clone(&gateway.catalog),
        fleet: Arc::clone(&gateway.fleet),
        held: Arc::new(InFlight(gateway.engine.in_flight())),
    }
}

/// Passes, one after the other, for as long as the gateway runs.
pub(crate) fn collect_for_ever(
    gateway: &Gateway,
    ports: Ports,
) -> impl Future<Output = ()> + Send + 'static {
    let collector = collector(gateway);
    let engine = Arc::clone(&gateway.engine);
    async move {
        ports.runtime.sleep(FIRST_PAUSE).await;
        loop {
            // Without every acknowledged pack in the catalog, what is needed looks like an orphan.
            if engine.fence().await {
                match collector.collect().await {
                    Ok(report) => tell(&report),
                    Err(error) => tracing::warn!(%error, "a garbage collection pass failed"),
                }
            }
            ports.runtime.sleep(PAUSE).await;
        }
    }
}

/// Repairs what misses shards, for as long as the gateway runs.
pub(crate) fn repair_for_ever(
    gateway: &Gateway,
    config: &Config,
    ports: Ports,
) -> impl Future<Output = ()> + Send + 'static {
    let rate = config.limits.repair_bytes_per_second.unwrap_or(REPAIR_BYTES_PER_SECOND);
    let (catalog, fleet) = (Arc::clone(&gateway.catalog), Arc::clone(&gateway.fleet));
    let mut repairer =
        Repairer::new(catalog, fleet, config.placement_policies(), rate, ports.clone());
    async move {
        loop {
            ports.runtime.sleep(REPAIR_PAUSE).await;
            match repairer.pass().await {
                Ok(report) => tell_repair(&report),
                Err(error) => tracing::warn!(%error, "a repair pass failed"),
            }
        }
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
    extents: u64,
    packs: u64,
    objects: u64,
    incomplete: u64,
    sites_unlisted: Vec<String>,
}

/// One pass, while no gateway runs; prints what it did as JSON.
pub(crate) async fn collect_once(config: &Config) -> Result<()> {
    let gateway = compose::start(config)
        .await
        .context("a running gateway collects by itself; stop it to do so by hand")?;
    anyhow::ensure!(
        gateway.engine.fence().await,
        "too many sites are away to know what is needed; bring them back first"
    );
    let report = collector(&gateway).collect().await?;
    let counts = gateway.engine.counts().await?;
    let printed = Printed {
        garbage_deleted: report.garbage_deleted,
        garbage_left: report.garbage_left,
        orphans_deleted: report.orphans_deleted,
        orphans_left: report.orphans_left,
        extent_shards_needed: report.extent_shards_needed,
        pack_shards_needed: report.pack_shards_needed,
        extents: counts.blobs - counts.garbage,
        packs: counts.packs,
        objects: counts.objects,
        incomplete: counts.incomplete,
        sites_unlisted: report.sites_unlisted,
    };
    println!("{}", serde_json::to_string_pretty(&printed)?);
    Ok(())
}
