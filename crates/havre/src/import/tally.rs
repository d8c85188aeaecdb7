//! What an import has done so far, counted while it goes on.
//!
//! **Invariant.** Every object that the source listed is counted once when it is done with.
//!
//! **Deliberately absent.** Names, but for those of what failed, at most [`FAILURES_MAX`] of them,
//! which the operator is told and no log is.
//!
//! **Crash.** Nothing is kept.

use super::metadata::LeftBehind;
use parking_lot::Mutex;
use serde::Serialize;

/// Failures that are listed one by one.
pub(super) const FAILURES_MAX: usize = 1000;
/// After so many failures without anything else between them an import ends: it is not the objects.
pub(super) const FAILURES_IN_A_ROW_MAX: u64 = 100;

/// Counts that workers add to and others look at.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Report>);

/// How an import ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It has not yet.
    #[default]
    Running,
    /// The source's listing came to its end.
    Finished,
    /// It was told to stop.
    Stopped,
    /// Too much failed in a row.
    GaveUp,
}

/// An object that was not brought over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its key.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// What an import has done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// Objects that the source has, once they are counted.
    pub expected_objects: Option<u64>,
    /// Their bytes.
    pub expected_bytes: Option<u64>,
    /// Objects that were copied, or with a plan: that would be.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Objects that were there already.
    pub unchanged: u64,
    /// Their bytes.
    pub unchanged_bytes: u64,
    /// Objects that somebody else wrote at the destination later; they were left as they are.
    pub kept: u64,
    /// Keys of those, as many as failures are listed.
    pub kept_keys: Vec<String>,
    /// Objects that vanished from the source meanwhile.
    pub gone: u64,
    /// Keys of those, as many.
    pub gone_keys: Vec<String>,
    /// Objects that failed.
    pub failed: u64,
    /// They, and why: the first thousand.
    pub failures: Vec<Failure>,
    /// Uploads of an interrupted run that were ended.
    pub uploads_ended: u64,
    /// What was not carried over.
    pub left_behind: LeftBehind,
    #[serde(skip)]
    failed_in_a_row: u64,
}

impl Report {
    /// Objects that are done with.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.copied + self.unchanged + self.kept + self.gone + self.failed
    }
}

impl Tally {
    /// The counts as they are now.
    #[must_use]
    pub fn report(&self) -> Report {
        self.0.lock().clone()
    }

    /// Objects that are done with, their bytes, and those that failed.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let report = self.0.lock();
        Progress {
            objects: report.done(),
            bytes: report.copied_bytes + report.unchanged_bytes,
            copied_bytes: report.copied_bytes,
            failed: report.failed,
            expected_objects: report.expected_objects,
            expected_bytes: report.expected_bytes,
        }
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Report) -> T) -> T {
        let mut report = self.0.lock();
        report.failed_in_a_row = 0;
        change(&mut report)
    }

    /// Counts what the source has.
    pub(super) fn expect(&self, objects: u64, bytes: u64) {
        let mut report = self.0.lock();
        (report.expected_objects, report.expected_bytes) = (Some(objects), Some(bytes));
    }

    /// Counts a failure; whether there were too many in a row.
    pub(super) fn fail(&self, key: &str, reason: String) -> bool {
        let mut report = self.0.lock();
        report.failed += 1;
        report.failed_in_a_row += 1;
        if report.failures.len() < FAILURES_MAX {
            report.failures.push(Failure { key: key.to_owned(), reason });
        }
        report.failed_in_a_row >= FAILURES_IN_A_ROW_MAX
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Objects that are done with.
    pub objects: u64,
    /// Bytes that were copied or were there.
    pub bytes: u64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// Objects that failed.
    pub failed: u64,
    /// Objects that the source has, once they are counted.
    pub expected_objects: Option<u64>,
    /// Their bytes.
    pub expected_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_all_counted_and_the_first_are_listed() {
        let tally = Tally::default();
        for number in 0..=FAILURES_MAX {
            tally.fail(&number.to_string(), "why".to_owned());
        }
        let report = tally.report();
        assert_eq!((report.failed, report.failures.len()), (1001, FAILURES_MAX));
    }

    #[test]
    fn it_gives_up_when_nothing_works_any_more() {
        let tally = Tally::default();
        for _ in 1..FAILURES_IN_A_ROW_MAX {
            assert!(!tally.fail("k", String::new()));
        }
        tally.with(|report| report.copied += 1);
        assert!(!tally.fail("k", String::new()), "something worked in between");
        for _ in 2..FAILURES_IN_A_ROW_MAX {
            assert!(!tally.fail("k", String::new()));
        }
        assert!(tally.fail("k", String::new()));
    }
}
