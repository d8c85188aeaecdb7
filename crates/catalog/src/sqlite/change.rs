//! One change within a transaction: what it has learnt and what it adds to the totals.
//!
//! **Invariant.** The totals a change writes are the difference that its rows make: both are part
//! of one transaction.
//!
//! **Deliberately absent.** Begin and commit: `writer` groups changes into transactions.
//!
//! **Crash.** A change that is not committed did not happen.

use super::stored::{Result, execute, exists, one, present};
use havre_model::{BucketId, Seq, UploadId};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

const ADD: &str = "UPDATE totals SET tenants = tenants + $1, buckets = buckets + $2, \
     objects = objects + $3, bytes = bytes + $4, uploads = uploads + $5, parts = parts + $6, \
     blobs = blobs + $7, packs = packs + $8, garbage = garbage + $9, \
     incomplete = incomplete + $10, below_guarantee = below_guarantee + $11";
const RECOVERING: &str = "SELECT recovering FROM state";
const ANY_TOMBSTONE: &str = "SELECT 1 FROM tombstone LIMIT 1";
const ANY_REDISPERSED: &str = "SELECT 1 FROM blob WHERE extent IS NOT NULL LIMIT 1";
const BUCKET_ENDED: &str = "SELECT 1 FROM ended_bucket WHERE bucket = $1";
const UPLOAD_ENDED: &str = "SELECT 1 FROM ended_upload WHERE upload = $1";

/// What a change adds to the totals.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) tenants: i64,
    pub(super) buckets: i64,
    pub(super) objects: i64,
    pub(super) bytes: i64,
    pub(super) uploads: i64,
    pub(super) parts: i64,
    pub(super) blobs: i64,
    pub(super) packs: i64,
    pub(super) garbage: i64,
    pub(super) incomplete: i64,
    pub(super) below_guarantee: i64,
}

/// A change in the making.
pub(super) struct Change<'c> {
    pub(super) conn: &'c Connection,
    pub(super) totals: Totals,
    /// Whether packs come in any order.
    pub(super) recovering: bool,
    /// Whether any tombstone exists: most of the time none does, and a look into the table is
    /// saved.
    pub(super) tombstones: bool,
    /// The policy of the pack that is being applied.
    pub(super) policy: Option<String>,
    /// The order of the pack that is being applied.
    pub(super) order: Seq,
    /// The bucket of the record that is being applied.
    pub(super) bucket: Option<BucketId>,
    /// Whether any extent was dispersed anew: most of the time none was, and a look is saved.
    pub(super) redispersed: bool,
    ended_buckets: BTreeMap<BucketId, bool>,
}

impl<'c> Change<'c> {
    /// A change that has done nothing yet.
    pub(super) fn begin(conn: &'c Connection) -> Result<Self> {
        Ok(Self {
            conn,
            totals: Totals::default(),
            recovering: is_recovering(conn)?,
            tombstones: exists(conn, ANY_TOMBSTONE, [])?,
            policy: None,
            order: Seq::default(),
            bucket: None,
            redispersed: exists(conn, ANY_REDISPERSED, [])?,
            ended_buckets: BTreeMap::new(),
        })
    }

    /// Writes the totals; the last thing that a change does.
    pub(super) fn finish(self) -> Result<()> {
        let t = self.totals;
        if t == Totals::default() {
            return Ok(());
        }
        let values = [
            t.tenants,
            t.buckets,
            t.objects,
            t.bytes,
            t.uploads,
            t.parts,
            t.blobs,
            t.packs,
            t.garbage,
            t.incomplete,
            t.below_guarantee,
        ];
        execute(self.conn, ADD, values)?;
        Ok(())
    }

    /// Whether the bucket was deleted. Remembered: the records of a pack share few buckets.
    pub(super) fn bucket_ended(&mut self, bucket: BucketId) -> Result<bool> {
        if let Some(ended) = self.ended_buckets.get(&bucket) {
            return Ok(*ended);
        }
        let ended = exists(self.conn, BUCKET_ENDED, params![bucket.as_bytes()])?;
        self.ended_buckets.insert(bucket, ended);
        Ok(ended)
    }

    /// The bucket was deleted by this change.
    pub(super) fn note_bucket_ended(&mut self, bucket: BucketId) {
        self.ended_buckets.insert(bucket, true);
    }

    /// Whether the upload was completed or aborted.
    pub(super) fn upload_ended(&self, upload: UploadId) -> Result<bool> {
        exists(self.conn, UPLOAD_ENDED, params![upload.as_bytes()])
    }
}

/// Whether a recovery is in progress.
pub(super) fn is_recovering(conn: &Connection) -> Result<bool> {
    present(one(conn, RECOVERING, [], |row| Ok(row.get(0)?))?, "the state")
}
