//! A file in words.

use std::fmt;

use super::{File, Item, Service, ZONES};

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    // Commas behind the last one, lines, and comments among them are all the same.
    if items.len() == 1 { items[0].clone() } else { format!("{{ {},  # some\n }}", items.join(",\n")) }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => write!(f, "any"),
            Self::Set(number) => write!(f, "set{number}"),
            Self::Prefix4(first, length) => write!(f, "{first}/{length}"),
            Self::Prefix6(first, length) => write!(f, "{first}/{length}"),
            Self::Range4(first, last) => write!(f, "{first}-{last}"),
            Self::Range6(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

fn ports(before: &str, ports: &[(u16, u16)]) -> String {
    let each = ports.iter().map(|&(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    if ports.is_empty() { String::new() } else { format!("{before}{}", list(each)) }
}

fn types(types: &[(u8, Option<u8>)]) -> String {
    let each =
        types.iter().map(|(kind, code)| code.map_or(kind.to_string(), |code| format!("{kind}/{code}")));
    if types.is_empty() { String::new() } else { format!(" {}", list(each)) }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(number) => write!(f, "service{number}"),
            Self::Tcp(to, from) => write!(f, "tcp{}{}", ports(" ", to), ports(" source-port ", from)),
            Self::Udp(to, from) => write!(f, "udp{}{}", ports(" ", to), ports(" source-port ", from)),
            Self::Icmp(which) => write!(f, "icmp{}", types(which)),
            Self::Icmpv6(which) => write!(f, "icmpv6{}", types(which)),
            Self::Protocol(number) => write!(f, "protocol {number}"),
        }
    }
}

fn zones(numbers: &[usize]) -> String {
    list(numbers.iter().map(|&number| ZONES.get(number).unwrap_or(&"any").to_string()))
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, set) in self.sets.iter().enumerate() {
            writeln!(f, "set set{number} = {}", list(set.iter().map(ToString::to_string)))?;
        }
        for (number, service) in self.services.iter().enumerate() {
            writeln!(f, "service service{number} = {}", list(service.iter().map(ToString::to_string)))?;
        }
        for rule in &self.rules {
            write!(f, "{} {} -> {}", rule.verdict, zones(&rule.from), zones(&rule.to))?;
            if !rule.destination.is_empty() {
                write!(f, " to {}", list(rule.destination.iter().map(ToString::to_string)))?;
            }
            if !rule.services.is_empty() {
                write!(f, " {}", list(rule.services.iter().map(ToString::to_string)))?;
            }
            if !rule.source.is_empty() {
                write!(f, " from {}", list(rule.source.iter().map(ToString::to_string)))?;
            }
            writeln!(f, "{}", rule.rest)?;
        }
        writeln!(f, "default {} log", self.default)
    }
}
