//! HTTP to one endpoint.
//!
//! **Invariant.** A request goes to the endpoint that was named, through the proxy that the
//! environment names for it, and nowhere else: redirects are answers like any other. An answer is
//! no longer than its cap and comes before its deadline. Paths are sent as they are given: keys
//! with `/../` in them are keys.
//!
//! **Deliberately absent.** HTTP/2, compression, cookies, retries. A library that is more
//! comfortable (reqwest, in this tree already) takes dots out of paths, and so cannot ask for every
//! key.
//!
//! **Crash.** Nothing is kept.

use bytes::Bytes;
use havre_model::ports::Ports;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::path::Path;
use std::time::Duration;

/// A connection that is not there by then is not coming.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept: less than servers and firewalls allow.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an answer may take, its bytes and the request's aside.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);
/// The slowest transfer that is waited for.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;
/// The next bytes of an answer must come within this.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// What is read of an error's body.
const ERROR_BYTES_MAX: u64 = 256 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// Nobody answered, or the connection broke.
    #[error("{0}")]
    Broken(String),
    /// It took too long.
    #[error("no answer came in time")]
    Late,
    /// More came than was asked for.
    #[error("the answer is longer than what was asked for")]
    TooLong,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

enum Connections {
    Direct(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    Tunnelled(Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>),
}

/// The client of one endpoint.
pub(super) struct Wire {
    connections: Connections,
    ports: Ports,
}

impl Wire {
    /// A client that trusts the system's authorities, or the ones in `authorities` (PEM) alone.
    ///
    /// # Errors
    /// Why there is nobody to trust.
    pub(super) fn new(
        endpoint: &Uri,
        authorities: Option<&Path>,
        ports: Ports,
    ) -> Result<Self, String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let secure = endpoint.scheme_str() == Some("https");
        let tls = if secure { tls(authorities)? } else { nobody() };
        let builder = || HttpsConnectorBuilder::new().with_tls_config(tls.clone());
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
        let proxy = Matcher::from_env().intercept(endpoint).filter(|_| secure);
        let connections = match proxy {
            None => Connections::Direct(
                client.build(builder().https_or_http().enable_http1().wrap_connector(http)),
            ),
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
                if let Some(value) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(value.clone());
                }
                let connector = builder().https_only().enable_http1().wrap_connector(tunnel);
                Connections::Tunnelled(client.build(connector))
            }
        };
        Ok(Self { connections, ports })
    }

    /// Sends a request and reads the answer, of `answer_bytes_max` at most, into memory.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        body_bytes: u64,
        answer_bytes_max: u64,
    ) -> Result<Answer, WireError> {
        if body_bytes == 0 && matches!(*request.method(), Method::PUT | Method::POST) {
            // hyper leaves it out, and S3 takes no upload that does not say how long it is.
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let slow = (body_bytes + answer_bytes_max) / BYTES_PER_SECOND_MIN;
        let deadline = self.ports.runtime.sleep(ANSWER_DEADLINE + Duration::from_secs(slow));
        tokio::select! {
            answer = self.exchange(request, answer_bytes_max) => answer,
            () = deadline => Err(WireError::Late),
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        answer_bytes_max: u64,
    ) -> Result<Answer, WireError> {
        let answer = match &self.connections {
            Connections::Direct(client) => client.request(request).await,
            Connections::Tunnelled(client) => client.request(request).await,
        };
        let (parts, mut body) = answer.map_err(|error| broken(&error))?.into_parts();
        let cap = match parts.status.is_success() {
            true => answer_bytes_max,
            false => ERROR_BYTES_MAX,
        };
        let mut bytes = Vec::new();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = self.ports.runtime.sleep(BODY_PAUSE_MAX) => return Err(WireError::Late),
            };
            let Some(frame) = frame else { break };
            // Trailers say nothing that we would believe.
            let Ok(piece) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
            if (bytes.len() + piece.len()) as u64 > cap {
                return Err(WireError::TooLong);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body: bytes.into() })
    }
}

/// The innermost cause says most: "connection refused".
fn broken(error: &(dyn std::error::Error + 'static)) -> WireError {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    WireError::Broken(cause.to_string())
}

fn tls(authorities: Option<&Path>) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    match authorities {
        Some(path) => {
            let show = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| show(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| show(&error))?;
                roots.add(certificate).map_err(|error| show(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("there are no certificate authorities to trust; name a file".to_owned());
    }
    Ok(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// For an endpoint in the clear: trusts nobody, and is not asked.
fn nobody() -> rustls::ClientConfig {
    let roots = rustls::RootCertStore::empty();
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}
