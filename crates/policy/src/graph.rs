//! Who answers to whom: from holdings to the entities that a party has behind it.
//!
//! **Invariant.** A closure is the least set that its rule asks for, so cross-holdings and cycles
//! end and nobody answers to a party by holding himself up. More holdings, more roots or fewer
//! denials never make it smaller.
//!
//! **Deliberately absent.** What entities and roots stand for (`facts`), and words for it (`why`).
//!
//! **Crash.** Pure.

use crate::{
    ControlRule, Share,
    share::{Bound, Chains, Stake},
};
use alloc::{collections::BTreeMap, collections::BTreeSet, vec::Vec};

/// Passes over the holdings until shares that multiply have settled. Companies that hold up to 99 %
/// of each other settle within them.
const ROUNDS_MAX: usize = 5_000;

/// From which share on a company's holdings are wholly its owner's where shares multiply.
const MAJORITY: Bound = Bound::AtLeast(Share::percent(50));

/// Entities by their place in the graph.
pub(crate) type Entities = BTreeSet<usize>;

/// One owner's holding in one entity, by what is presumed where it is not declared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) owner: usize,
    pub(crate) capital: Share,
    pub(crate) votes: Share,
}

/// What an entity is held by at the moment it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Places in the entity's holdings that counted, with what each owner counted for.
    pub(crate) holdings: Vec<(usize, Stake)>,
    /// What they come to, of capital or votes: the larger.
    pub(crate) sum: Stake,
    /// The bound that this reaches; `None` when it only passes on to what it holds.
    pub(crate) bound: Option<Bound>,
}

/// The entities that answer to a party.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closure {
    /// The roots among them.
    pub(crate) members: Entities,
    /// How those that are no roots came in; shares that multiply pass through others too.
    pub(crate) joined: BTreeMap<usize, Joined>,
}

/// Shares that multiply do not settle: an entity in a knot of cross-holdings of which next to
/// nothing is held from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Knot(pub(crate) usize);

/// The holdings of all entities.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    /// By entity.
    holdings: Vec<Vec<Holding>>,
    /// By entity: what it holds, as entity and place in that one's holdings.
    held: Vec<Vec<(usize, usize)>>,
    rule: ControlRule,
}

impl Graph {
    pub(crate) fn new(holdings: Vec<Vec<Holding>>, rule: ControlRule) -> Self {
        let mut held = alloc::vec![Vec::new(); holdings.len()];
        for (entity, holdings) in holdings.iter().enumerate() {
            for (place, holding) in holdings.iter().enumerate() {
                held[holding.owner].push((entity, place));
            }
        }
        Self { holdings, held, rule }
    }

    pub(crate) fn holdings(&self, entity: usize) -> &[Holding] {
        &self.holdings[entity]
    }

    /// What the entity holds, as entity and place in that one's holdings.
    pub(crate) fn held_by(&self, entity: usize) -> &[(usize, usize)] {
        &self.held[entity]
    }

    /// Whatever answers to the `roots`, each alone or all together; what is `denied` does not.
    pub(crate) fn closure(&self, roots: &Entities, denied: &Entities) -> Result<Closure, Knot> {
        match self.rule.chains() {
            Chains::Whole => Ok(self.whole(roots, denied)),
            Chains::Multiply => self.multiplied(roots, denied),
        }
    }

    /// The entity and whatever answers to it.
    fn alone(&self, root: usize, denied: &Entities) -> Vec<(usize, Joined)> {
        let mut members = Entities::from([root]);
        let mut sums: BTreeMap<usize, (Stake, Stake)> = BTreeMap::new();
        let mut joined = Vec::new();
        let mut queue = alloc::vec![root];
        while let Some(owner) = queue.pop() {
            for (entity, place) in self.held[owner].iter().copied() {
                let holding = self.holdings[entity][place];
                let sum = sums.entry(entity).or_default();
                *sum = (sum.0.and(holding.capital.into()), sum.1.and(holding.votes.into()));
                let most = sum.0.max(sum.1);
                let bound = self.rule.alone();
                if !bound.is_reached(most) || denied.contains(&entity) || members.contains(&entity)
                {
                    continue;
                }
                // Members that still wait in the queue count as well.
                joined.push((entity, self.join(entity, &members, bound)));
                members.insert(entity);
                queue.push(entity);
            }
        }
        joined
    }

    /// How `entity` is held by `members`, each counted wholly.
    fn join(&self, entity: usize, members: &Entities, bound: Bound) -> Joined {
        let holdings: Vec<(usize, Stake)> = self.holdings[entity]
            .iter()
            .enumerate()
            .filter(|(_, holding)| members.contains(&holding.owner))
            .map(|(place, _)| (place, Stake::WHOLE))
            .collect();
        let sum = self.sum(entity, &holdings);
        Joined { holdings, sum: sum.0.max(sum.1), bound: Some(bound) }
    }

    fn sum(&self, entity: usize, counted: &[(usize, Stake)]) -> (Stake, Stake) {
        counted.iter().fold((Stake::NONE, Stake::NONE), |(capital, votes), (place, stake)| {
            let holding = self.holdings[entity][*place];
            (capital.and(stake.times(holding.capital)), votes.and(stake.times(holding.votes)))
        })
    }

    fn whole(&self, roots: &Entities, denied: &Entities) -> Closure {
        let mut closure = Closure {
            members: roots.difference(denied).copied().collect(),
            joined: BTreeMap::new(),
        };
        let mut queue: Vec<usize> = closure.members.iter().copied().collect();
        loop {
            while let Some(member) = queue.pop() {
                for (entity, joined) in self.alone(member, denied) {
                    if closure.members.insert(entity) {
                        closure.joined.insert(entity, joined);
                        queue.push(entity);
                    }
                }
            }
            let Some((entity, joined)) = self.held_together(&closure.members, denied) else {
                return closure;
            };
            closure.members.insert(entity);
            closure.joined.insert(entity, joined);
            queue.push(entity);
        }
    }

    /// An entity that no member holds alone and all of them hold together.
    fn held_together(&self, members: &Entities, denied: &Entities) -> Option<(usize, Joined)> {
        let bound = self.rule.together();
        let candidates: Entities =
            members.iter().flat_map(|m| self.held[*m].iter().map(|(entity, _)| *entity)).collect();
        candidates
            .into_iter()
            .filter(|entity| !members.contains(entity) && !denied.contains(entity))
            .map(|entity| (entity, self.join(entity, members, bound)))
            .find(|(_, joined)| bound.is_reached(joined.sum))
    }

    fn multiplied(&self, roots: &Entities, denied: &Entities) -> Result<Closure, Knot> {
        let roots: Entities = roots.difference(denied).copied().collect();
        let mut closure = self.shares(&roots, denied, self.rule.together())?;
        for root in &roots {
            let alone = self.shares(&Entities::from([*root]), denied, self.rule.alone())?;
            for entity in alone.members {
                if closure.members.insert(entity)
                    && let Some(joined) = alone.joined.get(&entity)
                {
                    closure.joined.insert(entity, joined.clone());
                }
            }
        }
        Ok(closure)
    }

    /// What the roots have of each entity over all chains, and the entities of which that reaches
    /// the bound.
    fn shares(&self, roots: &Entities, denied: &Entities, bound: Bound) -> Result<Closure, Knot> {
        let below = self.below(roots, denied);
        let mut stakes: BTreeMap<usize, (Stake, Stake)> = BTreeMap::new();
        let whole = (Stake::WHOLE, Stake::WHOLE);
        let of = |stakes: &BTreeMap<usize, (Stake, Stake)>, owner: usize| {
            let none = (Stake::NONE, Stake::NONE);
            if roots.contains(&owner) { whole } else { *stakes.get(&owner).unwrap_or(&none) }
        };
        let mut sums: BTreeMap<usize, (Stake, Stake)> = BTreeMap::new();
        for round in 0.. {
            let mut changed = None;
            for entity in below.iter().copied() {
                let sum = self.holdings[entity].iter().fold(
                    (Stake::NONE, Stake::NONE),
                    |(capital, votes), holding| {
                        let (owned, voted) = of(&stakes, holding.owner);
                        let (more, louder) =
                            (owned.times(holding.capital), voted.times(holding.votes));
                        (capital.and(more), votes.and(louder))
                    },
                );
                // Whoever has the majority of a company disposes of all that it holds.
                let counted = if MAJORITY.is_reached(sum.0.max(sum.1)) { whole } else { sum };
                sums.insert(entity, sum);
                if stakes.insert(entity, counted) != Some(counted) {
                    changed = Some(entity);
                }
            }
            match changed {
                None => break,
                Some(entity) if round == ROUNDS_MAX => return Err(Knot(entity)),
                Some(_) => {}
            }
        }
        let mut closure = Closure { members: roots.clone(), joined: BTreeMap::new() };
        for entity in below {
            let (capital, votes) = sums[&entity];
            let sum = capital.max(votes);
            let counted = self.holdings[entity].iter().enumerate();
            let counted = counted.map(|(place, holding)| {
                let (owned, voted) = of(&stakes, holding.owner);
                (place, owned.max(voted))
            });
            let holdings = counted.filter(|(_, stake)| *stake > Stake::NONE).collect();
            let reached = bound.is_reached(sum);
            if reached {
                closure.members.insert(entity);
            }
            let bound = reached.then_some(bound);
            closure.joined.insert(entity, Joined { holdings, sum, bound });
        }
        Ok(closure)
    }

    /// Everything that the roots hold a share of, over whatever chain.
    fn below(&self, roots: &Entities, denied: &Entities) -> Entities {
        let mut below = Entities::new();
        let mut queue: Vec<usize> = roots.iter().copied().collect();
        while let Some(owner) = queue.pop() {
            for (entity, _) in &self.held[owner] {
                if !roots.contains(entity) && !denied.contains(entity) && below.insert(*entity) {
                    queue.push(*entity);
                }
            }
        }
        below
    }
}
