//! Systematic Reed-Solomon over GF(2^8) with ISA-L's Cauchy matrix, so that another tool can
//! decode.
//!
//! The field has the polynomial 0x11d. The generator is the identity above the rows `a[i][j] = 1 /
//! (i xor j)` for `i` in `k..k+m` and `j` in `0..k`: what `gf_gen_cauchy1_matrix` of Intel's ISA-L
//! makes. The products over slices are reed-solomon-erasure's SIMD kernels; the matrix and its
//! inversion are ours, because that library builds a Vandermonde matrix.
//!
//! **Invariant.** Any `k` chunks of a stripe give every other one, and equal data always gives
//! equal parity, whatever the processor.
//!
//! **Deliberately absent.** Finding which chunks are wrong: each is authentic by itself
//! ([`crate::BlobKeys::open_chunk`]), so a wrong one never comes here.
//!
//! **Crash.** Values only; the inverted matrices are a cache.

use havre_model::limits::SHARDS_PER_BLOB_MAX;
use havre_model::{Geometry, ShardIndex};
use reed_solomon_erasure::galois_8;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Inverted matrices that are kept, one for each set of chunks that was decoded from.
pub const INVERSES_MAX: usize = 256;

const _: () = assert!(SHARDS_PER_BLOB_MAX <= 32, "a set of chunks is a u32");

/// The erasure code of one geometry. Cheap to clone; the clones share their cache.
#[derive(Clone)]
pub struct ErasureCode {
    shared: Arc<Shared>,
}

struct Shared {
    geometry: Geometry,
    /// `m` rows of `k` coefficients.
    parity_rows: Vec<u8>,
    /// `k` rows of `k` coefficients, by the bits of the chunks that are there.
    inverses: RwLock<HashMap<u32, Arc<[u8]>>>,
}

impl core::fmt::Debug for ErasureCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ErasureCode({})", self.shared.geometry)
    }
}

impl ErasureCode {
    /// The code of this geometry.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        let (data, parity) = geometry.into();
        let parity_rows = (data..data + parity)
            .flat_map(|row| (0..data).map(move |column| galois_8::div(1, row ^ column)))
            .collect();
        Self { shared: Arc::new(Shared { geometry, parity_rows, inverses: RwLock::default() }) }
    }

    /// The geometry.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    /// Fills the `m` parity chunks from the `k` data chunks. Allocates nothing.
    ///
    /// # Panics
    /// When there are not `k` and `m` of them, all of one length.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        let geometry = self.shared.geometry;
        assert_eq!(data.len(), geometry.data(), "data chunks of {geometry}");
        assert_eq!(parity.len(), geometry.parity(), "parity chunks of {geometry}");
        multiply(&self.shared.parity_rows, data, parity);
    }

    /// Fills `out` with the data chunks `missing`, from exactly `k` others. For a read. Allocates
    /// nothing when this set of chunks was decoded from before.
    ///
    /// # Panics
    /// As [`ErasureCode::reconstruct`], and when a missing index is no data shard.
    pub fn reconstruct_data(
        &self,
        available: &[(ShardIndex, &[u8])],
        missing: &[ShardIndex],
        out: &mut [&mut [u8]],
    ) {
        let data = self.shared.geometry.data();
        assert!(missing.iter().all(|index| index.get() < data), "only data chunks are asked for");
        self.reconstruct(available, missing, out);
    }

    /// Fills `out` with the chunks `wanted`, data or parity, from exactly `k` others. For a repair.
    ///
    /// # Panics
    /// When `available` is not `k` different chunks of this geometry, `out` not as many as
    /// `wanted`, or when their lengths differ.
    pub fn reconstruct(
        &self,
        available: &[(ShardIndex, &[u8])],
        wanted: &[ShardIndex],
        out: &mut [&mut [u8]],
    ) {
        let (data, total) = (self.shared.geometry.data(), self.shared.geometry.total());
        assert_eq!(available.len(), data, "exactly k chunks decode");
        assert_eq!(wanted.len(), out.len(), "one place for each chunk that is wanted");
        assert!(wanted.iter().all(|index| index.get() < total), "an index of another geometry");
        let present = available.iter().fold(0_u32, |set, (index, _)| {
            assert!(index.get() < total, "an index of another geometry");
            set | 1 << index.get()
        });
        assert_eq!(present.count_ones() as usize, data, "the chunks differ from each other");
        let inverse = self.inverse(present);

        // The inverse's columns follow the indices in ascending order, the caller need not.
        let mut chunks: [&[u8]; SHARDS_PER_BLOB_MAX] = [&[]; SHARDS_PER_BLOB_MAX];
        for (index, chunk) in available {
            chunks[(present & ((1 << index.get()) - 1)).count_ones() as usize] = chunk;
        }
        for (index, chunk) in wanted.iter().zip(out) {
            let mut row = [0; SHARDS_PER_BLOB_MAX];
            self.row_of(*index, &inverse, &mut row[..data]);
            multiply(&row[..data], &chunks[..data], core::slice::from_mut(chunk));
        }
    }

    /// The coefficients that make the chunk `wanted` out of the chunks whose inverse this is.
    fn row_of(&self, wanted: ShardIndex, inverse: &[u8], row: &mut [u8]) {
        let data = self.shared.geometry.data();
        let Some(parity) = wanted.get().checked_sub(data) else {
            row.copy_from_slice(&inverse[wanted.get() * data..][..data]);
            return;
        };
        let coefficients = &self.shared.parity_rows[parity * data..][..data];
        for (coefficient, line) in coefficients.iter().zip(inverse.chunks_exact(data)) {
            galois_8::mul_slice_xor(*coefficient, line, row);
        }
    }

    /// The inverse of the generator's rows `present`.
    fn inverse(&self, present: u32) -> Arc<[u8]> {
        let known = self.shared.inverses.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(inverse) = known.get(&present) {
            return Arc::clone(inverse);
        }
        drop(known);
        let inverse: Arc<[u8]> = self.invert(present).into();
        let mut known = self.shared.inverses.write().unwrap_or_else(PoisonError::into_inner);
        // Few sets are in use at a time; starting anew is simpler than choosing one to forget.
        if known.len() >= INVERSES_MAX {
            known.clear();
        }
        known.insert(present, Arc::clone(&inverse));
        inverse
    }

    /// Gauss-Jordan elimination. Every square part of a Cauchy matrix below an identity is regular.
    fn invert(&self, present: u32) -> Vec<u8> {
        let data = self.shared.geometry.data();
        let mut matrix = Vec::with_capacity(data * data);
        for row in (0..self.shared.geometry.total()).filter(|row| present & 1 << row != 0) {
            match row.checked_sub(data) {
                None => matrix.extend((0..data).map(|column| u8::from(column == row))),
                Some(row) => matrix.extend(&self.shared.parity_rows[row * data..][..data]),
            }
        }
        let mut inverse: Vec<u8> =
            (0..data * data).map(|at| u8::from(at / data == at % data)).collect();
        for column in 0..data {
            let pivot = (column..data)
                .find(|row| matrix[row * data + column] != 0)
                .expect("any k rows of the generator are independent");
            for half in [&mut matrix, &mut inverse] {
                for at in 0..data {
                    half.swap(column * data + at, pivot * data + at);
                }
            }
            let scale = galois_8::div(1, matrix[column * data + column]);
            for half in [&mut matrix, &mut inverse] {
                for cell in &mut half[column * data..][..data] {
                    *cell = galois_8::mul(*cell, scale);
                }
            }
            for row in (0..data).filter(|row| *row != column) {
                let factor = matrix[row * data + column];
                for half in [&mut matrix, &mut inverse] {
                    for at in 0..data {
                        let term = galois_8::mul(factor, half[column * data + at]);
                        half[row * data + at] ^= term;
                    }
                }
            }
        }
        inverse
    }
}

/// `out = rows * chunks`, all slices of one length. Working in blocks that stay in the first-level
/// cache was measured and gains nothing: the chunks are 64 KiB at most in practice, and the second
/// level holds a stripe of them.
fn multiply(rows: &[u8], chunks: &[&[u8]], out: &mut [&mut [u8]]) {
    let length = chunks[0].len();
    assert!(chunks.iter().all(|chunk| chunk.len() == length), "chunks of one length");
    assert!(out.iter().all(|chunk| chunk.len() == length), "chunks of one length");
    if length == 0 {
        // The library's kernels take the address of the first byte.
        return;
    }
    for (row, out) in rows.chunks_exact(chunks.len()).zip(out) {
        galois_8::mul_slice(row[0], chunks[0], out);
        for (coefficient, chunk) in row.iter().zip(chunks).skip(1) {
            if *coefficient != 0 {
                galois_8::mul_slice_xor(*coefficient, chunk, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_of_inverses_is_bounded() {
        let code = ErasureCode::new(Geometry::new(10, 4).expect("a valid geometry"));
        let known = || code.shared.inverses.read().expect("no test panics under it").len();
        for present in (0_u32..1 << 14).filter(|set| set.count_ones() == 10) {
            let _ = code.inverse(present);
            assert!((1..=INVERSES_MAX).contains(&known()));
        }
        let before = known();
        let _ = code.inverse(0x3ff << 4);
        assert_eq!(known(), before, "the last one is known");
    }
}
