//! Listings of objects: version 1, version 2, and of versions.
//!
//! **Invariant.** A listing that is followed page by page shows every key that was there all the
//! time exactly once, in the order of the keys' UTF-8 bytes.
//!
//! **Deliberately absent.** The scan itself: the catalog seeks, and skips what is rolled up.
//!
//! **Crash.** Nothing is written.

use crate::checksum::label;
use crate::error::of_engine;
use crate::s3::Call;
use crate::s3::call::{checksum_type, etag, owner, size, time};
use crate::s3::names::Names;
use crate::s3::token::Position;
use havre_engine::{Bucket, ListEntry, ListPage, ListQuery, ListedObject};
use havre_model::limits::LIST_KEYS_MAX;
use s3s::dto::{
    ChecksumAlgorithm, CommonPrefix, ListObjectVersionsInput, ListObjectVersionsOutput,
    ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
    ObjectStorageClass, ObjectVersion, ObjectVersionStorageClass, Owner,
};
use s3s::{S3Response, S3Result, s3_error};

/// The limit of a page: S3 caps it silently, and refuses negative ones.
pub(crate) fn limit(asked: Option<i32>, name: &str) -> S3Result<usize> {
    match asked {
        None => Ok(LIST_KEYS_MAX),
        Some(asked) => usize::try_from(asked)
            .map(|asked| asked.min(LIST_KEYS_MAX))
            .map_err(|_| s3_error!(InvalidArgument, "Argument {name} must not be negative.")),
    }
}

/// A limit as documents show it.
pub(crate) fn shown(limit: usize) -> Option<i32> {
    i32::try_from(limit).ok()
}

/// A parameter that S3 treats as absent when it is empty.
pub(crate) fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// Where a listing with this marker goes on: a marker that is a common prefix of the listing skips
/// what it stands for.
pub(crate) fn marker(marker: &str, prefix: &str, delimiter: Option<&str>) -> Position {
    let rolled_up = delimiter.is_some_and(|delimiter| {
        marker
            .strip_prefix(prefix)
            .and_then(|rest| rest.split_once(delimiter))
            .is_some_and(|(_, rest)| rest.is_empty())
    });
    if rolled_up {
        Position::AfterPrefix(marker.to_owned())
    } else {
        Position::After(marker.to_owned())
    }
}

/// The position behind the last entry of a page.
fn last_position(page: &ListPage) -> Option<Position> {
    page.entries.last().map(|entry| match entry {
        ListEntry::Object(object) => Position::After(object.key.clone()),
        ListEntry::Prefix(prefix) => Position::AfterPrefix(prefix.clone()),
    })
}

async fn page<T>(
    call: &Call<'_, T>,
    bucket: &Bucket,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<Position>,
    limit: usize,
) -> S3Result<ListPage> {
    let (after, after_prefix) = match after {
        None => (None, false),
        Some(Position::After(key)) => (Some(key), false),
        Some(Position::AfterPrefix(prefix)) => (Some(prefix), true),
    };
    let query = ListQuery {
        bucket: bucket.id(),
        prefix: prefix.to_owned(),
        delimiter: delimiter.map(str::to_owned),
        after,
        after_prefix,
        limit,
    };
    call.gateway.engine.list(query).await.map_err(|error| of_engine(&error))
}

const STANDARD: &str = ObjectStorageClass::STANDARD;

fn object(listed: &ListedObject, names: &mut Names, owner: Option<&Owner>) -> Object {
    let algorithm = listed.checksum_algorithm.map(label);
    Object {
        checksum_algorithm: algorithm.map(|label| vec![ChecksumAlgorithm::from_static(label)]),
        checksum_type: listed.checksum_kind.map(checksum_type),
        e_tag: Some(etag(&listed.etag)),
        key: Some(names.write(&listed.key)),
        last_modified: Some(time(listed.modified)),
        owner: owner.cloned(),
        size: Some(size(listed.bytes)),
        storage_class: Some(match &listed.storage_class {
            Some(class) => ObjectStorageClass::from(class.clone()),
            None => ObjectStorageClass::from_static(STANDARD),
        }),
        restore_status: None,
    }
}

fn contents(page: &ListPage, names: &mut Names, owner: Option<&Owner>) -> Vec<Object> {
    page.entries
        .iter()
        .filter_map(|entry| match entry {
            ListEntry::Object(listed) => Some(object(listed, names, owner)),
            ListEntry::Prefix(_) => None,
        })
        .collect()
}

fn prefixes(page: &ListPage, names: &mut Names) -> Vec<CommonPrefix> {
    page.entries
        .iter()
        .filter_map(|entry| match entry {
            ListEntry::Prefix(prefix) => Some(CommonPrefix { prefix: Some(names.write(prefix)) }),
            ListEntry::Object(_) => None,
        })
        .collect()
}

pub(crate) async fn v1(
    call: Call<'_, ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket).await?;
    let mut names = Names::asked(&call.gateway.ports, input.encoding_type.as_ref())?;
    let limit = limit(input.max_keys, "max-keys")?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let delimiter = given(input.delimiter.as_deref());
    let after = given(input.marker.as_deref()).map(|text| marker(text, prefix, delimiter));
    let page = page(&call, &bucket, prefix, delimiter, after, limit).await?;
    let owner = owner(bucket.tenant());
    // S3 names the next marker only where the last key does not do for it.
    let next = last_position(&page).filter(|_| page.more && delimiter.is_some());
    let output = ListObjectsOutput {
        name: Some(input.bucket.clone()),
        prefix: Some(names.write(prefix)),
        marker: Some(names.write(input.marker.as_deref().unwrap_or_default())),
        max_keys: shown(limit),
        is_truncated: Some(page.more),
        contents: Some(contents(&page, &mut names, Some(&owner))),
        common_prefixes: Some(prefixes(&page, &mut names)),
        delimiter: delimiter.map(|text| names.write(text)),
        next_marker: next.map(|next| match next {
            Position::After(text) | Position::AfterPrefix(text) => names.write(&text),
        }),
        encoding_type: names.encoding(),
        request_charged: None,
    };
    let mut response = S3Response::new(output);
    names.note(&mut response.extensions);
    Ok(response)
}

pub(crate) async fn v2(
    call: Call<'_, ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket).await?;
    let tokens = call.principal().tokens();
    let scope = bucket.id();
    let mut names = Names::asked(&call.gateway.ports, input.encoding_type.as_ref())?;
    let limit = limit(input.max_keys, "max-keys")?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let delimiter = given(input.delimiter.as_deref());
    let after = match (input.continuation_token.as_deref(), given(input.start_after.as_deref())) {
        (Some(token), _) => Some(tokens.open(scope.as_bytes(), token)?),
        (None, Some(key)) => Some(Position::After(key.to_owned())),
        (None, None) => None,
    };
    let page = page(&call, &bucket, prefix, delimiter, after, limit).await?;
    let owner = input.fetch_owner.unwrap_or_default().then(|| owner(bucket.tenant()));
    let next = last_position(&page).filter(|_| page.more);
    let output = ListObjectsV2Output {
        name: Some(input.bucket.clone()),
        prefix: Some(names.write(prefix)),
        max_keys: shown(limit),
        key_count: shown(page.entries.len()),
        continuation_token: input.continuation_token.clone(),
        is_truncated: Some(page.more),
        next_continuation_token: next.map(|next| tokens.seal(scope.as_bytes(), &next)),
        contents: Some(contents(&page, &mut names, owner.as_ref())),
        common_prefixes: Some(prefixes(&page, &mut names)),
        delimiter: delimiter.map(|text| names.write(text)),
        encoding_type: names.encoding(),
        start_after: input.start_after.as_deref().map(|text| names.write(text)),
        request_charged: None,
    };
    let mut response = S3Response::new(output);
    names.note(&mut response.extensions);
    Ok(response)
}

fn version(listed: &ListedObject, names: &mut Names, owner: &Owner) -> ObjectVersion {
    let shown = object(listed, names, Some(owner));
    ObjectVersion {
        checksum_algorithm: shown.checksum_algorithm,
        checksum_type: shown.checksum_type,
        e_tag: shown.e_tag,
        is_latest: Some(true),
        key: shown.key,
        last_modified: shown.last_modified,
        owner: shown.owner,
        restore_status: None,
        size: shown.size,
        storage_class: shown
            .storage_class
            .map(|class| ObjectVersionStorageClass::from(class.as_str().to_owned())),
        version_id: Some("null".to_owned()),
    }
}

/// In a bucket that is not versioned each object is its one, null version.
pub(crate) async fn versions(
    call: Call<'_, ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket).await?;
    let mut names = Names::asked(&call.gateway.ports, input.encoding_type.as_ref())?;
    let limit = limit(input.max_keys, "max-keys")?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let delimiter = given(input.delimiter.as_deref());
    let key_marker = given(input.key_marker.as_deref());
    if given(input.version_id_marker.as_deref()).is_some() && key_marker.is_none() {
        return Err(s3_error!(
            InvalidArgument,
            "A version-id marker cannot be specified without a key marker."
        ));
    }
    let after = key_marker.map(|text| marker(text, prefix, delimiter));
    let page = page(&call, &bucket, prefix, delimiter, after, limit).await?;
    let owner = owner(bucket.tenant());
    let versions = page.entries.iter().filter_map(|entry| match entry {
        ListEntry::Object(listed) => Some(version(listed, &mut names, &owner)),
        ListEntry::Prefix(_) => None,
    });
    let versions: Vec<ObjectVersion> = versions.collect();
    let next = last_position(&page).filter(|_| page.more);
    let next_version_id_marker = match &next {
        Some(Position::After(_)) => Some("null".to_owned()),
        _ => None,
    };
    let output = ListObjectVersionsOutput {
        common_prefixes: Some(prefixes(&page, &mut names)),
        delete_markers: None,
        delimiter: delimiter.map(|text| names.write(text)),
        encoding_type: names.encoding(),
        is_truncated: Some(page.more),
        key_marker: Some(names.write(key_marker.unwrap_or_default())),
        max_keys: shown(limit),
        name: Some(input.bucket.clone()),
        next_key_marker: next.map(|next| match next {
            Position::After(text) | Position::AfterPrefix(text) => names.write(&text),
        }),
        next_version_id_marker,
        prefix: Some(names.write(prefix)),
        request_charged: None,
        version_id_marker: Some(input.version_id_marker.clone().unwrap_or_default()),
        versions: Some(versions),
    };
    let mut response = S3Response::new(output);
    names.note(&mut response.extensions);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_that_is_a_common_prefix_skips_it() {
        let skipped = |text: &str, prefix: &str, delimiter: Option<&str>| {
            marker(text, prefix, delimiter) == Position::AfterPrefix(text.to_owned())
        };
        assert!(skipped("a/", "", Some("/")));
        assert!(skipped("a/b/", "a/", Some("/")));
        assert!(skipped("a--", "", Some("--")));
        assert!(!skipped("a/b/", "", Some("/")));
        assert!(!skipped("a/b", "", Some("/")));
        assert!(!skipped("a/", "", None));
        assert!(!skipped("a/", "b", Some("/")));
    }

    #[test]
    fn limits_are_capped_and_negative_ones_refused() {
        assert_eq!(limit(None, "x").ok(), Some(1000));
        assert_eq!(limit(Some(0), "x").ok(), Some(0));
        assert_eq!(limit(Some(5), "x").ok(), Some(5));
        assert_eq!(limit(Some(i32::MAX), "x").ok(), Some(1000));
        assert!(limit(Some(-1), "x").is_err());
    }
}
