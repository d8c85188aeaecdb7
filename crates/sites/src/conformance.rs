//! What every site does alike: small named cases, run against each backend.
//!
//! **Invariant.** A backend that passes can hold shards: the cases are the contract of [`Site`] in
//! code.
//!
//! **Deliberately absent.** Durability (only a power cut shows it) and hostility: a hostile site
//! passes nothing.
//!
//! **Crash.** Cases leave what they stored; each begins with an empty site.
#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a case that fails panics")]

use crate::{ShardWriter, Site, SiteEntry, SiteErrorKind};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use havre_model::{BlobId, BlobName, ChainId, Geometry, ShardIndex, SiteId};
use havre_policy::{Permit, testing};
use std::sync::Arc;

type Case = for<'a> fn(&'a dyn Site) -> BoxFuture<'a, ()>;

/// The cases by name.
pub const CASES: &[(&str, Case)] = &[
    ("a shard reads back whole and by ranges", |site| Box::pin(reads_back(site))),
    ("a stream reads back", |site| Box::pin(stream_reads_back(site))),
    ("a stream of unknown length reads back", |site| Box::pin(unknown_length(site))),
    ("the same content may be put again", |site| Box::pin(put_again(site))),
    ("another content is refused and changes nothing", |site| Box::pin(put_another(site))),
    ("the same stream may be sent again, another not", |site| Box::pin(stream_again(site))),
    ("a stream that is given up leaves no name", |site| Box::pin(given_up(site))),
    ("what is not there is missing", |site| Box::pin(missing(site))),
    ("a range past the end is invalid", |site| Box::pin(past_the_end(site))),
    ("a shard above the cap is invalid", |site| Box::pin(above_the_cap(site))),
    ("a deleted shard is gone, twice too", |site| Box::pin(deleted(site))),
    ("names list in order, page by page", |site| Box::pin(lists(site))),
    ("an empty site lists nothing", |site| Box::pin(lists_nothing(site))),
    ("a marker is set once", |site| Box::pin(marker(site))),
    ("a permit for elsewhere is refused", |site| Box::pin(permits(site))),
    ("many at once do not mix", |site| Box::pin(at_once(site))),
    ("a sweep takes no shard", |site| Box::pin(sweeps(site))),
];

/// Runs every case, each against a site of its own from `make`, which gives an empty one.
///
/// # Panics
/// In the first case that fails; its name is printed before it runs.
pub async fn run<F: Future<Output = Arc<dyn Site>>>(make: impl Fn() -> F) {
    for (name, case) in CASES {
        eprintln!("conformance: {name}");
        case(&*make().await).await;
    }
}

/// The extent named by `n`.
#[must_use]
pub fn extent(n: u8) -> BlobName {
    BlobName::Extent(BlobId::from_bytes([n; 16]))
}

/// A pack of the chain named by `chain`.
#[must_use]
pub fn pack(chain: u8, number: u64) -> BlobName {
    let mut blob = [chain; 16];
    blob[8..].copy_from_slice(&number.to_be_bytes());
    let (chain, blob) = (ChainId::from_bytes([chain; 16]), BlobId::from_bytes(blob));
    BlobName::Pack { chain, number, blob }
}

/// A permit for the first shard of `name` at `site`.
pub fn permit(site: SiteId, name: &BlobName) -> Permit {
    let geometry = Geometry::new(1, 0).expect("one and none is a geometry");
    let index = ShardIndex::new(0, geometry).expect("zero is below one");
    testing::permit(site, name.blob(), index)
}

/// Bytes that no other `salt` gives, and no other length.
#[must_use]
pub fn content(salt: u8, len: usize) -> Bytes {
    let mut state = u64::from(salt) << 32 | len as u64 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

async fn put(site: &dyn Site, name: &BlobName, shard: &Bytes) -> Result<(), SiteErrorKind> {
    let stored = site.put(&permit(site.id(), name), name, shard.clone()).await;
    stored.map_err(|error| error.kind)
}

/// Streams `shard` in pieces of odd sizes.
async fn stream(
    site: &dyn Site,
    name: &BlobName,
    shard: &Bytes,
    shard_bytes: Option<u64>,
) -> Result<(), SiteErrorKind> {
    let permit = permit(site.id(), name);
    let mut writer = site.create(&permit, name, shard_bytes).await.map_err(|error| error.kind)?;
    let (mut rest, mut piece) = (shard.clone(), 1);
    while !rest.is_empty() {
        let bytes = rest.split_to(piece.min(rest.len()));
        writer.write(bytes).await.map_err(|error| error.kind)?;
        piece = (piece * 3 + 1).min(300_001);
    }
    writer.finish().await.map_err(|error| error.kind)
}

async fn whole(site: &dyn Site, name: &BlobName) -> Result<Bytes, SiteErrorKind> {
    let read = site.read_all(name, 64 << 20).await;
    read.map(bytes::BytesMut::freeze).map_err(|error| error.kind)
}

async fn reads_back(site: &dyn Site) {
    for (n, len) in [(1, 1), (2, 4096), (3, 300_000)] {
        let (name, shard) = (extent(n), content(n, len));
        put(site, &name, &shard).await.unwrap();
        assert_eq!(whole(site, &name).await.unwrap(), shard);
        for (start, end) in [(0, len), (0, 1), (len - 1, len), (len / 3, len / 2), (len, len)] {
            let range = site.read(&name, start as u64..end as u64).await;
            if start < end {
                assert_eq!(range.unwrap(), shard[start..end]);
            } else {
                // An empty range at the end may be refused, but never has bytes.
                assert!(range.map_or(true, |bytes| bytes.is_empty()));
            }
        }
    }
    put(site, &pack(9, 1), &content(9, 500)).await.unwrap();
    assert_eq!(whole(site, &pack(9, 1)).await.unwrap(), content(9, 500));
}

async fn stream_reads_back(site: &dyn Site) {
    // Small, of one hop, and of several parts of a multipart upload.
    for (n, len) in [(1, 10), (2, 600_000), (3, 12 << 20)] {
        let (name, shard) = (extent(n), content(n, len));
        stream(site, &name, &shard, Some(len as u64)).await.unwrap();
        assert_eq!(whole(site, &name).await.unwrap(), shard);
        let tail = site.read(&name, len as u64 - 5..len as u64).await.unwrap();
        assert_eq!(tail, shard[len - 5..]);
    }
}

async fn unknown_length(site: &dyn Site) {
    let shard = content(4, 1_500_000);
    stream(site, &extent(4), &shard, None).await.unwrap();
    assert_eq!(whole(site, &extent(4)).await.unwrap(), shard);
}

async fn put_again(site: &dyn Site) {
    let shard = content(1, 5000);
    for _ in 0..3 {
        put(site, &pack(1, 1), &shard).await.unwrap();
    }
    assert_eq!(whole(site, &pack(1, 1)).await.unwrap(), shard);
}

async fn put_another(site: &dyn Site) {
    let (name, shard) = (extent(1), content(1, 5000));
    put(site, &name, &shard).await.unwrap();
    let mut flipped = shard.to_vec();
    flipped[4999] ^= 1;
    for other in [content(2, 5000), content(1, 4999), content(1, 5001), flipped.into()] {
        assert_eq!(put(site, &name, &other).await, Err(SiteErrorKind::Exists));
        assert_eq!(whole(site, &name).await.unwrap(), shard);
    }
}

async fn stream_again(site: &dyn Site) {
    let (name, shard) = (extent(1), content(1, 700_000));
    stream(site, &name, &shard, None).await.unwrap();
    stream(site, &name, &shard, Some(700_000)).await.unwrap();
    let other = content(2, 700_000);
    assert_eq!(stream(site, &name, &other, None).await, Err(SiteErrorKind::Exists));
    assert_eq!(put(site, &name, &other).await, Err(SiteErrorKind::Exists));
    assert_eq!(whole(site, &name).await.unwrap(), shard);
}

async fn given_up(site: &dyn Site) {
    for (n, len) in [(1, 10), (2, 1_500_000)] {
        for abort in [true, false] {
            let name = extent(n);
            let writer = site.create(&permit(site.id(), &name), &name, None).await;
            let mut writer: Box<dyn ShardWriter> = writer.unwrap();
            for piece in content(n, len).chunks(200_000) {
                writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            if abort {
                writer.abort().await;
            } else {
                drop(writer);
            }
            assert_eq!(whole(site, &name).await, Err(SiteErrorKind::Missing));
        }
    }
    assert!(names(site, "e/").await.is_empty());
}

async fn missing(site: &dyn Site) {
    for name in [extent(1), pack(1, 1)] {
        assert_eq!(whole(site, &name).await, Err(SiteErrorKind::Missing));
        assert_eq!(site.read(&name, 0..10).await.unwrap_err().kind, SiteErrorKind::Missing);
    }
    // A neighbour changes nothing about it.
    put(site, &pack(1, 2), &content(1, 10)).await.unwrap();
    assert_eq!(whole(site, &pack(1, 1)).await, Err(SiteErrorKind::Missing));
}

async fn past_the_end(site: &dyn Site) {
    put(site, &extent(1), &content(1, 100)).await.unwrap();
    for range in [0..101, 99..101, 100..101, 1000..2000] {
        let error = site.read(&extent(1), range).await.unwrap_err();
        assert_eq!(error.kind, SiteErrorKind::Invalid);
    }
}

async fn above_the_cap(site: &dyn Site) {
    put(site, &extent(1), &content(1, 100)).await.unwrap();
    let error = site.read_all(&extent(1), 99).await.unwrap_err();
    assert_eq!(error.kind, SiteErrorKind::Invalid);
    assert_eq!(site.read_all(&extent(1), 100).await.unwrap().len(), 100);
}

async fn deleted(site: &dyn Site) {
    let (name, shard) = (extent(1), content(1, 100));
    site.delete(&name).await.unwrap();
    put(site, &name, &shard).await.unwrap();
    // Read first, so that whatever a site keeps open or cached is.
    assert_eq!(whole(site, &name).await.unwrap(), shard);
    assert_eq!(site.read(&name, 0..50).await.unwrap(), shard[..50]);
    for _ in 0..2 {
        site.delete(&name).await.unwrap();
        assert_eq!(whole(site, &name).await, Err(SiteErrorKind::Missing));
        assert_eq!(site.read(&name, 0..50).await.unwrap_err().kind, SiteErrorKind::Missing);
    }
    assert!(names(site, "e/").await.is_empty());
}

/// All names below `prefix`, by pages of three.
async fn names(site: &dyn Site, prefix: &str) -> Vec<BlobName> {
    let mut names: Vec<BlobName> = Vec::new();
    loop {
        let page = site.list(prefix, names.last(), 3).await.unwrap();
        assert!(page.entries.len() <= 3 && (!page.more || page.entries.len() == 3));
        assert_eq!(page.skipped, 0, "there is nothing but shards");
        names.extend(page.entries.iter().map(|SiteEntry { name, .. }| *name));
        if !page.more {
            return names;
        }
    }
}

async fn lists(site: &dyn Site) {
    let packs = [pack(1, 1), pack(1, 2), pack(1, 10), pack(1, 0x100), pack(2, 1), pack(7, 3)];
    let extents = [extent(0), extent(7), extent(8), extent(0xfe), extent(0xff)];
    for name in packs.iter().rev().chain(&extents) {
        put(site, name, &content(1, 100)).await.unwrap();
    }
    site.set_marker([1; 16]).await.unwrap();
    assert_eq!(names(site, BlobName::PACKS).await, packs);
    assert_eq!(names(site, BlobName::EXTENTS).await, extents);
    let chain = format!("p/{}/", ChainId::from_bytes([1; 16]));
    assert_eq!(names(site, &chain).await, packs[..4]);
    // A page begins anywhere, also after a name that is not there.
    let page = site.list(BlobName::PACKS, Some(&pack(1, 5)), 100).await.unwrap();
    let listed: Vec<_> = page.entries.iter().map(|entry| entry.name).collect();
    assert_eq!((listed.as_slice(), page.more), (&packs[2..], false));
    assert!(page.entries.iter().all(|entry| entry.bytes.is_none_or(|bytes| bytes == 100)));
    // Exactly full is not "more".
    let page = site.list(BlobName::PACKS, None, 6).await.unwrap();
    assert_eq!((page.entries.len(), page.more), (6, false));
    let page = site.list(BlobName::PACKS, None, 5).await.unwrap();
    assert_eq!((page.entries.len(), page.more), (5, true));
    // What was stored and deleted between two pages does not disturb the third.
    site.delete(&pack(1, 10)).await.unwrap();
    put(site, &pack(8, 1), &content(1, 100)).await.unwrap();
    assert_eq!(names(site, BlobName::PACKS).await.len(), 6);
    assert!(site.list(BlobName::PACKS, None, 0).await.unwrap().entries.is_empty());
}

async fn lists_nothing(site: &dyn Site) {
    for prefix in [BlobName::PACKS, BlobName::EXTENTS, "p/00000000000000000000000000000000/"] {
        assert!(names(site, prefix).await.is_empty());
    }
}

async fn marker(site: &dyn Site) {
    assert_eq!(site.marker().await.unwrap(), None);
    site.set_marker([1; 16]).await.unwrap();
    site.set_marker([1; 16]).await.unwrap();
    assert_eq!(site.set_marker([2; 16]).await.unwrap_err().kind, SiteErrorKind::Exists);
    assert_eq!(site.marker().await.unwrap(), Some([1; 16]));
}

async fn permits(site: &dyn Site) {
    let name = extent(1);
    let elsewhere = permit(SiteId::from_bytes([0xee; 8]), &name);
    let other_blob = permit(site.id(), &extent(2));
    for permit in [elsewhere, other_blob] {
        let error = site.put(&permit, &name, content(1, 10)).await.unwrap_err();
        assert_eq!(error.kind, SiteErrorKind::Refused);
        let error = site.create(&permit, &name, None).await.err().unwrap();
        assert_eq!(error.kind, SiteErrorKind::Refused);
    }
    assert!(names(site, "e/").await.is_empty());
}

async fn at_once(site: &dyn Site) {
    let puts = (0..24).map(|n| async move {
        let shard = content(n, 20_000 + usize::from(n));
        // Two writers a name, as an attempt and its repetition.
        let (name, twice) = (pack(n % 3, u64::from(n)), shard.clone());
        let both = (put(site, &name, &shard), put(site, &name, &twice));
        let (first, second) = futures::future::join(both.0, both.1).await;
        first.unwrap();
        second.unwrap();
        assert_eq!(whole(site, &name).await.unwrap(), shard);
    });
    join_all(puts).await;
    assert_eq!(names(site, BlobName::PACKS).await.len(), 24);
}

async fn sweeps(site: &dyn Site) {
    put(site, &extent(1), &content(1, 100)).await.unwrap();
    site.set_marker([1; 16]).await.unwrap();
    site.sweep().await.unwrap();
    assert_eq!(whole(site, &extent(1)).await.unwrap(), content(1, 100));
    assert_eq!(site.marker().await.unwrap(), Some([1; 16]));
}
