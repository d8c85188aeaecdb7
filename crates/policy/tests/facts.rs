//! Which facts are taken, and whom a site is exposed to by them.

use crate::common;
use crate::common::{operator, set, site};
use havre_model::SiteSet;
use havre_policy::{
    CoalitionSpec, Facts, FactsError, GuaranteeSpec, OperatorFacts, Ownership, PartyKind,
    PlacementPolicy, PolicyError, Share, site_id,
};

fn owner(name: &str, capital: Option<f64>, votes: Option<f64>) -> Ownership {
    let share = |fraction| Share::from_fraction(fraction).expect("a fraction");
    let (capital, votes) = (capital.map(share), votes.map(share));
    Ownership { owner: name.into(), capital, votes, ..Ownership::default() }
}

fn owned(name: &str, owners: Vec<Ownership>) -> OperatorFacts {
    OperatorFacts { owners, ..operator(name) }
}

/// The parties that the first site is exposed to, as `kind:name`.
#[track_caller]
fn check_exposure(
    sites: Vec<havre_policy::SiteFacts>,
    operators: Vec<OperatorFacts>,
    want: &[&str],
) {
    let facts = Facts::new(sites, operators, 0.25).expect("the facts are sound");
    let mut parties: Vec<String> =
        facts.exposure(0).iter().map(|id| facts.party(*id).to_string()).collect();
    parties.sort_unstable();
    assert_eq!(parties, want);
}

#[track_caller]
fn check_refused(operators: Vec<OperatorFacts>, want: &str) {
    let error = Facts::new(vec![site("s", "o", "DE")], operators, 0.25).expect_err("refused");
    assert!(error.to_string().contains(want), "{error}");
}

#[test]
fn a_site_is_exposed_to_its_operator_and_every_jurisdiction_behind_it() {
    let mut run_by = owned("o", vec![owner("Group", Some(0.6), None)]);
    run_by.incorporation = Some("fr".into());
    run_by.headquarters = Some("LU".into());
    run_by.owners[0].jurisdiction = Some("US".into());
    check_exposure(
        vec![site("s", "o", "de")],
        vec![run_by],
        &[
            "jurisdiction:DE",
            "jurisdiction:FR",
            "jurisdiction:LU",
            "jurisdiction:US",
            "operator:o",
            "owner:Group",
        ],
    );
}

#[test]
fn an_owner_counts_by_capital_or_votes_from_the_threshold_on() {
    let owners = vec![
        owner("at", Some(0.25), None),
        owner("below", Some(0.249), Some(0.1)),
        owner("votes", Some(0.01), Some(0.5)),
    ];
    let run_by = owned("o", owners);
    check_exposure(
        vec![site("s", "o", "DE")],
        vec![run_by],
        &["jurisdiction:DE", "operator:o", "owner:at", "owner:votes"],
    );
}

#[test]
fn an_owner_whose_share_is_not_declared_counts() {
    check_exposure(
        vec![site("s", "o", "DE")],
        vec![owned("o", vec![owner("silent", None, None)])],
        &["jurisdiction:DE", "operator:o", "owner:silent"],
    );
}

#[test]
fn an_owner_below_the_threshold_brings_no_jurisdiction() {
    let mut small = owner("small", Some(0.1), None);
    small.jurisdiction = Some("US".into());
    check_exposure(
        vec![site("s", "o", "DE")],
        vec![owned("o", vec![small])],
        &["jurisdiction:DE", "operator:o"],
    );
}

#[test]
fn chains_of_operators_are_followed_and_cycles_end() {
    let mut top = owned("top", vec![owner("o", Some(0.3), None)]);
    top.incorporation = Some("KY".into());
    let middle = owned("middle", vec![owner("Top", Some(1.0), None)]);
    let run_by = owned("o", vec![owner("middle", Some(0.9), None)]);
    check_exposure(
        vec![site("s", "o", "DE")],
        vec![run_by, middle, top],
        &[
            "jurisdiction:DE",
            "jurisdiction:KY",
            "operator:middle",
            "operator:o",
            "operator:top",
            "owner:middle",
            "owner:o",
            "owner:top",
        ],
    );
}

#[test]
fn a_part_of_a_state_answers_to_the_state() {
    let facts = Facts::new(
        vec![site("a", "o", "us-va"), site("b", "o", "US-CA"), site("c", "o", "DE")],
        vec![operator("o")],
        0.25,
    )
    .expect("the facts are sound");
    let reach = |name: &str| {
        let id = facts.party_ids().find(|id| facts.party(*id).to_string() == name);
        facts.reach(id.expect("a party"))
    };
    assert_eq!(reach("jurisdiction:US"), set(&[0, 1]));
    assert_eq!(reach("jurisdiction:US-VA"), set(&[0]));
    assert_eq!(reach("operator:o"), set(&[0, 1, 2]));
}

#[test]
fn spelling_does_not_split_a_party_in_two() {
    let facts = Facts::new(
        vec![site("a", "o", "de"), site("b", "p", "DE")],
        vec![
            owned("o", vec![owner("Group AG", None, None)]),
            owned("p", vec![owner("GROUP ag ", None, None)]),
        ],
        0.25,
    )
    .expect("the facts are sound");
    let shared = facts.party_ids().filter(|id| facts.reach(*id) == set(&[0, 1])).count();
    assert_eq!(shared, 2, "DE and the group: {:?}", facts.parties());
}

#[test]
fn a_position_is_found_by_id_and_only_for_declared_sites() {
    let facts =
        Facts::new(vec![site("a", "o", "DE"), site("b", "o", "DE")], vec![operator("o")], 0.25)
            .expect("the facts are sound");
    assert_eq!(facts.position(site_id("b")), Some(1));
    assert_eq!(facts.site_ids(), [site_id("a"), site_id("b")]);
    assert_eq!(facts.position(site_id("c")), None);
}

#[test]
fn a_site_id_never_changes() {
    // Stored with every blob: this value is SHA-256("havre site\0s1"), first eight bytes.
    assert_eq!(site_id("s1").to_string(), "e6e834780e4cc818");
}

#[test]
fn repeated_operators_are_refused_by_name_lei_and_legal_name() {
    check_refused(vec![operator("o"), operator("O")], "declared twice");
    let lei =
        |name: &str| OperatorFacts { lei: Some("5493001KJTIIGC8Y1R12".into()), ..operator(name) };
    check_refused(vec![lei("o"), lei("p")], "the same LEI");
    let legal = |name: &str, legal: &str| OperatorFacts {
        legal_name: Some(legal.into()),
        ..operator(name)
    };
    check_refused(vec![legal("o", "North SE"), legal("p", "north se")], "the same legal name");
}

#[test]
fn more_than_the_whole_and_repeated_owners_are_refused() {
    let twice = vec![owner("x", Some(0.6), None), owner("y", Some(0.6), None)];
    check_refused(vec![owned("o", twice)], "more than the whole");
    let same = vec![owner("x", Some(0.2), None), owner("X", Some(0.2), None)];
    check_refused(vec![owned("o", same)], "twice");
}

#[test]
fn codes_that_are_none_are_refused() {
    let mut bad = operator("o");
    bad.incorporation = Some("Cayman Islands".into());
    check_refused(vec![bad], "ISO 3166");
}

#[test]
fn sites_without_declared_operator_or_own_name_are_refused() {
    let unknown = Facts::new(vec![site("s", "nobody", "DE")], vec![operator("o")], 0.25);
    let want = FactsError::UnknownOperator { site: "s".into(), operator: "nobody".into() };
    assert_eq!(unknown.expect_err("unknown"), want);
    let twice = vec![site("s", "o", "DE"), site("S", "o", "FR")];
    let error = Facts::new(twice, vec![operator("o")], 0.25).expect_err("one name");
    assert!(matches!(error, FactsError::DuplicateSite { .. }), "{error}");
    let none = Facts::new(vec![], vec![], 0.25).expect_err("no site");
    assert_eq!(none, FactsError::SiteCount { count: 0 });
    let many = (0..65).map(|n| site(&format!("s{n}"), "o", "DE")).collect();
    let error = Facts::new(many, vec![operator("o")], 0.25).expect_err("too many");
    assert_eq!(error, FactsError::SiteCount { count: 65 });
}

#[track_caller]
fn named(names: &[&str]) -> Result<SiteSet, PolicyError> {
    let facts = Facts::new(
        vec![site("a", "Acme", "DE"), site("b", "fr", "FR"), site("c", "third", "IT")],
        vec![operator("Acme"), operator("fr"), owned("third", vec![owner("acme", None, None)])],
        0.25,
    )
    .expect("the facts are sound");
    let names = names.iter().map(ToString::to_string).collect();
    let cannot_read = vec![CoalitionSpec::Named(names)];
    let spec = common::spec(3, 0, GuaranteeSpec { cannot_read, cannot_cut_off: vec![] });
    let policy = PlacementPolicy::new(&facts, spec)?;
    Ok(policy.coalitions().first().map_or(SiteSet::EMPTY, |coalition| coalition.reach))
}

#[test]
fn a_name_alone_is_enough_when_one_party_has_it() {
    assert_eq!(named(&["third"]), Ok(set(&[2])));
    assert_eq!(named(&["de", "Operator:FR"]), Ok(set(&[0, 1])));
}

#[test]
fn a_name_of_several_parties_is_refused_with_their_full_names() {
    let error = named(&["acme"]).expect_err("operator or owner");
    assert!(error.to_string().contains("operator:Acme or owner:Acme"), "{error}");
}

#[test]
fn a_name_of_no_party_is_refused_but_a_jurisdiction_may_be_absent() {
    let error = named(&["Acmee"]).expect_err("nobody");
    assert!(error.to_string().contains("known are operator:Acme"), "{error}");
    assert_eq!(named(&["jurisdiction:US"]), Ok(SiteSet::EMPTY));
    let error = named(&["operator:US"]).expect_err("nobody");
    assert!(matches!(error, PolicyError::UnknownParty { .. }), "{error}");
    assert!(matches!(named(&[]), Err(PolicyError::EmptyCoalition { .. })));
}

#[test]
fn coalitions_read_back_from_their_text() {
    for (text, want) in [
        ("any jurisdiction", CoalitionSpec::AnyOne(PartyKind::Jurisdiction)),
        ("any-operator", CoalitionSpec::AnyOne(PartyKind::Operator)),
        ("Any 1 owner", CoalitionSpec::AnyOne(PartyKind::Owner)),
        ("any 2 operators", CoalitionSpec::AnyOf(PartyKind::Operator, 2)),
        ("operator:any thing", CoalitionSpec::Named(vec!["operator:any thing".into()])),
    ] {
        assert_eq!(CoalitionSpec::parse(text), Ok(want.clone()), "{text}");
        assert_eq!(CoalitionSpec::parse(&want.to_string()), Ok(want), "{text}");
    }
    for text in ["", "any", "any cloud", "any 0 operators", "any two operators", "any 2 3 owners"] {
        assert!(CoalitionSpec::parse(text).is_err(), "{text}");
    }
}
