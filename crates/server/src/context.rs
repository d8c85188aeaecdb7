//! What belongs to one request from its head to its last byte.
//!
//! **Invariant.** Only `admit` makes an [`Admitted`], after the signature was checked; without one
//! no operation runs.
//!
//! **Deliberately absent.** Names: a request's bucket and key are in its input, not here, because
//! this is what gets logged (I3).
//!
//! **Crash.** Values only.

use crate::checksum::Declared;
use crate::credentials::SecretKey;
use crate::s3::conditions::Conditions;
use crate::s3::range::ByteRange;
use crate::s3::token::TokenKey;
use crate::turns::{Client, Turn};
use havre_model::TenantId;
use http::HeaderMap;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use tracing::Dispatch;

/// A request's ids, and what becomes known of it on its way.
pub(crate) struct RequestContext {
    /// `x-amz-request-id`.
    pub(crate) id: String,
    /// `x-amz-id-2`.
    pub(crate) host_id: String,
    /// Where operations log. `s3s` itself logs names and is given no log at all.
    pub(crate) log: Dispatch,
    /// Whether the connection is encrypted.
    pub(crate) secure: bool,
    /// Who sends it and takes its answer.
    pub(crate) client: Arc<Client>,
    /// Leave to be worked on; the body of the answer takes it along.
    pub(crate) turn: Mutex<Option<Turn>>,
    operation: OnceLock<&'static str>,
}

impl RequestContext {
    pub(crate) fn new(
        id: String,
        host_id: String,
        log: Dispatch,
        secure: bool,
        client: Arc<Client>,
    ) -> Self {
        let (turn, operation) = (Mutex::new(None), OnceLock::new());
        Self { id, host_id, log, secure, client, turn, operation }
    }

    /// Notes the operation, once it is known.
    pub(crate) fn set_operation(&self, name: &str) {
        let known = OPERATIONS.iter().find(|known| **known == name).copied();
        let _ = self.operation.set(known.unwrap_or("Other"));
    }

    /// The operation's name for logs and metrics.
    pub(crate) fn operation(&self) -> &'static str {
        self.operation.get().copied().unwrap_or("Unknown")
    }
}

/// The operations that are built; the label of metrics has no other value but `Other` and
/// `Unknown`.
const OPERATIONS: [&str; 26] = [
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteObject",
    "DeleteObjects",
    "GetBucketAcl",
    "GetBucketLocation",
    "GetBucketVersioning",
    "GetObject",
    "GetObjectAcl",
    "GetObjectAttributes",
    "GetObjectTagging",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjectVersions",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
];

/// Who is calling.
#[derive(Clone)]
pub(crate) struct Principal {
    /// The tenant.
    pub(crate) tenant: TenantId,
    pub(crate) secret: SecretKey,
}

impl Principal {
    /// The key of this caller's continuation tokens.
    pub(crate) fn tokens(&self) -> TokenKey {
        TokenKey::of(self.secret.expose())
    }
}

/// An authenticated request, and what was read out of its headers before `s3s` parses the rest.
#[derive(Clone)]
pub(crate) struct Admitted {
    pub(crate) principal: Principal,
    pub(crate) conditions: Conditions,
    pub(crate) source_conditions: Conditions,
    pub(crate) range: Option<ByteRange>,
    /// The `response-*` parameters as headers.
    pub(crate) overrides: HeaderMap,
    pub(crate) declared: Declared,
}

/// An admitted request in the extensions of what `s3s` hands on.
#[derive(Clone)]
pub(crate) struct Admission(pub(crate) Arc<Admitted>);
