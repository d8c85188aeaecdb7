//! What `havre exposure` says of a small configuration.

use super::*;
use crate::config::Config;

/// Six sites of three operators in three lands; the gateway stands in the first land.
const SMALL: &str = r#"
[gateway]
data = "data"
root_key_file = "root.key"
default_policy = "main"
[gateway.host]
operator = "own"
location = "XA"
source = "lease <7> & annex"
[[listen]]
address = "127.0.0.1:9000"
[[policy]]
name = "main"
k = 3
m = 3
guarantee = { cannot_read = ["any jurisdiction"], cannot_cut_off = ["any jurisdiction"] }
[[policy]]
name = "thrifty"
k = 4
m = 2
guarantee = { cannot_read = [], cannot_cut_off = ["any operator"] }
[[operator]]
name = "own"
[[operator]]
name = "a"
incorporation = "XA"
[[operator]]
name = "b"
[[operator.owner]]
name = "Big \"Fund\" & Co"
capital = 0.6
jurisdiction = "XD"
source = "register"
date = "2026-01-31"
[[operator]]
name = "c"
[[override]]
operator = "c"
party = "jurisdiction:XE"
answers = true
reason = "a licence"
source = "counsel"
[[override]]
operator = "b"
party = "jurisdiction:XE"
answers = false
reason = "it left"
source = "counsel"
"#;

fn config() -> Config {
    let mut text = SMALL.to_owned();
    for (site, operator, code) in [
        ("a1", "a", "XA"),
        ("a2", "a", "XA"),
        ("b1", "b", "XB"),
        ("b2", "b", "XB"),
        ("c1", "c", "XC"),
        ("c2", "c", "XC"),
    ] {
        text.push_str(&format!(
            "[[site]]\nname = \"{site}\"\nurl = \"memory:\"\noperator = \"{operator}\"\n\
             location = \"{code}\"\n"
        ));
    }
    Config::parse(Path::new("/nowhere/havre.toml"), &text).expect("it is sound")
}

fn ask(changes: &[&str], buckets: &[(&str, &str)]) -> Report {
    let config = config();
    let asked: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let changes: Vec<Change> =
        changes.iter().flat_map(|text| read_changes(text).expect("a change")).collect();
    let bucket = |(bucket, policy): &(&str, &str)| BucketPolicy {
        bucket: (*bucket).to_owned(),
        policy: (*policy).to_owned(),
    };
    let buckets: Vec<BucketPolicy> = buckets.iter().map(bucket).collect();
    report(&config, &asked, &changes, &buckets).expect("a report")
}

#[test]
fn who_sits_with_the_gateway_is_named_first_and_why() {
    let report = ask(&[], &[]);
    let text = table(&report, false);
    let first = text.find("could read with what they have:").expect("a list");
    let line = text[first..].lines().nth(1).expect("a coalition");
    assert_eq!(
        line.trim(),
        "jurisdiction:XA: the gateway's host; 2 shards of a1, a2; the guarantee names it, and is \
         void against it"
    );
    for want in [
        "  the gateway's host\n    operator:own: runs it\n    jurisdiction:XA: it lies there\n",
        "    owner:Big \"Fund\" & Co: owns 60.0 % of b\n",
        "    jurisdiction:XD: Big \"Fund\" & Co owns 60.0 % of b, Big \"Fund\" & Co answers to",
        "    jurisdiction:XE: an override says that c answers to it: a licence\n",
        "  operator c answers to jurisdiction:XE: a licence [counsel]\n",
        "  operator b does not answer to jurisdiction:XE: it left [counsel] (the facts say so",
        "has 60.0 % of the capital of b, and answers to XD [register, 2026-01-31]\n",
        "the gateway's host is run by own, lies in XA, has plaintext, keys and the sites'",
        "policy main: the guarantee names jurisdiction:XA, which has the gateway or the key",
        "the override that operator b does not answer to jurisdiction:XE changes nothing",
        "a write is acknowledged with 5 of 6 shards",
    ] {
        assert!(text.contains(want), "{want:?} is missing in:\n{text}");
    }
}

#[test]
fn buckets_stand_with_their_policy_and_those_of_a_lost_one_with_the_strictest() {
    let report = ask(&[], &[("one", ""), ("two", "thrifty"), ("three", "gone")]);
    assert_eq!(report.policies[0].buckets, ["one", "three"]);
    assert_eq!(report.policies[1].buckets, ["two"]);
}

#[test]
fn json_has_every_coalition_with_its_members_and_every_fact_with_its_source() {
    let json = serde_json::to_value(ask(&[], &[("one", "")])).expect("it is JSON");
    let main = &json["policies"][0];
    assert_eq!(
        (main["geometry"].as_str(), main["buckets"][0].as_str()),
        (Some("3+3"), Some("one"))
    );
    let read = &main["could_read"]["coalitions"][0];
    assert_eq!(read["guarantee"], "void");
    assert_eq!(read["members"][0][0], "jurisdiction:XA");
    assert_eq!(read["sites"][1], "a2");
    // Three pairs of lands, each with whoever reaches the same; XA has the host, its operator not.
    assert_eq!(main["could_read_with_key"]["coalitions"].as_array().map(Vec::len), Some(5));
    assert_eq!(main["could_read_with_key"]["complete_up_to_members"], serde_json::Value::Null);
    let steps = &json["sites"][2]["parties"][1]["because"][0]["steps"];
    assert_eq!(steps[0]["source"], "register");
    assert_eq!(json["overrides"][1]["changes_the_answer"], false);
}

#[test]
fn what_would_be_is_answered_and_a_promise_that_would_break_is_told() {
    let report = ask(&["remove-site=a1"], &[]);
    let refused = report.policies[0].refused.as_deref().expect("five sites for six shards");
    assert!(refused.contains("only 5 sites are eligible"), "{refused}");
    assert!(table(&report, false).contains("what if: remove-site=a1"));
    // A law that reaches the operators of two lands.
    let report = ask(&["add-law=b:XF", "add-law=c:XF"], &[]);
    let refused = report.policies[0].refused.as_deref().expect("XF reaches four sites");
    assert!(refused.contains("jurisdiction:XF could read"), "{refused}");
    let report = ask(&["add-alliance=two:XB,XC"], &[]);
    let lists = report.policies[0].exposure.as_ref().expect("alliances are not in the guarantee");
    assert_eq!(lists.could_read_with_key.coalitions[0].members[0], ["alliance:two"]);
    // Nothing was kept.
    assert!(config().facts().alliances().is_empty());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("if.toml");
    std::fs::write(
        &file,
        "[remove]\nsites = [\"a1\"]\n[[site]]\nname = \"d1\"\noperator = \"d\"\n\
                           location = \"XG\"\n[[operator]]\nname = \"d\"\n",
    )
    .expect("written");
    let report = ask(&[file.to_str().expect("a path")], &[]);
    assert!(report.policies[0].refused.is_none());
    assert_eq!(report.sites[5].site, "d1");
    assert!(read_changes("remove-site").is_err());
}

#[test]
fn facts_that_would_not_be_sound_are_refused_with_the_reason() {
    let changes = read_changes("add-site=d1:nobody:XD").expect("a change");
    let error = report(&config(), &[], &changes, &[]).expect_err("nobody is not declared");
    assert!(error.to_string().contains("names operator \"nobody\""), "{error}");
}

#[test]
fn the_drawing_is_well_formed_and_runs_nothing() {
    let svg = draw(&ask(&["remove-site=a1"], &[]));
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(svg.contains("owner:Big &quot;Fund&quot; &amp; Co"), "{svg}");
    assert!(svg.contains("policy main would be refused"), "{svg}");
    for never in ["<script", "href", "onload", "javascript", "<foreignObject", "Big \"Fund"] {
        assert!(!svg.contains(never), "{never}");
    }
    check_well_formed(&svg);
    check_well_formed(&draw(&ask(&[], &[])));
}

/// Tags nest and close, and no bare `<` or `&` is left in text.
fn check_well_formed(svg: &str) {
    let mut open = Vec::new();
    for (place, _) in svg.match_indices('&') {
        let name = svg[place + 1..].split(';').next().expect("there is a first");
        assert!(["amp", "lt", "gt", "quot"].contains(&name), "{name}");
    }
    for tag in svg.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("the tag ends");
        match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name.to_owned())),
            (None, true) => {}
            (None, false) => {
                open.push(tag.split_whitespace().next().expect("a name").to_owned());
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn twenty_sites_and_sixty_parties_are_answered_within_a_moment() {
    let mut text = SMALL.replace("operator = \"c\"\nparty", "operator = \"o1\"\nparty");
    text = text.replace("operator = \"b\"\nparty", "operator = \"o2\"\nparty");
    text = text.replace("k = 3\nm = 3", "k = 6\nm = 6").replace("k = 4\nm = 2", "k = 6\nm = 4");
    for n in 0..20 {
        text.push_str(&format!(
            "[[operator]]\nname = \"o{n}\"\nincorporation = \"Y{}\"\nheadquarters = \"Z{}\"\n\
             [[site]]\nname = \"s{n}\"\nurl = \"memory:\"\noperator = \"o{n}\"\n\
             location = \"W{}\"\n",
            char::from(b'A' + n % 15),
            char::from(b'A' + n % 15),
            char::from(b'A' + n % 10),
        ));
    }
    let config = Config::parse(Path::new("/nowhere/havre.toml"), &text).expect("it is sound");
    let report = report(&config, &[], &[], &[]).expect("a report");
    assert!(report.sites.len() == 20 && config.facts().parties().len() >= 60);
    // Steps are counted where they are taken; here it is only that nothing else grows.
    let lists = report.policies.iter().filter_map(|policy| policy.exposure.as_ref());
    assert!(lists.map(|lists| lists.could_cut_off.coalitions.len()).sum::<usize>() > 100);
    assert!(table(&report, false).len() < 200_000);
    assert!(draw(&report).len() < 500_000);
}
