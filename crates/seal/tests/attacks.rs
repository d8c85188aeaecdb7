//! The attacks on what sites hold that the first lock withstands, by their numbers in part A of the
//! list of attacks. Each test fails when its defence is taken out. A9 and the layers below are in
//! `src/envelope/tests.rs` and `src/segment/tests.rs`.

use crate::support::*;
use havre_model::limits::SEGMENT_BYTES;
use havre_model::ports::Entropy;
use havre_model::record::{
    Body, BucketKeyEpoch, Metadata, ObjectKey, ObjectRecord, Record, Retention, RetentionMode,
    SequencedRecord, WrappedKey, encode,
};
use havre_model::{Seq, Timestamp, VersionId};
use havre_seal::{Keyring, OpenError, PartContext, RecordScope, WRAPPED_KEY_BYTES};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn contexts() -> Vec<PartContext<'static>> {
    let mut contexts = Vec::new();
    for (tenant, bucket) in BUCKETS {
        for key in ["a", "b"] {
            for version in [1, 2].map(|id| VersionId::from_bytes([id; 16])) {
                for part in [0, 1] {
                    contexts.push(PartContext { tenant, bucket, key, version, part });
                }
            }
        }
    }
    contexts
}

/// The wrapped key inside a sealed record.
fn record_key(sealed: &[u8]) -> WrappedKey {
    WrappedKey::from_bytes(sealed[35..35 + WRAPPED_KEY_BYTES].to_vec())
}

#[test]
fn a1_a_wrapped_key_is_taken_for_no_other_key() {
    let entropy = Seeded::new("a1");
    let (keyring, keys) = world(seeded_root("a1 root"), entropy);
    let mut all: Vec<WrappedKey> = keys.tenants.iter().map(|(_, key)| key.clone()).collect();
    all.extend(keys.buckets.iter().flat_map(|(_, _, epochs)| epochs.iter().map(|e| e.key.clone())));
    let contexts = contexts();
    for context in &contexts {
        all.push(keyring.seal_part(context).expect("installed").1);
    }
    for scope in SCOPES {
        all.push(record_key(&keyring.seal_record(scope, b"x").expect("installed")));
    }
    // Under the same root, with nothing but the tenants installed, so that no key is known already.
    let fresh = || {
        let fresh = Keyring::new(seeded_root("a1 root"), Seeded::new("fresh"));
        for (tenant, key) in &keys.tenants {
            fresh.install_tenant(*tenant, key).expect("it is the tenant's");
        }
        fresh
    };
    for (position, key) in all.iter().enumerate() {
        for (own, (tenant, _)) in keys.tenants.iter().enumerate() {
            let empty = Keyring::new(seeded_root("a1 root"), Seeded::new("fresh"));
            assert_eq!(empty.install_tenant(*tenant, key).is_ok(), position == own);
        }
        let slots = keys.buckets.iter().flat_map(|(tenant, bucket, epochs)| {
            epochs.iter().map(move |epoch| (*tenant, *bucket, epoch.epoch))
        });
        for (slot, (tenant, bucket, epoch)) in slots.enumerate() {
            let installed = fresh().install_bucket(
                tenant,
                bucket,
                &[BucketKeyEpoch { epoch, key: key.clone() }],
            );
            assert_eq!(installed.is_ok(), position == 2 + slot, "key {position}, slot {slot}");
        }
        for (slot, context) in contexts.iter().enumerate() {
            let opened = keyring.open_part(context, key).is_ok();
            assert_eq!(opened, position == 8 + slot, "key {position}, part {slot}");
        }
    }
}

#[test]
fn a1_the_epoch_in_a_wrapped_key_cannot_be_changed() {
    let keyring = seeded_world("a1 epoch");
    let (_, key) = keyring.seal_part(&context("k")).expect("installed");
    assert_eq!(key.as_bytes()[2..6], [0, 0, 0, 2], "the newest epoch seals");
    for epoch in 0..=255 {
        let mut bytes = key.as_bytes().to_vec();
        bytes[5] = epoch;
        let opened = keyring.open_part(&context("k"), &WrappedKey::from_bytes(bytes));
        assert_eq!(opened.is_ok(), epoch == 2, "epoch {epoch}");
    }
}

#[test]
fn a1_an_older_bucket_record_takes_no_epoch_away() {
    let (keyring, keys) = world(seeded_root("a1 old"), Seeded::new("a1 old"));
    let (tenant, bucket, epochs) = &keys.buckets[0];
    keyring.install_bucket(*tenant, *bucket, &epochs[..1]).expect("a key of the bucket");
    let (_, key) = keyring.seal_part(&context("k")).expect("installed");
    assert_eq!(key.as_bytes()[5], 2, "new data is sealed under the newest epoch still");
}

#[test]
fn a1_an_installed_key_is_not_replaced() {
    let keyring = seeded_world("a1 replace");
    let other = keyring.new_tenant_key(ALICE);
    assert_eq!(keyring.install_tenant(ALICE, &other), Err(OpenError::Rejected));
    let key = keyring.new_bucket_key(ALICE, ALICE_1, 2).expect("installed");
    let epochs = [BucketKeyEpoch { epoch: 2, key }];
    assert_eq!(keyring.install_bucket(ALICE, ALICE_1, &epochs), Err(OpenError::Rejected));
    // And no tenant takes another's bucket over, with a key that is otherwise in order.
    let key = keyring.new_bucket_key(BOB, ALICE_1, 3).expect("installed");
    let epochs = [BucketKeyEpoch { epoch: 3, key }];
    assert_eq!(keyring.install_bucket(BOB, ALICE_1, &epochs), Err(OpenError::Rejected));
    assert!(keyring.seal_record(RecordScope::Bucket(BOB, ALICE_1), b"x").is_err());
}

#[test]
fn a1_a_bucket_is_installed_with_all_its_keys_or_not_at_all() {
    let (_, keys) = world(seeded_root("a1 all"), Seeded::new("a1 all"));
    let fresh = Keyring::new(seeded_root("a1 all"), Seeded::new("a1 fresh"));
    fresh.install_tenant(ALICE, &keys.tenants[0].1).expect("the tenant's key");
    assert_eq!(fresh.install_bucket(ALICE, ALICE_1, &[]), Err(OpenError::Rejected));
    let own = keys.buckets[0].2[0].clone();
    let foreign = keys.buckets[1].2[1].clone();
    let mixed = fresh.install_bucket(ALICE, ALICE_1, &[own, foreign]);
    assert_eq!(mixed, Err(OpenError::Rejected));
    assert!(fresh.seal_record(SCOPES[3], b"x").is_err(), "nothing was installed");
}

#[test]
fn a2_no_other_version_or_algorithm_opens() {
    let (keyring, keys) = world(seeded_root("a2"), Seeded::new("a2"));
    let (_, part_key) = keyring.seal_part(&context("k")).expect("installed");
    let record = keyring.seal_record(SCOPES[3], b"x").expect("installed");
    let empty = || Keyring::new(seeded_root("a2"), Seeded::new("a2"));
    for at in [0, 1] {
        for value in 0..=255 {
            let changed = |bytes: &[u8], at: usize| {
                let mut bytes = bytes.to_vec();
                bytes[at] = value;
                bytes
            };
            let check = |what: &str, opened: Result<(), OpenError>| match opened {
                Ok(()) => assert_eq!(value, 1, "{what}"),
                Err(error) => {
                    assert_ne!(value, 1, "{what}");
                    let (version, algorithm) = if at == 0 { (value, 1) } else { (1, value) };
                    assert_eq!(error, OpenError::UnknownVersion { version, algorithm }, "{what}");
                }
            };
            let wrapped = |key: &WrappedKey| WrappedKey::from_bytes(changed(key.as_bytes(), at));
            check("tenant", empty().install_tenant(ALICE, &wrapped(&keys.tenants[0].1)));
            let epoch = BucketKeyEpoch { epoch: 1, key: wrapped(&keys.buckets[0].2[0].key) };
            check("bucket", keyring.install_bucket(ALICE, ALICE_1, &[epoch]));
            check("part", keyring.open_part(&context("k"), &wrapped(&part_key)).map(drop));
            check("record", open_record(&keyring, &changed(&record, at)).map(drop));
            check("record's key", open_record(&keyring, &changed(&record, 35 + at)).map(drop));
        }
    }
}

fn object_record() -> Vec<u8> {
    let object = ObjectRecord {
        tenant: ALICE,
        bucket: ALICE_1,
        key: ObjectKey::new("a/b".to_owned()).expect("a valid key"),
        version: VersionId::from_bytes([3; 16]),
        null_version: true,
        bytes: 5,
        etag: "0123".to_owned(),
        modified: Timestamp::from_millis(5),
        metadata: Metadata {
            content_type: Some("text/plain".to_owned()),
            user: vec![("owner".to_owned(), "alice".to_owned())],
            tags: vec![("class".to_owned(), "secret".to_owned())],
            ..Metadata::default()
        },
        checksum: None,
        retention: Some(Retention {
            mode: RetentionMode::Compliance,
            until: Timestamp::from_millis(1 << 40),
        }),
        legal_hold: true,
        completes: None,
        body: Body::Inline,
    };
    let record = SequencedRecord { seq: Seq::new(9), record: Record::Object(object) };
    encode(&record, b"hello").expect("within limits")
}

#[test]
fn a3_no_bit_of_a_sealed_record_can_be_changed() {
    let keyring = seeded_world("a3");
    let plain = object_record();
    let sealed = keyring.seal_record(SCOPES[3], &plain).expect("installed");
    assert_eq!(open_record(&keyring, &sealed), Ok((SCOPES[3], plain)));
    for bit in 0..sealed.len() * 8 {
        let mut other = sealed.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(open_record(&keyring, &other).is_err(), "bit {bit}");
    }
    for length in 0..sealed.len() {
        assert!(open_record(&keyring, &sealed[..length]).is_err(), "cut to {length}");
    }
    assert!(open_record(&keyring, &[&sealed[..], &[0]].concat()).is_err());
    assert!(open_record(&keyring, &[&sealed[..], &sealed[..]].concat()).is_err());
}

#[test]
fn a3_no_unused_field_of_a_record_header_carries_a_message() {
    let keyring = seeded_world("a3 header");
    let system = keyring.seal_record(RecordScope::System, b"x").expect("installed");
    let mut other = system.clone();
    other[3] = 1; // a tenant in a record of the system
    assert_eq!(open_record(&keyring, &other), Err(OpenError::Rejected));
    assert_eq!(Keyring::record_scope(&other), Err(OpenError::Rejected));
    let mut other = system;
    other[2] = 3; // a kind of scope that does not exist
    assert_eq!(Keyring::record_scope(&other), Err(OpenError::Rejected));
}

/// All sequences of up to five of the four segments of one part and one of another version.
fn sequences(count: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![vec![]];
    let mut longest: Vec<Vec<usize>> = vec![vec![]];
    for _ in 0..count {
        longest = longest
            .iter()
            .flat_map(|head| (0..count).map(move |next| [&head[..], &[next]].concat()))
            .collect();
        all.extend(longest.iter().cloned());
    }
    all
}

#[test]
fn a4_of_all_arrangements_of_a_part_one_opens() {
    let keyring = seeded_world("a4");
    // All four are full, so that no length betrays an arrangement.
    let plain = plain(4 * SEGMENT_BYTES);
    let (mut sealer, key) = keyring.seal_part(&context("k")).expect("installed");
    let mut segments = seal_all(&mut sealer, &plain);
    let other_version = PartContext { version: VersionId::from_bytes([9; 16]), ..context("k") };
    let (mut sealer, _) = keyring.seal_part(&other_version).expect("installed");
    segments.push(seal_all(&mut sealer, &plain).swap_remove(1));

    let opener = keyring.open_part(&context("k"), &key).expect("its own key");
    // opens[s][i][last]: whether segment s opens at index i; an arrangement opens if all of it
    // does.
    let opens = |segment: usize, index: usize, last: bool| {
        opener.open_segment(index as u64, last, &mut segments[segment].clone()).is_ok()
    };
    let table: Vec<Vec<[bool; 2]>> =
        (0..5).map(|s| (0..5).map(|i| [opens(s, i, false), opens(s, i, true)]).collect()).collect();
    let opening: Vec<Vec<usize>> = sequences(5)
        .into_iter()
        .filter(|sequence| {
            let last = |index: usize| usize::from(index + 1 == sequence.len());
            !sequence.is_empty()
                && sequence.iter().enumerate().all(|(index, s)| table[*s][index][last(index)])
        })
        .collect();
    assert_eq!(opening, [vec![0, 1, 2, 3]]);
    assert_eq!(open_all(&opener, &segments[..4]), Ok(plain));
}

#[test]
fn a4_a_short_part_cannot_be_cut_or_extended() {
    let keyring = seeded_world("a4 short");
    let (mut sealer, key) = keyring.seal_part(&context("k")).expect("installed");
    let sealed = seal_all(&mut sealer, b"hello").swap_remove(0);
    let opener = keyring.open_part(&context("k"), &key).expect("its own key");
    for length in 0..sealed.len() {
        let opened = opener.open_segment(0, true, &mut sealed[..length].to_vec());
        assert_eq!(opened, Err(OpenError::Rejected), "cut to {length}");
    }
    let mut longer = [&sealed[..], &[0]].concat();
    assert_eq!(opener.open_segment(0, true, &mut longer), Err(OpenError::Rejected));
    assert_eq!(open_all(&opener, &[sealed]), Ok(b"hello".to_vec()));
}

#[test]
fn a5_parts_do_not_move_between_objects_buckets_and_tenants() {
    let keyring = seeded_world("a5");
    let contexts = contexts();
    for sealed_in in &contexts {
        let (mut sealer, key) = keyring.seal_part(sealed_in).expect("installed");
        let sealed = seal_all(&mut sealer, b"hello");
        for opened_in in &contexts {
            let opened =
                keyring.open_part(opened_in, &key).and_then(|opener| open_all(&opener, &sealed));
            assert_eq!(opened.is_ok(), sealed_in == opened_in, "{sealed_in:?} {opened_in:?}");
        }
    }
}

#[test]
fn a5_records_do_not_move_between_scopes() {
    let keyring = seeded_world("a5 records");
    for sealed_in in SCOPES {
        let sealed = keyring.seal_record(sealed_in, b"x").expect("installed");
        for header_of in SCOPES {
            // The attacker writes another scope into the header, ...
            let header = keyring.seal_record(header_of, b"x").expect("installed");
            let moved = [&header[..35], &sealed[35..]].concat();
            let opened = open_record(&keyring, &moved);
            assert_eq!(opened.is_ok(), sealed_in == header_of, "{sealed_in} as {header_of}");
            // ... or serves an intact record of another scope.
            let opened = keyring.open_record_in(header_of, sealed.as_slice().into());
            assert_eq!(opened.is_ok(), sealed_in == header_of, "{sealed_in} for {header_of}");
        }
    }
}

#[test]
fn a5_header_and_payload_of_two_records_do_not_join() {
    let keyring = seeded_world("a5 join");
    let one = keyring.seal_record(SCOPES[3], b"one").expect("installed");
    let two = keyring.seal_record(SCOPES[3], b"two").expect("installed");
    let at = 35 + WRAPPED_KEY_BYTES;
    let joined = [&one[..at], &two[at..]].concat();
    assert_eq!(open_record(&keyring, &joined), Err(OpenError::Rejected));
}

/// What a fresh key must change: wrapped key, record, segments, in 16-byte pieces.
fn pieces(keyring: &Keyring) -> HashSet<Vec<u8>> {
    let (mut sealer, key) = keyring.seal_part(&context("k")).expect("installed");
    let segment = seal_all(&mut sealer, &[0; 64]).swap_remove(0);
    let record = keyring.seal_record(SCOPES[3], &[0; 64]).expect("installed");
    let fields = [&key.as_bytes()[6..], &segment, &record[41..]];
    fields.iter().flat_map(|field| field.chunks_exact(16).map(<[u8]>::to_vec)).collect()
}

#[test]
fn a10_a_restored_snapshot_repeats_no_key_and_no_nonce() {
    let (first, keys) = world(seeded_root("a10"), Seeded::new("a10"));
    // The same root key and the same installed keys, as after a restore; other randomness.
    let restored = Keyring::new(seeded_root("a10"), Seeded::new("a10, after the restore"));
    keys.install(&restored).expect("the same root key");
    let pieces: Vec<_> = [&first, &first, &restored].map(pieces).into();
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        assert!(pieces[one].is_disjoint(&pieces[other]), "seals {one} and {other}");
    }
}

#[test]
fn a10_equal_segments_of_one_part_differ() {
    let keyring = seeded_world("a10 equal");
    let (mut sealer, _) = keyring.seal_part(&context("k")).expect("installed");
    let sealed = seal_all(&mut sealer, &vec![0; 3 * SEGMENT_BYTES]);
    let pieces: HashSet<&[u8]> = sealed.iter().flat_map(|slot| slot.chunks_exact(16)).collect();
    assert_eq!(pieces.len(), 3 * sealed[0].len() / 16);
}

/// The same in both clones until they part.
struct Forked {
    parted: AtomicBool,
    shared: Arc<Seeded>,
    own: Arc<Seeded>,
}

impl Forked {
    fn new(own: &'static str) -> Arc<Self> {
        let (shared, own) = (Seeded::new("a11"), Seeded::new(own));
        Arc::new(Self { parted: AtomicBool::new(false), shared, own })
    }
}

impl Entropy for Forked {
    fn fill(&self, bytes: &mut [u8]) {
        let parted = self.parted.load(Ordering::SeqCst);
        if parted { self.own.fill(bytes) } else { self.shared.fill(bytes) }
    }
}

#[test]
fn a11_a_cloned_machine_draws_keys_of_its_own() {
    let clones = ["one", "other"].map(|name| {
        let entropy = Forked::new(name);
        let (keyring, keys) = world(seeded_root("a11 root"), entropy.clone());
        // It has sealed before it was cloned: a generator inside would be seeded by now.
        let before = pieces(&keyring);
        entropy.parted.store(true, Ordering::SeqCst);
        (keys.tenants, before, pieces(&keyring), keyring.new_tenant_key(ALICE))
    });
    let [one, other] = clones;
    assert_eq!((&one.0, &one.1), (&other.0, &other.1), "they were clones");
    assert!(one.2.is_disjoint(&other.2), "each seals under keys of its own");
    assert_ne!(one.3, other.3);
}

#[test]
fn a11_every_key_is_drawn_anew() {
    let entropy = Seeded::new("a11 draws");
    let (keyring, _) = world(seeded_root("a11 draws"), entropy.clone());
    for _ in 0..3 {
        let before = entropy.drawn();
        keyring.seal_part(&context("k")).expect("installed");
        assert_eq!(entropy.drawn(), before + 2, "a data key and a salt");
        keyring.seal_record(RecordScope::System, b"x").expect("installed");
        assert_eq!(entropy.drawn(), before + 4, "a data key and a salt");
    }
}

#[test]
fn a21_wrong_key_and_corrupt_bytes_are_one_error() {
    let (keyring, keys) = world(seeded_root("a21"), Seeded::new("a21"));
    let stranger = seeded_world("a21 stranger");
    let record = keyring.seal_record(SCOPES[3], b"x").expect("installed");
    let (mut sealer, key) = keyring.seal_part(&context("k")).expect("installed");
    let mut segment = seal_all(&mut sealer, b"x").swap_remove(0);
    let opener = keyring.open_part(&context("k"), &key).expect("its own key");
    segment[0] ^= 1;
    let changed = |at: usize| {
        let mut record = record.clone();
        record[at] ^= 1;
        record
    };
    let refusals = [
        open_record(&stranger, &record).map(drop), // wrong key
        open_record(&keyring, &changed(35 + 6)).map(drop), // bad commitment
        open_record(&keyring, &changed(35 + 38)).map(drop), // bad salt
        open_record(&keyring, &changed(35 + 70)).map(drop), // bad wrapped key
        open_record(&keyring, &changed(35 + 110)).map(drop), // bad tag of the key
        open_record(&keyring, &changed(record.len() - 17)).map(drop), // bad payload
        open_record(&keyring, &changed(record.len() - 1)).map(drop), // bad tag
        open_record(&keyring, &record[..record.len() - 1]).map(drop), // cut
        open_record(&keyring, b"\x01\x01").map(drop), // no frame at all
        keyring.open_part(&context("other"), &key).map(drop), // another place
        stranger.open_part(&context("k"), &key).map(drop), // another root
        opener.open_segment(0, true, &mut segment).map(drop), // a bad segment
        stranger.install_tenant(ALICE, &keys.tenants[0].1), // another root's tenant
    ];
    for (position, refusal) in refusals.iter().enumerate() {
        assert_eq!(*refusal, Err(OpenError::Rejected), "refusal {position}");
    }
    let text = OpenError::Rejected.to_string();
    assert_eq!(text, "the sealed bytes are not authentic for their key and place");
}

#[test]
fn a21_a_missing_key_is_named_by_its_ids_only() {
    let keyring = Keyring::new(seeded_root("a21 missing"), Seeded::new("a21 missing"));
    let missing = |scope| OpenError::UnknownKey { scope, epoch: 0 };
    let tenant = RecordScope::Tenant(ALICE);
    assert_eq!(keyring.seal_record(tenant, b"x"), Err(missing(tenant)));
    assert_eq!(keyring.new_bucket_key(ALICE, ALICE_1, 1), Err(missing(tenant)));
    let bucket = RecordScope::Bucket(ALICE, ALICE_1);
    assert_eq!(keyring.seal_part(&context("secret name")).map(drop), Err(missing(bucket)));
    let error = missing(bucket).to_string();
    assert_eq!(
        error,
        format!("no key is installed for bucket {ALICE_1} of tenant {ALICE}, epoch 0")
    );
}

#[test]
fn a_forgotten_key_opens_nothing() {
    let keyring = seeded_world("forget");
    let record = keyring.seal_record(SCOPES[3], b"x").expect("installed");
    keyring.forget_bucket(ALICE_1);
    let missing = OpenError::UnknownKey { scope: SCOPES[3], epoch: 2 };
    assert_eq!(open_record(&keyring, &record), Err(missing));
    let record = keyring.seal_record(SCOPES[1], b"x").expect("installed");
    keyring.forget_tenant(ALICE);
    let missing = OpenError::UnknownKey { scope: SCOPES[1], epoch: 0 };
    assert_eq!(open_record(&keyring, &record), Err(missing));
}

#[test]
fn a22_nothing_secret_is_printed() {
    let canary = "c4na4y".repeat(8);
    let entropy = Seeded::new("a22");
    let root = havre_seal::RootKey::generate(&*entropy);
    let mut printed = format!("{root:?}");
    let (keyring, _) = world(root, entropy);
    let place = context(&canary);
    let (sealer, key) = keyring.seal_part(&place).expect("installed");
    let opener = keyring.open_part(&place, &key).expect("its own key");
    let sealed = keyring.seal_record(SCOPES[3], canary.as_bytes()).expect("installed");
    let opened = keyring.open_record(sealed.as_slice().into()).expect("its own key");
    printed += &format!("{keyring:?} {sealer:?} {opener:?} {opened:?} {place:?} {key:?}");
    let error = havre_seal::RootKey::from_env_text(&canary).expect_err("no root key");
    printed += &format!("{error} {error:?}");
    assert!(!printed.contains(&canary));
    // The first two draws are the root key's and a tenant key's: neither as text, hex nor list.
    let replay = Seeded::new("a22");
    for _ in 0..8 {
        let mut secret = [0; 32];
        replay.fill(&mut secret);
        assert!(!printed.contains(&hex::encode(secret)[..16]));
        assert!(!printed.contains(&format!("{:?}", &secret[..4])[1..]));
    }
    for redacted in ["RootKey(<redacted>)", "Keyring(<redacted>)", "PartOpener(<redacted>)"] {
        assert!(printed.contains(redacted), "{redacted}");
    }
}
