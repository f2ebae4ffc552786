//! Devices driven by the ports of the legacy interface: a network card and a disk.

use std::sync::MutexGuard;

use paravane_block::{BlockBuffer, BlockLayout, BlockPool, Control as _, Request, RequestQueue as _};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode, Interrupts, MsiMessage};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::net::bits;
use paravane_mock_hal::model::virtio::{
    Blk, NO_VECTOR, Net, Personality, Plugged, Virtio, VirtioNet, common_register, queue_pfn_register,
};
use paravane_mock_hal::{MockPlatform, PciHost, message};
use paravane_net::{Burst, Control as _, FrameLayout, FramePool, Link, RxQueue as _, TxQueue as _};
use paravane_pci::{Command, Function, PciAddress};
use paravane_virtio::net::{Config, Device, Running};
use paravane_virtio::transport::legacy::{self, Legacy};
use paravane_virtio::transport::pci::{self, OpenError, PciError};
use paravane_virtio::{blk, feature::RingFeatures};

use crate::support::{FEATURES, MAC, assert_clean, writes_reads_flushes};
const AT: PciAddress = PciAddress::from_devfn(0, 0, 3 << 3);
const MESSAGES: [MsiMessage; 3] =
    [message(0xfee0_0000, 0x40), message(0xfee0_0000, 0x41), message(0xfee0_0000, 0x42)];

type Bus = Legacy<MockPlatform, PciHost>;
type Up = Running<MockPlatform, Bus>;

struct Bench {
    platform: MockPlatform,
    plugged: Plugged<Net>,
    pool: FramePool,
    bytes_at_rest: usize,
}

impl Bench {
    fn new() -> Self {
        Self::of(Personality::qemu_legacy(), FEATURES)
    }

    fn of(personality: Personality, features: u64) -> Self {
        let platform = MockPlatform::new();
        let plugged = Virtio::plug(&platform, AT, Net::new(MAC).with_features(features), personality);
        // The queues are as long as the device says.
        let pool = FramePool::new(platform.clone(), FrameLayout::new(512)).unwrap();
        let bytes_at_rest = platform.memory().bytes();
        Self { platform, plugged, pool, bytes_at_rest }
    }

    fn model(&self) -> MutexGuard<'_, VirtioNet> {
        self.plugged.lock()
    }

    fn function(&self) -> Function<PciHost> {
        Function::claim(self.plugged.host.clone(), AT).unwrap()
    }

    fn open(&self) -> Device<MockPlatform, Bus> {
        legacy::open(self.function(), self.platform.clone(), Device::new).unwrap()
    }

    fn start(&self, device: Device<MockPlatform, Bus>, interrupts: Interrupts<'_>) -> Up {
        device.start(&Config::default(), self.pool.clone(), interrupts).unwrap()
    }

    /// Why it does not start.
    fn refused(&self) -> String {
        let failed = self.open().start(&Config::default(), self.pool.clone(), Interrupts::LINE).unwrap_err();
        failed.error().to_string()
    }

    /// A frame each way.
    fn echo(&self, up: &mut Up) {
        assert!(self.model().deliver(&[7; 100]));
        let mut burst = Burst::new();
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        assert_eq!(up.tx.transmit(&mut burst), Ok(1));
        up.tx.flush();
        let sent = self.model().take_sent();
        assert_eq!((sent.len(), sent[0].bytes.as_slice()), (1, &[7; 100][..]));
        assert_eq!(up.tx.reclaim(), Ok(1));
    }

    fn assert_clean(&self) {
        assert_clean(&self.model());
    }

    fn assert_at_rest(&self) {
        assert_eq!(self.platform.memory().bytes(), self.bytes_at_rest);
        assert_eq!(self.pool.free(), self.pool.buffers());
        assert!(!self.plugged.host.is_bus_master(AT));
    }
}

#[test]
fn frames_go_both_ways_in_every_interrupt_mode_and_again_after_a_stop() {
    for features in [FEATURES, FEATURES & !bits::MRG_RXBUF] {
        let bench = Bench::of(Personality::qemu_legacy(), features);
        let mut device = bench.open();
        for (offered, mode) in [
            (Interrupts::POLLING, InterruptMode::Polling),
            (Interrupts::msix(&MESSAGES), InterruptMode::Msix { vectors: 3 }),
            (Interrupts::LINE, InterruptMode::Line),
            (Interrupts::msix(&MESSAGES[..1]), InterruptMode::Msix { vectors: 1 }),
            (Interrupts::POLLING, InterruptMode::Polling),
        ] {
            let mut up = bench.start(device, offered);
            assert_eq!(
                (up.control.interrupts(), up.control.link()),
                (mode, Link::Up { mbps: None, duplex: None })
            );
            assert_eq!(up.control.info().mac.0, MAC, "{mode}");
            assert!(!up.control.features().has_ring(RingFeatures::VERSION_1));
            (0..300).for_each(|_| bench.echo(&mut up));
            bench.model().set_link(false);
            assert!(
                mode == InterruptMode::Polling || up.control.acknowledge() || mode != InterruptMode::Line
            );
            bench.platform.clock().advance(paravane_virtio::net::LOOK_EVERY);
            up.control.poll().unwrap();
            assert_eq!(up.control.link(), Link::Down, "{mode}");
            bench.model().set_link(true);
            device = up.stop().unwrap();
            assert_eq!(bench.model().status(), 0);
            bench.assert_at_rest();
            bench.assert_clean();
        }
        let function = legacy::close(device.into_parts());
        assert!(!function.read_command().contains(Command::BUS_MASTER));
        assert_eq!(bench.platform.mapped_regions(), 0);
    }
}

#[test]
fn every_cause_has_its_message() {
    let bench = Bench::new();
    let mut up = bench.start(bench.open(), Interrupts::msix(&MESSAGES));
    let vectors: Vec<u16> = bench.model().queues[..2].iter().map(|queue| queue.vector).collect();
    assert_eq!(vectors, [0, 1]);
    let _ = bench.platform.interrupts().take();
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    bench.model().deliver(&[7; 60]);
    bench.model().set_link(false);
    assert_eq!(bench.platform.interrupts().take(), [MESSAGES[0], MESSAGES[2]]);
    up.rx.disarm();
    assert!(up.stop().is_ok());
    bench.assert_clean();
}

#[test]
fn without_resources_for_messages_there_is_the_line_and_the_configuration_moves_back() {
    let bench = Bench::new();
    bench.model().personality.vectors = 0;
    let up = bench.start(bench.open(), Interrupts::msix(&MESSAGES).or_line());
    assert_eq!(up.control.interrupts(), InterruptMode::Line);
    assert_eq!(up.control.info().mac.0, MAC);
    assert!(bench.model().queues.iter().all(|queue| queue.vector == NO_VECTOR));
    assert!(up.stop().is_ok());
    bench.assert_clean();
}

#[test]
fn a_queue_is_as_long_as_the_device_says() {
    let bench = Bench::new();
    let config = Config::default().with_rx_entries(16).with_tx_entries(16);
    let mut up = bench.open().start(&config, bench.pool.clone(), Interrupts::POLLING).unwrap();
    assert_eq!((up.control.info().rx_slots, up.control.info().tx_slots), (16, 256));
    assert_eq!(bench.pool.free(), bench.pool.buffers() - 16, "what the pool was made for");
    (0..300).for_each(|_| bench.echo(&mut up));
    for queue in 0..2 {
        let [descriptors, avail, used] = bench.model().queues[queue].areas;
        assert_eq!((descriptors % 4096, avail - descriptors, used - descriptors), (0, 4096, 8192));
    }
    assert!(up.stop().is_ok());
    bench.assert_clean();
}

#[test]
fn a_length_that_no_ring_has_is_refused() {
    for length in [3, 1000, 0xffff, 0] {
        let bench = Bench::new();
        let lie = Action::Set { field: Field::Value, value: length };
        bench.model().faults.add(Fault::nth(FaultPoint::RegisterRead, 1, lie).of(common_register(0x18)));
        let expected = if length == 0 { "no queue 0" } else { "expected a power of two" };
        assert!(bench.refused().contains(expected), "{length}");
        bench.assert_at_rest();
    }
}

#[test]
fn a_queue_that_has_a_place_after_a_reset_is_not_touched() {
    let bench = Bench::new();
    let lie = Action::Set { field: Field::Value, value: 7 };
    bench.model().faults.add(Fault::nth(FaultPoint::RegisterRead, 1, lie).of(queue_pfn_register()));
    assert!(bench.refused().contains("enabled"));
    bench.assert_at_rest();
    bench.assert_clean();
}

#[test]
fn a_transitional_device_is_driven_either_way() {
    let bench = Bench::of(Personality::qemu_transitional(), FEATURES);
    for _ in 0..2 {
        let mut up = bench.start(bench.open(), Interrupts::msix(&MESSAGES));
        assert!(bench.model().is_legacy());
        bench.echo(&mut up);
        let device = up.stop().unwrap();
        drop(legacy::close(device.into_parts()));
        let device = pci::open(bench.function(), bench.platform.clone(), Device::new).unwrap();
        let up = device.start(&Config::default(), bench.pool.clone(), Interrupts::LINE).unwrap();
        assert!(!bench.model().is_legacy());
        assert!(up.control.features().has_ring(RingFeatures::VERSION_1));
        let device = up.stop().unwrap();
        drop(pci::close(device.into_parts()));
        bench.assert_clean();
        bench.assert_at_rest();
    }
    assert_eq!(bench.platform.mapped_regions(), 0);
}

#[test]
fn each_transport_refuses_what_is_the_others() {
    let bench = Bench::new();
    let failed =
        pci::open::<_, _, Device<MockPlatform, _>>(bench.function(), bench.platform.clone(), Device::new);
    assert_eq!(failed.unwrap_err().into_error(), OpenError::Pci(PciError::LegacyOnly));
    let bench = Bench::of(Personality::qemu(), FEATURES);
    let failed =
        legacy::open::<_, _, Device<MockPlatform, _>>(bench.function(), bench.platform.clone(), Device::new);
    let error = failed.unwrap_err().into_error();
    assert!(matches!(error, OpenError::Pci(PciError::Ports(_))), "{error}");
    assert_eq!(bench.platform.mapped_regions(), 0);
}

#[test]
fn a_disk_is_no_nic_and_its_ports_are_given_back() {
    let platform = MockPlatform::new();
    let plugged = Virtio::plug(&platform, AT, Blk::new(8), Personality::qemu_legacy());
    let function = Function::claim(plugged.host.clone(), AT).unwrap();
    let failed = legacy::open::<_, _, Device<MockPlatform, _>>(function, platform.clone(), Device::new);
    assert!(matches!(failed.unwrap_err().into_error(), OpenError::Device(_)));
    assert_eq!(platform.mapped_regions(), 0);
}

#[test]
fn a_device_that_is_gone_raised_nothing() {
    let bench = Bench::new();
    let mut up = bench.start(bench.open(), Interrupts::LINE);
    bench.model().gone = true;
    assert!(!up.control.acknowledge());
    bench.platform.clock().advance(paravane_virtio::net::LOOK_EVERY);
    assert_eq!(up.control.poll(), Err(DeviceFault::Gone));
    bench.model().gone = false;
    assert!(up.stop().is_ok());
}

#[test]
fn a_disk_is_written_read_and_flushed_in_every_interrupt_mode() {
    let personality = Personality::ancient();
    let platform = MockPlatform::new();
    let plugged = Virtio::plug(&platform, AT, Blk::of(&personality, 64), personality);
    let pool = BlockPool::new(platform.clone(), BlockLayout::new(4)).unwrap();
    let bytes_at_rest = platform.memory().bytes();
    let function = Function::claim(plugged.host.clone(), AT).unwrap();
    let mut device = legacy::open(function, platform.clone(), blk::Device::new).unwrap();
    for (round, offered) in
        [(1, Interrupts::msix(&MESSAGES[..2])), (2, Interrupts::LINE), (3, Interrupts::POLLING)]
    {
        let mut up = device.start::<BlockBuffer>(&blk::Config::default(), offered).unwrap();
        assert_eq!((up.control.capacity_sectors(), up.control.info().max_in_flight), (64, 256));
        let done = |request: Request<BlockBuffer>| {
            up.queue.submit(request).unwrap();
            up.queue.publish();
            let completion = up.queue.poll().unwrap().unwrap();
            completion.result.unwrap();
            completion.request.data
        };
        writes_reads_flushes(&pool, round, done);
        assert_eq!(plugged.lock().class.unflushed, 0);
        device = up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
        assert_eq!(plugged.lock().violations, [""; 0]);
        assert_eq!(platform.memory().bytes(), bytes_at_rest);
    }
}
