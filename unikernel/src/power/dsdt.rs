//! Two things that the DSDT alone says: what sleep state 5 is called, and where a generic event
//! device has its register.
//!
//! Both are computed by code in general. Monitors have them as constants, in a form that can be
//! looked for, and nothing is run: what has another form is not found, and whoever asks says so.
//!
//! Spec: ACPI 6.5, 7.4.2.6 "\_S5 (System \_S5 State)", 20.2 "AML Grammar Definition", 5.6.9
//! "Interrupt-signaled ACPI events".

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use paravane_hal::addr::PhysAddr;

const NAME: u8 = 0x08;
const ROOT: u8 = b'\\';
const PACKAGE: u8 = 0x12;
const BYTE: u8 = 0x0a;
const WORD: u8 = 0x0b;
const DWORD: u8 = 0x0c;
const QWORD: u8 = 0x0e;
/// An operation region: this prefix, its name, its space, its address, its length.
const REGION: [u8; 2] = [0x5b, 0x80];
const SYSTEM_MEMORY: u8 = 0;

/// Sleep types are of three bits.
const MAX_TYPE: u64 = 7;

/// What the class of such devices is called.
const EVENT_DEVICE: &[u8] = b"ACPI0013\0";
/// That the power button was pressed: a notification of `PWRB`.
const PRESSED: &[u8] = b"\x86PWRB\x0a\x80";
/// How far a device reaches behind its name, as monitors write them.
const DEVICE_BYTES: usize = 512;

/// The types of sleep state 5, for control blocks a and b; `None` where no constant says them.
#[must_use]
pub fn soft_off(dsdt: &[u8]) -> Option<[u8; 2]> {
    places(dsdt, b"_S5_").find_map(|at| {
        let (before, name) = dsdt.split_at_checked(at)?;
        if !matches!(before, [.., NAME] | [.., NAME, ROOT]) {
            return None;
        }
        let mut values = package(name.get(4..)?)?;
        let mut value = || {
            let value = integer(&mut values).filter(|value| *value <= MAX_TYPE)?;
            u8::try_from(value).ok()
        };
        let first = value()?;
        // A machine without a second block may leave its type out.
        Some([first, value().unwrap_or(first)])
    })
}

/// What is in the package that `bytes` begin with, behind the number of its elements.
fn package(bytes: &[u8]) -> Option<&[u8]> {
    let (&PACKAGE, rest) = bytes.split_first()? else { return None };
    let lead = *rest.first()?;
    let more = usize::from(lead >> 6);
    let length =
        rest.get(1..)?.get(..more)?.iter().rev().fold(0_usize, |all, byte| all << 8 | usize::from(*byte));
    let len_bytes = if more == 0 { usize::from(lead & 0x3f) } else { length << 4 | usize::from(lead & 0xf) };
    // The length counts itself.
    let head_bytes = more.checked_add(1)?;
    let inside = rest.get(head_bytes..len_bytes)?;
    let (count, values) = inside.split_first()?;
    (*count > 0).then_some(values)
}

/// The integer that `bytes` begin with, which is taken off them.
fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let (&prefix, rest) = bytes.split_first()?;
    let len_bytes = match prefix {
        0 | 1 => 0,
        BYTE => 1,
        WORD => 2,
        DWORD => 4,
        QWORD => 8,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len_bytes)?;
    *bytes = rest;
    if len_bytes == 0 {
        return Some(prefix.into());
    }
    Some(value.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
}

/// A register that tells which events there were, and forgets them as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventDevice {
    /// Where it is, 32 bits of memory.
    pub selector: PhysAddr,
    /// Its bit for the power button.
    pub button: u32,
}

/// The first generic event device with a power button; `None` where there is none, or it is not
/// written as QEMU writes it: a region in memory, and a method that compares one bit of it and then
/// notifies `PWRB`.
#[must_use]
pub fn event_device(dsdt: &[u8]) -> Option<EventDevice> {
    places(dsdt, EVENT_DEVICE).find_map(|at| {
        let device = dsdt.get(at..)?;
        let device = device.get(..DEVICE_BYTES).unwrap_or(device);
        let selector = places(device, &REGION).find_map(|at| region(device.get(at..)?))?;
        let at = places(device, PRESSED).next()?;
        let (before, _) = device.split_at_checked(at)?;
        let [.., BYTE, button] = before else { return None };
        let button = u32::from(*button);
        button.is_power_of_two().then_some(EventDevice { selector, button })
    })
}

/// The start of the region in memory, of 32 bits, that `bytes` begin with.
fn region(bytes: &[u8]) -> Option<PhysAddr> {
    let (&SYSTEM_MEMORY, mut rest) = bytes.get(6..)?.split_first()? else { return None };
    let (start, len_bytes) = (integer(&mut rest)?, integer(&mut rest)?);
    start.checked_add(len_bytes)?;
    (start != 0 && start.is_multiple_of(4) && len_bytes == 4).then_some(PhysAddr::new(start))
}

/// Where `wanted` is in `bytes`.
fn places<'b>(bytes: &'b [u8], wanted: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
    bytes.windows(wanted.len()).enumerate().filter(move |(_, window)| *window == wanted).map(|(at, _)| at)
}

#[cfg(test)]
#[path = "dsdt_tests.rs"]
mod tests;
