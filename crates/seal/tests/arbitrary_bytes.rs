//! Attack A24 and the round trips: whatever the bytes, nothing panics, and nothing but what was
//! sealed opens.

use crate::support::*;
use havre_model::limits::{SEALED_SEGMENT_BYTES, SEGMENT_BYTES};
use havre_model::record::{BucketKeyEpoch, WrappedKey};
use havre_seal::{
    Keyring, OpenError, RootKey, SEALED_RECORD_BYTES_MAX, SEALED_RECORD_OVERHEAD_BYTES,
};
use proptest::prelude::*;
use std::sync::LazyLock;

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| seeded_world("arbitrary"));

/// Everything that reads bytes from outside, on the same bytes.
fn read_everywhere(bytes: &[u8]) -> Result<(), OpenError> {
    let keyring = &*KEYRING;
    let key = WrappedKey::from_bytes(bytes.to_vec());
    let epochs = [BucketKeyEpoch { epoch: 3, key: key.clone() }];
    let scope = Keyring::record_scope(bytes).map(drop);
    let opened = open_record(keyring, bytes).map(drop);
    assert!(scope.is_ok() || opened.is_err(), "what has no scope does not open");
    opened
        .or_else(|_| keyring.install_tenant(ALICE, &key))
        .or_else(|_| keyring.install_bucket(ALICE, ALICE_1, &epochs))
        .or_else(|_| keyring.open_part(&context("k"), &key).map(drop))
}

proptest! {
    #[test]
    fn arbitrary_bytes_open_nowhere(
        suite in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = bytes;
        if suite && bytes.len() > 36 {
            bytes[..3].copy_from_slice(&[1, 1, 0]);
            bytes[3..35].fill(0);
        }
        prop_assert!(read_everywhere(&bytes).is_err());
    }

    #[test]
    fn a_changed_record_opens_nowhere(
        plain in prop::collection::vec(any::<u8>(), 0..100),
        scope in 0..SCOPES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..5),
    ) {
        let sealed = KEYRING.seal_record(SCOPES[scope], &plain).expect("installed");
        let mut other = sealed.clone();
        for (at, change) in changes {
            let at = at.index(other.len());
            other[at] ^= change;
        }
        prop_assert!(other == sealed || read_everywhere(&other).is_err());
    }

    #[test]
    fn a_record_reads_back(
        plain in prop::collection::vec(any::<u8>(), 0..5000),
        scope in 0..SCOPES.len(),
    ) {
        let sealed = KEYRING.seal_record(SCOPES[scope], &plain).expect("installed");
        prop_assert_eq!(sealed.len(), plain.len() + SEALED_RECORD_OVERHEAD_BYTES);
        prop_assert_eq!(Keyring::record_scope(&sealed), Ok(SCOPES[scope]));
        prop_assert_eq!(open_record(&KEYRING, &sealed), Ok((SCOPES[scope], plain)));
    }

    #[test]
    fn a_part_reads_back_in_any_order(
        length in 0..4 * SEGMENT_BYTES + 2,
        first in 0..4_usize,
        key in "\\PC{1,40}",
    ) {
        let plain = plain(length);
        let (mut sealer, wrapped) = KEYRING.seal_part(&context(&key)).expect("installed");
        let sealed = seal_all(&mut sealer, &plain);
        let sealed_bytes: usize = sealed.iter().map(Vec::len).sum();
        prop_assert_eq!(sealed_bytes as u64, havre_seal::sealed_bytes(length as u64));
        let opener = KEYRING.open_part(&context(&key), &wrapped).expect("its own key");
        for step in 0..sealed.len() {
            let index = (first + step) % sealed.len();
            let mut slot = sealed[index].clone();
            let last = index + 1 == sealed.len();
            let opened = opener.open_segment(index as u64, last, &mut slot).expect("authentic");
            let at = index * SEGMENT_BYTES;
            prop_assert_eq!(&slot[..opened], &plain[at..at + opened]);
        }
    }

    #[test]
    fn arbitrary_segments_are_refused(
        index in any::<u64>(),
        last in any::<bool>(),
        length in prop_oneof![
            0..100_usize,
            SEALED_SEGMENT_BYTES - 1..=SEALED_SEGMENT_BYTES + 1,
        ],
    ) {
        let (_, key) = KEYRING.seal_part(&context("k")).expect("installed");
        let opener = KEYRING.open_part(&context("k"), &key).expect("its own key");
        let opened = opener.open_segment(index, last, &mut vec![7; length]);
        prop_assert_eq!(opened, Err(OpenError::Rejected));
    }

    #[test]
    fn arbitrary_text_is_no_root_key(text in "(havre-root-key-1:)?[A-Za-z0-9+/=:]{0,60}") {
        prop_assert!(RootKey::from_env_text(&text).is_err());
    }
}

#[test]
fn a_record_above_the_limit_is_refused_unread() {
    let sealed = KEYRING.seal_record(SCOPES[0], &[0; 100]).expect("installed");
    let mut longer = sealed;
    longer.resize(SEALED_RECORD_BYTES_MAX + 1, 0);
    assert_eq!(Keyring::record_scope(&longer), Err(OpenError::Rejected));
    longer.truncate(SEALED_RECORD_BYTES_MAX);
    assert_eq!(Keyring::record_scope(&longer), Ok(SCOPES[0]));
}

#[test]
fn no_prefix_of_a_wrapped_key_is_one() {
    let (_, key) = KEYRING.seal_part(&context("k")).expect("installed");
    for length in 0..key.as_bytes().len() {
        let cut = WrappedKey::from_bytes(key.as_bytes()[..length].to_vec());
        assert!(KEYRING.open_part(&context("k"), &cut).is_err(), "{length} bytes");
    }
    let longer = WrappedKey::from_bytes([key.as_bytes(), &[0]].concat());
    assert_eq!(KEYRING.open_part(&context("k"), &longer).map(drop), Err(OpenError::Rejected));
}
