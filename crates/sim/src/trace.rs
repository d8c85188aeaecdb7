//! What happened, in order: a hash of all of it, and the last lines of it for whoever looks into a
//! failure.
//!
//! **Invariant.** Two runs with one hash did the same.
//!
//! **Deliberately absent.** Keeping everything: a run has a hundred thousand lines.
//!
//! **Crash.** Memory only.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Lines that are kept.
const TAIL_LINES: usize = 120;

/// The trace of a run. Clones share it.
#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    hash: u64,
    lines: u64,
    tail: VecDeque<String>,
    prints: bool,
}

impl Trace {
    /// An empty trace; with `prints`, each line goes to standard error, too.
    #[must_use]
    pub fn new(prints: bool) -> Self {
        let inner = Inner { hash: 0xcbf2_9ce4_8422_2325, lines: 0, tail: VecDeque::new(), prints };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Notes an event.
    pub fn note(&self, at: Duration, text: fmt::Arguments<'_>) {
        let line = format!("{:>14.6} {text}", at.as_secs_f64());
        let mut inner = self.inner.lock();
        for byte in line.bytes().chain([b'\n']) {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        inner.lines += 1;
        if inner.prints {
            eprintln!("{line}");
        }
        if inner.tail.len() == TAIL_LINES {
            inner.tail.pop_front();
        }
        inner.tail.push_back(line);
    }

    /// FNV-1a of every line so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.inner.lock().hash
    }

    /// Lines so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.inner.lock().lines
    }

    /// The last lines.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.inner.lock().tail.iter().cloned().collect()
    }
}
