//! `havre drill`: rehearsals on live data.
//!
//! **Invariant.** A drill changes nothing that outlasts it, and what came of it is written down,
//! signed.
//!
//! **Deliberately absent.** The drills themselves: the running gateway cuts off
//! (`havre::control`), and `havre::seize` tries to read.
//!
//! **Crash.** The gateway notices that this command is gone and asks the sites again.

use crate::ConfigFile;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use havre::compose::{self, Bar};
use havre::config::Config;
use havre::control::{
    self, Cut, CutDone, CutProgress, CutReport, Fared, Measured, Order, PolicyUnderCut,
    WritesUnderCut,
};
use havre::rehearse::{self, RecoverReport};
use havre::seize::{self, Kind, SeizeReport};
use havre::statement::{default_file, write_new};
use havre_seal::Keyring;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Gather all that the sites of some parties hold, and really try to read it. Only reads; works
    /// beside a running gateway and without one. Fails when it goes otherwise than the guarantee
    /// promises.
    Seize {
        #[command(flatten)]
        config: ConfigFile,
        /// The parties, by comma: kind:name, or a name.
        #[arg(long, value_delimiter = ',', required = true)]
        coalition: Vec<String>,
        /// Try the root key, too, on whatever can be put together.
        #[arg(long)]
        with_root_key: bool,
        /// Write the signed record here, where nothing may be yet, instead of into a dated file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Rebuild the catalog from the sites and the root key alone, beside the live one, and compare
    /// the two. Changes neither the sites nor the catalog; works beside a running gateway. Fails
    /// when they differ in more than what was written meanwhile.
    Recover {
        #[command(flatten)]
        config: ConfigFile,
        /// A directory for scratch, twice as large as the catalog, that is not there yet; it is
        /// removed at the end. Without it, one beside the catalog.
        #[arg(long)]
        dir: Option<PathBuf>,
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
    match command {
        DrillCommand::Cut { config, party, seconds, before, beyond_guarantee, out } => {
            let cut = Cut { party, seconds, before_seconds: before, beyond_guarantee };
            cut_off(&config.load()?, cut, out).await
        }
        DrillCommand::Recover { config, dir, out } => rehearse(&config.load()?, dir, out).await,
        DrillCommand::Seize { config, coalition, with_root_key, out } => {
            seize_all(&config.load()?, &coalition, with_root_key, out).await
        }
    }
}

fn check_new(out: Option<&Path>) -> Result<()> {
    match out.filter(|out| compose::is_there(out)) {
        Some(out) => bail!("{} exists already", out.display()),
        None => Ok(()),
    }
}

async fn cut_off(config: &Config, cut: Cut, out: Option<PathBuf>) -> Result<()> {
    check_new(out.as_deref())?;
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

async fn seize_all(
    config: &Config,
    coalition: &[String],
    with_root_key: bool,
    out: Option<PathBuf>,
) -> Result<()> {
    check_new(out.as_deref())?;
    let ports = havre_sites::system::ports();
    let root = || compose::root_key(&config.gateway.root_key).context("the record is signed");
    let signer = compose::signer(config, &root()?);
    let keyring = match with_root_key {
        true => Some(Keyring::new(root()?, Arc::clone(&ports.entropy))),
        false => None,
    };
    let fleet = compose::fleet(config, &ports)?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} blobs, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    let mut told = ports.clock.elapsed();
    let hear = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        let now = ports.clock.elapsed();
        if bar.is_hidden() && now.saturating_sub(told).as_secs() >= PROGRESS_SECONDS {
            told = now;
            tracing::info!(done, total, seconds_left = bar.eta().as_secs(), "seizing");
        }
    };
    let report = seize::drill(config, coalition, &fleet, keyring.as_ref(), &*ports.clock, hear);
    let report = report.await?;
    bar.finish_and_clear();
    let now = ports.clock.now();
    let file = out.unwrap_or_else(|| default_file("drill-seize", now));
    write_new(&file, &signer.sign("drill-seize", now, &report)?)?;
    let text = seized_text(&report)?;
    crate::say(&format!("{text}\nsigned record: {} (havre statement verify)\n", file.display()))?;
    match report.held {
        Some(false) => {
            bail!("the guarantee was broken: these parties hold enough shards of a blob")
        }
        _ => Ok(()),
    }
}

async fn rehearse(config: &Config, dir: Option<PathBuf>, out: Option<PathBuf>) -> Result<()> {
    check_new(out.as_deref())?;
    let root = || compose::root_key(&config.gateway.root_key);
    let signer = compose::signer(config, &root()?);
    let dir = dir.unwrap_or_else(|| config.gateway.catalog.with_extension("drill"));
    let bar = Bar::new();
    let report = rehearse::rehearse(config, root()?, &dir, &bar).await?;
    bar.finish();
    let now = havre_sites::system::ports().clock.now();
    let file = out.unwrap_or_else(|| default_file("drill-recover", now));
    write_new(&file, &signer.sign("drill-recover", now, &report)?)?;
    let text = recovered_text(&report)?;
    crate::say(&format!("{text}\nsigned record: {} (havre statement verify)\n", file.display()))?;
    match report.same {
        true => Ok(()),
        false => bail!("what was recovered is not what the live catalog has"),
    }
}

fn recovered_text(report: &RecoverReport) -> Result<String> {
    let RecoverReport { packs, records, recovery_seconds, gaps, .. } = report;
    let mut text = format!(
        "recovered {packs} packs with {records} records in {recovery_seconds:.1} s; {gaps} gaps, \
         {} records that no key opens\n",
        report.unreadable_records
    );
    if !report.unreachable.is_empty() {
        writeln!(text, "sites {} did not answer", report.unreachable.join(", "))?;
    }
    writeln!(
        text,
        "\n{:<12} {:>10} {:>10} {:>10} {:>10} {:>10}  digest",
        "", "live", "recovered", "same", "newer", "DIFFER"
    )?;
    for (name, it) in &report.compared {
        let digests = it.digest_live == it.digest_recovered;
        writeln!(
            text,
            "{name:<12} {:>10} {:>10} {:>10} {:>10} {:>10}  {}",
            it.live,
            it.recovered,
            it.same,
            it.newer,
            it.differ,
            if digests { &it.digest_live[..16] } else { "DIFFERS" }
        )?;
    }
    Ok(text)
}

fn seized_text(report: &SeizeReport) -> Result<String> {
    let SeizeReport { coalition, sites, promised, held, seized, learnt, .. } = report;
    let mut text = format!("{} hold {}\n", coalition.join(" + "), sites.join(", "));
    for (policy, covered) in promised {
        let covered = covered.as_deref().unwrap_or("NOTHING is promised of them");
        writeln!(text, "policy {policy}: {covered}")?;
    }
    for (name, kind) in [("packs", &seized.packs), ("extents", &seized.extents)] {
        let Kind { blobs, by_shards_held, by_shares_needed, enough_shards, opened, .. } = kind;
        let counts = |counts: &BTreeMap<usize, u64>| {
            let counts = counts.iter().map(|(count, blobs)| format!("{count} ({blobs} blobs)"));
            counts.collect::<Vec<_>>().join(", ")
        };
        writeln!(
            text,
            "\n{blobs} {name}; shards held: {}; shares needed: {}\n  enough shards of \
             {enough_shards}, OPENED THE SECOND LOCK OF {opened}; {} shards were listed \
             and not given",
            counts(by_shards_held),
            counts(by_shares_needed),
            kind.unread_shards
        )?;
    }
    if let Some(opened) = &seized.with_root_key {
        writeln!(
            text,
            "\nwith the root key: {} records OPENED ({} not), {} objects with {} bytes in their \
             records, the first segment of {} extents of {}",
            opened.records,
            opened.records_closed,
            opened.objects,
            opened.inline_bytes,
            opened.extents,
            opened.extents_tried
        )?;
    }
    if !seized.unlisted.is_empty() {
        writeln!(text, "\nNOT COUNTED is what {} hold", seized.unlisted.join(", "))?;
    }
    writeln!(text, "\nwhat they learn all the same:\n  {}", learnt.join("\n  "))?;
    let verdict = match held {
        Some(true) => "as promised: they hold too few shards of every blob",
        Some(false) => "BROKEN: they hold enough shards of a blob, and were not to",
        None => "nothing was promised of these parties",
    };
    writeln!(text, "\n{verdict}")?;
    Ok(text)
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
