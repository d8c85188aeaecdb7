//! Buckets: made, found, listed and removed.
//!
//! **Invariant.** A bucket's name is unique in the gateway, and a bucket that is removed is empty:
//! makers and removers of a name, and writers into the bucket, are ordered by reservations.
//!
//! **Deliberately absent.** Bucket settings beyond the placement policy; they come with their APIs.
//!
//! **Crash.** A bucket exists when its record is durable, in the packs of the strictest policy.

use crate::Engine;
use crate::condition::Condition;
use crate::error::{BucketError, EngineError, PutError};
use crate::journal::Entry;
use crate::object::Bucket;
use crate::reservations::Reservation;
use havre_model::limits::BUCKETS_PER_TENANT_MAX;
use havre_model::record::{
    BucketDeleted, BucketKeyEpoch, BucketRecord, ObjectKey, POLICY_CHANGES, Record, TenantRecord,
    Versioning,
};
use havre_model::{BucketId, TenantId};
use havre_seal::RecordScope;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The reservation scope of bucket names: no bucket has this id.
const NAMES: BucketId = BucketId::from_bytes([0; 16]);

fn name_key(name: &str) -> Result<ObjectKey, PutError> {
    ObjectKey::new(name.to_owned()).ok_or_else(|| PutError::Internal("a bucket's name".into()))
}

/// The gate of a bucket: every write into it shares the reservation of this key among the names,
/// its removal holds it alone. Buckets' names have no slash, so no name is taken for a gate.
fn gate_key(bucket: &Bucket) -> ObjectKey {
    ObjectKey::new(format!("/{}", bucket.id())).expect("hex is a valid key")
}

impl Engine {
    /// The bucket of this name, whosever it is.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn bucket(&self, name: &str) -> Result<Option<Arc<Bucket>>, EngineError> {
        if let Some(bucket) = self.shared.buckets.peek(name) {
            return Ok(Some(bucket));
        }
        let Some(row) = self.shared.catalog.bucket_by_name(name).await? else {
            return Ok(None);
        };
        let bucket = Arc::new(Bucket::new(row.record));
        self.shared.buckets.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(Some(bucket))
    }

    /// A tenant's buckets by name.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn buckets(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        prefix: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<Bucket>>, EngineError> {
        let rows = self.shared.catalog.buckets(tenant, after, prefix, limit).await?;
        Ok(rows.into_iter().map(|row| Arc::new(Bucket::new(row.record))).collect())
    }

    /// Makes a bucket under a placement policy, the default one for `None`.
    ///
    /// # Errors
    /// See [`BucketError`].
    pub async fn create_bucket(
        &self,
        tenant: TenantId,
        name: &str,
        policy: Option<&str>,
    ) -> Result<Arc<Bucket>, BucketError> {
        let policy = policy.unwrap_or_default();
        if self.shared.placement_named(policy).is_none() {
            return Err(BucketError::UnknownPolicy);
        }
        let reservation = self.shared.reservations.alone(NAMES, &name_key(name)?).await;
        if let Some(row) = self.shared.catalog.bucket_by_name(name).await? {
            return Err(BucketError::Exists { owned_by_you: row.record.tenant == tenant });
        }
        let all = self.shared.catalog.buckets(tenant, None, None, BUCKETS_PER_TENANT_MAX).await?;
        if all.len() >= BUCKETS_PER_TENANT_MAX {
            return Err(BucketError::TooMany);
        }
        let bucket = BucketId::from_bytes(self.shared.ports.random());
        let keyring = &self.shared.keyring;
        let no_tenant = |_| PutError::Internal("the tenant's key is not installed".into());
        let key = keyring.new_bucket_key(tenant, bucket, 1).map_err(no_tenant)?;
        let keys = vec![BucketKeyEpoch { epoch: 1, key }];
        keyring.install_bucket(tenant, bucket, &keys).map_err(no_tenant)?;
        let record = BucketRecord {
            tenant,
            bucket,
            name: name.to_owned(),
            policy: policy.to_owned(),
            created: self.shared.ports.clock.now(),
            keys,
            versioning: Versioning::Unversioned,
            settings: Vec::new(),
        };
        let scope = RecordScope::Tenant(tenant);
        let entry =
            self.prepare(scope, Record::Bucket(record.clone()), b"", vec![reservation]).await?;
        if let Err(error) = self.commit_setting(entry).await {
            // Its key would stay in memory for nothing, once for each attempt (I8).
            keyring.forget_bucket(bucket);
            return Err(error.into());
        }
        let bucket = Arc::new(Bucket::new(record));
        self.shared.buckets.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }

    /// Removes an empty bucket, its uploads in progress included.
    ///
    /// # Errors
    /// See [`BucketError`].
    pub async fn delete_bucket(&self, bucket: &Arc<Bucket>) -> Result<(), BucketError> {
        let reservation = self.shared.reservations.alone(NAMES, &name_key(bucket.name())?).await;
        let gate = self.shared.reservations.alone(NAMES, &gate_key(bucket)).await;
        match self.shared.catalog.bucket_by_name(bucket.name()).await? {
            Some(row) if row.record.bucket == bucket.id() => {}
            _ => return Err(BucketError::NoSuchBucket),
        }
        if !self.shared.catalog.bucket_is_empty(bucket.id()).await? {
            return Err(BucketError::NotEmpty);
        }
        let deleted = BucketDeleted { tenant: bucket.tenant(), bucket: bucket.id() };
        let scope = RecordScope::Tenant(bucket.tenant());
        let record = Record::BucketDeleted(deleted);
        let entry = self.prepare(scope, record, b"", vec![reservation]).await?;
        self.commit_setting(entry).await?;
        self.shared.forget_bucket(bucket.name(), bucket.id());
        drop(gate);
        Ok(())
    }

    /// Puts a bucket under another placement policy. New objects are under it when this returns;
    /// the keeper disperses the others anew.
    ///
    /// # Errors
    /// See [`BucketError`]. Nothing changes when the bucket is under it already.
    pub async fn change_policy(&self, name: &str, policy: &str) -> Result<(), BucketError> {
        if policy.is_empty() || self.shared.placement_named(policy).is_none() {
            return Err(BucketError::UnknownPolicy);
        }
        let reservation = self.shared.reservations.alone(NAMES, &name_key(name)?).await;
        let row = self.shared.catalog.bucket_by_name(name).await?;
        let mut record = row.ok_or(BucketError::NoSuchBucket)?.record;
        if self.shared.placement_named(&record.policy) == self.shared.placement_named(policy) {
            return Ok(());
        }
        policy.clone_into(&mut record.policy);
        note_change(&mut record.settings);
        let (tenant, id) = (record.tenant, record.bucket);
        let key = gate_key(&Bucket::new(record.clone()));
        let gate = self.shared.reservations.alone(NAMES, &key).await;
        let scope = RecordScope::Tenant(tenant);
        let entry = self.prepare(scope, Record::Bucket(record), b"", vec![reservation]).await?;
        self.commit_setting(entry).await?;
        self.shared.buckets.remove(name);
        drop(gate);
        let now = self.shared.ports.clock.now().millis();
        self.shared.policy_changed_ms.store(now, Ordering::Release);
        tracing::info!(bucket = %id, "the bucket is under another policy");
        Ok(())
    }

    /// When a bucket was put under another policy last, in milliseconds since 1970; when the
    /// gateway started, if none was since: its configuration may have changed then.
    #[must_use]
    pub fn policy_changed_ms(&self) -> u64 {
        self.shared.policy_changed_ms.load(Ordering::Acquire)
    }

    /// Makes a tenant, unless there is one of this name already.
    ///
    /// # Errors
    /// When its record cannot be made durable.
    pub async fn ensure_tenant(&self, name: &str) -> Result<TenantId, PutError> {
        if let Some(row) = self.shared.catalog.tenant_by_name(name).await? {
            return Ok(row.record.tenant);
        }
        let tenant = TenantId::from_bytes(self.shared.ports.random());
        let key = self.shared.keyring.new_tenant_key(tenant);
        let rejected = |_| PutError::Internal("a fresh tenant key was rejected".into());
        self.shared.keyring.install_tenant(tenant, &key).map_err(rejected)?;
        let created = self.shared.ports.clock.now();
        let record = Record::Tenant(TenantRecord { tenant, name: name.to_owned(), key, created });
        let entry = self.prepare(RecordScope::System, record, b"", Vec::new()).await?;
        if let Err(error) = self.commit_setting(entry).await {
            self.shared.keyring.forget_tenant(tenant);
            return Err(error);
        }
        Ok(tenant)
    }

    /// Settings go into the strictest policy's packs.
    pub(crate) async fn commit_setting(&self, entry: Entry) -> Result<(), PutError> {
        let journal = self.journal(self.shared.strictest_placement)?;
        journal.submit(vec![entry]).await?.result().await
    }

    /// Leave to write into a bucket, which then is not removed before the write is in the catalog.
    pub(crate) async fn enter(&self, bucket: &Bucket) -> Result<Reservation, PutError> {
        let gate = self.shared.reservations.shared(NAMES, &gate_key(bucket)).await;
        match self.bucket(bucket.name()).await? {
            Some(found) if found.id() == bucket.id() => Ok(gate),
            _ => Err(PutError::NoSuchBucket),
        }
    }
}

/// Counts the changes of a bucket's policy in its record, so that whoever carries its records knows
/// which change they were carried for.
fn note_change(settings: &mut Vec<(String, Vec<u8>)>) {
    let count = settings.iter_mut().find(|(name, _)| name == POLICY_CHANGES);
    match count {
        Some((_, count)) => {
            let bytes = <[u8; 4]>::try_from(&count[..]).unwrap_or_default();
            *count = u32::from_le_bytes(bytes).saturating_add(1).to_le_bytes().to_vec();
        }
        None => settings.push((POLICY_CHANGES.to_owned(), 1u32.to_le_bytes().to_vec())),
    }
}

impl Condition {
    /// The condition that nothing is there.
    #[must_use]
    pub fn absent() -> Self {
        Self { if_match: None, if_none_match: Some(crate::ETagMatch::Any) }
    }
}
