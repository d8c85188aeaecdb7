//! `cargo xtask drill`: crashes the gateway in the middle of a mixed load, and looks what is left.
//!
//! **Invariant.** A drill is repeated by the command it prints when it fails; the moments of its
//! crashes come from the seed, the interleaving of its load from the machine.
//!
//! **Deliberately absent.** Faults of sites on a seeded clock, which `crates/sim` is to have.
//!
//! **Crash.** `kill -9`, and a file system that stops as if its power were cut.

mod disk;
mod faults;
mod history;
mod import;
mod judge;
mod load;
mod memory;
mod power;
mod prohibit;
mod recover;
mod remains;

pub(crate) use faults::faults;
pub(crate) use import::import;
pub(crate) use memory::memory;
pub(crate) use prohibit::{Options as ProhibitOptions, prohibit};
pub(crate) use recover::{Options as RecoverOptions, recover};

use crate::process::root;
use crate::random::{Random, fresh_seed};
use crate::report::Tally;
use crate::s3::{Keep, Request};
use crate::server::{Plan, Server};
use anyhow::{Context, Result, anyhow};
use judge::{Depth, judge};
use load::Load;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the load runs before the crash.
const LOAD_MS: (u64, u64) = (20, 600);
/// Every so many rounds everything is read again.
const FULL_LOOK_ROUNDS: u64 = 25;
/// Every so many rounds garbage is collected between the crash and the next start: what crashes
/// leave behind would fill the disk, and the collector has to cope with it too.
const COLLECT_ROUNDS: u64 = 10;
/// Every so many rounds packs are compacted there, and the compaction is killed in its middle every
/// other time.
const COMPACT_ROUNDS: u64 = 8;
const BUCKET: &str = "drill";

/// How long a drill goes on.
#[derive(Clone, Copy)]
enum Until {
    Rounds(u64),
    Seconds(u64),
}

/// What a drill was asked.
pub(crate) struct Options {
    until: Until,
    seed: u64,
}

impl Options {
    /// So many rounds of `kill -9`, from a seed or from any.
    pub(crate) fn kill(rounds: u64, seed: Option<u64>) -> Self {
        Self { until: Until::Rounds(rounds), seed: seed.unwrap_or_else(fresh_seed) }
    }

    /// As many power cuts as fit into so many seconds.
    pub(crate) fn power(seconds: u64, seed: Option<u64>) -> Self {
        Self { until: Until::Seconds(seconds), seed: seed.unwrap_or_else(fresh_seed) }
    }

    /// The words that follow the drill's name to repeat it.
    fn words(&self) -> String {
        match self.until {
            Until::Rounds(rounds) => format!("--rounds {rounds} --seed {}", self.seed),
            Until::Seconds(seconds) => format!("--seconds {seconds} --seed {}", self.seed),
        }
    }
}

/// Rounds of `kill -9`, over a data directory that is new.
pub(crate) fn kill(plan: &Plan, options: &Options) -> Result<Tally> {
    let passed = crash_rounds("kill", options, plan, |server| server.kill())?;
    std::fs::remove_dir_all(&plan.data)?;
    Ok(Tally { passed, ..Tally::default() })
}

/// Rounds of power cuts, where that is permitted; `plan` starts a server over a folder of the disk.
pub(crate) fn power(plan: impl FnOnce(&Path) -> Result<Plan>, options: &Options) -> Result<Tally> {
    let mut disk = match power::CutDisk::make("drill-power")? {
        Ok(disk) => disk,
        Err(reason) => return Ok(Tally::skip(format!("power cuts: {reason}"))),
    };
    let plan = plan(&disk.mount_point().join("data"))?;
    let passed = crash_rounds("power", options, &plan, |server| disk.cut(server))?;
    disk.remove()?;
    Ok(Tally { passed, ..Tally::default() })
}

fn crash_rounds(
    name: &str,
    options: &Options,
    plan: &Plan,
    mut crash: impl FnMut(Server) -> Result<()>,
) -> Result<u64> {
    let again = format!("cargo xtask drill {name} {}", options.words());
    println!("   {again}");
    let start = Instant::now();
    let load = Load::new(BUCKET);
    let mut random = Random::new(options.seed);
    let mut server = plan.start()?;
    create_bucket(&server, BUCKET)?;
    let (mut round, mut keys, mut uploads) = (0, 0, 0);
    let more = |round| match options.until {
        Until::Rounds(rounds) => round < rounds,
        Until::Seconds(seconds) => round == 0 || start.elapsed() < Duration::from_secs(seconds),
    };
    while more(round) {
        round += 1;
        let depth = if round % FULL_LOOK_ROUNDS == 0 { Depth::All } else { Depth::Recent };
        let delay = LOAD_MS.0 + random.below(LOAD_MS.1 - LOAD_MS.0);
        let outcome = one_round(&load, server, delay, options.seed ^ round, &mut crash)
            .and_then(|()| match round % COLLECT_ROUNDS {
                0 => plan.collect_garbage().map(drop).context("gc after the crash"),
                _ => Ok(()),
            })
            .and_then(|()| compact(plan, round, delay))
            .and_then(|()| plan.start().context("start after the crash"))
            .and_then(|restarted| {
                let mut connection = restarted.connect();
                let verdict = judge(&load, &mut connection, &mut random, depth)?;
                keys += verdict.keys;
                uploads += verdict.uploads;
                Ok(restarted)
            });
        server = outcome.map_err(|error| {
            let complaints = plan.complaints();
            anyhow!(
                "round {round}, crash after {delay} ms: {error:#}\nagain: {again}\n{complaints}"
            )
        })?;
    }
    judge(&load, &mut server.connect(), &mut random, Depth::All).context("the last look")?;
    let unavailable = load.unavailable.load(std::sync::atomic::Ordering::Relaxed);
    println!(
        "   {round} rounds, {} writes acknowledged, {unavailable} answered 5xx, {keys} keys and \
         {uploads} uploads looked at",
        judge::acknowledged(&load)
    );
    remains::check(&load, plan, server)?;
    Ok(round)
}

fn compact(plan: &Plan, round: u64, delay_ms: u64) -> Result<()> {
    // A server that is no gateway of ours has no packs.
    if !round.is_multiple_of(COMPACT_ROUNDS) || !plan.data.join("sites").is_dir() {
        return Ok(());
    }
    match round.is_multiple_of(2 * COMPACT_ROUNDS) {
        true => plan.compact_and_kill(Duration::from_millis(delay_ms)),
        false => plan.compact().map(drop),
    }
    .context("compact after the crash")
}

/// Starts the load, crashes the server in its middle, and waits for the workers.
fn one_round(
    load: &Load,
    server: Server,
    delay_ms: u64,
    seed: u64,
    crash: &mut impl FnMut(Server) -> Result<()>,
) -> Result<()> {
    load.resume();
    let (address, credential) = (server.endpoint(), server.credential.clone());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..load::WORKERS)
            .map(|number| {
                let (credential, random) = (credential.clone(), Random::part(seed, number));
                scope.spawn(move || load::work(load, address, &credential, number, random))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(delay_ms));
        load.stop();
        let crashed = crash(server);
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a worker panicked"))??;
        }
        crashed
    })
}

pub(crate) fn create_bucket(server: &Server, name: &str) -> Result<()> {
    let path = format!("/{name}");
    let request = Request { method: "PUT", path: &path, ..Request::default() };
    server.connect().expect(&request, Keep::Body).map(drop)
}

/// The script that stops a file system as a power cut would.
fn cut_script() -> std::path::PathBuf {
    root().join("tests/drills/cut.py")
}
