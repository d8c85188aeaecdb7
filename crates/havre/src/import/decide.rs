//! What is done about an object, and in what pieces it is copied: decisions without I/O.
//!
//! **Invariant.** What is there already is not copied again; what somebody else wrote at the
//! destination after the source's last change is not written over unasked.
//!
//! **Deliberately absent.** Doing it (`copy`).
//!
//! **Crash.** Values only.

use super::bucket::Entry;

/// Up to here an object is written in one request, whose MD5 becomes its ETag.
pub(super) const WHOLE_BYTES_MAX: u64 = 64 << 20;
/// The parts of what is longer, unless there would be more than [`PARTS_MAX`] of them.
const PART_BYTES: u64 = 16 << 20;
/// Parts of one object, S3's limit.
const PARTS_MAX: u64 = 10_000;
/// The smallest part but the last, S3's limit.
const PART_BYTES_MIN: u64 = 5 << 20;
/// The source's own parts are kept, for the sake of the ETag, up to this size.
pub(super) const FOLLOWED_BYTES_MAX: u64 = 64 << 20;
/// The longest object, S3's limit for 10,000 parts until 2025 and the gateway's.
pub(super) const OBJECT_BYTES_MAX: u64 = 5 << 40;

const _: () = assert!(OBJECT_BYTES_MAX / PARTS_MAX < super::BUDGET_BYTES);
const _: () = assert!(WHOLE_BYTES_MAX <= super::BUDGET_BYTES);

/// What stands at the destination, and whose it is.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) entry: &'a Entry,
    /// The journal knows it as a copy of this very object.
    pub(super) is_copy: bool,
    /// The journal knows that an import wrote it.
    pub(super) is_own: bool,
}

/// What is done about an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is copied, if at the destination there is nothing yet.
    Create,
    /// It is copied, if at the destination is still what was found.
    Replace,
    /// It is there.
    Leave,
    /// It is as long as what somebody wrote there later: the bytes have to say.
    Compare,
    /// Somebody wrote there later.
    Keep,
}

/// Decides about one object.
pub(super) fn decide(source: &Entry, found: Option<Found<'_>>, overwrite: bool) -> Decision {
    let Some(Found { entry, is_copy, is_own }) = found else { return Decision::Create };
    let later = entry.modified_ms > source.modified_ms;
    let same_length = entry.size == source.size;
    // Written again at the source, the bytes are the same, and the metadata may not be.
    let same = same_length && later && entry.etag.eq_ignore_ascii_case(&source.etag);
    if same || (same_length && is_copy) {
        return Decision::Leave;
    }
    match later && !is_own {
        true if same_length => Decision::Compare,
        true if !overwrite => Decision::Keep,
        _ => Decision::Replace,
    }
}

/// The pieces that an object is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One request.
    Whole,
    /// Parts of this size, the last one aside.
    Parts {
        /// Bytes of each.
        bytes: u64,
        /// Whether they are the source's own.
        followed: bool,
    },
}

impl Shape {
    /// The shape of an object of this size, whose ETag names `parts` parts, the first of which is
    /// `first` long.
    pub(super) fn of(size: u64, parts: Option<u64>, first: Option<u64>) -> Self {
        if let (Some(parts), Some(bytes)) = (parts, first)
            && (PART_BYTES_MIN..=FOLLOWED_BYTES_MAX).contains(&bytes)
            && (2..=PARTS_MAX).contains(&parts)
            && size.div_ceil(bytes) == parts
        {
            return Self::Parts { bytes, followed: true };
        }
        if size <= WHOLE_BYTES_MAX {
            return Self::Whole;
        }
        let bytes = PART_BYTES.max(size.div_ceil(PARTS_MAX));
        Self::Parts { bytes, followed: false }
    }

    /// Bytes of memory that copying an object of this size takes at once: while one part is written
    /// the next is read, unless they are very large.
    pub(super) fn memory(self, size: u64) -> u64 {
        match self {
            Self::Whole => size,
            Self::Parts { bytes, .. } if Self::reads_ahead(bytes) => 2 * bytes,
            Self::Parts { bytes, .. } => bytes,
        }
    }

    /// Whether the next part is read while one of this size is written.
    pub(super) const fn reads_ahead(bytes: u64) -> bool {
        bytes <= FOLLOWED_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(size: u64, etag: &str, modified_ms: u64) -> Entry {
        Entry { key: "k".to_owned(), size, etag: etag.to_owned(), modified_ms, as_listed: None }
    }

    #[track_caller]
    fn check(found: &Entry, is_copy: bool, is_own: bool, expected: Decision) {
        let found = Found { entry: found, is_copy, is_own };
        assert_eq!(decide(&entry(3, "a", 10), Some(found), false), expected);
    }

    #[test]
    fn what_is_not_there_is_copied_and_what_is_there_is_left() {
        assert_eq!(decide(&entry(3, "a", 10), None, false), Decision::Create);
        check(&entry(3, "A", 11), false, false, Decision::Leave);
        check(&entry(3, "b", 11), true, true, Decision::Leave);
    }

    #[test]
    fn what_changed_at_the_source_is_copied_again() {
        check(&entry(3, "b", 9), false, false, Decision::Replace);
        check(&entry(4, "a", 9), false, false, Decision::Replace);
        // The same bytes with other metadata, perhaps.
        check(&entry(3, "a", 9), false, false, Decision::Replace);
        // Our copy of what it was before, written after it had changed.
        check(&entry(4, "b", 11), false, true, Decision::Replace);
        check(&entry(4, "b", 11), true, true, Decision::Replace);
    }

    #[test]
    fn what_others_wrote_later_is_kept_unless_its_bytes_are_the_same() {
        check(&entry(4, "b", 11), false, false, Decision::Keep);
        check(&entry(3, "b", 11), false, false, Decision::Compare);
        let other = entry(4, "b", 11);
        let found = Found { entry: &other, is_copy: false, is_own: false };
        assert_eq!(decide(&entry(3, "a", 10), Some(found), true), Decision::Replace);
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_sources_parts_are_kept_where_they_can_be() {
        let followed = |bytes| Shape::Parts { bytes, followed: true };
        assert_eq!(Shape::of(20 * MIB, Some(3), Some(8 * MIB)), followed(8 * MIB));
        assert_eq!(Shape::of(20 * MIB, Some(4), Some(8 * MIB)), Shape::Whole, "odd parts");
        assert_eq!(Shape::of(20 * MIB, Some(3), None), Shape::Whole);
        let own = Shape::Parts { bytes: 16 * MIB, followed: false };
        assert_eq!(Shape::of(400 * MIB, Some(4), Some(100 * MIB)), own, "too large to hold");
        assert_eq!(Shape::of(400 * MIB, None, None), own);
    }

    #[test]
    fn no_object_has_too_many_parts_or_takes_too_much_memory() {
        for size in [0, 1, WHOLE_BYTES_MAX, WHOLE_BYTES_MAX + 1, 200 << 30, OBJECT_BYTES_MAX] {
            let shape = Shape::of(size, None, None);
            if let Shape::Parts { bytes, .. } = shape {
                assert!(size.div_ceil(bytes) <= PARTS_MAX && bytes >= PART_BYTES_MIN);
            }
            assert!(shape.memory(size) <= crate::import::BUDGET_BYTES, "{size}");
        }
    }
}
