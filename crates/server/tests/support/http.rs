//! Requests byte by byte, and responses as they come.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a response may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query as they stand in the request line.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether `Content-Length` is added when it is sent.
    pub(crate) sized: bool,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            sized: true,
        }
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Adds a header, also if there is one of this name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces a header.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.header(name, value)
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn host(self, address: SocketAddr) -> Self {
        if self.value("host").is_some() { self } else { self.header("host", &address.to_string()) }
    }

    /// Adds a parameter to the query.
    pub(crate) fn query(mut self, parameter: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(parameter);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let bodyless = self.body.is_empty() && ["GET", "HEAD", "DELETE"].contains(&&*self.method);
        if self.sized && !bodyless && self.value("content-length").is_none() {
            bytes.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body was all that the head announced.
    pub(crate) complete: bool,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The S3 error code.
    pub(crate) fn code(&self) -> String {
        super::element(&self.text(), "Code").unwrap_or_default()
    }

    /// Status and code, for tables.
    pub(crate) fn outcome(&self) -> String {
        format!("{} {}", self.status, self.code()).trim_end().to_owned()
    }
}

/// Sends on a connection of its own.
pub(crate) async fn send(address: SocketAddr, request: &Request) -> Response {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    exchange(stream, &request.bytes(), &request.method).await
}

/// Writes bytes and reads one response.
pub(crate) async fn exchange<T>(stream: T, bytes: &[u8], method: &str) -> Response
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        // The server may answer, and close, before it has taken everything.
        let _ = writer.write_all(bytes).await;
        let _ = writer.flush().await;
        std::future::pending::<()>().await;
    };
    let reading = read(&mut reader, method);
    let response = timeout(PATIENCE, async {
        tokio::select! {
            response = reading => response,
            () = writing => unreachable!("writing never ends by itself"),
        }
    });
    response.await.expect("a response in time").unwrap_or_else(|| panic!("no response"))
}

/// Reads one response; `None` when the connection ends before its head does.
pub(crate) async fn read<T: AsyncRead + Unpin>(stream: &mut T, method: &str) -> Option<Response> {
    let mut bytes = Vec::new();
    loop {
        let head = until_blank_line(stream, &mut bytes).await?;
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if status == 100 {
            continue;
        }
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Response { status, headers, body: Vec::new(), complete: true };
        if method == "HEAD" || [204, 304].contains(&status) {
            return Some(response);
        }
        body(stream, bytes, &mut response).await;
        return Some(response);
    }
}

async fn until_blank_line<T: AsyncRead + Unpin>(
    stream: &mut T,
    bytes: &mut Vec<u8>,
) -> Option<String> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            let head = std::mem::replace(bytes, rest);
            return Some(String::from_utf8_lossy(&head[..end]).into_owned());
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn body<T: AsyncRead + Unpin>(stream: &mut T, mut bytes: Vec<u8>, response: &mut Response) {
    let chunked = response.value("transfer-encoding") == Some("chunked");
    let length: Option<usize> = response.value("content-length").and_then(|text| text.parse().ok());
    loop {
        let done = match length {
            Some(length) => bytes.len() >= length,
            None if chunked => bytes.ends_with(b"0\r\n\r\n"),
            None => false,
        };
        if done {
            break;
        }
        match stream.read_buf(&mut bytes).await {
            Ok(count) if count > 0 => {}
            _ => {
                response.complete = length.is_none() && !chunked;
                break;
            }
        }
    }
    response.body = if chunked { unchunk(&bytes) } else { bytes };
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let digits = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
        let Ok(length) = usize::from_str_radix(digits, 16) else { break };
        let rest = &bytes[end + 2..];
        if length == 0 || rest.len() < length + 2 {
            break;
        }
        body.extend_from_slice(&rest[..length]);
        bytes = &rest[length + 2..];
    }
    body
}
