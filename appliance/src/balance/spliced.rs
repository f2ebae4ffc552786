//! Connections that are [spliced](crate::splice): who is answered by a cookie, who comes back with
//! one, and what is sent for both.
//!
//! Each SYN for such a service is answered by a cookie, and nothing is kept of it. What is refused
//! by a limit is refused with the SYN already, as far as it is known then; a client that was
//! promised a connection, and cannot have it, is reset.

use alloc::collections::VecDeque;

use paravane_hal::time::Instant;
use paravane_net::{Frame, FramePool};

use super::begin::First;
use super::decide::{Came, Decision};
use super::{Balancer, TURN};
use crate::check::Report;
use crate::drops::Reason;
use crate::flow::{Direction, Flow, Hit, Key, New, Segment, Tag, Verdict};
use crate::nat;
use crate::packet::edit::Renumber;
use crate::pool::ServerId;
use crate::route::Routes;
use crate::splice::{self, Arrived, Client, Cookies, Output, Refusal, Splices};

/// What becomes of one connection in a turn, or by one segment, at most: both ends are reset, and
/// another server is tried.
const OUTPUTS_EACH: usize = 4;
/// How much waits to be done: for all flows that end in a turn, and for all whose time comes.
const OUTPUTS: usize = 3 * OUTPUTS_EACH * TURN as usize;

/// All spliced connections.
#[derive(Debug)]
pub(super) struct Splicing {
    splices: Splices,
    /// How many there may be.
    limit: u32,
    outputs: VecDeque<(u32, Output)>,
}

impl Splicing {
    fn has_room(&self) -> Result<(), Reason> {
        if self.splices.len() < self.limit { Ok(()) } else { Err(Reason::SplicesFull) }
    }

    /// The connections, and where goes what is to be done for them.
    fn parts(&mut self) -> (&mut Splices, impl FnMut(u32, Output)) {
        let Self { splices, outputs, .. } = self;
        (splices, |index, output| {
            if outputs.len() < OUTPUTS {
                outputs.push_back((index, output));
            }
        })
    }

    /// The flow of one is no more: where nobody knows, both ends are told.
    pub(super) fn ended(&mut self, index: u32, flow: &Flow, is_cut_off: bool) {
        let (splices, mut out) = self.parts();
        if is_cut_off {
            splices.reset(index, flow, &mut out);
        } else {
            splices.end(index);
        }
    }
}

/// What becomes of a segment of a connection that is spliced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spliced {
    /// It has other numbers, and goes as its flow does.
    Goes,
    /// It was for us.
    Taken,
    /// The connection is over, and it begins another, of that service.
    Begins(u16),
    /// It is dropped.
    Drop(Reason),
}

impl Balancer {
    /// Makes the table of spliced connections, whose frames are from `pool`, if there may be any.
    /// Nobody is promised segments that do not fit a link of `mtu_bytes`.
    pub(crate) fn make_splices(&mut self, pool: &FramePool, mtu_bytes: u16) {
        let mut is_any = false;
        for serving in self.services.iter_mut().filter(|serving| serving.service.is_spliced()) {
            let offer = &mut serving.service.splice.service.offer;
            offer.mss_bytes = offer.mss_bytes.min(nat::mss_of(mtu_bytes, serving.service.listen.is_ipv6()));
            is_any = true;
        }
        self.splicing = is_any.then(|| Splicing {
            splices: Splices::new(self.flows.limits().flows, self.splice_settings, pool.clone()),
            limit: self.max_splices,
            outputs: VecDeque::with_capacity(OUTPUTS),
        });
    }

    /// Connections that are spliced; `None` where no service is.
    #[must_use]
    pub fn splices(&self) -> Option<&Splices> {
        self.splicing.as_ref().map(|splicing| &splicing.splices)
    }

    /// The cookies by which clients of such services are answered.
    #[must_use]
    pub const fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// Makes a client's SYN, to that service, its answer, for the station that sent it.
    ///
    /// # Errors
    ///
    /// That there is none.
    pub(crate) fn answer_syn(
        &mut self,
        number: u16,
        came: &mut Came,
        key: &Key,
        segment: &Segment,
        now: Instant,
    ) -> Result<(), Decision> {
        self.try_answer(number, came, key, segment, now).map_err(Decision::not)
    }

    fn try_answer(
        &mut self,
        number: u16,
        came: &mut Came,
        key: &Key,
        segment: &Segment,
        now: Instant,
    ) -> Result<(), Reason> {
        if self.is_closed() {
            return Err(Reason::Stopping);
        }
        let serving = self.services.get(usize::from(number));
        let serving = serving.filter(|serving| serving.pool.is_ready()).ok_or(Reason::NoServer)?;
        self.splicing.as_ref().ok_or(Reason::NoServer)?.has_room()?;
        let tag = Tag { service: number, server: 0 };
        let new =
            New { original: *key, reply: *key, tag, direction: Direction::Original, segment: Some(segment) };
        self.flows.admit(&new, now)?;
        let offer = &serving.service.splice.service.offer;
        let Came { packet, transport, frame, .. } = came;
        Ok(self.cookies.answer_syn(key, packet, transport, frame, offer, now)?)
    }

    /// Begins a connection to a server for a client that comes back with a cookie, to that service.
    ///
    /// # Errors
    ///
    /// That it does not: whoever was promised that it would hears of it.
    pub(crate) fn take_cookie(
        &mut self,
        number: u16,
        came: &Came,
        key: &Key,
        routes: &Routes,
        now: Instant,
    ) -> Result<(), Decision> {
        let client = self.cookies.check(key, &came.packet, &came.transport, &came.frame, now);
        let client = client.map_err(|why| Decision::not(why.into()))?;
        let has_room = self.splicing.as_ref().ok_or(Reason::NoServer).and_then(Splicing::has_room);
        has_room
            .and_then(|()| self.choose(number, key.source(), false, now))
            .and_then(|server| self.splice((number, server), key, &client, routes, now))
            .map_err(Decision::Refuse)
    }

    /// Begins a connection to a server that counts it already.
    fn splice(
        &mut self,
        (number, server): (u16, ServerId),
        original: &Key,
        client: &Client,
        routes: &Routes,
        now: Instant,
    ) -> Result<(), Reason> {
        let hit = self.open((number, server), original, First::Cookie(client), routes, now)?;
        let Self { flows, services, splicing, .. } = self;
        let serving = services.get(usize::from(number)).ok_or(Reason::NoServer)?;
        let (flow, splicing) = flows.get(hit.index).zip(splicing.as_mut()).ok_or(Reason::NoFlow)?;
        let (splices, mut out) = splicing.parts();
        splices.begin(hit.index, flow, client, &serving.service.splice.service, now, &mut out);
        Ok(())
    }

    /// What becomes of a segment of a flow that is spliced. One that goes on has other numbers
    /// afterwards, and the ends that it had.
    pub(crate) fn spliced(
        &mut self,
        hit: Hit,
        came: &mut Came,
        segment: Option<&Segment>,
        now: Instant,
    ) -> Spliced {
        let is_client = hit.direction == Direction::Original;
        // The numbers of a flow are the client's: its segments are tracked as they come, and a
        // server's as they go.
        let Some(first) = segment else { return Spliced::Drop(Reason::Length) };
        if is_client
            && first.is_syn()
            && let Err(other) = self.track(hit, first, now)
        {
            return other;
        }
        match self.renumber(hit, came, now) {
            splice::Verdict::Pass => {}
            splice::Verdict::Drop(splice::Reason::Answer | splice::Reason::Over) => return Spliced::Taken,
            splice::Verdict::Drop(why) => return Spliced::Drop(why.into()),
        }
        let translated = Segment::of(&came.packet, &came.transport, &came.frame);
        let Some(segment) = (if is_client { segment } else { translated.as_ref() }) else {
            return Spliced::Drop(Reason::Length);
        };
        self.track(hit, segment, now).map_or_else(|other| other, |()| Spliced::Goes)
    }

    fn renumber(&mut self, hit: Hit, came: &mut Came, now: Instant) -> splice::Verdict {
        let Self { flows, splicing, .. } = self;
        let Some((flow, splicing)) = flows.get(hit.index).zip(splicing.as_mut()) else {
            return splice::Verdict::Drop(splice::Reason::Unknown);
        };
        let (splices, mut out) = splicing.parts();
        let Came { packet, transport, frame, .. } = came;
        let mut arrived = Arrived { index: hit.index, flow, packet, transport, frame };
        match hit.direction {
            Direction::Original => splices.from_client(&mut arrived, now, &mut out),
            Direction::Reply => splices.from_server(&mut arrived, now, &mut out),
        }
    }

    fn track(&mut self, hit: Hit, segment: &Segment, now: Instant) -> Result<(), Spliced> {
        let tag = self.flows.get(hit.index).map(Flow::tag).ok_or(Spliced::Drop(Reason::NoFlow))?;
        let (flows, mut left) = self.parts(now);
        match flows.track(hit, Some(segment), now, &mut |index, flow, end| left.ended(index, flow, end)) {
            Verdict::Pass => Ok(()),
            Verdict::Reopened => Err(Spliced::Begins(tag.service)),
            Verdict::Invalid(why) => Err(Spliced::Drop(why.into())),
        }
    }

    /// What is added to the numbers of a segment that an ICMP error is about, which goes that way.
    ///
    /// # Errors
    ///
    /// The segment was of our making: nobody else is to hear of it.
    pub(crate) fn quoted(&self, hit: Hit) -> Result<Option<Renumber>, Reason> {
        let is_spliced = self.flows.get(hit.index).is_some_and(Flow::is_spliced);
        let Some(splicing) = self.splicing.as_ref().filter(|_| is_spliced) else { return Ok(None) };
        splicing.splices.quoted(hit.index, hit.direction).map(Some).ok_or(Reason::TcpWaiting)
    }

    /// Says that nothing gets to the server of a flow, where that is spliced.
    pub(super) fn server_is_unreachable(&mut self, index: u32) {
        let Self { flows, splicing, .. } = self;
        if let Some((flow, splicing)) = flows.get(index).zip(splicing.as_mut()) {
            let (splices, mut out) = splicing.parts();
            splices.unreachable(index, flow, &mut out);
        }
    }

    /// What time brings to connections that are spliced. When to look again.
    pub(super) fn poll_splices(&mut self, now: Instant) -> Option<Instant> {
        let Self { flows, splicing, .. } = self;
        let (splices, mut out) = splicing.as_mut()?.parts();
        splices.poll(flows, now, TURN, &mut out)
    }

    /// A frame of ours that is to be sent, for a connection that is spliced; whatever else is to be
    /// done for these is done.
    pub(crate) fn take_frame(&mut self, routes: &Routes, now: Instant) -> Option<Frame> {
        // Ends: of each that is taken out comes another at most, and that as often as servers are
        // tried.
        while let Some((index, output)) = self.splicing.as_mut()?.outputs.pop_front() {
            match output {
                Output::Send(_, frame) => return Some(frame),
                Output::Opened => self.report_of(index, Report::Good, now),
                Output::TryAnother(client) => {
                    self.report_of(index, Report::Failed, now);
                    self.try_another(index, client, routes, now);
                }
                Output::GaveUp => {
                    self.report_of(index, Report::Failed, now);
                    self.remove(index, now);
                }
                Output::Closed => self.remove(index, now),
            }
        }
        None
    }

    fn report_of(&mut self, index: u32, report: Report, now: Instant) {
        let Some(tag) = self.flows.get(index).map(Flow::tag) else { return };
        if let Some(serving) = self.services.get_mut(usize::from(tag.service)) {
            serving.report(tag.server, report, now);
        }
    }

    /// Begins again with another server; where there is none, the client is told.
    #[cold]
    fn try_another(&mut self, index: u32, mut client: Client, routes: &Routes, now: Instant) {
        let flow = self.flows.get(index).map(|flow| (*flow.key(Direction::Original), flow.tag()));
        let Some((original, Tag { service, server })) = flow else { return };
        let chosen = match self.services.get_mut(usize::from(service)) {
            Some(serving) if !self.closing.is_cutting_off() => {
                serving.retry(server, original.source(), client.tried, now)
            }
            _ => Err(Reason::NoServer),
        };
        // Its server has given it back, and nobody has to be told.
        self.flows.remove(index, &mut |_, _, _| {});
        let [before, _] = client.tried;
        client.tried = [server, before];
        let begun = chosen.and_then(|chosen| self.splice((service, chosen), &original, &client, routes, now));
        if begun.is_err()
            && let Some(splicing) = &mut self.splicing
        {
            let (splices, mut out) = splicing.parts();
            splices.reset_client(index, &client, &original, &mut out);
        }
    }
}

impl From<Refusal> for Reason {
    fn from(why: Refusal) -> Self {
        match why {
            Refusal::NotTcp => Self::Length,
            Refusal::Flags => Self::TcpFlags,
            Refusal::Link => Self::Source,
            Refusal::Checksum => Self::TcpChecksum,
            Refusal::Room => Self::NoBuffer,
            Refusal::NoneSent | Refusal::Cookie | Refusal::Time => Self::Cookie,
        }
    }
}

impl From<splice::Reason> for Reason {
    fn from(why: splice::Reason) -> Self {
        match why {
            splice::Reason::NotTcp | splice::Reason::Edit => Self::Length,
            splice::Reason::Checksum => Self::TcpChecksum,
            splice::Reason::Flags => Self::TcpFlags,
            splice::Reason::Waiting => Self::TcpWaiting,
            splice::Reason::Acknowledgement => Self::TcpAcknowledgement,
            splice::Reason::Reset => Self::TcpReset,
            splice::Reason::Unknown | splice::Reason::Answer | splice::Reason::Over => Self::NoFlow,
        }
    }
}
