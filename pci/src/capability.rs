//! The capability lists: bounded walks over pointers that a device chose.
//!
//! Two lists: the first 256 bytes hold one whose pointers are a byte, extended space (PCI Express,
//! by ECAM) one whose headers are a dword. Each place is visited at most once, so neither walk can
//! be endless; a list that goes wrong ends with an error that says where.
//!
//! Spec: PCI Local Bus 3.0, 6.7 "Capabilities List"; PCI Express Base 5.0, 7.6 "PCI Express
//! Extended Capabilities".

use core::fmt;

pub mod messages;
pub mod msi;
pub mod msix;
pub mod pcie;
pub mod power;
pub mod vendor;

use crate::header::{CAPABILITIES, STATUS, Status};
use crate::{CONFIG_BYTES, ConfigAccess, EXTENDED_CONFIG_BYTES, PciAddress};

/// What a capability is.
///
/// Spec: PCI Code and ID Assignment 1.11, 2 "Capability IDs".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CapabilityId(pub u8);

impl CapabilityId {
    /// Power management.
    pub const POWER: Self = Self(0x01);
    /// PCI-X, of which version 2 has extended space.
    pub const PCIX: Self = Self(0x07);
    /// Message signalled interrupts.
    pub const MSI: Self = Self(0x05);
    /// The vendor's own; virtio lives here.
    pub const VENDOR: Self = Self(0x09);
    /// PCI Express.
    pub const PCIE: Self = Self(0x10);
    /// Message signalled interrupts with a table.
    pub const MSIX: Self = Self(0x11);
}

impl fmt::Display for CapabilityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::POWER => f.write_str("power management"),
            Self::MSI => f.write_str("MSI"),
            Self::PCIX => f.write_str("PCI-X"),
            Self::VENDOR => f.write_str("vendor-specific"),
            Self::PCIE => f.write_str("PCI Express"),
            Self::MSIX => f.write_str("MSI-X"),
            Self(id) => write!(f, "capability {id:#04x}"),
        }
    }
}

/// A capability's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is.
    pub id: CapabilityId,
    /// Where it starts: a multiple of 4, at least 0x40.
    pub offset: u8,
}

impl Capability {
    /// The offset of the field `at` bytes into the capability.
    pub(crate) fn field(&self, at: u8) -> u16 {
        u16::from(self.offset).saturating_add(u16::from(at))
    }

    /// Checks that the capability has room for `len_bytes` of its own.
    pub(crate) fn require(&self, address: PciAddress, len_bytes: u8) -> Result<(), CapabilityError> {
        if self.field(len_bytes) <= CONFIG_BYTES {
            return Ok(());
        }
        let reason = CapabilityErrorReason::Truncated { id: self.id, len_bytes };
        Err(CapabilityError { address, offset: self.offset.into(), reason })
    }
}

/// An extended capability's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedCapability {
    /// What it is.
    pub id: u16,
    /// The version of its layout.
    pub version: u8,
    /// Where it starts: a multiple of 4, at least 0x100.
    pub offset: u16,
}

/// A capability list, or a capability, is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilityError {
    /// Whose.
    pub address: PciAddress,
    /// Where in its configuration space.
    pub offset: u16,
    /// What is wrong there.
    pub reason: CapabilityErrorReason,
}

/// What is wrong with a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CapabilityErrorReason {
    /// The pointer there leads into the header, where no capability can be.
    IntoHeader {
        /// Where it leads.
        pointer: u16,
    },
    /// The pointer there leads back to a capability that was on the way.
    Loop {
        /// Where it leads.
        pointer: u16,
    },
    /// The function does not answer: all ones.
    Gone,
    /// The capability there is longer than what is left of configuration space, or shorter than its
    /// own fields.
    Truncated {
        /// Which one.
        id: CapabilityId,
        /// How long it would have to be.
        len_bytes: u8,
    },
    /// A field of the capability there holds what no field of that kind may.
    BadField {
        /// Which one.
        id: CapabilityId,
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
}

impl fmt::Display for CapabilityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} capability list at {:#04x}: ", self.address, self.offset)?;
        match self.reason {
            CapabilityErrorReason::IntoHeader { pointer } => {
                write!(f, "points to {pointer:#04x}, which is inside the header")
            }
            CapabilityErrorReason::Loop { pointer } => {
                write!(f, "points back to {pointer:#04x}, so the list is a loop")
            }
            CapabilityErrorReason::Gone => f.write_str("reads all ones, the function does not answer"),
            CapabilityErrorReason::Truncated { id, len_bytes } => {
                write!(f, "{id} needs {len_bytes} bytes and has fewer")
            }
            CapabilityErrorReason::BadField { id, field, value } => {
                write!(f, "{id} has {value:#x} as its {field}, which is not possible")
            }
        }
    }
}

impl core::error::Error for CapabilityError {}

/// Walks the capability list of one function. Ends after the last capability or after the first
/// error.
#[derive(Clone, Debug)]
pub struct Capabilities<C> {
    access: C,
    at: PciAddress,
    /// Where the pointer to follow next was read.
    from: u8,
    /// The pointer to follow next, as read; 0 ends the list.
    next: u8,
    /// One bit a dword: where the walk has been.
    visited: u64,
    failed: Option<CapabilityErrorReason>,
}

impl<C: ConfigAccess> Capabilities<C> {
    pub(crate) fn new(access: C, at: PciAddress) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a constant below 0x40")]
        const FROM: u8 = CAPABILITIES as u8;
        let status = access.read16(at, STATUS);
        let gone = status == u16::MAX;
        let has_list = Status::from_bits_retain(status).contains(Status::CAPABILITIES);
        let next = if has_list && !gone { access.read8(at, CAPABILITIES) } else { 0 };
        Self { access, at, from: FROM, next, visited: 0, failed: gone.then_some(CapabilityErrorReason::Gone) }
    }

    fn step(&mut self) -> Result<Option<Capability>, CapabilityErrorReason> {
        if let Some(reason) = self.failed.take() {
            return Err(reason);
        }
        // The two low bits are reserved, and to be ignored.
        let pointer = self.next & !0b11;
        if pointer == 0 {
            return Ok(None);
        }
        if pointer < 0x40 {
            return Err(CapabilityErrorReason::IntoHeader { pointer: pointer.into() });
        }
        let bit = 1_u64 << (pointer >> 2);
        if self.visited & bit != 0 {
            return Err(CapabilityErrorReason::Loop { pointer: pointer.into() });
        }
        self.visited |= bit;
        self.from = pointer;
        let [id, next] = self.access.read16(self.at, pointer.into()).to_le_bytes();
        if id == u8::MAX {
            return Err(CapabilityErrorReason::Gone);
        }
        self.next = next;
        Ok(Some(Capability { id: CapabilityId(id), offset: pointer }))
    }
}

impl<C: ConfigAccess> Iterator for Capabilities<C> {
    type Item = Result<Capability, CapabilityError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        step.transpose().map(|step| {
            step.map_err(|reason| {
                self.next = 0;
                CapabilityError { address: self.at, offset: self.from.into(), reason }
            })
        })
    }
}

/// PCI-X status: the function runs in mode 2, at 266 MHz or 533 MHz. Only there it has extended
/// space.
///
/// Spec: PCI-X Protocol Addendum 2.0a, 7.2.4 "PCI-X Status Register".
const PCIX_STATUS: u8 = 0x04;
const PCIX_MODE_2: u32 = 0b11 << 30;

/// Whether `at` has extended space: what a PCI Express function has, and a PCI-X one of version 2.
/// Elsewhere ECAM may show the first 256 bytes again, or what the function beside it has, and a
/// walk there would make capabilities of them.
fn has_extended_space<C: ConfigAccess>(access: &C, at: PciAddress) -> Result<bool, CapabilityError> {
    if access.config_bytes() < EXTENDED_CONFIG_BYTES {
        return Ok(false);
    }
    for capability in Capabilities::new(access, at) {
        let capability = capability?;
        match capability.id {
            CapabilityId::PCIE => return Ok(true),
            CapabilityId::PCIX => {
                capability.require(at, 8)?;
                return Ok(access.read32(at, capability.field(PCIX_STATUS)) & PCIX_MODE_2 != 0);
            }
            _ => {}
        }
    }
    Ok(false)
}

/// Dwords of extended space.
const EXTENDED_DWORDS: usize = 960;

/// Walks the extended capability list of one function. Ends after the last capability or after the
/// first error.
///
/// Empty when the function is reached by an access that does not reach extended space, and when it
/// has none, which its ordinary list says: only PCI Express and PCI-X 2.0 functions do.
#[derive(Clone, Debug)]
pub struct ExtendedCapabilities<C> {
    access: C,
    at: PciAddress,
    from: u16,
    /// Where to go next; 0 ends the list.
    next: u16,
    visited: [u32; EXTENDED_DWORDS / 32],
    /// Whether there is extended space cannot be said, for the ordinary list is broken.
    unknown: Option<CapabilityError>,
}

impl<C: ConfigAccess> ExtendedCapabilities<C> {
    pub(crate) fn new(access: C, at: PciAddress) -> Self {
        let (there, unknown) = match has_extended_space(&access, at) {
            Ok(there) => (there, None),
            Err(error) => (false, Some(error)),
        };
        let next = if there { CONFIG_BYTES } else { 0 };
        Self { access, at, from: CONFIG_BYTES, next, visited: [0; EXTENDED_DWORDS / 32], unknown }
    }

    /// Marks `pointer` as visited; `None` when it is not in extended space, else whether it is new.
    fn visit(&mut self, pointer: u16) -> Option<bool> {
        let dword = pointer.checked_sub(CONFIG_BYTES)? >> 2;
        let word = self.visited.get_mut(usize::from(dword >> 5))?;
        let bit = 1_u32 << (dword & 31);
        let new = *word & bit == 0;
        *word |= bit;
        Some(new)
    }

    fn step(&mut self) -> Result<Option<ExtendedCapability>, CapabilityErrorReason> {
        let pointer = self.next & !0b11;
        if pointer == 0 {
            return Ok(None);
        }
        match self.visit(pointer) {
            None => return Err(CapabilityErrorReason::IntoHeader { pointer }),
            Some(false) => return Err(CapabilityErrorReason::Loop { pointer }),
            Some(true) => {}
        }
        self.from = pointer;
        let header = self.access.read32(self.at, pointer);
        let first = pointer == CONFIG_BYTES;
        match header {
            // How a function without extended capabilities answers, with and without extended space
            // behind it.
            0 | u32::MAX if first => return Ok(None),
            u32::MAX => return Err(CapabilityErrorReason::Gone),
            _ => {}
        }
        let [low, high, versioned, next] = header.to_le_bytes();
        self.next = u16::from_le_bytes([versioned, next]) >> 4;
        let id = u16::from_le_bytes([low, high]);
        Ok(Some(ExtendedCapability { id, version: versioned & 0xf, offset: pointer }))
    }
}

impl<C: ConfigAccess> Iterator for ExtendedCapabilities<C> {
    type Item = Result<ExtendedCapability, CapabilityError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.unknown.take() {
            return Some(Err(error));
        }
        let step = self.step();
        if !matches!(step, Ok(Some(_))) {
            self.next = 0;
        }
        step.transpose().map(|step| {
            step.map_err(|reason| CapabilityError { address: self.at, offset: self.from, reason })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBus, MockFunction, at};

    fn walk(bus: &MockBus) -> (Vec<(u8, u8)>, Option<CapabilityError>) {
        let (mut found, mut failed) = (Vec::new(), None);
        for capability in Capabilities::new(bus, at("00:04.0")) {
            assert_eq!(failed, None, "an error ends the walk");
            match capability {
                Ok(Capability { id, offset }) => found.push((id.0, offset)),
                Err(error) => failed = Some(error),
            }
        }
        (found, failed)
    }

    fn walk_extended(bus: &MockBus) -> (Vec<(u16, u8, u16)>, Option<CapabilityError>) {
        let (mut found, mut failed) = (Vec::new(), None);
        for capability in ExtendedCapabilities::new(bus, at("00:04.0")) {
            assert_eq!(failed, None, "an error ends the walk");
            match capability {
                Ok(ExtendedCapability { id, version, offset }) => found.push((id, version, offset)),
                Err(error) => failed = Some(error),
            }
        }
        (found, failed)
    }

    fn three() -> MockFunction {
        MockFunction::nic().capabilities(&[(0x84, 0x05, &[]), (0x9c, 0x11, &[]), (0x48, 0x10, &[])])
    }

    fn error(offset: u16, reason: CapabilityErrorReason) -> Option<CapabilityError> {
        Some(CapabilityError { address: at("00:04.0"), offset, reason })
    }

    #[test]
    fn a_list_is_walked_in_its_own_order() {
        assert_eq!(walk(&MockBus::of(three())), (vec![(0x05, 0x84), (0x11, 0x9c), (0x10, 0x48)], None));
    }

    #[test]
    fn without_the_status_bit_there_is_no_list() {
        assert_eq!(walk(&MockBus::of(three().with(0x06, &[0]))), (vec![], None));
    }

    #[test]
    fn the_low_bits_of_a_pointer_mean_nothing() {
        let bus = MockBus::of(three().with(0x34, &[0x87]).with(0x49, &[0x03]));
        assert_eq!(walk(&bus).0.len(), 3);
        assert_eq!(walk(&bus).1, None);
    }

    #[test]
    fn a_loop_is_reported_where_it_closes() {
        let bus = MockBus::of(three().with(0x49, &[0x9c]));
        let (found, failed) = walk(&bus);
        assert_eq!(found.len(), 3);
        assert_eq!(failed, error(0x48, CapabilityErrorReason::Loop { pointer: 0x9c }));
        assert_eq!(
            failed.unwrap().to_string(),
            "00:04.0 capability list at 0x48: points back to 0x9c, so the list is a loop"
        );
    }

    #[test]
    fn a_pointer_into_the_header_is_reported() {
        assert_eq!(
            walk(&MockBus::of(three().with(0x34, &[0x3c]))),
            (vec![], error(0x34, CapabilityErrorReason::IntoHeader { pointer: 0x3c }))
        );
        let (found, failed) = walk(&MockBus::of(three().with(0x85, &[0x04])));
        assert_eq!(found, [(0x05, 0x84)]);
        assert_eq!(failed, error(0x84, CapabilityErrorReason::IntoHeader { pointer: 0x04 }));
    }

    #[test]
    fn a_function_that_vanishes_is_reported() {
        let bus = MockBus::of(three().with(0x9c, &[0xff, 0xff]));
        assert_eq!(walk(&bus).1, error(0x9c, CapabilityErrorReason::Gone));
        bus.unplug();
        assert_eq!(walk(&bus), (vec![], error(0x34, CapabilityErrorReason::Gone)));
    }

    #[test]
    fn the_longest_list_there_is_is_walked_whole() {
        let offsets: Vec<u8> = (0x40..=0xfc).step_by(4).collect();
        let list: Vec<(u8, u8, &[u8])> = offsets.iter().map(|&offset| (offset, 0x09, &[][..])).collect();
        let (found, failed) = walk(&MockBus::of(MockFunction::nic().capabilities(&list)));
        assert_eq!((found.len(), failed), (48, None));
    }

    /// A function whose ordinary list has PCI Express.
    fn express() -> MockFunction {
        MockFunction::nic().capabilities(&[(0x48, 0x10, &[])])
    }

    #[test]
    fn an_extended_list_is_walked() {
        let nic =
            express().with(0x100, &0x1402_0003_u32.to_le_bytes()).with(0x140, &0x0001_0019_u32.to_le_bytes());
        let bus = MockBus::of(nic.clone());
        assert_eq!(walk_extended(&bus), (vec![(0x03, 2, 0x100), (0x19, 1, 0x140)], None));
        let by_ports = MockBus::of(nic).config_bytes(256);
        assert_eq!(walk_extended(&by_ports), (vec![], None));
    }

    #[test]
    fn a_function_without_an_extended_list_has_none() {
        assert_eq!(walk_extended(&MockBus::of(express())), (vec![], None));
        let no_space = express().with(0x100, &[0xff; 4]);
        assert_eq!(walk_extended(&MockBus::of(no_space)), (vec![], None));
    }

    /// As ECAM shows a conventional function in places: its first 256 bytes, again and again.
    fn aliased(function: MockFunction) -> MockBus {
        let bus = MockBus::of(function);
        let first: Vec<u8> = (0..256).map(|offset| bus.read8(at("00:04.0"), offset)).collect();
        bus.tamper(|function| function.with(0x100, &first.repeat(15)));
        bus
    }

    #[test]
    fn a_function_without_extended_space_has_no_list_there() {
        assert_eq!(walk_extended(&aliased(MockFunction::nic())), (vec![], None));
        let msi = MockFunction::nic().capabilities(&[(0x84, 0x05, &[])]);
        assert_eq!(walk_extended(&aliased(msi)), (vec![], None));
    }

    #[test]
    fn pci_x_has_extended_space_in_mode_2() {
        for (status, count) in [(0x0000_0000, 0), (0x4000_0000, 1), (0x8000_0000, 1)] {
            let status = [&[0, 0], &u32::to_le_bytes(status)[..]].concat();
            let nic = MockFunction::nic().capabilities(&[(0x84, 0x05, &[]), (0x50, 0x07, &status)]);
            let bus = MockBus::of(nic.with(0x100, &0x0002_0003_u32.to_le_bytes()));
            assert_eq!(walk_extended(&bus).0.len(), count, "{status:x?}");
        }
        let cut = MockBus::of(MockFunction::nic().capabilities(&[(0xfc, 0x07, &[])]));
        let truncated = CapabilityErrorReason::Truncated { id: CapabilityId::PCIX, len_bytes: 8 };
        assert_eq!(walk_extended(&cut).1, error(0xfc, truncated));
    }

    #[test]
    fn a_broken_list_does_not_say_whether_there_is_extended_space() {
        let bus = MockBus::of(three().with(0x85, &[0x84]));
        assert_eq!(walk_extended(&bus).1, error(0x84, CapabilityErrorReason::Loop { pointer: 0x84 }));
    }

    #[test]
    fn an_extended_list_that_goes_wrong_is_reported() {
        let starting = |header: u32| express().with(0x100, &header.to_le_bytes());
        let to_itself = walk_extended(&MockBus::of(starting(0x1001_0003)));
        assert_eq!(to_itself.1, error(0x100, CapabilityErrorReason::Loop { pointer: 0x100 }));
        let into_header = walk_extended(&MockBus::of(starting(0x0401_0003)));
        assert_eq!(into_header.1, error(0x100, CapabilityErrorReason::IntoHeader { pointer: 0x40 }));
        let gone = walk_extended(&MockBus::of(starting(0xffc1_0003).with(0xffc, &[0xff; 4])));
        assert_eq!(gone.1, error(0xffc, CapabilityErrorReason::Gone));
    }
}
