//! What is taken from GLEIF's files and from the Consolidated Screening List, row by row.

use crate::common::{operator, site};
use havre_policy::{
    ControlRule, Declared, Evidence, Facts, Holds, OperatorFacts, Ownership, SeatFacts, SeatKind,
    csl::{CslColumns, CslEntry, SCORE_SHOWN_MIN, Screening},
    gleif::{Chain, Consolidation, GleifColumns, LEIS_MAX, Lei, Relationship},
};

const LEI_A: &str = "5493001KJTIIGC8Y1R12";
const LEI_B: &str = "213800QILIUD4ROSUO03";
const LEI_C: &str = "529900T8BM49AURSDO55";

/// An LEI that this number leads to.
fn lei(number: u32) -> Lei {
    let body = format!("HAVRE0TEST{number:08}");
    let rest = body.bytes().chain(*b"00").fold(0_u64, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u64::from(byte - b'0')) % 97,
        _ => (rest * 100 + u64::from(byte - b'A') + 10) % 97,
    });
    Lei::new(&format!("{body}{:02}", 98 - rest)).expect("the check digits agree")
}

#[test]
fn check_digits_are_verified() {
    assert_eq!(Lei::new(LEI_A).map(|lei| lei.to_string()), Some(LEI_A.to_string()));
    assert_eq!(lei(7).as_str().len(), 20);
    for bad in ["", "5493001KJTIIGC8Y1R13", "5493001kjtiigc8y1r12", "5493001KJTIIGC8Y1R1", "é"] {
        assert_eq!(Lei::new(bad), None, "{bad}");
    }
}

const LEVEL_2: [&str; 9] = [
    "Relationship.StartNode.NodeID",
    "Relationship.StartNode.NodeIDType",
    "Relationship.EndNode.NodeID",
    "Relationship.EndNode.NodeIDType",
    "Relationship.RelationshipType",
    "Relationship.RelationshipStatus",
    "Relationship.Quantifiers.1.QuantifierAmount",
    "Relationship.Quantifiers.1.QuantifierUnits",
    "Registration.LastUpdateDate",
];

#[track_caller]
fn relationship(row: [&str; 9]) -> Option<Relationship> {
    let columns = GleifColumns::new(LEVEL_2).expect("level 2");
    let GleifColumns::Relationships(columns) = columns else { panic!("it is level 2") };
    columns.relationship(|place| row.get(place).copied())
}

#[test]
fn an_active_consolidation_is_control_whatever_its_quantifier() {
    let time = "2025-04-19T08:00:00Z";
    let direct = "IS_DIRECTLY_CONSOLIDATED_BY";
    let found =
        relationship([LEI_A, "LEI", LEI_B, "LEI", direct, "ACTIVE", "40", "PERCENTAGE", time]);
    let found = found.expect("it is active");
    assert_eq!((found.child.as_str(), found.parent.as_str()), (LEI_A, LEI_B));
    assert_eq!(found.kind, Consolidation::Direct);
    assert_eq!(found.quantifiers, ["40 PERCENTAGE"]);
    assert_eq!(found.date.as_deref(), Some("2025-04-19"));
    let ultimate = "IS_ULTIMATELY_CONSOLIDATED_BY";
    let bare = relationship([LEI_A, "LEI", LEI_B, "LEI", ultimate, "ACTIVE", "", "", ""]);
    let bare = bare.expect("it is active");
    assert_eq!((bare.kind, bare.quantifiers.len(), bare.date), (Consolidation::Ultimate, 0, None));
}

#[test]
fn what_is_not_active_or_no_consolidation_or_names_nobody_is_passed_over() {
    let direct = "IS_DIRECTLY_CONSOLIDATED_BY";
    for row in [
        [LEI_A, "LEI", LEI_B, "LEI", direct, "INACTIVE", "", "", ""],
        [LEI_A, "LEI", LEI_B, "LEI", direct, "", "", "", ""],
        [LEI_A, "LEI", LEI_B, "LEI", "IS_FUND-MANAGED_BY", "ACTIVE", "", "", ""],
        [LEI_A, "LEI", "", "LEI", direct, "ACTIVE", "", "", ""],
        ["", "LEI", LEI_B, "LEI", direct, "ACTIVE", "", "", ""],
        [LEI_A, "LEI", LEI_A, "LEI", direct, "ACTIVE", "", "", ""],
    ] {
        assert_eq!(relationship(row), None, "{row:?}");
    }
    let short = GleifColumns::new(LEVEL_2).expect("level 2");
    let GleifColumns::Relationships(columns) = short else { panic!("it is level 2") };
    assert_eq!(columns.relationship(|_| None), None);
}

#[test]
fn level_one_gives_name_law_and_headquarters() {
    let header = [
        "\u{feff}LEI",
        "Entity.LegalName",
        "Entity.LegalName.xmllang",
        "Entity.HeadquartersAddress.Country",
        "Entity.LegalJurisdiction",
        "Entity.EntityStatus",
        "Registration.LastUpdateDate",
    ];
    let GleifColumns::Entities(columns) = GleifColumns::new(header).expect("level 1") else {
        panic!("it is level 1");
    };
    let row = [LEI_C, " Nord & Söhne SE ", "de", "lu", "US-DE", "ACTIVE", "2026-01-31T00:00:00Z"];
    let entity = columns.entity(|place| row.get(place).copied()).expect("an entity");
    assert_eq!((entity.lei.as_str(), entity.name.as_str()), (LEI_C, "Nord & Söhne SE"));
    assert_eq!(entity.jurisdiction.as_deref(), Some("US-DE"));
    assert_eq!(entity.headquarters.as_deref(), Some("LU"));
    assert_eq!((entity.active, entity.date.as_deref()), (true, Some("2026-01-31")));
    let odd = [LEI_C, "X", "", "Germany", "?", "INACTIVE", "soon"];
    let odd = columns.entity(|place| odd.get(place).copied()).expect("an entity");
    assert_eq!(
        (odd.jurisdiction, odd.headquarters, odd.active, odd.date),
        (None, None, false, None)
    );
    let error = GleifColumns::new(["LEI", "Name"]).expect_err("no level 1");
    assert!(error.to_string().contains("no column \"Entity.LegalName\""), "{error}");
}

fn up(child: u32, parent: u32, kind: Consolidation) -> Relationship {
    Relationship { child: lei(child), parent: lei(parent), kind, quantifiers: vec![], date: None }
}

#[test]
fn chains_are_followed_to_the_top_pass_by_pass() {
    use Consolidation::{Direct, Ultimate};
    let file = [
        up(3, 4, Direct),
        up(2, 3, Direct),
        up(1, 2, Direct),
        up(1, 4, Ultimate),
        up(2, 4, Ultimate),
        up(9, 1, Direct),
        up(2, 7, Ultimate),
        up(4, 1, Direct),
    ];
    let mut chain = Chain::new([lei(1)]);
    let mut passes = 0;
    loop {
        passes += 1;
        file.iter().for_each(|found| chain.take(found.clone()));
        if !chain.next_pass() {
            break;
        }
    }
    assert_eq!(passes, 3);
    let parents = |child: u32| chain.parents(lei(child)).map(|f| f.parent).collect::<Vec<_>>();
    // 4 is reached over 2 and 3; 7 is not reached directly; 9 is below and nobody's parent.
    assert_eq!(parents(1), [lei(2)]);
    assert_eq!(parents(2), [lei(3), lei(7)]);
    assert_eq!((parents(3), parents(4)), (vec![lei(4)], vec![lei(1)]));
    assert_eq!(chain.entities().len(), 5);
    assert!(!chain.is_full());
}

#[test]
fn endless_chains_end() {
    let mut chain = Chain::new([lei(0)]);
    for parent in 1..2 * u32::try_from(LEIS_MAX).expect("small") {
        chain.take(up(parent - 1, parent, Consolidation::Direct));
    }
    assert!(chain.is_full());
    assert_eq!(chain.entities().len(), LEIS_MAX);
}

fn facts() -> Facts {
    let owner = |name: &str| Ownership { owner: name.into(), ..Ownership::default() };
    let north = OperatorFacts {
        legal_name: Some("Redacted Quantum Trading Ltd".into()),
        owners: vec![owner("Vasiliy Petrov"), owner("Harbour Capital")],
        ..operator("north")
    };
    let mut declared =
        Declared::new(vec![site("s", "north", "DE")], vec![north], ControlRule::MAJORITY);
    declared.seats = vec![SeatFacts {
        kind: SeatKind::Administrator,
        name: "Mickey Mouse".into(),
        operator: None,
        locations: vec!["US".into()],
        holds: Holds::Gateway,
        evidence: Evidence::default(),
    }];
    Facts::declare(declared).expect("sound")
}

fn entry(id: &str, kind: &str, name: &str, alt_names: &[&str]) -> CslEntry {
    CslEntry {
        id: id.into(),
        kind: kind.into(),
        name: name.into(),
        alt_names: alt_names.iter().map(ToString::to_string).collect(),
        ..CslEntry::default()
    }
}

#[test]
fn names_and_alternate_names_are_matched_with_a_score() {
    let mut screening = Screening::new(&facts(), SCORE_SHOWN_MIN);
    for entry in [
        entry("1", "Entity", "REDACTED QUANTUM TRADING", &[]),
        entry("2", "Individual", "NOBODY", &["PETROV, Vasiliy", "PETROFF, V"]),
        entry("3", "", "MICKEY MAUSE", &[]),
        entry("4", "Vessel", "HARBOUR CAPITAL", &[]),
        entry("5", "Entity", "Mountain Minerals", &["Harbour Lights"]),
    ] {
        screening.look_at(&entry);
    }
    let (matches, dropped) = screening.matches();
    let found: Vec<_> =
        matches.iter().map(|m| (m.party.as_str(), m.entry.id.as_str(), m.score)).collect();
    assert_eq!(
        found[..2],
        [("operator:north", "1", 100), ("owner:Vasiliy Petrov", "2", 97)],
        "{found:?}"
    );
    assert_eq!((found[2].0, found[2].1), ("administrator:Mickey Mouse", "3"));
    assert!((SCORE_SHOWN_MIN..97).contains(&found[2].2));
    assert_eq!((found.len(), dropped), (3, 0));
    assert_eq!(matches[1].listed, "PETROV, Vasiliy");
    assert_eq!(matches[0].name, "Redacted Quantum Trading Ltd");
}

#[test]
fn an_entry_stands_once_for_each_party_and_matches_are_bounded() {
    let mut screening = Screening::new(&facts(), SCORE_SHOWN_MIN);
    screening.look_at(&entry("1", "Entity", "Harbour Capitol", &["Harbour Capital"]));
    screening.look_at(&entry("1", "Entity", "Harbour Capital Ltd", &[]));
    let (matches, _) = screening.matches();
    assert_eq!((matches.len(), matches[0].score), (1, 100));
    let mut screening = Screening::new(&facts(), 1);
    for number in 0..1500 {
        screening.look_at(&entry(&number.to_string(), "Entity", "Harbour Capita", &[]));
    }
    screening.look_at(&entry("last", "Entity", "Harbour Capital", &[]));
    let (matches, dropped) = screening.matches();
    assert_eq!((matches.len(), dropped), (1000, 501));
    assert_eq!(matches[0].entry.id, "last");
}

#[test]
fn csv_rows_give_entries_keyed_by_id() {
    let header = ["_id", "source", "entity_number", "type", "name", "alt_names", "start_date"];
    let columns = CslColumns::new(header).expect("the list");
    let row =
        ["e5a9", "Entity List (EL)", "", "Entity", "ACME", "Acme W; ACME Co;; ", "2026-01-01"];
    let entry = columns.entry(|place| row.get(place).copied()).expect("an entry");
    assert_eq!((entry.id.as_str(), entry.name.as_str()), ("e5a9", "ACME"));
    assert_eq!(entry.alt_names, ["Acme W", "ACME Co"]);
    assert_eq!(entry.start_date, "2026-01-01");
    assert_eq!(columns.entry(|place| (place != 0).then_some("x")), None);
    assert!(CslColumns::new(["id", "name"]).is_ok());
    let error = CslColumns::new(["name"]).expect_err("no id");
    assert!(error.to_string().contains("no column \"_id\""), "{error}");
}
