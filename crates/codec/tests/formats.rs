//! Golden bytes: every version ever shipped is read, and the current one is written byte for byte.

use crate::common::geometry;
use havre_codec::pack::{self, PACK_HEADER_BYTES, PackBuilder, PackLink, Slot};
use havre_codec::{BlobKeys, ErasureCode, disperse, gather};
use havre_model::record::BlobSecret;
use havre_model::{BlobId, ChainId, Seq, Timestamp};

/// The secret, the blob id and the bytes of every golden shard but for the length, as the format's
/// page promises them: `S` is 0, 1, .. 31; the blob is 0xb0, 0xb1, .. 0xbf; byte `i` is `i * 7 +
/// 3`.
fn inputs(length: usize) -> (BlobSecret, BlobId, Vec<u8>) {
    let secret = BlobSecret::from_bytes(core::array::from_fn(|at| at as u8));
    let blob = BlobId::from_bytes(core::array::from_fn(|at| 0xb0 + at as u8));
    (secret, blob, (0..length).map(|at| (at * 7 + 3) as u8).collect())
}

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/formats/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn check_shards(case: &str, (k, m): (u8, u8), chunk_bytes: usize, length: usize) {
    let (secret, blob, bytes) = inputs(length);
    let geometry = geometry(k, m);
    let files: Vec<Vec<u8>> = (0..geometry.total())
        .map(|index| golden(&format!("shard/v1-{k}+{m}-{case}-shard{index}.bin")))
        .collect();
    for first in 0..=geometry.parity() {
        let gathered = gather(blob, &files[first..first + geometry.data()]).unwrap();
        assert_eq!(gathered.bytes, bytes, "{case}");
        assert_eq!(gathered.secret, secret);
        assert_eq!((gathered.geometry, gathered.chunk_bytes), (geometry, chunk_bytes));
        assert_eq!(gathered.bad, []);
    }
    let keys = BlobKeys::new(&secret, blob, geometry, chunk_bytes);
    let written = disperse(&ErasureCode::new(geometry), &keys, &secret, &bytes);
    assert!(written == files, "{case} is written as it was");
}

#[test]
fn a_blob_of_one_byte_is_the_golden_one() {
    check_shards("one-byte", (1, 0), 64, 1);
    check_shards("one-byte", (3, 3), 64, 1);
}

#[test]
fn a_blob_of_several_stripes_with_a_padded_last_one_is_the_golden_one() {
    check_shards("padded", (3, 3), 64, 500);
    check_shards("padded", (4, 2), 33, 1000);
}

#[test]
fn a_blob_of_full_stripes_is_the_golden_one() {
    check_shards("full", (3, 3), 64, 384);
}

fn chain() -> ChainId {
    ChainId::from_bytes(core::array::from_fn(|at| 0xc0 + at as u8))
}

#[track_caller]
fn check_pack(case: &str, number: u64, previous: PackLink, records: &[&[u8]]) -> Vec<u8> {
    let bytes = golden(&format!("pack/v1-{case}.bin"));
    let parsed = pack::parse(&bytes).unwrap();
    assert_eq!(parsed.header.version, 1);
    assert_eq!(parsed.header.chain, chain());
    assert_eq!((parsed.header.number, parsed.header.previous), (number, previous));
    assert_eq!(parsed.header.written, Timestamp::from_millis(1_795_000_000_123));
    assert_eq!(parsed.records(&bytes).collect::<Vec<_>>(), records);
    let order = Seq::new(6 + number);
    assert_eq!(parsed.header.order, order);
    let mut builder = PackBuilder::new(chain(), number, previous, parsed.header.written, order);
    let mut offset = PACK_HEADER_BYTES as u64;
    for record in records {
        offset += 4;
        let slot = builder.push(record);
        assert_eq!(slot, Slot { offset, len: record.len() as u32 });
        offset += record.len() as u64;
    }
    assert!(builder.finish() == bytes, "{case} is written as it was");
    bytes
}

#[test]
fn a_chain_of_packs_is_the_golden_one() {
    let first = check_pack("first", 1, PackLink::NONE, &[b"one sealed record", &[0xff; 300]]);
    let blob = BlobId::from_bytes([0xb1; 16]);
    let previous = PackLink { blob, hash: pack::hash(&first) };
    let second = check_pack("second", 2, previous, &[b"x"]);
    let previous = PackLink { blob, hash: pack::hash(&second) };
    check_pack("empty", 3, previous, &[]);
}
