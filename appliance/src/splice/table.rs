//! Who is spliced.

use alloc::boxed::Box;
use alloc::vec;
use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_net::FramePool;

use super::Reason;
use super::cookie::{Client, MAX_SCALE, millis};
use super::entry::{ENTRY_BYTES, Entry, Stage};
use super::heard::{ACK, RST, SYN};
use super::make::Draft;
use super::shape::{Arrived, Counters, Output, Service, Settings, Side, Verdict};
use super::timer::Lists;
use crate::flow::{Direction, Flow, Key, State, Table};
use crate::packet::edit::{Renumber, Shift, renumber};

/// All spliced connections, each by the place of its flow.
#[derive(Debug)]
pub struct Splices {
    pub(super) entries: Box<[Entry]>,
    pub(super) lists: Lists,
    len: u32,
    pub(super) pool: FramePool,
    pub(super) settings: Settings,
    pub(super) counters: Counters,
}

impl Splices {
    /// One for so many flows, whose frames are from `pool`. Allocates all that it will need.
    #[must_use]
    pub fn new(flows: u32, settings: Settings, pool: FramePool) -> Self {
        Self {
            entries: vec![Entry::FREE; flows as usize].into_boxed_slice(),
            lists: Lists::new(),
            len: 0,
            pool,
            settings,
            counters: Counters::default(),
        }
    }

    /// How many bytes it takes for so many flows.
    #[must_use]
    pub const fn bytes_of(flows: u32) -> usize {
        flows as usize * ENTRY_BYTES
    }

    /// Begins a connection to the server of `flow`, which was opened for a client whose cookie was
    /// right. False when there is no such place.
    ///
    /// `client` is from [`Cookies::check`](super::Cookies::check), or from
    /// [`TryAnother`](Output::TryAnother).
    ///
    /// Spec: RFC 9293, 3.5; RFC 3168, 6.1.1.
    pub fn begin(
        &mut self,
        index: u32,
        flow: &Flow,
        client: &Client,
        service: &Service,
        now: Instant,
        out: &mut impl FnMut(u32, Output),
    ) -> bool {
        let original = flow.key(Direction::Original);
        let Service { offer, proxy } = service;
        let scale = offer.scale.min(MAX_SCALE);
        self.end(index);
        let Some(entry) = self.entries.get_mut(index as usize) else { return false };
        self.len = self.len.wrapping_add(1);
        *entry = Entry::new(client, original, scale, offer.mss_bytes, *proxy);
        self.counters.begun = self.counters.begun.wrapping_add(1);
        self.send_syn(index, flow, now, out);
        true
    }

    /// Forgets the connection of a flow. True when there was one.
    pub fn end(&mut self, index: u32) -> bool {
        self.lists.leave(&mut self.entries, index);
        let entry = self.entries.get_mut(index as usize);
        let was = entry.is_some_and(|entry| core::mem::replace(entry, Entry::FREE).stage != Stage::Free);
        self.len = self.len.wrapping_sub(was.into());
        was
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a flow's client and server speak to each other, by its place. What is on the way
    /// before is ours.
    #[must_use]
    pub fn is_connected(&self, index: u32) -> bool {
        let entry = self.entries.get(index as usize);
        entry.is_some_and(|entry| matches!(entry.stage, Stage::Opening | Stage::Open))
    }

    /// Says that nothing gets to the server of a flow: another one, if it has not answered yet.
    pub fn unreachable(&mut self, index: u32, flow: &Flow, out: &mut impl FnMut(u32, Output)) {
        let entry = self.entries.get(index as usize);
        let is_waiting = entry.is_some_and(|entry| entry.is_of(flow.key(Direction::Original)));
        if is_waiting && !self.is_connected(index) {
            self.counters.timed_out = self.counters.timed_out.wrapping_add(1);
            self.fail(index, flow, out);
        }
    }

    /// Sends again what was not answered, and gives servers up that do not answer. Looks at `most`
    /// of those whose time is over, and at no others. To be called again at the time that it
    /// returns, which is `now` when there is more to do.
    pub fn poll(
        &mut self,
        flows: &Table,
        now: Instant,
        most: u32,
        out: &mut impl FnMut(u32, Output),
    ) -> Option<Instant> {
        for _ in 0..most {
            match self.lists.next(&self.entries, millis(now)) {
                Some((index, 0)) => self.is_over(index, flows, now, out),
                next => {
                    return next.map(|(_, left)| now.saturating_add(Duration::from_millis(left.into())));
                }
            }
        }
        self.lists.next(&self.entries, millis(now)).map(|_| now)
    }

    /// The time of that one is over.
    fn is_over(&mut self, index: u32, flows: &Table, now: Instant, out: &mut impl FnMut(u32, Output)) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        let flow = flows.get(index).filter(|flow| entry.is_of(flow.key(Direction::Original)));
        let Some(flow) = flow else {
            // The flow has ended meanwhile.
            self.end(index);
            return;
        };
        let most = if entry.stage == Stage::SynSent { self.settings.syns } else { self.settings.resends };
        let is_last = entry.sent >= most;
        match entry.stage {
            Stage::SynSent | Stage::HeaderSent if is_last => {
                self.counters.timed_out = self.counters.timed_out.wrapping_add(1);
                if entry.stage == Stage::HeaderSent {
                    self.reset_server(index, flow, out);
                }
                self.fail(index, flow, out);
            }
            Stage::SynSent => {
                self.counters.resent = self.counters.resent.wrapping_add(1);
                self.send_syn(index, flow, now, out);
            }
            Stage::HeaderSent => {
                self.counters.resent = self.counters.resent.wrapping_add(1);
                self.send_header(index, flow, now, out);
            }
            // Where one side has cut it off, nobody waits any more.
            Stage::Opening if !is_last && flow.state() != State::Close => {
                self.counters.resent = self.counters.resent.wrapping_add(1);
                self.send_opening(index, flow, now, out);
            }
            // A client that has something to say probes, and is answered by the server.
            Stage::Opening => self.is_open(index),
            Stage::Free | Stage::Open => self.lists.leave(&mut self.entries, index),
        }
    }

    /// The numbers that are added to segments of a flow that go that way, where nothing else
    /// becomes of them: for a path that translates segments [without options](Self::is_plain)
    /// itself. `None` of a flow that is not spliced, or not open yet, or has more to be changed.
    #[must_use]
    #[inline(always)]
    pub fn shift(&self, index: u32, direction: Direction) -> Option<Shift> {
        let entry = self.entries.get(index as usize)?;
        let by = match direction {
            Direction::Original => entry.to_server(),
            Direction::Reply => entry.to_client(),
        };
        let is_plain = entry.stage == Stage::Open && by.window == 0;
        is_plain.then(|| Shift::new(by.sequence, by.acknowledgement))
    }

    /// Whether a segment with this `offset_flags` may be translated by [`shift`](Self::shift)
    /// alone: it has no options, and is an acknowledgement that neither begins nor cuts off
    /// anything.
    #[must_use]
    #[inline(always)]
    pub const fn is_plain(offset_flags: u16) -> bool {
        const WANTED: u16 = 5 << 12 | ACK as u16;
        offset_flags & (0xf000 | (ACK | SYN | RST) as u16) == WANTED
    }

    /// What is added to the numbers of a segment that an ICMP error quotes, which goes in that
    /// direction: it says then what it said when it was sent.
    /// [`renumber_quoted`](crate::packet::edit::renumber_quoted) does that. `None` of a flow that
    /// is not spliced.
    ///
    /// An error that goes to the client is about what the client sent, whose sequence numbers are
    /// the same on both sides, and acknowledgements are not.
    ///
    /// Spec: RFC 5508, 4.2; RFC 1191; RFC 5927, 4.1 (hosts look at the sequence number).
    #[must_use]
    pub fn quoted(&self, index: u32, direction: Direction) -> Option<Renumber> {
        let entry = self.entries.get(index as usize)?;
        let is_connected = matches!(entry.stage, Stage::HeaderSent | Stage::Opening | Stage::Open);
        let (sequence, acknowledgement) = match direction {
            Direction::Original => (entry.delta.wrapping_neg(), 0),
            Direction::Reply => (0, entry.delta),
        };
        is_connected.then_some(Renumber { sequence, acknowledgement, ..Renumber::default() })
    }

    /// Sends both sides a reset: for a connection whose time is over. Nothing is kept of it.
    ///
    /// Spec: RFC 9293, 3.10.7.4; RFC 5961, 3 (a reset is exactly at the next number).
    pub fn reset(&mut self, index: u32, flow: &Flow, out: &mut impl FnMut(u32, Output)) {
        let (original, reply) = (flow.key(Direction::Original), flow.key(Direction::Reply));
        let Some(entry) = self.entries.get(index as usize).filter(|entry| entry.is_of(original)) else {
            return;
        };
        let client_next = flow.next_sequence(Direction::Original);
        let server_next = flow.next_sequence(Direction::Reply);
        let (is_open, delta) = (matches!(entry.stage, Stage::Opening | Stage::Open), entry.delta);
        if is_open {
            let flags = RST | ACK;
            let to_client =
                Draft { sequence: server_next, acknowledgement: client_next, flags, ..Draft::default() };
            let acknowledgement = server_next.wrapping_sub(delta);
            let to_server = Draft { sequence: client_next, acknowledgement, flags, ..Draft::default() };
            self.emit(index, Side::Client, &to_client, original, out);
            self.emit(index, Side::Server, &to_server, reply, out);
        } else {
            let client = entry.client();
            self.reset_server(index, flow, out);
            self.reset_client(index, &client, original, out);
        }
        self.end(index);
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many connections wait for something.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lists.walk(&self.entries).len()
    }

    /// Gives a segment the numbers that its receiver knows.
    #[inline]
    pub(super) fn translated(arrived: &mut Arrived<'_>, by: &Renumber) -> Verdict {
        match renumber(arrived.transport, arrived.frame, by) {
            Ok(()) => Verdict::Pass,
            Err(_) => Verdict::Drop(Reason::Edit),
        }
    }

    /// The client is there, or is left to itself.
    pub(super) fn is_open(&mut self, index: u32) {
        self.lists.leave(&mut self.entries, index);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.stage = Stage::Open;
        }
    }

    /// The server is no good: another one, if not enough were tried.
    pub(super) fn fail(&mut self, index: u32, flow: &Flow, out: &mut impl FnMut(u32, Output)) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        let client = entry.client();
        self.end(index);
        if client.tries < self.settings.servers {
            return out(index, Output::TryAnother(client));
        }
        self.counters.gave_up = self.counters.gave_up.wrapping_add(1);
        self.reset_client(index, &client, flow.key(Direction::Original), out);
        out(index, Output::GaveUp);
    }

    /// Tells a client that there is no server for it. `original` is what its packets say.
    pub fn reset_client(
        &mut self,
        index: u32,
        client: &Client,
        original: &Key,
        out: &mut impl FnMut(u32, Output),
    ) {
        match client.reset(original, &self.pool) {
            Some(frame) => out(index, Output::Send(Side::Client, frame)),
            None => self.counters.no_buffer = self.counters.no_buffer.wrapping_add(1),
        }
    }
}
