//! The `Authorization` header and what goes with it, before a signature is computed: which of S3's
//! errors tells what is wrong with them.
//!
//! `s3s` refuses the same requests, with codes of its own.
//!
//! **Invariant.** What passes has the form of signature version 4: fields that are there, a date,
//! and a digest of the body or a word that S3 has for its absence.
//!
//! **Deliberately absent.** The signature, and everything about presigned URLs (`s3s`).
//!
//! **Crash.** Values only.

use crate::error::custom;
use http::{HeaderMap, StatusCode, header};
use s3s::{S3Error, S3Result, s3_error};

/// The one algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What a credential consists of: access key, date, region, service and `aws4_request`.
const CREDENTIAL_FIELDS: usize = 5;
/// Bytes of a SHA-256 in hex.
const DIGEST_CHARS: usize = 64;

/// Checks a request that is signed in its headers; every other one passes.
///
/// # Errors
/// The S3 error that the client is to get.
pub(crate) fn check(headers: &HeaderMap) -> S3Result<()> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(()) };
    let text = value.to_str().map_err(|_| malformed())?.trim();
    if text.is_empty() {
        return Err(s3_error!(AccessDenied, "Access Denied"));
    }
    match text.split_once(' ').unwrap_or((text, "")) {
        (ALGORITHM, fields) if has_fields(fields) => {}
        (ALGORITHM, _) => return Err(malformed()),
        ("AWS", _) => {
            return Err(s3_error!(
                InvalidRequest,
                "The authorization mechanism you have provided is not supported. Please use \
                 AWS4-HMAC-SHA256."
            ));
        }
        _ => return Err(s3_error!(InvalidArgument, "Unsupported Authorization Type")),
    }
    if !text_of(headers, "x-amz-date").is_some_and(is_date) {
        return Err(s3_error!(
            AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header"
        ));
    }
    match text_of(headers, "x-amz-content-sha256") {
        None => Err(s3_error!(
            InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256"
        )),
        Some(digest) if is_digest(digest) => Ok(()),
        Some(_) => Err(s3_error!(
            InvalidArgument,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, or \
             a valid sha256 value."
        )),
    }
}

fn malformed() -> S3Error {
    custom(
        StatusCode::BAD_REQUEST,
        "AuthorizationHeaderMalformed",
        "The authorization header that you provided is not valid.",
    )
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn has_fields(text: &str) -> bool {
    let field = |name: &str| {
        text.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let credential =
        field("Credential").is_some_and(|text| text.split('/').count() >= CREDENTIAL_FIELDS);
    credential && field("SignedHeaders").is_some() && field("Signature").is_some()
}

/// Whether it has the form `20260102T030405Z`.
fn is_date(text: &str) -> bool {
    let digit = |(index, byte): (usize, u8)| match index {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 16 && text.bytes().enumerate().all(digit)
}

fn is_digest(text: &str) -> bool {
    let digest = text.len() == DIGEST_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digest || text == "UNSIGNED-PAYLOAD" || text.starts_with("STREAMING-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIAL: &str = "Credential=AK/20260102/us-east-1/s3/aws4_request";
    const DATE: &str = "20260102T030405Z";
    const ABSENT: &str = "UNSIGNED-PAYLOAD";

    #[track_caller]
    fn check_code(authorization: &str, date: Option<&str>, digest: Option<&str>, expected: &str) {
        let mut headers = HeaderMap::new();
        let pairs = [
            ("authorization", Some(authorization)),
            ("x-amz-date", date),
            ("x-amz-content-sha256", digest),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                headers.insert(name, value.parse().expect("a header value"));
            }
        }
        let code =
            check(&headers).map_or_else(|e| e.code().as_str().to_owned(), |()| "ok".to_owned());
        assert_eq!(code, expected, "{authorization:?} {date:?} {digest:?}");
    }

    #[test]
    fn each_malformed_authorization_has_the_code_that_s3_gives_it() {
        for (text, expected) in [
            ("", "AccessDenied"),
            ("  ", "AccessDenied"),
            ("garbage", "InvalidArgument"),
            ("AWS4 HAHAHA", "InvalidArgument"),
            ("Basic YTpi", "InvalidArgument"),
            ("AWS AK:c2ln", "InvalidRequest"),
            ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
            ("AWS4-HMAC-SHA256 Credential=HAHAHA", "AuthorizationHeaderMalformed"),
            (
                "AWS4-HMAC-SHA256 Credential=AK, SignedHeaders=host, Signature=0",
                "AuthorizationHeaderMalformed",
            ),
            (&format!("AWS4-HMAC-SHA256 {CREDENTIAL}"), "AuthorizationHeaderMalformed"),
            (&format!("AWS4-HMAC-SHA256 {CREDENTIAL},SignedHeaders=host,Signature=0"), "ok"),
            (&format!("AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=host, Signature="), "ok"),
        ] {
            check_code(text, Some(DATE), Some(ABSENT), expected);
        }
        assert!(check(&HeaderMap::new()).is_ok(), "nothing is said of requests without one");
    }

    #[test]
    fn dates_and_digests_have_a_form() {
        let signed = &format!("AWS4-HMAC-SHA256 {CREDENTIAL},SignedHeaders=host,Signature=0");
        for date in ["", "Bad Date", "20260102T030405", "20260102 030405Z", "Tue, 07 Jul 2026"] {
            check_code(signed, Some(date), Some(ABSENT), "AccessDenied");
        }
        check_code(signed, None, Some(ABSENT), "AccessDenied");
        for digest in [&"a".repeat(64), "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
            check_code(signed, Some(DATE), Some(digest), "ok");
        }
        for digest in ["", "garbage", &"a".repeat(63), &"g".repeat(64)] {
            check_code(signed, Some(DATE), Some(digest), "InvalidArgument");
        }
        check_code(signed, Some(DATE), None, "InvalidRequest");
    }
}
