//! Addresses that several machines share: `[[vrrp]]`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::num::NonZero;
use core::time::Duration;

use paravane_appliance::route::Prefix;
use paravane_appliance::vrrp::{Checksum, MAX_ADDRESSES, Settings};

use super::read::{HERE, Refused, host, interface, kind_of, parse, unknown};
use super::services::first;
use super::values::{boolean, name, number, time, time_text};
use super::{Config, Origin, Port, Source};
use crate::app::config::file::{At, Entry, Value};

const OF_VRRP: &str = "interface, id, addresses, priority, interval, preempt, sync, checksum";

/// A virtual router, as it was said: one of each IP version that it has addresses of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrrp {
    /// Where it begins.
    pub origin: Origin,
    /// In which table of its source.
    table: usize,
    /// On which interface, by name.
    pub interface: String,
    /// Its number.
    pub id: NonZero<u8>,
    /// What machines share, and where each is said.
    pub addresses: Vec<(IpAddr, Origin)>,
    /// Who has the higher one is active.
    pub priority: u8,
    /// How often the active one says so.
    pub interval: Duration,
    /// Whether one of a higher priority takes over from one that works.
    pub preempts: bool,
    /// Those of the same name move together.
    pub sync: Option<String>,
    /// How checksums are made until another machine is heard.
    pub checksum: Checksum,
    /// Where each key was said.
    said: Vec<(String, Origin)>,
}

impl Vrrp {
    fn new(origin: Origin, table: usize) -> Self {
        let Settings { id, priority, interval, preempts, checksum, .. } =
            Settings::new(NonZero::<u8>::MIN, Vec::new());
        Self {
            origin,
            table,
            interface: String::new(),
            id,
            addresses: Vec::new(),
            priority,
            interval,
            preempts,
            sync: None,
            checksum,
            said: Vec::new(),
        }
    }

    /// Where `key` was said; where it begins, if nowhere.
    fn origin_of(&self, key: &str) -> Origin {
        self.said.iter().find(|(said, _)| said == key).map_or(self.origin, |(_, origin)| *origin)
    }

    fn says(&self, key: &str) -> bool {
        self.said.iter().any(|(said, _)| said == key)
    }

    fn take(&mut self, source: Source, entry: &Entry, key: &str) -> Result<(), Refused> {
        let value = &entry.value;
        first(&mut self.said, entry, key, Origin::Said(source, entry.at))?;
        match key {
            "interface" => self.interface = parse(value, interface)?,
            "id" => self.id = NonZero::new(number(value, 1, u8::MAX.into())?).unwrap_or(self.id),
            "addresses" => self.addresses = addresses(source, value)?,
            "priority" => self.priority = number(value, 1, 254)?,
            "interval" => self.interval = parse(value, interval)?,
            "preempt" => self.preempts = boolean(value)?,
            "sync" => self.sync = Some(parse(value, name)?),
            "checksum" => self.checksum = parse(value, checksum)?,
            key => return unknown(entry, key, " in [[vrrp]]", OF_VRRP),
        }
        Ok(())
    }

    /// What it is of that version, if it has addresses of it.
    #[must_use]
    pub fn settings(&self, is_v4: bool) -> Option<Settings> {
        let of_version = self.addresses.iter().map(|(address, _)| *address);
        let addresses: Vec<_> = of_version.filter(|address| address.is_ipv4() == is_v4).collect();
        (!addresses.is_empty()).then(|| Settings {
            priority: self.priority,
            interval: self.interval,
            preempts: self.preempts,
            checksum: self.checksum,
            ..Settings::new(self.id, addresses)
        })
    }

    /// Each value of it, as people write it, and where it is from.
    fn effective(&self, all: &mut Vec<(String, String, Origin)>) {
        let list: Vec<_> = self.addresses.iter().map(|(address, _)| address.to_string()).collect();
        for (key, value) in [
            ("addresses", list.join(", ")),
            ("priority", self.priority.to_string()),
            ("interval", time_text(self.interval)),
            ("preempt", self.preempts.to_string()),
            ("sync", self.sync.clone().unwrap_or_else(|| "none".into())),
            ("checksum", checksum_name(self.checksum).into()),
        ] {
            let origin = if self.says(key) { self.origin_of(key) } else { Origin::Default };
            all.push((format!("vrrp.{}.{}.{key}", self.interface, self.id), value, origin));
        }
    }
}

impl Config {
    pub(super) fn open_vrrp(&mut self, source: Source, entry: &Entry) {
        self.vrrp.push(Vrrp::new(Origin::Said(source, entry.key_at), entry.table));
    }

    pub(super) fn take_vrrp(&mut self, source: Source, entry: &Entry, key: &str) -> Result<(), Refused> {
        let Some(vrrp) = self.vrrp.last_mut().filter(|vrrp| vrrp.table == entry.table) else {
            return Err((entry.key_at, "write [[vrrp]], once for each virtual router".into()));
        };
        let taken = vrrp.take(source, entry, key);
        taken.map_err(|(at, reason)| (if at == HERE { entry.at } else { at }, reason))
    }

    /// Whether machines share `address`.
    #[must_use]
    pub fn shares(&self, address: IpAddr) -> bool {
        self.vrrp.iter().any(|vrrp| vrrp.addresses.iter().any(|(shared, _)| *shared == address))
    }

    pub(super) fn effective_vrrp(&self, all: &mut Vec<(String, String, Origin)>) {
        self.vrrp.iter().for_each(|vrrp| vrrp.effective(all));
    }

    /// Says what does not go together.
    pub(super) fn check_vrrp(&self) -> Vec<(Origin, String)> {
        let numbered = self.vrrp.iter().enumerate();
        numbered.filter_map(|(number, vrrp)| self.check_one_vrrp(vrrp, number).err()).collect()
    }

    fn check_one_vrrp(&self, vrrp: &Vrrp, number: usize) -> Result<(), (Origin, String)> {
        for (key, example) in [
            ("interface", "interface = \"public\""),
            ("id", "id = 7"),
            ("addresses", "addresses = [\"192.0.2.80\"]"),
        ] {
            if !vrrp.says(key) {
                return Err((vrrp.origin, format!("a virtual router needs '{key}', as {example}")));
            }
        }
        let interface = &vrrp.interface;
        let Some(port) = self.port(interface).filter(|port| !port.addresses.value.is_empty()) else {
            let reason = format!("{interface} has no addresses; write [{interface}] with addresses");
            return Err((vrrp.origin_of("interface"), reason));
        };
        if vrrp.addresses.is_empty() {
            return Err((vrrp.origin_of("addresses"), "there is nothing to share".into()));
        }
        for is_v4 in [true, false] {
            let count = vrrp.settings(is_v4).map_or(0, |settings| settings.addresses.len());
            if count > MAX_ADDRESSES {
                let reason = format!("{count} addresses of one IP version: {MAX_ADDRESSES} are the most");
                return Err((vrrp.origin_of("addresses"), reason));
            }
        }
        let before = || self.vrrp.iter().take(number);
        for (address, origin) in &vrrp.addresses {
            self.check_shared(port, *address).map_err(|reason| (*origin, reason))?;
            let same = |(other, at): &(IpAddr, Origin)| other == address && at != origin;
            if let Some((_, first)) =
                before().chain([vrrp]).flat_map(|other| &other.addresses).find(|it| same(it))
            {
                return Err((*origin, format!("{address} is shared twice; first at {first}")));
            }
        }
        if before().any(|other| other.interface == *interface && other.id == vrrp.id) {
            let reason = format!("two virtual routers on {interface} have the id {}", vrrp.id);
            return Err((vrrp.origin_of("id"), reason));
        }
        let together = |other: &&Vrrp| vrrp.sync.is_some() && other.sync == vrrp.sync;
        let Some(other) = before().find(together) else { return Ok(()) };
        let differs = [
            ("priority", other.priority == vrrp.priority),
            ("interval", other.interval == vrrp.interval),
            ("preempt", other.preempts == vrrp.preempts),
        ];
        match differs.into_iter().find(|(_, is_same)| !is_same) {
            None => Ok(()),
            Some((key, _)) => {
                let reason = format!(
                    "those that move together have the same {key}; another is at {}",
                    other.origin_of(key)
                );
                Err((vrrp.origin_of(key), reason))
            }
        }
    }

    /// Whether machines may share `address` on the link of `port`.
    fn check_shared(&self, port: &Port, address: IpAddr) -> Result<(), String> {
        let name = &port.name;
        let is_own =
            self.ports.iter().any(|port| port.addresses.value.iter().any(|(own, ..)| *own == address));
        if is_own {
            return Err(format!("{address} is this machine's own; what machines share is another one"));
        }
        let is_of_link = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        let has_v6 = port.addresses.value.iter().any(|(own, ..)| own.is_ipv6());
        let is_edge = |network: Prefix| {
            network.address() == address || network.broadcast().map(IpAddr::V4) == Some(address)
        };
        match port.networks().find(|(network, _)| network.contains(address)) {
            _ if is_of_link && has_v6 => Ok(()),
            None => Err(format!(
                "{address} is in no network of {name}; what is shared there is a neighbour of its addresses"
            )),
            Some((network, _)) if network.bits() < 31 && is_edge(network) => Err(format!(
                "{address} is the network {network} itself, or all of its hosts; a host's address is wanted"
            )),
            Some(_) => Ok(()),
        }
    }
}

fn addresses(source: Source, value: &Value) -> Result<Vec<(IpAddr, Origin)>, Refused> {
    let Value::List(items) = value else {
        let kind = kind_of(value);
        return Err((
            HERE,
            format!("{kind} where a list is wanted, as [\"192.0.2.80\", \"2001:db8:1::80\"]"),
        ));
    };
    let understand = |text: &str| {
        let form =
            || format!("'{text}' is no address; write it as 192.0.2.80, without the length of a prefix");
        let address: IpAddr = text.parse().map_err(|_| form())?;
        host(address, text).map(|()| address)
    };
    let one = |(at, value): &(At, Value)| {
        let address = parse(value, understand).map_err(|(_, reason)| (*at, reason))?;
        Ok((address, Origin::Said(source, *at)))
    };
    items.iter().map(one).collect()
}

/// How often the active one says that it is: in hundredths of a second, in 12 bits.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = time(text)?;
    let millis = interval.as_millis();
    if !(10..=40_950).contains(&millis) || !millis.is_multiple_of(10) {
        return Err(format!("'{text}': an interval is 10ms to 40950ms, in steps of 10ms"));
    }
    Ok(interval)
}

fn checksum(text: &str) -> Result<Checksum, String> {
    match text {
        "message" => Ok(Checksum::Message),
        "pseudo-header" => Ok(Checksum::PseudoHeader),
        _ => Err(format!(
            "'{text}' is no way to make a checksum; there are message (RFC 9568), pseudo-header (keepalived)"
        )),
    }
}

const fn checksum_name(checksum: Checksum) -> &'static str {
    match checksum {
        Checksum::Message => "message",
        Checksum::PseudoHeader => "pseudo-header",
    }
}
