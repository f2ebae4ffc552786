//! Platforms with settings.

use std::time::Duration;

use paravane_hal::addr::Align;

use crate::clock::ManualClock;
use crate::memory::{Memory, Settings};
use crate::platform::MockPlatform;

/// Settings of a [`MockPlatform`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    settings: Settings,
    step: Duration,
    patience: Option<u64>,
}

impl Default for Builder {
    fn default() -> Self {
        let settings = Settings { panics: true, leaks: Some(0), ..Settings::default() };
        Self { settings, step: Duration::ZERO, patience: None }
    }
}

impl Builder {
    /// Device addresses have at most `bits` bits.
    pub fn address_bits(mut self, bits: u8) -> Self {
        self.settings.address_bits = bits;
        self
    }

    /// No contiguous piece is longer.
    pub fn max_segment(mut self, len_bytes: usize) -> Self {
        self.settings.max_segment_bytes = len_bytes;
        self
    }

    /// Mapped memory starts and ends at multiples of `align`, unless it bounces.
    pub fn mapping_granule(mut self, align: Align) -> Self {
        self.settings.mapping_granule = align;
        self
    }

    /// Mapped memory is copied, as in a confidential VM: the device sees a copy made by `map`, the
    /// driver what came back at `unmap`, and poison in between.
    pub fn bounce(mut self) -> Self {
        self.settings.bounces = true;
        self
    }

    /// The `nth` allocation fails, counted from 1. May be said several times.
    pub fn fail_allocation(mut self, nth: u64) -> Self {
        self.settings.failing_allocations.insert(nth);
        self
    }

    /// The `nth` mapping fails, counted from 1. May be said several times.
    pub fn fail_mapping(mut self, nth: u64) -> Self {
        self.settings.failing_mappings.insert(nth);
        self
    }

    /// Each look at the clock moves it on by `step`.
    pub fn clock_step(mut self, step: Duration) -> Self {
        self.step = step;
        self
    }

    /// `count` regions and mappings are meant to be out at the end.
    pub fn expect_leak(mut self, count: usize) -> Self {
        self.settings.leaks = Some(count);
        self
    }

    /// Nobody counts what is out at the end.
    pub fn allow_leaks(mut self) -> Self {
        self.settings.leaks = None;
        self
    }

    /// Broken rules are written down for [`Memory::faults`] and [`Memory::violations`], and end no
    /// test.
    pub fn record_faults(mut self) -> Self {
        self.settings.panics = false;
        self
    }

    /// Does not remember who asked for memory: for millions of allocations.
    pub fn without_sites(mut self) -> Self {
        self.settings.sites = false;
        self
    }

    /// The test ends after so many reads of registers, ports and configuration space, and looks at
    /// the clock, during which the clock stands still. A million without this.
    pub fn patience(mut self, accesses: u64) -> Self {
        self.patience = Some(accesses);
        self
    }

    /// The platform.
    #[must_use]
    pub fn build(self) -> MockPlatform {
        let clock = ManualClock::default();
        clock.step(self.step);
        if let Some(accesses) = self.patience {
            clock.watchdog().set_patience(accesses);
        }
        MockPlatform::from_parts(Memory::with_settings(self.settings), clock)
    }
}
