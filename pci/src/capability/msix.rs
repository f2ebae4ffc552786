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
//! Order of use: [`Msix::open`], [`MsixTable::program`] for each vector, [`MsixTable::enable`],
//! [`MsixTable::unmask`] for each.
//!
//! Spec: PCI Local Bus 3.0 (MSI-X ECN), 6.8.2 "MSI-X Capability and Table Structure".

use core::fmt;

use paravane_hal::irq::MsiMessage;
use paravane_hal::mmio::{Mmio, MmioMap};

use super::messages::{CONTROL, MSIX_ENABLE as ENABLE};
use super::{Capability, CapabilityError, CapabilityErrorReason, CapabilityId};
use crate::bar::{BARS, BarError};
use crate::header::Command;
use crate::{CommandError, ConfigAccess, Function, PciAddress};

const TABLE: u8 = 0x04;
const PBA: u8 = 0x08;
const CAPABILITY_BYTES: u8 = 0x0c;

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

    /// Maps the table, switches memory decoding on, and masks every vector. MSI-X and MSI are off
    /// afterwards.
    ///
    /// # Errors
    ///
    /// [`MsixError`]: the table is not inside a memory BAR, cannot be mapped, or the function does
    /// not react.
    pub fn open<C: ConfigAccess, M: MmioMap>(
        self,
        function: &mut Function<C>,
        mapper: &M,
    ) -> Result<MsixTable<M::Region>, MsixError> {
        let msi = function.msi().map_err(MsixError::Capability)?;
        let len_bytes = usize::from(self.entries).saturating_mul(ENTRY_BYTES);
        let region = function.map_bar_part(
            mapper,
            self.table.bar.into(),
            self.table.offset_bytes.into(),
            len_bytes,
        )?;
        if let Err(error) = function.enable(Command::MEMORY) {
            mapper.unmap(region);
            return Err(error.into());
        }
        if let Some(msi) = msi {
            msi.disable(function);
        }
        // On, because some devices drop what is written to the table while it is off; and masked as
        // a whole, because what is in the table is somebody else's.
        self.write_control(function, ENABLE | FUNCTION_MASK);
        let mut last = 0;
        for vector in 0..self.entries {
            last = usize::from(vector).saturating_mul(ENTRY_BYTES).saturating_add(ENTRY_CONTROL);
            region.write32(last, MASKED);
        }
        // The read comes back after the writes have arrived.
        let _ = region.read32(last);
        self.disable(function);
        Ok(MsixTable { region, msix: self, address: function.address() })
    }

    /// Switches MSI-X off, whatever is in the table. The interrupt pin stays as it is.
    pub fn disable<C: ConfigAccess>(&self, function: &mut Function<C>) {
        self.write_control(function, 0);
    }

    /// Writes the two bits of the control register that are not read-only.
    fn write_control<C: ConfigAccess>(&self, function: &mut Function<C>, bits: u16) {
        function.access().write16(function.address(), self.capability.field(CONTROL), bits);
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
        self.region.write64_halves(entry.wrapping_add(ENTRY_ADDRESS), message.address());
        self.region.write32(entry.wrapping_add(ENTRY_DATA), message.data());
        Ok(())
    }

    /// Keeps `vector` from sending; what it would have sent becomes pending. It sends nothing more
    /// once this returns.
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

    /// Switches the function over to MSI-X. Vectors send as far as they are unmasked; pin and MSI
    /// are off.
    ///
    /// # Errors
    ///
    /// [`MsixError`]: the capability did not take it; the function uses none of its interrupts
    /// then.
    pub fn enable<C: ConfigAccess>(&mut self, function: &mut Function<C>) -> Result<(), MsixError> {
        self.owns(function)?;
        let msi = function.msi().map_err(MsixError::Capability)?;
        // One after the other, so that the function is never in two modes: what is pending
        // meanwhile raises nothing, and is sent when the last line is through.
        function.enable(Command::INTX_DISABLE)?;
        if let Some(msi) = msi {
            msi.disable(function);
        }
        self.msix.write_control(function, ENABLE);
        let seen = function.read16(self.msix.capability.field(CONTROL));
        if seen & (ENABLE | FUNCTION_MASK) != ENABLE {
            self.disable(function);
            return Err(MsixError::NotEnabled { address: self.address, seen });
        }
        log::debug!("pci: {} interrupts by MSI-X, {} vectors", self.address, self.msix.entries);
        Ok(())
    }

    /// Switches MSI-X off. The interrupt pin stays disabled.
    pub fn disable<C: ConfigAccess>(&mut self, function: &mut Function<C>) {
        if self.owns(function).is_ok() {
            self.msix.disable(function);
        }
    }

    /// Switches MSI-X off and gives the mapping of the table back to the `mapper` that made it.
    pub fn close<C: ConfigAccess>(mut self, function: &mut Function<C>, mapper: &impl MmioMap<Region = R>) {
        self.disable(function);
        mapper.unmap(self.region);
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
#[non_exhaustive]
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

impl core::error::Error for MsixError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bar(error) => Some(error),
            Self::Command(error) => Some(error),
            Self::Capability(error) => Some(error),
            Self::NoSuchVector { .. } | Self::NotEnabled { .. } | Self::WrongFunction { .. } => None,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bar::BarErrorReason;
    use crate::testing::{MockBar, MockBus, MockFunction, MockMap, MockRegion, at, message};

    const MSIX_AT: usize = 0x9c;

    /// QEMU's vmxnet3 interrupts: MSI at 0x84, 25 MSI-X vectors in BAR 2 with the table `table`
    /// says.
    fn nic(entries: u16, table: u32, pba: u32) -> MockFunction {
        let mut msix = (entries - 1).to_le_bytes().to_vec();
        msix.extend(table.to_le_bytes());
        msix.extend(pba.to_le_bytes());
        MockFunction::nic()
            .bar(MockBar::memory32(2, 0xfebc_2000, 0x2000))
            .bar(MockBar::io(3, 0xc000, 0x100))
            .capabilities(&[(0x84, 0x05, &[0x80, 0]), (0x9c, 0x11, &msix)])
            .writable(MSIX_AT + 2, &[0x00, 0xc0])
            .writable(0x86, &[0x71, 0x00])
    }

    fn open(bus: &MockBus) -> (Function<&MockBus>, MsixTable<MockRegion>, MockMap) {
        let mut function = Function::claim(bus, at("00:04.0")).unwrap();
        let map = MockMap::default();
        let table = function.msix().unwrap().unwrap().open(&mut function, &map).unwrap();
        (function, table, map)
    }

    fn words(map: &MockMap) -> Vec<u32> {
        map.last.lock().unwrap().as_ref().unwrap().1.words.lock().unwrap().clone()
    }

    #[test]
    fn the_capability_says_where_and_how_many() {
        let bus = MockBus::of(nic(25, 0x0000_0002, 0x0000_1002));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        let msix = function.msix().unwrap().unwrap();
        assert_eq!(msix.entries(), 25);
        assert_eq!(msix.table(), InBar { bar: 2, offset_bytes: 0 });
        assert_eq!(msix.pba(), InBar { bar: 2, offset_bytes: 0x1000 }, "the offset is masked, not shifted");
    }

    #[test]
    fn opening_maps_the_table_alone_and_masks_it() {
        let bus = MockBus::of(nic(25, 0x0000_0802, 0x0000_1002));
        let (function, _table, map) = open(&bus);
        assert_eq!(map.last.lock().unwrap().as_ref().unwrap().0, 0xfebc_2800);
        let words = words(&map);
        assert_eq!(words.len(), 25 * 4);
        assert!(words.chunks(4).all(|entry| entry == [0, 0, 0, 1]));
        assert!(function.read_command().contains(Command::MEMORY), "the table is behind memory decoding");
        assert_eq!(function.read16(0x9e) & ENABLE, 0);
    }

    #[test]
    fn a_vector_is_programmed_masked_and_unmasked() {
        let bus = MockBus::of(nic(4, 2, 0x1002));
        let (_function, mut table, map) = open(&bus);
        table.unmask(2).unwrap();
        table.program(2, message(0x1_fee0_1000, 0x41)).unwrap();
        assert_eq!(words(&map)[8..12], [0xfee0_1000, 1, 0x41, 1], "masked while it changes");
        table.unmask(2).unwrap();
        assert_eq!(words(&map)[11], 0);
        table.mask(2).unwrap();
        assert_eq!(words(&map)[11], 1);
    }

    #[test]
    fn a_vector_that_does_not_exist_is_refused() {
        let bus = MockBus::of(nic(4, 2, 0x1002));
        let (_function, mut table, map) = open(&bus);
        let before = words(&map);
        let error = table.program(4, message(0, 0)).unwrap_err();
        assert_eq!(error.to_string(), "00:04.0: MSI-X vector 4 of 4 does not exist");
        assert!(table.mask(u16::MAX).is_err() && table.unmask(4).is_err());
        assert_eq!(words(&map), before);
    }

    #[test]
    fn a_function_is_never_in_two_modes() {
        let bus = MockBus::of(nic(4, 2, 0x1002).with(0x86, &[0x81]));
        let (mut function, mut table, _map) = open(&bus);
        let opening = bus.writes.take();
        assert_eq!(
            opening[opening.len() - 4..],
            [(0x04, 2, 0x0002), (0x86, 2, 0), (0x9e, 2, 0xc000), (0x9e, 2, 0)],
            "decoding on; MSI off; masked as a whole; off"
        );
        table.enable(&mut function).unwrap();
        assert_eq!(
            *bus.writes.borrow(),
            [(0x04, 2, 0x0402), (0x86, 2, 0), (0x9e, 2, 0x8000)],
            "pin off; MSI off; MSI-X on"
        );
        table.disable(&mut function);
        assert_eq!(function.read16(0x9e), 3);
    }

    #[test]
    fn a_capability_that_does_not_switch_on_is_reported() {
        let bus = MockBus::of(nic(4, 2, 0x1002));
        let (mut function, mut table, _map) = open(&bus);
        bus.tamper(|nic| nic.writable(MSIX_AT + 2, &[0, 0]));
        assert_eq!(
            table.enable(&mut function),
            Err(MsixError::NotEnabled { address: at("00:04.0"), seen: 3 })
        );
    }

    #[test]
    fn the_mapping_of_a_table_is_given_back() {
        let bus = MockBus::of(nic(4, 2, 0x1002));
        let (mut function, mut table, map) = open(&bus);
        table.enable(&mut function).unwrap();
        table.close(&mut function, &map);
        assert_eq!((*map.unmapped.lock().unwrap(), function.read16(0x9e)), (1, 3));
        bus.tamper(|nic| nic.with(0x04, &[0, 0]).writable(0x04, &[0, 0]));
        let msix = function.msix().unwrap().unwrap();
        assert!(matches!(msix.open(&mut function, &map), Err(MsixError::Command(_))));
        assert_eq!(*map.unmapped.lock().unwrap(), 2, "also when it cannot be used");
    }

    #[test]
    fn a_table_belongs_to_one_function() {
        let bus = MockBus::new([("00:04.0", nic(4, 2, 0x1002)), ("00:05.0", nic(4, 2, 0x1002))]);
        let (_function, mut table, _map) = open(&bus);
        let mut other = Function::claim(&bus, at("00:05.0")).unwrap();
        assert!(matches!(table.enable(&mut other), Err(MsixError::WrongFunction { .. })));
    }

    #[test]
    fn a_table_that_leaves_its_bar_is_refused() {
        let refused = |entries, table| {
            let bus = MockBus::of(nic(entries, table, 0x1002));
            let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
            let msix = function.msix().unwrap().unwrap();
            match msix.open(&mut function, &MockMap::default()).unwrap_err() {
                MsixError::Bar(error) => error.reason,
                other => panic!("{other}"),
            }
        };
        let too_short = |wanted_bytes| BarErrorReason::TooShort { len_bytes: 0x2000, wanted_bytes };
        assert_eq!(refused(2048, 0x0000_0002), too_short(0x8000));
        assert_eq!(refused(25, 0x0000_1ff2 & !7 | 2), too_short(0x1ff0 + 25 * 16));
        assert_eq!(refused(1, 0xffff_fffa), too_short(0xffff_fff8 + 16));
        assert_eq!(refused(1, 0x0000_0003), BarErrorReason::NotMemory);
        assert_eq!(refused(1, 0x0000_0001), BarErrorReason::Unimplemented);
    }

    #[test]
    fn a_capability_that_cannot_be_is_refused() {
        let bus = MockBus::of(nic(4, 0x0000_0006, 0x1002));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(
            function.msix().unwrap_err().to_string(),
            "00:04.0 capability list at 0x9c: MSI-X has 0x6 as its table location, which is not possible"
        );
        let bus = MockBus::of(MockFunction::nic().capabilities(&[(0xf8, 0x11, &[0, 0, 0, 0, 0, 0])]));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(
            function.msix().unwrap_err().reason,
            CapabilityErrorReason::Truncated { id: CapabilityId::MSIX, len_bytes: 12 }
        );
    }
}
