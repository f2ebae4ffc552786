//! What may be received and what may be sent, as rules over plain values.
//!
//! Towards the stack, nothing that the header claims leaves here unless it fits the frame it came
//! with. Towards the device, nothing is asked that was not agreed.

use paravane_hal::fault::DeviceFault;
use paravane_net::{ChecksumRequest, RxChecksum, SegmentationKind, TxOffload, VlanTag};

use crate::net::features::{Negotiated, NetFeatures};
use crate::net::header::{GsoType, HEADER_BYTES, Header, HeaderFlags, RawHeader};
use crate::net::large::Large;

/// An Ethernet header: nothing shorter is a frame.
pub(crate) const ETHERNET_BYTES: u32 = 14;
/// A VLAN tag that is part of the frame comes on top of the largest frame.
const VLAN_BYTES: u32 = 4;
/// The largest packet to be cut, or made of segments: what IPv6's length field counts, its header,
/// and the Ethernet header with a tag.
pub(crate) const MAX_LARGE_BYTES: u32 = 65_535 + 40 + ETHERNET_BYTES + VLAN_BYTES;

/// Why a received frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    /// There is no frame behind the header.
    Empty,
    /// Too short for Ethernet, or with a header that makes no sense.
    Damaged,
    /// Longer than was agreed.
    Oversized,
}

/// What a completion with a header, the first of a frame, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A whole frame.
    Whole {
        /// Its length.
        frame_bytes: u16,
        /// What is known of it.
        verdict: Verdict,
    },
    /// The first part of a frame, which is to be judged when all of it is there.
    First {
        /// Over how many buffers it is spread: at least two.
        buffers: u16,
        /// How long the part is.
        part_bytes: u32,
    },
    /// No frame, or none for us.
    Dropped(Drop),
}

/// What is known of a frame that was received whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Of its checksum.
    pub(crate) checksum: RxChecksum,
    /// Of a large packet, as far as the header says it.
    pub(crate) large: Option<Large>,
}

impl From<RxChecksum> for Verdict {
    fn from(checksum: RxChecksum) -> Self {
        Self { checksum, large: None }
    }
}

/// What may be received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RxRules {
    features: Negotiated,
    /// Frames may be spread over several buffers.
    mergeable: bool,
    /// The header may speak of checksums.
    checksums: bool,
    /// How long the header is in front of a frame.
    header_bytes: u16,
    /// The longest frame, tag included.
    max_bytes: u32,
    /// The most that the device may write to a buffer, its header included.
    buffer_bytes: u32,
    /// How much longer than the shortest the longest frame is that fits one buffer.
    whole_span_bytes: u32,
}

impl RxRules {
    /// The rules that follow from `features`, for frames of up to `max_frame_bytes` before a VLAN
    /// tag, in buffers that hold `payload_bytes` behind the device's header.
    #[must_use]
    pub(crate) fn new(features: Negotiated, max_frame_bytes: u16, payload_bytes: u16) -> Self {
        let max_bytes = u32::from(max_frame_bytes).saturating_add(VLAN_BYTES);
        Self {
            features,
            mergeable: features.has(NetFeatures::MRG_RXBUF),
            checksums: features.has(NetFeatures::GUEST_CSUM),
            header_bytes: features.header_bytes(),
            max_bytes,
            buffer_bytes: u32::from(payload_bytes).saturating_add(features.header_bytes().into()),
            whole_span_bytes: max_bytes.min(payload_bytes.into()).saturating_sub(ETHERNET_BYTES),
        }
    }

    /// The most that the device may write to a buffer, its header included.
    #[must_use]
    #[inline(always)]
    pub(crate) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// How long the header is in front of a frame.
    #[must_use]
    pub(crate) fn header_bytes(&self) -> u16 {
        self.header_bytes
    }

    /// Whether headers are as long as most, and not [short, or with a hash](crate::net::header):
    /// then none is [`simple`](Self::simple).
    #[must_use]
    #[inline(always)]
    pub(crate) fn has_usual_headers(&self) -> bool {
        self.header_bytes == HEADER_BYTES
    }

    /// What a completion is of which the device says that it wrote `written_bytes`, `header` in
    /// front.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: a length that cannot be.
    #[inline(always)]
    pub(crate) fn classify(&self, header: &RawHeader, written_bytes: u32) -> Result<Received, DeviceFault> {
        let simple = if self.has_usual_headers() { self.simple(header, written_bytes) } else { None };
        match simple {
            Some((frame_bytes, checksum)) => Ok(Received::Whole { frame_bytes, verdict: checksum.into() }),
            None => self.classify_other(header, written_bytes),
        }
    }

    /// Of those, how long a whole frame is of which the header says nothing, or that its checksum
    /// is good.
    #[inline(always)]
    pub(crate) fn simple(&self, header: &RawHeader, written_bytes: u32) -> Option<(u16, RxChecksum)> {
        let frame_bytes = self.whole_bytes(header, written_bytes)?;
        if Header::is_plain(header) {
            Some((frame_bytes, RxChecksum::Unverified))
        } else if self.checksums && Header::is_good(header) {
            Some((frame_bytes, RxChecksum::Good))
        } else {
            None
        }
    }

    /// How long the frame is, if it is whole and may be as long.
    #[inline(always)]
    fn whole_bytes(&self, header: &RawHeader, written_bytes: u32) -> Option<u16> {
        const SHORTEST_BYTES: u32 = ETHERNET_BYTES + HEADER_BYTES as u32;
        // In one comparison: what is too short is very long then.
        let fits = written_bytes.wrapping_sub(SHORTEST_BYTES) <= self.whole_span_bytes;
        // Fits a buffer, whose length has 16 bits.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let frame_bytes = written_bytes.wrapping_sub(u32::from(HEADER_BYTES)) as u16;
        (fits && Header::buffers_of(header) <= 1).then_some(frame_bytes)
    }

    /// The same for all others.
    #[inline(never)]
    fn classify_other(&self, header: &RawHeader, written_bytes: u32) -> Result<Received, DeviceFault> {
        if written_bytes > self.buffer_bytes {
            let (len_bytes, max_bytes) = (written_bytes, self.buffer_bytes);
            return Err(DeviceFault::LengthTooLong { len_bytes, max_bytes });
        }
        let min_bytes = u32::from(self.header_bytes);
        let Some(part_bytes) = written_bytes.checked_sub(min_bytes) else {
            return Err(DeviceFault::LengthTooShort { len_bytes: written_bytes, min_bytes });
        };
        let buffers = self.buffers(header);
        if buffers > 1 {
            return Ok(Received::First { buffers, part_bytes });
        }
        Ok(match (self.judge(header, part_bytes), u16::try_from(part_bytes)) {
            (Ok(verdict), Ok(frame_bytes)) => Received::Whole { frame_bytes, verdict },
            (Err(reason), _) => Received::Dropped(reason),
            (_, Err(_)) => Received::Dropped(Drop::Oversized),
        })
    }

    /// How long the part of a frame is that the device wrote to a buffer without a header, of which
    /// it says that it wrote `written_bytes`.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: a length that cannot be.
    pub(crate) fn classify_continuation(&self, written_bytes: u32) -> Result<u32, DeviceFault> {
        let max_bytes = self.buffer_bytes;
        match written_bytes {
            0 => Err(DeviceFault::LengthTooShort { len_bytes: 0, min_bytes: 1 }),
            len_bytes if len_bytes > max_bytes => Err(DeviceFault::LengthTooLong { len_bytes, max_bytes }),
            part_bytes => Ok(part_bytes),
        }
    }

    /// Over how many buffers the frame behind `header` is spread; at least one.
    ///
    /// Some devices leave the count at zero where they mean one.
    #[must_use]
    #[inline(always)]
    pub(crate) fn buffers(&self, header: &RawHeader) -> u16 {
        if self.mergeable { Header::buffers_of(header).max(1) } else { 1 }
    }

    /// Whether a frame of `frame_bytes` behind `header` is handed up, and what is known of it.
    ///
    /// # Errors
    ///
    /// Why it is dropped.
    pub(crate) fn judge(&self, header: &RawHeader, frame_bytes: u32) -> Result<Verdict, Drop> {
        let header = Header::decode(*header);
        let large = self.made_large(&header)?;
        let max_bytes = if large.is_some() { MAX_LARGE_BYTES } else { self.max_bytes };
        if !(ETHERNET_BYTES..=max_bytes).contains(&frame_bytes) {
            return Err(misfit(frame_bytes, max_bytes));
        }
        let checksum = self.checksum(&header, frame_bytes)?;
        match (large, checksum) {
            (None, checksum) => Ok(checksum.into()),
            // One without an open checksum could not be cut again.
            (Some((kind, ecn)), RxChecksum::Partial(request)) if header.gso_size > 0 => {
                let large = Large { kind, ecn, mss_bytes: header.gso_size, checksum: request };
                Ok(Verdict { checksum, large: Some(large) })
            }
            (Some(_), _) => Err(Drop::Damaged),
        }
    }

    /// What kind of large packet the device has made, if it has made one, and whether the
    /// congestion window was reduced. What was not agreed to is not what it seems.
    fn made_large(&self, header: &Header) -> Result<Option<(SegmentationKind, bool)>, Drop> {
        if header.gso_type == GsoType::NONE {
            return Ok(None);
        }
        let has = |features: NetFeatures| self.features.has(features);
        let (kind, is_agreed) = match header.gso_type.split().0 {
            GsoType::TCPV4 => (SegmentationKind::Tcp4, has(NetFeatures::GUEST_TSO4)),
            GsoType::TCPV6 => (SegmentationKind::Tcp6, has(NetFeatures::GUEST_TSO6)),
            GsoType::UDP_L4 => {
                (SegmentationKind::Udp, has(NetFeatures::GUEST_USO4) || has(NetFeatures::GUEST_USO6))
            }
            _ => return Err(Drop::Damaged),
        };
        let (_, ecn) = header.gso_type.split();
        let may_have_ecn = !ecn || kind != SegmentationKind::Udp && has(NetFeatures::GUEST_ECN);
        if is_agreed && may_have_ecn { Ok(Some((kind, ecn))) } else { Err(Drop::Damaged) }
    }

    /// What the header says of the checksum.
    fn checksum(&self, header: &Header, frame_bytes: u32) -> Result<RxChecksum, Drop> {
        if !self.checksums {
            return Ok(RxChecksum::Unverified);
        }
        if header.flags.contains(HeaderFlags::NEEDS_CSUM) {
            let request =
                ChecksumRequest { start_bytes: header.csum_start, offset_bytes: header.csum_offset };
            return if fits(request, frame_bytes) {
                Ok(RxChecksum::Partial(request))
            } else {
                Err(Drop::Damaged)
            };
        }
        if header.flags.contains(HeaderFlags::DATA_VALID) {
            return Ok(RxChecksum::Good);
        }
        Ok(RxChecksum::Unverified)
    }
}

/// Why a frame of `frame_bytes` is none, where the longest has `max_bytes`.
#[cold]
fn misfit(frame_bytes: u32, max_bytes: u32) -> Drop {
    if frame_bytes > max_bytes {
        Drop::Oversized
    } else if frame_bytes == 0 {
        Drop::Empty
    } else {
        Drop::Damaged
    }
}

/// Whether the checksum field that `request` names lies inside a frame of `frame_bytes`.
#[inline(always)]
fn fits(request: ChecksumRequest, frame_bytes: u32) -> bool {
    // Three numbers below 2^16.
    let end =
        u32::from(request.start_bytes).saturating_add(u32::from(request.offset_bytes)).saturating_add(2);
    end <= frame_bytes
}

/// Why a frame is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Shorter than an Ethernet header.
    TooShort,
    /// Longer than the device takes.
    TooLong,
    /// Asks for something that was not agreed.
    NotAgreed,
    /// Asks for something that does not fit the frame.
    DoesNotFit,
}

/// What may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxRules {
    features: Negotiated,
    /// How much longer than the shortest the longest frame is, tag included.
    span_bytes: u32,
}

impl TxRules {
    /// The rules that follow from `features`, for frames of up to `max_frame_bytes` before a VLAN
    /// tag.
    #[must_use]
    pub(crate) fn new(features: Negotiated, max_frame_bytes: u16) -> Self {
        let max_bytes = u32::from(max_frame_bytes).saturating_add(VLAN_BYTES);
        Self { features, span_bytes: max_bytes.saturating_sub(ETHERNET_BYTES) }
    }

    /// How long the header is in front of a frame.
    #[must_use]
    pub(crate) fn header_bytes(&self) -> u16 {
        self.features.header_bytes()
    }

    /// Whether the device completes checksums. Where it does not, that is done before the frame
    /// gets here.
    #[must_use]
    pub(crate) fn has_checksums(&self) -> bool {
        self.features.has(NetFeatures::CSUM)
    }

    /// The header of a frame of `frame_bytes` that asks for nothing.
    ///
    /// # Errors
    ///
    /// Why it is not sent.
    #[inline(always)]
    pub(crate) fn plain(&self, frame_bytes: u32) -> Result<RawHeader, Refused> {
        // In one comparison: what is too short is very long then.
        if frame_bytes.wrapping_sub(ETHERNET_BYTES) <= self.span_bytes {
            Ok(Header::PLAIN)
        } else if frame_bytes < ETHERNET_BYTES {
            Err(Refused::TooShort)
        } else {
            Err(Refused::TooLong)
        }
    }

    /// The header of a frame of `frame_bytes` that asks for `checksum`, if for anything.
    ///
    /// # Errors
    ///
    /// Why it is not sent.
    #[inline(always)]
    pub(crate) fn uncut(
        &self,
        checksum: Option<ChecksumRequest>,
        frame_bytes: u32,
    ) -> Result<RawHeader, Refused> {
        let plain = self.plain(frame_bytes)?;
        match checksum {
            None => Ok(plain),
            Some(request) => self.summed(request, frame_bytes).map(Header::encode),
        }
    }

    /// The header that asks for a checksum, whatever else it is to ask for.
    #[inline(always)]
    fn summed(&self, request: ChecksumRequest, frame_bytes: u32) -> Result<Header, Refused> {
        if !self.has_checksums() {
            return Err(Refused::NotAgreed);
        }
        if !fits(request, frame_bytes) {
            return Err(Refused::DoesNotFit);
        }
        Ok(Header {
            flags: HeaderFlags::NEEDS_CSUM,
            csum_start: request.start_bytes,
            csum_offset: request.offset_bytes,
            ..Header::default()
        })
    }

    /// The header of a frame of `frame_bytes` that asks for `offload`, and for `vlan` to be put in.
    ///
    /// # Errors
    ///
    /// Why it is not sent.
    #[inline(never)]
    pub(crate) fn header(
        &self,
        offload: TxOffload,
        vlan: Option<VlanTag>,
        frame_bytes: u32,
    ) -> Result<RawHeader, Refused> {
        if vlan.is_some() {
            // The device has no way to put a tag in; it is the sender's to write it into the frame.
            return Err(Refused::NotAgreed);
        }
        let Some(cut) = offload.segmentation else {
            return self.uncut(offload.checksum, frame_bytes);
        };
        let checksum = offload.checksum.ok_or(Refused::DoesNotFit)?;
        let header = self.summed(checksum, frame_bytes)?;
        let (gso_type, needs) = match cut.kind {
            SegmentationKind::Tcp4 => (GsoType::TCPV4, NetFeatures::HOST_TSO4),
            SegmentationKind::Tcp6 => (GsoType::TCPV6, NetFeatures::HOST_TSO6),
            SegmentationKind::Udp => (GsoType::UDP_L4, NetFeatures::HOST_USO),
        };
        if !self.features.has(needs) || cut.ecn && !self.features.has(NetFeatures::HOST_ECN) {
            return Err(Refused::NotAgreed);
        }
        if frame_bytes > MAX_LARGE_BYTES {
            return Err(Refused::TooLong);
        }
        // The headers hold the layer-4 header that is summed, and leave something to cut.
        let headers_fit = u32::from(cut.header_bytes) < frame_bytes
            && cut.header_bytes > checksum.start_bytes
            && u32::from(cut.header_bytes) >= ETHERNET_BYTES;
        let ecn_fits = !cut.ecn || cut.kind != SegmentationKind::Udp;
        if cut.mss_bytes == 0 || !headers_fit || !ecn_fits {
            return Err(Refused::DoesNotFit);
        }
        let gso_type = gso_type.with_ecn(cut.ecn);
        Ok(Header { gso_type, hdr_len: cut.header_bytes, gso_size: cut.mss_bytes, ..header }.encode())
    }
}

const _: () = assert!(HEADER_BYTES < paravane_net::HEADROOM_BYTES, "a fresh frame has room for the header");

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
