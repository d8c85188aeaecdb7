//! Reads Rust source just well enough: what is comment, what is literal, where functions begin and
//! end.
//!
//! **Invariant.** The blanked texts have the same lines as the original, so that a line number
//! means the same in each.
//!
//! **Deliberately absent.** A grammar. A full parser would be the largest dependency of the
//! smallest crate, and the rules need braces and names only.
//!
//! **Crash.** Nothing is kept.

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Modules inside the file, then the type or trait, then the name.
    pub(super) path: Vec<String>,
    /// Line of the `fn`, from 1.
    pub(super) line: usize,
    /// Lines of the body that hold code.
    pub(super) lines: usize,
    /// `true` when `#[expect(clippy::too_many_lines, ..)]` stands above it.
    pub(super) expects_length: bool,
}

/// One file of Rust.
pub(super) struct Source {
    /// The text with comments blanked.
    pub(super) bare: String,
    /// Every function with a body.
    pub(super) functions: Vec<Function>,
    /// For each line, `true` inside `#[cfg(test)] mod`.
    pub(super) in_tests: Vec<bool>,
}

impl Source {
    pub(super) fn read(text: &str) -> Self {
        let Blanked { bare, code } = blank(text);
        let mut scanner = Scanner::new(&bare);
        scanner.scan(&code);
        let Scanner { functions, in_tests, .. } = scanner;
        Self { bare, functions, in_tests }
    }

    /// What a format's document is checked against: the code without comments, tests and layout.
    pub(super) fn essence(&self) -> String {
        let mut essence = String::new();
        for (line, in_tests) in self.bare.lines().zip(&self.in_tests) {
            if !in_tests {
                for word in line.split_whitespace() {
                    essence.push_str(word);
                    essence.push(' ');
                }
            }
        }
        essence
    }

    /// Lines outside inline tests.
    pub(super) fn lines_without_tests(&self) -> usize {
        self.in_tests.iter().filter(|in_tests| !**in_tests).count()
    }
}

struct Blanked {
    /// Comments blanked.
    bare: String,
    /// Comments and the contents of literals blanked.
    code: String,
}

/// Replaces by spaces; newlines stay.
fn blank(text: &str) -> Blanked {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Blanked { bare: String::new(), code: String::new() };
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let (length, kind) = token(rest);
        for (offset, &c) in rest[..length].iter().enumerate() {
            let space = if c == '\n' { '\n' } else { ' ' };
            let edge = offset == 0 || offset + 1 == length;
            out.bare.push(if kind == Kind::Comment { space } else { c });
            out.code.push(match kind {
                Kind::Comment => space,
                Kind::Literal if !edge => space,
                Kind::Literal if c != '\n' => '"',
                _ => c,
            });
        }
        at += length;
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Comment,
    Literal,
    Code,
}

/// Length and kind of what `rest` begins with; `rest` is not empty.
fn token(rest: &[char]) -> (usize, Kind) {
    let second = rest.get(1).copied();
    match rest[0] {
        '/' if second == Some('/') => (until(rest, 0, |window| window[0] == '\n'), Kind::Comment),
        '/' if second == Some('*') => (block_comment(rest), Kind::Comment),
        '"' => (quoted(rest, 1, '"'), Kind::Literal),
        'b' if second == Some('"') => (quoted(rest, 2, '"'), Kind::Literal),
        'b' if second == Some('\'') => (quoted(rest, 2, '\''), Kind::Literal),
        'r' | 'b' => match raw_string(rest) {
            Some(length) => (length, Kind::Literal),
            None => (word(rest), Kind::Code),
        },
        // A character, not a lifetime: closed two places on, or begun by an escape.
        '\'' if second == Some('\\') || rest.get(2) == Some(&'\'') => {
            (quoted(rest, 1, '\''), Kind::Literal)
        }
        _ => (word(rest), Kind::Code),
    }
}

/// Length of an identifier, or 1.
fn word(rest: &[char]) -> usize {
    rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count().max(1)
}

fn until(rest: &[char], from: usize, found: impl Fn(&[char]) -> bool) -> usize {
    (from..rest.len()).find(|&at| found(&rest[at..])).unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let (mut at, mut depth) = (2, 1);
    while at < rest.len() && depth > 0 {
        match (rest[at], rest.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

fn quoted(rest: &[char], from: usize, close: char) -> usize {
    let mut at = from;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == close => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of `r"..."`, `r#"..."#`, `br"..."`; `None` for another word that begins so.
fn raw_string(rest: &[char]) -> Option<usize> {
    let start = match rest {
        ['b', 'r', ..] => 2,
        ['r', ..] => 1,
        _ => return None,
    };
    let hashes = rest[start..].iter().take_while(|c| **c == '#').count();
    if rest.get(start + hashes) != Some(&'"') {
        return None;
    }
    let closes = |window: &[char]| {
        window[0] == '"' && window[1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    let end = until(rest, start + hashes + 1, closes) + 1 + hashes;
    Some(end.min(rest.len()))
}

/// What a pair of braces holds.
enum Scope {
    /// A module, type or trait, by name.
    Named(String),
    Function {
        function: Function,
        body: usize,
    },
    /// Blocks, literals, `use` lists.
    Other,
    /// `#[cfg(test)] mod`, from this line on.
    Tests {
        name: String,
        from: usize,
    },
}

/// One token of a header, with its line.
struct Word {
    text: String,
    line: usize,
}

/// Walks over the code's tokens with a stack of scopes.
struct Scanner<'a> {
    bare_lines: Vec<&'a str>,
    functions: Vec<Function>,
    in_tests: Vec<bool>,
    scopes: Vec<Scope>,
    /// Tokens since the last brace or semicolon: the header of what a `{` opens.
    header: Vec<Word>,
}

impl<'a> Scanner<'a> {
    fn new(bare: &'a str) -> Self {
        let bare_lines: Vec<&str> = bare.lines().collect();
        let in_tests = vec![false; bare_lines.len()];
        Self { bare_lines, functions: Vec::new(), in_tests, scopes: Vec::new(), header: Vec::new() }
    }

    fn scan(&mut self, code: &str) {
        let chars: Vec<char> = code.chars().collect();
        let (mut at, mut line, mut depth) = (0, 1, 0_usize);
        while at < chars.len() {
            let length = word(&chars[at..]);
            let text: String = chars[at..at + length].iter().collect();
            match text.as_str() {
                "\n" => line += 1,
                "{" => {
                    self.open(line);
                    depth = 0;
                }
                "}" => {
                    self.close(line);
                    depth = 0;
                }
                // Not the semicolon of `[u8; 4]`.
                ";" if depth == 0 => self.header.clear(),
                _ => {
                    depth += usize::from(matches!(text.as_str(), "(" | "["));
                    depth = depth.saturating_sub(usize::from(matches!(text.as_str(), ")" | "]")));
                    if !text.trim().is_empty() {
                        self.header.push(Word { text, line });
                    }
                }
            }
            at += length;
        }
    }

    fn open(&mut self, body: usize) {
        let header = std::mem::take(&mut self.header);
        let words: Vec<&str> = header.iter().map(|word| word.text.as_str()).collect();
        let named = |keyword: &str| {
            let at = words.iter().position(|word| *word == keyword)?;
            let name = *words.get(at + 1)?;
            name.starts_with(|c: char| c.is_alphabetic() || c == '_').then(|| (at, name.to_owned()))
        };
        let scope = if let Some((at, name)) = named("fn") {
            let mut path = self.path();
            path.push(name);
            let expects_length = words[..at].contains(&"too_many_lines");
            let function = Function { path, line: header[at].line, lines: 0, expects_length };
            Scope::Function { function, body }
        } else if let Some((_, name)) = named("mod") {
            let tests = words.windows(3).any(|window| matches!(window, ["cfg", "(", "test"]));
            let from = header[0].line;
            if tests { Scope::Tests { name, from } } else { Scope::Named(name) }
        } else if let Some((_, name)) = named("trait") {
            Scope::Named(name)
        } else if let Some(name) = implemented(&words) {
            Scope::Named(name)
        } else {
            Scope::Other
        };
        self.scopes.push(scope);
    }

    fn close(&mut self, line: usize) {
        self.header.clear();
        match self.scopes.pop() {
            Some(Scope::Function { mut function, body }) => {
                // The lines between the braces, as clippy counts them.
                let inner = self.bare_lines.get(body..line - 1).unwrap_or_default();
                function.lines = inner.iter().filter(|text| !text.trim().is_empty()).count();
                self.functions.push(function);
            }
            Some(Scope::Tests { from, .. }) => self.in_tests[from - 1..line].fill(true),
            _ => {}
        }
    }

    fn path(&self) -> Vec<String> {
        let name = |scope: &Scope| match scope {
            Scope::Named(name) | Scope::Tests { name, .. } => Some(name.clone()),
            Scope::Function { .. } | Scope::Other => None,
        };
        self.scopes.iter().filter_map(name).collect()
    }
}

/// The type that an `impl` header is for.
fn implemented(words: &[&str]) -> Option<String> {
    let start = words.iter().position(|word| *word == "impl")? + 1;
    let (mut depth, mut name) = (0_usize, None);
    for (at, &word) in words.iter().enumerate().skip(start) {
        match word {
            "<" => depth += 1,
            // The arrow of `Fn() -> T` closes nothing.
            ">" if words[at - 1] != "-" => depth = depth.saturating_sub(1),
            "where" if depth == 0 => break,
            "for" if depth == 0 => name = None,
            _ if depth == 0 && word.starts_with(char::is_alphabetic) && word != "dyn" => {
                name = Some(word.to_owned());
            }
            _ => {}
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r##"
//! Docs with fn nothing() { }
const QUOTED: &str = "fn quoted() { { {";
const RAW: &str = r#"fn raw() { " "#;
impl<T: Into<u8>> Wire for Frame<'_, T> {
    fn parse(bytes: [u8; 4]) -> u8 {
        // Not counted.
        let c = '{';

        bytes[0] + c as u8
    }
}
mod inner {
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub(crate) fn table<'a>(x: &'a str) {
        let y = || { x };
    }
}
trait Site {
    fn put(&self);
    fn twice(&self) {}
}
#[cfg(test)]
mod tests {
    fn tested() {}
}
"##;

    #[test]
    fn functions_are_found_where_they_are_and_not_in_text() {
        let source = Source::read(TEXT);
        let found: Vec<(String, usize, usize, bool)> = source
            .functions
            .iter()
            .map(|f| (f.path.join("::"), f.line, f.lines, f.expects_length))
            .collect();
        let expected = [
            ("Frame::parse", 6, 2, false),
            ("inner::table", 15, 1, true),
            ("Site::twice", 21, 0, false),
            ("tests::tested", 25, 0, false),
        ];
        let expected = expected.map(|(path, line, lines, e)| (path.to_owned(), line, lines, e));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_essence_ignores_comments_tests_and_layout() {
        let essence = |text: &str| Source::read(text).essence();
        let one = essence("fn a() { 1; } // why\n#[cfg(test)]\nmod tests { fn x() {} }\n");
        let two = essence("/* other */ fn a()\n{   1; }\n");
        assert_eq!(one, two);
        assert_ne!(one, essence("fn a() { 2; }"));
        assert_ne!(essence("const A: &str = \"x\";"), essence("const A: &str = \"y\";"));
    }

    #[test]
    fn lines_of_inline_tests_are_not_counted() {
        let source = Source::read("fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn x() {}\n}\n");
        assert_eq!(source.lines_without_tests(), 2);
    }
}
