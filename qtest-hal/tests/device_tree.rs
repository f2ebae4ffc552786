//! QEMU's microvm says in a device tree where its virtio devices are: found there, and driven, by
//! either version of their interface. Skipped, with a word about why, where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use paravane_hal::irq::Interrupts;
use paravane_hal::port::PortIo;
use paravane_hal::time::wait_for;
use paravane_net::{Burst, Control as _, FrameLayout, FramePool, MacAddr, RxQueue as _, TxQueue as _};
use paravane_qtest_hal::{Chipset, Machine, Setup};
use paravane_virtio::net;
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::transport::mmio::device_tree;

const LIMIT: Duration = Duration::from_secs(5);

/// The device tree, which is a file of QEMU's firmware configuration device. Read as far as it says
/// that there is something, for each byte is a message, and QEMU leaves most of a mebibyte empty.
///
/// Spec: QEMU, `docs/specs/fw_cfg.rst`.
fn read_tree(ports: &impl PortIo) -> Option<Vec<u8>> {
    const SELECT: u16 = 0x510;
    const DATA: u16 = 0x511;
    const DIRECTORY: u16 = 0x19;
    let read = |len_bytes: u32| (0..len_bytes).map(|_| ports.in8(DATA)).collect::<Vec<u8>>();
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    ports.out16(SELECT, DIRECTORY);
    let files = (0..number(&read(4))).map(|_| read(64)).collect::<Vec<_>>();
    let file = files.iter().find(|file| file[8..].starts_with(b"etc/fdt\0"))?;
    ports.out16(SELECT, u16::try_from(number(&file[4..6])).unwrap());
    let mut tree = read(40);
    let field = |index: usize| number(&tree[4 * index..4 * index + 4]);
    // Where structure and strings start, and how long they are.
    let end = (field(2) + field(9)).max(field(3) + field(8));
    let total = usize::try_from(field(1)).unwrap();
    tree.extend(read(end - 40));
    tree.resize(total, 0);
    Some(tree)
}

fn frame(to: [u8; 6]) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5]].concat();
    frame.extend((0..=u8::MAX).cycle().take(500));
    frame
}

#[test]
fn a_nic_is_found_in_the_tree_and_driven() {
    for (force_legacy, mrg_rxbuf) in [("off", "on"), ("on", "on"), ("on", "off")] {
        let global = format!("virtio-mmio.force-legacy={force_legacy}");
        let device = format!("virtio-net-device,bus=virtio-mmio-bus.1,mrg_rxbuf={mrg_rxbuf}");
        let setup = Setup::new(Chipset::Microvm).arguments(["-global", &global]).nic(&device);
        let Some(machine) = Machine::start_or_skip(&setup) else { return };
        let platform = machine.platform().clone();
        let tree = read_tree(&platform).unwrap();
        let mut places = Vec::new();
        device_tree::find(&tree, &mut |place| places.push(place.unwrap())).unwrap();

        let device = machine.claim_virtio_mmio(1).unwrap();
        let place = places.iter().find(|place| place.start == device.start()).unwrap();
        // A pin of the I/O APIC, and how it is triggered.
        assert_eq!((place.len_bytes, place.interrupt().len()), (512, 2), "{places:?}");
        assert!(place.interrupt_parent.is_some());

        let transport = MmioTransport::open(device).unwrap();
        assert_eq!(transport.is_legacy(), force_legacy == "on");
        let device = net::Device::new(transport, platform.clone()).unwrap();
        let pool = FramePool::new(platform.clone(), FrameLayout::new(600)).unwrap();
        let mut up = device.start(&net::Config::default(), pool.clone(), Interrupts::POLLING).unwrap();
        assert_eq!(up.control.info().mac, MacAddr(Setup::mac(0)));
        let (sent, given) = (frame([0xff; 6]), frame(Setup::mac(0)));
        let mut out = pool.get().unwrap();
        assert!(out.append(&sent));
        assert_eq!(up.tx.transmit(&mut Burst::from(out)), Ok(1));
        assert_eq!(machine.cable(0).unwrap().receive_by(LIMIT), Some(sent));
        machine.cable(0).unwrap().send(&given).unwrap();
        let mut burst = Burst::new();
        wait_for(&platform, LIMIT, || (up.rx.receive(&mut burst) == Ok(1)).then_some(())).unwrap();
        let mut bytes = vec![0; given.len()];
        assert_eq!(burst.pop().unwrap().copy_out(&mut bytes), Some(given.len()));
        assert_eq!(bytes, given);
        let device = up.stop().unwrap();
        device.into_parts().0.release(&platform);
        drop((pool, burst));
        assert_eq!(platform.dma_bytes_in_use(), 0);
        machine.check().unwrap();
    }
}
