//! Metadata of objects: from request headers into records, and back into response headers.
//!
//! **Invariant.** What is stored is what the client signed; what S3 has limits for is within them.
//!
//! **Deliberately absent.** RFC 2047: `s3s` decodes `x-amz-meta-*` on the way in and encodes it on
//! the way out; system metadata that is not ASCII is encoded by `admit` and stored so.
//!
//! **Crash.** Values only.

use crate::error::{custom, not_implemented};
use crate::query::Query;
use havre_model::limits::USER_METADATA_BYTES_MAX;
use havre_model::record::Metadata;
use http::{HeaderMap, StatusCode};
use s3s::{S3Result, s3_error};
use std::collections::HashMap;

/// What S3 says of an object whose client did not say.
pub(crate) const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";
/// S3's tags of one object.
const TAGS_MAX: usize = 10;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
/// Bytes of the redirect location, S3's limit.
const REDIRECT_BYTES_MAX: usize = 2048;

/// Storage classes whose objects can be read at once: the class is kept as the label that it is.
const LABELS: [&str; 5] =
    ["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY"];
/// Storage classes that promise what is not done here.
const UNSUPPORTED: [&str; 6] =
    ["GLACIER", "DEEP_ARCHIVE", "OUTPOSTS", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS"];

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// `Content-Encoding` without the framing of the upload, which is not the object's.
fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, "content-encoding")?;
    let kept: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn storage_class(headers: &HeaderMap) -> S3Result<Option<String>> {
    match text(headers, "x-amz-storage-class") {
        None => Ok(None),
        Some(class) if class == "STANDARD" => Ok(None),
        Some(class) if LABELS.contains(&class.as_str()) => Ok(Some(class)),
        Some(class) if UNSUPPORTED.contains(&class.as_str()) => {
            Err(not_implemented("The storage class"))
        }
        Some(_) => Err(s3_error!(InvalidStorageClass)),
    }
}

fn website_redirect(headers: &HeaderMap) -> S3Result<Option<String>> {
    let Some(location) = text(headers, "x-amz-website-redirect-location") else { return Ok(None) };
    let known = ["/", "http://", "https://"].iter().any(|start| location.starts_with(start));
    if !known || location.len() > REDIRECT_BYTES_MAX {
        return Err(custom(
            StatusCode::BAD_REQUEST,
            "InvalidRedirectLocation",
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
        ));
    }
    Ok(Some(location))
}

/// The tags of `x-amz-tagging`, which are written like a query.
pub(crate) fn tags(headers: &HeaderMap) -> S3Result<Vec<(String, String)>> {
    let Some(text) = text(headers, "x-amz-tagging") else { return Ok(Vec::new()) };
    let invalid = || {
        s3_error!(
            InvalidArgument,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query \
             parameters without tag name duplicates."
        )
    };
    let query = Query::parse(Some(&text)).map_err(|_| invalid())?;
    let tags: Vec<(String, String)> = query
        .iter()
        .map(|parameter| {
            (parameter.name.clone().into_owned(), parameter.value.clone().into_owned())
        })
        .collect();
    if tags.len() > TAGS_MAX {
        return Err(custom(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "Object tags cannot be greater than 10",
        ));
    }
    for (key, value) in &tags {
        let key_chars = key.chars().count();
        if key_chars == 0 || key_chars > TAG_KEY_CHARS_MAX {
            return Err(s3_error!(InvalidTag, "The TagKey you have provided is invalid"));
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX {
            return Err(s3_error!(InvalidTag, "The TagValue you have provided is invalid"));
        }
    }
    Ok(tags)
}

/// User metadata, sorted; names are in lower case already.
fn user(entries: Option<HashMap<String, String>>) -> S3Result<Vec<(String, String)>> {
    let mut entries: Vec<(String, String)> = entries.unwrap_or_default().into_iter().collect();
    let bytes: usize = entries.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > USER_METADATA_BYTES_MAX {
        return Err(s3_error!(MetadataTooLarge));
    }
    entries.sort();
    Ok(entries)
}

/// The metadata that a write sets.
///
/// # Errors
/// When it is over a limit of S3's, or promises what is not done here.
pub(crate) fn of_request(
    headers: &HeaderMap,
    entries: Option<HashMap<String, String>>,
) -> S3Result<Metadata> {
    Ok(Metadata {
        content_type: text(headers, "content-type"),
        content_encoding: content_encoding(headers),
        content_language: text(headers, "content-language"),
        content_disposition: text(headers, "content-disposition"),
        cache_control: text(headers, "cache-control"),
        expires: text(headers, "expires"),
        website_redirect: website_redirect(headers)?,
        storage_class: storage_class(headers)?,
        user: user(entries)?,
        tags: tags(headers)?,
    })
}

/// The metadata of a copy that keeps the source's: S3 does not keep storage class and redirect.
pub(crate) fn of_copy(headers: &HeaderMap, source: &Metadata) -> S3Result<Metadata> {
    Ok(Metadata {
        website_redirect: website_redirect(headers)?,
        storage_class: storage_class(headers)?,
        ..source.clone()
    })
}

/// User metadata as `s3s` takes it.
pub(crate) fn user_map(metadata: &Metadata) -> Option<HashMap<String, String>> {
    (!metadata.user.is_empty()).then(|| metadata.user.iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[track_caller]
    fn code(pairs: &[(&'static str, &str)]) -> String {
        of_request(&headers(pairs), None)
            .map_or_else(|e| e.code().as_str().to_owned(), |_| "ok".into())
    }

    #[test]
    fn the_framing_of_an_upload_is_not_the_objects_encoding() {
        let encoding = |value| content_encoding(&headers(&[("content-encoding", value)]));
        assert_eq!(encoding("aws-chunked"), None);
        assert_eq!(encoding("gzip, aws-chunked").as_deref(), Some("gzip"));
        assert_eq!(encoding("aws-chunked,gzip,br").as_deref(), Some("gzip,br"));
    }

    #[test]
    fn storage_classes_are_kept_as_labels_or_refused() {
        assert_eq!(code(&[("x-amz-storage-class", "STANDARD")]), "ok");
        assert_eq!(code(&[("x-amz-storage-class", "STANDARD_IA")]), "ok");
        assert_eq!(code(&[("x-amz-storage-class", "DEEP_ARCHIVE")]), "NotImplemented");
        assert_eq!(code(&[("x-amz-storage-class", "FAST")]), "InvalidStorageClass");
    }

    #[test]
    fn tags_are_decoded_and_limited() {
        let parsed =
            tags(&headers(&[("x-amz-tagging", "a=1&b%20c=%C3%BC&d")])).expect("valid tags");
        let expected = [("a", "1"), ("b c", "ü"), ("d", "")];
        assert!(parsed.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected));
        assert_eq!(code(&[("x-amz-tagging", "a=1&a=2")]), "InvalidArgument");
        assert_eq!(code(&[("x-amz-tagging", &"k".repeat(129))]), "InvalidTag");
        let eleven: Vec<String> = (0..11).map(|n| format!("k{n}=v")).collect();
        assert_eq!(code(&[("x-amz-tagging", &eleven.join("&"))]), "BadRequest");
    }

    #[test]
    fn user_metadata_has_a_limit_of_2_kib() {
        let entries = |bytes: usize| Some(HashMap::from([("k".to_owned(), "v".repeat(bytes - 1))]));
        assert!(user(entries(2048)).is_ok());
        assert!(user(entries(2049)).is_err());
    }
}
