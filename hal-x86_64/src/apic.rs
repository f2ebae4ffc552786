//! The local APIC: takes messages, ends interrupts, and wakes a sleeping CPU.
//!
//! Works in whichever of its two modes the firmware left it: registers in memory (xAPIC) or as
//! model-specific registers (x2APIC). The timer counts once per arming: at a TSC value where the
//! CPU offers that, else down from a count whose rate was measured against the TSC.
//!
//! Spec: Intel SDM volume 3, "Advanced Programmable Interrupt Controller (APIC)".

#![expect(unsafe_code, reason = "model-specific registers, and interrupts that need handlers")]

use core::arch::{asm, x86_64::__cpuid};
use core::fmt;
use core::time::Duration;

use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::{MapError, Mmio, MmioExt, MmioMap};
use paravane_hal::reg::Reg;
use x86_64::registers::model_specific::Msr;

use crate::tsc::{TscClock, read_tsc};

/// `IA32_APIC_BASE`: where the registers are, and which mode is on.
const APIC_BASE: u32 = 0x1b;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// `IA32_TSC_DEADLINE`.
const TSC_DEADLINE: u32 = 0x6e0;
/// The first model-specific register of x2APIC mode; register `n` of the memory layout is at
/// `n / 16` from it.
const X2APIC_FIRST: u32 = 0x800;
const REGISTERS_BYTES: usize = 0x400;

const ID: Reg<u32> = Reg::at(0x20);
/// Task priority: what is not more important than this waits. Zero lets everything through.
const TPR: Reg<u32> = Reg::at(0x80);
const EOI: Reg<u32> = Reg::at(0xb0);
/// Spurious vector, and the switch that turns the APIC on.
const SVR: Reg<u32> = Reg::at(0xf0);
const LVT_TIMER: Reg<u32> = Reg::at(0x320);
const LVT_LINT0: Reg<u32> = Reg::at(0x350);
const LVT_LINT1: Reg<u32> = Reg::at(0x360);
const INITIAL_COUNT: Reg<u32> = Reg::at(0x380);
const CURRENT_COUNT: Reg<u32> = Reg::at(0x390);
const DIVIDE: Reg<u32> = Reg::at(0x3e0);

const SVR_ENABLE: u32 = 1 << 8;
const LVT_MASKED: u32 = 1 << 16;
const LVT_TSC_DEADLINE: u32 = 2 << 17;
const DELIVER_MODE: u32 = 7 << 8;
const DELIVER_NMI: u32 = 4 << 8;
const DELIVER_EXTINT: u32 = 7 << 8;
/// Divide by 16: a count of 32 bits then lasts for a minute at a gigahertz.
const DIVIDE_BY_16: u32 = 3;

/// The local APIC cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApicError {
    /// The CPU has none.
    Missing,
    /// The firmware switched it off for good.
    Disabled {
        /// What `IA32_APIC_BASE` says.
        base: u64,
    },
    /// Its registers could not be mapped.
    Map(MapError),
    /// It is on, and its first local pin did not take what was written.
    Lint0 {
        /// What was written.
        written: u32,
        /// What it reads.
        seen: u32,
    },
}

impl fmt::Display for ApicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the CPU has no local APIC"),
            Self::Disabled { base } => write!(f, "the local APIC is switched off (IA32_APIC_BASE {base:#x})"),
            Self::Map(_) => f.write_str("the local APIC's registers cannot be mapped"),
            Self::Lint0 { written, seen } => {
                write!(f, "the local APIC's LINT0 reads {seen:#x}, expected {written:#x} as written")
            }
        }
    }
}

impl core::error::Error for ApicError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Map(error) => Some(error),
            _ => None,
        }
    }
}

#[derive(Debug)]
enum Registers<M> {
    Memory(M),
    ModelSpecific,
}

/// What comes in on the pin that old interrupt controllers hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lint0 {
    /// Nothing.
    Masked,
    /// The 8259 pair says which vector ("virtual wire").
    ExtInt,
}

/// The local APIC of the CPU that the program runs on.
#[derive(Debug)]
pub struct LocalApic<M> {
    registers: Registers<M>,
}

impl<M: Mmio> LocalApic<M> {
    /// Turns the APIC on, timer masked, with `spurious` as the vector of interrupts that were none.
    ///
    /// # Errors
    ///
    /// [`ApicError`]; nothing was changed, except where LINT0 does not work.
    ///
    /// # Safety
    ///
    /// - The program runs in ring 0, on the CPU that will use the value, and nothing else drives
    ///   the APIC.
    /// - `spurious` has a handler, which does not end the interrupt; so has every vector that is
    ///   let through later.
    pub unsafe fn enable(
        map: &impl MmioMap<Region = M>,
        spurious: u8,
        lint0: Lint0,
    ) -> Result<Self, ApicError> {
        if __cpuid(1).edx & 1 << 9 == 0 {
            return Err(ApicError::Missing);
        }
        // SAFETY: the CPU has an APIC, so it has the register; ring 0 by the caller. Reading
        // changes nothing.
        let base = unsafe { Msr::new(APIC_BASE).read() };
        if base & BASE_ENABLED == 0 {
            return Err(ApicError::Disabled { base });
        }
        let registers = if base & BASE_X2APIC != 0 {
            Registers::ModelSpecific
        } else {
            Registers::Memory(
                map.map(PhysAddr::new(base & BASE_ADDRESS), REGISTERS_BYTES).map_err(ApicError::Map)?,
            )
        };
        let apic = Self { registers };
        apic.switch_on(spurious, lint0).map(|()| apic)
    }

    fn switch_on(&self, spurious: u8, lint0: Lint0) -> Result<(), ApicError> {
        self.write(LVT_TIMER, LVT_MASKED);
        self.write(TPR, 0);
        // The pins after the switch: while it is off, whatever is written to a local vector is
        // masked.
        // Spec: Intel SDM volume 3, "Local APIC State After It Has Been Software Disabled".
        self.write(SVR, SVR_ENABLE | u32::from(spurious));
        let written = if lint0 == Lint0::ExtInt { DELIVER_EXTINT } else { LVT_MASKED | DELIVER_EXTINT };
        self.write(LVT_LINT0, written);
        self.write(LVT_LINT1, DELIVER_NMI);
        let seen = self.read(LVT_LINT0);
        if (seen ^ written) & (LVT_MASKED | DELIVER_MODE) != 0 {
            return Err(ApicError::Lint0 { written, seen });
        }
        Ok(())
    }

    /// The APIC's id, as messages name it.
    #[must_use]
    pub fn id(&self) -> u32 {
        match self.registers {
            Registers::Memory(_) => self.read(ID) >> 24,
            Registers::ModelSpecific => self.read(ID),
        }
    }

    /// Ends the interrupt being served.
    #[inline]
    pub fn end_of_interrupt(&self) {
        self.write(EOI, 0);
    }

    #[inline]
    fn read(&self, register: Reg<u32>) -> u32 {
        match &self.registers {
            Registers::Memory(region) => region.read(&register),
            Registers::ModelSpecific => {
                // SAFETY: the APIC is in x2APIC mode, where this register exists; ring 0 by
                // `enable`.
                let value = unsafe { Msr::new(model_specific(register)).read() };
                // The upper half is zero.
                u32::try_from(value).unwrap_or(u32::MAX)
            }
        }
    }

    #[inline]
    fn write(&self, register: Reg<u32>, value: u32) {
        match &self.registers {
            Registers::Memory(region) => region.write(&register, value),
            Registers::ModelSpecific => {
                // SAFETY: the register exists in x2APIC mode, and the values written set no
                // reserved bit. What it may let through has a handler, by `enable`'s caller.
                unsafe { Msr::new(model_specific(register)).write(u64::from(value)) };
            }
        }
    }
}

/// Where x2APIC mode has `register`.
#[expect(clippy::cast_possible_truncation, reason = "offsets are below 0x400")]
const fn model_specific(register: Reg<u32>) -> u32 {
    X2APIC_FIRST + (register.offset_bytes() as u32 >> 4)
}

/// A measurement of the timer's rate, under way.
#[derive(Debug)]
pub struct TimerCalibration {
    started: Span,
}

/// Two looks at the TSC, with an access in between that may have left the CPU's hands for a while.
#[derive(Clone, Copy, Debug)]
struct Span {
    before: u64,
    after: u64,
}

impl Span {
    fn around<R>(access: impl FnOnce() -> R) -> (Self, R) {
        let before = read_tsc();
        let result = access();
        (Self { before, after: read_tsc() }, result)
    }

    fn middle(self) -> u64 {
        self.before + self.width() / 2
    }

    fn width(self) -> u64 {
        self.after.saturating_sub(self.before)
    }
}

/// How the timer is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arming {
    /// At a value of the TSC.
    Deadline,
    /// By a count, at this many per 2³² ticks of the TSC.
    Count { per_tick: u64 },
}

/// The one-shot timer of the local APIC.
#[derive(Clone, Copy, Debug)]
pub struct ApicTimer {
    arming: Arming,
    clock: TscClock,
}

/// The measurement lasts at least this long,
const SHORTEST: Duration = Duration::from_micros(100);
/// or longer, up to this, where each access takes so much time that its moment is not known to
const LONGEST: Duration = Duration::from_millis(5);
/// one part in so many.
const GOOD: u64 = 64;

impl TimerCalibration {
    /// Starts the count. Whatever the kernel does until [`finish`](Self::finish) is the
    /// measurement's window, so it costs no time of its own.
    #[must_use]
    pub fn begin<M: Mmio>(apic: &LocalApic<M>) -> Self {
        apic.write(LVT_TIMER, LVT_MASKED);
        apic.write(DIVIDE, DIVIDE_BY_16);
        let (started, ()) = Span::around(|| apic.write(INITIAL_COUNT, u32::MAX));
        Self { started }
    }

    /// Ends the measurement, and gives the timer, which raises `vector` when armed. Waits only for
    /// what is missing of a tenth of a millisecond, or of a few milliseconds where accesses are
    /// slow.
    ///
    /// `None` when the count does not move: the timer does not work.
    #[must_use]
    pub fn finish<M: Mmio>(self, apic: &LocalApic<M>, clock: TscClock, vector: u8) -> Option<ApicTimer> {
        if has_tsc_deadline() {
            apic.write(INITIAL_COUNT, 0);
            apic.write(LVT_TIMER, LVT_TSC_DEADLINE | u32::from(vector));
            // In xAPIC mode the write above is to memory, and the deadline must not overtake it.
            // SAFETY: every x86_64 CPU has the instruction; it only orders.
            unsafe { asm!("mfence", options(nostack, preserves_flags)) };
            return Some(ApicTimer { arming: Arming::Deadline, clock });
        }
        let (shortest, longest) = (clock.ticks(SHORTEST), clock.ticks(LONGEST));
        let (counted, ticks) = loop {
            let (looked, left) = Span::around(|| apic.read(CURRENT_COUNT));
            let ticks = looked.middle().saturating_sub(self.started.middle());
            let doubt = looked.width().saturating_add(self.started.width());
            if ticks >= longest || ticks >= shortest && doubt <= ticks / GOOD {
                break (u64::from(u32::MAX - left), ticks);
            }
            core::hint::spin_loop();
        };
        apic.write(INITIAL_COUNT, 0);
        apic.write(LVT_TIMER, u32::from(vector));
        let per_tick = (counted << 32).checked_div(ticks)?;
        (per_tick > 0).then_some(ApicTimer { arming: Arming::Count { per_tick }, clock })
    }
}

impl ApicTimer {
    /// Raises the timer's vector once, `after` from now. A count that does not last so long rings
    /// early; who sleeps until a deadline looks at the clock when woken, whoever woke it.
    pub fn arm<M: Mmio>(&self, apic: &LocalApic<M>, after: Duration) {
        let ticks = self.clock.ticks(after).max(1);
        match self.arming {
            // SAFETY: `has_tsc_deadline` said that the register exists; the vector it rings has a
            // handler by `LocalApic::enable`'s caller.
            Arming::Deadline => unsafe { Msr::new(TSC_DEADLINE).write(read_tsc().saturating_add(ticks)) },
            Arming::Count { per_tick } => {
                let count = (u128::from(ticks) * u128::from(per_tick)) >> 32;
                apic.write(INITIAL_COUNT, u32::try_from(count).unwrap_or(u32::MAX).max(1));
            }
        }
    }

    /// Takes back what was armed. An interrupt already on its way still comes.
    pub fn disarm<M: Mmio>(&self, apic: &LocalApic<M>) {
        match self.arming {
            // SAFETY: as for `arm`; zero disarms.
            Arming::Deadline => unsafe { Msr::new(TSC_DEADLINE).write(0) },
            Arming::Count { .. } => apic.write(INITIAL_COUNT, 0),
        }
    }

    /// Whether it is armed by a TSC value rather than by a count.
    #[must_use]
    pub fn uses_tsc_deadline(&self) -> bool {
        self.arming == Arming::Deadline
    }
}

/// Whether the timer can be armed by a TSC value.
fn has_tsc_deadline() -> bool {
    __cpuid(1).ecx & 1 << 24 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::HashMap;

    /// Registers in memory. Local vectors are masked while the switch is off.
    #[derive(Default)]
    struct Model {
        registers: RefCell<HashMap<usize, u32>>,
        /// LINT0 is wired to something else, and reads so.
        lint0: Option<u32>,
    }

    impl Mmio for Model {
        fn len_bytes(&self) -> usize {
            REGISTERS_BYTES
        }
        fn read32(&self, at: usize) -> u32 {
            let stored = self.registers.borrow().get(&at).copied().unwrap_or(0);
            self.lint0.filter(|_| at == LVT_LINT0.offset_bytes()).unwrap_or(stored)
        }
        fn write32(&self, at: usize, value: u32) {
            let is_vector = (LVT_TIMER.offset_bytes()..=0x370).contains(&at);
            let is_on = self.read32(SVR.offset_bytes()) & SVR_ENABLE != 0;
            let masked = if is_vector && !is_on { LVT_MASKED } else { 0 };
            self.registers.borrow_mut().insert(at, value | masked);
        }
        fn read8(&self, _: usize) -> u8 {
            panic!("the registers are 32 bits wide")
        }
        fn read16(&self, _: usize) -> u16 {
            panic!("the registers are 32 bits wide")
        }
        fn write8(&self, _: usize, _: u8) {
            panic!("the registers are 32 bits wide")
        }
        fn write16(&self, _: usize, _: u16) {
            panic!("the registers are 32 bits wide")
        }
    }

    fn apic(model: Model) -> LocalApic<Model> {
        LocalApic { registers: Registers::Memory(model) }
    }

    #[test]
    fn the_pins_work_once_the_apic_is_on() {
        let apic = apic(Model::default());
        apic.switch_on(0xff, Lint0::ExtInt).unwrap();
        assert_eq!(apic.read(SVR), 0x1ff);
        assert_eq!(
            (apic.read(LVT_LINT0), apic.read(LVT_LINT1)),
            (DELIVER_EXTINT, DELIVER_NMI),
            "let through"
        );
        assert_eq!(apic.read(LVT_TIMER), LVT_MASKED);
        apic.switch_on(0xff, Lint0::Masked).unwrap();
        assert_eq!(apic.read(LVT_LINT0), LVT_MASKED | DELIVER_EXTINT);
    }

    #[test]
    fn a_pin_that_stays_masked_is_reported() {
        let seen = LVT_MASKED | DELIVER_EXTINT;
        let error = apic(Model { lint0: Some(seen), ..Model::default() }).switch_on(0xff, Lint0::ExtInt);
        assert_eq!(error, Err(ApicError::Lint0 { written: DELIVER_EXTINT, seen }));
    }

    #[test]
    fn what_the_line_says_of_itself_does_not_matter() {
        let pending = DELIVER_EXTINT | 1 << 12;
        let working = apic(Model { lint0: Some(pending), ..Model::default() });
        assert_eq!(working.switch_on(0xff, Lint0::ExtInt), Ok(()));
    }
}
