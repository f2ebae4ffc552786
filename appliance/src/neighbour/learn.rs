//! What messages from the link change.

use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_net::{Frame, MacAddr};

use super::entry::{Entry, Key, State};
use super::heard::{Claim, Heard, Reply, hear};
use super::table::Index;
use super::waiting::Waiter;
use super::wire::{
    ADVERTISES_OVERRIDE, ADVERTISES_ROUTER, ADVERTISES_SOLICITED, ALL_NODES, ARP_REPLY, ArpPacket, Message,
    NEIGHBOUR_ADVERTISEMENT, put_arp, put_message,
};
use super::{Event, Ignored, Neighbours, Output, REACHABLE};
use crate::interface::{Interface, InterfaceId};
use crate::packet::Packet;

/// For so long, what was heard is not contradicted: the first answer holds, and nobody has an entry
/// jump to and fro.
const HOLD: Duration = Duration::from_secs(1);

impl Neighbours {
    /// Takes `frame`, whose headers are `packet`: ARP, or a neighbour solicitation or
    /// advertisement. Out come the reply to a question, which is sent in the same frame, the frames
    /// that waited, and events.
    ///
    /// # Errors
    ///
    /// [`Ignored`]: nothing has changed, but that [`Event::Conflict`] comes out with
    /// [`Ignored::Conflict`]. It is counted here, and `frame` is back in its pool.
    pub fn receive(
        &mut self,
        id: InterfaceId,
        interface: &Interface,
        packet: &Packet,
        frame: Frame,
        now: Instant,
        out: &mut dyn FnMut(Output),
    ) -> Result<(), Ignored> {
        let result = self.take_in((id, interface), packet, frame, now, out);
        if let Err(reason) = result {
            self.counters.ignore(reason);
        }
        result
    }

    fn take_in(
        &mut self,
        (id, interface): (InterfaceId, &Interface),
        packet: &Packet,
        mut frame: Frame,
        now: Instant,
        out: &mut dyn FnMut(Output),
    ) -> Result<(), Ignored> {
        match hear(interface, packet, &mut frame)? {
            Heard::Claim(claim) => self.learn(id, claim, now, out),
            Heard::Question(reply, claim) => {
                if !put_reply(&mut frame, interface.mac, reply) {
                    return Err(Ignored::NoRoom);
                }
                if let Some(claim) = claim {
                    // A stranger is answered as well, and that is all.
                    let _ = self.learn(id, claim, now, out);
                }
                self.counters.replied = self.counters.replied.wrapping_add(1);
                out(Output::Send { interface: id, frame });
                Ok(())
            }
            Heard::Conflict(address, mac) => {
                out(Output::Event(Event::Conflict { interface: id, address, mac }));
                Err(Ignored::Conflict)
            }
        }
    }

    /// Spec: RFC 4861, 7.2.3, 7.2.5, and appendix C "State Machine for the Reachability State".
    fn learn(
        &mut self,
        interface: InterfaceId,
        claim: Claim,
        now: Instant,
        out: &mut dyn FnMut(Output),
    ) -> Result<(), Ignored> {
        let index = self.table.find(Key::new(interface, claim.address)).ok_or(Ignored::Unknown)?;
        let entry = *self.table.get(index).ok_or(Ignored::Unknown)?;
        let is_answer = claim.is_answer && matches!(entry.state, State::Incomplete | State::Probe);
        let mac = match entry.state {
            State::Unresolved => return Err(Ignored::Unknown),
            State::Incomplete => claim.mac.ok_or(Ignored::NoMac)?,
            _ if is_same(entry, claim) => {
                if is_answer {
                    self.hear_from(index, entry.mac, State::Reachable, now);
                    self.counters.answered = self.counters.answered.wrapping_add(1);
                }
                return Ok(());
            }
            _ => self.replaces(index, entry, claim, now)?,
        };
        if is_answer {
            self.counters.answered = self.counters.answered.wrapping_add(1);
        }
        self.hear_from(index, mac, if is_answer { State::Reachable } else { State::Stale }, now);
        if entry.state.has_mac() {
            self.counters.changed = self.counters.changed.wrapping_add(1);
            let (address, old) = (claim.address, entry.mac);
            out(Output::Event(Event::Changed { interface, address, old, new: mac }));
        }
        while let Some(Waiter { frame, .. }) = self.take_waiting(index) {
            out(Output::Release { interface, mac, frame });
        }
        Ok(())
    }

    /// The MAC address that replaces that of `entry`.
    fn replaces(
        &mut self,
        index: Index,
        entry: Entry,
        claim: Claim,
        now: Instant,
    ) -> Result<MacAddr, Ignored> {
        let mac = claim.mac.ok_or(Ignored::NoMac)?;
        if now.since(entry.heard_at) < HOLD {
            return Err(Ignored::TooSoon);
        }
        if !claim.overrides {
            // It may be the one or the other.
            if entry.state == State::Reachable && now.since(entry.at) < REACHABLE {
                self.table.set(index, State::Stale, now);
            }
            return Err(Ignored::NoOverride);
        }
        Ok(mac)
    }

    fn hear_from(&mut self, index: Index, mac: MacAddr, state: State, now: Instant) {
        self.table.set(index, state, now);
        if let Some(entry) = self.table.get_mut(index) {
            entry.mac = mac;
            entry.heard_at = now;
        }
    }
}

/// Whether `claim` says what is known. An answer that says no MAC address came from the one that
/// was asked.
fn is_same(entry: Entry, claim: Claim) -> bool {
    match claim.mac {
        Some(mac) => mac == entry.mac,
        None => claim.is_answer,
    }
}

/// Makes `frame` the reply. False when it has no room.
///
/// The box passes packets on, so it says that it is a router.
fn put_reply(frame: &mut Frame, mac: MacAddr, reply: Reply) -> bool {
    match reply {
        Reply::V4 { own, to } => put_arp(frame, to.0, ArpPacket::new(ARP_REPLY, (mac, own), to)),
        Reply::V6 { own, to } => {
            let solicited = if to.1 == ALL_NODES { 0 } else { ADVERTISES_SOLICITED };
            let flags = ADVERTISES_ROUTER | ADVERTISES_OVERRIDE | solicited;
            let (kind, source) = (NEIGHBOUR_ADVERTISEMENT, (mac, own));
            put_message(frame, Message { kind, flags, target: own, source, destination: to })
        }
    }
}
