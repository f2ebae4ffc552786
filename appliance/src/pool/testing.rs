//! Pools to try things with.

use super::*;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::format;
use std::vec::Vec;

pub(super) const START: Instant = Instant::from_nanos(1_000_000_000);
pub(super) const MAGLEV: Algorithm = Algorithm::Maglev { places: 2039, key: [1, 2] };
pub(super) const ALGORITHMS: [Algorithm; 3] = [Algorithm::RoundRobin, Algorithm::LeastConnections, MAGLEV];

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
    Pool::new(settings).unwrap()
}

/// One of so many servers that are up.
pub(super) fn pool_of(algorithm: Algorithm, servers: u16) -> (Pool, Vec<ServerId>) {
    let mut pool = pool(Settings { algorithm, ..Settings::new(servers + 1) });
    let ids = (0..servers).map(|number| pool.add(server(number), Health::Up).unwrap()).collect();
    pool.poll();
    (pool, ids)
}

pub(super) fn choose_many(pool: &mut Pool, connections: u32) -> Vec<ServerId> {
    (0..connections).map(|number| pool.choose(source(number), START).unwrap()).collect()
}

pub(super) fn release_all(pool: &mut Pool, had: Vec<ServerId>) {
    had.iter().for_each(|id| pool.release(id.place()));
}

/// Which servers have any of these, in order.
pub(super) fn servers_of(had: &[ServerId]) -> Vec<ServerId> {
    let mut servers = had.to_vec();
    servers.sort_by_key(|id| id.place);
    servers.dedup();
    servers
}
