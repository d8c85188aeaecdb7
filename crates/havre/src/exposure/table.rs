//! The exposure as text.
//!
//! **Invariant.** Whoever sits with the gateway or the key stands first; what is not shown is
//! counted.
//!
//! **Deliberately absent.** Figures of its own.
//!
//! **Crash.** Values only.

use super::report::{CoalitionReport, ListReport, PolicyLists, PolicyReport, Report, StoredReport};
use havre_policy::{Evidence, Facts};
use std::fmt::{Result, Write as _};

/// Coalitions of one list that are shown unless all are asked for.
const SHOWN_MAX: usize = 12;

/// The report as text; with `all`, every coalition of it.
#[must_use]
pub fn table(report: &Report, all: bool) -> String {
    let mut text = String::new();
    write(&mut text, report, all).expect("a String takes all that is written");
    text
}

fn write(text: &mut String, report: &Report, all: bool) -> Result {
    for change in &report.what_if {
        writeln!(text, "what if: {change}")?;
    }
    writeln!(text, "control: {}", report.control)?;
    for policy in &report.policies {
        write_policy(text, policy, all)?;
    }
    writeln!(text, "\ntrust domain, and whom it is exposed to")?;
    if report.trust_domain.is_empty() {
        writeln!(text, "  nothing is declared")?;
    }
    for seat in &report.trust_domain {
        writeln!(text, "  {}", seat.seat)?;
        write_parties(text, &seat.parties)?;
    }
    writeln!(text, "\nsites, and whom they are exposed to")?;
    for site in &report.sites {
        writeln!(text, "  {}", site.site)?;
        write_parties(text, &site.parties)?;
    }
    if !report.overrides.is_empty() {
        writeln!(text, "\noverrides: these stand above the other facts")?;
    }
    for entry in &report.overrides {
        let idle = if entry.changes_the_answer { "" } else { " (the facts say so anyway)" };
        let evidence = evidence(entry.source.as_ref(), entry.date.as_ref());
        writeln!(text, "  {}: {} [{evidence}]{idle}", entry.says, entry.reason)?;
    }
    writeln!(text, "\nfacts")?;
    for fact in &report.facts {
        let evidence = evidence(fact.source.as_ref(), fact.date.as_ref());
        writeln!(text, "  {} [{evidence}]", fact.fact)?;
    }
    if report.warnings.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nwarnings")?;
    for warning in &report.warnings {
        writeln!(text, "  - {warning}")?;
    }
    Ok(())
}

fn evidence(source: Option<&String>, date: Option<&String>) -> Evidence {
    Evidence { source: source.cloned(), date: date.cloned() }
}

fn write_parties(text: &mut String, parties: &[super::report::PartyReport]) -> Result {
    for party in parties {
        let because: Vec<&str> = party.because.iter().map(|link| link.text.as_str()).collect();
        writeln!(text, "    {}: {}", party.party, because.join("; "))?;
    }
    Ok(())
}

fn write_stored(text: &mut String, stored: Option<&StoredReport>) -> Result {
    let Some(stored) = stored else { return Ok(()) };
    let StoredReport { blobs, misplaced, at_other_sites, could_read, could_cut_off } = stored;
    match misplaced {
        0 => writeln!(text, "  stored: {blobs} blobs, all where they may be"),
        _ => writeln!(
            text,
            "  stored: {blobs} blobs, {misplaced} MISPLACED until they are moved: {at_other_sites} \
             at sites that may have none, {could_read} could be read, {could_cut_off} could be \
             cut off"
        ),
    }
}

fn write_policy(text: &mut String, policy: &PolicyReport, all: bool) -> Result {
    writeln!(text)?;
    let buckets = match policy.buckets.as_slice() {
        [] => "no bucket".to_owned(),
        buckets => format!("buckets {}", buckets.join(", ")),
    };
    let Some(lists) = &policy.exposure else {
        let reason = policy.refused.as_deref().unwrap_or_default();
        writeln!(text, "policy {}: {buckets}", policy.policy)?;
        return writeln!(text, "  would be refused: {reason}");
    };
    let PolicyLists { geometry, shards, stored_enough, .. } = lists;
    writeln!(text, "policy {}: {geometry}, {buckets}", policy.policy)?;
    write_list(text, "could read with what they have", &lists.could_read, all)?;
    write_stored(text, policy.stored.as_ref())?;
    let with_key = "could read if a key came to them";
    write_list(text, with_key, &lists.could_read_with_key, all)?;
    write_list(text, "could cut off", &lists.could_cut_off, all)?;
    if stored_enough < shards {
        writeln!(
            text,
            "  a write is acknowledged with {stored_enough} of {shards} shards: until the others \
             follow, fewer sites cut it off"
        )?;
    }
    Ok(())
}

fn write_list(text: &mut String, what: &str, list: &ListReport, all: bool) -> Result {
    if list.coalitions.is_empty() {
        return match list.complete_up_to_members {
            None => writeln!(text, "  {what}: nobody, by what is declared"),
            Some(members) => writeln!(text, "  {what}: nobody of up to {members} together"),
        };
    }
    writeln!(text, "  {what}:")?;
    let shown = if all { list.coalitions.len() } else { SHOWN_MAX };
    for coalition in list.coalitions.iter().take(shown) {
        write_coalition(text, coalition)?;
    }
    let left = list.coalitions.len().saturating_sub(shown);
    if left > 0 {
        writeln!(text, "    and {left} more (--all)")?;
    }
    if let Some(members) = list.complete_up_to_members {
        writeln!(
            text,
            "    all of up to {members} members are known; of more there may be others"
        )?;
    }
    Ok(())
}

fn write_coalition(text: &mut String, coalition: &CoalitionReport) -> Result {
    let CoalitionReport { shards, sites, held_together, seats, guarantee_says, .. } = coalition;
    write!(text, "    {}: ", coalition.coalition)?;
    if !seats.is_empty() {
        write!(text, "{}; ", seats.join(", "))?;
    }
    match shards {
        0 => write!(text, "no shard")?,
        1 => write!(text, "1 shard")?,
        _ => write!(text, "{shards} shards")?,
    }
    if !sites.is_empty() {
        write!(text, " of {}", sites.join(", "))?;
    }
    if !held_together.is_empty() {
        write!(text, " ({} only together)", held_together.join(", "))?;
    }
    writeln!(text, "; {guarantee_says}")
}

/// The facts with their evidence and the overrides, for `havre check`.
#[must_use]
pub fn facts_lines(facts: &Facts) -> Vec<String> {
    let mut lines: Vec<String> =
        facts.listed().iter().map(|fact| format!("{} [{}]", fact.text, fact.evidence)).collect();
    for entry in facts.listed_overrides() {
        let idle = if entry.tells { "" } else { " (the facts say so anyway)" };
        let (text, reason, evidence) = (entry.text, entry.reason, entry.evidence);
        lines.push(format!("override: {text}: {reason} [{evidence}]{idle}"));
    }
    lines
}

/// The seats of the trust domain and whom they are exposed to, for `havre check`.
#[must_use]
pub fn trust_lines(facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, seat) in facts.seats().iter().enumerate() {
        lines.push(seat.to_string());
        for id in facts.party_ids() {
            let links = facts.why_seated(place, id);
            if !links.is_empty() {
                let because: Vec<String> = links.iter().map(ToString::to_string).collect();
                lines.push(format!("  {}: {}", facts.party(id), because.join("; ")));
            }
        }
    }
    lines
}
