//! What of an object beside its bytes is carried over, and what is left behind.
//!
//! **Invariant.** What is carried over is what the source showed; what it says is there and cannot
//! be carried over is counted.
//!
//! **Deliberately absent.** What a source does not show with an object: ACLs, the tags themselves,
//! older versions.
//!
//! **Crash.** Values only.

use super::bucket::header;
use super::sign::Dialect;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

/// The system metadata that is kept as it is.
const KEPT: [&str; 5] =
    ["content-type", "cache-control", "content-disposition", "content-language", "expires"];

/// What a source says is there and was not carried over: objects of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// With tags.
    pub tagged: u64,
    /// Of another storage class than the standard one.
    pub in_a_storage_class: u64,
    /// With a version id, and so perhaps with older versions.
    pub versioned: u64,
    /// Under a lock or a legal hold.
    pub locked: u64,
    /// With metadata that the source itself cannot show.
    pub with_hidden_metadata: u64,
}

impl LeftBehind {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.tagged += other.tagged;
        self.in_a_storage_class += other.in_a_storage_class;
        self.versioned += other.versioned;
        self.locked += other.locked;
        self.with_hidden_metadata += other.with_hidden_metadata;
    }
}

/// The headers that give a write the source's metadata.
pub(super) fn carried(dialect: Dialect, headers: &HeaderMap) -> HeaderMap {
    let mut carried = HeaderMap::new();
    for name in KEPT {
        if let Some(value) = headers.get(name).filter(|value| !value.is_empty()) {
            carried.insert(name, printable(value));
        }
    }
    if let Some(coding) = content_encoding(headers) {
        carried.insert("content-encoding", coding);
    }
    let user = format!("{}meta-", dialect.prefix());
    for (name, value) in headers {
        if let Some(rest) = name.as_str().strip_prefix(&user)
            && let Ok(name) = HeaderName::try_from(format!("x-amz-meta-{rest}"))
        {
            carried.insert(name, printable(value));
        }
    }
    if let Some(value) = headers.get("x-amz-website-redirect-location") {
        carried.insert("x-amz-website-redirect-location", printable(value));
    }
    carried
}

/// `Content-Encoding` without the framing that old clients left in it.
fn content_encoding(headers: &HeaderMap) -> Option<HeaderValue> {
    let codings = header(headers, "content-encoding")?.split(',').map(str::trim);
    let kept: Vec<&str> = codings
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    if kept.is_empty() { None } else { HeaderValue::from_str(&kept.join(",")).ok() }
}

/// A value as S3 takes it: what is not ASCII as RFC 2047 has it.
fn printable(value: &HeaderValue) -> HeaderValue {
    if value.to_str().is_ok() {
        return value.clone();
    }
    // Some servers answer in UTF-8, as it came; older ones in Latin-1.
    let text = match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
    };
    let encoded = format!("=?UTF-8?B?{}?=", BASE64.encode(text));
    HeaderValue::try_from(encoded).expect("base64 is printable")
}

/// What these headers say is there and is not carried over.
pub(super) fn left_behind(dialect: Dialect, headers: &HeaderMap) -> LeftBehind {
    let own = |rest: &str| header(headers, &format!("{}{rest}", dialect.prefix()));
    let number = |rest: &str| own(rest).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let class = own("storage-class").is_some_and(|class| !class.eq_ignore_ascii_case("standard"));
    let version = own("version-id").is_some_and(|version| version != "null");
    let hold = own("object-lock-legal-hold").is_some_and(|hold| hold == "ON");
    LeftBehind {
        tagged: u64::from(number("tagging-count") > 0),
        in_a_storage_class: u64::from(class),
        versioned: u64::from(version),
        locked: u64::from(hold || own("object-lock-mode").is_some()),
        with_hidden_metadata: u64::from(number("missing-meta") > 0),
    }
}

/// Whether the provider's own keys are in play, so that an ETag is no MD5.
pub(super) fn is_sealed_there(dialect: Dialect, headers: &HeaderMap) -> bool {
    let own = |rest: &str| header(headers, &format!("{}{rest}", dialect.prefix()));
    let managed = own("server-side-encryption").is_some_and(|kind| kind != "AES256");
    managed || own("server-side-encryption-customer-algorithm").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &[u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn what_applications_see_is_carried_over() {
        let source = headers(&[
            ("content-type", b"text/plain"),
            ("content-encoding", b"aws-chunked,gzip"),
            ("cache-control", b"no-cache"),
            ("content-disposition", "attachment; filename=\"ü\"".as_bytes()),
            ("expires", b"Thu, 01 Jan 2026 00:00:00 GMT"),
            ("etag", b"\"x\""),
            ("x-amz-meta-who", b"me"),
            ("x-amz-meta-who-else", "ü".as_bytes()),
            ("x-amz-meta-latin", b"\xfc"),
            ("x-amz-version-id", b"3"),
        ]);
        let carried = carried(Dialect::Aws, &source);
        assert_eq!(carried.len(), 8);
        assert_eq!(carried["content-encoding"], "gzip");
        assert_eq!(carried["x-amz-meta-who"], "me");
        assert_eq!(carried["x-amz-meta-who-else"], "=?UTF-8?B?w7w=?=");
        assert_eq!(carried["x-amz-meta-latin"], "=?UTF-8?B?w7w=?=");
        assert!(carried["content-disposition"].to_str().unwrap().starts_with("=?UTF-8?B?"));
    }

    #[test]
    fn the_framing_of_an_upload_alone_is_no_encoding() {
        let source = headers(&[("content-encoding", b"aws-chunked")]);
        assert!(carried(Dialect::Aws, &source).is_empty());
    }

    #[test]
    fn oss_metadata_get_the_names_of_s3() {
        let source = headers(&[("x-oss-meta-who", b"me"), ("x-oss-storage-class", b"IA")]);
        assert_eq!(carried(Dialect::Oss, &source)["x-amz-meta-who"], "me");
        assert_eq!(left_behind(Dialect::Oss, &source).in_a_storage_class, 1);
        let standard = headers(&[("x-oss-storage-class", b"Standard")]);
        assert_eq!(left_behind(Dialect::Oss, &standard), LeftBehind::default());
    }

    #[test]
    fn what_is_left_behind_is_counted() {
        let source = headers(&[
            ("x-amz-tagging-count", b"2"),
            ("x-amz-storage-class", b"STANDARD_IA"),
            ("x-amz-version-id", b"3"),
            ("x-amz-object-lock-legal-hold", b"ON"),
            ("x-amz-missing-meta", b"1"),
        ]);
        let all = LeftBehind {
            tagged: 1,
            in_a_storage_class: 1,
            versioned: 1,
            locked: 1,
            with_hidden_metadata: 1,
        };
        let mut sum = all;
        sum.add(left_behind(Dialect::Aws, &source));
        assert_eq!(sum.tagged, 2);
        assert_eq!(left_behind(Dialect::Aws, &source), all);
    }

    #[test]
    fn an_etag_under_the_providers_key_service_is_no_md5() {
        let sealed = |value: &'static [u8]| {
            is_sealed_there(Dialect::Aws, &headers(&[("x-amz-server-side-encryption", value)]))
        };
        assert!(sealed(b"aws:kms") && sealed(b"aws:kms:dsse") && !sealed(b"AES256"));
    }
}
