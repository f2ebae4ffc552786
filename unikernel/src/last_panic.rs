//! The last panic, kept over a warm reset, and told once after it.
//!
//! A page behind the image is in none of its segments, so that no loader clears it: QEMU writes the
//! segments again when the machine is reset, and its firmware (SeaBIOS, qboot) stays away from
//! there. The panic handler writes a [record] to it and resets the machine, a bounded number of
//! times in a row; the next boot reads it, tells it, and keeps nothing but that number. An image
//! whose page is elsewhere finds nothing.

#![expect(unsafe_code, reason = "a page that no Rust object is in")]

pub mod record;

use alloc::string::String;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;

use log::warn;
use paravane_hal_x86_64::lock::Once;
use record::{Bytes, RECORD_BYTES, Record};
use serde::Serialize;
use zerocopy::IntoBytes as _;

use crate::{build, console};

/// So many panics in a row are followed by a reset. Then the machine stands still: whoever looks
/// after it is to see that, and others are not to be told again and again that it is back.
const MOST_RESETS: u32 = 5;
/// A machine that ran for so long was sound when it began: what ended it is the first in a row.
const SOUND: Duration = Duration::from_secs(600);

/// What follows a panic: a reset, or nothing.
static RESETS: AtomicBool = AtomicBool::new(false);
static TOLD: Once<Option<LastPanic>> = Once::new();

/// A panic of before the reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastPanic {
    /// What was said, and where. Printable ASCII.
    pub message: String,
    /// Which build said it. Likewise.
    pub build: String,
    /// How long after its beginning.
    pub uptime_us: u64,
    /// The how many-eth in a row it was.
    pub in_a_row: u32,
}

impl fmt::Display for LastPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, build, uptime_us, in_a_row } = self;
        let (seconds, millis) = (uptime_us / 1_000_000, uptime_us / 1000 % 1000);
        write!(
            f,
            "build {build}, {seconds}.{millis:03} s after it began, number {in_a_row} in a row: {message}"
        )
    }
}

impl From<Record<'_>> for LastPanic {
    fn from(Record { text, build, uptime_us, in_a_row }: Record<'_>) -> Self {
        Self { message: text.into(), build: build.into(), uptime_us, in_a_row }
    }
}

/// Says what follows a panic from now on: a reset, or that the machine stands still, as it does
/// where nobody says anything.
pub fn reset_after(resets: bool) {
    RESETS.store(resets, Relaxed);
}

/// Tells what was kept, once; whoever asks again in this boot hears the same.
pub fn tell() -> Option<&'static LastPanic> {
    if let Some(told) = TOLD.get() {
        return told.as_ref();
    }
    let kept = read();
    let last = match kept.read() {
        Ok(None) => None,
        Ok(Some(record)) => {
            // That it was told is kept, and how many there were.
            write(&Bytes::of(format_args!(""), build::ID, 0, record.in_a_row));
            Some(LastPanic::from(record)).filter(|last| !last.message.is_empty())
        }
        Err(reason) => {
            warn!("last panic: something was kept, and is no record: {reason}; forgotten");
            write(&Bytes::NONE);
            None
        }
    };
    if let Some(last) = &last {
        warn!("last panic: {last}");
    }
    TOLD.set(last).ok()?.as_ref()
}

/// Keeps what is said at the end. Whether a reset is to follow.
pub(crate) fn keep(message: fmt::Arguments<'_>) -> bool {
    let before = read();
    let before = before.read().ok().flatten().map_or(0, |record| record.in_a_row);
    let uptime = console::uptime();
    let in_a_row = next_in_a_row(before, uptime);
    let uptime_us = u64::try_from(uptime.as_micros()).unwrap_or(u64::MAX);
    write(&Bytes::of(message, build::ID, uptime_us, in_a_row));
    RESETS.load(Relaxed) && in_a_row <= MOST_RESETS
}

/// The how many-eth a panic is, of a machine that ran for `uptime`, with so many before it.
fn next_in_a_row(before: u32, uptime: Duration) -> u32 {
    if uptime >= SOUND { 1 } else { before.saturating_add(1) }
}

/// Where the page is; nowhere on a host.
fn page() -> Option<*mut u8> {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            /// `link.ld`: a page that is the image's, and that nothing else is in.
            static mut kept_page: u8;
        }
        Some(&raw mut kept_page)
    }
    #[cfg(not(target_os = "none"))]
    None
}

fn read() -> Bytes {
    let mut bytes = Bytes::NONE;
    let Some(page) = page() else { return bytes };
    for (at, byte) in bytes.as_mut_bytes().iter_mut().enumerate() {
        // SAFETY:
        // - The page is longer than a record, so the byte is in it; it is mapped like the image.
        // - Any byte is a `u8`. No reference to the page is made, and volatile reads may see
        //   whatever was left there.
        *byte = unsafe { page.wrapping_add(at).read_volatile() };
    }
    bytes
}

fn write(bytes: &Bytes) {
    const _: () = assert!(RECORD_BYTES <= 4096);
    let Some(page) = page() else { return };
    for (at, byte) in bytes.as_bytes().iter().enumerate() {
        // SAFETY: as for reading; the image runs on one processor, and nobody else writes here.
        unsafe { page.wrapping_add(at).write_volatile(*byte) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_of_a_machine_that_was_sound_are_no_row() {
        let (soon, late) = (Duration::from_secs(1), SOUND);
        assert_eq!(
            [(0, soon), (4, soon), (u32::MAX, soon)].map(|(n, at)| next_in_a_row(n, at)),
            [1, 5, u32::MAX]
        );
        assert_eq!(next_in_a_row(4, late), 1);
    }

    #[test]
    fn it_is_said_in_one_line() {
        let bytes = Bytes::of(format_args!("panic at a.rs:1:2:\nouch"), "0.1.0", 61_002_003, 2);
        let last = LastPanic::from(bytes.read().unwrap().unwrap());
        assert_eq!(
            last.to_string(),
            "build 0.1.0, 61.002 s after it began, number 2 in a row: panic at a.rs:1:2:; ouch"
        );
    }

    #[test]
    fn nothing_is_kept_where_there_is_no_page() {
        assert!(!keep(format_args!("ouch")), "nobody asked for a reset");
        assert_eq!(tell(), None);
    }
}
