//! The few XML documents that providers answer with, as a tree.
//!
//! **Invariant.** Text is what stands in the document, blanks at its ends too: keys may end in one.
//! A tree is as deep as [`DEPTH_MAX`] at most, and as large as the answer, which has a cap.
//!
//! **Deliberately absent.** Namespaces, attributes, entities of a document's own.
//!
//! **Crash.** Values only.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Elements within elements: no answer of S3's has half as many.
const DEPTH_MAX: usize = 16;

/// An element: its name, the text directly in it, and the elements in it.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The element that a document consists of; `None` when it is none.
    pub(super) fn parse(document: &[u8]) -> Option<Self> {
        // Servers that are long about an answer send blanks before it.
        let text = std::str::from_utf8(document).ok()?.trim_start();
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Self> = Vec::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    if open.len() >= DEPTH_MAX {
                        return None;
                    }
                    open.push(Self::named(start.local_name().into_inner()));
                }
                Event::Empty(start) => {
                    let element = Self::named(start.local_name().into_inner());
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None => return Some(element),
                    }
                }
                Event::End(_) => {
                    let element = open.pop()?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None => return Some(element),
                    }
                }
                Event::Text(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.into_inner());
                    }
                }
                Event::CData(text) => open.last_mut()?.text.push_str(&text.into_inner()),
                Event::GeneralRef(reference) => {
                    let letter = match reference.resolve_char_ref().ok()? {
                        Some(letter) => letter,
                        None => match &*reference.into_inner() {
                            "amp" => '&',
                            "lt" => '<',
                            "gt" => '>',
                            "quot" => '"',
                            "apos" => '\'',
                            _ => return None,
                        },
                    };
                    open.last_mut()?.text.push(letter);
                }
                Event::Eof => return None,
                _ => {}
            }
        }
    }

    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The elements of this name directly in it.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first element of this name directly in it.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| &*child.text)
    }
}

/// A text as it stands in an element.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_with_its_blanks_and_references() {
        let document = b"\n  <?xml version=\"1.0\"?><a xmlns=\"x\"><k> b &amp;&#x41;<![CDATA[<]]> \
                         </k><k/></a>";
        let element = Element::parse(document).unwrap();
        assert_eq!(element.text("k"), Some(" b &A< "));
        assert_eq!(element.all("k").count(), 2);
    }

    #[test]
    fn what_is_no_document_is_none() {
        for document in ["", "x", "<a>", "<a></b>", "<a>&custom;</a>"] {
            assert!(Element::parse(document.as_bytes()).is_none(), "{document}");
        }
        assert!(Element::parse("<a>".repeat(DEPTH_MAX + 1).as_bytes()).is_none());
    }
}
