//! The graph of holdings against brute force: every set of entities is tried, and every chain is
//! walked. The oracles share no code with the crate.

use crate::common::{operator, site};
use havre_model::SiteSet;
use havre_policy::{
    Chains, ControlRule, Declared, Facts, FactsError, OperatorFacts, Ownership, PartyKind, Share,
    Tie,
};
use proptest::prelude::*;

const ENTITIES: usize = 6;

/// Who holds how many twentieths of whom, and which entity is of the state `XX`.
#[derive(Clone, Debug)]
struct Case {
    held: Vec<Vec<(usize, u32)>>,
    of_state: Vec<bool>,
}

fn case(cycles: bool) -> impl Strategy<Value = Case> {
    let weights =
        prop::collection::vec(prop_oneof![3 => Just(0), 2 => 1_u32..=12], ENTITIES * ENTITIES);
    let states = prop::collection::vec(prop::bool::weighted(0.3), ENTITIES);
    (weights, states).prop_map(move |(weights, of_state)| {
        let held = (0..ENTITIES)
            .map(|entity| {
                let mut left = 20;
                let owners = (0..ENTITIES).filter(|owner| cycles || *owner > entity);
                let owners = owners.filter_map(|owner| {
                    let share = weights[entity * ENTITIES + owner].min(left);
                    left -= share;
                    (share > 0 && owner != entity).then_some((owner, share))
                });
                owners.collect()
            })
            .collect();
        Case { held, of_state }
    })
}

fn facts(case: &Case, rule: ControlRule) -> Result<Facts, FactsError> {
    let name = |entity: usize| format!("e{entity}");
    let operators: Vec<OperatorFacts> = (0..ENTITIES)
        .map(|entity| {
            let owners = case.held[entity].iter().map(|(owner, twentieths)| Ownership {
                owner: name(*owner),
                capital: Some(Share::percent(twentieths * 5)),
                ..Ownership::default()
            });
            let incorporation = case.of_state[entity].then(|| "XX".to_string());
            OperatorFacts { owners: owners.collect(), incorporation, ..operator(&name(entity)) }
        })
        .collect();
    let sites = (0..ENTITIES).map(|n| site(&format!("s{n}"), &name(n), "LU")).collect();
    Facts::declare(Declared::new(sites, operators, rule))
}

fn reach(facts: &Facts, party: &str) -> SiteSet {
    facts.named(party).first().map_or(SiteSet::EMPTY, |id| facts.reach(*id))
}

fn sets() -> impl Iterator<Item = SiteSet> {
    (0_u64..1 << ENTITIES).map(|bits| (0..ENTITIES).filter(|e| bits & 1 << e != 0).collect())
}

/// The least set with the roots that is closed: the intersection of all that are.
fn least(roots: SiteSet, closed: impl Fn(SiteSet) -> bool) -> SiteSet {
    let all: SiteSet = (0..ENTITIES).collect();
    let closed = sets().filter(|set| roots.is_subset(*set) && closed(*set));
    closed.fold(all, SiteSet::intersection)
}

fn sum(case: &Case, entity: usize, owners: SiteSet) -> u32 {
    let holdings = case.held[entity].iter().filter(|(owner, _)| owners.contains(*owner));
    holdings.map(|(_, share)| share).sum()
}

/// Bounds in twentieths.
fn whole(case: &Case, roots: SiteSet, alone: u32, together: u32) -> SiteSet {
    let one = |entity: usize| SiteSet::EMPTY.with(entity);
    let behind = |root: usize| {
        least(one(root), |set| (0..ENTITIES).all(|e| set.contains(e) || sum(case, e, set) < alone))
    };
    let each: Vec<SiteSet> = (0..ENTITIES).map(behind).collect();
    least(roots, |set| {
        set.iter().all(|member| each[member].is_subset(set))
            && (0..ENTITIES).all(|e| set.contains(e) || sum(case, e, set) < together)
    })
}

/// What the roots have of each entity, in units of 20^-6 of it: owners come behind what they own.
fn multiplied(case: &Case, roots: SiteSet) -> Vec<u64> {
    const WHOLE: u64 = 64_000_000;
    let mut counted = [0; ENTITIES];
    let mut shares = vec![0; ENTITIES];
    for entity in (0..ENTITIES).rev() {
        let holdings = case.held[entity].iter();
        shares[entity] =
            holdings.map(|(owner, share)| counted[*owner] * u64::from(*share) / 20).sum();
        let disposes = roots.contains(entity) || 2 * shares[entity] >= WHOLE;
        counted[entity] = if disposes { WHOLE } else { shares[entity] };
    }
    shares
}

fn all_of_state(case: &Case) -> SiteSet {
    (0..ENTITIES).filter(|entity| case.of_state[*entity]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn whole_chains_are_the_least_closed_set(
        case in case(true),
        alone in 4_u32..=10,
        more in 0_u32..=6,
    ) {
        let share = |twentieths: u32| Share::percent(twentieths * 5);
        let rule = ControlRule::own(share(alone), share(alone + more), Chains::Whole);
        let facts = facts(&case, rule.expect("a rule")).expect("sound");
        for entity in 0..ENTITIES {
            let want = whole(&case, SiteSet::EMPTY.with(entity), alone, alone + more);
            // Alone is alone: what several of one's own companies hold together is held by one.
            let one = least(SiteSet::EMPTY.with(entity), |set| {
                (0..ENTITIES).all(|e| set.contains(e) || sum(&case, e, set) < alone)
            });
            prop_assert_eq!(want, one);
            prop_assert_eq!(reach(&facts, &format!("operator:e{entity}")), want);
        }
        let want = whole(&case, all_of_state(&case), alone, alone + more);
        prop_assert_eq!(reach(&facts, "jurisdiction:XX"), want);
    }

    #[test]
    fn multiplied_shares_are_the_sum_over_all_chains(
        case in case(false),
        alone in 4_u32..=10,
        more in 0_u32..=6,
    ) {
        let share = |twentieths: u32| Share::percent(twentieths * 5);
        let rule = ControlRule::own(share(alone), share(alone + more), Chains::Multiply);
        let facts = facts(&case, rule.expect("a rule")).expect("sound");
        let over = |roots: SiteSet, bound: u32| -> SiteSet {
            let shares = multiplied(&case, roots);
            let reached = (0..ENTITIES).filter(|e| shares[*e] >= u64::from(bound) * 3_200_000);
            reached.collect::<SiteSet>().union(roots)
        };
        let mut of_state = over(all_of_state(&case), alone + more);
        for entity in 0..ENTITIES {
            let want = over(SiteSet::EMPTY.with(entity), alone);
            prop_assert_eq!(reach(&facts, &format!("operator:e{entity}")), want);
            if case.of_state[entity] {
                of_state = of_state.union(want);
            }
        }
        if !all_of_state(&case).is_empty() {
            prop_assert_eq!(reach(&facts, "jurisdiction:XX"), of_state);
        }
    }

    #[test]
    fn every_exposure_has_a_reason_and_nothing_else_has(
        case in case(true),
        multiply in any::<bool>(),
    ) {
        let chains = if multiply { Chains::Multiply } else { Chains::Whole };
        let rule = ControlRule::own(Share::percent(30), Share::percent(45), chains);
        // Companies that hold all of each other are refused where shares multiply.
        let Ok(facts) = facts(&case, rule.expect("a rule")) else { return Ok(()) };
        for id in facts.party_ids() {
            for position in 0..ENTITIES {
                let links = facts.why(position, id);
                prop_assert_eq!(!links.is_empty(), facts.reach(id).contains(position));
                for link in links {
                    let first = &link.steps[0].tie;
                    let at_entity = match first {
                        Tie::Operates | Tie::Location { .. } => true,
                        Tie::Held { entity, .. } | Tie::Incorporation { entity, .. } => {
                            *entity == format!("e{position}")
                        }
                        _ => false,
                    };
                    prop_assert!(at_entity, "{:?}", link);
                }
            }
        }
    }

    #[test]
    fn more_parties_never_reach_less_together(
        case in case(true),
        picks in prop::collection::vec(0_usize..64, 3),
    ) {
        let facts = facts(&case, ControlRule::MAJORITY).expect("sound");
        let ids: Vec<_> = facts.party_ids().collect();
        let parties: Vec<_> = picks.iter().map(|pick| ids[pick % ids.len()]).collect();
        let fewer = facts.reach_together(&parties[..2]);
        prop_assert!(fewer.is_subset(facts.reach_together(&parties)));
        let each = facts.reach(parties[0]).union(facts.reach(parties[1]));
        prop_assert!(each.is_subset(fewer));
        // Entities that act together are those that answer to all of them, as to one state.
        let entities: Vec<_> = parties[..2].iter().filter(|id| {
            facts.party(**id).kind == PartyKind::Operator
        }).collect();
        if entities.len() == 2 {
            let number = |id| facts.party(id).name[1..].parse::<usize>().expect("a number");
            let roots = entities.iter().map(|id| number(**id)).collect();
            prop_assert_eq!(fewer, whole(&case, roots, 10, 10));
        }
    }
}
