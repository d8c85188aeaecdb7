//! ATTACKS, part B, on what signed requests name: keys, uploads, ranges and lists; and the races
//! between them.

use crate::support::{Gateway, Request, Response, Way, element, elements, pattern};

/// Names that another system would take for something else; each with how a URL writes it.
const ODD_KEYS: [(&str, &str); 18] = [
    ("../x", "../x"),
    ("..%2F..%2F..%2Fetc%2Fpasswd", "../../../etc/passwd"),
    ("/etc/passwd", "/etc/passwd"),
    ("C:%5CWindows%5Cwin.ini", "C:\\Windows\\win.ini"),
    ("CON", "CON"),
    ("NUL.txt", "NUL.txt"),
    ("COM1", "COM1"),
    ("~root", "~root"),
    ("%2E", "."),
    ("%2E%2E", ".."),
    ("p/00/blob", "p/00/blob"),
    ("e/extent", "e/extent"),
    ("catalog.sqlite", "catalog.sqlite"),
    (".havre.sys/key", ".havre.sys/key"),
    (".minio.sys/format.json", ".minio.sys/format.json"),
    ("havre-marker", "havre-marker"),
    ("a%20b", "a b"),
    ("a+b", "a+b"),
];

async fn listed(gateway: &Gateway) -> Vec<String> {
    let text = gateway.ok(Request::new("GET", "/bucket?list-type=2")).await.text();
    elements(&text, "Key")
}

#[tokio::test]
async fn b10_keys_are_names_and_nothing_else() {
    let gateway = Gateway::with_bucket().await;
    for (index, (written, key)) in ODD_KEYS.iter().enumerate() {
        let body = format!("{index}");
        for way in [Way::Header, Way::Presigned, Way::UnsignedTrailer] {
            let target = format!("/bucket/{written}");
            let put = Request::new("PUT", &target).body(&body);
            assert_eq!(gateway.send_as(way, put).await.outcome(), "200", "{way:?} {written}");
        }
        assert!(listed(&gateway).await.contains(&(*key).to_owned()), "{key}");
    }
    let keys = listed(&gateway).await;
    assert_eq!(keys.len(), ODD_KEYS.len(), "no two of them are one: {keys:?}");
    for (index, (written, _)) in ODD_KEYS.iter().enumerate() {
        assert_eq!(gateway.get(written).await.text(), format!("{index}"), "{written}");
    }
    for site in &gateway.sites {
        for name in site.snapshot().shards().keys() {
            let told = ODD_KEYS.iter().find(|(_, key)| key.len() > 2 && name.contains(key));
            assert_eq!(told, None, "{name}");
        }
    }
}

#[tokio::test]
async fn b9_slashes_dots_and_lengths_of_keys_are_kept() {
    let gateway = Gateway::with_bucket().await;
    let keys = ["a/b", "a//b", "a/./b", "a/../b", "/a/b", "a/b/", "//", "a/b//", "./a", "a/."];
    for key in keys {
        gateway.put(key, key.as_bytes()).await;
    }
    for key in keys {
        assert_eq!(gateway.get(key).await.text(), key);
    }
    assert_eq!(listed(&gateway).await.len(), keys.len());
    let name = |bytes: usize| {
        format!("/bucket/{}", "%C3%A9".repeat(bytes / 2) + "k".repeat(bytes % 2).as_str())
    };
    for method in ["PUT", "GET", "HEAD", "DELETE"] {
        let outcome = |bytes| {
            let (gateway, target) = (&gateway, name(bytes));
            async move { gateway.send(Request::new(method, &target)).await.outcome() }
        };
        assert!(outcome(1024).await.starts_with('2'), "{method} of 1,024 bytes");
        assert!(outcome(1025).await.starts_with("400"), "{method} of 1,025 bytes");
    }
    for (written, expected) in [
        ("a%00b", "400 InvalidURI"),
        ("%C0%AE%C0%AE/x", "400 InvalidURI"),
        ("%ED%A0%80", "400 InvalidURI"),
        ("%FF", "400 InvalidURI"),
    ] {
        let put = Request::new("PUT", &format!("/bucket/{written}")).body(b"x");
        assert_eq!(gateway.send(put).await.outcome(), expected, "{written}");
    }
}

async fn begin(gateway: &Gateway, key: &str) -> String {
    let target = format!("/bucket/{key}?uploads");
    element(&gateway.ok(Request::new("POST", &target)).await.text(), "UploadId").expect("an id")
}

fn part(key: &str, upload: &str, number: i32) -> Request {
    Request::new("PUT", &format!("/bucket/{key}?partNumber={number}&uploadId={upload}"))
        .body(format!("part {number}"))
}

fn completion(key: &str, upload: &str, etag: &str) -> Request {
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    Request::new("POST", &format!("/bucket/{key}?uploadId={upload}")).body(body)
}

fn etag(response: &Response) -> String {
    response.value("etag").expect("an ETag").to_owned()
}

#[tokio::test]
async fn b13_nobody_else_gets_at_an_upload() {
    let gateway = Gateway::with_bucket().await;
    let upload = begin(&gateway, "key").await;
    let tag = etag(&gateway.ok(part("key", &upload, 1)).await);
    let list = Request::new("GET", &format!("/bucket/key?uploadId={upload}"));
    let abort = Request::new("DELETE", &format!("/bucket/key?uploadId={upload}"));
    let requests = [part("key", &upload, 1), completion("key", &upload, &tag), list, abort];
    for request in &requests {
        let stranger = gateway.stranger().sign(Way::Header, request.clone().host(gateway.address));
        let outcome = gateway.raw(stranger).await.outcome();
        assert_eq!(outcome, "403 AccessDenied", "{} {}", request.method, request.target);
    }
    gateway.ok(Request::new("PUT", "/other")).await;
    for request in requests {
        let target = request.target.replacen("/bucket/", "/other/", 1);
        let elsewhere = Request { target, ..request };
        let outcome = gateway.send(elsewhere.clone()).await.outcome();
        assert_eq!(outcome, "404 NoSuchUpload", "{} {}", elsewhere.method, elsewhere.target);
    }
    assert_eq!(gateway.send(completion("key", &upload, &tag)).await.outcome(), "200");
    assert_eq!(gateway.get("key").await.text(), "part 1");
}

#[tokio::test]
async fn b13_an_upload_ends_one_way_whoever_is_faster() {
    for round in 0..8 {
        let gateway = Gateway::with_bucket().await;
        let upload = begin(&gateway, "key").await;
        let tag = etag(&gateway.ok(part("key", &upload, 1)).await);
        let complete = || gateway.send(completion("key", &upload, &tag));
        let abort =
            || gateway.send(Request::new("DELETE", &format!("/bucket/key?uploadId={upload}")));
        let (completed, aborted, late) =
            tokio::join!(complete(), abort(), gateway.send(part("key", &upload, 2)));
        let outcomes = (completed.outcome(), aborted.outcome());
        let exists = gateway.get("key").await.status == 200;
        let known = match (outcomes.0.as_str(), outcomes.1.as_str()) {
            ("200", "404 NoSuchUpload") => exists,
            ("404 NoSuchUpload", "204") => !exists,
            _ => false,
        };
        assert!(known, "round {round}: {outcomes:?}, it exists: {exists}");
        assert!(["200", "404 NoSuchUpload"].contains(&late.outcome().as_str()));
        assert_eq!(gateway.send(part("key", &upload, 3)).await.outcome(), "404 NoSuchUpload");
        let text = gateway.ok(Request::new("GET", "/bucket?uploads")).await.text();
        assert_eq!(elements(&text, "UploadId"), [""; 0]);
    }
}

#[tokio::test]
async fn b18_ranges_that_ask_for_too_much_or_for_nothing() {
    let gateway = Gateway::with_bucket().await;
    let body = pattern(1000, 1);
    gateway.put("key", &body).await;
    let many = format!("bytes={}", vec!["0-1"; 5000].join(","));
    let overlapping = "bytes=0-999,0-999,0-999,1-998";
    for (range, expected) in [
        (many.as_str(), "200"),
        (overlapping, "200"),
        ("bytes=-0", "416 InvalidRange"),
        ("bytes=1000-", "416 InvalidRange"),
        ("bytes=18446744073709551616-", "416 InvalidRange"),
        ("bytes=0-18446744073709551616", "206"),
        ("bytes=-18446744073709551616", "206"),
    ] {
        let response =
            gateway.send(Request::new("GET", "/bucket/key").header("range", range)).await;
        assert_eq!(response.outcome(), expected, "{}", &range[..range.len().min(40)]);
        assert!(response.status == 416 || response.body == body, "each byte once");
    }
    let both = Request::new("GET", "/bucket/key?partNumber=1").header("range", "bytes=0-1");
    assert_eq!(gateway.send(both).await.outcome(), "400 InvalidRequest");
}

#[tokio::test]
async fn b19_tokens_are_good_only_where_they_were_given() {
    let gateway = Gateway::with_bucket().await;
    for key in ["a", "b", "c"] {
        gateway.put(key, b"x").await;
    }
    let text = gateway.ok(Request::new("GET", "/bucket?list-type=2&max-keys=1")).await.text();
    let token = element(&text, "NextContinuationToken").expect("more");
    let mut forged = token.clone().into_bytes();
    let last = forged.last_mut().expect("not empty");
    *last = if *last == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("ASCII");
    for other in [forged.as_str(), "", "AAAA", "../../etc", &"A".repeat(5000)] {
        let target = format!("/bucket?list-type=2&continuation-token={other}");
        let outcome = gateway.send(Request::new("GET", &target)).await.outcome();
        assert_eq!(outcome, "400 InvalidArgument", "{}", &other[..other.len().min(40)]);
    }
    let buckets = format!("/?continuation-token={token}");
    let outcome = gateway.send(Request::new("GET", &buckets)).await.outcome();
    assert_eq!(outcome, "400 InvalidArgument", "of another list");
    let target = format!("/bucket?list-type=2&continuation-token={token}");
    assert_eq!(elements(&gateway.ok(Request::new("GET", &target)).await.text(), "Key"), ["b", "c"]);
}

/// Whoever replaces what he read knows that nobody came in between: each success is one step of one
/// chain, whichever of the writing operations it was.
#[tokio::test]
async fn b24_of_those_who_replace_the_same_state_one_succeeds() {
    let gateway = Gateway::with_bucket().await;
    let mut current = etag(&gateway.put("key", b"first").await);
    for round in 0..6 {
        // Other bytes in each round, or a state would come back and match again, as it should.
        gateway.put("source", format!("copied in {round}").as_bytes()).await;
        let again = format!("again in {round}");
        let upload = begin(&gateway, "key").await;
        let tag = etag(&gateway.ok(part("key", &upload, 1)).await);
        let put = |number: i32| {
            Request::new("PUT", "/bucket/key").body(format!("put {number} of round {round}"))
        };
        let copy = Request::new("PUT", "/bucket/key").header("x-amz-copy-source", "/bucket/source");
        let requests = [
            put(1),
            put(2),
            put(3),
            copy,
            completion("key", &upload, &tag),
            Request::new("DELETE", "/bucket/key"),
        ];
        let writers = requests.into_iter().map(|it| gateway.send(it.header("if-match", &current)));
        let outcomes = futures::future::join_all(writers).await;
        let successes = outcomes.iter().filter(|it| [200, 204].contains(&it.status)).count();
        let all: Vec<String> = outcomes.iter().map(Response::outcome).collect();
        assert_eq!(successes, 1, "round {round}: {all:?}");
        assert!(
            outcomes.iter().all(|it| [200, 204, 404, 409, 412].contains(&it.status)),
            "{all:?}"
        );
        let left = gateway.get("key").await;
        let gone = left.status == 404;
        let found = if gone { gateway.put("key", again.as_bytes()).await } else { left };
        let next = etag(&found);
        assert_ne!(next, current, "round {round}");
        current = next;
    }
}
