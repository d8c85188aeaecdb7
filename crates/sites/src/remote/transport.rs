//! HTTP to a site that is an attacker (I9, attack A23).
//!
//! **Invariant.** No redirect is followed, no body is decompressed, and no answer is longer than
//! what was asked for: each has its cap before the first byte is read.
//!
//! **Deliberately absent.** Deadlines of whole operations ([`crate::Guarded`]'s; dropping the
//! future closes the connection), and HTTP/2, whose many ways to hang a client buy a site of ours
//! nothing.
//!
//! **Crash.** Nothing is kept.

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, raw::Operation};
use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

/// A connection that is not there by then is not coming.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections kept open to one site.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long an idle one is kept: less than what stores and firewalls allow.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Headers of one answer; hyper caps their bytes at about 400 KiB.
const HEADERS_MAX: usize = 128;
/// Longest page of a listing: 1,000 names take half a megabyte.
pub(super) const LIST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest listing of a WebDAV collection, which comes in one piece: about a quarter of a million
/// names.
pub(super) const COLLECTION_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Longest answer that is neither a shard nor a listing.
const OTHER_BYTES_MAX: u64 = 1024 * 1024;
/// What is read of an error's body; the rest is not.
const ERROR_BYTES_MAX: u64 = 64 * 1024;

/// What a site answered that no honest one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the site redirects")]
    Redirect,
    #[error("the answer is longer than what was asked for")]
    TooLong,
    #[error("the answer is of another range")]
    OtherRange,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Unexpected, refusal.to_string()).set_source(refusal)
    }
}

/// The client of one site. Clones share its connections and counts.
#[derive(Clone)]
pub(super) struct Transport {
    client: reqwest::Client,
    requests: Arc<AtomicU64>,
    list_bytes_max: u64,
}

impl Transport {
    /// A client that trusts the system's authorities, and those in `authorities` (PEM) besides.
    pub(super) fn new(authorities: Option<&[u8]>, list_bytes_max: u64) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .http1_max_headers(HEADERS_MAX)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT);
        if let Some(pem) = authorities {
            let certificates = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|_| "ca_file holds no PEM certificates".to_owned())?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| error.without_url().to_string())?;
        Ok(Self { client, requests: Arc::default(), list_bytes_max })
    }

    /// Requests sent so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends a request and caps its answer.
    pub(super) async fn send(
        &self,
        request: Request<reqwest::Body>,
        wanted: Wanted,
    ) -> Result<Response<Capped>, Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let request = reqwest::Request::try_from(request).map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, error.without_url().to_string())
        })?;
        let answer = self.client.execute(request).await.map_err(unanswered)?;
        let (parts, body) = Response::<reqwest::Body>::from(answer).into_parts();
        let cap = wanted.cap(parts.status, &parts.headers)?;
        Ok(Response::from_parts(parts, Capped { body, cap }))
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>, Error> {
        let wanted = Wanted::by(&request, self.list_bytes_max);
        let request = request.map(|body| reqwest::Body::wrap(Pieces::from(body)));
        let (parts, body) = self.send(request, wanted).await?.into_parts();
        Ok(Response::from_parts(parts, HttpBody::new(body, None)))
    }
}

fn unanswered(error: reqwest::Error) -> Error {
    // The innermost cause says most ("connection refused"); the outer ones name the URL.
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Error::new(ErrorKind::Unexpected, cause.to_string()).set_temporary()
}

/// What the answer to a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Bytes of a shard from `start`.
    Range { start: u64, len: u64 },
    /// A whole shard, counted by its reader.
    Whole,
    /// At most this many bytes.
    Short(u64),
}

impl Wanted {
    /// The smallest cap that does for a write or a delete.
    pub(super) const OTHER: Self = Self::Short(OTHER_BYTES_MAX);

    fn by(request: &Request<Buffer>, list_bytes_max: u64) -> Self {
        let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
        if let Some((start, end)) = range.and_then(parse_range) {
            return Self::Range { start, len: (end - start).saturating_add(1) };
        }
        match request.extensions().get::<Operation>() {
            Some(Operation::Read) if request.method() == Method::GET => Self::Whole,
            Some(Operation::List) => Self::Short(list_bytes_max),
            _ => Self::OTHER,
        }
    }

    /// The cap of an answer with this head, or why it is not even begun.
    fn cap(self, status: StatusCode, headers: &HeaderMap) -> Result<Cap, Error> {
        // Without a place to go it is none: GCS says 308 for "go on" in the middle of an upload.
        if status.is_redirection() && headers.contains_key(header::LOCATION) {
            return Err(Refusal::Redirect.into());
        }
        if matches!(status.as_u16(), 401 | 402 | 407 | 507) {
            let detail = format!("the site answered {status}");
            return Err(Error::new(ErrorKind::PermissionDenied, detail));
        }
        if !status.is_success() {
            return Ok(Cap { left: ERROR_BYTES_MAX, cut: true });
        }
        let left = match self {
            Self::Range { start, len } => {
                let ignored = status == StatusCode::OK && start > 0;
                if ignored || content_range_start(headers).is_some_and(|other| other != start) {
                    return Err(Refusal::OtherRange.into());
                }
                len
            }
            Self::Whole => u64::MAX,
            Self::Short(bytes) => bytes,
        };
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if declared.and_then(|text| text.parse().ok()).is_some_and(|bytes: u64| bytes > left) {
            return Err(Refusal::TooLong.into());
        }
        Ok(Cap { left, cut: false })
    }
}

fn parse_range(value: &str) -> Option<(u64, u64)> {
    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start <= end).then_some((start, end))
}

fn content_range_start(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    value.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// Bytes that may still come; past them a body is cut off or refused.
struct Cap {
    left: u64,
    cut: bool,
}

/// A body that ends at its cap.
pub(super) struct Capped {
    body: reqwest::Body,
    cap: Cap,
}

impl Stream for Capped {
    type Item = Result<Buffer, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
            let mut bytes = match frame {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(unanswered(error)))),
                // Trailers say nothing that we would believe.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => bytes,
                    Err(_) => continue,
                },
            };
            if bytes.len() as u64 > self.cap.left {
                if !self.cap.cut {
                    return Poll::Ready(Some(Err(Refusal::TooLong.into())));
                }
                bytes.truncate(usize::try_from(self.cap.left).unwrap_or(usize::MAX));
                if bytes.is_empty() {
                    return Poll::Ready(None);
                }
            }
            self.cap.left -= bytes.len() as u64;
            return Poll::Ready(Some(Ok(Buffer::from(bytes))));
        }
    }
}

/// A request's body whose pieces are all there.
struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl From<Buffer> for Pieces {
    fn from(buffer: Buffer) -> Self {
        Self { left: buffer.len() as u64, pieces: buffer.collect() }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cap(wanted: Wanted, status: u16, headers: &[(&str, &str)]) -> Result<u64, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            map.insert(name, value.parse().unwrap());
        }
        let cap = wanted.cap(StatusCode::from_u16(status).unwrap(), &map);
        cap.map(|cap| cap.left).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_range_is_capped_at_its_length_and_must_begin_where_it_was_asked_for() {
        let wanted = Wanted::Range { start: 10, len: 5 };
        assert_eq!(cap(wanted, 206, &[("content-range", "bytes 10-14/99")]), Ok(5));
        let other = Err(Refusal::OtherRange.to_string());
        assert_eq!(cap(wanted, 206, &[("content-range", "bytes 0-4/99")]), other);
        assert_eq!(cap(wanted, 200, &[]), other, "a server that ignores ranges");
        let long = Err(Refusal::TooLong.to_string());
        assert_eq!(cap(wanted, 206, &[("content-length", "6")]), long);
        assert_eq!(cap(Wanted::Range { start: 0, len: 5 }, 200, &[]), Ok(5));
    }

    #[test]
    fn redirects_are_refused_wherever_they_come() {
        for wanted in [Wanted::Whole, Wanted::OTHER, Wanted::Range { start: 0, len: 1 }] {
            for status in [301, 302, 303, 307, 308] {
                let location = [("location", "http://169.254.169.254/")];
                assert_eq!(cap(wanted, status, &location), Err(Refusal::Redirect.to_string()));
            }
            assert_eq!(cap(wanted, 308, &[]), Ok(ERROR_BYTES_MAX), "a resumed upload at GCS");
        }
    }

    #[test]
    fn an_errors_body_is_cut_off() {
        assert_eq!(
            cap(Wanted::Whole, 500, &[("content-length", "999999999")]),
            Ok(ERROR_BYTES_MAX)
        );
    }
}
