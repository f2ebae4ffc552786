//! QEMU's devices brought back in one call, and their queues reset one at a time. Skipped, with a
//! word about why, where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(clippy::result_large_err, reason = "errors give the device back")]

use std::time::Duration;

use paravane_block::{BlockBuffer, BlockLayout, BlockPool, Control as _, Request, RequestQueue as _};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_hal::mmio::MmioMap;
use paravane_hal::time::wait_for;
use paravane_net::{
    Burst, Change, Control as _, FrameLayout, FramePool, MacAddr, RxQueue as _, Settings, TxQueue as _,
    VlanSet,
};
use paravane_pci::{Function, PciAddress};
use paravane_qtest_hal::{Chipset, Machine, Qtest, Setup};
use paravane_virtio::feature::RingFeatures;
use paravane_virtio::net::{Config, Device, Running};
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::transport::{QueueError, Transport, pci};
use paravane_virtio::{QueueResetError, blk};

const LIMIT: Duration = Duration::from_secs(5);
const SECTOR: usize = 512;

type Region = <Qtest as MmioMap>::Region;
type Disk = blk::Running<Qtest, pci::Pci<Qtest, paravane_qtest_hal::Config>, BlockBuffer>;

fn pool(machine: &Machine) -> FramePool {
    FramePool::new(machine.platform().clone(), FrameLayout::new(400)).unwrap()
}

/// To everyone, with a number.
fn frame(number: u8) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5]].concat();
    frame.resize(60 + usize::from(number), number);
    frame
}

/// So many frames each way.
fn echo<T: Transport<Region> + Send>(
    machine: &Machine,
    pool: &FramePool,
    up: &mut Running<Qtest, T>,
    numbers: std::ops::Range<u8>,
) {
    let cable = machine.cable(0).unwrap();
    for number in numbers {
        let bytes = frame(number);
        cable.send(&bytes).unwrap();
        let mut burst = Burst::new();
        wait_for(machine.platform(), LIMIT, || (up.rx.receive(&mut burst) == Ok(1)).then_some(())).unwrap();
        let mut received = vec![0; bytes.len()];
        assert_eq!(burst.pop().unwrap().copy_out(&mut received), Some(bytes.len()));
        assert_eq!(received, bytes);
        let mut out = pool.get().unwrap();
        assert!(out.append(&bytes));
        burst.push(out);
        assert_eq!(up.tx.transmit(&mut burst), Ok(1));
        assert_eq!(cable.receive_by(LIMIT), Some(bytes));
    }
}

fn a_nic(options: &str) {
    let nic = format!("virtio-net-pci,disable-legacy=on{options}");
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic(&nic)) else { return };
    let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
    let device = pci::open(function, machine.platform().clone(), Device::new).unwrap();
    let pool = pool(&machine);
    let settings = Settings::default().with_vlans(VlanSet::EMPTY.with(7, true));
    let config = Config::default().with_rx_entries(32).with_tx_entries(32).with_settings(settings);
    let mut up = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
    let wanted = RingFeatures::RING_RESET | RingFeatures::INDIRECT_DESC;
    assert!(up.control.features().has_ring(wanted), "{}", up.control.features());
    assert_eq!(up.control.change(Change::Mac(MacAddr(Setup::mac(0)))), Ok(()));
    for _ in 0..3 {
        echo(&machine, &pool, &mut up, 0..45);
        assert_eq!(up.control.reset_tx(&mut up.tx), Ok(()));
        echo(&machine, &pool, &mut up, 0..5);
        for queue in up.rx.queues_mut() {
            assert_eq!(up.control.reset_rx(queue), Ok(()));
        }
        echo(&machine, &pool, &mut up, 5..45);
    }
    // A machine that stands still gets nothing done, which is noticed.
    machine.monitor().execute("stop", serde_json::json!({})).unwrap();
    let mut burst = Burst::new();
    let mut out = pool.get().unwrap();
    assert!(out.append(&frame(1)));
    burst.push(out);
    assert_eq!(up.tx.transmit(&mut burst), Ok(1));
    let fault = wait_for(machine.platform(), LIMIT, || {
        up.tx.reclaim().unwrap();
        up.control.watch(up.tx.counters().into(), Duration::from_millis(300)).err()
    });
    assert_eq!(fault, Ok(DeviceFault::NoAnswer { after_ms: 300 }));
    machine.monitor().execute("cont", serde_json::json!({})).unwrap();
    let before = (up.control.info(), up.control.features(), up.control.settings());
    let mut up = up.recover(Interrupts::POLLING).unwrap();
    assert_eq!((up.control.info(), up.control.features(), up.control.settings()), before);
    // What it had of before it may have sent before it was reset.
    while machine.cable(0).unwrap().receive().is_some() {}
    echo(&machine, &pool, &mut up, 0..45);
    up.stop().unwrap();
    assert_eq!(pool.free(), pool.buffers());
    machine.check().unwrap();
}

#[test]
fn a_nic_with_split_rings() {
    a_nic("");
}

#[test]
fn a_nic_with_packed_rings() {
    a_nic(",packed=on");
}

/// QEMU's transport without a bus passes the offer on and has no register for it: the reset never
/// shows, the queue is broken, and the device comes back whole.
#[test]
fn a_nic_on_no_bus_whose_offer_is_empty() {
    let setup = Setup::new(Chipset::Microvm).nic("virtio-net-device,bus=virtio-mmio-bus.1");
    let Some(machine) = Machine::start_or_skip(&setup) else { return };
    let transport = MmioTransport::open(machine.claim_virtio_mmio(1).unwrap()).unwrap();
    let device = Device::new(transport, machine.platform().clone()).unwrap();
    let pool = pool(&machine);
    let mut up = device.start(&Config::default(), pool.clone(), Interrupts::POLLING).unwrap();
    echo(&machine, &pool, &mut up, 0..5);
    let result = up.control.reset_tx(&mut up.tx);
    println!("QEMU says: {result:?}");
    assert!(
        matches!(
            result,
            Ok(()) | Err(QueueResetError::NotOffered | QueueResetError::Queue(QueueError::NoReset { .. }))
        ),
        "{result:?}"
    );
    let mut up = up.recover(Interrupts::POLLING).unwrap();
    echo(&machine, &pool, &mut up, 0..5);
    up.stop().unwrap();
    assert_eq!(pool.free(), pool.buffers());
}

fn a_disk(options: &str) {
    let device = format!("virtio-blk-pci,disable-legacy=on,addr=0x6{options}");
    let image = vec![7; 1024 * SECTOR];
    let setup = Setup::new(Chipset::Q35).disk_by(&device, image, "file={file},format=raw");
    let Some(machine) = Machine::start_or_skip(&setup) else { return };
    let function = Function::claim(machine.config().clone(), PciAddress::new(0, 0, 6, 0).unwrap()).unwrap();
    let device = pci::open(function, machine.platform().clone(), blk::Device::new).unwrap();
    let config = blk::Config::default().with_entries(64);
    let mut up: Disk = device.start(&config, Interrupts::POLLING).unwrap();
    let pool = BlockPool::new(machine.platform().clone(), BlockLayout::new(128)).unwrap();
    let read = |sector: u64| {
        let mut buffer = pool.get().unwrap();
        assert!(buffer.set_len_bytes(SECTOR));
        Request::read(sector, buffer).with_token(sector)
    };
    let read_all = |up: &mut Disk| {
        // As many as it has entries.
        assert_eq!(up.queue.room(), 64);
        (0..64).for_each(|sector| up.queue.submit(read(sector)).unwrap());
        up.queue.publish();
        for _ in 0..64 {
            let done = wait_for(machine.platform(), LIMIT, || up.queue.poll().unwrap()).unwrap();
            done.result.unwrap();
            let mut byte = [0];
            assert!(done.request.data.unwrap().copy_out(0, &mut byte));
            assert_eq!(byte, [7]);
        }
    };
    assert!(up.control.features().has_ring(RingFeatures::RING_RESET | RingFeatures::INDIRECT_DESC));
    for _ in 0..3 {
        read_all(&mut up);
        assert_eq!(up.control.reset_queue(&mut up.queue, &mut |_| panic!("nothing was in flight")), Ok(()));
    }
    read_all(&mut up);
    assert!(up.control.set_write_cache(false));
    (0..64).for_each(|sector| up.queue.submit(read(sector)).unwrap());
    up.queue.publish();
    let mut unfinished = Vec::new();
    let mut up = up.recover(Interrupts::POLLING, &mut |request, _| unfinished.push(request.token)).unwrap();
    unfinished.sort_unstable();
    assert_eq!(unfinished, (0..64).collect::<Vec<_>>(), "none came out before");
    assert!(!up.control.write_cache());
    assert_eq!(pool.free(), pool.buffers());
    read_all(&mut up);
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
    machine.check().unwrap();
}

#[test]
fn a_disk_with_a_split_ring() {
    a_disk("");
}

#[test]
fn a_disk_with_a_packed_ring() {
    a_disk(",packed=on");
}
