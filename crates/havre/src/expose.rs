//! `havre exposure`: who could read, who could cut off, and why.
//!
//! **Invariant.** Works beside a running gateway and without one; the configuration is read and
//! never changed.
//!
//! **Deliberately absent.** The answer: `havre::exposure` and `havre_policy`.
//!
//! **Crash.** The drawing may be there in part; it can be drawn again.

use anyhow::{Context, Result};
use havre::config::Config;
use havre::exposure::{BucketPolicy, draw, read_changes, report, table};
use havre_catalog::{Catalog as _, SqliteCatalog};
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
    let (buckets, note) = match buckets(config).await {
        Ok(buckets) => (buckets, None),
        Err(error) => (Vec::new(), Some(format!("buckets are not known: {error:#}"))),
    };
    let mut report = report(config, what_if, &changes, &buckets)?;
    report.warnings.extend(note);
    if let Some(file) = svg {
        std::fs::write(file, draw(&report))
            .with_context(|| format!("write the drawing {}", file.display()))?;
    }
    match form {
        Form::Table { all } => crate::say(&table(&report, all)),
        Form::Json => crate::say(&format!("{}\n", serde_json::to_string_pretty(&report)?)),
    }
}

/// The buckets there are, with their policies; none before the first start.
async fn buckets(config: &Config) -> Result<Vec<BucketPolicy>> {
    let file = &config.gateway.catalog;
    if !file.exists() {
        return Ok(Vec::new());
    }
    let catalog = SqliteCatalog::open_read_only(file).context("open the catalog to read")?;
    let rows = catalog.all_buckets().await.context("list the buckets")?;
    let bucket = |row: havre_catalog::BucketRow| BucketPolicy {
        bucket: row.record.name,
        policy: row.record.policy,
    };
    let mut buckets: Vec<BucketPolicy> = rows.into_iter().map(bucket).collect();
    buckets.sort_by(|a, b| a.bucket.cmp(&b.bucket));
    Ok(buckets)
}
