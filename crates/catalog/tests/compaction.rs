//! Packs are written anew and retired while clients go on: the catalog says the same as before, and
//! so does a recovery from what is left, in any order, whether retired packs are still there or
//! not.
use crate::support::script::*;
use crate::support::*;
use havre_catalog::{
    AppliedPack, AppliedRecord, BlobRow, BlobState, Catalog, Need, PackLink, PackedRecord,
    SqliteCatalog,
};
use havre_model::record::{
    Extent, PackEnd, Record, RedispersedRecord, RetiredRecord, RetiredRun, SequencedRecord,
};
use havre_model::{BlobName, ChainId, Seq};
use proptest::prelude::*;

/// A gateway that writes packs, compacts them, and remembers all that it ever wrote.
struct Gateway {
    catalog: SqliteCatalog,
    written: Vec<AppliedPack>,
    retired: Vec<AppliedPack>,
    next_seq: u64,
    redispersed: bool,
}

const fn end(link: PackLink) -> PackEnd {
    PackEnd { blob: link.blob, hash: link.hash }
}

impl Gateway {
    fn new(first_seq: u64) -> Self {
        let catalog = SqliteCatalog::in_memory().unwrap();
        Self {
            catalog,
            written: Vec::new(),
            retired: Vec::new(),
            next_seq: first_seq,
            redispersed: false,
        }
    }

    fn seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// Numbers the pack on in its chain and applies it.
    fn write(&mut self, chain_number: u8, records: Vec<(u64, Record)>) {
        let in_chain = self.written.iter().filter(|it| it.chain == chain(chain_number)).count();
        let order = Seq::new(self.seq());
        let mut written = pack(chain_number, in_chain as u64 + 1, records);
        (written.order, written.settled) = (order, order);
        block_on(self.catalog.apply(written.clone())).unwrap();
        self.written.push(written);
    }

    fn is_last(&self, pack: &AppliedPack) -> bool {
        self.written.iter().all(|it| it.chain != pack.chain || it.number <= pack.number)
    }

    /// Writes the pack at `at` anew into a chain, and retires it.
    fn compact(&mut self, at: usize, to: u8) {
        let old = self.written[at].clone();
        if self.is_last(&old) || self.retired.iter().any(|it| it.link == old.link) {
            return;
        }
        let contents = block_on(self.catalog.pack_contents(old.link.blob)).unwrap().unwrap();
        let mut copies = Vec::new();
        for packed in contents {
            let record = record_of(&old, &packed);
            match (packed.need, &record.record) {
                (Need::Nothing, _) => {}
                (Need::Record, _) => copies.push((record.seq.value(), record.record)),
                (Need::End, Record::Object(object)) => {
                    let bucket = object.bucket.as_bytes()[0] - 0xb0;
                    copies.push((self.seq(), aborted(bucket, object.completes.unwrap())));
                }
                (Need::End, other) => panic!("{other:?} ends nothing"),
            }
        }
        self.write(to, copies);
        let contents = block_on(self.catalog.pack_contents(old.link.blob)).unwrap().unwrap();
        assert!(contents.iter().all(|packed| packed.need != Need::Record), "all was carried");
        let run = RetiredRun {
            chain: old.chain,
            first: old.number,
            last: old.number,
            before: end(old.previous),
            end: end(old.link),
        };
        let runs = joined(run, block_on(self.catalog.retired(old.chain)).unwrap());
        let seq = self.seq();
        self.write(0, vec![(seq, Record::Retired(RetiredRecord { runs: vec![runs] }))]);
        assert_eq!(block_on(self.catalog.pack_contents(old.link.blob)), Ok(None));
        self.retired.push(old);
    }

    /// Disperses one of the extents that are needed anew.
    fn redisperse(&mut self, at: prop::sample::Index) {
        let rows = block_on(self.catalog.blobs(None, 1000)).unwrap();
        let is_needed = |row: &&BlobRow| {
            row.state != BlobState::Garbage && matches!(row.name, BlobName::Extent(_))
        };
        let needed: Vec<&BlobRow> = rows.iter().filter(is_needed).collect();
        if needed.is_empty() {
            return;
        }
        let row = needed[at.index(needed.len())];
        let seq = self.seq();
        let id = u32::try_from(seq).unwrap().to_be_bytes();
        let to = Extent { bytes: row.bytes, ..extent([0xdd ^ id[0], id[1], id[2], id[3]]) };
        let named = row.named();
        let record = RedispersedRecord { extent: named, to: to.clone(), policy: "new".to_owned() };
        self.write(0, vec![(seq, Record::Redispersed(record))]);
        let found = block_on(self.catalog.extent(named)).unwrap().unwrap();
        assert_eq!((found.blob(), found.policy.as_deref()), (to.blob, Some("new")));
        self.redispersed = true;
    }

    fn drop_ends(&mut self) -> u64 {
        let settled = Seq::new(self.seq());
        block_on(self.catalog.drop_ends(settled)).unwrap()
    }
}

fn record_of(pack: &AppliedPack, packed: &PackedRecord) -> SequencedRecord {
    let is_it = |it: &&AppliedRecord| (it.offset, it.len) == (packed.offset, packed.len);
    let applied = pack.records.iter().find(is_it).unwrap();
    assert_eq!(applied.record.seq, packed.seq);
    applied.record.clone()
}

fn joined(mut run: RetiredRun, known: Vec<RetiredRun>) -> RetiredRun {
    for other in known {
        if other.end == run.before {
            (run.first, run.before) = (other.first, other.before);
        } else if run.end == other.before {
            (run.last, run.end) = (other.last, other.end);
        }
    }
    run
}

/// What a catalog says of everything but packs, and of garbage: what is dead may be unknown.
fn said(catalog: &SqliteCatalog, packs: &[AppliedPack]) -> View {
    let mut view = block_on(view(catalog, packs));
    view.blobs.retain(|_, row| {
        row.state != BlobState::Garbage && matches!(row.name, BlobName::Extent(_))
    });
    view.chains.clear();
    view.counts = havre_catalog::Counts {
        blobs: 0,
        packs: 0,
        garbage: 0,
        incomplete: 0,
        below_guarantee: 0,
        ..view.counts
    };
    view
}

/// The same without the places of versions, which compaction changes.
fn without_places(mut view: View) -> View {
    for (row, _) in view.versions.values_mut() {
        row.place.offset = 0;
        row.place.blob = havre_model::BlobId::from_bytes([0; 16]);
    }
    view
}

fn meant(packs: &[AppliedPack]) -> View {
    let mut view = meaning(packs);
    view.blobs.retain(|_, row| {
        row.state != BlobState::Garbage && matches!(row.name, BlobName::Extent(_))
    });
    view.chains.clear();
    view.counts = havre_catalog::Counts {
        blobs: 0,
        packs: 0,
        garbage: 0,
        incomplete: 0,
        below_guarantee: 0,
        ..view.counts
    };
    without_places(view)
}

/// What happens between two packs of clients.
#[derive(Clone, Debug)]
enum Chore {
    Nothing,
    /// A pack, and the chain that its records go to.
    Compact(prop::sample::Index, u8),
    Redisperse(prop::sample::Index),
    DropEnds,
}

fn chore() -> impl Strategy<Value = Chore> {
    prop_oneof![
        2 => Just(Chore::Nothing),
        4 => (any::<prop::sample::Index>(), 0..2u8).prop_map(|(at, to)| Chore::Compact(at, to)),
        2 => any::<prop::sample::Index>().prop_map(Chore::Redisperse),
        2 => Just(Chore::DropEnds),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_compacted_says_the_same_live_and_in_any_recovery(
        acts in proptest::collection::vec(act(), 1..80),
        cuts in cuts(),
        chores in proptest::collection::vec(chore(), 1..40),
        lost in proptest::collection::vec(any::<bool>(), 1..40),
        shuffle in proptest::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        let numbered: Vec<(u64, Record)> =
            numbered(&acts).into_iter().map(|(seq, record)| (seq * 100, record)).collect();
        let clients = packs(numbered, &cuts);
        let mut gateway = Gateway::new(1);
        let mut chores = chores.iter().cycle();
        for client in &clients {
            gateway.next_seq = client.records.iter().map(|it| it.record.seq.value()).max()
                .unwrap_or_default().max(gateway.next_seq);
            let chain_number = u8::from(client.chain != chain(0));
            let records = client.records.iter().map(|it| {
                (it.record.seq.value(), it.record.record.clone())
            });
            gateway.write(chain_number, records.collect());
            match chores.next().unwrap() {
                Chore::Nothing => {}
                Chore::Compact(at, to) => {
                    let at = at.index(gateway.written.len());
                    gateway.compact(at, *to);
                }
                Chore::Redisperse(at) => gateway.redisperse(*at),
                Chore::DropEnds => drop(gateway.drop_ends()),
            }
        }
        let live = said(&gateway.catalog, &gateway.written);
        // Extents of packs that were below their guarantee are marked; no pack here is.
        let mut plain = clients;
        plain.iter_mut().for_each(|it| it.below_guarantee = false);
        let (mut seen, mut wanted) =
            (without_places(said(&gateway.catalog, &gateway.written)), meant(&plain));
        if gateway.redispersed {
            // Where extents went, the model does not know; that none is forgotten, it does.
            prop_assert_eq!(seen.blobs.len(), wanted.blobs.len());
            (seen.blobs, wanted.blobs) = Default::default();
        }
        seen.assert_same(&wanted);
        prop_assert_eq!(block_on(gateway.catalog.verify()).unwrap(), Vec::<String>::new());

        // Some of the retired packs are gone; the others a site still shows.
        let mut lost = lost.iter().cycle();
        let gone: Vec<PackLink> = gateway.retired.iter()
            .filter(|_| *lost.next().unwrap())
            .map(|it| it.link)
            .collect();
        let mut left: Vec<AppliedPack> = gateway.written.iter()
            .filter(|it| !gone.contains(&it.link))
            .cloned()
            .collect();
        let count = left.len();
        for (at, to) in shuffle.iter().enumerate().filter(|_| count > 0) {
            left.swap(at % count, to.index(count));
        }
        let recovered = SqliteCatalog::in_memory().unwrap();
        block_on(recovered.begin_recovery()).unwrap();
        for pack in left {
            block_on(recovered.apply(pack)).unwrap();
        }
        block_on(recovered.finish_recovery()).unwrap();
        said(&recovered, &gateway.written).assert_same(&live);
        prop_assert_eq!(block_on(recovered.verify()).unwrap(), Vec::<String>::new());
    }
}

fn whole_of(gateway: &Gateway, at: usize) -> Vec<Need> {
    let blob = gateway.written[at].link.blob;
    let contents = block_on(gateway.catalog.pack_contents(blob)).unwrap().unwrap();
    contents.into_iter().map(|packed| packed.need).collect()
}

#[test]
fn a_tombstone_is_needed_until_what_it_ended_is_retired() {
    let mut gateway = Gateway::new(1000);
    gateway.write(0, vec![(1, bucket_record(0, "b"))]);
    gateway.write(0, vec![(2, inline(0, "a", 1)), (3, inline(0, "z", 1))]);
    gateway.write(0, vec![(4, tombstone(0, "a", None))]);
    gateway.write(0, vec![]);
    assert_eq!(whole_of(&gateway, 1), [Need::Nothing, Need::Record]);
    assert_eq!((gateway.drop_ends(), whole_of(&gateway, 2)), (0, vec![Need::Record]));
    gateway.compact(1, 0);
    assert_eq!((gateway.drop_ends(), whole_of(&gateway, 2)), (1, vec![Need::Nothing]));
}

#[test]
fn an_end_is_needed_while_something_before_it_is_on_its_way() {
    let mut gateway = Gateway::new(1000);
    gateway.write(0, vec![(1, bucket_record(0, "b"))]);
    gateway.write(0, vec![(4, tombstone(0, "a", None))]);
    assert_eq!(block_on(gateway.catalog.drop_ends(Seq::new(4))), Ok(0));
    assert_eq!(block_on(gateway.catalog.drop_ends(Seq::new(5))), Ok(1));
}

#[test]
fn of_a_completion_that_was_replaced_the_end_of_its_upload_is_left() {
    let mut gateway = Gateway::new(1000);
    gateway.write(0, vec![(1, bucket_record(0, "b")), (2, upload_record(0, "a", upload(1)))]);
    gateway.write(0, vec![(3, completed(0, "a", upload(1), vec![]))]);
    gateway.write(0, vec![(4, inline(0, "a", 2))]);
    gateway.write(0, vec![]);
    assert_eq!(whole_of(&gateway, 1), [Need::End]);
    // Its own dead record does not keep it.
    gateway.compact(0, 0);
    assert_eq!(gateway.drop_ends(), 1);
    assert_eq!(whole_of(&gateway, 1), [Need::Nothing]);
}

#[test]
fn a_retired_pack_is_garbage_and_then_forgotten() {
    let mut gateway = Gateway::new(1000);
    gateway.write(0, vec![(1, bucket_record(0, "b")), (2, inline(0, "a", 1))]);
    gateway.write(0, vec![]);
    let blob = gateway.written[0].link.blob;
    let before = block_on(gateway.catalog.counts()).unwrap();
    gateway.compact(0, 1);
    let garbage = block_on(gateway.catalog.garbage(None, 10)).unwrap();
    assert_eq!(garbage.iter().map(havre_catalog::BlobRow::blob).collect::<Vec<_>>(), [blob]);
    assert!(block_on(gateway.catalog.forget_blob(blob)).unwrap());
    let after = block_on(gateway.catalog.counts()).unwrap();
    assert_eq!((after.packs, after.garbage), (before.packs + 1, 0));
    let place = block_on(gateway.catalog.latest(bucket(0), &key("a"))).unwrap().unwrap().place;
    assert_eq!(place.blob, gateway.written[2].link.blob);
    let runs = block_on(gateway.catalog.retired(ChainId::from_bytes([0xc0; 16]))).unwrap();
    assert_eq!(runs.iter().map(|run| (run.first, run.last)).collect::<Vec<_>>(), [(1, 1)]);
}
