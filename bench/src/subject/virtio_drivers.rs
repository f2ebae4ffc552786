//! The published `virtio-drivers` crate on [`device::virtio`](crate::device::virtio).
//!
//! It is driven through `VirtIONetRaw`, the leaner of its two interfaces: several requests in
//! flight, no allocation, and buffers that are reused through a free list as plain as can be. Its
//! HAL maps nothing and copies nothing.

#![expect(
    unsafe_code,
    reason = "the crate's HAL and its non-blocking calls are unsafe to implement and to call"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Result, anyhow};
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Error, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{BUFFERS, Point, Subject};
use crate::device::virtio::{CONFIG, ENTRIES, FEATURES, HEADER_BYTES, Port, Queue};

/// As long as the drivers under comparison have them.
const BUFFER_BYTES: usize = 2048;
const QUEUE_ENTRIES: usize = ENTRIES as usize;

/// Memory as it is.
struct Identity;

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
struct Direct {
    port: &'static Port,
    status: DeviceStatus,
    doorbells: &'static [AtomicU32; 2],
}

impl Transport for Direct {
    fn device_type(&self) -> DeviceType {
        DeviceType::Network
    }
    fn read_device_features(&mut self) -> u64 {
        FEATURES
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
        let bytes = CONFIG.get(offset..offset + size_of::<T>()).ok_or(Error::ConfigSpaceTooSmall)?;
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

/// A buffer of a slab, as far apart and as aligned as those of the others' pool, so that neither
/// has the luckier cache lines.
#[derive(Clone)]
#[repr(C, align(2048))]
struct Place([u8; BUFFER_BYTES]);

const _: () = assert!(size_of::<Place>() == BUFFER_BYTES);

type Buffer = &'static mut Place;

/// The driver, running.
pub struct VirtioDrivers {
    port: &'static Port,
    net: VirtIONetRaw<Identity, Direct, QUEUE_ENTRIES>,
    /// The pool.
    free: Vec<Buffer>,
    /// What the device has, by token, and how long it is.
    sending: Vec<Option<(Buffer, usize)>>,
    receiving: Vec<Option<Buffer>>,
    /// What was handed up.
    burst: Vec<(Buffer, usize)>,
    received: u64,
}

impl VirtioDrivers {
    /// Starts it, with the receive queue full.
    pub fn start() -> Result<Self> {
        let port: &'static Port = Box::leak(Box::default());
        let doorbells = Box::leak(Box::default());
        let transport = Direct { port, status: DeviceStatus::empty(), doorbells };
        let mut net = VirtIONetRaw::new(transport)
            .map_err(|error| anyhow!("virtio-drivers does not start: {error}"))?;
        net.disable_interrupts();
        let slab = vec![Place([0; BUFFER_BYTES]); BUFFERS as usize].leak();
        let mut free: Vec<Buffer> = slab.iter_mut().collect();
        let mut receiving: Vec<Option<Buffer>> = (0..QUEUE_ENTRIES).map(|_| None).collect();
        while let Some(buffer) = free.pop() {
            // SAFETY: the buffer is kept, untouched, under its token until `receive_complete`.
            match unsafe { net.receive_begin(&mut buffer.0) } {
                Ok(token) => receiving[usize::from(token)] = Some(buffer),
                Err(_) => {
                    free.push(buffer);
                    break;
                }
            }
        }
        let sending = (0..QUEUE_ENTRIES).map(|_| None).collect();
        Ok(Self {
            port,
            net,
            free,
            sending,
            receiving,
            burst: Vec::with_capacity(QUEUE_ENTRIES),
            received: 0,
        })
    }
}

impl Subject for VirtioDrivers {
    fn send(&mut self, point: &Point) {
        for _ in 0..point.burst {
            let Some(buffer) = self.free.pop() else { return };
            let end = HEADER_BYTES + point.bytes;
            let _ = self.net.fill_buffer_header(&mut buffer.0);
            // SAFETY: the buffer is kept, untouched, under its token until `transmit_complete`.
            if let Ok(token) = unsafe { self.net.transmit_begin(&buffer.0[..end]) } {
                self.sending[usize::from(token)] = Some((buffer, end));
            }
        }
    }

    fn device_sends(&mut self, point: Point) {
        self.port.device().transmit(point.kind);
    }

    fn reclaim(&mut self) {
        while let Some(token) = self.net.poll_transmit() {
            let Some((buffer, end)) = self.sending[usize::from(token)].take() else { return };
            // SAFETY: the buffer that this token was given for.
            if unsafe { self.net.transmit_complete(token, &buffer.0[..end]) }.is_err() {
                return;
            }
            self.free.push(buffer);
        }
    }

    fn device_receives(&mut self, frame: &[u8], point: Point) {
        self.port.device().deliver(frame, point.burst, point.kind);
    }

    fn receive(&mut self) {
        while let Some(token) = self.net.poll_receive() {
            let Some(buffer) = self.receiving[usize::from(token)].take() else { return };
            // SAFETY: the buffer that this token was given for.
            let Ok((_, bytes)) = (unsafe { self.net.receive_complete(token, &mut buffer.0) }) else {
                return;
            };
            self.burst.push((buffer, bytes));
            self.received += 1;
            let Some(fresh) = self.free.pop() else { return };
            // SAFETY: the buffer is kept, untouched, under its token until `receive_complete`.
            if let Ok(token) = unsafe { self.net.receive_begin(&mut fresh.0) } {
                self.receiving[usize::from(token)] = Some(fresh);
            }
        }
        self.free.extend(self.burst.drain(..).map(|(buffer, _)| buffer));
    }

    fn moved(&self) -> (u64, u64) {
        (self.port.device().sent, self.received)
    }
}
