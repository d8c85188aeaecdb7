//! What an import remembers between its runs: a file of digests, without a name in it.
//!
//! The destination is most of the state: an object whose ETag and size are the source's is there.
//! But not every ETag can be kept (of an object under a provider's KMS key, of parts that were cut
//! in odd places), and an object that an application wrote here meanwhile has to be told from one
//! that an earlier run wrote. So each write is noted before it is sent.
//!
//! A marker in the objects' metadata would do the same, and every application would see it.
//!
//! **Invariant.** A note is in the file before the write that it is about is sent. A note about a
//! write that never happened matches nothing. One process at a time has the file.
//!
//! **Deliberately absent.** Names, ETags and sizes: a note is 16 bytes of a hash over them.
//!
//! **Crash.** Notes survive the process. Those that a power cut takes cost a comparison of bytes.

use super::bucket::Entry;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What stands at the beginning of the file: as long as a note.
const MAGIC: &[u8; NOTE_BYTES] = b"havre-import-1\n\n";
const NOTE_BYTES: usize = 16;

type Note = [u8; NOTE_BYTES];

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another import has it.
    #[error("another import is at work with it")]
    Taken,
    /// It is something else.
    #[error("it is no journal of an import")]
    Foreign,
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The notes of one import.
pub(super) struct Journal {
    /// None while nothing is to be written.
    file: Option<File>,
    notes: HashSet<Note>,
    /// From where to where: notes of one import mean nothing to another.
    job: [u8; 32],
}

impl Journal {
    /// Opens the journal, or makes it.
    pub(super) fn open(path: &Path, job: [u8; 32]) -> Result<Self, JournalError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => JournalError::Taken,
            std::fs::TryLockError::Error(error) => error.into(),
        })?;
        let notes = read(&mut file)?;
        // A note that a crash cut is written over.
        let end = match notes.is_empty() && file.metadata()?.len() < NOTE_BYTES as u64 {
            true => 0,
            false => file.metadata()?.len() / NOTE_BYTES as u64 * NOTE_BYTES as u64,
        };
        file.set_len(end)?;
        file.seek(SeekFrom::End(0))?;
        if end == 0 {
            file.write_all(MAGIC)?;
        }
        Ok(Self { file: Some(file), notes, job })
    }

    /// Reads the journal, if there is one, and writes nothing.
    pub(super) fn look(path: &Path, job: [u8; 32]) -> Result<Self, JournalError> {
        let notes = match File::open(path) {
            Ok(mut file) => read(&mut file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { file: None, notes, job })
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Notes that the object of this key and ETag, at the destination, is this one of the source.
    pub(super) fn note_copy(&mut self, source: &Entry, etag: &str) -> io::Result<()> {
        let made = self.digest("made", &[&source.key, etag]);
        self.append(made)?;
        let same = self.same(source, etag);
        self.append(same)
    }

    /// Whether the object of this ETag is a copy of this one of the source.
    pub(super) fn is_copy(&self, source: &Entry, etag: &str) -> bool {
        self.notes.contains(&self.same(source, etag))
    }

    /// Whether an import wrote the object of this key and ETag.
    pub(super) fn is_own(&self, key: &str, etag: &str) -> bool {
        self.notes.contains(&self.digest("made", &[key, etag]))
    }

    /// Notes that this upload was begun.
    pub(super) fn note_upload(&mut self, upload: &str) -> io::Result<()> {
        let note = self.digest("upload", &[upload]);
        self.append(note)
    }

    /// Whether an import began this upload.
    pub(super) fn began(&self, upload: &str) -> bool {
        self.notes.contains(&self.digest("upload", &[upload]))
    }

    fn same(&self, source: &Entry, etag: &str) -> Note {
        let Entry { key, size, etag: from, modified_ms, .. } = source;
        // A look at an object tells whole seconds, a listing more.
        let (size, modified) = (size.to_string(), (modified_ms / 1000).to_string());
        self.digest("same", &[key, &size, from, &modified, etag])
    }

    fn digest(&self, kind: &str, words: &[&str]) -> Note {
        let mut hash = Sha256::new();
        hash.update(self.job);
        for word in [kind].iter().chain(words) {
            hash.update((word.len() as u64).to_le_bytes());
            hash.update(word);
        }
        let digest = hash.finalize();
        digest[..NOTE_BYTES].try_into().expect("a digest is longer")
    }

    fn append(&mut self, note: Note) -> io::Result<()> {
        if self.notes.insert(note)
            && let Some(file) = &mut self.file
        {
            file.write_all(&note)?;
        }
        Ok(())
    }
}

fn read(file: &mut File) -> Result<HashSet<Note>, JournalError> {
    let mut reader = io::BufReader::new(file);
    let mut notes = HashSet::new();
    let mut note = Note::default();
    let mut first = true;
    loop {
        let mut filled = 0;
        while filled < NOTE_BYTES {
            match reader.read(&mut note[filled..])? {
                0 => break,
                bytes => filled += bytes,
            }
        }
        let whole = filled == NOTE_BYTES;
        if first && filled > 0 && note[..filled] != MAGIC[..filled] {
            return Err(JournalError::Foreign);
        }
        if !whole {
            return Ok(notes);
        }
        if !first {
            notes.insert(note);
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(etag: &str) -> Entry {
        Entry {
            key: "k".to_owned(),
            size: 3,
            etag: etag.to_owned(),
            modified_ms: 5,
            as_listed: None,
        }
    }

    #[test]
    fn notes_outlive_the_process_and_a_cut_one_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, [1; 32]).unwrap();
        journal.note_copy(&entry("a"), "b").unwrap();
        journal.note_upload("u").unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"cut").unwrap();
        drop(file);
        for _ in 0..2 {
            let journal = Journal::open(&path, [1; 32]).unwrap();
            assert!(journal.is_copy(&entry("a"), "b") && journal.is_own("k", "b"));
            assert!(!journal.is_copy(&entry("a"), "c") && !journal.is_copy(&entry("c"), "b"));
            assert!(journal.began("u") && !journal.began("v"));
        }
        let other = Journal::open(&path, [2; 32]).unwrap();
        assert!(!other.is_copy(&entry("a"), "b"), "another import's notes mean nothing");
        assert_eq!(std::fs::metadata(&path).unwrap().len() % NOTE_BYTES as u64, 0);
    }

    #[test]
    fn no_name_stands_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, [1; 32]).unwrap();
        let secret = Entry { key: "patients/smith".to_owned(), ..entry("a") };
        journal.note_copy(&secret, "b").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"smith"));
    }

    #[test]
    fn a_journal_has_one_process_and_is_not_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let _held = Journal::open(&path, [1; 32]).unwrap();
        assert!(matches!(Journal::open(&path, [1; 32]), Err(JournalError::Taken)));
        assert!(Journal::look(&path, [1; 32]).is_ok());
        let other = folder.path().join("other");
        std::fs::write(&other, "something else entirely").unwrap();
        assert!(matches!(Journal::open(&other, [1; 32]), Err(JournalError::Foreign)));
        assert_eq!(std::fs::read(&other).unwrap(), b"something else entirely");
        let begun = folder.path().join("begun");
        std::fs::write(&begun, &MAGIC[..5]).unwrap();
        assert!(Journal::open(&begun, [1; 32]).unwrap().is_empty());
        assert_eq!(std::fs::read(&begun).unwrap(), MAGIC);
    }
}
