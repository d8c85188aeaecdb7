//! `havre statement`: looks at signed statements.
//!
//! **Invariant.** A statement is shown only after its signature held.
//!
//! **Deliberately absent.** Signing by hand: what was done signs.
//!
//! **Crash.** Nothing is written.

use crate::ConfigFile;
use anyhow::{Context, Result};
use clap::Subcommand;
use havre::compose;
use havre::statement::{ENVELOPE_BYTES_MAX, verify};
use havre_seal::{PUBLIC_KEY_TEXT_BYTES_MAX, StatementKey, StatementPublicKey};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum StatementCommand {
    /// Verify a statement's signature and print what it says.
    Verify {
        #[command(flatten)]
        config: ConfigFile,
        /// The statement's file.
        file: PathBuf,
        /// The signer's public key (PEM). Without it, the key of the configured root key.
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
    /// Print the public key that verifies this gateway's statements (PEM).
    PublicKey {
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// Does what is asked.
pub(crate) fn statement(command: StatementCommand) -> Result<()> {
    match command {
        StatementCommand::PublicKey { config } => crate::say(&own_key(&config)?.to_pem()),
        StatementCommand::Verify { config, file, public_key } => {
            let key = match public_key {
                Some(file) => {
                    let text = read(&file, PUBLIC_KEY_TEXT_BYTES_MAX as u64)?;
                    let text = String::from_utf8(text).ok();
                    text.and_then(|text| StatementPublicKey::from_pem(&text)).with_context(
                        || format!("{} has no Ed25519 public key in PEM", file.display()),
                    )?
                }
                None => own_key(&config)?,
            };
            let envelope = read(&file, ENVELOPE_BYTES_MAX)?;
            let statement = verify(&envelope, &key)
                .with_context(|| format!("{} is not believed", file.display()))?;
            eprintln!("signed by {}", key.id());
            crate::say(&format!("{}\n", serde_json::to_string_pretty(&statement)?))
        }
    }
}

fn own_key(config: &ConfigFile) -> Result<StatementPublicKey> {
    let root = compose::root_key(&config.load()?.gateway.root_key)?;
    Ok(StatementKey::derive(&root).public())
}

/// The file's bytes, `bytes_max` at most.
fn read(file: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(bytes_max + 1).read_to_end(&mut bytes))
        .with_context(|| format!("read {}", file.display()))?;
    anyhow::ensure!(bytes.len() as u64 <= bytes_max, "{} is too long", file.display());
    Ok(bytes)
}
