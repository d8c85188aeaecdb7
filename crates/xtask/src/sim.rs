//! `cargo xtask sim`: plays the deterministic simulation, `crates/sim`.
//!
//! **Invariant.** The seed is printed before the first round, and a failure says the one command
//! that shows it again.
//!
//! **Deliberately absent.** The simulation itself: a program of its own, so that a build of xtask
//! stays small.
//!
//! **Crash.** `sim-measures.log` and `sim-calm.log` in `target/logs` keep what the suite printed.

use crate::process::{attempt, build, tail, target};
use crate::random::fresh_seed;
use crate::report::Tally;
use anyhow::{Context, Result, bail};
use std::process::Command;
use std::time::Duration;

/// The longest that the simulation of the suite may take: six times what it takes on one core.
const DEADLINE: Duration = Duration::from_secs(900);

/// Plays what the words say; from a fresh seed unless they name one.
pub(crate) fn play(mut words: Vec<String>) -> Result<()> {
    if !words.iter().any(|word| word == "--seed") {
        words.extend(["--seed".to_owned(), fresh_seed().to_string()]);
    }
    let program = build("havre-sim", "havre-sim", &[])?;
    println!("havre-sim {}", words.join(" "));
    let status = Command::new(program).args(&words).status().context("start the simulation")?;
    if status.success() { Ok(()) } else { bail!("the simulation failed") }
}

/// The first seed of the suite: the same each time, so that a commit passes or does not. Fresh ones
/// are for the nights.
const SEED: u64 = 1;

/// Plays so many events, with measures or without, with the program that `cargo test` has just
/// built beside its integration tests: alone it would be built with other features, and all below
/// it once more.
pub(crate) fn run(steps: u64, measures: bool) -> Result<Tally> {
    let built = target().join("release/havre-sim");
    let program = if built.exists() { built } else { build("havre-sim", "havre-sim", &[])? };
    let mut command = Command::new(program);
    command.args(["--seed", &SEED.to_string(), "--total-steps", &steps.to_string()]);
    if measures {
        command.arg("--measures");
    }
    let log = if measures { "sim-measures" } else { "sim-calm" };
    let (ok, text) = attempt(&mut command, log, DEADLINE)?;
    let tally = count(&text);
    let is_told = |line: &&str| {
        line.starts_with("seed ") || line.starts_with("to see") || line.contains(" steps, ")
    };
    for line in text.lines().filter(is_told) {
        println!("   {line}");
    }
    match (ok, tally) {
        (true, Some(tally)) => Ok(tally),
        (false, Some(tally)) if tally.failed > 0 => Ok(tally),
        _ => bail!("the end of target/logs/{log}.log:\n{}", tail(&text)),
    }
}

/// The closing line: `N rounds from seed S, F failed`.
fn count(text: &str) -> Option<Tally> {
    let (rounds, rest) = text.lines().last()?.split_once(" rounds from seed ")?;
    let (_, failed) = rest.strip_suffix(" failed")?.split_once(", ")?;
    let (rounds, failed): (u64, u64) = (rounds.parse().ok()?, failed.parse().ok()?);
    Some(Tally { passed: rounds.checked_sub(failed)?, failed, ..Tally::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_is_counted_and_its_absence_is_a_failure() {
        let text = "noise\n12 rounds from seed 99, 1 failed\n";
        assert_eq!(count(text), Some(Tally { passed: 11, failed: 1, skipped: Vec::new() }));
        assert_eq!(count("seed 5: a panic\n"), None);
        assert_eq!(count(""), None);
    }
}
