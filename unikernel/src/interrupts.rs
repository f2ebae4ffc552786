//! Interrupts, as a program of this image sees them: bits that are set when something rang, and a
//! sleep that ends when one is.
//!
//! Handlers do nothing but set a bit and end the interrupt, so there is nothing to lock and nothing
//! that can go wrong in one; the work is the program's, in its own time. Messages (MSI, MSI-X) have
//! a vector each. Lines come in on the 8259 pair or on I/O APICs; those that several devices may
//! share, and that go on ringing until their devices were served, are masked by the handler until
//! the program lets them through again.
//!
//! State is global here, because the CPU's table of handlers is; programs get it as a value,
//! [`Interrupts`], and only once.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

use paravane_hal::irq::MsiMessage;
use paravane_hal::mmio::MmioMap;
use paravane_hal_x86_64::apic::{ApicTimer, LocalApic, TimerCalibration};
use paravane_hal_x86_64::line::Trigger;
use paravane_hal_x86_64::mmio::MmioRegion;
use paravane_hal_x86_64::msi::{self, MsiError};
use paravane_hal_x86_64::pic::Pic;
use paravane_hal_x86_64::port::X86Ports;
use paravane_hal_x86_64::tsc::TscClock;

mod dispatch;
mod exception;
mod idt;
mod lines;
pub mod madt;

pub use dispatch::MESSAGES;
pub(crate) use dispatch::SPURIOUS;
use dispatch::{FIRST_MESSAGE, TIMER};
pub use lines::LINES;
pub(crate) use lines::first_vector as first_line_vector;
use madt::Wiring;

static ALLOCATED: AtomicU64 = AtomicU64::new(0);

/// A vector that a device may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VectorId(u8);

impl VectorId {
    /// Its bit in [`Pending::messages`].
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self.0
    }
}

/// What rang.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// One bit a [`VectorId`].
    pub messages: u64,
    /// One bit a line; a level-triggered one is masked until [`Interrupts::unmask_line`].
    pub lines: u64,
}

impl Pending {
    /// Whether nothing did.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.messages == 0 && self.lines == 0
    }
}

/// A vector could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VectorError {
    /// All are taken.
    Exhausted,
    /// No message reaches this CPU.
    Unreachable(MsiError),
}

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => write!(f, "all {MESSAGES} interrupt vectors are taken"),
            Self::Unreachable(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl core::error::Error for VectorError {}

/// A line that does not exist, or that devices of a bus cannot use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchLine {
    /// The line asked for.
    pub line: u8,
}

impl fmt::Display for NoSuchLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupt line {} cannot carry a device's interrupt", self.line)
    }
}

impl core::error::Error for NoSuchLine {}

/// The machine's interrupts. A copy speaks of the same ones.
#[derive(Clone, Copy, Debug)]
pub struct Interrupts {
    apic: &'static LocalApic<MmioRegion>,
    timer: ApicTimer,
}

/// Interrupts half set up: handlers are in place, the timer's rate is being measured.
pub(crate) struct Starting {
    apic: &'static LocalApic<MmioRegion>,
    calibration: TimerCalibration,
}

/// Puts the handlers in place. What `apic` and `pic` let through afterwards has one.
pub(crate) fn load_handlers() {
    idt::load();
}

/// Has the CPU find nobody for an interrupt, nor for that: at which the machine begins anew.
pub(crate) fn triple_fault() -> ! {
    idt::unload();
    x86_64::instructions::interrupts::int3();
    crate::exit::stand_still()
}

impl Starting {
    /// Takes the controllers over, and starts to measure. `None` when that was done before.
    pub(crate) fn begin(apic: LocalApic<MmioRegion>, pic: Pic<X86Ports>) -> Option<Self> {
        let apic = dispatch::take_over_apic(apic)?;
        lines::take_over_pic(pic).then(|| Self { apic, calibration: TimerCalibration::begin(apic) })
    }

    /// Ends the measurement, and lets interrupts in. `None` when the timer does not work.
    pub(crate) fn finish(self, clock: TscClock) -> Option<Interrupts> {
        let timer = self.calibration.finish(self.apic, clock, TIMER)?;
        x86_64::instructions::interrupts::enable();
        Some(Interrupts { apic: self.apic, timer })
    }
}

impl Interrupts {
    /// A vector for a device, and the message that raises it.
    ///
    /// # Errors
    ///
    /// [`VectorError`].
    pub fn allocate_vector(&self) -> Result<(VectorId, MsiMessage), VectorError> {
        let apic_id = self.apic.id();
        let mut taken = ALLOCATED.load(Relaxed);
        loop {
            let id = VectorId(u8::try_from(taken.trailing_ones()).unwrap_or(MESSAGES));
            if id.0 >= MESSAGES {
                return Err(VectorError::Exhausted);
            }
            let message = msi::message(apic_id, FIRST_MESSAGE + id.0).map_err(VectorError::Unreachable)?;
            match ALLOCATED.compare_exchange_weak(taken, taken | id.bit(), Relaxed, Relaxed) {
                Ok(_) => return Ok((id, message)),
                Err(now) => taken = now,
            }
        }
    }

    /// Gives a vector back. A device that still raises it wakes whoever has it next, for nothing.
    pub fn free_vector(&self, id: VectorId) {
        ALLOCATED.fetch_and(!id.bit(), Relaxed);
        dispatch::forget(id.bit());
    }

    /// Lets devices interrupt by `line`. I/O APICs are looked for, mapped by `map`, when the first
    /// line asks for one; `wiring` says where they are.
    ///
    /// # Errors
    ///
    /// [`NoSuchLine`].
    pub(crate) fn enable_line(
        &self,
        line: u8,
        trigger: Trigger,
        map: &impl MmioMap<Region = MmioRegion>,
        wiring: impl FnOnce() -> Wiring,
    ) -> Result<(), NoSuchLine> {
        use x86_64::instructions::interrupts::without_interrupts;

        if without_interrupts(|| lines::open_on_pic(line, trigger)) {
            return Ok(());
        }
        if lines::has_no_io_apics() {
            lines::take_over_io_apics(map, wiring());
        }
        let apic_id = self.apic.id();
        let opened = without_interrupts(|| lines::open_on_io_apic(line, trigger, apic_id));
        if opened { Ok(()) } else { Err(NoSuchLine { line }) }
    }

    /// Lets `line` through again, once its devices were served.
    pub fn unmask_line(&self, line: u8) {
        // Handlers change the controllers' masks as well, in steps as here.
        x86_64::instructions::interrupts::without_interrupts(|| lines::unmask(line));
    }

    /// Holds `line` back.
    pub fn mask_line(&self, line: u8) {
        x86_64::instructions::interrupts::without_interrupts(|| lines::mask(line));
    }

    /// What rang since the last call. What rings from here on will be there in the next one.
    #[must_use]
    pub fn take_pending(&self) -> Pending {
        Pending { messages: dispatch::take_pending(), lines: lines::take_pending() }
    }

    /// Sleeps until something rings, or `at_most` so long; returns at once if something rang that
    /// nobody took. May return early: a caller looks at the clock, and at what is pending, every
    /// time.
    ///
    /// No wake-up is lost: what is pending is looked at with interrupts off, and the CPU lets them
    /// in only as it falls asleep.
    pub fn idle(&self, at_most: Option<Duration>) {
        use x86_64::instructions::interrupts;

        interrupts::disable();
        let rang = dispatch::is_pending() || lines::is_pending();
        if rang || at_most.is_some_and(|at_most| at_most.is_zero()) {
            interrupts::enable();
            return;
        }
        if let Some(at_most) = at_most {
            self.timer.arm(self.apic, at_most);
        }
        // The instruction after `sti` runs before any interrupt is taken, and it is `hlt`.
        interrupts::enable_and_hlt();
        if at_most.is_some() {
            self.timer.disarm(self.apic);
        }
    }

    /// How the sleep is timed, for people.
    #[must_use]
    pub fn timer(&self) -> &'static str {
        if self.timer.uses_tsc_deadline() { "TSC deadline" } else { "APIC count" }
    }
}
