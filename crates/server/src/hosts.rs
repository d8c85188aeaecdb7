//! Virtual-host style: the bucket in the host's name.
//!
//! **Invariant.** A host is split only at a configured domain; every other host is a path-style
//! request, so that nobody reaches a bucket by a `Host` header that the operator did not foresee.
//!
//! **Deliberately absent.** Buckets named like whole hosts (CNAME style).
//!
//! **Crash.** Values only.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};
use std::sync::Arc;

/// The base domains.
#[derive(Debug, Clone)]
pub(crate) struct Domains(Arc<[String]>);

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

impl Domains {
    /// These domains, without ports, in any case.
    pub(crate) fn new(domains: &[String]) -> Self {
        Self(domains.iter().map(|domain| domain.to_ascii_lowercase()).collect())
    }

    /// The bucket in a host's name.
    pub(crate) fn bucket(&self, host: &str) -> Option<String> {
        let host = without_port(host).to_ascii_lowercase();
        self.0.iter().find_map(|domain| {
            let bucket = host.strip_suffix(domain.as_str())?.strip_suffix('.')?;
            (!bucket.is_empty()).then(|| bucket.to_owned())
        })
    }
}

impl S3Host for Domains {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let parsed = VirtualHost::new(host);
        Ok(match self.bucket(host) {
            Some(bucket) => parsed.with_bucket(bucket),
            None => parsed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_domains_are_split() {
        let domains = Domains::new(&["S3.example.com".to_owned()]);
        assert_eq!(domains.bucket("photos.s3.example.com:9000").as_deref(), Some("photos"));
        assert_eq!(domains.bucket("a.b.S3.EXAMPLE.com").as_deref(), Some("a.b"));
        for host in [
            "s3.example.com",
            ".s3.example.com",
            "photos.example.com",
            "xs3.example.com",
            "127.0.0.1:1",
            "[::1]:9000",
        ] {
            assert_eq!(domains.bucket(host), None, "{host}");
        }
    }
}
