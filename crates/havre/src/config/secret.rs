//! Secrets by reference: the configuration names an environment variable or a file, never a value.
//!
//! **Invariant.** A [`Secret`] is shown by no `Debug` and wiped when dropped; a file that everybody
//! may read is no secret and is refused (attack A22).
//!
//! **Deliberately absent.** The root key: `seal` reads it itself. Reloading: secrets are read at
//! start.
//!
//! **Crash.** Nothing is written.

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Bytes of a secret in a file: the longest are service accounts' JSON keys.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// In this environment variable.
    Env(String),
    /// In this file, a newline at its end aside.
    File(PathBuf),
}

/// A secret's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The variable is not set, or empty, or no UTF-8.
    #[error("environment variable {name} is not set; set it to the secret")]
    Unset {
        /// The variable.
        name: String,
    },
    /// The file could not be read.
    #[error("read secret from {}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Anybody on the machine may read the file.
    #[error("{0} may be read by everybody; run: chmod 600 {0}", .file.display())]
    Exposed {
        /// The file.
        file: PathBuf,
    },
    /// The file holds no text, or far too much.
    #[error("{} holds no secret: it is empty, too long, or not text", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
    },
}

impl Secret {
    /// The value: for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&havre_model::ids::redacted("secret"))
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

impl SecretRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// When it is not there, empty, or in a file that everybody may read.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(Secret(Zeroizing::new(value))),
                _ => Err(SecretError::Unset { name: name.clone() }),
            },
            Self::File(path) => read(path),
        }
    }
}

fn read(path: &Path) -> Result<Secret, SecretError> {
    let file = || path.to_owned();
    let unreadable = |source| SecretError::Unreadable { file: file(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(SecretError::Exposed { file: file() });
    }
    if metadata.len() > SECRET_BYTES_MAX {
        return Err(SecretError::Malformed { file: file() });
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(unreadable)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::Malformed { file: file() })?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(SecretError::Malformed { file: file() });
    }
    Ok(Secret(Zeroizing::new(text.to_owned())))
}
