//! Register regions.
//!
//! A region is reached through methods, never through a pointer in a driver's hands: so an access
//! can be a load on bare metal, a message to another process, or a line of a recording, and there
//! is no reference that the compiler might read through on its own account.

use core::fmt;

mod device;
pub(crate) mod region;

pub use device::{MmioDevice, NoReset};
pub use region::Mmio;

use crate::addr::PhysAddr;
use crate::reg::{ReadClear, Readable, Reg, RegValue, Writable};

/// Typed access, for every region.
pub trait MmioExt: Mmio {
    /// Reads a register that reading does not change.
    #[inline(always)]
    fn read<T: RegValue, A: Readable>(&self, reg: &Reg<T, A>) -> T {
        T::read_from(self, reg.offset_bytes())
    }

    /// Writes a register.
    #[inline(always)]
    fn write<T: RegValue, A: Writable>(&self, reg: &Reg<T, A>, value: T) {
        value.write_to(self, reg.offset_bytes());
    }

    /// Reads and thereby empties a register.
    #[inline(always)]
    fn take<T: RegValue>(&mut self, reg: &Reg<T, ReadClear>) -> T {
        T::read_from(self, reg.offset_bytes())
    }

    /// Whether `len_bytes` at `offset_bytes` lie inside the region.
    fn covers(&self, offset_bytes: usize, len_bytes: usize) -> bool {
        offset_bytes.checked_add(len_bytes).is_some_and(|end| end <= self.len_bytes())
    }
}

impl<M: Mmio + ?Sized> MmioExt for M {}

/// Part of a region, with its own bounds.
#[derive(Clone, Debug)]
pub struct Window<M> {
    region: M,
    start_bytes: usize,
    len_bytes: usize,
}

impl<M: Mmio> Window<M> {
    /// The `len_bytes` of `region` from `start_bytes` on, or the region back when it has no such
    /// part.
    ///
    /// # Errors
    ///
    /// `region`, untouched.
    pub fn new(region: M, start_bytes: usize, len_bytes: usize) -> Result<Self, M> {
        if region.covers(start_bytes, len_bytes) {
            Ok(Self { region, start_bytes, len_bytes })
        } else {
            Err(region)
        }
    }

    /// The `len_bytes` from `start_bytes` on, as a window of its own; `None` when this one has no
    /// such part.
    #[must_use]
    pub fn part(&self, start_bytes: usize, len_bytes: usize) -> Option<Self>
    where
        M: Clone,
    {
        // Both starts lie inside the region, so their sum is no wrap.
        self.covers(start_bytes, len_bytes).then(|| Self {
            region: self.region.clone(),
            start_bytes: self.start_bytes.wrapping_add(start_bytes),
            len_bytes,
        })
    }

    /// Where an access of `width` bytes lands in the region; a place nobody answers when it leaves
    /// the window.
    #[inline(always)]
    fn place(&self, offset_bytes: usize, width: usize) -> usize {
        match offset_bytes.checked_add(width) {
            Some(end) if end <= self.len_bytes => self.start_bytes.wrapping_add(offset_bytes),
            _ => usize::MAX,
        }
    }
}

impl<M: Mmio> Mmio for Window<M> {
    #[inline(always)]
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }
    #[inline(always)]
    fn read8(&self, offset_bytes: usize) -> u8 {
        self.region.read8(self.place(offset_bytes, 1))
    }
    #[inline(always)]
    fn read16(&self, offset_bytes: usize) -> u16 {
        self.region.read16(self.place(offset_bytes, 2))
    }
    #[inline(always)]
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.region.read32(self.place(offset_bytes, 4))
    }
    #[inline(always)]
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.region.write8(self.place(offset_bytes, 1), value);
    }
    #[inline(always)]
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.region.write16(self.place(offset_bytes, 2), value);
    }
    #[inline(always)]
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.region.write32(self.place(offset_bytes, 4), value);
    }
}

/// Makes register regions reachable.
///
/// **Platform authors**: map uncached. The address may be anywhere a BAR can be, beyond 4 GiB
/// included.
///
/// The same registers may be mapped more than once, in whole or in part, and the regions live side
/// by side: a driver maps a structure of virtio's at a time, of which several share a page, and
/// MSI-X tables lie in BARs that hold other registers as well. A platform that maps whole pages
/// hands out the page it has already.
///
/// A region stays reachable until its last clone is gone. A platform that never unmaps is fine.
pub trait MmioMap {
    /// A mapped region. A clone reaches the same registers; each queue of a device keeps one.
    type Region: Mmio + Clone + Send;

    /// Maps `len_bytes` of registers at `start`.
    ///
    /// # Errors
    ///
    /// [`MapError`]; nothing is mapped.
    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<Self::Region, MapError>;

    /// The `len_bytes` I/O ports from `first` on, as a region: an access is one of the same width,
    /// and what a region promises of order holds.
    ///
    /// **Platform authors** that have ports add them with [`WithPorts`](crate::port::WithPorts).
    /// Where there are none this stays as it is.
    ///
    /// # Errors
    ///
    /// [`MapError`]: there are no ports, or not those.
    fn map_ports(&self, first: u16, len_bytes: usize) -> Result<Self::Region, MapError> {
        Err(MapError::new(PhysAddr::new(first.into()), len_bytes, MapErrorReason::NoPorts))
    }

    /// Takes a region back that [`map`](Self::map) or [`map_ports`](Self::map_ports) gave.
    ///
    /// **Driver authors** call it once for each `map`, with whichever clone is left, when the
    /// device is released.
    ///
    /// **Platform authors** whose mappings cost nothing to keep leave it as it is: it drops the
    /// handle. Who unmaps here, counts clones (an `Arc` in the region does) and unmaps when this is
    /// the last, for nothing but good manners keeps a caller from having another, and an access
    /// through it must not reach what lies there next.
    fn unmap(&self, region: Self::Region) {
        drop(region);
    }
}

impl<M: MmioMap + ?Sized> MmioMap for &M {
    type Region = M::Region;
    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<Self::Region, MapError> {
        (**self).map(start, len_bytes)
    }
    fn map_ports(&self, first: u16, len_bytes: usize) -> Result<Self::Region, MapError> {
        (**self).map_ports(first, len_bytes)
    }
    fn unmap(&self, region: M::Region) {
        (**self).unmap(region);
    }
}

/// A region could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapError {
    /// Where it starts.
    pub start: PhysAddr,
    /// How long it is.
    pub len_bytes: usize,
    /// Why not.
    pub reason: MapErrorReason,
}

/// Why a region could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapErrorReason {
    /// No memory for page tables, or no address space left.
    OutOfMemory,
    /// The range is empty, wraps around, or lies beyond the CPU's physical address width.
    OutOfRange,
    /// It does not start at a multiple of the widest access.
    Misaligned,
    /// There is nothing, or something that is not registers, at that place.
    NotRegisters,
    /// The platform has no I/O ports, or does not give them to drivers.
    NoPorts,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            MapErrorReason::OutOfMemory => "no memory or address space left",
            MapErrorReason::OutOfRange => "the range is empty or beyond the CPU's reach",
            MapErrorReason::Misaligned => "registers do not start there",
            MapErrorReason::NotRegisters => "no registers there",
            MapErrorReason::NoPorts => "they are I/O ports, which this platform does not give to drivers",
        };
        write!(f, "cannot map {} bytes of registers at {:#x}: {why}", self.len_bytes, self.start.get())
    }
}

impl core::error::Error for MapError {}

impl MapError {
    /// An error about `len_bytes` at `start`.
    #[must_use]
    pub const fn new(start: PhysAddr, len_bytes: usize, reason: MapErrorReason) -> Self {
        Self { start, len_bytes, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Sixteen bytes of RAM that play registers, all ones outside.
    struct Ram(Mutex<[u8; 16]>);

    impl Ram {
        fn get<const N: usize>(&self, at: usize) -> [u8; N] {
            let ram = self.0.lock().unwrap();
            at.checked_add(N)
                .and_then(|end| ram.get(at..end))
                .map_or([0xff; N], |bytes| bytes.try_into().unwrap())
        }
        fn put(&self, at: usize, bytes: &[u8]) {
            let mut ram = self.0.lock().unwrap();
            if let Some(place) = at.checked_add(bytes.len()).and_then(|end| ram.get_mut(at..end)) {
                place.copy_from_slice(bytes);
            }
        }
    }

    impl Mmio for Ram {
        fn len_bytes(&self) -> usize {
            16
        }
        fn read8(&self, at: usize) -> u8 {
            u8::from_le_bytes(self.get(at))
        }
        fn read16(&self, at: usize) -> u16 {
            u16::from_le_bytes(self.get(at))
        }
        fn read32(&self, at: usize) -> u32 {
            u32::from_le_bytes(self.get(at))
        }
        fn write8(&self, at: usize, value: u8) {
            self.put(at, &value.to_le_bytes());
        }
        fn write16(&self, at: usize, value: u16) {
            self.put(at, &value.to_le_bytes());
        }
        fn write32(&self, at: usize, value: u32) {
            self.put(at, &value.to_le_bytes());
        }
    }

    #[test]
    fn a_window_has_bounds_of_its_own() {
        let window = Window::new(Ram(Mutex::new([0; 16])), 4, 8).ok().unwrap();
        window.write32(0, 0x1122_3344);
        window.write32(6, 0xdead_beef);
        assert_eq!(window.read32(0), 0x1122_3344);
        assert_eq!(window.read32(4), 0, "a write that leaves the window goes nowhere");
        assert_eq!(window.read32(6), u32::MAX, "a read that leaves it finds nobody");
        assert_eq!(window.read8(usize::MAX), u8::MAX);
        assert_eq!(window.region.read32(4), 0x1122_3344);
    }

    #[test]
    fn a_window_lies_inside_its_region() {
        assert!(Window::new(Ram(Mutex::new([0; 16])), 12, 8).is_err());
        assert!(Window::new(Ram(Mutex::new([0; 16])), usize::MAX, 2).is_err());
    }

    #[test]
    fn halves_go_low_first() {
        let ram = Ram(Mutex::new([0; 16]));
        ram.write64_halves(8, 0x0102_0304_0506_0708);
        assert_eq!(ram.read64_halves(8), 0x0102_0304_0506_0708);
        assert_eq!(ram.read32(8), 0x0506_0708);
    }

    #[test]
    fn typed_registers_use_their_width() {
        const SMALL: Reg<u8> = Reg::at(3);
        let ram = Ram(Mutex::new([0; 16]));
        ram.write(&SMALL, 0xab);
        assert_eq!(ram.read32(0), 0xab00_0000);
        assert_eq!(ram.read(&SMALL), 0xab);
    }
}
