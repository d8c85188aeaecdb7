//! Where a configuration is wrong, why, and what would mend it.
//!
//! **Invariant.** Errors about the file's contents name the line; no error shows a secret's value.
//!
//! **Deliberately absent.** Kinds: every error of the configuration is shown, and the start is
//! over.
//!
//! **Crash.** Values only.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// A configuration that is refused: `file:line: reason`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    line: Option<usize>,
    reason: String,
}

impl ConfigError {
    pub(super) fn whole(file: &Path, reason: String) -> Self {
        Self { file: file.to_owned(), line: None, reason }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The line, from 1; `None` when the file as a whole is at fault.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        self.line
    }

    /// What is wrong and what to do about it.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// A file's text, for the way from bytes to lines.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// The line, from 1, that the span begins in.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    pub(super) fn error(&self, span: &Range<usize>, reason: impl Into<String>) -> ConfigError {
        let line = Some(self.line(span));
        ConfigError { file: self.file.to_owned(), line, reason: reason.into() }
    }

    pub(super) fn whole(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::whole(self.file, reason.into())
    }

    /// What the TOML parser found.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let reason = error.message().trim().replace('\n', ", ");
        match error.span() {
            Some(span) => self.error(&span, reason),
            None => self.whole(reason),
        }
    }
}
