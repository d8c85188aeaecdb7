//! Where a blob's bytes stand in its stripes, chunks and shard files. Format:
//! `docs/formats/shard.md`.
//!
//! **Invariant.** The stripes' ranges cut the blob without gap or overlap, the sealed chunks'
//! ranges cut the file behind its header, and the file's length alone tells how many stripes there
//! are.
//!
//! **Deliberately absent.** Bytes: this is arithmetic.
//!
//! **Crash.** Values only.

use crate::shard::SHARD_HEADER_BYTES;
use core::ops::Range;
use havre_model::limits::{EXTENT_BYTES_MAX, EXTENT_CHUNK_BYTES, PACK_CHUNK_BYTES, TAG_BYTES};
use havre_model::{Geometry, ShardIndex};

/// Largest chunk; a frame that says more is corrupt.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Largest blob that a layout is made for; everything above is a corrupt length.
pub const BLOB_BYTES_MAX: u64 = 1 << 40;
/// What the last sealed chunk carries behind its data: the data bytes of its stripe, `u32`
/// little-endian, so that a reader without a catalog can trim the padding.
pub const LAST_CHUNK_EXTRA_BYTES: usize = 4;

const HEADER: u64 = SHARD_HEADER_BYTES as u64;

const _: () = assert!(EXTENT_CHUNK_BYTES <= CHUNK_BYTES_MAX && PACK_CHUNK_BYTES <= CHUNK_BYTES_MAX);
const _: () = assert!(EXTENT_BYTES_MAX <= BLOB_BYTES_MAX);
// A stripe's data bytes are counted in 32 bits.
const _: () =
    assert!(CHUNK_BYTES_MAX * havre_model::limits::SHARDS_PER_BLOB_MAX < u32::MAX as usize);

/// Where a byte of a blob is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// The stripe.
    pub stripe: u64,
    /// The data shard whose chunk has the byte.
    pub index: ShardIndex,
    /// The byte's offset in the opened chunk.
    pub offset: usize,
    /// Bytes of the blob from there to the chunk's end, padding not counted; at least 1.
    pub bytes: usize,
}

/// How a blob of a given length is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    geometry: Geometry,
    chunk_bytes: usize,
    blob_bytes: u64,
}

impl Layout {
    /// The layout of a blob whose numbers come from the trust domain.
    ///
    /// # Panics
    /// When [`Layout::checked`] refuses them.
    #[must_use]
    pub fn new(geometry: Geometry, chunk_bytes: usize, blob_bytes: u64) -> Self {
        Self::checked(geometry, chunk_bytes, blob_bytes)
            .expect("a blob and its chunks have 1 byte at least and their limit at most")
    }

    /// The layout of a blob whose numbers come from outside; `None` when the chunk length is not in
    /// `1..=`[`CHUNK_BYTES_MAX`] or the blob's length not in `1..=`[`BLOB_BYTES_MAX`].
    #[must_use]
    pub fn checked(geometry: Geometry, chunk_bytes: usize, blob_bytes: u64) -> Option<Self> {
        let valid = (1..=CHUNK_BYTES_MAX).contains(&chunk_bytes)
            && (1..=BLOB_BYTES_MAX).contains(&blob_bytes);
        valid.then_some(Self { geometry, chunk_bytes, blob_bytes })
    }

    /// The geometry.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Bytes of a chunk before sealing, those of the last stripe excepted.
    #[must_use]
    pub const fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Bytes of the blob.
    #[must_use]
    pub const fn blob_bytes(&self) -> u64 {
        self.blob_bytes
    }

    /// Bytes of the blob in a full stripe.
    #[must_use]
    pub const fn stripe_bytes(&self) -> usize {
        self.geometry.data() * self.chunk_bytes
    }

    /// Stripes of the blob; at least 1.
    #[must_use]
    pub const fn stripes(&self) -> u64 {
        self.blob_bytes.div_ceil(self.stripe_bytes() as u64)
    }

    /// Whether `stripe` is the last one.
    #[must_use]
    pub const fn is_last(&self, stripe: u64) -> bool {
        stripe + 1 == self.stripes()
    }

    /// The blob's bytes that stand in `stripe`.
    ///
    /// # Panics
    /// When the blob has no such stripe; so do the other methods that take a stripe.
    #[must_use]
    pub fn stripe_range(&self, stripe: u64) -> Range<u64> {
        assert!(stripe < self.stripes(), "stripe {stripe} is beyond the blob");
        let start = stripe * self.stripe_bytes() as u64;
        start..self.blob_bytes.min(start + self.stripe_bytes() as u64)
    }

    /// Bytes of the blob in `stripe`.
    #[must_use]
    pub fn stripe_len(&self, stripe: u64) -> usize {
        let range = self.stripe_range(stripe);
        usize::try_from(range.end - range.start).expect("at most a stripe, whose length is a usize")
    }

    /// For the last stripe the bytes of the blob in it, as [`crate::BlobKeys::seal_stripe`] wants
    /// it.
    #[must_use]
    pub fn last(&self, stripe: u64) -> Option<u32> {
        let stripe_len = || u32::try_from(self.stripe_len(stripe)).expect("asserted above");
        self.is_last(stripe).then(stripe_len)
    }

    /// Bytes of each chunk of `stripe` before sealing: [`Layout::chunk_bytes`], in the last stripe
    /// just enough for its bytes.
    #[must_use]
    pub fn chunk_len(&self, stripe: u64) -> usize {
        self.stripe_len(stripe).div_ceil(self.geometry.data())
    }

    /// Bytes of each sealed chunk of `stripe`: what a slot of [`crate::BlobKeys::seal_stripe`] has.
    #[must_use]
    pub fn sealed_chunk_len(&self, stripe: u64) -> usize {
        let extra = if self.is_last(stripe) { LAST_CHUNK_EXTRA_BYTES } else { 0 };
        self.chunk_len(stripe) + extra + TAG_BYTES
    }

    /// The sealed chunk of `stripe` in a shard's file, counted from the file's begin; the first one
    /// starts at [`SHARD_HEADER_BYTES`].
    #[must_use]
    pub fn sealed_chunk_range(&self, stripe: u64) -> Range<u64> {
        let start = HEADER + stripe * (self.chunk_bytes + TAG_BYTES) as u64;
        start..start + self.sealed_chunk_len(stripe) as u64
    }

    /// Bytes of each of the blob's shard files, header included.
    #[must_use]
    pub fn shard_bytes(&self) -> u64 {
        self.sealed_chunk_range(self.stripes() - 1).end
    }

    /// The stripes that have bytes of `range`; empty when `range` is empty or beyond the blob.
    #[must_use]
    pub fn stripes_of(&self, range: Range<u64>) -> Range<u64> {
        let end = range.end.min(self.blob_bytes);
        if range.start >= end {
            return 0..0;
        }
        let stripe_bytes = self.stripe_bytes() as u64;
        range.start / stripe_bytes..end.div_ceil(stripe_bytes)
    }

    /// Where the byte at `offset` of the blob is; `None` beyond its end.
    #[must_use]
    pub fn locate(&self, offset: u64) -> Option<ChunkPlace> {
        if offset >= self.blob_bytes {
            return None;
        }
        let stripe = offset / self.stripe_bytes() as u64;
        let in_stripe = usize::try_from(offset % self.stripe_bytes() as u64).ok()?;
        let (chunk_len, stripe_len) = (self.chunk_len(stripe), self.stripe_len(stripe));
        let number = in_stripe / chunk_len;
        let end = stripe_len.min((number + 1) * chunk_len);
        let index = ShardIndex::new(u8::try_from(number).ok()?, self.geometry)?;
        Some(ChunkPlace { stripe, index, offset: in_stripe % chunk_len, bytes: end - in_stripe })
    }
}

/// What a shard file's length tells about its stripes, before anything of it is authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimedStripes {
    /// How many.
    pub(crate) stripes: u64,
    /// Bytes of the last sealed chunk.
    pub(crate) last_sealed_len: usize,
}

impl ClaimedStripes {
    /// The stripes of a file with this many bytes behind its header; `None` when no blob has such a
    /// file.
    pub(crate) fn of(body_bytes: usize, chunk_bytes: usize) -> Option<Self> {
        // The last sealed chunk has 1 to `chunk_bytes` bytes of data, so this division is unique.
        let least = 1 + LAST_CHUNK_EXTRA_BYTES + TAG_BYTES;
        let full = chunk_bytes + TAG_BYTES;
        let before = body_bytes.checked_sub(least)? / full;
        let last_sealed_len = body_bytes - before * full;
        (last_sealed_len <= full + LAST_CHUNK_EXTRA_BYTES)
            .then_some(Self { stripes: before as u64 + 1, last_sealed_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_length_tells_its_stripes_and_no_other_length_does() {
        let geometry = Geometry::new(3, 2).expect("a valid geometry");
        for chunk_bytes in [1, 2, 7, 64] {
            let mut lengths = std::collections::BTreeSet::new();
            for blob_bytes in 1..2000 {
                let layout = Layout::new(geometry, chunk_bytes, blob_bytes);
                let body =
                    usize::try_from(layout.shard_bytes()).expect("small") - SHARD_HEADER_BYTES;
                lengths.insert(body);
                let last_sealed_len = layout.sealed_chunk_len(layout.stripes() - 1);
                let claimed = ClaimedStripes { stripes: layout.stripes(), last_sealed_len };
                assert_eq!(ClaimedStripes::of(body, chunk_bytes), Some(claimed));
            }
            for body in 0..*lengths.last().expect("some") {
                let claimed = ClaimedStripes::of(body, chunk_bytes);
                assert_eq!(claimed.is_some(), lengths.contains(&body), "{body}");
            }
        }
    }
}
