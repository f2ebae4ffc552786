//! What the `virtio-drivers` crate needs of its platform: memory as it is, and the device without
//! registers.

#![expect(unsafe_code, reason = "the crate's HAL is unsafe to implement")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Error, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::device::virtio::{BLK, Class, ENTRIES, Port, Queue};

/// Memory as it is.
pub struct Identity;

fn pages_layout(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).ok()
}

// SAFETY: `dma_alloc` hands out zeroed, page-aligned memory of the system's allocator, used by
// nobody else; the device reaches it at its own address.
unsafe impl Hal for Identity {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: never asked for zero pages.
        let memory = pages_layout(pages).and_then(|layout| NonNull::new(unsafe { alloc_zeroed(layout) }));
        // Address zero tells the driver that there is none.
        memory.map_or((0, NonNull::dangling()), |memory| (memory.as_ptr().expose_provenance() as u64, memory))
    }

    unsafe fn dma_dealloc(_paddr: PhysAddr, vaddr: NonNull<u8>, pages: usize) -> i32 {
        if let Some(layout) = pages_layout(pages) {
            // SAFETY: from `dma_alloc` with as many pages, by the caller.
            unsafe { dealloc(vaddr.as_ptr(), layout) };
        }
        0
    }

    unsafe fn mmio_phys_to_virt(_paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        // Registers are not memory here; the transport below never asks.
        NonNull::dangling()
    }

    #[inline(always)]
    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as u64
    }

    #[inline(always)]
    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

/// Its transport: the device itself, and a doorbell that is one store, as for the others.
pub struct Direct {
    port: &'static Port,
    status: DeviceStatus,
    doorbells: &'static [AtomicU32; 2],
}

impl Direct {
    /// To a new device of `class`, with split queues.
    pub fn new(class: &'static Class) -> (&'static Port, Self) {
        let port: &'static Port = Box::leak(Box::new(Port::new(class, false)));
        (port, Self { port, status: DeviceStatus::empty(), doorbells: Box::leak(Box::default()) })
    }
}

impl Transport for Direct {
    fn device_type(&self) -> DeviceType {
        if self.port.class().id == BLK.id { DeviceType::Block } else { DeviceType::Network }
    }
    fn read_device_features(&mut self) -> u64 {
        self.port.class().features
    }
    fn write_driver_features(&mut self, _driver_features: u64) {}
    fn max_queue_size(&mut self, _queue: u16) -> u32 {
        ENTRIES.into()
    }
    #[inline(always)]
    fn notify(&mut self, queue: u16) {
        if let Some(place) = self.doorbells.get(usize::from(queue)) {
            place.store(queue.into(), Relaxed);
        }
    }
    fn get_status(&self) -> DeviceStatus {
        self.status
    }
    fn set_status(&mut self, status: DeviceStatus) {
        self.status = status;
    }
    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        false
    }
    fn queue_set(&mut self, queue: u16, size: u32, descriptors: PhysAddr, avail: PhysAddr, used: PhysAddr) {
        let entries = u16::try_from(size).unwrap_or(0);
        let at = Queue::new(entries, descriptors, avail, used);
        self.port.device().set_queue(queue.into(), at);
    }
    fn queue_unset(&mut self, queue: u16) {
        self.port.device().set_queue(queue.into(), Queue::default());
    }
    fn queue_used(&mut self, _queue: u16) -> bool {
        false
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }
    fn read_config_generation(&self) -> u32 {
        0
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> virtio_drivers::Result<T> {
        let bytes = self
            .port
            .class()
            .config
            .get(offset..offset + size_of::<T>())
            .ok_or(Error::ConfigSpaceTooSmall)?;
        T::read_from_bytes(bytes).map_err(|_| Error::ConfigSpaceTooSmall)
    }
    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _at: usize,
        _value: T,
    ) -> virtio_drivers::Result<()> {
        Ok(())
    }
}
