//! What the catalog costs: packs applied, rows read, keys listed. The data set has a million
//! objects unless `HAVRE_BENCH_OBJECTS` says otherwise.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use havre_catalog::{AppliedPack, Catalog, ListEntry, ListQuery, Mode, Opened, SqliteCatalog};
use havre_model::record::{Body, Record};
use havre_model::{BlobId, VersionId};
use std::fs;
use std::future::Future;
use std::path::Path;
use std::time::Instant;
use support::{bucket, everything, extent, key, link, object, pack, part, tombstone};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    support::block_on(future)
}

fn objects() -> u64 {
    std::env::var("HAVRE_BENCH_OBJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

/// Spreads numbers over the key space, as hashed names do.
fn scatter(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn scattered_key(n: u64) -> String {
    format!("data/2026/{:016x}.parquet", scatter(n))
}

fn small(n: u64) -> Record {
    let mut record =
        object(0, &scattered_key(n), VersionId::from_bytes([1; 16]), true, Body::Inline);
    let mut id = [7; 16];
    id[..8].copy_from_slice(&scatter(n).to_be_bytes());
    record.version = VersionId::from_bytes(id);
    record.bytes = 4096;
    record.metadata.user = vec![("mtime".into(), "1700000000.123456789".into())];
    Record::Object(record)
}

fn big(n: u64) -> Record {
    let mut extent = extent([0; 4]);
    let mut id = [9; 16];
    id[..8].copy_from_slice(&scatter(n).to_be_bytes());
    extent.blob = BlobId::from_bytes(id);
    let body = Body::Parts(vec![part(0, vec![extent])]);
    let name = format!("big/{:016x}", scatter(n));
    Record::Object(object(0, &name, VersionId::from_bytes(id), true, body))
}

/// Packs of one chain in order, each of `records` records.
struct Source {
    number: u64,
    next: u64,
}

impl Source {
    fn pack(&mut self, records: u64, make: impl Fn(u64) -> Record) -> AppliedPack {
        self.number += 1;
        let first = self.next;
        self.next += records;
        let records = (first..self.next).map(|n| (n, make(n))).collect();
        pack(0, self.number, records)
    }
}

fn open(path: &Path, mode: Mode) -> SqliteCatalog {
    match SqliteCatalog::open(path, mode).unwrap() {
        Opened::Fresh(catalog) | Opened::Existing(catalog) => catalog,
        Opened::Damaged(reason) => panic!("{reason}"),
    }
}

/// Seconds of processor time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// Adds up what the measured stretches took.
#[derive(Default)]
struct Meter {
    wall: f64,
    cpu: f64,
    records: u64,
}

impl Meter {
    #[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
    fn measure(&mut self, records: u64, work: impl FnOnce()) {
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        work();
        self.wall += wall.elapsed().as_secs_f64();
        self.cpu += cpu_seconds() - cpu;
        self.records += records;
    }

    fn report(&self, what: &str) {
        let records = self.records as f64;
        println!("{what}: {:.0}/s, {:.0} per CPU-second", records / self.wall, records / self.cpu);
    }
}

fn report(what: &str, records: u64, work: impl FnOnce()) {
    let mut meter = Meter::default();
    meter.measure(records, work);
    meter.report(what);
}

/// Applies packs, several at once, as a recovery does.
fn apply_all(catalog: &SqliteCatalog, packs: Vec<AppliedPack>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut packs = packs.into_iter();
        loop {
            let batch: Vec<_> = packs.by_ref().take(16).map(|pack| catalog.apply(pack)).collect();
            if batch.is_empty() {
                break;
            }
            for done in futures::future::join_all(batch).await {
                done.unwrap();
            }
        }
    });
}

fn fill(catalog: &SqliteCatalog, source: &mut Source) {
    let count = objects();
    let size = 1000.min(count);
    let mut left = count / size;
    let mut meter = Meter::default();
    block_on(catalog.begin_recovery()).unwrap();
    while left > 0 {
        let some = left.min(64);
        left -= some;
        let made = (0..some).map(|_| source.pack(size, small)).collect();
        meter.measure(some * size, || apply_all(catalog, made));
    }
    meter.measure(0, || block_on(catalog.finish_recovery()).unwrap());
    meter.report("recovery, packs of 1,000 new small objects");
    for (size, packs) in [(1, 5_000), (10, 2_000), (100, 500), (1000, 100)] {
        let made: Vec<_> = (0..packs).map(|_| source.pack(size, small)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        report(&format!("live, packs of {size} new small objects"), size * packs, || {
            made.into_iter().for_each(|pack| runtime.block_on(catalog.apply(pack)).unwrap());
        });
    }
    let made: Vec<_> = (0..100).map(|_| source.pack(100, big)).collect();
    report("live, packs of 100 new large objects", 10_000, || apply_all(catalog, made));
    let made: Vec<_> = (0..100).map(|_| source.pack(100, |n| big(n - 10_000))).collect();
    report("live, packs of 100 replaced large objects", 10_000, || apply_all(catalog, made));
    let made: Vec<_> = (0..100).map(|_| source.pack(100, |n| small(n - 20_000))).collect();
    report("live, packs of 100 replaced small objects", 10_000, || apply_all(catalog, made));
    let end = |n: u64| tombstone(0, &scattered_key(n - 30_000), None);
    let made: Vec<_> = (0..100)
        .map(|_| {
            let mut pack = source.pack(100, end);
            pack.settled = pack.records[0].record.seq;
            pack
        })
        .collect();
    report("live, packs of 100 deletes", 10_000, || apply_all(catalog, made));
}

fn applies(criterion: &mut Criterion, catalog: &SqliteCatalog, source: &mut Source) {
    let mut group = criterion.benchmark_group("apply");
    for size in [1, 100, 1000] {
        group.throughput(Throughput::Elements(size));
        group.bench_function(format!("{size} new small objects"), |bencher| {
            bencher.iter_batched(
                || source.pack(size, small),
                |pack| block_on(catalog.apply(pack)).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn points(criterion: &mut Criterion, catalog: &SqliteCatalog) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut group = criterion.benchmark_group("point");
    let keys: Vec<_> = (1..50_000).map(|n| key(&scattered_key(n * 17 % objects() + 1))).collect();
    let mut turn = keys.iter().cycle();
    group.bench_function("latest", |bencher| {
        bencher.iter(|| runtime.block_on(catalog.latest(bucket(0), turn.next().unwrap())).unwrap());
    });
    group.bench_function("latest, absent", |bencher| {
        let absent = key("data/2026/absent");
        bencher.iter(|| runtime.block_on(catalog.latest(bucket(0), &absent)).unwrap());
    });
    let blobs = runtime.block_on(catalog.blobs(None, 10_000)).unwrap();
    let mut turn = blobs.iter().cycle();
    group.bench_function("blob", |bencher| {
        bencher.iter(|| runtime.block_on(catalog.blob(turn.next().unwrap().blob())).unwrap());
    });
    group.bench_function("blob, one pack", |bencher| {
        bencher.iter(|| runtime.block_on(catalog.blob(link(0, 1).blob)).unwrap());
    });
    group.bench_function("counts", |bencher| {
        bencher.iter(|| runtime.block_on(catalog.counts()).unwrap());
    });
    group.finish();
}

fn list_keys(catalog: &SqliteCatalog, keys: usize, delimiter: Option<&str>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut query = ListQuery {
        delimiter: delimiter.map(str::to_owned),
        prefix: delimiter.map(|_| "data/2026/".to_owned()).unwrap_or_default(),
        ..everything(bucket(0), 1000)
    };
    let mut seen = 0;
    while seen < keys {
        let page = runtime.block_on(catalog.list(query.clone())).unwrap();
        seen += page.entries.len();
        match page.entries.last() {
            Some(ListEntry::Object(object)) => {
                (query.after, query.after_prefix) = (Some(object.key.clone()), false);
            }
            Some(ListEntry::Prefix(prefix)) => {
                (query.after, query.after_prefix) = (Some(prefix.clone()), true);
            }
            None => break,
        }
        if !page.more {
            break;
        }
    }
    seen
}

fn lists(criterion: &mut Criterion, catalog: &SqliteCatalog) {
    let mut group = criterion.benchmark_group("list");
    group.sample_size(20);
    let keys = usize::try_from(objects()).unwrap().min(100_000);
    group.throughput(Throughput::Elements(keys as u64));
    group.bench_function("100,000 keys in pages of 1,000", |bencher| {
        bencher.iter(|| list_keys(catalog, keys, None));
    });
    let prefixes = list_keys(catalog, usize::MAX, Some("00"));
    group.throughput(Throughput::Elements(prefixes as u64));
    group.bench_function("objects and common prefixes", |bencher| {
        bencher.iter(|| list_keys(catalog, usize::MAX, Some("00")));
    });
    group.finish();
}

fn catalog(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(".").unwrap();
    let path = directory.path().join("catalog");
    let catalog = open(&path, Mode::Threaded);
    let mut source = Source { number: 0, next: 1 };
    fill(&catalog, &mut source);
    points(criterion, &catalog);
    lists(criterion, &catalog);
    applies(criterion, &catalog, &mut source);
    let bytes = |suffix: &str| {
        let file = directory.path().join(format!("catalog{suffix}"));
        fs::metadata(file).map_or(0, |metadata| metadata.len())
    };
    println!("{} MB of catalog, {} MB of log", bytes("") >> 20, bytes("-wal") >> 20);
}

criterion_group!(benches, catalog);
criterion_main!(benches);
