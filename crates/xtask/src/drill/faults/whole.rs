//! Sites that come back: what was written without them is whole within a minute.
//!
//! **Invariant.** Whole is not only what the gateway says. Each half of the sites proves it: with
//! the other half gone all that the load wrote is read, and three of six have no shard to spare.
//!
//! **Deliberately absent.** A site that forgot what it had confirmed: nobody knows before a scrub
//! reads there.
//!
//! **Crash.** The gateway is started anew before each half of its sites goes, so that no answer
//! comes from its memory.

use super::load::{Depth, Expect, Expected, Load};
use super::proxy::Fault;
use super::wires::World;
use super::{WHILE, observed};
use crate::server::Server;
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// How long it may take from the sites' return until nothing misses a shard.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// How long the sites are at fault: until the one that hangs is known to.
const MEANWHILE: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(500);
/// One hangs, one lies, and one is gone.
const FAULTS: [(usize, Fault); 3] = [(1, Fault::Hung), (4, Fault::Other), (6, Fault::Killed)];
/// What may be gone when everything is whole: of each jurisdiction one of its two sites.
const HALVES: [[usize; 3]; 2] = [[1, 3, 5], [2, 4, 6]];

/// Blobs that miss shards, and those of them that are marked as below their guarantee.
fn blobs(world: &World) -> Result<(u64, u64)> {
    let status = world.plan.asked(&["status", "--json"])?;
    let number = |name: &str| status[name].as_u64().with_context(|| format!("{name} in {status}"));
    Ok((number("incomplete_blobs")?, number("below_guarantee_blobs")?))
}

/// Waits until nothing misses a shard, a minute at most from then on.
fn until_whole(world: &World, since: Instant) -> Result<()> {
    loop {
        let (incomplete, below) = blobs(world)?;
        if incomplete == 0 {
            return Ok(());
        }
        if since.elapsed() > WHOLE_WITHIN {
            let seconds = WHOLE_WITHIN.as_secs();
            bail!("{incomplete} blobs miss shards after {seconds} s, {below} of them marked");
        }
        std::thread::sleep(LOOK);
    }
}

/// Writes while three sites are at fault, and looks that nothing is amiss a minute after. The
/// gateway is another one then.
pub(super) fn after_return(world: &World, server: Server, load: &mut Load) -> Result<Server> {
    for (site, fault) in FAULTS {
        world.set_one(site, fault);
    }
    // The policy that refuses promises to lose two more than these.
    let expected = Expected { writes: [Expect::Never, Expect::Either], reads: Expect::Soon };
    let name = "one hangs, one lies, one is killed, before they return";
    observed(name, load, &server, expected, || std::thread::sleep(MEANWHILE))?;
    let (incomplete, marked) = blobs(world)?;
    // One policy takes writes although three sites are at fault, and says so.
    if marked == 0 {
        bail!("{incomplete} blobs are known to miss shards, and none to be below its guarantee");
    }
    let returned = Instant::now();
    world.mend(&server)?;
    observed("all are back", load, &server, Expected::ALL, || std::thread::sleep(WHILE))?;
    until_whole(world, returned)?;
    println!(
        "   {incomplete} blobs missed shards and {marked} were marked; whole {:.1} s after the \
         sites' return",
        returned.elapsed().as_secs_f64()
    );
    server.stop()?;
    for half in HALVES {
        let server = world.plan.start()?;
        // What a start writes at the ends of chains must not have these sites alone: the cases that
        // follow let others lie.
        until_whole(world, Instant::now())?;
        half.iter().for_each(|site| world.set_one(*site, Fault::Killed));
        let keys = load.judge(&server, Depth::AllRestarted);
        let keys = keys.with_context(|| format!("without sites {half:?}"))?;
        println!("   without sites {half:?}: {keys} keys read");
        world.mend(&server)?;
        server.stop()?;
    }
    world.plan.start()
}
