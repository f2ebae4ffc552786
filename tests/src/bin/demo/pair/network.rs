//! Two links, each a bridge, with all machines on both: clients at one, in the namespace of this
//! process, and servers at the other, in that of a child of it. What is shared is the clients' way
//! to the service, and the servers' way to clients.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result};

use crate::namespace::{Namespace, ip};

pub(crate) use crate::fleet::network::{CLIENTS, SERVERS};

/// What is shared on each link.
pub(crate) const PUBLIC_VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 80);
pub(crate) const PRIVATE_VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 254);
/// Where the services are: one that both servers have, and one of a single server.
pub(crate) const BOTH: SocketAddrV4 = SocketAddrV4::new(PUBLIC_VIP, 80);
pub(crate) const SINGLE: SocketAddrV4 = SocketAddrV4::new(PUBLIC_VIP, 81);
/// Where clients are, and servers.
pub(crate) const CLIENT_HOP: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
pub(crate) const SERVER_HOP: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);
/// The devices of each machine: three balancers, and one of keepalived.
pub(crate) const PUBLIC: [&str; 4] = ["public1", "public2", "public3", "public4"];
pub(crate) const PRIVATE: [&str; 4] = ["private1", "private2", "private3", "private4"];
/// Which of them is keepalived's.
pub(crate) const KEEPALIVED: usize = 3;

/// The addresses of machine `nth` on both links.
pub(crate) fn own(nth: usize) -> [Ipv4Addr; 2] {
    let last = u8::try_from(nth).map_or(0, |nth| 11 + nth);
    [Ipv4Addr::new(10, 77, 1, last), Ipv4Addr::new(10, 77, 2, last)]
}

/// All of them.
pub(crate) struct Network {
    servers: Namespace,
}

impl Network {
    /// Makes links, but for what other machines use first.
    pub(crate) fn new() -> Result<Self> {
        // An answer that came by another way than its question would go is as good.
        for name in ["default", "all"] {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
            fs::write(&path, "0").with_context(|| format!("cannot write to {path}"))?;
        }
        ip("link set lo up")?;
        ip(&format!("route add local {CLIENTS} dev lo"))?;
        bridge("public", CLIENT_HOP, &ip)?;
        let mut servers = Namespace::new("servers")?;
        servers.hear("settled")?;
        servers.ip("link set lo up")?;
        servers.ip(&format!("route add local {SERVERS} dev lo"))?;
        bridge("private", SERVER_HOP, &|words| servers.ip(words))?;
        servers.ip(&format!("route add {CLIENTS} via {PRIVATE_VIP}"))?;
        servers.tell("go")?;
        servers.hear("listening")?;
        Ok(Self { servers })
    }

    /// Puts the private side of machine `nth`, which has opened it, to the servers.
    pub(crate) fn join(&self, nth: usize) -> Result<()> {
        self.servers.take(PRIVATE[nth])?;
        self.servers.ip(&format!("link set {} master private up", PRIVATE[nth]))
    }

    /// Puts `machine` on both links, by pairs of devices.
    pub(crate) fn join_namespace(&self, machine: &Namespace, nth: usize) -> Result<()> {
        machine.ip("link set lo up")?;
        for (device, link) in [(PUBLIC[nth], "public"), (PRIVATE[nth], "private")] {
            ip(&format!("link add {device} type veth peer name {link}-side"))?;
            machine.take(&format!("{link}-side"))?;
        }
        ip(&format!("link set {} master public up", PUBLIC[nth]))?;
        self.join(nth)?;
        for ((link, own), (to, hop)) in ["public", "private"]
            .into_iter()
            .zip(own(nth))
            .zip([(CLIENTS, CLIENT_HOP), (SERVERS, SERVER_HOP)])
        {
            machine.ip(&format!("link set {link}-side name {link}"))?;
            machine.ip(&format!("address add {own}/24 dev {link}"))?;
            machine.ip(&format!("link set {link} up"))?;
            machine.ip(&format!("route add {to} via {hop}"))?;
        }
        Ok(())
    }
}

/// Makes the devices of machine `nth`, which it is to open.
pub(crate) fn make_taps(nth: usize) -> Result<()> {
    for device in [PUBLIC[nth], PRIVATE[nth]] {
        ip(&format!("tuntap add dev {device} mode tap"))?;
    }
    ip(&format!("link set {} master public up", PUBLIC[nth]))
}

/// Makes a bridge with an address of ours. It has a MAC address of its own: one that it had of its
/// links would change with them, and nobody would hear of it.
fn bridge(name: &str, own: Ipv4Addr, ip: &dyn Fn(&str) -> Result<()>) -> Result<()> {
    let [.., link, last] = own.octets();
    ip(&format!("link add {name} address 02:77:00:00:{link:02x}:{last:02x} type bridge"))?;
    ip(&format!("address add {own}/24 dev {name}"))?;
    ip(&format!("link set {name} up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_has_addresses_of_its_own() {
        let mut all: Vec<_> =
            (0..4).flat_map(own).chain([PUBLIC_VIP, PRIVATE_VIP, CLIENT_HOP, SERVER_HOP]).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 12);
    }
}
