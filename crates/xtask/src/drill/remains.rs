//! Looks at the sites' folders after garbage collection: nothing needed is gone, nothing else is
//! left.
//!
//! **Invariant.** The count comes from the folders themselves, not from the collector's own report.
//!
//! **Deliberately absent.** The meaning of the bytes; the judge has read every object before.
//!
//! **Crash.** Nothing is kept.

use super::judge::{self, Depth, judge};
use super::load::Load;
use crate::random::Random;
use crate::server::{Plan, Server};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Shards of packs that may be left when everything is deleted and compacted: of those that say so,
/// and of the ends of chains.
const PACK_SHARDS_LEFT_MAX: u64 = 120;

/// Shards of extents and of packs that lie at the sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shards {
    extents: u64,
    packs: u64,
}

/// Collects garbage with everything still needed, and again with nothing needed.
pub(super) fn check(load: &Load, plan: &Plan, server: Server) -> Result<()> {
    if !plan.data.join("sites").is_dir() {
        println!("   no sites to look at: this server keeps its objects elsewhere");
        return server.stop();
    }
    server.stop()?;
    let before = shards(&plan.data)?;
    let report = plan.collect_garbage()?;
    let after = shards(&plan.data)?;
    println!("   gc: {} shards of extents, {} after it", before.extents, after.extents);
    let needed = Shards {
        extents: report["extent_shards_needed"].as_u64().context("extent_shards_needed")?,
        packs: report["pack_shards_needed"].as_u64().context("pack_shards_needed")?,
    };
    if after != needed {
        bail!("the catalog needs {needed:?}, the sites hold {after:?}; gc says {report}");
    }

    plan.compact().context("compact")?;
    let compacted = shards(&plan.data)?;
    println!("   compaction: {} shards of packs, {} after it", after.packs, compacted.packs);
    // What the sites alone tell is the same, as the judge sees it.
    plan.lose_catalog()?;
    let server = plan.start()?;
    let mut connection = server.connect();
    judge(load, &mut connection, &mut Random::new(0), Depth::All)
        .context("after gc, compaction and the loss of the catalog")?;
    judge::empty(load, &mut connection)?;
    server.stop()?;
    let report = plan.collect_garbage()?;
    let left = shards(&plan.data)?;
    if left.extents != 0 {
        bail!("every object is deleted and {} shards are left; gc says {report}", left.extents);
    }
    let report = plan.compact().context("compact")?;
    let packs = shards(&plan.data)?.packs;
    println!("   compaction with nothing left: {packs} shards of packs");
    if packs > PACK_SHARDS_LEFT_MAX {
        bail!("every object is deleted and {packs} shards of packs are left; it says {report}");
    }
    let litter = litter(&plan.data)?;
    if !litter.is_empty() {
        bail!("the sites hold files that no name explains: {litter:?}");
    }
    Ok(())
}

fn shards(data: &Path) -> Result<Shards> {
    let mut found = Shards::default();
    for site in fs::read_dir(data.join("sites"))? {
        let site = site?.path();
        found.extents += files(&site.join("e"))?.len() as u64;
        found.packs += files(&site.join("p"))?.len() as u64;
    }
    Ok(found)
}

/// Files at the sites that are neither shard nor marker: what interrupted writes left behind.
fn litter(data: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for site in fs::read_dir(data.join("sites"))? {
        let site = site?.path();
        let known = |path: &PathBuf| {
            let inner = path.strip_prefix(&site).unwrap_or(path);
            ["e", "p", "havre-site"].iter().any(|name| inner.starts_with(name))
        };
        found.extend(files(&site)?.into_iter().filter(|path| !known(path)));
    }
    Ok(found)
}

/// Every file below `folder`, which need not exist.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}
