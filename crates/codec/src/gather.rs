//! A whole small blob to shard files and back, for packs and for recovery from nothing but sites.
//!
//! **Invariant.** [`gather()`] returns the bytes that one [`disperse`] was given, or an error, as
//! long as fewer than `k` of the files are lies; it never decodes across generations (I5, attack
//! A17).
//!
//! **Deliberately absent.** Streaming: an extent goes through [`BlobKeys::seal_stripe`] and
//! [`BlobKeys::open_chunk`] stripe by stripe. Judging which of two full generations is the blob:
//! only the first lock can, so [`gather_each`] hands out both.
//!
//! **Crash.** Values only.

use crate::erasure::ErasureCode;
use crate::keys::BlobKeys;
use crate::layout::{ClaimedStripes, Layout};
use crate::shard::{
    CorruptHeader, Generation, SHARD_HEADER_BYTES, ShardHeader, generations, parse_header,
};
use bytes::Bytes;
use havre_model::limits::SHARDS_PER_BLOB_MAX;
use havre_model::record::BlobSecret;
use havre_model::{BlobId, Geometry, ShardIndex};

/// Why shard files do not give a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatherError {
    /// Too few sound files: ask more sites.
    #[error("fewer than k sound shards in some stripe")]
    TooFew,
    /// Files of a version that this release does not know, and too few others: use a newer release.
    #[error("shard version {version}, suite {suite}: not known to this release; use a newer one")]
    UnknownVersion {
        /// The version byte.
        version: u8,
        /// The suite byte.
        suite: u8,
    },
    /// Each of two generations decodes: see [`gather_each`].
    #[error("the shards are of more than one generation")]
    Ambiguous,
}

/// A blob that was put together again.
#[derive(Clone, PartialEq, Eq)]
pub struct Gathered {
    /// The blob's secret.
    pub secret: BlobSecret,
    /// Its geometry.
    pub geometry: Geometry,
    /// Bytes of its chunks before sealing.
    pub chunk_bytes: usize,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// For each file that was given, which shard it is; `None` when its header is not authentic.
    pub indices: Vec<Option<ShardIndex>>,
    /// Positions in the list of files, ascending, of those in which something wrong was found: a
    /// header, a length, or a chunk that was needed. Chunks that were not needed were not looked
    /// at.
    pub bad: Vec<usize>,
}

impl core::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Gathered")
            .field("geometry", &self.geometry)
            .field("bytes", &self.bytes.len())
            .field("bad", &self.bad)
            .finish_non_exhaustive()
    }
}

/// The shard files of a blob, by index.
///
/// # Panics
/// When `bytes` is empty, or keys, coder and secret are not of one blob.
#[must_use]
pub fn disperse(
    coder: &ErasureCode,
    keys: &BlobKeys,
    secret: &BlobSecret,
    bytes: &[u8],
) -> Vec<Bytes> {
    let layout = Layout::new(keys.geometry(), keys.chunk_bytes(), bytes.len() as u64);
    let shard_bytes = usize::try_from(layout.shard_bytes()).expect("a blob that fits memory");
    let mut files: Vec<Vec<u8>> = keys
        .headers(secret)
        .iter()
        .map(|header| {
            let mut file = Vec::with_capacity(shard_bytes);
            file.extend_from_slice(header);
            file.resize(shard_bytes, 0);
            file
        })
        .collect();
    let mut rests: Vec<&mut [u8]> =
        files.iter_mut().map(|file| &mut file[SHARD_HEADER_BYTES..]).collect();
    let mut stripes = bytes.chunks(layout.stripe_bytes());
    for stripe in 0..layout.stripes() {
        let stripe_data = stripes.next().expect("as many stripes as the layout has");
        let (chunk_len, sealed_len) = (layout.chunk_len(stripe), layout.sealed_chunk_len(stripe));
        let mut slots: [&mut [u8]; SHARDS_PER_BLOB_MAX] = Default::default();
        for (slot, rest) in slots.iter_mut().zip(&mut rests) {
            *slot = rest.split_off_mut(..sealed_len).expect("files have the layout's length");
        }
        for (slot, chunk) in slots.iter_mut().zip(stripe_data.chunks(chunk_len)) {
            slot[..chunk.len()].copy_from_slice(chunk);
        }
        let slots = &mut slots[..layout.geometry().total()];
        keys.seal_stripe(coder, stripe, layout.last(stripe), slots);
    }
    files.into_iter().map(Bytes::from).collect()
}

/// The blob whose shard files these are, in any order, some of them missing, corrupt or of other
/// blobs.
///
/// # Errors
/// See [`GatherError`].
pub fn gather<F: AsRef<[u8]>>(blob: BlobId, files: &[F]) -> Result<Gathered, GatherError> {
    let mut found = gather_each(blob, files)?;
    match (found.pop(), found.is_empty()) {
        (Some(gathered), true) => Ok(gathered),
        _ => Err(GatherError::Ambiguous),
    }
}

/// Every generation that `k` or more of the files make complete, the one with the most files first.
/// There is more than one only if `k` sites lie together or a blob's id was used twice; the reader
/// keeps the one that the first lock opens.
///
/// # Errors
/// [`GatherError::TooFew`] or [`GatherError::UnknownVersion`] when there is none.
pub fn gather_each<F: AsRef<[u8]>>(
    blob: BlobId,
    files: &[F],
) -> Result<Vec<Gathered>, GatherError> {
    let mut headers = Vec::with_capacity(files.len());
    let mut positions = Vec::with_capacity(files.len());
    let mut nothing = GatherError::TooFew;
    for (position, file) in files.iter().enumerate() {
        match parse_header(file.as_ref(), blob) {
            Ok(header) => {
                headers.push(header);
                positions.push(position);
            }
            Err(CorruptHeader::UnknownVersion { version, suite }) => {
                nothing = GatherError::UnknownVersion { version, suite };
            }
            Err(_) => {}
        }
    }
    let found: Vec<Gathered> = generations(&headers)
        .into_iter()
        .filter_map(|generation| gather_generation(generation, &headers, &positions, files))
        .collect();
    if found.is_empty() { Err(nothing) } else { Ok(found) }
}

/// One shard file with an authentic header.
struct Source<'a> {
    position: usize,
    index: ShardIndex,
    /// What follows the header.
    body: &'a [u8],
    sound: bool,
}

impl Source<'_> {
    /// Opens the chunk of `stripe` into `chunk`; one that does not open marks the source, whose
    /// other chunks may still be good.
    fn open(&mut self, keys: &BlobKeys, layout: &Layout, stripe: u64, chunk: &mut Vec<u8>) -> bool {
        let range = layout.sealed_chunk_range(stripe);
        let in_body = |offset: u64| usize::try_from(offset).ok()?.checked_sub(SHARD_HEADER_BYTES);
        let sealed = in_body(range.start)
            .zip(in_body(range.end))
            .and_then(|(start, end)| self.body.get(start..end));
        let last = layout.last(stripe);
        chunk.clear();
        chunk.extend_from_slice(sealed.unwrap_or_default());
        match keys.open_chunk(self.index, stripe, last.is_some(), chunk) {
            Ok(opened) if opened.stripe_data_len == last => {
                chunk.truncate(opened.chunk_len);
                true
            }
            _ => {
                self.sound = false;
                false
            }
        }
    }

    /// The blob's length, if the file ends in an authentic last chunk.
    fn blob_bytes(&self, keys: &BlobKeys, chunk: &mut Vec<u8>) -> Option<u64> {
        let claimed = ClaimedStripes::of(self.body.len(), keys.chunk_bytes())?;
        chunk.clear();
        chunk.extend_from_slice(&self.body[self.body.len() - claimed.last_sealed_len..]);
        let stripe = claimed.stripes - 1;
        let opened = keys.open_chunk(self.index, stripe, true, chunk).ok()?;
        let stripe_bytes = (keys.geometry().data() * keys.chunk_bytes()) as u64;
        stripe.checked_mul(stripe_bytes)?.checked_add(u64::from(opened.stripe_data_len?))
    }
}

fn gather_generation<F: AsRef<[u8]>>(
    generation: Generation,
    headers: &[ShardHeader],
    positions: &[usize],
    files: &[F],
) -> Option<Gathered> {
    let Generation { secret, keys, members } = generation;
    let mut sources: Vec<Source<'_>> = members
        .iter()
        .map(|member| Source {
            position: positions[*member],
            index: headers[*member].index(),
            body: &files[positions[*member]].as_ref()[SHARD_HEADER_BYTES..],
            sound: true,
        })
        .collect();
    // Data shards first: they need no decoding.
    sources.sort_by_key(|source| source.index);
    let layout = agree_on_layout(&keys, &mut sources)?;
    let coder = ErasureCode::new(keys.geometry());
    let mut bytes = Vec::new();
    for stripe in 0..layout.stripes() {
        gather_stripe(&coder, &keys, &layout, stripe, &mut sources, &mut bytes)?;
    }
    bytes.truncate(usize::try_from(layout.blob_bytes()).ok()?);

    let mut indices = vec![None; files.len()];
    let mut good = vec![false; files.len()];
    for source in &sources {
        indices[source.position] = Some(source.index);
        good[source.position] = source.sound;
    }
    let bad = (0..files.len()).filter(|position| !good[*position]).collect();
    let (geometry, chunk_bytes) = (keys.geometry(), keys.chunk_bytes());
    Some(Gathered { secret, geometry, chunk_bytes, bytes, indices, bad })
}

/// The layout that most of the files end in; the others are marked. A single file with an authentic
/// end is enough, because only who knows the secret can forge one.
fn agree_on_layout(keys: &BlobKeys, sources: &mut [Source<'_>]) -> Option<Layout> {
    let mut chunk = Vec::new();
    let ends: Vec<Option<u64>> =
        sources.iter().map(|source| source.blob_bytes(keys, &mut chunk)).collect();
    let votes = |end: u64| ends.iter().filter(|other| **other == Some(end)).count();
    let blob_bytes = ends.iter().flatten().copied().max_by_key(|end| votes(*end))?;
    for (source, end) in sources.iter_mut().zip(&ends) {
        source.sound = *end == Some(blob_bytes);
    }
    Layout::checked(keys.geometry(), keys.chunk_bytes(), blob_bytes)
}

/// Appends the data chunks of a stripe, padding included, or gives up.
fn gather_stripe(
    coder: &ErasureCode,
    keys: &BlobKeys,
    layout: &Layout,
    stripe: u64,
    sources: &mut [Source<'_>],
    bytes: &mut Vec<u8>,
) -> Option<()> {
    let geometry = keys.geometry();
    let mut opened: Vec<(ShardIndex, Vec<u8>)> = Vec::with_capacity(geometry.data());
    for source in sources {
        if opened.len() == geometry.data() {
            break;
        }
        // The same index comes twice when a site holds a copy of another's shard.
        if opened.iter().any(|(index, _)| *index == source.index) {
            continue;
        }
        let mut chunk = Vec::with_capacity(layout.sealed_chunk_len(stripe));
        if source.open(keys, layout, stripe, &mut chunk) {
            opened.push((source.index, chunk));
        }
    }
    if opened.len() < geometry.data() {
        return None;
    }
    let chunk_len = layout.chunk_len(stripe);
    let start = bytes.len();
    bytes.resize(start + geometry.data() * chunk_len, 0);
    let (mut missing, mut places) = (Vec::new(), Vec::new());
    for (index, place) in geometry.indices().zip(bytes[start..].chunks_exact_mut(chunk_len)) {
        match opened.iter().find(|(other, _)| *other == index) {
            Some((_, chunk)) => place.copy_from_slice(chunk),
            None => {
                missing.push(index);
                places.push(place);
            }
        }
    }
    if !missing.is_empty() {
        let available: Vec<(ShardIndex, &[u8])> =
            opened.iter().map(|(index, chunk)| (*index, chunk.as_slice())).collect();
        coder.reconstruct_data(&available, &missing, &mut places);
    }
    Some(())
}
