//! What is asked of an object beside its bytes: attributes, tags, access control list.
//!
//! **Invariant.** What is answered is what was stored, and the one grant that there is.
//!
//! **Deliberately absent.** Changing tags and grants afterwards: 501.
//!
//! **Crash.** Nothing is written.

use crate::s3::call::{checksum_type, etag, grants, key, owner, size, time};
use crate::s3::list::limit;
use crate::s3::{Call, set_checksum};
use havre_engine::ObjectInfo;
use s3s::dto::{
    Checksum, GetObjectAclInput, GetObjectAclOutput, GetObjectAttributesInput,
    GetObjectAttributesOutput, GetObjectAttributesParts, GetObjectTaggingInput,
    GetObjectTaggingOutput, ObjectPart, StorageClass, Tag,
};
use s3s::{S3Response, S3Result, s3_error};

pub(crate) async fn acl(
    call: Call<'_, GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    let bucket = call.bucket(&call.input.bucket).await?;
    call.object(&bucket, &key(call.input.key.clone())?).await?;
    let tenant = bucket.tenant();
    Ok(S3Response::new(GetObjectAclOutput {
        grants: Some(grants(tenant)),
        owner: Some(owner(tenant)),
        request_charged: None,
    }))
}

pub(crate) async fn tagging(
    call: Call<'_, GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let bucket = call.bucket(&call.input.bucket).await?;
    let object = call.object(&bucket, &key(call.input.key.clone())?).await?;
    let tags = object.info().metadata.tags.iter();
    let tag_set = tags
        .map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) })
        .collect();
    Ok(S3Response::new(GetObjectTaggingOutput { tag_set, version_id: None }))
}

/// The attributes that a request names, in one header or several entries of it.
fn wanted(input: &GetObjectAttributesInput) -> S3Result<Vec<&str>> {
    let names: Vec<&str> = input
        .object_attributes
        .iter()
        .flat_map(|header| header.as_str().split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    let known = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
    if names.is_empty() || names.iter().any(|name| !known.contains(name)) {
        return Err(s3_error!(InvalidArgument, "Invalid attribute name specified."));
    }
    Ok(names)
}

fn checksum(info: &ObjectInfo) -> Option<Checksum> {
    info.checksum.as_ref().map(|sum| {
        let mut shown =
            Checksum { checksum_type: Some(checksum_type(sum.kind)), ..Checksum::default() };
        set_checksum!(shown, &info.checksum, info.parts.len());
        shown
    })
}

fn parts(info: &ObjectInfo, after: i32, limit: usize) -> Option<GetObjectAttributesParts> {
    if info.parts.is_empty() {
        return None;
    }
    let following = info.parts.iter().filter(|part| i32::from(part.number) > after);
    let more = following.clone().nth(limit).is_some();
    let shown: Vec<ObjectPart> = following
        .take(limit)
        .map(|part| {
            let mut shown = ObjectPart {
                part_number: Some(i32::from(part.number)),
                size: Some(size(part.bytes)),
                ..ObjectPart::default()
            };
            set_checksum!(shown, &part.checksum, 0);
            shown
        })
        .collect();
    Some(GetObjectAttributesParts {
        is_truncated: Some(more),
        max_parts: i32::try_from(limit).ok(),
        next_part_number_marker: shown.last().and_then(|part| part.part_number),
        part_number_marker: Some(after),
        parts: Some(shown),
        total_parts_count: i32::try_from(info.parts.len()).ok(),
    })
}

pub(crate) async fn attributes(
    call: Call<'_, GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket).await?;
    let names = wanted(input)?;
    let limit = limit(input.max_parts, "x-amz-max-parts")?;
    let object = call.object(&bucket, &key(input.key.clone())?).await?;
    let info = object.info();
    call.admitted.conditions.check_read(info)?;
    let mut output = GetObjectAttributesOutput {
        last_modified: Some(time(info.modified)),
        ..GetObjectAttributesOutput::default()
    };
    for name in names {
        match name {
            "ETag" => output.e_tag = Some(etag(&info.etag)),
            "Checksum" => output.checksum = checksum(info),
            "ObjectParts" => {
                let after = input.part_number_marker.unwrap_or_default();
                output.object_parts = parts(info, after, limit);
            }
            "StorageClass" => {
                let class = info.metadata.storage_class.clone().map(StorageClass::from);
                let standard = || StorageClass::from_static(StorageClass::STANDARD);
                output.storage_class = Some(class.unwrap_or_else(standard));
            }
            _ => output.object_size = Some(size(info.bytes)),
        }
    }
    Ok(S3Response::new(output))
}
