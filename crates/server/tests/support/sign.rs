//! Signature version 4, in all the ways that clients use it, with every step open to be got wrong.

use super::http::Request;
use super::{base64, sha256};
use havre_model::ports::Ports;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `Authorization`, with the SHA-256 of the body.
    Header,
    /// `Authorization`, without.
    UnsignedPayload,
    /// In the query.
    Presigned,
    /// `aws-chunked`, each chunk signed.
    Streaming,
    /// The same with a signed trailer.
    StreamingTrailer,
    /// `aws-chunked` with a trailer, chunks unsigned.
    UnsignedTrailer,
}

/// What signs.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) access_key: String,
    pub(crate) secret: String,
    pub(crate) region: String,
    pub(crate) service: String,
    /// Seconds since the epoch.
    pub(crate) time: u64,
    pub(crate) expires: String,
    /// Bytes of a chunk.
    pub(crate) chunk: usize,
    /// Headers that are signed although they do not begin with `x-amz-`, `host` aside.
    pub(crate) also: Vec<&'static str>,
    /// Headers that are left unsigned.
    pub(crate) not: Vec<&'static str>,
    /// The trailer, where the way has one; the right one when empty.
    pub(crate) trailer: Option<(String, String)>,
    /// The decoded length that is declared, if not the right one.
    pub(crate) decoded: Option<usize>,
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    let digest = Sha256::digest(key);
    let key = if key.len() > 64 { &digest[..] } else { key };
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36)).chain_update(message);
    let outer = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// `20260102T030405Z` of seconds since the epoch (Howard Hinnant's civil_from_days).
pub(crate) fn stamp(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

impl Signer {
    pub(crate) fn new((access_key, secret): (&str, &str), ports: &Ports) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret: secret.to_owned(),
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
            time: ports.clock.now().seconds(),
            expires: "600".to_owned(),
            chunk: 64 * 1024,
            also: Vec::new(),
            not: Vec::new(),
            trailer: None,
            decoded: None,
        }
    }

    pub(crate) fn region(mut self, region: &str) -> Self {
        self.region = region.to_owned();
        self
    }

    fn scope(&self) -> String {
        let date = &stamp(self.time)[..8];
        format!("{date}/{}/{}/aws4_request", self.region, self.service)
    }

    fn signature(&self, text: &str) -> String {
        let date = stamp(self.time)[..8].to_owned();
        let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), date.as_bytes());
        for part in [self.region.as_str(), self.service.as_str(), "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        hex::encode(hmac(&key, text.as_bytes()))
    }

    fn string_to_sign(&self, kind: &str, rest: &str) -> String {
        format!("{kind}\n{}\n{}\n{rest}", stamp(self.time), self.scope())
    }

    fn signed_names(&self, request: &Request) -> Vec<String> {
        let mut names: Vec<String> = request
            .headers
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .filter(|name| {
                let usual = name == "host" || name.starts_with("x-amz-") || name == "content-md5";
                (usual || self.also.contains(&name.as_str())) && !self.not.contains(&name.as_str())
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn canonical(&self, request: &Request, names: &[String], payload: &str) -> String {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let decoded = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let path = utf8_percent_encode(&decoded, PATH).to_string();
        let mut pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (recode(name), recode(value)))
            .filter(|(name, _)| name != "X-Amz-Signature")
            .collect();
        pairs.sort();
        let query: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers: String = names
            .iter()
            .map(|name| {
                let values: Vec<&str> = request
                    .headers
                    .iter()
                    .filter(|(other, _)| other.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.trim())
                    .collect();
                format!("{name}:{}\n", values.join(","))
            })
            .collect();
        let (method, query, names) = (&request.method, query.join("&"), names.join(";"));
        format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload}")
    }

    /// Signs, and frames the body where the way wants it.
    pub(crate) fn sign(&self, way: Way, request: Request) -> Request {
        match way {
            Way::Header => {
                let payload = hex::encode(sha256(&request.body));
                self.with_header(request, &payload).0
            }
            Way::UnsignedPayload => self.with_header(request, "UNSIGNED-PAYLOAD").0,
            Way::Presigned => self.presign(request),
            Way::Streaming => self.stream(request, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            Way::StreamingTrailer => {
                self.stream(request, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
            }
            Way::UnsignedTrailer => self.stream(request, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        }
    }

    fn with_header(&self, request: Request, payload: &str) -> (Request, String) {
        let request =
            request.set("x-amz-date", &stamp(self.time)).set("x-amz-content-sha256", payload);
        let names = self.signed_names(&request);
        let canonical = self.canonical(&request, &names, payload);
        let digest = hex::encode(sha256(canonical.as_bytes()));
        let signature = self.signature(&self.string_to_sign("AWS4-HMAC-SHA256", &digest));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={signature}",
            self.access_key,
            self.scope(),
            names.join(";"),
        );
        (request.set("authorization", &authorization), signature)
    }

    fn presign(&self, request: Request) -> Request {
        let names = self.signed_names(&request);
        let credential = format!("{}/{}", self.access_key, self.scope());
        let request = request
            .query("X-Amz-Algorithm=AWS4-HMAC-SHA256")
            .query(&format!("X-Amz-Credential={}", encode(&credential)))
            .query(&format!("X-Amz-Date={}", stamp(self.time)))
            .query(&format!("X-Amz-Expires={}", encode(&self.expires)))
            .query(&format!("X-Amz-SignedHeaders={}", encode(&names.join(";"))));
        let canonical = self.canonical(&request, &names, "UNSIGNED-PAYLOAD");
        let digest = hex::encode(sha256(canonical.as_bytes()));
        let signature = self.signature(&self.string_to_sign("AWS4-HMAC-SHA256", &digest));
        request.query(&format!("X-Amz-Signature={signature}"))
    }

    fn stream(&self, request: Request, payload: &str) -> Request {
        let body = request.body.clone();
        let trailed = payload.ends_with("TRAILER");
        let signed = !payload.starts_with("STREAMING-UNSIGNED");
        let right = || ("x-amz-checksum-crc32".to_owned(), super::crc32(&body));
        let trailer = trailed.then(|| self.trailer.clone().unwrap_or_else(right));
        let mut request = request
            .set("x-amz-decoded-content-length", &self.decoded.unwrap_or(body.len()).to_string())
            .set("content-encoding", "aws-chunked");
        if let Some((name, _)) = &trailer
            && request.value("x-amz-trailer").is_none()
        {
            request = request.set("x-amz-trailer", name);
        }
        let (mut request, mut previous) = self.with_header(request, payload);
        let mut framed = Vec::new();
        let mut pieces: Vec<&[u8]> = body.chunks(self.chunk).collect();
        pieces.push(&[]);
        for piece in pieces {
            framed.extend_from_slice(format!("{:x}", piece.len()).as_bytes());
            if signed {
                previous = self.chunk_signature(&previous, piece);
                framed.extend_from_slice(format!(";chunk-signature={previous}").as_bytes());
            }
            framed.extend_from_slice(b"\r\n");
            framed.extend_from_slice(piece);
            if !piece.is_empty() {
                framed.extend_from_slice(b"\r\n");
            }
        }
        if let Some((name, value)) = trailer {
            framed.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
            if signed {
                let signature = self.trailer_signature(&previous, &name, &value);
                let line = format!("x-amz-trailer-signature:{signature}\r\n");
                framed.extend_from_slice(line.as_bytes());
            }
        }
        framed.extend_from_slice(b"\r\n");
        request.body = framed;
        request
    }

    fn chunk_signature(&self, previous: &str, piece: &[u8]) -> String {
        let empty = hex::encode(sha256(b""));
        let rest = format!("{previous}\n{empty}\n{}", hex::encode(sha256(piece)));
        self.signature(&self.string_to_sign("AWS4-HMAC-SHA256-PAYLOAD", &rest))
    }

    fn trailer_signature(&self, previous: &str, name: &str, value: &str) -> String {
        let digest = hex::encode(sha256(format!("{name}:{value}\n").as_bytes()));
        let rest = format!("{previous}\n{digest}");
        self.signature(&self.string_to_sign("AWS4-HMAC-SHA256-TRAILER", &rest))
    }
}

fn recode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    encode(&percent_decode_str(&spaced).decode_utf8_lossy())
}

/// The value of `Content-MD5` for a body, and of `x-amz-checksum-sha256`.
pub(crate) fn checksum_sha256(body: &[u8]) -> String {
    base64(&sha256(body))
}

/// A key as it stands in a query.
pub(crate) fn encoded(key: &str) -> String {
    encode(key)
}
