//! How alike two names of persons or companies are.
//!
//! **Invariant.** Equal names score 100, and only names that are equal but for case, accents,
//! punctuation and legal form do.
//!
//! **Deliberately absent.** Verdicts: a score proposes, a person decides. Transliteration between
//! scripts, and sounds.
//!
//! **Crash.** Pure.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

/// A score of a full match.
pub const SCORE_MAX: u8 = 100;
/// The same words in another order, as lists write persons.
const SCORE_REORDERED: u8 = 97;
/// What a likeness that is none of these comes to at most.
const SCORE_ALIKE_MAX: usize = 95;
/// Words of a name that are looked at; lists have titles of whole sentences.
const WORDS_MAX: usize = 24;
/// Bytes of a word that are looked at.
const WORD_BYTES_MAX: usize = 64;

/// Legal forms, which are left out when anything else is there.
const FORMS: [&str; 42] = [
    "ab",
    "ag",
    "aktiengesellschaft",
    "as",
    "asa",
    "bv",
    "co",
    "company",
    "corp",
    "corporation",
    "eg",
    "ev",
    "gmbh",
    "group",
    "holding",
    "holdings",
    "inc",
    "incorporated",
    "jsc",
    "kg",
    "kk",
    "limited",
    "llc",
    "llp",
    "ltd",
    "ltda",
    "mbh",
    "nv",
    "oao",
    "ojsc",
    "ooo",
    "oy",
    "oyj",
    "plc",
    "pte",
    "pty",
    "sa",
    "sarl",
    "se",
    "spa",
    "srl",
    "the",
];

/// A name, taken apart to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedName {
    words: Vec<String>,
    sorted: Vec<String>,
    /// Pairs of letters over all words in order, with how often they are there.
    pairs: BTreeMap<(char, char), u32>,
}

impl ComparedName {
    /// Takes a name apart; `None` when there is no letter and no digit in it.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let all = words(name);
        let kept: Vec<String> =
            all.iter().filter(|word| !FORMS.contains(&word.as_str())).cloned().collect();
        let words = if kept.is_empty() { all } else { kept };
        if words.is_empty() {
            return None;
        }
        let mut sorted = words.clone();
        sorted.sort_unstable();
        let mut pairs = BTreeMap::new();
        for word in &sorted {
            let letters = word.chars().zip(word.chars().skip(1));
            let ends = word.chars().next().map(|first| (' ', first));
            for pair in letters.chain(ends) {
                *pairs.entry(pair).or_default() += 1;
            }
        }
        Some(Self { words, sorted, pairs })
    }

    /// How alike the two are: 0 to [`SCORE_MAX`]. 100: the same words in the same order; 97: in
    /// another order; up to 95: by the pairs of letters or the whole words that they share.
    #[must_use]
    pub fn score(&self, other: &Self) -> u8 {
        if self.words == other.words {
            return SCORE_MAX;
        }
        if self.sorted == other.sorted {
            return SCORE_REORDERED;
        }
        let shared: u32 = self
            .pairs
            .iter()
            .map(|(pair, count)| (*count).min(other.pairs.get(pair).copied().unwrap_or(0)))
            .sum();
        let pairs: u32 = self.pairs.values().chain(other.pairs.values()).sum();
        let by_pairs = alike(shared as usize, pairs as usize);
        let (mine, its): (BTreeSet<_>, BTreeSet<_>) =
            (self.words.iter().collect(), other.words.iter().collect());
        let by_words = alike(mine.intersection(&its).count(), mine.len() + its.len());
        u8::try_from(by_pairs.max(by_words)).expect("at most SCORE_ALIKE_MAX")
    }
}

/// Names that others are held against.
#[derive(Clone, Debug, Default)]
pub struct NameIndex {
    names: Vec<Option<ComparedName>>,
    /// By the beginning of a word: places in the names.
    by_word: BTreeMap<String, Vec<usize>>,
}

impl NameIndex {
    /// Takes a name in, at the next place.
    pub fn push(&mut self, name: &str) {
        let place = self.names.len();
        let compared = ComparedName::new(name);
        for word in compared.iter().flat_map(|name| &name.words) {
            let places = self.by_word.entry(beginning(word)).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
        self.names.push(compared);
    }

    /// The places of the names that are at least so much like this one, with their scores. A name
    /// of which no word begins as one of this does is not compared.
    #[must_use]
    pub fn alike(&self, name: &str, score_min: u8) -> Vec<(usize, u8)> {
        let words = words(name);
        let places: BTreeSet<usize> = words
            .iter()
            .filter_map(|word| self.by_word.get(&beginning(word)))
            .flatten()
            .copied()
            .collect();
        let Some(compared) = (!places.is_empty()).then(|| ComparedName::new(name)).flatten() else {
            return Vec::new();
        };
        let scored = places.into_iter().filter_map(|place| {
            let score = self.names[place].as_ref()?.score(&compared);
            (score >= score_min).then_some((place, score))
        });
        scored.collect()
    }
}

/// What two words have to share before names are compared at all: a slip at the end is found.
fn beginning(word: &str) -> String {
    word.chars().take(3).collect()
}

/// Dice's coefficient, in points.
fn alike(shared: usize, of_both: usize) -> usize {
    (2 * shared * SCORE_ALIKE_MAX).checked_div(of_both).unwrap_or(0)
}

fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    // A point or an apostrophe joins: S.A. is one word, and so is O'Neil.
    for letter in name.chars().chain([' ']) {
        if letter.is_alphanumeric() {
            if word.len() < WORD_BYTES_MAX {
                letter.to_lowercase().for_each(|lower| plain(lower, &mut word));
            }
        } else if !matches!(letter, '.' | '\'' | '’') && !word.is_empty() {
            words.push(core::mem::take(&mut word));
            if words.len() == WORDS_MAX {
                break;
            }
        }
    }
    words
}

/// The letter without its accent, for the accents of European languages.
fn plain(letter: char, word: &mut String) {
    let plain = match letter {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => "a",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' => "d",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'ğ' | 'ģ' => "g",
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'į' | 'ı' | '\u{307}' => {
            if letter == '\u{307}' {
                ""
            } else {
                "i"
            }
        }
        'ķ' => "k",
        'ĺ' | 'ļ' | 'ľ' | 'ł' => "l",
        'ñ' | 'ń' | 'ņ' | 'ň' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ő' => "o",
        'ŕ' | 'ř' => "r",
        'ś' | 'ş' | 'š' | 'ș' => "s",
        'ß' => "ss",
        'ť' | 'ţ' | 'ț' => "t",
        'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' | 'ų' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        other => {
            word.push(other);
            return;
        }
    };
    word.push_str(plain);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, want: core::ops::RangeInclusive<u8>) {
        let (a, b) = (ComparedName::new(one), ComparedName::new(other));
        let (a, b) = (a.expect("a name"), b.expect("a name"));
        assert!(want.contains(&a.score(&b)), "{one} | {other}: {}", a.score(&b));
        assert_eq!(a.score(&b), b.score(&a));
    }

    #[test]
    fn case_accents_punctuation_and_legal_form_make_no_difference() {
        check("Nordwolke Rechenzentren SE", "NORDWOLKE RECHENZENTREN", 100..=100);
        check("Atlântica Dados Ltda.", "Atlantica Dados", 100..=100);
        check("Société Générale S.A.", "societe generale", 100..=100);
        check("Straße & Söhne", "STRASSE SOHNE", 100..=100);
        // Forms alone are a name.
        check("The Company", "company the", 97..=97);
    }

    #[test]
    fn another_order_and_small_slips_score_high_and_others_low() {
        check("PETROV, Vasiliy", "Vasiliy Petrov", 97..=97);
        check("Redacted Quantum Trading", "Redacted Quantun Trading", 80..=95);
        check("Vasiliy Petrov", "Vasily Petroff", 60..=94);
        check("Harbour Capital", "Mountain Minerals", 0..=40);
        check("Northern Cloud", "Southern Cloud", 40..=80);
    }

    #[test]
    fn what_has_no_letters_is_no_name() {
        assert_eq!(ComparedName::new(" -- . "), None);
        assert_eq!(ComparedName::new(""), None);
        check("華為技術", "華為技術", 100..=100);
    }

    #[test]
    fn endless_names_are_cut() {
        let long = "x".repeat(100_000) + &" y".repeat(100_000);
        let name = ComparedName::new(&long).expect("a name");
        assert!(
            name.words.len() <= WORDS_MAX && name.words.iter().all(|word| word.len() <= 64 + 4)
        );
    }
}
