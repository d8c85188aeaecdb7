//! Repair: shards that a blob misses are made anew from the others, at the sites that they were
//! made for.
//!
//! **Invariant.** A shard goes only where a policy permits it (I2), and is noted as stored only
//! after its site has confirmed it. Nothing that is readable is deleted.
//!
//! **Deliberately absent.** Moving shards to other sites, for sites that left or facts that
//! changed: [`crate::relocate`]. Customer keys: the second lock is enough.
//!
//! **Crash.** The catalog knows what is incomplete; the next pass goes on with it.

use crate::Pass;
use crate::busy::Busy;
use crate::index::Index;
use crate::plan::{missing, spare};
use crate::rebuild::{Rebuilt, Target, rebuild, retake};
use crate::sources;
use crate::throttle::Throttle;
use crate::whereabouts::locate;
use futures::future;
use havre_catalog::{BlobRow, CatalogError};
use havre_model::ports::Ports;
use havre_model::{BlobId, ShardIndex, SiteId, SiteSet};
use havre_policy::{Permit, PlacementPolicy};
use havre_sites::{Fleet, Health};
use std::collections::HashSet;
use std::sync::Arc;

/// Incomplete blobs that a pass looks at; what is beyond them waits for the next pass.
const BLOBS_MAX: usize = 16 * 1024;
/// Blobs read from the catalog at a time.
const PAGE: usize = 512;
/// Blobs repaired at once.
const REPAIRS_MAX: usize = 4;

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Blobs that were incomplete, as far as the pass looked.
    pub incomplete: u64,
    /// Blobs that are whole again.
    pub whole: u64,
    /// Shards made anew.
    pub shards: u64,
    /// Bytes of shards that were read for it.
    pub bytes_read: u64,
    /// Blobs that wait: for a site that is away, to be moved, or because they were incomplete only
    /// now.
    pub waiting: u64,
    /// Blobs whose missing shards no policy permits where they were: facts that changed.
    pub refused: u64,
    /// Blobs of which fewer than `k` shards could be read.
    pub unreadable: u64,
}

/// Repairs blobs.
pub struct Repairer {
    catalog: Arc<dyn Index>,
    fleet: Arc<Fleet>,
    policies: Arc<[PlacementPolicy]>,
    busy: Busy,
    throttle: Throttle,
    ports: Ports,
    /// Blobs that were incomplete in the pass before. The last shards of a write arrive after its
    /// acknowledgement; what is incomplete twice stays so.
    seen: HashSet<BlobId>,
}

/// How one blob fared, with where its shards are.
type Fared = (BlobRow, Fate);

/// How one blob fared.
enum Fate {
    Repaired(Rebuilt),
    Waits,
    Refused,
}

impl Repairer {
    /// A repairer that reads at most `bytes_per_second` from the sites.
    #[must_use]
    pub fn new(
        catalog: Arc<dyn Index>,
        fleet: Arc<Fleet>,
        policies: Arc<[PlacementPolicy]>,
        busy: Busy,
        bytes_per_second: u64,
        ports: Ports,
    ) -> Self {
        let throttle = Throttle::new(bytes_per_second);
        Self { catalog, fleet, policies, busy, throttle, ports, seen: HashSet::new() }
    }

    /// One pass over the blobs that were incomplete at the pass before and still are, the most
    /// endangered first.
    ///
    /// # Errors
    /// When the catalog fails. What sites refuse is in the report.
    pub fn pass(&mut self) -> Pass<'_, RepairReport> {
        Box::pin(self.one_pass())
    }

    async fn one_pass(&mut self) -> Result<RepairReport, CatalogError> {
        let mut rows = self.incomplete().await?;
        let incomplete = rows.len() as u64;
        let mut report = RepairReport { incomplete, ..RepairReport::default() };
        let now: HashSet<BlobId> = rows.iter().map(BlobRow::blob).collect();
        let before = std::mem::replace(&mut self.seen, now);
        rows.retain(|row| before.contains(&row.blob()));
        report.waiting = incomplete - rows.len() as u64;
        rows.sort_by_key(spare);
        let mut rest = &rows[..];
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(rest.len().min(REPAIRS_MAX));
            rest = later;
            let wait = self.throttle.wait(self.ports.clock.elapsed());
            if !wait.is_zero() {
                self.ports.runtime.sleep(wait).await;
            }
            let read = report.bytes_read;
            let mut repairs = Vec::with_capacity(batch.len());
            for row in batch {
                repairs.push(self.repair(row));
            }
            let fates = future::join_all(repairs).await;
            for fared in fates {
                let (row, fate) = fared?;
                self.note(&row, fate, &mut report).await?;
            }
            self.throttle.took(self.ports.clock.elapsed(), report.bytes_read - read);
        }
        metrics::counter!("havre_repaired_shards_total").increment(report.shards);
        metrics::counter!("havre_repair_read_bytes_total").increment(report.bytes_read);
        Ok(report)
    }

    async fn incomplete(&self) -> Result<Vec<BlobRow>, CatalogError> {
        let mut rows: Vec<BlobRow> = Vec::new();
        while rows.len() < BLOBS_MAX {
            let after = rows.last().map(BlobRow::blob);
            let page = self.catalog.below_guarantee(after, PAGE).await?;
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        Ok(rows)
    }

    async fn repair(&self, row: &BlobRow) -> Result<Fared, CatalogError> {
        let Some(_claim) = self.busy.claim(row.blob()) else {
            return Ok((row.clone(), Fate::Waits));
        };
        // As it is now that nobody moves its shards.
        let Some(now) = self.catalog.blob(row.blob()).await? else {
            return Ok((row.clone(), Fate::Waits));
        };
        let is_reconciled = self.busy.is_reconciled();
        match locate(&*self.catalog, &self.fleet, now, is_reconciled).await? {
            Some(now) => {
                let left = self.catalog.leftovers_of(now.blob()).await?;
                let fate = self.make_missing(&now, &left).await;
                Ok((now, fate))
            }
            None => Ok((row.clone(), Fate::Waits)),
        }
    }

    async fn make_missing(&self, row: &BlobRow, left: &[SiteId]) -> Fate {
        let closed = self.fleet.closed();
        let mut waits = false;
        let mut targets = Vec::new();
        for index in missing(row) {
            // Of a site that takes no more, or is configured no more, the shard moves to another.
            let site = self.fleet.by_id(row.sites[index.get()]);
            let Some((_, site)) = site.filter(|(at, _)| !closed.contains(*at)) else {
                waits = true;
                continue;
            };
            if site.health() == Health::Down {
                waits = true;
                continue;
            }
            match self.permit(row, index, left) {
                Some(permit) => targets.push(Target { index, site, permit }),
                None => return Fate::Refused,
            }
        }
        if targets.is_empty() {
            return if waits { Fate::Waits } else { Fate::Repaired(Rebuilt::default()) };
        }
        let mut rebuilt = rebuild(row, sources(&self.fleet, row), targets).await;
        if rebuilt.taken != 0 {
            retake(row, &self.fleet, &mut rebuilt, |index| self.permit(row, index, left)).await;
        }
        Fate::Repaired(rebuilt)
    }

    /// A permit for a missing shard at its own site. A blob does not say which policy it is under:
    /// every policy that it may be under has to permit it. What is `left` over elsewhere counts.
    fn permit(&self, row: &BlobRow, index: ShardIndex, left: &[SiteId]) -> Option<Permit> {
        let position = |at: usize| Some(self.fleet.by_id(*row.sites.get(at)?)?.0);
        let mut holders = SiteSet::EMPTY;
        for other in row.geometry.indices() {
            match position(other.get()) {
                Some(at) if other != index => holders = holders.with(at),
                _ => {}
            }
        }
        let all = position(index.get()).map_or(holders, |at| holders.with(at));
        let left = left.iter().filter_map(|site| Some(self.fleet.by_id(*site)?.0));
        let holders = left.fold(holders, SiteSet::with);
        let may_be_under = |policy: &&PlacementPolicy| {
            policy.geometry() == row.geometry && all.is_subset(policy.eligible())
        };
        let site = row.sites[index.get()];
        let permits = self.policies.iter().filter(may_be_under);
        let permits = permits.map(|policy| policy.permit(row.blob(), index, site, holders).ok());
        permits.reduce(|one, other| one.and(other)).flatten()
    }

    async fn note(
        &self,
        row: &BlobRow,
        fate: Fate,
        report: &mut RepairReport,
    ) -> Result<(), CatalogError> {
        let rebuilt = match fate {
            Fate::Waits => {
                report.waiting += 1;
                return Ok(());
            }
            Fate::Refused => {
                report.refused += 1;
                return Ok(());
            }
            Fate::Repaired(rebuilt) => rebuilt,
        };
        report.bytes_read += rebuilt.bytes_read;
        report.shards += u64::from(rebuilt.stored.count_ones());
        report.unreadable += u64::from(rebuilt.too_few);
        if rebuilt.stored | rebuilt.bad == 0 {
            report.waiting += u64::from(!rebuilt.too_few && rebuilt.failed != 0);
            return Ok(());
        }
        self.catalog.note_shards(row.blob(), &row.sites, rebuilt.stored, rebuilt.bad).await?;
        let now = (row.stored | rebuilt.stored) & !rebuilt.bad;
        if now.count_ones() as usize == row.geometry.total() {
            report.whole += 1;
        } else {
            report.waiting += u64::from(!rebuilt.too_few);
        }
        Ok(())
    }
}
