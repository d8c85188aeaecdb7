//! What a blob is called at every site.
//!
//! **Invariant.** A name carries random ids and a sequence number, nothing of a tenant, bucket or
//! object (I3), and is used for one blob only (I5): a pack that has to be written again under the
//! same number gets a new blob id.
//!
//! **Deliberately absent.** The shard's index: it stands in the shard's header, and each site holds
//! one shard of a blob at most.
//!
//! **Crash.** Names are found again by listing a site.

use crate::{BlobId, ChainId};
use core::{fmt, str::FromStr};

/// The text is no name of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a pack or an extent")]
pub struct ParseBlobNameError;

/// The name of a blob. Text form: `p/<chain>/<number, 16 hex digits>-<blob>` for a pack, so that a
/// chain lists in order, and `e/<first two digits of blob>/<blob>` for an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlobName {
    /// A pack of records.
    Pack {
        /// The chain it belongs to.
        chain: ChainId,
        /// Its place in the chain, from 1.
        number: u64,
        /// The blob.
        blob: BlobId,
    },
    /// An extent of a large object.
    Extent(BlobId),
}

impl BlobName {
    /// Prefix of all packs' names.
    pub const PACKS: &'static str = "p/";
    /// Prefix of all extents' names.
    pub const EXTENTS: &'static str = "e/";

    /// The blob that has this name.
    #[must_use]
    pub const fn blob(&self) -> BlobId {
        match self {
            Self::Pack { blob, .. } | Self::Extent(blob) => *blob,
        }
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pack { chain, number, blob } => write!(f, "p/{chain}/{number:016x}-{blob}"),
            Self::Extent(blob) => write!(f, "e/{:02x}/{blob}", blob.as_bytes()[0]),
        }
    }
}

impl FromStr for BlobName {
    type Err = ParseBlobNameError;

    fn from_str(text: &str) -> Result<Self, ParseBlobNameError> {
        let name = parse_pack(text).or_else(|| parse_extent(text)).ok_or(ParseBlobNameError)?;
        // One text form per name: a site that lists a variant spelling offers another file.
        let mut canonical = alloc::string::String::with_capacity(text.len());
        fmt::write(&mut canonical, format_args!("{name}")).map_err(|_| ParseBlobNameError)?;
        if canonical == text { Ok(name) } else { Err(ParseBlobNameError) }
    }
}

fn parse_pack(text: &str) -> Option<BlobName> {
    let (chain, rest) = text.strip_prefix(BlobName::PACKS)?.split_once('/')?;
    let (number, blob) = rest.split_once('-')?;
    Some(BlobName::Pack {
        chain: chain.parse().ok()?,
        number: u64::from_str_radix(number, 16).ok()?,
        blob: blob.parse().ok()?,
    })
}

fn parse_extent(text: &str) -> Option<BlobName> {
    let (_, blob) = text.strip_prefix(BlobName::EXTENTS)?.split_once('/')?;
    Some(BlobName::Extent(blob.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_read_back() {
        let blob = BlobId::from_bytes([7; 16]);
        let chain = ChainId::from_bytes([9; 16]);
        for name in [BlobName::Extent(blob), BlobName::Pack { chain, number: 77, blob }] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let blob = BlobId::from_bytes([7; 16]);
        for text in [
            alloc::format!("e/08/{blob}"),
            alloc::format!("e/07/../{blob}"),
            alloc::format!("p/{blob}/+00000000000004d-{blob}"),
            alloc::format!("p/{blob}/4d-{blob}"),
            "e/".to_string(),
            "..".to_string(),
        ] {
            assert_eq!(text.parse::<BlobName>(), Err(ParseBlobNameError), "{text}");
        }
    }
}
