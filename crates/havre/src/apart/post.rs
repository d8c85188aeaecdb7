//! Who keeps for this gateway: one keeper, what it was told, and since when nobody does.
//!
//! **Invariant.** One keeper has the post at a time. [`Post::knows`] ends only when no keeper may
//! store a shard at the closed sites any more, or after a lease in which none was told that it may
//! (I29).
//!
//! **Deliberately absent.** The connection (`serve`).
//!
//! **Crash.** Memory only: the next process begins with a post that somebody may think is his.

use super::LEASE;
use havre_model::SiteSet;
use havre_model::ports::Ports;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The pause between two looks whether the keeper knows.
const KNOWS_PAUSE: Duration = Duration::from_millis(50);

/// The gateway's one post for a keeper of another process.
pub struct Post {
    ports: Ports,
    started: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    holder: Option<Holder>,
    /// When the last one went away.
    left: Option<Duration>,
}

struct Holder {
    process: Option<i32>,
    /// When it last asked what the gateway says.
    looked: Duration,
    /// The sites that it said to have closed.
    applied: SiteSet,
}

/// How the keeper does, as the gateway knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperStatus {
    /// Whether one is connected and has lately asked what the gateway says.
    pub is_present: bool,
    /// Its process, while it is connected.
    pub process: Option<i32>,
    /// Seconds since it was last heard of; none when none was since the gateway's start.
    pub heard_seconds_ago: Option<u64>,
}

/// Gives the post up when it is dropped.
pub(super) struct Taken {
    post: Arc<Post>,
}

impl Post {
    /// A free post of a gateway that starts now.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        Self { started: ports.clock.elapsed(), ports, state: Mutex::default() }
    }

    /// Takes the post; where somebody has it, says which process.
    pub(super) fn take(self: &Arc<Self>, process: Option<i32>) -> Result<Taken, Option<i32>> {
        let looked = self.ports.clock.elapsed();
        let mut state = self.state.lock();
        if let Some(holder) = &state.holder {
            return Err(holder.process);
        }
        state.holder = Some(Holder { process, looked, applied: SiteSet::EMPTY });
        Ok(Taken { post: Arc::clone(self) })
    }

    /// The keeper asks what the gateway says. Noted before anybody looks up what that is: a site
    /// that is closed from now on may be missing from the answer.
    pub(super) fn looks(&self, applied: SiteSet) {
        let now = self.ports.clock.elapsed();
        if let Some(holder) = &mut self.state.lock().holder {
            (holder.looked, holder.applied) = (now, applied);
        }
    }

    /// Waits until no keeper stores shards at these sites, which the fleet has closed: it has said
    /// so, or is gone, or its word has run out. At most a lease.
    pub async fn knows(&self, closed: SiteSet) {
        let looked = self.state.lock().holder.as_ref().map(|holder| holder.looked);
        let until = looked.unwrap_or_default().max(self.started) + LEASE;
        while self.ports.clock.elapsed() < until && !self.is_known(closed) {
            self.ports.runtime.sleep(KNOWS_PAUSE).await;
        }
    }

    fn is_known(&self, closed: SiteSet) -> bool {
        // Before that, a keeper of the gateway before this one may still have its word.
        let is_alone = self.ports.clock.elapsed() >= self.started + LEASE;
        let state = self.state.lock();
        is_alone && state.holder.as_ref().is_none_or(|it| closed.is_subset(it.applied))
    }

    /// How the keeper does.
    #[must_use]
    pub fn status(&self) -> KeeperStatus {
        let now = self.ports.clock.elapsed();
        let state = self.state.lock();
        let heard = state.holder.as_ref().map(|holder| holder.looked).or(state.left);
        let ago = heard.map(|heard| now.saturating_sub(heard));
        KeeperStatus {
            is_present: state.holder.is_some() && ago.is_some_and(|ago| ago < LEASE),
            process: state.holder.as_ref().and_then(|holder| holder.process),
            heard_seconds_ago: ago.map(|ago| ago.as_secs()),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let now = self.post.ports.clock.elapsed();
        let mut state = self.post.state.lock();
        (state.holder, state.left) = (None, Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use havre_model::Timestamp;
    use havre_model::ports::{Clock, Runtime, Task};
    use tokio::time::Instant;

    struct PausedClock(Instant);

    impl Clock for PausedClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }

        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }

    struct PausedRuntime;

    #[expect(clippy::disallowed_methods, reason = "these are the ports")]
    impl Runtime for PausedRuntime {
        fn sleep(&self, duration: Duration) -> Task {
            Box::pin(tokio::time::sleep(duration))
        }

        fn spawn(&self, task: Task) {
            tokio::spawn(task);
        }
    }

    const NONE: SiteSet = SiteSet::EMPTY;

    fn closed() -> SiteSet {
        NONE.with(1).with(3)
    }

    fn post() -> (Arc<Post>, Ports) {
        let ports = Ports {
            clock: Arc::new(PausedClock(Instant::now())),
            entropy: havre_sites::system::ports().entropy,
            runtime: Arc::new(PausedRuntime),
        };
        (Arc::new(Post::new(ports.clone())), ports)
    }

    /// How long an order that closes sites waits.
    async fn waits(post: &Post, ports: &Ports) -> Duration {
        let began = ports.clock.elapsed();
        post.knows(closed()).await;
        ports.clock.elapsed() - began
    }

    #[tokio::test(start_paused = true)]
    async fn one_keeper_has_the_post_and_is_missed() {
        let (post, ports) = post();
        assert_eq!(post.status().heard_seconds_ago, None);
        let taken = post.take(Some(7)).unwrap_or_else(|_| panic!("it is free"));
        assert!(matches!(post.take(Some(8)), Err(Some(7))));
        assert!(post.status().is_present);
        ports.runtime.sleep(LEASE).await;
        assert!(!post.status().is_present, "it says nothing");
        post.looks(NONE);
        assert!(post.status().is_present);
        drop(taken);
        let status = post.status();
        assert_eq!((status.is_present, status.heard_seconds_ago), (false, Some(0)));
        assert!(post.take(Some(8)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn i29_an_order_waits_until_the_keeper_has_closed_the_sites() {
        let (post, ports) = post();
        let _taken = post.take(None).unwrap_or_else(|_| panic!("it is free"));
        ports.runtime.sleep(LEASE * 2).await;
        post.looks(NONE);
        let told = async {
            ports.runtime.sleep(Duration::from_secs(1)).await;
            post.looks(NONE.with(1));
            ports.runtime.sleep(Duration::from_secs(1)).await;
            post.looks(closed().with(5));
        };
        let (waited, ()) = tokio::join!(waits(&post, &ports), told);
        assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn i29_an_order_waits_a_lease_for_a_keeper_that_says_nothing() {
        let (post, ports) = post();
        let _taken = post.take(None).unwrap_or_else(|_| panic!("it is free"));
        ports.runtime.sleep(LEASE * 2).await;
        post.looks(NONE);
        ports.runtime.sleep(Duration::from_secs(5)).await;
        let left = LEASE - Duration::from_secs(5);
        let waited = waits(&post, &ports).await;
        assert!((left..left + Duration::from_secs(1)).contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn i29_an_order_waits_for_keepers_of_the_gateway_before_and_then_for_none() {
        let (post, ports) = post();
        let waited = waits(&post, &ports).await;
        assert!((LEASE..LEASE + Duration::from_secs(1)).contains(&waited), "{waited:?}");
        assert_eq!(waits(&post, &ports).await, Duration::ZERO, "nobody is there");
    }
}
