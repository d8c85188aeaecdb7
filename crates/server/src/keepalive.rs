//! Answers that take long: copies and completions are kept alive, as S3 does it.
//!
//! Clients give a connection up that is silent for a minute. S3 therefore answers a copy or a
//! completion with 200 before it is done, sends white space while it works, and then the document,
//! which may be an error: the SDKs look for one in it. Here that is done only for what is slow, so
//! that everything else has its true status.
//!
//! **Invariant.** The document comes after the operation ended, whole, or the connection fails.
//!
//! **Deliberately absent.** Other operations: their clients expect a status that is final.
//!
//! **Crash.** The client sees a broken connection and repeats.

use crate::response::substitute;
use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};
use havre_model::ports::{Runtime, Task};
use http::{HeaderValue, Method, Response, header};
use http_body::Frame;
use s3s::path::S3Path;
use s3s::{Body, HttpError};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long an operation may take before its answer begins, and the pause between two blanks.
const PAUSE: Duration = Duration::from_secs(10);
/// What documents begin with, and so does an answer that has to wait for its document.
const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

/// The answer of the operation.
pub(crate) type Answering = BoxFuture<'static, Result<Response<Body>, HttpError>>;

/// Whether clients of this operation know to look for an error in a 200.
pub(crate) fn may_wait(method: &Method, path: &S3Path, copies: bool, completes: bool) -> bool {
    let object = path.as_object().is_some();
    object && ((*method == Method::PUT && copies) || (*method == Method::POST && completes))
}

/// The answer, or the begin of one that follows.
pub(crate) async fn answer(
    answering: Answering,
    runtime: Arc<dyn Runtime>,
) -> Result<Response<Body>, HttpError> {
    match select(answering, runtime.sleep(PAUSE)).await {
        Either::Left((answer, _)) => answer,
        Either::Right(((), answering)) => {
            let mut response = Response::new(Body::http_body_unsync(KeptAlive {
                answering: Some(answering),
                document: None,
                timer: runtime.sleep(PAUSE),
                runtime,
                begun: false,
            }));
            let xml = HeaderValue::from_static("application/xml");
            response.headers_mut().insert(header::CONTENT_TYPE, xml);
            Ok(response)
        }
    }
}

struct KeptAlive {
    answering: Option<Answering>,
    document: Option<Body>,
    timer: Task,
    runtime: Arc<dyn Runtime>,
    begun: bool,
}

/// The document of an answer, behind the declaration that was sent already.
fn document(mut response: Response<Body>) -> Body {
    substitute(&mut response);
    let body = response.into_body();
    match body.bytes() {
        Some(bytes) if bytes.starts_with(DECLARATION) => {
            Body::from(bytes.slice(DECLARATION.len()..))
        }
        _ => body,
    }
}

impl http_body::Body for KeptAlive {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, s3s::StdError>>> {
        if !self.begun {
            self.begun = true;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(DECLARATION)))));
        }
        if let Some(answering) = &mut self.answering {
            match answering.as_mut().poll(context) {
                Poll::Ready(Ok(response)) => {
                    self.answering = None;
                    self.document = Some(document(response));
                }
                Poll::Ready(Err(error)) => {
                    self.answering = None;
                    return Poll::Ready(Some(Err(error.into_std_error())));
                }
                Poll::Pending => {
                    std::task::ready!(self.timer.as_mut().poll(context));
                    self.timer = self.runtime.sleep(PAUSE);
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))));
                }
            }
        }
        match &mut self.document {
            Some(document) => Pin::new(document).poll_frame(context),
            None => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::oneshot;
    use futures::{FutureExt as _, StreamExt as _};
    use http_body_util::BodyExt as _;
    use parking_lot::Mutex;

    /// A runtime whose sleeps end when they are told to.
    #[derive(Default)]
    struct Sleeps(Mutex<Vec<oneshot::Sender<()>>>);

    impl Runtime for Sleeps {
        fn sleep(&self, _: Duration) -> Task {
            let (end, ended) = oneshot::channel();
            self.0.lock().push(end);
            ended.map(|_| ()).boxed()
        }

        fn spawn(&self, _: Task) {}
    }

    impl Sleeps {
        /// Lets the sleep that began last end.
        fn pass(&self) {
            let last = self.0.lock().pop().expect("something sleeps");
            last.send(()).expect("and waits");
        }
    }

    fn text(frame: Option<Result<Frame<Bytes>, s3s::StdError>>) -> String {
        let bytes = frame.expect("a frame").expect("no error").into_data().expect("data");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[test]
    fn what_is_quick_is_answered_as_it_is() {
        let sleeps = Arc::new(Sleeps::default());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::PRECONDITION_FAILED;
        let quick = answer(async { Ok(response) }.boxed(), sleeps).now_or_never();
        let status = quick.expect("at once").expect("no error").status();
        assert_eq!(status, http::StatusCode::PRECONDITION_FAILED);
    }

    #[test]
    fn what_is_slow_begins_with_blanks_and_ends_with_its_document() {
        let sleeps = Arc::new(Sleeps::default());
        let (done, result) = oneshot::channel();
        let slow = async { Ok(result.await.expect("an answer")) }.boxed();
        let mut answering = answer(slow, sleeps.clone()).boxed();
        assert!((&mut answering).now_or_never().is_none());
        sleeps.pass();
        let response = answering.now_or_never().expect("it begins").expect("no error");
        assert_eq!(response.status(), http::StatusCode::OK);
        let mut body = response.into_body();
        let declaration = String::from_utf8(DECLARATION.to_vec()).expect("text");
        assert_eq!(text(body.frame().now_or_never().expect("a frame")), declaration);
        assert!(body.frame().now_or_never().is_none(), "nothing until the pause is over");
        sleeps.pass();
        assert_eq!(text(body.frame().now_or_never().expect("a frame")), " ");
        let failed = Response::new(Body::from(format!("{declaration}<Error/>")));
        done.send(failed).expect("it is waited for");
        let rest: Vec<_> = body.into_data_stream().collect().now_or_never().expect("the end");
        let rest: Vec<Bytes> = rest.into_iter().map(|bytes| bytes.expect("no error")).collect();
        assert_eq!(rest.concat(), b"<Error/>");
    }

    #[test]
    fn only_copies_and_completions_may_wait() {
        let (object, bucket) = (S3Path::object("b", "k"), S3Path::bucket("b"));
        assert!(may_wait(&Method::PUT, &object, true, false));
        assert!(may_wait(&Method::POST, &object, false, true));
        assert!(!may_wait(&Method::PUT, &object, false, true));
        assert!(!may_wait(&Method::GET, &object, true, true));
        assert!(!may_wait(&Method::POST, &bucket, true, true));
    }
}
