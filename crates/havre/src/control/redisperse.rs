//! Orders about placement policies of buckets.
//!
//! **Invariant.** What is told was looked up just now.
//!
//! **Deliberately absent.** Dispersing anew: the keeper does.
//!
//! **Crash.** A bucket's policy is a record; how far the keeper got, a job in the catalog.

use super::GatewayDesk;
use anyhow::{Context, Result};
use havre_keeper::Redisperser;
use serde::{Deserialize, Serialize};

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
