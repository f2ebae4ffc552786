//! Where a function's virtio registers are: its vendor-specific capabilities, decoded and chosen.
//!
//! ```text
//!   0     1      2         3          4     5    6..8   8         12        16
//!  | 09 | next | cap_len | cfg_type | bar | id | --   | offset  | length  | notify_off_multiplier |
//! ```
//!
//! A device may offer several places for the same registers, best first; the first one that is
//! usable counts. Unknown types and places in BARs that do not exist are passed over, as the
//! specification wants.
//!
//! Spec: VIRTIO 1.2, 4.1.4 "Virtio Structure PCI Capabilities".

use core::fmt;

use paravane_pci::bar::BARS;

/// Which registers a capability is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// Features, status, queues.
    Common,
    /// Doorbells.
    Notify,
    /// The interrupt status byte.
    Isr,
    /// The device's own configuration.
    Device,
}

impl Structure {
    /// `cfg_type`, if this driver has a use for it. Access through configuration space (5), shared
    /// memory (8) and the vendor's own (9) it does not need.
    const fn from_cfg_type(cfg_type: u8) -> Option<Self> {
        match cfg_type {
            1 => Some(Self::Common),
            2 => Some(Self::Notify),
            3 => Some(Self::Isr),
            4 => Some(Self::Device),
            _ => None,
        }
    }
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Common => "common configuration",
            Self::Notify => "notification",
            Self::Isr => "interrupt status",
            Self::Device => "device configuration",
        })
    }
}

/// One virtio capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VirtioCapability {
    /// What is there.
    pub(crate) structure: Structure,
    /// In which BAR.
    pub(crate) bar: u8,
    /// Where, from its start.
    pub(crate) offset_bytes: u32,
    /// How long.
    pub(crate) len_bytes: u32,
    /// For [`Structure::Notify`]: how far apart the doorbells are.
    pub(crate) notify_off_multiplier: u32,
}

/// A reader of a capability's dwords, which has none beyond the capability's own length.
pub(crate) trait Dwords {
    /// The dword `at` bytes in.
    fn dword(&self, at: u8) -> Option<u32>;
}

impl VirtioCapability {
    /// Reads a vendor-specific capability. `None` when it is not one that this driver uses, or too
    /// short for what it says it is.
    #[must_use]
    pub(crate) fn read(capability: &impl Dwords) -> Option<Self> {
        let [_id, _next, _len, cfg_type] = capability.dword(0)?.to_le_bytes();
        let structure = Structure::from_cfg_type(cfg_type)?;
        let [bar, ..] = capability.dword(4)?.to_le_bytes();
        // BAR numbers beyond these are reserved.
        if usize::from(bar) >= BARS {
            return None;
        }
        let notify_off_multiplier = if structure == Structure::Notify { capability.dword(16)? } else { 0 };
        Some(Self {
            structure,
            bar,
            offset_bytes: capability.dword(8)?,
            len_bytes: capability.dword(12)?,
            notify_off_multiplier,
        })
    }

    /// Whether doorbells may be that far apart: not at all (all are one), or an even number of
    /// bytes.
    ///
    /// The specification wants a power of two; a doorbell is sound at any even distance, and
    /// nothing depends on more.
    #[must_use]
    pub(crate) const fn has_sound_multiplier(&self) -> bool {
        self.notify_off_multiplier.is_multiple_of(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capability as bytes, as long as it says.
    struct Bytes<'a>(&'a [u8]);

    impl Dwords for Bytes<'_> {
        fn dword(&self, at: u8) -> Option<u32> {
            let at = usize::from(at);
            self.0.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()))
        }
    }

    /// As QEMU lays them out: everything in BAR 4.
    const COMMON: [u8; 16] = [0x09, 0x84, 0x10, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0];
    const NOTIFY: [u8; 20] = [0x09, 0x40, 0x14, 2, 4, 0, 0, 0, 0, 0x30, 0, 0, 0, 0x10, 0, 0, 4, 0, 0, 0];

    #[test]
    fn fields_are_where_the_specification_puts_them() {
        let common = VirtioCapability::read(&Bytes(&COMMON)).unwrap();
        assert_eq!(
            common,
            VirtioCapability {
                structure: Structure::Common,
                bar: 4,
                offset_bytes: 0,
                len_bytes: 0x1000,
                notify_off_multiplier: 0
            }
        );
        let notify = VirtioCapability::read(&Bytes(&NOTIFY)).unwrap();
        assert_eq!((notify.offset_bytes, notify.notify_off_multiplier), (0x3000, 4));
        assert!(notify.has_sound_multiplier());
    }

    #[test]
    fn what_is_unknown_or_cut_short_is_passed_over() {
        let with = |at: usize, value: u8| {
            let mut bytes = NOTIFY;
            bytes[at] = value;
            VirtioCapability::read(&Bytes(&bytes))
        };
        for cfg_type in [0, 5, 6, 8, 9, 255] {
            assert_eq!(with(3, cfg_type), None);
        }
        assert_eq!(with(4, 6), None, "there is no BAR 6");
        assert_eq!(VirtioCapability::read(&Bytes(&NOTIFY[..16])), None, "no multiplier");
        assert_eq!(VirtioCapability::read(&Bytes(&COMMON[..12])), None);
    }
}
