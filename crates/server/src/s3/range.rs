//! Ranges: the `Range` header of a read, a part's place in its object, and the source range of a
//! copy.
//!
//! **Invariant.** A range that comes out of here lies within the object and is not empty.
//!
//! **Deliberately absent.** Several ranges in one answer: S3 has none, and ignores such a header.
//!
//! **Crash.** Values only.

use havre_engine::ObjectInfo;
use http::{HeaderMap, HeaderValue, header};
use s3s::{S3Error, S3Result, s3_error};
use std::ops::Range;

/// A `Range` header of one range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// `bytes=first-last` or `bytes=first-`.
    From { first: u64, last: Option<u64> },
    /// `bytes=-length`.
    Suffix { length: u64 },
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number of more digits than fit is beyond the end of every object.
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

impl ByteRange {
    /// The range of a header; `None` for one that has to be ignored: other units, several ranges, a
    /// last byte before the first, anything malformed (RFC 9110, 14.2).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().strip_prefix("bytes=")?.trim();
        let (first, last) = text.split_once('-')?;
        if first.is_empty() {
            return number(last).map(|length| Self::Suffix { length });
        }
        let first = number(first)?;
        let last = if last.is_empty() { None } else { Some(number(last)?) };
        (last.is_none_or(|last| first <= last)).then_some(Self::From { first, last })
    }

    /// The bytes that it asks for of an object of `bytes`; `None` when there are none.
    pub(crate) fn within(self, bytes: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first, last } => {
                first..last.map_or(bytes, |last| last.saturating_add(1).min(bytes))
            }
            Self::Suffix { length } => bytes.saturating_sub(length)..bytes,
        };
        (range.start < range.end).then_some(range)
    }
}

/// The value of `Content-Range`.
pub(crate) fn content_range(range: &Range<u64>, bytes: u64) -> String {
    format!("bytes {}-{}/{bytes}", range.start, range.end - 1)
}

/// 416, which says how long the object is.
pub(crate) fn not_satisfiable(bytes: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
    // Headers of an error stand in the place of those that `s3s` would set.
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let value =
        HeaderValue::from_str(&format!("bytes */{bytes}")).expect("digits are a valid value");
    headers.insert(header::CONTENT_RANGE, value);
    error.set_headers(headers);
    error
}

/// The bytes of one part of an object. An object that was not uploaded in parts has one.
pub(crate) fn part(info: &ObjectInfo, number: i32) -> S3Result<Range<u64>> {
    if !(1..=10_000).contains(&number) {
        return Err(s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive"
        ));
    }
    if info.parts.is_empty() && number == 1 {
        return Ok(0..info.bytes);
    }
    let mut start = 0;
    for part in &info.parts {
        if i32::from(part.number) == number {
            return Ok(start..start + part.bytes);
        }
        start += part.bytes;
    }
    Err(crate::error::custom(
        http::StatusCode::RANGE_NOT_SATISFIABLE,
        "InvalidPartNumber",
        "The requested partnumber is not satisfiable",
    ))
}

/// The range of `x-amz-copy-source-range`, which is `bytes=first-last` and lies within the source.
pub(crate) fn copy_source(text: &str, bytes: u64) -> S3Result<Range<u64>> {
    let malformed = || {
        s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first \
             and last are the zero-based offsets of the first and last bytes to copy"
        )
    };
    match ByteRange::parse(text) {
        Some(ByteRange::From { first, last: Some(last) }) if last < bytes => Ok(first..last + 1),
        Some(ByteRange::From { last: Some(_), .. }) => Err(s3_error!(
            InvalidArgument,
            "Range specified is not valid for source object of size: {bytes}"
        )),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, bytes: u64, expected: Option<Option<Range<u64>>>) {
        assert_eq!(ByteRange::parse(text).map(|range| range.within(bytes)), expected, "{text}");
    }

    #[test]
    fn all_three_forms_are_cut_to_the_object() {
        check("bytes=0-4", 10, Some(Some(0..5)));
        check("bytes=5-100", 10, Some(Some(5..10)));
        check("bytes=5-", 10, Some(Some(5..10)));
        check("bytes=-3", 10, Some(Some(7..10)));
        check("bytes=-30", 10, Some(Some(0..10)));
        check("bytes=0-18446744073709551615", 10, Some(Some(0..10)));
        check("bytes=0-99999999999999999999999", 10, Some(Some(0..10)));
    }

    #[test]
    fn what_lies_beyond_the_end_is_not_satisfiable() {
        check("bytes=10-", 10, Some(None));
        check("bytes=10-20", 10, Some(None));
        check("bytes=-0", 10, Some(None));
        check("bytes=0-", 0, Some(None));
        check("bytes=-5", 0, Some(None));
        check("bytes=99999999999999999999999-", 10, Some(None));
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        let many = format!("bytes={}", vec!["0-1"; 10_000].join(","));
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "lines=1-2",
            "bytes=0-1,3-4",
            "bytes=1--2",
            "bytes=+1-2",
            &many,
        ] {
            check(text, 10, None);
        }
    }

    #[test]
    fn a_copy_takes_only_closed_ranges_within_the_source() {
        assert_eq!(copy_source("bytes=0-9", 10).ok(), Some(0..10));
        for text in ["bytes=0-10", "bytes=0-", "bytes=-1", "0-1", "bytes=1-0"] {
            assert!(copy_source(text, 10).is_err(), "{text}");
        }
    }
}
