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
            Some((scheme @ ("s3" | "oss" | "gcs" | "azblob"), rest)) => {
                bucket(scheme, rest, options).ok_or_else(|| {
                    format!("{url:?} names no bucket; write {scheme}://bucket/folder")
                })
            }
            Some((scheme @ ("webdav" | "webdavs" | "sftp"), rest)) => server(scheme, rest)
                .ok_or_else(|| format!("{url:?} names no host; write {scheme}://host/folder")),
            Some((scheme, _)) if !scheme.contains('/') => Err(format!(
                "unknown scheme {scheme:?}; known are file, s3, oss, gcs, azblob, webdav, webdavs, \
                 sftp and memory, or a plain path"
            )),
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

fn bucket(scheme: &str, rest: &str, options: &BTreeMap<String, String>) -> Option<Storage> {
    let rest = rest.strip_prefix("//")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return None;
    }
    let in_query = query.split('&').find_map(|pair| pair.strip_prefix("endpoint="));
    let endpoint = options.get("endpoint").map(String::as_str).or(in_query);
    let provider = match endpoint {
        Some(endpoint) => provider(endpoint),
        None => match scheme {
            "s3" => "amazonaws.com".to_owned(),
            "gcs" => "storage.googleapis.com".to_owned(),
            _ => options.get("account_name").cloned().unwrap_or_else(|| scheme.to_owned()),
        },
    };
    let root = options.get("root").map_or("", String::as_str);
    let folder = folders(root).chain(folders(prefix)).collect();
    Some(Storage::Remote { store: format!("{provider}/{}", bucket.to_ascii_lowercase()), folder })
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

fn server(scheme: &str, rest: &str) -> Option<Storage> {
    let rest = rest.strip_prefix("//")?;
    let rest = rest.split('?').next().unwrap_or(rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or(authority).to_ascii_lowercase();
    if host.is_empty() {
        return None;
    }
    let port = match scheme {
        "sftp" => ":22",
        "webdavs" => ":443",
        _ => ":80",
    };
    let host = host.strip_suffix(port).unwrap_or(&host);
    let family = if scheme == "sftp" { "sftp" } else { "webdav" };
    Some(Storage::Remote { store: format!("{family}/{host}"), folder: folders(path).collect() })
}

fn folders(path: &str) -> impl Iterator<Item = String> + '_ {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned)
}
