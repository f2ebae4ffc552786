//! What becomes of a packet.

use paravane_hal::time::Instant;
use paravane_net::Frame;

use super::Balancer;
use crate::check::Report;
use crate::drops::Reason;
use crate::flow::{self, Direction, Hit, Key, Segment, State, Verdict};
use crate::interface::InterfaceId;
use crate::nat::{self, NatError};
use crate::packet::{Packet, Quoted, Transport};
use crate::pool;
use crate::route::Routes;

/// A packet as it was read.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) from: InterfaceId,
    pub(crate) packet: Packet,
    pub(crate) transport: Transport,
    pub(crate) frame: Frame,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It goes as its flow does.
    Goes(Hit),
    /// It is a segment of a flow that is spliced,
    Spliced(Hit),
    /// or of none yet, for that service, whose flows are.
    Asks(u16),
    /// It is of no flow, and none begins with it: as a router has it.
    Routed,
    /// It is for this machine, and rules let it in.
    Own,
    /// It is dropped, and nobody hears of it.
    Drop(Reason),
    /// It is dropped, and its sender hears that nobody is there.
    Refuse(Reason),
}

impl Decision {
    /// That nothing begins, for that reason.
    pub(crate) const fn not(reason: Reason) -> Self {
        match reason {
            Reason::NoFlow | Reason::NoServer | Reason::ServersBusy | Reason::Stopping | Reason::Cookie => {
                Self::Refuse(reason)
            }
            _ => Self::denied(reason),
        }
    }

    /// The same of what no service listens for: only rules say whether somebody hears of it.
    pub(crate) const fn denied(reason: Reason) -> Self {
        match reason {
            Reason::RuleReject => Self::Refuse(reason),
            _ => Self::Drop(reason),
        }
    }
}

impl Balancer {
    /// What becomes of a packet of a flow.
    #[inline]
    pub(crate) fn known(
        &mut self,
        hit: Hit,
        key: &Key,
        segment: Option<&Segment>,
        routes: &Routes,
        now: Instant,
    ) -> Decision {
        let Some(before) = self.flows.get(hit.index).map(flow::Flow::state) else { return Decision::Routed };
        if before == State::SynSent && self.is_forsaken(hit, segment) {
            // It asks again, and nobody answers there: somebody else may.
            self.remove(hit.index, now);
            return self.begin(key, segment, routes, now);
        }
        let (flows, mut left) = self.parts(now);
        let verdict = flows.track(hit, segment, now, &mut |index, flow, end| left.ended(index, flow, end));
        match verdict {
            Verdict::Pass => {
                if before == State::SynSent {
                    self.heard(hit, now);
                }
                Decision::Goes(hit)
            }
            Verdict::Reopened => self.begin(key, segment, routes, now),
            Verdict::Invalid(why) => Decision::Drop(why.into()),
        }
    }

    /// Whether a client says again that it begins, to a server that does not answer any more.
    #[cold]
    fn is_forsaken(&self, hit: Hit, segment: Option<&Segment>) -> bool {
        let is_syn = segment.is_some_and(Segment::is_syn) && hit.direction == Direction::Original;
        let tag = self.flows.get(hit.index).map(flow::Flow::tag);
        let serving = tag.and_then(|tag| Some((self.services.get(usize::from(tag.service))?, tag.server)));
        is_syn && serving.is_some_and(|(serving, server)| !serving.pool.is_serving(server))
    }

    /// A connection that was asked for was answered.
    #[cold]
    fn heard(&mut self, hit: Hit, now: Instant) {
        let Some((state, tag)) = self.flows.get(hit.index).map(|flow| (flow.state(), flow.tag())) else {
            return;
        };
        let report = match (state, hit.direction) {
            (State::SynReceived, Direction::Reply) => Report::Good,
            (State::Close, Direction::Reply) => Report::Failed,
            _ => return,
        };
        if let Some(serving) = self.services.get_mut(usize::from(tag.service)) {
            serving.report(tag.server, report, now);
        }
    }

    /// Whose packet an ICMP error is about, and which way it goes along with that flow.
    pub(crate) fn error_of(
        &self,
        from: InterfaceId,
        packet: &Packet,
        transport: &Transport,
        frame: &Frame,
    ) -> Option<(Quoted, Hit)> {
        let InterfaceId(zone) = from;
        let (quoted, key) = nat::error_of(packet, transport, frame, zone)?;
        Some((quoted, self.flows.find(&key)?))
    }

    /// The flow that a packet is of which left by `to` with these ends, and could not be delivered:
    /// the way back, which an error about it goes.
    pub(crate) fn undelivered(&self, to: InterfaceId, packet: &Packet, transport: &Transport) -> Option<Hit> {
        let InterfaceId(zone) = to;
        self.flows.find(&Key::of(packet, transport, zone)?.reversed(zone))
    }

    /// A packet of a flow was not delivered, of which an error goes that way: its server could not
    /// be reached, where that is back.
    pub(crate) fn unreachable(&mut self, hit: Hit, now: Instant) {
        let Some(flow) = self.flows.get(hit.index).filter(|_| hit.direction == Direction::Reply) else {
            return;
        };
        let tag = flow.tag();
        if flow.is_spliced() && !self.splices().is_some_and(|splices| splices.is_connected(hit.index)) {
            self.server_is_unreachable(hit.index);
        } else if let Some(serving) = self.services.get_mut(usize::from(tag.service)) {
            serving.report(tag.server, Report::Failed, now);
        }
    }

    /// Whether a stranger may be told something once more.
    pub(crate) fn may_answer(&mut self, from: InterfaceId, key: &Key, now: Instant) -> bool {
        self.answers.take(from, key.source(), now).is_ok()
    }
}

impl From<flow::Invalid> for Reason {
    fn from(why: flow::Invalid) -> Self {
        match why {
            flow::Invalid::Flags => Self::TcpFlags,
            flow::Invalid::State => Self::TcpState,
            flow::Invalid::Sequence => Self::TcpSequence,
            flow::Invalid::Acknowledgement => Self::TcpAcknowledgement,
            flow::Invalid::Reset => Self::TcpReset,
        }
    }
}

impl From<flow::Refused> for Reason {
    fn from(why: flow::Refused) -> Self {
        match why {
            flow::Refused::NoBeginning => Self::NoFlow,
            flow::Refused::Taken => Self::FlowTaken,
            flow::Refused::ServiceFull => Self::ServiceFull,
            flow::Refused::ServiceRate => Self::ServiceRate,
            flow::Refused::SourceFull => Self::SourceFull,
            flow::Refused::SourceRate => Self::SourceRate,
            flow::Refused::NoService | flow::Refused::Full | flow::Refused::Crowded => Self::FlowsFull,
        }
    }
}

impl From<pool::Refused> for Reason {
    fn from(why: pool::Refused) -> Self {
        match why {
            pool::Refused::NoServer => Self::NoServer,
            pool::Refused::Busy => Self::ServersBusy,
            pool::Refused::Untold => Self::NoFlow,
        }
    }
}

impl From<NatError> for Reason {
    fn from(why: NatError) -> Self {
        match why {
            NatError::PortsExhausted => Self::PortsExhausted,
            // No server of a service is so.
            NatError::Version | NatError::Protocol => Self::NoServer,
        }
    }
}

impl From<nat::Lost> for Reason {
    fn from(why: nat::Lost) -> Self {
        match why {
            nat::Lost::Place => Self::FragmentPlace,
            nat::Lost::Tcp => Self::FragmentTcp,
            nat::Lost::Overlap => Self::FragmentOverlap,
            nat::Lost::Full | nat::Lost::Expired => Self::FragmentsFull,
            nat::Lost::Flow => Self::NoFlow,
        }
    }
}
