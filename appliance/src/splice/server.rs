//! What becomes of a server's segments.

use paravane_hal::time::Instant;

use super::Reason;
use super::entry::{BLANKS_SACK, ECN, Entry, PROXY, SACK, SCALES, Stage, TIME};
use super::heard::{ACK, ECE, Heard, RST, SYN, Said};
use super::shape::{Arrived, Output, Verdict};
use super::table::Splices;
use crate::flow::Direction;
use crate::packet::edit::shifted;

impl Splices {
    /// What becomes of a server's segment, of a flow that is spliced: it goes on with the numbers
    /// that the client knows, or it is for us.
    ///
    /// Who tracks the flow does that afterwards, with what the segment says then; only one that
    /// goes on counts.
    ///
    /// Spec: RFC 9293, 3.10.7.3, 3.10.7.4.
    #[inline]
    pub fn from_server(
        &mut self,
        arrived: &mut Arrived<'_>,
        now: Instant,
        out: &mut impl FnMut(u32, Output),
    ) -> Verdict {
        let Some(entry) = self.entries.get(arrived.index as usize) else {
            return Verdict::Drop(Reason::Unknown);
        };
        if matches!(entry.stage, Stage::Opening | Stage::Open) && !is_syn(arrived) {
            return Self::translated(arrived, &entry.to_client());
        }
        self.early_from_server(arrived, now, out)
    }

    #[cold]
    fn early_from_server(
        &mut self,
        arrived: &mut Arrived<'_>,
        now: Instant,
        out: &mut impl FnMut(u32, Output),
    ) -> Verdict {
        let Some(entry) = self.entries.get(arrived.index as usize) else {
            return Verdict::Drop(Reason::Unknown);
        };
        let stage = entry.stage;
        if !entry.is_of(arrived.flow.key(Direction::Original)) {
            return Verdict::Drop(Reason::Unknown);
        }
        let Some(heard) = Heard::of(arrived.packet, arrived.transport, arrived.frame) else {
            return Verdict::Drop(Reason::NotTcp);
        };
        if !heard.is_intact(arrived.packet, arrived.frame) {
            return Verdict::Drop(Reason::Checksum);
        }
        match stage {
            Stage::Free => Verdict::Drop(Reason::Unknown),
            Stage::SynSent => Verdict::Drop(self.answered(arrived, &heard, now, out)),
            Stage::HeaderSent => self.after_header(arrived, &heard, now, out),
            Stage::Opening | Stage::Open => Verdict::Drop(self.syn_again(arrived, &heard, out)),
        }
    }

    /// An answer to our SYN.
    fn answered(
        &mut self,
        arrived: &Arrived<'_>,
        heard: &Heard,
        now: Instant,
        out: &mut impl FnMut(u32, Output),
    ) -> Reason {
        let Arrived { index, flow, .. } = *arrived;
        let Some(entry) = self.entries.get_mut(index as usize) else { return Reason::Unknown };
        let next = entry.own_isn(flow.key(Direction::Original)).wrapping_add(1);
        let is_right = heard.is(ACK) && heard.acknowledgement() == next;
        if heard.is(RST) {
            if !is_right {
                return Reason::Reset;
            }
            self.counters.refused = self.counters.refused.wrapping_add(1);
            self.fail(index, flow, out);
            return Reason::Over;
        }
        if heard.is(ACK) && !is_right {
            self.reset_older(index, flow, heard, out);
            return Reason::Acknowledgement;
        }
        if !heard.is_just(SYN | ACK) {
            return Reason::Flags;
        }
        let said = heard.said(arrived.frame);
        if !learn(entry, heard, &said) {
            self.counters.unlike_offer = self.counters.unlike_offer.wrapping_add(1);
            self.reset_server(index, flow, out);
            self.fail(index, flow, out);
            return Reason::Over;
        }
        if said.mss_bytes.is_some_and(|mss_bytes| mss_bytes < entry.mss_bytes) {
            self.counters.smaller_mss = self.counters.smaller_mss.wrapping_add(1);
        }
        entry.sent = 0;
        if entry.is(PROXY) {
            entry.stage = Stage::HeaderSent;
            self.send_header(index, flow, now, out);
            return Reason::Answer;
        }
        entry.stage = Stage::Opening;
        self.counters.opened = self.counters.opened.wrapping_add(1);
        self.send_acknowledgement(index, flow, out);
        self.send_opening(index, flow, now, out);
        out(index, Output::Opened);
        Reason::Answer
    }

    /// What comes after the PROXY header was sent: what acknowledges it goes on, and opens the
    /// client's window by that.
    fn after_header(
        &mut self,
        arrived: &mut Arrived<'_>,
        heard: &Heard,
        now: Instant,
        out: &mut impl FnMut(u32, Output),
    ) -> Verdict {
        let index = arrived.index;
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return Verdict::Drop(Reason::Unknown);
        };
        if heard.is(RST) {
            if heard.is(SYN) || heard.sequence() != entry.server_next() {
                return Verdict::Drop(Reason::Reset);
            }
            self.counters.refused = self.counters.refused.wrapping_add(1);
            self.fail(index, arrived.flow, out);
            return Verdict::Drop(Reason::Over);
        }
        if heard.is(SYN) {
            // It has not got the header, which acknowledges that.
            if heard.is(ACK) && heard.sequence().wrapping_add(1) == entry.server_next() {
                self.send_header(index, arrived.flow, now, out);
                return Verdict::Drop(Reason::Answer);
            }
            return Verdict::Drop(Reason::Flags);
        }
        if !heard.is(ACK) {
            return Verdict::Drop(Reason::Flags);
        }
        if heard.acknowledgement() != entry.client_next {
            let own = entry.own_isn(arrived.flow.key(Direction::Original));
            // What it sends before it has the header, it sends again.
            let is_within = heard.acknowledgement().wrapping_sub(own) <= entry.client_next.wrapping_sub(own);
            return Verdict::Drop(if is_within { Reason::Answer } else { Reason::Acknowledgement });
        }
        entry.stage = Stage::Opening;
        entry.sent = 1;
        entry.server_window = shifted(heard.header.window.get(), entry.client_shift);
        let by = entry.to_client();
        self.counters.opened = self.counters.opened.wrapping_add(1);
        self.lists.wait(&mut self.entries, index, 0, super::cookie::millis(now));
        out(index, Output::Opened);
        Self::translated(arrived, &by)
    }

    /// The server's SYN again: it has not got our acknowledgement.
    fn syn_again(
        &mut self,
        arrived: &Arrived<'_>,
        heard: &Heard,
        out: &mut impl FnMut(u32, Output),
    ) -> Reason {
        let Some(entry) = self.entries.get(arrived.index as usize) else { return Reason::Unknown };
        if !heard.is_just(SYN | ACK) || heard.sequence().wrapping_add(1) != entry.server_next() {
            return Reason::Flags;
        }
        self.send_acknowledgement(arrived.index, arrived.flow, out);
        Reason::Answer
    }
}

/// Whether its SYN flag is there.
#[inline(always)]
fn is_syn(arrived: &Arrived<'_>) -> bool {
    match &*arrived.transport {
        crate::packet::Transport::Tcp(header, _) => header.offset_flags.get() & u16::from(SYN) != 0,
        _ => false,
    }
}

/// Keeps what the server's SYN says. False when it does not do what the client was promised.
///
/// Spec: RFC 7323, 2.2, 3.2 (both sides have it, or neither has); RFC 2018, 2; RFC 3168, 6.1.1.
fn learn(entry: &mut Entry, heard: &Heard, said: &Said) -> bool {
    let time = match (entry.is(TIME), said.time) {
        (true, None) => return false,
        (true, Some([time, _])) => time,
        (false, _) => 0,
    };
    if entry.is(ECN) && !heard.is(ECE) {
        return false;
    }
    entry.delta = entry.cookie.wrapping_sub(heard.sequence());
    // Its clock goes on from what the client saw of ours.
    entry.time_delta = entry.own_time.wrapping_sub(time);
    if entry.is(SACK) && !said.sack {
        entry.flags |= BLANKS_SACK;
    }
    if entry.is(SCALES) {
        let bits = |scale: u8| i8::try_from(scale.min(super::cookie::MAX_SCALE)).unwrap_or_default();
        let (client, offer) = (bits(entry.client_scale), bits(entry.offer_scale));
        match said.scale {
            Some(scale) => entry.client_shift = bits(scale).wrapping_sub(offer),
            // It takes the client's windows as they are, too.
            None => (entry.client_shift, entry.server_shift) = (offer.wrapping_neg(), client),
        }
    }
    // That of a SYN is never scaled.
    let unscaled = if entry.is(SCALES) { entry.offer_scale } else { 0 };
    entry.server_window = heard.header.window.get() >> unscaled.min(super::cookie::MAX_SCALE);
    true
}
