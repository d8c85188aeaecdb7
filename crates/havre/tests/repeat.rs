//! A gateway with more sites than shards, killed while it wrote its last pack: nobody can tell
//! where the missing shards were to lie, and writes are taken all the same.

use crate::support::*;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The shards of the pack with the highest number, by site.
fn last_pack(w: &World) -> Vec<(usize, PathBuf)> {
    let found = (1..=9)
        .flat_map(|site| files(&w.site(site).join("p")).into_iter().map(move |file| (site, file)));
    let mut found: Vec<(usize, PathBuf)> = found.collect();
    let name = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
    let last = found.iter().filter_map(|(_, file)| name(file)).max();
    found.retain(|(_, file)| name(file) == last);
    found
}

/// Three more sites, one for each operator, and no write below the guarantee.
fn nine_sites(text: String) -> String {
    let more =
        [(7, "north", "XA"), (8, "south", "XB"), (9, "west", "XC")].map(|(site, who, code)| {
            format!(
                "\n[[site]]\nname = \"s{site}\"\nurl = \"sites/s{site}\"\noperator = \"{who}\"\n\
             location = \"{code}\"\n"
            )
        });
    text.replace("on_outage = \"degrade\"", "on_outage = \"refuse\"") + &more.concat()
}

/// Puts the catalog's files of `from` in the place of those of `to`.
fn copy_catalog(from: &Path, to: &Path) {
    let is_catalog = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ["catalog.sqlite", "catalog.sqlite-wal"].contains(&&*name)
    };
    let of = |folder: &Path| files(folder).into_iter().filter(is_catalog).collect::<Vec<_>>();
    for old in of(to) {
        std::fs::remove_file(old).expect("it works");
    }
    // What a killed process leaves of it belongs to the file that is gone.
    let _ = std::fs::remove_file(to.join("catalog.sqlite-shm"));
    for file in of(from) {
        let name = file.file_name().expect("it has one");
        std::fs::copy(&file, to.join(name)).expect("it works");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_behind_a_pack_that_was_left_half_written() {
    let mut w = world(nine_sites).await;
    let data = w.config.gateway.data.clone();
    w.put("a", value("a", 1, 3_000)).await;
    w.put("b", value("b", 1, 3_000)).await;
    let before = TempDir::new().expect("it works");
    copy_catalog(&data, before.path());
    w.put("c", value("c", 1, 3_000)).await;
    // As if the gateway had been killed while it wrote the last pack.
    let shards = last_pack(&w);
    assert_eq!(shards.len(), 6);
    for (_, file) in shards.iter().filter(|(site, _)| matches!(site, 1 | 2 | 7)) {
        std::fs::remove_file(file).expect("it works");
    }
    let left = last_pack(&w);
    assert_eq!(left.len(), 4, "the loss of another jurisdiction would take it away");
    copy_catalog(before.path(), &data);
    let config = w.config.clone();
    let mut w = w.restart(config).await;
    w.put("d", value("d", 1, 3_000)).await;
    w.check(["a", "b", "c", "d"].into_iter().map(str::to_owned)).await;
    // Nothing needs the half one any more.
    for (_, file) in left {
        std::fs::remove_file(file).expect("it is there until garbage is collected");
    }
    w.check(["a", "b", "c", "d"].into_iter().map(str::to_owned)).await;
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
}
