//! The one place that every interrupt comes to.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use paravane_hal_x86_64::apic::LocalApic;
use paravane_hal_x86_64::lock::Once;
use paravane_hal_x86_64::mmio::MmioRegion;

use super::exception::{self, Trap};
use super::lines;

/// Vectors below are the CPU's exceptions.
const FIRST_OF_DEVICES: u8 = 0x20;
pub(super) const TIMER: u8 = 0x30;
pub(super) const FIRST_MESSAGE: u8 = 0x40;
/// How many messages can be told apart: the bits of a word.
pub const MESSAGES: u8 = 64;
const LAST_MESSAGE: u8 = FIRST_MESSAGE + MESSAGES - 1;
/// What the local APIC raises when an interrupt went away before it was delivered.
pub(crate) const SPURIOUS: u8 = 0xff;

static APIC: Once<LocalApic<MmioRegion>> = Once::new();
static PENDING: AtomicU64 = AtomicU64::new(0);

/// Takes the local APIC over. `None` when that was done before.
pub(super) fn take_over_apic(apic: LocalApic<MmioRegion>) -> Option<&'static LocalApic<MmioRegion>> {
    APIC.set(apic).ok()
}

/// The messages that came since the last call.
pub(super) fn take_pending() -> u64 {
    PENDING.swap(0, Acquire)
}

/// Whether one came that nobody took.
pub(super) fn is_pending() -> bool {
    PENDING.load(Relaxed) != 0
}

/// Forgets that the messages of `bits` came.
pub(super) fn forget(bits: u64) {
    PENDING.fetch_and(!bits, Relaxed);
}

/// Every interrupt comes here, with interrupts off.
pub(super) extern "C" fn dispatch(trap: &Trap) {
    let vector = u8::try_from(trap.vector).unwrap_or(SPURIOUS);
    match vector {
        0..FIRST_OF_DEVICES => exception::stop(trap),
        FIRST_MESSAGE..=LAST_MESSAGE => {
            PENDING.fetch_or(1 << (vector - FIRST_MESSAGE), Release);
            end_of_interrupt();
        }
        // It wakes; that is all.
        TIMER => end_of_interrupt(),
        SPURIOUS => {}
        // A line's, or one that nobody was given. That is ended too, or nothing less important
        // would ever come through.
        _ => {
            if lines::serve(vector) {
                end_of_interrupt();
            }
        }
    }
}

fn end_of_interrupt() {
    if let Some(apic) = APIC.get() {
        apic.end_of_interrupt();
    }
}
