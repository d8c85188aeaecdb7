//! Scrub: what a site lost, changed or only pretends to have is found, and made anew by repair.

use crate::support::{ALL, World};
use bytes::Bytes;
use havre_catalog::BlobState;
use havre_keeper::{Depth, Scrub, Scrubber};
use havre_sites::fault::Fault;
use std::sync::atomic::{AtomicUsize, Ordering};

async fn cycle(scrubber: &mut Scrubber) -> Scrub {
    scrubber.cycle(&|| true).await.expect("a cycle")
}

#[tokio::test]
async fn what_is_well_is_found_well_at_every_size() {
    for depth in [Depth::Sample, Depth::Whole] {
        let mut world = World::new();
        world.open_chain().await;
        for bytes in [1, 65_552, 200_000, 1_600_000, 9_000_001] {
            world.object(&format!("object-{bytes}"), bytes, ALL).await;
        }
        let scrub = cycle(&mut world.scrubber(depth)).await;
        // A pack and an extent each, six shards each.
        assert_eq!((scrub.examined, scrub.good, scrub.bad), (10, 60, 0), "{scrub:?}");
        assert!(scrub.ended_ms > 0 && scrub.bytes_read > 0);
    }
}

#[tokio::test]
async fn a_shard_that_is_gone_is_found_in_one_cycle_and_repaired() {
    let mut world = World::new();
    world.open_chain().await;
    let row = world.object("object", 700_000, ALL).await;
    world.sites[world.position(&row, 1)].tamper(&row.name, None);
    let scrub = cycle(&mut world.scrubber(Depth::Sample)).await;
    assert_eq!((scrub.good, scrub.bad), (11, 1), "{scrub:?}");
    let now = world.row(row.blob()).await.expect("it is known");
    assert_eq!((now.state, now.stored), (BlobState::Incomplete, ALL & !0b10));
    let mut repairer = world.repairer();
    for _ in 0..2 {
        repairer.pass().await.expect("a pass");
    }
    assert_eq!(cycle(&mut world.scrubber(Depth::Whole)).await.good, 12);
}

#[tokio::test]
async fn one_damaged_byte_is_found_at_once_by_reading_all_and_sooner_or_later_by_samples() {
    let mut world = World::new();
    world.open_chain().await;
    let row = world.object("object", 9_000_001, ALL).await;
    let mut shard = world.shard(&row, 4).expect("it is stored");
    let middle = shard.len() / 2;
    shard[middle] ^= 1;
    world.sites[world.position(&row, 4)].tamper(&row.name, Some(Bytes::from(shard)));
    assert_eq!(cycle(&mut world.scrubber(Depth::Whole)).await.bad, 1);
    world.catalog.note_shards(row.blob(), &row.sites, ALL, 0).await.expect("noted");
    // Some 46 chunks: that a thousand samples miss one is out of the question.
    let mut scrubber = world.scrubber(Depth::Sample);
    let mut cycles = 0;
    while cycle(&mut scrubber).await.bad == 0 {
        cycles += 1;
        assert!(cycles < 1000, "never found");
    }
}

#[tokio::test]
async fn a_site_that_denies_what_it_has_is_found_and_one_that_is_away_is_not_accused() {
    let mut world = World::new();
    world.open_chain().await;
    let row = world.object("object", 700_000, ALL).await;
    world.faults[0].set(Fault::Forget);
    world.faults[1].set(Fault::Down);
    let scrub = cycle(&mut world.scrubber(Depth::Sample)).await;
    assert_eq!((scrub.good, scrub.bad, scrub.unanswered), (8, 2, 2), "{scrub:?}");
    let now = world.row(row.blob()).await.expect("it is known");
    let denied = (0..6).find(|at| world.position(&row, *at) == 0).expect("it has one");
    assert_eq!(now.stored, ALL & !(1 << denied));
}

#[tokio::test]
async fn a_cycle_that_is_interrupted_goes_on_where_it_was() {
    let mut world = World::new();
    world.open_chain().await;
    for number in 0..200 {
        world.object(&format!("object-{number}"), 10, ALL).await;
    }
    let calls = AtomicUsize::new(0);
    let once = || calls.fetch_add(1, Ordering::Relaxed) == 0;
    let first = world.scrubber(Depth::Sample).cycle(&once).await.expect("a page");
    assert!(first.examined > 0 && first.ended_ms == 0, "{first:?}");
    let all = cycle(&mut world.scrubber(Depth::Sample)).await;
    assert_eq!((all.examined, all.good), (400, 2400), "each once: {all:?}");
    assert_eq!(all.began_ms, first.began_ms);
}
