//! What a policy promises, as the configuration says it.
//!
//! **Invariant.** A text that [`CoalitionSpec::parse`] accepts means one thing, and
//! `Display` gives a text that reads back as the same.
//!
//! **Deliberately absent.** Resolution against the declared parties: `coalition`.
//!
//! **Crash.** Values only.

use crate::PartyKind;
use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

/// A set of coalitions, said in one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoalitionSpec {
    /// Each party of the kind, alone: `any jurisdiction`.
    AnyOne(PartyKind),
    /// Each set of so many parties of the kind, together: `any 2 operators`.
    AnyOf(PartyKind, usize),
    /// Exactly these parties together, each as `kind:name` or as a name that only one party has.
    Named(Vec<String>),
}

/// The text names no coalition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no coalition: write \"any jurisdiction\", \"any operator\", \"any owner\", \
     \"any alliance\", \"any 2 operators\", or the parties that act together, such as \
     \"jurisdiction:DE\" or [\"operator:north\", \"owner:Group\"]"
)]
pub struct ParseCoalitionError {
    /// The text.
    pub text: String,
}

impl CoalitionSpec {
    /// Reads `any KIND`, `any N KINDs` (with blanks or hyphens) or the name of one party.
    ///
    /// # Errors
    /// When the text is empty, or begins with `any` and goes on otherwise.
    pub fn parse(text: &str) -> Result<Self, ParseCoalitionError> {
        let error = || ParseCoalitionError { text: text.to_owned() };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(error());
        }
        let lower = trimmed.to_ascii_lowercase();
        let mut words = lower.split([' ', '-']).filter(|word| !word.is_empty());
        if words.next() != Some("any") {
            return Ok(Self::Named(alloc::vec![trimmed.to_owned()]));
        }
        let (first, second, rest) = (words.next(), words.next(), words.next());
        match (first, second, rest) {
            (Some(kind), None, None) => {
                PartyKind::from_word(kind).map(Self::AnyOne).ok_or_else(error)
            }
            (Some(count), Some(kind), None) => {
                let kind = PartyKind::from_word(kind).ok_or_else(error)?;
                match count.parse() {
                    Ok(1) => Ok(Self::AnyOne(kind)),
                    Ok(count) if count > 1 => Ok(Self::AnyOf(kind, count)),
                    _ => Err(error()),
                }
            }
            _ => Err(error()),
        }
    }
}

impl fmt::Display for CoalitionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyOne(kind) => write!(f, "any {kind}"),
            Self::AnyOf(kind, count) => write!(f, "any {count} {kind}s"),
            Self::Named(names) => f.write_str(&names.join(" + ").to_string()),
        }
    }
}

/// Which coalitions must be unable to read, and which must be unable to cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuaranteeSpec {
    /// Coalitions that must never hold `k` shards of a blob.
    pub cannot_read: Vec<CoalitionSpec>,
    /// Coalitions without whose sites every acknowledged blob must decode.
    pub cannot_cut_off: Vec<CoalitionSpec>,
}
