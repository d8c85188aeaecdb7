//! Opens a catalog's file: new, known, damaged or not ours.
//!
//! **Invariant.** A file that this release cannot understand is never written to. The file is
//! readable by its owner only: it holds names and blobs' secrets.
//!
//! **Deliberately absent.** Reading every page: damage further in shows when it is read, as
//! [`CatalogError::Damaged`], and [`super::SqliteCatalog::verify`] looks on purpose.
//!
//! **Crash.** The schema is made in one transaction: a file has all of it or counts as new.

use super::stored::{Result, one};
use crate::{CatalogError, OpenError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What each version of the schema adds to the one before.
const SCHEMAS: [&str; 3] =
    [include_str!("schema.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];
/// The schema that this release writes.
const SCHEMA_VERSION: i64 = SCHEMAS.len() as i64;
/// "Havr": tells a catalog from other programs' databases.
const APPLICATION_ID: i64 = 0x4861_7672;
/// Bytes of a page. Manifests of small objects fill 4 KiB well, and a change writes whole pages.
const PAGE_BYTES: i64 = 4096;
/// Another connection holds a lock for moments only (log recovery at open, log reset).
const BUSY_MAX: Duration = Duration::from_secs(10);
/// Statements kept prepared by a connection: more than there are.
const STATEMENTS_MAX: usize = 128;
/// Bytes of the log's file that stay when it starts over: what a steady load fills again.
const LOG_BYTES_KEPT: i64 = 64 << 20;
/// Page cache of the writer.
pub(super) const WRITER_CACHE_KIB: i64 = 32 * 1024;
/// Page cache of each reader: it is dropped whenever the writer commits, and the operating system's
/// cache stands behind it.
pub(super) const READER_CACHE_KIB: i64 = 4 * 1024;

/// What stands in the file.
pub(super) enum Content {
    /// Nothing yet.
    Empty,
    /// A catalog of the schema that this release writes.
    Catalog,
    /// A catalog of this earlier schema.
    Earlier(i64),
    /// A catalog that cannot be used any more.
    Damaged(String),
}

/// Names of the files that make up a catalog, the main one first.
pub(super) fn files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| with_suffix(path, suffix))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Keeps other processes from writing to the same catalog, as long as the file is open.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let lock = create(&with_suffix(path, ".lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse),
        Err(TryLockError::Error(error)) => Err(OpenError::Io(error)),
    }
}

/// Opens the file, making it when it is absent, for its owner only.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Makes an empty file where nothing is, for its owner only.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A connection that writes, and what the file holds. The file is made when it is absent.
pub(super) fn writer(path: &Path) -> Result<(Connection, Content), OpenError> {
    drop(create(path)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    let content = content(&conn)?;
    Ok((conn, content))
}

/// A connection that only reads a catalog that exists.
pub(super) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    settle(&conn, READER_CACHE_KIB).map_err(failed)?;
    Ok(conn)
}

/// What a connection's file holds; an error when it has to be left alone.
pub(super) fn content(conn: &Connection) -> Result<Content, OpenError> {
    match look(conn) {
        Ok((0, 0, _)) => Ok(Content::Empty),
        Ok((APPLICATION_ID, _, Some(version))) if version > SCHEMA_VERSION => {
            Err(OpenError::NewerSchema { found: version, known: SCHEMA_VERSION })
        }
        Ok((APPLICATION_ID, _, Some(version))) if version > 0 => Ok(match probe(conn) {
            Ok(()) if version == SCHEMA_VERSION => Content::Catalog,
            Ok(()) => Content::Earlier(version),
            Err(CatalogError::Damaged(reason)) => Content::Damaged(reason),
            Err(error) => return Err(OpenError::Storage(error.to_string())),
        }),
        Ok((APPLICATION_ID, ..)) => Ok(Content::Damaged("the schema's version is missing".into())),
        Ok(_) => Err(OpenError::NotACatalog),
        Err(CatalogError::Damaged(reason)) => Ok(Content::Damaged(reason)),
        Err(error) => Err(OpenError::Storage(error.to_string())),
    }
}

/// The application's id, how many tables there are, and the schema's version.
fn look(conn: &Connection) -> Result<(i64, i64, Option<i64>)> {
    conn.busy_timeout(BUSY_MAX)?;
    let id = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id != APPLICATION_ID || tables == 0 {
        return Ok((id, tables, None));
    }
    let named = "SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'";
    let version = match one(conn, named, [], |_| Ok(()))? {
        None => None,
        Some(()) => {
            one(conn, "SELECT max(version) FROM schema_version", [], |row| Ok(row.get(0)?))?
        }
    };
    Ok((id, tables, version.flatten()))
}

/// Looks at both ends of every table and index, and at the rows there has to be one of.
fn probe(conn: &Connection) -> Result<()> {
    let tables = super::stored::all(
        conn,
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name",
        [],
        |row| Ok(row.get::<_, String>(0)?),
    )?;
    for (table, expected) in [("state", 1), ("totals", 1)] {
        let sql = format!("SELECT count(*) FROM {table}");
        if conn.query_row(&sql, [], |row| row.get::<_, i64>(0))? != expected {
            return Err(CatalogError::Damaged(format!("the {table} is missing")));
        }
    }
    for table in tables {
        for order in ["", "ORDER BY 1 DESC"] {
            let sql = format!("SELECT * FROM \"{table}\" {order} LIMIT 1");
            let mut statement = conn.prepare(&sql)?;
            let mut rows = statement.query([])?;
            rows.next()?;
        }
    }
    Ok(())
}

/// Settings of a connection that hold for readers and writers.
pub(super) fn settle(conn: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_MAX)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Else a statement on a table with a partial index is planned anew for every value it is given,
    // which doubles what a write costs and triples a point read.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // A file's damage shall be an error, not a signal.
    conn.pragma_update(None, "mmap_size", 0)
}

/// Settings of the connection that writes.
pub(super) fn settle_writer(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    settle(conn, WRITER_CACHE_KIB)
}

/// Makes the schema in an empty file, or adds to an earlier one what it lacks.
pub(super) fn initialize(conn: &Connection, has: i64) -> rusqlite::Result<()> {
    conn.pragma_update(None, "synchronous", "FULL")?;
    let transaction = Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate)?;
    for schema in SCHEMAS.iter().skip(usize::try_from(has).unwrap_or(SCHEMAS.len())) {
        transaction.execute_batch(schema)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()?;
    conn.pragma_update(None, "synchronous", "NORMAL")
}

/// Makes the file's entry in its directory durable: a catalog that promised never to hand out a
/// sequence number twice must not vanish.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

pub(super) fn failed(error: rusqlite::Error) -> OpenError {
    OpenError::Storage(error.to_string())
}
