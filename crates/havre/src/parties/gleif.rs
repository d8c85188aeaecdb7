//! GLEIF's files: who the declared entities are, and who consolidates them.
//!
//! **Invariant.** What is proposed for an entity follows from its LEI; what is found by a name
//! stands in a comment with its score. The proposal's facts can be asked about as they are:
//! `havre exposure --what-if FILE`.
//!
//! **Deliberately absent.** Rows: `havre_policy::gleif`.
//!
//! **Crash.** Reads only.

use super::{
    ImportError,
    limited::{each_row, field, header},
    proposal::{comment, operator},
};
use crate::config::Config;
use havre_policy::{
    Evidence, Facts, OperatorFacts, Ownership,
    gleif::{
        Chain, EntityColumns, GleifColumns, GleifEntity, Lei, Relationship, RelationshipColumns,
    },
    names::{NameIndex, SCORE_MAX},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Passes over level 2: one for each step of the longest chain.
const PASSES_MAX: usize = 32;
/// From which score on a name of level 1 is shown for an operator without LEI.
const NAME_SCORE_MIN: u8 = 90;
/// Names shown for one operator.
const NAMES_SHOWN_MAX: usize = 5;
/// Bytes of a name in the configuration.
const NAME_BYTES_MAX: usize = 63;

/// Reads GLEIF's files, level 1 and level 2 in any order, and proposes what they say of the
/// declared operators and owners, as text for a configuration.
///
/// # Errors
/// When a file cannot be read or is none of GLEIF's, or nothing could be looked for.
pub fn import_gleif(config: &Config, files: &[PathBuf]) -> Result<String, ImportError> {
    let facts = config.facts();
    let (mut level_1, mut level_2) = (Vec::new(), Vec::new());
    for file in files {
        match columns(file)? {
            GleifColumns::Entities(columns) => level_1.push((file.as_path(), columns)),
            GleifColumns::Relationships(columns) => level_2.push((file.as_path(), columns)),
        }
    }
    let known = declared_leis(facts);
    if known.is_empty() && level_1.is_empty() {
        return Err(ImportError::NothingToLookFor);
    }
    let mut chain = Chain::new(known.keys().copied());
    for _ in 0..PASSES_MAX {
        for (file, columns) in &level_2 {
            pass(file, columns, &mut chain)?;
        }
        if !chain.next_pass() {
            break;
        }
    }
    let mut found = Found { chain, entities: BTreeMap::new(), named: BTreeMap::new() };
    let nameless: Vec<&OperatorFacts> =
        facts.operators().iter().filter(|operator| operator.lei.is_none()).collect();
    for (file, columns) in &level_1 {
        found.look_up(file, columns, &nameless)?;
    }
    Ok(Proposal::new(facts, &known, &found).text(files, !level_1.is_empty(), !level_2.is_empty()))
}

fn columns(file: &Path) -> Result<GleifColumns, ImportError> {
    let names = header(file)?;
    GleifColumns::new(names.iter().map(String::as_str))
        .map_err(|source| ImportError::Gleif { file: file.to_owned(), source })
}

/// One pass over a file of level 2.
fn pass(file: &Path, columns: &RelationshipColumns, chain: &mut Chain) -> Result<(), ImportError> {
    each_row(file, |row| {
        if let Some(relationship) = columns.relationship(|place| field(row, place)) {
            chain.take(relationship);
        }
    })
}

/// The LEIs of the configuration, with the names they go by there.
fn declared_leis(facts: &Facts) -> BTreeMap<Lei, String> {
    let mut known = BTreeMap::new();
    let owners = facts.operators().iter().flat_map(|operator| &operator.owners);
    for holding in owners {
        if let Some(lei) = holding.lei.as_deref().and_then(Lei::new) {
            known.insert(lei, holding.owner.clone());
        }
    }
    for operator in facts.operators() {
        if let Some(lei) = operator.lei.as_deref().and_then(Lei::new) {
            known.insert(lei, operator.name.clone());
        }
    }
    known
}

/// What the files say.
struct Found {
    chain: Chain,
    entities: BTreeMap<Lei, GleifEntity>,
    /// By operator without LEI: entities of a like name, the best first.
    named: BTreeMap<String, Vec<(u8, GleifEntity)>>,
}

impl Found {
    /// One pass over a file of level 1.
    fn look_up(
        &mut self,
        file: &Path,
        columns: &EntityColumns,
        nameless: &[&OperatorFacts],
    ) -> Result<(), ImportError> {
        let mut index = NameIndex::default();
        for operator in nameless {
            index.push(operator.legal_name.as_ref().unwrap_or(&operator.name));
        }
        each_row(file, |row| {
            let of = |place| field(row, place);
            if columns.lei(of).is_some_and(|lei| self.chain.entities().contains(&lei))
                && let Some(entity) = columns.entity(of)
            {
                self.entities.insert(entity.lei, entity);
            }
            if nameless.is_empty() {
                return;
            }
            for (place, score) in index.alike(columns.name(of).unwrap_or_default(), NAME_SCORE_MIN)
            {
                let Some(entity) = columns.entity(of) else { continue };
                let best = self.named.entry(nameless[place].name.clone()).or_default();
                best.push((score, entity));
                best.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.lei.cmp(&b.1.lei)));
                best.truncate(NAMES_SHOWN_MAX);
            }
        })
    }
}

struct Proposal<'a> {
    facts: &'a Facts,
    found: &'a Found,
    /// What each entity is called.
    names: BTreeMap<Lei, String>,
}

impl<'a> Proposal<'a> {
    fn new(facts: &'a Facts, known: &BTreeMap<Lei, String>, found: &'a Found) -> Self {
        let mut taken: BTreeSet<String> =
            facts.operators().iter().map(|operator| operator.name.to_lowercase()).collect();
        let mut names = BTreeMap::new();
        for lei in found.chain.entities() {
            let declared = known.get(lei);
            let is_operator = declared.is_some_and(|name| taken.contains(&name.to_lowercase()));
            let name = match declared {
                Some(name) if is_operator => name.clone(),
                // An owner becomes an operator by that name, and not every name is allowed for one.
                _ => {
                    let entity = found.entities.get(lei).map(|entity| entity.name.as_str());
                    let full = declared.map(String::as_str).or(entity).unwrap_or(lei.as_str());
                    free_name(full, *lei, &mut taken)
                }
            };
            names.insert(*lei, name);
        }
        Self { facts, found, names }
    }

    fn text(&self, files: &[PathBuf], level_1: bool, level_2: bool) -> String {
        let mut text = String::new();
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        comment(
            &mut text,
            &format!(
                "Proposed by `havre parties import gleif` from {}. Nothing is changed: ask what it \
                 would mean with `havre exposure --what-if` and this file, and paste what is right \
                 into the configuration, each operator in place of the one of its name.",
                files.join(", ")
            ),
        );
        let missing = [
            (!level_1, "No file of level 1 was given: names, law and headquarters are not known."),
            (!level_2, "No file of level 2 was given: parents are not known."),
            (self.found.chain.is_full(), "More entities were above than are followed."),
        ];
        for (_, words) in missing.iter().filter(|(is_so, _)| *is_so) {
            comment(&mut text, words);
        }
        for facts in self.facts.operators() {
            match facts.lei.as_deref().and_then(Lei::new) {
                Some(lei) => self.declared(&mut text, lei, facts),
                None => self.nameless(&mut text, facts),
            }
        }
        let declared: BTreeSet<Lei> = self
            .facts
            .operators()
            .iter()
            .filter_map(|operator| operator.lei.as_deref().and_then(Lei::new))
            .collect();
        for lei in self.found.chain.entities().difference(&declared) {
            let known = self.found.entities.get(lei);
            if known.is_some() || self.found.chain.parents(*lei).next().is_some() {
                let facts = OperatorFacts {
                    name: self.names[lei].clone(),
                    lei: Some(lei.to_string()),
                    ..OperatorFacts::default()
                };
                self.declared(&mut text, *lei, &facts);
            }
        }
        text
    }

    /// The operator with what is found about it; nothing when that is nothing new.
    fn declared(&self, text: &mut String, lei: Lei, facts: &OperatorFacts) {
        let mut merged = facts.clone();
        let mut notes = Vec::new();
        if let Some(entity) = self.found.entities.get(&lei) {
            fill(&mut merged, entity, &mut notes);
        }
        for holding in &mut merged.owners {
            let name = holding.lei.as_deref().and_then(Lei::new).map(|lei| &self.names[&lei]);
            if let Some(name) = name.filter(|name| **name != holding.owner) {
                notes.push(format!("the owner {} is called {name} here", holding.owner));
                holding.owner.clone_from(name);
            }
        }
        for relationship in self.found.chain.parents(lei) {
            let parent = self.names[&relationship.parent].clone();
            let is_it = |holding: &&Ownership| {
                let lei = holding.lei.as_deref().and_then(Lei::new);
                lei == Some(relationship.parent) || holding.owner.eq_ignore_ascii_case(&parent)
            };
            match merged.owners.iter().find(is_it) {
                Some(holding) => notes.push(format!(
                    "{} says that {} controls it, which is declared already",
                    relationship.kind.word(),
                    holding.owner
                )),
                None => merged.owners.push(self.holding(relationship, parent)),
            }
            for quantifier in &relationship.quantifiers {
                notes.push(format!(
                    "{} with {quantifier}: consolidation is control, so no share is proposed",
                    relationship.kind.word()
                ));
            }
        }
        if merged == *facts && notes.is_empty() {
            return;
        }
        text.push('\n');
        for note in &notes {
            comment(text, note);
        }
        operator(text, &merged);
    }

    fn holding(&self, relationship: &Relationship, owner: String) -> Ownership {
        let mut source = String::new();
        write!(source, "GLEIF level 2, {}, {}", relationship.kind.word(), relationship.parent)
            .expect("a String takes all that is written");
        Ownership {
            owner,
            lei: Some(relationship.parent.to_string()),
            evidence: Evidence { source: Some(source), date: relationship.date.clone() },
            ..Ownership::default()
        }
    }

    /// Entities of a like name, for somebody to choose from.
    fn nameless(&self, text: &mut String, facts: &OperatorFacts) {
        let Some(best) = self.found.named.get(&facts.name) else { return };
        text.push('\n');
        comment(
            text,
            &format!(
                "operator {} has no LEI. If one of these is the same entity, add its LEI and \
                 import again:",
                facts.name
            ),
        );
        for (score, entity) in best {
            let law = entity.jurisdiction.as_deref().unwrap_or("?");
            let ended = if entity.active { "" } else { ", no longer active" };
            comment(
                text,
                &format!(
                    "  {score} of {SCORE_MAX}: {} ({law}{ended}), lei = \"{}\"",
                    entity.name, entity.lei
                ),
            );
        }
    }
}

/// Takes over what is not declared, and notes what is declared otherwise.
fn fill(merged: &mut OperatorFacts, entity: &GleifEntity, notes: &mut Vec<String>) {
    let mut filled = false;
    let said = [
        ("legal_name", &mut merged.legal_name, Some(&entity.name)),
        ("incorporation", &mut merged.incorporation, entity.jurisdiction.as_ref()),
        ("headquarters", &mut merged.headquarters, entity.headquarters.as_ref()),
    ];
    for (what, declared, said) in said {
        let Some(said) = said else { continue };
        match declared {
            None => {
                *declared = Some(said.clone());
                filled = true;
            }
            Some(declared) if !declared.eq_ignore_ascii_case(said) => {
                notes.push(format!("GLEIF has {what} {said}, and {declared} is declared"));
            }
            Some(_) => {}
        }
    }
    if !entity.active {
        notes.push(format!("GLEIF has {} as no longer active", entity.lei));
    }
    if filled && merged.evidence == Evidence::default() {
        let source = Some(format!("GLEIF level 1, {}", entity.lei));
        merged.evidence = Evidence { source, date: entity.date.clone() };
    }
}

/// A name for an operator, out of any text, that nobody has.
fn free_name(full: &str, lei: Lei, taken: &mut BTreeSet<String>) -> String {
    let mut name = String::new();
    for letter in full.chars() {
        if letter.is_ascii_alphanumeric() {
            name.push(letter.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(NAME_BYTES_MAX - 5);
    let mut name = name.trim_end_matches('-').to_owned();
    if name.is_empty() || taken.contains(&name) {
        name = match name.is_empty() {
            true => lei.as_str().to_lowercase(),
            false => format!("{name}-{}", lei.as_str()[16..].to_lowercase()),
        };
    }
    if taken.contains(&name) {
        name = lei.as_str().to_lowercase();
    }
    taken.insert(name.clone());
    name
}
