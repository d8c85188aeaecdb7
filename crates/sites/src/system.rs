//! The operating system's clock, randomness, sleep and spawn: production's ports.
//!
//! **Invariant.** Randomness is the kernel's, drawn anew each time (attack A11); time in
//! [`Clock::elapsed`] never goes back.
//!
//! **Deliberately absent.** Seeds: `sim` has its own ports.
//!
//! **Crash.** Nothing is kept.
#![expect(clippy::disallowed_methods, reason = "these are the ports that everything else must use")]

use havre_model::{
    Timestamp,
    ports::{Clock, Entropy, Ports, Runtime, Task},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            // Nothing that follows would be secret, and no caller could do better.
            std::process::abort();
        }
    }
}

struct TokioRuntime;

impl Runtime for TokioRuntime {
    fn sleep(&self, duration: Duration) -> Task {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: Task) {
        tokio::spawn(task);
    }
}

/// Lets this process have as many files open as it may: connections, shards on their way, and
/// shards that are read again and again. The usual default of 1,024 is for programs that still use
/// `select`.
pub fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, limit = ?limit.current, "the limit of open files stays as it is");
    }
}

/// The ports of a real process. Sleep and spawn need a running tokio runtime.
#[must_use]
pub fn ports() -> Ports {
    Ports {
        clock: Arc::new(SystemClock { start: Instant::now() }),
        entropy: Arc::new(SystemEntropy),
        runtime: Arc::new(TokioRuntime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ_and_time_goes_on() {
        let ports = ports();
        assert_ne!(ports.random::<16>(), ports.random::<16>());
        let earlier = ports.clock.elapsed();
        assert!(ports.clock.elapsed() >= earlier);
        // 2026-01-01: a machine whose clock stands at the epoch would show.
        assert!(ports.clock.now().millis() > 1_767_225_600_000);
    }
}
