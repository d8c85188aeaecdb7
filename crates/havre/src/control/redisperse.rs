//! Orders about placement policies of buckets.
//!
//! **Invariant.** What is told was looked up just now.
//!
//! **Deliberately absent.** Dispersing anew: the keeper does.
//!
//! **Crash.** A bucket's policy is a record; how far the keeper got, a job in the catalog.

use super::{GatewayDesk, Traffic};
use anyhow::{Context, Result};
use havre_keeper::{Redisperser, estimate};
use serde::{Deserialize, Serialize};

/// What putting a bucket under another policy would take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyPlan {
    /// Extents that would be dispersed anew.
    pub extents: u64,
    /// Bytes of them, before dispersal.
    pub extent_bytes: u64,
    /// Versions of objects whose records would be carried into other packs.
    pub records: u64,
    /// Bytes of those records, small objects included.
    pub record_bytes: u64,
    /// Packs that would be read for them.
    pub packs: u64,
    /// Seconds it takes at least, at the rate that the configuration sets.
    pub seconds: u64,
    /// Extents and records for which the open sites allow no placement.
    pub stuck: u64,
    /// Why, of one of those.
    pub reason: String,
    /// By site.
    pub traffic: Vec<Traffic>,
}

/// How far what is under another policy was dispersed anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedispersalStatus {
    /// Whether the last pass found nothing to do, and nothing was changed since.
    pub done: bool,
    /// Blobs that the pass under way has looked at, and all there are.
    pub examined: u64,
    /// See `examined`.
    pub blobs: u64,
    /// Extents that were dispersed anew.
    pub extents: u64,
    /// Bytes of them, before dispersal.
    pub bytes: u64,
    /// Records that were carried into packs of another policy.
    pub records: u64,
    /// What the last pass could not do.
    pub waiting: u64,
    /// Why, of one of those.
    pub reason: String,
    /// Seconds since the work began.
    pub seconds: u64,
    /// Seconds until all blobs were looked at, as it went so far.
    pub seconds_left: Option<u64>,
}

impl GatewayDesk {
    pub(super) async fn plan_policy_change(
        &self,
        bucket: &str,
        policy: &str,
    ) -> Result<PolicyPlan> {
        let to = self.policies.iter().find(|known| known.name() == policy);
        let to = to.with_context(|| format!("no policy is called {policy:?} (havre check)"))?;
        let row = self.catalog.bucket_by_name(bucket).await.context("look the bucket up")?;
        let row = row.context("there is no such bucket")?;
        let (catalog, fleet) = (&*self.catalog, &*self.fleet);
        let sum = estimate::policy_change(catalog, fleet, row.record.bucket, to).await?;
        let read: u64 = sum.bytes_read.iter().sum();
        Ok(PolicyPlan {
            extents: sum.extents,
            extent_bytes: sum.extent_bytes,
            records: sum.records,
            record_bytes: sum.record_bytes,
            packs: sum.packs,
            seconds: read.div_ceil(self.keeper_bytes_per_second),
            stuck: sum.stuck,
            reason: sum.reason,
            traffic: self.traffic(&sum.bytes_read, &sum.bytes_stored),
        })
    }

    pub(super) async fn change_policy(&self, bucket: &str, policy: &str) -> Result<()> {
        let changed = self.engine.change_policy(bucket, policy).await;
        changed.context("put the bucket under another policy")
    }

    pub(super) async fn redispersal(&self) -> Result<RedispersalStatus> {
        let state = Redisperser::progress(&*self.catalog).await.context("read how far it got")?;
        let now = self.ports.clock.now().millis();
        let seconds = now.saturating_sub(state.began_ms) / 1000;
        let left = state.total.saturating_sub(state.examined);
        let is_under_way = state.ended_ms == 0 && state.examined > 0;
        let changed = self.engine.policy_changed_ms();
        Ok(RedispersalStatus {
            done: state.ended_ms > changed,
            examined: state.examined,
            blobs: state.total,
            extents: state.extents,
            bytes: state.bytes,
            records: state.records,
            waiting: state.waiting,
            reason: state.reason,
            seconds,
            seconds_left: is_under_way.then(|| seconds.saturating_mul(left) / state.examined),
        })
    }
}
