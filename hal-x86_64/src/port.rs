//! I/O ports by the CPU's own instructions.

#![expect(unsafe_code, reason = "a port can reach anything; the constructor says who answers for it")]

use paravane_hal::port::PortIo;
use x86_64::instructions::port::Port;

/// The I/O ports of the machine. Zero-sized; a copy reaches the same ports.
#[derive(Clone, Copy, Debug)]
pub struct X86Ports(());

impl X86Ports {
    /// Opens the ports to safe code.
    ///
    /// # Safety
    ///
    /// - The program runs where port instructions are allowed: ring 0, or with an I/O permission
    ///   that covers what is used.
    /// - Whoever is given the value is trusted with the machine: ports reach reset lines, legacy
    ///   DMA controllers and bus-master engines, which can write memory behind the program's back.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

macro_rules! access {
    ($($read:ident, $write:ident: $int:ty;)*) => {$(
        #[inline]
        fn $read(&self, port: u16) -> $int {
            // SAFETY: `new`'s caller vouched for port instructions, and for whoever holds the
            // value.
            unsafe { Port::<$int>::new(port).read() }
        }
        #[inline]
        fn $write(&self, port: u16, value: $int) {
            // SAFETY: as for reading.
            unsafe { Port::<$int>::new(port).write(value) }
        }
    )*};
}

impl PortIo for X86Ports {
    access! {
        in8, out8: u8;
        in16, out16: u16;
        in32, out32: u32;
    }
}
