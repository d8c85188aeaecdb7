//! What the running gateway does with each order.
//!
//! **Invariant.** What is told was looked up just now, and holds no name of a customer and no key.
//!
//! **Deliberately absent.** The socket (`serve`), and how the parts do it.
//!
//! **Crash.** Nothing is kept.

use super::Order;
use super::serve::{Desk, Outcome, Reporter};
use crate::apart::{KeeperStatus, Post};
use crate::compose::Gateway;
use crate::config::Config;
use crate::statement::{Signer, rfc3339};
use anyhow::{Context, Result};
use havre_catalog::Catalog;
use havre_engine::Engine;
use havre_keeper::{Compaction, Compactor, Scrub, Scrubber};
use havre_model::Timestamp;
use havre_model::ports::Ports;
use havre_policy::{Facts, PlacementPolicy};
use havre_server::Tally;
use havre_sites::{Fleet, Guarded, Health, Operation};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How the gateway does: the answer to [`Order::Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The release.
    pub release: String,
    /// Seconds since the gateway took up its work.
    pub up_seconds: u64,
    /// Whether it takes writes: not while too many sites are away since the start.
    pub takes_writes: bool,
    /// Objects there are.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Blobs that miss a shard.
    pub incomplete_blobs: u64,
    /// Blobs that were acknowledged below their guarantee and are still incomplete.
    pub below_guarantee_blobs: u64,
    /// How far scrub got; none before its first cycle.
    pub scrub: Option<ScrubStatus>,
    /// What compaction did; none before its first pass.
    pub compaction: Option<CompactionStatus>,
    /// The keeper of another process; none where the keeper is inside.
    pub keeper: Option<KeeperStatus>,
    /// The sites, in the configuration's order.
    pub sites: Vec<SiteStatus>,
}

/// What compaction did, and how far its last pass got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionStatus {
    /// When the last pass began: RFC 3339.
    pub began: String,
    /// When the last pass ended in which everything dead went.
    pub thorough: Option<String>,
    /// Packs that the last pass looked at.
    pub packs: u64,
    /// Bytes of dead records in them.
    pub dead_bytes: u64,
    /// Packs that it found worth it, and those of them that are retired.
    pub wanted: u64,
    /// See `wanted`.
    pub done: u64,
    /// Packs that it could not write anew.
    pub waiting: u64,
    /// Why, of one of those.
    pub reason: String,
    /// Packs that were retired in all passes.
    pub packs_retired: u64,
    /// Records that were carried in all passes.
    pub records_carried: u64,
}

/// How far a cycle of scrub got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// When it began: RFC 3339.
    pub began: String,
    /// When it ended; none while it is under way.
    pub ended: Option<String>,
    /// Blobs looked at, and all there are.
    pub examined: u64,
    /// See `examined`.
    pub blobs: u64,
    /// Shards that were read and are good.
    pub good: u64,
    /// Shards that were bad or missing, and are made anew.
    pub bad: u64,
    /// Shards at sites that did not answer.
    pub unanswered: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Seconds until all blobs were looked at, as it went so far, pauses included.
    pub seconds_left: Option<u64>,
}

/// How a site does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its name.
    pub name: String,
    /// `healthy`, `suspect` or `down`: the worse of reading and writing.
    pub health: String,
    /// Why nothing is asked of it, while it is barred.
    pub barred: Option<String>,
    /// Seconds until the bar ends by itself.
    pub barred_seconds_left: Option<u64>,
    /// Requests to it since the start.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Milliseconds within which 19 of 20 reads were answered lately.
    pub read_p95_ms: u64,
}

/// The running gateway's desk.
pub struct GatewayDesk {
    pub(super) engine: Arc<Engine>,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) policies: Arc<[PlacementPolicy]>,
    pub(super) facts: Facts,
    pub(super) moves_paused: Arc<AtomicBool>,
    pub(super) rebalances: Arc<AtomicBool>,
    pub(super) keeper_bytes_per_second: u64,
    pub(super) post: Option<Arc<Post>>,
    pub(super) signer: Arc<Signer>,
    pub(super) tally: Arc<Tally>,
    /// Held while a drill runs.
    pub(super) drill: tokio::sync::Mutex<()>,
    pub(super) ports: Ports,
    started: std::time::Duration,
}

impl GatewayDesk {
    /// The desk of this gateway, whose requests are counted in `tally`.
    #[must_use]
    pub fn new(gateway: &Gateway, config: &Config, tally: Arc<Tally>, ports: Ports) -> Self {
        Self {
            engine: Arc::clone(&gateway.engine),
            catalog: Arc::clone(&gateway.catalog),
            fleet: Arc::clone(&gateway.fleet),
            policies: Arc::clone(&gateway.policies),
            facts: config.facts().clone(),
            moves_paused: Arc::clone(&gateway.moves_paused),
            rebalances: Arc::clone(&gateway.rebalances),
            keeper_bytes_per_second: config.keeper_bytes_per_second(),
            post: gateway.post.clone(),
            signer: Arc::clone(&gateway.signer),
            tally,
            drill: tokio::sync::Mutex::default(),
            started: ports.clock.elapsed(),
            ports,
        }
    }

    async fn status(&self) -> Result<Status> {
        let counts = self.catalog.counts().await.context("count what there is")?;
        let up = self.ports.clock.elapsed().saturating_sub(self.started);
        let scrub = Scrubber::progress(&self.catalog).await.context("read how far scrub got")?;
        let compaction =
            Compactor::progress(&*self.catalog).await.context("read how far compaction got")?;
        Ok(Status {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            up_seconds: up.as_secs(),
            takes_writes: self.engine.takes_writes(),
            objects: counts.objects,
            object_bytes: counts.bytes,
            incomplete_blobs: counts.incomplete,
            below_guarantee_blobs: counts.below_guarantee,
            scrub: (scrub.began_ms > 0).then(|| self.scrub_status(&scrub)),
            compaction: (compaction.began_ms > 0).then(|| compaction_status(compaction)),
            keeper: self.post.as_ref().map(|post| post.status()),
            sites: self.fleet.iter().map(site_status).collect(),
        })
    }

    fn scrub_status(&self, scrub: &Scrub) -> ScrubStatus {
        let seconds = self.ports.clock.now().millis().saturating_sub(scrub.began_ms) / 1000;
        let left = scrub.total.saturating_sub(scrub.examined);
        let is_under_way = scrub.ended_ms == 0 && scrub.examined > 0;
        let time = |millis| rfc3339(Timestamp::from_millis(millis));
        ScrubStatus {
            began: time(scrub.began_ms),
            ended: (scrub.ended_ms > 0).then(|| time(scrub.ended_ms)),
            examined: scrub.examined,
            blobs: scrub.total,
            good: scrub.good,
            bad: scrub.bad,
            unanswered: scrub.unanswered,
            bytes_read: scrub.bytes_read,
            seconds_left: is_under_way.then(|| seconds.saturating_mul(left) / scrub.examined),
        }
    }
}

fn site_status(site: &Guarded) -> SiteStatus {
    let (counters, barred) = (site.counters(), site.barred());
    let health = match site.health() {
        Health::Healthy => "healthy",
        Health::Suspect => "suspect",
        Health::Down => "down",
    };
    SiteStatus {
        name: site.name().to_owned(),
        health: health.to_owned(),
        barred: barred.map(|barred| barred.bar.to_string()),
        barred_seconds_left: barred.and_then(|barred| barred.left).map(|left| left.as_secs()),
        requests: counters.requests(),
        failures: counters.failures(),
        read_p95_ms: u64::try_from(site.p95(Operation::Read).as_millis()).unwrap_or(u64::MAX),
    }
}

impl Desk for GatewayDesk {
    fn carry_out<'a>(&'a self, order: Order, reporter: &'a Reporter) -> Outcome<'a> {
        Box::pin(async move {
            let result = match order {
                Order::Status {} => serde_json::to_value(self.status().await?),
                Order::PlanExclusion { subject } => serde_json::to_value(self.plan(subject).await?),
                Order::Exclude { subject, reason, deadline_ms } => {
                    serde_json::to_value(self.exclude(subject, reason, deadline_ms).await?)
                }
                Order::Admit { subject, reason } => {
                    serde_json::to_value(self.admit(subject, reason).await?)
                }
                Order::PauseMoves { pause } => serde_json::to_value(self.pause_moves(pause).await?),
                Order::PlanRebalance {} => serde_json::to_value(self.plan_rebalance().await?),
                Order::Rebalance { go_on } => serde_json::to_value(self.rebalance(go_on).await?),
                Order::DrillCut { cut } => serde_json::to_value(self.cut(cut, reporter).await?),
                Order::Drains { list } => serde_json::to_value(self.drains(list).await?),
                Order::RetireSite { site } => serde_json::to_value(self.retire(&site).await?),
                Order::ChangePolicy { bucket, policy } => {
                    serde_json::to_value(self.change_policy(&bucket, &policy).await?)
                }
                Order::PlanPolicyChange { bucket, policy } => {
                    serde_json::to_value(self.plan_policy_change(&bucket, &policy).await?)
                }
                Order::Redispersal {} => serde_json::to_value(self.redispersal().await?),
                Order::StateDrains {} => serde_json::to_value(self.state_drains().await?),
            };
            result.context("write the result as JSON")
        })
    }
}

fn compaction_status(done: Compaction) -> CompactionStatus {
    let time = |millis| rfc3339(Timestamp::from_millis(millis));
    CompactionStatus {
        began: time(done.began_ms),
        thorough: (done.thorough_ms > 0).then(|| time(done.thorough_ms)),
        packs: done.examined,
        dead_bytes: done.dead_bytes,
        wanted: done.wanted,
        done: done.done,
        waiting: done.waiting,
        reason: done.reason,
        packs_retired: done.packs_retired,
        records_carried: done.records_carried,
    }
}
