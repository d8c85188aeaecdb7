//! What an envelope refuses when the layer above it is taken away: the allow-list (A2), the choice
//! of the wrapping key (A1, A5), and AES-GCM's promise that a ciphertext has one key (A9).

use super::*;
use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use havre_model::VersionId;
use havre_model::limits::TAG_BYTES;

/// Counts up: distinct salts, no secrecy.
struct Counting(std::sync::atomic::AtomicU8);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    }
}

fn entropy() -> Counting {
    Counting(1.into())
}

fn key<L>(byte: u8) -> Key<L> {
    Key::copied(&[byte; KEY_BYTES])
}

fn context(key: &str, part: u16) -> PartContext<'_> {
    PartContext {
        tenant: TenantId::from_bytes([1; 16]),
        bucket: BucketId::from_bytes([2; 16]),
        key,
        version: VersionId::from_bytes([3; 16]),
        part,
    }
}

#[test]
fn a_wrapped_key_reads_back() {
    let envelope = wrap(&key(10), 7, &key(20), &context("k", 1), &entropy());
    let parsed = Envelope::parse(&envelope.encode()).expect("it was just written");
    assert_eq!(parsed.epoch, 7);
    let opened = unwrap(&key(10), &parsed, &context("k", 1)).expect("the same key and place");
    assert!(opened.is_same(&key(20)));
}

// Attack A2: with the allow-list out of the way, the key derivation and the associated data still
// refuse every other version and algorithm.
#[test]
fn the_binding_alone_refuses_another_version_or_algorithm() {
    let envelope = wrap(&key(10), 7, &key(20), &context("k", 1), &entropy());
    for byte in 0..=255 {
        for suite in [[byte, 1], [1, byte]] {
            let other = Envelope { suite: Suite::unchecked(suite), ..envelope };
            let opened = unwrap(&key(10), &other, &context("k", 1));
            assert_eq!(opened.is_ok(), suite == [1, 1], "{suite:?}");
        }
    }
}

#[test]
fn the_allow_list_has_one_entry() {
    for version in 0..=255 {
        for algorithm in 0..=255 {
            let parsed = Suite::parse([version, algorithm]);
            let unknown = Err(OpenError::UnknownVersion { version, algorithm });
            let expected = if (version, algorithm) == (1, 1) { Ok(Suite::V1) } else { unknown };
            assert_eq!(parsed, expected);
        }
    }
}

// Attack A1: the same bytes as wrapping key at every level, so that only the place tells them
// apart.
#[test]
fn one_key_at_two_levels_wraps_for_one_place_only() {
    let (tenant, bucket) = (TenantId::from_bytes([1; 16]), BucketId::from_bytes([2; 16]));
    let envelopes = [
        wrap(&key(10), 0, &key(20), &TenantPlace(tenant), &entropy()),
        wrap(&key(10), 0, &key(20), &BucketPlace { tenant, bucket, epoch: 1 }, &entropy()),
        wrap(&key(10), 0, &key(20), &BucketPlace { tenant, bucket, epoch: 2 }, &entropy()),
        wrap(&key(10), 0, &key(20), &context("k", 0), &entropy()),
        wrap(&key(10), 0, &key(20), &RecordPlace::system(), &entropy()),
        wrap(&key(10), 0, &key(20), &RecordPlace::tenant(tenant), &entropy()),
        wrap(&key(10), 0, &key(20), &RecordPlace::bucket(tenant, bucket), &entropy()),
    ];
    for (position, envelope) in envelopes.iter().enumerate() {
        let opens = [
            unwrap(&key(10), envelope, &TenantPlace(tenant)).is_ok(),
            unwrap(&key(10), envelope, &BucketPlace { tenant, bucket, epoch: 1 }).is_ok(),
            unwrap(&key(10), envelope, &BucketPlace { tenant, bucket, epoch: 2 }).is_ok(),
            unwrap(&key(10), envelope, &context("k", 0)).is_ok(),
            unwrap(&key(10), envelope, &RecordPlace::system()).is_ok(),
            unwrap(&key(10), envelope, &RecordPlace::tenant(tenant)).is_ok(),
            unwrap(&key(10), envelope, &RecordPlace::bucket(tenant, bucket)).is_ok(),
        ];
        let expected: Vec<bool> = (0..opens.len()).map(|place| place == position).collect();
        assert_eq!(opens.as_slice(), expected, "envelope {position}");
    }
}

#[test]
fn no_field_of_an_envelope_can_be_changed() {
    let envelope = wrap(&key(10), 7, &key(20), &context("k", 1), &entropy());
    let bytes = envelope.encode();
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes;
        other[bit / 8] ^= 1 << (bit % 8);
        let opened = Envelope::parse(&other)
            .and_then(|envelope| unwrap(&key(10), &envelope, &context("k", 1)));
        assert!(opened.is_err(), "bit {bit}");
    }
}

// Attack A9. An attacker who knows two bucket keys solves for an AES-GCM ciphertext that is valid
// under the keys derived from both; the commitment leaves it one.
#[test]
fn an_envelope_crafted_for_two_keys_opens_under_one() {
    let place = context("k", 1);
    let mut envelope = wrap(&key::<Bucket>(10), 1, &key(20), &place, &entropy());
    let binding = envelope.binding(&place);
    let derived = || [key::<Bucket>(10).derive(&binding), key::<Bucket>(11).derive(&binding)];
    let raw = derived().map(|derived| derived.raw_key());
    envelope.sealed_key = crafted(&raw, binding.as_bytes());

    for derived in derived() {
        let opened = derived.cipher().open_only(&binding, &mut envelope.sealed_key.clone());
        assert_eq!(opened, Ok(KEY_BYTES), "the crafted ciphertext is valid under both keys");
    }
    for (committed, derived) in derived().into_iter().enumerate() {
        envelope.commitment = derived.commit().1;
        let opens = [10, 11].map(|byte| unwrap(&key::<Bucket>(byte), &envelope, &place).is_ok());
        assert_eq!(opens, [committed == 0, committed == 1]);
    }
}

/// A 32-byte ciphertext with a tag that is right under both keys: GHASH is linear in the first
/// block, whose factors are the third powers of the hash keys.
fn crafted(keys: &[[u8; 32]; 2], binding: &[u8; 32]) -> [u8; SEALED_KEY_BYTES] {
    let mut nonce = [0; 16];
    nonce[11] = 1; // the only message is the final one
    let mut associated = [0; 48];
    associated[..32].copy_from_slice(binding);
    associated[32..44].copy_from_slice(&nonce[..12]);
    let lengths = (44_u128 * 8) << 64 | (32 * 8);
    let mut first_counter = nonce;
    first_counter[15] = 1;
    let second_block = 0x5ec0_d1b1_u128;

    let sides = keys.map(|aes| {
        let hash_key = aes_block(&aes, [0; 16]);
        let rest = associated
            .chunks_exact(16)
            .map(|block| u128::from_be_bytes(block.try_into().expect("16 bytes")))
            .chain([0, second_block, lengths])
            .fold(0, |hash, block| multiply(hash ^ block, hash_key));
        let factor = multiply(multiply(hash_key, hash_key), hash_key);
        (factor, rest ^ aes_block(&aes, first_counter))
    });
    let [(factor_1, rest_1), (factor_2, rest_2)] = sides;
    let first_block = multiply(rest_1 ^ rest_2, inverse(factor_1 ^ factor_2));
    let tag = rest_1 ^ multiply(first_block, factor_1);

    let mut sealed = [0; SEALED_KEY_BYTES];
    sealed[..16].copy_from_slice(&first_block.to_be_bytes());
    sealed[16..32].copy_from_slice(&second_block.to_be_bytes());
    sealed[32..32 + TAG_BYTES].copy_from_slice(&tag.to_be_bytes());
    sealed
}

fn aes_block(aes: &[u8; 32], mut block: [u8; 16]) -> u128 {
    let key = UnboundCipherKey::new(&AES_256, aes).expect("32 bytes");
    EncryptingKey::ecb(key).and_then(|key| key.encrypt(&mut block)).expect("one block");
    u128::from_be_bytes(block)
}

/// In GF(2^128) as GCM has it: bit 0 is the most significant one.
fn multiply(x: u128, y: u128) -> u128 {
    let (mut product, mut shifted) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            product ^= shifted;
        }
        let carry = shifted & 1;
        shifted >>= 1;
        if carry == 1 {
            shifted ^= 0xe1 << 120;
        }
    }
    product
}

/// `x` to the power 2^128 - 2.
fn inverse(x: u128) -> u128 {
    let one = 1 << 127;
    let (mut power, mut result) = (x, one);
    for _ in 1..128 {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    assert_eq!(multiply(x, result), one, "the factors of the two keys are the same");
    result
}
