//! What becomes of a client's segments.

use paravane_hal::time::Instant;

use super::Reason;
use super::entry::{Entry, Stage};
use super::heard::{ACK, Heard, RST, SYN};
use super::shape::{Arrived, Output, Verdict};
use super::table::Splices;
use crate::flow::Direction;

impl Splices {
    /// What becomes of a client's segment, of a flow that is spliced: it goes on with the numbers
    /// that the server knows, or, as long as there is no server that has answered, it does not.
    ///
    /// Who tracks the flow does that before, with what the segment says as it came; only one that
    /// goes on counts.
    ///
    /// Spec: RFC 9293, 3.8.6.1 (probes are acknowledged), 3.10.7.4; RFC 5961, 3.2, 4.2.
    #[inline]
    pub fn from_client(
        &mut self,
        arrived: &mut Arrived<'_>,
        _now: Instant,
        out: &mut impl FnMut(u32, Output),
    ) -> Verdict {
        let index = arrived.index;
        let Some(entry) = self.entries.get(index as usize) else { return Verdict::Drop(Reason::Unknown) };
        match entry.stage {
            Stage::Open => Self::translated(arrived, &entry.to_server()),
            Stage::Opening => {
                let by = entry.to_server();
                let verdict = Self::translated(arrived, &by);
                if verdict == Verdict::Pass {
                    self.is_open(index);
                }
                verdict
            }
            _ => Verdict::Drop(self.early(arrived, out)),
        }
    }

    /// One that comes before there is a server: why it does not go on.
    #[cold]
    fn early(&mut self, arrived: &Arrived<'_>, out: &mut impl FnMut(u32, Output)) -> Reason {
        let Arrived { index, flow, packet, .. } = *arrived;
        let Some(entry) = self.entries.get_mut(index as usize) else { return Reason::Unknown };
        if !entry.is_of(flow.key(Direction::Original)) {
            return Reason::Unknown;
        }
        let Some(heard) = Heard::of(packet, arrived.transport, arrived.frame) else { return Reason::NotTcp };
        if !heard.is_intact(packet, arrived.frame) {
            return Reason::Checksum;
        }
        if heard.is(RST) {
            // As its window is closed, there is one number that is right.
            if heard.is(SYN) || heard.sequence() != entry.client_next {
                return Reason::Reset;
            }
            self.reset_server(index, flow, out);
            self.end(index);
            out(index, Output::Closed);
            return Reason::Over;
        }
        if heard.is(SYN) {
            self.send_closed(index, flow, out);
            return Reason::Waiting;
        }
        if !heard.is(ACK) {
            return Reason::Flags;
        }
        if heard.acknowledgement() != entry.cookie.wrapping_add(1) {
            return Reason::Acknowledgement;
        }
        let is_next = heard.sequence() == entry.client_next;
        if is_next || heard.sequence() == entry.client_next.wrapping_sub(1) {
            keep(entry, &heard, arrived);
        }
        // An acknowledgement and nothing else is not answered: it asks nothing.
        if !is_next || !heard.is_just(ACK) || heard.data_bytes() > 0 {
            self.send_closed(index, flow, out);
        }
        Reason::Waiting
    }
}

/// Keeps what the server is to be told.
fn keep(entry: &mut Entry, heard: &Heard, arrived: &Arrived<'_>) {
    entry.client_window = heard.header.window.get();
    if let Some([time, _]) = heard.said(arrived.frame).time
        && time.wrapping_sub(entry.client_time).cast_signed() > 0
    {
        entry.client_time = time;
    }
}
