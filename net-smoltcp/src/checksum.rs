//! TCP checksums that smoltcp leaves to what is below it.
//!
//! smoltcp asks a device once what it does about checksums, and a stack outlives the device below
//! it: after a restart another set of features may be agreed. So [`Phy`](crate::Phy) always says
//! the same, that TCP's checksum on the way out is its business, and decides frame by frame who
//! makes it: the device, where it offers to, or this module.
//!
//! On the way in nothing is claimed. A device's verdict is about one frame, smoltcp's question
//! about all of them, and no device has a verdict about a packet that smoltcp puts together from
//! fragments. UDP's checksum on the way out stays with smoltcp too: a datagram may be sent in
//! fragments, and no device completes a sum over those.

use paravane_net::ChecksumRequest;
use smoltcp::wire::checksum;

/// A shorter frame is summed here: asking the device costs more than that.
const ASK_FROM_BYTES: usize = 256;

const ETHERNET_BYTES: usize = 14;
/// Of an IPv4 header without options.
const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
/// Of a TCP header without options.
const TCP_HEADER_BYTES: usize = 20;
/// Where TCP's checksum is in its header.
const CHECKSUM_BYTES: usize = 16;
/// IP's number for TCP.
const TCP: u8 = 6;

/// Sees to the checksum of a TCP segment in the Ethernet frame `frame`, if the field was left zero.
///
/// Writes the checksum, or, where the device completes it, the pseudo-header's sum; the request for
/// that is returned.
pub(crate) fn complete(frame: &mut [u8], device_completes: bool) -> Option<ChecksumRequest> {
    let Segment { start, end, pseudo_header } = Segment::find(frame)?;
    let ask = device_completes && frame.len() >= ASK_FROM_BYTES && end == frame.len();
    let value = if ask {
        pseudo_header
    } else {
        !checksum::combine(&[pseudo_header, checksum::data(frame.get(start..end)?)])
    };
    let field = start.checked_add(CHECKSUM_BYTES)?;
    *frame.get_mut(field..)?.first_chunk_mut()? = value.to_be_bytes();
    let start_bytes = u16::try_from(start).ok()?;
    ask.then_some(ChecksumRequest { start_bytes, offset_bytes: 16 })
}

/// A TCP segment without a checksum.
struct Segment {
    /// Where its header begins in the frame.
    start: usize,
    /// Where its data ends.
    end: usize,
    /// The pseudo-header's sum, folded, not complemented.
    pseudo_header: u16,
}

impl Segment {
    /// The TCP segment in `frame` whose checksum field is zero. Anything else, fragments too, has
    /// none.
    fn find(frame: &[u8]) -> Option<Self> {
        let (ethernet, ip) = frame.split_at_checked(ETHERNET_BYTES)?;
        let word = |offset: usize| ip.get(offset..)?.first_chunk().map(|word| u16::from_be_bytes(*word));
        let (protocol, header_bytes, total_bytes, addresses) = match ethernet.get(12..)? {
            [0x08, 0x00] => {
                let header_bytes = usize::from(ip.first()? & 0x0f) * 4;
                // The flag for more to come, and the offset.
                let is_fragment = word(6)? & 0x3fff != 0;
                let protocol = ip.get(9).filter(|_| !is_fragment)?;
                (protocol, header_bytes, usize::from(word(2)?), ip.get(12..20)?)
            }
            [0x86, 0xdd] => {
                let total_bytes = IPV6_HEADER_BYTES + usize::from(word(4)?);
                (ip.get(6)?, IPV6_HEADER_BYTES, total_bytes, ip.get(8..IPV6_HEADER_BYTES)?)
            }
            _ => return None,
        };
        let segment = ip.get(header_bytes..total_bytes).filter(|_| header_bytes >= IPV4_HEADER_BYTES)?;
        let without_sum = segment.get(CHECKSUM_BYTES..)?.starts_with(&[0, 0]);
        if *protocol != TCP || segment.len() < TCP_HEADER_BYTES || !without_sum {
            return None;
        }
        let length = u16::try_from(segment.len()).ok()?;
        let pseudo_header = checksum::combine(&[checksum::data(addresses), TCP.into(), length]);
        Some(Self { start: ETHERNET_BYTES + header_bytes, end: ETHERNET_BYTES + total_bytes, pseudo_header })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{IpAddress, Ipv4Address, Ipv6Address, TcpPacket};

    /// A frame with a segment of so many bytes of data, whose checksum field is zero.
    fn frame(is_v6: bool, data_bytes: u16) -> (Vec<u8>, usize, [IpAddress; 2]) {
        let segment_bytes = 20 + data_bytes;
        let mut frame = vec![2; 12];
        let addresses = if is_v6 {
            let of = |last| Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, last);
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(segment_bytes.to_be_bytes());
            frame.extend([6, 64]);
            frame.extend([of(1), of(2)].iter().flat_map(Ipv6Address::octets));
            [of(1).into(), of(2).into()]
        } else {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + segment_bytes).to_be_bytes());
            frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            [1, 2].map(|last| Ipv4Address::new(10, 0, 0, last).into())
        };
        let start = frame.len();
        frame.extend((0..segment_bytes).map(|i| i.to_le_bytes()[0]));
        frame[start + 12] = 0x50;
        frame[start + 16..start + 18].fill(0);
        (frame, start, addresses)
    }

    fn is_right(frame: &[u8], start: usize, [from, to]: &[IpAddress; 2]) -> bool {
        TcpPacket::new_checked(&frame[start..]).unwrap().verify_checksum(from, to)
    }

    #[test]
    fn what_no_device_completes_is_summed_here() {
        for (is_v6, data_bytes) in [(false, 0), (false, 1001), (true, 0), (true, 1440)] {
            let (mut frame, start, addresses) = frame(is_v6, data_bytes);
            assert!(!is_right(&frame, start, &addresses));
            assert_eq!(complete(&mut frame, false), None);
            assert!(is_right(&frame, start, &addresses), "{is_v6} {data_bytes}");
        }
    }

    #[test]
    fn a_device_that_completes_is_asked_for_long_frames() {
        for (is_v6, start_bytes) in [(false, 34), (true, 54)] {
            let (mut long, start, addresses) = frame(is_v6, 1001);
            let request = complete(&mut long, true);
            assert_eq!(request, Some(ChecksumRequest { start_bytes, offset_bytes: 16 }));
            // What a device does.
            let sum = !checksum::data(&long[start..]);
            long[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
            assert!(is_right(&long, start, &addresses));

            let (mut short, start, addresses) = frame(is_v6, 12);
            assert_eq!(complete(&mut short, true), None);
            assert!(is_right(&short, start, &addresses));
        }
    }

    #[test]
    fn a_frame_that_ends_later_than_its_packet_is_summed_here() {
        let (mut padded, start, addresses) = frame(false, 300);
        let end = padded.len();
        padded.extend([0xff; 6]);
        assert_eq!(complete(&mut padded, true), None);
        assert!(is_right(&padded[..end], start, &addresses));
    }

    #[test]
    fn all_else_is_left_as_it_is() {
        let (whole, ..) = frame(false, 300);
        let with = |place: usize, byte: u8| {
            let mut changed = whole.clone();
            changed[place] = byte;
            changed
        };
        let mut has_sum = whole.clone();
        has_sum[50..52].copy_from_slice(&[0x12, 0x34]);
        let mut short = with(16, 0);
        short[17] = 30;
        let others = [
            ("another protocol", with(23, 17)),
            ("another ethertype", with(13, 6)),
            ("a first fragment", with(20, 0x20)),
            ("a later fragment", with(21, 1)),
            ("a packet that says that it is longer", with(16, 0xff)),
            ("a packet without room for the header", short),
            ("an IP header of no words", with(14, 0x40)),
            ("a sum that is there", has_sum),
            ("no packet", whole[..20].to_vec()),
            ("nothing", Vec::new()),
        ];
        for (what, mut frame) in others {
            let before = frame.clone();
            assert_eq!((complete(&mut frame, true), &frame), (None, &before), "{what}");
        }
    }
}
