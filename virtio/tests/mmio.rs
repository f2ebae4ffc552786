//! The driver over MMIO, on every monitor that has devices there: what it does there that it does
//! not do on a bus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::result_large_err, reason = "errors give the device back")]

use std::sync::MutexGuard;

use paravane_hal::addr::PhysAddr;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode, Interrupts};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::{
    Net, Personality, PluggedMmio, Reset, Slot, Trigger, Virtio, VirtioNet, common_register, mmio_register,
};
use paravane_mock_hal::{MockPlatform, ModelRegion};
use paravane_net::{Burst, Control as _, Events, FrameLayout, FramePool, Link, RxQueue as _, TxQueue as _};
use paravane_virtio::net::{Config, Device, Running};
use paravane_virtio::transport::mmio::{MmioError, MmioTransport, RESET_AT_BYTES};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const START: PhysAddr = PhysAddr::new(0xfeb0_0000);
/// `MAC`, `STATUS`, `MRG_RXBUF`.
const FEATURES: u64 = 1 << 5 | 1 << 16 | 1 << 15;

type Bus = MmioTransport<ModelRegion>;
type Up = Running<MockPlatform, Bus>;

struct Bench {
    platform: MockPlatform,
    plugged: PluggedMmio<Net>,
    pool: FramePool,
    bytes_at_rest: usize,
}

impl Bench {
    fn new(personality: Personality) -> Self {
        let platform = MockPlatform::new();
        let (start, line) = personality.place(0);
        let net = Net::new(MAC).with_features(FEATURES);
        let plugged = Virtio::plug_mmio(&platform, start, line, net, personality);
        let pool = FramePool::new(platform.clone(), FrameLayout::new(256)).unwrap();
        let bytes_at_rest = platform.memory().bytes();
        Self { platform, plugged, pool, bytes_at_rest }
    }

    fn model(&self) -> MutexGuard<'_, VirtioNet> {
        self.plugged.lock()
    }

    fn open(&self) -> Device<MockPlatform, Bus> {
        let transport = MmioTransport::open(self.plugged.claim(&self.platform).unwrap()).unwrap();
        Device::new(transport, self.platform.clone()).unwrap()
    }

    fn start(&self, device: Device<MockPlatform, Bus>, interrupts: Interrupts<'_>) -> Up {
        device.start(&config(), self.pool.clone(), interrupts).unwrap()
    }

    /// A frame each way.
    fn echo(&self, up: &mut Up) {
        assert!(self.model().deliver(&[7; 100]));
        let mut burst = Burst::new();
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        assert_eq!(up.tx.transmit(&mut burst), Ok(1));
        up.tx.flush();
        assert_eq!(self.model().take_sent().iter().map(|sent| sent.bytes.len()).collect::<Vec<_>>(), [100]);
        assert_eq!(up.tx.reclaim(), Ok(1));
    }

    fn assert_clean(&self) {
        let model = self.model();
        assert_eq!((&model.violations, &model.refusals), (&Vec::new(), &Vec::new()));
    }

    fn assert_at_rest(&self) {
        assert_eq!(self.platform.memory().bytes(), self.bytes_at_rest);
        assert_eq!(self.pool.free(), self.pool.buffers());
    }
}

fn config() -> Config {
    Config::default().with_tx_entries(16).with_rx_entries(64)
}

/// The driver's looks at a place that may have no device.
fn look(platform: &MockPlatform, start: PhysAddr, len_bytes: usize) -> Option<MmioError> {
    let device = platform.claim(start, len_bytes, RESET_AT_BYTES).unwrap();
    MmioTransport::open(device).err().map(|failed| failed.into_error())
}

#[test]
fn frames_go_both_ways_on_every_monitor_and_again_after_a_stop() {
    for personality in Personality::on_no_bus() {
        let bench = Bench::new(personality);
        let mut device = bench.open();
        let messages = bench.platform.interrupts().messages(2);
        for interrupts in [Interrupts::POLLING, Interrupts::LINE, Interrupts::msix(&messages)] {
            let mut up = bench.start(device, interrupts);
            let line = interrupts.line;
            let mode = if line { InterruptMode::Line } else { InterruptMode::Polling };
            assert_eq!(up.control.interrupts(), mode, "{}", personality.name);
            (0..40).for_each(|_| bench.echo(&mut up));
            device = up.stop().unwrap();
            assert_eq!(bench.model().status(), 0);
            bench.assert_at_rest();
            bench.assert_clean();
        }
    }
}

#[test]
fn an_interrupt_by_line_is_read_and_acknowledged() {
    for personality in [Personality::microvm(), Personality::firecracker()] {
        let bench = Bench::new(personality);
        let mut up = bench.start(bench.open(), Interrupts::LINE);
        let (interrupts, line) = (bench.platform.interrupts(), bench.plugged.line);
        let _ = interrupts.take_pulses(line);
        assert_eq!(up.rx.arm(), Ok(Armed::Idle));
        bench.model().deliver(&[7; 100]);
        let is_edge = personality.trigger == Trigger::Edge;
        assert_eq!((interrupts.is_raised(line), interrupts.take_pulses(line)), (!is_edge, is_edge.into()));
        assert!(up.control.acknowledge(), "{}", personality.name);
        assert!(!interrupts.is_raised(line));
        assert!(!up.control.acknowledge(), "once");
        up.rx.disarm();
        assert_eq!(up.rx.receive(&mut Burst::new()), Ok(1));
        bench.echo(&mut up);
        assert!(up.stop().is_ok());
        bench.assert_clean();
    }
}

/// Who answers to a bit that means nothing may say yes to what it is to mean one day.
#[test]
fn causes_that_mean_nothing_are_not_acknowledged_4_2_2_2() {
    let bench = Bench::new(Personality::microvm());
    let mut up = bench.start(bench.open(), Interrupts::LINE);
    bench.model().idle_causes = 0xfc;
    assert!(!up.control.acknowledge());
    bench.model().set_link(false);
    assert!(up.control.acknowledge());
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    assert!(!up.control.acknowledge());
    assert!(up.stop().is_ok());
    bench.assert_clean();
}

#[test]
fn a_change_of_the_link_is_heard_by_line() {
    let bench = Bench::new(Personality::microvm());
    let mut up = bench.start(bench.open(), Interrupts::LINE);
    bench.model().set_link(false);
    assert!(up.control.acknowledge());
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    assert_eq!(up.control.link(), Link::Down);
    bench.assert_clean();
    assert!(up.stop().is_ok());
}

#[test]
fn a_configuration_that_moves_is_read_until_it_stands_still() {
    let bench = Bench::new(Personality::microvm());
    bench.model().restless_config = true;
    let failed = bench.open().start(&config(), bench.pool.clone(), Interrupts::POLLING).err();
    assert!(failed.is_some(), "it never stands still");
}

#[test]
fn places_without_a_device_are_left_alone() {
    let platform = MockPlatform::new();
    let next = PhysAddr::new(START.get() + 0x200);
    let slots = [Slot::empty(&platform, START), Slot::empty_legacy(&platform, next)];
    assert_eq!(look(&platform, START, 0x200), Some(MmioError::Empty { start: START }));
    assert_eq!(look(&platform, next, 0x200), Some(MmioError::Empty { start: next }));
    let too_short = MmioError::TooShort { start: START, len_bytes: 0xfc };
    assert_eq!(look(&platform, START, 0xfc), Some(too_short));
    assert!(slots.iter().all(|slot| slot.lock().unwrap().violations.is_empty()));
}

#[test]
fn what_a_device_says_of_itself_is_looked_at() {
    let bench = Bench::new(Personality::microvm());
    let (start, len_bytes) = (bench.plugged.start, bench.plugged.len_bytes);
    for (register, value, expected) in [
        (0x0, 0, MmioError::NotVirtio { start, magic: 0 }),
        (0x4, 0, MmioError::Version { start, version: 0 }),
        (0x4, 3, MmioError::Version { start, version: 3 }),
        (0x8, 0x1_0001, MmioError::DeviceId { start, device_id: 0x1_0001 }),
    ] {
        let lie = Action::Set { field: Field::Value, value };
        let fault = Fault::nth(FaultPoint::RegisterRead, 1, lie).of(mmio_register(register));
        bench.model().faults.add(fault);
        assert_eq!(look(&bench.platform, start, len_bytes), Some(expected));
    }
    assert_eq!(look(&bench.platform, start, len_bytes), None);
}

#[test]
fn a_disk_is_no_nic() {
    let bench = Bench::new(Personality::microvm());
    let lie = Action::Set { field: Field::Value, value: 2 };
    bench.model().faults.add(Fault::nth(FaultPoint::RegisterRead, 1, lie).of(mmio_register(0x8)));
    let transport = MmioTransport::open(bench.plugged.claim(&bench.platform).unwrap()).unwrap();
    let error = Device::new(transport, bench.platform.clone()).unwrap_err().into_error();
    assert!(error.to_string().contains('2'), "{error}");
}

#[test]
fn a_queue_that_is_ready_after_a_reset_is_not_touched() {
    let bench = Bench::new(Personality::microvm());
    bench.model().queues_stay_enabled = true;
    let failed = bench.open().start(&config(), bench.pool.clone(), Interrupts::POLLING).unwrap_err();
    assert!(failed.error().to_string().contains("enabled"), "{}", failed.error());
    bench.assert_clean();
    bench.assert_at_rest();
}

#[test]
fn memory_stays_the_devices_until_it_confirms_a_reset() {
    for (reset, ends) in [(Reset::AfterReads(3), true), (Reset::Never, false)] {
        let personality = Personality { reset, ..Personality::firecracker() };
        let bench = Bench::new(personality);
        let mut up = bench.start(bench.open(), Interrupts::POLLING);
        bench.echo(&mut up);
        match up.stop() {
            Ok(_) => assert!(ends, "it did not confirm its reset"),
            Err(failed) => {
                assert!(!ends, "{}", failed.error());
                assert!(bench.platform.memory().bytes() > bench.bytes_at_rest, "nothing is freed under it");
                bench.platform.memory().expect_leak(None);
                continue;
            }
        }
        bench.assert_at_rest();
        bench.assert_clean();
    }
}

#[test]
fn a_device_that_is_gone_raised_nothing() {
    let bench = Bench::new(Personality::microvm());
    let mut up = bench.start(bench.open(), Interrupts::LINE);
    bench.model().gone = true;
    assert!(!up.control.acknowledge());
    bench.platform.clock().advance(paravane_virtio::net::LOOK_EVERY);
    assert_eq!(up.control.poll(), Err(DeviceFault::Gone));
    bench.model().gone = false;
    assert!(up.stop().is_ok());
}

#[test]
fn a_doorbell_is_the_number_of_its_queue() {
    let bench = Bench::new(Personality::firecracker());
    let mut up = bench.start(bench.open(), Interrupts::POLLING);
    bench.model().doorbells.clear();
    bench.echo(&mut up);
    assert!(bench.model().doorbells.contains(&1));
    let lost = Fault::nth(FaultPoint::RegisterWrite, 1, Action::Drop).of(common_register(0x1c));
    let device = up.stop().unwrap();
    bench.model().faults.add(lost);
    let mut up = bench.start(device, Interrupts::POLLING);
    assert!(!bench.model().deliver(&[7; 60]), "a queue whose QueueReady was lost has no buffers");
    assert_eq!(up.rx.receive(&mut Burst::new()), Ok(0));
    assert!(up.stop().is_ok());
}
