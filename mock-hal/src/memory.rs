//! DMA memory from the heap, and the device's way into it.

#![expect(unsafe_code, reason = "raw memory from the global allocator, reached from two sides")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{
    Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest,
};

/// Where device addresses start when the device drives enough address bits: beyond 4 GiB, and unlike any CPU address.
const HIGH_START: u64 = 0x12_3400_0000;
/// Where they start for narrower devices.
const LOW_START: u64 = 0x4000_0000;
/// Unmapped space between regions.
const GUARD_BYTES: u64 = 4096;

/// The memory of one DMA domain. A clone reaches the same domain.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Domain>>);

#[derive(Debug, Default)]
struct Domain {
    /// By device address of the first byte.
    pieces: BTreeMap<u64, Piece>,
    high_used: u64,
    low_used: u64,
    faults: Vec<AccessFault>,
    /// Allocations from this one on fail.
    allocations_left: Option<usize>,
    max_segment_bytes: Option<usize>,
}

/// Something the device can reach.
#[derive(Clone, Copy, Debug)]
struct Piece {
    cpu: NonNull<u8>,
    len_bytes: usize,
    kind: Kind,
}

// SAFETY: a piece is a place, and only this module, under the domain's lock, follows it.
unsafe impl Send for Piece {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Coherent { align_bytes: usize },
    Mapped(Direction),
}

/// A device access that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessFault {
    /// The device address.
    pub addr: u64,
    /// How many bytes were asked for.
    pub len_bytes: usize,
    /// Why it was refused.
    pub kind: FaultKind,
}

/// Why a device access was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is there: never given out, or given back already.
    Unmapped,
    /// It starts inside a region and runs past its end.
    Overrun,
    /// A write to memory that is mapped for reading, or the reverse.
    Direction,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Domain> {
        // The domain is consistent after each statement; a test that panicked elsewhere does not change that.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many coherent regions are out.
    #[must_use]
    pub fn regions(&self) -> usize {
        self.lock().pieces.values().filter(|piece| matches!(piece.kind, Kind::Coherent { .. })).count()
    }

    /// How many mappings are out.
    #[must_use]
    pub fn mappings(&self) -> usize {
        self.lock().pieces.values().filter(|piece| matches!(piece.kind, Kind::Mapped(_))).count()
    }

    /// How many bytes are in use, coherent and mapped together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().pieces.values().map(|piece| piece.len_bytes).sum()
    }

    /// What devices did that they must not do.
    #[must_use]
    pub fn faults(&self) -> Vec<AccessFault> {
        self.lock().faults.clone()
    }

    /// Lets the next `count` allocations and mappings succeed and all later ones fail; `None` lifts the limit.
    pub fn limit_allocations(&self, count: Option<usize>) {
        self.lock().allocations_left = count;
    }

    /// Limits the longest contiguous piece.
    pub fn limit_segment(&self, max_segment_bytes: usize) {
        self.lock().max_segment_bytes = Some(max_segment_bytes);
    }

    /// The device reads `to.len()` bytes at `addr`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`], which is also written down; `to` is untouched.
    pub fn device_read(&self, addr: u64, to: &mut [u8]) -> Result<(), AccessFault> {
        let mut domain = self.lock();
        let from = domain.reach(addr, to.len(), Direction::ToDevice)?;
        for (at, byte) in to.iter_mut().enumerate() {
            // SAFETY: `reach` checked that all of it lies in a piece that is still given out.
            *byte = unsafe { from.as_ptr().wrapping_add(at).read_volatile() };
        }
        Ok(())
    }

    /// The device writes `bytes` at `addr`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`], which is also written down; nothing is written.
    pub fn device_write(&self, addr: u64, bytes: &[u8]) -> Result<(), AccessFault> {
        let mut domain = self.lock();
        let to = domain.reach(addr, bytes.len(), Direction::FromDevice)?;
        for (at, byte) in bytes.iter().enumerate() {
            // SAFETY: as in `device_read`.
            unsafe { to.as_ptr().wrapping_add(at).write_volatile(*byte) };
        }
        Ok(())
    }

    /// The device reads `N` bytes.
    ///
    /// # Errors
    ///
    /// As [`device_read`](Self::device_read).
    pub fn device_get<const N: usize>(&self, addr: u64) -> Result<[u8; N], AccessFault> {
        let mut bytes = [0; N];
        self.device_read(addr, &mut bytes)?;
        Ok(bytes)
    }
}

impl Domain {
    /// Where the CPU finds what the device calls `addr`, for all of `len_bytes`.
    fn reach(&mut self, addr: u64, len_bytes: usize, access: Direction) -> Result<NonNull<u8>, AccessFault> {
        self.find(addr, len_bytes, access).map_err(|kind| {
            let fault = AccessFault { addr, len_bytes, kind };
            self.faults.push(fault);
            fault
        })
    }

    fn find(&self, addr: u64, len_bytes: usize, access: Direction) -> Result<NonNull<u8>, FaultKind> {
        let (start, piece) = self.pieces.range(..=addr).next_back().ok_or(FaultKind::Unmapped)?;
        let offset = usize::try_from(addr - start).map_err(|_| FaultKind::Unmapped)?;
        if offset >= piece.len_bytes {
            return Err(FaultKind::Unmapped);
        }
        if len_bytes > piece.len_bytes - offset {
            return Err(FaultKind::Overrun);
        }
        match piece.kind {
            Kind::Mapped(direction) if direction != Direction::Both && direction != access => {
                Err(FaultKind::Direction)
            }
            // SAFETY: `offset` lies inside the piece.
            _ => Ok(unsafe { piece.cpu.add(offset) }),
        }
    }

    /// Finds a device address for `len_bytes`.
    fn place(&mut self, len_bytes: usize, align_bytes: usize, address_bits: u8) -> u64 {
        let (used, start) = if address_bits >= 40 {
            (&mut self.high_used, HIGH_START)
        } else {
            (&mut self.low_used, LOW_START)
        };
        let addr = (start + *used).next_multiple_of(align_bytes.max(1) as u64);
        *used = (addr - start + len_bytes as u64 + GUARD_BYTES).next_multiple_of(GUARD_BYTES);
        addr
    }

    fn admit(&mut self, len_bytes: usize) -> Result<(), DmaError> {
        match &mut self.allocations_left {
            Some(0) => Err(DmaError::new(len_bytes, DmaErrorReason::OutOfMemory)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

// SAFETY:
// - `alloc`: the global allocator gives unique, zeroed memory of the layout asked for. The device reaches it through `Memory` alone, under
//   the device address given out, in full; both sides work on the same bytes.
// - `map`: the device reaches the memory itself, so there is nothing to copy either way.
unsafe impl Dma for Memory {
    fn limits(&self) -> DmaLimits {
        let max_segment_bytes = self.lock().max_segment_bytes.unwrap_or(usize::MAX);
        DmaLimits { max_segment_bytes, ..DmaLimits::NONE }
    }

    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let mut domain = self.lock();
        let len = request.len_bytes.get();
        domain.admit(len)?;
        if let Some(max_segment_bytes) = domain.max_segment_bytes.filter(|max| len > *max) {
            return Err(DmaError::new(len, DmaErrorReason::TooLong { max_segment_bytes }));
        }
        let align_bytes = request.align.bytes();
        let layout = Layout::from_size_align(len, align_bytes)
            .map_err(|_| DmaError::new(len, DmaErrorReason::BadLength))?;
        // SAFETY: the length is not zero.
        let cpu = NonNull::new(unsafe { alloc_zeroed(layout) })
            .ok_or(DmaError::new(len, DmaErrorReason::OutOfMemory))?;
        let addr = domain.place(len, align_bytes, request.address_bits);
        domain.pieces.insert(addr, Piece { cpu, len_bytes: len, kind: Kind::Coherent { align_bytes } });
        // SAFETY: the device reaches `cpu` under this address from the line above on.
        let dma = unsafe { DmaAddr::from_platform(addr) };
        Ok(DmaRegion::new(cpu, dma, request.len_bytes))
    }

    unsafe fn free(&self, region: DmaRegion) {
        let removed = self.lock().pieces.remove(&region.dma().get());
        let Some(Piece { cpu, len_bytes, kind: Kind::Coherent { align_bytes } }) = removed else {
            unreachable!("a region is freed once, on the domain that it came from");
        };
        if let Ok(layout) = Layout::from_size_align(len_bytes, align_bytes) {
            // SAFETY: `alloc` allocated it with this layout; it has just been taken off the map, and the caller gives it up.
            unsafe { dealloc(cpu.as_ptr(), layout) };
        }
    }

    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        let mut domain = self.lock();
        domain.admit(memory.len())?;
        let addr = domain.place(memory.len(), 64, 64);
        let piece = Piece { cpu: memory.cast(), len_bytes: memory.len(), kind: Kind::Mapped(direction) };
        domain.pieces.insert(addr, piece);
        // SAFETY: as in `alloc`.
        let dma = unsafe { DmaAddr::from_platform(addr) };
        Ok(DmaMapping::new(memory, dma, direction))
    }

    unsafe fn unmap(&self, mapping: DmaMapping) {
        self.lock().pieces.remove(&mapping.dma().get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_hal::addr::Align;
    use paravane_hal::dma::{DeviceDma, DeviceTag, DmaBox, Mapped, Quiet};

    fn device(memory: &Memory) -> DeviceDma<Memory> {
        DeviceDma::new(memory.clone(), DeviceTag::unique(), 64)
    }

    #[test]
    fn both_sides_see_the_same_bytes() {
        let memory = Memory::default();
        let mut shared = DmaBox::<[u8; 8], _>::zeroed(&device(&memory), Align::new(512)).unwrap();
        let addr = shared.dma_addr().get();
        assert!(addr > u64::from(u32::MAX), "the upper half of an address is in use");
        shared.write(b"to it...");
        assert_eq!(memory.device_get(addr), Ok(*b"to it..."));
        memory.device_write(addr + 4, b"back").unwrap();
        assert_eq!(&shared.read(), b"to iback");
    }

    #[test]
    fn an_access_past_the_end_is_refused_and_written_down() {
        let memory = Memory::default();
        let shared = DmaBox::<[u8; 8], _>::zeroed(&device(&memory), Align::BYTE).unwrap();
        let addr = shared.dma_addr().get();
        let overrun = AccessFault { addr: addr + 4, len_bytes: 8, kind: FaultKind::Overrun };
        assert_eq!(memory.device_get::<8>(addr + 4), Err(overrun));
        let beyond = AccessFault { addr: addr + 8, len_bytes: 1, kind: FaultKind::Unmapped };
        assert_eq!(memory.device_write(addr + 8, &[0]), Err(beyond));
        assert_eq!(memory.faults(), [overrun, beyond]);
    }

    #[test]
    fn freed_memory_is_out_of_reach() {
        let memory = Memory::default();
        let of = device(&memory);
        let shared = DmaBox::<u64, _>::zeroed(&of, Align::BYTE).unwrap();
        let addr = shared.dma_addr().get();
        assert_eq!((memory.regions(), memory.bytes()), (1, 8));
        // SAFETY: no device runs in this test.
        let quiet = unsafe { Quiet::vouch(of.device()) };
        assert!(shared.free(&quiet).is_ok());
        assert_eq!((memory.regions(), memory.bytes()), (0, 0));
        assert_eq!(memory.device_get::<1>(addr).unwrap_err().kind, FaultKind::Unmapped);
    }

    #[test]
    fn a_mapping_has_a_direction() {
        let memory = Memory::default();
        let sent = Mapped::new(&device(&memory), vec![1_u8, 2, 3], Direction::ToDevice).ok().unwrap();
        assert_eq!(memory.device_get(sent.dma_addr().get()), Ok([1, 2, 3]));
        let refused = memory.device_write(sent.dma_addr().get(), &[9]).unwrap_err();
        assert_eq!(refused.kind, FaultKind::Direction);
        assert_eq!(memory.mappings(), 1);
    }

    #[test]
    fn allocations_fail_when_told() {
        let memory = Memory::default();
        memory.limit_allocations(Some(1));
        assert!(DmaBox::<u64, _>::zeroed(&device(&memory), Align::BYTE).is_ok());
        assert!(DmaBox::<u64, _>::zeroed(&device(&memory), Align::BYTE).is_err());
    }

    #[test]
    fn narrow_devices_get_narrow_addresses() {
        let memory = Memory::default();
        let of = DeviceDma::new(memory, DeviceTag::unique(), 32);
        let shared = DmaBox::<u64, _>::zeroed(&of, Align::PAGE).unwrap();
        assert_eq!(shared.dma_addr().high(), 0);
    }
}
