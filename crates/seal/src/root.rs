//! The root key and its file. Format: `docs/formats/keys.md`.
//!
//! **Invariant.** A root key comes from a file that only its owner can read, or from a secret store
//! by way of the environment; its text is checked against typing errors and never repeated in an
//! error.
//!
//! **Deliberately absent.** Overwriting: a root key that is replaced takes all data with it. Pass
//! phrases: a root key is 32 random bytes.
//!
//! **Crash.** [`RootKey::create_file`] returns when file and directory entry are durable. A crash
//! in between leaves a file that is refused as malformed; nothing is sealed under it, remove it.

use crate::key::{KEY_BYTES, Key, Root};
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use havre_model::ports::Entropy;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const PREFIX: &str = "havre-root-key-1:";
const CHECKSUM_DOMAIN: &[u8] = b"havre root key checksum\0";
const CHECKSUM_BYTES: usize = 4;
const BASE64_BYTES: usize = KEY_BYTES.div_ceil(3) * 4;
const TEXT_BYTES: usize = PREFIX.len() + BASE64_BYTES + 1 + 2 * CHECKSUM_BYTES;
/// A file longer than this, the line's end included, is no key file and is not read further.
const FILE_BYTES_MAX: usize = TEXT_BYTES + 2;
/// Owner may read and write: the widest mode of a key file.
const MODE_WIDEST: u32 = 0o600;

/// The root key: whoever has it and `k` sites can read everything; whoever loses it can read
/// nothing.
pub struct RootKey(Key<Root>);

/// Why a root key could not be read or created. A variant exists only where the operator acts
/// differently; none repeats a byte of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is no such file: create it, or correct the path.
    #[error("there is no root key file at {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file is there already; it is never overwritten.
    #[error("{} exists already; a root key is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or change the file.
    #[error(
        "{} has mode {mode:04o}, so others may read it: run `chmod 600 {}`",
        path.display(), path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The text is not a root key, or was damaged.
    #[error(
        "the text is not a root key (one line `havre-root-key-1:...`) or its checksum is wrong"
    )]
    Malformed,
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RootKey {
    /// A fresh random root key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(Key::draw(entropy))
    }

    /// The root key in the file at `path`, which must be a regular file of mode 0600 or narrower.
    ///
    /// # Errors
    /// Any [`KeyFileError`] but `Exists`.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        let file = File::open(path).map_err(|error| failed("open", path, error))?;
        // Of the open file, not of the path: the path may name another one by now.
        let metadata = file.metadata().map_err(|error| failed("inspect", path, error))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & !MODE_WIDEST != 0 {
            return Err(KeyFileError::TooOpen { path: path.to_path_buf(), mode });
        }
        if !metadata.is_file() {
            return Err(KeyFileError::Malformed);
        }
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
        file.take(FILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut text)
            .map_err(|error| failed("read", path, error))?;
        Self::parse(&text)
    }

    /// Creates the file at `path` with a fresh root key and mode 0600. Durable when it returns.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] when there is anything at `path`; [`KeyFileError::Io`].
    pub fn create_file(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyFileError> {
        let root = Self::generate(entropy);
        let mut line = root.text();
        line.push(b'\n');
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE_WIDEST)
            .open(path)
            .map_err(|error| failed("create", path, error))?;
        file.write_all(&line).map_err(|error| failed("write", path, error))?;
        file.sync_all().map_err(|error| failed("make durable", path, error))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| failed("make durable", directory, error))?;
        Ok(root)
    }

    /// The root key in `text`, the file's line, as a secret store hands it over in the environment.
    ///
    /// # Errors
    /// [`KeyFileError::Malformed`].
    pub fn from_env_text(text: &str) -> Result<Self, KeyFileError> {
        Self::parse(text.as_bytes())
    }

    pub(crate) const fn key(&self) -> &Key<Root> {
        &self.0
    }

    fn parse(text: &[u8]) -> Result<Self, KeyFileError> {
        Self::parse_line(text.trim_ascii()).ok_or(KeyFileError::Malformed)
    }

    fn parse_line(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(PREFIX.as_bytes())?;
        let (key_text, rest) = rest.split_first_chunk::<BASE64_BYTES>()?;
        let checksum_text = rest.strip_prefix(b":")?;
        // The decoder wants room for the padding too.
        let mut decoded = Zeroizing::new([0; KEY_BYTES + 1]);
        let length = STANDARD.decode_slice(key_text, decoded.as_mut_slice()).ok()?;
        if length != KEY_BYTES {
            return None;
        }
        let key = Key::copied(decoded.first_chunk()?);
        (checksum(&key).as_slice() == checksum_text).then_some(Self(key))
    }

    fn text(&self) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
        text.extend_from_slice(PREFIX.as_bytes());
        let mut encoded = Zeroizing::new([0; BASE64_BYTES]);
        STANDARD
            .encode_slice(self.0.expose(), encoded.as_mut_slice())
            .expect("44 bytes hold the base64 of 32");
        text.extend_from_slice(encoded.as_slice());
        text.push(b':');
        text.extend_from_slice(&checksum(&self.0));
        text
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(<redacted>)")
    }
}

/// The first bytes of SHA-256 over the key, in hex: finds typing errors, is as secret as the key.
fn checksum(key: &Key<Root>) -> [u8; 2 * CHECKSUM_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash = Context::new(&SHA256);
    hash.update(CHECKSUM_DOMAIN);
    hash.update(key.expose());
    let digest = hash.finish();
    let mut text = [0; 2 * CHECKSUM_BYTES];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest.as_ref()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> KeyFileError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::NotFound if action == "open" => KeyFileError::Missing { path },
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path },
        _ => KeyFileError::Io { action, path, source },
    }
}
