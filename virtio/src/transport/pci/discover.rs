//! From a function to its mapped registers: the walk over the capabilities, and the choice among
//! them.

use core::fmt;

use paravane_hal::mmio::{Mmio, MmioMap, Window};
use paravane_hal::time::Clock;
use paravane_pci::bar::BARS;
use paravane_pci::{BarError, Command, ConfigAccess, Function, VendorCapability};

use super::PciError;
use super::capability::{Dwords, Structure, VirtioCapability};
use super::registers as reg;

/// Wakes `function`, has it answer at its memory BARs, and finds its registers, in `bars`, which it
/// maps as it goes.
///
/// # Errors
///
/// [`PciError`].
pub(super) fn discover<R, C, M>(
    function: &mut Function<C>,
    platform: &M,
    bars: &mut Bars<R>,
) -> Result<Places<R>, PciError>
where
    R: Mmio + Clone,
    C: ConfigAccess,
    M: MmioMap<Region = R> + Clock,
{
    function.ensure_d0(platform).map_err(PciError::Power)?;
    function.enable(Command::MEMORY)?;
    let mut found = Found { common: None, notify: None, isr: None, config: None, last: [None; 4] };
    let mut any = false;
    for capability in function.vendor_capabilities() {
        let Some(virtio) = VirtioCapability::read(&capability?) else { continue };
        any = true;
        found.add(&virtio, bars.place(function, platform, &virtio));
    }
    if !any {
        return Err(PciError::LegacyOnly);
    }
    found.complete()
}

/// Why a place for registers is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlaceError {
    /// Its BAR is not usable.
    Bar(BarError),
    /// It leaves its BAR, is too short, or is not aligned.
    Range {
        /// The BAR.
        bar: u8,
        /// Where, from its start.
        offset_bytes: u32,
        /// How long.
        len_bytes: u32,
        /// How long the BAR is.
        bar_bytes: usize,
    },
    /// The doorbells are an odd number of bytes apart.
    OddMultiplier {
        /// How far apart.
        multiplier: u32,
    },
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bar(error) => error.fmt(f),
            Self::Range { bar, offset_bytes, len_bytes, bar_bytes } => write!(
                f,
                "{len_bytes:#x} bytes at {offset_bytes:#x} of BAR {bar} ({bar_bytes:#x} bytes) do not fit, are too few, or are not aligned"
            ),
            Self::OddMultiplier { multiplier } => write!(f, "doorbells {multiplier} bytes apart"),
        }
    }
}

impl core::error::Error for PlaceError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bar(error) => Some(error),
            Self::Range { .. } | Self::OddMultiplier { .. } => None,
        }
    }
}

impl<C: ConfigAccess> Dwords for VendorCapability<'_, C> {
    fn dword(&self, at: u8) -> Option<u32> {
        self.read32(at)
    }
}

/// Registers found so far.
struct Found<R> {
    common: Option<Window<R>>,
    notify: Option<(Window<R>, u32)>,
    isr: Option<Window<R>>,
    config: Option<Window<R>>,
    /// Why the last unusable place for each was not: common, notify, isr, device.
    last: [Option<PlaceError>; 4],
}

/// Registers that are there.
pub(super) struct Places<R> {
    pub(super) common: Window<R>,
    pub(super) notify: (Window<R>, u32),
    pub(super) isr: Option<Window<R>>,
    pub(super) config: Window<R>,
}

impl<R: Mmio + Clone> Found<R> {
    /// Insists on what is needed.
    fn complete(self) -> Result<Places<R>, PciError> {
        let [common_error, notify_error, _, device_error] = self.last;
        let missing = |structure, last| PciError::NoStructure { structure, last };
        let common = self.common.ok_or(missing(Structure::Common, common_error))?;
        let notify = self.notify.ok_or(missing(Structure::Notify, notify_error))?;
        // A device without a configuration of its own gets an empty one: nothing can be read of it.
        let config =
            self.config.or_else(|| common.part(0, 0)).ok_or(missing(Structure::Device, device_error))?;
        Ok(Places { common, notify, isr: self.isr, config })
    }

    /// Adds a place, if it is the first usable one for its registers.
    fn add(&mut self, virtio: &VirtioCapability, place: Result<Window<R>, PlaceError>) {
        let [common, notify, isr, device] = &mut self.last;
        match (virtio.structure, place) {
            (Structure::Common, Ok(window)) => drop(self.common.get_or_insert(window)),
            (Structure::Notify, Ok(window)) => {
                self.notify.get_or_insert((window, virtio.notify_off_multiplier));
            }
            (Structure::Isr, Ok(window)) => {
                self.isr.get_or_insert(window);
            }
            (Structure::Device, Ok(window)) => {
                self.config.get_or_insert(window);
            }
            (Structure::Common, Err(why)) => *common = Some(why),
            (Structure::Notify, Err(why)) => *notify = Some(why),
            (Structure::Isr, Err(why)) => *isr = Some(why),
            (Structure::Device, Err(why)) => *device = Some(why),
        }
    }
}

/// BARs mapped so far: the four kinds of registers usually share one.
pub(super) struct Bars<R> {
    mapped: [Option<R>; BARS],
}

impl<R: Mmio + Clone> Bars<R> {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { mapped: [const { None }; BARS] }
    }

    /// Gives them back to the `mapper` that mapped them. Nothing else has them any more.
    pub(super) fn unmap(self, mapper: &impl MmioMap<Region = R>) {
        for region in self.mapped.into_iter().flatten() {
            mapper.unmap(region);
        }
    }

    /// The window that `virtio` names.
    fn place<C: ConfigAccess, M: MmioMap<Region = R>>(
        &mut self,
        function: &Function<C>,
        mapper: &M,
        virtio: &VirtioCapability,
    ) -> Result<Window<R>, PlaceError> {
        let VirtioCapability { structure, bar, offset_bytes, len_bytes, notify_off_multiplier } = *virtio;
        if structure == Structure::Notify && !virtio.has_sound_multiplier() {
            return Err(PlaceError::OddMultiplier { multiplier: notify_off_multiplier });
        }
        let region = self.region(function, mapper, bar).map_err(PlaceError::Bar)?;
        // How long it is at least, and what its widest register is aligned to.
        let (min_bytes, align) = match structure {
            Structure::Common => (reg::COMMON_BYTES, 4),
            Structure::Notify => (2, 2),
            Structure::Isr => (1, 1),
            Structure::Device => (1, 4),
        };
        let bar_bytes = region.len_bytes();
        let wrong = PlaceError::Range { bar, offset_bytes, len_bytes, bar_bytes };
        let offset = usize::try_from(offset_bytes).map_err(|_| wrong)?;
        let len = usize::try_from(len_bytes).map_err(|_| wrong)?;
        if len < min_bytes || !offset.is_multiple_of(align) {
            return Err(wrong);
        }
        Window::new(region, offset, len).map_err(|_| wrong)
    }

    fn region<C: ConfigAccess, M: MmioMap<Region = R>>(
        &mut self,
        function: &Function<C>,
        mapper: &M,
        bar: u8,
    ) -> Result<R, BarError> {
        match self.mapped.get_mut(usize::from(bar)) {
            Some(Some(region)) => Ok(region.clone()),
            place => {
                let region = function.map_bar(mapper, bar.into(), 1)?;
                if let Some(place) = place {
                    *place = Some(region.clone());
                }
                Ok(region)
            }
        }
    }
}
