//! Changes of a frame's headers, written back where they were read: as few bytes as there are, and
//! none is read again.
//!
//! A checksum from end to end is changed by as much as the change of what it covers, and never made
//! anew: whoever damaged the packet before, its receiver notices. What the device that received it
//! found is carried on as it is: `Good` and `Unverified` change nothing here. The checksum of a
//! frame that is asked to be completed, or came in [partial](paravane_net::RxChecksum::Partial), is
//! *open*: its field holds the sum of the pseudo-header, so new addresses change it, and nothing
//! else does.

mod mss;
mod rewrite;

use paravane_net::{Frame, MacAddr};
use zerocopy::{Immutable, IntoBytes};

use super::sum::Sum;
use super::wire::ETHERNET_BYTES;
use super::{Body, Ipv4, Packet};

pub use mss::clamp_mss;
pub use rewrite::{Ends, Rewrite, rewrite};

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
/// This comes last: `packet`, which was read from the frame and through which it was changed since,
/// stays as it is.
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
            one_hop_less(ip, frame)?;
            ip.at_bytes.saturating_add(ip.total_bytes())
        }
        Body::V6(ip) => {
            let hop_limit = ip.header.hop_limit.checked_sub(1).filter(|left| *left > 0);
            let hop_limit = hop_limit.ok_or(EditError::Expired)?;
            put(frame, ip.at_bytes.saturating_add(HOP_LIMIT_AT), &hop_limit)?;
            ip.at_bytes.saturating_add(ip.total_bytes())
        }
    };
    let Hop { destination: MacAddr([d0, d1, d2, d3, d4, d5]), source: MacAddr([s0, s1, s2, s3, s4, s5]) } =
        hop;
    let addresses = [[d0, d1, d2, d3], [d4, d5, s0, s1], [s2, s3, s4, s5]].map(u32::from_ne_bytes);
    put(frame, 0, &addresses)?;
    trim(frame, end_bytes)
}

/// Writes time to live and checksum, and the protocol between them as it is.
#[inline(always)]
fn one_hop_less(ip: &Ipv4, frame: &mut Frame) -> Result<(), EditError> {
    let protocol = ip.header.protocol;
    let ttl = ip.header.ttl.checked_sub(1).filter(|left| *left > 0).ok_or(EditError::Expired)?;
    let [old, new] = [ip.header.ttl, ttl].map(|ttl| u16::from_be_bytes([ttl, protocol]));
    let checksum = Sum::ZERO.and(new).without(old).applied_to(ip.header.checksum.get());
    put_words(frame, ip.at_bytes.saturating_add(TTL_AT), [new, checksum])
}

/// Takes off what is behind the `end_bytes` of a packet.
#[inline(always)]
pub(super) fn trim(frame: &mut Frame, end_bytes: usize) -> Result<(), EditError> {
    if frame.first_segment().next().is_some() {
        return ends_there(frame, end_bytes);
    }
    let fits = end_bytes <= frame.segment_bytes() && frame.set_segment_bytes(end_bytes);
    if fits { Ok(()) } else { Err(EditError::Place) }
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

/// Where `ttl` is in an IPv4 header,
const TTL_AT: usize = 8;
/// and `hop_limit` in one of IPv6.
const HOP_LIMIT_AT: usize = 7;
const _: () = assert!(ETHERNET_BYTES.is_multiple_of(2), "so that words behind it lie even");

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
