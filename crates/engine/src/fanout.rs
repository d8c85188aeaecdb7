//! Waits for shards to be stored and decides when a blob may be acknowledged.
//!
//! **Invariant.** `Within` is said only when, for every coalition of the guarantee, the shards
//! stored outside its reach suffice to decode (I1); the decision is `policy`'s, made on what the
//! sites confirmed.
//!
//! **Deliberately absent.** Retries (`sites::guarded`) and the choice of sites (`policy`).
//!
//! **Crash.** Shards stored for a blob that no record names are orphans; `keeper::gc` takes them.

use futures::StreamExt;
use futures::future::{self, BoxFuture, Either};
use futures::stream::FuturesUnordered;
use havre_model::ports::Ports;
use havre_model::{ShardIndex, SiteSet};
use havre_policy::{Acknowledgement, PlacementPolicy};
use havre_sites::SiteError;
use std::time::Duration;

/// How long, in all, the last shards are waited for once the guarantee is met: long enough that
/// equally fast sites are all counted, short enough that a slow one delays nobody.
const STRAGGLER_WAIT_MAX: Duration = Duration::from_millis(20);

/// What became of one shard.
pub(crate) struct Outcome {
    pub(crate) index: ShardIndex,
    /// Position of the site in the configuration.
    pub(crate) position: usize,
    pub(crate) result: Result<(), SiteError>,
}

pub(crate) type Pending = FuturesUnordered<BoxFuture<'static, Outcome>>;

/// How far a blob got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The guarantee holds.
    Within,
    /// It can be decoded, but a coalition of the guarantee could cut it off.
    Below,
    /// Too few shards to decode.
    Undecodable,
}

/// The state of a blob's shards when the wait ended.
pub(crate) struct Settled {
    /// Bit `i`: shard `i` is stored.
    pub(crate) stored: u32,
    pub(crate) verdict: Verdict,
    /// Shards that are still being stored.
    pub(crate) rest: Pending,
}

/// Bit of a shard in a mask of stored shards.
pub(crate) fn bit(index: ShardIndex) -> u32 {
    1 << index.get()
}

fn verdict(policy: &PlacementPolicy, stored: SiteSet) -> Verdict {
    match policy.acknowledges(stored) {
        Acknowledgement::Within => Verdict::Within,
        Acknowledgement::Below { .. } => Verdict::Below,
        Acknowledgement::Undecodable => Verdict::Undecodable,
    }
}

/// Waits until the guarantee is met (and a little for the rest), or until no shard is pending.
pub(crate) async fn settle(
    policy: &PlacementPolicy,
    ports: &Ports,
    mut rest: Pending,
    what: &'static str,
) -> Settled {
    let begun = ports.clock.elapsed();
    let mut stored = 0;
    let mut sites = SiteSet::EMPTY;
    let mut count = |outcome: &Outcome, what: &str| match &outcome.result {
        Ok(()) => {
            stored |= bit(outcome.index);
            sites = sites.with(outcome.position);
            (stored, verdict(policy, sites))
        }
        Err(error) => {
            tracing::warn!(%error, shard = outcome.index.get(), what, "a shard was not stored");
            (stored, verdict(policy, sites))
        }
    };
    let mut state = (0, verdict(policy, SiteSet::EMPTY));
    while state.1 != Verdict::Within {
        match rest.next().await {
            Some(outcome) => state = count(&outcome, what),
            None => return Settled { stored: state.0, verdict: state.1, rest },
        }
    }
    let wait = (ports.clock.elapsed().saturating_sub(begun) / 2).min(STRAGGLER_WAIT_MAX);
    let mut deadline = ports.runtime.sleep(wait);
    while !rest.is_empty() {
        match future::select(rest.next(), deadline).await {
            Either::Left((Some(outcome), later)) => {
                state = count(&outcome, what);
                deadline = later;
            }
            Either::Left((None, _)) | Either::Right(_) => break,
        }
    }
    Settled { stored: state.0, verdict: state.1, rest }
}
