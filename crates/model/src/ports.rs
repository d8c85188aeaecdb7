//! What the world gives to the code: time, randomness, sleep and spawn.
//!
//! **Invariant.** No crate but the one that implements these ports for production reads a clock or
//! draws randomness by itself (`clippy.toml` bans it), so that `sim` replays a run from its seed.
//!
//! **Deliberately absent.** Implementations: `sites::system` has the operating system's, `sim` the
//! seeded ones.
//!
//! **Crash.** Spawned tasks die with the process; nothing durable may rest on one having ended.

use crate::Timestamp;
use alloc::{boxed::Box, sync::Arc};
use core::{future::Future, pin::Pin, time::Duration};

/// A boxed future that owns all it uses.
pub type Task<T = ()> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Time.
pub trait Clock: Send + Sync {
    /// Wall-clock time, for what records and clients see.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment, never going back, for deadlines and latencies.
    fn elapsed(&self) -> Duration;
}

/// Randomness fit for keys: the operating system's, drawn anew each time, so that a cloned machine
/// or a forked process shares nothing (attack A11).
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bytes. A system without randomness aborts the process.
    fn fill(&self, bytes: &mut [u8]);
}

/// Sleep and spawn.
pub trait Runtime: Send + Sync {
    /// Ends after `duration`.
    fn sleep(&self, duration: Duration) -> Task;

    /// Runs `task` beside the caller; it is not awaited and does not outlive the process.
    fn spawn(&self, task: Task);
}

/// All three, as parts are handed them.
#[derive(Clone)]
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Sleep and spawn.
    pub runtime: Arc<dyn Runtime>,
}

impl Ports {
    /// `N` random bytes.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }
}
