//! The world of a run: sites, policies, one catalog disk, and at times a gateway process.
//!
//! **Invariant.** Sites, disk, history and ledger outlive every gateway; a gateway is known to them
//! by its requests only.
//!
//! **Deliberately absent.** What happens when ([`crate::scenario`]).
//!
//! **Crash.** [`World::kill`] is the gateway's.

use crate::catalog::{Disk, SimCatalog};
use crate::client::Client;
use crate::executor::{Executor, Group};
use crate::facts::{Layout, Setting};
use crate::history::History;
use crate::keeper::Keeper;
use crate::ledger::{Ledger, Rule};
use crate::linear::Chain;
use crate::ports::{SimEntropy, ports};
use crate::rng::Rng;
use crate::site::{SimSite, Weather};
use crate::trace::Trace;
use crate::uploads::Uploads;
use async_trait::async_trait;
use havre_catalog::Catalog;
use havre_engine::replay::{ReplayError, Silent};
use havre_engine::{Engine, Parts, StartError, StartReport};
use havre_keeper::HeldBlobs;
use havre_model::{BlobId, BlobName, SiteSet};
use havre_policy::{Acknowledgement, site_id};
use havre_seal::{Keyring, RootKey};
use havre_sites::{Bar, Fleet, Guarded, Site, SiteLimits};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The longest that anything may take which ends by itself.
pub const PATIENCE: Duration = Duration::from_secs(900);
/// Turns after which a run goes round in circles.
pub const TURNS_MAX: u64 = 3_000_000;
/// The root key is the same on every machine.
const ROOT_SEED: u64 = 7;

/// A running gateway.
pub struct Gateway {
    /// Its tasks.
    pub group: Group,
    /// Its data path.
    pub engine: Arc<Engine>,
    /// Its catalog.
    pub catalog: Arc<SimCatalog>,
    /// Its sites, guarded.
    pub fleet: Arc<Fleet>,
    /// What works on its blobs.
    pub keeper: Keeper,
}

/// What the sites can be expected to give, by what they confirmed and by the weather.
#[derive(Clone)]
pub struct Oracle {
    sites: Vec<SimSite>,
    ledger: Ledger,
    /// The gateway's sites, which may be barred or closed.
    fleet: Option<Arc<Fleet>>,
}

impl Oracle {
    fn sites_where(&self, holds: impl Fn(Weather) -> bool) -> SiteSet {
        let sites = self.sites.iter().enumerate();
        sites.filter(|(_, site)| holds(site.weather())).map(|(at, _)| at).collect()
    }

    /// Sites that the gateway does not ask.
    fn barred(&self) -> SiteSet {
        let sites = self.fleet.iter().flat_map(|fleet| fleet.iter()).enumerate();
        sites.filter(|(_, site)| site.is_barred_as(Bar::Drill)).map(|(at, _)| at).collect()
    }

    /// Sites that the gateway has closed.
    #[must_use]
    pub fn closed(&self) -> SiteSet {
        self.fleet.as_ref().map_or(SiteSet::EMPTY, |fleet| fleet.closed())
    }

    /// Sites that do not give what they hold.
    #[must_use]
    pub fn away(&self) -> SiteSet {
        self.sites_where(|weather| !weather.gives()).union(self.barred())
    }

    /// Sites that take shards.
    #[must_use]
    pub fn taking(&self) -> SiteSet {
        self.sites_where(Weather::takes).minus(self.barred())
    }

    /// Whether one coalition that must not cut off, under every policy, reaches all of the sites.
    #[must_use]
    pub fn is_tolerated(&self, sites: SiteSet) -> bool {
        self.ledger.setting().is_tolerated(sites)
    }

    /// Whether the sites that are well hold enough shards of a blob, by what they confirmed.
    #[must_use]
    pub fn is_obtainable(&self, name: &BlobName) -> bool {
        let holding = self.ledger.holding(name);
        let Some(geometry) = holding.geometry else { return false };
        let away = self.away();
        holding.stored_at(|site| !away.contains(site)) >= geometry.data()
    }

    /// Whether every pack that was acknowledged can be had, those below their guarantee included:
    /// they stand in the chains, too.
    #[must_use]
    pub fn all_packs_are_obtainable(&self) -> bool {
        let packs = self.ledger.acknowledged().into_iter().chain(self.ledger.below());
        packs.into_iter().all(|name| self.is_obtainable(&name))
    }

    /// Whether every pack that a replay took for acknowledged is within its guarantee by now, so
    /// that it cannot be lost with the catalog. What was not acknowledged was not promised that.
    #[must_use]
    pub fn all_replayed_are_settled(&self) -> bool {
        self.ledger.replayed().iter().all(|name| {
            let holding = self.ledger.holding(name);
            let setting = self.ledger.setting();
            let policy = holding.geometry.and_then(|geometry| setting.policy_of(geometry));
            let stored = holding.stored.keys().copied().collect();
            policy.is_some_and(|it| it.acknowledges(stored) == Acknowledgement::Within)
        })
    }

    /// Whether the last pack of every chain can be brought to its guarantee. Where there are more
    /// sites than shards and some are away or closed, writes may have to wait for them, or for
    /// relocation (`docs/INVARIANTS.md`, I1).
    #[must_use]
    pub fn ends_can_be_settled(&self) -> bool {
        let setting = self.ledger.setting();
        let is_tight =
            setting.policies.iter().all(|it| it.eligible().len() == it.geometry().total());
        self.all_replayed_are_obtainable()
            && (is_tight || self.away().union(self.closed()).is_empty())
    }

    /// Whether every pack that a replay took for acknowledged can be had. One that was not is
    /// within its guarantee, as far as sites take shards, but no better.
    #[must_use]
    pub fn all_replayed_are_obtainable(&self) -> bool {
        self.ledger.replayed().iter().all(|name| self.is_obtainable(name))
    }
}

/// Everything that a gateway's death leaves behind, and the gateway while it lives.
pub struct World {
    /// Tasks and time.
    pub executor: Executor,
    /// Chance for whatever the world does by itself.
    pub rng: Rng,
    /// What happened.
    pub trace: Trace,
    /// What the clients saw.
    pub history: History,
    /// What the sites saw.
    pub ledger: Ledger,
    /// The sites, by position.
    pub sites: Vec<SimSite>,
    /// The catalog's disk.
    pub disk: Disk,
    /// The clients' uploads.
    pub uploads: Uploads,
    /// Names of the buckets.
    pub buckets: Arc<Vec<String>>,
    /// The chain that each bucket's records stand in.
    pub chains: Vec<Chain>,
    /// The gateway, while one lives.
    pub gateway: Option<Gateway>,
    /// The catalog lost writes, and no gateway has caught up with the packs yet.
    pub behind: Arc<AtomicBool>,
    /// Gateways close other sites than those that are excluded: sabotage.
    pub ignores_exclusions: bool,
    /// Keepers move shards without a thought for the guarantee: sabotage.
    pub forgets_guarantee: bool,
    /// How sites and policies look.
    pub layout: Layout,
}

impl World {
    /// A world with empty sites and no gateway.
    #[must_use]
    pub fn new(seed: u64, layout: Layout, prints: bool) -> Self {
        let mut rng = Rng::new(seed);
        let executor = Executor::new(rng.fork());
        let trace = Trace::new(prints);
        let setting = Arc::new(Setting::first(layout));
        let (clock, lines) = (executor.clone(), trace.clone());
        let notes = Box::new(move |text: std::fmt::Arguments<'_>| lines.note(clock.now(), text));
        let ledger = Ledger::new(Arc::clone(&setting), notes);
        let site = |position| {
            let name = format!("s{position}");
            let outside = (executor.clone(), ledger.clone(), trace.clone());
            SimSite::new((site_id(&name), name, position), outside, rng.fork())
        };
        let sites = (0..layout.count()).map(site).collect();
        let count = setting.policies.len();
        let name = |number| format!("bucket-{number}");
        Self {
            executor,
            rng,
            trace,
            history: History::default(),
            ledger,
            sites,
            disk: Disk::empty(),
            uploads: Uploads::default(),
            buckets: Arc::new((0..count).map(name).collect()),
            chains: (0..count).map(|policy| Chain { policy, until: None }).collect(),
            gateway: None,
            behind: Arc::default(),
            ignores_exclusions: false,
            forgets_guarantee: false,
            layout,
        }
    }

    /// Notes an event.
    pub fn note(&self, text: std::fmt::Arguments<'_>) {
        self.trace.note(self.executor.now(), text);
    }

    /// Notes a broken rule.
    pub fn breach(&self, rule: Rule, detail: String) {
        self.ledger.breach(rule, detail);
    }

    /// The parts of a new gateway, and what keeps beside it.
    fn parts(&mut self, group: Group) -> (Parts, Arc<SimCatalog>, Keeper) {
        let ports = ports(&self.executor, group, self.rng.fork());
        let setting = self.ledger.setting();
        let guard = |site: &SimSite| {
            let site: Arc<dyn Site> = Arc::new(site.asked_under(Arc::clone(&setting)));
            Guarded::new(site, SiteLimits::default(), ports.clone())
        };
        let fleet = Arc::new(Fleet::new(self.sites.iter().map(guard).collect()));
        let rng = self.rng.fork();
        self.ledger.watch(self.disk.catalog());
        let catalog = self.disk.open(&self.executor, group, rng, self.ledger.clone());
        let catalog = Arc::new(catalog);
        let root = RootKey::generate(&SimEntropy::new(Rng::new(ROOT_SEED)));
        let policies = match self.forgets_guarantee {
            true => setting.policies_without_guarantee(),
            false => setting.policies_again(),
        };
        let keeper = Keeper::new(Arc::clone(&fleet), policies.into(), ports.clone());
        let ignores = self.ignores_exclusions;
        let parts = Parts {
            keyring: Keyring::new(root, Arc::clone(&ports.entropy)),
            ports,
            catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
            fleet,
            policies: setting.policies_again(),
            default_policy: "default".to_owned(),
            gateway: "gateway".to_owned(),
            reach: Arc::new(move |subject| {
                let reach = setting.reach(subject)?;
                let other =
                    SiteSet::EMPTY.with((reach.iter().last()? + 1) % setting.facts.sites().len());
                Some(if ignores { other } else { reach })
            }),
        };
        (parts, catalog, keeper)
    }

    /// Runs a task of a process to its end; `None` when it does not come to one.
    fn run<T: Send + 'static>(
        &self,
        group: Group,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let slot = Arc::new(Mutex::new(None));
        let result = Arc::clone(&slot);
        let work = async move { *result.lock() = Some(task.await) };
        let task = self.executor.spawn(group, Box::pin(work));
        let ended = || !self.executor.is_running(task);
        if !self.executor.run_until(PATIENCE, TURNS_MAX, ended) {
            return None;
        }
        slot.lock().take()
    }

    /// Runs a client's task to its end; false when it did not come to one.
    pub fn act<F: Future<Output = ()> + Send + 'static>(
        &self,
        what: &str,
        task: impl FnOnce(Client) -> F,
    ) -> bool {
        let (Some(client), Some(gateway)) = (self.client(), &self.gateway) else { return false };
        let ended = self.run(gateway.group, task(client)).is_some();
        if !ended {
            self.breach(Rule::Available, format!("{what} does not end"));
        }
        ended
    }

    /// Starts a gateway on the catalog's disk as it is.
    ///
    /// # Errors
    /// As the engine's start; `None` when it does not come to an end.
    pub fn start(&mut self) -> Result<StartReport, Option<StartError>> {
        let group = self.executor.group();
        let (parts, catalog, keeper) = self.parts(group);
        let fleet = Arc::clone(&parts.fleet);
        self.note(format_args!("the gateway starts"));
        let started = self.run(group, async move { Engine::start(parts, &Silent).await });
        match started {
            Some(Ok((engine, report))) => {
                self.note(format_args!("it runs, writes: {}; {report:?}", engine.takes_writes()));
                self.gateway = Some(Gateway { group, engine, catalog, fleet, keeper });
                self.caught_up();
                Ok(report)
            }
            Some(Err(error)) => {
                self.note(format_args!("it does not start: {error}"));
                self.executor.kill(group);
                Err(Some(error))
            }
            None => {
                self.note(format_args!("its start does not end"));
                self.executor.kill(group);
                Err(None)
            }
        }
    }

    /// Starts a gateway and kills it after some turns.
    pub fn start_and_kill(&mut self, turns: u64) {
        let group = self.executor.group();
        let (parts, ..) = self.parts(group);
        self.note(format_args!("a gateway starts, to be killed after {turns} turns"));
        let work = async move { drop(Engine::start(parts, &Silent).await) };
        self.executor.spawn(group, Box::pin(work));
        self.executor.run_turns(turns);
        self.executor.kill(group);
    }

    /// Recovers into the catalog's disk, as `havre recover` does.
    ///
    /// # Errors
    /// As the engine's recovery; `None` when it does not come to an end.
    pub fn recover(&mut self) -> Result<StartReport, Option<StartError>> {
        let group = self.executor.group();
        let (parts, ..) = self.parts(group);
        let recovered =
            self.run(group, async move { Engine::recover(parts, &Silent, false).await });
        self.executor.kill(group);
        self.note(format_args!("recovered: {recovered:?}"));
        recovered.ok_or(None)?.map_err(Some)
    }

    /// Notes it when the gateway knows every acknowledged write again.
    pub fn caught_up(&self) {
        if self.gateway.as_ref().is_some_and(|gateway| gateway.engine.takes_writes()) {
            self.behind.store(false, Ordering::Relaxed);
        }
    }

    /// Whether writes may be acknowledged below their guarantee. What then happens to them while
    /// sites are away nobody promised.
    #[must_use]
    pub fn degrades(&self) -> bool {
        self.layout == Layout::Degrading
    }

    /// Kills the gateway where it stands.
    pub fn kill(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.executor.kill(gateway.group);
            self.note(format_args!("the gateway is killed"));
        }
    }

    /// The next gateway starts with these facts.
    pub fn change_facts(&mut self, setting: Setting) {
        let owners = setting.owners();
        self.note(format_args!("operators are sold: setting {}, {owners:?}", setting.number));
        self.ledger.change_setting(Arc::new(setting));
    }

    /// The catalog's disk is gone.
    pub fn lose_catalog(&mut self) {
        self.disk = Disk::empty();
        self.history.lose_catalog();
        self.ledger.lose_catalog();
        self.behind.store(true, Ordering::Relaxed);
        self.note(format_args!("the catalog is lost"));
    }

    /// The catalog's disk loses power.
    pub fn cut_power(&mut self) {
        let (disk, lost) = self.disk.cut_power(&mut self.rng);
        self.disk = disk;
        if lost > 0 {
            self.behind.store(true, Ordering::Relaxed);
        }
        self.note(format_args!("the power is cut: the catalog loses {lost} changes"));
    }

    /// A client of the gateway.
    #[must_use]
    pub fn client(&self) -> Option<Client> {
        let gateway = self.gateway.as_ref()?;
        Some(Client {
            executor: self.executor.clone(),
            trace: self.trace.clone(),
            history: self.history.clone(),
            ledger: self.ledger.clone(),
            engine: Arc::clone(&gateway.engine),
            uploads: self.uploads.clone(),
            buckets: Arc::clone(&self.buckets),
            behind: Arc::clone(&self.behind),
        })
    }

    /// What can be expected of the sites.
    #[must_use]
    pub fn oracle(&self) -> Oracle {
        let fleet = self.gateway.as_ref().map(|gateway| Arc::clone(&gateway.fleet));
        Oracle { sites: self.sites.clone(), ledger: self.ledger.clone(), fleet }
    }

    /// Everybody is well, and nobody is cut off.
    pub fn heal(&self) {
        for site in self.gateway.iter().flat_map(|gateway| gateway.fleet.iter()) {
            site.lift(Bar::Drill);
        }
        for site in &self.sites {
            site.set_drops(None);
            if site.weather() != Weather::Fair {
                site.set_weather(Weather::Fair);
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.gateway = None;
        self.executor.end();
    }
}

/// Whether a start failed because too many sites were away, which it may tell only when they were.
#[must_use]
pub fn is_too_many(error: &StartError) -> bool {
    matches!(error, StartError::Replay(ReplayError::TooManyUnreachable { .. }))
}

/// The engine's writers and readers, as the keeper knows them.
pub struct InFlight(pub Arc<Engine>);

#[async_trait]
impl HeldBlobs for InFlight {
    async fn holds(&self, blob: BlobId) -> bool {
        self.0.holds(blob)
    }

    async fn moved(&self, blob: BlobId) {
        self.0.shards_moved(blob);
    }
}
