//! `havre exposure`: who could read, who could cut off, and why.
//!
//! **Invariant.** Works beside a running gateway and without one; the configuration is read and
//! never changed.
//!
//! **Deliberately absent.** The answer: `havre::exposure` and `havre_policy`.
//!
//! **Crash.** The drawing may be there in part; it can be drawn again.

use anyhow::{Context, Result};
use havre::compose::sites_of;
use havre::config::Config;
use havre::exposure::{BucketPolicy, StoredReport, draw, read_changes, report, suppose, table};
use havre_catalog::{Catalog as _, SqliteCatalog};
use havre_keeper::estimate::{self, Misplacements};
use havre_model::SiteSet;
use havre_policy::{Change, PlacementPolicy};
use std::collections::BTreeMap;
use std::path::Path;

/// How the answer is printed.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// As text.
    Table {
        /// Whether every coalition is shown.
        all: bool,
    },
    /// As JSON.
    Json,
}

/// Prints who could read and who could cut off, and draws it if asked.
pub(crate) async fn expose(
    config: &Config,
    form: Form,
    svg: Option<&Path>,
    what_if: &[String],
) -> Result<()> {
    let mut changes = Vec::new();
    for text in what_if {
        changes.extend(read_changes(text)?);
    }
    let known = match catalog(config) {
        Ok(Some(catalog)) => known(config, &catalog, &changes).await,
        Ok(None) => Ok((Vec::new(), BTreeMap::new(), 0)),
        Err(error) => Err(error),
    };
    let (known, note) = match known {
        Ok(known) => (known, None),
        Err(error) => {
            let note = format!("buckets, and what they store, are not known: {error:#}");
            ((Vec::new(), BTreeMap::new(), 0), Some(note))
        }
    };
    let (buckets, mut stored, foreign) = known;
    let mut report = report(config, what_if, &changes, &buckets)?;
    report.warnings.extend(note);
    if foreign > 0 {
        report.warnings.push(format!(
            "{foreign} blobs are of no policy's geometry: nothing says whether they lie as they \
             may, and they are not moved; declare a policy of their geometry"
        ));
    }
    for policy in &mut report.policies {
        policy.stored = stored.remove(&policy.policy);
    }
    if let Some(file) = svg {
        std::fs::write(file, draw(&report))
            .with_context(|| format!("write the drawing {}", file.display()))?;
    }
    match form {
        Form::Table { all } => crate::say(&table(&report, all)),
        Form::Json => crate::say(&format!("{}\n", serde_json::to_string_pretty(&report)?)),
    }
}

/// The catalog; none before the first start.
fn catalog(config: &Config) -> Result<Option<SqliteCatalog>> {
    let file = &config.gateway.catalog;
    if !file.exists() {
        return Ok(None);
    }
    SqliteCatalog::open_read_only(file).context("open the catalog to read").map(Some)
}

/// The buckets, how what each policy stores lies, and how many blobs are of no policy.
type Known = (Vec<BucketPolicy>, BTreeMap<String, StoredReport>, u64);

async fn known(config: &Config, catalog: &SqliteCatalog, changes: &[Change]) -> Result<Known> {
    let buckets = buckets(catalog).await?;
    let (facts, supposed) = suppose(config, changes)?;
    // What a policy that would be refused stores is of no policy.
    let policies: Vec<PlacementPolicy> =
        supposed.into_iter().filter_map(|(_, policy)| policy.ok()).collect();
    let exclusions = catalog.exclusions().await.context("list the exclusions")?;
    let closed = exclusions.iter().filter_map(|row| sites_of(&facts, &row.record.subject));
    let closed = closed.fold(SiteSet::EMPTY, SiteSet::union);
    let sites = facts.site_ids();
    let (counts, foreign) = estimate::misplacements(catalog, sites, &policies, closed)
        .await
        .context("count what is stored")?;
    let stored = |count: Misplacements| {
        let at_other_sites = count.homeless + count.closed;
        let misplaced = at_other_sites + count.could_read + count.could_cut_off;
        let Misplacements { blobs, could_read, could_cut_off, .. } = count;
        StoredReport { blobs, misplaced, at_other_sites, could_read, could_cut_off }
    };
    let names = policies.iter().map(|policy| policy.name().to_owned());
    Ok((buckets, names.zip(counts.into_iter().map(stored)).collect(), foreign))
}

async fn buckets(catalog: &SqliteCatalog) -> Result<Vec<BucketPolicy>> {
    let rows = catalog.all_buckets().await.context("list the buckets")?;
    let bucket = |row: havre_catalog::BucketRow| BucketPolicy {
        bucket: row.record.name,
        policy: row.record.policy,
    };
    let mut buckets: Vec<BucketPolicy> = rows.into_iter().map(bucket).collect();
    buckets.sort_by(|a, b| a.bucket.cmp(&b.bucket));
    Ok(buckets)
}
