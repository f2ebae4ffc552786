//! A machine with one device, whose memory is rust-vmm's.

#![expect(unsafe_code, reason = "it is the platform: it hands out memory")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use paravane_hal::addr::{DmaAddr, PhysAddr};
use paravane_hal::dma::{
    Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag,
};
use paravane_hal::mmio::{MapError, MapErrorReason, Mmio, MmioDevice, MmioMap};
use paravane_hal::time::{Clock, Instant};
use paravane_virtio::transport::mmio::{MmioTransport, REGISTERS_BYTES, RESET_AT_BYTES};
use vm_memory::{GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap};

use crate::registers::{Class, Device};

/// Guest memory, as devices hold it.
pub type Memory = Arc<GuestMemoryMmap>;

/// A rule of the specification that the driver broke, in a line.
pub type Broken = String;

/// Where memory starts: beyond 4 GiB, so that a lost upper half of an address shows.
const MEMORY_START: u64 = 0x12_3400_0000;
/// How much there is. What was freed is not handed out again.
const MEMORY_BYTES: usize = 32 << 20;
/// Where the device's registers are.
const REGISTERS_START: PhysAddr = PhysAddr::new(0xfeb0_0000);

/// A machine with a device of class `C`. A clone is the same one.
pub struct Machine<C>(Arc<Shared<C>>);

struct Shared<C> {
    memory: Memory,
    domain: DomainTag,
    /// Address of the next piece to be handed out.
    next: AtomicU64,
    /// How much is out.
    out_bytes: AtomicUsize,
    config_bytes: usize,
    device: Mutex<Device<C>>,
}

impl<C> Clone for Machine<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Class> Machine<C> {
    /// A machine with a device of `class`.
    ///
    /// # Panics
    ///
    /// Without memory for a guest.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without memory is over")]
    pub fn new(class: C) -> Self {
        let range = (GuestAddress(MEMORY_START), MEMORY_BYTES);
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[range]).expect("memory for a guest"));
        Self(Arc::new(Shared {
            domain: DomainTag::unique(),
            next: AtomicU64::new(MEMORY_START),
            out_bytes: AtomicUsize::new(0),
            config_bytes: class.config().len(),
            device: Mutex::new(Device::new(class, memory.clone())),
            memory,
        }))
    }

    /// The device.
    pub fn device(&self) -> MutexGuard<'_, Device<C>> {
        self.0.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much memory is handed out.
    #[must_use]
    pub fn out_bytes(&self) -> usize {
        self.0.out_bytes.load(SeqCst)
    }

    /// The device, claimed. To be asked for once: the device is given back by its driver.
    ///
    /// # Panics
    ///
    /// If the transport does not take the registers.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a test whose device is not found is over")]
    pub fn claim(&self) -> MmioTransport<Registers<C>> {
        let len_bytes = REGISTERS_BYTES + self.0.config_bytes;
        // SAFETY: the only device there, claimed once by what this function says. It reaches memory
        // in turns that `Device` takes under a lock, which a write of its status takes as well, and
        // after a reset its rings are gone until the status says otherwise.
        let device = unsafe { MmioDevice::claim(self, REGISTERS_START, len_bytes, RESET_AT_BYTES) };
        MmioTransport::open(device.unwrap()).map_err(paravane_hal::Failed::into_error).unwrap()
    }
}

/// The registers of the device.
pub struct Registers<C> {
    machine: Machine<C>,
    len_bytes: usize,
}

impl<C> Clone for Registers<C> {
    fn clone(&self) -> Self {
        Self { machine: self.machine.clone(), len_bytes: self.len_bytes }
    }
}

impl<C: Class> Registers<C> {
    fn read<const N: usize>(&self, offset_bytes: usize) -> [u8; N] {
        if !offset_bytes.is_multiple_of(N) || offset_bytes.saturating_add(N) > self.len_bytes {
            return [0xff; N];
        }
        let mut bytes = [0; N];
        self.machine.device().read(offset_bytes, &mut bytes);
        bytes
    }

    fn write(&self, offset_bytes: usize, bytes: &[u8]) {
        if offset_bytes.is_multiple_of(bytes.len())
            && offset_bytes.saturating_add(bytes.len()) <= self.len_bytes
        {
            self.machine.device().write(offset_bytes, bytes);
        }
    }
}

impl<C: Class> Mmio for Registers<C> {
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }
    fn read8(&self, offset_bytes: usize) -> u8 {
        u8::from_le_bytes(self.read(offset_bytes))
    }
    fn read16(&self, offset_bytes: usize) -> u16 {
        u16::from_le_bytes(self.read(offset_bytes))
    }
    fn read32(&self, offset_bytes: usize) -> u32 {
        u32::from_le_bytes(self.read(offset_bytes))
    }
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.write(offset_bytes, &value.to_le_bytes());
    }
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.write(offset_bytes, &value.to_le_bytes());
    }
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.write(offset_bytes, &value.to_le_bytes());
    }
}

impl<C: Class> MmioMap for Machine<C> {
    type Region = Registers<C>;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<Registers<C>, MapError> {
        if start != REGISTERS_START {
            return Err(MapError::new(start, len_bytes, MapErrorReason::NotRegisters));
        }
        Ok(Registers { machine: self.clone(), len_bytes })
    }
}

impl<C: Class> Clock for Machine<C> {
    fn now(&self) -> Instant {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        let nanos = START.get_or_init(std::time::Instant::now).elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn relax(&self) {
        std::thread::yield_now();
    }
}

// SAFETY:
// - `alloc` hands out pieces of one mapping, which lives as long as any clone: zero at first, none
//   of them twice, aligned in the guest as asked and on the CPU's side up to a page.
// - The device reaches memory by `vm-memory`, which finds the same bytes at the guest's address.
// - Each machine is a domain of its own; a clone shares memory and tag.
unsafe impl<C: Class> Dma for Machine<C> {
    fn limits(&self) -> DmaLimits {
        DmaLimits::NONE
    }

    fn domain(&self) -> DomainTag {
        self.0.domain
    }

    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        const PAGE_BYTES: usize = 4096;
        let len_bytes = request.len_bytes.get();
        let fails = DmaError::new(len_bytes, DmaErrorReason::OutOfMemory);
        if request.align.bytes() > PAGE_BYTES {
            return Err(DmaError::new(len_bytes, DmaErrorReason::Alignment { align: request.align }));
        }
        let end = MEMORY_START + MEMORY_BYTES as u64;
        let align_bytes = request.align.bytes() as u64;
        // A cache line between neighbours.
        let past = |start: u64| Some(start.checked_add(len_bytes as u64)?.next_multiple_of(64) + 64);
        let start = self
            .0
            .next
            .fetch_update(SeqCst, SeqCst, |next| {
                past(next.next_multiple_of(align_bytes)).filter(|past| *past <= end)
            })
            .map_err(|_| fails)?
            .next_multiple_of(align_bytes);
        let cpu = self.0.memory.get_host_address(GuestAddress(start)).map_err(|_| fails)?;
        // SAFETY: what the device reaches at `start` is what the CPU reaches at `cpu`.
        let dma = unsafe { DmaAddr::from_platform(start) };
        let region = DmaRegion::new(NonNull::new(cpu).ok_or(fails)?, dma, request.len_bytes);
        request.check(&region)?;
        self.0.out_bytes.fetch_add(len_bytes, SeqCst);
        Ok(region)
    }

    unsafe fn free(&self, region: DmaRegion) {
        self.0.out_bytes.fetch_sub(region.len_bytes().get(), SeqCst);
    }

    unsafe fn map(&self, memory: NonNull<[u8]>, _direction: Direction) -> Result<DmaMapping, DmaError> {
        Err(DmaError::new(memory.len(), DmaErrorReason::Unmappable))
    }

    unsafe fn unmap(&self, _mapping: DmaMapping) {}
}
