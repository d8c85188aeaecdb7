//! Buckets: made, found, listed, removed, and what they say of themselves.
//!
//! **Invariant.** A bucket's name is unique in the gateway, as in S3; whoever may not use a bucket
//! learns only that its name is taken.
//!
//! **Deliberately absent.** Settings of buckets.
//!
//! **Crash.** A bucket that was answered is durable; the engine sees to it.

use crate::error::{not_implemented, of_bucket, of_engine};
use crate::s3::Call;
use crate::s3::call::{grants, owner, time};
use crate::s3::token::Position;
use havre_engine::{Bucket, BucketError};
use s3s::dto::{
    Bucket as ListedBucket, BucketLocationConstraint, CreateBucketConfiguration, CreateBucketInput,
    CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput, GetBucketAclInput,
    GetBucketAclOutput, GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
    ListBucketsOutput,
};
use s3s::{S3Response, S3Result, s3_error};
use std::sync::Arc;

/// The region whose buckets S3 gives no location for, and lets their owner make twice.
const CLASSIC_REGION: &str = "us-east-1";
/// Buckets of one page.
const BUCKETS_MAX: usize = 10_000;
/// The scope of the continuation tokens of the list of buckets: no bucket has this id.
const BUCKETS: [u8; 16] = [0; 16];

/// Beginnings and ends of names that S3 keeps for itself.
const PREFIXES_KEPT: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const SUFFIXES_KEPT: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Whether a new bucket may have this well-formed name. Each label begins and ends with a letter or
/// digit, so that it can stand in a host's name.
fn may_be_made(name: &str) -> bool {
    let labels = !name.contains(".-") && !name.contains("-.");
    let kept = PREFIXES_KEPT.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES_KEPT.iter().any(|suffix| name.ends_with(suffix));
    labels && !kept
}

/// The placement policy that a `LocationConstraint` chooses: its name, alone or behind the region
/// and a colon; the default one for the region's own name.
fn policy<'c>(
    configuration: Option<&'c CreateBucketConfiguration>,
    region: &str,
) -> Option<&'c str> {
    let constraint = configuration?.location_constraint.as_ref()?.as_str();
    let policy = match constraint.split_once(':') {
        Some((named, policy)) if named == region => policy,
        _ => constraint,
    };
    (!policy.is_empty() && policy != region).then_some(policy)
}

pub(crate) async fn create(
    call: Call<'_, CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let configuration = call.input.create_bucket_configuration.as_ref();
    if configuration.is_some_and(|configuration| {
        configuration.bucket.is_some()
            || configuration.location.is_some()
            || configuration.tags.as_ref().is_some_and(|tags| !tags.is_empty())
    }) {
        return Err(not_implemented("The bucket's configuration"));
    }
    let region = &call.gateway.region;
    let policy = policy(configuration, region);
    let name = &call.input.bucket;
    if !may_be_made(name) {
        return Err(s3_error!(InvalidBucketName));
    }
    let tenant = call.principal().tenant;
    match call.gateway.engine.create_bucket(tenant, name, policy).await {
        Ok(_) => {}
        Err(error @ BucketError::Exists { owned_by_you: true }) if region == CLASSIC_REGION => {
            let bucket = call.bucket(name).await?;
            if bucket.policy() != policy.unwrap_or_default() {
                return Err(of_bucket(&error));
            }
        }
        Err(error) => return Err(of_bucket(&error)),
    }
    let location = Some(format!("/{name}"));
    Ok(S3Response::new(CreateBucketOutput { location, ..CreateBucketOutput::default() }))
}

pub(crate) async fn head(
    call: Call<'_, HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    call.bucket(&call.input.bucket).await?;
    let bucket_region = Some(call.gateway.region.clone());
    Ok(S3Response::new(HeadBucketOutput { bucket_region, ..HeadBucketOutput::default() }))
}

pub(crate) async fn delete(
    call: Call<'_, DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let bucket = call.bucket(&call.input.bucket).await?;
    call.gateway.engine.delete_bucket(&bucket).await.map_err(|error| of_bucket(&error))?;
    Ok(S3Response::new(DeleteBucketOutput::default()))
}

/// The region, which is what clients sign for next; the placement policy is not one.
pub(crate) async fn location(
    call: Call<'_, GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    call.bucket(&call.input.bucket).await?;
    let region = &call.gateway.region;
    let location_constraint =
        (region != CLASSIC_REGION).then(|| BucketLocationConstraint::from(region.clone()));
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
}

/// Buckets are not versioned, which S3 says by saying nothing.
pub(crate) async fn versioning(
    call: Call<'_, GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    call.bucket(&call.input.bucket).await?;
    Ok(S3Response::new(GetBucketVersioningOutput::default()))
}

pub(crate) async fn acl(
    call: Call<'_, GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    let bucket = call.bucket(&call.input.bucket).await?;
    let tenant = bucket.tenant();
    let (grants, owner) = (Some(grants(tenant)), Some(owner(tenant)));
    Ok(S3Response::new(GetBucketAclOutput { grants, owner }))
}

fn listed(bucket: &Arc<Bucket>, region: &str) -> ListedBucket {
    ListedBucket {
        bucket_region: Some(region.to_owned()),
        creation_date: Some(time(bucket.created())),
        name: Some(bucket.name().to_owned()),
        ..ListedBucket::default()
    }
}

pub(crate) async fn list(
    call: Call<'_, ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let input = &call.input;
    let tokens = call.principal().tokens();
    let limit = match input.max_buckets {
        None => BUCKETS_MAX,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=BUCKETS_MAX).contains(limit))
            .ok_or_else(|| {
                s3_error!(
                    InvalidArgument,
                    "Argument max-buckets must be an integer between 1 and 10000."
                )
            })?,
    };
    let after = match input.continuation_token.as_deref() {
        None => None,
        Some(token) => match tokens.open(&BUCKETS, token)? {
            Position::After(name) | Position::AfterPrefix(name) => Some(name),
        },
    };
    let tenant = call.principal().tenant;
    let elsewhere =
        input.bucket_region.as_ref().is_some_and(|region| *region != call.gateway.region);
    let mut buckets = if elsewhere {
        Vec::new()
    } else {
        let prefix = input.prefix.as_deref();
        let found = call.gateway.engine.buckets(tenant, after.as_deref(), prefix, limit + 1).await;
        found.map_err(|error| of_engine(&error))?
    };
    let more = buckets.len() > limit;
    buckets.truncate(limit);
    let last = buckets.last().filter(|_| more);
    let output = ListBucketsOutput {
        continuation_token: last
            .map(|bucket| tokens.seal(&BUCKETS, &Position::After(bucket.name().to_owned()))),
        buckets: Some(buckets.iter().map(|bucket| listed(bucket, &call.gateway.region)).collect()),
        owner: Some(owner(tenant)),
        prefix: input.prefix.clone(),
    };
    Ok(S3Response::new(output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_constraint_names_a_policy() {
        let named = |constraint: &str| CreateBucketConfiguration {
            location_constraint: Some(BucketLocationConstraint::from(constraint.to_owned())),
            ..CreateBucketConfiguration::default()
        };
        for (constraint, expected) in [
            ("", None),
            ("eu-west-1", None),
            ("eu-west-1:", None),
            ("gold", Some("gold")),
            ("eu-west-1:gold", Some("gold")),
            ("us-west-2", Some("us-west-2")),
            ("us-west-2:gold", Some("us-west-2:gold")),
        ] {
            assert_eq!(policy(Some(&named(constraint)), "eu-west-1"), expected, "{constraint}");
        }
        assert_eq!(policy(None, "eu-west-1"), None);
    }
}
