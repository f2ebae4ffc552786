//! Changes of a frame's headers, written back where they were read: in few writes, and nothing
//! is read again.
//!
//! A checksum from end to end is changed by as much as the change of what it covers, and never made
//! anew: whoever damaged the packet before, its receiver notices. What the device that received it
//! found is carried on as it is: `Good` and `Unverified` change nothing here. The checksum of a
//! frame that is asked to be completed, or came in [partial](paravane_net::RxChecksum::Partial), is
//! *open*: its field holds the sum of the pseudo-header, so new addresses change it, and nothing
//! else does.

mod mss;
mod quoted;
mod renumber;
mod rewrite;

use core::cmp::Ordering;

use paravane_net::{Frame, MacAddr};
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::sum::Sum;
use super::wire::{ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader};
use super::{Body, Packet};

pub use mss::clamp_mss;
pub(crate) use mss::clamp_mss_at;
pub use quoted::rewrite_quoted;
pub(crate) use renumber::shifted;
pub use renumber::{Renumber, Shift, renumber, renumber_quoted};
pub use rewrite::{Change, Ends, Rewrite, rewrite};

/// The Ethernet addresses with which a frame goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Whom it is for: the next hop.
    pub destination: MacAddr,
    /// Who sends it: our interface.
    pub source: MacAddr,
}

/// Why a frame cannot be changed so. It may be changed in part, and is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditError {
    /// It may not be passed on once more: its time to live, or hop limit, is used up.
    Expired,
    /// It is no IP packet, or not one of the version that the change is for.
    Version,
    /// A header is not where it was read: it was another frame's.
    Place,
    /// Bytes follow the packet that a device would sum, or cut, with it.
    Trailing,
}

/// Passes `frame` on: new Ethernet addresses, and one hop less. Padding behind the packet is taken
/// off, so that no device sums it.
///
/// All of it is one write of a few whole words: what lies between the bytes that change is written
/// as it was read, so what was looked at is what goes out. This comes last: `packet`, which was
/// read from the frame and through which it was changed since, stays as it is.
///
/// # Errors
///
/// [`EditError`].
///
/// Spec: RFC 1812, 5.3.1 "Time to Live (TTL)"; RFC 8200, 3; RFC 1624.
#[inline]
pub fn forward(packet: &Packet, frame: &mut Frame, hop: Hop) -> Result<(), EditError> {
    let end_bytes = match &packet.body {
        Body::Arp => return Err(EditError::Version),
        Body::V4(ip) => {
            let mut header = ip.header;
            header.ttl = one_less(header.ttl)?;
            header.checksum.set(of_less(header.checksum.get(), 0x100));
            let ethernet = ethernet(hop, ETHERTYPE_IPV4);
            let front: [u64; 4] = zerocopy::transmute!(Front::<18> { ethernet, ip: first(&header)? });
            put(frame, 0, &front)?;
            ip.at_bytes.saturating_add(ip.total_bytes())
        }
        Body::V6(ip) => {
            let mut header = ip.header;
            header.hop_limit = one_less(header.hop_limit)?;
            let ethernet = ethernet(hop, ETHERTYPE_IPV6);
            let front: [u64; 3] = zerocopy::transmute!(Front::<10> { ethernet, ip: first(&header)? });
            put(frame, 0, &front)?;
            ip.at_bytes.saturating_add(ip.total_bytes())
        }
    };
    trim(frame, end_bytes)
}

/// What a frame begins with: an Ethernet header and the first bytes of an IP header.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Front<const N: usize> {
    ethernet: EthernetHeader,
    ip: [u8; N],
}

#[inline(always)]
fn ethernet(hop: Hop, ethertype: u16) -> EthernetHeader {
    let Hop { destination: MacAddr(destination), source: MacAddr(source) } = hop;
    EthernetHeader { destination, source, ethertype: ethertype.into() }
}

/// The first bytes of a header, which is longer.
#[inline(always)]
fn first<const N: usize>(header: &(impl IntoBytes + Immutable)) -> Result<[u8; N], EditError> {
    header.as_bytes().first_chunk().copied().ok_or(EditError::Place)
}

/// A hop less, unless that was the last.
#[inline(always)]
fn one_less(hops: u8) -> Result<u8, EditError> {
    hops.checked_sub(1).filter(|left| *left > 0).ok_or(EditError::Expired)
}

/// The checksum of an IPv4 header of which a word is `less`, as one with a hop less is: this is as
/// much more, in ones' complement; of whose two zeroes no header has the one that is all ones.
///
/// Spec: RFC 1624, 4, of RFC 1141's way.
#[inline(always)]
pub(super) const fn of_less(checksum: u16, less: u16) -> u16 {
    match checksum.overflowing_add(less) {
        (more, false) if more != 0xffff => more,
        (more, _) => more.wrapping_add(1),
    }
}

/// Takes off what is behind the `end_bytes` of a packet.
#[inline(always)]
pub(super) fn trim(frame: &mut Frame, end_bytes: usize) -> Result<(), EditError> {
    if frame.first_segment().next().is_some() {
        return ends_there(frame, end_bytes);
    }
    match frame.segment_bytes().cmp(&end_bytes) {
        Ordering::Equal => Ok(()),
        Ordering::Greater if frame.set_segment_bytes(end_bytes) => Ok(()),
        _ => Err(EditError::Place),
    }
}

/// Nobody pads a frame of several segments. Where something follows all the same, it goes along,
/// unless somebody would take it for a part of the packet.
#[cold]
fn ends_there(frame: &Frame, end_bytes: usize) -> Result<(), EditError> {
    let is_left_alone = frame.offload().is_none();
    if is_left_alone || frame.total_bytes() == end_bytes { Ok(()) } else { Err(EditError::Trailing) }
}

/// What a checksum is, `at_bytes` into the frame, whose pseudo-header changed by `pseudo`, and what
/// else it covers by `rest`.
#[inline(always)]
fn adjusted(frame: &Frame, at_bytes: usize, checksum: u16, pseudo: u16, rest: u16) -> u16 {
    if is_open(frame, at_bytes) {
        return Sum::ZERO.and(checksum).and(pseudo).folded();
    }
    Sum::ZERO.and(pseudo).and(rest).applied_to(checksum)
}

/// Whether the checksum `at_bytes` into the frame is still to be completed.
#[inline(always)]
fn is_open(frame: &Frame, at_bytes: usize) -> bool {
    frame.offload().checksum.is_some_and(|request| {
        usize::from(request.start_bytes).saturating_add(request.offset_bytes.into()) == at_bytes
    })
}

/// Overwrites `words`, in one copy.
#[inline(always)]
fn put_words<const N: usize>(frame: &mut Frame, at_bytes: usize, words: [u16; N]) -> Result<(), EditError>
where
    [u16; N]: IntoBytes + Immutable,
{
    // Of words, not of bytes of any alignment: they mostly lie even, and go in as such.
    put(frame, at_bytes, &words.map(u16::to_be))
}

/// Overwrites a plain value.
#[inline(always)]
fn put<T: IntoBytes + Immutable>(frame: &mut Frame, at_bytes: usize, value: &T) -> Result<(), EditError> {
    if frame.write(at_bytes, value) { Ok(()) } else { Err(EditError::Place) }
}

const _: () = assert!(ETHERNET_BYTES.is_multiple_of(2), "so that words behind it lie even");

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
