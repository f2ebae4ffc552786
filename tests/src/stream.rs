//! A stream of noise from one host to another, with something between them.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::digest::{DigestSink, DigestSource};
use crate::host::Peer;
use crate::noise::Noise;

/// Sends so many bytes of noise from one host to the other, which says what it got: the two are the
/// same.
///
/// # Errors
///
/// The connection's own, or what came is not what was sent.
pub fn send(
    client_host: &mut Peer,
    server_host: &mut Peer,
    to: SocketAddr,
    len_bytes: u64,
    deadline: Instant,
) -> Result<()> {
    thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<(u64, String)> {
            let mut connection = server_host.accept(to.port(), deadline)?;
            let mut sink = DigestSink::default();
            std::io::copy(&mut (&mut connection).take(len_bytes), &mut sink)?;
            let (seen_bytes, digest) = sink.finish();
            connection.write_all(digest.as_bytes())?;
            connection.flush()?;
            Ok((seen_bytes, digest))
        });
        let sent = (|| -> Result<String> {
            let mut source = DigestSource::new(Noise::new(len_bytes));
            let mut connection = client_host.connect(to, deadline)?;
            std::io::copy(&mut (&mut source).take(len_bytes), &mut connection)?;
            connection.flush()?;
            let (_, digest) = source.finish();
            let mut answer = vec![0; digest.len()];
            connection.read_exact(&mut answer).context("no answer to the stream")?;
            ensure!(answer == digest.as_bytes(), "the answer to the stream is another digest");
            Ok(digest)
        })();
        let received = server.join().map_err(|_| anyhow!("the host that serves panicked"))?;
        let (seen_bytes, digest) = received.context("the host that serves")?;
        ensure!((seen_bytes, digest) == (len_bytes, sent?), "what came is not what was sent");
        Ok(())
    })
}
