//! What is built, request by request: everything else answers 501, never a false 200.
//!
//! **Invariant.** A write passes only if every query parameter and every `x-amz-*` header of it is
//! one that its operation acts on. A read passes unless it names a sub-resource that is not built
//! for it; other parameters of a read are ignored, as S3 does.
//!
//! **Deliberately absent.** The values' meaning, where an operation looks at it anyway.
//!
//! **Crash.** Values only.

use crate::error::{custom, not_implemented};
use crate::query::Query;
use http::{HeaderMap, Method, StatusCode};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

/// The sub-resources of S3, and the parameters that turn one operation into another.
const SUBRESOURCES: [&str; 50] = [
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "annotationName",
    "append",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "events",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "select-type",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
    "x-amz-copy-source",
    "x-amz-acl",
    "x-amz-object-attributes",
];

/// Of those, the ones that choose an operation: two of them in one request contradict each other.
const SELECTORS: [&str; 9] = [
    "acl",
    "attributes",
    "delete",
    "location",
    "tagging",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
];

/// The `x-amz-*` headers that writes act on, beside `x-amz-meta-*` and the checksums.
const WRITE_HEADERS: [&str; 29] = [
    "x-amz-acl",
    "x-amz-api-version",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-bypass-governance-retention",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-type",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-object-ownership",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-server-side-encryption",
    "x-amz-source-expected-bucket-owner",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-tagging-directive",
    "x-amz-trailer",
    "x-amz-user-agent",
    "x-amz-website-redirect-location",
];

/// The canned access control lists of S3; with ACLs off the first two say what holds anyway.
const CANNED_ACLS: [&str; 8] = [
    "private",
    "bucket-owner-full-control",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "log-delivery-write",
];
const CANNED_ACLS_TRUE: usize = 2;

/// Headers of reads that would change what is read.
const READ_HEADERS_UNBUILT: [&str; 2] =
    ["x-amz-server-side-encryption-customer-", "x-amz-create-session-mode"];

/// Parameters of reads that are lists and filters, not sub-resources.
fn built(method: &Method, path: &S3Path) -> &'static [&'static str] {
    match (method.as_str(), path) {
        ("GET", S3Path::Bucket { .. }) => &["acl", "location", "uploads", "versioning", "versions"],
        ("GET", S3Path::Object { .. }) => {
            &["acl", "attributes", "partNumber", "tagging", "uploadId", "versionId"]
        }
        ("HEAD", S3Path::Object { .. }) => &["partNumber", "versionId"],
        ("PUT", S3Path::Object { .. }) => &["partNumber", "uploadId"],
        ("POST", S3Path::Bucket { .. }) => &["delete"],
        ("POST", S3Path::Object { .. }) => &["uploadId", "uploads"],
        ("DELETE", S3Path::Object { .. }) => &["uploadId", "versionId"],
        _ => &[],
    }
}

/// Checks what a request asks for.
///
/// # Errors
/// 501 for what is not built, 400 for what contradicts itself.
pub(crate) fn check(
    method: &Method,
    path: &S3Path,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> S3Result<()> {
    if !is_known(method, path, query) {
        return Err(s3_error!(MethodNotAllowed));
    }
    let reads = *method == Method::GET || *method == Method::HEAD;
    check_query(method, path, query, reads)?;
    if reads {
        return check_read_headers(headers);
    }
    check_write_headers(headers)?;
    if headers.contains_key("x-amz-copy-source-range") && query.value("partNumber").is_none() {
        // Only parts are copied in ranges: the whole would be a false 200.
        return Err(not_implemented("The range of an object that is copied"));
    }
    Ok(())
}

/// Whether S3 has this method at such a place: what it has nowhere is not unbuilt but not allowed.
fn is_known(method: &Method, path: &S3Path, query: &Query<'_>) -> bool {
    let anywhere = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];
    match path {
        S3Path::Root => *method == Method::GET,
        S3Path::Object { .. } if *method == Method::POST => {
            query.iter().any(|parameter| !parameter.authenticates() && parameter.name != "x-id")
        }
        // OPTIONS asks for CORS, which is not built.
        _ => anywhere.contains(method) || *method == Method::OPTIONS,
    }
}

fn check_query(method: &Method, path: &S3Path, query: &Query<'_>, reads: bool) -> S3Result<()> {
    let built = built(method, path);
    for parameter in query.iter() {
        let name: &str = &parameter.name;
        let passes = built.contains(&name)
            || parameter.authenticates()
            || name == "x-id"
            || (reads && !SUBRESOURCES.contains(&name));
        if !passes {
            return Err(not_implemented("A query parameter"));
        }
    }
    let selectors = query.iter().filter(|parameter| SELECTORS.contains(&&*parameter.name)).count();
    if selectors > 1 {
        return Err(s3_error!(InvalidArgument, "Conflicting query string parameters"));
    }
    let (part, upload) = (query.value("partNumber"), query.value("uploadId"));
    if *method == Method::PUT && part.is_some() != upload.is_some() {
        return Err(s3_error!(
            InvalidArgument,
            "This operation takes partNumber and uploadId together."
        ));
    }
    if query.value("versionId").is_some_and(|version| version != "null") {
        // Buckets are not versioned yet: the null version is the only one there is.
        return Err(s3_error!(InvalidArgument, "Invalid version id specified"));
    }
    Ok(())
}

fn check_read_headers(headers: &HeaderMap) -> S3Result<()> {
    let unbuilt = headers
        .keys()
        .any(|name| READ_HEADERS_UNBUILT.iter().any(|start| name.as_str().starts_with(start)));
    if unbuilt { Err(not_implemented("A header you provided")) } else { Ok(()) }
}

fn check_write_headers(headers: &HeaderMap) -> S3Result<()> {
    for name in headers.keys() {
        let name = name.as_str();
        if name.starts_with("x-amz-grant-") {
            return Err(acls_are_off());
        }
        let passes = !name.starts_with("x-amz-")
            || name.starts_with("x-amz-meta-")
            || name.starts_with("x-amz-checksum-")
            || WRITE_HEADERS.contains(&name);
        if !passes {
            return Err(not_implemented("A header you provided"));
        }
    }
    let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let framed = value("content-encoding")
        .is_some_and(|text| text.to_ascii_lowercase().contains("aws-chunked"));
    let streamed = value("x-amz-content-sha256").is_some_and(|text| text.starts_with("STREAMING-"));
    if framed && !streamed {
        // The framing would be stored as the object.
        return Err(s3_error!(
            InvalidRequest,
            "The content encoding aws-chunked needs a streaming x-amz-content-sha256."
        ));
    }
    match value("x-amz-server-side-encryption") {
        // What is stored is always encrypted under AES-256, so this much is promised truly.
        None | Some("AES256") => {}
        Some("aws:kms" | "aws:kms:dsse" | "aws:fsx") => {
            return Err(not_implemented("The encryption"));
        }
        Some(_) => {
            return Err(s3_error!(
                InvalidArgument,
                "The encryption method specified is not supported"
            ));
        }
    }
    match value("x-amz-bucket-object-lock-enabled").map(str::to_ascii_lowercase).as_deref() {
        None | Some("false") => {}
        Some(_) => return Err(not_implemented("Object lock")),
    }
    match value("x-amz-object-ownership") {
        None | Some("BucketOwnerEnforced") => {}
        Some("BucketOwnerPreferred" | "ObjectWriter") => {
            return Err(not_implemented("The object ownership"));
        }
        Some(_) => return Err(s3_error!(InvalidArgument, "Invalid x-amz-object-ownership header")),
    }
    let Some(acl) = value("x-amz-acl") else { return Ok(()) };
    match CANNED_ACLS.iter().position(|canned| *canned == acl) {
        Some(index) if index < CANNED_ACLS_TRUE => Ok(()),
        Some(_) => Err(acls_are_off()),
        None => Err(s3_error!(InvalidArgument, "The canned ACL is not one of S3's")),
    }
}

/// What S3 answers for a bucket whose owner owns every object in it, the default since 2023.
fn acls_are_off() -> s3s::S3Error {
    custom(
        StatusCode::BAD_REQUEST,
        "AccessControlListNotSupported",
        "The bucket does not allow ACLs",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn code(request: &str, headers: &[(&'static str, &str)]) -> String {
        let (method, uri) = request.split_once(' ').expect("method and path");
        let (path, query) =
            uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
        let path = s3s::path::parse_path_style(path).expect("a valid path");
        let query = Query::parse(query).expect("a valid query");
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect();
        check(&method.parse().expect("a method"), &path, &query, &headers)
            .map_or_else(|error| error.code().as_str().to_owned(), |()| "ok".to_owned())
    }

    #[test]
    fn operations_that_are_built_pass() {
        for request in [
            "GET /",
            "PUT /bucket",
            "HEAD /bucket",
            "GET /bucket?list-type=2&prefix=a",
            "GET /bucket?location",
            "POST /bucket?delete",
            "PUT /bucket/key?x-id=PutObject",
            "PUT /bucket/key?partNumber=1&uploadId=2",
            "GET /bucket/key?response-content-type=a&cache-buster=1",
            "DELETE /bucket/key?versionId=null",
        ] {
            assert_eq!(code(request, &[]), "ok", "{request}");
        }
    }

    #[test]
    fn sub_resources_that_are_not_built_answer_501() {
        for request in [
            "PUT /bucket?acl",
            "PUT /bucket?policy",
            "PUT /bucket?versioning",
            "GET /bucket?policy",
            "DELETE /bucket?logging",
            "DELETE /bucket?x-new-feature",
            "PUT /bucket/key?tagging",
            "PUT /bucket/key?acl",
            "PUT /bucket/key?retention&versionId=null",
            "PUT /bucket/key?new-feature",
            "HEAD /bucket/key?acl",
            "GET /bucket/key?torrent",
            "POST /bucket/key?restore",
            "POST /bucket/key?select&select-type=2",
            "DELETE /bucket/key?tagging",
        ] {
            assert_eq!(code(request, &[]), "NotImplemented", "{request}");
        }
    }

    #[test]
    fn what_s3_has_nowhere_is_not_allowed() {
        for request in [
            "HEAD /",
            "PUT /",
            "POST /",
            "DELETE /",
            "PATCH /bucket",
            "TRACE /bucket/key",
            "PROPFIND /bucket",
            "POST /bucket/key",
            "POST /bucket/key?x-id=PutObject&X-Amz-Date=1",
        ] {
            assert_eq!(code(request, &[]), "MethodNotAllowed", "{request}");
        }
    }

    #[test]
    fn only_parts_are_copied_in_ranges() {
        let range = [("x-amz-copy-source", "/b/k"), ("x-amz-copy-source-range", "bytes=0-1")];
        assert_eq!(code("PUT /bucket/key", &range), "NotImplemented");
        assert_eq!(code("PUT /bucket/key?partNumber=1&uploadId=2", &range), "ok");
    }

    #[test]
    fn values_that_s3_does_not_know_are_invalid() {
        for (name, value) in [
            ("x-amz-acl", "public"),
            ("x-amz-acl", ""),
            ("x-amz-server-side-encryption", "aes256"),
            ("x-amz-object-ownership", "Nobody"),
        ] {
            assert_eq!(code("PUT /bucket/key", &[(name, value)]), "InvalidArgument", "{name}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for request in [
            "GET /bucket?acl&location",
            "POST /bucket/key?uploads&uploadId=1",
            "PUT /bucket/key?uploadId=1",
            "PUT /bucket/key?partNumber=1",
            "GET /bucket/key?versionId=1",
        ] {
            assert_eq!(code(request, &[]), "InvalidArgument", "{request}");
        }
    }

    #[test]
    fn headers_of_writes_that_are_not_built_answer_501() {
        for (name, value) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "k"),
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-legal-hold", "ON"),
            ("x-amz-bucket-object-lock-enabled", "true"),
            ("x-amz-write-offset-bytes", "1"),
            ("x-amz-object-ownership", "ObjectWriter"),
            ("x-amz-mfa", "1"),
            ("x-amz-new-feature", "1"),
        ] {
            assert_eq!(code("PUT /bucket/key", &[(name, value)]), "NotImplemented", "{name}");
        }
        let sse = [("x-amz-server-side-encryption-customer-key", "k")];
        assert_eq!(code("GET /bucket/key", &sse), "NotImplemented");
    }

    #[test]
    fn framing_that_is_not_taken_off_is_not_stored() {
        let framed = ("content-encoding", "gzip, AWS-Chunked");
        assert_eq!(code("PUT /bucket/key", &[framed]), "InvalidRequest");
        let streamed = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        assert_eq!(code("PUT /bucket/key", &[framed, streamed]), "ok");
    }

    #[test]
    fn acls_other_than_the_owners_are_refused() {
        assert_eq!(code("PUT /bucket/key", &[("x-amz-acl", "private")]), "ok");
        for header in [("x-amz-acl", "public-read"), ("x-amz-grant-read", "id=1")] {
            assert_eq!(code("PUT /bucket/key", &[header]), "AccessControlListNotSupported");
        }
    }
}
