//! What may be asked of a device that sends: rules about descriptors, and about the headers behind
//! them.

use super::capability;
use super::checksum;
use super::layout::{om, stop};
use super::packet::Packet;
use super::segment::{Outer, tcp_headers};
use super::sent::Sent;

/// Most descriptors of a frame, and of one to be cut.
const MAX_DESCRIPTORS: usize = 16;
const MAX_TSO_DESCRIPTORS: usize = 24;
/// Ethernet, and a tag.
const HEADER_BYTES: usize = 14;
const TAG_BYTES: usize = 4;
/// The last place of a checksum.
const MAX_CHECKSUM_AT: usize = 1024;

/// What a device complains about: the code that it stops with, and what is wrong.
pub(super) type Complaint = (u32, &'static str);

/// What was agreed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    pub(super) revision: u8,
    /// Capabilities, from revision 7 on.
    pub(super) granted: u32,
    pub(super) mtu: u32,
}

/// What the descriptors of a frame say that they should not.
pub(super) fn of_descriptors(frame: &Sent, agreed: Agreed) -> Option<Complaint> {
    let Agreed { revision, .. } = agreed;
    let most = if frame.is_cut() { MAX_TSO_DESCRIPTORS } else { MAX_DESCRIPTORS };
    let wants = frame.om != 0 || frame.ext1 || frame.oco;
    let not_supported = |what| Some((stop::DESC_NOT_SPT, what));
    let invalid = |what| Some((stop::TXD_INVALID, what));
    if frame.om == om::ENCAPSULATED && revision < 4 {
        not_supported("om = 1 below revision 4")
    } else if frame.om == om::ENCAPSULATED && revision >= 7 {
        not_supported("om = 1 from revision 7 on")
    } else if frame.ext1 && revision < 7 {
        not_supported("ext1 below revision 7")
    } else if frame.om == om::TSO && frame.msscof == 0 {
        invalid("segments of zero bytes")
    } else if frame.ext1 && frame.om == 0 {
        invalid("ext1 without an offload")
    } else if frame.oco && !(frame.is_encapsulated() && frame.is_cut()) {
        invalid("oco where no tunnel is cut")
    } else if !wants && (frame.hlen != 0 || frame.msscof != 0) {
        invalid("offload fields without an offload")
    } else if frame.descriptors > most {
        Some((stop::BIG_PKT, "too many descriptors in a frame"))
    } else {
        None
    }
}

/// What the headers of a frame, the first `first_bytes` of which are in its first descriptor, are
/// not that its descriptor says.
pub(super) fn of_headers(frame: &Sent, first_bytes: usize, agreed: Agreed) -> Option<Complaint> {
    let bytes = &frame.bytes[..];
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    let what = if frame.is_encapsulated() {
        match Outer::parse(bytes) {
            Some(outer) => {
                not_granted(frame, &outer, agreed).or_else(|| inside(frame, outer.inner, first_bytes))
            }
            None => Some("a tunnel's offload for what is in none"),
        }
    } else {
        inside(frame, 0, first_bytes)
    };
    let is_tagged = bytes[12..14] == [0x81, 0];
    let longest = agreed.mtu as usize + HEADER_BYTES + if is_tagged { TAG_BYTES } else { 0 };
    let too_long =
        (!frame.is_cut() && bytes.len() > longest).then_some("a frame that is longer than the MTU");
    what.or(too_long).map(|what| (stop::TXD_INVALID, what))
}

/// From revision 7 on, an offload of tunnels is asked for by name before.
fn not_granted(frame: &Sent, outer: &Outer, agreed: Agreed) -> Option<&'static str> {
    let [sum, cut, outer_sum] = if outer.is_geneve {
        [capability::GENEVE_CHECKSUM, capability::GENEVE_TSO, capability::GENEVE_OUTER_CHECKSUM]
    } else {
        [capability::VXLAN_CHECKSUM, capability::VXLAN_TSO, capability::VXLAN_OUTER_CHECKSUM]
    };
    let needs = if frame.is_cut() { cut } else { sum } | if frame.oco { outer_sum } else { 0 };
    (agreed.revision >= 7 && agreed.granted & needs != needs)
        .then_some("a tunnel's offload that is not granted")
}

/// About the headers of the frame that starts at `start`.
fn inside(frame: &Sent, start: usize, first_bytes: usize) -> Option<&'static str> {
    let bytes = &frame.bytes[..];
    let packet = Packet::parse(bytes, start);
    if frame.is_cut() {
        let headers = packet.and_then(|packet| Some((packet, tcp_headers(bytes, &packet)?)));
        let Some((packet, end)) = headers else { return Some("to be cut, and no TCP") };
        let field = packet.l4 + 16;
        return [
            ("hlen is not where the payload starts", frame.hlen as usize != end),
            ("headers beyond the first descriptor", first_bytes < end),
            ("a packet that ends before its frame", packet.end != bytes.len()),
            ("to be cut, with an IP checksum", {
                !packet.is_v6 && bytes[packet.l3 + 10..packet.l3 + 12] != [0; 2]
            }),
            ("to be cut, without the sum of a pseudo-header of length 0", {
                bytes[field..field + 2] != checksum::pseudo(bytes, &packet, 0).to_be_bytes()
            }),
        ]
        .into_iter()
        .find_map(|(what, is_so)| is_so.then_some(what));
    }
    if !frame.is_summed() {
        return None;
    }
    // As before revision 7, the inner header alone says where a checksum goes.
    let by_headers = packet.and_then(|packet| Some((packet, checksum::l4_field(&packet)?)));
    let (at, start) = match (frame.om, by_headers) {
        (om::ENCAPSULATED, None) => return Some("no checksum to be made"),
        (om::ENCAPSULATED, Some((packet, field))) => (field, packet.l4),
        _ => (frame.msscof as usize, frame.hlen as usize),
    };
    if at + 2 > bytes.len() || start > bytes.len() || at > MAX_CHECKSUM_AT {
        return Some("a checksum beyond the frame");
    }
    let (packet, field) = by_headers?;
    let expected = if frame.is_encapsulated() { inner_end(bytes, &packet) } else { packet.l4 };
    let len_bytes = packet.end - packet.l4;
    [
        ("hlen is not where the headers say", frame.hlen as usize != expected),
        ("msscof is not where the checksum is", at != field),
        ("no sum of the pseudo-header where the checksum goes", {
            bytes[at..at + 2] != checksum::pseudo(bytes, &packet, len_bytes).to_be_bytes()
        }),
    ]
    .into_iter()
    .find_map(|(what, is_so)| is_so.then_some(what))
}

/// Where the headers of an inner packet end.
fn inner_end(bytes: &[u8], packet: &Packet) -> usize {
    tcp_headers(bytes, packet).unwrap_or(packet.l4 + 8)
}
