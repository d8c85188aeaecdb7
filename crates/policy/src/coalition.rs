//! Coalitions: sets of parties that act together, resolved to the sites within their reach.
//!
//! **Invariant.** Of all coalitions that a guarantee stands for, only those of several parties
//! whose reach lies within another's of the same entry are left out: what holds for the wider holds
//! for them. Parties that act together reach the operators that they only hold together, too.
//!
//! **Deliberately absent.** Limits in shards: they depend on the geometry (`placement`).
//!
//! **Crash.** Computed anew at each start.

use crate::{CoalitionSpec, Facts, PartyId, PartyKind, PolicyError, facts::is_code};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use havre_model::SiteSet;

/// Coalitions that one policy may stand for: their reduction compares each with each.
const COALITIONS_MAX: usize = 20_000;

/// What a coalition must be unable to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Harm {
    /// Hold `k` shards of a blob.
    Read,
    /// Leave fewer than `k` shards outside its reach.
    CutOff,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::CutOff => "cut off",
        })
    }
}

/// Parties that act together, and what they reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coalition {
    /// Its parties.
    pub parties: Vec<PartyId>,
    /// Its parties as `kind:name`, joined by ` + `.
    pub label: String,
    /// What it must be unable to do.
    pub harm: Harm,
    /// Every site within reach of its parties together, eligible or not.
    pub reach: SiteSet,
}

impl Coalition {
    fn new(facts: &Facts, mut parties: Vec<PartyId>, harm: Harm) -> Self {
        parties.sort_unstable();
        parties.dedup();
        let labels: Vec<String> = parties.iter().map(|id| facts.party(*id).to_string()).collect();
        let reach = facts.reach_together(&parties);
        Self { parties, label: labels.join(" + "), harm, reach }
    }
}

/// The sites within reach of the parties that `names` gives, and the names that nothing answers to.
///
/// # Errors
/// A name that fits several parties, or none and is no jurisdiction's code.
pub(crate) fn resolve(
    facts: &Facts,
    policy: &str,
    names: &[String],
    unmatched: &mut Vec<String>,
) -> Result<Vec<PartyId>, PolicyError> {
    let mut parties = Vec::new();
    for name in names {
        let found = facts.named(name);
        match found.as_slice() {
            [party] => parties.push(*party),
            // "No site may answer to XX" is a sound thing to say while no site does.
            [] if is_jurisdiction(name) => unmatched.push(name.trim().to_string()),
            [] => {
                return Err(PolicyError::UnknownParty {
                    policy: policy.to_string(),
                    party: name.clone(),
                    known: known(facts),
                });
            }
            several => {
                let labels = several.iter().map(|id| facts.party(*id).to_string());
                return Err(PolicyError::AmbiguousParty {
                    policy: policy.to_string(),
                    party: name.clone(),
                    parties: labels.collect(),
                });
            }
        }
    }
    Ok(parties)
}

fn is_jurisdiction(name: &str) -> bool {
    match name.split_once(':') {
        Some((kind, code)) => kind.trim().eq_ignore_ascii_case("jurisdiction") && is_code(code),
        None => {
            let state = name.trim().split('-').next().unwrap_or_default();
            state.len() == 2 && is_code(name)
        }
    }
}

/// Names for an error's text: enough to find a slip of the pen by.
fn known(facts: &Facts) -> String {
    const SHOWN_MAX: usize = 24;
    let labels: Vec<String> =
        facts.parties().iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let more = if facts.parties().len() > SHOWN_MAX { ", ..." } else { "" };
    labels.join(", ") + more
}

/// Every coalition that `specs` stands for, the widest of each entry only.
pub(crate) fn expand(
    facts: &Facts,
    policy: &str,
    specs: &[CoalitionSpec],
    harm: Harm,
    unmatched: &mut Vec<String>,
) -> Result<Vec<Coalition>, PolicyError> {
    let mut coalitions = Vec::new();
    for spec in specs {
        match spec {
            CoalitionSpec::AnyOne(kind) => {
                let parties = at_sites(facts, *kind);
                coalitions.extend(parties.map(|id| Coalition::new(facts, alloc::vec![id], harm)));
            }
            CoalitionSpec::AnyOf(kind, count) => {
                let parties: Vec<PartyId> = at_sites(facts, *kind).collect();
                coalitions.extend(together(facts, policy, &parties, *count, harm)?);
            }
            CoalitionSpec::Named(names) => {
                if names.is_empty() {
                    return Err(PolicyError::EmptyCoalition { policy: policy.to_string() });
                }
                let parties = resolve(facts, policy, names, unmatched)?;
                if !parties.is_empty() {
                    coalitions.push(Coalition::new(facts, parties, harm));
                }
            }
        }
        if coalitions.len() > COALITIONS_MAX {
            return Err(too_many(policy));
        }
    }
    let mut seen = alloc::collections::BTreeSet::new();
    coalitions.retain(|coalition| seen.insert(coalition.parties.clone()));
    Ok(coalitions)
}

/// The parties of the kind that reach a site. Placement can do nothing about those that reach the
/// trust domain alone: the exposure names them.
fn at_sites(facts: &Facts, kind: PartyKind) -> impl Iterator<Item = PartyId> {
    let of_kind = facts.party_ids().filter(move |id| facts.party(*id).kind == kind);
    of_kind.filter(|id| !facts.reach(*id).is_empty())
}

fn too_many(policy: &str) -> PolicyError {
    PolicyError::TooComplex {
        policy: policy.to_string(),
        what: "the guarantee stands for too many coalitions",
    }
}

/// Every set of `count` of the parties. A set of parties reaches no more than the same number of
/// widest parties that its members lie within, so only the widest are combined, and those that may
/// hold an operator between them.
fn together(
    facts: &Facts,
    policy: &str,
    parties: &[PartyId],
    count: usize,
    harm: Harm,
) -> Result<Vec<Coalition>, PolicyError> {
    if count == 0 {
        return Err(PolicyError::EmptyCoalition { policy: policy.to_string() });
    }
    let alone = parties.iter().map(|id| Coalition::new(facts, alloc::vec![*id], harm)).collect();
    let mut wide: Vec<PartyId> =
        widest(alone).into_iter().map(|coalition| coalition.parties[0]).collect();
    wide.extend(parties.iter().filter(|id| facts.has_stakes(**id)));
    wide.sort_unstable();
    wide.dedup();
    let count = count.min(wide.len());
    let mut sets: Vec<Vec<PartyId>> = alloc::vec![Vec::new()];
    for (position, party) in wide.iter().enumerate() {
        let left = wide.len() - position;
        let mut next = Vec::new();
        for set in sets {
            if set.len() < count {
                let mut larger = set.clone();
                larger.push(*party);
                next.push(larger);
            }
            // Left out only if enough others are left to fill the set.
            if set.len() + left > count {
                next.push(set);
            }
        }
        if next.len() > COALITIONS_MAX {
            return Err(too_many(policy));
        }
        sets = next;
    }
    Ok(widest(sets.into_iter().map(|set| Coalition::new(facts, set, harm)).collect()))
}

/// Leaves out each coalition whose reach lies within another's; of equals the first stays.
fn widest(coalitions: Vec<Coalition>) -> Vec<Coalition> {
    let mut reaches: Vec<SiteSet> = coalitions.iter().map(|coalition| coalition.reach).collect();
    reaches.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    reaches.dedup();
    let mut maximal: Vec<SiteSet> = Vec::new();
    for reach in reaches {
        if !maximal.iter().any(|wide| reach.is_subset(*wide)) {
            maximal.push(reach);
        }
    }
    let mut open: alloc::collections::BTreeSet<SiteSet> = maximal.into_iter().collect();
    coalitions
        .into_iter()
        .filter(|coalition| !coalition.reach.is_empty() && open.remove(&coalition.reach))
        .collect()
}
