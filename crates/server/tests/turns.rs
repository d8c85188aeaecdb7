//! More requests than may be worked on at once: who waits, who is told to slow down, and who has to
//! leave.

use crate::support;
use crate::support::{Gateway, Request, Way, http, pattern};
use havre_server::LimitsConfig;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
/// More than the buffers of a connection take.
const LARGE: usize = 24_000_000;

async fn started(change: impl FnOnce(&mut LimitsConfig)) -> Gateway {
    let mut limits = LimitsConfig { requests_max: 2, ..LimitsConfig::default() };
    change(&mut limits);
    let gateway = Gateway::start_with("us-east-1", limits).await;
    gateway.ok(Request::new("PUT", "/bucket")).await;
    gateway
}

/// Clients may be as slow as they like.
fn patient(limits: &mut LimitsConfig) {
    limits.client_bytes_per_second_min = 0;
}

/// Sends the request but for its last `missing` bytes.
async fn begun(gateway: &Gateway, request: Request, missing: usize) -> (TcpStream, Vec<u8>) {
    let request = gateway.signer().sign(Way::UnsignedPayload, request.host(gateway.address));
    let mut bytes = request.bytes();
    let rest = bytes.split_off(bytes.len() - missing);
    let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
    stream.write_all(&bytes).await.expect("writes");
    (stream, rest)
}

/// Two uploads that hold both turns.
async fn two_held(gateway: &Gateway) -> Vec<(TcpStream, Vec<u8>)> {
    let mut held = Vec::new();
    for number in 0..2 {
        let put = Request::new("PUT", &format!("/bucket/held-{number}"));
        held.push(begun(gateway, put.body(pattern(100_000, 1)), 10).await);
    }
    gateway.ports.runtime.sleep(Duration::from_millis(200)).await;
    held
}

/// A read whose answer is not taken, but for its first bytes.
async fn stopped_reader(gateway: &Gateway) -> TcpStream {
    let (mut stream, _) = begun(gateway, Request::new("GET", "/bucket/large"), 0).await;
    let mut first = [0; 15];
    timeout(SOON, stream.read_exact(&mut first)).await.expect("in time").expect("reads");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    stream
}

#[tokio::test]
async fn a_request_beyond_the_limit_waits_for_its_turn() {
    let gateway = started(patient).await;
    let mut held = two_held(&gateway).await;
    let mut waiting = std::pin::pin!(gateway.send(Request::new("HEAD", "/bucket")));
    assert!(timeout(Duration::from_millis(500), waiting.as_mut()).await.is_err(), "it waits");
    for (stream, rest) in &mut held {
        stream.write_all(rest).await.expect("writes");
        let answer = timeout(SOON, http::read(stream, "PUT")).await.expect("in time");
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert_eq!(timeout(SOON, waiting).await.expect("its turn came").status, 200);
}

#[tokio::test]
async fn who_waited_in_vain_is_told_to_slow_down() {
    let gateway = started(|limits| {
        patient(limits);
        limits.turn_timeout = Duration::from_millis(300);
    })
    .await;
    let held = two_held(&gateway).await;
    for request in [Request::new("GET", "/bucket"), Request::new("PUT", "/bucket/new").body("new")]
    {
        let refused = timeout(SOON, gateway.send(request)).await.expect("in time");
        assert_eq!(refused.outcome(), "503 SlowDown");
        assert_eq!(refused.value("retry-after"), Some("1"));
    }
    drop(held);
    gateway.ports.runtime.sleep(Duration::from_millis(300)).await;
    assert_eq!(gateway.get("new").await.status, 404, "what was refused did not happen");
    gateway.put("new", b"new").await;
}

#[tokio::test]
async fn only_so_many_wait() {
    let gateway = started(|limits| {
        patient(limits);
        limits.turn_timeout = Duration::from_secs(60);
    })
    .await;
    let held = two_held(&gateway).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(begun(&gateway, Request::new("GET", "/bucket"), 0).await);
    }
    gateway.ports.runtime.sleep(Duration::from_millis(300)).await;
    let refused = timeout(SOON, gateway.send(Request::new("GET", "/bucket"))).await;
    assert_eq!(refused.expect("at once").outcome(), "503 SlowDown");
    drop(held);
    for (mut stream, _) in waiting {
        let answer = timeout(SOON, http::read(&mut stream, "GET")).await.expect("in time");
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn health_and_the_unsigned_need_no_turn() {
    let gateway = started(patient).await;
    let _held = two_held(&gateway).await;
    let health = Request::new("GET", "/healthz").host(gateway.admin);
    let health = timeout(SOON, http::send(gateway.admin, &health)).await;
    assert_eq!(health.expect("at once").status, 200);
    let unsigned = timeout(SOON, gateway.raw(Request::new("GET", "/bucket"))).await;
    assert_eq!(unsigned.expect("at once").status, 403);
}

#[tokio::test]
async fn a_turn_is_held_until_the_last_byte_is_taken() {
    let gateway = started(|limits| {
        patient(limits);
        limits.requests_max = 1;
    })
    .await;
    let body = pattern(LARGE, 1);
    gateway.put("large", &body).await;
    let mut stream = stopped_reader(&gateway).await;
    let mut waiting = std::pin::pin!(gateway.send(Request::new("HEAD", "/bucket")));
    assert!(timeout(Duration::from_secs(1), waiting.as_mut()).await.is_err(), "it waits");
    let mut rest = Vec::new();
    let reading = async {
        while !rest.ends_with(&body[LARGE - 100..]) {
            assert_ne!(stream.read_buf(&mut rest).await.expect("reads"), 0);
        }
    };
    timeout(SOON, reading).await.expect("in time");
    assert_eq!(timeout(SOON, waiting).await.expect("its turn came").status, 200);
}

#[tokio::test]
async fn i8_readers_that_stop_leave_when_others_wait() {
    let gateway = started(|limits| limits.turn_timeout = Duration::from_secs(2)).await;
    gateway.put("large", &pattern(LARGE, 1)).await;
    let mut stopped = [stopped_reader(&gateway).await, stopped_reader(&gateway).await];
    gateway.ports.runtime.sleep(Duration::from_millis(1200)).await;
    let answer = timeout(SOON, gateway.send(Request::new("HEAD", "/bucket"))).await;
    assert_eq!(answer.expect("in time").status, 200, "a slow reader gave way");
    // One had to go, and only one.
    let mut ended = 0;
    for stream in &mut stopped {
        let (mut taken, mut piece) = (0, vec![0; 1 << 20]);
        let reading = async {
            loop {
                match stream.read(&mut piece).await {
                    Ok(count) if count > 0 && taken < LARGE => taken += count,
                    _ => return,
                }
            }
        };
        let _ = timeout(Duration::from_secs(2), reading).await;
        ended += usize::from(taken < LARGE);
    }
    assert_eq!(ended, 1);
}

#[tokio::test]
async fn i8_senders_that_stop_leave_when_others_wait() {
    let gateway = started(|limits| limits.turn_timeout = Duration::from_secs(2)).await;
    let _held = two_held(&gateway).await;
    let answer = timeout(SOON, gateway.send(Request::new("HEAD", "/bucket"))).await;
    assert_eq!(answer.expect("in time").status, 200, "a slow sender gave way");
}

#[tokio::test]
async fn i8_streams_that_grant_no_window_leave_when_others_wait() {
    let gateway = started(|limits| limits.turn_timeout = Duration::from_secs(2)).await;
    gateway.put("large", &pattern(LARGE, 1)).await;
    let stream = TcpStream::connect(gateway.address).await.expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    gateway.ports.runtime.spawn(Box::pin(async move {
        let _ = connection.await;
    }));
    let mut stopped = Vec::new();
    for _ in 0..2 {
        let get = Request::new("GET", "/bucket/large").host(gateway.address);
        let signed = gateway.signer().sign(Way::Header, get);
        let uri = format!("http://{}/bucket/large", gateway.address);
        let mut builder = hyper::Request::builder().uri(uri);
        for (name, value) in signed.headers.iter().filter(|(name, _)| name != "host") {
            builder = builder.header(name, value);
        }
        let request = builder.body(Empty::<bytes::Bytes>::new()).expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        assert_eq!(response.status(), 200);
        stopped.push(response);
    }
    let answer = timeout(SOON, gateway.send(Request::new("HEAD", "/bucket"))).await;
    assert_eq!(answer.expect("in time").status, 200, "a stream gave way, with its connection");
    for response in stopped {
        assert!(response.into_body().collect().await.is_err(), "it is broken off, not ended");
    }
}

#[tokio::test]
async fn who_keeps_the_pace_is_left_alone() {
    let gateway = started(|limits| limits.turn_timeout = Duration::from_secs(2)).await;
    let body = pattern(LARGE, 1);
    gateway.put("large", &body).await;
    let mut readers = [stopped_reader(&gateway).await, stopped_reader(&gateway).await];
    let waiting = async {
        for _ in 0..2 {
            let refused = gateway.send(Request::new("GET", "/bucket")).await;
            assert_eq!(refused.outcome(), "503 SlowDown");
        }
    };
    let reading = async {
        // A fifth of a second between two pieces, for five seconds: slower than the network is, and
        // far above the least pace.
        let mut piece = vec![0; 512 * 1024];
        for _ in 0..25 {
            for reader in &mut readers {
                reader.read_exact(&mut piece).await.expect("it goes on");
            }
            gateway.ports.runtime.sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(SOON, async { futures::join!(waiting, reading) }).await.expect("in time");
}

#[tokio::test]
async fn documents_wait_for_room_and_slow_senders_of_them_leave() {
    let gateway = started(|limits| {
        limits.requests_max = 16;
        limits.documents_bytes_max = 8192;
        limits.turn_timeout = Duration::from_secs(2);
    })
    .await;
    let document = format!("<Delete><Object><Key>a</Key></Object></Delete>{}", " ".repeat(8000));
    let delete = || {
        let request = Request::new("POST", "/bucket?delete").body(&document);
        request.header("content-md5", &support::md5(document.as_bytes()))
    };
    let _held = begun(&gateway, delete(), 10).await;
    gateway.ports.runtime.sleep(Duration::from_millis(200)).await;
    let deleted = timeout(SOON, gateway.send(delete())).await.expect("in time");
    assert_eq!(deleted.status, 200, "the slow one gave way: {}", deleted.text());
}
