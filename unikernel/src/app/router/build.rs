//! From a configuration and the NICs that there are to a path.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use log::{error, warn};
use paravane_appliance::balance::{self, Balancer, Service};
use paravane_appliance::filter::Filter;
use paravane_appliance::flow;
use paravane_appliance::interface::{Interface, InterfaceId};
use paravane_appliance::limit::Rate;
use paravane_appliance::nat::Sources;
use paravane_appliance::path::{Limits, Path};
use paravane_appliance::pool::{Algorithm, Health};
use paravane_appliance::random::Random;
use paravane_appliance::route::{Kind, NextHop, Route};
use paravane_appliance::splice::Splices;
use paravane_appliance::vrrp::Instances;
use paravane_hal::time::Instant;
use paravane_net::{
    Config as NicConfig, FrameLayout, FramePool, HEADROOM_BYTES, MacAddr, NicInfo, RxFilter, RxOffloads,
    Settings,
};

use super::checks::{self, Checker};
use super::config::services::{MAX_SERVERS, Service as Said, Shared};
use super::config::values::rate;
use super::config::{Config, Port, Setting, Sink};
use super::history::History;
use super::outside::Outside;
use super::rules::Loaded;
use super::{Named, Router};

/// Answers of servers to checks that wait, by interface.
const LOCAL_FRAMES: u16 = 64;
/// Frames that wait for a NIC to take them, each.
const EGRESS_FRAMES: u16 = 256;

/// What is to become a router: the NICs are added as they are started.
#[derive(Debug)]
pub struct Plan {
    config: Config,
    /// The firewall's, where there is to be one.
    rules: Option<Loaded>,
    interfaces: Vec<(Named, Interface)>,
    troubles: Vec<String>,
}

impl Plan {
    /// One for `config`. Where that is wrong, each fault is said.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let troubles: Vec<_> = config.faults.iter().map(ToString::to_string).collect();
        let mut plan = Self { config, rules: None, interfaces: Vec::new(), troubles: Vec::new() };
        troubles.into_iter().for_each(|trouble| plan.trouble(trouble));
        plan
    }

    /// The same with a firewall. What was surely not meant by its rules is said.
    #[must_use]
    pub fn with_rules(mut self, rules: Option<Loaded>) -> Self {
        for warning in rules.iter().flat_map(|loaded| &loaded.warnings) {
            warn!("firewall: {warning}");
        }
        self.rules = rules;
        self
    }

    /// What it was told.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the configuration is right, and NICs may carry packets.
    #[must_use]
    pub fn may_route(&self) -> bool {
        self.config.faults.is_empty()
    }

    /// Something that keeps it from its work, which is said.
    pub fn trouble(&mut self, trouble: String) {
        error!("router: {trouble}");
        self.troubles.push(trouble);
    }

    /// How the NIC called `name` runs.
    #[must_use]
    pub fn nic_config(&self, name: &str) -> NicConfig {
        let port = self.config.port(name);
        let shares = self.config.vrrp.iter().any(|vrrp| vrrp.interface == name);
        let listens = has_v6(port) || shares;
        let groups = if listens { RxFilter::ALL_MULTICAST } else { RxFilter::empty() };
        let settings = Settings::default().with_filter(RxFilter::default() | groups);
        let mtu_bytes = port.map(|port| port.mtu_bytes.value);
        // What a device has put together goes on as it is.
        let rx_offloads = RxOffloads::CHECKSUM | RxOffloads::TCP4 | RxOffloads::TCP6;
        NicConfig::default()
            .with_ip_mtu_bytes(mtu_bytes)
            .with_settings(settings)
            .with_rx_offloads(rx_offloads)
    }

    /// How many frames there are to be for a NIC that runs as `nic` says: those that it holds, and
    /// those that wait for it.
    #[must_use]
    pub fn frames(nic: &NicConfig) -> u32 {
        let rings = u32::from(nic.rx_entries) + u32::from(nic.tx_entries);
        // Frames of the longest packets are as many buffers each as a slot of the ring.
        let buffers = nic.frames() / rings.max(1) + 1;
        nic.frames().saturating_add(u32::from(EGRESS_FRAMES).saturating_mul(buffers))
    }

    /// Which interface the next NIC is.
    #[must_use]
    pub fn next_id(&self) -> InterfaceId {
        InterfaceId(u8::try_from(self.interfaces.len()).unwrap_or(u8::MAX))
    }

    /// Adds the NIC called `name`, which runs.
    pub fn add(&mut self, name: &str, info: &NicInfo) {
        let port = self.config.port(name);
        let said = port.map_or(info.ip_mtu_bytes, |port| port.mtu_bytes.value);
        let mut interface = Interface {
            offloads: info.offloads,
            large_bytes: large_bytes(info),
            is_loose: port.is_some_and(|port| port.is_loose.value),
            ..Interface::new(info.mac, said.min(info.ip_mtu_bytes))
        };
        for (address, bits, _) in port.iter().flat_map(|port| &port.addresses.value) {
            match address {
                IpAddr::V4(address) => interface.v4.push((*address, *bits)),
                IpAddr::V6(address) => interface.v6.push((*address, *bits)),
            }
        }
        // Behind its own addresses, from which it speaks.
        let listens_here = |interface: &Setting<String>| interface.value == name;
        let services = self.config.services.iter();
        for service in services.filter(|service| service.interface.as_ref().is_some_and(listens_here)) {
            match service.service.listen.ip() {
                // It comes and goes.
                address if self.config.shares(address) => {}
                IpAddr::V4(address) if !interface.has(address.into()) => interface.v4.push((address, 32)),
                IpAddr::V6(address) if !interface.has(address.into()) => interface.v6.push((address, 128)),
                _ => {}
            }
        }
        if has_v6(port) && !interface.v6.iter().any(|(own, _)| own.is_unicast_link_local()) {
            interface.v6.push((link_local(info.mac), 64));
        }
        self.interfaces.push((Named { name: name.into(), is_up: false }, interface));
    }

    /// The router, whose frames are from `pool`. Without `random` numbers nothing is passed on.
    /// What is left of the heap then has to hold the tables of flows.
    #[must_use]
    pub fn build(
        mut self,
        pool: FramePool,
        mut random: Option<&mut Random>,
        heap_bytes_free: &dyn Fn() -> usize,
        now: Instant,
    ) -> Router {
        let outside = Outside::new(&self.config, random.as_deref_mut(), now);
        let may_route = self.may_route();
        let missing = self.config.ports.iter().filter(|port| may_route && !self.has(&port.name));
        let missing: Vec<_> = missing.map(|port| no_nic(port, self.interfaces.len())).collect();
        missing.into_iter().for_each(|trouble| self.trouble(trouble));
        let (interfaces, parts): (Vec<_>, Vec<_>) = core::mem::take(&mut self.interfaces).into_iter().unzip();
        let (mut path, mut checker) = (None, None);
        let rules_from = self.rules.as_ref().map(|loaded| loaded.name.clone());
        match random {
            _ if !may_route => {}
            Some(random) => {
                path = self.path(&interfaces, parts, pool.clone(), random);
                if let Some(path) = path.as_mut().filter(|_| !self.config.vrrp.is_empty()) {
                    let instances = self.instances(&interfaces);
                    path.set_vrrp(instances);
                }
                let has_flows = !self.config.services.is_empty() || self.rules.is_some();
                if let Some(path) = path.as_mut().filter(|_| has_flows) {
                    checker = self.balance(path, &interfaces, &pool, random, heap_bytes_free, now);
                }
                // Without a table of flows there are no rules, and nothing may pass.
                let is_open =
                    |path: &Path| path.balancer().is_none_or(|balancer| balancer.filter().is_none());
                if rules_from.is_some() && path.as_ref().is_some_and(is_open) {
                    path = None;
                }
            }
            None => {
                self.trouble(
                    "nothing is passed on: there are no random numbers for the keys of its tables; \
                     add -cpu max or -device virtio-rng-pci"
                        .into(),
                );
            }
        }
        let Self { config, troubles, .. } = self;
        let history = History::new(&interfaces, now);
        Router {
            config,
            path,
            checker,
            rules_from,
            interfaces,
            troubles,
            pool,
            events_said_at: None,
            events: 0,
            history,
            outside,
            streams: Vec::new(),
            end: None,
            is_closed: false,
        }
    }

    /// What it shares with other machines. Those that move with one whose NIC is not there wait for
    /// its link as well, which never comes.
    fn instances(&mut self, names: &[Named]) -> Instances {
        let mut instances = Instances::new(names.len());
        let mut groups: Vec<Option<String>> = Vec::new();
        let mut refused = Vec::new();
        for vrrp in &self.config.vrrp {
            let is_its = |group: &Option<String>| group.is_some() && *group == vrrp.sync;
            let group = groups.iter().position(is_its).unwrap_or(groups.len());
            if group == groups.len() {
                groups.push(vrrp.sync.clone());
            }
            let group = u8::try_from(group).unwrap_or(u8::MAX);
            let interface = names.iter().position(|named| named.name == vrrp.interface);
            let interface = interface.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX);
            for settings in [true, false].into_iter().filter_map(|is_v4| vrrp.settings(is_v4)) {
                if let Err(reason) = instances.add(InterfaceId(interface), group, settings) {
                    refused.push(format!("{}: {reason}", vrrp.origin));
                }
            }
        }
        refused.into_iter().for_each(|trouble| self.trouble(trouble));
        instances
    }

    fn has(&self, name: &str) -> bool {
        self.interfaces.iter().any(|(named, _)| named.name == name)
    }

    fn path(
        &mut self,
        names: &[Named],
        interfaces: Vec<Interface>,
        pool: FramePool,
        random: &mut Random,
    ) -> Option<Path> {
        let count = u8::try_from(interfaces.len()).unwrap_or(u8::MAX);
        let mut limits = Limits::new(count);
        limits.egress_frames = EGRESS_FRAMES;
        limits.local_frames = LOCAL_FRAMES;
        let mut path = match Path::new(interfaces, limits, pool, random) {
            Ok(path) => path,
            Err(reason) => {
                self.trouble(format!("nothing is passed on: {reason}"));
                return None;
            }
        };
        // What is for the machine itself and no echo is nobody's, until somebody asks a server.
        path.expect(Vec::new());
        for said in self.config.routes.clone() {
            // Where its interface has no NIC, that was said.
            let Some(route) = route(&said, names) else { continue };
            if let Err(reason) = path.add_route(route) {
                self.trouble(format!("{}: {said}: {reason}", said.origin));
            }
        }
        Some(path)
    }

    /// Puts a balancer into `path`, servers into that, and rules where there are any. Who asks
    /// servers; `None` where there are no services, or there is no balancer, and that is said.
    fn balance(
        &mut self,
        path: &mut Path,
        names: &[Named],
        pool: &FramePool,
        random: &mut Random,
        heap_bytes_free: &dyn Fn() -> usize,
        now: Instant,
    ) -> Option<Checker> {
        let Shared { flows, sources, key, source_connections, source_rate } = &self.config.shared;
        let most = heap_bytes_free().saturating_sub(SPARE_BYTES);
        let is_spliced = self.config.services.iter().any(|said| said.service.is_spliced());
        let spliced = if is_spliced { Splices::bytes_of(flows.value) } else { 0 };
        let needed = flow::Table::bytes_of(flows.value).saturating_add(spliced);
        let done = if self.rules.is_some() { "passed on" } else { "balanced" };
        if needed > most {
            let trouble = format!(
                "{}: nothing is {done}: {} flows take {} KiB, and {} KiB of the heap are left for them: \
                 write less, or give the machine more memory",
                flows.origin,
                flows.value,
                needed >> 10,
                most >> 10
            );
            self.trouble(trouble);
            return None;
        }
        let key = key.value.unwrap_or_else(|| [random.u64(), random.u64()]);
        let mut settings = balance::Settings::new(flows.value);
        settings.flows.source_flows = source_connections.value;
        settings.flows.source = source_rate.value.map_or(Rate::UNLIMITED, rate);
        settings.sources = Sources::new(sources.value.clone()).with_ports(1024..=checks::PORTS.start - 1);
        settings.plain.picks_up = self.config.firewall.picks_up.value;
        let services: Vec<_> = self.config.services.iter().map(|said| service(said, key)).collect();
        let mut balancer = match Balancer::new(settings, services, path.interfaces().len(), random) {
            Ok(balancer) => balancer,
            Err(reason) => {
                self.trouble(format!("nothing is {done}: {reason}"));
                return None;
            }
        };
        if let Some(Loaded { name, rules, .. }) = self.rules.take() {
            let names: Vec<_> = names.iter().map(|named| named.name.as_str()).collect();
            match Filter::new(rules, &names, random) {
                Ok(filter) => balancer.set_filter(filter),
                Err(reason) => {
                    self.trouble(format!("nothing is passed on: {name}: {reason}"));
                    return None;
                }
            }
        }
        let mut refused = Vec::new();
        for (said, number) in self.config.services.iter().zip(0..) {
            let Some(serving) = balancer.service_mut(number) else { continue };
            for said in &said.servers {
                if let Err(reason) = serving.add(said.server.clone(), Health::Up, now) {
                    refused.push(format!("{}: {}: {reason}", said.origin, said.server.name));
                }
            }
        }
        refused.into_iter().for_each(|trouble| self.trouble(trouble));
        path.set_balancer(balancer);
        (!self.config.services.is_empty()).then(|| Checker::new(pool.clone(), random, now))
    }
}

/// How many bytes are left for all else when the tables of flows are made.
const SPARE_BYTES: usize = 4 << 20;

/// A service, as the balancer has it.
fn service(said: &Said, key: [u64; 2]) -> Service {
    let mut service = said.service.clone();
    service.pool.max_servers = MAX_SERVERS;
    if let Algorithm::Maglev { key: of_table, .. } = &mut service.pool.algorithm {
        *of_table = key;
    }
    service
}

/// A route, where the interface that it leads to is there.
fn route(said: &super::config::Route, names: &[Named]) -> Option<Route> {
    let prefix = said.to?;
    let kind = match (said.kind.map(|kind| kind.value), &said.interface) {
        (Some(Sink::Blackhole), _) => Kind::Blackhole,
        (Some(Sink::Unreachable), _) => Kind::Unreachable,
        (None, interface) => {
            let name = &interface.as_ref()?.value;
            let index = names.iter().position(|named| named.name == *name)?;
            let interface = InterfaceId(u8::try_from(index).ok()?);
            Kind::Unicast(NextHop { interface, gateway: said.via.map(|via| via.value) })
        }
    };
    Some(Route { prefix, kind })
}

fn no_nic(port: &Port, there_are: usize) -> String {
    let Port { name, addresses, .. } = port;
    format!("{}: no NIC {name}: there are {there_are} beside admin, or it did not start", addresses.origin)
}

/// The longest packet that a NIC cuts: as many whole buffers as it takes at a time.
fn large_bytes(info: &NicInfo) -> u32 {
    let FrameLayout { buffer_bytes, .. } = FrameLayout::new(0);
    let buffer_bytes = u32::from(buffer_bytes.saturating_sub(HEADROOM_BYTES));
    buffer_bytes.saturating_mul(info.max_cut_segments.saturating_sub(1).into()).min(u16::MAX.into())
}

fn has_v6(port: Option<&Port>) -> bool {
    port.is_some_and(|port| port.addresses.value.iter().any(|(address, ..)| address.is_ipv6()))
}

/// The address of its link that a station has.
///
/// Spec: RFC 4291, 2.5.6 and appendix A "Creating Modified EUI-64 Format Interface Identifiers".
fn link_local(MacAddr([a, b, c, d, e, f]): MacAddr) -> Ipv6Addr {
    let [g, h] = [a ^ 2, b];
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(g, h), word(c, 0xff), word(0xfe, d), word(e, f))
}
