//! A small, fast S3 client: HTTP/1.1 with keep-alive over a blocking socket, SigV4 in the header.
//!
//! **Invariant.** One request at a time per connection; a connection whose answer was not read to
//! its end is never used again.
//!
//! **Deliberately absent.** TLS, redirects, retries and XML: the load that measures a server on two
//! cores must not be the heavier half of the work, and a retry would hide what a drill looks for.
//!
//! **Crash.** Nothing is kept.

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long one read or write may take before the server counts as gone.
const IO_TIMEOUT: Duration = Duration::from_secs(120);
/// A request's body up to this size leaves in one segment with its head.
const INLINE_BODY_BYTES_MAX: usize = 16 * 1024;
/// Head of an answer, at most.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const REGION: &str = "us-east-1";

/// An access key with its secret.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

/// What to ask for. The default is `GET /`.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// `/bucket/key`, made of unreserved characters only.
    pub(crate) path: &'a str,
    /// Sorted and encoded, without the question mark.
    pub(crate) query: &'a str,
    /// Lower-case names, sorted; all are signed.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self { method: "GET", path: "/", query: "", headers: &[], body: &[] }
    }
}

/// A status, its headers, and the body when it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
    /// Length of the body, kept or not.
    pub(crate) body_bytes: u64,
}

impl Answer {
    /// The value of a header, its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Status line and headers, as they came.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The contents of the first `<tag>` in an XML body.
    pub(crate) fn tag(&self, tag: &str) -> Option<String> {
        tags(&self.text(), tag).into_iter().next()
    }
}

/// The contents of every `<tag>` of a body, which must not nest.
pub(crate) fn tags(text: &str, tag: &str) -> Vec<String> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let ends = text.split(&open).skip(1);
    ends.filter_map(|rest| rest.split(&close).next()).map(str::to_owned).collect()
}

/// What becomes of an answer's body. Errors are always kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Collected into [`Answer::body`].
    Body,
    /// Read and counted.
    Count,
}

/// A connection to one server.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    signer: Signer,
    buffer: Vec<u8>,
    head: String,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr, credential: &Credential) -> Self {
        Self {
            address,
            stream: None,
            signer: Signer::new(credential, &address.to_string()),
            buffer: vec![0; 256 * 1024],
            head: String::with_capacity(1024),
        }
    }

    /// Sends `request` and reads the whole answer. After an error the next call connects anew.
    pub(crate) fn send(&mut self, request: &Request<'_>, keep: Keep) -> Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        self.signer.head(request, request.body.len() as u64, &mut self.head);
        write_request(&mut stream, self.head.as_bytes(), request.body).context("send")?;
        let head_only = request.method == "HEAD";
        let (answer, reusable) = read_answer(&mut stream, &mut self.buffer, head_only, keep)?;
        if reusable {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    /// Puts an object of `length` bytes, which `produce` hands to what it is given, piece by piece.
    pub(crate) fn upload(
        &mut self,
        path: &str,
        length: u64,
        produce: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<Answer> {
        let mut stream = connect(self.address)?;
        let request = Request { method: "PUT", path, ..Request::default() };
        self.signer.head(&request, length, &mut self.head);
        stream.write_all(self.head.as_bytes()).context("send")?;
        produce(&mut |piece| stream.write_all(piece).context("send"))?;
        Ok(read_answer(&mut stream, &mut self.buffer, false, Keep::Body)?.0)
    }

    /// Reads an answer's body piece by piece, however long it is; an error's is kept as always.
    pub(crate) fn download(
        &mut self,
        request: &Request<'_>,
        mut take: impl FnMut(&[u8]),
    ) -> Result<Answer> {
        let mut stream = connect(self.address)?;
        self.signer.head(request, 0, &mut self.head);
        stream.write_all(self.head.as_bytes()).context("send")?;
        Ok(read_answer_into(&mut stream, &mut self.buffer, false, Keep::Count, Some(&mut take))?.0)
    }

    /// As [`Connection::send`], but any status outside 200..300 is an error.
    pub(crate) fn expect(&mut self, request: &Request<'_>, keep: Keep) -> Result<Answer> {
        let answer = self.send(request, keep)?;
        if !(200..300).contains(&answer.status) {
            let (method, path) = (request.method, request.path);
            bail!("{method} {path} answered {}: {}", answer.status, answer.text());
        }
        Ok(answer)
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    Ok(stream)
}

fn write_request(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> std::io::Result<()> {
    if body.len() > INLINE_BODY_BYTES_MAX {
        stream.write_all(head)?;
        return stream.write_all(body);
    }
    let written = stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])?;
    match written.checked_sub(head.len()) {
        Some(of_body) => stream.write_all(&body[of_body..]),
        None => {
            stream.write_all(&head[written..])?;
            stream.write_all(body)
        }
    }
}

/// Reads one answer; whether the connection may be used again.
pub(crate) fn read_answer(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    head_only: bool,
    keep: Keep,
) -> Result<(Answer, bool)> {
    read_answer_into(stream, buffer, head_only, keep, None)
}

/// As [`read_answer`]; the body of a success goes to `sink`, if there is one.
fn read_answer_into(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    head_only: bool,
    keep: Keep,
    sink: Option<Sink<'_, '_>>,
) -> Result<(Answer, bool)> {
    let mut filled = 0;
    let head_end = loop {
        let count = stream.read(&mut buffer[filled..]).context("read the answer")?;
        if count == 0 {
            bail!("the server closed the connection");
        }
        let from = filled.saturating_sub(3);
        filled += count;
        if let Some(at) = find(&buffer[from..filled], b"\r\n\r\n") {
            break from + at + 4;
        }
        if filled > HEAD_BYTES_MAX {
            bail!("the answer's head is too long");
        }
    };
    let head = std::str::from_utf8(&buffer[..head_end]).context("the answer's head")?.to_owned();
    let status = head.get(9..12).and_then(|code| code.parse().ok());
    let mut answer = Answer { status: status.context("status")?, head, ..Answer::default() };
    let (keep, sink) = if answer.status >= 300 { (Keep::Body, None) } else { (keep, sink) };
    let mut body = BodyReader { stream, buffer, from: head_end, to: filled, sink };
    if !head_only && answer.status != 204 && answer.status != 304 {
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().context("content-length")?;
            body.take(length, keep, &mut answer)?;
        } else if answer.header("transfer-encoding").is_some() {
            body.chunks(keep, &mut answer)?;
        } else {
            bail!("an answer of no length: {}", answer.head);
        }
    }
    let close = answer.header("connection").is_some_and(|value| value.contains("close"));
    Ok((answer, !close))
}

/// What takes a body piece by piece.
type Sink<'a, 's> = &'a mut (dyn FnMut(&[u8]) + 's);

/// The rest of an answer: what was read already, then the socket.
struct BodyReader<'a, 's> {
    sink: Option<Sink<'a, 's>>,
    stream: &'a mut TcpStream,
    buffer: &'a mut [u8],
    from: usize,
    to: usize,
}

impl BodyReader<'_, '_> {
    fn fill(&mut self) -> Result<()> {
        self.from = 0;
        self.to = self.stream.read(self.buffer).context("read the body")?;
        if self.to == 0 {
            bail!("the body ended early");
        }
        Ok(())
    }

    fn take(&mut self, length: u64, keep: Keep, answer: &mut Answer) -> Result<()> {
        let mut left = length;
        while left > 0 {
            if self.from == self.to {
                self.fill()?;
            }
            let here = (self.to - self.from).min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece = &self.buffer[self.from..self.from + here];
            if let Some(sink) = &mut self.sink {
                sink(piece);
            } else if keep == Keep::Body {
                answer.body.extend_from_slice(piece);
            }
            self.from += here;
            left -= here as u64;
        }
        answer.body_bytes += length;
        Ok(())
    }

    fn chunks(&mut self, keep: Keep, answer: &mut Answer) -> Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size.trim(), 16).context("a chunk's size")?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.take(size, keep, answer)?;
            self.line()?;
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            if self.from == self.to {
                self.fill()?;
            }
            let byte = self.buffer[self.from];
            self.from += 1;
            match byte {
                b'\n' => return String::from_utf8(line).map_err(|_| anyhow!("a chunk's line")),
                b'\r' => {}
                _ if line.len() < 1024 => line.push(byte),
                _ => bail!("a chunk's line is too long"),
            }
        }
    }
}

/// Where a text begins in another.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Signs requests with `UNSIGNED-PAYLOAD`; keeps the day's key.
struct Signer {
    credential: Credential,
    host: String,
    day: String,
    key: [u8; 32],
}

impl Signer {
    fn new(credential: &Credential, host: &str) -> Self {
        let credential = credential.clone();
        Self { credential, host: host.to_owned(), day: String::new(), key: [0; 32] }
    }

    /// Writes the request's head, signature included, into `head`.
    fn head(&mut self, request: &Request<'_>, length: u64, head: &mut String) {
        let (day, stamp) = timestamp();
        if day != self.day {
            let secret = format!("AWS4{}", self.credential.secret_key);
            let steps = [day.as_str(), REGION, "s3", "aws4_request"];
            let key: Vec<u8> = steps
                .iter()
                .fold(secret.into_bytes(), |key, step| hmac_sha256(&key, step.as_bytes()).to_vec());
            self.key.copy_from_slice(&key);
            self.day = day;
        }
        let mut headers: Vec<(&str, &str)> = vec![
            ("host", &self.host),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-date", &stamp),
        ];
        headers.extend_from_slice(request.headers);
        headers.sort_unstable();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");

        let Request { method, path, query, .. } = *request;
        let mut canonical = format!("{method}\n{path}\n{query}\n");
        for (name, value) in &headers {
            // Blanks beside each other are signed as one.
            let words = || value.split(' ').filter(|word| !word.is_empty());
            match value.contains("  ") {
                true => canonical.extend([name, ":", &words().collect::<Vec<_>>().join(" "), "\n"]),
                false => canonical.extend([name, ":", value, "\n"]),
            }
        }
        canonical.extend(["\n", &names, "\nUNSIGNED-PAYLOAD"]);
        let scope = format!("{}/{REGION}/s3/aws4_request", self.day);
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
        let signature = hex::encode(hmac_sha256(&self.key, to_sign.as_bytes()));

        head.clear();
        let mark = if query.is_empty() { "" } else { "?" };
        head.extend([method, " ", path, mark, query, " HTTP/1.1\r\n"]);
        for (name, value) in &headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let access_key = &self.credential.access_key;
        write!(
            head,
            "authorization: AWS4-HMAC-SHA256 Credential={access_key}/{scope}, \
             SignedHeaders={names}, Signature={signature}\r\ncontent-length: {length}\r\n\r\n"
        )
        .expect("a String takes what is written to it");
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// The day and the second as SigV4 writes them.
fn timestamp() -> (String, String) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    let seconds = since.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let date = format!("{year:04}{month:02}{day:02}");
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    (date.clone(), format!("{date}T{h:02}{m:02}{s:02}Z"))
}

/// Year, month and day of a day counted from 1970 (Howard Hinnant's algorithm).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let digest = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(digest), expected);
        let digest =
            hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(hex::encode(digest), expected);
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_780), (2026, 11, 23));
    }

    #[test]
    fn tags_are_found_in_order() {
        let text = "<a><Key>one</Key><b/><Key>two</Key></a>";
        assert_eq!(tags(text, "Key"), ["one", "two"]);
        assert!(tags(text, "ETag").is_empty());
    }
}
