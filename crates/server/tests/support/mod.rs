//! A gateway over six sites in memory, and a client that can send what no library would.
#![allow(dead_code, unused_imports, reason = "each test crate uses its part")]

pub(crate) mod http;
pub(crate) mod sign;
pub(crate) mod world;

pub(crate) use http::{Request, Response};
pub(crate) use sign::{Signer, Way};
pub(crate) use world::{Gateway, pattern};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// All ways of signing a request with a body, for tables.
pub(crate) const WAYS: [Way; 6] = [
    Way::Header,
    Way::UnsignedPayload,
    Way::Presigned,
    Way::Streaming,
    Way::StreamingTrailer,
    Way::UnsignedTrailer,
];

/// The text of the first element of this name in a document.
pub(crate) fn element(document: &str, name: &str) -> Option<String> {
    elements(document, name).into_iter().next()
}

/// The texts of all elements of this name.
pub(crate) fn elements(document: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find(&open) {
        rest = &rest[start + open.len()..];
        let Some(end) = rest.find(&close) else { break };
        found.push(unescape(&rest[..end]));
        rest = &rest[end + close.len()..];
    }
    found
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn md5(bytes: &[u8]) -> String {
    base64(&md5::Md5::digest(bytes))
}

pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// CRC-32 as S3 shows it.
pub(crate) fn crc32(bytes: &[u8]) -> String {
    let value = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes);
    base64(&value.to_be_bytes()[4..])
}

/// CRC-64/NVME as S3 shows it.
pub(crate) fn crc64(bytes: &[u8]) -> String {
    let value = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes);
    base64(&value.to_be_bytes())
}
