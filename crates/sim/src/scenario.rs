//! One run: a gateway under load, foul weather, kills, recoveries and garbage collection, all from
//! one seed.
//!
//! **Invariant.** The same options give the same run. It ends at the first broken rule.
//!
//! **Deliberately absent.** The rules ([`crate::ledger`] lists them, [`crate::inspect`] and
//! [`crate::linear`] check).
//!
//! **Crash.** Nothing is kept but the report.

use crate::client::{Client, Put, Trouble, Wanted};
use crate::executor::TaskId;
use crate::facts::Layout;
use crate::history::Place;
use crate::inspect::{Inspector, KEYS, check_contents};
use crate::keeper::Work;
use crate::ledger::{Rule, Violation};
use crate::linear;
use crate::rng::Rng;
use crate::site::{Drops, Weather};
use crate::world::{PATIENCE, TURNS_MAX, World, is_too_many};
use havre_engine::StartError;
use havre_engine::replay::ReplayError;
use havre_model::SiteSet;
use havre_policy::Harm;
use std::time::Duration;

mod ending;
mod measures;

/// Events of a run, unless it is told otherwise.
pub const STEPS: u64 = 200;

/// What a run is told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Events of the scenario.
    pub steps: u64,
    /// Whether the trace goes to standard error.
    pub prints: bool,
    /// Whether measures are taken, too: exclusions, cuts, changed facts and policies, repairs,
    /// moves and scrubs.
    pub measures: bool,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
}

/// A defect that the checkers must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// None.
    Nothing,
    /// More sites than tolerated confirm shards and throw them away.
    DropAcknowledged,
    /// Sites confirm before they have stored anything.
    ConfirmEarly,
    /// Garbage collection takes everything.
    CollectAll,
    /// A site gets a copy of other sites' shards.
    Leak,
    /// Clients remember other bytes than they wrote.
    Misremember,
    /// A shard that moves is deleted where it was before it is stored where it goes.
    DeleteFirst,
    /// Gateways close other sites than those that are excluded.
    IgnoreExclusions,
    /// The keeper moves and repairs by policies without a guarantee.
    ForgetGuarantee,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Hash of the trace.
    pub hash: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// The last of them.
    pub tail: Vec<String>,
    /// Events of the scenario that were played.
    pub steps: u64,
    /// Times that a blob's shards were held against its guarantee.
    pub checks: u64,
    /// Operations of clients.
    pub operations: usize,
    /// Gateways killed.
    pub kills: u64,
    /// Catalogs rebuilt on a blank machine.
    pub recoveries: u64,
    /// Garbage collections.
    pub collections: u64,
    /// Passes of repair, relocation and scrub.
    pub passes: u64,
    /// Exclusions and admissions that were asked for.
    pub exclusions: u64,
    /// Times that the gateway started with other facts.
    pub facts: u64,
    /// Times that a bucket was to be put under another policy.
    pub changes: u64,
    /// Parties that were cut off for a while.
    pub cuts: u64,
    /// Times that everything was looked at.
    pub inspections: u64,
    /// Packs acknowledged.
    pub packs: usize,
    /// Simulated time.
    pub time: Duration,
    /// Turns of the executor.
    pub turns: u64,
    /// Broken rules.
    pub violations: Vec<Violation>,
}

/// Who misbehaves in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Climate {
    /// Honest sites that come and go: those of one coalition, at times any.
    Stormy,
    /// The sites within this reach lie, lose, and come and go; the others are well.
    Hostile(SiteSet),
    /// Both at once, more than the guarantee allows for: what must hold even then is judged.
    Beyond,
}

/// A run under way.
struct Scenario {
    world: World,
    rng: Rng,
    options: Options,
    climate: Climate,
    /// Sites that may lie and lose: all within reach of one coalition.
    hostile: SiteSet,
    clients: Vec<TaskId>,
    clients_max: usize,
    /// What the keeper is at.
    works: Vec<(Work, TaskId)>,
    /// An exclusion or admission that was asked for.
    measure: Option<TaskId>,
    report: Report,
}

/// Runs a scenario to its end, or to the first broken rule.
#[must_use]
pub fn run(options: Options) -> Report {
    let mut rng = Rng::new(options.seed ^ 0x5eed);
    let layouts = [
        Layout::Six,
        Layout::Six,
        Layout::Thrifty,
        Layout::Degrading,
        Layout::Eight,
        Layout::Nine,
        Layout::Nine,
        Layout::Ten,
    ];
    let layout = *rng.pick(&layouts);
    let world = World::new(options.seed, layout, options.prints);
    let clients_max = 1 + rng.index(8);
    let report = Report::default();
    let (clients, works, hostile) = (Vec::new(), Vec::new(), SiteSet::EMPTY);
    let climate = Climate::Stormy;
    let mut scenario = Scenario {
        world,
        rng,
        options,
        climate,
        hostile,
        clients,
        clients_max,
        works,
        measure: None,
        report,
    };
    scenario.world.note(format_args!("{options:?} {layout:?}"));
    scenario.play();
    scenario.finish()
}

impl Scenario {
    fn play(&mut self) {
        self.choose_climate();
        self.world.ignores_exclusions = self.options.sabotage == Sabotage::IgnoreExclusions;
        self.world.forgets_guarantee = self.options.sabotage == Sabotage::ForgetGuarantee;
        self.begin();
        for step in 0..self.options.steps {
            if self.is_broken() {
                return;
            }
            if step == self.options.steps / 3 {
                self.sabotage();
            }
            self.report.steps += 1;
            self.step();
            let turns = self.rng.below(80);
            self.world.executor.run_turns(turns);
        }
        if !self.is_broken() {
            self.end();
        }
    }

    fn finish(self) -> Report {
        let Self { world, mut report, .. } = self;
        report.violations = world.ledger.violations();
        report.checks = world.ledger.checks();
        report.hash = world.trace.hash();
        report.lines = world.trace.lines();
        report.tail = world.trace.tail();
        report.operations = world.history.len();
        report.packs = world.ledger.acknowledged().len();
        report.time = world.executor.now();
        report.turns = world.executor.turns();
        report
    }

    fn is_broken(&self) -> bool {
        for words in self.world.executor.take_panics() {
            self.world.breach(Rule::NoPanic, words);
        }
        !self.world.ledger.violations().is_empty()
    }

    /// Half of the runs have a site or a coalition that is hostile.
    fn choose_climate(&mut self) {
        if self.rng.chance(500) && !self.world.degrades() {
            let coalition = self.coalition();
            let rng = &mut self.rng;
            self.hostile = coalition.iter().filter(|_| rng.chance(700)).collect();
            self.world.ledger.distrust(coalition);
            self.climate = match self.rng.chance(250) {
                true => Climate::Beyond,
                false => Climate::Hostile(coalition),
            };
        }
        if self.climate == Climate::Beyond {
            self.world.ledger.go_beyond();
        }
        self.world.note(format_args!("{:?}, hostile: {:?}", self.climate, self.hostile));
    }

    /// The reach of a coalition that must not cut off: the hostile one's, where there is one.
    fn coalition(&mut self) -> SiteSet {
        if let Climate::Hostile(reach) = self.climate {
            return reach;
        }
        let setting = self.world.ledger.setting();
        let geometry = setting.policies[0].geometry();
        let reaches: Vec<SiteSet> = setting.reaches(geometry, Harm::CutOff).collect();
        *self.rng.pick(&reaches)
    }

    /// The first start, the tenant and the buckets.
    fn begin(&mut self) {
        if let Err(error) = self.world.start() {
            self.world.breach(Rule::Available, format!("the first start: {error:?}"));
            return;
        }
        let ended = self.world.act("making the buckets", |client| async move {
            let tenant = client.engine.ensure_tenant("tenant").await.expect("all sites are well");
            for (number, name) in client.buckets.iter().enumerate() {
                let policy = (number > 0).then_some("thrifty");
                let made = client.engine.create_bucket(tenant, name, policy).await;
                made.expect("all sites are well");
            }
        });
        assert!(ended || self.is_broken(), "the buckets are made or it is told why not");
    }

    fn sabotage(&mut self) {
        match self.options.sabotage {
            Sabotage::Nothing
            | Sabotage::CollectAll
            | Sabotage::IgnoreExclusions
            | Sabotage::ForgetGuarantee => {}
            Sabotage::DeleteFirst => {
                for site in &self.world.sites {
                    site.rob(self.world.sites.clone());
                }
            }
            Sabotage::DropAcknowledged | Sabotage::ConfirmEarly => {
                let drops = match self.options.sabotage {
                    Sabotage::ConfirmEarly => Drops::Early,
                    _ => Drops::Unnoticed,
                };
                for site in &self.world.sites[1..] {
                    site.set_drops(Some(drops));
                }
            }
            Sabotage::Leak => self.leak(),
            Sabotage::Misremember => self.world.history.misremember(),
        }
    }

    /// Copies every pack's shards of the other sites to the first one, under names that nobody asks
    /// for.
    fn leak(&self) {
        let other =
            |at: u8| havre_model::BlobName::Extent(havre_model::BlobId::from_bytes([at; 16]));
        let mut number = 0;
        for site in &self.world.sites[1..] {
            for shard in site.contents().shards().values().take(5) {
                number += 1;
                self.world.sites[0].tamper(&other(number), Some(shard.clone()));
            }
        }
    }

    fn step(&mut self) {
        match self.rng.below(1000) {
            805..825 if !self.options.measures => self.compact(),
            825..920 if !self.options.measures => self.operate(),
            0..570 => self.operate(),
            570..660 => {
                let time = self.rng.micros(1, 4_000_000);
                self.world.executor.run_for(time);
            }
            660..730 => self.change_weather(),
            730..755 => self.crash_sites(),
            755..785 => self.kill(),
            785..805 => self.collect(),
            805..865 => self.keep(),
            865..890 => self.exclude_or_admit(),
            890..905 => self.change_policy(),
            905..920 => self.cut(),
            920..935 => self.cancel(),
            935..955 => self.rot(),
            _ => self.inspect(),
        }
        self.world.caught_up();
    }

    /// A client begins something.
    fn operate(&mut self) {
        self.clients.retain(|task| self.world.executor.is_running(*task));
        let (Some(client), Some(gateway)) = (self.world.client(), &self.world.gateway) else {
            return;
        };
        if self.clients.len() >= self.clients_max {
            return self.world.executor.run_turns(50);
        }
        let rng = &mut self.rng;
        let bucket = rng.index(client.buckets.len());
        let place = Place { bucket, key: rng.index(KEYS) };
        let own = rng.fork();
        let task = match rng.below(1000) {
            0..420 => {
                let put = draw_put(rng);
                Box::pin(async move {
                    client.put(place, put, own).await;
                }) as _
            }
            420..680 => {
                let from = rng.below(1_200_000);
                let range = rng.chance(300).then(|| from..from + 1 + rng.below(200_000));
                Box::pin(async move { drop(client.read(place, range).await) }) as _
            }
            680..780 => {
                let wanted = *rng.pick(&[Wanted::Nothing, Wanted::Nothing, Wanted::Known(0)]);
                Box::pin(async move { client.delete(place, wanted).await }) as _
            }
            780..810 => {
                let places = draw_places(bucket, rng);
                Box::pin(async move { client.delete_many(&places).await }) as _
            }
            810..870 => Box::pin(async move { client.begin_upload(place).await }) as _,
            870..950 => Box::pin(async move { client.send_part(own).await }) as _,
            _ => Box::pin(async move { client.end_upload(own).await }) as _,
        };
        self.clients.push(self.world.executor.spawn(gateway.group, task));
    }

    /// A client goes away in the middle.
    fn cancel(&mut self) {
        if !self.clients.is_empty() {
            let at = self.rng.index(self.clients.len());
            let task = self.clients.swap_remove(at);
            self.world.executor.cancel(task);
            self.world.note(format_args!("a client goes away"));
        }
    }

    fn change_weather(&mut self) {
        let (stormy, tolerated) = match self.rng.below(100) {
            0..25 => return self.world.heal(),
            25..80 => (0, self.coalition()),
            _ if matches!(self.climate, Climate::Hostile(_)) => (0, self.coalition()),
            _ => (400, SiteSet::EMPTY),
        };
        for (at, site) in self.world.sites.iter().enumerate() {
            let rng = &mut self.rng;
            let foul = rng.chance(if tolerated.contains(at) { 850 } else { stormy });
            let weather = match (foul, self.hostile.contains(at)) {
                (_, true) if rng.chance(500) => Weather::Lying,
                (true, _) => draw_weather(rng),
                (false, _) if rng.chance(100) => Weather::Slow,
                (false, _) => Weather::Fair,
            };
            if site.weather() != weather {
                site.set_weather(weather);
            }
            if self.hostile.contains(at) {
                site.set_drops(rng.chance(200).then_some(Drops::Hostile));
            }
        }
    }

    /// One site loses power, or all of a coalition do.
    fn crash_sites(&mut self) {
        let coalition = self.coalition();
        let crashed = match self.rng.chance(500) {
            true => coalition,
            false => SiteSet::EMPTY.with(self.rng.index(self.world.sites.len())),
        };
        for at in crashed.iter() {
            self.world.sites[at].crash();
            let stays = matches!(self.climate, Climate::Hostile(reach) if !reach.contains(at));
            if self.rng.chance(500) && !stays {
                self.world.sites[at].set_weather(Weather::Down);
            }
        }
    }

    fn rot(&mut self) {
        let hostile: Vec<usize> = self.hostile.iter().collect();
        if !hostile.is_empty() {
            let at = *self.rng.pick(&hostile);
            self.world.sites[at].rot();
        }
    }

    /// The gateway dies, and perhaps its disk; then it starts again.
    fn kill(&mut self) {
        self.report.kills += 1;
        self.world.kill();
        self.clients.clear();
        self.works.clear();
        self.change_facts();
        match self.rng.below(100) {
            0..50 => {}
            _ if !self.world.degrades() && !self.world.oracle().all_replayed_are_settled() => {}
            lost @ 50.. => {
                self.keep_to_the_guarantee();
                match lost {
                    50..70 => self.world.cut_power(),
                    90.. if !self.world.degrades() && self.hostile.is_empty() => {
                        return self.recover();
                    }
                    _ => self.world.lose_catalog(),
                }
            }
        }
        if self.rng.chance(300) {
            let turns = 1 + self.rng.below(3_000);
            self.world.start_and_kill(turns);
        }
        if self.rng.chance(300) {
            let time = self.rng.micros(1, 80_000_000);
            self.world.executor.run_for(time);
        }
        self.start();
    }

    /// What was acknowledged below its guarantee may be lost with the catalog while any site is
    /// away: nobody promised that.
    fn keep_to_the_guarantee(&self) {
        if self.world.degrades() {
            self.world.heal();
        }
    }

    /// Starts the gateway; if it rightly will not, everybody gets well first.
    fn start(&mut self) {
        match self.world.start() {
            Ok(report) => return self.judge_start(report.rebuilt),
            Err(error) => self.judge_refusal(error.as_ref()),
        }
        if self.is_broken() {
            return;
        }
        self.world.heal();
        self.world.executor.run_for(Duration::from_secs(70));
        match self.world.start() {
            Ok(report) => self.judge_start(report.rebuilt),
            Err(error) => self.judge_refusal(error.as_ref()),
        }
    }

    fn judge_start(&mut self, rebuilt: bool) {
        self.report.recoveries += u64::from(rebuilt);
        let takes = self.world.gateway.as_ref().is_some_and(|it| it.engine.takes_writes());
        let oracle = self.world.oracle();
        if !takes && oracle.is_tolerated(oracle.away()) && oracle.all_packs_are_obtainable() {
            let away = oracle.away();
            self.world
                .breach(Rule::Available, format!("no writes although only {away:?} are away"));
        }
    }

    fn judge_refusal(&mut self, error: Option<&StartError>) {
        let oracle = self.world.oracle();
        let is_right = match error {
            None => false,
            Some(error) if is_too_many(error) => !oracle.is_tolerated(oracle.away()),
            // A pack that was durable when the gateway was killed, and that the one behind it
            // names, was never applied: nobody else knows of it.
            Some(StartError::Replay(ReplayError::Gap(_)))
                if !oracle.is_tolerated(oracle.away()) =>
            {
                true
            }
            Some(StartError::Replay(_)) => {
                let is_tolerated = oracle.is_tolerated(oracle.away());
                !oracle.all_packs_are_obtainable()
                    || !is_tolerated && !oracle.all_replayed_are_obtainable()
            }
            Some(_) => false,
        };
        if !is_right {
            let (away, error) = (oracle.away(), error.map(ToString::to_string));
            let detail = format!("the gateway does not start with {away:?} away: {error:?}");
            self.world.breach(Rule::Available, detail);
        }
    }

    /// A blank machine, and just `k` sites.
    fn recover(&mut self) {
        self.world.lose_catalog();
        let setting = self.world.ledger.setting();
        let data = setting.policies.iter().map(|it| it.geometry().data()).max();
        let mut up: Vec<usize> = (0..self.world.sites.len()).collect();
        while up.len() > data.unwrap_or(0) {
            let at = self.rng.index(up.len());
            up.swap_remove(at);
        }
        for (at, site) in self.world.sites.iter().enumerate() {
            site.set_weather(if up.contains(&at) { Weather::Fair } else { Weather::Down });
        }
        let is_obtainable = self.world.oracle().all_packs_are_obtainable();
        match self.world.recover() {
            Ok(report) if is_obtainable && !report.partial => {
                self.world.behind.store(false, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) => self.judge_refusal(error.as_ref()),
        }
        self.start();
    }

    /// Everything comes to rest and is looked at.
    fn inspect(&mut self) {
        self.report.inspections += 1;
        let executor = self.world.executor.clone();
        let clients = std::mem::take(&mut self.clients);
        let at_rest = || clients.iter().all(|task| !executor.is_running(*task));
        if !executor.run_until(PATIENCE, TURNS_MAX, at_rest) {
            let tail = "an operation of a client does not end".to_owned();
            return self.world.breach(Rule::Available, tail);
        }
        // Breakers close again and late requests arrive.
        executor.run_for(Duration::from_secs(75));
        self.await_writes();
        self.world.note(format_args!("everything is looked at"));
        let (oracle, rng) = (self.world.oracle(), self.rng.fork());
        let Some(gateway) = &self.world.gateway else { return };
        let catalog = gateway.catalog.clone();
        let look = move |client: Client| Inspector { client, catalog, oracle, rng }.inspect();
        self.world.act("an inspection", look);
        check_contents(&self.world.sites, &self.world.ledger);
        self.check_closed();
        self.check_order();
    }

    /// What was excluded is closed, in this process and after a recovery.
    fn check_closed(&self) {
        let Some(gateway) = &self.world.gateway else { return };
        let (ledger, closed) = (&self.world.ledger, gateway.fleet.closed());
        let wanted = ledger.closed(&ledger.setting());
        if gateway.engine.takes_writes()
            && !wanted.is_subset(closed)
            && !self.world.ignores_exclusions
        {
            let detail = format!("{wanted:?} are excluded and {closed:?} are closed");
            self.world.breach(Rule::ClosedSitesGetNothing, detail);
        }
    }

    fn check_order(&self) {
        let operations = self.world.history.operations();
        if let Err(error) = linear::check(&operations, &self.world.chains) {
            self.world.breach(Rule::Linearizable, error);
        }
    }

    /// A gateway that only reads takes writes again once the sites are back.
    fn await_writes(&mut self) {
        let Some(gateway) = &self.world.gateway else { return };
        let oracle = self.world.oracle();
        if !oracle.is_tolerated(oracle.away()) || !oracle.all_packs_are_obtainable() {
            return;
        }
        let engine = gateway.engine.clone();
        let time = Duration::from_secs(200);
        if !self.world.executor.run_until(time, TURNS_MAX, || engine.takes_writes()) {
            let detail = "the sites are back and no writes are taken".to_owned();
            self.world.breach(Rule::Available, detail);
        }
        self.world.caught_up();
    }
}

fn draw_weather(rng: &mut Rng) -> Weather {
    *rng.pick(&[
        Weather::Slow,
        Weather::Down,
        Weather::Down,
        Weather::Refusing,
        Weather::Hung,
        Weather::Hung,
        Weather::ReadOnly,
        Weather::Full,
        Weather::Flaky,
        Weather::Flaky,
    ])
}

fn draw_put(rng: &mut Rng) -> Put {
    let bytes = match rng.below(100) {
        0..4 => 0,
        4..60 => 1 + rng.index(3_000),
        60..75 => rng.index(70_000),
        75..85 => 262_100 + rng.index(100),
        _ => rng.index(1_500_000),
    };
    let wanted = match rng.below(100) {
        0..60 => Wanted::Nothing,
        60..78 => Wanted::Absent,
        _ => Wanted::Known(rng.index(2)),
    };
    let trouble = match rng.below(100) {
        0..92 => Trouble::None,
        92..97 => Trouble::Breaks,
        _ => Trouble::Digest,
    };
    Put { bytes, wanted, trouble, is_declared: rng.chance(700) }
}

fn draw_places(bucket: usize, rng: &mut Rng) -> Vec<Place> {
    let keys: std::collections::BTreeSet<usize> = (0..3).map(|_| rng.index(KEYS)).collect();
    keys.into_iter().map(|key| Place { bucket, key }).collect()
}
