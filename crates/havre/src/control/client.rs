//! A command's end: sends an order and takes the answer.
//!
//! **Invariant.** Nobody who listens is told apart from somebody who refuses, and what came is
//! taken line by line within [`LINE_BYTES_MAX`].
//!
//! **Deliberately absent.** A deadline for the whole: the gateway tells how it goes, and whoever
//! waits can stop.
//!
//! **Crash.** A client that dies ends its order.

use super::socket::{keeper_socket_path, with_short};
use super::{LINE_BYTES_MAX, Line, ORDER_BYTES_MAX, Order, socket_path};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// Why an order has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody listens.
    #[error("no gateway is running here (nobody listens at {})", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The gateway is another user's.
    #[error("the gateway at {} is another user's: give orders as that user or as root",
        path.display())]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The gateway said why not.
    #[error("{0}")]
    Failed(String),
    /// The connection ended before the result came.
    #[error("the gateway ended the connection without a result: it stopped, or its log says why")]
    Broken,
    /// The answer is none.
    #[error("the gateway's answer is not understood; is it of this release?")]
    Malformed,
    /// The order is too long to be sent.
    #[error("the order is longer than {ORDER_BYTES_MAX} bytes")]
    TooLong,
    /// The system refused.
    #[error("the gateway cannot be asked: {0}")]
    Io(#[from] io::Error),
}

/// Has the gateway of this catalog carry the order out; `hear` gets each line of progress. Dropped,
/// it ends the order.
///
/// # Errors
/// See [`ControlError`].
pub async fn send(
    catalog: &Path,
    order: &Order,
    mut hear: impl FnMut(Value),
) -> Result<Value, ControlError> {
    let mut line = serde_json::to_vec(order).map_err(io::Error::other)?;
    line.push(b'\n');
    if line.len() > ORDER_BYTES_MAX {
        return Err(ControlError::TooLong);
    }
    let mut stream = connect(socket_path(catalog))?;
    stream.write_all(&line).await?;
    let mut from = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        (&mut from).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(ControlError::Broken);
        }
        match serde_json::from_slice(&line).map_err(|_| ControlError::Malformed)? {
            Line::Progress(progress) => hear(progress),
            Line::Done(result) => return Ok(result),
            Line::Failed(reason) => return Err(ControlError::Failed(reason)),
        }
    }
}

/// Connects as a keeper to the gateway of this catalog.
pub(crate) fn connect_keeper(catalog: &Path) -> Result<UnixStream, ControlError> {
    connect(keeper_socket_path(catalog))
}

fn connect(path: PathBuf) -> Result<UnixStream, ControlError> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ControlError::NotRunning { path });
    };
    let open = |short: &Path| std::os::unix::net::UnixStream::connect(short.join(name));
    match with_short(directory, open) {
        Ok(stream) => {
            stream.set_nonblocking(true)?;
            Ok(UnixStream::from_std(stream)?)
        }
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ControlError::NotRunning { path }
            }
            io::ErrorKind::PermissionDenied => ControlError::NotAllowed { path },
            _ => ControlError::Io(error),
        }),
    }
}
