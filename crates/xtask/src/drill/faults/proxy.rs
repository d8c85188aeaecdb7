//! A wire that can be told to fail: plain HTTP between the gateway and one site.
//!
//! **Invariant.** What a fault does to an answer follows from the fault and from what went over
//! this wire before; while there is none, requests and answers pass as they are.
//!
//! **Deliberately absent.** Signatures (they pass), TLS, and faults of the site's own disk
//! ([`super::disks`]).
//!
//! **Crash.** Threads end with their connections, and all connections with the wire.

use crate::s3::{Answer, Keep, find, read_answer};
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Head of a request, at most.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The file by which a site is known again. Nobody lies about it: a gateway does not start over a
/// site that is another one, and says so.
const MARKER: &str = "/havre-site";
/// How often a hung request looks whether it still hangs.
const LOOK: Duration = Duration::from_millis(20);
/// Answers that are kept to be given again in another's place.
const EARLIER_MAX: usize = 64;
/// What an endless answer has, in case nobody cuts it off.
const ENDLESS_BYTES_MAX: u64 = 1 << 30;

/// What is wrong with the site behind a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It accepts, and never answers.
    Hung,
    /// Its process is gone: connections break.
    Killed,
    /// It answers 503 to everything.
    Failing,
    /// It says that it stored what it did not.
    Forgetful,
    /// Its bytes are others; its lists leave names out and invent some.
    Other,
    /// It answers with what it answered to an earlier request.
    Older,
    /// Its answers are too short, or break off.
    Shorter,
    /// Its answers never end.
    Endless,
}

impl Fault {
    /// Whether it changes answers to reads.
    pub(super) fn lies(self) -> bool {
        matches!(self, Self::Other | Self::Older | Self::Shorter | Self::Endless)
    }
}

/// The wire to one site.
pub(super) struct Wire {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    site: SocketAddr,
    fault: Mutex<Fault>,
    /// Counts changes of the fault, so that what hangs ends with it.
    changes: AtomicU64,
    closed: AtomicBool,
    /// Writes, and deletions of many, that the site confirmed.
    stored: AtomicU64,
    /// Answers to reads that were changed.
    lies: AtomicU64,
    earlier: Mutex<VecDeque<Vec<u8>>>,
    earlier_lists: Mutex<VecDeque<Vec<u8>>>,
    connections: Mutex<Vec<TcpStream>>,
}

impl Wire {
    /// A wire to the site at this address.
    pub(super) fn to(site: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a wire")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            site,
            fault: Mutex::new(Fault::None),
            changes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            stored: AtomicU64::new(0),
            lies: AtomicU64::new(0),
            earlier: Mutex::default(),
            earlier_lists: Mutex::default(),
            connections: Mutex::default(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || accept(&accepting, &listener));
        Ok(Self { shared, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the site has this fault.
    pub(super) fn set(&self, fault: Fault) {
        *held(&self.shared.fault) = fault;
        self.shared.changes.fetch_add(1, Ordering::SeqCst);
        if fault == Fault::Killed {
            self.shared.cut();
        }
    }

    /// Writes that the site confirmed so far.
    pub(super) fn stored(&self) -> u64 {
        self.shared.stored.load(Ordering::SeqCst)
    }

    /// Answers that were changed so far.
    pub(super) fn lies(&self) -> u64 {
        self.shared.lies.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.changes.fetch_add(1, Ordering::SeqCst);
        self.shared.cut();
        // The one who accepts waits for somebody to come.
        let _ = TcpStream::connect(self.address);
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of a wire panics")
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for client in listener.incoming() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.fault() == Fault::Killed {
            continue;
        }
        let Ok(clone) = client.try_clone() else { continue };
        held(&shared.connections).push(clone);
        let shared = shared.clone();
        std::thread::spawn(move || {
            // Either end may break off: that is what this is for.
            let _ = shared.serve(&client);
            let _ = client.shutdown(Shutdown::Both);
            let gone = client.peer_addr().ok();
            held(&shared.connections)
                .retain(|other| other.peer_addr().is_ok_and(|address| Some(address) != gone));
        });
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *held(&self.fault)
    }

    fn cut(&self) {
        for connection in held(&self.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// One connection of the gateway, request after request.
    fn serve(&self, mut client: &TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        let mut site: Option<TcpStream> = None;
        let mut buffer = vec![0; 256 * 1024];
        while let Some(request) = Request::read(&mut client)? {
            let changes = self.changes.load(Ordering::SeqCst);
            let fault = self.fault();
            match fault {
                Fault::Killed => return Ok(()),
                Fault::Hung => {
                    while self.changes.load(Ordering::SeqCst) == changes {
                        std::thread::sleep(LOOK);
                    }
                    return Ok(());
                }
                Fault::Failing => {
                    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
                    client.write_all(head.as_bytes())?;
                    continue;
                }
                Fault::Forgetful if request.method == "PUT" => {
                    let head = "HTTP/1.1 200 OK\r\netag: \"0\"\r\ncontent-length: 0\r\n\r\n";
                    client.write_all(head.as_bytes())?;
                    continue;
                }
                _ => {}
            }
            let stream = match &mut site {
                Some(stream) => stream,
                None => {
                    let stream = TcpStream::connect(self.site).context("connect to the site")?;
                    stream.set_nodelay(true)?;
                    site.insert(stream)
                }
            };
            stream.write_all(&request.bytes)?;
            let head_only = request.method == "HEAD";
            let (answer, reusable) = read_answer(stream, &mut buffer, head_only, Keep::Body)?;
            if !reusable {
                site = None;
            }
            // A HEAD is a probe: whether the gateway writes again it does not say.
            if matches!(&*request.method, "PUT" | "POST") && answer.status < 300 {
                self.stored.fetch_add(1, Ordering::SeqCst);
            }
            self.answer(client, &request, answer, fault, changes)?;
        }
        Ok(())
    }

    /// Passes an answer on, or what the fault makes of it.
    fn answer(
        &self,
        client: &TcpStream,
        request: &Request,
        answer: Answer,
        fault: Fault,
        changes: u64,
    ) -> Result<()> {
        let lied_about = request.method == "GET" && !request.is_marker;
        if !lied_about || answer.status >= 300 || answer.body.is_empty() {
            return send(client, &answer, &answer.body, answer.body_bytes);
        }
        let kept = if request.is_list { &self.earlier_lists } else { &self.earlier };
        let body = match fault {
            Fault::Other if request.is_list => other_names(&answer.body),
            Fault::Other => other_bytes(&answer.body),
            Fault::Older => older(&held(kept), &answer.body),
            Fault::Shorter if self.lies.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => {
                let half = &answer.body[..answer.body.len() / 2];
                return send(client, &answer, half, half.len() as u64);
            }
            Fault::Shorter => {
                let half = &answer.body[..answer.body.len() / 2];
                send(client, &answer, half, answer.body.len() as u64)?;
                bail!("the answer breaks off");
            }
            Fault::Endless => {
                self.lies.fetch_add(1, Ordering::SeqCst);
                return self.endless(client, &answer, changes);
            }
            _ => {
                let mut kept = held(kept);
                kept.push_back(answer.body.clone());
                if kept.len() > EARLIER_MAX {
                    kept.pop_front();
                }
                return send(client, &answer, &answer.body, answer.body.len() as u64);
            }
        };
        self.lies.fetch_add(u64::from(body != answer.body), Ordering::SeqCst);
        send(client, &answer, &body, body.len() as u64)
    }

    /// The right bytes, and then bytes without end: with a length that nobody has, or in chunks.
    fn endless(&self, mut client: &TcpStream, answer: &Answer, changes: u64) -> Result<()> {
        let long = changes.is_multiple_of(2);
        let mut head = head_of(answer);
        match long {
            true => head.push_str(&format!("content-length: {}\r\n\r\n", u64::MAX / 4)),
            false => head.push_str("transfer-encoding: chunked\r\n\r\n"),
        }
        client.write_all(head.as_bytes())?;
        let mut sent = 0;
        let mut piece = answer.body.clone();
        while sent < ENDLESS_BYTES_MAX && self.changes.load(Ordering::SeqCst) == changes {
            if !long {
                client.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
            }
            client.write_all(&piece)?;
            if !long {
                client.write_all(b"\r\n")?;
            }
            sent += piece.len() as u64;
            piece.resize(64 * 1024, b' ');
        }
        bail!("the answer did not end")
    }
}

/// A request as it came.
struct Request {
    method: String,
    is_list: bool,
    is_marker: bool,
    bytes: Vec<u8>,
}

impl Request {
    /// The next request; `None` when the connection ended.
    fn read(stream: &mut &TcpStream) -> Result<Option<Self>> {
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
        let head_end = loop {
            let from = bytes.len().saturating_sub(3);
            let count = stream.read(&mut piece)?;
            if count == 0 {
                return Ok(None);
            }
            bytes.extend_from_slice(&piece[..count]);
            if let Some(at) = find(&bytes[from..], b"\r\n\r\n") {
                break from + at + 4;
            }
            if bytes.len() > HEAD_BYTES_MAX {
                bail!("the request's head is too long");
            }
        };
        let head = std::str::from_utf8(&bytes[..head_end]).context("the request's head")?;
        let mut words = head.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let is_list = target.contains("list-type=");
        let is_marker = target.split('?').next().is_some_and(|path| path.ends_with(MARKER));
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let whole = head_end + length.unwrap_or(0);
        while bytes.len() < whole {
            let count = stream.read(&mut piece)?;
            if count == 0 {
                bail!("the request broke off");
            }
            bytes.extend_from_slice(&piece[..count]);
        }
        Ok(Some(Self { method, is_list, is_marker, bytes }))
    }
}

/// Status line and headers, but for what says how long the body is.
fn head_of(answer: &Answer) -> String {
    let mut head = String::new();
    for line in answer.head().lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if name != "content-length" && name != "transfer-encoding" {
            head.push_str(line);
            head.push_str("\r\n");
        }
    }
    head
}

fn send(mut client: &TcpStream, answer: &Answer, body: &[u8], length: u64) -> Result<()> {
    let mut bytes = head_of(answer).into_bytes();
    let length = match answer.header("content-length") {
        // Of a HEAD: what there would be.
        Some(length) if answer.body.is_empty() => length.to_owned(),
        _ => length.to_string(),
    };
    if answer.status != 204 && answer.status != 304 {
        bytes.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    client.write_all(&bytes).map_err(Into::into)
}

/// The same number of bytes, some of them changed.
fn other_bytes(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.iter_mut().step_by(4099).for_each(|byte| *byte ^= 0x40);
    body
}

/// What was answered before: of the same length where there was such an answer, so that only the
/// content gives it away.
fn older(earlier: &VecDeque<Vec<u8>>, body: &[u8]) -> Vec<u8> {
    let alike = earlier.iter().find(|kept| kept.len() == body.len() && *kept != body);
    alike.or_else(|| earlier.front()).cloned().unwrap_or_else(|| body.to_vec())
}

/// A list without every second name, and with names that are not there.
fn other_names(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body).into_owned();
    let (open, close) = ("<Contents>", "</Contents>");
    let mut pieces = text.split(open);
    let mut changed = pieces.next().unwrap_or_default().to_owned();
    for (at, piece) in pieces.enumerate() {
        let Some((entry, rest)) = piece.split_once(close) else { continue };
        if at % 2 == 0 {
            // Another last digit: the name of a blob that nobody wrote.
            let invented = match entry.split_once("</Key>") {
                Some((key, rest)) if key.ends_with('0') => {
                    format!("{}1</Key>{rest}", &key[..key.len() - 1])
                }
                Some((key, rest)) if key.is_char_boundary(key.len().saturating_sub(1)) => {
                    format!("{}0</Key>{rest}", &key[..key.len().saturating_sub(1)])
                }
                _ => entry.to_owned(),
            };
            let mut entries = [entry, &invented];
            // In order, or it would be known for a lie at once.
            entries.sort_unstable();
            for entry in entries {
                changed.extend([open, entry, close]);
            }
        }
        changed.push_str(rest);
    }
    changed.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_leaves_out_and_invents() {
        let list = "<L><Contents><Key>a0</Key><S>1</S></Contents><Contents><Key>b7</Key>\
                    <S>2</S></Contents><Contents><Key>c7</Key><S>3</S></Contents></L>";
        let expected = "<L><Contents><Key>a0</Key><S>1</S></Contents><Contents><Key>a1</Key>\
                        <S>1</S></Contents><Contents><Key>c0</Key><S>3</S></Contents><Contents>\
                        <Key>c7</Key><S>3</S></Contents></L>";
        assert_eq!(String::from_utf8(other_names(list.as_bytes())).expect("text"), expected);
    }

    #[test]
    fn an_older_answer_has_the_same_length_where_it_can() {
        let earlier = VecDeque::from([b"12345".to_vec(), b"123".to_vec()]);
        assert_eq!(older(&earlier, b"abc"), b"123");
        assert_eq!(older(&earlier, b"abcd"), b"12345");
        assert_eq!(older(&VecDeque::new(), b"abcd"), b"abcd");
    }
}
