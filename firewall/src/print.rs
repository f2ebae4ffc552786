//! Rules as a file that reads back as the same rules.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::packet::{Zone, protocol};
use crate::ranges::Ranges;
use crate::rules::{Action, AddressSet, Limit, Per, Rule, Rules, Service, Verdict, Zones};

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Reject => "reject",
            Self::Drop => "drop",
        })
    }
}

/// The file's language, a rule a line. Sets and services are written out.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rule in &self.rules {
            self.rule(rule, f)?;
            writeln!(f)?;
        }
        write!(f, "default {}", self.default.verdict)?;
        self.extras(&self.default, f)?;
        writeln!(f)
    }
}

impl Rules {
    fn rule(&self, rule: &Rule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", rule.action.verdict, self.zone_list(rule.from), self.zone_list(rule.to))?;
        if !rule.services.is_empty() {
            write!(f, " {}", list(rule.services.iter().map(ToString::to_string)))?;
        }
        if !rule.source.is_all() {
            write!(f, " from {}", rule.source)?;
        }
        if !rule.destination.is_all() {
            write!(f, " to {}", rule.destination)?;
        }
        self.extras(&rule.action, f)
    }

    fn zone_list(&self, zones: Zones) -> String {
        if zones == Zones::first(self.zones.len()) {
            return "any".into();
        }
        let named = self.zones.iter().zip(0..).filter(|&(_, number)| zones.contains(Zone(number)));
        list(named.map(|(name, _)| name.clone()))
    }

    fn extras(&self, action: &Action, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(limit) = &action.limit {
            write!(f, " {limit}")?;
        }
        match action.log.as_deref() {
            Some("") => write!(f, " log")?,
            Some(text) => write!(f, " log \"{text}\"")?,
            None => {}
        }
        match action.counter.and_then(|counter| self.counters.get(usize::from(counter))) {
            Some(name) => write!(f, " counter {name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Second => "s",
            Per::Minute => "min",
            Per::Hour => "h",
        };
        write!(f, "limit {}/{per} burst {}", self.flows, self.burst)?;
        f.write_str(if self.per_source { " per source" } else { "" })
    }
}

impl fmt::Display for AddressSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v4 = self.v4.as_slice().iter().map(|&(first, last)| match first ^ last {
            0 => Ipv4Addr::from_bits(first).to_string(),
            host if is_prefix(first.into(), host.into()) => {
                alloc::format!("{}/{}", Ipv4Addr::from_bits(first), host.leading_zeros())
            }
            _ => alloc::format!("{}-{}", Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last)),
        });
        let v6 = self.v6.as_slice().iter().map(|&(first, last)| match first ^ last {
            0 => Ipv6Addr::from_bits(first).to_string(),
            host if is_prefix(first, host) => {
                alloc::format!("{}/{}", Ipv6Addr::from_bits(first), host.leading_zeros())
            }
            _ => alloc::format!("{}-{}", Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(last)),
        });
        f.write_str(&list(v4.chain(v6)))
    }
}

/// Whether a range that begins with `first`, and in which the bits of `host` differ between the
/// ends, is a prefix.
fn is_prefix(first: u128, host: u128) -> bool {
    host & host.wrapping_add(1) == 0 && first & host == 0
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            protocol::TCP => write!(f, "tcp{}", ports(" ", &self.selector))?,
            protocol::UDP => write!(f, "udp{}", ports(" ", &self.selector))?,
            protocol::ICMP => return write!(f, "icmp{}", types(&self.selector)),
            protocol::ICMPV6 => return write!(f, "icmpv6{}", types(&self.selector)),
            number => return write!(f, "protocol {number}"),
        }
        f.write_str(&ports(" source-port ", &self.source_port))
    }
}

fn ports(before: &str, ports: &Ranges<u16>) -> String {
    if ports.is_all() {
        return String::new();
    }
    let each = ports.as_slice().iter().map(|&(first, last)| match first == last {
        true => first.to_string(),
        false => alloc::format!("{first}-{last}"),
    });
    alloc::format!("{before}{}", list(each))
}

/// A type of which there are all codes as its number, others code by code.
fn types(selectors: &Ranges<u16>) -> String {
    if selectors.is_all() {
        return String::new();
    }
    let each = selectors.as_slice().iter().flat_map(|&(first, last)| {
        let ([first_kind, _], [last_kind, _]) = (first.to_be_bytes(), last.to_be_bytes());
        (first_kind..=last_kind).flat_map(move |kind| {
            let (from, to) = (u16::from_be_bytes([kind, 0]), u16::from_be_bytes([kind, u8::MAX]));
            if first <= from && to <= last {
                return Vec::from([kind.to_string()]);
            }
            let codes = first.max(from)..=last.min(to);
            codes.map(|selector| alloc::format!("{kind}/{}", selector & 0xff)).collect()
        })
    });
    alloc::format!(" {}", list(each))
}

/// One as it is, several in braces.
fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.as_slice() {
        [one] => one.clone(),
        items => alloc::format!("{{ {} }}", items.join(", ")),
    }
}
