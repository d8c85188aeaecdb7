//! One admitted request in the hands of an operation.
//!
//! **Invariant.** There is no [`Call`] without an [`Admission`]; a bucket of another tenant is
//! never handed out.
//!
//! **Deliberately absent.** What operations do.
//!
//! **Crash.** Values only.

use crate::context::{Admission, Admitted, Principal, RequestContext};
use crate::error::of_engine;
use crate::s3::Gateway;
use havre_engine::{Bucket, Object};
use havre_model::record::{ChecksumKind, ObjectKey};
use havre_model::{TenantId, Timestamp};
use http::{HeaderMap, Uri, header};
use s3s::dto::{ChecksumType, ETag, Grant, Grantee, Owner, Permission, ServerSideEncryption, Type};
use s3s::{S3Request, S3Result, s3_error};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tracing::Dispatch;

/// A request of one operation.
pub(crate) struct Call<'g, T> {
    pub(crate) gateway: &'g Gateway,
    pub(crate) input: T,
    pub(crate) headers: HeaderMap,
    pub(crate) uri: Uri,
    pub(crate) admitted: Arc<Admitted>,
    pub(crate) context: Arc<RequestContext>,
}

impl<'g, T> Call<'g, T> {
    /// The call that a request makes.
    ///
    /// # Errors
    /// `AccessDenied` for a request that was not admitted.
    pub(crate) fn of(gateway: &'g Gateway, mut request: S3Request<T>) -> S3Result<Self> {
        let admitted = request.extensions.remove::<Admission>();
        let context = request.extensions.remove::<Arc<RequestContext>>();
        let (Some(Admission(admitted)), Some(context)) = (admitted, context) else {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        };
        let S3Request { input, headers, uri, .. } = request;
        Ok(Self { gateway, input, headers, uri, admitted, context })
    }

    /// Where the operation logs.
    pub(crate) fn log(&self) -> Dispatch {
        self.context.log.clone()
    }

    /// Who is calling.
    pub(crate) fn principal(&self) -> &Principal {
        &self.admitted.principal
    }

    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The bucket that the request names.
    ///
    /// # Errors
    /// 404 when there is none, 403 when it is another tenant's or not the expected owner's.
    pub(crate) async fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        self.bucket_expecting(name, "x-amz-expected-bucket-owner").await
    }

    /// The bucket of a copy's source.
    ///
    /// # Errors
    /// As for [`Self::bucket`].
    pub(crate) async fn source_bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        self.bucket_expecting(name, "x-amz-source-expected-bucket-owner").await
    }

    async fn bucket_expecting(&self, name: &str, owner_header: &str) -> S3Result<Arc<Bucket>> {
        let found = self.gateway.engine.bucket(name).await.map_err(|error| of_engine(&error))?;
        let bucket = found.ok_or_else(|| s3_error!(NoSuchBucket))?;
        let owner = bucket.tenant();
        let expected = self.header(owner_header).is_none_or(|text| text == owner.to_string());
        if owner != self.principal().tenant || !expected {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        Ok(bucket)
    }

    /// The object of this key.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) async fn object(&self, bucket: &Bucket, key: &ObjectKey) -> S3Result<Object> {
        let found =
            self.gateway.engine.head(bucket, key).await.map_err(|error| of_engine(&error))?;
        found.ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// The URL of what the request names, as the client reached it.
    pub(crate) fn location(&self) -> String {
        let scheme = if self.context.secure { "https" } else { "http" };
        let host = self.header(header::HOST.as_str()).unwrap_or_default();
        format!("{scheme}://{host}{}", self.uri.path())
    }
}

/// The key in a request.
pub(crate) fn key(text: String) -> S3Result<ObjectKey> {
    if text.len() > havre_model::limits::KEY_BYTES_MAX {
        return Err(s3_error!(KeyTooLongError));
    }
    ObjectKey::new(text).ok_or_else(|| s3_error!(InvalidArgument, "The key is not valid."))
}

/// A tenant as the owner of buckets and objects. Clients of before 2026 look for a display name,
/// which S3 no longer gives: the id is good enough for one.
pub(crate) fn owner(tenant: TenantId) -> Owner {
    let name = tenant.to_string();
    Owner { id: Some(name.clone()), display_name: Some(name) }
}

/// The one grant that there is: the owner may do everything.
pub(crate) fn grants(tenant: TenantId) -> Vec<Grant> {
    let grantee = Grantee {
        display_name: Some(tenant.to_string()),
        email_address: None,
        id: Some(tenant.to_string()),
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    let permission = Permission::from_static(Permission::FULL_CONTROL);
    vec![Grant { grantee: Some(grantee), permission: Some(permission) }]
}

/// A time as S3 shows it: to the second, so that every header and document says the same.
pub(crate) fn time(timestamp: Timestamp) -> s3s::dto::Timestamp {
    (UNIX_EPOCH + Duration::from_secs(timestamp.seconds())).into()
}

/// An ETag as `s3s` takes it.
pub(crate) fn etag(text: &str) -> ETag {
    ETag::Strong(text.to_owned())
}

/// The name of a checksum's kind.
pub(crate) fn checksum_type(kind: ChecksumKind) -> ChecksumType {
    ChecksumType::from_static(match kind {
        ChecksumKind::FullObject => ChecksumType::FULL_OBJECT,
        ChecksumKind::Composite => ChecksumType::COMPOSITE,
    })
}

/// What is truly said of everything that is stored.
pub(crate) fn encryption() -> ServerSideEncryption {
    ServerSideEncryption::from_static(ServerSideEncryption::AES256)
}

/// A size as `s3s` takes it.
pub(crate) fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).expect("objects are below 2^63 bytes")
}
