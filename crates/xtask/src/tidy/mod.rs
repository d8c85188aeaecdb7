//! `cargo xtask tidy`: the rules of the house that neither rustfmt nor clippy knows.
//!
//! **Invariant.** Nothing is exempt: a rule that does not fit is changed here, with its reason, and
//! holds for every file again.
//!
//! **Deliberately absent.** Taste. A rule stands here only when breaking it has cost something.
//!
//! **Crash.** Only `--bless` writes, and only the hash lines of `docs/formats`.

mod claims;
mod formats;
mod source;
mod text;
mod walks;

use crate::process::root;
use anyhow::{Context, Result, bail};
use source::Source;
use std::fmt;
use std::fs;
use std::process::Command;

/// Lines of a function's body, as clippy's `too_many_lines` counts them.
const FUNCTION_LINES_MAX: usize = 70;
/// The same under `#[expect(clippy::too_many_lines, reason = "..")]`.
const FUNCTION_LINES_HARD_MAX: usize = 100;
/// Lines of a file outside its inline tests.
const FILE_LINES_MAX: usize = 800;
/// Columns of a line of code.
const LINE_COLUMNS_MAX: usize = 100;

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    path: String,
    line: usize,
    why: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.why)
    }
}

/// A file of the repository that holds text.
struct File {
    /// Relative to the root.
    path: String,
    text: String,
}

impl File {
    fn breach(&self, line: usize, why: impl Into<String>) -> Breach {
        Breach { path: self.path.clone(), line, why: why.into() }
    }

    /// Rust that is compiled: not the examples of this crate's own tests.
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.path.contains("/testdata/")
    }

    /// A file that is all test, or all benchmark.
    fn is_test(&self) -> bool {
        let folders = ["/tests/", "/benches/", "/examples/"];
        self.path.ends_with("/tests.rs") || folders.iter().any(|part| self.path.contains(part))
    }
}

/// Checks every rule; the error lists every breach.
pub(crate) fn check() -> Result<()> {
    let files = files()?;
    let mut breaches = Vec::new();
    let mut sources = Vec::new();
    for file in &files {
        text::check(file, &mut breaches);
        if file.is_rust() {
            let source = Source::read(&file.text);
            check_source(file, &source, &mut breaches);
            sources.push((file, source));
        }
    }
    check_tests(&files, &mut breaches);
    claims::check(&files, &mut breaches);
    walks::check(&files, &sources, &mut breaches);
    formats::check(&files, &sources, &mut breaches);
    breaches.sort();
    if breaches.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = breaches.iter().map(Breach::to_string).collect();
    bail!("{} breaches\n{}", lines.len(), lines.join("\n"))
}

/// Writes the hashes of the code that is there now into the formats' documents.
pub(crate) fn bless() -> Result<()> {
    let files = files()?;
    for (path, text) in formats::blessed(&files)? {
        println!("blessed {path}");
        fs::write(root().join(&path), text).with_context(|| format!("write {path}"))?;
    }
    Ok(())
}

/// What git tracks or would track; binary files are left out.
fn files() -> Result<Vec<File>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("run git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let mut files = Vec::new();
    for path in names.split('\0').filter(|name| !name.is_empty()) {
        // A tracked file may be deleted and not yet committed; a binary one is no text.
        let Ok(bytes) = fs::read(root().join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn check_source(file: &File, source: &Source, breaches: &mut Vec<Breach>) {
    if !file.is_test() && !file.text.starts_with("//!") {
        breaches.push(file.breach(1, "the file does not begin with its `//!` docs"));
    }
    let lines = source.lines_without_tests();
    if !file.is_test() && lines > FILE_LINES_MAX {
        let why = format!("{lines} lines without tests, at most {FILE_LINES_MAX}");
        breaches.push(file.breach(1, why));
    }
    for function in &source.functions {
        let max =
            if function.expects_length { FUNCTION_LINES_HARD_MAX } else { FUNCTION_LINES_MAX };
        if function.lines > max {
            let name = function.path.join("::");
            let why = format!("`{name}` has {} lines, at most {max}", function.lines);
            breaches.push(file.breach(function.line, why));
        }
    }
}

/// A crate's tests are one program, and cargo is told not to look for others: a file that the
/// program does not name would never run.
fn check_tests(files: &[File], breaches: &mut Vec<Breach>) {
    for file in files {
        let Some((folder, name)) = file.path.rsplit_once('/') else { continue };
        let Some(name) = name.strip_suffix(".rs").filter(|name| *name != "main") else { continue };
        if !folder.starts_with("crates/") || !folder.ends_with("/tests") || folder.contains("/src/")
        {
            continue;
        }
        let program = format!("{folder}/main.rs");
        let line = format!("mod {name};");
        let program = files.iter().find(|file| file.path == program);
        if !program.is_some_and(|program| program.text.lines().any(|found| found == line)) {
            breaches.push(file.breach(1, format!("{folder}/main.rs does not say `{line}`")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The breaches of a single Rust file that says `text`.
    #[track_caller]
    fn check_rust(text: &str, expected: &[&str]) {
        let file = File { path: "crates/x/src/a.rs".to_owned(), text: text.to_owned() };
        let mut breaches = Vec::new();
        text::check(&file, &mut breaches);
        check_source(&file, &Source::read(text), &mut breaches);
        let found: Vec<String> =
            breaches.iter().map(|breach| format!("{}: {}", breach.line, breach.why)).collect();
        assert_eq!(found, expected);
    }

    fn function_of(lines: usize, above: &str) -> String {
        format!("//! Docs.\n{above}fn long() {{\n{}}}\n", "    call();\n".repeat(lines))
    }

    #[test]
    fn the_repository_is_tidy() {
        check().unwrap();
    }

    #[test]
    fn a_file_without_docs_is_refused() {
        check_rust("fn a() {}\n", &["1: the file does not begin with its `//!` docs"]);
    }

    #[test]
    fn a_test_that_the_program_does_not_name_is_refused() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("crates/x/tests/main.rs", "//! Docs.\n\nmod a;\nmod support;\n"),
            file("crates/x/tests/a.rs", ""),
            file("crates/x/tests/b.rs", ""),
            file("crates/x/tests/support/c.rs", ""),
            file("crates/y/tests/a.rs", ""),
            file("crates/x/src/config/tests.rs", ""),
        ];
        let mut breaches = Vec::new();
        check_tests(&files, &mut breaches);
        let found: Vec<&str> = breaches.iter().map(|breach| breach.path.as_str()).collect();
        assert_eq!(found, ["crates/x/tests/b.rs", "crates/y/tests/a.rs"]);
    }

    #[test]
    fn a_function_may_have_70_lines_and_100_when_it_says_why() {
        let expect = "#[expect(clippy::too_many_lines, reason = \"a table\")]\n";
        check_rust(&function_of(70, ""), &[]);
        check_rust(&function_of(71, ""), &["2: `long` has 71 lines, at most 70"]);
        check_rust(&function_of(100, expect), &[]);
        check_rust(&function_of(101, expect), &["3: `long` has 101 lines, at most 100"]);
    }

    #[test]
    fn a_file_may_have_800_lines_beside_its_tests() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// line\n".repeat(300));
        check_rust(&format!("//! Docs.\n{}{tests}", "// line\n".repeat(799)), &[]);
        check_rust(
            &format!("//! Docs.\n{}{tests}", "// line\n".repeat(800)),
            &["1: 801 lines without tests, at most 800"],
        );
    }

    #[test]
    fn a_line_has_100_columns_counted_in_characters() {
        check_rust(&format!("//! {}\n", "é".repeat(96)), &[]);
        check_rust(&format!("//! {}\n", "x".repeat(97)), &["1: 101 columns, at most 100"]);
    }

    #[test]
    fn unfinished_work_is_refused() {
        for word in text::UNFINISHED {
            let why = format!("2: `{word}` is unfinished work");
            check_rust(&format!("//! Docs.\n// {word}\n"), &[&why]);
        }
    }

    #[test]
    fn paths_of_a_machine_and_hosts_of_a_registry_are_refused() {
        for place in text::PLACES {
            let why = format!("2: `{place}` names one machine's place");
            check_rust(&format!("//! Docs.\n// see {place}x\n"), &[&why]);
        }
        check_rust(&format!("//! Docs.\n// see a{}x\n", text::PLACES[0]), &[]);
    }
}
