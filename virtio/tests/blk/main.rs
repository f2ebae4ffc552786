//! The block device on the model of mock-hal: every monitor, both rings, and devices that lie.

#![allow(clippy::unwrap_used, clippy::panic, clippy::result_large_err, unreachable_pub, reason = "tests")]

mod doorbells;
mod in_order;
mod queues;
mod ranges;
mod recover;
mod support;
mod tables;

use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Completion, Control as _, Events, Request, RequestFault,
    RequestQueue as _, SubmitError,
};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode, Interrupts};
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::fault::{Action, Field};
use paravane_mock_hal::model::virtio::blk::bits;
use paravane_mock_hal::model::virtio::{Blk, Personality, Reset, Virtio, feature};
use paravane_virtio::blk::{Config, Device, StartError, StopError};
use paravane_virtio::transport::mmio::MmioTransport;

use support::{Bench, Data, SECTOR, SECTORS, Up, ask, bytes_of, completed, stop};

fn writes_reads_flushes(bench: &Bench, up: &mut Up) {
    ask(up, Request::write(2, bench.filled(&[SECTOR], 0xa5))).result.unwrap();
    let Completion { request, result } = ask(up, Request::read(0, bench.data(&[4 * SECTOR])));
    result.unwrap();
    let read = bytes_of(&request.data.unwrap());
    assert_eq!(read[..2 * SECTOR], [0; 2 * SECTOR]);
    assert_eq!(read[2 * SECTOR..3 * SECTOR], [0xa5; SECTOR]);
    ask(up, Request::flush()).result.unwrap();
    assert_eq!(bench.model().class.unflushed, 0);
    let Completion { request, result } = ask(up, Request::identify(bench.data(&[20])));
    result.unwrap();
    assert_eq!(bytes_of(&request.data.unwrap()), b"paravane-disk-000001");
}

#[test]
fn every_monitors_disk_is_written_and_read_and_again_after_a_stop() {
    for personality in Personality::all() {
        let bench = Bench::of(Blk::of(&personality, SECTORS), personality);
        for _ in 0..2 {
            let mut up = bench.start();
            writes_reads_flushes(&bench, &mut up);
            assert_eq!(stop(up), 0, "{}", personality.name);
            bench.assert_at_rest();
        }
    }
}

#[test]
fn a_packed_ring_serves_as_well() {
    let bench = Bench::packed();
    let mut up = bench.start();
    for _ in 0..40 {
        writes_reads_flushes(&bench, &mut up);
    }
    assert_eq!(stop(up), 0);
    bench.assert_at_rest();
}

#[test]
fn a_disk_on_no_bus_serves_as_well() {
    let personality = Personality::microvm();
    let platform = MockPlatform::new();
    let (start, line) = personality.place(0);
    let blk = Blk::of(&personality, SECTORS);
    let plugged = Virtio::plug_mmio(&platform, start, line, blk, personality);
    let pool = BlockPool::new(platform.clone(), BlockLayout::new(4)).unwrap();
    let transport = MmioTransport::open(plugged.claim(&platform).unwrap()).unwrap();
    let device = Device::new(transport, platform.clone()).unwrap();
    let mut up = device.start::<BlockBuffer>(&Config::default(), Interrupts::LINE).unwrap();
    assert_eq!(up.control.interrupts(), InterruptMode::Line);
    let mut buffer = pool.get().unwrap();
    assert!(buffer.set_len_bytes(SECTOR));
    assert_eq!(up.queue.arm(), Ok(Armed::Idle));
    up.queue.submit(Request::read(0, buffer)).unwrap();
    up.queue.publish();
    assert!(up.control.acknowledge(), "the line was raised");
    up.queue.poll().unwrap().unwrap().result.unwrap();
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
    assert_eq!(plugged.lock().violations, [""; 0]);
}

#[test]
fn one_doorbell_serves_many_and_they_come_back_in_any_order() {
    for bench in [Bench::new(), Bench::packed()] {
        bench.model().personality.shuffles = true;
        let mut up = bench.start();
        for token in 0..8 {
            let data = bench.filled(&[SECTOR, SECTOR], u8::try_from(token).unwrap());
            up.queue.submit(Request::write(token * 2, data).with_token(token)).unwrap();
        }
        assert_eq!(up.queue.in_flight(), 8);
        up.queue.publish();
        assert_eq!(up.queue.counters().doorbells, 1);
        let mut tokens: Vec<u64> = (0..8)
            .map(|_| {
                let Completion { request, result } = completed(&mut up);
                result.unwrap();
                request.token
            })
            .collect();
        assert_ne!(tokens, (0..8).collect::<Vec<_>>(), "this device does the last one first");
        tokens.sort_unstable();
        assert_eq!(tokens, (0..8).collect::<Vec<_>>());
        assert_eq!(up.queue.poll().unwrap().map(|_| ()), None);
        assert_eq!(bench.model().class.disk[15 * SECTOR], 7);
        stop(up);
        bench.assert_at_rest();
    }
}

#[test]
fn what_is_longer_than_a_device_takes_is_cut() {
    let mut blk = Blk::new(SECTORS).with_features(bits::SEG_MAX | bits::SIZE_MAX | bits::FLUSH);
    (blk.seg_max, blk.size_max) = (2, 1024);
    let bench = Bench::of(blk, Personality::qemu());
    let mut up = bench.start();
    let fill = bench.filled(&[4096, SECTOR], 9);
    ask(&mut up, Request::write(1, fill)).result.unwrap();
    assert_eq!(up.queue.counters().parts, 3, "4608 bytes, at most 2 times 1024 each");
    assert_eq!(bench.model().class.disk[SECTOR..10 * SECTOR], [9; 9 * SECTOR]);
    assert_eq!(bench.model().class.disk[10 * SECTOR], 0);
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn a_full_queue_says_so_and_keeps_nothing() {
    let bench = Bench::new().without(feature::INDIRECT_DESC);
    bench.model().class.takes_its_time = true;
    let mut up = bench.start();
    let mut taken = 0;
    let failed = loop {
        match up.queue.submit(Request::read(0, bench.data(&[SECTOR]))) {
            Ok(()) => taken += 1,
            Err(failed) => break failed,
        }
    };
    assert_eq!((taken, *failed.error()), (10, SubmitError::Full), "32 entries, three each");
    drop(failed);
    up.queue.publish();
    assert_eq!(stop(up), 10, "what was not done comes back with the stop");
    bench.assert_at_rest();
}

#[test]
fn an_error_of_the_disk_is_that_requests_alone() {
    let bench = Bench::new();
    bench.model().class.bad_sectors.insert(5);
    let mut up = bench.start();
    let error = ask(&mut up, Request::read(4, bench.data(&[2 * SECTOR])).with_token(77)).result.unwrap_err();
    assert_eq!((error.token, error.fault), (77, RequestFault::Io));
    ask(&mut up, Request::read(6, bench.data(&[SECTOR]))).result.unwrap();
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn a_read_only_disk_is_not_asked_to_write() {
    let bench = Bench::of(Blk::new(SECTORS).with_features(bits::RO), Personality::qemu());
    let mut up = bench.start();
    assert!(up.control.info().read_only);
    let failed = up.queue.submit(Request::write(0, bench.filled(&[SECTOR], 1))).unwrap_err();
    assert_eq!(*failed.error(), SubmitError::ReadOnly);
    drop(failed);
    // There is nothing to flush, and the device is not asked.
    assert!(ask(&mut up, Request::flush()).result.is_ok());
    assert!(bench.model().take_done().is_empty());
    up.queue.submit(Request::flush()).unwrap();
    assert_eq!(stop(up), 1, "one that was done, and not asked for");
    bench.assert_at_rest();
}

#[test]
fn a_disk_that_grows_says_so_and_is_read_there() {
    let bench = Bench::new();
    let mut up = bench.start();
    let at = SECTORS as u64;
    assert!(up.queue.submit(Request::read(at, bench.data(&[SECTOR]))).is_err());
    bench.model().resize(2 * SECTORS);
    assert_eq!(up.control.poll(), Ok(Events::CAPACITY));
    assert_eq!(up.control.capacity_sectors(), 2 * at);
    ask(&mut up, Request::read(at, bench.data(&[SECTOR]))).result.unwrap();
    stop(up);
    bench.assert_at_rest();
}

/// What a lie about a completion comes to.
#[test]
fn a_lie_is_a_typed_fault_and_a_restart_heals() {
    let set = |field, value| Action::Set { field, value };
    let unknown = DeviceFault::UnknownKind { what: "status of a block request", value: 77 };
    let too_long = DeviceFault::LengthTooLong { len_bytes: 514, max_bytes: 513 };
    for (lie, fault) in [
        (set(Field::Index, 31), DeviceFault::NotInFlight { index: 31 }),
        (set(Field::Index, 32), DeviceFault::IndexOutOfRange { index: 32, entries: 32 }),
        (set(Field::Index, 1), DeviceFault::NotInFlight { index: 1 }),
        (set(Field::Length, 514), too_long),
        (set(Field::Kind, 77), unknown),
    ] {
        for bench in [Bench::new(), Bench::packed()] {
            bench.lie(lie);
            let mut up = bench.start();
            up.queue.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap();
            up.queue.publish();
            let first = up.queue.poll();
            if lie == set(Field::Kind, 77) {
                let error = first.unwrap().unwrap().result.unwrap_err();
                assert_eq!(error.fault, RequestFault::UnknownStatus { status: 77 });
                assert_eq!(up.queue.poll().unwrap_err(), fault);
            } else {
                assert_eq!(first.unwrap_err(), fault, "{lie:?}");
            }
            let refused = up.queue.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap_err();
            assert_eq!(*refused.error(), SubmitError::Fault(fault));
            drop(refused);
            assert!(stop(up) <= 1);
            let mut up = bench.start();
            ask(&mut up, Request::read(0, bench.data(&[SECTOR]))).result.unwrap();
            stop(up);
            bench.assert_at_rest();
        }
    }
}

#[test]
fn data_that_was_not_written_is_no_data() {
    let bench = Bench::new();
    bench.lie(Action::Set { field: Field::Length, value: 511 });
    let mut up = bench.start();
    let error = ask(&mut up, Request::read(0, bench.data(&[SECTOR]))).result.unwrap_err();
    assert_eq!(error.fault, RequestFault::Short { written_bytes: 511, expected_bytes: 512 });
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn what_is_done_twice_is_done_once() {
    for bench in [Bench::new(), Bench::packed()] {
        bench.lie(Action::Duplicate);
        let mut up = bench.start();
        for token in 0..2 {
            up.queue.submit(Request::read(token, bench.data(&[SECTOR])).with_token(token)).unwrap();
        }
        up.queue.publish();
        let mut came = Vec::new();
        let fault = loop {
            match up.queue.poll() {
                Ok(completion) => came.push(completion.unwrap().request.token),
                Err(fault) => break fault,
            }
        };
        // Counted where the ring counts, else named.
        let counted = DeviceFault::TooManyCompletions { completed: 3, in_flight: 2 };
        assert!(fault == counted || fault == DeviceFault::NotInFlight { index: 0 }, "{fault}");
        assert!(came.is_empty() || came == [0], "{came:?}");
        assert_eq!(stop(up) + came.len(), 2);
        bench.assert_at_rest();
    }
}

#[test]
fn what_never_comes_back_is_kept_until_a_stop_that_is_confirmed() {
    let bench = Bench::new();
    bench.lie(Action::Drop);
    let mut up = bench.start();
    up.queue.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap();
    up.queue.publish();
    assert_eq!(up.queue.poll().unwrap().map(|_| ()), None);
    bench.model().personality.reset = Reset::Never;
    let failed = up.stop(&mut |_, _| panic!("the device may have it")).unwrap_err();
    assert!(matches!(failed.error(), StopError::NoReset(_)), "{failed}");
    assert_eq!(bench.pool.free(), bench.pool.buffers() - 1);
    bench.model().personality.reset = Reset::AtOnce;
    assert_eq!(stop(failed.into_parts().1), 1);
    bench.assert_at_rest();
}

#[test]
fn disks_that_make_no_sense_are_not_started() {
    let start = |change: fn(&mut Blk), features: u64| {
        let mut blk = Blk::new(SECTORS).with_features(features);
        change(&mut blk);
        let bench = Bench::of(blk, Personality::qemu());
        let started = bench.device().start::<Data>(&Config::default(), Interrupts::POLLING);
        let error = started.unwrap_err().into_error();
        bench.assert_at_rest();
        error
    };
    let odd = start(|blk| blk.blk_size = 513, bits::BLK_SIZE);
    assert_eq!(odd, StartError::BlockSize { block_bytes: 513 });
    assert_eq!(start(|blk| blk.size_max = 0, bits::SIZE_MAX), StartError::NoSegments);
}

/// An honest device, and second looks that would be answered falsely: the driver takes none.
#[test]
fn no_word_is_loaded_twice_in_a_call() {
    let with_event_idx = |bench: Bench| {
        let offered = bench.model().offered() | feature::EVENT_IDX;
        bench.model().offer(offered);
        bench
    };
    for bench in [Bench::new(), Bench::packed()].map(with_event_idx) {
        let mut up = bench.start();
        let loads = bench.plugged.changing_loads(&bench.platform, 3);
        for _ in 0..200 {
            up.queue.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap();
            loads.next_call();
            up.queue.publish();
            loads.next_call();
            completed(&mut up).result.unwrap();
            loads.next_call();
            assert_eq!(up.queue.arm(), Ok(Armed::Idle));
        }
        assert!(loads.loads() > 400);
        assert_eq!((loads.again(), loads.changed()), (0, 0));
        drop(loads);
        stop(up);
        bench.assert_at_rest();
    }
}
