//! Six S3 sites, each behind a wire that can fail.
//!
//! **Invariant.** A fault begins and ends while the gateway runs; before the next one, all six
//! sites have taken a write again, so that faults do not add up.
//!
//! **Deliberately absent.** Repair, but for [`super::whole`]: an object that was written while a
//! site was away is read while that site, and no other, may be away.
//!
//! **Crash.** The gateway is restarted under lists that lie, with its catalog and without.

use super::load::{BUCKETS, Depth, Expect, Expected, Load};
use super::proxy::{Fault, Wire};
use super::{WHILE, beside, observed, whole};
use crate::drill::disk::Disk;
use crate::report::Tally;
use crate::s3::{Keep, Request};
use crate::server::{Plan, Server};
use crate::suite::scratch;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const SITES: usize = 6;
/// Sites that may be lost without a loss of anything: `m` of 3+3.
const PARITY: usize = 3;
/// The disk that the sites' files lie on.
const SITES_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Where the writes go that find out whether all sites are back.
const SETTLING: &str = "settling";
/// How long a site that is well again may stay away: its probes, and one write that tries it.
const RETURN_MAX: Duration = Duration::from_secs(10);
/// What the gateway grants a site: little, so that hung ones cost the drill little.
const SITE_LIMITS: &str =
    "deadline_ms = 2000\nwait_max_ms = 1000\nprobe_pause_min_ms = 100\nprobe_pause_max_ms = 500\n";

/// A while of load with some sites at fault.
struct Case {
    name: &'static str,
    faults: [Fault; SITES],
    expected: Expected,
}

fn case(name: &'static str, at: &[(usize, Fault)], expected: Expected) -> Case {
    let mut faults = [Fault::None; SITES];
    for (site, fault) in at {
        faults[site - 1] = *fault;
    }
    Case { name, faults, expected }
}

/// One site of six: nobody notices, but for what it takes.
fn one(name: &'static str, site: usize, fault: Fault) -> Case {
    case(name, &[(site, fault)], Expected::ALL)
}

fn all() -> Vec<Case> {
    use Expect::{Always, Either, Never, Soon};
    use Fault::{Endless, Failing, Forgetful, Hung, Killed, Older, Other, Shorter};
    let expected = |refuse, degrade, reads| Expected { writes: [refuse, degrade], reads };
    vec![
        case("all well", &[], Expected::ALL),
        one("one hangs", 2, Hung),
        one("one is killed", 5, Killed),
        one("one answers 503", 1, Failing),
        one("one answers other bytes", 3, Other),
        one("one answers older bytes", 4, Older),
        one("one answers too little", 6, Shorter),
        one("one never ends", 1, Endless),
        one("one forgets what it confirmed", 2, Forgetful),
        // Below the guarantee: refused, or taken and marked. Reads go on.
        case("two hang", &[(1, Hung), (2, Hung)], expected(Never, Always, Always)),
        case("two are killed", &[(3, Killed), (6, Killed)], expected(Never, Always, Always)),
        case("three hang", &[(1, Hung), (3, Hung), (6, Hung)], expected(Never, Either, Soon)),
        case(
            "three lie, each in its way",
            &[(2, Other), (4, Older), (5, Shorter)],
            expected(Always, Always, Soon),
        ),
        case(
            "three others lie",
            &[(1, Endless), (3, Other), (6, Older)],
            expected(Always, Always, Soon),
        ),
        case(
            "one hangs, one lies, one is killed",
            &[(1, Hung), (4, Other), (6, Killed)],
            expected(Never, Either, Soon),
        ),
        // Past what any code can decode. What lies in one chunk is read while its site is honest;
        // nothing is read that is wrong.
        case(
            "four hang",
            &[(1, Hung), (2, Hung), (3, Hung), (4, Hung)],
            expected(Never, Never, Either),
        ),
        case(
            "four lie",
            &[(1, Other), (2, Older), (4, Shorter), (6, Endless)],
            expected(Either, Either, Either),
        ),
        case("all answer older bytes", &every(Older), expected(Either, Either, Never)),
        case("all are killed", &every(Killed), expected(Never, Never, Never)),
    ]
}

fn every(fault: Fault) -> Vec<(usize, Fault)> {
    (1..=SITES).map(|site| (site, fault)).collect()
}

/// The sites, their wires, and a gateway over them.
pub(super) struct World {
    sites: Server,
    wires: Vec<Wire>,
    pub(super) plan: Plan,
    /// What the sites' files lie on, where mounting is permitted.
    disk: Option<Disk>,
}

impl World {
    fn new(gateway: &Path, yardstick: &Path) -> Result<Self> {
        let folder = scratch("drill-faults-sites")?;
        fs::create_dir_all(&folder)?;
        // Tens of thousands of files go in a moment with the disk that they are on.
        let made = Disk::make(folder.join("disk.img"), folder.join("mount"), SITES_BYTES)?;
        let disk = made.ok();
        let data =
            disk.as_ref().map_or(folder.join("data"), |disk| disk.mount_point().join("data"));
        let sites = Plan::yardstick(yardstick, &data, true)?.start()?;
        let mut wires = Vec::new();
        for number in 1..=SITES {
            let path = format!("/site-{number}");
            let request = Request { method: "PUT", path: &path, ..Request::default() };
            sites.connect().expect(&request, Keep::Body).context("make a site's bucket")?;
            wires.push(Wire::to(sites.endpoint())?);
        }
        let plan = Plan::gateway(gateway, &scratch("drill-faults")?)?;
        // The first start makes keys, credential and configuration; of the latter the sites and the
        // policies are replaced.
        plan.start()?.stop()?;
        lose_catalog(&plan.data)?;
        fs::remove_dir_all(plan.data.join("sites"))?;
        let path = plan.data.join("havre.toml");
        let text = fs::read_to_string(&path).context("read havre.toml")?;
        fs::write(path, configured(&text, &sites, &wires)?).context("write havre.toml")?;
        let secret = plan.data.join("sites.secret");
        fs::write(&secret, &sites.credential.secret_key)?;
        fs::set_permissions(secret, fs::Permissions::from_mode(0o600))?;
        Ok(Self { sites, wires, plan, disk })
    }

    fn set(&self, faults: &[Fault; SITES]) {
        for (wire, fault) in self.wires.iter().zip(faults) {
            wire.set(*fault);
        }
    }

    /// From now on this site, counted from one, has this fault.
    pub(super) fn set_one(&self, site: usize, fault: Fault) {
        self.wires[site - 1].set(fault);
    }

    pub(super) fn lies(&self) -> u64 {
        self.wires.iter().map(Wire::lies).sum()
    }

    /// Ends all faults, and waits until every site takes packs and extents again.
    pub(super) fn mend(&self, server: &Server) -> Result<()> {
        self.set(&[Fault::None; SITES]);
        let path = format!("/{SETTLING}/object");
        let body = crate::random::bytes(1, 300_000);
        let request = Request { method: "PUT", path: &path, body: &body, ..Request::default() };
        let deadline = Instant::now() + RETURN_MAX;
        let mut connection = server.connect();
        loop {
            let before: Vec<u64> = self.wires.iter().map(Wire::stored).collect();
            let answer = connection.send(&request, Keep::Body)?;
            std::thread::sleep(Duration::from_millis(50));
            let mut stored = self.wires.iter().zip(&before).map(|(wire, was)| wire.stored() - was);
            // A shard of the extent, and one of the pack.
            if answer.status == 200 && stored.all(|stored| stored >= 2) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not all sites are back after {} s", RETURN_MAX.as_secs());
            }
        }
    }
}

/// The configuration with two policies: one that refuses, and one that degrades.
pub(super) fn with_policies(text: &str) -> Result<String> {
    let at = |what: &str| text.find(what).with_context(|| format!("{what} in havre.toml"));
    let (policy, operator) = (at("[[policy]]")?, at("[[operator]]")?);
    let mut new = text[..policy].replace("= \"default\"", "= \"refuse\"");
    for name in BUCKETS {
        new.push_str(&format!(
            "[[policy]]\nname = \"{name}\"\nk = 3\nm = 3\non_outage = \"{name}\"\n\
             guarantee = {{ cannot_read = [\"any jurisdiction\"], cannot_cut_off = [\"any \
             jurisdiction\"] }}\n\n"
        ));
    }
    new.push_str(&text[operator..]);
    Ok(new)
}

/// The configuration over the wires.
fn configured(text: &str, sites: &Server, wires: &[Wire]) -> Result<String> {
    let text = with_policies(text)?;
    let site = text.find("[[site]]").context("[[site]] in havre.toml")?;
    let mut new = text[..site].to_owned();
    for (block, wire) in text[site..].split("[[site]]").skip(1).zip(wires) {
        let kept = block.lines().filter(|line| !line.starts_with("url"));
        new.push_str("[[site]]");
        new.push_str(kept.collect::<Vec<_>>().join("\n").trim_end());
        let number = 1 + new.matches("[site.options]").count();
        new.push_str(&format!(
            "\nurl = \"s3://site-{number}/shards\"\n[site.options]\nendpoint = \"http://{}\"\n\
             region = \"us-east-1\"\naccess_key_id = \"{}\"\n\
             secret_access_key = {{ file = \"sites.secret\" }}\n[site.limits]\n{SITE_LIMITS}\n",
            wire.address(),
            sites.credential.access_key
        ));
    }
    Ok(new)
}

/// Removes the catalog of a gateway that does not run.
pub(super) fn lose_catalog(data: &Path) -> Result<()> {
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("catalog.sqlite") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Runs every case, and the restarts.
pub(super) fn cases(gateway: &Path, yardstick: &Path, clients: &[String]) -> Result<Tally> {
    let world = World::new(gateway, yardstick)?;
    let server = world.plan.start()?;
    let mut load = Load::begin(&server)?;
    make_settling_bucket(&server)?;
    let mut tally = beside::clients(&world, &server, clients)?;
    let server = whole::after_return(&world, server, &mut load)?;
    let mut passed = 1;
    for case in all() {
        world.mend(&server).with_context(|| format!("before: {}", case.name))?;
        under(&world, &server, &mut load, &case)?;
        passed += 1;
    }
    world.mend(&server)?;
    load.judge(&server, Depth::All)?;
    server.stop()?;
    passed += restarts(&world, &mut load)?;
    let World { sites, wires, disk, .. } = world;
    drop(wires);
    sites.stop()?;
    disk.map_or(Ok(()), Disk::remove)?;
    for name in ["drill-faults", "drill-faults-sites"] {
        scratch(name)?;
    }
    tally += Tally { passed, ..Tally::default() };
    Ok(tally)
}

fn make_settling_bucket(server: &Server) -> Result<()> {
    let path = format!("/{SETTLING}");
    // In the default policy, which refuses: what is written while sites come back one by one is
    // acknowledged only once it can lose two again.
    let request = Request { method: "PUT", path: &path, ..Request::default() };
    server.connect().expect(&request, Keep::Body).map(drop)
}

/// One case: the fault, the load, and what is left of it when all sites are well again.
fn under(world: &World, server: &Server, load: &mut Load, case: &Case) -> Result<()> {
    let lies = world.lies();
    let harmless = case.faults.iter().filter(|fault| **fault != Fault::None).count() <= 1;
    if !harmless {
        world.set(&case.faults);
    }
    observed(case.name, load, server, case.expected, || {
        if harmless {
            // It begins in the middle of requests.
            std::thread::sleep(WHILE / 4);
            world.set(&case.faults);
        }
        std::thread::sleep(WHILE);
    })?;
    // With several at fault, those that lied before may not be asked at all.
    if harmless && case.faults.iter().any(|fault| fault.lies()) && world.lies() == lies {
        bail!("{}: no answer was changed", case.name);
    }
    if case.faults.iter().filter(|fault| **fault != Fault::None).count() > PARITY {
        load.unreadable(server).with_context(|| case.name.to_owned())?;
    }
    world.mend(server).with_context(|| format!("after: {}", case.name))?;
    load.judge(server, Depth::Recent).with_context(|| format!("after: {}", case.name))?;
    Ok(())
}

/// Starts the gateway, and collects garbage, while sites lie about what they have.
fn restarts(world: &World, load: &mut Load) -> Result<u64> {
    let mut faults = [Fault::None; SITES];
    faults[2] = Fault::Other;
    world.set(&faults);
    let server = world.plan.start().context("start while one site lies")?;
    load.judge(&server, Depth::AllRestarted).context("after a start while one site lies")?;
    observed("started while one lies", load, &server, Expected::ALL, || std::thread::sleep(WHILE))?;
    server.stop()?;

    world.plan.collect_garbage().context("collect garbage while one site lies")?;
    world.set(&[Fault::None; SITES]);
    let server = world.plan.start()?;
    let keys = load.judge(&server, Depth::All).context("after gc while one site lied")?;
    println!("   collected while one lies: {keys} keys read");
    server.stop()?;

    // Two that have no shard of what was written while three others were away.
    lose_catalog(&world.plan.data)?;
    (faults[2], faults[0], faults[5]) = (Fault::None, Fault::Other, Fault::Other);
    world.set(&faults);
    let server = world.plan.start().context("rebuild the catalog while two sites lie")?;
    let keys = load.judge(&server, Depth::AllRestarted).context("after a rebuild under lies")?;
    println!("   rebuilt while two lie: {keys} keys read");
    server.stop()?;
    Ok(3)
}
