//! A site in the simulation: a [`MemorySite`] at the far end of a slow network, with weather.
//!
//! **Invariant.** In fair weather it keeps every promise of [`Site`]. In foul weather it does what
//! real sites do: refuse, hang, lie, lag, lose what it has not synced, carry out a request whose
//! sender is long dead.
//!
//! **Deliberately absent.** Deciding the weather: the scenario does.
//!
//! **Crash.** [`SimSite::crash`] is the site's own: shards that were not synced may go, deletions
//! of a moment ago may come undone. It outlives every gateway.

use crate::executor::{Executor, Group};
use crate::facts::Setting;
use crate::ledger::{Ledger, Rule, Sent};
use crate::lie::{Lie, invent};
use crate::rng::Rng;
use crate::trace::Trace;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use havre_model::{BlobName, SiteId};
use havre_policy::Permit;
use havre_sites::memory::{MemorySite, MemorySnapshot};
use havre_sites::{Operation, ShardWriter, Site, SiteError, SiteErrorKind, SiteLimits, SitePage};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a deletion may still come undone.
const DELETE_SYNCED_AFTER: Duration = Duration::from_secs(5);
/// Deletions that are remembered for that.
const UNDELETES_MAX: usize = 32;
/// The latest that a hung site carries out what it was asked for.
const LATE_MAX: u64 = 60_000_000;

/// How a site does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Well, and fast.
    Fair,
    /// Well, and up to a second slow in each direction.
    Slow,
    /// Connections are refused.
    Down,
    /// Credentials are refused.
    Refusing,
    /// Nothing is answered; what was asked for may happen later.
    Hung,
    /// Writes are refused.
    ReadOnly,
    /// Shards do not fit.
    Full,
    /// Each operation may fail, hang, or lose its answer.
    Flaky,
    /// Answers are lies, most of the time.
    Lying,
}

impl Weather {
    /// Whether what the site holds can be read by whoever waits for it.
    #[must_use]
    pub const fn gives(self) -> bool {
        matches!(self, Self::Fair | Self::Slow | Self::ReadOnly | Self::Full)
    }

    /// Whether the site takes shards.
    #[must_use]
    pub const fn takes(self) -> bool {
        matches!(self, Self::Fair | Self::Slow)
    }
}

/// A site that confirms shards and throws them away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drops {
    /// It is one of those that may be hostile: the checkers do not count on it.
    Hostile,
    /// The checkers take it for honest: they must find out by reading.
    Unnoticed,
    /// It answers before it has done anything: the checkers must find out when the write is
    /// acknowledged.
    Early,
}

struct State {
    rng: Rng,
    weather: Weather,
    /// Confirms shards that it does not keep.
    drops: Option<Drops>,
    /// Counts crashes: what began before one does not end well.
    epoch: u64,
    unsynced: BTreeSet<BlobName>,
    undeletes: VecDeque<(Duration, BlobName, Bytes)>,
    first: Option<BlobName>,
    /// Where a shard that moves here is deleted before it arrives: sabotage.
    robbed: Vec<SimSite>,
    /// Shards that it has changed or thrown away since they were stored.
    rotten: BTreeSet<BlobName>,
}

/// A process that asks a site, as the site does not know it but the ledger does.
struct Sender {
    setting: Arc<Setting>,
    /// When each shard was first sent: one whose writing began before its site was closed may still
    /// end there.
    begun: Mutex<BTreeMap<BlobName, Duration>>,
}

struct Shared {
    id: SiteId,
    name: String,
    position: usize,
    disk: MemorySite,
    executor: Executor,
    ledger: Ledger,
    trace: Trace,
    state: Mutex<State>,
}

/// What a site does with a request.
enum Arrival {
    Refuse(SiteErrorKind, &'static str),
    /// Never answered; carried out after a while, or not at all.
    Swallow(Option<Duration>),
    Serve {
        lie: Option<Lie>,
        loses_answer: bool,
    },
}

/// A site. Clones are the same one.
#[derive(Clone)]
pub struct SimSite {
    shared: Arc<Shared>,
    sender: Arc<Sender>,
}

type Effect<T> = BoxFuture<'static, Result<T, SiteError>>;

impl SimSite {
    /// An empty site in fair weather.
    #[must_use]
    pub fn new(
        (id, name, position): (SiteId, String, usize),
        (executor, ledger, trace): (Executor, Ledger, Trace),
        rng: Rng,
    ) -> Self {
        let disk = MemorySite::new(id, &name);
        let state = State {
            rng,
            weather: Weather::Fair,
            drops: None,
            epoch: 0,
            unsynced: BTreeSet::new(),
            undeletes: VecDeque::new(),
            first: None,
            robbed: Vec::new(),
            rotten: BTreeSet::new(),
        };
        let (state, setting) = (Mutex::new(state), ledger.setting());
        let shared = Shared { id, name, position, disk, executor, ledger, trace, state };
        let sender = Sender { setting, begun: Mutex::default() };
        Self { shared: Arc::new(shared), sender: Arc::new(sender) }
    }

    /// The same site, as a process has it that was started with these facts.
    #[must_use]
    pub fn asked_under(&self, setting: Arc<Setting>) -> Self {
        let sender = Sender { setting, begun: Mutex::default() };
        Self { shared: Arc::clone(&self.shared), sender: Arc::new(sender) }
    }

    /// From now on a shard that moves here is deleted at the others before it arrives: sabotage
    /// that the checkers must find.
    pub fn rob(&self, others: Vec<Self>) {
        self.shared.state.lock().robbed = others;
    }

    /// The weather now.
    #[must_use]
    pub fn weather(&self) -> Weather {
        self.shared.state.lock().weather
    }

    /// From now on this weather.
    pub fn set_weather(&self, weather: Weather) {
        self.shared.state.lock().weather = weather;
        self.note(format_args!("is {weather:?}"));
    }

    /// From now on it confirms shards and throws them away, or no longer.
    pub fn set_drops(&self, drops: Option<Drops>) {
        self.shared.state.lock().drops = drops;
        self.note(format_args!("drops what it confirms: {drops:?}"));
    }

    /// What the site really holds.
    #[must_use]
    pub fn contents(&self) -> MemorySnapshot {
        self.shared.disk.snapshot()
    }

    /// Puts other content into the site, behind everybody's back.
    pub fn tamper(&self, name: &BlobName, shard: Option<Bytes>) {
        self.shared.disk.tamper(name, shard);
    }

    /// The machine loses power: a shard that was not synced may be gone, a shard deleted a moment
    /// ago may be back, and nothing that was under way is confirmed.
    pub fn crash(&self) {
        let now = self.shared.executor.now();
        let mut state = self.shared.state.lock();
        state.epoch += 1;
        let unsynced = std::mem::take(&mut state.unsynced);
        let (lost, kept): (Vec<_>, Vec<_>) =
            unsynced.into_iter().partition(|_| state.rng.chance(500));
        let undeletes = std::mem::take(&mut state.undeletes);
        let back: Vec<_> = undeletes
            .into_iter()
            .filter(|(at, ..)| now.saturating_sub(*at) < DELETE_SYNCED_AFTER)
            .filter(|_| state.rng.chance(500))
            .collect();
        drop(state);
        for name in &lost {
            self.shared.disk.tamper(name, None);
        }
        for (_, name, bytes) in &back {
            self.shared.disk.tamper(name, Some(bytes.clone()));
        }
        let contents = self.contents();
        let rotten = self.shared.state.lock().rotten.clone();
        let there = kept.iter().chain(back.iter().map(|(_, name, _)| name));
        for name in there.filter(|name| !rotten.contains(name)) {
            let shard = contents.shards().get(&name.to_string());
            let header = shard.map(|it| havre_codec::shard::parse_header(it, name.blob()));
            if let Some(Ok(header)) = header {
                let (site, index) = (self.shared.position, header.index().raw());
                self.shared.ledger.survived(*name, site, index);
            }
        }
        self.note(format_args!("crashes: {} lost, {} back", lost.len(), back.len()));
    }

    /// A hostile site changes or throws away one of its shards.
    pub fn rot(&self) {
        let held = self.contents();
        let mut state = self.shared.state.lock();
        if held.shards().is_empty() {
            return;
        }
        let at = state.rng.index(held.shards().len());
        let Some((text, shard)) = held.shards().iter().nth(at) else { return };
        let Ok(name) = text.parse::<BlobName>() else { return };
        let gone = state.rng.chance(300);
        let byte = state.rng.index(shard.len());
        drop(state);
        let mut rotten = BytesMut::from(&shard[..]);
        rotten[byte] ^= 0x20;
        self.shared.disk.tamper(&name, (!gone).then(|| rotten.freeze()));
        self.shared.state.lock().rotten.insert(name);
        self.shared.ledger.damaged(name, self.shared.position);
        self.note(format_args!("{} {name}", if gone { "loses" } else { "corrupts" }));
    }

    fn note(&self, text: std::fmt::Arguments<'_>) {
        let now = self.shared.executor.now();
        self.shared.trace.note(now, format_args!("{} {text}", self.shared.name));
    }

    fn error(&self, kind: SiteErrorKind, operation: Operation, detail: &str) -> SiteError {
        SiteError::new(kind, self.shared.id, operation, detail)
    }

    /// The way of a request or an answer.
    fn leg(&self) -> crate::executor::Sleep {
        let mut state = self.shared.state.lock();
        let time = match state.weather {
            Weather::Slow => state.rng.micros(10_000, 900_000),
            _ => state.rng.micros(50, 1_500),
        };
        drop(state);
        self.shared.executor.sleep(time)
    }

    fn arrive(&self, operation: Operation) -> Arrival {
        let mut state = self.shared.state.lock();
        let honest = Arrival::Serve { lie: None, loses_answer: false };
        let unreachable = SiteErrorKind::Unreachable;
        let is_shard = matches!(operation, Operation::Put | Operation::Write | Operation::Finish);
        match state.weather {
            Weather::Fair | Weather::Slow => honest,
            Weather::Down => Arrival::Refuse(unreachable, "connection refused"),
            Weather::Refusing => Arrival::Refuse(SiteErrorKind::Refused, "the key is not valid"),
            Weather::Hung => swallow(&mut state, operation),
            Weather::ReadOnly if operation.is_write() => {
                Arrival::Refuse(SiteErrorKind::Refused, "the site is read-only")
            }
            Weather::Full if is_shard => {
                Arrival::Refuse(SiteErrorKind::Refused, "the site is full")
            }
            Weather::ReadOnly | Weather::Full => honest,
            Weather::Flaky => match state.rng.below(1000) {
                0..120 => Arrival::Refuse(unreachable, "connection refused"),
                120..160 => swallow(&mut state, operation),
                160..240 => Arrival::Serve { lie: None, loses_answer: true },
                _ => honest,
            },
            // The marker is how a site is known; one that lies about it is another site.
            Weather::Lying if matches!(operation, Operation::Marker | Operation::SetMarker) => {
                honest
            }
            Weather::Lying => {
                let lie = state.rng.chance(700).then(|| Lie::draw(&mut state.rng));
                Arrival::Serve { lie, loses_answer: false }
            }
        }
    }

    /// Sends a request. The site carries it out whether or not the sender still waits for the
    /// answer.
    async fn request<T: Send + 'static>(
        &self,
        operation: Operation,
        effect: impl FnOnce(Option<Lie>) -> Effect<T> + Send + 'static,
    ) -> Result<T, SiteError> {
        let (reply, answer) = oneshot::channel();
        let site = self.clone();
        let work = async move {
            site.leg().await;
            let result = match site.arrive(operation) {
                Arrival::Refuse(kind, detail) => Err(site.error(kind, operation, detail)),
                Arrival::Swallow(after) => {
                    let Some(after) = after else { return };
                    site.shared.executor.sleep(after).await;
                    site.note(format_args!("carries out {operation} late"));
                    drop(effect(None).await);
                    return;
                }
                Arrival::Serve { lie, loses_answer } => {
                    let result = effect(lie).await;
                    match loses_answer {
                        true => {
                            let kind = SiteErrorKind::Unreachable;
                            Err(site.error(kind, operation, "the answer was lost"))
                        }
                        false => result,
                    }
                }
            };
            site.leg().await;
            // A sender that gave up needs no answer.
            let _ = reply.send(result);
        };
        self.shared.executor.spawn(Group::WORLD, Box::pin(work));
        match answer.await {
            Ok(result) => result,
            // Swallowed: silence, until the sender gives up.
            Err(_) => std::future::pending().await,
        }
    }

    /// Stores what the writer has, and syncs it.
    async fn store(
        self,
        name: BlobName,
        index: Option<u8>,
        writer: Box<dyn ShardWriter>,
        operation: Operation,
    ) -> Result<(), SiteError> {
        let shared = &self.shared;
        let (drops, epoch, time) = {
            let mut state = shared.state.lock();
            (state.drops, state.epoch, state.rng.micros(50, 3_000))
        };
        if drops.is_none() {
            // What is there already, and synced, another request for the same does not undo.
            let was_there = shared.disk.read(&name, 0..1).await.is_ok();
            if let Err(error) = writer.finish().await {
                // Another shard of a blob may have been on the way here, or moved here and been
                // forgotten with the catalog.
                if error.kind == SiteErrorKind::Exists && self.has_whole(&name, index) {
                    let detail = format!("{} has other bytes of {name}", shared.name);
                    shared.ledger.breach(Rule::NamesAreUsedOnce, detail);
                }
                return Err(error);
            }
            let mut state = shared.state.lock();
            state.rotten.remove(&name);
            if !was_there {
                state.unsynced.insert(name);
            }
        }
        shared.executor.sleep(time).await;
        let mut state = shared.state.lock();
        if state.epoch != epoch {
            return Err(self.error(SiteErrorKind::Unreachable, operation, "connection reset"));
        }
        state.unsynced.remove(&name);
        state.undeletes.clear();
        state.first.get_or_insert(name);
        let is_rotten = state.rotten.contains(&name);
        drop(state);
        match (drops, index) {
            _ if is_rotten => shared.ledger.claimed(name, shared.position),
            (Some(Drops::Hostile), _) => shared.ledger.claimed(name, shared.position),
            (Some(Drops::Early), _) | (_, None) => {}
            (_, Some(index)) => shared.ledger.confirmed(name, shared.position, index),
        }
        self.note(format_args!("stored {name}"));
        Ok(())
    }

    /// Whether it stored just this shard and still has it.
    fn has_whole(&self, name: &BlobName, index: Option<u8>) -> bool {
        let holding = self.shared.ledger.holding(name);
        index.is_some() && holding.stored.get(&self.shared.position) == index.as_ref()
    }

    /// A process begins to send a shard. None is sent to a site that was closed before, but once
    /// more one whose sending had begun.
    fn send(&self, name: &BlobName) -> Sent {
        let shared = &self.shared;
        let (now, setting) = (shared.executor.now(), Arc::clone(&self.sender.setting));
        let first = *self.sender.begun.lock().entry(*name).or_insert(now);
        let goes_on = first < now && now - first < SiteLimits::default().deadline * 2;
        if shared.ledger.closed(&setting).contains(shared.position) && !goes_on {
            let detail = format!("{name} is sent to {}, which is closed", shared.name);
            shared.ledger.breach(Rule::ClosedSitesGetNothing, detail);
        }
        Sent { setting, moment: shared.ledger.moment() }
    }

    /// The first bytes of a shard arrive; which one it is.
    fn see(&self, name: BlobName, bytes: &Bytes, sent: &Sent) -> Option<u8> {
        let shared = &self.shared;
        let index = shared.ledger.seen(name, shared.position, bytes, sent);
        let robbed = shared.state.lock().robbed.clone();
        let stored = shared.ledger.holding(&name).stored;
        for other in robbed {
            let position = other.shared.position;
            if position != shared.position && stored.get(&position) == index.as_ref() {
                other.shared.disk.tamper(&name, None);
                shared.ledger.deleted(name, position);
            }
        }
        index
    }

    async fn erase(self, name: BlobName) -> Result<(), SiteError> {
        let shared = &self.shared;
        if let Ok(bytes) = shared.disk.read_all(&name, u64::MAX).await {
            let mut state = shared.state.lock();
            // A spoilt shard that came back would be another lie, and is not told apart from one.
            if !state.unsynced.remove(&name) && !state.rotten.contains(&name) {
                state.undeletes.push_back((shared.executor.now(), name, bytes.freeze()));
            }
            if state.undeletes.len() > UNDELETES_MAX {
                state.undeletes.pop_front();
            }
            drop(state);
            self.note(format_args!("deleted {name}"));
        }
        shared.ledger.deleted(name, shared.position);
        shared.disk.delete(&name).await
    }

    /// Makes a lie of an honest answer.
    fn twist(
        &self,
        lie: Lie,
        bytes: BytesMut,
        operation: Operation,
    ) -> Result<BytesMut, SiteError> {
        let first = self.shared.state.lock().first;
        let older = first.and_then(|name| {
            let whole = self.shared.disk.read_all(&name, u64::MAX).now_or_never()?;
            whole.ok()
        });
        let mut state = self.shared.state.lock();
        lie.tell(bytes, older, &mut state.rng)
            .ok_or_else(|| self.error(SiteErrorKind::Missing, operation, "no such shard"))
    }
}

fn swallow(state: &mut State, operation: Operation) -> Arrival {
    let late = operation.is_write() && state.rng.chance(400);
    Arrival::Swallow(late.then(|| state.rng.micros(1_000, LATE_MAX)))
}

#[async_trait]
impl Site for SimSite {
    fn id(&self) -> SiteId {
        self.shared.id
    }

    fn name(&self) -> &str {
        &self.shared.name
    }

    async fn put(&self, permit: &Permit, name: &BlobName, shard: Bytes) -> Result<(), SiteError> {
        let mut writer = self.shared.disk.create(permit, name, Some(shard.len() as u64)).await?;
        let (site, name, sent) = (self.clone(), *name, self.send(name));
        let effect = move |_: Option<Lie>| -> Effect<()> {
            let work = async move {
                let index = site.see(name, &shard, &sent);
                writer.write(shard).await?;
                site.store(name, index, writer, Operation::Put).await
            };
            work.boxed()
        };
        self.request(Operation::Put, effect).await
    }

    async fn create(
        &self,
        permit: &Permit,
        name: &BlobName,
        shard_bytes: Option<u64>,
    ) -> Result<Box<dyn ShardWriter>, SiteError> {
        let inner = self.shared.disk.create(permit, name, shard_bytes).await?;
        let sent = self.send(name);
        let epoch = self.shared.state.lock().epoch;
        let effect = move |_: Option<Lie>| -> Effect<Box<dyn ShardWriter>> {
            async move { Ok(inner) }.boxed()
        };
        let inner = Some(self.request(Operation::Create, effect).await?);
        let (site, index) = (self.clone(), Arc::default());
        Ok(Box::new(SimWriter { site, name: *name, inner, epoch, sent, is_empty: true, index }))
    }

    async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut, SiteError> {
        let (site, name) = (self.clone(), *name);
        let effect = move |lie: Option<Lie>| -> Effect<BytesMut> {
            let work = async move {
                let bytes = site.shared.disk.read(&name, range).await?;
                match lie {
                    Some(lie) => site.twist(lie, bytes, Operation::Read),
                    None => Ok(bytes),
                }
            };
            work.boxed()
        };
        self.request(Operation::Read, effect).await
    }

    async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError> {
        let (site, name) = (self.clone(), *name);
        let effect = move |lie: Option<Lie>| -> Effect<BytesMut> {
            let work = async move {
                let bytes = site.shared.disk.read_all(&name, bytes_max).await?;
                match lie {
                    Some(lie) => site.twist(lie, bytes, Operation::ReadAll),
                    None => Ok(bytes),
                }
            };
            work.boxed()
        };
        self.request(Operation::ReadAll, effect).await
    }

    async fn delete(&self, name: &BlobName) -> Result<(), SiteError> {
        let (site, name) = (self.clone(), *name);
        self.shared.ledger.deleting(name, self.shared.id);
        let effect = move |_: Option<Lie>| -> Effect<()> { site.erase(name).boxed() };
        self.request(Operation::Delete, effect).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        let (site, prefix, after) = (self.clone(), prefix.to_owned(), after.copied());
        let effect = move |lie: Option<Lie>| -> Effect<SitePage> {
            let work = async move {
                let page = site.shared.disk.list(&prefix, after.as_ref(), limit).await?;
                let mut state = site.shared.state.lock();
                Ok(match lie {
                    Some(lie) => invent(lie, page, (&prefix, after, limit), &mut state.rng),
                    None => page,
                })
            };
            work.boxed()
        };
        self.request(Operation::List, effect).await
    }

    async fn marker(&self) -> Result<Option<[u8; 16]>, SiteError> {
        let site = self.clone();
        let effect = move |_: Option<Lie>| -> Effect<Option<[u8; 16]>> {
            async move { site.shared.disk.marker().await }.boxed()
        };
        self.request(Operation::Marker, effect).await
    }

    async fn set_marker(&self, marker: [u8; 16]) -> Result<(), SiteError> {
        let site = self.clone();
        let effect = move |_: Option<Lie>| -> Effect<()> {
            async move { site.shared.disk.set_marker(marker).await }.boxed()
        };
        self.request(Operation::SetMarker, effect).await
    }

    async fn sweep(&self) -> Result<u64, SiteError> {
        let effect = |_: Option<Lie>| -> Effect<u64> { async { Ok(0) }.boxed() };
        self.request(Operation::Sweep, effect).await
    }
}

/// A shard on its way, piece by piece.
struct SimWriter {
    site: SimSite,
    name: BlobName,
    /// `None` after a piece that was not confirmed.
    inner: Option<Box<dyn ShardWriter>>,
    epoch: u64,
    sent: Sent,
    is_empty: bool,
    /// Which shard it is, by its first piece.
    index: Arc<Mutex<Option<u8>>>,
}

impl SimWriter {
    /// The writer at the site, unless the site lost it.
    fn take(&mut self, operation: Operation) -> Result<Box<dyn ShardWriter>, SiteError> {
        let crashed = self.site.shared.state.lock().epoch != self.epoch;
        let inner = self.inner.take().filter(|_| !crashed);
        let lost = || self.site.error(SiteErrorKind::Unreachable, operation, "connection reset");
        inner.ok_or_else(lost)
    }
}

#[async_trait]
impl ShardWriter for SimWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), SiteError> {
        let mut inner = self.take(Operation::Write)?;
        let begins = std::mem::take(&mut self.is_empty);
        let (site, name, sent) = (self.site.clone(), self.name, self.sent.clone());
        let index = Arc::clone(&self.index);
        let effect = move |_: Option<Lie>| -> Effect<Box<dyn ShardWriter>> {
            let work = async move {
                if begins {
                    *index.lock() = site.see(name, &bytes, &sent);
                }
                inner.write(bytes).await?;
                Ok(inner)
            };
            work.boxed()
        };
        self.inner = Some(self.site.request(Operation::Write, effect).await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), SiteError> {
        let inner = self.take(Operation::Finish)?;
        let (site, name, index) = (self.site.clone(), self.name, *self.index.lock());
        let effect = move |_: Option<Lie>| -> Effect<()> {
            site.store(name, index, inner, Operation::Finish).boxed()
        };
        self.site.request(Operation::Finish, effect).await
    }

    async fn abort(self: Box<Self>) {}
}
