//! Who could read and who could cut off, for people and for machines: `havre exposure`.
//!
//! **Invariant.** Everything shown is computed by `havre_policy` from the declared facts, which are
//! shown with it; asking what would be changes nothing.
//!
//! **Deliberately absent.** Decisions, and anything read from the sites.
//!
//! **Crash.** Reads only, but for the drawing that was asked for.

mod report;
mod svg;
mod table;
#[cfg(test)]
mod tests;

pub use report::{
    AskError, BucketPolicy, CoalitionReport, FactReport, LinkReport, ListReport, OverrideReport,
    PartyReport, PolicyReport, Report, SeatReport, SiteReport, StepReport, StoredReport, Supposed,
    report, suppose,
};
pub use svg::draw;
pub use table::{facts_lines, table, trust_lines};

use crate::config::{ConfigError, load_changes};
use havre_policy::{Change, ChangeError};
use std::path::Path;

/// Why a change could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadChangeError {
    /// The text on the command line.
    #[error(transparent)]
    Text(#[from] ChangeError),
    /// The file it names.
    #[error(transparent)]
    File(#[from] ConfigError),
}

/// Reads what `--what-if` says: one change, or a file of them.
///
/// # Errors
/// When it is neither.
pub fn read_changes(text: &str) -> Result<Vec<Change>, ReadChangeError> {
    if Path::new(text).is_file() {
        return Ok(load_changes(Path::new(text))?);
    }
    Ok(vec![Change::parse(text)?])
}
