//! What a configuration shows under a framework, item by item: `havre check --against`. See
//! `docs/rules.md`.
//!
//! **Invariant.** Each item that is decided rests on facts that are shown with it, and none is
//! decided in the customer's favour by what is not declared: whoever could stand behind an
//! undeclared share, seat or law is presumed to, and the declaration that is missing is named.
//! There is no score, and no word for all items together.
//!
//! **Deliberately absent.** I/O ([`Observed::look`] aside, which is done before), legal advice, and
//! the frameworks' own words: items are paraphrased.
//!
//! **Crash.** Reads only.

mod built;
mod cisa;
mod data_act;
mod edpb;
mod nist;
mod outlook;
mod report;
mod secnumcloud;
#[cfg(test)]
mod tests;
mod view;

pub use report::{ItemReport, ListReport, PackReport, table};

use crate::config::{Config, SecretRef};
use havre_policy::{Evidence, FactsError};
use outlook::Adverse;
use serde::Serialize;
use std::os::unix::fs::PermissionsExt as _;
use view::View;

/// Every pack there is.
pub static PACKS: [&Pack; 5] =
    [&cisa::PACK, &edpb::PACK, &secnumcloud::PACK, &data_act::PACK, &nist::PACK];

/// A framework, as far as a configuration has anything to say to it.
pub struct Pack {
    /// Its name on the command line.
    pub name: &'static str,
    /// The document that the items are of, with its version and date.
    pub document: &'static str,
    /// What the pack covers, and what not.
    pub scope: &'static str,
    /// Lists that the verdicts use, each with where it comes from.
    pub lists: &'static [List],
    /// The items, in the framework's order.
    pub items: &'static [Item],
    /// Whose reach the verdicts are about.
    adverse: fn(&Config) -> Adverse,
}

/// A list that is part of a pack: data, which a new edition of its source may change.
pub struct List {
    /// What is listed.
    pub what: &'static str,
    /// ISO 3166 codes.
    pub codes: &'static [&'static str],
    /// Where it comes from.
    pub source: &'static str,
    /// The day of that source.
    pub date: &'static str,
}

/// One item of a framework.
pub struct Item {
    /// In the framework's own numbering.
    pub id: &'static str,
    /// What it asks, in our words.
    pub asks: &'static str,
    /// Where it stands within the pack's document, or beside it.
    pub source: &'static str,
    decide: fn(&View<'_>) -> Verdict,
}

/// Something that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it says.
    pub fact: String,
    /// Where it comes from; `None` when the configuration gives no source.
    pub source: Option<String>,
    /// When it was true.
    pub date: Option<String>,
}

impl Fact {
    fn of(fact: String, evidence: &Evidence) -> Self {
        Self { fact, source: evidence.source.clone(), date: evidence.date.clone() }
    }

    /// What the configuration itself says, or what follows from it.
    fn computed(fact: impl Into<String>) -> Self {
        Self {
            fact: fact.into(),
            source: Some("computed from the configuration".into()),
            date: None,
        }
    }

    /// How this version of Havre works.
    fn software(fact: impl Into<String>, document: &str) -> Self {
        Self { fact: fact.into(), source: Some(document.to_owned()), date: None }
    }
}

/// What the configuration shows about one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It does what the item asks, by what is declared.
    Satisfied {
        /// What that rests on; never empty.
        facts: Vec<Fact>,
    },
    /// It does not, or does not show that it does.
    NotSatisfied {
        /// What stands against it; never empty.
        facts: Vec<Fact>,
        /// What is not declared and would have to be.
        missing_declarations: Vec<String>,
        /// What would change the verdict.
        what_would_change_it: String,
    },
    /// No configuration can answer it.
    Organisation {
        /// What the organisation has to answer.
        question: String,
        /// What the configuration has to say to it.
        facts: Vec<Fact>,
    },
    /// The item does not arise.
    NotApplicable {
        /// Why not.
        why: String,
        /// What that rests on; never empty.
        facts: Vec<Fact>,
    },
}

/// What was seen on this machine before anything was decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observed {
    /// Permission bits of the root key's file; `None` when it is no file, or not on this machine.
    pub root_key_mode: Option<u32>,
}

impl Observed {
    /// Looks at the root key's file, and not into it.
    #[must_use]
    pub fn look(config: &Config) -> Self {
        let SecretRef::File(file) = &config.gateway.root_key else { return Self::default() };
        let mode = std::fs::metadata(file).map(|metadata| metadata.permissions().mode() & 0o777);
        Self { root_key_mode: mode.ok() }
    }
}

/// There is no such pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no rules pack; known are {}", known())]
pub struct UnknownPack {
    /// What was asked for.
    pub name: String,
}

fn known() -> String {
    let names: Vec<&str> = PACKS.iter().map(|pack| pack.name).collect();
    names.join(", ")
}

/// The pack of this name.
///
/// # Errors
/// When there is none; the text lists those that there are.
pub fn find(name: &str) -> Result<&'static Pack, UnknownPack> {
    let found = PACKS.iter().find(|pack| pack.name == name);
    found.copied().ok_or_else(|| UnknownPack { name: name.to_owned() })
}

/// What a configuration cannot be asked about.
#[derive(Debug, thiserror::Error)]
#[error("{pack}: the facts would be refused by the pack's control rule: {source}")]
pub struct AssessError {
    /// The pack.
    pub pack: &'static str,
    /// Why.
    pub source: FactsError,
}

/// Holds the configuration against the pack.
///
/// # Errors
/// When the declared shares settle nothing under the control rule that the pack prescribes.
pub fn assess(
    config: &Config,
    observed: Observed,
    pack: &'static Pack,
) -> Result<PackReport, AssessError> {
    let adverse = (pack.adverse)(config);
    let view = View::new(config, observed, &adverse)
        .map_err(|source| AssessError { pack: pack.name, source })?;
    let item = |item: &Item| ItemReport {
        id: item.id,
        asks: item.asks,
        source: item.source,
        verdict: (item.decide)(&view),
    };
    Ok(PackReport {
        pack: pack.name,
        document: pack.document,
        scope: pack.scope,
        control: adverse.rule.to_string(),
        lists: pack.lists.iter().map(ListReport::from).collect(),
        items: pack.items.iter().map(item).collect(),
    })
}
