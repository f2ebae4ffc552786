//! Devices of MMIO version 1, which have the legacy interface: a network card and a disk.

use std::sync::MutexGuard;

use paravane_block::{BlockBuffer, BlockLayout, BlockPool, Control as _, Request, RequestQueue as _};
use paravane_hal::irq::{Armed, InterruptMode, Interrupts};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::net::bits;
use paravane_mock_hal::model::virtio::{
    Blk, Net, Personality, PluggedMmio, Reset, Virtio, VirtioNet, feature, queue_pfn_register,
};
use paravane_mock_hal::{MockPlatform, ModelRegion};
use paravane_net::{
    Burst, ChecksumRequest, Control as _, FrameLayout, FramePool, Link, RxChecksum, RxQueue as _, TxOffload,
    TxQueue as _,
};
use paravane_virtio::net::{Allowed, Config, Device, NetFeatures, Running, StartError};
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::{blk, feature::RingFeatures};

use crate::support::{FEATURES, MAC, assert_clean, writes_reads_flushes};

type Bus = MmioTransport<ModelRegion>;
type Up = Running<MockPlatform, Bus>;

struct Bench {
    platform: MockPlatform,
    plugged: PluggedMmio<Net>,
    pool: FramePool,
    bytes_at_rest: usize,
}

impl Bench {
    fn new(features: u64) -> Self {
        Self::of(Personality::microvm_legacy(), features)
    }

    fn of(personality: Personality, features: u64) -> Self {
        let platform = MockPlatform::new();
        let (start, line) = personality.place(0);
        let net = Net::new(MAC).with_features(features);
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
        assert!(transport.is_legacy());
        Device::new(transport, self.platform.clone()).unwrap()
    }

    fn start(&self, device: Device<MockPlatform, Bus>) -> Up {
        device.start(&config(), self.pool.clone(), Interrupts::LINE).unwrap()
    }

    /// Why it does not start.
    fn refused(&self) -> StartError {
        let failed = self.open().start(&config(), self.pool.clone(), Interrupts::LINE).unwrap_err();
        failed.into_error()
    }

    /// Frames of each length, each way.
    fn echo(&self, up: &mut Up) {
        for len_bytes in [14, 15, 16, 17, 60, 1514] {
            let frame: Vec<u8> = (0..=u8::MAX).cycle().take(len_bytes).collect();
            assert!(self.model().deliver(&frame));
            let mut burst = Burst::new();
            assert_eq!(up.rx.receive(&mut burst), Ok(1));
            assert_eq!(up.tx.transmit(&mut burst), Ok(1));
            up.tx.flush();
            let sent = self.model().take_sent();
            assert_eq!((sent.len(), sent[0].header), (1, [0; 12]), "{len_bytes} bytes");
            assert_eq!(sent[0].bytes, frame);
            assert_eq!(up.tx.reclaim(), Ok(1));
        }
        assert_eq!(up.tx.counters().bytes, up.rx.counters().bytes);
    }

    fn assert_clean(&self) {
        assert_clean(&self.model());
    }

    fn assert_at_rest(&self) {
        assert_eq!(self.platform.memory().bytes(), self.bytes_at_rest);
        assert_eq!(self.pool.free(), self.pool.buffers());
    }
}

fn config() -> Config {
    Config::default().with_tx_entries(16).with_rx_entries(64)
}

#[test]
fn frames_go_both_ways_with_either_header_and_again_after_a_stop() {
    for (features, header_bytes) in [(FEATURES, 12), (FEATURES & !bits::MRG_RXBUF, 10)] {
        let bench = Bench::new(features);
        let mut device = bench.open();
        for _ in 0..2 {
            let mut up = bench.start(device);
            assert_eq!(
                (up.control.interrupts(), up.control.link()),
                (InterruptMode::Line, Link::Up { mbps: None, duplex: None })
            );
            assert_eq!(up.control.info().mac.0, MAC);
            assert!(!up.control.features().has_ring(RingFeatures::VERSION_1));
            assert!(up.control.features().has_ring(RingFeatures::ANY_LAYOUT | RingFeatures::EVENT_IDX));
            (0..30).for_each(|_| bench.echo(&mut up));
            assert_eq!(bench.model().statuses.last(), Some(&7), "no FEATURES_OK, header of {header_bytes}");
            device = up.stop().unwrap();
            bench.assert_at_rest();
            bench.assert_clean();
        }
        let mut statuses = bench.model().statuses.clone();
        statuses.retain(|status| *status != 0);
        assert_eq!(statuses, [1, 3, 7, 1, 3, 7]);
    }
}

#[test]
fn a_queue_is_one_area_at_a_page() {
    let bench = Bench::new(FEATURES);
    let up = bench.start(bench.open());
    for (queue, entries) in [(0, 64_u64), (1, 16)] {
        let [descriptors, avail, used] = bench.model().queues[queue].areas;
        assert_eq!(descriptors % 4096, 0);
        assert_eq!((avail - descriptors, used - descriptors), (16 * entries, 4096));
    }
    assert!(up.stop().is_ok());
    bench.assert_clean();
}

#[test]
fn an_interrupt_is_acknowledged_as_with_version_2() {
    let bench = Bench::new(FEATURES);
    let mut up = bench.start(bench.open());
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    bench.model().deliver(&[7; 100]);
    assert!(bench.platform.interrupts().is_raised(bench.plugged.line));
    assert!(up.control.acknowledge() && !up.control.acknowledge());
    bench.model().set_link(false);
    assert!(up.control.acknowledge());
    up.control.poll().unwrap();
    assert_eq!(up.control.link(), Link::Down);
    up.rx.disarm();
    assert!(up.stop().is_ok());
    bench.assert_clean();
}

#[test]
fn checksums_are_where_a_short_header_has_them() {
    let bench = Bench::new(bits::MAC | bits::CSUM | bits::GUEST_CSUM);
    let mut up = bench.start(bench.open());
    let mut header = [0; 12];
    (header[0], header[6], header[8]) = (1, 34, 16);
    assert!(bench.model().deliver_with(header, &[9; 90]));
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    let mut frame = burst.pop().unwrap();
    let request = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };
    assert_eq!(frame.rx_checksum(), RxChecksum::Partial(request));
    frame.set_offload(TxOffload { checksum: Some(request), segmentation: None });
    let mut burst = Burst::from(frame);
    assert_eq!(up.tx.transmit(&mut burst), Ok(1));
    assert_eq!(bench.model().take_sent()[0].header, header);
    assert!(up.stop().is_ok());
    bench.assert_clean();
}

#[test]
fn bursts_are_one_doorbell_and_wrap_behind_short_headers() {
    let bench = Bench::new(bits::MAC);
    let mut up = bench.start(bench.open());
    for _ in 0..50 {
        let mut burst = Burst::new();
        for fill in 0..11 {
            let mut frame = bench.pool.get().unwrap();
            assert!(frame.append(&[fill; 64]));
            burst.push(frame);
        }
        let rung = up.tx.counters().doorbells;
        assert_eq!(up.tx.transmit(&mut burst), Ok(11));
        assert_eq!(up.tx.counters().doorbells, rung + 1);
        let sent = bench.model().take_sent();
        assert_eq!(sent.iter().map(|sent| sent.bytes[63]).collect::<Vec<_>>(), (0..11).collect::<Vec<_>>());
        assert_eq!(up.tx.reclaim(), Ok(11));
    }
    assert_eq!((up.tx.counters().frames, up.tx.counters().bytes), (550, 550 * 64));
    assert!(up.stop().is_ok());
    bench.assert_at_rest();
}

#[test]
fn less_than_a_short_header_is_a_fault_and_more_than_fits_as_well() {
    for (length, is_fault) in [(9, true), (10, false), (24, false), (2000, true)] {
        let bench = Bench::new(bits::MAC);
        let mut up = bench.start(bench.open());
        let lie = Action::Set { field: Field::Length, value: length };
        bench.model().faults.add(Fault::nth(FaultPoint::RxCompletion, 1, lie));
        bench.model().deliver(&[7; 14]);
        let mut burst = Burst::new();
        assert_eq!(up.rx.receive(&mut burst).is_err(), is_fault, "{length}");
        assert_eq!(burst.len(), usize::from(length == 24));
        drop(burst);
        assert!(up.stop().is_ok());
        bench.assert_at_rest();
    }
}

#[test]
fn headers_are_not_sent_apart() {
    let ancient = Personality { legacy_features: 0, ..Personality::microvm_legacy() };
    let bench = Bench::of(ancient, FEATURES);
    assert_eq!(bench.refused(), StartError::NoAnyLayout);
    bench.assert_clean();
    bench.assert_at_rest();
}

#[test]
fn a_configuration_without_generation_is_read_until_two_looks_agree() {
    let bench = Bench::new(FEATURES);
    bench.model().restless_config = true;
    assert!(bench.refused().to_string().contains("faster than it can be read"));
    bench.model().restless_config = false;
    // Once torn: the next look differs, the one after does not.
    let torn = Action::Set { field: Field::Value, value: 0xee };
    bench.model().faults.add(Fault::nth(FaultPoint::RegisterRead, 1, torn).of(4 << 16 | 3));
    let up = bench.start(bench.open());
    assert_eq!(up.control.info().mac.0, MAC);
    assert!(up.stop().is_ok());
}

#[test]
fn a_queue_that_has_a_place_after_a_reset_is_not_touched() {
    let bench = Bench::new(FEATURES);
    let lie = Action::Set { field: Field::Value, value: 7 };
    bench.model().faults.add(Fault::nth(FaultPoint::RegisterRead, 1, lie).of(queue_pfn_register()));
    assert!(bench.refused().to_string().contains("enabled"));
    bench.assert_at_rest();
    bench.model().queues_stay_enabled = true;
    assert!(bench.refused().to_string().contains("enabled"));
    bench.assert_clean();
}

#[test]
fn a_status_that_does_not_stick_is_noticed_without_features_ok() {
    let bench = Bench::new(FEATURES);
    bench.model().ignores_status = true;
    assert!(bench.refused().to_string().contains("ignores its status"));
    bench.assert_at_rest();
}

#[test]
fn memory_stays_the_devices_until_it_confirms_a_reset() {
    let personality = Personality { reset: Reset::Never, ..Personality::microvm_legacy() };
    let bench = Bench::of(personality, FEATURES);
    let mut up = bench.start(bench.open());
    bench.echo(&mut up);
    let failed = up.stop().unwrap_err();
    assert!(bench.platform.memory().bytes() > bench.bytes_at_rest, "{}", failed.error());
    drop(failed);
    bench.platform.memory().expect_leak(None);
}

#[test]
fn what_is_not_allowed_is_not_agreed_on_the_legacy_interface_either() {
    let bench = Bench::new(FEATURES);
    let allowed = Allowed::default().with_ring(RingFeatures::empty()).with_class(NetFeatures::MAC);
    let config = config().with_allowed(allowed);
    let up = bench.open().start(&config, bench.pool.clone(), Interrupts::LINE).unwrap();
    assert_eq!(bench.model().accepted(), feature::ANY_LAYOUT | bits::MAC);
    assert!(up.stop().is_ok());
}

#[test]
fn a_disk_is_written_read_and_flushed() {
    let personality = Personality::microvm_legacy();
    let platform = MockPlatform::new();
    let (start, line) = personality.place(0);
    let plugged = Virtio::plug_mmio(&platform, start, line, Blk::of(&personality, 64), personality);
    let pool = BlockPool::new(platform.clone(), BlockLayout::new(4)).unwrap();
    let bytes_at_rest = platform.memory().bytes();
    let transport = MmioTransport::open(plugged.claim(&platform).unwrap()).unwrap();
    let mut device = blk::Device::new(transport, platform.clone()).unwrap();
    for round in 1..3 {
        let mut up = device.start::<BlockBuffer>(&blk::Config::default(), Interrupts::LINE).unwrap();
        assert_eq!((up.control.interrupts(), up.control.capacity_sectors()), (InterruptMode::Line, 64));
        assert!(up.control.info().write_cache);
        let done = |request: Request<BlockBuffer>| {
            assert_eq!(up.queue.arm(), Ok(Armed::Idle));
            up.queue.submit(request).unwrap();
            up.queue.publish();
            assert!(up.control.acknowledge(), "the line was raised");
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
