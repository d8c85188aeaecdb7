//! What the second lock costs a write: keys, parity and sealing. Throughput is of the blob's bytes.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use havre_codec::{BlobKeys, ErasureCode, Layout, disperse};
use havre_model::limits::{EXTENT_CHUNK_BYTES, PACK_CHUNK_BYTES};
use havre_model::record::BlobSecret;
use havre_model::{BlobId, Geometry};
use std::hint::black_box;

const GEOMETRIES: [(u8, u8); 4] = [(3, 3), (4, 2), (5, 3), (10, 4)];

fn blob(geometry: Geometry, chunk_bytes: usize) -> (BlobSecret, BlobKeys, ErasureCode) {
    let secret = BlobSecret::from_bytes([7; 32]);
    let keys = BlobKeys::new(&secret, BlobId::from_bytes([9; 16]), geometry, chunk_bytes);
    (secret, keys, ErasureCode::new(geometry))
}

fn disperse_blobs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("disperse");
    for (k, m) in GEOMETRIES {
        let geometry = Geometry::new(k, m).expect("a valid geometry");
        let (secret, keys, coder) = blob(geometry, EXTENT_CHUNK_BYTES);
        let layout = Layout::new(geometry, EXTENT_CHUNK_BYTES, 1 << 40);
        group.throughput(Throughput::Bytes(layout.stripe_bytes() as u64));

        let mut slots = vec![vec![0x5a_u8; layout.sealed_chunk_len(0)]; geometry.total()];
        group.bench_function(format!("stripe/{geometry}"), |bencher| {
            bencher.iter(|| {
                let mut slots: Vec<&mut [u8]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
                keys.seal_stripe(&coder, 0, None, black_box(&mut slots));
            });
        });
        let data = vec![vec![0x5a_u8; EXTENT_CHUNK_BYTES]; geometry.data()];
        let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let mut parity = vec![vec![0_u8; EXTENT_CHUNK_BYTES]; geometry.parity()];
        group.bench_function(format!("encode/{geometry}"), |bencher| {
            bencher.iter(|| {
                let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
                coder.encode(black_box(&data), &mut parity);
            });
        });
        let (pack_secret, pack_keys, coder) = blob(geometry, PACK_CHUNK_BYTES);
        let pack = vec![0x5a_u8; 1 << 20];
        group.throughput(Throughput::Bytes(pack.len() as u64));
        group.bench_function(format!("pack_1MiB/{geometry}"), |bencher| {
            bencher.iter(|| disperse(&coder, &pack_keys, &pack_secret, black_box(&pack)));
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("keys/{geometry}"), |bencher| {
            bencher.iter(|| blob(black_box(geometry), PACK_CHUNK_BYTES).1);
        });
        group.bench_function(format!("headers/{geometry}"), |bencher| {
            bencher.iter_batched(|| (), |()| keys.headers(&secret), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, disperse_blobs);
criterion_main!(benches);
