//! Objects deleted, one or many.
//!
//! **Invariant.** Each key of a batch is answered for by itself; what is answered as deleted is.
//!
//! **Deliberately absent.** Versions, delete markers and MFA.
//!
//! **Crash.** As for any write.

use crate::error::{not_implemented, of_put};
use crate::s3::Call;
use crate::s3::call::key;
use crate::s3::names::Names;
use havre_engine::{Bucket, Condition, ETagMatch};
use havre_model::limits::DELETE_KEYS_MAX;
use havre_model::record::ObjectKey;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    Error, ObjectIdentifier,
};
use s3s::{S3Error, S3Response, S3Result, s3_error};
use std::sync::Arc;

pub(crate) async fn object(
    call: Call<'_, DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let bucket = call.bucket(&call.input.bucket).await?;
    let condition = call.admitted.conditions.clone().into_write()?;
    if condition.if_none_match.is_some() {
        return Err(not_implemented("If-None-Match on a delete"));
    }
    let key = key(call.input.key.clone())?;
    let deleted = call.gateway.engine.delete(&bucket, key, condition).await;
    deleted.map_err(|error| of_put(&error))?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

/// What is asked for one key of a batch.
fn wanted(identifier: &ObjectIdentifier) -> S3Result<(ObjectKey, Condition)> {
    if identifier.last_modified_time.is_some() || identifier.size.is_some() {
        return Err(not_implemented("A condition on time or size"));
    }
    if identifier.version_id.as_deref().is_some_and(|version| version != "null") {
        return Err(s3_error!(NoSuchVersion));
    }
    let if_match = identifier.e_tag.as_ref().map(|etag| match etag.value() {
        "*" => ETagMatch::Any,
        etag => ETagMatch::OneOf(vec![etag.to_owned()]),
    });
    Ok((key(identifier.key.clone())?, Condition { if_match, if_none_match: None }))
}

async fn delete_each(
    call: &Call<'_, DeleteObjectsInput>,
    bucket: &Arc<Bucket>,
) -> Vec<S3Result<()>> {
    let engine = &call.gateway.engine;
    let objects = &call.input.delete.objects;
    let mut results: Vec<S3Result<()>> = Vec::with_capacity(objects.len());
    let mut unconditional = Vec::new();
    for (position, identifier) in objects.iter().enumerate() {
        results.push(match wanted(identifier) {
            Err(error) => Err(error),
            Ok((key, condition)) if condition.is_none() => {
                unconditional.push((position, key));
                Ok(())
            }
            Ok((key, condition)) => {
                engine.delete(bucket, key, condition).await.map_err(|error| of_put(&error))
            }
        });
    }
    let (positions, keys): (Vec<usize>, Vec<ObjectKey>) = unconditional.into_iter().unzip();
    let deleted = engine.delete_many(bucket, keys).await;
    for (position, result) in positions.into_iter().zip(deleted) {
        results[position] = result.map_err(|error| of_put(&error));
    }
    results
}

fn failed(identifier: &ObjectIdentifier, error: &S3Error, names: &mut Names) -> Error {
    Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(names.write(&identifier.key)),
        message: error.message().map(str::to_owned),
        version_id: identifier.version_id.clone(),
    }
}

pub(crate) async fn objects(
    call: Call<'_, DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    call.admitted.conditions.none()?;
    let bucket = call.bucket(&call.input.bucket).await?;
    let objects = &call.input.delete.objects;
    if objects.is_empty() || objects.len() > DELETE_KEYS_MAX {
        return Err(s3_error!(MalformedXML));
    }
    let results = delete_each(&call, &bucket).await;
    let quiet = call.input.delete.quiet.unwrap_or_default();
    let mut names = Names::plain(&call.gateway.ports);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (identifier, result) in objects.iter().zip(results) {
        match result {
            Err(error) => errors.push(failed(identifier, &error, &mut names)),
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(DeletedObject {
                key: Some(names.write(&identifier.key)),
                version_id: identifier.version_id.clone(),
                ..DeletedObject::default()
            }),
        }
    }
    let mut response = S3Response::new(DeleteObjectsOutput {
        deleted: Some(deleted),
        errors: Some(errors),
        request_charged: None,
    });
    names.note(&mut response.extensions);
    Ok(response)
}
