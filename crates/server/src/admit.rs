//! From a signed request to one that may be acted on.
//!
//! `s3s` runs twice: its first instance only checks signatures and hands every request to [`Gate`],
//! which makes an [`Admitted`] of it; the second one, which no listener reaches, routes and parses.
//! In between stands what S3 does and `s3s` leaves out: unbuilt sub-resources and headers answer
//! 501, documents are verified against their digests, and headers that S3 ignores when they are
//! malformed do not fail the request.
//!
//! **Invariant.** An operation runs only for a request whose signature was checked here, and only
//! if every header and parameter that changes its meaning is built. Never a false 200.
//!
//! **Deliberately absent.** What the operations do.
//!
//! **Crash.** Nothing was stored yet.

use crate::body::failure;
use crate::checksum::Declared;
use crate::config::DOCUMENT_BYTES_MAX;
use crate::context::{Admission, Admitted, Principal, RequestContext};
use crate::credentials::Credentials;
use crate::error::slow_down;
use crate::error_document::Asked;
use crate::features;
use crate::hosts::Domains;
use crate::keepalive::{self, Answering, may_wait};
use crate::query::Query;
use crate::s3::conditions::Conditions;
use crate::s3::range::ByteRange;
use crate::turns::Turns;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use havre_model::ports::Runtime;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::{ParseS3PathError, S3Path, parse_virtual_hosted_style};
use s3s::route::S3Route;
use s3s::service::S3Service;
use s3s::stream::ByteStream as _;
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

/// Headers that end here: they were checked, or are carried in [`Admitted`].
const CONSUMED: [&str; 14] = [
    "authorization",
    "content-md5",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "range",
    "x-amz-content-sha256",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
];

/// System metadata, which clients send in UTF-8 although a header is ASCII.
const TEXT_HEADERS: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

/// `response-*` parameters and the header that each sets.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-cache-control", header::CACHE_CONTROL),
    ("response-content-disposition", header::CONTENT_DISPOSITION),
    ("response-content-encoding", header::CONTENT_ENCODING),
    ("response-content-language", header::CONTENT_LANGUAGE),
    ("response-content-type", header::CONTENT_TYPE),
    ("response-expires", header::EXPIRES),
];

/// The way from the first instance of `s3s` to the second.
pub(crate) struct Gate {
    pub(crate) turns: Arc<Turns>,
    pub(crate) inner: S3Service,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) domains: Domains,
    pub(crate) runtime: Arc<dyn Runtime>,
}

#[async_trait::async_trait]
impl S3Route for Gate {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut http::Extensions) -> bool {
        true
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let Onward { request, document, may_wait, asked } = self.admit(request).await?;
        let inner = self.inner.clone();
        let answering = async move {
            let response = inner.call(request).await;
            drop(document);
            response
        };
        // What is polled after this function returned must not log either.
        let answering: Answering = Box::pin(answering.with_subscriber(Dispatch::none()));
        let answer = if may_wait {
            keepalive::answer(answering, self.runtime.clone()).await
        } else {
            answering.await
        };
        let response = answer.map_err(|error| {
            tracing::error!(error = %error, "write a response");
            s3_error!(InternalError)
        })?;
        let (mut parts, body) = response.into_parts();
        if parts.status == StatusCode::OK && parts.headers.contains_key(header::CONTENT_RANGE) {
            // `s3s` knows 206 for GET only.
            parts.status = StatusCode::PARTIAL_CONTENT;
        }
        let mut answer = S3Response::with_headers(body, parts.headers);
        answer.status = Some(parts.status);
        answer.extensions = parts.extensions;
        if parts.status.is_client_error() || parts.status.is_server_error() {
            answer.extensions.insert(Arc::new(asked));
        }
        Ok(answer)
    }
}

/// A document in memory, counted against all the others.
type Document = Option<OwnedSemaphorePermit>;

/// A request for the second instance.
struct Onward {
    request: Request<Body>,
    document: Document,
    /// Whether its answer may begin before it is known.
    may_wait: bool,
    asked: Asked,
}

impl Gate {
    async fn admit(&self, request: S3Request<Body>) -> S3Result<Onward> {
        let S3Request {
            input,
            method,
            uri,
            mut headers,
            extensions,
            credentials,
            trailing_headers,
            ..
        } = request;
        let signer = credentials.ok_or_else(|| s3_error!(AccessDenied, "Access Denied"))?;
        let credential = self
            .credentials
            .credential(&signer.access_key)
            .ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        self.take_turn(&extensions).await?;
        let path = self.path(&uri, &headers)?;
        let query = Query::parse(uri.query())?;
        features::check(&method, &path, &query, &headers)?;
        let declared = declared(&method, &path, &query, &headers, trailing_headers)?;
        let copies = headers.contains_key("x-amz-copy-source");
        let may_wait = may_wait(&method, &path, copies, query.value("uploadId").is_some());
        let upload = is_upload(&method, &path, &headers);
        let (body, document) = if upload {
            check_length(&headers, &input)?;
            (input, None)
        } else {
            let (bytes, document) = self.document(&headers, input).await?;
            if declared.is_some() {
                let mut verifier = declared.clone().verifier(None);
                verifier.update(&bytes);
                verifier.verified()?;
            }
            (Body::from(bytes), document)
        };
        let admitted = Admitted {
            principal: Principal { tenant: credential.tenant, secret: credential.secret },
            conditions: Conditions::of_request(&headers)?,
            source_conditions: Conditions::of_copy_source(&headers)?,
            range: range(&headers),
            overrides: overrides(&query)?,
            declared,
        };
        let asked = Asked::of(path, &query, &headers);
        consume(&mut headers);
        let mut inner = Request::new(body);
        *inner.method_mut() = method;
        *inner.uri_mut() = rest(&uri, &query)?;
        *inner.headers_mut() = headers;
        *inner.extensions_mut() = extensions;
        inner.extensions_mut().insert(Admission(Arc::new(admitted)));
        Ok(Onward { request: inner, document, may_wait, asked })
    }

    /// Waits until the request may be worked on. Nothing of its body is in memory yet.
    async fn take_turn(&self, extensions: &http::Extensions) -> S3Result<()> {
        let context = extensions.get::<Arc<RequestContext>>();
        let context = context.ok_or_else(|| s3_error!(InternalError))?;
        let turn = self.turns.take(&context.client).await.ok_or_else(slow_down)?;
        *context.turn.lock() = Some(turn);
        Ok(())
    }

    /// Bucket and key. A bucket that ends at an encoded slash for us and not for a proxy is refused
    /// (B9).
    fn path(&self, uri: &Uri, headers: &HeaderMap) -> S3Result<S3Path> {
        let host =
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let bucket = self.domains.bucket(host);
        let first = uri.path().split('/').nth(1).unwrap_or_default();
        if bucket.is_none() && first.contains('%') {
            return Err(s3_error!(InvalidBucketName));
        }
        let path =
            percent_decode_str(uri.path()).decode_utf8().map_err(|_| s3_error!(InvalidURI))?;
        if path.contains('\0') {
            return Err(s3_error!(InvalidURI));
        }
        parse_virtual_hosted_style(bucket.as_deref(), &path).map_err(|error| match error {
            ParseS3PathError::InvalidPath => s3_error!(InvalidURI),
            ParseS3PathError::InvalidBucketName => s3_error!(InvalidBucketName),
            ParseS3PathError::KeyTooLong => s3_error!(KeyTooLongError),
        })
    }

    /// Reads a document into memory.
    async fn document(&self, headers: &HeaderMap, body: Body) -> S3Result<(Bytes, Document)> {
        let length = body.remaining_length().exact().or_else(|| content_length(headers));
        let length = length.ok_or_else(|| s3_error!(MissingContentLength))?;
        if length > DOCUMENT_BYTES_MAX {
            return Err(s3_error!(MaxMessageLengthExceeded));
        }
        let counted = u32::try_from(length).map_err(|_| s3_error!(MaxMessageLengthExceeded))?;
        let permit = if length == 0 {
            None
        } else {
            Some(self.turns.document(counted).await.ok_or_else(slow_down)?)
        };
        let mut body = body;
        let bytes = body.store_all_limited(length).await.map_err(|error| failure(&*error).1)?;
        if bytes.len() != length {
            return Err(s3_error!(IncompleteBody));
        }
        Ok((bytes, permit))
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the body is an object's or a part's bytes.
fn is_upload(method: &Method, path: &S3Path, headers: &HeaderMap) -> bool {
    *method == Method::PUT
        && path.as_object().is_some()
        && !headers.contains_key("x-amz-copy-source")
}

/// S3 takes no upload that does not say how long it is: not even an empty one, because HTTP/1.1
/// takes a body that was forgotten for an empty one.
fn check_length(headers: &HeaderMap, body: &Body) -> S3Result<()> {
    let decoded = headers.contains_key("x-amz-decoded-content-length")
        && body.remaining_length().exact().is_some();
    let known = decoded || content_length(headers).is_some();
    if known { Ok(()) } else { Err(s3_error!(MissingContentLength)) }
}

/// What is declared of the body. The checksums of a completion are the object's, not the
/// document's.
fn declared(
    method: &Method,
    path: &S3Path,
    query: &Query<'_>,
    headers: &HeaderMap,
    trailers: Option<s3s::TrailingHeaders>,
) -> S3Result<Declared> {
    let post = *method == Method::POST;
    if post && path.as_object().is_some() {
        let mut digests = HeaderMap::new();
        if let Some(md5) = headers.get("content-md5") {
            digests.insert("content-md5", md5.clone());
        }
        return Declared::of(&digests, trailers);
    }
    let declared = Declared::of(headers, trailers)?;
    if post && query.value("delete").is_some() && !declared.is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "Missing required header for this request: Content-MD5"
        ));
    }
    Ok(declared)
}

fn range(headers: &HeaderMap) -> Option<ByteRange> {
    ByteRange::parse(headers.get(header::RANGE)?.to_str().ok()?)
}

fn overrides(query: &Query<'_>) -> S3Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (parameter, name) in OVERRIDES {
        let Some(text) = query.value(parameter) else { continue };
        let value = text_value(text.as_bytes())
            .ok_or_else(|| s3_error!(InvalidArgument, "The value of {parameter} is not valid."))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A header value of text: as it is if it is ASCII, otherwise in RFC 2047 form; `None` with control
/// characters, which could end the header (B23).
fn text_value(text: &[u8]) -> Option<HeaderValue> {
    let text = std::str::from_utf8(text).ok()?;
    if text.chars().any(char::is_control) {
        return None;
    }
    if text.is_ascii() {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("=?UTF-8?B?{}?=", BASE64.encode(text))).ok()
}

fn consume(headers: &mut HeaderMap) {
    for name in CONSUMED {
        headers.remove(name);
    }
    for name in TEXT_HEADERS {
        if let Some(value) = headers.get_mut(name)
            && !value.as_bytes().is_ascii()
            && let Some(encoded) = text_value(value.as_bytes())
        {
            *value = encoded;
        }
    }
}

/// Path and query without what was read of them.
fn rest(uri: &Uri, query: &Query<'_>) -> S3Result<Uri> {
    let kept = query.rest();
    let text =
        if kept.is_empty() { uri.path().to_owned() } else { format!("{}?{kept}", uri.path()) };
    text.parse().map_err(|_| s3_error!(InvalidURI))
}

/// Secrets for the first instance of `s3s`.
pub(crate) struct Secrets(pub(crate) Arc<dyn Credentials>);

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let credential = self.0.credential(access_key);
        credential.map(|known| known.secret).ok_or_else(|| s3_error!(InvalidAccessKeyId))
    }
}

/// The second instance knows no secrets: nothing is signed there any more.
pub(crate) struct NoSecrets;

#[async_trait::async_trait]
impl S3Auth for NoSecrets {
    async fn get_secret_key(&self, _: &str) -> S3Result<SecretKey> {
        Err(s3_error!(AccessDenied, "Access Denied"))
    }
}

/// The second instance lets through what the gate admitted.
pub(crate) struct OnlyAdmitted;

#[async_trait::async_trait]
impl S3Access for OnlyAdmitted {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = context.s3_op().name().to_owned();
        let extensions = context.extensions_mut();
        if let Some(request) = extensions.get::<Arc<RequestContext>>() {
            request.set_operation(&operation);
        }
        match extensions.get::<Admission>() {
            Some(_) => Ok(()),
            None => Err(s3_error!(AccessDenied, "Access Denied")),
        }
    }
}
