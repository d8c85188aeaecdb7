//! The policy against brute force: every coalition, every placement, every loss pattern.
//!
//! The oracle below shares no code with the crate: it reads the declared facts and the guarantee
//! by itself and tries everything.

use crate::common;
use crate::common::{blob, index, sites_of, subsets};
use havre_model::{Geometry, SiteSet};
use havre_policy::{
    Acknowledgement, Arrangement, CoalitionSpec, Facts, GuaranteeSpec, OnOutage, OperatorFacts,
    Ownership, PartyKind, PlaceError, PlacementPolicy, PolicyError, PolicySpec, Share, SiteFacts,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CODES: [&str; 4] = ["DE", "SG", "BR", "US"];

#[derive(Clone, Debug)]
struct Case {
    sites: Vec<SiteFacts>,
    operators: Vec<OperatorFacts>,
    spec: PolicySpec,
    ranking: Vec<usize>,
    number: u64,
}

/// Kind and name of each party, with the sites it reaches, straight from the declarations.
fn reaches(case: &Case) -> BTreeMap<(PartyKind, String), SiteSet> {
    let mut all: BTreeMap<(PartyKind, String), SiteSet> = BTreeMap::new();
    for (position, site) in case.sites.iter().enumerate() {
        let operator = case.operators.iter().find(|o| o.name == site.operator);
        let operator = operator.expect("a declared operator");
        let mut parties = BTreeSet::from([
            (PartyKind::Operator, operator.name.clone()),
            (PartyKind::Jurisdiction, site.location.clone()),
        ]);
        parties.extend(operator.incorporation.clone().map(|c| (PartyKind::Jurisdiction, c)));
        for owner in &operator.owners {
            if owner.capital.is_none_or(|capital| capital >= Share::percent(50)) {
                parties.insert((PartyKind::Owner, owner.owner.clone()));
                // Whom an owner answers to is true of it wherever it is declared.
                let everywhere = case.operators.iter().flat_map(|o| &o.owners);
                let same = everywhere.filter(|other| other.owner == owner.owner);
                let codes = same.filter_map(|other| other.jurisdiction.clone());
                parties.extend(codes.map(|code| (PartyKind::Jurisdiction, code)));
            }
        }
        for party in parties {
            let reach = all.entry(party).or_default();
            *reach = reach.with(position);
        }
    }
    all
}

/// The reach of every coalition that the entries stand for.
fn coalitions(case: &Case, specs: &[CoalitionSpec]) -> Vec<SiteSet> {
    let reaches = reaches(case);
    let of_kind = |kind: PartyKind| -> Vec<SiteSet> {
        reaches.iter().filter(|((k, _), _)| *k == kind).map(|(_, reach)| *reach).collect()
    };
    let mut all = Vec::new();
    for spec in specs {
        match spec {
            CoalitionSpec::AnyOne(kind) => all.extend(of_kind(*kind)),
            CoalitionSpec::AnyOf(kind, count) => {
                let parties = of_kind(*kind);
                for bits in 0_u32..1 << parties.len() {
                    if bits.count_ones() as usize <= *count {
                        let members = parties.iter().enumerate();
                        let members = members.filter(|(bit, _)| bits & 1 << bit != 0);
                        all.push(members.fold(SiteSet::EMPTY, |sum, (_, r)| sum.union(*r)));
                    }
                }
            }
            CoalitionSpec::Named(names) => {
                let has = |(kind, name): &(PartyKind, String)| {
                    names.contains(&format!("{}:{name}", kind.word()))
                };
                let members = reaches.iter().filter(|(party, _)| has(party));
                all.push(members.fold(SiteSet::EMPTY, |sum, (_, r)| sum.union(*r)));
            }
        }
    }
    all
}

struct Oracle {
    readers: Vec<SiteSet>,
    cutters: Vec<SiteSet>,
    eligible: SiteSet,
    k: usize,
    total: usize,
}

impl Oracle {
    fn new(case: &Case) -> Self {
        let excluded = vec![CoalitionSpec::Named(case.spec.exclude.clone())];
        let excluded = coalitions(case, &excluded)[0];
        Self {
            readers: coalitions(case, &case.spec.guarantee.cannot_read),
            cutters: coalitions(case, &case.spec.guarantee.cannot_cut_off),
            eligible: (0..case.sites.len()).collect::<SiteSet>().minus(excluded),
            k: usize::from(case.spec.k),
            total: usize::from(case.spec.k + case.spec.m),
        }
    }

    /// I2.
    fn nobody_reads(&self, holders: SiteSet) -> bool {
        self.readers.iter().all(|reach| reach.intersection(holders).len() < self.k)
    }

    /// I1.
    fn nobody_cuts_off(&self, stored: SiteSet) -> bool {
        stored.len() >= self.k
            && self.cutters.iter().all(|reach| stored.minus(*reach).len() >= self.k)
    }

    fn placements(&self) -> impl Iterator<Item = SiteSet> {
        subsets(self.eligible).filter(|sites| {
            sites.len() == self.total && self.nobody_reads(*sites) && self.nobody_cuts_off(*sites)
        })
    }
}

fn coalition_spec() -> impl Strategy<Value = CoalitionSpec> {
    let kind = || {
        prop::sample::select(vec![PartyKind::Operator, PartyKind::Owner, PartyKind::Jurisdiction])
    };
    let name = prop_oneof![
        prop::sample::select(CODES.to_vec()).prop_map(|code| format!("jurisdiction:{code}")),
        Just("operator:o0".to_string()),
    ];
    prop_oneof![
        4 => kind().prop_map(CoalitionSpec::AnyOne),
        2 => (kind(), 2_usize..=3).prop_map(|(kind, count)| CoalitionSpec::AnyOf(kind, count)),
        2 => prop::collection::vec(name, 1..=2).prop_map(CoalitionSpec::Named),
    ]
}

fn operator_facts() -> impl Strategy<Value = OperatorFacts> {
    let code = || prop::sample::select(CODES.to_vec()).prop_map(str::to_string);
    let owner = prop::sample::select(vec!["Group", "Fund", "State"]);
    let capital = prop::option::of(prop::sample::select(vec![10, 50]).prop_map(Share::percent));
    let owners = prop::option::weighted(0.4, (owner, capital, prop::option::of(code())));
    (prop::option::of(code()), owners).prop_map(|(incorporation, owner)| OperatorFacts {
        incorporation,
        owners: owner
            .into_iter()
            .map(|(owner, capital, jurisdiction)| Ownership {
                owner: owner.into(),
                capital,
                jurisdiction,
                ..Ownership::default()
            })
            .collect(),
        ..OperatorFacts::default()
    })
}

fn case() -> impl Strategy<Value = Case> {
    let sites = prop::collection::vec((0_usize..5, 0_usize..CODES.len()), 2..=9);
    let operators = prop::collection::vec(operator_facts(), 5);
    let geometry = (1_u8..=5, 0_u8..=4);
    let specs = || prop::collection::vec(coalition_spec(), 0..=2);
    let exclude = prop::option::weighted(0.2, prop::sample::select(CODES.to_vec()));
    let ranking = prop::collection::vec(0_usize..12, 0..=12);
    (sites, operators, geometry, (specs(), specs()), exclude, ranking, any::<u64>()).prop_map(
        |(sites, operators, (k, m), (cannot_read, cannot_cut_off), exclude, ranking, number)| {
            let mut sites: Vec<SiteFacts> = sites
                .into_iter()
                .enumerate()
                .map(|(n, (operator, code))| {
                    common::site(&format!("s{n}"), &format!("o{operator}"), CODES[code])
                })
                .collect();
            // Named in the coalitions above, so it always runs a site.
            sites[0].operator = "o0".into();
            let named = operators.into_iter().enumerate();
            let operators =
                named.map(|(n, o)| OperatorFacts { name: format!("o{n}"), ..o }).collect();
            let exclude = exclude.into_iter().map(|code| format!("jurisdiction:{code}")).collect();
            let guarantee = GuaranteeSpec { cannot_read, cannot_cut_off };
            let on_outage = OnOutage::Refuse;
            let name = "p".to_string();
            let spec = PolicySpec { name, k, m, sites: None, exclude, guarantee, on_outage };
            Case { sites, operators, spec, ranking, number }
        },
    )
}

fn facts(case: &Case) -> Facts {
    Facts::new(case.sites.clone(), case.operators.clone(), 0.5).expect("the facts are sound")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn reach_is_what_the_declarations_say(case in case()) {
        let facts = facts(&case);
        let mut computed = BTreeMap::new();
        for id in facts.party_ids() {
            let party = facts.party(id);
            computed.insert((party.kind, party.name.clone()), facts.reach(id));
            for position in 0..case.sites.len() {
                let exposed = facts.exposure(position).contains(&id);
                prop_assert_eq!(exposed, facts.reach(id).contains(position));
            }
        }
        prop_assert_eq!(computed, reaches(&case));
    }

    #[test]
    fn a_policy_exists_exactly_when_some_placement_keeps_its_guarantee(case in case()) {
        let oracle = Oracle::new(&case);
        let possible = oracle.placements().next().is_some();
        match PlacementPolicy::new(&facts(&case), case.spec.clone()) {
            Ok(policy) => {
                prop_assert!(possible);
                prop_assert_eq!(policy.eligible(), oracle.eligible);
            }
            Err(PolicyError::TooFewSites { .. }) => {
                prop_assert!(oracle.eligible.len() < oracle.total);
            }
            Err(PolicyError::Unholdable { conflicts, alternatives, .. }) => {
                prop_assert!(!possible);
                prop_assert!(!conflicts.is_empty());
                for other in alternatives {
                    let (k, m): (u8, u8) = other.into();
                    let spec = PolicySpec { k, m, ..case.spec.clone() };
                    let other = Oracle::new(&Case { spec, ..case.clone() });
                    prop_assert!(other.placements().next().is_some());
                }
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn i1_i2_every_placement_keeps_the_guarantee_and_the_ranking_decides(case in case()) {
        let facts = facts(&case);
        let Ok(policy) = PlacementPolicy::new(&facts, case.spec.clone()) else { return Ok(()) };
        let oracle = Oracle::new(&case);
        let place = || policy.place(&case.ranking, SiteSet::EMPTY, blob(case.number));
        let permits = place().expect("proved possible");
        let sites = sites_of(&facts, &permits);
        let holders: SiteSet = sites.iter().copied().collect();
        prop_assert_eq!(permits.len(), oracle.total);
        prop_assert_eq!(holders.len(), oracle.total, "a site has two shards");
        prop_assert!(holders.is_subset(oracle.eligible));
        prop_assert!(oracle.nobody_reads(holders), "I2");
        prop_assert!(oracle.nobody_cuts_off(holders), "I1");
        for (shard, permit) in permits.iter().enumerate() {
            prop_assert_eq!(permit.index().get(), shard);
            prop_assert_eq!(permit.blob(), blob(case.number));
        }
        // The best placement: compare by the ranks taken, best first.
        let rank = |site: usize| {
            let ranked = case.ranking.iter().position(|ranked| *ranked == site);
            ranked.unwrap_or(case.ranking.len() + site)
        };
        let ranks = |sites: SiteSet| {
            let mut ranks: Vec<usize> = sites.iter().map(rank).collect();
            ranks.sort_unstable();
            ranks
        };
        let best = oracle.placements().map(ranks).min();
        prop_assert_eq!(Some(ranks(holders)), best);
        prop_assert_eq!(place().expect("proved possible"), permits);
    }

    #[test]
    fn i1_i2_what_may_not_stay_goes_where_the_guarantee_holds_all_the_while(
        case in case(),
        order in any::<[u8; 16]>(),
        (closed, left, lost) in (any::<u16>(), any::<u16>(), any::<u16>()),
    ) {
        let facts = facts(&case);
        let Ok(policy) = PlacementPolicy::new(&facts, case.spec.clone()) else { return Ok(()) };
        let oracle = Oracle::new(&case);
        let some = |bits: u16| -> SiteSet {
            facts.all().iter().filter(|site| bits & 1 << (site % 16) != 0).collect()
        };
        // Anywhere at all: what is stored now may have been placed under other facts.
        let mut sites: Vec<usize> = facts.all().iter().collect();
        sites.sort_by_key(|site| order[site % 16]);
        let positions: Vec<Option<usize>> = (0..oracle.total)
            .map(|index| sites.get(index).copied().filter(|_| lost & 1 << (index % 16) == 0))
            .collect();
        let present: SiteSet = positions.iter().flatten().copied().collect();
        let leftovers = some(left & left.rotate_left(3)).minus(present);
        let closed = some(closed & closed.rotate_left(5));
        let now = Arrangement { positions: &positions, leftovers };
        let open = oracle.eligible.minus(closed);
        let sound = present.len() == oracle.total
            && present.is_subset(open)
            && oracle.nobody_reads(present)
            && oracle.nobody_cuts_off(present);
        prop_assert_eq!(policy.misplaced(&now, closed).is_none(), sound);
        let holders = present.union(leftovers);
        match policy.rearrange(blob(case.number), &now, closed, &case.ranking) {
            Ok(permits) => {
                prop_assert_eq!(permits.is_empty(), sound);
                let new: SiteSet = sites_of(&facts, &permits).into_iter().collect();
                prop_assert_eq!(new.len(), permits.len());
                prop_assert!(new.intersection(holders).is_empty(), "it has a shard already");
                let mut then: Vec<Option<usize>> = positions.clone();
                for (permit, site) in permits.iter().zip(sites_of(&facts, &permits)) {
                    then[permit.index().get()] = Some(site);
                }
                let then: SiteSet = then.into_iter().flatten().collect();
                prop_assert_eq!(then.len(), oracle.total);
                prop_assert!(then.is_subset(open));
                prop_assert!(oracle.nobody_reads(then) && oracle.nobody_cuts_off(then));
                // Meanwhile nobody comes to read who gets a shard by this.
                let meanwhile = holders.union(new);
                for reach in oracle.readers.iter().filter(|it| !it.intersection(new).is_empty()) {
                    // Who reaches the old site and the new one has one shard, twice.
                    let twice = permits.iter().zip(sites_of(&facts, &permits)).filter(|(it, to)| {
                        let from = positions[it.index().get()];
                        reach.contains(*to) && from.is_some_and(|from| reach.contains(from))
                    });
                    let shards = reach.intersection(meanwhile).len() - twice.count();
                    prop_assert!(shards < oracle.k);
                }
                // No more is moved than has to be.
                let kept = then.intersection(present).len();
                let most = oracle
                    .placements()
                    .filter(|it| it.is_subset(open.minus(leftovers)))
                    .map(|it| it.intersection(present).len())
                    .max();
                prop_assert!(kept <= most.unwrap_or_default());
            }
            Err(PlaceError::NoPlacement { .. }) => {
                let free = open.minus(leftovers);
                prop_assert!(oracle.placements().all(|it| !it.is_subset(free)));
            }
            Err(PlaceError::CouldRead { .. }) => prop_assert!(!sound),
            Err(other) => prop_assert!(false, "{}", other),
        }
        let possible = oracle.placements().any(|it| it.is_subset(open));
        prop_assert_eq!(policy.can_place_without(closed), possible);
    }

    #[test]
    fn i1_i2_what_may_stay_goes_nearer_to_the_wish_only_as_far_as_is_sound(
        case in case(),
        order in any::<[u8; 16]>(),
        (closed, left) in (any::<u16>(), any::<u16>()),
    ) {
        let facts = facts(&case);
        let Ok(policy) = PlacementPolicy::new(&facts, case.spec.clone()) else { return Ok(()) };
        let oracle = Oracle::new(&case);
        let some = |bits: u16| -> SiteSet {
            facts.all().iter().filter(|site| bits & 1 << (site % 16) != 0).collect()
        };
        // As another ranking placed it, with some sites closed since.
        let mut ranking: Vec<usize> = facts.all().iter().collect();
        ranking.sort_by_key(|site| order[site % 16]);
        let blob = blob(case.number);
        let permits = policy.place(&ranking, SiteSet::EMPTY, blob).expect("proved possible");
        let mut positions = vec![None; oracle.total];
        for (permit, site) in permits.iter().zip(sites_of(&facts, &permits)) {
            positions[permit.index().get()] = Some(site);
        }
        let present: SiteSet = positions.iter().flatten().copied().collect();
        let closed = some(closed & closed.rotate_left(5)).minus(present);
        let leftovers = some(left & left.rotate_left(3) & left.rotate_left(7)).minus(present);
        for _ in 0..=oracle.total {
            let now = Arrangement { positions: &positions, leftovers };
            let nearer = policy.rebalance(blob, &now, closed, &case.ranking);
            if nearer.is_empty() {
                return Ok(());
            }
            prop_assert!(leftovers.is_empty());
            let present: SiteSet = positions.iter().flatten().copied().collect();
            let new: SiteSet = sites_of(&facts, &nearer).into_iter().collect();
            prop_assert_eq!(new.len(), nearer.len());
            prop_assert!(new.intersection(present.union(closed)).is_empty());
            for reach in oracle.readers.iter().filter(|it| !it.intersection(new).is_empty()) {
                prop_assert!(reach.intersection(present.union(new)).len() < oracle.k);
            }
            for (permit, site) in nearer.iter().zip(sites_of(&facts, &nearer)) {
                positions[permit.index().get()] = Some(site);
            }
            let then: SiteSet = positions.iter().flatten().copied().collect();
            prop_assert_eq!(then.len(), oracle.total);
            prop_assert!(oracle.nobody_reads(then) && oracle.nobody_cuts_off(then));
        }
        prop_assert!(false, "it never comes to rest");
    }

    #[test]
    fn a_home_is_where_every_ranking_places_the_shard(case in case()) {
        let facts = facts(&case);
        let Ok(policy) = PlacementPolicy::new(&facts, case.spec.clone()) else { return Ok(()) };
        let oracle = Oracle::new(&case);
        let blob = blob(case.number);
        let permits = policy.place(&case.ranking, SiteSet::EMPTY, blob).expect("proved possible");
        for permit in permits {
            let home = policy.home(blob, permit.index());
            prop_assert_eq!(home.is_some(), oracle.eligible.len() == oracle.total);
            prop_assert!(home.is_none_or(|home| home == permit.site()));
        }
    }

    #[test]
    fn i1_acknowledged_exactly_when_every_coalition_may_go(case in case()) {
        let facts = facts(&case);
        let Ok(policy) = PlacementPolicy::new(&facts, case.spec.clone()) else { return Ok(()) };
        let oracle = Oracle::new(&case);
        for stored in subsets(facts.all()) {
            match policy.acknowledges(stored) {
                Acknowledgement::Within => prop_assert!(oracle.nobody_cuts_off(stored)),
                Acknowledgement::Undecodable => prop_assert!(stored.len() < oracle.k),
                Acknowledgement::Below { coalition } => {
                    prop_assert!(stored.len() >= oracle.k);
                    let reach = policy.coalition(coalition).reach;
                    prop_assert!(stored.minus(reach).len() < oracle.k);
                    prop_assert!(!oracle.nobody_cuts_off(stored));
                }
            }
        }
    }

    #[test]
    fn so_many_stored_shards_as_are_called_enough_are_enough(case in case()) {
        let facts = facts(&case);
        let Ok(policy) = PlacementPolicy::new(&facts, case.spec.clone()) else { return Ok(()) };
        let oracle = Oracle::new(&case);
        for placement in oracle.placements() {
            for stored in subsets(placement) {
                if stored.len() >= policy.stored_enough() {
                    prop_assert_eq!(policy.acknowledges(stored), Acknowledgement::Within);
                }
            }
            let explained = policy.explain(&facts).coalitions;
            for (coalition, held) in policy.coalitions().iter().zip(explained) {
                prop_assert!(coalition.reach.intersection(placement).len() <= held.shards_held);
                prop_assert!(held.shards_held <= held.shards_max);
            }
        }
    }

    #[test]
    fn i2_a_repair_is_permitted_exactly_when_nobody_could_then_read(case in case()) {
        let facts = facts(&case);
        let Ok(policy) = PlacementPolicy::new(&facts, case.spec.clone()) else { return Ok(()) };
        let oracle = Oracle::new(&case);
        let shard = index(case.spec.k - 1, policy.geometry());
        for holders in subsets(facts.all()).filter(|holders| oracle.nobody_reads(*holders)) {
            prop_assert_eq!(policy.could_read(holders), None);
            for (position, site) in facts.site_ids().iter().enumerate() {
                let with = holders.with(position);
                match policy.permit(blob(1), shard, *site, holders) {
                    Ok(_) => {
                        prop_assert!(oracle.nobody_reads(with), "I2");
                        prop_assert!(oracle.eligible.contains(position));
                        prop_assert!(!holders.contains(position));
                    }
                    Err(PlaceError::CouldRead { .. }) => {
                        prop_assert!(!oracle.nobody_reads(with));
                        prop_assert!(policy.could_read(with).is_some());
                    }
                    Err(PlaceError::AlreadyHolds { .. }) => {
                        prop_assert!(holders.contains(position));
                    }
                    Err(PlaceError::NotEligible { .. }) => {
                        prop_assert!(!oracle.eligible.contains(position));
                    }
                    Err(other) => prop_assert!(false, "{}", other),
                }
            }
        }
    }
}

#[test]
fn the_cases_are_neither_all_possible_nor_all_refused() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut kept, mut refused, mut chosen) = (0, 0, 0);
    for _ in 0..1000 {
        let case = case().new_tree(&mut runner).expect("a case").current();
        match PlacementPolicy::new(&facts(&case), case.spec.clone()) {
            Ok(policy) => {
                kept += 1;
                chosen += usize::from(policy.eligible().len() > policy.geometry().total());
            }
            Err(PolicyError::Unholdable { .. }) => refused += 1,
            Err(_) => {}
        }
    }
    assert!(kept > 100 && refused > 100 && chosen > 50, "{kept} {refused} {chosen}");
    assert_eq!(Geometry::new(1, 0).map(Geometry::total), Ok(1));
}
