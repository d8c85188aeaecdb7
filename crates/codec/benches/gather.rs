//! What the second lock costs a read: opening chunks, decoding, and a whole blob from shard files.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use havre_codec::shard::{combine, parse_header};
use havre_codec::{BlobKeys, ErasureCode, disperse, gather};
use havre_model::limits::{EXTENT_CHUNK_BYTES, PACK_CHUNK_BYTES, TAG_BYTES};
use havre_model::record::BlobSecret;
use havre_model::{BlobId, Geometry, ShardIndex};
use std::hint::black_box;

const GEOMETRIES: [(u8, u8); 4] = [(3, 3), (4, 2), (5, 3), (10, 4)];
const BLOB: BlobId = BlobId::from_bytes([9; 16]);

fn gather_blobs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gather");
    let secret = BlobSecret::from_bytes([7; 32]);
    for (k, m) in GEOMETRIES {
        let geometry = Geometry::new(k, m).expect("a valid geometry");
        let coder = ErasureCode::new(geometry);
        let keys = BlobKeys::new(&secret, BLOB, geometry, PACK_CHUNK_BYTES);
        let pack = vec![0x5a_u8; 1 << 20];
        let shards = disperse(&coder, &keys, &secret, &pack);
        group.throughput(Throughput::Bytes(pack.len() as u64));
        group.bench_function(format!("pack_1MiB_whole/{geometry}"), |bencher| {
            bencher.iter(|| gather(BLOB, black_box(&shards)));
        });
        group.bench_function(format!("pack_1MiB_parity_only/{geometry}"), |bencher| {
            bencher.iter(|| gather(BLOB, black_box(&shards[geometry.parity().min(3)..])));
        });

        let headers: Vec<_> = shards
            .iter()
            .map(|shard| parse_header(shard, BLOB).expect("a header of our own"))
            .collect();
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("combine/{geometry}"), |bencher| {
            bencher.iter(|| combine(black_box(&headers)));
        });
        decode_lost(&mut group, geometry);
    }
    open_chunks(&mut group, &secret);
    group.finish();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

/// All parity in place of the first data chunks: the dearest read there is.
fn decode_lost(group: &mut Group<'_>, geometry: Geometry) {
    let coder = ErasureCode::new(geometry);
    let lost = geometry.parity().min(geometry.data());
    let chunks = vec![vec![0x5a_u8; EXTENT_CHUNK_BYTES]; geometry.data()];
    let indices: Vec<ShardIndex> = geometry.indices().collect();
    let available: Vec<(ShardIndex, &[u8])> =
        indices[lost..].iter().copied().zip(chunks.iter().map(Vec::as_slice)).collect();
    let mut out = vec![vec![0_u8; EXTENT_CHUNK_BYTES]; lost];
    group.throughput(Throughput::Bytes((geometry.data() * EXTENT_CHUNK_BYTES) as u64));
    group.bench_function(format!("reconstruct_{lost}_lost/{geometry}"), |bencher| {
        bencher.iter(|| {
            let mut out: Vec<&mut [u8]> = out.iter_mut().map(Vec::as_mut_slice).collect();
            coder.reconstruct_data(black_box(&available), &indices[..lost], &mut out);
        });
    });
}

fn open_chunks(group: &mut Group<'_>, secret: &BlobSecret) {
    let geometry = Geometry::new(3, 3).expect("a valid geometry");
    let index = ShardIndex::new(0, geometry).expect("the first shard");
    for chunk_bytes in [PACK_CHUNK_BYTES, EXTENT_CHUNK_BYTES] {
        let keys = BlobKeys::new(secret, BLOB, geometry, chunk_bytes);
        let mut sealed = vec![0x5a_u8; chunk_bytes + TAG_BYTES];
        keys.seal_chunk(index, 0, None, &mut sealed);
        group.throughput(Throughput::Bytes(chunk_bytes as u64));
        group.bench_function(format!("open_chunk/{chunk_bytes}"), |bencher| {
            bencher.iter_batched_ref(
                || sealed.clone(),
                |slot| keys.open_chunk(index, 0, false, slot),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, gather_blobs);
criterion_main!(benches);
