//! SHA-256 of what passes by.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

/// A sink that keeps nothing but the digest and the length.
#[derive(Clone, Debug, Default)]
pub struct DigestSink {
    hasher: Sha256,
    len_bytes: u64,
}

impl DigestSink {
    /// Length and digest, in lower-case hexadecimal, of all that was written.
    pub fn finish(self) -> (u64, String) {
        (self.len_bytes, hex(&self.hasher.finalize()))
    }
}

impl Write for DigestSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A source that takes the digest of what is read from it.
#[derive(Clone, Debug)]
pub struct DigestSource<R> {
    inner: R,
    sink: DigestSink,
}

impl<R: Read> DigestSource<R> {
    /// Reads on from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, sink: DigestSink::default() }
    }

    /// Length and digest of all that was read.
    pub fn finish(self) -> (u64, String) {
        self.sink.finish()
    }
}

impl<R: Read> Read for DigestSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.sink.write_all(buffer.get(..len).unwrap_or_default())?;
        Ok(len)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spec: FIPS 180-4, the one-block example "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn both_ways_give_the_published_digest() {
        let mut sink = DigestSink::default();
        sink.write_all(b"a").unwrap();
        sink.write_all(b"bc").unwrap();
        assert_eq!(sink.finish(), (3, ABC.to_owned()));
        let mut source = DigestSource::new(&b"abc"[..]);
        io::copy(&mut source, &mut io::sink()).unwrap();
        assert_eq!(source.finish(), (3, ABC.to_owned()));
    }
}
