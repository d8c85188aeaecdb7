//! The attacks of part A that are made on a dispersed blob. Each test names its number.

use crate::common::{BLOB, Blob, geometry, noise, secret, subsets};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use havre_codec::shard::{CombineError, CorruptHeader, combine, parse_header, verify_header};
use havre_codec::{BlobKeys, CorruptChunk, GatherError, SHARD_HEADER_BYTES, gather, gather_each};
use havre_model::record::BlobSecret;
use havre_model::{BlobId, Geometry};

/// A blob of four full stripes and a last one, and the sealed chunks of one of its shards.
fn five_chunks(seed: u8) -> (Blob, Vec<Vec<u8>>) {
    let blob = Blob::new((3, 3), seed, 4 * 192 + 5);
    let chunks = blob.chunks(1);
    assert_eq!(chunks.len(), 5);
    (blob, chunks)
}

/// Whether a chunk opens at this place of shard 1.
fn opens(blob: &Blob, stripe: u64, last: bool, sealed: &[u8]) -> bool {
    blob.keys.open_chunk(blob.index(1), stripe, last, &mut sealed.to_vec()).is_ok()
}

fn permutations(items: Vec<usize>) -> Vec<Vec<usize>> {
    if items.is_empty() {
        return vec![vec![]];
    }
    let with_first = |at: usize| {
        let mut rest = items.clone();
        let first = rest.remove(at);
        permutations(rest).into_iter().map(move |tail| [vec![first], tail].concat())
    };
    (0..items.len()).flat_map(with_first).collect()
}

/// The shard file of these chunks under the header of shard 1.
fn file_of(blob: &Blob, chunks: &[&[u8]]) -> Vec<u8> {
    [&blob.files[1][..SHARD_HEADER_BYTES], &chunks.concat()].concat()
}

/// The blob is gathered in spite of `file` in place of its shard 1, which is found out.
#[track_caller]
fn check_found_out(blob: &Blob, file: Vec<u8>) {
    let files = [&blob.files[0], &file, &blob.files[2], &blob.files[3]];
    let gathered = gather(BLOB, &files).expect("three good shards");
    assert_eq!(gathered.bytes, blob.bytes);
    assert_eq!(gathered.bad, [1]);
    // Where every shard is needed, good chunks at their own places still serve; others never do.
    match gather(BLOB, &files[..3]) {
        Ok(gathered) => assert_eq!((gathered.bytes, gathered.bad), (blob.bytes.clone(), vec![1])),
        Err(error) => assert_eq!(error, GatherError::TooFew),
    }
}

#[test]
fn a2_no_other_version_or_suite_is_authentic() {
    let blob = Blob::new((3, 3), 1, 500);
    for at in [4, 5] {
        for value in 0..=255 {
            let mut file = blob.files[1].clone();
            if file[at] == value {
                continue;
            }
            file[at] = value;
            let (version, suite) = (file[4], file[5]);
            assert_eq!(
                parse_header(&file, BLOB),
                Err(CorruptHeader::UnknownVersion { version, suite })
            );
            let files = [&blob.files[0], &file, &blob.files[2], &blob.files[3]];
            assert_eq!(gather(BLOB, &files).unwrap().bytes, blob.bytes);
            let error = GatherError::UnknownVersion { version, suite };
            assert_eq!(gather(BLOB, &files[..3]), Err(error), "the reaction is to upgrade");
        }
    }
}

/// HKDF-SHA256 and a chunk's sealing as `docs/formats/shard.md` has them, written from that page.
struct Reference {
    version: u8,
    suite: u8,
}

impl Reference {
    fn context(&self, blob: BlobId, geometry: Geometry, chunk_bytes: u32) -> Vec<u8> {
        let (k, m) = geometry.into();
        let head = [&[self.version, self.suite][..], blob.as_bytes(), &[k, m]].concat();
        [head, chunk_bytes.to_le_bytes().to_vec()].concat()
    }

    fn derive(secret: &BlobSecret, label: &[u8], context: &[u8], number: u8) -> Vec<u8> {
        let sign = |key: &[u8], message: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
        };
        let extracted = sign(b"havre second lock 1", secret.as_bytes());
        sign(&extracted, &[label, context, &[number, 1]].concat())
    }

    fn seal(
        &self,
        key: &Self,
        blob: &Blob,
        index: u8,
        stripe: u64,
        last: bool,
        plain: &[u8],
    ) -> Vec<u8> {
        let chunk_bytes = u32::try_from(blob.keys.chunk_bytes()).unwrap();
        let context = key.context(BLOB, blob.geometry, chunk_bytes);
        let key = Self::derive(&blob.secret, b"havre chunk key\0", &context, index);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&stripe.to_be_bytes());
        nonce[11] = u8::from(last);
        let mut aad = self.context(BLOB, blob.geometry, chunk_bytes);
        aad.push(index);
        aad.extend_from_slice(&stripe.to_be_bytes());
        aad.push(u8::from(last));
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut sealed,
        )
        .unwrap();
        sealed
    }
}

#[test]
fn a2_version_and_suite_are_in_the_associated_data_and_in_the_keys() {
    let (blob, chunks) = five_chunks(1);
    let mut plain = chunks[2].clone();
    let opened = blob.keys.open_chunk(blob.index(1), 2, false, &mut plain).unwrap();
    plain.truncate(opened.chunk_len);
    let ours = Reference { version: 1, suite: 1 };
    assert_eq!(ours.seal(&ours, &blob, 1, 2, false, &plain), chunks[2]);
    for (version, suite) in [(0, 1), (2, 1), (1, 0), (1, 2), (255, 255)] {
        let other = Reference { version, suite };
        assert!(!opens(&blob, 2, false, &other.seal(&ours, &blob, 1, 2, false, &plain)));
        assert!(!opens(&blob, 2, false, &ours.seal(&other, &blob, 1, 2, false, &plain)));
        assert!(!opens(&blob, 2, false, &other.seal(&other, &blob, 1, 2, false, &plain)));
    }
}

#[test]
fn a4_a_chunk_opens_at_its_own_place_only() {
    let (blob, chunks) = five_chunks(1);
    for (at, chunk) in chunks.iter().enumerate() {
        for stripe in 0..6 {
            for last in [false, true] {
                let own = (stripe, last) == (at as u64, at == 4);
                assert_eq!(opens(&blob, stripe, last, chunk), own, "{at} at {stripe}, {last}");
            }
        }
        for other in blob.geometry.indices().filter(|other| other.get() != 1) {
            let opened = blob.keys.open_chunk(other, at as u64, at == 4, &mut chunk.clone());
            assert_eq!(opened, Err(CorruptChunk), "the chunk of another shard");
        }
    }
}

#[test]
fn a4_a_chunk_that_looks_like_an_end_does_not_end_the_blob() {
    // The writer of the blob is the attacker: each chunk ends in what an end would say, 180 bytes
    // in its stripe, and the true last chunk is as long as a full one. Only the flag tells them
    // apart.
    let mut bytes = noise(1, 2 * 192 + 180);
    for chunk in bytes[..2 * 192].chunks_mut(64) {
        chunk[60..].copy_from_slice(&180_u32.to_le_bytes());
    }
    let blob = Blob::of(BLOB, geometry(3, 3), 64, secret(1), bytes);
    for (at, chunk) in blob.chunks(1).iter().enumerate() {
        assert_eq!(chunk.len(), 80);
        assert!(opens(&blob, at as u64, at == 2, chunk));
        assert!(!opens(&blob, at as u64, at != 2, chunk));
    }
    let cut: Vec<_> = blob.files.iter().map(|file| &file[..SHARD_HEADER_BYTES + 80]).collect();
    assert_eq!(gather(BLOB, &cut), Err(GatherError::TooFew));
}

#[test]
fn a4_an_end_that_few_files_have_is_outvoted() {
    // Two ends under one secret: only who knows the secret can make the second.
    let (blob, longer) = (Blob::new((3, 3), 1, 500), Blob::new((3, 3), 1, 700));
    for liar in 0..6 {
        let mut files = blob.files.clone();
        files[liar] = longer.files[liar].clone();
        let gathered = gather(BLOB, &files).unwrap();
        assert_eq!(gathered.bytes, blob.bytes);
        assert_eq!(gathered.bad, [liar]);
    }
}

#[test]
fn a4_reordered_chunks_are_found_out() {
    let (blob, chunks) = five_chunks(1);
    for order in permutations((0..5).collect()) {
        let file = file_of(&blob, &order.iter().map(|at| &chunks[*at][..]).collect::<Vec<_>>());
        if file == blob.files[1] {
            continue;
        }
        let needed = [&blob.files[0], &file, &blob.files[2]];
        assert_eq!(gather(BLOB, &needed), Err(GatherError::TooFew), "{order:?}");
        check_found_out(&blob, file);
    }
}

#[test]
fn a4_dropped_doubled_and_spliced_chunks_are_found_out() {
    let (blob, chunks) = five_chunks(1);
    let (_, others) = five_chunks(2);
    let all: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    for at in 0..5 {
        let mut dropped = all.clone();
        dropped.remove(at);
        check_found_out(&blob, file_of(&blob, &dropped));
        let mut doubled = all.clone();
        doubled.insert(at, all[at]);
        check_found_out(&blob, file_of(&blob, &doubled));
        let mut spliced = all.clone();
        spliced[at] = &others[at];
        check_found_out(&blob, file_of(&blob, &spliced));
    }
    // The tail of a longer write of the same blob.
    let longer = Blob::new((3, 3), 1, 6 * 192);
    let tail = longer.chunks(1);
    check_found_out(&blob, file_of(&blob, &[&all[..4], &[&tail[4], &tail[5]]].concat()));
}

#[test]
fn a4_every_truncation_and_every_extension_is_found_out() {
    let (blob, _) = five_chunks(1);
    let file = &blob.files[1];
    for length in 0..file.len() {
        check_found_out(&blob, file[..length].to_vec());
    }
    for more in 1..200 {
        check_found_out(&blob, [&file[..], &noise(1, more)].concat());
    }
}

#[test]
fn a4_every_flipped_bit_is_found_out() {
    let blob = Blob::new((2, 2), 3, 150);
    let file = &blob.files[1];
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut file = file.clone();
            file[at] ^= 1 << bit;
            let files = [&blob.files[0], &file, &blob.files[2]];
            let gathered = gather(BLOB, &files).unwrap();
            assert_eq!(gathered.bytes, blob.bytes, "byte {at}");
            assert_eq!(gathered.bad, [1], "byte {at}");
            assert!(gather(BLOB, &files[..2]).is_err(), "byte {at}");
        }
    }
}

#[test]
fn a5_chunks_do_not_open_under_another_blob_geometry_or_chunk_length() {
    let (blob, chunks) = five_chunks(1);
    let other_blob = BlobId::from_bytes([0xb1; 16]);
    for (what, keys) in [
        ("another blob", BlobKeys::new(&blob.secret, other_blob, blob.geometry, 64)),
        ("another k", BlobKeys::new(&blob.secret, BLOB, geometry(4, 3), 64)),
        ("another m", BlobKeys::new(&blob.secret, BLOB, geometry(3, 4), 64)),
        ("another chunk length", BlobKeys::new(&blob.secret, BLOB, blob.geometry, 65)),
        ("another secret", BlobKeys::new(&secret(99), BLOB, blob.geometry, 64)),
    ] {
        for (at, chunk) in chunks.iter().enumerate() {
            let opened = keys.open_chunk(blob.index(1), at as u64, at == 4, &mut chunk.clone());
            assert_eq!(opened, Err(CorruptChunk), "{what}");
        }
        let header = parse_header(&blob.files[1], BLOB).unwrap();
        assert!(!verify_header(&keys, &header), "{what}");
    }
}

#[test]
fn a5_the_shard_of_another_blob_is_an_erasure() {
    let blob = Blob::new((3, 3), 1, 500);
    let id = BlobId::from_bytes([0xb1; 16]);
    let other = Blob::of(id, blob.geometry, 64, secret(2), noise(9, 500));
    assert_eq!(parse_header(&other.files[1], BLOB), Err(CorruptHeader::OtherBlob));
    check_found_out(&blob, other.files[1].clone());
    // The same with its blob id painted over.
    let mut painted = other.files[1].clone();
    painted[16..32].copy_from_slice(BLOB.as_bytes());
    check_found_out(&blob, painted);
}

#[test]
fn a5_a_shard_in_place_of_another_of_the_same_blob_is_taken_for_what_it_is() {
    let blob = Blob::new((3, 3), 1, 500);
    let files = [&blob.files[0], &blob.files[0], &blob.files[0]];
    assert_eq!(gather(BLOB, &files), Err(GatherError::TooFew), "one shard thrice is one shard");
    let gathered = gather(BLOB, &[&blob.files[5], &blob.files[0], &blob.files[5], &blob.files[2]]);
    let gathered = gathered.unwrap();
    assert_eq!(gathered.bytes, blob.bytes);
    let indices: Vec<_> = gathered.indices.iter().map(|index| index.unwrap().get()).collect();
    assert_eq!(indices, [5, 0, 5, 2]);
    let copied = [&blob.files[0], &blob.files[0], &blob.files[1], &blob.files[2]];
    assert_eq!(gather(BLOB, &copied).unwrap().bytes, blob.bytes);
    // A header that claims another index is no header of this blob.
    let mut file = blob.files[4].clone();
    file[8] = 1;
    check_found_out(&blob, file);
}

#[test]
fn a9_shares_of_another_secret_under_this_commitment_give_nothing() {
    // All sites lie: their shares are those of a secret of their choice, the commitment is the
    // blob's.
    let (blob, other) = (Blob::new((3, 3), 1, 500), Blob::new((3, 3), 2, 500));
    let crafted: Vec<Vec<u8>> = blob
        .files
        .iter()
        .zip(&other.files)
        .map(|(file, other)| [&file[..64], &other[64..]].concat())
        .collect();
    let headers: Vec<_> = crafted.iter().map(|file| parse_header(file, BLOB).unwrap()).collect();
    assert_eq!(combine(&headers), Err(CombineError::TooFew));
    assert_eq!(gather(BLOB, &crafted), Err(GatherError::TooFew));
}

/// GHASH's product in GF(2^128), bits in GCM's order.
fn ghash_product(x: u128, y: u128) -> u128 {
    let (mut product, mut shifted) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted = if shifted & 1 == 1 { shifted >> 1 ^ 0xe1 << 120 } else { shifted >> 1 };
    }
    product
}

/// x^(2^128 - 2).
fn ghash_inverse(x: u128) -> u128 {
    let (mut square, mut inverse) = (x, 1 << 127);
    for _ in 1..128 {
        square = ghash_product(square, square);
        inverse = ghash_product(inverse, square);
    }
    inverse
}

/// What AES-256-GCM's tag needs of a key: the hash key H and the mask of the tag under a nonce,
/// both read off the library by sealing nothing at all under two lengths of associated data.
fn hash_key_and_mask(key: &LessSafeKey, nonce: [u8; 12]) -> (u128, u128) {
    let tag = |aad: &[u8]| {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut []).unwrap();
        u128::from_be_bytes(tag.as_ref().try_into().unwrap())
    };
    // Without data and associated data, GHASH is 0 and the tag is the mask. With one block A of
    // zeros it is (0 * H + L) * H where L counts the 128 bits of A.
    let mask = tag(&[]);
    let length = 128_u128 << 64;
    (ghash_product(tag(&[0; 16]) ^ mask, ghash_inverse(length)), mask)
}

fn ghash(key: u128, aad: &[u8], sealed: &[u8]) -> u128 {
    let blocks = |bytes: &[u8]| -> Vec<u128> {
        let block = |part: &[u8]| {
            let mut block = [0; 16];
            block[..part.len()].copy_from_slice(part);
            u128::from_be_bytes(block)
        };
        bytes.chunks(16).map(block).collect()
    };
    let lengths = ((aad.len() as u128 * 8) << 64) | (sealed.len() as u128 * 8);
    let all = [blocks(aad), blocks(sealed), vec![lengths]].concat();
    all.into_iter().fold(0, |hash, block| ghash_product(hash ^ block, key))
}

#[test]
fn a9_a_chunk_that_opens_under_two_secrets_does_not_make_two_blobs() {
    // AES-GCM does not commit to its key: whoever knows two keys makes one ciphertext for both, by
    // solving a linear equation for one block of it.
    let (one, two) = (Blob::new((1, 1), 1, 100), Blob::new((1, 1), 2, 100));
    let (nonce, last) = ([0; 12], false);
    let context = Reference { version: 1, suite: 1 }.context(BLOB, one.geometry, 64);
    let aad = [&context[..], &[0; 10]].concat();
    let key = |blob: &Blob| {
        let key = Reference::derive(&blob.secret, b"havre chunk key\0", &context, 0);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap())
    };
    let ((h1, mask1), (h2, mask2)) =
        (hash_key_and_mask(&key(&one), nonce), hash_key_and_mask(&key(&two), nonce));
    let mut crafted = noise(1, 64);
    crafted[48..].fill(0);
    // The last block X adds X * H^2 to each hash; choose it so that both tags are one.
    let difference = ghash(h1, &aad, &crafted) ^ mask1 ^ ghash(h2, &aad, &crafted) ^ mask2;
    let squares = ghash_product(h1, h1) ^ ghash_product(h2, h2);
    let block = ghash_product(difference, ghash_inverse(squares));
    crafted[48..].copy_from_slice(&block.to_be_bytes());
    let tag = ghash(h1, &aad, &crafted) ^ mask1;
    crafted.extend_from_slice(&tag.to_be_bytes());
    for blob in [&one, &two] {
        let opened = blob.keys.open_chunk(blob.index(0), 0, last, &mut crafted.clone());
        assert!(opened.is_ok(), "the attack itself works");
    }

    // With the crafted chunk in it, each file still gives the blob of its own commitment or
    // nothing: no header under one commitment ever yields the other secret.
    for (blob, other) in [(&one, &two), (&two, &one)] {
        let mut file = blob.files[0].clone();
        file[SHARD_HEADER_BYTES..][..80].copy_from_slice(&crafted);
        assert_eq!(gather(BLOB, &[&file]).unwrap().secret, blob.secret);
        file[64..SHARD_HEADER_BYTES].copy_from_slice(&other.files[0][64..SHARD_HEADER_BYTES]);
        assert_eq!(gather(BLOB, &[&file]), Err(GatherError::TooFew));
    }
}

#[test]
fn a17_generations_are_never_mixed_whatever_each_site_shows() {
    let (old, new) = (Blob::new((3, 3), 1, 500), Blob::new((3, 3), 2, 500));
    for choice in 0_u32..1 << 6 {
        let files: Vec<&Vec<u8>> = (0..6)
            .map(|at| if choice & 1 << at == 0 { &old.files[at] } else { &new.files[at] })
            .collect();
        let gathered = gather(BLOB, &files);
        match choice.count_ones() {
            0..3 => assert_eq!(gathered.unwrap().bytes, old.bytes),
            4.. => assert_eq!(gathered.unwrap().bytes, new.bytes),
            3 => {
                assert_eq!(gathered, Err(GatherError::Ambiguous));
                let both: Vec<_> =
                    gather_each(BLOB, &files).unwrap().into_iter().map(|each| each.bytes).collect();
                assert!(both.contains(&old.bytes) && both.contains(&new.bytes));
            }
        }
        for from in subsets(6, 3) {
            let three: Vec<_> = from.iter().map(|at| files[*at]).collect();
            match from.iter().filter(|at| choice & 1 << **at != 0).count() {
                0 => assert_eq!(gather(BLOB, &three).unwrap().bytes, old.bytes),
                3 => assert_eq!(gather(BLOB, &three).unwrap().bytes, new.bytes),
                _ => assert_eq!(gather(BLOB, &three), Err(GatherError::TooFew)),
            }
        }
    }
}

#[test]
fn a17_a_generation_of_another_geometry_is_never_mixed_in() {
    let (old, new) = (Blob::new((3, 3), 1, 500), Blob::new((2, 4), 1, 500));
    for choice in 0_u32..1 << 6 {
        let files: Vec<&Vec<u8>> = (0..6)
            .map(|at| if choice & 1 << at == 0 { &old.files[at] } else { &new.files[at] })
            .collect();
        let of_new = choice.count_ones();
        let expected: Vec<&[u8]> = [(6 - of_new >= 3, &old.bytes), (of_new >= 2, &new.bytes)]
            .iter()
            .filter_map(|(there, bytes)| there.then_some(bytes.as_slice()))
            .collect();
        let found = gather_each(BLOB, &files).unwrap_or_default();
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().all(|each| expected.contains(&each.bytes.as_slice())));
    }
}

#[test]
fn a17_poisoned_shares_are_left_out_whoever_lies() {
    for shape in [(1, 3), (2, 2), (3, 3), (4, 2), (5, 3)] {
        let blob = Blob::new(shape, 1, 300);
        let (k, n) = (blob.geometry.data(), blob.geometry.total());
        for liars in 0_u32..1 << n {
            let mut files = blob.files.clone();
            for at in (0..n).filter(|at| liars & 1 << at != 0) {
                // The share alone is wrong; the header agrees with the honest ones.
                files[at][64 + at % 32] ^= 0x40;
            }
            let headers: Vec<_> =
                files.iter().map(|file| parse_header(file, BLOB).unwrap()).collect();
            if n - liars.count_ones() as usize >= k {
                assert_eq!(combine(&headers), Ok(blob.secret.clone()));
                let gathered = gather(BLOB, &files).unwrap();
                assert_eq!(gathered.bytes, blob.bytes);
                let bad: Vec<_> = (0..n).filter(|at| liars & 1 << at != 0).collect();
                assert_eq!(gathered.bad, bad);
            } else {
                assert_eq!(combine(&headers), Err(CombineError::TooFew));
            }
        }
    }
}

#[test]
fn a17_four_liars_among_the_first_of_the_widest_geometry_are_left_out() {
    for (k, m) in [(16, 16), (20, 12), (28, 4)] {
        let blob = Blob::new((k, m), 1, 300);
        let mut files = blob.files.clone();
        for file in &mut files[..4] {
            file[70] ^= 1;
        }
        assert_eq!(gather(BLOB, &files).unwrap().bad, [0, 1, 2, 3]);
    }
}

#[test]
fn a18_a_poisoned_chunk_never_reaches_a_repair() {
    // What a repair takes as input has to open first; whatever was flipped, it does not.
    let blob = Blob::new((3, 3), 4, 500);
    for (stripe, chunk) in blob.chunks(2).iter().enumerate() {
        for at in 0..chunk.len() {
            let mut poisoned = chunk.clone();
            poisoned[at] ^= 0x80;
            let last = stripe == 2;
            let opened = blob.keys.open_chunk(blob.index(2), stripe as u64, last, &mut poisoned);
            assert_eq!(opened, Err(CorruptChunk));
        }
    }
}

#[test]
fn a21_a_wrong_key_a_wrong_tag_and_a_wrong_length_are_one_error() {
    let (blob, chunks) = five_chunks(1);
    let (other, _) = five_chunks(2);
    let mut flipped = chunks[0].clone();
    flipped[79] ^= 1;
    let mut short = chunks[0][..10].to_vec();
    let errors = [
        other.keys.open_chunk(blob.index(1), 0, false, &mut chunks[0].clone()),
        blob.keys.open_chunk(blob.index(1), 0, false, &mut flipped),
        blob.keys.open_chunk(blob.index(1), 0, false, &mut short),
        blob.keys.open_chunk(blob.index(1), 0, false, &mut []),
    ];
    assert!(errors.iter().all(|error| *error == Err(CorruptChunk)));
}

#[test]
fn a21_an_authentic_chunk_of_an_impossible_length_is_the_same_error() {
    // Only who knows S makes one; it is refused all the same.
    let blob = Blob::new((3, 3), 1, 500);
    let ours = Reference { version: 1, suite: 1 };
    for plain in [&[7; 63][..], &[7; 65], &[]] {
        let mut sealed = ours.seal(&ours, &blob, 1, 0, false, plain);
        assert_eq!(blob.keys.open_chunk(blob.index(1), 0, false, &mut sealed), Err(CorruptChunk));
    }
    for (chunk_len, stripe_data_len) in
        [(0, 0), (0, 1), (1, 0), (1, 4), (2, 3), (64, 189), (64, 193), (65, 195), (64, u32::MAX)]
    {
        let plain = [vec![7; chunk_len], stripe_data_len.to_le_bytes().to_vec()].concat();
        let mut sealed = ours.seal(&ours, &blob, 1, 0, true, &plain);
        let opened = blob.keys.open_chunk(blob.index(1), 0, true, &mut sealed);
        assert_eq!(opened, Err(CorruptChunk), "{chunk_len}, {stripe_data_len}");
    }
    for short in [&[][..], &[1], &[1, 2, 3]] {
        let mut sealed = ours.seal(&ours, &blob, 1, 0, true, short);
        assert_eq!(blob.keys.open_chunk(blob.index(1), 0, true, &mut sealed), Err(CorruptChunk));
    }
    for (chunk_len, stripe_data_len) in [(1, 1), (1, 3), (2, 4), (64, 190), (64, 192)] {
        let plain = [vec![7; chunk_len], u32::to_le_bytes(stripe_data_len).to_vec()].concat();
        let mut sealed = ours.seal(&ours, &blob, 1, 0, true, &plain);
        let opened = blob.keys.open_chunk(blob.index(1), 0, true, &mut sealed).unwrap();
        assert_eq!(opened.stripe_data_len, Some(stripe_data_len));
    }
}

#[test]
fn a24_headers_that_all_lie_cost_a_bounded_number_of_tries() {
    // 32 headers that agree and of which no 16 are true: 600 million subsets, 65,536 tries.
    let blob = Blob::new((16, 16), 1, 10);
    let mut files = blob.files.clone();
    for (at, file) in files.iter_mut().enumerate().take(17) {
        file[64 + at] ^= 1;
    }
    let headers: Vec<_> = files.iter().map(|file| parse_header(file, BLOB).unwrap()).collect();
    assert_eq!(combine(&headers), Err(CombineError::TooFew));
}
