//! The project's own tools. `cargo xtask help` lists them.
//!
//! **Invariant.** What CI runs is `cargo xtask test` and nothing else, so that a machine at hand
//! can run the same.
//!
//! **Deliberately absent.** A command-line library: this program is built before everything else,
//! and its few commands do not need one.
//!
//! **Crash.** All that is written lies under `target/` and may be deleted.

#![expect(
    clippy::disallowed_methods,
    reason = "a development tool: the real clock is what it measures"
)]

mod bench;
mod clients;
mod drill;
mod install;
mod layers;
mod process;
mod random;
mod report;
mod s3;
mod server;
mod sim;
mod stopped;
mod suite;
mod ten_sites;
mod tidy;

use anyhow::{Context, Result, bail};
use report::Report;
use server::Plan;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

const HELP: &str = "\
usage: cargo xtask COMMAND

  test [--fast]        install what the tests need, then run all of them; --fast leaves out
                       clients and drills
  install              only install what the tests need
  tidy [--bless]       the rules of the house; --bless renews the hashes in docs/formats
  layers               compare layers.toml with the packages' real dependencies
  clients [NAME..] [--stopped] [--against yardstick]
                       the client scenarios, with all sites or with two of them stopped
  drill kill [--rounds N] [--seed N] [--against yardstick]
                       kill -9 in the middle of a load, then look for what was acknowledged
  drill power [--seconds N] [--seed N] [--against yardstick]
                       the same with power cuts, on a disk of its own; the yardstick, which syncs
                       nothing, has to fail it
  drill recover [--objects N] [--seed N]
                       lose the catalog and rebuild it: from all sites, from three of them with
                       kills on the way, and by starting
  drill prohibit [--small N] [--large N] [--seed N]
                       prohibit a party under a load, killed twice: its sites end up empty, no
                       request fails, and no coalition ever holds k shards of a blob
  drill import [--seed N]
                       move a bucket from s3s-fs into the gateway, killed twice on the way
  drill faults [--clients A,B]
                       sites that hang, die, lie, forget and fill up under a running gateway, and
                       under clients (boto3, unless others are named)
  drill memory [--bytes N] [--against yardstick]
                       eight uploads, then eight downloads of N bytes at once; what the process
                       holds at most has a bound that does not depend on N
  sim [--seed N] [--rounds N | --seconds N] [--keep-going] [--trace] [--log]
                       the engine on seeded sites and a seeded clock; one round, or many; for a
                       night, --seconds 28800 --keep-going
  bench [--only WORD] [--seconds N] [--rounds N] [--policy K+M] [--nodelay]
                       measure the gateway beside s3s-fs; writes target/bench.json
  bench keeper [--small N] [--large N]
                       measure repair, scrub, a cut and a drain over local sites; writes
                       target/bench-keeper.json

clients, drill and bench build the gateway, or take another build: --gateway PATH
";

fn main() -> ExitCode {
    match dispatch(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: Vec<String>) -> Result<()> {
    let mut words = Words(words);
    match words.take().as_deref() {
        Some("test" | "ci") => {
            let options = suite::Options { fast: words.flag("--fast") };
            words.end()?;
            suite::test(&options)
        }
        Some("install") => {
            words.end()?;
            install::all().map(drop)
        }
        Some("tidy") => {
            let bless = words.flag("--bless");
            words.end()?;
            if bless {
                tidy::bless()?;
            }
            tidy::check()
        }
        Some("layers") => {
            words.end()?;
            layers::check()
        }
        Some("clients") => run_clients(words),
        Some("drill") => run_drill(words),
        Some("bench") => run_bench(words),
        Some("sim") => sim::play(words.0),
        None | Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("no command {other}\n{HELP}"),
    }
}

fn run_clients(mut words: Words) -> Result<()> {
    let mode = match words.flag("--stopped") {
        true => clients::Mode::TwoStopped,
        false => clients::Mode::Healthy,
    };
    let plan = planner(&mut words)?(&suite::scratch("clients")?)?;
    let only = words.rest()?;
    install::all()?;
    if mode == clients::Mode::TwoStopped {
        plan.start()?.stop()?;
    }
    let mut report = Report::default();
    clients::run_all(&mut report, &plan, &only, mode)?;
    print!("\n{}", report.table());
    if report.all_passed() { Ok(()) } else { bail!("not everything passed") }
}

fn run_drill(mut words: Words) -> Result<()> {
    let name = words
        .take()
        .context("which drill? kill, power, recover, prohibit, import, faults or memory")?;
    let seed = words.value("--seed")?;
    let mut report = Report::default();
    match name.as_str() {
        "kill" => {
            let options = drill::Options::kill(words.value("--rounds")?.unwrap_or(200), seed);
            let plan = planner(&mut words)?(&suite::scratch("drill-kill")?)?;
            words.end()?;
            report.step("drill: kill -9", || drill::kill(&plan, &options));
        }
        "power" => {
            let options = drill::Options::power(words.value("--seconds")?.unwrap_or(60), seed);
            let plan = planner(&mut words)?;
            words.end()?;
            report.step("drill: power cut", || drill::power(plan, &options));
        }
        "recover" => {
            let objects = words.value("--objects")?.unwrap_or(suite::RECOVER_OBJECTS);
            let plan = planner(&mut words)?(&suite::scratch("drill-recover")?)?;
            words.end()?;
            let options = drill::RecoverOptions { objects, seed };
            report.step("drill: recover", || drill::recover(&plan, &options));
        }
        "prohibit" => {
            let small = words.value("--small")?.unwrap_or(suite::PROHIBIT_OBJECTS.0);
            let large = words.value("--large")?.unwrap_or(suite::PROHIBIT_OBJECTS.1);
            let plan = planner(&mut words)?(&suite::scratch("drill-prohibit")?)?;
            words.end()?;
            let options = drill::ProhibitOptions { small, large, seed };
            report.step("drill: prohibit", || drill::prohibit(&plan, &options));
        }
        "import" => {
            let program = gateway(&mut words)?;
            words.end()?;
            let other = bench::build_yardstick()?;
            report.step("drill: import", || {
                let gateway = Plan::gateway(&program, &suite::scratch("drill-import")?)?;
                let other = Plan::yardstick(&other, &suite::scratch("drill-import-from")?, true)?;
                drill::import(&gateway, &other, seed)
            });
        }
        "faults" => {
            let program = gateway(&mut words)?;
            let clients = words.value::<String>("--clients")?;
            words.end()?;
            let clients = clients::named(clients.as_deref().unwrap_or(suite::FAULTS_CLIENT))?;
            if !clients.is_empty() {
                install::all().context("to go without clients, say --clients ''")?;
            }
            let yardstick = bench::build_yardstick()?;
            report.step("drill: faults", || drill::faults(&program, &yardstick, &clients));
        }
        "memory" => {
            let object_bytes = words.value("--bytes")?.unwrap_or(suite::MEMORY_OBJECT_BYTES);
            let plan = planner(&mut words)?(&suite::scratch("drill-memory")?)?;
            words.end()?;
            report.step("drill: memory", || drill::memory(&plan, object_bytes));
        }
        other => {
            bail!(
                "no drill {other}; there are kill, power, recover, prohibit, import, faults and \
                 memory"
            )
        }
    }
    print!("{}", report.table());
    if report.all_passed() { Ok(()) } else { bail!("the drill failed") }
}

fn run_bench(mut words: Words) -> Result<()> {
    if words.0.first().is_some_and(|word| word == "keeper") {
        words.take();
        let (small, large) = (words.value("--small")?, words.value("--large")?);
        let gateway = gateway(&mut words)?;
        words.end()?;
        return bench::keeper(&gateway, small.unwrap_or(10_000), large.unwrap_or(64));
    }
    let options = bench::Options {
        only: words.value("--only")?,
        seconds: words.value("--seconds")?.unwrap_or(2.0),
        rounds: words.value("--rounds")?.unwrap_or(3),
        policy: words.value("--policy")?,
        nodelay: words.flag("--nodelay"),
        yardstick_only: words.flag("--yardstick-only"),
        gateway: words.value("--gateway")?,
    };
    words.end()?;
    bench::run(&options)
}

/// The gateway's program: another build where `--gateway` names one, else what is here, built.
fn gateway(words: &mut Words) -> Result<PathBuf> {
    match words.value("--gateway")? {
        Some(path) => Ok(path),
        None => process::build("havre", "havre", &[]),
    }
}

/// How to start the server that `--against` names over a data directory.
fn planner(words: &mut Words) -> Result<impl FnOnce(&Path) -> Result<Plan> + use<>> {
    let yardstick = match words.value::<String>("--against")?.as_deref() {
        None | Some("havre") => false,
        Some("yardstick") => true,
        Some(other) => bail!("--against havre or yardstick, not {other}"),
    };
    let program = if yardstick { bench::build_yardstick()? } else { gateway(words)? };
    Ok(move |data: &Path| match yardstick {
        true => Plan::yardstick(&program, data, true),
        false => Plan::gateway(&program, data),
    })
}

/// The words of a command line, taken one after another.
struct Words(Vec<String>);

impl Words {
    /// The first word.
    fn take(&mut self) -> Option<String> {
        if self.0.is_empty() { None } else { Some(self.0.remove(0)) }
    }

    /// Takes a word that is there or not.
    fn flag(&mut self, name: &str) -> bool {
        let at = self.0.iter().position(|word| word == name);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// Takes a word and the value after it.
    fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(at) = self.0.iter().position(|word| word == name) else { return Ok(None) };
        self.0.remove(at);
        if at == self.0.len() {
            bail!("{name} needs a value");
        }
        let text = self.0.remove(at);
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => bail!("{name} {text} is no value for it"),
        }
    }

    /// All that is left, none of which may be an option.
    fn rest(self) -> Result<Vec<String>> {
        match self.0.iter().find(|word| word.starts_with('-')) {
            Some(unknown) => bail!("no option {unknown}\n{HELP}"),
            None => Ok(self.0),
        }
    }

    /// Nothing is left.
    fn end(self) -> Result<()> {
        match self.0.first() {
            Some(unknown) => bail!("{unknown} is not understood\n{HELP}"),
            None => Ok(()),
        }
    }
}
