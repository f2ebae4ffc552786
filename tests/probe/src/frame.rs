//! Frames.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use paravane_suite::peer::PEER;

/// OUI Extended: nobody looks into it.
const PLAIN: [u8; 2] = [0x88, 0xb7];
const TCP: u8 = 6;
/// Where the packet starts, its TCP header, and its payload.
pub(crate) const IP: usize = 14;
pub(crate) const L4: usize = IP + 20;
pub(crate) const PAYLOAD: usize = L4 + 20;
/// From the start of a TCP header to its checksum.
pub(crate) const CHECKSUM_IN_TCP: usize = 16;
const SEQUENCE: u32 = 1000;

/// A frame of `len_bytes` to the other end that is of no protocol.
pub(crate) fn plain(from: [u8; 6], len_bytes: usize) -> Vec<u8> {
    let mut frame = [&PEER.0[..], &from, &PLAIN].concat();
    frame.extend((1..=u8::MAX).cycle().take(len_bytes.saturating_sub(frame.len())));
    frame.truncate(len_bytes);
    frame
}

/// The same frame in VLAN `vlan`.
pub(crate) fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at_checked(12).unwrap_or((frame, &[]));
    [addresses, &[0x81, 0x00], &vlan.to_be_bytes(), rest].concat()
}

/// What a checksum field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    Zero,
    /// Of the pseudo-header with a length of 0.
    PseudoNoLength,
    /// Of the pseudo-header.
    Pseudo,
    /// Of everything, as it is to arrive.
    Whole,
}

/// A TCP segment over IPv4.
pub(crate) struct Segment {
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
    pub(crate) ports: [u16; 2],
    pub(crate) sequence: u32,
    pub(crate) payload_bytes: usize,
    /// In the IP header: `Zero` or `Whole`.
    pub(crate) ip: Sum,
    pub(crate) tcp: Sum,
}

impl Segment {
    /// To the other end, all sums right.
    pub(crate) fn new(from: [u8; 6], payload_bytes: usize) -> Self {
        let ports = [40_000, 80];
        let sequence = SEQUENCE;
        Self { to: PEER.0, from, ports, sequence, payload_bytes, ip: Sum::Whole, tcp: Sum::Whole }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let [source, destination] = self.ports.map(u16::to_be_bytes);
        let payload: Vec<u8> = (0..=250).cycle().take(self.payload_bytes).collect();
        let tcp_bytes = u16::try_from(payload.len()).unwrap_or(0).wrapping_add(20);
        let total = tcp_bytes.wrapping_add(20).to_be_bytes();
        // Documentation addresses, 192.0.2.1 and 192.0.2.2.
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2];
        let mut ip = [&[0x45, 0][..], &total, &[0, 1, 0, 0, 64, TCP, 0, 0], &addresses].concat();
        if self.ip == Sum::Whole {
            let sum = !add(&ip);
            store(&mut ip, 10, sum);
        }
        let mut tcp = [
            &source[..],
            &destination,
            &self.sequence.to_be_bytes(),
            // Of the flags, ACK: a push would keep the device from putting frames together.
            &[0, 0, 0, 1, 0x50, 0x10, 0x10, 0, 0, 0, 0, 0],
            &payload,
        ]
        .concat();
        let pseudo = |length: u16| add(&[&addresses[..], &[0, TCP], &length.to_be_bytes()].concat());
        let sum = match self.tcp {
            Sum::Zero => 0,
            Sum::PseudoNoLength => pseudo(0),
            Sum::Pseudo => pseudo(tcp_bytes),
            Sum::Whole => !fold(u32::from(pseudo(tcp_bytes)).wrapping_add(add(&tcp).into())),
        };
        store(&mut tcp, CHECKSUM_IN_TCP, sum);
        [&self.to[..], &self.from, &[0x08, 0x00], &ip, &tcp].concat()
    }
}

/// The sum of `bytes` as 16-bit numbers, carries added.
fn add(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    fold(pairs.fold(0, u32::wrapping_add))
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff).wrapping_add(sum >> 16);
    (once & 0xffff).wrapping_add(once >> 16) as u16
}

fn store(bytes: &mut [u8], at: usize, sum: u16) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = sum.to_be_bytes();
    }
}

/// Where the frame in a tunnel starts: behind headers of Ethernet, IPv4, UDP and VXLAN.
pub(crate) const INNER: usize = 14 + 20 + 8 + 8;

/// `inner` in a VXLAN tunnel, with the addresses of its own.
pub(crate) fn tunnelled(inner: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(inner.len().saturating_add(more)).unwrap_or(0).to_be_bytes();
    let addresses = [198, 51, 100, 1, 198, 51, 100, 2];
    let mut ip = [&[0x45, 0][..], &length(36), &[0, 1, 0, 0, 64, 17, 0, 0], &addresses].concat();
    let sum = !add(&ip);
    store(&mut ip, 10, sum);
    // Port 4789, no checksum; network 1.
    let udp = [&[0xc0, 0, 0x12, 0xb5][..], &length(16), &[0, 0]].concat();
    let ethernet = inner.get(..12).unwrap_or(&[]);
    [ethernet, &[0x08, 0x00], &ip, &udp, &[8, 0, 0, 0, 0, 0, 1, 0], inner].concat()
}

/// Whether the checksums of IP and of TCP are right in a frame that starts with Ethernet's header.
pub(crate) fn sums(frame: &[u8]) -> [bool; 2] {
    let Some((ip, tcp)) = frame.get(IP..).and_then(|packet| packet.split_at_checked(20)) else {
        return [false; 2];
    };
    let length = u16::try_from(tcp.len()).unwrap_or(0).to_be_bytes();
    let pseudo = add(&[ip.get(12..).unwrap_or(&[]), &[0, TCP], &length].concat());
    [add(ip), fold(u32::from(pseudo).wrapping_add(add(tcp).into()))].map(|sum| sum == 0xffff)
}

/// Whether TCP's checksum is left to whoever sends it on: between two devices of a machine, or of a
/// host, nobody has to make it.
fn is_left_open(frame: &[u8]) -> bool {
    let length = frame.len().saturating_sub(L4);
    let length = u16::try_from(length).unwrap_or(0).to_be_bytes();
    let pseudo = add(&[frame.get(IP + 12..L4).unwrap_or(&[]), &[0, TCP], &length].concat());
    frame.get(L4 + CHECKSUM_IN_TCP..).and_then(<[u8]>::first_chunk) == Some(&pseudo.to_be_bytes())
}

/// What is wrong with what `whole` arrived as, cut at `segment_bytes`.
pub(crate) fn wrong_with(whole: &[u8], segment_bytes: usize, arrived: &[Vec<u8>]) -> Option<String> {
    let mut at = PAYLOAD;
    for (number, frame) in arrived.iter().enumerate() {
        let say = |what: &str| {
            Some(format!(
                "frame {} of {}, {} bytes, {what}",
                number.wrapping_add(1),
                arrived.len(),
                frame.len()
            ))
        };
        if arrived.len() == 1
            && frame.len() == whole.len()
            && segment_bytes < whole.len().saturating_sub(PAYLOAD)
        {
            return say("is not cut");
        }
        let end = at.saturating_add(segment_bytes).min(whole.len());
        // Of the fragment's place, and whether more follow, which says "no fragment" where it is 0.
        if frame.get(IP + 6..IP + 8).is_none_or(|place| place != [0, 0]) {
            return say("is a fragment of IP");
        }
        if frame.get(PAYLOAD..) != whole.get(at..end) {
            return say("has not the payload that was due");
        }
        let number_at = |at: usize| frame.get(at..).and_then(<[u8]>::first_chunk).copied();
        let length = number_at(IP + 2).map(|bytes| usize::from(u16::from_be_bytes(bytes)));
        if length != Some(frame.len().saturating_sub(IP)) {
            return say("has a wrong IP length");
        }
        let [ip, tcp] = sums(frame);
        if !ip {
            return say("has a wrong IP checksum");
        }
        if !tcp && is_left_open(frame) {
            return say("has the sum of its pseudo-header for a TCP checksum");
        }
        if !tcp {
            return say("has a wrong TCP checksum");
        }
        let sequence =
            frame.get(L4 + 4..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_be_bytes(*bytes));
        if sequence
            != u32::try_from(at.saturating_sub(PAYLOAD)).ok().map(|offset| SEQUENCE.wrapping_add(offset))
        {
            return say("has a wrong sequence number");
        }
        at = end;
    }
    (at != whole.len()).then(|| format!("{} frames, and not all of the payload", arrived.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// What a device that does its work makes of a segment of three times 100 bytes.
    fn cut() -> (Vec<u8>, Vec<Vec<u8>>) {
        let whole = Segment { ip: Sum::Zero, tcp: Sum::PseudoNoLength, ..Segment::new(US, 300) }.bytes();
        let parts = [0, 100, 200].map(|at| {
            let mut part = [&whole[..PAYLOAD], &whole[PAYLOAD + at..PAYLOAD + at + 100]].concat();
            part[IP + 2..IP + 4].copy_from_slice(&140_u16.to_be_bytes());
            let sequence = SEQUENCE + u32::try_from(at).unwrap();
            part[L4 + 4..L4 + 8].copy_from_slice(&sequence.to_be_bytes());
            let sum = !add(&part[IP..L4]);
            store(&mut part, IP + 10, sum);
            part[L4 + 16..L4 + 18].fill(0);
            let pseudo = add(&[&part[IP + 12..L4], &[0, TCP, 0, 120]].concat());
            let sum = !fold(u32::from(pseudo) + u32::from(add(&part[L4..])));
            store(&mut part, L4 + 16, sum);
            part
        });
        (whole, parts.into())
    }

    #[test]
    fn segments_that_are_right_are_right() {
        let (whole, parts) = cut();
        assert_eq!(wrong_with(&whole, 100, &parts), None);
        let one = Segment::new(US, 100).bytes();
        assert_eq!(wrong_with(&one, 100, core::slice::from_ref(&one)), None);
    }

    #[test]
    fn each_thing_that_may_be_wrong_is_said() {
        let (whole, parts) = cut();
        let wrong = |at: usize| {
            let mut parts = parts.clone();
            parts[1][at] ^= 1;
            wrong_with(&whole, 100, &parts).unwrap_or_default()
        };
        assert!(wrong(IP + 3).ends_with("a wrong IP length"));
        assert!(wrong(IP + 7).ends_with("a fragment of IP"));
        assert!(wrong(IP + 8).ends_with("a wrong IP checksum"));
        assert!(wrong(L4 + 1).ends_with("a wrong TCP checksum"));
        assert!(wrong(PAYLOAD).ends_with("not the payload that was due"));
        let open = Segment { tcp: Sum::Pseudo, ..Segment::new(US, 100) }.bytes();
        let said = wrong_with(&open, 100, core::slice::from_ref(&open)).unwrap_or_default();
        assert!(said.ends_with("the sum of its pseudo-header for a TCP checksum"), "{said}");
        let said = wrong_with(&whole, 100, core::slice::from_ref(&whole)).unwrap_or_default();
        assert!(said.ends_with("is not cut"), "{said}");
        assert_eq!(wrong_with(&whole, 100, &parts[..2]), Some("2 frames, and not all of the payload".into()));
        let again = [&parts[..1], &parts[..1], &parts[2..]].concat();
        assert!(wrong_with(&whole, 100, &again).is_some());
        let mut shifted = parts.clone();
        shifted[1][L4 + 7] ^= 1;
        // The sum made up for, so that nothing but the number is wrong.
        shifted[1][L4 + 11] ^= 1;
        let said = wrong_with(&whole, 100, &shifted).unwrap_or_default();
        assert!(said.ends_with("a wrong sequence number"), "{said}");
    }
}
