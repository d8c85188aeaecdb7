//! The walks of ARCHITECTURE.md: tables whose rows are real functions.
//!
//! **Invariant.** A function named in a walk exists, in the crate and the module or type named.
//!
//! **Deliberately absent.** Whether the row tells the truth about it; a reader has to.
//!
//! **Crash.** Nothing is kept.

use super::source::Source;
use super::{Breach, File};

const DOCUMENT: &str = "ARCHITECTURE.md";

pub(super) fn check(files: &[File], sources: &[(&File, Source)], breaches: &mut Vec<Breach>) {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else { return };
    let known: Vec<Vec<String>> =
        sources.iter().flat_map(|(file, source)| paths(file, source)).collect();
    for (line, name) in named(&document.text) {
        let wanted: Vec<&str> = name.split("::").collect();
        if wanted.len() < 2 {
            breaches.push(
                document.breach(line, format!("`{name}` does not say of which crate or type")),
            );
        } else if !known.iter().any(|path| is_named(path, &wanted)) {
            breaches.push(document.breach(line, format!("there is no function `{name}`")));
        }
    }
}

/// Full paths of a file's functions: crate, modules, type, name.
fn paths(file: &File, source: &Source) -> Vec<Vec<String>> {
    let Some((name, inner)) =
        file.path.strip_prefix("crates/").and_then(|path| path.split_once("/src/"))
    else {
        return Vec::new();
    };
    let modules = inner.trim_end_matches(".rs").split('/');
    let modules = modules.filter(|part| !matches!(*part, "lib" | "main" | "mod" | "bin"));
    let outer: Vec<String> = std::iter::once(name).chain(modules).map(str::to_owned).collect();
    let whole = |path: &[String]| outer.iter().chain(path).cloned().collect();
    source.functions.iter().map(|function| whole(&function.path)).collect()
}

/// `true` when `wanted` names the function at `path`: the same name, and before it some of the
/// path's parts in order, since re-exports shorten paths.
fn is_named(path: &[String], wanted: &[&str]) -> bool {
    let (Some((name, outer)), Some((wanted_name, wanted_outer))) =
        (path.split_last(), wanted.split_last())
    else {
        return false;
    };
    let mut outer = outer.iter();
    name == wanted_name && wanted_outer.iter().all(|part| outer.any(|known| known == part))
}

/// The names in backticks in the `function` column of every table that has one, with their lines.
fn named(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut column = None;
    for (number, line) in (1..).zip(text.lines()) {
        if !line.trim_start().starts_with('|') {
            column = None;
            continue;
        }
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        match column {
            None => column = cells.iter().position(|cell| *cell == "function").or(Some(usize::MAX)),
            Some(at) => {
                let cell = cells.get(at).copied().unwrap_or_default();
                let names = cell.split('`').skip(1).step_by(2);
                found.extend(names.map(|name| (number, name.trim_end_matches("()").to_owned())));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_walk(row: &str, expected: &[&str]) {
        let table =
            format!("| step | function | why |\n| --- | --- | --- |\n| one | {row} | `x` |\n");
        let files = [
            File { path: DOCUMENT.to_owned(), text: table },
            File {
                path: "crates/engine/src/put/send.rs".to_owned(),
                text: "impl Fan {\n    fn out(&self) {}\n}\nfn stripe() {}\n".to_owned(),
            },
        ];
        let sources = [(&files[1], Source::read(&files[1].text))];
        let mut breaches = Vec::new();
        check(&files, &sources, &mut breaches);
        let found: Vec<String> = breaches.into_iter().map(|breach| breach.why).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_walk_names_functions_that_exist() {
        check_walk("`engine::put::send::stripe`", &[]);
        check_walk("`engine::put::stripe`, `Fan::out`", &[]);
        check_walk("`engine::Fan::out`", &[]);
        check_walk("`engine::put::gone`", &["there is no function `engine::put::gone`"]);
        check_walk("`codec::put::stripe`", &["there is no function `codec::put::stripe`"]);
        check_walk("`Other::out`", &["there is no function `Other::out`"]);
        check_walk("`stripe`", &["`stripe` does not say of which crate or type"]);
    }

    #[test]
    fn a_table_without_a_function_column_is_not_a_walk() {
        assert_eq!(named("| a | b |\n| --- | --- |\n| `x::y` | `z` |\n"), []);
    }
}
