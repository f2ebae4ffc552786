//! Virtio devices in memory: which device is at each place.
//!
//! Looking changes nothing: three registers are read, before anybody claims the device.
//!
//! Spec: VIRTIO 1.2, 4.2.2 "MMIO Device Register Layout".

#![expect(unsafe_code, reason = "vouches for devices that no bus vouches for")]

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use log::{debug, info, warn};
use paravane_hal::mmio::{MapError, Mmio, MmioDevice, MmioExt, MmioMap};
use paravane_hal::reg::Reg;
use paravane_hal_x86_64::mmio::MmioRegion;
use paravane_nic::Kind;
use paravane_virtio::transport::mmio::RESET_AT_BYTES;

use super::microvm::Microvm;
use super::words::{MmioPlace, Probe, Words};
use crate::platform::Machine;

const MAGIC_VALUE: Reg<u32> = Reg::at(0x000);
const VERSION: Reg<u32> = Reg::at(0x004);
const DEVICE_ID: Reg<u32> = Reg::at(0x008);

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const MODERN: u32 = 2;
const LEGACY: u32 = 1;
/// The network device's id.
const NETWORK: u32 = 1;

/// Somebody looked.
static LOOKED: AtomicBool = AtomicBool::new(false);

/// A virtio device in memory, found and claimed by nobody yet.
#[derive(Debug)]
pub struct Device {
    /// Where.
    pub(super) place: MmioPlace,
    /// Which kind of device.
    pub(super) id: u32,
}

impl Device {
    /// Where it is, and how it interrupts.
    #[must_use]
    pub const fn place(&self) -> MmioPlace {
        self.place
    }

    /// Claims it.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn claim(self, machine: &Machine) -> Result<MmioDevice<MmioRegion>, MapError> {
        let MmioPlace { base, len_bytes, .. } = self.place;
        // SAFETY:
        // - Of one device: a virtio device of the standard's version answered at its front, and no
        //   two places that were looked at overlap. This value is the only one of its place: only
        //   `find` makes them, once, and they are not copied.
        // - Silent after a reset: that is what such a device promises.
        //   Spec: VIRTIO 1.2, 2.4.1 "Driver Requirements: Device Reset".
        unsafe { MmioDevice::claim(&machine.platform, base, len_bytes, RESET_AT_BYTES) }
    }

    /// The driver that takes it, if it is a NIC.
    #[must_use]
    pub const fn nic_kind(&self) -> Option<Kind> {
        if self.id == NETWORK { Some(Kind::VirtioNet) } else { None }
    }
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Device(u32),
    /// A place for a device, without one.
    Empty,
    /// A device that only speaks what came before the standard, or a version nobody knows.
    Version(u32),
    /// Something else, or nothing.
    Stranger(u32),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => write!(f, "virtio device {id}"),
            Self::Empty => f.write_str("no device is plugged in"),
            Self::Version(LEGACY) => f.write_str("a legacy device, which is not served"),
            Self::Version(version) => write!(f, "a device of version {version}, expected {MODERN}"),
            Self::Stranger(magic) => write!(f, "no virtio device, magic value reads {magic:#010x}"),
        }
    }
}

/// Reads who is there.
fn look(registers: &impl Mmio) -> Seen {
    let magic = registers.read(&MAGIC_VALUE);
    if magic != MAGIC {
        return Seen::Stranger(magic);
    }
    let (version, id) = (registers.read(&VERSION), registers.read(&DEVICE_ID));
    match (version, id) {
        // An empty place may have any version.
        (_, 0) => Seen::Empty,
        (MODERN, id) => Seen::Device(id),
        _ => Seen::Version(version),
    }
}

/// What is at `place`; `None`, with a word on the console, if it cannot be looked at.
fn look_at(machine: &Machine, place: &MmioPlace) -> Option<Seen> {
    let registers = machine.platform.map(place.base, place.len_bytes);
    let registers = registers.inspect_err(|reason| warn!("mmio: {reason}")).ok()?;
    Some(look(&registers))
}

/// The devices that the command line names. Where it names none, those at the places where microvm
/// has them, if nothing else can be there: `bare` is a machine where no PCI was found by ports or
/// by ACPI.
///
/// Once: nothing is found by a second look, for what is found is claimed by whom it is given to.
#[must_use]
pub fn find(machine: &Machine, words: &Words, bare: bool) -> Vec<Device> {
    let mut devices = Vec::new();
    if LOOKED.swap(true, Relaxed) {
        return devices;
    }
    for place in &words.mmio {
        match look_at(machine, place) {
            Some(Seen::Device(id)) => devices.push(Device { place: *place, id }),
            Some(seen) => warn!("mmio: {:#x}: {seen}", place.base.get()),
            None => {}
        }
    }
    let probing = match words.probe {
        Probe::Auto => bare && words.mmio.is_empty(),
        Probe::On => true,
        Probe::Off => false,
    };
    if probing {
        probe(machine, &mut devices);
    }
    for Device { place, id } in &devices {
        debug!("mmio: {:#x}: virtio device {id}, line {} ({})", place.base.get(), place.line, place.trigger);
    }
    devices
}

/// Adds what is where microvm has its devices. The first place without a virtio device's magic
/// value ends it: this is another machine, or has fewer.
fn probe(machine: &Machine, devices: &mut Vec<Device>) {
    let mut found = 0_usize;
    for place in microvm(machine).places() {
        match look_at(machine, &place) {
            Some(Seen::Device(id)) => {
                if devices.iter().all(|device| !device.place.range().overlaps(place.range())) {
                    devices.push(Device { place, id });
                    found += 1;
                }
            }
            Some(Seen::Empty) => {}
            Some(Seen::Stranger(_)) | None => break,
            Some(seen) => warn!("mmio: {:#x}: {seen}", place.base.get()),
        }
    }
    if found > 0 {
        info!("mmio: {found} devices where microvm has them");
    }
}

/// What of this machine decides where microvm has things.
pub(super) fn microvm(machine: &Machine) -> Microvm {
    Microvm { acpi: machine.boot.rsdp.is_some(), io_apics: machine.wiring().io_apics().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registers at the front of the place.
    struct Front([u32; 3]);

    impl Mmio for Front {
        fn len_bytes(&self) -> usize {
            12
        }
        fn read32(&self, at: usize) -> u32 {
            self.0[at / 4]
        }
        fn write32(&self, at: usize, _: u32) {
            panic!("{at:#x} was written by who only looks")
        }
        fn read8(&self, _: usize) -> u8 {
            panic!("control registers are 32 bits wide")
        }
        fn read16(&self, _: usize) -> u16 {
            panic!("control registers are 32 bits wide")
        }
        fn write8(&self, _: usize, _: u8) {
            panic!("control registers are 32 bits wide")
        }
        fn write16(&self, _: usize, _: u16) {
            panic!("control registers are 32 bits wide")
        }
    }

    #[test]
    fn who_is_there() {
        assert_eq!(look(&Front([0x7472_6976, 2, 1])), Seen::Device(1));
        assert_eq!(look(&Front([0x7472_6976, 2, 0])), Seen::Empty);
        assert_eq!(look(&Front([0x7472_6976, 1, 0])), Seen::Empty, "also a legacy one");
        assert_eq!(look(&Front([0x7472_6976, 1, 1])), Seen::Version(1));
        assert_eq!(look(&Front([0x7472_6976, 3, 1])), Seen::Version(3));
        assert_eq!(look(&Front([u32::MAX; 3])), Seen::Stranger(u32::MAX));
        assert_eq!(look(&Front([0, 2, 1])), Seen::Stranger(0));
    }
}
