//! Compaction on a gateway in this process, over six local sites: what clients see stays the same,
//! what they deleted leaves the sites, and a blank machine finds what counts, whatever sites keep.

use crate::support::*;
use havre::oversight::Inside;
use havre_keeper::{Collector, Compactor};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_leaves_the_sites_and_what_counts_stays() {
    let mut w = world(|text| text).await;
    w.live(3).await;
    for name in w.names().collect::<Vec<_>>() {
        if name != "k7" && !name.starts_with("upload") {
            w.delete(&name).await;
        }
    }
    let (packs, stored) = (files(&w.site(1).join("p")).len(), bytes(&w.site(1).join("p")));
    let done = w.compact().await;
    assert!(done.packs_retired > packs as u64 / 2 && done.ends_dropped > 30, "{done:?}");
    w.check(w.names()).await;
    let collected = w.collect().await;
    assert_eq!((collected.garbage_left, collected.orphans_left), (0, 0));
    w.check(w.names()).await;
    let (fewer, less) = (files(&w.site(1).join("p")).len(), bytes(&w.site(1).join("p")));
    assert!(fewer * 10 < packs && less * 10 < stored, "{packs} {fewer}, {stored} {less}");
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0 && report.unreadable_records == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_machine_finds_what_counts_although_sites_keep_what_they_should_delete() {
    let mut w = world(|text| text).await;
    w.live(2).await;
    // Undead deletes (A20): the sites bring everything back that they were asked to delete.
    let kept = TempDir::new().expect("it works");
    for site in 1..=6 {
        copy(&w.site(site), &kept.path().join(site.to_string()));
    }
    for name in (0..30).map(|at| format!("k{at}")) {
        w.delete(&name).await;
    }
    w.compact().await;
    w.collect().await;
    for site in 1..=6 {
        copy(&kept.path().join(site.to_string()), &w.site(site));
    }
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
    assert_eq!(report.compared["objects"].live, w.contents.len() as u64);
}

/// What a command of the gateway prints as JSON.
fn report(data: &Path, words: &[&str]) -> serde_json::Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_havre"));
    command.args(words).arg("--config").arg(data.join("havre.toml"));
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.find("{\n").map(|at| &text[at..]).expect("a report");
    serde_json::from_str(json).expect("JSON")
}

/// A bug: it counted extents as all of them without all garbage, retired packs among it, and
/// panicked where there were more of those.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_that_a_site_keeps_is_told_of() {
    let mut w = world(|text| text).await;
    for name in ["a", "b", "c"] {
        w.put(name, value(name, 1, 1_000)).await;
        w.delete(name).await;
    }
    assert!(w.compact().await.packs_retired > 0);
    let (_folder, data) = w.stop();
    // Another storage where a site was: it is barred, and nothing is deleted there.
    let marker = format!("havre-site-1:{}\n", "07".repeat(16));
    std::fs::write(data.join("sites/s6/havre-site"), marker).expect("it works");
    let report = report(&data, &["gc"]);
    assert!(report["garbage"].as_u64() > Some(0), "{report}");
    assert_eq!((&report["garbage"], &report["extents"]), (&report["garbage_left"], &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hand_what_misses_a_shard_is_repaired_first() {
    let mut w = world(|text| text).await;
    w.live(1).await;
    let (folder, data) = w.stop();
    // A pack amid the others misses a shard, as a rebuilt catalog notes. (Of the last one the start
    // itself makes it anew.)
    let mut packs = files(&data.join("sites/s1/p"));
    packs.sort();
    std::fs::remove_file(&packs[packs.len() / 2]).expect("it works");
    for file in files(&data).iter().filter(|file| file.to_string_lossy().contains("catalog.")) {
        std::fs::remove_file(file).expect("it works");
    }
    let report = report(&data, &["compact", "--thorough"]);
    assert_eq!((&report["repaired"], &report["incomplete"]), (&1.into(), &0.into()), "{report}");
    assert_eq!(report["waiting"], 0, "{report}");
    assert!(report["packs_retired_ever"].as_u64() > Some(10), "{report}");
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_go_on_while_packs_are_written_anew() {
    let mut w = world(|text| text).await;
    w.live(1).await;
    let (compactor, rounds) = (w.compactor(), 6);
    let catalog = Arc::clone(&w.gateway.catalog);
    let collector = Collector {
        catalog: Arc::new(Arc::clone(&catalog)),
        fleet: Arc::clone(&w.gateway.fleet),
        held: Arc::new(Inside::new(&w.gateway)),
        busy: compactor.busy.clone(),
    };
    let ended = Arc::new(AtomicBool::new(false));
    let keeper = {
        let (ended, mut compactor) = (Arc::clone(&ended), compactor);
        let engine = Arc::clone(&w.gateway.engine);
        async move {
            while !ended.load(Ordering::Acquire) {
                let done = compactor.pass(true, &|| true).await.expect("it works");
                assert!(engine.fence().await);
                collector.collect().await.expect("it works");
                tracing::debug!(?done, "a pass");
            }
        }
    };
    let clients = async {
        for _ in 0..rounds {
            w.live(1).await;
            w.check(w.names()).await;
        }
        ended.store(true, Ordering::Release);
    };
    tokio::join!(keeper, clients);
    assert!(Compactor::progress(&*catalog).await.expect("it works").packs_retired > 20);
    w.compact().await;
    w.collect().await;
    w.check(w.names()).await;
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
}
