//! Where the shards of a stored blob should go when they may not stay where they are.
//!
//! **Invariant.** The places that are proposed keep the guarantee when all is done, and at every
//! moment before: until a shard is deleted where it was, both sites count, and only who reaches
//! both has one shard by that (I2).
//!
//! **Deliberately absent.** Copying and deleting shards: the keeper.
//!
//! **Crash.** Pure.

use crate::search::{Found, choose};
use crate::{Acknowledgement, Permit, PlaceError, PlacementPolicy};
use alloc::vec::Vec;
use core::cmp::Reverse;
use havre_model::{BlobId, ShardIndex, SiteSet};

/// Partial placements visited for one blob.
const BUDGET: u32 = 4096;

/// Where a blob's shards are.
#[derive(Clone, Copy, Debug)]
pub struct Arrangement<'a> {
    /// The position of each shard's site, by shard index; `None` where nobody knows, or where the
    /// site is no longer configured.
    pub positions: &'a [Option<usize>],
    /// Further sites that hold a shard, which is about to be deleted there.
    pub leftovers: SiteSet,
}

impl Arrangement<'_> {
    /// The sites that hold a shard, those about to be deleted included.
    #[must_use]
    pub fn holders(&self) -> SiteSet {
        self.positions.iter().flatten().copied().chain(self.leftovers.iter()).collect()
    }
}

/// Why a shard may not stay where it is, or why a blob's shards may not lie as they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// A shard is at no site that is configured.
    Homeless,
    /// A shard is at a site that takes none: closed, or not eligible.
    Closed,
    /// A coalition of the guarantee could read.
    CouldRead,
    /// A coalition of the guarantee could cut off.
    CouldCutOff,
}

impl PlacementPolicy {
    /// Why the shards may not lie as they do, if so; `closed` are sites that hold no shards any
    /// more, whatever the policy says.
    #[must_use]
    pub fn misplaced(&self, now: &Arrangement<'_>, closed: SiteSet) -> Option<Misplaced> {
        let open = self.eligible().minus(closed);
        let sites: SiteSet = now.positions.iter().flatten().copied().collect();
        if sites.len() < now.positions.len() {
            return Some(Misplaced::Homeless);
        }
        if !sites.is_subset(open) {
            return Some(Misplaced::Closed);
        }
        if self.could_read(sites).is_some() {
            return Some(Misplaced::CouldRead);
        }
        let within = self.acknowledges(sites) == Acknowledgement::Within;
        (!within).then_some(Misplaced::CouldCutOff)
    }

    /// New places for the shards that may not stay where they are: as few as the guarantee allows,
    /// on the best sites of `ranking`. Empty when all may stay.
    ///
    /// # Errors
    /// [`PlaceError::NoPlacement`] when the open sites do not suffice, and
    /// [`PlaceError::CouldRead`] when a coalition could read before the old shards are deleted.
    pub fn rearrange(
        &self,
        blob: BlobId,
        now: &Arrangement<'_>,
        closed: SiteSet,
        ranking: &[usize],
    ) -> Result<Vec<Permit>, PlaceError> {
        if now.positions.len() != self.geometry().total() {
            let index = u8::try_from(now.positions.len()).unwrap_or(u8::MAX);
            return Err(PlaceError::ForeignIndex { index, geometry: self.geometry() });
        }
        if self.misplaced(now, closed).is_none() {
            return Ok(Vec::new());
        }
        let holders = now.holders();
        let present = now.positions.iter().flatten().copied();
        let open = self.eligible().minus(closed);
        // A site that still has a leftover cannot take another shard of the blob. One that would
        // let a coalition read meanwhile comes last.
        let fresh = ranking.iter().copied().chain(open.iter());
        let fresh = fresh.filter(|at| !holders.contains(*at));
        let (good, risky): (Vec<usize>, Vec<usize>) =
            fresh.partition(|at| self.reads_with(holders.with(*at), *at).is_none());
        let order: Vec<usize> = present.chain(good).chain(risky).collect();
        let Some(wanted) = self.choose_open(&order, open) else {
            return Err(self.no_placement(closed));
        };
        let is_free = |at: &usize| wanted.contains(*at) && !now.positions.contains(&Some(*at));
        let mut targets: Vec<usize> = Vec::new();
        for at in order.iter().copied().filter(is_free) {
            // A ranking may name a site twice.
            if !targets.contains(&at) {
                targets.push(at);
            }
        }
        let stays =
            |index: &ShardIndex| now.positions[index.get()].is_some_and(|at| wanted.contains(at));
        let moving: Vec<ShardIndex> = self.geometry().indices().filter(|it| !stays(it)).collect();
        if targets.len() < moving.len() {
            return Err(self.no_placement(closed));
        }
        let permits = self.pair(now, moving, targets);
        let then = permits.iter().fold(holders, |sites, (_, at)| sites.with(*at));
        for (_, at) in &permits {
            let copies =
                permits.iter().filter_map(|(it, to)| Some((now.positions[it.get()]?, *to)));
            if let Some(error) = self.reads_with_copies(then, *at, &copies.collect::<Vec<_>>()) {
                return Err(error);
            }
        }
        Ok(permits.into_iter().map(|(index, at)| self.permit_at(at, blob, index)).collect())
    }

    /// Gives each shard that moves one of the sites, such that as many as possible move within the
    /// reach of those who have them already: they learn nothing by that.
    fn pair(
        &self,
        now: &Arrangement<'_>,
        mut moving: Vec<ShardIndex>,
        mut targets: Vec<usize>,
    ) -> Vec<(ShardIndex, usize)> {
        let shared = |index: ShardIndex, at: usize| {
            let from = now.positions[index.get()];
            let readers = self.widest(crate::Harm::Read);
            let both = readers.filter(|(reach, _)| {
                reach.contains(at) && from.is_some_and(|from| reach.contains(from))
            });
            both.count()
        };
        let mut pairs = Vec::with_capacity(moving.len());
        while !moving.is_empty() {
            let all = (0..moving.len()).flat_map(|it| (0..targets.len()).map(move |at| (it, at)));
            let best = all.min_by_key(|(it, at)| Reverse(shared(moving[*it], targets[*at])));
            let Some((it, at)) = best else { break };
            pairs.push((moving.remove(it), targets.remove(at)));
        }
        pairs.sort_unstable_by_key(|(index, _)| index.get());
        pairs
    }

    /// Places nearer to those that `order` has first, for the shards of a blob that lies as it may:
    /// as far as nobody could read or cut off meanwhile. Empty when there is nothing to gain, or
    /// the blob does not lie as it may.
    #[must_use]
    pub fn rebalance(
        &self,
        blob: BlobId,
        now: &Arrangement<'_>,
        closed: SiteSet,
        order: &[usize],
    ) -> Vec<Permit> {
        let total = self.geometry().total();
        let sites: SiteSet = now.positions.iter().flatten().copied().collect();
        let settled = sites.len() == total && now.leftovers.is_empty();
        if !settled || self.misplaced(now, closed).is_some() {
            return Vec::new();
        }
        let open = self.eligible().minus(closed);
        let Some(wanted) = self.choose_open(order, open) else { return Vec::new() };
        // Where shards are and are about to be, and where they will be in the end.
        let (mut meanwhile, mut then) = (sites, sites);
        let mut permits = Vec::new();
        for at in order.iter().copied().filter(|at| wanted.contains(*at) && !sites.contains(*at)) {
            // A ranking may name a site twice.
            if then.contains(at) || self.reads_with(meanwhile.with(at), at).is_some() {
                continue;
            }
            let index = self.geometry().indices().find(|index| {
                let from = now.positions[index.get()];
                let taken = permits.iter().any(|(other, _)| other == index);
                from.is_some_and(|from| {
                    let after = then.minus(SiteSet::EMPTY.with(from)).with(at);
                    !taken && !wanted.contains(from) && self.is_fine(after)
                })
            });
            let Some(index) = index else { continue };
            let from = now.positions[index.get()].into_iter().collect();
            (meanwhile, then) = (meanwhile.with(at), then.minus(from).with(at));
            permits.push((index, at));
        }
        permits.into_iter().map(|(index, at)| self.permit_at(at, blob, index)).collect()
    }

    /// Whether the guarantee holds when all shards are at these sites.
    fn is_fine(&self, sites: SiteSet) -> bool {
        self.could_read(sites).is_none() && self.acknowledges(sites) == Acknowledgement::Within
    }

    /// The error, when a coalition that reaches the site could read what these sites hold.
    fn reads_with(&self, holders: SiteSet, position: usize) -> Option<PlaceError> {
        self.reads_with_copies(holders, position, &[])
    }

    /// The same, where some sites hold copies of what others hold: two within one reach are one
    /// shard.
    fn reads_with_copies(
        &self,
        holders: SiteSet,
        position: usize,
        copies: &[(usize, usize)],
    ) -> Option<PlaceError> {
        let mut readers = self.widest(crate::Harm::Read);
        let shards = |reach: &SiteSet| {
            let both = copies.iter().filter(|(a, b)| reach.contains(*a) && reach.contains(*b));
            reach.intersection(holders).len() - both.count()
        };
        let (reach, id) = readers.find(|(reach, _)| {
            reach.contains(position) && shards(reach) >= self.geometry().data()
        })?;
        Some(PlaceError::CouldRead {
            site: self.site_id(position),
            coalition: self.coalition(*id).label.clone(),
            shards: shards(reach),
        })
    }

    /// Sites for all shards of a blob out of the open ones, the first of `order` preferred.
    pub(crate) fn choose_open(&self, order: &[usize], open: SiteSet) -> Option<SiteSet> {
        let mut taken = SiteSet::EMPTY;
        let mut bytes = Vec::with_capacity(order.len());
        for position in order.iter().copied() {
            if open.contains(position) && !taken.contains(position) {
                bytes.push(u8::try_from(position).ok()?);
                taken = taken.with(position);
            }
        }
        let total = self.geometry().total();
        match choose(&bytes, self.limits(), self.alike(), total, BUDGET) {
            Found::Sites(sites) => Some(sites),
            Found::Nothing | Found::Undecided => None,
        }
    }

    pub(crate) fn no_placement(&self, closed: SiteSet) -> PlaceError {
        let open = self.eligible().minus(closed).len();
        PlaceError::NoPlacement { policy: self.name().into(), open, geometry: self.geometry() }
    }

    fn permit_at(&self, position: usize, blob: BlobId, index: ShardIndex) -> Permit {
        Permit::new(self.site_id(position), blob, index)
    }
}
