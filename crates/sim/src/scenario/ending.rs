//! The end of a run: everybody gets well, and what has to come to rest does.
//!
//! **Invariant.** From here on no site lies or loses; what is not whole, not drained or not
//! collected after so many passes stays so, and breaks a rule.
//!
//! **Deliberately absent.** Facts that change: those of the last gateway stay.
//!
//! **Crash.** Nothing is kept but the report.

use super::{Climate, Scenario};
use crate::inspect::{check_orphans, check_whole};
use crate::keeper::Work;
use crate::ledger::Rule;
use crate::site::Weather;
use crate::world::{PATIENCE, TURNS_MAX};
use havre_keeper::Depth;
use std::sync::Arc;
use std::time::Duration;

/// Rounds of the keeper's work within which everything comes to rest.
const ROUNDS_MAX: usize = 8;
/// Collections after which no garbage is left.
const COLLECTIONS_MAX: usize = 4;
/// Long enough for breakers to close, late requests to arrive, and packs that were given up to be
/// deleted.
const REST: Duration = Duration::from_secs(75);

impl Scenario {
    /// Everybody gets well: all is there and in its place, nothing else is; and a blank machine
    /// finds it again, whichever coalition is away at first, and whichever is away afterwards.
    pub(super) fn end(&mut self) {
        self.world.heal();
        if self.world.gateway.is_none() {
            self.start();
        }
        self.world.executor.run_for(Duration::from_secs(120));
        self.inspect();
        match self.options.measures {
            true => self.come_to_rest(),
            false => self.collect_all(),
        }
        for lose in [true, false, true] {
            if self.is_broken() {
                return;
            }
            self.cut_off(lose && !self.world.degrades());
        }
        if self.options.measures && !self.is_broken() {
            self.world.heal();
            self.world.executor.run_for(REST);
            self.come_to_rest();
        }
    }

    /// Garbage is collected, and no site holds what nothing needs. Of a site that answers again one
    /// caller at a time finds out whether it writes, and turns the others away.
    fn collect_all(&mut self) {
        for round in 1..=COLLECTIONS_MAX {
            // Of an adopted shard relocation deletes the one left over elsewhere, as in a gateway.
            self.work_out(Work::Move);
            self.work_out(Work::Collect);
            if self.is_broken() {
                return;
            }
            // Packs that were given up are deleted beside it.
            self.world.executor.run_for(REST);
            if self.judge_rest(false, round == COLLECTIONS_MAX) {
                return;
            }
        }
    }

    /// The keeper works until everything is whole, in its place, and alone.
    fn come_to_rest(&mut self) {
        self.await_writes();
        if let Some(gateway) = &self.world.gateway {
            gateway.keeper.pause(false);
            gateway.keeper.rebalance(false);
        }
        let rounds = if self.climate == Climate::Beyond { 2 } else { ROUNDS_MAX };
        for round in 1..=rounds {
            let compact = Work::Compact { thorough: round == 1 };
            for work in [
                Work::Scrub(Depth::Whole),
                Work::Repair,
                compact,
                Work::Move,
                Work::Redisperse,
                Work::Collect,
            ] {
                self.work_out(work);
            }
            // Packs that were given up are deleted beside it.
            self.world.executor.run_for(REST);
            if self.is_broken() || self.judge_rest(true, round == rounds) {
                return;
            }
        }
    }

    /// Does a piece of work to its end.
    fn work_out(&mut self, work: Work) {
        for _ in 0..2 {
            let begun = self.begin_work(work);
            let works = std::mem::take(&mut self.works);
            let executor = self.world.executor.clone();
            let ended = || works.iter().all(|(_, task)| !executor.is_running(*task));
            if !executor.run_until(PATIENCE, TURNS_MAX, ended) {
                return self.world.breach(Rule::Available, format!("{work:?} does not end"));
            }
            if begun {
                return;
            }
        }
    }

    /// Whether nothing is left that nothing needs, and all that is needed is whole where it has to
    /// be; when it has to be so and is not, rules are broken.
    fn judge_rest(&self, whole: bool, is_last: bool) -> bool {
        let sites = self.world.sites.clone();
        let Some(gateway) = &self.world.gateway else { return true };
        let catalog = Arc::clone(&gateway.catalog);
        let fleet = Arc::clone(&gateway.fleet);
        let found = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let all = Arc::clone(&found);
        self.world.act("looking at what is at rest", |client| async move {
            let mut found = check_orphans(&*catalog, &sites).await;
            if whole {
                found.extend(check_whole(&*catalog, &sites, &client.ledger, &fleet).await);
            }
            *all.lock() = found;
        });
        let found = std::mem::take(&mut *found.lock());
        let at_rest = found.is_empty();
        if is_last {
            for (rule, detail) in found {
                self.world.breach(rule, detail);
            }
        }
        at_rest
    }

    /// A coalition cuts the gateway off, and perhaps the catalog is lost, too.
    fn cut_off(&mut self, lose: bool) {
        let lose = lose && self.world.oracle().all_replayed_are_settled();
        self.world.heal();
        self.world.executor.run_for(REST);
        for at in self.coalition().iter() {
            self.world.sites[at].set_weather(Weather::Down);
        }
        if lose {
            self.world.kill();
            self.works.clear();
            self.world.lose_catalog();
            self.start();
        }
        if !self.is_broken() {
            self.inspect();
        }
    }
}
