//! The first lock: the customer's key; and the key that signs statements. Formats:
//! `docs/formats/keys.md`, `segment.md`, `sealed-record.md`, `statement.md`.
//!
//! **Invariant.** Bytes open only under the key, and in the place, that they were sealed for (I4);
//! no key and no plaintext shows in an error, in `Debug` output or in a core dump (I3).
//!
//! **Deliberately absent.** Dispersal (`codec`), what a record says (`model::record`), where keys
//! are stored (records carry them wrapped), and any key, algorithm or address chosen by a
//! ciphertext.
//!
//! **Crash.** Nothing here is durable but the root key's file. No counter outlives the key that it
//! counts under: every part and every record has its own random key, so that neither a crash nor a
//! restored snapshot can repeat a nonce.
//!
//! Keys of different levels are different types that cannot be copied or compared:
//!
//! ```compile_fail,E0599
//! fn copy(root: &havre_seal::RootKey) -> havre_seal::RootKey {
//!     root.clone()
//! }
//! ```
//!
//! ```compile_fail,E0382
//! use havre_seal::{Keyring, RootKey};
//! fn two_keyrings(root: RootKey, entropy: std::sync::Arc<dyn havre_model::ports::Entropy>) {
//!     let _ = Keyring::new(root, entropy.clone());
//!     let _ = Keyring::new(root, entropy);
//! }
//! ```

mod binding;
mod cipher;
mod envelope;
mod error;
mod key;
mod keyring;
mod process;
mod record;
mod root;
mod segment;
mod statement;

pub use envelope::WRAPPED_KEY_BYTES;
pub use error::OpenError;
pub use keyring::Keyring;
pub use process::forbid_core_dumps;
pub use record::{
    OpenedRecord, RecordScope, SEALED_RECORD_BYTES_MAX, SEALED_RECORD_OVERHEAD_BYTES,
};
pub use root::{KeyFileError, RootKey};
pub use segment::{PartContext, PartOpener, PartSealer, sealed_bytes, segments};
pub use statement::{
    PUBLIC_KEY_BYTES, PUBLIC_KEY_TEXT_BYTES_MAX, SIGNATURE_BYTES, StatementKey, StatementPublicKey,
};
