//! S3's error documents: what they say beside code and message.
//!
//! `s3s` writes code and message; the request's ids, its resource, and what the code is about
//! follow here: the fields that S3 itself gives with these codes ("Error responses" in the Amazon
//! S3 API reference, and what S3 answers).
//!
//! **Invariant.** A field repeats what the client itself sent, or a header of the same answer:
//! nothing from the inside.
//!
//! **Deliberately absent.** What S3 tells of a signature that does not match: what was to be
//! signed. Fields in the documents of answers that began before they were known, and fields that
//! XML 1.0 cannot write: a client that cannot read the document does not get the code either.
//!
//! **Crash.** Values only.

use crate::context::RequestContext;
use crate::query::Query;
use http::{HeaderMap, HeaderValue, header};
use s3s::path::S3Path;
use std::fmt::Write as _;

/// Headers that set a condition, by their names in S3's documents.
const CONDITIONS: [&str; 8] = [
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "x-amz-copy-source-If-Match",
    "x-amz-copy-source-If-None-Match",
    "x-amz-copy-source-If-Modified-Since",
    "x-amz-copy-source-If-Unmodified-Since",
];

/// What a request asked for, as far as a document may repeat it. It travels with an error, and is
/// never logged. Most requests end well: nothing of it is copied before.
pub(crate) struct Asked {
    path: S3Path,
    /// What is missing may be the source, which the path does not name.
    is_copy: bool,
    upload: Option<String>,
    range: Option<HeaderValue>,
    /// Its condition, where it has one only: of two nobody says here which did not hold.
    condition: Option<&'static str>,
}

impl Asked {
    pub(crate) fn of(path: S3Path, query: &Query<'_>, headers: &HeaderMap) -> Self {
        let is_copy = headers.contains_key("x-amz-copy-source");
        let upload = query.value("uploadId").map(str::to_owned);
        let range = headers.get(header::RANGE).cloned();
        let mut conditions = CONDITIONS.into_iter().filter(|name| headers.contains_key(*name));
        let condition = conditions.next().filter(|_| conditions.next().is_none());
        Self { path, is_copy, upload, range, condition }
    }

    /// The fields of an error with this code.
    fn fields<'a>(&'a self, code: &str, headers: &'a HeaderMap) -> Vec<(&'static str, &'a str)> {
        let named = |name: Option<&'a str>| name.filter(|_| !self.is_copy);
        let known: &[(&'static str, Option<&str>)] = match code {
            "NoSuchKey" => &[("Key", named(self.path.get_object_key()))],
            "NoSuchBucket"
            | "BucketNotEmpty"
            | "BucketAlreadyExists"
            | "BucketAlreadyOwnedByYou" => &[("BucketName", named(self.path.get_bucket_name()))],
            "NoSuchUpload" => &[("UploadId", self.upload.as_deref())],
            "PreconditionFailed" => &[("Condition", self.condition)],
            "InvalidRange" => &[
                ("RangeRequested", self.range.as_ref().and_then(|range| range.to_str().ok())),
                ("ActualObjectSize", headers.get(header::CONTENT_RANGE).and_then(whole)),
            ],
            _ => &[],
        };
        let known = known.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        known.filter(|(_, value)| value.chars().all(is_writable)).collect()
    }
}

/// Whether XML 1.0 has this character (section 2.2), be it as a reference.
fn is_writable(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// The length that a range is not in: of `bytes */5`, 5.
fn whole(content_range: &HeaderValue) -> Option<&str> {
    content_range.to_str().ok()?.strip_prefix("bytes */")
}

/// What an error answers.
pub(crate) struct Answer<'a> {
    /// None of a request that was refused before it was read.
    pub(crate) asked: Option<&'a Asked>,
    pub(crate) headers: &'a HeaderMap,
    /// The path, as the client sent it.
    pub(crate) resource: &'a str,
    /// Where the gateway says that it is.
    pub(crate) region: &'a str,
}

/// The document of `s3s` with what it lacks; `None` when it is not one.
pub(crate) fn amended(
    document: &[u8],
    answer: &Answer<'_>,
    context: &RequestContext,
) -> Option<String> {
    let Answer { asked, headers, resource, region } = *answer;
    let text = std::str::from_utf8(document).ok()?;
    let inside = text.strip_suffix("</Error>")?;
    let mut amended = String::with_capacity(text.len() + resource.len() + 160);
    amended.push_str(inside);
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    if code == "AuthorizationHeaderMalformed" {
        // Clients that signed for another region read this one and try again.
        let _ = write!(amended, "<Region>{region}</Region>");
    }
    for (name, value) in asked.map(|asked| asked.fields(code, headers)).unwrap_or_default() {
        element(name, value, &mut amended);
    }
    element("Resource", resource, &mut amended);
    element("RequestId", &context.id, &mut amended);
    element("HostId", &context.host_id, &mut amended);
    amended.push_str("</Error>");
    Some(amended)
}

/// An element with text that a client sent.
fn element(name: &str, text: &str, into: &mut String) {
    let _ = write!(into, "<{name}>");
    for letter in text.chars() {
        match letter {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\r' => into.push_str("&#13;"),
            _ => into.push(letter),
        }
    }
    let _ = write!(into, "</{name}>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_stays_text() {
        let mut text = String::new();
        element("Key", "a<b>&\"\r\nü", &mut text);
        assert_eq!(text, "<Key>a&lt;b&gt;&amp;&quot;&#13;\nü</Key>");
    }
}
