//! What a device does not do, done by the CPU: large packets cut into segments. A checksum alone
//! is [`Frame::complete_checksum`]'s.

use core::fmt;

use paravane_hal::pool::Chain;

use crate::frame::{Frame, Sum};
use crate::offload::{ChecksumRequest, Offloads, Segmentation, SegmentationKind, TxOffload, VlanTag};
use crate::pool::{FramePool, payload_bytes};

/// The longest headers: Ethernet's with a tag, IP's and TCP's with all options that there can be.
const MAX_HEADER_BYTES: usize = 18 + 60 + 60;
/// The most segments of a packet: 64 KiB in the shortest segments that TCP has to take.
/// Spec: RFC 879, 1 (536 bytes), with room for such as are shorter.
const MAX_SEGMENTS: usize = 1024;
/// How much is copied at once: out of memory that a device may write, it fits the stack.
const PIECE_BYTES: usize = 256;

const VLAN: [u8; 2] = [0x81, 0x00];
const IP4: [u8; 2] = [0x08, 0x00];
const IP6: [u8; 2] = [0x86, 0xdd];
const IP6_BYTES: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_SEQUENCE_AT: usize = 4;
const TCP_FLAGS_AT: usize = 13;
const FIN: u8 = 1;
const PSH: u8 = 1 << 3;
const CWR: u8 = 1 << 7;

/// Why a packet is not cut. It is whole then, as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutError {
    /// It does not ask for it.
    NotToBeCut,
    /// What it asks for is not what its headers say, or they are not all in its first segment; or
    /// it is about the frame inside a tunnel.
    Headers,
    /// Segments of no payload.
    Size,
    /// A segment would not fit a buffer of the pool.
    TooLong,
    /// It would come to more than 1024 segments.
    TooMany,
    /// The pool has not as many buffers now.
    PoolDry,
}

impl fmt::Display for CutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotToBeCut => "it does not ask to be cut",
            Self::Headers => "its headers are not what it says of them",
            Self::Size => "segments of no payload",
            Self::TooLong => "a segment does not fit a buffer",
            Self::TooMany => "more segments than anyone needs",
            Self::PoolDry => "the pool has not as many buffers",
        })
    }
}

impl core::error::Error for CutError {}

/// The segments of a large packet, first to last: what a device makes of it that cuts it itself.
///
/// All buffers that they need are there before the first, so that none is missing in the middle;
/// those that are not used go back when this is dropped.
///
/// ```
/// use paravane_net::{Burst, CutError, Frame, FramePool, NicInfo, Segments};
///
/// /// What a NIC sends in place of `frame`, which it does not cut.
/// fn cut(frame: Frame, pool: &FramePool, info: &NicInfo) -> Result<Burst, (Frame, CutError)> {
///     let mut burst = Burst::new();
///     burst.extend(Segments::of(frame, pool, info.offloads)?);
///     Ok(burst)
/// }
/// ```
#[derive(Debug)]
pub struct Segments {
    free: Chain<Frame>,
    /// What is left of the packet, from its payload on.
    source: Option<Frame>,
    left_bytes: usize,
    mss_bytes: usize,
    headers: Headers,
    /// The sum of a pseudo-header's addresses and protocol.
    pseudo: Sum,
    checksum: ChecksumRequest,
    /// The device that sends them completes checksums.
    is_left_open: bool,
    vlan: Option<VlanTag>,
    is_first: bool,
}

/// The headers of the next segment.
#[derive(Clone, Copy, Debug)]
struct Headers {
    bytes: [u8; MAX_HEADER_BYTES],
    len_bytes: usize,
    ip_at: usize,
    /// How long IPv4's is; `None` over IPv6.
    ip4_bytes: Option<usize>,
    transport_at: usize,
    is_tcp: bool,
    /// Of TCP, as the packet has them.
    flags: u8,
}

impl Segments {
    /// Cuts `frame` as it [asks](Frame::offload), into frames of `pool`, to be sent by a device
    /// that has `offloads`: one that completes checksums is left to do it.
    ///
    /// Its headers are to be in its first segment, behind one VLAN tag at most, with IP right
    /// behind Ethernet and TCP or UDP right behind IP. What lies behind the packet is dropped.
    ///
    /// # Errors
    ///
    /// [`CutError`], and the frame.
    pub fn of(mut frame: Frame, pool: &FramePool, offloads: Offloads) -> Result<Self, (Frame, CutError)> {
        let (headers, end_bytes, cut, checksum) = match Headers::read(&frame) {
            Ok(read) => read,
            Err(error) => return Err((frame, error)),
        };
        let left_bytes = end_bytes.saturating_sub(headers.len_bytes);
        let free = match reserve(pool, headers.len_bytes, left_bytes, cut.mss_bytes.into()) {
            Ok(free) => free,
            Err(error) => return Err((frame, error)),
        };
        let vlan = frame.vlan();
        if !frame.trim_front(cut.header_bytes) {
            return Err((frame, CutError::Headers));
        }
        Ok(Self {
            free,
            source: Some(frame),
            left_bytes,
            mss_bytes: cut.mss_bytes.into(),
            pseudo: headers.pseudo(),
            headers,
            checksum,
            is_left_open: offloads.contains(Offloads::CHECKSUM),
            vlan,
            is_first: true,
        })
    }

    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left_bytes.div_ceil(self.mss_bytes.max(1))
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left_bytes == 0
    }

    /// Moves `len_bytes` of payload to the end of `segment`, and adds them to `sum`. False where
    /// they are not there.
    fn move_payload(&mut self, segment: &mut Frame, len_bytes: usize, sum: &mut Sum) -> bool {
        let mut left = len_bytes;
        // Ends: each turn copies some, or goes on in the next buffer.
        while left > 0 {
            let Some(source) = &mut self.source else { return false };
            let here = source.segment_bytes().min(left).min(PIECE_BYTES);
            if here == 0 {
                self.source = source.take_next();
                continue;
            }
            let mut piece = [0; PIECE_BYTES];
            let Some(piece) = piece.get_mut(..here) else { return false };
            let copied = source.first_segment().copy_out(0, piece)
                && u16::try_from(here).is_ok_and(|here| source.trim_front(here))
                && segment.append(piece);
            if !copied {
                return false;
            }
            sum.add(piece);
            left = left.saturating_sub(here);
        }
        true
    }
}

impl Iterator for Segments {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let mut segment = self.free.pop()?;
        let len_bytes = self.left_bytes.min(self.mss_bytes);
        self.left_bytes = self.left_bytes.saturating_sub(len_bytes);
        self.headers.say(len_bytes, self.is_first, self.left_bytes == 0);
        self.is_first = false;
        let field = field_of(self.checksum);
        self.headers.put(field, [0; 2]);
        let transport_bytes = self.headers.behind_ip().len().saturating_add(len_bytes);
        let mut sum = self.pseudo;
        sum.add(&u32::try_from(transport_bytes).unwrap_or(u32::MAX).to_be_bytes());
        let open = sum.folded();
        sum.add(self.headers.behind_ip());
        let written =
            segment.append(self.headers.bytes()) && self.move_payload(&mut segment, len_bytes, &mut sum);
        let checksum = match (self.is_left_open, !sum.folded()) {
            (true, _) => open,
            // That would say to UDP that there is none; its other form says the same to everyone.
            (false, 0) => u16::MAX,
            (false, checksum) => checksum,
        };
        if !written || !segment.write(field, &checksum.to_be_bytes()) {
            return None;
        }
        let checksum = self.is_left_open.then_some(self.checksum);
        segment.set_offload(TxOffload { checksum, segmentation: None });
        segment.set_vlan(self.vlan);
        self.headers.step(len_bytes);
        Some(segment)
    }
}

/// Takes as many buffers as there will be segments, all or none.
fn reserve(
    pool: &FramePool,
    header_bytes: usize,
    payload: usize,
    mss_bytes: usize,
) -> Result<Chain<Frame>, CutError> {
    let count = payload.checked_div(mss_bytes).ok_or(CutError::Size)?;
    let count = count.saturating_add(usize::from(!payload.is_multiple_of(mss_bytes)));
    if header_bytes.saturating_add(mss_bytes.min(payload)) > payload_bytes(pool) {
        return Err(CutError::TooLong);
    }
    if count > MAX_SEGMENTS {
        return Err(CutError::TooMany);
    }
    let free = pool.take(count);
    if free.len() < count { Err(CutError::PoolDry) } else { Ok(free) }
}

impl Headers {
    /// Those of `frame`, where the packet ends, and what is asked of it.
    fn read(frame: &Frame) -> Result<(Self, usize, Segmentation, ChecksumRequest), CutError> {
        let TxOffload { checksum, segmentation } = frame.offload();
        let cut = segmentation.ok_or(CutError::NotToBeCut)?;
        let checksum = checksum.filter(|_| frame.tunnel().is_none()).ok_or(CutError::Headers)?;
        Self::copy(frame, cut, checksum)
            .map(|(headers, end_bytes)| (headers, end_bytes, cut, checksum))
            .ok_or(CutError::Headers)
    }

    /// Copies them out of `frame`, each byte once, and holds against them what is asked.
    fn copy(frame: &Frame, cut: Segmentation, checksum: ChecksumRequest) -> Option<(Self, usize)> {
        let (len_bytes, transport_at) = (usize::from(cut.header_bytes), usize::from(checksum.start_bytes));
        let mut bytes = [0; MAX_HEADER_BYTES];
        let into = bytes.get_mut(..len_bytes)?;
        if len_bytes > frame.segment_bytes() || !frame.first_segment().copy_out(0, into) {
            return None;
        }
        let at = |from: usize, len: usize| bytes.get(from..from.checked_add(len)?);
        let be16_at = |from: usize| Some(usize::from(u16::from_be_bytes(*at(from, 2)?.first_chunk()?)));
        let ip_at = if at(12, 2)? == VLAN { 18 } else { 14_usize };
        let ethertype = at(ip_at.saturating_sub(2), 2)?;
        let is_ip4 = ethertype == IP4;
        if !is_ip4 && ethertype != IP6 {
            return None;
        }
        let header = at(ip_at, 20)?;
        let &[first, _, _, _, _, _, next, offset_low, _, protocol, ..] = header.first_chunk::<10>()?;
        let (ip_bytes, protocol, packet_bytes, version) = if is_ip4 {
            let is_fragment = next & 0x3f != 0 || offset_low != 0;
            let ip_bytes = usize::from(first & 0xf).saturating_mul(4);
            (if is_fragment { 0 } else { ip_bytes }, protocol, be16_at(ip_at.saturating_add(2))?, 4)
        } else {
            let payload = be16_at(ip_at.saturating_add(4))?;
            (IP6_BYTES, next, payload.saturating_add(IP6_BYTES), 6)
        };
        let (is_tcp, layer4_bytes, checksum_at) = match protocol {
            TCP => (true, usize::from(*bytes.get(transport_at.checked_add(12)?)? >> 4).saturating_mul(4), 16),
            UDP => (false, 8, 6),
            _ => return None,
        };
        let kind = match (is_tcp, is_ip4) {
            (true, true) => SegmentationKind::Tcp4,
            (true, false) => SegmentationKind::Tcp6,
            (false, _) => SegmentationKind::Udp,
        };
        let end_bytes = ip_at.saturating_add(packet_bytes);
        let is_so = first >> 4 == version
            && ip_bytes >= 20
            && transport_at == ip_at.saturating_add(ip_bytes)
            && (!is_tcp || layer4_bytes >= 20)
            && len_bytes == transport_at.saturating_add(layer4_bytes)
            && checksum.offset_bytes == checksum_at
            && cut.kind == kind
            && (len_bytes.saturating_add(1)..=frame.total_bytes()).contains(&end_bytes);
        let flags = if is_tcp { *bytes.get(transport_at.checked_add(TCP_FLAGS_AT)?)? } else { 0 };
        let ip4_bytes = is_ip4.then_some(ip_bytes);
        let headers = Self { bytes, len_bytes, ip_at, ip4_bytes, transport_at, is_tcp, flags };
        is_so.then_some((headers, end_bytes))
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len_bytes).unwrap_or_default()
    }

    /// The layer-4 header.
    fn behind_ip(&self) -> &[u8] {
        self.bytes().get(self.transport_at..).unwrap_or_default()
    }

    /// The sum of the addresses and of the protocol.
    fn pseudo(&self) -> Sum {
        let mut sum = Sum::default();
        let (from, len) = if self.ip4_bytes.is_some() { (12, 8) } else { (8, 32) };
        let from = self.ip_at.saturating_add(from);
        sum.add(self.bytes.get(from..from.saturating_add(len)).unwrap_or_default());
        sum.add(&[0, if self.is_tcp { TCP } else { UDP }]);
        sum
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if let Some(place) = self.bytes.get_mut(at..at.saturating_add(N)) {
            place.copy_from_slice(&bytes);
        }
    }

    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }

    /// Has them say what they do in front of `len_bytes` of payload.
    fn say(&mut self, len_bytes: usize, is_first: bool, is_last: bool) {
        let end = self.len_bytes.saturating_add(len_bytes);
        // No longer than the packet, whose own length has 16 bits.
        let length_from = |at: usize| u16::try_from(end.saturating_sub(at)).unwrap_or(u16::MAX).to_be_bytes();
        let ip_at = self.ip_at;
        if let Some(ip4_bytes) = self.ip4_bytes {
            self.put(ip_at.saturating_add(2), length_from(ip_at));
            self.put(ip_at.saturating_add(10), [0; 2]);
            let mut sum = Sum::default();
            sum.add(self.bytes.get(ip_at..ip_at.saturating_add(ip4_bytes)).unwrap_or_default());
            self.put(ip_at.saturating_add(10), (!sum.folded()).to_be_bytes());
        } else {
            self.put(ip_at.saturating_add(4), length_from(ip_at.saturating_add(IP6_BYTES)));
        }
        if self.is_tcp {
            // A reduced window is for the first to say, an end for the last.
            // Spec: RFC 3168, 6.1.2; RFC 9293, 3.1.
            let not_first = if is_first { 0 } else { CWR };
            let not_last = if is_last { 0 } else { FIN | PSH };
            let flags = self.flags & !(not_first | not_last);
            self.put(self.transport_at.saturating_add(TCP_FLAGS_AT), [flags]);
        } else {
            self.put(self.transport_at.saturating_add(4), length_from(self.transport_at));
        }
    }

    /// Numbers those of the segment behind one of `len_bytes` of payload.
    fn step(&mut self, len_bytes: usize) {
        if self.ip4_bytes.is_some() {
            let at = self.ip_at.saturating_add(4);
            self.put(at, u16::from_be_bytes(self.get(at)).wrapping_add(1).to_be_bytes());
        }
        if self.is_tcp {
            let at = self.transport_at.saturating_add(TCP_SEQUENCE_AT);
            let len_bytes = u32::try_from(len_bytes).unwrap_or_default();
            self.put(at, u32::from_be_bytes(self.get(at)).wrapping_add(len_bytes).to_be_bytes());
        }
    }
}

/// Where a checksum is that is asked for.
fn field_of(request: ChecksumRequest) -> usize {
    usize::from(request.start_bytes).saturating_add(request.offset_bytes.into())
}
