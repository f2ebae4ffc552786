//! ICMP errors about packets of flows: those that pass, and those that are ours to send.
//!
//! Whoever hears one finds its own packet there, as it sent it: with its ends, and its numbers.

use paravane_hal::time::Instant;
use paravane_net::Frame;

use super::Path;
use super::balanced::{hops_left, total_bytes};
use super::ways::{Fit, Verdict};
use crate::balance::{Balancer, Came};
use crate::drops::Reason;
use crate::flow::Hit;
use crate::icmp::Error;
use crate::interface::InterfaceId;
use crate::nat;
use crate::packet::{Packet, Quoted, Transport, edit};

impl Path {
    /// Takes a message of ICMP that is no echo: an error goes along with the flow that it is about.
    #[cold]
    pub(super) fn balance_error(&mut self, came: Came, now: Instant) -> Option<Frame> {
        let Came { from, mut packet, mut transport, mut frame } = came;
        let Some(balancer) = &mut self.balancer else { return Some(frame) };
        let Some((quoted, hit)) = balancer.error_of(from, &packet, &transport, &frame) else {
            return match transport {
                Transport::Icmp(icmp, _) if balancer.is_guarded() => {
                    self.take_message(Came { from, packet, transport, frame }, &icmp, now)
                }
                _ => Some(frame),
            };
        };
        if balancer.is_guarded() {
            // It is let in for its flow's sake; but from where no packet may be from, it may not.
            if let Verdict::Drop(reason) = self.egress.ways.judge(from, &packet) {
                self.egress.drop(from, frame, reason);
                return None;
            }
            if balancer.is_own(hit) {
                self.local(from, &packet, frame, now);
                return None;
            }
        }
        let Some((hop, mtu_bytes)) = self.way_of(hit) else {
            self.egress.drop(from, frame, Reason::NoRoute);
            return None;
        };
        let unfit = match total_bytes(&packet) > usize::from(mtu_bytes) {
            // Nobody is told of an error about an error.
            true => Some(Reason::TooBig),
            false => (hops_left(&packet) <= 1).then_some(Reason::TimeExceeded),
        };
        if let Some(reason) = unfit {
            self.egress.drop(from, frame, reason);
            return None;
        }
        if let Err(reason) = self.translate_error(hit, &quoted, &mut packet, &mut transport, &mut frame) {
            self.egress.drop(from, frame, reason);
            return None;
        }
        self.pass(from, &packet, frame, hop, Fit::Whole, now);
        None
    }

    fn translate_error(
        &self,
        hit: Hit,
        quoted: &Quoted,
        packet: &mut Packet,
        transport: &mut Transport,
        frame: &mut Frame,
    ) -> Result<(), Reason> {
        let balancer = self.balancer.as_deref().ok_or(Reason::NoFlow)?;
        let flow = balancer.flows().get(hit.index).ok_or(Reason::NoFlow)?;
        let mut quoted = *quoted;
        if let Some(by) = balancer.quoted(hit)? {
            edit::renumber_quoted(&quoted, packet, transport, frame, &by).map_err(|_| Reason::Length)?;
            // Its checksum is another now, where it is quoted.
            quoted = Quoted::of(packet, transport, frame).ok_or(Reason::Length)?;
        }
        nat::translate_error(flow, hit.direction, &quoted, packet, transport, frame)
            .map_err(|_| Reason::Length)
    }

    /// Tells who sent it of a packet that left by `to`, or was to, where nobody has the next hop's
    /// address: of the packet that it was when it came.
    pub(super) fn undeliverable(
        &mut self,
        from: InterfaceId,
        to: InterfaceId,
        mut frame: Frame,
        now: Instant,
    ) {
        let mut packet = match Packet::read(&frame) {
            Ok(packet) => packet,
            Err(malformed) => return self.egress.drop(from, frame, malformed.into()),
        };
        let (reason, error) = (Reason::Unresolved, Error::HostUnreachable);
        if let Some(balancer) = &mut self.balancer
            && let Ok(Some(mut transport)) = packet.transport(&frame)
            && let Some(back) = balancer.undelivered(to, &packet, &transport)
        {
            balancer.unreachable(back, now);
            if !is_as_it_came(balancer, back, &mut packet, &mut transport, &mut frame) {
                self.egress.drop(from, frame, reason);
                return self.send_spliced(now);
            }
        }
        self.egress.tell(from, &packet, frame, reason, error, now);
    }
}

/// Makes a packet of a flow what it was when it came; false where it cannot be, or never came.
fn is_as_it_came(
    balancer: &Balancer,
    back: Hit,
    packet: &mut Packet,
    transport: &mut Transport,
    frame: &mut Frame,
) -> bool {
    let Ok(by) = balancer.quoted(back) else { return false };
    let flow = balancer.flows().get(back.index);
    let ends = flow.and_then(|flow| flow.rewrite_quoted(back.direction));
    by.is_none_or(|by| edit::renumber(transport, frame, &by).is_ok())
        && ends.is_none_or(|ends| edit::rewrite(packet, transport, frame, &ends).is_ok())
}
