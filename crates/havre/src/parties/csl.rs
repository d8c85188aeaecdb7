//! The Consolidated Screening List, as CSV or JSON, held against one's own parties.
//!
//! **Invariant.** Every match shows its score and the entry's id, and nothing of the proposal
//! counts unless somebody takes it out of its comment.
//!
//! **Deliberately absent.** The comparison: `havre_policy::csl`.
//!
//! **Crash.** Reads only.

use super::{
    ImportError,
    limited::{Budget, each_row, field, header, open},
    proposal::{comment, string},
};
use crate::config::Config;
use havre_policy::{
    csl::{CslColumns, CslEntry, CslMatch, MATCHES_MAX, Screening},
    names::SCORE_MAX,
};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{fmt, fmt::Write as _, io::BufReader, path::Path};

/// Reads the list and proposes what its matches may mean, as text for a configuration.
///
/// # Errors
/// When the file cannot be read, or is not the list.
pub fn import_csl(config: &Config, file: &Path, score_min: u8) -> Result<String, ImportError> {
    let mut screening = Screening::new(config.facts(), score_min);
    let mut entries = 0_u64;
    let mut look_at = |entry: &CslEntry| {
        entries += 1;
        screening.look_at(entry);
    };
    let (reader, first) = open(file)?;
    if matches!(first, Some(b'{' | b'[')) {
        let budget = reader.budget();
        let mut json = serde_json::Deserializer::from_reader(BufReader::new(reader));
        let seed = List { budget, each: &mut look_at };
        let failed = |source| ImportError::Json { file: file.to_owned(), source };
        seed.deserialize(&mut json).map_err(failed)?;
    } else {
        drop(reader);
        let names = header(file)?;
        let columns = CslColumns::new(names.iter().map(String::as_str))
            .map_err(|source| ImportError::Csl { file: file.to_owned(), source })?;
        each_row(file, |row| {
            if let Some(entry) = columns.entry(|place| field(row, place)) {
                look_at(&entry);
            }
        })?;
    }
    let (matches, dropped) = screening.matches();
    Ok(proposal(file, entries, score_min, &matches, dropped))
}

fn proposal(
    file: &Path,
    entries: u64,
    score_min: u8,
    matches: &[CslMatch],
    dropped: usize,
) -> String {
    let mut text = String::new();
    comment(
        &mut text,
        &format!(
            "Proposed by `havre parties import csl` from {}: {entries} entries, {} matches of at \
             least {score_min} of {SCORE_MAX}. A name is not a person: look at each entry by its \
             id before anything is decided. Nothing below counts as it stands.",
            file.display(),
            matches.len()
        ),
    );
    if dropped > 0 {
        comment(
            &mut text,
            &format!("{dropped} more matches scored lower than the first {MATCHES_MAX}."),
        );
    }
    for found in matches {
        text.push('\n');
        let CslMatch { party, name, listed, score, entry } = found;
        comment(&mut text, &format!("{score} of {SCORE_MAX}: {party} ({name}) and {listed}"));
        for (what, value) in [
            ("id", &entry.id),
            ("list", &entry.source),
            ("type", &entry.kind),
            ("name", &entry.name),
            ("programs", &entry.programs),
            ("addresses", &entry.addresses),
            ("since", &entry.start_date),
            ("see", &entry.url),
        ] {
            if !value.trim().is_empty() {
                comment(&mut text, &format!("  {what}: {value}"));
            }
        }
        let advice = match party.split_once(':') {
            Some(("administrator", _)) => "  If it is the same: take the access away.".to_owned(),
            _ => format!("  If it is the same, in each [[policy]]: exclude = [{}]", string(party)),
        };
        writeln!(text, "# {advice}").expect("a String takes all that is written");
    }
    text
}

/// The JSON of the list: an object with `results`, or the results alone.
struct List<'a, F> {
    budget: Budget,
    each: &'a mut F,
}

impl<'de, F: FnMut(&CslEntry)> DeserializeSeed<'de> for List<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&CslEntry)> Visitor<'de> for List<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Consolidated Screening List: an object with \"results\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { budget, each } = self;
        let mut seen = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "results" {
                seen = true;
                map.next_value_seed(List { budget: budget.clone(), each: &mut *each })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if seen { Ok(()) } else { Err(serde::de::Error::missing_field("results")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut results: A) -> Result<(), A::Error> {
        let Self { budget, each } = self;
        budget.renew();
        while let Some(raw) = results.next_element::<RawEntry>()? {
            budget.renew();
            if let Some(entry) = raw.entry() {
                each(&entry);
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct RawEntry {
    #[serde(alias = "_id")]
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    alt_names: Option<Vec<String>>,
    programs: Option<Vec<String>>,
    addresses: Option<Vec<RawAddress>>,
    source_information_url: Option<String>,
    source_list_url: Option<String>,
    start_date: Option<String>,
}

#[derive(Deserialize)]
struct RawAddress {
    address: Option<String>,
    city: Option<String>,
    state: Option<String>,
    country: Option<String>,
}

impl RawEntry {
    fn entry(self) -> Option<CslEntry> {
        let id = self.id.filter(|id| !id.trim().is_empty())?;
        let name = self.name.filter(|name| !name.trim().is_empty())?;
        let address = |a: RawAddress| {
            let parts = [a.address, a.city, a.state, a.country].into_iter().flatten();
            parts.collect::<Vec<String>>().join(", ")
        };
        let addresses: Vec<String> =
            self.addresses.unwrap_or_default().into_iter().map(address).collect();
        Some(CslEntry {
            id,
            source: self.source.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            name,
            alt_names: self.alt_names.unwrap_or_default(),
            programs: self.programs.unwrap_or_default().join("; "),
            addresses: addresses.join("; "),
            url: self.source_information_url.or(self.source_list_url).unwrap_or_default(),
            start_date: self.start_date.unwrap_or_default(),
        })
    }
}
