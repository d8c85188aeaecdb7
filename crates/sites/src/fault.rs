//! A site that fails as told, or by chance from a seed: for tests and the simulation.
//!
//! **Invariant.** Without a fault it is the site it wraps; with one it does nothing that a real
//! broken or hostile site could not do. The same seed and the same calls give the same faults.
//!
//! **Deliberately absent.** Faults below a site, such as a power cut (`tests/power_cut.rs`) or HTTP
//! (`tests/hostile.rs`).
//!
//! **Crash.** [`Fault::Down`] is one as the callers see it; what the wrapped site held stays.

use crate::{
    Operation, ShardWriter, Site, SiteCounts, SiteError, SiteErrorKind, SitePage, site::range_len,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use havre_model::{BlobName, SiteId, ports::Runtime};
use havre_policy::Permit;
use parking_lot::Mutex;
use std::{ops::Range, sync::Arc, time::Duration};

/// What a site does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Connections are refused.
    Down,
    /// Nothing is ever answered.
    Hang,
    /// Writes are refused; reads work.
    ReadOnly,
    /// As `ReadOnly`, for shards only: they do not fit.
    Full,
    /// Writes take effect, but the answer is lost.
    LostAnswer,
    /// Every operation takes this long.
    Slow(Duration),
    /// Reads say that there is no such shard.
    Forget,
    /// Reads give the bytes of the shard that was stored first, whichever was asked for.
    Older,
    /// Reads give bytes of which one is flipped.
    Flip,
    /// Reads give one byte less.
    Short,
    /// Reads give bytes without end, as far as a reader takes them: here, one more than asked for.
    Endless,
    /// Listings leave every second name out.
    Omit,
}

/// Chances of each kind of fault, in 1000 operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chances {
    /// [`Fault::Down`] for one operation.
    pub down: u16,
    /// [`Fault::LostAnswer`].
    pub lost_answer: u16,
    /// [`Fault::Flip`], [`Fault::Short`] or [`Fault::Endless`].
    pub lie: u16,
    /// [`Fault::Forget`].
    pub forget: u16,
    /// [`Fault::Slow`], by a time drawn up to `slow_max`.
    pub slow: u16,
    /// The slowest that an operation gets.
    pub slow_max: Duration,
}

/// The switch of a faulty site. Clones switch the same site.
#[derive(Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    chances: Chances,
    seed: u64,
    injected: u64,
    first: Option<BlobName>,
}

impl Faults {
    /// From now on this, always.
    pub fn set(&self, fault: Fault) {
        self.state.lock().fault = Some(fault);
    }

    /// From now on these, by chance, from `seed`.
    pub fn by_chance(&self, seed: u64, chances: Chances) {
        let mut state = self.state.lock();
        state.fault = None;
        (state.seed, state.chances) = (seed, chances);
    }

    /// From now on none.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.fault = None;
        state.chances = Chances::default();
    }

    /// Operations that met a fault.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.state.lock().injected
    }

    fn draw(&self) -> Option<Fault> {
        let mut state = self.state.lock();
        let fault = state.fault.or_else(|| state.by_chance());
        state.injected += u64::from(fault.is_some());
        fault
    }

    fn note_stored(&self, name: &BlobName) {
        self.state.lock().first.get_or_insert(*name);
    }
}

impl State {
    fn by_chance(&mut self) -> Option<Fault> {
        let Chances { down, lost_answer, lie, forget, slow, slow_max } = self.chances;
        if [down, lost_answer, lie, forget, slow].iter().all(|chance| *chance == 0) {
            return None;
        }
        let mut draw = self.random(1000);
        let which = [down, lost_answer, lie, forget, slow].iter().position(|chance| {
            let hit = draw < u64::from(*chance);
            draw = draw.saturating_sub(u64::from(*chance));
            hit
        });
        Some(match which? {
            0 => Fault::Down,
            1 => Fault::LostAnswer,
            2 => match self.random(3) {
                0 => Fault::Flip,
                1 => Fault::Short,
                _ => Fault::Endless,
            },
            3 => Fault::Forget,
            _ => Fault::Slow(slow_max.mul_f64(self.random(1000) as f64 / 1000.0)),
        })
    }

    /// SplitMix64: all that is needed is that a seed repeats.
    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % below
    }
}

/// A site that can be told to fail.
pub struct FaultySite {
    site: Arc<dyn Site>,
    runtime: Arc<dyn Runtime>,
    faults: Faults,
}

impl FaultySite {
    /// Wraps `site`; `faults` is the switch.
    #[must_use]
    pub fn new(site: Arc<dyn Site>, runtime: Arc<dyn Runtime>, faults: Faults) -> Self {
        Self { site, runtime, faults }
    }

    fn error(&self, kind: SiteErrorKind, operation: Operation, detail: &str) -> SiteError {
        SiteError::new(kind, self.site.id(), operation, detail)
    }

    /// What every operation begins with.
    async fn begin(&self, operation: Operation) -> Result<Option<Fault>, SiteError> {
        begin(&self.faults, &*self.runtime, self.site.id(), operation).await
    }

    /// What a write ends with.
    fn end<T>(&self, fault: Option<Fault>, operation: Operation, value: T) -> Result<T, SiteError> {
        if fault == Some(Fault::LostAnswer) {
            return Err(self.error(SiteErrorKind::Unreachable, operation, "the answer is lost"));
        }
        Ok(value)
    }

    /// The shard that a read really reads.
    fn source(&self, fault: Option<Fault>, name: &BlobName) -> BlobName {
        let first = self.faults.state.lock().first;
        first.filter(|_| fault == Some(Fault::Older)).unwrap_or(*name)
    }
}

async fn begin(
    faults: &Faults,
    runtime: &dyn Runtime,
    site: SiteId,
    operation: Operation,
) -> Result<Option<Fault>, SiteError> {
    let fault = faults.draw();
    let error = |kind, detail: &str| Err(SiteError::new(kind, site, operation, detail));
    match fault {
        Some(Fault::Down) => return error(SiteErrorKind::Unreachable, "connection refused"),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Slow(time)) => runtime.sleep(time).await,
        Some(Fault::ReadOnly) if operation.is_write() => {
            return error(SiteErrorKind::Refused, "the site is read-only");
        }
        Some(Fault::Full)
            if matches!(operation, Operation::Put | Operation::Write | Operation::Finish) =>
        {
            return error(SiteErrorKind::Refused, "the site is full");
        }
        Some(Fault::Forget) if matches!(operation, Operation::Read | Operation::ReadAll) => {
            return error(SiteErrorKind::Missing, "no such shard");
        }
        _ => {}
    }
    Ok(fault)
}

fn lie(fault: Option<Fault>, mut bytes: BytesMut) -> BytesMut {
    match fault {
        Some(Fault::Flip) => {
            let at = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x40;
            }
        }
        Some(Fault::Short) => bytes.truncate(bytes.len().saturating_sub(1)),
        Some(Fault::Endless) => bytes.extend_from_slice(&[0]),
        _ => {}
    }
    bytes
}

#[async_trait]
impl Site for FaultySite {
    fn id(&self) -> SiteId {
        self.site.id()
    }

    fn name(&self) -> &str {
        self.site.name()
    }

    async fn put(&self, permit: &Permit, name: &BlobName, shard: Bytes) -> Result<(), SiteError> {
        let fault = self.begin(Operation::Put).await?;
        self.site.put(permit, name, shard).await?;
        self.faults.note_stored(name);
        self.end(fault, Operation::Put, ())
    }

    async fn create(
        &self,
        permit: &Permit,
        name: &BlobName,
        shard_bytes: Option<u64>,
    ) -> Result<Box<dyn ShardWriter>, SiteError> {
        self.begin(Operation::Create).await?;
        let inner = self.site.create(permit, name, shard_bytes).await?;
        Ok(Box::new(FaultyWriter {
            inner,
            site: self.site.id(),
            name: *name,
            runtime: Arc::clone(&self.runtime),
            faults: self.faults.clone(),
        }))
    }

    async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut, SiteError> {
        let fault = self.begin(Operation::Read).await?;
        let len = range_len(&range).unwrap_or(0);
        match self.site.read(&self.source(fault, name), range).await {
            // The older shard may be shorter: such a site fills up what it lacks.
            Err(_) if fault == Some(Fault::Older) => Ok(BytesMut::zeroed(len)),
            result => Ok(lie(fault, result?)),
        }
    }

    async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError> {
        let fault = self.begin(Operation::ReadAll).await?;
        Ok(lie(fault, self.site.read_all(&self.source(fault, name), bytes_max).await?))
    }

    async fn delete(&self, name: &BlobName) -> Result<(), SiteError> {
        let fault = self.begin(Operation::Delete).await?;
        self.site.delete(name).await?;
        self.end(fault, Operation::Delete, ())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        let fault = self.begin(Operation::List).await?;
        let mut page = self.site.list(prefix, after, limit).await?;
        if fault == Some(Fault::Omit) {
            let mut position = 0;
            page.entries.retain(|_| {
                position += 1;
                position % 2 == 1
            });
        }
        Ok(page)
    }

    async fn marker(&self) -> Result<Option<[u8; 16]>, SiteError> {
        self.begin(Operation::Marker).await?;
        self.site.marker().await
    }

    async fn set_marker(&self, marker: [u8; 16]) -> Result<(), SiteError> {
        let fault = self.begin(Operation::SetMarker).await?;
        self.site.set_marker(marker).await?;
        self.end(fault, Operation::SetMarker, ())
    }

    async fn sweep(&self) -> Result<u64, SiteError> {
        self.begin(Operation::Sweep).await?;
        self.site.sweep().await
    }

    fn counts(&self) -> SiteCounts {
        self.site.counts()
    }
}

struct FaultyWriter {
    inner: Box<dyn ShardWriter>,
    site: SiteId,
    name: BlobName,
    runtime: Arc<dyn Runtime>,
    faults: Faults,
}

#[async_trait]
impl ShardWriter for FaultyWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), SiteError> {
        begin(&self.faults, &*self.runtime, self.site, Operation::Write).await?;
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<(), SiteError> {
        let operation = Operation::Finish;
        let fault = begin(&self.faults, &*self.runtime, self.site, operation).await?;
        self.inner.finish().await?;
        self.faults.note_stored(&self.name);
        if fault == Some(Fault::LostAnswer) {
            let kind = SiteErrorKind::Unreachable;
            return Err(SiteError::new(kind, self.site, operation, "the answer is lost"));
        }
        Ok(())
    }

    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}
