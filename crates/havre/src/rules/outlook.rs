//! Whom a pack is about, and whom they reach: by what is declared, and at worst.
//!
//! **Invariant.** Both are computed by `havre_policy` from facts; the worst are the declared ones
//! with everything that is not declared put into the hands of those that the pack is about.
//!
//! **Deliberately absent.** Verdicts.
//!
//! **Crash.** Values only.

use havre_model::SiteSet;
use havre_policy::{
    AllianceFacts, ControlRule, Declared, Evidence, Facts, FactsError, Link, Members,
    OperatorFacts, Ownership, PartyId, PartyKind, SeatSet, Share, Step, Tie,
};
use std::collections::BTreeSet;

/// The jurisdiction of what has none declared; no ISO 3166 code looks like it.
const UNDECLARED: &str = "UNDECLARED";
const REST_OF: &str = "undeclared owners of ";
const WHO_RUNS: &str = "whoever runs or employs ";

/// Those that a pack is about: states, and who answers to them.
pub(super) struct Adverse {
    /// What they are called.
    pub(super) name: &'static str,
    /// The states.
    pub(super) members: Members,
    /// When somebody answers to them.
    pub(super) rule: ControlRule,
    /// Whether the framework speaks of capital and of votes, so that both have to be declared;
    /// else the one is taken to go with the other.
    pub(super) both_shares: bool,
    /// Where the list comes from.
    pub(super) source: &'static str,
}

/// Whom they reach.
pub(super) struct Outlook {
    /// What they are called.
    pub(super) name: &'static str,
    /// By what is declared.
    pub(super) facts: Facts,
    /// With all that is undeclared in their hands.
    pub(super) worst: Facts,
    group: Option<PartyId>,
    worst_group: Option<PartyId>,
}

impl Outlook {
    pub(super) fn new(declared: &Declared, adverse: &Adverse) -> Result<Self, FactsError> {
        let mut declared = declared.clone();
        declared.rule = adverse.rule;
        declared.alliances.push(AllianceFacts {
            name: adverse.name.to_owned(),
            members: adverse.members.clone(),
            evidence: Evidence { source: Some(adverse.source.to_owned()), date: None },
        });
        let facts = Facts::declare(declared.clone())?;
        presume(&mut declared, adverse.both_shares);
        if let Some(AllianceFacts { members: Members::These(codes), .. }) =
            declared.alliances.last_mut()
        {
            codes.push(UNDECLARED.to_owned());
        }
        let worst = Facts::declare(declared)?;
        let (group, worst_group) = (party(&facts, adverse.name), party(&worst, adverse.name));
        Ok(Self { name: adverse.name, facts, worst, group, worst_group })
    }

    /// Whether the party is all of them together, which the pack has added.
    pub(super) fn is_group(&self, facts: &Facts, party: PartyId) -> bool {
        let party = facts.party(party);
        party.kind == PartyKind::Alliance && party.name == self.name
    }

    /// The sites within their reach, by what is declared.
    pub(super) fn sites(&self) -> SiteSet {
        self.group.map_or(SiteSet::EMPTY, |group| self.facts.reach(group))
    }

    /// The sites that may be.
    pub(super) fn sites_at_worst(&self) -> SiteSet {
        self.worst_group.map_or(SiteSet::EMPTY, |group| self.worst.reach(group))
    }

    /// The seats within their reach, by what is declared.
    pub(super) fn seats(&self) -> SeatSet {
        self.group.map_or(SeatSet::EMPTY, |group| self.facts.seats_held(group))
    }

    /// The seats that may be.
    pub(super) fn seats_at_worst(&self) -> SeatSet {
        self.worst_group.map_or(SeatSet::EMPTY, |group| self.worst.seats_held(group))
    }

    /// Why they reach the site, by what is declared.
    pub(super) fn why_site(&self, position: usize) -> Vec<Link> {
        self.group.map_or(Vec::new(), |group| self.facts.why(position, group))
    }

    /// Why they reach the seat, by what is declared.
    pub(super) fn why_seat(&self, seat: usize) -> Vec<Link> {
        self.group.map_or(Vec::new(), |group| self.facts.why_seated(seat, group))
    }

    /// The declarations without which they may reach the site.
    pub(super) fn missing_site(&self, position: usize) -> Vec<String> {
        let links = self.worst_group.map_or(Vec::new(), |group| self.worst.why(position, group));
        missing(&links)
    }

    /// The declarations without which they may reach the seat.
    pub(super) fn missing_seat(&self, seat: usize) -> Vec<String> {
        let links = self.worst_group.map_or(Vec::new(), |group| self.worst.why_seated(seat, group));
        missing(&links)
    }

    /// The declarations without which anybody may hold whoever runs the seat.
    pub(super) fn missing_holders_of_seat(&self, seat: usize) -> Vec<String> {
        let group = self.worst_group;
        missing_holders(group.map_or(Vec::new(), |group| self.worst.why_seated(seat, group)))
    }

    /// The declarations without which anybody may hold whoever runs the site.
    pub(super) fn missing_holders_of_site(&self, position: usize) -> Vec<String> {
        let group = self.worst_group;
        missing_holders(group.map_or(Vec::new(), |group| self.worst.why(position, group)))
    }

    /// What the party reaches at worst: with everything that is undeclared in its hands, and in no
    /// other's.
    pub(super) fn reach_at_worst(&self, party: PartyId) -> SiteSet {
        let mut parties = vec![party];
        parties.extend(self.worst.party_ids().filter(|id| {
            let party = self.worst.party(*id);
            party.kind == PartyKind::Jurisdiction && party.name == UNDECLARED
        }));
        self.worst.reach_together(&parties)
    }
}

fn party(facts: &Facts, name: &str) -> Option<PartyId> {
    let is_it = |id: &PartyId| {
        let party = facts.party(*id);
        party.kind == PartyKind::Alliance && party.name == name
    };
    facts.party_ids().find(is_it)
}

fn same(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

/// Fills in what is not declared: laws, owners' jurisdictions, the rest of the shares, and who runs
/// a seat and where.
fn presume(declared: &mut Declared, both_shares: bool) {
    let undeclared = || Some(UNDECLARED.to_owned());
    let mut new = Vec::new();
    for seat in &mut declared.seats {
        if seat.locations.is_empty() {
            seat.locations.push(UNDECLARED.to_owned());
        }
        if seat.operator.is_none() {
            let name = format!("{WHO_RUNS}{seat}");
            seat.operator = Some(name.clone());
            new.push(OperatorFacts {
                name,
                incorporation: undeclared(),
                ..OperatorFacts::default()
            });
        }
    }
    let operators = declared.operators.iter();
    let placed = operators.clone().flat_map(|operator| {
        let owners = operator.owners.iter().filter(|owner| owner.jurisdiction.is_some());
        owners.map(|owner| owner.owner.as_str())
    });
    let known: Vec<String> =
        placed.chain(operators.map(|o| o.name.as_str())).map(str::to_owned).collect();
    for operator in &mut declared.operators {
        operator.incorporation = operator.incorporation.take().or_else(undeclared);
        operator.headquarters = operator.headquarters.take().or_else(undeclared);
        for owner in &mut operator.owners {
            if owner.jurisdiction.is_none() && !known.iter().any(|name| same(name, &owner.owner)) {
                owner.jurisdiction = undeclared();
            }
        }
        let (capital, votes) = rest(operator, both_shares);
        if capital > Share::NONE || votes > Share::NONE {
            operator.owners.push(Ownership {
                owner: format!("{REST_OF}{}", operator.name),
                capital: Some(capital),
                votes: Some(votes),
                jurisdiction: undeclared(),
                ..Ownership::default()
            });
        }
    }
    declared.operators.extend(new);
}

/// The capital and the votes that no declared owner has.
fn rest(operator: &OperatorFacts, both_shares: bool) -> (Share, Share) {
    let sum = |share: &dyn Fn(&Ownership) -> Option<Share>| {
        let shares = operator.owners.iter().filter_map(share);
        shares.fold(Share::NONE, Share::and).rest()
    };
    if both_shares {
        return (sum(&|owner| owner.capital), sum(&|owner| owner.votes));
    }
    (sum(&|owner| owner.capital.or(owner.votes)), sum(&|owner| owner.votes.or(owner.capital)))
}

/// As [`missing`], of those links that lead over a holding.
fn missing_holders(mut links: Vec<Link>) -> Vec<String> {
    let held = |step: &Step| matches!(step.tie, Tie::Held { .. });
    links.retain(|link| link.steps.iter().any(held));
    missing(&links)
}

/// What is not declared on these links.
fn missing(links: &[Link]) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for step in links.iter().flat_map(|link| &link.steps) {
        match &step.tie {
            Tie::Incorporation { entity, code } if code == UNDECLARED => {
                missing.insert(match entity.strip_prefix(WHO_RUNS) {
                    Some(seat) => format!("who runs or employs {seat}"),
                    None => format!("operator {entity}: incorporation"),
                });
            }
            Tie::Headquarters { entity, code } if code == UNDECLARED => {
                missing.insert(format!("operator {entity}: headquarters"));
            }
            Tie::OwnerJurisdiction { owner, code }
                if code == UNDECLARED && !owner.starts_with(REST_OF) =>
            {
                missing.insert(format!("owner {owner}: jurisdiction"));
            }
            Tie::Location { code } | Tie::Residence { code } if code == UNDECLARED => {
                missing.insert("the location, or an administrator's jurisdictions".to_owned());
            }
            Tie::Held { holders, .. } => {
                let rests = holders.iter().filter(|holder| holder.owner.starts_with(REST_OF));
                missing.extend(rests.map(|holder| {
                    let of = &holder.owner[REST_OF.len()..];
                    let capital = holder.capital.unwrap_or_default();
                    let votes = holder.votes.unwrap_or_default();
                    format!(
                        "operator {of}: who has the other {capital} of the capital and {votes} \
                             of the votes"
                    )
                }));
            }
            _ => {}
        }
    }
    missing.into_iter().collect()
}
