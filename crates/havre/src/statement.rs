//! Signed statements: what was done, said so that it can be shown to others. Format:
//! `docs/formats/statement.md`.
//!
//! **Invariant.** A statement that verifies was signed by a process that had the root key, and says
//! exactly what it said then; it holds no name of a customer and no key (I3).
//!
//! **Deliberately absent.** Proof that what it says is true, or that there is no other: a statement
//! is its signer's word. Time stamps of others.
//!
//! **Crash.** A file of a statement is made in one go where nothing was; a torn one verifies not.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use havre_model::Timestamp;
use havre_seal::{RootKey, StatementKey, StatementPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The type of the payload in its envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.havre.statement+json";
/// The version that stands in each statement.
pub const VERSION: &str = "havre-statement/1";
/// Bytes of an envelope's file, at most.
pub const ENVELOPE_BYTES_MAX: u64 = 16 << 20;
/// Signatures that are looked at.
const SIGNATURES_MAX: usize = 16;

/// What was done, and by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// [`VERSION`].
    pub version: String,
    /// What kind of statement it is: `drill-cut`, `drill-seize`, ...
    pub kind: String,
    /// When it was signed, by the gateway's clock: RFC 3339, UTC, to the millisecond.
    pub time: String,
    /// The gateway's name.
    pub gateway: String,
    /// SHA-256 of the configuration's text, as `sha256:` and hex.
    pub configuration: String,
    /// What was done, by kind.
    pub body: Value,
}

/// A DSSE envelope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`PAYLOAD_TYPE`].
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The statement's JSON in base64.
    pub payload: String,
    /// Who signed it.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// The signer's [`StatementPublicKey::id`]: a hint.
    #[serde(default)]
    pub keyid: String,
    /// The signature in base64.
    pub sig: String,
}

/// Why an envelope is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is no DSSE envelope.
    #[error("this is no DSSE envelope: {0}")]
    NoEnvelope(String),
    /// It holds something else.
    #[error("the envelope holds {0:?}, not a statement of Havre")]
    OtherType(String),
    /// None of its signatures is this key's.
    #[error("no signature is of the key {key}")]
    NotSigned {
        /// The key that was expected.
        key: String,
    },
    /// What was signed is no statement that this release knows.
    #[error("what was signed is no statement that this release knows: {0}")]
    NoStatement(String),
}

/// Signs for one gateway under one configuration.
#[derive(Debug)]
pub struct Signer {
    key: StatementKey,
    gateway: String,
    configuration: String,
}

impl Signer {
    /// The signer of whoever has this root key.
    #[must_use]
    pub fn new(root: &RootKey, gateway: &str, configuration: &str) -> Self {
        Self {
            key: StatementKey::derive(root),
            gateway: gateway.to_owned(),
            configuration: configuration.to_owned(),
        }
    }

    /// The key that verifies what is signed here.
    #[must_use]
    pub fn public(&self) -> StatementPublicKey {
        self.key.public()
    }

    /// Signs a statement of this kind with this body.
    ///
    /// # Errors
    /// When the body cannot be written as JSON.
    pub fn sign(&self, kind: &str, time: Timestamp, body: &impl Serialize) -> Result<Envelope> {
        let statement = Statement {
            version: VERSION.to_owned(),
            kind: kind.to_owned(),
            time: rfc3339(time),
            gateway: self.gateway.clone(),
            configuration: self.configuration.clone(),
            body: serde_json::to_value(body).context("write the statement's body as JSON")?,
        };
        let payload = serde_json::to_vec(&statement).context("write the statement as JSON")?;
        let signature = self.key.sign(PAYLOAD_TYPE, &payload);
        Ok(Envelope {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(&payload),
            signatures: vec![Signature {
                keyid: self.key.public().id(),
                sig: STANDARD.encode(signature),
            }],
        })
    }
}

/// The statement in an envelope that this key signed.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify(envelope: &[u8], key: &StatementPublicKey) -> Result<Statement, VerifyError> {
    let envelope: Envelope = serde_json::from_slice(envelope)
        .map_err(|error| VerifyError::NoEnvelope(error.to_string()))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(VerifyError::OtherType(envelope.payload_type));
    }
    let payload = decode(&envelope.payload)
        .ok_or_else(|| VerifyError::NoEnvelope("the payload is not base64".to_owned()))?;
    let is_own = |signature: &Signature| {
        decode(&signature.sig).is_some_and(|sig| key.verifies(PAYLOAD_TYPE, &payload, &sig))
    };
    if !envelope.signatures.iter().take(SIGNATURES_MAX).any(is_own) {
        return Err(VerifyError::NotSigned { key: key.id() });
    }
    let statement: Statement = serde_json::from_slice(&payload)
        .map_err(|error| VerifyError::NoStatement(error.to_string()))?;
    if statement.version != VERSION {
        return Err(VerifyError::NoStatement(statement.version));
    }
    Ok(statement)
}

/// DSSE lets a signer choose between both alphabets.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// Where a statement goes for which no file is named.
#[must_use]
pub fn default_file(kind: &str, time: Timestamp) -> PathBuf {
    let time: String =
        rfc3339(time).chars().filter(|digit| !matches!(digit, '-' | ':')).take(15).collect();
    PathBuf::from(format!("havre-{kind}-{time}Z.json"))
}

/// Writes an envelope into a new file, durably.
///
/// # Errors
/// When something is there already, or the system refuses.
pub fn write_new(file: &Path, envelope: &Envelope) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(envelope).context("write the envelope as JSON")?;
    text.push(b'\n');
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut open| open.write_all(&text).and_then(|()| open.sync_all()))
        .with_context(|| format!("write the statement {}", file.display()))
}

/// The time as RFC 3339 has it, in UTC, to the millisecond. A clock beyond the year 9999 shows the
/// epoch.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    let millis = i64::try_from(time.millis()).unwrap_or_default();
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}
