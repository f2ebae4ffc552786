//! Devices that drivers of the crate `virtio-drivers` drive, over our transports: entropy, and a
//! console, where there are some.
//!
//! Of entropy it takes a little, several times, and no two are alike. On the console it says
//! `paravane` and sends back what comes, a line, with each letter as a capital.
//!
//! ```text
//! others: entropy at 00:04.0 1af4:1044: 16 pieces, no two alike
//! others: console at 00:05.0 1af4:1043: a line of 12 bytes
//! others: passed
//! ```

#![no_std]
#![no_main]
#![allow(unreachable_pub, reason = "a program has no outside")]

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::error::Error;
use core::time::Duration;

use log::{error, info};
use paravane_hal::Failed;
use paravane_hal::dma::fixed::{self, Fixed, FixedHal};
use paravane_hal::time::Clock as _;
use paravane_hal_x86_64::lock::Once;
use paravane_unikernel::bus::{self, Found, Place, Words, pci};
use paravane_unikernel::exit::{Exit, exit};
use paravane_unikernel::platform::{Machine, Platform};
use paravane_virtio::bridge::Bridge;
use paravane_virtio::transport::any::{Any, AnyTransport};
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::transport::pci::PciTransport;
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::device::rng::VirtIORng;

paravane_unikernel::entry!(main);

const CONSOLE: u16 = 3;
const ENTROPY: u16 = 4;
const PIECES: usize = 16;
const GREETING: &[u8] = b"paravane\n";
const LIMIT: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn Error>>;
type Over = Bridge<Here, Platform, Any<Platform, pci::Bus>>;
type Hal = FixedHal<Here>;

/// The memory of these drivers.
static MEMORY: Once<Fixed<Platform>> = Once::new();

/// Where it is.
struct Here;

impl fixed::Place for Here {
    type Dma = Platform;
    #[expect(clippy::expect_used, reason = "the interface of `virtio-drivers` has no way to say no")]
    fn fixed() -> &'static Fixed<Platform> {
        MEMORY.get().expect("set before any device is opened")
    }
}

fn main(machine: Machine) -> ! {
    if let Err(reason) = run(&machine) {
        error!("others: failed: {reason}");
        exit(Exit::Failure);
    }
    info!("others: passed");
    exit(Exit::Success)
}

fn run(machine: &Machine) -> Outcome<()> {
    if MEMORY.set(Fixed::new(machine.platform)).is_err() {
        return Err("memory was set before".into());
    }
    let is_ours = |place: &Place| place.virtio_id().filter(|id| [CONSOLE, ENTROPY].contains(id));
    let found = bus::find(machine, &Words::of(&machine.boot.command_line), &is_ours);
    if found.is_empty() {
        return Err("neither entropy nor a console on a PCI bus or in memory".into());
    }
    for Found { place, kind, .. } in found {
        let name = place.to_string();
        let device = open(machine, place)?;
        if kind == ENTROPY {
            let pieces = entropy(device)?;
            info!("others: entropy at {name}: {pieces} pieces, no two alike");
        } else {
            let len_bytes = console(machine, device)?;
            info!("others: console at {name}: a line of {len_bytes} bytes");
        }
    }
    Ok(())
}

/// The device at `place`, for a driver of theirs.
fn open(machine: &Machine, place: Place) -> Outcome<Over> {
    let transport = match place {
        Place::Pci { bus, address, path, .. } => {
            let function = pci::claim(bus, address, &path)?;
            let transport = PciTransport::open(function, &machine.platform).map_err(Failed::into_error)?;
            AnyTransport::Pci(transport)
        }
        Place::Mmio(device) => {
            let transport = MmioTransport::open(device.claim(machine)?).map_err(Failed::into_error)?;
            AnyTransport::Mmio(transport)
        }
    };
    Ok(Bridge::new(transport, machine.platform))
}

/// How many pieces were taken, all different.
fn entropy(device: Over) -> Outcome<usize> {
    let mut driver = VirtIORng::<Hal, _>::new(device)?;
    let mut seen = Vec::new();
    for _ in 0..PIECES {
        let mut bytes = [0; 32];
        if driver.request_entropy(&mut bytes)? == 0 {
            return Err("no entropy in an answer".into());
        }
        seen.push(bytes);
    }
    seen.sort_unstable();
    seen.dedup();
    if seen.len() == PIECES { Ok(PIECES) } else { Err("two pieces of entropy are alike".into()) }
}

/// How long the line was that came.
fn console(machine: &Machine, device: Over) -> Outcome<usize> {
    let mut driver = VirtIOConsole::<Hal, _>::new(device)?;
    driver.send_bytes(GREETING)?;
    let start = machine.platform.now();
    let mut len_bytes = 0;
    loop {
        if machine.platform.now().since(start) > LIMIT {
            return Err("no line in time".into());
        }
        let Some(byte) = driver.recv(true)? else {
            machine.platform.relax();
            continue;
        };
        driver.send(byte.to_ascii_uppercase())?;
        len_bytes += 1;
        if byte == b'\n' {
            return Ok(len_bytes);
        }
    }
}
