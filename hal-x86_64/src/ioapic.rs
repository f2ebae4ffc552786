//! The I/O APIC: the interrupt lines that the 8259 pair has no pins for, and all of them where
//! there is no pair.
//!
//! ```text
//! register   0x00 id   0x01 version (bits 23..16: last pin)   0x10 + 2n, 0x11 + 2n: pin n
//! pin, low   7..0 vector   10..8 delivery (0 fixed)   13 active low   15 level   16 masked
//! pin, high  31..24 destination
//! ```
//!
//! Registers are reached through a window of one: a number is written, then the register read or
//! written. Who calls from a handler and from elsewhere keeps the two apart.
//!
//! Spec: Intel 82093AA datasheet, "Register Description".

#![expect(unsafe_code, reason = "a pin let through reaches a vector that must be ready for it")]

use paravane_hal::mmio::{Mmio, MmioExt};
use paravane_hal::reg::Reg;

use crate::line::Trigger;

/// Where the first one is on every machine that does not say otherwise.
pub const USUAL_ADDRESS: u64 = 0xfec0_0000;
/// How much of it is registers.
pub const REGISTERS_BYTES: usize = 0x20;

const SELECT: Reg<u32> = Reg::at(0x00);
const WINDOW: Reg<u32> = Reg::at(0x10);

const VERSION: u32 = 0x01;
const FIRST_PIN: u32 = 0x10;
/// More pins than any has; a register that reads all ones would claim 256.
const MAX_PINS: u32 = 240;

const ACTIVE_LOW: u32 = 1 << 13;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

/// One I/O APIC.
#[derive(Debug)]
pub struct IoApic<M> {
    registers: M,
    first_line: u32,
    pins: u32,
}

impl<M: Mmio> IoApic<M> {
    /// Takes over the one with these registers, whose pin 0 is the line `first_line`, and closes
    /// all of its pins. `None` when nothing answers there.
    ///
    /// # Safety
    ///
    /// The registers are those of an I/O APIC, or nobody's; nothing else programs it; and every
    /// vector that [`route`](Self::route) is given has a handler on the local APIC it names.
    #[must_use]
    pub unsafe fn take_over(registers: M, first_line: u32) -> Option<Self> {
        let mut found = Self { registers, first_line, pins: 0 };
        let last_pin = found.read(VERSION) >> 16 & 0xff;
        found.pins = last_pin.checked_add(1).filter(|pins| *pins <= MAX_PINS)?;
        for pin in 0..found.pins {
            found.write(FIRST_PIN + 2 * pin, MASKED);
        }
        // Whatever is no I/O APIC does not take what was written.
        (found.read(FIRST_PIN) & MASKED != 0).then_some(found)
    }

    /// The pin that `line` comes in on.
    #[must_use]
    pub fn pin_of(&self, line: u32) -> Option<u32> {
        line.checked_sub(self.first_line).filter(|pin| *pin < self.pins)
    }

    /// Opens `pin`: it raises `vector` on the local APIC `apic_id`. Nothing happens where there is
    /// no such pin.
    pub fn route(&self, pin: u32, vector: u8, apic_id: u8, trigger: Trigger, active_low: bool) {
        if pin >= self.pins {
            return;
        }
        let level = if trigger == Trigger::Level { LEVEL } else { 0 };
        let polarity = if active_low { ACTIVE_LOW } else { 0 };
        // Closed while it is half written.
        self.write(FIRST_PIN + 2 * pin, MASKED);
        self.write(FIRST_PIN + 2 * pin + 1, u32::from(apic_id) << 24);
        self.write(FIRST_PIN + 2 * pin, u32::from(vector) | level | polarity);
    }

    /// Closes `pin`.
    pub fn mask(&self, pin: u32) {
        self.change(pin, |low| low | MASKED);
    }

    /// Opens `pin` again.
    pub fn unmask(&self, pin: u32) {
        self.change(pin, |low| low & !MASKED);
    }

    fn change(&self, pin: u32, change: impl FnOnce(u32) -> u32) {
        if pin < self.pins {
            let register = FIRST_PIN + 2 * pin;
            self.write(register, change(self.read(register)));
        }
    }

    fn read(&self, register: u32) -> u32 {
        self.registers.write(&SELECT, register);
        self.registers.read(&WINDOW)
    }

    fn write(&self, register: u32, value: u32) {
        self.registers.write(&SELECT, register);
        self.registers.write(&WINDOW, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    /// The registers of one, or of nothing at all.
    struct Model {
        version: u32,
        selected: Cell<u32>,
        pins: RefCell<BTreeMap<u32, u32>>,
        log: RefCell<Vec<(u32, u32)>>,
    }

    fn model(version: u32) -> Model {
        Model { version, selected: Cell::new(0), pins: RefCell::default(), log: RefCell::default() }
    }

    impl Mmio for Model {
        fn len_bytes(&self) -> usize {
            REGISTERS_BYTES
        }
        fn read32(&self, at: usize) -> u32 {
            assert_eq!(at, 0x10);
            if self.version == u32::MAX {
                return u32::MAX;
            }
            match self.selected.get() {
                VERSION => self.version,
                register => self.pins.borrow().get(&register).copied().unwrap_or(0),
            }
        }
        fn write32(&self, at: usize, value: u32) {
            if at == 0 {
                return self.selected.set(value);
            }
            self.log.borrow_mut().push((self.selected.get(), value));
            if self.version != 0 {
                self.pins.borrow_mut().insert(self.selected.get(), value);
            }
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

    /// 24 pins from line `first_line` on.
    fn io_apic(first_line: u32) -> IoApic<Model> {
        // SAFETY: there is no controller, and no interrupt.
        unsafe { IoApic::take_over(model(0x0017_0020), first_line) }.unwrap()
    }

    #[test]
    fn all_pins_are_closed_first() {
        let io_apic = io_apic(0);
        let closed = io_apic.registers.log.borrow().clone();
        assert_eq!(closed, (0..24).map(|pin| (0x10 + 2 * pin, MASKED)).collect::<Vec<_>>());
    }

    #[test]
    fn lines_are_counted_from_the_first() {
        let io_apic = io_apic(24);
        assert_eq!((io_apic.pin_of(24), io_apic.pin_of(47)), (Some(0), Some(23)));
        assert_eq!((io_apic.pin_of(23), io_apic.pin_of(48)), (None, None));
    }

    #[test]
    fn a_pin_is_open_once_it_is_whole() {
        let io_apic = io_apic(0);
        io_apic.registers.log.borrow_mut().clear();
        io_apic.route(16, 0x80, 3, Trigger::Edge, false);
        io_apic.route(17, 0x81, 0, Trigger::Level, true);
        let log = io_apic.registers.log.borrow().clone();
        assert_eq!(log[..3], [(0x30, 0x1_0000), (0x31, 0x0300_0000), (0x30, 0x80)]);
        assert_eq!(log[3..], [(0x32, 0x1_0000), (0x33, 0), (0x32, 0xa081)]);
        io_apic.mask(17);
        assert_eq!(io_apic.read(0x32), 0x1_a081);
        io_apic.unmask(17);
        assert_eq!(io_apic.read(0x32), 0xa081);
        io_apic.route(24, 0x88, 0, Trigger::Edge, false);
        io_apic.unmask(24);
        assert_eq!(io_apic.read(0x40), 0, "there is no such pin");
    }

    #[test]
    fn what_does_not_answer_is_none() {
        for version in [u32::MAX, 0] {
            // SAFETY: as above.
            assert!(unsafe { IoApic::take_over(model(version), 0) }.is_none(), "{version:#x}");
        }
    }
}
