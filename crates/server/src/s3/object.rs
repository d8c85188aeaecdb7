//! Objects: written, read and looked at.
//!
//! **Invariant.** A read answers with exactly the bytes that its headers announce, or the
//! connection fails (I4); a write is answered after the engine committed it.
//!
//! **Deliberately absent.** Copies of bytes: what the engine gives goes out as it is.
//!
//! **Crash.** A write that was not answered may have happened; clients repeat it.

use crate::body::Upload;
use crate::error::{of_put, unavailable};
use crate::s3::call::{checksum_type, encryption, etag, key, size, time};
use crate::s3::conditions::range_stands;
use crate::s3::metadata::{self, CONTENT_TYPE_DEFAULT};
use crate::s3::range::{content_range, not_satisfiable, part};
use crate::s3::{Call, set_checksum};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use havre_engine::{Engine, Object, ObjectInfo, PutError, PutRequest, ReadError};
use havre_model::record::Checksum;
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::dto::{
    ChecksumMode, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    PutObjectInput, PutObjectOutput, StorageClass, StreamingBlob,
};
use s3s::{Body, S3Error, S3Response, S3Result, s3_error};
use std::ops::Range;

/// Bodies of up to this get an MD5, and so the ETag that S3 gives them, also where the client sent
/// none. It takes 1.6 us a KiB, twenty times what everything else does to a byte: little beside the
/// rest of a small write, and most of a large one.
const MD5_BYTES_MAX: u64 = 64 * 1024;

/// What of an object is read.
struct Selection {
    range: Range<u64>,
    /// 206 instead of 200.
    partial: bool,
    /// The object's parts, for a read by part number.
    parts: Option<i32>,
    /// Of exactly these bytes.
    checksum: Option<Checksum>,
}

fn select<T>(call: &Call<'_, T>, info: &ObjectInfo, number: Option<i32>) -> S3Result<Selection> {
    let wanted = call.admitted.range.filter(|_| range_stands(&call.headers, info));
    if let Some(number) = number {
        if wanted.is_some() {
            return Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter"
            ));
        }
        let range = part(info, number)?;
        let parts = i32::try_from(info.parts.len()).ok().filter(|parts| *parts > 0);
        let checksum = part_checksum(info, number);
        return Ok(Selection { partial: !range.is_empty(), range, parts, checksum });
    }
    let (range, partial) = match wanted {
        None => (0..info.bytes, false),
        Some(wanted) => {
            (wanted.within(info.bytes).ok_or_else(|| not_satisfiable(info.bytes))?, true)
        }
    };
    // A checksum of the whole says nothing of a piece, and SDKs would compare it with one.
    let checksum = info.checksum.clone().filter(|_| range == (0..info.bytes));
    Ok(Selection { range, partial, parts: None, checksum })
}

/// The checksum of one part, where the object's is made of such.
fn part_checksum(info: &ObjectInfo, number: i32) -> Option<Checksum> {
    let of_object = info.checksum.as_ref()?;
    let Some(part) = info.parts.iter().find(|part| i32::from(part.number) == number) else {
        return Some(of_object.clone());
    };
    part.checksum.clone().filter(|checksum| checksum.algorithm == of_object.algorithm)
}

/// Fills in what GET and HEAD both say of an object.
macro_rules! describe {
    ($output:expr, $info:expr, $selection:expr, $checksums:expr) => {
        let (info, selection): (&ObjectInfo, &Selection) = ($info, $selection);
        let metadata = &info.metadata;
        let content_type = metadata.content_type.as_deref().unwrap_or(CONTENT_TYPE_DEFAULT);
        $output.accept_ranges = Some("bytes".to_owned());
        $output.cache_control = metadata.cache_control.clone();
        $output.content_disposition = metadata.content_disposition.clone();
        $output.content_encoding = metadata.content_encoding.clone();
        $output.content_language = metadata.content_language.clone();
        $output.content_length = Some(size(selection.range.end - selection.range.start));
        $output.content_range =
            selection.partial.then(|| content_range(&selection.range, info.bytes));
        $output.content_type = Some(content_type.to_owned());
        $output.e_tag = Some(etag(&info.etag));
        $output.expires = metadata.expires.clone();
        $output.last_modified = Some(time(info.modified));
        $output.metadata = metadata::user_map(metadata);
        $output.parts_count = selection.parts;
        $output.server_side_encryption = Some(encryption());
        $output.storage_class = metadata.storage_class.clone().map(StorageClass::from);
        $output.tag_count = i32::try_from(metadata.tags.len()).ok().filter(|tags| *tags > 0);
        $output.website_redirect_location = metadata.website_redirect.clone();
        if $checksums && selection.checksum.is_some() {
            $output.checksum_type = info.checksum.as_ref().map(|sum| checksum_type(sum.kind));
            set_checksum!($output, &selection.checksum, info.parts.len());
        }
    };
}

fn with_checksums(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str().eq_ignore_ascii_case(ChecksumMode::ENABLED))
}

pub(crate) async fn head(
    call: Call<'_, HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let bucket = call.bucket(&call.input.bucket).await?;
    let object = call.object(&bucket, &key(call.input.key.clone())?).await?;
    let info = object.info();
    call.admitted.conditions.check_read(info)?;
    let selection = select(&call, info, call.input.part_number)?;
    let mut output = HeadObjectOutput::default();
    describe!(output, info, &selection, with_checksums(call.input.checksum_mode.as_ref()));
    Ok(S3Response::with_headers(output, call.admitted.overrides.clone()))
}

pub(crate) async fn get(call: Call<'_, GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
    let bucket = call.bucket(&call.input.bucket).await?;
    let object = call.object(&bucket, &key(call.input.key.clone())?).await?;
    let info = object.info();
    call.admitted.conditions.check_read(info)?;
    let selection = select(&call, info, call.input.part_number)?;
    let body = open(&call.gateway.engine, &object, selection.range.clone()).await?;
    let mut output = GetObjectOutput { body: Some(body), ..GetObjectOutput::default() };
    describe!(output, info, &selection, with_checksums(call.input.checksum_mode.as_ref()));
    Ok(S3Response::with_headers(output, call.admitted.overrides.clone()))
}

/// The bytes of an object. The first ones are waited for, so that an object that cannot be read is
/// an error and not a broken connection.
async fn open(engine: &Engine, object: &Object, range: Range<u64>) -> S3Result<StreamingBlob> {
    let mut bytes = engine.read(object, range);
    let first = match bytes.next().await {
        Some(Err(error)) => return Err(unreadable(&error)),
        first => first,
    };
    let frames = stream::iter(first).chain(bytes).map_ok(Frame::data);
    Ok(StreamingBlob::from(Body::http_body_unsync(StreamBody::new(frames))))
}

fn unreadable(error: &ReadError) -> S3Error {
    tracing::warn!(error = %error, "read an object");
    match error {
        ReadError::Gone => s3_error!(NoSuchKey),
        ReadError::Rejected => s3_error!(InternalError),
        _ => unavailable(),
    }
}

/// The declared length of a body.
pub(crate) fn length(declared: Option<i64>) -> S3Result<Option<u64>> {
    let invalid = || s3_error!(InvalidArgument, "The Content-Length is not valid.");
    declared.map(|bytes| u64::try_from(bytes).map_err(|_| invalid())).transpose()
}

pub(crate) async fn put(
    mut call: Call<'_, PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let bucket = call.bucket(&call.input.bucket).await?;
    let key = key(std::mem::take(&mut call.input.key))?;
    let bytes = length(call.input.content_length)?;
    let metadata = metadata::of_request(&call.headers, call.input.metadata.take())?;
    let condition = call.admitted.conditions.clone().into_write()?;
    let mut declared = call.admitted.declared.clone();
    if bytes.is_some_and(|bytes| bytes <= MD5_BYTES_MAX) {
        declared.compute_md5();
    }
    let verifier = declared.verifier(None);
    let mut body = Upload::new(call.input.body.take(), verifier, bytes);
    let request = PutRequest { bytes, metadata, condition };
    let info = match call.gateway.engine.put(&bucket, key, request, &mut body).await {
        Ok(info) => info,
        Err(PutError::Body(error)) => return Err(body.error(&error)),
        Err(error) => return Err(of_put(&error)),
    };
    let mut output = PutObjectOutput {
        e_tag: Some(etag(&info.etag)),
        checksum_type: info.checksum.as_ref().map(|checksum| checksum_type(checksum.kind)),
        server_side_encryption: Some(encryption()),
        ..PutObjectOutput::default()
    };
    set_checksum!(output, &info.checksum, 0);
    Ok(S3Response::new(output))
}
