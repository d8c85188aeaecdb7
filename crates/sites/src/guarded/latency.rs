//! How long a site's answers take, in fixed memory and without a lock.
//!
//! **Invariant.** 448 bytes an operation; recording costs two atomic additions; old answers fade,
//! since all counts are halved every [`WINDOW`] answers.
//!
//! **Deliberately absent.** Exactness: a bucket is an eighth to a quarter wide, and counts raced by
//! a halving are lost.
//!
//! **Crash.** Nothing is kept.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Octaves of microseconds: up to 2^28 µs, four and a half minutes.
const OCTAVES: usize = 28;
const BUCKETS: usize = OCTAVES * 4;
/// Answers after which the old ones weigh half.
const WINDOW: u32 = 1024;
/// Answers below which there is no telling.
const ANSWERS_MIN: u32 = 8;

pub(super) struct Latency {
    buckets: [AtomicU32; BUCKETS],
    answers: AtomicU32,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: [const { AtomicU32::new(0) }; BUCKETS], answers: AtomicU32::new(0) }
    }
}

impl Latency {
    pub(super) fn record(&self, took: Duration) {
        self.buckets[bucket_of(took)].fetch_add(1, Ordering::Relaxed);
        if self.answers.fetch_add(1, Ordering::Relaxed) + 1 >= WINDOW {
            let mut left = 0;
            for bucket in &self.buckets {
                let half = bucket.load(Ordering::Relaxed) / 2;
                bucket.store(half, Ordering::Relaxed);
                left += half;
            }
            self.answers.store(left, Ordering::Relaxed);
        }
    }

    /// The time within which 19 of 20 answers came; `None` before there are enough.
    pub(super) fn p95(&self) -> Option<Duration> {
        let counts = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        let total: u32 = counts.iter().sum();
        if total < ANSWERS_MIN {
            return None;
        }
        let mut above = total / 20;
        for (index, count) in counts.iter().enumerate().rev() {
            if *count > above {
                return Some(end_of(index));
            }
            above -= count;
        }
        None
    }
}

fn bucket_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(4, (1 << OCTAVES) - 1);
    let octave = micros.ilog2();
    let quarter = micros >> (octave - 2) & 3;
    octave as usize * 4 + usize::try_from(quarter).expect("two bits")
}

/// The first time that is above all of the bucket's.
fn end_of(index: usize) -> Duration {
    let (octave, quarter) = (index / 4, index as u64 % 4);
    Duration::from_micros((quarter + 5) << octave >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_above_what_it_holds_and_at_most_a_quarter_above() {
        for micros in (4..5000).chain([123_456, 99_999_999]) {
            let took = Duration::from_micros(micros);
            let end = end_of(bucket_of(took));
            assert!(end > took && end <= took * 5 / 4 + Duration::from_micros(1), "{micros}");
        }
        assert!(bucket_of(Duration::ZERO) < BUCKETS && bucket_of(Duration::MAX) < BUCKETS);
    }

    #[test]
    fn one_slow_answer_in_twenty_does_not_show_and_two_do() {
        let latency = Latency::default();
        for n in 0..400 {
            latency.record(Duration::from_millis(if n % 20 == 0 { 900 } else { 2 }));
        }
        assert!(latency.p95().unwrap() < Duration::from_millis(3));
        for _ in 0..40 {
            latency.record(Duration::from_millis(900));
        }
        assert!(latency.p95().unwrap() >= Duration::from_millis(900));
    }

    #[test]
    fn old_answers_fade() {
        let latency = Latency::default();
        (0..1000).for_each(|_| latency.record(Duration::from_secs(9)));
        (0..12_000).for_each(|_| latency.record(Duration::from_millis(1)));
        assert!(latency.p95().unwrap() < Duration::from_millis(2));
    }

    #[test]
    fn a_few_answers_tell_nothing() {
        let latency = Latency::default();
        (1..ANSWERS_MIN).for_each(|_| latency.record(Duration::from_millis(1)));
        assert_eq!(latency.p95(), None);
    }
}
