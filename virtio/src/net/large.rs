//! A packet that the device has put together of several: how it is cut again.

use paravane_net::{ChecksumRequest, Frame, Segmentation, SegmentationKind};

use crate::net::judge::{Drop, ETHERNET_BYTES};

/// From the TCP header's start: the field that says how long it is, in the upper half of a byte,
const TCP_OFFSET_AT: u16 = 12;
/// and the checksum.
const TCP_CHECKSUM_AT: u16 = 16;
/// How long it is at least.
const MIN_TCP_BYTES: u16 = 20;
/// How long the UDP header is,
const UDP_BYTES: u16 = 8;
/// and where its checksum is.
const UDP_CHECKSUM_AT: u16 = 6;

/// A packet that the device has put together, with an open checksum that lies in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Large {
    pub(crate) kind: SegmentationKind,
    pub(crate) ecn: bool,
    pub(crate) mss_bytes: u16,
    pub(crate) checksum: ChecksumRequest,
}

impl Large {
    /// How `frame`, which is this packet, is cut again.
    ///
    /// How long its headers are, the device's header does not say reliably; the packet does. Of
    /// that one byte is read, once. The headers are all in the first segment, as other devices want
    /// them.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.4.2 "Driver Requirements: Processing of Incoming Packets".
    ///
    /// # Errors
    ///
    /// [`Drop::Damaged`]: it is no such packet.
    pub(crate) fn segmentation(self, frame: &Frame) -> Result<Segmentation, Drop> {
        let Self { kind, ecn, mss_bytes, checksum: ChecksumRequest { start_bytes, offset_bytes } } = self;
        let (checksum_at, layer4_bytes) = match kind {
            SegmentationKind::Tcp4 | SegmentationKind::Tcp6 => {
                let at = usize::from(start_bytes).saturating_add(TCP_OFFSET_AT.into());
                let offset = frame.read::<u8>(at).ok_or(Drop::Damaged)?;
                // In words of 32 bits.
                (TCP_CHECKSUM_AT, u16::from(offset >> 4).wrapping_mul(4))
            }
            SegmentationKind::Udp => (UDP_CHECKSUM_AT, UDP_BYTES),
        };
        let is_header = match kind {
            SegmentationKind::Udp => true,
            _ => layer4_bytes >= MIN_TCP_BYTES,
        };
        let header_bytes = start_bytes.checked_add(layer4_bytes).filter(|_| is_header);
        match header_bytes {
            Some(header_bytes)
                if offset_bytes == checksum_at
                    && u32::from(start_bytes) >= ETHERNET_BYTES
                    && usize::from(header_bytes) <= frame.segment_bytes()
                    && usize::from(header_bytes) < frame.total_bytes() =>
            {
                Ok(Segmentation { kind, header_bytes, mss_bytes, ecn })
            }
            _ => Err(Drop::Damaged),
        }
    }
}
