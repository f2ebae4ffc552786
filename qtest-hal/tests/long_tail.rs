//! Drivers of `virtio-drivers` over our transports, on QEMU's own devices. Skipped, with a word
//! about why, where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use paravane_hal::dma::fixed::{Fixed, FixedHal, Place};
use paravane_pci::{Function, PciAddress};
use paravane_qtest_hal::{Chipset, Config, Machine, Qtest, Setup};
use paravane_virtio::bridge::Bridge;
use paravane_virtio::transport::pci::{Pci, PciTransport};
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::device::gpu::VirtIOGpu;
use virtio_drivers::device::input::VirtIOInput;
use virtio_drivers::device::rng::VirtIORng;

const LIMIT: Duration = Duration::from_secs(30);

thread_local! {
    /// The memory of the machine of this test, which has a thread of its own.
    static MEMORY: Cell<Option<&'static Fixed<Qtest>>> = const { Cell::new(None) };
}

/// Where it is.
struct Here;

impl Place for Here {
    type Dma = Qtest;
    fn fixed() -> &'static Fixed<Qtest> {
        MEMORY.get().unwrap()
    }
}

type Hal = FixedHal<Here>;

/// A machine with these words.
fn machine(words: &[&str]) -> Option<Machine> {
    let machine = Machine::start_or_skip(&Setup::new(Chipset::Q35).arguments(words.iter().copied()))?;
    MEMORY.set(Some(Box::leak(Box::new(Fixed::new(machine.platform().clone())))));
    Some(machine)
}

type Over = Bridge<Here, Qtest, Pci<Qtest, Config>>;

/// The device in slot 6.
fn bridge(machine: &Machine) -> Over {
    let address = PciAddress::new(0, 0, 6, 0).unwrap();
    let function = Function::claim(machine.config().clone(), address).unwrap();
    let platform = machine.platform().clone();
    let transport =
        PciTransport::open(function, &platform).map_err(paravane_hal::Failed::into_error).unwrap();
    Bridge::new(transport, platform)
}

#[test]
fn entropy_is_not_the_same_twice() {
    let words = ["-device", "virtio-rng-pci,disable-legacy=on,addr=0x6"];
    let Some(machine) = machine(&words) else { return };
    let mut entropy = VirtIORng::<Hal, _>::new(bridge(&machine)).unwrap();
    let mut seen = Vec::new();
    for _ in 0..20 {
        let mut bytes = [0; 64];
        let len_bytes = entropy.request_entropy(&mut bytes).unwrap();
        assert!((1..=64).contains(&len_bytes));
        seen.push(bytes);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 20);
    drop(entropy);
    assert_eq!(Here::fixed().pieces(), 0, "rings and buffers are home");
    assert_eq!(machine.platform().dma_bytes_in_use(), 0);
    machine.check().unwrap();
}

#[test]
fn a_console_carries_bytes_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    let socket = format!("socket,id=c,path={},server=on,wait=off", path.display());
    let serial = "virtio-serial-pci,disable-legacy=on,addr=0x6";
    let words = ["-chardev", &socket, "-device", serial, "-device", "virtconsole,chardev=c"];
    let Some(machine) = machine(&words) else { return };
    let mut host = UnixStream::connect(&path).unwrap();
    host.set_read_timeout(Some(LIMIT)).unwrap();

    let mut console = VirtIOConsole::<Hal, _>::new(bridge(&machine)).unwrap();
    for round in 0..20_u8 {
        let said: Vec<_> = (0..1000).map(|i: u16| round ^ i.to_le_bytes()[0]).collect();
        console.send_bytes(&said).unwrap();
        let mut heard = vec![0; said.len()];
        host.read_exact(&mut heard).unwrap();
        assert!(heard == said, "round {round}");

        host.write_all(&said[..100]).unwrap();
        let start = Instant::now();
        let mut heard = Vec::new();
        while heard.len() < 100 {
            heard.extend(console.recv(true).unwrap());
            assert!(start.elapsed() < LIMIT, "{} bytes after {LIMIT:?}", heard.len());
        }
        assert_eq!(heard, said[..100]);
    }
    drop(console);
    assert_eq!(Here::fixed().pieces(), 1, "the buffer that waited for bytes");
    machine.check().unwrap();
}

#[test]
fn a_keyboard_says_what_it_is_through_its_configuration() {
    let words = ["-device", "virtio-keyboard-pci,disable-legacy=on,addr=0x6"];
    let Some(machine) = machine(&words) else { return };
    let mut keyboard = VirtIOInput::<Hal, _>::new(bridge(&machine)).unwrap();
    // QEMU counts the zero behind it.
    assert_eq!(keyboard.name().unwrap().trim_end_matches('\0'), "QEMU Virtio Keyboard");
    assert_eq!(keyboard.pop_pending_event().map(|event| event.code), None);
    drop(keyboard);
    machine.check().unwrap();
}

#[test]
fn a_display_says_how_large_it_is_and_takes_a_picture() {
    let words = ["-device", "virtio-gpu-pci,disable-legacy=on,addr=0x6,xres=320,yres=200"];
    let Some(machine) = machine(&words) else { return };
    let mut display = VirtIOGpu::<Hal, _>::new(bridge(&machine)).unwrap();
    assert_eq!(display.resolution().unwrap(), (320, 200));
    let picture = display.setup_framebuffer().unwrap();
    assert!(picture.len() >= 320 * 200 * 4);
    picture.fill(0x7f);
    display.flush().unwrap();
    drop(display);
    assert_eq!(Here::fixed().pieces(), 0);
    machine.check().unwrap();
}

#[test]
fn what_a_driver_left_another_takes_over() {
    let words = ["-device", "virtio-rng-pci,disable-legacy=on,addr=0x6"];
    let Some(machine) = machine(&words) else { return };
    for _ in 0..3 {
        let mut entropy = VirtIORng::<Hal, _>::new(bridge(&machine)).unwrap();
        assert!(entropy.request_entropy(&mut [0; 16]).unwrap() > 0);
    }
    assert_eq!(machine.platform().dma_bytes_in_use(), 0);
}

#[test]
fn what_is_no_such_device_has_no_queues() {
    let words = ["-device", "virtio-rng-pci,disable-legacy=on,addr=0x6"];
    let Some(machine) = machine(&words) else { return };
    assert!(VirtIOConsole::<Hal, _>::new(bridge(&machine)).is_err());
    assert_eq!(machine.platform().dma_bytes_in_use(), 0, "the queue that there was is home");
}
