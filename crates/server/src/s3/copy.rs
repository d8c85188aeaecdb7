//! Copies: of a whole object, and of a range into a part.
//!
//! **Invariant.** Source and destination are each checked like any read and write; the source's
//! condition is decided on the very version whose bytes are copied.
//!
//! **Deliberately absent.** Copying without reading: keys are bound to object and version, so bytes
//! are opened and sealed anew.
//!
//! **Crash.** As for any write.

use crate::body::Copy;
use crate::checksum::{self, DEFAULT};
use crate::error::{not_implemented, of_engine, of_put};
use crate::s3::call::{checksum_type, encryption, etag, key, time};
use crate::s3::metadata;
use crate::s3::multipart::{part_number, upload_id};
use crate::s3::range::copy_source;
use crate::s3::{Call, set_checksum};
use havre_engine::{BodyFacts, Bucket, Object, ObjectInfo, PutRequest};
use havre_model::limits::PART_BYTES_MAX;
use havre_model::record::{Checksum, ChecksumAlgorithm, ChecksumKind, Metadata, ObjectKey};
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource,
    UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Error, S3Response, S3Result, s3_error};
use std::ops::Range;
use std::sync::Arc;

/// Finds the source and decides its conditions.
async fn source<T>(call: &Call<'_, T>, named: &CopySource) -> S3Result<(Arc<Bucket>, Object)> {
    let CopySource::Bucket { bucket, key: source_key, version_id } = named else {
        return Err(not_implemented("A copy source that is not a bucket"));
    };
    if version_id.as_deref().is_some_and(|version| version != "null") {
        return Err(s3_error!(InvalidArgument, "Invalid version id specified"));
    }
    let bucket = call.source_bucket(bucket).await?;
    let object = call.object(&bucket, &key(source_key.to_string())?).await?;
    call.admitted.source_conditions.check_copy_source(object.info())?;
    Ok((bucket, object))
}

fn too_large() -> S3Error {
    s3_error!(
        InvalidRequest,
        "The specified copy source is larger than the maximum allowable size for a copy source: \
         5368709120"
    )
}

/// The MD5 that an object's ETag is, where a client once sent it: a copy of the same bytes has the
/// same.
fn md5_of(info: &ObjectInfo) -> Option<[u8; 16]> {
    let bytes = hex::decode(&info.etag).ok()?;
    bytes.try_into().ok().filter(|_| info.parts.is_empty())
}

/// The copied bytes, with a checksum that is known already or computed on the way.
fn body(
    call_engine: &havre_engine::Engine,
    object: &Object,
    range: Range<u64>,
    algorithm: ChecksumAlgorithm,
) -> Copy {
    let info = object.info();
    let bytes = range.end - range.start;
    let whole = bytes == info.bytes;
    let md5 = md5_of(info).filter(|_| whole);
    let known = info.checksum.as_ref().filter(|checksum| {
        whole && checksum.algorithm == algorithm && checksum.kind == ChecksumKind::FullObject
    });
    let stream = call_engine.read(object, range);
    match known {
        Some(checksum) => {
            Copy::known(stream, bytes, BodyFacts { md5, checksum: Some(checksum.clone()) })
        }
        None => Copy::hashing(stream, bytes, algorithm, md5),
    }
}

enum Directive {
    Keep,
    Replace,
}

fn directive(text: Option<&str>, header: &str) -> S3Result<Directive> {
    match text {
        None | Some("COPY") => Ok(Directive::Keep),
        Some("REPLACE") => Ok(Directive::Replace),
        Some(_) => Err(s3_error!(InvalidArgument, "Unknown {header}.")),
    }
}

/// The metadata of the copy; `None` when nothing would change but the time.
fn new_metadata(
    call: &mut Call<'_, CopyObjectInput>,
    source: &Metadata,
) -> S3Result<(Metadata, bool)> {
    let text = call.input.metadata_directive.as_ref().map(|text| text.as_str().to_owned());
    let tagging = call.input.tagging_directive.as_ref().map(|text| text.as_str().to_owned());
    let entries = call.input.metadata.take();
    let (mut metadata, mut changes) = match directive(text.as_deref(), "metadata directive")? {
        Directive::Replace => (metadata::of_request(&call.headers, entries)?, true),
        Directive::Keep => {
            let kept = metadata::of_copy(&call.headers, source)?;
            let changes = kept.storage_class != source.storage_class
                || kept.website_redirect != source.website_redirect
                || call.headers.contains_key("x-amz-server-side-encryption");
            (kept, changes)
        }
    };
    metadata.tags = match directive(tagging.as_deref(), "tagging directive")? {
        Directive::Replace => metadata::tags(&call.headers)?,
        Directive::Keep => source.tags.clone(),
    };
    changes |= tagging.as_deref() == Some("REPLACE");
    Ok((metadata, changes))
}

fn asked_algorithm(call: &Call<'_, CopyObjectInput>) -> S3Result<Option<ChecksumAlgorithm>> {
    let Some(label) = call.header("x-amz-checksum-algorithm") else { return Ok(None) };
    checksum::by_label(label)
        .map(Some)
        .ok_or_else(|| s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported."))
}

fn is_itself(bucket: &Bucket, key: &ObjectKey, source_bucket: &Bucket, source: &Object) -> bool {
    bucket.id() == source_bucket.id() && key == source.key()
}

pub(crate) async fn object(
    mut call: Call<'_, CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let bucket = call.bucket(&call.input.bucket).await?;
    let key = key(std::mem::take(&mut call.input.key))?;
    let named = call.input.copy_source.clone();
    let (source_bucket, source) = source(&call, &named).await?;
    let info = source.info();
    if info.bytes > PART_BYTES_MAX {
        return Err(too_large());
    }
    let (metadata, changes) = new_metadata(&mut call, &info.metadata)?;
    let asked = asked_algorithm(&call)?;
    let own = info.checksum.as_ref().map(|checksum| checksum.algorithm);
    if is_itself(&bucket, &key, &source_bucket, &source)
        && !changes
        && asked.is_none_or(|asked| Some(asked) == own)
    {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without \
             changing the object's metadata, storage class, website redirect location or \
             encryption attributes."
        ));
    }
    let condition = call.admitted.conditions.clone().into_write()?;
    let engine = &call.gateway.engine;
    let mut body = body(engine, &source, 0..info.bytes, asked.or(own).unwrap_or(DEFAULT));
    let request = PutRequest { bytes: Some(info.bytes), metadata, condition };
    let copied = engine.put(&bucket, key, request, &mut body).await;
    let copied = copied.map_err(|error| of_put(&error))?;
    let mut result = CopyObjectResult {
        e_tag: Some(etag(&copied.etag)),
        last_modified: Some(time(copied.modified)),
        checksum_type: copied.checksum.as_ref().map(|checksum| checksum_type(checksum.kind)),
        ..CopyObjectResult::default()
    };
    set_checksum!(result, &copied.checksum, 0);
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        server_side_encryption: Some(encryption()),
        ..CopyObjectOutput::default()
    }))
}

pub(crate) async fn part(
    call: Call<'_, UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    call.admitted.conditions.none()?;
    let number = part_number(call.input.part_number)?;
    let bucket = call.bucket(&call.input.bucket).await?;
    let key = key(call.input.key.clone())?;
    let upload = upload_id(&call.input.upload_id)?;
    let engine = &call.gateway.engine;
    let in_progress =
        engine.upload(&bucket, &key, upload).await.map_err(|error| of_engine(&error))?;
    let in_progress = in_progress.ok_or_else(|| s3_error!(NoSuchUpload))?;
    let (_, source) = source(&call, &call.input.copy_source).await?;
    let range = match call.input.copy_source_range.as_deref() {
        Some(text) => copy_source(text, source.info().bytes)?,
        None => 0..source.info().bytes,
    };
    if range.end - range.start > PART_BYTES_MAX {
        return Err(too_large());
    }
    let algorithm = in_progress.checksum.map_or(DEFAULT, |(algorithm, _)| algorithm);
    let mut body = body(engine, &source, range, algorithm);
    let part = engine.put_part(&bucket, &key, upload, number, &mut body).await;
    let part = part.map_err(|error| of_put(&error))?;
    let mut result = CopyPartResult {
        e_tag: Some(etag(&part.etag)),
        last_modified: Some(time(part.modified)),
        ..CopyPartResult::default()
    };
    let shown: Option<&Checksum> = part.checksum.as_ref();
    set_checksum!(result, shown, 0);
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        server_side_encryption: Some(encryption()),
        ..UploadPartCopyOutput::default()
    }))
}
