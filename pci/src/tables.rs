//! The firmware's tables: RSDP, then RSDT or XSDT, then the table that is wanted.
//!
//! The layouts are those of the `acpi` crate. Its readers are not used: they take the lengths in
//! the tables on trust, and panic or read for gigabytes on tables that lie. Here each table's
//! length and checksum are looked at before anything it says is.
//!
//! Nothing is mapped and nothing is borrowed: the platform copies bytes out, so a test needs an
//! array, and a table that changes meanwhile gives a wrong entry at worst.
//!
//! Spec: ACPI 6.5, 5.2.5 "Root System Description Pointer (RSDP)", 5.2.7 "Root System Description
//! Table (RSDT)", 5.2.8 "Extended System Description Table (XSDT)".

use core::ops::RangeInclusive;
use core::{fmt, mem::offset_of};

use acpi::rsdp::Rsdp;
use acpi::sdt::SdtHeader;
use paravane_hal::addr::PhysAddr;

/// What an RSDP of ACPI 1.0 has: everything up to the address of the RSDT.
const RSDP_V1_BYTES: u32 = 20;
const RSDP_BYTES: u32 = 36;
/// What every table begins with.
pub const HEADER_BYTES: u32 = 36;
const _: () =
    assert!(size_of::<Rsdp>() == RSDP_BYTES as usize && size_of::<SdtHeader>() == HEADER_BYTES as usize);

pub(crate) const RSDP: &str = "RSD PTR ";
const RSDP_REVISION: u64 = 15;
const RSDP_RSDT: u64 = 16;
const RSDP_LENGTH: u64 = 20;
const RSDP_XSDT: u64 = 24;

/// Longer tables are not believed: 64 KiB hold four thousand ECAM regions, or eight thousand
/// pointers.
const MAX_TABLE_BYTES: u32 = 64 << 10;
/// Nor a longer DSDT: those of large virtual machines have some 100 KiB.
const MAX_DSDT_BYTES: u32 = 512 << 10;

/// Where a BIOS notes the segment of its extended data area.
pub(crate) const EBDA_SEGMENT: u64 = 0x40e;
/// The other place where it leaves the RSDP.
pub(crate) const BIOS_AREA: core::ops::Range<u64> = 0xe_0000..0x10_0000;

/// Physical memory that firmware wrote tables to. A closure of that shape is one.
pub trait FirmwareMemory {
    /// Copies what is at `from` to `into`. Whether all of it could be read; if not, `into` holds
    /// anything.
    fn read(&self, from: PhysAddr, into: &mut [u8]) -> bool;
}

impl<F: Fn(PhysAddr, &mut [u8]) -> bool> FirmwareMemory for F {
    fn read(&self, from: PhysAddr, into: &mut [u8]) -> bool {
        self(from, into)
    }
}

/// Looks for the RSDP where a BIOS leaves it, for a kernel whose loader did not say: at a multiple
/// of 16 in the first KiB of the extended BIOS data area, then in the BIOS area.
///
/// Spec: ACPI 6.5, 5.2.5.1 "Finding the RSDP on IA-PC Systems".
pub fn search_bios_area(memory: &impl FirmwareMemory) -> Option<PhysAddr> {
    // Where the extended area is, the first page says; a platform may keep that to itself.
    let segment = field::<2>(memory, PhysAddr::new(EBDA_SEGMENT), 0).map_or(0, u16::from_le_bytes);
    let extended = u64::from(segment) << 4;
    let extended = if extended == 0 { 0..0 } else { extended..extended.saturating_add(1024) };
    extended.step_by(16).chain(BIOS_AREA.step_by(16)).map(PhysAddr::new).find(|&at| {
        let signature = field::<8>(memory, at, 0);
        signature.is_ok_and(|signature| signature == RSDP.as_bytes())
            && check_sum(memory, at, RSDP, RSDP_V1_BYTES).is_ok()
    })
}

/// The first table with this signature, of those that the RSDP at `rsdp` leads to, checked. It is
/// no shorter than `min_bytes`. `None` when the machine has none.
///
/// # Errors
///
/// [`TableError`]: a table on the way is damaged or cannot be read.
pub fn find(
    memory: &impl FirmwareMemory,
    rsdp: PhysAddr,
    signature: &'static str,
    min_bytes: u32,
) -> Result<Option<Table>, TableError> {
    let root = find_root(memory, rsdp)?;
    let found = find_in(memory, &root, signature)?;
    found.map(|at| Table::check(memory, at, signature, min_bytes..=MAX_TABLE_BYTES)).transpose()
}

/// The DSDT, which the FADT leads to, checked. `None` when the machine has none.
///
/// # Errors
///
/// [`TableError`]: a table on the way is damaged or cannot be read.
///
/// Spec: ACPI 6.5, 5.2.9 "Fixed ACPI Description Table (FADT)", 5.2.11.1 "Differentiated System
/// Description Table (DSDT)".
pub fn find_dsdt(memory: &impl FirmwareMemory, rsdp: PhysAddr) -> Result<Option<Table>, TableError> {
    const DSDT: u64 = 40;
    const X_DSDT: u64 = 140;
    const MIN_BYTES: u32 = 44;
    let Some(fadt) = find(memory, rsdp, "FACP", MIN_BYTES)? else { return Ok(None) };
    // Tables of before 64 bits end in front of the wide one.
    let wide = fadt.field(memory, X_DSDT).map_or(0, u64::from_le_bytes);
    let at = if wide == 0 { u32::from_le_bytes(fadt.field(memory, DSDT)?).into() } else { wide };
    if at == 0 {
        return Ok(None);
    }
    Table::check(memory, PhysAddr::new(at), "DSDT", HEADER_BYTES..=MAX_DSDT_BYTES).map(Some)
}

/// The RSDT or XSDT that the RSDP at `at` leads to.
fn find_root(memory: &impl FirmwareMemory, at: PhysAddr) -> Result<Table, TableError> {
    if field::<8>(memory, at, 0)? != RSDP.as_bytes() {
        return Err(TableError::NotThere { at, signature: RSDP });
    }
    check_sum(memory, at, RSDP, RSDP_V1_BYTES)?;
    let [revision] = field(memory, at, RSDP_REVISION)?;
    if revision >= 2 {
        let len_bytes = u32::from_le_bytes(field(memory, at, RSDP_LENGTH)?);
        if !(RSDP_BYTES..=MAX_TABLE_BYTES).contains(&len_bytes) {
            return Err(TableError::BadLength { at, signature: RSDP, len_bytes });
        }
        check_sum(memory, at, RSDP, len_bytes)?;
        let xsdt = u64::from_le_bytes(field(memory, at, RSDP_XSDT)?);
        if xsdt != 0 {
            return Table::check(memory, PhysAddr::new(xsdt), "XSDT", HEADER_BYTES..=MAX_TABLE_BYTES);
        }
    }
    let rsdt = u32::from_le_bytes(field(memory, at, RSDP_RSDT)?);
    Table::check(memory, PhysAddr::new(rsdt.into()), "RSDT", HEADER_BYTES..=MAX_TABLE_BYTES)
}

/// The first table with this signature that `root` points to.
fn find_in(
    memory: &impl FirmwareMemory,
    root: &Table,
    signature: &'static str,
) -> Result<Option<PhysAddr>, TableError> {
    let wide = root.signature == "XSDT";
    let mut unreadable = None;
    for start in root.places(HEADER_BYTES, if wide { 8 } else { 4 }) {
        let pointer = if wide {
            u64::from_le_bytes(field(memory, root.at, start)?)
        } else {
            u32::from_le_bytes(field(memory, root.at, start)?).into()
        };
        match field::<4>(memory, PhysAddr::new(pointer), 0) {
            Ok(found) if found == signature.as_bytes() => return Ok(Some(PhysAddr::new(pointer))),
            Ok(_) => {}
            // Some firmware leaves a pointer to nothing. That matters only if what is wanted is not
            // elsewhere.
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    unreadable.map_or(Ok(None), Err)
}

/// A table that was checked: it is what it should be, its length makes sense, and its bytes add up.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    at: PhysAddr,
    signature: &'static str,
    len_bytes: u32,
}

impl Table {
    fn check(
        memory: &impl FirmwareMemory,
        at: PhysAddr,
        signature: &'static str,
        believed_bytes: RangeInclusive<u32>,
    ) -> Result<Self, TableError> {
        if field::<4>(memory, at, offset_of!(SdtHeader, signature) as u64)? != signature.as_bytes() {
            return Err(TableError::NotThere { at, signature });
        }
        let len_bytes = u32::from_le_bytes(field(memory, at, offset_of!(SdtHeader, length) as u64)?);
        if !believed_bytes.contains(&len_bytes) {
            return Err(TableError::BadLength { at, signature, len_bytes });
        }
        check_sum(memory, at, signature, len_bytes)?;
        Ok(Self { at, signature, len_bytes })
    }

    /// How long it says it is.
    #[must_use]
    pub const fn len_bytes(&self) -> u32 {
        self.len_bytes
    }

    /// The `N` bytes that are `offset` into it.
    ///
    /// # Errors
    ///
    /// [`TableError`]: they do not all lie in the table, or cannot be read.
    pub fn field<const N: usize>(
        &self,
        memory: &impl FirmwareMemory,
        offset: u64,
    ) -> Result<[u8; N], TableError> {
        let Self { at, signature, len_bytes } = *self;
        if offset.checked_add(N as u64).is_none_or(|end| end > len_bytes.into()) {
            return Err(TableError::BadLength { at, signature, len_bytes });
        }
        field(memory, at, offset)
    }

    /// Copies all of it to `into`, which is as long as it is.
    ///
    /// # Errors
    ///
    /// [`TableError`]: it has another length, or cannot be read; `into` holds anything.
    pub fn read(&self, memory: &impl FirmwareMemory, into: &mut [u8]) -> Result<(), TableError> {
        let Self { at, signature, len_bytes } = *self;
        if usize::try_from(len_bytes).ok() != Some(into.len()) {
            return Err(TableError::BadLength { at, signature, len_bytes });
        }
        if memory.read(at, into) { Ok(()) } else { Err(TableError::Unreadable { at, offset: 0 }) }
    }

    /// Where the things of `each_bytes` start that follow the first `header_bytes`; a last one that
    /// is cut off is left out.
    pub(crate) fn places(&self, header_bytes: u32, each_bytes: u32) -> impl Iterator<Item = u64> + use<> {
        let count = self.len_bytes.saturating_sub(header_bytes).checked_div(each_bytes).unwrap_or(0);
        (0..u64::from(count)).map(move |index| {
            u64::from(header_bytes).saturating_add(index.saturating_mul(u64::from(each_bytes)))
        })
    }
}

/// The `N` bytes that are `offset` into what is at `at`.
fn field<const N: usize>(
    memory: &impl FirmwareMemory,
    at: PhysAddr,
    offset: u64,
) -> Result<[u8; N], TableError> {
    let mut bytes = [0; N];
    let readable = at.checked_add(offset).is_some_and(|from| memory.read(from, &mut bytes));
    if readable { Ok(bytes) } else { Err(TableError::Unreadable { at, offset }) }
}

/// Checks that the `len_bytes` from `at` on add up to 0.
fn check_sum(
    memory: &impl FirmwareMemory,
    at: PhysAddr,
    signature: &'static str,
    len_bytes: u32,
) -> Result<(), TableError> {
    const CHUNK: u32 = 32;
    let mut sum = 0_u8;
    let mut start = 0;
    while start < len_bytes {
        let mut chunk = [0; CHUNK as usize];
        let left = len_bytes.saturating_sub(start).min(CHUNK);
        // What lies beyond the end may not be readable, so the last chunk is read as short as it
        // is.
        let (used, _) = chunk.split_at_mut_checked(left as usize).unwrap_or_default();
        let from = at.checked_add(start.into());
        if !from.is_some_and(|from| memory.read(from, used)) {
            return Err(TableError::Unreadable { at, offset: start.into() });
        }
        sum = used.iter().fold(sum, |sum, byte| sum.wrapping_add(*byte));
        start = start.saturating_add(CHUNK);
    }
    if sum == 0 { Ok(()) } else { Err(TableError::BadChecksum { at, signature, sum }) }
}

/// The firmware's tables cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// The platform could not read there.
    Unreadable {
        /// Where the table starts.
        at: PhysAddr,
        /// How far into it.
        offset: u64,
    },
    /// Something else is there.
    NotThere {
        /// Where.
        at: PhysAddr,
        /// What was expected.
        signature: &'static str,
    },
    /// The table is shorter than its own fields, or longer than is believable.
    BadLength {
        /// Where it starts.
        at: PhysAddr,
        /// Which it is.
        signature: &'static str,
        /// What it says.
        len_bytes: u32,
    },
    /// The table's bytes do not add up to 0.
    BadChecksum {
        /// Where it starts.
        at: PhysAddr,
        /// Which it is.
        signature: &'static str,
        /// What they add up to.
        sum: u8,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { at, offset } => {
                write!(f, "ACPI table at {:#x} cannot be read {offset} bytes in", at.get())
            }
            Self::NotThere { at, signature } => write!(f, "no ACPI table {signature:?} at {:#x}", at.get()),
            Self::BadLength { at, signature, len_bytes } => {
                write!(f, "ACPI table {signature:?} at {:#x} claims {len_bytes} bytes", at.get())
            }
            Self::BadChecksum { at, signature, sum } => {
                write!(
                    f,
                    "ACPI table {signature:?} at {:#x} is damaged, its bytes add up to {sum:#04x}, expected 0",
                    at.get()
                )
            }
        }
    }
}

impl core::error::Error for TableError {}
