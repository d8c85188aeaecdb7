//! The keeper's work that writes records: compaction and re-dispersal. The gateway does it,
//! wherever the keeper runs, because a chain has one writer; or compaction once by hand.
//!
//! **Invariant.** Beside the engine's [`Pen`], the workers get no more than the rest of the keeper.
//!
//! **Deliberately absent.** Which packs and extents (`keeper`), and how they are written
//! (`engine`).
//!
//! **Crash.** The next pass goes on.

use crate::keep::Keeper;
use anyhow::{Context, Result};
use havre::compose::{self, Gateway};
use havre::config::Config;
use havre::oversight::Pen;
use havre_catalog::Catalog;
use havre_engine::Engine;
use havre_keeper::{Busy, Compactor, Redispersal, Redisperser, Rewriter, Throttle};
use havre_model::ports::Ports;
use havre_policy::PlacementPolicy;
use havre_sites::Fleet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The pause between two passes of compaction, and between two in which everything dead goes.
const COMPACT_PAUSE: Duration = Duration::from_secs(60);
const COMPACT_THOROUGH_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the last shards of what the start wrote may take to arrive after it was answered.
const LAST_SHARDS: Duration = Duration::from_secs(1);
/// Packs in which a pass of compaction may leave something dead of its own.
const OWN_PACKS: u64 = 2;
/// The pause between two looks for what is under another policy, between two passes over everything
/// when nothing has changed, and at most between two while something waits.
const REDISPERSE_PAUSE: Duration = Duration::from_secs(2);
const REDISPERSE_EVERY: Duration = Duration::from_secs(3600);
const REDISPERSE_STALLED: Duration = Duration::from_secs(60);

/// What both workers share.
#[derive(Clone)]
pub(crate) struct Rewriting {
    catalog: Arc<dyn Catalog>,
    fleet: Arc<Fleet>,
    engine: Arc<Engine>,
    policies: Arc<[PlacementPolicy]>,
    default_policy: String,
    moves_paused: Arc<AtomicBool>,
    busy: Busy,
    bytes_per_second: u64,
    ports: Ports,
}

impl Rewriting {
    /// Beside the keeper of this process, if it has one that works.
    pub(crate) fn new(gateway: &Gateway, config: &Config, busy: Busy, ports: Ports) -> Self {
        Self {
            catalog: Arc::clone(&gateway.catalog),
            fleet: Arc::clone(&gateway.fleet),
            engine: Arc::clone(&gateway.engine),
            policies: Arc::clone(&gateway.policies),
            default_policy: config.gateway.default_policy.clone(),
            moves_paused: Arc::clone(&gateway.moves_paused),
            busy,
            bytes_per_second: config.keeper_bytes_per_second(),
            ports,
        }
    }

    fn rewriter(&self) -> Arc<dyn Rewriter> {
        Arc::new(Pen(Arc::clone(&self.engine)))
    }

    fn compactor(&self) -> Compactor {
        Compactor {
            catalog: Arc::clone(&self.catalog),
            fleet: Arc::clone(&self.fleet),
            policies: Arc::clone(&self.policies),
            rewriter: self.rewriter(),
            busy: self.busy.clone(),
            ports: self.ports.clone(),
            throttle: Throttle::new(self.bytes_per_second),
        }
    }

    fn redisperser(&self) -> Redisperser {
        Redisperser {
            catalog: Arc::clone(&self.catalog),
            fleet: Arc::clone(&self.fleet),
            policies: Arc::clone(&self.policies),
            default_policy: self.default_policy.clone(),
            rewriter: self.rewriter(),
            busy: self.busy.clone(),
            ports: self.ports.clone(),
            throttle: Throttle::new(self.bytes_per_second),
        }
    }

    /// Compacts packs, pass after pass, for as long as the gateway runs.
    pub(crate) async fn compact_for_ever(self) {
        let mut compactor = self.compactor();
        let mut took = Duration::ZERO;
        loop {
            // To look at all packs of a large catalog takes a while: a twentieth of the time, at
            // most.
            self.ports.runtime.sleep(COMPACT_PAUSE.max(took * 20)).await;
            let began = self.ports.clock.elapsed();
            if !self.engine.takes_writes() {
                continue;
            }
            let last = match Compactor::progress(&*self.catalog).await {
                Ok(last) => last,
                Err(error) => {
                    tracing::warn!(%error, "how far compaction got cannot be read");
                    continue;
                }
            };
            // A clock that was set back begins a thorough pass.
            let since = self.ports.clock.now().millis().checked_sub(last.thorough_ms);
            let since = since.map(Duration::from_millis);
            let thorough = since.is_none_or(|since| since >= COMPACT_THOROUGH_EVERY);
            match compactor.pass(thorough, &|| true).await {
                Ok(done) if done.done > 0 => tracing::info!(
                    packs = done.done,
                    waiting = done.waiting,
                    dead_bytes = done.dead_bytes,
                    "packs were written anew"
                ),
                Ok(done) if done.waiting > 0 => {
                    tracing::debug!(packs = done.waiting, reason = done.reason, "packs wait");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "a pass of compaction failed"),
            }
            took = self.ports.clock.elapsed().saturating_sub(began);
        }
    }

    /// Disperses anew what is under another policy or geometry than it should be, for as long as
    /// the gateway runs: soon after a start, because policies change with the configuration, soon
    /// after a bucket's policy was changed, and now and then.
    pub(crate) async fn redisperse_for_ever(self) {
        let mut redisperser = self.redisperser();
        let (mut idle, mut pause, mut seen) = (Duration::MAX, Duration::ZERO, 0);
        loop {
            let paused = || self.moves_paused.load(Ordering::Acquire);
            let changes = self.engine.policy_changed_ms();
            if (idle >= pause || changes != seen) && self.engine.takes_writes() && !paused() {
                seen = changes;
                match redisperser.pass(&|| !paused()).await {
                    Ok(done) => {
                        pause = match done.ended_ms > 0 {
                            true => REDISPERSE_EVERY,
                            false if done.waiting > 0 => {
                                (pause.max(REDISPERSE_PAUSE) * 2).min(REDISPERSE_STALLED)
                            }
                            false => REDISPERSE_PAUSE,
                        };
                        idle = Duration::ZERO;
                        tell_redispersal(&done);
                    }
                    Err(error) => tracing::warn!(%error, "a pass of re-dispersal failed"),
                }
            }
            self.ports.runtime.sleep(REDISPERSE_PAUSE).await;
            idle = idle.saturating_add(REDISPERSE_PAUSE);
        }
    }
}

fn tell_redispersal(done: &Redispersal) {
    if done.waiting > 0 {
        tracing::warn!(blobs = done.waiting, reason = done.reason, "re-dispersal waits");
    }
    if done.ended_ms == 0 && done.extents + done.records > 0 {
        let (extents, records, bytes) = (done.extents, done.records, done.bytes);
        tracing::info!(extents, records, bytes, "what was under another policy is dispersed anew");
    }
}

/// Packs that are written anew, in passes, while no gateway runs, and what that leaves is deleted;
/// prints what it did as JSON.
pub(crate) async fn compact_once(config: &Config, thorough: bool) -> Result<()> {
    let gateway = compose::start(config)
        .await
        .context("a running gateway compacts by itself; stop it to do so by hand")?;
    anyhow::ensure!(
        gateway.engine.fence().await,
        "too many sites are away to know what is needed; bring them back first"
    );
    let ports = havre_sites::system::ports();
    let keeper = Keeper::inside(&gateway, config, ports.clone());
    // Nothing is retired while anything is below its guarantee. What the start wrote last may miss
    // a shard that is on its way yet; one that takes longer than this is made anew beside it.
    let mut repairer = keeper.repairer();
    repairer.pass().await?;
    ports.runtime.sleep(LAST_SHARDS).await;
    let repaired = repairer.pass().await?;
    let mut compactor = Rewriting::new(&gateway, config, keeper.busy(), ports).compactor();
    let mut done = compactor.pass(thorough, &|| true).await?;
    // Each pass is bounded, and may make ends forgettable, which the next one gains by. What a pass
    // leaves dead of its own, the record of what it retired, is no reason for another.
    while done.done > OWN_PACKS && done.waiting == 0 {
        done = compactor.pass(thorough, &|| true).await?;
    }
    let report = keeper.collector().collect().await?;
    let printed = serde_json::json!({
        "packs": done.total,
        "dead_bytes": done.dead_bytes,
        "waiting": done.waiting,
        "reason": done.reason,
        "repaired": repaired.whole,
        "incomplete": repaired.incomplete - repaired.whole,
        "packs_retired_ever": done.packs_retired,
        "records_carried_ever": done.records_carried,
        "garbage_deleted": report.garbage_deleted,
        "garbage_left": report.garbage_left,
    });
    println!("{}", serde_json::to_string_pretty(&printed)?);
    Ok(())
}
