//! Makes shards of a blob anew out of `k` others, a window of stripes at a time.
//!
//! **Invariant.** What is stored was computed from chunks that are authentic, for this place; a
//! shard made anew is the shard that was lost, byte for byte. Memory is bounded by a window of
//! `n` shards, whatever the blob's length (I8).
//!
//! **Deliberately absent.** Which shards to make and whether they may go where ([`crate::repair`]
//! and `policy`); what the bytes mean: this is the second lock only.
//!
//! **Crash.** A shard is at its site whole or not at all; one that is there and not noted is put
//! again, which changes nothing.

use crate::sources;
use crate::whereabouts::{Shown, show};
use bytes::{Bytes, BytesMut};
use futures::future;
use havre_catalog::BlobRow;
use havre_codec::{BlobKeys, ErasureCode, Layout, SHARD_HEADER_BYTES, shard};
use havre_model::limits::SHARDS_PER_BLOB_MAX;
use havre_model::{BlobName, ShardIndex, SiteId};
use havre_policy::Permit;
use havre_sites::{Fleet, Guarded, ShardWriter, SiteError, SiteErrorKind};
use std::ops::Range;

/// Bytes of one shard that are read, decoded and sent together.
const WINDOW_BYTES: usize = 512 * 1024;
/// Shards up to this size are put in one request.
const PUT_BYTES_MAX: u64 = 1024 * 1024;

/// A shard to read from.
pub(crate) struct Source<'a> {
    pub(crate) index: ShardIndex,
    pub(crate) site: &'a Guarded,
    /// Whether its site takes no shards any more.
    pub(crate) closed: bool,
}

/// A shard to make.
pub(crate) struct Target<'a> {
    pub(crate) index: ShardIndex,
    pub(crate) site: &'a Guarded,
    pub(crate) permit: Permit,
}

/// What became of a blob's shards.
#[derive(Debug, Default)]
pub(crate) struct Rebuilt {
    /// Bits of those that are stored now.
    pub(crate) stored: u32,
    /// Bits of those that were read and found bad or gone.
    pub(crate) bad: u32,
    /// Bits of those whose place another content has.
    pub(crate) taken: u32,
    /// Bits of those that a site did not take.
    pub(crate) failed: u32,
    /// Bytes that were read from the sites.
    pub(crate) bytes_read: u64,
    /// Those of them that closed sites had to give.
    pub(crate) bytes_read_closed: u64,
    /// Whether fewer than `k` shards could be read.
    pub(crate) too_few: bool,
}

pub(crate) const fn bit(index: ShardIndex) -> u32 {
    1 << index.get()
}

/// Makes the shards of `targets` out of `sources`, of which the first are read first.
pub(crate) async fn rebuild(
    row: &BlobRow,
    sources: Vec<Source<'_>>,
    targets: Vec<Target<'_>>,
) -> Rebuilt {
    let geometry = row.geometry;
    let mut done = Rebuilt::default();
    let Some(layout) = Layout::checked(geometry, row.chunk_bytes, row.bytes) else {
        done.too_few = true;
        return done;
    };
    let mut reader = Reader::new(row, layout, sources);
    let code = ErasureCode::new(geometry);
    let mut sinks = Vec::with_capacity(targets.len());
    for target in targets {
        let header = reader.keys.header_for(&row.secret, target.index);
        sinks.push(Sink::begin(row.name, layout.shard_bytes(), target, header).await);
    }
    let wanted: Vec<ShardIndex> = sinks.iter().map(|sink| sink.index).collect();
    let window = (WINDOW_BYTES / row.chunk_bytes).max(1) as u64;
    let mut first = 0;
    while first < layout.stripes() {
        let stripes = first..layout.stripes().min(first + window);
        first = stripes.end;
        let Some(chunks) = reader.read(&stripes, &mut done).await else {
            done.too_few = true;
            future::join_all(sinks.into_iter().map(Sink::abort)).await;
            return done;
        };
        let made = reader.make(&code, &stripes, &chunks, &wanted);
        let mut writes = Vec::with_capacity(sinks.len());
        for (sink, bytes) in sinks.iter_mut().zip(made) {
            writes.push(sink.write(bytes));
        }
        future::join_all(writes).await;
        if sinks.iter().all(|sink| sink.state.is_err()) {
            break;
        }
    }
    let ends = future::join_all(sinks.into_iter().map(Sink::finish)).await;
    for (index, end) in wanted.into_iter().zip(ends) {
        match end {
            Ok(()) => done.stored |= bit(index),
            Err(error) if error.kind == SiteErrorKind::Exists => done.taken |= bit(index),
            Err(error) => {
                tracing::debug!(%error, "a shard could not be made anew");
                done.failed |= bit(index);
            }
        }
    }
    done
}

/// A site has something else under the blob's name where a shard is missing: bytes that were found
/// bad. They go, and the shard is made once more, where `permit` permits it.
pub(crate) async fn retake(
    row: &BlobRow,
    fleet: &Fleet,
    rebuilt: &mut Rebuilt,
    permit: impl Fn(ShardIndex) -> Option<Permit>,
) {
    let mut targets = Vec::new();
    for index in row.geometry.indices().filter(|index| rebuilt.taken & bit(*index) != 0) {
        let Some((_, site)) = fleet.by_id(row.sites[index.get()]) else { continue };
        // A shard of another index is none that is bad: where shards lie that were away during a
        // recovery is a guess.
        match show(site, row).await {
            Shown::NoAnswer => continue,
            Shown::Shard(other) if other != index => continue,
            _ => {}
        }
        let Some(permit) = permit(index) else { continue };
        if site.delete(&row.name).await.is_ok() {
            targets.push(Target { index, site, permit });
        }
    }
    let again = rebuild(row, sources(fleet, row), targets).await;
    rebuilt.stored |= again.stored;
    rebuilt.bad |= again.bad;
    rebuilt.bytes_read += again.bytes_read;
}

/// Opened chunks of one shard, one behind the other in the places that the layout gives them.
type Opened = (ShardIndex, BytesMut);

pub(crate) struct Reader<'a> {
    name: BlobName,
    layout: Layout,
    keys: BlobKeys,
    /// `None` for one that was found bad or did not answer.
    sources: Vec<Option<Source<'a>>>,
    /// The next stripe of [`Reader::next_window`].
    next: u64,
    code: ErasureCode,
}

impl<'a> Reader<'a> {
    /// Reads a blob from these shards, of which the first are read first.
    pub(crate) fn new(row: &BlobRow, layout: Layout, sources: Vec<Source<'a>>) -> Self {
        let keys = BlobKeys::new(&row.secret, row.blob(), row.geometry, row.chunk_bytes);
        let (sources, code) =
            (sources.into_iter().map(Some).collect(), ErasureCode::new(row.geometry));
        Self { name: row.name, layout, keys, sources, next: 0, code }
    }

    /// The blob's next bytes, a window of stripes; `None` behind the last.
    ///
    /// # Errors
    /// When fewer than `k` shards give authentic chunks.
    pub(crate) async fn next_window(&mut self) -> Result<Option<BytesMut>, &'static str> {
        if self.next >= self.layout.stripes() {
            return Ok(None);
        }
        let window = (WINDOW_BYTES / self.layout.chunk_bytes()).max(1) as u64;
        let stripes = self.next..self.layout.stripes().min(self.next + window);
        self.next = stripes.end;
        let mut done = Rebuilt::default();
        let chunks = self.read(&stripes, &mut done).await.ok_or("too few shards can be read")?;
        let mut bytes = BytesMut::new();
        for stripe in stripes.clone() {
            self.stripe(stripe, &stripes, &chunks, &mut bytes);
        }
        Ok(Some(bytes))
    }

    /// Adds the bytes of one stripe.
    fn stripe(&self, stripe: u64, stripes: &Range<u64>, chunks: &[Opened], bytes: &mut BytesMut) {
        let (chunk_len, from) = (self.layout.chunk_len(stripe), self.place(stripes, stripe).start);
        let chunk = from..from + chunk_len;
        let available: Vec<(ShardIndex, &[u8])> =
            chunks.iter().map(|(index, bytes)| (*index, &bytes[chunk.clone()])).collect();
        let data: Vec<ShardIndex> =
            self.layout.geometry().indices().take(self.layout.geometry().data()).collect();
        let missing: Vec<ShardIndex> = data
            .iter()
            .filter(|index| available.iter().all(|(there, _)| there != *index))
            .copied()
            .collect();
        let mut made: Vec<BytesMut> = missing.iter().map(|_| BytesMut::zeroed(chunk_len)).collect();
        let mut out: [&mut [u8]; SHARDS_PER_BLOB_MAX] = Default::default();
        for (slot, bytes) in out.iter_mut().zip(&mut made) {
            *slot = &mut bytes[..];
        }
        if !missing.is_empty() {
            self.code.reconstruct(&available, &missing, &mut out[..missing.len()]);
        }
        let begin = bytes.len();
        for index in data {
            match missing.iter().position(|it| *it == index) {
                Some(at) => bytes.extend_from_slice(&made[at]),
                None => {
                    let there = available.iter().find(|(there, _)| *there == index);
                    bytes.extend_from_slice(there.expect("it is not missing").1);
                }
            }
        }
        // What the last stripe's chunks are padded with.
        bytes.truncate(begin + self.layout.stripe_len(stripe));
    }
}

impl Reader<'_> {
    /// `k` shards' chunks of these stripes, opened; `None` when there are not as many.
    async fn read(&mut self, stripes: &Range<u64>, done: &mut Rebuilt) -> Option<Vec<Opened>> {
        let data = self.layout.geometry().data();
        let range = self.range(stripes);
        let mut opened: Vec<Opened> = Vec::with_capacity(data);
        loop {
            let mut asked = Vec::with_capacity(data);
            let mut reads = Vec::with_capacity(data);
            for (at, source) in self.sources.iter().enumerate() {
                let Some(source) = source else { continue };
                let is_read = opened.iter().any(|(index, _)| *index == source.index);
                if !is_read && opened.len() + reads.len() < data {
                    asked.push((at, source.index, source.closed));
                    reads.push(source.site.read(&self.name, range.clone()));
                }
            }
            if reads.is_empty() {
                return None;
            }
            let answers = future::join_all(reads).await;
            for ((at, index, closed), answer) in asked.into_iter().zip(answers) {
                if let Ok(bytes) = &answer {
                    done.bytes_read += bytes.len() as u64;
                    done.bytes_read_closed += if closed { bytes.len() as u64 } else { 0 };
                }
                match answer.map(|bytes| self.open(index, stripes, bytes)) {
                    Ok(Some(chunks)) => {
                        opened.push((index, chunks));
                        continue;
                    }
                    Ok(None) => done.bad |= bit(index),
                    Err(error) => {
                        let gone = [SiteErrorKind::Missing, SiteErrorKind::Invalid];
                        if gone.contains(&error.kind) {
                            done.bad |= bit(index);
                        }
                    }
                }
                self.sources[at] = None;
            }
            if opened.len() == data {
                return Some(opened);
            }
        }
    }

    /// Where the stripes are in a shard's file.
    fn range(&self, stripes: &Range<u64>) -> Range<u64> {
        let first = self.layout.sealed_chunk_range(stripes.start).start;
        first..self.layout.sealed_chunk_range(stripes.end - 1).end
    }

    /// Where a stripe's chunk is in the bytes of a window.
    fn place(&self, stripes: &Range<u64>, stripe: u64) -> Range<usize> {
        let from = self.range(stripes).start;
        let range = self.layout.sealed_chunk_range(stripe);
        let at = |offset: u64| usize::try_from(offset - from).expect("within a window");
        at(range.start)..at(range.end)
    }

    fn open(
        &self,
        index: ShardIndex,
        stripes: &Range<u64>,
        mut bytes: BytesMut,
    ) -> Option<BytesMut> {
        for stripe in stripes.clone() {
            let slot = bytes.get_mut(self.place(stripes, stripe))?;
            let last = self.layout.is_last(stripe);
            let opened = self.keys.open_chunk(index, stripe, last, slot).ok()?;
            let fits = opened.chunk_len == self.layout.chunk_len(stripe)
                && opened.stripe_data_len == self.layout.last(stripe);
            if !fits {
                return None;
            }
        }
        Some(bytes)
    }

    /// The sealed chunks of the wanted shards.
    fn make(
        &self,
        code: &ErasureCode,
        stripes: &Range<u64>,
        chunks: &[Opened],
        wanted: &[ShardIndex],
    ) -> Vec<Bytes> {
        let len = self.place(stripes, stripes.end - 1).end;
        let mut made: Vec<BytesMut> = wanted.iter().map(|_| BytesMut::zeroed(len)).collect();
        for stripe in stripes.clone() {
            let place = self.place(stripes, stripe);
            let chunk_len = self.layout.chunk_len(stripe);
            let chunk = place.start..place.start + chunk_len;
            let available: Vec<(ShardIndex, &[u8])> =
                chunks.iter().map(|(index, bytes)| (*index, &bytes[chunk.clone()])).collect();
            let mut out: [&mut [u8]; SHARDS_PER_BLOB_MAX] = Default::default();
            for (slot, bytes) in out.iter_mut().zip(&mut made) {
                *slot = &mut bytes[chunk.clone()];
            }
            code.reconstruct(&available, wanted, &mut out[..wanted.len()]);
            for (index, bytes) in wanted.iter().zip(&mut made) {
                let last = self.layout.last(stripe);
                self.keys.seal_chunk(*index, stripe, last, &mut bytes[place.clone()]);
            }
        }
        made.into_iter().map(BytesMut::freeze).collect()
    }
}

/// A shard on its way to its site.
pub(crate) struct Sink<'a> {
    name: BlobName,
    index: ShardIndex,
    site: &'a Guarded,
    state: Result<State, SiteError>,
}

enum State {
    /// Small enough to be put at the end.
    Whole(Permit, BytesMut),
    Stream(Box<dyn ShardWriter>),
}

impl<'a> Sink<'a> {
    /// Why its site takes no more of it.
    pub(crate) fn error(&self) -> Option<String> {
        self.state.as_ref().err().map(ToString::to_string)
    }

    pub(crate) async fn begin(
        name: BlobName,
        shard_bytes: u64,
        target: Target<'a>,
        header: Bytes,
    ) -> Self {
        let Target { index, site, permit } = target;
        debug_assert_eq!(header.len(), SHARD_HEADER_BYTES);
        let state = if shard_bytes <= PUT_BYTES_MAX {
            Ok(State::Whole(permit, BytesMut::from(&header[..])))
        } else {
            match site.create(permit, &name, Some(shard_bytes)).await {
                Ok(mut writer) => writer.write(header).await.map(|()| State::Stream(writer)),
                Err(error) => Err(error),
            }
        };
        Self { name, index, site, state }
    }

    pub(crate) async fn write(&mut self, bytes: Bytes) {
        let written = match &mut self.state {
            Ok(State::Whole(_, shard)) => {
                shard.extend_from_slice(&bytes);
                Ok(())
            }
            Ok(State::Stream(writer)) => writer.write(bytes).await,
            Err(_) => return,
        };
        if let Err(error) = written {
            // Others go on without it.
            self.state = Err(error);
        }
    }

    pub(crate) async fn finish(self) -> Result<(), SiteError> {
        match self.state? {
            State::Whole(permit, shard) => self.site.put(permit, &self.name, shard.freeze()).await,
            State::Stream(writer) => writer.finish().await,
        }
    }

    pub(crate) async fn abort(self) {
        if let Ok(State::Stream(writer)) = self.state {
            writer.abort().await;
        }
    }
}

/// Whether a site gives the header and the last chunk of a shard back.
pub(crate) async fn reads_back(
    fleet: &Fleet,
    row: &BlobRow,
    index: ShardIndex,
    site: SiteId,
) -> bool {
    let Some((_, site)) = fleet.by_id(site) else { return false };
    let Some(layout) = Layout::checked(row.geometry, row.chunk_bytes, row.bytes) else {
        return false;
    };
    let keys = BlobKeys::new(&row.secret, row.blob(), row.geometry, row.chunk_bytes);
    let header = site.read(&row.name, 0..SHARD_HEADER_BYTES as u64).await;
    let header = header.ok().and_then(|bytes| shard::parse_header(&bytes, row.blob()).ok());
    let is_it = header
        .is_some_and(|header| header.index() == index && shard::verify_header(&keys, &header));
    let last = layout.stripes() - 1;
    let chunk = site.read(&row.name, layout.sealed_chunk_range(last)).await;
    is_it && chunk.is_ok_and(|mut chunk| keys.open_chunk(index, last, true, &mut chunk).is_ok())
}
