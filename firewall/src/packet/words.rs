//! A packet in words.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::{Addresses, Packet, Transport, Zone};
use crate::names::unknown_help;
use crate::rules::Rules;
use crate::value;

/// Why words are no packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketError {
    message: String,
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for PacketError {}

const SHAPE: &str = "`public -> private tcp 203.0.113.7:5000 10.0.0.11:80`";

fn wrong<T>(message: String) -> Result<T, PacketError> {
    Err(PacketError { message })
}

impl Rules {
    /// A packet from words: zones, protocol, source, destination, as in
    /// `public -> private tcp 203.0.113.7:5000 [2001:db8::1]:80`.
    ///
    /// Of ICMP the type, or type and code, come last: `public -> self icmp 203.0.113.7 192.0.2.1
    /// echo-request`. Other protocols are numbers: `protocol 47 203.0.113.7 192.0.2.1`.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn packet(&self, words: &str) -> Result<Packet, PacketError> {
        let mut words = words.split_whitespace();
        let mut next = |what: &str| match words.next() {
            Some(word) => Ok(word),
            None => wrong(format!("{what} is missing; a packet looks like {SHAPE}")),
        };
        let from = self.zone(next("where it comes from")?)?;
        let arrow = next("`->`")?;
        if arrow != "->" {
            return wrong(format!("`->` is expected in place of `{arrow}`; a packet looks like {SHAPE}"));
        }
        let to = self.zone(next("where it goes to")?)?;
        let (addresses, transport) = match next("its protocol")? {
            "tcp" => {
                let (addresses, source, destination) = ends(next("its source")?, next("its destination")?)?;
                (addresses, Transport::Tcp { source, destination })
            }
            "udp" => {
                let (addresses, source, destination) = ends(next("its source")?, next("its destination")?)?;
                (addresses, Transport::Udp { source, destination })
            }
            "icmp" => {
                let addresses = hosts(next("its source")?, next("its destination")?)?;
                let (kind, code) = kind(next("its type")?, value::ICMP)?;
                (addresses, Transport::Icmp { kind, code })
            }
            "icmpv6" => {
                let addresses = hosts(next("its source")?, next("its destination")?)?;
                let (kind, code) = kind(next("its type")?, value::ICMPV6)?;
                (addresses, Transport::Icmpv6 { kind, code })
            }
            "protocol" => {
                let number = next("the protocol's number")?;
                let Ok(number) = number.parse() else {
                    return wrong(format!("`{number}` is no protocol: it is a number from 0 to 255"));
                };
                (hosts(next("its source")?, next("its destination")?)?, Transport::Other(number))
            }
            other => {
                return wrong(format!(
                    "`{other}` is no protocol: there are tcp, udp, icmp, icmpv6 and protocol NUMBER"
                ));
            }
        };
        match words.next() {
            Some(more) => wrong(format!("`{more}` is one word too many; a packet looks like {SHAPE}")),
            None => Ok(Packet { from, to, addresses, transport }),
        }
    }

    fn zone(&self, name: &str) -> Result<Zone, PacketError> {
        let place =
            self.zones.iter().position(|zone| zone == name).and_then(|place| u8::try_from(place).ok());
        match place {
            Some(place) => Ok(Zone(place)),
            None => {
                let help = unknown_help(name, self.zones.iter().map(String::as_str));
                wrong(format!("there is no zone `{name}`: {help}"))
            }
        }
    }
}

impl Packet {
    /// The words that [`Rules::packet`] reads as this packet, where zones are called as `name`
    /// says.
    #[must_use]
    pub fn words<'n>(&self, name: impl Fn(Zone) -> &'n str) -> String {
        let zones = format!("{} -> {}", name(self.from), name(self.to));
        let (source, destination) = self.addresses.both();
        let end = |address: IpAddr, port: u16| SocketAddr::new(address, port);
        match self.transport {
            Transport::Tcp { source: from, destination: to } => {
                format!("{zones} tcp {} {}", end(source, from), end(destination, to))
            }
            Transport::Udp { source: from, destination: to } => {
                format!("{zones} udp {} {}", end(source, from), end(destination, to))
            }
            Transport::Icmp { kind, code } => format!("{zones} icmp {source} {destination} {kind}/{code}"),
            Transport::Icmpv6 { kind, code } => {
                format!("{zones} icmpv6 {source} {destination} {kind}/{code}")
            }
            Transport::Other(number) => format!("{zones} protocol {number} {source} {destination}"),
        }
    }
}

fn pair(source: IpAddr, destination: IpAddr) -> Result<Addresses, PacketError> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Ok(Addresses::V4 { source, destination }),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ok(Addresses::V6 { source, destination }),
        _ => wrong(format!("{source} and {destination} are of two versions")),
    }
}

fn hosts(source: &str, destination: &str) -> Result<Addresses, PacketError> {
    let host = |word: &str| match word.parse() {
        Ok(address) => Ok(address),
        Err(_) => wrong(format!("`{word}` is no address, such as `192.0.2.1` or `2001:db8::1`")),
    };
    pair(host(source)?, host(destination)?)
}

fn ends(source: &str, destination: &str) -> Result<(Addresses, u16, u16), PacketError> {
    let end = |word: &str| match word.parse::<SocketAddr>() {
        Ok(end) => Ok(end),
        Err(_) => {
            wrong(format!("`{word}` is no address and port, such as `192.0.2.1:80` or `[2001:db8::1]:80`"))
        }
    };
    let (source, destination) = (end(source)?, end(destination)?);
    Ok((pair(source.ip(), destination.ip())?, source.port(), destination.port()))
}

fn kind(word: &str, names: &[(&str, u8)]) -> Result<(u8, u8), PacketError> {
    match value::icmp(word, names) {
        Ok((first, _)) => Ok((first.to_be_bytes()[0], first.to_be_bytes()[1])),
        Err((message, help)) => Err(PacketError { message: format!("{message}: {help}").to_owned() }),
    }
}
