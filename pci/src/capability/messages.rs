//! Messages of either kind, as one switch: all off, whatever state their capabilities and tables
//! are in.
//!
//! For a driver that takes over what firmware left: an MSI-X table that cannot be mapped, or is
//! said to be nowhere, does not keep the function from being switched back to its pin.

use core::fmt;

use super::{CapabilityError, CapabilityId};
use crate::{ConfigAccess, Function, PciAddress};

/// The control register of either kind of capability.
pub(super) const CONTROL: u8 = 0x02;
/// In it, the bit that switches MSI on, and the one for MSI-X.
pub(super) const MSI_ENABLE: u16 = 1 << 0;
pub(super) const MSIX_ENABLE: u16 = 1 << 15;

const SWITCHES: [(CapabilityId, u16); 2] =
    [(CapabilityId::MSI, MSI_ENABLE), (CapabilityId::MSIX, MSIX_ENABLE)];

impl<C: ConfigAccess> Function<C> {
    /// Which of MSI and MSI-X is on, if one is. While it is, the function does not use its pin.
    ///
    /// # Errors
    ///
    /// [`CapabilityError`]: the capability list is broken.
    pub fn read_messages_on(&self) -> Result<Option<CapabilityId>, CapabilityError> {
        for (id, enable) in SWITCHES {
            if let Some(capability) = self.find(id)?
                && self.read16(capability.field(CONTROL)) & enable != 0
            {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Switches MSI and MSI-X off, and reads back that they are. The interrupt pin stays as it is.
    ///
    /// # Errors
    ///
    /// [`MessagesError`]: one of them is still on, or nobody can say. The other one was switched
    /// off all the same, if it could be.
    pub fn disable_messages(&mut self) -> Result<(), MessagesError> {
        let each = SWITCHES.map(|(id, enable)| self.disable_kind(id, enable));
        each.into_iter().collect()
    }

    fn disable_kind(&mut self, id: CapabilityId, enable: u16) -> Result<(), MessagesError> {
        let Some(capability) = self.find(id).map_err(MessagesError::Capability)? else { return Ok(()) };
        let at = capability.field(CONTROL);
        let before = self.read16(at);
        if before & enable == 0 {
            return Ok(());
        }
        self.access().write16(self.address(), at, before & !enable);
        let seen = self.read16(at);
        if seen & enable == 0 {
            return Ok(());
        }
        Err(MessagesError::StillOn { address: self.address(), id, seen })
    }
}

/// Message interrupts could not be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessagesError {
    /// The capability list is broken.
    Capability(CapabilityError),
    /// The capability keeps its enable bit.
    StillOn {
        /// Whose.
        address: PciAddress,
        /// Which kind.
        id: CapabilityId,
        /// Its control register.
        seen: u16,
    },
}

impl fmt::Display for MessagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(error) => error.fmt(f),
            Self::StillOn { address, id, seen } => {
                write!(f, "{address}: {id} does not switch off, its control register reads {seen:#06x}")
            }
        }
    }
}

impl core::error::Error for MessagesError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Capability(error) => Some(error),
            Self::StillOn { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBus, MockFunction, at};

    /// MSI on and MSI-X on, its table in a BAR that there is none of.
    fn both_on() -> MockFunction {
        MockFunction::nic().capabilities(&[
            (0x84, 0x05, &[0x81, 0x00]),
            (0x9c, 0x11, &[0x18, 0x80, 0x07, 0, 0, 0, 0x07, 0x10, 0, 0]),
        ])
    }

    #[test]
    fn both_kinds_go_off_whatever_the_table() {
        let bus = MockBus::of(both_on().writable(0x86, &[0x71, 0]).writable(0x9e, &[0, 0xc0]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert!(function.msix().is_err(), "the usual way is closed");
        assert_eq!(function.read_messages_on(), Ok(Some(CapabilityId::MSI)));
        bus.writes.borrow_mut().clear();
        function.disable_messages().unwrap();
        assert_eq!(*bus.writes.borrow(), [(0x86, 2, 0x0080), (0x9e, 2, 0x0018)]);
        assert_eq!(function.read_messages_on(), Ok(None));
        function.disable_messages().unwrap();
        assert_eq!(bus.writes.borrow().len(), 2, "what is off is left alone");
    }

    #[test]
    fn one_that_stays_on_is_reported() {
        let bus = MockBus::of(both_on().writable(0x86, &[0x71, 0]).writable(0x9e, &[0, 0x40]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let error = function.disable_messages().unwrap_err();
        let text = "00:04.0: MSI-X does not switch off, its control register reads 0x8018";
        assert_eq!(error.to_string(), text);
        assert_eq!(function.read_messages_on(), Ok(Some(CapabilityId::MSIX)));
    }

    #[test]
    fn one_that_stays_on_does_not_keep_the_other_on() {
        let bus = MockBus::of(both_on().writable(0x9e, &[0, 0xc0]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert!(matches!(
            function.disable_messages(),
            Err(MessagesError::StillOn { id: CapabilityId::MSI, .. })
        ));
        assert_eq!(function.read16(0x9e) & MSIX_ENABLE, 0);
    }

    #[test]
    fn a_function_without_either_has_none_on() {
        let bus = MockBus::of(MockFunction::nic());
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!((function.disable_messages(), function.read_messages_on()), (Ok(()), Ok(None)));
    }
}
