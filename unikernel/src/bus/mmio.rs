//! Virtio devices in memory: which device is at each place.
//!
//! Looking changes nothing, before anybody claims the device.

#![expect(unsafe_code, reason = "vouches for devices that no bus vouches for")]

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use log::{debug, info, warn};
use paravane_hal::mmio::{MapError, MmioDevice, MmioMap};
use paravane_virtio::transport::mmio::{self, MmioError, RESET_AT_BYTES};

use super::declared;
use super::microvm::Microvm;
use super::words::{MmioPlace, Probe, Words};
use crate::platform::{Machine, Region};

/// Somebody looked.
static LOOKED: AtomicBool = AtomicBool::new(false);

/// A virtio device in memory, found and claimed by nobody yet.
#[derive(Debug)]
pub struct Device {
    /// Where.
    pub(super) place: MmioPlace,
    /// Which kind of device.
    pub(super) id: u16,
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
    pub fn claim(self, machine: &Machine) -> Result<MmioDevice<Region>, MapError> {
        let MmioPlace { base, len_bytes, .. } = self.place;
        // SAFETY:
        // - Of one device: a virtio device of the standard's version answered at its front, and no
        //   two places that were looked at overlap. This value is the only one of its place: only
        //   `find` makes them, once, and they are not copied.
        // - Silent after a reset: that is what such a device promises.
        //   Spec: VIRTIO 1.2, 2.4.1 "Driver Requirements: Device Reset".
        unsafe { MmioDevice::claim(&machine.platform, base, len_bytes, RESET_AT_BYTES) }
    }
}

/// Which kind of virtio device is at `place`; `None`, with a word on the console, if it cannot be
/// looked at.
fn look_at(machine: &Machine, place: &MmioPlace) -> Option<Result<u16, MmioError>> {
    let registers = machine.platform.map(place.base, place.len_bytes);
    let registers = registers.inspect_err(|reason| warn!("mmio: {reason}")).ok()?;
    Some(mmio::look(&registers, place.base))
}

/// The devices that the command line names. Where it names none, those that ACPI declares; where
/// there are none either, those at the places where microvm has them, if nothing else can be there:
/// `bare` is a machine where no PCI was found by ports or by ACPI.
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
            Some(Ok(id)) => devices.push(Device { place: *place, id }),
            Some(Err(error)) => warn!("{error}"),
            None => {}
        }
    }
    if words.mmio.is_empty() && words.probe != Probe::Off {
        for place in declared::places(machine) {
            match look_at(machine, &place) {
                Some(Ok(id)) => devices.push(Device { place, id }),
                // A place that is kept for a device.
                Some(Err(MmioError::Empty { .. })) | None => {}
                Some(Err(error)) => warn!("{error}"),
            }
        }
        if !devices.is_empty() {
            info!("mmio: {} devices that ACPI declares", devices.len());
        }
    }
    let probing = match words.probe {
        Probe::Auto => bare && words.mmio.is_empty() && devices.is_empty(),
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
            Some(Ok(id)) => {
                if devices.iter().all(|device| !device.place.range().overlaps(place.range())) {
                    devices.push(Device { place, id });
                    found += 1;
                }
            }
            Some(Err(MmioError::Empty { .. })) => {}
            Some(Err(MmioError::NotVirtio { .. })) | None => break,
            Some(Err(error)) => warn!("{error}"),
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
