//! What is known of a network interface: addresses, and what its NIC can do.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use paravane_net::{MacAddr, Offloads};

/// An interface, by its place among all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u8);

impl InterfaceId {
    /// Its place.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its address on the link.
    pub mac: MacAddr,
    /// The largest IP packet that it sends.
    pub mtu_bytes: u16,
    /// What its NIC does to frames on their way out.
    pub offloads: Offloads,
    /// The longest IP packet that its NIC cuts into segments.
    pub large_bytes: u32,
    /// Its addresses of IPv4, each with the length of its network's prefix.
    pub v4: Vec<(Ipv4Addr, u8)>,
    /// Of IPv6 likewise, that of the link (fe80::/10) among them.
    pub v6: Vec<(Ipv6Addr, u8)>,
    /// Whether packets may come in here to whose source another way leads; else only those whose
    /// answers would go out here.
    pub is_loose: bool,
}

impl Interface {
    /// One without addresses, on a NIC that does nothing to frames.
    #[must_use]
    pub const fn new(mac: MacAddr, mtu_bytes: u16) -> Self {
        Self {
            mac,
            mtu_bytes,
            offloads: Offloads::empty(),
            large_bytes: 0,
            v4: Vec::new(),
            v6: Vec::new(),
            is_loose: false,
        }
    }

    /// Whether `address` is one of its own.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.iter().any(|(own, _)| *own == address),
            IpAddr::V6(address) => self.v6.iter().any(|(own, _)| *own == address),
        }
    }

    /// The address from which it speaks to `address`: the one in the same network, or its first
    /// one. `None` when it has none of that version.
    #[must_use]
    pub fn source_for_v4(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let same = |(own, bits): &&(Ipv4Addr, u8)| {
            let shift = 32_u32.saturating_sub((*bits).into());
            (own.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
        };
        self.v4.iter().find(same).or_else(|| self.v4.first()).map(|(own, _)| *own)
    }

    /// The same of IPv6; an address of the link speaks to one of the link alone.
    #[must_use]
    pub fn source_for_v6(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let link = |address: Ipv6Addr| address.is_unicast_link_local();
        let same = |(own, bits): &&(Ipv6Addr, u8)| {
            let shift = 128_u32.saturating_sub((*bits).into());
            link(*own) == link(address)
                && (own.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
        };
        let scope = |(own, _): &&(Ipv6Addr, u8)| link(*own) == link(address);
        let found = self.v6.iter().find(same).or_else(|| self.v6.iter().find(scope));
        found.or_else(|| self.v6.first()).map(|(own, _)| *own)
    }
}
