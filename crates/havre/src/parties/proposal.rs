//! Facts as TOML, for a person to read and paste.
//!
//! **Invariant.** Text from outside stands in TOML strings and in comments only, and ends neither.
//!
//! **Deliberately absent.** What is proposed: `gleif` and `csl`.
//!
//! **Crash.** Values only.

use havre_policy::{Evidence, OperatorFacts, Ownership, Share};
use std::fmt::Write as _;

/// Characters of a comment's line.
const COLUMNS: usize = 100;

/// A TOML string.
pub(super) fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A comment, wrapped; no character of the text can end it.
pub(super) fn comment(text: &mut String, words: &str) {
    let indent = words.len() - words.trim_start().len();
    let mut line = format!("# {}", " ".repeat(indent));
    let mut begun = false;
    for word in words.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if word.is_empty() {
            continue;
        }
        if begun && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            text.push_str(line.trim_end());
            text.push('\n');
            line = format!("# {}", " ".repeat(indent));
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// An operator with its owners.
pub(super) fn operator(text: &mut String, facts: &OperatorFacts) {
    write(text, facts).expect("a String takes all that is written");
}

fn write(text: &mut String, facts: &OperatorFacts) -> std::fmt::Result {
    writeln!(text, "[[operator]]\nname = {}", string(&facts.name))?;
    for (key, value) in [
        ("legal_name", &facts.legal_name),
        ("lei", &facts.lei),
        ("incorporation", &facts.incorporation),
        ("headquarters", &facts.headquarters),
    ] {
        write_text(text, key, value.as_ref())?;
    }
    write_evidence(text, &facts.evidence)?;
    for holding in &facts.owners {
        write_owner(text, holding)?;
    }
    Ok(())
}

fn write_owner(text: &mut String, holding: &Ownership) -> std::fmt::Result {
    writeln!(text, "[[operator.owner]]\nname = {}", string(&holding.owner))?;
    write_text(text, "lei", holding.lei.as_ref())?;
    write_share(text, "capital", holding.capital)?;
    write_share(text, "votes", holding.votes)?;
    write_text(text, "jurisdiction", holding.jurisdiction.as_ref())?;
    write_evidence(text, &holding.evidence)
}

fn write_text(text: &mut String, key: &str, value: Option<&String>) -> std::fmt::Result {
    match value {
        Some(value) => writeln!(text, "{key} = {}", string(value)),
        None => Ok(()),
    }
}

fn write_share(text: &mut String, key: &str, share: Option<Share>) -> std::fmt::Result {
    match share {
        // A point is needed, or it would be no fraction in TOML.
        Some(share) => writeln!(text, "{key} = {:?}", share.fraction()),
        None => Ok(()),
    }
}

fn write_evidence(text: &mut String, evidence: &Evidence) -> std::fmt::Result {
    write_text(text, "source", evidence.source.as_ref())?;
    write_text(text, "date", evidence.date.as_ref())
}
