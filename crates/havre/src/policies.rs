//! `havre policy`: puts buckets under other placement policies, and tells how far what they hold
//! is.
//!
//! **Invariant.** What was done is said after the gateway has confirmed it.
//!
//! **Deliberately absent.** Doing it: the running gateway. Defining policies: the configuration.
//!
//! **Crash.** The gateway goes on; `havre policy status --follow` watches again.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use havre::config::Config;
use havre::control::{self, Order, RedispersalStatus};
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
    /// Print how far it got until nothing is left to do.
    #[arg(long)]
    follow: bool,
}

impl PolicyCommand {
    pub(crate) async fn carry_out(self) -> Result<()> {
        match self {
            Self::Change(Change { config, bucket, policy, follow: is_followed }) => {
                let config = config.load()?;
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
    let answer = control::send(&config.gateway.catalog, &Order::Redispersal {}, drop).await?;
    serde_json::from_value(answer).context("read the gateway's answer")
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
