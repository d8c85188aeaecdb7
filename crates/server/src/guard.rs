//! What is refused before a signature is even looked at: requests that `s3s`, a proxy and we could
//! read in different ways.
//!
//! `s3s` 0.17 was tried against each (see `tests/attacks.rs`); what it refuses by itself is not
//! repeated here, but for where its refusal comes after the request was acted on.
//!
//! **Invariant.** Past this point every header that has a meaning stands once, every query
//! parameter stands once, there is one way of signing, and the signature covers the host.
//!
//! **Deliberately absent.** The signature itself (`s3s`), and what the request asks for (`admit`).
//!
//! **Crash.** Values only.

use crate::authorization;
use crate::config::{HEADER_BYTES_MAX, HEADERS_MAX, URI_BYTES_MAX};
use crate::error::{custom, not_implemented};
use crate::query::Query;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version, header};
use s3s::{S3Error, S3Result, s3_error};

/// Headers that may stand several times: nothing here reads them, or their values form a list.
const REPEATABLE: [&str; 8] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cookie",
    "forwarded",
    "via",
    "x-forwarded-for",
    "user-agent",
];

/// Checks a request's head.
///
/// # Errors
/// The S3 error that the client is to get.
pub(crate) fn check(parts: &Parts) -> S3Result<()> {
    check_sizes(parts)?;
    check_repeated(&parts.headers)?;
    check_host(parts)?;
    let query = Query::parse(parts.uri.query())?;
    authorization::check(&parts.headers)?;
    check_authentication(parts, &query)?;
    check_form(parts)
}

fn check_sizes(parts: &Parts) -> S3Result<()> {
    let uri = parts.uri.path_and_query().map_or(0, |text| text.as_str().len());
    if uri > URI_BYTES_MAX {
        return Err(custom(StatusCode::URI_TOO_LONG, "URITooLong", "The URI is too long."));
    }
    let bytes: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX || parts.headers.len() > HEADERS_MAX {
        return Err(s3_error!(RequestHeaderSectionTooLarge));
    }
    Ok(())
}

fn check_repeated(headers: &HeaderMap) -> S3Result<()> {
    for name in headers.keys() {
        let repeated = headers.get_all(name).iter().nth(1).is_some();
        if repeated && !REPEATABLE.contains(&name.as_str()) {
            return Err(s3_error!(InvalidRequest, "The header {name} is given more than once."));
        }
    }
    Ok(())
}

/// The host that is signed and routed by is one and the same.
fn check_host(parts: &Parts) -> S3Result<()> {
    let Some(authority) = parts.uri.authority() else { return Ok(()) };
    match parts.headers.get(header::HOST) {
        Some(host) if host.as_bytes() != authority.as_str().as_bytes() => {
            Err(s3_error!(InvalidRequest, "The Host header differs from the request's authority."))
        }
        None if parts.version < Version::HTTP_2 => {
            Err(s3_error!(InvalidRequest, "The Host header is missing."))
        }
        _ => Ok(()),
    }
}

fn several_ways() -> S3Error {
    s3_error!(
        InvalidArgument,
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature \
         query string parameter or the Authorization header should be specified"
    )
}

fn check_authentication(parts: &Parts, query: &Query<'_>) -> S3Result<()> {
    let in_query = query.iter().any(|parameter| {
        parameter.authenticates() || ["Signature", "AWSAccessKeyId"].contains(&&*parameter.name)
    });
    let authorization = parts.headers.get(header::AUTHORIZATION);
    if in_query && authorization.is_some() {
        return Err(several_ways());
    }
    let token_in_query =
        query.iter().any(|parameter| parameter.name.eq_ignore_ascii_case("X-Amz-Security-Token"));
    if token_in_query || parts.headers.contains_key("x-amz-security-token") {
        // There are no session credentials; to ignore the token would widen what a session may do.
        return Err(s3_error!(InvalidToken));
    }
    let signed = match authorization {
        Some(value) => value.to_str().ok().and_then(signed_headers).map(str::to_owned),
        None => query.value("X-Amz-SignedHeaders").map(str::to_owned),
    };
    match signed {
        Some(names) if !names.split(';').any(|name| name.eq_ignore_ascii_case("host")) => {
            Err(s3_error!(AccessDenied, "The host header must be signed."))
        }
        _ => Ok(()),
    }
}

/// The `SignedHeaders` of an `Authorization` header.
fn signed_headers(authorization: &str) -> Option<&str> {
    let (_, rest) = authorization.split_once("SignedHeaders=")?;
    Some(rest.split(',').next().unwrap_or(rest).trim())
}

/// Uploads by HTML form are not built: `s3s` would hold them in memory before it asks who is
/// calling.
fn check_form(parts: &Parts) -> S3Result<()> {
    let form =
        parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(
            |value| value.trim_start().to_ascii_lowercase().starts_with("multipart/form-data"),
        );
    if parts.method == Method::POST && form {
        return Err(not_implemented("An upload by an HTML form"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[track_caller]
    fn code(method: &str, uri: &str, headers: &[(&'static str, &str)]) -> String {
        let mut request = Request::builder().method(method).uri(uri);
        if headers.iter().any(|(name, _)| *name == "authorization") {
            let given = |name| headers.iter().any(|(other, _)| *other == name);
            let with =
                [("x-amz-date", "20260102T030405Z"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
            for (name, value) in with.into_iter().filter(|(name, _)| !given(*name)) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        check(&parts).map_or_else(|error| error.code().as_str().to_owned(), |()| "ok".to_owned())
    }

    const SIGNED: (&str, &str) = (
        "authorization",
        "AWS4-HMAC-SHA256 Credential=a/20260102/us-east-1/s3/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=0",
    );

    #[test]
    fn headers_with_a_meaning_stand_once() {
        assert_eq!(code("GET", "/b", &[SIGNED]), "ok");
        for name in ["host", "x-amz-date", "x-amz-meta-a", "range", "content-md5", "authorization"]
        {
            assert_eq!(code("GET", "/b", &[(name, "1"), (name, "2")]), "InvalidRequest", "{name}");
        }
        assert_eq!(code("GET", "/b", &[("accept", "1"), ("accept", "2")]), "ok");
    }

    #[test]
    fn there_is_one_way_of_signing() {
        let query = "/b?X-Amz-Signature=0&X-Amz-SignedHeaders=host";
        assert_eq!(code("GET", query, &[]), "ok");
        assert_eq!(code("GET", query, &[SIGNED]), "InvalidArgument");
        assert_eq!(code("GET", "/b?x-amz-credential=0", &[SIGNED]), "InvalidArgument");
        assert_eq!(code("GET", "/b?AWSAccessKeyId=0", &[SIGNED]), "InvalidArgument");
        assert_eq!(code("GET", "/b?a=1&a=2", &[SIGNED]), "InvalidArgument");
    }

    #[test]
    fn the_host_is_signed() {
        let unsigned = "AWS4-HMAC-SHA256 Credential=a/1/us-east-1/s3/aws4_request, \
                        SignedHeaders=x-amz-date, Signature=0";
        assert_eq!(code("GET", "/b", &[("authorization", unsigned)]), "AccessDenied");
        assert_eq!(
            code("GET", "/b?X-Amz-SignedHeaders=x-amz-date&X-Amz-Signature=0", &[]),
            "AccessDenied"
        );
    }

    #[test]
    fn session_tokens_and_forms_are_refused() {
        assert_eq!(code("GET", "/b", &[SIGNED, ("x-amz-security-token", "t")]), "InvalidToken");
        assert_eq!(code("GET", "/b?X-Amz-Security-Token=t", &[]), "InvalidToken");
        let form = [("content-type", "Multipart/Form-Data; boundary=x")];
        assert_eq!(code("POST", "/b", &form), "NotImplemented");
    }

    #[test]
    fn heads_have_a_limit() {
        assert_eq!(code("GET", &format!("/{}", "k".repeat(URI_BYTES_MAX)), &[]), "URITooLong");
        let long = "v".repeat(HEADER_BYTES_MAX);
        assert_eq!(code("GET", "/b", &[("x-a", &long)]), "RequestHeaderSectionTooLarge");
    }

    #[test]
    fn host_and_authority_agree() {
        assert_eq!(code("GET", "http://a/b", &[("host", "a")]), "ok");
        assert_eq!(code("GET", "http://a/b", &[("host", "c")]), "InvalidRequest");
    }
}
