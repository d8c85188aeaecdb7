//! What the tests share: one blob, its keys and its shard files.

use havre_codec::{BlobKeys, ErasureCode, Layout, disperse};
use havre_model::record::BlobSecret;
use havre_model::{BlobId, Geometry, ShardIndex};

/// The blob of most tests.
pub(crate) const BLOB: BlobId = BlobId::from_bytes([0xb0; 16]);

/// A geometry that is known to be valid.
pub(crate) fn geometry(k: u8, m: u8) -> Geometry {
    Geometry::new(k, m).expect("a valid geometry")
}

/// An index that is known to be valid.
pub(crate) fn index(raw: usize, geometry: Geometry) -> ShardIndex {
    ShardIndex::new(u8::try_from(raw).expect("a byte"), geometry).expect("a valid index")
}

/// A secret that differs for each seed.
pub(crate) fn secret(seed: u8) -> BlobSecret {
    BlobSecret::from_bytes(core::array::from_fn(|at| seed.wrapping_mul(31) ^ (at as u8 * 7 + 1)))
}

/// Bytes without a visible pattern, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| step()).collect()
}

/// A blob as it was dispersed.
pub(crate) struct Blob {
    pub(crate) geometry: Geometry,
    pub(crate) secret: BlobSecret,
    pub(crate) keys: BlobKeys,
    pub(crate) coder: ErasureCode,
    pub(crate) bytes: Vec<u8>,
    /// Its shard files, by index.
    pub(crate) files: Vec<Vec<u8>>,
}

impl Blob {
    /// [`BLOB`] of this geometry with chunks of 64 bytes, its secret and its bytes made from
    /// `seed`.
    pub(crate) fn new((k, m): (u8, u8), seed: u8, length: usize) -> Self {
        Self::of(BLOB, geometry(k, m), 64, secret(seed), noise(seed.into(), length))
    }

    pub(crate) fn of(
        blob: BlobId,
        geometry: Geometry,
        chunk_bytes: usize,
        secret: BlobSecret,
        bytes: Vec<u8>,
    ) -> Self {
        let keys = BlobKeys::new(&secret, blob, geometry, chunk_bytes);
        let coder = ErasureCode::new(geometry);
        let files = disperse(&coder, &keys, &secret, &bytes).into_iter().map(Vec::from).collect();
        Self { geometry, secret, keys, coder, bytes, files }
    }

    pub(crate) fn index(&self, raw: usize) -> ShardIndex {
        index(raw, self.geometry)
    }

    /// The sealed chunks of a shard, in order.
    pub(crate) fn chunks(&self, shard: usize) -> Vec<Vec<u8>> {
        let layout = Layout::new(self.geometry, self.keys.chunk_bytes(), self.bytes.len() as u64);
        (0..layout.stripes())
            .map(|stripe| layout.sealed_chunk_range(stripe))
            .map(|range| self.files[shard][range.start as usize..range.end as usize].to_vec())
            .collect()
    }
}

/// The sets of exactly `size` out of `total`, as lists of positions.
pub(crate) fn subsets(total: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    (0_u32..1 << total)
        .filter(move |set| set.count_ones() as usize == size)
        .map(move |set| (0..total).filter(|at| set & 1 << at != 0).collect())
}
