//! PCI: how config space is reached, segment by segment, and which devices are there.
//!
//! Ports reach segment 0 and 256 bytes a function; ECAM, which ACPI's MCFG or the command line
//! names, everything. A table that names ECAM where nothing answers is no error: monitors without
//! PCI publish one.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::error::Error;

use log::{debug, info, warn};
use paravane_hal_x86_64::range::PhysRange;
use paravane_pci::{
    AddressWindow, Cam, ConfigAccess, EcamEntry, Found, Function, Patched, PciAddress, Resource, Skip,
    SkipReason, Windows, assign_all, enumerate, mcfg,
};

use super::microvm::{self, Microvm};
use super::mmio;
use super::place::{Found as FoundDevice, Place};
use super::words::{MOST, PciPatch, Words};
use crate::firmware::PhysicalMemory;
use crate::memory::MemoryMap;
use crate::platform::Machine;

pub use super::access::{Bus, BusAccess};

/// A segment that was opened.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    bus: Bus,
    /// Where its config space is in memory.
    region: PhysRange,
}

/// What was opened.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    each: Vec<Segment>,
    /// Neither ports nor ACPI led to any: this is a machine that says nothing about itself.
    pub bare: bool,
}

/// The most BARs, windows and bridges that are given addresses.
const MOST_RESOURCES: usize = 4096;
/// Vendor and device: all ones where nobody is.
const VENDOR: u16 = 0x00;
const FIRST_BAR: u16 = 0x10;
const BARS: u16 = 6;
/// A BAR's bits that are no address.
const BAR_FLAGS: u32 = 0xf;
const INTERRUPT_LINE: u16 = 0x3c;
/// Below 4 GiB, this is where machines have no RAM; above it there are registers of their own.
const HOLE: PhysRange = PhysRange::between(0xc000_0000, 0xfe00_0000);

/// Opens every segment that can be reached, with the patches applied to what is read.
#[must_use]
pub fn open(machine: &Machine, words: &Words) -> Segments {
    if words.pci_off {
        info!("pci: off, the command line says");
        return Segments { each: Vec::new(), bare: true };
    }
    let of_acpi = acpi_entries(machine, words);
    let mut bare = true;
    let mut each = Vec::new();
    for (entry, said) in
        words.ecam.iter().map(|entry| (entry, true)).chain(of_acpi.iter().map(|entry| (entry, false)))
    {
        if let Some(segment) = open_ecam(machine, words, entry) {
            bare &= said;
            each.push(segment);
        } else {
            info!(
                "pci: ECAM of segment {} is said to be at {:#x}, where nobody answers",
                entry.segment,
                entry.base.get()
            );
        }
    }
    let ports = BusAccess::Ports(Cam::new(machine.ports));
    let by_ports = answers(&ports);
    bare &= !by_ports;
    if by_ports && each.iter().all(|segment: &Segment| segment.bus.segment() != 0) {
        each.insert(0, Segment { bus: keep(ports, &words.patches), region: PhysRange::EMPTY });
    }
    if each.is_empty() && of_acpi.is_empty() {
        each.extend(open_ecam(machine, words, &microvm::ECAM));
    }
    if each.is_empty() {
        info!("pci: there is none");
    }
    Segments { each, bare }
}

/// The regions that ACPI names for segments that the command line does not.
fn acpi_entries(machine: &Machine, words: &Words) -> Vec<EcamEntry> {
    let mut entries: Vec<EcamEntry> = Vec::new();
    let Some(rsdp) = machine.boot.rsdp else { return entries };
    let memory = |from, into: &mut [u8]| machine.firmware.read(from, into);
    let listed = mcfg::ecam_entries(&memory, rsdp, &mut |entry: EcamEntry| {
        // The first of a segment counts.
        let is_new = words.ecam.iter().chain(&entries).all(|other| other.segment != entry.segment);
        if is_new && entries.len() < MOST {
            entries.push(entry);
        }
    });
    if let Err(reason) = listed {
        warn!("pci: ACPI tables not used: {reason}");
    }
    entries
}

/// The segment behind `entry`, if it can be mapped, and somebody answers there.
fn open_ecam(machine: &Machine, words: &Words, entry: &EcamEntry) -> Option<Segment> {
    let (start, len_bytes) = entry.region()?;
    let ecam = entry.map(&machine.platform).inspect_err(|reason| debug!("pci: {reason}")).ok()?;
    let access = BusAccess::Ecam(ecam);
    let region = PhysRange::new(start, len_bytes)?;
    answers(&access).then(|| Segment { bus: keep(access, &words.patches), region })
}

/// Whether there is any device on the first bus.
fn answers(access: &impl ConfigAccess) -> bool {
    let (segment, bus) = (access.segment(), *access.buses().start());
    let mut devices = (0..32).map(|device| PciAddress::from_devfn(segment, bus, device << 3));
    devices.any(|at| !matches!(access.read16(at, VENDOR), 0 | u16::MAX))
}

/// The bus for as long as the machine runs, with those of `patches` that are its own.
fn keep(access: BusAccess, patches: &[PciPatch]) -> Bus {
    info!("pci: config space {access}");
    let segment = access.segment();
    let mut bus = Patched::new(access);
    for patch in patches.iter().filter(|patch| patch.address.segment() == segment) {
        match bus.patch(patch.address, patch.offset, patch.value) {
            Ok(()) => {
                warn!(
                    "command line: config byte {:#x} of {} reads as {:#04x}",
                    patch.offset, patch.address, patch.value
                );
            }
            Err(full) => warn!("command line: patch of {} ignored: {full}", patch.address),
        }
    }
    Box::leak(Box::new(bus))
}

/// What a walk over a bus met.
struct Walk<K> {
    devices: Vec<FoundDevice<K>>,
    skipped: Vec<Skip>,
    /// Firmware left something without a number or an address.
    unfinished: bool,
}

impl<K> Walk<K> {
    fn over(bus: Bus, kind: &dyn Fn(&Place) -> Option<K>) -> Self {
        let mut walk = Self { devices: Vec::new(), skipped: Vec::new(), unfinished: false };
        enumerate(bus, &mut |found| match found {
            Found::Function(found) => {
                let path = found.path.to_vec();
                let place = Place::Pci { bus, address: found.address, ids: found.ids, path };
                if let Some(kind) = kind(&place) {
                    walk.unfinished |= !has_addresses(bus, found.address);
                    walk.devices.push(FoundDevice { place, kind });
                }
            }
            Found::Skipped(skip) => {
                walk.unfinished |= skip.reason == SkipReason::Unnumbered;
                walk.skipped.push(skip);
            }
        });
        walk
    }
}

/// Whether any BAR of an endpoint holds an address.
fn has_addresses(bus: Bus, at: PciAddress) -> bool {
    let mut bars = (0..BARS).map(|index| bus.read32(at, FIRST_BAR + 4 * index));
    bars.any(|bar| bar & !BAR_FLAGS != 0)
}

impl Segments {
    /// Every device that `kind` knows, in PCI order. What is passed over on the way is said. Where
    /// firmware gave no addresses, they are given now.
    #[must_use]
    pub fn find<K>(&self, machine: &Machine, kind: &dyn Fn(&Place) -> Option<K>) -> Vec<FoundDevice<K>> {
        let mut devices = Vec::new();
        for segment in &self.each {
            let mut walk = Walk::over(segment.bus, kind);
            if walk.unfinished {
                self.assign(segment.bus, machine);
                walk = Walk::over(segment.bus, kind);
            }
            walk.skipped.iter().for_each(|skip| warn!("pci: {skip}"));
            devices.extend(walk.devices);
        }
        devices
    }

    /// Does what firmware would have done.
    fn assign(&self, bus: Bus, machine: &Machine) {
        let regions: Vec<PhysRange> = self.each.iter().map(|segment| segment.region).collect();
        let window = largest_hole(&machine.boot.memory, &regions);
        let memory32 = AddressWindow::new(window.start().get(), window.len_bytes());
        let mut places = 64;
        // Twice at the most: the first time says how many it takes.
        while places <= MOST_RESOURCES {
            let mut windows = Windows { memory32, ..Windows::default() };
            let mut list = vec![Resource::EMPTY; places];
            match assign_all(bus, bus.buses(), &mut windows, &mut list) {
                Ok(given) => {
                    info!("pci: firmware gave no addresses; {} BARs and windows looked after", given.len());
                    break;
                }
                Err(short) if short.needed > places => places = short.needed,
                Err(short) => return warn!("pci: addresses not given: {short}"),
            }
        }
        if places > MOST_RESOURCES {
            warn!("pci: {places} BARs and windows, more than {MOST_RESOURCES}; none has an address");
        }
        if self.bare {
            wire_lines(bus, mmio::microvm(machine));
        }
    }
}

/// Writes the line of each pin where firmware would have, on a machine where the lines are known.
fn wire_lines(bus: Bus, microvm: Microvm) {
    let mut lines = Vec::new();
    enumerate(bus, &mut |found| {
        if let Found::Function(found) = found
            && let Ok(function) = Function::claim(bus, found.address)
            && let Some(pin) = function.read_interrupt_pin()
            && found.path.is_empty()
        {
            lines.push((found.address, microvm.line_of(found.address.device(), pin)));
        }
    });
    for (at, line) in lines {
        bus.write8(at, INTERRUPT_LINE, line);
    }
}

/// The largest part of [`HOLE`] where the memory map has nothing, and none of `regions` is.
fn largest_hole(map: &MemoryMap, regions: &[PhysRange]) -> PhysRange {
    let taken = || map.iter().map(|(range, _)| range).chain(regions.iter().copied());
    let starts = taken().map(PhysRange::end).chain([HOLE.start().get()]);
    let holes = starts.filter(|start| HOLE.start().get() <= *start).map(|start| {
        let next = taken().filter(|range| range.end() > start).map(|range| range.start().get()).min();
        PhysRange::between(start, next.unwrap_or(u64::MAX).clamp(start, HOLE.end().max(start)))
    });
    holes.max_by_key(|hole| hole.len_bytes()).unwrap_or(PhysRange::EMPTY)
}

/// Takes the function at `address` for a driver: the way to it, by the bridges in `path`, is
/// opened.
///
/// # Errors
///
/// A bridge on the way does not take it, or the function cannot be claimed.
pub fn claim(bus: Bus, address: PciAddress, path: &[PciAddress]) -> Result<Function<Bus>, Box<dyn Error>> {
    let function = Function::claim(bus, address)?;
    function.enable_path(path)?;
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryKind;
    use proptest::prelude::*;

    fn map(ranges: &[(u64, u64)]) -> MemoryMap {
        let mut map = MemoryMap::EMPTY;
        for (start, end) in ranges {
            assert!(map.push(PhysRange::between(*start, *end), MemoryKind::Ram));
        }
        map
    }

    #[test]
    fn bars_go_where_nothing_else_is() {
        let microvm = PhysRange::between(0xe000_0000, 0xf000_0000);
        assert_eq!(
            largest_hole(&map(&[(0, 0x800_0000)]), &[microvm]),
            PhysRange::between(0xc000_0000, 0xe000_0000)
        );
        let crowded = map(&[(0, 0xd000_0000), (0xfd00_0000, 0xfe00_0000)]);
        assert_eq!(largest_hole(&crowded, &[microvm]), PhysRange::between(0xd000_0000, 0xe000_0000));
        assert!(largest_hole(&map(&[(0, 1 << 32)]), &[]).is_empty());
    }

    proptest! {
        /// Whatever the map says, the hole is a hole.
        #[test]
        fn a_hole_has_nothing_in_it(
            ranges in prop::collection::vec((any::<u32>(), 1_u64..1 << 30), 0..20),
            region in any::<u32>(),
        ) {
            let ranges: Vec<_> =
                ranges.iter().map(|(start, len)| (u64::from(*start), u64::from(*start) + len)).collect();
            let region = PhysRange::between(region.into(), u64::from(region) + (1 << 28));
            let map = map(&ranges);
            let hole = largest_hole(&map, &[region]);
            if !hole.is_empty() {
                prop_assert!(hole.start() >= HOLE.start() && hole.end() <= HOLE.end());
                prop_assert!(!map.iter().any(|(range, _)| range.overlaps(hole)) && !region.overlaps(hole));
            }
        }
    }
}
