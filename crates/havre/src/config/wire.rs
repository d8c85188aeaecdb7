//! From the configuration to the types of the crates that act on it.
//!
//! **Invariant.** What the file leaves out keeps the default of the crate that it belongs to: no
//! default is written twice.
//!
//! **Deliberately absent.** Tenants' ids, keys and the catalog: `main` composes those.
//!
//! **Crash.** Values only.

use super::{Config, Limits, OptionValue, SecretError, Site, SiteLimits, Tls};
use havre_server::{LimitsConfig, ListenerConfig, ServerConfig, TlsConfig};
use havre_sites::SiteSpec;

impl Config {
    /// What the server is started with.
    #[must_use]
    pub fn server(&self) -> ServerConfig {
        let listeners = self.listeners.iter().map(|listener| ListenerConfig {
            address: listener.address,
            tls: listener.tls.clone().map(Into::into),
        });
        ServerConfig {
            listeners: listeners.collect(),
            admin: Some(self.admin.address),
            region: self.gateway.region.clone(),
            domains: self.gateway.domains.clone(),
            limits: self.limits.over(LimitsConfig::default()),
        }
    }
}

impl Site {
    /// What the site is opened with, its secrets included.
    ///
    /// # Errors
    /// When a secret cannot be had.
    pub fn spec(&self) -> Result<SiteSpec, SecretError> {
        let value = |value: &OptionValue| match value {
            OptionValue::Plain(text) => Ok(text.clone()),
            OptionValue::Secret(secret) => Ok(secret.resolve()?.expose().to_owned()),
        };
        let options = self.options.iter().map(|(key, option)| Ok((key.clone(), value(option)?)));
        Ok(SiteSpec {
            name: self.name.clone(),
            url: self.url.clone(),
            options: options.collect::<Result<_, _>>()?,
            limits: self.limits.over(havre_sites::SiteLimits::default()),
        })
    }
}

impl SiteLimits {
    /// These limits, and `default` where they say nothing.
    #[must_use]
    pub fn over(&self, default: havre_sites::SiteLimits) -> havre_sites::SiteLimits {
        havre_sites::SiteLimits {
            deadline: self.deadline.unwrap_or(default.deadline),
            bytes_per_second_min: self.bytes_per_second_min.unwrap_or(default.bytes_per_second_min),
            concurrency: self.concurrency.unwrap_or(default.concurrency),
            wait_max: self.wait_max.unwrap_or(default.wait_max),
            attempts_max: self.attempts_max.unwrap_or(default.attempts_max),
            backoff: self.backoff.unwrap_or(default.backoff),
            answer_bytes_max: self.answer_bytes_max.unwrap_or(default.answer_bytes_max),
            silent_calls_max: self.silent_calls_max.unwrap_or(default.silent_calls_max),
            probe_pause_min: self.probe_pause_min.unwrap_or(default.probe_pause_min),
            probe_pause_max: self.probe_pause_max.unwrap_or(default.probe_pause_max),
            part_bytes: self.part_bytes.unwrap_or(default.part_bytes),
        }
    }
}

impl Limits {
    /// These limits, and `default` where they say nothing.
    #[must_use]
    pub fn over(&self, default: LimitsConfig) -> LimitsConfig {
        LimitsConfig {
            requests_max: self.requests_max.unwrap_or(default.requests_max),
            turn_timeout: default.turn_timeout,
            client_bytes_per_second_min: default.client_bytes_per_second_min,
            connections_max: self.connections_max.unwrap_or(default.connections_max),
            handshake_timeout: self.handshake_timeout.unwrap_or(default.handshake_timeout),
            header_timeout: self.header_timeout.unwrap_or(default.header_timeout),
            body_timeout: self.body_timeout.unwrap_or(default.body_timeout),
            write_timeout: self.write_timeout.unwrap_or(default.write_timeout),
            shutdown_timeout: self.shutdown_timeout.unwrap_or(default.shutdown_timeout),
            documents_bytes_max: self.documents_bytes_max.unwrap_or(default.documents_bytes_max),
        }
    }
}

impl From<Tls> for TlsConfig {
    fn from(tls: Tls) -> Self {
        match tls {
            Tls::Files { certificate, key } => Self::Files { certificate, key },
            Tls::SelfSigned { names } => Self::SelfSigned { names },
        }
    }
}
