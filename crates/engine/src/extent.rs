//! Writes a part: plaintext in, sealed and dispersed extents out, a window of stripes at a time.
//!
//! **Invariant.** Plaintext is sealed in the place it was copied to once, dispersed from there and
//! handed to the sites; no more than a few windows of a part are in memory at a time, whatever its
//! size (I8).
//!
//! **Deliberately absent.** The record that makes the extents part of an object ([`crate::put`]).
//!
//! **Crash.** Extents without a record are orphans; `keeper::gc` takes them.

use crate::blob::{LAST_CHUNK_EXTRA, delete_shards};
use crate::error::PutError;
use crate::fanout::{Outcome, Pending, Verdict, settle};
use crate::inflight::Hold;
use crate::journal::note_stragglers;
use crate::shared::{Placement, Shared};
use bytes::{Bytes, BytesMut};
use futures::future::{self, Either};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use havre_catalog::BlobRow;
use havre_codec::BlobKeys;
use havre_model::limits::{
    EXTENT_CHUNK_BYTES, EXTENT_SEGMENTS_MAX, SEALED_SEGMENT_BYTES, SEGMENT_BYTES, TAG_BYTES,
};
use havre_model::record::{BlobSecret, Extent};
use havre_model::{BlobId, BlobName, SiteSet};
use havre_policy::{Acknowledgement, OnOutage, Permit};
use havre_seal::PartSealer;
use havre_sites::{Fleet, Operation, SiteError, SiteErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Stripes that are sealed, dispersed and sent together: half a MiB for each site.
pub(crate) const WINDOW_STRIPES: usize = 8;
/// Windows that wait for one site.
const SITE_QUEUE_MAX: usize = 2;
/// How long a site may hold up a part once the others could go on without it.
const LAGGARD_WAIT_MAX: Duration = Duration::from_secs(2);
/// Bytes of a sealed chunk.
const SLOT_BYTES: usize = EXTENT_CHUNK_BYTES + TAG_BYTES;

/// A part that was written.
#[derive(Default)]
pub(crate) struct WrittenPart {
    pub(crate) bytes: u64,
    pub(crate) extents: Vec<Extent>,
    pub(crate) holds: Vec<Hold>,
    /// Whether an extent is below the guarantee (`on_outage = "degrade"`).
    pub(crate) below: bool,
    /// Shards of the extents that are still on their way.
    pub(crate) stragglers: Vec<(BlobRow, Pending)>,
}

impl WrittenPart {
    /// Lets the last shards arrive, once the catalog knows the extents.
    pub(crate) fn note_stragglers(self, shared: &Arc<Shared>) {
        for (row, rest) in self.stragglers {
            note_stragglers(shared, row, rest);
        }
    }

    /// Takes back, in the background, what the sites have of it. What they keep is garbage that
    /// collection finds.
    pub(crate) fn discard(self, shared: &Arc<Shared>) {
        if self.extents.is_empty() {
            return;
        }
        let fleet = Arc::clone(&shared.fleet);
        shared.ports.runtime.spawn(Box::pin(async move {
            for (_, pending) in self.stragglers {
                pending.collect::<Vec<_>>().await;
            }
            for (extent, _hold) in self.extents.iter().zip(self.holds) {
                delete_shards(&fleet, &BlobName::Extent(extent.blob), &extent.sites).await;
            }
        }));
    }
}

/// Takes the plaintext of one part.
pub(crate) struct PartWriter {
    shared: Arc<Shared>,
    placement: Arc<Placement>,
    sealer: PartSealer,
    window: Window,
    open: Option<OpenExtent>,
    written: WrittenPart,
}

/// Stripes being filled: a buffer for each shard, and segment `s` of the window in shard `s % k`.
struct Window {
    buffers: Vec<BytesMut>,
    data: usize,
    /// Full segments.
    full: usize,
    /// Bytes of the segment that is being filled.
    partial: usize,
}

/// An extent whose shards are being sent.
struct OpenExtent {
    blob: BlobId,
    secret: BlobSecret,
    keys: BlobKeys,
    sites: Vec<havre_model::SiteId>,
    /// `None` for a shard that was given up.
    queues: Vec<Option<Queue>>,
    positions: Vec<usize>,
    pending: Pending,
    segments: u64,
    bytes: u64,
    hold: Hold,
}

impl Window {
    fn new(data: usize, total: usize) -> Self {
        Self { buffers: vec![BytesMut::new(); total], data, full: 0, partial: 0 }
    }

    /// The buffers, each cut to so many bytes, on their way to the sites; the window is empty.
    fn take(&mut self, shard_bytes: usize) -> Vec<Bytes> {
        (self.full, self.partial) = (0, 0);
        let taken = self.buffers.iter_mut().map(|buffer| {
            buffer.truncate(shard_bytes);
            std::mem::take(buffer).freeze()
        });
        taken.collect()
    }

    /// Makes each buffer so long at least, with zeros. Room for a whole window is reserved with the
    /// first stripe, and costs nothing until it is filled: most parts are shorter than a window.
    fn grow(&mut self, shard_bytes: usize) {
        for buffer in self.buffers.iter_mut().filter(|buffer| buffer.len() < shard_bytes) {
            if buffer.capacity() == 0 {
                *buffer = BytesMut::with_capacity(WINDOW_STRIPES * SLOT_BYTES + LAST_CHUNK_EXTRA);
            }
            buffer.resize(shard_bytes, 0);
        }
    }

    const fn segments_max(&self) -> usize {
        WINDOW_STRIPES * self.data
    }

    const fn is_empty(&self) -> bool {
        self.full == 0 && self.partial == 0
    }

    fn slot(&mut self, segment: usize) -> &mut [u8] {
        let at = segment / self.data * SLOT_BYTES;
        &mut self.buffers[segment % self.data][at..at + SEALED_SEGMENT_BYTES]
    }

    /// Copies as much of `bytes` as there is room for in the current segment; returns how much.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(SEGMENT_BYTES - self.partial);
        let from = self.partial;
        let segment = self.full;
        self.grow((segment / self.data + 1) * SLOT_BYTES);
        self.slot(segment)[from..from + taken].copy_from_slice(&bytes[..taken]);
        self.partial += taken;
        if self.partial == SEGMENT_BYTES {
            (self.full, self.partial) = (self.full + 1, 0);
        }
        taken
    }

    /// Seals every segment in its place; returns the sealed bytes of the window.
    fn seal(&mut self, sealer: &mut PartSealer, part_ends: bool) -> usize {
        let partial = self.partial;
        let count = self.full + usize::from(partial > 0);
        for segment in 0..count {
            let plain = if segment < self.full { SEGMENT_BYTES } else { partial };
            let last = part_ends && segment + 1 == count;
            sealer.seal_segment(last, &mut self.slot(segment)[..plain + TAG_BYTES]);
        }
        self.full * SEALED_SEGMENT_BYTES + if partial > 0 { partial + TAG_BYTES } else { 0 }
    }

    /// Cuts the last stripe of a blob, whose bytes stand in whole segments, into `k` equal chunks.
    fn level_last_stripe(&mut self, stripe: usize, bytes: usize, chunk_len: usize) {
        let mut stripe_bytes = vec![0; chunk_len * self.data];
        let mut filled = 0;
        for index in 0..self.data {
            let taken = (bytes - filled).min(SEALED_SEGMENT_BYTES);
            let at = stripe * SLOT_BYTES;
            stripe_bytes[filled..filled + taken]
                .copy_from_slice(&self.buffers[index][at..at + taken]);
            filled += taken;
        }
        for (index, chunk) in stripe_bytes.chunks_exact(chunk_len).enumerate() {
            let at = stripe * SLOT_BYTES;
            self.buffers[index][at..at + chunk_len].copy_from_slice(chunk);
        }
    }
}

impl PartWriter {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        placement: &Arc<Placement>,
        sealer: PartSealer,
    ) -> Self {
        let geometry = placement.policy.geometry();
        Self {
            shared: Arc::clone(shared),
            placement: Arc::clone(placement),
            sealer,
            window: Window::new(geometry.data(), geometry.total()),
            open: None,
            written: WrittenPart::default(),
        }
    }

    /// Takes plaintext.
    ///
    /// # Errors
    /// [`PutError::Unavailable`] when too few sites take the shards. The part is taken back when it
    /// is dropped.
    pub(crate) async fn push(&mut self, mut bytes: &[u8]) -> Result<(), PutError> {
        self.written.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            // A full window is flushed only when more follows: the last segment is sealed as the
            // last.
            if self.window.full == self.room() {
                self.flush(false).await?;
            }
            let taken = self.window.fill(bytes);
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Segments that the window may hold before it has to be flushed: an extent ends with its
    /// window.
    fn room(&self) -> usize {
        let in_extent = self.open.as_ref().map_or(0, |open| open.segments);
        let left = usize::try_from(EXTENT_SEGMENTS_MAX - in_extent).unwrap_or(usize::MAX);
        self.window.segments_max().min(left)
    }

    /// Plaintext taken so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.written.bytes
    }

    /// The end of the plaintext.
    ///
    /// # Errors
    /// As [`PartWriter::push`].
    pub(crate) async fn finish(mut self) -> Result<WrittenPart, PutError> {
        if !self.window.is_empty() {
            self.flush(true).await?;
        }
        Ok(std::mem::take(&mut self.written))
    }

    /// Seals, disperses and sends the window; ends the extent when it is full or the part ends.
    async fn flush(&mut self, part_ends: bool) -> Result<(), PutError> {
        if self.open.is_none() {
            self.open = Some(OpenExtent::begin(&self.shared, &self.placement)?);
        }
        let open = self.open.as_mut().expect("it was opened above");
        let sealed = self.window.seal(&mut self.sealer, part_ends);
        let segments = self.window.full + usize::from(self.window.partial > 0);
        let extent_ends = part_ends || open.segments + segments as u64 == EXTENT_SEGMENTS_MAX;
        let shard_bytes = self.disperse(sealed, extent_ends);
        let pieces = self.window.take(shard_bytes);
        let open = self.open.as_mut().expect("it was opened above");
        open.segments += segments as u64;
        open.bytes += sealed as u64;
        open.send(&self.shared, &self.placement, pieces).await?;
        if extent_ends {
            self.end_extent().await?;
        }
        Ok(())
    }

    /// Parity and the second lock, in place; returns the bytes of each shard's piece.
    fn disperse(&mut self, sealed: usize, extent_ends: bool) -> usize {
        let open = self.open.as_ref().expect("an extent is open while a window is sent");
        let code = &self.placement.code;
        let first = open.segments / self.window.data as u64;
        let stripe_bytes = self.window.data * SEALED_SEGMENT_BYTES;
        let stripes = sealed.div_ceil(stripe_bytes);
        let mut shard_bytes = 0;
        for stripe in 0..stripes {
            let last = extent_ends && stripe + 1 == stripes;
            let bytes = stripe_bytes.min(sealed - stripe * stripe_bytes);
            let chunk_len =
                if last { bytes.div_ceil(self.window.data) } else { EXTENT_CHUNK_BYTES };
            let mut slot_len = chunk_len + TAG_BYTES;
            let mut data_len = None;
            if last {
                self.window.level_last_stripe(stripe, bytes, chunk_len);
                slot_len += LAST_CHUNK_EXTRA;
                data_len = Some(u32::try_from(bytes).expect("a stripe is below 4 GiB"));
            }
            let at = stripe * SLOT_BYTES;
            self.window.grow(at + slot_len);
            let mut slots: Vec<&mut [u8]> = self
                .window
                .buffers
                .iter_mut()
                .map(|buffer| &mut buffer[at..at + slot_len])
                .collect();
            open.keys.seal_stripe(code, first + stripe as u64, data_len, &mut slots);
            shard_bytes = at + slot_len;
        }
        shard_bytes
    }

    /// Waits until the extent's shards meet the guarantee.
    async fn end_extent(&mut self) -> Result<(), PutError> {
        let open = self.open.take().expect("an extent is open when it ends");
        let OpenExtent { blob, secret, sites, queues, pending, bytes, hold, .. } = open;
        for queue in queues.into_iter().flatten() {
            queue.end();
        }
        let policy = &self.placement.policy;
        let settled = settle(policy, &self.shared.ports, pending, "extent").await;
        let geometry = policy.geometry();
        let stored = settled.stored;
        let extent = Extent { blob, secret, geometry, bytes, sites, stored };
        if !settled.rest.is_empty() {
            self.written.stragglers.push((BlobRow::from_extent(&extent), settled.rest));
        }
        self.written.extents.push(extent);
        self.written.holds.push(hold);
        match (settled.verdict, policy.on_outage()) {
            (Verdict::Within, _) => Ok(()),
            (Verdict::Below, OnOutage::Degrade) => {
                self.written.below = true;
                Ok(())
            }
            _ => Err(too_few(stored.count_ones() as usize, geometry.total())),
        }
    }
}

impl Drop for PartWriter {
    /// A part that was not finished (an error, a client that went away) is taken back.
    fn drop(&mut self) {
        let mut written = std::mem::take(&mut self.written);
        // Dropping the queues of an extent that did not end makes its senders abort.
        if let Some(OpenExtent { blob, secret, sites, pending, hold, bytes, .. }) = self.open.take()
        {
            let geometry = self.placement.policy.geometry();
            let extent = Extent { blob, secret, geometry, bytes, sites, stored: 0 };
            written.stragglers.push((BlobRow::from_extent(&extent), pending));
            written.extents.push(extent);
            written.holds.push(hold);
        }
        written.discard(&self.shared);
    }
}

/// The way to one site for one shard.
struct Queue {
    pieces: mpsc::Sender<Bytes>,
    /// Set when the shard is complete: a queue that closes without it is a shard given up.
    complete: Arc<AtomicBool>,
}

impl Queue {
    fn end(self) {
        self.complete.store(true, Ordering::Release);
    }
}

/// Sends one shard, piece by piece.
async fn send_shard(
    fleet: Arc<Fleet>,
    position: usize,
    permit: Permit,
    name: BlobName,
    mut pieces: mpsc::Receiver<Bytes>,
    complete: Arc<AtomicBool>,
) -> Result<(), SiteError> {
    let mut writer = fleet.site(position).create(permit, &name, None).await?;
    while let Some(piece) = pieces.recv().await {
        writer.write(piece).await?;
    }
    if complete.load(Ordering::Acquire) {
        return writer.finish().await;
    }
    let error = given_up(fleet.site(position).id());
    writer.abort().await;
    Err(error)
}

impl OpenExtent {
    fn begin(shared: &Arc<Shared>, placement: &Placement) -> Result<Self, PutError> {
        let policy = &placement.policy;
        let geometry = policy.geometry();
        let blob = BlobId::from_bytes(shared.ports.random());
        let hold = shared.in_flight.hold(blob);
        let secret = BlobSecret::from_bytes(shared.ports.random());
        let keys = BlobKeys::new(&secret, blob, geometry, EXTENT_CHUNK_BYTES);
        let permits = policy
            .place(&shared.fleet.placing(blob), shared.fleet.closed(), blob)
            .map_err(|error| PutError::Unavailable(error.to_string()))?;
        let sites = permits.iter().map(Permit::site).collect();
        let (mut queues, mut positions) = (Vec::new(), Vec::new());
        let pending = Pending::new();
        for (permit, header) in permits.into_iter().zip(keys.headers(&secret)) {
            let (position, _) = shared
                .fleet
                .by_id(permit.site())
                .ok_or_else(|| PutError::Internal("a permit for an unknown site".into()))?;
            let index = permit.index();
            let (pieces, receiver) = mpsc::channel(SITE_QUEUE_MAX);
            // The header is the first piece; the queue is empty, so there is room.
            let _ = pieces.try_send(header);
            let complete = Arc::new(AtomicBool::new(false));
            let (fleet, done) = (Arc::clone(&shared.fleet), Arc::clone(&complete));
            let (report, outcome) = oneshot::channel();
            shared.ports.runtime.spawn(Box::pin(async move {
                let name = BlobName::Extent(blob);
                let sent = send_shard(fleet, position, permit, name, receiver, done).await;
                // The writer of the part may be gone; then nobody needs to know.
                let _ = report.send(sent);
            }));
            let site = shared.fleet.site(position).id();
            pending.push(
                outcome
                    .map(move |sent| {
                        let result = sent.unwrap_or_else(|_| Err(given_up(site)));
                        Outcome { index, position, result }
                    })
                    .boxed(),
            );
            queues.push(Some(Queue { pieces, complete }));
            positions.push(position);
        }
        Ok(Self {
            blob,
            secret,
            keys,
            sites,
            queues,
            positions,
            pending,
            segments: 0,
            bytes: 0,
            hold,
        })
    }

    /// Hands one window to the sites. A site that holds the others up for too long is given up.
    async fn send(
        &mut self,
        shared: &Shared,
        placement: &Placement,
        pieces: Vec<Bytes>,
    ) -> Result<(), PutError> {
        let policy = &placement.policy;
        let mut taken = SiteSet::EMPTY;
        let mut sends: FuturesUnordered<_> = self
            .queues
            .iter()
            .zip(pieces)
            .zip(&self.positions)
            .filter_map(|((queue, piece), position)| {
                let queue = queue.as_ref()?;
                Some(async move { (*position, queue.pieces.send(piece).await.is_ok()) })
            })
            .collect();
        let mut patience = None;
        while !sends.is_empty() {
            let next = sends.next();
            let sent = if policy.acknowledges(taken) == Acknowledgement::Within {
                let wait =
                    patience.take().unwrap_or_else(|| shared.ports.runtime.sleep(LAGGARD_WAIT_MAX));
                match future::select(next, wait).await {
                    Either::Left((sent, wait)) => {
                        patience = Some(wait);
                        sent
                    }
                    Either::Right(_) => break,
                }
            } else {
                next.await
            };
            if let Some((position, true)) = sent {
                taken = taken.with(position);
            }
        }
        drop(sends);
        for (queue, position) in self.queues.iter_mut().zip(&self.positions) {
            if !taken.contains(*position) && queue.take().is_some() {
                tracing::warn!(position, "a site was left behind while an extent was sent");
            }
        }
        match (policy.acknowledges(taken), policy.on_outage()) {
            (Acknowledgement::Within, _) | (Acknowledgement::Below { .. }, OnOutage::Degrade) => {
                Ok(())
            }
            _ => Err(too_few(taken.len(), policy.geometry().total())),
        }
    }
}

fn too_few(stored: usize, total: usize) -> PutError {
    PutError::Unavailable(format!("{stored} of {total} shards could be stored"))
}

fn given_up(site: havre_model::SiteId) -> SiteError {
    let detail = "the shard was given up before its end";
    SiteError::new(SiteErrorKind::Unreachable, site, Operation::Write, detail)
}
