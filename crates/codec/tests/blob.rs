//! A blob's way to the shards and back.

use havre_codec::{BlobKeys, ErasureCode, disperse, gather};
use havre_model::record::BlobSecret;
use havre_model::{BlobId, Geometry};

#[test]
fn a_blob_is_gathered_from_any_k_shards() {
    let geometry = Geometry::new(3, 3).unwrap();
    let (secret, blob) = (BlobSecret::from_bytes([7; 32]), BlobId::from_bytes([9; 16]));
    let keys = BlobKeys::new(&secret, blob, geometry, 64);
    let coder = ErasureCode::new(geometry);
    let bytes: Vec<u8> = (0..1000_u32).map(|at| (at * 7) as u8).collect();
    let shards = disperse(&coder, &keys, &secret, &bytes);
    for subset in 0_u32..64 {
        let some: Vec<_> = (0..6).filter(|at| subset & 1 << at != 0).map(|at| &shards[at]).collect();
        let gathered = gather(blob, &some);
        if some.len() < 3 {
            assert!(gathered.is_err());
        } else {
            let gathered = gathered.unwrap();
            assert_eq!(gathered.bytes, bytes);
            assert_eq!(gathered.secret, secret);
            assert!(gathered.bad.is_empty());
        }
    }
}
