//! The S3 operations: what each reads from its request, asks of the engine and answers.
//!
//! **Invariant.** Every operation finds its bucket through [`Call::bucket`], which lets nobody into
//! another tenant's; nothing here writes without the engine.
//!
//! **Deliberately absent.** Parsing and XML (`s3s`), signatures and what is built (`admit`,
//! `features`).
//!
//! **Crash.** Nothing is stored here.

mod attributes;
mod bucket;
mod call;
pub(crate) mod conditions;
mod copy;
mod delete;
mod list;
mod metadata;
mod multipart;
mod names;
mod object;
pub(crate) mod range;
pub(crate) mod token;

pub(crate) use call::Call;
pub(crate) use names::Substitutes;

use havre_engine::Engine;
use havre_model::ports::Ports;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteBucketInput,
    DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, GetBucketAclInput, GetBucketAclOutput, GetBucketLocationInput,
    GetBucketLocationOutput, GetBucketVersioningInput, GetBucketVersioningOutput,
    GetObjectAclInput, GetObjectAclOutput, GetObjectAttributesInput, GetObjectAttributesOutput,
    GetObjectInput, GetObjectOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
    HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput,
    ListBucketsOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, PutObjectInput,
    PutObjectOutput, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result};
use std::sync::Arc;
use tracing::instrument::WithSubscriber as _;

/// The operations.
pub(crate) struct Gateway {
    pub(crate) engine: Arc<Engine>,
    /// The region that buckets are in.
    pub(crate) region: String,
    pub(crate) ports: Ports,
}

impl Gateway {
    pub(crate) const fn new(engine: Arc<Engine>, region: String, ports: Ports) -> Self {
        Self { engine, region, ports }
    }
}

/// Each operation takes a [`Call`] and logs where the process does: `s3s`, which calls these, logs
/// nowhere.
macro_rules! operations {
    ($($name:ident($input:ty) -> $output:ty = $operation:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Gateway {
            $(
                async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    let call = Call::of(self, request)?;
                    let log = call.log();
                    $operation(call).with_subscriber(log).await
                }
            )*
        }
    };
}

operations! {
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput
        = multipart::abort;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput
        = multipart::complete;
    copy_object(CopyObjectInput) -> CopyObjectOutput = copy::object;
    create_bucket(CreateBucketInput) -> CreateBucketOutput = bucket::create;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput
        = multipart::create;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = bucket::delete;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = delete::object;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = delete::objects;
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput = bucket::acl;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = bucket::location;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput
        = bucket::versioning;
    get_object(GetObjectInput) -> GetObjectOutput = object::get;
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput = attributes::acl;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput
        = attributes::attributes;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = attributes::tagging;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = bucket::head;
    head_object(HeadObjectInput) -> HeadObjectOutput = object::head;
    list_buckets(ListBucketsInput) -> ListBucketsOutput = bucket::list;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput
        = multipart::uploads;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = list::versions;
    list_objects(ListObjectsInput) -> ListObjectsOutput = list::v1;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = list::v2;
    list_parts(ListPartsInput) -> ListPartsOutput = multipart::parts;
    put_object(PutObjectInput) -> PutObjectOutput = object::put;
    upload_part(UploadPartInput) -> UploadPartOutput = multipart::part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = copy::part;
}

/// Fills in the one checksum field that a checksum goes to; the output types of `s3s` share the
/// names.
macro_rules! set_checksum {
    ($output:expr, $checksum:expr, $parts:expr) => {
        if let Some(checksum) = $checksum {
            use havre_model::record::ChecksumAlgorithm;
            let text = Some(crate::checksum::text(checksum, $parts));
            match checksum.algorithm {
                ChecksumAlgorithm::Crc32 => $output.checksum_crc32 = text,
                ChecksumAlgorithm::Crc32c => $output.checksum_crc32c = text,
                ChecksumAlgorithm::Crc64nvme => $output.checksum_crc64nvme = text,
                ChecksumAlgorithm::Sha1 => $output.checksum_sha1 = text,
                ChecksumAlgorithm::Sha256 => $output.checksum_sha256 = text,
            }
        }
    };
}
pub(crate) use set_checksum;
