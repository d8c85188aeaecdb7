//! Who stands behind the sites and the gateway: from the file to facts.
//!
//! **Invariant.** A refusal by `havre_policy` is shown at the line that caused it; shares are exact
//! from here on.
//!
//! **Deliberately absent.** The decisions: `havre_policy` makes them.
//!
//! **Crash.** Values only.

use super::{
    ConfigError,
    error::Source,
    raw::{
        RawAdministrator, RawAlliance, RawBounds, RawChains, RawConfig, RawControl, RawExposure,
        RawHolds, RawOperator, RawOverride, RawOwner, RawSeat,
    },
    resolve::{check_name, unique},
};
use havre_policy::{
    AllianceFacts, Chains, ControlRule, Declared, Evidence, Facts, FactsError, Holds, Members,
    OperatorFacts, Override, Ownership, SeatFacts, SeatKind, Share, SiteFacts, gleif::Lei,
};
use std::ops::Range;
use toml::Spanned;

/// An owner of a quarter of the capital or votes counts, unless the file says otherwise: a blocking
/// minority is a quarter under most company laws.
const OWNERSHIP_THRESHOLD: Share = Share::percent(25);
/// Bytes of an owner's, an alliance's or an administrator's name.
const PARTY_NAME_BYTES_MAX: usize = 256;

/// The declared facts.
pub(super) fn facts(source: &Source<'_>, raw: &RawConfig) -> Result<Facts, ConfigError> {
    let mut declared = Declared::new(Vec::new(), Vec::new(), rule(source, &raw.exposure)?);
    for site in &raw.site {
        check_code(source, &site.location)?;
        declared.sites.push(SiteFacts {
            name: site.name.get_ref().clone(),
            operator: site.operator.get_ref().clone(),
            location: site.location.get_ref().clone(),
        });
        declared.site_evidence.push(evidence(source, site.source.as_ref(), site.date.as_ref())?);
    }
    declared.operators = operators(source, &raw.operator)?;
    declared.alliances = alliances(source, &raw.alliance)?;
    declared.overrides = overrides(source, &raw.overrides)?;
    let gateway = raw.gateway.get_ref();
    let seats = [(SeatKind::Host, &gateway.host), (SeatKind::KeyService, &gateway.key_service)];
    for (kind, seat) in seats {
        if let Some(raw) = seat {
            declared.seats.push(self::seat(source, kind, raw)?);
        }
    }
    unique(source, "administrator", raw.administrator.iter().map(|person| &person.name))?;
    for person in &raw.administrator {
        declared.seats.push(administrator(source, person)?);
    }
    Facts::declare(declared).map_err(|error| match culprit(raw, &error) {
        Some(span) => source.error(&span, error.to_string()),
        None => source.whole(error.to_string()),
    })
}

/// Which owners are obeyed.
pub(super) fn rule(source: &Source<'_>, raw: &RawExposure) -> Result<ControlRule, ConfigError> {
    let own = |alone, together, chains| {
        ControlRule::own(alone, together, chains).ok_or(
            "together is below alone: it would take less to hold jointly than to hold; 25 % is \
             written 0.25",
        )
    };
    let no_share = |value: f64| format!("{value} is no ownership threshold; 25 % is written 0.25");
    match (&raw.ownership_threshold, &raw.control) {
        (None, None) => Ok(own(OWNERSHIP_THRESHOLD, OWNERSHIP_THRESHOLD, Chains::Whole)
            .expect("a threshold is not below itself")),
        (Some(_), Some(control)) => {
            let reason = "ownership_threshold and control are both given; keep one";
            Err(source.error(&control.span(), reason))
        }
        (Some(threshold), None) => {
            let value = *threshold.get_ref();
            let share = Share::from_fraction(value)
                .ok_or_else(|| source.error(&threshold.span(), no_share(value)))?;
            own(share, share, Chains::Whole)
                .map_err(|reason| source.error(&threshold.span(), reason))
        }
        (None, Some(control)) => match control.get_ref() {
            RawControl::Named(name) => match name.trim() {
                "majority" => Ok(ControlRule::MAJORITY),
                "secnumcloud" => Ok(ControlRule::SECNUMCLOUD),
                _ => {
                    let reason = format!(
                        "{name:?} is no control rule; write \"majority\", \"secnumcloud\" or {{ \
                         alone = 0.25, together = 0.5, chains = \"whole\" }}"
                    );
                    Err(source.error(&control.span(), reason))
                }
            },
            RawControl::Own(RawBounds { alone, together, chains }) => {
                let share = |value: f64| {
                    Share::from_fraction(value)
                        .ok_or_else(|| source.error(&control.span(), no_share(value)))
                };
                let chains = match chains {
                    RawChains::Whole => Chains::Whole,
                    RawChains::Multiply => Chains::Multiply,
                };
                let (alone, together) = (share(*alone)?, share(together.unwrap_or(*alone))?);
                own(alone, together, chains).map_err(|reason| source.error(&control.span(), reason))
            }
        },
    }
}

fn evidence(
    source: &Source<'_>,
    from: Option<&String>,
    date: Option<&Spanned<String>>,
) -> Result<Evidence, ConfigError> {
    if let Some(date) = date
        && !is_date(date.get_ref())
    {
        let reason = format!("{:?} is no date; write \"2026-01-31\"", date.get_ref());
        return Err(source.error(&date.span(), reason));
    }
    Ok(Evidence { source: from.cloned(), date: date.map(|date| date.get_ref().clone()) })
}

/// The declared operators.
pub(super) fn operators(
    source: &Source<'_>,
    raw: &[RawOperator],
) -> Result<Vec<OperatorFacts>, ConfigError> {
    raw.iter().map(|raw| operator(source, raw)).collect()
}

fn operator(source: &Source<'_>, raw: &RawOperator) -> Result<OperatorFacts, ConfigError> {
    check_name(source, "operator", &raw.name)?;
    for code in [&raw.incorporation, &raw.headquarters].into_iter().flatten() {
        check_code(source, code)?;
    }
    check_lei(source, raw.lei.as_ref())?;
    let text = |value: &Option<Spanned<String>>| value.as_ref().map(|text| text.get_ref().clone());
    let owner = |owner: &RawOwner| {
        check_party_name(source, "owner", &owner.name)?;
        check_lei(source, owner.lei.as_ref())?;
        if let Some(code) = &owner.jurisdiction {
            check_code(source, code)?;
        }
        Ok(Ownership {
            owner: owner.name.get_ref().clone(),
            lei: text(&owner.lei),
            capital: share(source, raw, owner, owner.capital)?,
            votes: share(source, raw, owner, owner.votes)?,
            jurisdiction: text(&owner.jurisdiction),
            evidence: evidence(source, owner.source.as_ref(), owner.date.as_ref())?,
        })
    };
    Ok(OperatorFacts {
        name: raw.name.get_ref().clone(),
        legal_name: raw.legal_name.clone(),
        lei: text(&raw.lei),
        incorporation: text(&raw.incorporation),
        headquarters: text(&raw.headquarters),
        owners: raw.owner.iter().map(owner).collect::<Result<_, _>>()?,
        evidence: evidence(source, raw.source.as_ref(), raw.date.as_ref())?,
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

/// The declared alliances.
pub(super) fn alliances(
    source: &Source<'_>,
    raw: &[RawAlliance],
) -> Result<Vec<AllianceFacts>, ConfigError> {
    unique(source, "alliance", raw.iter().map(|alliance| &alliance.name))?;
    let alliance = |raw: &RawAlliance| {
        check_party_name(source, "alliance", &raw.name)?;
        let codes = |list: &[Spanned<String>]| -> Result<Vec<String>, ConfigError> {
            for code in list {
                check_code(source, code)?;
            }
            Ok(list.iter().map(|code| code.get_ref().clone()).collect())
        };
        let members = match (&raw.members, &raw.all_but) {
            (Some(list), None) if !list.is_empty() => Members::These(codes(list)?),
            (None, Some(list)) if !list.is_empty() => Members::AllBut(codes(list)?),
            _ => {
                let reason = format!(
                    "alliance {:?}: give either members = [\"US\", ...] or all_but = [\"DE\", ...]",
                    raw.name.get_ref()
                );
                return Err(source.error(&raw.name.span(), reason));
            }
        };
        let evidence = evidence(source, raw.source.as_ref(), raw.date.as_ref())?;
        Ok(AllianceFacts { name: raw.name.get_ref().clone(), members, evidence })
    };
    raw.iter().map(alliance).collect()
}

/// The declared overrides.
pub(super) fn overrides(
    source: &Source<'_>,
    raw: &[RawOverride],
) -> Result<Vec<Override>, ConfigError> {
    let entry = |raw: &RawOverride| {
        if let Some((kind, _)) = raw.party.get_ref().split_once(':')
            && kind.trim().eq_ignore_ascii_case("jurisdiction")
        {
            let text = raw.party.get_ref();
            let code = text[kind.len() + 1..].trim();
            check_code_text(source, code, &raw.party.span())?;
        }
        Ok(Override {
            operator: raw.operator.get_ref().clone(),
            party: raw.party.get_ref().clone(),
            answers: raw.answers,
            reason: raw.reason.clone(),
            evidence: evidence(source, Some(&raw.source), raw.date.as_ref())?,
        })
    };
    raw.iter().map(entry).collect()
}

fn seat(
    source: &Source<'_>,
    kind: SeatKind,
    whole: &Spanned<RawSeat>,
) -> Result<SeatFacts, ConfigError> {
    let raw = whole.get_ref();
    if raw.operator.is_none() && raw.location.is_none() {
        let reason = format!("{kind} needs an operator or a location");
        return Err(source.error(&whole.span(), reason));
    }
    if let Some(code) = &raw.location {
        check_code(source, code)?;
    }
    Ok(SeatFacts {
        kind,
        name: String::new(),
        operator: raw.operator.as_ref().map(|name| name.get_ref().clone()),
        locations: raw.location.iter().map(|code| code.get_ref().clone()).collect(),
        holds: match kind {
            SeatKind::KeyService => Holds::Key,
            _ => Holds::Gateway,
        },
        evidence: evidence(source, raw.source.as_ref(), raw.date.as_ref())?,
    })
}

fn administrator(source: &Source<'_>, raw: &RawAdministrator) -> Result<SeatFacts, ConfigError> {
    check_party_name(source, "administrator", &raw.name)?;
    if raw.employer.is_none() && raw.jurisdictions.is_empty() {
        let reason =
            format!("administrator {:?} needs an employer or jurisdictions", raw.name.get_ref());
        return Err(source.error(&raw.name.span(), reason));
    }
    for code in &raw.jurisdictions {
        check_code(source, code)?;
    }
    Ok(SeatFacts {
        kind: SeatKind::Administrator,
        name: raw.name.get_ref().clone(),
        operator: raw.employer.as_ref().map(|name| name.get_ref().clone()),
        locations: raw.jurisdictions.iter().map(|code| code.get_ref().clone()).collect(),
        holds: match raw.holds {
            RawHolds::Gateway => Holds::Gateway,
            RawHolds::Key => Holds::Key,
        },
        evidence: evidence(source, raw.source.as_ref(), raw.date.as_ref())?,
    })
}

fn check_party_name(
    source: &Source<'_>,
    what: &str,
    name: &Spanned<String>,
) -> Result<(), ConfigError> {
    let text = name.get_ref();
    let sound = !text.trim().is_empty()
        && text.len() <= PARTY_NAME_BYTES_MAX
        && !text.chars().any(char::is_control);
    if sound {
        return Ok(());
    }
    let reason = format!(
        "{text:?} is no name of a {what}: 1 to {PARTY_NAME_BYTES_MAX} bytes, no control characters"
    );
    Err(source.error(&name.span(), reason))
}

fn check_lei(source: &Source<'_>, lei: Option<&Spanned<String>>) -> Result<(), ConfigError> {
    let Some(lei) = lei.filter(|lei| Lei::new(lei.get_ref()).is_none()) else { return Ok(()) };
    let reason = format!(
        "{:?} is no Legal Entity Identifier: 18 letters and digits and two check digits, which do \
         not agree here",
        lei.get_ref()
    );
    Err(source.error(&lei.span(), reason))
}

/// A state by two letters, with a part of it if wanted: one spelling for one party.
pub(super) fn check_code(source: &Source<'_>, code: &Spanned<String>) -> Result<(), ConfigError> {
    check_code_text(source, code.get_ref(), &code.span())
}

fn check_code_text(
    source: &Source<'_>,
    text: &str,
    span: &Range<usize>,
) -> Result<(), ConfigError> {
    let (state, part) = text.split_once('-').map_or((text, None), |(s, p)| (s, Some(p)));
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
    Err(source.error(span, reason))
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
    let owners = || raw.operator.iter().flat_map(|operator| &operator.owner);
    match error {
        FactsError::DuplicateSite { name, .. } => site(name).map(|site| site.name.span()),
        FactsError::UnknownOperator { site: name, .. } => site(name).map(|s| s.operator.span()),
        FactsError::DuplicateOperator { name }
        | FactsError::OverOwned { operator: name }
        | FactsError::Knot { entity: name } => operator(name).map(|operator| operator.name.span()),
        FactsError::SameEntity { name, .. } => {
            operator(name).map(|o| o.lei.as_ref().map_or(o.name.span(), Spanned::span))
        }
        FactsError::SameOwner { owner, .. } | FactsError::TwoLeis { owner, .. } => {
            let mut marked = owners().filter(|o| o.name.get_ref() == owner);
            let span = marked.find_map(|o| o.lei.as_ref().map(Spanned::span));
            span.or_else(|| operator(owner)?.lei.as_ref().map(Spanned::span))
        }
        FactsError::DuplicateOwner { operator: name, owner } => {
            let mut owners = operator(name)?.owner.iter().rev();
            owners.find(|o| o.name.get_ref() == owner).map(|o| o.name.span())
        }
        FactsError::DuplicateAlliance { name } => {
            let mut alliances = raw.alliance.iter().rev();
            alliances.find(|alliance| alliance.name.get_ref() == name).map(|a| a.name.span())
        }
        FactsError::OverrideOperator { operator: name } => {
            let found = raw.overrides.iter().find(|entry| entry.operator.get_ref() == name);
            found.map(|entry| entry.operator.span())
        }
        FactsError::OverrideParty { operator, party }
        | FactsError::DuplicateOverride { operator, party }
        | FactsError::BareOverride { operator, party } => {
            let mut entries = raw.overrides.iter().rev();
            let is_it = |entry: &&RawOverride| {
                entry.operator.get_ref() == operator && entry.party.get_ref() == party
            };
            entries.find(is_it).map(|entry| entry.party.span())
        }
        FactsError::SeatOperator { operator: name, .. } => {
            let gateway = raw.gateway.get_ref();
            let seats = [&gateway.host, &gateway.key_service].into_iter().flatten();
            let seats = seats.filter_map(|seat| seat.get_ref().operator.as_ref());
            let people = raw.administrator.iter().filter_map(|person| person.employer.as_ref());
            seats.chain(people).find(|operator| operator.get_ref() == name).map(Spanned::span)
        }
        _ => None,
    }
}
