//! Several queues of one disk.

use paravane_block::{Completion, Control as _, Request, RequestQueue as _};
use paravane_hal::Failed;
use paravane_hal::irq::{Armed, InterruptMode, Interrupts, MsiMessage};
use paravane_mock_hal::fault::Action;
use paravane_mock_hal::message;
use paravane_mock_hal::model::virtio::blk::bits;
use paravane_mock_hal::model::virtio::{Blk, Personality, Reset, feature};
use paravane_virtio::blk::{Config, Running, StopError};

use crate::support::{Bench, Data, SECTOR, SECTORS, Up, ask, stop};

const MESSAGES: [MsiMessage; 5] = [
    message(0xfee0_0000, 0x40),
    message(0xfee0_0000, 0x41),
    message(0xfee0_0000, 0x42),
    message(0xfee0_0000, 0x43),
    message(0xfee0_0000, 0x44),
];

fn bench(num_queues: u16) -> Bench {
    let mut blk = Blk::new(SECTORS).with_features(bits::MQ | bits::FLUSH | bits::SEG_MAX);
    blk.num_queues = num_queues;
    Bench::of(blk, Personality { vectors: 8, ..Personality::qemu() })
}

fn start(bench: &Bench, queues: u16, interrupts: Interrupts<'_>) -> Up {
    let config = Config::default().with_entries(32).with_queues(queues);
    bench.device().start(&config, interrupts).map_err(Failed::into_error).unwrap()
}

#[test]
fn each_queue_serves_by_itself_and_all_serve_one_disk() {
    for ring in [0, feature::RING_PACKED] {
        let bench = bench(4);
        let offered = bench.model().offered() | ring;
        bench.model().offer(offered);
        for _ in 0..2 {
            let mut up = start(&bench, 4, Interrupts::msix(&MESSAGES));
            assert_eq!(up.more_queues.len(), 3);
            let Running { queue, more_queues, .. } = &mut up;
            for (place, queue) in (0_u8..).zip(core::iter::once(queue).chain(more_queues)) {
                let data = bench.filled(&[SECTOR], place + 1);
                queue.submit(Request::write(place.into(), data).with_token(place.into())).unwrap();
                queue.publish();
            }
            let doorbells = core::mem::take(&mut bench.model().doorbells);
            assert_eq!(doorbells[doorbells.len() - 4..], [0, 1, 2, 3]);
            // The last one's answers are not found in the first.
            for (place, queue) in up.more_queues.iter_mut().enumerate().rev() {
                let Completion { request, result } = queue.poll().unwrap().unwrap();
                assert_eq!((request.token, result), (place as u64 + 1, Ok(())));
                assert!(queue.poll().unwrap().is_none());
            }
            assert_eq!(up.queue.poll().unwrap().unwrap().request.token, 0);
            let firsts: Vec<u8> = bench.model().class.disk.chunks(SECTOR).map(|sector| sector[0]).collect();
            assert_eq!(firsts[..5], [1, 2, 3, 4, 0]);
            ask(&mut up, Request::flush()).result.unwrap();
            assert_eq!(bench.model().class.unflushed, 0, "of whichever queue");
            assert_eq!(stop(up), 0);
            bench.assert_at_rest();
        }
    }
}

#[test]
fn there_are_as_many_as_are_wanted_and_there() {
    for (num_queues, wanted, started) in [(4, 2, 2), (2, 4, 2), (0, 4, 1), (4, 0, 1), (1, 1, 1)] {
        let bench = bench(num_queues);
        let mut up = start(&bench, wanted, Interrupts::POLLING);
        assert_eq!(up.more_queues.len() + 1, started, "{wanted} of {num_queues}");
        let enabled = bench.model().queues.iter().filter(|queue| queue.is_enabled).count();
        assert_eq!(enabled, started);
        ask(&mut up, Request::read(0, bench.data(&[SECTOR]))).result.unwrap();
        stop(up);
        bench.assert_at_rest();
    }
    // One that does not offer several has one, whatever its field would say.
    let bench = Bench::new();
    assert!(start(&bench, 4, Interrupts::POLLING).more_queues.is_empty());
    bench.platform.memory().expect_leak(None);
}

#[test]
fn each_queue_has_a_message_of_its_own_while_there_are_some() {
    for (messages, own) in [(5, true), (3, false)] {
        let bench = bench(4);
        let mut up = start(&bench, 4, Interrupts::msix(&MESSAGES[..messages]));
        let vectors = u16::try_from(messages).unwrap();
        assert_eq!(up.control.interrupts(), InterruptMode::Msix { vectors });
        let vector = |queue: usize| bench.model().queues[queue].vector;
        let expected = if own { [0, 1, 2, 3] } else { [0, 1, 0, 1] };
        assert_eq!([0, 1, 2, 3].map(vector), expected);
        let last = up.more_queues.last_mut().unwrap();
        assert_eq!(last.arm(), Ok(Armed::Idle));
        last.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap();
        last.publish();
        let rung: Vec<u32> = bench.platform.take_interrupts().iter().map(|it| it.data()).collect();
        assert_eq!(rung, [if own { 0x43 } else { 0x41 }]);
        last.poll().unwrap().unwrap().result.unwrap();
        stop(up);
        bench.assert_at_rest();
    }
}

#[test]
fn a_lie_in_one_queue_breaks_that_one() {
    let bench = bench(2);
    let mut up = start(&bench, 2, Interrupts::POLLING);
    bench.lie(Action::Duplicate);
    let other = up.more_queues.first_mut().unwrap();
    other.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap();
    other.publish();
    let fault = loop {
        match other.poll() {
            Ok(completion) => drop(completion),
            Err(fault) => break fault,
        }
    };
    assert_eq!(other.poll().unwrap_err(), fault);
    ask(&mut up, Request::read(0, bench.data(&[SECTOR]))).result.unwrap();
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn what_is_in_flight_in_any_queue_comes_back_with_the_stop() {
    let bench = bench(3);
    bench.model().class.takes_its_time = true;
    let mut up = start(&bench, 3, Interrupts::POLLING);
    up.queue.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap();
    for queue in &mut up.more_queues {
        queue.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap();
        queue.publish();
    }
    bench.model().personality.reset = Reset::Never;
    let failed = up.stop(&mut |_, _| panic!("the device may have it")).unwrap_err();
    assert!(matches!(failed.error(), StopError::NoReset(_)), "{failed}");
    let (_, mut up) = failed.into_parts();
    for queue in &mut up.more_queues {
        assert!(queue.poll().is_err(), "it was told to stop");
    }
    bench.model().personality.reset = Reset::AtOnce;
    assert_eq!(stop(up), 3);
    bench.assert_at_rest();
}

#[test]
fn a_queue_of_another_disk_does_not_stop_this_one() {
    let (one, two) = (bench(2), bench(2));
    let mut up = start(&one, 2, Interrupts::POLLING);
    let mut other = start(&two, 2, Interrupts::POLLING);
    core::mem::swap(&mut up.more_queues, &mut other.more_queues);
    let failed = up.stop(&mut |_, _| panic!("nothing is stopped")).unwrap_err();
    assert_eq!(*failed.error(), StopError::ForeignQueue);
    let (_, mut up) = failed.into_parts();
    assert_eq!(up.more_queues.len(), 1);
    core::mem::swap(&mut up.more_queues, &mut other.more_queues);
    stop(up);
    stop(other);
    one.assert_at_rest();
    two.assert_at_rest();
}

#[test]
fn a_queue_that_the_device_does_not_have_after_all_fails_the_start_and_keeps_nothing() {
    let bench = bench(4);
    bench.model().queues.truncate(2);
    let config = Config::default().with_entries(32).with_queues(4);
    let failed = bench.device().start::<Data>(&config, Interrupts::POLLING).unwrap_err();
    assert!(failed.to_string().contains("no queue 2"), "{failed}");
    let mut up = start(&bench, 2, Interrupts::POLLING);
    ask(&mut up, Request::read(0, bench.data(&[SECTOR]))).result.unwrap();
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn memory_that_cannot_be_had_is_an_error_at_every_allocation() {
    let bench = bench(3);
    let config = Config::default().with_entries(32).with_queues(3);
    let mut refused = 0;
    let mut device = bench.device();
    let up = loop {
        bench.platform.memory().limit_allocations(Some(refused));
        match device.start::<Data>(&config, Interrupts::POLLING) {
            Ok(up) => break up,
            Err(failed) => {
                (_, device) = failed.into_parts();
                assert!(!device.keeps_memory());
                assert_eq!(bench.platform.memory().bytes(), bench.bytes_at_rest, "after {refused}");
            }
        }
        refused += 1;
    };
    bench.platform.memory().limit_allocations(None);
    assert!(refused >= 3 * 5, "two or three for each ring and three for each queue's places: {refused}");
    stop(up);
    bench.assert_at_rest();
}
