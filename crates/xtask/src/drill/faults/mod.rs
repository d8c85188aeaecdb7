//! `cargo xtask drill faults`: sites that hang, die, lie, forget and fill up under a running
//! gateway.
//!
//! **Invariant.** What is expected of reads and writes follows from how many sites are at fault: up
//! to `n - k` all reads go on, and writes as far as the policy's guarantee lets them; past that
//! reads fail, and are never wrong or short.
//!
//! **Deliberately absent.** Crashes of the gateway (`super::kill`), and chance: every fault has its
//! turn.
//!
//! **Crash.** Sites, wires and disks end with the drill; data lie under `target/data`.

mod beside;
mod disks;
mod load;
mod proxy;
mod whole;
mod wires;

use crate::report::Tally;
use anyhow::{Context, Result};
use load::{Count, Expected, Load};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the load runs under each fault.
const WHILE: Duration = Duration::from_millis(700);

/// Runs all cases: sites behind wires that fail, these clients beside; then sites on disks that do.
pub(crate) fn faults(gateway: &Path, yardstick: &Path, clients: &[String]) -> Result<Tally> {
    let mut tally = wires::cases(gateway, yardstick, clients)?;
    tally += disks::cases(gateway)?;
    Ok(tally)
}

/// Runs the load while something is at fault, and says what came of it.
fn observed(
    name: &str,
    load: &mut Load,
    server: &crate::server::Server,
    expected: Expected,
    meanwhile: impl FnOnce(),
) -> Result<Count> {
    let start = Instant::now();
    let count = load.run(server, expected, meanwhile).with_context(|| name.to_owned())?;
    let Count { writes, writes_failed, reads, reads_failed, repeated, slowest } = &count;
    println!(
        "   {name}: {writes} writes, {writes_failed} refused, {reads} reads, {reads_failed} \
         failed, {repeated} repeated; at most {} ms; {:.1} s",
        slowest.as_millis(),
        start.elapsed().as_secs_f64()
    );
    Ok(count)
}
