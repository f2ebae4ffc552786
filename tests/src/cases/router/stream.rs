//! Connections through the router, between stacks that nobody here wrote: all bytes arrive, over
//! both IP versions, both ways.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{PRIVATE, PUBLIC, plan, status};
use crate::digest::{DigestSink, DigestSource};
use crate::guest::{self, host_address, host_address_v6};
use crate::host::Peer;
use crate::noise::Noise;
use crate::qemu::{Machine, NicModel};
use crate::runner::Subject;

const STREAM_BYTES: u64 = 32 << 20;
const LIMIT: Duration = Duration::from_secs(180);
const PORT: u16 = 7000;

pub(super) fn run(subject: Subject<'_>, pair: [NicModel; 2]) -> Result<String> {
    guest::run(subject.image, &plan(Machine::Q35, pair, "auto"), |guest| {
        let mut remarks = Vec::new();
        for (from, to, is_v4) in [(PUBLIC, PRIVATE, true), (PRIVATE, PUBLIC, false)] {
            let server = if is_v4 { IpAddr::V4(host_address(to)) } else { IpAddr::V6(host_address_v6(to)) };
            let [client_host, server_host] = guest.two_peers([from, to])?;
            let start = Instant::now();
            send(client_host, server_host, SocketAddr::new(server, PORT), STREAM_BYTES)
                .with_context(|| format!("a stream to {server}"))?;
            let rate = STREAM_BYTES as f64 / f64::from(1 << 20) / start.elapsed().as_secs_f64();
            remarks.push(format!("{} {rate:.1} MiB/s", if is_v4 { "v4" } else { "v6" }));
        }
        let status = status(guest)?;
        let lost: u64 = ["public", "private"]
            .iter()
            .map(|nic| super::drops(&status, nic, "egress_full"))
            .sum::<Result<u64>>()?;
        Ok(format!("{} MiB each: {}; {lost} frames met a full queue", STREAM_BYTES >> 20, remarks.join(", ")))
    })
}

/// Sends so many bytes of noise from one host to the other, which says what it got: the two are the
/// same.
fn send(client_host: &mut Peer, server_host: &mut Peer, to: SocketAddr, len_bytes: u64) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
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
