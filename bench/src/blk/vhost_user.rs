//! The published `virtio-driver` crate, the one that libblkio is built on, on a disk of
//! `qemu-storage-daemon`.
//!
//! It cannot be put on [`device::virtio`](crate::device::virtio): a transport of one's own has to
//! name addresses of a type that the crate keeps to itself. So it comes with its own, vhost-user,
//! and the device is another process's. That one is waited for between the counted turns, and
//! asked not to notify. A doorbell is a system call, of which callgrind sees the way to the kernel
//! and no more. Buffers are reused through a free list as plain as can be.

#![expect(unsafe_code, reason = "memory is shared with another process, and lent to it by pointers")]

mod daemon;

use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memmap2::{MmapMut, MmapOptions};
use virtio_driver::{QueueNotifier, VhostUser, VirtioBlkQueue, VirtioBlkTransport, VirtioFeatureFlags};

use super::{BUFFERS, MAX_BYTES, Place, Point, SECTOR_BYTES, Subject};
use crate::device::virtio::ENTRIES;
use daemon::{Daemon, SAMPLE, SAMPLE_OFFSET_BYTES};

/// Longest that all of a process's reads may take together; ten times what they do.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Where a read's bytes go, [`MAX_BYTES`] of them.
type Buffer = NonNull<u8>;

/// The driver, running.
pub struct Libblkio {
    queue: VirtioBlkQueue<'static, Buffer>,
    doorbell: Box<dyn QueueNotifier>,
    /// The pool.
    free: Vec<Buffer>,
    place: Place,
    /// Reads that the device has.
    waiting: usize,
    done: u64,
    deadline: Instant,
    // What the queue and the buffers lie in, and who writes there.
    _transport: Box<VirtioBlkTransport>,
    _slab: MmapMut,
    _daemon: Daemon,
}

impl Libblkio {
    /// Starts it, and reads what is known to be on the disk.
    pub fn start() -> Result<Self> {
        let mut daemon = Daemon::start()?;
        // What the other drivers are offered, of rings.
        let features = VirtioFeatureFlags::VERSION_1 | VirtioFeatureFlags::RING_EVENT_IDX;
        let connect = |path: &str| VhostUser::new(path, features.bits());
        let mut transport: Box<VirtioBlkTransport> = Box::new(daemon.connect(connect)?);
        ensure!(
            transport.get_features() & features.bits() == features.bits(),
            "the device has no event index"
        );
        let mut queues = VirtioBlkQueue::setup_queues(&mut *transport, 1, ENTRIES)?;
        let Some(mut queue) = queues.pop() else { bail!("virtio-driver made no queue") };
        queue.set_used_notif_enabled(false);

        let slab_bytes = BUFFERS as usize * MAX_BYTES;
        let file = tempfile::tempfile()?;
        file.set_len(slab_bytes as u64)?;
        // SAFETY: the file has no name and is as long as it stays; who else has it is the device.
        let mut slab = unsafe { MmapOptions::new().len(slab_bytes).map_mut(&file) }?;
        transport.map_mem_region(slab.as_mut_ptr() as usize, slab_bytes, file.as_raw_fd(), 0)?;
        let free = slab.chunks_exact_mut(MAX_BYTES).map(|bytes| NonNull::from(bytes).cast()).collect();

        let mut driver = Self {
            queue,
            doorbell: transport.get_submission_notifier(0),
            free,
            place: Place(SAMPLE_OFFSET_BYTES / SECTOR_BYTES as u64),
            waiting: 0,
            done: 0,
            deadline: Instant::now() + TIMEOUT,
            _transport: transport,
            _slab: slab,
            _daemon: daemon,
        };
        driver.read_sample()?;
        driver.place = Place(0);
        driver.done = 0;
        Ok(driver)
    }

    /// A fast driver that does not read is not fast.
    fn read_sample(&mut self) -> Result<()> {
        self.submit(Point { bytes: MAX_BYTES, depth: 1 });
        self.device();
        self.complete();
        ensure!(self.done == 1, "virtio-driver did not read what it was asked for");
        let buffer = *self.free.last().context("there is no buffer")?;
        // SAFETY: the buffer is as long, and the device has no request with it.
        let read = unsafe { buffer.cast::<[u8; MAX_BYTES]>().read_volatile() };
        ensure!(read == *SAMPLE, "virtio-driver read something else than is on the disk");
        Ok(())
    }
}

impl Subject for Libblkio {
    fn submit(&mut self, point: Point) {
        for _ in 0..point.depth {
            let Some(buffer) = self.free.pop() else { return };
            let offset_bytes = self.place.next(point.bytes) * SECTOR_BYTES as u64;
            // SAFETY: the buffer is long enough, stays mapped, and is nobody else's until it comes
            // back with its completion.
            let read = unsafe { self.queue.read_raw(offset_bytes, buffer.as_ptr(), point.bytes, buffer) };
            if read.is_err() {
                return;
            }
            self.waiting += 1;
        }
        if self.queue.avail_notif_needed() {
            // A read that nobody hears of is missed in the end.
            let _ = self.doorbell.notify();
        }
    }

    fn device(&mut self) {
        while self.queue.completions().size_hint().0 < self.waiting && Instant::now() < self.deadline {
            thread::yield_now();
        }
    }

    fn complete(&mut self) {
        for completion in self.queue.completions() {
            self.done += u64::from(completion.ret == 0);
            self.waiting -= 1;
            self.free.push(completion.context);
        }
    }

    fn done(&self) -> u64 {
        self.done
    }
}
