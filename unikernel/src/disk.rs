//! A disk for programs that wait: opened where it was found, started without interrupts.

use alloc::boxed::Box;
use core::error::Error;
use core::time::Duration;

use paravane_block::{BlockBuffer, BlockLayout, BlockPool, Config, Disk, RequestQueue};
use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;
use paravane_virtio::blk::{self, Device};
use paravane_virtio::transport::any::{self, Any};
use paravane_virtio::transport::mmio::MmioTransport;

use crate::bus::{Place, pci};
use crate::platform::{Machine, Platform};

/// How long one call may wait for the disk.
pub const LIMIT: Duration = Duration::from_secs(10);

/// One request at a time, and some that timed out.
const BUFFERS: u32 = 4;
const ENTRIES: u16 = 16;

/// A disk's queue, on whichever bus the disk is.
pub type Queue = Box<dyn RequestQueue<BlockBuffer>>;

/// Whether a disk is at `place`.
#[must_use]
pub fn is_disk(place: &Place) -> bool {
    place.virtio_id() == Some(blk::DEVICE_ID)
}

/// Starts the disk at `place`. It runs for good.
///
/// # Errors
///
/// Why not, in words.
pub fn start(machine: &Machine, place: Place) -> Result<Disk<Queue, Platform>, Box<dyn Error>> {
    let device: Device<Platform, Any<Platform, pci::Bus>> = match place {
        Place::Pci { bus, address, path, .. } => {
            let function = pci::claim(bus, address, &path)?;
            any::open_pci(function, machine.platform).map_err(Failed::into_error)?
        }
        Place::Mmio(device) => {
            let transport = MmioTransport::open(device.claim(machine)?).map_err(Failed::into_error)?;
            any::open_mmio(transport, machine.platform).map_err(Failed::into_error)?
        }
    };
    let pool = BlockPool::new(machine.platform, BlockLayout::new(BUFFERS))?;
    let config = Config::default().with_entries(ENTRIES).into();
    // What is not kept of it is never stopped, and so never freed.
    let running = device.start(&config, Interrupts::POLLING).map_err(Failed::into_error)?;
    Ok(Disk::new(Box::new(running.queue), pool, machine.platform, LIMIT))
}
