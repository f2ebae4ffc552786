//! A SYN becomes its answer where it lies.

use paravane_hal::time::Instant;
use paravane_net::Frame;

use super::Refusal;
use super::cookie::{Cookies, MAX_SCALE, Offer, TIME_OPTIONS, millis, options_of};
use super::heard::{ACK, CWR, ECE, Heard, SYN, Said};
use super::make::Draft;
use crate::flow::Key;
use crate::packet::edit::Hop;
use crate::packet::{Packet, Transport};

/// What who says nothing takes.
///
/// Spec: RFC 9293, 3.7.1.
const fn default_mss_bytes(is_v6: bool) -> u16 {
    if is_v6 { 1220 } else { 536 }
}

impl Cookies {
    /// Makes `frame`, a client's SYN with that key, its answer: back to the station that sent it,
    /// to leave where it came in. It promises what `offer` has and the SYN asks for, and a closed
    /// window, so that nothing more comes than an acknowledgement.
    ///
    /// Nothing is kept. Data in a SYN, IP options and padding are dropped; the answer is a frame of
    /// one segment with a checksum of its own.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the frame is as it was, or, for [`Room`](Refusal::Room), empty. It is to be
    /// dropped.
    ///
    /// Spec: RFC 9293, 3.5, 3.10.7.2; RFC 4987, 3.6; RFC 3168, 6.1.1; RFC 7323, 2.2, 3.2.
    pub fn answer_syn(
        &mut self,
        key: &Key,
        packet: &Packet,
        transport: &Transport,
        frame: &mut Frame,
        offer: &Offer,
        now: Instant,
    ) -> Result<(), Refusal> {
        let heard = Heard::of(packet, transport, frame).ok_or(Refusal::NotTcp)?;
        if !heard.is_just(SYN) {
            return Err(Refusal::Flags);
        }
        // Spec: RFC 1122, 4.2.3.10.
        if !packet.destination.is_unicast() || !packet.source.is_unicast() {
            return Err(Refusal::Link);
        }
        if !heard.is_intact(packet, frame) {
            return Err(Refusal::Checksum);
        }
        let asked = heard.said(frame);
        let mss_bytes = asked.mss_bytes.unwrap_or(default_mss_bytes(key.is_v6()));
        let is_ecn = offer.ecn && offer.timestamps && asked.time.is_some() && heard.is(ECE) && heard.is(CWR);
        let draft = Draft {
            sequence: self.number(key, heard.sequence(), mss_bytes, now),
            acknowledgement: heard.sequence().wrapping_add(1),
            flags: SYN | ACK | if is_ecn { ECE } else { 0 },
            window: 0,
            said: promised(&asked, offer, is_ecn, now),
            data: &[],
        };
        let vlan = frame.vlan();
        frame.clear();
        frame.set_vlan(vlan);
        let hop = Hop { destination: packet.source, source: packet.destination };
        if draft.put(frame, &key.reversed(key.zone()), hop) { Ok(()) } else { Err(Refusal::Room) }
    }
}

/// What the answer says to who asked for that.
fn promised(asked: &Said, offer: &Offer, is_ecn: bool, now: Instant) -> Said {
    let mss_bytes = Some(offer.mss_bytes);
    let Some([theirs, _]) = asked.time.filter(|_| offer.timestamps) else {
        return Said { mss_bytes, ..Said::default() };
    };
    let is_sack = asked.sack && offer.sack;
    let ours = stamped(millis(now), options_of(asked.scale, is_sack, is_ecn));
    let scale = asked.scale.map(|_| offer.scale.min(MAX_SCALE));
    Said { mss_bytes, scale, sack: is_sack, time: Some([ours, theirs]) }
}

/// The last moment that has these low bits, and is not ahead of `now`.
fn stamped(now: u32, options: u32) -> u32 {
    let stamp = now & !TIME_OPTIONS | options;
    if stamp > now { stamp.wrapping_sub(TIME_OPTIONS + 1) } else { stamp }
}
