//! A connection that gives up on a client which stops taking its response.
//!
//! **Invariant.** A write that makes no progress for the write timeout fails the connection, so that a slow
//! client holds its buffers for a bounded time (I8).
//!
//! **Deliberately absent.** A limit on reads: `hyper` has one for heads, `incoming` one for bodies, and while an
//! operation works there is nothing to read.
//!
//! **Crash.** A connection dies with the process.

use havre_model::ports::{Runtime, Task};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The connection.
pub(crate) struct Deadlined<T> {
    inner: T,
    runtime: Arc<dyn Runtime>,
    timeout: Duration,
    timer: Option<Task>,
}

// The timer is a box and is pinned by itself; the connection is required to be `Unpin` below.
impl<T: Unpin> Unpin for Deadlined<T> {}

impl<T> Deadlined<T> {
    pub(crate) const fn new(inner: T, runtime: Arc<dyn Runtime>, timeout: Duration) -> Self {
        Self { inner, runtime, timeout, timer: None }
    }

    /// Passes progress on; without any, fails when the time is up.
    fn limit<R>(
        &mut self,
        polled: Poll<io::Result<R>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.timer = None;
            return polled;
        }
        let timer = self.timer.get_or_insert_with(|| self.runtime.sleep(self.timeout));
        std::task::ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Deadlined<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Deadlined<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.limit(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.limit(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.limit(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.limit(polled, context)
    }
}
