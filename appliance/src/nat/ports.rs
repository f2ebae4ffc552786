//! Ports of our own addresses, for clients whose address is replaced.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::num::NonZeroU32;
use core::ops::RangeInclusive;

use crate::flow::{Key, Table};
use crate::packet::edit::Ends;
use crate::random::Random;

/// How many ports are looked at until one is free.
const PROBES: u32 = 16;

/// Addresses that stand for those of clients, each with so many ports.
///
/// A port is taken by a server's port, not as such: as many clients as there are ports can speak to
/// each of them. Who has connections of its own from one of these addresses keeps away from these
/// ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    addresses: Vec<IpAddr>,
    ports: RangeInclusive<u16>,
}

impl Sources {
    /// None at all.
    pub const NONE: Self = Self { addresses: Vec::new(), ports: 1024..=u16::MAX };

    /// Of either version, with all ports but those that services have.
    #[must_use]
    pub const fn new(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, ports: 1024..=u16::MAX }
    }

    /// With these ports instead.
    #[must_use]
    pub fn with_ports(self, ports: RangeInclusive<u16>) -> Self {
        Self { ports, ..self }
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    fn of_version(&self, is_v6: bool) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().copied().filter(move |address| address.is_ipv6() == is_v6)
    }

    fn ports_each(&self) -> u32 {
        u32::try_from(self.ports.len()).unwrap_or(0)
    }

    /// How many clients can speak to one server's port at a time, over one protocol.
    #[must_use]
    pub fn count(&self, is_v6: bool) -> u32 {
        let addresses = u32::try_from(self.of_version(is_v6).count()).unwrap_or(u32::MAX);
        addresses.saturating_mul(self.ports_each())
    }

    /// The key of what comes back from `server` to one of these addresses, and is no flow's yet.
    /// `None` when there is none among some that are looked at: from anywhere on, in steps of any
    /// length, so that nobody can tell the next one, and one that was free lately is not the next.
    pub(super) fn choose(
        &self,
        flows: &Table,
        (server, server_port): (IpAddr, u16),
        original: &Key,
        zone: u8,
        random: &mut Random,
    ) -> Option<Key> {
        let count = NonZeroU32::new(self.count(original.is_v6()))?;
        let start = random.below(count);
        // So few are looked at one by one.
        let steps = NonZeroU32::new(count.get().saturating_sub(1)).filter(|_| count.get() > PROBES);
        let step = steps.map_or(1, |steps| random.below(steps).saturating_add(1));
        let keys = (0..PROBES.min(count.get())).filter_map(|probe| {
            let at = u64::from(start) + u64::from(probe) * u64::from(step);
            let at = u32::try_from(at % u64::from(count.get())).ok()?;
            let (destination, port) = self.at(at, original.is_v6())?;
            let ends = Ends { source: server, destination, source_port: server_port, destination_port: port };
            Key::new(ends, original.protocol(), zone)
        });
        keys.into_iter().find(|key| flows.find(key).is_none())
    }

    /// The address and port of that number.
    fn at(&self, number: u32, is_v6: bool) -> Option<(IpAddr, u16)> {
        let each = NonZeroU32::new(self.ports_each())?;
        let address = self.of_version(is_v6).nth(usize::try_from(number / each).ok()?)?;
        let port = u16::try_from(number % each).ok()?.checked_add(*self.ports.start())?;
        Some((address, port))
    }
}
