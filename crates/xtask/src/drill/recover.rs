//! Loses the catalog: rebuilds it from all sites and measures that, from `k` of them with the
//! rebuilding killed on the way, and by just starting.
//!
//! **Invariant.** After each rebuild the judge reads every object of the mixed load, and a listing
//! holds every small object.
//!
//! **Deliberately absent.** A verdict on the rate: it is printed, and the machine decides.
//!
//! **Crash.** `kill -9` of `havre recover`, twice.

use super::judge::{Depth, judge};
use super::load::Load;
use super::{BUCKET, create_bucket, one_round};
use crate::process::{log_path, run};
use crate::random::{Random, bytes, fresh_seed};
use crate::report::Tally;
use crate::s3::{Keep, Request, tags};
use crate::server::{Plan, Server};
use crate::stopped::StoppedSite;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::{self, File};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SMALL_BUCKET: &str = "small";
const SMALL_BYTES: usize = 1024;
const WRITERS: u64 = 64;
/// How long the mixed load runs before the small objects are written.
const LOAD_MS: u64 = 2_000;
/// The sites that are away for the second rebuild: one of each jurisdiction.
const AWAY: [&str; 3] = ["s1", "s3", "s6"];
const KILLS: u32 = 2;
const DEADLINE: Duration = Duration::from_secs(600);
/// Small objects that are read back after each rebuild.
const SAMPLE: u64 = 200;

/// What the drill was asked.
pub(crate) struct Options {
    pub(crate) objects: u64,
    pub(crate) seed: Option<u64>,
}

/// Writes, and rebuilds three times.
pub(crate) fn recover(plan: &Plan, options: &Options) -> Result<Tally> {
    let seed = options.seed.unwrap_or_else(fresh_seed);
    let again = format!("cargo xtask drill recover --objects {} --seed {seed}", options.objects);
    println!("   {again}");
    rounds(plan, options.objects, seed).map_err(|error| anyhow!("{error:#}\nagain: {again}"))?;
    fs::remove_dir_all(&plan.data)?;
    Ok(Tally { passed: 3, ..Tally::default() })
}

fn rounds(plan: &Plan, objects: u64, seed: u64) -> Result<()> {
    let (load, mut random) = (Load::new(BUCKET), Random::new(seed));
    let server = plan.start()?;
    create_bucket(&server, BUCKET)?;
    create_bucket(&server, SMALL_BUCKET)?;
    one_round(&load, server, LOAD_MS, seed, &mut |server| server.kill())?;
    let server = plan.start()?;
    judge(&load, &mut server.connect(), &mut random, Depth::All)?;
    fill(&server, objects)?;
    server.stop()?;

    plan.lose_catalog()?;
    let start = Instant::now();
    let said = run(&mut command(plan), "recover", DEADLINE)?;
    let whole = start.elapsed();
    let line = said.lines().find(|line| line.starts_with("recovered "));
    println!("   {}", line.context("havre recover says what it recovered")?);
    look(plan, &load, &mut random, objects).context("after the first rebuild")?;

    plan.lose_catalog()?;
    let away = AWAY.iter().map(|name| StoppedSite::stop(&plan.data, name));
    let away = away.collect::<Result<Vec<_>>>()?;
    let mut ended_early = 0;
    for _ in 0..KILLS {
        let millis = u64::try_from(whole.as_millis())?;
        let delay = Duration::from_millis(millis / 10 + random.below(millis / 3));
        ended_early += u32::from(!killed(plan, delay)?);
    }
    if ended_early < KILLS {
        let said = run(&mut command(plan), "recover", DEADLINE)?;
        if !said.lines().any(|line| line.starts_with("recovered ")) {
            bail!("havre recover did not say what it recovered: {said}");
        }
    }
    println!("   from three sites, killed {} times on the way", KILLS - ended_early);
    away.iter().try_for_each(StoppedSite::restore)?;
    look(plan, &load, &mut random, objects).context("after the second rebuild")?;

    plan.lose_catalog()?;
    look(plan, &load, &mut random, objects).context("after a start without a catalog")
}

fn command(plan: &Plan) -> Command {
    let mut command = Command::new(plan.program());
    command.arg("recover").arg("--config").arg(plan.data.join("havre.toml"));
    command.arg("--root-key").arg(plan.data.join("root.key"));
    command
}

/// Kills `havre recover` after `delay`; false when it had ended by then.
fn killed(plan: &Plan, delay: Duration) -> Result<bool> {
    let log = File::create(log_path("recover-killed")?)?;
    let mut child = command(plan).stdout(log.try_clone()?).stderr(log).spawn()?;
    std::thread::sleep(delay);
    let ended = child.try_wait()?;
    if ended.is_some_and(|status| !status.success()) {
        bail!("havre recover failed; see target/logs/recover-killed.log");
    }
    child.kill()?;
    child.wait()?;
    Ok(ended.is_none())
}

/// Starts the gateway on what was rebuilt, reads, and stops it.
fn look(plan: &Plan, load: &Load, random: &mut Random, objects: u64) -> Result<()> {
    let server = plan.start()?;
    let mut connection = server.connect();
    judge(load, &mut connection, random, Depth::All)?;
    let (mut keys, mut last) = (0, String::new());
    loop {
        let path = format!("/{SMALL_BUCKET}");
        let query = format!("list-type=2&start-after={last}");
        let request = Request { path: &path, query: &query, ..Request::default() };
        let page = tags(&connection.expect(&request, Keep::Body)?.text(), "Key");
        keys += page.len() as u64;
        match page.into_iter().next_back() {
            Some(key) => last = key,
            None => break,
        }
    }
    if keys != objects {
        bail!("{objects} small objects were acknowledged and {keys} are listed");
    }
    for _ in 0..SAMPLE.min(objects) {
        let number = random.below(objects);
        let path = small_path(number);
        let request = Request { path: &path, ..Request::default() };
        if connection.expect(&request, Keep::Body)?.body != bytes(number, SMALL_BYTES) {
            bail!("{path} reads other bytes than were written");
        }
    }
    server.stop()
}

fn small_path(number: u64) -> String {
    format!("/{SMALL_BUCKET}/{number:08}")
}

/// Writes small objects, many at once.
fn fill(server: &Server, objects: u64) -> Result<()> {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (mut connection, next) = (server.connect(), &next);
                scope.spawn(move || -> Result<()> {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= objects {
                            return Ok(());
                        }
                        let (path, body) = (small_path(number), bytes(number, SMALL_BYTES));
                        let request = Request {
                            method: "PUT",
                            path: &path,
                            body: &body,
                            ..Request::default()
                        };
                        connection.expect(&request, Keep::Count)?;
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("panicked"))?)
    })
}
