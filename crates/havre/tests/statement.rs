//! Signed statements, and the example of their format.

use havre::statement::{Envelope, PAYLOAD_TYPE, Signer, VerifyError, rfc3339, verify};
use havre_model::Timestamp;
use havre_seal::{RootKey, StatementKey, StatementPublicKey};
use serde_json::json;

/// The root key of 32 bytes 0x00, 0x01 to 0x1f.
const ROOT: &str = "havre-root-key-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:";
const DOCUMENT: &str = include_str!("../../../docs/formats/statement.md");

struct Counting;

impl havre_model::ports::Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.iter_mut().zip(0..).for_each(|(byte, number)| *byte = number);
    }
}

/// The example's root key.
fn root() -> RootKey {
    RootKey::generate(&Counting)
}

fn example() -> Envelope {
    let signer = Signer::new(&root(), "gateway", "sha256:00");
    let body = json!({"party": "jurisdiction:XB", "sites": ["s3", "s4"]});
    signer.sign("example", Timestamp::from_millis(1_767_225_600_123), &body).expect("it works")
}

/// What stands in the document between three backquotes with this word behind them.
fn block(word: &str) -> &'static str {
    let begin = format!("```{word}\n");
    let from = DOCUMENT.find(&begin).expect("the block is there") + begin.len();
    let rest = &DOCUMENT[from..];
    &rest[..rest.find("```").expect("it ends")]
}

#[test]
fn the_example_of_the_format_is_what_is_signed_and_verifies() {
    assert!(DOCUMENT.contains(ROOT), "the document names the root key");
    let written: Envelope = serde_json::from_str(block("json")).unwrap();
    let key = StatementKey::derive(&root()).public();
    println!("{}\n{}", serde_json::to_string_pretty(&example()).unwrap(), key.to_pem());
    assert_eq!(written, example());
    assert_eq!(StatementPublicKey::from_pem(block("pem")), Some(key));
    let statement = verify(block("json").as_bytes(), &key).unwrap();
    assert_eq!((&*statement.kind, &*statement.time), ("example", "2026-01-01T00:00:00.123Z"));
    assert_eq!(statement.body["sites"], json!(["s3", "s4"]));
}

#[test]
fn what_was_altered_or_signed_by_others_is_not_believed() {
    let key = StatementKey::derive(&root()).public();
    let check = |change: &dyn Fn(&mut Envelope)| {
        let mut envelope = example();
        change(&mut envelope);
        verify(&serde_json::to_vec(&envelope).unwrap(), &key)
    };
    assert!(check(&|_| {}).is_ok());
    let altered = |envelope: &mut Envelope| {
        let payload = envelope.payload.replace('A', "B");
        assert_ne!(payload, envelope.payload);
        envelope.payload = payload;
    };
    assert!(matches!(check(&altered), Err(VerifyError::NotSigned { .. })));
    assert!(matches!(
        check(&|envelope| envelope.payload_type = "text/plain".to_owned()),
        Err(VerifyError::OtherType(_))
    ));
    assert!(matches!(
        check(&|envelope| envelope.signatures.clear()),
        Err(VerifyError::NotSigned { .. })
    ));
    // More signatures, one of which is the key's, are as good; the hint decides nothing.
    let among_others = |envelope: &mut Envelope| {
        let mut other = envelope.signatures[0].clone();
        other.sig = other.sig.replace('A', "B");
        envelope.signatures[0].keyid.clear();
        envelope.signatures.insert(0, other);
    };
    assert!(check(&among_others).is_ok());
    let entropy = havre_sites::system::ports().entropy;
    let other = StatementKey::derive(&RootKey::generate(&*entropy)).public();
    let envelope = serde_json::to_vec(&example()).unwrap();
    assert!(matches!(verify(&envelope, &other), Err(VerifyError::NotSigned { .. })));
    assert!(matches!(verify(b"{}", &key), Err(VerifyError::NoEnvelope(_))));
}

/// The signature is over type and payload together: a payload cannot pass as another type.
#[test]
fn a_signature_of_another_type_does_not_verify() {
    let key = StatementKey::derive(&root());
    let signature = key.sign("text/plain", b"payload");
    assert!(key.public().verifies("text/plain", b"payload", &signature));
    assert!(!key.public().verifies(PAYLOAD_TYPE, b"payload", &signature));
    assert!(!key.public().verifies("text/plain", b"payloae", &signature));
    assert!(!key.public().verifies("text/plain", b"payload", &signature[1..]));
}

#[test]
fn only_a_public_key_of_ed25519_is_one() {
    let key = StatementKey::derive(&root()).public();
    let pem = key.to_pem();
    assert_eq!(StatementPublicKey::from_pem(&pem), Some(key));
    for other in ["", "x", &pem[1..], &pem.replace("MCow", "MCox"), &pem.repeat(100)] {
        assert_eq!(StatementPublicKey::from_pem(other), None, "{other}");
    }
}

#[test]
fn times_are_written_to_the_millisecond() {
    assert_eq!(rfc3339(Timestamp::from_millis(0)), "1970-01-01T00:00:00.000Z");
    assert_eq!(rfc3339(Timestamp::from_millis(1_709_208_000_009)), "2024-02-29T12:00:00.009Z");
}
