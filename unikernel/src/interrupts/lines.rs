//! Interrupt lines, whichever controller they come in on: those that the 8259 pair has, where there
//! is one, on that; the others on I/O APICs.
//!
//! A level-triggered line rings until its devices are served, so the handler closes it, and the
//! program opens it again. An edge-triggered one is only ended: a monitor that pulses it may do so
//! while it would be closed, and an I/O APIC forgets what comes then.

#![expect(unsafe_code, reason = "vouches for the I/O APICs")]

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use log::warn;
use paravane_hal::mmio::MmioMap;
use paravane_hal_x86_64::ioapic::{self, IoApic};
use paravane_hal_x86_64::line::Trigger;
use paravane_hal_x86_64::lock::Once;
use paravane_hal_x86_64::mmio::MmioRegion;
use paravane_hal_x86_64::pic::{self, Pic};
use paravane_hal_x86_64::port::X86Ports;

use super::madt::{MAX_IO_APICS, Wiring};

/// How many lines there can be: the bits of a word.
pub const LINES: u8 = 64;
/// The vectors of the lines that the pair has, and of the others.
const FIRST: u8 = 0x20;
const FIRST_OTHER: u8 = 0x80;
const LAST_OTHER: u8 = FIRST_OTHER + (LINES - pic::LINES) - 1;

static PIC: Once<Pic<X86Ports>> = Once::new();
static IO_APICS: Once<IoApics> = Once::new();
static PENDING: AtomicU64 = AtomicU64::new(0);
/// The open lines that are edge-triggered, and those that come in on an I/O APIC.
static EDGE: AtomicU64 = AtomicU64::new(0);
static BY_IO_APIC: AtomicU64 = AtomicU64::new(0);

struct IoApics {
    wiring: Wiring,
    each: [Option<IoApic<MmioRegion>>; MAX_IO_APICS],
}

impl IoApics {
    /// The pin of `line`.
    fn pin_of(&self, line: u8) -> Option<(&IoApic<MmioRegion>, u32)> {
        let (pin, _) = self.wiring.input_of(line);
        self.each.iter().flatten().find_map(|io_apic| Some((io_apic, io_apic.pin_of(pin)?)))
    }
}

/// The first vector of the lines.
pub(crate) const fn first_vector() -> u8 {
    FIRST
}

/// Takes the pair over; false when that was done before.
pub(super) fn take_over_pic(pic: Pic<X86Ports>) -> bool {
    PIC.set(pic).is_ok()
}

/// Whether the I/O APICs were not looked for yet.
pub(super) fn has_no_io_apics() -> bool {
    IO_APICS.get().is_none()
}

/// Takes the I/O APICs over. To be called with the interrupt table loaded.
pub(super) fn take_over_io_apics(map: &impl MmioMap<Region = MmioRegion>, wiring: Wiring) {
    let mut each = [const { None }; MAX_IO_APICS];
    for (place, (address, first_line)) in each.iter_mut().zip(wiring.io_apics()) {
        *place = match map.map(address, ioapic::REGISTERS_BYTES) {
            // SAFETY: firmware says that an I/O APIC is there, or it is where every machine has it;
            // nothing else of the program knows of it, and every vector has a gate.
            Ok(registers) => unsafe { IoApic::take_over(registers, first_line) },
            Err(reason) => {
                warn!("interrupts: I/O APIC: {reason}");
                None
            }
        };
        if place.is_none() {
            warn!("interrupts: no I/O APIC answers at {:#x}", address.get());
        }
    }
    // The first ones stay.
    let _ = IO_APICS.set(IoApics { wiring, each });
}

/// Opens `line` on the pair. False when there is none, or it does not have the line that way.
pub(super) fn open_on_pic(line: u8, trigger: Trigger) -> bool {
    let Some(pic) = PIC.get().filter(|pic| pic.is_there() && pic.set_trigger(line, trigger)) else {
        return false;
    };
    note(line, trigger, false);
    pic.unmask(line);
    true
}

/// Opens `line` on an I/O APIC, towards the local APIC `apic_id`. False when none has that line, or
/// it is not for devices.
pub(super) fn open_on_io_apic(line: u8, trigger: Trigger, apic_id: u32) -> bool {
    if line >= LINES || !pic::is_for_devices(line) {
        return false;
    }
    let Some(io_apics) = IO_APICS.get() else { return false };
    let (Some((io_apic, pin)), Ok(apic_id)) = (io_apics.pin_of(line), u8::try_from(apic_id)) else {
        return false;
    };
    note(line, trigger, true);
    let (_, active_low) = io_apics.wiring.input_of(line);
    io_apic.route(pin, vector_of(line), apic_id, trigger, active_low);
    true
}

/// Remembers for handlers how `line`, which is still closed, comes in.
fn note(line: u8, trigger: Trigger, on_io_apic: bool) {
    for (set, is_in) in [(&EDGE, trigger == Trigger::Edge), (&BY_IO_APIC, on_io_apic)] {
        if is_in {
            set.fetch_or(1 << line, Relaxed);
        } else {
            set.fetch_and(!(1 << line), Relaxed);
        }
    }
}

/// Whether `line` is one of `set`.
fn is_in(set: &AtomicU64, line: u8) -> bool {
    line < LINES && set.load(Relaxed) & 1 << line != 0
}

/// Closes `line`. To be called with interrupts off: what is written goes in steps that a handler
/// must not come between.
pub(super) fn mask(line: u8) {
    if !is_in(&BY_IO_APIC, line) {
        PIC.get().into_iter().for_each(|pic| pic.mask(line));
    } else if let Some((io_apic, pin)) = IO_APICS.get().and_then(|io_apics| io_apics.pin_of(line)) {
        io_apic.mask(pin);
    }
}

/// Opens `line` again. As [`mask`].
pub(super) fn unmask(line: u8) {
    if !is_in(&BY_IO_APIC, line) {
        PIC.get().into_iter().for_each(|pic| pic.unmask(line));
    } else if let Some((io_apic, pin)) = IO_APICS.get().and_then(|io_apics| io_apics.pin_of(line)) {
        io_apic.unmask(pin);
    }
}

/// The lines that rang since the last call.
pub(super) fn take_pending() -> u64 {
    PENDING.swap(0, Acquire)
}

/// Whether one rang that nobody took.
pub(super) fn is_pending() -> bool {
    PENDING.load(Relaxed) != 0
}

/// The vector of `line`, which is below [`LINES`].
const fn vector_of(line: u8) -> u8 {
    if line < pic::LINES { FIRST + line } else { FIRST_OTHER + (line - pic::LINES) }
}

/// Which line raises `vector`.
const fn line_of(vector: u8) -> Option<u8> {
    const LAST: u8 = FIRST + pic::LINES - 1;
    match vector {
        FIRST..=LAST => Some(vector - FIRST),
        FIRST_OTHER..=LAST_OTHER => Some(vector - FIRST_OTHER + pic::LINES),
        _ => None,
    }
}

/// Serves `vector`, in the handler, if it is a line's. True when the local APIC has to be told of
/// the end.
pub(super) fn serve(vector: u8) -> bool {
    let Some(line) = line_of(vector) else { return true };
    let on_io_apic = is_in(&BY_IO_APIC, line);
    let pic = PIC.get().filter(|_| !on_io_apic);
    if pic.is_some_and(|pic| pic.is_spurious(line)) {
        return false;
    }
    if !is_in(&EDGE, line) {
        mask(line);
    }
    PENDING.fetch_or(1 << line, Release);
    if let Some(pic) = pic {
        pic.end_of_interrupt(line);
    }
    on_io_apic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_vector_of_its_own() {
        for line in 0..LINES {
            assert_eq!(line_of(vector_of(line)), Some(line));
        }
        let lines = (0..=u8::MAX).filter_map(line_of).count();
        assert_eq!(lines, usize::from(LINES));
        assert_eq!((vector_of(15), vector_of(16), line_of(0x30)), (0x2f, 0x80, None));
    }
}
