//! Responses on their way out.
//!
//! **Invariant.** A body is as long as its `Content-Length` says, or the connection fails (I4). The
//! log line is written once, when the body ended or was given up. Its bytes keep the request's turn
//! until they are sent.
//!
//! **Deliberately absent.** Copies: frames pass as they are.
//!
//! **Crash.** Nothing is stored here.

use crate::context::RequestContext;
use crate::error_document::{Answer, Asked, amended};
use crate::s3::Substitutes;
use crate::tally::Tally;
use crate::turns::{Client, Turn, holding};
use bytes::Bytes;
use havre_model::ports::Clock;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use s3s::Body;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// When a client that got 503 should come again.
const RETRY_AFTER_SECONDS: &str = "1";

/// A body ended before its declared length.
#[derive(Debug, thiserror::Error)]
#[error("the response is shorter than its declared length")]
struct Short;

/// What is logged and counted of one request.
pub(crate) struct Log {
    context: Arc<RequestContext>,
    status: StatusCode,
    began: Duration,
    bytes_in: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
}

impl Log {
    pub(crate) const fn new(
        context: Arc<RequestContext>,
        status: StatusCode,
        began: Duration,
        bytes_in: Arc<AtomicU64>,
        clock: Arc<dyn Clock>,
        tally: Arc<Tally>,
    ) -> Self {
        Self { context, status, began, bytes_in, clock, tally }
    }

    fn write(&self, bytes_out: u64, complete: bool) {
        let took = self.clock.elapsed().saturating_sub(self.began);
        let operation = self.context.operation();
        let bytes_in = self.bytes_in.load(Ordering::Relaxed);
        let code = code_label(self.status);
        self.tally.count(operation, self.status, complete, took);
        metrics::counter!("havre_s3_requests_total", "operation" => operation, "code" => code)
            .increment(1);
        metrics::histogram!("havre_s3_seconds", "operation" => operation)
            .record(took.as_secs_f64());
        metrics::counter!("havre_s3_bytes_in_total").increment(bytes_in);
        metrics::counter!("havre_s3_bytes_out_total").increment(bytes_out);
        if !complete {
            metrics::counter!("havre_s3_aborted_total", "operation" => operation).increment(1);
        }
        tracing::dispatcher::with_default(&self.context.log, || {
            tracing::info!(
                request_id = %self.context.id,
                operation,
                status = self.status.as_u16(),
                bytes_in,
                bytes_out,
                complete,
                duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                "request"
            );
        });
    }
}

/// Status codes as labels: a fixed set, without an allocation each.
fn code_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        204 => "204",
        206 => "206",
        304 => "304",
        400 => "400",
        403 => "403",
        404 => "404",
        409 => "409",
        411 => "411",
        412 => "412",
        416 => "416",
        500 => "500",
        501 => "501",
        503 => "503",
        other if other < 400 => "other",
        other if other < 500 => "4xx",
        _ => "5xx",
    }
}

/// The body of a response.
pub(crate) struct ResponseBody {
    inner: Body,
    declared: Option<u64>,
    bytes: u64,
    client: Arc<Client>,
    turn: Option<Arc<Turn>>,
    log: Option<Log>,
}

impl ResponseBody {
    pub(crate) fn new(inner: Body, log: Log) -> Self {
        let client = log.context.client.clone();
        let turn = log.context.turn.lock().take().map(Arc::new);
        Self { inner, declared: None, bytes: 0, client, turn, log: Some(log) }
    }

    /// The same, of exactly so many bytes.
    pub(crate) const fn of_length(mut self, declared: Option<u64>) -> Self {
        self.declared = declared;
        self
    }

    fn end(&mut self, complete: bool) {
        if let Some(log) = self.log.take() {
            log.write(self.bytes, complete);
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // Asked for more, the connection has room again.
        self.client.moved(0);
        let mut frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_mut() {
                    self.bytes += bytes.len() as u64;
                    self.client.moved(bytes.len() as u64);
                    if let Some(turn) = &self.turn {
                        *bytes = holding(std::mem::take(bytes), turn);
                    }
                }
                self.client.wait();
                if self.declared == Some(self.bytes) {
                    self.end(true);
                }
            }
            Some(Err(error)) => {
                let id = self.log.as_ref().map(|log| log.context.id.clone()).unwrap_or_default();
                tracing::warn!(request_id = %id, error = %error, "send a response");
                self.end(false);
            }
            None if self.declared.is_some_and(|declared| declared != self.bytes) => {
                self.end(false);
                return Poll::Ready(Some(Err(Box::new(Short))));
            }
            None => self.end(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let complete = self.declared.is_none_or(|declared| declared == self.bytes);
        complete && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(
            || self.inner.size_hint(),
            |declared| SizeHint::with_exact(declared.saturating_sub(self.bytes)),
        )
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body that nobody polled, of a HEAD or a 304, ended well if there was nothing to send.
        let complete = self.declared.is_none_or(|declared| declared == self.bytes);
        self.end(complete && http_body::Body::is_end_stream(&self.inner));
    }
}

/// Adds the request's ids to headers and error document.
pub(crate) fn with_ids(
    mut response: Response<Body>,
    context: &RequestContext,
    resource: &str,
    region: &str,
) -> Response<Body> {
    substitute(&mut response);
    let status = response.status();
    if (status.is_client_error() || status.is_server_error())
        && let Some(document) = response.body().bytes().filter(|bytes| !bytes.is_empty())
        && let (asked, headers) = (response.extensions().get::<Arc<Asked>>(), response.headers())
        && let answer = (Answer { asked: asked.map(|it| &**it), headers, resource, region })
        && let Some(document) = amended(&document, &answer, context)
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(document.len()));
        *response.body_mut() = Body::from(document);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&context.id) {
        headers.insert(HeaderName::from_static("x-amz-request-id"), id);
    }
    if let Ok(id) = HeaderValue::from_str(&context.host_id) {
        headers.insert(HeaderName::from_static("x-amz-id-2"), id);
    }
    headers.insert(header::SERVER, HeaderValue::from_static("Havre"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}

/// Puts character references where keys have what `s3s` cannot write; see
/// [`crate::s3::Substitutes`].
pub(crate) fn substitute(response: &mut Response<Body>) {
    let Some(Substitutes(marker)) = response.extensions().get::<Substitutes>() else { return };
    let Some(document) = response.body().bytes() else { return };
    let Ok(text) = std::str::from_utf8(&document) else { return };
    let text = text.replace(marker.as_str(), "&#x");
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    *response.body_mut() = Body::from(text);
}
