//! Where the registers of a device are on its PCI function, and the configuration space that says
//! so.

use super::legacy::PORTS_BAR;
use super::{Class, Personality};
use crate::pci::{FunctionSpace, PciHost};

/// A stretch of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it starts.
    pub offset_bytes: u32,
    /// How long its capability says it is.
    pub len_bytes: u32,
}

pub(super) const fn place(offset_bytes: u32, len_bytes: u32) -> Place {
    Place { offset_bytes, len_bytes }
}

/// Where the register structures are.
///
/// Spec: VIRTIO 1.2, 4.1.4 "Virtio Structure PCI Capabilities".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The BAR of the four structures.
    pub bar: u8,
    /// Its length.
    pub bar_bytes: u64,
    /// Common configuration.
    pub common: Place,
    /// Notifications.
    pub notify: Place,
    /// Bytes from one queue's doorbell to the next; 0 for one that all share.
    pub notify_multiplier: u32,
    /// Interrupt status.
    pub isr: Place,
    /// The device's own configuration. A length of 0 stands for exactly as long as it is.
    pub device: Place,
    /// BAR, length, table and pending bits of MSI-X.
    pub msix: (u8, u32, u32, u32),
}

impl Personality {
    /// How long the device's configuration is said to be.
    pub(super) fn device_config_bytes(&self, own_bytes: usize) -> u32 {
        match self.layout.device.len_bytes {
            0 => u32::try_from(own_bytes).unwrap_or(u32::MAX),
            len_bytes => len_bytes,
        }
    }

    /// The configuration space of a device of this kind, as the machine of `host` makes it.
    pub(super) fn function<C: Class>(&self, host: &PciHost, config_bytes: usize) -> FunctionSpace {
        let Layout { bar, bar_bytes, common, notify, notify_multiplier, isr, device, msix } = self.layout;
        let (msix_bar, msix_bytes, table, pending) = msix;
        let id = if self.transitional { 0x0fff + C::TYPE } else { 0x1040 + C::TYPE };
        let mut space = FunctionSpace::endpoint(0x1af4, id, C::PCI_CLASS);
        space.set16(0x2e, if self.transitional { C::TYPE } else { 0x1100 });
        space.set8(0x08, u8::from(!self.transitional));
        if self.has_legacy {
            let bytes = (0x18 + config_bytes).next_power_of_two();
            space = space.bar(host.port_bar(PORTS_BAR, u16::try_from(bytes).unwrap_or(u16::MAX)));
        }
        if self.has_modern {
            space = space.bar(host.high_bar(bar, bar_bytes).reacting(self.bar_reaction));
        }
        if msix_bar != bar {
            space = space.bar(host.low_bar(msix_bar, msix_bytes).reacting(self.bar_reaction));
        }
        if self.has_isr {
            space = host.machine().wired(space);
        }
        let device = Place { len_bytes: self.device_config_bytes(config_bytes), ..device };
        if !self.has_modern {
            return space.msix(
                0x98,
                self.vectors,
                table | u32::from(msix_bar),
                pending | u32::from(msix_bar),
            );
        }
        space
            .vendor(0x40, &capability(1, bar, common, &[]))
            .vendor(0x50, &capability(3, bar, isr, &[]))
            .vendor(0x60, &capability(4, bar, device, &[]))
            .vendor(0x70, &capability(2, bar, notify, &notify_multiplier.to_le_bytes()))
            .maybe(self.has_pci_cfg, |space| space.vendor(0x84, &capability(5, 0, place(0, 0), &[0; 4])))
            .msix(0x98, self.vectors, table | u32::from(msix_bar), pending | u32::from(msix_bar))
    }
}

/// The body of a capability, from `cfg_type` on.
fn capability(cfg_type: u8, bar: u8, at: Place, more: &[u8]) -> Vec<u8> {
    let mut body = vec![cfg_type, bar, 0, 0, 0];
    body.extend(at.offset_bytes.to_le_bytes());
    body.extend(at.len_bytes.to_le_bytes());
    body.extend(more);
    body
}

/// A step of building that is taken or not.
trait Maybe: Sized {
    fn maybe(self, is_taken: bool, step: impl FnOnce(Self) -> Self) -> Self {
        if is_taken { step(self) } else { self }
    }
}

impl Maybe for FunctionSpace {}
