//! Identities. All but [`Seq`] are opaque bytes, drawn at random and shown as lower-case hex.
//!
//! **Invariant.** Two ids of different kinds never compare or convert into one another.
//!
//! **Deliberately absent.** Generation (callers draw from [`crate::ports::Entropy`]) and meaning.
//!
//! **Crash.** Ids are values; the same bytes mean the same thing for ever.

use alloc::string::String;
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// The text is not the lower-case hex form of the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is exactly {expected} lower-case hex digits")]
pub struct ParseIdError {
    /// Hex digits that the kind of id has.
    pub expected: usize,
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let error = ParseIdError { expected: N * 2 };
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(error);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = hex_digit(pair[0]).ok_or(error)?;
        let low = hex_digit(pair[1]).ok_or(error)?;
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Bytes of the id.
            pub const LEN: usize = $bytes;

            /// The id with these bytes; every value is valid.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The id in a slice of exactly its length, as a database column or a frame has it.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

opaque_id!(
    /// A tenant: the unit of isolation and accounting.
    TenantId, 16
);
opaque_id!(
    /// A bucket. Sites and records know a bucket by this, never by its name.
    BucketId, 16
);
opaque_id!(
    /// One version of an object. The version of a completed multipart upload is its upload's id.
    VersionId, 16
);
opaque_id!(
    /// A multipart upload.
    UploadId, 16
);
opaque_id!(
    /// A blob: a pack or an extent. Drawn at random, used once (I5).
    BlobId, 16
);
opaque_id!(
    /// A chain of packs: one per gateway and placement policy.
    ChainId, 16
);
opaque_id!(
    /// A site, derived from its configured name, which is therefore permanent.
    SiteId, 8
);

impl SiteId {
    /// Stands for "nobody knows": the shard may be at any site, or at none, because whoever made it
    /// was killed, or the site was away when the catalog was rebuilt.
    pub const NOWHERE: Self = Self([0; Self::LEN]);
}

impl From<UploadId> for VersionId {
    /// The object that an upload completes to is sealed under the upload's id from its first part
    /// on.
    fn from(upload: UploadId) -> Self {
        Self(upload.0)
    }
}

/// The order of records: handed out by the catalog before a record is written, never twice.
/// The highest sequence number of a key wins, live and in replay.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
pub struct Seq(u64);

impl Seq {
    /// The sequence number with this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The value, for storage.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shows a secret's place without its value in `Debug` output.
#[must_use]
pub fn redacted(what: &str) -> String {
    alloc::format!("<{what} redacted>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = BlobId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string(), "ab".repeat(16));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "ab", &"AB".repeat(16), &"zz".repeat(16), &"ab".repeat(17)] {
            assert_eq!(text.parse::<BlobId>(), Err(ParseIdError { expected: 32 }), "{text}");
        }
    }
}
