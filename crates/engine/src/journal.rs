//! The journal: records become packs, packs become durable, and only then true.
//!
//! **Invariant.** A write is answered only after its pack met the guarantee (I1) and the catalog
//! applied it. Packs of a chain are written one after the other; each names the last acknowledged
//! one before it by hash, so that one that failed half-way is off the chain for ever.
//!
//! **Deliberately absent.** Sealing records (callers do, in parallel) and what a record means
//! (`catalog`).
//!
//! **Crash.** A pack that reached the sites is replayed by [`crate::replay`]; one that did not is
//! no pack.

use crate::blob::pack_row;
use crate::error::PutError;
use crate::fanout::{Outcome, Pending, Settled, Verdict, bit, settle};
use crate::inflight::Hold;
use crate::mend::mend;
use crate::repeat::repetition;
use crate::reservations::Reservation;
use crate::seqs::Ticket;
use crate::shared::{Placement, Shared};
use futures::future::{self, Either};
use futures::{FutureExt, StreamExt};
use havre_catalog::{AppliedPack, AppliedRecord, BlobRow, ChainState, PackLink};
use havre_codec::pack::{
    PACK_HEADER_BYTES, PackBuilder, SEALED_RECORD_BYTES_MAX, SLOT_HEADER_BYTES,
};
use havre_codec::{BlobKeys, disperse};
use havre_model::limits::{
    JOURNAL_QUEUE_BYTES_MAX, JOURNAL_QUEUE_MAX, PACK_BYTES_MAX, PACK_RECORDS_MAX,
};
use havre_model::record::{BlobSecret, SequencedRecord};
use havre_model::{BlobId, BlobName, SiteId};
use havre_policy::OnOutage;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// How long a write waits for room in the journal before it is told to slow down.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a pack stays open for writers that are expected: this much for each of them, within
/// bounds. A lone writer never waits, because nobody else is expected. Measured on two cores, 4 KiB
/// PUTs at 64 at once: the packs get three times as full, and the CPU saved makes up for the wait.
const LINGER_PER_RECORD: Duration = Duration::from_micros(50);
const LINGER_MIN: Duration = Duration::from_millis(1);
const LINGER_MAX: Duration = Duration::from_millis(40);
/// For how long after a pack its writers are expected to come back with their next write.
const WRITERS_RETURN_WITHIN: Duration = Duration::from_millis(20);
/// Packs that are durable and wait for the catalog.
const APPLY_QUEUE_MAX: usize = 2;
/// Bounds of the pause between attempts to bring packs into a catalog that could not take them.
const OWED_PAUSE_MIN: Duration = Duration::from_secs(1);
const OWED_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Bounds of the pause between attempts to bring the chain's last pack to its guarantee, and to
/// write one behind it that says that it counts.
const SETTLE_PAUSE_MIN: Duration = Duration::from_secs(1);
const MEND_PAUSE_MAX: Duration = Duration::from_secs(30);
const FENCE_PAUSE_MAX: Duration = Duration::from_secs(600);
/// Numbers that a new process leaves out: more than packs of a dead one can be on their way to the
/// sites.
const NUMBERS_SKIPPED: u64 = 1000;
/// How far ahead of the catalog a site's listing is believed: a liar must not use the numbers up.
const NUMBERS_AHEAD_MAX: u64 = 1 << 32;
/// Bounds of a pack that is filled: one more that repeats it has room for its retirement.
const RECORDS_MAX: usize = PACK_RECORDS_MAX - 1;
const BYTES_MAX: usize = PACK_BYTES_MAX - 1024;
const _: () = assert!(SEALED_RECORD_BYTES_MAX + 2 * SLOT_HEADER_BYTES <= BYTES_MAX);
/// Packs that were given up and whose shards are not deleted yet.
const ABANDONED_MAX: usize = 1024;

/// A sealed record on its way into a pack.
pub(crate) struct Entry {
    pub(crate) record: SequencedRecord,
    pub(crate) sealed: Vec<u8>,
    /// Held until the record is in the catalog, even if the client went away.
    pub(crate) reservations: Vec<Reservation>,
    /// Extents that the record names, held likewise.
    pub(crate) holds: Vec<Hold>,
    /// Whether one of its extents is below the guarantee already.
    pub(crate) below: bool,
    /// The record's number, on its way until it is applied; none of a copy, whose number arrived
    /// before.
    pub(crate) ticket: Option<Arc<Ticket>>,
}

struct Queued {
    /// `None` for a writer that only wants a pack to follow the last one.
    entry: Option<Entry>,
    reply: oneshot::Sender<Result<(), PutError>>,
    /// None is needed for what the journal itself writes.
    _room: Option<OwnedSemaphorePermit>,
}

/// The journal of one placement policy.
pub(crate) struct Journal {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    approaching: Arc<AtomicUsize>,
    in_doubt: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

/// Tells the journal that a small write is on its way, so that its pack may wait a moment for it.
pub(crate) struct Approach(Arc<AtomicUsize>);

impl Drop for Approach {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Replies of writes that were handed to the journal together.
pub(crate) struct Commit(Vec<oneshot::Receiver<Result<(), PutError>>>);

impl Commit {
    /// The fate of the one write that was handed over.
    pub(crate) async fn result(self) -> Result<(), PutError> {
        self.results().await.pop().expect("one entry has one reply")
    }

    /// Waits until each write is durable and applied, or has failed.
    pub(crate) async fn results(self) -> Vec<Result<(), PutError>> {
        let stopped = || Err(PutError::Unavailable("the gateway is stopping".into()));
        let replies = future::join_all(self.0).await;
        replies.into_iter().map(|reply| reply.unwrap_or_else(|_| stopped())).collect()
    }
}

impl Journal {
    /// Starts the journal of `placement` after the packs that `state` tells of; `first` is what
    /// [`first_number`] says, and `seen` the highest number that any site has; `retirement` the
    /// number of the last pack's retirement, should it have to be repeated, drawn before anybody
    /// else's.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        placement: &Arc<Placement>,
        state: &ChainState,
        (first, seen): (u64, u64),
        retirement: Ticket,
    ) -> Self {
        let (queue, entries) = mpsc::channel(JOURNAL_QUEUE_MAX);
        let (durable, packs) = mpsc::channel(APPLY_QUEUE_MAX);
        let approaching = Arc::new(AtomicUsize::new(0));
        let in_doubt = Arc::new(AtomicBool::new(true));
        let stalled = Arc::new(AtomicBool::new(false));
        let is_new = state.link == PackLink::NONE && seen == 0;
        let writer = Writer {
            shared: Arc::clone(shared),
            placement: Arc::clone(placement),
            chain: state.chain,
            number: first,
            link: state.link,
            unsettled: (state.link != PackLink::NONE)
                .then(|| (state.link.blob, Arc::new(retirement))),
            repeat_after: Duration::ZERO,
            repeat_pause: SETTLE_PAUSE_MIN,
            abandoned: VecDeque::new(),
            in_doubt: Arc::clone(&in_doubt),
            stalled: Arc::clone(&stalled),
            is_new,
            entries,
            durable,
            approaching: Arc::clone(&approaching),
            carried: None,
            last_records: 0,
            last_ended: Duration::ZERO,
        };
        let (shared_too, owed) = (Arc::clone(shared), VecDeque::new());
        let applier = Applier { shared: shared_too, packs, owed, stalled };
        let vital = &shared.vital;
        shared.ports.runtime.spawn(vital.watch("the writer of packs", writer.run()));
        shared.ports.runtime.spawn(vital.watch("the applier of packs", applier.run()));
        let room = Arc::new(Semaphore::new(JOURNAL_QUEUE_BYTES_MAX));
        Self { queue, room, approaching, in_doubt, shared: Arc::clone(shared) }
    }

    /// Whether a pack that was not acknowledged may still turn out to be the chain's last one: one
    /// that was given up, or that an earlier process left behind.
    pub(crate) fn in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Acquire)
    }

    /// Ends the doubt: a pack, empty if nobody else writes, that follows the last acknowledged one.
    ///
    /// # Errors
    /// As [`Journal::submit`], and when the pack cannot be made durable.
    pub(crate) async fn fence(&self) -> Result<(), PutError> {
        self.send(None, 0).await?.result().await
    }

    /// Announces a small write.
    pub(crate) fn approach(&self) -> Approach {
        self.approaching.fetch_add(1, Ordering::Relaxed);
        Approach(Arc::clone(&self.approaching))
    }

    /// Hands records over; they become durable in this order or in packs after one another.
    ///
    /// # Errors
    /// [`PutError::SlowDown`] when there was no room in time, [`PutError::Unavailable`] at
    /// shutdown. What was handed over before the error may still become durable.
    pub(crate) async fn submit(&self, entries: Vec<Entry>) -> Result<Commit, PutError> {
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            let bytes = entry.sealed.len();
            replies.extend(self.send(Some(entry), bytes).await?.0);
        }
        Ok(Commit(replies))
    }

    async fn send(&self, entry: Option<Entry>, bytes: usize) -> Result<Commit, PutError> {
        let room = self.room_for(bytes).await?;
        let (reply, receiver) = oneshot::channel();
        let sent = self.queue.send(Queued { entry, reply, _room: Some(room) }).await;
        sent.map_err(|_| PutError::Unavailable("the gateway is stopping".into()))?;
        Ok(Commit(vec![receiver]))
    }

    async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, PutError> {
        let bytes = u32::try_from(bytes).map_err(|_| PutError::TooLarge)?;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).boxed();
        match future::select(room, self.shared.ports.runtime.sleep(QUEUE_WAIT_MAX)).await {
            Either::Left((Ok(permit), _)) => Ok(permit),
            Either::Left((Err(_), _)) | Either::Right(_) => Err(PutError::SlowDown),
        }
    }
}

/// The one task that writes a chain's packs.
struct Writer {
    shared: Arc<Shared>,
    placement: Arc<Placement>,
    chain: havre_model::ChainId,
    number: u64,
    link: PackLink,
    entries: mpsc::Receiver<Queued>,
    durable: mpsc::Sender<Durable>,
    approaching: Arc<AtomicUsize>,
    /// The chain's last pack as it was found, until it is known to be within its guarantee, and the
    /// number of its retirement, should it have to be repeated. What is acknowledged behind it
    /// would be lost with it.
    unsettled: Option<(BlobId, Arc<Ticket>)>,
    /// When it may be tried to repeat that pack, and how long after that again.
    repeat_after: Duration,
    repeat_pause: Duration,
    /// Packs that were given up since the last acknowledged one. Should the process die now, the
    /// next one may find them readable and go on behind them: they stay whole until a later pack
    /// says that they are off the chain.
    abandoned: VecDeque<Abandoned>,
    in_doubt: Arc<AtomicBool>,
    /// Whether packs wait for the catalog: what the next one says may depend on them.
    stalled: Arc<AtomicBool>,
    /// Whether no site can have a pack of the chain: then nobody has to be told that none counts.
    is_new: bool,
    /// The first entry that did not fit the pack before.
    carried: Option<Queued>,
    /// Records of the pack before, and when it ended.
    last_records: usize,
    last_ended: Duration,
}

/// A pack that met the guarantee and waits for the catalog.
struct Durable {
    pack: AppliedPack,
    replies: Vec<Reply>,
    rest: Pending,
    _hold: Hold,
}

/// Who waits for a record, and what is held until it is applied.
struct Reply {
    /// `None` once it was told.
    sender: Option<oneshot::Sender<Result<(), PutError>>>,
    _reservations: Vec<Reservation>,
    holds: Vec<Hold>,
    ticket: Option<Arc<Ticket>>,
    _room: Option<OwnedSemaphorePermit>,
}

/// What a journal's writer does next.
enum Next {
    Entry(Box<Queued>),
    Settle,
    End,
}

/// A pack that was given up, with what it names.
struct Abandoned {
    name: BlobName,
    sites: Vec<SiteId>,
    /// When the last of its shards has been stored or has failed.
    ended: oneshot::Receiver<()>,
    _holds: Vec<Hold>,
    _tickets: Vec<Arc<Ticket>>,
}

/// The number after which a new process numbers its packs: no pack of an earlier one may have it or
/// a higher one, be it still on its way, so that no name is used twice (I5) and none comes behind
/// what this process acknowledges. `drawn` is what the process before it was given, if it was one
/// of this catalog.
pub(crate) fn first_number(applied: u64, seen: u64, drawn: u64) -> u64 {
    let believed = seen.min(applied.saturating_add(NUMBERS_AHEAD_MAX));
    applied.max(believed).max(drawn).saturating_add(NUMBERS_SKIPPED)
}

impl Writer {
    async fn run(mut self) {
        // An earlier process's last packs are settled at once.
        let mut pause = Duration::ZERO;
        loop {
            self.settle_last().await;
            let waiting = self.carried.take().or_else(|| self.entries.try_recv().ok());
            let backlog = waiting.is_some();
            let first = match waiting {
                Some(entry) => Some(entry),
                None => match self.next(&mut pause).await {
                    Next::Entry(entry) => Some(*entry),
                    Next::Settle => None,
                    Next::End => return,
                },
            };
            let batch = match first {
                Some(first) => self.collect(first, backlog).await,
                // Nobody writes, and the last pack is in doubt: an empty one behind it ends that.
                None => Vec::new(),
            };
            if self.unsettled.is_some() {
                refuse(batch, "the last pack of the chain is not within its guarantee yet");
                continue;
            }
            if self.stalled.load(Ordering::Acquire) {
                refuse(batch, "the catalog does not take packs now");
                continue;
            }
            let asks_only = !batch.is_empty() && batch.iter().all(|queued| queued.entry.is_none());
            if asks_only && !self.in_doubt.load(Ordering::Acquire) {
                // The pack that it wanted was written while it waited. Nobody may want to know.
                batch.into_iter().for_each(|queued| drop(queued.reply.send(Ok(()))));
                continue;
            }
            self.last_records = batch.len();
            self.write(batch).await;
            self.last_ended = self.shared.ports.clock.elapsed();
        }
    }

    /// Waits for an entry, or until it is time to settle the chain's end again.
    async fn next(&mut self, pause: &mut Duration) -> Next {
        let entry = |entry: Option<Queued>| entry.map_or(Next::End, |it| Next::Entry(Box::new(it)));
        let in_doubt = self.in_doubt.load(Ordering::Acquire) && !self.is_new;
        if self.unsettled.is_none() && !in_doubt {
            *pause = SETTLE_PAUSE_MIN;
            return entry(self.entries.recv().await);
        }
        let sleep = self.shared.ports.runtime.sleep(*pause);
        let most = if self.unsettled.is_some() { MEND_PAUSE_MAX } else { FENCE_PAUSE_MAX };
        *pause = (*pause * 2).clamp(SETTLE_PAUSE_MIN, most);
        match future::select(std::pin::pin!(self.entries.recv()), sleep).await {
            Either::Left((next, _)) => entry(next),
            Either::Right(_) => Next::Settle,
        }
    }

    /// Sees to it that the pack that the next one will follow is within its guarantee.
    async fn settle_last(&mut self) {
        let Some((last, retirement)) = self.unsettled.clone() else { return };
        if mend(&self.shared, &self.placement, last).await {
            self.unsettled = None;
            return;
        }
        let now = self.shared.ports.clock.elapsed();
        if now < self.repeat_after {
            return;
        }
        self.repeat_after = now + self.repeat_pause;
        self.repeat_pause = (self.repeat_pause * 2).min(MEND_PAUSE_MAX);
        if let Err(error) = self.repeat(last, retirement).await {
            tracing::warn!(%last, %error, "the last pack of a chain cannot be repeated now");
        }
    }

    /// Writes the last pack once more: under another name all its shards find a place.
    async fn repeat(&mut self, last: BlobId, ticket: Arc<Ticket>) -> Result<(), PutError> {
        if !self.shared.seqs.is_quiet_below(ticket.seq()) {
            let reason = "records that were numbered before it are on their way";
            return Err(PutError::Unavailable(reason.to_owned()));
        }
        let entries = repetition(&self.shared, last, ticket).await?;
        let records = entries.len();
        let queued =
            |entry| Queued { entry: Some(entry), reply: oneshot::channel().0, _room: None };
        self.write(entries.into_iter().map(queued).collect()).await;
        if self.link.blob != last {
            tracing::info!(%last, records, "the last pack of a chain was repeated");
            metrics::counter!("havre_packs_repeated_total").increment(1);
            self.unsettled = None;
        }
        Ok(())
    }

    /// How many writers are expected to want this pack, when `waiting` do already. Those of the
    /// pack before come back with their next write; with a backlog they come on top of it.
    fn expected(&self, waiting: usize, backlog: bool) -> usize {
        let since = self.shared.ports.clock.elapsed().saturating_sub(self.last_ended);
        match (since <= WRITERS_RETURN_WITHIN, backlog) {
            (true, true) => waiting + self.last_records,
            (true, false) => self.last_records,
            (false, _) => waiting,
        }
    }

    /// Takes what waits already, and for a moment what is expected or on its way.
    async fn collect(&mut self, first: Queued, backlog: bool) -> Vec<Queued> {
        let mut pack_bytes = PACK_HEADER_BYTES + first.slot_bytes();
        let mut batch = vec![first];
        let mut target = None;
        let mut linger = None;
        while batch.len() < RECORDS_MAX {
            let next = match self.entries.try_recv() {
                Ok(entry) => Some(entry),
                Err(_) => {
                    let target =
                        *target.get_or_insert_with(|| self.expected(batch.len(), backlog) * 7 / 8);
                    if batch.len() >= target && self.approaching.load(Ordering::Relaxed) == 0 {
                        break;
                    }
                    let sleep = linger.take().unwrap_or_else(|| {
                        let records = u32::try_from(target).unwrap_or(u32::MAX);
                        let wait = LINGER_PER_RECORD.saturating_mul(records);
                        self.shared.ports.runtime.sleep(wait.clamp(LINGER_MIN, LINGER_MAX))
                    });
                    let receive = std::pin::pin!(self.entries.recv());
                    match future::select(receive, sleep).await {
                        Either::Left((entry, sleep)) => {
                            linger = Some(sleep);
                            entry
                        }
                        Either::Right(_) => None,
                    }
                }
            };
            let Some(next) = next else { break };
            pack_bytes += next.slot_bytes();
            if pack_bytes > BYTES_MAX {
                self.carried = Some(next);
                break;
            }
            batch.push(next);
        }
        batch
    }

    /// Writes one pack, and passes it on or fails its writes.
    async fn write(&mut self, batch: Vec<Queued>) {
        let order = match self.shared.seqs.next(&*self.shared.catalog).await {
            Ok(ticket) => ticket.seq(),
            Err(error) => return refuse(batch, &error.to_string()),
        };
        self.number += 1;
        self.is_new = false;
        let blob = BlobId::from_bytes(self.shared.ports.random());
        let hold = self.shared.in_flight.hold(blob);
        let name = BlobName::Pack { chain: self.chain, number: self.number, blob };
        let now = self.shared.ports.clock.now();
        let mut frame =
            PackBuilder::new(self.chain, self.number, codec_link(self.link), now, order);
        let entries = batch.iter().filter_map(|queued| queued.entry.as_ref());
        let below_already = entries.into_iter().any(|entry| entry.below);
        let mut records = Vec::with_capacity(batch.len());
        let mut replies = Vec::with_capacity(batch.len());
        for Queued { entry, reply, _room } in batch {
            let mut waits = Reply {
                sender: Some(reply),
                _reservations: vec![],
                holds: vec![],
                ticket: None,
                _room,
            };
            if let Some(entry) = entry {
                let slot = frame.push(&entry.sealed);
                let (record, offset, len) = (entry.record, slot.offset, slot.len);
                records.push(AppliedRecord { record, offset, len });
                waits._reservations = entry.reservations;
                (waits.holds, waits.ticket) = (entry.holds, entry.ticket);
            }
            replies.push(waits);
        }
        let frame = frame.finish();
        let previous = self.link;
        let secret = BlobSecret::from_bytes(self.shared.ports.random());
        let (row, settled) = match self.store(name, &secret, &frame).await {
            Ok(stored) => stored,
            Err(error) => return fail(&mut replies, &error),
        };
        metrics::counter!("havre_packs_total").increment(1);
        metrics::counter!("havre_pack_records_total").increment(records.len() as u64);
        let below = match (settled.verdict, self.placement.policy.on_outage()) {
            (Verdict::Within, _) => below_already,
            (Verdict::Below, OnOutage::Degrade) => true,
            _ => return self.give_up(row, settled, replies, hold),
        };
        let link = PackLink { blob, hash: havre_codec::pack::hash(&frame) };
        self.link = link;
        self.in_doubt.store(false, Ordering::Release);
        self.take_back();
        let pack = AppliedPack {
            chain: self.chain,
            number: self.number,
            link,
            previous,
            pack: BlobRow { stored: settled.stored, ..row },
            below_guarantee: below,
            settled: self.shared.seqs.settled(),
            order,
            records,
        };
        let durable = Durable { pack, replies, rest: settled.rest, _hold: hold };
        // The applier lives as long as this task; if it is gone, the process is going.
        let _ = self.durable.send(durable).await;
    }

    /// Disperses the frame and sends its shards.
    async fn store(
        &self,
        name: BlobName,
        secret: &BlobSecret,
        frame: &[u8],
    ) -> Result<(BlobRow, Settled), String> {
        let policy = &self.placement.policy;
        let fleet = &self.shared.fleet;
        let permits = policy.place(&fleet.placing(name.blob()), fleet.closed(), name.blob());
        let permits = permits.map_err(|error| error.to_string())?;
        let sites = permits.iter().map(havre_policy::Permit::site).collect();
        let row = pack_row(name, secret.clone(), policy.geometry(), frame.len() as u64, sites);
        let keys = BlobKeys::new(secret, name.blob(), row.geometry, row.chunk_bytes);
        let shards = disperse(&self.placement.code, &keys, secret, frame);
        let pending = Pending::new();
        for (permit, shard) in permits.into_iter().zip(shards) {
            let fleet = Arc::clone(&self.shared.fleet);
            let Some((position, _)) = fleet.by_id(permit.site()) else { continue };
            let index = permit.index();
            pending.push(
                async move {
                    let result = fleet.site(position).put(permit, &name, shard).await;
                    Outcome { index, position, result }
                }
                .boxed(),
            );
        }
        Ok((row, settle(policy, &self.shared.ports, pending, "pack").await))
    }

    /// The guarantee could not be met: tells the writers. What was stored stays until a later pack
    /// has been acknowledged.
    fn give_up(&mut self, row: BlobRow, settled: Settled, mut replies: Vec<Reply>, hold: Hold) {
        let total = row.geometry.total();
        let reason = format!("{} of {total} shards stored", settled.stored.count_ones());
        let mut holds = vec![hold];
        let mut tickets = Vec::new();
        for reply in &mut replies {
            holds.append(&mut reply.holds);
            tickets.extend(reply.ticket.take());
        }
        tickets.iter().for_each(|ticket: &Arc<Ticket>| ticket.disarm());
        self.in_doubt.store(true, Ordering::Release);
        let (last, ended) = oneshot::channel();
        self.shared.ports.runtime.spawn(Box::pin(async move {
            settled.rest.collect::<Vec<_>>().await;
            // Nobody may want to know.
            let _ = last.send(());
        }));
        self.abandoned.push_back(Abandoned {
            name: row.name,
            sites: row.sites,
            ended,
            _holds: holds,
            _tickets: tickets,
        });
        if self.abandoned.len() > ABANDONED_MAX {
            self.abandoned.pop_front();
        }
        fail(&mut replies, &reason);
    }

    /// Deletes, in the background, what the sites have of packs that are off the chain for ever.
    fn take_back(&mut self) {
        let abandoned = std::mem::take(&mut self.abandoned);
        if abandoned.is_empty() {
            return;
        }
        let fleet = Arc::clone(&self.shared.fleet);
        self.shared.ports.runtime.spawn(Box::pin(async move {
            for pack in abandoned {
                // An error says that the task that knows is gone, and with it the shards' senders.
                let _ = pack.ended.await;
                crate::blob::delete_shards(&fleet, &pack.name, &pack.sites).await;
            }
        }));
    }
}

impl Reply {
    fn answer(&mut self, result: Result<(), PutError>) {
        if let Some(sender) = self.sender.take() {
            // A client that went away needs no answer.
            let _ = sender.send(result);
        }
    }
}

impl Queued {
    /// Bytes that it adds to a pack.
    fn slot_bytes(&self) -> usize {
        self.entry.as_ref().map_or(0, |entry| SLOT_HEADER_BYTES + entry.sealed.len())
    }
}

/// Nothing may be written now.
fn refuse(batch: Vec<Queued>, reason: &str) {
    for queued in batch {
        // A client that went away needs no answer.
        let _ = queued.reply.send(Err(PutError::Unavailable(reason.to_owned())));
    }
}

fn codec_link(link: PackLink) -> havre_codec::pack::PackLink {
    havre_codec::pack::PackLink { blob: link.blob, hash: link.hash }
}

fn fail(replies: &mut [Reply], reason: &str) {
    metrics::counter!("havre_packs_failed_total").increment(1);
    tracing::error!(reason, writes = replies.len(), "a pack could not be made durable");
    for reply in replies {
        reply.answer(Err(PutError::Unavailable(reason.to_owned())));
    }
}

/// The one task that brings durable packs into the catalog, in order. One that the catalog cannot
/// take now (its disk is full) is owed to it: its writers are told that it failed, nothing is
/// written behind it, and it is offered again until it is taken.
struct Applier {
    shared: Arc<Shared>,
    packs: mpsc::Receiver<Durable>,
    /// Packs that the catalog does not have yet, with whatever their writers held: at most those
    /// that were under way when the first of them failed.
    owed: VecDeque<(AppliedPack, Vec<Reply>, Hold)>,
    stalled: Arc<AtomicBool>,
}

impl Applier {
    async fn run(mut self) {
        let mut pause = OWED_PAUSE_MIN;
        loop {
            let mut due = false;
            let next = if self.owed.is_empty() {
                pause = OWED_PAUSE_MIN;
                self.packs.recv().await
            } else {
                let sleep = self.shared.ports.runtime.sleep(pause);
                match future::select(self.packs.recv().boxed(), sleep).await {
                    Either::Left((next, _)) => next,
                    Either::Right(_) => {
                        due = true;
                        None
                    }
                }
            };
            match next {
                Some(durable) => self.take(durable).await,
                None if due => {
                    pause = (pause * 2).min(OWED_PAUSE_MAX);
                    self.offer().await;
                }
                None => return,
            }
        }
    }

    async fn take(&mut self, durable: Durable) {
        let Durable { pack, mut replies, rest, _hold } = durable;
        let row = pack.pack.clone();
        let result = if self.owed.is_empty() {
            self.shared.catalog.apply(pack.clone()).await.map_err(|error| error.to_string())
        } else {
            Err("an earlier pack waits for the catalog".to_owned())
        };
        note_stragglers(&self.shared, row, rest);
        match result {
            Ok(()) => replies.iter_mut().for_each(|reply| reply.answer(Ok(()))),
            Err(reason) => {
                self.stalled.store(true, Ordering::Release);
                let reason = format!("durable, but the catalog did not take it: {reason}");
                fail(&mut replies, &reason);
                self.owed.push_back((pack, replies, _hold));
            }
        }
    }

    /// Offers what is owed once more, in order.
    async fn offer(&mut self) {
        while let Some((pack, ..)) = self.owed.front() {
            if let Err(error) = self.shared.catalog.apply(pack.clone()).await {
                tracing::warn!(%error, packs = self.owed.len(), "the catalog still takes no packs");
                return;
            }
            self.owed.pop_front();
        }
        tracing::info!("the catalog has every pack again");
        self.stalled.store(false, Ordering::Release);
    }
}

/// Lets the last shards arrive in the background and tells the catalog of those that did.
pub(crate) fn note_stragglers(shared: &Arc<Shared>, row: BlobRow, mut rest: Pending) {
    if rest.is_empty() {
        return;
    }
    let shared_too = Arc::clone(shared);
    shared.ports.runtime.spawn(Box::pin(async move {
        let mut stored = 0;
        while let Some(outcome) = rest.next().await {
            match outcome.result {
                Ok(()) => stored |= bit(outcome.index),
                Err(error) => tracing::warn!(%error, "a late shard was not stored"),
            }
        }
        let blob = row.name.blob();
        if stored != 0
            && let Err(error) = shared_too.catalog.note_shards(blob, &row.sites, stored, 0).await
        {
            tracing::warn!(%error, "late shards could not be noted; they stay repair jobs");
        }
        shared_too.blobs.remove(&blob);
    }));
}
