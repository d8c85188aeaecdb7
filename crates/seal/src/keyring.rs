//! The keyring: the unwrapped keys of tenants and buckets, and everything that is done with them.
//!
//! **Invariant.** A key is used only for the tenant and bucket that it was installed for, after its
//! envelope opened for exactly that place; an installed key is never replaced by another.
//!
//! **Deliberately absent.** Data keys: each lives as long as its sealer, opener or call. Storage:
//! the caller puts wrapped keys into records and installs them again at the start.
//!
//! **Crash.** Everything here is memory, cleared when dropped; the records restore it.

use crate::envelope::{BucketPlace, Envelope, RecordPlace, TenantPlace, unwrap, wrap};
use crate::key::{Bucket, Key, Part, Record, Tenant};
use crate::record::{self, Header};
use crate::{OpenError, OpenedRecord, PartContext, PartOpener, PartSealer, RecordScope, RootKey};
use bytes::{Buf, Bytes, BytesMut};
use core::fmt;
use core::ops::Range;
use havre_model::ports::Entropy;
use havre_model::record::{BucketKeyEpoch, WrappedKey};
use havre_model::{BucketId, TenantId};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The epoch of keys that have none: the root key and tenants' keys.
const NO_EPOCH: u32 = 0;

/// The keys of the trust domain. Cheap to clone; all clones are one keyring.
#[derive(Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

struct Inner {
    root: RootKey,
    entropy: Arc<dyn Entropy>,
    tenants: RwLock<HashMap<TenantId, Arc<Key<Tenant>>>>,
    buckets: RwLock<HashMap<BucketId, BucketKeys>>,
}

/// All installed epochs of one bucket's key. The tenant is checked at every use.
#[derive(Clone)]
struct BucketKeys {
    tenant: TenantId,
    epochs: BTreeMap<u32, Arc<Key<Bucket>>>,
}

impl Keyring {
    /// A keyring under `root`, with no tenant installed.
    #[must_use]
    pub fn new(root: RootKey, entropy: Arc<dyn Entropy>) -> Self {
        let (tenants, buckets) = Default::default();
        Self { inner: Arc::new(Inner { root, entropy, tenants, buckets }) }
    }

    /// A fresh key for `tenant`, wrapped by the root key. It is not installed: do so when the
    /// record that carries it is durable.
    #[must_use]
    pub fn new_tenant_key(&self, tenant: TenantId) -> WrappedKey {
        let key = Key::draw(self.entropy());
        let root = self.inner.root.key();
        wrapped(&wrap(root, NO_EPOCH, &key, &TenantPlace(tenant), self.entropy()))
    }

    /// Unwraps and keeps the key of `tenant`. Repeating it with the same key changes nothing.
    ///
    /// # Errors
    /// [`OpenError::Rejected`] when it is not that tenant's key under this root, or another key is
    /// installed for the tenant already.
    pub fn install_tenant(&self, tenant: TenantId, key: &WrappedKey) -> Result<(), OpenError> {
        let envelope = Envelope::parse(key.as_bytes())?;
        let key = unwrap(self.inner.root.key(), &envelope, &TenantPlace(tenant))?;
        let mut tenants = write(&self.inner.tenants);
        match tenants.get(&tenant) {
            Some(installed) if installed.is_same(&key) => Ok(()),
            Some(_) => Err(OpenError::Rejected),
            None => {
                tenants.insert(tenant, Arc::new(key));
                Ok(())
            }
        }
    }

    /// Drops the key of `tenant`; its buckets' keys stay until they are forgotten too.
    pub fn forget_tenant(&self, tenant: TenantId) {
        write(&self.inner.tenants).remove(&tenant);
    }

    /// A fresh key for epoch `epoch` (from 1) of `bucket`, wrapped by its tenant's key. It is not
    /// installed.
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] when the tenant's key is not installed.
    ///
    /// # Panics
    /// When `epoch` is 0.
    pub fn new_bucket_key(
        &self,
        tenant: TenantId,
        bucket: BucketId,
        epoch: u32,
    ) -> Result<WrappedKey, OpenError> {
        assert!(epoch != NO_EPOCH, "epochs are counted from 1");
        let wrapper = self.tenant(tenant)?;
        let place = BucketPlace { tenant, bucket, epoch };
        let key = Key::draw(self.entropy());
        Ok(wrapped(&wrap(&wrapper, NO_EPOCH, &key, &place, self.entropy())))
    }

    /// Unwraps and keeps the keys of `bucket`, beside epochs that are installed already, so that an
    /// older record never takes an epoch away. All are installed or none.
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] when the tenant's key is not installed; [`OpenError::Rejected`]
    /// when there is no key, one does not belong to the bucket and epoch, or another one is
    /// installed there.
    pub fn install_bucket(
        &self,
        tenant: TenantId,
        bucket: BucketId,
        keys: &[BucketKeyEpoch],
    ) -> Result<(), OpenError> {
        let wrapper = self.tenant(tenant)?;
        let mut fresh = Vec::with_capacity(keys.len());
        for BucketKeyEpoch { epoch, key } in keys {
            let place = BucketPlace { tenant, bucket, epoch: *epoch };
            let envelope = Envelope::parse(key.as_bytes())?;
            fresh.push((*epoch, unwrap(&wrapper, &envelope, &place)?));
        }
        let mut buckets = write(&self.inner.buckets);
        let mut merged = match buckets.get(&bucket) {
            Some(installed) => installed.clone(),
            None => BucketKeys { tenant, epochs: BTreeMap::new() },
        };
        if merged.tenant != tenant || fresh.is_empty() {
            return Err(OpenError::Rejected);
        }
        for (epoch, key) in fresh {
            match merged.epochs.get(&epoch) {
                Some(installed) if installed.is_same(&key) => {}
                Some(_) => return Err(OpenError::Rejected),
                None => {
                    merged.epochs.insert(epoch, Arc::new(key));
                }
            }
        }
        buckets.insert(bucket, merged);
        Ok(())
    }

    /// Drops all keys of `bucket`: what is sealed under them no longer opens.
    pub fn forget_bucket(&self, bucket: BucketId) {
        write(&self.inner.buckets).remove(&bucket);
    }

    /// A sealer with a fresh data key for the part at `context`, and that key wrapped by the newest
    /// epoch of the bucket's key.
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] when the bucket's key is not installed.
    pub fn seal_part(
        &self,
        context: &PartContext<'_>,
    ) -> Result<(PartSealer, WrappedKey), OpenError> {
        let (epoch, wrapper) = self.newest(context.tenant, context.bucket)?;
        let key: Key<Part> = Key::draw(self.entropy());
        let envelope = wrap(&wrapper, epoch, &key, context, self.entropy());
        Ok((PartSealer::new(&key, context), wrapped(&envelope)))
    }

    /// An opener for the part at `context`, whose data key is in `key`.
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] when that epoch of the bucket's key is not installed, and
    /// [`OpenError::Rejected`] when `key` is not that part's.
    pub fn open_part(
        &self,
        context: &PartContext<'_>,
        key: &WrappedKey,
    ) -> Result<PartOpener, OpenError> {
        let envelope = Envelope::parse(key.as_bytes())?;
        let wrapper = self.epoch(context.tenant, context.bucket, envelope.epoch)?;
        let key = unwrap(&wrapper, &envelope, context)?;
        Ok(PartOpener::new(&key, envelope.suite, context))
    }

    /// `plaintext` as a sealed record of `scope`, under a fresh data key.
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] when the scope's key is not installed.
    ///
    /// # Panics
    /// When the plaintext is longer than `RECORD_BYTES_MAX`, which `model::record::encode` refuses.
    pub fn seal_record(&self, scope: RecordScope, plaintext: &[u8]) -> Result<Vec<u8>, OpenError> {
        let key: Key<Record> = Key::draw(self.entropy());
        let envelope = match scope {
            RecordScope::System => {
                let root = self.inner.root.key();
                wrap(root, NO_EPOCH, &key, &RecordPlace::system(), self.entropy())
            }
            RecordScope::Tenant(tenant) => {
                let wrapper = self.tenant(tenant)?;
                wrap(&wrapper, NO_EPOCH, &key, &RecordPlace::tenant(tenant), self.entropy())
            }
            RecordScope::Bucket(tenant, bucket) => {
                let (epoch, wrapper) = self.newest(tenant, bucket)?;
                let place = RecordPlace::bucket(tenant, bucket);
                wrap(&wrapper, epoch, &key, &place, self.entropy())
            }
        };
        Ok(record::seal(scope, &key, &envelope, plaintext))
    }

    /// Opens a sealed record of whatever scope, in place. For replay, which does not know what
    /// comes; a reader that knows uses [`Keyring::open_record_in`].
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] when the scope's key is not installed, else as [`OpenError`] says.
    pub fn open_record(&self, mut sealed: BytesMut) -> Result<OpenedRecord, OpenError> {
        let (scope, place) = self.open_record_in_place(&mut sealed)?;
        sealed.truncate(place.end);
        sealed.advance(place.start);
        Ok(OpenedRecord { scope, bytes: sealed.freeze() })
    }

    /// Opens a sealed record of `scope`: one of any other scope is refused before a key is looked
    /// up.
    ///
    /// # Errors
    /// As [`Keyring::open_record`]; [`OpenError::Rejected`] for another scope.
    pub fn open_record_in(&self, scope: RecordScope, sealed: BytesMut) -> Result<Bytes, OpenError> {
        if Self::record_scope(&sealed)? != scope {
            return Err(OpenError::Rejected);
        }
        self.open_record(sealed).map(|record| record.bytes)
    }

    /// Opens a sealed record inside the caller's buffer; the plaintext is at the range returned.
    ///
    /// # Errors
    /// As [`Keyring::open_record`]; `sealed` is then of no more use.
    pub fn open_record_in_place(
        &self,
        sealed: &mut [u8],
    ) -> Result<(RecordScope, Range<usize>), OpenError> {
        let header = Header::parse(sealed)?;
        let envelope = &header.envelope;
        let key = match header.scope {
            RecordScope::System => unwrap(self.inner.root.key(), envelope, &RecordPlace::system())?,
            RecordScope::Tenant(tenant) => {
                unwrap(&*self.tenant(tenant)?, envelope, &RecordPlace::tenant(tenant))?
            }
            RecordScope::Bucket(tenant, bucket) => {
                let wrapper = self.epoch(tenant, bucket, envelope.epoch)?;
                unwrap(&wrapper, envelope, &RecordPlace::bucket(tenant, bucket))?
            }
        };
        let place = record::open(&header, &key, sealed)?;
        Ok((header.scope, place))
    }

    /// The scope that a sealed record claims. **Not authenticated**: good for choosing the order in
    /// which keys are installed and records opened, and for nothing else.
    ///
    /// # Errors
    /// [`OpenError::Rejected`] or [`OpenError::UnknownVersion`] when the bytes are no sealed
    /// record.
    pub fn record_scope(sealed: &[u8]) -> Result<RecordScope, OpenError> {
        Header::parse(sealed).map(|header| header.scope)
    }

    fn entropy(&self) -> &dyn Entropy {
        &*self.inner.entropy
    }

    fn tenant(&self, tenant: TenantId) -> Result<Arc<Key<Tenant>>, OpenError> {
        let scope = RecordScope::Tenant(tenant);
        read(&self.inner.tenants)
            .get(&tenant)
            .cloned()
            .ok_or(OpenError::UnknownKey { scope, epoch: NO_EPOCH })
    }

    /// The one way to a bucket's keys: another tenant's are not found.
    fn bucket<T>(
        &self,
        tenant: TenantId,
        bucket: BucketId,
        choose: impl FnOnce(&BucketKeys) -> Option<T>,
    ) -> Option<T> {
        read(&self.inner.buckets).get(&bucket).filter(|keys| keys.tenant == tenant).and_then(choose)
    }

    fn newest(
        &self,
        tenant: TenantId,
        bucket: BucketId,
    ) -> Result<(u32, Arc<Key<Bucket>>), OpenError> {
        let scope = RecordScope::Bucket(tenant, bucket);
        self.bucket(tenant, bucket, |keys| {
            keys.epochs.last_key_value().map(|(epoch, key)| (*epoch, Arc::clone(key)))
        })
        .ok_or(OpenError::UnknownKey { scope, epoch: NO_EPOCH })
    }

    fn epoch(
        &self,
        tenant: TenantId,
        bucket: BucketId,
        epoch: u32,
    ) -> Result<Arc<Key<Bucket>>, OpenError> {
        let scope = RecordScope::Bucket(tenant, bucket);
        self.bucket(tenant, bucket, |keys| keys.epochs.get(&epoch).cloned())
            .ok_or(OpenError::UnknownKey { scope, epoch })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(<redacted>)")
    }
}

fn wrapped(envelope: &Envelope) -> WrappedKey {
    WrappedKey::from_bytes(envelope.encode().to_vec())
}

// A panic elsewhere cannot leave a map half changed: each change is one insert or remove.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
