//! Multipart uploads.
//!
//! **Invariant.** Every digest that a client gives, of a part or of the whole object, is compared
//! before the part or the object is there.
//!
//! **Deliberately absent.** The order of parts and completions of an upload: the engine reserves
//! uploads.
//!
//! **Crash.** Uploads and parts are durable; a completion that was not answered may be repeated.

use crate::body::Upload;
use crate::checksum;
use crate::error::{of_complete, of_engine, of_put};
use crate::s3::call::{checksum_type, encryption, etag, key, owner, size, time};
use crate::s3::list::{given, limit, marker, shown};
use crate::s3::names::Names;
use crate::s3::object::length;
use crate::s3::token::Position;
use crate::s3::{Call, metadata, set_checksum};
use havre_engine::{
    CompleteError, CompleteRequest, CompletedPart, PartInfo, PutError, UploadEntry, UploadInfo,
    UploadRequest, UploadsQuery,
};
use havre_model::limits::PARTS_MAX;
use havre_model::record::{ChecksumAlgorithm, ChecksumKind};
use havre_model::{TenantId, UploadId};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm as AlgorithmName,
    CommonPrefix, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CompletedPart as NamedPart, CreateMultipartUploadInput, CreateMultipartUploadOutput, Initiator,
    ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput,
    MultipartUpload, Part, StorageClass, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3Response, S3Result, s3_error};

/// The upload that an id names: whatever is no id of ours names none.
pub(crate) fn upload_id(text: &str) -> S3Result<UploadId> {
    text.parse().map_err(|_| s3_error!(NoSuchUpload))
}

/// A part's number.
pub(crate) fn part_number(number: i32) -> S3Result<u16> {
    u16::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(number)).ok_or_else(|| {
        s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive")
    })
}

type ChecksumChoice = Option<(ChecksumAlgorithm, ChecksumKind)>;

/// The checksum that an upload's parts will carry: S3's defaults and its refusals.
fn choice(algorithm: Option<&str>, kind: Option<&str>) -> S3Result<ChecksumChoice> {
    let Some(algorithm) = algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(s3_error!(
                InvalidRequest,
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm \
                 header."
            )),
        };
    };
    let algorithm = checksum::by_label(algorithm)
        .ok_or_else(|| s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported."))?;
    let kind = match (kind, algorithm) {
        (None, ChecksumAlgorithm::Crc64nvme) | (Some("FULL_OBJECT"), _) => ChecksumKind::FullObject,
        (None | Some("COMPOSITE"), _) => ChecksumKind::Composite,
        (Some(_), _) => {
            return Err(s3_error!(
                InvalidRequest,
                "Value for x-amz-checksum-type header is invalid."
            ));
        }
    };
    let digest = matches!(algorithm, ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256);
    let refused = match kind {
        // A digest of the whole cannot be composed of the parts' digests.
        ChecksumKind::FullObject => digest,
        ChecksumKind::Composite => algorithm == ChecksumAlgorithm::Crc64nvme,
    };
    if refused {
        let label = checksum::label(algorithm).to_ascii_lowercase();
        let kind = checksum_type(kind);
        let kind = kind.as_str();
        return Err(s3_error!(
            InvalidRequest,
            "The {kind} checksum type cannot be used with the {label} checksum algorithm."
        ));
    }
    Ok(Some((algorithm, kind)))
}

fn algorithm_name(choice: ChecksumChoice) -> Option<AlgorithmName> {
    choice.map(|(algorithm, _)| AlgorithmName::from_static(checksum::label(algorithm)))
}

pub(crate) async fn create(
    mut call: Call<'_, CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    call.admitted.conditions.none()?;
    let bucket = call.bucket(&call.input.bucket).await?;
    let key = key(call.input.key.clone())?;
    let metadata = metadata::of_request(&call.headers, call.input.metadata.take())?;
    let algorithm = call.header("x-amz-checksum-algorithm");
    let checksum = choice(algorithm, call.header("x-amz-checksum-type"))?;
    let request = UploadRequest { metadata, checksum };
    let upload = call.gateway.engine.create_upload(&bucket, key, request).await;
    let upload = upload.map_err(|error| of_put(&error))?;
    let mut names = Names::plain(&call.gateway.ports);
    let mut response = S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(call.input.bucket),
        key: Some(names.write(&call.input.key)),
        upload_id: Some(upload.to_string()),
        checksum_algorithm: algorithm_name(checksum),
        checksum_type: checksum.map(|(_, kind)| checksum_type(kind)),
        server_side_encryption: Some(encryption()),
        ..CreateMultipartUploadOutput::default()
    });
    names.note(&mut response.extensions);
    Ok(response)
}

/// A part's own checksum must be the upload's, where the upload has one; S3 compares no other.
fn check_algorithm(upload: &UploadInfo, declared: Option<ChecksumAlgorithm>) -> S3Result<()> {
    match (upload.checksum, declared) {
        (Some((wanted, _)), Some(declared)) if wanted != declared => {
            let (wanted, declared) = (checksum::label(wanted), checksum::label(declared));
            Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {wanted}, actual \
                 checksum Type: {declared}"
            ))
        }
        _ => Ok(()),
    }
}

pub(crate) async fn part(
    mut call: Call<'_, UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    call.admitted.conditions.none()?;
    let number = part_number(call.input.part_number)?;
    let bucket = call.bucket(&call.input.bucket).await?;
    let key = key(std::mem::take(&mut call.input.key))?;
    let upload = upload_id(&call.input.upload_id)?;
    let engine = &call.gateway.engine;
    let found = engine.upload(&bucket, &key, upload).await.map_err(|error| of_engine(&error))?;
    let found = found.ok_or_else(|| s3_error!(NoSuchUpload))?;
    let declared = call.admitted.declared.clone();
    check_algorithm(&found, declared.algorithm())?;
    let stored = found.checksum.map_or(checksum::DEFAULT, |(algorithm, _)| algorithm);
    let bytes = length(call.input.content_length)?;
    let mut body = Upload::new(call.input.body.take(), declared.verifier(Some(stored)), bytes);
    let part = match engine.put_part(&bucket, &key, upload, number, &mut body).await {
        Ok(part) => part,
        Err(PutError::Body(error)) => return Err(body.error(&error)),
        Err(error) => return Err(of_put(&error)),
    };
    let mut output = UploadPartOutput {
        e_tag: Some(etag(&part.etag)),
        server_side_encryption: Some(encryption()),
        ..UploadPartOutput::default()
    };
    set_checksum!(output, &part.checksum, 0);
    Ok(S3Response::new(output))
}

/// The checksum fields of a request's document or headers, by algorithm.
macro_rules! checksum_field {
    ($input:expr, $algorithm:expr) => {
        match $algorithm {
            ChecksumAlgorithm::Crc32 => $input.checksum_crc32.as_deref(),
            ChecksumAlgorithm::Crc32c => $input.checksum_crc32c.as_deref(),
            ChecksumAlgorithm::Crc64nvme => $input.checksum_crc64nvme.as_deref(),
            ChecksumAlgorithm::Sha1 => $input.checksum_sha1.as_deref(),
            ChecksumAlgorithm::Sha256 => $input.checksum_sha256.as_deref(),
        }
    };
}

fn named_part(part: &NamedPart, upload: Option<&UploadInfo>) -> S3Result<CompletedPart> {
    let (Some(number), Some(etag)) = (part.part_number, &part.e_tag) else {
        return Err(s3_error!(MalformedXML));
    };
    let number = part_number(number)?;
    let checksum = match upload.and_then(|upload| upload.checksum) {
        None => checksum_field!(part, checksum::DEFAULT)
            .map(|text| checksum::decode(checksum::DEFAULT, text)),
        Some((algorithm, kind)) => {
            let given = checksum_field!(part, algorithm);
            if given.is_none() && kind == ChecksumKind::Composite {
                let label = checksum::label(algorithm).to_ascii_lowercase();
                return Err(s3_error!(
                    InvalidRequest,
                    "The upload was created using a {label} checksum. The complete request must \
                     include the checksum for each part. It was missing for part {number} in the \
                     request."
                ));
            }
            given.map(|text| checksum::decode(algorithm, text))
        }
    };
    Ok(CompletedPart { number, etag: etag.value().to_owned(), checksum: checksum.transpose()? })
}

/// The checksum of the whole object as the request's headers give it.
fn object_checksum(
    call: &Call<'_, CompleteMultipartUploadInput>,
    upload: Option<&UploadInfo>,
) -> S3Result<Option<Vec<u8>>> {
    let Some(upload) = upload else { return Ok(None) };
    let default = (checksum::DEFAULT, ChecksumKind::FullObject);
    let (algorithm, kind) = upload.checksum.unwrap_or(default);
    if let Some(asked) = call.header("x-amz-checksum-type")
        && asked != checksum_type(kind).as_str()
    {
        let kind = checksum_type(kind);
        let kind = kind.as_str();
        return Err(s3_error!(
            InvalidRequest,
            "The upload was created using the {kind} checksum mode. The complete request must \
             use the same checksum mode."
        ));
    }
    let mut found = None;
    for (known, header, _) in checksum::ALGORITHMS {
        let Some(text) = call.header(header) else { continue };
        if known != algorithm {
            return Err(s3_error!(
                InvalidRequest,
                "The value of {header} is not of the upload's checksum."
            ));
        }
        // Clients may show of how many parts a composite one is.
        let text = text.split_once('-').map_or(text, |(value, _)| value);
        found = Some(checksum::decode(algorithm, text)?);
    }
    Ok(found)
}

fn refused(error: &CompleteError, upload: Option<&UploadInfo>, checksum_given: bool) -> S3Error {
    match error {
        CompleteError::Mismatch if !checksum_given => s3_error!(
            InvalidRequest,
            "The provided 'x-amz-mp-object-size' header value does not match what was computed."
        ),
        CompleteError::Mismatch => {
            let chosen = upload.and_then(|upload| upload.checksum);
            let algorithm = chosen.map_or(checksum::DEFAULT, |(algorithm, _)| algorithm);
            checksum::mismatch(algorithm)
        }
        _ => of_complete(error),
    }
}

pub(crate) async fn complete(
    call: Call<'_, CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket).await?;
    let key = key(input.key.clone())?;
    let upload = upload_id(&input.upload_id)?;
    let engine = &call.gateway.engine;
    let found = engine.upload(&bucket, &key, upload).await.map_err(|error| of_engine(&error))?;
    let named = input.multipart_upload.as_ref().and_then(|list| list.parts.as_deref());
    let named = named.filter(|parts| !parts.is_empty() && parts.len() <= usize::from(PARTS_MAX));
    let named = named.ok_or_else(|| s3_error!(MalformedXML))?;
    let parts = named.iter().map(|part| named_part(part, found.as_ref()));
    let bytes = length(input.mpu_object_size)?;
    let request = CompleteRequest {
        parts: parts.collect::<S3Result<_>>()?,
        condition: call.admitted.conditions.clone().into_write()?,
        checksum: object_checksum(&call, found.as_ref())?,
        bytes,
    };
    let checksum_given = request.checksum.is_some();
    let info = engine.complete(&bucket, key, upload, request).await;
    let info = info.map_err(|error| refused(&error, found.as_ref(), checksum_given))?;
    let mut names = Names::plain(&call.gateway.ports);
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(names.write(&input.key)),
        location: Some(call.location()),
        e_tag: Some(etag(&info.etag)),
        checksum_type: info.checksum.as_ref().map(|checksum| checksum_type(checksum.kind)),
        server_side_encryption: Some(encryption()),
        ..CompleteMultipartUploadOutput::default()
    };
    set_checksum!(output, &info.checksum, info.parts.len());
    let mut response = S3Response::new(output);
    names.note(&mut response.extensions);
    Ok(response)
}

pub(crate) async fn abort(
    call: Call<'_, AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    call.admitted.conditions.none()?;
    let bucket = call.bucket(&call.input.bucket).await?;
    let key = key(call.input.key.clone())?;
    let upload = upload_id(&call.input.upload_id)?;
    let aborted = call.gateway.engine.abort(&bucket, &key, upload).await;
    aborted.map_err(|error| of_put(&error))?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

fn initiator(tenant: TenantId) -> Initiator {
    let name = tenant.to_string();
    Initiator { id: Some(name.clone()), display_name: Some(name) }
}

fn storage_class(upload: &UploadInfo) -> StorageClass {
    match &upload.metadata.storage_class {
        Some(class) => StorageClass::from(class.clone()),
        None => StorageClass::from_static(StorageClass::STANDARD),
    }
}

fn listed_part(part: &PartInfo) -> Part {
    let mut listed = Part {
        e_tag: Some(etag(&part.etag)),
        last_modified: Some(time(part.modified)),
        part_number: Some(i32::from(part.number)),
        size: Some(size(part.bytes)),
        ..Part::default()
    };
    set_checksum!(listed, &part.checksum, 0);
    listed
}

pub(crate) async fn parts(call: Call<'_, ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket).await?;
    let key = key(input.key.clone())?;
    let upload = upload_id(&input.upload_id)?;
    let limit = limit(input.max_parts, "max-parts")?;
    let after = input.part_number_marker.unwrap_or_default();
    let after = u16::try_from(after)
        .map_err(|_| s3_error!(InvalidArgument, "The part-number-marker is not valid."))?;
    let engine = &call.gateway.engine;
    let found = engine.upload(&bucket, &key, upload).await.map_err(|error| of_engine(&error))?;
    let found = found.ok_or_else(|| s3_error!(NoSuchUpload))?;
    let mut parts =
        engine.parts(upload, after, limit + 1).await.map_err(|error| of_engine(&error))?;
    let more = parts.len() > limit;
    parts.truncate(limit);
    let mut names = Names::plain(&call.gateway.ports);
    let last = parts.last().map_or(after, |part| part.number);
    let mut response = S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(names.write(&input.key)),
        upload_id: Some(input.upload_id.clone()),
        checksum_algorithm: algorithm_name(found.checksum),
        checksum_type: found.checksum.map(|(_, kind)| checksum_type(kind)),
        initiator: Some(initiator(bucket.tenant())),
        owner: Some(owner(bucket.tenant())),
        storage_class: Some(storage_class(&found)),
        part_number_marker: Some(i32::from(after)),
        next_part_number_marker: Some(i32::from(last)),
        max_parts: shown(limit),
        is_truncated: Some(more),
        parts: Some(parts.iter().map(listed_part).collect()),
        ..ListPartsOutput::default()
    });
    names.note(&mut response.extensions);
    Ok(response)
}

fn listed_upload(upload: &havre_model::record::UploadRecord, names: &mut Names) -> MultipartUpload {
    let class = match &upload.metadata.storage_class {
        Some(class) => StorageClass::from(class.clone()),
        None => StorageClass::from_static(StorageClass::STANDARD),
    };
    MultipartUpload {
        checksum_algorithm: algorithm_name(upload.checksum),
        checksum_type: upload.checksum.map(|(_, kind)| checksum_type(kind)),
        initiated: Some(time(upload.initiated)),
        initiator: Some(initiator(upload.tenant)),
        key: Some(names.write(upload.key.as_str())),
        owner: Some(owner(upload.tenant)),
        storage_class: Some(class),
        upload_id: Some(upload.upload.to_string()),
    }
}

pub(crate) async fn uploads(
    call: Call<'_, ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket).await?;
    let mut names = Names::asked(&call.gateway.ports, input.encoding_type.as_ref())?;
    let limit = limit(input.max_uploads, "max-uploads")?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let delimiter = given(input.delimiter.as_deref());
    let key_marker = given(input.key_marker.as_deref());
    let upload_marker = given(input.upload_id_marker.as_deref()).filter(|_| key_marker.is_some());
    let upload_marker = upload_marker.map(|text| {
        text.parse::<UploadId>().map_err(|_| s3_error!(InvalidArgument, "Invalid uploadId marker"))
    });
    let position = key_marker.map(|text| marker(text, prefix, delimiter));
    let query = UploadsQuery {
        bucket: bucket.id(),
        prefix: prefix.to_owned(),
        delimiter: delimiter.map(str::to_owned),
        key_marker: key_marker.map(str::to_owned),
        upload_marker: upload_marker.transpose()?,
        after_prefix: matches!(position, Some(Position::AfterPrefix(_))),
        limit,
    };
    let page = call.gateway.engine.uploads(query).await.map_err(|error| of_engine(&error))?;
    let (mut uploads, mut prefixes) = (Vec::new(), Vec::new());
    for entry in &page.entries {
        match entry {
            UploadEntry::Upload(row) => uploads.push(listed_upload(&row.record, &mut names)),
            UploadEntry::Prefix(prefix) => {
                prefixes.push(CommonPrefix { prefix: Some(names.write(prefix)) });
            }
        }
    }
    let (next_key_marker, next_upload_id_marker) = match page.entries.last().filter(|_| page.more) {
        Some(UploadEntry::Upload(row)) => {
            let key = names.write(row.record.key.as_str());
            (Some(key), Some(row.record.upload.to_string()))
        }
        Some(UploadEntry::Prefix(prefix)) => (Some(names.write(prefix)), None),
        None => (None, None),
    };
    let mut response = S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket.clone()),
        common_prefixes: Some(prefixes),
        delimiter: delimiter.map(|text| names.write(text)),
        encoding_type: names.encoding(),
        is_truncated: Some(page.more),
        key_marker: Some(names.write(key_marker.unwrap_or_default())),
        max_uploads: shown(limit),
        next_key_marker,
        next_upload_id_marker,
        prefix: Some(names.write(prefix)),
        request_charged: None,
        upload_id_marker: Some(input.upload_id_marker.clone().unwrap_or_default()),
        uploads: Some(uploads),
    });
    names.note(&mut response.extensions);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(algorithm: Option<&str>, kind: Option<&str>, expected: &str) {
        let text = match choice(algorithm, kind) {
            Ok(None) => "none".to_owned(),
            Ok(Some((algorithm, kind))) => {
                format!("{} {}", checksum::label(algorithm), checksum_type(kind).as_str())
            }
            Err(error) => error.code().as_str().to_owned(),
        };
        assert_eq!(text, expected, "{algorithm:?} {kind:?}");
    }

    #[test]
    fn uploads_choose_a_checksum_as_s3_lets_them() {
        check(None, None, "none");
        check(None, Some("COMPOSITE"), "InvalidRequest");
        check(Some("CRC32"), None, "CRC32 COMPOSITE");
        check(Some("crc32c"), Some("FULL_OBJECT"), "CRC32C FULL_OBJECT");
        check(Some("CRC64NVME"), None, "CRC64NVME FULL_OBJECT");
        check(Some("CRC64NVME"), Some("COMPOSITE"), "InvalidRequest");
        check(Some("SHA256"), None, "SHA256 COMPOSITE");
        check(Some("SHA256"), Some("FULL_OBJECT"), "InvalidRequest");
        check(Some("MD5"), None, "InvalidRequest");
        check(Some("CRC32"), Some("HALF"), "InvalidRequest");
    }

    #[test]
    fn numbers_and_ids_are_checked() {
        assert_eq!(part_number(1).ok(), Some(1));
        assert_eq!(part_number(10_000).ok(), Some(10_000));
        for number in [i32::MIN, -1, 0, 10_001, i32::MAX] {
            assert!(part_number(number).is_err(), "{number}");
        }
        assert!(upload_id(&"ab".repeat(16)).is_ok());
        for text in ["", "../x", &"AB".repeat(16), &"a".repeat(1000)] {
            assert!(upload_id(text).is_err(), "{text}");
        }
    }
}
