//! IPv4 packets cut into fragments, where the way is too narrow and they allow it.

use paravane_hal::pool::Chain;
use paravane_net::{Frame, FramePool, TxOffload, VlanTag};

use super::pieces::{CutError, Header, Payload, reserve};
use super::wire::{IPV4_BYTES, IPV4_DONT_FRAGMENT, IPV4_MORE_FRAGMENTS, IPV4_OFFSET};
use super::{Body, Ipv4, Packet};

/// The fragments of a packet, one at a time. All buffers that they need are there already, so that
/// none of them is missing: dropped, those go back that are not used.
#[derive(Debug)]
pub struct Fragments {
    free: Chain<Frame>,
    /// Of the next one.
    header: Header,
    payload: Payload,
    left_bytes: usize,
    mtu_bytes: usize,
    ip_at: usize,
    /// As the packet has it: its own place, where it is a fragment itself.
    fragment: u16,
    done_bytes: usize,
    vlan: Option<VlanTag>,
}

impl Fragments {
    /// Of `frame`, in frames of `pool`, each an IP packet of at most `mtu_bytes`. A packet that is
    /// a fragment is cut further; one that fits comes out as it is.
    ///
    /// A checksum that the frame asks for covers what all of them carry, so it is completed first.
    ///
    /// # Errors
    ///
    /// [`CutError`], and the frame; a checksum that it asked for may be complete.
    ///
    /// Spec: RFC 791, 2.3, 3.1 (options), 3.2 "An Example Fragmentation Procedure".
    pub fn of(mut frame: Frame, pool: &FramePool, mtu_bytes: u16) -> Result<Self, (Frame, CutError)> {
        let (ip, header) = match check(&frame) {
            Ok(checked) => checked,
            Err(error) => return Err((frame, error)),
        };
        let mtu_bytes = usize::from(mtu_bytes);
        let left_bytes = ip.total_bytes().saturating_sub(ip.header_bytes());
        let later_bytes = later_header_bytes(&header, &ip);
        let free = count(mtu_bytes, ip.header_bytes(), later_bytes, left_bytes).and_then(|pieces| {
            reserve(pool, pieces, ip.at_bytes.saturating_add(mtu_bytes.min(ip.total_bytes())))
        });
        let free = match free {
            Ok(free) => free,
            Err(error) => return Err((frame, error)),
        };
        let end_bytes = ip.at_bytes.saturating_add(ip.total_bytes());
        let header_bytes = header.bytes().len();
        // What follows the packet would be summed with it.
        if super::edit::trim(&mut frame, end_bytes).is_err() || !frame.complete_checksum() {
            return Err((frame, CutError::Headers));
        }
        let vlan = frame.vlan();
        let payload =
            Payload::of(frame, header_bytes, end_bytes).map_err(|frame| (frame, CutError::Headers))?;
        let (ip_at, fragment) = (ip.at_bytes, ip.header.fragment.get());
        Ok(Self { free, header, payload, left_bytes, mtu_bytes, ip_at, fragment, done_bytes: 0, vlan })
    }

    /// Has the header say what it does in front of `len_bytes` of payload.
    fn fix_header(&mut self, len_bytes: usize, is_last: bool) {
        let header_bytes = self.header.bytes().len().saturating_sub(self.ip_at);
        let units = u16::try_from(self.done_bytes / UNIT_BYTES).unwrap_or_default();
        let more = if is_last { self.fragment & IPV4_MORE_FRAGMENTS } else { IPV4_MORE_FRAGMENTS };
        let fragment = (self.fragment & !IPV4_MORE_FRAGMENTS).wrapping_add(units) | more;
        let total = u16::try_from(header_bytes.saturating_add(len_bytes)).unwrap_or(u16::MAX);
        self.header.put(self.ip_at.saturating_add(TOTAL_AT), total.to_be_bytes());
        self.header.put(self.ip_at.saturating_add(FRAGMENT_AT), fragment.to_be_bytes());
        self.header.sum_v4(self.ip_at, header_bytes);
    }

    /// The later ones have those options only that are for each of them.
    fn leave_options(&mut self) {
        let options_at = self.ip_at.saturating_add(IPV4_BYTES);
        let (options, len_bytes) = copied_options(self.header.behind(options_at));
        self.header.put(options_at, options);
        self.header.truncate(options_at.saturating_add(len_bytes));
        let words = u8::try_from(IPV4_BYTES.saturating_add(len_bytes) / 4).unwrap_or_default();
        self.header.put(self.ip_at, [0x40 | words]);
    }
}

impl Iterator for Fragments {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let mut piece = self.free.pop()?;
        let header_bytes = self.header.bytes().len().saturating_sub(self.ip_at);
        let room = self.mtu_bytes.saturating_sub(header_bytes);
        let is_last = self.left_bytes <= room;
        let len_bytes = if is_last { self.left_bytes } else { whole_units(room) };
        self.fix_header(len_bytes, is_last);
        if !piece.append(self.header.bytes()) {
            return None;
        }
        self.payload.move_to(&mut piece, len_bytes)?;
        piece.set_vlan(self.vlan);
        if self.done_bytes == 0 {
            self.leave_options();
        }
        self.left_bytes = self.left_bytes.saturating_sub(len_bytes);
        self.done_bytes = self.done_bytes.saturating_add(len_bytes);
        Some(piece)
    }
}

/// The header of a frame that may be cut.
fn check(frame: &Frame) -> Result<(Ipv4, Header), CutError> {
    let Body::V4(ip) = Packet::read(frame)?.body else { return Err(CutError::NotToBeCut) };
    let TxOffload { checksum, segmentation } = frame.offload();
    if ip.dont_fragment() || segmentation.is_some() {
        return Err(CutError::NotToBeCut);
    }
    // No sum of a part is one of the whole.
    if ip.is_fragment() && checksum.is_some() {
        return Err(CutError::Headers);
    }
    // Its end is where no packet has one: what is put together of such parts is longer than any.
    let offset_bytes = usize::from(ip.header.fragment.get() & IPV4_OFFSET).saturating_mul(UNIT_BYTES);
    if offset_bytes.saturating_add(ip.total_bytes()) > u16::MAX.into() {
        return Err(CutError::Headers);
    }
    let header_bytes = ip.at_bytes.saturating_add(ip.header_bytes());
    Ok((ip, Header::of(frame, header_bytes).ok_or(CutError::Headers)?))
}

/// How many fragments there will be of `left_bytes`, with a header of `first_bytes` and then of
/// `later_bytes` each.
fn count(
    mtu_bytes: usize,
    first_bytes: usize,
    later_bytes: usize,
    left_bytes: usize,
) -> Result<usize, CutError> {
    let room = mtu_bytes.checked_sub(first_bytes).ok_or(CutError::Size)?;
    if left_bytes <= room {
        return Ok(1);
    }
    let first = whole_units(room);
    let later = mtu_bytes.saturating_sub(later_bytes);
    if first == 0 || whole_units(later) == 0 {
        return Err(CutError::Size);
    }
    // The last may be longer than whole units.
    let rest = left_bytes.saturating_sub(first).saturating_sub(later);
    Ok(rest.div_ceil(whole_units(later)).saturating_add(2))
}

/// How long the header of a later fragment is.
fn later_header_bytes(header: &Header, ip: &Ipv4) -> usize {
    let (_, len_bytes) = copied_options(header.behind(ip.at_bytes.saturating_add(IPV4_BYTES)));
    IPV4_BYTES.saturating_add(len_bytes)
}

/// Those of `options` that each fragment has, and how long they are, in whole words.
///
/// They were [looked through](Packet::read) before: what makes no sense here was changed since, and
/// is left out.
fn copied_options(options: &[u8]) -> ([u8; MAX_OPTIONS_BYTES], usize) {
    let mut copied = [OPTION_END; MAX_OPTIONS_BYTES];
    let (mut rest, mut len_bytes) = (options, 0_usize);
    // Ends: each turn takes a byte at least.
    while let [kind, after @ ..] = rest {
        let option_bytes = match (*kind, after.first()) {
            (OPTION_END, _) => break,
            (OPTION_NOTHING, _) => 1,
            (_, Some(len_bytes @ 2..)) => usize::from(*len_bytes),
            _ => break,
        };
        let Some((option, behind)) = rest.split_at_checked(option_bytes) else { break };
        if kind & OPTION_COPIED != 0
            && let Some(place) = copied.get_mut(len_bytes..len_bytes.saturating_add(option_bytes))
        {
            place.copy_from_slice(option);
            len_bytes = len_bytes.saturating_add(option_bytes);
        }
        rest = behind;
    }
    (copied, len_bytes.next_multiple_of(4))
}

/// What of `bytes` is whole units.
const fn whole_units(bytes: usize) -> usize {
    bytes & !(UNIT_BYTES - 1)
}

/// What a fragment's offset counts.
const UNIT_BYTES: usize = 8;
/// The longest that options are.
const MAX_OPTIONS_BYTES: usize = 40;
/// End of options.
const OPTION_END: u8 = 0;
/// An option of one byte that says nothing.
const OPTION_NOTHING: u8 = 1;
/// Of an option's kind: each fragment has it.
const OPTION_COPIED: u8 = 0x80;
// Where fields are in the header.
const TOTAL_AT: usize = 2;
const FRAGMENT_AT: usize = 6;

const _: () = assert!(IPV4_DONT_FRAGMENT & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET) == 0);

#[cfg(test)]
#[path = "fragment_tests.rs"]
mod tests;
