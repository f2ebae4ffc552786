//! Address translation: the packets of a service's clients go to a server that was chosen for them,
//! and those that come back are the service's.
//!
//! ```text
//!  first packet of a flow   -- Nat::reply_key  --> what will come back --> flow::Table::open
//!  each packet of it        -- translate       --> other ends, checksums by what changed
//!  ICMP error               -- error_of        --> whose it is about --> translate_error
//!  fragment                 -- Part::of        --> Fragments: whose it is, by its first one
//! ```
//!
//! | Mode | Packets of clients | Packets that come back | Servers |
//! |---|---|---|---|
//! | [`Dnat`](Mode::Dnat) | are for the server | are from the service | see the client, and route by us |
//! | [`Full`](Mode::Full) | and from a port of ours | and for the client | see us |
//! | [`Splice`](Mode::Splice) | and have [other numbers](crate::splice) | and other numbers | see us |
//!
//! What a flow's packets become is in its two keys, so it is said once, and the way back is the way
//! there the other way round. Checksums change by what changed; one that is left to a device stays
//! so.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Nat`], and what becomes of packets |
//! | `ports` | [`Sources`]: ports in the place of clients' |
//! | `fragments`, `part` | [`Fragments`]: whose a part of a packet is |

mod fragments;
mod part;
mod ports;

use core::net::IpAddr;

use paravane_net::Frame;

use crate::flow::{Direction, Flow, Key, Table};
use crate::packet::edit::{self, EditError, Ends, Rewrite};
use crate::packet::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::packet::{Packet, Quoted, QuotedEnds, Transport};
use crate::random::Random;
pub use fragments::{FragmentLimits, Fragments, Later, Lost};
pub use part::Part;
pub use ports::Sources;

/// How packets are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// They get another destination, and keep their source: servers see the client, and send by us
    /// what they send to it.
    Dnat,
    /// They get another source as well, one of [ours](Sources).
    Full,
    /// As [`Full`](Self::Full), and each of both is a connection of its own: their numbers are
    /// [translated](crate::splice) as well. A [service](crate::balance::Service) may have it keep
    /// the client's address instead.
    Splice,
}

/// A server that was chosen for a flow, and how packets get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its address, of the service's version.
    pub address: IpAddr,
    /// Its port; an echo has none.
    pub port: u16,
    /// Where its packets come from, as a [`Key`] has it.
    pub zone: u8,
    /// How.
    pub mode: Mode,
}

/// Why a flow cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NatError {
    /// The server's address is of another version than the client's.
    Version,
    /// Its protocol has no ports, by which clients that have one address could be told apart.
    Protocol,
    /// No port is free, of so many as are looked at.
    PortsExhausted,
}

/// Who says what becomes of flows.
#[derive(Debug)]
pub struct Nat {
    sources: Sources,
    random: Random,
    exhausted: u64,
}

impl Nat {
    /// One that has `sources` for [`Mode::Full`] and [`Mode::Splice`].
    #[must_use]
    pub fn new(sources: Sources, random: &mut Random) -> Self {
        Self { sources, random: random.fork(), exhausted: 0 }
    }

    /// What the packets say that come back, of a flow whose first packet says `original`, and for
    /// which `target` was chosen. A flow that is [opened](Table::open) with both is translated.
    ///
    /// With [`Mode::Dnat`] it may be another flow's already, of the same client's port to the same
    /// server by another service: then it is not opened.
    ///
    /// # Errors
    ///
    /// [`NatError`], and nothing is to be opened.
    pub fn reply_key(&mut self, flows: &Table, original: &Key, target: &Target) -> Result<Key, NatError> {
        let Target { address, port, zone, mode } = *target;
        if address.is_ipv6() != original.is_v6() {
            return Err(NatError::Version);
        }
        let has_ports = matches!(original.protocol(), PROTOCOL_TCP | PROTOCOL_UDP);
        let is_echo = matches!(original.protocol(), PROTOCOL_ICMP | PROTOCOL_ICMPV6);
        let server_port = if has_ports { port } else { 0 };
        if mode == Mode::Dnat {
            let (destination, destination_port) = (original.source(), original.source_port());
            let ends = Ends { source: address, destination, source_port: server_port, destination_port };
            return Key::new(ends, original.protocol(), zone).ok_or(NatError::Version);
        }
        if !has_ports && !is_echo {
            return Err(NatError::Protocol);
        }
        let chosen = self.sources.choose(flows, (address, server_port), original, zone, &mut self.random);
        if chosen.is_none() {
            self.exhausted = self.exhausted.wrapping_add(1);
        }
        chosen.ok_or(NatError::PortsExhausted)
    }

    /// How many more flows a server that has so many can have by [`Mode::Full`]: each has a port.
    #[must_use]
    pub fn ports_free(&self, flows: u32, is_v6: bool) -> u32 {
        self.sources.count(is_v6).saturating_sub(flows)
    }

    /// Whether an address stands for those of clients.
    #[must_use]
    pub fn has_source(&self, address: IpAddr) -> bool {
        self.sources.has(address)
    }

    /// How often no port was free.
    #[must_use]
    pub const fn ports_exhausted(&self) -> u64 {
        self.exhausted
    }
}

/// Gives `frame`, a packet of `flow` in that direction, the ends that it is to have. A SYN says
/// afterwards that its sender takes segments of `mss_bytes` at most, where that is given:
/// [`mss_of`] the narrower of both links.
///
/// `packet` and `transport` were read from it, and say afterwards what it says. A later fragment is
/// one of its flow by [`Fragments`].
///
/// # Errors
///
/// [`EditError`]: it may be changed in part, and is to be dropped.
#[inline]
pub fn translate(
    flow: &Flow,
    direction: Direction,
    packet: &mut Packet,
    transport: &mut Transport,
    frame: &mut Frame,
    mss_bytes: Option<u16>,
) -> Result<(), EditError> {
    if let Some(to) = flow.rewrite(direction) {
        edit::rewrite(packet, transport, frame, &to)?;
    }
    if let Some(mss_bytes) = mss_bytes {
        edit::clamp_mss(transport, frame, mss_bytes)?;
    }
    Ok(())
}

/// The longest TCP segment whose packet fits a link.
///
/// Spec: RFC 9293, 3.7.1; RFC 6691 (options are not counted).
#[must_use]
pub const fn mss_of(mtu_bytes: u16, is_v6: bool) -> u16 {
    mtu_bytes.saturating_sub(if is_v6 { 60 } else { 40 })
}

/// What an ICMP error from `zone` is about, and by what key the flow is found that it goes along
/// with: that of the packets which come back. `None` of what is no such error, or is not for who
/// sent the packet that it quotes.
///
/// Spec: RFC 5508, 4.2 "ICMP Error Payload Validation", REQ-3.
#[must_use]
pub fn error_of(packet: &Packet, transport: &Transport, frame: &Frame, zone: u8) -> Option<(Quoted, Key)> {
    let quoted = Quoted::of(packet, transport, frame)?;
    let key = match quoted.ends {
        QuotedEnds::V4(ends) => Key::v4(ends.reversed(), quoted.protocol, zone),
        QuotedEnds::V6(ends) => Key::v6(ends.reversed(), quoted.protocol, zone),
    };
    let (_, destination) = packet.addresses()?;
    (key.destination() == destination).then_some((quoted, key))
}

/// Gives an error, which goes in that direction of `flow`, the ends that it is to have, and the
/// packet that it quotes those which it had when it came. It is for who sent that packet; it is
/// from the service where the service's packets are from it, for a client knows nobody else behind
/// it.
///
/// What it says stays: the MTU of a link is the same for both, since no packet's length changes.
/// A flow is never changed by an error.
///
/// # Errors
///
/// [`EditError`]: it may be changed in part, and is to be dropped.
///
/// Spec: RFC 5508, 4.2, REQ-4, REQ-5; RFC 3022, 4.3.
pub fn translate_error(
    flow: &Flow,
    direction: Direction,
    quoted: &Quoted,
    packet: &mut Packet,
    transport: &mut Transport,
    frame: &mut Frame,
) -> Result<(), EditError> {
    let Some(to) = flow.rewrite_quoted(direction) else { return Ok(()) };
    edit::rewrite_quoted(quoted, transport, frame, &to)?;
    let (here, there) = (flow.key(direction), flow.key(direction.other()));
    let is_hidden = here.source() != there.destination();
    let (own, destination) = packet.addresses().ok_or(EditError::Version)?;
    let from = Ends { source: own, destination, source_port: 0, destination_port: 0 };
    let source = if is_hidden { there.destination() } else { own };
    let outer = between(from, Ends { source, destination: there.source(), ..from });
    edit::rewrite(packet, transport, frame, &outer.ok_or(EditError::Version)?)
}

/// Of addresses of one version.
fn between(from: Ends<IpAddr>, to: Ends<IpAddr>) -> Option<Rewrite> {
    let [from, to] = [from, to].map(|ends| Key::new(ends, 0, 0));
    let (from, to) = (from?, to?);
    match (from.ends_v4(), to.ends_v4()) {
        (Some(from), Some(to)) => Some(Rewrite::v4(from, to)),
        _ => Some(Rewrite::v6(from.ends_v6()?, to.ends_v6()?)),
    }
}

#[cfg(test)]
mod tests;
