//! Repeatable randomness, and bytes that can be recognised again.
//!
//! **Invariant.** The same seed gives the same numbers and the same bytes, on every machine.
//!
//! **Deliberately absent.** Anything fit for keys.
//!
//! **Crash.** A run is repeated from the seed it printed.

use std::time::{SystemTime, UNIX_EPOCH};

/// `splitmix64`: small, fast, and good enough to choose what to do next.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for the part `number` of a run.
    pub(crate) fn part(seed: u64, number: u64) -> Self {
        let mut mixed = Self::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed.next();
        mixed
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A length or an index below `bound`, which is at least 1.
    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("it is below a usize")
    }
}

/// A seed nobody chose.
pub(crate) fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    Random::new(since.as_secs() ^ u64::from(since.subsec_nanos()) << 20).next() % 1_000_000_000
}

/// `length` bytes that only this seed gives.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_at_any_length() {
        let long = bytes(7, 1000);
        assert_eq!(bytes(7, 13), long[..13]);
        assert_ne!(bytes(8, 1000), long);
    }
}
