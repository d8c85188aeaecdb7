//! What segments refuse when the envelope is taken away: the same data key in another place (A5).

use super::*;

fn contexts() -> Vec<PartContext<'static>> {
    let ids = [1, 2];
    let mut contexts = Vec::new();
    for tenant in ids.map(|id| TenantId::from_bytes([id; 16])) {
        for bucket in ids.map(|id| BucketId::from_bytes([id; 16])) {
            for version in ids.map(|id| VersionId::from_bytes([id; 16])) {
                for key in ["a", "a\u{1}", "b"] {
                    for part in [0, 1] {
                        contexts.push(PartContext { tenant, bucket, key, version, part });
                    }
                }
            }
        }
    }
    contexts
}

#[test]
fn under_one_data_key_segments_still_open_in_their_own_place_only() {
    let key = Key::copied(&[5; 32]);
    let contexts = contexts();
    for sealed_in in &contexts {
        let mut sealed = *b"plaintext and sixteen bytes more";
        PartSealer::new(&key, sealed_in).seal_segment(true, &mut sealed);
        for opened_in in &contexts {
            let opener = PartOpener::new(&key, Suite::V1, opened_in);
            let opened = opener.open_segment(0, true, &mut sealed.clone());
            assert_eq!(opened.is_ok(), sealed_in == opened_in, "{sealed_in:?} {opened_in:?}");
        }
    }
}

#[test]
fn under_one_data_key_another_version_or_algorithm_does_not_open() {
    let key = Key::copied(&[5; 32]);
    let context = contexts()[0];
    let mut sealed = *b"plaintext and sixteen bytes more";
    PartSealer::new(&key, &context).seal_segment(true, &mut sealed);
    for byte in 0..=255 {
        for suite in [[byte, 1], [1, byte]] {
            let opener = PartOpener::new(&key, Suite::unchecked(suite), &context);
            let opened = opener.open_segment(0, true, &mut sealed.clone());
            assert_eq!(opened.is_ok(), suite == [1, 1], "{suite:?}");
        }
    }
}

#[test]
fn lengths_are_those_of_the_layout() {
    let full = SEGMENT_BYTES as u64;
    for (plain_bytes, count) in [(0, 1), (1, 1), (full, 1), (full + 1, 2), (3 * full, 3)] {
        assert_eq!(segments(plain_bytes), count, "{plain_bytes}");
        assert_eq!(sealed_bytes(plain_bytes), plain_bytes + 16 * count, "{plain_bytes}");
    }
}

#[test]
#[should_panic(expected = "no segment follows the last one")]
fn nothing_is_sealed_after_the_last_segment() {
    let mut sealer = PartSealer::new(&Key::copied(&[5; 32]), &contexts()[0]);
    sealer.seal_segment(true, &mut [0; 16]);
    sealer.seal_segment(true, &mut [0; 16]);
}

#[test]
#[should_panic(expected = "only the last segment may be short")]
fn a_short_segment_is_the_last() {
    let mut sealer = PartSealer::new(&Key::copied(&[5; 32]), &contexts()[0]);
    sealer.seal_segment(false, &mut [0; 17]);
}

#[test]
#[should_panic(expected = "far below the limit")]
fn a_counter_never_wraps() {
    let mut sealer = PartSealer::new(&Key::copied(&[5; 32]), &contexts()[0]);
    sealer.next = SEGMENTS_MAX;
    sealer.seal_segment(true, &mut [0; 16]);
}
