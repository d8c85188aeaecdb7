//! When to stop asking a site that does not answer, and when to ask again.
//!
//! **Invariant.** While a breaker is open no caller waits for the site; it opens only after
//! silence, and stays open only while probes stay unanswered. A probe proves that a site reads;
//! whether it writes is tried by one caller at a time.
//!
//! **Deliberately absent.** Clocks, sleeping and the probe itself: the parent module drives this.
//!
//! **Crash.** A new process begins with trust.

use std::time::Duration;

/// Silence that abandoned calls may prove together: hedged reads give up on a hung site long before
/// its deadline, and would otherwise ask it first for ever. While nobody waits nothing is proven.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// For how long a refusal is remembered where nothing is stored meanwhile: somebody has to act, and
/// nobody tells that they did.
const REFUSED_FOR: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// A probe runs beside the callers, who are turned away.
    Open,
    /// The probe was answered; `busy` while one caller tries.
    Trial {
        busy: bool,
    },
}

/// What an answered probe, which reads, says about what the breaker guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// All: readers may come back, and the first silence opens the breaker again.
    Proves,
    /// That there is somebody: one caller at a time finds out the rest.
    Hints,
}

/// Leave to ask the site. `trial` when everybody waits for this one's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    trial: bool,
}

/// What became of an admitted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The site answered, be it with an error.
    Answered,
    /// It answered to what takes no room, and so says nothing of a refusal before.
    Freed,
    /// It answered that it will not.
    Refused,
    /// It did not, by the deadline or because the connection failed.
    Silent,
    /// The caller went away after waiting for this long.
    Abandoned(Duration),
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    silent_calls: u32,
    /// How long callers that went away had waited since the last answer, and until when that is
    /// counted.
    silence: Duration,
    counted_until: Duration,
    silent_calls_max: u32,
    probe: Probe,
    /// When the last answer was a refusal, if it was: a full disk or a lost credential refuses the
    /// next one too. That a full disk deletes shards proves nothing.
    refused: Option<Duration>,
}

impl Breaker {
    pub(super) fn new(silent_calls_max: u32, probe: Probe) -> Self {
        let silent_calls_max = silent_calls_max.max(1);
        Self {
            state: State::Closed,
            silent_calls: 0,
            silence: Duration::ZERO,
            counted_until: Duration::ZERO,
            silent_calls_max,
            probe,
            refused: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn is_suspect(&self, now: Duration) -> bool {
        let refused = self.refused.is_some_and(|at| now.saturating_sub(at) < REFUSED_FOR);
        self.silent_calls > 0 || self.state != State::Closed || refused
    }

    pub(super) fn admit(&mut self) -> Option<Pass> {
        match &mut self.state {
            State::Closed => Some(Pass { trial: false }),
            State::Trial { busy: busy @ false } => {
                *busy = true;
                Some(Pass { trial: true })
            }
            State::Open | State::Trial { .. } => None,
        }
    }

    /// Takes note of what became of a call; true when the breaker opened just now, and somebody has
    /// to begin probing.
    #[must_use]
    pub(super) fn note(&mut self, pass: Pass, outcome: Outcome, now: Duration) -> bool {
        match outcome {
            Outcome::Answered | Outcome::Freed | Outcome::Refused => {
                match outcome {
                    Outcome::Refused => self.refused = Some(now),
                    Outcome::Answered => self.refused = None,
                    _ => {}
                }
                // An answer to a call from before the breaker opened leaves the probe to its work.
                if pass.trial || self.state == State::Closed {
                    self.state = State::Closed;
                    self.silent_calls = 0;
                    self.silence = Duration::ZERO;
                }
                return false;
            }
            Outcome::Abandoned(waited) => {
                let from = now.saturating_sub(waited).max(self.counted_until);
                self.silence = self.silence.saturating_add(now.saturating_sub(from));
                self.counted_until = now;
                if pass.trial && waited < SILENCE_MAX {
                    self.state = State::Trial { busy: false };
                    return false;
                }
                self.silent_calls = self.silent_calls.saturating_add(1);
                if !pass.trial && self.silence < SILENCE_MAX {
                    return false;
                }
            }
            Outcome::Silent => {
                self.silent_calls = self.silent_calls.saturating_add(1);
            }
        }
        let enough = pass.trial || self.silent_calls >= self.silent_calls_max;
        let opens = enough && self.state != State::Open && (pass.trial || self.is_closed());
        if opens {
            self.state = State::Open;
        }
        opens
    }

    /// The probe was answered.
    pub(super) fn probed(&mut self) {
        if self.state != State::Open {
            return;
        }
        self.silence = Duration::ZERO;
        match self.probe {
            Probe::Proves => {
                self.state = State::Closed;
                self.silent_calls = self.silent_calls_max - 1;
            }
            Probe::Hints => self.state = State::Trial { busy: false },
        }
    }

    fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(100);

    fn silent(breaker: &mut Breaker) -> bool {
        let pass = breaker.admit().unwrap();
        breaker.note(pass, Outcome::Silent, T)
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::new(1, Probe::Hints);
        assert!(silent(&mut breaker));
        breaker
    }

    #[test]
    fn only_silence_without_an_answer_between_opens_it() {
        let mut breaker = Breaker::new(3, Probe::Hints);
        assert!(!silent(&mut breaker));
        assert!(!silent(&mut breaker));
        let pass = breaker.admit().unwrap();
        assert!(!breaker.note(pass, Outcome::Answered, T));
        assert!(!silent(&mut breaker));
        assert!(!silent(&mut breaker));
        assert!(silent(&mut breaker));
        assert!(breaker.is_open());
        assert_eq!(breaker.admit(), None);
    }

    #[test]
    fn after_a_probe_one_caller_tries_and_decides_for_all() {
        let mut breaker = open();
        breaker.probed();
        let trial = breaker.admit().unwrap();
        assert_eq!(breaker.admit(), None, "a second caller would wait for a hung site");
        assert!(breaker.note(trial, Outcome::Silent, T), "the probing begins again");
        breaker.probed();
        let trial = breaker.admit().unwrap();
        assert!(!breaker.note(trial, Outcome::Answered, T));
        assert!(!breaker.is_suspect(T));
        assert!(breaker.admit().is_some() && breaker.admit().is_some());
    }

    #[test]
    fn readers_come_back_after_a_probe_and_leave_at_the_first_silence() {
        let mut breaker = Breaker::new(2, Probe::Proves);
        assert!(!silent(&mut breaker));
        assert!(silent(&mut breaker));
        breaker.probed();
        assert!(breaker.is_suspect(T));
        let (first, second) = (breaker.admit().unwrap(), breaker.admit().unwrap());
        assert!(breaker.note(first, Outcome::Silent, T));
        assert!(!breaker.note(second, Outcome::Silent, T), "one probe is enough");
        breaker.probed();
        let pass = breaker.admit().unwrap();
        assert!(!breaker.note(pass, Outcome::Answered, T));
        assert!(!breaker.is_suspect(T));
    }

    #[test]
    fn a_trial_that_its_caller_gave_up_leaves_room_for_the_next() {
        let mut breaker = open();
        breaker.probed();
        let trial = breaker.admit().unwrap();
        assert!(!breaker.note(trial, Outcome::Abandoned(Duration::from_millis(5)), T));
        assert!(breaker.admit().is_some());
    }

    #[test]
    fn a_refusal_makes_it_suspect_until_something_is_stored_again() {
        let mut breaker = Breaker::new(1, Probe::Hints);
        let after = [
            (Outcome::Freed, false),
            (Outcome::Refused, true),
            (Outcome::Freed, true),
            (Outcome::Answered, false),
            (Outcome::Refused, true),
        ];
        for (outcome, suspect) in after {
            let pass = breaker.admit().unwrap();
            assert!(!breaker.note(pass, outcome, T));
            assert_eq!(breaker.is_suspect(T), suspect, "{outcome:?}");
        }
        assert!(!breaker.is_suspect(T + REFUSED_FOR));
    }

    #[test]
    fn abandoned_calls_open_it_only_when_they_prove_a_long_silence() {
        let mut breaker = Breaker::new(3, Probe::Hints);
        let waited = Duration::from_millis(50);
        let mut now = T;
        // Two at a time, with long pauses: each pair proves 50 ms.
        for _ in 0..39 {
            for _ in 0..2 {
                let pass = breaker.admit().unwrap();
                assert!(!breaker.note(pass, Outcome::Abandoned(waited), now));
            }
            now += SILENCE_MAX * 10;
        }
        let pass = breaker.admit().unwrap();
        assert!(breaker.note(pass, Outcome::Abandoned(waited), now));
    }

    #[test]
    fn a_late_answer_does_not_close_an_open_breaker() {
        let mut breaker = Breaker::new(1, Probe::Hints);
        let (early, late) = (breaker.admit().unwrap(), breaker.admit().unwrap());
        assert!(breaker.note(early, Outcome::Silent, T));
        assert!(!breaker.note(late, Outcome::Answered, T));
        assert!(breaker.is_open());
    }
}
