//! What would be if: changes to what is declared, to be asked about and never kept.
//!
//! **Invariant.** A change does what it says or is refused; nothing that it does not name changes.
//!
//! **Deliberately absent.** Consequences: [`crate::Facts::declare`] of what comes out. Files.
//!
//! **Crash.** Pure.

use crate::{
    AllianceFacts, ControlRule, Declared, Evidence, Members, OperatorFacts, Override, Ownership,
    PolicySpec, Share, SiteFacts, facts::fold,
};
use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

/// One change to what is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One more site.
    AddSite(SiteFacts),
    /// A site less, in every policy too.
    RemoveSite(String),
    /// One more operator, or this one in place of the one of its name.
    SetOperator(OperatorFacts),
    /// One more owner, or this holding in place of the one of its name.
    SetOwner {
        /// Of this operator.
        operator: String,
        /// What it holds.
        holding: Ownership,
    },
    /// An owner less.
    RemoveOwner {
        /// Of this operator.
        operator: String,
        /// The owner.
        owner: String,
    },
    /// A law comes into force, or no longer reaches: the operator answers, or does not, to a party.
    SetOverride(Override),
    /// One more alliance, or this one in place of the one of its name.
    SetAlliance(AllianceFacts),
    /// An alliance less.
    RemoveAlliance(String),
    /// Another control rule.
    SetRule(ControlRule),
}

/// Why a change cannot be asked about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The text is no change.
    #[error(
        "{text:?} is no change; write remove-site=NAME, add-site=NAME:OPERATOR:CODE, \
         remove-owner=OPERATOR:OWNER, add-owner=OPERATOR:OWNER:PERCENT:CODE, \
         add-law=OPERATOR:CODE, remove-law=OPERATOR:CODE, add-alliance=NAME:CODE,CODE, \
         remove-alliance=NAME, control=majority or control=secnumcloud"
    )]
    Unknown {
        /// The text.
        text: String,
    },
    /// What it is about is not declared.
    #[error("{what} {name:?} is not declared")]
    Undeclared {
        /// What it would be.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

impl Change {
    /// Reads a change as it is written on a command line: see [`ChangeError::Unknown`].
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(text: &str) -> Result<Self, ChangeError> {
        let unknown = || ChangeError::Unknown { text: text.to_owned() };
        let (verb, rest) = text.split_once('=').ok_or_else(unknown)?;
        let rest = rest.trim();
        let parts: Vec<&str> = rest.split(':').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(unknown());
        }
        let change = match (verb.trim(), parts.as_slice()) {
            ("remove-site", [name]) => Self::RemoveSite((*name).to_owned()),
            ("add-site", [name, operator, code]) => Self::AddSite(SiteFacts {
                name: (*name).to_owned(),
                operator: (*operator).to_owned(),
                location: (*code).to_owned(),
            }),
            ("remove-owner", [operator, owner]) => {
                Self::RemoveOwner { operator: (*operator).to_owned(), owner: (*owner).to_owned() }
            }
            ("add-owner", [operator, owner, percent, rest @ ..]) if rest.len() < 2 => {
                Self::SetOwner {
                    operator: (*operator).to_owned(),
                    holding: holding(owner, percent, rest.first()).ok_or_else(unknown)?,
                }
            }
            ("add-law", [operator, code]) => Self::SetOverride(law(operator, code, true)),
            ("remove-law", [operator, code]) => Self::SetOverride(law(operator, code, false)),
            ("add-alliance", [name, codes]) => Self::SetAlliance(AllianceFacts {
                name: (*name).to_owned(),
                members: Members::These(
                    codes.split(',').map(|code| code.trim().to_owned()).collect(),
                ),
                evidence: asked(),
            }),
            ("remove-alliance", [name]) => Self::RemoveAlliance((*name).to_owned()),
            ("control", ["majority"]) => Self::SetRule(ControlRule::MAJORITY),
            ("control", ["secnumcloud"]) => Self::SetRule(ControlRule::SECNUMCLOUD),
            _ => return Err(unknown()),
        };
        Ok(change)
    }

    /// Changes what is declared, and the policies that name what is gone.
    ///
    /// # Errors
    /// When what it is about is not declared.
    pub fn apply(
        &self,
        declared: &mut Declared,
        policies: &mut [PolicySpec],
    ) -> Result<(), ChangeError> {
        match self {
            Self::AddSite(site) => {
                declared.site_evidence.resize(declared.sites.len(), Evidence::default());
                declared.sites.push(site.clone());
                declared.site_evidence.push(asked());
            }
            Self::RemoveSite(name) => remove_site(declared, policies, name)?,
            Self::SetOperator(operator) => {
                let same = |other: &OperatorFacts| fold(&other.name) == fold(&operator.name);
                set(&mut declared.operators, operator.clone(), same);
            }
            Self::SetOwner { operator, holding } => {
                let same = |other: &Ownership| fold(&other.owner) == fold(&holding.owner);
                set(&mut find(declared, operator)?.owners, holding.clone(), same);
            }
            Self::RemoveOwner { operator, owner } => {
                let owners = &mut find(declared, operator)?.owners;
                remove(owners, "owner", owner, |holding| &holding.owner)?;
            }
            Self::SetOverride(entry) => {
                let same = |other: &Override| {
                    fold(&other.operator) == fold(&entry.operator)
                        && fold(&other.party) == fold(&entry.party)
                };
                set(&mut declared.overrides, entry.clone(), same);
            }
            Self::SetAlliance(alliance) => {
                let same = |other: &AllianceFacts| fold(&other.name) == fold(&alliance.name);
                set(&mut declared.alliances, alliance.clone(), same);
            }
            Self::RemoveAlliance(name) => {
                remove(&mut declared.alliances, "alliance", name, |alliance| &alliance.name)?;
            }
            Self::SetRule(rule) => declared.rule = *rule,
        }
        Ok(())
    }
}

/// What is asked about has no other source.
fn asked() -> Evidence {
    Evidence { source: Some("what if".to_owned()), date: None }
}

fn law(operator: &str, code: &str, answers: bool) -> Override {
    Override {
        operator: operator.to_owned(),
        party: format!("jurisdiction:{code}"),
        answers,
        reason: "what if".to_owned(),
        evidence: asked(),
    }
}

fn holding(owner: &str, percent: &str, code: Option<&&str>) -> Option<Ownership> {
    let percent: f64 = percent.trim_end_matches('%').trim().parse().ok()?;
    Some(Ownership {
        owner: owner.to_owned(),
        capital: Some(Share::from_fraction(percent / 100.0)?),
        jurisdiction: code.map(ToString::to_string),
        evidence: asked(),
        ..Ownership::default()
    })
}

fn remove_site(
    declared: &mut Declared,
    policies: &mut [PolicySpec],
    name: &str,
) -> Result<(), ChangeError> {
    let gone = |site: &SiteFacts| fold(&site.name) == fold(name);
    let Some(position) = declared.sites.iter().position(gone) else {
        return Err(ChangeError::Undeclared { what: "site", name: name.to_owned() });
    };
    declared.sites.remove(position);
    if position < declared.site_evidence.len() {
        declared.site_evidence.remove(position);
    }
    for sites in policies.iter_mut().filter_map(|policy| policy.sites.as_mut()) {
        sites.retain(|site| fold(site) != fold(name));
    }
    Ok(())
}

fn find<'a>(declared: &'a mut Declared, name: &str) -> Result<&'a mut OperatorFacts, ChangeError> {
    let found = declared.operators.iter_mut().find(|operator| fold(&operator.name) == fold(name));
    found.ok_or_else(|| ChangeError::Undeclared { what: "operator", name: name.to_owned() })
}

fn set<T>(all: &mut Vec<T>, one: T, same: impl Fn(&T) -> bool) {
    match all.iter_mut().find(|other| same(other)) {
        Some(other) => *other = one,
        None => all.push(one),
    }
}

fn remove<T>(
    all: &mut Vec<T>,
    what: &'static str,
    name: &str,
    name_of: impl Fn(&T) -> &String,
) -> Result<(), ChangeError> {
    let Some(place) = all.iter().position(|one| fold(name_of(one)) == fold(name)) else {
        return Err(ChangeError::Undeclared { what, name: name.to_owned() });
    };
    all.remove(place);
    Ok(())
}
