//! Protocol revisions, and how one is agreed.

use core::fmt;

/// A revision of the protocol, as agreed with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision(u8);

/// Bit n for revision n + 1: what this driver speaks.
///
/// Revision 1 alone. It is the whole of what QEMU offers, every ESXi has it, and nothing that later
/// ones add is used yet: saying a higher number without using it would only add what can go wrong.
pub(crate) const SPOKEN: u32 = 1;

impl Revision {
    /// The highest revision that both sides speak.
    #[expect(clippy::cast_possible_truncation, reason = "a bit number is at most 31")]
    pub(crate) const fn agree(offered: u32) -> Option<Self> {
        match (offered & SPOKEN).checked_ilog2() {
            Some(bit) => Some(Self((bit as u8).wrapping_add(1))),
            None => None,
        }
    }

    /// What to write to `VRRS`: the bit of this revision.
    pub(crate) const fn bit(self) -> u32 {
        1_u32.wrapping_shl(self.0.wrapping_sub(1) as u32)
    }

    /// Its number.
    pub(crate) const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_revision_is_agreed() {
        for offered in [0b1, 0b111_1111, u32::MAX] {
            let revision = Revision::agree(offered).unwrap();
            assert_eq!((revision.number(), revision.bit()), (1, 1));
        }
        assert_eq!(Revision::agree(0), None);
        assert_eq!(Revision::agree(0b110), None, "a device that dropped revision 1");
    }
}
