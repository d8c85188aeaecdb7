//! Connections: what goes wrong on the wire, and what is shown of it.

use crate::support;
use crate::support::{Gateway, Request, Response, Way, element, http, pattern};
use havre_model::BlobName;
use havre_server::LimitsConfig;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, crypto};

const SOON: Duration = Duration::from_secs(20);

/// Spoils the last bytes of every large shard at `sites` sites.
fn spoil(gateway: &Gateway, sites: usize) {
    for site in &gateway.sites[..sites] {
        let snapshot = site.snapshot();
        for (name, bytes) in snapshot.shards() {
            if bytes.len() > 500_000 {
                let mut spoilt = bytes.to_vec();
                let end = spoilt.len();
                spoilt[end - 300_000..].fill(0);
                let name: BlobName = name.parse().expect("a blob's name");
                site.tamper(&name, Some(spoilt.into()));
            }
        }
    }
}

#[tokio::test]
async fn i4_an_object_that_cannot_be_read_to_its_end_breaks_the_connection() {
    let gateway = Gateway::with_bucket().await;
    let body = pattern(6_000_000, 1);
    gateway.put("key", &body).await;
    spoil(&gateway, 3);
    let got = gateway.get("key").await;
    assert!(got.status == 200 && got.complete && got.body == body, "three honest sites suffice");
    spoil(&gateway, 4);
    let got = gateway.get("key").await;
    assert_eq!(got.status, 200);
    assert!(!got.complete, "it is broken off, not ended");
    assert!(got.body.len() < body.len() && body.starts_with(&got.body), "and what came is right");
    let tail = Request::new("GET", "/bucket/key").header("range", "bytes=-1000");
    assert_eq!(
        gateway.send(tail).await.outcome(),
        "503 ServiceUnavailable",
        "nothing was sent yet"
    );
    let copy = Request::new("PUT", "/bucket/copy").header("x-amz-copy-source", "/bucket/key");
    assert_eq!(gateway.send(copy).await.outcome(), "503 ServiceUnavailable");
    assert_eq!(gateway.get("copy").await.status, 404, "half a copy is none");
}

#[tokio::test]
async fn a_request_that_meets_a_bug_is_answered_and_no_other_is_harmed() {
    let gateway = Gateway::with_bucket().await;
    let request = Request::new("PUT", "/bucket/key").body(pattern(300_000, 1));
    let request = request.host(gateway.address);
    let unlucky = gateway.raw(gateway.unlucky().sign(Way::Header, request)).await;
    assert_eq!(unlucky.outcome(), "500 InternalError");
    assert!(element(&unlucky.text(), "RequestId").is_some());
    let request = Request::new("HEAD", "/bucket/key").host(gateway.address);
    let unlucky = gateway.raw(gateway.unlucky().sign(Way::Header, request)).await;
    assert_eq!((unlucky.status, unlucky.body.len()), (500, 0));
    assert_eq!(gateway.get("key").await.status, 404);
    gateway.put("key", b"x").await;
    assert_eq!(gateway.get("key").await.body, b"x");
}

fn limits(change: impl FnOnce(&mut LimitsConfig)) -> LimitsConfig {
    let mut limits = LimitsConfig::default();
    change(&mut limits);
    limits
}

async fn started(change: impl FnOnce(&mut LimitsConfig)) -> Gateway {
    let gateway = Gateway::start_with("us-east-1", limits(change)).await;
    gateway.ok(Request::new("PUT", "/bucket")).await;
    gateway
}

#[tokio::test]
async fn a_client_that_stops_sending_is_given_up() {
    let gateway = started(|limits| limits.body_timeout = Duration::from_millis(300)).await;
    for way in [Way::Header, Way::UnsignedPayload, Way::Streaming, Way::UnsignedTrailer] {
        let request =
            Request::new("PUT", "/bucket/key").body(pattern(100_000, 1)).host(gateway.address);
        let bytes = gateway.signer().sign(way, request).bytes();
        let stream = TcpStream::connect(gateway.address).await.expect("connects");
        let response = http::exchange(stream, &bytes[..bytes.len() - 50_000], "PUT").await;
        assert_eq!(response.outcome(), "400 RequestTimeout", "{way:?}");
    }
    assert_eq!(gateway.get("key").await.status, 404);
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"original").await;
    for way in support::WAYS {
        let request =
            Request::new("PUT", "/bucket/key").body(pattern(100_000, 1)).host(gateway.address);
        let bytes = gateway.signer().sign(way, request).bytes();
        let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
        stream.write_all(&bytes[..bytes.len() - 10]).await.expect("writes");
        stream.shutdown().await.expect("closes");
        let mut rest = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("ends");
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{way:?}");
    }
    assert_eq!(gateway.get("key").await.body, b"original");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up() {
    let gateway = started(|limits| limits.write_timeout = Duration::from_millis(500)).await;
    let body = pattern(48 * 1024 * 1024, 1);
    gateway.put("key", &body).await;
    let request = Request::new("GET", "/bucket/key").host(gateway.address);
    let bytes = gateway.signer().sign(Way::Header, request).bytes();
    let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
    stream.write_all(&bytes).await.expect("writes");
    gateway.ports.runtime.sleep(Duration::from_secs(2)).await;
    let response =
        timeout(SOON, http::read(&mut stream, "GET")).await.expect("ends").expect("a head");
    assert!(!response.complete, "the rest was not kept for it");
}

#[tokio::test]
async fn heads_that_do_not_come_are_not_waited_for() {
    let gateway = started(|limits| limits.header_timeout = Duration::from_millis(300)).await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
        stream.write_all(start.as_bytes()).await.expect("writes");
        let mut rest = Vec::new();
        let read = timeout(SOON, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "{start:?}: the connection is closed");
    }
    // The same on a connection that is kept alive.
    let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
    let request = Request::new("HEAD", "/bucket").host(gateway.address);
    let bytes = gateway.signer().sign(Way::Header, request).bytes();
    stream.write_all(&bytes).await.expect("writes");
    assert_eq!(http::read(&mut stream, "HEAD").await.expect("a response").status, 200);
    let mut rest = Vec::new();
    assert!(timeout(SOON, stream.read_to_end(&mut rest)).await.is_ok(), "it is closed");
}

#[tokio::test]
async fn connections_are_bounded_and_wait_their_turn() {
    let gateway = started(|limits| limits.connections_max = 2).await;
    let one = TcpStream::connect(gateway.address).await.expect("connects");
    let two = TcpStream::connect(gateway.address).await.expect("connects");
    gateway.ports.runtime.sleep(Duration::from_millis(200)).await;
    let waiting = gateway.send(Request::new("HEAD", "/bucket"));
    let mut waiting = std::pin::pin!(waiting);
    assert!(timeout(Duration::from_millis(300), waiting.as_mut()).await.is_err(), "it has to wait");
    drop((one, two));
    assert_eq!(timeout(SOON, waiting).await.expect("its turn came").status, 200);
}

#[tokio::test]
async fn the_body_is_asked_for_only_when_it_is_wanted() {
    let gateway = Gateway::with_bucket().await;
    let request = |target: &str| {
        let request = Request::new("PUT", target).body(b"hello").header("expect", "100-continue");
        gateway.signer().sign(Way::Header, request.host(gateway.address)).bytes()
    };
    let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
    let bytes = request("/bucket/key");
    stream.write_all(&bytes[..bytes.len() - 5]).await.expect("writes");
    let mut line = [0; 25];
    timeout(SOON, stream.read_exact(&mut line)).await.expect("in time").expect("reads");
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("writes");
    let response = http::read(&mut stream, "PUT").await.expect("a response");
    assert_eq!(response.status, 200);
    let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
    let bytes = request("/none/key");
    stream.write_all(&bytes[..bytes.len() - 5]).await.expect("writes");
    let refused = timeout(SOON, http::read(&mut stream, "PUT")).await.expect("in time");
    let refused = refused.expect("a response");
    assert_eq!(refused.status, 404, "the body was never asked for");
    // The connection ends then, and a client that was not told so lost its next request in it.
    assert_eq!(refused.value("connection"), Some("close"));
    let rest = timeout(SOON, stream.read(&mut [0; 1])).await.expect("in time");
    assert_eq!(rest.expect("the end"), 0);
}

#[tokio::test]
async fn who_still_sends_gets_to_read_the_refusal() {
    let gateway = Gateway::with_bucket().await;
    let body = pattern(8 * 1024 * 1024, 1);
    for _ in 0..5 {
        let request = Request::new("PUT", "/none/key").body(&body);
        let refused = gateway.send_as(Way::UnsignedPayload, request).await;
        assert_eq!(refused.outcome(), "404 NoSuchBucket");
    }
}

/// Sends bytes as they are; `None` when the connection is closed without a response.
async fn raw(gateway: &Gateway, bytes: &[u8]) -> Option<Response> {
    let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    timeout(SOON, http::read(&mut stream, "PUT")).await.expect("in time")
}

#[tokio::test]
async fn b17_framing_that_two_readers_read_differently() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"original").await;
    let request = Request::new("PUT", "/bucket/key").host(gateway.address);
    let signed = gateway.signer().sign(Way::UnsignedPayload, request);
    let head: String =
        signed.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let start = format!("PUT /bucket/key HTTP/1.1\r\n{head}");
    for (what, rest) in [
        (
            "length and chunks",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("two lengths", "content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        ("signed length", "content-length: +5\r\n\r\nhello"),
        ("negative length", "content-length: -5\r\n\r\nhello"),
        ("list of lengths", "content-length: 5, 6\r\n\r\nhello"),
        ("hexadecimal length", "content-length: 0x5\r\n\r\nhello"),
        ("overflowing length", "content-length: 18446744073709551621\r\n\r\nhello"),
        (
            "two codings",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
        ),
        ("unknown coding", "transfer-encoding: xchunked\r\n\r\nhello"),
        ("coding not last", "transfer-encoding: chunked, gzip\r\n\r\nhello"),
        ("folded header", "x-amz-meta-a: 1\r\n folded\r\ncontent-length: 5\r\n\r\nhello"),
        ("space before the colon", "content-length : 5\r\n\r\nhello"),
        ("chunks of no known length", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("NUL in a header", "x-a: \0\r\ncontent-length: 5\r\n\r\nhello"),
    ] {
        let response = raw(&gateway, format!("{start}{rest}").as_bytes()).await;
        let refused = response.as_ref().is_none_or(|response| response.status >= 400);
        assert!(refused, "{what}: {response:?}");
        assert_eq!(gateway.get("key").await.body, b"original", "{what}");
    }
    let extension = format!(
        "{start}transfer-encoding: chunked\r\n\r\n5;{}\r\nhello\r\n0\r\n\r\n",
        "x".repeat(1024 * 1024)
    );
    assert!(
        raw(&gateway, extension.as_bytes()).await.is_none_or(|response| response.status >= 400)
    );
    let many: String = (0..100_000).map(|number| format!("x-{number}: 1\r\n")).collect();
    let many = format!("{start}{many}content-length: 5\r\n\r\nhello");
    assert!(raw(&gateway, many.as_bytes()).await.is_none_or(|response| response.status >= 400));
    assert_eq!(gateway.get("key").await.body, b"original");
}

#[tokio::test]
async fn requests_on_one_connection_follow_each_other() {
    let gateway = Gateway::with_bucket().await;
    let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
    for size in [0, 10, 300_000, 1, 5000] {
        let body = pattern(size, 1);
        for (method, body) in [("PUT", body.clone()), ("GET", Vec::new()), ("HEAD", Vec::new())] {
            let request = Request::new(method, "/bucket/key").body(&body).host(gateway.address);
            let bytes = gateway.signer().sign(Way::Header, request).bytes();
            stream.write_all(&bytes).await.expect("writes");
            let response = http::read(&mut stream, method).await.expect("a response");
            assert_eq!(response.status, 200, "{method} of {size}");
        }
    }
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn encrypted(
    gateway: &Gateway,
    protocol: &[u8],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(gateway.tls_address).await.expect("connects");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("shakes hands")
}

#[tokio::test]
async fn tls_serves_http_1_and_2() {
    let gateway = Gateway::with_bucket().await;
    let body = pattern(700_000, 1);
    let put = Request::new("PUT", "/bucket/key").body(&body).host(gateway.tls_address);
    let bytes = gateway.signer().sign(Way::UnsignedTrailer, put).bytes();
    let response = http::exchange(encrypted(&gateway, b"http/1.1").await, &bytes, "PUT").await;
    assert_eq!(response.outcome(), "200", "{}", response.text());
    let stream = encrypted(&gateway, b"h2").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    gateway.ports.runtime.spawn(Box::pin(async move {
        let _ = connection.await;
    }));
    for (method, sent) in [("GET", Vec::new()), ("PUT", pattern(2_000_000, 2)), ("GET", Vec::new())]
    {
        let request = Request::new(method, "/bucket/key").body(&sent).host(gateway.tls_address);
        let signed = gateway.signer().sign(Way::Header, request);
        let uri = format!("https://{}/bucket/key", gateway.tls_address);
        let mut builder = hyper::Request::builder().method(method).uri(uri);
        for (name, value) in &signed.headers {
            if name != "host" {
                builder = builder.header(name, value);
            }
        }
        let request = builder.body(Full::new(bytes::Bytes::from(signed.body))).expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        assert_eq!(response.status(), 200, "{method}");
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(method == "PUT" || bytes.len() == 700_000 || bytes.len() == 2_000_000);
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Kinds and payloads of the frames in `bytes`.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = &rest[..length.min(rest.len())];
        found.push((head[3], payload.to_vec()));
        bytes = &rest[payload.len()..];
    }
    found
}

#[tokio::test]
async fn b17_who_opens_and_resets_streams_in_a_row_loses_the_connection() {
    const GOAWAY: u8 = 7;
    const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"original").await;
    let mut stream = encrypted(&gateway, b"h2").await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // GET / over https, in the static table's terms, and its end; then the reset, as cancelled.
    let head = [&[0x82, 0x84, 0x87, 0x41, 9][..], b"localhost"].concat();
    for number in 0..1000 {
        bytes.extend(frame(1, 5, 2 * number + 1, &head));
        bytes.extend(frame(3, 0, 2 * number + 1, &8_u32.to_be_bytes()));
    }
    // The server may have closed before it has taken everything.
    let _ = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    let reading = timeout(SOON, stream.read_to_end(&mut answer)).await;
    assert!(reading.is_ok(), "the connection ends");
    let told = frames(&answer)
        .iter()
        .any(|(kind, payload)| *kind == GOAWAY && payload.get(4..8) == Some(&ENHANCE_YOUR_CALM));
    assert!(told, "{:?}", frames(&answer));
    assert_eq!(gateway.get("key").await.body, b"original", "nobody else notices");
}

#[tokio::test]
async fn requests_under_way_end_before_the_server_does() {
    let mut gateway = Gateway::with_bucket().await;
    let body = pattern(100_000, 1);
    let request = Request::new("PUT", "/bucket/key").body(&body).host(gateway.address);
    let bytes = gateway.signer().sign(Way::Header, request).bytes();
    let mut stream = TcpStream::connect(gateway.address).await.expect("connects");
    stream.write_all(&bytes[..bytes.len() - 10]).await.expect("writes");
    gateway.ports.runtime.sleep(Duration::from_millis(200)).await;
    gateway.stop();
    gateway.ports.runtime.sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(gateway.address).await.is_err(), "no new connections");
    stream.write_all(&bytes[bytes.len() - 10..]).await.expect("writes");
    let response = http::read(&mut stream, "PUT").await.expect("a response");
    assert_eq!(response.status, 200);
    timeout(SOON, &mut gateway.stopped).await.expect("the server ends").expect("and says so");
}

#[tokio::test]
async fn the_admin_listener_shows_health_and_metrics_and_nothing_else() {
    let gateway = Gateway::with_bucket().await;
    let ask = |method: &str, target: &str| {
        let request = Request::new(method, target).host(gateway.admin);
        let address = gateway.admin;
        async move { http::send(address, &request).await }
    };
    assert_eq!(ask("GET", "/healthz").await.text(), "ok\n");
    assert_eq!(ask("GET", "/readyz").await.status, 200);
    assert_eq!(ask("GET", "/metrics").await.status, 200);
    for (method, target) in [
        ("POST", "/metrics"),
        ("DELETE", "/healthz"),
        ("GET", "/"),
        ("GET", "/debug/pprof"),
        ("GET", "/bucket"),
        ("GET", "/../etc/passwd"),
    ] {
        assert!(ask(method, target).await.status >= 400, "{method} {target}");
    }
    for target in ["/healthz", "/metrics", "/readyz"] {
        let response = gateway.raw(Request::new("GET", target)).await;
        assert_eq!(response.status, 403, "S3's listener has no {target}");
    }
}

/// A writer of logs that can be read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn b22_no_name_and_no_secret_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let gateway = Gateway::start().await;
    let put = |target: &str| {
        Request::new("PUT", target)
            .body(b"canary-plaintext")
            .header("x-amz-meta-canary-meta", "canary-value")
            .header("x-amz-tagging", "canary-tag=1")
    };
    gateway.ok(Request::new("PUT", "/canary-bucket")).await;
    gateway.ok(put("/canary-bucket/canary-key")).await;
    let body = "<Delete><Object><Key>canary-malformed</Key>";
    let malformed = Request::new("POST", "/canary-bucket?delete").body(body);
    let malformed = malformed.header("content-md5", &support::md5(body.as_bytes()));
    for request in [
        Request::new("GET", "/canary-bucket/canary-key"),
        Request::new("GET", "/canary-bucket/canary-none"),
        Request::new("GET", "/canary-bucket?prefix=canary-prefix"),
        Request::new("GET", "/canary-none/canary-key"),
        Request::new("PUT", "/canary-bucket/canary-copy")
            .header("x-amz-copy-source", "/canary-bucket/canary-key"),
        malformed,
        put("/canary-bucket/canary-key").header("x-amz-checksum-crc32", "AAAAAA=="),
        Request::new("GET", "/").header("host", "canary-host.s3.example.test"),
    ] {
        let _ = gateway.send(request.clone()).await;
        let _ = gateway.raw(request).await;
    }
    let logged = String::from_utf8_lossy(&log.0.lock().expect("not poisoned")).into_owned();
    assert!(logged.contains("operation=\"PutObject\" status=200"), "requests are logged: {logged}");
    let ours: Vec<&str> = logged.lines().filter(|line| line.contains("canary")).collect();
    assert!(ours.is_empty(), "{}", ours.join("\n"));
    for secret in ["owner's secret", support::world::OWNER.0, "Signature="] {
        assert!(!logged.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn b22_error_documents_carry_no_secret() {
    let gateway = Gateway::with_bucket().await;
    let request = Request::new("GET", "/bucket/key").host(gateway.address);
    let mut signer = gateway.signer();
    signer.secret.push('x');
    for way in [Way::Header, Way::Presigned] {
        let text = gateway.raw(signer.sign(way, request.clone())).await.text();
        assert_eq!(element(&text, "Code").as_deref(), Some("SignatureDoesNotMatch"));
        for secret in ["owner's secret", "Signature=", "/work", ".rs:"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
