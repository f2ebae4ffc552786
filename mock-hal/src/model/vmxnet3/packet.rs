//! Where things are in a frame, as the device finds them.

/// Protocols of IP.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ESP: u8 = 50;

/// An IP packet in a frame. All places count from the frame's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Where the IP header starts.
    pub(super) l3: usize,
    /// Where its payload starts, behind options and extensions.
    pub(super) l4: usize,
    /// Where its payload ends, which may be before the frame does.
    pub(super) end: usize,
    pub(super) is_v6: bool,
    /// Of the payload.
    pub(super) protocol: u8,
    /// Carries part of a payload.
    pub(super) is_fragment: bool,
}

fn be16(frame: &[u8], at: usize) -> Option<usize> {
    frame.get(at..at + 2).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
}

impl Packet {
    /// Of a frame that starts at `start`, behind up to two VLAN tags. `None` for what is no IP, or
    /// says that it is longer than it is.
    pub(super) fn parse(frame: &[u8], start: usize) -> Option<Self> {
        let mut kind = start + 12;
        for _ in 0..2 {
            if matches!(be16(frame, kind)?, 0x8100 | 0x88a8) {
                kind += 4;
            }
        }
        let l3 = kind + 2;
        match be16(frame, kind)? {
            0x0800 => Self::parse_v4(frame, l3),
            0x86dd => Self::parse_v6(frame, l3),
            _ => None,
        }
    }

    fn parse_v4(frame: &[u8], l3: usize) -> Option<Self> {
        let header = frame.get(l3..l3 + 20)?;
        let l4 = l3 + usize::from(header[0] & 0xf) * 4;
        let end = l3 + be16(frame, l3 + 2)?;
        if header[0] >> 4 != 4 || l4 < l3 + 20 || end < l4 || frame.len() < end {
            return None;
        }
        // More fragments, or not the first one.
        let is_fragment = be16(frame, l3 + 6)? & 0x3fff != 0;
        Some(Self { l3, l4, end, is_v6: false, protocol: header[9], is_fragment })
    }

    fn parse_v6(frame: &[u8], l3: usize) -> Option<Self> {
        let header = frame.get(l3..l3 + 40)?;
        let end = l3 + 40 + be16(frame, l3 + 4)?;
        if header[0] >> 4 != 6 || frame.len() < end {
            return None;
        }
        let (mut l4, mut protocol, mut is_fragment) = (l3 + 40, header[6], false);
        loop {
            let extension = frame.get(l4..end)?;
            let len_bytes = match protocol {
                // Hop-by-hop options, routing, destination options.
                0 | 43 | 60 => 8 + usize::from(*extension.get(1)?) * 8,
                44 => {
                    is_fragment |= be16(extension, 2)? & 0xfff9 != 0;
                    8
                }
                _ => return Some(Self { l3, l4, end, is_v6: true, protocol, is_fragment }),
            };
            protocol = *extension.first()?;
            l4 += len_bytes;
        }
    }

    /// Source and destination.
    pub(super) fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let (start, len_bytes) = if self.is_v6 { (8, 32) } else { (12, 8) };
        &frame[self.l3 + start..][..len_bytes]
    }

    /// What is carried.
    pub(super) fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.l4..self.end]
    }
}
