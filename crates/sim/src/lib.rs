//! The deterministic simulation: the real engine, keeper and guards over seeded sites, a seeded
//! clock and a catalog whose disk outlives the gateway.
//!
//! [`scenario::run`] plays one seed. Clients write, read, delete and upload at once; sites refuse,
//! hang, lag, lie and lose what they have not synced; the gateway is killed where it stands and
//! starts again, with its catalog, with an older one or with none. [`ledger::Rule`] lists what must
//! hold all the while.
//!
//! **Invariant.** The same seed gives the same trace: nothing here or below reads a clock, draws
//! randomness or starts a thread by itself.
//!
//! **Deliberately absent.** Production: nothing depends on this package. HTTP: the server's own
//! tests.
//!
//! **Crash.** The simulated ones are the point; a real one loses nothing but time.

pub mod catalog;
pub mod client;
pub mod executor;
pub mod facts;
pub mod history;
pub mod holding;
pub mod inspect;
pub mod keeper;
pub mod ledger;
pub mod lie;
pub mod linear;
pub mod ports;
pub mod rng;
pub mod scenario;
pub mod site;
pub mod trace;
pub mod uploads;
pub mod world;

/// The command that plays a seed again, and prints every event.
#[must_use]
pub fn command(seed: u64, steps: u64, measures: bool) -> String {
    let steps = match steps {
        scenario::STEPS => String::new(),
        other => format!(" --steps {other}"),
    };
    let measures = if measures { " --measures" } else { "" };
    format!("cargo xtask sim --seed {seed}{steps}{measures} --trace --log")
}
