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
use crate::history::History;
use crate::ledger::{Ledger, Rule};
use crate::ports::{SimEntropy, ports};
use crate::rng::Rng;
use crate::site::{SimSite, Weather};
use crate::trace::Trace;
use crate::uploads::Uploads;
use async_trait::async_trait;
use havre_catalog::Catalog;
use havre_engine::replay::{ReplayError, Silent};
use havre_engine::{Engine, Parts, StartError, StartReport};
use havre_keeper::{Busy, Collector, HeldBlobs};
use havre_model::record::Excluded;
use havre_model::{BlobId, BlobName, SiteSet};
use havre_policy::{
    Acknowledgement, CoalitionSpec, Facts, GuaranteeSpec, Harm, OnOutage, OperatorFacts, PartyKind,
    PlacementPolicy, PolicySpec, SiteFacts, site_id,
};
use havre_seal::{Keyring, RootKey};
use havre_sites::{Fleet, Guarded, Site, SiteLimits};
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
}

/// How the sites and policies of a run look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Six sites in three jurisdictions, 3+3.
    Six,
    /// The same, and a second bucket under 4+2.
    Thrifty,
    /// The same as six, acknowledging below the guarantee rather than not.
    Degrading,
    /// Eight sites in four jurisdictions, 5+3.
    Eight,
}

/// What the sites can be expected to give, by what they confirmed and by the weather.
#[derive(Clone)]
pub struct Oracle {
    sites: Vec<SimSite>,
    ledger: Ledger,
}

impl Oracle {
    fn sites_where(&self, holds: impl Fn(Weather) -> bool) -> SiteSet {
        let sites = self.sites.iter().enumerate();
        sites.filter(|(_, site)| holds(site.weather())).map(|(at, _)| at).collect()
    }

    /// Sites that do not give what they hold.
    #[must_use]
    pub fn away(&self) -> SiteSet {
        self.sites_where(|weather| !weather.gives())
    }

    /// Sites that take shards.
    #[must_use]
    pub fn taking(&self) -> SiteSet {
        self.sites_where(Weather::takes)
    }

    /// Whether one coalition that must not cut off, under every policy, reaches all of the sites.
    #[must_use]
    pub fn is_tolerated(&self, sites: SiteSet) -> bool {
        let reaches = |policy: &PlacementPolicy| {
            let mut coalitions = policy.coalitions().iter();
            coalitions.any(|it| it.harm == Harm::CutOff && sites.is_subset(it.reach))
        };
        sites.is_empty() || self.ledger.policies().iter().all(reaches)
    }

    /// Whether the sites that are well hold enough shards of a blob, by what they confirmed.
    #[must_use]
    pub fn is_obtainable(&self, name: &BlobName) -> bool {
        let holding = self.ledger.holding(name);
        let Some(geometry) = holding.geometry else { return false };
        let there = holding.confirmed.minus(holding.damaged).minus(self.away());
        holding.shards_at(there) >= geometry.data()
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
            let policy = holding.geometry.and_then(|geometry| self.ledger.policy_of(geometry));
            let stored = holding.confirmed.minus(holding.damaged);
            policy.is_some_and(|it| it.acknowledges(stored) == Acknowledgement::Within)
        })
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
    /// The policy of each bucket, by position.
    pub chains: Vec<usize>,
    /// The gateway, while one lives.
    pub gateway: Option<Gateway>,
    /// The catalog lost writes, and no gateway has caught up with the packs yet.
    pub behind: Arc<AtomicBool>,
    layout: Layout,
}

fn facts(layout: Layout) -> Facts {
    let count = if layout == Layout::Eight { 8 } else { 6 };
    let site = |number: usize| SiteFacts {
        name: format!("s{number}"),
        operator: format!("o{}", number / 2),
        location: ["CH", "JP", "CA", "BR"][number / 2].to_owned(),
    };
    let operator =
        |number| OperatorFacts { name: format!("o{number}"), ..OperatorFacts::default() };
    let sites = (0..count).map(site).collect();
    Facts::new(sites, (0..count / 2).map(operator).collect(), 0.5).expect("valid facts")
}

fn policies(layout: Layout) -> Vec<PlacementPolicy> {
    let facts = facts(layout);
    let policy = |name: &str, k, m, on_outage| {
        let any_one = || vec![CoalitionSpec::AnyOne(PartyKind::Jurisdiction)];
        let guarantee = GuaranteeSpec { cannot_read: any_one(), cannot_cut_off: any_one() };
        let (name, sites, exclude) = (name.to_owned(), None, Vec::new());
        let spec = PolicySpec { name, k, m, sites, exclude, guarantee, on_outage };
        PlacementPolicy::new(&facts, spec).expect("the guarantee holds")
    };
    match layout {
        Layout::Six => vec![policy("default", 3, 3, OnOutage::Refuse)],
        Layout::Thrifty => vec![
            policy("default", 3, 3, OnOutage::Refuse),
            policy("thrifty", 4, 2, OnOutage::Refuse),
        ],
        Layout::Degrading => vec![policy("default", 3, 3, OnOutage::Degrade)],
        Layout::Eight => vec![policy("default", 5, 3, OnOutage::Refuse)],
    }
}

impl World {
    /// A world with empty sites and no gateway.
    #[must_use]
    pub fn new(seed: u64, layout: Layout, prints: bool) -> Self {
        let mut rng = Rng::new(seed);
        let executor = Executor::new(rng.fork());
        let trace = Trace::new(prints);
        let ledger = Ledger::new(policies(layout));
        let count = facts(layout).sites().len();
        let site = |position| {
            let name = format!("s{position}");
            let outside = (executor.clone(), ledger.clone(), trace.clone());
            SimSite::new((site_id(&name), name, position), outside, rng.fork())
        };
        let sites = (0..count).map(site).collect();
        let count = if layout == Layout::Thrifty { 2 } else { 1 };
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
            chains: (0..count).collect(),
            gateway: None,
            behind: Arc::default(),
            layout,
        }
    }

    /// Notes an event.
    pub fn note(&self, text: std::fmt::Arguments<'_>) {
        self.trace.note(self.executor.now(), text);
    }

    /// Notes a broken rule.
    pub fn breach(&self, rule: Rule, detail: String) {
        self.note(format_args!("BREACH of {rule:?}: {detail}"));
        self.ledger.breach(rule, detail);
    }

    /// The parts of a new gateway.
    fn parts(&mut self, group: Group) -> (Parts, Arc<SimCatalog>, Arc<Fleet>) {
        let ports = ports(&self.executor, group, self.rng.fork());
        let guard = |site: &SimSite| {
            let site: Arc<dyn Site> = Arc::new(site.clone());
            Guarded::new(site, SiteLimits::default(), ports.clone())
        };
        let fleet = Arc::new(Fleet::new(self.sites.iter().map(guard).collect()));
        let rng = self.rng.fork();
        let catalog = self.disk.open(&self.executor, group, rng, self.ledger.clone());
        let catalog = Arc::new(catalog);
        let root = RootKey::generate(&SimEntropy::new(Rng::new(ROOT_SEED)));
        let parts = Parts {
            keyring: Keyring::new(root, Arc::clone(&ports.entropy)),
            ports,
            catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
            fleet: Arc::clone(&fleet),
            policies: policies(self.layout),
            default_policy: "default".to_owned(),
            gateway: "gateway".to_owned(),
            reach: Arc::new(reach),
        };
        (parts, catalog, fleet)
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
        let (parts, catalog, fleet) = self.parts(group);
        self.note(format_args!("the gateway starts"));
        let started = self.run(group, async move { Engine::start(parts, &Silent).await });
        match started {
            Some(Ok((engine, report))) => {
                self.note(format_args!("it runs, writes: {}; {report:?}", engine.takes_writes()));
                self.gateway = Some(Gateway { group, engine, catalog, fleet });
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

    /// The catalog's disk is gone.
    pub fn lose_catalog(&mut self) {
        self.disk = Disk::empty();
        self.history.lose_catalog();
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

    /// A garbage collector of the gateway; with sabotage, one that thinks that no blob is needed.
    #[must_use]
    pub fn collector(&self, takes_all: bool) -> Option<Collector> {
        let gateway = self.gateway.as_ref()?;
        let catalog = match takes_all {
            true => Arc::new(gateway.catalog.hiding_blobs()),
            false => Arc::clone(&gateway.catalog),
        };
        let held = Arc::new(InFlight(Arc::clone(&gateway.engine)));
        let busy = Busy::default();
        let catalog = Arc::new(catalog);
        Some(Collector { catalog, fleet: Arc::clone(&gateway.fleet), held, busy })
    }

    /// What can be expected of the sites.
    #[must_use]
    pub fn oracle(&self) -> Oracle {
        Oracle { sites: self.sites.clone(), ledger: self.ledger.clone() }
    }

    /// Everybody is well.
    pub fn heal(&self) {
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
struct InFlight(Arc<Engine>);

#[async_trait]
impl HeldBlobs for InFlight {
    async fn holds(&self, blob: BlobId) -> bool {
        self.0.holds(blob)
    }

    async fn moved(&self, blob: BlobId) {
        self.0.shards_moved(blob);
    }
}

/// Sites can be excluded by name, `s0` and so on.
fn reach(subject: &Excluded) -> Option<SiteSet> {
    match subject {
        Excluded::Site(name) => Some(SiteSet::EMPTY.with(name.strip_prefix('s')?.parse().ok()?)),
        Excluded::Party(_) => None,
    }
}
