//! Counts what a read from a disk costs on a real device's code: instructions of this guest, under
//! QEMU's `-icount shift=0`, where the time stamp counter advances by one each.
//!
//! `ci/bench` boots it. For the disk that it finds it prints, in tenths of an instruction for each
//! read of 4 KiB, so many at once:
//!
//! ```text
//! bench: read 4096 1 12345
//! bench: read 4096 32 12345
//! bench: done
//! ```
//!
//! Counted are the driver's turns: buffers from the pool, requests described, handed over,
//! doorbell; then, with the device done, completions, and buffers back to the pool.

#![no_std]
#![no_main]
#![allow(unreachable_pub, reason = "a program has no outside")]

extern crate alloc;

use alloc::boxed::Box;
use core::error::Error;
use core::time::Duration;

use log::{error, info};
use paravane_block::{BlockLayout, BlockPool, Control as _, Request, RequestQueue};
use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;
use paravane_hal::time::Clock as _;
use paravane_unikernel::bus::{self, Place, Words, pci};
use paravane_unikernel::exit::{Exit, exit};
use paravane_unikernel::platform::{Machine, Platform};
use paravane_virtio::blk::{self, Config, Device, Running};
use paravane_virtio::transport::any::{self, Any};

paravane_unikernel::entry!(main);

const BYTES: usize = 4096;
const SECTOR_BYTES: u64 = 512;
const DEPTHS: [usize; 2] = [1, 32];
/// Turns that count.
const TURNS: u64 = 500;
/// Turns before that.
const WARM_UP: u64 = 100;
/// How long the device is left alone between two looks.
const PAUSE: Duration = Duration::from_micros(100);
/// How long a turn may take.
const LIMIT: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main(machine: Machine) -> ! {
    if let Err(reason) = bench(&machine) {
        error!("bench: {reason}");
        exit(Exit::Failure);
    }
    info!("bench: done");
    exit(Exit::Success)
}

fn bench(machine: &Machine) -> Outcome<()> {
    let is_disk = |place: &Place| (place.virtio_id() == Some(blk::DEVICE_ID)).then_some(());
    let found = bus::find(machine, &Words::of(&machine.boot.command_line), &is_disk);
    let found = found.into_iter().next().ok_or("no virtio-blk found")?;
    let Place::Pci { bus, address, path, .. } = found.place else {
        return Err("no disk on a PCI bus".into());
    };
    let function = pci::claim(bus, address, &path)?;
    let device: Device<Platform, Any<Platform, pci::Bus>> =
        any::open_pci(function, machine.platform).map_err(Failed::into_error)?;
    let pool = BlockPool::new(machine.platform, BlockLayout::new(128))?;
    let Running { control, mut queue, .. } =
        device.start(&Config::default(), Interrupts::POLLING).map_err(Failed::into_error)?;
    let reads = control.capacity_sectors() * SECTOR_BYTES / BYTES as u64;
    let mut place = 0;
    for depth in DEPTHS {
        let mut ticks = 0;
        for turn in 0..WARM_UP + TURNS {
            let before = machine.platform.clock.ticks_now();
            for _ in 0..depth {
                let mut buffer = pool.get().ok_or("no buffer")?;
                // As long as a buffer is.
                let _ = buffer.set_len_bytes(BYTES);
                // A step that is prime to what disks are long, so all of it is read in time.
                place = (place + 1009) % reads;
                queue
                    .submit(Request::read(place * BYTES as u64 / SECTOR_BYTES, buffer))
                    .map_err(Failed::into_error)?;
            }
            queue.publish();
            let mut took = machine.platform.clock.ticks_now() - before;
            let start = machine.platform.now();
            let mut left = depth;
            while left > 0 {
                if machine.platform.now().since(start) > LIMIT {
                    return Err("reads are not done in time".into());
                }
                machine.interrupts.idle(Some(PAUSE));
                let _ = machine.interrupts.take_pending();
                let before = machine.platform.clock.ticks_now();
                while let Some(completion) = queue.poll()? {
                    completion.result?;
                    left -= 1;
                }
                took += machine.platform.clock.ticks_now() - before;
            }
            if turn >= WARM_UP {
                ticks += took;
            }
        }
        info!("bench: read {BYTES} {depth} {}", ticks * 10 / (TURNS * depth as u64));
    }
    Ok(())
}
