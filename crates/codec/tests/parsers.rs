//! Attack A24: every frame's parser is fed what no writer makes, and never panics.

use crate::common::{BLOB, Blob, noise};
use havre_codec::pack::{self, CorruptPack, PACK_HEADER_BYTES, PackBuilder, PackHeader, PackLink};
use havre_codec::shard::{combine, parse_header, verify_header};
use havre_codec::{GatherError, SHARD_HEADER_BYTES, gather};
use havre_model::limits::PACK_RECORDS_MAX;
use havre_model::{BlobId, ChainId, Seq, Timestamp};
use proptest::prelude::*;

const CHAIN: ChainId = ChainId::from_bytes([0xc0; 16]);
const PREVIOUS: PackLink = PackLink { blob: BlobId::from_bytes([0xb1; 16]), hash: [0x11; 32] };

fn pack_of(number: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let previous = if number == 1 { PackLink::NONE } else { PREVIOUS };
    let written = Timestamp::from_millis(1_700_000_000_123);
    let mut builder = PackBuilder::new(CHAIN, number, previous, written, Seq::new(42));
    for record in records {
        let size = builder.size_with(record.len());
        builder.push(record);
        assert_eq!(builder.size(), size);
    }
    builder.finish()
}

/// What is accepted is what a builder makes of the same content: no two spellings of a pack.
fn check_canonical(bytes: &[u8]) {
    let Ok(parsed) = pack::parse(bytes) else { return };
    let header = parsed.header;
    let PackHeader { chain, number, previous, written, order, .. } = header;
    let mut builder = PackBuilder::new(chain, number, previous, written, order);
    let slots: Vec<_> = parsed.records(bytes).map(|record| builder.push(record)).collect();
    assert_eq!(slots, parsed.slots);
    assert_eq!(builder.records(), header.records);
    assert_eq!(builder.finish(), bytes);
}

#[test]
fn a_pack_reads_back() {
    for records in [vec![], vec![vec![1]], vec![vec![1; 300], vec![2], vec![3; 70_000]]] {
        for number in [1, 2, u64::MAX] {
            let bytes = pack_of(number, &records);
            let parsed = pack::parse(&bytes).unwrap();
            assert_eq!(parsed.records(&bytes).collect::<Vec<_>>(), records);
            assert_eq!(parsed.header.number, number);
            assert_eq!(parsed.header.chain, CHAIN);
            assert_eq!(parsed.header.written, Timestamp::from_millis(1_700_000_000_123));
            assert_eq!(parsed.header.order, Seq::new(42));
            assert_eq!(parsed.header.records as usize, records.len());
            let previous = if number == 1 { PackLink::NONE } else { PREVIOUS };
            assert_eq!(parsed.header.previous, previous);
        }
    }
}

#[test]
fn every_prefix_and_every_extension_of_a_pack_is_refused() {
    let bytes = pack_of(2, &[vec![1; 30], vec![2; 5]]);
    for length in 0..bytes.len() {
        assert_eq!(pack::parse(&bytes[..length]), Err(CorruptPack::Malformed), "{length} bytes");
    }
    for more in [&[0][..], &[0; 4], &[1, 0, 0, 0, 9]] {
        assert_eq!(pack::parse(&[&bytes, more].concat()), Err(CorruptPack::Malformed));
    }
}

#[test]
fn every_byte_of_a_packs_head_takes_every_value() {
    for number in [1, 2] {
        let bytes = pack_of(number, &[vec![1; 30], vec![2; 5]]);
        for at in 0..PACK_HEADER_BYTES + 4 {
            for value in 0..=255 {
                let mut other = bytes.clone();
                other[at] = value;
                check_canonical(&other);
                assert!(other == bytes || pack::hash(&other) != pack::hash(&bytes));
            }
        }
    }
}

#[test]
fn an_unknown_version_of_a_pack_says_so() {
    let mut bytes = pack_of(2, &[]);
    bytes[4] = 2;
    assert_eq!(pack::parse(&bytes), Err(CorruptPack::UnknownVersion(2)));
}

#[test]
fn a_count_that_the_bytes_do_not_hold_costs_no_memory() {
    let mut bytes = pack_of(2, &[]);
    for count in [1, PACK_RECORDS_MAX as u32, PACK_RECORDS_MAX as u32 + 1, u32::MAX] {
        bytes[88..92].copy_from_slice(&count.to_le_bytes());
        let used = allocation_counter::measure(|| {
            assert_eq!(pack::parse(&bytes), Err(CorruptPack::Malformed));
        });
        assert!(used.bytes_max <= 16 * PACK_RECORDS_MAX as u64, "{} bytes", used.bytes_max);
    }
}

#[test]
fn a_pack_is_full_at_its_limits() {
    let mut builder =
        PackBuilder::new(CHAIN, 1, PackLink::NONE, Timestamp::default(), Seq::default());
    assert!(!builder.fits(0) && !builder.fits(pack::SEALED_RECORD_BYTES_MAX + 1));
    assert!(builder.fits(pack::SEALED_RECORD_BYTES_MAX));
    for _ in 0..PACK_RECORDS_MAX {
        builder.push(&[7]);
    }
    assert!(!builder.fits(1), "no more records");
    let bytes = builder.finish();
    assert_eq!(pack::parse(&bytes).unwrap().slots.len(), PACK_RECORDS_MAX);

    let mut builder =
        PackBuilder::new(CHAIN, 1, PackLink::NONE, Timestamp::default(), Seq::default());
    builder.push(&vec![7; pack::SEALED_RECORD_BYTES_MAX]);
    let room = pack::PACK_FRAME_BYTES_MAX - builder.size() - pack::SLOT_HEADER_BYTES;
    assert!(builder.fits(room) && !builder.fits(room + 1), "no more bytes");
    builder.push(&vec![8; room]);
    let bytes = builder.finish();
    assert_eq!(bytes.len(), pack::PACK_FRAME_BYTES_MAX);
    assert_eq!(pack::parse(&bytes).unwrap().slots.len(), 2);
}

#[test]
fn a_pack_beyond_its_limits_is_refused() {
    let framed = |records: &[usize]| {
        let mut bytes = pack_of(1, &[]);
        bytes[88..92].copy_from_slice(&(records.len() as u32).to_le_bytes());
        for len in records {
            bytes.extend_from_slice(&(*len as u32).to_le_bytes());
            bytes.resize(bytes.len() + len, 7);
        }
        pack::parse(&bytes).map(|pack| pack.slots.len())
    };
    let most = pack::SEALED_RECORD_BYTES_MAX;
    let room = pack::PACK_FRAME_BYTES_MAX - PACK_HEADER_BYTES - 2 * pack::SLOT_HEADER_BYTES - most;
    assert_eq!(framed(&[most]), Ok(1));
    assert_eq!(framed(&[most + 1]), Err(CorruptPack::Malformed), "a record too long");
    assert_eq!(framed(&[1, 0]), Err(CorruptPack::Malformed), "a record without bytes");
    assert_eq!(framed(&[most, room]), Ok(2));
    assert_eq!(framed(&[most, room + 1]), Err(CorruptPack::Malformed), "a frame too long");
    let many = vec![1; PACK_RECORDS_MAX];
    assert_eq!(framed(&many), Ok(PACK_RECORDS_MAX));
    assert_eq!(framed(&[&many[..], &[1]].concat()), Err(CorruptPack::Malformed), "too many");
}

#[test]
#[should_panic(expected = "a pack that is full is closed first")]
fn an_empty_record_is_no_record() {
    PackBuilder::new(CHAIN, 1, PackLink::NONE, Timestamp::default(), Seq::default()).push(&[]);
}

#[test]
#[should_panic(expected = "nothing comes before the first pack")]
fn a_first_pack_with_a_predecessor_is_not_begun() {
    let _ = PackBuilder::new(CHAIN, 1, PREVIOUS, Timestamp::default(), Seq::default());
}

#[test]
fn the_first_pack_that_could_be_stored_need_not_have_the_first_number() {
    let frame =
        PackBuilder::new(CHAIN, 3, PackLink::NONE, Timestamp::default(), Seq::default()).finish();
    let parsed = havre_codec::pack::parse(&frame).expect("two packs failed before it");
    assert_eq!((parsed.header.number, parsed.header.previous), (3, PackLink::NONE));
}

#[test]
fn every_byte_of_a_shards_header_takes_every_value() {
    let blob = Blob::new((3, 3), 1, 100);
    let file = &blob.files[1];
    for at in 0..SHARD_HEADER_BYTES {
        for value in 0..=255 {
            let mut file = file[..SHARD_HEADER_BYTES].to_vec();
            if file[at] == value {
                continue;
            }
            file[at] = value;
            if let Ok(header) = parse_header(&file, BLOB) {
                assert!(!verify_header(&blob.keys, &header), "byte {at}");
                let _ = combine(&[header]);
            }
        }
    }
    for length in 0..SHARD_HEADER_BYTES {
        assert!(parse_header(&file[..length], BLOB).is_err());
    }
}

/// A header with valid magic, version, suite and blob, and anything else in it.
fn plausible_header() -> impl Strategy<Value = Vec<u8>> {
    let geometry = (1_u8..=5, 0_u8..=3);
    (geometry, 0_u8..8, 0_u32..2_000_000, any::<[u8; 32]>(), 0..2_u8, any::<u64>()).prop_map(
        |((k, m), index, chunk_bytes, share, group, noisy)| {
            let mut header = noise(noisy, SHARD_HEADER_BYTES);
            header[..6].copy_from_slice(b"HVSH\x01\x01");
            header[6..12].copy_from_slice(&[k, m, index, 0, 0, 0]);
            header[12..16].copy_from_slice(&(chunk_bytes * u32::from(group)).to_le_bytes());
            header[16..32].copy_from_slice(BLOB.as_bytes());
            header[32..64].fill(group);
            header[64..96].copy_from_slice(&share);
            header
        },
    )
}

proptest! {
    #[test]
    fn random_bytes_are_no_frame(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(parse_header(&bytes, BLOB).is_err());
        prop_assert!(pack::parse(&bytes).is_err());
        prop_assert_eq!(gather(BLOB, &[&bytes, &bytes, &bytes]), Err(GatherError::TooFew));
    }

    #[test]
    fn random_bytes_are_no_chunk(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        stripe in any::<u64>(),
        last in any::<bool>(),
    ) {
        let blob = Blob::new((2, 1), 1, 10);
        prop_assert!(blob.keys.open_chunk(blob.index(0), stripe, last, &mut bytes).is_err());
    }

    #[test]
    fn plausible_headers_never_panic_and_never_combine(
        headers in proptest::collection::vec(plausible_header(), 1..12),
        tail in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let files: Vec<_> = headers.iter().map(|header| [&header[..], &tail].concat()).collect();
        let parsed: Vec<_> =
            headers.iter().filter_map(|header| parse_header(header, BLOB).ok()).collect();
        prop_assert!(combine(&parsed).is_err());
        prop_assert_eq!(gather(BLOB, &files), Err(GatherError::TooFew));
    }

    #[test]
    fn a_mutated_pack_is_refused_or_read_as_it_stands(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..6),
        number in 1_u64..4,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        paste in proptest::collection::vec(any::<u8>(), 0..8),
        moves in any::<bool>(),
    ) {
        let mut bytes = pack_of(number, &records);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if moves {
            let at = cut.index(bytes.len());
            bytes.splice(at..(at + 3).min(bytes.len()), paste);
        }
        check_canonical(&bytes);
    }
}
