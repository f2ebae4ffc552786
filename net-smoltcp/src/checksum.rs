//! Completing a checksum that a device left partial.
//!
//! A frame that never crossed a wire may arrive with only the pseudo-header's sum in its layer-4 checksum field. smoltcp verifies
//! every checksum, so the adapter finishes the sum first.

use paravane_net::ChecksumRequest;

/// Sums `frame` from `request.start_bytes` to its end and stores the checksum. False, and nothing is written, when the request does not fit the frame.
pub(crate) fn complete(frame: &mut [u8], request: ChecksumRequest) -> bool {
    let start = usize::from(request.start_bytes);
    let field = start.saturating_add(usize::from(request.offset_bytes));
    let Some(sum) = frame.get(start..).map(ones_complement_sum) else {
        return false;
    };
    let Some(place) = frame.get_mut(field..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
        return false;
    };
    // Zero means "no checksum" to UDP; its other representation says the same to everyone.
    let checksum = match !sum {
        0 => 0xffff,
        other => other,
    };
    *place = checksum.to_be_bytes();
    true
}

/// The Internet checksum's sum, folded, not complemented.
fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut sum: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    if let [last] = rest {
        sum = sum.wrapping_add(u64::from(u16::from_be_bytes([*last, 0])));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_udp_checksum_becomes_the_real_one() {
        use smoltcp::phy::ChecksumCapabilities;
        use smoltcp::wire::{Ipv4Address, UdpPacket, UdpRepr};
        let (from, to) = (Ipv4Address::new(10, 0, 0, 1).into(), Ipv4Address::new(10, 0, 0, 2).into());
        for payload in [&b"odd"[..], b"even", b""] {
            let repr = UdpRepr { src_port: 1000, dst_port: 2000 };
            let mut whole = vec![0; 8 + payload.len()];
            let fill = |place: &mut [u8]| place.copy_from_slice(payload);
            repr.emit(
                &mut UdpPacket::new_unchecked(&mut whole[..]),
                &from,
                &to,
                payload.len(),
                fill,
                &ChecksumCapabilities::default(),
            );
            // What a partial frame holds: the pseudo-header's sum.
            let mut pseudo = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 17];
            pseudo.extend_from_slice(&u16::try_from(whole.len()).unwrap().to_be_bytes());
            let mut partial = vec![0xaa; 34];
            partial.extend_from_slice(&whole);
            partial[34 + 6..34 + 8].copy_from_slice(&ones_complement_sum(&pseudo).to_be_bytes());
            assert!(complete(&mut partial, ChecksumRequest { start_bytes: 34, offset_bytes: 6 }));
            assert_eq!(partial[34..], whole);
        }
    }

    #[test]
    fn a_request_outside_the_frame_is_refused() {
        let mut frame = [0; 40];
        assert!(!complete(&mut frame, ChecksumRequest { start_bytes: 41, offset_bytes: 0 }));
        assert!(!complete(&mut frame, ChecksumRequest { start_bytes: 34, offset_bytes: 5 }));
        assert!(!complete(&mut frame, ChecksumRequest { start_bytes: u16::MAX, offset_bytes: u16::MAX }));
        assert_eq!(frame, [0; 40]);
    }
}
