//! Brings the engine up: checks the sites, installs the keys, catches up with the packs, starts the
//! journals.
//!
//! **Invariant.** Nothing is written before every acknowledged pack is in the catalog (I21). What a
//! start found at the end of a chain, and served, no later start takes for unwritten.
//!
//! **Deliberately absent.** Configuration and files (`havre`).
//!
//! **Crash.** Starting again does the same again; a recovery goes on where it was.

use crate::error::{EngineError, PutError};
use crate::journal::{Journal, first_number};
use crate::replay::{Progress, Replay, ReplayError, ReplayReport, Silent, is_away};
use crate::shared::{Parts, Placement, Shared};
use crate::{Engine, Journals};
use futures::future::{self, BoxFuture};
use havre_catalog::{BlobState, CatalogError, ChainState, JobRow};
use havre_codec::pack;
use havre_model::{BlobId, ChainId, SiteId, SiteSet};
use havre_sites::{Bar, Guarded};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// Bounds of the pause between attempts to catch up.
const CATCH_UP_PAUSE_MIN: Duration = Duration::from_secs(1);
const CATCH_UP_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Bounds of the pause between looks at sites that are barred for their marker.
const MARKER_PAUSE_MIN: Duration = Duration::from_secs(1);
const MARKER_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Sequence numbers that are left out after a recovery: far more than can have been handed out
/// since the last record that was found.
const SEQS_UNSEEN_MAX: u64 = 1 << 40;

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Two configured sites are one storage.
    #[error("sites {first} and {second} are the same storage; give each its own, or remove one")]
    SameStorage {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The keys in the catalog are not for this root key.
    #[error("the root key does not open the keys in the catalog: is it the right file?")]
    WrongRootKey,
    /// The packs cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The catalog failed.
    #[error("the catalog is not available: {0}")]
    Catalog(#[from] CatalogError),
    /// Something else.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The first records cannot be written.
    #[error("the first records cannot be written: {0}")]
    Put(#[from] PutError),
}

/// What the start found and did.
#[derive(Debug, Clone, Default)]
pub struct StartReport {
    /// The catalog was empty although the sites have packs: it was rebuilt.
    pub rebuilt: bool,
    /// What was replayed.
    pub replay: ReplayReport,
    /// Sites are away that may have acknowledged packs: the gateway only reads until it has seen
    /// them.
    pub partial: bool,
}

impl Engine {
    /// Starts the engine; an empty catalog is rebuilt from the sites.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        parts: Parts,
        progress: &dyn Progress,
    ) -> BoxFuture<'_, Result<(Arc<Self>, StartReport), StartError>> {
        Box::pin(Self::start_now(parts, progress))
    }

    async fn start_now(
        parts: Parts,
        progress: &dyn Progress,
    ) -> Result<(Arc<Self>, StartReport), StartError> {
        let gateway = parts.gateway.clone();
        let shared = Arc::new(Shared::new(parts)?);
        let engine = Arc::new(Self { shared: Arc::clone(&shared), journals: OnceLock::new() });
        let (report, waits) = match bring_up(&shared, progress, Loss::Refused).await {
            Ok(report) => (report, None),
            // Reads go on with what the catalog has. Nothing is written until the sites are back:
            // an acknowledged pack that is overlooked now would be forked off the chain.
            Err(StartError::Replay(error)) if error.may_pass() && !is_empty(&shared).await? => {
                let report = match shared.catalog.is_recovering().await? {
                    // What the sites that are there give.
                    true => bring_up(&shared, progress, Loss::Told).await?,
                    false => StartReport { partial: true, ..StartReport::default() },
                };
                (report, Some(StartError::Replay(error)))
            }
            // A full disk under the catalog: what it has can be read.
            Err(error @ StartError::Catalog(CatalogError::Storage(_)))
                if !is_empty(&shared).await? && !shared.catalog.is_recovering().await? =>
            {
                (StartReport { partial: true, ..StartReport::default() }, Some(error))
            }
            Err(error) => return Err(error),
        };
        let waits = match waits {
            None => match engine.open_journals(&gateway).await {
                Err(error @ StartError::Catalog(CatalogError::Storage(_))) => Some(error),
                opened => opened.map(|()| None)?,
            },
            waits => waits,
        };
        match waits {
            None => {}
            Some(error) => {
                tracing::error!(%error, "serving reads only until that is over");
                let waiting = Arc::clone(&engine);
                let task = async move { waiting.catch_up_later(&gateway).await };
                shared.ports.runtime.spawn(shared.vital.watch("what waits for sites", task));
            }
        }
        sweep(&shared);
        Ok((engine, report))
    }

    /// An engine that only reads what the catalog has, beside a running one: for inspection.
    ///
    /// # Errors
    /// When the policies do not hold together.
    pub fn offline(parts: Parts) -> Result<Self, EngineError> {
        Ok(Self { shared: Arc::new(Shared::new(parts)?), journals: OnceLock::new() })
    }

    async fn open_journals(&self, gateway: &str) -> Result<(), StartError> {
        let shared = &self.shared;
        // Before anything is written.
        shared.close_excluded().await?;
        let chains = open_chains(shared, gateway).await?;
        let ended = ended_chains(shared).await?;
        let all = chains.iter().chain(ended.iter().map(|(_, state)| state));
        let applied: Vec<(ChainId, u64)> = all.map(|state| (state.chain, state.number)).collect();
        let survey = shared.survey(Some(&applied)).await;
        let mut closing = Vec::with_capacity(ended.len());
        let mut by_policy = Vec::with_capacity(chains.len());
        let ended = ended.iter().map(|(placement, state)| (placement, state, true));
        let open = shared.placements.iter().zip(&chains);
        let open = open.map(|(placement, state)| (placement, state, false));
        for (placement, state, is_ended) in ended.chain(open) {
            let retirement = shared.seqs.next(&*shared.catalog).await?;
            retirement.disarm();
            let seen = survey.number_seen(state.chain);
            let first = draw_number(shared, state, seen).await?;
            let journal = Journal::start(shared, placement, state, (first, seen), retirement);
            if is_ended { closing.push(journal) } else { by_policy.push(journal) }
        }
        let opened = self.journals.set(Journals { by_policy, closing });
        assert!(opened.is_ok(), "the journals are opened once");
        Ok(())
    }

    /// Tries again, at growing intervals, until the last acknowledged packs are known.
    async fn catch_up_later(&self, gateway: &str) {
        let mut pause = CATCH_UP_PAUSE_MIN;
        loop {
            self.shared.ports.runtime.sleep(pause).await;
            let caught_up = match bring_up(&self.shared, &Silent, Loss::Refused).await {
                Ok(_) => self.open_journals(gateway).await,
                Err(error) => Err(error),
            };
            match caught_up {
                Ok(()) => return tracing::info!("the sites are back: writes are taken again"),
                Err(error) => tracing::warn!(%error, "still serving reads only"),
            }
            pause = (pause * 2).min(CATCH_UP_PAUSE_MAX);
        }
    }

    /// Rebuilds the catalog from the sites and stops there: `havre recover`.
    ///
    /// # Errors
    /// See [`StartError`]. With `accept_loss`, gaps and unreadable records are reported instead.
    pub fn recover(
        parts: Parts,
        progress: &dyn Progress,
        accept_loss: bool,
    ) -> BoxFuture<'_, Result<StartReport, StartError>> {
        Box::pin(Self::recover_now(parts, progress, accept_loss))
    }

    async fn recover_now(
        parts: Parts,
        progress: &dyn Progress,
        accept_loss: bool,
    ) -> Result<StartReport, StartError> {
        let shared = Arc::new(Shared::new(parts)?);
        let loss = if accept_loss { Loss::Accepted } else { Loss::Told };
        bring_up(&shared, progress, loss).await
    }

    /// Forgets where it thinks that the blob's shards are: they were moved.
    pub fn shards_moved(&self, blob: BlobId) {
        self.shared.blobs.remove(&blob);
    }

    /// Holds a blob that is being written, until what is returned is dropped.
    #[must_use]
    pub fn hold(&self, blob: BlobId) -> Box<dyn Send + Sync> {
        Box::new(self.shared.in_flight.hold(blob))
    }

    /// Whether the blob is being written or read: garbage collection leaves it alone.
    #[must_use]
    pub fn holds(&self, blob: BlobId) -> bool {
        self.shared.in_flight.holds(blob)
    }
}

/// The number after which this process numbers its packs of a chain, durable before it sends any.
/// Of a process that began at the same pack and died nothing may have been applied, and nothing be
/// at any site yet: only the catalog knows which numbers it had.
async fn draw_number(shared: &Shared, state: &ChainState, seen: u64) -> Result<u64, CatalogError> {
    let name = format!("pack-numbers:{}", state.chain);
    let drawn = shared.catalog.job(&name).await?.and_then(|job| job.state.try_into().ok());
    let drawn = drawn.map_or(0, u64::from_le_bytes);
    let number = first_number(state.number, seen, drawn);
    shared.catalog.put_job(JobRow { name, state: number.to_le_bytes().to_vec() }).await?;
    Ok(number)
}

/// What happens when sites are missing whose packs might be needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// More unreachable sites than the guarantee allows for: nothing is replayed.
    Refused,
    /// Whatever the reachable sites give is replayed; a gap is an error. While the others may have
    /// more, a recovery is not finished: the next start goes on with it.
    Told,
    /// The same, and gaps are passed over.
    Accepted,
}

/// Whether the catalog has nothing yet.
async fn is_empty(shared: &Shared) -> Result<bool, CatalogError> {
    let counts = shared.catalog.counts().await?;
    Ok(counts.packs == 0 && counts.tenants == 0)
}

async fn bring_up(
    shared: &Arc<Shared>,
    progress: &dyn Progress,
    loss: Loss,
) -> Result<StartReport, StartError> {
    check_markers(shared).await?;
    install_keys(shared).await?;
    // As far as is known yet: packs are mended on the way.
    shared.close_excluded().await?;
    let chains = shared.catalog.chains().await?;
    let recovering = shared.catalog.is_recovering().await?;
    let blank = recovering || is_empty(shared).await?;
    // Without a chain of its own the gateway has not written since a recovery: only a look at
    // everything tells what is there.
    let has_own = chains.iter().any(|state| state.gateway.is_some());
    let behind: Vec<_> = chains.iter().map(|state| (state.chain, state.number)).collect();
    let survey = match blank || !has_own {
        true => shared.survey(None).await,
        false => shared.survey(Some(&behind)).await,
    };
    let reachable = shared.check_reachable(survey.unreachable);
    let reachable = match loss {
        Loss::Refused => Ok(reachable?),
        Loss::Told | Loss::Accepted => reachable,
    };
    let rebuild = recovering || (blank && !survey.is_empty());
    if rebuild {
        tracing::warn!(
            packs = survey.packs(),
            "the catalog is empty and the sites are not: rebuilding it from the packs"
        );
        shared.catalog.begin_recovery().await?;
    }
    let mut replay = Replay::new(shared, progress, loss == Loss::Accepted, reachable.is_ok());
    replay.run(&survey).await?;
    let certain = reachable.and(replay.certain());
    let partial = match (loss, certain) {
        (Loss::Refused, certain) => certain.map(|()| false)?,
        (Loss::Told, certain) => certain.is_err(),
        (Loss::Accepted, _) => false,
    };
    if rebuild && !partial {
        // Records that were on their way when the old catalog was lost may have higher numbers than
        // any that was seen. Should their pack turn up one day, they must not win over later
        // writes.
        shared.catalog.reserve_seqs(SEQS_UNSEEN_MAX).await?;
        shared.catalog.finish_recovery().await?;
    }
    Ok(StartReport { rebuilt: rebuild, replay: replay.report, partial })
}

/// One chain a policy, in the order of the policies.
async fn open_chains(shared: &Shared, gateway: &str) -> Result<Vec<ChainState>, CatalogError> {
    let mut chains = Vec::with_capacity(shared.placements.len());
    for placement in &shared.placements {
        let proposed = ChainId::from_bytes(shared.ports.random());
        chains.push(shared.catalog.open_chain(gateway, placement.policy.name(), proposed).await?);
    }
    Ok(chains)
}

/// Chains that are written no more since a recovery, whose last pack may be one that nobody
/// acknowledged: a journal settles it, because clients see it. The policy is one of its geometry;
/// where none has that any more, nothing can be done.
async fn ended_chains(shared: &Shared) -> Result<Vec<(Arc<Placement>, ChainState)>, StartError> {
    let mut ended = Vec::new();
    for state in shared.catalog.chains().await? {
        if state.gateway.is_some() || is_closed(shared, &state).await {
            continue;
        }
        let Some(row) = shared.catalog.blob(state.link.blob).await? else { continue };
        let mut placements = shared.placements.iter();
        let same = placements.find(|placement| placement.policy.geometry() == row.geometry);
        ended.extend(same.map(|placement| (Arc::clone(placement), state)));
    }
    Ok(ended)
}

/// Whether the chain ends with an empty pack within its guarantee: such a one closed it before.
async fn is_closed(shared: &Shared, state: &ChainState) -> bool {
    let Ok(blob) = shared.blob(state.link.blob).await else { return false };
    let Ok(frame) = shared.blob_bytes(&blob, 0..blob.row.bytes).await else { return false };
    blob.row.state == BlobState::Whole && pack::parse(&frame).is_ok_and(|it| it.slots.is_empty())
}

async fn install_keys(shared: &Shared) -> Result<(), StartError> {
    for tenant in shared.catalog.tenants().await? {
        let installed = shared.keyring.install_tenant(tenant.record.tenant, &tenant.record.key);
        installed.map_err(|_| StartError::WrongRootKey)?;
    }
    for bucket in shared.catalog.all_buckets().await? {
        let record = &bucket.record;
        let installed = shared.keyring.install_bucket(record.tenant, record.bucket, &record.keys);
        installed.map_err(|_| StartError::WrongRootKey)?;
    }
    Ok(())
}

/// Each site bears a random marker. Two with the same one are one storage. One with another than
/// it had is not the storage that it was, or lies: it is barred, and the others decide whether
/// they are enough (I9).
async fn check_markers(shared: &Arc<Shared>) -> Result<(), StartError> {
    let known: HashMap<SiteId, [u8; 16]> =
        shared.catalog.site_markers().await?.into_iter().collect();
    let reads =
        shared.fleet.iter().map(|site| async move { (site, site.marker_behind_bar().await) });
    let mut by_marker: HashMap<[u8; 16], String> = HashMap::new();
    for (site, marker) in future::join_all(reads).await {
        let name = || site.name().to_owned();
        let marker = match (marker, known.get(&site.id())) {
            (Err(error), _) if is_away(&error) => {
                tracing::warn!(%error, "a site's marker cannot be read");
                continue;
            }
            (Ok(Some(found)), Some(expected)) if found == *expected => found,
            (Ok(Some(found)), None) => {
                shared.catalog.set_site_marker(site.id(), found).await?;
                found
            }
            // A marker that is none, or another's.
            (Err(_), _) | (Ok(Some(_)), Some(_)) => {
                bar(shared, site, known.get(&site.id()).copied());
                continue;
            }
            (Ok(None), known) => match mark(shared, site).await? {
                Some(marker) => {
                    if known.is_some() {
                        tracing::error!(site = site.name(), "the site lost everything it had");
                    }
                    marker
                }
                None => continue,
            },
        };
        lift(site);
        if let Some(first) = by_marker.insert(marker, name()) {
            return Err(StartError::SameStorage { first, second: name() });
        }
    }
    Ok(())
}

fn bar(shared: &Arc<Shared>, site: &Guarded, expected: Option<[u8; 16]>) {
    tracing::error!(
        site = site.name(),
        "the site is not the storage that it was (its marker differs): it is barred; mount the \
         right one, or configure the new one under a new name"
    );
    let is_watched = site.is_barred_as(Bar::OtherStorage);
    site.bar(Bar::OtherStorage, None);
    if let (false, Some(expected)) = (is_watched, expected) {
        let watch = watch_marker(Arc::downgrade(shared), site.clone(), expected);
        shared.ports.runtime.spawn(Box::pin(watch));
    }
}

fn lift(site: &Guarded) {
    if site.lift(Bar::OtherStorage) {
        tracing::warn!(site = site.name(), "the site is the storage that it was again");
    }
}

/// Looks now and then at a barred site, until it shows its own marker again or the engine is gone.
/// One that never had a marker waits for the next start.
async fn watch_marker(shared: Weak<Shared>, site: Guarded, expected: [u8; 16]) {
    let mut pause = MARKER_PAUSE_MIN;
    while let Some(shared) = shared.upgrade() {
        let sleep = shared.ports.runtime.sleep(pause);
        // Not held while asleep, so that a dropped engine ends this.
        drop(shared);
        sleep.await;
        if !site.is_barred_as(Bar::OtherStorage) {
            return;
        }
        if site.marker_behind_bar().await.is_ok_and(|found| found == Some(expected)) {
            return lift(&site);
        }
        pause = (pause * 2).min(MARKER_PAUSE_MAX);
    }
}

/// Leaves a marker at a new site, and knows a storage that got one a moment ago under another name.
async fn mark(shared: &Shared, site: &Guarded) -> Result<Option<[u8; 16]>, StartError> {
    let proposed = shared.ports.random();
    let marker = match site.set_marker(proposed).await {
        Ok(()) => proposed,
        Err(error) => match site.marker().await {
            Ok(Some(found)) => found,
            _ => {
                tracing::warn!(%error, "a site cannot be marked");
                return Ok(None);
            }
        },
    };
    shared.catalog.set_site_marker(site.id(), marker).await?;
    Ok(Some(marker))
}

/// Lets the sites remove what a dead process left half-written.
fn sweep(shared: &Arc<Shared>) {
    let shared_too = Arc::clone(shared);
    shared.ports.runtime.spawn(Box::pin(async move {
        let all: SiteSet = (0..shared_too.fleet.len()).collect();
        for position in all.iter() {
            match shared_too.fleet.site(position).sweep().await {
                Ok(0) => {}
                Ok(count) => tracing::info!(position, count, "half-written shards were removed"),
                Err(error) => tracing::warn!(%error, "a site could not be swept"),
            }
        }
    }));
}
