//! The catalog against the reference model: live in order, live nearly in order, and in a recovery
//! in any order, with packs more than once and interrupted halfway.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use havre_catalog::{AppliedPack, Catalog, Mode, Opened, SqliteCatalog};
use havre_model::Seq;
use havre_model::record::{Body, Part, Record};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use support::*;

const KEYS: [&str; 4] = ["a", "a/b", "a/b\u{10ffff}", "z"];

/// One step of a client, before it becomes a record.
#[derive(Clone, Debug)]
enum Act {
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

fn act() -> impl Strategy<Value = Act> {
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
fn packs(records: Vec<(u64, Record)>, cuts: &[(u8, bool, bool)]) -> Vec<AppliedPack> {
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

fn numbered(acts: &[Act]) -> Vec<(u64, Record)> {
    (1..).zip(Script::play(acts)).collect()
}

/// Whether `later` was caused by a client that had the answer to `earlier`.
fn follows(later: &Record, earlier: &Record) -> bool {
    let upload = match earlier {
        Record::Upload(begun) => begun.upload,
        _ => return false,
    };
    match later {
        Record::Part(part) => part.upload == upload,
        Record::UploadAborted(aborted) => aborted.upload == upload,
        Record::Object(object) => object.completes == Some(upload),
        _ => false,
    }
}

/// Lets records overtake each other, as concurrent requests do.
fn jostle(records: &mut [(u64, Record)], swaps: &[usize]) {
    for at in swaps {
        let at = at % records.len().max(1);
        if at + 1 < records.len() && !follows(&records[at + 1].1, &records[at].1) {
            records.swap(at, at + 1);
        }
    }
}

/// Tells each pack what is settled when it is applied.
fn settle(packs: &mut [AppliedPack]) {
    let mut open = u64::MAX;
    for pack in packs.iter_mut().rev() {
        let least = pack.records.iter().map(|applied| applied.record.seq.value()).min();
        open = open.min(least.unwrap_or(open));
        pack.settled = Seq::new(open);
    }
}

fn cuts() -> impl Strategy<Value = Vec<(u8, bool, bool)>> {
    proptest::collection::vec((1..5u8, any::<bool>(), proptest::bool::weighted(0.2)), 1..8)
}

fn check(catalog: &SqliteCatalog, packs: &[AppliedPack]) {
    let seen = block_on(view(catalog, packs));
    seen.assert_same(&meaning(packs));
    assert_eq!(block_on(catalog.verify()).unwrap(), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn live_the_catalog_says_what_the_packs_mean(
        acts in proptest::collection::vec(act(), 1..80),
        cuts in cuts(),
    ) {
        let packs = packs(numbered(&acts), &cuts);
        let catalog = SqliteCatalog::in_memory().unwrap();
        for (at, pack) in packs.iter().enumerate() {
            block_on(catalog.apply(pack.clone())).unwrap();
            // Applied again, whichever it is, it changes nothing.
            block_on(catalog.apply(packs[at / 2].clone())).unwrap();
        }
        check(&catalog, &packs);
    }

    #[test]
    fn live_records_that_overtake_each_other_change_nothing(
        acts in proptest::collection::vec(act(), 1..80),
        cuts in cuts(),
        swaps in proptest::collection::vec(any::<usize>(), 0..120),
    ) {
        let mut records = numbered(&acts);
        jostle(&mut records, &swaps);
        let mut packs = packs(records, &cuts);
        settle(&mut packs);
        let catalog = SqliteCatalog::in_memory().unwrap();
        for pack in &packs {
            block_on(catalog.apply(pack.clone())).unwrap();
        }
        check(&catalog, &packs);
    }

    #[test]
    fn a_recovery_in_any_order_says_what_the_packs_mean(
        (acts, cuts, order) in (proptest::collection::vec(act(), 1..80), cuts())
            .prop_flat_map(|(acts, cuts)| {
                let packs = packs(numbered(&acts), &cuts).len();
                // Every pack, and some of them again.
                let again = proptest::collection::vec(0..packs.max(1), 0..=packs);
                let order = again.prop_flat_map(move |again| {
                    Just((0..packs).chain(again).collect::<Vec<_>>()).prop_shuffle()
                });
                (Just(acts), Just(cuts), order)
            }),
        noise in any::<bool>(),
    ) {
        let packs = packs(numbered(&acts), &cuts);
        let catalog = SqliteCatalog::in_memory().unwrap();
        block_on(catalog.begin_recovery()).unwrap();
        for at in order {
            let mut pack = packs[at].clone();
            // What a caller believes to be settled is not believed in a recovery.
            pack.settled = Seq::new(if noise { 1 << 40 } else { 0 });
            block_on(catalog.apply(pack)).unwrap();
        }
        prop_assert!(block_on(catalog.garbage(None, 10)).unwrap().is_empty());
        block_on(catalog.finish_recovery()).unwrap();
        check(&catalog, &packs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_recovery_goes_on_after_an_interruption(
        acts in proptest::collection::vec(act(), 10..80),
        cuts in cuts(),
        stop in any::<prop::sample::Index>(),
        threaded in any::<bool>(),
    ) {
        let packs = packs(numbered(&acts), &cuts);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog");
        let mode = if threaded { Mode::Threaded } else { Mode::Inline };
        let Opened::Fresh(catalog) = SqliteCatalog::open(&path, mode).unwrap() else { panic!() };
        block_on(catalog.begin_recovery()).unwrap();
        for pack in packs.iter().rev().take(stop.index(packs.len())) {
            block_on(catalog.apply(pack.clone())).unwrap();
        }
        drop(catalog);
        let Opened::Existing(catalog) = SqliteCatalog::open(&path, mode).unwrap() else { panic!() };
        prop_assert!(block_on(catalog.is_recovering()).unwrap());
        block_on(catalog.begin_recovery()).unwrap();
        for pack in &packs {
            if block_on(catalog.blob(pack.pack.blob())).unwrap().is_none() {
                block_on(catalog.apply(pack.clone())).unwrap();
            }
        }
        block_on(catalog.finish_recovery()).unwrap();
        prop_assert!(!block_on(catalog.is_recovering()).unwrap());
        check(&catalog, &packs);
        let last = packs.iter().flat_map(|pack| &pack.records).map(|r| r.record.seq.value()).max();
        prop_assert!(block_on(catalog.reserve_seqs(1)).unwrap().start > last.unwrap());
    }
}
