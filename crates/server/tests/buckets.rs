//! Buckets and listings over HTTP.

use crate::support;
use crate::support::{Gateway, Request, Way, element, elements, world::DOMAIN};
use havre_server::LimitsConfig;

fn constrained(name: &str, constraint: &str) -> Request {
    let body = format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <LocationConstraint>{constraint}</LocationConstraint></CreateBucketConfiguration>"
    );
    Request::new("PUT", &format!("/{name}")).body(body)
}

#[tokio::test]
async fn buckets_are_made_found_listed_and_removed() {
    let gateway = Gateway::start().await;
    let made = gateway.ok(Request::new("PUT", "/one")).await;
    assert_eq!(made.value("location"), Some("/one"));
    gateway.ok(Request::new("PUT", "/two/")).await;
    let head = gateway.ok(Request::new("HEAD", "/one")).await;
    assert_eq!(head.value("x-amz-bucket-region"), Some("us-east-1"));
    let text = gateway.ok(Request::new("GET", "/")).await.text();
    assert_eq!(elements(&text, "Name"), ["one", "two"]);
    assert_eq!(element(&text, "ID"), Some(gateway.tenant.clone()));
    let location = gateway.ok(Request::new("GET", "/one?location")).await.text();
    assert!(location.contains("LocationConstraint"), "{location}");
    assert_eq!(element(&location, "LocationConstraint").unwrap_or_default(), "");
    gateway.ok(Request::new("PUT", "/one/key").body(b"x")).await;
    assert_eq!(gateway.send(Request::new("DELETE", "/one")).await.outcome(), "409 BucketNotEmpty");
    gateway.ok(Request::new("DELETE", "/one/key")).await;
    assert_eq!(gateway.send(Request::new("DELETE", "/one")).await.outcome(), "204");
    assert_eq!(gateway.send(Request::new("HEAD", "/one")).await.outcome(), "404");
}

#[tokio::test]
async fn a_name_is_taken_once_in_the_whole_gateway() {
    let gateway = Gateway::with_bucket().await;
    let again = gateway.send(Request::new("PUT", "/bucket")).await;
    assert_eq!(again.outcome(), "200", "us-east-1 lets an owner make a bucket twice");
    let request = Request::new("PUT", "/bucket").host(gateway.address);
    let taken = gateway.raw(gateway.stranger().sign(Way::Header, request)).await;
    assert_eq!(taken.outcome(), "409 BucketAlreadyExists");
    let elsewhere = Gateway::start_with("eu-west-1", LimitsConfig::default()).await;
    let put = || {
        let request = constrained("bucket", "eu-west-1").host(elsewhere.address);
        elsewhere.raw(elsewhere.signer().region("eu-west-1").sign(Way::Header, request))
    };
    assert_eq!(put().await.outcome(), "200");
    assert_eq!(put().await.outcome(), "409 BucketAlreadyOwnedByYou");
    let request = Request::new("GET", "/bucket?location").host(elsewhere.address);
    let signed = elsewhere.signer().region("eu-west-1").sign(Way::Header, request);
    assert!(elsewhere.raw(signed).await.text().contains(">eu-west-1<"));
}

#[tokio::test]
async fn who_signs_for_another_region_is_told_which_one() {
    let gateway = Gateway::with_bucket().await;
    let request = Request::new("GET", "/bucket").host(gateway.address);
    let refused =
        gateway.raw(gateway.signer().region("eu-west-1").sign(Way::Header, request)).await;
    assert_eq!(refused.outcome(), "400 AuthorizationHeaderMalformed");
    assert_eq!(element(&refused.text(), "Region").as_deref(), Some("us-east-1"));
}

#[tokio::test]
async fn the_location_constraint_chooses_the_policy() {
    let gateway = Gateway::start().await;
    for (name, constraint, expected) in [
        ("one", "gold", "200"),
        ("two", "us-east-1:gold", "200"),
        ("three", "us-east-1", "200"),
        ("four", "silver", "400 InvalidLocationConstraint"),
    ] {
        assert_eq!(gateway.send(constrained(name, constraint)).await.outcome(), expected);
    }
    let policy = |name| {
        let engine = gateway.engine.clone();
        async move {
            let bucket = engine.bucket(name).await.expect("answers").expect("is there");
            bucket.policy().to_owned()
        }
    };
    assert_eq!(policy("one").await, "gold");
    assert_eq!(policy("two").await, "gold");
    assert_eq!(policy("three").await, "");
    let other = gateway.send(constrained("one", "")).await;
    assert_eq!(other.outcome(), "409 BucketAlreadyOwnedByYou", "another policy is another bucket");
    let malformed = Request::new("PUT", "/five").body("<CreateBucketConfiguration><Loc");
    assert_eq!(gateway.send(malformed).await.outcome(), "400 MalformedXML");
}

#[tokio::test]
async fn names_follow_the_rules_of_s3() {
    let gateway = Gateway::start().await;
    for name in [
        "ab",
        "Abc",
        "a_b",
        "-abc",
        "abc-",
        "a..b",
        "a.-b",
        "a-.b",
        "192.168.0.1",
        "xn--abc",
        "sthree-abc",
        "amzn-s3-demo-abc",
        "abc-s3alias",
        "abc--ol-s3",
        "abc.mrap",
        "abc--x-s3",
        "abc--table-s3",
        &"a".repeat(64),
    ] {
        let outcome = gateway.send(Request::new("PUT", &format!("/{name}"))).await.outcome();
        assert_eq!(outcome, "400 InvalidBucketName", "{name}");
    }
    for name in ["abc", "a.b", "1-2-3", &"a".repeat(63)] {
        assert_eq!(gateway.send(Request::new("PUT", &format!("/{name}"))).await.outcome(), "200");
    }
}

#[tokio::test]
async fn nobody_gets_into_the_bucket_of_another_tenant() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"secret").await;
    let upload = gateway.ok(Request::new("POST", "/bucket/key?uploads")).await.text();
    let upload = element(&upload, "UploadId").expect("an id");
    let document = "<Delete><Object><Key>key</Key></Object></Delete>";
    let complete = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>\
                    </CompleteMultipartUpload>";
    for (method, target, body) in [
        ("HEAD", "/bucket".to_owned(), ""),
        ("GET", "/bucket".to_owned(), ""),
        ("GET", "/bucket?list-type=2".to_owned(), ""),
        ("GET", "/bucket?versions".to_owned(), ""),
        ("GET", "/bucket?uploads".to_owned(), ""),
        ("GET", "/bucket?location".to_owned(), ""),
        ("GET", "/bucket?acl".to_owned(), ""),
        ("GET", "/bucket?versioning".to_owned(), ""),
        ("DELETE", "/bucket".to_owned(), ""),
        ("POST", "/bucket?delete".to_owned(), document),
        ("GET", "/bucket/key".to_owned(), ""),
        ("HEAD", "/bucket/key".to_owned(), ""),
        ("GET", "/bucket/key?acl".to_owned(), ""),
        ("GET", "/bucket/key?tagging".to_owned(), ""),
        ("PUT", "/bucket/key".to_owned(), "overwritten"),
        ("DELETE", "/bucket/key".to_owned(), ""),
        ("POST", "/bucket/key?uploads".to_owned(), ""),
        ("PUT", format!("/bucket/key?partNumber=1&uploadId={upload}"), "part"),
        ("GET", format!("/bucket/key?uploadId={upload}"), ""),
        ("POST", format!("/bucket/key?uploadId={upload}"), complete),
        ("DELETE", format!("/bucket/key?uploadId={upload}"), ""),
    ] {
        let mut request = Request::new(method, &target).body(body).host(gateway.address);
        if method == "POST" {
            request = request.header("content-md5", &support::md5(body.as_bytes()));
        }
        let refused = gateway.raw(gateway.stranger().sign(Way::Header, request)).await;
        assert_eq!(refused.status, 403, "{method} {target}: {}", refused.text());
        assert!(!refused.text().contains("secret"));
    }
    let request = Request::new("PUT", "/strange").host(gateway.address);
    gateway.raw(gateway.stranger().sign(Way::Header, request)).await;
    let copy = Request::new("PUT", "/strange/copy")
        .header("x-amz-copy-source", "/bucket/key")
        .host(gateway.address);
    let refused = gateway.raw(gateway.stranger().sign(Way::Header, copy)).await;
    assert_eq!(refused.outcome(), "403 AccessDenied", "the source is checked, too");
    assert_eq!(gateway.get("key").await.body, b"secret");
    let text = gateway.ok(Request::new("GET", "/")).await.text();
    assert_eq!(elements(&text, "Name"), ["bucket"]);
}

#[tokio::test]
async fn the_expected_owner_is_compared() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"x").await;
    for (owner, expected) in [(gateway.tenant.clone(), "200"), ("111122223333".to_owned(), "403")] {
        for (method, target) in [("HEAD", "/bucket"), ("HEAD", "/bucket/key")] {
            let request =
                Request::new(method, target).header("x-amz-expected-bucket-owner", &owner);
            assert_eq!(gateway.send(request).await.outcome(), expected, "{method} {target}");
        }
        let copy = Request::new("PUT", "/bucket/copy")
            .header("x-amz-copy-source", "bucket/key")
            .header("x-amz-source-expected-bucket-owner", &owner);
        assert!(gateway.send(copy).await.outcome().starts_with(expected));
    }
}

#[tokio::test]
async fn settings_say_what_is_true_or_that_they_are_not_built() {
    let gateway = Gateway::with_bucket().await;
    gateway.put("key", b"x").await;
    let versioning = gateway.ok(Request::new("GET", "/bucket?versioning")).await.text();
    assert!(!versioning.contains("<Status>"), "{versioning}");
    for target in ["/bucket?acl", "/bucket/key?acl"] {
        let text = gateway.ok(Request::new("GET", target)).await.text();
        assert_eq!(element(&text, "Permission").as_deref(), Some("FULL_CONTROL"), "{text}");
        assert_eq!(elements(&text, "ID"), [gateway.tenant.clone(), gateway.tenant.clone()]);
    }
    for (method, target) in [
        ("PUT", "/bucket?versioning"),
        ("PUT", "/bucket?acl"),
        ("PUT", "/bucket?policy"),
        ("GET", "/bucket?policy"),
        ("PUT", "/bucket?lifecycle"),
        ("PUT", "/bucket?cors"),
        ("DELETE", "/bucket?encryption"),
        ("DELETE", "/bucket?something-new"),
        ("PUT", "/bucket/key?acl"),
        ("PUT", "/bucket/key?tagging"),
        ("PUT", "/bucket/key?retention"),
        ("POST", "/bucket/key?restore"),
        ("POST", "/bucket/key?select&select-type=2"),
    ] {
        let outcome = gateway.send(Request::new(method, target).body(b"<a/>")).await.outcome();
        assert_eq!(outcome, "501 NotImplemented", "{method} {target}");
    }
    assert_eq!(gateway.get("key").await.body, b"x", "and nothing happened");
}

#[tokio::test]
async fn buckets_are_reached_by_host_as_well() {
    let gateway = Gateway::with_bucket().await;
    let host = format!("bucket.{DOMAIN}");
    for way in [Way::Header, Way::Presigned] {
        let put = Request::new("PUT", "/a%2Fb").header("host", &host).body(b"x");
        assert_eq!(gateway.send_as(way, put).await.outcome(), "200");
        let list = Request::new("GET", "/?list-type=2").header("host", &host);
        let text = gateway.send_as(way, list).await.text();
        assert_eq!(elements(&text, "Key"), ["a/b"]);
        let path_style = Request::new("GET", "/bucket/a/b").header("host", DOMAIN);
        assert_eq!(gateway.send_as(way, path_style).await.outcome(), "200");
        let unknown = Request::new("GET", "/").header("host", "bucket.other.test");
        let text = gateway.send_as(way, unknown).await.text();
        assert!(text.contains("ListAllMyBucketsResult"), "{text}");
    }
}

#[tokio::test]
async fn the_list_of_buckets_has_pages() {
    let gateway = Gateway::start().await;
    for number in 0..5 {
        gateway.ok(Request::new("PUT", &format!("/bucket-{number}"))).await;
    }
    let text = gateway.ok(Request::new("GET", "/?max-buckets=2")).await.text();
    assert_eq!(elements(&text, "Name"), ["bucket-0", "bucket-1"]);
    let token = element(&text, "ContinuationToken").expect("more");
    let text =
        gateway.ok(Request::new("GET", &format!("/?continuation-token={token}"))).await.text();
    assert_eq!(elements(&text, "Name"), ["bucket-2", "bucket-3", "bucket-4"]);
    assert_eq!(element(&text, "ContinuationToken"), None);
    let text = gateway.ok(Request::new("GET", "/?prefix=bucket-3")).await.text();
    assert_eq!(elements(&text, "Name"), ["bucket-3"]);
    for query in ["max-buckets=0", "max-buckets=10001", "continuation-token=x"] {
        let outcome = gateway.send(Request::new("GET", &format!("/?{query}"))).await.outcome();
        assert_eq!(outcome, "400 InvalidArgument", "{query}");
    }
}

const KEYS: [&str; 9] = ["a", "b/1", "b/2", "b/c/3", "b0", "c", "d/e", "\u{e9}/x", "\u{1f600}"];

async fn filled() -> Gateway {
    let gateway = Gateway::with_bucket().await;
    for key in KEYS {
        gateway.put(&support::sign::encoded(key), key.as_bytes()).await;
    }
    gateway
}

/// Follows a listing page by page.
async fn follow(gateway: &Gateway, query: &str, version: u8) -> (Vec<String>, Vec<String>) {
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    let mut next = String::new();
    loop {
        let text = gateway.ok(Request::new("GET", &format!("/bucket?{query}{next}"))).await.text();
        let found = elements(&text, "Key");
        let rolled: Vec<String> = text
            .split("<CommonPrefixes>")
            .skip(1)
            .filter_map(|rest| element(rest, "Prefix"))
            .collect();
        if element(&text, "IsTruncated").as_deref() == Some("true") {
            let at = match version {
                1 => element(&text, "NextMarker").or_else(|| found.last().cloned()),
                2 => element(&text, "NextContinuationToken"),
                _ => element(&text, "NextKeyMarker"),
            };
            let at = support::sign::encoded(&at.expect("a place to go on"));
            let name = ["", "marker", "continuation-token", "key-marker"][usize::from(version)];
            next = format!("&{name}={at}");
            keys.extend(found);
            prefixes.extend(rolled);
            continue;
        }
        keys.extend(found);
        prefixes.extend(rolled);
        return (keys, prefixes);
    }
}

#[tokio::test]
async fn every_page_size_shows_every_key_once() {
    let gateway = filled().await;
    for (start, version) in [("", 1), ("list-type=2&", 2), ("versions&", 3)] {
        for size in [1, 2, 3, 9, 1000] {
            let query = format!("{start}max-keys={size}");
            let (keys, prefixes) = follow(&gateway, &query, version).await;
            assert_eq!((keys, prefixes.len()), (KEYS.map(str::to_owned).to_vec(), 0), "{query}");
            let query = format!("{start}max-keys={size}&delimiter=%2F");
            let (keys, prefixes) = follow(&gateway, &query, version).await;
            assert_eq!(keys, ["a", "b0", "c", "\u{1f600}"], "{query}");
            assert_eq!(prefixes, ["b/", "d/", "\u{e9}/"], "{query}");
            let query = format!("{start}max-keys={size}&delimiter=%2F&prefix=b%2F");
            let (keys, prefixes) = follow(&gateway, &query, version).await;
            assert_eq!((keys, prefixes), (vec!["b/1".into(), "b/2".into()], vec!["b/c/".into()]));
        }
    }
}

#[tokio::test]
async fn listings_start_where_they_are_told() {
    let gateway = filled().await;
    let keys = |query: &'static str| {
        let gateway = &gateway;
        async move {
            let target = format!("/bucket?{query}");
            elements(&gateway.ok(Request::new("GET", &target)).await.text(), "Key")
        }
    };
    assert_eq!(keys("list-type=2&start-after=b/c/3&max-keys=2").await, ["b0", "c"]);
    assert_eq!(keys("marker=b%2F2&max-keys=1").await, ["b/c/3"]);
    assert_eq!(keys("list-type=2&prefix=d").await, ["d/e"]);
    assert_eq!(keys("list-type=2&prefix=nothing").await, Vec::<String>::new());
    assert_eq!(keys("list-type=2&max-keys=0").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_listing_describes_its_objects() {
    let gateway = filled().await;
    let head = gateway.ok(Request::new("HEAD", "/bucket/b/1")).await;
    let text = gateway
        .ok(Request::new("GET", "/bucket?list-type=2&prefix=b/1&fetch-owner=true"))
        .await
        .text();
    assert_eq!(element(&text, "ETag").as_deref(), head.value("etag"));
    assert_eq!(element(&text, "Size").as_deref(), Some("3"));
    assert_eq!(element(&text, "StorageClass").as_deref(), Some("STANDARD"));
    assert_eq!(element(&text, "ChecksumAlgorithm").as_deref(), Some("CRC64NVME"));
    assert_eq!(element(&text, "KeyCount").as_deref(), Some("1"));
    assert_eq!(element(&text, "MaxKeys").as_deref(), Some("1000"));
    assert_eq!(element(&text, "ID"), Some(gateway.tenant.clone()));
    let modified = element(&text, "LastModified").expect("a time");
    assert!(modified.ends_with(".000Z"), "{modified}");
    let text = gateway.ok(Request::new("GET", "/bucket?versions&prefix=b/1")).await.text();
    assert_eq!(element(&text, "VersionId").as_deref(), Some("null"));
    assert_eq!(element(&text, "IsLatest").as_deref(), Some("true"));
}

#[tokio::test]
async fn keys_that_xml_cannot_write_are_listed_all_the_same() {
    let gateway = Gateway::with_bucket().await;
    let keys = ["a%01b", "a%0Db", "a%26%3C%3E%22'", "a+b", "a%20b"];
    for key in keys {
        gateway.put(key, b"x").await;
    }
    for query in ["", "list-type=2", "versions"] {
        let text = gateway.ok(Request::new("GET", &format!("/bucket?{query}"))).await.text();
        assert!(text.contains("<Key>a&#x1;b</Key>"), "{text}");
        assert!(text.contains("<Key>a&#xd;b</Key>"), "{text}");
        assert!(text.contains("<Key>a+b</Key>") && text.contains("<Key>a b</Key>"), "{text}");
        let text = gateway
            .ok(Request::new("GET", &format!("/bucket?{query}&encoding-type=url")))
            .await
            .text();
        assert_eq!(element(&text, "EncodingType").as_deref(), Some("url"));
        let mut listed = elements(&text, "Key");
        listed.sort();
        assert_eq!(listed, ["a%01b", "a%0Db", "a%20b", "a%26%3C%3E%22%27", "a%2Bb"]);
    }
    let outcome = gateway.send(Request::new("GET", "/bucket?encoding-type=base64")).await.outcome();
    assert_eq!(outcome, "400 InvalidArgument");
}

#[tokio::test]
async fn list_parameters_out_of_range_are_refused_or_capped() {
    let gateway = filled().await;
    for (query, expected) in [
        ("max-keys=-1", "400 InvalidArgument"),
        ("max-keys=2147483648", "400 InvalidArgument"),
        ("max-keys=abc", "400 InvalidArgument"),
        ("max-keys=2147483647", "200"),
        ("list-type=2&max-keys=-1", "400 InvalidArgument"),
        ("list-type=2&continuation-token=", "400 InvalidArgument"),
        ("list-type=2&continuation-token=forged", "400 InvalidArgument"),
        ("list-type=2&continuation-token=..%2F..%2Fetc", "400 InvalidArgument"),
        ("delimiter=", "200"),
        ("versions&version-id-marker=x", "400 InvalidArgument"),
        ("uploads&max-uploads=-1", "400 InvalidArgument"),
        ("uploads&key-marker=a&upload-id-marker=x", "400 InvalidArgument"),
    ] {
        let outcome =
            gateway.send(Request::new("GET", &format!("/bucket?{query}"))).await.outcome();
        assert_eq!(outcome, expected, "{query}");
    }
    let long = format!("/bucket?delimiter={}", "d".repeat(20_000));
    assert_eq!(gateway.send(Request::new("GET", &long)).await.outcome(), "414 URITooLong");
}

#[tokio::test]
async fn a_token_of_another_bucket_is_refused() {
    let gateway = filled().await;
    gateway.ok(Request::new("PUT", "/other")).await;
    let text = gateway.ok(Request::new("GET", "/bucket?list-type=2&max-keys=1")).await.text();
    let token = element(&text, "NextContinuationToken").expect("more");
    let target = format!("/other?list-type=2&continuation-token={token}");
    assert_eq!(gateway.send(Request::new("GET", &target)).await.outcome(), "400 InvalidArgument");
}
