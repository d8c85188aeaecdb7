//! What a kill, a power cut, a second process and a damaged file leave of a catalog.
use crate::support;
use crate::support::*;
use havre_catalog::{
    AppliedPack, Catalog, CatalogError, JobRow, ListQuery, Mode, OpenError, Opened, SqliteCatalog,
};
use havre_model::{Seq, SiteId};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fresh(path: &Path, mode: Mode) -> SqliteCatalog {
    match SqliteCatalog::open(path, mode).unwrap() {
        Opened::Fresh(catalog) => catalog,
        other => panic!("{other:?}"),
    }
}

fn existing(path: &Path, mode: Mode) -> SqliteCatalog {
    match SqliteCatalog::open(path, mode).unwrap() {
        Opened::Existing(catalog) => catalog,
        other => panic!("{other:?}"),
    }
}

/// Packs with something of everything: each replaces, ends and begins.
fn packs(count: u64) -> Vec<AppliedPack> {
    let one = |n: u64| {
        let small = u8::try_from(n % 200).unwrap();
        let seq = n * 10;
        let body = vec![extent([1, small, 0, 0]), extent([2, small, 0, 0])];
        let mut records = vec![
            (seq, inline(0, &format!("k{}", n % 7), small)),
            (seq + 1, large(0, &format!("l{}", n % 3), small, body)),
            (seq + 2, inline(0, &format!("n{n}"), small)),
            (seq + 3, upload_record(0, "u", upload(small))),
            (seq + 4, part_record(0, upload(small), part(1, vec![extent([3, small, 0, 0])]))),
        ];
        if n > 1 {
            records.push((seq + 5, aborted(0, upload(small - 1))));
            records.push((seq + 6, tombstone(0, &format!("n{}", n - 1), None)));
        }
        pack(0, n, records)
    };
    (1..=count).map(one).collect()
}

/// The files as a kill leaves them: copied while the catalog is open.
fn copy(path: &Path, name: &str) -> PathBuf {
    let to = path.with_file_name(name);
    for suffix in ["", "-wal"] {
        let from = PathBuf::from(format!("{}{suffix}", path.display()));
        if from.exists() {
            fs::copy(from, format!("{}{suffix}", to.display())).unwrap();
        }
    }
    to
}

fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

/// Opens the copy and checks that it says what some number of packs mean; that number.
#[track_caller]
fn check_some_packs(path: &Path, packs: &[AppliedPack]) -> u64 {
    let catalog = existing(path, Mode::Inline);
    let applied = block_on(catalog.chains()).unwrap().first().map_or(0, |state| state.number);
    let known = &packs[..usize::try_from(applied).unwrap()];
    block_on(view(&catalog, known)).assert_same(&meaning(known));
    assert_eq!(block_on(catalog.verify()).unwrap(), Vec::<String>::new());
    applied
}

#[test]
fn a_log_that_is_torn_anywhere_leaves_whole_packs_from_the_front() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    let catalog = fresh(&path, Mode::Inline);
    let packs = packs(24);
    for pack in &packs {
        block_on(catalog.apply(pack.clone())).unwrap();
    }
    let whole = fs::read(log_of(&path)).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..60).map(|n| whole.len() * n / 59) {
        let torn = copy(&path, "torn");
        fs::write(log_of(&torn), &whole[..cut]).unwrap();
        // The schema itself is in the log at first; a cut before its end leaves an empty file.
        match SqliteCatalog::open(&torn, Mode::Inline).unwrap() {
            Opened::Fresh(_) => assert!(seen.is_empty(), "a new catalog after {seen:?} packs"),
            Opened::Existing(catalog) => {
                drop(catalog);
                seen.insert(check_some_packs(&torn, &packs));
            }
            Opened::Damaged(reason) => panic!("{reason}"),
        }
    }
    assert!(seen.len() > 12, "the cuts fell between packs: {seen:?}");
    assert_eq!(seen.last(), Some(&24));
}

#[test]
fn a_log_with_a_wrong_byte_anywhere_leaves_whole_packs_from_the_front() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    drop(fresh(&path, Mode::Inline));
    let catalog = existing(&path, Mode::Inline);
    let packs = packs(24);
    for pack in &packs {
        block_on(catalog.apply(pack.clone())).unwrap();
    }
    let whole = fs::read(log_of(&path)).unwrap();
    for at in (0..40).map(|n| (whole.len() - 1) * n / 39) {
        let torn = copy(&path, "torn");
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(log_of(&torn), bytes).unwrap();
        let applied = check_some_packs(&torn, &packs);
        assert!(applied < 24 || at + 5000 > whole.len(), "{at} of {}: {applied}", whole.len());
    }
}

#[test]
fn a_kill_loses_nothing_that_was_applied() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    for mode in [Mode::Inline, Mode::Threaded] {
        let path = path.with_extension(format!("{mode:?}"));
        let catalog = fresh(&path, mode);
        let packs = packs(10);
        for (at, pack) in packs.iter().enumerate() {
            block_on(catalog.apply(pack.clone())).unwrap();
            let killed = copy(&path, "killed");
            assert_eq!(check_some_packs(&killed, &packs), at as u64 + 1);
        }
    }
}

#[test]
fn a_sequence_number_is_never_handed_out_again_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut path = directory.path().join("catalog");
    let mut catalog = fresh(&path, Mode::Threaded);
    let mut handed_out = 0;
    for round in 0..5 {
        for count in [1, 1000, 3 << 20, 7] {
            let range = block_on(catalog.reserve_seqs(count)).unwrap();
            assert!(range.start >= handed_out, "round {round}");
            assert_eq!(range.end - range.start, count);
            handed_out = range.end;
        }
        path = copy(&path, &format!("killed-{round}"));
        catalog = existing(&path, Mode::Threaded);
    }
}

#[test]
fn many_callers_share_sequence_numbers_without_overlap() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Arc::new(fresh(&directory.path().join("catalog"), Mode::Threaded));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let catalog = Arc::clone(&catalog);
            std::thread::spawn(move || {
                let reserve = || block_on(catalog.reserve_seqs(300_000)).unwrap();
                (0..20).map(|_| reserve()).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut ranges: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[test]
fn concurrent_changes_are_grouped_and_one_that_fails_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = fresh(&directory.path().join("catalog"), Mode::Threaded);
    let packs = packs(40);
    let results = block_on(async {
        let mut calls = Vec::new();
        for (at, pack) in packs.iter().enumerate() {
            calls.push(catalog.apply(pack.clone()));
            if at % 3 == 0 {
                // Refers to a pack that is not there; its own record must not stay.
                let stray = support::pack(0, pack.number + 5, vec![(9_000, inline(0, "stray", 1))]);
                calls.push(catalog.apply(stray));
            }
        }
        futures::future::join_all(calls).await
    });
    let refused = results.iter().filter(|result| result.is_err()).count();
    assert_eq!(refused, 14);
    assert!(results.iter().flatten().count() == 40);
    block_on(view(&catalog, &packs)).assert_same(&meaning(&packs));
    assert_eq!(block_on(catalog.latest(bucket(0), &key("stray"))).unwrap(), None);
}

#[test]
fn a_reader_sees_what_was_reported_done_and_never_half_a_pack() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Arc::new(fresh(&directory.path().join("catalog"), Mode::Threaded));
    let writer = Arc::clone(&catalog);
    let thread = std::thread::spawn(move || {
        for n in 1..=300 {
            let both = vec![(n * 2, inline(0, "a", 1)), (n * 2 + 1, inline(0, "b", 1))];
            block_on(writer.apply(pack(0, n, both))).unwrap();
            let seen = block_on(writer.latest(bucket(0), &key("b"))).unwrap().unwrap();
            assert_eq!(seen.seq, Seq::new(n * 2 + 1), "reported done, so it is seen");
        }
    });
    while !thread.is_finished() {
        let a = block_on(catalog.latest(bucket(0), &key("a"))).unwrap();
        let b = block_on(catalog.latest(bucket(0), &key("b"))).unwrap();
        if let (Some(a), Some(b)) = (a, b) {
            assert!(b.seq > a.seq, "what was read later is of the same pack or a later one");
        }
        let page = block_on(catalog.list(everything(bucket(0), 10))).unwrap();
        assert!(matches!(page.entries.len(), 0 | 2));
    }
    thread.join().unwrap();
}

#[test]
fn the_log_stays_bounded_while_writes_do_not_pause() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    let catalog = fresh(&path, Mode::Threaded);
    let long = "x".repeat(900);
    let mut written = 0;
    for n in 1..=800u64 {
        let records = (0..100).map(|i| {
            let scattered = (n * 100 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (n * 100 + i, inline(0, &format!("{scattered:016x}{long}"), 1))
        });
        block_on(catalog.apply(pack(0, n, records.collect()))).unwrap();
        written += 100 * 2 * 900;
    }
    let log = fs::metadata(log_of(&path)).unwrap().len();
    assert!(written > 130 << 20);
    assert!(log < 160 << 20, "a log of {} MiB", log >> 20);
}

#[test]
fn a_second_process_may_read_but_not_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    let catalog = fresh(&path, Mode::Threaded);
    let packs = packs(3);
    block_on(catalog.apply(packs[0].clone())).unwrap();
    assert!(matches!(SqliteCatalog::open(&path, Mode::Inline), Err(OpenError::InUse)));
    assert!(matches!(SqliteCatalog::move_aside(&path), Err(OpenError::InUse)));
    let reader = SqliteCatalog::open_read_only(&path).unwrap();
    block_on(view(&reader, &packs[..1])).assert_same(&meaning(&packs[..1]));
    block_on(catalog.apply(packs[1].clone())).unwrap();
    block_on(view(&reader, &packs[..2])).assert_same(&meaning(&packs[..2]));
    assert_eq!(block_on(reader.apply(packs[2].clone())), Err(CatalogError::ReadOnly));
    assert_eq!(block_on(reader.reserve_seqs(1)), Err(CatalogError::ReadOnly));
}

#[test]
fn the_files_are_for_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    let catalog = fresh(&path, Mode::Threaded);
    block_on(catalog.apply(packs(1).remove(0))).unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.file_name());
    }
}

#[test]
fn an_empty_or_absent_file_is_a_fresh_catalog() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    fs::write(&path, b"").unwrap();
    drop(fresh(&path, Mode::Inline));
    drop(existing(&path, Mode::Threaded));
    assert!(SqliteCatalog::open_read_only(&directory.path().join("absent")).is_err());
}

#[test]
fn a_log_without_its_file_does_not_come_back_to_life() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    let catalog = fresh(&path, Mode::Inline);
    block_on(catalog.apply(packs(1).remove(0))).unwrap();
    let killed = copy(&path, "killed");
    fs::remove_file(&killed).unwrap();
    let catalog = fresh(&killed, Mode::Inline);
    assert!(block_on(catalog.chains()).unwrap().is_empty());
}

#[test]
fn a_file_that_is_no_database_is_damaged_and_can_be_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    for round in 1..=2 {
        fs::write(&path, vec![0x5a; 8192]).unwrap();
        let opened = SqliteCatalog::open(&path, Mode::Inline).unwrap();
        assert!(matches!(opened, Opened::Damaged(_)));
        let aside = SqliteCatalog::move_aside(&path).unwrap();
        assert!(aside.ends_with(format!("catalog.damaged-{round}")));
        assert_eq!(fs::read(aside).unwrap(), vec![0x5a; 8192]);
        let catalog = fresh(&path, Mode::Inline);
        block_on(catalog.apply(packs(1).remove(0))).unwrap();
    }
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    drop(fresh(&path, Mode::Inline));
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute("UPDATE schema_version SET version = 4", []).unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    let refused = SqliteCatalog::open(&path, Mode::Inline).unwrap_err();
    assert!(matches!(refused, OpenError::NewerSchema { found: 4, known: 3 }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// What makes an earlier schema of the present one.
const BACK_TO_2: &str = "DROP INDEX blob_dead; DROP INDEX blob_extent; \
     ALTER TABLE blob DROP COLUMN pack_order; ALTER TABLE blob DROP COLUMN dead; \
     ALTER TABLE blob DROP COLUMN oldest_dead; ALTER TABLE blob DROP COLUMN extent; \
     ALTER TABLE blob DROP COLUMN moved_seq; ALTER TABLE blob DROP COLUMN bucket; \
     DROP TABLE pack_contents; DROP TABLE placed; DROP TABLE retired; \
     UPDATE schema_version SET version = 2;";
const BACK_TO_1: &str = "DROP TABLE exclusion; DROP TABLE leftover; DROP TABLE job; \
     ALTER TABLE blob DROP COLUMN policy; UPDATE schema_version SET version = 1;";

#[test]
fn an_earlier_schema_is_brought_up_and_keeps_what_it_has() {
    for earlier in [BACK_TO_2.to_owned(), format!("{BACK_TO_2} {BACK_TO_1}")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog");
        let marker = [7; 16];
        let site = SiteId::from_bytes([1; 8]);
        let catalog = fresh(&path, Mode::Inline);
        block_on(catalog.set_site_marker(site, marker)).unwrap();
        let records = vec![(1, bucket_record(0, "b")), (2, inline(0, "a", 1))];
        block_on(catalog.apply(pack(0, 1, records))).unwrap();
        drop(catalog);
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch(&earlier).unwrap();
        drop(other);
        let refused = SqliteCatalog::open_read_only(&path).err().unwrap();
        assert!(refused.to_string().contains("start the gateway once"), "{refused}");
        let Opened::Existing(catalog) = SqliteCatalog::open(&path, Mode::Inline).unwrap() else {
            panic!("the catalog was there");
        };
        assert_eq!(block_on(catalog.site_marker(site)).unwrap(), Some(marker));
        let job = JobRow { name: "drain".to_owned(), state: vec![1] };
        block_on(catalog.put_job(job.clone())).unwrap();
        assert_eq!(block_on(catalog.jobs()).unwrap(), [job]);
        // What stands in its packs nobody knows: they are left alone, and no end is forgotten
        // beside them.
        let packs = block_on(catalog.packs(None, 10)).unwrap();
        assert_eq!(packs.iter().map(|pack| pack.is_listed).collect::<Vec<_>>(), [false]);
        block_on(catalog.apply(pack(0, 2, vec![(3, tombstone(0, "a", None))]))).unwrap();
        assert_eq!(block_on(catalog.drop_ends(Seq::new(100))), Ok(0));
    }
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute("CREATE TABLE theirs (precious TEXT)", []).unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    let refused = SqliteCatalog::open(&path, Mode::Inline).unwrap_err();
    assert!(matches!(refused, OpenError::NotACatalog), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_catalog_without_its_state_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    for sql in ["DELETE FROM state", "DROP TABLE totals", "DELETE FROM schema_version"] {
        drop(fresh(&path, Mode::Inline));
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute(sql, []).unwrap();
        drop(other);
        let opened = SqliteCatalog::open(&path, Mode::Inline).unwrap();
        assert!(matches!(opened, Opened::Damaged(_)), "{sql}: {opened:?}");
        SqliteCatalog::move_aside(&path).unwrap();
    }
}

/// Reads everything and changes something; every answer will do but a panic.
fn use_all(catalog: &SqliteCatalog) -> Vec<CatalogError> {
    let mut errors = Vec::new();
    let mut note = |result: Result<(), CatalogError>| errors.extend(result.err());
    block_on(async {
        note(catalog.chains().await.map(drop));
        note(catalog.tenants().await.map(drop));
        note(catalog.all_buckets().await.map(drop));
        note(catalog.counts().await.map(drop));
        note(catalog.blobs(None, 1000).await.map(drop));
        note(catalog.garbage(None, 1000).await.map(drop));
        note(catalog.below_guarantee(None, 1000).await.map(drop));
        let query = ListQuery { delimiter: Some("1".into()), ..everything(bucket(0), 1000) };
        note(catalog.list(query).await.map(drop));
        note(catalog.list(everything(bucket(0), 1000)).await.map(drop));
        for n in 0..40 {
            note(catalog.latest(bucket(0), &key(&format!("l{n}"))).await.map(drop));
            note(catalog.parts(upload(n), 0, 10).await.map(drop));
        }
        note(catalog.reserve_seqs(1).await.map(drop));
        note(catalog.apply(packs(41).remove(40)).await);
        note(catalog.verify().await.map(drop));
    });
    errors
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 0..6),
        cut in proptest::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        thread_local! {
            static WHOLE: Vec<u8> = {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("catalog");
                let catalog = fresh(&path, Mode::Inline);
                for pack in packs(40) {
                    block_on(catalog.apply(pack)).unwrap();
                }
                drop(catalog);
                fs::read(path).unwrap()
            };
        }
        let mut bytes = WHOLE.with(Clone::clone);
        for (at, flip) in &flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog");
        fs::write(&path, bytes).unwrap();
        match SqliteCatalog::open(&path, Mode::Inline) {
            Ok(Opened::Existing(catalog) | Opened::Fresh(catalog)) => {
                for error in use_all(&catalog) {
                    let named = matches!(
                        error,
                        CatalogError::Damaged(_)
                            | CatalogError::Storage(_)
                            | CatalogError::Gap { .. }
                            | CatalogError::OutOfRange(_)
                    );
                    prop_assert!(named, "{error}");
                }
            }
            Ok(Opened::Damaged(_)) | Err(_) => {}
        }
    }
}
