//! Conditions of requests: on the object that is read, on a copy's source, and on the object that a
//! write replaces.
//!
//! **Invariant.** Precedence is RFC 9110's (13.2.2), which S3 documents too: `If-Match` over
//! `If-Unmodified-Since`, `If-None-Match` over `If-Modified-Since`; times compare by the second.
//!
//! **Deliberately absent.** The check of a write's condition: the engine makes it one step with the
//! write.
//!
//! **Crash.** Values only.

use crate::error::not_implemented;
use havre_engine::{Condition, ETagMatch, ObjectInfo};
use havre_model::Timestamp;
use http::{HeaderMap, HeaderName, StatusCode, header};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use std::time::UNIX_EPOCH;

/// ETags that one header may list.
const ETAGS_MAX: usize = 64;

/// The conditions of one request, on one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    if_match: Option<ETagMatch>,
    if_none_match: Option<ETagMatch>,
    if_modified_since: Option<u64>,
    if_unmodified_since: Option<u64>,
}

/// What conditions say about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Go on.
    Met,
    /// 304, for reads only.
    NotModified,
    /// 412.
    Failed,
}

/// Seconds since the epoch of an HTTP date; `None` for what is none, which RFC 9110 has ignored.
fn http_date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The ETags of a header value: `*`, or a list, quoted or not, strong or weak.
fn etags(text: &str) -> S3Result<ETagMatch> {
    let text = text.trim();
    if text == "*" {
        return Ok(ETagMatch::Any);
    }
    let list: Vec<String> = text
        .split(',')
        .map(|etag| etag.trim())
        .map(|etag| etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"').to_owned())
        .filter(|etag| !etag.is_empty())
        .collect();
    if list.is_empty() || list.len() > ETAGS_MAX {
        return Err(s3_error!(InvalidArgument, "The list of entity tags is not valid."));
    }
    Ok(ETagMatch::OneOf(list))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> S3Result<Option<&'h str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value
        .to_str()
        .map_err(|_| s3_error!(InvalidArgument, "The header {name} is not plain text."))?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

impl Conditions {
    fn read(headers: &HeaderMap, names: [&HeaderName; 4]) -> S3Result<Self> {
        let [if_match, if_none_match, if_modified_since, if_unmodified_since] = names;
        Ok(Self {
            if_match: text(headers, if_match)?.map(etags).transpose()?,
            if_none_match: text(headers, if_none_match)?.map(etags).transpose()?,
            if_modified_since: text(headers, if_modified_since)?.and_then(http_date),
            if_unmodified_since: text(headers, if_unmodified_since)?.and_then(http_date),
        })
    }

    /// The conditions on the object that a request names.
    pub(crate) fn of_request(headers: &HeaderMap) -> S3Result<Self> {
        let names = [
            &header::IF_MATCH,
            &header::IF_NONE_MATCH,
            &header::IF_MODIFIED_SINCE,
            &header::IF_UNMODIFIED_SINCE,
        ];
        Self::read(headers, names)
    }

    /// The conditions on the source of a copy.
    pub(crate) fn of_copy_source(headers: &HeaderMap) -> S3Result<Self> {
        let names = [
            &HeaderName::from_static("x-amz-copy-source-if-match"),
            &HeaderName::from_static("x-amz-copy-source-if-none-match"),
            &HeaderName::from_static("x-amz-copy-source-if-modified-since"),
            &HeaderName::from_static("x-amz-copy-source-if-unmodified-since"),
        ];
        Self::read(headers, names)
    }

    /// Decides a read.
    pub(crate) fn check(&self, etag: &str, modified: Timestamp) -> Outcome {
        let modified = modified.seconds();
        match (&self.if_match, self.if_unmodified_since) {
            (Some(wanted), _) if !wanted.matches(etag) => return Outcome::Failed,
            (None, Some(time)) if modified > time => return Outcome::Failed,
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(unwanted), _) if unwanted.matches(etag) => Outcome::NotModified,
            (None, Some(time)) if modified <= time => Outcome::NotModified,
            _ => Outcome::Met,
        }
    }

    /// Decides a read of this object, as an error.
    ///
    /// # Errors
    /// 304 and 412.
    pub(crate) fn check_read(&self, info: &ObjectInfo) -> S3Result<()> {
        match self.check(&info.etag, info.modified) {
            Outcome::Met => Ok(()),
            Outcome::Failed => Err(s3_error!(PreconditionFailed)),
            Outcome::NotModified => Err(not_modified(info)),
        }
    }

    /// Decides the source of a copy: there is no 304 for one.
    ///
    /// # Errors
    /// 412.
    pub(crate) fn check_copy_source(&self, info: &ObjectInfo) -> S3Result<()> {
        match self.check(&info.etag, info.modified) {
            Outcome::Met => Ok(()),
            Outcome::Failed | Outcome::NotModified => Err(s3_error!(PreconditionFailed)),
        }
    }

    /// Refuses conditions where an operation knows none: to ignore one would be a false 200.
    ///
    /// # Errors
    /// 501 when there are any.
    pub(crate) fn none(&self) -> S3Result<()> {
        if *self == Self::default() {
            return Ok(());
        }
        Err(not_implemented("A condition on this operation"))
    }

    /// The condition of a write.
    ///
    /// # Errors
    /// 501 for what S3 does not know on writes: times, and `If-None-Match` with an ETag.
    pub(crate) fn into_write(self) -> S3Result<Condition> {
        if self.if_modified_since.is_some() || self.if_unmodified_since.is_some() {
            return Err(not_implemented("A time condition on a write"));
        }
        if matches!(self.if_none_match, Some(ETagMatch::OneOf(_))) {
            return Err(not_implemented("If-None-Match with an entity tag on a write"));
        }
        Ok(Condition { if_match: self.if_match, if_none_match: self.if_none_match })
    }
}

/// Whether `If-Range` lets a range stand: only a strong ETag or an exact time does.
pub(crate) fn range_stands(headers: &HeaderMap, info: &ObjectInfo) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    let text = text.trim();
    if text.starts_with('"') {
        return text.trim_matches('"') == info.etag;
    }
    http_date(text).is_some_and(|time| time == info.modified.seconds())
}

/// 304 carries the validators and no body.
fn not_modified(info: &ObjectInfo) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    error.set_status_code(StatusCode::NOT_MODIFIED);
    let mut headers = HeaderMap::new();
    if let Ok(value) = format!("\"{}\"", info.etag).parse() {
        headers.insert(header::ETAG, value);
    }
    let modified = UNIX_EPOCH + std::time::Duration::from_secs(info.modified.seconds());
    if let Ok(value) = httpdate::fmt_http_date(modified).parse() {
        headers.insert(header::LAST_MODIFIED, value);
    }
    error.set_headers(headers);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The object has ETag `a` and was modified at 12:00:00.5.
    const MODIFIED: u64 = 1_700_000_000_500;
    const BEFORE: &str = "Tue, 14 Nov 2023 22:13:19 GMT";
    const EXACTLY: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

    #[track_caller]
    fn check(pairs: &[(&'static str, &str)], expected: Outcome) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("a header value"));
        }
        let conditions = Conditions::of_request(&headers).expect("valid conditions");
        assert_eq!(conditions.check("a", Timestamp::from_millis(MODIFIED)), expected, "{pairs:?}");
    }

    #[test]
    fn each_condition_alone() {
        check(&[], Outcome::Met);
        check(&[("if-match", "\"a\"")], Outcome::Met);
        check(&[("if-match", "a")], Outcome::Met);
        check(&[("if-match", "\"b\", \"a\"")], Outcome::Met);
        check(&[("if-match", "*")], Outcome::Met);
        check(&[("if-match", "\"b\"")], Outcome::Failed);
        check(&[("if-none-match", "\"a\"")], Outcome::NotModified);
        check(&[("if-none-match", "W/\"a\"")], Outcome::NotModified);
        check(&[("if-none-match", "*")], Outcome::NotModified);
        check(&[("if-none-match", "\"b\"")], Outcome::Met);
        check(&[("if-modified-since", BEFORE)], Outcome::Met);
        check(&[("if-modified-since", EXACTLY)], Outcome::NotModified);
        check(&[("if-unmodified-since", BEFORE)], Outcome::Failed);
        check(&[("if-unmodified-since", EXACTLY)], Outcome::Met);
    }

    #[test]
    fn etags_rule_over_times() {
        check(&[("if-match", "a"), ("if-unmodified-since", BEFORE)], Outcome::Met);
        check(&[("if-match", "b"), ("if-unmodified-since", EXACTLY)], Outcome::Failed);
        check(&[("if-none-match", "a"), ("if-modified-since", BEFORE)], Outcome::NotModified);
        check(&[("if-none-match", "b"), ("if-modified-since", EXACTLY)], Outcome::Met);
    }

    #[test]
    fn a_failed_match_comes_before_not_modified() {
        check(&[("if-match", "b"), ("if-none-match", "a")], Outcome::Failed);
    }

    #[test]
    fn a_date_that_is_none_is_ignored() {
        check(&[("if-modified-since", "yesterday")], Outcome::Met);
        check(&[("if-unmodified-since", "2023-11-14T22:13:19Z")], Outcome::Met);
    }
}
