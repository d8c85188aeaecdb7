//! Keys in documents.
//!
//! XML 1.0 has no way to write most control characters, and S3 keys may have them. S3 answers with
//! character references that XML 1.1 knows (`&#x1;`), or percent-encoded when the client asks for
//! `encoding-type=url`. `s3s` refuses to write such characters, so they travel as a marker of
//! random text which `response` replaces.
//!
//! **Invariant.** One key with odd characters does not make a listing fail, and shows as the key it
//! is.
//!
//! **Deliberately absent.** Decoding: keys come in decoded.
//!
//! **Crash.** Values only.

use havre_model::ports::Ports;
use http::Extensions;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::EncodingType;
use s3s::{S3Result, s3_error};
use std::fmt::Write as _;

/// What S3 leaves as it is.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The marker in a document that stands for the begin of a character reference.
#[derive(Clone)]
pub(crate) struct Substitutes(pub(crate) String);

/// How the keys of one document are written.
pub(crate) struct Names {
    encoded: bool,
    marker: String,
    used: bool,
}

fn writable(letter: char) -> bool {
    match letter {
        '\t' | '\n' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => letter >= ' ',
    }
}

impl Names {
    /// Keys as they are.
    pub(crate) fn plain(ports: &Ports) -> Self {
        let random: [u8; 12] = ports.random();
        Self { encoded: false, marker: format!("havre{}", hex::encode(random)), used: false }
    }

    /// Keys as the client asks for them.
    ///
    /// # Errors
    /// For an encoding that is not `url`.
    pub(crate) fn asked(ports: &Ports, encoding: Option<&EncodingType>) -> S3Result<Self> {
        let mut names = Self::plain(ports);
        match encoding.map(EncodingType::as_str) {
            None | Some("") => {}
            Some("url") => names.encoded = true,
            Some(_) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "Invalid Encoding Method specified in Request"
                ));
            }
        }
        Ok(names)
    }

    /// The encoding to name in the answer.
    pub(crate) fn encoding(&self) -> Option<EncodingType> {
        self.encoded.then(|| EncodingType::from_static(EncodingType::URL))
    }

    /// A key, or a part of one, as it stands in the document.
    pub(crate) fn write(&mut self, name: &str) -> String {
        if self.encoded {
            return utf8_percent_encode(name, PLAIN).to_string();
        }
        if name.chars().all(writable) {
            return name.to_owned();
        }
        self.used = true;
        let mut written = String::with_capacity(name.len() + self.marker.len() + 8);
        for letter in name.chars() {
            if writable(letter) {
                written.push(letter);
            } else {
                let _ = write!(written, "{}{:x};", self.marker, u32::from(letter));
            }
        }
        written
    }

    /// Tells the response of the marker, if it stands in the document.
    pub(crate) fn note(self, extensions: &mut Extensions) {
        if self.used {
            extensions.insert(Substitutes(self.marker));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(encoded: bool) -> Names {
        Names { encoded, marker: "M".to_owned(), used: false }
    }

    #[test]
    fn an_encoded_key_decodes_to_itself() {
        let key = "a b+c%2F/ü\u{1}&<>*~.txt";
        let written = names(true).write(key);
        assert_eq!(written, "a%20b%2Bc%252F/%C3%BC%01%26%3C%3E%2A~.txt");
        let decoded = percent_encoding::percent_decode_str(&written).decode_utf8();
        assert_eq!(decoded.as_deref().ok(), Some(key));
    }

    #[test]
    fn what_xml_cannot_write_is_marked() {
        let mut names = names(false);
        assert_eq!(names.write("a\tb\nü"), "a\tb\nü");
        assert!(!names.used);
        assert_eq!(names.write("a\u{1}\r"), "aM1;Md;");
        assert!(names.used);
    }
}
