//! `havre site add` and `site retire`: one more site in the configuration, and one less.
//!
//! **Invariant.** A site is added only when it answers and holds nothing, and retired only when it
//! holds nothing, nothing is noted to be there, and every policy keeps its guarantee without it.
//!
//! **Deliberately absent.** Filling it (`havre rebalance`) and emptying it (`havre site drain`).
//! Telling the running gateway: sites are read at its start.
//!
//! **Crash.** The configuration is the old one or the new one.

use anyhow::{Context, Result, bail, ensure};
use havre::config::{Config, NewSite, replace};
use havre::control::{self, Order, RetiredStated};
use havre::exposure::suppose;
use havre::statement::{default_file, write_new};
use havre_policy::Change;
use havre_sites::Guarded;
use std::path::{Path, PathBuf};

/// Names of an empty site that are listed to see that it is one.
const NAMES_MAX: usize = 1;

/// Adds a site to the configuration's file.
pub(crate) async fn add(file: &Path, new: &NewSite) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let (config, text) = new.added(file, &text)?;
    let site = config.sites.last().context("the site that was added")?;
    let spec = site.spec().with_context(|| format!("read the secrets of site {}", site.name))?;
    let guarded = havre_sites::open(spec, &havre_sites::system::ports())?;
    check_empty(&guarded).await?;
    replace(file, &text)?;
    let uses = |policy: &&havre_policy::PolicySpec| {
        policy.sites.as_ref().is_none_or(|sites| sites.contains(&new.name))
    };
    let (using, not): (Vec<_>, Vec<_>) = config.policies.iter().partition(uses);
    let names = |policies: &[&havre_policy::PolicySpec]| -> String {
        policies.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    crate::say(&format!("site {} is in {}\n", new.name, file.display()))?;
    if !using.is_empty() {
        crate::say(&format!("policies that will use it: {}\n", names(&using)))?;
    }
    if !not.is_empty() {
        crate::say(&format!("policies that name other sites: {}\n", names(&not)))?;
    }
    crate::say("restart the gateway; then havre rebalance --plan says what filling it would take\n")
}

async fn check_empty(site: &Guarded) -> Result<()> {
    let marker = site.marker().await.with_context(|| format!("ask site {}", site.name()))?;
    ensure!(
        marker.is_none(),
        "the storage bears a marker: it is, or was, a site of some gateway; choose an empty folder"
    );
    let page = site.list("", None, NAMES_MAX).await;
    let page = page.with_context(|| format!("list site {}", site.name()))?;
    ensure!(
        page.entries.is_empty() && !page.more,
        "the storage holds shards already; choose an empty folder"
    );
    Ok(())
}

/// Has the gateway state that a site holds nothing, and says how to take it out.
pub(crate) async fn retire(config: &Config, name: &str, out: Option<PathBuf>) -> Result<()> {
    if let Some(out) = out.as_deref().filter(|out| havre::compose::is_there(out)) {
        bail!("{} exists already", out.display());
    }
    let change = Change::parse(&format!("remove-site={name}"))?;
    let (_, policies) = suppose(config, &[change])?;
    for (policy, without) in policies {
        without.with_context(|| format!("without site {name}, policy {policy} cannot be kept"))?;
    }
    let order = Order::RetireSite { site: name.to_owned() };
    let answer = control::send(&config.gateway.catalog, &order, drop).await?;
    let done: RetiredStated =
        serde_json::from_value(answer).context("read the gateway's answer")?;
    let now = havre_sites::system::ports().clock.now();
    let file = out.unwrap_or_else(|| default_file("site-retired", now));
    write_new(&file, &done.statement)?;
    let named = config.policies.iter().filter(|policy| {
        policy.sites.as_ref().is_some_and(|sites| sites.iter().any(|site| site == name))
    });
    let named: Vec<&str> = named.map(|policy| policy.name.as_str()).collect();
    crate::say(&format!(
        "site {name} holds no shard, and none is noted to be there\n\
         signed record: {} (havre statement verify)\n\
         now take its [[site]] section out of {} and restart the gateway\n",
        file.display(),
        config.file.display()
    ))?;
    if !named.is_empty() {
        crate::say(&format!("policies that name it, too: {}\n", named.join(", ")))?;
    }
    crate::say("16 random bytes stay at the site: the marker by which it was known\n")
}
