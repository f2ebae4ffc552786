//! What goes out, and what does not: frames passed on, cut to what a link takes, told of, dropped.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;

use paravane_hal::time::Instant;
use paravane_net::{Burst, Frame, FramePool, MacAddr};

use super::Limits;
use super::ways::{Fit, Ways};
use crate::drops::{Drops, Reason};
use crate::icmp::{Error, Errors, Received};
use crate::interface::{Interface, InterfaceId};
use crate::neighbour::{Event, Output};
use crate::packet::edit::{self, Hop};
use crate::packet::fragment::Fragments;
use crate::packet::segment::Segments;
use crate::packet::{Body, CutError, Packet};

/// How many events wait to be heard; then the oldest goes.
pub(super) const EVENTS: usize = 64;

/// How many packets wait at most for their senders to be told, that waited for a next hop before.
pub(super) const UNDELIVERABLE: usize = 64;

/// A packet that came in by `from` and was to leave by `to`, where nobody has its next hop's
/// address.
#[derive(Debug)]
pub(super) struct Undeliverable {
    pub(super) from: InterfaceId,
    pub(super) to: InterfaceId,
    pub(super) frame: Frame,
}

/// What goes out, by each interface.
#[derive(Debug)]
pub(super) struct Egress {
    pub(super) ways: Ways,
    pub(super) ports: Vec<Port>,
    pub(super) errors: Errors,
    pub(super) drops: Drops,
    pub(super) events: VecDeque<Event>,
    pub(super) undeliverable: VecDeque<Undeliverable>,
    pub(super) limits: Limits,
    pub(super) pool: FramePool,
}

/// What goes out by an interface, and what came in by it for this machine.
#[derive(Debug, Default)]
pub(super) struct Port {
    pub(super) egress: Burst,
    pub(super) local: Burst,
    pub(super) counters: PortCounters,
}

/// What passed an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames that came in.
    pub received: u64,
    /// Packets that came in by it and were passed on.
    pub forwarded: u64,
    /// Packets for this machine.
    pub local: u64,
    /// Echo requests that were answered.
    pub echoes: u64,
    /// ICMP errors that were sent.
    pub errors: u64,
}

impl Egress {
    /// Counts one more of something at `interface`.
    #[inline]
    pub(super) fn count(&mut self, interface: InterfaceId, of: impl FnOnce(&mut PortCounters) -> &mut u64) {
        if let Some(port) = self.ports.get_mut(interface.index()) {
            let count = of(&mut port.counters);
            *count = count.wrapping_add(1);
        }
    }

    #[cold]
    pub(super) fn drop(&mut self, from: InterfaceId, frame: Frame, reason: Reason) {
        self.drops.count(from, reason);
        drop(frame);
    }

    /// Puts a frame that came in by `from` to those that leave by `to`.
    #[inline]
    pub(super) fn emit(&mut self, from: InterfaceId, to: InterfaceId, frame: Frame) {
        let most = usize::from(self.limits.egress_frames);
        match self.ports.get_mut(to.index()) {
            Some(port) if port.egress.len() < most => port.egress.push(frame),
            _ => self.drop(from, frame, Reason::EgressFull),
        }
    }

    /// Puts a row of frames that came in by `from`, and are passed on, to those that leave by `to`.
    #[inline]
    pub(super) fn emit_row(&mut self, from: InterfaceId, to: InterfaceId, mut row: Burst) {
        let frames = row.len() as u64;
        if let Some(port) = self.ports.get_mut(from.index()) {
            port.counters.forwarded = port.counters.forwarded.wrapping_add(frames);
        }
        if let Some(port) = self.ports.get_mut(to.index()) {
            let room = usize::from(self.limits.egress_frames).saturating_sub(port.egress.len());
            port.egress.append(row.take_front(room));
        }
        if !row.is_empty() {
            self.drops.count_many(from, Reason::EgressFull, row.len() as u64);
        }
    }

    /// Puts a frame to those that this machine fetches.
    pub(super) fn keep(&mut self, from: InterfaceId, frame: Frame) {
        let most = usize::from(self.limits.local_frames);
        match self.ports.get_mut(from.index()) {
            Some(port) if port.local.len() < most => {
                port.counters.local = port.counters.local.wrapping_add(1);
                port.local.push(frame);
            }
            _ => self.drop(from, frame, Reason::LocalFull),
        }
    }

    /// Passes `frame` on, by an interface to the next hop's MAC address: with one hop less, and as
    /// `fit` says.
    #[inline]
    pub(super) fn send_on(
        &mut self,
        from: InterfaceId,
        packet: &Packet,
        mut frame: Frame,
        (to, destination): (InterfaceId, MacAddr),
        fit: Fit,
    ) {
        let Some(source) = self.ways.interfaces.get(to.index()).map(|out| out.mac) else {
            return self.drop(from, frame, Reason::NoRoute);
        };
        if edit::forward(packet, &mut frame, Hop { destination, source }).is_err() {
            return self.drop(from, frame, Reason::Length);
        }
        self.count(from, |counters| &mut counters.forwarded);
        match fit {
            Fit::Whole => self.emit(from, to, frame),
            _ => self.send_cut(from, frame, to, fit),
        }
    }

    #[cold]
    fn send_cut(&mut self, from: InterfaceId, frame: Frame, to: InterfaceId, fit: Fit) {
        let Some(out) = self.ways.interfaces.get(to.index()) else { return };
        let (offloads, mtu_bytes) = (out.offloads, out.mtu_bytes);
        let refused = if fit == Fit::Segments {
            match Segments::of(frame, &self.pool, offloads) {
                Ok(segments) => return segments.for_each(|segment| self.emit(from, to, segment)),
                Err(refused) => refused,
            }
        } else {
            match Fragments::of(frame, &self.pool, mtu_bytes) {
                Ok(fragments) => return fragments.for_each(|fragment| self.emit(from, to, fragment)),
                Err(refused) => refused,
            }
        };
        let (frame, error) = refused;
        let reason = if error == CutError::PoolDry { Reason::NoBuffer } else { Reason::Segmentation };
        self.drop(from, frame, reason);
    }

    /// Does what neighbours brought about.
    #[cold]
    pub(super) fn output(&mut self, output: Output) {
        match output {
            Output::Send { interface, frame } => self.emit(interface, interface, frame),
            Output::Release { interface, mac, frame } => self.send_released(interface, frame, mac),
            Output::Unreachable { interface, from, frame, .. } => {
                self.cannot_deliver(from.unwrap_or(interface), interface, frame);
            }
            Output::Drop { interface, from, frame, reason } => {
                self.drop(from.unwrap_or(interface), frame, reason.into());
            }
            Output::Event(event) => {
                if self.events.len() >= EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(event);
            }
        }
    }

    /// Sends on what waited until now. It was read before, and is again: what it says now counts.
    fn send_released(&mut self, to: InterfaceId, frame: Frame, mac: MacAddr) {
        let packet = match Packet::read(&frame) {
            Ok(packet) => packet,
            Err(malformed) => return self.drop(to, frame, malformed.into()),
        };
        let from = self.ways.came_from(&packet).unwrap_or(to);
        match self.ways.fit(&packet, &frame, to) {
            None | Some((Fit::TooBig, _)) => self.drop(from, frame, Reason::TooBig),
            Some((fit, _)) => self.send_on(from, &packet, frame, (to, mac), fit),
        }
    }

    /// Keeps a packet until its sender is told.
    fn cannot_deliver(&mut self, from: InterfaceId, to: InterfaceId, frame: Frame) {
        if self.undeliverable.len() < UNDELIVERABLE {
            self.undeliverable.push_back(Undeliverable { from, to, frame });
        } else {
            self.drop(from, frame, Reason::Unresolved);
        }
    }

    /// Drops `frame`, and tells who sent it why.
    #[cold]
    pub(super) fn tell(
        &mut self,
        from: InterfaceId,
        packet: &Packet,
        frame: Frame,
        reason: Reason,
        error: Error,
        now: Instant,
    ) {
        let own = self.ways.interfaces.get(from.index());
        if let Some(own) = own.and_then(|own| source_for(own, packet)) {
            let received = Received { interface: from, packet, frame: &frame };
            let answer = self.errors.answer(&self.ways.interfaces, received, error, own, &self.pool, now);
            if let Ok(answer) = answer {
                self.count(from, |counters| &mut counters.errors);
                self.emit(from, from, answer);
            }
        }
        self.drop(from, frame, reason);
    }
}

/// The address from which `own` speaks to who sent `packet`.
fn source_for(own: &Interface, packet: &Packet) -> Option<IpAddr> {
    match &packet.body {
        Body::Arp => None,
        Body::V4(ip) => own.source_for_v4(ip.source()).map(IpAddr::V4),
        Body::V6(ip) => own.source_for_v6(ip.source()).map(IpAddr::V6),
    }
}
