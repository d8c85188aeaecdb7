//! What a lying site answers instead of the truth.
//!
//! **Invariant.** A lie is something that a hostile site could say: it knows what it holds and no
//! key.
//!
//! **Deliberately absent.** Lies of `k` sites together: past that, the design promises nothing.
//!
//! **Crash.** Nothing is kept.

use crate::rng::Rng;
use bytes::BytesMut;
use havre_model::{BlobId, BlobName, ChainId};
use havre_sites::{SiteEntry, SitePage};

/// A lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A bit is flipped.
    Flip,
    /// The bytes of a shard that was stored earlier.
    Older,
    /// Fewer bytes.
    Shorter,
    /// More bytes.
    Longer,
    /// No such shard.
    Forget,
    /// Random bytes.
    Garbage,
    /// A listing without some of its names.
    Omit,
    /// A listing with names that are not there.
    Invent,
    /// A listing without end.
    Endless,
}

const ALL: [Lie; 9] = [
    Lie::Flip,
    Lie::Older,
    Lie::Shorter,
    Lie::Longer,
    Lie::Forget,
    Lie::Garbage,
    Lie::Omit,
    Lie::Invent,
    Lie::Endless,
];

impl Lie {
    /// One of them.
    pub fn draw(rng: &mut Rng) -> Self {
        *rng.pick(&ALL)
    }

    /// The lie instead of `bytes`; `None` for a shard that is said to be missing.
    pub fn tell(
        self,
        mut bytes: BytesMut,
        older: Option<BytesMut>,
        rng: &mut Rng,
    ) -> Option<BytesMut> {
        match self {
            Self::Flip | Self::Omit | Self::Invent | Self::Endless => {
                if !bytes.is_empty() {
                    let at = rng.index(bytes.len());
                    bytes[at] ^= 1 << rng.below(8);
                }
            }
            Self::Older => {
                let mut older = older.unwrap_or_default();
                older.resize(bytes.len(), 0);
                bytes = older;
            }
            Self::Shorter => bytes.truncate(rng.index(bytes.len().max(1))),
            Self::Longer => bytes.extend_from_slice(&[0x5a; 33]),
            Self::Forget => return None,
            Self::Garbage => rng.fill(&mut bytes),
        }
        Some(bytes)
    }
}

/// The lie instead of a page of names with the prefix after a name.
pub fn invent(
    lie: Lie,
    mut page: SitePage,
    (prefix, after, limit): (&str, Option<BlobName>, usize),
    rng: &mut Rng,
) -> SitePage {
    match lie {
        Lie::Omit | Lie::Forget => page.entries.retain(|_| rng.chance(500)),
        Lie::Invent | Lie::Garbage => {
            let entry = SiteEntry { name: invented(prefix, &page, rng), bytes: Some(1) };
            let text = entry.name.to_string();
            let is_next = after.is_none_or(|after| text > after.to_string());
            if is_next && text.starts_with(prefix) {
                page.entries.push(entry);
                page.entries.sort_by_key(|entry| entry.name.to_string());
                page.entries.dedup_by_key(|entry| entry.name);
                page.entries.truncate(limit);
            }
        }
        Lie::Endless => {
            page.entries = endless(prefix, after, limit.min(2));
            page.more = !page.entries.is_empty();
        }
        _ => {}
    }
    if page.entries.is_empty() {
        page.more = false;
    }
    page
}

/// A name beside those of the page; a pack's number is a little or absurdly higher.
fn invented(prefix: &str, page: &SitePage, rng: &mut Rng) -> BlobName {
    let mut id = [0; 16];
    rng.fill(&mut id);
    let blob = BlobId::from_bytes(id);
    match page.entries.last().map(|entry| entry.name) {
        Some(BlobName::Pack { chain, number, .. }) => {
            let number = match rng.below(3) {
                0 => number,
                1 => number.saturating_add(1 + rng.below(5)),
                _ => u64::MAX,
            };
            BlobName::Pack { chain, number, blob }
        }
        Some(BlobName::Extent(_)) => BlobName::Extent(blob),
        None => match chain_of(prefix) {
            Some(chain) => BlobName::Pack { chain, number: 1 + rng.below(1 << 40), blob },
            None => BlobName::Extent(blob),
        },
    }
}

fn chain_of(prefix: &str) -> Option<ChainId> {
    prefix.strip_prefix(BlobName::PACKS)?.strip_suffix('/')?.parse().ok()
}

/// The next names of a listing that never ends, as far as numbers go.
fn endless(prefix: &str, after: Option<BlobName>, count: usize) -> Vec<SiteEntry> {
    let chain = chain_of(prefix).unwrap_or(ChainId::from_bytes([0xfe; 16]));
    let (chain, from) = match after {
        Some(BlobName::Pack { chain, number, .. }) => (chain, number),
        Some(BlobName::Extent(_)) => return Vec::new(),
        None => (chain, 0),
    };
    if prefix.starts_with(BlobName::EXTENTS) {
        return Vec::new();
    }
    let blob = BlobId::from_bytes([0xaa; 16]);
    let names = (1..=count as u64).filter_map(|step| from.checked_add(step));
    let entry = |number| SiteEntry { name: BlobName::Pack { chain, number, blob }, bytes: None };
    names.map(entry).collect()
}
