//! Looks at the sites' folders after garbage collection: nothing needed is gone, nothing else is left.
//!
//! **Invariant.** The count comes from the folders themselves, not from the collector's own report.
//!
//! **Deliberately absent.** The meaning of the bytes; the judge has read every object before.
//!
//! **Crash.** Nothing is kept.

use super::judge;
use super::load::Load;
use crate::server::{Plan, Server};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Extents by name, each with the number of sites that hold a shard of it.
type Extents = BTreeMap<String, usize>;

/// Collects garbage with everything still needed, and again with nothing needed.
pub(super) fn check(load: &Load, plan: &Plan, server: Server) -> Result<()> {
    if !plan.data.join("sites").is_dir() {
        println!("   no sites to look at: this server keeps its objects elsewhere");
        return server.stop();
    }
    let before = extents(&plan.data)?.len();
    let report = plan.collect_garbage()?;
    let extents_left = extents(&plan.data)?;
    println!("   gc: {before} extents before, {} after; it says {report}", extents_left.len());
    if let Some(needed) = report["extents_needed"].as_u64()
        && needed != extents_left.len() as u64
    {
        bail!("the catalog needs {needed} extents, the sites hold {}", extents_left.len());
    }
    let mut connection = server.connect();
    judge::judge(load, &mut connection, &mut crate::random::Random::new(0), judge::Depth::All)?;
    judge::empty(load, &mut connection)?;
    let report = plan.collect_garbage()?;
    let left = extents(&plan.data)?;
    if !left.is_empty() {
        let names: Vec<&String> = left.keys().take(5).collect();
        bail!(
            "every object is deleted and {} extents are left: {names:?}; gc says {report}",
            left.len()
        );
    }
    server.stop()
}

fn extents(data: &Path) -> Result<Extents> {
    let mut found = Extents::new();
    for site in fs::read_dir(data.join("sites"))? {
        let folder = site?.path().join("e");
        if !folder.is_dir() {
            continue;
        }
        for prefix in fs::read_dir(folder)? {
            for file in fs::read_dir(prefix?.path())? {
                let name = file?.file_name().to_string_lossy().into_owned();
                *found.entry(name).or_default() += 1;
            }
        }
    }
    Ok(found)
}
