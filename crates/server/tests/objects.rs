//! Objects over HTTP, as AWS documents them.

use crate::support;
use crate::support::{
    Gateway, Request, Signer, WAYS, Way, base64, crc32, crc64, element, md5, pattern, sign,
};

#[tokio::test]
async fn an_object_reads_back_however_it_was_signed() {
    let gateway = Gateway::with_bucket().await;
    for size in [0, 1, 5000, 70_000, 300_000] {
        let body = pattern(size, size as u64);
        for way in WAYS {
            let put = gateway.send_as(way, Request::new("PUT", "/bucket/key").body(&body)).await;
            assert_eq!(put.outcome(), "200", "{way:?} of {size}: {}", put.text());
            for way in [Way::Header, Way::Presigned, Way::UnsignedPayload] {
                let got = gateway.send_as(way, Request::new("GET", "/bucket/key")).await;
                assert_eq!(got.status, 200, "{way:?}");
                assert!(got.complete && got.body == body, "{way:?} of {size}");
                assert_eq!(got.value("content-length"), Some(size.to_string().as_str()));
                assert_eq!(got.value("etag"), put.value("etag"));
            }
        }
    }
}

#[tokio::test]
async fn the_etag_is_the_md5_of_what_is_small_or_came_with_one() {
    let gateway = Gateway::with_bucket().await;
    let digest = |bytes: &[u8]| hex::encode(<md5::Md5 as md5::Digest>::digest(bytes));
    for body in [&b"hello"[..], b"", &pattern(64 * 1024, 1)] {
        let small = gateway.put("small", body).await;
        assert_eq!(small.value("etag"), Some(format!("\"{}\"", digest(body)).as_str()));
    }
    let large = pattern(64 * 1024 + 1, 1);
    let plain = gateway.put("plain", &large).await;
    let etag = plain.value("etag").expect("an ETag");
    assert_eq!((etag.len(), etag.ends_with("-1\"")), (36, true), "{etag}");
    let request =
        Request::new("PUT", "/bucket/md5").body(&large).header("content-md5", &md5(&large));
    let with = gateway.ok(request).await;
    assert_eq!(with.value("etag"), Some(format!("\"{}\"", digest(&large)).as_str()));
}

#[tokio::test]
async fn an_upload_says_how_long_it_is() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"original").await;
    let text = gateway.ok(Request::new("POST", "/bucket/other?uploads")).await.text();
    let upload = element(&text, "UploadId").expect("an id");
    let silent = |target: &str| Request { sized: false, ..Request::new("PUT", target) };
    let part = format!("/bucket/other?partNumber=1&uploadId={upload}");
    for target in ["/bucket/key", &part] {
        for way in [Way::Header, Way::UnsignedPayload, Way::Presigned] {
            let response = gateway.send_as(way, silent(target)).await;
            assert_eq!(response.outcome(), "411 MissingContentLength", "{way:?} {target}");
        }
    }
    assert_eq!(gateway.get("key").await.body, b"original", "and nothing was emptied");
    let copy = silent("/bucket/copy").header("x-amz-copy-source", "/bucket/key");
    assert_eq!(gateway.send(copy).await.outcome(), "200", "a copy has no body");
    assert_eq!(gateway.send(silent("/made")).await.outcome(), "200", "nor has a new bucket");
}

#[tokio::test]
async fn head_says_what_get_says() {
    let gateway = Gateway::with_bucket().await;
    let body = pattern(1234, 1);
    let put = Request::new("PUT", "/bucket/key")
        .body(&body)
        .header("content-type", "text/plain; charset=utf-8")
        .header("cache-control", "max-age=60")
        .header("content-disposition", "attachment; filename=\"a.txt\"")
        .header("content-language", "de")
        .header("expires", "Thu, 01 Dec 2044 16:00:00 GMT")
        .header("x-amz-meta-colour", "green")
        .header("x-amz-meta-Grosse", "gro\u{df}")
        .header("x-amz-storage-class", "STANDARD_IA")
        .header("x-amz-website-redirect-location", "/elsewhere")
        .header("x-amz-tagging", "a=1&b=2");
    gateway.ok(put).await;
    let head = gateway.ok(Request::new("HEAD", "/bucket/key")).await;
    let get = gateway.get("key").await;
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "max-age=60"),
        ("content-disposition", "attachment; filename=\"a.txt\""),
        ("content-language", "de"),
        ("expires", "Thu, 01 Dec 2044 16:00:00 GMT"),
        ("x-amz-meta-colour", "green"),
        ("x-amz-meta-grosse", "=?UTF-8?B?Z3Jvw58=?="),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-website-redirect-location", "/elsewhere"),
        ("x-amz-tagging-count", "2"),
        ("x-amz-server-side-encryption", "AES256"),
        ("accept-ranges", "bytes"),
        ("content-length", "1234"),
    ] {
        assert_eq!(get.value(name), Some(value), "{name}");
        assert_eq!(head.value(name), Some(value), "{name}");
    }
    assert_eq!(head.value("last-modified"), get.value("last-modified"));
    assert!(get.body == body);
    let tags = gateway.ok(Request::new("GET", "/bucket/key?tagging")).await.text();
    assert!(tags.contains("<Tag><Key>a</Key><Value>1</Value></Tag>"), "{tags}");
}

#[tokio::test]
async fn metadata_that_is_not_ascii_comes_back_in_rfc_2047_form() {
    let gateway = Gateway::with_bucket().await;
    let put = Request::new("PUT", "/bucket/key")
        .header("content-disposition", "attachment; filename=\"gro\u{df}.txt\"")
        .header("x-amz-meta-encoded", "=?UTF-8?Q?gro=C3=9F?=");
    gateway.ok(put).await;
    let head = gateway.ok(Request::new("HEAD", "/bucket/key")).await;
    let expected =
        format!("=?UTF-8?B?{}?=", base64("attachment; filename=\"gro\u{df}.txt\"".as_bytes()));
    assert_eq!(head.value("content-disposition"), Some(expected.as_str()));
    assert_eq!(head.value("x-amz-meta-encoded"), Some("=?UTF-8?B?Z3Jvw58=?="));
}

#[tokio::test]
async fn an_object_of_no_type_is_binary() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"").await;
    assert_eq!(gateway.get("key").await.value("content-type"), Some("binary/octet-stream"));
}

#[tokio::test]
async fn ranges_answer_206_and_416() {
    let gateway = Gateway::with_bucket().await;
    let body = pattern(200_000, 7);
    gateway.put("key", &body).await;
    let ask = |range: &'static str| {
        let gateway = &gateway;
        async move { gateway.send(Request::new("GET", "/bucket/key").header("range", range)).await }
    };
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=65530-65545", 65_530, 65_546),
        ("bytes=199999-", 199_999, 200_000),
        ("bytes=100-999999", 100, 200_000),
        ("bytes=-5", 199_995, 200_000),
        ("bytes=-300000", 0, 200_000),
    ] {
        let got = ask(range).await;
        assert_eq!(got.status, 206, "{range}");
        assert!(got.body == body[from..to], "{range}");
        let expected = format!("bytes {from}-{}/200000", to - 1);
        assert_eq!(got.value("content-range"), Some(expected.as_str()));
        let request = Request::new("HEAD", "/bucket/key").header("range", range);
        let head = gateway.send(request).await;
        assert_eq!(head.status, 206, "HEAD {range}");
        assert_eq!(head.value("content-length"), Some((to - from).to_string().as_str()));
    }
    for range in ["bytes=200000-", "bytes=-0", "bytes=200000-200001"] {
        let got = ask(range).await;
        assert_eq!(got.outcome(), "416 InvalidRange", "{range}");
        assert_eq!(got.value("content-range"), Some("bytes */200000"));
        assert_eq!(got.value("content-type"), Some("application/xml"));
    }
    for range in ["bytes=0-1,5-6", "bytes=5-2", "lines=0-1", "nonsense"] {
        let got = ask(range).await;
        assert_eq!((got.status, got.body.len()), (200, 200_000), "{range}");
    }
    gateway.put("empty", b"").await;
    let request = Request::new("GET", "/bucket/empty").header("range", "bytes=0-");
    assert_eq!(gateway.send(request).await.outcome(), "416 InvalidRange");
}

#[tokio::test]
async fn if_range_lets_a_range_stand_only_for_the_same_object() {
    let gateway = Gateway::with_bucket().await;
    let etag = gateway.put("key", b"0123456789").await.value("etag").expect("one").to_owned();
    let modified = gateway.get("key").await.value("last-modified").expect("one").to_owned();
    for (value, status) in [
        (etag.as_str(), 206),
        (modified.as_str(), 206),
        ("\"other\"", 200),
        ("W/\"other\"", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ] {
        let request = Request::new("GET", "/bucket/key").header("range", "bytes=0-1");
        let got = gateway.send(request.header("if-range", value)).await;
        assert_eq!(got.status, status, "{value}");
    }
}

#[tokio::test]
async fn conditions_of_reads_answer_304_and_412() {
    let gateway = Gateway::with_bucket().await;
    let etag = gateway.put("key", b"body").await.value("etag").expect("one").to_owned();
    let modified = gateway.get("key").await.value("last-modified").expect("one").to_owned();
    let past = "Thu, 01 Jan 2015 00:00:00 GMT";
    let cases: [(&[(&str, &str)], u16); 10] = [
        (&[("if-match", &etag)], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-none-match", &etag)], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-modified-since", &modified)], 304),
        (&[("if-modified-since", past)], 200),
        (&[("if-unmodified-since", past)], 412),
        (&[("if-match", &etag), ("if-unmodified-since", past)], 200),
        (&[("if-none-match", &etag), ("if-modified-since", past)], 304),
        (&[("if-modified-since", "no date")], 200),
    ];
    for (headers, expected) in cases {
        for method in ["GET", "HEAD"] {
            let request =
                headers.iter().fold(Request::new(method, "/bucket/key"), |it, (name, value)| {
                    it.header(name, value)
                });
            let got = gateway.send(request).await;
            assert_eq!(got.status, expected, "{method} {headers:?}");
            if expected == 304 {
                assert_eq!(got.value("etag"), Some(etag.as_str()));
                assert!(got.body.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn conditions_of_writes_answer_412_404_and_501() {
    let gateway = Gateway::with_bucket().await;
    let put = |headers: &[(&str, &str)]| {
        headers.iter().fold(Request::new("PUT", "/bucket/key").body(b"x"), |it, (name, value)| {
            it.header(name, value)
        })
    };
    let outcome = |request| {
        let gateway = &gateway;
        async move { gateway.send(request).await.outcome() }
    };
    assert_eq!(outcome(put(&[("if-match", "\"a\"")])).await, "404 NoSuchKey");
    assert_eq!(outcome(put(&[("if-none-match", "*")])).await, "200");
    assert_eq!(outcome(put(&[("if-none-match", "*")])).await, "412 PreconditionFailed");
    assert_eq!(outcome(put(&[("if-match", "\"a\"")])).await, "412 PreconditionFailed");
    let etag = gateway.get("key").await.value("etag").expect("one").to_owned();
    assert_eq!(outcome(put(&[("if-match", &etag)])).await, "200");
    assert_eq!(outcome(put(&[("if-none-match", "\"a\"")])).await, "501 NotImplemented");
    let date = ("if-unmodified-since", "Thu, 01 Jan 2015 00:00:00 GMT");
    assert_eq!(outcome(put(&[date])).await, "501 NotImplemented");
    let delete = |value: &str| Request::new("DELETE", "/bucket/key").header("if-match", value);
    assert_eq!(outcome(delete("\"a\"")).await, "412 PreconditionFailed");
    assert_eq!(outcome(delete("*")).await, "204");
    assert_eq!(outcome(delete("*")).await, "404 NoSuchKey");
}

#[tokio::test]
async fn of_many_creators_of_one_key_one_succeeds() {
    let gateway = Gateway::with_bucket().await;
    let creators = (0..16).map(|number| {
        let request = Request::new("PUT", "/bucket/key").body(format!("{number}"));
        gateway.send(request.header("if-none-match", "*"))
    });
    let outcomes = futures::future::join_all(creators).await;
    let created = outcomes.iter().filter(|response| response.status == 200).count();
    assert_eq!(created, 1, "{:?}", outcomes.iter().map(|r| r.outcome()).collect::<Vec<_>>());
    assert!(outcomes.iter().all(|response| [200, 409, 412].contains(&response.status)));
}

#[tokio::test]
async fn response_parameters_override_headers() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"x").await;
    let query = "response-content-type=text%2Fhtml\
                 &response-content-disposition=attachment%3B%20filename%3Da\
                 &response-cache-control=no-store&response-content-language=fr\
                 &response-expires=never&response-content-encoding=identity";
    for method in ["GET", "HEAD"] {
        let got = gateway.send(Request::new(method, &format!("/bucket/key?{query}"))).await;
        assert_eq!(got.status, 200, "{method}: {}", got.text());
        assert_eq!(got.value("content-type"), Some("text/html"), "{method}");
        assert_eq!(got.value("content-disposition"), Some("attachment; filename=a"));
        assert_eq!(got.value("cache-control"), Some("no-store"));
        assert_eq!(got.value("content-language"), Some("fr"));
        assert_eq!(got.value("expires"), Some("never"));
        assert_eq!(got.value("content-encoding"), Some("identity"));
    }
}

#[tokio::test]
async fn checksums_are_verified_stored_and_returned() {
    let gateway = Gateway::with_bucket().await;
    let body = b"123456789";
    let values = [
        ("x-amz-checksum-crc32", "y/Q5Jg=="),
        ("x-amz-checksum-crc32c", "4waSgw=="),
        ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
        ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
        ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ];
    for (name, value) in values {
        for way in [Way::Header, Way::UnsignedPayload, Way::Presigned, Way::Streaming] {
            let request = Request::new("PUT", "/bucket/key").body(body).header(name, value);
            let put = gateway.send_as(way, request).await;
            assert_eq!(put.outcome(), "200", "{name} {way:?}");
            assert_eq!(put.value(name), Some(value));
            assert_eq!(put.value("x-amz-checksum-type"), Some("FULL_OBJECT"));
            let request =
                Request::new("PUT", "/bucket/other").body(b"12345678x").header(name, value);
            assert_eq!(
                gateway.send_as(way, request).await.outcome(),
                "400 BadDigest",
                "{name} {way:?}"
            );
        }
        let signer =
            Signer { trailer: Some((name.to_owned(), value.to_owned())), ..gateway.signer() };
        for way in [Way::StreamingTrailer, Way::UnsignedTrailer] {
            let request = |key: &str, body: &[u8]| {
                Request::new("PUT", &format!("/bucket/{key}")).body(body).host(gateway.address)
            };
            let put = gateway.raw(signer.sign(way, request("key", body))).await;
            assert_eq!(put.outcome(), "200", "{name} {way:?}: {}", put.text());
            assert_eq!(put.value(name), Some(value));
            let wrong = gateway.raw(signer.sign(way, request("other", b"12345678x"))).await;
            assert_eq!(wrong.outcome(), "400 BadDigest", "{name} {way:?}");
        }
        let asked = Request::new("GET", "/bucket/key").header("x-amz-checksum-mode", "ENABLED");
        let got = gateway.send(asked.clone()).await;
        assert_eq!(got.value(name), Some(value));
        assert_eq!(gateway.get("key").await.value(name), None, "only when asked for");
        let piece = gateway.send(asked.header("range", "bytes=0-1")).await;
        assert_eq!(piece.value(name), None, "none of a piece");
        assert_eq!(gateway.get("other").await.status, 404, "nothing was stored");
    }
}

#[tokio::test]
async fn the_server_computes_crc64nvme_where_the_client_computes_nothing() {
    let gateway = Gateway::with_bucket().await;
    let body = pattern(100_000, 3);
    let put = gateway.put("key", &body).await;
    assert_eq!(put.value("x-amz-checksum-crc64nvme"), Some(crc64(&body).as_str()));
    let request = Request::new("HEAD", "/bucket/key").header("x-amz-checksum-mode", "ENABLED");
    let head = gateway.ok(request).await;
    assert_eq!(head.value("x-amz-checksum-crc64nvme"), Some(crc64(&body).as_str()));
    assert_eq!(head.value("x-amz-checksum-type"), Some("FULL_OBJECT"));
}

#[tokio::test]
async fn framing_without_a_streaming_signature_is_refused() {
    let gateway = Gateway::with_bucket().await;
    for way in [Way::Header, Way::UnsignedPayload, Way::Presigned] {
        let request = Request::new("PUT", "/bucket/key").body(b"1\r\nx\r\n0\r\n\r\n");
        let request = request.header("content-encoding", "aws-chunked");
        assert_eq!(gateway.send_as(way, request).await.outcome(), "400 InvalidRequest", "{way:?}");
    }
}

#[tokio::test]
async fn content_md5_is_verified() {
    let gateway = Gateway::with_bucket().await;
    for way in WAYS {
        let put = |digest: &str| {
            Request::new("PUT", "/bucket/key").body(b"hello").header("content-md5", digest)
        };
        assert_eq!(gateway.send_as(way, put(&md5(b"hello"))).await.outcome(), "200", "{way:?}");
        assert_eq!(gateway.send_as(way, put(&md5(b"jello"))).await.outcome(), "400 BadDigest");
        assert_eq!(gateway.send_as(way, put("nonsense")).await.outcome(), "400 InvalidDigest");
    }
}

#[tokio::test]
async fn a_copy_keeps_or_replaces_metadata() {
    let gateway = Gateway::with_bucket().await;
    let body = pattern(300_000, 9);
    let put = Request::new("PUT", "/bucket/from a+b/\u{fc}")
        .body(&body)
        .header("content-type", "text/plain")
        .header("x-amz-meta-a", "1")
        .header("x-amz-tagging", "t=1");
    let put = Request { target: "/bucket/from%20a%2Bb/%C3%BC".to_owned(), ..put };
    gateway.ok(put).await;
    let copy = |to: &str| {
        Request::new("PUT", to).header("x-amz-copy-source", "/bucket/from%20a%2Bb/%C3%BC")
    };
    let kept = gateway.ok(copy("/bucket/kept").header("x-amz-meta-b", "ignored")).await;
    assert!(
        element(&kept.text(), "ETag").is_some() && element(&kept.text(), "LastModified").is_some()
    );
    assert_eq!(element(&kept.text(), "ChecksumCRC64NVME"), Some(crc64(&body)));
    let got = gateway.get("kept").await;
    assert!(got.body == body);
    assert_eq!(got.value("content-type"), Some("text/plain"));
    assert_eq!((got.value("x-amz-meta-a"), got.value("x-amz-meta-b")), (Some("1"), None));
    assert_eq!(got.value("x-amz-tagging-count"), Some("1"));
    let replace = copy("/bucket/replaced")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-tagging-directive", "REPLACE")
        .header("x-amz-meta-b", "2")
        .header("x-amz-checksum-algorithm", "CRC32");
    let replaced = gateway.ok(replace).await;
    assert_eq!(element(&replaced.text(), "ChecksumCRC32"), Some(crc32(&body)));
    let got = gateway.get("replaced").await;
    assert!(got.body == body);
    assert_eq!(got.value("content-type"), Some("binary/octet-stream"));
    assert_eq!((got.value("x-amz-meta-a"), got.value("x-amz-meta-b")), (None, Some("2")));
    assert_eq!(got.value("x-amz-tagging-count"), None);
}

#[tokio::test]
async fn a_copy_onto_itself_must_change_something() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"body").await;
    let copy = || Request::new("PUT", "/bucket/key").header("x-amz-copy-source", "bucket/key");
    assert_eq!(gateway.send(copy()).await.outcome(), "400 InvalidRequest");
    for header in [
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-website-redirect-location", "/a"),
        ("x-amz-tagging-directive", "REPLACE"),
    ] {
        let changed = gateway.send(copy().header(header.0, header.1)).await;
        assert_eq!(changed.outcome(), "200", "{header:?}");
    }
    assert!(gateway.get("key").await.body == b"body");
}

#[tokio::test]
async fn conditions_on_the_source_of_a_copy_answer_412() {
    let gateway = Gateway::with_bucket().await;
    let etag = gateway.put("key", b"body").await.value("etag").expect("one").to_owned();
    let past = "Thu, 01 Jan 2015 00:00:00 GMT";
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[("if-match", &etag)], "200"),
        (&[("if-match", "\"other\"")], "412 PreconditionFailed"),
        (&[("if-none-match", &etag)], "412 PreconditionFailed"),
        (&[("if-unmodified-since", past)], "412 PreconditionFailed"),
        (&[("if-match", &etag), ("if-unmodified-since", past)], "200"),
        (&[("if-none-match", &etag), ("if-modified-since", past)], "412 PreconditionFailed"),
    ];
    for (headers, expected) in cases {
        let request =
            Request::new("PUT", "/bucket/copy").header("x-amz-copy-source", "/bucket/key");
        let request = headers.iter().fold(request, |it, (name, value)| {
            it.header(&format!("x-amz-copy-source-{name}"), value)
        });
        assert_eq!(gateway.send(request).await.outcome(), expected, "{headers:?}");
    }
    let onto = Request::new("PUT", "/bucket/copy").header("x-amz-copy-source", "/bucket/key");
    let outcome = gateway.send(onto.header("if-none-match", "*")).await.outcome();
    assert_eq!(outcome, "412 PreconditionFailed", "the destination's own condition");
}

#[tokio::test]
async fn missing_things_are_named() {
    let gateway = Gateway::with_bucket().await;
    for (method, target, expected) in [
        ("GET", "/bucket/none", "404 NoSuchKey"),
        ("HEAD", "/bucket/none", "404"),
        ("DELETE", "/bucket/none", "204"),
        ("GET", "/no-bucket/none", "404 NoSuchBucket"),
        ("PUT", "/no-bucket/none", "404 NoSuchBucket"),
        ("DELETE", "/no-bucket", "404 NoSuchBucket"),
        ("HEAD", "/no-bucket", "404"),
        ("GET", "/bucket/none?tagging", "404 NoSuchKey"),
        ("GET", "/bucket/none?versionId=null", "404 NoSuchKey"),
        ("GET", "/bucket/none?versionId=3", "400 InvalidArgument"),
        ("PATCH", "/bucket/none", "405 MethodNotAllowed"),
        ("POST", "/bucket/none", "405 MethodNotAllowed"),
        ("PUT", "/", "405 MethodNotAllowed"),
        ("OPTIONS", "/bucket/none", "501 NotImplemented"),
        ("GET", "/Bucket_", "400 InvalidBucketName"),
    ] {
        let response = gateway.send(Request::new(method, target)).await;
        assert_eq!(response.outcome(), expected, "{method} {target}");
    }
}

#[tokio::test]
async fn every_response_carries_its_ids() {
    let gateway = Gateway::with_bucket().await;
    for target in ["/bucket", "/bucket/none", "/"] {
        let response = gateway.send(Request::new("GET", target)).await;
        let id = response.value("x-amz-request-id").expect("an id").to_owned();
        let host = response.value("x-amz-id-2").expect("an id").to_owned();
        assert_eq!(id.len(), 16);
        if response.status == 404 {
            let text = response.text();
            assert_eq!(element(&text, "RequestId"), Some(id));
            assert_eq!(element(&text, "HostId"), Some(host));
            assert_eq!(element(&text, "Resource").as_deref(), Some(target));
            assert_eq!(response.value("content-type"), Some("application/xml"));
        }
    }
}

#[tokio::test]
async fn an_error_says_what_it_is_about() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"hello").await;
    let get = |target: &str| Request::new("GET", target);
    for (request, code, fields) in [
        (get("/bucket/a%3C%26%C3%BC"), "404 NoSuchKey", &[("Key", "a<&ü")][..]),
        (get("/no-bucket/none"), "404 NoSuchBucket", &[("BucketName", "no-bucket")]),
        (Request::new("DELETE", "/bucket"), "409 BucketNotEmpty", &[("BucketName", "bucket")]),
        (get("/bucket/key?uploadId=none"), "404 NoSuchUpload", &[("UploadId", "none")]),
        (
            get("/bucket/key").header("range", "bytes=5-9"),
            "416 InvalidRange",
            &[("RangeRequested", "bytes=5-9"), ("ActualObjectSize", "5")],
        ),
        (
            get("/bucket/key").header("if-match", "\"other\""),
            "412 PreconditionFailed",
            &[("Condition", "If-Match")],
        ),
        (
            Request::new("PUT", "/bucket/key").body("x").header("if-none-match", "*"),
            "412 PreconditionFailed",
            &[("Condition", "If-None-Match")],
        ),
        (
            Request::new("PUT", "/bucket/copy")
                .header("x-amz-copy-source", "/bucket/key")
                .header("x-amz-copy-source-if-match", "\"other\""),
            "412 PreconditionFailed",
            &[("Condition", "x-amz-copy-source-If-Match")],
        ),
    ] {
        let response = gateway.send(request).await;
        assert_eq!(response.outcome(), code);
        for (name, value) in fields {
            assert_eq!(element(&response.text(), name).as_deref(), Some(*value), "{code}");
        }
    }
    // What XML cannot write is left out, lest nobody can read the code; and so is what is not
    // known: which one is missing, of a copy and its source, and which of two conditions failed.
    let unwritable = gateway.send(get("/bucket/a%01")).await;
    assert_eq!(unwritable.outcome(), "404 NoSuchKey");
    assert_eq!(element(&unwritable.text(), "Key"), None);
    assert!(!unwritable.text().contains("&#"), "{}", unwritable.text());
    let two = get("/bucket/key").header("if-match", "\"other\"").header("if-none-match", "\"a\"");
    let two = gateway.send(two).await;
    assert_eq!(two.outcome(), "412 PreconditionFailed");
    assert_eq!(element(&two.text(), "Condition"), None);
    let copy = Request::new("PUT", "/bucket/copy").header("x-amz-copy-source", "/bucket/none");
    let response = gateway.send(copy).await;
    assert_eq!(
        (response.outcome(), element(&response.text(), "Key")),
        ("404 NoSuchKey".into(), None)
    );
}

#[tokio::test]
async fn a_batch_answers_for_each_key() {
    let gateway = Gateway::with_bucket().await;
    for key in ["a", "b", "c", "d%26%3C"] {
        gateway.put(key, b"x").await;
    }
    let etag = gateway.get("b").await.value("etag").expect("one").to_owned();
    let document = format!(
        "<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object>\
         <Object><Key>b</Key><ETag>{etag}</ETag></Object>\
         <Object><Key>c</Key><ETag>\"other\"</ETag></Object>\
         <Object><Key>d&amp;&lt;</Key></Object>\
         <Object><Key>{}</Key></Object></Delete>",
        "k".repeat(1025)
    );
    let request = |document: &str| {
        Request::new("POST", "/bucket?delete")
            .body(document)
            .header("content-md5", &md5(document.as_bytes()))
    };
    let text = gateway.ok(request(&document)).await.text();
    for key in ["a", "none", "b", "d&amp;&lt;"] {
        assert!(text.contains(&format!("<Deleted><Key>{key}</Key></Deleted>")), "{key}: {text}");
    }
    assert_eq!(support::elements(&text, "Code"), ["PreconditionFailed", "KeyTooLongError"]);
    assert_eq!(gateway.get("c").await.status, 200);
    assert_eq!(gateway.get("a").await.status, 404);
    let quiet = "<Delete><Quiet>true</Quiet><Object><Key>c</Key></Object></Delete>";
    let text = gateway.ok(request(quiet)).await.text();
    assert!(!text.contains("<Deleted>"), "{text}");
    assert_eq!(gateway.get("c").await.status, 404);
}

#[tokio::test]
async fn a_batch_has_1000_keys_and_a_digest() {
    let gateway = Gateway::with_bucket().await;
    let document = |keys: usize| {
        let objects: String =
            (0..keys).map(|n| format!("<Object><Key>{n}</Key></Object>")).collect();
        format!("<Delete>{objects}</Delete>")
    };
    for (keys, expected) in [(0, "400 MalformedXML"), (1000, "200"), (1001, "400 MalformedXML")] {
        let body = document(keys);
        let request = Request::new("POST", "/bucket?delete").body(&body);
        let request = request.header("content-md5", &md5(body.as_bytes()));
        assert_eq!(gateway.send(request).await.outcome(), expected, "{keys}");
    }
    let body = document(1);
    let bare = Request::new("POST", "/bucket?delete").body(&body);
    assert_eq!(gateway.send(bare.clone()).await.outcome(), "400 InvalidRequest");
    let wrong = bare.clone().header("content-md5", &md5(b"other"));
    assert_eq!(gateway.send(wrong).await.outcome(), "400 BadDigest");
    let sum = bare.header("x-amz-checksum-sha256", &sign::checksum_sha256(body.as_bytes()));
    assert_eq!(gateway.send(sum).await.outcome(), "200");
}

#[tokio::test]
async fn attributes_are_those_that_were_asked_for() {
    let gateway = Gateway::with_bucket().await;
    let put = gateway.put("key", b"123456789").await;
    let etag = put.value("etag").expect("one").trim_matches('"').to_owned();
    let ask = |names: &str| {
        Request::new("GET", "/bucket/key?attributes").header("x-amz-object-attributes", names)
    };
    let text = gateway.ok(ask("ETag,Checksum, ObjectSize,StorageClass,ObjectParts")).await.text();
    assert_eq!(element(&text, "ETag"), Some(etag));
    assert_eq!(element(&text, "ObjectSize").as_deref(), Some("9"));
    assert_eq!(element(&text, "StorageClass").as_deref(), Some("STANDARD"));
    assert_eq!(element(&text, "ChecksumCRC64NVME").as_deref(), Some("rosUhgp5mIg="));
    let text = gateway.ok(ask("ObjectSize")).await.text();
    assert_eq!(element(&text, "ETag"), None);
    assert_eq!(gateway.send(ask("Colour")).await.outcome(), "400 InvalidArgument");
}

#[tokio::test]
async fn keys_are_what_the_client_wrote() {
    let gateway = Gateway::with_bucket().await;
    for (written, key) in [
        ("../x", "../x"),
        ("a/../b", "a/../b"),
        ("a/./b", "a/./b"),
        ("a//b", "a//b"),
        ("/lead", "/lead"),
        ("trail/", "trail/"),
        ("%2e%2e%2fx", "../x"),
        ("a%2Fb", "a/b"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("a%2Bc", "a+c"),
        ("%E6%97%A5%E6%9C%AC", "\u{65e5}\u{672c}"),
        ("CON", "CON"),
        ("p/blob", "p/blob"),
        ("%25", "%"),
        ("%3Facl", "?acl"),
        ("etc%2Fpasswd", "etc/passwd"),
    ] {
        let body = format!("{written} is {key}");
        gateway.put(written, body.as_bytes()).await;
        let got = gateway.get(written).await;
        assert_eq!(got.text(), body, "{written}");
        let encoded: String = support::sign::encoded(key);
        let list = format!("/bucket?list-type=2&encoding-type=url&max-keys=1&prefix={encoded}");
        let text = gateway.ok(Request::new("GET", &list)).await.text();
        let listed = element(&text, "Key").unwrap_or_else(|| panic!("{written} is listed: {text}"));
        let decoded = percent_encoding::percent_decode_str(&listed).decode_utf8().expect("UTF-8");
        assert_eq!(decoded, key, "{written}");
        gateway.ok(Request::new("DELETE", &format!("/bucket/{written}"))).await;
    }
    let longest = "k".repeat(1024);
    gateway.put(&longest, b"x").await;
    assert_eq!(gateway.get(&longest).await.status, 200);
    let longer = format!("/bucket/{longest}k");
    let refused = gateway.send(Request::new("PUT", &longer)).await;
    assert_eq!(refused.outcome(), "400 KeyTooLongError");
}
