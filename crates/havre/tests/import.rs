//! Imports from sources, and into gateways, that misbehave. What works is `cargo xtask drill
//! import`.

#![expect(clippy::unwrap_used, reason = "a test's server may fail loudly")]

use havre::import::{
    Credential, Dialect, End, Import, ImportError, Mode, Place, Report, Rules, Side, Tally, run,
};
use md5::{Digest as _, Md5};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a server was asked.
#[derive(Clone, Debug, Default)]
struct Asked {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// What it answers; `None` is a connection that breaks off.
type Answer = Option<(u16, Vec<(&'static str, String)>, Vec<u8>)>;

/// A server that answers as a test says, and remembers what it was asked.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    fn new(answer: impl Fn(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                drop(converse(stream.unwrap(), &answer, &seen));
            }
        });
        Self { address, asked }
    }

    fn asked(&self, method: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.method == method).cloned().collect()
    }
}

fn converse(
    stream: TcpStream,
    answer: &impl Fn(&Asked) -> Answer,
    seen: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut asked = Asked { method, target, ..Asked::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        asked.headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = asked.headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body)?;
    seen.lock().unwrap().push(asked.clone());
    let Some((status, headers, body)) = answer(&asked) else { return Ok(()) };
    let mut head = format!("HTTP/1.1 {status} Fake\r\nConnection: close\r\n");
    for (name, value) in &headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if asked.method != "HEAD" { stream.write_all(&body) } else { Ok(()) }
}

const BYTES: &[u8] = b"nine bytes";

fn md5(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

fn listing(contents: &str) -> Answer {
    Some((200, vec![], format!("<ListBucketResult>{contents}</ListBucketResult>").into_bytes()))
}

fn listed(etag: &str) -> Answer {
    listing(&format!(
        "<Contents><Key>k</Key><Size>{}</Size><ETag>\"{etag}\"</ETag>\
         <LastModified>2026-01-01T00:00:00Z</LastModified></Contents>",
        BYTES.len()
    ))
}

fn object(etag: &str) -> Answer {
    let length = ("Content-Length", BYTES.len().to_string());
    Some((200, vec![("ETag", format!("\"{etag}\"")), length], BYTES.to_vec()))
}

fn no(status: u16, code: &str) -> Answer {
    Some((status, vec![], format!("<Error><Code>{code}</Code></Error>").into_bytes()))
}

/// A source with one object, whose ETag is this.
fn source(etag: &str) -> Fake {
    let etag = etag.to_owned();
    Fake::new(move |asked| match asked.target.contains("list-type") {
        true => listed(&etag),
        false => object(&etag),
    })
}

/// A gateway with an empty bucket, which answers writes, and looks at what was written, so.
fn gateway(answer: impl Fn(&Asked) -> Answer + Send + 'static) -> Fake {
    Fake::new(move |asked| match asked.target.contains("list-type") {
        true => listing(""),
        false => answer(asked),
    })
}

async fn import(source: &Fake, gateway: &Fake) -> Result<Report, ImportError> {
    let folder = tempfile::tempdir().unwrap();
    let side = |fake: &Fake| Side {
        place: Place {
            endpoint: format!("http://{}", fake.address).parse().unwrap(),
            bucket: "b".to_owned(),
            path_style: true,
        },
        dialect: Dialect::Aws,
        credential: Credential {
            access_key: "key".to_owned(),
            secret: "secret".to_owned().into(),
            token: None,
        },
        region: "us-east-1".to_owned(),
        authorities: None,
    };
    let import = Import {
        source: side(source),
        destination: side(gateway),
        prefix: String::new(),
        journal: Path::join(folder.path(), "journal"),
        rules: Rules::default(),
        mode: Mode::Copy { create: false, survey: false },
        workers: 2,
        bytes_per_second: None,
    };
    let ports = havre_sites::system::ports();
    let report = run(&import, &Arc::new(Tally::default()), &ports, std::future::pending()).await;
    for asked in source.asked.lock().unwrap().iter() {
        assert!(["GET", "HEAD"].contains(&&*asked.method), "the source is only read: {asked:?}");
    }
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_written_with_its_digests_and_only_where_nothing_is() {
    let source = source(&md5(BYTES));
    let gateway = gateway(|asked| object(&md5(&asked.body)));
    let report = import(&source, &gateway).await.unwrap();
    assert_eq!((report.end, report.copied, report.failed), (End::Finished, 1, 0));
    let put = &gateway.asked("PUT")[0];
    assert_eq!((&*put.target, &*put.body), ("/b/k", BYTES));
    assert_eq!(put.headers["if-none-match"], "*");
    for name in ["content-md5", "x-amz-checksum-crc64nvme"] {
        assert!(put.headers.contains_key(name), "{name}");
    }
    let read = source.asked("GET").pop().unwrap();
    assert_eq!(read.headers["if-match"], format!("\"{}\"", md5(BYTES)));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_those_of_the_sources_md5_are_not_written() {
    let gateway = gateway(|asked| object(&md5(&asked.body)));
    let report = import(&source(&md5(b"others")), &gateway).await.unwrap();
    assert_eq!((report.copied, report.failed), (0, 1));
    assert!(report.failures[0].reason.contains("MD5"), "{:?}", report.failures);
    assert!(gateway.asked("PUT").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_not_written() {
    let source = Fake::new(|asked| match asked.target.contains("list-type") {
        true => listed("x"),
        false => {
            let headers = vec![("ETag", "\"x\"".to_owned()), ("Content-Length", "10".to_owned())];
            Some((200, headers, b"nine".to_vec()))
        }
    });
    let gateway = gateway(|asked| object(&md5(&asked.body)));
    let report = import(&source, &gateway).await.unwrap();
    assert_eq!((report.copied, report.failed), (0, 1));
    assert!(gateway.asked("PUT").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changes_all_the_time_is_given_up() {
    let source = Fake::new(|asked| match (asked.target.contains("list-type"), &*asked.method) {
        (true, _) => listed("x"),
        (_, "HEAD") => object("x"),
        _ => no(412, "PreconditionFailed"),
    });
    let gateway = gateway(|asked| object(&md5(&asked.body)));
    let report = import(&source, &gateway).await.unwrap();
    assert_eq!(report.failed, 1);
    assert!(report.failures[0].reason.contains("changed"), "{:?}", report.failures);
    assert_eq!(source.asked("GET").len(), 4, "the listing, and three attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_an_error_that_names_the_region_and_is_not_followed() {
    let elsewhere = Fake::new(|_| listing(""));
    let there = format!("http://{}/b", elsewhere.address);
    let source = Fake::new(move |_| {
        let region = ("x-amz-bucket-region", "eu-west-3".to_owned());
        Some((301, vec![("Location", there.clone()), region], Vec::new()))
    });
    let error = import(&source, &gateway(|_| None)).await.unwrap_err();
    assert!(error.to_string().contains("eu-west-3"), "{error}");
    assert!(elsewhere.asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_goes_round_ends() {
    // Two tokens in turn: neither is the one before it.
    let source = Fake::new(|asked| {
        let next = if asked.target.contains("continuation-token=a") { "b" } else { "a" };
        listing(&format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
        ))
    });
    let error = import(&source, &gateway(|_| None)).await.unwrap_err();
    assert!(error.to_string().contains("in a circle"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_found_to_be_done() {
    let puts = Mutex::new(0);
    let gateway = gateway(move |asked| {
        if asked.method == "HEAD" {
            return object(&md5(BYTES));
        }
        let mut puts = puts.lock().unwrap();
        *puts += 1;
        if *puts == 1 { None } else { no(412, "PreconditionFailed") }
    });
    let report = import(&source(&md5(BYTES)), &gateway).await.unwrap();
    assert_eq!((report.copied, report.kept, report.failed), (1, 0, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_wrote_meanwhile_is_kept() {
    let gateway = gateway(|_| no(412, "PreconditionFailed"));
    let report = import(&source(&md5(BYTES)), &gateway).await.unwrap();
    assert_eq!((report.copied, report.kept, report.failed), (0, 1, 0));
    assert_eq!(report.kept_keys, ["k"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_refuses_is_told_in_its_words() {
    let source = Fake::new(|asked| match asked.target.contains("list-type") {
        true => listed("x"),
        false => no(403, "InvalidObjectState"),
    });
    let report = import(&source, &gateway(|_| None)).await.unwrap();
    assert!(report.failures[0].reason.contains("restore it"), "{:?}", report.failures);
    for (code, words) in [("InvalidAccessKeyId", "not known"), ("NoSuchBucket", "no such bucket")] {
        let source = Fake::new(move |_| no(403, code));
        let error = import(&source, &gateway(|_| None)).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
