//! How values stand in columns: records as versioned postcard, numbers as `BIGINT`, and what a
//! failure of the database means.
//!
//! **Invariant.** `unpack(pack(r)) == r`; a column that holds anything else is damage, never a
//! panic.
//!
//! **Deliberately absent.** The format of records in packs (`model::record`): the catalog is a
//! view, its encoding may change with the schema version, and old ones are rebuilt rather than
//! converted.
//!
//! **Crash.** Values only.

use crate::CatalogError;
use havre_model::Seq;
use havre_model::record::{ChecksumAlgorithm, ChecksumKind};
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::{Serialize, de::DeserializeOwned};

/// First byte of every encoded record.
const ENCODING: u8 = 1;

pub(super) type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// A record as its column holds it.
pub(super) fn pack<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(ENCODING);
    postcard::to_extend(record, bytes).map_err(|_| CatalogError::OutOfRange("record"))
}

/// The record in a column.
pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let damaged = || CatalogError::Damaged("a record does not decode".into());
    let (&ENCODING, body) = bytes.split_first().ok_or_else(damaged)? else {
        return Err(damaged());
    };
    postcard::from_bytes(body).map_err(|_| damaged())
}

/// A sequence number as a column; above zero or out of range, so that its negation orders.
pub(super) fn seq_column(seq: Seq) -> Result<i64> {
    i64::try_from(seq.value())
        .ok()
        .filter(|value| *value < i64::MAX)
        .ok_or(CatalogError::OutOfRange("sequence number"))
}

/// The sequence number in a column.
pub(super) fn seq_value(column: i64) -> Seq {
    Seq::new(column.unsigned_abs())
}

/// A row limit as `LIMIT` takes it.
pub(super) fn limit_column(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A checksum's algorithm and kind in one small number.
pub(super) fn checksum_column(algorithm: ChecksumAlgorithm, kind: ChecksumKind) -> i64 {
    let algorithm = match algorithm {
        ChecksumAlgorithm::Crc32 => 0,
        ChecksumAlgorithm::Crc32c => 1,
        ChecksumAlgorithm::Crc64nvme => 2,
        ChecksumAlgorithm::Sha1 => 3,
        ChecksumAlgorithm::Sha256 => 4,
    };
    let kind = match kind {
        ChecksumKind::FullObject => 0,
        ChecksumKind::Composite => 1,
    };
    algorithm * 2 + kind
}

/// The algorithm and kind in that number.
pub(super) fn checksum_value(column: i64) -> Result<(ChecksumAlgorithm, ChecksumKind)> {
    let algorithm = match column >> 1 {
        0 => ChecksumAlgorithm::Crc32,
        1 => ChecksumAlgorithm::Crc32c,
        2 => ChecksumAlgorithm::Crc64nvme,
        3 => ChecksumAlgorithm::Sha1,
        4 => ChecksumAlgorithm::Sha256,
        _ => return Err(CatalogError::Damaged("a checksum's algorithm is unknown".into())),
    };
    let kind = if column & 1 == 0 { ChecksumKind::FullObject } else { ChecksumKind::Composite };
    Ok((algorithm, kind))
}

/// The UTF-8 text in a column of bytes.
pub(super) fn text(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes);
    Ok(text.map_err(|_| CatalogError::Damaged("a text is not UTF-8".into()))?.to_owned())
}

/// A value that must be there, being written together with what led to it.
pub(super) fn present<T>(value: Option<T>, what: &'static str) -> Result<T> {
    value.ok_or_else(|| CatalogError::Damaged(format!("{what} is missing")))
}

/// Runs a statement from the cache; rows changed.
pub(super) fn execute(conn: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    Ok(conn.prepare_cached(sql)?.execute(params)?)
}

/// The first row of a statement from the cache.
pub(super) fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// All rows of a statement from the cache.
pub(super) fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut values = Vec::new();
    while let Some(row) = rows.next()? {
        values.push(read(row)?);
    }
    Ok(values)
}

/// Whether a statement from the cache yields a row.
pub(super) fn exists(conn: &Connection, sql: &str, params: impl Params) -> Result<bool> {
    Ok(conn.prepare_cached(sql)?.query_row(params, |_| Ok(())).optional()?.is_some())
}

impl From<rusqlite::Error> for CatalogError {
    /// Sorts by what the caller does about it. A broken constraint or a column of another type
    /// means that the rows contradict each other: damage.
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::{Error, ErrorCode};
        match &error {
            Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch => Self::Damaged(error.to_string()),
                // The statements are constants: a table or a column is missing.
                ErrorCode::Unknown if failure.extended_code == rusqlite::ffi::SQLITE_ERROR => {
                    Self::Damaged(error.to_string())
                }
                _ => Self::Storage(error.to_string()),
            },
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
            | Error::QueryReturnedNoRows
            | Error::InvalidColumnType(..) => Self::Damaged(error.to_string()),
            _ => Self::Storage(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// SQLite counts `$N` as names, by first appearance; PostgreSQL counts them as numbers.
    #[test]
    fn placeholders_first_appear_in_the_order_of_their_numbers() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite");
        let mut statements = 0;
        for file in fs::read_dir(directory).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            for literal in text.split('"').filter(|literal| literal.contains("$1")) {
                let numbers = literal.split('$').skip(1).filter_map(|rest| {
                    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    rest[..digits].parse::<usize>().ok()
                });
                let mut seen = 0;
                for number in numbers {
                    assert!(number <= seen + 1, "{literal}");
                    seen = seen.max(number);
                }
                statements += 1;
            }
        }
        assert!(statements > 30, "the literals were found");
    }

    #[test]
    fn a_column_that_is_no_record_is_damage() {
        for bytes in [&b""[..], &[ENCODING], &[ENCODING + 1, 0], &[ENCODING, 0xff, 0xff]] {
            let read = unpack::<havre_model::record::BucketRecord>(bytes);
            assert!(matches!(read, Err(CatalogError::Damaged(_))), "{bytes:?}");
        }
    }

    #[test]
    fn every_checksum_reads_back_from_its_column() {
        use ChecksumAlgorithm::{Crc32, Crc32c, Crc64nvme, Sha1, Sha256};
        for algorithm in [Crc32, Crc32c, Crc64nvme, Sha1, Sha256] {
            for kind in [ChecksumKind::FullObject, ChecksumKind::Composite] {
                let column = checksum_column(algorithm, kind);
                assert_eq!(checksum_value(column), Ok((algorithm, kind)));
            }
        }
        assert!(checksum_value(10).is_err() && checksum_value(-1).is_err());
    }
}
