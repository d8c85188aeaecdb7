//! What may be wrong with declared facts by themselves.
//!
//! **Invariant.** Whatever passes names each thing once, refers only to what is declared, and is
//! within the limits; nothing is put right silently.
//!
//! **Deliberately absent.** Consequences: `facts`. Lines of a file: the configuration adds them.
//!
//! **Crash.** Pure.

use crate::{
    AllianceFacts, FactsError, OperatorFacts, Override, SeatFacts, SeatKind, Share, SiteFacts,
    declared::Declared,
    facts::{SEATS_MAX, fold, is_code, site_id},
};
use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
};
use havre_model::limits::SITES_MAX;

/// Declared fractions are rounded; a thousandth over the whole is no contradiction.
const WHOLE_MAX: u64 = 1_001_000_000;

pub(crate) fn check(declared: &Declared) -> Result<(), FactsError> {
    check_sites(&declared.sites)?;
    check_operators(&declared.operators)?;
    check_alliances(&declared.alliances, declared.rule.joins_outside_eu())?;
    check_overrides(&declared.overrides)?;
    check_seats(&declared.seats)
}

/// The code in capitals.
pub(crate) fn code(text: &str, of: &str) -> Result<String, FactsError> {
    if !is_code(text) {
        return Err(FactsError::Jurisdiction { of: of.to_owned(), code: text.to_owned() });
    }
    Ok(text.trim().to_ascii_uppercase())
}

fn check_sites(sites: &[SiteFacts]) -> Result<(), FactsError> {
    if sites.is_empty() || sites.len() > SITES_MAX {
        return Err(FactsError::SiteCount { count: sites.len() });
    }
    let mut names = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for site in sites {
        if site.name.trim().is_empty() {
            return Err(FactsError::EmptyName { what: "site" });
        }
        let other = names.insert(fold(&site.name), &site.name);
        if let Some(other) = other.or_else(|| ids.insert(site_id(&site.name), &site.name)) {
            return Err(FactsError::DuplicateSite {
                name: site.name.clone(),
                other: other.clone(),
            });
        }
    }
    Ok(())
}

fn check_operators(operators: &[OperatorFacts]) -> Result<(), FactsError> {
    let mut names = BTreeMap::new();
    let mut entities: BTreeMap<(&str, String), &String> = BTreeMap::new();
    for operator in operators {
        if operator.name.trim().is_empty() {
            return Err(FactsError::EmptyName { what: "operator" });
        }
        if names.insert(fold(&operator.name), ()).is_some() {
            return Err(FactsError::DuplicateOperator { name: operator.name.clone() });
        }
        let marks = [("LEI", &operator.lei), ("legal name", &operator.legal_name)];
        for (mark, value) in marks {
            let Some(value) = value else { continue };
            if let Some(other) = entities.insert((mark, fold(value)), &operator.name) {
                return Err(FactsError::SameEntity {
                    name: operator.name.clone(),
                    other: other.clone(),
                    mark,
                });
            }
        }
        check_owners(operator)?;
    }
    check_leis(operators)
}

fn check_owners(operator: &OperatorFacts) -> Result<(), FactsError> {
    let mut owners = BTreeSet::new();
    let (mut capital, mut votes) = (0, 0);
    for owner in &operator.owners {
        if owner.owner.trim().is_empty() {
            return Err(FactsError::EmptyName { what: "owner" });
        }
        if !owners.insert(fold(&owner.owner)) {
            return Err(FactsError::DuplicateOwner {
                operator: operator.name.clone(),
                owner: owner.owner.clone(),
            });
        }
        capital += u64::from(owner.capital.map_or(0, Share::get));
        votes += u64::from(owner.votes.map_or(0, Share::get));
    }
    if capital > WHOLE_MAX || votes > WHOLE_MAX {
        return Err(FactsError::OverOwned { operator: operator.name.clone() });
    }
    Ok(())
}

/// One LEI has one name, and one name one LEI, whether as operator or as owner.
fn check_leis(operators: &[OperatorFacts]) -> Result<(), FactsError> {
    let named = operators.iter().flat_map(|operator| {
        let own = (&operator.name, &operator.lei);
        let owners = operator.owners.iter().map(|owner| (&owner.owner, &owner.lei));
        core::iter::once(own).chain(owners)
    });
    let mut names: BTreeMap<String, &String> = BTreeMap::new();
    let mut leis: BTreeMap<String, &String> = BTreeMap::new();
    for (name, lei) in named {
        let Some(lei) = lei else { continue };
        let other = *names.entry(fold(lei)).or_insert(name);
        if fold(other) != fold(name) {
            return Err(FactsError::SameOwner { owner: name.clone(), other: other.clone() });
        }
        let other = *leis.entry(fold(name)).or_insert(lei);
        if fold(other) != fold(lei) {
            let (owner, lei) = (name.clone(), lei.clone());
            return Err(FactsError::TwoLeis { owner, lei, other: other.clone() });
        }
    }
    Ok(())
}

fn check_alliances(alliances: &[AllianceFacts], outside_eu: bool) -> Result<(), FactsError> {
    let mut names = BTreeSet::new();
    if outside_eu {
        names.insert(fold(crate::OUTSIDE_EU));
    }
    for alliance in alliances {
        if alliance.name.trim().is_empty() {
            return Err(FactsError::EmptyName { what: "alliance" });
        }
        if !names.insert(fold(&alliance.name)) {
            return Err(FactsError::DuplicateAlliance { name: alliance.name.clone() });
        }
        if alliance.members.codes().is_empty() {
            return Err(FactsError::EmptyAlliance { name: alliance.name.clone() });
        }
        for member in alliance.members.codes() {
            code(member, &alliance.name)?;
        }
    }
    Ok(())
}

fn check_overrides(overrides: &[Override]) -> Result<(), FactsError> {
    let mut seen = BTreeSet::new();
    for entry in overrides {
        let (operator, party) = (entry.operator.clone(), entry.party.clone());
        if !seen.insert((fold(&operator), fold(&party))) {
            return Err(FactsError::DuplicateOverride { operator, party });
        }
        let blank = |text: &str| text.trim().is_empty();
        if blank(&entry.reason) || entry.evidence.source.as_deref().is_none_or(blank) {
            return Err(FactsError::BareOverride { operator, party });
        }
    }
    Ok(())
}

fn check_seats(seats: &[SeatFacts]) -> Result<(), FactsError> {
    if seats.len() > SEATS_MAX {
        return Err(FactsError::TooManySeats);
    }
    let mut seen = BTreeSet::new();
    for seat in seats {
        if seat.kind == SeatKind::Administrator && seat.name.trim().is_empty() {
            return Err(FactsError::EmptyName { what: "administrator" });
        }
        if !seen.insert((seat.kind, fold(&seat.name))) {
            return Err(FactsError::DuplicateSeat { seat: seat.to_string() });
        }
        if seat.operator.is_none() && seat.locations.is_empty() {
            return Err(FactsError::EmptySeat { seat: seat.to_string() });
        }
    }
    Ok(())
}
