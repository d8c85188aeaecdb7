//! `cargo xtask bench keeper`: what the keeper's work costs, and what clients feel of it.
//!
//! Over local sites on one disk, the same for all: the figures say what the work takes of a core,
//! not how fast a network is. Rates are without a bound (`limits.repair_bytes_per_second`).
//!
//! **Invariant.** Each figure is taken between two looks from outside: the process's CPU time, and
//! what `havre status` and `havre drains` say.
//!
//! **Deliberately absent.** Verdicts, and a yardstick: s3s-fs keeps nothing.
//!
//! **Crash.** Data lie under `target/data` and are removed at the end.

use crate::drill::create_bucket;
use crate::process::target;
use crate::random::{Random, bytes};
use crate::s3::{Connection, Keep, Request};
use crate::server::{Plan, Server};
use crate::stopped::StoppedSite;
use crate::suite::scratch;
use crate::ten_sites;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BUCKET: &str = "kept";
const SMALL_BYTES: usize = 4096;
const LARGE_BYTES: usize = 16 << 20;
const FILLERS: u64 = 16;
/// Clients beside a cut: three reads of 4 KiB to a write.
const CLIENTS: u64 = 4;
const WAIT_MAX: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(100);
/// A site that goes away, and a party that is cut off and then prohibited.
const AWAY: &str = "s3";
const PARTY: &str = "south";
const CUT: (&str, &str) = ("10s", "20s");

/// Measures all, prints it, and writes the JSON.
pub(crate) fn keeper(gateway: &Path, small: u64, large: u64) -> Result<()> {
    let plan = Plan::gateway(gateway, &scratch("bench-keeper")?)?;
    plan.start()?.stop()?;
    let rates = "repair_bytes_per_second = 100000000000\nscrub_bytes_per_second = 100000000000\n\
                 scrub_whole = true\nscrub_cycle_hours = 1\n";
    configure(&plan.data, rates)?;
    let volume = Volume { small, large };
    let repair = repair(&plan, volume)?;
    let scrub = scrub(&plan)?;
    ten_sites::configure(&plan.data)?;
    let server = plan.start()?;
    fill(&server, "more", volume)?;
    let cut = beside_clients(&server, || cut(&plan))?;
    let drain = drain(&plan, &server)?;
    server.stop()?;
    fs::remove_dir_all(&plan.data)?;
    let all = json!({
        "small_objects": small, "small_bytes": SMALL_BYTES,
        "large_objects": large, "large_bytes": LARGE_BYTES,
        "repair": repair, "scrub": scrub, "cut": cut, "drain": drain,
    });
    println!("{all:#}");
    let path = target().join("bench-keeper.json");
    fs::write(&path, format!("{all:#}\n")).context("write bench-keeper.json")
}

/// Objects of two sizes.
#[derive(Clone, Copy)]
struct Volume {
    small: u64,
    large: u64,
}

fn configure(data: &Path, limits: &str) -> Result<()> {
    let path = data.join("havre.toml");
    let text = fs::read_to_string(&path).context("read havre.toml")?;
    let text = match text.contains("[limits]\n") {
        true => text.replacen("[limits]\n", &format!("[limits]\n{limits}"), 1),
        false => format!("{text}\n[limits]\n{limits}"),
    };
    fs::write(&path, text).context("write havre.toml")
}

fn put(connection: &mut Connection, key: &str, length: usize) -> Result<()> {
    let (path, body) = (format!("/{BUCKET}/{key}"), bytes(length as u64, length));
    let request = Request { method: "PUT", path: &path, body: &body, ..Request::default() };
    connection.expect(&request, Keep::Count).map(drop)
}

fn fill(server: &Server, prefix: &str, volume: Volume) -> Result<()> {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            let mut connection = server.connect();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let length = match number {
                    _ if number < volume.large => LARGE_BYTES,
                    _ if number < volume.large + volume.small => SMALL_BYTES,
                    _ => return Ok(()),
                };
                put(&mut connection, &format!("{prefix}-{length}-{number}"), length)?;
            }
        };
        let workers: Vec<_> = (0..FILLERS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|it| it.join().map_err(|_| anyhow!("panicked"))?)
    })
}

/// Asks until the answer is as wanted; the answer, and how long it took.
fn until(
    plan: &Plan,
    words: &[&str],
    wanted: impl Fn(&Value) -> bool,
) -> Result<(Value, Duration)> {
    let start = Instant::now();
    loop {
        let answer = plan.asked(words)?;
        if wanted(&answer) {
            return Ok((answer, start.elapsed()));
        }
        if start.elapsed() > WAIT_MAX {
            bail!("havre {} does not come to an end: {answer}", words.join(" "));
        }
        std::thread::sleep(LOOK);
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates of a bench")]
fn rates((bytes, shards): (u64, u64), seconds: f64, cpu_seconds: f64) -> Value {
    let bytes = bytes as f64;
    json!({
        "seconds": seconds,
        "shards": shards,
        "mb": bytes / 1e6,
        "mb_per_second": bytes / 1e6 / seconds,
        "shards_per_second": shards as f64 / seconds,
        "cpu_seconds": cpu_seconds,
        "cpu_seconds_per_gb": cpu_seconds / (bytes / 1e9),
    })
}

/// The bytes and the count of the shards in a site's folder.
fn held(site: &Path) -> (u64, u64) {
    let (mut bytes, mut count) = (0, 0);
    let mut folders = vec![site.join("p"), site.join("e")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => (bytes, count) = (bytes + metadata.len(), count + 1),
                Err(_) => {}
            }
        }
    }
    (bytes, count)
}

/// Writes while one site of six is away, and measures from its return until nothing misses a shard.
fn repair(plan: &Plan, volume: Volume) -> Result<Value> {
    let server = plan.start()?;
    create_bucket(&server, BUCKET)?;
    let away = StoppedSite::stop(&plan.data, AWAY)?;
    fill(&server, "first", volume)?;
    let site = plan.data.join("sites").join(AWAY);
    away.restore()?;
    let (before, returned) = (held(&site), Instant::now());
    // Repair looks every ten seconds, and begins with what it saw twice: that is no work.
    let words = ["status", "--json"];
    until(plan, &words, |_| held(&site) != before)?;
    let (begun, cpu) = (Instant::now(), server.cpu_seconds()?);
    until(plan, &words, |it| it["incomplete_blobs"] == 0)?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), server.cpu_seconds()? - cpu);
    let (whole, after) = (returned.elapsed().as_secs_f64(), held(&site));
    server.stop()?;
    let mut measured = rates((after.0 - before.0, after.1 - before.1), seconds, cpu);
    measured["seconds_from_return_to_whole"] = json!(whole);
    Ok(measured)
}

/// Measures the cycle of scrub that begins within a minute of a start, and reads every byte. What
/// it had done when it was first seen is not counted: it is said a page at a time.
fn scrub(plan: &Plan) -> Result<Value> {
    let server = plan.start()?;
    let words = ["status", "--json"];
    let (seen, _) = until(plan, &words, |it| it["scrub"]["began"].is_string())?;
    let (start, cpu) = (Instant::now(), server.cpu_seconds()?);
    if seen["scrub"]["ended"].is_string() {
        bail!("a cycle of scrub had ended before it was looked at: ask for more with --small");
    }
    let (status, _) = until(plan, &words, |it| it["scrub"]["ended"].is_string())?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), server.cpu_seconds()? - cpu);
    server.stop()?;
    let number = |name: &str| {
        let count = |status: &Value| status["scrub"][name].as_u64().unwrap_or_default();
        count(&status).saturating_sub(count(&seen))
    };
    Ok(rates((number("bytes_read"), number("good")), seconds, cpu))
}

/// Runs something while clients read and write.
fn beside_clients<T>(server: &Server, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = |number: u64| {
            let stop = &stop;
            move || -> Result<()> {
                let (mut connection, mut random) = (server.connect(), Random::part(1, number));
                let mut written = 0;
                while !stop.load(Ordering::Acquire) {
                    if written == 0 || random.below(4) == 0 {
                        put(&mut connection, &format!("client-{number}-{written}"), SMALL_BYTES)?;
                        written += 1;
                    } else {
                        let path = format!("/{BUCKET}/client-{number}-{}", random.below(written));
                        let request = Request { path: &path, ..Request::default() };
                        connection.expect(&request, Keep::Count)?;
                    }
                }
                Ok(())
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        let done = work();
        stop.store(true, Ordering::Release);
        for client in clients {
            client.join().map_err(|_| anyhow!("panicked"))??;
        }
        done
    })
}

/// Cuts the party off under load; how requests fared before and meanwhile, by the signed record.
fn cut(plan: &Plan) -> Result<Value> {
    let file = plan.data.join("cut.json");
    let name = file.to_string_lossy();
    let (before, during) = CUT;
    let words = ["drill", "cut", "--party", PARTY, "--before", before, "--for", during];
    plan.command(&[&words[..], &["--out", &name]].concat())?;
    let statement = plan.asked(&["statement", "verify", &name])?;
    let body = &statement["body"];
    Ok(json!({ "before": body["before"], "during": body["during"] }))
}

/// Prohibits the party, without clients beside.
fn drain(plan: &Plan, server: &Server) -> Result<Value> {
    let cpu = server.cpu_seconds()?;
    let start = Instant::now();
    plan.command(&["prohibit", PARTY, "--reason", "a bench"])?;
    let is_empty = |it: &Value| {
        let listed = it["listed"].as_array();
        it["done"] == true
            && listed.is_some_and(|it| !it.is_empty() && it.iter().all(|site| site[1] == 0))
    };
    let (drains, _) = until(plan, &["drains", "--json"], is_empty)?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), server.cpu_seconds()? - cpu);
    let number = |name: &str| drains[name].as_u64().unwrap_or_default();
    Ok(rates((number("bytes_stored"), number("shards_moved")), seconds, cpu))
}
