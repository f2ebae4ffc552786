//! Configuration space for who can reach it by dwords alone.
//!
//! A read takes its part of a dword. A write of less than one reads the dword and writes it back
//! with a part replaced, and the trap is in the rest: a status bit that reads as one is cleared by
//! being written as one. So those that are known are written as zeroes, which leaves them alone.
//!
//! | Written | Beside it |
//! |---|---|
//! | command | status |
//! | I/O window of a bridge | secondary status |
//! | interrupt line of a bridge, bridge control | discard timer status, in bridge control |
//! | device, link and slot control of PCI Express | the status of each |
//! | root control of PCI Express | nothing; root status is a dword with PME status in it |
//! | power management control | PME status, in the same word |
//! | PCI-X command of a bridge | secondary status of PCI-X |
//!
//! Spec: PCI Local Bus 3.0, 6.2.3 "Device Status"; PCI-to-PCI Bridge 1.2, 3.2.5.7 and 3.2.5.18; PCI
//! Express Base 5.0, 7.5.3; PCI Bus Power Management Interface 1.2, 3.2.4; PCI-X Protocol Addendum
//! 2.0a, 7.2 and 8.6.2.

use core::ops::RangeInclusive;

use super::{CONFIG_BYTES, ConfigAccess, answers};
use crate::PciAddress;
use crate::capability::{Capabilities, CapabilityId};
use crate::header::{COMMAND, HEADER_TYPE};

/// Configuration space by aligned dwords: what other crates' traits for it ask for, and some
/// hypercalls give. [`Dwords`] makes a [`ConfigAccess`] of it.
///
/// **Platform authors** keep these promises:
/// - `offset` is a multiple of 4, and below [`config_bytes`](Self::config_bytes); an access is one
///   access of a dword.
/// - Values are in the CPU's byte order; configuration space is little-endian.
/// - Where nobody answers, reads give all ones and writes go nowhere.
pub trait DwordAccess {
    /// Reads a dword.
    fn read(&self, at: PciAddress, offset: u16) -> u32;
    /// Writes a dword.
    fn write(&self, at: PciAddress, offset: u16, value: u32);
    /// As [`ConfigAccess::config_bytes`].
    fn config_bytes(&self) -> u16;
    /// As [`ConfigAccess::segment`].
    fn segment(&self) -> u16;
    /// As [`ConfigAccess::buses`].
    fn buses(&self) -> RangeInclusive<u8>;
}

/// A [`ConfigAccess`] made of a [`DwordAccess`].
///
/// A narrow write is a read and a write: whoever else writes the same dword meanwhile must be kept
/// out.
///
/// ```
/// use paravane_pci::{ConfigAccess, DwordAccess, Dwords, PciAddress};
/// # use core::ops::RangeInclusive;
/// # mod kernel {
/// #     pub fn pci_read(_: u8, _: u8, _: u16) -> u32 { 0x07b0_15ad }
/// #     pub fn pci_write(_: u8, _: u8, _: u16, _: u32) {}
/// # }
///
/// struct Kernel;
///
/// impl DwordAccess for Kernel {
///     fn read(&self, at: PciAddress, offset: u16) -> u32 {
///         kernel::pci_read(at.bus(), at.devfn(), offset)
///     }
///     fn write(&self, at: PciAddress, offset: u16, value: u32) {
///         kernel::pci_write(at.bus(), at.devfn(), offset, value);
///     }
///     fn config_bytes(&self) -> u16 {
///         4096
///     }
///     fn segment(&self) -> u16 {
///         0
///     }
///     fn buses(&self) -> RangeInclusive<u8> {
///         0..=255
///     }
/// }
///
/// let access = Dwords(Kernel);
/// assert_eq!(access.read16("00:04.0".parse()?, 2), 0x07b0);
/// # Ok::<(), paravane_pci::ParseAddressError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Dwords<D>(pub D);

const COMMAND_DWORD: u16 = COMMAND;
const HEADER_TYPE_DWORD: u16 = HEADER_TYPE & !3;
const IO_WINDOW_DWORD: u16 = 0x1c;
const BRIDGE_CONTROL_DWORD: u16 = 0x3c;

/// The lower half: a control register with its status above.
const LOWER: u32 = 0x0000_ffff;
const DISCARD_TIMER_STATUS: u32 = 1 << 26;
const ROOT_PME_STATUS: u32 = 1 << 16;
const PME_STATUS: u32 = 1 << 15;

impl<D: DwordAccess> Dwords<D> {
    /// `offset` as dword and shift; `None` where nobody answers.
    fn place(&self, at: PciAddress, offset: u16, width_bytes: u16) -> Option<(u16, u32)> {
        let ours = at.segment() == self.0.segment() && answers(offset, width_bytes, self.0.config_bytes());
        ours.then(|| (offset & !3, u32::from(offset & 3).wrapping_mul(8)))
    }

    /// The part at `offset` of its dword, in the low bits.
    fn read_part(&self, at: PciAddress, offset: u16, width_bytes: u16) -> u32 {
        self.place(at, offset, width_bytes).map_or(u32::MAX, |(dword, shift)| self.0.read(at, dword) >> shift)
    }

    /// Replaces the bits of `mask` at `offset`.
    fn write_part(&self, at: PciAddress, offset: u16, width_bytes: u16, mask: u32, value: u32) {
        let Some((dword, shift)) = self.place(at, offset, width_bytes) else { return };
        let rest = self.0.read(at, dword) & self.writes_back(at, dword) & !(mask << shift);
        self.0.write(at, dword, rest | value << shift);
    }

    /// The bits of `dword` that keep their value when they are written back as they were read.
    fn writes_back(&self, at: PciAddress, dword: u16) -> u32 {
        let is_bridge = || self.0.read(at, HEADER_TYPE_DWORD) >> 16 & 0x7f == 1;
        match dword {
            COMMAND_DWORD => LOWER,
            IO_WINDOW_DWORD if is_bridge() => LOWER,
            BRIDGE_CONTROL_DWORD if is_bridge() => !DISCARD_TIMER_STATUS,
            0x40..CONFIG_BYTES => self.writes_back_in_capability(at, dword),
            _ => u32::MAX,
        }
    }

    /// The same for a dword of a capability: the last one that starts at or before it.
    fn writes_back_in_capability(&self, at: PciAddress, dword: u16) -> u32 {
        let before = |offset: u8| dword.checked_sub(offset.into());
        let listed = Capabilities::new(self, at).map_while(Result::ok);
        let nearest = listed.filter_map(|found| Some((before(found.offset)?, found.id)));
        match nearest.min_by_key(|(inside, _)| *inside) {
            // Device, link and slot; and again for what version 2 added.
            Some((0x08 | 0x10 | 0x18 | 0x28 | 0x30 | 0x38, CapabilityId::PCIE)) => LOWER,
            Some((0x20, CapabilityId::PCIE)) => !ROOT_PME_STATUS,
            Some((0x04, CapabilityId::POWER)) => !PME_STATUS,
            Some((0x00, CapabilityId::PCIX)) => LOWER,
            Some((0x04, CapabilityId::PCIX)) => 0,
            _ => u32::MAX,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are the part that was asked for")]
impl<D: DwordAccess> ConfigAccess for Dwords<D> {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        self.read_part(at, offset, 1) as u8
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        self.read_part(at, offset, 2) as u16
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        self.read_part(at, offset, 4)
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        self.write_part(at, offset, 1, u8::MAX.into(), value.into());
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.write_part(at, offset, 2, u16::MAX.into(), value.into());
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        if let Some((dword, _)) = self.place(at, offset, 4) {
            self.0.write(at, dword, value);
        }
    }
    fn config_bytes(&self) -> u16 {
        self.0.config_bytes()
    }
    fn segment(&self) -> u16 {
        self.0.segment()
    }
    fn buses(&self) -> RangeInclusive<u8> {
        self.0.buses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBus, MockFunction, at};

    /// The mock's space by dwords alone.
    struct Plain<'b>(&'b MockBus);

    impl DwordAccess for Plain<'_> {
        fn read(&self, at: PciAddress, offset: u16) -> u32 {
            assert!(offset.is_multiple_of(4) && offset < self.config_bytes());
            self.0.read32(at, offset)
        }
        fn write(&self, at: PciAddress, offset: u16, value: u32) {
            assert!(offset.is_multiple_of(4) && offset < self.config_bytes());
            self.0.write32(at, offset, value);
        }
        fn config_bytes(&self) -> u16 {
            ConfigAccess::config_bytes(self.0)
        }
        fn segment(&self) -> u16 {
            0
        }
        fn buses(&self) -> RangeInclusive<u8> {
            ConfigAccess::buses(self.0)
        }
    }

    fn nic() -> PciAddress {
        at("00:04.0")
    }

    #[test]
    fn parts_of_a_dword_are_read() {
        let bus = MockBus::of(MockFunction::nic().with(0x40, &[0x11, 0x22, 0x33, 0x44]));
        let access = Dwords(Plain(&bus));
        assert_eq!(access.read8(nic(), 0x43), 0x44);
        assert_eq!(access.read16(nic(), 0x42), 0x4433);
        assert_eq!(access.read32(nic(), 0x40), 0x4433_2211);
    }

    #[test]
    fn where_nobody_answers_the_dwords_are_not_asked() {
        let bus = MockBus::of(MockFunction::nic()).config_bytes(256);
        let access = Dwords(Plain(&bus));
        let elsewhere = PciAddress::new(1, 0, 4, 0).unwrap();
        assert_eq!(access.read32(elsewhere, 0), u32::MAX, "another segment");
        assert_eq!(access.read16(nic(), 0x41), u16::MAX, "misaligned");
        assert_eq!(access.read32(nic(), 0x100), u32::MAX);
        access.write8(nic(), 0x100, 0);
        access.write32(nic(), 0x42, 0);
        assert_eq!((bus.reads.get(), bus.writes.borrow().len()), (0, 0));
    }

    #[test]
    fn a_write_of_the_command_register_clears_no_status() {
        let bus = MockBus::of(MockFunction::nic().with(0x04, &[0x06, 0x00, 0x10, 0xf9]));
        let access = Dwords(Plain(&bus));
        access.write16(nic(), 0x04, 0x0407);
        access.write8(nic(), 0x05, 0x01);
        access.write16(nic(), 0x06, 0xf900);
        assert_eq!(
            *bus.writes.borrow(),
            [(0x04, 4, 0x0000_0407), (0x04, 4, 0x0000_0107), (0x04, 4, 0xf900_0007)],
            "the last one clears what it was told to, and leaves the command register"
        );
    }

    #[test]
    fn a_write_beside_a_bridges_status_clears_none() {
        let bridge = MockFunction::bridge(0, 1, 1).with(0x1c, &[0x11, 0x21, 0x00, 0xf9]);
        let bus = MockBus::of(bridge.with(0x3c, &[11, 1, 0x02, 0x04]));
        let access = Dwords(Plain(&bus));
        access.write16(nic(), 0x1c, 0x00f0);
        access.write8(nic(), 0x3c, 5);
        access.write8(nic(), 0x3e, 0x40);
        assert_eq!(
            *bus.writes.borrow(),
            [(0x1c, 4, 0x0000_00f0), (0x3c, 4, 0x0002_0105), (0x3c, 4, 0x0040_010b)],
            "secondary status and discard timer status are written as zeroes"
        );
    }

    #[test]
    fn what_has_no_status_beside_it_is_written_back() {
        let bus = MockBus::of(MockFunction::nic().with(0x1c, &[1, 2, 3, 4]).with(0x3c, &[11, 1, 2, 4]));
        let access = Dwords(Plain(&bus));
        access.write8(nic(), 0x1c, 9);
        access.write8(nic(), 0x3c, 9);
        assert_eq!(*bus.writes.borrow(), [(0x1c, 4, 0x0403_0209), (0x3c, 4, 0x0402_0109)]);
    }

    #[test]
    fn a_write_beside_a_capabilitys_status_clears_none() {
        let all = [0xff_u8; 0x3a];
        let function = MockFunction::nic().capabilities(&[
            (0x50, 0x01, &all[..6]),
            (0x60, 0x10, &all),
            (0xa0, 0x05, &all[..22]),
            (0xc0, 0x07, &all[..6]),
        ]);
        let bus = MockBus::of(function);
        let access = Dwords(Plain(&bus));
        for (offset, expected) in [
            (0x54, 0xffff_0000 | 0x7f00), // PMCSR; its low byte is replaced
            (0x68, 0x0000_ff00),          // device control
            (0x70, 0x0000_ff00),          // link control
            (0x78, 0x0000_ff00),          // slot control
            (0x7c, 0xffff_ff00),          // root control
            (0x80, 0xfffe_ff00),          // root status
            (0x88, 0x0000_ff00),          // device control 2
            (0x90, 0x0000_ff00),          // link control 2
            (0xa4, 0xffff_ff00),          // MSI address
            (0xc4, 0x0000_0000),          // PCI-X status
        ] {
            bus.writes.borrow_mut().clear();
            access.write8(nic(), offset, 0);
            assert_eq!(*bus.writes.borrow(), [(offset, 4, expected)], "{offset:#x}");
        }
    }

    #[test]
    fn a_driver_s_steps_clear_nothing_on_the_way() {
        let status = [0x10, 0xf9];
        let function = MockFunction::nic()
            .with(0x04, &[0x02, 0x00])
            .capabilities(&[(0x50, 0x01, &[0x03, 0x00, 0x03, 0x81])])
            .with(0x06, &status)
            .writable(0x06, &[0xff, 0xff])
            .writable(0x54, &[0x03, 0xff]);
        let bus = MockBus::of(function);
        let mut function = crate::Function::claim(Dwords(Plain(&bus)), nic()).unwrap();
        function.ensure_d0(&crate::testing::Ticking::new()).unwrap();
        function.enable(crate::Command::MEMORY | crate::Command::BUS_MASTER).unwrap();
        function.quiesce(&crate::testing::Ticking::new()).unwrap();
        let ones = |&(offset, _, value): &(u16, u8, u32)| {
            (offset == 0x04 && value >> 16 != 0) || (offset == 0x54 && value & 0x8000 != 0)
        };
        assert!(!bus.writes.borrow().iter().any(ones), "{:x?}", bus.writes.borrow());
    }
}
