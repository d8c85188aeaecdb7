//! The checksums of S3: their names, their computation and what a client declares about a body.
//!
//! **Invariant.** Every digest that a client declared (`Content-MD5`, `x-amz-checksum-*` as a
//! header or as a trailer) is computed and compared before [`Verifier::verified`] returns `Ok`;
//! more than one checksum, an unknown one or an announced trailer that does not come is an error,
//! never ignored.
//!
//! **Deliberately absent.** The signature's own SHA-256 (`s3s` checks it) and the choice of when an
//! MD5 that no client asked for is worth its time: it costs twenty times what the checksums do.
//!
//! **Crash.** Values only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use havre_engine::BodyFacts;
use havre_model::record::{Checksum, ChecksumAlgorithm, ChecksumKind};
use http::{HeaderMap, HeaderName};
use md5::{Digest as _, Md5};
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};
use sha1::Sha1;
use sha2::Sha256;

/// All algorithms, with the header that carries a value and the name in XML and other headers.
pub(crate) const ALGORITHMS: [(ChecksumAlgorithm, &str, &str); 5] = [
    (ChecksumAlgorithm::Crc32, "x-amz-checksum-crc32", "CRC32"),
    (ChecksumAlgorithm::Crc32c, "x-amz-checksum-crc32c", "CRC32C"),
    (ChecksumAlgorithm::Crc64nvme, "x-amz-checksum-crc64nvme", "CRC64NVME"),
    (ChecksumAlgorithm::Sha1, "x-amz-checksum-sha1", "SHA1"),
    (ChecksumAlgorithm::Sha256, "x-amz-checksum-sha256", "SHA256"),
];

/// Headers that begin like a checksum and are none.
const NOT_A_VALUE: [&str; 3] =
    ["x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"];

/// The algorithm that the server computes when the client asked for none, as S3 does.
pub(crate) const DEFAULT: ChecksumAlgorithm = ChecksumAlgorithm::Crc64nvme;

/// The name of an algorithm in XML.
pub(crate) fn label(algorithm: ChecksumAlgorithm) -> &'static str {
    ALGORITHMS
        .iter()
        .find_map(|(known, _, label)| (*known == algorithm).then_some(*label))
        .expect("the table has every algorithm")
}

/// The algorithm with this name in XML.
pub(crate) fn by_label(label: &str) -> Option<ChecksumAlgorithm> {
    ALGORITHMS
        .iter()
        .find_map(|(known, _, name)| name.eq_ignore_ascii_case(label).then_some(*known))
}

fn by_header(name: &str) -> Option<ChecksumAlgorithm> {
    ALGORITHMS
        .iter()
        .find_map(|(known, header, _)| header.eq_ignore_ascii_case(name).then_some(*known))
}

const fn value_bytes(algorithm: ChecksumAlgorithm) -> usize {
    match algorithm {
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => 4,
        ChecksumAlgorithm::Crc64nvme => 8,
        ChecksumAlgorithm::Sha1 => 20,
        ChecksumAlgorithm::Sha256 => 32,
    }
}

/// The raw value of a checksum in its text form.
///
/// # Errors
/// When it is not the base64 of as many bytes as the algorithm has.
pub(crate) fn decode(algorithm: ChecksumAlgorithm, text: &str) -> S3Result<Vec<u8>> {
    BASE64
        .decode(text.trim())
        .ok()
        .filter(|value| value.len() == value_bytes(algorithm))
        .ok_or_else(|| {
            let header = label(algorithm).to_ascii_lowercase();
            s3_error!(InvalidRequest, "Value for x-amz-checksum-{header} header is invalid.")
        })
}

/// The text of a raw value.
pub(crate) fn encode(value: &[u8]) -> String {
    BASE64.encode(value)
}

/// The text of a checksum as S3 shows it; a composite one of an object says of how many parts.
pub(crate) fn text(checksum: &Checksum, parts: usize) -> String {
    let value = encode(&checksum.value);
    match checksum.kind {
        ChecksumKind::Composite if parts > 0 => format!("{value}-{parts}"),
        _ => value,
    }
}

/// One checksum under way.
pub(crate) enum Hasher {
    Crc(ChecksumAlgorithm, crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(crate) fn new(algorithm: ChecksumAlgorithm) -> Self {
        use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc32IsoHdlc, Crc64Nvme};
        let crc = |kind| Self::Crc(algorithm, crc_fast::Digest::new(kind));
        match algorithm {
            ChecksumAlgorithm::Crc32 => crc(Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => crc(Crc32Iscsi),
            ChecksumAlgorithm::Crc64nvme => crc(Crc64Nvme),
            ChecksumAlgorithm::Sha1 => Self::Sha1(Sha1::new()),
            ChecksumAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) const fn algorithm(&self) -> ChecksumAlgorithm {
        match self {
            Self::Crc(algorithm, _) => *algorithm,
            Self::Sha1(_) => ChecksumAlgorithm::Sha1,
            Self::Sha256(_) => ChecksumAlgorithm::Sha256,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, digest) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
        }
    }

    /// The raw value; big-endian for the CRCs.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(algorithm, digest) => {
                let value = digest.finalize().to_be_bytes();
                value[8 - value_bytes(algorithm)..].to_vec()
            }
            Self::Sha1(digest) => digest.finalize().to_vec(),
            Self::Sha256(digest) => digest.finalize().to_vec(),
        }
    }
}

/// Where a client says what the checksum should be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expectation {
    Value(Vec<u8>),
    Trailer,
}

/// What a client declared about a body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declared {
    md5: Option<[u8; 16]>,
    /// Whether the MD5 is computed also where none was declared.
    with_md5: bool,
    checksum: Option<(ChecksumAlgorithm, Expectation)>,
    trailers: Option<TrailingHeaders>,
}

fn not_single() -> S3Error {
    s3_error!(
        InvalidRequest,
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
    )
}

fn unsupported() -> S3Error {
    s3_error!(NotImplemented, "The checksum algorithm is not implemented.")
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> S3Result<Option<&'h str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value
        .to_str()
        .map_err(|_| s3_error!(InvalidArgument, "The header {name} is not plain text."))?;
    Ok(Some(text.trim()))
}

impl Declared {
    /// Reads the declarations of a request with its signed headers.
    ///
    /// # Errors
    /// When they contradict each other, are malformed, or name what is not implemented.
    pub(crate) fn of(headers: &HeaderMap, trailers: Option<TrailingHeaders>) -> S3Result<Self> {
        let mut declared = Self { md5: None, with_md5: false, checksum: None, trailers };
        if let Some(text) = header_text(headers, "content-md5")? {
            let value = BASE64.decode(text).ok().and_then(|value| value.try_into().ok());
            declared.md5 = Some(value.ok_or_else(|| s3_error!(InvalidDigest))?);
        }
        for (name, value) in headers {
            let name = name.as_str();
            if !name.starts_with("x-amz-checksum-") || NOT_A_VALUE.contains(&name) {
                continue;
            }
            let algorithm = by_header(name).ok_or_else(unsupported)?;
            let text = value.to_str().unwrap_or_default();
            let value = Expectation::Value(decode(algorithm, text)?);
            if declared.checksum.replace((algorithm, value)).is_some() {
                return Err(not_single());
            }
        }
        declared.read_trailer_header(headers)?;
        declared.read_sdk_header(headers)?;
        Ok(declared)
    }

    fn read_trailer_header(&mut self, headers: &HeaderMap) -> S3Result<()> {
        let Some(text) = header_text(headers, "x-amz-trailer")? else { return Ok(()) };
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let algorithm = by_header(name).ok_or_else(|| {
                s3_error!(
                    InvalidRequest,
                    "The value specified in the x-amz-trailer header is not supported"
                )
            })?;
            if self.checksum.replace((algorithm, Expectation::Trailer)).is_some() {
                return Err(not_single());
            }
        }
        if self.checksum.is_some() && self.trailers.is_none() {
            return Err(s3_error!(
                InvalidRequest,
                "x-amz-trailer is set, but the body has no trailing headers."
            ));
        }
        Ok(())
    }

    fn read_sdk_header(&self, headers: &HeaderMap) -> S3Result<()> {
        let Some(text) = header_text(headers, "x-amz-sdk-checksum-algorithm")? else {
            return Ok(());
        };
        let algorithm = by_label(text).ok_or_else(|| {
            s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported.")
        })?;
        match &self.checksum {
            Some((declared, _)) if *declared == algorithm => Ok(()),
            Some(_) => Err(s3_error!(
                InvalidRequest,
                "Value for x-amz-sdk-checksum-algorithm header is invalid."
            )),
            None if self.md5.is_some() => Ok(()),
            None => Err(s3_error!(
                InvalidRequest,
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
                 x-amz-trailer headers were found."
            )),
        }
    }

    /// The algorithm that the client chose.
    pub(crate) fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.checksum.as_ref().map(|(algorithm, _)| *algorithm)
    }

    /// Whether the client declared any digest of the body.
    pub(crate) const fn is_some(&self) -> bool {
        self.md5.is_some() || self.checksum.is_some()
    }

    /// Has the MD5 computed although the client declared none.
    pub(crate) const fn compute_md5(&mut self) {
        self.with_md5 = true;
    }

    /// A verifier that stores a checksum of `stored`, or of the client's own algorithm.
    pub(crate) fn verifier(self, stored: Option<ChecksumAlgorithm>) -> Verifier {
        let stored = stored.or(self.algorithm()).unwrap_or(DEFAULT);
        let (own, other) = match self.checksum {
            Some((algorithm, expected)) if algorithm == stored => (Some(expected), None),
            Some((algorithm, expected)) => (None, Some((Hasher::new(algorithm), expected))),
            None => (None, None),
        };
        Verifier {
            md5: (self.with_md5 || self.md5.is_some()).then(|| (Md5::new(), self.md5)),
            stored: (Hasher::new(stored), own),
            other,
            trailers: self.trailers,
        }
    }
}

/// Computes while the body passes, compares at its end.
pub(crate) struct Verifier {
    md5: Option<(Md5, Option<[u8; 16]>)>,
    stored: (Hasher, Option<Expectation>),
    other: Option<(Hasher, Expectation)>,
    trailers: Option<TrailingHeaders>,
}

impl Verifier {
    /// Takes the next bytes of the body.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some((md5, _)) = &mut self.md5 {
            md5.update(bytes);
        }
        self.stored.0.update(bytes);
        if let Some((hasher, _)) = &mut self.other {
            hasher.update(bytes);
        }
    }

    /// Compares everything that was declared.
    ///
    /// # Errors `BadDigest` where a digest differs, `MalformedTrailerError` where an announced
    /// trailer is missing.
    pub(crate) fn verified(self) -> S3Result<BodyFacts> {
        let mut facts = BodyFacts::default();
        if let Some((md5, expected)) = self.md5 {
            let computed = <[u8; 16]>::from(md5.finalize());
            if expected.is_some_and(|expected| expected != computed) {
                return Err(s3_error!(BadDigest));
            }
            facts.md5 = Some(computed);
        }
        let trailers = self.trailers.as_ref();
        let compare = |hasher: Hasher, expected: Option<Expectation>| {
            let algorithm = hasher.algorithm();
            let value = hasher.finish();
            if let Some(expected) = expected {
                compare(algorithm, &value, &expected, trailers)?;
            }
            Ok::<_, S3Error>(Checksum { algorithm, kind: ChecksumKind::FullObject, value })
        };
        facts.checksum = Some(compare(self.stored.0, self.stored.1)?);
        if let Some((hasher, expected)) = self.other {
            compare(hasher, Some(expected))?;
        }
        Ok(facts)
    }
}

fn compare(
    algorithm: ChecksumAlgorithm,
    computed: &[u8],
    expected: &Expectation,
    trailers: Option<&TrailingHeaders>,
) -> S3Result<()> {
    let expected = match expected {
        Expectation::Value(value) => value.clone(),
        Expectation::Trailer => trailer_value(algorithm, trailers)?,
    };
    if expected == computed {
        return Ok(());
    }
    Err(mismatch(algorithm))
}

/// A checksum that is not the one that the client gave.
pub(crate) fn mismatch(algorithm: ChecksumAlgorithm) -> S3Error {
    let label = label(algorithm);
    s3_error!(BadDigest, "The {label} you specified did not match the calculated checksum.")
}

fn trailer_value(
    algorithm: ChecksumAlgorithm,
    trailers: Option<&TrailingHeaders>,
) -> S3Result<Vec<u8>> {
    let header = ALGORITHMS
        .iter()
        .find_map(|(known, header, _)| (*known == algorithm).then_some(*header))
        .expect("the table has every algorithm");
    let text = trailers
        .and_then(|trailers| {
            trailers.read(|headers| {
                let mut values = headers.get_all(HeaderName::from_static(header)).iter();
                let single = values.next().filter(|_| values.next().is_none())?;
                single.to_str().ok().map(str::to_owned)
            })
        })
        .flatten()
        .ok_or_else(|| {
            crate::error::custom(
                http::StatusCode::BAD_REQUEST,
                "MalformedTrailerError",
                "The request contained trailing data that was not well-formed or did not \
                 conform to our published schema.",
            )
        })?;
    decode(algorithm, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "123456789", the check value of the CRC catalogues; of the SHAs by sha1sum and sha256sum.
    const CHECK_VALUES: [(ChecksumAlgorithm, &str); 5] = [
        (ChecksumAlgorithm::Crc32, "cbf43926"),
        (ChecksumAlgorithm::Crc32c, "e3069283"),
        (ChecksumAlgorithm::Crc64nvme, "ae8b14860a799888"),
        (ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        (
            ChecksumAlgorithm::Sha256,
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
        ),
    ];

    #[test]
    fn every_algorithm_gives_its_published_check_value() {
        for (algorithm, expected) in CHECK_VALUES {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            assert_eq!(hex::encode(hasher.finish()), expected, "{algorithm:?}");
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    #[track_caller]
    fn check(pairs: &[(&'static str, &str)], body: &[u8], expected: &str) {
        let outcome = Declared::of(&headers(pairs), None).and_then(|declared| {
            let mut verifier = declared.verifier(None);
            verifier.update(body);
            verifier.verified()
        });
        let text = match outcome {
            Ok(facts) => facts.checksum.map_or_else(String::new, |checksum| {
                let md5 = if facts.md5.is_some() { " md5" } else { "" };
                format!("{}{md5}", label(checksum.algorithm))
            }),
            Err(error) => error.code().as_str().to_owned(),
        };
        assert_eq!(text, expected, "{pairs:?}");
    }

    #[test]
    fn declarations_are_verified_and_contradictions_refused() {
        let crc32 = ("x-amz-checksum-crc32", "y/Q5Jg==");
        let md5 = ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==");
        let body = b"123456789";
        check(&[], body, "CRC64NVME");
        check(&[crc32], body, "CRC32");
        check(&[crc32], b"12345678", "BadDigest");
        check(&[md5], body, "CRC64NVME md5");
        check(&[md5], b"12345678", "BadDigest");
        check(&[("content-md5", "abc")], body, "InvalidDigest");
        check(&[("x-amz-checksum-crc32", "y/Q5")], body, "InvalidRequest");
        check(
            &[crc32, ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE=")],
            body,
            "InvalidRequest",
        );
        check(&[("x-amz-checksum-sha512", "AA==")], body, "NotImplemented");
        check(&[("x-amz-sdk-checksum-algorithm", "CRC32"), crc32], body, "CRC32");
        check(&[("x-amz-sdk-checksum-algorithm", "SHA1"), crc32], body, "InvalidRequest");
        check(&[("x-amz-sdk-checksum-algorithm", "CRC32")], body, "InvalidRequest");
        check(&[("x-amz-trailer", "x-amz-checksum-crc32")], body, "InvalidRequest");
        check(&[("x-amz-trailer", "x-amz-meta-a")], body, "InvalidRequest");
    }

    #[test]
    fn the_clients_checksum_is_verified_also_when_another_one_is_stored() {
        let declared = || {
            Declared::of(&headers(&[("x-amz-checksum-crc32", "y/Q5Jg==")]), None).expect("valid")
        };
        let mut verifier = declared().verifier(Some(ChecksumAlgorithm::Sha1));
        verifier.update(b"123456789");
        let facts = verifier.verified().expect("both match");
        assert_eq!(facts.checksum.map(|c| c.algorithm), Some(ChecksumAlgorithm::Sha1));
        let mut verifier = declared().verifier(Some(ChecksumAlgorithm::Sha1));
        verifier.update(b"12345678x");
        assert!(verifier.verified().is_err());
    }
}
