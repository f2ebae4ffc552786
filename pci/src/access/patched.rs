//! Another access with single bytes replaced: a test aid that works on a running machine.

use core::{fmt, ops::RangeInclusive};

use super::ConfigAccess;
use crate::PciAddress;

const CAPACITY: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Patch {
    at: PciAddress,
    offset: u16,
    value: u8,
}

/// Reads of chosen bytes give chosen values; everything else goes through, writes included.
///
/// So a loop in a capability list can be shown on a device whose list is sound.
#[derive(Clone, Debug)]
pub struct Patched<C> {
    inner: C,
    patches: [Option<Patch>; CAPACITY],
}

/// No more bytes can be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchesFull;

impl fmt::Display for PatchesFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CAPACITY} configuration bytes are replaced already")
    }
}

impl core::error::Error for PatchesFull {}

impl<C: ConfigAccess> Patched<C> {
    /// `inner` as it is.
    #[must_use]
    pub fn new(inner: C) -> Self {
        Self { inner, patches: [None; CAPACITY] }
    }

    /// From now on the byte at `offset` of `at` reads as `value`. The last word on a byte counts.
    ///
    /// # Errors
    ///
    /// [`PatchesFull`]; the byte reads as before.
    pub fn patch(&mut self, at: PciAddress, offset: u16, value: u8) -> Result<(), PatchesFull> {
        let same =
            |patch: &&mut Option<Patch>| patch.is_some_and(|patch| patch.at == at && patch.offset == offset);
        let place = match self.patches.iter_mut().find(same) {
            Some(place) => place,
            None => self.patches.iter_mut().find(|patch| patch.is_none()).ok_or(PatchesFull)?,
        };
        *place = Some(Patch { at, offset, value });
        Ok(())
    }

    /// Replaces the bytes that were read at `offset`.
    fn apply<const WIDTH: usize>(&self, at: PciAddress, offset: u16, mut bytes: [u8; WIDTH]) -> [u8; WIDTH] {
        for patch in self.patches.iter().flatten().filter(|patch| patch.at == at) {
            let within = patch.offset.checked_sub(offset).and_then(|index| bytes.get_mut(usize::from(index)));
            if let Some(byte) = within {
                *byte = patch.value;
            }
        }
        bytes
    }
}

impl<C: ConfigAccess> ConfigAccess for Patched<C> {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        u8::from_le_bytes(self.apply(at, offset, self.inner.read8(at, offset).to_le_bytes()))
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        u16::from_le_bytes(self.apply(at, offset, self.inner.read16(at, offset).to_le_bytes()))
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        u32::from_le_bytes(self.apply(at, offset, self.inner.read32(at, offset).to_le_bytes()))
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        self.inner.write8(at, offset, value);
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.inner.write16(at, offset, value);
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        self.inner.write32(at, offset, value);
    }
    fn config_bytes(&self) -> u16 {
        self.inner.config_bytes()
    }
    fn segment(&self) -> u16 {
        self.inner.segment()
    }
    fn buses(&self) -> RangeInclusive<u8> {
        self.inner.buses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBus, MockFunction, at};

    #[test]
    fn a_patched_byte_shows_in_every_width_that_covers_it() {
        let bus = MockBus::of(MockFunction::nic().with(0x40, &[0x11, 0x22, 0x33, 0x44]));
        let nic = at("00:04.0");
        let mut patched = Patched::new(&bus);
        patched.patch(nic, 0x42, 0xee).unwrap();
        assert_eq!(patched.read8(nic, 0x42), 0xee);
        assert_eq!(patched.read16(nic, 0x42), 0x44ee);
        assert_eq!(patched.read32(nic, 0x40), 0x44ee_2211);
        assert_eq!(patched.read16(nic, 0x40), 0x2211, "its neighbours are as they were");
        assert_eq!(patched.read32(nic, 0x44), 0);
        assert_eq!(patched.read8(at("00:05.0"), 0x42), 0xff, "so are other functions");
    }

    #[test]
    fn the_last_word_on_a_byte_counts_and_takes_no_second_place() {
        let bus = MockBus::of(MockFunction::nic());
        let mut patched = Patched::new(&bus);
        for value in 0..=u8::MAX {
            patched.patch(at("00:04.0"), 0x34, value).unwrap();
        }
        assert_eq!(patched.read8(at("00:04.0"), 0x34), u8::MAX);
        for offset in 1..16 {
            patched.patch(at("00:04.0"), offset, 0).unwrap();
        }
        assert_eq!(patched.patch(at("00:04.0"), 16, 0), Err(PatchesFull));
    }

    #[test]
    fn writes_go_through() {
        let bus = MockBus::of(MockFunction::nic());
        let patched = Patched::new(&bus);
        patched.write16(at("00:04.0"), 0x04, 6);
        assert_eq!(bus.read16(at("00:04.0"), 0x04), 6);
    }
}
