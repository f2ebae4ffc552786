//! The register front of devices that are on no bus, and slots that have none. The registers of
//! version 1 are in `legacy`.
//!
//! Spec: VIRTIO 1.2, 4.2 "Virtio Over MMIO". Offsets are of 4.2.2.

use std::sync::{Arc, Mutex};

use paravane_hal::addr::PhysAddr;

use super::common::QUEUE_RESET;
use super::legacy::REGISTERS as LEGACY_REGISTERS;
use super::registers::Hit;
use super::status::DRIVER_OK;
use super::{Class, Virtio};
use crate::platform::MockPlatform;
use crate::registers::{DeviceModel, Width};

/// `MagicValue`: "virt".
const MAGIC: u32 = 0x7472_6976;
/// Where the device's own configuration starts.
const CONFIG: u32 = 0x100;

/// What can be done to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Both,
}

/// Every register, what can be done to it, and what it is. Those that PCI has too are named as
/// there.
const REGISTERS: [(u32, Access, Hit); 29] = [
    (0x000, Access::Read, Hit::Mmio(0x000)),
    (0x004, Access::Read, Hit::Mmio(0x004)),
    (0x008, Access::Read, Hit::Mmio(0x008)),
    (0x00c, Access::Read, Hit::Mmio(0x00c)),
    (0x010, Access::Read, Hit::Common(0x04)),
    (0x014, Access::Write, Hit::Common(0x00)),
    (0x020, Access::Write, Hit::Common(0x0c)),
    (0x024, Access::Write, Hit::Common(0x08)),
    (0x030, Access::Write, Hit::Common(0x16)),
    (0x034, Access::Read, Hit::Mmio(0x034)),
    (0x038, Access::Write, Hit::Common(0x18)),
    (0x044, Access::Both, Hit::Common(0x1c)),
    (0x050, Access::Write, Hit::Notify(0)),
    (0x060, Access::Read, Hit::Isr),
    (0x064, Access::Write, Hit::Mmio(ACK)),
    (0x070, Access::Both, Hit::Common(0x14)),
    (0x080, Access::Write, Hit::Common(0x20)),
    (0x084, Access::Write, Hit::Common(0x24)),
    (0x090, Access::Write, Hit::Common(0x28)),
    (0x094, Access::Write, Hit::Common(0x2c)),
    (0x0a0, Access::Write, Hit::Common(0x30)),
    (0x0a4, Access::Write, Hit::Common(0x34)),
    (0x0ac, Access::Write, Hit::Mmio(0x0ac)),
    (0x0b0, Access::Read, Hit::Mmio(0x0b0)),
    (0x0b4, Access::Read, Hit::Mmio(0x0b4)),
    (0x0b8, Access::Read, Hit::Mmio(0x0b8)),
    (0x0bc, Access::Read, Hit::Mmio(0x0bc)),
    (0x0c0, Access::Both, Hit::Common(QUEUE_RESET)),
    (0x0fc, Access::Read, Hit::Common(0x15)),
];

/// `InterruptACK`.
pub(super) const ACK: u32 = 0x064;

/// How a plan names the register at `offset_bytes` that only MMIO has. What PCI has as well goes by
/// the name that it has there.
#[must_use]
pub const fn mmio_register(offset_bytes: u32) -> u32 {
    Hit::Mmio(offset_bytes).subject()
}

impl<C: Class> Virtio<C> {
    /// What an access meets. One that breaks the rules meets nothing, and a strict monitor says so.
    ///
    /// Spec: VIRTIO 1.2, 4.2.2.2 "Driver Requirements: MMIO Device Register Layout".
    pub(super) fn meet_mmio(&mut self, at: u32, width: Width, is_write: bool) -> Option<Hit> {
        if at >= CONFIG {
            return Some(Hit::Device(at - CONFIG));
        }
        let verb = if is_write { "write" } else { "read" };
        let what = if width == Width::Word {
            let registers = if self.is_legacy { &LEGACY_REGISTERS[..] } else { &REGISTERS[..] };
            match registers.iter().find(|(place, ..)| *place == at) {
                Some((_, access, hit)) if *access != Access::Write || is_write => {
                    if *access != Access::Read || !is_write {
                        return Some(*hit);
                    }
                    format!("a {verb} of register {at:#x}, which can only be read, 4.2.2")
                }
                Some(_) => format!("a {verb} of register {at:#x}, which can only be written, 4.2.2"),
                None => format!("a {verb} of register {at:#x}, which is none, 4.2.2"),
            }
        } else {
            format!("a {}-byte {verb} of register {at:#x}, 4.2.2.2", width.bytes())
        };
        self.refusals.push(what.clone());
        self.violation(what);
        None
    }

    /// Reads a register that only MMIO has.
    pub(super) fn read_mmio(&mut self, at: u32) -> u32 {
        match at {
            0x000 => MAGIC,
            0x004 if self.is_legacy => 1,
            0x004 => 2,
            0x008 => C::TYPE.into(),
            0x00c => self.personality.mmio_vendor,
            0x034 => self.queue().map_or(0, |_| self.personality.max_entries).into(),
            // No shared memory, whichever was selected.
            0x0b0..0x0c0 => u32::MAX,
            _ => 0,
        }
    }

    /// Writes a register that only MMIO has.
    pub(super) fn write_mmio(&mut self, at: u32, value: u32) {
        if at != ACK {
            return;
        }
        if value & !3 != 0 {
            self.violation(format!("{value:#x} acknowledged, which has bits that mean nothing, 4.2.2.2"));
        }
        let [bits, ..] = value.to_le_bytes();
        if bits & 3 & !self.isr_seen != 0 {
            self.violation(format!("{bits:#x} acknowledged, of which it read {:#x}", self.isr_seen));
        }
        if self.personality.steps_status && self.status() & DRIVER_OK == 0 {
            self.refusals.push(format!("an interrupt acknowledged in status {:#x}", self.status()));
            return;
        }
        self.isr &= !bits;
        self.isr_seen &= !bits;
        if self.isr == 0 {
            self.front.release_line();
        }
    }
}

/// A place where a device could be and none is. What is read of it beyond its identity, and what is
/// written to it, is a mistake.
#[derive(Debug)]
pub struct Slot {
    version: u32,
    /// Mistakes so far.
    pub violations: Vec<String>,
}

impl Slot {
    /// Puts a slot without a device at `start`.
    ///
    /// Spec: VIRTIO 1.2, 4.2.3.1 "Device Initialization": a device ID of zero.
    pub fn empty(platform: &MockPlatform, start: PhysAddr) -> Arc<Mutex<Self>> {
        Self::put(platform, start, 2)
    }

    /// The same of the legacy version.
    pub fn empty_legacy(platform: &MockPlatform, start: PhysAddr) -> Arc<Mutex<Self>> {
        Self::put(platform, start, 1)
    }

    fn put(platform: &MockPlatform, start: PhysAddr, version: u32) -> Arc<Mutex<Self>> {
        let slot = Arc::new(Mutex::new(Self { version, violations: Vec::new() }));
        platform.attach(start, 0x200, slot.clone(), 0);
        slot
    }
}

impl DeviceModel for Slot {
    fn read(&mut self, _: u8, offset_bytes: usize, width: Width) -> u32 {
        match (offset_bytes, width) {
            (0x000, Width::Word) => MAGIC,
            (0x004, Width::Word) => self.version,
            (0x008 | 0x00c, Width::Word) => 0,
            _ => {
                self.violations.push(format!("a read at {offset_bytes:#x} of a slot without a device"));
                0
            }
        }
    }

    fn write(&mut self, _: u8, offset_bytes: usize, _: Width, _: u32) {
        self.violations.push(format!("a write at {offset_bytes:#x} of a slot without a device"));
    }
}
