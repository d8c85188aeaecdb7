//! From a configured URL and its options to a backend.
//!
//! **Invariant.** Only options listed here reach a backend; none is read from the process's
//! environment or a machine's metadata service unless the configuration says `credentials =
//! "environment"` (attack B26).
//!
//! **Deliberately absent.** The options' values in any error.
//!
//! **Crash.** Nothing is kept.

use super::{
    Store, Way,
    transport::{COLLECTION_BYTES_MAX, LIST_BYTES_MAX, Transport},
};
use crate::SiteSpec;
use opendal::{HttpTransporter, Operator, services};
use std::collections::BTreeMap;

/// The parts of `scheme://authority/root`.
struct Location<'a> {
    scheme: &'a str,
    authority: &'a str,
    root: &'a str,
}

/// Opens the backend that the URL's scheme names.
pub(super) fn store(spec: &SiteSpec) -> Result<Store, String> {
    let location = parse(&spec.url)?;
    let mut options = Options { given: spec.options.clone(), backend: BTreeMap::new() };
    let authorities = match options.take("ca_file") {
        Some(path) => Some(std::fs::read(path).map_err(|error| format!("ca_file: {error}"))?),
        None => None,
    };
    let is_dav = location.scheme.starts_with("webdav");
    let list_bytes_max = if is_dav { COLLECTION_BYTES_MAX } else { LIST_BYTES_MAX };
    let transport = Transport::new(authorities.as_deref(), list_bytes_max)?;
    let conditional = options.flag("conditional_put", true)?;
    let way = if conditional { Way::Conditional } else { Way::Checked };
    options.set("root", format!("/{}", location.root.trim_matches('/')));
    let (operator, way) = match location.scheme {
        "s3" => (s3(&location, &mut options)?, way),
        "oss" => (oss(&location, &mut options)?, way),
        "gcs" => (gcs(&location, &mut options)?, way),
        "azblob" => (azblob(&location, &mut options)?, way),
        "webdav" | "webdavs" => webdav(&location, &mut options, &transport)?,
        "sftp" => (sftp(&location, &mut options)?, Way::Renamed),
        scheme => return Err(format!("unknown scheme {scheme:?}")),
    };
    if let Some(option) = options.given.keys().next() {
        return Err(format!("unknown option {option:?}"));
    }
    let context =
        operator.base_context().with_http_transport(HttpTransporter::new(transport.clone()));
    Ok(Store { operator: operator.with_context(context), way, transport })
}

fn parse(url: &str) -> Result<Location<'_>, String> {
    let (scheme, rest) = url.split_once("://").ok_or("the URL has no scheme")?;
    let (authority, root) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() {
        return Err("the URL names no bucket or host".to_owned());
    }
    if rest.contains(['?', '#']) {
        return Err("the URL has a query; say it with options".to_owned());
    }
    if authority.contains('@') && scheme != "sftp" {
        return Err("the URL holds credentials; say them with options".to_owned());
    }
    if root.split('/').any(|step| step == "." || step == "..") {
        return Err("the URL's path is not plain".to_owned());
    }
    Ok(Location { scheme, authority, root })
}

/// What was configured, and what of it goes to the backend.
struct Options {
    given: BTreeMap<String, String>,
    backend: BTreeMap<String, String>,
}

impl Options {
    fn take(&mut self, name: &str) -> Option<String> {
        self.given.remove(name)
    }

    fn require(&mut self, name: &str) -> Result<String, String> {
        self.take(name).ok_or_else(|| format!("option {name:?} is missing"))
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.backend.insert(name.to_owned(), value.into());
    }

    /// Hands options over as they are, where they were given.
    fn pass(&mut self, names: &[&str]) {
        for name in names {
            if let Some(value) = self.take(name) {
                self.set(name, value);
            }
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool, String> {
        match self.take(name).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(format!("option {name:?} is neither true nor false")),
        }
    }

    /// Whether credentials come from the environment; otherwise `names` are required.
    fn credentials(&mut self, names: &[&str]) -> Result<bool, String> {
        match self.take("credentials").as_deref() {
            Some("environment") => Ok(true),
            Some(_) => Err("option \"credentials\" can only be \"environment\"".to_owned()),
            None => {
                for name in names {
                    let value = self.require(name)?;
                    self.set(name, value);
                }
                Ok(false)
            }
        }
    }

    /// The backend, from its registry and not by its type: so each is compiled in its own crate,
    /// and not in this one and in its tests once more.
    fn build(&mut self, scheme: &str) -> Result<Operator, String> {
        opendal::init_default_registry();
        let options = std::mem::take(&mut self.backend);
        Operator::via_iter(scheme, options).map_err(|error| error.message().to_owned())
    }
}

fn s3(location: &Location<'_>, options: &mut Options) -> Result<Operator, String> {
    options.set("bucket", location.authority);
    let region = options.require("region")?;
    options.set("region", region);
    let ambient = options.credentials(&["access_key_id", "secret_access_key"])?;
    options.set("disable_config_load", (!ambient).to_string());
    options.pass(&["endpoint", "session_token", "role_arn", "external_id"]);
    if let Some(class) = options.take("storage_class") {
        options.set("default_storage_class", class);
    }
    let virtual_host = options.flag("virtual_host_style", false)?;
    options.set("enable_virtual_host_style", virtual_host.to_string());
    options.build(services::S3_SCHEME)
}

fn oss(location: &Location<'_>, options: &mut Options) -> Result<Operator, String> {
    options.set("bucket", location.authority);
    let endpoint = options.require("endpoint")?;
    options.set("endpoint", endpoint);
    options.credentials(&["access_key_id", "access_key_secret"])?;
    options.pass(&["security_token", "role_arn", "external_id", "addressing_style"]);
    options.build(services::OSS_SCHEME)
}

fn gcs(location: &Location<'_>, options: &mut Options) -> Result<Operator, String> {
    options.set("bucket", location.authority);
    let ambient = options.any_credential(&["credential", "credential_path", "token"])?;
    options.set("disable_config_load", (!ambient).to_string());
    options.set("disable_vm_metadata", (!ambient).to_string());
    options.pass(&["endpoint"]);
    if let Some(class) = options.take("storage_class") {
        options.set("default_storage_class", class);
    }
    options.build(services::GCS_SCHEME)
}

fn azblob(location: &Location<'_>, options: &mut Options) -> Result<Operator, String> {
    options.set("container", location.authority);
    let endpoint = options.require("endpoint")?;
    options.set("endpoint", endpoint);
    options.pass(&["account_name"]);
    options.any_credential(&["account_key", "sas_token"])?;
    options.build(services::AZBLOB_SCHEME)
}

impl Options {
    /// As [`Options::credentials`], where any one of `names` will do.
    fn any_credential(&mut self, names: &[&str]) -> Result<bool, String> {
        if self.credentials(&[])? {
            return Ok(true);
        }
        if !names.iter().any(|name| self.given.contains_key(*name)) {
            return Err(format!("one of the options {names:?} is missing"));
        }
        self.pass(names);
        Ok(false)
    }
}

fn webdav(
    location: &Location<'_>,
    options: &mut Options,
    transport: &Transport,
) -> Result<(Operator, Way), String> {
    let http = if location.scheme == "webdavs" { "https" } else { "http" };
    let endpoint = format!("{http}://{}", location.authority);
    options.set("endpoint", endpoint.clone());
    options.pass(&["username", "password", "token"]);
    let find = |name| options.backend.get(name).map(String::as_str);
    let dav = super::webdav::Dav::new(
        transport.clone(),
        &endpoint,
        location.root.trim_matches('/'),
        find("username").map(|user| (user, find("password").unwrap_or_default())),
        find("token"),
    )?;
    Ok((options.build(services::WEBDAV_SCHEME)?, Way::Dav(dav)))
}

fn sftp(location: &Location<'_>, options: &mut Options) -> Result<Operator, String> {
    let (user, host) = match location.authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, location.authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err("the URL holds a password; SFTP works with keys only".to_owned());
    }
    options.set("endpoint", format!("ssh://{host}"));
    if let Some(user) = user {
        options.set("user", user);
    }
    options.pass(&["key"]);
    let known_hosts = options.take("known_hosts").unwrap_or_else(|| "strict".to_owned());
    options.set("known_hosts_strategy", known_hosts);
    options.build(services::SFTP_SCHEME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SiteLimits;

    fn refusal(url: &str, options: &[(&str, &str)]) -> String {
        let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let spec = SiteSpec {
            name: "site".to_owned(),
            url: url.to_owned(),
            options: options.collect(),
            limits: SiteLimits::default(),
        };
        store(&spec).err().unwrap_or_default()
    }

    #[test]
    fn each_backend_opens_from_its_url_without_a_word_to_it() {
        let keys = [("access_key_id", "a"), ("secret_access_key", "b"), ("region", "eu-1")];
        assert_eq!(refusal("s3://bucket/some/prefix", &keys), "");
        let keys = [("access_key_id", "a"), ("access_key_secret", "b"), ("endpoint", "https://o")];
        assert_eq!(refusal("oss://bucket", &keys), "");
        assert_eq!(refusal("gcs://bucket", &[("token", "t")]), "");
        let keys = [("account_name", "a"), ("account_key", "Yg=="), ("endpoint", "https://a")];
        assert_eq!(refusal("azblob://container/x", &keys), "");
        assert_eq!(
            refusal("webdav://127.0.0.1:1/dav", &[("username", "u"), ("password", "p")]),
            ""
        );
        assert_eq!(refusal("sftp://user@127.0.0.1:22/data", &[("key", "/key")]), "");
    }

    #[test]
    fn what_cannot_work_is_refused_by_name_and_never_by_value() {
        let secret = "hunter2";
        let cases = [
            ("s3://bucket", vec![("access_key_id", secret)], "region"),
            ("s3://bucket", vec![("region", "r"), ("access_key_id", secret)], "secret_access_key"),
            ("s3://", vec![], "no bucket"),
            ("s3://bucket?x=1", vec![], "query"),
            ("s3://key:hunter2@bucket", vec![], "credentials"),
            ("gcs://bucket", vec![], "missing"),
            ("webdav://host", vec![("user", secret)], "unknown option \"user\""),
            ("webdav://host/a/../b", vec![], "plain"),
            ("sftp://u:hunter2@host", vec![], "password"),
            ("ftp://host", vec![], "unknown scheme"),
        ];
        for (url, options, expected) in cases {
            let refusal = refusal(url, &options);
            assert!(refusal.contains(expected), "{url}: {refusal:?}");
            assert!(!refusal.contains(secret), "{refusal:?}");
        }
    }

    #[test]
    fn ambient_credentials_are_used_only_when_asked_for() {
        assert!(refusal("s3://bucket", &[("region", "r")]).contains("access_key_id"));
        assert_eq!(refusal("s3://b", &[("region", "r"), ("credentials", "environment")]), "");
    }
}
