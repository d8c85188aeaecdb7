//! The query of a request, in order and decoded.
//!
//! **Invariant.** No name stands twice: what was signed, routed and parsed is the same value
//! (attack B5).
//!
//! **Deliberately absent.** What the names mean.
//!
//! **Crash.** Values only.

use percent_encoding::percent_decode_str;
use s3s::{S3Result, s3_error};
use std::borrow::Cow;

/// Query parameters that carry the signature, not the request.
const AUTHENTICATION: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// One parameter.
pub(crate) struct Parameter<'a> {
    raw: &'a str,
    /// Its decoded name.
    pub(crate) name: Cow<'a, str>,
    /// Its decoded value; empty when there is no `=`.
    pub(crate) value: Cow<'a, str>,
}

impl Parameter<'_> {
    /// Whether it belongs to the signature.
    pub(crate) fn authenticates(&self) -> bool {
        AUTHENTICATION.iter().any(|name| self.name.eq_ignore_ascii_case(name))
    }
}

/// All parameters of a request.
pub(crate) struct Query<'a>(Vec<Parameter<'a>>);

fn decode(text: &str) -> S3Result<Cow<'_, str>> {
    let spaced =
        if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    let decoded = match &spaced {
        Cow::Borrowed(text) => percent_decode_str(text).decode_utf8(),
        Cow::Owned(text) => {
            percent_decode_str(text).decode_utf8().map(|text| Cow::Owned(text.into_owned()))
        }
    };
    decoded.map_err(|_| s3_error!(InvalidURI, "The query is not UTF-8."))
}

impl<'a> Query<'a> {
    /// Reads the part of a URI behind the question mark.
    ///
    /// # Errors
    /// When a name or value is not UTF-8, or a name stands twice.
    pub(crate) fn parse(query: Option<&'a str>) -> S3Result<Self> {
        let mut parameters: Vec<Parameter<'a>> = Vec::new();
        for raw in query.unwrap_or_default().split('&').filter(|raw| !raw.is_empty()) {
            let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if parameters.iter().any(|other| other.name == name) {
                return Err(s3_error!(InvalidArgument, "A query parameter is given twice."));
            }
            parameters.push(Parameter { raw, name, value });
        }
        Ok(Self(parameters))
    }

    /// The parameters in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Parameter<'a>> {
        self.0.iter()
    }

    /// The value of a parameter.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|parameter| parameter.name == name).map(|found| &*found.value)
    }

    /// The query without what was read already: the parameters that authenticate it, those that
    /// override headers of the response, and `x-id`, which SDKs add to name the operation for logs.
    /// Still encoded.
    pub(crate) fn rest(&self) -> String {
        let mut kept = String::new();
        for parameter in &self.0 {
            let read = parameter.authenticates()
                || parameter.name == "x-id"
                || parameter.name.starts_with("response-");
            if read {
                continue;
            }
            if !kept.is_empty() {
                kept.push('&');
            }
            kept.push_str(parameter.raw);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_in_order() {
        let query = Query::parse(Some("prefix=a%2Fb+c&acl&x=")).expect("a valid query");
        let pairs: Vec<_> = query.iter().map(|p| (&*p.name, &*p.value)).collect();
        assert_eq!(pairs, [("prefix", "a/b c"), ("acl", ""), ("x", "")]);
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_also_when_it_is_encoded_differently() {
        assert!(Query::parse(Some("a=1&a=2")).is_err());
        assert!(Query::parse(Some("a=1&%61=2")).is_err());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert!(Query::parse(Some("a=%C0%AF")).is_err());
    }

    #[test]
    fn what_was_read_is_taken_out_and_the_rest_stays_as_it_was() {
        let query =
            "prefix=a%2Fb&X-Amz-Signature=00&x-amz-date=1&x-id=GetObject&response-expires=1&acl";
        let query = Query::parse(Some(query)).expect("a valid query");
        assert_eq!(query.rest(), "prefix=a%2Fb&acl");
    }
}
