//! Sites on small disks, which fill up and turn read-only.
//!
//! **Invariant.** A full or read-only site costs what a dead one does: with one of six all goes on,
//! with two the policy refuses, with all of them nothing is written and everything is read; when
//! there is room again writes go on by themselves.
//!
//! **Deliberately absent.** A full disk under the catalog: the gateway's own disk is not a site.
//!
//! **Crash.** Nothing is restarted: that writes go on without that is the point.

use super::load::{Depth, Expect, Expected, Load};
use super::{WHILE, observed};
use crate::drill::disk::Disk;
use crate::process::target;
use crate::report::Tally;
use crate::s3::{Keep, Request};
use crate::server::{Plan, Server};
use crate::suite::scratch;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const SITES: usize = 6;
/// Three times what the load writes to each, on a fast machine: nothing is collected meanwhile.
const DISK_BYTES: u64 = 256 * 1024 * 1024;
/// What fills a disk.
const FILLER: &str = "filler";
/// How long a site that is well again may stay away.
const RETURN_MAX: Duration = Duration::from_secs(35);

/// A gateway over six disks.
struct World {
    disks: Vec<Disk>,
    plan: Plan,
}

/// Fills them and turns them read-only, where mounting is permitted.
pub(super) fn cases(gateway: &Path) -> Result<Tally> {
    let world = match World::new(gateway)? {
        Ok(world) => world,
        Err(reason) => return Ok(Tally::skip(format!("full and read-only disks: {reason}"))),
    };
    let server = world.plan.start()?;
    let mut load = Load::begin(&server)?;
    let passed = filled(&world, &server, &mut load)? + read_only(&world, &server, &mut load)?;
    load.judge(&server, Depth::All).context("at the end of the disks' drill")?;
    server.stop()?;
    world.disks.into_iter().try_for_each(Disk::remove)?;
    scratch("drill-disks")?;
    Ok(Tally { passed, ..Tally::default() })
}

impl World {
    fn new(gateway: &Path) -> Result<Result<Self, String>> {
        let folder = target().join("data").join("drill-disks");
        fs::create_dir_all(&folder)?;
        let data = folder.join("data");
        let mut disks = Vec::new();
        for number in 1..=SITES {
            let image = folder.join(format!("s{number}.img"));
            match Disk::make(image, data.join(format!("sites/s{number}")), DISK_BYTES)? {
                Ok(disk) => disks.push(disk),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        for name in ["havre.toml", "root.key", "credential.secret", "credential.env"] {
            let _ = fs::remove_file(data.join(name));
        }
        super::wires::lose_catalog(&data)?;
        for disk in &disks {
            fs::remove_dir(disk.mount_point().join("lost+found"))?;
        }
        let plan = Plan::gateway(gateway, &data)?;
        plan.start()?.stop()?;
        let path = data.join("havre.toml");
        let text = fs::read_to_string(&path).context("read havre.toml")?;
        fs::write(path, super::wires::with_policies(&text)?).context("write havre.toml")?;
        Ok(Ok(Self { disks, plan }))
    }

    fn fill(&self, sites: &[usize]) -> Result<()> {
        let piece = vec![0_u8; 1024 * 1024];
        for site in sites {
            let mut file = File::create(self.disks[site - 1].mount_point().join(FILLER))?;
            // Large pieces first, then small ones, until nothing fits any more.
            for bytes in [piece.len(), 4096, 1] {
                while file.write_all(&piece[..bytes]).is_ok() {}
            }
        }
        Ok(())
    }

    fn make_room(&self, sites: &[usize]) -> Result<()> {
        let mut fillers = sites.iter().map(|site| self.disks[site - 1].mount_point().join(FILLER));
        fillers.try_for_each(|filler| fs::remove_file(filler).context("remove what fills a disk"))
    }

    fn remount(&self, sites: &[usize], option: &str) -> Result<()> {
        sites.iter().try_for_each(|site| self.disks[site - 1].remount(option))
    }
}

/// Waits until writes are acknowledged again, without a restart.
fn writes_return(server: &Server) -> Result<()> {
    let deadline = Instant::now() + RETURN_MAX;
    let mut connection = server.connect();
    let path = "/refuse/base/returned";
    loop {
        let body = crate::random::bytes(1, 300_000);
        let request = Request { method: "PUT", path, body: &body, ..Request::default() };
        let answer = connection.send(&request, Keep::Body)?;
        if answer.status == 200 {
            let request = Request { method: "DELETE", path, ..Request::default() };
            return connection.expect(&request, Keep::Body).map(drop);
        }
        if answer.status != 503 || Instant::now() > deadline {
            bail!("with room on all disks a write answers {}: {}", answer.status, answer.text());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn pause() {
    std::thread::sleep(WHILE);
}

fn filled(world: &World, server: &Server, load: &mut Load) -> Result<u64> {
    use Expect::{Always, Never};
    observed("all disks well", load, server, Expected::ALL, pause)?;
    world.fill(&[2])?;
    observed("one disk is full", load, server, Expected::ALL, pause)?;
    world.make_room(&[2])?;
    let everywhere: Vec<usize> = (1..=SITES).collect();
    world.fill(&everywhere)?;
    let expected = Expected { writes: [Never, Never], reads: Always };
    observed("all disks are full", load, server, expected, pause)?;
    load.judge(server, Depth::All).context("with all disks full")?;
    world.make_room(&everywhere)?;
    writes_return(server)?;
    observed("there is room again", load, server, Expected::ALL, pause)?;
    load.judge(server, Depth::All).context("with room again")?;
    Ok(4)
}

fn read_only(world: &World, server: &Server, load: &mut Load) -> Result<u64> {
    use Expect::{Always, Never};
    world.remount(&[5], "ro")?;
    observed("one disk is read-only", load, server, Expected::ALL, pause)?;
    world.remount(&[3], "ro")?;
    let expected = Expected { writes: [Never, Always], reads: Always };
    observed("two disks are read-only", load, server, expected, pause)?;
    world.remount(&[3, 5], "rw")?;
    writes_return(server)?;
    observed("all are writable again", load, server, Expected::ALL, pause)?;
    Ok(3)
}
