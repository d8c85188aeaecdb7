//! Guarantees whose answers were worked out by hand.

use crate::common::{
    any_jurisdiction, blob, index, operator, policy, set, site, sites_of, spec, subsets,
    two_in_each,
};
use havre_model::SiteSet;
use havre_policy::{
    Acknowledgement, CoalitionSpec, Facts, GuaranteeSpec, Harm, PartyKind, PlaceError,
    PlacementPolicy, PolicyError, site_id,
};

/// How many stored shards suffice wherever they are, what the policy says they are, and how many
/// might do if they lie well.
#[track_caller]
fn check_stored(facts: &Facts, (k, m): (u8, u8), enough: usize, least: usize) {
    let policy = policy(facts, k, m).expect("the guarantee holds");
    let within = |stored: &SiteSet| policy.acknowledges(*stored) == Acknowledgement::Within;
    let sizes = 0..=usize::from(k + m);
    let all_within = |size: usize| {
        subsets(facts.all()).filter(|stored| stored.len() == size).all(|stored| within(&stored))
    };
    assert_eq!(sizes.clone().find(|size| all_within(*size)), Some(enough), "enough");
    assert_eq!(policy.stored_enough(), enough);
    assert_eq!(policy.explain(facts).slack, usize::from(k + m) - enough);
    let fewest = subsets(facts.all()).filter(within).map(SiteSet::len).min();
    assert_eq!(fewest, Some(least), "least");
}

#[test]
fn three_and_three_on_six_sites_in_three_jurisdictions_needs_any_five() {
    check_stored(&two_in_each(3), (3, 3), 5, 5);
}

#[test]
fn four_and_two_on_six_sites_in_three_jurisdictions_needs_all_six() {
    check_stored(&two_in_each(3), (4, 2), 6, 6);
}

#[test]
fn five_and_three_on_eight_sites_in_four_jurisdictions_needs_any_seven() {
    check_stored(&two_in_each(4), (5, 3), 7, 7);
}

#[test]
fn four_and_four_on_eight_sites_in_four_jurisdictions_needs_any_six() {
    // Well placed, one in each of the four and one more, five would leave three: still too few.
    check_stored(&two_in_each(4), (4, 4), 6, 6);
}

#[test]
fn three_and_five_on_eight_sites_in_four_jurisdictions_may_do_with_four_well_placed() {
    check_stored(&two_in_each(4), (3, 5), 5, 4);
}

#[test]
fn two_stored_in_one_jurisdiction_do_not_count_against_it() {
    let facts = two_in_each(3);
    let policy = policy(&facts, 3, 3).expect("the guarantee holds");
    // s1 and s2 lie in XA, s3 and s4 in XB: without XB two are left.
    let Acknowledgement::Below { coalition } = policy.acknowledges(set(&[0, 1, 2, 3])) else {
        panic!("four shards in two jurisdictions are too few");
    };
    let coalition = policy.coalition(coalition);
    assert_eq!(coalition.harm, Harm::CutOff);
    assert!(["jurisdiction:XA", "jurisdiction:XB"].contains(&coalition.label.as_str()));
    assert_eq!(policy.acknowledges(set(&[0, 1])), Acknowledgement::Undecodable);
    assert_eq!(policy.acknowledges(set(&[0, 1, 2, 3, 4])), Acknowledgement::Within);
}

#[test]
fn without_a_guarantee_k_shards_are_enough() {
    let facts = two_in_each(3);
    let policy = PlacementPolicy::new(&facts, spec(4, 2, GuaranteeSpec::default()));
    let policy = policy.expect("nothing is promised");
    assert_eq!(policy.acknowledges(set(&[0, 1, 2, 3])), Acknowledgement::Within);
    assert_eq!(policy.acknowledges(set(&[0, 1, 2])), Acknowledgement::Undecodable);
    assert_eq!(policy.stored_enough(), 4);
    assert_eq!(policy.explain(&facts).warnings.len(), 2);
}

#[test]
fn a_refusal_names_the_coalition_that_could_cut_off_and_what_would_hold() {
    let error = policy(&two_in_each(3), 5, 1).expect_err("two shards lie in each jurisdiction");
    let PolicyError::Unholdable { conflicts, alternatives, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(conflicts[0].coalition, "jurisdiction:XA");
    assert_eq!(conflicts[0].harm, Harm::CutOff);
    assert_eq!(conflicts[0].reach, ["s1", "s2"]);
    assert_eq!((conflicts[0].shards_forced, conflicts[0].shards_max), (2, 1));
    assert_eq!(alternatives[0].to_string(), "4+2");
    let text = error.to_string();
    assert!(text.contains("jurisdiction:XA could cut off: it reaches s1, s2"), "{text}");
    assert!(text.contains("it holds with 4+2"), "{text}");
}

#[test]
fn a_refusal_names_the_coalition_that_could_read() {
    let error = policy(&two_in_each(3), 2, 4).expect_err("two shards suffice to read");
    let text = error.to_string();
    assert!(text.contains("jurisdiction:XA could read: it reaches s1, s2"), "{text}");
    assert!(text.contains("at most 1, because 2 shards suffice to read"), "{text}");
}

#[test]
fn an_operator_behind_three_of_six_sites_is_named_although_the_jurisdictions_hold() {
    let sites = ["XA", "XA", "XB", "XB", "XC", "XC"];
    let sites: Vec<_> = sites
        .iter()
        .enumerate()
        .map(|(n, code)| site(&format!("s{n}"), if n % 2 == 0 { "big" } else { "small" }, code))
        .collect();
    let facts = Facts::new(sites, vec![operator("big"), operator("small")], 0.25);
    let facts = facts.expect("the facts are sound");
    policy(&facts, 3, 3).expect("no jurisdiction has three");
    let mut guarantee = any_jurisdiction();
    guarantee.cannot_read.push(CoalitionSpec::AnyOne(PartyKind::Operator));
    let error = PlacementPolicy::new(&facts, spec(3, 3, guarantee)).expect_err("big has three");
    let text = error.to_string();
    assert!(text.contains("operator:big could read: it reaches s0, s2, s4"), "{text}");
}

#[test]
fn coalitions_that_only_together_stand_against_a_policy_are_named_together() {
    // Three pairs out of three sites, at most one site of each pair: one site at most, two wanted.
    let sites = vec![site("a", "x", "XA"), site("b", "y", "XB"), site("c", "z", "XC")];
    let operators = ["x", "y", "z"].map(operator).to_vec();
    let facts = Facts::new(sites, operators, 0.25).expect("the facts are sound");
    let pair = |one: &str, other: &str| {
        CoalitionSpec::Named(vec![format!("operator:{one}"), format!("operator:{other}")])
    };
    let cannot_read = vec![pair("x", "y"), pair("y", "z"), pair("x", "z")];
    let guarantee = GuaranteeSpec { cannot_read, cannot_cut_off: vec![] };
    let error = PlacementPolicy::new(&facts, spec(2, 0, guarantee)).expect_err("no two fit");
    let PolicyError::Unholdable { conflicts, .. } = &error else { panic!("{error}") };
    assert_eq!(conflicts.len(), 3, "{error}");
    assert!(conflicts.iter().all(|conflict| conflict.shards_forced == 0));
    assert!(error.to_string().contains("operator:x + operator:y"), "{error}");
}

#[test]
fn any_two_operators_together_are_held_below_k() {
    let facts = two_in_each(3);
    let two = vec![CoalitionSpec::AnyOf(PartyKind::Operator, 2)];
    // Two operators of three reach four of six sites: 5+1 keeps them from reading, 4+2 does not.
    let guarantee = GuaranteeSpec { cannot_read: two, cannot_cut_off: vec![] };
    PlacementPolicy::new(&facts, spec(5, 1, guarantee.clone())).expect("four are fewer than five");
    let error = PlacementPolicy::new(&facts, spec(4, 2, guarantee)).expect_err("four suffice");
    assert!(error.to_string().contains("operator:o0 + operator:o1 could read"), "{error}");
}

#[test]
fn excluded_parties_and_unlisted_sites_get_nothing() {
    let facts = two_in_each(4);
    let mut spec = spec(3, 3, any_jurisdiction());
    spec.exclude = vec!["jurisdiction:xd".into()];
    let policy = PlacementPolicy::new(&facts, spec.clone()).expect("six sites are left");
    assert_eq!(policy.eligible(), set(&[0, 1, 2, 3, 4, 5]));
    let geometry = policy.geometry();
    let refused = policy.permit(blob(1), index(0, geometry), site_id("s7"), SiteSet::EMPTY);
    assert!(matches!(refused, Err(PlaceError::NotEligible { .. })), "{refused:?}");
    spec.exclude.push("operator:o0".into());
    let error = PlacementPolicy::new(&facts, spec).expect_err("o0 has s1 too");
    assert!(matches!(error, PolicyError::TooFewSites { eligible: 5, .. }), "{error}");
}

#[test]
fn a_repair_is_refused_where_a_jurisdiction_would_come_to_hold_k() {
    let sites = vec![
        site("a1", "o", "XA"),
        site("a2", "o", "XA"),
        site("a3", "o", "XA"),
        site("b1", "o", "XB"),
        site("b2", "o", "XB"),
        site("b3", "o", "XB"),
        site("c1", "o", "XC"),
        site("c2", "o", "XC"),
    ];
    let facts = Facts::new(sites, vec![operator("o")], 0.25).expect("the facts are sound");
    let policy = policy(&facts, 3, 3).expect("two of each fit");
    let shard = index(5, policy.geometry());
    let holders = set(&[0, 1, 3, 4, 6]);
    let refused = policy.permit(blob(7), shard, site_id("a3"), holders);
    let Err(PlaceError::CouldRead { coalition, shards, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((coalition.as_str(), shards), ("jurisdiction:XA", 3));
    let permit = policy.permit(blob(7), shard, site_id("c2"), holders).expect("c2 is free");
    assert_eq!((permit.site(), permit.blob(), permit.index()), (site_id("c2"), blob(7), shard));
    let again = policy.permit(blob(7), shard, site_id("c1"), holders);
    assert_eq!(again, Err(PlaceError::AlreadyHolds { site: site_id("c1") }));
    let unknown = policy.permit(blob(7), shard, site_id("elsewhere"), holders);
    assert!(matches!(unknown, Err(PlaceError::NotEligible { .. })), "{unknown:?}");
}

#[test]
fn a_shard_of_another_geometry_gets_no_permit() {
    let facts = two_in_each(3);
    let policy = policy(&facts, 3, 3).expect("the guarantee holds");
    let wide = havre_model::Geometry::new(8, 8).expect("a geometry");
    let refused = policy.permit(blob(1), index(6, wide), site_id("s1"), SiteSet::EMPTY);
    assert!(matches!(refused, Err(PlaceError::ForeignIndex { index: 6, .. })), "{refused:?}");
}

#[test]
fn placement_prefers_the_ranking_as_far_as_the_guarantee_allows() {
    // Nine sites, three in each jurisdiction; the best three lie in one.
    let codes = ["XA", "XA", "XA", "XB", "XB", "XB", "XC", "XC", "XC"];
    let sites = codes.iter().enumerate().map(|(n, code)| site(&format!("s{n}"), "o", code));
    let facts = Facts::new(sites.collect(), vec![operator("o")], 0.25).expect("sound");
    let policy = policy(&facts, 3, 3).expect("two of each fit");
    let permits =
        policy.place(&[2, 1, 0, 8, 7, 6], SiteSet::EMPTY, blob(3)).expect("there is a placement");
    let mut sites = sites_of(&facts, &permits);
    sites.sort_unstable();
    // s0 would be XA's third, s6 XC's; the unranked s3 and s4 come in.
    assert_eq!(sites, [1, 2, 3, 4, 7, 8]);
}

#[test]
fn a_greedy_choice_that_leads_nowhere_is_taken_back() {
    // Only b and c lie outside the reach of all three coalitions with a: taking a first, although
    // it is ranked best, leaves no second site.
    let sites = vec![site("a", "x", "XA"), site("b", "y", "XB"), site("c", "z", "XC")];
    let operators = ["x", "y", "z"].map(operator).to_vec();
    let facts = Facts::new(sites, operators, 0.25).expect("sound");
    let with_a =
        |other: &str| CoalitionSpec::Named(vec!["operator:x".into(), format!("operator:{other}")]);
    let cannot_read = vec![with_a("y"), with_a("z")];
    let guarantee = GuaranteeSpec { cannot_read, cannot_cut_off: vec![] };
    let policy = PlacementPolicy::new(&facts, spec(2, 0, guarantee)).expect("b and c fit");
    let permits = policy.place(&[0, 1, 2], SiteSet::EMPTY, blob(0)).expect("there is a placement");
    let mut sites = sites_of(&facts, &permits);
    sites.sort_unstable();
    assert_eq!(sites, [1, 2]);
}

#[test]
fn every_site_gets_every_index_about_equally_often() {
    let facts = two_in_each(3);
    let policy = policy(&facts, 3, 3).expect("the guarantee holds");
    let mut counts = [[0_u32; 6]; 6];
    for number in 0..6000 {
        let permits =
            policy.place(&[], SiteSet::EMPTY, blob(number)).expect("there is a placement");
        for (shard, position) in sites_of(&facts, &permits).into_iter().enumerate() {
            assert_eq!(permits[shard].index().get(), shard);
            assert_eq!(permits[shard].blob(), blob(number));
            counts[position][shard] += 1;
        }
    }
    assert!(counts.iter().flatten().all(|count| (900..1100).contains(count)), "{counts:?}");
}

#[test]
fn the_strictest_policy_promises_most() {
    let facts = two_in_each(3);
    let strict = policy(&facts, 3, 3).expect("the guarantee holds").strictness();
    let wide = policy(&facts, 4, 2).expect("the guarantee holds").strictness();
    let none = PlacementPolicy::new(&facts, spec(1, 5, GuaranteeSpec::default()));
    assert!(strict > wide);
    assert!(wide > none.expect("nothing is promised").strictness());
}

#[test]
fn twenty_sites_and_sixty_parties_are_decided() {
    let sites: Vec<_> = (0..20)
        .map(|n| site(&format!("s{n}"), &format!("o{n}"), &format!("X{}", n % 10)))
        .collect();
    let operators = (0..20)
        .map(|n| {
            let mut operator = operator(&format!("o{n}"));
            operator.headquarters = Some(format!("Y{}", n % 15));
            operator.incorporation = Some(format!("Z{}", n % 15));
            operator
        })
        .collect();
    let facts = Facts::new(sites, operators, 0.25).expect("the facts are sound");
    assert_eq!(facts.parties().len(), 20 + 10 + 15 + 15);
    let any = |kind, count| CoalitionSpec::AnyOf(kind, count);
    let guarantee = GuaranteeSpec {
        cannot_read: vec![any(PartyKind::Jurisdiction, 2), any(PartyKind::Operator, 3)],
        cannot_cut_off: vec![any(PartyKind::Jurisdiction, 2), any(PartyKind::Operator, 3)],
    };
    let policy = PlacementPolicy::new(&facts, spec(6, 6, guarantee)).expect("it holds");
    let permits = policy.place(&[], SiteSet::EMPTY, blob(1)).expect("there is a placement");
    let holders = sites_of(&facts, &permits).into_iter().collect();
    assert_eq!(policy.could_read(holders), None);
    assert_eq!(policy.acknowledges(holders), Acknowledgement::Within);
}

#[test]
fn an_explanation_shows_every_party_coalition_and_figure() {
    let facts = two_in_each(3);
    let policy = policy(&facts, 3, 3).expect("the guarantee holds");
    let explanation = policy.explain(&facts);
    assert_eq!((explanation.overhead, explanation.stored_enough, explanation.slack), (2.0, 5, 1));
    assert_eq!(explanation.coalitions.len(), 6);
    let parties: Vec<_> = explanation.sites[1].parties.iter().map(|(name, _)| name).collect();
    assert_eq!(parties, ["operator:o1", "jurisdiction:XA"]);
    let text = explanation.to_string();
    assert!(text.contains("p: 3+3 on 6 sites, 2.00 times the bytes"), "{text}");
    assert!(text.contains("with any 5 of 6 shards stored; slack 1"), "{text}");
    assert!(text.contains("cannot read, holding at most 2 of 6 shards:"), "{text}");
    assert!(text.contains("cannot cut off, holding at most 3 of 6 shards:"), "{text}");
    assert!(text.contains("    jurisdiction:XB  holds 2: s3, s4\n"), "{text}");
    assert!(!text.contains("narrower"), "{text}");
    assert!(explanation.warnings.is_empty(), "{text}");
}

#[test]
fn an_explanation_shows_the_widest_coalitions_and_counts_the_others() {
    let facts = Facts::new(
        vec![site("a", "x", "US-VA"), site("b", "y", "US-CA"), site("c", "z", "DE")],
        ["x", "y", "z"].map(operator).to_vec(),
        0.25,
    )
    .expect("the facts are sound");
    let mut spec = spec(2, 0, any_jurisdiction());
    spec.guarantee.cannot_cut_off.clear();
    spec.exclude = vec!["jurisdiction:US-CA".into()];
    let policy = PlacementPolicy::new(&facts, spec).expect("a and c are left");
    let explanation = policy.explain(&facts);
    let narrower: Vec<_> = explanation.coalitions.iter().filter(|c| c.narrower).collect();
    // US reaches b no more: without it US and US-VA reach the same.
    assert_eq!(narrower.len(), 1, "{explanation}");
    assert_eq!(narrower[0].coalition, "jurisdiction:US-CA");
    assert!(explanation.to_string().contains("and 1 narrower"), "{explanation}");
}
