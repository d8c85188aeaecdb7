//! A drill: the catalog again from the sites alone, beside the live one, and both compared.
//!
//! **Invariant.** Neither the sites nor the live catalog are changed: sites are read through guards
//! that refuse every write, the catalog by a copy as of one moment. A row counts as newer only if
//! it did change since that copy, or stands in a pack behind the ends that the copy knows; all else
//! that differs is a difference.
//!
//! **Deliberately absent.** Objects' bytes: `havre drill recover` finds their records again, a read
//! proves them. Which sites have which shards: shards move.
//!
//! **Crash.** The scratch directory stays behind; it holds what the catalog holds, remove it.

mod table;

use crate::compose;
use crate::config::Config;
use crate::statement::rfc3339;
use anyhow::{Context, Result, bail};
use havre_catalog::{Catalog, Mode, Opened, SqliteCatalog};
use havre_engine::Engine;
use havre_engine::replay::Progress;
use havre_model::{BlobName, ChainId};
use havre_seal::RootKey;
use havre_sites::{Fleet, system};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::{Row, Rows, Table};

/// Differences that are named in the log, by number only.
const DIFFERENCES_LOGGED_MAX: u64 = 20;

/// How the rows of one kind compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Rows of the live catalog, as of the copy.
    pub live: u64,
    /// Rows that were recovered.
    pub recovered: u64,
    /// Rows that are the same in both.
    pub same: u64,
    /// Rows that changed since the copy.
    pub newer: u64,
    /// Rows that are otherwise in one than in the other, or in one only.
    pub differ: u64,
    /// SHA-256 over the live rows in order, newer ones left out.
    pub digest_live: String,
    /// The same of what was recovered.
    pub digest_recovered: String,
}

/// The body of the statement `drill-recover`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoverReport {
    /// When the copy of the live catalog was begun: RFC 3339.
    pub began: String,
    /// When all was compared.
    pub ended: String,
    /// Seconds that the recovery took.
    pub recovery_seconds: f64,
    /// Packs that were recovered.
    pub packs: u64,
    /// Their records.
    pub records: u64,
    /// Sites that did not answer.
    pub unreachable: Vec<String>,
    /// Runs of acknowledged packs that could not be read.
    pub gaps: u64,
    /// Records that no key opened.
    pub unreadable_records: u64,
    /// How everything compares, by kind.
    pub compared: BTreeMap<String, Compared>,
    /// Whether everything that the copy has was recovered, and nothing else but what is newer.
    pub same: bool,
}

/// A directory for scratch, removed with all that is in it when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(directory: &Path) -> Result<Self> {
        DirBuilder::new()
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("create the scratch directory {}", directory.display()))?;
        Ok(Self(directory.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "the scratch directory could not be removed: it holds names");
        }
    }
}

/// Rebuilds a catalog in `directory`, which must not be there yet, and compares it with the live
/// one.
///
/// # Errors
/// When either catalog or a site's secrets cannot be had, or too many sites are away.
pub async fn rehearse(
    config: &Config,
    root: RootKey,
    directory: &Path,
    progress: &dyn Progress,
) -> Result<RecoverReport> {
    let ports = system::ports();
    let clock = Arc::clone(&ports.clock);
    let began = rfc3339(clock.now());
    let scratch = Scratch::new(directory)?;
    let (live, copy) = (&config.gateway.catalog, scratch.0.join("live.sqlite"));
    SqliteCatalog::copy(live, &copy).context("copy the live catalog")?;
    let copy = SqliteCatalog::open_read_only(&copy).context("open the copy")?;
    let opened = SqliteCatalog::open(&scratch.0.join("recovered.sqlite"), Mode::Threaded)?;
    let Opened::Fresh(recovered) = opened else { bail!("the scratch catalog is not new") };
    let recovered: Arc<dyn Catalog> = Arc::new(recovered);
    let mut parts = compose::parts(config, root, Arc::clone(&recovered))?;
    let sites = parts.fleet.iter().map(|site| site.read_only(&ports)).collect();
    parts.fleet = Arc::new(Fleet::new(sites));
    let start = clock.elapsed();
    let report = Engine::recover(parts, progress, true).await.context("recover")?;
    let recovery_seconds = clock.elapsed().saturating_sub(start).as_secs_f64();
    let now = SqliteCatalog::open_read_only(live).context("open the live catalog to read")?;
    let comparison = Comparison::new(&copy, &*recovered, &now).await?;
    let compared = comparison.run().await?;
    let replay = report.replay;
    let whole = replay.gaps.is_empty() && replay.unreadable_records == 0;
    Ok(RecoverReport {
        began,
        ended: rfc3339(clock.now()),
        recovery_seconds,
        packs: replay.packs,
        records: replay.records,
        unreachable: replay.unreachable,
        gaps: replay.gaps.len() as u64,
        unreadable_records: replay.unreadable_records,
        same: whole && compared.values().all(|it| it.differ == 0),
        compared,
    })
}

struct Comparison<'a> {
    copy: &'a dyn Catalog,
    recovered: &'a dyn Catalog,
    now: &'a dyn Catalog,
    /// The last pack of each chain in the copy.
    ends: HashMap<ChainId, u64>,
}

impl<'a> Comparison<'a> {
    async fn new(
        copy: &'a dyn Catalog,
        recovered: &'a dyn Catalog,
        now: &'a dyn Catalog,
    ) -> Result<Self> {
        let chains = copy.chains().await?;
        let ends = chains.into_iter().map(|state| (state.chain, state.number)).collect();
        Ok(Self { copy, recovered, now, ends })
    }

    async fn run(&self) -> Result<BTreeMap<String, Compared>> {
        let mut tables = vec![Table::Tenants, Table::Buckets, Table::Exclusions, Table::Packs];
        let mut buckets: Vec<_> = Vec::new();
        for catalog in [self.copy, self.recovered] {
            buckets.extend(catalog.all_buckets().await?.into_iter().map(|row| row.record.bucket));
        }
        buckets.sort_unstable();
        buckets.dedup();
        tables.extend(buckets.iter().map(|bucket| Table::Objects(*bucket)));
        tables.extend(buckets.iter().map(|bucket| Table::Uploads(*bucket)));
        let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
        for name in Table::NAMES {
            sums.insert(name, Sum::default());
        }
        for table in tables {
            self.table(table, sums.entry(table.name()).or_default()).await?;
        }
        Ok(sums.into_iter().map(|(name, sum)| (name.to_owned(), sum.finish())).collect())
    }

    /// Merges the rows of both by their keys.
    async fn table(&self, table: Table, sum: &mut Sum) -> Result<()> {
        let mut live = Rows::new(self.copy, table);
        let mut recovered = Rows::new(self.recovered, table);
        loop {
            let (left, right) = (live.peek().await?, recovered.peek().await?);
            let key = match (left, right) {
                (None, None) => return Ok(()),
                (Some(row), None) | (None, Some(row)) => row.key.clone(),
                (Some(left), Some(right)) => left.key.clone().min(right.key.clone()),
            };
            let left = live.take(&key);
            let right = recovered.take(&key);
            let newer =
                left != right && self.is_newer(table, left.as_ref(), right.as_ref()).await?;
            sum.count(table, left.as_ref(), right.as_ref(), newer);
        }
    }

    /// Whether a difference is of something that changed since the copy.
    async fn is_newer(
        &self,
        table: Table,
        live: Option<&Row>,
        other: Option<&Row>,
    ) -> Result<bool> {
        if let Some(pack) = other.and_then(|row| row.pack)
            && let Some(row) = self.recovered.blob(pack).await?
            && let BlobName::Pack { chain, number, .. } = row.name
            && self.ends.get(&chain).is_none_or(|end| number > *end)
        {
            return Ok(true);
        }
        let Some(row) = live.or(other) else { return Ok(false) };
        Ok(table.row(self.now, row).await?.as_ref() != live)
    }
}

#[derive(Default)]
struct Sum {
    compared: Compared,
    live: Sha256,
    recovered: Sha256,
}

impl Sum {
    fn count(&mut self, table: Table, live: Option<&Row>, recovered: Option<&Row>, newer: bool) {
        let compared = &mut self.compared;
        compared.live += u64::from(live.is_some());
        compared.recovered += u64::from(recovered.is_some());
        match (live == recovered, newer) {
            (true, _) => compared.same += 1,
            (false, true) => compared.newer += 1,
            (false, false) => {
                compared.differ += 1;
                if compared.differ <= DIFFERENCES_LOGGED_MAX {
                    let (live, recovered) = (live.is_some(), recovered.is_some());
                    tracing::error!(kind = table.name(), live, recovered, "a row differs");
                }
            }
        }
        if !newer {
            for (digest, row) in [(&mut self.live, live), (&mut self.recovered, recovered)] {
                if let Some(row) = row {
                    digest.update(row.digest);
                }
            }
        }
    }

    fn finish(self) -> Compared {
        let mut compared = self.compared;
        compared.digest_live = hex::encode(self.live.finalize());
        compared.digest_recovered = hex::encode(self.recovered.finalize());
        compared
    }
}
