//! Histories that can and cannot be explained.

use super::*;

const PLACE: Place = Place { bucket: 0, key: 0 };
const OTHER: Place = Place { bucket: 0, key: 1 };

fn operation(place: Place, action: Action, begun: u64, ended: u64, outcome: Outcome) -> Operation {
    Operation { place, action, begun, ended: Some((ended, outcome)), epochs: (0, 0) }
}

fn put(number: u64, require: Require, begun: u64, ended: u64, outcome: Outcome) -> Operation {
    operation(PLACE, Action::Write { value: Some(number), require }, begun, ended, outcome)
}

fn read(found: Option<u64>, begun: u64, ended: u64) -> Operation {
    operation(PLACE, Action::Read(found), begun, ended, Outcome::Done)
}

#[track_caller]
fn check_is(history: &[Operation], explained: bool) {
    let result = check(history, &[Chain { policy: 0, until: None }]);
    assert_eq!(result.is_ok(), explained, "{result:?}");
}

use Outcome::{Done, Refused, Unknown};
use Require::{Absent, Is, Nothing};

#[test]
fn a_read_sees_the_last_write_or_one_beside_it() {
    let first = put(1, Nothing, 1, 2, Done);
    check_is(&[first, read(Some(1), 3, 4)], true);
    check_is(&[first, read(None, 3, 4)], false);
    let beside = put(2, Nothing, 3, 6, Done);
    for (found, explained) in [(Some(1), true), (Some(2), true), (None, false)] {
        check_is(&[first, beside, read(found, 4, 5)], explained);
    }
    // Once the new value was seen, the old one is gone.
    check_is(
        &[first, put(2, Nothing, 3, 10, Done), read(Some(2), 4, 5), read(Some(1), 6, 7)],
        false,
    );
}

#[test]
fn of_two_writes_that_want_nothing_there_one_is_refused() {
    check_is(&[put(1, Absent, 1, 3, Done), put(2, Absent, 2, 4, Refused)], true);
    check_is(&[put(1, Absent, 1, 3, Done), put(2, Absent, 2, 4, Done)], false);
    check_is(&[put(1, Absent, 1, 2, Refused)], false);
    check_is(&[put(1, Absent, 1, 2, Done), put(2, Is(1), 3, 4, Refused)], false);
}

#[test]
fn a_write_of_unknown_outcome_happens_later_or_never() {
    let history = [put(1, Nothing, 1, 2, Done), put(2, Nothing, 3, 4, Unknown)];
    for reads in [[1, 1], [1, 2], [2, 2], [2, 1]] {
        let reads = [read(Some(reads[0]), 5, 6), read(Some(reads[1]), 7, 8)];
        let explained =
            reads[0].action != Action::Read(Some(2)) || reads[0].action == reads[1].action;
        check_is(&[&history[..], &reads].concat(), explained);
    }
}

#[test]
fn a_write_that_was_given_up_is_over_once_a_later_one_of_its_chain_is_acknowledged() {
    let given_up = put(1, Nothing, 1, 2, Unknown);
    let elsewhere =
        |value| operation(OTHER, Action::Write { value, require: Nothing }, 3, 4, Outcome::Done);
    check_is(&[given_up, elsewhere(Some(2)), read(Some(1), 5, 6)], true);
    check_is(&[given_up, elsewhere(Some(2)), read(None, 5, 6), read(Some(1), 7, 8)], false);
    // A deletion elsewhere may have written no record.
    check_is(&[given_up, elsewhere(None), read(None, 5, 6), read(Some(1), 7, 8)], true);
    // A new chain says nothing of the old one, but a later write of the key does.
    let mut later = elsewhere(Some(2));
    later.epochs = (1, 1);
    check_is(&[given_up, later, read(None, 5, 6), read(Some(1), 7, 8)], true);
    let own = Operation { place: PLACE, ..later };
    check_is(&[given_up, own, read(Some(2), 5, 6), read(Some(1), 7, 8)], false);
}
