//! Frames: a length and so many bytes.
//!
//! **Invariant.** Nothing longer than [`FRAME_BYTES_MAX`] is read into memory or sent.
//!
//! **Deliberately absent.** Deadlines: the callers have different ones.
//!
//! **Crash.** Nothing is kept.

use super::{Call, FRAME_BYTES_MAX, Refusal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
/// Bytes of a question's number, with which its answer begins as well.
const NUMBER_BYTES: usize = 8;

/// Reads a frame; `None` when the other side has closed its end.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; LENGTH_BYTES];
    match from.read_exact(&mut length).await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await?;
    Ok(Some(frame))
}

/// Sends a frame.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= FRAME_BYTES_MAX);
    let length =
        length.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a frame is too long"))?;
    to.write_all(&length.to_le_bytes()).await?;
    to.write_all(frame).await
}

/// The frame of a question.
pub(super) fn question(number: u64, call: &Call) -> io::Result<Vec<u8>> {
    encode(number, call)
}

/// The question in a frame; `None` when it is none.
pub(super) fn parse_question(frame: &[u8]) -> Option<(u64, Call)> {
    let (number, rest) = parse(frame)?;
    Some((number, decode(rest)?))
}

/// The frame of an answer.
pub(super) fn answer<T: Serialize>(number: u64, result: &Result<T, Refusal>) -> Vec<u8> {
    encode(number, result).unwrap_or_else(|_| {
        let refusal = Refusal::Failed("the answer cannot be written".to_owned());
        encode(number, &Err::<(), _>(refusal)).unwrap_or_default()
    })
}

/// A frame's number, and the rest, of which only who asked knows the type: see [`decode`].
pub(super) fn parse(frame: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = frame.split_first_chunk::<NUMBER_BYTES>()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// The value in these bytes, if they are one and nothing more.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

fn encode(number: u64, value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = number.to_le_bytes().to_vec();
    let rest = postcard::to_allocvec(value)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "a frame cannot be written"))?;
    frame.extend(rest);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written_and_an_end_is_an_end() {
        let mut wire = Vec::new();
        write(&mut wire, b"first").await.unwrap();
        write(&mut wire, b"").await.unwrap();
        let mut from = &wire[..];
        assert_eq!(read(&mut from).await.unwrap().unwrap(), b"first");
        assert_eq!(read(&mut from).await.unwrap().unwrap(), b"");
        assert_eq!(read(&mut from).await.unwrap(), None);
        assert!(read(&mut &wire[..6]).await.is_err(), "half a frame is none");
    }

    #[tokio::test]
    async fn too_long_a_frame_is_neither_read_nor_sent() {
        let length = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
        assert!(read(&mut &length[..]).await.is_err());
        let mut wire = Vec::new();
        assert!(write(&mut wire, &vec![0; FRAME_BYTES_MAX + 1]).await.is_err());
        assert!(wire.is_empty());
    }

    #[test]
    fn what_is_no_question_is_none() {
        let frame = question(7, &Call::Look { applied: 5 }).unwrap();
        assert!(matches!(parse_question(&frame), Some((7, Call::Look { applied: 5 }))));
        for end in 0..frame.len() {
            assert!(parse_question(&frame[..end]).is_none());
        }
        let longer = [&frame[..], &[0]].concat();
        assert!(parse_question(&longer).is_none());
        let unknown = [&[0; 8][..], &[0xFF, 0x7F]].concat();
        assert!(parse_question(&unknown).is_none());
    }
}
