//! Digests of what is copied, and what a source claims of them.
//!
//! **Invariant.** A claim that was taken is compared: with the bytes as they were read.
//!
//! **Deliberately absent.** Digests of digests: S3's composite checksums say nothing of the bytes
//! without the parts' limits.
//!
//! **Crash.** Values only.

use super::bucket::header;
use super::metadata::is_sealed_there;
use super::sign::Dialect;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use md5::{Digest as _, Md5};

/// Bytes that are digested before others have their turn.
const SLICE_BYTES: usize = 256 * 1024;

/// The checksums of a whole object that S3 shows.
const CHECKSUMS: [(&str, CrcAlgorithm, &str); 3] = [
    ("x-amz-checksum-crc64nvme", CrcAlgorithm::Crc64Nvme, "CRC-64/NVME"),
    ("x-amz-checksum-crc32", CrcAlgorithm::Crc32IsoHdlc, "CRC-32"),
    ("x-amz-checksum-crc32c", CrcAlgorithm::Crc32Iscsi, "CRC-32C"),
];

/// What a source says of an object's bytes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Claims {
    /// The MD5, where the ETag is one.
    pub(super) md5: Option<[u8; 16]>,
    crcs: Vec<(CrcAlgorithm, u64, &'static str)>,
}

impl Claims {
    /// Reads them from a whole object's headers and its ETag. `etags_are_md5`: whether an ETag of
    /// that form is taken for one.
    pub(super) fn of(
        dialect: Dialect,
        headers: &HeaderMap,
        etag: &str,
        etags_are_md5: bool,
    ) -> Self {
        let believed = etags_are_md5 && !is_sealed_there(dialect, headers);
        let md5 = md5_of(etag).filter(|_| believed);
        let mut crcs = Vec::new();
        let composite = header(headers, "x-amz-checksum-type") == Some("COMPOSITE");
        for (name, algorithm, label) in CHECKSUMS.into_iter().filter(|_| !composite) {
            // One of parts has its number behind it, and so is no base64.
            let value = header(headers, name).and_then(|text| BASE64.decode(text).ok());
            if let Some(value) = value.filter(|value| matches!(value.len(), 4 | 8)) {
                let value = value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                crcs.push((algorithm, value, label));
            }
        }
        let ecma = header(headers, "x-oss-hash-crc64ecma").and_then(|text| text.parse().ok());
        crcs.extend(ecma.map(|value| (CrcAlgorithm::Crc64Xz, value, "CRC-64/ECMA")));
        Self { md5, crcs }
    }
}

/// The MD5 that an ETag of a single part is.
pub(super) fn md5_of(etag: &str) -> Option<[u8; 16]> {
    let mut value = [0; 16];
    hex::decode_to_slice(etag, &mut value).ok().map(|()| value)
}

/// The number of parts that an ETag of parts names.
pub(super) fn parts_of(etag: &str) -> Option<u64> {
    let (digest, parts) = etag.split_once('-')?;
    let parts = parts.parse().ok()?;
    (digest.len() == 32 && parts > 0).then_some(parts)
}

/// The ETag of an object in parts: MD5 over what stands in the parts' ETags.
pub(super) fn etag_of_parts(etags: &[String]) -> String {
    let mut digest = Md5::new();
    for etag in etags {
        let bare = etag.split('-').next().unwrap_or_default();
        match hex::decode(bare) {
            Ok(bytes) => digest.update(bytes),
            Err(_) => digest.update(bare),
        }
    }
    format!("{}-{}", hex::encode(digest.finalize()), etags.len())
}

/// Digests under way.
pub(super) struct Sums {
    md5: Option<Md5>,
    crc64: crc_fast::Digest,
    crcs: Vec<crc_fast::Digest>,
    bytes: u64,
}

/// Digests of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) bytes: u64,
    pub(super) crc64: u64,
    /// Where it was asked for.
    pub(super) md5: Option<[u8; 16]>,
    crcs: Vec<u64>,
}

impl Sums {
    /// CRC-64 alone.
    pub(super) fn plain() -> Self {
        Self::of(&Claims::default())
    }

    /// With MD5, where it was not asked for already.
    pub(super) fn and_md5(self) -> Self {
        Self { md5: self.md5.or_else(|| Some(Md5::new())), ..self }
    }

    /// CRC-64 and what these claims need.
    pub(super) fn of(claims: &Claims) -> Self {
        Self {
            md5: claims.md5.map(|_| Md5::new()),
            crc64: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme),
            crcs: claims.crcs.iter().map(|(kind, ..)| crc_fast::Digest::new(*kind)).collect(),
            bytes: 0,
        }
    }

    /// Takes more bytes, and lets others work in between.
    pub(super) async fn update(&mut self, bytes: &[u8]) {
        for slice in bytes.chunks(SLICE_BYTES) {
            if let Some(md5) = &mut self.md5 {
                md5.update(slice);
            }
            self.crc64.update(slice);
            self.crcs.iter_mut().for_each(|crc| crc.update(slice));
            self.bytes += slice.len() as u64;
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn finish(self) -> Totals {
        Totals {
            bytes: self.bytes,
            crc64: self.crc64.finalize(),
            md5: self.md5.map(|md5| md5.finalize().into()),
            crcs: self.crcs.iter().map(crc_fast::Digest::finalize).collect(),
        }
    }
}

impl Totals {
    /// The first of the claims that does not hold.
    pub(super) fn refute(&self, claims: &Claims) -> Option<&'static str> {
        if claims.md5.is_some() && claims.md5 != self.md5 {
            return Some("MD5");
        }
        let pairs = claims.crcs.iter().zip(&self.crcs);
        pairs
            .filter(|((_, claimed, _), found)| claimed != *found)
            .map(|((.., name), _)| *name)
            .next()
    }
}

/// A CRC-64 as S3 writes it.
pub(super) fn crc64_text(value: u64) -> String {
    BASE64.encode(value.to_be_bytes())
}

/// An MD5 as `Content-MD5` has it.
pub(super) fn md5_text(value: [u8; 16]) -> String {
    BASE64.encode(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const DIGITS: &[u8] = b"123456789";
    const MD5: &str = "25f9e794323b453885f5181f1b624d0b";

    fn claims(pairs: &[(&'static str, &'static str)], etag: &str, etags_are_md5: bool) -> Claims {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            })
            .collect();
        Claims::of(Dialect::Aws, &headers, etag, etags_are_md5)
    }

    /// What of the claims the nine digits refute.
    async fn refuted(claims: &Claims) -> Option<&'static str> {
        let mut sums = Sums::of(claims);
        sums.update(DIGITS).await;
        sums.finish().refute(claims)
    }

    #[tokio::test]
    async fn what_the_source_claims_of_the_bytes_is_compared() {
        for (header, right, wrong, name) in [
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=", "rosUhgp5mIh=", "CRC-64/NVME"),
            ("x-amz-checksum-crc32", "y/Q5Jg==", "y/Q5Jw==", "CRC-32"),
            ("x-amz-checksum-crc32c", "4waSgw==", "4waShA==", "CRC-32C"),
            ("x-oss-hash-crc64ecma", "11051210869376104954", "1", "CRC-64/ECMA"),
        ] {
            assert_eq!(refuted(&claims(&[(header, right)], "", true)).await, None, "{header}");
            let wrong = if name == "CRC-64/NVME" { "AAAAAAAAAAA=" } else { wrong };
            assert_eq!(refuted(&claims(&[(header, wrong)], "", true)).await, Some(name));
        }
        assert_eq!(refuted(&claims(&[], MD5, true)).await, None);
        assert_eq!(refuted(&claims(&[], &MD5.replace('2', "3"), true)).await, Some("MD5"));
    }

    #[tokio::test]
    async fn what_is_no_claim_about_the_bytes_is_not_taken_for_one() {
        let other = MD5.replace('2', "3");
        let kms = ("x-amz-server-side-encryption", "aws:kms");
        assert_eq!(claims(&[kms], &other, true), Claims::default());
        assert_eq!(claims(&[], &other, false), Claims::default());
        assert_eq!(claims(&[], &format!("{other}-2"), true), Claims::default());
        let composite = ("x-amz-checksum-type", "COMPOSITE");
        let sum = ("x-amz-checksum-crc32", "AAAAAA==");
        assert_eq!(claims(&[composite, sum], "", true), Claims::default());
        assert_eq!(claims(&[("x-amz-checksum-crc32", "AAAAAA==-2")], "", true), Claims::default());
    }

    #[test]
    fn etags_of_parts_are_known_and_made() {
        assert_eq!(parts_of(&format!("{MD5}-12")), Some(12));
        for etag in [MD5, "abc-1", "", &format!("{MD5}-x"), &format!("{MD5}-0")] {
            assert_eq!(parts_of(etag), None, "{etag}");
        }
        // md5(md5("123456789") twice), as md5sum gives it.
        let twice = etag_of_parts(&[MD5.to_owned(), MD5.to_owned()]);
        assert_eq!(twice, "4f2908c19b573e50b194e208c928de17-2");
        assert_ne!(etag_of_parts(&[format!("{MD5}-1")]), format!("{MD5}-1"));
    }
}
