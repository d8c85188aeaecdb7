//! Facts about parties from public files: GLEIF's, and the Consolidated Screening List.
//!
//! **Invariant.** What comes out is a proposal, as text: the configuration is read and never
//! changed. Memory is bounded whatever the file's size and content.
//!
//! **Deliberately absent.** Downloads, and decisions: a person pastes what is right.
//!
//! **Crash.** Reads only.

mod csl;
mod gleif;
mod limited;
mod proposal;
#[cfg(test)]
mod tests;

pub use csl::import_csl;
pub use gleif::import_gleif;

use havre_policy::{csl::CslColumnError, gleif::ColumnError};
use std::{io, path::PathBuf};

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It cannot be read.
    #[error("read {}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a ZIP archive.
    #[error("{} is a ZIP archive: unpack it first", .file.display())]
    Archive {
        /// The file.
        file: PathBuf,
    },
    /// It is no CSV, or a record of it is too long.
    #[error("read {} as CSV", .file.display())]
    Csv {
        /// The file.
        file: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// It is no JSON of the list, or an entry of it is too long.
    #[error("read {} as JSON", .file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It is none of GLEIF's files.
    #[error("{}", .file.display())]
    Gleif {
        /// The file.
        file: PathBuf,
        /// What is missing.
        source: ColumnError,
    },
    /// It is not the list.
    #[error("{}", .file.display())]
    Csl {
        /// The file.
        file: PathBuf,
        /// What is missing.
        source: CslColumnError,
    },
    /// Nothing in the configuration could be looked for.
    #[error(
        "no operator and no owner has an LEI, and no file of level 1 is given to find them by \
         name; add lei = \"...\" to an [[operator]]"
    )]
    NothingToLookFor,
}
