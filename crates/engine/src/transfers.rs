//! Leave to hold the memory of a large object's bytes on their way in or out.
//!
//! **Invariant.** At most [`UPLOADS_MAX`] uploads and [`READS_AHEAD_MAX`] reads hold windows of
//! memory (I8). Nobody waits for ever: an upload waits for a bounded time, and one that holds up
//! others is ended when its client is slow; a read that finds no room goes on with one stripe at a
//! time, so that readers, however slow, never keep another reader out.
//!
//! **Deliberately absent.** Small objects: `server` bounds the requests that are worked on at once.
//!
//! **Crash.** Semaphores only.

use crate::body::{Body, BodyError};
use crate::error::PutError;
use bytes::Bytes;
use futures::future::{Either, select};
use havre_model::Pace;
use havre_model::limits::CLIENT_BYTES_PER_SECOND_MIN;
use havre_model::ports::Ports;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Uploads of large objects that move bytes at once: each holds a few windows for every site.
pub(crate) const UPLOADS_MAX: usize = 48;
/// Reads of large objects that read windows ahead at once; the others hold one stripe.
pub(crate) const READS_AHEAD_MAX: usize = 48;
/// How long an upload waits for its turn before its client is told to slow down.
const UPLOAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the client of an upload may stop while others wait.
const CLIENT_GRACE: Duration = Duration::from_secs(5);

pub(crate) struct Transfers {
    uploads: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    reads: Arc<Semaphore>,
}

/// One upload's turn.
pub(crate) struct Upload {
    ports: Ports,
    waiting: Arc<AtomicUsize>,
    pace: Pace,
    _turn: OwnedSemaphorePermit,
}

/// Counts who waits, however the wait ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            waiting: Arc::default(),
            reads: Arc::new(Semaphore::new(READS_AHEAD_MAX)),
        }
    }
}

impl Transfers {
    /// A turn to move the bytes of an upload.
    ///
    /// # Errors
    /// [`PutError::SlowDown`] when none came up in time.
    pub(crate) async fn upload(&self, ports: &Ports) -> Result<Upload, PutError> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let turn = pin!(Arc::clone(&self.uploads).acquire_owned());
        let turn = match select(turn, ports.runtime.sleep(UPLOAD_WAIT_MAX)).await {
            Either::Left((turn, _)) => turn.map_err(|_| PutError::SlowDown)?,
            Either::Right(_) => return Err(PutError::SlowDown),
        };
        drop(waiting);
        Ok(Upload {
            ports: ports.clone(),
            waiting: Arc::clone(&self.waiting),
            pace: Pace::new(CLIENT_BYTES_PER_SECOND_MIN, CLIENT_GRACE),
            _turn: turn,
        })
    }

    /// Leave to read ahead, while there is room for it.
    pub(crate) fn read_ahead(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.reads).try_acquire_owned().ok()
    }
}

impl Upload {
    /// The next bytes of the body. One that is slow while others wait for its turn is ended.
    pub(crate) async fn next(&mut self, body: &mut dyn Body) -> Option<Result<Bytes, PutError>> {
        let asked = self.ports.clock.elapsed();
        let chunk = body.chunk().await;
        self.pace.waited(self.ports.clock.elapsed().saturating_sub(asked));
        let chunk = match chunk? {
            Ok(chunk) => chunk,
            Err(error) => return Some(Err(error.into())),
        };
        self.pace.moved(chunk.len() as u64);
        let waited_for = self.waiting.load(Ordering::Relaxed) > 0;
        if waited_for && self.pace.behind_after(Duration::ZERO) > 0 {
            let reason = "it sends too slowly while others wait".to_owned();
            return Some(Err(BodyError::Client(reason).into()));
        }
        Some(Ok(chunk))
    }
}
