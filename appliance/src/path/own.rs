//! What this machine itself sends, and what it waits for: health checks, say.

use alloc::vec::Vec;

use paravane_hal::time::Instant;
use paravane_net::Frame;

use super::Path;
use super::ways::Fit;
use crate::drops::Reason;
use crate::flow::{Key, Segment};
use crate::interface::InterfaceId;
use crate::packet::Packet;
use crate::route::Kind;

impl Path {
    /// Keeps, of what is for this machine, from now on only what has one of these keys: by
    /// [interface](InterfaceId) as zone, from the other end to this one. The rest is dropped as
    /// nobody's, whoever sends it and however much. Until this is said, all of it is kept.
    ///
    /// A [firewall's rules](crate::filter) are not asked of what has one of these keys: it answers
    /// what this machine asked. They are of all else that is for it.
    pub fn expect(&mut self, keys: Vec<Key>) {
        self.expected = Some(keys);
    }

    /// Keeps a frame for this machine, if somebody waits for it.
    pub(super) fn keep(&mut self, from: InterfaceId, packet: &Packet, frame: Frame) {
        let InterfaceId(zone) = from;
        let is_wanted = self.expected.as_deref().is_none_or(|keys| {
            let transport = packet.transport(&frame).ok().flatten();
            let key = transport.and_then(|transport| Key::of(packet, &transport, zone));
            key.is_some_and(|key| keys.contains(&key))
        });
        if is_wanted {
            self.egress.keep(from, frame);
        } else {
            self.egress.drop(from, frame, Reason::NoListener);
        }
    }

    /// Sends a packet of this machine's own on its way. Its Ethernet addresses are nobody's yet.
    /// One for which there is no way is dropped; one that waits for its next hop, and in vain, is
    /// told of to nobody.
    pub fn send(&mut self, frame: Frame, now: Instant) {
        let Ok(packet) = Packet::read(&frame) else { return };
        let Some((_, destination)) = packet.addresses() else { return };
        let Some(Kind::Unicast(hop)) = self.egress.ways.routes.lookup(destination) else { return };
        let hop = *hop;
        if let Some(balancer) = self.balancer.as_deref_mut().filter(|balancer| balancer.is_guarded())
            && let Ok(Some(transport)) = packet.transport(&frame)
        {
            let segment = Segment::of(&packet, &transport, &frame);
            balancer.note_own(&packet, &transport, segment.as_ref(), now);
        }
        self.pass(hop.interface, &packet, frame, hop, Fit::Whole, now);
    }
}
