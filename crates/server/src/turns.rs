//! How many requests are worked on at once, how many documents they hold, and who has to leave when
//! more want to.
//!
//! **Invariant.** At most `requests_max` signed requests hold a turn, from before their body is
//! taken until the last byte of their answer has left the gateway's buffers (I8). Others wait for a
//! bounded time, and a bounded number of them; while they do, the clients that are furthest behind
//! the least pace lose their connections, so that nobody keeps the turns by being slow.
//!
//! **Deliberately absent.** Shares of tenants, and rates: who keeps the pace goes on for as long as
//! its bytes last.
//!
//! **Crash.** Nothing is stored here.

use crate::config::LimitsConfig;
use crate::io::Cut;
use bytes::Bytes;
use futures::future::{Either, select};
use havre_model::Pace;
use havre_model::ports::{Clock, Ports};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that may wait for each one that is worked on; past this they are refused at once.
const WAITING_PER_TURN: usize = 4;
/// How often in its wait somebody looks for clients that are behind.
const LOOKS_PER_WAIT: u32 = 10;

/// The turns of all listeners together.
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    /// Bytes of documents that may be in memory.
    documents: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    held: Mutex<HashMap<u64, Arc<Client>>>,
    next: AtomicU64,
    looked: Mutex<Duration>,
    timeout: Duration,
    bytes_per_second_min: u64,
    ports: Ports,
}

/// One request's turn.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

/// The client of one request, as fast as it shows itself.
pub(crate) struct Client {
    state: Mutex<State>,
    cut: Option<Arc<Cut>>,
    clock: Arc<dyn Clock>,
}

struct State {
    pace: Pace,
    /// Since when the client is waited for, if it is.
    waited_since: Option<Duration>,
}

/// Counts who waits, however the wait ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turns {
    pub(crate) fn new(limits: &LimitsConfig, ports: Ports) -> Arc<Self> {
        let requests_max = limits.requests_max.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(requests_max)),
            documents: Arc::new(Semaphore::new(limits.documents_bytes_max)),
            waiting: AtomicUsize::new(0),
            waiting_max: requests_max.saturating_mul(WAITING_PER_TURN),
            held: Mutex::default(),
            next: AtomicU64::new(0),
            looked: Mutex::default(),
            timeout: limits.turn_timeout,
            bytes_per_second_min: limits.client_bytes_per_second_min,
            ports,
        })
    }

    /// The client on a connection, for one request.
    pub(crate) fn client(&self, cut: Option<Arc<Cut>>) -> Arc<Client> {
        // Half a wait: who waits in vain for a slow client's turn still gets it in time.
        let pace = Pace::new(self.bytes_per_second_min, self.timeout / 2);
        let state = Mutex::new(State { pace, waited_since: None });
        Arc::new(Client { state, cut, clock: self.ports.clock.clone() })
    }

    /// A turn for a request of this client; `None` when none came up in time.
    pub(crate) async fn take(self: &Arc<Self>, client: &Arc<Client>) -> Option<Turn> {
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait(&self.free, 1).await?,
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.held.lock().insert(number, client.clone());
        Some(Turn { turns: self.clone(), number, _permit: permit })
    }

    /// Leave to hold a document of so many bytes; `None` when there was none in time.
    pub(crate) async fn document(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        match self.documents.clone().try_acquire_many_owned(bytes) {
            Ok(permit) => Some(permit),
            Err(_) => self.wait(&self.documents, bytes).await,
        }
    }

    async fn wait(&self, turns: &Arc<Semaphore>, count: u32) -> Option<OwnedSemaphorePermit> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.waiting_max {
            metrics::counter!("havre_s3_slowed_down_total").increment(1);
            return None;
        }
        let mut permit = pin!(turns.clone().acquire_many_owned(count));
        for _ in 0..LOOKS_PER_WAIT {
            let pause = self.ports.runtime.sleep(self.timeout / LOOKS_PER_WAIT);
            match select(permit.as_mut(), pause).await {
                Either::Left((permit, _)) => return permit.ok(),
                Either::Right(_) => self.end_the_slowest(),
            }
        }
        metrics::counter!("havre_s3_slowed_down_total").increment(1);
        None
    }

    /// Ends as many slow clients as there are requests that wait.
    fn end_the_slowest(&self) {
        let now = self.ports.clock.elapsed();
        {
            // One look is enough for all who wait.
            let mut looked = self.looked.lock();
            if now.saturating_sub(*looked) < self.timeout / LOOKS_PER_WAIT / 2 {
                return;
            }
            *looked = now;
        }
        let mut behind: Vec<(u64, Arc<Client>)> = {
            let held = self.held.lock();
            let behind = held.values().map(|client| (client.behind(now), client.clone()));
            behind.filter(|(bytes, _)| *bytes > 0).collect()
        };
        behind.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, client) in behind.iter().take(self.waiting.load(Ordering::Relaxed)) {
            if client.cut.as_ref().is_some_and(|cut| cut.cut()) {
                metrics::counter!("havre_s3_slow_clients_ended_total").increment(1);
                tracing::warn!("end a connection whose client is slow, for others wait");
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.held.lock().remove(&self.number);
    }
}

impl Client {
    /// The client has to send, or to take, before the request goes on.
    pub(crate) fn wait(&self) {
        let now = self.clock.elapsed();
        self.state.lock().waited_since.get_or_insert(now);
    }

    /// The client did so, and moved bytes; or it is not waited for any more.
    pub(crate) fn moved(&self, bytes: u64) {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        if let Some(since) = state.waited_since.take() {
            state.pace.waited(now.saturating_sub(since));
        }
        state.pace.moved(bytes);
    }

    fn behind(&self, now: Duration) -> u64 {
        let state = self.state.lock();
        let waited = state.waited_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        state.pace.behind_after(waited)
    }
}

/// Bytes on their way out, which keep their request's turn until the connection has sent them.
struct Held {
    bytes: Bytes,
    _turn: Arc<Turn>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same bytes, which keep `turn` until they are dropped.
pub(crate) fn holding(bytes: Bytes, turn: &Arc<Turn>) -> Bytes {
    Bytes::from_owner(Held { bytes, _turn: turn.clone() })
}
