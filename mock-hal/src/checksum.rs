//! The checksum of the internet.

/// The words of `bytes` added up, not folded yet.
pub(crate) fn add(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
}

/// A sum in 16 bits, not complemented.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (sum & 0xffff) as u16
}

/// What stands for a sum in a packet. Zero would say that there is none.
pub(crate) fn complement(sum: u16) -> u16 {
    Some(!sum).filter(|sum| *sum != 0).unwrap_or(0xffff)
}

/// Completes a checksum that was left to a device: summed from `start` on, what its field has
/// included, and stored at `at`. Not beyond the frame.
pub(crate) fn finish(frame: &mut [u8], start: usize, at: usize) {
    if let Some(summed) = frame.get(start..)
        && frame.len() >= at + 2
    {
        let checksum = complement(fold(add(summed)));
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}
