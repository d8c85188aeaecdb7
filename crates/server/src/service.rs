//! One request, from the connection's side: ids, refusals, limits, the log line and the metrics.
//!
//! **Invariant.** Every response carries its ids; a response body that fails or is short fails the
//! connection, never ends it (I4); nothing that is logged or counted carries a name or a secret
//! (I3).
//!
//! **Deliberately absent.** S3: `s3s` and the modules that it calls.
//!
//! **Crash.** Nothing is stored here.

use crate::admit::{Gate, NoSecrets, OnlyAdmitted, Secrets};
use crate::config::{LimitsConfig, SIGNED_CHUNK_BYTES_MAX, ServerConfig};
use crate::context::RequestContext;
use crate::credentials::Credentials;
use crate::error::bug;
use crate::guard;
use crate::hosts::Domains;
use crate::incoming::{Leftover, RequestBody};
use crate::io::Cut;
use crate::response::{self, ResponseBody};
use crate::s3::Gateway;
use crate::tally::Tally;
use crate::turns::Turns;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use havre_engine::Engine;
use havre_model::limits::PART_BYTES_MAX;
use havre_model::ports::Ports;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::region::Region;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, S3Error};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

/// Bytes of an unread body that are read and thrown away, so that a client that is still sending
/// gets to read the answer.
const DRAIN_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long that may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A region name that no signature can be checked against.
#[derive(Debug, thiserror::Error)]
#[error("the region {0:?} is not lower-case letters, digits and dashes")]
pub struct InvalidRegion(String);

/// Serves requests.
#[derive(Clone)]
pub(crate) struct Service {
    shared: Arc<Shared>,
    secure: bool,
}

struct Shared {
    s3: S3Service,
    region: String,
    ports: Ports,
    limits: LimitsConfig,
    turns: Arc<Turns>,
    tally: Arc<Tally>,
}

fn s3_config(region: &str) -> Result<S3Config, InvalidRegion> {
    let region = Region::new(region.into()).map_err(|_| InvalidRegion(region.to_owned()))?;
    let mut config = S3Config::default();
    config.expected_region = Some(region);
    config.sig_v4_allowed_services = vec!["s3".to_owned()];
    config.enable_sig_v2 = false;
    config.presigned_url_max_expires_secs = 7 * 24 * 60 * 60;
    config.presigned_url_max_skew_time_secs = 15 * 60;
    config.unsigned_amz_header_allowlist = Vec::new();
    config.aws_chunked_stream_max_chunk_size = SIGNED_CHUNK_BYTES_MAX;
    config.put_object_max_size = Some(PART_BYTES_MAX);
    config.xml_max_body_size = crate::config::DOCUMENT_BYTES_MAX;
    // The gate reads bodies under its own limits.
    config.custom_route_max_body_size = None;
    config.operation_id_routing = false;
    // `guard` refuses forms; this holds even if it did not.
    config.allow_post_signature = false;
    config.post_object_max_file_size = 0;
    config.form_max_field_size = 1024;
    config.form_max_fields_size = 16 * 1024;
    config.form_max_parts = 32;
    Ok(config)
}

impl Service {
    /// The service in front of an engine.
    pub(crate) fn new(
        config: &ServerConfig,
        engine: Arc<Engine>,
        credentials: Arc<dyn Credentials>,
        ports: Ports,
    ) -> Result<Self, InvalidRegion> {
        let s3_config = Arc::new(StaticConfigProvider::new(Arc::new(s3_config(&config.region)?)));
        let domains = Domains::new(&config.domains);
        let gateway = Gateway::new(engine, config.region.clone(), ports.clone());
        let mut inner = S3ServiceBuilder::new(gateway);
        inner.set_config(s3_config.clone());
        inner.set_host(domains.clone());
        inner.set_auth(NoSecrets);
        inner.set_access(OnlyAdmitted);
        let turns = Turns::new(&config.limits, ports.clone());
        let gate = Gate {
            turns: turns.clone(),
            inner: inner.build(),
            credentials: credentials.clone(),
            domains,
            runtime: ports.runtime.clone(),
        };
        // Operations live behind the gate; the outer instance has none.
        let mut outer = S3ServiceBuilder::new(NoOperations);
        outer.set_config(s3_config);
        outer.set_auth(Secrets(credentials));
        outer.set_route(gate);
        let (region, limits) = (config.region.clone(), config.limits.clone());
        let tally = Arc::default();
        let shared = Shared { s3: outer.build(), region, ports, limits, turns, tally };
        Ok(Self { shared: Arc::new(shared), secure: false })
    }

    /// How requests fare.
    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.shared.tally)
    }

    /// The same for encrypted connections.
    pub(crate) fn secured(&self) -> Self {
        Self { shared: self.shared.clone(), secure: true }
    }
}

struct NoOperations;
impl s3s::S3 for NoOperations {}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<ResponseBody>;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (shared, secure) = (self.shared.clone(), self.secure);
        Box::pin(async move { shared.answer(request, secure).await })
    }
}

/// What the response says its body has; nothing for those that have none.
fn declared_length(response: &Response<Body>) -> Option<u64> {
    let bodyless = matches!(response.status().as_u16(), 204 | 304);
    let length = response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    (!bodyless).then_some(length)
}

/// HTTP/2 ends a request that has no body without a `Content-Length`; S3 knows uploads by it.
fn declare_empty(parts: &mut Parts, body: &Incoming) {
    if parts.version >= Version::HTTP_2
        && body.is_end_stream()
        && !parts.headers.contains_key(header::CONTENT_LENGTH)
    {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

fn is_chunked(headers: &HeaderMap) -> bool {
    headers
        .get("x-amz-content-sha256")
        .is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"))
}

impl Shared {
    fn context(&self, secure: bool, cut: Option<Arc<Cut>>) -> Arc<RequestContext> {
        let random: [u8; 32] = self.ports.random();
        let id = hex::encode_upper(&random[..8]);
        let host_id = BASE64.encode(&random[8..]);
        let log = tracing::dispatcher::get_default(Dispatch::clone);
        Arc::new(RequestContext::new(id, host_id, log, secure, self.turns.client(cut)))
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        secure: bool,
    ) -> Result<Response<ResponseBody>, HttpError> {
        let began = self.ports.clock.elapsed();
        let (mut parts, body) = request.into_parts();
        let context = self.context(secure, parts.extensions.remove::<Arc<Cut>>());
        let multiplexed = parts.version >= Version::HTTP_2;
        declare_empty(&mut parts, &body);
        let method = parts.method.clone();
        let resource = parts.uri.path().to_owned();
        let timeout = self.limits.body_timeout;
        let chunked = is_chunked(&parts.headers);
        let (client, runtime) = (context.client.clone(), self.ports.runtime.clone());
        let body = RequestBody::new(body, chunked, client, runtime, timeout);
        let (bytes_in, leftover) = (body.bytes(), body.leftover());
        let expects = parts.headers.contains_key(header::EXPECT);
        let response = match guard::check(&parts) {
            Ok(()) => {
                parts.extensions.insert(context.clone());
                let request = Request::from_parts(parts, Body::http_body(body));
                let answering = self.s3.call(request).with_subscriber(Dispatch::none());
                match AssertUnwindSafe(answering).catch_unwind().await {
                    Ok(answer) => answer?,
                    Err(_) => {
                        // A bug of ours, whose trace is on standard error by now. To the client it
                        // is an answer like another one, which SDKs repeat by themselves.
                        tracing::error!(request_id = context.id, "a request met a bug");
                        refusal(bug(), &method)
                    }
                }
            }
            Err(error) => {
                drop(body);
                refusal(error, &method)
            }
        };
        let status = response.status();
        let unasked = expects && bytes_in.load(std::sync::atomic::Ordering::Relaxed) == 0;
        if !unasked {
            self.drain(&leftover);
        }
        let mut response = response::with_ids(response, &context, &resource, &self.region);
        if unasked && !multiplexed && leftover.lock().is_some() {
            // The body was not asked for: what comes next may be that body or another request, so
            // the connection ends. A client that is not told so sends its next request into it.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let (clock, tally) = (self.ports.clock.clone(), Arc::clone(&self.tally));
        let log = response::Log::new(context, status, began, bytes_in, clock, tally);
        let declared = if method == Method::HEAD { None } else { declared_length(&response) };
        Ok(response.map(|body| ResponseBody::new(body, log).of_length(declared)))
    }

    /// Reads what a client still sends although its request was answered.
    fn drain(&self, leftover: &Leftover) {
        let Some(mut rest) = leftover.lock().take() else { return };
        let deadline = self.ports.runtime.sleep(DRAIN_TIMEOUT);
        self.ports.runtime.spawn(Box::pin(async move {
            let reading = async move {
                let mut left = DRAIN_BYTES_MAX;
                while let Some(Ok(frame)) = rest.frame().await {
                    let bytes = frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                    let Some(after) = left.checked_sub(bytes) else { return };
                    left = after;
                }
            };
            futures::future::select(std::pin::pin!(reading), deadline).await;
        }));
    }
}

fn refusal(error: S3Error, method: &Method) -> Response<Body> {
    let status = error.status_code();
    let mut response = error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status.unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        response
    });
    if *method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}
