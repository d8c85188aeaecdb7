//! Reads stripes back: data chunks first, parity when a site fails, lies or is slow.
//!
//! **Invariant.** Only chunks that opened under the blob's keys are used (I4, I9): a site that lies
//! is a site that is missing, and is quarantined for that blob. Any `k` honest sites suffice.
//!
//! **Deliberately absent.** The first lock: what is returned is sealed segments or sealed records.
//!
//! **Crash.** Nothing is written but the catalog's note that a shard is bad.

use crate::blob::{BlobHandle, LAST_CHUNK_EXTRA};
use crate::error::ReadError;
use crate::fanout::bit;
use crate::shared::Shared;
use bytes::BytesMut;
use futures::future::{self, BoxFuture, Either};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use havre_codec::{SHARD_HEADER_BYTES, shard};
use havre_model::limits::TAG_BYTES;
use havre_model::{ShardIndex, SiteSet};
use havre_sites::{Fleet, Operation, SiteError, SiteErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of the time after which one more site is asked: a multiple of the site's own p95 within
/// these.
const HEDGE_MIN: Duration = Duration::from_millis(10);
const HEDGE_MAX: Duration = Duration::from_secs(2);

/// Opened chunks of one shard, in place: chunk `j` begins at `j * (chunk bytes + tag)`.
pub(crate) struct Chunks {
    /// Stripe of the first chunk.
    pub(crate) first: u64,
    pub(crate) bytes: BytesMut,
    /// Bytes behind the last chunk's tag: the length that a shard's last chunk carries, if it was
    /// read.
    pub(crate) trailer: usize,
}

/// Which stripes are wanted of each data shard; none where the range is empty.
pub(crate) type Wanted = Vec<Range<u64>>;

struct Answer {
    /// `None` when a site turned out to have no shard of the blob.
    index: Option<ShardIndex>,
    /// Whether the site is noted for the shard.
    noted: bool,
    stripes: Range<u64>,
    result: Result<BytesMut, SiteError>,
}

/// One window of a blob on its way.
struct Gathering<'a> {
    shared: &'a Shared,
    blob: &'a Arc<BlobHandle>,
    /// The stripes that the wanted ranges lie in.
    stripes: Range<u64>,
    wanted: &'a Wanted,
    pending: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// What opened, by shard index.
    opened: Vec<Option<Chunks>>,
    /// Shards asked for all stripes.
    asked: u32,
    /// Shards that are on their way with all stripes.
    whole_pending: usize,
    /// Whether the sites were searched for shards that are not noted as stored.
    searched: bool,
}

impl Shared {
    /// The wanted chunks of the data shards, from whichever sites give them.
    ///
    /// # Errors
    /// [`ReadError::TooFewShards`] when fewer than `k` sites gave authentic chunks.
    pub(crate) async fn gather(
        &self,
        blob: &Arc<BlobHandle>,
        stripes: Range<u64>,
        wanted: &Wanted,
    ) -> Result<Vec<Option<Chunks>>, ReadError> {
        let total = blob.row.geometry.total();
        let mut gathering = Gathering {
            shared: self,
            blob,
            stripes,
            wanted,
            pending: FuturesUnordered::new(),
            opened: (0..total).map(|_| None).collect(),
            asked: 0,
            whole_pending: 0,
            searched: false,
        };
        gathering.run().await
    }
}

impl Gathering<'_> {
    async fn run(&mut self) -> Result<Vec<Option<Chunks>>, ReadError> {
        if !self.ask_wanted() {
            self.ask_others(self.needed());
        }
        let mut hedge = self.shared.ports.runtime.sleep(self.hedge_after());
        loop {
            if self.complete() {
                return Ok(self.finish());
            }
            if self.decodable() {
                self.reconstruct()?;
                return Ok(self.finish());
            }
            if self.pending.is_empty() {
                if !self.ask_others(self.missing()) {
                    self.search();
                }
                if self.pending.is_empty() {
                    return Err(self.too_few());
                }
            }
            match future::select(self.pending.next(), hedge).await {
                Either::Left((Some(answer), later)) => {
                    hedge = later;
                    if !self.take(answer) {
                        self.ask_others(self.needed());
                    }
                }
                Either::Left((None, later)) => hedge = later,
                Either::Right(_) => {
                    metrics::counter!("havre_reads_hedged_total").increment(1);
                    if !self.ask_others(self.missing()) {
                        self.search();
                    }
                    hedge = self.shared.ports.runtime.sleep(HEDGE_MAX);
                }
            }
        }
    }

    /// Hands out what was opened, each shard from its first wanted stripe on.
    fn finish(&mut self) -> Vec<Option<Chunks>> {
        let mut opened = std::mem::take(&mut self.opened);
        let slot = self.blob.row.chunk_bytes + TAG_BYTES;
        for (chunks, wanted) in opened.iter_mut().zip(self.wanted) {
            if let Some(chunks) = chunks
                && chunks.first < wanted.start
            {
                drop(chunks.bytes.split_to(small(wanted.start - chunks.first) * slot));
                chunks.first = wanted.start;
            }
        }
        opened
    }

    fn data(&self) -> usize {
        self.blob.row.geometry.data()
    }

    /// Whether everything wanted is there without any decoding.
    fn complete(&self) -> bool {
        self.wanted
            .iter()
            .zip(&self.opened)
            .all(|(range, chunks)| range.is_empty() || chunks.is_some())
    }

    fn whole(&self) -> impl Iterator<Item = (usize, &Chunks)> {
        self.opened.iter().enumerate().filter_map(|(index, chunks)| {
            let chunks = chunks.as_ref()?;
            let whole = index >= self.data()
                || (chunks.first == self.stripes.start && self.spans_window(chunks));
            whole.then_some((index, chunks))
        })
    }

    /// Whether the chunks go on to the end of the window.
    fn spans_window(&self, chunks: &Chunks) -> bool {
        let layout = &self.blob.layout;
        let first = layout.sealed_chunk_range(self.stripes.start).start;
        let end = layout.sealed_chunk_range(self.stripes.end - 1).end;
        chunks.bytes.len() as u64 == end - first
    }

    fn decodable(&self) -> bool {
        self.whole().count() >= self.data()
    }

    /// How many more whole shards a decode needs.
    fn missing(&self) -> usize {
        self.data().saturating_sub(self.whole().count())
    }

    /// How many more have to be asked for a decode, counting on those that are on their way.
    fn needed(&self) -> usize {
        self.missing().saturating_sub(self.whole_pending)
    }

    fn hedge_after(&self) -> Duration {
        let positions = self.blob.positions.iter().take(self.data()).flatten();
        let slowest = positions.map(|at| self.shared.fleet.site(*at).p95(Operation::Read)).max();
        slowest.unwrap_or(HEDGE_MAX).saturating_mul(2).clamp(HEDGE_MIN, HEDGE_MAX)
    }

    fn usable(&self, index: ShardIndex) -> bool {
        self.blob.positions[index.get()].is_some() && self.blob.row.stored & bit(index) != 0
    }

    /// Asks for what is wanted, where it should be; false when some of it is known to be elsewhere
    /// or gone.
    fn ask_wanted(&mut self) -> bool {
        let mut all = true;
        for index in self.blob.row.geometry.indices().take(self.data()) {
            let range = self.wanted[index.get()].clone();
            if range.is_empty() {
                continue;
            }
            if self.usable(index) {
                self.ask(index, range);
            } else {
                all = false;
            }
        }
        all
    }

    /// Asks up to `count` more shards for all stripes of the window, healthy sites first; false
    /// when there was none to ask.
    fn ask_others(&mut self, count: usize) -> bool {
        let rank = self.shared.fleet.ranking();
        let order = |index: &ShardIndex| {
            let position = self.blob.positions[index.get()];
            let place = position.and_then(|at| rank.iter().position(|ranked| *ranked == at));
            place.unwrap_or(usize::MAX)
        };
        let mut candidates: Vec<ShardIndex> = self
            .blob
            .row
            .geometry
            .indices()
            .filter(|index| self.asked & bit(*index) == 0)
            .filter(|index| self.usable(*index))
            .collect();
        candidates.sort_by_key(order);
        candidates.truncate(count);
        let any = !candidates.is_empty();
        for index in candidates {
            self.ask(index, self.stripes.clone());
        }
        any
    }

    /// Asks every site that is not noted for a shard whether it has one, once: the note may be old,
    /// and where a site had which shard that was away during a recovery is only guessed.
    fn search(&mut self) {
        if std::mem::replace(&mut self.searched, true) {
            return;
        }
        let indices = self.blob.row.geometry.indices();
        let noted: SiteSet = indices
            .filter(|index| self.usable(*index))
            .filter_map(|index| self.blob.positions[index.get()])
            .collect();
        for position in (0..self.shared.fleet.len()).filter(|at| !noted.contains(*at)) {
            self.whole_pending += 1;
            let stripes = self.stripes.clone();
            let range = self.range(&stripes);
            let (fleet, blob) = (Arc::clone(&self.shared.fleet), Arc::clone(self.blob));
            self.pending.push(
                async move {
                    let found = shard_at(&fleet, &blob, position).await;
                    let (index, result) = match found {
                        Ok(index) => {
                            (Some(index), fleet.site(position).read(&blob.row.name, range).await)
                        }
                        Err(error) => (None, Err(error)),
                    };
                    Answer { index, noted: false, stripes, result }
                }
                .boxed(),
            );
        }
    }

    /// Where in a shard's file the stripes are.
    fn range(&self, stripes: &Range<u64>) -> Range<u64> {
        let first = self.blob.layout.sealed_chunk_range(stripes.start).start;
        first..self.blob.layout.sealed_chunk_range(stripes.end - 1).end
    }

    fn ask(&mut self, index: ShardIndex, stripes: Range<u64>) {
        if stripes == self.stripes {
            self.asked |= bit(index);
            self.whole_pending += 1;
        }
        let position = self.blob.positions[index.get()].expect("only placed shards are asked");
        let range = self.range(&stripes);
        let (fleet, name) = (Arc::clone(&self.shared.fleet), self.blob.row.name);
        self.pending.push(
            async move {
                let result = fleet.site(position).read(&name, range).await;
                Answer { index: Some(index), noted: true, stripes, result }
            }
            .boxed(),
        );
    }

    /// Opens what a site answered; false when it is of no use.
    fn take(&mut self, answer: Answer) -> bool {
        let Answer { index, noted, stripes, result } = answer;
        if stripes == self.stripes {
            self.whole_pending -= 1;
        }
        let Some(index) = index else { return false };
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(error) => {
                let bad = matches!(error.kind, SiteErrorKind::Missing | SiteErrorKind::Invalid);
                if bad && noted {
                    self.quarantine(index, &error.to_string());
                }
                return false;
            }
        };
        let Some(bytes) = self.open(index, &stripes, bytes) else {
            if noted {
                self.quarantine(index, "a chunk is not authentic");
            }
            return false;
        };
        let ends = stripes.end == self.blob.layout.stripes();
        let trailer = if ends { LAST_CHUNK_EXTRA } else { 0 };
        let opened = &mut self.opened[index.get()];
        // A shard that was asked for a part, and then for all, may answer in either order.
        if opened.as_ref().is_none_or(|there| there.bytes.len() < bytes.len()) {
            *opened = Some(Chunks { first: stripes.start, bytes, trailer });
        }
        true
    }

    fn open(
        &self,
        index: ShardIndex,
        stripes: &Range<u64>,
        mut bytes: BytesMut,
    ) -> Option<BytesMut> {
        let last_stripe = self.blob.layout.stripes() - 1;
        let mut rest = &mut bytes[..];
        for stripe in stripes.clone() {
            let last = stripe == last_stripe;
            let chunk_len = self.blob.layout.chunk_len(stripe);
            let sealed = chunk_len + TAG_BYTES + if last { LAST_CHUNK_EXTRA } else { 0 };
            let (slot, later) = rest.split_at_mut_checked(sealed)?;
            let opened = self.blob.keys.open_chunk(index, stripe, last, slot).ok()?;
            if opened.chunk_len != chunk_len {
                return None;
            }
            rest = later;
        }
        Some(bytes)
    }

    /// Notes that a shard is bad or gone: it becomes a repair job and is not asked again first.
    fn quarantine(&self, index: ShardIndex, reason: &str) {
        let blob = self.blob.row.name.blob();
        let site = self.blob.row.sites[index.get()];
        let shard = index.get();
        tracing::warn!(%blob, %site, shard, reason, "a shard is quarantined");
        metrics::counter!("havre_shards_quarantined_total").increment(1);
        if self.blob.row.stored & bit(index) == 0 {
            return;
        }
        self.shared.blobs.remove(&self.blob.row.named());
        let catalog = Arc::clone(&self.shared.catalog);
        let (handle, cleared) = (Arc::clone(self.blob), bit(index));
        self.shared.ports.runtime.spawn(Box::pin(async move {
            // Where it was when this read began: a shard that moved since is not bad.
            if let Err(error) = catalog.note_shards(blob, &handle.row.sites, 0, cleared).await {
                tracing::warn!(%error, "a quarantined shard could not be noted");
            }
        }));
    }

    /// Decodes the wanted data chunks that are missing from `k` whole shards.
    fn reconstruct(&mut self) -> Result<(), ReadError> {
        let geometry = self.blob.row.geometry;
        let missing: Vec<ShardIndex> = geometry
            .indices()
            .take(self.data())
            .filter(|index| !self.wanted[index.get()].is_empty())
            .filter(|index| self.opened[index.get()].is_none())
            .collect();
        let mut rebuilt: Vec<Chunks> = missing
            .iter()
            .map(|_| Chunks { first: self.stripes.start, bytes: BytesMut::new(), trailer: 0 })
            .collect();
        let sources: Vec<(ShardIndex, &Chunks)> = self
            .whole()
            .take(self.data())
            .filter_map(|(index, chunks)| Some((geometry.indices().nth(index)?, chunks)))
            .collect();
        let mut offset = 0;
        for stripe in self.stripes.clone() {
            let chunk_len = self.blob.layout.chunk_len(stripe);
            let available: Vec<(ShardIndex, &[u8])> = sources
                .iter()
                .map(|(index, chunks)| (*index, &chunks.bytes[offset..offset + chunk_len]))
                .collect();
            for chunks in &mut rebuilt {
                chunks.bytes.resize(offset + chunk_len + TAG_BYTES, 0);
            }
            let mut outputs: Vec<&mut [u8]> = rebuilt
                .iter_mut()
                .map(|chunks| &mut chunks.bytes[offset..offset + chunk_len])
                .collect();
            self.blob.code.reconstruct_data(&available, &missing, &mut outputs);
            offset += chunk_len + TAG_BYTES;
        }
        for (index, chunks) in missing.iter().zip(rebuilt) {
            self.opened[index.get()] = Some(chunks);
        }
        metrics::counter!("havre_reads_reconstructed_total").increment(1);
        Ok(())
    }

    fn too_few(&self) -> ReadError {
        ReadError::TooFewShards { found: self.whole().count(), needed: self.data() }
    }
}

/// Which shard of the blob a site has, by the header that its file begins with.
///
/// # Errors
/// When the site does not answer, or has no shard of the blob.
pub(crate) async fn shard_at(
    fleet: &Fleet,
    blob: &BlobHandle,
    position: usize,
) -> Result<ShardIndex, SiteError> {
    let site = fleet.site(position);
    let bytes = site.read(&blob.row.name, 0..SHARD_HEADER_BYTES as u64).await?;
    let header = shard::parse_header(&bytes, blob.row.name.blob());
    let header = header.ok().filter(|header| shard::verify_header(&blob.keys, header));
    header.map(|header| header.index()).ok_or_else(|| {
        let detail = "the shard's header is not authentic";
        SiteError::new(SiteErrorKind::Invalid, site.id(), Operation::Read, detail)
    })
}

impl Shared {
    /// `range` of a blob's bytes, in one piece: for records in packs.
    ///
    /// # Errors
    /// See [`Shared::gather`].
    pub(crate) async fn blob_bytes(
        &self,
        blob: &Arc<BlobHandle>,
        range: Range<u64>,
    ) -> Result<BytesMut, ReadError> {
        if range.start >= range.end || range.end > blob.row.bytes {
            return Err(ReadError::Rejected);
        }
        let layout = &blob.layout;
        let stripes = layout.stripes_of(range.clone());
        let wanted = wanted_chunks(blob, &stripes, &range);
        let chunks = self.gather(blob, stripes.clone(), &wanted).await?;
        let length = usize::try_from(range.end - range.start).map_err(|_| ReadError::Rejected)?;
        let mut bytes = BytesMut::with_capacity(length);
        for stripe in stripes {
            let stripe_range = layout.stripe_range(stripe);
            let chunk_len = layout.chunk_len(stripe) as u64;
            for (index, chunks) in chunks.iter().take(blob.row.geometry.data()).enumerate() {
                let at = stripe_range.start + index as u64 * chunk_len;
                let from = range.start.max(at);
                let to = range.end.min(at + chunk_len).min(stripe_range.end);
                if from >= to {
                    continue;
                }
                let chunks = chunks.as_ref().ok_or(ReadError::Rejected)?;
                let chunk = chunk_of(blob, chunks, stripe);
                bytes.extend_from_slice(&chunk[small(from - at)..small(to - at)]);
            }
        }
        Ok(bytes)
    }
}

fn small(value: u64) -> usize {
    usize::try_from(value).expect("an offset within a chunk fits usize")
}

/// One opened chunk among those of its shard. Only the last chunk differs in length, and it stands
/// last.
fn chunk_of<'a>(blob: &BlobHandle, chunks: &'a Chunks, stripe: u64) -> &'a [u8] {
    let at = small(stripe - chunks.first) * (blob.row.chunk_bytes + TAG_BYTES);
    &chunks.bytes[at..at + blob.layout.chunk_len(stripe)]
}

/// The stripes of each data shard that hold a part of `range`.
fn wanted_chunks(blob: &BlobHandle, stripes: &Range<u64>, range: &Range<u64>) -> Wanted {
    (0..blob.row.geometry.data() as u64)
        .map(|index| {
            let holds = |stripe: &u64| {
                let chunk_len = blob.layout.chunk_len(*stripe) as u64;
                let at = blob.layout.stripe_range(*stripe).start + index * chunk_len;
                at < range.end && at + chunk_len > range.start
            };
            let first = stripes.clone().find(holds);
            let last = stripes.clone().rev().find(holds);
            match (first, last) {
                (Some(first), Some(last)) => first..last + 1,
                _ => stripes.start..stripes.start,
            }
        })
        .collect()
}
