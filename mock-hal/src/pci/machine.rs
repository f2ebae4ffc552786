//! Machines as data: which functions a NIC finds around it, and where it is put itself.

use paravane_pci::PciAddress;

use super::bar::{Bar, Reaction};
use super::{Bus, FunctionSpace, PciHost};

/// What a machine does to a device that is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What it is called.
    pub name: &'static str,
    /// Whether extended configuration space can be reached.
    pub has_extended: bool,
    /// The bus that enumeration starts at.
    pub root_bus: u8,
    /// The host bridge, if it shows itself: vendor and device.
    pub host_bridge: Option<(u16, u16)>,
    /// The bridge that NICs sit behind, if any: vendor, device, its number on the root bus, and the
    /// bus behind it.
    pub bridge: Option<(u16, u16, u8, u8)>,
    /// The device number of the first NIC.
    pub first_device: u8,
    /// Where 32-bit memory BARs are put.
    pub low_start: u32,
    /// Where 64-bit memory BARs are put.
    pub high_start: u64,
    /// How BARs react.
    pub reaction: Reaction,
    /// Whether functions have a pin.
    pub has_pins: bool,
}

/// No machine in particular: functions and nothing else.
pub const BARE: Machine = Machine {
    name: "bare",
    has_extended: false,
    root_bus: 0,
    host_bridge: None,
    bridge: None,
    first_device: 4,
    low_start: 0xfe80_0000,
    // Beyond 4 GiB, so that an address that loses its upper half leads nowhere.
    high_start: 0x40_0000_0000,
    reaction: Reaction::Movable,
    has_pins: true,
};

/// QEMU's `pc`: one bus, no extended space.
pub const QEMU_PC: Machine = Machine {
    name: "qemu-pc",
    host_bridge: Some((0x8086, 0x1237)),
    first_device: 3,
    low_start: 0xfeb0_0000,
    high_start: 0x38_0000_0000,
    ..BARE
};

/// QEMU's `q35` with the NIC behind a root port.
pub const QEMU_Q35: Machine = Machine {
    name: "qemu-q35",
    has_extended: true,
    host_bridge: Some((0x8086, 0x29c0)),
    bridge: Some((0x1b36, 0x000c, 2, 1)),
    first_device: 0,
    low_start: 0xfe80_0000,
    high_start: 0x38_0000_0000,
    ..BARE
};

/// Firecracker with `--enable-pci`: BARs beyond 256 GiB that answer one probe and do not move,
/// MSI-X only.
pub const FIRECRACKER: Machine = Machine {
    name: "firecracker",
    has_extended: true,
    host_bridge: Some((0x8086, 0x0d57)),
    first_device: 1,
    low_start: 0xc000_0000,
    reaction: Reaction::OneShot,
    has_pins: false,
    ..BARE
};

/// Cloud Hypervisor: movable BARs, MSI-X only.
pub const CLOUD_HYPERVISOR: Machine = Machine {
    name: "cloud-hypervisor",
    high_start: 0x7f_0000_0000,
    reaction: Reaction::Movable,
    ..FIRECRACKER
};

/// OpenVMM: a root complex whose first bus is not 0, the NIC behind a root port, MSI-X only.
pub const OPENVMM: Machine = Machine {
    name: "openvmm",
    has_extended: true,
    root_bus: 4,
    bridge: Some((0x1414, 0xc030, 1, 6)),
    first_device: 0,
    low_start: 0xe000_0000,
    has_pins: false,
    ..BARE
};

/// ESXi: the NIC on a bus of its own behind a root port.
pub const ESXI: Machine = Machine {
    name: "esxi",
    has_extended: true,
    host_bridge: Some((0x8086, 0x7190)),
    bridge: Some((0x15ad, 0x07a0, 0x15, 3)),
    first_device: 0,
    low_start: 0xfd20_0000,
    high_start: 0xe0_0000_0000,
    ..BARE
};

/// All of them.
pub const MACHINES: [Machine; 6] = [QEMU_PC, QEMU_Q35, FIRECRACKER, CLOUD_HYPERVISOR, OPENVMM, ESXI];

/// Where ports of functions start.
const FIRST_PORT: u64 = 0xc000;
/// How much a bridge forwards, of each kind.
const WINDOW_BYTES: u64 = 1 << 20;

impl Default for Machine {
    fn default() -> Self {
        BARE
    }
}

impl Machine {
    /// Makes `host` this machine's, and puts its bridges there. Comes before devices are plugged
    /// in.
    pub fn build(&self, host: &PciHost) {
        *host.lock() = Bus { machine: *self, has_extended: self.has_extended, ..Bus::default() };
        if let Some((vendor, device)) = self.host_bridge {
            host.insert(self.on_root_bus(0), FunctionSpace::endpoint(vendor, device, 0x06));
        }
        if let Some((vendor, device, number, secondary)) = self.bridge {
            let low = u64::from(self.low_start);
            let bridge = FunctionSpace::bridge(vendor, device, secondary, secondary)
                .window(low, low + WINDOW_BYTES - 1, false)
                .window(self.high_start, self.high_start + WINDOW_BYTES - 1, true);
            host.insert(self.on_root_bus(number), bridge);
        }
    }

    const fn on_root_bus(&self, device: u8) -> PciAddress {
        PciAddress::from_devfn(0, self.root_bus, device << 3)
    }

    /// The address of NIC `index`.
    #[must_use]
    pub const fn address(&self, index: u8) -> PciAddress {
        let devfn = (self.first_device + index) << 3;
        match self.bridge {
            Some((.., secondary)) => PciAddress::from_devfn(0, secondary, devfn),
            None => PciAddress::from_devfn(0, self.root_bus, devfn),
        }
    }

    /// A function with the pin that the machine gives it, or none.
    #[must_use]
    pub fn wired(&self, space: FunctionSpace) -> FunctionSpace {
        if self.has_pins { space.pin(1).line(11) } else { space }
    }
}

impl PciHost {
    /// The machine that it belongs to.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.lock().machine
    }

    /// A 32-bit memory BAR where the machine's firmware would put it, which reacts as the machine's
    /// do.
    ///
    /// # Panics
    ///
    /// When the machine has no room left.
    #[must_use]
    pub fn low_bar(&self, index: u8, len_bytes: u32) -> Bar {
        let mut bus = self.lock();
        let offset = bus.low_bytes.take(len_bytes.into());
        let start = u64::from(bus.machine.low_start) + offset;
        Bar::memory32(index, u32::try_from(start).unwrap_or(0), len_bytes).reacting(bus.machine.reaction)
    }

    /// The next free ports.
    ///
    /// # Panics
    ///
    /// When the machine has none left.
    #[must_use]
    pub fn port_bar(&self, index: u8, len_bytes: u16) -> Bar {
        let mut bus = self.lock();
        let start = FIRST_PORT + bus.port_bytes.take(len_bytes.into());
        Bar::io(index, u16::try_from(start).unwrap_or(0), len_bytes).reacting(bus.machine.reaction)
    }

    /// The same, 64 bits wide and prefetchable.
    ///
    /// # Panics
    ///
    /// When the machine has no room left.
    #[must_use]
    pub fn high_bar(&self, index: u8, len_bytes: u64) -> Bar {
        let mut bus = self.lock();
        let start = bus.machine.high_start + bus.high_bytes.take(len_bytes);
        Bar::memory64(index, start, len_bytes).prefetchable().reacting(bus.machine.reaction)
    }
}

/// How much of a window is given to BARs.
#[derive(Debug, Default)]
pub(super) struct Used(u64);

impl Used {
    /// Takes `len_bytes`, naturally aligned: where they start.
    fn take(&mut self, len_bytes: u64) -> u64 {
        let start = self.0.next_multiple_of(len_bytes);
        self.0 = start + len_bytes;
        assert!(self.0 <= WINDOW_BYTES, "no room for a BAR of {len_bytes:#x} bytes");
        start
    }
}
