//! Writes that nobody acknowledged, and what a start makes of what the sites have of them. Six
//! sites, two in each of three jurisdictions, 3+3: any five shards are within the guarantee, four
//! are below it, and any three decode.

use crate::support;
use crate::support::{World, assert_reads, bucket, key, pattern, put};
use bytes::Bytes;
use havre_catalog::{Catalog as _, SqliteCatalog};
use havre_engine::replay::Silent;
use havre_engine::{Bucket, Condition, Engine, PutError, PutRequest, UploadRequest, WholeBody};
use havre_model::{BlobId, BlobName, ChainId};
use havre_sites::memory::MemorySite;
use havre_sites::system;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn memory() -> Arc<SqliteCatalog> {
    Arc::new(SqliteCatalog::in_memory().expect("a catalog in memory"))
}

/// The packs at a site, by chain and number.
fn packs(site: &MemorySite) -> Vec<BlobName> {
    let names = site.snapshot();
    let names = names.shards().keys().filter_map(|name| name.parse().ok());
    let mut packs: Vec<BlobName> =
        names.filter(|name| matches!(name, BlobName::Pack { .. })).collect();
    packs.sort_by_key(place);
    packs
}

fn place(name: &BlobName) -> (ChainId, u64) {
    match name {
        BlobName::Pack { chain, number, .. } => (*chain, *number),
        BlobName::Extent(_) => panic!("{name} is no pack"),
    }
}

/// The packs at any site.
fn all_packs(world: &World) -> BTreeSet<BlobName> {
    world.sites.iter().flat_map(|site| packs(site)).collect()
}

/// A put that the sites which are there cannot make durable; the packs that it left behind.
async fn refused(world: &World, engine: &Engine, bucket: &Arc<Bucket>, name: &str) -> BlobName {
    let before = all_packs(world);
    let request = PutRequest::default();
    let result = engine.put(bucket, key(name), request, &mut WholeBody::new("refused")).await;
    assert!(matches!(result, Err(PutError::Unavailable(_))), "{result:?}");
    let left: Vec<_> = all_packs(world).difference(&before).copied().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    left[0]
}

/// Takes a pack's shards away from all sites: they are on their way still.
fn withhold(world: &World, name: &BlobName) -> Vec<Option<Bytes>> {
    let take = |site: &Arc<MemorySite>| {
        let shard = site.snapshot().shards().get(&name.to_string()).cloned();
        site.tamper(name, None);
        shard
    };
    world.sites.iter().map(take).collect()
}

/// They arrive.
fn deliver(world: &World, name: &BlobName, shards: &[Option<Bytes>]) {
    for (site, shard) in world.sites.iter().zip(shards) {
        site.tamper(name, shard.clone());
    }
}

/// How many sites have a shard of the blob.
fn held(world: &World, name: &BlobName) -> usize {
    let has = |site: &&Arc<MemorySite>| site.snapshot().shards().contains_key(&name.to_string());
    world.sites.iter().filter(has).count()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let runtime = system::ports().runtime;
    for _ in 0..200 {
        if holds() {
            return;
        }
        runtime.sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within ten seconds");
}

async fn found(engine: &Engine) -> Arc<Bucket> {
    engine.bucket("bucket").await.expect("answers").expect("the bucket is there")
}

async fn is_there(engine: &Engine, name: &str) -> bool {
    let bucket = found(engine).await;
    engine.head(&bucket, &key(name)).await.expect("answers").is_some()
}

/// The last pack of a chain was within its guarantee when it was acknowledged, or it was not
/// acknowledged at all. A start cannot tell. What it acknowledges behind a pack that the next loss
/// takes away would go with it.
#[tokio::test]
async fn a_last_pack_below_its_guarantee_is_mended_before_anything_is_acknowledged_behind_it() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    put(&engine, &bucket(&engine).await, "last", b"last").await;
    let last = *packs(&world.sites[0]).last().expect("a pack");
    drop(engine);
    for site in &world.sites[..2] {
        site.tamper(&last, None);
    }
    let (engine, _) = world.start_blank().await;
    put(&engine, &found(&engine).await, "later", b"later").await;
    assert_eq!(held(&world, &last), support::SITES);
    drop(engine);
    world.cut(&[2, 3]);
    let (engine, _) = world.start_blank().await;
    let bucket = found(&engine).await;
    assert_reads(&engine, &bucket, "last", b"last").await;
    assert_reads(&engine, &bucket, "later", b"later").await;
}

/// The same while the sites that it lacks are away at the start: writes wait for them.
#[tokio::test]
async fn writes_wait_until_the_last_pack_is_within_its_guarantee() {
    let world = World::new();
    let catalog = memory();
    let (engine, _) = world.start(catalog.clone()).await;
    let made = bucket(&engine).await;
    world.cut(&[0, 1]);
    let last = refused(&world, &engine, &made, "last").await;
    drop(engine);
    // It has four shards. Of the two sites that have none, one comes back, and of the others one
    // is away: five take shards, and the pack is at four of them.
    world.cut(&[0, 1]);
    let (engine, _) = world.start(catalog).await;
    assert!(is_there(&engine, "last").await);
    world.cut(&[0]);
    let later = pattern(600_000, 5);
    put(&engine, &found(&engine).await, "later", &later).await;
    assert_eq!(held(&world, &last), 5);
    drop(engine);
    world.cut(&[2, 3]);
    let (engine, _) = world.start_blank().await;
    let bucket = found(&engine).await;
    assert_reads(&engine, &bucket, "last", b"refused").await;
    assert_reads(&engine, &bucket, "later", &later).await;
}

/// A refused write left three shards, one of them at a hostile site, which gave its shard to the
/// start and to nobody afterwards: the pack was the end of the chain, nobody could read it, and
/// nothing was ever written behind it.
#[tokio::test]
async fn a_site_that_shows_its_shard_once_does_not_stop_the_chain() {
    let world = World::new();
    let catalog = memory();
    let (engine, _) = world.start(catalog.clone()).await;
    let made = bucket(&engine).await;
    world.cut(&[3, 4, 5]);
    let last = refused(&world, &engine, &made, "last").await;
    drop(engine);
    world.cut(&[]);
    world.denies[2].store(true, std::sync::atomic::Ordering::SeqCst);
    let (engine, _) = world.start(catalog).await;
    let bucket = found(&engine).await;
    put(&engine, &bucket, "later", b"later").await;
    assert_reads(&engine, &bucket, "last", b"refused").await;
    assert_eq!(held(&world, &last), support::SITES);
}

/// A delete of a key that is not there was answered without a record, although a put of the key
/// that was refused a moment ago could still turn out to be the end of the chain.
#[tokio::test]
async fn a_delete_holds_against_a_refused_write_that_comes_back() {
    let world = World::new();
    let catalog = memory();
    let (engine, _) = world.start(catalog.clone()).await;
    let made = bucket(&engine).await;
    world.cut(&[0, 1]);
    refused(&world, &engine, &made, "k").await;
    let deleted = engine.delete(&made, key("k"), Condition::default()).await;
    assert!(matches!(deleted, Err(PutError::Unavailable(_))), "{deleted:?}");
    world.cut(&[]);
    engine.delete(&made, key("k"), Condition::default()).await.expect("deleted");
    drop(engine);
    for catalog in [catalog, memory()] {
        let (engine, _) = world.start(catalog).await;
        assert!(!is_there(&engine, "k").await);
    }
}

/// The shards of a refused write were deleted at once. A process that died in between left a pack
/// that could be read, and the extents that it named were gone.
#[tokio::test]
async fn the_shards_of_a_refused_write_stay_until_a_later_pack_is_acknowledged() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let bucket = bucket(&engine).await;
    world.cut(&[0, 1]);
    let pack = refused(&world, &engine, &bucket, "k").await;
    let other = refused(&world, &engine, &bucket, "k").await;
    system::ports().runtime.sleep(Duration::from_millis(300)).await;
    assert_eq!((held(&world, &pack), held(&world, &other)), (4, 4));
    world.cut(&[]);
    put(&engine, &bucket, "later", b"later").await;
    until("they are deleted", || held(&world, &pack) + held(&world, &other) == 0).await;
}

/// This process dies with packs on their way, which it refused or never answered. They arrive when
/// the next one has written on, and must not come behind what that acknowledged.
async fn dies_and_its_packs_arrive_late(
    world: &World,
    catalog: Arc<SqliteCatalog>,
    engine: Arc<Engine>,
) {
    let made = found(&engine).await;
    world.cut(&[0, 1]);
    let mut late = Vec::new();
    for _ in 0..3 {
        let pack = refused(world, &engine, &made, "dead").await;
        late.push((pack, withhold(world, &pack)));
    }
    drop(engine);
    world.cut(&[]);
    let (engine, _) = world.start(catalog).await;
    put(&engine, &found(&engine).await, "live", b"live").await;
    drop(engine);
    for (pack, shards) in &late {
        deliver(world, pack, shards);
    }
    let (engine, _) = world.start_blank().await;
    assert_reads(&engine, &*found(&engine).await, "live", b"live").await;
    assert!(!is_there(&engine, "dead").await);
}

#[tokio::test]
async fn packs_of_a_dead_process_that_arrive_late_are_not_the_end_of_the_chain() {
    let (world, catalog) = (World::new(), memory());
    let (engine, _) = world.start(catalog.clone()).await;
    bucket(&engine).await;
    dies_and_its_packs_arrive_late(&world, catalog, engine).await;
}

/// The dead process had begun after another, and the next one begins where it did: nothing of it
/// was applied, and no site shows any of it.
#[tokio::test]
async fn of_two_processes_that_begin_at_one_pack_the_later_has_the_higher_numbers() {
    let (world, catalog) = (World::new(), memory());
    let (engine, _) = world.start(catalog.clone()).await;
    bucket(&engine).await;
    drop(engine);
    let (engine, _) = world.start(catalog.clone()).await;
    dies_and_its_packs_arrive_late(&world, catalog, engine).await;
}

/// A site invents a pack with the highest number that there is.
#[tokio::test]
async fn a_site_that_lies_about_numbers_does_not_use_them_up() {
    let world = World::new();
    let catalog = memory();
    let (engine, _) = world.start(catalog.clone()).await;
    put(&engine, &bucket(&engine).await, "k", b"first").await;
    drop(engine);
    world.denies[0].store(true, std::sync::atomic::Ordering::SeqCst);
    let (chain, _) = place(packs(&world.sites[0]).last().expect("a pack"));
    let blob = BlobId::from_bytes([7; 16]);
    for number in [u64::MAX, u64::MAX >> 1] {
        let name = BlobName::Pack { chain, number, blob };
        world.sites[0].tamper(&name, Some(Bytes::from_static(b"a lie")));
        let (engine, _) = world.start(catalog.clone()).await;
        put(&engine, &found(&engine).await, "k", b"second").await;
    }
    let (engine, _) = world.start_blank().await;
    assert_reads(&engine, &*found(&engine).await, "k", b"second").await;
}

/// Two refused writes are the end of a chain; the second can be read only with sites that are away.
/// The start takes the first for written, and clients see it: so it stays when the others are back.
#[tokio::test]
async fn what_a_start_found_at_the_end_of_a_chain_stays_whichever_sites_come_back() {
    let world = World::new();
    let catalog = memory();
    let (engine, _) = world.start(catalog).await;
    let made = bucket(&engine).await;
    world.cut(&[4, 5]);
    refused(&world, &engine, &made, "first").await;
    world.cut(&[2, 3]);
    let second = refused(&world, &engine, &made, "second").await;
    drop(engine);
    world.cut(&[4, 5]);
    let (engine, _) = world.start_blank().await;
    assert!(is_there(&engine, "first").await && !is_there(&engine, "second").await);
    assert_eq!(held(&world, &second), 2);
    drop(engine);
    world.cut(&[]);
    let (engine, _) = world.start_blank().await;
    assert!(is_there(&engine, "first").await && !is_there(&engine, "second").await);
}

/// A recovery leaves the old chains behind. Their last packs are settled like those of chains that
/// go on: what arrives behind them later is not the end.
#[tokio::test]
async fn the_chains_of_before_a_recovery_are_closed() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let made = bucket(&engine).await;
    world.cut(&[0, 1]);
    refused(&world, &engine, &made, "first").await;
    let second = refused(&world, &engine, &made, "second").await;
    let shards = withhold(&world, &second);
    drop(engine);
    world.cut(&[]);
    let (chain, _) = place(&second);
    let (engine, _) = world.start_blank().await;
    assert!(is_there(&engine, "first").await);
    let last = || packs(&world.sites[0]).into_iter().rfind(|name| place(name).0 == chain);
    until("the chain is closed", || last().is_some_and(|last| last > second)).await;
    let closed = last();
    drop(engine);
    deliver(&world, &second, &shards);
    let (engine, _) = world.start_blank().await;
    assert!(is_there(&engine, "first").await && !is_there(&engine, "second").await);
    // Once is enough.
    system::ports().runtime.sleep(Duration::from_millis(300)).await;
    assert_eq!(last(), closed);
}

/// The last pack was acknowledged with five shards. A blank machine finds two of them spoilt or
/// away beyond what one coalition reaches, and must not take it for one that failed.
#[tokio::test]
async fn a_last_pack_that_may_have_been_acknowledged_is_waited_for() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let made = bucket(&engine).await;
    world.cut(&[5]);
    put(&engine, &made, "first", b"first").await;
    put(&engine, &made, "last", b"last").await;
    let last = *packs(&world.sites[0]).last().expect("a pack");
    drop(engine);
    world.cut(&[0, 1]);
    let spoilt = world.sites[2].snapshot().shards()[&last.to_string()].clone();
    world.sites[2].tamper(&last, Some(Bytes::from_static(b"spoilt")));
    // `havre recover` gives what is there and says that it is not all.
    let catalog = memory();
    let report = Engine::recover(world.parts(catalog.clone()), &Silent, false).await;
    assert!(report.expect("what is there").partial);
    assert!(catalog.is_recovering().await.expect("answers"));
    let (engine, report) = world.start_blank().await;
    assert!(report.partial && !engine.takes_writes());
    drop(engine);
    let (engine, report) = world.start(catalog).await;
    assert!(report.partial && !engine.takes_writes());
    assert!(!is_there(&engine, "last").await);
    // The sites come back under the running gateway, and it goes on by itself.
    world.sites[2].tamper(&last, Some(spoilt));
    world.cut(&[]);
    until("writes are taken", || engine.takes_writes()).await;
    let bucket = found(&engine).await;
    assert_reads(&engine, &bucket, "last", b"last").await;
    put(&engine, &bucket, "later", b"later").await;
}

/// A gateway that only reads handed out numbers above those that its catalog had; then it found
/// acknowledged records that bore them.
#[tokio::test]
async fn a_gateway_that_only_reads_draws_no_sequence_numbers() {
    let world = World::new();
    let catalog = memory();
    let (engine, _) = world.start(catalog.clone()).await;
    let made = bucket(&engine).await;
    let begun = engine.create_upload(&made, key("parts"), UploadRequest::default()).await;
    let upload = begun.expect("an upload");
    drop(engine);
    world.cut(&[0, 1, 2]);
    let (engine, _) = world.start(catalog.clone()).await;
    assert!(!engine.takes_writes());
    let before = catalog.reserve_seqs(1).await.expect("a number");
    let bucket = found(&engine).await;
    let aborted = engine.abort(&bucket, &key("parts"), upload).await;
    assert!(matches!(aborted, Err(PutError::Unavailable(_))), "{aborted:?}");
    let after = catalog.reserve_seqs(1).await.expect("a number");
    assert_eq!(before.end, after.start);
}
