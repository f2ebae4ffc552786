//! A driver of `virtio-drivers` over our transports, on the monitors of mock-hal. Its block driver,
//! for the model has no other class that it drives.

#![allow(clippy::unwrap_used, clippy::panic, clippy::result_large_err, reason = "tests")]

use std::cell::Cell;

use paravane_hal::dma::fixed::{Fixed, FixedHal, Place};
use paravane_hal::{Failed, Platform};
use paravane_mock_hal::model::virtio::{Blk, Personality, Reset, Virtio, VirtioBlk, feature};
use paravane_mock_hal::{MockPlatform, PciHost};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::bridge::Bridge;
use paravane_virtio::transport::Transport;
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::transport::pci::{Pci, PciTransport};
use virtio_drivers::device::blk::VirtIOBlk;

const SECTOR: usize = 512;
const SECTORS: usize = 64;

thread_local! {
    /// The memory of the platform of this test, which has a thread of its own.
    static MEMORY: Cell<Option<&'static Fixed<MockPlatform>>> = const { Cell::new(None) };
}

/// Where it is.
struct Here;

impl Place for Here {
    type Dma = MockPlatform;
    fn fixed() -> &'static Fixed<MockPlatform> {
        MEMORY.get().unwrap()
    }
}

type Disk<P, T> = VirtIOBlk<FixedHal<Here>, Bridge<Here, P, T>>;

fn platform() -> MockPlatform {
    let platform = MockPlatform::new();
    MEMORY.set(Some(Box::leak(Box::new(Fixed::new(platform.clone())))));
    platform
}

fn over_pci(
    platform: &MockPlatform,
    host: &PciHost,
    at: PciAddress,
) -> Bridge<Here, MockPlatform, Pci<MockPlatform, PciHost>> {
    let function = Function::claim(host.clone(), at).unwrap();
    Bridge::new(PciTransport::open(function, platform).map_err(Failed::into_error).unwrap(), platform.clone())
}

fn place() -> PciAddress {
    PciAddress::new(0, 0, 3, 0).unwrap()
}

/// Writes, reads, and is dropped.
fn serves<P: Platform, T: Transport<P::Region>>(bridge: Bridge<Here, P, T>) {
    let mut disk = Disk::new(bridge).unwrap();
    assert_eq!(disk.capacity(), SECTORS as u64);
    for sector in 0..40 {
        disk.write_blocks(sector, &[0xa5 ^ sector.to_le_bytes()[0]; SECTOR]).unwrap();
    }
    for sector in 0..40 {
        let mut bytes = [0; SECTOR];
        disk.read_blocks(sector, &mut bytes).unwrap();
        assert_eq!(bytes, [0xa5 ^ sector.to_le_bytes()[0]; SECTOR]);
    }
}

fn at_rest(platform: &MockPlatform, model: &VirtioBlk) {
    assert_eq!(Here::fixed().pieces(), 0);
    assert_eq!(platform.memory().bytes(), 0);
    assert_eq!(model.violations, [""; 0]);
    assert_eq!(model.refusals, [""; 0]);
}

#[test]
fn every_monitor_takes_the_bring_up_of_a_foreign_driver() {
    for personality in Personality::all() {
        let platform = platform();
        let blk = Blk::of(&personality, SECTORS);
        let plugged = Virtio::plug(&platform, place(), blk, personality);
        for _ in 0..2 {
            serves(over_pci(&platform, &plugged.host, plugged.address));
            at_rest(&platform, &plugged.lock());
        }
    }
}

#[test]
fn and_so_where_there_is_no_bus() {
    for personality in [Personality::microvm(), Personality::firecracker()] {
        let platform = platform();
        let (start, line) = personality.place(0);
        let blk = Blk::of(&personality, SECTORS);
        let plugged = Virtio::plug_mmio(&platform, start, line, blk, personality);
        let transport =
            MmioTransport::open(plugged.claim(&platform).unwrap()).map_err(Failed::into_error).unwrap();
        serves(Bridge::new(transport, platform.clone()).with_line());
        at_rest(&platform, &plugged.lock());
    }
}

#[test]
fn a_legacy_device_gets_no_foreign_driver() {
    let (platform, personality) = (platform(), Personality::microvm_legacy());
    let (start, line) = personality.place(0);
    let blk = Blk::of(&personality, SECTORS);
    let plugged = Virtio::plug_mmio(&platform, start, line, blk, personality);
    let transport =
        MmioTransport::open(plugged.claim(&platform).unwrap()).map_err(Failed::into_error).unwrap();
    assert!(Disk::new(Bridge::<Here, _, _>::new(transport, platform.clone())).is_err());
    at_rest(&platform, &plugged.lock());
}

#[test]
fn what_their_rings_do_not_do_well_is_not_agreed() {
    let platform = platform();
    let plugged = Virtio::plug(&platform, place(), Blk::new(SECTORS), Personality::qemu());
    plugged.lock().offer(feature::VERSION_1 | feature::EVENT_IDX | feature::INDIRECT_DESC);
    let disk = Disk::new(over_pci(&platform, &plugged.host, plugged.address)).unwrap();
    assert_eq!(plugged.lock().accepted(), feature::VERSION_1);
    drop(disk);
    at_rest(&platform, &plugged.lock());
}

#[test]
fn rings_stay_allocated_under_a_device_that_does_not_reset() {
    let platform = platform();
    let plugged = Virtio::plug(&platform, place(), Blk::new(SECTORS), Personality::qemu());
    let disk = Disk::new(over_pci(&platform, &plugged.host, plugged.address)).unwrap();
    assert_eq!(Here::fixed().pieces(), 2);
    let bytes = platform.memory().bytes();
    plugged.lock().personality.reset = Reset::Never;
    drop(disk);
    assert_eq!(platform.memory().bytes(), bytes, "nothing is freed under it");
    platform.memory().expect_leak(None);
}

#[test]
fn a_step_that_fails_makes_no_driver() {
    type Model = VirtioBlk;
    let refusals: [fn(&mut Model); 2] = [|model| model.rejects_features = true, |model| model.gone = true];
    for refuse in refusals {
        let platform = platform();
        let plugged = Virtio::plug(&platform, place(), Blk::new(SECTORS), Personality::qemu());
        let bridge = over_pci(&platform, &plugged.host, plugged.address);
        refuse(&mut plugged.lock());
        assert!(Disk::new(bridge).is_err());
        at_rest(&platform, &plugged.lock());
    }
}
