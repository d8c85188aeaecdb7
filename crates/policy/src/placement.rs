//! A placement policy: where shards may go, and when enough of them are stored.
//!
//! **Invariant.** A policy exists only if its guarantee holds for some placement of all its shards;
//! each placement it makes keeps every coalition below `k` shards (I2) and leaves `k` outside each
//! coalition that must not cut off (I1).
//!
//! **Deliberately absent.** Health, price and latency: the caller's ranking. Which shards exist:
//! the caller's sets.
//!
//! **Crash.** Built anew from the configuration at each start; the sites of a blob stand in its
//! record.

use crate::{
    Acknowledgement, Coalition, CoalitionId, Conflict, Facts, GuaranteeSpec, Harm, Permit,
    PlaceError, PolicyError,
    coalition::{expand, resolve},
    search::{Alike, Found, Limit, binding, choose, choose_counting, greedy},
};
use alloc::{string::String, vec::Vec};
use core::cmp::Reverse;
use havre_model::{
    BlobId, Geometry, ShardIndex, SiteId, SiteSet,
    limits::{SHARDS_PER_BLOB_MAX, SITES_MAX},
};

/// Partial placements visited before a configuration is called too complex.
const PROOF_BUDGET: u32 = 1_000_000;
/// Partial placements visited for one blob before the policy's own placement is used.
const PLACE_BUDGET: u32 = 512;
/// Partial placements visited for each geometry that an error proposes instead.
const PROPOSAL_BUDGET: u32 = 2_000;
/// Partial placements visited to find out whether sites could come to hold so many shards.
const HOLD_BUDGET: u32 = 2_000;
/// Coalitions that an error names.
const CONFLICTS_MAX: usize = 3;

/// What happens to a write that cannot be stored within its guarantee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOutage {
    /// The client is told to try again.
    #[default]
    Refuse,
    /// It is acknowledged, and marked as below its guarantee until it is repaired.
    Degrade,
}

/// A placement policy as the configuration says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySpec {
    /// Its name: an S3 LocationConstraint.
    pub name: String,
    /// Data shards.
    pub k: u8,
    /// Parity shards.
    pub m: u8,
    /// Sites that may be used; `None` for all.
    pub sites: Option<Vec<String>>,
    /// Parties, as `kind:name` or a name alone, whose sites are not used.
    pub exclude: Vec<String>,
    /// What it promises.
    pub guarantee: GuaranteeSpec,
    /// What happens when it cannot be kept.
    pub on_outage: OnOutage,
}

/// How much a policy promises; the greatest is the strictest. Compared in this order: coalitions
/// that cannot cut off, parity shards, coalitions that cannot read, refusal before degradation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strictness {
    cannot_cut_off: usize,
    parity: usize,
    cannot_read: usize,
    refuses: bool,
    data: Reverse<usize>,
}

/// A placement policy whose guarantee can be kept.
pub struct PlacementPolicy {
    name: String,
    geometry: Geometry,
    eligible: SiteSet,
    site_ids: Vec<SiteId>,
    on_outage: OnOutage,
    guarantee: GuaranteeSpec,
    coalitions: Vec<Coalition>,
    /// Parties that the configuration names and that reach no site.
    unmatched: Vec<String>,
    /// The widest coalitions that must not read, over all sites.
    readers: Vec<(SiteSet, CoalitionId)>,
    /// The widest coalitions that must not cut off, over all sites.
    cutters: Vec<(SiteSet, CoalitionId)>,
    /// What binds a placement on the eligible sites.
    limits: Vec<Limit>,
    alike: Alike,
    /// A placement that keeps the guarantee: the proof that there is one.
    witness: SiteSet,
}

impl core::fmt::Debug for PlacementPolicy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PlacementPolicy")
            .field("name", &self.name)
            .field("geometry", &self.geometry)
            .field("eligible", &self.eligible)
            .field("coalitions", &self.coalitions.len())
            .finish_non_exhaustive()
    }
}

impl PlacementPolicy {
    /// The policy that `spec` says, if its guarantee can be kept on the declared sites.
    ///
    /// # Errors
    /// See [`PolicyError`]; a guarantee that no placement keeps is refused with the coalitions that
    /// stand against it.
    pub fn new(facts: &Facts, spec: PolicySpec) -> Result<Self, PolicyError> {
        if spec.name.trim().is_empty() {
            return Err(PolicyError::EmptyName);
        }
        let geometry = Geometry::new(spec.k, spec.m)?;
        let mut unmatched = Vec::new();
        let eligible = eligible(facts, &spec, &mut unmatched)?;
        let total = geometry.total();
        if eligible.len() < total {
            let policy = spec.name;
            return Err(PolicyError::TooFewSites { policy, geometry, eligible: eligible.len() });
        }
        let GuaranteeSpec { cannot_read, cannot_cut_off } = &spec.guarantee;
        let mut coalitions = expand(facts, &spec.name, cannot_read, Harm::Read, &mut unmatched)?;
        coalitions.extend(expand(facts, &spec.name, cannot_cut_off, Harm::CutOff, &mut unmatched)?);
        let limits = limits(&coalitions, geometry, eligible);
        let alike = Alike::new(&limits, eligible);
        let witness = match prove(&limits, &alike, eligible, total, PROOF_BUDGET) {
            Found::Sites(sites) => sites,
            Found::Nothing => {
                return Err(refusal(facts, spec.name, geometry, eligible, &coalitions));
            }
            Found::Undecided => {
                return Err(PolicyError::TooComplex {
                    policy: spec.name,
                    what: "whether the guarantee can hold takes too long to decide",
                });
            }
        };
        unmatched.sort_unstable();
        unmatched.dedup();
        Ok(Self {
            name: spec.name,
            geometry,
            eligible,
            site_ids: facts.site_ids().to_vec(),
            on_outage: spec.on_outage,
            guarantee: spec.guarantee,
            readers: widest(&coalitions, Harm::Read),
            cutters: widest(&coalitions, Harm::CutOff),
            coalitions,
            unmatched,
            limits,
            alike,
            witness,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Data and parity shards of its blobs.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Sites that may hold its shards.
    #[must_use]
    pub const fn eligible(&self) -> SiteSet {
        self.eligible
    }

    /// What happens to a write that cannot be stored within the guarantee.
    #[must_use]
    pub const fn on_outage(&self) -> OnOutage {
        self.on_outage
    }

    /// The guarantee as it was declared.
    #[must_use]
    pub const fn guarantee(&self) -> &GuaranteeSpec {
        &self.guarantee
    }

    /// The coalitions that the guarantee stands for, by [`CoalitionId::get`].
    #[must_use]
    pub fn coalitions(&self) -> &[Coalition] {
        &self.coalitions
    }

    /// The coalition with this id.
    #[must_use]
    pub fn coalition(&self, id: CoalitionId) -> &Coalition {
        &self.coalitions[id.get()]
    }

    /// The widest reaches of the coalitions that must be unable to do this.
    pub(crate) fn widest(&self, harm: Harm) -> core::slice::Iter<'_, (SiteSet, CoalitionId)> {
        match harm {
            Harm::Read => self.readers.iter(),
            Harm::CutOff => self.cutters.iter(),
        }
    }

    /// Parties that the configuration names and that reach no site: true by default, or misspelt.
    #[must_use]
    pub fn unmatched(&self) -> &[String] {
        &self.unmatched
    }

    /// How much it promises.
    #[must_use]
    pub fn strictness(&self) -> Strictness {
        let count =
            |harm| self.coalitions.iter().filter(|coalition| coalition.harm == harm).count();
        Strictness {
            cannot_cut_off: count(Harm::CutOff),
            parity: self.geometry.parity(),
            cannot_read: count(Harm::Read),
            refuses: self.on_outage == OnOutage::Refuse,
            data: Reverse(self.geometry.data()),
        }
    }

    /// A permit for each shard of `blob`, by index, each at a site of its own, such that the
    /// guarantee holds when all are stored. `ranking` has positions of sites, best first; a site it
    /// leaves out is worse than all it has. The sites in `closed` get none. Which site gets which
    /// index turns with the blob's id, so that data shards, which are read first, spread evenly.
    ///
    /// # Errors
    /// [`PlaceError::NoPlacement`] when too many sites are closed; with none closed there is a
    /// placement, as the policy has proved.
    pub fn place(
        &self,
        ranking: &[usize],
        closed: SiteSet,
        blob: BlobId,
    ) -> Result<Vec<Permit>, PlaceError> {
        let total = self.geometry.total();
        let sites = match closed.intersection(self.eligible).is_empty() {
            true => self.choose_sites(ranking),
            false => {
                let open = self.eligible.minus(closed);
                let order: Vec<usize> = ranking.iter().copied().chain(open.iter()).collect();
                self.choose_open(&order, open).ok_or_else(|| self.no_placement(closed))?
            }
        };
        let mut positions = [0_usize; SHARDS_PER_BLOB_MAX];
        for (slot, position) in sites.iter().enumerate() {
            positions[slot] = position;
        }
        let turn = turn(blob, total);
        let permit = |index: ShardIndex| {
            let position = positions[(index.get() + turn) % total];
            Permit::new(self.site_ids[position], blob, index)
        };
        Ok(self.geometry.indices().map(permit).collect())
    }

    /// Whether a blob can be placed within the guarantee while these sites are closed.
    #[must_use]
    pub fn can_place_without(&self, closed: SiteSet) -> bool {
        let open = self.eligible.minus(closed);
        let order: Vec<usize> = open.iter().collect();
        self.choose_open(&order, open).is_some()
    }

    pub(crate) fn limits(&self) -> &[Limit] {
        &self.limits
    }

    pub(crate) const fn alike(&self) -> &Alike {
        &self.alike
    }

    pub(crate) fn site_id(&self, position: usize) -> SiteId {
        self.site_ids[position]
    }

    /// The one site where [`Self::place`] puts a shard of `blob`, whatever the ranking: known when
    /// exactly as many sites are eligible as a blob has shards.
    #[must_use]
    pub fn home(&self, blob: BlobId, index: ShardIndex) -> Option<SiteId> {
        let total = self.geometry.total();
        if self.eligible.len() != total || index.get() >= total {
            return None;
        }
        let position = self.eligible.iter().nth((index.get() + turn(blob, total)) % total)?;
        Some(self.site_ids[position])
    }

    /// The sites for a blob's shards: a pure function of the ranking.
    fn choose_sites(&self, ranking: &[usize]) -> SiteSet {
        let total = self.geometry.total();
        if self.eligible.len() == total {
            return self.eligible;
        }
        let mut order = [0_u8; SITES_MAX];
        let mut taken = SiteSet::EMPTY;
        for position in ranking.iter().copied().chain(self.eligible.iter()) {
            if self.eligible.contains(position) && !taken.contains(position) {
                order[taken.len()] = u8::try_from(position).expect("below SITES_MAX");
                taken = taken.with(position);
            }
        }
        let order = &order[..taken.len()];
        if let Some(sites) = greedy(order, &self.limits, total) {
            return sites;
        }
        match choose(order, &self.limits, &self.alike, total, PLACE_BUDGET) {
            Found::Sites(sites) => sites,
            Found::Nothing | Found::Undecided => self.witness,
        }
    }

    /// A permit for one more shard of `blob`, as repairs and drains need it. `holders` are the
    /// sites that hold shards of it already, those about to be deleted included: they can read
    /// until then.
    ///
    /// # Errors
    /// When the site is not eligible or holds a shard already, or a coalition could then read (I2).
    pub fn permit(
        &self,
        blob: BlobId,
        index: ShardIndex,
        site: SiteId,
        holders: SiteSet,
    ) -> Result<Permit, PlaceError> {
        if index.get() >= self.geometry.total() {
            let geometry = self.geometry;
            return Err(PlaceError::ForeignIndex { index: index.raw(), geometry });
        }
        let position = self.site_ids.iter().position(|id| *id == site);
        let Some(position) = position.filter(|position| self.eligible.contains(*position)) else {
            return Err(PlaceError::NotEligible { policy: self.name.clone(), site });
        };
        if holders.contains(position) {
            return Err(PlaceError::AlreadyHolds { site });
        }
        let with = holders.with(position);
        for (reach, id) in self.readers.iter().filter(|(reach, _)| reach.contains(position)) {
            let shards = reach.intersection(with).len();
            if shards >= self.geometry.data() {
                let coalition = self.coalition(*id).label.clone();
                return Err(PlaceError::CouldRead { site, coalition, shards });
            }
        }
        Ok(Permit::new(site, blob, index))
    }

    /// What may be said to the client when shards of a blob are stored at these sites.
    #[must_use]
    pub fn acknowledges(&self, stored: SiteSet) -> Acknowledgement {
        let data = self.geometry.data();
        if stored.len() < data {
            return Acknowledgement::Undecodable;
        }
        match self.cutters.iter().find(|(reach, _)| stored.minus(*reach).len() < data) {
            Some((_, coalition)) => Acknowledgement::Below { coalition: *coalition },
            None => Acknowledgement::Within,
        }
    }

    /// A coalition that must not read and holds `k` of the shards at these sites.
    #[must_use]
    pub fn could_read(&self, holders: SiteSet) -> Option<CoalitionId> {
        let data = self.geometry.data();
        let reads =
            |(reach, _): &&(SiteSet, CoalitionId)| reach.intersection(holders).len() >= data;
        self.readers.iter().find(reads).map(|(_, coalition)| *coalition)
    }

    /// Shards that the coalition gets at most in any placement this policy makes.
    #[must_use]
    pub fn shards_max(&self, id: CoalitionId) -> usize {
        let reach = self.coalition(id).reach.intersection(self.eligible);
        let total = self.geometry.total();
        // What cannot go elsewhere, and what may come: exact when every eligible site is used.
        let most = reach.len().min(total);
        let bounds = self.limits.iter().filter(|limit| reach.is_subset(limit.reach));
        bounds.map(|limit| limit.shards_max).fold(most, usize::min)
    }

    /// Whether some placement that this policy makes gives the sites of `reach` so many shards, and
    /// how many partial placements were visited to say so. What takes too long to rule out is
    /// presumed.
    pub(crate) fn could_hold(&self, reach: SiteSet, shards: usize) -> (bool, u32) {
        let total = self.geometry.total();
        let reach = reach.intersection(self.eligible);
        let kept = |limit: &Limit| limit.shards_max < shards && reach.is_subset(limit.reach);
        if reach.len() < shards || shards > total || self.limits.iter().any(kept) {
            return (false, 1);
        }
        if self.eligible.len() == total {
            return (true, 1);
        }
        // So many here is the same as at most the rest elsewhere.
        let elsewhere = self.eligible.minus(reach);
        let mut limits = self.limits.clone();
        limits.push(Limit { reach: elsewhere, shards_max: total - shards });
        let mut order = [0_u8; SITES_MAX];
        for (slot, position) in reach.iter().chain(elsewhere.iter()).enumerate() {
            order[slot] = u8::try_from(position).expect("below SITES_MAX");
        }
        let order = &order[..self.eligible.len()];
        if greedy(order, &limits, total).is_some() {
            return (true, 1);
        }
        let alike = self.alike.split(reach);
        let (found, visited) = choose_counting(order, &limits, &alike, total, HOLD_BUDGET);
        (found != Found::Nothing, visited + 1)
    }

    /// Shards of one blob that some placement which this policy makes gives the sites of `reach` at
    /// most.
    #[must_use]
    pub fn most_held(&self, reach: SiteSet) -> usize {
        let most = reach.intersection(self.eligible).len().min(self.geometry.total());
        (1..=most).rev().find(|shards| self.could_hold(reach, *shards).0).unwrap_or(0)
    }

    /// Stored shards that are enough for the guarantee wherever they are, in any placement.
    #[must_use]
    pub fn stored_enough(&self) -> usize {
        let data = self.geometry.data();
        let worst = self.cutters.iter().map(|(_, id)| self.shards_max(*id)).max().unwrap_or(0);
        (data + worst).min(self.geometry.total())
    }
}

/// Which slot shard 0 gets: the id folded, so that ids that count up turn as evenly as random ones.
fn turn(blob: BlobId, total: usize) -> usize {
    let sum = blob.as_bytes().iter().fold(0_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte)) & 0x00ff_ffff
    });
    sum % total
}

fn eligible(
    facts: &Facts,
    spec: &PolicySpec,
    unmatched: &mut Vec<String>,
) -> Result<SiteSet, PolicyError> {
    let named = match &spec.sites {
        None => facts.all(),
        Some(names) => {
            let mut sites = SiteSet::EMPTY;
            for name in names {
                let position = facts.sites().iter().position(|site| site.name == *name);
                let unknown =
                    || PolicyError::UnknownSite { policy: spec.name.clone(), site: name.clone() };
                sites = sites.with(position.ok_or_else(unknown)?);
            }
            sites
        }
    };
    let excluded = resolve(facts, &spec.name, &spec.exclude, unmatched)?;
    Ok(excluded.into_iter().fold(named, |sites, party| sites.minus(facts.reach(party))))
}

/// Shards that a coalition may hold: fewer than `k`, or so many that `k` are left.
fn shards_max(harm: Harm, geometry: Geometry) -> usize {
    match harm {
        Harm::Read => geometry.data() - 1,
        Harm::CutOff => geometry.parity(),
    }
}

fn limits(coalitions: &[Coalition], geometry: Geometry, eligible: SiteSet) -> Vec<Limit> {
    let each = coalitions.iter().map(|coalition| Limit {
        reach: coalition.reach,
        shards_max: shards_max(coalition.harm, geometry),
    });
    binding(each, eligible, geometry.total())
}

fn prove(limits: &[Limit], alike: &Alike, eligible: SiteSet, total: usize, budget: u32) -> Found {
    let mut order = [0_u8; SITES_MAX];
    for (slot, position) in eligible.iter().enumerate() {
        order[slot] = u8::try_from(position).expect("below SITES_MAX");
    }
    choose(&order[..eligible.len()], limits, alike, total, budget)
}

/// The widest reaches of one harm over all sites, each with the coalition to name.
fn widest(coalitions: &[Coalition], harm: Harm) -> Vec<(SiteSet, CoalitionId)> {
    let mut all: Vec<(SiteSet, CoalitionId)> = Vec::new();
    for (index, coalition) in coalitions.iter().enumerate() {
        if coalition.harm == harm {
            let id = CoalitionId(u32::try_from(index).expect("at most COALITIONS_MAX"));
            all.push((coalition.reach, id));
        }
    }
    all.sort_by_key(|(reach, _)| Reverse(reach.len()));
    let mut kept: Vec<(SiteSet, CoalitionId)> = Vec::new();
    for (reach, id) in all {
        if !reach.is_empty() && !kept.iter().any(|(wide, _)| reach.is_subset(*wide)) {
            kept.push((reach, id));
        }
    }
    kept
}

/// Names who stands against the guarantee: each coalition that does so alone or, when none does, a
/// least set of them that cannot all be satisfied.
fn refusal(
    facts: &Facts,
    policy: String,
    geometry: Geometry,
    eligible: SiteSet,
    coalitions: &[Coalition],
) -> PolicyError {
    let total = geometry.total();
    let forced = |c: &Coalition| total.saturating_sub(eligible.minus(c.reach).len());
    let conflict = |c: &Coalition, shards_forced: usize| Conflict {
        coalition: c.label.clone(),
        harm: c.harm,
        reach: c
            .reach
            .intersection(eligible)
            .iter()
            .map(|p| facts.sites()[p].name.clone())
            .collect(),
        shards_max: shards_max(c.harm, geometry),
        shards_forced,
    };
    let mut alone: Vec<&Coalition> =
        coalitions.iter().filter(|c| forced(c) > shards_max(c.harm, geometry)).collect();
    alone.sort_by_key(|c| Reverse(forced(c).saturating_sub(shards_max(c.harm, geometry))));
    let mut conflicts: Vec<Conflict> =
        alone.into_iter().take(CONFLICTS_MAX).map(|c| conflict(c, forced(c))).collect();
    if conflicts.is_empty() {
        let least = least_conflict(coalitions, geometry, eligible);
        conflicts = least.into_iter().map(|c| conflict(c, 0)).collect();
    }
    let alternatives = alternatives(coalitions, geometry, eligible);
    PolicyError::Unholdable { policy, geometry, conflicts, alternatives }
}

/// Leaves out each coalition without which the rest still cannot be satisfied.
fn least_conflict(
    coalitions: &[Coalition],
    geometry: Geometry,
    eligible: SiteSet,
) -> Vec<&Coalition> {
    let kept_limits = limits(coalitions, geometry, eligible);
    let binds = |c: &&Coalition| {
        let limit = Limit {
            reach: c.reach.intersection(eligible),
            shards_max: shards_max(c.harm, geometry),
        };
        kept_limits.contains(&limit)
    };
    let mut kept: Vec<&Coalition> = coalitions.iter().filter(binds).collect();
    let mut position = 0;
    while position < kept.len() {
        let mut fewer = kept.clone();
        fewer.remove(position);
        let owned: Vec<Coalition> = fewer.iter().map(|c| (*c).clone()).collect();
        let limits = limits(&owned, geometry, eligible);
        let alike = Alike::new(&limits, eligible);
        match prove(&limits, &alike, eligible, geometry.total(), PROOF_BUDGET) {
            Found::Nothing => kept = fewer,
            Found::Sites(_) | Found::Undecided => position += 1,
        }
    }
    kept
}

/// Geometries with which the guarantee holds on the same sites: the least wasteful with as many
/// shards, and the least wasteful of all.
fn alternatives(coalitions: &[Coalition], wanted: Geometry, eligible: SiteSet) -> Vec<Geometry> {
    let shards_most = eligible.len().min(SHARDS_PER_BLOB_MAX);
    let best_of = |total: usize| {
        (1..total).rev().find_map(|data| {
            let (k, m) = (u8::try_from(data).ok()?, u8::try_from(total - data).ok()?);
            let geometry = Geometry::new(k, m).ok()?;
            let limits = limits(coalitions, geometry, eligible);
            let alike = Alike::new(&limits, eligible);
            let found = prove(&limits, &alike, eligible, total, PROPOSAL_BUDGET);
            matches!(found, Found::Sites(_)).then_some(geometry)
        })
    };
    let mut fit: Vec<Geometry> = best_of(wanted.total()).into_iter().collect();
    let all = (2..=shards_most).rev().filter_map(best_of);
    // Overhead total / data, compared as a fraction: a/b < c/d when a*d < c*b.
    let cheapest =
        all.reduce(|a, b| if b.total() * a.data() < a.total() * b.data() { b } else { a });
    if let Some(cheapest) = cheapest
        && !fit.contains(&cheapest)
    {
        fit.push(cheapest);
    }
    fit
}
