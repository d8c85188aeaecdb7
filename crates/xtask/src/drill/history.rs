//! What a key may hold after a crash, from what was asked and what was acknowledged.
//!
//! **Invariant.** A state is allowed exactly if some order of the writes, in which a write that
//! ended before another began comes first, leaves it. A write without an answer may have happened
//! or not, but never by half and never later than the restart.
//!
//! **Deliberately absent.** What other keys hold: S3 orders writes of one key only.
//!
//! **Crash.** This is the judge of one.

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing.
    Absent,
    /// These bytes.
    Present(Content),
}

/// Bytes, named by what makes them: the seeds and lengths of up to two pieces in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) pieces: [(u64, usize); 2],
}

impl Content {
    pub(crate) const fn one(seed: u64, length: usize) -> Self {
        Self { pieces: [(seed, length), (0, 0)] }
    }

    pub(crate) fn length(&self) -> usize {
        self.pieces.iter().map(|(_, length)| length).sum()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let [(first, length), (second, rest)] = self.pieces;
        let mut bytes = crate::random::bytes(first, length);
        bytes.extend(crate::random::bytes(second, rest));
        bytes
    }
}

/// One write of one key.
#[derive(Clone, Debug)]
struct Write {
    began: u64,
    /// `None` when no answer came.
    acknowledged: Option<u64>,
    state: State,
}

/// The writes of one key since its state was last known for certain.
#[derive(Clone, Debug)]
pub(crate) struct History {
    writes: Vec<Write>,
}

/// Names a write within its history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteId(usize);

impl History {
    /// A key that holds `state`, beyond doubt.
    pub(crate) fn known(state: State) -> Self {
        Self { writes: vec![Write { began: 0, acknowledged: Some(0), state }] }
    }

    /// `true` when a write was begun since the state was known.
    pub(crate) fn is_touched(&self) -> bool {
        self.writes.len() > 1
    }

    /// A write was sent at `tick`.
    pub(crate) fn begin(&mut self, tick: u64, state: State) -> WriteId {
        self.writes.push(Write { began: tick, acknowledged: None, state });
        WriteId(self.writes.len() - 1)
    }

    /// Its answer came at `tick`.
    pub(crate) fn acknowledge(&mut self, id: WriteId, tick: u64) {
        self.writes[id.0].acknowledged = Some(tick);
    }

    /// It was refused, and certainly did not happen.
    pub(crate) fn refuse(&mut self, id: WriteId) {
        // As if it had been a part of what was known.
        let state = self.writes[0].state;
        self.writes[id.0] = Write { began: 0, acknowledged: Some(0), state };
    }

    /// Every state that the key may be in.
    pub(crate) fn allowed(&self) -> Vec<State> {
        let superseded = |write: &Write| {
            let Some(ended) = write.acknowledged else { return false };
            self.writes.iter().any(|later| later.acknowledged.is_some() && later.began > ended)
        };
        let mut states: Vec<State> = Vec::new();
        for write in &self.writes {
            if !superseded(write) && !states.contains(&write.state) {
                states.push(write.state);
            }
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(seed: u64) -> State {
        State::Present(Content::one(seed, 10))
    }

    #[test]
    fn an_acknowledged_write_replaces_what_was_before() {
        let mut history = History::known(State::Absent);
        let write = history.begin(1, put(1));
        history.acknowledge(write, 2);
        assert_eq!(history.allowed(), [put(1)]);
    }

    #[test]
    fn a_write_without_an_answer_may_have_happened_or_not() {
        let mut history = History::known(put(1));
        history.begin(1, put(2));
        assert_eq!(history.allowed(), [put(1), put(2)]);
    }

    #[test]
    fn an_acknowledged_delete_is_final() {
        let mut history = History::known(put(1));
        let delete = history.begin(1, State::Absent);
        history.acknowledge(delete, 2);
        assert_eq!(history.allowed(), [State::Absent]);
    }

    #[test]
    fn writes_that_overlap_may_end_in_either_order() {
        let mut history = History::known(State::Absent);
        let (first, second) = (history.begin(1, put(1)), history.begin(2, put(2)));
        history.acknowledge(first, 3);
        history.acknowledge(second, 4);
        assert_eq!(history.allowed(), [put(1), put(2)]);
        let third = history.begin(5, put(3));
        history.acknowledge(third, 6);
        assert_eq!(history.allowed(), [put(3)]);
    }

    #[test]
    fn an_unanswered_write_outlives_a_later_acknowledged_one() {
        // It may have been delayed on its way and taken effect last.
        let mut history = History::known(State::Absent);
        history.begin(1, put(1));
        let second = history.begin(2, put(2));
        history.acknowledge(second, 3);
        assert_eq!(history.allowed(), [put(1), put(2)]);
    }

    #[test]
    fn a_refused_write_changes_nothing() {
        let mut history = History::known(put(1));
        let refused = history.begin(1, put(2));
        history.refuse(refused);
        assert_eq!(history.allowed(), [put(1)]);
    }
}
