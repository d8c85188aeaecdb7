//! Configurations in which an item flips for a reason that is computed.

use super::*;
use std::path::Path;

/// What a test changes of a configuration that shows everything: six sites of three operators in
/// three member states, each wholly owned at home, and a gateway of one's own in France.
struct Trial {
    /// Operator's name, its law and lead, its owners as TOML.
    operators: Vec<(&'static str, &'static str, String)>,
    /// Site's operator and location.
    sites: Vec<(&'static str, &'static str)>,
    host: &'static str,
    administrators: &'static str,
    listener: &'static str,
    geometry: (u8, u8),
    guarantee: &'static str,
    rest: String,
    mode: Option<u32>,
}

fn owner(name: &str, capital: f64, votes: f64, code: &str) -> String {
    format!(
        "[[operator.owner]]\nname = \"{name}\"\ncapital = {capital}\nvotes = {votes}\njurisdiction \
         = \"{code}\"\nsource = \"register of {name}\"\ndate = \"2026-01-31\"\n"
    )
}

impl Trial {
    fn sound() -> Self {
        let whole = |name: &str, code: &str| owner(name, 1.0, 1.0, code);
        Self {
            operators: vec![
                ("ours", "FR", whole("our members", "FR")),
                ("alpha", "DE", whole("alpha's founders", "DE")),
                ("beta", "FI", whole("beta's founders", "FI")),
                ("gamma", "PT", whole("gamma's founders", "PT")),
            ],
            sites: vec![
                ("alpha", "DE"),
                ("alpha", "DE"),
                ("beta", "FI"),
                ("beta", "FI"),
                ("gamma", "PT"),
                ("gamma", "PT"),
            ],
            host: "[gateway.host]\noperator = \"ours\"\nlocation = \"FR\"\nsource = \"lease\"\n",
            administrators: "[[administrator]]\nname = \"duty\"\nemployer = \"ours\"\n\
                             jurisdictions = [\"FR\"]\n",
            listener: "address = \"127.0.0.1:9000\"",
            geometry: (3, 3),
            guarantee: "{ cannot_read = [], cannot_cut_off = [] }",
            rest: String::new(),
            mode: Some(0o600),
        }
    }

    /// With this operator, instead of the one of its name.
    fn with(mut self, name: &'static str, code: &'static str, owners: String) -> Self {
        self.operators.retain(|(other, _, _)| *other != name);
        self.operators.push((name, code, owners));
        self
    }

    fn config(&self) -> Config {
        let Self { host, administrators, listener, geometry: (k, m), guarantee, rest, .. } = self;
        let mut text = format!(
            "[gateway]\ndata = \"data\"\nroot_key_file = \"root.key\"\ndefault_policy = \
             \"main\"\n{host}[[listen]]\n{listener}\n[[tenant]]\nname = \
             \"t\"\n[[credential]]\naccess_key = \"AKTRIAL000000001\"\ntenant = \
             \"t\"\nsecret_env = \"NONE\"\n{administrators}[[policy]]\nname = \"main\"\nk = {k}\nm \
             = {m}\nguarantee = {guarantee}\n"
        );
        for (name, code, owners) in &self.operators {
            let law = match *code {
                "" => String::new(),
                code => format!("incorporation = \"{code}\"\nheadquarters = \"{code}\"\n"),
            };
            text.push_str(&format!("[[operator]]\nname = \"{name}\"\n{law}{owners}"));
        }
        for (place, (operator, code)) in self.sites.iter().enumerate() {
            text.push_str(&format!(
                "[[site]]\nname = \"s{place}\"\nurl = \"memory:\"\noperator = \
                 \"{operator}\"\nlocation = \"{code}\"\nsource = \"contract\"\n"
            ));
        }
        text.push_str(rest);
        Config::parse(Path::new("/nowhere/havre.toml"), &text).expect("it is sound")
    }

    fn report(&self, pack: &str) -> PackReport {
        let observed = Observed { root_key_mode: self.mode };
        assess(&self.config(), observed, find(pack).expect("a pack")).expect("an answer")
    }

    fn verdict(&self, pack: &str, id: &str) -> Verdict {
        let report = self.report(pack);
        let item = report.items.into_iter().find(|item| item.id == id);
        item.unwrap_or_else(|| panic!("{pack} has no item {id}")).verdict
    }

    /// The verdict's word, then the facts, what is missing, what would change it, or the question.
    #[track_caller]
    fn check(&self, pack: &str, id: &str, word: &str, parts: &[&str]) {
        let verdict = self.verdict(pack, id);
        let json = serde_json::to_value(&verdict).expect("it is JSON");
        let text = serde_json::to_string_pretty(&verdict).expect("it is JSON");
        assert_eq!(json["verdict"], word, "{id}: {text}");
        for part in parts {
            assert!(text.contains(part), "{id}: {part:?} is missing in {text}");
        }
    }
}

const CISA: &str = "cisa-restricted-transactions";
const EDPB: &str = "edpb-01-2020";
const SNC: &str = "secnumcloud-19.6";
const ACT: &str = "data-act";
const NIST: &str = "nist-sa-9";

#[test]
fn half_in_the_aggregate_by_two_covered_owners_makes_a_covered_person() {
    let owners = |first: f64, second: f64| {
        let home = 1.0 - first - second;
        owner("Dragon", first, first, "CN")
            + &owner("Bear", second, second, "RU")
            + &owner("home", home, home, "DE")
    };
    Trial::sound().with("alpha", "DE", owners(0.25, 0.25)).check(
        CISA,
        "202.211",
        "not_satisfied",
        &[
            "Dragon owns 25.0 % of alpha",
            "(50.0 % together)",
            "register of Dragon; register of Bear",
        ],
    );
    Trial::sound().with("alpha", "DE", owners(0.25, 0.24)).check(
        CISA,
        "202.211",
        "satisfied",
        &["site s0 lies in DE and is run by alpha"],
    );
}

#[test]
fn control_passes_through_a_holding_that_is_itself_held_by_half() {
    let through = |percent: f64| {
        let mut trial = Trial::sound().with("alpha", "DE", owner("holding", 0.5, 0.5, "DE"));
        trial.operators[3].2 += &owner("home", 0.5, 0.5, "DE");
        let held = owner("Dragon", percent, percent, "CN");
        trial.with("holding", "DE", held + &owner("away", 1.0 - percent, 1.0 - percent, "DE"))
    };
    through(0.5).check(CISA, "202.211", "not_satisfied", &["Dragon"]);
    through(0.49).check(CISA, "202.211", "satisfied", &[]);
}

#[test]
fn what_is_not_declared_of_an_owner_is_not_taken_for_harmless() {
    let rest = owner("home", 0.5, 0.5, "DE");
    Trial::sound().with("alpha", "DE", rest).check(
        CISA,
        "202.211",
        "not_satisfied",
        &["of site s0: operator alpha: who has the other 50.0 % of the capital and 50.0 %"],
    );
    let more = owner("home", 0.51, 0.51, "DE");
    Trial::sound().with("alpha", "DE", more).check(CISA, "202.211", "satisfied", &[]);
    let nowhere = owner("home", 1.0, 1.0, "DE").replace("jurisdiction = \"DE\"\n", "");
    Trial::sound().with("alpha", "DE", nowhere).check(
        CISA,
        "202.211",
        "not_satisfied",
        &["of site s0: owner home: jurisdiction"],
    );
    Trial::sound().with("alpha", "", owner("home", 1.0, 1.0, "DE")).check(
        CISA,
        "202.211",
        "not_satisfied",
        &["operator alpha: incorporation", "operator alpha: headquarters"],
    );
}

#[test]
fn a_key_service_in_a_country_of_concern_has_the_key_and_reads_with_k_shards() {
    let mut trial = Trial::sound();
    trial.host = "[gateway.host]\noperator = \"ours\"\nlocation = \"FR\"\n\
                  [gateway.key_service]\noperator = \"ours\"\nlocation = \"HK\"\n";
    trial.check(
        CISA,
        "II.B (keys abroad)",
        "not_satisfied",
        &["the key service", "HK is a member"],
    );
    trial.check(CISA, "II", "satisfied", &["hold at most 0 of 6 shards"]);
    for site in &mut trial.sites[..3] {
        site.1 = "CN";
    }
    trial.check(CISA, "II", "not_satisfied", &["the key service"]);
    trial.host = Trial::sound().host;
    trial.check(CISA, "II", "satisfied", &["hold at most 3 of 6 shards"]);
    trial.check(CISA, "II.B (keys abroad)", "satisfied", &["root key: file", "mode 0600"]);
}

#[test]
fn a_gateway_that_nobody_declared_satisfies_nothing_about_keys() {
    let mut trial = Trial::sound();
    trial.host = "";
    for (pack, id) in [
        (CISA, "II"),
        (CISA, "II.B (keys abroad)"),
        (CISA, "II.B (keys beside data)"),
        (EDPB, "Use case 6"),
        (EDPB, "Step 1"),
        (SNC, "19.6 a (seat and administration)"),
        (SNC, "19.6 b (capital and votes)"),
        (SNC, "19.6 c"),
        (ACT, "Art. 32"),
        (NIST, "SA-9(6)"),
        (NIST, "SA-9(8)"),
    ] {
        trial.check(pack, id, "not_satisfied", &["[gateway.host]"]);
    }
    let mut trial = Trial::sound();
    trial.administrators = "";
    trial.check(EDPB, "Use case 7 (administrators)", "not_satisfied", &["[[administrator]]"]);
    trial.check(CISA, "I.B (who has access)", "not_satisfied", &["[[administrator]]"]);
}

#[test]
fn an_operator_of_sites_that_runs_the_gateway_has_the_key_beside_the_data() {
    let mut trial = Trial::sound();
    for (pack, id) in [(CISA, "II.B (keys beside data)"), (NIST, "SA-9(6)")] {
        trial.check(pack, id, "satisfied", &["ours"]);
    }
    trial.host = "[gateway.host]\noperator = \"alpha\"\nlocation = \"FR\"\n";
    for (pack, id) in [(CISA, "II.B (keys beside data)"), (NIST, "SA-9(6)")] {
        let want = "operator:alpha has the gateway's host and stands behind s0, s1";
        trial.check(pack, id, "not_satisfied", &[want]);
    }
}

#[test]
fn a_root_key_that_others_may_use_is_not_under_exclusive_control() {
    let mut trial = Trial::sound();
    trial.mode = Some(0o640);
    trial.check(NIST, "SA-9(6)", "not_satisfied", &["mode 0640"]);
    trial.mode = None;
    trial.check(NIST, "SA-9(6)", "not_satisfied", &["ask on the gateway's host"]);
    trial.mode = Some(0o600);
    trial.check(NIST, "SA-9(6)", "satisfied", &["mode 0600"]);
}

#[test]
fn a_listener_in_the_clear_is_no_encryption_on_the_way() {
    let mut trial = Trial::sound();
    for (pack, id) in [(CISA, "II.B (encryption)"), (EDPB, "Use case 3")] {
        trial.check(pack, id, "satisfied", &["in the clear, on this machine only"]);
    }
    trial.listener = "address = \"0.0.0.0:9000\"";
    for (pack, id) in [(CISA, "II.B (encryption)"), (EDPB, "Use case 3")] {
        trial.check(pack, id, "not_satisfied", &["in the clear at 0.0.0.0:9000"]);
    }
    trial.listener = "address = \"0.0.0.0:9000\"\ntls = { self_signed = true }";
    trial.check(CISA, "II.B (encryption)", "satisfied", &["with TLS"]);
}

#[test]
fn a_site_whose_scheme_is_not_shown_is_not_taken_for_one_with_tls() {
    let far = |endpoint: &str| {
        let mut trial = Trial::sound();
        trial.rest = format!(
            "[[site]]\nname = \"far\"\nurl = \"s3://bucket\"\noperator = \"gamma\"\nlocation = \
             \"PT\"\n[site.options]\nregion = \"r\"\nendpoint = {endpoint}\n"
        );
        trial
    };
    let id = "II.B (encryption)";
    far("\"https://far.example\"").check(CISA, id, "satisfied", &["site far is reached with TLS"]);
    let clear = far("\"http://far.example\"");
    clear.check(CISA, id, "not_satisfied", &["site far is reached without TLS"]);
    let hidden = far("{ env = \"FAR\" }");
    hidden.check(CISA, id, "not_satisfied", &["site far: its endpoint in plain"]);
}

#[test]
fn the_shards_that_rest_on_what_is_undeclared_are_told_apart() {
    let trial = Trial::sound().with("beta", "", String::new());
    let want = "hold at most 0 of 6 shards (2 if what is undeclared is theirs); 3 decode";
    trial.check(CISA, "II", "satisfied", &[want]);
}

#[test]
fn a_quarter_of_the_capital_outside_the_union_is_too_much_for_secnumcloud() {
    let provider = |outside: &[f64]| {
        let mut owners = String::new();
        for (place, share) in outside.iter().enumerate() {
            owners += &owner(&format!("abroad {place}"), *share, *share, "US");
        }
        let home = 1.0 - outside.iter().sum::<f64>();
        Trial::sound().with("ours", "FR", owners + &owner("home", home, home, "FR"))
    };
    let id = "19.6 b (capital and votes)";
    provider(&[0.25]).check(SNC, id, "not_satisfied", &["abroad 0 owns 25.0 % of ours"]);
    provider(&[0.24]).check(SNC, id, "satisfied", &["abroad 0 (24.0 %, US)"]);
    provider(&[0.2, 0.2]).check(SNC, id, "not_satisfied", &["(40.0 % together)"]);
    provider(&[0.2, 0.19]).check(SNC, id, "satisfied", &[]);
    // The seat is another letter, and these owners say nothing of it.
    let seat = "19.6 a (seat and administration)";
    provider(&[0.25]).check(SNC, seat, "satisfied", &["incorporated in FR; led from FR"]);
    let away = Trial::sound().with("ours", "CH", owner("home", 1.0, 1.0, "FR"));
    away.check(SNC, seat, "not_satisfied", &["ours is incorporated there, CH is a member"]);
    away.check(SNC, id, "satisfied", &[]);
}

#[test]
fn votes_that_are_not_declared_may_be_anybodys_for_secnumcloud_only() {
    let capital = owner("home", 1.0, 1.0, "FR").replace("votes = 1\n", "");
    let trial = Trial::sound().with("ours", "FR", capital);
    let want = "who has the other 0.0 % of the capital and 100.0 % of the votes";
    trial.check(SNC, "19.6 b (capital and votes)", "not_satisfied", &[want]);
    trial.check(CISA, "202.211", "satisfied", &[]);
}

#[test]
fn who_is_not_declared_may_be_whoever_is_declared_elsewhere() {
    // Two shards are alpha's, and nobody knows whose beta is.
    let mut trial = Trial::sound();
    trial.sites = vec![
        ("alpha", "DE"),
        ("alpha", "DE"),
        ("beta", "FI"),
        ("gamma", "PT"),
        ("delta", "ES"),
        ("epsilon", "IE"),
    ];
    let whole = |name: &str, code: &str| owner(name, 1.0, 1.0, code);
    trial = trial.with("delta", "ES", whole("d", "ES")).with("epsilon", "IE", whole("e", "IE"));
    trial.check(EDPB, "Use case 5", "satisfied", &[]);
    for (pack, id) in [(NIST, "SA-9(6)"), (CISA, "II.B (keys beside data)")] {
        trial.check(pack, id, "satisfied", &[]);
    }
    trial = trial.with("beta", "FI", String::new());
    let want = "operator beta: who has the other 100.0 % of the capital";
    trial.check(EDPB, "Use case 5", "not_satisfied", &[want]);
    for (pack, id) in [(NIST, "SA-9(6)"), (CISA, "II.B (keys beside data)")] {
        trial.check(pack, id, "not_satisfied", &[want]);
    }
    trial.check(ACT, "Art. 23 (several at a time)", "satisfied", &[]);
    for (name, code) in [("alpha", "DE"), ("gamma", "PT"), ("delta", "ES"), ("epsilon", "IE")] {
        trial = trial.with(name, code, String::new());
    }
    trial.check(ACT, "Art. 23 (several at a time)", "not_satisfied", &[want]);
}

#[test]
fn a_fact_without_a_source_does_not_borrow_the_lists() {
    let mut trial = Trial::sound();
    trial.sites[0].1 = "BR";
    trial.check(EDPB, "Step 1", "satisfied", &["\"source\": \"contract\""]);
    let owners = owner("Dragon", 1.0, 1.0, "CN").replace("source = \"register of Dragon\"\n", "");
    let verdict = Trial::sound().with("alpha", "DE", owners).verdict(CISA, "202.211");
    let Verdict::NotSatisfied { facts, .. } = verdict else { panic!("{verdict:?}") };
    assert!(facts.iter().all(|fact| fact.source.is_none()), "{facts:?}");
}

#[test]
fn a_holding_whose_law_is_not_declared_may_be_anywhere() {
    let id = "19.6 b (capital and votes)";
    let trial = |code: &'static str| {
        let holding = Trial::sound().with("holding", code, owner("heirs", 1.0, 1.0, "FR"));
        let whole = "[[operator.owner]]\nname = \"holding\"\ncapital = 1\nvotes = 1\n".to_owned();
        holding.with("ours", "FR", whole)
    };
    trial("").check(SNC, id, "not_satisfied", &["operator holding: incorporation"]);
    trial("FR").check(SNC, id, "satisfied", &["owned by holding (100.0 %)"]);
    trial("US").check(SNC, id, "not_satisfied", &["holding owns 100.0 % of ours"]);
}

#[test]
fn an_override_that_frees_an_operator_stands_among_the_facts() {
    let trial = || Trial::sound().with("alpha", "DE", owner("Dragon", 1.0, 1.0, "CN"));
    trial().check(CISA, "202.211", "not_satisfied", &["Dragon"]);
    let mut freed = trial();
    freed.rest = "[[override]]\noperator = \"alpha\"\nparty = \"jurisdiction:CN\"\nanswers = \
                  false\nreason = \"a trustee\"\nsource = \"deed\"\n"
        .to_owned();
    let want = "an override says that it does not answer to jurisdiction:CN: a trustee [deed]";
    freed.check(CISA, "202.211", "satisfied", &[want]);
}

#[test]
fn a_stated_veto_is_held_against_the_provider_and_else_it_is_asked_for() {
    let id = "19.6 b (veto and appointments)";
    let mut trial = Trial::sound();
    trial.check(SNC, id, "organisation", &["veto"]);
    trial.rest = "[[override]]\noperator = \"ours\"\nparty = \"jurisdiction:US\"\nanswers = \
                  true\nreason = \"a golden share\"\nsource = \"articles\"\n"
        .to_owned();
    trial.check(SNC, id, "not_satisfied", &["a golden share", "articles"]);
}

#[test]
fn sites_outside_the_union_may_be_lost_up_to_the_parity() {
    let mut trial = Trial::sound();
    trial.check(SNC, "19.6 d", "not_applicable", &["site s5 lies in PT"]);
    for site in &mut trial.sites[..3] {
        site.1 = "US";
    }
    trial.check(SNC, "19.6 d", "satisfied", &["hold at most 3 of 6 shards"]);
    trial.geometry = (4, 2);
    trial.check(SNC, "19.6 d", "not_satisfied", &["3 of 6 shards may be left, and 4 are needed"]);
    trial.check(SNC, "19.6 c", "satisfied", &["hold at most 3 of 6 shards"]);
}

#[test]
fn all_sites_in_one_country_are_not_split() {
    let mut trial = Trial::sound();
    let id = "Use case 5";
    trial.check(EDPB, id, "satisfied", &["alone reaches", "holds at most 2 of 6 shards; 3 decode"]);
    for site in &mut trial.sites {
        site.1 = "DE";
    }
    trial.check(EDPB, id, "not_satisfied", &["jurisdiction:DE alone", "at most 6 of 6 shards"]);
    // An alliance is one who puts the parts together.
    let mut trial = Trial::sound();
    trial.rest = "[[alliance]]\nname = \"two\"\nmembers = [\"DE\", \"FI\"]\n".to_owned();
    trial.check(EDPB, id, "not_satisfied", &["alliance:two alone reaches s0, s1, s2, s3"]);
    // The policy keeps it from them.
    trial.sites.extend([("gamma", "ES"), ("gamma", "ES"), ("gamma", "ES")]);
    trial.guarantee = "{ cannot_read = [\"any alliance\"], cannot_cut_off = [] }";
    trial.geometry = (5, 1);
    trial.check(EDPB, id, "not_satisfied", &["operator:gamma alone"]);
    trial.guarantee = "{ cannot_read = [\"any alliance\", \"any owner\"], cannot_cut_off = [] }";
    trial.check(EDPB, id, "satisfied", &[]);
}

#[test]
fn keys_that_stay_in_the_area_make_storage_outside_it_a_backup() {
    let mut trial = Trial::sound();
    let id = "Use case 1";
    trial.check(EDPB, id, "not_applicable", &["no site"]);
    trial.sites[0].1 = "BR";
    trial.check(EDPB, id, "satisfied", &["root key: file", "site s0: third countries: it lies"]);
    trial.check(EDPB, "Step 1", "satisfied", &["BR is a member"]);
    trial.check(EDPB, "Step 2", "organisation", &["adequacy", "third countries: BR"]);
    trial.administrators =
        "[[administrator]]\nname = \"duty\"\nemployer = \"ours\"\njurisdictions = [\"IN\"]\n";
    trial.check(EDPB, id, "not_satisfied", &["administrator duty", "IN is a member"]);
    trial.check(EDPB, "Use case 7 (administrators)", "not_satisfied", &["IN is a member"]);
    trial.check(EDPB, "Use case 6", "satisfied", &["the gateway's host"]);
    trial.host = "[gateway.host]\noperator = \"ours\"\nlocation = \"IN\"\n";
    trial.check(EDPB, "Use case 6", "not_satisfied", &["no technical measure"]);
    // Norway is no third country, and is outside the Union.
    let mut trial = Trial::sound();
    trial.sites[0].1 = "NO";
    trial.check(EDPB, id, "not_applicable", &["in NO"]);
    trial.check(SNC, "19.6 d", "satisfied", &["hold at most 1 of 6 shards"]);
}

#[test]
fn an_operator_with_more_sites_than_parity_cannot_be_left() {
    let mut trial = Trial::sound();
    let id = "Art. 23 (leaving one)";
    trial.check(ACT, id, "satisfied", &["without operator:alpha at least 4 of 6 shards are left"]);
    trial.geometry = (4, 2);
    trial.check(ACT, id, "satisfied", &["at least 4 of 6 shards are left, and 4 decode"]);
    trial.geometry = (5, 1);
    trial.check(ACT, id, "not_satisfied", &["without operator:beta at least 4 of 6 shards"]);
    // With sites to spare, what one held has a place at the others.
    let mut trial = Trial::sound();
    trial.check(ACT, id, "satisfied", &["without operator:alpha there is no place for every"]);
    trial.sites.extend([("beta", "FI"), ("gamma", "PT")]);
    trial.check(ACT, id, "satisfied", &["without operator:alpha there is a place for every"]);
}

#[test]
fn operators_of_one_owner_are_not_several_providers() {
    let mut trial = Trial::sound();
    let id = "Art. 23 (several at a time)";
    trial.check(ACT, id, "satisfied", &["operator:alpha, operator:beta, operator:gamma"]);
    for (name, code) in [("alpha", "DE"), ("beta", "FI"), ("gamma", "PT")] {
        trial = trial.with(name, code, owner("Group", 0.3, 0.3, "DE"));
    }
    trial.check(ACT, id, "not_satisfied", &["owner:Group stands behind every site"]);
}

#[test]
fn a_tenant_without_a_credential_cannot_take_its_data_along() {
    let mut trial = Trial::sound();
    let id = "Art. 23 (taking the data along)";
    trial.check(ACT, id, "satisfied", &["tenant t has 1 credentials"]);
    trial.rest = "[[tenant]]\nname = \"mute\"\n".to_owned();
    trial.check(ACT, id, "not_satisfied", &["tenant mute has 0 credentials"]);
}

#[test]
fn a_state_outside_with_the_host_reads_what_is_held_in_the_union() {
    let mut trial = Trial::sound();
    trial.check(ACT, "Art. 32", "satisfied", &["hold at most 0 of 6 shards"]);
    // By the default rule a quarter is enough, in the aggregate.
    let owners = owner("abroad", 0.25, 0.25, "US") + &owner("home", 0.75, 0.75, "FR");
    trial = trial.with("ours", "FR", owners);
    trial.check(ACT, "Art. 32", "not_satisfied", &["abroad owns 25.0 % of ours"]);
    trial.rest = "[exposure]\ncontrol = \"majority\"\n".to_owned();
    trial.check(ACT, "Art. 32", "satisfied", &[]);
}

#[test]
fn a_territory_is_within_and_any_other_place_is_not() {
    let mut trial = Trial::sound();
    trial.sites = vec![("alpha", "US-VA"), ("beta", "PR"), ("gamma", "US")];
    trial.geometry = (2, 1);
    trial.host = "[gateway.host]\noperator = \"ours\"\nlocation = \"US\"\n";
    trial.check(NIST, "SA-9(8)", "satisfied", &["site s1 lies in PR"]);
    trial.sites[2].1 = "CA";
    trial.check(NIST, "SA-9(8)", "not_satisfied", &["site s2 lies in CA"]);
    trial.sites[2].1 = "US";
    trial.host = "[gateway.host]\noperator = \"ours\"\n";
    trial.check(NIST, "SA-9(8)", "not_satisfied", &["[gateway.host]: location"]);
}

#[test]
fn how_much_scrub_reads_stands_with_the_check_of_integrity() {
    let mut trial = Trial::sound();
    let id = "SA-9(7)";
    trial.check(NIST, id, "satisfied", &["one chunk of every shard", "a cycle of 168 hours"]);
    trial.rest = "[limits]\nscrub_whole = true\nscrub_cycle_hours = 24\n".to_owned();
    trial.check(NIST, id, "satisfied", &["every byte of every shard", "a cycle of 24 hours"]);
}

#[test]
fn every_item_has_a_source_and_every_decision_its_facts() {
    let mut bare = Trial::sound();
    bare.host = "";
    bare.administrators = "";
    bare = bare.with("alpha", "", String::new());
    let mut abroad = Trial::sound();
    abroad.host = "[gateway.host]\noperator = \"alpha\"\nlocation = \"CN\"\n";
    abroad.listener = "address = \"0.0.0.0:9000\"";
    for site in &mut abroad.sites {
        site.1 = "CN";
    }
    for trial in [Trial::sound(), bare, abroad] {
        for pack in PACKS {
            let report = trial.report(pack.name);
            let mut ids: Vec<&str> = report.items.iter().map(|item| item.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), pack.items.len(), "{}: an id stands there twice", pack.name);
            assert!(!pack.document.is_empty() && !pack.scope.is_empty());
            for list in pack.lists {
                assert!(!list.codes.is_empty() && !list.source.is_empty() && list.date.len() == 10);
            }
            for item in report.items {
                let whole = format!("{}, {}: {:?}", pack.name, item.id, item.verdict);
                assert!(!item.asks.is_empty() && !item.source.is_empty(), "{whole}");
                let (facts, words) = match &item.verdict {
                    Verdict::Satisfied { facts } => (facts, "-"),
                    Verdict::NotSatisfied { facts, what_would_change_it, .. } => {
                        (facts, what_would_change_it.as_str())
                    }
                    Verdict::NotApplicable { why, facts } => (facts, why.as_str()),
                    Verdict::Organisation { question, .. } => {
                        assert!(question.contains('?'), "{whole}");
                        continue;
                    }
                };
                assert!(!facts.is_empty() && !words.is_empty(), "{whole}");
                assert!(facts.iter().all(|fact| !fact.fact.is_empty()), "{whole}");
            }
        }
    }
}

#[test]
fn no_report_has_a_score_or_a_word_for_the_whole() {
    for pack in PACKS {
        let report = Trial::sound().report(pack.name);
        let text = table(&report);
        for word in ["compliant", "compliance", "score", "passed", "failed", "conforme"] {
            let own = report.scope.to_lowercase().contains(word);
            assert!(own || !text.to_lowercase().contains(word), "{word} in:\n{text}");
        }
        assert!(text.ends_with("as an operator.\n"), "{text}");
        let json = serde_json::to_value(&report).expect("it is JSON");
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["control", "document", "items", "lists", "pack", "scope"]);
        assert!(json["items"][0]["verdict"].is_string());
    }
}

#[test]
fn an_unknown_pack_is_answered_with_those_that_there_are() {
    let error = find("gdpr").err().expect("there is none").to_string();
    for pack in PACKS {
        assert!(error.contains(pack.name), "{error}");
        assert!(find(pack.name).is_ok());
    }
}
