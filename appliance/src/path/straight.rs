//! The straight way: plain packets of IPv4 with a route, a neighbour and room on the way.
//!
//! They go in rows: what follows each other in a burst and leaves by one interface stays together.
//! A packet that anything else is to be said of ends the row, as it came in, and has the way by
//! [`judge`](super::Ways::judge). What goes straight would have gone just so on that way.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use paravane_hal::time::Instant;
use paravane_net::{Burst, FrameSegmentMut, MacAddr};

use super::Path;
use super::ways::Ways;
use crate::interface::InterfaceId;
use crate::neighbour::{Hint, Neighbours};
use crate::packet::edit::Hop;
use crate::packet::plain::{Link, Plain};
use crate::route::Way;

/// How many addresses are told apart by their last byte.
const LAST_BYTES: usize = 256;

/// Where packets go next that go straight.
#[derive(Debug)]
pub(super) struct Nexts {
    /// By gateways: by the group of the routes there.
    nexts: Vec<Next>,
    /// To hosts on a link, by their address's last byte.
    hosts: Vec<([u8; 4], Next)>,
    /// Who was asked for lately.
    hints: Vec<Hint>,
    row: Row,
}

/// Frames that follow each other and leave by one interface.
#[derive(Clone, Copy, Debug)]
struct Row {
    number: u64,
    /// By which they leave, as soon as there is one.
    out: Option<InterfaceId>,
    /// One came that leaves by another.
    is_over: bool,
    /// Who sent the one before, which came in where it should.
    source: Option<[u8; 4]>,
    /// Whom that was for, and where it went.
    destination: Option<[u8; 4]>,
    next: Next,
}

impl Row {
    const fn new(number: u64) -> Self {
        Self { number, out: None, is_over: false, source: None, destination: None, next: Next::NONE }
    }
}

/// Where packets go next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    /// The number of the row in which it was found, all of which leaves by the same interface.
    row: u64,
    link: Link,
    mtu_bytes: u16,
}

impl Next {
    /// Of no row.
    const NONE: Self = Self { row: 0, link: Link::NONE, mtu_bytes: 0 };

    /// The addresses with which it goes there.
    #[inline(always)]
    pub(super) const fn link(&self) -> Link {
        self.link
    }

    /// How long packets may be there.
    #[inline(always)]
    pub(super) const fn mtu_bytes(&self) -> u16 {
        self.mtu_bytes
    }
}

impl Nexts {
    /// Of nobody.
    pub(super) fn new() -> Self {
        let hosts = alloc::vec![([0; 4], Next::NONE); LAST_BYTES];
        let hints = alloc::vec![Hint::default(); LAST_BYTES];
        Self { nexts: Vec::new(), hosts, hints, row: Row::new(0) }
    }

    /// Makes room for what routes lead to.
    pub(super) fn make_room(&mut self, groups: usize) {
        self.nexts.resize(groups.max(self.nexts.len()), Next::NONE);
    }

    /// The MAC address of `address`, if it is known.
    #[inline]
    pub(super) fn mac(
        &mut self,
        neighbours: &mut Neighbours,
        interface: InterfaceId,
        address: IpAddr,
        now: Instant,
    ) -> Option<MacAddr> {
        let last = match address {
            IpAddr::V4(address) => last_byte(address.octets()),
            IpAddr::V6(address) => last_byte(address.octets()),
        };
        neighbours.lookup_near(self.hints.get_mut(last)?, interface, address, now)
    }

    /// Whether packets of `source` come in by `from`.
    #[inline(always)]
    fn holds(&mut self, ways: &Ways, source: [u8; 4], from: InterfaceId) -> bool {
        if self.row.source == Some(source) {
            return true;
        }
        let holds = ways.routes.way_v4(source).is_by(from);
        if holds {
            self.row.source = Some(source);
        }
        holds
    }

    /// Begins with packets that follow each other, and leave by one interface.
    #[inline(always)]
    pub(super) const fn begin_row(&mut self) {
        self.row = Row::new(self.row.number.wrapping_add(1));
    }

    /// By which interface they leave, if there was any, and whether the next one leaves by another.
    #[inline(always)]
    pub(super) const fn end_row(&self) -> (Option<InterfaceId>, bool) {
        (self.row.out, self.row.is_over)
    }

    /// Where a packet goes next that is for `destination`; `None` where that is not known, or not
    /// in this row.
    #[inline(always)]
    pub(super) fn next(
        &mut self,
        ways: &Ways,
        neighbours: &mut Neighbours,
        destination: [u8; 4],
        now: Instant,
    ) -> Option<&Next> {
        if self.row.destination != Some(destination) {
            let way = ways.routes.way_v4(destination);
            let by_gateway = *self.nexts.get(way.group() as usize)?;
            let (host, to_host) = *self.hosts.get(last_byte(destination))?;
            self.row.next = if by_gateway.row == self.row.number {
                by_gateway
            } else if to_host.row == self.row.number && host == destination {
                to_host
            } else {
                self.find(ways, neighbours, way, destination, now)?
            };
            self.row.destination = Some(destination);
        }
        Some(&self.row.next)
    }

    /// Finds where it goes: once a row for each gateway, and mostly for each host on a link.
    #[inline(never)]
    fn find(
        &mut self,
        ways: &Ways,
        neighbours: &mut Neighbours,
        way: Way,
        destination: [u8; 4],
        now: Instant,
    ) -> Option<Next> {
        let hop = ways.routes.next_hop_v4(way)?;
        let out = ways.interfaces.get(hop.interface.index())?;
        if self.row.out.is_some_and(|row| row != hop.interface) {
            self.row.is_over = true;
            return None;
        }
        let address = hop.gateway.unwrap_or(Ipv4Addr::from_octets(destination).into());
        let mac = self.mac(neighbours, hop.interface, address, now)?;
        let link = Hop { destination: mac, source: out.mac }.into();
        let next = Next { row: self.row.number, link, mtu_bytes: out.mtu_bytes };
        if hop.gateway.is_some() {
            *self.nexts.get_mut(way.group() as usize)? = next;
        } else {
            *self.hosts.get_mut(last_byte(destination))? = (destination, next);
        }
        self.row.out = Some(hop.interface);
        Some(next)
    }
}

#[inline(always)]
fn last_byte<const N: usize>(address: [u8; N]) -> usize {
    address.last().copied().map_or(0, usize::from)
}

impl Path {
    /// Passes the first frames of `burst` on, as long as they go straight and by one interface. How
    /// the first of the others goes is left to others: whether it is one that does not go straight.
    pub(super) fn take_row(&mut self, from: InterfaceId, burst: &mut Burst, now: Instant) -> bool {
        let Self { egress, neighbours, nexts, .. } = self;
        let ways = &egress.ways;
        let Some(own) = ways.link_of(from) else { return true };
        nexts.begin_row();
        let gone = burst
            .change(|frame| straight(&mut frame.into(), (from, own), ways, neighbours, nexts, now).is_some());
        let (out, is_over) = nexts.end_row();
        if let Some(out) = out {
            egress.emit_row(from, out, burst.take_front(gone));
        }
        !is_over
    }
}

/// Passes `frame` on, if it goes straight; it is as it was, if not.
///
/// Spec: as [`judge`](super::Ways::judge).
#[inline(always)]
fn straight(
    frame: &mut FrameSegmentMut<'_>,
    (from, own): (InterfaceId, Link),
    ways: &Ways,
    neighbours: &mut Neighbours,
    nexts: &mut Nexts,
    now: Instant,
) -> Option<()> {
    let packet = Plain::read(frame.look())?;
    let may_pass = packet.is_for(own) && packet.hops_left() > 1 && nexts.holds(ways, packet.source(), from);
    if !may_pass {
        return None;
    }
    let next = nexts.next(ways, neighbours, packet.destination(), now)?;
    (packet.total_bytes() <= usize::from(next.mtu_bytes) && packet.forward(frame, next.link)).then_some(())
}
