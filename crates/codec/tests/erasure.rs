//! The erasure code against ISA-L's own output, a slow reference, and every loss pattern.

use crate::common::{geometry, index, noise, subsets};
use havre_codec::ErasureCode;
use havre_codec::erasure::INVERSES_MAX;
use havre_model::Geometry;
use proptest::prelude::*;

/// The product in GF(2^8) with 0x11d, by long multiplication and division of polynomials.
fn slow_product(a: u8, b: u8) -> u8 {
    let mut product =
        (0..8).fold(0_u32, |sum, bit| sum ^ ((u32::from(a) << bit) * u32::from(b >> bit & 1)));
    for bit in (8..16).rev() {
        if product >> bit & 1 == 1 {
            product ^= 0x11d << (bit - 8);
        }
    }
    u8::try_from(product).expect("reduced to a byte")
}

/// The inverse, by trying all.
fn slow_inverse(a: u8) -> u8 {
    (1..=255).find(|b| slow_product(a, *b) == 1).expect("all but zero have one")
}

/// The parity, byte by byte, by the definition.
fn slow_parity(geometry: Geometry, data: &[Vec<u8>]) -> Vec<Vec<u8>> {
    (geometry.data()..geometry.total())
        .map(|row| {
            let coefficients: Vec<u8> =
                (0..data.len()).map(|column| slow_inverse((row ^ column) as u8)).collect();
            (0..data[0].len())
                .map(|at| {
                    coefficients.iter().zip(data).fold(0, |sum, (coefficient, chunk)| {
                        sum ^ slow_product(*coefficient, chunk[at])
                    })
                })
                .collect()
        })
        .collect()
}

fn encode(geometry: Geometry, data: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut parity = vec![vec![0xee; data[0].len()]; geometry.parity()];
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let mut places: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
    ErasureCode::new(geometry).encode(&data, &mut places);
    parity
}

/// All chunks of a stripe of noise.
fn stripe(geometry: Geometry, length: usize) -> Vec<Vec<u8>> {
    let mut chunks: Vec<Vec<u8>> =
        (0..geometry.data()).map(|at| noise(at as u64 + 1, length)).collect();
    let parity = encode(geometry, &chunks);
    chunks.extend(parity);
    chunks
}

/// Every chunk, lost or not, comes back from the chunks `from`.
#[track_caller]
fn check(coder: &ErasureCode, chunks: &[Vec<u8>], from: &[usize]) {
    let geometry = coder.geometry();
    let available: Vec<_> =
        from.iter().map(|at| (index(*at, geometry), chunks[*at].as_slice())).collect();
    let wanted: Vec<_> = geometry.indices().collect();
    let mut out = vec![vec![0xee; chunks[0].len()]; wanted.len()];
    let mut places: Vec<&mut [u8]> = out.iter_mut().map(Vec::as_mut_slice).collect();
    coder.reconstruct(&available, &wanted, &mut places);
    assert_eq!(out, chunks, "{geometry} from {from:?}");

    let missing: Vec<_> = wanted[..geometry.data()].to_vec();
    let mut places: Vec<&mut [u8]> = out[..geometry.data()]
        .iter_mut()
        .map(|place| {
            place.fill(0);
            place.as_mut_slice()
        })
        .collect();
    coder.reconstruct_data(&available, &missing, &mut places);
    assert_eq!(out[..geometry.data()], chunks[..geometry.data()], "{geometry} from {from:?}");
}

#[test]
fn parity_is_what_isa_l_computes() {
    const LENGTH: usize = 200;
    for (k, m) in [
        (1, 1),
        (1, 3),
        (2, 1),
        (3, 3),
        (4, 2),
        (5, 3),
        (6, 3),
        (10, 4),
        (16, 16),
        (20, 12),
        (31, 1),
    ] {
        let data: Vec<Vec<u8>> = (0..usize::from(k))
            .map(|i| (0..LENGTH).map(|j| (i * 131 + j * 29 + (j >> 3) * 7 + 17) as u8).collect())
            .collect();
        let path = format!("{}/testdata/isa-l/cauchy-{k}+{m}.bin", env!("CARGO_MANIFEST_DIR"));
        let expected = std::fs::read(&path).expect(&path);
        assert_eq!(encode(geometry(k, m), &data).concat(), expected, "{k}+{m}");
    }
}

#[test]
fn parity_is_what_the_definition_says() {
    for k in 1..=32 {
        for m in [0, 1, 32 - k] {
            let Ok(geometry) = Geometry::new(k, m) else { continue };
            let data: Vec<Vec<u8>> = (0..k).map(|at| noise(u64::from(at), 67)).collect();
            assert_eq!(encode(geometry, &data), slow_parity(geometry, &data), "{geometry}");
        }
    }
}

#[test]
fn the_matrix_of_four_and_two_is_the_published_one() {
    // One byte of 1 in turn reads the matrix's columns off the parity.
    let column = |at: usize| {
        let mut data = vec![vec![0]; 4];
        data[at] = vec![1];
        encode(geometry(4, 2), &data).concat()
    };
    let columns: Vec<_> = (0..4).map(column).collect();
    assert_eq!(columns, [[71, 167], [167, 71], [122, 186], [186, 122]]);
}

#[test]
fn every_chunk_comes_back_from_every_k_of_the_chunks() {
    for (k, m) in [(1, 0), (1, 1), (1, 3), (2, 1), (2, 2), (3, 3), (4, 2), (5, 3), (6, 3), (4, 4)] {
        let geometry = geometry(k, m);
        let chunks = stripe(geometry, 40);
        let coder = ErasureCode::new(geometry);
        for from in subsets(geometry.total(), geometry.data()) {
            check(&coder, &chunks, &from);
        }
    }
}

#[test]
fn more_loss_patterns_than_the_cache_holds_are_decoded_all_the_same() {
    let geometry = geometry(10, 4);
    let chunks = stripe(geometry, 33);
    let coder = ErasureCode::new(geometry);
    let patterns: Vec<_> = subsets(14, 10).collect();
    assert!(patterns.len() > INVERSES_MAX);
    for from in patterns.iter().chain(&patterns[..10]) {
        check(&coder, &chunks, from);
    }
}

#[test]
fn the_order_of_the_chunks_that_are_there_does_not_matter() {
    let geometry = geometry(3, 3);
    let chunks = stripe(geometry, 20);
    let coder = ErasureCode::new(geometry);
    for from in [[5, 0, 3], [3, 5, 0], [0, 3, 5], [5, 3, 0]] {
        check(&coder, &chunks, &from);
    }
}

#[test]
fn chunks_of_any_length_are_encoded_whole() {
    for length in [0, 1, 7, 15, 31, 32, 33, 63, 65, 127, 1025, 65_552] {
        let geometry = geometry(3, 2);
        let chunks = stripe(geometry, length);
        assert_eq!(chunks[3..], slow_parity(geometry, &chunks[..3]), "{length} bytes");
        check(&ErasureCode::new(geometry), &chunks, &[2, 3, 4]);
    }
}

proptest! {
    #[test]
    fn any_stripe_of_any_geometry_comes_back(
        (k, m) in (1_u8..=32).prop_flat_map(|k| (Just(k), 0..=32 - k)),
        length in 1_usize..300,
        order in any::<u64>(),
    ) {
        let geometry = geometry(k, m);
        let chunks = stripe(geometry, length);
        // A choice of k out of n that follows from `order`.
        let mut from: Vec<usize> = (0..geometry.total()).collect();
        let rank = |at: &usize| (order ^ *at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        from.sort_by_key(|at| rank(at).rotate_left(17));
        check(&ErasureCode::new(geometry), &chunks, &from[..geometry.data()]);
    }
}

#[test]
#[should_panic(expected = "differ from each other")]
fn the_same_chunk_twice_is_refused() {
    let geometry = geometry(2, 2);
    let chunks = stripe(geometry, 8);
    check(&ErasureCode::new(geometry), &chunks, &[1, 1]);
}

#[test]
#[should_panic(expected = "chunks of one length")]
fn chunks_of_different_lengths_are_refused() {
    let code = ErasureCode::new(geometry(2, 1));
    code.encode(&[&[1, 2], &[3]], &mut [&mut [0, 0]]);
}
