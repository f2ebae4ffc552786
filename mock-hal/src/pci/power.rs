//! Sleep: what a function does in D3, and what it forgets when it wakes.
//!
//! Spec: PCI Bus Power Management Interface 1.2, 3.2.4 "PMCSR", 5.4.1 "Software Accessible D3
//! (D3hot)", 5.6 "Power Management Events".

use super::space::FunctionSpace;

/// From the start of the capability.
const PMC: usize = 2;
const PMCSR: usize = 4;
const POWER_STATE: u16 = 0b11;
const D3: u16 = 0b11;
const NO_SOFT_RESET: u16 = 1 << 3;
const PME_ENABLE: u16 = 1 << 8;
const PME_STATUS: u16 = 1 << 15;

/// What a write to configuration space did to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// Nothing of that kind.
    Same,
    /// It sleeps now.
    Slept,
    /// It is awake, and as after power-on.
    WokeReset,
}

impl FunctionSpace {
    /// Adds a power-management capability at `at`, in D0. In D3 the function does not decode its
    /// BARs, reaches no memory and interrupts nobody; when it comes back, it is as after power-on.
    #[must_use]
    pub fn power(mut self, at: u8) -> Self {
        let at = self.link(at, 0x01);
        // Version 3, an event from D3hot.
        self.set16(at + PMC, 1 << 14 | 3);
        self.allow(at + PMCSR, &(POWER_STATE | PME_ENABLE).to_le_bytes());
        self.power_at = Some(at);
        self
    }

    /// The same function, which keeps its registers in D3.
    #[must_use]
    pub fn keeping_state(mut self) -> Self {
        if let Some(at) = self.power_at {
            self.set16(at + PMCSR, self.get16(at + PMCSR) | NO_SOFT_RESET);
        }
        self
    }

    /// Whether it is in D3.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.pmcsr().is_some_and(|pmcsr| pmcsr & POWER_STATE == D3)
    }

    /// It has a reason to wake its machine. Whether it may.
    pub fn wake_up_call(&mut self) -> bool {
        let (Some(at), Some(pmcsr)) = (self.power_at, self.pmcsr()) else { return false };
        self.set16(at + PMCSR, pmcsr | PME_STATUS);
        pmcsr & PME_ENABLE != 0
    }

    fn pmcsr(&self) -> Option<u16> {
        self.power_at.map(|at| self.get16(at + PMCSR))
    }

    /// Carries out a write, and says whether the function slept or woke by it.
    pub(super) fn write_powered(&mut self, at: usize, value: &[u8]) -> Power {
        let was_asleep = self.is_asleep();
        self.write(at, value);
        // Bit 15 is written as one to clear it.
        if let Some(power_at) = self.power_at
            && let Some(high) = (power_at + PMCSR + 1).checked_sub(at).and_then(|byte| value.get(byte))
            && high & 0x80 != 0
        {
            self.set16(power_at + PMCSR, self.get16(power_at + PMCSR) & !PME_STATUS);
        }
        let keeps = self.pmcsr().is_some_and(|pmcsr| pmcsr & NO_SOFT_RESET != 0);
        match (was_asleep, self.is_asleep()) {
            (false, true) => Power::Slept,
            (true, false) if !keeps => {
                self.forget();
                Power::WokeReset
            }
            _ => Power::Same,
        }
    }
}
