//! What the first lock costs: a segment, a record, and the keys of a part.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use havre_model::limits::{SEALED_SEGMENT_BYTES, SEGMENT_BYTES};
use havre_model::ports::Entropy;
use havre_model::record::BucketKeyEpoch;
use havre_model::{BucketId, TenantId, VersionId};
use havre_seal::{Keyring, PartContext, RecordScope, RootKey};
use std::hint::black_box;
use std::sync::Arc;

struct System(SystemRandom);

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes).expect("the system has randomness");
    }
}

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const BUCKET: BucketId = BucketId::from_bytes([2; 16]);
const SCOPE: RecordScope = RecordScope::Bucket(TENANT, BUCKET);
const CONTEXT: PartContext<'static> = PartContext {
    tenant: TENANT,
    bucket: BUCKET,
    key: "logs/2026/11/23/gateway-0001.json.gz",
    version: VersionId::from_bytes([3; 16]),
    part: 0,
};

fn keyring() -> Keyring {
    let entropy = Arc::new(System(SystemRandom::new()));
    let keyring = Keyring::new(RootKey::generate(&*entropy), entropy);
    let key = keyring.new_tenant_key(TENANT);
    keyring.install_tenant(TENANT, &key).expect("it was just made");
    let key = keyring.new_bucket_key(TENANT, BUCKET, 1).expect("installed");
    let epochs = [BucketKeyEpoch { epoch: 1, key }];
    keyring.install_bucket(TENANT, BUCKET, &epochs).expect("it was just made");
    keyring
}

fn segments(c: &mut Criterion) {
    let keyring = keyring();
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Bytes(SEGMENT_BYTES as u64));
    let (mut sealer, key) = keyring.seal_part(&CONTEXT).expect("installed");
    let mut slot = vec![0x5a; SEALED_SEGMENT_BYTES];
    sealer.seal_segment(false, &mut slot);
    let sealed = slot.clone();
    group.bench_function("seal 64 KiB", |b| b.iter(|| sealer.seal_segment(false, &mut slot)));
    let opener = keyring.open_part(&CONTEXT, &key).expect("its own key");
    group.bench_function("open 64 KiB (with a copy)", |b| {
        b.iter(|| {
            slot.copy_from_slice(&sealed);
            opener.open_segment(0, false, black_box(&mut slot)).expect("authentic")
        });
    });
    group.finish();

    let mut group = c.benchmark_group("part");
    group.bench_function("fresh key", |b| b.iter(|| keyring.seal_part(&CONTEXT)));
    group.bench_function("open key", |b| b.iter(|| keyring.open_part(&CONTEXT, &key)));
    group.finish();
}

fn records(c: &mut Criterion) {
    let keyring = keyring();
    for (bytes, name) in [(256, "256 B"), (4 * 1024, "4 KiB"), (256 * 1024, "256 KiB")] {
        let mut group = c.benchmark_group(format!("record of {name}"));
        group.throughput(Throughput::Bytes(bytes as u64));
        let plain = vec![0x5a; bytes];
        group.bench_function("seal", |b| b.iter(|| keyring.seal_record(SCOPE, &plain)));
        let sealed = keyring.seal_record(SCOPE, &plain).expect("installed");
        group.bench_function("open", |b| {
            b.iter_batched(
                || BytesMut::from(sealed.as_slice()),
                |sealed| keyring.open_record(sealed).expect("authentic"),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, segments, records);
criterion_main!(benches);
