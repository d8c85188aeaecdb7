//! `havre object inspect`: where an object's shards are.
//!
//! **Invariant.** Reads only; works beside a running gateway.
//!
//! **Deliberately absent.** Any content: no customer key is used.
//!
//! **Crash.** Nothing is written.

use anyhow::{Context, Result};
use havre::compose;
use havre::config::Config;
use havre_catalog::SqliteCatalog;
use havre_engine::{BlobInspection, Engine, ShardState};
use havre_model::record::ObjectKey;
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::Arc;

#[derive(Serialize)]
struct Printed {
    bytes: u64,
    etag: String,
    version: String,
    pack: PrintedBlob,
    extents: Vec<PrintedBlob>,
}

#[derive(Serialize)]
struct PrintedBlob {
    name: String,
    geometry: String,
    bytes: u64,
    shards: Vec<PrintedShard>,
}

#[derive(Serialize)]
struct PrintedShard {
    index: usize,
    kind: &'static str,
    site: String,
    state: &'static str,
    noted: bool,
}

/// Prints where the object's shards are, and in what state.
pub(crate) async fn inspect(
    config: &Config,
    bucket: &str,
    key: &str,
    extents_max: usize,
    json: bool,
) -> Result<()> {
    let catalog = SqliteCatalog::open_read_only(&config.gateway.catalog)
        .context("open the catalog to read")?;
    let root = compose::root_key(&config.gateway.root_key)?;
    let engine = Engine::offline(compose::parts(config, root, Arc::new(catalog))?)?;
    let key = ObjectKey::new(key.to_owned()).context("a key has 1 to 1,024 bytes and no NUL")?;
    let bucket = engine.bucket(bucket).await?.context("there is no such bucket")?;
    let object = engine.head(&bucket, &key).await?.context("there is no such object")?;
    let found = engine.inspect(&object, extents_max).await?;
    let printed = Printed {
        bytes: object.info().bytes,
        etag: object.info().etag.clone(),
        version: object.info().version.to_string(),
        pack: print_blob(&found.pack),
        extents: found.extents.iter().map(print_blob).collect(),
    };
    if json {
        crate::say(&format!("{}\n", serde_json::to_string_pretty(&printed)?))
    } else {
        crate::say(&table(&printed)?)
    }
}

fn print_blob(blob: &BlobInspection) -> PrintedBlob {
    let shards = blob.shards.iter().map(|shard| PrintedShard {
        index: shard.index,
        kind: if shard.data { "data" } else { "parity" },
        site: shard.site_name.clone().unwrap_or_else(|| shard.site.to_string()),
        state: match shard.state {
            ShardState::Authentic => "authentic",
            ShardState::Corrupt => "corrupt",
            ShardState::Missing => "missing",
            ShardState::Unreachable => "unreachable",
            ShardState::UnknownSite => "at a site that is not configured or not known",
        },
        noted: shard.noted,
    });
    PrintedBlob {
        name: blob.name.to_string(),
        geometry: blob.geometry.to_string(),
        bytes: blob.bytes,
        shards: shards.collect(),
    }
}

fn table(printed: &Printed) -> Result<String> {
    let mut text = String::new();
    let Printed { bytes, etag, version, .. } = printed;
    writeln!(text, "{bytes} bytes, ETag {etag}, version {version}")?;
    let inside = if printed.extents.is_empty() { ", the bytes are inside" } else { "" };
    let pack = ("record in pack", inside, &printed.pack);
    let extents = printed.extents.iter().map(|blob| ("extent", "", blob));
    for (what, note, blob) in std::iter::once(pack).chain(extents) {
        let PrintedBlob { name, geometry, bytes, shards } = blob;
        writeln!(text, "\n{what} {name} ({geometry}, {bytes} bytes{note})")?;
        for PrintedShard { index, kind, site, state, noted } in shards {
            let noted = if *noted { "" } else { "  (noted as missing)" };
            writeln!(text, "  {index:>2} {kind:<6} {site:<16} {state}{noted}")?;
        }
    }
    Ok(text)
}
