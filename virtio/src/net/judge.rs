//! What may be received and what may be sent, as rules over plain values.
//!
//! Towards the stack, nothing that the header claims leaves here unless it fits the frame it came
//! with. Towards the device, nothing is asked that was not agreed.

use paravane_hal::fault::DeviceFault;
use paravane_net::{ChecksumRequest, RxChecksum, SegmentationKind, TxOffload, VlanTag};

use crate::net::features::{Negotiated, NetFeatures};
use crate::net::header::{GsoType, HEADER_BYTES, Header, HeaderFlags, RawHeader, lengthen};

/// An Ethernet header: nothing shorter is a frame.
const ETHERNET_BYTES: u32 = 14;
/// A VLAN tag that is part of the frame comes on top of the largest frame.
const VLAN_BYTES: u32 = 4;
/// The largest packet to be cut: an IP packet's length field, and the Ethernet header with a tag.
const MAX_GSO_FRAME_BYTES: u32 = 65_535 + ETHERNET_BYTES + VLAN_BYTES;

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
        /// What is known of its checksum.
        checksum: RxChecksum,
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

/// What may be received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RxRules {
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

    /// Whether headers are [short](crate::net::header): then none is [`simple`](Self::simple).
    #[must_use]
    #[inline(always)]
    pub(crate) fn has_short_headers(&self) -> bool {
        self.header_bytes < HEADER_BYTES
    }

    /// What a completion is of which the device says that it wrote `written_bytes`, `header` in
    /// front.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: a length that cannot be.
    #[inline(always)]
    pub(crate) fn classify(&self, header: &RawHeader, written_bytes: u32) -> Result<Received, DeviceFault> {
        if self.has_short_headers() {
            return self.classify_other(&lengthen(*header), written_bytes);
        }
        match self.simple(header, written_bytes) {
            Some((frame_bytes, checksum)) => Ok(Received::Whole { frame_bytes, checksum }),
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
            (Ok(checksum), Ok(frame_bytes)) => Received::Whole { frame_bytes, checksum },
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

    /// Whether a frame of `frame_bytes` behind `header` is handed up, and what is known of its
    /// checksum.
    ///
    /// # Errors
    ///
    /// Why it is dropped.
    pub(crate) fn judge(&self, header: &RawHeader, frame_bytes: u32) -> Result<RxChecksum, Drop> {
        if !(ETHERNET_BYTES..=self.max_bytes).contains(&frame_bytes) {
            return Err(self.misfit(frame_bytes));
        }
        if Header::is_plain(header) {
            return Ok(RxChecksum::Unverified);
        }
        self.read(&Header::decode(*header), frame_bytes)
    }

    #[cold]
    fn misfit(&self, frame_bytes: u32) -> Drop {
        if frame_bytes > self.max_bytes {
            Drop::Oversized
        } else if frame_bytes == 0 {
            Drop::Empty
        } else {
            Drop::Damaged
        }
    }

    /// What a header that says something says.
    #[inline(never)]
    fn read(&self, header: &Header, frame_bytes: u32) -> Result<RxChecksum, Drop> {
        // Large packets put together by the device were not agreed to, so a frame that claims to be
        // one is not what it seems.
        if header.gso_type != GsoType::NONE {
            return Err(Drop::Damaged);
        }
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
            SegmentationKind::Udp => return Err(Refused::NotAgreed),
        };
        if !self.features.has(needs) {
            return Err(Refused::NotAgreed);
        }
        if frame_bytes > MAX_GSO_FRAME_BYTES {
            return Err(Refused::TooLong);
        }
        // The headers hold the layer-4 header that is summed, and leave something to cut.
        let headers_fit = u32::from(cut.header_bytes) < frame_bytes
            && cut.header_bytes > checksum.start_bytes
            && u32::from(cut.header_bytes) >= ETHERNET_BYTES;
        if cut.mss_bytes == 0 || !headers_fit {
            return Err(Refused::DoesNotFit);
        }
        Ok(Header { gso_type, hdr_len: cut.header_bytes, gso_size: cut.mss_bytes, ..header }.encode())
    }
}

const _: () = assert!(HEADER_BYTES < paravane_net::HEADROOM_BYTES, "a fresh frame has room for the header");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::RingFeatures;
    use crate::net::features::Allowed;
    use crate::net::header::shorten;
    use paravane_net::Segmentation;
    use proptest::prelude::*;

    fn all() -> Negotiated {
        Negotiated::confirmed(Allowed::default().choose(u64::MAX))
    }

    fn none() -> Negotiated {
        Negotiated::confirmed(RingFeatures::VERSION_1.bits())
    }

    fn rx() -> RxRules {
        RxRules::new(all(), 1514, 1984)
    }

    #[test]
    fn a_plain_frame_is_unverified() {
        assert_eq!(rx().judge(&Header::PLAIN, 64), Ok(RxChecksum::Unverified));
        assert_eq!(rx().judge(&Header::PLAIN, 1518), Ok(RxChecksum::Unverified));
    }

    #[test]
    fn lengths_that_are_no_frame_are_dropped() {
        assert_eq!(rx().judge(&Header::PLAIN, 0), Err(Drop::Empty));
        assert_eq!(rx().judge(&Header::PLAIN, 13), Err(Drop::Damaged));
        assert_eq!(rx().judge(&Header::PLAIN, 1519), Err(Drop::Oversized));
    }

    #[test]
    fn a_count_of_zero_buffers_means_one() {
        assert_eq!(rx().buffers(&Header::PLAIN), 1);
        assert_eq!(rx().buffers(&Header { num_buffers: 3, ..Header::default() }.encode()), 3);
        assert_eq!(
            RxRules::new(none(), 1514, 1984)
                .buffers(&Header { num_buffers: 3, ..Header::default() }.encode()),
            1
        );
    }

    #[test]
    fn a_verdict_is_believed_if_it_was_agreed_and_alone() {
        let header = |flags, gso_type| Header { flags, gso_type, ..Header::default() }.encode();
        let whole = |checksum| Ok(Received::Whole { frame_bytes: 64, checksum });
        let valid = header(HeaderFlags::DATA_VALID, GsoType::NONE);
        let unasked = RxRules::new(none(), 1514, 1984);
        assert_eq!(rx().classify(&valid, 76), whole(RxChecksum::Good));
        assert_eq!(unasked.classify(&valid, 76), whole(RxChecksum::Unverified));
        let cut = header(HeaderFlags::DATA_VALID, GsoType::TCPV4);
        assert_eq!(rx().classify(&cut, 76), Ok(Received::Dropped(Drop::Damaged)));
        let both = header(HeaderFlags::DATA_VALID | HeaderFlags::NEEDS_CSUM, GsoType::NONE);
        assert_eq!(
            rx().classify(&both, 76),
            whole(RxChecksum::Partial(ChecksumRequest { start_bytes: 0, offset_bytes: 0 }))
        );
    }

    #[test]
    fn checksum_flags_count_only_when_agreed() {
        let valid = Header { flags: HeaderFlags::DATA_VALID, ..Header::default() };
        assert_eq!(rx().judge(&valid.encode(), 64), Ok(RxChecksum::Good));
        assert_eq!(RxRules::new(none(), 1514, 1984).judge(&valid.encode(), 64), Ok(RxChecksum::Unverified));
    }

    #[test]
    fn a_partial_checksum_lies_inside_its_frame() {
        let partial =
            Header { flags: HeaderFlags::NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..Header::default() };
        let request = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };
        assert_eq!(rx().judge(&partial.encode(), 52), Ok(RxChecksum::Partial(request)));
        assert_eq!(rx().judge(&partial.encode(), 51), Err(Drop::Damaged));
        let wrapping = Header { csum_start: u16::MAX, csum_offset: u16::MAX, ..partial };
        assert_eq!(rx().judge(&wrapping.encode(), 64), Err(Drop::Damaged));
    }

    #[test]
    fn a_short_header_is_ten_bytes_in_front_of_the_frame() {
        let legacy = |class: NetFeatures| Negotiated::confirmed(class.bits());
        let rules = RxRules::new(legacy(NetFeatures::GUEST_CSUM), 1514, 1984);
        assert_eq!((rules.header_bytes(), rules.buffer_bytes()), (10, 1994));
        let valid = Header { flags: HeaderFlags::DATA_VALID, num_buffers: 7, ..Header::default() };
        let [word0, word1, word2] = shorten(valid.encode());
        // What is in front of it is not the device's.
        let raw = [word0 | 0xffff_u32.to_le(), word1, word2];
        let whole = |frame_bytes, checksum| Ok(Received::Whole { frame_bytes, checksum });
        assert_eq!(rules.classify(&raw, 74), whole(64, RxChecksum::Good));
        let short = DeviceFault::LengthTooShort { len_bytes: 9, min_bytes: 10 };
        assert_eq!(rules.classify(&raw, 9), Err(short));
        let merged = RxRules::new(legacy(NetFeatures::MRG_RXBUF), 1514, 1984);
        assert_eq!((merged.header_bytes(), merged.has_short_headers()), (12, false));
    }

    #[test]
    fn a_large_packet_nobody_agreed_to_is_dropped() {
        let large = Header { gso_type: GsoType::TCPV4, gso_size: 1448, ..Header::default() };
        assert_eq!(rx().judge(&large.encode(), 1000), Err(Drop::Damaged));
    }

    const CHECKSUM: ChecksumRequest = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };

    fn tso(kind: SegmentationKind) -> TxOffload {
        TxOffload {
            checksum: Some(CHECKSUM),
            segmentation: Some(Segmentation { kind, header_bytes: 54, mss_bytes: 1460 }),
        }
    }

    #[test]
    fn a_request_is_put_where_the_device_looks() {
        let rules = TxRules::new(all(), 1514);
        let asked = TxOffload { checksum: Some(CHECKSUM), segmentation: None };
        let header = Header::decode(rules.header(asked, None, 60).unwrap());
        assert_eq!(
            header,
            Header { flags: HeaderFlags::NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..Header::default() }
        );
        let header = Header::decode(rules.header(tso(SegmentationKind::Tcp6), None, 60_000).unwrap());
        assert_eq!((header.gso_type, header.hdr_len, header.gso_size), (GsoType::TCPV6, 54, 1460));
        assert_eq!(header.flags, HeaderFlags::NEEDS_CSUM);
    }

    #[test]
    fn what_was_not_agreed_is_not_asked() {
        let rules = TxRules::new(none(), 1514);
        assert_eq!(rules.header(tso(SegmentationKind::Tcp4), None, 60), Err(Refused::NotAgreed));
        let rules = TxRules::new(all(), 1514);
        assert_eq!(rules.header(tso(SegmentationKind::Udp), None, 60), Err(Refused::NotAgreed));
        assert_eq!(rules.header(TxOffload::default(), Some(VlanTag(1)), 60), Err(Refused::NotAgreed));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let rules = TxRules::new(all(), 1514);
        assert_eq!(rules.plain(0), Err(Refused::TooShort));
        assert_eq!(rules.plain(1519), Err(Refused::TooLong));
        assert_eq!(rules.header(tso(SegmentationKind::Tcp4), None, 54), Err(Refused::DoesNotFit));
        let bare = TxOffload { checksum: None, ..tso(SegmentationKind::Tcp4) };
        assert_eq!(rules.header(bare, None, 600), Err(Refused::DoesNotFit));
        assert_eq!(rules.header(tso(SegmentationKind::Tcp4), None, 70_000), Err(Refused::TooLong));
    }

    proptest! {
        /// Whatever the device writes into the header, what goes up stays inside the frame.
        #[test]
        fn nothing_handed_up_points_outside_its_frame(raw in any::<RawHeader>(), frame_bytes in 0_u32..70_000) {
            if let Ok(RxChecksum::Partial(request)) = rx().judge(&raw, frame_bytes) {
                prop_assert!(u32::from(request.start_bytes) + u32::from(request.offset_bytes) + 2 <= frame_bytes);
            }
        }
    }
}
