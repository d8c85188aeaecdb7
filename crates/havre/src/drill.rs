//! `havre drill`: rehearsals on live data.
//!
//! **Invariant.** A drill changes nothing that outlasts it, and what came of it is written down,
//! signed.
//!
//! **Deliberately absent.** The drills themselves: the running gateway cuts off
//! (`havre::control`).
//!
//! **Crash.** The gateway notices that this command is gone and asks the sites again.

use crate::ConfigFile;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use havre::control::{
    self, Cut, CutDone, CutProgress, CutReport, Fared, Measured, Order, PolicyUnderCut,
    WritesUnderCut,
};
use havre::statement::{default_file, write_new};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

/// Between two lines of progress where standard error is no terminal.
const PROGRESS_SECONDS: u64 = 10;

#[derive(Subcommand)]
pub(crate) enum DrillCommand {
    /// Cut a party off for a while: every site that answers to it is asked nothing, under whatever
    /// load there is. Stop with Ctrl-C: the sites are asked again at once.
    Cut {
        #[command(flatten)]
        config: ConfigFile,
        /// The party: kind:name, or a name.
        #[arg(long)]
        party: String,
        /// For how long: 30s, 10m, 2h.
        #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = seconds)]
        seconds: u64,
        /// How long to measure before.
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
        before: u64,
        /// Also when the guarantee does not cover it: then data may be out of reach meanwhile.
        #[arg(long)]
        beyond_guarantee: bool,
        /// Write the signed record here, where nothing may be yet, instead of into a dated file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// A time as `30s`, `10m`, `2h` or seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.chars().next_back()),
        None => (text, None),
    };
    let unit = match unit {
        Some('m') => 60,
        Some('h') => 3600,
        _ => 1,
    };
    let number: Option<u64> = number.parse().ok();
    number.and_then(|it| it.checked_mul(unit)).ok_or_else(|| "write it as 30s, 10m or 2h".into())
}

/// Does what is asked.
pub(crate) async fn drill(command: DrillCommand) -> Result<()> {
    let DrillCommand::Cut { config, party, seconds, before, beyond_guarantee, out } = command;
    let config = config.load()?;
    if let Some(out) = out.as_ref().filter(|out| havre::compose::is_there(out)) {
        bail!("{} exists already", out.display());
    }
    let cut = Cut { party, seconds, before_seconds: before, beyond_guarantee };
    let order = Order::DrillCut { cut };
    let answer = control::send(&config.gateway.catalog, &order, hear).await?;
    let done: CutDone = serde_json::from_value(answer).context("read the gateway's answer")?;
    let now = havre_sites::system::ports().clock.now();
    let file = out.unwrap_or_else(|| default_file("drill-cut", now));
    write_new(&file, &done.statement)?;
    crate::say(&format!(
        "{}\nsigned record: {} (havre statement verify)\n",
        report_text(&done.report)?,
        file.display()
    ))
}

/// Shows a line of progress on standard error.
fn hear(line: Value) {
    let mut to = std::io::stderr().lock();
    let written = match serde_json::from_value::<CutProgress>(line.clone()) {
        Ok(progress) if std::io::stderr().is_terminal() => {
            write!(to, "\r{}\x1b[K", progress_text(&progress)).and_then(|()| to.flush())
        }
        Ok(progress) if progress.measured.seconds.is_multiple_of(PROGRESS_SECONDS) => {
            writeln!(to, "{}", progress_text(&progress))
        }
        Ok(_) => Ok(()),
        Err(_) => serde_json::from_value::<Vec<PolicyUnderCut>>(line)
            .map_or(Ok(()), |policies| to.write_all(policies_text(&policies).as_bytes())),
    };
    // Nobody looks: the drill goes on.
    drop(written);
}

fn progress_text(progress: &CutProgress) -> String {
    let CutProgress { phase, seconds_left, measured } = progress;
    let Measured { seconds, reads, writes } = measured;
    format!(
        "{phase} {seconds} s, {seconds_left} s left: reads {} served, {} failed; writes {} served, \
         {} failed",
        reads.served, reads.failed, writes.served, writes.failed
    )
}

fn policies_text(policies: &[PolicyUnderCut]) -> String {
    let mut text = String::new();
    for PolicyUnderCut { policy, sites, covered_by, writes } in policies {
        let covered = match covered_by {
            Some(coalition) => format!("covered: {coalition}"),
            None => "NOT COVERED by the guarantee".to_owned(),
        };
        let writes = match writes {
            WritesUnderCut::GoOn => "writes go on",
            WritesUnderCut::AreRefused => "WRITES ARE REFUSED (503) meanwhile",
            WritesUnderCut::AreMarked => "writes are acknowledged below the guarantee, and marked",
        };
        let sites = if sites.is_empty() { "no site".to_owned() } else { sites.join(", ") };
        text.push_str(&format!("policy {policy}: {sites} cut off; {covered}; {writes}\n"));
    }
    text
}

fn report_text(report: &CutReport) -> Result<String> {
    let mut text = format!(
        "{} was cut off from {} to {}: sites {}\n{}\n{:<16} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
        report.party,
        report.began,
        report.ended,
        report.sites.join(", "),
        policies_text(&report.policies),
        "",
        "served",
        "refused",
        "failed",
        "p50 ms",
        "p99 ms"
    );
    for (name, fared) in [
        ("reads before", &report.before.reads),
        ("reads during", &report.during.reads),
        ("writes before", &report.before.writes),
        ("writes during", &report.during.writes),
    ] {
        let Fared { served, refused, failed, p50_ms, p99_ms, .. } = fared;
        let millis = |it: &Option<f64>| it.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
        writeln!(
            text,
            "{name:<16} {served:>10} {refused:>10} {failed:>10} {:>10} {:>10}",
            millis(p50_ms),
            millis(p99_ms)
        )?;
    }
    let during = &report.during;
    if during.reads == Fared::default() && during.writes == Fared::default() {
        writeln!(text, "no client asked for anything meanwhile: nothing was measured")?;
    }
    writeln!(
        text,
        "blobs below their guarantee: {} before, {} at most meanwhile; {} blobs to repair now",
        report.below_guarantee_before, report.below_guarantee_most, report.incomplete_after
    )?;
    Ok(text)
}
