//! A device that is nothing but registers in one place: no bus announces it, and none stops it.

use core::fmt;
use core::time::Duration;

use crate::addr::PhysAddr;
use crate::dma::{DeviceTag, Quiesce, Quiet};
use crate::mmio::{MapError, Mmio, MmioMap};
use crate::time::{Clock, TimedOut, wait_for};

/// How long a reset may take.
const RESET_TIMEOUT: Duration = Duration::from_secs(3);

/// A device whose registers lie in one place of the memory map, claimed.
///
/// No bus keeps such a device from memory: what silences it is its own reset, which it confirms in
/// the register that it was asked in.
#[derive(Debug)]
pub struct MmioDevice<R> {
    region: R,
    start: PhysAddr,
    reset_at_bytes: usize,
    tag: DeviceTag,
}

impl<R: Mmio> MmioDevice<R> {
    /// Maps the `len_bytes` of registers at `start` and claims the device behind them, which the
    /// register at `reset_at_bytes` resets: 32 bits, zero when written, and zero again once it is
    /// done.
    ///
    /// # Errors
    ///
    /// [`MapError`]; nothing is mapped.
    ///
    /// # Safety
    ///
    /// - The registers there are of one device, and nothing else drives it while this value, or
    ///   what was made of it, lives.
    /// - If a device is there, it starts no access to memory and has none under way from when the
    ///   register reads as zero after zero was written there, until something else is written to
    ///   it.
    #[expect(unsafe_code, reason = "the promise that a reset frees memory is made here")]
    pub unsafe fn claim<M: MmioMap<Region = R>>(
        mapper: &M,
        start: PhysAddr,
        len_bytes: usize,
        reset_at_bytes: usize,
    ) -> Result<Self, MapError> {
        let region = mapper.map(start, len_bytes)?;
        Ok(Self { region, start, reset_at_bytes, tag: DeviceTag::unique() })
    }

    /// Its registers.
    #[must_use]
    pub fn region(&self) -> &R {
        &self.region
    }

    /// Where they are.
    #[must_use]
    pub fn start(&self) -> PhysAddr {
        self.start
    }

    /// Where the register is that resets it.
    #[must_use]
    pub fn reset_at_bytes(&self) -> usize {
        self.reset_at_bytes
    }

    /// Gives the mapping back. The device stays as it is.
    pub fn release<M: MmioMap<Region = R>>(self, mapper: &M) {
        mapper.unmap(self.region);
    }
}

impl<R: Mmio> Quiesce for MmioDevice<R> {
    type Error = NoReset;

    fn tag(&self) -> DeviceTag {
        self.tag
    }

    /// Resets it.
    fn quiesce(&mut self, clock: &impl Clock) -> Result<Quiet<'_>, NoReset> {
        self.region.write32(self.reset_at_bytes, 0);
        let mut seen = 0;
        let done = wait_for(clock, RESET_TIMEOUT, || {
            seen = self.region.read32(self.reset_at_bytes);
            (seen == 0).then_some(())
        });
        done.map_err(|waited| NoReset { start: self.start, seen, waited })?;
        // SAFETY: the register read as zero after zero was written there, and `claim` was promised
        // that the device is silent then, until something else is written there. Whoever has this
        // value writes there through it or a clone of its region, and has lent it out for as long
        // as the proof lives.
        #[expect(unsafe_code, reason = "see there")]
        Ok(unsafe { Quiet::vouch(self.tag) })
    }
}

/// A device does not confirm its reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoReset {
    /// Where its registers are.
    pub start: PhysAddr,
    /// What the register read as last.
    pub seen: u32,
    /// How long was waited.
    pub waited: TimedOut,
}

impl fmt::Display for NoReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, seen, waited } = self;
        write!(f, "device at {:#x} does not reset: reads {seen:#x}, expected 0: {waited}", start.get())
    }
}

impl core::error::Error for NoReset {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
    use std::sync::Arc;

    /// One register at 8, which takes so many reads to be zero once zero was written there.
    #[derive(Clone, Debug)]
    struct Slow(Arc<(AtomicU32, u32)>);

    impl Mmio for Slow {
        fn len_bytes(&self) -> usize {
            16
        }
        fn read8(&self, _: usize) -> u8 {
            0xff
        }
        fn read16(&self, _: usize) -> u16 {
            0xffff
        }
        fn read32(&self, at: usize) -> u32 {
            assert_eq!(at, 8);
            self.0.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).unwrap_or(0)
        }
        fn write8(&self, _: usize, _: u8) {}
        fn write16(&self, _: usize, _: u16) {}
        fn write32(&self, at: usize, value: u32) {
            assert_eq!((at, value), (8, 0));
            self.0.0.store(self.0.1, Relaxed);
        }
    }

    struct Map(Slow);

    impl MmioMap for Map {
        type Region = Slow;
        fn map(&self, _: PhysAddr, _: usize) -> Result<Slow, MapError> {
            Ok(self.0.clone())
        }
    }

    #[derive(Default)]
    struct Ticks(AtomicU64);

    impl Clock for Ticks {
        fn now(&self) -> Instant {
            Instant::from_nanos(self.0.fetch_add(1_000_000, Relaxed))
        }
    }

    fn device(reads: u32) -> MmioDevice<Slow> {
        let map = Map(Slow(Arc::new((AtomicU32::new(u32::MAX), reads))));
        // SAFETY: there is no device.
        #[expect(unsafe_code, reason = "see there")]
        unsafe { MmioDevice::claim(&map, PhysAddr::new(0xfeb0_0000), 16, 8) }.unwrap()
    }

    #[test]
    fn a_reset_is_waited_for_and_vouched_for() {
        let mut device = device(100);
        let tag = device.tag();
        assert_eq!(device.quiesce(&Ticks::default()).unwrap().device(), tag);
    }

    #[test]
    fn a_device_that_does_not_reset_is_not_vouched_for() {
        let error = device(u32::MAX).quiesce(&Ticks::default()).unwrap_err();
        assert!(error.to_string().starts_with("device at 0xfeb00000 does not reset: reads 0x"), "{error}");
        assert!(error.to_string().ends_with(", expected 0: nothing after 3000 ms"), "{error}");
    }
}
