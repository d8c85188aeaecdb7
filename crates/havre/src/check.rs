//! What a configuration means, in words: `havre check`.
//!
//! **Invariant.** Nothing is started, contacted or written, and no secret is shown.
//!
//! **Deliberately absent.** Figures of its own: sites' exposure and policies' coalitions, slack and
//! overhead are computed by the code that enforces them.
//!
//! **Crash.** Reads only.

use crate::{
    config::{Config, OptionValue, SecretError, SecretRef, Site, Tls},
    exposure::{facts_lines, trust_lines},
};
use havre_model::SiteSet;
use havre_policy::{CoalitionSpec, Facts, PartyKind, PlacementPolicy, SeatKind};
use std::{collections::BTreeMap, error::Error as _, fmt::Write as _};

/// Explains a configuration: sites with whom they are exposed to, parties with what they reach,
/// policies with their coalitions and slack, and warnings.
#[must_use]
pub fn explain(config: &Config) -> String {
    let mut text = String::new();
    write(&mut text, config).expect("a String takes all that is written");
    text
}

fn write(text: &mut String, config: &Config) -> std::fmt::Result {
    let policies = config.placement_policies();
    gateway(text, config)?;
    sites(text, config)?;
    writeln!(text, "\ntrust domain, and whom it is exposed to")?;
    if config.facts().seats().is_empty() {
        writeln!(text, "  nothing is declared")?;
    }
    for line in trust_lines(config.facts()) {
        writeln!(text, "  {line}")?;
    }
    parties(text, config.facts())?;
    writeln!(text, "\nfacts, by which control is {}", config.facts().rule())?;
    for line in facts_lines(config.facts()) {
        writeln!(text, "  {line}")?;
    }
    writeln!(text, "\npolicies")?;
    for policy in &policies {
        for line in policy.explain(config.facts()).to_string().lines() {
            writeln!(text, "  {line}")?;
        }
    }
    let warnings = warnings(config, &policies);
    if warnings.is_empty() {
        return writeln!(text, "\nno warnings");
    }
    writeln!(text, "\nwarnings")?;
    for warning in warnings {
        writeln!(text, "  - {warning}")?;
    }
    Ok(())
}

fn gateway(text: &mut String, config: &Config) -> std::fmt::Result {
    let gateway = &config.gateway;
    writeln!(text, "{}: sound", config.file.display())?;
    writeln!(text, "\ngateway")?;
    writeln!(text, "  data            {}", gateway.data.display())?;
    writeln!(text, "  catalog         {}", gateway.catalog.display())?;
    writeln!(text, "  root key        {}", gateway.root_key)?;
    writeln!(text, "  region          {}", gateway.region)?;
    writeln!(text, "  default policy  {}", gateway.default_policy)?;
    for domain in &gateway.domains {
        writeln!(text, "  virtual hosts   BUCKET.{domain}")?;
    }
    for listener in &config.listeners {
        let how = match &listener.tls {
            None => "in the clear".to_owned(),
            Some(Tls::Files { certificate, .. }) => format!("TLS by {}", certificate.display()),
            Some(Tls::SelfSigned { names }) => format!("TLS, self-signed for {}", names.join(", ")),
        };
        writeln!(text, "  S3              {} ({how})", listener.address)?;
    }
    writeln!(text, "  admin           {} (in the clear)", config.admin.address)?;
    for tenant in &config.tenants {
        let keys = config.credentials.iter().filter(|key| key.tenant == tenant.name);
        let keys: Vec<&str> = keys.map(|key| key.access_key.as_str()).collect();
        writeln!(text, "  tenant          {} ({})", tenant.name, keys.join(", "))?;
    }
    Ok(())
}

fn sites(text: &mut String, config: &Config) -> std::fmt::Result {
    let facts = config.facts();
    writeln!(text, "\nsites, and whom they are exposed to")?;
    for (position, site) in config.sites.iter().enumerate() {
        writeln!(text, "  {} at {}", site.name, site.url)?;
        let mut parties: Vec<_> = facts.exposure(position).iter().collect();
        parties.sort_by_key(|id| (facts.party(**id).kind, &facts.party(**id).name));
        for party in parties {
            let links = facts.why(position, *party);
            let reasons: Vec<String> = links.iter().map(ToString::to_string).collect();
            writeln!(text, "    {}: {}", facts.party(*party), reasons.join("; "))?;
        }
    }
    Ok(())
}

fn parties(text: &mut String, facts: &Facts) -> std::fmt::Result {
    let percent = 100.0;
    writeln!(text, "\nparties, and what they reach")?;
    let mut ids: Vec<_> = facts.party_ids().filter(|id| !facts.reach(*id).is_empty()).collect();
    ids.sort_by_key(|id| {
        let party = facts.party(*id);
        (std::cmp::Reverse(facts.reach(*id).len()), party.kind, &party.name)
    });
    for id in ids {
        let names = names(facts, facts.reach(id));
        #[expect(clippy::cast_precision_loss, reason = "both are at most 64")]
        let share = facts.reach(id).len() as f64 / facts.sites().len() as f64;
        writeln!(text, "  {}: {names} ({:.0} %)", facts.party(id), share * percent)?;
    }
    Ok(())
}

fn names(facts: &Facts, sites: SiteSet) -> String {
    let names: Vec<&str> = sites.iter().map(|site| facts.sites()[site].name.as_str()).collect();
    names.join(", ")
}

/// What a careful operator would want to know, beyond each policy's own warnings.
fn warnings(config: &Config, policies: &[PlacementPolicy]) -> Vec<String> {
    let mut warnings = Vec::new();
    listener_warnings(config, &mut warnings);
    secret_warnings(config, &mut warnings);
    storage_warnings(config, &mut warnings);
    for policy in policies {
        owner_warnings(config.facts(), policy, &mut warnings);
    }
    fact_warnings(config.facts(), &mut warnings);
    warnings
}

fn fact_warnings(facts: &Facts, warnings: &mut Vec<String>) {
    if !facts.seats().iter().any(|seat| seat.kind == SeatKind::Host) {
        warnings.push(
            "the gateway's host is not declared, and whoever runs it could read; add \
             [gateway.host], and see havre exposure"
                .to_owned(),
        );
    }
    for entry in facts.listed_overrides().iter().filter(|entry| !entry.tells) {
        warnings.push(format!("the override that {} changes nothing", entry.text));
    }
}

fn listener_warnings(config: &Config, warnings: &mut Vec<String>) {
    for listener in &config.listeners {
        if listener.tls.is_none() && !listener.address.ip().is_loopback() {
            warnings.push(format!(
                "S3 is served in the clear at {}: objects can be read on the way; add tls, or \
                 put a proxy in front",
                listener.address
            ));
        }
    }
    if !config.admin.address.ip().is_loopback() {
        warnings.push(format!(
            "the admin listener at {} asks for no credential; let a firewall choose who reaches it",
            config.admin.address
        ));
    }
    for tenant in &config.tenants {
        if !config.credentials.iter().any(|credential| credential.tenant == tenant.name) {
            warnings.push(format!("tenant {} has no credential: nobody can use it", tenant.name));
        }
    }
    if config.tenants.is_empty() {
        warnings.push("no tenant is declared: nobody can store anything".to_owned());
    }
}

fn secret_warnings(config: &Config, warnings: &mut Vec<String>) {
    let mut missing = |whose: String, secret: &SecretRef| {
        if let Err(error) = secret.resolve() {
            warnings.push(format!("{whose}: {}", chain(&error)));
        }
    };
    for credential in &config.credentials {
        missing(format!("credential {}", credential.access_key), &credential.secret);
    }
    for site in &config.sites {
        for (key, option) in &site.options {
            if let OptionValue::Secret(secret) = option {
                missing(format!("site {}, option {key}", site.name), secret);
            }
        }
    }
}

fn chain(error: &SecretError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn storage_warnings(config: &Config, warnings: &mut Vec<String>) {
    let mut devices: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for site in &config.sites {
        if let Some(device) = site.device() {
            devices.entry(device).or_default().push(&site.name);
        }
        if site.url.starts_with("memory:") {
            warnings.push(format!("site {} forgets all when the gateway stops", site.name));
        }
        if is_clear(site) {
            warnings.push(format!(
                "site {} is reached in the clear: its credential can be stolen on the way; use \
                 https",
                site.name
            ));
        }
    }
    for together in devices.values().filter(|sites| sites.len() > 1) {
        warnings.push(format!(
            "sites {} are directories of one file system: one failing disk takes all of them",
            together.join(", ")
        ));
    }
}

/// Whether the site is reached over a connection without TLS.
pub(crate) fn is_clear(site: &Site) -> bool {
    let endpoint = match site.options.get("endpoint") {
        Some(OptionValue::Plain(endpoint)) => endpoint.as_str(),
        _ => "",
    };
    site.url.starts_with("webdav:") || endpoint.starts_with("http:")
}

/// A guarantee about operators says nothing of an owner behind several of them.
fn owner_warnings(facts: &Facts, policy: &PlacementPolicy, warnings: &mut Vec<String>) {
    let guarantee = policy.guarantee();
    let specs = || guarantee.cannot_read.iter().chain(&guarantee.cannot_cut_off);
    let speaks_of = |wanted: PartyKind| {
        specs().any(|spec| match spec {
            CoalitionSpec::AnyOne(kind) | CoalitionSpec::AnyOf(kind, _) => *kind == wanted,
            CoalitionSpec::Named(_) => false,
        })
    };
    if !speaks_of(PartyKind::Operator) || speaks_of(PartyKind::Owner) {
        return;
    }
    for id in facts.party_ids().filter(|id| facts.party(*id).kind == PartyKind::Owner) {
        let reach = facts.reach(id).intersection(policy.eligible());
        let k = policy.geometry().data();
        let left = policy.geometry().total().saturating_sub(reach.len());
        if reach.len() >= k || left < k {
            warnings.push(format!(
                "policy {}: {} reaches {} through several operators, and the guarantee speaks of \
                 operators only; add \"any owner\"",
                policy.name(),
                facts.party(id),
                names(facts, reach)
            ));
        }
    }
}
