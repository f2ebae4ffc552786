//! Questions: when they are asked, and what becomes of those that nobody answers.

use core::net::IpAddr;

use paravane_hal::time::Instant;
use paravane_net::{Frame, FramePool, MacAddr};

use super::entry::{Entry, State};
use super::list::List;
use super::table::Index;
use super::waiting::Waiter;
use super::wire::{
    ADVERTISES_OVERRIDE, ADVERTISES_ROUTER, ALL_NODES, ARP_REQUEST, ArpPacket, BROADCAST, Message,
    NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, multicast_mac, put_arp, put_message, solicited_node,
};
use super::{DELAY, Dropped, MAX_SOLICIT, Neighbours, Output, RETRANSMIT};
use crate::interface::Interface;

/// So many entries are looked at in a turn; the others are due in the next one.
const TURN_ENTRIES: usize = 64;

impl Neighbours {
    /// Does what is due `now`: requests and probes go out, in frames of `pool`, and the frames of
    /// those that do not answer. `interfaces` are in the order of their ids. Returns when to call
    /// it again at the latest, if nothing happens meanwhile; that is not later than `now` when
    /// there was too much for one turn.
    ///
    /// A request for which there is no frame counts as lost: the next one is sent a second later.
    pub fn poll(
        &mut self,
        now: Instant,
        pool: &FramePool,
        interfaces: &[Interface],
        out: &mut dyn FnMut(Output),
    ) -> Option<Instant> {
        for _ in 0..TURN_ENTRIES {
            if let Some((index, entry)) = self.table.head(List::Due) {
                let entry = *entry;
                self.ask(index, entry, now, pool, interfaces, out);
            } else if let Some((index, entry)) = self.asked_until(now) {
                if entry.asked < MAX_SOLICIT {
                    self.ask(index, entry, now, pool, interfaces, out);
                } else {
                    self.give_up(index, entry, now, out);
                }
            } else if let Some(index) = self.delayed_until(now) {
                self.table.set(index, State::Probe, now);
            } else {
                break;
            }
        }
        self.next_poll()
    }

    /// When [`poll`](Self::poll) has something to do; `None` while nobody is asked for.
    #[must_use]
    pub fn next_poll(&self) -> Option<Instant> {
        let due = self.table.head(List::Due).map(|(_, entry)| entry.at);
        let asked = self.table.head(List::Asked).map(|(_, entry)| entry.at.saturating_add(RETRANSMIT));
        let delayed = self.table.head(List::Delayed).map(|(_, entry)| entry.at.saturating_add(DELAY));
        [due, asked, delayed].into_iter().flatten().min()
    }

    /// One that was asked for, and has not answered in time.
    fn asked_until(&self, now: Instant) -> Option<(Index, Entry)> {
        let (index, entry) = self.table.head(List::Asked)?;
        (now.since(entry.at) >= RETRANSMIT).then_some((index, *entry))
    }

    /// One that was used again, and not heard of for long enough.
    fn delayed_until(&self, now: Instant) -> Option<Index> {
        let (index, entry) = self.table.head(List::Delayed)?;
        (now.since(entry.at) >= DELAY).then_some(index)
    }

    fn ask(
        &mut self,
        index: Index,
        entry: Entry,
        now: Instant,
        pool: &FramePool,
        interfaces: &[Interface],
        out: &mut dyn FnMut(Output),
    ) {
        self.table.set_asked(index, now);
        let id = entry.key.interface();
        let mac = entry.state.has_mac().then_some(entry.mac);
        let request = interfaces
            .get(id.index())
            .and_then(|interface| request(pool.get()?, interface, entry.key.address(), mac));
        let counter = match request {
            Some(frame) => {
                out(Output::Send { interface: id, frame });
                &mut self.counters.asked
            }
            None => &mut self.counters.unasked,
        };
        *counter = counter.wrapping_add(1);
    }

    fn give_up(&mut self, index: Index, entry: Entry, now: Instant, out: &mut dyn FnMut(Output)) {
        let (interface, address) = (entry.key.interface(), entry.key.address());
        while let Some(Waiter { from, frame, .. }) = self.take_waiting(index) {
            self.counters.drop(Dropped::Unanswered);
            out(Output::Unreachable { interface, address, from, frame });
        }
        if entry.pins > 0 {
            self.table.set(index, State::Unresolved, now);
        } else {
            self.table.remove(index);
        }
    }
}

/// `frame` as the question who has `address`: to the one at `mac`, or to all who may.
///
/// Spec: RFC 4861, 7.2.2 "Sending Neighbor Solicitations".
fn request(mut frame: Frame, interface: &Interface, address: IpAddr, mac: Option<MacAddr>) -> Option<Frame> {
    let is_built = match address {
        IpAddr::V4(target) => {
            let sender = (interface.mac, interface.source_for_v4(target)?);
            let arp = ArpPacket::new(ARP_REQUEST, sender, (MacAddr([0; 6]), target));
            put_arp(&mut frame, mac.unwrap_or(BROADCAST), arp)
        }
        IpAddr::V6(target) => {
            let source = (interface.mac, interface.source_for_v6(target)?);
            let group = solicited_node(target);
            let destination = mac.map_or((multicast_mac(group), group), |mac| (mac, target));
            let kind = NEIGHBOUR_SOLICITATION;
            put_message(&mut frame, Message { kind, flags: 0, target, source, destination })
        }
    };
    is_built.then_some(frame)
}

/// Makes `frame` the announcement that `interface` has `address`, to all on the link: after a
/// start, or when it was taken over. False, and `frame` is of no use, when it has no room.
///
/// Spec: RFC 5227, 2.3 "Announcing an Address"; RFC 4861, 7.2.6 "Sending Unsolicited Neighbor
/// Advertisements".
#[must_use = "false says that there is nothing to send"]
pub fn announce(frame: &mut Frame, interface: &Interface, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(own) => {
            let arp = ArpPacket::new(ARP_REQUEST, (interface.mac, own), (MacAddr([0; 6]), own));
            put_arp(frame, BROADCAST, arp)
        }
        IpAddr::V6(own) => {
            let message = Message {
                kind: NEIGHBOUR_ADVERTISEMENT,
                flags: ADVERTISES_ROUTER | ADVERTISES_OVERRIDE,
                target: own,
                source: (interface.mac, own),
                destination: (multicast_mac(ALL_NODES), ALL_NODES),
            };
            put_message(frame, message)
        }
    }
}
