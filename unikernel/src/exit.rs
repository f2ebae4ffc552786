//! How a program ends: by QEMU's exit device if there is one, else by standing still; after a panic
//! by a reset, where the program [wants that](last_panic::reset_after).

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use paravane_hal::port::PortIo;

use crate::ports::ports;
use crate::{console, last_panic, power};

/// QEMU's `isa-debug-exit,iobase=0xf4`: a byte written there ends QEMU with status `byte * 2 + 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// Why it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well. QEMU's status: 33.
    Success = 0x10,
    /// The program says that something is wrong. QEMU's status: 35.
    Failure = 0x11,
    /// A panic. QEMU's status: 37.
    Panic = 0x12,
    /// The CPU raised an exception. QEMU's status: 39.
    Exception = 0x13,
}

/// Ends the program. Without the device the CPU stands still, interrupts off, for good.
pub fn exit(why: Exit) -> ! {
    ports().out8(DEBUG_EXIT, why as u8);
    stand_still()
}

/// Stops the CPU for good.
pub fn stand_still() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

/// Set once the program is on its way out, so that trouble on the way does not go round in circles.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// Says why, past any lock, and ends. The second to come here only ends.
pub(crate) fn leave(why: Exit, message: core::fmt::Arguments<'_>) -> ! {
    x86_64::instructions::interrupts::disable();
    if LEAVING.swap(true, Relaxed) {
        exit(why);
    }
    console::print_regardless(message);
    // What a program says it cannot go on from would be so again.
    if matches!(why, Exit::Panic | Exit::Exception) && last_panic::keep(message) {
        console::print_regardless(format_args!("panic: the machine is reset"));
        power::reset();
    }
    exit(why)
}

/// Ends the program with a message: for what cannot be gone on from, and is nobody's bug.
#[macro_export]
macro_rules! fatal {
    ($($message:tt)*) => {
        $crate::exit::stop(::core::format_args!($($message)*))
    };
}

/// See [`fatal!`](crate::fatal).
pub fn stop(message: core::fmt::Arguments<'_>) -> ! {
    leave(Exit::Failure, format_args!("cannot go on: {message}"))
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => leave(Exit::Panic, format_args!("panic at {place}: {}", info.message())),
        None => leave(Exit::Panic, format_args!("panic: {}", info.message())),
    }
}
