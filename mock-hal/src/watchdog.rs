//! An end to drivers that wait without looking at the clock.
//!
//! The clock of a mock moves when somebody makes it move. A loop that reads a register until it
//! changes, and asks nobody for the time, would go on for ever; so would one that looks at a clock
//! that stands still and never relaxes. After so many accesses without a step of the clock the test
//! ends, and says what was read again and again.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use paravane_pci::PciAddress;

/// Without other settings.
const PATIENCE: u64 = 1_000_000;

/// What is accessed again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// A register, by the start of its region and its offset there.
    Register {
        start: u64,
        offset_bytes: usize,
    },
    Port(u16),
    Config {
        at: PciAddress,
        offset: u16,
    },
    /// A look at a clock that stands still.
    Clock,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register { start, offset_bytes } => {
                write!(f, "reads at offset {offset_bytes:#x} of the registers at {start:#x}")
            }
            Self::Port(port) => write!(f, "reads of port {port:#x}"),
            Self::Config { at, offset } => {
                write!(f, "reads at {offset:#x} of the configuration space of {at}")
            }
            Self::Clock => f.write_str("looks at the clock, which nobody moved"),
        }
    }
}

/// What a loop accessed last, by place.
pub(crate) struct Tally<K>(Option<HashMap<K, u64>>);

/// How many accesses are remembered.
pub(crate) const LAST: u64 = 1000;

impl<K: Eq + Hash> Tally<K> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    pub(crate) fn add(&mut self, place: K) {
        *self.0.get_or_insert_default().entry(place).or_insert(0) += 1;
    }

    /// The place that there were most of, and how many; nothing is remembered from here on.
    pub(crate) fn take_most(&mut self) -> Option<(K, u64)> {
        self.0.take()?.into_iter().max_by_key(|(_, count)| *count)
    }
}

/// Counts accesses while the clock stands still. A clone is the same one.
#[derive(Clone)]
pub(crate) struct Watchdog(Arc<State>);

struct State {
    patience: AtomicU64,
    /// Accesses since the clock moved.
    count: AtomicU64,
    last: Mutex<Tally<Access>>,
}

impl State {
    fn patience(&self) -> u64 {
        self.patience.load(Ordering::Relaxed)
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        let (patience, count) = (AtomicU64::new(PATIENCE), AtomicU64::new(0));
        Self(Arc::new(State { patience, count, last: Mutex::new(Tally::new()) }))
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watchdog({} accesses)", self.0.count.load(Ordering::Relaxed))
    }
}

impl Watchdog {
    /// The clock moved.
    pub(crate) fn pat(&self) {
        self.0.count.store(0, Ordering::Relaxed);
    }

    /// Loses patience after so many accesses.
    pub(crate) fn set_patience(&self, accesses: u64) {
        self.0.patience.store(accesses, Ordering::Relaxed);
    }

    /// Another access while it stands still.
    pub(crate) fn count(&self, access: Access) {
        let count = self.0.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count.saturating_add(LAST) > self.0.patience() {
            self.remember(count, access);
        }
    }

    #[cold]
    fn remember(&self, count: u64, access: Access) {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.add(access);
        if count < self.0.patience() {
            return;
        }
        let most = last.take_most();
        drop(last);
        self.pat();
        let Some((access, share)) = most else { return };
        assert!(
            std::thread::panicking(),
            "{count} accesses while the clock stood still; of the last {LAST}, {share} were {access}. A wait looks at the clock and relaxes \
             (`hal::time::wait_for` does both); a test that means it says `Builder::patience`"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use paravane_hal::addr::PhysAddr;
    use paravane_hal::mmio::{Mmio, MmioMap};
    use paravane_hal::port::PortIo;
    use paravane_hal::time::{Clock, Deadline};
    use paravane_pci::{ConfigAccess, PciAddress};

    use crate::registers::{DeviceModel, Width};
    use crate::{MockPlatform, ModelRegion};

    struct Silent;

    impl DeviceModel for Silent {
        fn read(&mut self, _bar: u8, _offset_bytes: usize, _width: Width) -> u32 {
            0
        }
        fn write(&mut self, _bar: u8, _offset_bytes: usize, _width: Width, _value: u32) {}
    }

    fn silent(platform: &MockPlatform) -> ModelRegion {
        platform.attach(PhysAddr::new(0xf000_0000), 0x1000, Arc::new(Mutex::new(Silent)), 0);
        platform.map(PhysAddr::new(0xf000_0000), 0x1000).unwrap()
    }

    #[test]
    #[should_panic(
        expected = "of the last 1000, 1000 were reads at offset 0x24 of the registers at 0xf0000000"
    )]
    fn a_wait_for_a_register_that_asks_nobody_for_the_time_is_ended() {
        let region = silent(&MockPlatform::new());
        while region.read32(0x24) == 0 {
            region.write32(0x20, 1);
        }
    }

    #[test]
    #[should_panic(
        expected = "1000000 accesses while the clock stood still; of the last 1000, 1000 were looks at the clock"
    )]
    fn a_wait_that_never_relaxes_is_ended() {
        let platform = MockPlatform::new();
        let deadline = Deadline::after(&platform, Duration::from_secs(1));
        while !deadline.has_passed(&platform) {}
    }

    #[test]
    #[should_panic(expected = "reads of port 0x64")]
    fn a_wait_for_a_port_is_ended() {
        let platform = MockPlatform::builder().patience(5000).build();
        while platform.in8(0x64) & 1 != 0 {}
    }

    #[test]
    #[should_panic(expected = "reads at 0x44 of the configuration space of 00:03.0")]
    fn a_wait_for_configuration_space_is_ended() {
        let platform = MockPlatform::builder().patience(5000).build();
        while platform.pci().read16(PciAddress::from_devfn(0, 0, 3 << 3), 0x44) != 0 {}
    }

    #[test]
    fn a_wait_that_relaxes_or_has_a_clock_that_steps_may_take_any_time() {
        let relaxing = MockPlatform::builder().patience(100).build();
        let region = silent(&relaxing);
        for _ in 0..1000 {
            assert_eq!(region.read32(0), 0);
            relaxing.relax();
        }
        let stepping = MockPlatform::builder().patience(100).clock_step(Duration::from_nanos(1)).build();
        assert!((0..1000).all(|_| stepping.now() < stepping.now()));
    }
}
