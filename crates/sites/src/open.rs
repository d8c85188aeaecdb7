//! From a configured URL to a guarded site.
//!
//! **Invariant.** A URL that is understood gives a site, reachable or not: a site that is down must
//! not keep the gateway from starting. What can never work is refused with the option's name, never
//! its value.
//!
//! **Deliberately absent.** Reading configuration and secrets: the binary hands them over.
//!
//! **Crash.** Nothing is kept.

use crate::{Guarded, LocalSite, MemorySite, RemoteSite, Site, SiteLimits};
use havre_model::{SiteId, ports::Ports};
use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

/// A site as it is configured.
///
/// Options by URL, those in bold needed:
/// - `/path`, `file:///path`, `memory:`: none.
/// - `s3://bucket/prefix`: **region**, **access_key_id**, **secret_access_key**, endpoint,
///   session_token, role_arn, external_id, storage_class, virtual_host_style.
/// - `oss://bucket/prefix`: **endpoint**, **access_key_id**, **access_key_secret**,
///   security_token, role_arn, external_id, addressing_style.
/// - `gcs://bucket/prefix`: **credential** (base64 of the JSON), **credential_path** or
///   **token**; endpoint, storage_class.
/// - `azblob://container/prefix`: **endpoint**, **account_key** or **sas_token**; account_name.
/// - `webdav://host:port/path`, `webdavs://`: username, password, token.
/// - `sftp://user@host:port/path`: key (path of the private key), known_hosts ("strict",
///   "accept", "add").
///
/// `credentials = "environment"` takes the place of the credentials of S3, OSS, GCS and Azure: the
/// process's environment, its configuration files and its machine's identity are then asked. HTTP
/// backends know `ca_file`, a PEM file of authorities to trust besides the system's.
/// `conditional_put = "false"` is for S3-like stores that know no `If-None-Match`: names are then
/// looked up before they are written.
#[derive(Clone)]
pub struct SiteSpec {
    /// Its permanent name.
    pub name: String,
    /// A path or `file://` URL, `memory:`, or a remote store's URL.
    pub url: String,
    /// Credentials and particulars of the backend.
    pub options: BTreeMap<String, String>,
    /// What it may cost.
    pub limits: SiteLimits,
}

impl fmt::Debug for SiteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Options hold credentials; URLs may by mistake.
        let options: Vec<_> = self.options.keys().collect();
        f.debug_struct("SiteSpec")
            .field("name", &self.name)
            .field("options", &options)
            .finish_non_exhaustive()
    }
}

/// Why a configured site can never work.
#[derive(Debug, thiserror::Error)]
#[error("site {site}: {reason}")]
pub struct OpenError {
    /// The site's name.
    pub site: String,
    /// What is wrong, without any option's value.
    pub reason: String,
}

/// Opens a configured site.
///
/// # Errors
/// When the URL's scheme is unknown, an option is missing, unknown or wrong, or the path is no
/// directory.
pub fn open(spec: SiteSpec, ports: &Ports) -> Result<Guarded, OpenError> {
    let id = havre_policy::site_id(&spec.name);
    let site = backend(id, &spec, ports)
        .map_err(|reason| OpenError { site: spec.name.clone(), reason })?;
    Ok(Guarded::new(site, spec.limits, ports.clone()))
}

fn backend(id: SiteId, spec: &SiteSpec, ports: &Ports) -> Result<Arc<dyn Site>, String> {
    match spec.url.split_once(':') {
        Some(("memory", "" | "//")) => {
            no_options(spec)?;
            Ok(Arc::new(MemorySite::new(id, &spec.name)))
        }
        Some(("file", rest)) => local(id, spec, rest.strip_prefix("//").unwrap_or(rest)),
        Some((scheme, _)) if !scheme.contains('/') => {
            Ok(Arc::new(RemoteSite::open(id, spec, ports)?))
        }
        _ => local(id, spec, &spec.url),
    }
}

fn local(id: SiteId, spec: &SiteSpec, path: &str) -> Result<Arc<dyn Site>, String> {
    no_options(spec)?;
    if path.is_empty() {
        return Err("the path is empty".to_owned());
    }
    let site = LocalSite::open(id, &spec.name, Path::new(path));
    Ok(Arc::new(site.map_err(|error| error.detail)?))
}

fn no_options(spec: &SiteSpec) -> Result<(), String> {
    match spec.options.keys().next() {
        Some(option) => Err(format!("unknown option {option:?}")),
        None => Ok(()),
    }
}
