//! What firmware would have done: bus numbers for bridges, windows through them, addresses for BARs.
//!
//! Depth first, from the bottom of one range of memory and one of ports. What is behind a bridge lies in one piece, which becomes
//! the bridge's window.
//!
//! Spec: PCI-to-PCI Bridge 1.2, 3.2.5 "Type 1 Configuration Space Header".

use paravane_pci::assign::AddressWindow;
use paravane_pci::{ConfigAccess, Function, PciAddress, Windows};

use crate::error::QtestError;

/// Memory that the chipsets route to PCI and leave free: above any RAM we give, below the I/O interrupt controllers. `q35` has ECAM
/// further down.
pub(crate) const MEMORY: (u64, u64) = (0xe000_0000, 0xfe00_0000);
/// The same of a microvm, whose ECAM is where the others have this.
pub(crate) const MICROVM_MEMORY: (u64, u64) = (0xc000_0000, 0xe000_0000);
/// Ports above those of the chipset's own functions.
const PORTS: (u64, u64) = (0xc000, 0x1_0000);
/// Granules of bridge windows.
const MEMORY_GRANULE: u64 = 1 << 20;
const PORT_GRANULE: u64 = 1 << 12;

const VENDOR: u16 = 0x00;
const HEADER_TYPE: u16 = 0x0e;
const PRIMARY_BUS: u16 = 0x18;
const IO_BASE: u16 = 0x1c;
const MEMORY_BASE: u16 = 0x20;
const PREFETCHABLE_BASE: u16 = 0x24;
/// Base above limit: nothing passes.
const CLOSED: u32 = 0x0000_fff0;

/// Where things go next.
struct Cursor {
    bus: u8,
    memory: u64,
    memory_end: u64,
    ports: u64,
}

/// Numbers the buses and places the BARs of everything below the root bus, in `memory` from its start to its end.
///
/// # Errors
///
/// [`QtestError::Bus`]: no room, or a function that does not take what it is given.
pub(crate) fn set_up<C: ConfigAccess + Clone>(config: &C, memory: (u64, u64)) -> Result<(), QtestError> {
    let mut cursor = Cursor { bus: 0, memory: memory.0, memory_end: memory.1, ports: PORTS.0 };
    walk(config, 0, &mut cursor)
}

fn walk<C: ConfigAccess + Clone>(config: &C, bus: u8, cursor: &mut Cursor) -> Result<(), QtestError> {
    let mut bridges = Vec::new();
    for devfn in 0..=u8::MAX {
        let at = PciAddress::from_devfn(0, bus, devfn);
        let is_single = at.function() != 0 && {
            let first = PciAddress::from_devfn(0, bus, devfn & !7);
            config.read16(first, VENDOR) == u16::MAX || config.read8(first, HEADER_TYPE) & 0x80 == 0
        };
        if is_single || config.read16(at, VENDOR) == u16::MAX {
            continue;
        }
        place(config, at, cursor)?;
        if config.read8(at, HEADER_TYPE) & 0x7f == 1 {
            bridges.push(at);
        }
    }
    for at in bridges {
        cross(config, at, cursor)?;
    }
    Ok(())
}

/// Gives the BARs of one function their addresses.
fn place<C: ConfigAccess + Clone>(config: &C, at: PciAddress, cursor: &mut Cursor) -> Result<(), QtestError> {
    let fails = |reason: &dyn std::fmt::Display| QtestError::Bus { reason: format!("{at}: {reason}") };
    let mut function = Function::claim(config.clone(), at).map_err(|error| fails(&error))?;
    let left = |next: u64, end: u64| end.saturating_sub(next);
    let mut windows = Windows {
        io: AddressWindow::new(cursor.ports, left(cursor.ports, PORTS.1)),
        memory32: AddressWindow::new(cursor.memory, left(cursor.memory, cursor.memory_end)),
        ..Windows::default()
    };
    function.assign_bars(&mut windows).map_err(|error| fails(&error))?;
    cursor.ports = PORTS.1.saturating_sub(windows.io.left_bytes());
    cursor.memory = cursor.memory_end.saturating_sub(windows.memory32.left_bytes());
    Ok(())
}

/// Gives a bridge its numbers, sets up what is behind it, and lets exactly that through.
fn cross<C: ConfigAccess + Clone>(config: &C, at: PciAddress, cursor: &mut Cursor) -> Result<(), QtestError> {
    let fails = |reason: &str| QtestError::Bus { reason: format!("{at}: {reason}") };
    let secondary = cursor.bus.checked_add(1).ok_or_else(|| fails("no bus number is left"))?;
    cursor.bus = secondary;
    // All numbers above are behind it until it is known how many there are.
    let buses = |subordinate: u8| u32::from_le_bytes([at.bus(), secondary, subordinate, 0]);
    config.write32(at, PRIMARY_BUS, buses(u8::MAX));
    cursor.memory = cursor.memory.next_multiple_of(MEMORY_GRANULE);
    cursor.ports = cursor.ports.next_multiple_of(PORT_GRANULE);
    let (memory, ports) = (cursor.memory, cursor.ports);
    walk(config, secondary, cursor)?;
    config.write32(at, PRIMARY_BUS, buses(cursor.bus));

    config.write32(at, PREFETCHABLE_BASE, CLOSED);
    config.write32(at, MEMORY_BASE, CLOSED);
    if cursor.memory > memory {
        cursor.memory = cursor.memory.next_multiple_of(MEMORY_GRANULE);
        let limit = cursor.memory - MEMORY_GRANULE;
        // Bits 31 to 20 of both ends; 32 bits are enough for what is placed here.
        let window = (memory >> 16 & 0xfff0) | (limit & 0xfff0_0000);
        config.write32(at, MEMORY_BASE, u32::try_from(window).unwrap_or(CLOSED));
    }
    let mut io = [0xf0, 0x00];
    if cursor.ports > ports {
        cursor.ports = cursor.ports.next_multiple_of(PORT_GRANULE);
        let nibble = |port: u64| u8::try_from(port >> 8 & 0xf0).unwrap_or(0xf0);
        io = [nibble(ports), nibble(cursor.ports - PORT_GRANULE)];
    }
    config.write16(at, IO_BASE, u16::from_le_bytes(io));
    Ok(())
}
