//! Which storage a site's URL stands for, however it is written.
//!
//! **Invariant.** Two sites whose storage [`overlaps`](Storage::overlaps) would be one place that
//! counts as two, and void the guarantee: they are refused. Spelling, symbolic links, default ports
//! and a provider's several endpoints do not hide it.
//!
//! **Deliberately absent.** What only the storage itself shows (two names of one server): the
//! sites' markers find that at start.
//!
//! **Crash.** Looks only, and creates nothing.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

/// A place that stores bytes, in the one form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// A directory, and its device and inode if it exists.
    Directory { path: PathBuf, inode: Option<(u64, u64)> },
    /// A folder of a remote store.
    Remote { store: String, folder: Vec<String> },
    /// This process's memory: never the same twice.
    Memory,
}

impl Storage {
    /// The storage of a URL or path; relative paths start at `base`.
    ///
    /// # Errors
    /// When the text is no URL of a known scheme; the reason is for the operator.
    pub(super) fn new(
        url: &str,
        options: &BTreeMap<String, String>,
        base: &Path,
    ) -> Result<Self, String> {
        match url.split_once(':') {
            Some(("memory", "" | "//")) => Ok(Self::Memory),
            Some(("file", rest)) => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if !path.starts_with('/') {
                    return Err(format!("{url:?}: a file URL has an absolute path: file:///path"));
                }
                Ok(directory(path, base))
            }
            Some((scheme, rest)) if !scheme.contains('/') => {
                remote(scheme, rest, options).map_err(|reason| format!("{url:?}: {reason}"))
            }
            _ if url.is_empty() => Err("the URL is empty".to_owned()),
            _ => Ok(directory(url, base)),
        }
    }

    /// Whether a byte stored in one could lie in the other: the same place, or one within the
    /// other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Directory { path, inode },
                Self::Directory { path: other, inode: other_inode },
            ) => {
                let same = inode.is_some() && inode == other_inode;
                same || path.starts_with(other) || other.starts_with(path)
            }
            (
                Self::Remote { store, folder },
                Self::Remote { store: other, folder: other_folder },
            ) => {
                let shared = folder.len().min(other_folder.len());
                store == other && folder[..shared] == other_folder[..shared]
            }
            _ => false,
        }
    }

    /// The device of a directory that exists.
    pub(super) const fn device(&self) -> Option<u64> {
        match self {
            Self::Directory { inode: Some((device, _)), .. } => Some(*device),
            _ => None,
        }
    }
}

fn directory(path: &str, base: &Path) -> Storage {
    let path = real(&base.join(path));
    let inode = std::fs::metadata(&path).ok().map(|meta| (meta.dev(), meta.ino()));
    Storage::Directory { path, inode }
}

/// The path without links and dots, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let mut real = PathBuf::from("/");
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for component in absolute.components() {
        match component {
            Component::Normal(name) => {
                let next = real.join(name);
                real = std::fs::canonicalize(&next).unwrap_or(next);
            }
            Component::ParentDir => {
                real.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    real
}

/// The options that a URL's backend takes, those of all remote ones apart; `None` for no known one.
fn options_of(scheme: &str) -> Option<&'static [&'static str]> {
    Some(match scheme {
        "s3" => &[
            "region",
            "endpoint",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "role_arn",
            "external_id",
            "credentials",
            "storage_class",
            "virtual_host_style",
        ],
        "oss" => &[
            "endpoint",
            "access_key_id",
            "access_key_secret",
            "security_token",
            "role_arn",
            "external_id",
            "credentials",
            "addressing_style",
        ],
        "gcs" => {
            &["endpoint", "credential", "credential_path", "token", "credentials", "storage_class"]
        }
        "azblob" => &["endpoint", "account_name", "account_key", "sas_token", "credentials"],
        "webdav" | "webdavs" => &["username", "password", "token"],
        "sftp" => &["key", "known_hosts"],
        _ => return None,
    })
}

/// Options of every remote backend.
const OPTIONS_OF_ALL: [&str; 2] = ["ca_file", "conditional_put"];

/// Why the option cannot be one of this URL's backend; `None` when it can.
pub(super) fn unknown_option(url: &str, option: &str) -> Option<String> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let Some(known) = options_of(scheme) else {
        return Some(format!("a site at a path or in memory has no option {option:?}"));
    };
    if known.contains(&option) || OPTIONS_OF_ALL.contains(&option) {
        return None;
    }
    let known = known.iter().chain(&OPTIONS_OF_ALL).copied().collect::<Vec<_>>().join(", ");
    Some(format!("unknown option {option:?} of {scheme}; known are {known}"))
}

fn remote(scheme: &str, rest: &str, options: &BTreeMap<String, String>) -> Result<Storage, String> {
    if options_of(scheme).is_none() {
        return Err(
            "the scheme is unknown; known are s3, oss, gcs, azblob, webdav, webdavs, sftp, \
                    file and memory, or write a plain path"
                .to_owned(),
        );
    }
    let names = if matches!(scheme, "webdav" | "webdavs" | "sftp") { "host" } else { "bucket" };
    let missing = || format!("no {names} is named; write {scheme}://{names}/folder");
    let rest = rest.strip_prefix("//").ok_or_else(missing)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() {
        return Err(missing());
    }
    if rest.contains(['?', '#']) {
        return Err("a query or fragment has no meaning here; use options".to_owned());
    }
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    if user.is_some_and(|user| scheme != "sftp" || user.contains(':')) {
        return Err("a credential does not belong into a URL; use options".to_owned());
    }
    if path.split('/').any(|step| step == "." || step == "..") {
        return Err("the folder has \".\" or \"..\" in it; write it plainly".to_owned());
    }
    let folder = path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let store = match names {
        "host" => server(scheme, authority),
        _ => bucket(scheme, authority, options),
    };
    Ok(Storage::Remote { store, folder })
}

fn bucket(scheme: &str, bucket: &str, options: &BTreeMap<String, String>) -> String {
    let provider = match (options.get("endpoint"), scheme) {
        (Some(endpoint), _) => provider(endpoint),
        (None, "s3") => "amazonaws.com".to_owned(),
        (None, "gcs") => "storage.googleapis.com".to_owned(),
        (None, scheme) => scheme.to_owned(),
    };
    format!("{provider}/{}", bucket.to_ascii_lowercase())
}

/// The provider behind an endpoint. Bucket names of the large ones are unique over all regions, so
/// that their endpoints, internal, dual-stack or regional, are one.
fn provider(endpoint: &str) -> String {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let host = host.split(['/', '?']).next().unwrap_or(host).to_ascii_lowercase();
    let host = host.strip_suffix(":443").or(host.strip_suffix(":80")).unwrap_or(&host);
    let host = host.trim_end_matches('.');
    let one = ["amazonaws.com", "amazonaws.com.cn", "aliyuncs.com", "storage.googleapis.com"];
    let known = one.iter().find(|known| {
        host.strip_suffix(*known).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    known.map_or_else(|| host.to_owned(), |known| (*known).to_owned())
}

fn server(scheme: &str, authority: &str) -> String {
    let host = authority.rsplit('@').next().unwrap_or(authority).to_ascii_lowercase();
    let port = match scheme {
        "sftp" => ":22",
        "webdavs" => ":443",
        _ => ":80",
    };
    let host = host.strip_suffix(port).unwrap_or(&host);
    let family = if scheme == "sftp" { "sftp" } else { "webdav" };
    format!("{family}/{host}")
}
