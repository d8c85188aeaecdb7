//! Why a party can reach a site or a seat: link by link, as data, with each fact's evidence.
//!
//! **Invariant.** There is a link for every party of an exposure and for no other; each step of one
//! is a declared fact, and they lead from the place to the party.
//!
//! **Deliberately absent.** The decision: `builder` has made it from the same facts.
//!
//! **Crash.** Pure.

use crate::{
    Evidence, Facts, Holds, PartyId, PartyKind, SeatKind, Share,
    facts::{Basis, Origin, Place, fold},
    graph::{Closure, Entities, Joined},
    share::{Bound, Stake},
};
use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

/// One owner's part in what an entity is held by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The owner.
    pub owner: String,
    /// Whether the owner is the party itself.
    pub is_party: bool,
    /// Declared share of the capital.
    pub capital: Option<Share>,
    /// Declared share of the votes.
    pub votes: Option<Share>,
    /// How much of the owner's holding counts for the party: the whole, or less where shares
    /// multiply.
    pub counted: Share,
    /// Of the holding.
    pub evidence: Evidence,
}

/// What a step of a link rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tie {
    /// The party operates the site.
    Operates,
    /// The party runs the seat.
    Runs,
    /// The party employs the administrator.
    Employs,
    /// The administrator is the party.
    Person,
    /// The site or seat lies there.
    Location {
        /// The jurisdiction.
        code: String,
    },
    /// The administrator answers to it.
    Residence {
        /// The jurisdiction.
        code: String,
    },
    /// Owners hold enough of this entity.
    Held {
        /// The entity.
        entity: String,
        /// Its owners, as far as they count.
        holders: Vec<Holder>,
        /// What they come to.
        sum: Share,
        /// The bound that this reaches; `None` when it only adds to what is held further down.
        bound: Option<Bound>,
    },
    /// This entity exists under its law.
    Incorporation {
        /// The entity.
        entity: String,
        /// The jurisdiction.
        code: String,
    },
    /// This entity is led from there.
    Headquarters {
        /// The entity.
        entity: String,
        /// The jurisdiction.
        code: String,
    },
    /// This owner answers to it.
    OwnerJurisdiction {
        /// The owner.
        owner: String,
        /// The jurisdiction.
        code: String,
    },
    /// The jurisdiction is a member of the alliance.
    Member {
        /// The jurisdiction.
        code: String,
        /// The alliance.
        alliance: String,
    },
    /// An override says that this operator answers to the party.
    Stated {
        /// The operator.
        operator: String,
        /// Why.
        reason: String,
    },
}

/// One declared fact on the way from a place to a party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it says.
    pub tie: Tie,
    /// Of it.
    pub evidence: Evidence,
}

/// One reason why a party can reach a place: facts that lead from the place to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The facts, those nearest to the place first.
    pub steps: Vec<Step>,
}

impl Facts {
    /// Why the party can reach the site at `position`: one link for each reason, none when it
    /// cannot.
    #[must_use]
    pub fn why(&self, position: usize, party: PartyId) -> Vec<Link> {
        let evidence = self.declared.site_evidence.get(position).cloned().unwrap_or_default();
        let place = &self.sites[position];
        let why = Why { facts: self, party, basis: &self.bases[party.get()] };
        why.place(place, Tie::Operates, |code| Tie::Location { code }, &evidence)
    }

    /// Why the party can reach the seat at this place in [`Self::seats`].
    #[must_use]
    pub fn why_seated(&self, seat: usize, party: PartyId) -> Vec<Link> {
        let declared = &self.declared.seats[seat];
        let place = &self.seats[seat];
        let why = Why { facts: self, party, basis: &self.bases[party.get()] };
        let evidence = &declared.evidence;
        if declared.kind != SeatKind::Administrator {
            return why.place(place, Tie::Runs, |code| Tie::Location { code }, evidence);
        }
        let mut links = why.place(place, Tie::Employs, |code| Tie::Residence { code }, evidence);
        let named = self.party(party);
        if named.kind == PartyKind::Administrator && fold(&named.name) == fold(&declared.name) {
            links.push(Link { steps: alloc::vec![step(Tie::Person, evidence)] });
        }
        links
    }

    /// What the seat gives to who has it.
    #[must_use]
    pub fn holds(&self, seat: usize) -> Holds {
        self.declared.seats[seat].holds
    }
}

fn step(tie: Tie, evidence: &Evidence) -> Step {
    Step { tie, evidence: evidence.clone() }
}

struct Why<'a> {
    facts: &'a Facts,
    party: PartyId,
    basis: &'a Basis,
}

impl Why<'_> {
    fn place(
        &self,
        place: &Place,
        run: Tie,
        located: impl Fn(String) -> Tie,
        evidence: &Evidence,
    ) -> Vec<Link> {
        let mut links = Vec::new();
        if let Some(entity) = place.operator
            && self.is_party(entity)
            && self.kind() == PartyKind::Operator
        {
            links.push(Link { steps: alloc::vec![step(run.clone(), evidence)] });
        }
        for code in place.locations.iter().filter(|code| self.basis.codes.contains(*code)) {
            let steps = alloc::vec![step(located(code.clone()), evidence)];
            links.push(self.as_member(steps, code));
        }
        if let Some(entity) = place.operator.filter(|e| self.basis.members.contains(e)) {
            links.extend(self.entity(entity));
            // An owner that runs the place itself is behind it as its operator is.
            if links.is_empty() {
                links.push(Link { steps: alloc::vec![step(run, evidence)] });
            }
        }
        links
    }

    fn kind(&self) -> PartyKind {
        self.facts.party(self.party).kind
    }

    /// Whether the entity is the party, and not one that answers to it.
    fn is_party(&self, entity: usize) -> bool {
        let party = self.facts.party(self.party);
        matches!(party.kind, PartyKind::Operator | PartyKind::Owner)
            && fold(&self.facts.entities[entity].name) == fold(&party.name)
    }

    /// An alliance is reached by way of a member.
    fn as_member(&self, mut steps: Vec<Step>, code: &str) -> Link {
        if self.kind() == PartyKind::Alliance {
            let alliance = self.facts.party(self.party).name.clone();
            let named = |a: &&crate::AllianceFacts| fold(&a.name) == fold(&alliance);
            let evidence = self.facts.alliances.iter().find(named);
            let evidence = evidence.map(|a| a.evidence.clone()).unwrap_or_default();
            steps.push(Step { tie: Tie::Member { code: code.to_string(), alliance }, evidence });
        }
        Link { steps }
    }

    /// Why the entity answers to the party: what it is by itself, then what holds it.
    fn entity(&self, entity: usize) -> Vec<Link> {
        let mut links = self.by_itself(entity);
        if self.is_party(entity) {
            return links;
        }
        let mut others: Entities = self.basis.roots.clone();
        others.remove(&entity);
        // It settled with the entity as a root; without it there is less to settle.
        let Ok(closure) = self.facts.graph.closure(&others, &self.basis.denied) else {
            return links;
        };
        let answers = |joined: &Joined| joined.bound.is_some();
        if closure.members.contains(&entity) && closure.joined.get(&entity).is_some_and(answers) {
            links.push(Link { steps: self.chain(entity, &closure, &others) });
        }
        links
    }

    /// The entity's own ties to the party, less those that are denied.
    fn by_itself(&self, entity: usize) -> Vec<Link> {
        let mut links = self.stated(entity);
        if self.basis.denied.contains(&entity) {
            return links;
        }
        let node = &self.facts.entities[entity];
        let operators = &self.facts.declared.operators;
        for (code, origin) in node.seats.iter().filter(|(c, _)| self.basis.codes.contains(c)) {
            let (name, code) = (node.name.clone(), code.clone());
            let mine = || node.operator.map(|o| operators[o].evidence.clone()).unwrap_or_default();
            let (tie, evidence) = match *origin {
                Origin::Incorporation => {
                    (Tie::Incorporation { entity: name, code: code.clone() }, mine())
                }
                Origin::Headquarters => {
                    (Tie::Headquarters { entity: name, code: code.clone() }, mine())
                }
                Origin::Owner(operator, place) => {
                    let holding = &operators[operator].owners[place];
                    let tie = Tie::OwnerJurisdiction { owner: name, code: code.clone() };
                    (tie, holding.evidence.clone())
                }
            };
            let link = self.as_member(alloc::vec![Step { tie, evidence }], &code);
            if !links.contains(&link) {
                links.push(link);
            }
        }
        links
    }

    /// Overrides by which the entity answers to the party, to a part of it or to a member.
    fn stated(&self, entity: usize) -> Vec<Link> {
        let name = &self.facts.entities[entity].name;
        let party = self.facts.party(self.party);
        let overrides = self.facts.declared.overrides.iter();
        let about = overrides.filter(|o| o.answers && fold(&o.operator) == fold(name));
        about
            .filter_map(|entry| {
                let (word, target) = entry.party.split_once(':')?;
                let kind = PartyKind::from_word(&fold(word))?;
                let same = fold(target) == fold(&party.name);
                let entities = [PartyKind::Operator, PartyKind::Owner];
                let both = entities.contains(&kind) && entities.contains(&party.kind);
                let code = target.trim().to_ascii_uppercase();
                let tie = Tie::Stated { operator: name.clone(), reason: entry.reason.clone() };
                let steps = alloc::vec![Step { tie, evidence: entry.evidence.clone() }];
                if kind == PartyKind::Jurisdiction && self.basis.codes.contains(&code) {
                    Some(self.as_member(steps, &code))
                } else {
                    (same && (both || kind == party.kind)).then_some(Link { steps })
                }
            })
            .collect()
    }

    /// What holds the entity, what holds that, and so on to the roots, whose own ties come last.
    fn chain(&self, entity: usize, closure: &Closure, roots: &Entities) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut own = Vec::new();
        let mut seen = BTreeSet::from([entity]);
        let mut queue = alloc::collections::VecDeque::from([entity]);
        while let Some(entity) = queue.pop_front() {
            let Some(joined) = closure.joined.get(&entity) else { continue };
            steps.push(self.held(entity, joined));
            for (place, _) in &joined.holdings {
                let owner = self.facts.graph.holdings(entity)[*place].owner;
                if !seen.insert(owner) || self.is_party(owner) {
                    continue;
                }
                if roots.contains(&owner) {
                    own.extend(self.by_itself(owner).into_iter().next());
                } else {
                    queue.push_back(owner);
                }
            }
        }
        for step in own.into_iter().flat_map(|link: Link| link.steps) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps
    }

    fn held(&self, entity: usize, joined: &Joined) -> Step {
        let node = &self.facts.entities[entity];
        let operator = node.operator.expect("who is held is declared with its owners");
        let owners = &self.facts.declared.operators[operator].owners;
        let holders: Vec<Holder> = joined
            .holdings
            .iter()
            .map(|(place, counted): &(usize, Stake)| Holder {
                owner: owners[*place].owner.trim().to_string(),
                is_party: self.is_party(self.facts.graph.holdings(entity)[*place].owner),
                capital: owners[*place].capital,
                votes: owners[*place].votes,
                counted: counted.share(),
                evidence: owners[*place].evidence.clone(),
            })
            .collect();
        let evidence = match holders.as_slice() {
            [only] => only.evidence.clone(),
            _ => Evidence::default(),
        };
        let (entity, sum) = (node.name.clone(), joined.sum.share());
        Step { tie: Tie::Held { entity, holders, sum, bound: joined.bound }, evidence }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.steps.iter().enumerate() {
            let joint = if place == 0 { "" } else { ", " };
            write!(f, "{joint}{}", step.tie)?;
        }
        Ok(())
    }
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operates => f.write_str("operates it"),
            Self::Runs => f.write_str("runs it"),
            Self::Employs => f.write_str("employs them"),
            Self::Person => f.write_str("is the administrator"),
            Self::Location { .. } => f.write_str("it lies there"),
            Self::Residence { .. } => f.write_str("the administrator answers to it"),
            Self::Held { entity, holders, sum, .. } => write_held(f, entity, holders, *sum),
            Self::Incorporation { entity, .. } => write!(f, "{entity} is incorporated there"),
            Self::Headquarters { entity, .. } => {
                write!(f, "{entity} has its headquarters there")
            }
            Self::OwnerJurisdiction { owner, .. } => write!(f, "{owner} answers to it"),
            Self::Member { code, .. } => write!(f, "{code} is a member"),
            Self::Stated { operator, reason } => {
                write!(f, "an override says that {operator} answers to it: {reason}")
            }
        }
    }
}

fn write_held(
    f: &mut fmt::Formatter<'_>,
    entity: &str,
    holders: &[Holder],
    sum: Share,
) -> fmt::Result {
    for (place, holder) in holders.iter().enumerate() {
        f.write_str(if place == 0 { "" } else { " and " })?;
        if !holder.is_party {
            write!(f, "{} ", holder.owner)?;
        }
        match (holder.capital, holder.votes) {
            (None, None) => write!(f, "owns {entity} (share not declared)")?,
            (Some(capital), None) => write!(f, "owns {capital} of {entity}")?,
            (None, Some(votes)) => write!(f, "has {votes} of the votes in {entity}")?,
            (Some(capital), Some(votes)) => {
                write!(f, "owns {capital} of {entity} with {votes} of the votes")?;
            }
        }
        if holder.counted < Share::WHOLE {
            write!(f, " (of which {} counts)", holder.counted)?;
        }
    }
    if holders.len() > 1 {
        write!(f, " ({sum} together)")?;
    }
    Ok(())
}
