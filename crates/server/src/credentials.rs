//! Who may call: access keys, their secrets and tenants.
//!
//! **Invariant.** A secret shows in no `Debug` output and is wiped when dropped (A22).
//!
//! **Deliberately absent.** Policies: a credential may do everything within its tenant yet.
//!
//! **Crash.** Values only.

use havre_model::TenantId;
use std::collections::HashMap;

pub use s3s::auth::SecretKey;

/// What an access key stands for.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The secret that its signatures are made with.
    pub secret: SecretKey,
    /// The tenant that it acts in.
    pub tenant: TenantId,
}

/// Looks access keys up.
pub trait Credentials: Send + Sync + 'static {
    /// The credential of an access key; `None` when there is no such key.
    fn credential(&self, access_key: &str) -> Option<Credential>;
}

/// Credentials that are known at start.
#[derive(Debug, Default)]
pub struct StaticCredentials {
    by_key: HashMap<String, Credential>,
}

impl StaticCredentials {
    /// No credentials yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more; the last one of an access key counts.
    #[must_use]
    pub fn with(mut self, access_key: &str, secret: &str, tenant: TenantId) -> Self {
        let credential = Credential { secret: SecretKey::from(secret), tenant };
        self.by_key.insert(access_key.to_owned(), credential);
        self
    }
}

impl Credentials for StaticCredentials {
    fn credential(&self, access_key: &str) -> Option<Credential> {
        self.by_key.get(access_key).cloned()
    }
}
