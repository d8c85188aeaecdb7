//! What is proposed from small files of GLEIF and of the screening list.

use super::{limited::RECORD_BYTES_MAX, *};
use crate::config::{Config, parse_changes};
use havre_policy::{Facts, gleif::Lei};
use std::{fs, path::Path};

/// An LEI that this number leads to.
fn lei(number: u32) -> String {
    let body = format!("HAVRE0TEST{number:08}");
    let found = (0..100).map(|check| format!("{body}{check:02}"));
    found.into_iter().find(|text| Lei::new(text).is_some()).expect("some check digits agree")
}

fn config() -> Config {
    let text = format!(
        r#"
[gateway]
data = "data"
root_key_file = "root.key"
default_policy = "main"
[[listen]]
address = "127.0.0.1:9000"
[[policy]]
name = "main"
k = 1
m = 1
guarantee = {{ cannot_read = [], cannot_cut_off = ["any jurisdiction"] }}
[[operator]]
name = "north"
lei = "{}"
incorporation = "FR"
[[operator.owner]]
name = "Old Owner"
capital = 0.1
[[operator]]
name = "south"
legal_name = "Southern Light Storage Ltd"
[[operator.owner]]
name = "Petrov, Vasiliy"
[[site]]
name = "a"
url = "memory:"
operator = "north"
location = "DE"
[[site]]
name = "b"
url = "memory:"
operator = "south"
location = "SG"
"#,
        lei(1)
    );
    Config::parse(Path::new("/nowhere/havre.toml"), &text).expect("it is sound")
}

const LEVEL_1: &str = "LEI,Entity.LegalName,Entity.LegalJurisdiction,\
                       Entity.HeadquartersAddress.Country,Entity.EntityStatus,\
                       Registration.LastUpdateDate\n";
const LEVEL_2: &str = "Relationship.StartNode.NodeID,Relationship.EndNode.NodeID,\
                       Relationship.RelationshipType,Relationship.RelationshipStatus,\
                       Relationship.Quantifiers.1.QuantifierAmount,\
                       Relationship.Quantifiers.1.QuantifierUnits,Registration.LastUpdateDate\n";

fn files(level_1: &str, level_2: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    for (name, text) in [("one.csv", level_1), ("two.csv", level_2)] {
        if !text.is_empty() {
            let file = folder.path().join(name);
            fs::write(&file, text).expect("written");
            files.push(file);
        }
    }
    (folder, files)
}

fn level_1() -> String {
    format!(
        "{LEVEL_1}{},Nord SE,DE,DE,ACTIVE,2026-01-31T00:00:00Z\n\
         {},\"Zwischen, \"\"Holding\"\" GmbH\",LU,LU,ACTIVE,2026-01-30T00:00:00Z\n\
         {},Great Top Inc.,US-DE,US,ACTIVE,2026-01-29T00:00:00Z\n\
         {},SOUTHERN LIGHT STORAGE LIMITED,SG,SG,INACTIVE,2026-01-28T00:00:00Z\n\
         {},Somebody Else,US,US,ACTIVE,2026-01-28T00:00:00Z\n",
        lei(1),
        lei(2),
        lei(3),
        lei(4),
        lei(5)
    )
}

fn level_2() -> String {
    let direct = "IS_DIRECTLY_CONSOLIDATED_BY";
    format!(
        "{LEVEL_2}{},{},{direct},ACTIVE,100,PERCENTAGE,2026-02-02T00:00:00Z\n\
         {},{},{direct},ACTIVE,40,PERCENTAGE,2026-02-01T00:00:00Z\n\
         {},{},IS_ULTIMATELY_CONSOLIDATED_BY,ACTIVE,,,2026-02-01T00:00:00Z\n\
         {},{},{direct},INACTIVE,100,PERCENTAGE,2026-02-01T00:00:00Z\n",
        lei(2),
        lei(3),
        lei(1),
        lei(2),
        lei(1),
        lei(3),
        lei(1),
        lei(5)
    )
}

/// The facts with the proposal taken as it is.
fn taken(config: &Config, proposal: &str) -> Facts {
    let changes = parse_changes(Path::new("/nowhere/if.toml"), proposal);
    let mut declared = config.facts().declared().clone();
    for change in changes.expect("a sound proposal") {
        change.apply(&mut declared, &mut []).expect("it applies");
    }
    Facts::declare(declared).expect("sound facts")
}

#[test]
fn parents_are_proposed_as_owners_that_control_up_to_the_top() {
    let config = config();
    let (_folder, files) = files(&level_1(), &level_2());
    let text = import_gleif(&config, &files).expect("a proposal");
    let facts = taken(&config, &text);
    let reach = |party: &str| facts.named(party).first().map(|id| facts.reach(*id).len());
    assert_eq!(reach("operator:zwischen-holding-gmbh"), Some(1), "{text}");
    assert_eq!(reach("operator:great-top-inc"), Some(1), "{text}");
    assert_eq!(reach("jurisdiction:US-DE"), Some(1), "{text}");
    assert_eq!(reach("jurisdiction:LU"), Some(1), "{text}");
    // What is declared stays, and a difference is shown.
    assert_eq!(reach("jurisdiction:FR"), Some(1), "{text}");
    for want in [
        "# GLEIF has incorporation DE, and FR is declared\n",
        "legal_name = \"Nord SE\"\n",
        "name = \"Old Owner\"\ncapital = 0.1\n",
        "source = \"GLEIF level 2, IS_DIRECTLY_CONSOLIDATED_BY, ",
        "date = \"2026-02-01\"\n",
        "# IS_DIRECTLY_CONSOLIDATED_BY with 40 PERCENTAGE: consolidation is control",
        "source = \"GLEIF level 1, ",
    ] {
        assert!(text.contains(want), "{want:?} is missing in:\n{text}");
    }
    assert!(text.contains(r#"legal_name = 'Zwischen, "Holding" GmbH'"#), "{text}");
    assert!(!text.contains("Somebody Else"), "{text}");
    // The configuration is as it was.
    assert_eq!(config.facts().operators()[0].owners.len(), 1);
}

#[test]
fn an_operator_without_lei_gets_names_to_choose_from_in_a_comment() {
    let config = config();
    let (_folder, files) = files(&level_1(), "");
    let text = import_gleif(&config, &files).expect("a proposal");
    let want = format!(
        "#   100 of 100: SOUTHERN LIGHT STORAGE LIMITED (SG, no longer active), lei = \"{}\"",
        lei(4)
    );
    assert!(text.contains(&want), "{text}");
    assert!(text.contains("No file of level 2 was given"), "{text}");
    assert!(taken(&config, &text).operators()[1].lei.is_none());
}

#[test]
fn files_that_are_none_of_gleifs_are_refused() {
    let (folder, _) = files("", "");
    let refused = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("written");
        let error = import_gleif(&config(), &[file]).expect_err("refused");
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    };
    assert!(refused("x.zip", b"PK\x03\x04zip").contains("unpack it first"));
    assert!(refused("x.csv", b"a,b\n1,2\n").contains("no column \"LEI\""));
    assert!(refused("empty.csv", b"").contains("no column"));
    let endless = format!("{LEVEL_1}\"{}", "x".repeat(2 * RECORD_BYTES_MAX));
    assert!(refused("endless.csv", endless.as_bytes()).contains("longer than"));
    assert!(refused("header.csv", &vec![b'x'; 2 * RECORD_BYTES_MAX]).contains("longer than"));
    let missing = import_gleif(&config(), &[folder.path().join("missing.csv")]);
    assert!(matches!(missing, Err(ImportError::Read { .. })));
}

#[test]
fn bytes_that_are_no_text_are_passed_over() {
    let (folder, mut files) = files(&level_1(), &level_2());
    let file = folder.path().join("odd.csv");
    let mut bytes = LEVEL_1.as_bytes().to_vec();
    bytes.extend_from_slice(b"\xff\xfe,\xc3\x28,,,,\n,,,,,,,,,\n\"a\"b\"c\n");
    fs::write(&file, bytes).expect("written");
    files.push(file);
    import_gleif(&config(), &files).expect("a proposal");
}

fn screen(text: &[u8], score_min: u8) -> Result<String, ImportError> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("consolidated");
    fs::write(&file, text).expect("written");
    import_csl(&config(), &file, score_min)
}

const CSL: &str = "_id,source,entity_number,type,programs,name,title,addresses,alt_names,\
                   source_information_url\n\
                   e5a9,Entity List (EL),7,Entity,EAR,SOUTHERN LIGHT STORAGE,,\"1 Rd, SG\",,\
                   http://example.test/1\n\
                   d1,SDN,8,Individual,SDGT,VASILIY PETROV,,,\"PETROFF, V; VP\",\n\
                   d2,SDN,9,Entity,SDGT,Mountain Minerals,,,,\n";

#[test]
fn the_list_as_csv_proposes_with_scores_and_decides_nothing() {
    let text = screen(CSL.as_bytes(), 75).expect("a proposal");
    for want in [
        "3 entries, 2 matches",
        "# 100 of 100: operator:south (Southern Light Storage Ltd) and SOUTHERN LIGHT STORAGE\n",
        "#   id: e5a9\n",
        "# 97 of 100: owner:Petrov, Vasiliy (Petrov, Vasiliy) and VASILIY PETROV\n",
        "exclude = [\"owner:Petrov, Vasiliy\"]\n",
    ] {
        assert!(text.contains(want), "{want:?} is missing in:\n{text}");
    }
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "{text}");
    assert!(!text.contains("Mountain"), "{text}");
}

#[test]
fn the_list_as_json_gives_the_same_matches() {
    let json = r#"{"search_performed_at": "x", "sources_used": [{"a": [1, null]}], "results": [
        {"id": "e5a9", "source": "Entity List (EL)", "type": "Entity", "programs": ["EAR"],
         "name": "SOUTHERN LIGHT STORAGE", "alt_names": null, "nationalities": [],
         "addresses": [{"address": "1 Rd", "city": null, "country": "SG", "postal_code": null}],
         "source_information_url": "http://example.test/1"},
        {"id": "d1", "name": "NOBODY", "alt_names": ["Petrow, Wasili", "VASILIY PETROV"]},
        {"id": null, "name": "VASILIY PETROV"}
    ]}"#;
    let text = screen(json.as_bytes(), 75).expect("a proposal");
    for want in [
        "2 entries, 2 matches",
        "#   addresses: 1 Rd, SG\n",
        "# 97 of 100: owner:Petrov, Vasiliy (Petrov, Vasiliy) and VASILIY PETROV\n",
        "#   id: d1\n",
    ] {
        assert!(text.contains(want), "{want:?} is missing in:\n{text}");
    }
    assert!(screen(b" [ ]", 75).is_ok());
}

#[test]
fn lists_that_are_none_or_endless_are_refused() {
    assert!(matches!(screen(b"{}", 75), Err(ImportError::Json { .. })));
    assert!(matches!(screen(b"{\"results\": [", 75), Err(ImportError::Json { .. })));
    assert!(matches!(screen(b"name,other\nx,y\n", 75), Err(ImportError::Csl { .. })));
    let endless = format!("{{\"results\": [{{\"id\": \"{}", "x".repeat(2 * RECORD_BYTES_MAX));
    assert!(matches!(screen(endless.as_bytes(), 75), Err(ImportError::Json { .. })));
    let deep = format!("{{\"results\": {}", "[".repeat(100_000));
    assert!(matches!(screen(deep.as_bytes(), 75), Err(ImportError::Json { .. })));
    // Many records are no long record.
    let row = "d2,SDN,9,Entity,SDGT,Mountain Minerals,,,,\n";
    let many = CSL.to_owned() + &row.repeat(2 * RECORD_BYTES_MAX / row.len());
    assert!(screen(many.as_bytes(), 75).is_ok());
}

#[test]
fn nothing_from_a_file_leaves_its_comment() {
    let name = "VASILIY\u{2028}PETROV\r\n[[policy]]\nname = 1";
    let json =
        serde_json::json!({"results": [{"id": "a\n[[x]]", "name": name, "source": "\u{85}y"}]});
    let text = screen(json.to_string().as_bytes(), 1).expect("a proposal");
    assert!(text.contains("[[policy]]"), "{text}");
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "{text}");
    let none = parse_changes(Path::new("/nowhere/if.toml"), &text).expect("comments only");
    assert!(none.is_empty());
}
