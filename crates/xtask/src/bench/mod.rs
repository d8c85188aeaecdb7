//! `cargo xtask bench`: the gateway beside a plain S3 server, on the same machine, in the same
//! minutes.
//!
//! **Invariant.** Both are measured in turns of a few seconds, so that what else the machine does
//! falls on both, and a ratio is the median of the turns' ratios.
//!
//! **Deliberately absent.** Absolute promises: a figure means something only beside its yardstick.
//!
//! **Crash.** Data lie under `target/data` and are removed at the end; `target/bench.json` stays.

mod keeper;
mod output;
mod workload;

pub(crate) use keeper::keeper;

use crate::process::{build, target};
use crate::s3::{Keep, Request};
use crate::server::{Plan, Server};
use crate::suite::scratch;
use anyhow::{Context, Result, bail};
use output::Row;
use std::fs;
use std::path::{Path, PathBuf};
use workload::{Prepared, Turn, Workload};

/// What was asked for.
pub(crate) struct Options {
    /// Only workloads whose names hold this word.
    pub(crate) only: Option<String>,
    /// Length of one turn.
    pub(crate) seconds: f64,
    /// Turns of each server.
    pub(crate) rounds: u64,
    /// Another geometry than that of `havre up`: `4+2`.
    pub(crate) policy: Option<String>,
    /// Turns off Nagle's algorithm in the yardstick, which its own program leaves on.
    pub(crate) nodelay: bool,
    /// Leaves the gateway out, for work on the bench itself.
    pub(crate) yardstick_only: bool,
    /// Another build of the gateway.
    pub(crate) gateway: Option<PathBuf>,
}

/// Builds s3s-fs as a program.
pub(crate) fn build_yardstick() -> Result<PathBuf> {
    build("xtask", "yardstick", &["yardstick"])
}

/// The same server as `cargo test` has just built it beside the tests of `sites`, for those that do
/// not measure it: alone it would be built with other features, and all below it once more.
pub(crate) fn tested_yardstick() -> Result<PathBuf> {
    let built = target().join("release/examples/yardstick");
    if built.exists() { Ok(built) } else { build_yardstick() }
}

/// Measures, prints the table, writes the JSON.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workloads: Vec<Workload> = workload::all()
        .into_iter()
        .filter(|load| options.only.as_deref().is_none_or(|word| load.name.contains(word)))
        .collect();
    if workloads.is_empty() {
        bail!("no workload is called so");
    }
    let mut servers = Vec::new();
    if !options.yardstick_only {
        let gateway = match &options.gateway {
            Some(path) => path.clone(),
            None => build("havre", "havre", &[])?,
        };
        servers.push(("havre", start_gateway(&gateway, options.policy.as_deref())?));
    }
    let yardstick =
        Plan::yardstick(&build_yardstick()?, &scratch("bench-yardstick")?, options.nodelay)?;
    servers.push(("s3s-fs", yardstick.start()?));

    let mut rows = Vec::new();
    println!("{}", output::header());
    for load in &workloads {
        let measured =
            measure(load, &servers, options).with_context(|| format!("workload {}", load.name))?;
        for row in &measured {
            println!("{}", row.line());
        }
        rows.extend(measured);
    }
    let path = target().join("bench.json");
    let json = output::json(&rows, options);
    fs::write(&path, serde_json::to_string_pretty(&json)? + "\n").context("write bench.json")?;
    println!("\nwritten: target/bench.json");
    for (_, server) in servers {
        server.stop()?;
    }
    for name in ["bench-havre", "bench-yardstick"] {
        let _ = fs::remove_dir_all(target().join("data").join(name));
    }
    Ok(())
}

fn start_gateway(gateway: &Path, policy: Option<&str>) -> Result<Server> {
    let plan = Plan::gateway(gateway, &scratch("bench-havre")?)?;
    let server = plan.start()?;
    let Some(policy) = policy else { return Ok(server) };
    server.stop()?;
    let (k, m) = policy.split_once('+').context("--policy K+M")?;
    let (k, m): (u8, u8) = (k.parse()?, m.parse()?);
    let path = plan.data.join("havre.toml");
    let text = fs::read_to_string(&path).context("read havre.toml")?;
    fs::write(&path, with_geometry(&text, k, m)).context("write havre.toml")?;
    plan.start()
}

/// The configuration with every policy's `k` and `m` replaced.
fn with_geometry(text: &str, k: u8, m: u8) -> String {
    let replaced =
        text.lines().map(|line| match line.split_once('=').map(|(name, _)| name.trim()) {
            Some("k") => format!("k = {k}"),
            Some("m") => format!("m = {m}"),
            _ => line.to_owned(),
        });
    replaced.collect::<Vec<_>>().join("\n") + "\n"
}

fn measure(load: &Workload, servers: &[(&str, Server)], options: &Options) -> Result<Vec<Row>> {
    let mut prepared = Vec::new();
    for (_, server) in servers {
        prepared.push(workload::prepare(load, server)?);
    }
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); servers.len()];
    for round in 0..options.rounds {
        for (at, (_, server)) in servers.iter().enumerate() {
            turns[at].push(workload::turn(
                load,
                server,
                &mut prepared[at],
                options.seconds,
                round,
            )?);
        }
    }
    for ((_, server), prepared) in servers.iter().zip(prepared) {
        clean(server, &prepared)?;
    }
    let ratio = match &turns[..] {
        [ours, theirs] => Some(output::median_ratio(ours, theirs)),
        _ => None,
    };
    let rows = servers.iter().zip(&turns).enumerate().map(|(at, ((name, _), turns))| {
        Row::new(load, name, turns, if at == 0 { ratio } else { None })
    });
    Ok(rows.collect())
}

/// Deletes what a workload wrote, a thousand keys at a time.
fn clean(server: &Server, prepared: &Prepared) -> Result<()> {
    let mut connection = server.connect();
    for key in prepared.large_keys() {
        let path = format!("/{}/{key}", prepared.bucket);
        let request = Request { method: "DELETE", path: &path, ..Request::default() };
        connection.expect(&request, Keep::Body)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometry_is_replaced_and_nothing_else() {
        let text = "[[policies]]\nname = \"default\"\nk = 3\nm=3 # parity\nkey = \"k\"\n";
        let expected = "[[policies]]\nname = \"default\"\nk = 4\nm = 2\nkey = \"k\"\n";
        assert_eq!(with_geometry(text, 4, 2), expected);
    }
}
