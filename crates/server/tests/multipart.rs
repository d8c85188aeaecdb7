//! Multipart uploads over HTTP.

use crate::support::{
    Gateway, Request, Response, WAYS, base64, crc32, crc64, element, elements, md5, pattern, sha256,
};

const MIB: usize = 1024 * 1024;

async fn begin(gateway: &Gateway, headers: &[(&str, &str)]) -> String {
    let request =
        headers.iter().fold(Request::new("POST", "/bucket/key?uploads"), |it, (name, value)| {
            it.header(name, value)
        });
    let text = gateway.ok(request).await.text();
    assert_eq!(element(&text, "Key").as_deref(), Some("key"));
    element(&text, "UploadId").expect("an id")
}

fn part(upload: &str, number: i32, body: &[u8]) -> Request {
    Request::new("PUT", &format!("/bucket/key?partNumber={number}&uploadId={upload}")).body(body)
}

/// Uploads a part and answers with its ETag.
async fn upload(gateway: &Gateway, upload: &str, number: i32, body: &[u8]) -> String {
    let response = gateway.ok(part(upload, number, body)).await;
    response.value("etag").expect("an ETag").to_owned()
}

fn completion(upload: &str, parts: &[(i32, String)]) -> Request {
    let parts: String = parts
        .iter()
        .map(|(number, rest)| format!("<Part><PartNumber>{number}</PartNumber>{rest}</Part>"))
        .collect();
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    Request::new("POST", &format!("/bucket/key?uploadId={upload}")).body(body)
}

fn tagged(etag: &str) -> String {
    format!("<ETag>{etag}</ETag>")
}

async fn complete(gateway: &Gateway, upload: &str, parts: &[(i32, &str)]) -> Response {
    let parts: Vec<(i32, String)> =
        parts.iter().map(|(number, etag)| (*number, tagged(etag))).collect();
    gateway.send(completion(upload, &parts)).await
}

#[tokio::test]
async fn parts_become_one_object_in_the_order_of_their_numbers() {
    let gateway = Gateway::with_bucket().await;
    let id = begin(&gateway, &[("content-type", "text/plain"), ("x-amz-meta-a", "1")]).await;
    let (first, second, last) = (pattern(5 * MIB, 1), pattern(5 * MIB + 1, 2), pattern(10, 3));
    let e9 = upload(&gateway, &id, 9, &last).await;
    let e1 = upload(&gateway, &id, 1, b"to be replaced").await;
    let e5 = upload(&gateway, &id, 5, &second).await;
    let replaced = upload(&gateway, &id, 1, &first).await;
    assert_ne!(e1, replaced);
    let done = complete(&gateway, &id, &[(1, &replaced), (5, &e5), (9, &e9)]).await;
    assert_eq!(done.outcome(), "200", "{}", done.text());
    let etag = element(&done.text(), "ETag").expect("an ETag");
    assert!(etag.ends_with("-3\"") && etag.len() == 36, "{etag}");
    let location = element(&done.text(), "Location").expect("a location");
    assert_eq!(location, format!("http://{}/bucket/key", gateway.address));
    let whole = [&first[..], &second, &last].concat();
    assert_eq!(element(&done.text(), "ChecksumCRC64NVME"), Some(crc64(&whole)));
    let got = gateway.get("key").await;
    assert!(got.complete && got.body == whole);
    assert_eq!(
        (got.value("content-type"), got.value("x-amz-meta-a")),
        (Some("text/plain"), Some("1"))
    );
    assert_eq!(got.value("etag"), Some(etag.as_str()));
    for (number, bytes) in [(1, &first), (5, &second), (9, &last)] {
        let target = format!("/bucket/key?partNumber={number}");
        let got = gateway.send(Request::new("GET", &target)).await;
        assert_eq!((got.status, got.value("x-amz-mp-parts-count")), (206, Some("3")));
        assert!(got.body == *bytes, "part {number}");
    }
    for (target, range, expected) in [
        ("/bucket/key?partNumber=2", None, "416 InvalidPartNumber"),
        ("/bucket/key?partNumber=0", None, "400 InvalidArgument"),
        ("/bucket/key?partNumber=10001", None, "400 InvalidArgument"),
        ("/bucket/key?partNumber=1", Some("bytes=0-1"), "400 InvalidRequest"),
    ] {
        let request = Request::new("GET", target);
        let request = range.map_or(request.clone(), |range| request.header("range", range));
        assert_eq!(gateway.send(request).await.outcome(), expected, "{target}");
    }
    let again = complete(&gateway, &id, &[(1, &replaced), (5, &e5), (9, &e9)]).await;
    assert_eq!(element(&again.text(), "ETag"), Some(etag), "a repeat gives the same answer");
    let late = gateway.send(part(&id, 2, b"late")).await;
    assert_eq!(late.outcome(), "404 NoSuchUpload");
}

#[tokio::test]
async fn the_etag_is_made_of_the_md5s_that_clients_sent() {
    let gateway = Gateway::with_bucket().await;
    let id = begin(&gateway, &[]).await;
    let (first, last) = (pattern(5 * MIB, 1), pattern(100, 2));
    let mut etags = Vec::new();
    for (number, body) in [(1, &first), (2, &last)] {
        let put = gateway.ok(part(&id, number, body).header("content-md5", &md5(body))).await;
        etags.push(put.value("etag").expect("one").to_owned());
        let wrong = gateway.send(part(&id, number, body).header("content-md5", &md5(b"x"))).await;
        assert_eq!(wrong.outcome(), "400 BadDigest");
    }
    let done = complete(&gateway, &id, &[(1, &etags[0]), (2, &etags[1])]).await;
    let digest = |bytes: &[u8]| <md5::Md5 as md5::Digest>::digest(bytes).to_vec();
    let all = [digest(&first), digest(&last)].concat();
    let expected = format!("\"{}-2\"", hex::encode(digest(&all)));
    assert_eq!(element(&done.text(), "ETag"), Some(expected));
}

#[tokio::test]
async fn completions_that_are_wrong_are_refused_and_leave_the_upload() {
    let gateway = Gateway::with_bucket().await;
    let id = begin(&gateway, &[]).await;
    let small = upload(&gateway, &id, 1, b"small").await;
    let second = upload(&gateway, &id, 2, b"second").await;
    let outcome = |parts: Vec<(i32, String)>| {
        let request = completion(&id, &parts);
        let gateway = &gateway;
        async move { gateway.send(request).await.outcome() }
    };
    let (small, second) = (tagged(&small), tagged(&second));
    for (parts, expected) in [
        (vec![], "400 MalformedXML"),
        (vec![(1, small.clone()), (2, second.clone())], "400 EntityTooSmall"),
        (vec![(2, second.clone()), (1, small.clone())], "400 InvalidPartOrder"),
        (vec![(1, small.clone()), (1, small.clone())], "400 InvalidPartOrder"),
        (vec![(1, tagged("\"other\""))], "400 InvalidPart"),
        (vec![(3, small.clone())], "400 InvalidPart"),
        (vec![(0, small.clone())], "400 InvalidArgument"),
        (vec![(10_001, small.clone())], "400 InvalidArgument"),
        (vec![(1, String::new())], "400 MalformedXML"),
    ] {
        assert_eq!(outcome(parts.clone()).await, expected, "{parts:?}");
    }
    let many: Vec<(i32, String)> = (1..=10_001).map(|number| (number, small.clone())).collect();
    assert_eq!(outcome(many).await, "400 MalformedXML");
    let malformed = Request::new("POST", &format!("/bucket/key?uploadId={id}")).body("<Complete");
    assert_eq!(gateway.send(malformed).await.outcome(), "400 MalformedXML");
    assert_eq!(gateway.get("key").await.status, 404);
    let size = completion(&id, &[(1, small.clone())]).header("x-amz-mp-object-size", "6");
    assert_eq!(gateway.send(size).await.outcome(), "400 InvalidRequest");
    let size = completion(&id, &[(1, small)]).header("x-amz-mp-object-size", "5");
    assert_eq!(gateway.send(size).await.outcome(), "200");
    assert_eq!(gateway.get("key").await.body, b"small");
}

#[tokio::test]
async fn uploads_end_once_and_belong_to_their_key() {
    let gateway = Gateway::with_bucket().await;
    let id = begin(&gateway, &[]).await;
    upload(&gateway, &id, 1, b"part").await;
    let other = format!("/bucket/other?partNumber=1&uploadId={id}");
    assert_eq!(
        gateway.send(Request::new("PUT", &other).body(b"x")).await.outcome(),
        "404 NoSuchUpload"
    );
    let abort = Request::new("DELETE", &format!("/bucket/key?uploadId={id}"));
    let elsewhere = Request::new("DELETE", &format!("/bucket/other?uploadId={id}"));
    assert_eq!(gateway.send(elsewhere).await.outcome(), "404 NoSuchUpload");
    assert_eq!(gateway.send(abort.clone()).await.outcome(), "204");
    assert_eq!(gateway.send(abort).await.outcome(), "404 NoSuchUpload");
    for (request, expected) in [
        (part(&id, 1, b"x"), "404 NoSuchUpload"),
        (part("../../x", 1, b"x"), "404 NoSuchUpload"),
        (part(&id, 0, b"x"), "400 InvalidArgument"),
        (part(&id, 10_001, b"x"), "400 InvalidArgument"),
        (part(&id, -1, b"x"), "400 InvalidArgument"),
        (Request::new("GET", &format!("/bucket/key?uploadId={id}")), "404 NoSuchUpload"),
        (completion(&id, &[(1, tagged("a"))]), "404 NoSuchUpload"),
    ] {
        assert_eq!(gateway.send(request.clone()).await.outcome(), expected, "{}", request.target);
    }
}

#[tokio::test]
async fn parts_and_uploads_are_listed_in_pages() {
    let gateway = Gateway::with_bucket().await;
    let id = begin(&gateway, &[("x-amz-checksum-algorithm", "SHA256")]).await;
    for number in [2, 4, 6] {
        upload(&gateway, &id, number, &[7; 10]).await;
    }
    let list = |query: &str| Request::new("GET", &format!("/bucket/key?uploadId={id}{query}"));
    let text = gateway.ok(list("&max-parts=2")).await.text();
    assert_eq!(elements(&text, "PartNumber"), ["2", "4"]);
    assert_eq!(element(&text, "IsTruncated").as_deref(), Some("true"));
    assert_eq!(element(&text, "NextPartNumberMarker").as_deref(), Some("4"));
    assert_eq!(element(&text, "ChecksumSHA256"), Some(base64(&sha256(&[7; 10]))));
    assert_eq!(element(&text, "ChecksumType").as_deref(), Some("COMPOSITE"));
    let text = gateway.ok(list("&part-number-marker=4")).await.text();
    assert_eq!(elements(&text, "PartNumber"), ["6"]);
    assert_eq!(element(&text, "IsTruncated").as_deref(), Some("false"));
    for key in ["a/1", "a/2", "b", "key"] {
        gateway.ok(Request::new("POST", &format!("/bucket/{key}?uploads"))).await;
    }
    let text =
        gateway.ok(Request::new("GET", "/bucket?uploads&delimiter=%2F&max-uploads=2")).await.text();
    assert_eq!(elements(&text, "Key"), ["b"]);
    assert!(text.contains("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"), "{text}");
    let text = gateway.ok(Request::new("GET", "/bucket?uploads&prefix=key")).await.text();
    assert_eq!(elements(&text, "UploadId").len(), 2, "two of one key");
    let target = format!(
        "/bucket?uploads&key-marker=key&upload-id-marker={}",
        elements(&text, "UploadId")[0]
    );
    let text = gateway.ok(Request::new("GET", &target)).await.text();
    assert_eq!(elements(&text, "Key"), ["key"]);
}

#[tokio::test]
async fn checksums_of_parts_make_the_objects() {
    let gateway = Gateway::with_bucket().await;
    let (first, last) = (pattern(5 * MIB, 1), pattern(777, 2));
    let whole = [&first[..], &last].concat();
    let composite = |digest: fn(&[u8]) -> Vec<u8>| {
        let all = [digest(&first), digest(&last)].concat();
        format!("{}-2", base64(&digest(&all)))
    };
    let crc = |bytes: &[u8]| {
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes).to_be_bytes()[4..].to_vec()
    };
    for (algorithm, kind, element_name, of_part, expected) in [
        ("CRC32", "FULL_OBJECT", "ChecksumCRC32", crc as fn(&[u8]) -> Vec<u8>, crc32(&whole)),
        ("CRC32", "COMPOSITE", "ChecksumCRC32", crc, composite(crc)),
        ("SHA256", "COMPOSITE", "ChecksumSHA256", sha256, composite(sha256)),
    ] {
        let headers = [("x-amz-checksum-algorithm", algorithm), ("x-amz-checksum-type", kind)];
        let id = begin(&gateway, &headers).await;
        let header = format!("x-amz-checksum-{}", algorithm.to_ascii_lowercase());
        let mut parts = Vec::new();
        for (number, body) in [(1, &first), (2, &last)] {
            let value = base64(&of_part(body));
            let wrong = part(&id, number, body).header(&header, &base64(&of_part(b"other")));
            assert_eq!(gateway.send(wrong).await.outcome(), "400 BadDigest");
            let put = gateway.ok(part(&id, number, body).header(&header, &value)).await;
            assert_eq!(put.value(&header), Some(value.as_str()));
            let etag = put.value("etag").expect("one");
            parts.push((
                number,
                format!("{}<{element_name}>{value}</{element_name}>", tagged(etag)),
            ));
        }
        let mut wrong = parts.clone();
        wrong[0].1 = wrong[0].1.replace(&base64(&of_part(&first)), &base64(&of_part(b"other")));
        assert_eq!(gateway.send(completion(&id, &wrong)).await.outcome(), "400 InvalidPart");
        if kind == "COMPOSITE" {
            let bare: Vec<_> = parts
                .iter()
                .map(|(number, rest)| {
                    (*number, rest.split_inclusive("</ETag>").next().unwrap_or_default().to_owned())
                })
                .collect();
            assert_eq!(gateway.send(completion(&id, &bare)).await.outcome(), "400 InvalidRequest");
        }
        let bad = completion(&id, &parts).header(&header, &base64(&of_part(b"other")));
        let bad = gateway.send(bad).await;
        assert_eq!(bad.outcome(), "400 BadDigest");
        assert!(bad.text().contains(&format!("The {algorithm} you specified")), "{}", bad.text());
        let kind_header = if kind == "COMPOSITE" { "FULL_OBJECT" } else { "COMPOSITE" };
        let other_kind = completion(&id, &parts).header("x-amz-checksum-type", kind_header);
        assert_eq!(gateway.send(other_kind).await.outcome(), "400 InvalidRequest");
        let good =
            completion(&id, &parts).header(&header, &expected).header("x-amz-checksum-type", kind);
        let done = gateway.send(good).await;
        assert_eq!(element(&done.text(), element_name), Some(expected.clone()), "{}", done.text());
        assert_eq!(element(&done.text(), "ChecksumType").as_deref(), Some(kind));
        let head = Request::new("HEAD", "/bucket/key").header("x-amz-checksum-mode", "ENABLED");
        let head = gateway.ok(head).await;
        assert_eq!(head.value(&header), Some(expected.as_str()));
        assert_eq!(head.value("x-amz-checksum-type"), Some(kind));
        let attributes = Request::new("GET", "/bucket/key?attributes")
            .header("x-amz-object-attributes", "ObjectParts,Checksum")
            .header("x-amz-max-parts", "1");
        let text = gateway.ok(attributes).await.text();
        assert_eq!(element(&text, "PartsCount").as_deref(), Some("2"), "{text}");
        assert_eq!(element(&text, "IsTruncated").as_deref(), Some("true"));
        assert_eq!(elements(&text, "PartNumber"), ["1"]);
    }
}

/// SDKs that download by part number compare what they get with the checksum beside it.
#[tokio::test]
async fn a_part_that_is_read_shows_its_own_checksum() {
    let gateway = Gateway::with_bucket().await;
    let bodies = [(1, pattern(5 * MIB, 1)), (2, pattern(777, 2))];
    for kind in ["COMPOSITE", "FULL_OBJECT"] {
        let headers = [("x-amz-checksum-algorithm", "CRC32"), ("x-amz-checksum-type", kind)];
        let id = begin(&gateway, &headers).await;
        let mut parts = Vec::new();
        for (number, body) in &bodies {
            let etag = upload(&gateway, &id, *number, body).await;
            let sum = crc32(body);
            parts.push((*number, format!("{}<ChecksumCRC32>{sum}</ChecksumCRC32>", tagged(&etag))));
        }
        assert_eq!(gateway.send(completion(&id, &parts)).await.outcome(), "200");
        for (number, body) in &bodies {
            let target = format!("/bucket/key?partNumber={number}");
            for method in ["GET", "HEAD"] {
                let read = Request::new(method, &target).header("x-amz-checksum-mode", "ENABLED");
                let got = gateway.ok(read).await;
                assert!(method == "HEAD" || got.body == *body, "part {number}");
                assert_eq!(got.value("x-amz-checksum-crc32"), Some(crc32(body).as_str()));
                assert_eq!(got.value("x-amz-checksum-type"), Some(kind));
            }
        }
    }
}

#[tokio::test]
async fn a_part_of_another_algorithm_is_refused() {
    let gateway = Gateway::with_bucket().await;
    let id = begin(&gateway, &[("x-amz-checksum-algorithm", "SHA256")]).await;
    let request = part(&id, 1, b"x").header("x-amz-checksum-crc32", &crc32(b"x"));
    assert_eq!(gateway.send(request).await.outcome(), "400 InvalidRequest");
    let silent = gateway.ok(part(&id, 1, b"x")).await;
    assert_eq!(silent.value("x-amz-checksum-sha256"), Some(base64(&sha256(b"x")).as_str()));
    let free = begin(&gateway, &[]).await;
    let request = |value: &str| part(&free, 1, b"x").header("x-amz-checksum-crc32", value);
    assert_eq!(gateway.send(request(&crc32(b"y"))).await.outcome(), "400 BadDigest");
    assert_eq!(gateway.send(request(&crc32(b"x"))).await.outcome(), "200");
}

#[tokio::test]
async fn parts_are_taken_however_they_are_signed() {
    let gateway = Gateway::with_bucket().await;
    let body = pattern(200_000, 5);
    for way in WAYS {
        let id = begin(&gateway, &[]).await;
        let put = gateway.send_as(way, part(&id, 1, &body)).await;
        assert_eq!(put.outcome(), "200", "{way:?}: {}", put.text());
        let done = complete(&gateway, &id, &[(1, put.value("etag").expect("one"))]).await;
        assert_eq!(done.outcome(), "200");
        assert!(gateway.get("key").await.body == body, "{way:?}");
    }
}

#[tokio::test]
async fn parts_are_copied_whole_and_in_ranges() {
    let gateway = Gateway::with_bucket().await;
    let source = pattern(6 * MIB, 4);
    gateway.put("source", &source).await;
    let id = begin(&gateway, &[]).await;
    let copy = |number: i32, range: Option<&str>| {
        let request = part(&id, number, b"").header("x-amz-copy-source", "/bucket/source");
        range.map_or(request.clone(), |range| request.header("x-amz-copy-source-range", range))
    };
    let mut etags = Vec::new();
    for (number, range) in [(1, None), (2, Some("bytes=100-199"))] {
        let text = gateway.ok(copy(number, range)).await.text();
        etags.push(element(&text, "ETag").expect("one"));
        assert!(element(&text, "LastModified").is_some());
    }
    for range in ["bytes=0-6291456", "bytes=0-", "bytes=-1", "0-1", "bytes=5-1"] {
        let outcome = gateway.send(copy(3, Some(range))).await.outcome();
        assert_eq!(outcome, "400 InvalidArgument", "{range}");
    }
    let missing = part(&id, 3, b"").header("x-amz-copy-source", "/bucket/none");
    assert_eq!(gateway.send(missing).await.outcome(), "404 NoSuchKey");
    let condition = copy(3, None).header("x-amz-copy-source-if-match", "\"other\"");
    assert_eq!(gateway.send(condition).await.outcome(), "412 PreconditionFailed");
    let done = complete(&gateway, &id, &[(1, &etags[0]), (2, &etags[1])]).await;
    assert_eq!(done.outcome(), "200", "{}", done.text());
    let expected = [&source[..], &source[100..200]].concat();
    assert!(gateway.get("key").await.body == expected);
}

#[tokio::test]
async fn conditions_where_there_are_none_are_not_ignored() {
    let gateway = Gateway::with_bucket().await;
    let id = begin(&gateway, &[]).await;
    let document = "<Delete><Object><Key>key</Key></Object></Delete>";
    for request in [
        Request::new("POST", "/bucket/key?uploads"),
        part(&id, 1, b"x"),
        part(&id, 1, b"").header("x-amz-copy-source", "/bucket/key"),
        Request::new("DELETE", &format!("/bucket/key?uploadId={id}")),
        Request::new("POST", "/bucket?delete")
            .body(document)
            .header("content-md5", &md5(document.as_bytes())),
    ] {
        let refused = gateway.send(request.header("if-match", "\"a\"")).await;
        assert_eq!(refused.outcome(), "501 NotImplemented");
    }
}

#[tokio::test]
async fn completions_have_conditions() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"old").await;
    let id = begin(&gateway, &[]).await;
    let etag = upload(&gateway, &id, 1, b"new").await;
    let request = || completion(&id, &[(1, tagged(&etag))]);
    let refused = gateway.send(request().header("if-none-match", "*")).await;
    assert_eq!(refused.outcome(), "412 PreconditionFailed");
    let refused = gateway.send(request().header("if-match", "\"other\"")).await;
    assert_eq!(refused.outcome(), "412 PreconditionFailed");
    let old = gateway.get("key").await.value("etag").expect("one").to_owned();
    assert_eq!(gateway.send(request().header("if-match", &old)).await.outcome(), "200");
    assert_eq!(gateway.get("key").await.body, b"new");
}
