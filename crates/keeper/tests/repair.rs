//! Repair: what a blob misses is made anew, byte for byte, and nothing else changes.

use crate::support::{ALL, World};
use bytes::Bytes;
use havre_catalog::{BlobRow, BlobState};
use havre_keeper::{Busy, RepairReport, Repairer};
use havre_sites::fault::Fault;
use std::sync::Arc;
use std::time::Duration;

/// Two passes: what is incomplete once may still be arriving.
async fn repair(repairer: &mut Repairer) -> RepairReport {
    repairer.pass().await.expect("a pass");
    repairer.pass().await.expect("a pass")
}

fn tamper(world: &World, row: &BlobRow, index: usize, shard: Option<Vec<u8>>) {
    let site = &world.sites[world.position(row, index)];
    site.tamper(&row.name, shard.map(Bytes::from));
}

#[tokio::test]
async fn missing_shards_are_made_anew_byte_for_byte() {
    let mut world = World::new();
    for bytes in [1, 65_552, 200_000, 1_600_000, 9_000_001] {
        let name = format!("object-{bytes}");
        let whole = world.object(&format!("whole-{bytes}"), bytes, ALL).await;
        for lost in [0b1, 0b10_0000, 0b10_1010, 0b111] {
            let row = world.object(&name, bytes, ALL).await;
            let before: Vec<_> = (0..6).map(|index| world.shard(&row, index)).collect();
            for index in (0..6).filter(|index| lost & 1 << index != 0) {
                tamper(&world, &row, index, None);
            }
            world.catalog.note_shards(row.blob(), &row.sites, 0, lost).await.expect("noted");
            let report = repair(&mut world.repairer()).await;
            assert_eq!((report.whole, report.shards), (1, u64::from(lost.count_ones())));
            let after: Vec<_> = (0..6).map(|index| world.shard(&row, index)).collect();
            assert!(before == after, "{bytes} bytes, {lost:b}: other shards than before");
            let row = world.row(row.blob()).await.expect("known");
            assert_eq!((row.stored, row.state), (ALL, BlobState::Whole));
        }
        assert_eq!(world.holders(&whole), ALL);
    }
    assert_eq!(world.catalog.counts().await.expect("counts").incomplete, 0);
}

#[tokio::test]
async fn packs_are_repaired_too_and_the_most_endangered_first() {
    let mut world = World::new();
    let slight = world.pack(0b11_1110, Vec::new()).await;
    let grave = world.pack(0b00_0111, Vec::new()).await;
    let report = repair(&mut world.repairer()).await;
    assert_eq!((report.incomplete, report.whole, report.shards), (2, 2, 4), "{report:?}");
    assert_eq!((world.holders(&slight), world.holders(&grave)), (ALL, ALL));
}

#[tokio::test]
async fn what_is_incomplete_only_now_may_still_be_arriving() {
    let mut world = World::new();
    let row = world.pack(0b1_1111, Vec::new()).await;
    let mut repairer = world.repairer();
    let report = repairer.pass().await.expect("a pass");
    assert_eq!((report.incomplete, report.waiting, report.shards), (1, 1, 0));
    assert_eq!(world.holders(&row), 0b1_1111);
    assert_eq!(repairer.pass().await.expect("a pass").whole, 1);
}

#[tokio::test]
async fn a_site_that_is_away_is_waited_for_and_the_others_are_not() {
    let mut world = World::new();
    let row = world.object("object", 300_000, 0b11_1100).await;
    let at = world.position(&row, 0);
    world.faults[at].set(Fault::Down);
    let mut repairer = world.repairer();
    let report = repair(&mut repairer).await;
    assert_eq!((report.whole, report.shards, report.waiting), (0, 1, 1), "{report:?}");
    assert_eq!(world.row(row.blob()).await.expect("known").stored, 0b11_1110);
    world.faults[at].clear();
    // The site may be asked again only after its breaker's pause.
    for _ in 0..200 {
        if repair(&mut repairer).await.whole == 1 {
            break;
        }
        havre_sites::system::ports().runtime.sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.row(row.blob()).await.expect("known").stored, ALL);
}

#[tokio::test]
async fn bad_shards_are_found_while_reading_and_replaced() {
    let mut world = World::new();
    let row = world.object("object", 3_000_000, ALL).await;
    let good: Vec<_> = (0..6).map(|index| world.shard(&row, index)).collect();
    // Four are left, one of them bad: it is read or not, by the sites' ranking.
    let mut bad = good[3].clone().expect("a shard");
    bad[700_000] ^= 1;
    tamper(&world, &row, 3, Some(bad));
    for index in [0, 1, 2] {
        tamper(&world, &row, index, None);
    }
    world.catalog.note_shards(row.blob(), &row.sites, 0, 0b111).await.expect("noted");
    let mut repairer = world.repairer();
    let report = repair(&mut repairer).await;
    assert_eq!((report.unreadable, report.shards), (1, 0), "two good shards are too few");
    assert_eq!(world.row(row.blob()).await.expect("known").stored, 0b11_0000, "bad is noted");
    assert_eq!(world.holders(&row), 0b11_1000, "nothing is deleted that could not be replaced");
    // One that was thought lost is back.
    tamper(&world, &row, 2, good[2].clone());
    world.catalog.note_shards(row.blob(), &row.sites, 0b100, 0).await.expect("noted");
    let report = repairer.pass().await.expect("a pass");
    assert_eq!((report.whole, report.shards), (1, 3), "{report:?}");
    let after: Vec<_> = (0..6).map(|index| world.shard(&row, index)).collect();
    assert!(after == good, "other shards than before");
}

#[tokio::test]
async fn nothing_goes_where_no_policy_permits_it() {
    let mut world = World::new();
    let row = world.pack(0b1_1111, Vec::new()).await;
    let (catalog, fleet) = (Arc::new(Arc::clone(&world.catalog)), Arc::clone(&world.fleet));
    let ports = havre_sites::system::ports();
    let mut repairer =
        Repairer::new(catalog, fleet, Arc::from([]), Busy::default(), u64::MAX, ports);
    let report = repair(&mut repairer).await;
    assert_eq!((report.refused, report.shards), (1, 0), "{report:?}");
    assert_eq!(world.holders(&row), 0b1_1111);
}
