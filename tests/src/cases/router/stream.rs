//! Connections through the router, between stacks that nobody here wrote: all bytes arrive, over
//! both IP versions, both ways.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{MTU_BYTES, PRIVATE, PUBLIC, plan, status};
use crate::guest::{self, host_address, host_address_v6};
use crate::qemu::{Machine, NicModel};
use crate::runner::Subject;
use crate::stream;

const STREAM_BYTES: u64 = 32 << 20;
const LIMIT: Duration = Duration::from_secs(30);
const PORT: u16 = 7000;

pub(super) fn run(subject: Subject<'_>, pair: [NicModel; 2]) -> Result<String> {
    // These stacks do not find out which packets are too long for a link behind their own.
    guest::run(subject.image, &plan(Machine::Q35, pair, "auto", MTU_BYTES), |guest| {
        let mut remarks = Vec::new();
        for (from, to, is_v4) in [(PUBLIC, PRIVATE, true), (PRIVATE, PUBLIC, false)] {
            let server = if is_v4 { IpAddr::V4(host_address(to)) } else { IpAddr::V6(host_address_v6(to)) };
            let [client_host, server_host] = guest.peers([from, to])?;
            let start = Instant::now();
            let to = SocketAddr::new(server, PORT);
            let sent = stream::send(client_host, server_host, to, STREAM_BYTES, start + LIMIT);
            if let Err(error) = sent {
                let status = status(guest).map(|status| status.to_string());
                return Err(error.context(format!("a stream to {server}; the status then: {status:?}")));
            }
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
