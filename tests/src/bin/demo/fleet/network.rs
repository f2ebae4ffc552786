//! Two network namespaces with both balancers between them. Clients are in that of this process,
//! servers in that of a child of it; in each, Linux has two equal routes to the other.
//!
//! Everything is on a link of its own, so that a balancer that is gone takes its links along:
//! that is how Linux hears of it. Namespaces and links are gone with the processes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::BALANCERS;
use crate::namespace::{Namespace, ip};

/// Where the service is.
pub(crate) const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 80, 80), 80);
/// The clients' network, and the servers'.
pub(crate) const CLIENTS: &str = "10.77.0.0/24";
pub(crate) const SERVERS: &str = "10.77.3.0/24";
/// The devices that lead to each balancer.
pub(crate) const PUBLIC: [&str; BALANCERS] = ["public1", "public2"];
pub(crate) const PRIVATE: [&str; BALANCERS] = ["private1", "private2"];

/// A client's address.
pub(crate) const fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

/// A server's address.
pub(crate) const fn server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 3, number)
}

/// The balancer's address on a link, and the other one there.
pub(crate) fn ends(device: &str) -> [Ipv4Addr; 2] {
    let nth =
        (11..).zip(PUBLIC.iter().chain(&PRIVATE)).find_map(|(nth, name)| (*name == device).then_some(nth));
    [2, 1].map(|last| Ipv4Addr::new(10, 77, nth.unwrap_or(0), last))
}

/// What both namespaces have: a route by a link that is down does not count, routes are chosen by
/// addresses and ports, and answers may come by another.
pub(crate) fn settle() -> Result<()> {
    for (name, value) in [
        ("conf/default/ignore_routes_with_linkdown", "1"),
        ("conf/default/rp_filter", "0"),
        ("conf/all/rp_filter", "0"),
        ("fib_multipath_hash_policy", "1"),
    ] {
        let path = Path::new("/proc/sys/net/ipv4").join(name);
        fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))?;
    }
    Ok(())
}

/// Both namespaces.
pub(crate) struct Network {
    servers: Namespace,
}

impl Network {
    /// Makes links and namespaces.
    pub(crate) fn new() -> Result<Self> {
        settle()?;
        ip("link set lo up")?;
        ip(&format!("route add local {CLIENTS} dev lo"))?;
        for device in PUBLIC.into_iter().chain(PRIVATE) {
            ip(&format!("tuntap add dev {device} mode tap"))?;
        }
        PUBLIC.into_iter().try_for_each(|device| connect(device, &ip))?;
        ip(&format!("route add {} {}", VIP.ip(), by_each(PUBLIC)))?;
        let mut servers = Namespace::new("servers")?;
        servers.hear("settled")?;
        Ok(Self { servers })
    }

    /// Gives the servers their links, which are in use on the other side, and has them begin.
    pub(crate) fn join(&mut self) -> Result<()> {
        let Self { servers } = self;
        servers.ip("link set lo up")?;
        servers.ip(&format!("route add local {SERVERS} dev lo"))?;
        for device in PRIVATE {
            servers.take(device)?;
            connect(device, &|words| servers.ip(words))?;
        }
        servers.ip(&format!("route add {CLIENTS} {}", by_each(PRIVATE)))?;
        servers.tell("go")?;
        servers.hear("listening")
    }
}

/// Brings a link up with our end's address.
fn connect(device: &str, ip: &dyn Fn(&str) -> Result<()>) -> Result<()> {
    let [_, own] = ends(device);
    ip(&format!("address add {own}/24 dev {device}"))?;
    ip(&format!("link set {device} up"))
}

/// The next hops of equal routes.
fn by_each(devices: [&str; BALANCERS]) -> String {
    devices.map(|device| format!("nexthop via {} dev {device}", ends(device)[0])).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_has_a_network_of_its_own() {
        let mut all: Vec<_> = PUBLIC.into_iter().chain(PRIVATE).flat_map(ends).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8);
        assert_eq!(
            by_each(PRIVATE),
            "nexthop via 10.77.13.2 dev private1 nexthop via 10.77.14.2 dev private2"
        );
    }
}
