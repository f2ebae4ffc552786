//! What of a TCP segment moves a connection.

use paravane_net::Frame;

use crate::packet::plain::{Plain, TCP_AT, Tcp};
use crate::packet::wire::{IPV4_BYTES, TCP_BYTES};
use crate::packet::{Body, Packet, Transport};

/// The sender has said its last.
pub(super) const FIN: u8 = 1;
/// A connection begins.
pub(super) const SYN: u8 = 1 << 1;
/// A connection is cut off.
pub(super) const RST: u8 = 1 << 2;
/// Something is acknowledged.
pub(super) const ACK: u8 = 1 << 4;

/// Numbers and flags of a segment. One that a device put together of several counts as a long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    /// Its data, and one for each SYN and FIN.
    len: u32,
    pub(super) window: u16,
    flags: u8,
    /// By how many bits windows are shifted; of a SYN that says so.
    pub(super) scale: Option<u8>,
}

impl Segment {
    /// None.
    pub(crate) const NONE: Self =
        Self { sequence: 0, acknowledgement: 0, len: 0, window: 0, flags: 0, scale: None };

    /// Of a packet; `None` of one that is not TCP, or is part of one.
    #[must_use]
    #[inline]
    pub fn of(packet: &Packet, transport: &Transport, frame: &Frame) -> Option<Self> {
        let Transport::Tcp(header, at_bytes) = transport else { return None };
        let end_bytes = match &packet.body {
            Body::V4(ip) if !ip.is_fragment() => ip.at_bytes.wrapping_add(ip.total_bytes()),
            Body::V6(ip) => ip.at_bytes.wrapping_add(ip.total_bytes()),
            _ => return None,
        };
        let header_bytes = usize::from(header.offset_flags.get() >> 12) * 4;
        // The header was found to end within the packet.
        let data_bytes = end_bytes.wrapping_sub(at_bytes.wrapping_add(header_bytes));
        let [_, flags] = header.offset_flags.get().to_be_bytes();
        #[expect(clippy::cast_possible_truncation, reason = "a packet is shorter than 64 KiB")]
        let mut segment = Self::from(&Tcp {
            sequence: header.sequence.get(),
            acknowledgement: header.acknowledgement.get(),
            flags,
            window: header.window.get(),
            checksum: header.checksum.get(),
            data_bytes: data_bytes as u32,
        });
        if segment.is(SYN) {
            segment.scale = scale(frame, *at_bytes, header_bytes);
        }
        Some(segment)
    }

    /// One without data that says just that.
    pub(crate) const fn bare(
        flags: u8,
        sequence: u32,
        acknowledgement: u32,
        window: u16,
        scale: Option<u8>,
    ) -> Self {
        Self { sequence, acknowledgement, len: (flags & SYN != 0) as u32, window, flags, scale }
    }

    /// Whether it begins a connection.
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.is(SYN) && !self.is(ACK)
    }

    /// Of a header whose options say nothing to us: one with which nobody begins or cuts off
    /// anything.
    #[inline(always)]
    pub(crate) fn data(tcp: &Tcp) -> Option<Self> {
        if tcp.flags & (SYN | RST) != 0 {
            return None;
        }
        Some(Self::from(tcp))
    }

    /// Of a plain packet's header, if that begins a connection and says nothing else, and how long
    /// it is.
    pub(crate) fn syn(plain: Plain, tcp: &Tcp, frame: &Frame) -> Option<(Self, usize)> {
        let segment = Self::from(tcp);
        if segment.flags & (FIN | SYN | RST | ACK) != SYN {
            return None;
        }
        let header_bytes = plain.total_bytes().wrapping_sub(IPV4_BYTES).wrapping_sub(tcp.data_bytes as usize);
        Some((Self { scale: scale(frame, TCP_AT, header_bytes), ..segment }, header_bytes))
    }

    /// The number behind its last byte.
    #[inline(always)]
    pub(super) const fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.len)
    }

    /// Whether it has any of `flags`.
    #[inline(always)]
    pub(super) const fn is(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Whether it neither begins a connection nor cuts it off, and acknowledges something.
    #[inline(always)]
    pub(super) const fn is_usual(&self) -> bool {
        self.flags & (SYN | RST | ACK) == ACK
    }

    /// Whether anybody sends such flags together.
    pub(crate) const fn is_sane(&self) -> bool {
        const SYN_ACK: u8 = SYN | ACK;
        const RST_ACK: u8 = RST | ACK;
        const FIN_ACK: u8 = FIN | ACK;
        matches!(self.flags & (FIN | SYN | RST | ACK), ACK | SYN | SYN_ACK | FIN_ACK | RST | RST_ACK)
    }
}

/// Without options.
impl From<&Tcp> for Segment {
    #[inline(always)]
    fn from(tcp: &Tcp) -> Self {
        let Tcp { sequence, acknowledgement, flags, window, data_bytes, .. } = *tcp;
        let numbered = u32::from(flags & SYN != 0).wrapping_add((flags & FIN != 0).into());
        let len = data_bytes.wrapping_add(numbered);
        Self { sequence, acknowledgement, len, window, flags, scale: None }
    }
}

/// The window scale that a SYN says.
///
/// Spec: RFC 7323, 2.2 "Window Scale Option".
#[cold]
fn scale(frame: &Frame, at_bytes: usize, header_bytes: usize) -> Option<u8> {
    const OPTION_END: u8 = 0;
    const OPTION_NOTHING: u8 = 1;
    const OPTION_SCALE: u8 = 3;
    const OPTION_SCALE_BYTES: u8 = 3;
    let end = at_bytes.saturating_add(header_bytes);
    let mut at = at_bytes.saturating_add(TCP_BYTES);
    // Ends: each turn goes on by a byte at least.
    while at < end {
        let [kind, len_bytes] = match frame.read::<u8>(at)? {
            OPTION_END => return None,
            OPTION_NOTHING => [OPTION_NOTHING, 1],
            kind => [kind, frame.read(at.saturating_add(1))?],
        };
        let next = at.saturating_add(len_bytes.into());
        if len_bytes < 2 && kind != OPTION_NOTHING || next > end {
            return None;
        }
        if kind == OPTION_SCALE && len_bytes == OPTION_SCALE_BYTES {
            return frame.read(at.saturating_add(2));
        }
        at = next;
    }
    None
}

#[cfg(test)]
impl Segment {
    /// One that says just that.
    pub(crate) const fn test(flags: u8, sequence: u32, acknowledgement: u32, data_bytes: u32) -> Self {
        let len = data_bytes + (flags & SYN != 0) as u32 + (flags & FIN != 0) as u32;
        Self { sequence, acknowledgement, len, window: 1000, flags, scale: None }
    }
}
