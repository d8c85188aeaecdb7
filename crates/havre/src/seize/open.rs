//! Really tries to open what some sites hold: with their shares the second lock, with the root key
//! the first.
//!
//! **Invariant.** Nothing comes from the catalog: secrets are combined from the headers that were
//! read. What opens is counted and dropped.
//!
//! **Deliberately absent.** Guessing: fewer than `k` shares of a secret say nothing about it.
//!
//! **Crash.** Sites are only read.

use super::list::{Found, Listing};
use havre_codec::layout::CHUNK_BYTES_MAX;
use havre_codec::pack::{self, PACK_FRAME_BYTES_MAX};
use havre_codec::{BlobKeys, ErasureCode, SHARD_HEADER_BYTES, gather_each, shard};
use havre_model::limits::{EXTENT_SEGMENTS_MAX, SEALED_SEGMENT_BYTES};
use havre_model::record::{self, Body, ObjectRecord, Part, Record};
use havre_model::{BlobId, BlobName, Seq, ShardIndex, SiteSet};
use havre_seal::{Keyring, OpenError, PartContext};
use havre_sites::Fleet;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Packs that are in memory at a time, each once at every site and once decoded.
pub(super) const PACKS_AT_ONCE: usize = 4;
/// Bytes of a pack's shard, at most.
const PACK_SHARD_BYTES_MAX: u64 = PACK_FRAME_BYTES_MAX as u64 + (1 << 20);
/// Bytes of a sealed chunk, and of a shard that has only one, at most.
const TAG_BYTES: usize = 16;
const ONE_CHUNK_BYTES_MAX: u64 = (SHARD_HEADER_BYTES + CHUNK_BYTES_MAX + TAG_BYTES + 64) as u64;

/// What was held and opened of one kind of blob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kind {
    /// Blobs of which there was a shard.
    pub blobs: u64,
    /// Bytes of their shards, as the sites say.
    pub bytes: u64,
    /// The shortest shard.
    pub shard_bytes_least: Option<u64>,
    /// The longest.
    pub shard_bytes_most: Option<u64>,
    /// Blobs by the number of different shards that were held of each.
    pub by_shards_held: BTreeMap<usize, u64>,
    /// Blobs by the number of shares that open them, as their headers say.
    pub by_shares_needed: BTreeMap<usize, u64>,
    /// Blobs of which as many different shards were held as are needed.
    pub enough_shards: u64,
    /// Blobs whose second lock was opened.
    pub opened: u64,
    /// Shards that a site listed and did not give.
    pub unread_shards: u64,
    /// Of packs that were opened, when the first was written, in milliseconds since 1970.
    pub written_first: Option<u64>,
    /// And the last.
    pub written_last: Option<u64>,
    /// Sealed records in packs that were opened.
    pub records: u64,
}

impl Kind {
    pub(super) fn count(&mut self, found: &Found, attempt: &Attempt) {
        self.blobs += 1;
        for bytes in found.holders.iter().filter_map(|(_, bytes)| *bytes) {
            self.bytes += bytes;
            self.shard_bytes_least = Some(self.shard_bytes_least.map_or(bytes, |it| it.min(bytes)));
            self.shard_bytes_most = Some(self.shard_bytes_most.map_or(bytes, |it| it.max(bytes)));
        }
        *self.by_shards_held.entry(attempt.held).or_default() += 1;
        *self.by_shares_needed.entry(attempt.needed).or_default() += 1;
        self.enough_shards += u64::from(attempt.needed > 0 && attempt.held >= attempt.needed);
        self.opened += u64::from(attempt.opened.is_some());
        self.unread_shards += attempt.unread;
    }
}

/// What the root key opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WithKey {
    /// Records that were opened.
    pub records: u64,
    /// Records that were not.
    pub records_closed: u64,
    /// Objects among them: names, sizes, metadata.
    pub objects: u64,
    /// Bytes of objects that ride in their records.
    pub inline_bytes: u64,
    /// Extents of these objects whose first segment was tried.
    pub extents_tried: u64,
    /// Those that opened: plaintext.
    pub extents: u64,
}

/// What came of one blob.
#[derive(Default)]
pub(super) struct Attempt {
    /// Different shards that were held.
    held: usize,
    /// Shares that it takes by the headers; 0 when no header was readable.
    needed: usize,
    unread: u64,
    /// The bytes that the second lock gave: a pack's frame, or an extent's first segment.
    opened: Option<Vec<u8>>,
}

/// What came of all packs.
#[derive(Default)]
pub(super) struct Packs {
    pub(super) kind: Kind,
    pub(super) with_key: WithKey,
    /// Records whose key has not been found yet.
    pub(super) missing_keys: u64,
}

pub(super) struct Opener<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) keyring: Option<&'a Keyring>,
    /// Extents that were dispersed anew: the number of the newest record that says so, and where.
    pub(super) moved: Mutex<BTreeMap<BlobId, (Seq, BlobId)>>,
}

impl Opener<'_> {
    /// One pass over the packs; with `deep`, objects' extents are tried too.
    pub(super) async fn packs(
        &self,
        sites: SiteSet,
        deep: bool,
        mut hear: impl FnMut(u64),
    ) -> Packs {
        let mut packs = Packs::default();
        let mut listing = Listing::new(self.fleet, sites, BlobName::PACKS);
        loop {
            let batch = listing.batch(PACKS_AT_ONCE).await;
            if batch.is_empty() {
                return packs;
            }
            let tries = batch.iter().map(|found| self.whole(found, PACK_SHARD_BYTES_MAX));
            for (found, attempt) in batch.iter().zip(futures::future::join_all(tries).await) {
                packs.kind.count(found, &attempt);
                if let Some(frame) = attempt.opened {
                    self.records(&frame, sites, deep, &mut packs).await;
                }
            }
            hear(packs.kind.blobs);
        }
    }

    /// Tries the records of a pack.
    async fn records(&self, frame: &[u8], sites: SiteSet, deep: bool, packs: &mut Packs) {
        let Ok(pack) = pack::parse(frame) else { return };
        let (kind, written) = (&mut packs.kind, pack.header.written.millis());
        kind.written_first = Some(kind.written_first.map_or(written, |it| it.min(written)));
        kind.written_last = Some(kind.written_last.map_or(written, |it| it.max(written)));
        kind.records += pack.slots.len() as u64;
        let Some(keyring) = self.keyring else { return };
        for sealed in pack.records(frame) {
            let mut sealed = sealed.to_vec();
            let place = match keyring.open_record_in_place(&mut sealed) {
                Ok((_, place)) => place,
                Err(error) => {
                    let missing = matches!(error, OpenError::UnknownKey { .. });
                    packs.missing_keys += u64::from(missing);
                    packs.with_key.records_closed += 1;
                    continue;
                }
            };
            packs.with_key.records += 1;
            let Ok((sequenced, inline)) = record::decode(&sealed[place]) else { continue };
            match sequenced.record {
                // One that does not install leaves what it wraps closed, which is counted.
                Record::Tenant(it) => {
                    let _ = keyring.install_tenant(it.tenant, &it.key);
                }
                Record::Bucket(it) => {
                    let _ = keyring.install_bucket(it.tenant, it.bucket, &it.keys);
                }
                Record::Object(object) => {
                    packs.with_key.objects += 1;
                    packs.with_key.inline_bytes += inline.len() as u64;
                    if deep {
                        self.object(&object, sites, &mut packs.with_key).await;
                    }
                }
                Record::Redispersed(it) => {
                    let mut moved = self.moved.lock();
                    let newest = moved.entry(it.extent).or_insert((sequenced.seq, it.to.blob));
                    *newest = (*newest).max((sequenced.seq, it.to.blob));
                }
                _ => {}
            }
        }
    }

    /// Tries the first segment of each extent of an object.
    async fn object(&self, object: &ObjectRecord, sites: SiteSet, with_key: &mut WithKey) {
        let Body::Parts(parts) = &object.body else { return };
        for part in parts {
            for (at, extent) in (0..).zip(&part.extents) {
                let holders = sites.iter().map(|position| (position, None)).collect();
                let moved = self.moved.lock().get(&extent.blob).map(|(_, blob)| *blob);
                let name = BlobName::Extent(moved.unwrap_or(extent.blob));
                let found = Found { name, holders };
                let attempt = self.extent(&found).await;
                with_key.extents_tried += 1;
                let opened = attempt.opened.is_some_and(|mut segment| {
                    self.opens_segment(object, part, at * EXTENT_SEGMENTS_MAX, &mut segment)
                });
                with_key.extents += u64::from(opened);
            }
        }
    }

    fn opens_segment(
        &self,
        object: &ObjectRecord,
        part: &Part,
        index: u64,
        segment: &mut [u8],
    ) -> bool {
        let context = PartContext {
            tenant: object.tenant,
            bucket: object.bucket,
            key: object.key.as_str(),
            version: object.version,
            part: part.number,
        };
        let opener = self.keyring.and_then(|it| it.open_part(&context, &part.key).ok());
        let last = index + 1 == havre_seal::segments(part.bytes);
        opener.is_some_and(|opener| opener.open_segment(index, last, segment).is_ok())
    }

    /// Tries an extent: whole when it is one stripe, else its first stripe.
    pub(super) async fn extent(&self, found: &Found) -> Attempt {
        let small = |bytes: &Option<u64>| bytes.is_none_or(|bytes| bytes <= ONE_CHUNK_BYTES_MAX);
        if found.holders.iter().all(|(_, bytes)| small(bytes)) {
            let mut attempt = self.whole(found, ONE_CHUNK_BYTES_MAX).await;
            if attempt.needed > 0 {
                if let Some(bytes) = &mut attempt.opened {
                    bytes.truncate(SEALED_SEGMENT_BYTES);
                }
                return attempt;
            }
        }
        self.first_stripe(found).await
    }

    /// Reads whole shards and puts the blob together.
    async fn whole(&self, found: &Found, bytes_max: u64) -> Attempt {
        let reads = found.holders.iter().map(|(position, _)| {
            let site = self.fleet.site(*position);
            async move { site.read_all(&found.name, bytes_max).await.ok() }
        });
        let files = futures::future::join_all(reads).await;
        let unread = files.iter().filter(|file| file.is_none()).count() as u64;
        let files: Vec<_> = files.into_iter().flatten().collect();
        let heads = files.iter().map(|file| shard::parse_header(file, found.name.blob()));
        let (held, needed) = held_and_needed(heads.flatten());
        let gathered = gather_each(found.name.blob(), &files).unwrap_or_default();
        let opened = gathered.into_iter().next().map(|gathered| gathered.bytes);
        Attempt { held, needed, unread, opened }
    }

    /// Reads headers and first chunks, and opens the first stripe.
    async fn first_stripe(&self, found: &Found) -> Attempt {
        let blob = found.name.blob();
        let reads = found.holders.iter().map(|(position, _)| async move {
            let site = self.fleet.site(*position);
            let header = site.read(&found.name, 0..SHARD_HEADER_BYTES as u64).await.ok()?;
            let header = shard::parse_header(&header, blob).ok()?;
            let from = SHARD_HEADER_BYTES as u64;
            let chunk = from..from + (header.chunk_bytes() + TAG_BYTES) as u64;
            Some((header, site.read(&found.name, chunk).await.ok()))
        });
        let read = futures::future::join_all(reads).await;
        let unread = read.iter().filter(|shard| shard.is_none()).count() as u64;
        let (headers, chunks): (Vec<_>, Vec<_>) = read.into_iter().flatten().unzip();
        let (held, needed) = held_and_needed(headers.iter().cloned());
        let mut attempt = Attempt { held, needed, unread, opened: None };
        let (Ok(secret), Some(first)) = (shard::combine(&headers), headers.first()) else {
            return attempt;
        };
        let (geometry, chunk_bytes) = (first.geometry(), first.chunk_bytes());
        let keys = BlobKeys::new(&secret, blob, geometry, chunk_bytes);
        let mut shards: Vec<Option<Vec<u8>>> = vec![None; geometry.total()];
        for (header, chunk) in headers.iter().zip(chunks) {
            let Some(mut chunk) = chunk else { continue };
            if keys.open_chunk(header.index(), 0, false, &mut chunk).is_ok() {
                shards[header.index().get()] = Some(chunk[..chunk_bytes].to_vec());
            }
        }
        if shards.iter().flatten().count() >= geometry.data() {
            attempt.opened = first_data(&ErasureCode::new(geometry), shards);
        }
        if let Some(chunk) = &mut attempt.opened {
            chunk.truncate(SEALED_SEGMENT_BYTES);
        }
        attempt
    }
}

/// How many different shards these headers are of, and how many it takes: by the geometry that most
/// of them show.
fn held_and_needed(headers: impl Iterator<Item = shard::ShardHeader>) -> (usize, usize) {
    let mut by_needed: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for header in headers {
        by_needed.entry(header.geometry().data()).or_default().insert(header.index().get());
    }
    let most = by_needed.into_iter().max_by_key(|(_, indices)| indices.len());
    most.map_or((0, 0), |(needed, indices)| (indices.len(), needed))
}

/// The first data chunk of a stripe, decoded where it is not there. `None` below `k` chunks.
fn first_data(code: &ErasureCode, mut chunks: Vec<Option<Vec<u8>>>) -> Option<Vec<u8>> {
    if let Some(chunk) = chunks.first_mut()?.take() {
        return Some(chunk);
    }
    let geometry = code.geometry();
    let indices = || geometry.indices();
    let held = indices().zip(&chunks).filter_map(|(index, chunk)| Some((index, chunk.as_deref()?)));
    let held: Vec<(ShardIndex, &[u8])> = held.take(geometry.data()).collect();
    if held.len() < geometry.data() {
        return None;
    }
    let mut chunk = vec![0; held.first()?.1.len()];
    code.reconstruct_data(&held, &[indices().next()?], &mut [&mut chunk]);
    Some(chunk)
}
