//! The Consolidated Screening List, entry by entry, held against the names of one's own parties.
//!
//! **Invariant.** A match carries the entry's id, the two names and their score: it proposes, and a
//! person decides.
//!
//! **Deliberately absent.** Files, CSV and JSON: the caller reads. What being listed means: it
//! depends on the list.
//!
//! **Crash.** Pure.

use crate::{
    Facts, SeatKind,
    names::{NameIndex, SCORE_MAX},
};
use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};

/// The score from which on a match is shown unless another is asked for.
pub const SCORE_SHOWN_MIN: u8 = 75;
/// Matches that are kept, those of the highest score.
pub const MATCHES_MAX: usize = 1000;
/// Characters of each text of a match.
const TEXT_CHARS_MAX: usize = 1000;
/// Alternate names of one entry that are looked at.
const NAMES_MAX: usize = 1000;

/// What an entry says, as far as it is of use here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CslEntry {
    /// Its key, which stays from one publication to the next.
    pub id: String,
    /// The list it is on.
    pub source: String,
    /// `Entity`, `Individual`, `Vessel`, `Aircraft`, or nothing.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its other names.
    pub alt_names: Vec<String>,
    /// The programs under which it is listed.
    pub programs: String,
    /// Its addresses.
    pub addresses: String,
    /// Where to read about it.
    pub url: String,
    /// Since when it is listed.
    pub start_date: String,
}

impl CslEntry {
    /// Without what is too long to be shown, and without its other names.
    fn shortened(&self) -> Self {
        Self {
            id: cut(&self.id),
            source: cut(&self.source),
            kind: cut(&self.kind),
            name: cut(&self.name),
            alt_names: Vec::new(),
            programs: cut(&self.programs),
            addresses: cut(&self.addresses),
            url: cut(&self.url),
            start_date: cut(&self.start_date),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// Places of the columns of the list as CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CslColumns {
    id: usize,
    name: usize,
    others: BTreeMap<&'static str, usize>,
}

/// The columns of a file are not those of the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the file has no column {missing:?}; the Consolidated Screening List has \"_id\" and \"name\""
)]
pub struct CslColumnError {
    /// A column that is not there.
    pub missing: &'static str,
}

impl CslColumns {
    /// Finds the columns by the header.
    ///
    /// # Errors
    /// When there is no id or no name.
    pub fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Result<Self, CslColumnError> {
        let places: BTreeMap<String, usize> = header
            .into_iter()
            .enumerate()
            .map(|(place, name)| (name.trim().trim_start_matches('\u{feff}').to_owned(), place))
            .collect();
        let find = |name: &str| places.get(name).copied();
        let id = find("_id").or_else(|| find("id")).ok_or(CslColumnError { missing: "_id" })?;
        let name = find("name").ok_or(CslColumnError { missing: "name" })?;
        let known = [
            "source",
            "type",
            "alt_names",
            "programs",
            "addresses",
            "source_information_url",
            "source_list_url",
            "start_date",
        ];
        let others = known.into_iter().filter_map(|name| Some((name, find(name)?))).collect();
        Ok(Self { id, name, others })
    }

    /// The entry of a row; `None` when it has no id or no name.
    #[must_use]
    pub fn entry<'a>(&self, field: impl Fn(usize) -> Option<&'a str>) -> Option<CslEntry> {
        let text = |place: Option<usize>| place.and_then(&field).unwrap_or_default().trim();
        let of = |name: &str| text(self.others.get(name).copied());
        let (id, name) = (text(Some(self.id)), text(Some(self.name)));
        let url = [of("source_information_url"), of("source_list_url")];
        (!id.is_empty() && !name.is_empty()).then(|| CslEntry {
            id: id.to_owned(),
            source: of("source").to_owned(),
            kind: of("type").to_owned(),
            name: name.to_owned(),
            alt_names: alt_names(of("alt_names")),
            programs: of("programs").to_owned(),
            addresses: of("addresses").to_owned(),
            url: url.into_iter().find(|url| !url.is_empty()).unwrap_or_default().to_owned(),
            start_date: of("start_date").to_owned(),
        })
    }
}

/// Names as the CSV has them: separated by semicolons.
fn alt_names(text: &str) -> Vec<String> {
    let names = text.split(';').map(str::trim).filter(|name| !name.is_empty());
    names.take(NAMES_MAX).map(ToOwned::to_owned).collect()
}

/// A name of one's own that an entry of the list resembles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CslMatch {
    /// The party, as `kind:name`.
    pub party: String,
    /// The name of it that matched.
    pub name: String,
    /// The name of the entry that matched.
    pub listed: String,
    /// How alike the two are, of [`SCORE_MAX`].
    pub score: u8,
    /// The entry, shortened and without its other names.
    pub entry: CslEntry,
}

/// The names to look for.
pub struct Screening {
    /// Party and name, by place in the index.
    names: Vec<(String, String)>,
    index: NameIndex,
    score_min: u8,
    matches: Vec<CslMatch>,
    dropped: usize,
}

impl Screening {
    /// Looks for the operators, owners and administrators that are declared, by all their names;
    /// what scores below `score_min` is passed over.
    #[must_use]
    pub fn new(facts: &Facts, score_min: u8) -> Self {
        let mut names: BTreeSet<(String, String)> = BTreeSet::new();
        for operator in facts.operators() {
            let party = "operator:".to_string() + operator.name.trim();
            names.insert((party.clone(), operator.name.clone()));
            names.extend(operator.legal_name.iter().map(|name| (party.clone(), name.clone())));
            for holding in &operator.owners {
                let owner = holding.owner.trim();
                names.insert(("owner:".to_string() + owner, owner.to_owned()));
            }
        }
        let people = facts.seats().iter().filter(|seat| seat.kind == SeatKind::Administrator);
        names.extend(people.map(|s| ("administrator:".to_string() + &s.name, s.name.clone())));
        let mut screening = Self {
            names: names.into_iter().collect(),
            index: NameIndex::default(),
            score_min: score_min.clamp(1, SCORE_MAX),
            matches: Vec::new(),
            dropped: 0,
        };
        for (_, name) in &screening.names {
            screening.index.push(name);
        }
        screening
    }

    /// Compares the entry with every name; the best of its names stands for it.
    pub fn look_at(&mut self, entry: &CslEntry) {
        if matches!(entry.kind.as_str(), "Vessel" | "Aircraft") {
            return;
        }
        let mut best: BTreeMap<usize, (u8, &str)> = BTreeMap::new();
        for listed in core::iter::once(&entry.name).chain(entry.alt_names.iter().take(NAMES_MAX)) {
            for (place, score) in self.index.alike(listed, self.score_min) {
                if best.get(&place).is_none_or(|(known, _)| score > *known) {
                    best.insert(place, (score, listed));
                }
            }
        }
        for (place, (score, listed)) in best {
            let (party, name) = &self.names[place];
            self.keep(CslMatch {
                party: party.clone(),
                name: name.clone(),
                listed: cut(listed),
                score,
                entry: entry.shortened(),
            });
        }
    }

    fn keep(&mut self, found: CslMatch) {
        let same =
            |other: &&mut CslMatch| other.party == found.party && other.entry.id == found.entry.id;
        if let Some(other) = self.matches.iter_mut().find(same) {
            if found.score > other.score {
                *other = found;
            }
            return;
        }
        self.matches.push(found);
        if self.matches.len() > MATCHES_MAX {
            self.dropped += 1;
            let least = self.matches.iter().enumerate().min_by_key(|(_, m)| m.score);
            if let Some((place, _)) = least {
                self.matches.swap_remove(place);
            }
        }
    }

    /// The matches, those of the highest score first, and how many were dropped.
    #[must_use]
    pub fn matches(mut self) -> (Vec<CslMatch>, usize) {
        self.matches.sort_by(|a, b| {
            let score = b.score.cmp(&a.score);
            score.then_with(|| a.party.cmp(&b.party)).then_with(|| a.entry.id.cmp(&b.entry.id))
        });
        (self.matches, self.dropped)
    }
}
