//! QEMU's microvm, which has no firmware that would say where things are, and no table that a
//! program without AML could read: where its devices are is known, and here.
//!
//! | | without ACPI | one I/O APIC | two |
//! |---|---|---|---|
//! | virtio devices at 0xfeb00000, 512 bytes each | 8, lines from 5 | 8, lines from 16 | 24, lines from 24 |
//! | lines of PCI's pins (`pcie=on`) | | from 12 | from 16 |
//!
//! Spec: QEMU, `include/hw/i386/microvm.h`, `hw/i386/microvm.c`.

use paravane_hal::addr::PhysAddr;
use paravane_hal_x86_64::line::Trigger;
use paravane_pci::{EcamEntry, InterruptPin};

use super::words::MmioPlace;

/// Where config space is with `pcie=on`.
pub const ECAM: EcamEntry = EcamEntry { base: PhysAddr::new(0xe000_0000), segment: 0, buses: 0..=u8::MAX };
const FIRST_DEVICE: u64 = 0xfeb0_0000;
const DEVICE_BYTES: usize = 512;

/// What decides where things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Microvm {
    /// There is ACPI.
    pub acpi: bool,
    /// How many I/O APICs there are.
    pub io_apics: usize,
}

impl Microvm {
    /// Where virtio devices may be.
    pub fn places(self) -> impl Iterator<Item = MmioPlace> {
        let (count, first_line, trigger) = match self {
            Self { acpi: false, .. } => (8, 5, Trigger::Edge),
            Self { io_apics: 0 | 1, .. } => (8, 16, Trigger::Level),
            _ => (24, 24, Trigger::Level),
        };
        (0..count).zip(first_line..).map(move |(index, line)| MmioPlace {
            base: PhysAddr::new(FIRST_DEVICE + index * DEVICE_BYTES as u64),
            len_bytes: DEVICE_BYTES,
            line,
            trigger,
        })
    }

    /// The line of a function of bus 0 with this device number: each device begins with another of
    /// four.
    #[must_use]
    pub fn line_of(self, device: u8, pin: InterruptPin) -> u8 {
        let first = if self.io_apics > 1 { 16 } else { 12 };
        first + (device % 4 + pin as u8 - InterruptPin::A as u8) % 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_lines_are_where_the_machine_has_them() {
        let first_and_last = |acpi, io_apics| {
            let places: Vec<_> = Microvm { acpi, io_apics }.places().collect();
            let of = |place: &MmioPlace| (place.base.get(), place.line);
            (of(&places[0]), of(&places[places.len() - 1]))
        };
        assert_eq!(first_and_last(false, 1), ((0xfeb0_0000, 5), (0xfeb0_0e00, 12)));
        assert_eq!(first_and_last(true, 1), ((0xfeb0_0000, 16), (0xfeb0_0e00, 23)));
        assert_eq!(first_and_last(true, 2), ((0xfeb0_0000, 24), (0xfeb0_2e00, 47)));
    }

    #[test]
    fn pins_are_turned_by_device() {
        let two = Microvm { acpi: true, io_apics: 2 };
        assert_eq!((two.line_of(0, InterruptPin::A), two.line_of(3, InterruptPin::B)), (16, 16));
        assert_eq!(two.line_of(6, InterruptPin::A), 18);
        assert_eq!(Microvm { acpi: true, io_apics: 1 }.line_of(1, InterruptPin::A), 13);
    }
}
