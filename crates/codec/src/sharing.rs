//! Shamir's secret sharing of the 32-byte `S` over GF(2^8), byte by byte.
//!
//! **Invariant.** Shard `i` holds the polynomial's value at `x = i + 1`; any `k` values give `S`
//! back, and the polynomial of a blob is one for ever: its coefficients follow from `S` by HKDF, so
//! whoever repairs a header makes the identical one, without having to know the other shares.
//!
//! **Deliberately absent.** Detection of wrong shares: [`crate::shard`] has a commitment and a MAC.
//! And perfect secrecy: fewer than `k` shares hide `S` as well as HKDF-SHA256 hides its 256-bit
//! input.
//!
//! **Crash.** Values only.

use crate::field::{invert, multiply};
use crate::keys::{Derivation, Purpose};
use havre_model::record::BlobSecret;
use havre_model::{Geometry, ShardIndex};
use zeroize::Zeroizing;

/// Bytes of a secret and of each of its shares.
pub(crate) const SHARE_BYTES: usize = 32;

/// One share of a secret; wiped when dropped.
pub(crate) type Share = Zeroizing<[u8; SHARE_BYTES]>;

/// The polynomial whose value at zero is the secret.
pub(crate) struct Polynomial {
    /// Lowest degree first, so the secret stands first; one coefficient for each of the 32 bytes.
    coefficients: Vec<Share>,
}

impl Polynomial {
    /// The one polynomial of this secret and blob.
    pub(crate) fn of(secret: &BlobSecret, derivation: &Derivation, geometry: Geometry) -> Self {
        let mut coefficients = Vec::with_capacity(geometry.data());
        coefficients.push(Zeroizing::new(*secret.as_bytes()));
        let (data, _) = geometry.into();
        for degree in 1..data {
            coefficients.push(derivation.expand(Purpose::Coefficient, degree));
        }
        Self { coefficients }
    }

    /// The share of one shard.
    pub(crate) fn share(&self, index: ShardIndex) -> Share {
        let x = abscissa(index);
        let mut share = Zeroizing::new([0; SHARE_BYTES]);
        for coefficient in self.coefficients.iter().rev() {
            for (value, term) in share.iter_mut().zip(coefficient.iter()) {
                *value = multiply(*value, x) ^ term;
            }
        }
        share
    }
}

/// Where a shard's share is taken: never at zero, which is the secret.
const fn abscissa(index: ShardIndex) -> u8 {
    index.raw() + 1
}

/// The secret of `k` shares; meaningless when one of them is wrong or an index comes twice.
pub(crate) fn combine(shares: &[(ShardIndex, &Share)]) -> Share {
    let mut secret = Zeroizing::new([0; SHARE_BYTES]);
    for (index, share) in shares {
        // Lagrange's weight at zero: the product of x_j / (x_j - x_i) over all others.
        let x = abscissa(*index);
        let (mut numerator, mut denominator) = (1, 1);
        for other in shares.iter().map(|(other, _)| abscissa(*other)).filter(|other| *other != x) {
            numerator = multiply(numerator, other);
            denominator = multiply(denominator, other ^ x);
        }
        let weight = multiply(numerator, invert(denominator));
        for (byte, value) in secret.iter_mut().zip(share.iter()) {
            *byte ^= multiply(*value, weight);
        }
    }
    secret
}
