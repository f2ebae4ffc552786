//! Register regions that a device model answers.

use std::sync::{Arc, Mutex, PoisonError};

use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::Mmio;

use crate::loads;
use crate::pci::PciRegion;
use crate::platform::MockPlatform;
use crate::watchdog::{Access, Watchdog};

/// How wide a register access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
}

impl Width {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
        }
    }
}

/// What plays a device.
///
/// Accesses arrive in bounds and aligned to their width; all others end at the region, as on a bus
/// where nobody answers.
pub trait DeviceModel: Send {
    /// The driver reads from `bar`. Bits beyond `width` are cut off.
    fn read(&mut self, bar: u8, offset_bytes: usize, width: Width) -> u32;

    /// The driver writes to `bar`.
    fn write(&mut self, bar: u8, offset_bytes: usize, width: Width, value: u32);

    /// Its function was put to sleep: it reaches no memory until it wakes.
    fn sleep(&mut self) {}

    /// Its function woke and is as after power-on.
    fn reset(&mut self) {}
}

/// A model that tests and regions share.
pub type SharedModel = Arc<Mutex<dyn DeviceModel>>;

/// Registers, mapped.
#[derive(Clone)]
pub struct ModelRegion {
    pub(crate) behind: Behind,
    pub(crate) start: PhysAddr,
    pub(crate) watchdog: Watchdog,
}

/// Who answers.
#[derive(Clone)]
pub(crate) enum Behind {
    /// One BAR of a model at a place that does not change: all of it, or a part.
    Fixed {
        model: SharedModel,
        bar: u8,
        /// Where the region starts in the BAR.
        start_bytes: usize,
        len_bytes: usize,
    },
    /// Whoever decodes the address on the bus.
    Pci(PciRegion),
    /// Ports from `first` on.
    Ports { platform: MockPlatform, first: u16, len_bytes: usize },
}

impl ModelRegion {
    fn get(&self, offset_bytes: usize, width: Width) -> u32 {
        loads::next_call();
        self.watchdog.count(Access::Register { start: self.start.get(), offset_bytes });
        match &self.behind {
            Behind::Pci(region) => region.get(offset_bytes, width),
            Behind::Ports { platform, first, len_bytes } => port(*first, *len_bytes, offset_bytes, width)
                .map_or(u32::MAX, |port| platform.read_port(port, width)),
            Behind::Fixed { model, bar, start_bytes, len_bytes } => {
                let Some(place) = place(*start_bytes, *len_bytes, offset_bytes, width) else {
                    return u32::MAX;
                };
                // A model that panicked has failed its test already; what others still read from it
                // does not matter.
                model.lock().unwrap_or_else(PoisonError::into_inner).read(*bar, place, width)
            }
        }
    }

    fn put(&self, offset_bytes: usize, width: Width, value: u32) {
        loads::next_call();
        match &self.behind {
            Behind::Pci(region) => region.put(offset_bytes, width, value),
            Behind::Ports { platform, first, len_bytes } => {
                if let Some(port) = port(*first, *len_bytes, offset_bytes, width) {
                    platform.write_port(port, width, value);
                }
            }
            Behind::Fixed { model, bar, start_bytes, len_bytes } => {
                if let Some(place) = place(*start_bytes, *len_bytes, offset_bytes, width) {
                    model.lock().unwrap_or_else(PoisonError::into_inner).write(*bar, place, width, value);
                }
            }
        }
    }
}

/// Where an access lands in a BAR, if the region has such a place.
fn place(start_bytes: usize, len_bytes: usize, offset_bytes: usize, width: Width) -> Option<usize> {
    let end = offset_bytes.checked_add(width.bytes())?;
    (end <= len_bytes && offset_bytes.is_multiple_of(width.bytes()))
        .then(|| start_bytes.wrapping_add(offset_bytes))
}

/// The port of an access, if the region has it.
fn port(first: u16, len_bytes: usize, offset_bytes: usize, width: Width) -> Option<u16> {
    u16::try_from(place(first.into(), len_bytes, offset_bytes, width)?).ok()
}

#[expect(clippy::cast_possible_truncation, reason = "the access is as wide as its method says")]
impl Mmio for ModelRegion {
    fn len_bytes(&self) -> usize {
        match &self.behind {
            Behind::Fixed { len_bytes, .. } | Behind::Ports { len_bytes, .. } => *len_bytes,
            Behind::Pci(region) => region.len_bytes,
        }
    }
    fn read8(&self, offset_bytes: usize) -> u8 {
        self.get(offset_bytes, Width::Byte) as u8
    }
    fn read16(&self, offset_bytes: usize) -> u16 {
        self.get(offset_bytes, Width::Half) as u16
    }
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.get(offset_bytes, Width::Word)
    }
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.put(offset_bytes, Width::Byte, value.into());
    }
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.put(offset_bytes, Width::Half, value.into());
    }
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.put(offset_bytes, Width::Word, value);
    }
}
