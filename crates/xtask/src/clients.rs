//! Runs the client scenarios of `tests/clients` against a server.
//!
//! **Invariant.** A scenario that ends badly without saying what failed counts as one failure, and
//! one that says nothing at all does too.
//!
//! **Deliberately absent.** What the scenarios check: it stands in their scripts.
//!
//! **Crash.** Scratch space under `target/clients/work` is emptied before each run.

use crate::install;
use crate::process::{attempt, root, tail};
use crate::report::{Report, Tally};
use crate::server::{Plan, Server};
use crate::stopped::StoppedSite;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long one scenario may take.
const SCENARIO_DEADLINE: Duration = Duration::from_secs(900);

/// The scenarios: the client's name and the script.
const SCENARIOS: [(&str, &str); 7] = [
    ("boto3", "with_boto3.py"),
    ("aws", "with_aws.py"),
    ("rclone", "with_rclone.py"),
    ("restic", "with_restic.py"),
    ("s3cmd", "with_s3cmd.py"),
    ("pyarrow", "with_pyarrow.py"),
    ("sdk-v3", "with_sdk_v3.mjs"),
];

/// The one that takes as long as all others together: it runs beside them.
const LONGEST: &str = "aws";

/// What would lead a client to another configuration, network path or credential than the test's.
const FOREIGN_ENVIRONMENT: [&str; 12] = [
    "AWS_CA_BUNDLE",
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "NODE_OPTIONS",
];

/// What the sites are like during a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All answer.
    Healthy,
    /// Two of the six answer with errors only.
    TwoStopped,
    /// One at a time hangs, dies or lies.
    SitesAtFault,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::TwoStopped => "two-sites-stopped",
            Self::SitesAtFault => "sites-at-fault",
        }
    }
}

/// The script of a client's scenario.
fn script_of(client: &str) -> Result<&'static str> {
    match SCENARIOS.iter().find(|(name, _)| *name == client) {
        Some((_, script)) => Ok(script),
        None => {
            bail!("no client {client}; there are {}", SCENARIOS.map(|(name, _)| name).join(", "))
        }
    }
}

/// The names, which have to be clients'.
pub(crate) fn named(clients: &str) -> Result<Vec<String>> {
    let names: Vec<_> =
        clients.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.iter().try_for_each(|name| script_of(name).map(drop))?;
    Ok(names)
}

/// Runs one client's scenario against a server that is there.
pub(crate) fn one(server: &Server, client: &str, mode: Mode) -> Result<Tally> {
    scenario(server, client, script_of(client)?, mode)
}

/// Runs the scenarios named in `only` (all when it is empty), in one mode, each a step of `report`.
pub(crate) fn run_all(report: &mut Report, plan: &Plan, only: &[String], mode: Mode) -> Result<()> {
    for name in only {
        script_of(name)?;
    }
    if mode == Mode::SitesAtFault {
        bail!("who lets sites fail runs one client after another");
    }
    if mode == Mode::TwoStopped {
        allow_degraded(&plan.data)?;
    }
    let server = plan.start()?;
    let stopped = match mode {
        Mode::Healthy | Mode::SitesAtFault => Vec::new(),
        Mode::TwoStopped => stop_sites(&plan.data)?,
    };
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    let step = |name: &str| format!("client {name}, {}", mode.name());
    let wanted = SCENARIOS.into_iter().filter(|(name, _)| is_wanted(name));
    let (longest, others): (Vec<_>, Vec<_>) = wanted.partition(|(name, _)| *name == LONGEST);
    let one_by_one = |report: &mut Report| {
        for (name, script) in others {
            report.step(&step(name), || scenario(&server, name, script, mode));
        }
    };
    match longest.first() {
        None => one_by_one(report),
        Some((name, script)) => {
            report.beside(&step(name), || scenario(&server, name, script, mode), one_by_one);
        }
    }
    server.stop()?;
    stopped.iter().try_for_each(StoppedSite::restore)
}

fn scenario(server: &Server, name: &str, script: &str, mode: Mode) -> Result<Tally> {
    let work = install::clients().join("work").join(format!("{name}-{}", mode.name()));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let scripts = root().join("tests/clients");
    let mut command = if script.ends_with(".mjs") {
        // Node looks for packages beside the script, so the script goes where the packages are.
        let beside = install::node().join(script);
        fs::copy(scripts.join(script), &beside)?;
        let mut command = Command::new("node");
        command.arg("--no-warnings").arg(beside);
        command
    } else {
        let mut command = Command::new(install::python());
        command.arg(scripts.join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    for name in FOREIGN_ENVIRONMENT {
        command.env_remove(name);
    }
    let credential = &server.credential;
    command
        .current_dir(&work)
        .env("S3_ENDPOINT", format!("http://{}", server.endpoint()))
        .env("AWS_ACCESS_KEY_ID", &credential.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &credential.secret_key)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env("no_proxy", "127.0.0.1,localhost")
        .env("SCENARIO_MODE", mode.name())
        .env("AWS_MAX_ATTEMPTS", if mode == Mode::SitesAtFault { "1" } else { "3" })
        .env("SCENARIO_WORK", &work)
        .env("SCENARIO_DATA", install::clients().join("data"));
    let log = format!("client-{name}-{}", mode.name());
    let (ok, text) = attempt(&mut command, &log, SCENARIO_DEADLINE)?;
    let _ = fs::remove_dir_all(&work);
    for line in text.lines().filter(|line| line.starts_with("FAIL ")) {
        println!("   {name}: {line}");
    }
    let tally = count(&text);
    if (!ok && tally.failed == 0) || tally.passed + tally.failed == 0 {
        bail!("the scenario broke off; the end of target/logs/{log}.log:\n{}", tail(&text));
    }
    Ok(tally)
}

fn count(text: &str) -> Tally {
    let mut tally = Tally::default();
    for line in text.lines() {
        if line.starts_with("ok ") {
            tally.passed += 1;
        } else if line.starts_with("FAIL ") {
            tally.failed += 1;
        } else if let Some(skipped) = line.strip_prefix("skip ") {
            tally.skipped.push(skipped.to_owned());
        }
    }
    tally
}

/// With two of six sites gone, 3+3 cannot promise that a third jurisdiction may go too, and a
/// trial's policy then refuses writes. This run is about the data path, so its policy says
/// "degrade".
fn allow_degraded(data: &Path) -> Result<()> {
    let path = data.join("havre.toml");
    let text = fs::read_to_string(&path).context("read havre.toml; was `havre up` run?")?;
    fs::write(path, degrading(&text)).context("write havre.toml")
}

/// The configuration with `on_outage = "degrade"` in every policy.
fn degrading(text: &str) -> String {
    let mut changed = String::new();
    for line in text.lines() {
        match line.split_once('=').map(|(name, _)| name.trim()) {
            Some("on_outage") => {}
            Some("m") => changed.extend([line, "\non_outage = \"degrade\"\n"]),
            _ => changed.extend([line, "\n"]),
        }
    }
    changed
}

fn stop_sites(data: &Path) -> Result<Vec<StoppedSite>> {
    // One in each of two jurisdictions: the harder case for reads, since both lose a shard.
    ["s2", "s5"].iter().map(|name| StoppedSite::stop(data, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_degrades() {
        let text = "[[policy]]\nk = 3\nm = 3\n[policy.guarantee]\n";
        let expected = "[[policy]]\nk = 3\nm = 3\non_outage = \"degrade\"\n[policy.guarantee]\n";
        assert_eq!(degrading(text), expected);
        assert_eq!(degrading(expected), expected);
    }

    #[test]
    fn a_scenarios_lines_are_counted() {
        let tally = count("ok one (0.1 s)\nnoise\nFAIL two: why\nskip three: cannot\nok four\n");
        assert_eq!((tally.passed, tally.failed), (2, 1));
        assert_eq!(tally.skipped, ["three: cannot"]);
    }
}
