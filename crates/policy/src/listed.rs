//! Every declared fact as a sentence, with where it comes from and when it was true.
//!
//! **Invariant.** Nothing that exposure rests on is left out.
//!
//! **Deliberately absent.** What follows from the facts: `why`.
//!
//! **Crash.** Values only.

use crate::{
    AllianceFacts, Evidence, Facts, Holds, Members, OperatorFacts, Ownership, SeatFacts, SeatKind,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// A declared fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFact {
    /// What it says.
    pub text: String,
    /// Of it.
    pub evidence: Evidence,
}

/// An override, as it stands to the other facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedOverride {
    /// What it says.
    pub text: String,
    /// Why.
    pub reason: String,
    /// Of it.
    pub evidence: Evidence,
    /// Whether the other facts say otherwise; if not, it changes nothing.
    pub tells: bool,
}

impl Facts {
    /// Every declared fact but the overrides: sites, operators, owners, alliances, seats.
    #[must_use]
    pub fn listed(&self) -> Vec<ListedFact> {
        let declared = self.declared();
        let mut facts = Vec::new();
        for (position, site) in declared.sites.iter().enumerate() {
            let evidence = declared.site_evidence.get(position).cloned().unwrap_or_default();
            let text = format!(
                "site {} is run by {} and lies in {}",
                site.name, site.operator, site.location
            );
            facts.push(ListedFact { text, evidence });
        }
        for operator in &declared.operators {
            facts.push(ListedFact {
                text: operator_text(operator),
                evidence: operator.evidence.clone(),
            });
            facts.extend(operator.owners.iter().map(|holding| ListedFact {
                text: holding_text(operator, holding),
                evidence: holding.evidence.clone(),
            }));
        }
        facts.extend(self.alliances().iter().map(alliance));
        facts.extend(
            declared
                .seats
                .iter()
                .map(|seat| ListedFact { text: seat_text(seat), evidence: seat.evidence.clone() }),
        );
        facts
    }

    /// Every override.
    #[must_use]
    pub fn listed_overrides(&self) -> Vec<ListedOverride> {
        let listed = self.overrides().map(|(entry, tells)| ListedOverride {
            text: format!(
                "operator {} {} to {}",
                entry.operator,
                if entry.answers { "answers" } else { "does not answer" },
                entry.party
            ),
            reason: entry.reason.clone(),
            evidence: entry.evidence.clone(),
            tells,
        });
        listed.collect()
    }
}

fn operator_text(operator: &OperatorFacts) -> String {
    let OperatorFacts { name, legal_name, lei, incorporation, headquarters, .. } = operator;
    let mut parts = Vec::new();
    for (what, value) in [
        ("registered as", legal_name),
        ("LEI", lei),
        ("incorporated in", incorporation),
        ("led from", headquarters),
    ] {
        if let Some(value) = value {
            parts.push(format!("{what} {value}"));
        }
    }
    match parts.is_empty() {
        true => format!("operator {name}: nothing is declared but the name"),
        false => format!("operator {name}: {}", parts.join(", ")),
    }
}

fn holding_text(operator: &OperatorFacts, holding: &Ownership) -> String {
    let Ownership { owner, capital, votes, jurisdiction, .. } = holding;
    let share = match (capital, votes) {
        (None, None) => "an undeclared share".to_string(),
        (Some(capital), None) => format!("{capital} of the capital"),
        (None, Some(votes)) => format!("{votes} of the votes"),
        (Some(capital), Some(votes)) => {
            format!("{capital} of the capital and {votes} of the votes")
        }
    };
    let whom = jurisdiction.as_ref().map(|code| format!(", and answers to {code}"));
    format!("{owner} has {share} of {}{}", operator.name, whom.unwrap_or_default())
}

fn alliance(alliance: &AllianceFacts) -> ListedFact {
    let who = match &alliance.members {
        Members::These(codes) => codes.join(", "),
        Members::AllBut(codes) => format!("all but {}", codes.join(", ")),
    };
    let text = format!("alliance {}: {who}", alliance.name);
    ListedFact { text, evidence: alliance.evidence.clone() }
}

fn seat_text(seat: &SeatFacts) -> String {
    let SeatFacts { kind, operator, locations, holds, .. } = seat;
    let (run, lies) = match kind {
        SeatKind::Administrator => ("is employed by", "answers to"),
        SeatKind::Host | SeatKind::KeyService => ("is run by", "lies in"),
    };
    let mut parts = Vec::new();
    parts.extend(operator.as_ref().map(|operator| format!("{run} {operator}")));
    if !locations.is_empty() {
        parts.push(format!("{lies} {}", locations.join(", ")));
    }
    parts.push(match holds {
        Holds::Gateway => "has plaintext, keys and the sites' credentials".to_string(),
        Holds::Key => "has the root key".to_string(),
    });
    format!("{seat} {}", parts.join(", "))
}
