//! Vendor-specific capabilities: a length byte, and then whatever the vendor put there. Virtio says by them where its registers are.
//!
//! ```text
//!  31          24 23     16 15      8 7       0
//! | vendor data  | length  | next    |  0x09   |
//! ```
//!
//! Spec: PCI Local Bus 3.0, appendix H "Capability IDs", ID 9.

use super::{Capability, CapabilityError, CapabilityErrorReason};
use crate::{ConfigAccess, Function};

/// One vendor-specific capability, read no further than its own length.
#[derive(Debug)]
pub struct VendorCapability<'f, C> {
    function: &'f Function<C>,
    capability: Capability,
    len_bytes: u8,
}

impl<'f, C: ConfigAccess> VendorCapability<'f, C> {
    /// Checks the length of `capability`, once.
    pub(crate) fn new(function: &'f Function<C>, capability: Capability) -> Result<Self, CapabilityError> {
        capability.require(function.address(), 3)?;
        let len_bytes = function.read8(capability.field(2));
        if len_bytes < 3 {
            let reason = CapabilityErrorReason::BadField {
                id: capability.id,
                field: "length",
                value: len_bytes.into(),
            };
            return Err(CapabilityError { address: function.address(), offset: capability.field(0), reason });
        }
        capability.require(function.address(), len_bytes)?;
        Ok(Self { function, capability, len_bytes })
    }

    /// Where it starts.
    #[must_use]
    pub fn offset(&self) -> u8 {
        self.capability.offset
    }

    /// How long it says it is, its three header bytes included.
    #[must_use]
    pub fn len_bytes(&self) -> u8 {
        self.len_bytes
    }

    /// The byte `at` bytes in; `None` beyond its length.
    #[must_use]
    pub fn read8(&self, at: u8) -> Option<u8> {
        self.covers(at, 1).then(|| self.function.read8(self.capability.field(at)))
    }

    /// The 16 bits `at` bytes in; `None` beyond its length or misaligned.
    #[must_use]
    pub fn read16(&self, at: u8) -> Option<u16> {
        self.covers(at, 2).then(|| self.function.read16(self.capability.field(at)))
    }

    /// The 32 bits `at` bytes in; `None` beyond its length or misaligned.
    #[must_use]
    pub fn read32(&self, at: u8) -> Option<u32> {
        self.covers(at, 4).then(|| self.function.read32(self.capability.field(at)))
    }

    fn covers(&self, at: u8, width: u8) -> bool {
        at.is_multiple_of(width) && at.checked_add(width).is_some_and(|end| end <= self.len_bytes)
    }
}
