//! A site behind everything that makes it bearable: deadlines, retries, limits, health, counts.
//!
//! **Invariant.** A call ends within [`SiteLimits::deadline_for`] its bytes plus `wait_max`,
//! whatever the site does; a site that does not answer is left alone by all callers but one probe
//! (I8, I9). One that is barred is not asked at all.
//!
//! **Deliberately absent.** Hedging across sites (the engine's: it knows which shards would do) and
//! repeating a stream (nobody keeps its bytes; the shard becomes a repair job).
//!
//! **Crash.** A put whose answer was lost is repeated; the site compares and agrees, or says
//! `Exists` (I5).

mod bars;
mod breaker;
mod counters;
mod latency;
mod limits;
mod writer;

use crate::{
    Operation, ShardWriter, Site, SiteCounts, SiteError, SiteErrorKind, SitePage, site::range_len,
};
use async_trait::async_trait;
use bars::Bars;
pub use bars::{Bar, Barred};
use breaker::{Breaker, Outcome, Pass, Probe};
use bytes::{Bytes, BytesMut};
pub use counters::Counters;
use counters::Meter;
use futures::future::{BoxFuture, Either, select};
use havre_model::{BlobName, SiteId, limits::SITE_LIST_PAGE_MAX, ports::Ports};
use havre_policy::Permit;
use latency::Latency;
pub use limits::SiteLimits;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{
    ops::Range,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{Semaphore, SemaphorePermit};
pub use writer::GuardedWriter;

/// What [`Guarded::p95`] says of an operation that was hardly ever asked for.
const P95_UNKNOWN: Duration = Duration::from_millis(50);

/// How a site does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It answers.
    Healthy,
    /// It did not answer lately, just came back, or refused the last operation.
    Suspect,
    /// It is barred, or not asked until a probe is answered.
    Down,
}

/// A site with its guards. Clones share everything.
#[derive(Clone)]
pub struct Guarded {
    shared: Arc<Shared>,
}

struct Shared {
    site: Arc<dyn Site>,
    limits: SiteLimits,
    ports: Ports,
    slots: Semaphore,
    /// Reads and writes fail apart: a full or hung disk often still reads.
    lanes: [Mutex<Breaker>; 2],
    bars: Mutex<Bars>,
    latency: [Latency; Operation::COUNT],
    meter: Meter,
    /// Whether new shards are refused before the site is asked.
    refuses: AtomicBool,
    /// Milliseconds of the clock until which shards are taken; the greatest for ever.
    takes_until: AtomicU64,
}

/// Whether an operation may be tried again when it was not answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Never,
    Capped,
}

impl Guarded {
    /// Guards `site`.
    #[must_use]
    pub fn new(site: Arc<dyn Site>, limits: SiteLimits, ports: Ports) -> Self {
        // In the order of `Operation::is_write`.
        let lanes = [Probe::Proves, Probe::Hints]
            .map(|probe| Mutex::new(Breaker::new(limits.silent_calls_max, probe)));
        let slots = Semaphore::new(limits.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        let (latency, meter) =
            (std::array::from_fn(|_| Latency::default()), Meter::new(site.name()));
        let (bars, refuses) = (Mutex::default(), AtomicBool::new(false));
        let takes_until = AtomicU64::new(u64::MAX);
        let shared = Shared {
            site,
            limits,
            ports,
            slots,
            lanes,
            bars,
            latency,
            meter,
            refuses,
            takes_until,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The site, as permits name it.
    #[must_use]
    pub fn id(&self) -> SiteId {
        self.shared.site.id()
    }

    /// The configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.site.name()
    }

    /// The site's limits.
    #[must_use]
    pub fn limits(&self) -> &SiteLimits {
        &self.shared.limits
    }

    /// Refuses new shards from now on, or takes them again: the last gate before an excluded site.
    /// A shard whose writing has begun ends.
    pub fn refuse_shards(&self, refuse: bool) {
        self.shared.refuses.store(refuse, Ordering::Release);
    }

    /// Takes shards until this time of the clock only, or for ever: for who has to hear again and
    /// again that the site is not excluded. Unlike [`Self::refuse_shards`] it holds for shards
    /// whose writing has begun, too: a process that was stopped meanwhile does not end one.
    pub fn take_shards_until(&self, until: Option<Duration>) {
        let millis = |until: Duration| u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.shared.takes_until.store(until.map_or(u64::MAX, millis), Ordering::Release);
    }

    /// How the site does: the worse of reading and writing.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health_of(Operation::Read).max(self.health_of(Operation::Put))
    }

    /// How the site does at `operation`'s kind, reading or writing.
    #[must_use]
    pub fn health_of(&self, operation: Operation) -> Health {
        if self.barred().is_some() {
            return Health::Down;
        }
        let now = self.shared.ports.clock.elapsed();
        let lane = self.shared.lane(operation).lock();
        match (lane.is_open(), lane.is_suspect(now)) {
            (true, _) => Health::Down,
            (_, true) => Health::Suspect,
            _ => Health::Healthy,
        }
    }

    /// Leaves the site alone from now on: every request fails at once as unreachable, and its
    /// health is [`Health::Down`]; calls that it was asked for already may still be answered. Ends
    /// when it is lifted, or after `at_most`. A bar of the same kind that stood is replaced.
    pub fn bar(&self, bar: Bar, at_most: Option<Duration>) {
        let shared = &self.shared;
        let until = at_most.map(|at_most| shared.ports.clock.elapsed().saturating_add(at_most));
        shared.bars.lock().put_up(bar, until);
        shared.meter.barred(true);
    }

    /// Lifts the bar of this kind; whether it was there.
    pub fn lift(&self, bar: Bar) -> bool {
        let was = self.shared.bars.lock().lift(bar);
        // For the gauge.
        let _ = self.barred();
        was
    }

    /// The bar that the site is under, if any. Sets the gauge, too, which is why it is asked for
    /// now and then.
    #[must_use]
    pub fn barred(&self) -> Option<Barred> {
        self.shared.barred()
    }

    /// Whether the bar of this kind stands.
    #[must_use]
    pub fn is_barred_as(&self, bar: Bar) -> bool {
        let now = self.shared.ports.clock.elapsed();
        self.shared.bars.lock().standing(bar, now).is_some()
    }

    /// The site's marker although it may be barred as another storage: how it is found out that it
    /// is the right one again. Asked once, within a deadline.
    ///
    /// # Errors
    /// As [`Site::marker`], or `Unreachable` while it is barred for another reason.
    pub async fn marker_behind_bar(&self) -> Result<Option<[u8; 16]>, SiteError> {
        let shared = &self.shared;
        let now = shared.ports.clock.elapsed();
        if shared.bars.lock().standing(Bar::Drill, now).is_some() {
            return Err(shared.held_back(Operation::Marker));
        }
        shared.meter.attempt(Operation::Marker);
        let deadline = shared.ports.runtime.sleep(shared.limits.deadline);
        let answer = match select(shared.site.marker(), deadline).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(shared.unreachable(Operation::Marker, "no answer in time")),
        };
        answer.inspect_err(|_| shared.meter.error(Operation::Marker))
    }

    /// The time within which 19 of 20 recent answers came. Costs a tenth of a microsecond.
    #[must_use]
    pub fn p95(&self, operation: Operation) -> Duration {
        self.shared.latency[operation as usize].p95().unwrap_or(P95_UNKNOWN)
    }

    /// What the site was asked and what it cost so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.meter.snapshot(self.shared.site.counts())
    }

    /// Stores a whole shard, durable when it returns; uses the permit up.
    ///
    /// # Errors
    /// As [`Site::put`], or `Unreachable` after the deadline: the shard may then be there or not.
    pub async fn put(
        &self,
        permit: Permit,
        name: &BlobName,
        shard: Bytes,
    ) -> Result<(), SiteError> {
        Site::put(self, &permit, name, shard).await
    }

    /// Begins a streamed shard; uses the permit up. Every step of it has its own deadline.
    ///
    /// # Errors
    /// As [`Site::create`].
    pub async fn create(
        &self,
        permit: Permit,
        name: &BlobName,
        shard_bytes: Option<u64>,
    ) -> Result<Box<dyn ShardWriter>, SiteError> {
        Site::create(self, &permit, name, shard_bytes).await
    }

    /// Exactly the bytes of `range`. See [`Site::read`].
    ///
    /// # Errors
    /// As [`Site::read`]; `Invalid` too for a range above `answer_bytes_max`.
    pub async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut, SiteError> {
        let shared = &self.shared;
        let len = range_len(&range).map_or(u64::MAX, |len| len as u64);
        shared.check_answer_cap(Operation::Read, len)?;
        let read = || shared.site.read(name, range.clone());
        let bytes = shared.call(Operation::Read, len, Repeat::Capped, read).await?;
        if bytes.len() as u64 != len {
            return Err(shared.invalid(Operation::Read, "the answer has another length"));
        }
        shared.meter.bytes(Operation::Read, len);
        Ok(bytes)
    }

    /// The whole shard. See [`Site::read_all`].
    ///
    /// # Errors
    /// As [`Site::read_all`]; `Invalid` too for a cap above `answer_bytes_max`.
    pub async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError> {
        let shared = &self.shared;
        shared.check_answer_cap(Operation::ReadAll, bytes_max)?;
        let read = || shared.site.read_all(name, bytes_max);
        let bytes = shared.call(Operation::ReadAll, bytes_max, Repeat::Capped, read).await?;
        if bytes.len() as u64 > bytes_max {
            return Err(shared.invalid(Operation::ReadAll, "the answer is too long"));
        }
        shared.meter.bytes(Operation::ReadAll, bytes.len() as u64);
        Ok(bytes)
    }

    /// Removes a shard. See [`Site::delete`].
    ///
    /// # Errors
    /// As [`Site::delete`].
    pub async fn delete(&self, name: &BlobName) -> Result<(), SiteError> {
        let shared = &self.shared;
        let delete = || shared.site.delete(name);
        shared.call(Operation::Delete, 0, Repeat::Capped, delete).await
    }

    /// One page of names. See [`Site::list`].
    ///
    /// # Errors
    /// As [`Site::list`]; `Invalid` when the page is out of order or beside the prefix.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        let shared = &self.shared;
        let limit = limit.min(SITE_LIST_PAGE_MAX);
        let list = || shared.site.list(prefix, after, limit);
        let page = shared.call(Operation::List, 0, Repeat::Capped, list).await?;
        let mut last = after.map(ToString::to_string).unwrap_or_default();
        for entry in &page.entries {
            let name = entry.name.to_string();
            if name <= last || !name.starts_with(prefix) || page.entries.len() > limit {
                return Err(shared.invalid(Operation::List, "the listing is out of order"));
            }
            last = name;
        }
        if page.more && page.entries.is_empty() && limit > 0 {
            return Err(shared.invalid(Operation::List, "the listing does not go on"));
        }
        Ok(page)
    }

    /// The site's marker. See [`Site::marker`].
    ///
    /// # Errors
    /// As [`Site::marker`].
    pub async fn marker(&self) -> Result<Option<[u8; 16]>, SiteError> {
        let shared = &self.shared;
        shared.call(Operation::Marker, 0, Repeat::Capped, || shared.site.marker()).await
    }

    /// Leaves the marker. See [`Site::set_marker`].
    ///
    /// # Errors
    /// As [`Site::set_marker`].
    pub async fn set_marker(&self, marker: [u8; 16]) -> Result<(), SiteError> {
        let shared = &self.shared;
        let set = || shared.site.set_marker(marker);
        shared.call(Operation::SetMarker, 0, Repeat::Capped, set).await
    }

    /// Removes leftovers of dead writers. See [`Site::sweep`].
    ///
    /// # Errors
    /// As [`Site::sweep`].
    pub async fn sweep(&self) -> Result<u64, SiteError> {
        let shared = &self.shared;
        shared.call(Operation::Sweep, 0, Repeat::Never, || shared.site.sweep()).await
    }
}

impl Shared {
    fn lane(&self, operation: Operation) -> &Mutex<Breaker> {
        &self.lanes[usize::from(operation.is_write())]
    }

    fn barred(&self) -> Option<Barred> {
        let barred = self.bars.lock().first(self.ports.clock.elapsed());
        self.meter.barred(barred.is_some());
        barred
    }

    fn unreachable(&self, operation: Operation, detail: &str) -> SiteError {
        SiteError::new(SiteErrorKind::Unreachable, self.site.id(), operation, detail)
    }

    fn invalid(&self, operation: Operation, detail: &str) -> SiteError {
        self.meter.error(operation);
        SiteError::new(SiteErrorKind::Invalid, self.site.id(), operation, detail)
    }

    fn check_takes_shards(&self, operation: Operation) -> Result<(), SiteError> {
        if self.refuses.load(Ordering::Acquire) {
            let (id, detail) = (self.site.id(), "the site is excluded: no shard goes there");
            return Err(SiteError::new(SiteErrorKind::Refused, id, operation, detail));
        }
        self.check_is_in_time(operation)
    }

    fn check_is_in_time(&self, operation: Operation) -> Result<(), SiteError> {
        let until = self.takes_until.load(Ordering::Acquire);
        if until != u64::MAX && self.ports.clock.elapsed().as_millis() >= u128::from(until) {
            let (id, detail) = (self.site.id(), "nobody said lately that shards may go there");
            return Err(SiteError::new(SiteErrorKind::Refused, id, operation, detail));
        }
        Ok(())
    }

    fn check_answer_cap(&self, operation: Operation, bytes: u64) -> Result<(), SiteError> {
        if bytes <= self.limits.answer_bytes_max {
            return Ok(());
        }
        Err(self.invalid(operation, "more bytes than one answer may have were asked for"))
    }

    /// Attempts until an answer, the last attempt, or the deadline.
    async fn call<'a, T, F>(
        self: &'a Arc<Self>,
        operation: Operation,
        bytes: u64,
        repeat: Repeat,
        attempt: F,
    ) -> Result<T, SiteError>
    where
        F: Fn() -> BoxFuture<'a, Result<T, SiteError>>,
    {
        let deadline = self.limits.deadline_for(bytes);
        let start = self.ports.clock.elapsed();
        let attempts = if repeat == Repeat::Capped { self.limits.attempts_max.max(1) } else { 1 };
        let mut number = 0;
        loop {
            number += 1;
            let left = self.time_left(start, deadline);
            // A lost packet may hang one connection; half of the time is kept for another.
            let patience = if number < attempts { left / 2 } else { left };
            let error = match self.attempt(operation, patience, attempt()).await {
                Err(Failure::Asked(error)) if error.is_unreachable() && number < attempts => error,
                Err(Failure::Asked(error) | Failure::NotAsked(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            };
            let pause = self.jitter(self.limits.backoff.saturating_mul(1 << (number - 1).min(10)));
            if pause >= self.time_left(start, deadline) {
                return Err(error);
            }
            self.ports.runtime.sleep(pause).await;
        }
    }

    fn time_left(&self, start: Duration, deadline: Duration) -> Duration {
        deadline.saturating_sub(self.ports.clock.elapsed().saturating_sub(start))
    }

    /// One attempt: a turn, a pass, and an answer within `patience`.
    async fn attempt<T>(
        self: &Arc<Self>,
        operation: Operation,
        patience: Duration,
        answer: BoxFuture<'_, Result<T, SiteError>>,
    ) -> Result<T, Failure> {
        self.meter.attempt(operation);
        let _slot = self.turn(operation).await.inspect_err(|_| self.meter.error(operation))?;
        // Asked again: it may have been barred while this waited for its turn.
        let pass = match self.barred() {
            None => self.lane(operation).lock().admit(),
            Some(_) => None,
        };
        let Some(pass) = pass else {
            self.meter.error(operation);
            return Err(Failure::NotAsked(self.held_back(operation)));
        };
        let started = self.ports.clock.elapsed();
        let mut flight = Flight { shared: self, operation, pass, started, noted: false };
        let result = match select(answer, self.ports.runtime.sleep(patience)).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(self.unreachable(operation, "no answer in time")),
        };
        flight.land(result.as_ref().err());
        result.map_err(Failure::Asked)
    }

    fn held_back(&self, operation: Operation) -> SiteError {
        match self.barred() {
            Some(Barred { bar: Bar::OtherStorage, .. }) => {
                self.unreachable(operation, "not asked: the site is not the storage that it was")
            }
            Some(Barred { bar: Bar::Drill, .. }) => {
                self.unreachable(operation, "not asked: a drill cuts the site off")
            }
            None => self.unreachable(operation, "not asked: the site did not answer lately"),
        }
    }

    /// Waits for one of the site's slots, not longer than `wait_max`, and not at all while it is
    /// down or barred.
    async fn turn(&self, operation: Operation) -> Result<SemaphorePermit<'_>, Failure> {
        if self.barred().is_some() || self.lane(operation).lock().is_open() {
            return Err(Failure::NotAsked(self.held_back(operation)));
        }
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let wait = self.ports.runtime.sleep(self.limits.wait_max);
        match select(pin!(self.slots.acquire()), wait).await {
            Either::Left((slot, _)) => Ok(slot.expect("the semaphore of a site is never closed")),
            Either::Right(_) => {
                let detail = "not asked: too many operations wait for the site";
                Err(Failure::NotAsked(self.unreachable(operation, detail)))
            }
        }
    }

    fn note(self: &Arc<Self>, operation: Operation, pass: Pass, outcome: Outcome) {
        let now = self.ports.clock.elapsed();
        if self.lane(operation).lock().note(pass, outcome, now) {
            tracing::warn!(site = self.site.name(), %operation, "the site does not answer");
            let (site, runtime) = (Arc::downgrade(self), Arc::clone(&self.ports.runtime));
            runtime.spawn(Box::pin(probe(site, operation)));
        }
    }

    /// Between zero and `pause`, by chance ("full jitter"): callers that failed together do not
    /// come back together.
    fn jitter(&self, pause: Duration) -> Duration {
        let share = u32::from_le_bytes(self.ports.random());
        pause.mul_f64(f64::from(share) / f64::from(u32::MAX))
    }
}

/// Asks for the marker, with growing pauses, until the site answers.
async fn probe(site: Weak<Shared>, operation: Operation) {
    let mut pause = Duration::ZERO;
    loop {
        let Some(shared) = site.upgrade() else { return };
        let limits = &shared.limits;
        pause = (pause * 2).clamp(limits.probe_pause_min, limits.probe_pause_max);
        let rest = pause / 2 + shared.jitter(pause / 2);
        let sleep = shared.ports.runtime.sleep(rest);
        // Not held while asleep, so that a dropped site ends its probe.
        drop(shared);
        sleep.await;
        let Some(shared) = site.upgrade() else { return };
        if shared.barred().is_some() {
            continue;
        }
        shared.meter.attempt(Operation::Marker);
        let deadline = shared.ports.runtime.sleep(shared.limits.deadline);
        if let Either::Left((answer, _)) = select(shared.site.marker(), deadline).await
            && !answer.is_err_and(|error| error.is_unreachable())
        {
            tracing::info!(site = shared.site.name(), "the site answers again");
            shared.lane(operation).lock().probed();
            return;
        }
        shared.meter.error(Operation::Marker);
    }
}

/// Why an attempt gave nothing: the site was asked, or it was not and asking again would not help.
enum Failure {
    Asked(SiteError),
    NotAsked(SiteError),
}

impl From<Failure> for SiteError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Asked(error) | Failure::NotAsked(error) => error,
        }
    }
}

/// A call under way. Dropped before it landed, its caller went away.
struct Flight<'a> {
    shared: &'a Arc<Shared>,
    operation: Operation,
    pass: Pass,
    started: Duration,
    noted: bool,
}

impl Flight<'_> {
    fn land(&mut self, error: Option<&SiteError>) {
        self.noted = true;
        let Self { shared, operation, pass, .. } = *self;
        if error.is_some() {
            shared.meter.error(operation);
        }
        if error.is_some_and(SiteError::is_unreachable) {
            return shared.note(operation, pass, Outcome::Silent);
        }
        let took = shared.ports.clock.elapsed().saturating_sub(self.started);
        shared.latency[operation as usize].record(took);
        shared.meter.answered(operation, took, shared.site.counts());
        let refused = error.is_some_and(|error| error.kind == SiteErrorKind::Refused);
        let outcome = match operation {
            _ if refused => Outcome::Refused,
            Operation::Delete => Outcome::Freed,
            _ => Outcome::Answered,
        };
        shared.note(operation, pass, outcome);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.noted {
            let waited = self.shared.ports.clock.elapsed().saturating_sub(self.started);
            self.shared.note(self.operation, self.pass, Outcome::Abandoned(waited));
        }
    }
}

/// A guarded site is a site, for the conformance suite and for wrappers.
#[async_trait]
impl Site for Guarded {
    fn id(&self) -> SiteId {
        self.shared.site.id()
    }

    fn name(&self) -> &str {
        self.shared.site.name()
    }

    async fn put(&self, permit: &Permit, name: &BlobName, shard: Bytes) -> Result<(), SiteError> {
        let shared = &self.shared;
        shared.check_takes_shards(Operation::Put)?;
        let len = shard.len() as u64;
        let put = || shared.site.put(permit, name, shard.clone());
        shared.call(Operation::Put, len, Repeat::Capped, put).await?;
        shared.meter.bytes(Operation::Put, len);
        Ok(())
    }

    async fn create(
        &self,
        permit: &Permit,
        name: &BlobName,
        shard_bytes: Option<u64>,
    ) -> Result<Box<dyn ShardWriter>, SiteError> {
        let shared = &self.shared;
        shared.check_takes_shards(Operation::Create)?;
        let create = || shared.site.create(permit, name, shard_bytes);
        let writer = shared.call(Operation::Create, 0, Repeat::Capped, create).await?;
        Ok(Box::new(GuardedWriter::new(self.clone(), writer)))
    }

    async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut, SiteError> {
        Self::read(self, name, range).await
    }

    async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError> {
        Self::read_all(self, name, bytes_max).await
    }

    async fn delete(&self, name: &BlobName) -> Result<(), SiteError> {
        Self::delete(self, name).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        Self::list(self, prefix, after, limit).await
    }

    async fn marker(&self) -> Result<Option<[u8; 16]>, SiteError> {
        Self::marker(self).await
    }

    async fn set_marker(&self, marker: [u8; 16]) -> Result<(), SiteError> {
        Self::set_marker(self, marker).await
    }

    async fn sweep(&self) -> Result<u64, SiteError> {
        Self::sweep(self).await
    }

    fn counts(&self) -> SiteCounts {
        self.shared.site.counts()
    }
}

#[cfg(test)]
mod tests;
