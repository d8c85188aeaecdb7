//! Decides whether what clients saw of one key can be explained by one order of its operations.
//!
//! **Invariant.** An operation takes effect at one moment between its begin and its end. One of
//! unknown outcome takes effect at one later moment, or never; not after a later write has been
//! acknowledged that stands behind it in the same chain of packs, or that wrote the same key.
//!
//! **Deliberately absent.** Orders between keys.
//!
//! **Crash.** A crash is an unknown outcome.

use crate::history::{Action, Operation, Outcome, Place, Require};
use std::collections::{BTreeMap, BTreeSet};

/// Possible worlds of one key beyond which the search is given up.
const WORLDS_MAX: usize = 20_000;

/// What the key may hold, and which of the operations under way have taken effect.
type World = (Option<u64>, BTreeSet<usize>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Begin(usize),
    End(usize),
    /// From here on an operation of unknown outcome takes no effect any more.
    Expire(usize),
}

/// The chain that a bucket's records stand in.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// The policy's position.
    pub policy: usize,
    /// The stamp at which the bucket was to be put under another policy first: which chain a write
    /// that ends later stands in nobody says.
    pub until: Option<u64>,
}

impl Chain {
    /// Whether both stand in one chain: a write to this bucket that ended at the one stamp, and one
    /// to the other's at the other.
    fn is_same(self, ended: u64, (other, other_ended): (Self, u64)) -> bool {
        let is_known = |chain: Self, ended| chain.until.is_none_or(|until| ended <= until);
        self.policy == other.policy && is_known(self, ended) && is_known(other, other_ended)
    }
}

/// Judges all operations, all of which have ended. `chains` tells the chain of each bucket.
///
/// # Errors
/// What cannot be explained.
pub fn check(operations: &[Operation], chains: &[Chain]) -> Result<(), String> {
    let mut places: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for (at, operation) in operations.iter().enumerate() {
        places.entry(operation.place).or_default().push(at);
    }
    places.iter().try_for_each(|(place, own)| {
        let events = events(operations, own, chains);
        match search(operations, &events) {
            Err(Unjudged::Unexplained(error)) => Err(format!("{place:?}: {error}")),
            // Too many writes of unknown outcome side by side: nothing is said of the key.
            Err(Unjudged::TooWild) | Ok(()) => Ok(()),
        }
    })
}

fn events(operations: &[Operation], own: &[usize], chains: &[Chain]) -> Vec<Event> {
    let mut events = Vec::new();
    for at in own {
        let operation = &operations[*at];
        let Some((ended, outcome)) = operation.ended else { continue };
        let is_read = matches!(operation.action, Action::Read(_));
        match outcome {
            Outcome::Nothing => {}
            Outcome::Unknown if is_read => {}
            Outcome::Done | Outcome::Refused => {
                events.push((operation.begun, Event::Begin(*at)));
                events.push((ended, Event::End(*at)));
            }
            Outcome::Unknown => {
                events.push((operation.begun, Event::Begin(*at)));
                if let Some(stamp) = expiry(operations, operation, chains) {
                    events.push((stamp, Event::Expire(*at)));
                }
            }
        }
    }
    // An expiry bears the stamp of the end that brings it, and comes behind that.
    events.sort_unstable();
    events.into_iter().map(|(_, event)| event).collect()
}

/// When the earliest write is acknowledged that began after this one was given up and stands behind
/// it.
fn expiry(operations: &[Operation], unknown: &Operation, chains: &[Chain]) -> Option<u64> {
    let (given_up, _) = unknown.ended?;
    let behind = operations.iter().filter_map(|later| {
        let Action::Write { value, .. } = later.action else { return None };
        let (ended, Outcome::Done) = later.ended? else { return None };
        // A deletion of what is not there writes no record.
        let same_chain = value.is_some()
            && chains[later.place.bucket].is_same(ended, (chains[unknown.place.bucket], given_up))
            && later.epochs.1 == unknown.epochs.1;
        let counts = later.begun > given_up && (same_chain || later.place == unknown.place);
        counts.then_some(ended)
    });
    behind.min()
}

/// Why a key's history has no verdict, or a bad one.
enum Unjudged {
    Unexplained(String),
    /// More than [`WORLDS_MAX`] possible worlds.
    TooWild,
}

fn search(operations: &[Operation], events: &[Event]) -> Result<(), Unjudged> {
    let mut worlds: BTreeSet<World> = BTreeSet::from([(None, BTreeSet::new())]);
    let mut active: BTreeSet<usize> = BTreeSet::new();
    for event in events {
        match event {
            Event::Begin(at) => {
                active.insert(*at);
            }
            Event::End(at) => {
                let before = worlds.clone();
                worlds = closure(operations, worlds, &active)?;
                worlds.retain(|(_, done)| done.contains(at));
                if worlds.is_empty() {
                    let why = unexplained(operations, *at, &before, &active);
                    return Err(Unjudged::Unexplained(why));
                }
                retire(&mut worlds, &mut active, *at);
            }
            Event::Expire(at) => {
                worlds = closure(operations, worlds, &active)?;
                retire(&mut worlds, &mut active, *at);
            }
        }
    }
    Ok(())
}

fn retire(worlds: &mut BTreeSet<World>, active: &mut BTreeSet<usize>, at: usize) {
    active.remove(&at);
    let retired = std::mem::take(worlds).into_iter().map(|(state, mut done)| {
        done.remove(&at);
        (state, done)
    });
    *worlds = retired.collect();
}

/// Every world that the operations under way may lead to.
fn closure(
    operations: &[Operation],
    worlds: BTreeSet<World>,
    active: &BTreeSet<usize>,
) -> Result<BTreeSet<World>, Unjudged> {
    let mut all = worlds.clone();
    let mut open: Vec<World> = worlds.into_iter().collect();
    while let Some((state, done)) = open.pop() {
        for at in active.difference(&done) {
            let Some(next) = effect(&operations[*at], state) else { continue };
            let mut done = done.clone();
            done.insert(*at);
            let world = (next, done);
            if all.insert(world.clone()) {
                open.push(world);
            }
        }
        if all.len() > WORLDS_MAX {
            return Err(Unjudged::TooWild);
        }
    }
    Ok(all)
}

/// What the key holds after the operation, if it can have its outcome on what the key holds now.
fn effect(operation: &Operation, state: Option<u64>) -> Option<Option<u64>> {
    match operation.action {
        Action::Read(found) => (found == state).then_some(state),
        Action::Write { value, require } => {
            let holds = match require {
                Require::Nothing => true,
                Require::Absent => state.is_none(),
                Require::Is(number) => state == Some(number),
            };
            let refused = operation.ended.is_some_and(|(_, it)| it == Outcome::Refused);
            match (holds, refused) {
                (true, false) => Some(value),
                (false, true) => Some(state),
                _ => None,
            }
        }
    }
}

fn unexplained(
    operations: &[Operation],
    at: usize,
    before: &BTreeSet<World>,
    active: &BTreeSet<usize>,
) -> String {
    let states: BTreeSet<Option<u64>> = before.iter().map(|(state, _)| *state).collect();
    let beside: Vec<String> =
        active.iter().filter(|it| **it != at).map(|it| say(&operations[*it])).collect();
    format!(
        "nothing explains {}; before it the key may hold {states:?}; beside it: [{}]",
        say(&operations[at]),
        beside.join(", ")
    )
}

fn say(operation: &Operation) -> String {
    let ended = operation.ended.map(|(stamp, outcome)| format!("{outcome:?} at {stamp}"));
    format!("{:?} begun at {}, {}", operation.action, operation.begun, ended.unwrap_or_default())
}

#[cfg(test)]
mod tests;
