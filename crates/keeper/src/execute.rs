//! Carries out what [`crate::plan`] decides: deletes garbage and orphans at the sites.
//!
//! **Invariant.** Whether a blob is held is asked before the catalog is, and again just before it
//! is deleted. A blob is forgotten only after every one of its sites has confirmed the deletion.
//!
//! **Deliberately absent.** Decisions (`plan`).
//!
//! **Crash.** What was deleted and not forgotten is deleted again at the next pass.

use crate::Pass;
use crate::busy::Busy;
use crate::index::Index;
use crate::plan::{ListedBlob, Plan, may_delete, plan_listed};
use crate::rebuild::bit;
use crate::whereabouts::{Shown, show};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use havre_catalog::{BlobRow, CatalogError, JobRow, ShardMove};
use havre_codec::{BlobKeys, Layout, SHARD_HEADER_BYTES, shard};
use havre_model::limits::SITE_LIST_PAGE_MAX;
use havre_model::{BlobId, BlobName, ChainId, ShardIndex};
use havre_sites::{Fleet, Guarded, Health, SiteError};
use std::collections::HashSet;
use std::sync::Arc;

/// Garbage blobs looked up at a time.
const GARBAGE_PAGE: usize = 256;
/// The name of the job in the catalog.
const JOB: &str = "collect";
/// Deletions under way at once.
const DELETES_MAX: usize = 16;

/// Writers and readers: which blobs they hold, and where they think that shards are.
#[async_trait]
pub trait HeldBlobs: Send + Sync {
    /// Whether somebody holds `blob` now. True as well where it cannot be told: nothing is deleted
    /// without an answer.
    async fn holds(&self, blob: BlobId) -> bool;

    /// Shards of `blob` are elsewhere now, or all of it is: whoever begins to read it asks the
    /// catalog.
    async fn moved(&self, blob: BlobId);
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Blobs that nothing needed any more, deleted at all their sites.
    pub garbage_deleted: u64,
    /// Garbage that stays for the next pass: a site did not delete it, or it is being read.
    pub garbage_left: u64,
    /// Shards without a record, deleted.
    pub orphans_deleted: u64,
    /// Shards without a record that a site did not delete.
    pub orphans_left: u64,
    /// Shards that a site has and the catalog had elsewhere: they count where they are now.
    pub strays_adopted: u64,
    /// Shards at sites where the catalog has none, of which nothing could be said.
    pub strays_left: u64,
    /// Shards of extents found at the sites and needed.
    pub extent_shards_needed: u64,
    /// Shards of packs found at the sites and needed.
    pub pack_shards_needed: u64,
    /// Sites that could not be listed.
    pub sites_unlisted: Vec<String>,
}

/// Collects garbage.
pub struct Collector {
    /// The catalog.
    pub catalog: Arc<dyn Index>,
    /// The sites.
    pub fleet: Arc<Fleet>,
    /// Writers and readers.
    pub held: Arc<dyn HeldBlobs>,
    /// What the keeper's workers are at.
    pub busy: Busy,
}

impl Collector {
    /// One pass: garbage first, then orphans.
    ///
    /// # Errors
    /// When the catalog fails. Sites that fail are in the report.
    pub fn collect(&self) -> Pass<'_, GcReport> {
        Box::pin(self.one_pass())
    }

    async fn one_pass(&self) -> Result<GcReport, CatalogError> {
        let mut report = GcReport::default();
        // Whatever made garbage of a pack is on stable storage before a shard of it goes: a catalog
        // that forgot it in a power cut would look for it at the sites.
        self.catalog.put_job(JobRow { name: JOB.to_owned(), state: Vec::new() }).await?;
        self.collect_garbage(&mut report).await?;
        let own: HashSet<ChainId> = self.catalog.own_chains().await?.into_iter().collect();
        // Packs first, and everywhere: a pack off its chain that stayed while its extents went
        // would be replayed, after a crash, into an object that cannot be read.
        for prefix in [BlobName::PACKS, BlobName::EXTENTS] {
            for site in self.fleet.iter() {
                if !self.collect_orphans(site, prefix, &own, &mut report).await? {
                    report.sites_unlisted.push(site.name().to_owned());
                }
            }
            if report.orphans_left > 0 || !report.sites_unlisted.is_empty() {
                break;
            }
        }
        if report.sites_unlisted.is_empty() && report.strays_left + report.orphans_left == 0 {
            self.busy.reconciled();
        }
        metrics::counter!("havre_gc_blobs_deleted_total").increment(report.garbage_deleted);
        metrics::counter!("havre_gc_orphans_deleted_total").increment(report.orphans_deleted);
        Ok(report)
    }

    async fn collect_garbage(&self, report: &mut GcReport) -> Result<(), CatalogError> {
        let mut after = None;
        loop {
            let page = self.catalog.garbage(after, GARBAGE_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.blob());
            let mut deletes = stream::iter(page)
                .map(|row| async move { (self.delete_everywhere(&row).await, row) })
                .buffer_unordered(DELETES_MAX);
            while let Some((deleted, row)) = deletes.next().await {
                if deleted && self.catalog.forget_blob(row.blob()).await? {
                    report.garbage_deleted += 1;
                } else {
                    report.garbage_left += 1;
                }
            }
        }
    }

    /// True when every site of the blob has confirmed.
    async fn delete_everywhere(&self, row: &BlobRow) -> bool {
        if !may_delete(row, self.held.holds(row.blob()).await) {
            return false;
        }
        let Some(_claim) = self.busy.claim(row.blob()) else { return false };
        let Ok(leftovers) = self.catalog.leftovers_of(row.blob()).await else { return false };
        // Where its shards are may have changed since the row was read.
        let Ok(Some(row)) = self.catalog.blob(row.blob()).await else { return false };
        let deletes: FuturesUnordered<_> = row
            .sites
            .iter()
            .chain(&leftovers)
            .map(|site| async move {
                match self.fleet.by_id(*site) {
                    Some((_, site)) => site.delete(&row.name).await.is_ok(),
                    // A site that is no longer configured is out of reach for good.
                    None => true,
                }
            })
            .collect();
        // Each to its end: a call that is given up looks like silence.
        deletes.fold(true, |all, deleted| async move { all && deleted }).await
    }

    /// False when the site could not be listed to the end.
    async fn collect_orphans(
        &self,
        site: &Guarded,
        prefix: &str,
        own: &HashSet<ChainId>,
        report: &mut GcReport,
    ) -> Result<bool, CatalogError> {
        let mut after = None;
        loop {
            let page = match site.list(prefix, after.as_ref(), SITE_LIST_PAGE_MAX).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "a site cannot be listed for garbage collection");
                    return Ok(false);
                }
            };
            for entry in &page.entries {
                self.look_at(site, &entry.name, own, report).await?;
            }
            let last = page.entries.last().map(|entry| entry.name);
            // A site that says "more" without going on is a site that lies.
            if !page.more || last.is_none() || last <= after {
                return Ok(true);
            }
            after = last;
        }
    }

    async fn look_at(
        &self,
        site: &Guarded,
        name: &BlobName,
        own: &HashSet<ChainId>,
        report: &mut GcReport,
    ) -> Result<(), CatalogError> {
        let is_own = !matches!(name, BlobName::Pack { chain, .. } if !own.contains(chain));
        let held = self.held.holds(name.blob()).await;
        let row = self.catalog.blob(name.blob()).await?;
        match plan_listed(ListedBlob { held, site: site.id(), row: row.as_ref() }) {
            Plan::LookCloser => {
                if let Some(row) = row {
                    self.look_closer(site, &row, report).await?;
                }
            }
            // Another gateway's, or history from before a recovery that did not see it: not ours to
            // judge.
            Plan::DeleteOrphan if !is_own => report.pack_shards_needed += 1,
            Plan::Leave => match name {
                BlobName::Extent(_) => report.extent_shards_needed += 1,
                BlobName::Pack { .. } => report.pack_shards_needed += 1,
            },
            Plan::DeleteOrphan => match delete_orphan(site, name).await {
                Ok(()) => report.orphans_deleted += 1,
                Err(error) => {
                    tracing::warn!(%error, "an orphan could not be deleted");
                    report.orphans_left += 1;
                }
            },
        }
        Ok(())
    }
}

impl Collector {
    /// A site shows a shard of a blob that the catalog has none of there. Where the shard is not
    /// where the catalog has it, this is the one: moved before the catalog was lost, and adopted
    /// now. Where it is, this is a copy that nobody needs.
    async fn look_closer(
        &self,
        site: &Guarded,
        row: &BlobRow,
        report: &mut GcReport,
    ) -> Result<(), CatalogError> {
        let blob = row.blob();
        let Some(_claim) = self.busy.claim(blob) else { return Ok(()) };
        if self.catalog.leftovers_of(blob).await?.contains(&site.id()) {
            // Relocation deletes it.
            report.orphans_left += 1;
            return Ok(());
        }
        // As it is now that nobody moves its shards.
        let Some(row) = self.catalog.blob(blob).await? else { return Ok(()) };
        if row.sites.contains(&site.id()) || self.held.holds(blob).await {
            return Ok(());
        }
        let Some(index) = shard_index(site, &row).await else {
            report.strays_left += 1;
            return Ok(());
        };
        let noted = row.sites[index.get()];
        let there = match self.fleet.by_id(noted) {
            Some((_, noted)) => match show(noted, &row).await {
                // By more than its header, before another copy goes.
                Shown::Shard(_) => shard_index(noted, &row).await == Some(index),
                Shown::Nothing => false,
                Shown::NoAnswer => {
                    report.strays_left += 1;
                    return Ok(());
                }
            },
            None => false,
        };
        if there {
            match site.delete(&row.name).await {
                Ok(()) => report.orphans_deleted += 1,
                Err(_) => report.orphans_left += 1,
            }
            return Ok(());
        }
        let away = self.fleet.by_id(noted).is_some_and(|(_, it)| it.health() == Health::Down);
        let closed =
            self.fleet.by_id(site.id()).is_some_and(|(at, _)| self.fleet.closed().contains(at));
        if away || closed {
            report.strays_left += 1;
            return Ok(());
        }
        // Before it is meant to move: until it did, it counts as left over there, and only what is
        // missing where the catalog has it is no copy.
        self.catalog.note_shards(blob, &row.sites, 0, bit(index)).await?;
        let shift = ShardMove { index, from: noted, to: site.id() };
        if self.catalog.intend_shards(blob, vec![site.id()]).await?
            && self.catalog.move_shards(blob, vec![shift]).await?
        {
            tracing::info!(%blob, site = site.name(), "a shard was found at another site");
            self.held.moved(row.named()).await;
            report.strays_adopted += 1;
        }
        Ok(())
    }
}

/// Which shard of the blob a site has, if any, by its header and last chunk.
async fn shard_index(site: &Guarded, row: &BlobRow) -> Option<ShardIndex> {
    let keys = BlobKeys::new(&row.secret, row.blob(), row.geometry, row.chunk_bytes);
    let layout = Layout::checked(row.geometry, row.chunk_bytes, row.bytes)?;
    let bytes = site.read(&row.name, 0..SHARD_HEADER_BYTES as u64).await.ok()?;
    let header = shard::parse_header(&bytes, row.blob()).ok()?;
    let index = shard::verify_header(&keys, &header).then(|| header.index())?;
    let last = layout.stripes() - 1;
    let mut chunk = site.read(&row.name, layout.sealed_chunk_range(last)).await.ok()?;
    keys.open_chunk(index, last, true, &mut chunk).ok()?;
    Some(index)
}

/// How many shards a site lists, of whatever blobs; counting ends at `most`.
///
/// # Errors
/// When it cannot be listed.
pub async fn shards_listed(site: &Guarded, most: u64) -> Result<u64, SiteError> {
    let mut count = 0;
    for prefix in [BlobName::PACKS, BlobName::EXTENTS] {
        let mut after = None;
        while count < most {
            let page = site.list(prefix, after.as_ref(), SITE_LIST_PAGE_MAX).await?;
            count += page.entries.len() as u64;
            let last = page.entries.last().map(|entry| entry.name);
            if !page.more || last.is_none() || last <= after {
                break;
            }
            after = last;
        }
    }
    Ok(count)
}

async fn delete_orphan(site: &Guarded, name: &BlobName) -> Result<(), SiteError> {
    tracing::info!(site = site.name(), %name, "deleting an orphan");
    site.delete(name).await
}
