//! Operators, owners, jurisdictions and policies: from the file to facts and guarantees.
//!
//! **Invariant.** A refusal by `havre_policy` is shown at the line that caused it.
//!
//! **Deliberately absent.** The decisions: `havre_policy` makes them.
//!
//! **Crash.** Values only.

use super::{
    ConfigError,
    error::Source,
    raw::{RawCoalition, RawConfig, RawGuarantee, RawOnOutage, RawOperator, RawOwner, RawPolicy},
    resolve::{check_name, unique},
};
use havre_policy::{
    CoalitionSpec, Evidence, Facts, FactsError, GuaranteeSpec, OnOutage, OperatorFacts, Ownership,
    PlacementPolicy, PolicyError, PolicySpec, Share, SiteFacts,
};
use std::ops::Range;
use toml::Spanned;

/// The declared facts.
pub(super) fn facts(
    source: &Source<'_>,
    raw: &RawConfig,
    ownership_threshold: f64,
) -> Result<Facts, ConfigError> {
    for operator in &raw.operator {
        check_operator(source, operator)?;
    }
    for site in &raw.site {
        check_code(source, &site.location)?;
    }
    let site = |site: &super::raw::RawSite| SiteFacts {
        name: site.name.get_ref().clone(),
        operator: site.operator.get_ref().clone(),
        location: site.location.get_ref().clone(),
    };
    let sites = raw.site.iter().map(site).collect();
    let operators = raw.operator.iter().map(|raw| operator(source, raw));
    let operators = operators.collect::<Result<_, _>>()?;
    Facts::new(sites, operators, ownership_threshold).map_err(|error| match culprit(raw, &error) {
        Some(span) => source.error(&span, error.to_string()),
        None => source.whole(error.to_string()),
    })
}

fn operator(source: &Source<'_>, raw: &RawOperator) -> Result<OperatorFacts, ConfigError> {
    let text = |value: &Option<Spanned<String>>| value.as_ref().map(|text| text.get_ref().clone());
    let owner = |owner: &RawOwner| {
        Ok(Ownership {
            owner: owner.name.get_ref().clone(),
            lei: None,
            capital: share(source, raw, owner, owner.capital)?,
            votes: share(source, raw, owner, owner.votes)?,
            jurisdiction: text(&owner.jurisdiction),
            evidence: Evidence { source: owner.source.clone(), date: text(&owner.date) },
        })
    };
    Ok(OperatorFacts {
        name: raw.name.get_ref().clone(),
        legal_name: raw.legal_name.clone(),
        lei: text(&raw.lei),
        incorporation: text(&raw.incorporation),
        headquarters: text(&raw.headquarters),
        owners: raw.owner.iter().map(owner).collect::<Result<_, _>>()?,
        evidence: Evidence::default(),
    })
}

/// A fraction, to a billionth.
fn share(
    source: &Source<'_>,
    operator: &RawOperator,
    owner: &RawOwner,
    fraction: Option<f64>,
) -> Result<Option<Share>, ConfigError> {
    let Some(fraction) = fraction else { return Ok(None) };
    let refused = || {
        let reason = format!(
            "owner {:?} of {:?}: {fraction} is no fraction; 25 % is written 0.25",
            owner.name.get_ref(),
            operator.name.get_ref()
        );
        source.error(&owner.name.span(), reason)
    };
    Share::from_fraction(fraction).map(Some).ok_or_else(refused)
}

fn check_operator(source: &Source<'_>, raw: &RawOperator) -> Result<(), ConfigError> {
    check_name(source, "operator", &raw.name)?;
    for code in [&raw.incorporation, &raw.headquarters].into_iter().flatten() {
        check_code(source, code)?;
    }
    if let Some(lei) = &raw.lei
        && !is_lei(lei.get_ref())
    {
        let reason = format!(
            "{:?} is no Legal Entity Identifier: 18 letters and digits and two check digits, which \
             do not agree here",
            lei.get_ref()
        );
        return Err(source.error(&lei.span(), reason));
    }
    for owner in &raw.owner {
        if let Some(code) = &owner.jurisdiction {
            check_code(source, code)?;
        }
        if let Some(date) = &owner.date
            && !is_date(date.get_ref())
        {
            let reason = format!("{:?} is no date; write \"2026-01-31\"", date.get_ref());
            return Err(source.error(&date.span(), reason));
        }
    }
    Ok(())
}

/// A state by two letters, with a part of it if wanted: one spelling for one party.
fn check_code(source: &Source<'_>, code: &Spanned<String>) -> Result<(), ConfigError> {
    let text = code.get_ref();
    let (state, part) = text.split_once('-').map_or((text.as_str(), None), |(s, p)| (s, Some(p)));
    let is_state = state.len() == 2 && state.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_part = part.is_none_or(|part| {
        (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if is_state && is_part {
        return Ok(());
    }
    let reason = format!(
        "{text:?} is no jurisdiction; write its ISO 3166 code: \"DE\", or \"US-VA\" for a part"
    );
    Err(source.error(&code.span(), reason))
}

/// ISO 17442: letters count from 10, and the number is 1 modulo 97.
fn is_lei(text: &str) -> bool {
    let digit = |rest: u64, byte: u8| match byte {
        b'0'..=b'9' => Some((rest * 10 + u64::from(byte - b'0')) % 97),
        b'A'..=b'Z' => Some((rest * 100 + u64::from(byte - b'A') + 10) % 97),
        _ => None,
    };
    text.len() == 20 && text.bytes().try_fold(0, digit) == Some(1)
}

fn is_date(text: &str) -> bool {
    let part = |range: Range<usize>, within: Range<u32>| {
        let digits = text.get(range).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|part| part.parse().ok()).is_some_and(|number| within.contains(&number))
    };
    text.len() == 10
        && part(0..4, 1900..3000)
        && &text[4..5] == "-"
        && part(5..7, 1..13)
        && &text[7..8] == "-"
        && part(8..10, 1..32)
}

/// Where in the file a fact stands that was refused.
fn culprit(raw: &RawConfig, error: &FactsError) -> Option<Range<usize>> {
    let site = |name: &str| raw.site.iter().find(|site| site.name.get_ref() == name);
    let operator = |name: &str| raw.operator.iter().find(|o| o.name.get_ref() == name);
    match error {
        FactsError::DuplicateSite { name, .. } => site(name).map(|site| site.name.span()),
        FactsError::UnknownOperator { site: name, .. } => site(name).map(|s| s.operator.span()),
        FactsError::DuplicateOperator { name } | FactsError::OverOwned { operator: name } => {
            operator(name).map(|operator| operator.name.span())
        }
        FactsError::SameEntity { name, .. } => {
            operator(name).map(|o| o.lei.as_ref().map_or(o.name.span(), Spanned::span))
        }
        FactsError::DuplicateOwner { operator: name, owner } => {
            let mut owners = operator(name)?.owner.iter().rev();
            owners.find(|o| o.name.get_ref() == owner).map(|o| o.name.span())
        }
        FactsError::Threshold { .. } => {
            raw.exposure.ownership_threshold.as_ref().map(Spanned::span)
        }
        _ => None,
    }
}

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
