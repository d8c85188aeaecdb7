//! What documents say is tested, is: a test that one names by its file and function exists.
//!
//! **Invariant.** Renaming or deleting a test that a document rests on fails until the document
//! says so.
//!
//! **Deliberately absent.** Whether the test shows what the document says; a reader has to look.
//!
//! **Crash.** Nothing is kept.

use super::{Breach, File};

pub(super) fn check(files: &[File], breaches: &mut Vec<Breach>) {
    for document in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, name) in named(&document.text) {
            let (place, function) = match name.split_once("::") {
                Some((place, function)) => (place, Some(function)),
                None => (name, None),
            };
            let paths = [format!("crates/{place}.rs"), format!("crates/{place}/mod.rs")];
            let Some(file) = files.iter().find(|file| paths.contains(&file.path)) else {
                breaches.push(document.breach(line, format!("there is no file `{place}`")));
                continue;
            };
            let is_there = |function: &str| file.text.contains(&format!("fn {function}("));
            if !function.is_none_or(is_there) {
                breaches.push(document.breach(line, format!("there is no test `{name}`")));
            }
        }
    }
}

/// The names in backticks that are of a file of a crate, as `crate/tests/file` or `crate/src/file`,
/// with or without a function behind it, and their lines.
fn named(text: &str) -> Vec<(usize, &str)> {
    let lines = (1..).zip(text.lines());
    let names =
        lines.flat_map(|(line, text)| text.split('`').skip(1).step_by(2).map(move |it| (line, it)));
    names.filter(|(_, name)| is_name(name)).collect()
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
    fn other_names_are_no_claims() {
        for other in ["x::a::b", "crates/x/tests/a.rs", "tests/clients", "x/benches/a", "x/tests/*"]
        {
            check_claim(other, &[]);
        }
    }
}
