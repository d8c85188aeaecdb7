//! A site that is a hostile HTTP server (I9, attack A23): each of its tricks costs at most one
//! deadline, never more memory than was asked for, and never a request to anywhere else.
use crate::support;
use havre_sites::{
    Guarded, Operation, SiteError, SiteErrorKind, SiteLimits,
    conformance::{content, extent, permit},
    system,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const DEADLINE: Duration = Duration::from_millis(800);

/// What the server does once it has read a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trick {
    /// Sends the client to the address in the answer's place: inward.
    Redirect,
    /// Never answers.
    Silence,
    /// Hangs up.
    HangUp,
    /// A body without end.
    Endless,
    /// A body of one byte now and then.
    Drip,
    /// Headers without end.
    Headers,
    /// A compressed body that becomes a thousand times as long.
    Bomb,
    /// Says more bytes than it sends.
    Cut,
    /// More bytes than were asked for.
    Long,
    /// Fewer bytes than were asked for, properly framed.
    Short,
    /// No HTTP at all.
    Garbage,
    /// An error with a body without end.
    EndlessError,
    /// XML with entities that grow.
    Entities,
    /// XML a hundred thousand elements deep.
    Deep,
}

const ALL: [Trick; 14] = [
    Trick::Redirect,
    Trick::Silence,
    Trick::HangUp,
    Trick::Endless,
    Trick::Drip,
    Trick::Headers,
    Trick::Bomb,
    Trick::Cut,
    Trick::Long,
    Trick::Short,
    Trick::Garbage,
    Trick::EndlessError,
    Trick::Entities,
    Trick::Deep,
];

struct Hostile {
    address: String,
    /// Bytes of bodies that clients took.
    sent: Arc<AtomicU64>,
    /// Requests at the address that redirects point to.
    lured: Arc<AtomicU64>,
}

async fn hostile(trick: Trick) -> Hostile {
    let (sent, lured) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inward = format!("http://{}/metadata", inside.local_addr().unwrap());
    let count = Arc::clone(&lured);
    support::spawn(async move {
        while let Ok((_stream, _)) = inside.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::clone(&sent);
    support::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (inward, count) = (inward.clone(), Arc::clone(&count));
            support::spawn(async move { drop(serve(stream, trick, &inward, &count).await) });
        }
    });
    Hostile { address, sent, lured }
}

#[expect(clippy::too_many_lines, reason = "one trick after the other")]
async fn serve(
    mut stream: TcpStream,
    trick: Trick,
    inward: &str,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let endless = async |stream: &mut TcpStream, block: &[u8]| -> std::io::Result<()> {
        loop {
            stream.write_all(block).await?;
            sent.fetch_add(block.len() as u64, Ordering::SeqCst);
        }
    };
    let chunk = format!("{:x}\r\n{}\r\n", 0x10000, "x".repeat(0x10000));
    match trick {
        Trick::Redirect => {
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {inward}\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await?;
        }
        Trick::Silence => stream.read_to_end(&mut head).await.map(drop)?,
        Trick::HangUp => {}
        Trick::Endless => {
            stream.write_all(b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            endless(&mut stream, chunk.as_bytes()).await?;
        }
        Trick::EndlessError => {
            let head = b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head).await?;
            endless(&mut stream, chunk.as_bytes()).await?;
        }
        Trick::Drip => {
            stream.write_all(b"HTTP/1.1 206 OK\r\nContent-Length: 1000\r\n\r\n").await?;
            let ports = system::ports();
            loop {
                stream.write_all(b"x").await?;
                ports.runtime.sleep(Duration::from_millis(100)).await;
            }
        }
        Trick::Headers => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            let lines = "X-Filler: abcdefghijklmnopqrstuvwxyz\r\n".repeat(1000);
            endless(&mut stream, lines.as_bytes()).await?;
        }
        Trick::Bomb => {
            // A gzip header and a deflate block that would run on for ever.
            let head =
                b"HTTP/1.1 206 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head).await?;
            stream.write_all(b"a\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03\r\n").await?;
            endless(&mut stream, chunk.as_bytes()).await?;
        }
        Trick::Cut => {
            stream.write_all(b"HTTP/1.1 206 OK\r\nContent-Length: 1000\r\n\r\nabc").await?;
        }
        Trick::Long => {
            let body = "x".repeat(1001);
            let head = "HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n";
            stream.write_all(format!("{head}{body}\r\n0\r\n\r\n").as_bytes()).await?;
        }
        Trick::Short => {
            stream.write_all(b"HTTP/1.1 206 OK\r\nContent-Length: 3\r\n\r\nabc").await?;
        }
        Trick::Garbage => stream.write_all(&[0x16; 4000]).await?,
        Trick::Entities => {
            let mut xml =
                "<?xml version=\"1.0\"?><!DOCTYPE l [<!ENTITY a \"aaaaaaaaaa\">".to_owned();
            for (entity, of) in ('b'..='j').zip('a'..) {
                xml += &format!("<!ENTITY {entity} \"{}\">", format!("&{of};").repeat(10));
            }
            xml += "]><ListBucketResult><Contents><Key>&j;</Key></Contents></ListBucketResult>";
            xml_answer(&mut stream, &xml).await?;
        }
        Trick::Deep => xml_answer(&mut stream, &"<a>".repeat(100_000)).await?,
    }
    stream.shutdown().await
}

async fn xml_answer(stream: &mut TcpStream, xml: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 207 OK\r\nContent-Length: {}\r\n\r\n", xml.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(xml.as_bytes()).await
}

/// The two protocols that parse most: S3 and WebDAV.
fn sites(address: &str) -> Vec<Guarded> {
    let limits =
        SiteLimits { deadline: DEADLINE, silent_calls_max: u32::MAX, ..SiteLimits::default() };
    let dav = support::remote(&format!("webdav://{address}/root"), &[("token", SECRET)]);
    [support::s3_site(address, true), dav]
        .map(|site| Guarded::new(Arc::new(site), limits.clone(), system::ports()))
        .to_vec()
}

const SECRET: &str = "a token that no error may show";

/// Every operation once; what each said and how long it took.
async fn ask_everything(site: &Guarded) -> Vec<(Operation, Option<SiteError>, Duration)> {
    let name = extent(1);
    let mut said = Vec::new();
    let mut note = |operation, error: Option<SiteError>, began: Instant| {
        said.push((operation, error, began.elapsed()));
    };
    let began = now();
    note(Operation::Read, site.read(&name, 0..1000).await.err(), began);
    let began = now();
    note(Operation::ReadAll, site.read_all(&name, 1000).await.err(), began);
    let began = now();
    note(Operation::List, site.list("e/", None, 10).await.err(), began);
    let began = now();
    note(Operation::Marker, site.marker().await.err(), began);
    let began = now();
    note(Operation::Delete, site.delete(&name).await.err(), began);
    let put = |n| (permit(site.id(), &extent(n)), extent(n), content(n, 1000));
    let (permit, name, shard) = put(2);
    let began = now();
    note(Operation::Put, site.put(permit, &name, shard).await.err(), began);
    let (permit, name, shard) = put(3);
    let began = now();
    let stream = async {
        let mut writer = site.create(permit, &name, None).await?;
        writer.write(shard).await?;
        writer.finish().await
    };
    note(Operation::Finish, stream.await.err(), began);
    said
}

#[expect(clippy::disallowed_methods, reason = "real time on real sockets")]
fn now() -> Instant {
    Instant::now()
}

async fn check(trick: Trick) {
    let server = hostile(trick).await;
    for site in sites(&server.address) {
        for (operation, error, took) in ask_everything(&site).await {
            let what = format!("{trick:?}, {operation}: {error:?} after {took:?}");
            // A stream has a deadline for each of its steps.
            let steps = if operation == Operation::Finish { 3 } else { 1 };
            let slack = Duration::from_secs(2);
            assert!(took <= DEADLINE * steps + slack, "{what}");
            // That a write succeeded is a site's word; a read has to show bytes.
            if matches!(operation, Operation::Read | Operation::Marker) {
                assert!(error.is_some(), "{what}");
            }
            let shown = format!("{error:?}");
            for secret in [SECRET, support::SECRET_KEY] {
                assert!(!shown.contains(secret), "{what}");
            }
            if trick == Trick::Redirect {
                assert_eq!(error.map(|error| error.kind), Some(SiteErrorKind::Invalid), "{what}");
            }
        }
    }
    assert_eq!(server.lured.load(Ordering::SeqCst), 0, "{trick:?}: a redirect was followed");
    // What was taken in vain: buffers of the sockets, and listings up to their cap.
    let sent = server.sent.load(Ordering::SeqCst);
    assert!(sent < 1 << 30, "{trick:?}: {sent} bytes were taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trick_of_a_hostile_server_ends_within_the_deadline_and_within_memory() {
    let before = resident_bytes();
    futures::future::join_all(ALL.map(check)).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 400 << 20, "{grown} bytes stayed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_takes_no_more_bytes_than_it_has() {
    let server = hostile(Trick::Endless).await;
    for site in sites(&server.address) {
        let error = site.read(&extent(1), 0..1000).await.unwrap_err();
        assert_eq!(error.kind, SiteErrorKind::Invalid, "{error}");
    }
    // Socket buffers, not gigabytes: the connection is closed at the first byte too many.
    let sent = server.sent.load(Ordering::SeqCst);
    assert!(sent < 32 << 20, "{sent} bytes were taken");
}

/// Memory that the process holds, the most it ever did.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}
