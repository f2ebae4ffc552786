//! Going to sleep with a machine, and what wakes it by this device.

use alloc::boxed::Box;
use core::mem::offset_of;
use core::ops::Add as _;

use log::{info, warn};
use paravane_hal::field;
use paravane_hal::{Failed, Platform};
use paravane_pci::{ConfigAccess, PowerError};
use zerocopy::little_endian::{U16, U32, U64};

use crate::control::VmxControl;
use crate::device::{Device, halt};
use crate::error::{ShutDownError, StopError};
use crate::memory::Memory;
use crate::pairs::RxQueues;
use crate::regs::{Command, GONE};
use crate::shared::{PM_CONF_BYTES, PmConf, PmFilter, Shared};
use crate::start::Running;
use crate::tx::TxQueue;

/// `wakeUpEvents`: a magic packet,
const MAGIC: u16 = 1;
/// and what passes a filter.
const FILTER: u16 = 1 << 1;

/// What wakes a machine by this device while both sleep.
///
/// ```
/// use paravane_vmxnet3::WakeUp;
///
/// // ARP, whatever it asks for and for whom, beside magic packets.
/// let mut arp = [None; 14];
/// arp[12..].copy_from_slice(&[Some(0x08), Some(0x06)]);
/// let wake = WakeUp::NONE.with_magic_packet().with_pattern(&arp).expect("it is short");
/// assert!(!wake.is_none());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WakeUp(PmConf);

impl WakeUp {
    /// Nothing does.
    pub const NONE: Self = Self(PmConf {
        wake_up_events: U16::ZERO,
        num_filters: 0,
        pad: [0; 5],
        filters: [PmFilter { mask_bytes: 0, pattern_bytes: 0, mask: [0; 16], pattern: [0; 128], pad: [0; 6] };
            6],
    });

    /// The same, and a magic packet: six bytes of ones and the device's address 16 times, anywhere
    /// in a frame.
    #[must_use]
    pub const fn with_magic_packet(self) -> Self {
        self.with_event(MAGIC)
    }

    /// The same, and frames that start with `pattern`, in which `None` is any byte. `None` of a
    /// seventh pattern, an empty one, and one longer than 128 bytes.
    #[must_use]
    pub fn with_pattern(mut self, pattern: &[Option<u8>]) -> Option<Self> {
        let filter = self.0.filters.get_mut(usize::from(self.0.num_filters))?;
        let pattern_bytes = u8::try_from(pattern.len()).ok().filter(|len_bytes| *len_bytes > 0)?;
        let places = filter.pattern.get_mut(..pattern.len())?;
        for (at, (byte, place)) in pattern.iter().zip(places).enumerate() {
            let Some(byte) = byte else { continue };
            *place = *byte;
            *filter.mask.get_mut(at / 8)? |= 1 << (at % 8);
        }
        filter.pattern_bytes = pattern_bytes;
        filter.mask_bytes = pattern_bytes.div_ceil(8);
        self.0.num_filters = self.0.num_filters.saturating_add(1);
        Some(self.with_event(FILTER))
    }

    const fn with_event(mut self, event: u16) -> Self {
        self.0.wake_up_events = U16::new(self.0.wake_up_events.get() | event);
        self
    }

    /// Whether nothing does.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0.wake_up_events.get() == 0
    }
}

impl<P: Platform, C: ConfigAccess> VmxControl<P, C> {
    /// Stops the device as [`stop`](Self::stop) does, but for a reset, over which it would forget
    /// what wakes the machine. It may [sleep](Device::sleep) then.
    ///
    /// Until the next start its memory stays with it, and the frames that its queues held: started
    /// again, by the same `config` and settings, it is woken and reset, and goes on counting. It
    /// may have become another meanwhile, on another host.
    ///
    /// # Errors
    ///
    /// [`StopError`], and all parts back. After [`StopError::WakeUp`] and those that say so the
    /// device runs on; after [`StopError::StillRunning`] it is to be [stopped](Self::stop).
    pub fn suspend(
        mut self,
        rx: RxQueues<P>,
        tx: TxQueue<P>,
        wake: &WakeUp,
    ) -> Result<Device<P, C>, Failed<StopError, Running<P, C>>>
    where
        C: Send,
    {
        if let Err(error) = self.check_parts(&rx, &tx) {
            return Err(Failed::new(error, Running { control: self, rx, tx }));
        }
        match self.tell_wake_up(wake) {
            0 => {}
            // It was asked for nothing, and may never have heard of it.
            _ if wake.is_none() => {}
            code => {
                let error = StopError::WakeUp { code };
                warn!("vmxnet3 {}: {error}", self.device.function.address());
                return Err(Failed::new(error, Running { control: self, rx, tx }));
            }
        }
        self.mask_interrupts();
        let counted = self.read_counted().unwrap_or_default();
        let device = &mut self.device;
        let halted = match halt(&mut device.function, &mut device.regs, &device.platform) {
            Ok((0, _)) => Ok(()),
            Ok((quiesce, _)) => Err(ShutDownError::Unconfirmed { quiesce, reset: GONE }),
            Err(error) => Err(error),
        };
        if let Err(error) = halted {
            return Err(self.not_stopped(error, rx, tx));
        }
        let mut device = self.device;
        device.kept = Some(Box::new(Memory { shared: self.shared, table: self.table, rx, tx }));
        device.counted = device.counted.add(counted);
        device.interrupts.switch_off(&mut device.function);
        info!("vmxnet3 {}: suspended", device.function.address());
        Ok(device)
    }

    /// What the device answers; 0 when it will wake the machine so.
    fn tell_wake_up(&mut self, wake: &WakeUp) -> u32 {
        self.shared.set(field!(Shared, pm), wake.0);
        self.shared.set(field!(Shared, driver.pm_conf.conf_ver), U32::new(1));
        self.shared.set(field!(Shared, driver.pm_conf.conf_len), U32::new(PM_CONF_BYTES));
        let place = self.shared.dma_addr().get().wrapping_add(offset_of!(Shared, pm) as u64);
        self.shared.set(field!(Shared, driver.pm_conf.conf_pa), U64::new(place));
        self.device.regs.run(Command::UpdatePmConf).unwrap_or(GONE)
    }
}

impl<P: Platform, C: ConfigAccess> Device<P, C> {
    /// Puts a device to sleep, [suspended](VmxControl::suspend) if it is to wake anyone: in D3hot,
    /// from which it may wake the machine where `can_wake` says so. A start wakes it.
    ///
    /// # Errors
    ///
    /// [`PowerError`]: it has no power management, cannot wake the machine, or does not go to
    /// sleep. It is stopped or suspended still.
    pub fn sleep(&mut self, can_wake: bool) -> Result<(), PowerError> {
        // One that fell asleep only half is woken as well.
        self.is_asleep = true;
        self.function.enter_d3(&self.platform, can_wake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_as_the_device_reads_them() {
        let pattern: Vec<_> = (0..128).map(|at| (at % 3 == 0).then_some(at)).collect();
        let WakeUp(conf) = WakeUp::NONE.with_pattern(&pattern).unwrap().with_pattern(&[Some(7)]).unwrap();
        assert_eq!((conf.wake_up_events.get(), conf.num_filters), (2, 2));
        let [first, second, third, ..] = conf.filters;
        assert_eq!((first.mask_bytes, first.pattern_bytes), (16, 128));
        assert_eq!((first.mask[0], first.mask[1], first.pattern[9], first.pattern[10]), (0x49, 0x92, 9, 0));
        assert_eq!(
            (second.mask_bytes, second.pattern_bytes, second.mask[0], second.pattern[0]),
            (1, 1, 1, 7)
        );
        assert_eq!(third.pattern_bytes, 0);
    }

    #[test]
    fn there_are_six_patterns_of_128_bytes() {
        assert!(WakeUp::NONE.with_pattern(&[]).is_none());
        assert!(WakeUp::NONE.with_pattern(&[None; 129]).is_none());
        assert!(WakeUp::NONE.with_pattern(&[None; 300]).is_none());
        let six = (0..6).fold(WakeUp::NONE, |wake, _| wake.with_pattern(&[Some(1)]).unwrap());
        assert!(six.with_pattern(&[Some(1)]).is_none());
        assert!(WakeUp::NONE.is_none() && !six.is_none() && !WakeUp::NONE.with_magic_packet().is_none());
    }
}
