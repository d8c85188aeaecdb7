//! Keys as types: one per level of the hierarchy, and what is derived from them.
//!
//! **Invariant.** A key's bytes lie on the heap once, are cleared when it is dropped, and leave
//! only through [`Key::derive`] or into an envelope; a key of one level is never taken for one of
//! another.
//!
//! **Deliberately absent.** `Clone`, `PartialEq`, `Serialize`, and `Debug` that shows anything.
//!
//! **Crash.** A core dump would show keys: see [`crate::forbid_core_dumps`]. Swap is the
//! operator's.

use crate::binding::Binding;
use crate::cipher::Cipher;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use core::fmt;
use core::marker::PhantomData;
use havre_model::ports::Entropy;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of every key.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of a commitment.
pub(crate) const COMMITMENT_BYTES: usize = 32;
const DERIVED_BYTES: usize = KEY_BYTES + COMMITMENT_BYTES;

/// The level of the root key: wraps tenants' keys and the system's records.
pub(crate) enum Root {}
/// The level of a tenant's key: wraps buckets' keys and the tenant's records.
pub(crate) enum Tenant {}
/// The level of one epoch of a bucket's key: wraps the data keys of parts and records.
pub(crate) enum Bucket {}
/// The level of a part's data key.
pub(crate) enum Part {}
/// The level of a record's data key.
pub(crate) enum Record {}

/// A 32-byte key of level `L`.
pub(crate) struct Key<L> {
    // Boxed, so that moving a key leaves no copy of it behind.
    bytes: Box<[u8; KEY_BYTES]>,
    level: PhantomData<fn() -> L>,
}

impl<L> Key<L> {
    /// A fresh random key.
    pub(crate) fn draw(entropy: &dyn Entropy) -> Self {
        let mut key = Self::zeroed();
        entropy.fill(key.bytes.as_mut_slice());
        key
    }

    /// The key with these bytes; clearing `bytes` is the caller's.
    pub(crate) fn copied(bytes: &[u8; KEY_BYTES]) -> Self {
        let mut key = Self::zeroed();
        key.bytes.copy_from_slice(bytes);
        key
    }

    fn zeroed() -> Self {
        Self { bytes: Box::new([0; KEY_BYTES]), level: PhantomData }
    }

    /// The bytes, to be wrapped or written to the root key's file.
    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    /// Whether both are the same key, in constant time.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.bytes.as_slice(), other.bytes.as_slice()).is_ok()
    }

    /// HKDF-Expand(SHA-256, this key, binding, 64): a key is uniformly random, so that there is
    /// nothing to extract (RFC 5869, 3.3).
    pub(crate) fn derive(&self, binding: &Binding) -> Derived {
        let mut bytes = Zeroizing::new([0; DERIVED_BYTES]);
        Prk::new_less_safe(HKDF_SHA256, self.bytes.as_slice())
            .expand(&[binding.as_bytes()], DerivedLength)
            .and_then(|okm| okm.fill(bytes.as_mut_slice()))
            .expect("64 bytes are below the limit of HKDF-SHA256");
        Derived { bytes }
    }
}

impl Key<Root> {
    /// HKDF-Expand(SHA-256, this key, label, 32): the seed of a key for another use.
    pub(crate) fn expand_label(&self, label: &'static [u8]) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        Prk::new_less_safe(HKDF_SHA256, self.bytes.as_slice())
            .expand(&[label], HKDF_SHA256)
            .and_then(|okm| okm.fill(seed.as_mut_slice()))
            .expect("32 bytes are below the limit of HKDF-SHA256");
        seed
    }
}

impl<L> Drop for Key<L> {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl<L> fmt::Debug for Key<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(<redacted>)")
    }
}

struct DerivedLength;

impl KeyType for DerivedLength {
    fn len(&self) -> usize {
        DERIVED_BYTES
    }
}

/// A cipher's key, and the commitment to the key and binding that it was derived from.
pub(crate) struct Derived {
    bytes: Zeroizing<[u8; DERIVED_BYTES]>,
}

impl Derived {
    /// The cipher, and the commitment to store before what it seals.
    pub(crate) fn commit(self) -> (Cipher, [u8; COMMITMENT_BYTES]) {
        let (key, commitment) = self.halves();
        (Cipher::new(key), *commitment)
    }

    /// The cipher, if `commitment` is the stored one: AES-GCM alone lets one ciphertext be valid
    /// under two keys (attack A9). Compared in constant time, before the cipher can be used.
    pub(crate) fn check(self, commitment: &[u8; COMMITMENT_BYTES]) -> Option<Cipher> {
        let (key, expected) = self.halves();
        verify_slices_are_equal(expected, commitment).ok()?;
        Some(Cipher::new(key))
    }

    /// The cipher of a data key: its envelope committed to it already.
    pub(crate) fn cipher(self) -> Cipher {
        Cipher::new(self.halves().0)
    }

    /// The derived AES key, to craft the attack of two keys.
    #[cfg(test)]
    pub(crate) fn raw_key(&self) -> [u8; KEY_BYTES] {
        *self.halves().0
    }

    fn halves(&self) -> (&[u8; KEY_BYTES], &[u8; COMMITMENT_BYTES]) {
        let (key, rest) = self.bytes.split_first_chunk().expect("64 bytes begin with a key");
        let commitment = rest.first_chunk().expect("a commitment follows the key");
        (key, commitment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    /// The process's memory at `address`, read without `unsafe`.
    fn memory(address: usize) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        File::open("/proc/self/mem")
            .and_then(|memory| memory.read_exact_at(&mut bytes, address as u64))
            .expect("a process may read its own memory");
        bytes
    }

    // Attack A22. The allocator writes its own words over the first 16 bytes of a freed block, so
    // the rest is what tells. Debug builds and release builds alike.
    #[test]
    fn a_dropped_key_is_cleared_in_memory() {
        let key = Key::<Root>::copied(&[0xa7; KEY_BYTES]);
        let address = key.bytes.as_ptr().addr();
        assert_eq!(memory(address), [0xa7; KEY_BYTES]);
        drop(key);
        assert!(!memory(address)[16..].contains(&0xa7), "key bytes are left in freed memory");
    }

    #[test]
    fn a_key_shows_nothing_when_printed() {
        assert_eq!(format!("{:?}", Key::<Root>::copied(&[0xa7; 32])), "Key(<redacted>)");
    }
}
