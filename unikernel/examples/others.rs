//! Devices that drivers of the crate `virtio-drivers` drive, over our transports: entropy, a
//! console, and a socket, where there are some.
//!
//! Of entropy it takes a little, several times, and no two are alike. On the console it says
//! `paravane` and sends back what comes, a line, with each letter as a capital. By the socket it
//! calls the host at port 1234, and sends back 8 KiB that come, with each bit turned over.
//!
//! ```text
//! others: entropy at 00:04.0 1af4:1044: 16 pieces, no two alike
//! others: console at 00:05.0 1af4:1043: a line of 12 bytes
//! others: socket at 00:06.0 1af4:1053: 8192 bytes each way with the host, as guest 3
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
use virtio_drivers::device::socket::{
    VMADDR_CID_HOST, VirtIOSocket, VsockAddr, VsockConnectionManager, VsockEventType,
};

paravane_unikernel::entry!(main);

const CONSOLE: u16 = 3;
const ENTROPY: u16 = 4;
const SOCKET: u16 = 19;
const PIECES: usize = 16;
const GREETING: &[u8] = b"paravane\n";
/// Whom the socket calls, from which port, and how much goes back and forth.
const HOST: VsockAddr = VsockAddr { cid: VMADDR_CID_HOST, port: 1234 };
const PORT: u32 = 4321;
const SOCKET_BYTES: usize = 8192;
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
    let is_ours = |place: &Place| place.virtio_id().filter(|id| [CONSOLE, ENTROPY, SOCKET].contains(id));
    let found = bus::find(machine, &Words::of(&machine.boot.command_line), &is_ours);
    if found.is_empty() {
        return Err("neither entropy, a console nor a socket on a PCI bus or in memory".into());
    }
    for Found { place, kind, .. } in found {
        let name = place.to_string();
        let device = open(machine, place)?;
        match kind {
            ENTROPY => {
                let pieces = entropy(device)?;
                info!("others: entropy at {name}: {pieces} pieces, no two alike");
            }
            CONSOLE => {
                let len_bytes = console(machine, device)?;
                info!("others: console at {name}: a line of {len_bytes} bytes");
            }
            _ => {
                let guest = socket(machine, device)?;
                info!(
                    "others: socket at {name}: {SOCKET_BYTES} bytes each way with the host, as guest {guest}"
                );
            }
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

/// As which guest the host was called, and got its bytes back.
fn socket(machine: &Machine, device: Over) -> Outcome<u64> {
    let mut socket = VsockConnectionManager::new(VirtIOSocket::<Hal, _>::new(device)?);
    socket.connect(HOST, PORT)?;
    let start = machine.platform.now();
    let mut left = SOCKET_BYTES;
    loop {
        if machine.platform.now().since(start) > LIMIT {
            return Err("the host does not say all in time".into());
        }
        let Some(event) = socket.poll()? else {
            machine.platform.relax();
            continue;
        };
        match event.event_type {
            VsockEventType::Received { .. } => {
                let mut bytes = [0; 512];
                let len_bytes = socket.recv(HOST, PORT, &mut bytes)?;
                let bytes = bytes.get_mut(..len_bytes).ok_or("more bytes than there is room for")?;
                bytes.iter_mut().for_each(|byte| *byte = !*byte);
                socket.send(HOST, PORT, bytes)?;
                // There is room for 1 KiB: the host sends on when it hears that it was read.
                socket.update_credit(HOST, PORT)?;
                left = left.checked_sub(len_bytes).ok_or("the host says more than it should")?;
                if left == 0 {
                    socket.shutdown(HOST, PORT)?;
                }
            }
            VsockEventType::Disconnected { .. } if left == 0 => return Ok(socket.guest_cid()),
            VsockEventType::Disconnected { .. } => return Err("the host hangs up".into()),
            _ => {}
        }
    }
}
