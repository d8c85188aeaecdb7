//! Plays seeds of the simulation and tells what broke.
//!
//! **Invariant.** A failure is one command with its seed.
//!
//! **Deliberately absent.** Scenarios: the library's.
//!
//! **Crash.** Nothing is kept.

use clap::Parser;
use havre_sim::scenario::{Options, Report, STEPS, Sabotage, run};
use havre_sites::system;
use std::process::ExitCode;
use std::time::Duration;

/// Broken rules of a round that are told.
const VIOLATIONS_TOLD_MAX: usize = 5;

/// Plays the deterministic simulation: each round a gateway, its sites and its clients from one
/// seed, the first from the one given, each further one from the next.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many rounds.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Rounds for so long instead.
    #[arg(long, conflicts_with = "rounds")]
    seconds: Option<u64>,
    /// Rounds until so many events were played instead.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    total_steps: Option<u64>,
    /// Events of a round.
    #[arg(long, default_value_t = STEPS)]
    steps: u64,
    /// Exclusions, cuts, changed facts and policies, repairs, moves, scrubs and re-dispersal, too.
    #[arg(long)]
    measures: bool,
    /// Go on after a round that failed.
    #[arg(long)]
    keep_going: bool,
    /// Print every event.
    #[arg(long)]
    trace: bool,
    /// Print the gateway's own log, too.
    #[arg(long)]
    log: bool,
}

/// What all rounds did.
#[derive(Default)]
struct Total {
    rounds: u64,
    failed: u64,
    steps: u64,
    checks: u64,
    passes: u64,
    exclusions: u64,
    facts: u64,
    changes: u64,
    cuts: u64,
    operations: usize,
    packs: usize,
    kills: u64,
    recoveries: u64,
    collections: u64,
    time: Duration,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.rounds += 1;
        self.failed += u64::from(!report.violations.is_empty());
        self.steps += report.steps;
        self.checks += report.checks;
        self.passes += report.passes;
        self.exclusions += report.exclusions;
        self.facts += report.facts;
        self.changes += report.changes;
        self.cuts += report.cuts;
        self.operations += report.operations;
        self.packs += report.packs;
        self.kills += report.kills;
        self.recoveries += report.recoveries;
        self.collections += report.collections;
        self.time += report.time;
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.log {
        tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().init();
    }
    let clock = system::ports().clock;
    let begun = clock.elapsed();
    let is_over = |total: &Total| match (arguments.seconds, arguments.total_steps) {
        (Some(seconds), _) => clock.elapsed().saturating_sub(begun) >= Duration::from_secs(seconds),
        (None, Some(steps)) => total.steps >= steps,
        (None, None) => total.rounds >= arguments.rounds,
    };
    let mut total = Total::default();
    while !is_over(&total) && (total.failed == 0 || arguments.keep_going) {
        let seed = arguments.seed.wrapping_add(total.rounds);
        let (steps, prints) = (arguments.steps, arguments.trace);
        let (measures, sabotage) = (arguments.measures, Sabotage::Nothing);
        let report = run(Options { seed, steps, prints, measures, sabotage });
        total.add(&report);
        if !report.violations.is_empty() {
            tell(seed, &arguments, &report);
        }
        if arguments.trace {
            println!("seed {seed}: {} events, hash {:016x}", report.lines, report.hash);
        }
    }
    println!(
        "{} steps, {} checks of a blob against its guarantee, {} passes of the keeper, {} \
         exclusions and admissions, {} cuts, {} changes of facts, {} of policies",
        total.steps,
        total.checks,
        total.passes,
        total.exclusions,
        total.cuts,
        total.facts,
        total.changes
    );
    println!(
        "{} operations of clients, {} packs, {} kills, {} lost catalogs, {} garbage collections in \
         {:.0} simulated hours",
        total.operations,
        total.packs,
        total.kills,
        total.recoveries,
        total.collections,
        total.time.as_secs_f64() / 3600.0
    );
    println!("{} rounds from seed {}, {} failed", total.rounds, arguments.seed, total.failed);
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(seed: u64, arguments: &Arguments, report: &Report) {
    println!("the end of the trace of seed {seed}:");
    for line in &report.tail {
        println!("{line}");
    }
    for violation in report.violations.iter().take(VIOLATIONS_TOLD_MAX) {
        println!("seed {seed}: {violation}");
    }
    let command = havre_sim::command(seed, arguments.steps, arguments.measures);
    println!("to see it again: {command}");
}
