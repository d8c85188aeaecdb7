//! Garbage collection: what is needed or held stays, the rest goes, and is forgotten only when
//! every site has confirmed.

use crate::support;
use crate::support::{ALL, World};
use havre_model::{BlobId, BlobName, ChainId};
use havre_sites::fault::Fault;

#[tokio::test]
async fn garbage_goes_and_what_is_needed_stays() {
    let mut world = World::new();
    world.open_chain().await;
    let needed = world.object("needed", 300_000, ALL).await;
    let dropped = world.object("dropped", 300_000, ALL).await;
    world.delete("dropped").await;
    let report = world.collector().collect().await.expect("a pass");
    assert_eq!((report.garbage_deleted, report.garbage_left), (1, 0), "{report:?}");
    assert_eq!(report.extent_shards_needed, 6, "{report:?}");
    assert_eq!((world.holders(&needed), world.holders(&dropped)), (ALL, 0));
    assert!(world.row(dropped.blob()).await.is_none());
}

#[tokio::test]
async fn garbage_is_remembered_until_every_site_has_deleted_it() {
    let mut world = World::new();
    world.open_chain().await;
    let dropped = world.object("dropped", 300_000, ALL).await;
    world.delete("dropped").await;
    let at = world.position(&dropped, 2);
    world.faults[at].set(Fault::Down);
    let report = world.collector().collect().await.expect("a pass");
    assert_eq!((report.garbage_deleted, report.garbage_left), (0, 1), "{report:?}");
    assert_eq!(world.holders(&dropped), 0b100);
    assert!(world.row(dropped.blob()).await.is_some(), "forgotten too early");
}

#[tokio::test]
async fn what_is_being_read_or_written_is_left_alone() {
    let mut world = World::new();
    world.open_chain().await;
    let read = world.object("read", 300_000, ALL).await;
    world.delete("read").await;
    let written = BlobName::Extent(BlobId::from_bytes([8; 16]));
    let written = world.disperse(written, b"not recorded yet", ALL).await;
    world.held.0.lock().extend([read.blob(), written.blob()]);
    let report = world.collector().collect().await.expect("a pass");
    assert_eq!((report.garbage_deleted, report.orphans_deleted), (0, 0), "{report:?}");
    assert_eq!((world.holders(&read), world.holders(&written)), (ALL, ALL));
    world.held.0.lock().clear();
    let report = world.collector().collect().await.expect("a pass");
    assert_eq!((report.garbage_deleted, report.orphans_deleted), (1, 6), "{report:?}");
    assert_eq!((world.holders(&read), world.holders(&written)), (0, 0));
}

#[tokio::test]
async fn packs_of_other_chains_are_nobodys_business_and_stray_packs_go_before_extents() {
    let mut world = World::new();
    world.open_chain().await;
    world.pack(ALL, Vec::new()).await;
    let foreign = ChainId::from_bytes([0x77; 16]);
    let blob = |byte| BlobId::from_bytes([byte; 16]);
    let foreign = BlobName::Pack { chain: foreign, number: 1, blob: blob(1) };
    let foreign = world.disperse(foreign, b"another gateway's", ALL).await;
    let stray = BlobName::Pack { chain: support::CHAIN, number: 9, blob: blob(2) };
    let stray = world.disperse(stray, b"never acknowledged", 0b11).await;
    let extent = world.disperse(BlobName::Extent(blob(4)), b"its extent", ALL).await;
    // The stray pack cannot be deleted everywhere: its extent must stay with it.
    let at = world.position(&stray, 0);
    world.faults[at].set(Fault::ReadOnly);
    let report = world.collector().collect().await.expect("a pass");
    assert_eq!(world.holders(&extent), ALL, "{report:?}");
    world.faults[at].clear();
    let report = world.collector().collect().await.expect("a pass");
    assert!(report.sites_unlisted.is_empty(), "{report:?}");
    assert_eq!((world.holders(&stray), world.holders(&extent)), (0, 0), "{report:?}");
    assert_eq!(world.holders(&foreign), ALL);
}
