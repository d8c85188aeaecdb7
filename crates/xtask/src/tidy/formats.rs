//! Ties each document of a stored format to the code that reads and writes it.
//!
//! **Invariant.** Neither changes alone: a document in `docs/formats` carries the hash of its code
//! in lines `<!-- source: crates/.../frame.rs sha256:<64 hex> -->`, comments, tests and layout left
//! out.
//!
//! **Deliberately absent.** A comparison of what both say; the hash only makes somebody look.
//!
//! **Crash.** Nothing is kept.

use super::source::Source;
use super::{Breach, File};
use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

const FOLDER: &str = "docs/formats/";
const OPEN: &str = "<!-- source: ";
const CLOSE: &str = " -->";

pub(super) fn check(files: &[File], sources: &[(&File, Source)], breaches: &mut Vec<Breach>) {
    for document in documents(files) {
        let mut has_source = false;
        for (number, line) in (1..).zip(document.text.lines()) {
            let Some((path, hash)) = source_line(line) else { continue };
            has_source = true;
            match sources.iter().find(|(file, _)| file.path == path) {
                None => breaches.push(document.breach(number, format!("there is no file {path}"))),
                Some((_, source)) if hash != hash_of(source) => {
                    let why = format!(
                        "{path} changed; look whether this document still holds, then run \
                         `cargo xtask tidy --bless`"
                    );
                    breaches.push(document.breach(number, why));
                }
                Some(_) => {}
            }
        }
        if !has_source {
            let why = format!("names no source; write `{OPEN}<path> sha256:{CLOSE}` and bless");
            breaches.push(document.breach(1, why));
        }
    }
}

/// The documents whose hashes are not those of the code, with the right ones.
pub(super) fn blessed(files: &[File]) -> Result<Vec<(String, String)>> {
    let mut changed = Vec::new();
    for document in documents(files) {
        let mut text = String::new();
        for line in document.text.lines() {
            match source_line(line) {
                None => text.push_str(line),
                Some((path, _)) => {
                    let Some(file) = files.iter().find(|file| file.path == path) else {
                        bail!("{}: there is no file {path}", document.path);
                    };
                    let hash = hash_of(&Source::read(&file.text));
                    text.push_str(&format!("{OPEN}{path} sha256:{hash}{CLOSE}"));
                }
            }
            text.push('\n');
        }
        if text != document.text {
            changed.push((document.path.clone(), text));
        }
    }
    Ok(changed)
}

fn documents(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| {
        file.path.starts_with(FOLDER)
            && file.path.ends_with(".md")
            && !file.path.ends_with("README.md")
    })
}

fn source_line(line: &str) -> Option<(&str, &str)> {
    let inner = line.trim().strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
    let (path, hash) = inner.split_once(" sha256:").unwrap_or((inner, ""));
    Some((path.trim(), hash.trim()))
}

fn hash_of(source: &Source) -> String {
    hex::encode(Sha256::digest(source.essence().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(code: &str, document: &str) -> Vec<File> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        vec![file("crates/codec/src/shard.rs", code), file("docs/formats/shard.md", document)]
    }

    fn breaches_of(files: &[File]) -> Vec<String> {
        let sources = [(&files[0], Source::read(&files[0].text))];
        let mut breaches = Vec::new();
        check(files, &sources, &mut breaches);
        breaches.into_iter().map(|breach| breach.why).collect()
    }

    #[test]
    fn a_changed_frame_needs_a_look_at_its_document() {
        let line = format!("# Shard\n\n{OPEN}crates/codec/src/shard.rs sha256:{CLOSE}\n");
        let mut files = repository("fn parse() { 1 }\n", &line);
        assert!(breaches_of(&files)[0].contains("changed; look whether"));
        let blessed_text = blessed(&files).unwrap().remove(0).1;
        files[1].text = blessed_text;
        assert!(breaches_of(&files).is_empty());
        files[0].text = "// Why.\nfn parse() {\n    1\n}\n".to_owned();
        assert!(breaches_of(&files).is_empty(), "a comment changes no format");
        files[0].text = "fn parse() { 2 }\n".to_owned();
        assert_eq!(breaches_of(&files).len(), 1);
    }

    #[test]
    fn a_document_without_a_source_is_refused() {
        let files = repository("fn parse() {}\n", "# Shard\n");
        assert!(breaches_of(&files)[0].starts_with("names no source"));
    }
}
