//! `cargo xtask test`: everything that has to hold before a change lands, one step after another.
//!
//! **Invariant.** Every step runs, whatever failed before it, except where it would need what is
//! not there; the closing line counts all of them.
//!
//! **Deliberately absent.** Parallel steps, but for three that leave a core alone: what is
//! downloaded, the slowest client, and the second simulation. Two cores are the smallest machine,
//! and timings in a log are worth more than minutes.
//!
//! **Crash.** `target/` keeps what was built and installed; the next run goes on from there.

use crate::bench::tested_yardstick;
use crate::clients::{self, Mode};
use crate::drill;
use crate::install;
use crate::layers;
use crate::process::{attempt, cargo, run, tail, target};
use crate::report::{Report, Tally};
use crate::server::Plan;
use crate::sim;
use crate::tidy;
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that a run of cargo may take: on two slow cores a build of everything takes 25
/// minutes.
const CARGO_DEADLINE: Duration = Duration::from_secs(2700);
/// Events that the simulation plays with prohibitions, cuts, changed facts and the keeper's work,
/// and those that it plays with kills, lost catalogs, compaction and garbage collection alone.
const SIM_STEPS: (u64, u64) = (100_000, 50_000);
/// Rounds of the kill drill.
const KILL_ROUNDS: u64 = 200;
/// How long the power-cut drill goes on.
const POWER_SECONDS: u64 = 60;

/// Small objects whose catalog is lost.
pub(crate) const RECOVER_OBJECTS: u64 = 20_000;

/// Small and large objects that move when a party is prohibited.
pub(crate) const PROHIBIT_OBJECTS: (u64, u64) = (4_000, 20);

/// The client that works while sites fail one by one.
pub(crate) const FAULTS_CLIENT: &str = "boto3";

/// Bytes of each of the objects that the memory drill moves at once.
pub(crate) const MEMORY_OBJECT_BYTES: u64 = 256 * 1024 * 1024;

/// What `cargo xtask test` was asked to leave out.
#[derive(Default)]
pub(crate) struct Options {
    /// Only what needs no client and no drill.
    pub(crate) fast: bool,
}

/// Runs everything. An error only when something failed.
pub(crate) fn test(options: &Options) -> Result<()> {
    let mut report = Report::default();
    let installed = !options.fast && report.beside("install", install::all, looks);
    if options.fast {
        looks(&mut report);
    }
    report.step("cargo test", cargo_test);
    // Each takes one core.
    report.beside(
        "simulation, calm",
        || sim::run(SIM_STEPS.1, false),
        |report| {
            report.step("simulation with measures", || sim::run(SIM_STEPS.0, true));
        },
    );
    if !options.fast
        && let Some(gateway) = tested_gateway(&mut report)
    {
        if installed {
            with_clients(&mut report, &gateway);
        }
        report.step("drill: kill -9", || {
            let plan = Plan::gateway(&gateway, &scratch("drill-kill")?)?;
            drill::kill(&plan, &drill::Options::kill(KILL_ROUNDS, None))
        });
        report.step("drill: recover", || {
            let plan = Plan::gateway(&gateway, &scratch("drill-recover")?)?;
            let options = drill::RecoverOptions { objects: RECOVER_OBJECTS, seed: None };
            drill::recover(&plan, &options)
        });
        report.step("drill: prohibit", || {
            let plan = Plan::gateway(&gateway, &scratch("drill-prohibit")?)?;
            let (small, large) = PROHIBIT_OBJECTS;
            drill::prohibit(&plan, &drill::ProhibitOptions { small, large, seed: None })
        });
        report.step("drill: faults", || {
            let clients = if installed { vec![FAULTS_CLIENT.to_owned()] } else { Vec::new() };
            drill::faults(&gateway, &tested_yardstick()?, &clients)
        });
        report.step("drill: import", || {
            let other = tested_yardstick()?;
            let plan = Plan::gateway(&gateway, &scratch("drill-import")?)?;
            let other = Plan::yardstick(&other, &scratch("drill-import-from")?, true)?;
            drill::import(&plan, &other, None)
        });
        report.step("drill: memory", || {
            let plan = Plan::gateway(&gateway, &scratch("drill-memory")?)?;
            drill::memory(&plan, MEMORY_OBJECT_BYTES)
        });
        report.step("drill: power cut", || {
            let plan = |data: &Path| Plan::gateway(&gateway, data);
            drill::power(plan, &drill::Options::power(POWER_SECONDS, None))
        });
    }
    print!("\n{}", report.table());
    if report.all_passed() { Ok(()) } else { bail!("not everything passed") }
}

/// What looks at the sources only.
fn looks(report: &mut Report) {
    report.step("fmt", || {
        let mut fmt = cargo(&["fmt", "--all", "--", "--check"]);
        run(&mut fmt, "fmt", CARGO_DEADLINE).map(|_| Tally::one())
    });
    report.step("tidy", || tidy::check().map(|()| Tally::one()));
    report.step("layers", || layers::check().map(|()| Tally::one()));
    report.step("clippy", || {
        let mut clippy = cargo(&["clippy", "--release", "--quiet", "--ignore-rust-version"]);
        clippy.args(["--workspace", "--all-targets", "--", "-D", "warnings"]);
        run(&mut clippy, "clippy", CARGO_DEADLINE).map(|_| Tally::one())
    });
}

fn gateway() -> PathBuf {
    target().join("release").join("havre")
}

/// The gateway that `cargo test` has just built for its own tests. Alone it would be built with
/// fewer features of what lies below (those that only tests use), and all above them once more: ten
/// minutes on two cores.
fn tested_gateway(report: &mut Report) -> Option<PathBuf> {
    let gateway = gateway();
    if gateway.exists() {
        return Some(gateway);
    }
    report.step("the gateway", || bail!("cargo test has not built {}", gateway.display()));
    None
}

fn with_clients(report: &mut Report, gateway: &Path) {
    for mode in [Mode::Healthy, Mode::TwoStopped] {
        let outcome = scratch("clients").and_then(|data| {
            let plan = Plan::gateway(gateway, &data)?;
            if mode == Mode::TwoStopped {
                // The first start makes the sites; the run itself starts on what is there.
                plan.start()?.stop()?;
            }
            clients::run_all(report, &plan, &[], mode)
        });
        if let Err(error) = outcome {
            report.step("the gateway under the clients", || Err(error));
        }
    }
    let _ = fs::remove_dir_all(target().join("data"));
}

/// A new empty folder for a server's data.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let folder = target().join("data").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.parent().expect("it was joined to a parent"))?;
    Ok(folder)
}

fn cargo_test() -> Result<Tally> {
    // What is drilled afterwards is what this builds: cargo puts it there anew, built or not.
    let _ = fs::remove_file(gateway());
    let mut test = cargo(&["test", "--release", "--ignore-rust-version", "--workspace"]);
    test.arg("--no-fail-fast");
    let (ok, text) = attempt(&mut test, "cargo-test", CARGO_DEADLINE)?;
    let tally = count(&text);
    for line in text.lines().filter(|line| line.ends_with("... FAILED")) {
        println!("   {line}");
    }
    if !ok && tally.failed == 0 {
        bail!("the end of target/logs/cargo-test.log:\n{}", tail(&text));
    }
    Ok(tally)
}

/// Adds up the `test result:` lines. A test that was filtered or ignored counts as nothing.
fn count(text: &str) -> Tally {
    let mut tally = Tally::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        for part in line.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => tally.passed += number,
                "failed" => tally.failed += number,
                _ => {}
            }
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_lines_of_all_test_programs_are_added_up() {
        let text = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out\n\
                    noise\n\
                    test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; \
                    0 filtered out\n";
        assert_eq!(count(text), Tally { passed: 15, failed: 2, skipped: Vec::new() });
    }
}
