//! Who could read and who could cut off: the least coalitions, and what the guarantee says to them.
//!
//! **Invariant.** A coalition stands here exactly if it could, by the declared facts and by some
//! placement that the policy makes, and if it could not without any one of its members (I10).
//! Whoever has the gateway, or a key with enough shards, is named before all others.
//!
//! **Deliberately absent.** What sites learn beyond shards: lengths, counts and times. Blobs that
//! were placed under earlier facts: the keeper finds them.
//!
//! **Crash.** Pure.

use crate::{
    CoalitionSpec, Facts, Harm, Party, PartyId, PartyKind, PlacementPolicy, SeatSet,
    minimal::{Found, Goal, Group, groups, minimal},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use havre_model::{Geometry, SiteSet};

/// What the guarantee of a policy says to a coalition that could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It speaks of this coalition, and is void against it: it is about shards, and the coalition
    /// has the gateway or the key.
    Void,
    /// It does not speak of this coalition, but of each of its members alone.
    SilentOfAllTogether,
    /// It does not speak of this coalition.
    Silent,
}

impl Word {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Void => "the guarantee names it, and is void against it",
            Self::SilentOfAllTogether => "the guarantee names each alone, not all together",
            Self::Silent => "the guarantee does not name it",
        }
    }
}

/// A coalition that could, and could not without any one of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// Its members: each is one party, or several of which any one does because they reach the
    /// same.
    pub members: Vec<Vec<PartyId>>,
    /// Eligible sites within its reach.
    pub reach: SiteSet,
    /// Shards of one blob that a placement gives it at most.
    pub shards: usize,
    /// Seats of the trust domain within its reach.
    pub seats: SeatSet,
    /// What the guarantee says to it.
    pub word: Word,
}

impl Exposed {
    /// Its members as `kind:name`, joined by ` + `.
    #[must_use]
    pub fn label(&self, facts: &Facts) -> String {
        let member = |parties: &Vec<PartyId>| {
            let mut parties: Vec<&Party> = parties.iter().map(|id| facts.party(*id)).collect();
            parties.sort_by_key(|party| (party.kind, &party.name));
            let names: Vec<String> = parties.iter().map(ToString::to_string).collect();
            match names.as_slice() {
                [only] => only.clone(),
                several => format!("({})", several.join(" or ")),
            }
        };
        let members: Vec<String> = self.members.iter().map(member).collect();
        members.join(" + ")
    }
}

/// The least coalitions that could do one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposedList {
    /// Those with a seat of the trust domain first, then by the number of members.
    pub coalitions: Vec<Exposed>,
    /// All of up to so many members are listed; `None` when all there are.
    pub complete: Option<usize>,
    /// Partial coalitions and placements that were looked at.
    pub steps: u64,
}

/// Who could do what with what one policy stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyExposure {
    /// The policy.
    pub policy: String,
    /// Its geometry.
    pub geometry: Geometry,
    /// Stored shards with which a write is acknowledged: until the others follow, fewer sites
    /// than said below cut it off.
    pub stored_enough: usize,
    /// Who could read with what they have: the gateway, or a key and `k` shards.
    pub read: ExposedList,
    /// Who could read if a key came to them from elsewhere: `k` shards.
    pub read_with_key: ExposedList,
    /// Who could cut off: more than `m` shards, the gateway or the key.
    pub cut_off: ExposedList,
}

/// Who could read and who could cut off what `policy` stores.
#[must_use]
pub fn exposure(facts: &Facts, policy: &PlacementPolicy) -> PolicyExposure {
    let groups = groups(facts, policy);
    let geometry = policy.geometry();
    let (k, more_than_m) = (geometry.data(), geometry.parity() + 1);
    let list = |goal, harm| {
        let found = minimal(facts, policy, &groups, goal);
        explain(facts, policy, &groups, &found, (goal, harm))
    };
    PolicyExposure {
        policy: policy.name().to_string(),
        geometry,
        stored_enough: policy.stored_enough(),
        read: list(Goal::KeyAnd(k), Harm::Read),
        read_with_key: list(Goal::Shards(k), Harm::Read),
        cut_off: list(Goal::KeyOr(more_than_m), Harm::CutOff),
    }
}

fn explain(
    facts: &Facts,
    policy: &PlacementPolicy,
    groups: &[Group],
    found: &Found,
    (goal, harm): (Goal, Harm),
) -> ExposedList {
    let exposed = |places: &Vec<usize>| {
        let members: Vec<Vec<PartyId>> =
            places.iter().map(|place| groups[*place].parties.clone()).collect();
        let parties: Vec<PartyId> = members.iter().map(|parties| parties[0]).collect();
        let reach = facts.reach_together(&parties).intersection(policy.eligible());
        let shards = policy.most_held(reach);
        let seats = match goal {
            Goal::Shards(_) => SeatSet::EMPTY,
            Goal::KeyAnd(_) | Goal::KeyOr(_) => parties
                .iter()
                .fold(SeatSet::EMPTY, |all, party| all.union(facts.seats_held(*party))),
        };
        let word = word(facts, policy, harm, &members);
        Exposed { members, reach, shards, seats, word }
    };
    let mut coalitions: Vec<Exposed> = found.coalitions.iter().map(exposed).collect();
    coalitions.sort_by_key(|exposed| (exposed.seats.is_empty(), exposed.members.len()));
    ExposedList { coalitions, complete: found.complete, steps: found.steps }
}

fn word(facts: &Facts, policy: &PlacementPolicy, harm: Harm, members: &[Vec<PartyId>]) -> Word {
    let specs = match harm {
        Harm::Read => &policy.guarantee().cannot_read,
        Harm::CutOff => &policy.guarantee().cannot_cut_off,
    };
    let names = |members: &[Vec<PartyId>]| specs.iter().any(|spec| speaks(facts, spec, members));
    // By its words: what it can keep by placement is kept, and such a coalition is not here.
    if names(members) {
        Word::Void
    } else if members.len() > 1 && members.iter().all(|one| names(core::slice::from_ref(one))) {
        Word::SilentOfAllTogether
    } else {
        Word::Silent
    }
}

/// Whether the entry names a coalition that all these members are of.
fn speaks(facts: &Facts, spec: &CoalitionSpec, members: &[Vec<PartyId>]) -> bool {
    let of_kind = |kind: PartyKind, count: usize| {
        let has = |parties: &Vec<PartyId>| parties.iter().any(|id| facts.party(*id).kind == kind);
        members.len() <= count && members.iter().all(has)
    };
    match spec {
        CoalitionSpec::AnyOne(kind) => of_kind(*kind, 1),
        CoalitionSpec::AnyOf(kind, count) => of_kind(*kind, *count),
        CoalitionSpec::Named(names) => {
            let named: Vec<PartyId> = names.iter().flat_map(|name| facts.named(name)).collect();
            members.iter().all(|parties| parties.iter().any(|id| named.contains(id)))
        }
    }
}
