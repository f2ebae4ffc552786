//! The published `virtio-drivers` crate on [`device::virtio`](crate::device::virtio).
//!
//! It is driven by `read_blocks_nb` and `complete_read_blocks`, for its other calls wait for the
//! device. Its queue has 16 descriptors, of which a request takes three. Buffers, headers and
//! statuses are reused through a free list as plain as can be.

#![expect(unsafe_code, reason = "the crate's non-blocking calls are unsafe")]

use anyhow::{Result, anyhow};
use virtio_drivers::device::blk::{BlkReq, BlkResp, VirtIOBlk};

use super::{BUFFERS, MAX_BYTES, Place, Point, Subject};
use crate::device::virtio::{BLK, Port};
use crate::subject::{Direct, Identity};

const DESCRIPTORS: usize = 16;
/// How many reads it can have on their way.
pub const MAX_DEPTH: usize = DESCRIPTORS / 3;

/// A buffer of a slab, as far apart and as aligned as those of the other's pool.
#[derive(Clone)]
#[repr(C, align(4096))]
struct Bytes([u8; MAX_BYTES]);

/// What a read needs.
struct Slot {
    bytes: &'static mut Bytes,
    request: BlkReq,
    status: BlkResp,
}

/// The driver, running.
pub struct VirtioDrivers {
    port: &'static Port,
    disk: VirtIOBlk<Identity, Direct>,
    /// The pool.
    free: Vec<&'static mut Slot>,
    /// What the device has, by token, and how long it is.
    reading: [Option<(&'static mut Slot, usize)>; DESCRIPTORS],
    place: Place,
    done: u64,
}

impl VirtioDrivers {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let (port, transport) = Direct::new(&BLK);
        let mut disk =
            VirtIOBlk::new(transport).map_err(|error| anyhow!("virtio-drivers does not start: {error}"))?;
        disk.disable_interrupts();
        let slab = vec![Bytes([0; MAX_BYTES]); BUFFERS as usize].leak();
        let slots = slab.iter_mut().map(|bytes| Slot {
            bytes,
            request: BlkReq::default(),
            status: BlkResp::default(),
        });
        let free = slots.collect::<Vec<_>>().leak().iter_mut().collect();
        Ok(Self { port, disk, free, reading: Default::default(), place: Place(0), done: 0 })
    }
}

impl Subject for VirtioDrivers {
    fn submit(&mut self, point: Point) {
        for _ in 0..point.depth {
            let Some(slot) = self.free.pop() else { return };
            let Ok(sector) = usize::try_from(self.place.next(point.bytes)) else { return };
            let Slot { bytes, request, status } = slot;
            // SAFETY: the slot is kept, untouched, under its token until `complete_read_blocks`.
            let token =
                unsafe { self.disk.read_blocks_nb(sector, request, &mut bytes.0[..point.bytes], status) };
            match token {
                Ok(token) => self.reading[usize::from(token)] = Some((slot, point.bytes)),
                Err(_) => return,
            }
        }
    }

    fn device(&mut self) {
        self.port.device().read_blocks();
    }

    fn complete(&mut self) {
        while let Some(token) = self.disk.peek_used() {
            let Some((slot, bytes)) = self.reading[usize::from(token)].take() else { return };
            let Slot { bytes: buffer, request, status } = slot;
            // SAFETY: what this token was given for.
            let read =
                unsafe { self.disk.complete_read_blocks(token, request, &mut buffer.0[..bytes], status) };
            self.done += u64::from(read.is_ok());
            self.free.push(slot);
        }
    }

    fn done(&self) -> u64 {
        self.done
    }
}
