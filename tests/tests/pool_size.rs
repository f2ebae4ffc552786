//! That a pool of the size that `docs/architecture.md` gives never runs dry, and that none of its
//! frames is for nothing.

#![allow(clippy::unwrap_used, reason = "tests")]

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::model::{virtio, vmxnet3};
use paravane_net::{BURST_FRAMES, Burst, FrameLayout, FramePool, RxQueue, TxQueue};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::transport::pci;

const ENTRIES: u16 = 64;
const SLOT: PciAddress = PciAddress::new(0, 0, 4, 0).unwrap();
const FRAME: [u8; 60] = [0xff; 60];

/// Fills the hands: a burst received, as many frames about to be sent, and before that all that
/// goes into the transmit ring of a device that sends nothing. Whether every slot of the receive
/// ring has a buffer even then.
fn stays_full(
    pool: &FramePool,
    rx: &mut impl RxQueue,
    tx: &mut impl TxQueue,
    mut deliver: impl FnMut() -> bool,
) -> bool {
    let fresh = || {
        pool.get().map(|mut frame| {
            assert!(frame.append(&FRAME));
            frame
        })
    };
    while tx.room() > 0 {
        let mut one = Burst::new();
        one.extend(fresh());
        assert_eq!(tx.transmit(&mut one), Ok(1));
    }
    let mut to_send = Burst::new();
    to_send.extend((0..BURST_FRAMES).map_while(|_| fresh()));
    let mut received = Burst::new();
    for _ in 0..BURST_FRAMES {
        assert!(deliver());
    }
    rx.receive(&mut received).unwrap();
    rx.refill() == 0 && received.len() == BURST_FRAMES && to_send.len() == BURST_FRAMES
}

fn frames(fewer: usize) -> u32 {
    u32::try_from(2 * usize::from(ENTRIES) + 2 * BURST_FRAMES - fewer).unwrap()
}

fn virtio_stays_full(fewer: usize) -> bool {
    let platform = MockPlatform::new();
    let pool = FramePool::new(platform.clone(), FrameLayout::new(frames(fewer))).unwrap();
    let plugged =
        virtio::Virtio::plug(&platform, SLOT, virtio::Net::new([2; 6]), virtio::Personality::qemu());
    let function = Function::claim(plugged.host.clone(), SLOT).unwrap();
    let device = pci::open(function, platform, paravane_virtio::net::Device::new).unwrap();
    let config = paravane_virtio::net::Config::default().with_tx_entries(ENTRIES).with_rx_entries(ENTRIES);
    let mut up = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
    plugged.lock().class.serves_doorbells = false;
    let is_full = stays_full(&pool, &mut up.rx, &mut up.tx, || plugged.lock().deliver(&FRAME));
    assert!(up.stop().is_ok());
    is_full
}

fn vmxnet3_stays_full(fewer: usize) -> bool {
    let platform = MockPlatform::new();
    let pool = FramePool::new(platform.clone(), FrameLayout::new(frames(fewer))).unwrap();
    let silent = vmxnet3::Personality { tx_threshold: u32::MAX, ..vmxnet3::Personality::esxi() };
    let plugged = vmxnet3::Vmxnet3::plug(&platform, SLOT, [2; 6], silent);
    let function = Function::claim(plugged.config.clone(), SLOT).unwrap();
    let device = paravane_vmxnet3::Device::new(function, platform).unwrap();
    let config = paravane_vmxnet3::Config::default().with_tx_entries(ENTRIES).with_rx_entries(ENTRIES);
    let mut up = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
    let deliver = || plugged.model.lock().unwrap().deliver(&FRAME);
    let is_full = stays_full(&pool, &mut up.rx, &mut up.tx, deliver);
    assert!(up.stop().is_ok());
    is_full
}

#[test]
fn a_pool_of_rings_and_hands_never_runs_dry() {
    assert!(virtio_stays_full(0) && vmxnet3_stays_full(0));
    assert!(!virtio_stays_full(1), "a frame fewer is missed");
    // One slot of each of its rings is always free.
    assert!(vmxnet3_stays_full(2) && !vmxnet3_stays_full(3));
}
