//! The checksum of a multipart object out of its parts' checksums.
//!
//! **Invariant.** Only checksums that were verified when their part came in are composed; the
//! result is what a client computes over the same parts (Amazon S3 User Guide, "Checking object
//! integrity").
//!
//! **Deliberately absent.** Checksums over bytes: the server takes those as bodies come in.
//!
//! **Crash.** Values only.

use crc_fast::CrcAlgorithm;
use havre_model::record::{Checksum, ChecksumAlgorithm, ChecksumKind, Part};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What an upload that names no checksum gets, as S3 does it.
const DEFAULT: (ChecksumAlgorithm, ChecksumKind) =
    (ChecksumAlgorithm::Crc64nvme, ChecksumKind::FullObject);

/// The object's checksum; `None` when a part has none of this algorithm.
pub(crate) fn of_object(
    wanted: Option<(ChecksumAlgorithm, ChecksumKind)>,
    parts: &[Part],
) -> Option<Checksum> {
    let (algorithm, kind) = wanted.unwrap_or(DEFAULT);
    let of_part = |part: &Part| {
        let checksum = part.checksum.as_ref()?;
        (checksum.algorithm == algorithm).then(|| (checksum.value.clone(), part.bytes))
    };
    let values: Vec<(Vec<u8>, u64)> = parts.iter().map(of_part).collect::<Option<_>>()?;
    let value = match kind {
        ChecksumKind::FullObject => combine(crc(algorithm)?, &values)?,
        ChecksumKind::Composite => {
            let all: Vec<u8> = values.into_iter().flat_map(|(value, _)| value).collect();
            digest(algorithm, &all)
        }
    };
    Some(Checksum { algorithm, kind, value })
}

const fn crc(algorithm: ChecksumAlgorithm) -> Option<CrcAlgorithm> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
        ChecksumAlgorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
        ChecksumAlgorithm::Crc64nvme => Some(CrcAlgorithm::Crc64Nvme),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
    }
}

fn combine(algorithm: CrcAlgorithm, values: &[(Vec<u8>, u64)]) -> Option<Vec<u8>> {
    let width = values.first()?.0.len();
    let number = |value: &[u8]| {
        let mut bytes = [0; 8];
        bytes.get_mut(8 - value.len()..)?.copy_from_slice(value);
        Some(u64::from_be_bytes(bytes))
    };
    let mut combined = number(&values[0].0)?;
    for (value, bytes) in &values[1..] {
        combined = crc_fast::checksum_combine(algorithm, combined, number(value)?, *bytes);
    }
    Some(combined.to_be_bytes()[8 - width..].to_vec())
}

fn digest(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Vec<u8> {
    match algorithm {
        ChecksumAlgorithm::Sha1 => Sha1::digest(bytes).to_vec(),
        ChecksumAlgorithm::Sha256 => Sha256::digest(bytes).to_vec(),
        crc_algorithm => {
            let width = if crc_algorithm == ChecksumAlgorithm::Crc64nvme { 8 } else { 4 };
            let crc = crc(crc_algorithm).expect("all others are CRCs");
            crc_fast::checksum(crc, bytes).to_be_bytes()[8 - width..].to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use havre_model::record::WrappedKey;

    fn part(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Part {
        let value = digest(algorithm, bytes);
        Part {
            number: 1,
            bytes: bytes.len() as u64,
            etag: String::new(),
            checksum: Some(Checksum { algorithm, kind: ChecksumKind::FullObject, value }),
            key: WrappedKey::from_bytes(Vec::new()),
            extents: Vec::new(),
        }
    }

    #[test]
    fn a_combined_crc_is_the_crc_of_all_bytes() {
        use ChecksumAlgorithm::{Crc32, Crc32c, Crc64nvme};
        for algorithm in [Crc32, Crc32c, Crc64nvme] {
            let parts: Vec<Part> =
                [&b"one"[..], b"", b"two and three"].map(|it| part(algorithm, it)).to_vec();
            let found = of_object(Some((algorithm, ChecksumKind::FullObject)), &parts);
            assert_eq!(
                found.expect("all parts have one").value,
                digest(algorithm, b"onetwo and three")
            );
        }
    }

    #[test]
    fn a_composite_is_the_digest_of_the_parts_digests() {
        let algorithm = ChecksumAlgorithm::Sha256;
        let parts = [part(algorithm, b"one"), part(algorithm, b"two")];
        let all = [digest(algorithm, b"one"), digest(algorithm, b"two")].concat();
        let found = of_object(Some((algorithm, ChecksumKind::Composite)), &parts);
        assert_eq!(found.expect("all parts have one").value, digest(algorithm, &all));
    }

    #[test]
    fn a_part_without_the_algorithm_leaves_the_object_without() {
        let parts = [part(ChecksumAlgorithm::Sha1, b"one")];
        assert_eq!(of_object(None, &parts), None);
    }
}
