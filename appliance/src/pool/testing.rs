//! Pools to try things with.

use super::*;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use paravane_hal::entropy::{Entropy, EntropyError};
use std::format;
use std::vec::Vec;

pub(super) const START: Instant = Instant::from_nanos(1_000_000_000);
pub(super) const MAGLEV: Algorithm = Algorithm::Maglev { places: 2039, key: [1, 2] };
pub(super) const ALGORITHMS: [Algorithm; 3] = [Algorithm::RoundRobin, Algorithm::LeastConnections, MAGLEV];

struct Known;

impl Entropy for Known {
    fn name(&self) -> &'static str {
        "known"
    }
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        to.fill(7);
        Ok(())
    }
}

pub(super) fn random() -> Random {
    Random::new(&Known).unwrap()
}

pub(super) fn after(seconds: u64) -> Instant {
    START.saturating_add(Duration::from_secs(seconds))
}

pub(super) fn source(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xc633_6400 + number).into()
}

pub(super) fn server(number: u16) -> Server {
    let [high, low] = number.to_be_bytes();
    Server::new(format!("web-{number}"), ([10, 0, high, low], 80).into())
}

pub(super) fn pool(settings: Settings) -> Pool {
    Pool::new(settings, &mut random()).unwrap()
}

/// One of so many servers that are up.
pub(super) fn pool_of(algorithm: Algorithm, servers: u16) -> (Pool, Vec<ServerId>) {
    let mut pool = pool(Settings { algorithm, ..Settings::new(servers + 1) });
    let ids = (0..servers).map(|number| pool.add(server(number), Health::Up).unwrap()).collect();
    pool.poll(START);
    (pool, ids)
}

pub(super) fn choose_many(pool: &mut Pool, connections: u32) -> Vec<Lease> {
    (0..connections).map(|number| pool.choose(source(number), START).unwrap()).collect()
}

/// Which servers have any of these, in order.
pub(super) fn servers_of(leases: &[Lease]) -> Vec<ServerId> {
    let mut servers: Vec<_> = leases.iter().map(Lease::server).collect();
    servers.sort_by_key(|id| id.place);
    servers.dedup();
    servers
}
