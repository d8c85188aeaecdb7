//! Says again what the last pack of a chain says, where that pack cannot be brought to its
//! guarantee: shards are missing, and nobody knows at which sites they may be made anew.
//!
//! **Invariant.** The pack that repeats another follows it, holds every record of it that counts,
//! as it was sealed, and says in the same breath that the other is retired: whoever sees the one
//! does not need the other, and whoever sees only the other has lost nothing.
//!
//! **Deliberately absent.** Writing it, and when (`journal`); shards of the old one (`mend`).
//!
//! **Crash.** A repetition that was not acknowledged may be found readable, and is the chain's last
//! pack then; if it is not found, the pack that it repeats still is.

use crate::error::PutError;
use crate::journal::Entry;
use crate::replay::open_record;
use crate::seqs::Ticket;
use crate::shared::Shared;
use havre_catalog::Need;
use havre_codec::pack::{self, SLOT_HEADER_BYTES};
use havre_model::BlobId;
use havre_model::limits::{PACK_BYTES_MAX, PACK_RECORDS_MAX};
use havre_model::record::{self, PackEnd, Record, RetiredRecord, RetiredRun, SequencedRecord};
use havre_seal::RecordScope;
use std::sync::Arc;

/// The records of a pack that repeats the last one of its chain, which has this blob. `ticket`
/// becomes the number of its retirement. Each record below it must have been applied: what ends
/// one of those here has a higher number then, and is not forgotten while the ticket is held.
///
/// # Errors
/// In words, when the pack cannot be read, or holds what cannot be opened.
pub(crate) async fn repetition(
    shared: &Shared,
    last: BlobId,
    ticket: Arc<Ticket>,
) -> Result<Vec<Entry>, PutError> {
    let foreign = || PutError::Internal("the last pack of a chain is not what it was".to_owned());
    let unreadable = |error: crate::ReadError| PutError::Unavailable(error.to_string());
    let handle = shared.blob(last).await.map_err(unreadable)?;
    let frame = shared.blob_bytes(&handle, 0..handle.row.bytes).await.map_err(unreadable)?;
    let old = pack::parse(&frame).map_err(|_| foreign())?;
    let needs = shared.catalog.pack_contents(last).await?;
    let header = old.header;
    let mut run = RetiredRun {
        chain: header.chain,
        first: header.number,
        last: header.number,
        before: PackEnd { blob: header.previous.blob, hash: header.previous.hash },
        end: PackEnd { blob: last, hash: pack::hash(&frame) },
    };
    let mut entries = Vec::new();
    for (slot, sealed) in old.slots.iter().zip(old.records(&frame)) {
        let mut at = needs.iter().flatten();
        let need = at.find(|it| it.offset == slot.offset).map(|it| it.need);
        if need == Some(Need::Nothing) {
            continue;
        }
        let record = open_record(&shared.keyring, sealed).map_err(|_| foreign())?;
        if let Record::Retired(RetiredRecord { runs }) = &record.record
            && let [before] = runs[..]
            && before.is_repeated_by(header.chain, header.previous.blob)
        {
            // It repeats another pack itself: one run tells of both.
            (run.first, run.before) = (before.first, before.before);
            continue;
        }
        entries.push(Entry {
            record,
            sealed: sealed.to_vec(),
            reservations: Vec::new(),
            holds: Vec::new(),
            below: false,
            ticket: None,
        });
    }
    entries.push(retirement(shared, run, ticket)?);
    let slots = entries.iter().map(|entry| SLOT_HEADER_BYTES + entry.sealed.len());
    if entries.len() > PACK_RECORDS_MAX || slots.sum::<usize>() > PACK_BYTES_MAX {
        return Err(PutError::TooLarge);
    }
    Ok(entries)
}

fn retirement(shared: &Shared, run: RetiredRun, ticket: Arc<Ticket>) -> Result<Entry, PutError> {
    let record = Record::Retired(RetiredRecord { runs: vec![run] });
    let record = SequencedRecord { seq: ticket.seq(), record };
    let internal = |error: &dyn std::fmt::Display| PutError::Internal(error.to_string());
    let plain = record::encode(&record, b"").map_err(|error| internal(&error))?;
    let sealed = shared.keyring.seal_record(RecordScope::System, &plain);
    let sealed = sealed.map_err(|error| internal(&error))?;
    Ok(Entry {
        record,
        sealed,
        reservations: Vec::new(),
        holds: Vec::new(),
        below: false,
        ticket: Some(ticket),
    })
}
