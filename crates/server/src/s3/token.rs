//! Continuation tokens of listings.
//!
//! **Invariant.** A token that this process's callers did not get from us, or got for another
//! bucket or with another credential, is refused: it carries a MAC under a key derived from the
//! caller's secret (attack B19).
//!
//! **Deliberately absent.** State: a token says where to go on, and is good on every gateway for as
//! long as the credential is.
//!
//! **Crash.** Tokens survive restarts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use s3s::{S3Error, S3Result, s3_error};
use sha2::{Digest as _, Sha256};

const MAC_BYTES: usize = 16;
const BLOCK_BYTES: usize = 64;

/// The key of a principal's tokens.
#[derive(Clone)]
pub(crate) struct TokenKey([u8; 32]);

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Position {
    /// Behind this key.
    After(String),
    /// Behind everything that begins with this.
    AfterPrefix(String),
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36));
    for part in parts {
        inner.update(part);
    }
    let mut outer = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

fn refused() -> S3Error {
    s3_error!(InvalidArgument, "The continuation token provided is incorrect")
}

impl TokenKey {
    /// The key of whoever holds this secret.
    pub(crate) fn of(secret: &str) -> Self {
        Self(hmac(secret.as_bytes(), &[b"havre continuation token 1"]))
    }

    /// A token for `position` in what `scope` names.
    pub(crate) fn seal(&self, scope: &[u8; 16], position: &Position) -> String {
        let (kind, text) = match position {
            Position::After(text) => (0, text),
            Position::AfterPrefix(text) => (1, text),
        };
        let mac = hmac(&self.0, &[scope, &[kind], text.as_bytes()]);
        let token = [&mac[..MAC_BYTES], &[kind], text.as_bytes()].concat();
        BASE64.encode(token)
    }

    /// The position in a token.
    ///
    /// # Errors
    /// `InvalidArgument` for whatever is not such a token.
    pub(crate) fn open(&self, scope: &[u8; 16], token: &str) -> S3Result<Position> {
        let bytes = BASE64.decode(token).map_err(|_| refused())?;
        let (mac, rest) = bytes.split_first_chunk::<MAC_BYTES>().ok_or_else(refused)?;
        let (kind, text) = rest.split_first().ok_or_else(refused)?;
        let expected = hmac(&self.0, &[scope, &[*kind], text]);
        let difference = mac.iter().zip(&expected).fold(0, |seen, (a, b)| seen | (a ^ b));
        if difference != 0 {
            return Err(refused());
        }
        let text = String::from_utf8(text.to_vec()).map_err(|_| refused())?;
        match kind {
            0 => Ok(Position::After(text)),
            1 => Ok(Position::AfterPrefix(text)),
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_rfc_4231s() {
        let mac = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(mac), expected);
        let mac = hmac(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(hex::encode(mac), expected);
    }

    #[test]
    fn a_token_reads_back_and_every_change_is_refused() {
        let key = TokenKey::of("secret");
        for position in [Position::After("a/ü".into()), Position::AfterPrefix("a/".into())] {
            let token = key.seal(&[7; 16], &position);
            assert_eq!(key.open(&[7; 16], &token).ok(), Some(position));
            assert!(key.open(&[8; 16], &token).is_err(), "another bucket");
            assert!(TokenKey::of("other").open(&[7; 16], &token).is_err(), "another credential");
            for index in 0..token.len() {
                let mut other = token.clone().into_bytes();
                other[index] = if other[index] == b'A' { b'B' } else { b'A' };
                let other = String::from_utf8(other).expect("ASCII");
                assert!(key.open(&[7; 16], &other).is_err(), "byte {index}");
            }
        }
        for token in ["", "AAAA", "not base64!", &"A".repeat(2000)] {
            assert!(key.open(&[7; 16], token).is_err(), "{token}");
        }
    }
}
