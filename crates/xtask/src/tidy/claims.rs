//! What documents say is tested, is: a test that one names by its file and function exists.
//!
//! **Invariant.** Renaming or deleting a test that a document rests on fails until the document
//! says so.
//!
//! **Deliberately absent.** Whether the test shows what the document says; a reader has to look.
//!
//! **Crash.** Nothing is kept.

use super::{Breach, File};

/// Underscores of a name that stands alone and is a test's: shorter ones are of other things.
const UNDERSCORES_MIN: usize = 4;

pub(super) fn check(files: &[File], breaches: &mut Vec<Breach>) {
    for document in files.iter().filter(|file| file.path.ends_with(".md")) {
        // A name that stands alone is of the file that was named last, in the same paragraph.
        let mut last = None;
        let mut lines = 0;
        for (line, name) in named(&document.text) {
            if document.text.lines().take(line).skip(lines).any(begins) {
                last = None;
            }
            lines = line;
            if is_alone(name) {
                if last.is_some_and(|file| !has(file, name)) {
                    breaches.push(document.breach(line, format!("there is no test `{name}`")));
                }
                continue;
            }
            let (place, function) = match name.split_once("::") {
                Some((place, function)) => (place, Some(function)),
                None => (name, None),
            };
            let paths = [format!("crates/{place}.rs"), format!("crates/{place}/mod.rs")];
            last = files.iter().find(|file| paths.contains(&file.path));
            match last {
                None => {
                    breaches.push(document.breach(line, format!("there is no file `{place}`")));
                }
                Some(file) if !function.is_none_or(|function| has(file, function)) => {
                    breaches.push(document.breach(line, format!("there is no test `{name}`")));
                }
                Some(_) => {}
            }
        }
    }
}

fn has(file: &File, function: &str) -> bool {
    file.text.contains(&format!("fn {function}("))
}

/// Whether a paragraph or an item of a list begins here.
fn begins(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with("- ")
}

fn is_alone(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().all(plain) && name.matches('_').count() >= UNDERSCORES_MIN
}

/// The names in backticks, and their lines, that are of a file of a crate, as `crate/tests/file` or
/// `crate/src/file`, with or without a function behind it, and those that stand alone.
fn named(text: &str) -> Vec<(usize, &str)> {
    let lines = (1..).zip(text.lines());
    let names =
        lines.flat_map(|(line, text)| text.split('`').skip(1).step_by(2).map(move |it| (line, it)));
    names.filter(|(_, name)| is_name(name) || is_alone(name)).collect()
}

fn is_name(name: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_/:".contains(&byte);
    let mut parts = name.split('/');
    let (package, folder) = (parts.next(), parts.next());
    name.bytes().all(plain)
        && package.is_some_and(|it| !it.is_empty() && it != "crates")
        && matches!(folder, Some("tests" | "src"))
        && parts.next().is_some_and(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_claim(name: &str, expected: &[&str]) {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("docs/CLAIMS.md", &format!("Shown by `{name}`, and `other`.\n")),
            file("crates/x/tests/a.rs", "#[test]\nfn it_holds() {}\n"),
            file("crates/x/src/b/mod.rs", "fn it_holds_too() {}\n"),
        ];
        let mut breaches = Vec::new();
        check(&files, &mut breaches);
        let found: Vec<String> = breaches.into_iter().map(|breach| breach.why).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_document_names_tests_that_exist() {
        check_claim("x/tests/a::it_holds", &[]);
        check_claim("x/tests/a", &[]);
        check_claim("x/src/b::it_holds_too", &[]);
        check_claim("x/tests/a::it_is_gone", &["there is no test `x/tests/a::it_is_gone`"]);
        check_claim("x/tests/gone", &["there is no file `x/tests/gone`"]);
        check_claim("y/tests/a::it_holds", &["there is no file `y/tests/a`"]);
    }

    #[test]
    fn a_name_that_stands_alone_is_of_the_file_that_was_named_last() {
        let text = "- `x/tests/a::it_holds`,\n  `and_this_holds_as_well`, `and_this_one_is_gone`.\n\
                    - `of_an_item_of_its_own`\n";
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let functions = "fn it_holds() {}\nfn and_this_holds_as_well() {}\n";
        let files = [file("CLAIMS.md", text), file("crates/x/tests/a.rs", functions)];
        let mut breaches = Vec::new();
        check(&files, &mut breaches);
        let found: Vec<(usize, String)> =
            breaches.into_iter().map(|breach| (breach.line, breach.why)).collect();
        assert_eq!(found, [(2, "there is no test `and_this_one_is_gone`".to_owned())]);
    }

    #[test]
    fn other_names_are_no_claims() {
        for other in ["x::a::b", "crates/x/tests/a.rs", "tests/clients", "x/benches/a", "x/tests/*"]
        {
            check_claim(other, &[]);
        }
    }
}
