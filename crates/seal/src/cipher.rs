//! AES-256-GCM with the nonce and the associated data that the formats prescribe.
//!
//! **Invariant.** A key seals one message with [`Cipher::seal_only`], which consumes it, or one
//! sequence of messages at distinct [`Position`]s, which [`crate::PartSealer`] counts: no nonce
//! repeats.
//!
//! **Deliberately absent.** A choice of algorithm, and random nonces.
//!
//! **Crash.** Keys die with the process; a part that was not finished is never continued.

use crate::OpenError;
use crate::binding::{BINDING_BYTES, Binding};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use havre_model::limits::TAG_BYTES;

const NONCE_BYTES: usize = 12;

/// Where a message stands in its sequence: three zero bytes, the index (`u64`, big-endian), and 1
/// for the final message, else 0 (the STREAM construction).
#[derive(Clone, Copy)]
pub(crate) struct Position([u8; NONCE_BYTES]);

impl Position {
    /// The only message of its key.
    const ONLY: Self = Self::new(0, true);

    pub(crate) const fn new(index: u64, last: bool) -> Self {
        let i = index.to_be_bytes();
        Self([0, 0, 0, i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7], last as u8])
    }

    fn nonce(self) -> Nonce {
        Nonce::assume_unique_for_key(self.0)
    }

    /// Binding and position. The position is in the nonce already; here it does not rest on that.
    fn associated_data(self, binding: &Binding) -> Aad<[u8; BINDING_BYTES + NONCE_BYTES]> {
        let mut bytes = [0; BINDING_BYTES + NONCE_BYTES];
        bytes[..BINDING_BYTES].copy_from_slice(binding.as_bytes());
        bytes[BINDING_BYTES..].copy_from_slice(&self.0);
        Aad::from(bytes)
    }
}

/// A derived key, ready for use. The library clears it when it is dropped.
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Seals `message || room for the tag` in place.
    pub(crate) fn seal(&self, position: Position, binding: &Binding, slot: &mut [u8]) {
        let plain_bytes = slot.len().checked_sub(TAG_BYTES).expect("a slot has room for its tag");
        let (message, room) = slot.split_at_mut(plain_bytes);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                position.nonce(),
                position.associated_data(binding),
                message,
            )
            .expect("a message is far below the algorithm's limit");
        room.copy_from_slice(tag.as_ref());
    }

    /// Opens `sealed` in place; the plaintext is its first bytes, as many as are returned. When it
    /// is refused, no plaintext is left in `sealed`.
    pub(crate) fn open(
        &self,
        position: Position,
        binding: &Binding,
        sealed: &mut [u8],
    ) -> Result<usize, OpenError> {
        self.0
            .open_in_place(position.nonce(), position.associated_data(binding), sealed)
            .map(|plain| plain.len())
            .map_err(|_| OpenError::Rejected)
    }

    /// Seals the only message of this key.
    pub(crate) fn seal_only(self, binding: &Binding, slot: &mut [u8]) {
        self.seal(Position::ONLY, binding, slot);
    }

    /// Opens the only message of this key.
    pub(crate) fn open_only(
        self,
        binding: &Binding,
        sealed: &mut [u8],
    ) -> Result<usize, OpenError> {
        self.open(Position::ONLY, binding, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{BindingBuilder, Purpose, Suite};
    use std::collections::HashSet;

    fn binding(part: u16) -> Binding {
        BindingBuilder::new(Suite::V1, Purpose::Segments).part(part).finish()
    }

    // Attack A10: the indices around every byte of the counter, and both flags.
    #[test]
    fn no_two_positions_share_a_nonce() {
        let around = |bit: u32| {
            let edge = 1_u64 << bit;
            [edge.wrapping_sub(1), edge, edge.wrapping_add(1)]
        };
        let indices: HashSet<u64> = (0..64).flat_map(around).collect();
        let nonces: HashSet<[u8; NONCE_BYTES]> = indices
            .iter()
            .flat_map(|index| [Position::new(*index, false).0, Position::new(*index, true).0])
            .collect();
        assert_eq!(nonces.len(), 2 * indices.len());
    }

    #[test]
    fn a_message_opens_only_at_its_position_with_its_binding() {
        let cipher = Cipher::new(&[9; 32]);
        let mut sealed = [7; 40];
        cipher.seal(Position::new(3, false), &binding(1), &mut sealed);
        let open =
            |position, binding: &Binding| cipher.open(position, binding, &mut sealed.clone());
        assert_eq!(open(Position::new(3, false), &binding(1)), Ok(24));
        assert_eq!(open(Position::new(3, true), &binding(1)), Err(OpenError::Rejected));
        assert_eq!(open(Position::new(2, false), &binding(1)), Err(OpenError::Rejected));
        assert_eq!(open(Position::new(3, false), &binding(2)), Err(OpenError::Rejected));
    }

    #[test]
    fn a_refused_message_leaves_no_plaintext_behind() {
        let cipher = Cipher::new(&[9; 32]);
        let mut sealed = vec![0xa7; 4096 + TAG_BYTES];
        cipher.seal(Position::ONLY, &binding(1), &mut sealed);
        sealed[4096] ^= 1;
        assert_eq!(cipher.open_only(&binding(1), &mut sealed), Err(OpenError::Rejected));
        assert!(sealed[..4096].windows(4).all(|window| window != [0xa7; 4]));
    }

    #[test]
    fn anything_shorter_than_a_tag_is_refused() {
        for length in 0..TAG_BYTES {
            let mut sealed = vec![0; length];
            let opened = Cipher::new(&[9; 32]).open_only(&binding(1), &mut sealed);
            assert_eq!(opened, Err(OpenError::Rejected), "{length} bytes");
        }
    }
}
