//! `havre policy`: puts buckets under other placement policies, and tells how far what they hold
//! is.
//!
//! **Invariant.** What was done is said after the gateway has confirmed it.
//!
//! **Deliberately absent.** Doing it: the running gateway. Defining policies: the configuration.
//!
//! **Crash.** The gateway goes on; `havre policy status --follow` watches again.

use crate::drain;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use havre::config::Config;
use havre::control::{self, Order, PolicyPlan, RedispersalStatus};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Between two looks at how far it got.
const FOLLOW_PAUSE: Duration = Duration::from_secs(2);
/// Looks in which nothing changed before it is not followed any more.
const STALLED_LOOKS_MAX: u32 = 60;

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Put a bucket under another placement policy of the configuration. New objects are under it
    /// at once; what is there is dispersed anew, while it is in use.
    Change(Change),
    /// How far what is under another policy was dispersed anew. A policy whose geometry was changed
    /// in the configuration is dispersed anew, too, from the next start on.
    Status {
        #[command(flatten)]
        config: crate::ConfigFile,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Print how far it got until nothing is left to do.
        #[arg(long, conflicts_with = "json")]
        follow: bool,
    },
}

#[derive(Args)]
pub(crate) struct Change {
    #[command(flatten)]
    config: crate::ConfigFile,
    /// The bucket's name.
    bucket: String,
    /// The policy's name.
    policy: String,
    /// Only estimate what it would take: extents, records, bytes by site, time, cost.
    #[arg(long)]
    plan: bool,
    /// With --plan: what a site charges for a GB that leaves it, as SITE=PRICE, or *=PRICE for all
    /// others. May be given several times.
    #[arg(long, value_name = "SITE=PRICE", value_parser = crate::parse_price, requires = "plan")]
    egress_price: Vec<(String, f64)>,
    /// With --plan: print JSON.
    #[arg(long, requires = "plan")]
    json: bool,
    /// Print how far it got until nothing is left to do.
    #[arg(long, conflicts_with = "plan")]
    follow: bool,
}

impl Change {
    async fn carry_out(self) -> Result<()> {
        let Self { config, bucket, policy, plan, egress_price, json, follow: is_followed } = self;
        let config = config.load()?;
        if plan {
            let order = Order::PlanPolicyChange { bucket: bucket.clone(), policy: policy.clone() };
            let plan: PolicyPlan = drain::ask(&config, &order).await?;
            if json {
                return crate::say(&format!("{}\n", serde_json::to_string_pretty(&plan)?));
            }
            let prices = egress_price.into_iter().collect();
            return crate::say(&plan_text(&bucket, &policy, &plan, &prices)?);
        }
        let order = Order::ChangePolicy { bucket, policy: policy.clone() };
        control::send(&config.gateway.catalog, &order, drop).await?;
        crate::say(&format!(
            "new objects are under {policy}; what is there is dispersed anew (havre policy \
             status)\n"
        ))?;
        match is_followed {
            true => follow(&config).await,
            false => Ok(()),
        }
    }
}

fn plan_text(
    bucket: &str,
    policy: &str,
    plan: &PolicyPlan,
    prices: &BTreeMap<String, f64>,
) -> Result<String> {
    let mut text = format!(
        "with {bucket} under {policy}: {} extents ({} MB) would be dispersed anew, and {} records \
         ({} MB) carried from {} packs, in {} s at least (limits.repair_bytes_per_second)\n",
        plan.extents,
        plan.extent_bytes / 1_000_000,
        plan.records,
        plan.record_bytes / 1_000_000,
        plan.packs,
        plan.seconds
    );
    if plan.stuck > 0 {
        writeln!(text, "{} of them have nowhere to go: {}", plan.stuck, plan.reason)?;
    }
    text.push_str(&drain::traffic_text(&plan.traffic, prices)?);
    Ok(text)
}

impl PolicyCommand {
    pub(crate) async fn carry_out(self) -> Result<()> {
        match self {
            Self::Change(change) => change.carry_out().await,
            Self::Status { config, json, follow: is_followed } => {
                let config = config.load()?;
                if is_followed {
                    return follow(&config).await;
                }
                let status = status(&config).await?;
                match json {
                    true => crate::say(&format!("{}\n", serde_json::to_string_pretty(&status)?)),
                    false => crate::say(&format!("{}\n", line(&status))),
                }
            }
        }
    }
}

async fn status(config: &Config) -> Result<RedispersalStatus> {
    drain::ask(config, &Order::Redispersal {}).await
}

async fn follow(config: &Config) -> Result<()> {
    let (mut last, mut stalled) = (None, 0);
    loop {
        let status = status(config).await?;
        crate::say(&format!("{}\n", line(&status)))?;
        if status.done {
            return Ok(());
        }
        let now = Some((status.examined, status.extents, status.records));
        stalled = if now == last { stalled + 1 } else { 0 };
        last = now;
        if stalled >= STALLED_LOOKS_MAX {
            bail!("nothing moves any more; the gateway goes on trying: {}", status.reason);
        }
        havre_sites::system::ports().runtime.sleep(FOLLOW_PAUSE).await;
    }
}

fn line(status: &RedispersalStatus) -> String {
    let done = format!(
        "{} extents dispersed anew ({} MB), {} records carried",
        status.extents,
        status.bytes / 1_000_000,
        status.records
    );
    if status.done {
        return format!("everything is under its policy: {done}");
    }
    let left = status.seconds_left.map_or_else(String::new, |left| format!(", {left} s left"));
    let waits = match status.waiting {
        0 => String::new(),
        waiting => format!("; {waiting} wait: {}", status.reason),
    };
    format!("{} of {} blobs looked at{left}: {done}{waits}", status.examined, status.blobs)
}
