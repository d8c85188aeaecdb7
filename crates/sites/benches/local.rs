//! The local directory: what a pack, an extent and a read cost.
#![expect(clippy::unwrap_used, reason = "what fails here is to panic")]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use havre_model::BlobName;
use havre_sites::{
    LocalSite, Site,
    conformance::{content, extent, pack, permit},
};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

static NUMBER: AtomicU64 = AtomicU64::new(1);

struct Sites {
    sites: Vec<LocalSite>,
    root: PathBuf,
}

/// Six sites on the disk that the build is on: a temporary directory is often in memory.
fn sites() -> Sites {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sites-bench");
    std::fs::remove_dir_all(&root).ok();
    let open = |n: usize| {
        let name = format!("site-{n}");
        LocalSite::open(havre_policy::site_id(&name), &name, &root.join(&name)).unwrap()
    };
    Sites { sites: (0..6).map(open).collect(), root }
}

impl Drop for Sites {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).ok();
    }
}

async fn put(site: &LocalSite, name: &BlobName, shard: Bytes) {
    site.put(&permit(site.id(), name), name, shard).await.unwrap();
}

async fn stream(site: &LocalSite, name: &BlobName, piece: &Bytes, pieces: usize) {
    let mut writer = site.create(&permit(site.id(), name), name, None).await.unwrap();
    for _ in 0..pieces {
        writer.write(piece.clone()).await.unwrap();
    }
    writer.finish().await.unwrap();
}

fn writes(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sites = sites();
    let mut group = criterion.benchmark_group("local_write");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    for len in [20_000, 400_000] {
        let shard = content(1, len);
        for fan in [1, 6] {
            group.bench_function(BenchmarkId::new(format!("put_{len}"), fan), |bench| {
                bench.to_async(&runtime).iter(|| async {
                    let name = pack(1, NUMBER.fetch_add(1, Ordering::Relaxed));
                    let puts = sites.sites.iter().take(fan);
                    let puts = puts.map(|site| put(site, &name, shard.clone()));
                    futures::future::join_all(puts).await
                });
            });
        }
    }
    // A 64 MiB object at 3+3: six shards of a third each.
    let piece = content(2, 65_568);
    let pieces = 342;
    group.throughput(Throughput::Bytes((6 * pieces * piece.len()) as u64));
    group.bench_function("stream_6x22_MiB", |bench| {
        bench.to_async(&runtime).iter(|| async {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = pack(2, number);
            let streams = sites.sites.iter().map(|site| stream(site, &name, &piece, pieces));
            futures::future::join_all(streams).await;
            let deletes = sites.sites.iter().map(|site| site.delete(&name));
            futures::future::join_all(deletes).await
        });
    });
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sites = sites();
    let site = &sites.sites[0];
    runtime.block_on(put(site, &extent(1), content(1, 32 << 20)));
    let mut group = criterion.benchmark_group("local_read");
    for len in [4096, 65_552, 1 << 20] {
        group.throughput(Throughput::Bytes(len));
        group.bench_function(BenchmarkId::from_parameter(len), |bench| {
            let start = AtomicU64::new(0);
            bench.to_async(&runtime).iter(|| {
                let start = start.fetch_add(len, Ordering::Relaxed) % (16 << 20);
                async move { site.read(&extent(1), start..start + len).await.unwrap() }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, writes, reads);
criterion_main!(benches);
