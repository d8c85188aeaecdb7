//! Parties: whoever can compel or act.
//!
//! **Invariant.** A [`PartyId`] is an index into the parties of the [`crate::Facts`] that made it.
//!
//! **Deliberately absent.** Who reaches what: [`crate::Facts`].
//!
//! **Crash.** Ids change with the configuration and are never stored; kind and name are.

use alloc::string::String;
use core::fmt;

/// What a party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PartyKind {
    /// The legal entity that runs a site.
    Operator,
    /// Whoever owns enough of an operator to be obeyed.
    Owner,
    /// A state, or a part of one, by its ISO 3166 code.
    Jurisdiction,
    /// Jurisdictions that are presumed to act together.
    Alliance,
    /// A person who can act as the gateway does, or take the root key.
    Administrator,
}

impl PartyKind {
    /// The word for it, in configuration and explanations.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Owner => "owner",
            Self::Jurisdiction => "jurisdiction",
            Self::Alliance => "alliance",
            Self::Administrator => "administrator",
        }
    }

    /// The kind with this word, singular or plural.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "operator" | "operators" => Some(Self::Operator),
            "owner" | "owners" => Some(Self::Owner),
            "jurisdiction" | "jurisdictions" => Some(Self::Jurisdiction),
            "alliance" | "alliances" => Some(Self::Alliance),
            "administrator" | "administrators" => Some(Self::Administrator),
            _ => None,
        }
    }
}

impl fmt::Display for PartyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A party by its place in the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartyId(u16);

impl PartyId {
    pub(crate) const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The party's place in [`crate::Facts::parties`].
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// A party: its kind and its name, shown as `kind:name`, which is also how the configuration names
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// What it is.
    pub kind: PartyKind,
    /// Its name, as it was first declared; two names that differ only in case are one party.
    pub name: String,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}
