//! Whether what was said goes together.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use paravane_appliance::route::Prefix;

use super::{Config, Origin, Route, Setting};

/// What every link of IPv6 takes.
///
/// Spec: RFC 8200, 5 "Packet Size Issues".
const LEAST_V6_MTU_BYTES: u16 = 1280;

type Fault = (Origin, String);

impl Config {
    /// Says what does not go together, and gives each route its interface.
    pub(super) fn check(&mut self) {
        let mut faults: Vec<Fault> = Vec::new();
        faults.extend(self.check_admin());
        faults.extend(self.check_mtus());
        faults.extend(self.check_networks());
        let mut routes = core::mem::take(&mut self.routes);
        for route in &mut routes {
            faults.extend(self.check_route(route).err());
        }
        self.routes = routes;
        faults.extend(self.check_vrrp());
        let mut services = core::mem::take(&mut self.services);
        faults.extend(self.check_services(&mut services));
        self.services = services;
        for (origin, reason) in faults {
            self.fault(origin, reason);
        }
    }

    fn check_admin(&self) -> Option<Fault> {
        let Setting { value: Some(gateway), origin } = self.admin.gateway else { return None };
        match self.admin.address.value {
            None => {
                Some((origin, "a gateway of admin goes with an address; with DHCP it comes by that".into()))
            }
            Some(address) if !address.contains_addr(&gateway) || address.address() == gateway => {
                Some((origin, format!("{gateway} is no neighbour of {address}")))
            }
            Some(_) => None,
        }
    }

    fn check_mtus(&self) -> impl Iterator<Item = Fault> + '_ {
        self.ports.iter().filter_map(|port| {
            let has_v6 = port.addresses.value.iter().any(|(address, ..)| address.is_ipv6());
            let mtu = port.mtu_bytes;
            let reason =
                || format!("{} with IPv6 has an MTU of {LEAST_V6_MTU_BYTES} bytes at least", port.name);
            (has_v6 && mtu.value < LEAST_V6_MTU_BYTES).then(|| (mtu.origin, reason()))
        })
    }

    /// Each network is on one link alone, and admin's is apart.
    fn check_networks(&self) -> Vec<Fault> {
        let admin = self.admin.address.value.and_then(|address| {
            let network = Prefix::around(IpAddr::V4(address.address()), address.prefix_len()).ok()?;
            Some(("admin", network))
        });
        let mut seen: Vec<(&str, Prefix)> = admin.into_iter().collect();
        let mut faults = Vec::new();
        for port in &self.ports {
            for (network, origin) in port.networks().filter(|(network, _)| !is_of_link(network.address())) {
                let overlaps = |(_, other): &&(&str, Prefix)| {
                    other.contains(network.address()) || network.contains(other.address())
                };
                match seen.iter().find(overlaps) {
                    Some((name, _)) if *name == port.name => {}
                    Some((name, other)) => faults.push((
                        origin,
                        format!(
                            "{network} of {} overlaps {other} of {name}; each network is on one link",
                            port.name
                        ),
                    )),
                    None => {}
                }
                seen.push((&port.name, network));
            }
        }
        faults
    }

    fn check_route(&self, route: &mut Route) -> Result<(), Fault> {
        if route.is_broken {
            return Ok(());
        }
        let Some(to) = route.to else {
            return Err((route.origin, "a route needs 'to', as to = \"0.0.0.0/0\"".into()));
        };
        if let Some(kind) = &route.kind {
            return match (&route.via, &route.interface) {
                (None, None) => Ok(()),
                _ => Err((kind.origin, "a route has a kind, or leads somewhere; not both".into())),
            };
        }
        if let Some(Setting { value, origin }) = &route.interface
            && self.port(value).is_none_or(|port| port.addresses.value.is_empty())
        {
            return Err((*origin, format!("{value} has no addresses; write [{value}] with addresses")));
        }
        let Some(Setting { value: via, origin }) = route.via else {
            let reason = "a route needs 'via', 'interface' or 'kind'";
            return if route.interface.is_some() { Ok(()) } else { Err((route.origin, reason.into())) };
        };
        if via.is_ipv4() != to.address().is_ipv4() {
            return Err((origin, format!("{via} and {to} are of different IP versions")));
        }
        if self.ports.iter().any(|port| port.addresses.value.iter().any(|(own, ..)| *own == via)) {
            return Err((origin, format!("{via} is an address of the router itself")));
        }
        let is_near = |port: &&super::Port| port.networks().any(|(network, _)| network.contains(via));
        match (&route.interface, self.ports.iter().find(is_near)) {
            (Some(_), _) if is_of_link(via) => Ok(()),
            (None, _) if is_of_link(via) => {
                Err((origin, format!("{via} is good on one link alone; say which by 'interface'")))
            }
            (Some(interface), Some(port)) if interface.value != port.name => {
                Err((origin, format!("{via} is on the link of {}, not of {}", port.name, interface.value)))
            }
            (_, Some(port)) => {
                route.interface.get_or_insert(Setting { value: port.name.clone(), origin: Origin::Default });
                Ok(())
            }
            (_, None) => {
                Err((origin, format!("{via} is in no network of the router; a gateway is a neighbour")))
            }
        }
    }
}

fn is_of_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
