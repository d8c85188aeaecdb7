//! `havre prohibit`, `admit`, `site drain`, `rebalance` and `drains`: closes sites while they are
//! in use, gives each its share, and says how far it got.
//!
//! **Invariant.** What is estimated is said before anything is done; what was done is said after
//! the gateway has confirmed it.
//!
//! **Deliberately absent.** Doing it: the running gateway.
//!
//! Whoever follows to the end gets a signed statement of how it ended.
//!
//! **Crash.** The gateway goes on; `havre drains --follow` watches again.

use anyhow::{Context, Result, bail};
use havre::config::Config;
use havre::control::{self, Drains, DrainsStated, ExclusionReport, Order, Plan, Subject, Traffic};
use havre::statement::{default_file, write_new};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at how far it got.
const FOLLOW_PAUSE: Duration = Duration::from_secs(2);
/// Looks in which nothing changed before it is said what is left, and not followed any more.
const STALLED_LOOKS_MAX: u32 = 60;
const GB: f64 = 1e9;

pub(crate) async fn ask<T: serde::de::DeserializeOwned>(
    config: &Config,
    order: &Order,
) -> Result<T> {
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

fn plan_text(plan: &Plan, prices: &BTreeMap<String, f64>) -> Result<String> {
    let mut text = String::new();
    if plan.sites.is_empty() {
        writeln!(text, "to give each site its share, as far as the guarantee allows:")?;
    } else {
        writeln!(text, "without {}: {} would close", plan.subject, plan.sites.join(", "))?;
    }
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
    text.push_str(&traffic_text(&plan.traffic, prices)?);
    Ok(text)
}

/// What each site would be asked for, and what that costs.
#[expect(clippy::cast_precision_loss, reason = "an estimate in GB")]
pub(crate) fn traffic_text(traffic: &[Traffic], prices: &BTreeMap<String, f64>) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "\n{:<20} {:>14} {:>14} {:>12}", "site", "GB read", "GB stored", "egress")?;
    let mut sum = 0.0;
    for site in traffic {
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
    follow_it: Option<Follow>,
) -> Result<()> {
    if let Some(follow) = &follow_it {
        follow.check()?;
    }
    let sites: Vec<String> = ask(config, &Order::Exclude { subject, reason, deadline_ms }).await?;
    crate::say(&format!(
        "closed: {}. No new shard goes there; what is there is being moved (havre drains)\n",
        sites.join(", ")
    ))?;
    match follow_it {
        Some(following) => follow(config, following).await,
        None => Ok(()),
    }
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

/// Prints what giving each site its share would take.
pub(crate) async fn plan_rebalance(
    config: &Config,
    prices: &BTreeMap<String, f64>,
    json: bool,
) -> Result<()> {
    let plan: Plan = ask(config, &Order::PlanRebalance {}).await?;
    if json {
        return crate::say(&format!("{}\n", serde_json::to_string_pretty(&plan)?));
    }
    crate::say(&plan_text(&plan, prices)?)
}

/// Moves shards until each site has its share, or ends that.
pub(crate) async fn rebalance(config: &Config, go_on: bool, follow: bool) -> Result<()> {
    let () = ask(config, &Order::Rebalance { go_on }).await?;
    if !go_on {
        return crate::say("ended: what was moved stays where it is\n");
    }
    crate::say("shards move until each site has its share (havre drains)\n")?;
    if !follow {
        return Ok(());
    }
    loop {
        let drains: Drains = ask(config, &Order::Drains { list: false }).await?;
        crate::say(&format!("{}\n", progress_line(&drains)))?;
        if !drains.rebalances {
            return Ok(());
        }
        havre_sites::system::ports().runtime.sleep(FOLLOW_PAUSE).await;
    }
}

/// Prints who is excluded and how far it got.
pub(crate) async fn show(config: &Config, json: bool) -> Result<()> {
    let drains: Drains = ask(config, &Order::Drains { list: true }).await?;
    if json {
        return crate::say(&format!("{}\n", serde_json::to_string_pretty(&drains)?));
    }
    crate::say(&drains_text(&drains)?)
}

/// Asks the gateway for a signed statement of how far it got, and writes it.
pub(crate) async fn state(config: &Config, file: Option<PathBuf>) -> Result<()> {
    let follow = Follow { statement: file };
    follow.check()?;
    follow.write(config).await.map(drop)
}

/// How to follow.
pub(crate) struct Follow {
    /// Where the signed statement goes at the end, instead of into a dated file.
    pub(crate) statement: Option<PathBuf>,
}

impl Follow {
    fn check(&self) -> Result<()> {
        match self.statement.as_deref().filter(|file| havre::compose::is_there(file)) {
            Some(file) => bail!("{} exists already", file.display()),
            None => Ok(()),
        }
    }

    async fn write(self, config: &Config) -> Result<ExclusionReport> {
        let done: DrainsStated = ask(config, &Order::StateDrains {}).await?;
        let now = havre_sites::system::ports().clock.now();
        let file = self.statement.unwrap_or_else(|| default_file("exclusion", now));
        write_new(&file, &done.statement)?;
        crate::say(&stated_text(&done.report, &file)?)?;
        Ok(done.report)
    }
}

/// Prints how far it got until nothing is left to do, and writes a statement of that. Where nothing
/// moves any more although something is left, the statement says so, and it is an error.
pub(crate) async fn follow(config: &Config, follow: Follow) -> Result<()> {
    follow.check()?;
    let (mut last, mut stalled) = (None, 0);
    loop {
        let drains: Drains = ask(config, &Order::Drains { list: false }).await?;
        if drains.exclusions.is_empty() {
            return crate::say("nobody is excluded\n");
        }
        if drains.done {
            let drains: Drains = ask(config, &Order::Drains { list: true }).await?;
            if drains.is_empty() {
                crate::say(&drains_text(&drains)?)?;
                return follow.write(config).await.map(drop);
            }
        }
        crate::say(&format!("{}\n", progress_line(&drains)))?;
        if drains.stuck > 0 && drains.waiting == 0 && drains.examined == 0 {
            follow.write(config).await?;
            bail!("{} blobs cannot be moved: {}", drains.stuck, drains.reason);
        }
        let now = Some((drains.examined, drains.shards_moved, drains.shards_deleted));
        stalled = if now == last && !drains.paused { stalled + 1 } else { 0 };
        last = now;
        if stalled >= STALLED_LOOKS_MAX {
            follow.write(config).await?;
            bail!("nothing moves any more; the gateway goes on trying (havre drains)");
        }
        havre_sites::system::ports().runtime.sleep(FOLLOW_PAUSE).await;
    }
}

fn stated_text(report: &ExclusionReport, file: &Path) -> Result<String> {
    let mut text = String::new();
    for site in &report.sites {
        let lists = site.lists.map_or_else(
            || "cannot be listed".to_owned(),
            |it| match it {
                0 => "lists no shard".to_owned(),
                _ => format!("lists {it} shards"),
            },
        );
        write!(text, "{} {lists}", site.site)?;
        if site.to_be_deleted > 0 {
            write!(text, ", has {} that are still to be deleted", site.to_be_deleted)?;
        }
        writeln!(text)?;
    }
    if report.shards_refused > 0 {
        writeln!(text, "{} shards were not deleted when asked for", report.shards_refused)?;
    }
    for subject in &report.late {
        writeln!(text, "{subject}: its deadline was missed")?;
    }
    let word = if report.complete { "complete" } else { "NOT COMPLETE" };
    writeln!(text, "{word}; signed record: {} (havre statement verify)", file.display())?;
    Ok(text)
}

fn progress_line(drains: &Drains) -> String {
    if drains.done && !drains.rebalances {
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
         be deleted ({} refused), {} blobs wait",
        drains.examined,
        drains.blobs,
        drains.shards_moved,
        drains.bytes_stored / 1_000_000,
        drains.shards_deleted,
        drains.shards_left,
        drains.shards_refused,
        drains.waiting
    )
}

fn drains_text(drains: &Drains) -> Result<String> {
    let mut text = String::new();
    for exclusion in &drains.exclusions {
        match exclusion.sites.as_slice() {
            [] => writeln!(text, "{} is excluded and reaches no site", exclusion.subject)?,
            sites => writeln!(text, "{} closes {}", exclusion.subject, sites.join(", "))?,
        }
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
    if drains.rebalances {
        writeln!(text, "shards move until each site has its share")?;
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
