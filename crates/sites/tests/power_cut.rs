//! What was acknowledged survives a power cut: a loop-mounted ext4 is shut down under the writers
//! with `EXT4_IOC_SHUTDOWN` and no flush of its journal, then mounted again.
//!
//! Taking the `fdatasync` out of `Tree::publish` leaves names without bytes, and taking the
//! directory's `fsync` out leaves no names: each makes this test fail.
use havre_model::BlobName;
use havre_sites::{
    LocalSite, Site, SiteErrorKind,
    conformance::{content, extent, pack, permit},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::Duration,
};

/// `_IOR('X', 125, __u32)`; flag 2 is "do not flush the log": what is not on the disk is lost.
const SHUTDOWN: &str = "import fcntl, os, struct, sys; \
     fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

const CUTS: u8 = 6;

/// An ext4 in a file, mounted; unmounted and removed at the end.
struct Disk {
    directory: tempfile::TempDir,
    mount: PathBuf,
}

impl Disk {
    /// `Err` with the reason where this machine does not let us.
    fn new() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = directory.path().join("image");
        let mount = directory.path().join("mount");
        std::fs::create_dir(&mount).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(192 << 20).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", &text(&image)])?;
        let disk = Self { directory, mount };
        disk.mount()?;
        disk.cut()?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        let image = text(&self.directory.path().join("image"));
        // A long commit interval, so that nothing becomes durable by itself.
        run("mount", &["-o", "loop,commit=300", &image, &text(&self.mount)])
    }

    fn unmount(&self) -> Result<(), String> {
        run("umount", &[&text(&self.mount)])
    }

    /// Cuts the power: from now on nothing reaches the disk, and what had not is lost.
    fn cut(&self) -> Result<(), String> {
        run("python3", &["-c", SHUTDOWN, &text(&self.mount)])?;
        // Files that writers still have open keep it busy for a moment.
        for _ in 0..50 {
            if self.unmount().is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.unmount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount().ok();
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are plain").to_owned()
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn disk() -> Option<Disk> {
    match Disk::new() {
        Ok(disk) => Some(disk),
        Err(reason) => {
            eprintln!("skipped: no disk whose power can be cut: {reason}");
            None
        }
    }
}

fn open(disk: &Disk) -> LocalSite {
    LocalSite::open(havre_policy::site_id("local"), "local", &disk.mount.join("site")).unwrap()
}

/// Stores shards one after the other, of all sizes, put and streamed, until the site fails; notes
/// each that was acknowledged.
async fn write(site: &LocalSite, writer: u8, round: u8, acknowledged: &Mutex<Vec<Stored>>) {
    let lens = [1, 300, 4096, 70_000, 700_000].into_iter().cycle();
    for (number, len) in (0_u64..).zip(lens) {
        let low = number.to_le_bytes()[0];
        let salt = writer ^ round.wrapping_mul(31) ^ low;
        let name = match number % 3 {
            0 => pack(writer, u64::from(round) << 32 | number),
            1 => pack(writer ^ round.wrapping_mul(7), u64::from(round) << 32 | number),
            _ => extent_of(writer, round, number),
        };
        let shard = content(salt, len);
        let permit = permit(site.id(), &name);
        let stored = if number % 4 == 3 {
            stream(site, &permit, &name, &shard).await
        } else {
            site.put(&permit, &name, shard.clone()).await
        };
        if stored.is_err() {
            return;
        }
        acknowledged.lock().unwrap().push(Stored { name, salt, len });
    }
}

async fn stream(
    site: &LocalSite,
    permit: &havre_policy::Permit,
    name: &BlobName,
    shard: &bytes::Bytes,
) -> Result<(), havre_sites::SiteError> {
    let mut writer = site.create(permit, name, None).await?;
    for piece in shard.chunks(100_000) {
        writer.write(shard.slice_ref(piece)).await?;
    }
    writer.finish().await
}

fn extent_of(writer: u8, round: u8, number: u64) -> BlobName {
    let mut blob = [writer; 16];
    blob[0] = number.to_le_bytes()[0].wrapping_mul(37);
    blob[1] = round;
    blob[8..].copy_from_slice(&number.to_be_bytes());
    BlobName::Extent(havre_model::BlobId::from_bytes(blob))
}

#[derive(Clone, Copy)]
struct Stored {
    name: BlobName,
    salt: u8,
    len: usize,
}

async fn check(site: &LocalSite, acknowledged: &[Stored]) {
    for Stored { name, salt, len } in acknowledged {
        let shard = site.read_all(name, 1 << 20).await;
        let shard = shard.unwrap_or_else(|error| panic!("{name} was acknowledged: {error}"));
        assert!(shard == content(*salt, *len), "{name} was acknowledged with other bytes");
    }
}

/// Nothing is half there: a name has all its bytes, acknowledged or not.
async fn check_whole(site: &LocalSite, disk: &Disk) {
    for prefix in [BlobName::PACKS, BlobName::EXTENTS] {
        let mut after = None;
        loop {
            let page = site.list(prefix, after.as_ref(), 1000).await.unwrap();
            for entry in &page.entries {
                let bytes = entry.bytes.unwrap();
                assert!([1, 300, 4096, 70_000, 700_000].contains(&bytes), "{}", entry.name);
            }
            after = page.entries.last().map(|entry| entry.name);
            if !page.more {
                break;
            }
        }
    }
    assert!(!disk.mount.join("site/t").exists(), "unlinked files leave nothing to sweep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_power_cut() {
    let Some(disk) = disk() else { return };
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..CUTS {
        let site = open(&disk);
        let earlier = acknowledged.lock().unwrap().clone();
        check(&site, &earlier).await;
        let mount = text(&disk.mount);
        let cut = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150 + 40 * u64::from(round)));
            // Only the shutdown: the writers find out by themselves.
            run("python3", &["-c", SHUTDOWN, &mount])
        });
        let writers = (0..6).map(|writer| write(&site, writer, round, &acknowledged));
        futures::future::join_all(writers).await;
        cut.join().unwrap().unwrap();
        drop(site);
        disk.cut().unwrap();
        disk.mount().unwrap();
        check_whole(&open(&disk), &disk).await;
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    check(&open(&disk), &acknowledged).await;
    eprintln!("{} acknowledged shards survived {CUTS} cuts", acknowledged.len());
    assert!(acknowledged.len() > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_directory_and_the_marker_survive_a_cut_right_after_their_first_use() {
    let Some(disk) = disk() else { return };
    for round in 0..3 {
        let site = open(&disk);
        if round == 0 {
            site.set_marker([7; 16]).await.unwrap();
        }
        let name = extent(round);
        site.put(&permit(site.id(), &name), &name, content(round, 5000)).await.unwrap();
        drop(site);
        disk.cut().unwrap();
        disk.mount().unwrap();
        let site = open(&disk);
        assert_eq!(site.marker().await.unwrap(), Some([7; 16]));
        for earlier in 0..=round {
            let shard = site.read_all(&extent(earlier), 1 << 20).await.unwrap();
            assert!(shard == content(earlier, 5000));
        }
    }
    let site = open(&disk);
    let missing = site.read_all(&extent(99), 10).await.unwrap_err();
    assert_eq!(missing.kind, SiteErrorKind::Missing);
}
