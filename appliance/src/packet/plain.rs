//! A packet of IPv4 with nothing particular about it, in the words in which a frame begins.
//!
//! Nearly all packets are such, and most are passed on: one read of a few words, a few comparisons,
//! and one write. What is no such packet is none that is wrong: [`Packet`](super::Packet) says what
//! it is.

use paravane_net::{FrameSegment, FrameSegmentMut};

use super::edit::{Change, Hop, of_less};
use super::sum::Sum;
use super::wire::{ETHERNET_BYTES, IPV4_BYTES, PROTOCOL_TCP, PROTOCOL_UDP, TCP_BYTES, UDP_BYTES};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link([u64; 2]);

impl From<Hop> for Link {
    fn from(Hop { destination, source }: Hop) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination.0, source.0);
        Self([[a, b, c, d, e, f, g, h], [i, j, k, l, 0, 0, 0, 0]].map(u64::from_le_bytes))
    }
}

impl Link {
    /// From nobody to nobody.
    pub const NONE: Self = Self([0; 2]);

    /// Whom it is for, with nothing else beside.
    #[inline(always)]
    const fn destination(self) -> u64 {
        let Self([first, _]) = self;
        first << 16
    }
}

impl Plain {
    /// Of nothing.
    pub const NONE: Self = Self { words: [0; WORDS] };

    /// Reads the headers of the frame that begins with `frame`; `None` of whatever is not such a
    /// packet.
    ///
    /// Spec: as [`Ipv4`](super::Ipv4).
    #[inline(always)]
    pub fn read(frame: FrameSegment<'_>) -> Option<Self> {
        if !frame.is_plain() {
            return None;
        }
        let words: [u64; WORDS] = frame.read(0)?;
        let plain = Self { words: words.map(u64::from_le) };
        let [_, second, ..] = plain.words;
        let is_plain = second >> 32 & 0xff_ffff == IPV4_WITHOUT_OPTIONS
            // Not shorter than its header, nor longer than the frame, which has room for that.
            && plain.total_bytes().wrapping_sub(IPV4_BYTES)
                <= frame.len_bytes().wrapping_sub(ETHERNET_BYTES + IPV4_BYTES)
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

    /// Both addresses, source first, in one word.
    #[inline(always)]
    #[must_use]
    pub const fn addresses(self) -> u64 {
        let [.., fourth, fifth] = self.words;
        fourth >> 16 | fifth << 48
    }

    /// Both ports, source first, in one word; of TCP and UDP.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "its four bytes")]
    pub const fn ports(self) -> u32 {
        let [.., fifth] = self.words;
        (fifth >> 16) as u32
    }

    /// What a TCP header says behind the ports, where the packet carries one that is whole.
    #[inline(always)]
    #[must_use]
    pub fn tcp(self, frame: FrameSegment<'_>) -> Option<Tcp> {
        let room = self.total_bytes().wrapping_sub(IPV4_BYTES);
        if self.protocol() != PROTOCOL_TCP || room < TCP_BYTES {
            return None;
        }
        let rest: [u32; 3] = frame.read(REST_AT)?;
        Tcp::of(self.behind_ports(), rest.map(u32::from_le), room)
    }

    /// The checksum of a UDP header, where the packet carries one, and is as long as it says; zero
    /// where there is none.
    #[inline(always)]
    #[must_use]
    pub fn udp(self, frame: FrameSegment<'_>) -> Option<u16> {
        let room = self.total_bytes().wrapping_sub(IPV4_BYTES);
        let len_bytes = usize::from(self.behind_ports());
        let is_whole = self.protocol() == PROTOCOL_UDP && (UDP_BYTES..=room).contains(&len_bytes);
        if is_whole { frame.read(REST_AT).map(u16::from_be) } else { None }
    }

    /// The two bytes there.
    #[inline(always)]
    const fn behind_ports(self) -> u16 {
        let [.., fifth] = self.words;
        ((fifth >> 48) as u16).swap_bytes()
    }

    /// Passes `frame` on with other ends, from which it and the `checksum` of its TCP or UDP header
    /// were read, as [`rewrite`](super::edit::rewrite) and [`forward`](super::edit::forward) do.
    /// False where it is another frame, or may not be passed on once more.
    #[inline(always)]
    #[must_use = "false says that the frame may be changed in part"]
    pub fn forward_as(
        self,
        frame: &mut FrameSegmentMut<'_>,
        checksum: u16,
        to: PlainEnds,
        link: Link,
    ) -> bool {
        let ([_, second, third, fourth, fifth], Link([there, from])) = (self.words, link);
        let PlainEnds { addresses, ports, change: Change { addresses: addresses_sum, ports: ports_sum } } =
            to;
        // Asked again, it says where the packet begins.
        if self.hops_left() <= 1 || !frame.look().is_plain() {
            return false;
        }
        let changed = Sum::ZERO.and(addresses_sum);
        #[expect(clippy::cast_possible_truncation, reason = "the checksum")]
        let of_header = changed.without(0x100).applied_to((fourth as u16).swap_bytes());
        let front = [
            there,
            second & !0xffff_ffff | from,
            third.wrapping_sub(1 << TTL_AT),
            u64::from(of_header.swap_bytes()) | addresses << 16,
            fifth & !0xffff_ffff_ffff | addresses >> 48 | u64::from(ports) << 16,
        ];
        let front = (0, &front.map(u64::to_le));
        let then = changed.and(ports_sum).applied_to(checksum);
        let is_written = if self.protocol() == PROTOCOL_TCP {
            frame.write_both(front, (TCP_CHECKSUM_AT, &then.to_be()))
        } else {
            // None stays none, and zero would say that there is none.
            let then = match (checksum, then) {
                (0, _) => 0,
                (_, 0) => 0xffff,
                _ => then,
            };
            frame.write_both(front, (REST_AT, &then.to_be()))
        };
        is_written && self.ends(frame)
    }

    /// Takes off what is behind the packet.
    #[inline(always)]
    fn ends(self, frame: &mut FrameSegmentMut<'_>) -> bool {
        let end_bytes = self.total_bytes().saturating_add(ETHERNET_BYTES);
        frame.look().len_bytes() == end_bytes || frame.truncate(end_bytes)
    }

    /// Passes `frame` on, from which it was read, as [`forward`](super::edit::forward) does. False
    /// where it is another frame, or may not be passed on once more.
    #[inline(always)]
    #[must_use = "false says that the frame may be changed in part"]
    pub fn forward(self, frame: &mut FrameSegmentMut<'_>, link: Link) -> bool {
        let ([_, second, third, fourth, _], Link([to, from])) = (self.words, link);
        // Asked again, it says where the packet begins.
        if self.hops_left() <= 1 || !frame.look().is_plain() {
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
        frame.write(0, &front.map(u64::to_le)) && self.ends(frame)
    }
}

/// The ends that a plain packet is to have, in the words in which it has them.
#[derive(Clone, Copy, Debug)]
pub struct PlainEnds {
    /// As [`addresses`](Plain::addresses).
    pub addresses: u64,
    /// As [`ports`](Plain::ports).
    pub ports: u32,
    /// By how much these change sums.
    pub change: Change,
}

impl PlainEnds {
    /// Whom it is for, then.
    #[inline(always)]
    #[must_use]
    pub const fn destination(self) -> [u8; 4] {
        ((self.addresses >> 32) as u32).to_le_bytes()
    }
}

/// What a TCP header says behind the ports.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// The number of the first byte.
    pub sequence: u32,
    /// The number of the next byte that its sender expects.
    pub acknowledgement: u32,
    /// How much data follows the header.
    pub data_bytes: u32,
    /// As it stands there.
    pub window: u16,
    /// Likewise.
    pub checksum: u16,
    /// The eight that have been told from the beginning.
    pub flags: u8,
}

impl Tcp {
    /// Of the two bytes behind the ports and the twelve behind those, where there is so much room;
    /// `None` where the header is longer than that.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "fields of words, and packets below 64 KiB")]
    const fn of(first: u16, [second, third, last]: [u32; 3], room: usize) -> Option<Self> {
        let header_bytes = (third >> 20 & 0xf) as usize * 4;
        if header_bytes < TCP_BYTES || header_bytes > room {
            return None;
        }
        Some(Self {
            sequence: (first as u32) << 16 | (second as u16).swap_bytes() as u32,
            acknowledgement: (second >> 16 | third << 16).swap_bytes(),
            data_bytes: (room - header_bytes) as u32,
            window: (last as u16).swap_bytes(),
            checksum: ((last >> 16) as u16).swap_bytes(),
            flags: (third >> 24) as u8,
        })
    }
}

/// Where the words end that are read first, and the rest of a TCP or UDP header begins.
const REST_AT: usize = WORDS * 8;
/// Where a plain packet's TCP or UDP header begins.
pub(crate) const TCP_AT: usize = ETHERNET_BYTES + IPV4_BYTES;
const TCP_CHECKSUM_AT: usize = TCP_AT + 16;
const _: () = assert!(REST_AT == ETHERNET_BYTES + IPV4_BYTES + 6, "behind the ports, and two bytes");

/// The bytes behind the Ethernet addresses: 8, 0, 0x45.
const IPV4_WITHOUT_OPTIONS: u64 = 0x45_0008;
/// Where the time to live is in the third word.
const TTL_AT: u32 = 48;

const _: () = assert!(WORDS * 8 >= ETHERNET_BYTES + IPV4_BYTES, "so that `frame` has room for the headers");

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
