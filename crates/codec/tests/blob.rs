//! A blob's way to the shards and back.

use crate::common::{BLOB, Blob, geometry, index, noise, secret};
use havre_codec::shard::{CombineError, combine, parse_header, verify_header};
use havre_codec::{
    BlobKeys, ErasureCode, GatherError, Layout, OpenedChunk, SHARD_HEADER_BYTES, gather,
};
use havre_model::limits::{EXTENT_CHUNK_BYTES, PACK_CHUNK_BYTES, TAG_BYTES};
use havre_model::{BlobId, Geometry};
use proptest::prelude::*;

/// The blob comes back from every set of `k` or more files, and from no smaller one.
#[track_caller]
fn check_all_subsets(blob: &Blob) {
    for set in 0_u32..1 << blob.geometry.total() {
        let files: Vec<&[u8]> = (0..blob.geometry.total())
            .filter(|at| set & 1 << at != 0)
            .map(|at| blob.files[at].as_slice())
            .collect();
        let gathered = gather(BLOB, &files);
        if files.len() < blob.geometry.data() {
            assert_eq!(gathered, Err(GatherError::TooFew));
            continue;
        }
        let gathered = gathered.expect("k files and more");
        assert_eq!(gathered.bytes, blob.bytes, "{} from {set:b}", blob.geometry);
        assert_eq!(gathered.secret, blob.secret);
        assert_eq!((gathered.geometry, gathered.chunk_bytes), (blob.geometry, 64));
        assert_eq!(gathered.bad, []);
    }
}

#[test]
fn a_blob_is_gathered_from_every_set_of_k_or_more_shards() {
    for shape in [(1, 0), (1, 2), (2, 1), (3, 3), (4, 2), (5, 3), (6, 3)] {
        check_all_subsets(&Blob::new(shape, 1, 1000));
    }
}

#[test]
fn every_length_around_a_chunk_and_a_stripe_is_kept_to_the_byte() {
    for length in (1..=200).chain([383, 384, 385, 575, 576, 577]) {
        let blob = Blob::new((3, 2), 2, length);
        for from in [[0, 1, 2], [2, 3, 4]] {
            let files: Vec<_> = from.iter().map(|at| &blob.files[*at]).collect();
            assert_eq!(gather(BLOB, &files).unwrap().bytes, blob.bytes, "{length} bytes");
        }
    }
}

#[test]
fn shard_files_have_the_layouts_length_and_all_the_same() {
    for length in [1, 63, 64, 192, 193, 1000] {
        let blob = Blob::new((3, 2), 2, length);
        let layout = Layout::new(blob.geometry, 64, length as u64);
        assert!(blob.files.iter().all(|file| file.len() as u64 == layout.shard_bytes()));
    }
}

#[test]
fn a_chunk_is_opened_by_itself_where_the_layout_says() {
    let blob = Blob::new((3, 3), 3, 1000);
    let layout = Layout::new(blob.geometry, 64, 1000);
    let mut read = Vec::new();
    let mut offset = 0;
    while let Some(place) = layout.locate(offset) {
        let range = layout.sealed_chunk_range(place.stripe);
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let mut slot = blob.files[place.index.get()][range].to_vec();
        let last = layout.is_last(place.stripe);
        let opened = blob.keys.open_chunk(place.index, place.stripe, last, &mut slot).unwrap();
        let stripe_data_len = layout.last(place.stripe);
        let chunk_len = layout.chunk_len(place.stripe);
        assert_eq!(opened, OpenedChunk { chunk_len, stripe_data_len });
        read.extend_from_slice(&slot[place.offset..][..place.bytes]);
        offset += place.bytes as u64;
    }
    assert_eq!(read, blob.bytes);
}

#[test]
fn a_repaired_shard_is_the_identical_file() {
    // A18: everything that goes into the repair was opened, so authenticated, first.
    for length in [1, 100, 192, 1000] {
        let blob = Blob::new((3, 3), 4, length);
        let layout = Layout::new(blob.geometry, 64, length as u64);
        for lost in 0..6 {
            let from: Vec<usize> = (0..6).filter(|at| *at != lost).take(3).collect();
            let mut file = blob.keys.header_for(&blob.secret, blob.index(lost)).to_vec();
            for stripe in 0..layout.stripes() {
                let chunks: Vec<Vec<u8>> = from
                    .iter()
                    .map(|at| {
                        let mut slot = blob.chunks(*at)[usize::try_from(stripe).unwrap()].clone();
                        let last = layout.is_last(stripe);
                        let opened =
                            blob.keys.open_chunk(blob.index(*at), stripe, last, &mut slot).unwrap();
                        slot.truncate(opened.chunk_len);
                        slot
                    })
                    .collect();
                let available: Vec<_> = from
                    .iter()
                    .map(|at| blob.index(*at))
                    .zip(chunks.iter().map(Vec::as_slice))
                    .collect();
                let mut slot = vec![0; layout.sealed_chunk_len(stripe)];
                let chunk_len = layout.chunk_len(stripe);
                blob.coder.reconstruct(
                    &available,
                    &[blob.index(lost)],
                    &mut [&mut slot[..chunk_len]],
                );
                blob.keys.seal_chunk(blob.index(lost), stripe, layout.last(stripe), &mut slot);
                file.extend_from_slice(&slot);
            }
            assert_eq!(file, blob.files[lost], "shard {lost} of {length} bytes");
        }
    }
}

#[test]
fn headers_combine_to_the_secret_and_know_their_place() {
    for shape in [(1, 0), (1, 3), (3, 3), (10, 4), (16, 16), (32, 0)] {
        let blob = Blob::new(shape, 5, 10);
        let headers: Vec<_> =
            blob.files.iter().map(|file| parse_header(file, BLOB).unwrap()).collect();
        for (at, header) in headers.iter().enumerate() {
            assert!(verify_header(&blob.keys, header));
            assert_eq!(header.index().get(), at);
            assert_eq!(header.geometry(), blob.geometry);
            assert_eq!((header.chunk_bytes(), header.blob()), (64, BLOB));
            let bytes = blob.keys.header_for(&blob.secret, header.index());
            assert_eq!(bytes, blob.files[at][..SHARD_HEADER_BYTES]);
        }
        assert_eq!(combine(&headers), Ok(blob.secret));
    }
}

#[test]
fn the_shares_are_shamirs_as_another_library_combines_them() {
    for (k, m) in [(1, 2), (2, 2), (3, 3), (10, 4)] {
        let blob = Blob::new((k, m), 6, 10);
        let shares: Vec<blahaj::Share> = blob
            .files
            .iter()
            .enumerate()
            .map(|(at, file)| {
                let bytes = [&[at as u8 + 1], &file[64..96]].concat();
                blahaj::Share::try_from(bytes.as_slice()).unwrap()
            })
            .collect();
        for first in 0..=usize::from(m) {
            let some = &shares[first..first + usize::from(k)];
            assert_eq!(blahaj::Sharks(k).recover(some).unwrap(), blob.secret.as_bytes());
        }
    }
}

#[test]
fn the_shares_that_another_library_makes_are_combined() {
    let blob = Blob::new((3, 3), 7, 10);
    let dealer = blahaj::Sharks(3).dealer(blob.secret.as_bytes());
    let headers: Vec<_> = blob
        .files
        .iter()
        .zip(dealer)
        .map(|(file, share)| {
            // Version, x, then the values; the x of the n-th share is n, as ours.
            let share = Vec::from(&share);
            let mut header = file[..SHARD_HEADER_BYTES].to_vec();
            header[64..96].copy_from_slice(&share[share.len() - 32..]);
            parse_header(&header, BLOB).unwrap()
        })
        .collect();
    assert_eq!(combine(&headers[..3]), Ok(blob.secret.clone()));
    assert_eq!(combine(&headers[2..5]), Ok(blob.secret));
}

#[test]
fn fewer_than_k_shares_do_not_give_the_secret() {
    for (k, m) in [(2, 2), (3, 3), (5, 3), (10, 4)] {
        let blob = Blob::new((k, m), 8, 10);
        let few = usize::from(k) - 1;
        let headers: Vec<_> =
            blob.files.iter().map(|file| parse_header(file, BLOB).unwrap()).collect();
        assert_eq!(combine(&headers[..few]), Err(CombineError::TooFew));
        // Neither as a polynomial of a lower degree, which would be no lock at all, nor in the
        // clear.
        for first in 0..=usize::from(m) {
            let shares: Vec<blahaj::Share> = (first..first + few)
                .map(|at| [&[at as u8 + 1], &blob.files[at][64..96]].concat())
                .map(|bytes| blahaj::Share::try_from(bytes.as_slice()).unwrap())
                .collect();
            assert_ne!(blahaj::Sharks(k - 1).recover(&shares).unwrap(), blob.secret.as_bytes());
            assert_ne!(blob.files[first][64..96], blob.secret.as_bytes()[..]);
        }
    }
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let blob = Blob::new((1, 1), 9, 10);
    let header = parse_header(&blob.files[0], BLOB).unwrap();
    let gathered = gather(BLOB, &blob.files).unwrap();
    let shown =
        format!("{:?} {:?} {header:?} {gathered:?} {:?}", blob.keys, blob.coder, blob.secret);
    // With k = 1 the share is the secret itself.
    let list = format!("{:?}", blob.secret.as_bytes());
    for secret in [
        list.trim_matches(['[', ']']),
        &blob.secret.as_bytes().map(|b| format!("{b:02x}")).concat(),
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn sealing_and_opening_allocate_nothing() {
    for (k, m) in [(3, 3), (10, 4), (16, 16)] {
        let geometry = geometry(k, m);
        let keys = BlobKeys::new(&secret(1), BLOB, geometry, 4096);
        let coder = ErasureCode::new(geometry);
        let mut slots = vec![vec![7; 4096 + TAG_BYTES]; geometry.total()];
        let mut places: Vec<&mut [u8]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
        keys.seal_stripe(&coder, 4, None, &mut places);
        let used = allocation_counter::measure(|| {
            keys.seal_stripe(&coder, 5, None, &mut places);
            let opened = keys.open_chunk(index(0, geometry), 5, false, places[0]);
            assert_eq!(opened.map(|opened| opened.chunk_len), Ok(4096));
            assert!(keys.open_chunk(index(1, geometry), 4, false, places[1]).is_err());
        });
        assert_eq!(used.count_total, 0, "{geometry}");
    }
}

#[test]
fn decoding_again_from_the_same_chunks_allocates_nothing() {
    let geometry = geometry(3, 3);
    let coder = ErasureCode::new(geometry);
    let chunks = [[1; 64], [2; 64], [3; 64]];
    let available: Vec<_> =
        (3..6).zip(&chunks).map(|(at, chunk)| (index(at, geometry), chunk.as_slice())).collect();
    let mut out = [0; 64];
    let mut decode = || coder.reconstruct_data(&available, &[index(1, geometry)], &mut [&mut out]);
    decode();
    assert_eq!(allocation_counter::measure(decode).count_total, 0);
}

#[test]
#[should_panic(expected = "another secret")]
fn headers_of_another_secret_are_not_made() {
    let blob = Blob::new((2, 1), 1, 10);
    let _ = blob.keys.headers(&secret(2));
}

#[test]
#[should_panic(expected = "the slot has room for the tag and no more")]
fn a_slot_of_another_length_is_refused() {
    let blob = Blob::new((2, 1), 1, 10);
    blob.keys.seal_chunk(blob.index(0), 0, None, &mut [0; 64 + TAG_BYTES + 1]);
}

fn shape() -> impl Strategy<Value = Geometry> {
    (1_u8..=12).prop_flat_map(|k| (Just(k), 0_u8..=8)).prop_map(|(k, m)| geometry(k, m))
}

/// A file, a place in it, what flips there, and whether the file is cut there instead.
fn damage() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, u8, bool)> {
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_u8..=255, any::<bool>())
}

proptest! {
    #[test]
    fn any_blob_survives_any_loss_and_damage_within_its_parity(
        geometry in shape(),
        chunk_bytes in 1_usize..200,
        length in 1_usize..5000,
        seed in any::<u64>(),
        damage in proptest::collection::vec(damage(), 0..8),
    ) {
        let bytes = noise(seed, length);
        let blob = Blob::of(BLOB, geometry, chunk_bytes, secret(seed as u8), bytes);
        let mut files = blob.files.clone();
        let mut hit = std::collections::BTreeSet::new();
        for (file, at, flip, cut) in damage {
            let file = file.index(files.len());
            if hit.len() == geometry.parity() && !hit.contains(&file) {
                continue;
            }
            hit.insert(file);
            if cut || files[file].is_empty() {
                let keep = at.index(files[file].len() + 1);
                files[file].truncate(keep);
            } else {
                let at = at.index(files[file].len());
                files[file][at] ^= flip;
            }
        }
        let gathered = gather(BLOB, &files).unwrap();
        prop_assert_eq!(&gathered.bytes, &blob.bytes);
        prop_assert_eq!(gathered.secret, blob.secret);
        prop_assert!(gathered.bad.iter().all(|at| hit.contains(at)));
    }

    #[test]
    fn a_layout_cuts_the_blob_and_the_file_without_gap_or_overlap(
        geometry in shape(),
        chunk_bytes in 1_usize..300,
        length in 1_u64..20_000,
        range in (0_u64..21_000, 0_u64..21_000),
    ) {
        let layout = Layout::new(geometry, chunk_bytes, length);
        let (mut blob_at, mut file_at) = (0, SHARD_HEADER_BYTES as u64);
        for stripe in 0..layout.stripes() {
            let bytes = layout.stripe_range(stripe);
            prop_assert_eq!(bytes.start, blob_at);
            prop_assert_eq!((bytes.end - bytes.start) as usize, layout.stripe_len(stripe));
            prop_assert!(layout.stripe_len(stripe) <= layout.chunk_len(stripe) * geometry.data());
            prop_assert!(layout.chunk_len(stripe) >= 1 && layout.chunk_len(stripe) <= chunk_bytes);
            let sealed = layout.sealed_chunk_range(stripe);
            prop_assert_eq!(sealed.start, file_at);
            prop_assert_eq!((sealed.end - sealed.start) as usize, layout.sealed_chunk_len(stripe));
            prop_assert_eq!(layout.is_last(stripe), stripe + 1 == layout.stripes());
            prop_assert_eq!(layout.last(stripe).is_some(), layout.is_last(stripe));
            (blob_at, file_at) = (bytes.end, sealed.end);
        }
        prop_assert_eq!((blob_at, file_at), (length, layout.shard_bytes()));

        let stripes = layout.stripes_of(range.0..range.1);
        for stripe in 0..layout.stripes() {
            let bytes = layout.stripe_range(stripe);
            let meets = bytes.start.max(range.0) < bytes.end.min(range.1);
            prop_assert_eq!(stripes.contains(&stripe), meets, "stripe {}", stripe);
        }
    }
}

#[test]
fn numbers_that_are_no_layout_are_refused() {
    let geometry = geometry(3, 3);
    for (chunk_bytes, blob_bytes) in
        [(0, 1), (1, 0), ((1 << 20) + 1, 1), (1, (1 << 40) + 1), (usize::MAX, u64::MAX)]
    {
        assert_eq!(Layout::checked(geometry, chunk_bytes, blob_bytes), None);
    }
    for (chunk_bytes, blob_bytes) in [(1, 1), (1 << 20, 1 << 40), (1, 1 << 40)] {
        assert!(Layout::checked(geometry, chunk_bytes, blob_bytes).is_some());
    }
}

#[test]
fn blobs_of_real_chunk_lengths_come_back() {
    for (chunk_bytes, length) in [(PACK_CHUNK_BYTES, 100_000), (EXTENT_CHUNK_BYTES, 500_000)] {
        let id = BlobId::from_bytes([1; 16]);
        let blob = Blob::of(id, geometry(3, 3), chunk_bytes, secret(3), noise(3, length));
        assert_eq!(gather(id, &blob.files[2..5]).unwrap().bytes, blob.bytes);
    }
}
