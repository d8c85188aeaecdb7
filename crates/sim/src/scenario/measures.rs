//! What whoever runs the gateway does, and what happens to those behind the sites: exclusions,
//! admissions, cuts, other facts, other policies of buckets, and the keeper's work.
//!
//! **Invariant.** Facts change between two gateways only, and never to such that a policy could not
//! be kept with what is excluded, or that the hostile sites would answer to more than one
//! coalition.
//!
//! **Deliberately absent.** The rules ([`crate::ledger`]).
//!
//! **Crash.** A measure whose answer was not heard may hold or not.

use super::{Sabotage, Scenario};
use crate::client::Client;
use crate::keeper::Work;
use havre_engine::ExcludeError;
use havre_keeper::Depth;
use havre_model::SiteSet;
use havre_model::record::Excluded;
use havre_sites::Bar;
use std::sync::Arc;

/// Draws of other facts, of which most allow no placement where sites are few.
const FACTS_DRAWN_MAX: usize = 6;
/// The longest that a coalition is cut off, in microseconds.
const CUT_MICROS_MAX: u64 = 120_000_000;

impl Scenario {
    /// The keeper begins a piece of work, or is told how to go about it.
    pub(super) fn keep(&mut self) {
        let work = match self.rng.below(100) {
            0..25 => Work::Repair,
            25..70 => Work::Move,
            70..78 => Work::Scrub(Depth::Sample),
            78..84 => Work::Scrub(Depth::Whole),
            84..92 => Work::Compact { thorough: self.rng.chance(500) },
            92..94 => Work::Redisperse,
            _ => {
                let (pauses, rebalances) = (self.rng.chance(300), self.rng.chance(600));
                if let Some(gateway) = &self.world.gateway {
                    gateway.keeper.pause(pauses);
                    gateway.keeper.rebalance(rebalances);
                }
                Work::Move
            }
        };
        self.begin_work(work);
    }

    pub(super) fn collect(&mut self) {
        let takes_all = self.options.sabotage == Sabotage::CollectAll;
        let work = if takes_all { Work::CollectAll } else { Work::Collect };
        self.report.collections += u64::from(self.begin_work(work));
    }

    pub(super) fn compact(&mut self) {
        let thorough = self.rng.chance(500);
        self.begin_work(Work::Compact { thorough });
    }

    /// Begins a piece of work, unless one of its kind is under way; whether it did.
    pub(super) fn begin_work(&mut self, work: Work) -> bool {
        self.works.retain(|(_, task)| self.world.executor.is_running(*task));
        let (Some(client), Some(gateway)) = (self.world.client(), &self.world.gateway) else {
            return false;
        };
        if self.works.iter().any(|(other, _)| other.is_like(work)) {
            return false;
        }
        let task = gateway.keeper.work(work, client, Arc::clone(&gateway.catalog));
        let task = self.world.executor.spawn(gateway.group, task);
        self.works.push((work, task));
        self.report.passes += 1;
        true
    }

    /// Somebody is excluded, or admitted again. Whoever asked may die before there is an answer.
    pub(super) fn exclude_or_admit(&mut self) {
        let is_running = |task| self.world.executor.is_running(task);
        let (Some(client), Some(gateway)) = (self.world.client(), &self.world.gateway) else {
            return;
        };
        // One person does this, and waits for the answer.
        if self.measure.is_some_and(is_running) {
            return;
        }
        self.report.exclusions += 1;
        let known: Vec<Excluded> = self.world.ledger.exclusions();
        let task = if !known.is_empty() && self.rng.chance(500) {
            let subject = self.rng.pick(&known).clone();
            Box::pin(admit(client, subject)) as _
        } else {
            let subject = self.world.ledger.setting().draw_subject(&mut self.rng);
            Box::pin(exclude(client, subject)) as _
        };
        self.measure = Some(self.world.executor.spawn(gateway.group, task));
    }

    /// A bucket is put under another policy, where there are two; the keeper disperses anew what it
    /// holds.
    pub(super) fn change_policy(&mut self) {
        let setting = self.world.ledger.setting();
        let (Some(client), Some(gateway)) = (self.world.client(), &self.world.gateway) else {
            return;
        };
        let policy = self.rng.index(setting.policies.len());
        let bucket = self.rng.index(self.world.buckets.len());
        let chain = &mut self.world.chains[bucket];
        if chain.policy == policy && chain.until.is_none() {
            return;
        }
        chain.until.get_or_insert(self.world.history.stamp());
        self.report.changes += 1;
        let policy = setting.policies[policy].name().to_owned();
        self.world.executor.spawn(gateway.group, Box::pin(change_policy(client, bucket, policy)));
    }

    /// A coalition is cut off for a while, as a drill does it, or let in again.
    pub(super) fn cut(&mut self) {
        let (coalition, time) = (self.coalition(), self.rng.micros(1, CUT_MICROS_MAX));
        let lifts = self.rng.chance(400);
        let Some(gateway) = &self.world.gateway else { return };
        for (at, site) in gateway.fleet.iter().enumerate() {
            if lifts {
                site.lift(Bar::Drill);
            } else if coalition.contains(at) {
                site.bar(Bar::Drill, Some(time));
            }
        }
        self.report.cuts += u64::from(!lifts);
        match lifts {
            true => self.world.note(format_args!("nobody is cut off any more")),
            false => self.world.note(format_args!("{coalition:?} are cut off for {time:?}")),
        }
    }

    /// Before the next gateway starts, operators are bought and sold at times.
    pub(super) fn change_facts(&mut self) {
        if !self.options.measures || !self.rng.chance(400) {
            return;
        }
        let ledger = &self.world.ledger;
        let setting = ledger.setting();
        let excluded = ledger.exclusions();
        for _ in 0..FACTS_DRAWN_MAX {
            let Some(next) = setting.next(&mut self.rng) else { continue };
            let reaches = excluded.iter().filter_map(|subject| next.reach(subject));
            let closed = reaches.fold(SiteSet::EMPTY, SiteSet::union);
            if next.can_do_without(closed) && next.is_tolerated(self.hostile) {
                self.report.facts += 1;
                self.world.change_facts(next);
                return;
            }
        }
    }
}

async fn change_policy(client: Client, bucket: usize, policy: String) {
    let result = client.engine.change_policy(&client.buckets[bucket], &policy).await;
    client.note(format_args!("bucket {bucket} is under {policy}: {result:?}"));
}

async fn exclude(client: Client, subject: Excluded) {
    client.note(format_args!("{subject} is to be excluded"));
    let is_new = client.ledger.excluding(&subject);
    let result = client.engine.exclude(subject.clone(), "a measure".to_owned(), None).await;
    client.note(format_args!("{subject} is excluded: {result:?}"));
    match result {
        Ok(_) => client.ledger.excluded(subject),
        // Nothing has changed.
        Err(ExcludeError::Unknown(_) | ExcludeError::NoPlacement { .. }) if is_new => {
            client.ledger.admitted(&subject);
        }
        Err(_) => {}
    }
}

async fn admit(client: Client, subject: Excluded) {
    client.note(format_args!("{subject} is to be admitted"));
    client.ledger.admitting(&subject);
    let result = client.engine.admit(subject.clone(), "a measure".to_owned()).await;
    client.note(format_args!("{subject} is admitted: {result:?}"));
    if result.is_ok() {
        client.ledger.admitted(&subject);
    }
}
