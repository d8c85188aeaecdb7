//! What would be if: one change at a time.

use crate::common::{any_jurisdiction, spec, two_in_each};
use havre_policy::{Change, Declared, Facts, PlacementPolicy, PolicySpec};

fn ask(text: &str) -> Result<(Declared, Vec<PolicySpec>), String> {
    let mut declared = two_in_each(3).declared().clone();
    let mut policy = spec(3, 3, any_jurisdiction());
    policy.sites = Some((1..=6).map(|n| format!("s{n}")).collect());
    let mut policies = vec![policy];
    let change = Change::parse(text).map_err(|error| error.to_string())?;
    change.apply(&mut declared, &mut policies).map_err(|error| error.to_string())?;
    Ok((declared, policies))
}

/// The sites that the party reaches after the change.
#[track_caller]
fn check(text: &str, party: &str, want: &[&str]) {
    let (declared, _) = ask(text).expect("a change");
    let facts = Facts::declare(declared).expect("sound");
    let party = facts.named(party).first().map(|id| facts.reach(*id)).unwrap_or_default();
    let sites: Vec<&str> = party.iter().map(|at| facts.sites()[at].name.as_str()).collect();
    assert_eq!(sites, want, "{text}");
}

#[test]
fn sites_owners_laws_and_alliances_come_and_go() {
    check("remove-site=S1", "jurisdiction:XA", &["s2"]);
    check("add-site=s7:o0:XA", "jurisdiction:XA", &["s1", "s2", "s7"]);
    check("add-owner=o0:Big Fund:60%:XD", "jurisdiction:XD", &["s1", "s6"]);
    check("add-owner=o0:Big Fund:10", "owner:Big Fund", &[]);
    check("add-law=o1:XD", "jurisdiction:XD", &["s2", "s3"]);
    check("add-alliance=two:XA,xb", "alliance:two", &["s1", "s2", "s3", "s4"]);
    check("control=majority", "jurisdiction:XA", &["s1", "s2"]);
}

#[test]
fn a_removed_site_is_gone_from_the_policies_too() {
    let (declared, mut policies) = ask("remove-site=s6").expect("a change");
    let facts = Facts::declare(declared).expect("sound");
    let policy = policies.remove(0);
    assert_eq!(policy.sites.as_ref().map(Vec::len), Some(5));
    let error = PlacementPolicy::new(&facts, policy).expect_err("five sites for six shards");
    assert!(error.to_string().contains("only 5 sites"), "{error}");
}

#[test]
fn what_is_gone_twice_or_makes_no_sense_is_refused() {
    for (text, want) in [
        ("remove-site=s9", "site \"s9\" is not declared"),
        ("remove-owner=o0:Nobody", "owner \"Nobody\" is not declared"),
        ("remove-owner=o9:Nobody", "operator \"o9\" is not declared"),
        ("remove-alliance=none", "alliance \"none\" is not declared"),
        ("add-owner=o0:Fund:120", "is no change"),
        ("add-owner=o0:Fund:-1", "is no change"),
        ("add-owner=o0:Fund:NaN", "is no change"),
        ("add-site=s7:o0", "is no change"),
        ("add-site=s7::XA", "is no change"),
        ("remove-site", "is no change"),
        ("", "is no change"),
    ] {
        let error = ask(text).expect_err(text);
        assert!(error.contains(want), "{text}: {error}");
    }
}
