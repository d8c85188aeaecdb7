//! The configuration that `havre up` starts with: six directories that play the part of six sites.
//!
//! **Invariant.** What is written loads, and nothing that exists is overwritten.
//!
//! **Deliberately absent.** The root key: `seal` makes it at the path that the configuration names.
//!
//! **Crash.** The configuration is written last: without it a start begins anew, and meets its own
//! leavings without harm.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The file's name in the folder of `havre up`.
const CONFIG_FILE: &str = "havre.toml";
const SECRET_FILE: &str = "credential.secret";

/// Why the first configuration could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", .path.display())]
pub struct LocalError {
    pub(super) action: &'static str,
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// The text of the first configuration; its paths are relative to where it is written.
#[must_use]
pub fn local_example(access_key: &str) -> String {
    let mut text = format!(
        r#"# Written by `havre up`: six directories that play the part of six sites, for trial.
# All of them are on one disk, so this shows how Havre works and protects nothing.
# docs/configuration.md explains every key, examples/havre.toml is a real one, and `havre check`
# explains what a configuration means.

[gateway]
data = "."
root_key_file = "root.key"
default_policy = "default"

[[listen]]
address = "127.0.0.1:9000"

[admin]
address = "127.0.0.1:9001"

[[tenant]]
name = "trial"

[[credential]]
access_key = "{access_key}"
tenant = "trial"
secret_file = "{SECRET_FILE}"

# Six shards, any three decode: twice the bytes. A write is within the guarantee with any five
# stored. With fewer it is acknowledged and marked as below the guarantee until it is repaired
# ("degrade"), so that a trial may stop two sites and go on; "refuse", the default elsewhere,
# answers 503 instead.
[[policy]]
name = "default"
k = 3
m = 3
on_outage = "degrade"
[policy.guarantee]
cannot_read = ["any jurisdiction", "any operator"]
cannot_cut_off = ["any jurisdiction", "any operator"]

# XA, XB and XC are codes that ISO 3166 leaves to users: they stand for no state.
"#
    );
    for (operator, code) in OPERATORS {
        text.push_str(&format!(
            "[[operator]]\nname = \"{operator}\"\nincorporation = \"{code}\"\nheadquarters = \
             \"{code}\"\n\n"
        ));
    }
    for (site, (operator, code)) in (1..).zip(OPERATORS.iter().flat_map(|pair| [pair, pair])) {
        text.push_str(&format!(
            "[[site]]\nname = \"s{site}\"\nurl = \"sites/s{site}\"\noperator = \"{operator}\"\n\
             location = \"{code}\"\n\n"
        ));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

const OPERATORS: [(&str, &str); 3] = [("north", "XA"), ("south", "XB"), ("west", "XC")];

/// Writes the first configuration into `folder`, with the sites' directories and the credential's
/// secret (mode 0600), and returns its path. A secret that is there already stays; it is the one to
/// be shown, so read it back through the configuration.
///
/// # Errors
/// When the configuration exists, or something cannot be written.
pub fn write_local(folder: &Path, access_key: &str, secret: &str) -> Result<PathBuf, LocalError> {
    for site in 1..=2 * OPERATORS.len() {
        let path = folder.join(format!("sites/s{site}"));
        let failed = |source| LocalError { action: "create", path: path.clone(), source };
        fs::create_dir_all(&path).map_err(failed)?;
    }
    let secret_file = folder.join(SECRET_FILE);
    match create(&secret_file, 0o600, secret) {
        Err(LocalError { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let config = folder.join(CONFIG_FILE);
    create(&config, 0o644, &local_example(access_key))?;
    Ok(config)
}

/// Creates a file durably, under another name first, so that it is whole or not there.
fn create(path: &Path, mode: u32, text: &str) -> Result<(), LocalError> {
    let failed = |source| LocalError { action: "write", path: path.to_owned(), source };
    let draft = path.with_extension("draft");
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A link, unlike a rename, refuses to replace what is there.
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft)?;
        linked?;
        File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    write().map_err(failed)
}
