//! How a page of a listing is cut out of an ordered run of keys: pure, and the same for objects,
//! for uploads and for every database below.
//!
//! **Invariant.** A page is what a scan of all keys would give, but the keys looked at are bounded
//! by the page and not by what lies between its entries: a long run of keys that yields no entry is
//! left by seeking past it.
//!
//! **Deliberately absent.** Rows and SQL: the caller steps its own cursor and asks what each key
//! means.
//!
//! **Crash.** Computation only.

/// Keys of one common prefix, or rows of one key, that are stepped over before a seek. A step costs
/// about a tenth of a seek, and most runs are short.
const STEPS_MAX: usize = 8;

/// What a key means to the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is the next entry.
    Take,
    /// Its first bytes, this many, are the next entry: a common prefix.
    Prefix(usize),
    /// It yields no entry.
    Skip,
    /// Nothing before this key yields an entry; go on from there.
    Seek(Vec<u8>),
    /// It would be an entry, but the page has all it may hold: there is more.
    Full,
}

/// The page that is being cut.
#[derive(Debug)]
pub(crate) struct Pager<'q> {
    prefix: &'q [u8],
    delimiter: Option<&'q [u8]>,
    /// The last common prefix that became an entry.
    group: Vec<u8>,
    /// Keys stepped over since the last entry or seek.
    steps: usize,
    room: usize,
}

/// The range of keys that a page may come from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The first key that may yield an entry.
    pub(crate) from: Vec<u8>,
    /// The first key past all that may; every key is below it when it is `[0xFF]`.
    pub(crate) to: Vec<u8>,
}

impl Bounds {
    /// The range for keys that begin with `prefix` and come after `after`; with `whole`, after
    /// everything that begins with `after`.
    pub(crate) fn new(prefix: &[u8], after: Option<&[u8]>, whole: bool) -> Self {
        let after = match after {
            None => Vec::new(),
            Some(after) if whole => past_prefix(after),
            Some(after) => past_key(after),
        };
        Self { from: after.max(prefix.to_vec()), to: past_prefix(prefix) }
    }

    /// Whether no key can be in the range.
    pub(crate) fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// The first byte string after `key`.
fn past_key(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// The first byte string after everything that begins with `prefix`. Need not be UTF-8, which is
/// why keys are stored and compared as bytes. `[0xFF]`, above all UTF-8, when there is no such
/// string.
fn past_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < 0xFF {
            next.push(last + 1);
            return next;
        }
    }
    vec![0xFF]
}

/// Position of `needle` in `hay`; `needle` is not empty.
fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [byte] => hay.iter().position(|other| other == byte),
        _ => hay.windows(needle.len()).position(|window| window == needle),
    }
}

impl<'q> Pager<'q> {
    /// A page of at most `limit` entries. The keys that will be offered begin with `prefix`.
    pub(crate) fn new(prefix: &'q str, delimiter: Option<&'q str>, limit: usize) -> Self {
        let delimiter = delimiter.filter(|text| !text.is_empty()).map(str::as_bytes);
        Self { prefix: prefix.as_bytes(), delimiter, group: Vec::new(), steps: 0, room: limit }
    }

    /// Decides about the next key, in ascending order; the same key may be offered more than once.
    pub(crate) fn offer(&mut self, key: &[u8]) -> Step {
        if !self.group.is_empty() && key.starts_with(&self.group) {
            self.steps += 1;
            if self.steps < STEPS_MAX {
                return Step::Skip;
            }
            self.steps = 0;
            return Step::Seek(past_prefix(&self.group));
        }
        let rest = key.get(self.prefix.len()..).unwrap_or_default();
        let group = self.delimiter.and_then(|delimiter| {
            find(rest, delimiter).map(|position| self.prefix.len() + position + delimiter.len())
        });
        if self.room == 0 {
            return Step::Full;
        }
        self.room -= 1;
        self.steps = 0;
        let Some(end) = group else { return Step::Take };
        self.group.clear();
        self.group.extend_from_slice(&key[..end]);
        Step::Prefix(end)
    }

    /// Decides about a row that is no entry because a newer row of the same key came before it.
    pub(crate) fn older(&mut self, key: &[u8]) -> Step {
        self.steps += 1;
        if self.steps < STEPS_MAX {
            return Step::Skip;
        }
        self.steps = 0;
        Step::Seek(past_key(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_byte_string_of_its_length() {
        for (prefix, end) in [
            (&b"a"[..], &b"b"[..]),
            (b"a\xff", b"b"),
            (b"\xff\xff", b"\xff"),
            (b"", b"\xff"),
            ("\u{ff}".as_bytes(), b"\xc3\xc0"),
            ("\u{10ffff}".as_bytes(), b"\xf4\x8f\xbf\xc0"),
        ] {
            assert_eq!(past_prefix(prefix), end, "{prefix:?}");
        }
    }

    #[test]
    fn bounds_follow_prefix_and_start() {
        let bounds = |prefix: &str, after: Option<&str>, whole| {
            Bounds::new(prefix.as_bytes(), after.map(str::as_bytes), whole)
        };
        assert_eq!(bounds("", None, false), Bounds { from: vec![], to: vec![0xFF] });
        assert_eq!(bounds("b", Some("a"), false), Bounds { from: b"b".into(), to: b"c".into() });
        assert_eq!(bounds("b", Some("b/x"), false).from, b"b/x\0");
        assert_eq!(bounds("b", Some("b/"), true).from, b"b0");
        assert!(bounds("b", Some("c"), false).is_empty());
    }

    #[test]
    fn a_long_group_is_left_by_seeking() {
        let mut pager = Pager::new("", Some("/"), 10);
        assert_eq!(pager.offer(b"a/0"), Step::Prefix(2));
        for _ in 1..STEPS_MAX {
            assert_eq!(pager.offer(b"a/1"), Step::Skip);
        }
        assert_eq!(pager.offer(b"a/9"), Step::Seek(b"a0".into()));
        assert_eq!(pager.offer(b"b"), Step::Take);
    }

    #[test]
    fn a_long_run_of_older_versions_is_left_by_seeking() {
        let mut pager = Pager::new("", None, 10);
        assert_eq!(pager.offer(b"a"), Step::Take);
        for _ in 1..STEPS_MAX {
            assert_eq!(pager.older(b"a"), Step::Skip);
        }
        assert_eq!(pager.older(b"a"), Step::Seek(b"a\0".into()));
    }
}
