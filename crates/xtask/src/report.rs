//! The steps of a run: how long each took, what passed and what failed.
//!
//! **Invariant.** A step that ends in an error counts as one failure, so that the closing line
//! cannot say "0 failed" over a run that was cut short.
//!
//! **Deliberately absent.** Colours and progress bars: the same text is read in CI.
//!
//! **Crash.** Nothing is kept.

use anyhow::{Result, anyhow};
use std::fmt::Write as _;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// What a step counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// What was not run, and why.
    pub(crate) skipped: Vec<String>,
}

impl Tally {
    /// One thing that passed.
    pub(crate) fn one() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One thing that was not run.
    pub(crate) fn skip(reason: impl Into<String>) -> Self {
        Self { skipped: vec![reason.into()], ..Self::default() }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }
}

struct Step {
    name: String,
    took: Duration,
    tally: Tally,
}

/// The table at the end.
pub(crate) struct Report {
    began: Instant,
    steps: Vec<Step>,
}

impl Default for Report {
    fn default() -> Self {
        Self { began: Instant::now(), steps: Vec::new() }
    }
}

impl Report {
    /// Runs a step and says what came of it. `true` when nothing in it failed.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> Result<Tally>) -> bool {
        println!("== {name}");
        let start = Instant::now();
        let outcome = run();
        self.ended(name, start.elapsed(), outcome)
    }

    /// Runs a step on a thread of its own while others go on here, and says after them what came of
    /// it. `true` when nothing in it failed.
    pub(crate) fn beside(
        &mut self,
        name: &str,
        run: impl FnOnce() -> Result<Tally> + Send,
        others: impl FnOnce(&mut Self),
    ) -> bool {
        let (took, outcome) = std::thread::scope(|scope| {
            let start = Instant::now();
            let running = scope.spawn(move || {
                let outcome = run();
                (start.elapsed(), outcome)
            });
            others(self);
            running.join().unwrap_or_else(|_| (start.elapsed(), Err(anyhow!("it panicked"))))
        });
        println!("== {name} (beside the others)");
        self.ended(name, took, outcome)
    }

    fn ended(&mut self, name: &str, took: Duration, outcome: Result<Tally>) -> bool {
        let tally = outcome.unwrap_or_else(|error| {
            println!("   FAIL {name}: {error:#}");
            Tally { failed: 1, ..Tally::default() }
        });
        for reason in &tally.skipped {
            println!("   skipped: {reason}");
        }
        let Tally { passed, failed, .. } = tally;
        println!("   {passed} passed, {failed} failed in {:.1} s", took.as_secs_f64());
        self.steps.push(Step { name: name.to_owned(), took, tally });
        failed == 0
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        for step in &self.steps {
            total += step.tally.clone();
        }
        total
    }

    /// `true` when no step failed.
    pub(crate) fn all_passed(&self) -> bool {
        self.total().failed == 0
    }

    /// The table and the closing line.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<40}{:>10}{:>9}{:>9}\n", "step", "seconds", "passed", "failed");
        for Step { name, took, tally: Tally { passed, failed, .. } } in &self.steps {
            let seconds = took.as_secs_f64();
            let _ = writeln!(text, "{name:<40}{seconds:>10.1}{passed:>9}{failed:>9}");
        }
        let Tally { passed, failed, skipped } = self.total();
        let _ = writeln!(text, "{:<40}{:>10.1}", "total", self.began.elapsed().as_secs_f64());
        for reason in skipped {
            let _ = writeln!(text, "skipped: {reason}");
        }
        let _ = writeln!(text, "{passed} passed, {failed} failed");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn an_error_counts_as_a_failure_in_the_closing_line() {
        let mut report = Report::default();
        assert!(report.step("good", || Ok(Tally { passed: 3, ..Tally::default() })));
        assert!(!report.step("bad", || bail!("no such thing")));
        assert!(!report.beside(
            "worse",
            || bail!("nor this"),
            |report| {
                assert!(report.step("meanwhile", || Ok(Tally::one())));
            }
        ));
        assert!(report.step("absent", || Ok(Tally::skip("not permitted here"))));
        assert!(!report.all_passed());
        let table = report.table();
        assert!(table.ends_with("skipped: not permitted here\n4 passed, 2 failed\n"), "{table}");
    }
}
