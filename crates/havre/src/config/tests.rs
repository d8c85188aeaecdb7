//! One sound configuration, and what each mistake in it is answered with.

mod storage;

use super::*;
use crate::check;
use std::{fs, os::unix::fs::PermissionsExt as _};

/// Lines are counted from the first of this text.
const SOUND: &str = r#"[gateway]
data = "data"
root_key_file = "root.key"
default_policy = "main"
region = "eu-1"
domains = ["s3.example.net"]
[[listen]]
address = "127.0.0.1:9000"
[[listen]]
address = "0.0.0.0:9443"
tls = { self_signed = true }
[admin]
address = "127.0.0.1:9001"
[limits]
requests_max = 7
repair_bytes_per_second = 9
scrub_cycle_hours = 2
header_timeout_ms = 1500
[exposure]
ownership_threshold = 0.5
[[tenant]]
name = "research"
[[credential]]
access_key = "AKTEST"
tenant = "research"
secret_env = "HAVRE_TEST_SECRET_THAT_IS_NOT_SET"
[[policy]]
name = "main"
k = 3
m = 3
exclude = ["jurisdiction:KP"]
on_outage = "degrade"
[policy.guarantee]
cannot_read = ["any jurisdiction", "any 2 owners"]
cannot_cut_off = [
  "any-jurisdiction",
  ["operator:north", "owner:Group"],
]
[[operator]]
name = "north"
lei = "5493001KJTIIGC8Y1R12"
incorporation = "DE"
[[operator.owner]]
name = "Group"
capital = 0.6
votes = 1
jurisdiction = "DE"
source = "register"
date = "2026-01-31"
[[operator]]
name = "south"
[[operator]]
name = "west"
[[site]]
name = "a1"
url = "sites/a1"
operator = "north"
location = "DE"
[[site]]
name = "a2"
url = "memory:"
operator = "north"
location = "DE-BE"
[[site]]
name = "b1"
url = "s3://bucket/one"
operator = "south"
location = "SG"
[site.options]
endpoint = "https://s3.south.example"
secret_access_key = { env = "HAVRE_TEST_SITE_SECRET" }
virtual_host_style = true
[site.limits]
deadline_ms = 2500
concurrency = 9
[[site]]
name = "b2"
url = "memory:"
operator = "south"
location = "SG"
[[site]]
name = "c1"
url = "memory:"
operator = "west"
location = "BR"
[[site]]
name = "c2"
url = "memory:"
operator = "west"
location = "BR"
"#;

/// The line of the sound configuration that this stands on.
fn line_of(text: &str) -> usize {
    SOUND[..SOUND.find(text).expect("it is there")].matches('\n').count() + 1
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/nowhere/havre.toml"), text)
}

/// Changes one thing in the sound configuration; the error must name the line on which `at` stands
/// then, and say `want`.
#[track_caller]
fn check_refused(from: &str, to: &str, at: &str, want: &str) {
    assert_eq!(SOUND.matches(from).count(), 1, "{from:?} is not there once");
    let text = SOUND.replace(from, to);
    let error = parse(&text).expect_err("it is refused");
    let offset = text.find(at).unwrap_or_else(|| panic!("{at:?} is not there"));
    let line = text[..offset].matches('\n').count() + 1;
    assert!(error.reason().contains(want), "{error}");
    assert_eq!(error.line(), Some(line), "{error}");
    assert!(error.to_string().starts_with(&format!("/nowhere/havre.toml:{line}: ")), "{error}");
}

#[test]
fn a_sound_configuration_reads_as_written() {
    let config = parse(SOUND).expect("it is sound");
    assert_eq!(config.gateway.data, Path::new("/nowhere/data"));
    assert_eq!(config.gateway.catalog, Path::new("/nowhere/data/catalog.sqlite"));
    assert_eq!(config.gateway.root_key, SecretRef::File("/nowhere/root.key".into()));
    assert_eq!(config.gateway.region, "eu-1");
    assert_eq!(config.listeners[0].tls, None);
    let names = ["localhost", "127.0.0.1", "s3.example.net", "*.s3.example.net"];
    let names = names.map(str::to_owned).to_vec();
    assert_eq!(config.listeners[1].tls, Some(Tls::SelfSigned { names }));
    assert_eq!(config.limits.requests_max, Some(7));
    assert_eq!(config.limits.repair_bytes_per_second, Some(9));
    assert_eq!(config.scrub_cycle(), Duration::from_secs(7200));
    assert_eq!(config.limits.header_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(config.limits.body_timeout, None);
    assert_eq!(config.sites[0].url, "/nowhere/sites/a1");
    assert_eq!(config.sites[2].limits.deadline, Some(Duration::from_millis(2500)));
    assert_eq!(config.sites[2].limits.concurrency, Some(9));
    assert_eq!(config.sites[2].options["virtual_host_style"], OptionValue::Plain("true".into()));
    assert_eq!(config.credentials[0].tenant, "research");
    assert_eq!(config.facts().sites().len(), 6);
    let alone = |config: &Config| config.facts().rule().alone().share();
    assert_eq!(alone(&config), havre_policy::Share::percent(50));
    let policies = config.placement_policies();
    assert_eq!(policies[0].geometry().to_string(), "3+3");
    assert_eq!(policies[0].on_outage(), havre_policy::OnOutage::Degrade);
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = SOUND
        .replace("region = \"eu-1\"\n", "")
        .replace("[admin]\naddress = \"127.0.0.1:9001\"\n", "")
        .replace("[exposure]\nownership_threshold = 0.5\n", "")
        .replace("on_outage = \"degrade\"\n", "");
    let config = parse(&text).expect("it is sound");
    assert_eq!(config.gateway.region, "us-east-1");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9001");
    let rule = config.facts().rule();
    assert_eq!(rule.alone().share(), havre_policy::Share::percent(25));
    assert_eq!(rule.together(), rule.alone());
    assert_eq!(config.policies[0].on_outage, havre_policy::OnOutage::Refuse);
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    check_refused("k = 3", "k = = 3", "k = =", "");
    check_refused("k = 3", "k = 3\nk = 4", "k = 4", "duplicate key");
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    for (anchor, key) in [
        ("region = \"eu-1\"", "regoin"),
        ("address = \"127.0.0.1:9000\"", "adress"),
        ("address = \"127.0.0.1:9001\"", "allow_remot"),
        ("requests_max = 7", "request_max"),
        ("ownership_threshold = 0.5", "threshold"),
        ("name = \"research\"", "id"),
        ("access_key = \"AKTEST\"", "secret"),
        ("on_outage = \"degrade\"", "onoutage"),
        ("cannot_read = [\"any jurisdiction\", \"any 2 owners\"]", "cannot_write"),
        ("lei = \"5493001KJTIIGC8Y1R12\"", "vat"),
        ("source = \"register\"", "share"),
        ("url = \"sites/a1\"", "path"),
        ("deadline_ms = 2500", "deadline"),
    ] {
        let with = format!("{anchor}\n{key} = \"x\"");
        check_refused(anchor, &with, &format!("{key} = \"x\""), &format!("unknown field `{key}`"));
    }
    check_refused("[exposure]", "[exposures]", "[exposures]", "unknown field `exposures`");
    check_refused("{ self_signed = true }", "{ self_singed = true }", "tls =", "`self_singed`");
    check_refused(
        "{ env = \"HAVRE_TEST_SITE_SECRET\" }",
        "{ var = \"X\" }",
        "secret_access",
        "`var`",
    );
}

#[test]
fn wrong_types_and_missing_keys_are_refused_with_their_line() {
    check_refused("k = 3", "k = \"three\"", "k = \"three\"", "invalid type");
    check_refused("k = 3", "k = 300", "k = 300", "invalid value");
    check_refused("requests_max = 7", "requests_max = -1", "requests_max", "invalid value");
    check_refused("deadline_ms = 2500", "deadline_ms = 2.5", "deadline_ms", "invalid type");
    check_refused(
        "on_outage = \"degrade\"",
        "on_outage = \"panic\"",
        "on_outage",
        "unknown variant",
    );
    check_refused(
        "cannot_read = [\"any jurisdiction\", \"any 2 owners\"]",
        "cannot_read = [7]",
        "[7]",
        "invalid type",
    );
    check_refused("url = \"sites/a1\"\n", "", "[[site]]", "missing field `url`");
    check_refused("m = 3\n", "", "[[policy]]", "missing field `m`");
}

#[test]
fn repeated_names_are_refused_with_both_lines() {
    let first = format!("first at line {}", line_of("name = \"a1\""));
    check_refused("name = \"a2\"", "name = \"A1\"", "name = \"A1\"", &first);
    check_refused(
        "name = \"west\"",
        "name = \"north\"",
        "name = \"north\"\n[[site]]",
        "declared twice",
    );
    check_refused("0.0.0.0:9443", "127.0.0.1:9000", "127.0.0.1:9000\"\ntls", "first at line 8");
    let twice = "name = \"research\"\n[[tenant]]\nname = \"Research\"";
    check_refused("name = \"research\"", twice, "name = \"Research\"", "tenant \"Research\"");
    let twice = "[[credential]]\naccess_key = \"AKTEST\"\ntenant = \"research\"\n\
                 secret_env = \"Y\"\n[[policy]]";
    check_refused(
        "[[policy]]",
        twice,
        "access_key = \"AKTEST\"\ntenant = \"research\"\nsecret_env = \"Y\"",
        "credential",
    );
}

#[test]
fn names_that_nothing_has_are_refused() {
    check_refused(
        "default_policy = \"main\"",
        "default_policy = \"mian\"",
        "default_policy",
        "add a [[policy]]",
    );
    check_refused(
        "tenant = \"research\"",
        "tenant = \"reserach\"",
        "tenant = \"res",
        "add a [[tenant]]",
    );
    check_refused("name = \"west\"", "name = \"wets\"", "operator = \"west\"", "not declared");
    let sites = "m = 3\nsites = [\n  \"a1\",\n  \"zz\",\n]";
    check_refused("m = 3", sites, "\"zz\"", "names site \"zz\"");
    check_refused("owner:Group\"]", "owner:Gruop\"]", "owner:Gruop", "known are operator:north");
    check_refused("jurisdiction:KP", "owner:KP", "owner:KP", "no site answers");
}

#[test]
fn a_guarantee_that_cannot_hold_is_refused_with_the_coalition() {
    check_refused(
        "k = 3\nm = 3",
        "k = 5\nm = 1",
        "[policy.guarantee]",
        "jurisdiction:DE could cut off: it reaches a1, a2",
    );
    check_refused("k = 3\nm = 3", "k = 2\nm = 4", "[policy.guarantee]", "could read");
    check_refused("k = 3\nm = 3", "k = 4\nm = 3", "k = 4", "only 6 sites are eligible");
    check_refused("k = 3\nm = 3", "k = 30\nm = 3", "k = 30", "at most 32");
    check_refused("\"any jurisdiction\", ", "\"any country\", ", "any country", "is no coalition");
    check_refused("[\"operator:north\", \"owner:Group\"]", "[]", "[],", "at least one party");
}

#[test]
fn facts_that_are_none_are_refused_with_their_line() {
    check_refused("capital = 0.6", "capital = 60", "name = \"Group\"", "25 % is written 0.25");
    check_refused(
        "ownership_threshold = 0.5",
        "ownership_threshold = 25.0",
        "ownership_threshold",
        "0.25",
    );
    check_refused("Y1R12", "Y1R13", "lei =", "Legal Entity Identifier");
    check_refused("location = \"DE\"", "location = \"Germany\"", "Germany", "ISO 3166");
    check_refused("incorporation = \"DE\"", "incorporation = \"D\"", "incorporation", "ISO 3166");
    check_refused(
        "jurisdiction = \"DE\"",
        "jurisdiction = \"\"",
        "jurisdiction = \"\"",
        "ISO 3166",
    );
    check_refused("2026-01-31", "31.1.2026", "31.1.2026", "is no date");
    let same = "name = \"south\"\nlei = \"5493001KJTIIGC8Y1R12\"";
    check_refused(
        "name = \"south\"",
        same,
        "lei = \"5493001KJTIIGC8Y1R12\"\n[[operator]]\nname = \"west\"",
        "one legal entity",
    );
}

/// Facts of every other kind, to stand behind the sound configuration.
const MORE: &str = r#"
[gateway.host]
operator = "west"
location = "BR"
source = "contract 7"
date = "2026-02-01"
[gateway.key_service]
operator = "south"
[[administrator]]
name = "Ada"
employer = "west"
jurisdictions = ["BR", "DE"]
[[administrator]]
name = "Bo"
jurisdictions = ["SG"]
holds = "key"
[[alliance]]
name = "north-atlantic"
members = ["US", "DE"]
source = "a treaty"
[[alliance]]
name = "elsewhere"
all_but = ["DE"]
[[override]]
operator = "south"
party = "jurisdiction:US"
answers = true
reason = "a subsidiary's licence"
source = "counsel, letter of 2026-03-01"
date = "2026-03-01"
"#;

/// Changes one thing in those facts; see [`check_refused`].
#[track_caller]
fn check_more_refused(from: &str, to: &str, at: &str, want: &str) {
    assert_eq!(MORE.matches(from).count(), 1, "{from:?} is not there once");
    let text = format!("{SOUND}{}", MORE.replace(from, to));
    let error = parse(&text).expect_err("it is refused");
    let offset = SOUND.len() + text[SOUND.len()..].find(at).expect("it is there");
    let line = text[..offset].matches('\n').count() + 1;
    assert!(error.reason().contains(want), "{error}");
    assert_eq!(error.line(), Some(line), "{error}");
}

#[test]
fn the_gateway_alliances_and_overrides_are_facts_too() {
    use havre_policy::{Holds, SeatKind};
    let config = parse(&format!("{SOUND}{MORE}")).expect("it is sound");
    let facts = config.facts();
    let seats: Vec<_> = facts.seats().iter().map(|seat| (seat.kind, seat.holds)).collect();
    assert_eq!(
        seats,
        [
            (SeatKind::Host, Holds::Gateway),
            (SeatKind::KeyService, Holds::Key),
            (SeatKind::Administrator, Holds::Gateway),
            (SeatKind::Administrator, Holds::Key),
        ]
    );
    assert_eq!(facts.seats()[0].evidence.to_string(), "contract 7, 2026-02-01");
    let reach = |party: &str| {
        let id = *facts.named(party).first().expect("a party");
        facts.reach(id).iter().map(|at| facts.sites()[at].name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(reach("jurisdiction:US"), ["b1", "b2"]);
    assert_eq!(reach("alliance:north-atlantic"), ["a1", "a2", "b1", "b2"]);
    assert_eq!(reach("alliance:elsewhere"), ["b1", "b2", "c1", "c2"]);
}

#[test]
fn facts_about_the_gateway_alliances_and_overrides_are_refused_with_their_line() {
    check_more_refused("\"west\"\nlocation", "\"wets\"\nlocation", "\"wets\"", "not declared");
    check_more_refused("employer = \"west\"", "employer = \"me\"", "\"me\"", "not declared");
    check_more_refused("location = \"BR\"", "location = \"Brazil\"", "\"Brazil\"", "ISO 3166");
    check_more_refused("operator = \"south\"\n[[adm", "[[adm", "[gateway.key", "needs an operator");
    check_more_refused("2026-02-01", "yesterday", "yesterday", "is no date");
    check_more_refused("name = \"Bo\"", "name = \"ada\"", "\"ada\"", "declared twice");
    check_more_refused("[\"SG\"]", "[]", "\"Bo\"", "needs an employer");
    check_more_refused("\"key\"", "\"all\"", "holds", "unknown variant");
    check_more_refused("members = [\"US\", \"DE\"]", "", "\"north-atlantic\"", "give either");
    check_more_refused("all_but = [\"DE\"]", "all_but = []", "\"elsewhere\"", "give either");
    check_more_refused("[\"US\", \"DE\"]", "[\"US\", \"EUR\"]", "\"EUR\"", "ISO 3166");
    check_more_refused("\"elsewhere\"", "\"North-Atlantic\"", "\"North-At", "declared twice");
    let entry = "\"south\"\nparty";
    check_more_refused(entry, "\"souht\"\nparty", "\"souht\"", "not declared");
    check_more_refused("jurisdiction:US", "jurisdiction:USA", "\"jurisdiction", "ISO 3166");
    check_more_refused("jurisdiction:US", "owner:Nobody", "\"owner:Nobody", "is no party");
    check_more_refused("a subsidiary's licence", " ", "\"jurisdiction", "a reason and a source");
    check_more_refused("reason = \"a sub", "# ", "[[override]]", "missing field `reason`");
}

#[test]
fn a_control_rule_is_named_or_has_bounds_of_its_own() {
    let with = |control: &str| {
        parse(&SOUND.replace("ownership_threshold = 0.5", &format!("control = {control}")))
    };
    let rule = |control: &str| with(control).expect("it is sound").facts().rule();
    assert_eq!(rule("\"majority\""), havre_policy::ControlRule::MAJORITY);
    assert_eq!(rule("\"secnumcloud\""), havre_policy::ControlRule::SECNUMCLOUD);
    let own = rule("{ alone = 0.2, together = 0.4, chains = \"multiply\" }");
    assert_eq!(
        own.to_string(),
        "threshold: 20.0 % or more alone, 40.0 % or more together, of capital or votes; shares \
         multiply along chains"
    );
    assert_eq!(rule("{ alone = 0.3 }").together(), rule("{ alone = 0.3 }").alone());
    for (control, want) in [
        ("\"plurality\"", "is no control rule"),
        ("{ alone = 0.5, together = 0.4 }", "together is below alone"),
        ("{ alone = 50 }", "25 % is written 0.25"),
        ("{ alone = 0.5, togehter = 0.4 }", "unknown field `togehter`"),
        ("{ alone = 0.5, chains = \"add\" }", "unknown variant"),
        ("{}", "missing field `alone`"),
        ("7", "invalid type"),
    ] {
        let error = with(control).expect_err(control);
        assert_eq!(error.line(), Some(line_of("ownership_threshold")), "{error}");
        assert!(error.reason().contains(want), "{control}: {error}");
    }
    let both = "ownership_threshold = 0.5\ncontrol = \"majority\"";
    check_refused("ownership_threshold = 0.5", both, "control =", "keep one");
}

#[test]
fn a_file_of_changes_is_checked_as_the_configuration_is() {
    let changes = |text: &str| parse_changes(Path::new("/nowhere/if.toml"), text);
    let all = changes(
        "[remove]\nsites = [\"a1\"]\nalliances = [\"two\"]\n\
         owners = [{ operator = \"north\", owner = \"Group\" }]\n\
         [exposure]\ncontrol = \"majority\"\n\
         [[site]]\nname = \"d1\"\noperator = \"east\"\nlocation = \"JP\"\n\
         [[operator]]\nname = \"east\"\n\
         [[alliance]]\nname = \"three\"\nmembers = [\"JP\"]\n",
    );
    assert_eq!(all.expect("it is sound").len(), 7);
    assert_eq!(changes("").expect("nothing changes"), []);
    for (text, line, want) in [
        ("[[site]]\nname = \"d\"\noperator = \"e\"\nlocation = \"Japan\"", 4, "ISO 3166"),
        ("[[policy]]\nname = \"main\"", 1, "unknown field `policy`"),
        ("[[operator]]\nname = \"e\"\n[[operator.owner]]\nname = \"x\"\ncapital = 2.0", 4, "0.25"),
    ] {
        let error = changes(text).expect_err(text);
        assert_eq!(error.line(), Some(line), "{error}");
        assert!(error.reason().contains(want), "{error}");
    }
}

#[test]
fn listeners_and_admin_are_checked() {
    check_refused("127.0.0.1:9001", "0.0.0.0:9001", "0.0.0.0:9001", "allow_remote = true");
    check_refused(
        "127.0.0.1:9001",
        "127.0.0.1:9000",
        "127.0.0.1:9000\"\n[limits]",
        "that of an S3 listener",
    );
    check_refused("127.0.0.1:9000", "localhost:9000", "localhost:9000", "is no address");
    check_refused(
        "{ self_signed = true }",
        "{ key_file = \"k\" }",
        "tls =",
        "certificate_file and key_file",
    );
    check_refused("eu-1", "EU 1", "EU 1", "is no region");
    check_refused("s3.example.net", "s3.example.net:9000", "domains", "is no domain");
    let remote = "address = \"0.0.0.0:9001\"\nallow_remote = true";
    let config = parse(&SOUND.replace("address = \"127.0.0.1:9001\"", remote)).expect("allowed");
    assert!(config.admin.allow_remote);
    assert!(check::explain(&config).contains("asks for no credential"));
    let none = SOUND.replace("[[listen]]\naddress = \"127.0.0.1:9000\"\n", "");
    let none =
        none.replace("[[listen]]\naddress = \"0.0.0.0:9443\"\ntls = { self_signed = true }\n", "");
    let error = parse(&none).expect_err("no listener");
    assert!(error.to_string().contains("add [[listen]]"), "{error}");
}

#[test]
fn secrets_do_not_stand_in_the_file() {
    check_refused(
        "{ env = \"HAVRE_TEST_SITE_SECRET\" }",
        "\"hunter2\"",
        "secret_access_key",
        "does not belong",
    );
    let error = parse(&SOUND.replace("{ env = \"HAVRE_TEST_SITE_SECRET\" }", "\"hunter2\""));
    assert!(!error.expect_err("refused").to_string().contains("hunter2"));
    check_refused(
        "secret_env = \"HAVRE_TEST_SECRET_THAT_IS_NOT_SET\"",
        "",
        "access_key = \"AKTEST\"",
        "secret_file",
    );
    check_refused("{ env = \"HAVRE_TEST_SITE_SECRET\" }", "{}", "secret_access_key", "give env");
    check_refused(
        "root_key_file = \"root.key\"",
        "root_key_file = \"r\"\nroot_key_env = \"R\"",
        "root_key_env",
        "keep one",
    );
    check_refused("root_key_file = \"root.key\"\n", "", "[gateway]", "root key is missing");
    for (key, secret) in [
        ("secret_access_key", true),
        ("access_key_secret", true),
        ("access_key_id", false),
        ("account_key", true),
        ("account_name", false),
        ("credential", true),
        ("credential_path", false),
        ("sas_token", true),
        ("password", true),
        ("endpoint", false),
    ] {
        assert_eq!(resolve::is_secret(key), secret, "{key}");
    }
}

#[test]
fn limits_are_above_zero() {
    check_refused("concurrency = 9", "concurrency = 0", "concurrency", "above zero");
    check_refused("requests_max = 7", "requests_max = 0", "requests_max", "above zero");
    check_refused("concurrency = 9", "attempts_max = 5_000_000_000", "attempts_max", "too large");
    check_refused(
        "concurrency = 9",
        "probe_pause_min_ms = 9\nprobe_pause_max_ms = 8",
        "probe_pause_min",
        "above",
    );
}

#[test]
fn a_secret_is_read_from_a_file_that_not_everybody_may_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    let secret = SecretRef::File(path.clone());
    assert!(matches!(secret.resolve(), Err(SecretError::Unreadable { .. })));
    fs::write(&path, "hunter2\n").expect("written");
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
    mode(0o644);
    let error = secret.resolve().expect_err("everybody may read it");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    mode(0o640);
    let value = secret.resolve().expect("a secret");
    assert_eq!(value.expose(), "hunter2");
    assert!(!format!("{value:?}").contains("hunter2"));
    for bytes in [&b"\n"[..], b"", b"\xff\xfe", &[b'x'; 70_000]] {
        fs::write(&path, bytes).expect("written");
        assert!(matches!(secret.resolve(), Err(SecretError::Malformed { .. })));
    }
    let unset = SecretRef::Env("HAVRE_TEST_SECRET_THAT_IS_NOT_SET".into());
    assert!(matches!(unset.resolve(), Err(SecretError::Unset { .. })));
    assert!(SecretRef::Env("PATH".into()).resolve().is_ok());
}

#[test]
fn what_the_file_says_reaches_the_crates_and_the_rest_keeps_their_defaults() {
    let text = SOUND.replace("HAVRE_TEST_SITE_SECRET", "PATH");
    let text = text.replace("virtual_host_style = true", "ca_file = \"ca.pem\"");
    let config = parse(&text).expect("it is sound");
    let spec = config.sites[2].spec().expect("PATH is set");
    assert_eq!((spec.name.as_str(), spec.url.as_str()), ("b1", "s3://bucket/one"));
    assert_eq!(spec.options["secret_access_key"], std::env::var("PATH").expect("set"));
    assert_eq!(spec.options["endpoint"], "https://s3.south.example");
    assert_eq!(spec.options["ca_file"], "/nowhere/ca.pem");
    assert_eq!(spec.limits.deadline, Duration::from_millis(2500));
    assert_eq!(spec.limits.concurrency, 9);
    let default = havre_sites::SiteLimits::default();
    assert_eq!(spec.limits.wait_max, default.wait_max);
    assert_eq!(spec.limits.part_bytes, default.part_bytes);
    let server = config.server();
    assert_eq!(server.listeners.len(), 2);
    assert_eq!(server.admin, Some(config.admin.address));
    assert_eq!(server.limits.header_timeout, Duration::from_millis(1500));
    assert_eq!(server.limits.requests_max, 7);
    let default = havre_server::LimitsConfig::default();
    assert_eq!(server.limits.body_timeout, default.body_timeout);
    let config = parse(SOUND).expect("it is sound");
    let error = config.sites[2].spec().expect_err("not set");
    assert!(error.to_string().contains("HAVRE_TEST_SITE_SECRET"), "{error}");
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let text = include_str!("../../../../docs/configuration.md");
    let limits = havre_server::LimitsConfig::default();
    let bare = |line: &&str| !line.contains("_per_second =") && !line.contains("_hours =");
    let keeper = parse(&SOUND.lines().filter(bare).collect::<Vec<_>>().join("\n"));
    let keeper = keeper.expect("it is sound without them");
    for (key, value) in [
        ("requests_max", limits.requests_max as u128),
        ("connections_max", limits.connections_max as u128),
        ("handshake_timeout_ms", limits.handshake_timeout.as_millis()),
        ("header_timeout_ms", limits.header_timeout.as_millis()),
        ("body_timeout_ms", limits.body_timeout.as_millis()),
        ("write_timeout_ms", limits.write_timeout.as_millis()),
        ("shutdown_timeout_ms", limits.shutdown_timeout.as_millis()),
        ("documents_bytes_max", limits.documents_bytes_max as u128),
        ("repair_bytes_per_second", keeper.keeper_bytes_per_second().into()),
        ("scrub_bytes_per_second", keeper.scrub_bytes_per_second().into()),
        ("scrub_cycle_hours", (keeper.scrub_cycle().as_secs() / 3600).into()),
    ] {
        let line = text.lines().find(|line| line.starts_with(&format!("| `{key}`")));
        let line = line.unwrap_or_else(|| panic!("{key} is not documented"));
        assert!(line.replace(',', "").contains(&format!("| {value} |")), "{line} says not {value}");
    }
}

#[test]
fn the_first_configuration_loads_and_is_not_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path().join("havre-data");
    let file = write_local(&base, "AKFIRST", "first").expect("written");
    let config = Config::load(&file).expect("it is sound");
    let names: Vec<_> = config.sites.iter().map(|site| site.name.as_str()).collect();
    assert_eq!(names, ["s1", "s2", "s3", "s4", "s5", "s6"]);
    assert!(config.sites.iter().all(|site| Path::new(&site.url).is_dir()));
    assert_eq!(config.facts().operators().len(), 3);
    let policy = config.placement_policies().remove(0);
    assert_eq!((policy.geometry().to_string().as_str(), policy.stored_enough()), ("3+3", 5));
    let secret = config.credentials[0].secret.resolve().expect("a secret");
    assert_eq!(secret.expose(), "first");
    write_local(&base, "AKSECOND", "second").expect_err("it is there");
    let config = Config::load(&file).expect("it is sound");
    assert_eq!(config.credentials[0].access_key, "AKFIRST");
    assert_eq!(config.credentials[0].secret.resolve().expect("a secret").expose(), "first");
    // Stopped before the configuration was written: the next start goes on.
    fs::remove_file(&file).expect("removed");
    write_local(&base, "AKTHIRD", "third").expect("written");
    let config = Config::load(&file).expect("it is sound");
    assert_eq!(config.credentials[0].secret.resolve().expect("a secret").expose(), "first");
    assert_eq!(config.credentials[0].access_key, "AKTHIRD");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nowhere/havre.toml")).expect_err("not there");
    assert!(error.to_string().starts_with("/nowhere/havre.toml: cannot be read"), "{error}");
}

#[test]
fn the_published_example_is_sound_and_explained() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/havre.toml");
    let config = Config::load(&file).expect("it is sound");
    assert_eq!((config.sites.len(), config.policies.len()), (6, 3));
    let text = check::explain(&config);
    for want in [
        "three-jurisdictions: 3+3 on 6 sites, 2.00 times the bytes",
        "with any 5 of 6 shards stored; slack 1; below that it is refused",
        "thrifty: 4+2 on 6 sites, 1.50 times the bytes",
        "with any 6 of 6 shards stored; slack 0; below that it is acknowledged and marked",
        "without-sg: 3+1 on 4 sites",
        "jurisdiction:SG: sg-merlion, sg-straits (33 %)",
        "owner:Harbour Capital: owns 40.0 % of merlion with 51.0 % of the votes",
        "jurisdiction:BR: it lies there; nuvem-sul is incorporated there",
        "site sg-merlion, option access_key_secret: environment variable",
    ] {
        assert!(text.contains(want), "{want:?} is missing in:\n{text}");
    }
    assert!(!text.contains("owner:Pension Fund North"), "{text}");
}

#[test]
fn every_example_in_the_documentation_is_sound() {
    let text = include_str!("../../../../docs/configuration.md");
    let mut examples = 0;
    for block in text.split("```toml\n").skip(1) {
        let block = block.split("```").next().expect("the block ends");
        if block.contains("[gateway]") {
            parse(block).expect("it is sound");
            examples += 1;
        }
    }
    assert!(examples >= 1);
}

#[test]
fn check_warns_of_what_is_sound_but_unwise() {
    let text = SOUND.replace("127.0.0.1:9000", "10.0.0.1:9000");
    let text = text.replace("https://s3.south.example", "http://s3.south.example");
    let text =
        text.replace("name = \"research\"", "name = \"research\"\n[[tenant]]\nname = \"idle\"");
    let explained = check::explain(&parse(&text).expect("it is sound"));
    for want in [
        "S3 is served in the clear at 10.0.0.1:9000",
        "site b1 is reached in the clear",
        "tenant idle has no credential",
        "site a2 forgets all",
        "credential AKTEST: environment variable HAVRE_TEST_SECRET_THAT_IS_NOT_SET is not set",
        "jurisdiction:KP reaches no declared site",
    ] {
        assert!(explained.contains(want), "{want:?} is missing in:\n{explained}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = write_local(folder.path(), "AKFIRST", "first").expect("written");
    let explained = check::explain(&Config::load(&file).expect("it is sound"));
    assert!(explained.contains("sites s1, s2, s3, s4, s5, s6 are directories of one file system"));
}

#[test]
fn check_warns_of_an_owner_behind_several_operators() {
    let text = SOUND
        .replace(
            "cannot_read = [\"any jurisdiction\", \"any 2 owners\"]",
            "cannot_read = [\"any operator\"]",
        )
        .replace("  [\"operator:north\", \"owner:Group\"],\n", "")
        // Who owns both would bring its jurisdiction to both.
        .replace("jurisdiction = \"DE\"\n", "")
        .replace("name = \"south\"", "name = \"south\"\n[[operator.owner]]\nname = \"group\"");
    let explained = check::explain(&parse(&text).expect("it is sound"));
    let want = "owner:Group reaches a1, a2, b1, b2 through several operators";
    assert!(explained.contains(want), "{explained}");
}

#[test]
fn the_keeper_is_inside_unless_it_is_said_to_run_apart() {
    assert_eq!(parse(SOUND).expect("it is sound").keeper, Keeper::default());
    let with = |lines: &str| parse(&format!("{SOUND}\n[keeper]\n{lines}\n"));
    let apart = with("runs = \"apart\"\naddress = \"127.0.0.1:9002\"").expect("it is sound");
    assert_eq!(apart.keeper.runs, KeeperRuns::Apart);
    let address = apart.keeper.admin.map(|admin| admin.address.to_string());
    assert_eq!(address.as_deref(), Some("127.0.0.1:9002"));
    assert_eq!(with("runs = \"apart\"").expect("it is sound").keeper.admin, None);
    for (lines, want) in [
        ("runs = \"elsewhere\"", "unknown variant"),
        ("address = \"127.0.0.1:9002\"", "a keeper inside the gateway has no listener"),
        ("runs = \"apart\"\naddress = \"127.0.0.1:9001\"", "is that of the admin listener"),
        ("runs = \"apart\"\naddress = \"127.0.0.1:9000\"", "is that of an S3 listener"),
        ("runs = \"apart\"\naddress = \"10.0.0.1:9002\"", "could be reached from elsewhere"),
    ] {
        let error = with(lines).expect_err("it is refused").to_string();
        assert!(error.contains(want), "{error}");
    }
}
