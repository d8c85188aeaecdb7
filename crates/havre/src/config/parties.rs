//! Policies: from the file to guarantees.
//!
//! **Invariant.** A refusal by `havre_policy` is shown at the line that caused it.
//!
//! **Deliberately absent.** The decisions: `havre_policy` makes them.
//!
//! **Crash.** Values only.

use super::{
    ConfigError,
    error::Source,
    raw::{RawCoalition, RawGuarantee, RawOnOutage, RawPolicy},
    resolve::{check_name, unique},
};
use havre_policy::{
    CoalitionSpec, Facts, GuaranteeSpec, OnOutage, PlacementPolicy, PolicyError, PolicySpec,
};
use std::ops::Range;
use toml::Spanned;

/// The declared policies, each proved to be possible.
pub(super) fn policies(
    source: &Source<'_>,
    facts: &Facts,
    raw: &[RawPolicy],
) -> Result<Vec<PolicySpec>, ConfigError> {
    unique(source, "policy", raw.iter().map(|policy| &policy.name))?;
    let policy = |raw: &RawPolicy| {
        check_name(source, "policy", &raw.name)?;
        let spec = policy_spec(source, raw)?;
        match PlacementPolicy::new(facts, spec.clone()) {
            Ok(_) => Ok(spec),
            Err(error) => Err(source.error(&refused_at(raw, &error), error.to_string())),
        }
    };
    raw.iter().map(policy).collect()
}

fn policy_spec(source: &Source<'_>, raw: &RawPolicy) -> Result<PolicySpec, ConfigError> {
    let RawGuarantee { cannot_read, cannot_cut_off } = raw.guarantee.get_ref();
    let texts = |list: &[Spanned<String>]| -> Vec<String> {
        list.iter().map(|text| text.get_ref().clone()).collect()
    };
    if let Some(sites) = &raw.sites {
        unique(source, "eligible site", sites.iter())?;
    }
    Ok(PolicySpec {
        name: raw.name.get_ref().clone(),
        k: *raw.k.get_ref(),
        m: *raw.m.get_ref(),
        sites: raw.sites.as_deref().map(texts),
        exclude: texts(&raw.exclude),
        guarantee: GuaranteeSpec {
            cannot_read: coalitions(source, cannot_read)?,
            cannot_cut_off: coalitions(source, cannot_cut_off)?,
        },
        on_outage: match raw.on_outage {
            RawOnOutage::Refuse => OnOutage::Refuse,
            RawOnOutage::Degrade => OnOutage::Degrade,
        },
    })
}

fn coalitions(
    source: &Source<'_>,
    raw: &[Spanned<RawCoalition>],
) -> Result<Vec<CoalitionSpec>, ConfigError> {
    let coalition = |entry: &Spanned<RawCoalition>| match entry.get_ref() {
        RawCoalition::Text(text) => CoalitionSpec::parse(text)
            .map_err(|error| source.error(&entry.span(), error.to_string())),
        RawCoalition::Parties(parties) if parties.is_empty() => {
            Err(source.error(&entry.span(), "a coalition needs at least one party"))
        }
        RawCoalition::Parties(parties) => Ok(CoalitionSpec::Named(parties.clone())),
    };
    raw.iter().map(coalition).collect()
}

/// Where in a policy the reason stands.
fn refused_at(raw: &RawPolicy, error: &PolicyError) -> Range<usize> {
    let found = match error {
        PolicyError::Geometry(_) | PolicyError::TooFewSites { .. } => Some(raw.k.span()),
        PolicyError::UnknownSite { site, .. } => {
            let mut sites = raw.sites.iter().flatten();
            sites.find(|name| name.get_ref() == site).map(Spanned::span)
        }
        PolicyError::UnknownParty { party, .. } | PolicyError::AmbiguousParty { party, .. } => {
            party_at(raw, party)
        }
        PolicyError::Unholdable { .. } | PolicyError::TooComplex { .. } => {
            Some(raw.guarantee.span())
        }
        _ => None,
    };
    found.unwrap_or_else(|| raw.name.span())
}

fn party_at(raw: &RawPolicy, party: &str) -> Option<Range<usize>> {
    let names = |coalition: &RawCoalition| match coalition {
        RawCoalition::Text(text) => text.trim() == party,
        RawCoalition::Parties(parties) => parties.iter().any(|name| name == party),
    };
    let guarantee = raw.guarantee.get_ref();
    let mut coalitions = guarantee.cannot_read.iter().chain(&guarantee.cannot_cut_off);
    let excluded = raw.exclude.iter().find(|name| name.get_ref() == party).map(Spanned::span);
    excluded.or_else(|| coalitions.find(|entry| names(entry.get_ref())).map(Spanned::span))
}
