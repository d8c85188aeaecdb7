//! The answer of a pack, for people and for machines.
//!
//! **Invariant.** Every item stands there with its source; nothing is counted, weighed or summed
//! up.
//!
//! **Deliberately absent.** Verdicts.
//!
//! **Crash.** Values only.

use super::{Fact, List, Verdict};
use serde::Serialize;
use std::fmt::{Result, Write as _};

/// What a configuration shows under one pack.
#[derive(Debug, Clone, Serialize)]
pub struct PackReport {
    /// The pack.
    pub pack: &'static str,
    /// The document, with version and date.
    pub document: &'static str,
    /// What the pack covers, and what not.
    pub scope: &'static str,
    /// When somebody answers to another, for the verdicts.
    pub control: String,
    /// Lists that the verdicts use.
    pub lists: Vec<ListReport>,
    /// The items.
    pub items: Vec<ItemReport>,
}

/// A list of a pack.
#[derive(Debug, Clone, Serialize)]
pub struct ListReport {
    /// What is listed.
    pub what: &'static str,
    /// ISO 3166 codes.
    pub codes: Vec<&'static str>,
    /// Where it comes from.
    pub source: &'static str,
    /// The day of that source.
    pub date: &'static str,
}

impl From<&List> for ListReport {
    fn from(list: &List) -> Self {
        let List { what, codes, source, date } = list;
        Self { what, codes: codes.to_vec(), source, date }
    }
}

/// What it shows about one item.
#[derive(Debug, Clone, Serialize)]
pub struct ItemReport {
    /// In the framework's numbering.
    pub id: &'static str,
    /// What it asks, in our words.
    pub asks: &'static str,
    /// Where it stands.
    pub source: &'static str,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What stands below every answer.
const NOTICE: &str = "This says what follows from declared facts. It is no legal advice, and \
                      nobody has checked here whether the facts are true. An owner counts for \
                      whom it is declared to answer to, and no further, unless it is declared as \
                      an operator.";

/// The report as text.
#[must_use]
pub fn table(report: &PackReport) -> String {
    let mut text = String::new();
    write(&mut text, report).expect("a String takes all that is written");
    text
}

fn write(text: &mut String, report: &PackReport) -> Result {
    let PackReport { pack, document, scope, control, lists, items } = report;
    writeln!(text, "{pack}: {document}")?;
    writeln!(text, "  scope: {scope}")?;
    writeln!(text, "  control: {control}")?;
    for list in lists {
        let codes = list.codes.join(", ");
        writeln!(text, "  {}: {codes} [{}, {}]", list.what, list.source, list.date)?;
    }
    for item in items {
        writeln!(text, "\n{}: {} [{}]", item.id, item.asks, item.source)?;
        write_verdict(text, &item.verdict)?;
    }
    writeln!(text, "\n{NOTICE}")
}

fn write_verdict(text: &mut String, verdict: &Verdict) -> Result {
    match verdict {
        Verdict::Satisfied { facts } => {
            writeln!(text, "  satisfied, by what is declared:")?;
            write_facts(text, facts)
        }
        Verdict::NotSatisfied { facts, missing_declarations, what_would_change_it } => {
            writeln!(text, "  not satisfied:")?;
            write_facts(text, facts)?;
            for missing in missing_declarations {
                writeln!(text, "    - not declared: {missing}")?;
            }
            writeln!(text, "    what would change it: {what_would_change_it}")
        }
        Verdict::Organisation { question, facts } => {
            writeln!(text, "  for the organisation to answer: {question}")?;
            write_facts(text, facts)
        }
        Verdict::NotApplicable { why, facts } => {
            writeln!(text, "  does not arise: {why}")?;
            write_facts(text, facts)
        }
    }
}

fn write_facts(text: &mut String, facts: &[Fact]) -> Result {
    for Fact { fact, source, date } in facts {
        let source = source.as_deref().unwrap_or("no source");
        match date {
            Some(date) => writeln!(text, "    - {fact} [{source}, {date}]")?,
            None => writeln!(text, "    - {fact} [{source}]")?,
        }
    }
    Ok(())
}
