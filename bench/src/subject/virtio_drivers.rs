//! The published `virtio-drivers` crate on [`device::virtio`](crate::device::virtio).
//!
//! It is driven through `VirtIONetRaw`, the leaner of its two interfaces: several requests in
//! flight, no allocation, and buffers that are reused through a free list as plain as can be. Its
//! HAL maps nothing and copies nothing.

#![expect(unsafe_code, reason = "the crate's non-blocking calls are unsafe")]

use anyhow::{Result, anyhow};
use virtio_drivers::device::net::VirtIONetRaw;

use super::identity::{Direct, Identity};
use super::{BUFFERS, Point, Subject};
use crate::device::virtio::{ENTRIES, HEADER_BYTES, NET, Port};

/// As long as the drivers under comparison have them.
const BUFFER_BYTES: usize = 2048;
const QUEUE_ENTRIES: usize = ENTRIES as usize;

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
        let (port, transport) = Direct::new(&NET);
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
