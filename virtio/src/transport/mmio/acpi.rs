//! Where ACPI says that virtio devices are: in the DSDT, or an SSDT.
//!
//! Of the tables' language (AML) the declarations are read and nothing is run: scopes and devices,
//! and the names in them that have a value. Monitors declare their virtio devices like that. What
//! would have to be computed is named and passed over. A table is firmware's word, and is checked
//! like any other: nothing panics, and the walk ends with the table's bytes.
//!
//! ```no_run
//! # fn f(dsdt: &[u8]) {
//! use paravane_virtio::transport::mmio::acpi;
//!
//! let walked = acpi::find(dsdt, &mut |found| match found {
//!     Ok(place) => log::info!("virtio at {:#x}, {:?}", place.start.get(), place.interrupt),
//!     Err(error) => log::warn!("{error}"),
//! });
//! # let _ = walked; }
//! ```
//!
//! Spec: VIRTIO 1.2, 4.2.1 "MMIO Device Discovery"; ACPI 6.5, 6.1.5 "_HID (Hardware ID)", 6.2.2
//! "_CRS (Current Resource Settings)", 6.4 "Resource Data Types for ACPI".

use core::fmt;

use paravane_hal::addr::PhysAddr;

use super::REGISTERS_BYTES;
use aml::{Reader, Value};

mod aml;

/// What a virtio device in memory is called.
const HARDWARE_ID: &[u8] = b"LNRO0005";
/// What every table begins with: its signature, its length, and more.
const HEADER_BYTES: usize = 36;
const LENGTH_AT_BYTES: usize = 4;
/// How deep devices are looked for.
const MAX_DEPTH: usize = 16;
/// The bit of `_STA` for a device that is there.
const STA_PRESENT: u64 = 1;

/// A place where a virtio device may be; its registers have yet to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcpiPlace {
    /// Where its registers start.
    pub start: PhysAddr,
    /// How long they are.
    pub len_bytes: usize,
    /// Whether caches see what the device does to memory, and it what is in caches; `None` when the
    /// table does not say, which means yes on x86.
    pub is_coherent: Option<bool>,
    /// Its interrupt; `None` when it has none.
    pub interrupt: Option<AcpiInterrupt>,
}

/// An interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcpiInterrupt {
    /// Its number among the global system interrupts.
    pub number: u32,
    /// It is an edge, and no level.
    pub is_edge: bool,
    /// It is signalled by the low level, or a falling edge.
    pub is_active_low: bool,
}

/// A table, or a device in it, that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcpiError {
    /// It is no table, or says that it is longer than it is.
    Broken,
    /// Something that is no declaration, or is cut off, stands among declarations; the rest of what
    /// it is in was passed over.
    Unreadable {
        /// Where it is in the table.
        offset_bytes: usize,
    },
    /// Devices inside devices, deeper than any machine has them; they were passed over.
    TooDeep {
        /// Where they are in the table.
        offset_bytes: usize,
    },
    /// A virtio device does not say where its registers are, or would have to compute it.
    NoRegisters {
        /// Where it is in the table.
        offset_bytes: usize,
    },
    /// Its registers are too short.
    TooShort {
        /// Where they are.
        start: u64,
        /// How long.
        len_bytes: u64,
    },
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Broken => f.write_str("acpi: table broken, or none"),
            Self::Unreadable { offset_bytes } => {
                write!(
                    f,
                    "acpi: no declaration {offset_bytes:#x} bytes into the table; the rest around it is left out"
                )
            }
            Self::TooDeep { offset_bytes } => {
                write!(
                    f,
                    "acpi: devices {offset_bytes:#x} bytes into the table lie deeper than {MAX_DEPTH} levels; left out"
                )
            }
            Self::NoRegisters { offset_bytes } => write!(
                f,
                "acpi: the virtio device {offset_bytes:#x} bytes into the table does not say in a constant where its registers are"
            ),
            Self::TooShort { start, len_bytes } => write!(
                f,
                "acpi: virtio at {start:#x}: {len_bytes} bytes of registers, expected {REGISTERS_BYTES} or more"
            ),
        }
    }
}

impl core::error::Error for AcpiError {}

/// Hands every virtio device in `table`, a DSDT or SSDT from its first byte on, to `found`, in the
/// order of the table. Devices that are not there are left out.
///
/// # Errors
///
/// [`AcpiError::Broken`]; nothing was handed on. What is wrong with a part of it, `found` is told.
pub fn find(table: &[u8], found: &mut dyn FnMut(Result<AcpiPlace, AcpiError>)) -> Result<(), AcpiError> {
    let length = table.get(LENGTH_AT_BYTES..).and_then(|rest| rest.first_chunk::<4>());
    let length = length.and_then(|length| usize::try_from(u32::from_le_bytes(*length)).ok());
    let table = length.and_then(|length| table.get(..length)).ok_or(AcpiError::Broken)?;
    let mut reader = Reader::new(table);
    reader.skip(HEADER_BYTES).ok_or(AcpiError::Broken)?;
    let mut nobody = Declared::default();
    walk(&mut reader, &mut nobody, MAX_DEPTH, found);
    Ok(())
}

/// What a device declares of itself.
#[derive(Default)]
struct Declared<'t> {
    hardware_id: Option<&'t [u8]>,
    resources: Option<&'t [u8]>,
    status: Option<u64>,
    coherency: Option<u64>,
}

impl<'t> Declared<'t> {
    /// Notes a name of the device's, if it is one of those.
    fn note(&mut self, name: [u8; 4], value: Value<'t>) {
        match (&name, value) {
            (b"_HID", Value::String(bytes)) => self.hardware_id = Some(bytes),
            (b"_CRS", Value::Buffer(bytes)) => self.resources = Some(bytes),
            (b"_STA", Value::Integer(bits)) => self.status = Some(bits),
            (b"_CCA", Value::Integer(says)) => self.coherency = Some(says),
            _ => {}
        }
    }

    /// Whether it is a virtio device that is there.
    fn is_wanted(&self) -> bool {
        self.hardware_id == Some(HARDWARE_ID) && self.status.is_none_or(|status| status & STA_PRESENT != 0)
    }

    /// The place of the device that is `offset_bytes` into the table.
    fn place(&self, offset_bytes: usize) -> Result<AcpiPlace, AcpiError> {
        let nowhere = AcpiError::NoRegisters { offset_bytes };
        let mut resources = self.resources.ok_or(nowhere)?;
        let (mut memory, mut interrupt) = (None, None);
        while let Some(resource) = take_resource(&mut resources) {
            match resource {
                Resource::Memory { start, len_bytes } => memory = memory.or(Some((start, len_bytes))),
                Resource::Interrupt(found) => interrupt = interrupt.or(Some(found)),
                Resource::Other => {}
            }
        }
        let (start, said_bytes) = memory.ok_or(nowhere)?;
        let too_short = AcpiError::TooShort { start, len_bytes: said_bytes };
        let len_bytes = usize::try_from(said_bytes).map_err(|_| too_short)?;
        if len_bytes < REGISTERS_BYTES || start.checked_add(said_bytes).is_none() {
            return Err(too_short);
        }
        let is_coherent = self.coherency.map(|says| says != 0);
        Ok(AcpiPlace { start: PhysAddr::new(start), len_bytes, is_coherent, interrupt })
    }
}

/// Goes through the declarations in `reader`, those of `owner`.
fn walk<'t>(
    reader: &mut Reader<'t>,
    owner: &mut Declared<'t>,
    depth: usize,
    found: &mut dyn FnMut(Result<AcpiPlace, AcpiError>),
) {
    while !reader.is_empty() {
        let offset_bytes = reader.offset_bytes();
        let Some(term) = aml::take_term(reader) else {
            found(Err(AcpiError::Unreadable { offset_bytes }));
            return;
        };
        let (mut inside, is_device) = match term {
            aml::Term::Name(name, value) => {
                owner.note(name, value);
                continue;
            }
            aml::Term::Other => continue,
            aml::Term::Scope(inside) => (inside, false),
            aml::Term::Device(inside) => (inside, true),
        };
        let Some(depth) = depth.checked_sub(1) else {
            found(Err(AcpiError::TooDeep { offset_bytes }));
            continue;
        };
        let mut declared = Declared::default();
        walk(&mut inside, &mut declared, depth, found);
        if is_device && declared.is_wanted() {
            found(declared.place(offset_bytes));
        }
    }
}

/// What a device uses.
enum Resource {
    Memory { start: u64, len_bytes: u64 },
    Interrupt(AcpiInterrupt),
    Other,
}

/// The next resource of a template. `None` at its end, or where it is cut off.
///
/// Spec: ACPI 6.5, 6.4.2 "Small Resource Data Type", 6.4.3 "Large Resource Data Type".
fn take_resource(template: &mut &[u8]) -> Option<Resource> {
    const IS_LARGE: u8 = 0x80;
    const END_TAG: u8 = 0xf;
    let (&tag, rest) = template.split_first()?;
    if tag & IS_LARGE == 0 {
        if tag >> 3 == END_TAG {
            return None;
        }
        *template = rest.get(usize::from(tag & 0x7)..)?;
        return Some(Resource::Other);
    }
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (body, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    *template = rest;
    Some(large_resource(tag & !IS_LARGE, body).unwrap_or(Resource::Other))
}

/// A large resource of this kind; `None` if it is of no use here, or cut off.
fn large_resource(kind: u8, body: &[u8]) -> Option<Resource> {
    const FIXED_MEMORY_32: u8 = 0x06;
    const ADDRESS_SPACE_32: u8 = 0x07;
    const INTERRUPT: u8 = 0x09;
    const ADDRESS_SPACE_64: u8 = 0x0a;
    /// Of an address space: it is memory.
    const MEMORY: u8 = 0;
    let word32 = |at: usize| body.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let word64 = |at: usize| body.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    match kind {
        FIXED_MEMORY_32 => Some(Resource::Memory { start: word32(1)?.into(), len_bytes: word32(5)?.into() }),
        ADDRESS_SPACE_32 if body.first() == Some(&MEMORY) => {
            Some(Resource::Memory { start: word32(7)?.into(), len_bytes: word32(19)?.into() })
        }
        ADDRESS_SPACE_64 if body.first() == Some(&MEMORY) => {
            Some(Resource::Memory { start: word64(11)?, len_bytes: word64(35)? })
        }
        INTERRUPT => {
            let (flags, count) = (*body.first()?, *body.get(1)?);
            let number = word32(2).filter(|_| count > 0)?;
            let (is_edge, is_active_low) = (flags & 1 << 1 != 0, flags & 1 << 2 != 0);
            Some(Resource::Interrupt(AcpiInterrupt { number, is_edge, is_active_low }))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "acpi_tests.rs"]
mod tests;
