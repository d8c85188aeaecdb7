//! Connections: accepting them, encrypting them, ending them.
//!
//! **Invariant.** Connections, heads, streams and waits are bounded (I8); a request under way at
//! shutdown may end within the shutdown timeout.
//!
//! **Deliberately absent.** What is served.
//!
//! **Crash.** Clients see a broken connection and try again.

use crate::config::{HEADER_BYTES_MAX, HEADERS_MAX, LimitsConfig};
use crate::io::{Cut, Deadlined};
use futures::future::{Either, select};
use havre_model::ports::Ports;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 128;
/// Streams that a client may open and reset before the connection is closed (rapid reset).
const RESET_STREAMS_MAX: usize = 32;
/// What a client may send ahead on one HTTP/2 stream, and on all of a connection.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// What waits to be sent on one HTTP/2 stream.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;
/// What is read ahead of an HTTP/1 connection: large blocks make uploads cheap. It is also what a
/// head may take before `guard` counts it, so that connections times this bounds what heads can
/// hold.
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// After an accept that failed, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

fn builder(limits: &LimitsConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(RESET_STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).expect("a limit below 4 GiB"))
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.write_timeout);
    builder
}

/// One address that is listened to.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) limits: LimitsConfig,
    pub(crate) ports: Ports,
}

impl Listener {
    /// Serves until `stop` turns true or its sender is gone, then lets requests under way end.
    pub(crate) async fn serve<S, B>(self, service: S, mut stop: watch::Receiver<bool>)
    where
        S: hyper::service::Service<Request<Incoming>, Response = Response<B>>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let permits = Arc::new(Semaphore::new(self.limits.connections_max));
        let graceful = GracefulShutdown::new();
        let builder = Arc::new(builder(&self.limits));
        let mut stopped = pin!(async move {
            let _ = stop.wait_for(|stop| *stop).await;
        });
        loop {
            let accepting = async {
                let permit = permits.clone().acquire_owned().await.expect("never closed");
                (self.socket.accept().await, permit)
            };
            let (accepted, permit) = match select(pin!(accepting), stopped.as_mut()).await {
                Either::Left((accepted, _)) => accepted,
                Either::Right(_) => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(error = %error, "accept a connection");
                    self.ports.runtime.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connection = Connection {
                builder: builder.clone(),
                tls: self.tls.clone(),
                limits: self.limits.clone(),
                ports: self.ports.clone(),
                watcher: graceful.watcher(),
            };
            let service = service.clone();
            self.ports.runtime.spawn(Box::pin(async move {
                connection.run(stream, service).await;
                drop(permit);
            }));
        }
        drop(self.socket);
        let deadline = self.ports.runtime.sleep(self.limits.shutdown_timeout);
        let _ = select(pin!(graceful.shutdown()), deadline).await;
    }
}

/// A service whose requests bring what ends their connection.
struct OnConnection<S> {
    service: S,
    cut: Arc<Cut>,
}

impl<S: hyper::service::Service<Request<Incoming>>> hyper::service::Service<Request<Incoming>>
    for OnConnection<S>
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.cut.clone());
        self.service.call(request)
    }
}

struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    tls: Option<TlsAcceptor>,
    limits: LimitsConfig,
    ports: Ports,
    watcher: hyper_util::server::graceful::Watcher,
}

impl Connection {
    async fn run<S, B>(self, stream: TcpStream, service: S)
    where
        S: hyper::service::Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Without this, small responses wait for a delayed acknowledgement: 40 ms each.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.tls.clone() else { return self.serve(stream, service).await };
        let deadline = self.ports.runtime.sleep(self.limits.handshake_timeout);
        match select(pin!(tls.accept(stream)), deadline).await {
            Either::Left((Ok(stream), _)) => self.serve(stream, service).await,
            Either::Left((Err(error), _)) => tracing::debug!(error = %error, "shake hands"),
            Either::Right(_) => tracing::debug!("shake hands: the client stopped sending"),
        }
    }

    async fn serve<T, S, B>(self, stream: T, service: S)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: hyper::service::Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let runtime = self.ports.runtime.clone();
        let (first, write) = (self.limits.header_timeout, self.limits.write_timeout);
        let cut = Arc::new(Cut::default());
        let service = OnConnection { service, cut: cut.clone() };
        let stream = Deadlined::new(stream, cut, runtime, first, write);
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = self.watcher.watch(connection.into_owned()).await {
            tracing::debug!(error = %error, "serve a connection");
        }
    }
}
