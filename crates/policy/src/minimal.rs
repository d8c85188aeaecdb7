//! The least coalitions that together get what they need: enough shards, a key, or the gateway.
//!
//! **Invariant.** Every coalition found gets there, and none of its members can be left out; all of
//! up to [`Found::complete`] members are found, or all there are. The work is bounded by
//! [`STEPS_MAX`].
//!
//! **Deliberately absent.** What the guarantee says to them (`exposure`).
//!
//! **Crash.** Pure.

use crate::{Facts, Holds, PartyId, PlacementPolicy, SeatSet};
use alloc::{collections::BTreeMap, vec::Vec};
use havre_model::SiteSet;

/// Partial coalitions and partial placements visited for one question.
pub(crate) const STEPS_MAX: u64 = 1_000_000;
/// Coalitions that are listed for one question.
pub(crate) const FOUND_MAX: usize = 4_096;

/// What a coalition needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The gateway, or a key and so many shards.
    KeyAnd(usize),
    /// So many shards.
    Shards(usize),
    /// The gateway, the key, or so many shards.
    KeyOr(usize),
}

impl Goal {
    fn shards(self) -> usize {
        match self {
            Self::KeyAnd(shards) | Self::Shards(shards) | Self::KeyOr(shards) => shards,
        }
    }
}

/// Parties that reach the same: any of them does for all.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) parties: Vec<PartyId>,
    reach: SiteSet,
    seats: SeatSet,
    gateway: bool,
    key: bool,
    /// A party of its own, because with others it may reach more than each for itself.
    has_stakes: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Coalitions, as places in the groups, those of fewest members first.
    pub(crate) coalitions: Vec<Vec<usize>>,
    /// All coalitions of up to so many members are there; `None` when all are.
    pub(crate) complete: Option<usize>,
    /// Work done.
    pub(crate) steps: u64,
}

/// The parties, those that reach the same together, the trust domain's first, then by reach.
pub(crate) fn groups(facts: &Facts, policy: &PlacementPolicy) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for id in facts.party_ids() {
        let seats = facts.seats_held(id);
        let holds = |wanted: Holds| seats.iter().any(|seat| facts.holds(seat) == wanted);
        let group = Group {
            parties: alloc::vec![id],
            reach: facts.reach(id).intersection(policy.eligible()),
            seats,
            gateway: holds(Holds::Gateway),
            key: holds(Holds::Key),
            has_stakes: facts.has_stakes(id),
        };
        if group.reach.is_empty() && seats.is_empty() && !group.has_stakes {
            continue;
        }
        let same = |other: &&mut Group| {
            let equal = other.reach == group.reach && other.seats == group.seats;
            equal && !other.has_stakes && !group.has_stakes
        };
        match groups.iter_mut().find(same) {
            Some(other) => other.parties.push(id),
            None => groups.push(group),
        }
    }
    groups.sort_by_key(|group| {
        let reach = core::cmp::Reverse(group.reach.len());
        (!group.gateway, !group.key, reach, group.parties[0])
    });
    groups
}

/// The least coalitions of `groups` that get to the goal.
pub(crate) fn minimal(
    facts: &Facts,
    policy: &PlacementPolicy,
    groups: &[Group],
    goal: Goal,
) -> Found {
    let mut rest = alloc::vec![Standing::default(); groups.len() + 1];
    let mut widest = alloc::vec![0; groups.len() + 1];
    for place in (0..groups.len()).rev() {
        rest[place] = rest[place + 1].with(&groups[place]);
        widest[place] = widest[place + 1].max(groups[place].reach.len());
    }
    let mut search = Search {
        facts,
        policy,
        groups,
        goal,
        rest,
        widest,
        known: BTreeMap::new(),
        steps: 0,
        larger: false,
        found: Vec::new(),
    };
    for size in 1..=groups.len() {
        search.larger = false;
        let done = search.extend(&mut Vec::new(), Standing::default(), 0, size);
        if done.is_none() {
            let Search { found: coalitions, steps, .. } = search;
            return Found { coalitions, complete: Some(size - 1), steps };
        }
        if !search.larger {
            break;
        }
    }
    Found { coalitions: search.found, complete: None, steps: search.steps }
}

/// What the members of a coalition have between them.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    reach: SiteSet,
    gateway: bool,
    key: bool,
    with_stakes: usize,
}

impl Standing {
    fn with(self, group: &Group) -> Self {
        Self {
            reach: self.reach.union(group.reach),
            gateway: self.gateway || group.gateway,
            key: self.key || group.key,
            with_stakes: self.with_stakes + usize::from(group.has_stakes),
        }
    }
}

struct Search<'a> {
    facts: &'a Facts,
    policy: &'a PlacementPolicy,
    groups: &'a [Group],
    goal: Goal,
    /// By place: what the groups from there on have.
    rest: Vec<Standing>,
    /// By place: the sites that one group from there on adds at most.
    widest: Vec<usize>,
    /// Whether a reach may come to hold the shards of the goal.
    known: BTreeMap<SiteSet, bool>,
    steps: u64,
    /// Whether a coalition of more members may get there.
    larger: bool,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    /// Finds the least coalitions of `size` members that begin with the chosen ones; `None` when
    /// the budget is spent.
    fn extend(
        &mut self,
        chosen: &mut Vec<usize>,
        standing: Standing,
        from: usize,
        size: usize,
    ) -> Option<()> {
        for place in from..self.groups.len() {
            if self.steps >= STEPS_MAX || self.found.len() >= FOUND_MAX {
                return None;
            }
            self.steps += 1;
            let group = &self.groups[place];
            if !self.adds(standing, group) {
                continue;
            }
            chosen.push(place);
            let with = self.together(standing.with(group), chosen);
            self.look_at(chosen, with, place + 1, size)?;
            chosen.pop();
        }
        Some(())
    }

    fn look_at(
        &mut self,
        chosen: &mut Vec<usize>,
        standing: Standing,
        next: usize,
        size: usize,
    ) -> Option<()> {
        let slots = size - chosen.len();
        if self.gets_there(standing) {
            // With places left it is one of an earlier size, or has one within it.
            if slots == 0 && self.is_least(chosen) {
                self.found.push(chosen.clone());
            }
        } else if !self.is_hopeless(standing, next, usize::MAX) {
            if slots == 0 || self.is_hopeless(standing, next, slots) {
                self.larger = true;
            } else {
                return self.extend(chosen, standing, next, size);
            }
        }
        Some(())
    }

    /// Whether the group brings anything that the goal asks for; a member that does not could be
    /// left out.
    fn adds(&self, standing: Standing, group: &Group) -> bool {
        let seats = match self.goal {
            Goal::Shards(_) => false,
            Goal::KeyAnd(_) | Goal::KeyOr(_) => {
                (group.gateway && !standing.gateway) || (group.key && !standing.key)
            }
        };
        seats || group.has_stakes || !group.reach.is_subset(standing.reach)
    }

    fn together(&mut self, standing: Standing, chosen: &[usize]) -> Standing {
        if standing.with_stakes < 2 {
            return standing;
        }
        self.steps += 8; // What is held together is computed anew.
        let parties: Vec<PartyId> =
            chosen.iter().map(|place| self.groups[*place].parties[0]).collect();
        let reach = self.facts.reach_together(&parties).intersection(self.policy.eligible());
        Standing { reach, ..standing }
    }

    fn gets_there(&mut self, standing: Standing) -> bool {
        match self.goal {
            Goal::KeyAnd(_) if standing.gateway => true,
            Goal::KeyAnd(_) if !standing.key => false,
            Goal::KeyOr(_) if standing.gateway || standing.key => true,
            _ => self.holds(standing.reach),
        }
    }

    fn holds(&mut self, reach: SiteSet) -> bool {
        if reach.len() < self.goal.shards() {
            return false;
        }
        if let Some(known) = self.known.get(&reach) {
            return *known;
        }
        let (holds, steps) = self.policy.could_hold(reach, self.goal.shards());
        self.steps += u64::from(steps);
        self.known.insert(reach, holds);
        holds
    }

    /// Whether no `slots` of the groups from `next` on bring it there, by what is quickly seen.
    fn is_hopeless(&self, standing: Standing, next: usize, slots: usize) -> bool {
        let rest = self.rest[next];
        if standing.with_stakes + rest.with_stakes > 1 {
            return false;
        }
        let shards_are_hopeless = || {
            let gain = slots.saturating_mul(self.widest[next]);
            let all = standing.reach.union(rest.reach).len();
            all.min(standing.reach.len().saturating_add(gain)) < self.goal.shards()
        };
        match self.goal {
            Goal::Shards(_) => shards_are_hopeless(),
            Goal::KeyOr(_) => !rest.gateway && !rest.key && shards_are_hopeless(),
            Goal::KeyAnd(_) => {
                !rest.gateway && (!(standing.key || rest.key) || shards_are_hopeless())
            }
        }
    }

    /// Whether it gets there only with every member.
    fn is_least(&mut self, chosen: &[usize]) -> bool {
        (0..chosen.len()).all(|left_out| {
            let mut others = chosen.to_vec();
            others.remove(left_out);
            let standing = others
                .iter()
                .fold(Standing::default(), |all, place| all.with(&self.groups[*place]));
            let standing = self.together(standing, &others);
            self.steps += 1;
            !self.gets_there(standing)
        })
    }
}
