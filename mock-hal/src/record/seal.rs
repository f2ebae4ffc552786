//! What the last line of a recording says of the others, so that one that was changed is found out.

use std::fmt;

/// The end of a recording: `end COUNT CRC32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    /// How many entries there are.
    pub(super) entries: usize,
    /// Of all lines before it, each without the spaces around it and with one `\n`; comments and
    /// blank lines do not count.
    pub(super) crc32: u32,
}

impl Seal {
    /// The seal of `lines` with `entries` entries among them.
    pub(super) fn of<'a>(entries: usize, lines: impl Iterator<Item = &'a str>) -> Self {
        let counted = lines.map(str::trim).filter(|line| says_something(line));
        let bytes = counted.flat_map(|line| line.bytes().chain([b'\n']));
        Self { entries, crc32: crc32(bytes) }
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, crc32 } = self;
        write!(f, "end {entries} {crc32:#010x}")
    }
}

/// Whether a line, without the spaces around it, is more than a remark or air.
pub(super) fn says_something(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

/// CRC-32 as in Ethernet: reflected, polynomial 0x04c11db7, all ones before and after.
fn crc32(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(u32::MAX, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut sum = byte;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ 0xedb8_8320 };
            bit += 1;
        }
        table[byte as usize] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_one_of_ethernet() {
        assert_eq!(crc32(b"123456789".iter().copied()), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
    }

    #[test]
    fn comments_and_air_are_not_sealed() {
        let of = |text: &str| Seal::of(1, text.lines()).to_string();
        assert_eq!(of("look"), of("\n  # a remark\n\tlook  \n\n"));
        assert_ne!(of("look"), of("loop"));
        assert_ne!(of("look\nlook"), of("looklook"), "where a line ends is part of it");
    }
}
