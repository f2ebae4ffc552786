//! Port I/O: the second address space of x86.

/// I/O ports.
///
/// **Driver authors** rarely need this: PCI configuration by `CONFIG_ADDRESS`, and BARs in I/O
/// space.
///
/// **Platform authors**: a port can reach devices that write memory, so *making* the implementation
/// is where safety is argued (bare metal makes it in an `unsafe` constructor); using it is safe. On
/// platforms without ports do not implement it.
pub trait PortIo {
    /// Reads a byte.
    fn in8(&self, port: u16) -> u8;
    /// Reads 16 bits.
    fn in16(&self, port: u16) -> u16;
    /// Reads 32 bits.
    fn in32(&self, port: u16) -> u32;
    /// Writes a byte.
    fn out8(&self, port: u16, value: u8);
    /// Writes 16 bits.
    fn out16(&self, port: u16, value: u16);
    /// Writes 32 bits.
    fn out32(&self, port: u16, value: u32);
}

impl<P: PortIo + ?Sized> PortIo for &P {
    fn in8(&self, port: u16) -> u8 {
        (**self).in8(port)
    }
    fn in16(&self, port: u16) -> u16 {
        (**self).in16(port)
    }
    fn in32(&self, port: u16) -> u32 {
        (**self).in32(port)
    }
    fn out8(&self, port: u16, value: u8) {
        (**self).out8(port, value);
    }
    fn out16(&self, port: u16, value: u16) {
        (**self).out16(port, value);
    }
    fn out32(&self, port: u16, value: u32) {
        (**self).out32(port, value);
    }
}
