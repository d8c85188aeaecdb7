//! `havre prohibit`, `admit`, `site drain` and `drains`: closes sites while they are in use, and
//! says how far they have drained.
//!
//! **Invariant.** What is estimated is said before anything is done; what was done is said after
//! the gateway has confirmed it.
//!
//! **Deliberately absent.** Doing it: the running gateway.
//!
//! **Crash.** The gateway goes on; `havre drains --follow` watches again.

use anyhow::{Context, Result, bail};
use havre::config::Config;
use havre::control::{self, Drains, Order, Plan, Subject};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Between two looks at how far it got.
const FOLLOW_PAUSE: Duration = Duration::from_secs(2);
const GB: f64 = 1e9;

async fn ask<T: serde::de::DeserializeOwned>(config: &Config, order: &Order) -> Result<T> {
    let answer = control::send(&config.gateway.catalog, order, drop).await?;
    serde_json::from_value(answer).context("read the gateway's answer")
}

/// Prints what an exclusion would take. `prices` are per GB (10^9 bytes) that leaves a site, by the
/// site's name or, as `*`, for all others.
pub(crate) async fn plan(
    config: &Config,
    subject: Subject,
    prices: &BTreeMap<String, f64>,
    json: bool,
) -> Result<()> {
    let plan: Plan = ask(config, &Order::PlanExclusion { subject }).await?;
    if json {
        return crate::say(&format!("{}\n", serde_json::to_string_pretty(&plan)?));
    }
    crate::say(&plan_text(&plan, prices)?)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate in GB")]
fn plan_text(plan: &Plan, prices: &BTreeMap<String, f64>) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "without {}: {} would close", plan.subject, plan.sites.join(", "))?;
    for policy in &plan.refused_by {
        writeln!(text, "REFUSED: policy {policy} would have nowhere to write; add sites first")?;
    }
    writeln!(
        text,
        "{} of {} blobs would move, {} shards, in {} s at least (limits.repair_bytes_per_second)",
        plan.blobs_to_move, plan.blobs, plan.shards, plan.seconds
    )?;
    if plan.stuck > 0 {
        writeln!(text, "{} blobs could not be moved: {}", plan.stuck, plan.reason)?;
    }
    writeln!(text, "\n{:<20} {:>14} {:>14} {:>12}", "site", "GB read", "GB stored", "egress")?;
    let mut sum = 0.0;
    for site in &plan.traffic {
        let price = prices.get(&site.site).or_else(|| prices.get("*"));
        let cost = price.map(|price| site.bytes_read as f64 / GB * price);
        sum += cost.unwrap_or_default();
        let cost = cost.map_or_else(|| "?".to_owned(), |cost| format!("{cost:.2}"));
        let (read, stored) = (site.bytes_read as f64 / GB, site.bytes_stored as f64 / GB);
        writeln!(text, "{:<20} {read:>14.3} {stored:>14.3} {cost:>12}", site.site)?;
    }
    if prices.is_empty() {
        writeln!(text, "\ngive prices for a cost: --egress-price SITE=PRICE_PER_GB, or *=PRICE")?;
    } else {
        writeln!(text, "\negress in all: {sum:.2}")?;
    }
    Ok(text)
}

/// Excludes somebody.
pub(crate) async fn exclude(
    config: &Config,
    subject: Subject,
    reason: String,
    deadline_ms: Option<u64>,
    follow_it: bool,
) -> Result<()> {
    let sites: Vec<String> = ask(config, &Order::Exclude { subject, reason, deadline_ms }).await?;
    crate::say(&format!(
        "closed: {}. No new shard goes there; what is there is being moved (havre drains)\n",
        sites.join(", ")
    ))?;
    if follow_it { follow(config).await } else { Ok(()) }
}

/// Admits somebody again.
pub(crate) async fn admit(config: &Config, subject: Subject, reason: String) -> Result<()> {
    let () = ask(config, &Order::Admit { subject, reason }).await?;
    crate::say("admitted: the sites take shards again; what was moved stays where it is\n")
}

/// Pauses or resumes moving.
pub(crate) async fn pause(config: &Config, pause: bool) -> Result<()> {
    let () = ask(config, &Order::PauseMoves { pause }).await?;
    crate::say(if pause {
        "paused: shards stay where they are until havre drains resume\n"
    } else {
        "resumed\n"
    })
}

/// Prints who is excluded and how far it got.
pub(crate) async fn show(config: &Config, json: bool) -> Result<()> {
    let drains: Drains = ask(config, &Order::Drains { list: true }).await?;
    if json {
        return crate::say(&format!("{}\n", serde_json::to_string_pretty(&drains)?));
    }
    crate::say(&drains_text(&drains)?)
}

/// Prints how far it got until nothing is left to do.
pub(crate) async fn follow(config: &Config) -> Result<()> {
    loop {
        let drains: Drains = ask(config, &Order::Drains { list: false }).await?;
        if drains.exclusions.is_empty() {
            return crate::say("nobody is excluded\n");
        }
        if drains.done {
            let drains: Drains = ask(config, &Order::Drains { list: true }).await?;
            if drains.is_empty() {
                return crate::say(&drains_text(&drains)?);
            }
        }
        crate::say(&format!("{}\n", progress_line(&drains)))?;
        if drains.stuck > 0 && drains.waiting == 0 && drains.examined == 0 {
            bail!("{} blobs cannot be moved: {}", drains.stuck, drains.reason);
        }
        havre_sites::system::ports().runtime.sleep(FOLLOW_PAUSE).await;
    }
}

fn progress_line(drains: &Drains) -> String {
    if drains.done {
        return format!(
            "all shards are where they may be: {} were moved ({} MB), {} deleted where they were",
            drains.shards_moved,
            drains.bytes_stored / 1_000_000,
            drains.shards_deleted
        );
    }
    let paused = if drains.paused { "PAUSED; " } else { "" };
    let left = drains.seconds_left.map_or_else(String::new, |left| format!(", {left} s left"));
    format!(
        "{paused}{} of {} blobs looked at{left}; {} shards moved ({} MB), {} deleted, {} still to \
         be deleted, {} blobs wait",
        drains.examined,
        drains.blobs,
        drains.shards_moved,
        drains.bytes_stored / 1_000_000,
        drains.shards_deleted,
        drains.shards_left,
        drains.waiting
    )
}

fn drains_text(drains: &Drains) -> Result<String> {
    let mut text = String::new();
    for exclusion in &drains.exclusions {
        writeln!(text, "{} closes {}", exclusion.subject, exclusion.sites.join(", "))?;
        if !exclusion.reason.is_empty() {
            writeln!(text, "  because: {}", exclusion.reason)?;
        }
        if let (Some(deadline), Some(left)) = (exclusion.deadline_ms, drains.seconds_left) {
            let decided = exclusion.decided_ms;
            let due = decided + (drains.seconds + left) * 1000;
            let word = if due <= deadline { "before" } else { "AFTER" };
            writeln!(text, "  as it goes, done {word} the deadline")?;
        }
    }
    if drains.exclusions.is_empty() {
        writeln!(text, "nobody is excluded")?;
    }
    writeln!(text, "{}", progress_line(drains))?;
    if drains.stuck > 0 {
        writeln!(text, "{} blobs cannot be moved: {}", drains.stuck, drains.reason)?;
    }
    for (site, listed) in &drains.listed {
        match listed {
            Some(0) => writeln!(text, "{site} lists no shard any more")?,
            Some(count) => writeln!(text, "{site} still lists {count} shards")?,
            None => writeln!(text, "{site} cannot be listed")?,
        }
    }
    if drains.is_empty() && !drains.exclusions.is_empty() {
        writeln!(text, "done: the closed sites are empty")?;
    }
    Ok(text)
}
