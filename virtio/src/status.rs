//! The device status field: how far bring-up has come, as both sides see it.
//!
//! Spec: VIRTIO 1.2, 2.1 "Device Status Field".

use core::fmt;

bitflags::bitflags! {
    /// The device status field.
    ///
    /// The driver only ever adds bits, one at a time: Firecracker drops a write that sets two.
    /// Writing zero resets the device.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Status: u8 {
        /// The driver has found the device.
        const ACKNOWLEDGE = 1;
        /// The driver knows how to drive it.
        const DRIVER = 1 << 1;
        /// The driver is set up; the device may use the queues.
        const DRIVER_OK = 1 << 2;
        /// The features are agreed. Read back after writing, for the device says no by leaving it
        /// clear.
        const FEATURES_OK = 1 << 3;
        /// The device cannot go on; only a reset helps. Set by the device.
        const DEVICE_NEEDS_RESET = 1 << 6;
        /// The driver gave up. Written when bring-up fails, so that a person looking at the host
        /// sees why nothing works.
        const FAILED = 1 << 7;
    }
}

impl Status {
    /// What the register of a device that is not there any more reads as.
    pub(crate) const GONE: Self = Self::from_bits_retain(u8::MAX);

    /// Whether this is what a register of a device that is not there any more reads as.
    ///
    /// No state has every bit set: a driver that failed does not go on to `DRIVER_OK`.
    #[must_use]
    pub const fn is_all_ones(self) -> bool {
        self.bits() == u8::MAX
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("0 (reset)");
        }
        write!(f, "{:#04x} (", self.bits())?;
        bitflags::parser::to_writer(self, &mut *f)?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_prints_for_people() {
        assert_eq!(std::format!("{}", Status::empty()), "0 (reset)");
        assert_eq!(std::format!("{}", Status::ACKNOWLEDGE | Status::DRIVER), "0x03 (ACKNOWLEDGE | DRIVER)");
        assert!(Status::from_bits_retain(0xff).is_all_ones());
    }
}
