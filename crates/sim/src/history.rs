//! What clients asked for and were told, in one order for all.
//!
//! **Invariant.** Every write has a number of its own, which stands in the object's metadata and
//! decides its bytes, so that whatever is read tells which write it came from.
//!
//! **Deliberately absent.** Judgement ([`crate::linear`]).
//!
//! **Crash.** An operation whose gateway died, or whose client went away, ends as one of unknown
//! outcome.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A key of a bucket, by their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Of the bucket.
    pub bucket: usize,
    /// Of the key.
    pub key: usize,
}

/// What must hold of the object that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    /// Nothing.
    Nothing,
    /// No object is there.
    Absent,
    /// The object of this write is there.
    Is(u64),
}

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write an object, or delete it.
    Write {
        /// The number of the write; `None` for a deletion.
        value: Option<u64>,
        /// Its condition.
        require: Require,
    },
    /// Read, and what was found.
    Read(Option<u64>),
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged.
    Done,
    /// Its condition did not hold.
    Refused,
    /// It certainly had no effect, and says nothing of the key.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// An operation. Stamps count the begins and ends of all operations.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Where.
    pub place: Place,
    /// What.
    pub action: Action,
    /// Stamp of its begin.
    pub begun: u64,
    /// Stamp of its end, and the outcome; `None` while it is under way.
    pub ended: Option<(u64, Outcome)>,
    /// Catalogs that had been lost when it began and when it ended.
    pub epochs: (u64, u64),
}

#[derive(Default)]
struct Inner {
    stamp: u64,
    numbers: u64,
    epoch: u64,
    operations: Vec<Operation>,
    values: BTreeMap<u64, (Place, Bytes)>,
    etags: BTreeMap<u64, String>,
    misremembers: bool,
}

/// The history of a run. Clones share it.
#[derive(Clone, Default)]
pub struct History {
    inner: Arc<Mutex<Inner>>,
}

/// An operation under way. Dropped, its outcome is unknown.
pub struct Invocation {
    history: History,
    at: usize,
}

impl History {
    /// A number that no other write has.
    #[must_use]
    pub fn number(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.numbers += 1;
        inner.numbers
    }

    /// The bytes that a write will write.
    pub fn intend(&self, number: u64, place: Place, bytes: Bytes) {
        let mut inner = self.inner.lock();
        let bytes = if inner.misremembers { bytes.iter().map(|it| !it).collect() } else { bytes };
        inner.values.insert(number, (place, bytes));
    }

    /// From now on other bytes are remembered than were written: sabotage that the checkers must
    /// find.
    pub fn misremember(&self) {
        self.inner.lock().misremembers = true;
    }

    /// Where a write wrote, and what.
    #[must_use]
    pub fn value(&self, number: u64) -> Option<(Place, Bytes)> {
        self.inner.lock().values.get(&number).cloned()
    }

    /// The ETag that a write's object was seen with.
    pub fn observe(&self, number: u64, etag: &str) {
        self.inner.lock().etags.insert(number, etag.to_owned());
    }

    /// Some write of the key whose ETag is known, counted from the latest.
    #[must_use]
    pub fn known(&self, place: Place, back: usize) -> Option<(u64, String)> {
        let inner = self.inner.lock();
        let of_place = |number: &u64| inner.values.get(number).is_some_and(|it| it.0 == place);
        let mut known = inner.etags.iter().rev().filter(|(number, _)| of_place(number));
        known.nth(back).map(|(number, etag)| (*number, etag.clone()))
    }

    /// An operation begins.
    #[must_use]
    pub fn begin(&self, place: Place, action: Action) -> Invocation {
        let mut inner = self.inner.lock();
        inner.stamp += 1;
        let (begun, epochs) = (inner.stamp, (inner.epoch, inner.epoch));
        inner.operations.push(Operation { place, action, begun, ended: None, epochs });
        Invocation { history: self.clone(), at: inner.operations.len() - 1 }
    }

    /// The stamp of the latest begin or end.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.inner.lock().stamp
    }

    /// The catalog is lost: chains begin anew.
    pub fn lose_catalog(&self) {
        self.inner.lock().epoch += 1;
    }

    /// Everything so far.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.inner.lock().operations.clone()
    }

    /// Operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().operations.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn end(&self, at: usize, action: Option<Action>, outcome: Outcome) {
        let mut inner = self.inner.lock();
        if inner.operations[at].ended.is_some() {
            return;
        }
        inner.stamp += 1;
        let (stamp, epoch) = (inner.stamp, inner.epoch);
        let operation = &mut inner.operations[at];
        operation.ended = Some((stamp, outcome));
        operation.epochs.1 = epoch;
        operation.action = action.unwrap_or(operation.action);
    }
}

impl Invocation {
    /// The operation ended.
    pub fn end(self, outcome: Outcome) {
        self.history.end(self.at, None, outcome);
    }

    /// A read ended with this.
    pub fn found(self, number: Option<u64>) {
        self.history.end(self.at, Some(Action::Read(number)), Outcome::Done);
    }
}

impl Drop for Invocation {
    fn drop(&mut self) {
        self.history.end(self.at, None, Outcome::Unknown);
    }
}
