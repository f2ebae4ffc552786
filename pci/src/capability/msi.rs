//! MSI: one message in configuration space. More than one vector is possible by the specification,
//! and not done here: a function that wants several has MSI-X.
//!
//! ```text
//!         31              16 15      8 7      0
//! +0x00  | message control  |  next   |  0x05  |   control 0 enable, 6:4 vectors in use, 7 64 bits, 8 per-vector mask
//! +0x04  | message address, low                |
//!          32 bits               64 bits
//! +0x08  | message data     |  | address, high    |
//! +0x0c  | mask bits        |  | message data     |
//! +0x10                        | mask bits        |
//! ```
//!
//! Spec: PCI Local Bus 3.0, 6.8.1 "MSI Capability Structure".

use core::fmt;

use paravane_hal::irq::MsiMessage;

use super::messages::{CONTROL, MSI_ENABLE as ENABLE, MessagesError};
use super::{Capability, CapabilityError, CapabilityId};
use crate::header::Command;
use crate::{CommandError, ConfigAccess, Function, PciAddress};

const ADDRESS: u8 = 0x04;
const ADDRESS_HIGH: u8 = 0x08;

const VECTORS_IN_USE: u16 = 0b111 << 4;
const WIDE: u16 = 1 << 7;
const PER_VECTOR_MASK: u16 = 1 << 8;

/// What a function's MSI capability says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    capability: Capability,
    wide: bool,
    maskable: bool,
}

impl Msi {
    pub(crate) fn new<C: ConfigAccess>(
        function: &Function<C>,
        capability: Capability,
    ) -> Result<Self, CapabilityError> {
        capability.require(function.address(), 4)?;
        let control = function.read16(capability.field(CONTROL));
        let msi = Self { capability, wide: control & WIDE != 0, maskable: control & PER_VECTOR_MASK != 0 };
        // The mask bits are the last thing that is written; after them come pending bits, which
        // nobody reads.
        let len_bytes =
            if msi.maskable { msi.mask_bits().saturating_add(4) } else { msi.data().saturating_add(2) };
        capability.require(function.address(), len_bytes)?;
        Ok(msi)
    }

    /// Whether the message may go to an address beyond 4 GiB.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.wide
    }

    /// Where the message data is: behind the upper half of the address, if there is one.
    fn data(&self) -> u8 {
        if self.wide { 0x0c } else { 0x08 }
    }

    fn mask_bits(&self) -> u8 {
        self.data().saturating_add(4)
    }

    /// Makes the function send `message` once enabled. MSI is off afterwards.
    ///
    /// # Errors
    ///
    /// [`MsiError`], when the capability has too few bits for the message; it holds what it held.
    pub fn program<C: ConfigAccess>(
        &self,
        function: &mut Function<C>,
        message: MsiMessage,
    ) -> Result<(), MsiError> {
        let address = function.address();
        let unsuitable = MsiError::Unsuitable { address, message };
        let [a, b, c, d, high @ ..] = message.address().to_le_bytes();
        let high = u32::from_le_bytes(high);
        let data = u16::try_from(message.data()).map_err(|_| unsuitable)?;
        if high != 0 && !self.wide {
            return Err(unsuitable);
        }
        self.disable(function);
        let access = function.access();
        access.write32(address, self.capability.field(ADDRESS), u32::from_le_bytes([a, b, c, d]));
        if self.wide {
            access.write32(address, self.capability.field(ADDRESS_HIGH), high);
        }
        access.write16(address, self.capability.field(self.data()), data);
        Ok(())
    }

    /// Switches the function over to MSI with one vector; pin and MSI-X are off.
    ///
    /// # Errors
    ///
    /// [`MsiError`]: the capability did not take it; the function uses none of its interrupts then.
    pub fn enable<C: ConfigAccess>(&self, function: &mut Function<C>) -> Result<(), MsiError> {
        let address = function.address();
        // Never in two modes: pin and MSI-X go off before MSI comes on.
        function.enable(Command::INTX_DISABLE).map_err(MsiError::Command)?;
        function.disable_messages().map_err(MsiError::Messages)?;
        if self.maskable {
            function.access().write32(address, self.capability.field(self.mask_bits()), !1);
        }
        self.write_control(function, ENABLE);
        let seen = function.read16(self.capability.field(CONTROL));
        if seen & (ENABLE | VECTORS_IN_USE) != ENABLE {
            self.disable(function);
            return Err(MsiError::NotEnabled { address, seen });
        }
        log::debug!("pci: {address} interrupts by MSI");
        Ok(())
    }

    /// Switches MSI off. The interrupt pin stays disabled.
    pub fn disable<C: ConfigAccess>(&self, function: &mut Function<C>) {
        self.write_control(function, 0);
    }

    /// Writes the bits of the control register that are not read-only: enable, and one vector in
    /// use.
    fn write_control<C: ConfigAccess>(&self, function: &mut Function<C>, bits: u16) {
        function.access().write16(function.address(), self.capability.field(CONTROL), bits);
    }
}

/// MSI cannot be used as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MsiError {
    /// The message has an address beyond 4 GiB or data beyond 16 bits, and the capability has no
    /// room for that.
    Unsuitable {
        /// Whose.
        address: PciAddress,
        /// The message.
        message: MsiMessage,
    },
    /// MSI-X does not go off.
    Messages(MessagesError),
    /// The command register did not take what it was told.
    Command(CommandError),
    /// The capability did not take the enable bit.
    NotEnabled {
        /// Whose.
        address: PciAddress,
        /// Its control register.
        seen: u16,
    },
}

impl fmt::Display for MsiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsuitable { address, message } => write!(
                f,
                "{address}: the message {:#x} to {:#x} does not fit its MSI capability",
                message.data(),
                message.address()
            ),
            Self::Messages(error) => error.fmt(f),
            Self::Command(error) => error.fmt(f),
            Self::NotEnabled { address, seen } => {
                write!(f, "{address}: MSI does not switch on, its control register reads {seen:#06x}")
            }
        }
    }
}

impl core::error::Error for MsiError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Messages(error) => Some(error),
            Self::Command(error) => Some(error),
            Self::Unsuitable { .. } | Self::NotEnabled { .. } => None,
        }
    }
}

impl<C: ConfigAccess> Function<C> {
    /// What the function says about MSI; `None` when it has none.
    ///
    /// # Errors
    ///
    /// [`CapabilityError`]: the list, or the capability, is broken.
    pub fn msi(&self) -> Result<Option<Msi>, CapabilityError> {
        self.find(CapabilityId::MSI)?.map(|capability| Msi::new(self, capability)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::CapabilityErrorReason;
    use crate::testing::{MockBus, MockFunction, at, message};

    const MESSAGE: MsiMessage = message(0xfee0_1000, 0x4041);

    fn with_control(control: u16) -> MockFunction {
        MockFunction::nic()
            .capabilities(&[(0x84, 0x05, &control.to_le_bytes())])
            .writable(0x86, &[0x71, 0, 0xff, 0xff, 0xff, 0xff])
            .writable(0x8c, &[0xff; 16])
    }

    #[test]
    fn the_data_is_behind_the_address_however_long_that_is() {
        for (control, data_at) in [(0x0000, 0x8c), (WIDE, 0x90)] {
            let bus = MockBus::of(with_control(control));
            let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
            let msi = function.msi().unwrap().unwrap();
            msi.program(&mut function, MESSAGE).unwrap();
            msi.enable(&mut function).unwrap();
            assert_eq!((function.read32(0x88), function.read16(data_at)), (0xfee0_1000, 0x4041));
            assert_eq!(function.read16(0x86), control | ENABLE);
            assert!(function.read_command().contains(Command::INTX_DISABLE));
            msi.disable(&mut function);
            assert_eq!(function.read16(0x86), control);
        }
    }

    #[test]
    fn an_address_beyond_4_gib_needs_the_wide_layout() {
        let far = message(0x12_fee0_1000, 0x4041);
        let bus = MockBus::of(with_control(WIDE));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let msi = function.msi().unwrap().unwrap();
        msi.program(&mut function, far).unwrap();
        assert_eq!((function.read32(0x88), function.read32(0x8c)), (0xfee0_1000, 0x12));

        let bus = MockBus::of(with_control(0));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let msi = function.msi().unwrap().unwrap();
        assert!(matches!(msi.program(&mut function, far), Err(MsiError::Unsuitable { .. })));
        let long = message(0xfee0_1000, 0x1_0000);
        assert!(matches!(msi.program(&mut function, long), Err(MsiError::Unsuitable { .. })));
        assert_eq!(function.read32(0x88), 0);
    }

    #[test]
    fn programming_switches_off_first_and_uses_one_vector() {
        let bus = MockBus::of(with_control(WIDE | VECTORS_IN_USE | ENABLE));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let msi = function.msi().unwrap().unwrap();
        bus.writes.borrow_mut().clear();
        msi.program(&mut function, MESSAGE).unwrap();
        assert_eq!(bus.writes.borrow()[0], (0x86, 2, 0));
        msi.enable(&mut function).unwrap();
        assert_eq!(function.read16(0x86), WIDE | ENABLE);
    }

    #[test]
    fn msix_goes_off_before_msi_comes_on() {
        let control = WIDE.to_le_bytes();
        let nic = MockFunction::nic()
            .capabilities(&[(0x84, 0x05, &control), (0x9c, 0x11, &[0x18, 0x80])])
            .writable(0x86, &[0x71])
            .writable(0x9e, &[0, 0xc0]);
        let bus = MockBus::of(nic);
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        bus.writes.borrow_mut().clear();
        function.msi().unwrap().unwrap().enable(&mut function).unwrap();
        assert_eq!(*bus.writes.borrow(), [(0x04, 2, 0x0400), (0x9e, 2, 24), (0x86, 2, 1)]);
        assert_eq!(function.read16(0x9e), 0x18);
    }

    #[test]
    fn a_maskable_vector_is_unmasked() {
        let bus = MockBus::of(with_control(WIDE | PER_VECTOR_MASK).with(0x94, &[0xff; 4]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        function.msi().unwrap().unwrap().enable(&mut function).unwrap();
        assert_eq!(function.read32(0x94), !1);
    }

    #[test]
    fn a_capability_that_does_not_switch_on_or_does_not_fit_is_reported() {
        let bus = MockBus::of(with_control(WIDE).writable(0x86, &[0]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let msi = function.msi().unwrap().unwrap();
        assert_eq!(
            msi.enable(&mut function),
            Err(MsiError::NotEnabled { address: at("00:04.0"), seen: WIDE })
        );
        let bus = MockBus::of(MockFunction::nic().capabilities(&[(0xf4, 0x05, &WIDE.to_le_bytes())]));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(
            function.msi().unwrap_err().reason,
            CapabilityErrorReason::Truncated { id: CapabilityId::MSI, len_bytes: 14 }
        );
    }
}
