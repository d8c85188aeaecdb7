//! Rules on plain text: long lines, unfinished work, places that exist on one machine only.
//!
//! **Invariant.** The patterns are spelled so that this file does not match them.
//!
//! **Deliberately absent.** Spelling.
//!
//! **Crash.** Nothing is kept.

use super::{Breach, File, LINE_COLUMNS_MAX};

/// Marks of work that was put off.
pub(super) const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimplement", "ed!("),
    concat!("#[ig", "nore"),
];

/// Folders of one machine, and hosts that a mirror would replace.
pub(super) const PLACES: [&str; 10] = [
    concat!("/", "work/"),
    concat!("/", "farm/"),
    concat!("/", "opt/"),
    concat!("/", "root/"),
    concat!("/", "home/"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("registry.", "npmjs.org"),
    concat!("files.", "pythonhosted.org"),
    concat!("deb.", "debian.org"),
];

/// Files that a tool writes, addresses included.
const GENERATED: [&str; 2] = ["Cargo.lock", "package-lock.json"];

pub(super) fn check(file: &File, breaches: &mut Vec<Breach>) {
    if GENERATED.iter().any(|name| file.path.ends_with(name)) {
        return;
    }
    let is_code = [".rs", ".py", ".mjs", ".sh"].iter().any(|ending| file.path.ends_with(ending));
    for (number, line) in (1..).zip(file.text.lines()) {
        let columns = line.chars().count();
        if is_code && columns > LINE_COLUMNS_MAX {
            let why = format!("{columns} columns, at most {LINE_COLUMNS_MAX}");
            breaches.push(file.breach(number, why));
        }
        if is_code && let Some(word) = UNFINISHED.iter().find(|word| line.contains(*word)) {
            breaches.push(file.breach(number, format!("`{word}` is unfinished work")));
        }
        if let Some(place) = PLACES.iter().find(|place| names_place(line, place)) {
            breaches.push(file.breach(number, format!("`{place}` names one machine's place")));
        }
    }
}

/// `true` when `line` has `place` followed by a name, and not as the tail of a longer path.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + place.len()..].chars().next();
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '}' | ')');
        let is_path = place.starts_with('/');
        !is_path || (!before.is_some_and(inside) && after.is_some_and(|c| c.is_ascii_lowercase()))
    })
}
