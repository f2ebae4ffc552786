//! The pair of 8259 interrupt controllers, for devices that have nothing but an interrupt pin.
//!
//! Firmware routes the pins of PCI devices to lines of these controllers and leaves the line's
//! number in configuration space, so a kernel needs no AML to use them. The handler's order for a
//! level-triggered line: [`mask`](Pic::mask), [`end_of_interrupt`](Pic::end_of_interrupt), and
//! [`unmask`](Pic::unmask) once the device was served. An edge-triggered line is only ended.
//!
//! Spec: Intel 8259A datasheet, "Initialization Command Words", "Operation Command Words".

#![expect(unsafe_code, reason = "a line let through reaches a vector that must be ready for it")]

use paravane_hal::port::PortIo;

use crate::line::Trigger;

const MASTER_COMMAND: u16 = 0x20;
const MASTER_DATA: u16 = 0x21;
const SLAVE_COMMAND: u16 = 0xa0;
const SLAVE_DATA: u16 = 0xa1;
/// Edge or level, one bit a line: the chipset's addition to the 8259.
const LEVEL_LOW: u16 = 0x4d0;
const LEVEL_HIGH: u16 = 0x4d1;

/// ICW1: initialise, cascaded, ICW4 follows.
const INITIALISE: u8 = 0x11;
/// ICW4: 8086 mode, end of interrupt by command.
const MODE_8086: u8 = 0x01;
/// OCW2: end of whatever is served with the highest priority.
const END_OF_INTERRUPT: u8 = 0x20;
/// OCW3: the next read of the command port gives what is being served.
const READ_IN_SERVICE: u8 = 0x0b;

/// Some masks: what a controller answers once it was told.
const ANSWER: u8 = 0x55;

/// The line of the first controller that the second one hangs on.
const CASCADE: u8 = 2;
/// How many lines the pair has.
pub const LINES: u8 = 16;
/// Lines that no device of a bus has: timer, cascade.
const TAKEN: u16 = 1 << 0 | 1 << CASCADE;
/// Whether a device can have `line`, on these controllers or where others stand in for them: timer
/// and cascade have theirs.
#[must_use]
pub const fn is_for_devices(line: u8) -> bool {
    line >= LINES || TAKEN & 1 << line == 0
}

/// Lines that stay edge-triggered whatever the register says: these, keyboard, clock, coprocessor.
const ALWAYS_EDGE: u16 = TAKEN | 1 << 1 | 1 << 8 | 1 << 13;

/// The controllers, set up: line `n` raises vector `first_vector + n`.
#[derive(Debug)]
pub struct Pic<P> {
    ports: P,
    first_vector: u8,
    is_there: bool,
}

impl<P: PortIo> Pic<P> {
    /// Sets both up, every line masked. Line `n` will raise vector `first_vector + n`; the three
    /// low bits of `first_vector` are ignored.
    ///
    /// # Safety
    ///
    /// Vectors `first_vector` to `first_vector + 15` have handlers by the time a line is unmasked,
    /// and nothing else programs the controllers.
    #[must_use]
    pub unsafe fn set_up(ports: P, first_vector: u8) -> Self {
        let first_vector = first_vector & !7;
        for (command, data, vector, cascade) in [
            (MASTER_COMMAND, MASTER_DATA, first_vector, 1 << CASCADE),
            (SLAVE_COMMAND, SLAVE_DATA, first_vector.wrapping_add(8), CASCADE),
        ] {
            ports.out8(command, INITIALISE);
            ports.out8(data, vector);
            ports.out8(data, cascade);
            ports.out8(data, MODE_8086);
            ports.out8(data, u8::MAX);
        }
        // What is not there reads as ones. The second controller's lines go no further while the
        // cascade is closed.
        ports.out8(SLAVE_DATA, ANSWER);
        let is_there = ports.in8(SLAVE_DATA) == ANSWER;
        ports.out8(SLAVE_DATA, u8::MAX);
        Self { ports, first_vector, is_there }
    }

    /// Which line raises `vector`.
    #[must_use]
    pub fn line_of(&self, vector: u8) -> Option<u8> {
        vector.checked_sub(self.first_vector).filter(|line| *line < LINES)
    }

    /// Lets `line` through; for a line of the second controller, the cascade as well. Lines from 16
    /// on do not exist, and nothing happens.
    pub fn unmask(&self, line: u8) {
        if line >= LINES {
            return;
        }
        self.set_masked(line, false);
        if line >= 8 {
            self.set_masked(CASCADE, false);
        }
    }

    /// Holds `line` back.
    pub fn mask(&self, line: u8) {
        if line < LINES {
            self.set_masked(line, true);
        }
    }

    /// Makes `line` interrupt as `trigger` says. False for the lines that cannot, and for those
    /// that are not a device's.
    #[must_use]
    pub fn set_trigger(&self, line: u8, trigger: Trigger) -> bool {
        let refused = if trigger == Trigger::Level { ALWAYS_EDGE } else { TAKEN };
        if line >= LINES || refused & 1 << line != 0 {
            return false;
        }
        let port = if line < 8 { LEVEL_LOW } else { LEVEL_HIGH };
        let others = self.ports.in8(port) & !(1 << (line & 7));
        let level = if trigger == Trigger::Level { 1 << (line & 7) } else { 0 };
        self.ports.out8(port, others | level);
        true
    }

    /// Whether there are controllers at all.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.is_there
    }

    /// Whether the interrupt on `line` was none: the lowest-priority line of a controller is also
    /// what it reports when a request went away. Does what is owed in that case; the caller only
    /// returns.
    #[must_use]
    pub fn is_spurious(&self, line: u8) -> bool {
        let command = match line {
            7 => MASTER_COMMAND,
            15 => SLAVE_COMMAND,
            _ => return false,
        };
        self.ports.out8(command, READ_IN_SERVICE);
        let served = self.ports.in8(command) & 0x80 != 0;
        if !served && line == 15 {
            // The first controller did see a request, that of the second one.
            self.ports.out8(MASTER_COMMAND, END_OF_INTERRUPT);
        }
        !served
    }

    /// Ends the interrupt on `line`.
    pub fn end_of_interrupt(&self, line: u8) {
        if line >= 8 {
            self.ports.out8(SLAVE_COMMAND, END_OF_INTERRUPT);
        }
        self.ports.out8(MASTER_COMMAND, END_OF_INTERRUPT);
    }

    fn set_masked(&self, line: u8, masked: bool) {
        let port = if line < 8 { MASTER_DATA } else { SLAVE_DATA };
        let bit = 1 << (line & 7);
        let others = self.ports.in8(port) & !bit;
        self.ports.out8(port, if masked { others | bit } else { others });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::SpinLock;
    use std::collections::HashMap;
    use std::vec::Vec;

    /// Remembers what was written last, and everything in order.
    #[derive(Default)]
    struct Board {
        last: HashMap<u16, u8>,
        log: Vec<(u16, u8)>,
    }

    struct Ports(SpinLock<Board>);

    impl PortIo for Ports {
        fn in8(&self, port: u16) -> u8 {
            self.0.with(|board| board.last.get(&port).copied().unwrap_or(0))
        }
        fn out8(&self, port: u16, value: u8) {
            self.0.with(|board| {
                board.last.insert(port, value);
                board.log.push((port, value));
            });
        }
        fn in16(&self, _: u16) -> u16 {
            panic!("the controllers are eight bits wide")
        }
        fn in32(&self, _: u16) -> u32 {
            panic!("the controllers are eight bits wide")
        }
        fn out16(&self, _: u16, _: u16) {
            panic!("the controllers are eight bits wide")
        }
        fn out32(&self, _: u16, _: u32) {
            panic!("the controllers are eight bits wide")
        }
    }

    fn pic() -> Pic<Ports> {
        let ports = Ports(SpinLock::new(Board::default()));
        // SAFETY: there is no controller, and no interrupt.
        unsafe { Pic::set_up(ports, 0x23) }
    }

    fn masks(pic: &Pic<Ports>) -> (u8, u8) {
        (pic.ports.in8(MASTER_DATA), pic.ports.in8(SLAVE_DATA))
    }

    #[test]
    fn set_up_names_the_vectors_and_masks_all() {
        let pic = pic();
        assert_eq!(masks(&pic), (0xff, 0xff));
        let log = pic.ports.0.with(|board| board.log.clone());
        assert_eq!(log[..5], [(0x20, 0x11), (0x21, 0x20), (0x21, 0x04), (0x21, 0x01), (0x21, 0xff)]);
        assert_eq!(log[5..10], [(0xa0, 0x11), (0xa1, 0x28), (0xa1, 0x02), (0xa1, 0x01), (0xa1, 0xff)]);
        assert_eq!((pic.line_of(0x2b), pic.line_of(0x30), pic.line_of(0x1f)), (Some(11), None, None));
    }

    #[test]
    fn a_line_of_the_second_needs_the_cascade() {
        let pic = pic();
        pic.unmask(11);
        assert_eq!(masks(&pic), (0xfb, 0xf7));
        pic.mask(11);
        assert_eq!(masks(&pic), (0xfb, 0xff));
        pic.unmask(16);
        assert_eq!(masks(&pic), (0xfb, 0xff));
    }

    #[test]
    fn the_end_goes_to_both_when_both_took_part() {
        let pic = pic();
        pic.ports.0.with(|board| board.log.clear());
        pic.end_of_interrupt(11);
        pic.end_of_interrupt(5);
        assert_eq!(pic.ports.0.with(|board| board.log.clone()), [(0xa0, 0x20), (0x20, 0x20), (0x20, 0x20)]);
    }

    #[test]
    fn only_the_last_lines_can_be_spurious() {
        let pic = pic();
        assert!(!pic.is_spurious(11));
        // The board reads back the command just written, 0x0b: bit 7 clear, so nothing is in
        // service.
        assert!(pic.is_spurious(7) && pic.is_spurious(15));
    }

    #[test]
    fn old_lines_stay_edge_triggered() {
        let pic = pic();
        let level = |line| pic.set_trigger(line, Trigger::Level);
        assert!(level(11) && level(10) && level(5));
        assert_eq!((pic.ports.in8(LEVEL_LOW), pic.ports.in8(LEVEL_HIGH)), (0x20, 0x0c));
        assert!(!level(0) && !level(8) && !level(13) && !level(16));
        assert_eq!((pic.ports.in8(LEVEL_LOW), pic.ports.in8(LEVEL_HIGH)), (0x20, 0x0c));
    }

    #[test]
    fn a_line_can_be_edge_triggered_again() {
        let pic = pic();
        assert!(pic.set_trigger(5, Trigger::Level) && pic.set_trigger(11, Trigger::Level));
        let edge = |line| pic.set_trigger(line, Trigger::Edge);
        assert!(edge(5) && edge(8) && edge(13), "the clock's line too, where no clock is");
        assert_eq!((pic.ports.in8(LEVEL_LOW), pic.ports.in8(LEVEL_HIGH)), (0, 0x08));
        assert!(!edge(0) && !edge(2) && !edge(16));
    }

    #[test]
    fn a_pair_that_is_not_there_is_noticed() {
        assert!(pic().is_there());
        struct Nothing;
        impl PortIo for Nothing {
            fn in8(&self, _: u16) -> u8 {
                0xff
            }
            fn out8(&self, _: u16, _: u8) {}
            fn in16(&self, _: u16) -> u16 {
                0xffff
            }
            fn in32(&self, _: u16) -> u32 {
                u32::MAX
            }
            fn out16(&self, _: u16, _: u16) {}
            fn out32(&self, _: u16, _: u32) {}
        }
        // SAFETY: as above.
        assert!(!unsafe { Pic::set_up(Nothing, 0x20) }.is_there());
    }
}
