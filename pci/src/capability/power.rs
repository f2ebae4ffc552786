//! Power management: putting a function to sleep, and waking one, whoever put it there.
//!
//! ```text
//!         31                16 15      8 7      0
//! +0x00  | PM capabilities    |  next   |  0x01  |
//! +0x04  |  ..                | PMCSR            |   PMCSR 1:0 power state, 3 no soft reset, 8 PME enable, 15 PME status
//! ```
//!
//! Spec: PCI Bus Power Management Interface 1.2, 3.2 "Power Management Register Block Definition".

use core::{fmt, time::Duration};

use paravane_hal::time::{Clock, TimedOut, wait_for};

use super::{CapabilityError, CapabilityId};
use crate::bar::{BarKind, register};
use crate::header::COMMAND;
use crate::{ConfigAccess, Function, PciAddress};

const PMC: u8 = 0x02;
/// Of the capabilities: it can call from D3hot.
const PME_FROM_D3HOT: u16 = 1 << 14;
const PMCSR: u8 = 0x04;
const POWER_STATE: u16 = 0b11;
const NO_SOFT_RESET: u16 = 1 << 3;
const PME_ENABLE: u16 = 1 << 8;
/// Written as one it is cleared: not in waking, which leaves it to be read.
const PME_STATUS: u16 = 1 << 15;

/// How long a function may take between D3hot and D0 before anything else may touch it.
///
/// Spec: PCI Bus Power Management Interface 1.2, 5.4 table "PCI Function State Transition Delays".
const D3_RECOVERY: Duration = Duration::from_millis(10);
/// How long to wait after that for the register to say so.
const PATIENCE: Duration = Duration::from_millis(100);

/// A function's power states. D0 is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PowerState {
    /// Awake.
    D0,
    /// Light sleep.
    D1,
    /// Deeper sleep.
    D2,
    /// Off but for configuration space.
    D3Hot,
}

impl PowerState {
    const fn from_pmcsr(pmcsr: u16) -> Self {
        match pmcsr & POWER_STATE {
            0 => Self::D0,
            1 => Self::D1,
            2 => Self::D2,
            _ => Self::D3Hot,
        }
    }
}

/// A function cannot be woken, or put to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PowerError {
    /// Its capability list is broken.
    Capability(CapabilityError),
    /// It stays asleep.
    Asleep {
        /// Which.
        address: PciAddress,
        /// The state it stays in.
        state: PowerState,
        /// How long was waited.
        waited: TimedOut,
    },
    /// It does not go to sleep.
    Awake {
        /// Which.
        address: PciAddress,
        /// The state it stays in.
        state: PowerState,
    },
    /// It cannot wake the machine from D3hot.
    CannotWake {
        /// Which.
        address: PciAddress,
    },
    /// It has no power management.
    Unmanaged {
        /// Which.
        address: PciAddress,
    },
    /// It does not answer.
    Gone {
        /// Which.
        address: PciAddress,
    },
}

impl fmt::Display for PowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(error) => error.fmt(f),
            Self::Asleep { address, state, waited } => {
                write!(f, "{address}: told to wake to D0, still in {state:?}: {waited}")
            }
            Self::Awake { address, state } => {
                write!(f, "{address}: told to sleep in D3hot, still in {state:?}")
            }
            Self::CannotWake { address } => {
                write!(f, "{address}: cannot wake the machine from D3hot; let it sleep without")
            }
            Self::Unmanaged { address } => write!(f, "{address}: has no power management, so no sleep"),
            Self::Gone { address } => write!(f, "{address}: does not answer"),
        }
    }
}

impl core::error::Error for PowerError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Capability(error) => Some(error),
            Self::Asleep { waited, .. } => Some(waited),
            Self::Awake { .. } | Self::CannotWake { .. } | Self::Unmanaged { .. } | Self::Gone { .. } => None,
        }
    }
}

impl<C: ConfigAccess> Function<C> {
    /// Wakes the function if it sleeps. A function without power management is awake.
    ///
    /// Waking from D3hot may reset the function; then its BARs and its command register get back
    /// what they held.
    ///
    /// # Errors
    ///
    /// [`PowerError`]; the function may be anywhere between the two states.
    pub fn ensure_d0(&mut self, clock: &impl Clock) -> Result<(), PowerError> {
        let Some(capability) = self.find(CapabilityId::POWER).map_err(PowerError::Capability)? else {
            return Ok(());
        };
        let address = self.address();
        capability.require(address, 8).map_err(PowerError::Capability)?;
        let pmcsr = self.read16(capability.field(PMCSR));
        if pmcsr == u16::MAX {
            return Err(PowerError::Gone { address });
        }
        let from = PowerState::from_pmcsr(pmcsr);
        if from == PowerState::D0 {
            return Ok(());
        }
        log::info!("pci: {address} sleeps in {from:?}, waking it");
        let command = self.read16(COMMAND);
        self.access().write16(address, capability.field(PMCSR), pmcsr & !(POWER_STATE | PME_STATUS));
        // Waits for nothing but the time: the function must be left alone meanwhile.
        let _ = wait_for(clock, D3_RECOVERY, || None::<()>);
        let awake = || {
            let now = self.read16(capability.field(PMCSR));
            (now != u16::MAX && PowerState::from_pmcsr(now) == PowerState::D0).then_some(now)
        };
        let pmcsr = wait_for(clock, PATIENCE, awake).map_err(|waited| PowerError::Asleep {
            address,
            state: PowerState::from_pmcsr(self.read16(capability.field(PMCSR))),
            waited,
        })?;
        if from == PowerState::D3Hot && pmcsr & NO_SOFT_RESET == 0 {
            self.restore_bars();
            self.access().write16(address, COMMAND, command);
        }
        Ok(())
    }

    /// Puts the function to sleep in D3hot, where nothing but its configuration space is there. It
    /// may wake the machine from there if `can_wake`. Its driver has it stopped.
    ///
    /// # Errors
    ///
    /// [`PowerError`]; the function may be anywhere between the two states.
    pub fn enter_d3(&mut self, clock: &impl Clock, can_wake: bool) -> Result<(), PowerError> {
        let address = self.address();
        let capability = self.find(CapabilityId::POWER).map_err(PowerError::Capability)?;
        let capability = capability.ok_or(PowerError::Unmanaged { address })?;
        capability.require(address, 8).map_err(PowerError::Capability)?;
        let pmcsr = self.read16(capability.field(PMCSR));
        if pmcsr == u16::MAX {
            return Err(PowerError::Gone { address });
        }
        if can_wake && self.read16(capability.field(PMC)) & PME_FROM_D3HOT == 0 {
            return Err(PowerError::CannotWake { address });
        }
        // An earlier call that it made is over.
        let asleep = pmcsr & !PME_ENABLE | POWER_STATE | PME_STATUS | if can_wake { PME_ENABLE } else { 0 };
        self.access().write16(address, capability.field(PMCSR), asleep);
        let _ = wait_for(clock, D3_RECOVERY, || None::<()>);
        match self.read16(capability.field(PMCSR)) {
            u16::MAX => Err(PowerError::Gone { address }),
            now if now & POWER_STATE == POWER_STATE => Ok(()),
            now => Err(PowerError::Awake { address, state: PowerState::from_pmcsr(now) }),
        }
    }

    /// Writes back what the BARs held when the function was claimed or assigned. Their low bits are
    /// read-only.
    fn restore_bars(&self) {
        for bar in self.bars().flatten() {
            let [a, b, c, d, high @ ..] = bar.start.to_le_bytes();
            self.access().write32(self.address(), register(bar.index), u32::from_le_bytes([a, b, c, d]));
            if bar.kind == BarKind::Memory64 {
                let at = register(bar.index.wrapping_add(1));
                self.access().write32(self.address(), at, u32::from_le_bytes(high));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBar, MockBus, MockFunction, Reaction, Ticking, at};

    const PMCSR_AT: u16 = 0x44;

    fn sleeping(pmcsr: u16) -> MockFunction {
        let [low, high] = pmcsr.to_le_bytes();
        MockFunction::nic()
            .capabilities(&[(0x40, 0x01, &[0x03, 0x40, low, high])])
            .writable(PMCSR_AT.into(), &[0x03, 0x01])
    }

    #[test]
    fn a_function_that_is_awake_is_not_touched() {
        for nic in [MockFunction::nic(), sleeping(0x0008)] {
            let bus = MockBus::of(nic);
            let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
            bus.writes.borrow_mut().clear();
            let clock = Ticking::new();
            function.ensure_d0(&clock).unwrap();
            assert_eq!((bus.writes.borrow().len(), clock.elapsed()), (0, Duration::ZERO));
        }
    }

    #[test]
    fn a_sleeping_function_is_woken_and_given_its_time() {
        let bus = MockBus::of(sleeping(0x810b));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let clock = Ticking::new();
        bus.writes.borrow_mut().clear();
        function.ensure_d0(&clock).unwrap();
        assert_eq!(*bus.writes.borrow(), [(PMCSR_AT, 2, 0x0108)], "the status bit is not cleared in passing");
        assert!(clock.elapsed() >= D3_RECOVERY);
    }

    #[test]
    fn what_waking_resets_is_restored() {
        let nic = sleeping(0x0003)
            .with(0x04, &[0x02])
            .bar(MockBar::memory32(0, 0xfebc_0000, 0x1000))
            .bar(MockBar::memory64(2, 0x40_0000_0000, 0x4000));
        let bus = MockBus::of(nic);
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let clock = Ticking::doing(|now| {
            if now == Duration::from_millis(3) {
                // The reset that comes with waking: command and BARs are as after power-on.
                let lost = [MockBar::memory32(0, 0, 0x1000), MockBar::memory64(2, 0, 0x4000)];
                bus.tamper(|nic| {
                    lost.into_iter().fold(nic.with(0x04, &[0]).without_bars(), MockFunction::bar)
                });
            }
        });
        function.ensure_d0(&clock).unwrap();
        assert_eq!(function.read32(0x10), 0xfebc_0000);
        assert_eq!((function.read32(0x18), function.read32(0x1c)), (4, 0x40));
        assert_eq!(function.read16(COMMAND), 2);
        assert!(!bus.moved_while_decoding.get());
    }

    #[test]
    fn a_function_that_stays_asleep_is_reported_in_time() {
        let bus = MockBus::of(sleeping(0x0002).writable(PMCSR_AT.into(), &[0]));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let clock = Ticking::new();
        let error = function.ensure_d0(&clock).unwrap_err();
        assert_eq!(error.to_string(), "00:04.0: told to wake to D0, still in D2: nothing after 100 ms");
        assert!(clock.elapsed() < Duration::from_millis(200));
    }

    #[test]
    fn a_function_goes_to_sleep_and_may_wake_the_machine_or_not() {
        for (can_wake, expected) in [(false, 0x8003), (true, 0x8103)] {
            let bus = MockBus::of(sleeping(0x0100));
            let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
            let clock = Ticking::new();
            bus.writes.borrow_mut().clear();
            assert_eq!(function.enter_d3(&clock, can_wake), Ok(()));
            assert_eq!(*bus.writes.borrow(), [(PMCSR_AT, 2, expected)]);
            assert!(clock.elapsed() >= D3_RECOVERY);
            function.ensure_d0(&clock).unwrap();
        }
    }

    #[test]
    fn a_function_that_does_not_sleep_says_why() {
        let address = at("00:04.0");
        let enter = |bus: &MockBus| Function::claim(bus, address).unwrap().enter_d3(&Ticking::new(), true);
        assert_eq!(enter(&MockBus::of(MockFunction::nic())), Err(PowerError::Unmanaged { address }));
        let mute = MockFunction::nic().capabilities(&[(0x40, 0x01, &[0x03, 0xb8, 0, 0])]);
        assert_eq!(enter(&MockBus::of(mute)), Err(PowerError::CannotWake { address }));
        let stays = MockBus::of(sleeping(0).writable(PMCSR_AT.into(), &[0]));
        assert_eq!(enter(&stays), Err(PowerError::Awake { address, state: PowerState::D0 }));
        let gone = MockBus::of(sleeping(0xffff));
        assert_eq!(enter(&gone), Err(PowerError::Gone { address }));
    }

    #[test]
    fn a_function_that_vanishes_is_reported() {
        let bus =
            MockBus::of(sleeping(0x0003).bar(MockBar::memory32(0, 0x1000, 16).reacting(Reaction::Fixed)));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        bus.tamper(|nic| nic.with(PMCSR_AT.into(), &[0xff, 0xff]));
        assert_eq!(function.ensure_d0(&Ticking::new()), Err(PowerError::Gone { address: at("00:04.0") }));
    }
}
