//! Chooses sites so that no coalition gets more shards than it may have.
//!
//! **Invariant.** An answer satisfies every limit; "none" is said only after every choice was ruled
//! out. Of several answers the one that keeps to the given order longest is found, so that equal
//! input gives equal placement.
//!
//! **Deliberately absent.** What the limits mean (`placement`), and randomness.
//!
//! **Crash.** Pure.

use alloc::vec::Vec;
use havre_model::{SiteSet, limits::SITES_MAX};

/// At most `shards_max` sites of `reach` may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Limit {
    pub(crate) reach: SiteSet,
    pub(crate) shards_max: usize,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// These sites.
    Sites(SiteSet),
    /// No choice satisfies the limits.
    Nothing,
    /// The budget ran out first.
    Undecided,
}

/// The limits that bind when `total` of the `eligible` sites are chosen, without those that another
/// implies, widest first.
pub(crate) fn binding(
    limits: impl IntoIterator<Item = Limit>,
    eligible: SiteSet,
    total: usize,
) -> Vec<Limit> {
    let mut all: Vec<Limit> = limits
        .into_iter()
        .map(|limit| Limit { reach: limit.reach.intersection(eligible), ..limit })
        .filter(|limit| limit.reach.len().min(total) > limit.shards_max)
        .collect();
    all.sort_unstable_by(|a, b| {
        let size = b.reach.len().cmp(&a.reach.len());
        size.then(a.shards_max.cmp(&b.shards_max)).then(a.reach.cmp(&b.reach))
    });
    let mut kept: Vec<Limit> = Vec::new();
    for limit in all {
        let implied =
            |wide: &Limit| limit.reach.is_subset(wide.reach) && wide.shards_max <= limit.shards_max;
        if !kept.iter().any(implied) {
            kept.push(limit);
        }
    }
    kept
}

/// Whether `chosen` is within every limit.
pub(crate) fn admits(limits: &[Limit], chosen: SiteSet) -> bool {
    limits.iter().all(|limit| limit.reach.intersection(chosen).len() <= limit.shards_max)
}

/// Sites that are alike: in the reach of the same limits. Leaving one of them out for another that
/// is less wanted gains nothing.
pub(crate) struct Alike([SiteSet; SITES_MAX]);

impl Alike {
    pub(crate) fn new(limits: &[Limit], eligible: SiteSet) -> Self {
        let mut alike = [SiteSet::EMPTY; SITES_MAX];
        for site in eligible.iter() {
            let same = |other: &usize| {
                limits
                    .iter()
                    .all(|limit| limit.reach.contains(site) == limit.reach.contains(*other))
            };
            alike[site] = eligible.iter().filter(same).collect();
        }
        Self(alike)
    }

    /// The same with one more limit, on the sites within `reach` or on those outside it.
    pub(crate) fn split(&self, reach: SiteSet) -> Self {
        let mut alike = self.0;
        for (site, same) in alike.iter_mut().enumerate() {
            *same = if reach.contains(site) { same.intersection(reach) } else { same.minus(reach) };
        }
        Self(alike)
    }
}

/// The first `total` of `order` that can be taken one after the other; `None` when that comes to
/// fewer, which does not mean that there is no choice.
pub(crate) fn greedy(order: &[u8], limits: &[Limit], total: usize) -> Option<SiteSet> {
    let mut chosen = SiteSet::EMPTY;
    for site in order {
        let with = chosen.with(usize::from(*site));
        if admits(limits, with) {
            chosen = with;
            if chosen.len() == total {
                return Some(chosen);
            }
        }
    }
    None
}

/// `total` sites of `order` within all limits, visiting at most `budget` partial choices.
pub(crate) fn choose(
    order: &[u8],
    limits: &[Limit],
    alike: &Alike,
    total: usize,
    budget: u32,
) -> Found {
    choose_counting(order, limits, alike, total, budget).0
}

/// As [`choose`], with the partial choices that it visited.
pub(crate) fn choose_counting(
    order: &[u8],
    limits: &[Limit],
    alike: &Alike,
    total: usize,
    budget: u32,
) -> (Found, u32) {
    let candidates: SiteSet = order.iter().map(|site| usize::from(*site)).collect();
    let mut search = Search { order, limits, alike, total, budget };
    let found = match search.extend(SiteSet::EMPTY, candidates) {
        Some(sites) => Found::Sites(sites),
        None if search.budget == 0 => Found::Undecided,
        None => Found::Nothing,
    };
    (found, budget - search.budget)
}

struct Search<'a> {
    order: &'a [u8],
    limits: &'a [Limit],
    alike: &'a Alike,
    total: usize,
    budget: u32,
}

impl Search<'_> {
    fn extend(&mut self, chosen: SiteSet, candidates: SiteSet) -> Option<SiteSet> {
        let mut candidates = candidates;
        loop {
            if chosen.len() == self.total {
                return Some(chosen);
            }
            self.budget = self.budget.checked_sub(1)?;
            for limit in self.limits {
                if limit.reach.intersection(chosen).len() >= limit.shards_max {
                    candidates = candidates.minus(limit.reach);
                }
            }
            if chosen.len() + self.bound(chosen, candidates) < self.total {
                return None;
            }
            let next = self.order.iter().map(|site| usize::from(*site));
            let site = next.into_iter().find(|site| candidates.contains(*site))?;
            if let Some(found) = self.extend(chosen.with(site), candidates.minus(one(site))) {
                return Some(found);
            }
            candidates = candidates.minus(self.alike.0[site]);
        }
    }

    /// How many candidates could be added at most: they are cut into pieces that lie within one
    /// limit each, by what the limit saves, and no piece gives more than its limit has left.
    fn bound(&self, chosen: SiteSet, candidates: SiteSet) -> usize {
        let mut uncut = candidates;
        let mut bound = 0;
        loop {
            let saving = |limit: &Limit| {
                let left = limit.shards_max - limit.reach.intersection(chosen).len();
                limit.reach.intersection(uncut).len().saturating_sub(left)
            };
            let best = self.limits.iter().max_by_key(|limit| saving(limit));
            match best {
                Some(limit) if saving(limit) > 0 => {
                    bound += limit.reach.intersection(uncut).len() - saving(limit);
                    uncut = uncut.minus(limit.reach);
                }
                _ => return bound + uncut.len(),
            }
        }
    }
}

fn one(site: usize) -> SiteSet {
    SiteSet::EMPTY.with(site)
}
