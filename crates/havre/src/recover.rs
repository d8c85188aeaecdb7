//! `havre recover`: the catalog again, from the sites and the root key.
//!
//! **Invariant.** Only an empty catalog, or one whose recovery was interrupted, is written to.
//!
//! **Deliberately absent.** How packs are replayed (`engine::replay`).
//!
//! **Crash.** Run again, it goes on behind the last pack that was applied.

use anyhow::{Context, Result, bail};
use havre::compose::{self, Bar};
use havre::config::Config;
use havre_engine::Engine;
use havre_seal::RootKey;
use std::path::Path;
use std::sync::Arc;

/// Rebuilds the catalog and prints a summary.
pub(crate) async fn recover(
    config: &Config,
    root_key: Option<&Path>,
    accept_loss: bool,
) -> Result<()> {
    let catalog = compose::catalog(config)?;
    let counts = catalog.counts().await?;
    if counts.packs > 0 && !catalog.is_recovering().await? {
        bail!(
            "{} has {} packs already: nothing to recover; to rebuild it, move it away first",
            config.gateway.catalog.display(),
            counts.packs
        );
    }
    let root = match root_key {
        Some(path) => RootKey::from_file(path)?,
        None => compose::root_key(&config.gateway.root_key)?,
    };
    let parts = compose::parts(config, root, Arc::clone(&catalog))?;
    let clock = Arc::clone(&parts.ports.clock);
    let begun = clock.elapsed();
    let bar = Bar::new();
    let report = Engine::recover(parts, &bar, accept_loss).await.context("recover")?;
    bar.finish();
    let seconds = clock.elapsed().saturating_sub(begun).as_secs_f64();
    let counts = catalog.counts().await?;
    let replay = report.replay;
    println!(
        "recovered {} packs with {} records in {seconds:.1} s ({:.0} records/s)",
        replay.packs,
        replay.records,
        rate(replay.records, seconds)
    );
    println!(
        "the catalog has {} tenants, {} buckets, {} objects ({} bytes), {} uploads with {} parts",
        counts.tenants, counts.buckets, counts.objects, counts.bytes, counts.uploads, counts.parts
    );
    println!(
        "{} blobs miss a shard, {} packs were never acknowledged",
        counts.incomplete, replay.off_chain
    );
    for gap in &replay.gaps {
        println!("LOST: packs {} to {} of chain {}", gap.after + 1, gap.before - 1, gap.chain);
    }
    if replay.unreadable_records > 0 {
        println!("LOST: {} records that no key opens", replay.unreadable_records);
    }
    if !replay.unreachable.is_empty() {
        println!("sites {} could not be reached", replay.unreachable.join(", "));
    }
    if report.partial {
        println!(
            "NOT FINISHED: acknowledged writes may be missing that only sites which are away \
             have. What was found can be read now: `havre serve` serves reads, and goes on by \
             itself when the sites are back, or run this again. Without those sites \
             `--accept-loss` ends it: what only they have is then left behind."
        );
    } else if accept_loss && !replay.unreachable.is_empty() {
        println!("what only those sites and too few others hold is left behind");
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(records: u64, seconds: f64) -> f64 {
    records as f64 / seconds.max(0.001)
}
