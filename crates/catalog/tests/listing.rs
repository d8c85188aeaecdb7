//! Listings against a scan of everything: every combination of prefix, delimiter, start and limit,
//! over keys whose bytes lie next to the delimiter's and at the ends of what UTF-8 has.
use crate::support::*;
use havre_catalog::{
    Catalog, ListEntry, ListPage, ListQuery, ListedObject, SqliteCatalog, UploadEntry, UploadsPage,
    UploadsQuery,
};
use havre_model::VersionId;
use havre_model::record::{Body, Record};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// `.` and `0` stand next to `/`; U+00FF and U+10FFFF are where a prefix's last byte carries over.
const LETTERS: [&str; 9] = ["a", "b", ".", "/", "0", " ", "\u{1}", "\u{ff}", "\u{10ffff}"];
const DELIMITERS: [&str; 6] = ["/", "a", "/a", "\u{10ffff}", "\u{ff}/", ""];

fn word(letters: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(0..LETTERS.len(), letters)
        .prop_map(|picks| picks.into_iter().map(|pick| LETTERS[pick]).collect())
}

/// What stands under a key.
#[derive(Clone, Debug)]
enum Under {
    Object,
    /// An object above that many older versions.
    Versions(u8),
    /// A delete marker above that many versions.
    Hidden(u8),
}

fn under() -> impl Strategy<Value = Under> {
    prop_oneof![
        6 => Just(Under::Object),
        1 => (1..20u8).prop_map(Under::Versions),
        1 => (0..20u8).prop_map(Under::Hidden),
    ]
}

fn fill(keys: &BTreeMap<String, Under>) -> (SqliteCatalog, BTreeMap<String, ListedObject>) {
    let mut records = Vec::new();
    let mut expected = BTreeMap::new();
    for (key, under) in keys {
        let older = match under {
            Under::Object => 0,
            Under::Versions(older) | Under::Hidden(older) => *older,
        };
        for number in 0..older {
            let id = VersionId::from_bytes([0x80 + number; 16]);
            records.push(Record::Object(object(0, key, id, false, Body::Inline)));
        }
        if let Under::Hidden(_) = under {
            records.push(marker(0, key, 9, false));
        } else {
            let id = u8::try_from(key.len() % 7).unwrap();
            let newest = object(0, key, version(id), true, Body::Inline);
            expected.insert(key.clone(), listed(&newest));
            records.push(Record::Object(newest));
        }
    }
    let catalog = SqliteCatalog::in_memory().unwrap();
    block_on(catalog.apply(pack(0, 1, (1..).zip(records).collect()))).unwrap();
    (catalog, expected)
}

/// The page that a scan of all keys gives.
fn naive(objects: &BTreeMap<String, ListedObject>, query: &ListQuery) -> ListPage {
    let mut entries: Vec<ListEntry> = Vec::new();
    let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    for (key, object) in objects {
        let Some(rest) = key.strip_prefix(&query.prefix) else { continue };
        let skipped = query.after.as_ref().is_some_and(|after| {
            key <= after || (query.after_prefix && key.starts_with(after.as_str()))
        });
        if skipped {
            continue;
        }
        let entry = match delimiter.and_then(|d| rest.find(d).map(|at| at + d.len())) {
            Some(end) => ListEntry::Prefix(key[..query.prefix.len() + end].to_owned()),
            None => ListEntry::Object(object.clone()),
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    let more = query.limit > 0 && entries.len() > query.limit;
    entries.truncate(query.limit);
    ListPage { entries, more }
}

fn query() -> impl Strategy<Value = ListQuery> {
    let delimiter =
        proptest::option::of((0..DELIMITERS.len()).prop_map(|at| DELIMITERS[at].into()));
    let after = proptest::option::of(word(0..3));
    (word(0..3), delimiter, after, any::<bool>(), 0..12usize).prop_map(
        |(prefix, delimiter, after, after_prefix, limit)| ListQuery {
            bucket: bucket(0),
            prefix,
            delimiter,
            // Nothing comes before the empty key; as a prefix it would be all of them.
            after_prefix: after_prefix && after.as_ref().is_some_and(|after| !after.is_empty()),
            after,
            limit,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_page_is_what_a_scan_of_all_keys_gives(
        keys in proptest::collection::btree_map(word(1..5), under(), 0..90),
        queries in proptest::collection::vec(query(), 30),
    ) {
        let (catalog, objects) = fill(&keys);
        for query in queries {
            let page = block_on(catalog.list(query.clone())).unwrap();
            prop_assert_eq!(page, naive(&objects, &query), "{:?}", query);
        }
    }

    #[test]
    fn the_pages_of_a_listing_join_without_seams(
        keys in proptest::collection::btree_map(word(1..5), under(), 0..90),
        query in query(),
        limit in 1..5usize,
    ) {
        let (catalog, objects) = fill(&keys);
        let mut query = ListQuery { limit, ..query };
        let whole = naive(&objects, &ListQuery { limit: 1000, ..query.clone() });
        let mut entries = Vec::new();
        loop {
            let page = block_on(catalog.list(query.clone())).unwrap();
            prop_assert!(page.entries.len() == limit || !page.more);
            match page.entries.last() {
                Some(ListEntry::Object(object)) => {
                    (query.after, query.after_prefix) = (Some(object.key.clone()), false);
                }
                Some(ListEntry::Prefix(prefix)) => {
                    (query.after, query.after_prefix) = (Some(prefix.clone()), true);
                }
                None => {}
            }
            entries.extend(page.entries);
            if !page.more {
                break;
            }
        }
        prop_assert_eq!(entries, whole.entries);
    }

    #[test]
    fn uploads_are_listed_by_key_and_begin(
        begun in proptest::collection::vec(word(1..3), 0..40),
        prefix in word(0..2),
        delimiter in proptest::option::of(Just("/".to_owned())),
        limit in 1..5usize,
    ) {
        let catalog = SqliteCatalog::in_memory().unwrap();
        let upload_of = |number: usize| upload(u8::try_from(number * 7 % 97).unwrap());
        let records = begun.iter().enumerate();
        let records = records.map(|(n, key)| (n as u64 + 1, upload_record(0, key, upload_of(n))));
        block_on(catalog.apply(pack(0, 1, records.collect()))).unwrap();

        let mut expected: Vec<(String, Option<usize>)> = Vec::new();
        let mut sorted: Vec<_> = begun.iter().cloned().zip(0..).collect();
        sorted.sort();
        for (key, number) in sorted {
            let Some(rest) = key.strip_prefix(&prefix) else { continue };
            let end = delimiter.as_ref().and_then(|d| rest.find(d.as_str()).map(|at| at + d.len()));
            let entry = match end {
                Some(end) => (key[..prefix.len() + end].to_owned(), None),
                None => (key.clone(), Some(number)),
            };
            if entry.1.is_some() || expected.last() != Some(&entry) {
                expected.push(entry);
            }
        }

        let mut query = UploadsQuery {
            bucket: bucket(0),
            prefix,
            delimiter,
            key_marker: None,
            upload_marker: None,
            after_prefix: false,
            limit,
        };
        let mut seen = Vec::new();
        loop {
            let UploadsPage { entries, more } = block_on(catalog.uploads(query.clone())).unwrap();
            for entry in entries {
                match entry {
                    UploadEntry::Upload(row) => {
                        let number = usize::try_from(row.seq.value()).unwrap() - 1;
                        seen.push((row.record.key.as_str().to_owned(), Some(number)));
                        query.key_marker = Some(row.record.key.as_str().to_owned());
                        query.upload_marker = Some(row.record.upload);
                        query.after_prefix = false;
                    }
                    UploadEntry::Prefix(prefix) => {
                        seen.push((prefix.clone(), None));
                        query.key_marker = Some(prefix);
                        (query.upload_marker, query.after_prefix) = (None, true);
                    }
                }
            }
            if !more {
                break;
            }
        }
        prop_assert_eq!(seen, expected);
    }
}

#[test]
fn a_marker_of_an_upload_that_ended_repeats_its_key_rather_than_skipping_it() {
    let catalog = SqliteCatalog::in_memory().unwrap();
    let begun = (1..=3).map(|n| (u64::from(n), upload_record(0, "k", upload(n))));
    block_on(catalog.apply(pack(0, 1, begun.collect()))).unwrap();
    block_on(catalog.apply(pack(0, 2, vec![(4, aborted(0, upload(2)))]))).unwrap();
    let query = UploadsQuery {
        bucket: bucket(0),
        prefix: String::new(),
        delimiter: None,
        key_marker: Some("k".into()),
        upload_marker: Some(upload(2)),
        after_prefix: false,
        limit: 10,
    };
    assert_eq!(block_on(catalog.uploads(query.clone())).unwrap().entries.len(), 2);
    let after_first = UploadsQuery { upload_marker: Some(upload(1)), ..query.clone() };
    assert_eq!(block_on(catalog.uploads(after_first)).unwrap().entries.len(), 1);
    let after_key = UploadsQuery { upload_marker: None, ..query };
    assert_eq!(block_on(catalog.uploads(after_key)).unwrap().entries.len(), 0);
}
