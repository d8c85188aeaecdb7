//! `cargo xtask layers`: compares `layers.toml` with what the packages really depend on.
//!
//! **Invariant.** Every edge between packages of the workspace is listed, every listed edge exists,
//! and the claims of absence hold transitively, other people's packages included.
//!
//! **Deliberately absent.** Reasons. They stand in `layers.toml`, beside the edges.
//!
//! **Crash.** Nothing is kept.

use crate::process::{cargo, root};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Names of packages by package.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// What `layers.toml` says.
#[derive(Debug, Default)]
struct Layers {
    /// Dependencies within the workspace.
    edges: Edges,
    /// What tests and benches may use beside them.
    test_edges: Edges,
    /// What a package never reaches.
    never: Edges,
    /// Which packages may depend on a fenced library directly.
    only: Edges,
}

/// What `cargo metadata` says.
#[derive(Debug, Default)]
struct Packages {
    /// The workspace's packages and all that each depends on directly.
    direct: Edges,
    /// The same for tests and benches.
    direct_tests: Edges,
    /// Everything resolved, by package.
    resolved: Edges,
}

/// Compares both.
pub(crate) fn check() -> Result<()> {
    let text = fs::read_to_string(root().join("layers.toml")).context("read layers.toml")?;
    let breaches = compare(&parse_layers(&text)?, &packages()?);
    if breaches.is_empty() {
        return Ok(());
    }
    bail!("{} breaches of layers.toml\n{}", breaches.len(), breaches.join("\n"))
}

fn parse_layers(text: &str) -> Result<Layers> {
    let table: toml::Table = text.parse().context("parse layers.toml")?;
    let mut layers = Layers::default();
    for (section, value) in &table {
        let edges = match section.as_str() {
            "edges" => &mut layers.edges,
            "test-edges" => &mut layers.test_edges,
            "never" => &mut layers.never,
            "only" => &mut layers.only,
            other => bail!("layers.toml has no section {other}"),
        };
        for (name, list) in value.as_table().context("a section is a table")? {
            let list = list.as_array().with_context(|| format!("{name} is a list"))?;
            let names = list.iter().map(|item| item.as_str().map(str::to_owned));
            let names: Option<BTreeSet<String>> = names.collect();
            edges.insert(name.clone(), names.with_context(|| format!("{name} lists names"))?);
        }
    }
    Ok(layers)
}

fn packages() -> Result<Packages> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = cargo(&["metadata", "--format-version", "1", "--filter-platform", &platform])
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    read_metadata(&metadata).context("cargo metadata has another shape than expected")
}

/// The workspace's packages are called `havre-x`; everywhere else they are called `x`.
fn short(name: &str) -> &str {
    name.strip_prefix("havre-").unwrap_or(name)
}

fn read_metadata(metadata: &Value) -> Option<Packages> {
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array()?.iter().filter_map(Value::as_str).collect();
    let mut packages = Packages::default();
    let mut names = BTreeMap::new();
    for package in metadata["packages"].as_array()? {
        let (id, name) = (package["id"].as_str()?, short(package["name"].as_str()?));
        names.insert(id, name.to_owned());
        if !members.contains(id) {
            continue;
        }
        packages.direct.entry(name.to_owned()).or_default();
        for dependency in package["dependencies"].as_array()? {
            let edges = match dependency["kind"].as_str() {
                None => &mut packages.direct,
                Some("dev") => &mut packages.direct_tests,
                Some(_) => continue,
            };
            let other = short(dependency["name"].as_str()?).to_owned();
            edges.entry(name.to_owned()).or_default().insert(other);
        }
    }
    for node in metadata["resolve"]["nodes"].as_array()? {
        let reached =
            packages.resolved.entry(names.get(node["id"].as_str()?)?.clone()).or_default();
        for dependency in node["deps"].as_array()? {
            let kinds = dependency["dep_kinds"].as_array()?;
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                reached.insert(names.get(dependency["pkg"].as_str()?)?.clone());
            }
        }
    }
    Some(packages)
}

fn compare(layers: &Layers, packages: &Packages) -> Vec<String> {
    let members: BTreeSet<String> = packages.direct.keys().cloned().collect();
    let mut breaches = Vec::new();
    for name in &members {
        let Some(allowed) = layers.edges.get(name) else {
            breaches.push(format!("{name} is not listed under [edges]"));
            continue;
        };
        let inner = |edges: &Edges| -> BTreeSet<String> {
            edges
                .get(name)
                .into_iter()
                .flatten()
                .filter(|other| members.contains(*other))
                .cloned()
                .collect()
        };
        let real = inner(&packages.direct);
        for other in real.difference(allowed) {
            breaches.push(format!("{name} depends on {other}, which [edges] does not allow"));
        }
        for other in allowed.difference(&real) {
            breaches.push(format!("[edges] allows {name} to depend on {other}, which it does not"));
        }
        let for_tests = layers.test_edges.get(name).cloned().unwrap_or_default();
        for other in inner(&packages.direct_tests).difference(&for_tests) {
            if !allowed.contains(other) {
                breaches
                    .push(format!("{name}'s tests use {other}, which [test-edges] does not allow"));
            }
        }
    }
    for name in layers.edges.keys().filter(|name| !members.contains(*name)) {
        breaches.push(format!("[edges] lists {name}, which is no package"));
    }
    for (name, forbidden) in &layers.never {
        for other in forbidden {
            if let Some(way) = way(&packages.resolved, name, other) {
                breaches.push(format!("{name} must never reach {other}: {}", way.join(" -> ")));
            }
        }
    }
    for (library, allowed) in &layers.only {
        for (name, direct) in &packages.direct {
            if direct.contains(library) && !allowed.contains(name) {
                let fence: Vec<&str> = allowed.iter().map(String::as_str).collect();
                let fence = fence.join(", ");
                breaches.push(format!("{name} depends on {library}, which is fenced in {fence}"));
            }
        }
    }
    breaches
}

/// A shortest way from one package to another.
fn way(edges: &Edges, from: &str, to: &str) -> Option<Vec<String>> {
    let mut came: BTreeMap<&str, &str> = BTreeMap::new();
    let mut frontier = vec![from];
    while !frontier.is_empty() && !came.contains_key(to) {
        let mut next = Vec::new();
        for here in frontier {
            for other in edges.get(here).into_iter().flatten() {
                if other != from && !came.contains_key(other.as_str()) {
                    came.insert(other, here);
                    next.push(other.as_str());
                }
            }
        }
        frontier = next;
    }
    came.contains_key(to).then(|| {
        let mut way = vec![to.to_owned()];
        let mut here = to;
        while let Some(before) = came.get(here) {
            way.insert(0, (*before).to_owned());
            here = before;
        }
        way
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &[(&str, &[&str])]) -> Edges {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        list.iter().map(|(name, others)| ((*name).to_owned(), names(others))).collect()
    }

    fn packages_of(direct: &[(&str, &[&str])]) -> Packages {
        let mut resolved = edges(direct);
        resolved.insert("opendal".to_owned(), BTreeSet::from(["tokio".to_owned()]));
        Packages { direct: edges(direct), direct_tests: Edges::new(), resolved }
    }

    #[track_caller]
    fn check_layers(layers: &str, direct: &[(&str, &[&str])], expected: &[&str]) {
        assert_eq!(compare(&parse_layers(layers).unwrap(), &packages_of(direct)), expected);
    }

    #[test]
    fn the_workspace_keeps_its_layers() {
        check().unwrap();
    }

    #[test]
    fn an_edge_that_is_not_listed_and_one_that_is_not_there_are_breaches() {
        let real: &[(&str, &[&str])] = &[("model", &[]), ("sites", &["model", "opendal"])];
        check_layers("[edges]\nmodel = []\nsites = [\"model\"]", real, &[]);
        check_layers(
            "[edges]\nmodel = []\nsites = []",
            real,
            &["sites depends on model, which [edges] does not allow"],
        );
        check_layers(
            "[edges]\nmodel = [\"sites\"]\nsites = [\"model\"]",
            real,
            &["[edges] allows model to depend on sites, which it does not"],
        );
        check_layers(
            "[edges]\nsites = [\"model\"]\ngone = []",
            real,
            &["model is not listed under [edges]", "[edges] lists gone, which is no package"],
        );
    }

    #[test]
    fn a_claim_of_absence_holds_over_any_number_of_steps() {
        let real: &[(&str, &[&str])] =
            &[("keeper", &["sites"]), ("sites", &["opendal"]), ("seal", &[])];
        let layers = "[edges]\nkeeper = [\"sites\"]\nsites = []\nseal = []\n";
        let keeper = format!("{layers}[never]\nkeeper = [\"seal\", \"tokio\"]");
        let found = ["keeper must never reach tokio: keeper -> sites -> opendal -> tokio"];
        check_layers(&keeper, real, &found);
    }

    #[test]
    fn a_fenced_library_has_one_gate() {
        let real: &[(&str, &[&str])] = &[("sites", &["opendal"]), ("engine", &["opendal"])];
        let layers = "[edges]\nsites = []\nengine = []\n[only]\nopendal = [\"sites\"]";
        check_layers(layers, real, &["engine depends on opendal, which is fenced in sites"]);
    }
}
