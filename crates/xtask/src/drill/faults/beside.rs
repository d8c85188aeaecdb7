//! Clients that people use, over sites of which one at a time is at fault.
//!
//! **Invariant.** They notice nothing: every check of their scenarios passes, in a policy that
//! refuses what is below its guarantee, and at the first attempt, as far as a client can be kept
//! from a second.
//!
//! **Deliberately absent.** Several sites at fault, and one that forgets what it confirmed: the
//! cases that follow have those.
//!
//! **Crash.** None.

use super::proxy::Fault;
use super::wires::World;
use crate::clients;
use crate::report::Tally;
use crate::server::Server;
use anyhow::{Result, anyhow, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whose turn it is, one after another, as long as the clients run: the first [`TURNS_MIN`] at
/// least.
const TURNS: [(usize, Fault); 7] = [
    (5, Fault::Killed),
    (2, Fault::Hung),
    (3, Fault::Other),
    (4, Fault::Older),
    (6, Fault::Shorter),
    (1, Fault::Endless),
    (2, Fault::Failing),
];
const TURNS_MIN: u64 = 3;
/// How long a site is at fault, and how long all are well before the next one's turn.
const TURN: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(500);

/// Runs the scenarios of these clients, one after another, while sites have their turns.
pub(super) fn clients(world: &World, server: &Server, names: &[String]) -> Result<Tally> {
    let mut tally = Tally::default();
    if names.is_empty() {
        return Ok(Tally::skip("clients over sites at fault: none is named or none is installed"));
    }
    let (stop, lies) = (AtomicBool::new(false), world.lies());
    let turns = std::thread::scope(|scope| -> Result<u64> {
        let turns = scope.spawn(|| take_turns(world, server, &stop));
        // However this ends, the turns do.
        let over = Over(&stop);
        let done = names.iter().try_for_each(|name| -> Result<()> {
            tally += clients::one(server, name, clients::Mode::SitesAtFault)?;
            Ok(())
        });
        drop(over);
        let turns = turns.join().map_err(|_| anyhow!("the turns panicked"))?;
        done.and(turns)
    })?;
    let (passed, failed, lies) = (tally.passed, tally.failed, world.lies() - lies);
    println!(
        "   {}: {passed} passed, {failed} failed, while {turns} times one site was at fault, and \
         {lies} of their answers were wrong",
        names.join(", ")
    );
    if turns < TURNS_MIN || lies == 0 {
        bail!("the clients were through before a site was gone, one hung and one lied");
    }
    Ok(tally)
}

/// Tells the turns to stop.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Lets one site after another fail until it is told to stop; how many did, while it was not.
fn take_turns(world: &World, server: &Server, stop: &AtomicBool) -> Result<u64> {
    let mut turns = 0;
    for (site, fault) in TURNS.iter().cycle() {
        if stop.load(Ordering::Acquire) {
            break;
        }
        world.set_one(*site, *fault);
        std::thread::sleep(TURN);
        turns += u64::from(!stop.load(Ordering::Acquire));
        world.mend(server)?;
        std::thread::sleep(BETWEEN);
    }
    Ok(turns)
}
