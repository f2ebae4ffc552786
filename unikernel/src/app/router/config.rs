//! How a router is told what to be: by `paravane.toml` of a disk, by the kernel's command line, by
//! a file that was built in. Of each key, the first of them that has it counts.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Config`], and where each value is from |
//! | `words` | the command line as entries of a file |
//! | `read` | entries to values, one by one |
//! | [`services`] | what there is to balance, likewise |
//! | [`vrrp`] | what machines share, likewise |
//! | [`outside`] | whom the machine itself talks to |
//! | [`firewall`] | which rules there are |
//! | `stop` | how the machine ends, likewise |
//! | `check` | whether they go together |
//!
//! All that is wrong is found at once, and each is one line: where it is, what is wrong, what would
//! be right.

mod check;
mod check_services;
pub mod firewall;
pub mod outside;
mod read;
#[cfg(test)]
mod service_tests;
pub mod services;
mod stop;
#[cfg(test)]
mod tests;
pub mod values;
pub mod vrrp;
#[cfg(test)]
mod vrrp_tests;
mod words;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddrV4};

use log::LevelFilter;
use paravane_appliance::route::Prefix;
use paravane_nic::IrqMode;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr};

use crate::app::config::Addressing;
use crate::app::config::file::{self, At};
use firewall::Firewall;
use services::{Service, Shared};
pub use stop::{OnPanic, Stop};
use vrrp::Vrrp;
pub use words::is_word;

/// The file that is built in. At build time `PARAVANE_TOML` names another one.
pub const BUILT_IN: &str = include_str!(env!("PARAVANE_TOML"));

/// The largest IP packet of an interface of which nothing else is said.
pub const DEFAULT_MTU_BYTES: u16 = 1500;

/// Who said something. Who comes later counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The file that was built in.
    BuiltIn,
    /// The kernel's command line.
    CommandLine,
    /// The file of a disk.
    Disk,
}

/// Where a value is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    #[default]
    Default,
    /// Somebody said it, there.
    Said(Source, At),
}

impl Origin {
    fn source(self) -> Option<Source> {
        match self {
            Self::Default => None,
            Self::Said(source, _) => Some(source),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Said(Source::BuiltIn, at) => write!(f, "built-in {}:{at}", file::NAME),
            Self::Said(Source::CommandLine, at) => write!(f, "command line:{}", at.column),
            Self::Said(Source::Disk, at) => write!(f, "{}:{at}", file::NAME),
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub origin: Origin,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Fault {
    /// One of a whole file.
    pub(super) fn of_disk(reason: String) -> Self {
        Self { origin: Origin::Said(Source::Disk, At { line: 1, column: 1 }), reason }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.reason)
    }
}

/// A value, and where it is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it is from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    const fn default_of(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }
}

/// The network that the machine itself is on: a stack of its own, and nothing is passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Its address; without one, a DHCP server gives it.
    pub address: Setting<Option<Ipv4Cidr>>,
    /// The next hop to all other networks.
    pub gateway: Setting<Option<Ipv4Address>>,
    /// The largest IP packet.
    pub mtu_bytes: Setting<Option<u16>>,
}

impl Admin {
    /// As a stack wants it.
    #[must_use]
    pub fn addressing(&self) -> Addressing {
        match self.address.value {
            Some(address) => Addressing::Static { address, gateway: self.gateway.value },
            None => Addressing::Dhcp,
        }
    }
}

/// An interface that packets are passed on by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its NIC's name.
    pub name: String,
    /// Its addresses, each with the length of its network's prefix, and where that one is.
    pub addresses: Setting<Vec<(IpAddr, u8, Origin)>>,
    /// The largest IP packet.
    pub mtu_bytes: Setting<u16>,
    /// Whether packets may come in to whose source another way leads.
    pub is_loose: Setting<bool>,
}

impl Port {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            addresses: Setting::default(),
            mtu_bytes: Setting::default_of(DEFAULT_MTU_BYTES),
            is_loose: Setting::default(),
        }
    }

    /// Its networks.
    fn networks(&self) -> impl Iterator<Item = (Prefix, Origin)> + '_ {
        self.addresses
            .value
            .iter()
            .filter_map(|(address, bits, origin)| Some((Prefix::around(*address, *bits).ok()?, *origin)))
    }
}

/// What is done with packets that none go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// They are dropped, and nobody hears of it.
    Blackhole,
    /// They are dropped, and who sent one is told.
    Unreachable,
}

/// A route, as it was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Where it begins.
    pub origin: Origin,
    /// In which table of its source.
    table: usize,
    /// To where.
    pub to: Option<Prefix>,
    /// Where that is said.
    to_origin: Origin,
    /// By which router.
    pub via: Option<Setting<IpAddr>>,
    /// By which interface, by name. Where it is not said, the router's network has it.
    pub interface: Option<Setting<String>>,
    /// Or what is done instead.
    pub kind: Option<Setting<Sink>>,
    /// A part of it could not be read, and that was said.
    is_broken: bool,
}

/// All that was said, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The console's log level.
    pub log: Setting<LevelFilter>,
    /// How NICs interrupt.
    pub irq: Setting<IrqMode>,
    /// The machine's own network.
    pub admin: Admin,
    /// The interfaces that something was said of.
    pub ports: Vec<Port>,
    /// What who may change something has to say; without one, nobody may.
    pub admin_token: Setting<Option<String>>,
    /// Who is told what the console says.
    pub syslog: outside::Syslog,
    /// Who knows the time.
    pub time_server: Setting<Option<SocketAddrV4>>,
    /// How it ends.
    pub stop: Stop,
    /// What services share.
    pub shared: Shared,
    /// What there is to balance.
    pub services: Vec<Service>,
    /// What is shared with other machines.
    pub vrrp: Vec<Vrrp>,
    /// Which rules there are.
    pub firewall: Firewall,
    /// The routes, beside those that interfaces have by their addresses.
    pub routes: Vec<Route>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log: Setting::default_of(LevelFilter::Info),
            irq: Setting::default_of(IrqMode::Auto),
            admin: Admin::default(),
            admin_token: Setting::default(),
            syslog: outside::Syslog::default(),
            time_server: Setting::default(),
            stop: Stop::default(),
            shared: Shared::default(),
            services: Vec::new(),
            vrrp: Vec::new(),
            firewall: Firewall::default(),
            ports: Vec::new(),
            routes: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl Config {
    /// What the three say, of whom each may say nothing: the file that was built in, the kernel's
    /// command line, and a disk's file.
    #[must_use]
    pub fn of(built_in: &str, command_line: &str, disk: Option<&[u8]>) -> Self {
        let mut config = Self::default();
        config.read_file(Source::BuiltIn, built_in.as_bytes());
        config.read(Source::CommandLine, words::entries(command_line));
        if let Some(text) = disk {
            config.read_file(Source::Disk, text);
        }
        // What could not be read would show once more as what is missing.
        if config.faults.is_empty() {
            config.check();
        }
        config
    }

    fn read_file(&mut self, source: Source, text: &[u8]) {
        match file::entries(text) {
            Ok(entries) => self.read(source, entries),
            Err(file::Malformed { at, reason }) => {
                let reason = format!("this is no TOML: {reason}; all of the file is ignored");
                self.fault(Origin::Said(source, at), reason);
            }
        }
    }

    fn fault(&mut self, origin: Origin, reason: impl Into<String>) {
        self.faults.push(Fault { origin, reason: reason.into() });
    }

    /// The interface called `name`, if something was said of it.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|port| port.name == name)
    }

    /// Each value that is in effect, with its key and where it is from.
    #[must_use]
    pub fn effective(&self) -> Vec<(String, String, Origin)> {
        let Admin { address, gateway, mtu_bytes } = &self.admin;
        let text = |value: Option<String>, without: &str| value.unwrap_or_else(|| without.into());
        let mut all = vec![
            ("log".into(), format!("{}", self.log.value).to_ascii_lowercase(), self.log.origin),
            ("irq".into(), read::irq_name(self.irq.value).into(), self.irq.origin),
            (
                "admin.address".into(),
                text(address.value.map(|address| address.to_string()), "dhcp"),
                address.origin,
            ),
            (
                "admin.gateway".into(),
                text(gateway.value.map(|gateway| gateway.to_string()), "none"),
                gateway.origin,
            ),
            (
                "admin.mtu".into(),
                text(mtu_bytes.value.map(|mtu| mtu.to_string()), "the device's"),
                mtu_bytes.origin,
            ),
        ];
        let token = if self.admin_token.value.is_some() { "set" } else { "none: read only" };
        all.push(("admin.token".into(), token.into(), self.admin_token.origin));
        self.effective_outside(&mut all);
        self.stop.effective(&mut all);
        for Port { name, addresses, mtu_bytes, is_loose } in &self.ports {
            let list: Vec<_> = addresses.value.iter().map(|(ip, bits, _)| format!("{ip}/{bits}")).collect();
            all.push((format!("{name}.addresses"), list.join(", "), addresses.origin));
            all.push((format!("{name}.mtu"), mtu_bytes.value.to_string(), mtu_bytes.origin));
            if is_loose.origin != Origin::Default {
                let value = if is_loose.value { "loose" } else { "strict" };
                all.push((format!("{name}.reverse-path"), value.into(), is_loose.origin));
            }
        }
        all.extend(self.routes.iter().map(|route| ("route".into(), route.to_string(), route.origin)));
        self.effective_vrrp(&mut all);
        self.effective_firewall(&mut all);
        self.effective_services(&mut all);
        all
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            Some(to) => write!(f, "{to}")?,
            None => f.write_str("?")?,
        }
        if let Some(via) = &self.via {
            write!(f, " via {}", via.value)?;
        }
        if let Some(interface) = &self.interface {
            write!(f, " by {}", interface.value)?;
        }
        match self.kind.map(|kind| kind.value) {
            Some(Sink::Blackhole) => f.write_str(" blackhole"),
            Some(Sink::Unreachable) => f.write_str(" unreachable"),
            None => Ok(()),
        }
    }
}
