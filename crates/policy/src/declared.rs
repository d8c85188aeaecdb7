//! What a configuration declares: sites, operators with their owners, alliances, overrides, and the
//! seats of the trust domain.
//!
//! **Invariant.** Every fact has room for where it comes from and when it was true ([`Evidence`]).
//!
//! **Deliberately absent.** Checks and consequences: [`crate::Facts`].
//!
//! **Crash.** Values only.

use crate::{ControlRule, Share};
use alloc::{string::String, vec::Vec};
use core::fmt;

/// Where a fact comes from and when it was true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// A register, a report, a letter: for people.
    pub source: Option<String>,
    /// A day, as `2026-01-31`.
    pub date: Option<String>,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, &self.date) {
            (Some(source), Some(date)) => write!(f, "{source}, {date}"),
            (Some(text), None) | (None, Some(text)) => f.write_str(text),
            (None, None) => f.write_str("no source"),
        }
    }
}

/// One declared site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteFacts {
    /// Its name: permanent, because its id is derived from it.
    pub name: String,
    /// The name of the operator that runs it.
    pub operator: String,
    /// The jurisdiction of its location: an ISO 3166 code, such as `DE` or `US-VA`.
    pub location: String,
}

/// One declared operator: a legal entity. It need not run a site: a holding company between an
/// operator and its owners is declared in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorFacts {
    /// Its name in the configuration.
    pub name: String,
    /// Its registered name.
    pub legal_name: Option<String>,
    /// Its Legal Entity Identifier (ISO 17442).
    pub lei: Option<String>,
    /// The jurisdiction under whose law it exists.
    pub incorporation: Option<String>,
    /// The jurisdiction it is led from.
    pub headquarters: Option<String>,
    /// Its declared owners.
    pub owners: Vec<Ownership>,
    /// Of all but the owners, which have their own.
    pub evidence: Evidence,
}

/// What one owner holds of an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// The owner. When this is the name of a declared operator, that one's owners count as well.
    pub owner: String,
    /// The owner's Legal Entity Identifier.
    pub lei: Option<String>,
    /// Share of the capital. When neither this nor the votes are declared, the whole is presumed;
    /// when one of them is, the other is presumed to be as large.
    pub capital: Option<Share>,
    /// Share of the votes.
    pub votes: Option<Share>,
    /// The jurisdiction that the owner answers to.
    pub jurisdiction: Option<String>,
    /// Of the holding and of the owner's jurisdiction.
    pub evidence: Evidence,
}

/// Jurisdictions that are presumed to act together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllianceFacts {
    /// Its name.
    pub name: String,
    /// Whom it joins.
    pub members: Members,
    /// Of the alliance.
    pub evidence: Evidence,
}

/// Whom an alliance joins; a part of a state goes with its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// These jurisdictions.
    These(Vec<String>),
    /// Every jurisdiction that is declared anywhere, but these.
    AllBut(Vec<String>),
}

impl Members {
    /// The codes that it names.
    #[must_use]
    pub fn codes(&self) -> &[String] {
        match self {
            Self::These(codes) | Self::AllBut(codes) => codes,
        }
    }
}

/// Whether an operator answers to a party, as whoever runs the gateway states it: this, and not
/// what follows from the other facts, is what counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// The operator's name.
    pub operator: String,
    /// The party, as `kind:name`.
    pub party: String,
    /// Whether it answers to it.
    pub answers: bool,
    /// Why that is so.
    pub reason: String,
    /// Of the statement.
    pub evidence: Evidence,
}

/// What a seat of the trust domain gives to who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// The gateway's memory: plaintext, all keys, and the credentials of all sites.
    Gateway,
    /// The root key.
    Key,
}

/// What a seat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SeatKind {
    /// The machine that the gateway runs on.
    Host,
    /// Whatever keeps the root key.
    KeyService,
    /// A person who can act as the gateway does, or take the root key.
    Administrator,
}

impl fmt::Display for SeatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the gateway's host",
            Self::KeyService => "the key service",
            Self::Administrator => "an administrator",
        })
    }
}

/// A place in the trust domain from which keys or plaintext can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatFacts {
    /// What it is.
    pub kind: SeatKind,
    /// An administrator's name; else empty.
    pub name: String,
    /// The operator that runs it, or employs the administrator.
    pub operator: Option<String>,
    /// The jurisdictions in which it lies, or to which the administrator answers.
    pub locations: Vec<String>,
    /// What it gives.
    pub holds: Holds,
    /// Of all of it.
    pub evidence: Evidence,
}

impl fmt::Display for SeatFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            SeatKind::Administrator => write!(f, "administrator {}", self.name),
            kind => write!(f, "{kind}"),
        }
    }
}

/// Everything that is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The sites, by position.
    pub sites: Vec<SiteFacts>,
    /// Of the sites, by position; what is left out has none.
    pub site_evidence: Vec<Evidence>,
    /// The operators.
    pub operators: Vec<OperatorFacts>,
    /// The alliances.
    pub alliances: Vec<AllianceFacts>,
    /// The overrides.
    pub overrides: Vec<Override>,
    /// The seats of the trust domain.
    pub seats: Vec<SeatFacts>,
    /// Which owners are obeyed.
    pub rule: ControlRule,
}

impl Declared {
    /// Sites and operators, and nothing else yet.
    #[must_use]
    pub const fn new(
        sites: Vec<SiteFacts>,
        operators: Vec<OperatorFacts>,
        rule: ControlRule,
    ) -> Self {
        Self {
            sites,
            site_evidence: Vec::new(),
            operators,
            alliances: Vec::new(),
            overrides: Vec::new(),
            seats: Vec::new(),
            rule,
        }
    }
}
