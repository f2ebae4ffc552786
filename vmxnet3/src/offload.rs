//! What a frame may be to be sent, and what its first descriptor says. Checked before the ring is
//! touched.
//!
//! The device stops a queue over a descriptor that it does not like, and some mistakes are worse: a
//! zero-length segment sends 16 KiB of adjacent memory. So a frame that breaks a rule here is
//! refused, not corrected.

use paravane_hal::dma::DomainTag;
use paravane_net::{ChecksumRequest, Frame, FrameSegment, Segmentation, SegmentationKind, TxOffload};

use crate::desc::{MAX_TX_SEGMENT_BYTES, TxSop};
use crate::headers::TcpHeaders;
use crate::tunnel::{self, Tunnels};

/// Most descriptors of a frame.
pub(crate) const MAX_SEGMENTS: u16 = 16;
/// Most of a frame that the device cuts.
pub(crate) const MAX_TSO_SEGMENTS: u16 = 24;
/// `hlen` has ten bits.
pub(crate) const MAX_HLEN_BYTES: u16 = 1023;
/// Where a checksum field may be at most, from the frame's first byte.
const MAX_CHECKSUM_AT_BYTES: u16 = 1024;
/// `msscof` has fourteen bits.
const MAX_MSS_BYTES: u16 = (1 << 14) - 1;
/// The longest frame to be cut: its IP header counts at most this.
const MAX_TSO_BYTES: usize = 0xffff;
/// An Ethernet header. Shorter ones QEMU counts as errors.
const MIN_FRAME_BYTES: usize = 14;
/// The shortest frame of Ethernet, FCS out. The device does not pad, so the driver does.
const MIN_ETHERNET_BYTES: usize = 60;

/// What this device was configured to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxLimits {
    /// The longest frame as it leaves, Ethernet header in, a tag in the payload in, FCS out.
    pub(crate) max_frame_bytes: usize,
    /// Where its device reads.
    pub(crate) domain: DomainTag,
}

impl TxLimits {
    /// Whether a frame that is not cut may be as long.
    #[inline(always)]
    pub(crate) const fn allows(&self, len_bytes: usize) -> bool {
        // In one comparison: what is too short is very long then.
        len_bytes.wrapping_sub(MIN_FRAME_BYTES) <= self.max_frame_bytes.saturating_sub(MIN_FRAME_BYTES)
    }

    /// The same for a frame that goes out as it is: a shorter one is padded first.
    #[inline(always)]
    pub(crate) const fn allows_unpadded(&self, len_bytes: usize) -> bool {
        len_bytes.wrapping_sub(MIN_ETHERNET_BYTES) <= self.max_frame_bytes.saturating_sub(MIN_ETHERNET_BYTES)
    }

    /// Whether the device finds `segment` where it says that it is.
    #[inline(always)]
    pub(crate) fn reaches(&self, segment: FrameSegment<'_>) -> bool {
        segment.domain() == self.domain
    }
}

/// What a queue sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxRules {
    pub(crate) limits: TxLimits,
    /// What it may leave to the device of frames in tunnels.
    pub(crate) tunnels: Tunnels,
}

impl TxRules {
    /// Without tunnels.
    pub(crate) const fn new(limits: TxLimits) -> Self {
        Self { limits, tunnels: Tunnels::NONE }
    }
}

/// How a frame goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxPlan {
    /// What its first descriptor says.
    pub(crate) sop: TxSop,
    /// How many descriptors it takes; at least one.
    pub(crate) segments: u16,
    pub(crate) total_bytes: usize,
    /// What it counts towards `txThreshold`: frames on the wire.
    pub(crate) weight: u32,
}

/// What the descriptor of a frame says that goes out as it is in one, from where fresh frames
/// start, by its first segment; such as ask for a checksum included. The device reaches it.
#[inline(always)]
pub(crate) fn asked_on_the_spot(first: FrameSegment<'_>, limits: TxLimits) -> Option<u64> {
    let len_bytes = first.len_bytes();
    if !limits.allows_unpadded(len_bytes) {
        return None;
    }
    if first.is_plain() {
        return Some(TxSop::PLAIN.words());
    }
    if !first.is_plain_with_checksum() {
        return None;
    }
    first.asked_checksum().and_then(|request| summed_early(request, len_bytes)).map(TxSop::words)
}

/// What the first descriptor of a frame says that asks for no more than a checksum and goes out as
/// it is, in `segments` that are `total_bytes` long together.
#[inline(always)]
pub(crate) fn asked_of_several(
    frame: FrameSegment<'_>,
    segments: usize,
    total_bytes: usize,
    limits: TxLimits,
) -> Option<u64> {
    if segments > MAX_SEGMENTS.into() || !limits.allows_unpadded(total_bytes) {
        return None;
    }
    frame
        .asked_checksum()
        .map_or(Some(TxSop::PLAIN), |request| summed(request, total_bytes))
        .map(TxSop::words)
}

/// Plans how any frame goes out, padded if it is too short; `None` if it must not.
///
/// By value: what has its address taken lies in memory, in the whole loop that calls this.
#[inline(never)]
pub(crate) fn prepare(mut frame: Frame, rules: &TxRules) -> (Frame, Option<TxPlan>) {
    // What has no header is none, and of a frame to be cut the device takes every byte for payload.
    // A frame whose last buffer is full goes out as it is.
    let is_short = (MIN_FRAME_BYTES..MIN_ETHERNET_BYTES).contains(&frame.total_bytes());
    if is_short && frame.offload().segmentation.is_none() {
        frame.pad_to(MIN_ETHERNET_BYTES);
    }
    let plan = plan(&frame, &rules.limits).or_else(|| plan_otherwise(&mut frame, rules));
    (frame, plan)
}

/// Plans how a frame goes out that is in a tunnel, or the descriptor of which has no room for where
/// the checksum is.
#[cold]
fn plan_otherwise(frame: &mut Frame, rules: &TxRules) -> Option<TxPlan> {
    let asked = frame.tunnel().and_then(|tunnel| rules.tunnels.asked(frame, tunnel));
    let Some(sop) = asked else {
        return if frame.complete_checksum() { plan(frame, &rules.limits) } else { None };
    };
    // All else holds for it as for any frame.
    let tunnel = frame.tunnel();
    frame.set_tunnel(None);
    let plan = plan(frame, &rules.limits);
    frame.set_tunnel(tunnel);
    let sop = frame.vlan().map_or(sop, |tag| sop.tagged(tag));
    plan.map(|plan| TxPlan { sop, ..plan })
}

/// Has the headers of a frame that is to be cut say what the device wants of them, once it is sure
/// that it goes out: until then it is as whoever sends it left it, for another device maybe.
///
/// A sender leaves the sum of the whole packet's pseudo-header, as other devices want it; this one
/// counts the length of each segment itself, and wants the sum without one. IPv4's checksum it
/// wants empty.
///
/// By value, as [`prepare`].
///
/// # Errors
///
/// `frame`, whose headers are not what it says of them: the device would stop the queue over it.
#[inline(never)]
pub(crate) fn hand_headers_over(mut frame: Frame) -> Result<Frame, Frame> {
    let TxOffload { checksum, segmentation } = frame.offload();
    let headers = TcpHeaders::read(&frame).filter(|headers| {
        headers.end_bytes as usize == frame.total_bytes()
            && checksum == Some(headers.checksum())
            && segmentation.is_some_and(|cut| {
                cut.kind == headers.kind
                    && cut.header_bytes == headers.header_bytes
                    && cut.ecn == headers.is_reduced
            })
    });
    match headers {
        Some(headers) if headers.clear_ip_sum(&mut frame) && headers.write_pseudo_sum(&mut frame, 0) => {
            Ok(frame)
        }
        _ => tunnel::hand_headers_over(frame),
    }
}

/// Plans how `frame` goes out; `None` if it must not, and for one in a tunnel.
pub(crate) fn plan(frame: &Frame, limits: &TxLimits) -> Option<TxPlan> {
    let mut segments = 0_u16;
    let mut total_bytes = 0_usize;
    for segment in frame.segments() {
        let len_bytes = segment.len_bytes();
        if !is_describable(len_bytes) || !limits.reaches(segment) || segments >= MAX_TSO_SEGMENTS {
            return None;
        }
        segments = segments.saturating_add(1);
        total_bytes = total_bytes.saturating_add(len_bytes);
    }
    let (sop, weight) = match frame.offload() {
        TxOffload { segmentation: Some(cut), checksum } => {
            // Every header in the first descriptor, as all known drivers have it.
            if usize::from(cut.header_bytes) > frame.segment_bytes() || total_bytes > MAX_TSO_BYTES {
                return None;
            }
            segmented(cut, checksum, total_bytes)?
        }
        TxOffload { segmentation: None, checksum } => {
            if segments > MAX_SEGMENTS || !limits.allows(total_bytes) {
                return None;
            }
            (checksum.map_or(Some(TxSop::PLAIN), |request| summed(request, total_bytes))?, 1)
        }
    };
    let sop = if frame.has_tag_or_tunnel() { tagged(frame, sop)? } else { sop };
    Some(TxPlan { sop, segments, total_bytes, weight })
}

/// The same with its tag; `None` for a frame in a tunnel.
fn tagged(frame: &Frame, sop: TxSop) -> Option<TxSop> {
    frame.vlan().filter(|_| frame.tunnel().is_none()).map(|tag| sop.tagged(tag))
}

/// Whether one descriptor can name a segment as long.
#[inline(always)]
pub(crate) const fn is_describable(len_bytes: usize) -> bool {
    // In one comparison: none is very long then.
    len_bytes.wrapping_sub(1) < MAX_TX_SEGMENT_BYTES as usize
}

/// The words that ask for a checksum where its field is early enough for either limit.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is early in the frame")]
fn summed_early(request: ChecksumRequest, total_bytes: usize) -> Option<TxSop> {
    let field = u32::from(request.start_bytes).wrapping_add(request.offset_bytes.into());
    let fits = field <= MAX_HLEN_BYTES.into() && (field as usize).wrapping_add(2) <= total_bytes;
    fits.then(|| TxSop::checksum(request.start_bytes, field as u16))
}

/// The words that ask for a checksum.
#[inline(always)]
pub(crate) fn summed(request: ChecksumRequest, total_bytes: usize) -> Option<TxSop> {
    let ChecksumRequest { start_bytes, offset_bytes } = request;
    let field = start_bytes.checked_add(offset_bytes)?;
    let field_end = usize::from(field).checked_add(2)?;
    let fits = start_bytes <= MAX_HLEN_BYTES && field <= MAX_CHECKSUM_AT_BYTES && field_end <= total_bytes;
    fits.then(|| TxSop::checksum(start_bytes, field))
}

/// The words that ask for segmentation, and how many frames come of it. The device cuts TCP only;
/// what it makes of a window that was reduced is not known, so none is asked of it.
fn segmented(
    cut: Segmentation,
    checksum: Option<ChecksumRequest>,
    total_bytes: usize,
) -> Option<(TxSop, u32)> {
    let Segmentation { kind, header_bytes, mss_bytes, ecn } = cut;
    // QEMU would cut a UDP datagram into IP fragments; ESXi offers nothing of the kind.
    let is_tcp = matches!(kind, SegmentationKind::Tcp4 | SegmentationKind::Tcp6);
    let header_fits = usize::from(header_bytes) >= MIN_FRAME_BYTES && header_bytes <= MAX_HLEN_BYTES;
    let mss_fits = (1..=MAX_MSS_BYTES).contains(&mss_bytes);
    if !is_tcp || ecn || !header_fits || !mss_fits || checksum.is_none() {
        return None;
    }
    let payload_bytes = total_bytes.checked_sub(usize::from(header_bytes)).filter(|bytes| *bytes > 0)?;
    let frames = payload_bytes.div_ceil(usize::from(mss_bytes));
    Some((TxSop::segmentation(header_bytes, mss_bytes), u32::try_from(frames).ok()?))
}

#[cfg(test)]
#[path = "offload_tests.rs"]
mod tests;
