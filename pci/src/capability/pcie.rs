//! The PCI Express capability: whether accesses of the function are still under way.
//!
//! ```text
//!         31            16 15           8 7      0
//! +0x00  | capabilities   |  next        |  0x10  |
//! +0x04  | device capabilities                    |
//! +0x08  | device status  |  device control       |
//! ```
//!
//! Spec: PCI Express Base 5.0, 7.5.3 "PCI Express Capability Structure".

use super::{Capability, CapabilityError};
use crate::{ConfigAccess, Function};

const DEVICE_STATUS: u8 = 0x0a;
const TRANSACTIONS_PENDING: u16 = 1 << 5;

/// Where a function's PCI Express capability is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcie {
    capability: Capability,
}

impl Pcie {
    pub(crate) fn new<C: ConfigAccess>(
        function: &Function<C>,
        capability: Capability,
    ) -> Result<Self, CapabilityError> {
        capability.require(function.address(), 0x0c)?;
        Ok(Self { capability })
    }

    /// Where the capability starts.
    #[must_use]
    pub fn offset(&self) -> u8 {
        self.capability.offset
    }

    /// Whether the function waits for completions of requests that it made; `true` also when it
    /// does not answer.
    #[must_use]
    pub fn read_transactions_pending<C: ConfigAccess>(&self, function: &Function<C>) -> bool {
        function.read16(self.capability.field(DEVICE_STATUS)) & TRANSACTIONS_PENDING != 0
    }
}
