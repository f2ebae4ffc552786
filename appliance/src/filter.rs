//! A firewall's rules, where flows begin: which of them may, how often, and what is kept of that.
//!
//! ```text
//!  the first packet of a flow -- Filter::judge --> it may begin
//!                                              --> it may not, for a reason
//! ```
//!
//! Rules are [`paravane_firewall`]'s: read from a file, or compiled into the program, with the same
//! results. They see the first packet of a flow only, and a [balancer's](crate::balance::Balancer)
//! table of flows knows the others; what is checked before any rule is asked, no rule turns off.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Filter`]: which rule decides, and how often each did |
//! | `limits` | how many flows rules let through |
//! | `logs` | what is to be said of flows |

mod limits;
mod logs;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use paravane_firewall::compiled::Compiled;
use paravane_firewall::rules::Verdict;
use paravane_firewall::{Action, Addresses, Decision, Packet, Rules, Transport, Zone};
use paravane_hal::time::Instant;

use crate::drops::Reason;
use crate::flow::Key;
use crate::interface::InterfaceId;
use crate::packet::wire::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::packet::{self, Packet as Headers};
use crate::random::Random;
use limits::Limits;
pub use logs::Logged;
use logs::Logs;

/// What rules call the machine itself.
pub const OWN: &str = "self";

/// Rules, in whichever form they came.
#[derive(Debug)]
pub enum RuleSet {
    /// They were read from a file, and are looked at one by one.
    Read(Rules),
    /// They were compiled into the program.
    Compiled(&'static Compiled),
}

impl RuleSet {
    fn decide(&self, packet: &Packet) -> Decision {
        match self {
            Self::Read(rules) => rules.decide(packet),
            Self::Compiled(compiled) => (compiled.decide)(packet),
        }
    }

    /// How many there are, the default among them.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Read(rules) => rules.rules().len().saturating_add(1),
            Self::Compiled(compiled) => compiled.actions.len(),
        }
    }

    /// What the rule of this number does; the last one is the default.
    #[must_use]
    pub fn action(&self, rule: u32) -> Option<&Action> {
        let place = usize::try_from(rule).ok()?;
        match self {
            Self::Read(rules) => (place < self.count()).then(|| rules.action(rule)),
            Self::Compiled(compiled) => compiled.actions.get(place),
        }
    }

    /// The names of counters.
    pub fn counters(&self) -> impl Iterator<Item = &str> {
        let (read, compiled) = match self {
            Self::Read(rules) => (rules.counters(), [].as_slice()),
            Self::Compiled(compiled) => ([].as_slice(), compiled.counters),
        };
        read.iter().map(String::as_str).chain(compiled.iter().copied())
    }

    /// The names of zones, by their numbers.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        let (read, compiled) = match self {
            Self::Read(rules) => (rules.zones(), [].as_slice()),
            Self::Compiled(compiled) => ([].as_slice(), compiled.zones),
        };
        read.iter().map(String::as_str).chain(compiled.iter().copied())
    }

    fn zone(&self, name: &str) -> Option<Zone> {
        self.zones().position(|zone| zone == name).and_then(|place| u8::try_from(place).ok()).map(Zone)
    }
}

/// Why rules are not for these interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterError {
    /// They were not made for a zone that is called so: that of an interface, or the machine
    /// itself.
    NoZone(String),
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoZone(name) => write!(f, "the rules were made without the zone `{name}`, which is here"),
        }
    }
}

impl core::error::Error for FilterError {}

/// The first packet of a flow, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    /// Where it came in.
    pub(crate) from: InterfaceId,
    /// Where it is to go out; it is for this machine if nowhere.
    pub(crate) to: Option<InterfaceId>,
    pub(crate) addresses: Addresses,
    pub(crate) transport: Transport,
}

impl First {
    /// Of a packet as it came in; `None` of one that has no addresses.
    pub(crate) fn of(
        from: InterfaceId,
        to: Option<InterfaceId>,
        headers: &Headers,
        transport: &packet::Transport,
    ) -> Option<Self> {
        let (source, destination) = headers.addresses()?;
        let transport = match transport {
            packet::Transport::Tcp(tcp, _) => {
                Transport::Tcp { source: tcp.source_port.get(), destination: tcp.destination_port.get() }
            }
            packet::Transport::Udp(udp, _) => {
                Transport::Udp { source: udp.source_port.get(), destination: udp.destination_port.get() }
            }
            packet::Transport::Icmp(icmp, _) if source.is_ipv4() => {
                Transport::Icmp { kind: icmp.kind, code: icmp.code }
            }
            packet::Transport::Icmp(icmp, _) => Transport::Icmpv6 { kind: icmp.kind, code: icmp.code },
            packet::Transport::Other(protocol, _) | packet::Transport::LaterFragment(protocol) => {
                Transport::Other(*protocol)
            }
        };
        Some(Self { from, to, addresses: addresses(source, destination)?, transport })
    }

    /// Of a client's packet to a server that was chosen for it: from whom it is, as the client
    /// sent it, and for whom it then is, as `reply` comes back. So rules speak of clients and of
    /// servers, and of no address that stands for either.
    pub(crate) fn translated(original: &Key, reply: &Key) -> Option<Self> {
        let (source, destination) = (original.source_port(), reply.source_port());
        let transport = match original.protocol() {
            PROTOCOL_TCP => Transport::Tcp { source, destination },
            PROTOCOL_UDP => Transport::Udp { source, destination },
            other => Transport::Other(other),
        };
        Some(Self {
            from: InterfaceId(original.zone()),
            to: Some(InterfaceId(reply.zone())),
            addresses: addresses(original.source(), reply.source())?,
            transport,
        })
    }
}

/// How often a rule decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// How often, of all first packets. What does not begin is sent again, and comes again.
    pub all: u64,
    /// How often of these its limit was reached.
    pub limited: u64,
}

/// Rules between interfaces, and what is kept of them. Nothing is allocated once it is made.
#[derive(Debug)]
pub struct Filter {
    rules: RuleSet,
    /// By interface.
    zones: Vec<Zone>,
    own: Zone,
    /// By rule.
    hits: Box<[Hits]>,
    counters: Box<[u64]>,
    limits: Limits,
    logs: Logs,
}

impl Filter {
    /// `rules` between interfaces of these names, in their order. They may be made for more zones:
    /// nothing comes from there, or goes there.
    ///
    /// # Errors
    ///
    /// [`FilterError`]: an interface is no zone of theirs.
    pub fn new(rules: RuleSet, interfaces: &[&str], random: &mut Random) -> Result<Self, FilterError> {
        let zone_of = |name: &str| rules.zone(name).ok_or_else(|| FilterError::NoZone(name.into()));
        let zones = interfaces.iter().map(|name| zone_of(name)).collect::<Result<_, _>>()?;
        let own = zone_of(OWN)?;
        let count = rules.count();
        let actions = (0..).map_while(|rule| rules.action(rule));
        let limits = Limits::new(actions.map(|action| action.limit), random);
        let counters = vec![0; rules.counters().count()].into();
        Ok(Self {
            zones,
            own,
            hits: vec![Hits::default(); count].into(),
            counters,
            limits,
            logs: Logs::new(),
            rules,
        })
    }

    /// The rules.
    #[must_use]
    pub const fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// How often the rule of this number decided.
    #[must_use]
    pub fn hits(&self, rule: u32) -> Hits {
        usize::try_from(rule).ok().and_then(|place| self.hits.get(place)).copied().unwrap_or_default()
    }

    /// Counters by their names.
    pub fn counters(&self) -> impl Iterator<Item = (&str, u64)> {
        self.rules.counters().zip(self.counters.iter().copied())
    }

    /// For how many flows there was no place to hold their source to a limit of its own.
    #[must_use]
    pub const fn uncounted(&self) -> u64 {
        self.limits.uncounted()
    }

    /// The oldest flow of which something is to be said, and nobody has heard.
    pub fn take_logged(&mut self) -> Option<Logged> {
        self.logs.take()
    }

    /// How many more there were than are said.
    #[must_use]
    pub const fn unlogged(&self) -> u64 {
        self.logs.lost()
    }

    /// Whether a flow may begin. That is counted, taken from limits, and logged.
    ///
    /// # Errors
    ///
    /// The reason why it may not: what [`Reason::RuleReject`] keeps away is told.
    pub(crate) fn judge(&mut self, first: &First, now: Instant) -> Result<(), Reason> {
        let packet = self.packet(first);
        let Decision { verdict, rule } = self.rules.decide(&packet);
        let place = usize::try_from(rule).unwrap_or(usize::MAX);
        let (source, _) = packet.addresses.both();
        let is_limited = !self.limits.take(place, source, now);
        if let Some(hits) = self.hits.get_mut(place) {
            hits.all = hits.all.wrapping_add(1);
            hits.limited = hits.limited.wrapping_add(is_limited.into());
        }
        let (log, counter) =
            self.rules.action(rule).map_or((false, None), |it| (it.log.is_some(), it.counter));
        if let Some(count) = counter.and_then(|counter| self.counters.get_mut(usize::from(counter))) {
            *count = count.wrapping_add(1);
        }
        if log {
            self.logs.put(Logged { packet, rule, verdict, is_limited }, now);
        }
        if is_limited { Err(Reason::RuleLimit) } else { reason(verdict) }
    }

    /// What [`judge`](Self::judge) would say if there were no limits. Nothing is counted.
    ///
    /// # Errors
    ///
    /// Likewise.
    pub(crate) fn permits(&self, first: &First) -> Result<(), Reason> {
        reason(self.rules.decide(&self.packet(first)).verdict)
    }

    fn packet(&self, first: &First) -> Packet {
        // A zone that no rule has is none.
        let nowhere = Zone(u8::MAX);
        let zone = |interface: InterfaceId| self.zones.get(interface.index()).copied().unwrap_or(nowhere);
        let First { from, to, addresses, transport } = *first;
        Packet { from: zone(from), to: to.map_or(self.own, zone), addresses, transport }
    }
}

const fn reason(verdict: Verdict) -> Result<(), Reason> {
    match verdict {
        Verdict::Allow => Ok(()),
        Verdict::Reject => Err(Reason::RuleReject),
        Verdict::Drop => Err(Reason::RuleDrop),
    }
}

/// Two of one version.
const fn addresses(source: IpAddr, destination: IpAddr) -> Option<Addresses> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Addresses::V4 { source, destination }),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Addresses::V6 { source, destination }),
        _ => None,
    }
}
