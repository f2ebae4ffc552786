//! The machine's I/O ports. Everything leans on this, and it leans on nothing.

#![expect(unsafe_code, reason = "this is where the ports are vouched for")]

use paravane_hal_x86_64::port::X86Ports;

/// The machine's I/O ports.
pub(crate) fn ports() -> X86Ports {
    // SAFETY: the image runs in ring 0, and the whole program is the machine's owner. It hands the
    // value on to code it calls a driver or a bus, which is trusted with the machine as far as its
    // devices go.
    unsafe { X86Ports::new() }
}
