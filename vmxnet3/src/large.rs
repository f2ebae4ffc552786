//! A packet that the device has put together of several (LRO): how it is cut again.
//!
//! What the device says is how many there were and what each carried, or nothing at all: then a TCP
//! packet that is longer than the MTU is one. Where it lies, its segments are still no more than it
//! said, and no longer than what can be received.

use paravane_net::{Frame, RxChecksum, Segmentation, TxOffload};

use crate::chain::Dropped;
use crate::desc::Merged;
use crate::headers::TcpHeaders;
use crate::tunnel::{TunnelHeaders, TunnelPorts};

/// What a device may put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LargeRules {
    /// The largest IP packet that can have come.
    pub(crate) ip_mtu_bytes: u16,
    /// Where tunnels are whose inner packets it may put together.
    pub(crate) tunnels: TunnelPorts,
}

impl LargeRules {
    /// A received frame of `total_bytes` with how it is cut again, if it is one that the device put
    /// together: of what it says so, or of more than the MTU, which old devices leave at that.
    ///
    /// What was verified as good has its checksum left open then, as whoever cuts it wants it; the
    /// device looked at each checksum before it put them together. Where it vouches for none, the
    /// field stays as it came: a stack looks for itself, and no queue takes it to be sent on.
    ///
    /// # Errors
    ///
    /// [`Dropped::Damaged`]: it says so, and there is no such packet.
    pub(crate) fn annotate(
        self,
        mut frame: Frame,
        total_bytes: u32,
        merged: Option<Merged>,
    ) -> Result<Frame, Dropped> {
        let headers = TcpHeaders::read(&frame).filter(|headers| headers.end_bytes == total_bytes);
        let cut = headers.and_then(|headers| {
            let packet_header_bytes = headers.header_bytes.checked_sub(headers.ip_at)?;
            Some((headers, self.segment_bytes(packet_header_bytes, &headers, merged)?))
        });
        let Some((headers, mss_bytes)) = cut else {
            return match merged {
                Some(merged) => self.annotate_inside(frame, total_bytes, merged),
                None => Ok(frame),
            };
        };
        let TcpHeaders { kind, header_bytes, is_reduced, .. } = headers;
        let segmentation = Segmentation { kind, header_bytes, mss_bytes, ecn: is_reduced };
        frame.set_offload(TxOffload { checksum: None, segmentation: Some(segmentation) });
        if frame.rx_checksum() == RxChecksum::Good {
            let len_bytes = total_bytes.saturating_sub(headers.tcp_at.into());
            let checksum = match headers.write_pseudo_sum(&mut frame, len_bytes) {
                true => RxChecksum::Partial(headers.checksum()),
                false => RxChecksum::Unverified,
            };
            frame.set_rx_checksum(checksum);
        }
        Ok(frame)
    }

    /// The same of a packet inside a tunnel. What is asked of whoever sends it on is about that
    /// then; the outer headers are as the device left them, and their checksums as open as they
    /// came.
    #[cold]
    fn annotate_inside(self, mut frame: Frame, total_bytes: u32, merged: Merged) -> Result<Frame, Dropped> {
        let headers = TunnelHeaders::read(&frame, self.tunnels);
        let cut = headers.and_then(|headers| {
            let tcp = headers.tcp().filter(|tcp| tcp.end_bytes == total_bytes)?;
            let mss_bytes = self.segment_bytes(headers.packet_header_bytes()?, &tcp, Some(merged))?;
            Some((headers, tcp, mss_bytes))
        });
        let Some((headers, tcp, mss_bytes)) = cut else { return Err(Dropped::Damaged) };
        let TcpHeaders { kind, header_bytes, is_reduced, .. } = tcp;
        let len_bytes = total_bytes.saturating_sub(tcp.tcp_at.into());
        let is_open = frame.has_good_inner_checksum() && tcp.write_pseudo_sum(&mut frame, len_bytes);
        let checksum = is_open.then(|| tcp.checksum());
        let segmentation = Some(Segmentation { kind, header_bytes, mss_bytes, ecn: is_reduced });
        frame.set_tunnel(Some(headers.tunnel()));
        frame.set_offload(TxOffload { checksum, segmentation });
        Ok(frame)
    }

    /// What each of its segments carries, behind so many bytes of headers from the outermost IP
    /// header on; `None` for a packet that was not put together.
    fn segment_bytes(
        self,
        packet_header_bytes: u16,
        headers: &TcpHeaders,
        merged: Option<Merged>,
    ) -> Option<u16> {
        let largest = self.ip_mtu_bytes.checked_sub(packet_header_bytes).filter(|bytes| *bytes > 0)?;
        let payload_bytes = headers.payload_bytes();
        let Some(Merged { segments, mss_bytes }) = merged else {
            return (payload_bytes > largest.into()).then_some(largest);
        };
        // What old hosts do not say, or what would make more of them than there were.
        let least = payload_bytes.div_ceil(u32::from(segments).max(1));
        let said = u32::from(mss_bytes).max(least).min(largest.into());
        u16::try_from(said).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_mock_hal::Memory;
    use paravane_net::{FrameLayout, FramePool, SegmentationKind};
    use std::vec;
    use std::vec::Vec;

    const RULES: LargeRules = LargeRules { ip_mtu_bytes: 1500, tunnels: TunnelPorts::ASSIGNED };

    /// Headers of TCP without options over IPv4, as far as they are looked at, and some payload.
    fn packet(payload_bytes: u16) -> Vec<u8> {
        let mut bytes = vec![0; 54 + usize::from(payload_bytes)];
        bytes[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        bytes[16..18].copy_from_slice(&(40 + payload_bytes).to_be_bytes());
        bytes[23] = 6;
        bytes[46] = 5 << 4;
        bytes
    }

    /// What comes of `bytes` in two buffers, of which the device said `merged`.
    fn judged(bytes: &[u8], merged: Option<(u8, u16)>) -> Result<Option<Segmentation>, Dropped> {
        let layout = FrameLayout::new(2).with_buffer_bytes(16_384);
        let pool = FramePool::new(Memory::default(), layout).unwrap();
        let (first, rest) = bytes.split_at(bytes.len().min(60));
        let [mut frame, mut next] = [pool.get().unwrap(), pool.get().unwrap()];
        assert!(frame.append(first) && next.append(rest));
        frame.set_next(next);
        let merged = merged.map(|(segments, mss_bytes)| Merged { segments, mss_bytes });
        let total_bytes = u32::try_from(bytes.len()).unwrap();
        RULES.annotate(frame, total_bytes, merged).map(|frame| frame.offload().segmentation)
    }

    #[test]
    fn a_lie_makes_no_more_segments_than_there_were_and_no_longer_ones() {
        for (said, mss_bytes) in [
            ((2, 1400), 1400),
            // Old hosts do not say.
            ((2, 0), 1400),
            ((2, 1), 1400),
            ((2, 1399), 1400),
            ((3, 1399), 1399),
            ((255, 1), 11),
            ((2, 1460), 1460),
            ((2, 1461), 1460),
            ((2, u16::MAX), 1460),
        ] {
            let cut = judged(&packet(2800), Some(said)).unwrap().unwrap();
            assert_eq!((cut.mss_bytes, cut.header_bytes), (mss_bytes, 54), "{said:?}");
        }
        let cut = judged(&packet(10_000), Some((2, 0))).unwrap().unwrap();
        assert_eq!(cut.mss_bytes, 1460, "more than can have come in two");
        let cut = |bytes| judged(&packet(bytes), None).unwrap().map(|cut| cut.mss_bytes);
        assert_eq!((cut(1460), cut(1461)), (None, Some(1460)), "longer than the MTU");
    }

    #[test]
    fn what_is_no_tcp_packet_was_not_put_together() {
        let change = |at: usize, byte: u8| {
            let mut bytes = packet(2800);
            bytes[at] = byte;
            bytes
        };
        for (what, bytes) in [
            ("another protocol", change(12, 0x09)),
            ("another version", change(14, 0x65)),
            ("a short header", change(14, 0x44)),
            ("longer than the frame", change(17, 0x19)),
            ("shorter than the frame", change(17, 0x17)),
            ("more fragments", change(20, 0x20)),
            ("a fragment", change(21, 1)),
            ("UDP", change(23, 17)),
            ("a short TCP header", change(46, 4 << 4)),
            ("headers in two segments", change(46, 7 << 4)),
            ("nothing but headers", packet(0)),
            ("nothing", vec![0; 14]),
        ] {
            assert_eq!(judged(&bytes, Some((2, 1400))), Err(Dropped::Damaged), "{what}");
            assert_eq!(judged(&bytes, None), Ok(None), "{what}");
        }
        let mut unfragmented = packet(2800);
        unfragmented[20] = 0x40;
        assert!(judged(&unfragmented, Some((2, 1400))).is_ok());
    }

    #[test]
    fn version_6_and_a_tag_are_seen_through_and_no_further() {
        let packet6 = |tags: usize, next: u8| {
            let mut bytes = [0x81, 0, 0, 5].repeat(tags);
            bytes.splice(0..0, [0; 12]);
            let ip = bytes.len() + 2;
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(2020_u16.to_be_bytes());
            bytes.push(next);
            bytes.resize(ip + 40 + 2020, 0);
            bytes[ip + 40 + 12] = 5 << 4;
            bytes[ip + 40 + 13] = 1 << 7;
            bytes
        };
        let layout = FrameLayout::new(1).with_buffer_bytes(4096);
        let pool = FramePool::new(Memory::default(), layout).unwrap();
        let read = |bytes: &[u8]| {
            let mut frame = pool.get().unwrap();
            assert!(frame.append(bytes));
            TcpHeaders::read(&frame)
        };
        for (tags, ip_at) in [(0, 14), (1, 18)] {
            let headers = read(&packet6(tags, 6)).unwrap();
            assert_eq!((headers.kind, headers.ip_at), (SegmentationKind::Tcp6, ip_at));
            assert_eq!((headers.header_bytes, headers.payload_bytes()), (ip_at + 60, 2000));
            assert!(headers.is_reduced);
        }
        assert_eq!([read(&packet6(2, 6)), read(&packet6(0, 0)), read(&packet6(0, 17))], [None; 3]);
    }
}
