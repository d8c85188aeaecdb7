//! What records do to the catalog, case by case: the rules that the random tests rest on, in words.
use crate::support::*;
use havre_catalog::{
    BlobState, Catalog, CatalogError, PackLink, ShardMove, SqliteCatalog, Version,
};
use havre_model::record::{Body, Excluded, ExclusionRecord, Record};
use havre_model::{BlobId, BlobName, Seq, SiteId, TenantId, Timestamp, VersionId};

/// A catalog that has applied one pack of each list, numbered from 1, records from seq 1.
#[track_caller]
fn with(packs: Vec<Vec<Record>>) -> SqliteCatalog {
    let catalog = SqliteCatalog::in_memory().unwrap();
    let mut seq = 0;
    for (number, records) in (1..).zip(packs) {
        let numbered = records.into_iter().map(|record| {
            seq += 1;
            (seq, record)
        });
        block_on(catalog.apply(pack(0, number, numbered.collect()))).unwrap();
    }
    catalog
}

fn garbage(catalog: &SqliteCatalog) -> Vec<BlobId> {
    let rows = block_on(catalog.garbage(None, 100)).unwrap();
    rows.into_iter().map(|row| row.blob()).collect()
}

fn latest_id(catalog: &SqliteCatalog, name: &str) -> Option<VersionId> {
    let row = block_on(catalog.latest(bucket(0), &key(name))).unwrap()?;
    Some(match row.version {
        Version::Object(object) => object.version,
        Version::DeleteMarker(marker) => marker.version,
    })
}

fn versioned(name: &str, id: u8) -> Record {
    Record::Object(object(0, name, version(id), false, Body::Inline))
}

#[test]
fn a_replaced_object_leaves_its_extents_as_garbage() {
    let (old, new) = (extent([1, 0, 0, 0]), extent([2, 0, 0, 0]));
    let catalog =
        with(vec![vec![large(0, "k", 1, vec![old.clone()])], vec![large(0, "k", 2, vec![new])]]);
    assert_eq!(garbage(&catalog), [old.blob]);
    assert_eq!(latest_id(&catalog, "k"), Some(version(2)));
}

#[test]
fn a_put_with_a_lower_seq_loses_and_its_extents_are_garbage() {
    let late = extent([3, 0, 0, 0]);
    let catalog = SqliteCatalog::in_memory().unwrap();
    block_on(catalog.apply(pack(0, 1, vec![(9, inline(0, "k", 1))]))).unwrap();
    let loser = vec![(8, large(0, "k", 2, vec![late.clone()]))];
    block_on(catalog.apply(pack(0, 2, loser))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(1)));
    assert_eq!(garbage(&catalog), [late.blob]);
}

#[test]
fn a_put_that_comes_after_a_later_delete_stays_deleted() {
    let catalog = SqliteCatalog::in_memory().unwrap();
    block_on(catalog.apply(pack(0, 1, vec![(9, tombstone(0, "k", None))]))).unwrap();
    block_on(catalog.apply(pack(0, 2, vec![(8, inline(0, "k", 1))]))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), None);
    block_on(catalog.apply(pack(0, 3, vec![(10, inline(0, "k", 2))]))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(2)));
}

#[test]
fn a_delete_that_comes_after_a_later_put_deletes_nothing() {
    let catalog = SqliteCatalog::in_memory().unwrap();
    block_on(catalog.apply(pack(0, 1, vec![(9, inline(0, "k", 1))]))).unwrap();
    block_on(catalog.apply(pack(0, 2, vec![(8, tombstone(0, "k", None))]))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(1)));
}

#[test]
fn ends_are_forgotten_once_everything_below_them_is_settled() {
    let catalog = SqliteCatalog::in_memory().unwrap();
    block_on(catalog.apply(pack(0, 1, vec![(5, tombstone(0, "k", None))]))).unwrap();
    let mut settling = pack(0, 2, vec![(7, inline(0, "other", 1))]);
    settling.settled = Seq::new(6);
    block_on(catalog.apply(settling)).unwrap();
    // A caller that breaks its word shows that nothing was kept.
    block_on(catalog.apply(pack(0, 3, vec![(4, inline(0, "k", 2))]))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(2)));
}

#[test]
fn versions_and_markers_are_newest_first() {
    let catalog = with(vec![vec![versioned("k", 1), versioned("k", 2), marker(0, "k", 3, false)]]);
    assert_eq!(latest_id(&catalog, "k"), Some(version(3)));
    assert!(block_on(catalog.list(everything(bucket(0), 10))).unwrap().entries.is_empty());
    for id in [1, 2, 3] {
        let row = block_on(catalog.version(bucket(0), &key("k"), version(id))).unwrap().unwrap();
        assert_eq!(row.seq, Seq::new(u64::from(id)));
    }
    let end = vec![(4, tombstone(0, "k", Some(version(3))))];
    block_on(catalog.apply(pack(0, 2, end))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(2)));
    assert_eq!(block_on(catalog.list(everything(bucket(0), 10))).unwrap().entries.len(), 1);
    let end = vec![(5, tombstone(0, "k", Some(version(1))))];
    block_on(catalog.apply(pack(0, 3, end))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(2)));
    assert!(!block_on(catalog.bucket_is_empty(bucket(0))).unwrap());
}

#[test]
fn the_null_version_is_replaced_between_other_versions() {
    let catalog = with(vec![vec![versioned("k", 1), inline(0, "k", 2), versioned("k", 3)]]);
    block_on(catalog.apply(pack(0, 2, vec![(4, inline(0, "k", 4))]))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(4)));
    let old = block_on(catalog.version(bucket(0), &key("k"), version(2))).unwrap();
    assert_eq!(old, None, "one null version per key");
    assert_eq!(block_on(catalog.counts()).unwrap().objects, 3);
    block_on(catalog.apply(pack(0, 3, vec![(5, tombstone(0, "k", None))]))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(3)));
}

#[test]
fn a_tombstone_for_a_version_id_spares_the_null_version_of_that_id() {
    let catalog = with(vec![vec![inline(0, "k", 1)]]);
    let end = vec![(2, tombstone(0, "k", Some(version(1))))];
    block_on(catalog.apply(pack(0, 2, end))).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(1)));
}

#[test]
fn a_completed_upload_keeps_the_listed_parts_and_drops_the_others() {
    let extents: Vec<_> = (1..=4).map(|n| extent([n, 0, 0, 0])).collect();
    let [replaced, first, second, unlisted] = &extents[..] else { panic!() };
    let part_of = |number, extent: &havre_model::record::Extent| part(number, vec![extent.clone()]);
    let id = upload(1);
    let catalog = with(vec![
        vec![upload_record(0, "k", id)],
        vec![part_record(0, id, part_of(1, replaced)), part_record(0, id, part_of(2, second))],
        vec![part_record(0, id, part_of(1, first)), part_record(0, id, part_of(3, unlisted))],
    ]);
    assert_eq!(garbage(&catalog), [replaced.blob]);
    assert_eq!(block_on(catalog.counts()).unwrap().parts, 3);
    assert_eq!(block_on(catalog.parts(id, 1, 1)).unwrap()[0].record.part.number, 2);
    let done = completed(0, "k", id, vec![part_of(1, first), part_of(2, second)]);
    block_on(catalog.apply(pack(0, 4, vec![(6, done)]))).unwrap();
    assert_eq!(garbage(&catalog), [replaced.blob, unlisted.blob]);
    assert_eq!(block_on(catalog.upload(bucket(0), id)).unwrap(), None);
    assert_eq!(block_on(catalog.part(id, 1)).unwrap(), None);
    let counts = block_on(catalog.counts()).unwrap();
    assert_eq!((counts.uploads, counts.parts, counts.objects), (0, 0, 1));
    block_on(catalog.apply(pack(0, 5, vec![(7, tombstone(0, "k", None))]))).unwrap();
    assert_eq!(garbage(&catalog).len(), 4);
}

#[test]
fn an_aborted_upload_leaves_its_parts_as_garbage_and_a_late_part_too() {
    let (early, late) = (extent([1, 0, 0, 0]), extent([2, 0, 0, 0]));
    let id = upload(1);
    let catalog = with(vec![
        vec![upload_record(0, "k", id), part_record(0, id, part(1, vec![early.clone()]))],
        vec![aborted(0, id)],
    ]);
    assert_eq!(garbage(&catalog), [early.blob]);
    let late_part = vec![(4, part_record(0, id, part(2, vec![late.clone()])))];
    block_on(catalog.apply(pack(0, 3, late_part))).unwrap();
    assert_eq!(garbage(&catalog), [early.blob, late.blob]);
    assert_eq!(block_on(catalog.counts()).unwrap().parts, 0);
}

#[test]
fn a_part_of_no_known_upload_waits_for_it_in_a_recovery_and_not_beyond() {
    let lone = extent([1, 0, 0, 0]);
    let catalog = SqliteCatalog::in_memory().unwrap();
    block_on(catalog.begin_recovery()).unwrap();
    let lost = vec![(2, part_record(0, upload(1), part(1, vec![lone.clone()])))];
    block_on(catalog.apply(pack(0, 2, lost))).unwrap();
    assert_eq!(block_on(catalog.counts()).unwrap().garbage, 0);
    block_on(catalog.finish_recovery()).unwrap();
    assert_eq!(garbage(&catalog), [lone.blob]);
}

#[test]
fn a_deleted_bucket_takes_its_uploads_along_and_never_returns() {
    let part_extent = extent([1, 0, 0, 0]);
    let id = upload(1);
    let catalog = with(vec![
        vec![bucket_record(0, "name"), upload_record(0, "k", id)],
        vec![part_record(0, id, part(1, vec![part_extent.clone()]))],
        vec![bucket_deleted(0)],
    ]);
    assert_eq!(block_on(catalog.bucket_by_name("name")).unwrap(), None);
    assert_eq!(garbage(&catalog), [part_extent.blob]);
    let late = vec![(3, bucket_record(0, "name")), (9, inline(0, "k", 1))];
    block_on(catalog.apply(pack(0, 4, late))).unwrap();
    assert_eq!(block_on(catalog.bucket_by_name("name")).unwrap(), None);
    assert!(block_on(catalog.bucket_is_empty(bucket(0))).unwrap());
    let counts = block_on(catalog.counts()).unwrap();
    assert_eq!((counts.buckets, counts.uploads, counts.objects), (0, 0, 0));
}

#[test]
fn a_bucket_is_found_by_its_latest_name_and_its_successor_by_the_same() {
    let catalog = with(vec![
        vec![bucket_record(0, "name")],
        vec![bucket_deleted(0), bucket_record(1, "name"), bucket_record(2, "nb")],
    ]);
    let found = block_on(catalog.bucket_by_name("name")).unwrap().unwrap();
    assert_eq!(found.record.bucket, bucket(1));
    let names = |after: Option<&str>, prefix: Option<&str>, limit| {
        let rows = block_on(catalog.buckets(TENANT, after, prefix, limit)).unwrap();
        rows.into_iter().map(|row| row.record.name).collect::<Vec<_>>()
    };
    assert_eq!(names(None, None, 10), ["name", "nb"]);
    assert_eq!(names(Some("name"), None, 10), ["nb"]);
    assert_eq!(names(None, Some("na"), 10), ["name"]);
    assert_eq!(names(None, None, 1), ["name"]);
    let other = TenantId::from_bytes([2; 16]);
    assert!(block_on(catalog.buckets(other, None, None, 10)).unwrap().is_empty());
}

#[test]
fn a_pack_that_skips_one_is_refused_and_changes_nothing() {
    let catalog = with(vec![vec![inline(0, "k", 1)]]);
    let skipping = pack(0, 3, vec![(9, inline(0, "k", 2))]);
    let refused = block_on(catalog.apply(skipping)).unwrap_err();
    assert_eq!(refused, CatalogError::Gap { chain: chain(0), applied: 1, number: 3 });
    assert_eq!(latest_id(&catalog, "k"), Some(version(1)));
    assert_eq!(block_on(catalog.chains()).unwrap()[0].number, 1);
}

#[test]
fn a_number_may_be_skipped_when_the_next_pack_refers_to_the_last_applied() {
    let catalog = with(vec![vec![inline(0, "k", 1)]]);
    let mut after_failed = pack(0, 3, vec![(9, inline(0, "k", 2))]);
    after_failed.previous = link(0, 1);
    block_on(catalog.apply(after_failed)).unwrap();
    assert_eq!(latest_id(&catalog, "k"), Some(version(2)));
    assert_eq!(block_on(catalog.chains()).unwrap()[0].number, 3);
}

#[test]
fn a_pack_with_one_bad_record_is_not_applied_at_all() {
    let catalog = with(vec![vec![inline(0, "k", 1)]]);
    let before = block_on(catalog.counts()).unwrap();
    let bad =
        vec![(5, inline(0, "a", 1)), (6, tombstone(0, "k", None)), (u64::MAX, inline(0, "b", 1))];
    let refused = block_on(catalog.apply(pack(0, 2, bad))).unwrap_err();
    assert_eq!(refused, CatalogError::OutOfRange("sequence number"));
    assert_eq!(block_on(catalog.counts()).unwrap(), before);
    assert_eq!(latest_id(&catalog, "k"), Some(version(1)));
    assert_eq!(latest_id(&catalog, "a"), None);
    block_on(catalog.apply(pack(0, 2, vec![(5, inline(0, "a", 1))]))).unwrap();
}

#[test]
fn a_record_that_stands_in_two_packs_is_one_version() {
    let body = extent([1, 0, 0, 0]);
    let catalog = SqliteCatalog::in_memory().unwrap();
    for number in [1, 2] {
        let same = vec![(5, large(0, "k", 1, vec![body.clone()]))];
        block_on(catalog.apply(pack(0, number, same))).unwrap();
    }
    assert_eq!(block_on(catalog.counts()).unwrap().objects, 1);
    block_on(catalog.apply(pack(0, 3, vec![(6, tombstone(0, "k", None))]))).unwrap();
    assert_eq!(garbage(&catalog), [body.blob]);
}

#[test]
fn a_place_points_into_the_pack_that_brought_the_record() {
    let catalog = with(vec![vec![inline(0, "a", 1), inline(0, "b", 2)]]);
    let row = block_on(catalog.latest(bucket(0), &key("b"))).unwrap().unwrap();
    assert_eq!((row.place.blob, row.place.offset, row.place.len), (link(0, 1).blob, 100, 90));
    assert_eq!(row.object().unwrap().bytes, 20);
    assert_eq!(row.into_object().unwrap().key, key("b"));
}

#[test]
fn shards_that_arrive_and_go_missing_make_and_end_repair_jobs() {
    let mut body = extent([1, 0, 0, 0]);
    body.stored = 0b01_1111;
    let catalog = SqliteCatalog::in_memory().unwrap();
    assert!(!block_on(catalog.note_shards(body.blob, &body.sites, 1, 0)).unwrap(), "not known yet");
    let mut degraded = pack(0, 1, vec![(1, large(0, "k", 1, vec![body.clone()]))]);
    degraded.below_guarantee = true;
    block_on(catalog.apply(degraded)).unwrap();
    let state = || {
        let counts = block_on(catalog.counts()).unwrap();
        let state = block_on(catalog.blob(body.blob)).unwrap().unwrap().state;
        let jobs = block_on(catalog.below_guarantee(None, 10)).unwrap().len() as u64;
        assert_eq!(jobs, counts.incomplete);
        (state, counts.incomplete, counts.below_guarantee)
    };
    assert_eq!(state(), (BlobState::BelowGuarantee, 1, 1));
    assert!(block_on(catalog.note_shards(body.blob, &body.sites, 0b10_0000, 0)).unwrap());
    assert_eq!(state(), (BlobState::Whole, 0, 0));
    assert!(block_on(catalog.note_shards(body.blob, &body.sites, 0b1, 0b11)).unwrap());
    assert_eq!(state(), (BlobState::Incomplete, 1, 0));
    assert_eq!(block_on(catalog.blob(body.blob)).unwrap().unwrap().stored, 0b11_1100);
    assert!(block_on(catalog.note_shards(body.blob, &body.sites, u32::MAX, 0)).unwrap());
    assert_eq!(block_on(catalog.blob(body.blob)).unwrap().unwrap().stored, 0b11_1111);
    assert_eq!(state(), (BlobState::Whole, 0, 0));
}

#[test]
fn a_shard_that_moved_is_at_its_new_site_and_left_at_the_old_one() {
    let body = extent([1, 0, 0, 0]);
    let catalog = with(vec![vec![large(0, "k", 1, vec![body.clone()])]]);
    let index = |at| body.geometry.indices().nth(at).unwrap();
    let site = |n| SiteId::from_bytes([n; 8]);
    let shift =
        |at: usize, from, to| ShardMove { index: index(at), from: site(from), to: site(to) };
    let moved = |moves| block_on(catalog.move_shards(body.blob, moves)).unwrap();
    let intend = |sites: &[u8]| {
        let sites = sites.iter().map(|n| site(*n)).collect();
        block_on(catalog.intend_shards(body.blob, sites)).unwrap()
    };
    assert!(!moved(vec![shift(1, 1, 8)]), "nobody said that it would go there");
    assert!(!intend(&[8, 5]), "that site has a shard");
    assert!(intend(&[8, 9]) && !intend(&[9]));
    assert_eq!(block_on(catalog.leftovers_of(body.blob)).unwrap(), [site(8), site(9)]);
    for refused in [
        vec![shift(1, 2, 9)],
        vec![shift(1, 1, 5)],
        vec![shift(1, 1, 9), shift(2, 2, 9)],
        vec![shift(1, 1, 9), shift(2, 3, 8)],
    ] {
        assert!(!moved(refused.clone()), "{refused:?}");
    }
    assert!(moved(vec![shift(1, 1, 8), shift(5, 5, 9)]));
    let row = block_on(catalog.blob(body.blob)).unwrap().unwrap();
    assert_eq!(row.sites, [0, 8, 2, 3, 4, 9].map(site));
    assert_eq!((row.state, row.stored), (BlobState::Whole, 0b11_1111));
    assert_eq!(block_on(catalog.leftovers_of(body.blob)).unwrap(), [site(1), site(5)]);
    assert!(!intend(&[5]), "where it was, there is another shard of it still");
    // What was seen at the old sites says nothing of the new ones.
    assert!(block_on(catalog.note_shards(body.blob, &body.sites, 0, 0b10_0011)).unwrap());
    let row = block_on(catalog.blob(body.blob)).unwrap().unwrap();
    assert_eq!(row.stored, 0b11_1110, "the first shard has not moved");
    let left = block_on(catalog.leftovers(None, 1)).unwrap();
    assert_eq!(left.len(), 2, "a blob's leftovers come together");
    assert_eq!(left[0].name, BlobName::Extent(body.blob));
    block_on(catalog.forget_leftover(left[0])).unwrap();
    assert_eq!(block_on(catalog.leftovers_of(body.blob)).unwrap(), [site(5)]);
    assert!(intend(&[1]) && moved(vec![shift(2, 2, 1)]));
}

#[test]
fn of_the_exclusions_of_a_party_the_last_counts() {
    let exclusion = |seq: u64, party: &str, in_force| {
        let record = Record::Exclusion(ExclusionRecord {
            subject: Excluded::Party(party.to_owned()),
            in_force,
            reason: "sold".to_owned(),
            decided: Timestamp::from_millis(1),
            deadline: None,
        });
        (seq, record)
    };
    let catalog = SqliteCatalog::in_memory().unwrap();
    let first = vec![exclusion(1, "operator:a", true), exclusion(4, "operator:b", false)];
    let second = vec![exclusion(2, "operator:a", true), exclusion(3, "operator:b", true)];
    for (number, records) in [(1, first), (2, second)] {
        block_on(catalog.apply(pack(0, number, records))).unwrap();
    }
    let rows = block_on(catalog.exclusions()).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].record.subject, Excluded::Party("operator:a".to_owned()));
    assert_eq!(rows[0].seq, Seq::new(2));
}

#[test]
fn garbage_is_no_repair_job() {
    let mut body = extent([1, 0, 0, 0]);
    body.stored = 0b01_1111;
    let catalog = with(vec![vec![large(0, "k", 1, vec![body.clone()])], vec![inline(0, "k", 2)]]);
    assert_eq!(garbage(&catalog), [body.blob]);
    assert!(block_on(catalog.below_guarantee(None, 10)).unwrap().is_empty());
    assert!(block_on(catalog.note_shards(body.blob, &body.sites, 0, 0b1)).unwrap());
    assert_eq!(block_on(catalog.counts()).unwrap().incomplete, 0);
}

#[test]
fn only_garbage_is_forgotten() {
    let (kept, dropped) = (extent([1, 0, 0, 0]), extent([2, 0, 0, 0]));
    let catalog = with(vec![
        vec![large(0, "a", 1, vec![kept.clone()]), large(0, "b", 1, vec![dropped.clone()])],
        vec![tombstone(0, "b", None)],
    ]);
    assert!(!block_on(catalog.forget_blob(kept.blob)).unwrap());
    assert!(!block_on(catalog.forget_blob(link(0, 1).blob)).unwrap(), "a pack is needed");
    assert!(block_on(catalog.forget_blob(dropped.blob)).unwrap());
    assert!(!block_on(catalog.forget_blob(dropped.blob)).unwrap());
    assert_eq!(block_on(catalog.blob(dropped.blob)).unwrap(), None);
    let counts = block_on(catalog.counts()).unwrap();
    assert_eq!((counts.blobs, counts.garbage), (1, 0));
}

#[test]
fn a_chain_is_opened_once_and_by_one_gateway_and_policy() {
    let catalog = SqliteCatalog::in_memory().unwrap();
    let opened = block_on(catalog.open_chain("g", "p", chain(1))).unwrap();
    assert_eq!((opened.chain, opened.number, opened.link), (chain(1), 0, PackLink::NONE));
    let again = block_on(catalog.open_chain("g", "p", chain(2))).unwrap();
    assert_eq!(again.chain, chain(1));
    let foreign = block_on(catalog.open_chain("g", "q", chain(1))).unwrap_err();
    assert_eq!(foreign, CatalogError::ForeignChain(chain(1)));
    block_on(catalog.apply(pack(1, 1, vec![(1, inline(0, "k", 1))]))).unwrap();
    let opened = block_on(catalog.open_chain("g", "p", chain(2))).unwrap();
    assert_eq!((opened.number, opened.link), (1, link(1, 1)));
    assert_eq!(opened.policy.as_deref(), Some("p"));
}

#[test]
fn a_chain_known_from_its_packs_can_be_adopted() {
    let catalog = with(vec![vec![inline(0, "k", 1)]]);
    let adopted = block_on(catalog.open_chain("g", "p", chain(0))).unwrap();
    assert_eq!((adopted.number, adopted.link), (1, link(0, 1)));
    assert_eq!(adopted.gateway.as_deref(), Some("g"));
}

#[test]
fn a_recovery_begins_in_an_empty_catalog_only() {
    let catalog = with(vec![vec![inline(0, "k", 1)]]);
    assert_eq!(block_on(catalog.begin_recovery()), Err(CatalogError::NotEmpty));
    assert_eq!(block_on(catalog.finish_recovery()), Err(CatalogError::NotRecovering));
    assert!(!block_on(catalog.is_recovering()).unwrap());
}

#[test]
fn sequence_numbers_stand_above_everything_applied() {
    let catalog = SqliteCatalog::in_memory().unwrap();
    let first = block_on(catalog.reserve_seqs(10)).unwrap();
    assert_eq!(block_on(catalog.reserve_seqs(5)).unwrap().start, first.end);
    let far = 1 << 50;
    block_on(catalog.apply(pack(0, 1, vec![(far, inline(0, "k", 1))]))).unwrap();
    assert!(block_on(catalog.reserve_seqs(1)).unwrap().start > far);
    let many = block_on(catalog.reserve_seqs(1 << 30)).unwrap();
    assert_eq!(many.end - many.start, 1 << 30);
    let refused = block_on(catalog.reserve_seqs(u64::MAX)).unwrap_err();
    assert_eq!(refused, CatalogError::OutOfRange("count of sequence numbers"));
}

#[test]
fn a_site_keeps_its_marker() {
    let catalog = SqliteCatalog::in_memory().unwrap();
    let site = SiteId::from_bytes([1; 8]);
    assert_eq!(block_on(catalog.site_marker(site)).unwrap(), None);
    for marker in [[1; 16], [2; 16]] {
        block_on(catalog.set_site_marker(site, marker)).unwrap();
        assert_eq!(block_on(catalog.site_marker(site)).unwrap(), Some(marker));
    }
    assert_eq!(block_on(catalog.site_markers()).unwrap(), [(site, [2; 16])]);
}

#[test]
fn a_tenant_is_found_by_name() {
    let catalog = with(vec![vec![tenant_record(2, "two"), tenant_record(3, "three")]]);
    let found = block_on(catalog.tenant_by_name("three")).unwrap().unwrap();
    assert_eq!(found.record.tenant, TenantId::from_bytes([3; 16]));
    assert_eq!(block_on(catalog.tenant_by_name("four")).unwrap(), None);
    assert_eq!(block_on(catalog.tenants()).unwrap().len(), 2);
}
