//! Who could read and who could cut off: by hand, and against every coalition there is.

use crate::common::{any_jurisdiction, operator, site, spec, subsets, two_in_each};
use havre_model::SiteSet;
use havre_policy::{
    Chains, CoalitionSpec, ControlRule, Declared, Evidence, ExposedList, Facts, GuaranteeSpec,
    Holds, OperatorFacts, Ownership, PartyId, PartyKind, PlacementPolicy, PolicyExposure,
    SeatFacts, SeatKind, SeatSet, Share, Word, exposure,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn seat(kind: SeatKind, name: &str, operator: Option<&str>, locations: &[&str]) -> SeatFacts {
    SeatFacts {
        kind,
        name: name.into(),
        operator: operator.map(Into::into),
        locations: locations.iter().map(ToString::to_string).collect(),
        holds: if kind == SeatKind::KeyService { Holds::Key } else { Holds::Gateway },
        evidence: Evidence::default(),
    }
}

/// Six sites, two in each of XA, XB and XC, run by o0, o1 and o2 crosswise; and these seats.
fn six(seats: Vec<SeatFacts>) -> Facts {
    let mut declared = two_in_each(3).declared().clone();
    declared.operators.push(operator("own"));
    declared.seats = seats;
    Facts::declare(declared).expect("the facts are sound")
}

fn exposed(facts: &Facts, k: u8, m: u8, guarantee: GuaranteeSpec) -> PolicyExposure {
    let policy = PlacementPolicy::new(facts, spec(k, m, guarantee)).expect("it holds");
    exposure(facts, &policy)
}

fn labels(facts: &Facts, list: &ExposedList) -> Vec<String> {
    assert_eq!(list.complete, None, "all are listed");
    list.coalitions.iter().map(|exposed| exposed.label(facts)).collect()
}

#[test]
fn any_two_of_six_parties_with_two_sites_each_hold_three_shards() {
    let facts = six(vec![]);
    let found = exposed(&facts, 3, 3, any_jurisdiction());
    // Nobody is declared to have a key, so nobody could read with what is declared.
    assert_eq!(labels(&facts, &found.read), [""; 0]);
    // Six parties, any two of which reach three or four sites: fifteen pairs.
    assert_eq!(found.read_with_key.coalitions.len(), 15);
    assert!(found.read_with_key.coalitions.iter().all(|e| e.members.len() == 2 && e.shards >= 3));
    // Four shards have the pairs that share no site: nine of them, and no three without such two.
    let pairs = labels(&facts, &found.cut_off);
    assert_eq!(pairs.len(), 9, "{pairs:?}");
    assert!(pairs.contains(&"jurisdiction:XA + jurisdiction:XB".to_string()), "{pairs:?}");
    assert!(pairs.contains(&"operator:o2 + jurisdiction:XA".to_string()), "{pairs:?}");
    assert!(!pairs.contains(&"operator:o0 + jurisdiction:XA".to_string()), "{pairs:?}");
    assert!(found.cut_off.coalitions.iter().all(|exposed| exposed.shards == 4));
}

#[test]
fn the_guarantee_speaks_of_each_member_alone_or_not_at_all() {
    let facts = six(vec![]);
    let found = exposed(&facts, 3, 3, any_jurisdiction());
    let word = |label: &str| {
        let mut all = found.cut_off.coalitions.iter();
        all.find(|exposed| exposed.label(&facts) == label).expect("it is listed").word
    };
    assert_eq!(word("jurisdiction:XA + jurisdiction:XB"), Word::SilentOfAllTogether);
    assert_eq!(word("operator:o2 + jurisdiction:XA"), Word::Silent);
}

#[test]
fn the_host_in_the_jurisdiction_of_two_sites_makes_that_jurisdiction_the_first_to_be_named() {
    let facts = six(vec![seat(SeatKind::Host, "", Some("own"), &["XA"])]);
    let found = exposed(&facts, 3, 3, any_jurisdiction());
    // XA has two shards of six by the sites and all plaintext by the host; so has who runs it.
    assert_eq!(labels(&facts, &found.read), ["jurisdiction:XA", "operator:own"]);
    assert_eq!(found.read.coalitions[0].word, Word::Void);
    assert_eq!((found.read.coalitions[0].shards, found.read.coalitions[1].shards), (2, 0));
    assert_eq!(found.read.coalitions[1].word, Word::Silent);
    let cut = labels(&facts, &found.cut_off);
    assert_eq!(&cut[..2], ["jurisdiction:XA", "operator:own"]);
    // XA needs nobody, so it is in no larger coalition: of the nine pairs three had it.
    assert_eq!(cut.len(), 2 + 6, "{cut:?}");
    // With a key from elsewhere it is as without the host.
    assert_eq!(found.read_with_key.coalitions.len(), 15);
    let id = facts.named("jurisdiction:XA")[0];
    assert_eq!(facts.why_seated(0, id)[0].to_string(), "it lies there");
    assert_eq!(facts.why_seated(0, facts.named("own")[0])[0].to_string(), "runs it");
}

#[test]
fn who_keeps_the_key_reads_with_k_shards_and_cuts_off_alone() {
    let facts = six(vec![seat(SeatKind::KeyService, "", None, &["XA"])]);
    let found = exposed(&facts, 3, 3, any_jurisdiction());
    // XA has the key and two shards; anybody with another site completes it.
    let want: BTreeSet<String> =
        ["operator:o0", "operator:o1", "operator:o2", "jurisdiction:XB", "jurisdiction:XC"]
            .map(|other| match other.starts_with("operator") {
                true => format!("{other} + jurisdiction:XA"),
                false => format!("jurisdiction:XA + {other}"),
            })
            .into();
    let read: BTreeSet<String> = labels(&facts, &found.read).into_iter().collect();
    let read: BTreeSet<String> = read
        .into_iter()
        .map(|label| {
            let mut parts: Vec<&str> = label.split(" + ").collect();
            parts.sort_by_key(|part| (!part.starts_with("operator"), part.to_string()));
            parts.join(" + ")
        })
        .collect();
    assert_eq!(read, want);
    assert!(found.read.coalitions.iter().all(|exposed| !exposed.seats.is_empty()));
    assert_eq!(labels(&facts, &found.cut_off)[0], "jurisdiction:XA");
    assert_eq!(found.cut_off.coalitions[0].word, Word::Void);
}

#[test]
fn administrators_are_parties_with_their_employer_and_their_state() {
    let seats = vec![
        seat(SeatKind::Administrator, "Ada", Some("o1"), &["XD"]),
        SeatFacts { holds: Holds::Key, ..seat(SeatKind::Administrator, "Bo", None, &["XE"]) },
    ];
    let facts = six(seats);
    let found = exposed(&facts, 3, 3, any_jurisdiction());
    let read = labels(&facts, &found.read);
    assert_eq!(&read[..3], ["operator:o1", "(jurisdiction:XD or administrator:Ada)", &read[2]]);
    // Bo needs three shards: two parties of those that are left.
    assert!(read[2].contains("(jurisdiction:XE or administrator:Bo)"), "{read:?}");
    assert!(found.read.coalitions[2..].iter().all(|e| e.members.len() == 3 && e.shards >= 3));
    let ada = facts.named("administrator:ada")[0];
    assert_eq!(facts.why_seated(0, ada)[0].to_string(), "is the administrator");
    assert_eq!(facts.why_seated(0, facts.named("o1")[0])[0].to_string(), "employs them");
    assert!(facts.why_seated(1, ada).is_empty());
}

#[test]
fn what_placement_keeps_from_a_party_is_not_counted_against_it() {
    // Nine sites, three in each of three jurisdictions; 3+3 gives no jurisdiction more than two.
    let sites = (0..9).map(|n| site(&format!("s{n}"), "o", ["XA", "XB", "XC"][n / 3]));
    let facts = Facts::new(sites.collect(), vec![operator("o")], 0.25).expect("sound");
    let found = exposed(&facts, 3, 3, any_jurisdiction());
    let want = [
        "operator:o",
        "jurisdiction:XA + jurisdiction:XB",
        "jurisdiction:XA + jurisdiction:XC",
        "jurisdiction:XB + jurisdiction:XC",
    ];
    assert_eq!(labels(&facts, &found.read_with_key), want);
    assert_eq!(labels(&facts, &found.cut_off), want);
    assert_eq!(found.read_with_key.coalitions[1].shards, 4);
    // Without a guarantee a blob may lie in one jurisdiction with half of its shards.
    let found = exposed(&facts, 3, 3, GuaranteeSpec::default());
    assert_eq!(labels(&facts, &found.read_with_key).len(), 4);
    assert!(labels(&facts, &found.read_with_key).contains(&"jurisdiction:XA".to_string()));
}

/// Twenty sites and sixty parties: 20 operators, 10 locations, 15 headquarters, 15 laws.
fn twenty() -> Facts {
    let sites = (0..20)
        .map(|n| site(&format!("s{n}"), &format!("o{n}"), &format!("X{}", n % 10)))
        .collect();
    let operators = (0..20)
        .map(|n| OperatorFacts {
            headquarters: Some(format!("Y{}", n % 15)),
            incorporation: Some(format!("Z{}", n % 15)),
            ..operator(&format!("o{n}"))
        })
        .collect();
    Facts::new(sites, operators, 0.25).expect("the facts are sound")
}

#[test]
fn twenty_sites_and_sixty_parties_take_a_bounded_number_of_steps() {
    let facts = twenty();
    assert_eq!(facts.parties().len(), 60);
    let any = |kind, count| CoalitionSpec::AnyOf(kind, count);
    let guarantee = GuaranteeSpec {
        cannot_read: vec![any(PartyKind::Jurisdiction, 2), any(PartyKind::Operator, 3)],
        cannot_cut_off: vec![any(PartyKind::Jurisdiction, 2), any(PartyKind::Operator, 3)],
    };
    for (k, m) in [(6, 6), (7, 5), (10, 10), (4, 16)] {
        let Ok(policy) = PlacementPolicy::new(&facts, spec(k, m, guarantee.clone())) else {
            continue;
        };
        let found = exposure(&facts, &policy);
        for list in [&found.read, &found.read_with_key, &found.cut_off] {
            // A step is some tens of nanoseconds up to a microsecond.
            assert!(list.steps <= 100_000, "{k}+{m}: {}", list.steps);
            let fewest = list.coalitions.iter().map(|e| e.members.len()).min();
            if let (Some(complete), Some(fewest)) = (list.complete, fewest) {
                assert!(fewest <= complete + 1, "{k}+{m}: {fewest} of {complete}");
            }
        }
        assert!(!found.read_with_key.coalitions.is_empty(), "{k}+{m}");
    }
}

#[test]
fn owners_who_could_join_in_many_ways_take_a_bounded_number_of_steps() {
    // Twenty operators, each held by three of forty owners with less than half: any two or three
    // that meet hold it between them.
    let mut declared = twenty().declared().clone();
    for (n, operator) in declared.operators.iter_mut().enumerate() {
        (operator.headquarters, operator.incorporation) = (None, None);
        operator.owners = (0..3)
            .map(|place| Ownership {
                owner: format!("w{}", (n * 3 + place * 7) % 40),
                capital: Some(Share::percent(26)),
                ..Ownership::default()
            })
            .collect();
    }
    declared.rule = ControlRule::MAJORITY;
    for n in 0..40 {
        let owned = OperatorFacts {
            owners: vec![Ownership { owner: format!("w{n}"), ..Ownership::default() }],
            ..operator(&format!("own{n}"))
        };
        declared.operators.push(owned);
    }
    declared.sites.iter_mut().enumerate().for_each(|(n, site)| {
        site.location = format!("Y{}", n % 4);
    });
    declared.seats = (0..40)
        .map(|n| seat(SeatKind::Administrator, &format!("a{n}"), Some(&format!("own{n}")), &[]))
        .map(|seat| SeatFacts { holds: Holds::Key, ..seat })
        .collect();
    let facts = Facts::declare(declared).expect("sound");
    assert!(facts.parties().len() >= 60, "{}", facts.parties().len());
    let found = exposed(&facts, 6, 6, GuaranteeSpec::default());
    for list in [&found.read, &found.read_with_key, &found.cut_off] {
        assert!(list.steps <= 1_001_000, "{}", list.steps);
        assert!(list.complete.is_none_or(|complete| complete >= 1), "{:?}", list.complete);
    }
}

/// A small configuration with seats, holdings and a guarantee.
fn case() -> impl Strategy<Value = (Facts, u8, u8, GuaranteeSpec)> {
    let sites = prop::collection::vec((0_usize..4, 0_usize..3), 3..=7);
    let owners = prop::collection::vec((0_usize..4, 0_usize..3, 20_u32..=60), 0..=4);
    let seats = prop::collection::vec((0_usize..4, 0_usize..4, any::<bool>()), 0..=2);
    (sites, owners, seats, 1_u8..=4, 0_u8..=3, 0_usize..4).prop_filter_map(
        "the facts are sound",
        |(sites, owners, seats, k, m, promised)| {
            let code = |n: usize| ["XA", "XB", "XC"][n];
            let sites = sites.into_iter().enumerate();
            let sites = sites
                .map(|(n, (operator, place))| {
                    site(&format!("s{n}"), &format!("o{operator}"), code(place))
                })
                .collect();
            let mut operators: Vec<OperatorFacts> =
                (0..4).map(|n| operator(&format!("o{n}"))).collect();
            for (operator, owner, percent) in owners {
                operators[operator].owners.push(Ownership {
                    owner: format!("Owner{owner}"),
                    capital: Some(Share::percent(percent)),
                    ..Ownership::default()
                });
            }
            let rule = ControlRule::own(Share::percent(50), Share::percent(50), Chains::Whole)?;
            let mut declared = Declared::new(sites, operators, rule);
            for (n, (operator, place, key)) in seats.into_iter().enumerate() {
                let codes: Vec<&str> = (place < 3).then(|| code(place)).into_iter().collect();
                let name = format!("Admin{n}");
                let operator = format!("o{operator}");
                let mut seat = seat(SeatKind::Administrator, &name, Some(&operator), &codes);
                seat.holds = if key { Holds::Key } else { Holds::Gateway };
                declared.seats.push(seat);
            }
            let guarantee = match promised {
                0 => GuaranteeSpec::default(),
                1 => any_jurisdiction(),
                2 => GuaranteeSpec {
                    cannot_read: vec![CoalitionSpec::AnyOne(PartyKind::Operator)],
                    ..GuaranteeSpec::default()
                },
                _ => GuaranteeSpec {
                    cannot_cut_off: vec![CoalitionSpec::AnyOne(PartyKind::Operator)],
                    ..GuaranteeSpec::default()
                },
            };
            Some((Facts::declare(declared).ok()?, k, m, guarantee))
        },
    )
}

/// Every least set of parties for which `gets_there` holds.
fn least(facts: &Facts, gets_there: impl Fn(&[PartyId]) -> bool) -> BTreeSet<BTreeSet<PartyId>> {
    let ids: Vec<PartyId> = facts.party_ids().collect();
    let mut found: Vec<u64> = Vec::new();
    let mut all: Vec<u64> = (1..1_u64 << ids.len()).collect();
    all.sort_by_key(|bits| bits.count_ones());
    for bits in all {
        if found.iter().any(|less| less & bits == *less) {
            continue;
        }
        let chosen: Vec<PartyId> =
            (0..ids.len()).filter(|n| bits & 1 << n != 0).map(|n| ids[n]).collect();
        if gets_there(&chosen) {
            found.push(bits);
        }
    }
    let members = |bits: u64| (0..ids.len()).filter(move |n| bits & 1 << n != 0);
    found.into_iter().map(|bits| members(bits).map(|n| ids[n]).collect()).collect()
}

/// The coalitions of a list, each choice among parties that reach the same as one of its own.
fn spelt_out(list: &ExposedList) -> BTreeSet<BTreeSet<PartyId>> {
    let mut all = BTreeSet::new();
    for exposed in &list.coalitions {
        let mut sets: Vec<BTreeSet<PartyId>> = vec![BTreeSet::new()];
        for parties in &exposed.members {
            sets = sets
                .iter()
                .flat_map(|set| parties.iter().map(|party| &(set.clone()) | &[*party].into()))
                .collect();
        }
        all.extend(sets);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn i10_exactly_the_least_coalitions_that_could_are_named((facts, k, m, guarantee) in case()) {
        let spec = spec(k, m, guarantee);
        let Ok(policy) = PlacementPolicy::new(&facts, spec) else { return Ok(()) };
        prop_assume!(facts.parties().len() <= 12);
        let found = exposure(&facts, &policy);
        let total = policy.geometry().total();
        let (k, parity) = (policy.geometry().data(), policy.geometry().parity());
        // Every placement that keeps the guarantee.
        let placements: Vec<SiteSet> = subsets(policy.eligible())
            .filter(|sites| sites.len() == total)
            .filter(|sites| {
                policy.coalitions().iter().all(|c| {
                    let most = match c.harm {
                        havre_policy::Harm::Read => k - 1,
                        havre_policy::Harm::CutOff => parity,
                    };
                    c.reach.intersection(*sites).len() <= most
                })
            })
            .collect();
        let shards = |parties: &[PartyId]| {
            let reach = facts.reach_together(parties);
            placements.iter().map(|sites| sites.intersection(reach).len()).max().unwrap_or(0)
        };
        let holds = |parties: &[PartyId], wanted: Holds| {
            let held = parties.iter().map(|party| facts.seats_held(*party));
            let seats = held.fold(SeatSet::EMPTY, SeatSet::union);
            seats.iter().any(|seat| facts.holds(seat) == wanted)
        };
        let gateway = |parties: &[PartyId]| holds(parties, Holds::Gateway);
        let key = |parties: &[PartyId]| holds(parties, Holds::Key);
        let read = least(&facts, |c| gateway(c) || (key(c) && shards(c) >= k));
        prop_assert_eq!(spelt_out(&found.read), read);
        let with_key = least(&facts, |c| shards(c) >= k);
        prop_assert_eq!(spelt_out(&found.read_with_key), with_key);
        let cut_off = least(&facts, |c| gateway(c) || key(c) || shards(c) > parity);
        prop_assert_eq!(spelt_out(&found.cut_off), cut_off);
        for list in [&found.read, &found.read_with_key, &found.cut_off] {
            prop_assert_eq!(list.complete, None);
            for exposed in &list.coalitions {
                let one: Vec<PartyId> = exposed.members.iter().map(|parties| parties[0]).collect();
                prop_assert_eq!(exposed.shards, shards(&one));
            }
        }
    }
}
