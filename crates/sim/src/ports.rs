//! The ports of a simulated process: its clock, its randomness, its sleep and its spawn.
//!
//! **Invariant.** All of them come from the seed and the executor.
//!
//! **Deliberately absent.** Drift: every process sees one clock.
//!
//! **Crash.** What a process spawned dies with its group.

use crate::executor::{Executor, Group};
use crate::rng::Rng;
use havre_model::Timestamp;
use havre_model::ports::{Clock, Entropy, Ports, Runtime, Task};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// When every run begins: 2026-01-01 UTC.
const BEGIN_MILLIS: u64 = 1_767_225_600_000;

struct SimClock(Executor);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let millis = u64::try_from(self.0.now().as_millis()).unwrap_or(u64::MAX / 2);
        Timestamp::from_millis(BEGIN_MILLIS + millis)
    }

    fn elapsed(&self) -> Duration {
        self.0.now()
    }
}

/// Randomness from a seed.
pub struct SimEntropy(Mutex<Rng>);

impl SimEntropy {
    /// Randomness from a seed.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self(Mutex::new(rng))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill(bytes);
    }
}

struct SimRuntime {
    executor: Executor,
    group: Group,
}

impl Runtime for SimRuntime {
    fn sleep(&self, duration: Duration) -> Task {
        Box::pin(self.executor.sleep(duration))
    }

    fn spawn(&self, task: Task) {
        self.executor.spawn(self.group, task);
    }
}

/// The ports of the process `group`.
#[must_use]
pub fn ports(executor: &Executor, group: Group, rng: Rng) -> Ports {
    Ports {
        clock: Arc::new(SimClock(executor.clone())),
        entropy: Arc::new(SimEntropy::new(rng)),
        runtime: Arc::new(SimRuntime { executor: executor.clone(), group }),
    }
}
