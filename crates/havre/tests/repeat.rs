//! A gateway with more sites than shards, killed while it wrote its last pack: nobody can tell
//! where the missing shards were to lie, and writes are taken all the same, behind a pack that
//! repeats it.

use crate::support::*;
use havre::config::Config;
use havre_catalog::{Catalog as _, SqliteCatalog};
use havre_sites::system;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The shards of the pack with the highest number, by site.
fn last_pack(data: &Path) -> Vec<(usize, PathBuf)> {
    let site = |site: usize| data.join(format!("sites/s{site}/p"));
    let found =
        (1..=9).flat_map(|number| files(&site(number)).into_iter().map(move |file| (number, file)));
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

/// What a gateway on nine sites leaves that is killed while it writes its last pack, the one with
/// "c".
struct Killed {
    folder: TempDir,
    /// What its sites lack of that pack.
    lacking: TempDir,
    contents: BTreeMap<String, Vec<u8>>,
}

/// The gateway itself lives a little longer, over a folder that nobody looks at any more.
async fn killed() -> Killed {
    let (folder, lacking) = (TempDir::new().expect("it works"), TempDir::new().expect("it works"));
    let mut w = world(nine_sites).await;
    let data = w.config.gateway.data.clone();
    w.put("a", value("a", 1, 3_000)).await;
    w.put("b", value("b", 1, 3_000)).await;
    // Packs that are retired and gone: a blank machine has to look for the word of it.
    w.put("a", value("a", 2, 3_000)).await;
    let (compacted, collected) = (w.compact().await, w.collect().await);
    assert!(compacted.packs_retired > 0 && collected.garbage_deleted > 0, "{compacted:?}");
    // With a catalog that knows nothing of the last pack.
    copy(&data, folder.path());
    w.put("c", value("c", 1, 3_000)).await;
    // The last shard may come after the answer.
    for _ in 0..500 {
        if last_pack(&data).len() == 6 {
            break;
        }
        system::ports().runtime.sleep(Duration::from_millis(20)).await;
    }
    copy(&data.join("sites"), &folder.path().join("sites"));
    let shards = last_pack(folder.path());
    assert_eq!(shards.len(), 6);
    for (_, file) in shards.iter().filter(|(site, _)| matches!(site, 1 | 2 | 7)) {
        move_file(file, folder.path(), lacking.path());
    }
    let left = last_pack(folder.path()).len();
    assert_eq!(left, 4, "the loss of another jurisdiction would take it away");
    Killed { folder, lacking, contents: w.contents.clone() }
}

impl Killed {
    async fn start(self) -> World {
        let config = Config::load(&self.folder.path().join("havre.toml")).expect("it works");
        World::begin(self.folder, config, self.contents).await
    }

    /// A gateway that repeats the pack, over a copy of all there is. It was killed as well: what
    /// its start noted is known to the one that this one starts, and nothing that it wrote.
    async fn in_another_course(&self) -> World {
        let half = last_pack(self.folder.path());
        let half = half.first().expect("it is there").1.to_string_lossy();
        for _ in 0..20 {
            let (folder, noted) =
                (TempDir::new().expect("it works"), TempDir::new().expect("it works"));
            copy(self.folder.path(), folder.path());
            let (lacking, contents) = (TempDir::new().expect("it works"), self.contents.clone());
            let other = Self { folder, lacking, contents }.start().await;
            copy_catalog(&other.config.gateway.data, noted.path());
            // It writes at once: what is copied must not know of more than the start found.
            if ends(noted.path()).await.iter().any(|end| half.ends_with(end)) {
                copy_catalog(noted.path(), self.folder.path());
                return other;
            }
        }
        panic!("the catalog is copied too late each time");
    }
}

/// The last packs of all chains, by the catalog in a folder.
async fn ends(folder: &Path) -> Vec<String> {
    let catalog = SqliteCatalog::open_read_only(&folder.join("catalog.sqlite")).expect("it works");
    let chains = catalog.chains().await.expect("it works");
    chains.iter().map(|chain| chain.link.blob.to_string()).collect()
}

/// Puts the catalog's files of `from` in the place of those of `to`.
fn copy_catalog(from: &Path, to: &Path) {
    for name in ["catalog.sqlite", "catalog.sqlite-wal"] {
        std::fs::copy(from.join(name), to.join(name)).expect("it works");
    }
}

/// Moves a file to the same place below another folder.
fn move_file(file: &Path, from: &Path, to: &Path) {
    let target = to.join(file.strip_prefix(from).expect("it lies there"));
    std::fs::create_dir_all(target.parent().expect("it has one")).expect("it works");
    std::fs::copy(file, &target).expect("it works");
    std::fs::remove_file(file).expect("it works");
}

/// The names of the packs that sites below a folder hold: by their number first.
fn packs(data: &Path) -> BTreeSet<String> {
    let files = files(&data.join("sites")).into_iter();
    let packs = files.filter(|file| file.components().any(|part| part.as_os_str() == "p"));
    packs.filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_behind_a_pack_that_was_left_half_written() {
    let killed = killed().await;
    let left = last_pack(killed.folder.path());
    let mut w = killed.start().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_that_nobody_acknowledged_retires_nothing_when_it_turns_up_again() {
    let killed = killed().await;
    let mut other = killed.in_another_course().await;
    other.put("elsewhere", value("elsewhere", 1, 3_000)).await;
    let (elsewhere, data) = (other.config.gateway.data.clone(), killed.folder.path().to_owned());
    let repetition = packs(&elsewhere).difference(&packs(&data)).next().expect("one").clone();
    // In this one all sites are back, the pack is mended, and writes go on behind it.
    copy(killed.lacking.path(), &data);
    let mut w = killed.start().await;
    w.put("d", value("d", 1, 3_000)).await;
    assert!(!packs(&data).contains(&repetition));
    // The repetition had come to all its sites, late.
    let shards = files(&elsewhere.join("sites"));
    let shards = shards.iter().filter(|file| file.ends_with(&repetition));
    for file in shards {
        move_file(file, &elsewhere, &data);
    }
    assert!(packs(&data).contains(&repetition));
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
    let config = w.config.clone();
    w.restart(config).await.check(["a", "b", "c", "d"].into_iter().map(str::to_owned)).await;
}
