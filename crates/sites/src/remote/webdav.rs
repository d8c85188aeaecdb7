//! Writing to WebDAV: streamed, and never over what is there.
//!
//! **Invariant.** A shard goes to a name of its own below `t/` and is moved to its name with
//! `Overwrite: F`, so that a cut connection leaves nothing under a shard's name and no shard is
//! replaced (I5).
//!
//! **Deliberately absent.** Reading, listing and deleting, which the backend library does well; it
//! writes from memory in one piece, stats twice before a move, and overwrites.
//!
//! **Crash.** What is left below `t/` is swept when it is a day old.

use super::transport::{Transport, Wanted};
use base64::Engine as _;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    future::{BoxFuture, Either, select},
};
use http::{HeaderValue, Method, Request, StatusCode, header};
use opendal::{Error, ErrorKind};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// Collections that are known to exist; past this they are made again.
const COLLECTIONS_MAX: usize = 4096;

/// The writing half of a WebDAV site. Clones share what is known.
#[derive(Clone)]
pub(super) struct Dav {
    transport: Transport,
    /// Scheme, host and root, without a slash at the end.
    base: Arc<str>,
    /// Where the root begins in `base`.
    root_at: usize,
    authorization: Option<HeaderValue>,
    made: Arc<Mutex<HashSet<String>>>,
}

impl Dav {
    pub(super) fn new(
        transport: Transport,
        endpoint: &str,
        root: &str,
        user: Option<(&str, &str)>,
        token: Option<&str>,
    ) -> Result<Self, String> {
        let base = if root.is_empty() { endpoint.to_owned() } else { format!("{endpoint}/{root}") };
        base.parse::<http::Uri>().map_err(|_| "the URL is no URL".to_owned())?;
        let text = match (token, user) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some((user, password))) => {
                let pair = format!("{user}:{password}");
                Some(format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair)))
            }
            (None, None) => None,
        };
        let authorization = match text {
            Some(text) => {
                let value = HeaderValue::from_str(&text);
                let mut value = value.map_err(|_| "the token is not printable".to_owned())?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let (base, root_at) = (base.into(), endpoint.len());
        Ok(Self { transport, base, root_at, authorization, made: Arc::default() })
    }

    /// Sends one request and gives its status; the body of the answer is not read.
    async fn send(
        &self,
        method: &str,
        url: &str,
        destination: Option<&str>,
        body: reqwest::Body,
    ) -> Result<StatusCode, Error> {
        let invalid = |error: http::Error| Error::new(ErrorKind::ConfigInvalid, error.to_string());
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|error| invalid(error.into()))?;
        let mut request = Request::builder().method(method).uri(url);
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(destination) = destination {
            request = request
                .header("Destination", format!("{}/{destination}", self.base))
                .header("Overwrite", "F");
        }
        let request = request.body(body).map_err(invalid)?;
        let (parts, mut body) = self.transport.send(request, Wanted::OTHER).await?.into_parts();
        // Read to its end, which is capped, so that the connection can be used again.
        while let Some(piece) = body.next().await {
            piece?;
        }
        Ok(parts.status)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// Stores a whole shard under the temporary name `temp`.
    pub(super) async fn upload(&self, temp: &str, shard: Bytes) -> Result<(), Error> {
        self.ensure_collections(temp).await?;
        let status = self.send("PUT", &self.url(temp), None, shard.into()).await?;
        done(status)
    }

    /// Begins a shard that is streamed to the temporary name `temp`.
    pub(super) async fn stream(&self, temp: &str, bytes: Option<u64>) -> Result<DavStream, Error> {
        self.ensure_collections(temp).await?;
        let (sender, pieces) = mpsc::channel(1);
        let body = reqwest::Body::wrap(StreamBody { pieces, ended: false, bytes });
        let (dav, url) = (self.clone(), self.url(temp));
        let answer = Box::pin(async move { done(dav.send("PUT", &url, None, body).await?) });
        Ok(DavStream { sender, answer: Some(answer), left: bytes })
    }

    /// Gives what is at `temp` its name, unless the name is taken (`ConditionNotMatch`).
    pub(super) async fn publish(&self, temp: &str, name: &str) -> Result<(), Error> {
        let url = self.url(temp);
        let mut status = self.send("MOVE", &url, Some(name), reqwest::Body::default()).await?;
        if matches!(status, StatusCode::CONFLICT | StatusCode::NOT_FOUND) {
            // The collection of the name is not there yet.
            self.made.lock().clear();
            self.ensure_collections(name).await?;
            status = self.send("MOVE", &url, Some(name), reqwest::Body::default()).await?;
        }
        done(status)
    }

    /// Removes what is at `temp`, if it is there.
    pub(super) async fn discard(&self, temp: &str) -> Result<(), Error> {
        match self.send("DELETE", &self.url(temp), None, reqwest::Body::default()).await? {
            StatusCode::NOT_FOUND => Ok(()),
            status => done(status),
        }
    }

    /// Makes the collections that `path` is in, from the nearest that is there.
    async fn ensure_collections(&self, path: &str) -> Result<(), Error> {
        let Some((parent, _)) = path.rsplit_once('/') else { return Ok(()) };
        if self.made.lock().contains(parent) {
            return Ok(());
        }
        let url = self.url(parent);
        let starts =
            url[self.root_at + 1..].match_indices('/').map(|(at, _)| at + self.root_at + 1);
        let mut ends: Vec<usize> = starts.chain([url.len()]).collect();
        let mut missing = Vec::new();
        // Up until one can be made or is there, then down again.
        while let Some(end) = ends.pop() {
            let collection = format!("{}/", &url[..end]);
            match self.send("MKCOL", &collection, None, reqwest::Body::default()).await? {
                StatusCode::CONFLICT | StatusCode::NOT_FOUND => missing.push(collection),
                status => {
                    made(status)?;
                    break;
                }
            }
        }
        while let Some(collection) = missing.pop() {
            made(self.send("MKCOL", &collection, None, reqwest::Body::default()).await?)?;
        }
        let mut known = self.made.lock();
        if known.len() >= COLLECTIONS_MAX {
            known.clear();
        }
        known.insert(parent.to_owned());
        Ok(())
    }
}

/// A collection that was made, or was there ("method not allowed" says RFC 4918).
fn made(status: StatusCode) -> Result<(), Error> {
    if status == StatusCode::METHOD_NOT_ALLOWED { Ok(()) } else { done(status) }
}

fn done(status: StatusCode) -> Result<(), Error> {
    let detail = format!("the site answered {status}");
    match status.as_u16() {
        // Not "multi-status" (207), which reports failures.
        200 | 201 | 204 => Ok(()),
        403 | 405 | 409 | 413 | 415 => Err(Error::new(ErrorKind::PermissionDenied, detail)),
        404 => Err(Error::new(ErrorKind::NotFound, detail)),
        412 => Err(Error::new(ErrorKind::ConditionNotMatch, detail)),
        423 | 429 | 500..=599 => Err(Error::new(ErrorKind::Unexpected, detail).set_temporary()),
        _ => Err(Error::new(ErrorKind::Unexpected, detail)),
    }
}

/// What the body of a streamed shard is fed with.
enum Piece {
    Bytes(Bytes),
    /// The shard is complete. Without this the request breaks off, and no server takes half a
    /// shard for a whole one.
    End,
}

/// A shard on its way to a temporary name. At most one piece waits for the connection.
pub(super) struct DavStream {
    sender: mpsc::Sender<Piece>,
    /// `None` once it was given.
    answer: Option<BoxFuture<'static, Result<(), Error>>>,
    /// Bytes that are still to come, where the length is known.
    left: Option<u64>,
}

impl DavStream {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        Ok(self.feed(Piece::Bytes(bytes)).await?)
    }

    pub(super) async fn finish(mut self) -> Result<(), Error> {
        // A connection that was told the length lets go of the body at its last byte, and asks for
        // no end.
        let is_counted = self.left == Some(0);
        let fed = self.feed(Piece::End).await;
        match (fed, self.answer.take()) {
            (Ok(()), Some(answer)) => answer.await,
            (Err(Fed::Answered(Ok(()))), _) if is_counted => Ok(()),
            (Err(fed), _) => Err(fed.into()),
            (Ok(()), None) => Err(ended_early()),
        }
    }

    /// Hands a piece to the connection; an answer that comes before it was taken ends the stream.
    async fn feed(&mut self, piece: Piece) -> Result<(), Fed> {
        let Some(mut answer) = self.answer.take() else { return Err(Fed::Over) };
        let sent = match select(pin!(self.sender.send(piece)), &mut answer).await {
            Either::Left((sent, _)) => sent.is_ok(),
            Either::Right((answer, _)) => return Err(Fed::Answered(answer)),
        };
        if !sent {
            // The connection let go of the body, and the answer says why.
            return Err(Fed::Answered(answer.await));
        }
        self.answer = Some(answer);
        Ok(())
    }
}

/// Why a piece was not taken.
enum Fed {
    /// The answer is there.
    Answered(Result<(), Error>),
    /// It was there at an earlier piece.
    Over,
}

impl From<Fed> for Error {
    fn from(fed: Fed) -> Self {
        match fed {
            Fed::Answered(Err(error)) => error,
            Fed::Answered(Ok(())) | Fed::Over => ended_early(),
        }
    }
}

fn ended_early() -> Error {
    Error::new(ErrorKind::Unexpected, "the site ended the request early").set_temporary()
}

struct StreamBody {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
    bytes: Option<u64>,
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.pieces.poll_recv(cx));
        self.ended = !matches!(piece, Some(Piece::Bytes(_)));
        Poll::Ready(match piece {
            Some(Piece::Bytes(bytes)) => {
                self.bytes = self.bytes.map(|left| left.saturating_sub(bytes.len() as u64));
                Some(Ok(http_body::Frame::data(bytes)))
            }
            Some(Piece::End) => None,
            None => Some(Err(io::Error::other("the shard was given up"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.bytes.map_or_else(Default::default, http_body::SizeHint::with_exact)
    }
}
