//! Back in one call after whatever went wrong: each request either done or handed back, everything
//! as it was afterwards. And one queue alone, while the others go on.

use std::time::Duration;

use paravane_block::{Control as _, Remains, Request, RequestQueue as _, SubmitError};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::recover::{Progress, RecoverError};
use paravane_mock_hal::fault::{Action, Field};
use paravane_mock_hal::model::virtio::blk::bits;
use paravane_mock_hal::model::virtio::{Blk, Personality, Reset, feature};
use paravane_virtio::QueueResetError;
use paravane_virtio::blk::{Config, StartError, StopError};
use paravane_virtio::init::RESET_TIMEOUT;
use paravane_virtio::transport::QueueError;

use crate::support::{Bench, MESSAGES, SECTOR, SECTORS, Up, ask, completed};

const ALL: u64 = bits::FLUSH | bits::SEG_MAX | bits::BLK_SIZE | bits::CONFIG_WCE | bits::MQ;

/// A disk of two queues whose cache is off, with rings of either format.
fn benches() -> [Bench; 2] {
    [0, feature::RING_PACKED].map(|ring| {
        let bench = Bench::of(Blk::new(SECTORS).with_features(ALL), Personality::qemu());
        let offered = bench.model().offered() | ring;
        bench.model().offer(offered);
        bench
    })
}

fn start(bench: &Bench) -> Up {
    let config = Config::default().with_entries(32).with_queues(2);
    let mut up: Up = bench.device().start(&config, Interrupts::msix(&MESSAGES)).unwrap();
    assert!(up.control.set_write_cache(false));
    up
}

/// Six requests that the device keeps.
fn give(bench: &Bench, up: &mut Up) {
    bench.model().class.serves_doorbells = false;
    for token in 0..6 {
        let request = Request::write(token, bench.filled(&[SECTOR], 1)).with_token(token);
        up.queue.submit(request).unwrap();
    }
    up.queue.publish();
}

type Break = fn(&Bench, &mut Up) -> DeviceFault;

fn asks_for_a_reset(bench: &Bench, up: &mut Up) -> DeviceFault {
    bench.model().need_reset();
    up.control.poll().unwrap_err()
}

fn breaks_a_queue(bench: &Bench, up: &mut Up) -> DeviceFault {
    bench.lie(Action::Set { field: Field::Index, value: 31 });
    bench.model().serve_one();
    bench.model().show(0, 0);
    up.queue.poll().unwrap_err()
}

fn hangs(bench: &Bench, up: &mut Up) -> DeviceFault {
    let limit = Duration::from_secs(30);
    let progress = |up: &Up| {
        let others = up.more_queues.iter().map(|queue| queue.counters().into());
        others.fold(Progress::from(up.queue.counters()), |all, one: Progress| all + one)
    };
    assert_eq!(progress(up).outstanding, 6);
    assert_eq!(up.control.watch(progress(up), limit), Ok(()));
    bench.platform.clock().advance(limit);
    let fault = up.control.watch(progress(up), limit).unwrap_err();
    assert_eq!(fault, DeviceFault::NoAnswer { after_ms: 30_000 });
    fault
}

#[test]
fn a_disk_comes_back_as_it_was_and_every_request_is_somewhere() {
    let breaks: [Break; 3] = [asks_for_a_reset, breaks_a_queue, hangs];
    for break_it in breaks {
        for bench in benches() {
            let mut up = start(&bench);
            let before = (up.control.info(), up.control.features(), up.more_queues.len());
            let bytes_running = bench.platform.memory().bytes();
            give(&bench, &mut up);
            let _ = break_it(&bench, &mut up);
            // What the disk was told is not the device's to keep.
            bench.model().class.writeback = true;
            let mut tokens = Vec::new();
            let mut up = up
                .recover(Interrupts::msix(&MESSAGES), &mut |request, _| tokens.push(request.token))
                .unwrap();
            tokens.sort_unstable();
            assert_eq!(tokens, [0, 1, 2, 3, 4, 5]);
            assert_eq!((up.control.info(), up.control.features(), up.more_queues.len()), before);
            assert_eq!(up.control.interrupts(), InterruptMode::Msix { vectors: 2 });
            assert!(!up.control.write_cache() && !bench.model().class.writeback, "the cache is off again");
            assert_eq!(bench.platform.memory().bytes(), bytes_running);
            bench.model().class.serves_doorbells = true;
            for sector in 0..40 {
                ask(&mut up, Request::write(sector, bench.filled(&[SECTOR], 9))).result.unwrap();
            }
            up.stop(&mut |_, _| panic!("all was done")).unwrap();
            bench.assert_at_rest();
        }
    }
}

#[test]
fn a_reset_that_never_ends_leaves_all_parts_and_gives_nothing_back() {
    for bench in benches() {
        let mut up = start(&bench);
        give(&bench, &mut up);
        bench.model().personality.reset = Reset::Never;
        let failed =
            up.recover(Interrupts::POLLING, &mut |_, _| panic!("the device may have it")).unwrap_err();
        assert!(matches!(failed.error(), RecoverError::NotStopped(StopError::NoReset(_))), "{failed}");
        let Remains::Running(up) = failed.into_parts().1 else { panic!("it was not stopped") };
        bench.model().personality.reset = Reset::AtOnce;
        let mut back = 0;
        let up = up.recover(Interrupts::msix(&MESSAGES), &mut |_, _| back += 1).unwrap();
        assert_eq!(back, 6);
        up.stop(&mut |_, _| panic!("nothing was asked")).unwrap();
        bench.assert_at_rest();
    }
}

#[test]
fn a_disk_that_does_not_start_again_comes_back_stopped_with_its_terms() {
    for bench in benches() {
        let up = start(&bench);
        bench.model().rejects_features = true;
        let (error, remains) = up
            .recover(Interrupts::POLLING, &mut |_, _| panic!("nothing was asked"))
            .unwrap_err()
            .into_parts();
        assert!(matches!(error, RecoverError::NotStarted(StartError::SetUp(_))), "{error}");
        let Remains::Stopped(device, config) = remains else { panic!("{remains:?}") };
        bench.model().rejects_features = false;
        let mut up: Up = device.start(&config, Interrupts::POLLING).unwrap();
        assert_eq!((up.more_queues.len(), up.queue.room()), (1, 32));
        ask(&mut up, Request::read(0, bench.data(&[SECTOR]))).result.unwrap();
        up.stop(&mut |_, _| panic!("all was done")).unwrap();
        bench.assert_at_rest();
    }
}

#[test]
fn a_disk_that_comes_back_as_another_says_so() {
    for bench in benches() {
        let up = start(&bench);
        bench.model().class.blk_size = 4096;
        let failed = up.recover(Interrupts::msix(&MESSAGES), &mut |_, _| {}).unwrap_err();
        assert_eq!(*failed.error(), RecoverError::Changed);
        let Remains::Running(up) = failed.into_parts().1 else { panic!("it runs") };
        assert_eq!(up.control.info().block_bytes, 4096);
        bench.model().class.keeps_writeback = true;
        bench.model().class.writeback = true;
        let failed = up.recover(Interrupts::msix(&MESSAGES), &mut |_, _| {}).unwrap_err();
        assert_eq!(*failed.error(), RecoverError::Changed, "its cache does not go off");
        let Remains::Running(up) = failed.into_parts().1 else { panic!("it runs") };
        up.stop(&mut |_, _| {}).unwrap();
        bench.assert_at_rest();
    }
}

#[test]
fn a_queue_is_reset_alone_and_its_requests_come_back() {
    for bench in benches() {
        let mut up = start(&bench);
        for round in 0..21 {
            ask(&mut up, Request::read(round, bench.data(&[SECTOR]))).result.unwrap();
        }
        for round in 0..4_u64 {
            let other = Request::read(1, bench.data(&[SECTOR])).with_token(100 + round);
            bench.model().class.serves_doorbells = false;
            up.more_queues[0].submit(other).unwrap();
            up.more_queues[0].publish();
            give(&bench, &mut up);
            let mut tokens = Vec::new();
            let reset = up.control.reset_queue(&mut up.queue, &mut |request| tokens.push(request.token));
            assert_eq!(reset, Ok(()));
            tokens.sort_unstable();
            assert_eq!(tokens, [0, 1, 2, 3, 4, 5]);
            assert_eq!((up.queue.in_flight(), up.queue.room()), (0, 32));
            assert_eq!(Progress::from(up.queue.counters()).outstanding, 0);
            bench.model().class.serves_doorbells = true;
            bench.model().tick();
            let completion = up.more_queues[0].poll().unwrap().unwrap();
            assert_eq!((completion.request.token, completion.result), (100 + round, Ok(())));
            for sector in 0..37 {
                ask(&mut up, Request::write(sector, bench.filled(&[SECTOR, SECTOR], 5))).result.unwrap();
            }
        }
        up.stop(&mut |_, _| panic!("all was done")).unwrap();
        bench.assert_at_rest();
    }
}

#[test]
fn a_broken_queue_is_whole_again_when_it_was_reset() {
    for bench in benches() {
        let mut up = start(&bench);
        give(&bench, &mut up);
        let fault = breaks_a_queue(&bench, &mut up);
        let refused = up.queue.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap_err();
        assert_eq!(refused.into_error(), SubmitError::Fault(fault));
        let mut back = 0;
        assert_eq!(up.control.reset_queue(&mut up.queue, &mut |_| back += 1), Ok(()));
        assert_eq!(back, 6);
        bench.model().class.serves_doorbells = true;
        for sector in 0..40 {
            ask(&mut up, Request::read(sector, bench.data(&[SECTOR]))).result.unwrap();
        }
        up.stop(&mut |_, _| panic!("all was done")).unwrap();
        bench.assert_at_rest();
    }
}

#[test]
fn a_queue_reset_that_never_ends_gives_nothing_back() {
    for bench in benches() {
        let mut up = start(&bench);
        give(&bench, &mut up);
        bench.model().queue_reset = Reset::Never;
        let error = up.control.reset_queue(&mut up.queue, &mut |_| panic!("the device may have it"));
        let no_reset = QueueError::NoReset { queue: 0, after: RESET_TIMEOUT };
        assert_eq!(error, Err(QueueResetError::Queue(no_reset)));
        assert_eq!(up.queue.poll().unwrap_err(), DeviceFault::NeedsReset);
        // Neither it nor the device is told anything more.
        let error = up.control.reset_queue(&mut up.queue, &mut |_| panic!("the device may have it"));
        assert_eq!(error, Err(QueueResetError::Fault(DeviceFault::NeedsReset)));
        let mut back = 0;
        let up = up.recover(Interrupts::msix(&MESSAGES), &mut |_, _| back += 1).unwrap();
        assert_eq!(back, 6);
        up.stop(&mut |_, _| panic!("nothing was asked")).unwrap();
        bench.assert_at_rest();
    }
}

/// What is done without the device is no business of its queue.
#[test]
fn a_flush_that_was_done_already_is_not_taken_back() {
    let bench = Bench::of(Blk::new(SECTORS).with_features(bits::RO), Personality::qemu());
    let mut up = bench.start();
    up.queue.submit(Request::flush().with_token(4)).unwrap();
    assert_eq!(up.control.reset_queue(&mut up.queue, &mut |_| panic!("the device had nothing")), Ok(()));
    assert_eq!(completed(&mut up).request.token, 4);
    up.stop(&mut |_, _| panic!("all was done")).unwrap();
    bench.assert_at_rest();
}
