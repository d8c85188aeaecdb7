//! What clients do, as records in packs: scripts for the tests that compare a catalog with what the
//! packs mean.

use super::*;
use havre_catalog::AppliedPack;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const KEYS: [&str; 4] = ["a", "a/b", "a/b\u{10ffff}", "z"];

/// One step of a client, before it becomes a record.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Tenant(u8),
    Bucket(u8),
    DeleteBucket(u8),
    /// bucket, key, version id, null version, extents
    Put(u8, usize, u8, bool, u8),
    /// bucket, key, version id unless the null version
    Delete(u8, usize, Option<u8>),
    /// bucket, key, version id, null version
    Hide(u8, usize, u8, bool),
    /// bucket, key
    Begin(u8, usize),
    /// which upload, part number, extents
    Part(u8, u16, u8),
    Complete(u8),
    Abort(u8),
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
    let bucket = 0..3u8;
    let key = 0..KEYS.len();
    prop_oneof![
        1 => (2..4u8).prop_map(Act::Tenant),
        2 => bucket.clone().prop_map(Act::Bucket),
        1 => bucket.clone().prop_map(Act::DeleteBucket),
        12 => (bucket.clone(), key.clone(), 0..6u8, any::<bool>(), 0..3u8)
            .prop_map(|(b, k, v, null, e)| Act::Put(b, k, v, null, e)),
        6 => (bucket.clone(), key.clone(), proptest::option::of(0..9u8))
            .prop_map(|(b, k, v)| Act::Delete(b, k, v)),
        3 => (bucket.clone(), key.clone(), 6..9u8, any::<bool>())
            .prop_map(|(b, k, v, null)| Act::Hide(b, k, v, null)),
        4 => (bucket, key).prop_map(|(b, k)| Act::Begin(b, k)),
        10 => (0..6u8, 1..4u16, 1..3u8).prop_map(|(u, n, e)| Act::Part(u, n, e)),
        4 => (0..6u8).prop_map(Act::Complete),
        2 => (0..6u8).prop_map(Act::Abort),
    ]
}

/// What a script of acts has done so far: only what a client could have caused becomes a record.
#[derive(Default)]
struct Script {
    records: Vec<Record>,
    /// bucket, key and current parts of each upload that has begun.
    uploads: Vec<(u8, usize, BTreeMap<u16, Part>)>,
    closed: BTreeSet<u8>,
    deleted: BTreeSet<u8>,
}

impl Script {
    fn play(acts: &[Act]) -> Vec<Record> {
        let mut script = Self::default();
        for act in acts {
            script.act(act);
        }
        script.records
    }

    fn act(&mut self, act: &Act) {
        let record = match *act {
            Act::Tenant(n) => tenant_record(n, &format!("t{}", self.records.len())),
            Act::Bucket(n) => bucket_record(n, &format!("b{}", self.records.len() % 3)),
            Act::DeleteBucket(n) => {
                self.deleted.insert(n);
                bucket_deleted(n)
            }
            Act::Put(n, at, id, null, extents) => put(n, KEYS[at], id, null, extents),
            Act::Delete(n, at, id) => tombstone(n, KEYS[at], id.map(|id| version(0x20 + id))),
            Act::Hide(n, at, id, null) => {
                marker(n, KEYS[at], if null { id } else { 0x20 + id }, null)
            }
            Act::Begin(n, at) => {
                let id = upload(u8::try_from(self.uploads.len()).unwrap());
                self.uploads.push((n, at, BTreeMap::new()));
                upload_record(n, KEYS[at], id)
            }
            Act::Part(which, number, extents) => {
                let Some((n, _, parts)) = self.uploads.get_mut(usize::from(which)) else { return };
                let fresh = u8::try_from(self.records.len() % 200).unwrap();
                let extents = (0..extents).map(|i| extent([1, which, fresh, i])).collect();
                let part = part(number, extents);
                parts.insert(number, part.clone());
                part_record(*n, upload(which), part)
            }
            Act::Complete(which) => {
                let Some((n, at, parts)) = self.uploads.get(usize::from(which)) else { return };
                if !self.closed.insert(which) {
                    return;
                }
                completed(*n, KEYS[*at], upload(which), parts.values().cloned().collect())
            }
            Act::Abort(which) => {
                let Some((n, ..)) = self.uploads.get(usize::from(which)) else { return };
                if !self.closed.insert(which) {
                    return;
                }
                aborted(*n, upload(which))
            }
        };
        self.records.push(record);
    }
}

/// An object whose extents follow from its bucket, key and version: a record that is written again,
/// with other metadata, names the same.
fn put(n: u8, name: &str, id: u8, null: bool, extents: u8) -> Record {
    let id = id.min(5);
    let at = u8::try_from(KEYS.iter().position(|key| *key == name).unwrap()).unwrap();
    let extents = if id.is_multiple_of(2) { 0 } else { extents.clamp(1, 2) };
    let body = match extents {
        0 => Body::Inline,
        _ => Body::Parts(vec![part(0, (0..extents).map(|i| extent([2 + n, at, id, i])).collect())]),
    };
    let id = version(if null { id } else { 0x20 + id });
    Record::Object(object(n, name, id, null, body))
}

/// Cuts numbered records into packs of two chains.
pub(crate) fn packs(records: Vec<(u64, Record)>, cuts: &[(u8, bool, bool)]) -> Vec<AppliedPack> {
    let mut packs = Vec::new();
    let mut numbers = [0u64; 2];
    let mut records = records.into_iter().peekable();
    let mut cuts = cuts.iter().cycle();
    while records.peek().is_some() {
        let (size, second, below) = *cuts.next().unwrap();
        let taken = records.by_ref().take(usize::from(size)).collect();
        numbers[usize::from(second)] += 1;
        let mut one = pack(u8::from(second), numbers[usize::from(second)], taken);
        one.below_guarantee = below;
        packs.push(one);
    }
    packs
}

pub(crate) fn numbered(acts: &[Act]) -> Vec<(u64, Record)> {
    (1..).zip(Script::play(acts)).collect()
}

pub(crate) fn cuts() -> impl Strategy<Value = Vec<(u8, bool, bool)>> {
    proptest::collection::vec((1..5u8, any::<bool>(), proptest::bool::weighted(0.2)), 1..8)
}
