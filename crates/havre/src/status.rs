//! `havre status`: how the running gateway and its sites do.
//!
//! **Invariant.** Asks the gateway that runs, and says so when none does.
//!
//! **Deliberately absent.** Anything that changes.
//!
//! **Crash.** Nothing is kept.

use anyhow::{Context, Result};
use havre::apart::KeeperStatus;
use havre::config::Config;
use havre::control::{self, CompactionStatus, Order, ScrubStatus, Status};
use std::fmt::Write as _;

/// Prints how the gateway does.
pub(crate) async fn status(config: &Config, json: bool) -> Result<()> {
    let answer = control::send(&config.gateway.catalog, &Order::Status {}, drop).await?;
    if json {
        return crate::say(&format!("{}\n", serde_json::to_string_pretty(&answer)?));
    }
    let status: Status = serde_json::from_value(answer).context("read the gateway's answer")?;
    crate::say(&table(&status)?)
}

fn scrub_line(scrub: &ScrubStatus) -> String {
    let ScrubStatus { examined, blobs, good, bad, unanswered, .. } = scrub;
    let shards = format!("{good} shards good, {bad} bad or missing, {unanswered} not answered for");
    let megabytes = scrub.bytes_read / 1_000_000;
    match (&scrub.ended, scrub.seconds_left) {
        (Some(ended), _) => {
            format!("scrub: ended {ended}: {examined} blobs, {shards}; {megabytes} MB read")
        }
        (None, left) => {
            let left = left.map_or_else(String::new, |left| format!(", about {left} s left"));
            format!("scrub: {examined} of {blobs} blobs{left}: {shards}; {megabytes} MB read")
        }
    }
}

fn compaction_line(compaction: &CompactionStatus) -> String {
    let CompactionStatus { began, packs, wanted, done, waiting, .. } = compaction;
    let dead = compaction.dead_bytes / 1000;
    let why = match compaction.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!(
        "compaction: last pass {began}: {packs} packs with {dead} kB dead, {done} of {wanted} \
         written anew, {waiting} wait{why}; {} packs retired so far",
        compaction.packs_retired
    )
}

fn keeper_line(keeper: &KeeperStatus) -> String {
    match (keeper.is_present, keeper.process, keeper.heard_seconds_ago) {
        (true, Some(process), _) => format!("keeper: process {process}"),
        (true, None, _) => "keeper: present".to_owned(),
        (false, Some(process), Some(ago)) => {
            format!("keeper: NOT HEARD OF for {ago} s: process {process} does not answer")
        }
        (false, _, Some(ago)) => format!("keeper: NONE for {ago} s; start `havre keeper`"),
        (false, _, None) => "keeper: NONE since the start; start `havre keeper`".to_owned(),
    }
}

fn table(status: &Status) -> Result<String> {
    let mut text = String::new();
    let writes = if status.takes_writes { "takes writes" } else { "READS ONLY" };
    writeln!(text, "havre {} runs for {} s, {writes}", status.release, status.up_seconds)?;
    writeln!(
        text,
        "{} objects, {} bytes; {} blobs miss a shard, {} of them below their guarantee\n",
        status.objects, status.object_bytes, status.incomplete_blobs, status.below_guarantee_blobs
    )?;
    if let Some(scrub) = &status.scrub {
        writeln!(text, "{}\n", scrub_line(scrub))?;
    }
    if let Some(compaction) = &status.compaction {
        writeln!(text, "{}\n", compaction_line(compaction))?;
    }
    if let Some(keeper) = &status.keeper {
        writeln!(text, "{}\n", keeper_line(keeper))?;
    }
    writeln!(
        text,
        "{:<16} {:<8} {:>10} {:>9} {:>12}",
        "site", "health", "requests", "failed", "read p95 ms"
    )?;
    for site in &status.sites {
        writeln!(
            text,
            "{:<16} {:<8} {:>10} {:>9} {:>12}",
            site.name, site.health, site.requests, site.failures, site.read_p95_ms
        )?;
        if let Some(reason) = &site.barred {
            let left = site.barred_seconds_left.map(|left| format!(", for {left} s more"));
            writeln!(text, "{:<16} barred: {reason}{}", "", left.unwrap_or_default())?;
        }
    }
    Ok(text)
}
