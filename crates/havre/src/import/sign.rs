//! Signatures: AWS version 4, and OSS version 4, which is the same with other words.
//!
//! **Invariant.** What is signed is what is sent: path and query are given as they stand in the
//! request line, and every header that AWS would look at is covered.
//!
//! **Deliberately absent.** Presigned URLs, chunked signatures, and signing bodies: they are
//! covered by `Content-MD5` and CRC-64, which are signed headers.
//!
//! **Crash.** Values only.

use havre_model::Timestamp;
use hmac::{Hmac, Mac as _};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// What stands for the hash of a body that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Everything but RFC 3986's unreserved characters.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same in a path, whose slashes stay.
const PATH: &AsciiSet = &VALUE.remove(b'/');

/// The words in which a provider speaks S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `x-amz-`: S3 and all that is compatible with it.
    Aws,
    /// `x-oss-`: Alibaba Cloud's own.
    Oss,
}

impl Dialect {
    /// The beginning of the headers' names.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Aws => "x-amz-",
            Self::Oss => "x-oss-",
        }
    }

    const fn algorithm(self) -> &'static str {
        match self {
            Self::Aws => "AWS4-HMAC-SHA256",
            Self::Oss => "OSS4-HMAC-SHA256",
        }
    }

    /// What stands before the secret, the service, and the end of the scope.
    const fn words(self) -> [&'static str; 3] {
        match self {
            Self::Aws => ["AWS4", "s3", "aws4_request"],
            Self::Oss => ["aliyun_v4", "oss", "aliyun_v4_request"],
        }
    }

    /// Whether a header is covered by the signature.
    fn covers(self, name: &HeaderName) -> bool {
        match self {
            Self::Aws => true,
            Self::Oss => {
                let name = name.as_str();
                name.starts_with("x-oss-") || name == "content-type" || name == "content-md5"
            }
        }
    }
}

/// An access key and its secret.
#[derive(Clone)]
pub struct Credential {
    /// The access key.
    pub access_key: String,
    /// Its secret.
    pub secret: Zeroizing<String>,
    /// The token of a session, where the key is temporary.
    pub token: Option<Zeroizing<String>>,
}

/// Signs requests to one region.
pub(super) struct Signer {
    dialect: Dialect,
    credential: Credential,
    region: String,
}

/// A request as it is signed.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// Encoded, from the first slash on; with OSS the bucket stands in it always.
    pub(super) path: &'a str,
    /// Encoded and sorted, without the question mark.
    pub(super) query: &'a str,
}

impl Signer {
    pub(super) fn new(dialect: Dialect, credential: Credential, region: &str) -> Self {
        Self { dialect, credential, region: region.to_owned() }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Adds what a signed request has to the headers, `Host` among which stands already.
    ///
    /// # Errors
    /// When a value is no header's.
    pub(super) fn sign(
        &self,
        now: Timestamp,
        request: &Signed<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), http::header::InvalidHeaderValue> {
        let [prefix, service, end] = self.dialect.words();
        let stamp = stamp(now);
        let day = &stamp[..8];
        let own = |name: &str| {
            let name = format!("{}{name}", self.dialect.prefix());
            HeaderName::try_from(name).expect("it is a name")
        };
        headers.insert(own("date"), HeaderValue::from_str(&stamp)?);
        headers.insert(own("content-sha256"), HeaderValue::from_static(UNSIGNED));
        if let Some(token) = &self.credential.token {
            let mut value = HeaderValue::from_str(token)?;
            value.set_sensitive(true);
            headers.insert(own("security-token"), value);
        }
        let (covered, names) = self.canonical_headers(headers);
        let Signed { method, path, query } = request;
        // OSS lists the headers that need not have been covered; none is.
        let listed = if self.dialect == Dialect::Aws { &*names } else { "" };
        let canonical = format!("{method}\n{path}\n{query}\n{covered}\n{listed}\n{UNSIGNED}");
        let scope = format!("{day}/{}/{service}/{end}", self.region);
        let algorithm = self.dialect.algorithm();
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let text = format!("{algorithm}\n{stamp}\n{scope}\n{digest}");
        let secret = Zeroizing::new(format!("{prefix}{}", *self.credential.secret));
        let mut key = hmac(secret.as_bytes(), day);
        for step in [&*self.region, service, end] {
            key = hmac(&*key, step);
        }
        let signature = hex::encode(*hmac(&*key, &text));
        let access_key = &self.credential.access_key;
        let mut line = format!("{algorithm} Credential={access_key}/{scope}");
        let glue = if self.dialect == Dialect::Aws { ", " } else { "," };
        if !listed.is_empty() {
            let _ = write!(line, "{glue}SignedHeaders={listed}");
        }
        let _ = write!(line, "{glue}Signature={signature}");
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&line)?);
        Ok(())
    }

    /// The lines of the covered headers, and their names.
    fn canonical_headers(&self, headers: &HeaderMap) -> (String, String) {
        let covered = headers.iter().filter(|(name, _)| self.dialect.covers(name));
        let mut lines: Vec<(&str, String)> = covered
            .map(|(name, value)| {
                let text = String::from_utf8_lossy(value.as_bytes());
                let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
                (name.as_str(), words.join(" "))
            })
            .collect();
        lines.sort();
        let mut text = String::new();
        for (name, value) in &lines {
            let _ = writeln!(text, "{name}:{value}");
        }
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        (text, names.join(";"))
    }
}

fn hmac(key: &[u8], text: &str) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is one");
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// A time as signatures have it: `20130524T000000Z`.
fn stamp(now: Timestamp) -> String {
    let millis = i64::try_from(now.millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A key as it stands in a request's path.
pub(super) fn encode_path(key: &str) -> String {
    utf8_percent_encode(key, PATH).to_string()
}

/// A query as it is sent and signed: sorted, every value with its equals sign.
pub(super) fn encode_query(pairs: &[(&str, &str)]) -> String {
    let encode = |text| utf8_percent_encode(text, VALUE).to_string();
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let mut pairs: Vec<String> = pairs.collect();
    pairs.sort();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature that an independent implementation gives.
    #[track_caller]
    fn check(
        signer: &Signer,
        seconds: u64,
        request: &Signed<'_>,
        given: &[(&'static str, &'static str)],
        expected: &str,
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        signer.sign(Timestamp::from_millis(seconds * 1000), request, &mut headers).unwrap();
        assert_eq!(headers[AUTHORIZATION], expected);
    }

    #[test]
    fn a_requests_signature_is_what_botocore_gives() {
        let credential = Credential {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            token: None,
        };
        let signer = Signer::new(Dialect::Aws, credential, "eu-west-1");
        let path = encode_path("/a b/ü+~/../c//");
        let query = encode_query(&[("partNumber", "1"), ("list", ""), ("a/b", "c d")]);
        let request = Signed { method: "PUT", path: &path, query: &query };
        let given = [("host", "bucket.example.org"), ("x-amz-meta-a", "b   c"), ("range", "x=0-9")];
        check(
            &signer,
            1_369_353_600,
            &request,
            &given,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/eu-west-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date;x-amz-meta-a, \
             Signature=6cf42e88cef1842fd5f17bd8add4d6f54dc626de018295c16c65e1a039265926",
        );
    }

    #[test]
    fn an_oss_signature_covers_the_headers_that_oss_looks_at() {
        let credential = Credential {
            access_key: "testid".to_owned(),
            secret: Zeroizing::new("yourAccessKeySecret".to_owned()),
            token: None,
        };
        let signer = Signer::new(Dialect::Oss, credential, "cn-hangzhou");
        let request = Signed { method: "PUT", path: "/examplebucket/exampleobject", query: "" };
        let given = [
            ("host", "examplebucket.oss-cn-hangzhou.aliyuncs.com"),
            ("content-md5", "ICy5YqxZB1uWSwcVLSNLcA=="),
            ("content-type", "text/plain"),
        ];
        check(
            &signer,
            1_744_353_684,
            &request,
            &given,
            "OSS4-HMAC-SHA256 Credential=testid/20250411/cn-hangzhou/oss/aliyun_v4_request,\
             Signature=c10f9b6f590d24d00229a912ddc921a9df81769bce96389a55d07c260cb82c54",
        );
    }

    #[test]
    fn paths_and_queries_are_encoded_once_and_slashes_stay_in_paths() {
        assert_eq!(encode_path("/a/../ü +%/"), "/a/../%C3%BC%20%2B%25/");
        assert_eq!(encode_query(&[("b", "/"), ("a", "x y")]), "a=x%20y&b=%2F");
    }

    #[test]
    fn times_are_written_as_signatures_have_them() {
        assert_eq!(stamp(Timestamp::from_millis(1_369_353_600_000)), "20130524T000000Z");
    }
}
