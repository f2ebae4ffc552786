//! A request's body, streamed through a hash.

use sha2::digest::Output;
use sha2::{Digest, Sha256};

use super::request::{BodyLength, Refusal};

/// The longest size line of a chunk, extensions included, and the longest trailer line.
const MAX_LINE_BYTES: usize = 256;

/// Where a body's reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In data, with so many bytes to come.
    Data { left: u64, chunked: bool },
    /// In the line that says how long the next chunk is.
    Size { bytes: u64, digits: usize, in_extension: bool, line: usize },
    /// Behind the first byte of that line's end.
    SizeEnd { bytes: u64 },
    /// In the line end behind a chunk; whether its first byte was seen.
    ChunkEnd { began: bool },
    /// In the trailer section; the length of its current line.
    Trailer { line: usize },
    /// Behind the body.
    Done,
}

/// Takes a body in, piece by piece.
#[derive(Clone, Debug)]
pub struct BodyReader {
    at: At,
    len_bytes: u64,
    hash: Sha256,
}

const SIZE: At = At::Size { bytes: 0, digits: 0, in_extension: false, line: 0 };

impl BodyReader {
    /// A reader for a body that comes like that.
    #[must_use]
    pub fn new(length: BodyLength) -> Self {
        let at = match length {
            BodyLength::None | BodyLength::Known(0) => At::Done,
            BodyLength::Known(left) => At::Data { left, chunked: false },
            BodyLength::Chunked => SIZE,
        };
        Self { at, len_bytes: 0, hash: Sha256::new() }
    }

    /// Whether the body is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Takes what of `bytes` belongs to the body. Returns how much that was.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the chunks are malformed: where the next request starts cannot be known.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut rest = bytes;
        while let (false, Some((&first, behind))) = (self.is_done(), rest.split_first()) {
            if let At::Data { left, chunked } = self.at {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (data, after) = rest.split_at(len);
                self.hash.update(data);
                self.len_bytes = self.len_bytes.saturating_add(len as u64);
                self.at = match (left.saturating_sub(len as u64), chunked) {
                    (0, true) => At::ChunkEnd { began: false },
                    (0, false) => At::Done,
                    (left, chunked) => At::Data { left, chunked },
                };
                rest = after;
            } else {
                self.at = next(self.at, first).ok_or(Refusal::BAD_BODY)?;
                rest = behind;
            }
        }
        Ok(bytes.len().saturating_sub(rest.len()))
    }

    /// Length and digest of the body.
    #[must_use]
    pub fn finish(self) -> (u64, Output<Sha256>) {
        (self.len_bytes, self.hash.finalize())
    }
}

/// Where one byte of chunk framing leads; `None` when it may not stand there.
fn next(at: At, byte: u8) -> Option<At> {
    match at {
        At::Size { digits: 0, .. } if byte == b'\r' => None,
        At::Size { bytes, .. } if byte == b'\r' => Some(At::SizeEnd { bytes }),
        At::Size { .. } if byte == b'\n' => None,
        At::SizeEnd { .. } if byte != b'\n' => None,
        At::SizeEnd { bytes: 0 } => Some(At::Trailer { line: 0 }),
        At::SizeEnd { bytes } => Some(At::Data { left: bytes, chunked: true }),
        At::Size { line, .. } if line >= MAX_LINE_BYTES => None,
        At::Size { bytes, digits, in_extension, line } => {
            let line = line.checked_add(1)?;
            let digit = char::from(byte).to_digit(16);
            match digit {
                Some(digit) if !in_extension => {
                    let bytes = bytes.checked_mul(16)?.checked_add(u64::from(digit))?;
                    Some(At::Size { bytes, digits: digits.checked_add(1)?, in_extension, line })
                }
                _ if in_extension || matches!(byte, b';' | b' ' | b'\t') => {
                    Some(At::Size { bytes, digits, in_extension: true, line })
                }
                _ => None,
            }
        }
        At::ChunkEnd { began } => match (began, byte) {
            (false, b'\r') => Some(At::ChunkEnd { began: true }),
            (true, b'\n') => Some(SIZE),
            _ => None,
        },
        At::Trailer { line } => match byte {
            b'\n' if line == 0 => Some(At::Done),
            b'\n' => Some(At::Trailer { line: 0 }),
            b'\r' => Some(at),
            _ if line < MAX_LINE_BYTES => Some(At::Trailer { line: line.checked_add(1)? }),
            _ => None,
        },
        At::Data { .. } | At::Done => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(length: BodyLength, bytes: &[u8], piece: usize) -> Result<(u64, usize, bool), Refusal> {
        let mut reader = BodyReader::new(length);
        let mut taken = 0;
        for piece in bytes.chunks(piece) {
            taken += reader.take(piece)?;
        }
        let done = reader.is_done();
        Ok((reader.finish().0, taken, done))
    }

    #[test]
    fn chunks_in_any_pieces() {
        let body = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\nGET /";
        for piece in 1..body.len() {
            assert_eq!(
                read(BodyLength::Chunked, body, piece),
                Ok((11, body.len() - 5, true)),
                "in pieces of {piece}"
            );
        }
        let mut reader = BodyReader::new(BodyLength::Chunked);
        reader.take(body).unwrap();
        assert_eq!(reader.finish().1, Sha256::digest(b"hello world"));
    }

    #[test]
    fn a_known_length_ends_where_it_says() {
        assert_eq!(read(BodyLength::Known(3), b"abcdef", 2), Ok((3, 3, true)));
        assert_eq!(read(BodyLength::Known(9), b"abcdef", 6), Ok((6, 6, false)));
        assert_eq!(read(BodyLength::Known(0), b"abcdef", 6), Ok((0, 0, true)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for body in [
            &b"\r\n"[..],
            b"xyz\r\n",
            b"5\r\nhelloX",
            b"fffffffffffffffff\r\n",
            b"-1\r\n",
            // Who ends lines elsewhere would find another request behind.
            b"5\nhello\r\n",
            b"5;a\nhello\r\n",
            b"5\rhello\r\n",
            b"5\r\r\nhello",
            b"5\r\nhello\n",
            b"5\r\nhello\r\r\n",
        ] {
            assert_eq!(read(BodyLength::Chunked, body, 64), Err(Refusal::BAD_BODY), "{body:?}");
        }
        let mut endless = b"1;".to_vec();
        endless.resize(1000, b'x');
        assert_eq!(read(BodyLength::Chunked, &endless, 64), Err(Refusal::BAD_BODY));
    }
}
