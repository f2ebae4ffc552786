//! Where heads, chunks and bodies begin and end. Pure functions over a stream.
//!
//! Spec: RFC 9112, 2 "Message", 5 "Field Syntax", 7.1 "Chunked Transfer Coding".

use std::io::{self, BufRead, Read as _, Write};

use anyhow::{Context as _, Result, bail, ensure};

const MAX_LINE_BYTES: u64 = 8 * 1024;
const MAX_FIELDS: usize = 100;
/// Sizes of the chunks that we send, in turn: one byte, around a segment, more than a window of
/// small size.
const CHUNK_BYTES: [usize; 6] = [1, 1459, 1460, 1461, 4096, 20_000];

/// Header or trailer fields, in the order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of the first field of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// How many fields there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Parses `Name: value` lines, such as curl writes them; lines without a colon (status lines)
    /// are passed over.
    pub fn from_lines(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
    }
}

/// One line without its end.
fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    stream.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    ensure!(!line.is_empty(), "the connection was closed");
    let Some(line) = line.strip_suffix(b"\r\n") else {
        bail!("a line without CRLF: {:?}", String::from_utf8_lossy(&line));
    };
    String::from_utf8(line.to_vec()).context("a line that is not UTF-8")
}

fn read_fields(stream: &mut impl BufRead) -> Result<Headers> {
    let mut fields = Headers::default();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let Some((name, value)) = line.split_once(':') else { bail!("a field without a colon: {line:?}") };
        ensure!(!name.is_empty() && !name.contains(char::is_whitespace), "a bad field name: {line:?}");
        fields.0.push((name.to_owned(), value.trim().to_owned()));
        ensure!(fields.count() <= MAX_FIELDS, "more than {MAX_FIELDS} fields");
    }
}

/// Status line and header fields.
pub(super) fn read_head(stream: &mut impl BufRead) -> Result<(u16, Headers)> {
    let line = read_line(stream)?;
    let status =
        line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let Some(status @ 100..=599) = status else { bail!("a bad status line: {line:?}") };
    Ok((status, read_fields(stream)?))
}

/// Copies `len_bytes` from `stream` to `sink`.
pub(super) fn copy_exactly(stream: &mut impl BufRead, len_bytes: u64, sink: &mut dyn Write) -> Result<()> {
    let copied = io::copy(&mut stream.take(len_bytes), &mut Forward(sink))?;
    ensure!(copied == len_bytes, "the connection was closed after {copied} of {len_bytes} bytes");
    Ok(())
}

/// Copies all there is from `stream` to `sink` and says how much that was.
pub(super) fn copy_to_end(stream: &mut impl BufRead, sink: &mut dyn Write) -> Result<u64> {
    Ok(io::copy(stream, &mut Forward(sink))?)
}

/// `io::copy` wants a sized writer.
struct Forward<'a>(&'a mut dyn Write);

impl Write for Forward<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Copies a chunked body to `sink`; gives its length and the trailer fields.
pub(super) fn read_chunked(stream: &mut impl BufRead, sink: &mut dyn Write) -> Result<(u64, Headers)> {
    let mut total_bytes = 0_u64;
    loop {
        let place = || format!("in the chunk at byte {total_bytes} of the body");
        let line = read_line(stream).with_context(place)?;
        let digits = line.split(';').next().unwrap_or_default().trim_end();
        // `from_str_radix` alone would take a sign.
        let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(is_hex, "a bad chunk size {line:?} {}", place());
        let len = u64::from_str_radix(digits, 16).with_context(|| format!("a bad chunk size {line:?}"))?;
        if len == 0 {
            return Ok((total_bytes, read_fields(stream).context("in the trailer")?));
        }
        copy_exactly(stream, len, sink).with_context(place)?;
        let end = read_line(stream).with_context(place)?;
        ensure!(end.is_empty(), "{} bytes behind the end of a chunk {}", end.len(), place());
        total_bytes = total_bytes.checked_add(len).context("a body longer than 2^64 bytes")?;
    }
}

/// Writes the next `len_bytes` of `source` as a chunked body without trailer fields.
pub(super) fn write_chunked(stream: &mut dyn Write, source: &mut dyn io::Read, len_bytes: u64) -> Result<()> {
    let mut left = len_bytes;
    for chunk_bytes in CHUNK_BYTES.into_iter().cycle() {
        let len = usize::try_from(left).map_or(chunk_bytes, |left| left.min(chunk_bytes));
        // The chunk of length nothing is the end of the body.
        let mut chunk = format!("{len:x}\r\n").into_bytes();
        let head_bytes = chunk.len();
        chunk.resize(head_bytes + len, 0);
        source.read_exact(&mut chunk[head_bytes..])?;
        chunk.extend(b"\r\n");
        stream
            .write_all(&chunk)
            .with_context(|| format!("after {} of {len_bytes} bytes", len_bytes - left))?;
        if len == 0 {
            break;
        }
        left -= len as u64;
    }
    Ok(())
}
