//! The key that signs statements, and the signature. Format: `docs/formats/statement.md`.
//!
//! **Invariant.** The signing key follows from the root key alone and never leaves the process; a
//! signature is over the payload and its type, by the encoding of DSSE, so that no payload of one
//! type passes for one of another.
//!
//! **Deliberately absent.** What statements say, JSON, files. Rotation: another root key is another
//! signer.
//!
//! **Crash.** Nothing is kept: the key is derived anew.

use crate::RootKey;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;

/// Bytes of a public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// The label of the derivation. Every other key below the root key is derived by a hash of 32
/// bytes, which no label of another length is.
const LABEL: &[u8] = b"havre statement signing key 1";
/// What stands before the public key in a SubjectPublicKeyInfo of Ed25519 (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";
/// Bytes of text that a public key is looked for in.
pub const PUBLIC_KEY_TEXT_BYTES_MAX: usize = 4096;

/// Signs statements for whoever has the root key.
pub struct StatementKey {
    // aws-lc clears a key's memory when it frees it.
    pair: Ed25519KeyPair,
}

impl StatementKey {
    /// The signing key of this root key.
    #[must_use]
    pub fn derive(root: &RootKey) -> Self {
        let seed = root.key().expand_label(LABEL);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .expect("any 32 bytes are a seed of Ed25519");
        Self { pair }
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> StatementPublicKey {
        let bytes = self.pair.public_key().as_ref();
        StatementPublicKey(bytes.try_into().expect("Ed25519's public keys have 32 bytes"))
    }

    /// The signature over a payload of this type.
    #[must_use]
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let signature = self.pair.sign(&pre_authentication(payload_type, payload));
        signature.as_ref().try_into().expect("Ed25519's signatures have 64 bytes")
    }
}

impl fmt::Debug for StatementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatementKey(<redacted>)")
    }
}

/// Verifies statements. No secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementPublicKey([u8; PUBLIC_KEY_BYTES]);

impl StatementPublicKey {
    /// The key in a PEM file with one SubjectPublicKeyInfo of Ed25519; `None` for anything else.
    #[must_use]
    pub fn from_pem(text: &str) -> Option<Self> {
        if text.len() > PUBLIC_KEY_TEXT_BYTES_MAX {
            return None;
        }
        let body = text.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
        let body: String = body.split_whitespace().collect();
        let info = STANDARD.decode(body).ok()?;
        let bytes = info.strip_prefix(SPKI_PREFIX.as_slice())?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The key as PEM, with a line's end.
    #[must_use]
    pub fn to_pem(&self) -> String {
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(self.info()))
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo, in hex: names the key, proves nothing.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = digest(&SHA256, &self.info());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether the signature is this key's, over this payload of this type.
    #[must_use]
    pub fn verifies(&self, payload_type: &str, payload: &[u8], signature: &[u8]) -> bool {
        let message = pre_authentication(payload_type, payload);
        UnparsedPublicKey::new(&ED25519, self.0).verify(&message, signature).is_ok()
    }

    fn info(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.0].concat()
    }
}

/// DSSE's PAE, version 1: lengths before type and payload, so that each has one reading.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_encoding_is_that_of_dsse() {
        let encoded = pre_authentication("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
