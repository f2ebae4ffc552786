//! Vendor-specific capabilities: a length byte, and then whatever the vendor put there. Virtio says
//! by them where its registers are.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBus, MockFunction, at};

    #[test]
    fn only_vendor_capabilities_are_reported_and_read_no_further_than_they_say() {
        let nic = MockFunction::nic().capabilities(&[
            (0x40, 0x11, &[]),
            (0x50, 0x09, &[16, 1, 4, 0, 0, 0, 0x00, 0x10, 0, 0, 0x38, 0, 0, 0]),
            (0x60, 0x09, &[8, 2, 3, 4, 5, 6]),
        ]);
        let bus = MockBus::of(nic);
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        let found: Vec<_> = function.vendor_capabilities().collect::<Result<_, _>>().unwrap();
        assert_eq!(
            found.iter().map(|vendor| (vendor.offset(), vendor.len_bytes())).collect::<Vec<_>>(),
            [(0x50, 16), (0x60, 8)]
        );
        assert_eq!(
            (found[0].read8(3), found[0].read32(8), found[0].read32(12)),
            (Some(1), Some(0x1000), Some(0x38))
        );
        assert_eq!((found[1].read16(6), found[1].read8(8), found[1].read32(8)), (Some(0x0605), None, None));
        assert_eq!(
            (found[0].read32(6), found[0].read16(u8::MAX)),
            (None, None),
            "misaligned; beyond the end"
        );
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error_that_says_so() {
        for (offset, len_bytes) in [(0x50, 2), (0x50, 0), (0xf8, 9), (0xfc, 0xff)] {
            let bus = MockBus::of(MockFunction::nic().capabilities(&[(offset, 0x09, &[len_bytes, 1])]));
            let function = Function::claim(&bus, at("00:04.0")).unwrap();
            let error = function.vendor_capabilities().next().unwrap().unwrap_err();
            assert_eq!((error.address, error.offset), (at("00:04.0"), offset.into()), "{error}");
        }
    }

    #[test]
    fn a_broken_list_is_not_passed_over() {
        let bus = MockBus::of(MockFunction::nic().capabilities(&[(0x40, 0x11, &[])]).with(0x41, &[0x40]));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert!(function.vendor_capabilities().next().unwrap().is_err());
    }
}
