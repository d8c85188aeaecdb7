//! The framing of `aws-chunked` bodies, watched on the wire.
//!
//! `s3s` decodes the chunks and checks their signatures, but takes the end of the body for the end
//! of the chunks: an upload whose final chunk never came, with a decoded length that fits, would
//! pass.
//!
//! **Invariant.** A body passes only if its chunks are well-formed and a final one of length 0 came
//! (B8).
//!
//! **Deliberately absent.** Signatures, decoding, trailers' content; and copies: bytes are only
//! looked at.
//!
//! **Crash.** Values only.

/// Bytes of a chunk's header line: 16 hex digits and a signature fit.
const LINE_BYTES_MAX: usize = 1024;

/// The framing is not what the signature announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    /// A chunk's header line is malformed.
    #[error("a chunk of the body has a malformed header")]
    Malformed,
    /// The final chunk of length 0 is missing.
    #[error("the final chunk of the body is missing")]
    Incomplete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a header line, so many bytes into it.
    Line,
    /// In data, or in the line break behind it: so many bytes are left.
    Data(u64),
    /// Behind the final chunk's header.
    Ended,
}

/// Watches the bytes of one body.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    line: Vec<u8>,
}

impl Framing {
    pub(crate) const fn new() -> Self {
        Self { state: State::Line, line: Vec::new() }
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) -> Result<(), FramingError> {
        while !bytes.is_empty() {
            match self.state {
                State::Ended => return Ok(()),
                State::Data(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Line } else { State::Data(left) };
                }
                State::Line => bytes = self.take_line(bytes)?,
            }
        }
        Ok(())
    }

    fn take_line<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], FramingError> {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|index| index + 1);
        let taken = end.unwrap_or(bytes.len());
        if self.line.len() + taken > LINE_BYTES_MAX {
            return Err(FramingError::Malformed);
        }
        self.line.extend_from_slice(&bytes[..taken]);
        if end.is_some() {
            let length = length(&self.line).ok_or(FramingError::Malformed)?;
            // The line break behind the data belongs to it.
            self.state = if length == 0 { State::Ended } else { State::Data(length + 2) };
            self.line.clear();
        }
        Ok(&bytes[taken..])
    }

    /// Called at the end of the body.
    pub(crate) fn finish(&self) -> Result<(), FramingError> {
        if self.state == State::Ended { Ok(()) } else { Err(FramingError::Incomplete) }
    }
}

fn length(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n")?;
    let digits = line.split(|byte| *byte == b';').next()?;
    // Eight digits: a chunk is at most 4 GiB, and nothing overflows.
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: Result<(), FramingError>) {
        for size in [1, 2, 3, 7, body.len().max(1)] {
            let mut framing = Framing::new();
            let outcome = body
                .as_bytes()
                .chunks(size)
                .try_for_each(|bytes| framing.update(bytes))
                .and_then(|()| framing.finish());
            assert_eq!(outcome, expected, "{body:?} in pieces of {size}");
        }
    }

    #[test]
    fn a_body_with_its_final_chunk_passes() {
        check("0\r\n\r\n", Ok(()));
        check("3\r\nabc\r\n0\r\n\r\n", Ok(()));
        check("3;chunk-signature=00\r\nabc\r\n0;chunk-signature=00\r\nx-amz-a:1\r\n\r\n", Ok(()));
        check("A\r\n0\r\n0\r\n0\r\n0\r\n0\r\n", Ok(()));
    }

    #[test]
    fn a_body_without_it_is_incomplete() {
        for body in ["", "3\r\nabc", "3\r\nabc\r\n", "3\r\nabc\r\n0", "3\r\n0\r\n"] {
            check(body, Err(FramingError::Incomplete));
        }
    }

    #[test]
    fn what_is_no_chunk_header_is_refused() {
        for body in
            ["\r\n", "abcdefg\r\n", "+3\r\nabc\r\n", "3\nabc\r\n0\r\n", "100000000\r\n", "-1\r\n"]
        {
            check(body, Err(FramingError::Malformed));
        }
        check(&format!("3;{}", "x".repeat(LINE_BYTES_MAX)), Err(FramingError::Malformed));
    }
}
