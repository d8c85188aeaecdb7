//! The data path over six sites in memory: what is acknowledged is read back, past dead and lying
//! sites, and recovered on a blank machine.

use crate::support;
use crate::support::{World, assert_reads, bucket, key, object, pattern, put, read};
use bytes::Bytes;
use havre_catalog::{Mode, Opened, SqliteCatalog};
use havre_engine::{
    CompleteError, CompleteRequest, CompletedPart, Condition, ETagMatch, ListQuery, PutError,
    PutRequest, ReadError, StartError, UploadRequest, WholeBody,
};
use havre_policy::OnOutage;
use havre_sites::{Bar, Health, system};
use std::sync::Arc;
use std::time::Duration;

/// A range of an object, of the bytes that it was written from.
fn slice(bytes: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    let at = |offset| usize::try_from(offset).expect("within the bytes");
    &bytes[at(range.start)..at(range.end)]
}

const SIZES: [usize; 14] = [
    0, 1, 4096, 65_535, 65_536, 65_537, 262_144, 262_145, 327_680, 393_216, 393_217, 1_572_864,
    1_572_865, 5_242_881,
];

#[tokio::test]
async fn every_size_reads_back_whole_and_in_ranges() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    for size in SIZES {
        let bytes = pattern(size, size as u64);
        put(&engine, &bucket, "object", &bytes).await;
        assert_reads(&engine, &bucket, "object", &bytes).await;
        let object = object(&engine, &bucket, "object").await;
        let size = size as u64;
        for (from, to) in [(0, 1), (1, 2), (65_530, 65_540), (100_000, 300_001), (size / 2, size)] {
            let (from, to) = (from.min(size), to.min(size));
            if from >= to {
                continue;
            }
            let found = read(&engine, &object, from..to).await.expect("a range reads");
            let expected = slice(&bytes, from..to);
            assert!(found == expected, "{from}..{to} of {size}");
        }
    }
}

#[tokio::test]
async fn any_three_sites_suffice_to_read_and_two_do_not() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    let small = pattern(5000, 1);
    let large = pattern(2_000_000, 2);
    put(&engine, &bucket, "small", &small).await;
    put(&engine, &bucket, "large", &large).await;
    for lost in 0..1_usize << support::SITES {
        if lost.count_ones() < 3 || lost.count_ones() > 4 {
            continue;
        }
        let snapshots: Vec<_> = world.sites.iter().map(|site| site.snapshot()).collect();
        for (number, site) in world.sites.iter().enumerate() {
            if lost & 1 << number != 0 {
                for name in shard_names(site) {
                    site.tamper(&name, None);
                }
            }
        }
        if lost.count_ones() == 3 {
            assert_reads(&engine, &bucket, "small", &small).await;
            assert_reads(&engine, &bucket, "large", &large).await;
        } else {
            for name in ["small", "large"] {
                let object = object(&engine, &bucket, name).await;
                let found = read(&engine, &object, 0..u64::MAX).await;
                assert!(matches!(found, Err(ReadError::TooFewShards { .. })), "{found:?}");
            }
        }
        for (site, snapshot) in world.sites.iter().zip(snapshots) {
            site.restore(snapshot);
        }
    }
}

fn shard_names(site: &havre_sites::memory::MemorySite) -> Vec<havre_model::BlobName> {
    site.snapshot().shards().keys().filter_map(|name| name.parse().ok()).collect()
}

#[tokio::test]
async fn lying_sites_are_erasures_wherever_they_lie() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    let large = pattern(3_000_000, 3);
    put(&engine, &bucket, "large", &large).await;
    put(&engine, &bucket, "small", b"small").await;
    for site in &world.sites[1..4] {
        let snapshot = site.snapshot();
        for (text, shard) in snapshot.shards() {
            let Ok(name) = text.parse() else { continue };
            let mut lie = shard.to_vec();
            for at in (0..lie.len()).step_by(50_000) {
                lie[at] ^= 1;
            }
            let last = lie.len() - 1;
            lie[last] ^= 1;
            site.tamper(&name, Some(Bytes::from(lie)));
        }
    }
    assert_reads(&engine, &bucket, "large", &large).await;
    assert_reads(&engine, &bucket, "small", b"small").await;
    let object = object(&engine, &bucket, "large").await;
    for from in (0..3_000_000).step_by(70_001) {
        let to = (from + 66_000).min(3_000_000);
        let found = read(&engine, &object, from..to).await.expect("a range reads");
        assert!(found == slice(&large, from..to), "{from}..{to}");
    }
}

/// A read asks a data shard for what it wants, and when it needs the whole shard after all, for
/// that too. The smaller answer, coming last, took the place of the larger.
#[tokio::test]
async fn a_late_answer_with_a_part_of_a_shard_does_not_replace_the_whole() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    let large = pattern(3_000_000, 11);
    put(&engine, &bucket, "large", &large).await;
    for (first, second, third) in [(0, 2, 4), (1, 3, 5), (0, 1, 2), (3, 4, 5)] {
        world.cut(&[first, second, third]);
        for site in 0..support::SITES {
            world.part_millis[site].store(300, std::sync::atomic::Ordering::SeqCst);
        }
        let object = object(&engine, &bucket, "large").await;
        for from in [0, 60_000, 130_000, 1_000_000] {
            let found = read(&engine, &object, from..from + 250_000).await;
            let at = usize::try_from(from).expect("small");
            assert!(found.expect("three sites are there") == large[at..at + 250_000]);
        }
    }
}

/// After a recovery with sites away the catalog does not have what these hold. They come back, and
/// others go: every blob still has its `k` shards.
#[tokio::test]
async fn shards_that_are_not_noted_are_searched_for() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let made = bucket(&engine).await;
    let middle = pattern(200_000, 3);
    put(&engine, &made, "middle", &middle).await;
    put(&engine, &made, "last", b"last").await;
    drop(engine);
    world.cut(&[0, 1]);
    let (engine, _) = world.start_blank().await;
    world.cut(&[2, 3]);
    let bucket = engine.bucket("bucket").await.expect("answers").expect("is there");
    assert_reads(&engine, &bucket, "middle", &middle).await;
}

#[tokio::test]
async fn a_blank_machine_recovers_everything_from_three_sites() {
    let mut world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    let large = pattern(700_000, 4);
    put(&engine, &bucket, "large", &large).await;
    for number in 0..50 {
        put(&engine, &bucket, &format!("k{number}"), format!("v{number}").as_bytes()).await;
    }
    put(&engine, &bucket, "k7", b"overwritten").await;
    engine.delete(&bucket, key("k8"), Condition::default()).await.expect("deleted");
    let upload = engine
        .create_upload(&bucket, key("parts"), UploadRequest::default())
        .await
        .expect("an upload");
    let part_bytes = pattern(100_000, 5);
    let mut body = WholeBody::new(part_bytes.clone());
    let part = engine.put_part(&bucket, &key("parts"), upload, 3, &mut body).await.expect("a part");
    drop(engine);
    world.up = vec![false, false, true, true, true, true];
    let (engine, report) = world.start_blank().await;
    assert!(report.rebuilt && report.replay.gaps.is_empty());
    let bucket = engine.bucket("bucket").await.expect("answers").expect("the bucket is back");
    assert_reads(&engine, &bucket, "large", &large).await;
    assert_reads(&engine, &bucket, "k7", b"overwritten").await;
    assert_reads(&engine, &bucket, "k49", b"v49").await;
    assert!(engine.head(&bucket, &key("k8")).await.expect("answers").is_none());
    // With two sites away the guarantee cannot be met: the upload goes on when they are back.
    drop(engine);
    world.up = vec![true; support::SITES];
    let (engine, _) = world.start_blank().await;
    let parts = vec![CompletedPart { number: 3, etag: part.etag, checksum: None }];
    let request = CompleteRequest { parts, ..CompleteRequest::default() };
    engine.complete(&bucket, key("parts"), upload, request).await.expect("completed");
    assert_reads(&engine, &bucket, "parts", &part_bytes).await;
    // The rebuilt gateway goes on, and is rebuilt again.
    put(&engine, &bucket, "later", b"later").await;
    drop(engine);
    world.up = vec![true, true, true, true, false, false];
    let (engine, _) = world.start_blank().await;
    let bucket = engine.bucket("bucket").await.expect("answers").expect("the bucket is back");
    assert_reads(&engine, &bucket, "later", b"later").await;
    assert_reads(&engine, &bucket, "parts", &part_bytes).await;
    assert_reads(&engine, &bucket, "large", &large).await;
}

#[tokio::test]
async fn a_blank_machine_does_not_start_when_acknowledged_writes_might_be_overlooked() {
    let mut world = World::new();
    let (engine, _) = world.start_blank().await;
    put(&engine, &bucket(&engine).await, "k", b"v").await;
    drop(engine);
    world.up = vec![false, false, false, true, true, true];
    let catalog = havre_catalog::SqliteCatalog::in_memory().expect("a catalog in memory");
    let parts = world.parts(std::sync::Arc::new(catalog));
    let started = havre_engine::replay::Silent;
    let error = havre_engine::Engine::start(parts, &started).await.err().expect("refused");
    assert!(error.to_string().contains("s0, s1, s2"), "{error}");
}

#[tokio::test]
async fn writes_go_on_without_one_site_and_stop_when_the_guarantee_would_break() {
    let mut world = World::new();
    let (engine, _) = world.start_blank().await;
    bucket(&engine).await;
    drop(engine);
    for (away, works) in [(1, true), (2, false)] {
        world.up = (0..support::SITES).map(|number| number >= away).collect();
        let (engine, _) = world.start_blank().await;
        let bucket = engine.bucket("bucket").await.expect("answers").expect("is there");
        for bytes in [&b"small"[..], &pattern(600_000, 6)] {
            let mut body = WholeBody::new(bytes.to_vec());
            let result = engine.put(&bucket, key("k"), PutRequest::default(), &mut body).await;
            assert_eq!(result.is_ok(), works, "{away} sites away: {result:?}");
            if works {
                assert_reads(&engine, &bucket, "k", bytes).await;
            }
        }
    }
    world.on_outage = OnOutage::Degrade;
    let (engine, _) = world.start_blank().await;
    let bucket = engine.bucket("bucket").await.expect("answers").expect("is there");
    put(&engine, &bucket, "degraded", b"below").await;
    assert_reads(&engine, &bucket, "degraded", b"below").await;
    assert!(engine.counts().await.expect("counts").below_guarantee > 0);
}

#[tokio::test]
async fn conditions_are_decided_on_what_is_there() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    let write = async |condition: Condition| {
        let request = PutRequest { condition, ..PutRequest::default() };
        engine.put(&bucket, key("k"), request, &mut WholeBody::new("v")).await
    };
    let matching = |etag: &str| Condition {
        if_match: Some(ETagMatch::OneOf(vec![etag.to_owned()])),
        if_none_match: None,
    };
    assert!(matches!(write(matching("x")).await, Err(PutError::NoSuchKey)));
    let first = write(Condition::absent()).await.expect("nothing was there");
    assert!(matches!(write(Condition::absent()).await, Err(PutError::PreconditionFailed)));
    write(matching(&first.etag)).await.expect("the ETag matches");
    assert!(matches!(write(matching(&first.etag)).await, Err(PutError::PreconditionFailed)));
}

#[tokio::test]
async fn of_many_writers_that_want_nothing_there_one_wins() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    let writers = (0..32).map(|number| {
        let (engine, bucket) = (engine.clone(), bucket.clone());
        async move {
            let request = PutRequest { condition: Condition::absent(), ..PutRequest::default() };
            let mut body = WholeBody::new(format!("{number}"));
            engine.put(&bucket, key("k"), request, &mut body).await.is_ok()
        }
    });
    let won = futures::future::join_all(writers).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_multipart_object_is_the_named_parts_in_order() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    let upload =
        engine.create_upload(&bucket, key("m"), UploadRequest::default()).await.expect("an upload");
    let mut whole = Vec::new();
    let mut parts = Vec::new();
    for (number, bytes) in [(2, 5_242_880), (5, 6_000_001), (9, 77)] {
        let bytes = pattern(bytes, number.into());
        for attempt in [b"replaced".to_vec(), bytes.clone()] {
            let mut body = WholeBody::new(attempt);
            let part = engine.put_part(&bucket, &key("m"), upload, number, &mut body).await;
            parts.push(part.expect("a part"));
        }
        whole.extend_from_slice(&bytes);
    }
    let list = |chosen: &[usize]| CompleteRequest {
        parts: chosen
            .iter()
            .map(|at| CompletedPart {
                number: parts[*at].number,
                etag: parts[*at].etag.clone(),
                checksum: None,
            })
            .collect(),
        ..CompleteRequest::default()
    };
    let complete = |request| engine.complete(&bucket, key("m"), upload, request);
    assert!(matches!(complete(list(&[])).await, Err(CompleteError::NoParts)));
    assert!(matches!(complete(list(&[3, 1])).await, Err(CompleteError::InvalidPartOrder)));
    assert!(matches!(complete(list(&[0])).await, Err(CompleteError::InvalidPart(2))));
    let short = complete(list(&[5, 5])).await;
    assert!(matches!(short, Err(CompleteError::InvalidPartOrder)), "{short:?}");
    let info = complete(list(&[1, 3, 5])).await.expect("completed");
    assert_eq!(info.bytes, whole.len() as u64);
    assert!(info.etag.ends_with("-3"));
    assert_reads(&engine, &bucket, "m", &whole).await;
    let object = object(&engine, &bucket, "m").await;
    let found = read(&engine, &object, 5_242_870..5_242_890).await.expect("across parts");
    assert!(found == whole[5_242_870..5_242_890]);
    assert_eq!(complete(list(&[1, 3, 5])).await.expect("again").etag, info.etag);
    let counts = engine.counts().await.expect("counts");
    assert_eq!((counts.uploads, counts.parts, counts.garbage), (0, 0, 3));
}

#[tokio::test]
async fn listings_show_what_was_acknowledged_and_deletes_take_it_away() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    for name in ["a/1", "a/2", "b"] {
        put(&engine, &bucket, name, b"v").await;
    }
    let query = |delimiter: Option<&str>| ListQuery {
        bucket: bucket.id(),
        prefix: String::new(),
        delimiter: delimiter.map(str::to_owned),
        after: None,
        after_prefix: false,
        limit: 10,
    };
    assert_eq!(engine.list(query(None)).await.expect("a page").entries.len(), 3);
    assert_eq!(engine.list(query(Some("/"))).await.expect("a page").entries.len(), 2);
    assert!(engine.delete_bucket(&bucket).await.is_err());
    let results =
        engine.delete_many(&bucket, vec![key("a/1"), key("a/2"), key("none"), key("b")]).await;
    assert!(results.iter().all(Result::is_ok));
    assert!(engine.list(query(None)).await.expect("a page").entries.is_empty());
    engine.delete_bucket(&bucket).await.expect("it is empty");
    let mut body = WholeBody::new("v");
    let late = engine.put(&bucket, key("k"), PutRequest::default(), &mut body).await;
    assert!(matches!(late, Err(PutError::NoSuchBucket)), "{late:?}");
}

#[tokio::test]
async fn other_geometries_read_back_too() {
    for geometry in [(4, 2), (3, 2), (5, 1)] {
        let mut world = World::new();
        world.geometry = geometry;
        let (engine, _) = world.start_blank().await;
        let bucket = bucket(&engine).await;
        for size in SIZES {
            let bytes = pattern(size, 9);
            put(&engine, &bucket, "k", &bytes).await;
            assert_reads(&engine, &bucket, "k", &bytes).await;
        }
    }
}

#[tokio::test]
async fn any_k_sites_recover_and_serve_reads_until_the_others_are_back() {
    let mut world = World::new();
    let (engine, _) = world.start_blank().await;
    let large = pattern(700_000, 8);
    put(&engine, &bucket(&engine).await, "large", &large).await;
    drop(engine);
    for lost in [0b000_111_u32, 0b111_000, 0b010_101] {
        world.up = (0..support::SITES).map(|number| lost & 1 << number == 0).collect();
        let catalog = havre_catalog::SqliteCatalog::in_memory().expect("a catalog in memory");
        let catalog = std::sync::Arc::new(catalog);
        let parts = world.parts(catalog.clone());
        let silent = havre_engine::replay::Silent;
        let report = havre_engine::Engine::recover(parts, &silent, false).await;
        assert!(report.expect("recovers").rebuilt);
        let (engine, _) = world.start(catalog).await;
        let bucket = engine.bucket("bucket").await.expect("answers").expect("is there");
        assert_reads(&engine, &bucket, "large", &large).await;
        let mut body = WholeBody::new("v");
        let late = engine.put(&bucket, key("k"), PutRequest::default(), &mut body).await;
        assert!(matches!(late, Err(PutError::Unavailable(_))), "{late:?}");
    }
}

#[tokio::test]
async fn a_chain_whose_first_packs_failed_begins_with_the_first_that_was_stored() {
    let mut world = World::new();
    let (engine, _) = world.start_blank().await;
    bucket(&engine).await;
    drop(engine);
    world.up = (0..support::SITES).map(|number| number >= 2).collect();
    let catalog = std::sync::Arc::new(havre_catalog::SqliteCatalog::in_memory().expect("memory"));
    let (engine, _) = world.start(catalog.clone()).await;
    let bucket = engine.bucket("bucket").await.expect("answers").expect("is there");
    for _ in 0..3 {
        let mut body = WholeBody::new("v");
        let refused = engine.put(&bucket, key("k"), PutRequest::default(), &mut body).await;
        assert!(matches!(refused, Err(PutError::Unavailable(_))), "{refused:?}");
    }
    drop(engine);
    world.up = vec![true; support::SITES];
    let (engine, _) = world.start(catalog).await;
    put(&engine, &bucket, "k", b"stored").await;
    drop(engine);
    let (engine, report) = world.start_blank().await;
    assert!(report.replay.gaps.is_empty(), "{report:?}");
    let bucket = engine.bucket("bucket").await.expect("answers").expect("is there");
    assert_reads(&engine, &bucket, "k", b"stored").await;
}

#[tokio::test]
async fn a_pack_that_is_lost_at_too_many_sites_is_a_gap_and_not_passed_over() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    for number in 0..5 {
        put(&engine, &bucket, &format!("k{number}"), b"v").await;
    }
    drop(engine);
    let mut packs: Vec<_> = shard_names(&world.sites[0]);
    packs.sort_by_key(|name| match name {
        havre_model::BlobName::Pack { number, .. } => *number,
        havre_model::BlobName::Extent(_) => 0,
    });
    for site in &world.sites[..4] {
        site.tamper(&packs[4], None);
    }
    let catalog = std::sync::Arc::new(havre_catalog::SqliteCatalog::in_memory().expect("memory"));
    let silent = havre_engine::replay::Silent;
    let told = havre_engine::Engine::recover(world.parts(catalog), &silent, false).await;
    assert!(told.expect_err("a gap").to_string().contains("accept-loss"));
    let catalog = std::sync::Arc::new(havre_catalog::SqliteCatalog::in_memory().expect("memory"));
    let report = havre_engine::Engine::recover(world.parts(catalog), &silent, true).await;
    assert_eq!(report.expect("what is left").replay.gaps.len(), 1);
}

#[tokio::test]
async fn a_catalog_that_is_far_behind_catches_up() {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let open = |name: &str| {
        let opened = SqliteCatalog::open(&folder.path().join(name), Mode::Threaded);
        match opened.expect("the catalog opens") {
            Opened::Fresh(catalog) | Opened::Existing(catalog) => Arc::new(catalog),
            Opened::Damaged(reason) => panic!("damaged: {reason}"),
        }
    };
    let (engine, _) = world.start(open("catalog")).await;
    let bucket = bucket(&engine).await;
    // What a power cut leaves of a catalog: all changes up to some point.
    for suffix in ["", "-wal"] {
        let path = |name: &str| folder.path().join(format!("{name}{suffix}"));
        std::fs::copy(path("catalog"), path("older")).expect("a copy");
    }
    for number in 0..300 {
        put(&engine, &bucket, &format!("k{number}"), b"v").await;
    }
    let (engine, report) = world.start(open("older")).await;
    assert!(!report.rebuilt && report.replay.records == 300, "{report:?}");
    let bucket = engine.bucket("bucket").await.expect("answers").expect("is there");
    assert_reads(&engine, &bucket, "k299", b"v").await;
}

#[tokio::test]
async fn two_sites_of_one_storage_are_refused() {
    let mut world = World::new();
    let catalog = Arc::new(SqliteCatalog::in_memory().expect("memory"));
    let first = world.sites[0].clone();
    let own = std::mem::replace(&mut world.sites[1], first);
    let silent = havre_engine::replay::Silent;
    let error = havre_engine::Engine::start(world.parts(catalog.clone()), &silent).await.err();
    assert!(matches!(error, Some(StartError::SameStorage { .. })), "{error:?}");
    world.sites[1] = own;
    let blank = Arc::new(SqliteCatalog::in_memory().expect("memory"));
    world.start(blank).await;
}

/// I9: it ended the start, and so one site, or one swapped disk, kept the gateway down.
#[tokio::test]
async fn a_site_that_shows_another_marker_is_barred_until_it_shows_its_own() {
    let world = World::new();
    let catalog = Arc::new(SqliteCatalog::in_memory().expect("memory"));
    let (engine, _) = world.start(catalog.clone()).await;
    let bucket = bucket(&engine).await;
    put(&engine, &bucket, "k", b"v").await;
    drop(engine);
    let (before, silent) = (shard_names(&world.sites[2]), havre_engine::replay::Silent);
    world.foreign(&[2]);
    let parts = world.parts(catalog.clone());
    let fleet = Arc::clone(&parts.fleet);
    let (engine, report) = havre_engine::Engine::start(parts, &silent).await.expect("it starts");
    assert!(!report.partial && engine.takes_writes());
    assert_eq!(fleet.site(2).barred().map(|barred| barred.bar), Some(Bar::OtherStorage));
    assert_eq!(fleet.site(2).health(), Health::Down);
    assert_reads(&engine, &bucket, "k", b"v").await;
    put(&engine, &bucket, "k2", b"v").await;
    assert_eq!(shard_names(&world.sites[2]), before, "nothing was sent to a barred site");
    world.foreign(&[]);
    while fleet.site(2).barred().is_some() {
        system::ports().runtime.sleep(Duration::from_millis(20)).await;
    }
    put(&engine, &bucket, "k3", b"v").await;
    assert_ne!(shard_names(&world.sites[2]), before, "it is a site as before");
}

#[tokio::test]
async fn more_foreign_markers_than_the_guarantee_allows_for_leave_reads_only() {
    let world = World::new();
    let catalog = Arc::new(SqliteCatalog::in_memory().expect("memory"));
    let (engine, _) = world.start(catalog.clone()).await;
    let bucket = bucket(&engine).await;
    put(&engine, &bucket, "k", b"v").await;
    drop(engine);
    world.foreign(&[0, 2, 4]);
    let (engine, _) = world.start(catalog).await;
    assert!(!engine.takes_writes());
    assert_reads(&engine, &bucket, "k", b"v").await;
}

/// Also of two attempts at one write, the first of which failed half-way.
#[tokio::test]
async fn every_attempt_at_a_blob_has_a_secret_of_its_own() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    put(&engine, &bucket, "large", &pattern(700_000, 1)).await;
    world.cut(&[0, 1]);
    for _ in 0..4 {
        let mut body = WholeBody::new("the same");
        let refused = engine.put(&bucket, key("k"), PutRequest::default(), &mut body).await;
        assert!(matches!(refused, Err(PutError::Unavailable(_))), "{refused:?}");
    }
    let names: std::collections::BTreeSet<_> =
        world.sites.iter().flat_map(|site| shard_names(site)).collect();
    let mut secrets = std::collections::BTreeSet::new();
    for name in &names {
        let shard = |site: &std::sync::Arc<havre_sites::memory::MemorySite>| {
            site.snapshot().shards().get(&name.to_string()).cloned()
        };
        let shards: Vec<Bytes> = world.sites.iter().filter_map(shard).collect();
        let gathered = havre_codec::gather_each(name.blob(), &shards).expect("it decodes");
        assert_eq!(gathered.len(), 1);
        secrets.insert(*gathered[0].secret.as_bytes());
    }
    assert!(names.len() >= 8 && secrets.len() == names.len(), "{names:?}");
}
