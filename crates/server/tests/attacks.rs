//! ATTACKS, part B: every operation, every way of signing, every way of getting it wrong. Whatever
//! is refused must also have changed nothing.

use crate::support;
use crate::support::{Gateway, Request, Signer, Way, element, elements, md5};

const BODY: &[u8] = b"<Delete><Object><Key>key</Key></Object></Delete>";

/// One of each kind of operation; those with a body would do harm.
fn operations(upload: &str) -> Vec<Request> {
    let complete = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>\
                    </CompleteMultipartUpload>";
    vec![
        Request::new("GET", "/"),
        Request::new("PUT", "/made"),
        Request::new("HEAD", "/bucket"),
        Request::new("GET", "/bucket?list-type=2&prefix=k"),
        Request::new("GET", "/bucket?location"),
        Request::new("DELETE", "/empty"),
        Request::new("POST", "/bucket?delete").body(BODY).header("content-md5", &md5(BODY)),
        Request::new("GET", "/bucket/key"),
        Request::new("HEAD", "/bucket/key"),
        Request::new("PUT", "/bucket/key").body(b"overwritten"),
        Request::new("PUT", "/bucket/copy").header("x-amz-copy-source", "/bucket/key"),
        Request::new("DELETE", "/bucket/key"),
        Request::new("POST", "/bucket/key?uploads"),
        Request::new("PUT", &format!("/bucket/other?partNumber=1&uploadId={upload}")).body(b"part"),
        Request::new("POST", &format!("/bucket/other?uploadId={upload}")).body(complete),
        Request::new("DELETE", &format!("/bucket/other?uploadId={upload}")),
    ]
}

/// The ways that an operation can be signed.
fn ways(request: &Request) -> Vec<Way> {
    let upload = request.method == "PUT"
        && request.target.matches('/').count() > 1
        && request.value("x-amz-copy-source").is_none();
    let mut ways = vec![Way::Header, Way::UnsignedPayload, Way::Presigned];
    if upload {
        ways.extend([Way::Streaming, Way::StreamingTrailer, Way::UnsignedTrailer]);
    }
    ways
}

pub(crate) struct Target {
    gateway: Gateway,
    upload: String,
}

impl Target {
    pub(crate) async fn new() -> Self {
        let gateway = Gateway::with_bucket().await;
        gateway.ok(Request::new("PUT", "/empty")).await;
        gateway.put("key", b"original").await;
        let text = gateway.ok(Request::new("POST", "/bucket/other?uploads")).await.text();
        Self { gateway, upload: element(&text, "UploadId").expect("an id") }
    }

    /// Signs each operation in each way, spoils it, and expects one of these outcomes.
    #[track_caller]
    pub(crate) fn refuses<'t>(
        &'t self,
        spoil: impl Fn(&Signer, Way, Request) -> Option<Request> + 't,
        expected: &'t [&'t str],
    ) -> impl Future<Output = ()> + 't {
        let place = std::panic::Location::caller();
        async move {
            let mut tried = 0;
            for request in operations(&self.upload) {
                for way in ways(&request) {
                    let signer = self.gateway.signer();
                    let request = request.clone().host(self.gateway.address);
                    let what = format!("{place}: {way:?} {} {}", request.method, request.target);
                    let Some(spoiled) = spoil(&signer, way, request) else { continue };
                    tried += 1;
                    let response = self.gateway.raw(spoiled.clone()).await;
                    let outcome = match spoiled.method.as_str() {
                        // HEAD has no body and so no code.
                        "HEAD" => {
                            let known =
                                expected.iter().any(|it| it.starts_with(&response.outcome()));
                            assert!(known, "{what}: {}", response.outcome());
                            continue;
                        }
                        _ => response.outcome(),
                    };
                    assert!(
                        expected.contains(&outcome.as_str()),
                        "{what}: {outcome} {}",
                        response.text()
                    );
                }
            }
            assert!(tried > 0, "{place}: nothing was tried");
            self.unchanged().await;
        }
    }

    /// Everything is as it was.
    async fn unchanged(&self) {
        assert_eq!(self.gateway.get("key").await.body, b"original");
        let text = self.gateway.ok(Request::new("GET", "/")).await.text();
        assert_eq!(elements(&text, "Name"), ["bucket", "empty"]);
        let text = self.gateway.ok(Request::new("GET", "/bucket?list-type=2")).await.text();
        assert_eq!(elements(&text, "Key"), ["key"]);
        let text = self.gateway.ok(Request::new("GET", "/bucket?uploads")).await.text();
        assert_eq!(elements(&text, "UploadId"), std::slice::from_ref(&self.upload));
        let parts = Request::new("GET", &format!("/bucket/other?uploadId={}", self.upload));
        assert_eq!(elements(&self.gateway.ok(parts).await.text(), "PartNumber"), [""; 0]);
    }
}

/// Replaces the signature, wherever it stands.
fn with_signature(request: Request, change: impl Fn(&str) -> String) -> Request {
    if let Some(value) = request.value("authorization") {
        let (rest, signature) = value.split_once("Signature=").expect("it is signed");
        let changed = format!("{rest}Signature={}", change(signature));
        return request.set("authorization", &changed);
    }
    let (rest, signature) = request.target.split_once("X-Amz-Signature=").expect("it is signed");
    let target = format!("{rest}X-Amz-Signature={}", change(signature));
    Request { target, ..request }
}

#[tokio::test]
async fn b1_signatures_that_are_missing_or_mangled() {
    let target = Target::new().await;
    target
        .refuses(|_, way, request| (way == Way::Header).then_some(request), &["403 AccessDenied"])
        .await;
    let mangled = [
        "403 SignatureDoesNotMatch",
        "400 AuthorizationQueryParametersError",
        "400 InvalidRequest",
    ];
    let changes: [fn(&str) -> String; 6] = [
        |_| String::new(),
        |signature| signature[..63].to_owned(),
        |signature| signature.to_ascii_uppercase(),
        |_| "0".repeat(64),
        |_| "g".repeat(64),
        |signature| format!("{signature}0"),
    ];
    for change in changes {
        target
            .refuses(
                |signer, way, request| Some(with_signature(signer.sign(way, request), change)),
                &mangled,
            )
            .await;
    }
    for (garbage, expected) in [
        ("", "403 AccessDenied"),
        ("garbage", "400 InvalidArgument"),
        ("Basic YTpi", "400 InvalidArgument"),
        ("AWS4-HMAC-SHA256", "400 AuthorizationHeaderMalformed"),
        (
            "AWS4-HMAC-SHA256 Credential=, SignedHeaders=, Signature=",
            "400 AuthorizationHeaderMalformed",
        ),
    ] {
        target
            .refuses(
                |signer, way, request| {
                    (way == Way::Header)
                        .then(|| signer.sign(way, request).set("authorization", garbage))
                },
                &[expected],
            )
            .await;
    }
}

#[tokio::test]
async fn b1_dates_and_digests_that_are_none() {
    let target = Target::new().await;
    for (name, value, expected) in [
        ("x-amz-date", "", "403 AccessDenied"),
        ("x-amz-date", "Bad Date", "403 AccessDenied"),
        ("x-amz-content-sha256", "garbage", "400 InvalidArgument"),
    ] {
        target
            .refuses(
                |signer, way, request| {
                    (way == Way::Header).then(|| signer.sign(way, request).set(name, value))
                },
                &[expected],
            )
            .await;
    }
}

#[tokio::test]
async fn b1_signatures_of_something_else() {
    let target = Target::new().await;
    let refused = ["403 SignatureDoesNotMatch"];
    let by = |change: fn(&mut Signer)| {
        move |signer: &Signer, way, request| {
            let mut signer = signer.clone();
            change(&mut signer);
            Some(signer.sign(way, request))
        }
    };
    target.refuses(by(|signer| signer.secret.push('x')), &refused).await;
    target.refuses(by(|signer| signer.access_key.push('x')), &["403 InvalidAccessKeyId"]).await;
    target
        .refuses(
            |signer, way, request| {
                let mut signed = signer.sign(way, request);
                let elsewhere = signed.target.replacen("/bucket", "/empty", 1);
                let other = elsewhere != signed.target;
                signed.target = elsewhere;
                other.then_some(signed)
            },
            &refused,
        )
        .await;
    target
        .refuses(
            |signer, way, request| {
                let method = if request.method == "GET" { "DELETE" } else { "GET" };
                let signed = signer.sign(way, request);
                Some(Request { method: method.to_owned(), ..signed })
            },
            &refused,
        )
        .await;
    target
        .refuses(|signer, way, request| Some(signer.sign(way, request).query("acl")), &refused)
        .await;
}

#[tokio::test]
async fn b1_signature_version_2_is_off() {
    let target = Target::new().await;
    let refused = ["403 AccessDenied", "400 InvalidRequest", "400 InvalidArgument"];
    let in_header = |signer: &Signer, way, request: Request| {
        let value = format!("AWS {}:frJIUN8DYpKDtOLCwo//yllqDzg=", signer.access_key);
        let date = "Tue, 27 Mar 2007 19:36:42 +0000";
        (way == Way::Header).then(|| request.set("authorization", &value).set("date", date))
    };
    target.refuses(in_header, &refused).await;
    let in_query = |signer: &Signer, way, request: Request| {
        let query = format!("AWSAccessKeyId={}&Expires=9999999999&Signature=a", signer.access_key);
        (way == Way::Header).then(|| request.query(&query))
    };
    target.refuses(in_query, &refused).await;
}

#[tokio::test]
async fn b2_two_ways_of_signing_at_once() {
    let target = Target::new().await;
    target
        .refuses(
            |signer, way, request| {
                let presigned = signer.sign(Way::Presigned, request);
                (way == Way::Header).then(|| signer.sign(Way::Header, presigned))
            },
            &["400 InvalidArgument"],
        )
        .await;
    target
        .refuses(
            |signer, way, request| {
                (way != Way::Presigned)
                    .then(|| signer.sign(way, request).query("X-Amz-Signature=0"))
            },
            &["400 InvalidArgument"],
        )
        .await;
    target
        .refuses(
            |signer, way, request| {
                let streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
                let request = request.set("x-amz-content-sha256", streaming);
                (way == Way::Presigned).then(|| signer.sign(way, request))
            },
            &["501 NotImplemented"],
        )
        .await;
}

#[tokio::test]
async fn b3_headers_that_are_not_signed() {
    let target = Target::new().await;
    for (name, value) in [
        ("x-amz-copy-source", "/bucket/key"),
        ("x-amz-acl", "private"),
        ("x-amz-tagging", "a=1"),
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-a", "1"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "k"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-website-redirect-location", "/a"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-expected-bucket-owner", "1"),
        ("x-amz-new-feature", "1"),
        ("X-AMZ-COPY-SOURCE", "/bucket/key"),
    ] {
        target
            .refuses(
                |signer, way, request| {
                    request
                        .value(name)
                        .is_none()
                        .then(|| signer.sign(way, request).header(name, value))
                },
                &["403 AccessDenied"],
            )
            .await;
    }
    target
        .refuses(
            |signer, way, request| {
                (way != Way::Presigned)
                    .then(|| signer.sign(way, request).set("x-amz-date", "20200101T000000Z"))
            },
            &["403 SignatureDoesNotMatch", "403 RequestTimeTooSkewed"],
        )
        .await;
}

#[tokio::test]
async fn b4_host_and_date_that_are_not_signed() {
    let target = Target::new().await;
    for name in ["host", "x-amz-date"] {
        target
            .refuses(
                move |signer, way, request| {
                    let signer = Signer { not: vec![name], ..signer.clone() };
                    (way != Way::Presigned || name == "host").then(|| signer.sign(way, request))
                },
                &["403 AccessDenied", "400 AuthorizationQueryParametersError"],
            )
            .await;
    }
    target
        .refuses(
            |signer, way, request| Some(signer.sign(way, request).set("host", "elsewhere.test")),
            &["403 SignatureDoesNotMatch"],
        )
        .await;
    target
        .refuses(
            |signer, way, request| {
                (way != Way::Presigned).then(|| signer.sign(way, request).without("x-amz-date"))
            },
            &["400 InvalidRequest", "403 SignatureDoesNotMatch", "403 AccessDenied"],
        )
        .await;
}

#[tokio::test]
async fn b5_what_stands_twice() {
    let target = Target::new().await;
    for (name, value) in
        [("host", "elsewhere.test"), ("x-amz-date", "20200101T000000Z"), ("x-amz-meta-a", "1")]
    {
        target
            .refuses(
                |signer, way, request| {
                    let request =
                        if name == "x-amz-meta-a" { request.header(name, "0") } else { request };
                    let signed = signer.sign(way, request);
                    signed.value(name).is_some().then(|| signed.header(name, value))
                },
                &["400 InvalidRequest"],
            )
            .await;
    }
    target
        .refuses(
            |signer, way, request| Some(signer.sign(way, request.query("a=1").query("a=2"))),
            &["400 InvalidArgument"],
        )
        .await;
    target
        .refuses(
            |signer, way, request| {
                (way == Way::Presigned)
                    .then(|| signer.sign(way, request).query("X-Amz-Expires=604800"))
            },
            &["400 InvalidArgument"],
        )
        .await;
}

#[tokio::test]
async fn b6_times_that_are_over_or_out_of_range() {
    let target = Target::new().await;
    for offset in [-1000_i64, 1000, -86_400, 86_400] {
        target
            .refuses(
                move |signer, way, request| {
                    let time = signer.time.saturating_add_signed(offset);
                    (way != Way::Presigned)
                        .then(|| Signer { time, ..signer.clone() }.sign(way, request))
                },
                &["403 RequestTimeTooSkewed"],
            )
            .await;
    }
    for (offset, expires, expected) in [
        (-1000_i64, "600", "403 AccessDenied"),
        (-604_801, "604800", "403 AccessDenied"),
        (1000, "600", "403 RequestTimeTooSkewed"),
        (0, "604801", "400 AuthorizationQueryParametersError"),
        (0, "-1", "400 AuthorizationQueryParametersError"),
        (0, "", "400 AuthorizationQueryParametersError"),
        (0, "1e9", "400 AuthorizationQueryParametersError"),
        (0, "18446744073709551616", "400 AuthorizationQueryParametersError"),
        (0, "99999999", "400 AuthorizationQueryParametersError"),
    ] {
        target
            .refuses(
                move |signer, way, request| {
                    let time = signer.time.saturating_add_signed(offset);
                    let signer = Signer { time, expires: expires.to_owned(), ..signer.clone() };
                    (way == Way::Presigned).then(|| signer.sign(way, request))
                },
                &[expected],
            )
            .await;
    }
}

#[tokio::test]
async fn b7_scopes_of_another_region_or_service() {
    let target = Target::new().await;
    for (region, service, expected) in [
        ("eu-west-1", "s3", "400 AuthorizationHeaderMalformed"),
        ("", "s3", "400 InvalidRequest"),
        ("us-east-1", "sts", "501 NotImplemented"),
        ("us-east-1", "s4", "501 NotImplemented"),
    ] {
        target
            .refuses(
                move |signer, way, request| {
                    let (region, service) = (region.to_owned(), service.to_owned());
                    Some(Signer { region, service, ..signer.clone() }.sign(way, request))
                },
                &[
                    expected,
                    "400 AuthorizationQueryParametersError",
                    "400 AuthorizationHeaderMalformed",
                ],
            )
            .await;
    }
}

#[tokio::test]
async fn b9_paths_that_two_readers_read_differently() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"original").await;
    for (path, expected) in [
        ("/bucket%2Fkey", "400 InvalidBucketName"),
        ("/%62ucket/key", "400 InvalidBucketName"),
        ("/bucket/a%00b", "400 InvalidURI"),
        ("/bucket/%C0%AF", "400 InvalidURI"),
        ("/bucket/%FF", "400 InvalidURI"),
        ("//bucket/key", "400 InvalidBucketName"),
        ("/./bucket/key", "400 InvalidBucketName"),
        ("/../bucket/key", "400 InvalidBucketName"),
    ] {
        for way in [Way::Header, Way::Presigned] {
            for method in ["GET", "PUT", "DELETE"] {
                let response = gateway.send_as(way, Request::new(method, path)).await;
                assert_eq!(response.outcome(), expected, "{way:?} {method} {path}");
            }
        }
    }
    assert_eq!(gateway.get("key").await.body, b"original");
    let encoded = gateway.send(Request::new("GET", "/bucket/%6Bey")).await;
    assert_eq!(encoded.body, b"original", "the same key, encoded");
}

#[tokio::test]
async fn b11_sources_of_copies() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"original").await;
    for (source, expected) in [
        ("", "400 InvalidRequest"),
        ("/", "400 InvalidArgument"),
        ("bucket", "400 InvalidArgument"),
        ("/bucket/", "400 InvalidArgument"),
        ("/bucket/none", "404 NoSuchKey"),
        ("/none/key", "404 NoSuchBucket"),
        ("/bucket/key?versionId=null", "200"),
        ("/bucket/key?versionId=7", "400 InvalidArgument"),
        ("/../../etc/passwd", "400 InvalidArgument"),
        ("http://169.254.169.254/latest", "400 InvalidArgument"),
        ("arn:aws:s3:us-east-1:123456789012:accesspoint/abc/object/key", "501 NotImplemented"),
    ] {
        let request = Request::new("PUT", "/bucket/copy").header("x-amz-copy-source", source);
        assert_eq!(gateway.send(request).await.outcome(), expected, "{source:?}");
    }
}

#[tokio::test]
async fn b12_forms_are_not_built() {
    let gateway = Gateway::with_bucket().await;
    let body = "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--x\r\n\
                Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n\
                body\r\n--x--\r\n";
    let form = Request::new("POST", "/bucket")
        .header("content-type", "multipart/form-data; boundary=x")
        .body(body);
    assert_eq!(gateway.raw(form.clone()).await.outcome(), "501 NotImplemented");
    assert_eq!(gateway.send(form).await.outcome(), "501 NotImplemented");
    assert_eq!(gateway.get("k").await.status, 404);
}

#[tokio::test]
async fn session_tokens_are_refused() {
    let target = Target::new().await;
    target
        .refuses(
            |signer, way, request| {
                Some(signer.sign(way, request.header("x-amz-security-token", "t")))
            },
            &["400 InvalidToken"],
        )
        .await;
    target
        .refuses(
            |signer, way, request| {
                (way == Way::Presigned)
                    .then(|| signer.sign(way, request.query("X-Amz-Security-Token=t")))
            },
            &["400 InvalidToken"],
        )
        .await;
}

#[tokio::test]
async fn b16_documents_that_are_bombs() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"original").await;
    let entity = "<!DOCTYPE x [<!ENTITY a \"key\"><!ENTITY b SYSTEM \"file:///etc/passwd\">]>\
                  <Delete><Object><Key>&a;</Key></Object><Object><Key>&b;</Key></Object></Delete>";
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let twice = "<Delete><Object><Key>a</Key><Key>key</Key></Object></Delete>";
    let invalid = b"<Delete><Object><Key>\xff\xfe</Key></Object></Delete>";
    let trailing = "<Delete><Object><Key>key</Key></Object></Delete><Delete/>";
    for body in [
        entity.as_bytes(),
        deep.as_bytes(),
        twice.as_bytes(),
        invalid,
        trailing.as_bytes(),
        b"",
        b"<",
        b"{}",
    ] {
        let request =
            Request::new("POST", "/bucket?delete").body(body).header("content-md5", &md5(body));
        let response = gateway.send(request).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(response.status, 400, "{shown}: {}", response.text());
        assert!(!response.text().contains("root:"), "{shown}");
    }
    let huge = Request::new("POST", "/bucket?delete")
        .header("content-length", "1073741824")
        .header("content-md5", &md5(b""));
    assert_eq!(
        gateway.send_as(Way::UnsignedPayload, huge).await.outcome(),
        "400 MaxMessageLengthExceeded"
    );
    assert_eq!(gateway.get("key").await.body, b"original");
}

#[tokio::test]
async fn b20_confused_checksums_and_encodings() {
    let gateway = Gateway::with_bucket().await;
    let put = |headers: &[(&str, &str)]| {
        headers
            .iter()
            .fold(Request::new("PUT", "/bucket/key").body(b"hello"), |it, (name, value)| {
                it.header(name, value)
            })
    };
    let crc32 = support::crc32(b"hello");
    for (headers, expected) in [
        (
            vec![("x-amz-checksum-crc32", crc32.as_str()), ("x-amz-checksum-crc32c", "AAAAAA==")],
            "400 InvalidRequest",
        ),
        (vec![("x-amz-checksum-sha512", "AA==")], "501 NotImplemented"),
        (vec![("x-amz-checksum-md5", "AA==")], "501 NotImplemented"),
        (vec![("x-amz-checksum-xxhash64", "AA==")], "501 NotImplemented"),
        (
            vec![
                ("x-amz-sdk-checksum-algorithm", "SHA1"),
                ("x-amz-checksum-crc32", crc32.as_str()),
            ],
            "400 InvalidRequest",
        ),
        (vec![("x-amz-trailer", "x-amz-checksum-crc32")], "400 InvalidRequest"),
    ] {
        assert_eq!(gateway.send(put(&headers)).await.outcome(), expected, "{headers:?}");
    }
    assert_eq!(gateway.get("key").await.status, 404);
    // A signed chunk is held until it is checked: a large one is refused, not held.
    let signer = Signer { chunk: 2 * 1024 * 1024, ..gateway.signer() };
    let big =
        Request::new("PUT", "/bucket/key").body(vec![0; 2 * 1024 * 1024]).host(gateway.address);
    let refused = gateway.raw(signer.sign(Way::Streaming, big)).await;
    assert_eq!(refused.outcome(), "400 InvalidRequest");
}

#[tokio::test]
async fn b23_line_breaks_in_response_parameters() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"x").await;
    for value in ["a%0d%0aSet-Cookie:%20a=1", "a%0aX-B:%201", "a%00", "%7f"] {
        for name in ["response-content-type", "response-content-disposition", "response-expires"] {
            let target = format!("/bucket/key?{name}={value}");
            for way in [Way::Header, Way::Presigned] {
                let got = gateway.send_as(way, Request::new("GET", &target)).await;
                assert_eq!(got.outcome(), "400 InvalidArgument", "{target}");
                assert_eq!(got.value("set-cookie"), None);
            }
        }
    }
    let anonymous = gateway.raw(Request::new("GET", "/bucket/key?response-content-type=a")).await;
    assert_eq!(anonymous.outcome(), "403 AccessDenied", "only who signs may override");
}

#[tokio::test]
async fn b23_no_origin_is_reflected() {
    let gateway = Gateway::with_bucket().await;
    for method in ["GET", "OPTIONS"] {
        let request = Request::new(method, "/bucket")
            .header("origin", "https://evil.test")
            .header("access-control-request-method", "PUT");
        let response = gateway.raw(request).await;
        assert_eq!(response.status, 403);
        assert!(response.headers.iter().all(|(name, _)| !name.starts_with("access-control-")));
    }
}
