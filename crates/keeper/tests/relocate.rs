//! Relocation: what may not stay goes elsewhere, byte for byte, and nobody holds too much
//! meanwhile.

use crate::support::{ALL, SITES, World, policy_by};
use bytes::Bytes;
use havre_catalog::{BlobRow, BlobState};
use havre_keeper::estimate::{self, Misplacements};
use havre_keeper::{Relocation, Relocator};
use havre_model::{SiteId, SiteSet};
use havre_policy::PlacementPolicy;
use havre_sites::fault::Fault;
use havre_sites::{Share, system};
use std::sync::Arc;
use std::time::Duration;

async fn pass(relocator: &mut Relocator) -> Relocation {
    relocator.pass(&|| true).await.expect("a pass")
}

/// The sites that have a file of the blob.
fn files(world: &World, row: &BlobRow) -> SiteSet {
    (0..SITES).filter(|at| world.file(*at, row).is_some()).collect()
}

fn close(world: &World, sites: &[usize]) {
    world.fleet.close(sites.iter().copied().collect());
}

#[tokio::test]
async fn a_closed_site_drains_and_the_shards_elsewhere_are_the_same() {
    let mut world = World::new();
    world.open_chain().await;
    let mut rows = Vec::new();
    for bytes in [1, 65_552, 200_000, 1_600_000, 9_000_001] {
        rows.push(world.object(&format!("object-{bytes}"), bytes, ALL).await);
    }
    let before: Vec<Vec<Option<Bytes>>> = rows
        .iter()
        .map(|row| (0..6).map(|at| world.file(world.position(row, at), row)).collect())
        .collect();
    close(&world, &[2]);
    let mut relocator = world.relocator();
    let progress = pass(&mut relocator).await;
    // A pack and an extent each.
    assert_eq!((progress.shards, progress.deleted, progress.left), (10, 10, 0), "{progress:?}");
    assert!(!progress.done, "a pass that moved something has to be confirmed by one that does not");
    assert!(pass(&mut relocator).await.done);
    for (row, before) in rows.iter().zip(before) {
        let now = world.row(row.blob()).await.expect("it is known");
        assert_eq!(now.state, BlobState::Whole);
        assert!(!files(&world, row).contains(2));
        assert_eq!(files(&world, row).len(), 6);
        let after = (0..6).map(|at| world.file(world.position(&now, at), row));
        assert_eq!(after.collect::<Vec<_>>(), before);
    }
}

#[tokio::test]
async fn both_sites_of_a_jurisdiction_drain_even_while_one_is_dead() {
    let mut world = World::new();
    world.open_chain().await;
    let row = world.object("object", 700_000, ALL).await;
    close(&world, &[2, 3]);
    world.faults[2].set(Fault::Down);
    let mut relocator = world.relocator();
    let progress = pass(&mut relocator).await;
    assert_eq!((progress.shards, progress.deleted, progress.left), (4, 2, 2), "{progress:?}");
    assert!(!pass(&mut relocator).await.done, "the dead site still has its shards");
    world.faults[2].clear();
    // Its guard has to notice.
    for _ in 0..200 {
        if pass(&mut relocator).await.done {
            break;
        }
        system::ports().runtime.sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(files(&world, &row), [0, 1, 4, 5, 6, 7].into_iter().collect());
}

#[tokio::test]
async fn nothing_is_deleted_before_its_copy_is_read_back() {
    let mut world = World::new();
    world.open_chain().await;
    let row = world.object("object", 700_000, ALL).await;
    close(&world, &[0]);
    // Whoever is chosen confirms, and then knows nothing of it.
    for at in [6, 7] {
        world.faults[at].set(Fault::Forget);
    }
    let mut relocator = world.relocator();
    for _ in 0..2 {
        let progress = pass(&mut relocator).await;
        assert_eq!((progress.shards, progress.waiting), (0, 2), "{progress:?}");
        let six: SiteSet = (0..6).collect();
        assert!(six.is_subset(files(&world, &row)));
        assert_eq!(files(&world, &row).len(), 7, "what it took is a leftover");
    }
    for at in [6, 7] {
        world.faults[at].clear();
    }
    pass(&mut relocator).await;
    assert!(pass(&mut relocator).await.done);
    assert!(!files(&world, &row).contains(0));
}

#[tokio::test]
async fn what_was_intended_before_a_crash_goes_first() {
    let mut world = World::new();
    world.open_chain().await;
    let row = world.object("object", 700_000, ALL).await;
    close(&world, &[0]);
    // A process said where it would store a shard, stored it, and died.
    let (six, seven) = (world.fleet.site(6), world.fleet.site(7));
    let intended = vec![six.id(), seven.id()];
    assert!(world.catalog.intend_shards(row.blob(), intended).await.expect("noted"));
    let shard = world.file(world.position(&row, 0), &row);
    world.sites[6].tamper(&row.name, shard);
    let mut relocator = world.relocator();
    pass(&mut relocator).await;
    assert!(pass(&mut relocator).await.done);
    let now = world.row(row.blob()).await.expect("it is known");
    assert_eq!(files(&world, &row).len(), 6, "one of the two went again");
    assert!((0..6).all(|at| files(&world, &row).contains(world.position(&now, at))));
}

#[tokio::test]
async fn a_shard_that_is_being_read_is_deleted_later() {
    let mut world = World::new();
    world.open_chain().await;
    let row = world.object("object", 700_000, ALL).await;
    close(&world, &[0]);
    world.held.0.lock().insert(row.blob());
    let mut relocator = world.relocator();
    let progress = pass(&mut relocator).await;
    assert_eq!((progress.shards, progress.deleted, progress.left), (2, 1, 1), "{progress:?}");
    assert!(files(&world, &row).contains(0));
    world.held.0.lock().clear();
    assert_eq!(pass(&mut relocator).await.left, 0);
    assert!(!files(&world, &row).contains(0));
}

#[tokio::test]
async fn where_nothing_is_allowed_nothing_moves_and_it_says_why() {
    let mut world = World::new();
    world.open_chain().await;
    let row = world.object("object", 700_000, ALL).await;
    close(&world, &[0, 6, 7]);
    let progress = pass(&mut world.relocator()).await;
    assert_eq!((progress.shards, progress.stuck), (0, 2), "{progress:?}");
    assert!(progress.reason.contains("5 sites that are open"), "{}", progress.reason);
    assert_eq!(files(&world, &row), (0..6).collect());
}

#[tokio::test]
async fn a_pass_that_is_interrupted_goes_on_where_it_was() {
    let mut world = World::new();
    world.open_chain().await;
    for number in 0..40 {
        world.object(&format!("object-{number}"), 1000, ALL).await;
    }
    close(&world, &[1]);
    let mut relocator = world.relocator();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let go_on = || calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 4;
    let interrupted = relocator.pass(&go_on).await.expect("a pass");
    assert!(interrupted.shards > 0 && interrupted.shards < 80, "{interrupted:?}");
    drop(relocator);
    let mut relocator = world.relocator();
    assert_eq!(pass(&mut relocator).await.shards, 80, "counted on from before");
    assert!(pass(&mut relocator).await.done);
}

/// A catalog that was lost has shards where they were first; the sites know better.
#[tokio::test]
async fn a_shard_that_moved_before_the_catalog_was_lost_is_found_again() {
    let mut world = World::new();
    world.open_chain().await;
    let row = world.object("object", 700_000, ALL).await;
    let at = world.position(&row, 4);
    let shard = world.file(at, &row);
    world.sites[7].tamper(&row.name, shard.clone());
    world.sites[at].tamper(&row.name, None);
    let report = world.collector().collect().await.expect("a pass");
    assert_eq!((report.strays_adopted, report.orphans_deleted), (1, 0), "{report:?}");
    let now = world.row(row.blob()).await.expect("it is known");
    assert_eq!(world.position(&now, 4), 7);
    // A copy that is needed nowhere goes.
    world.sites[6].tamper(&row.name, shard);
    let report = world.collector().collect().await.expect("a pass");
    assert_eq!((report.strays_adopted, report.orphans_deleted), (0, 1), "{report:?}");
    assert!(!files(&world, &row).contains(6) && files(&world, &row).contains(7));
}

/// Bytes of shards by site, as the catalog has it.
async fn stored(world: &World) -> Vec<u64> {
    estimate::stored_bytes(&world.catalog, &world.fleet).await.expect("counted")
}

#[tokio::test]
async fn new_sites_get_their_share_when_they_are_asked_to() {
    let mut world = World::new();
    world.open_chain().await;
    let mut rows = Vec::new();
    for number in 0..40 {
        rows.push(world.object(&format!("object-{number}"), 300_000, ALL).await);
    }
    let all: u64 = stored(&world).await.iter().sum();
    assert_eq!(stored(&world).await[6..], [0, 0]);
    let mut relocator = world.relocator();
    assert!(pass(&mut relocator).await.done, "nobody asked for anything");
    relocator.rebalances = true;
    assert!(pass(&mut relocator).await.shards > 0);
    while !pass(&mut relocator).await.done {}
    let now = stored(&world).await;
    assert_eq!(now.iter().sum::<u64>(), all);
    for bytes in &now {
        assert!(bytes.abs_diff(all / 8) < all / 16, "{now:?}");
    }
    for row in rows {
        let now = world.row(row.blob()).await.expect("it is known");
        let sites: SiteSet = (0..6).map(|at| world.position(&now, at)).collect();
        assert_eq!((files(&world, &row), now.state), (sites, BlobState::Whole));
        assert!((0..4).all(|pair| {
            sites.intersection([2 * pair, 2 * pair + 1].into_iter().collect()).len() < 3
        }));
    }
}

#[tokio::test]
async fn a_site_gets_less_when_it_has_less_room() {
    let mut world = World::new();
    world.open_chain().await;
    for number in 0..40 {
        world.object(&format!("object-{number}"), 300_000, ALL).await;
    }
    let share = |whole| Share { next: whole, whole };
    world.fleet.share_out([64, 64, 64, 64, 64, 64, 64, 8].map(share).to_vec());
    let mut relocator = world.relocator();
    relocator.rebalances = true;
    while !pass(&mut relocator).await.done {}
    let now = stored(&world).await;
    assert!(now[7] * 2 < now[6] && now[7] > 0, "{now:?}");
}

#[tokio::test]
async fn what_today_s_facts_do_not_allow_is_counted_until_it_is_moved() {
    let mut world = World::new();
    world.open_chain().await;
    for number in 0..3 {
        world.object(&format!("object-{number}"), 700_000, ALL).await;
    }
    // One jurisdiction takes in another: four of six shards are within its reach.
    let policies: Arc<[PlacementPolicy]> = Arc::from([policy_by(["CH", "CH", "CA", "BR"])]);
    let ids: Vec<SiteId> = world.fleet.iter().map(havre_sites::Guarded::id).collect();
    let catalog = Arc::clone(&world.catalog);
    let count = async |ids: &[SiteId], closed: &[usize]| {
        let closed = closed.iter().copied().collect();
        let counted = estimate::misplacements(&*catalog, ids, &policies, closed).await;
        counted.expect("counted").0[0]
    };
    let found = count(&ids, &[]).await;
    assert_eq!((found.blobs, found.could_read, found.closed), (6, 6, 0), "{found:?}");
    assert_eq!(count(&ids, &[5]).await.closed, 6);
    assert_eq!(count(&ids[..5], &[]).await.homeless, 6);
    let mut relocator = Relocator { policies: Arc::clone(&policies), ..world.relocator() };
    while !pass(&mut relocator).await.done {}
    let all_well = Misplacements { blobs: 6, ..Misplacements::default() };
    assert_eq!(count(&ids, &[]).await, all_well);
}
