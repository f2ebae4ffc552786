//! A packet of IPv4 with nothing particular about it, in the words in which a frame begins.
//!
//! Nearly all packets are such, and most are passed on: one read of a few words, a few comparisons,
//! and one write. What is no such packet is none that is wrong: [`Packet`](super::Packet) says what
//! it is.

use paravane_net::Frame;

use super::edit::{Addresses, Hop, Rewrite, of_less};
use super::sum::Sum;
use super::wire::{ETHERNET_BYTES, IPV4_BYTES, PROTOCOL_TCP, PROTOCOL_UDP, TCP_BYTES, TcpHeader, UDP_BYTES};

/// The headers and what is behind them, in words.
const WORDS: usize = 5;

/// An IPv4 packet that is whole, has no options and asks nothing of a device, in a frame of one
/// segment.
///
/// ```text
///  bytes  0 ........... 7   8 .......... 15   16 ........ 23   24 ......... 31   32 ..
///         destination, so-  -urce, 0x0800,    total bytes,     checksum,         -nation
///                           0x45, class       id, fragment,    source, desti-
///                                             ttl, protocol
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    /// The first byte is the lowest.
    words: [u64; WORDS],
}

/// The Ethernet addresses with which frames go on, as a frame's first words have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link([u64; 2]);

impl From<Hop> for Link {
    fn from(Hop { destination, source }: Hop) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination.0, source.0);
        Self([[a, b, c, d, e, f, g, h], [i, j, k, l, 0, 0, 0, 0]].map(u64::from_le_bytes))
    }
}

impl Link {
    /// Whom it is for, with nothing else beside.
    #[inline(always)]
    const fn destination(self) -> u64 {
        let Self([first, _]) = self;
        first << 16
    }
}

impl Plain {
    /// Reads the headers of `frame`; `None` of whatever is not such a packet.
    ///
    /// Spec: as [`Ipv4`](super::Ipv4).
    #[inline(always)]
    pub fn read(frame: &Frame) -> Option<Self> {
        if !frame.first_segment().is_plain() {
            return None;
        }
        let words: [u64; WORDS] = frame.read(0)?;
        let plain = Self { words: words.map(u64::from_le) };
        let [_, second, ..] = plain.words;
        let is_plain = second >> 32 & 0xff_ffff == IPV4_WITHOUT_OPTIONS
            // Not shorter than its header, nor longer than the frame, which has room for that.
            && plain.total_bytes().wrapping_sub(IPV4_BYTES)
                <= frame.segment_bytes().wrapping_sub(ETHERNET_BYTES + IPV4_BYTES)
            && plain.sum_holds();
        is_plain.then_some(plain)
    }

    /// Whether its header's sum is right: in ones' complement that is zero, and then the header, as
    /// a number of any length, is divided by 2¹⁶ − 1.
    ///
    /// Spec: RFC 1071, 2.
    #[inline(always)]
    const fn sum_holds(self) -> bool {
        let [_, second, third, fourth, fifth] = self.words;
        let ends = (second >> 48 | fifth << 16) & 0xffff_ffff;
        // What is carried out of 64 bits comes back as one, which 2⁶⁴ leaves, divided by that.
        let (sum, carry) = third.overflowing_add(fourth);
        let (sum, more) = sum.overflowing_add(ends.wrapping_add(carry as u64));
        sum.wrapping_add(more as u64).is_multiple_of(0xffff)
    }

    /// Whether the frame is for the station that `link` is for.
    #[inline(always)]
    #[must_use]
    pub const fn is_for(self, link: Link) -> bool {
        let [first, ..] = self.words;
        first << 16 == link.destination()
    }

    /// Length of the packet, header included.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "its two bytes")]
    pub const fn total_bytes(self) -> usize {
        let [_, _, third, ..] = self.words;
        (third as u16).swap_bytes() as usize
    }

    /// How many routers may still pass it on.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "its byte")]
    pub const fn hops_left(self) -> u8 {
        let [_, _, third, ..] = self.words;
        (third >> TTL_AT) as u8
    }

    /// Who sent it.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "its four bytes")]
    pub const fn source(self) -> [u8; 4] {
        let [.., fourth, _] = self.words;
        ((fourth >> 16) as u32).to_le_bytes()
    }

    /// Whom it is for.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "its four bytes")]
    pub const fn destination(self) -> [u8; 4] {
        let [.., fourth, fifth] = self.words;
        ((fourth >> 48 | fifth << 16) as u32).to_le_bytes()
    }

    /// What it carries.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(self) -> u8 {
        let [_, _, third, ..] = self.words;
        (third >> 56) as u8
    }

    /// Whether it is part of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(self) -> bool {
        let [_, _, third, ..] = self.words;
        // The bytes at 20 and 21, of which the flag that says not to cut it does not count.
        third >> 32 & 0xff_bf != 0
    }

    /// The ports, source first; of TCP and UDP.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "two bytes each")]
    pub const fn ports(self) -> [u16; 2] {
        let [.., fifth] = self.words;
        [((fifth >> 16) as u16).swap_bytes(), ((fifth >> 32) as u16).swap_bytes()]
    }

    /// What follows the ports, of TCP and UDP; `None` of others, and where the header is not whole.
    #[inline(always)]
    #[must_use]
    pub fn carried(self, frame: &Frame) -> Option<Carried> {
        let room = self.total_bytes().wrapping_sub(IPV4_BYTES);
        match self.protocol() {
            PROTOCOL_TCP if room >= TCP_BYTES => self.tcp(frame, room),
            PROTOCOL_UDP if room >= UDP_BYTES => {
                let [.., fifth] = self.words;
                let len_bytes = usize::from(((fifth >> 48) as u16).swap_bytes());
                let checksum = u16::from_be(frame.read(REST_AT)?);
                (UDP_BYTES..=room).contains(&len_bytes).then_some(Carried::Udp { checksum })
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn tcp(self, frame: &Frame, room: usize) -> Option<Carried> {
        let [.., fifth] = self.words;
        let rest: [u16; 7] = frame.read(REST_AT)?;
        let [low, ack_high, ack_low, offset_flags, window, checksum, urgent] = rest.map(u16::from_be);
        let high = ((fifth >> 48) as u16).swap_bytes();
        let [source_port, destination_port] = self.ports();
        let header = TcpHeader {
            source_port: source_port.into(),
            destination_port: destination_port.into(),
            sequence: (u32::from(high) << 16 | u32::from(low)).into(),
            acknowledgement: (u32::from(ack_high) << 16 | u32::from(ack_low)).into(),
            offset_flags: offset_flags.into(),
            window: window.into(),
            checksum: checksum.into(),
            urgent: urgent.into(),
        };
        let header_bytes = usize::from(offset_flags >> 12) * 4;
        if header_bytes < TCP_BYTES || header_bytes > room {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a packet is shorter than 64 KiB")]
        let data_bytes = (room - header_bytes) as u32;
        Some(Carried::Tcp { header, data_bytes })
    }

    /// Passes `frame` on with other ends, from which it and `carried` were read, as
    /// [`rewrite`](super::edit::rewrite) and [`forward`](super::edit::forward) do. False where it
    /// is another frame, or may not be passed on once more, or the ends are of IPv6.
    #[inline(always)]
    #[must_use = "false says that the frame may be changed in part"]
    pub fn forward_as(self, frame: &mut Frame, carried: &Carried, to: &Rewrite, link: Link) -> bool {
        let ([_, second, third, fourth, fifth], Link([there, from])) = (self.words, link);
        let Addresses::V4(source, destination) = to.to else { return false };
        if self.hops_left() <= 1 || !frame.first_segment().is_plain() {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the checksum")]
        let checksum = of_less((fourth as u16).swap_bytes(), 0x100);
        let checksum = Sum::ZERO.and(to.addresses_sum).applied_to(checksum);
        let [source, destination] = [source, destination].map(u32::from_le_bytes).map(u64::from);
        let [source_port, destination_port] = to.ports.map(u16::swap_bytes).map(u64::from);
        let front = [
            there,
            second & !0xffff_ffff | from,
            third.wrapping_sub(1 << TTL_AT),
            u64::from(checksum.swap_bytes()) | source << 16 | destination << 48,
            fifth & !0xffff_ffff_ffff | destination >> 16 | source_port << 16 | destination_port << 32,
        ];
        let changed = Sum::ZERO.and(to.addresses_sum).and(to.ports_sum);
        let end_bytes = self.total_bytes().saturating_add(ETHERNET_BYTES);
        frame.write(0, &front.map(u64::to_le))
            && carried.write(frame, changed)
            && (frame.segment_bytes() == end_bytes || frame.set_segment_bytes(end_bytes))
    }

    /// Passes `frame` on, from which it was read, as [`forward`](super::edit::forward) does. False
    /// where it is another frame, or may not be passed on once more.
    #[inline(always)]
    #[must_use = "false says that the frame may be changed in part"]
    pub fn forward(self, frame: &mut Frame, link: Link) -> bool {
        let ([_, second, third, fourth, _], Link([to, from])) = (self.words, link);
        // Asked again, it says where the packet begins.
        if self.hops_left() <= 1 || !frame.first_segment().is_plain() {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the checksum")]
        // Its bytes are the other way round here, and so are those of what it is changed by.
        let checksum = of_less(fourth as u16, 1);
        let front = [
            to,
            second & !0xffff_ffff | from,
            third.wrapping_sub(1 << TTL_AT),
            fourth & !0xffff | checksum as u64,
        ];
        let end_bytes = self.total_bytes().saturating_add(ETHERNET_BYTES);
        frame.write(0, &front.map(u64::to_le))
            && (frame.segment_bytes() == end_bytes || frame.set_segment_bytes(end_bytes))
    }
}

/// What follows the ports of a plain packet.
#[derive(Clone, Copy, Debug)]
pub enum Carried {
    /// TCP.
    Tcp {
        /// Its header.
        header: TcpHeader,
        /// How much data follows it.
        data_bytes: u32,
    },
    /// UDP.
    Udp {
        /// Zero where there is none.
        checksum: u16,
    },
}

impl Carried {
    /// Writes the checksum of what changed so.
    #[inline(always)]
    fn write(&self, frame: &mut Frame, changed: Sum) -> bool {
        let (at_bytes, checksum) = match self {
            Self::Tcp { header, .. } => (TCP_CHECKSUM_AT, changed.applied_to(header.checksum.get())),
            Self::Udp { checksum: 0 } => return true,
            Self::Udp { checksum } => match changed.applied_to(*checksum) {
                // That would say that there is none.
                0 => (REST_AT, 0xffff),
                checksum => (REST_AT, checksum),
            },
        };
        frame.write(at_bytes, &checksum.to_be())
    }
}

/// Where the words end that are read first, and the rest of a TCP or UDP header begins.
const REST_AT: usize = WORDS * 8;
const TCP_CHECKSUM_AT: usize = ETHERNET_BYTES + IPV4_BYTES + 16;
const _: () = assert!(REST_AT == ETHERNET_BYTES + IPV4_BYTES + 6, "behind the ports, and two bytes");

/// The bytes behind the Ethernet addresses: 8, 0, 0x45.
const IPV4_WITHOUT_OPTIONS: u64 = 0x45_0008;
/// Where the time to live is in the third word.
const TTL_AT: u32 = 48;

const _: () = assert!(WORDS * 8 >= ETHERNET_BYTES + IPV4_BYTES, "so that `frame` has room for the headers");

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
