//! Golden bytes: every version ever shipped is read for ever, and what is written today is the same
//! bytes that were written on the first day. The files are never edited; `HAVRE_WRITE_GOLDEN=1`
//! writes those that do not exist yet.

use crate::support::*;
use havre_model::limits::{SEALED_SEGMENT_BYTES, SEGMENT_BYTES};
use havre_model::record::{BucketKeyEpoch, WrappedKey};
use havre_seal::{Keyring, RootKey};
use std::fs;
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/formats").join(name)
}

#[track_caller]
fn golden(name: &str, written_today: &[u8]) -> Vec<u8> {
    let path = path(name);
    if std::env::var_os("HAVRE_WRITE_GOLDEN").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("the source tree");
        fs::write(&path, written_today).expect("the source tree");
    }
    let bytes = fs::read(&path).expect("a golden file");
    assert!(bytes == written_today, "{name}: other bytes are written today");
    bytes
}

/// The root key that all golden files are under, from its own golden file.
fn root() -> RootKey {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("root.key");
    RootKey::create_file(&file, &*Seeded::new("golden root")).expect("a fresh path");
    let text = golden("keys/v1-root-key.txt", &fs::read(&file).expect("own file"));
    RootKey::from_env_text(std::str::from_utf8(&text).expect("ASCII")).expect("a root key")
}

/// A keyring with tenant and bucket as the golden files have them, drawing from `seed`.
fn keyring(seed: &'static str) -> Keyring {
    let writer = Keyring::new(root(), Seeded::new("golden keys"));
    let tenant = golden("keys/v1-tenant-key.bin", writer.new_tenant_key(ALICE).as_bytes());
    let tenant = WrappedKey::from_bytes(tenant);
    writer.install_tenant(ALICE, &tenant).expect("the golden tenant key");
    let bucket = writer.new_bucket_key(ALICE, ALICE_1, 1).expect("installed");
    let bucket = WrappedKey::from_bytes(golden("keys/v1-bucket-key.bin", bucket.as_bytes()));

    let keyring = Keyring::new(root(), Seeded::new(seed));
    keyring.install_tenant(ALICE, &tenant).expect("the golden tenant key");
    let epochs = [BucketKeyEpoch { epoch: 1, key: bucket }];
    keyring.install_bucket(ALICE, ALICE_1, &epochs).expect("the golden bucket key");
    keyring
}

#[test]
fn keys_of_version_1_are_read_and_written() {
    drop(keyring("unused"));
}

#[test]
fn segments_of_version_1_are_read_and_written() {
    let keyring = keyring("golden part");
    let place = context("dir/ключ");
    let plain = plain(SEGMENT_BYTES + 5);
    let (mut sealer, key) = keyring.seal_part(&place).expect("installed");
    let sealed = seal_all(&mut sealer, &plain).concat();

    let key = WrappedKey::from_bytes(golden("segment/v1-part-key.bin", key.as_bytes()));
    let sealed = golden("segment/v1-two-segments.bin", &sealed);
    let opener = keyring.open_part(&place, &key).expect("the golden part's key");
    let segments: Vec<Vec<u8>> = sealed.chunks(SEALED_SEGMENT_BYTES).map(<[u8]>::to_vec).collect();
    assert_eq!(open_all(&opener, &segments), Ok(plain));
}

#[test]
fn an_empty_part_of_version_1_is_read_and_written() {
    let keyring = keyring("golden empty part");
    let (mut sealer, key) = keyring.seal_part(&context("k")).expect("installed");
    let sealed = seal_all(&mut sealer, b"").concat();
    let key = WrappedKey::from_bytes(golden("segment/v1-empty-part-key.bin", key.as_bytes()));
    let sealed = golden("segment/v1-empty-part.bin", &sealed);
    let opener = keyring.open_part(&context("k"), &key).expect("the golden part's key");
    assert_eq!(open_all(&opener, &[sealed]), Ok(vec![]));
}

#[test]
fn records_of_version_1_are_read_and_written() {
    let cases = [(SCOPES[0], "system"), (SCOPES[1], "tenant"), (SCOPES[3], "bucket")];
    for (scope, name) in cases {
        let keyring = keyring(name);
        let plain = format!("a record of {scope}").into_bytes();
        let sealed = keyring.seal_record(scope, &plain).expect("installed");
        let sealed = golden(&format!("sealed-record/v1-{name}.bin"), &sealed);
        assert_eq!(open_record(&keyring, &sealed), Ok((scope, plain)));
    }
}
