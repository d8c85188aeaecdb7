//! The exposure as a drawing: which party reaches which site and seat, and who could do what.
//!
//! **Invariant.** Well-formed, self-contained SVG whatever the names are: nothing is loaded,
//! nothing runs, and every name is escaped.
//!
//! **Deliberately absent.** Interaction.
//!
//! **Crash.** Values only.

use super::report::{ListReport, PartyReport, Report};
use std::{
    collections::BTreeMap,
    fmt::{Result, Write as _},
};

const CELL: usize = 22;
const LABEL: usize = 300;
const HEAD: usize = 120;
const LINE: usize = 18;
const MARGIN: usize = 16;
/// Rows of parties; those that reach most come first, and the others are counted.
const PARTIES_MAX: usize = 80;
/// Coalitions drawn of each list.
const COALITIONS_MAX: usize = 8;
/// Characters of a name or a line, so that it stays within the drawing.
const LABEL_CHARS_MAX: usize = 40;
const LINE_CHARS_MAX: usize = 150;

/// Draws the report.
#[must_use]
pub fn draw(report: &Report) -> String {
    let mut svg = String::new();
    write(&mut svg, report).expect("a String takes all that is written");
    svg
}

/// A column of the matrix: a site or a seat.
struct Column<'a> {
    name: &'a str,
    parties: &'a [PartyReport],
    is_seat: bool,
}

fn write(svg: &mut String, report: &Report) -> Result {
    let seats = report.trust_domain.iter().map(|seat| Column {
        name: &seat.seat,
        parties: &seat.parties,
        is_seat: true,
    });
    let sites = report.sites.iter().map(|site| Column {
        name: &site.site,
        parties: &site.parties,
        is_seat: false,
    });
    let columns: Vec<Column<'_>> = seats.chain(sites).collect();
    let rows = rows(&columns);
    let shown = rows.len().min(PARTIES_MAX);
    let lines = lines(report, rows.len() - shown);
    let matrix = HEAD + shown * CELL;
    let width = (LABEL + columns.len() * CELL + HEAD).max(LINE_CHARS_MAX * 8) + 2 * MARGIN;
    let height = MARGIN + LINE + matrix + (lines.len() + 2) * LINE + MARGIN;
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"monospace\" font-size=\"12\">"
    )?;
    writeln!(svg, "<title>Exposure: who reaches which site, and who could do what</title>")?;
    writeln!(svg, "<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>")?;
    for (number, column) in columns.iter().enumerate() {
        let x = MARGIN + LABEL + number * CELL + CELL / 2;
        let y = MARGIN + LINE + HEAD - 8;
        let fill = if column.is_seat { "#9a3412" } else { "#1f2937" };
        writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" fill=\"{fill}\" transform=\"rotate(-50 {x} {y})\">{}</text>",
            escaped(column.name, 22)
        )?;
    }
    for (number, (party, _)) in rows.iter().take(shown).enumerate() {
        write_row(svg, number, party, &columns)?;
    }
    for (number, line) in lines.iter().enumerate() {
        let y = MARGIN + LINE + matrix + (number + 2) * LINE;
        let (weight, text) = match line {
            Line::Head(text) => ("bold", text),
            Line::Plain(text) => ("normal", text),
        };
        writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{y}\" font-weight=\"{weight}\" fill=\"#1f2937\" \
             xml:space=\"preserve\">{}</text>",
            escaped(text, LINE_CHARS_MAX)
        )?;
    }
    writeln!(svg, "</svg>")
}

/// The parties, those of the trust domain first, then those that reach most.
fn rows<'a>(columns: &[Column<'a>]) -> Vec<(&'a str, (usize, usize))> {
    let mut reached: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for column in columns {
        for party in column.parties {
            let (seats, sites) = reached.entry(&party.party).or_default();
            if column.is_seat {
                *seats += 1;
            } else {
                *sites += 1;
            }
        }
    }
    let mut rows: Vec<_> = reached.into_iter().collect();
    rows.sort_by_key(|(name, (seats, sites))| {
        (*seats == 0, std::cmp::Reverse(seats + sites), *name)
    });
    rows
}

fn write_row(svg: &mut String, number: usize, party: &str, columns: &[Column<'_>]) -> Result {
    let y = MARGIN + LINE + HEAD + number * CELL;
    let baseline = y + CELL - 7;
    if number.is_multiple_of(2) {
        let width = LABEL + columns.len() * CELL;
        writeln!(
            svg,
            "<rect x=\"{MARGIN}\" y=\"{y}\" width=\"{width}\" height=\"{CELL}\" fill=\"#f3f4f6\"/>"
        )?;
    }
    writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"{baseline}\" fill=\"#1f2937\">{}</text>",
        escaped(party, LABEL_CHARS_MAX)
    )?;
    for (place, column) in columns.iter().enumerate() {
        let Some(found) = column.parties.iter().find(|other| other.party == party) else {
            continue;
        };
        let because: Vec<&str> = found.because.iter().map(|link| link.text.as_str()).collect();
        let fill = if column.is_seat { "#ea580c" } else { "#2563eb" };
        let (x, side) = (MARGIN + LABEL + place * CELL + 3, CELL - 6);
        writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"{side}\" height=\"{side}\" rx=\"3\" \
             fill=\"{fill}\"><title>{}</title></rect>",
            y + 3,
            escaped(&format!("{party}, {}: {}", column.name, because.join("; ")), usize::MAX)
        )?;
    }
    Ok(())
}

enum Line {
    Head(String),
    Plain(String),
}

fn lines(report: &Report, parties_left: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    if parties_left > 0 {
        lines.push(Line::Plain(format!("and {parties_left} parties that reach less")));
    }
    for change in &report.what_if {
        lines.push(Line::Plain(format!("what if: {change}")));
    }
    for policy in &report.policies {
        let Some(found) = &policy.exposure else {
            lines.push(Line::Head(format!("policy {} would be refused", policy.policy)));
            continue;
        };
        lines.push(Line::Head(format!("policy {} ({})", policy.policy, found.geometry)));
        coalitions(&mut lines, "could read with what they have", &found.could_read);
        coalitions(&mut lines, "could read if a key came to them", &found.could_read_with_key);
        coalitions(&mut lines, "could cut off", &found.could_cut_off);
    }
    for warning in &report.warnings {
        lines.push(Line::Plain(format!("warning: {warning}")));
    }
    lines
}

fn coalitions(lines: &mut Vec<Line>, what: &str, list: &ListReport) {
    let nobody = if list.coalitions.is_empty() { " nobody, by what is declared" } else { "" };
    lines.push(Line::Plain(format!("  {what}:{nobody}")));
    for coalition in list.coalitions.iter().take(COALITIONS_MAX) {
        let seats = match coalition.seats.as_slice() {
            [] => String::new(),
            seats => format!("{}, ", seats.join(", ")),
        };
        lines.push(Line::Plain(format!(
            "    {}: {seats}{} shards",
            coalition.coalition, coalition.shards
        )));
    }
    if list.coalitions.len() > COALITIONS_MAX {
        let left = list.coalitions.len() - COALITIONS_MAX;
        lines.push(Line::Plain(format!("    and {left} more")));
    }
}

/// Text for XML, cut to a length.
fn escaped(text: &str, chars_max: usize) -> String {
    let long = text.chars().count() > chars_max;
    let kept = if long { chars_max - 1 } else { usize::MAX };
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars().take(kept) {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no other control characters, nor these two.
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            letter => escaped.push(letter),
        }
    }
    if long {
        escaped.push('…');
    }
    escaped
}
