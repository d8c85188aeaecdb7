//! Graphs of owners whose answers were worked out by hand, many of them examples that the rules'
//! own authors give. `docs/exposure.md` names the sources.

use crate::common::{operator, set, site, spec};
use havre_model::SiteSet;
use havre_policy::{
    AllianceFacts, Chains, CoalitionSpec, ControlRule, Declared, Evidence, Facts, FactsError,
    GuaranteeSpec, Members, OperatorFacts, Override, Ownership, PartyKind, PlacementPolicy, Share,
};

fn share(percent: f64) -> Share {
    Share::from_fraction(percent / 100.0).expect("a percentage")
}

/// An operator with its owners, as name, percent of the capital and jurisdiction (or none).
fn held(name: &str, owners: &[(&str, f64, &str)]) -> OperatorFacts {
    let owners = owners.iter().map(|(owner, percent, code)| Ownership {
        owner: (*owner).into(),
        capital: Some(share(*percent)),
        jurisdiction: (!code.is_empty()).then(|| (*code).into()),
        ..Ownership::default()
    });
    OperatorFacts { owners: owners.collect(), ..operator(name) }
}

/// The operators, each with one site named after it, all in a land of no consequence.
fn declared(rule: ControlRule, operators: Vec<OperatorFacts>) -> Declared {
    let sites = operators.iter().map(|o| site(&format!("{}-site", o.name), &o.name, "LU"));
    Declared::new(sites.collect(), operators, rule)
}

fn facts(declared: Declared) -> Facts {
    Facts::declare(declared).expect("the facts are sound")
}

/// The sites, by their operators' names, that the party reaches.
fn reached(facts: &Facts, party: &str) -> Vec<String> {
    let found = facts.named(party);
    let reach = found.first().map_or(SiteSet::EMPTY, |id| facts.reach(*id));
    reach.iter().map(|position| facts.sites()[position].operator.clone()).collect()
}

#[track_caller]
fn check(rule: ControlRule, operators: Vec<OperatorFacts>, want: &[(&str, &[&str])]) {
    let facts = facts(declared(rule, operators));
    for (party, want) in want {
        assert_eq!(reached(&facts, party), *want, "{party}");
    }
}

/// The reasons why the party reaches the first site, as text.
fn why(facts: &Facts, party: &str) -> Vec<String> {
    let party = *facts.named(party).first().expect("a party");
    facts.why(0, party).iter().map(ToString::to_string).collect()
}

#[test]
fn half_in_the_aggregate_is_half() {
    let owners = |second| held("o", &[("A", 25.0, "CN"), ("B", second, "CN"), ("C", 49.0, "DE")]);
    check(
        ControlRule::MAJORITY,
        vec![owners(25.0)],
        &[("jurisdiction:CN", &["o"]), ("owner:A", &[]), ("owner:B", &[]), ("owner:C", &[])],
    );
    check(
        ControlRule::MAJORITY,
        vec![owners(24.999_999_9)],
        &[("jurisdiction:CN", &[]), ("jurisdiction:DE", &[])],
    );
}

#[test]
fn half_of_a_half_is_control_entity_by_entity() {
    // X owns 50 % of A, and A owns 50 % of B.
    check(
        ControlRule::MAJORITY,
        vec![held("B", &[("A", 50.0, "")]), held("A", &[("X", 50.0, "RU")])],
        &[("owner:X", &["B", "A"]), ("jurisdiction:RU", &["B", "A"]), ("owner:A", &["B", "A"])],
    );
}

#[test]
fn joint_holdings_through_controlled_companies_add_up() {
    // X owns 50 % of A and of B; they own 25 % of C each.
    check(
        ControlRule::MAJORITY,
        vec![
            held("C", &[("A", 25.0, ""), ("B", 25.0, "")]),
            held("A", &[("X", 50.0, "")]),
            held("B", &[("X", 50.0, "")]),
        ],
        &[("owner:X", &["C", "A", "B"]), ("operator:A", &["A"])],
    );
    // X owns 50 % of A and 10 % of B; A owns 40 % of B.
    check(
        ControlRule::MAJORITY,
        vec![held("B", &[("X", 10.0, ""), ("A", 40.0, "")]), held("A", &[("X", 50.0, "")])],
        &[("owner:X", &["B", "A"])],
    );
}

#[test]
fn what_is_not_controlled_passes_nothing_on() {
    // X owns 25 % of A and of B; they own 50 % of C each. By multiplication X would have 25 % of C.
    check(
        ControlRule::MAJORITY,
        vec![
            held("C", &[("A", 50.0, ""), ("B", 50.0, "")]),
            held("A", &[("X", 25.0, "")]),
            held("B", &[("X", 25.0, "")]),
        ],
        &[("owner:X", &[]), ("owner:A", &["C", "A"]), ("owner:B", &["C", "B"])],
    );
}

#[test]
fn a_company_of_a_state_counts_for_it_by_law_by_seat_and_by_its_owners() {
    let state = |name: &str| OperatorFacts {
        headquarters: Some("CN".into()),
        ..held(name, &[("Fund", 10.0, "")])
    };
    // Half of o: a company led from CN, and one that is half owned by another of CN.
    check(
        ControlRule::MAJORITY,
        vec![
            held("o", &[("led", 30.0, ""), ("held", 20.0, "")]),
            state("led"),
            held("held", &[("S", 50.0, "CN")]),
        ],
        &[("jurisdiction:CN", &["o", "led", "held"]), ("owner:S", &["held"])],
    );
}

#[test]
fn over_24_percent_alone_counts_and_24_do_not() {
    for (percent, want) in [(24.0, &[][..]), (24.000_000_1, &["o"])] {
        check(
            ControlRule::SECNUMCLOUD,
            vec![held("o", &[("U", percent, "US"), ("F", 60.0, "FR")])],
            &[
                ("owner:U", want),
                ("jurisdiction:US", want),
                ("alliance:outside-eu", want),
                ("owner:F", &["o"]),
                ("jurisdiction:FR", &["o"]),
            ],
        );
    }
}

#[test]
fn over_39_percent_together_count_and_39_do_not() {
    for (percent, want) in [(13.0, &[][..]), (13.000_000_1, &["o"])] {
        check(
            ControlRule::SECNUMCLOUD,
            vec![held("o", &[("U", percent, "US"), ("V", 13.0, "US"), ("W", 13.0, "US-CA")])],
            &[("jurisdiction:US", want), ("owner:U", &[]), ("jurisdiction:US-CA", &[])],
        );
    }
}

#[test]
fn states_outside_the_union_are_one_to_the_secnumcloud_rule() {
    let owners = [("U", 20.0, "US"), ("C", 20.0, "CN"), ("F", 20.0, "FR"), ("D", 20.0, "DE")];
    let facts = facts(declared(ControlRule::SECNUMCLOUD, vec![held("o", &owners)]));
    assert_eq!(reached(&facts, "jurisdiction:US"), [""; 0]);
    assert_eq!(reached(&facts, "jurisdiction:CN"), [""; 0]);
    assert_eq!(reached(&facts, "alliance:outside-eu"), ["o"]);
    assert_eq!(
        why(&facts, "alliance:outside-eu"),
        ["U owns 20.0 % of o and C owns 20.0 % of o (40.0 % together), U answers to it, US is a \
          member, C answers to it, CN is a member"]
    );
}

#[test]
fn shares_multiply_along_chains_up_to_a_majority() {
    let chain =
        |upper, lower| vec![held("o", &[("H", lower, "")]), held("H", &[("U", upper, "US")])];
    // 40 % of 60 % are 24 %: not over it. 41 % of 60 % are.
    check(ControlRule::SECNUMCLOUD, chain(40.0, 60.0), &[("owner:U", &["H"])]);
    check(ControlRule::SECNUMCLOUD, chain(41.0, 60.0), &[("owner:U", &["o", "H"])]);
    // 60 % of 30 % are 18 %, but who has the majority of H disposes of all its 30 %.
    check(ControlRule::SECNUMCLOUD, chain(60.0, 30.0), &[("owner:U", &["o", "H"])]);
    check(ControlRule::SECNUMCLOUD, chain(49.0, 30.0), &[("owner:U", &["H"])]);
    // Two ways: 40 % of 40 % and 9 % directly are 25 %.
    let ways = vec![held("o", &[("H", 40.0, ""), ("U", 9.0, "")]), held("H", &[("U", 40.0, "")])];
    check(ControlRule::SECNUMCLOUD, ways.clone(), &[("owner:U", &["o", "H"])]);
    let facts = facts(declared(ControlRule::SECNUMCLOUD, ways));
    assert_eq!(
        why(&facts, "owner:U"),
        ["H owns 40.0 % of o (of which 40.0 % counts) and owns 9.0 % of o (25.0 % together), \
             owns 40.0 % of H"]
    );
}

#[test]
fn cross_holdings_settle_at_what_is_held_from_outside() {
    // a = 0.3 + 0.4 b and b = 0.4 a: a = 5/14 = 0.357142857..., b = 1/7.
    let knot =
        || vec![held("a", &[("X", 30.0, ""), ("b", 40.0, "")]), held("b", &[("a", 40.0, "")])];
    for (billionths, want) in [(357_142_857, &["a"][..]), (357_142_858, &[])] {
        let bound = Share::billionths(billionths).expect("a share");
        let rule = ControlRule::own(bound, bound, Chains::Multiply).expect("a rule");
        check(rule, knot(), &[("owner:X", want)]);
    }
    // a = 0.3 + 0.4 b and b = a: exactly half, which is a majority, so b's 40 % count wholly.
    let half = vec![held("a", &[("X", 30.0, ""), ("b", 40.0, "")]), held("b", &[("a", 100.0, "")])];
    let rule = ControlRule::own(share(69.0), share(69.0), Chains::Multiply).expect("a rule");
    check(rule, half, &[("owner:X", &["a", "b"])]);
}

#[test]
fn nobody_controls_himself_by_a_cycle() {
    let cycle = |percent| {
        vec![held("a", &[("b", 50.0, ""), ("X", percent, "US")]), held("b", &[("a", 50.0, "")])]
    };
    check(ControlRule::MAJORITY, cycle(49.0), &[("owner:X", &[]), ("jurisdiction:US", &[])]);
    check(ControlRule::MAJORITY, cycle(50.0), &[("owner:X", &["a", "b"])]);
}

#[test]
fn companies_that_hold_next_to_all_of_each_other_are_refused_where_shares_multiply() {
    let knot = vec![
        held("a", &[("b", 49.999_999, ""), ("c", 49.999_999, ""), ("X", 0.000_002, "")]),
        held("b", &[("a", 49.999_999, ""), ("c", 50.0, "")]),
        held("c", &[("a", 49.999_999, ""), ("b", 50.0, "")]),
    ];
    let error = Facts::declare(declared(ControlRule::SECNUMCLOUD, knot)).expect_err("a knot");
    assert!(matches!(error, FactsError::Knot { .. }), "{error}");
}

fn alliance(name: &str, members: Members) -> AllianceFacts {
    AllianceFacts { name: name.into(), members, evidence: Evidence::default() }
}

#[test]
fn an_alliance_reaches_what_its_members_reach_and_what_they_hold_together() {
    let these = |codes: &[&str]| Members::These(codes.iter().map(ToString::to_string).collect());
    let mut all = declared(
        ControlRule::MAJORITY,
        vec![
            held("joint", &[("U", 25.0, "US-NY"), ("G", 25.0, "GB")]),
            held("american", &[("U", 50.0, "")]),
            held("other", &[("F", 50.0, "FR")]),
        ],
    );
    all.sites.push(site("in-gb", "other", "GB"));
    all.alliances = vec![
        alliance("two", these(&["us", "GB"])),
        alliance("rest", Members::AllBut(vec!["FR".into(), "US".into()])),
    ];
    let facts = facts(all);
    assert_eq!(reached(&facts, "alliance:two"), ["joint", "american", "other"]);
    assert_eq!(facts.reach(facts.named("alliance:two")[0]), set(&[0, 1, 3]));
    assert_eq!(reached(&facts, "jurisdiction:US"), ["american"]);
    // GB and LU, where everything else lies.
    assert_eq!(facts.reach(facts.named("alliance:rest")[0]), facts.all());
    assert_eq!(
        why(&facts, "alliance:two"),
        ["U owns 25.0 % of joint and G owns 25.0 % of joint (50.0 % together), U answers to it, \
          US-NY is a member, G answers to it, GB is a member"]
    );
}

fn stated(operator: &str, party: &str, answers: bool) -> Override {
    Override {
        operator: operator.into(),
        party: party.into(),
        answers,
        reason: "a reason".into(),
        evidence: Evidence { source: Some("a source".into()), date: None },
    }
}

fn with_overrides(overrides: Vec<Override>) -> Facts {
    let american = OperatorFacts {
        incorporation: Some("US-DE".into()),
        ..held("parent", &[("Fund", 60.0, "US")])
    };
    let operators =
        vec![held("o", &[("parent", 100.0, "")]), american, held("child", &[("o", 100.0, "")])];
    facts(Declared { overrides, ..declared(ControlRule::MAJORITY, operators) })
}

#[test]
fn an_override_stands_above_what_follows_from_the_shares() {
    let before = with_overrides(vec![]);
    assert_eq!(reached(&before, "jurisdiction:US"), ["o", "parent", "child"]);
    let after = with_overrides(vec![stated("o", "jurisdiction:US", false)]);
    // Its child answers to it, and so no more either; its parent does as before.
    assert_eq!(reached(&after, "jurisdiction:US"), ["parent"]);
    assert_eq!(reached(&after, "jurisdiction:US-DE"), ["parent"]);
    assert_eq!(reached(&after, "owner:Fund"), ["o", "parent", "child"]);
    assert_eq!(after.overrides().map(|(_, tells)| tells).collect::<Vec<_>>(), [true]);
    let also = with_overrides(vec![stated("o", "jurisdiction:CN", true)]);
    assert_eq!(reached(&also, "jurisdiction:CN"), ["o", "child"]);
    assert_eq!(why(&also, "jurisdiction:CN"), ["an override says that o answers to it: a reason"]);
}

#[test]
fn an_override_about_a_member_holds_for_its_alliance_and_one_about_a_part_for_the_part() {
    let these = Members::These(vec!["US".into(), "GB".into()]);
    let mut all = with_overrides(vec![stated("o", "jurisdiction:US", false)]).declared().clone();
    all.alliances = vec![alliance("two", these)];
    assert_eq!(reached(&facts(all.clone()), "alliance:two"), ["parent"]);
    // Who is denied to the alliance alone answers to US as before, and so does its child.
    all.overrides = vec![stated("o", "alliance:two", false)];
    assert_eq!(reached(&facts(all), "alliance:two"), ["parent", "child"]);
    let part = with_overrides(vec![stated("parent", "jurisdiction:US-DE", false)]);
    assert_eq!(reached(&part, "jurisdiction:US-DE"), [""; 0]);
    assert_eq!(reached(&part, "jurisdiction:US"), ["o", "parent", "child"]);
}

#[test]
fn an_override_that_says_nothing_new_is_told_apart() {
    let facts = with_overrides(vec![
        stated("o", "jurisdiction:US", true),
        stated("o", "owner:Fund", false),
        stated("parent", "jurisdiction:FR", false),
    ]);
    assert_eq!(facts.overrides().map(|(_, tells)| tells).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn overrides_that_are_ambiguous_or_bare_are_refused() {
    let refused = |overrides: Vec<Override>| {
        let base = with_overrides(vec![]).declared().clone();
        Facts::declare(Declared { overrides, ..base }).expect_err("refused").to_string()
    };
    let nobody = refused(vec![stated("nobody", "jurisdiction:US", true)]);
    assert!(nobody.contains("operator \"nobody\", which is not declared"), "{nobody}");
    for party in ["US", "owner:Nobody", "owner:child", "alliance:two", "operator:o", "state:US"] {
        let error = refused(vec![stated("o", party, true)]);
        assert!(error.contains("is no party"), "{party}: {error}");
    }
    let both = vec![stated("o", "jurisdiction:US", true), stated("O", "Jurisdiction:us", false)];
    assert!(refused(both).contains("two overrides"));
    let bare = Override { evidence: Evidence::default(), ..stated("o", "jurisdiction:US", true) };
    assert!(refused(vec![bare]).contains("needs a reason and a source"));
}

#[test]
fn owners_that_act_together_reach_what_they_only_hold_together() {
    let operators = vec![
        held("o", &[("A", 30.0, "XA"), ("B", 30.0, "XB"), ("C", 5.0, "XC")]),
        held("p", &[("A", 60.0, "")]),
        held("q", &[("B", 60.0, "")]),
        held("r", &[("C", 60.0, "")]),
    ];
    let facts = facts(declared(ControlRule::MAJORITY, operators));
    let id = |name: &str| facts.named(name)[0];
    let (a, b, c) = (id("owner:A"), id("owner:B"), id("owner:C"));
    assert_eq!(facts.reach_together(&[a, b]), set(&[0, 1, 2]));
    assert_eq!(facts.reach_together(&[a, c]), set(&[1, 3]));
    assert_eq!(facts.reach_together(&[id("XA"), id("XB")]), set(&[0, 1, 2]));
    // Three of the four sites, where alone they reach two: 2+2 keeps any two owners from reading
    // only if this is overlooked.
    let guarantee = GuaranteeSpec {
        cannot_read: vec![CoalitionSpec::AnyOf(PartyKind::Owner, 2)],
        cannot_cut_off: vec![],
    };
    PlacementPolicy::new(&facts, spec(4, 0, guarantee.clone())).expect("three are fewer than four");
    let error = PlacementPolicy::new(&facts, spec(3, 1, guarantee)).expect_err("three suffice");
    assert!(error.to_string().contains("owner:A + owner:B could read"), "{error}");
}

#[test]
fn one_entity_under_two_names_is_refused() {
    let lei = |name: &str, lei: &str| Ownership {
        owner: name.into(),
        lei: Some(lei.into()),
        ..Ownership::default()
    };
    let refused = |owners: Vec<Ownership>| {
        let owned = OperatorFacts { owners, lei: Some("L0".into()), ..operator("o") };
        let operators = vec![owned, operator("p")];
        Facts::declare(declared(ControlRule::MAJORITY, operators)).expect_err("refused")
    };
    let error = refused(vec![lei("A", "L1"), lei("B", "l1")]);
    assert!(matches!(error, FactsError::SameOwner { .. }), "{error}");
    let error = refused(vec![lei("A", "L0")]);
    assert!(matches!(error, FactsError::SameOwner { .. }), "{error}");
    let error = refused(vec![lei("o", "L1")]);
    assert!(matches!(error, FactsError::TwoLeis { .. }), "{error}");
}
