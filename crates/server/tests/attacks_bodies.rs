//! ATTACKS, part B8: bodies, chunks and trailers that are not what was signed. Whatever is refused
//! must also have changed nothing.

use crate::attacks::Target;
use crate::support::{Request, Signer, Way};

/// Spoils what was framed.
fn with_body(request: Request, change: impl Fn(&str) -> String) -> Request {
    let body = change(&String::from_utf8_lossy(&request.body));
    Request { body: body.into_bytes(), ..request }
}

#[tokio::test]
async fn b8_bodies_that_are_not_what_was_signed() {
    let target = Target::new().await;
    target
        .refuses(
            |signer, way, request| {
                let spoilt = !request.body.is_empty() && way == Way::Header;
                let mut signed = signer.sign(way, request);
                signed.body.push(b'x');
                spoilt.then_some(signed)
            },
            &["400 XAmzContentSHA256Mismatch"],
        )
        .await;
    target
        .refuses(
            |signer, way, request| {
                // Same length, other bytes.
                let spoilt = !request.body.is_empty() && way == Way::Header;
                let mut signed = signer.sign(way, request);
                if let Some(last) = signed.body.last_mut() {
                    *last ^= 1;
                }
                spoilt.then_some(signed)
            },
            &["400 XAmzContentSHA256Mismatch"],
        )
        .await;
}

const fn is_framed(way: Way) -> bool {
    matches!(way, Way::Streaming | Way::StreamingTrailer | Way::UnsignedTrailer)
}

const fn is_signed_by_chunk(way: Way) -> bool {
    matches!(way, Way::Streaming | Way::StreamingTrailer)
}

/// Signs in chunks of so many bytes, where each chunk is signed, and spoils the framed body.
fn by_chunks(
    chunk: usize,
    spoil: impl Fn(&str) -> String,
) -> impl Fn(&Signer, Way, Request) -> Option<Request> {
    move |signer, way, request| {
        let signer = Signer { chunk, ..signer.clone() };
        is_signed_by_chunk(way).then(|| with_body(signer.sign(way, request), &spoil))
    }
}

#[tokio::test]
async fn b8_chunks_that_are_not_what_was_signed() {
    let target = Target::new().await;
    let refused = ["403 SignatureDoesNotMatch"];
    for chunk in 0..3 {
        let other_signature = move |body: &str| {
            let mut parts: Vec<String> =
                body.split("chunk-signature=").map(str::to_owned).collect();
            let other = if parts[chunk + 1].starts_with('0') { "1" } else { "0" };
            parts[chunk + 1].replace_range(0..1, other);
            parts.join("chunk-signature=")
        };
        target.refuses(by_chunks(2, other_signature), &refused).await;
    }
    let other_bytes =
        |body: &str| body.replace("overwritten", "OVERWRITTEN").replace("part", "PART");
    target.refuses(by_chunks(64, other_bytes), &refused).await;
    let other_order = |body: &str| {
        let mut lines: Vec<&str> = body.split("\r\n").collect();
        lines.swap(0, 2);
        lines.swap(1, 3);
        lines.join("\r\n")
    };
    target.refuses(by_chunks(2, other_order), &refused).await;
    let no_signature = |body: &str| {
        let (head, rest) = body.split_once(";chunk-signature=").expect("one");
        format!("{head}{}", &rest[64..])
    };
    target.refuses(by_chunks(64, no_signature), &["400 IncompleteBody"]).await;
}

#[tokio::test]
async fn b8_chunks_of_another_length() {
    let target = Target::new().await;
    let final_chunk_missing = |signer: &Signer, way, request| {
        let cut = |body: &str| {
            let end = body.find("\r\n0").expect("a final chunk") + 2;
            body[..end].to_owned()
        };
        is_framed(way).then(|| with_body(signer.sign(way, request), cut))
    };
    target.refuses(final_chunk_missing, &["400 IncompleteBody"]).await;
    for decoded in [0, 1, 1000, 1 << 40] {
        let other_length = move |signer: &Signer, way, request| {
            let signer = Signer { decoded: Some(decoded), ..signer.clone() };
            is_framed(way).then(|| signer.sign(way, request))
        };
        target.refuses(other_length, &["400 IncompleteBody", "400 EntityTooLarge"]).await;
    }
    for size in ["ffffffff", "100000000", "7fffffffffffffff", "-1", "xyz"] {
        let claim = move |body: &str| {
            let end = body.find([';', '\r']).expect("a header");
            format!("{size}{}", &body[end..])
        };
        let bomb = move |signer: &Signer, way, request| {
            is_framed(way).then(|| with_body(signer.sign(way, request), claim))
        };
        target.refuses(bomb, &["400 IncompleteBody", "400 InvalidRequest"]).await;
    }
}

#[tokio::test]
async fn b8_trailers_that_are_wrong_missing_or_unsigned() {
    let target = Target::new().await;
    let trailed = |way| matches!(way, Way::StreamingTrailer | Way::UnsignedTrailer);
    let wrong = |name: &'static str, value: &'static str| {
        move |signer: &Signer, way, request| {
            let trailer = Some((name.to_owned(), value.to_owned()));
            trailed(way).then(|| Signer { trailer, ..signer.clone() }.sign(way, request))
        }
    };
    target.refuses(wrong("x-amz-checksum-crc32", "AAAAAA=="), &["400 BadDigest"]).await;
    target.refuses(wrong("x-amz-checksum-crc32", "AAAA"), &["400 InvalidRequest"]).await;
    target.refuses(wrong("x-amz-checksum-crc32", ""), &["400 InvalidRequest"]).await;
    target.refuses(wrong("x-amz-checksum-sha512", "AA=="), &["400 InvalidRequest"]).await;
    target.refuses(wrong("x-amz-meta-a", "1"), &["400 InvalidRequest"]).await;
    // Announced, and another one comes.
    target
        .refuses(
            |signer, way, request| {
                let request = request.set("x-amz-trailer", "x-amz-checksum-sha256");
                trailed(way).then(|| signer.sign(way, request))
            },
            &["400 MalformedTrailerError"],
        )
        .await;
    // Announced, and none comes.
    target
        .refuses(
            |signer, way, request| {
                let cut = |body: &str| {
                    let at = body.find("x-amz-checksum-crc32").expect("a trailer");
                    format!("{}\r\n", &body[..at])
                };
                trailed(way).then(|| with_body(signer.sign(way, request), cut))
            },
            &["400 MalformedTrailerError"],
        )
        .await;
    // A signed trailer without its signature, or with another.
    let without = |body: &str| {
        let at = body.find("x-amz-trailer-signature").expect("a signature");
        format!("{}\r\n", &body[..at])
    };
    let other = |body: &str| {
        let at = body.find("x-amz-trailer-signature").expect("a signature");
        format!("{}x-amz-trailer-signature:{}\r\n\r\n", &body[..at], "0".repeat(64))
    };
    target
        .refuses(
            |signer, way, request| {
                (way == Way::StreamingTrailer)
                    .then(|| with_body(signer.sign(way, request), without))
            },
            &["400 IncompleteBody"],
        )
        .await;
    target
        .refuses(
            |signer, way, request| {
                (way == Way::StreamingTrailer).then(|| with_body(signer.sign(way, request), other))
            },
            &["403 SignatureDoesNotMatch"],
        )
        .await;
}
