//! The body of a request as it comes off the connection.
//!
//! **Invariant.** A client that stops sending is given up after the body timeout (I8); an
//! `aws-chunked` body is complete; the bytes are counted.
//!
//! **Deliberately absent.** Buffers: a frame is handed on as it came, and the next one is read when
//! asked for, which is the backpressure.
//!
//! **Crash.** A body dies with its connection.

use crate::framing::{Framing, FramingError};
use crate::turns::Client;
use bytes::Bytes;
use havre_model::ports::{Runtime, Task};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncomingError {
    /// Nothing came for too long.
    #[error("the client stopped sending")]
    Idle,
    /// The chunks are not what was announced.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Connection(#[from] hyper::Error),
}

/// Where an unread rest is left when the request has been answered, to be drained.
pub(crate) type Leftover = Arc<Mutex<Option<Incoming>>>;

/// The body.
pub(crate) struct RequestBody {
    inner: Option<Incoming>,
    framing: Option<Framing>,
    bytes: Arc<AtomicU64>,
    leftover: Leftover,
    client: Arc<Client>,
    runtime: Arc<dyn Runtime>,
    timeout: Duration,
    timer: Mutex<Option<Task>>,
    ended: bool,
}

impl RequestBody {
    /// The body of a request; `chunked` when it is framed by `aws-chunked`.
    pub(crate) fn new(
        inner: Incoming,
        chunked: bool,
        client: Arc<Client>,
        runtime: Arc<dyn Runtime>,
        timeout: Duration,
    ) -> Self {
        Self {
            inner: Some(inner),
            framing: chunked.then(Framing::new),
            bytes: Arc::default(),
            leftover: Arc::default(),
            client,
            runtime,
            timeout,
            timer: Mutex::new(None),
            ended: false,
        }
    }

    /// The count of bytes that were read.
    pub(crate) fn bytes(&self) -> Arc<AtomicU64> {
        self.bytes.clone()
    }

    /// Where the rest will be when this is dropped before its end.
    pub(crate) fn leftover(&self) -> Leftover {
        self.leftover.clone()
    }

    fn poll_timer(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.lock();
        let task = timer.get_or_insert_with(|| self.runtime.sleep(self.timeout));
        task.as_mut().poll(context)
    }

    fn accept(&mut self, frame: &Frame<Bytes>) -> Result<(), IncomingError> {
        *self.timer.lock() = None;
        self.client.moved(frame.data_ref().map_or(0, |bytes| bytes.len() as u64));
        if let Some(bytes) = frame.data_ref() {
            self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if let Some(framing) = &mut self.framing {
                framing.update(bytes)?;
            }
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = match Pin::new(inner).poll_frame(context) {
            Poll::Pending => match self.poll_timer(context) {
                Poll::Pending => {
                    self.client.wait();
                    return Poll::Pending;
                }
                Poll::Ready(()) => Some(Err(IncomingError::Idle)),
            },
            Poll::Ready(None) => {
                self.ended = true;
                match self.framing.as_ref().map(Framing::finish) {
                    Some(Err(error)) => Some(Err(error.into())),
                    _ => None,
                }
            }
            Poll::Ready(Some(Ok(frame))) => Some(self.accept(&frame).map(|()| frame)),
            Poll::Ready(Some(Err(error))) => Some(Err(error.into())),
        };
        if !matches!(polled, Some(Ok(_))) {
            self.client.moved(0);
            // Nothing more is read after an error or the end, also if asked again.
            self.ended |= !matches!(polled, Some(Err(IncomingError::Framing(_))));
            let inner = self.inner.take();
            if !self.ended {
                *self.leftover.lock() = inner;
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        // The end of chunks is checked at the end of the body: it has to be asked for.
        self.framing.is_none() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.client.moved(0);
        if let Some(inner) = self.inner.take().filter(|inner| !inner.is_end_stream()) {
            *self.leftover.lock() = Some(inner);
        }
    }
}
