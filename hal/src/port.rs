//! Port I/O: the second address space of x86.

use crate::addr::PhysAddr;
use crate::barrier;
use crate::mmio::{MapError, MapErrorReason, Mmio, MmioMap};

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

/// Some ports in a row, as a region of registers.
#[derive(Clone, Copy, Debug)]
pub struct Ports<I> {
    io: I,
    first: u16,
    len_bytes: usize,
}

impl<I: PortIo> Ports<I> {
    /// The port of an access of `width` bytes, if it is aligned and inside.
    #[inline(always)]
    fn port(&self, offset_bytes: usize, width: usize) -> Option<u16> {
        let end = offset_bytes.checked_add(width)?;
        let answers = end <= self.len_bytes && offset_bytes.is_multiple_of(width);
        // They end where ports do, as `map_ports` saw.
        let offset = u16::try_from(offset_bytes).ok().filter(|_| answers)?;
        self.first.checked_add(offset)
    }
}

macro_rules! access {
    ($($read:ident, $input:ident, $write:ident, $output:ident: $int:ty;)*) => {$(
        #[inline]
        fn $read(&self, offset_bytes: usize) -> $int {
            let Some(port) = self.port(offset_bytes, size_of::<$int>()) else { return <$int>::MAX };
            let value = self.io.$input(port);
            barrier::after_mmio();
            value
        }
        #[inline]
        fn $write(&self, offset_bytes: usize, value: $int) {
            if let Some(port) = self.port(offset_bytes, size_of::<$int>()) {
                barrier::before_mmio();
                self.io.$output(port, value);
            }
        }
    )*};
}

impl<I: PortIo> Mmio for Ports<I> {
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }
    access! {
        read8, in8, write8, out8: u8;
        read16, in16, write16, out16: u16;
        read32, in32, write32, out32: u32;
    }
}

/// Registers in memory, or among the ports.
#[derive(Clone, Copy, Debug)]
pub enum Registers<R, I> {
    /// In memory.
    Memory(R),
    /// Among the ports.
    Ports(Ports<I>),
}

macro_rules! either {
    ($($read:ident, $write:ident: $int:ty;)*) => {$(
        #[inline(always)]
        fn $read(&self, offset_bytes: usize) -> $int {
            match self {
                Self::Memory(region) => region.$read(offset_bytes),
                Self::Ports(ports) => ports.$read(offset_bytes),
            }
        }
        #[inline(always)]
        fn $write(&self, offset_bytes: usize, value: $int) {
            match self {
                Self::Memory(region) => region.$write(offset_bytes, value),
                Self::Ports(ports) => ports.$write(offset_bytes, value),
            }
        }
    )*};
}

impl<R: Mmio, I: PortIo> Mmio for Registers<R, I> {
    fn len_bytes(&self) -> usize {
        match self {
            Self::Memory(region) => region.len_bytes(),
            Self::Ports(ports) => ports.len_bytes(),
        }
    }
    either! {
        read8, write8: u8;
        read16, write16: u16;
        read32, write32: u32;
    }
}

/// A mapper, and ports besides: with it a driver reaches devices whose registers are ports.
#[derive(Clone, Copy, Debug)]
pub struct WithPorts<M, I> {
    /// For registers in memory.
    pub mapper: M,
    /// For the others.
    pub io: I,
}

impl<M: MmioMap, I: PortIo + Clone + Send> MmioMap for WithPorts<M, I> {
    type Region = Registers<M::Region, I>;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<Self::Region, MapError> {
        self.mapper.map(start, len_bytes).map(Registers::Memory)
    }

    fn map_ports(&self, first: u16, len_bytes: usize) -> Result<Self::Region, MapError> {
        let last = len_bytes.checked_sub(1).and_then(|last| u16::try_from(last).ok());
        if last.and_then(|last| first.checked_add(last)).is_none() {
            let start = PhysAddr::new(first.into());
            return Err(MapError::new(start, len_bytes, MapErrorReason::OutOfRange));
        }
        Ok(Registers::Ports(Ports { io: self.io.clone(), first, len_bytes }))
    }

    fn unmap(&self, region: Self::Region) {
        if let Registers::Memory(region) = region {
            self.mapper.unmap(region);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Answers with the port's number, and remembers what was written.
    #[derive(Clone, Debug, Default)]
    struct Echo(Arc<Mutex<std::vec::Vec<(u16, u32)>>>);

    impl PortIo for Echo {
        fn in8(&self, port: u16) -> u8 {
            port.to_le_bytes()[0]
        }
        fn in16(&self, port: u16) -> u16 {
            port
        }
        fn in32(&self, port: u16) -> u32 {
            port.into()
        }
        fn out8(&self, port: u16, value: u8) {
            self.out32(port, value.into());
        }
        fn out16(&self, port: u16, value: u16) {
            self.out32(port, value.into());
        }
        fn out32(&self, port: u16, value: u32) {
            self.0.lock().unwrap().push((port, value));
        }
    }

    /// Has no registers in memory.
    struct NoMemory;

    impl MmioMap for NoMemory {
        type Region = Ports<Echo>;
        fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<Self::Region, MapError> {
            Err(MapError::new(start, len_bytes, MapErrorReason::NotRegisters))
        }
    }

    #[test]
    fn ports_are_a_region_with_its_bounds() {
        let io = Echo::default();
        let mapper = WithPorts { mapper: NoMemory, io: io.clone() };
        let region = mapper.map_ports(0xc040, 0x20).unwrap();
        assert_eq!(region.len_bytes(), 0x20);
        assert_eq!((region.read8(0x13), region.read16(0x0e), region.read32(8)), (0x53, 0xc04e, 0xc048));
        assert_eq!((region.read16(1), region.read32(0x20), region.read8(usize::MAX)), (!0, !0, !0));
        region.write8(0x12, 3);
        region.write16(0x1f, 1);
        region.write8(0x20, 1);
        region.write32(0x1e, 1);
        region.write16(0x10, 7);
        assert_eq!(*io.0.lock().unwrap(), [(0xc052, 3), (0xc050, 7)]);
        mapper.unmap(region);
    }

    #[test]
    fn ports_that_are_not_there_are_refused() {
        let mapper = WithPorts { mapper: NoMemory, io: Echo::default() };
        assert!(mapper.map_ports(0xffe0, 0x20).is_ok());
        for (first, len_bytes) in [(0xffe0, 0x21), (0, 0), (1, 0x1_0000)] {
            let reason = mapper.map_ports(first, len_bytes).err().map(|error| error.reason);
            assert_eq!(reason, Some(MapErrorReason::OutOfRange), "{first:#x} {len_bytes:#x}");
        }
        let none = NoMemory.map_ports(0xc040, 0x20).unwrap_err();
        assert_eq!(none.reason, MapErrorReason::NoPorts);
        assert!(mapper.map(PhysAddr::new(0), 4).is_err());
    }
}
