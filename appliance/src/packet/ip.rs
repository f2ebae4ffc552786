//! The Internet headers, of either version.

use core::net::{Ipv4Addr, Ipv6Addr};

use paravane_net::Frame;

use super::Malformed;
use super::sum::Sum;
use super::wire::{
    EXTENSION_DESTINATION, EXTENSION_FRAGMENT, EXTENSION_HOP_BY_HOP, EXTENSION_ROUTING, IPV4_BYTES,
    IPV4_DONT_FRAGMENT, IPV4_MORE_FRAGMENTS, IPV4_OFFSET, IPV6_BYTES, Ipv4Header, Ipv6Header,
};

/// An IPv4 header that is whole and may be passed on.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4 {
    /// As it was.
    pub header: Ipv4Header,
    /// Where it begins in its frame.
    pub at_bytes: usize,
}

impl Ipv4 {
    /// Looks at the `header` that begins `at_bytes` into `frame`.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    ///
    /// Spec: RFC 1812, 5.2.2 "IP Header Validation", 5.3.7 "Martian Address Filtering".
    #[inline(always)]
    pub(super) fn of(header: Ipv4Header, frame: &Frame, at_bytes: usize) -> Result<Self, Malformed> {
        let ip = Self { header, at_bytes };
        if header.version_length >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let (header_bytes, total_bytes) = (ip.header_bytes(), ip.total_bytes());
        if header_bytes < IPV4_BYTES
            || total_bytes < header_bytes
            || !reaches(frame, at_bytes.saturating_add(total_bytes))
        {
            return Err(Malformed::Length);
        }
        let mut sum = Sum::ZERO.and_bytes(zerocopy::IntoBytes::as_bytes(&header));
        if header_bytes > IPV4_BYTES {
            sum = ip.options(frame, sum)?;
        }
        if sum.folded() != 0xffff {
            return Err(Malformed::HeaderChecksum);
        }
        if is_no_source_v4(ip.source()) { Err(Malformed::Source) } else { Ok(ip) }
    }

    /// Looks through the options, and adds them to `sum`.
    #[cold]
    fn options(&self, frame: &Frame, mut sum: Sum) -> Result<Sum, Malformed> {
        let mut options = [0_u8; MAX_OPTIONS_BYTES];
        let len = self.header_bytes().saturating_sub(IPV4_BYTES);
        let at = self.at_bytes.saturating_add(IPV4_BYTES);
        let (words, _) = options.as_chunks_mut::<4>();
        for (index, word) in words.iter_mut().enumerate().take(len / 4) {
            *word = frame.read(at.saturating_add(index * 4)).ok_or(Malformed::TooShort)?;
        }
        let mut rest = options.get(..len).ok_or(Malformed::Length)?;
        sum = sum.and_bytes(rest);
        // Ends: each turn but the last takes a byte at least.
        while let [kind, after @ ..] = rest {
            rest = match *kind {
                OPTION_END => break,
                OPTION_NOTHING => after,
                OPTION_LOOSE_ROUTE | OPTION_STRICT_ROUTE => return Err(Malformed::SourceRoute),
                _ => match after.first() {
                    Some(len_bytes @ 2..) => rest.get(usize::from(*len_bytes)..).ok_or(Malformed::Length)?,
                    _ => return Err(Malformed::Length),
                },
            };
        }
        Ok(sum)
    }

    /// Length of the header, options included.
    #[must_use]
    #[inline(always)]
    pub fn header_bytes(&self) -> usize {
        usize::from(self.header.version_length & 0xf) * 4
    }

    /// Length of the packet, header included.
    #[must_use]
    #[inline(always)]
    pub fn total_bytes(&self) -> usize {
        self.header.total_bytes.get().into()
    }

    /// Who sent it.
    #[must_use]
    #[inline(always)]
    pub fn source(&self) -> Ipv4Addr {
        self.header.source.into()
    }

    /// Whom it is for.
    #[must_use]
    #[inline(always)]
    pub fn destination(&self) -> Ipv4Addr {
        self.header.destination.into()
    }

    /// Whether a router may not cut it.
    #[must_use]
    #[inline(always)]
    pub fn dont_fragment(&self) -> bool {
        self.header.fragment.get() & IPV4_DONT_FRAGMENT != 0
    }

    /// Whether it is part of a packet.
    #[must_use]
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.header.fragment.get() & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET) != 0
    }

    /// Whether what is in it begins elsewhere: it is a part, and not the first one.
    #[must_use]
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.header.fragment.get() & IPV4_OFFSET != 0
    }
}

/// An IPv6 header that is whole and may be passed on.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6 {
    /// As it was.
    pub header: Ipv6Header,
    /// Where it begins in its frame.
    pub at_bytes: usize,
}

/// Where what an IPv6 packet carries is, behind its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// What it is.
    pub protocol: u8,
    /// Where it begins in the frame.
    pub at_bytes: usize,
    /// It is part of a packet.
    pub is_fragment: bool,
    /// What is in it begins elsewhere.
    pub is_later_fragment: bool,
}

impl Ipv6 {
    /// Looks at the `header` that begins `at_bytes` into `frame`.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    ///
    /// Spec: RFC 8200, 3; RFC 4291, 2.7 (no source is a multicast address).
    #[inline(always)]
    pub(super) fn of(header: Ipv6Header, frame: &Frame, at_bytes: usize) -> Result<Self, Malformed> {
        let ip = Self { header, at_bytes };
        if header.version_class_flow.get() >> 28 != 6 {
            return Err(Malformed::Version);
        }
        if !reaches(frame, at_bytes.saturating_add(ip.total_bytes())) {
            return Err(Malformed::Length);
        }
        let source = ip.source();
        if source.is_multicast() || source.is_loopback() {
            return Err(Malformed::Source);
        }
        if matches!(
            header.next_header,
            EXTENSION_HOP_BY_HOP | EXTENSION_ROUTING | EXTENSION_DESTINATION | EXTENSION_FRAGMENT
        ) {
            ip.upper(frame)?;
        }
        Ok(ip)
    }

    /// What it carries, behind its extension headers, of which there are eight at most.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: the headers do not end in the frame's first segment, or ask for a route of
    /// their own.
    ///
    /// Spec: RFC 8200, 4 "IPv6 Extension Headers"; RFC 5095 (type 0 is to be ignored, and answered
    /// with an error).
    #[inline]
    pub fn upper(&self, frame: &Frame) -> Result<Upper, Malformed> {
        let mut upper = Upper {
            protocol: self.header.next_header,
            at_bytes: self.at_bytes.saturating_add(IPV6_BYTES),
            is_fragment: false,
            is_later_fragment: false,
        };
        for _ in 0..=MAX_EXTENSIONS {
            let is_extension = matches!(
                upper.protocol,
                EXTENSION_HOP_BY_HOP | EXTENSION_ROUTING | EXTENSION_DESTINATION | EXTENSION_FRAGMENT
            );
            if !is_extension || upper.is_later_fragment {
                return Ok(upper);
            }
            self.step_over(frame, &mut upper)?;
        }
        Err(Malformed::Length)
    }

    /// Steps over the extension header at `upper`.
    #[cold]
    fn step_over(&self, frame: &Frame, upper: &mut Upper) -> Result<(), Malformed> {
        let extension: [u8; 8] = frame.read(upper.at_bytes).ok_or(Malformed::TooShort)?;
        let [next, len_units, kind_or_offset, low, ..] = extension;
        let len_bytes = match upper.protocol {
            EXTENSION_FRAGMENT => {
                let offset_more = u16::from_be_bytes([kind_or_offset, low]);
                upper.is_later_fragment = offset_more & !7 != 0;
                // A second one does not take back what the first one says.
                upper.is_fragment |= offset_more & !6 != 0;
                8
            }
            EXTENSION_ROUTING if kind_or_offset == 0 => return Err(Malformed::SourceRoute),
            _ => usize::from(len_units).saturating_add(1).saturating_mul(8),
        };
        upper.protocol = next;
        upper.at_bytes = upper.at_bytes.saturating_add(len_bytes);
        let end = self.at_bytes.saturating_add(self.total_bytes());
        if upper.at_bytes > end { Err(Malformed::Length) } else { Ok(()) }
    }

    /// Length of the packet, header included.
    #[must_use]
    #[inline(always)]
    pub fn total_bytes(&self) -> usize {
        usize::from(self.header.payload_bytes.get()).saturating_add(IPV6_BYTES)
    }

    /// Who sent it.
    #[must_use]
    #[inline(always)]
    pub fn source(&self) -> Ipv6Addr {
        self.header.source.into()
    }

    /// Whom it is for.
    #[must_use]
    #[inline(always)]
    pub fn destination(&self) -> Ipv6Addr {
        self.header.destination.into()
    }
}

/// The longest that options of IPv4 are.
const MAX_OPTIONS_BYTES: usize = 40;
/// End of options.
const OPTION_END: u8 = 0;
/// An option of one byte that says nothing.
const OPTION_NOTHING: u8 = 1;
/// A loose source route.
const OPTION_LOOSE_ROUTE: u8 = 131;
/// A strict source route.
const OPTION_STRICT_ROUTE: u8 = 137;
/// More extension headers than any packet has that is meant well.
const MAX_EXTENSIONS: usize = 8;

/// Whether `frame` is at least as long. Most have one segment, and no more are looked at then.
#[inline(always)]
fn reaches(frame: &Frame, end_bytes: usize) -> bool {
    end_bytes <= frame.segment_bytes() || end_bytes <= frame.total_bytes()
}

/// Whether no host sends from there: not from group addresses, itself, or a net that is reserved.
///
/// Spec: RFC 1122, 3.2.1.3; RFC 1812, 5.3.7.
#[inline(always)]
fn is_no_source_v4(source: Ipv4Addr) -> bool {
    let [first, ..] = source.octets();
    first == 0 || first == 127 || first >= 224
}
