//! Why sealed bytes do not open: one class for everything that an attacker may cause.
//!
//! **Invariant.** Wrong key, wrong place, bad commitment, bad tag and bad length are one value with
//! one text (attack A21); no error carries a name, a key or a byte of plaintext (I3).
//!
//! **Deliberately absent.** A source or a detail: it would be the oracle.
//!
//! **Crash.** Values only.

use crate::RecordScope;

/// Why sealed bytes did not open, or nothing could be sealed. A variant exists only where the
/// caller acts differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The bytes are not authentic for this key and this place: use another copy, else fail the
    /// read.
    #[error("the sealed bytes are not authentic for their key and place")]
    Rejected,
    /// The key that would be needed is not installed: install it and try again.
    #[error("no key is installed for {scope}, epoch {epoch}")]
    UnknownKey {
        /// Whose key it is.
        scope: RecordScope,
        /// The key's epoch; 0 for keys without epochs, and where any epoch of a bucket would do.
        epoch: u32,
    },
    /// The bytes name a version and algorithm outside the allow-list: a newer release may know
    /// them.
    #[error("sealed format version {version}, algorithm {algorithm}, is not known to this release")]
    UnknownVersion {
        /// The version byte.
        version: u8,
        /// The algorithm byte.
        algorithm: u8,
    },
}
