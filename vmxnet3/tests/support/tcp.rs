//! TCP packets as they are on the wire, to be put together and cut.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "helpers of tests")]

use paravane_net::{ChecksumRequest, Segmentation, SegmentationKind};

use crate::support::MAC;

/// What a packet is made of.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    pub is_v6: bool,
    pub tag: Option<u16>,
    /// Words of options behind IPv4's header, and behind TCP's.
    pub options: [usize; 2],
    pub flags: u8,
    pub payload_bytes: usize,
}

pub const ACK: u8 = 1 << 4;
pub const CWR: u8 = 1 << 7;

/// Of IPv4, without anything special.
pub const PLAIN: Tcp = Tcp { is_v6: false, tag: None, options: [0, 3], flags: ACK, payload_bytes: 0 };

impl Tcp {
    /// Where the IP header is, the TCP header, and the payload.
    pub fn places(&self) -> [usize; 3] {
        let ip = if self.tag.is_some() { 18 } else { 14 };
        let tcp = ip + if self.is_v6 { 40 } else { 20 + 4 * self.options[0] };
        [ip, tcp, tcp + 20 + 4 * self.options[1]]
    }

    /// The packet in a frame to us, all checksums in place.
    pub fn frame(&self) -> Vec<u8> {
        let [ip, tcp, payload] = self.places();
        let end = payload + self.payload_bytes;
        let mut frame = MAC.to_vec();
        frame.extend([2, 0, 0, 0, 0, 1]);
        if let Some(tag) = self.tag {
            frame.extend([0x81, 0]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(if self.is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        frame.resize(payload, 0);
        if self.is_v6 {
            frame[ip] = 0x60;
            frame[ip + 4..ip + 6].copy_from_slice(&((end - tcp) as u16).to_be_bytes());
            frame[ip + 6..ip + 8].copy_from_slice(&[6, 64]);
            for at in 8..40 {
                frame[ip + at] = (at as u8).wrapping_mul(7);
            }
        } else {
            frame[ip] = 0x45 + self.options[0] as u8;
            frame[ip + 2..ip + 4].copy_from_slice(&((end - ip) as u16).to_be_bytes());
            frame[ip + 4..ip + 6].copy_from_slice(&[0x12, 0x34]);
            frame[ip + 8..ip + 10].copy_from_slice(&[64, 6]);
            frame[ip + 12..ip + 20].copy_from_slice(&[10, 0, 0, 1, 192, 168, 200, 2]);
            frame[ip + 20..tcp].fill(1);
            let sum = !folded(&frame[ip..tcp], 0);
            frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        }
        frame[tcp..tcp + 8].copy_from_slice(&[0x9c, 0x40, 0x01, 0xbb, 0xff, 0xff, 0xff, 0x00]);
        frame[tcp + 12] = (5 + self.options[1] as u8) << 4;
        frame[tcp + 13] = self.flags;
        frame[tcp + 14] = 0xff;
        frame[tcp + 20..payload].fill(1);
        frame.extend((0..self.payload_bytes).map(|at| (at % 251) as u8));
        let sum = !folded(&frame[tcp..], self.pseudo_sum(end - tcp).into());
        frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// The folded sum of the pseudo-header, over a length of that.
    pub fn pseudo_sum(&self, len_bytes: usize) -> u16 {
        let addresses: Vec<u8> = if self.is_v6 {
            (8..40).map(|at: u8| at.wrapping_mul(7)).collect()
        } else {
            vec![10, 0, 0, 1, 192, 168, 200, 2]
        };
        folded(&addresses, len_bytes as u64 + 6)
    }
}

impl Tcp {
    /// Where the checksum is, and how it is cut.
    pub fn asked(&self, mss_bytes: u16) -> (ChecksumRequest, Segmentation) {
        let [_, tcp, payload] = self.places().map(|at| u16::try_from(at).unwrap());
        let kind = if self.is_v6 { SegmentationKind::Tcp6 } else { SegmentationKind::Tcp4 };
        let ecn = self.flags & CWR != 0;
        let request = ChecksumRequest { start_bytes: tcp, offset_bytes: 16 };
        (request, Segmentation { kind, header_bytes: payload, mss_bytes, ecn })
    }

    /// The packet with the sum of its pseudo-header for a checksum.
    pub fn open_frame(&self) -> Vec<u8> {
        let [_, tcp, _] = self.places();
        let mut bytes = self.frame();
        let sum = self.pseudo_sum(bytes.len() - tcp);
        bytes[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// Packets of all kinds, and what each of their segments carries.
pub fn kinds() -> impl Iterator<Item = (Tcp, u16)> {
    let v6 = Tcp { is_v6: true, ..PLAIN };
    let shapes = [
        PLAIN,
        v6,
        Tcp { options: [3, 0], ..PLAIN },
        Tcp { options: [10, 10], ..PLAIN },
        Tcp { tag: Some(5), ..PLAIN },
        Tcp { tag: Some(5), ..v6 },
        Tcp { flags: ACK | CWR, ..PLAIN },
    ];
    let sizes = [(1600, 800), (3000, 1380), (2761, 1380), (20_000, 1300), (60_000, 1380), (900, 100)];
    shapes.into_iter().flat_map(move |shape| {
        sizes.map(|(payload_bytes, mss_bytes)| (Tcp { payload_bytes, ..shape }, mss_bytes))
    })
}

/// The sum of `bytes` and of `start`, folded and not complemented.
pub fn folded(bytes: &[u8], start: u64) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    let mut sum = bytes.chunks(2).map(word).sum::<u64>() + start;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
