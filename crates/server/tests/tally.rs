//! How requests fared between two moments.

use havre_server::{Class, Tally};
use http::StatusCode;
use std::time::Duration;

#[test]
fn a_quantile_is_above_what_was_by_a_quarter_at_most() {
    for micros in (0..200_u64).chain([1_000, 65_535, 65_536, 10_000_000, 1_700_000_000]) {
        let (tally, took) = (Tally::default(), Duration::from_micros(micros));
        tally.count("GetObject", StatusCode::OK, true, took);
        let end = tally.snapshot(Class::Read).quantile(1000).unwrap();
        assert!(took < end, "{took:?} {end:?}");
        assert!(end <= took + took / 4 + Duration::from_micros(1), "{took:?} {end:?}");
    }
    Tally::default().count("PutObject", StatusCode::OK, true, Duration::MAX);
}

#[test]
fn a_difference_tells_what_ended_in_between() {
    let (tally, second) = (Tally::default(), Duration::from_secs(1));
    tally.count("GetObject", StatusCode::OK, true, second);
    let earlier = tally.snapshot(Class::Read);
    for _ in 0..99 {
        tally.count("GetObject", StatusCode::OK, true, Duration::from_millis(1));
    }
    tally.count("HeadObject", StatusCode::NOT_FOUND, true, Duration::from_millis(1));
    tally.count("ListObjectsV2", StatusCode::OK, false, second);
    tally.count("PutObject", StatusCode::SERVICE_UNAVAILABLE, true, second);
    let reads = tally.snapshot(Class::Read).since(&earlier);
    assert_eq!((reads.served, reads.refused, reads.failed), (99, 1, 1));
    assert!(reads.quantile(500).unwrap() < Duration::from_micros(1300));
    assert!(reads.quantile(1000).unwrap() > second);
    let writes = tally.snapshot(Class::Write);
    assert_eq!((writes.served, writes.refused, writes.failed), (0, 0, 1));
    assert_eq!(Tally::default().snapshot(Class::Read).quantile(500), None);
}
