//! Puts the parts together: from a configuration to an engine.
//!
//! **Invariant.** Secrets go from where the configuration says straight to the part that needs
//! them.
//!
//! **Deliberately absent.** Decisions: each part makes its own.
//!
//! **Crash.** Nothing is kept.

use crate::apart::Post;
use crate::config::{Config, KeeperRuns, SecretRef};
use crate::statement::Signer;
use anyhow::{Context, Result, bail};
use havre_catalog::{Catalog, JobRow, Mode, Opened, SqliteCatalog};
use havre_engine::replay::Progress;
use havre_engine::{Engine, Parts, Reach, StartReport};
use havre_model::SiteSet;
use havre_model::ports::Ports;
use havre_model::record::Excluded;
use havre_policy::{Facts, PlacementPolicy};
use havre_seal::{Keyring, RootKey};
use havre_sites::Fleet;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The name that this gateway's chains of packs go by.
const GATEWAY: &str = "gateway";

/// What a running gateway is made of.
pub struct Gateway {
    /// The data path.
    pub engine: Arc<Engine>,
    /// Its catalog, for the keeper.
    pub catalog: Arc<dyn Catalog>,
    /// Its sites, for the keeper.
    pub fleet: Arc<Fleet>,
    /// The policies that its blobs are under, for the keeper.
    pub policies: Arc<[PlacementPolicy]>,
    /// Whether moving shards is paused; the catalog remembers it.
    pub moves_paused: Arc<AtomicBool>,
    /// Whether shards move until each site has its share; the catalog remembers it.
    pub rebalances: Arc<AtomicBool>,
    /// The post of a keeper in a process of its own; none where its workers run inside.
    pub post: Option<Arc<Post>>,
    /// Signs what is done, for others to see.
    pub signer: Arc<Signer>,
    /// What the start found.
    pub report: StartReport,
}

/// The job whose presence in the catalog means that moving shards is paused.
pub const MOVES_PAUSED: &str = "relocate-paused";
/// The same for: shards move until each site has its share.
pub const REBALANCES: &str = "rebalance";

/// Opens the sites that the configuration names.
///
/// # Errors
/// When a site can never work, or a secret of it cannot be had.
pub fn fleet(config: &Config, ports: &Ports) -> Result<Fleet> {
    let mut sites = Vec::with_capacity(config.sites.len());
    for site in &config.sites {
        let spec =
            site.spec().with_context(|| format!("read the secrets of site {}", site.name))?;
        sites.push(havre_sites::open(spec, ports)?);
    }
    Ok(Fleet::new(sites))
}

/// Opens the catalog; a damaged one is moved aside, to be rebuilt.
///
/// # Errors
/// When another process holds it, a newer release wrote it, or the file system refuses.
pub fn catalog(config: &Config) -> Result<Arc<dyn Catalog>> {
    let path = &config.gateway.catalog;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context("create the catalog's directory")?;
    }
    let open = || SqliteCatalog::open(path, Mode::Threaded).context("open the catalog");
    let opened = match open()? {
        Opened::Damaged(reason) => {
            let aside =
                SqliteCatalog::move_aside(path).context("move the damaged catalog aside")?;
            let aside = aside.display();
            tracing::error!(reason, %aside, "the catalog is damaged: rebuilding it");
            open()?
        }
        opened => opened,
    };
    match opened {
        Opened::Fresh(catalog) | Opened::Existing(catalog) => Ok(Arc::new(catalog)),
        Opened::Damaged(reason) => bail!("the new catalog is damaged, too: {reason}"),
    }
}

/// The root key that the configuration names.
///
/// # Errors
/// When there is none, or its file can be read by others.
pub fn root_key(source: &SecretRef) -> Result<RootKey> {
    match source {
        SecretRef::File(path) => Ok(RootKey::from_file(path)?),
        SecretRef::Env(_) => {
            let text = source.resolve().context("read the root key")?;
            Ok(RootKey::from_env_text(text.expose())?)
        }
    }
}

/// Who signs statements of this gateway.
#[must_use]
pub fn signer(config: &Config, root: &RootKey) -> Signer {
    Signer::new(root, GATEWAY, &config.digest())
}

/// The parts of an engine.
///
/// # Errors
/// When the sites or the root key cannot be had.
pub fn parts(config: &Config, root: RootKey, catalog: Arc<dyn Catalog>) -> Result<Parts> {
    let ports = havre_sites::system::ports();
    let fleet = Arc::new(fleet(config, &ports)?);
    Ok(Parts {
        keyring: Keyring::new(root, Arc::clone(&ports.entropy)),
        ports,
        catalog,
        fleet,
        policies: config.placement_policies(),
        default_policy: config.gateway.default_policy.clone(),
        gateway: GATEWAY.to_owned(),
        reach: reach(config),
    })
}

/// The sites that answer to a party, or that are named.
fn reach(config: &Config) -> Reach {
    let facts = config.facts().clone();
    Arc::new(move |subject| sites_of(&facts, subject))
}

/// The sites that answer to a party, or the one that is named; `None` when nothing is called so.
#[must_use]
pub fn sites_of(facts: &Facts, subject: &Excluded) -> Option<SiteSet> {
    match subject {
        Excluded::Site(name) => {
            let at = facts.sites().iter().position(|site| site.name == *name)?;
            Some(SiteSet::EMPTY.with(at))
        }
        Excluded::Party(name) => match facts.named(name)[..] {
            [party] => Some(facts.reach(party)),
            _ => None,
        },
    }
}

/// Starts the gateway's engine.
///
/// # Errors
/// As its parts, or when the sites' packs cannot be replayed.
pub async fn start(config: &Config) -> Result<Gateway> {
    let catalog = catalog(config)?;
    let root = root_key(&config.gateway.root_key)?;
    let signer = Arc::new(signer(config, &root));
    let parts = parts(config, root, Arc::clone(&catalog))?;
    let fleet = Arc::clone(&parts.fleet);
    let bar = Bar::new();
    let (engine, report) = Engine::start(parts, &bar).await?;
    bar.finish();
    let moves_paused = flag(&*catalog, MOVES_PAUSED).await?;
    let rebalances = flag(&*catalog, REBALANCES).await?;
    let policies = config.placement_policies().into();
    let is_apart = config.keeper.runs == KeeperRuns::Apart;
    let post = is_apart.then(|| Arc::new(Post::new(havre_sites::system::ports())));
    Ok(Gateway { engine, catalog, fleet, policies, moves_paused, rebalances, post, signer, report })
}

async fn flag(catalog: &dyn Catalog, name: &str) -> Result<Arc<AtomicBool>> {
    let is_set = catalog.job(name).await?.is_some_and(|job| job.state == [1]);
    Ok(Arc::new(AtomicBool::new(is_set)))
}

/// Raises or lowers a flag, durably first.
///
/// # Errors
/// When the catalog cannot note it.
pub async fn set_flag(
    catalog: &dyn Catalog,
    name: &str,
    flag: &AtomicBool,
    value: bool,
) -> Result<()> {
    let state = vec![u8::from(value)];
    catalog.put_job(JobRow { name: name.to_owned(), state }).await?;
    flag.store(value, Ordering::Release);
    Ok(())
}

/// Whether a path is there, for messages that say what to do.
#[must_use]
pub fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Between two lines of progress in a log.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// A progress bar with an ETA; where standard error is no terminal, a line in the log now and then.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that waits for its length.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::new(0);
        let template = "{msg} [{bar:40}] {pos}/{len} packs, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message("replaying");
        Self(bar)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bar {
    fn found(&self, packs: u64) {
        self.0.set_length(packs);
    }

    fn replayed(&self, packs: u64, records: u64) {
        let bar = &self.0;
        bar.set_position(packs);
        if bar.is_hidden() && bar.elapsed() >= PROGRESS_EVERY {
            let (of, left) = (bar.length().unwrap_or(packs), bar.eta().as_secs());
            tracing::info!(packs, of, records, seconds_left = left, "replaying");
            bar.reset_elapsed();
        }
    }
}
