//! MSI-X: a table of messages in a BAR, one a vector.
//!
//! ```text
//!         31   30  29..27 26..16 15      8 7      0          table entry
//! +0x00  |en |mask|  0   |size-1|  next   |  0x11  |   +0x0  message address, low
//! +0x04  | table offset, bits 31:3        |  BIR   |   +0x4  message address, high
//! +0x08  | PBA offset, bits 31:3          |  BIR   |   +0x8  message data
//!                                                      +0xc  vector control: bit 0 masks
//! ```
//!
//! Order of use: [`Msix::open`], [`MsixTable::program`] for each vector, [`MsixTable::enable`], [`MsixTable::unmask`] for each.
//!
//! Spec: PCI Local Bus 3.0 (MSI-X ECN), 6.8.2 "MSI-X Capability and Table Structure".

use core::fmt;

use paravane_hal::irq::MsiMessage;
use paravane_hal::mmio::{Mmio, MmioMap};

use super::{Capability, CapabilityError, CapabilityErrorReason, CapabilityId};
use crate::bar::{BARS, BarError};
use crate::header::Command;
use crate::{CommandError, ConfigAccess, Function, PciAddress};

const CONTROL: u8 = 0x02;
const TABLE: u8 = 0x04;
const PBA: u8 = 0x08;
const CAPABILITY_BYTES: u8 = 0x0c;

const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;
const SIZE_MASK: u16 = 0x7ff;

const ENTRY_BYTES: usize = 16;
const ENTRY_ADDRESS: usize = 0x0;
const ENTRY_DATA: usize = 0x8;
const ENTRY_CONTROL: usize = 0xc;
const MASKED: u32 = 1;

/// A place in a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InBar {
    /// Which BAR.
    pub bar: u8,
    /// How far in; a multiple of 8.
    pub offset_bytes: u32,
}

impl InBar {
    fn from_register(value: u32) -> Option<Self> {
        let [low, ..] = value.to_le_bytes();
        let bar = low & 0b111;
        (usize::from(bar) < BARS).then_some(Self { bar, offset_bytes: value & !0b111 })
    }
}

/// What a function's MSI-X capability says, checked for itself but not yet against the BARs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    capability: Capability,
    entries: u16,
    table: InBar,
    pba: InBar,
}

impl Msix {
    pub(crate) fn new<C: ConfigAccess>(
        function: &Function<C>,
        capability: Capability,
    ) -> Result<Self, CapabilityError> {
        let address = function.address();
        capability.require(address, CAPABILITY_BYTES)?;
        let in_bar = |at, field| {
            let value = function.read32(capability.field(at));
            let reason = CapabilityErrorReason::BadField { id: capability.id, field, value };
            InBar::from_register(value).ok_or(CapabilityError {
                address,
                offset: capability.field(0),
                reason,
            })
        };
        Ok(Self {
            capability,
            entries: (function.read16(capability.field(CONTROL)) & SIZE_MASK).wrapping_add(1),
            table: in_bar(TABLE, "table location")?,
            pba: in_bar(PBA, "PBA location")?,
        })
    }

    /// How many vectors the table holds: 1 to 2048.
    #[must_use]
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Where the table is.
    #[must_use]
    pub fn table(&self) -> InBar {
        self.table
    }

    /// Where the pending bits are.
    #[must_use]
    pub fn pba(&self) -> InBar {
        self.pba
    }

    /// Maps the table, switches memory decoding on, and masks every vector. MSI-X is off afterwards.
    ///
    /// # Errors
    ///
    /// [`MsixError`]: the table is not inside a memory BAR, cannot be mapped, or the function does not react.
    pub fn open<C: ConfigAccess, M: MmioMap>(
        self,
        function: &mut Function<C>,
        mapper: &M,
    ) -> Result<MsixTable<M::Region>, MsixError> {
        let len_bytes = usize::from(self.entries).saturating_mul(ENTRY_BYTES);
        let region = function.map_bar_part(
            mapper,
            self.table.bar.into(),
            self.table.offset_bytes.into(),
            len_bytes,
        )?;
        function.enable(Command::MEMORY)?;
        let mut table = MsixTable { region, msix: self, address: function.address() };
        // Entries may be written while the capability is off or the function is masked; some devices drop writes while it is off.
        table.write_control(function, ENABLE | FUNCTION_MASK);
        for vector in 0..self.entries {
            table.mask(vector)?;
        }
        table.disable(function);
        Ok(table)
    }
}

/// The vector table of a function, mapped.
#[derive(Debug)]
pub struct MsixTable<R> {
    region: R,
    msix: Msix,
    address: PciAddress,
}

impl<R: Mmio> MsixTable<R> {
    /// How many vectors there are.
    #[must_use]
    pub fn entries(&self) -> u16 {
        self.msix.entries
    }

    /// Makes `vector` send `message`. It is masked afterwards.
    ///
    /// # Errors
    ///
    /// [`MsixError::NoSuchVector`].
    pub fn program(&mut self, vector: u16, message: MsiMessage) -> Result<(), MsixError> {
        // A message that changes while its vector is unmasked may be sent half old, half new.
        self.mask(vector)?;
        let entry = self.entry(vector)?;
        self.region.write64_halves(entry.wrapping_add(ENTRY_ADDRESS), message.address);
        self.region.write32(entry.wrapping_add(ENTRY_DATA), message.data);
        Ok(())
    }

    /// Keeps `vector` from sending; what it would have sent becomes pending. It sends nothing more once this returns.
    ///
    /// # Errors
    ///
    /// [`MsixError::NoSuchVector`].
    pub fn mask(&mut self, vector: u16) -> Result<(), MsixError> {
        let control = self.entry(vector)?.wrapping_add(ENTRY_CONTROL);
        // The other bits are reserved, or steering tags that nobody here uses: zero in both cases.
        self.region.write32(control, MASKED);
        // The read comes back after the write has arrived.
        let _ = self.region.read32(control);
        Ok(())
    }

    /// Lets `vector` send, at once if it is pending.
    ///
    /// # Errors
    ///
    /// [`MsixError::NoSuchVector`].
    pub fn unmask(&mut self, vector: u16) -> Result<(), MsixError> {
        self.region.write32(self.entry(vector)?.wrapping_add(ENTRY_CONTROL), 0);
        Ok(())
    }

    /// Switches the function over to MSI-X. Vectors send as far as they are unmasked; pin and MSI are off.
    ///
    /// # Errors
    ///
    /// [`MsixError`]: the capability did not take it; the function uses none of its interrupts then.
    pub fn enable<C: ConfigAccess>(&mut self, function: &mut Function<C>) -> Result<(), MsixError> {
        self.owns(function)?;
        // Masked as a whole until pin and MSI are off, so that the function is never in two modes at once.
        self.write_control(function, ENABLE | FUNCTION_MASK);
        if let Some(msi) = function.msi().map_err(MsixError::Capability)? {
            msi.disable(function);
        }
        function.enable(Command::INTX_DISABLE)?;
        self.write_control(function, ENABLE);
        let seen = function.read16(self.msix.capability.field(CONTROL));
        if seen & (ENABLE | FUNCTION_MASK) != ENABLE {
            self.disable(function);
            return Err(MsixError::NotEnabled { address: self.address, seen });
        }
        Ok(())
    }

    /// Switches MSI-X off. The interrupt pin stays disabled.
    pub fn disable<C: ConfigAccess>(&mut self, function: &mut Function<C>) {
        self.write_control(function, 0);
    }

    /// Writes the two bits of the control register that are not read-only.
    fn write_control<C: ConfigAccess>(&self, function: &mut Function<C>, bits: u16) {
        function.access().write16(self.address, self.msix.capability.field(CONTROL), bits);
    }

    fn owns<C: ConfigAccess>(&self, function: &Function<C>) -> Result<(), MsixError> {
        let (table, function) = (self.address, function.address());
        if table == function { Ok(()) } else { Err(MsixError::WrongFunction { table, function }) }
    }

    fn entry(&self, vector: u16) -> Result<usize, MsixError> {
        let entries = self.msix.entries;
        if vector >= entries {
            return Err(MsixError::NoSuchVector { address: self.address, vector, entries });
        }
        Ok(usize::from(vector).saturating_mul(ENTRY_BYTES))
    }
}

/// MSI-X cannot be used as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsixError {
    /// The table's BAR is unusable, too short for the table, or cannot be mapped.
    Bar(BarError),
    /// The command register did not take what it was told.
    Command(CommandError),
    /// The capability list is broken.
    Capability(CapabilityError),
    /// The table has no such vector.
    NoSuchVector {
        /// Whose table.
        address: PciAddress,
        /// What was asked for.
        vector: u16,
        /// How many there are.
        entries: u16,
    },
    /// The capability did not take the enable bit.
    NotEnabled {
        /// Whose.
        address: PciAddress,
        /// Its control register.
        seen: u16,
    },
    /// The table belongs to another function.
    WrongFunction {
        /// The function that the table was opened for.
        table: PciAddress,
        /// The function it was used with.
        function: PciAddress,
    },
}

impl fmt::Display for MsixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bar(error) => write!(f, "MSI-X table: {error}"),
            Self::Command(error) => error.fmt(f),
            Self::Capability(error) => error.fmt(f),
            Self::NoSuchVector { address, vector, entries } => {
                write!(f, "{address}: MSI-X vector {vector} of {entries} does not exist")
            }
            Self::NotEnabled { address, seen } => {
                write!(f, "{address}: MSI-X does not switch on, its control register reads {seen:#06x}")
            }
            Self::WrongFunction { table, function } => {
                write!(f, "the MSI-X table of {table} was used with {function}")
            }
        }
    }
}

impl core::error::Error for MsixError {}

impl From<BarError> for MsixError {
    fn from(error: BarError) -> Self {
        Self::Bar(error)
    }
}

impl From<CommandError> for MsixError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl<C: ConfigAccess> Function<C> {
    /// What the function says about MSI-X; `None` when it has none.
    ///
    /// # Errors
    ///
    /// [`CapabilityError`]: the list, or the capability, is broken.
    pub fn msix(&self) -> Result<Option<Msix>, CapabilityError> {
        self.find(CapabilityId::MSIX)?.map(|capability| Msix::new(self, capability)).transpose()
    }
}
