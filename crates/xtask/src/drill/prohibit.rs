//! Prohibits a party in the middle of a load: its sites have to end up empty, with no request
//! failed, whatever is killed on the way.
//!
//! **Invariant.** A read is compared byte for byte, and a request fails only where the gateway was
//! killed under it. What each coalition holds is counted in the sites' folders themselves, over and
//! over: never `k` shards of a blob (I2). After the command has returned no shard is added to a
//! prohibited site.
//!
//! **Deliberately absent.** Sites over a network, and sites that fail meanwhile (`super::faults`).
//!
//! **Crash.** `kill -9` of the gateway, twice, while shards move.

use crate::random::{Random, bytes, fresh_seed};
use crate::report::Tally;
use crate::s3::{Connection, Credential, Keep, Request};
use crate::server::{Plan, Server};
use crate::ten_sites;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BUCKET: &str = "drained";
const SMALL_BYTES: usize = 4096;
const LARGE_BYTES: usize = 4 << 20;
/// Sizes that the load writes: inside a record, and in extents.
const SIZES: [usize; 4] = [1000, 40_000, 300_000, 1 << 20];
const WORKERS: u64 = 6;
const FILLERS: u64 = 32;
/// The load runs so long before anything happens.
const BEFORE: Duration = Duration::from_secs(3);
const KILLS: usize = 2;
const DRAIN_MAX: Duration = Duration::from_secs(900);
/// Small objects that are read back at the end.
const SAMPLE: u64 = 500;
/// Shards of a blob that a coalition must not hold.
const K: usize = 3;
/// What answers to the party that goes.
const PROHIBITED: [&str; 2] = ["s3", "s4"];
/// Coalitions that must not read: each jurisdiction, and the holding behind two operators.
const COALITIONS: [&[&str]; 6] = [
    &["s1", "s2"],
    &["s3", "s4"],
    &["s5", "s6"],
    &["s7", "s8"],
    &["s9", "s10"],
    &["s7", "s8", "s9", "s10"],
];

/// What the drill was asked.
pub(crate) struct Options {
    pub(crate) small: u64,
    pub(crate) large: u64,
    pub(crate) seed: Option<u64>,
}

/// Fills, prohibits, kills twice, and looks what is left.
pub(crate) fn prohibit(plan: &Plan, options: &Options) -> Result<Tally> {
    let seed = options.seed.unwrap_or_else(fresh_seed);
    let (small, large) = (options.small, options.large);
    let again = format!("cargo xtask drill prohibit --small {small} --large {large} --seed {seed}");
    println!("   {again}");
    leave(plan, options, seed).map_err(|error| anyhow!("{error:#}\nagain: {again}"))?;
    fs::remove_dir_all(&plan.data)?;
    Ok(Tally { passed: 1, ..Tally::default() })
}

/// What all threads share.
struct World {
    address: SocketAddr,
    credential: Credential,
    /// Raised when the gateway goes and when it is back.
    epoch: AtomicU64,
    down: AtomicBool,
    stop: AtomicBool,
    /// Keys with the seeds and lengths of their bytes.
    written: Mutex<Vec<(String, u64, usize)>>,
    numbers: AtomicU64,
    tolerated: AtomicU64,
    latencies: Mutex<Vec<Duration>>,
    samples: AtomicU64,
}

fn path(key: &str) -> String {
    format!("/{BUCKET}/{key}")
}

impl World {
    fn connect(&self) -> Connection {
        Connection::new(self.address, &self.credential)
    }

    fn put(&self, connection: &mut Connection, key: &str, length: usize) -> Result<()> {
        let seed = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (path, body) = (path(key), bytes(seed, length));
        let request = Request { method: "PUT", path: &path, body: &body, ..Request::default() };
        connection.expect(&request, Keep::Count)?;
        self.written.lock().expect("no panic").push((key.to_owned(), seed, length));
        Ok(())
    }

    fn read(connection: &mut Connection, (key, seed, length): &(String, u64, usize)) -> Result<()> {
        let path = path(key);
        let request = Request { path: &path, ..Request::default() };
        let answer = connection.expect(&request, Keep::Body)?;
        if answer.body != bytes(*seed, *length) {
            bail!("{key} reads other bytes than were written");
        }
        Ok(())
    }

    fn pick(&self, random: &mut Random) -> (String, u64, usize) {
        let written = self.written.lock().expect("no panic");
        written[random.index(written.len())].clone()
    }

    /// Reads and writes until it is told to stop.
    fn work(&self, worker: u64, seed: u64) -> Result<()> {
        let (mut connection, mut random) = (self.connect(), Random::part(seed, worker));
        let mut number = 0;
        while !self.stop.load(Ordering::Acquire) {
            let epoch = self.epoch.load(Ordering::Acquire);
            let start = Instant::now();
            let done = if random.below(4) == 0 {
                number += 1;
                let length = SIZES[random.index(SIZES.len())];
                self.put(&mut connection, &format!("w{worker}-{number}"), length)
            } else {
                Self::read(&mut connection, &self.pick(&mut random))
            };
            match done {
                Ok(()) => self.latencies.lock().expect("no panic").push(start.elapsed()),
                Err(error) => {
                    let killed = self.down.load(Ordering::Acquire)
                        || self.epoch.load(Ordering::Acquire) != epoch;
                    if !killed {
                        return Err(error.context("a request failed"));
                    }
                    self.tolerated.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(50));
                    connection = self.connect();
                }
            }
        }
        Ok(())
    }

    /// Counts what coalitions hold until it is told to stop.
    fn watch(&self, sites: &Path) -> Result<()> {
        while !self.stop.load(Ordering::Acquire) {
            for (blob, holders) in holders(sites)? {
                if reads(&holders).is_some() && still_reads(sites, &blob)? {
                    let holders: Vec<&String> = holders.iter().collect();
                    bail!("{blob}: a coalition holds {K} shards of it, at {holders:?}");
                }
            }
            self.samples.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn p99_ms(&self) -> u128 {
        let mut all = std::mem::take(&mut *self.latencies.lock().expect("no panic"));
        all.sort_unstable();
        all.get(all.len() * 99 / 100).map_or(0, Duration::as_millis)
    }
}

/// The coalition that could read, of these sites.
fn reads(holders: &BTreeSet<String>) -> Option<&'static [&'static str]> {
    let count = |sites: &[&str]| sites.iter().filter(|site| holders.contains(**site)).count();
    COALITIONS.into_iter().find(|sites| count(sites) >= K)
}

/// Whether it is so at one moment: a walk over all folders takes a while, and shards move.
fn still_reads(sites: &Path, blob: &str) -> Result<bool> {
    for _ in 0..3 {
        let mut now = BTreeSet::new();
        for site in fs::read_dir(sites)? {
            let site = site?;
            if site.path().join(blob).exists() {
                now.insert(site.file_name().to_string_lossy().into_owned());
            }
        }
        if reads(&now).is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Which sites have a shard of each blob, by the folders.
fn holders(sites: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for site in fs::read_dir(sites)? {
        let site = site?;
        let name = site.file_name().to_string_lossy().into_owned();
        for blob in blobs(&site.path()) {
            all.entry(blob).or_default().insert(name.clone());
        }
    }
    Ok(all)
}

/// The shards in a site's folder, by their paths in it.
fn blobs(site: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![site.join("p"), site.join("e")];
    while let Some(folder) = folders.pop() {
        // Folders come and go with what is in them.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => {
                    if let Ok(inside) = entry.path().strip_prefix(site) {
                        found.push(inside.to_string_lossy().into_owned());
                    }
                }
                Err(_) => {}
            }
        }
    }
    found
}

fn prohibited(sites: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for site in PROHIBITED {
        all.extend(blobs(&sites.join(site)).into_iter().map(|blob| format!("{site}/{blob}")));
    }
    all
}

fn drains(plan: &Plan) -> Result<Value> {
    plan.asked(&["drains", "--json"])
}

fn leave(plan: &Plan, options: &Options, seed: u64) -> Result<()> {
    plan.start()?.stop()?;
    ten_sites::configure(&plan.data)?;
    let server = plan.start()?;
    super::create_bucket(&server, BUCKET)?;
    let world = World {
        address: server.endpoint(),
        credential: server.credential.clone(),
        epoch: AtomicU64::new(0),
        down: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        written: Mutex::default(),
        numbers: AtomicU64::new(seed),
        tolerated: AtomicU64::new(0),
        latencies: Mutex::default(),
        samples: AtomicU64::new(0),
    };
    fill(&world, "small", options.small, SMALL_BYTES)?;
    fill(&world, "large", options.large, LARGE_BYTES)?;
    let sites = plan.data.join("sites");
    let server = std::thread::scope(|scope| -> Result<Server> {
        let world = &world;
        let mut threads: Vec<_> =
            (0..WORKERS).map(|worker| scope.spawn(move || world.work(worker, seed))).collect();
        let watched = sites.clone();
        threads.push(scope.spawn(move || world.watch(&watched)));
        let done = lead(plan, world, server, &mut Random::new(seed));
        world.stop.store(true, Ordering::Release);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("panicked"))??;
        }
        done
    })?;
    println!(
        "   {} looks at the folders, never {K} shards with one coalition; {} requests met a kill",
        world.samples.load(Ordering::Relaxed),
        world.tolerated.load(Ordering::Relaxed)
    );
    read_back(&world, &mut Random::new(seed))?;
    server.stop()
}

/// Prohibits, kills and waits.
fn lead(plan: &Plan, world: &World, mut server: Server, random: &mut Random) -> Result<Server> {
    std::thread::sleep(BEFORE);
    let before = world.p99_ms();
    let sites = plan.data.join("sites");
    let start = Instant::now();
    plan.command(&["prohibit", "south", "--reason", "a drill"])?;
    let had = prohibited(&sites);
    let mut cpu = 0.0;
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(200 + random.below(800)));
        cpu += server.cpu_seconds()?;
        world.down.store(true, Ordering::Release);
        world.epoch.fetch_add(1, Ordering::AcqRel);
        server.kill()?;
        server = plan.start()?;
        world.epoch.fetch_add(1, Ordering::AcqRel);
        world.down.store(false, Ordering::Release);
    }
    let state = loop {
        let state = drains(plan)?;
        let listed = state["listed"].as_array().context("listed")?;
        let empty = listed.iter().all(|site| site[1].as_u64() == Some(0));
        if state["done"].as_bool() == Some(true) && empty && !listed.is_empty() {
            break state;
        }
        if let Some(new) = prohibited(&sites).difference(&had).next() {
            bail!("{new} was stored at a prohibited site");
        }
        if start.elapsed() > DRAIN_MAX {
            bail!("the prohibited sites are not empty after {} s: {state}", DRAIN_MAX.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    cpu += server.cpu_seconds()?;
    let number = |name: &str| state[name].as_u64().unwrap_or_default();
    let (seconds, stored) = (start.elapsed().as_secs_f64(), number("bytes_stored"));
    #[expect(clippy::cast_precision_loss, reason = "rates are printed with one digit")]
    let (rate, shards) = (stored as f64 / 1e6 / seconds, number("shards_moved") as f64 / seconds);
    println!(
        "   empty after {seconds:.1} s, killed {KILLS} times: {} shards moved, {} MB stored anew \
         ({rate:.1} MB/s, {shards:.0} shards/s), {cpu:.1} CPU-seconds with the load",
        number("shards_moved"),
        stored / 1_000_000
    );
    println!("   p99 of a request: {before} ms before, {} ms during", world.p99_ms());
    stated(plan)?;
    for site in PROHIBITED {
        let file = plan.data.join(format!("retired-{site}.json"));
        let name = file.to_string_lossy();
        plan.command(&["site", "retire", site, "--out", &name])?;
        plan.command(&["statement", "verify", &name])?;
    }
    let left = prohibited(&sites);
    if !left.is_empty() {
        bail!("{} shards are left at the prohibited sites: {:?}", left.len(), left.first());
    }
    come_back(plan)?;
    Ok(server)
}

/// Admits the party again, and gives its sites their share, under the same load and the same eyes.
fn come_back(plan: &Plan) -> Result<()> {
    let start = Instant::now();
    plan.command(&["admit", "south"])?;
    plan.command(&["rebalance", "--follow"])?;
    let state = drains(plan)?;
    if state["rebalances"].as_bool() != Some(false) {
        bail!("rebalancing was followed to its end and is not over: {state}");
    }
    let back = prohibited(&plan.data.join("sites")).len();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "   admitted again and rebalanced in {seconds:.1} s: {} shards moved, {back} shards there",
        state["shards_moved"]
    );
    if back == 0 {
        bail!("the sites that were admitted again got nothing");
    }
    Ok(())
}

/// Lets the gateway state the end, and believes it only by its signature.
fn stated(plan: &Plan) -> Result<()> {
    let file = plan.data.join("exclusion.json");
    let name = file.to_string_lossy();
    plan.command(&["drains", "--follow", "--out", &name])?;
    let statement = plan.asked(&["statement", "verify", &name])?;
    let body = &statement["body"];
    let lists: Vec<Option<u64>> = body["sites"]
        .as_array()
        .map(|sites| sites.iter().map(|site| site["lists"].as_u64()).collect())
        .unwrap_or_default();
    let left = ["shards_left", "shards_refused", "blobs_stuck"].map(|it| body[it].as_u64());
    let is_whole = body["complete"].as_bool() == Some(true)
        && lists == vec![Some(0); PROHIBITED.len()]
        && left == [Some(0); 3]
        && body["shards_moved"].as_u64().is_some_and(|moved| moved > 0);
    if !is_whole || statement["kind"].as_str() != Some("exclusion") {
        bail!("the statement of the end says something else: {statement}");
    }
    println!("   stated and signed: {} shards moved, complete", body["shards_moved"]);
    Ok(())
}

fn fill(world: &World, prefix: &str, objects: u64, length: usize) -> Result<()> {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..FILLERS.min(objects))
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut connection = world.connect();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= objects {
                            return Ok(());
                        }
                        world.put(&mut connection, &format!("{prefix}-{number}"), length)?;
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("panicked"))?)
    })
}

/// Reads everything that the load wrote, every large object, and some of the small ones.
fn read_back(world: &World, random: &mut Random) -> Result<()> {
    let written = world.written.lock().expect("no panic");
    let (small, rest): (Vec<_>, Vec<_>) =
        written.iter().partition(|(key, ..)| key.starts_with("small"));
    let mut connection = world.connect();
    for object in &rest {
        World::read(&mut connection, object)?;
    }
    for _ in 0..SAMPLE.min(small.len() as u64) {
        World::read(&mut connection, small[random.index(small.len())])?;
    }
    let count = rest.len() as u64 + SAMPLE;
    println!("   {} objects, {count} of them read back at the end", written.len());
    Ok(())
}
