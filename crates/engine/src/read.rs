//! Reads an object's bytes back: windows of stripes, opened in place, in order.
//!
//! **Invariant.** Every byte was opened under the object's own key, at its own position, before it
//! leaves (I4); an error ends the stream, which is then shorter than promised, so the connection
//! must fail. A read holds a few windows of memory, or one stripe where too many hold windows
//! already: no reader waits for another (I8).
//!
//! **Deliberately absent.** Preconditions and ranges as HTTP has them (`server`), and which site to
//! ask ([`crate::gather`]).
//!
//! **Crash.** Nothing is written.

use crate::Engine;
use crate::blob::BlobHandle;
use crate::error::{EngineError, ReadError};
use crate::extent::WINDOW_STRIPES;
use crate::gather::{Chunks, Wanted};
use crate::inflight::Hold;
use crate::object::{Bucket, Object};
use crate::shared::Shared;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesOrdered};
use futures::{FutureExt, StreamExt, TryStreamExt};
use havre_catalog::PackPlace;
use havre_model::BlobId;
use havre_model::limits::{EXTENT_PLAIN_BYTES_MAX, SEALED_SEGMENT_BYTES, SEGMENT_BYTES, TAG_BYTES};
use havre_model::record::{self, Body, ObjectKey, ObjectRecord, Part, Record};
use havre_seal::{PartContext, PartOpener, RecordScope};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Windows that are read ahead of the client, where there is leave to.
const WINDOWS_AHEAD: usize = 2;
/// Stripes of a window that is read without leave to read ahead.
const NARROW_STRIPES: u64 = 1;
/// Stripes of the first window of a read: small, so that the first byte comes soon.
const FIRST_WINDOW_STRIPES: u64 = 2;

impl Engine {
    /// The object of this key; `None` when there is none or a delete marker hides it.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn head(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
    ) -> Result<Option<Object>, EngineError> {
        let Some(row) = self.shared.catalog.latest(bucket.id(), key).await? else {
            return Ok(None);
        };
        let place = row.place;
        Ok(row.into_object().map(|record| Object::new(record, place)))
    }

    /// The bytes of `range`, which must lie within the object. The stream ends after them, or with
    /// one error.
    #[must_use]
    pub fn read(
        &self,
        object: &Object,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, ReadError>> {
        let range = range.start..range.end.min(object.record.bytes);
        if range.start >= range.end {
            return stream::empty().boxed();
        }
        let shared = Arc::clone(&self.shared);
        match &object.record.body {
            Body::Inline => {
                let object = object.clone();
                async move { shared.inline_bytes(&object, range).await }.into_stream().boxed()
            }
            Body::Parts(_) => large(shared, Arc::clone(&object.record), range),
        }
    }
}

impl Shared {
    /// Bytes of an object that rides in its record.
    async fn inline_bytes(&self, object: &Object, range: Range<u64>) -> Result<Bytes, ReadError> {
        let record = &object.record;
        let error = match self.inline_bytes_at(object, object.place, range.clone()).await {
            Err(error) => error,
            read => return read,
        };
        // Since it was looked up, the record may have been carried into another pack.
        let row = self.catalog.version(record.bucket, &record.key, record.version).await?;
        match row.map(|row| row.place) {
            Some(place) if place != object.place => {
                self.inline_bytes_at(object, place, range).await
            }
            _ => Err(error),
        }
    }

    async fn inline_bytes_at(
        &self,
        object: &Object,
        place: PackPlace,
        range: Range<u64>,
    ) -> Result<Bytes, ReadError> {
        let _hold = self.in_flight.hold(place.blob);
        let blob = self.blob(place.blob).await?;
        let frame_range = place.offset..place.offset + u64::from(place.len);
        let sealed = self.blob_bytes(&blob, frame_range).await?;
        let scope = RecordScope::Bucket(object.record.tenant, object.record.bucket);
        let opened = self.keyring.open_record_in(scope, sealed);
        let bytes = opened.map_err(|_| ReadError::Rejected)?;
        let (sequenced, inline) = record::decode(&bytes).map_err(|_| ReadError::Rejected)?;
        // The catalog's answer and the record must speak of the same version.
        match sequenced.record {
            Record::Object(found)
                if found.version == object.record.version && found.key == object.record.key => {}
            _ => return Err(ReadError::Rejected),
        }
        let inline = bytes.slice_ref(inline);
        let (start, end) = (small(range.start)?, small(range.end)?);
        (end <= inline.len()).then(|| inline.slice(start..end)).ok_or(ReadError::Rejected)
    }
}

fn small(value: u64) -> Result<usize, ReadError> {
    usize::try_from(value).map_err(|_| ReadError::Rejected)
}

fn large(
    shared: Arc<Shared>,
    record: Arc<ObjectRecord>,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, ReadError>> {
    let planner = Planner::new(Arc::clone(&shared), record, range);
    let ahead = FuturesOrdered::new();
    let reading = Reading { shared, planner, ahead, planned: false, leave: None };
    stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(pieces)) => Some((Ok(pieces), Some(reading))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
    .try_flatten()
    .boxed()
}

/// A read on its way.
struct Reading {
    shared: Arc<Shared>,
    planner: Planner,
    /// Windows that are being read, in order.
    ahead: FuturesOrdered<BoxFuture<'static, Result<Vec<Bytes>, ReadError>>>,
    planned: bool,
    /// Leave to read ahead.
    leave: Option<OwnedSemaphorePermit>,
}

impl Reading {
    /// The bytes of the next window.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, ReadError> {
        if self.leave.is_none() {
            self.leave = self.shared.transfers.read_ahead();
        }
        let (windows, stripes) = match self.leave {
            Some(_) => (WINDOWS_AHEAD, WINDOW_STRIPES as u64),
            None => (1, NARROW_STRIPES),
        };
        while !self.planned && self.ahead.len() < windows {
            match self.planner.next_window(stripes).await? {
                Some(window) => {
                    let shared = Arc::clone(&self.shared);
                    let read = async move { window.read(&shared).await };
                    self.ahead.push_back(read.boxed());
                }
                None => self.planned = true,
            }
        }
        self.ahead.next().await.transpose()
    }
}

/// Cuts a range of an object into windows, one after the other.
struct Planner {
    shared: Arc<Shared>,
    record: Arc<ObjectRecord>,
    /// What is still to be planned, in bytes of the object.
    range: Range<u64>,
    /// The part that the range begins in, and where it begins in the object.
    part: usize,
    part_start: u64,
    opener: Option<Arc<PartOpener>>,
    extent: Option<(usize, Arc<BlobHandle>, Arc<Hold>)>,
    /// Whether a window was planned.
    begun: bool,
}

/// Segments of one extent that are read together.
struct Window {
    /// By what the object names the extent.
    named: BlobId,
    blob: Arc<BlobHandle>,
    opener: Arc<PartOpener>,
    /// Segments of the extent.
    segments: Range<u64>,
    /// Index in the part of the extent's first segment.
    first_segment: u64,
    /// Whether the last segment of `segments` is the last of the part.
    part_ends: bool,
    /// Plaintext bytes to drop at the front, and to keep after that.
    skip: usize,
    keep: usize,
    _hold: Arc<Hold>,
}

impl Planner {
    fn new(shared: Arc<Shared>, record: Arc<ObjectRecord>, range: Range<u64>) -> Self {
        Self {
            shared,
            record,
            range,
            part: 0,
            part_start: 0,
            opener: None,
            extent: None,
            begun: false,
        }
    }

    fn parts(&self) -> &[Part] {
        match &self.record.body {
            Body::Parts(parts) => parts,
            Body::Inline => &[],
        }
    }

    /// The next window, of at most `stripes_max` stripes.
    async fn next_window(&mut self, stripes_max: u64) -> Result<Option<Window>, ReadError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        while let Some(part) = self.parts().get(self.part) {
            if self.range.start < self.part_start + part.bytes {
                break;
            }
            self.part_start += part.bytes;
            self.part += 1;
            (self.opener, self.extent) = (None, None);
        }
        let opener = self.opener()?;
        let in_part = self.range.start - self.part_start;
        let at = small(in_part / EXTENT_PLAIN_BYTES_MAX)?;
        let (blob, hold) = self.extent(at).await?;
        let part = self.parts().get(self.part).ok_or(ReadError::Rejected)?;
        let extent_start = at as u64 * EXTENT_PLAIN_BYTES_MAX;
        let extent_plain = (part.bytes - extent_start).min(EXTENT_PLAIN_BYTES_MAX);
        if blob.row.bytes != havre_seal::sealed_bytes(extent_plain) {
            return Err(ReadError::Rejected);
        }
        let from = in_part - extent_start;
        let data = blob.row.geometry.data() as u64;
        let segment_bytes = SEGMENT_BYTES as u64;
        let first = from / segment_bytes;
        let first_max = if self.begun { stripes_max } else { FIRST_WINDOW_STRIPES };
        let stripes_max = stripes_max.min(first_max);
        let window_end = (first / data + stripes_max) * data * segment_bytes;
        let wanted_end = (self.range.end - self.part_start - extent_start).min(extent_plain);
        let to = window_end.min(wanted_end);
        let segments = first..to.div_ceil(segment_bytes);
        let is_last_extent = at + 1 == part.extents.len();
        let part_ends = is_last_extent && segments.end * segment_bytes >= extent_plain;
        let named = part.extents[at].blob;
        self.range.start += to - from;
        self.begun = true;
        Ok(Some(Window {
            named,
            blob,
            opener,
            first_segment: extent_start / segment_bytes,
            part_ends,
            skip: small(from - first * segment_bytes)?,
            keep: small(to - from)?,
            segments,
            _hold: hold,
        }))
    }

    fn opener(&mut self) -> Result<Arc<PartOpener>, ReadError> {
        if let Some(opener) = &self.opener {
            return Ok(Arc::clone(opener));
        }
        let part = self.parts().get(self.part).ok_or(ReadError::Rejected)?;
        let context = PartContext {
            tenant: self.record.tenant,
            bucket: self.record.bucket,
            key: self.record.key.as_str(),
            version: self.record.version,
            part: part.number,
        };
        let opener = self.shared.keyring.open_part(&context, &part.key);
        let opener = Arc::new(opener.map_err(|_| ReadError::Rejected)?);
        self.opener = Some(Arc::clone(&opener));
        Ok(opener)
    }

    async fn extent(&mut self, at: usize) -> Result<(Arc<BlobHandle>, Arc<Hold>), ReadError> {
        if let Some((open, blob, hold)) = &self.extent
            && *open == at
        {
            return Ok((Arc::clone(blob), Arc::clone(hold)));
        }
        let part = self.parts().get(self.part).ok_or(ReadError::Rejected)?;
        let id = part.extents.get(at).ok_or(ReadError::Rejected)?.blob;
        let (blob, hold) = self.shared.hold_extent(id).await?;
        self.extent = Some((at, Arc::clone(&blob), Arc::clone(&hold)));
        Ok((blob, hold))
    }
}

impl Shared {
    /// Where an extent's bytes are, held: what is there then stays until it is read (I6).
    async fn hold_extent(&self, named: BlobId) -> Result<(Arc<BlobHandle>, Arc<Hold>), ReadError> {
        // Held before it is looked up. Where it was dispersed anew, the other blob is held before
        // this one is let go.
        let hold = self.in_flight.hold(named);
        let blob = self.extent(named).await?;
        let hold = match blob.row.blob() == named {
            true => hold,
            false => self.in_flight.hold(blob.row.blob()),
        };
        Ok((blob, Arc::new(hold)))
    }
}

impl Window {
    async fn read(mut self, shared: &Shared) -> Result<Vec<Bytes>, ReadError> {
        let error = match self.read_from(shared).await {
            Err(error) => error,
            read => return read,
        };
        // Since it was looked up, the extent may have been dispersed anew.
        shared.blobs.remove(&self.named);
        let (blob, hold) = shared.hold_extent(self.named).await?;
        if blob.row.blob() == self.blob.row.blob() {
            return Err(error);
        }
        (self.blob, self._hold) = (blob, hold);
        self.read_from(shared).await
    }

    async fn read_from(&self, shared: &Shared) -> Result<Vec<Bytes>, ReadError> {
        let data = self.blob.row.geometry.data() as u64;
        let stripes = self.segments.start / data..self.segments.end.div_ceil(data);
        let wanted = self.wanted(&stripes, data);
        let mut chunks = shared.gather(&self.blob, stripes, &wanted).await?;
        let mut pieces = Vec::with_capacity(small(self.segments.end - self.segments.start)?);
        let last_stripe = self.blob.layout.stripes() - 1;
        let level = self.segments.clone().find(|segment| segment / data == last_stripe);
        for segment in self.segments.start..level.unwrap_or(self.segments.end) {
            let index = small(segment % data)?;
            let bytes = &mut chunks[index].as_mut().ok_or(ReadError::Rejected)?.bytes;
            let mut slot = bytes.split_to(SEALED_SEGMENT_BYTES + TAG_BYTES);
            slot.truncate(SEALED_SEGMENT_BYTES);
            pieces.push(self.open(segment, slot)?);
        }
        if let Some(first) = level {
            self.open_last_stripe(first, last_stripe, &chunks, &mut pieces)?;
        }
        self.trim(pieces)
    }

    /// In all stripes but the last of the blob, segment `s` is data chunk `s % k` of stripe `s /
    /// k`. The last stripe's bytes are spread evenly, so all of its chunks are needed.
    fn wanted(&self, stripes: &Range<u64>, data: u64) -> Wanted {
        let ends_blob = stripes.end == self.blob.layout.stripes();
        (0..data)
            .map(|index| {
                let first = stripes.start + u64::from(index < self.segments.start % data);
                let last_segment = self.segments.end - 1;
                let end = last_segment / data + u64::from(index <= last_segment % data);
                match (first < end, ends_blob) {
                    (true, true) => first..stripes.end,
                    (false, true) => stripes.end - 1..stripes.end,
                    (true, false) => first..end,
                    (false, false) => stripes.start..stripes.start,
                }
            })
            .collect()
    }

    fn open(&self, segment: u64, mut slot: BytesMut) -> Result<Bytes, ReadError> {
        let last = self.part_ends && segment + 1 == self.segments.end;
        let index = self.first_segment + segment;
        let opened = self.opener.open_segment(index, last, &mut slot);
        slot.truncate(opened.map_err(|_| ReadError::Rejected)?);
        Ok(slot.freeze())
    }

    fn open_last_stripe(
        &self,
        first: u64,
        stripe: u64,
        chunks: &[Option<Chunks>],
        pieces: &mut Vec<Bytes>,
    ) -> Result<(), ReadError> {
        let data = self.blob.row.geometry.data();
        let chunk_len = self.blob.layout.chunk_len(stripe);
        let mut bytes = BytesMut::with_capacity(chunk_len * data);
        for chunks in chunks.iter().take(data) {
            let chunks = chunks.as_ref().ok_or(ReadError::Rejected)?;
            // Chunks of earlier stripes were split off the front, wanted or not.
            let at = chunks.bytes.len() - self.last_chunk_bytes(chunks, chunk_len);
            bytes.extend_from_slice(&chunks.bytes[at..at + chunk_len]);
        }
        bytes.truncate(self.blob.layout.stripe_len(stripe));
        let before = small(first % data as u64)?;
        drop(bytes.split_to((before * SEALED_SEGMENT_BYTES).min(bytes.len())));
        for segment in first..self.segments.end {
            let slot = bytes.split_to(SEALED_SEGMENT_BYTES.min(bytes.len()));
            pieces.push(self.open(segment, slot)?);
        }
        Ok(())
    }

    /// Bytes that the last chunk takes at the end of what was gathered: chunks that were decoded
    /// from parity have no trailer behind them.
    fn last_chunk_bytes(&self, chunks: &Chunks, chunk_len: usize) -> usize {
        chunk_len + TAG_BYTES + chunks.trailer
    }

    /// Drops what lies before and behind the range.
    fn trim(&self, pieces: Vec<Bytes>) -> Result<Vec<Bytes>, ReadError> {
        let (mut skip, mut keep) = (self.skip, self.keep);
        let mut trimmed = Vec::with_capacity(pieces.len());
        for mut piece in pieces {
            let dropped = skip.min(piece.len());
            drop(piece.split_to(dropped));
            skip -= dropped;
            piece.truncate(keep);
            keep -= piece.len();
            if !piece.is_empty() {
                trimmed.push(piece);
            }
        }
        if keep == 0 { Ok(trimmed) } else { Err(ReadError::Rejected) }
    }
}
