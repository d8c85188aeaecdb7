use super::*;
use crate::conformance::{content, extent, pack, permit};
use havre_model::BlobName;
use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
};

struct Fixture {
    site: LocalSite,
    root: PathBuf,
    _directory: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("deep/site");
    let site = LocalSite::open(SiteId::from_bytes([1; 8]), "site", &root).unwrap();
    Fixture { site, root, _directory: directory }
}

impl Fixture {
    async fn put(&self, name: &BlobName, len: usize) -> Result<(), SiteErrorKind> {
        let permit = permit(self.site.id(), name);
        let put = self.site.put(&permit, name, content(1, len)).await;
        put.map_err(|error| error.kind)
    }

    async fn read(&self, name: &BlobName) -> Result<BytesMut, SiteErrorKind> {
        self.site.read(name, 0..10).await.map_err(|error| error.kind)
    }

    fn path(&self, name: &BlobName) -> PathBuf {
        self.root.join(name.to_string())
    }
}

#[tokio::test]
async fn a_put_costs_one_sync_of_its_file_and_one_of_its_directory() {
    let f = fixture();
    f.put(&pack(1, 1), 100).await.unwrap();
    for number in 2..10 {
        let before = f.site.counts().fsyncs;
        f.put(&pack(1, number), 20_000).await.unwrap();
        assert_eq!(f.site.counts().fsyncs - before, 2);
    }
    let before = f.site.counts().fsyncs;
    let (name, shard) = (pack(1, 99), content(1, 3_000_000));
    let mut writer = f.site.create(&permit(f.site.id(), &name), &name, None).await.unwrap();
    for piece in shard.chunks(65_536) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    writer.finish().await.unwrap();
    assert_eq!(f.site.counts().fsyncs - before, 2, "a stream syncs once, at its end");
}

#[tokio::test]
async fn a_first_shard_syncs_every_directory_that_is_new_to_the_process() {
    let f = fixture();
    let before = f.site.counts().fsyncs;
    f.put(&pack(1, 1), 100).await.unwrap();
    // Root (for "p"), "p" (for the chain), the file, the chain's directory.
    assert_eq!(f.site.counts().fsyncs - before, 4);
    // A process that died may have made the directories without syncing them.
    let again = LocalSite::open(f.site.id(), "site", &f.root).unwrap();
    let name = pack(1, 2);
    again.put(&permit(f.site.id(), &name), &name, content(1, 9)).await.unwrap();
    assert_eq!(again.counts().fsyncs, 4);
}

#[tokio::test]
async fn the_same_content_is_synced_again_before_it_counts() {
    let f = fixture();
    f.put(&extent(1), 100).await.unwrap();
    let before = f.site.counts().fsyncs;
    f.put(&extent(1), 100).await.unwrap();
    // Ours, then the one that is there and its directory: who put it may not have synced it.
    assert_eq!(f.site.counts().fsyncs - before, 3);
}

#[tokio::test]
async fn files_and_directories_are_their_owners_alone() {
    let f = fixture();
    f.put(&extent(1), 100).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&f.path(&extent(1))), 0o600);
    assert_eq!(mode(&f.root.join("e")), 0o700);
    assert_eq!(mode(&f.root), 0o700);
}

#[tokio::test]
async fn what_is_no_file_is_not_read_and_does_not_hang() {
    let f = fixture();
    f.put(&extent(1), 100).await.unwrap();
    let odd = |n: u8| f.root.join("e").join(format!("{n:02x}"));
    for n in 2..=4 {
        fs::create_dir(odd(n)).unwrap();
    }
    symlink(f.path(&extent(1)), f.path(&extent(2))).unwrap();
    fs::create_dir(f.path(&extent(3))).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(f.path(&extent(4))).status();
    assert!(fifo.unwrap().success());
    for n in 2..=4 {
        assert_eq!(f.read(&extent(n)).await, Err(SiteErrorKind::Invalid), "{n}");
        let all = f.site.read_all(&extent(n), 1000).await;
        assert_eq!(all.unwrap_err().kind, SiteErrorKind::Invalid);
    }
    let page = f.site.list("e/", None, 100).await.unwrap();
    assert_eq!((page.entries.len(), page.skipped), (1, 3));
}

#[tokio::test]
async fn a_shard_that_somebody_else_removed_or_replaced_is_noticed() {
    let f = fixture();
    for n in 1..=3 {
        f.put(&extent(n), 100).await.unwrap();
        f.read(&extent(n)).await.unwrap();
        // Twice, so that the file is open.
        f.read(&extent(n)).await.unwrap();
    }
    fs::remove_file(f.path(&extent(1))).unwrap();
    assert_eq!(f.read(&extent(1)).await, Err(SiteErrorKind::Missing));
    fs::write(f.root.join("other"), [7; 100]).unwrap();
    fs::rename(f.root.join("other"), f.path(&extent(2))).unwrap();
    assert_eq!(f.read(&extent(2)).await.unwrap(), [7; 10][..]);
    File::options().write(true).open(f.path(&extent(3))).unwrap().set_len(5).unwrap();
    assert_eq!(f.read(&extent(3)).await, Err(SiteErrorKind::Invalid));
}

#[tokio::test]
async fn a_directory_that_went_away_is_unreachable_and_not_made_again() {
    let f = fixture();
    f.put(&pack(1, 1), 100).await.unwrap();
    let away = f.root.with_extension("away");
    fs::rename(&f.root, &away).unwrap();
    assert_eq!(f.put(&pack(1, 2), 100).await, Err(SiteErrorKind::Unreachable));
    assert_eq!(f.read(&pack(1, 9)).await, Err(SiteErrorKind::Unreachable));
    for error in [
        f.site.delete(&pack(1, 1)).await.unwrap_err(),
        f.site.list("p/", None, 10).await.unwrap_err(),
        f.site.marker().await.unwrap_err(),
        f.site.set_marker([1; 16]).await.unwrap_err(),
        f.site.sweep().await.unwrap_err(),
    ] {
        assert_eq!(error.kind, SiteErrorKind::Unreachable, "{error}");
    }
    assert!(!f.root.exists());
    fs::rename(&away, &f.root).unwrap();
    f.put(&pack(1, 2), 100).await.unwrap();
    assert_eq!(f.read(&pack(1, 1)).await.unwrap(), content(1, 100)[..10]);
}

#[tokio::test]
async fn an_emptied_site_is_filled_again_but_not_without_its_marker() {
    let f = fixture();
    f.put(&pack(1, 1), 100).await.unwrap();
    fs::remove_dir_all(f.root.join("p")).unwrap();
    f.put(&pack(1, 2), 100).await.unwrap();
    f.site.set_marker([1; 16]).await.unwrap();
    fs::remove_dir_all(f.root.join("p")).unwrap();
    f.put(&pack(1, 3), 100).await.unwrap();
    // As a mount point looks when its disk is gone.
    fs::remove_dir_all(f.root.join("p")).unwrap();
    fs::remove_file(f.root.join(MARKER_NAME)).unwrap();
    assert_eq!(f.put(&pack(1, 4), 100).await, Err(SiteErrorKind::Unreachable));
    assert!(!f.root.join("p").exists());
}

#[tokio::test]
async fn a_path_that_is_no_directory_is_refused_and_one_that_cannot_be_made_is_not() {
    let f = fixture();
    fs::write(f.root.join("file"), "").unwrap();
    let open = |path: &Path| LocalSite::open(SiteId::from_bytes([1; 8]), "site", path);
    assert_eq!(open(&f.root.join("file")).err().unwrap().kind, SiteErrorKind::Refused);
    let site = open(Path::new("/proc/nowhere/site")).unwrap();
    assert_eq!(site.marker().await.unwrap_err().kind, SiteErrorKind::Unreachable);
}

#[tokio::test]
async fn a_sweep_takes_the_files_of_dead_writers_and_leaves_the_living() {
    let f = fixture();
    f.site.tree.without_unlinked_files();
    let name = extent(1);
    let mut alive = f.site.create(&permit(f.site.id(), &name), &name, None).await.unwrap();
    alive.write(content(1, 600_000)).await.unwrap();
    // A second write waits until the first block is in its file.
    alive.write(content(1, 600_000)).await.unwrap();
    let temps = || fs::read_dir(f.root.join("t")).unwrap().count();
    assert_eq!(temps(), 1);
    fs::write(f.root.join("t/99999-0"), "left by a process that was killed").unwrap();
    assert_eq!(f.site.sweep().await.unwrap(), 1);
    assert_eq!(temps(), 1);
    alive.finish().await.unwrap();
    assert_eq!((f.site.sweep().await.unwrap(), temps()), (0, 0));
    let shard = f.site.read_all(&name, 2_000_000).await.unwrap();
    assert_eq!(shard.len(), 1_200_000);
}

#[tokio::test]
async fn a_file_system_without_unlinked_files_conforms_too() {
    let directory = tempfile::tempdir().unwrap();
    let sites = std::cell::Cell::new(0);
    crate::conformance::run(async || {
        sites.set(sites.get() + 1);
        let path = directory.path().join(sites.get().to_string());
        let site = LocalSite::open(SiteId::from_bytes([1; 8]), "site", &path).unwrap();
        site.tree.without_unlinked_files();
        Arc::new(site) as Arc<dyn Site>
    })
    .await;
}

#[tokio::test]
async fn a_directory_bigger_than_the_window_lists_in_order_and_completely() {
    let f = fixture();
    f.put(&pack(1, 1), 10).await.unwrap();
    // Links are cheap to make and enough to be listed.
    for number in 2..=2500 {
        fs::hard_link(f.path(&pack(1, 1)), f.path(&pack(1, number))).unwrap();
    }
    let first = f.site.list("p/", None, 5000).await.unwrap();
    assert_eq!((first.entries.len(), first.more), (1000, true));
    let mut listed = first.entries;
    while let Some(after) = listed.last().map(|entry| entry.name) {
        let page = f.site.list("p/", Some(&after), 5000).await.unwrap();
        listed.extend(page.entries);
        if !page.more {
            break;
        }
    }
    assert_eq!(listed.len(), 2500);
    assert!(listed.is_sorted_by_key(|entry| entry.name));
    let last = f.site.list("p/", Some(&pack(1, 2499)), 5000).await.unwrap();
    assert_eq!((last.entries.len(), last.more), (1, false));
}

#[tokio::test]
async fn a_hung_disk_takes_no_more_threads_than_its_share() {
    let f = fixture();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let mut hung: Vec<_> = (0..HOPS_MAX)
        .map(|_| {
            let held = Arc::clone(&held);
            Box::pin(f.site.hop(Operation::Read, move |_| {
                // Ends when the sender is dropped.
                held.lock().unwrap().recv().ok();
                Ok(())
            }))
        })
        .collect();
    for hop in &mut hung {
        assert!(futures::poll!(hop).is_pending());
    }
    // Whoever stops waiting does not give the thread back.
    drop(hung);
    let mut late = Box::pin(f.site.marker());
    assert!(futures::poll!(&mut late).is_pending());
    assert_eq!(f.site.hops.available_permits(), 0);
    drop(release);
    late.await.unwrap();
}

#[tokio::test]
async fn a_write_to_a_full_disk_is_refused() {
    // A file system of one page: /dev/full would do for one write, but has no directories.
    let f = fixture();
    let mount = f.root.with_extension("full");
    fs::create_dir(&mount).unwrap();
    let status = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&mount)
        .status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a tmpfs cannot be mounted here");
        return;
    }
    let site = LocalSite::open(SiteId::from_bytes([2; 8]), "full", &mount).unwrap();
    let name = extent(1);
    let put = site.put(&permit(site.id(), &name), &name, content(1, 1 << 20)).await;
    let kept = site.read_all(&name, 1 << 20).await;
    let left = fs::metadata(&mount).unwrap().blocks();
    drop(site);
    std::process::Command::new("umount").arg(&mount).status().unwrap();
    assert_eq!(put.unwrap_err().kind, SiteErrorKind::Refused);
    assert_eq!(kept.unwrap_err().kind, SiteErrorKind::Missing);
    assert_eq!(left, 0);
}
