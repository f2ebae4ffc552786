//! What is sent to each side.

use paravane_hal::time::Instant;
use paravane_net::{Frame, FramePool};

use super::cookie::{Client, MAX_SCALE, Offer, millis};
use super::entry::{ECN, Entry, SACK, SCALES, Stage, TIME};
use super::heard::{ACK, CWR, ECE, Heard, PSH, RST, SYN, Said};
use super::make::Draft;
use super::proxy;
use super::shape::{Output, Side};
use super::table::Splices;
use super::timer::SECOND;
use crate::flow::{Direction, Flow, Handshake, Key, Segment};
use crate::packet::edit::shifted;

impl Splices {
    /// Sends what goes to that side, whose packets have `key`.
    pub(super) fn emit(
        &mut self,
        index: u32,
        to: Side,
        draft: &Draft<'_>,
        key: &Key,
        out: &mut impl FnMut(u32, Output),
    ) {
        match draft.frame(&self.pool, &key.reversed(key.zone())) {
            Some(frame) => out(index, Output::Send(to, frame)),
            None => self.counters.no_buffer = self.counters.no_buffer.wrapping_add(1),
        }
    }

    /// Has it wait for an answer to what is sent now; it as it is then. The first time it is in
    /// that list, and later in those behind it.
    fn sent(&mut self, index: u32, list: u8, now: Instant) -> Option<Entry> {
        let entry = self.entries.get_mut(index as usize)?;
        let before = entry.sent;
        entry.sent = before.saturating_add(1);
        let entry = entry.clone();
        self.lists.wait(&mut self.entries, index, list.saturating_add(before), millis(now));
        Some(entry)
    }

    /// Sends the server a SYN that says what the client's said.
    pub(super) fn send_syn(
        &mut self,
        index: u32,
        flow: &Flow,
        now: Instant,
        out: &mut impl FnMut(u32, Output),
    ) {
        let Some(entry) = self.sent(index, SECOND, now) else { return };
        // Its window is not scaled yet.
        let window = u32::from(entry.client_window) << entry.client_scale.min(MAX_SCALE);
        let scale = entry.is(SCALES).then_some(entry.client_scale);
        let draft = Draft {
            sequence: entry.own_isn(flow.key(Direction::Original)),
            flags: SYN | if entry.is(ECN) { ECE | CWR } else { 0 },
            window: u16::try_from(window).unwrap_or(u16::MAX),
            said: Said {
                mss_bytes: Some(entry.mss_bytes),
                scale,
                sack: entry.is(SACK),
                time: entry.time_for_server().map(|[client, _]| [client, 0]),
            },
            ..Draft::default()
        };
        self.emit(index, Side::Server, &draft, flow.key(Direction::Reply), out);
    }

    /// Acknowledges the server's SYN, and has the PROXY header with it.
    pub(super) fn send_header(
        &mut self,
        index: u32,
        flow: &Flow,
        now: Instant,
        out: &mut impl FnMut(u32, Output),
    ) {
        let Some(entry) = self.sent(index, 0, now) else { return };
        let original = flow.key(Direction::Original);
        let (header, len_bytes) = proxy::header(original);
        let draft = Draft {
            sequence: entry.own_isn(original).wrapping_add(1),
            flags: ACK | PSH,
            data: header.get(..len_bytes).unwrap_or_default(),
            ..acknowledging(&entry)
        };
        self.emit(index, Side::Server, &draft, flow.key(Direction::Reply), out);
    }

    /// Acknowledges the server's SYN, and no more.
    pub(super) fn send_acknowledgement(
        &mut self,
        index: u32,
        flow: &Flow,
        out: &mut impl FnMut(u32, Output),
    ) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        let draft = acknowledging(entry);
        self.emit(index, Side::Server, &draft, flow.key(Direction::Reply), out);
    }

    /// Tells the client that its window is open, as far as the server's is.
    pub(super) fn send_opening(
        &mut self,
        index: u32,
        flow: &Flow,
        now: Instant,
        out: &mut impl FnMut(u32, Output),
    ) {
        let Some(entry) = self.sent(index, 0, now) else { return };
        let draft = Draft { window: entry.server_window, ..for_client(&entry) };
        self.emit(index, Side::Client, &draft, flow.key(Direction::Original), out);
    }

    /// Tells the client what comes next on both sides, and that its window is closed.
    pub(super) fn send_closed(&mut self, index: u32, flow: &Flow, out: &mut impl FnMut(u32, Output)) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        let draft = for_client(entry);
        self.emit(index, Side::Client, &draft, flow.key(Direction::Original), out);
    }

    /// Cuts off a connection that the server has, or may have.
    pub(super) fn reset_server(&mut self, index: u32, flow: &Flow, out: &mut impl FnMut(u32, Output)) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        let sequence = entry.own_isn(flow.key(Direction::Original)).wrapping_add(1);
        let draft = match entry.stage {
            // Whether it has the header is not known: what counts is that it is within its window.
            Stage::HeaderSent => {
                Draft { sequence, acknowledgement: entry.server_next(), flags: RST | ACK, ..Draft::default() }
            }
            _ => Draft { sequence, flags: RST, ..Draft::default() },
        };
        self.emit(index, Side::Server, &draft, flow.key(Direction::Reply), out);
    }

    /// Cuts off what the server has instead of this connection, as it acknowledges it.
    pub(super) fn reset_older(
        &mut self,
        index: u32,
        flow: &Flow,
        heard: &Heard,
        out: &mut impl FnMut(u32, Output),
    ) {
        let draft = Draft { sequence: heard.acknowledgement(), flags: RST, ..Draft::default() };
        self.emit(index, Side::Server, &draft, flow.key(Direction::Reply), out);
    }
}

/// An acknowledgement of the server's SYN, from the client's place.
fn acknowledging(entry: &Entry) -> Draft<'static> {
    Draft {
        sequence: entry.client_next,
        acknowledgement: entry.server_next(),
        flags: ACK,
        window: shifted(entry.client_window, entry.server_shift),
        said: Said { time: entry.time_for_server(), ..Said::default() },
        data: &[],
    }
}

/// An acknowledgement for the client, as long as nothing was passed on: of a closed window.
fn for_client(entry: &Entry) -> Draft<'static> {
    let time = entry.is(TIME).then_some([entry.own_time, entry.client_time]);
    Draft {
        sequence: entry.cookie.wrapping_add(1),
        acknowledgement: entry.client_next,
        flags: ACK,
        window: 0,
        said: Said { time, ..Said::default() },
        data: &[],
    }
}

impl Client {
    /// What it and we said, for the [flow](crate::flow::Table::open_spliced) that begins when it
    /// has answered: numbers are those that it knows. It was promised no window, and that of a
    /// server's SYN is 65,535 bytes at most.
    #[must_use]
    pub fn handshake(&self, offer: &Offer) -> Handshake {
        let [client_next, own_next] = [self.isn, self.cookie].map(|isn| isn.wrapping_add(1));
        let scale = self.scale.map(|_| offer.scale.min(MAX_SCALE));
        let segments = [
            Segment::bare(SYN, self.isn, 0, 0, self.scale),
            Segment::bare(SYN | ACK, self.cookie, client_next, u16::MAX, scale),
            Segment::bare(ACK, client_next, own_next, self.window, None),
        ];
        Handshake { segments, is_again: self.tries > 0 }
    }

    /// The frame that tells it that there is no server. `original` is what its packets say; `None`
    /// when `pool` has no buffer.
    #[must_use]
    pub fn reset(&self, original: &Key, pool: &FramePool) -> Option<Frame> {
        let draft = Draft {
            sequence: self.cookie.wrapping_add(1),
            acknowledgement: self.isn.wrapping_add(1),
            flags: RST | ACK,
            ..Draft::default()
        };
        draft.frame(pool, &original.reversed(original.zone()))
    }
}
