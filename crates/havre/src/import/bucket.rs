//! A bucket at an endpoint, the source's or the gateway's: the requests that an import needs.
//!
//! **Invariant.** Every request is tried [`ATTEMPTS_MAX`] times at most, with pauses that grow and
//! vary; what the other side refuses for good is not tried again, and a redirect is a refusal. A
//! listing whose next page is this one is an error.
//!
//! **Deliberately absent.** What is copied and why (`copy`).
//!
//! **Crash.** Nothing is kept.

use super::sign::{Dialect, Signed, Signer, encode_path, encode_query};
use super::wire::{Answer, Wire, WireError};
use super::xml::Element;
use bytes::Bytes;
use havre_model::ports::Ports;
use http::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use std::time::Duration;

/// Attempts of one request, the first included.
pub(super) const ATTEMPTS_MAX: u32 = 6;
/// The pause before the second attempt is up to this; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// The longest document that is taken: a page of 1,000 names takes half a megabyte, of encoded ones
/// up to four.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;
/// Letters of another side's message that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// Where a bucket is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Scheme, host and port.
    pub endpoint: Uri,
    /// The bucket.
    pub bucket: String,
    /// Whether the bucket stands in the path, and not in the host's name.
    pub path_style: bool,
}

/// A refusal, in the other side's words.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// S3's code, empty where none came.
    pub code: String,
    /// The message.
    pub message: String,
    /// Where the bucket is, if it is not here: a region or an endpoint.
    pub elsewhere: Option<String>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The other side said no.
    #[error("{}", explain(.0))]
    Refused(Refusal),
    /// There was no answer, however often it was asked.
    #[error("{0}")]
    Unanswered(String),
    /// The answer was no answer to what was asked.
    #[error("the answer is not understood: {0}")]
    Odd(&'static str),
    /// The request cannot be made.
    #[error("the request cannot be made: {0}")]
    Impossible(String),
}

fn explain(refusal: &Refusal) -> String {
    let Refusal { status, code, message, elsewhere } = refusal;
    if let Some(place) = elsewhere {
        return format!(
            "the bucket is elsewhere ({status}): in {place}; say --region, or --endpoint"
        );
    }
    match &**code {
        "" => format!("answered {status}"),
        "NoSuchBucket" => "there is no such bucket".to_owned(),
        "InvalidAccessKeyId" => "the access key is not known there".to_owned(),
        "SignatureDoesNotMatch" => {
            "the secret key is not the access key's (SignatureDoesNotMatch)".to_owned()
        }
        "InvalidObjectState" => {
            "it is archived: restore it at the source first (InvalidObjectState)".to_owned()
        }
        _ if message.is_empty() => format!("answered {code} ({status})"),
        _ => format!("answered {code} ({status}): {message}"),
    }
}

impl RequestError {
    /// The status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// S3's code of a refusal.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.code,
            _ => "",
        }
    }

    /// Whether it may be another time.
    fn may_pass(&self) -> bool {
        match self {
            Self::Refused(refusal) => {
                matches!(refusal.status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
                    || matches!(&*refusal.code, "RequestTimeout" | "OperationAborted")
            }
            Self::Unanswered(_) => true,
            Self::Odd(_) | Self::Impossible(_) => false,
        }
    }
}

/// What is asked.
#[derive(Default)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Of the bucket itself, where there is none.
    pub(super) key: Option<&'a str>,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The longest answer; [`DOCUMENT_BYTES_MAX`] where it is zero.
    pub(super) answer_bytes_max: u64,
}

/// An object as a listing or a look at it shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Bytes.
    pub(super) size: u64,
    /// The ETag without quotes; empty where a listing has none.
    pub(super) etag: String,
    /// Milliseconds since 1970.
    pub(super) modified_ms: u64,
    /// The key as it stood in a listing that said it was encoded: some say so, and it is not.
    pub(super) as_listed: Option<String>,
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// Keys that are no UTF-8, as far as they can be shown.
    pub(super) odd_keys: Vec<String>,
    /// What asks for the next page.
    pub(super) next: Option<String>,
}

/// A bucket that can be asked.
pub(super) struct Bucket {
    wire: Wire,
    signer: Signer,
    place: Place,
    ports: Ports,
}

impl Bucket {
    pub(super) fn new(place: Place, wire: Wire, signer: Signer, ports: Ports) -> Self {
        Self { wire, signer, place, ports }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.signer.dialect()
    }

    /// Asks until there is an answer, or no hope of one. `tried` counts the attempts.
    pub(super) async fn ask_counted(
        &self,
        ask: &Ask<'_>,
        tried: &mut u32,
    ) -> Result<Answer, RequestError> {
        let mut pause = PAUSE;
        loop {
            *tried += 1;
            let error = match self.ask_once(ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if *tried >= ATTEMPTS_MAX || !error.may_pass() {
                return Err(error);
            }
            // Full jitter: workers that failed together do not come back together.
            let part = u64::from_le_bytes(self.ports.random::<8>());
            let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).max(1);
            self.ports.runtime.sleep(Duration::from_millis(part % millis)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// As [`Self::ask_counted`].
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, RequestError> {
        self.ask_counted(ask, &mut 0).await
    }

    async fn ask_once(&self, ask: &Ask<'_>) -> Result<Answer, RequestError> {
        let request = self.request(ask).map_err(RequestError::Impossible)?;
        let cap = if ask.answer_bytes_max == 0 { DOCUMENT_BYTES_MAX } else { ask.answer_bytes_max };
        let answer = self.wire.send(request, ask.body.len() as u64, cap).await;
        let answer = answer.map_err(|error| match error {
            WireError::TooLong => RequestError::Odd("it is longer than what was asked for"),
            error => RequestError::Unanswered(error.to_string()),
        })?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(RequestError::Refused(refusal(&answer)))
    }

    fn request(&self, ask: &Ask<'_>) -> Result<Request<Full<Bytes>>, String> {
        let Place { endpoint, bucket, path_style } = &self.place;
        let authority = endpoint.authority().ok_or("the endpoint names no host")?;
        let host = match path_style {
            true => authority.to_string(),
            false => format!("{bucket}.{authority}"),
        };
        let key = ask.key.map(encode_path);
        let (in_path, in_bucket) = match &key {
            Some(key) => (format!("/{bucket}/{key}"), format!("/{key}")),
            None if ask.query.is_empty() => (format!("/{bucket}"), "/".to_owned()),
            None => (format!("/{bucket}"), "/".to_owned()),
        };
        let path = if *path_style { &in_path } else { &in_bucket };
        let signed_path = match self.dialect() {
            Dialect::Aws => path,
            Dialect::Oss => &in_path,
        };
        let query = encode_query(ask.query);
        let mut headers = ask.headers.clone();
        let value = HeaderValue::from_str(&host).map_err(|error| error.to_string())?;
        headers.insert(HOST, value);
        let signed = Signed { method: ask.method.as_str(), path: signed_path, query: &query };
        let now = self.ports.clock.now();
        self.signer.sign(now, &signed, &mut headers).map_err(|error| error.to_string())?;
        headers.insert(USER_AGENT, HeaderValue::from_static("havre-import"));
        let scheme = endpoint.scheme_str().unwrap_or("https");
        let mark = if query.is_empty() { "" } else { "?" };
        let uri: Uri = format!("{scheme}://{host}{path}{mark}{query}")
            .parse()
            .map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// One page of the objects whose keys begin with `prefix`, from where `token` says.
    pub(super) async fn list(
        &self,
        prefix: &str,
        token: Option<&str>,
    ) -> Result<Page, RequestError> {
        let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1000")];
        if !prefix.is_empty() {
            query.push(("prefix", prefix));
        }
        query.extend(token.map(|token| ("continuation-token", token)));
        let answer = self.ask(&Ask { query: &query, ..Ask::default() }).await?;
        page(&answer.body, token)
    }

    /// What the object is like; `None` when there is none.
    pub(super) async fn look(
        &self,
        key: &str,
        part: Option<&str>,
    ) -> Result<Option<(Entry, HeaderMap)>, RequestError> {
        let query: Vec<(&str, &str)> = part.map(|part| ("partNumber", part)).into_iter().collect();
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-checksum-mode", HeaderValue::from_static("ENABLED"));
        let method = Method::HEAD;
        let ask = Ask { method, key: Some(key), query: &query, headers, ..Ask::default() };
        match self.ask(&ask).await {
            Ok(answer) => {
                let entry = entry(key, &answer.headers)
                    .ok_or(RequestError::Odd("a look at an object shows no length"))?;
                Ok(Some((entry, answer.headers)))
            }
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => match error.code() {
                "NoSuchBucket" => Err(error),
                _ => Ok(None),
            },
            Err(error) => Err(error),
        }
    }
}

/// A header's text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// An ETag without quotes.
pub(super) fn bare(etag: &str) -> &str {
    etag.trim().trim_start_matches("W/").trim_matches('"')
}

/// The object that an answer's headers describe.
pub(super) fn entry(key: &str, headers: &HeaderMap) -> Option<Entry> {
    let modified = header(headers, "last-modified").unwrap_or_default();
    let modified = jiff::fmt::rfc2822::parse(modified).ok();
    let modified = modified.map_or(0, |time| time.timestamp().as_millisecond());
    Some(Entry {
        key: key.to_owned(),
        size: header(headers, "content-length")?.parse().ok()?,
        etag: bare(header(headers, "etag").unwrap_or_default()).to_owned(),
        modified_ms: u64::try_from(modified).unwrap_or(0),
        as_listed: None,
    })
}

/// Reads a refusal, whose body may be anything.
fn refusal(answer: &Answer) -> Refusal {
    let document = Element::parse(&answer.body).filter(|document| document.name == "Error");
    let text = |name: &str| {
        let found = document.as_ref().and_then(|document| document.text(name));
        let plain = found.unwrap_or_default().chars().map(|letter| match letter.is_control() {
            true => ' ',
            false => letter,
        });
        plain.take(MESSAGE_CHARS_MAX).collect::<String>()
    };
    let code = text("Code");
    let moved = answer.status.is_redirection()
        || matches!(
            &*code,
            "PermanentRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException"
        );
    let named = [text("Region"), text("Endpoint")].into_iter().find(|text| !text.is_empty());
    let region = header(&answer.headers, "x-amz-bucket-region").map(str::to_owned);
    let elsewhere = match code == "AccessDenied" {
        // OSS says so.
        true => Some(text("Endpoint")).filter(|text| !text.is_empty()),
        false if moved => Some(region.or(named).unwrap_or_else(|| "another region".to_owned())),
        false => None,
    };
    Refusal { status: answer.status, message: text("Message"), code, elsewhere }
}

/// Reads a page.
fn page(document: &[u8], token: Option<&str>) -> Result<Page, RequestError> {
    let odd = RequestError::Odd;
    let list = Element::parse(document).filter(|list| list.name == "ListBucketResult");
    let list = list.ok_or(odd("it is no listing"))?;
    let encoded = list.text("EncodingType") == Some("url");
    let mut page = Page::default();
    for object in list.all("Contents") {
        let key = object.text("Key").ok_or(odd("a listed object has no key"))?;
        let (listed, encoded) = (key, encoded && key.bytes().all(|byte| byte.is_ascii_graphic()));
        let key = match encoded {
            // As a form has it: S3 writes a blank as a plus.
            true => percent_encoding::percent_decode_str(&key.replace('+', " ")).collect(),
            false => key.as_bytes().to_vec(),
        };
        let key = match String::from_utf8(key) {
            Ok(key) => key,
            Err(error) => {
                page.odd_keys.push(String::from_utf8_lossy(error.as_bytes()).into_owned());
                continue;
            }
        };
        let as_listed = (key != listed).then(|| listed.to_owned());
        let size = object.text("Size").and_then(|size| size.trim().parse().ok());
        let modified: Option<jiff::Timestamp> =
            object.text("LastModified").and_then(|time| time.trim().parse().ok());
        let modified = modified.map_or(0, jiff::Timestamp::as_millisecond);
        page.entries.push(Entry {
            key,
            size: size.ok_or(odd("a listed object has no size"))?,
            etag: bare(object.text("ETag").unwrap_or_default()).to_owned(),
            modified_ms: u64::try_from(modified).unwrap_or(0),
            as_listed,
        });
    }
    if list.text("IsTruncated").map(str::trim) == Some("true") {
        let next = list.text("NextContinuationToken").filter(|next| !next.is_empty());
        let next = next.ok_or(odd("the listing goes on and does not say where"))?;
        if Some(next) == token {
            return Err(odd("the listing goes round in a circle"));
        }
        page.next = Some(next.to_owned());
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(inner: &str) -> String {
        format!("<ListBucketResult xmlns=\"x\">{inner}</ListBucketResult>")
    }

    #[track_caller]
    fn fails(inner: &str, token: Option<&str>, reason: &str) {
        let error = page(listing(inner).as_bytes(), token).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn keys_are_decoded_where_the_listing_says_that_they_are_encoded() {
        let object = |key: &str| {
            format!(
                "<Contents><Key>{key}</Key><Size>3</Size><ETag>&quot;AB&quot;</ETag>\
                 <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            )
        };
        let encoded = format!("<EncodingType>url</EncodingType>{}", object("a+b%2B%0A/%C3%BC"));
        let page_of = |inner: &str| page(listing(inner).as_bytes(), None).unwrap();
        let found = &page_of(&encoded).entries[0];
        assert_eq!((&*found.key, found.size, &*found.etag), ("a b+\n/ü", 3, "AB"));
        assert_eq!(found.modified_ms, 1_767_225_600_000);
        assert_eq!(found.as_listed.as_deref(), Some("a+b%2B%0A/%C3%BC"));
        assert_eq!(page_of(&object(" a+b%2B ")).entries[0].key, " a+b%2B ");
        // A server that says so, and does it not.
        let lie = format!("<EncodingType>url</EncodingType>{}", object("ü a+b"));
        assert_eq!(page_of(&lie).entries[0].key, "ü a+b");
        let odd = format!("<EncodingType>url</EncodingType>{}", object("a%FF"));
        assert_eq!(page_of(&odd).odd_keys, ["a\u{fffd}"]);
    }

    #[test]
    fn a_listing_that_does_not_end_is_an_error() {
        let goes_on = "<IsTruncated>true</IsTruncated>";
        fails(goes_on, None, "does not say where");
        let circle = format!("{goes_on}<NextContinuationToken>t</NextContinuationToken>");
        fails(&circle, Some("t"), "in a circle");
        assert_eq!(page(listing(&circle).as_bytes(), None).unwrap().next.as_deref(), Some("t"));
        assert!(page(b"<html/>", None).is_err());
    }

    #[track_caller]
    fn says(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, headers: map, body: Bytes::from_static(body.as_bytes()) };
        RequestError::Refused(refusal(&answer)).to_string()
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let moved = "<Error><Code>PermanentRedirect</Code><Endpoint>e</Endpoint></Error>";
        assert!(says(301, &[("x-amz-bucket-region", "eu-west-3")], moved).contains("in eu-west-3"));
        let wrong = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>\
                     </Error>";
        assert!(says(400, &[], wrong).contains("in eu-west-1; say --region"));
        let oss = "<Error><Code>AccessDenied</Code><Endpoint>oss-cn-x</Endpoint></Error>";
        assert!(says(403, &[], oss).contains("in oss-cn-x"));
        let key = "<Error><Code>InvalidAccessKeyId</Code></Error>";
        assert!(says(403, &[], key).contains("not known there"));
        let none = "<Error><Code>NoSuchBucket</Code></Error>";
        assert!(says(404, &[], none).contains("no such bucket"));
        assert!(says(307, &[], "").contains("elsewhere"));
        assert_eq!(says(418, &[], "nonsense"), "answered 418 I'm a teapot");
    }

    #[test]
    fn what_may_pass_is_asked_again_and_nothing_else() {
        let refused = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            let (code, message) = (String::new(), String::new());
            RequestError::Refused(Refusal { status, code, message, elsewhere: None })
        };
        for status in [408, 429, 500, 503] {
            assert!(refused(status).may_pass(), "{status}");
        }
        for status in [301, 400, 403, 404, 412, 501] {
            assert!(!refused(status).may_pass(), "{status}");
        }
    }

    /// The address that a look at this key goes to.
    fn address(dialect: Dialect, path_style: bool, key: &str) -> String {
        let place = Place {
            endpoint: "http://example.org:81".parse().unwrap(),
            bucket: "b".to_owned(),
            path_style,
        };
        let credential = crate::import::Credential {
            access_key: "k".to_owned(),
            secret: "s".to_owned().into(),
            token: None,
        };
        let ports = havre_sites::system::ports();
        let wire = Wire::new(&place.endpoint, None, ports.clone()).unwrap();
        let bucket = Bucket::new(place, wire, Signer::new(dialect, credential, "r"), ports);
        let request = bucket.request(&Ask { key: Some(key), ..Ask::default() }).unwrap();
        let host = request.headers()[HOST].to_str().unwrap().to_owned();
        assert_eq!(request.uri().authority().unwrap().as_str(), host);
        request.uri().to_string()
    }

    #[tokio::test]
    async fn the_bucket_stands_in_the_host_or_in_the_path_and_keys_stay_as_they_are() {
        let virtual_host = address(Dialect::Aws, false, "a/../b c//");
        assert_eq!(virtual_host, "http://b.example.org:81/a/../b%20c//");
        assert_eq!(address(Dialect::Aws, true, "/./ü"), "http://example.org:81/b//./%C3%BC");
        assert_eq!(address(Dialect::Oss, false, "k"), "http://b.example.org:81/k");
    }
}
