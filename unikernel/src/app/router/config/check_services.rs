//! Whether services go together, with each other and with the interfaces.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use paravane_appliance::balance::Protocol;
use paravane_appliance::nat::Mode;
use paravane_appliance::pool::Algorithm;

use super::services::{MAX_SERVERS, OF_SPLICE, Server, Service};
use super::{Config, Origin, Setting};

type Fault = (Origin, String);

impl Config {
    /// Says what does not go together, and gives each service its interface.
    pub(super) fn check_services(&self, services: &mut [Service]) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !services.is_empty() {
            faults.extend(self.check_sources());
        }
        for service in services.iter_mut() {
            service.servers.iter_mut().for_each(Server::finish);
            let whole = service.finish().and_then(|()| self.check_service(service));
            faults.extend(whole.err());
            faults.extend(check_servers(service));
        }
        faults.extend(twice(services));
        faults
    }

    /// Each address that stands for clients' is one of ours.
    fn check_sources(&self) -> Option<Fault> {
        let Setting { value, origin } = &self.shared.sources;
        let foreign = value.iter().find(|address| self.port_with(**address).is_none())?;
        Some((*origin, format!("{foreign} is no address of an interface; write it in addresses as well")))
    }

    fn port_with(&self, address: IpAddr) -> Option<&super::Port> {
        self.ports.iter().find(|port| port.addresses.value.iter().any(|(own, ..)| *own == address))
    }

    fn check_service(&self, service: &mut Service) -> Result<(), Fault> {
        for key in ["name", "listen"] {
            if !service.says(key) {
                return Err((service.origin, format!("a service needs '{key}'")));
            }
        }
        let listen = service.service.listen;
        service.interface = Some(self.interface_of(service)?);
        let flows = &service.service.flows;
        if flows.picks_up && service.service.mode != Mode::Dnat {
            return Err((service.origin_of("pick-up"), "pick-up goes with mode = \"dnat\"".into()));
        }
        let is_maglev = matches!(service.service.pool.algorithm, Algorithm::Maglev { .. });
        if flows.picks_up && (!is_maglev || self.shared.key.value.is_none()) {
            let reason =
                "pick-up goes with algorithm = \"maglev\", and a key in [balancer] that all balancers have";
            return Err((service.origin_of("pick-up"), reason.into()));
        }
        let has_source = self.shared.sources.value.iter().any(|source| source.is_ipv4() == listen.is_ipv4());
        match service.service.mode {
            Mode::Dnat => {}
            Mode::Splice if service.service.splice.keeps_source => {}
            Mode::Full | Mode::Splice if has_source => {}
            Mode::Full | Mode::Splice => {
                let version = if listen.is_ipv4() { "IPv4" } else { "IPv6" };
                let reason = format!(
                    "this mode needs an address of {version} that stands for clients': write sources in [balancer]"
                );
                return Err((service.origin_of("mode"), reason));
            }
        }
        let of_splice = OF_SPLICE.into_iter().find(|key| service.says(key));
        if let Some(key) = of_splice.filter(|_| service.service.mode != Mode::Splice) {
            return Err((service.origin_of(key), format!("'{key}' goes with mode = \"splice\"")));
        }
        if service.service.mode == Mode::Splice && service.service.protocol == Protocol::Udp {
            return Err((service.origin_of("mode"), "splice goes with protocol = \"tcp\"".into()));
        }
        let checks = &service.service.checks;
        if service.service.protocol == Protocol::Udp && checks.probe.is_some() && checks.port.is_none() {
            let reason = "a check of a service of UDP needs 'port', where the server answers by TCP";
            return Err((service.origin_of("check"), reason.into()));
        }
        Ok(())
    }

    /// By which interface clients come: as it is said; the one that has the address, or its
    /// network; or `public`.
    fn interface_of(&self, service: &Service) -> Result<Setting<String>, Fault> {
        let address = service.service.listen.ip();
        let has = |port: &&super::Port| !port.addresses.value.is_empty();
        if let Some(Setting { value, origin }) = &service.interface {
            return match self.ports.iter().filter(has).find(|port| port.name == *value) {
                Some(_) => Ok(Setting { value: value.clone(), origin: *origin }),
                None => Err((*origin, format!("{value} has no addresses; write [{value}] with addresses"))),
            };
        }
        let near = |port: &&super::Port| port.networks().any(|(network, _)| network.contains(address));
        let port = self.port_with(address).or_else(|| self.ports.iter().find(near));
        let port = port.or_else(|| self.ports.iter().filter(has).find(|port| port.name == "public"));
        let port = port.ok_or_else(|| {
            let reason = format!("{address} is in no network of an interface, and public has no addresses");
            (service.origin_of("listen"), reason)
        })?;
        Ok(Setting { value: port.name.clone(), origin: Origin::Default })
    }
}

fn check_servers(service: &Service) -> Option<Fault> {
    let listen = service.service.listen;
    let many = service.servers.get(usize::from(MAX_SERVERS));
    if let Some(many) = many {
        return Some((many.origin, format!("{MAX_SERVERS} servers are the most")));
    }
    for (server, number) in service.servers.iter().zip(0..) {
        if !server.has_address() {
            return Some((server.origin, "a server needs 'address', as address = \"10.0.0.11:80\"".into()));
        }
        let address = server.server.address;
        if service.says("listen") && address.is_ipv4() != listen.is_ipv4() {
            let reason = format!("{address} and {listen} are of different IP versions");
            return Some((server.origin_of("address"), reason));
        }
        let before = || service.servers.iter().take(number);
        if before().any(|other| other.server.name == server.server.name) {
            let reason = format!("two servers are called '{}'", server.server.name);
            return Some((server.origin_of("name"), reason));
        }
        if before().any(|other| other.server.address == address) {
            return Some((server.origin_of("address"), format!("two servers listen on {address}")));
        }
    }
    None
}

/// Services that are one another's.
fn twice(services: &[Service]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (one, number) in services.iter().zip(0..) {
        for other in services.iter().take(number) {
            let (this, that) = (&one.service, &other.service);
            if this.name == that.name && one.says("name") {
                faults.push((one.origin_of("name"), format!("two services are called '{}'", this.name)));
            }
            if (this.listen, this.protocol) == (that.listen, that.protocol) && one.says("listen") {
                let reason = format!("two services listen on {} by {}", this.listen, this.protocol.name());
                faults.push((one.origin_of("listen"), reason));
            }
        }
    }
    faults
}
