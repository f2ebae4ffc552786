//! What was said, for a collector elsewhere, until it is known that there is none.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use log::Record;
use paravane_hal_x86_64::lock::SpinLock;

use super::Text;
use crate::app::syslog::kept::{Kept, Said, Source, TEXT_BYTES};

/// Some hundred lines: those of the start, and what is said while `admin` has no address.
const BYTES: usize = 24 << 10;

static KEPT: SpinLock<Kept<BYTES>> = SpinLock::new(Kept::new());
/// Nobody told us yet that there is no collector.
static IS_WANTED: AtomicBool = AtomicBool::new(true);
/// There is something: looked at in each turn, so not behind the lock.
static IS_THERE: AtomicBool = AtomicBool::new(false);

pub(super) fn keep(record: &Record<'_>, time: Duration) {
    if !IS_WANTED.load(Ordering::Relaxed) {
        return;
    }
    let source = record.file_static().zip(record.line()).map(|(file, line)| Source { file, line });
    let uptime_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    KEPT.with(|kept| kept.push(record.level(), source, uptime_us, format_args!("{}", Text(record))));
    IS_THERE.store(true, Ordering::Relaxed);
}

/// Nothing is kept from now on: there is no collector.
pub fn stop_keeping() {
    IS_WANTED.store(false, Ordering::Relaxed);
    IS_THERE.store(false, Ordering::Relaxed);
}

/// Whether there is something to take.
#[must_use]
pub fn has_kept() -> bool {
    IS_THERE.load(Ordering::Relaxed)
}

/// Takes the oldest message that was not taken yet, so many microseconds after the start.
pub fn take_kept(uptime_us: u64, room: &mut [u8; TEXT_BYTES]) -> Option<Said<'_>> {
    let said = KEPT.with(|kept| kept.take(uptime_us, room));
    if said.is_none() {
        IS_THERE.store(false, Ordering::Relaxed);
    }
    said
}
