//! A connection that gives up on a client which stops taking its response, or never says what it
//! speaks, and that can be ended from outside.
//!
//! **Invariant.** A write that makes no progress for the write timeout fails the connection, so
//! that a slow client holds its buffers for a bounded time; and the first bytes, by which HTTP/1
//! and HTTP/2 are told apart, must be there within the header timeout (I8).
//!
//! **Deliberately absent.** A limit on later reads: `hyper` has one for heads, `incoming` one for
//! bodies, and while an operation works there is nothing to read.
//!
//! **Crash.** A connection dies with the process.

use futures::task::AtomicWaker;
use havre_model::ports::{Runtime, Task};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of HTTP/2's preface. `hyper-util` waits for as many of them as match, for ever; every
/// request of HTTP/1.1 has more.
const PREFACE_BYTES: usize = 24;

/// Ends a connection from outside.
#[derive(Default)]
pub(crate) struct Cut {
    done: AtomicBool,
    connection: AtomicWaker,
}

impl Cut {
    /// Ends the connection when it next waits for its client; `true` when it was not ended before.
    pub(crate) fn cut(&self) -> bool {
        let first = !self.done.swap(true, Ordering::SeqCst);
        self.connection.wake();
        first
    }

    /// Fails what waits on a connection that was ended.
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        self.connection.register(context.waker());
        if self.done.load(Ordering::SeqCst) {
            let reason = "the client was slow while others waited";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
        }
        Ok(())
    }
}

/// The connection.
pub(crate) struct Deadlined<T> {
    inner: T,
    cut: Arc<Cut>,
    runtime: Arc<dyn Runtime>,
    write_timeout: Duration,
    write_timer: Option<Task>,
    preface_timer: Option<Task>,
    read: usize,
}

// The timers are boxes and pinned by themselves; the connection is required to be `Unpin` below.
impl<T: Unpin> Unpin for Deadlined<T> {}

impl<T> Deadlined<T> {
    /// The connection, whose client has `first` to begin.
    pub(crate) fn new(
        inner: T,
        cut: Arc<Cut>,
        runtime: Arc<dyn Runtime>,
        first: Duration,
        write_timeout: Duration,
    ) -> Self {
        let preface_timer = Some(runtime.sleep(first));
        Self { inner, cut, runtime, write_timeout, write_timer: None, preface_timer, read: 0 }
    }

    /// Passes progress on; without any, fails when the time is up.
    fn limit<R>(
        &mut self,
        polled: Poll<io::Result<R>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.write_timer = None;
            return polled;
        }
        self.cut.check(context)?;
        let timer = self.write_timer.get_or_insert_with(|| self.runtime.sleep(self.write_timeout));
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
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if polled.is_pending() {
            self.cut.check(context)?;
        }
        if let Some(timer) = &mut self.preface_timer {
            if polled.is_pending() {
                std::task::ready!(timer.as_mut().poll(context));
                let late = "the client did not begin";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)));
            }
            self.read += buffer.filled().len() - before;
            if self.read >= PREFACE_BYTES {
                self.preface_timer = None;
            }
        }
        polled
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
