//! A disk, driven: found, identified, read, written with many requests in flight, flushed, read
//! again, stopped and started.
//!
//! The host has filled it with pattern `P`, and looks afterwards whether the sectors that it named
//! hold pattern `P + 1`, and all others what they held. Pattern `P` is the sequence that SplitMix64
//! makes of the seed `P`, in words of eight bytes, lowest byte first.
//!
//! | Word | Says |
//! |---|---|
//! | `pattern=P` | what the disk holds |
//! | `write=FIRST-END` | the sectors to be written, `END` not among them |
//! | `irq=msix`, `line`, `polling` | how completions are told of; steps down where disk or machine has none |
//! | those of `bus::words` | where devices are |
//!
//! ```text
//! disk: virtio-blk at 00:04.0 1af4:1042 ring packed interrupts msix, 2 vectors
//! disk: 2048 sectors, blocks of 512 bytes, write cache, called paravane-1
//! disk: passed
//! ```

#![no_std]
#![no_main]
#![allow(unreachable_pub, reason = "a program has no outside")]

extern crate alloc;

mod content;
mod drive;
mod way;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use core::error::Error;

use log::{error, info};
use paravane_block::{BlockLayout, BlockPool};
use paravane_hal::Failed;
use paravane_hal_x86_64::line::Trigger;
use paravane_unikernel::bus::words::MmioPlace;
use paravane_unikernel::bus::{self, Found, Place, Words, pci};
use paravane_unikernel::exit::{Exit, exit};
use paravane_unikernel::platform::{Machine, Platform};
use paravane_virtio::blk::{self, Device};
use paravane_virtio::transport::any::{self, Any};
use paravane_virtio::transport::mmio::MmioTransport;

use content::Content;
use drive::Disk;
use way::Way;

paravane_unikernel::entry!(main);

const SECTOR: usize = 512;
/// Pieces of requests in sectors, one list a request, over and over.
const MIXED: &[&[usize]] = &[&[1], &[8, 3], &[2, 5, 1, 4], &[8], &[1, 1, 7]];
/// So many pieces that a device may not take them at once.
const LONG: &[&[usize]] = &[&[1; 150]];

/// Whichever way a disk is reached; its configuration space by ports or in memory.
type Transport = Any<Platform, pci::Bus>;
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main(machine: Machine) -> ! {
    if let Err(reason) = run(&machine) {
        error!("disk: failed: {reason}");
        exit(Exit::Failure);
    }
    info!("disk: passed");
    exit(Exit::Success)
}

fn run(machine: &Machine) -> Outcome<()> {
    let line = &machine.boot.command_line;
    let is_disk = |place: &Place| (place.virtio_id() == Some(blk::DEVICE_ID)).then_some(());
    let found = bus::find(machine, &Words::of(line), &is_disk);
    let Found { place, .. } = found.into_iter().next().ok_or("no virtio-blk on a PCI bus or in memory")?;
    let name = place.to_string();
    match place {
        Place::Pci { bus, address, path, .. } => {
            let function = pci::claim(bus, address, &path)?;
            let vectors = function.msix()?.map_or(0, |msix| msix.entries());
            let line = function.read_interrupt_pin().and_then(|_| function.read_interrupt_line());
            let way = Way::choose(machine, vectors.into(), line.map(|line| (line, Trigger::Level)));
            let device = any::open_pci(function, machine.platform).map_err(Failed::into_error)?;
            check(machine, &name, device, &way)
        }
        Place::Mmio(device) => {
            let MmioPlace { line, trigger, .. } = device.place();
            let way = Way::choose(machine, 0, Some((line, trigger)));
            let transport = MmioTransport::open(device.claim(machine)?).map_err(Failed::into_error)?;
            let device = any::open_mmio(transport, machine.platform).map_err(Failed::into_error)?;
            check(machine, &name, device, &way)
        }
    }
}

/// All that is to be done with a disk, in two lives of it.
fn check(machine: &Machine, name: &str, device: Device<Platform, Transport>, way: &Way) -> Outcome<()> {
    let bytes_in_use = machine.platform.dma.dma_bytes_in_use();
    let pool = BlockPool::new(machine.platform, BlockLayout::new(512))?;
    let mut content = Content::asked(machine)?;

    let mut disk = Disk::start(machine, device, way, &pool)?;
    disk.introduce(name)?;
    disk.read(&content, 0..disk.sectors(), MIXED)?;
    disk.write(&content)?;
    content.is_written = true;
    disk.read(&content, content.to_write.clone(), LONG)?;
    disk.wait_for_interrupt(&content)?;
    let device = disk.stop()?;

    let mut disk = Disk::start(machine, device, way, &pool)?;
    info!("disk: stopped, and started again");
    disk.wait_for_interrupt(&content)?;
    disk.read(&content, 0..disk.sectors(), MIXED)?;
    drop(disk.stop()?);
    if pool.free() != pool.buffers() {
        return Err(format!("{} buffers of {} came back", pool.free(), pool.buffers()).into());
    }
    drop(pool);
    match machine.platform.dma.dma_bytes_in_use() {
        same if same == bytes_in_use => Ok(()),
        more => Err(format!("{more} bytes of DMA memory in use, {bytes_in_use} before").into()),
    }
}
