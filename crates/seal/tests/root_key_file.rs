//! The root key's file: who may read it, what it may hold, and that it is never overwritten.

use crate::support::*;
use havre_seal::{KeyFileError, Keyring, RecordScope, RootKey};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn created() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("root.key");
    RootKey::create_file(&path, &*Seeded::new("file")).expect("a fresh path");
    (directory, path)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
}

/// Whether both open each other's records, as nothing else tells keys apart.
fn is_same(one: RootKey, other: RootKey) -> bool {
    let sealed = Keyring::new(one, Seeded::new("one"))
        .seal_record(RecordScope::System, b"x")
        .expect("the root key is always installed");
    open_record(&Keyring::new(other, Seeded::new("other")), &sealed).is_ok()
}

#[test]
fn a_created_key_reads_back_from_its_file_and_as_text() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("root.key");
    let root = RootKey::create_file(&path, &*Seeded::new("file")).expect("a fresh path");
    assert!(is_same(root, RootKey::from_file(&path).expect("just created")));
    let text = fs::read_to_string(&path).expect("own file");
    assert_eq!(text.lines().count(), 1);
    let from_text = RootKey::from_env_text(&text).expect("the file's line");
    assert!(is_same(from_text, RootKey::from_file(&path).expect("just created")));
    assert!(!is_same(seeded_root("another"), RootKey::from_file(&path).expect("just created")));
}

#[test]
fn a_created_file_is_for_its_owner_only() {
    let (_directory, path) = created();
    let mode = fs::metadata(&path).expect("own file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_file_that_others_may_read_or_change_is_refused_with_the_remedy() {
    let (_directory, path) = created();
    for mode in [0o400, 0o600, 0o200] {
        set_mode(&path, mode);
        // Mode 0200 is readable to the superuser only, who runs some test machines.
        let read = RootKey::from_file(&path);
        let refused_as_open = matches!(read, Err(KeyFileError::TooOpen { .. }));
        assert!(!refused_as_open, "mode {mode:04o}");
    }
    for mode in [0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o644, 0o666, 0o700, 0o777, 0o4600] {
        set_mode(&path, mode);
        let error = RootKey::from_file(&path).expect_err("too open");
        assert!(matches!(error, KeyFileError::TooOpen { mode: m, .. } if m == mode), "{mode:04o}");
        assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
    }
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let (_directory, path) = created();
    let before = fs::read(&path).expect("own file");
    let error = RootKey::create_file(&path, &*Seeded::new("again")).expect_err("it exists");
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&path).expect("own file"), before);
    fs::write(&path, b"").expect("own file");
    assert!(RootKey::create_file(&path, &*Seeded::new("again")).is_err(), "an empty one neither");
}

#[test]
fn a_missing_file_and_a_directory_say_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let error = RootKey::from_file(&directory.path().join("none")).expect_err("no such file");
    assert!(matches!(error, KeyFileError::Missing { .. }), "{error}");
    set_mode(directory.path(), 0o700);
    assert!(RootKey::from_file(directory.path()).is_err());
    let path = directory.path().join("none/root.key");
    let error = RootKey::create_file(&path, &*Seeded::new("x")).expect_err("no such directory");
    assert!(matches!(error, KeyFileError::Io { action: "create", .. }), "{error}");
}

#[test]
fn spaces_and_line_ends_around_the_text_do_not_matter() {
    let (_directory, path) = created();
    let line = fs::read_to_string(&path).expect("own file").trim().to_owned();
    for text in [line.clone(), format!("{line}\n"), format!("{line}\r\n"), format!(" {line} ")] {
        assert!(RootKey::from_env_text(&text).is_ok(), "{text:?}");
    }
    assert!(RootKey::from_env_text(&format!("{line}\n{line}")).is_err());
    fs::write(&path, format!("{line}\n{line}\n")).expect("own file");
    assert!(matches!(RootKey::from_file(&path), Err(KeyFileError::Malformed)));
    fs::write(&path, vec![b'x'; 1 << 20]).expect("own file");
    assert!(matches!(RootKey::from_file(&path), Err(KeyFileError::Malformed)));
}

#[test]
fn no_changed_character_and_no_prefix_is_accepted() {
    let (_directory, path) = created();
    let line = fs::read_to_string(&path).expect("own file").trim().to_owned();
    for length in 0..line.len() {
        assert!(RootKey::from_env_text(&line[..length]).is_err(), "{length} characters");
    }
    for at in 0..line.len() {
        for other in "0aAzZ9+/=:- ".chars() {
            let mut text: Vec<char> = line.chars().collect();
            if text[at] == other {
                continue;
            }
            text[at] = other;
            let text: String = text.into_iter().collect();
            assert!(RootKey::from_env_text(&text).is_err(), "{other:?} at {at}");
        }
    }
}

#[test]
fn a_refusal_repeats_nothing_of_the_text() {
    let (_directory, path) = created();
    let line = fs::read_to_string(&path).expect("own file").trim().to_owned();
    let broken = format!("{}0", &line[..line.len() - 1]);
    let broken = if broken == line { format!("{}1", &line[..line.len() - 1]) } else { broken };
    fs::write(&path, &broken).expect("own file");
    let error = RootKey::from_file(&path).expect_err("the checksum is wrong");
    let printed = format!("{error} {error:?}");
    for piece in broken.as_bytes()[17..61].chunks(6) {
        let piece = std::str::from_utf8(piece).expect("ASCII");
        assert!(!printed.contains(piece), "{printed}");
    }
}
