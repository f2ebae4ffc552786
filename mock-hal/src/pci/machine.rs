//! Machines as data: which functions a NIC finds around it, and where it is put itself.

use paravane_pci::PciAddress;

use super::bar::{Bar, Reaction};
use super::{FunctionSpace, PciHost};

/// What a machine does to a device that is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What it is called.
    pub name: &'static str,
    /// Whether extended configuration space can be reached.
    pub has_extended: bool,
    /// The host bridge: vendor and device.
    pub host_bridge: (u16, u16),
    /// The bridge that NICs sit behind, if any: vendor, device, its number on bus 0, and the bus behind it.
    pub bridge: Option<(u16, u16, u8, u8)>,
    /// The device number of the first NIC.
    pub first_device: u8,
    /// Where memory BARs are put.
    pub bars_start: u64,
    /// How BARs react.
    pub reaction: Reaction,
    /// Whether functions have a pin.
    pub has_pins: bool,
}

/// QEMU's `pc`: one bus, no extended space.
pub const QEMU_PC: Machine = Machine {
    name: "qemu-pc",
    has_extended: false,
    host_bridge: (0x8086, 0x1237),
    bridge: None,
    first_device: 3,
    bars_start: 0xfeb0_0000,
    reaction: Reaction::Movable,
    has_pins: true,
};

/// QEMU's `q35` with the NIC behind a root port.
pub const QEMU_Q35: Machine = Machine {
    name: "qemu-q35",
    has_extended: true,
    host_bridge: (0x8086, 0x29c0),
    bridge: Some((0x1b36, 0x000c, 2, 1)),
    first_device: 0,
    bars_start: 0xfe80_0000,
    reaction: Reaction::Movable,
    has_pins: true,
};

/// Firecracker with `--enable-pci`: BARs beyond 256 GiB that answer one probe and do not move, MSI-X only.
pub const FIRECRACKER: Machine = Machine {
    name: "firecracker",
    has_extended: true,
    host_bridge: (0x8086, 0x0d57),
    bridge: None,
    first_device: 1,
    bars_start: 0x40_0000_0000,
    reaction: Reaction::OneShot,
    has_pins: false,
};

/// Cloud Hypervisor: movable 64-bit BARs, MSI-X only.
pub const CLOUD_HYPERVISOR: Machine = Machine {
    name: "cloud-hypervisor",
    has_extended: true,
    host_bridge: (0x8086, 0x0d57),
    bridge: None,
    first_device: 1,
    bars_start: 0x7f_0000_0000,
    reaction: Reaction::Movable,
    has_pins: false,
};

/// ESXi: the NIC on a bus of its own behind a root port.
pub const ESXI: Machine = Machine {
    name: "esxi",
    has_extended: true,
    host_bridge: (0x8086, 0x7190),
    bridge: Some((0x15ad, 0x07a0, 0x15, 3)),
    first_device: 0,
    bars_start: 0xfd20_0000,
    reaction: Reaction::Movable,
    has_pins: true,
};

/// All of them.
pub const MACHINES: [Machine; 5] = [QEMU_PC, QEMU_Q35, FIRECRACKER, CLOUD_HYPERVISOR, ESXI];

impl Machine {
    /// Puts its bridges on `host`.
    pub fn build(&self, host: &PciHost) {
        host.set_extended(self.has_extended);
        let (vendor, device) = self.host_bridge;
        host.insert(PciAddress::from_devfn(0, 0, 0), FunctionSpace::endpoint(vendor, device, 0x06));
        if let Some((vendor, device, number, secondary)) = self.bridge {
            let end = self.bars_start | 0xf_ffff;
            let bridge = FunctionSpace::bridge(vendor, device, secondary, secondary)
                .window(self.bars_start, end, false)
                .window(1 << 20, 0, true);
            host.insert(PciAddress::from_devfn(0, 0, number << 3), bridge);
        }
    }

    /// The address of NIC `index`.
    #[must_use]
    pub const fn address(&self, index: u8) -> PciAddress {
        match self.bridge {
            Some((.., secondary)) => PciAddress::from_devfn(0, secondary, (self.first_device + index) << 3),
            None => PciAddress::from_devfn(0, 0, (self.first_device + index) << 3),
        }
    }

    /// BAR `index` of `len_bytes`, `offset_bytes` into the machine's memory for BARs, of the machine's kind.
    ///
    /// # Panics
    ///
    /// When it is not aligned to its length.
    #[must_use]
    pub fn bar(&self, index: u8, offset_bytes: u64, len_bytes: u32) -> Bar {
        let start = self.bars_start + offset_bytes;
        match u32::try_from(start) {
            Ok(start) => Bar::memory32(index, start, len_bytes),
            Err(_) => Bar::memory64(index, start, len_bytes.into()),
        }
        .reacting(self.reaction)
    }

    /// A function with the pin that the machine gives it, or none.
    #[must_use]
    pub fn wired(&self, space: FunctionSpace) -> FunctionSpace {
        if self.has_pins { space.pin(1).line(11) } else { space }
    }
}
