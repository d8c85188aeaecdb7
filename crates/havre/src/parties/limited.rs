//! A reader that gives each record of a file so many bytes and no more.
//!
//! **Invariant.** Between two calls of [`Budget::renew`] at most [`RECORD_BYTES_MAX`] bytes are
//! read, so a record without an end is an error and does not fill the memory (I8).
//!
//! **Deliberately absent.** A limit on the file: it is streamed.
//!
//! **Crash.** Reads only.

use super::ImportError;
use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    path::Path,
    rc::Rc,
};

/// Bytes of one record, what is read ahead included.
pub(super) const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What may still be read of the record.
#[derive(Clone)]
pub(super) struct Budget(Rc<Cell<usize>>);

impl Budget {
    /// The next record begins.
    pub(super) fn renew(&self) {
        self.0.set(RECORD_BYTES_MAX);
    }
}

/// A reader with a budget for each record.
pub(super) struct Limited<R> {
    inner: R,
    budget: Budget,
}

impl<R> Limited<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, budget: Budget(Rc::new(Cell::new(RECORD_BYTES_MAX))) }
    }

    pub(super) fn budget(&self) -> Budget {
        self.budget.clone()
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.0.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!(
                "a record is longer than {RECORD_BYTES_MAX} bytes"
            )));
        }
        let most = buffer.len().min(left);
        let read = self.inner.read(&mut buffer[..most])?;
        self.budget.0.set(left - read);
        Ok(read)
    }
}

/// Opens a file, and tells what it begins with: its first byte that is no blank.
pub(super) fn open(file: &Path) -> Result<(Limited<File>, Option<u8>), ImportError> {
    let failed = |source| ImportError::Read { file: file.to_owned(), source };
    let mut head = [0; 64];
    let mut opened = File::open(file).map_err(failed)?;
    let mut length = 0;
    while length < head.len() {
        match opened.read(&mut head[length..]).map_err(failed)? {
            0 => break,
            read => length += read,
        }
    }
    let head = &head[..length];
    if head.starts_with(b"PK\x03\x04") {
        return Err(ImportError::Archive { file: file.to_owned() });
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let first = text.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    let opened = File::open(file).map_err(failed)?;
    Ok((Limited::new(opened), first))
}

/// The names in the first row of a CSV file.
pub(super) fn header(file: &Path) -> Result<Vec<String>, ImportError> {
    let (mut rows, _) = rows(file)?;
    let mut row = csv::ByteRecord::new();
    rows.read_byte_record(&mut row).map_err(|source| failed(file, source))?;
    Ok((0..row.len()).map(|place| field(&row, place).unwrap_or_default().to_owned()).collect())
}

/// Calls `each` for every row of a CSV file behind the first.
pub(super) fn each_row(
    file: &Path,
    mut each: impl FnMut(&csv::ByteRecord),
) -> Result<(), ImportError> {
    let (mut rows, budget) = rows(file)?;
    let mut row = csv::ByteRecord::new();
    let mut is_header = true;
    while rows.read_byte_record(&mut row).map_err(|source| failed(file, source))? {
        budget.renew();
        if !std::mem::take(&mut is_header) {
            each(&row);
        }
    }
    Ok(())
}

fn rows(file: &Path) -> Result<(csv::Reader<Limited<File>>, Budget), ImportError> {
    let (reader, _) = open(file)?;
    let budget = reader.budget();
    let rows = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(reader);
    Ok((rows, budget))
}

fn failed(file: &Path, source: csv::Error) -> ImportError {
    ImportError::Csv { file: file.to_owned(), source }
}

/// The field of a row; one that is no UTF-8 is as if it were not there.
pub(super) fn field(row: &csv::ByteRecord, place: usize) -> Option<&str> {
    row.get(place).and_then(|bytes| std::str::from_utf8(bytes).ok())
}
