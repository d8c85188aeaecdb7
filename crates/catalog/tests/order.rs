//! The catalog against the reference model: live in order, live nearly in order, and in a recovery
//! in any order, with packs more than once and interrupted halfway.
use crate::support::script::*;
use crate::support::*;
use havre_catalog::{AppliedPack, Catalog, Mode, Opened, SqliteCatalog};
use havre_model::Seq;
use havre_model::record::Record;
use proptest::prelude::*;

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
