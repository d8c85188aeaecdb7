//! A small world for the tests: seeded randomness, a keyring with two tenants, parts and records.
use aws_lc_rs::digest::{SHA256, digest};
use bytes::BytesMut;
use havre_model::limits::{SEALED_SEGMENT_BYTES, SEGMENT_BYTES, TAG_BYTES};
use havre_model::ports::Entropy;
use havre_model::record::{BucketKeyEpoch, WrappedKey};
use havre_model::{BucketId, TenantId, VersionId};
use havre_seal::{Keyring, OpenError, PartContext, PartOpener, PartSealer, RecordScope, RootKey};
use std::sync::{Arc, Mutex};

/// SHA-256 of a seed and a counter: the same bytes in every run.
pub(crate) struct Seeded {
    seed: &'static str,
    drawn: Mutex<u64>,
}

impl Seeded {
    pub(crate) fn new(seed: &'static str) -> Arc<Self> {
        Arc::new(Self { seed, drawn: Mutex::new(0) })
    }

    /// How often randomness was drawn.
    pub(crate) fn drawn(&self) -> u64 {
        *self.drawn.lock().expect("no test panics while drawing")
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut drawn = self.drawn.lock().expect("no test panics while drawing");
        *drawn += 1;
        for (block, chunk) in bytes.chunks_mut(32).enumerate() {
            let input = format!("{}/{}/{block}", self.seed, *drawn);
            chunk.copy_from_slice(&digest(&SHA256, input.as_bytes()).as_ref()[..chunk.len()]);
        }
    }
}

pub(crate) const ALICE: TenantId = TenantId::from_bytes([0xa1; 16]);
pub(crate) const BOB: TenantId = TenantId::from_bytes([0xb0; 16]);
pub(crate) const ALICE_1: BucketId = BucketId::from_bytes([0x11; 16]);
pub(crate) const ALICE_2: BucketId = BucketId::from_bytes([0x12; 16]);
pub(crate) const BOB_1: BucketId = BucketId::from_bytes([0x21; 16]);
pub(crate) const BUCKETS: [(TenantId, BucketId); 3] =
    [(ALICE, ALICE_1), (ALICE, ALICE_2), (BOB, BOB_1)];

pub(crate) const SCOPES: [RecordScope; 6] = [
    RecordScope::System,
    RecordScope::Tenant(ALICE),
    RecordScope::Tenant(BOB),
    RecordScope::Bucket(ALICE, ALICE_1),
    RecordScope::Bucket(ALICE, ALICE_2),
    RecordScope::Bucket(BOB, BOB_1),
];

/// What the records of a trust domain hold: everything to build its keyring again but the root key.
pub(crate) struct WrappedKeys {
    pub(crate) tenants: Vec<(TenantId, WrappedKey)>,
    pub(crate) buckets: Vec<(TenantId, BucketId, Vec<BucketKeyEpoch>)>,
}

impl WrappedKeys {
    pub(crate) fn install(&self, keyring: &Keyring) -> Result<(), OpenError> {
        for (tenant, key) in &self.tenants {
            keyring.install_tenant(*tenant, key)?;
        }
        for (tenant, bucket, keys) in &self.buckets {
            keyring.install_bucket(*tenant, *bucket, keys)?;
        }
        Ok(())
    }
}

/// A keyring with both tenants and the three buckets, each with epochs 1 and 2.
pub(crate) fn world(root: RootKey, entropy: Arc<dyn Entropy>) -> (Keyring, WrappedKeys) {
    let keyring = Keyring::new(root, entropy);
    let mut keys = WrappedKeys { tenants: Vec::new(), buckets: Vec::new() };
    for tenant in [ALICE, BOB] {
        let key = keyring.new_tenant_key(tenant);
        keyring.install_tenant(tenant, &key).expect("it was just made");
        keys.tenants.push((tenant, key));
    }
    for (tenant, bucket) in BUCKETS {
        let epochs = [1, 2].map(|epoch| {
            let key = keyring.new_bucket_key(tenant, bucket, epoch).expect("it is installed");
            BucketKeyEpoch { epoch, key }
        });
        keyring.install_bucket(tenant, bucket, &epochs).expect("they were just made");
        keys.buckets.push((tenant, bucket, epochs.to_vec()));
    }
    (keyring, keys)
}

pub(crate) fn seeded_root(seed: &'static str) -> RootKey {
    RootKey::generate(&*Seeded::new(seed))
}

pub(crate) fn seeded_world(seed: &'static str) -> Keyring {
    let entropy = Seeded::new(seed);
    world(RootKey::generate(&*entropy), entropy).0
}

pub(crate) fn context(key: &str) -> PartContext<'_> {
    let version = VersionId::from_bytes([0x77; 16]);
    PartContext { tenant: ALICE, bucket: ALICE_1, key, version, part: 0 }
}

/// `length` bytes, of which no two neighbouring segments are equal.
pub(crate) fn plain(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// `plain` cut and sealed as a part.
pub(crate) fn seal_all(sealer: &mut PartSealer, plain: &[u8]) -> Vec<Vec<u8>> {
    let count = usize::try_from(havre_seal::segments(plain.len() as u64)).expect("a small part");
    let mut sealed: Vec<Vec<u8>> = plain
        .chunks(SEGMENT_BYTES)
        .chain(plain.is_empty().then_some(&[][..]))
        .map(|chunk| [chunk, &[0; TAG_BYTES]].concat())
        .collect();
    assert_eq!(sealed.len(), count);
    for (index, slot) in sealed.iter_mut().enumerate() {
        sealer.seal_segment(index + 1 == count, slot);
    }
    assert_eq!(sealer.segments(), count as u64);
    sealed
}

/// Reads as a reader would who believes the site's count of segments.
pub(crate) fn open_all(opener: &PartOpener, sealed: &[Vec<u8>]) -> Result<Vec<u8>, OpenError> {
    let mut plain = Vec::new();
    for (index, slot) in sealed.iter().enumerate() {
        let mut slot = slot.clone();
        assert!(slot.len() <= SEALED_SEGMENT_BYTES);
        let length = opener.open_segment(index as u64, index + 1 == sealed.len(), &mut slot)?;
        plain.extend_from_slice(&slot[..length]);
    }
    Ok(plain)
}

pub(crate) fn open_record(
    keyring: &Keyring,
    sealed: &[u8],
) -> Result<(RecordScope, Vec<u8>), OpenError> {
    keyring.open_record(BytesMut::from(sealed)).map(|record| (record.scope, record.bytes.to_vec()))
}
