//! Counts what a frame costs on a real device's code: instructions of this guest, under QEMU's
//! `-icount shift=0`, where the time stamp counter advances by one each.
//!
//! `ci/bench` boots it. For the NIC that it finds it prints, in tenths of an instruction a frame:
//!
//! ```text
//! bench: vmxnet3 tx 64 32 1234
//! bench: vmxnet3 rx 64 32 1234
//! bench: done
//! ```
//!
//! Words of the command line: `bytes=64`, the length of the frames sent, and of those that the host
//! sends without pause.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::error::Error;
use core::time::Duration;

use log::{error, info};
use paravane_hal::Failed;
use paravane_hal_x86_64::tsc::TscClock;
use paravane_net::{BURST_FRAMES, Burst, FrameLayout, FramePool, FrameSegment, RxQueue, TxQueue};
use paravane_nic::{Config, InterruptPlan, Kind, Nic, Queues};
use paravane_unikernel::bus::{self, Place, Words, pci};
use paravane_unikernel::exit::{Exit, exit};
use paravane_unikernel::platform::Machine;

paravane_unikernel::entry!(main);

/// Bursts that count.
const BURSTS: u64 = 1000;
/// Bursts before that.
const WARM_UP: u64 = 300;
/// Looks for bursts that count, at most; a host that sends nothing ends the count so.
const LOOKS: u64 = 400_000;
/// How long the device is left alone between the counted parts: one that works in a thread of its
/// own has mostly sent, or received, by then.
const PAUSE: Duration = Duration::from_micros(200);

/// Ethernet, IPv4 and UDP headers, as a sender would write them: to the host, from nobody, a local
/// experimental type.
const HEADERS: ([u64; 5], u16) =
    ([u64::from_le_bytes([2, 0, 0, 0, 0, 0, 2, 0]), 0xb588_0000_0000, 0, 0, 0], 0);

fn main(machine: Machine) -> ! {
    let outcome = bench(&machine);
    if let Err(reason) = outcome {
        error!("bench: {reason}");
        exit(Exit::Failure);
    }
    info!("bench: done");
    exit(Exit::Success)
}

fn bench(machine: &Machine) -> Result<(), Box<dyn Error>> {
    let words = &machine.boot.command_line;
    let bytes = words.words().find(|word| word.key == "bytes").and_then(|word| word.value?.parse().ok());
    let bytes: u16 = bytes.unwrap_or(64).clamp(60, 1514);
    let found = bus::find_nics(machine, &Words::of(words));
    let nic = found.first().ok_or("no NIC found")?;
    let name = match nic.kind {
        Kind::VirtioNet => "virtio",
        kind => kind.name(),
    };
    let pool = FramePool::new(machine.platform, FrameLayout::new(1024))?;
    let Place::Pci { bus, address, path, .. } = &nic.place else { return Err("no NIC on a PCI bus".into()) };
    let function = pci::claim(bus, *address, path)?;
    let mut device = Nic::open(function, machine.platform).map_err(Failed::into_error)?;
    let Queues { mut rx, mut tx } = device.start(Config::default(), pool.clone(), InterruptPlan::POLLING)?;
    let meter = Meter::new(machine);
    for burst in [1, BURST_FRAMES] {
        let tenths = send(&meter, &mut tx, &pool, bytes, burst)?;
        info!("bench: {name} tx {bytes} {burst} {tenths}");
    }
    for burst in [1, BURST_FRAMES] {
        let tenths = receive(&meter, &mut rx, &pool, usize::from(bytes), burst)?;
        info!("bench: {name} rx {bytes} {burst} {tenths}");
    }
    Ok(device.stop(Queues { rx, tx }).map_err(Failed::into_error)?)
}

/// Counts ticks, less what it takes to read them.
struct Meter<'m> {
    machine: &'m Machine,
    clock: TscClock,
    overhead: u64,
}

impl<'m> Meter<'m> {
    fn new(machine: &'m Machine) -> Self {
        let clock = machine.platform.clock;
        let mut overhead = u64::MAX;
        for _ in 0..100 {
            let start = clock.ticks_now();
            overhead = overhead.min(clock.ticks_now() - start);
        }
        Self { machine, clock, overhead }
    }

    fn count<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        let start = self.clock.ticks_now();
        let result = work();
        (result, (self.clock.ticks_now() - start).saturating_sub(self.overhead))
    }

    /// Leaves the machine to the device.
    fn pause(&self) {
        self.machine.interrupts.idle(Some(PAUSE));
        let _ = self.machine.interrupts.take_pending();
    }
}

/// Tenths of an instruction for each of `frames`.
fn tenths(ticks: u64, frames: u64) -> u64 {
    ticks * 10 / frames.max(1)
}

/// Buffers from the pool, headers written, sent, doorbell; then, with the device done, back to the
/// pool.
fn send(
    meter: &Meter<'_>,
    tx: &mut impl TxQueue,
    pool: &FramePool,
    bytes: u16,
    frames: usize,
) -> Result<u64, Box<dyn Error>> {
    let mut burst = Burst::new();
    let (mut ticks, mut counted) = (0, 0);
    for look in 0..LOOKS {
        let (sent, out) = meter.count(|| {
            burst = pool.take_with(frames, |mut frame| {
                // All of it fits a buffer.
                let _ = frame.set_segment_bytes(bytes.into());
                let _ = frame.write(0, &HEADERS.0);
                let _ = frame.write(size_of_val(&HEADERS.0), &HEADERS.1);
                frame
            });
            tx.transmit(&mut burst)
        });
        let sent = sent?;
        meter.pause();
        let (back, home) = meter.count(|| tx.reclaim());
        let mut back = back?;
        if look >= WARM_UP && sent == frames && back == frames {
            ticks += out + home;
            counted += 1;
        }
        if counted == BURSTS {
            return Ok(tenths(ticks, BURSTS * frames as u64));
        }
        // A device that was not done in time: the rest goes home uncounted.
        while back < sent {
            meter.pause();
            back += tx.reclaim()?;
        }
    }
    Err(shortfall(counted, frames).into())
}

/// Receives `frames` of those that the host has sent meanwhile, and lets go of them.
fn receive(
    meter: &Meter<'_>,
    rx: &mut impl RxQueue,
    pool: &FramePool,
    bytes: usize,
    frames: usize,
) -> Result<u64, Box<dyn Error>> {
    // In front of those that are received, so that there is room for no more.
    let mut others = pool.take(BURST_FRAMES - frames);
    let (mut ticks, mut counted, mut seen) = (0, 0, 0);
    for _ in 0..LOOKS {
        meter.pause();
        let mut burst = core::mem::take(&mut others);
        let (received, took) = meter.count(|| rx.receive(&mut burst));
        let received = received?;
        others.append(burst.take_front(BURST_FRAMES - frames));
        let is_right =
            burst.look_with(&[()], |frame, ()| FrameSegment::from(frame).len_bytes() == bytes) == 1;
        let whole = received == frames && is_right;
        let ((), home) = meter.count(|| burst.clear());
        seen += u64::from(whole);
        if whole && seen > WARM_UP {
            ticks += took + home;
            counted += 1;
        }
        if counted == BURSTS {
            return Ok(tenths(ticks, BURSTS * frames as u64));
        }
    }
    Err(shortfall(counted, frames).into())
}

/// What was missing.
fn shortfall(counted: u64, frames: usize) -> String {
    format!("only {counted} whole bursts of {frames} in {LOOKS} looks")
}
