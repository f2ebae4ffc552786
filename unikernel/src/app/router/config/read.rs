//! Entries to values, one by one.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::str::FromStr;

use log::LevelFilter;
use paravane_appliance::route::Prefix;
use paravane_nic::IrqMode;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr};

use super::{Config, Origin, Port, Route, Setting, Sink, Source};
use crate::app::config::file::{At, Entry, Value};
use crate::app::config::{is_nic_name, parse_irq};

/// What there is in each kind of table.
const TOP: &str = "log, irq, [admin], [syslog], [time], [public], [private], [nic3].., [[route]], [[vrrp]], [balancer], [[service]], [firewall], [stop]";
const OF_ADMIN: &str = "address, gateway, mtu, token";
const OF_PORT: &str = "addresses, mtu, reverse-path";
const OF_ROUTE: &str = "to, via, interface, kind";

/// The smallest and the largest MTU that may be said.
const MTU_BYTES: (u16, u16) = (576, 9000);

/// The shortest token: of random letters and digits, 95 bits.
const LEAST_TOKEN_BYTES: usize = 16;

/// Why an entry is not taken, and where in it.
pub(super) type Refused = (At, String);

impl Config {
    /// Takes what `source` says, over what those before it said.
    pub(super) fn read(&mut self, source: Source, entries: Vec<Entry>) {
        if entries.iter().any(|entry| entry.key == "route" || entry.key.starts_with("route.")) {
            // Routes are one value, all together.
            self.routes.clear();
        }
        if entries.iter().any(|entry| entry.key == "service" || entry.key.starts_with("service.")) {
            // So are services,
            self.services.clear();
        }
        if entries.iter().any(|entry| entry.key == "vrrp" || entry.key.starts_with("vrrp.")) {
            // and what is shared.
            self.vrrp.clear();
        }
        let mut unknown_table = None;
        for entry in entries {
            // What is in a table that there is not was named with its head.
            if unknown_table == Some(entry.table) {
                continue;
            }
            if let Err((at, reason)) = self.take(source, &entry) {
                self.fault(Origin::Said(source, at), reason);
                let is_head = matches!(entry.value, Value::Head { .. });
                unknown_table = is_head.then_some(entry.table).or(unknown_table);
            }
        }
    }

    fn take(&mut self, source: Source, entry: &Entry) -> Result<(), Refused> {
        let origin = Origin::Said(source, entry.at);
        if let ("service.server", Value::Head { is_one_of_several }) = (&*entry.key, &entry.value) {
            return self.open(source, &entry.key, *is_one_of_several, entry);
        }
        let Some((table, key)) = entry.key.split_once('.') else {
            return match (&*entry.key, &entry.value) {
                (table, Value::Head { is_one_of_several }) => {
                    self.open(source, table, *is_one_of_several, entry)
                }
                ("log", value) => put(&mut self.log, parse(value, level), origin, entry),
                ("irq", value) => put(&mut self.irq, parse(value, parse_irq), origin, entry),
                (key, _) => unknown(entry, key, "", TOP),
            };
        };
        if let Value::Head { .. } = entry.value {
            return Err((entry.key_at, format!("no such table '{}'; there are {TOP}", entry.key)));
        }
        match (table, key) {
            ("admin", "address") => {
                put(&mut self.admin.address, parse(&entry.value, admin_address), origin, entry)
            }
            ("admin", "gateway") => {
                put(&mut self.admin.gateway, parse(&entry.value, gateway).map(Some), origin, entry)
            }
            ("admin", "mtu") => {
                put(&mut self.admin.mtu_bytes, mtu_bytes(&entry.value).map(Some), origin, entry)
            }
            ("admin", "token") => {
                put(&mut self.admin_token, parse(&entry.value, token).map(Some), origin, entry)
            }
            ("admin", key) => unknown(entry, key, " in [admin]", OF_ADMIN),
            ("route", key) => self.take_route(source, entry, key),
            ("service", key) => self.take_service(source, entry, key),
            ("vrrp", key) => self.take_vrrp(source, entry, key),
            ("syslog", key) => self.take_syslog(source, entry, key),
            ("time", key) => self.take_time(source, entry, key),
            ("balancer", key) => self.take_shared(source, entry, key),
            ("firewall", key) => self.take_firewall(source, entry, key),
            ("stop", key) => self.take_stop(source, entry, key),
            (name, key) if is_nic_name(name) => self.take_port(source, entry, name, key),
            _ => unknown(entry, &entry.key, "", TOP),
        }
    }

    /// The head of a table: whether there is such a one.
    fn open(
        &mut self,
        source: Source,
        table: &str,
        is_one_of_several: bool,
        entry: &Entry,
    ) -> Result<(), Refused> {
        match (table, is_one_of_several) {
            ("route", false) => Err((entry.key_at, "write [[route]], once for each route".into())),
            ("route", true) => {
                let origin = Origin::Said(source, entry.key_at);
                self.routes.push(Route { origin, table: entry.table, ..Route::default() });
                Ok(())
            }
            ("service" | "service.server" | "vrrp", false) => {
                Err((entry.key_at, format!("write [[{table}]], once for each of them")))
            }
            ("vrrp", true) => {
                self.open_vrrp(source, entry);
                Ok(())
            }
            ("service" | "service.server", true) => self.open_service(source, entry),
            ("balancer" | "firewall" | "syslog" | "time" | "stop", true) => {
                Err((entry.key_at, format!("write [{table}], once")))
            }
            ("balancer" | "firewall" | "syslog" | "time" | "stop", false) => Ok(()),
            (name, true) if is_nic_name(name) => Err((entry.key_at, format!("write [{name}], once"))),
            (name, false) if is_nic_name(name) => {
                if name != "admin" {
                    self.port_mut(name);
                }
                Ok(())
            }
            _ => Err((entry.key_at, format!("no such table '{table}'; there are {TOP}"))),
        }
    }

    fn port_mut(&mut self, name: &str) -> Option<&mut Port> {
        if self.port(name).is_none() {
            self.ports.push(Port::new(name));
        }
        self.ports.iter_mut().find(|port| port.name == name)
    }

    fn take_port(&mut self, source: Source, entry: &Entry, name: &str, key: &str) -> Result<(), Refused> {
        let origin = Origin::Said(source, entry.at);
        let Some(port) = self.port_mut(name) else { return Ok(()) };
        match key {
            "addresses" => put(&mut port.addresses, addresses(source, entry), origin, entry),
            "mtu" => put(&mut port.mtu_bytes, mtu_bytes(&entry.value), origin, entry),
            "reverse-path" => put(&mut port.is_loose, parse(&entry.value, reverse_path), origin, entry),
            key => unknown(entry, key, &format!(" in [{name}]"), OF_PORT),
        }
    }

    fn take_route(&mut self, source: Source, entry: &Entry, key: &str) -> Result<(), Refused> {
        let origin = Origin::Said(source, entry.at);
        if self.routes.last().is_none_or(|route| route.table != entry.table) {
            let origin = Origin::Said(source, entry.key_at);
            self.routes.push(Route { origin, table: entry.table, ..Route::default() });
        }
        let Some(route) = self.routes.last_mut() else { return Ok(()) };
        let taken = match key {
            "to" => {
                let mut to = Setting { value: route.to, origin: route.to_origin };
                let taken = put(&mut to, parse(&entry.value, prefix).map(Some), origin, entry);
                (route.to, route.to_origin) = (to.value, to.origin);
                taken
            }
            "via" => put_first(&mut route.via, parse(&entry.value, ip_address), origin, entry),
            "interface" => put_first(&mut route.interface, parse(&entry.value, interface), origin, entry),
            "kind" => put_first(&mut route.kind, parse(&entry.value, sink), origin, entry),
            key => unknown(entry, key, " in [[route]]", OF_ROUTE),
        };
        route.is_broken |= taken.is_err();
        taken
    }
}

/// Puts a value in its place, unless the same source did before.
pub(super) fn put<T>(
    setting: &mut Setting<T>,
    value: Result<T, Refused>,
    origin: Origin,
    entry: &Entry,
) -> Result<(), Refused> {
    if setting.origin.source() == origin.source() {
        return Err((entry.key_at, format!("'{}' is said twice; first at {}", entry.key, setting.origin)));
    }
    *setting = Setting { value: value.map_err(|(at, reason)| (placed(at, entry), reason))?, origin };
    Ok(())
}

/// The same where nobody says anything otherwise.
fn put_first<T>(
    setting: &mut Option<Setting<T>>,
    value: Result<T, Refused>,
    origin: Origin,
    entry: &Entry,
) -> Result<(), Refused> {
    if let Some(first) = setting {
        return Err((entry.key_at, format!("'{}' is said twice; first at {}", entry.key, first.origin)));
    }
    let value = value.map_err(|(at, reason)| (placed(at, entry), reason))?;
    *setting = Some(Setting { value, origin });
    Ok(())
}

/// Nowhere in particular: where the value is.
pub(super) const HERE: At = At { line: 0, column: 0 };

fn placed(at: At, entry: &Entry) -> At {
    if at == HERE { entry.at } else { at }
}

pub(super) fn unknown(entry: &Entry, key: &str, place: &str, known: &str) -> Result<(), Refused> {
    Err((entry.key_at, format!("unknown key '{key}'{place}; there are {known}")))
}

/// A string, understood.
pub(super) fn parse<T>(
    value: &Value,
    understand: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Refused> {
    let Value::String(text) = value else {
        return Err((HERE, format!("{} where a string in quotes is wanted", kind_of(value))));
    };
    understand(text).map_err(|reason| (HERE, reason))
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a number",
        Value::Boolean(_) => "a boolean",
        Value::List(_) => "a list",
        Value::Head { .. } => "a table",
        Value::Other(kind) => kind,
    }
}

fn level(text: &str) -> Result<LevelFilter, String> {
    LevelFilter::from_str(text)
        .map_err(|_| format!("'{text}' is no level; there are error, warn, info, debug, trace"))
}

/// What [`parse_irq`] reads.
pub(super) fn irq_name(mode: IrqMode) -> &'static str {
    match mode {
        IrqMode::Auto => "auto",
        IrqMode::Msix => "msix",
        IrqMode::Msi => "msi",
        IrqMode::Line => "line",
        IrqMode::Polling => "polling",
    }
}

fn mtu_bytes(value: &Value) -> Result<u16, Refused> {
    let (least, most) = MTU_BYTES;
    let wanted = format!("an MTU is a number of bytes from {least} to {most}");
    let Value::Integer(text) = value else { return Err((HERE, format!("{}; {wanted}", kind_of(value)))) };
    let mtu = text.parse().ok().filter(|mtu| (least..=most).contains(mtu));
    mtu.ok_or_else(|| (HERE, format!("'{text}'; {wanted}")))
}

/// What who may change something has to say.
fn token(text: &str) -> Result<String, String> {
    if text.len() < LEAST_TOKEN_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("a token has {LEAST_TOKEN_BYTES} characters of ASCII at least, and no blanks"));
    }
    Ok(text.into())
}

fn admin_address(text: &str) -> Result<Option<Ipv4Cidr>, String> {
    if text == "dhcp" {
        return Ok(None);
    }
    match host_address(text)? {
        (IpAddr::V4(address), bits) => Ok(Some(Ipv4Cidr::new(address, bits))),
        (IpAddr::V6(_), _) => Err(format!("'{text}': admin has IPv4 alone; write dhcp, or as 10.0.0.2/24")),
    }
}

fn gateway(text: &str) -> Result<Ipv4Address, String> {
    text.parse().map_err(|_| format!("'{text}' is no address of IPv4; write it as 10.0.0.1"))
}

fn ip_address(text: &str) -> Result<IpAddr, String> {
    let address = text
        .parse()
        .map_err(|_| format!("'{text}' is no address of a gateway; write it as 10.0.0.1 or 2001:db8::1"))?;
    host(address, text).map(|()| address)
}

fn prefix(text: &str) -> Result<Prefix, String> {
    Prefix::from_str(text).map_err(|error| format!("'{text}': {error}"))
}

pub(super) fn interface(text: &str) -> Result<String, String> {
    if is_nic_name(text) && text != "admin" {
        return Ok(text.into());
    }
    Err(format!("'{text}' is no interface that packets are passed on by; there are public, private, nic3.."))
}

/// Whether it is loose.
fn reverse_path(text: &str) -> Result<bool, String> {
    match text {
        "strict" => Ok(false),
        "loose" => Ok(true),
        _ => Err(format!("'{text}' is no reverse path; there are strict, loose")),
    }
}

fn sink(text: &str) -> Result<Sink, String> {
    match text {
        "blackhole" => Ok(Sink::Blackhole),
        "unreachable" => Ok(Sink::Unreachable),
        _ => Err(format!("'{text}' is no kind; there are blackhole, unreachable")),
    }
}

/// The addresses of an interface.
fn addresses(source: Source, entry: &Entry) -> Result<Vec<(IpAddr, u8, Origin)>, Refused> {
    let Value::List(items) = &entry.value else {
        let kind = kind_of(&entry.value);
        return Err((
            HERE,
            format!("{kind} where a list is wanted, as [\"10.0.0.1/24\", \"2001:db8::1/64\"]"),
        ));
    };
    let one = |(at, value): &(At, Value)| {
        let (address, bits) = parse(value, host_address).map_err(|(_, reason)| (*at, reason))?;
        Ok((address, bits, Origin::Said(source, *at)))
    };
    items.iter().map(one).collect()
}

/// An address that a host may have, with the length of its network's prefix.
fn host_address(text: &str) -> Result<(IpAddr, u8), String> {
    let form = || {
        format!(
            "'{text}' is no address with the length of its prefix; write it as 10.0.0.1/24 or 2001:db8::1/64"
        )
    };
    let (address, bits) = text.split_once('/').ok_or_else(form)?;
    let ip: IpAddr = address.parse().map_err(|_| form())?;
    if bits.is_empty() || !bits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(form());
    }
    let (most, usual) = if ip.is_ipv4() { (32, 24) } else { (128, 64) };
    let bits = bits.parse().ok().filter(|bits| (1..=most).contains(bits));
    let bits =
        bits.ok_or_else(|| format!("'{text}': the length of a prefix is 1 to {most}, as {address}/{usual}"))?;
    host(ip, text)?;
    let network = Prefix::around(ip, bits).map_err(|error| format!("'{text}': {error}"))?;
    let is_edge = network.broadcast().is_some_and(|last| network.address() == ip || IpAddr::V4(last) == ip);
    if is_edge {
        return Err(format!(
            "'{text}' is the network itself, or all of its hosts; a host's address is wanted"
        ));
    }
    Ok((ip, bits))
}

/// Whether a host may have `address`.
pub(super) fn host(address: IpAddr, text: &str) -> Result<(), String> {
    let is_none = address.is_multicast() || address.is_loopback() || address.is_unspecified();
    let is_reserved =
        matches!(address, IpAddr::V4(address) if address.octets()[0] == 0 || address.octets()[0] >= 224);
    if is_none || is_reserved {
        return Err(format!("'{text}' is no host's address"));
    }
    Ok(())
}
