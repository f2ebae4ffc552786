//! The 64 bytes that every function starts with.
//!
//! ```text
//!        31            16 15             0
//! 0x00  |   device ID    |   vendor ID    |
//! 0x04  |     status     |    command     |
//! 0x08  | class sub  prog-IF  | revision  |
//! 0x0c  | BIST | header type | ..  | ..   |
//!        type 0 (endpoint)                   type 1 (bridge)
//! 0x10  | BAR 0 .. BAR 5 (0x24)         |   | BAR 0, BAR 1 (0x14)             |
//! 0x18  |                               |   | .. | subordinate | second. | prim.|
//! 0x2c  | subsystem ID | subsys. vendor |   | windows towards the other side  |
//! 0x34  |              | capabilities   |   |                | capabilities   |
//! 0x3c  | ..    | int. pin | int. line  |   | bridge control | pin   | line   |
//! ```
//!
//! Spec: PCI Local Bus 3.0, 6.1 "Configuration Space Organization"; PCI-to-PCI Bridge 1.2, 3.2
//! "Configuration Space Format".

use core::fmt;

use crate::{ConfigAccess, PciAddress};

pub(crate) const VENDOR_ID: u16 = 0x00;
pub(crate) const COMMAND: u16 = 0x04;
pub(crate) const STATUS: u16 = 0x06;
pub(crate) const REVISION_AND_CLASS: u16 = 0x08;
pub(crate) const HEADER_TYPE: u16 = 0x0e;
pub(crate) const BAR0: u16 = 0x10;
pub(crate) const BUS_NUMBERS: u16 = 0x18;
pub(crate) const SUBSYSTEM: u16 = 0x2c;
pub(crate) const CAPABILITIES: u16 = 0x34;
pub(crate) const INTERRUPT_LINE: u16 = 0x3c;
pub(crate) const INTERRUPT_PIN: u16 = 0x3d;

bitflags::bitflags! {
    /// The command register: what a function may do.
    ///
    /// Spec: PCI Local Bus 3.0, 6.2.2 "Device Control".
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Command: u16 {
        /// Answer at its I/O BARs.
        const IO = 1 << 0;
        /// Answer at its memory BARs.
        const MEMORY = 1 << 1;
        /// Read and write memory, message-signalled interrupts included.
        const BUS_MASTER = 1 << 2;
        /// Report parity errors.
        const PARITY = 1 << 6;
        /// Report errors by `SERR#`.
        const SERR = 1 << 8;
        /// Not raise its interrupt pin.
        const INTX_DISABLE = 1 << 10;
        /// Whatever else is there stays there.
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// The status register. Read only here: the error bits are cleared by writing ones.
    ///
    /// Spec: PCI Local Bus 3.0, 6.2.3 "Device Status".
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Status: u16 {
        /// The interrupt pin is raised, or would be were it not disabled.
        const INTERRUPT = 1 << 3;
        /// There is a capability list.
        const CAPABILITIES = 1 << 4;
        /// One of its accesses found nobody.
        const RECEIVED_MASTER_ABORT = 1 << 13;
        /// Whatever else is there.
        const _ = !0;
    }
}

/// Who made a function and what it is. Prints as `15ad:07b0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ids {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Subsystem vendor ID; 0 for a bridge, which has none in its header.
    pub subsystem_vendor: u16,
    /// Subsystem ID; 0 for a bridge.
    pub subsystem: u16,
    /// Revision ID, of the vendor's choosing.
    pub revision: u8,
    /// Base class: 0x02 is a network controller.
    pub class: u8,
    /// Sub-class: 0x02/0x00 is Ethernet.
    pub subclass: u8,
    /// Programming interface.
    pub prog_if: u8,
}

impl Ids {
    /// Who is at `at`; `None` where nobody answers, or is not ready. Reads and nothing else, so it
    /// may be asked of a function that somebody uses.
    #[must_use]
    pub fn read<C: ConfigAccess>(access: &C, at: PciAddress) -> Option<Self> {
        match look(access, at) {
            Presence::Present(header) => Some(header.ids),
            Presence::Absent | Presence::NotReady => None,
        }
    }

    /// Base class 6, sub-class 0: the bridge to the CPU.
    #[must_use]
    pub const fn is_host_bridge(&self) -> bool {
        self.class == 0x06 && self.subclass == 0x00
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// Which layout the header has after its common part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderKind {
    /// Type 0: a device.
    Endpoint,
    /// Type 1: a bridge to another PCI bus.
    Bridge,
    /// Type 2 (CardBus), or one that does not exist. Nothing more is read of it.
    Other(u8),
}

/// The bus numbers of a bridge.
///
/// Spec: PCI-to-PCI Bridge 1.2, 3.2.5.2 to 3.2.5.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeBuses {
    /// The bus it sits on.
    pub primary: u8,
    /// The bus it leads to; 0 when nobody numbered it.
    pub secondary: u8,
    /// The highest bus behind it.
    pub subordinate: u8,
}

/// Which of its four interrupt pins a function uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InterruptPin {
    /// `INTA#`
    A,
    /// `INTB#`
    B,
    /// `INTC#`
    C,
    /// `INTD#`
    D,
}

impl InterruptPin {
    pub(crate) const fn from_register(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::A),
            2 => Some(Self::B),
            3 => Some(Self::C),
            4 => Some(Self::D),
            _ => None,
        }
    }
}

/// What is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Absent,
    /// The function answers that it is not ready to be configured.
    NotReady,
    Present(Header),
}

/// The facts of a header that do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) ids: Ids,
    pub(crate) kind: HeaderKind,
    /// The device has more functions than function 0.
    pub(crate) multi_function: bool,
}

/// How often a function that is not ready is asked again. Each read takes as long as the bus takes;
/// virtual devices are always ready.
const RETRIES: u32 = 64;

/// Looks at `at`.
pub(crate) fn look(access: &impl ConfigAccess, at: PciAddress) -> Presence {
    let mut word = access.read32(at, VENDOR_ID);
    for _ in 0..RETRIES {
        // Vendor 1 is no vendor: a root complex makes it up while a device answers "configuration
        // request retry".
        // Spec: PCI Express Base 5.0, 2.3.2 "Completion Handling Rules" (CRS Software Visibility).
        if vendor_and_device(word).0 != 0x0001 {
            break;
        }
        word = access.read32(at, VENDOR_ID);
    }
    let (vendor, device) = vendor_and_device(word);
    match vendor {
        // All zeroes is no vendor either; some bridges answer so for a device that is not there.
        0x0000 | 0xffff => Presence::Absent,
        0x0001 => Presence::NotReady,
        _ => Presence::Present(read_header(access, at, vendor, device)),
    }
}

fn read_header(access: &impl ConfigAccess, at: PciAddress, vendor: u16, device: u16) -> Header {
    let [revision, prog_if, subclass, class] = access.read32(at, REVISION_AND_CLASS).to_le_bytes();
    let header_type = access.read8(at, HEADER_TYPE);
    let kind = match header_type & 0x7f {
        0 => HeaderKind::Endpoint,
        1 => HeaderKind::Bridge,
        other => HeaderKind::Other(other),
    };
    let (subsystem_vendor, subsystem) = match kind {
        HeaderKind::Endpoint => vendor_and_device(access.read32(at, SUBSYSTEM)),
        HeaderKind::Bridge | HeaderKind::Other(_) => (0, 0),
    };
    let ids = Ids { vendor, device, subsystem_vendor, subsystem, revision, class, subclass, prog_if };
    Header { ids, kind, multi_function: header_type & 0x80 != 0 }
}

fn vendor_and_device(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

/// The bus numbers of the bridge at `at`, read at once.
pub(crate) fn bridge_buses(access: &impl ConfigAccess, at: PciAddress) -> BridgeBuses {
    let [primary, secondary, subordinate, _latency] = access.read32(at, BUS_NUMBERS).to_le_bytes();
    BridgeBuses { primary, secondary, subordinate }
}
