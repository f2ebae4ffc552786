//! Requests that are done in the order in which they came, each reported or several at once.

use paravane_block::{Completion, Request, RequestFault, RequestQueue as _};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_mock_hal::fault::{Action, Field};
use paravane_mock_hal::model::virtio::{Blk, Personality, feature};

use crate::support::{Bench, SECTOR, SECTORS, Up, bytes_of, completed, stop};

/// A disk that agrees to do everything in order, on either ring, with tables and without, and
/// reports each request, or several at once.
fn benches() -> impl Iterator<Item = Bench> {
    (0..8).map(|case| {
        let mut personality = Personality { batches: case & 1 != 0, shuffles: true, ..Personality::qemu() };
        personality.ring_features |= feature::IN_ORDER;
        if case & 2 != 0 {
            personality.ring_features |= feature::RING_PACKED;
        }
        if case & 4 != 0 {
            personality.ring_features &= !feature::INDIRECT_DESC;
        }
        Bench::of(Blk::of(&personality, SECTORS), personality)
    })
}

/// Asks for so many writes and reads, one sector after the other, and tells the device.
fn asks(bench: &Bench, up: &mut Up, round: u8) {
    for at in 0..4 {
        let (fill, token) = (round.wrapping_add(at), u64::from(at));
        let write = Request::write(token * 2, bench.filled(&[SECTOR, SECTOR], fill));
        up.queue.submit(write.with_token(2 * token)).unwrap();
        let read = Request::read(token * 2 + 1, bench.data(&[SECTOR]));
        up.queue.submit(read.with_token(2 * token + 1)).unwrap();
    }
    up.queue.publish();
}

#[test]
fn requests_come_back_in_order_through_many_laps() {
    for bench in benches() {
        let mut up = bench.start();
        assert_ne!(bench.model().accepted() & feature::IN_ORDER, 0);
        for round in 0..40 {
            asks(&bench, &mut up, round);
            for token in 0..8 {
                assert_eq!(up.queue.arm(), Ok(Armed::Pending), "{token} waits, whoever told of it");
                let Completion { request, result } = completed(&mut up);
                result.unwrap();
                assert_eq!(request.token, token);
                if token % 2 == 1 {
                    let fill = round.wrapping_add(u8::try_from(token / 2).unwrap());
                    assert_eq!(bytes_of(&request.data.unwrap()), [fill; SECTOR]);
                }
            }
            assert_eq!(up.queue.poll().unwrap().map(|_| ()), None);
            assert_eq!(up.queue.arm(), Ok(Armed::Idle));
        }
        assert_eq!(stop(up), 0);
        bench.assert_at_rest();
    }
}

#[test]
fn an_error_in_the_middle_of_a_batch_is_of_one_request() {
    for bench in benches() {
        let mut up = bench.start();
        bench.model().class.bad_sectors.insert(3);
        asks(&bench, &mut up, 7);
        for token in 0..8 {
            let result = completed(&mut up).result.map_err(|error| error.fault);
            // The write of two sectors, and the read of the second.
            let expected = if token == 2 || token == 3 { Err(RequestFault::Io) } else { Ok(()) };
            assert_eq!(result, expected, "{token}");
        }
        assert_eq!(stop(up), 0);
        bench.assert_at_rest();
    }
}

#[test]
fn a_lie_about_the_order_is_a_typed_fault_and_a_restart_heals() {
    for bench in benches() {
        let mut up = bench.start();
        let heads = if bench.model().has(feature::INDIRECT_DESC) { 1 } else { 3 };
        bench.lie(Action::Set { field: Field::Index, value: 4 * heads });
        bench.model().class.serves_doorbells = false;
        (0..8).for_each(|at| up.queue.submit(Request::read(at, bench.data(&[SECTOR]))).unwrap());
        up.queue.publish();
        let _ = bench.model().serve_one();
        bench.model().show(0, 0);
        // Of one request, which is not the first: on a split ring that is counted. On a packed one
        // all before it are done then, and their status says that they are not.
        let fault = (0..8).find_map(|_| up.queue.poll().err()).unwrap();
        match fault {
            DeviceFault::UnknownKind { value: 0xff, .. } if bench.is_packed() => {}
            DeviceFault::OutOfSequence { .. } if !bench.is_packed() => {}
            _ => panic!("{fault}"),
        }
        assert_eq!(up.queue.poll().unwrap_err(), fault, "it stays broken");
        stop(up);
        bench.model().repent();
        bench.model().class.serves_doorbells = true;
        let mut up = bench.start();
        asks(&bench, &mut up, 1);
        (0..8).for_each(|_| completed(&mut up).result.unwrap());
        assert_eq!(stop(up), 0);
        bench.assert_at_rest();
    }
}
