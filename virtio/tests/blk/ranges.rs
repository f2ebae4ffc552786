//! What is said about ranges of sectors, the cache, and the medium.

use paravane_block::{
    Control as _, Events, Geometry, Lifetime, Operation, RangeLimits, Request, RequestFault,
    RequestQueue as _, Reserve, SectorRange, SubmitError, Topology,
};
use paravane_mock_hal::fault::{Action, Field};
use paravane_mock_hal::model::virtio::blk::{DISCARDED, Done, ERASED, bits, kind};
use paravane_mock_hal::model::virtio::{Blk, Personality, feature};

use crate::support::{Bench, Data, SECTOR, SECTORS, Up, ask, bytes_of, completed, stop};

const RANGES: u64 = bits::DISCARD | bits::WRITE_ZEROES | bits::SECURE_ERASE;
const ALL: u64 = bits::FLUSH | bits::SEG_MAX | bits::BLK_SIZE | bits::CONFIG_WCE | bits::LIFETIME | RANGES;

fn bench_with(features: u64, change: impl FnOnce(&mut Blk)) -> Bench {
    let mut blk = Blk::new(SECTORS).with_features(features);
    blk.disk.fill(0x11);
    change(&mut blk);
    Bench::of(blk, Personality::qemu())
}

fn range(sector: u64, sectors: u32) -> SectorRange {
    SectorRange { sector, sectors }
}

/// What each sector is full of, run by run.
fn runs(bench: &Bench) -> Vec<(u8, usize)> {
    let mut runs: Vec<(u8, usize)> = Vec::new();
    for sector in bench.model().class.disk.chunks(SECTOR) {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are changed whole");
        match runs.last_mut() {
            Some((fill, count)) if *fill == sector[0] => *count += 1,
            _ => runs.push((sector[0], 1)),
        }
    }
    runs
}

/// What the device was asked for: types, sectors of headers and bytes of data.
fn asked(bench: &Bench) -> Vec<(u32, u64, usize)> {
    let done = bench.model().take_done();
    done.iter().map(|Done { kind, sector, len_bytes, .. }| (*kind, *sector, *len_bytes)).collect()
}

#[test]
fn ranges_are_discarded_filled_and_erased() {
    let bench = bench_with(ALL, |_| {});
    let mut up = bench.start();
    ask(&mut up, Request::discard(range(1, 2))).result.unwrap();
    ask(&mut up, Request::write_zeroes(range(8, 4), true)).result.unwrap();
    ask(&mut up, Request::secure_erase(range(60, 4))).result.unwrap();
    let expected = [(0x11, 1), (DISCARDED, 2), (0x11, 5), (0, 4), (0x11, 48), (ERASED, 4)];
    assert_eq!(runs(&bench), expected);
    assert_eq!((up.queue.counters().bytes, up.queue.counters().parts), (0, 3));
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn the_last_sector_is_in_and_what_is_beyond_is_not() {
    let bench = bench_with(ALL, |_| {});
    let mut up = bench.start();
    let last = SECTORS as u64 - 1;
    let beyond = up.queue.submit(Request::discard(range(last, 2))).unwrap_err();
    let out = SubmitError::OutOfRange { sector: last, sectors: 2, capacity_sectors: SECTORS as u64 };
    assert_eq!(*beyond.error(), out);
    let wraps = up.queue.submit(Request::discard(range(u64::MAX, 1))).unwrap_err();
    assert!(matches!(wraps.error(), SubmitError::OutOfRange { .. }));
    ask(&mut up, Request::discard(range(last, 1))).result.unwrap();
    assert_eq!(runs(&bench), [(0x11, SECTORS - 1), (DISCARDED, 1)]);
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn a_range_longer_than_the_device_takes_is_cut_where_it_likes_it() {
    let bench = bench_with(ALL, |_| {});
    let mut up = bench.start();
    let info = up.control.info();
    assert_eq!(info.discard, RangeLimits::new(16, 8, 512));
    assert_eq!(info.write_zeroes, RangeLimits::new(24, 0, 512));
    assert_eq!(info.secure_erase, RangeLimits::new(32, 16, 512));
    for (request, kind, parts) in [
        (Request::discard(range(3, 40)), kind::DISCARD, vec![(3, 13), (16, 16), (32, 11)]),
        (Request::write_zeroes(range(3, 40), false), kind::WRITE_ZEROES, vec![(3, 24), (27, 16)]),
        (Request::secure_erase(range(3, 40)), kind::SECURE_ERASE, vec![(3, 29), (32, 11)]),
    ] {
        let before = up.queue.counters();
        ask(&mut up, request).result.unwrap();
        let after = up.queue.counters();
        assert_eq!(after.parts - before.parts, parts.len() as u64);
        assert_eq!(after.requests - before.requests, 1);
        assert_eq!(asked(&bench), vec![(kind, 0, 16); parts.len()], "a range in each");
        assert_eq!(bench.model().class.take_ranges(), parts);
    }
    assert_eq!(runs(&bench), [(0x11, 3), (ERASED, 40), (0x11, 21)]);
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn a_range_of_more_parts_than_the_queue_has_places_for_is_too_long_for_ever() {
    let bench = bench_with(ALL, |blk| blk.discard.max_sectors = 1).without(feature::INDIRECT_DESC);
    let mut up = bench.start();
    let failed = up.queue.submit(Request::discard(range(0, 17))).unwrap_err();
    assert!(matches!(failed.error(), SubmitError::TooLong { max_segments: 32, .. }), "{failed}");
    let failed = up.queue.submit(Request::discard(range(0, 11))).unwrap_err();
    assert_eq!(*failed.error(), SubmitError::TooLong { segments: 33, max_segments: 32 });
    up.queue.submit(Request::discard(range(0, 10))).unwrap();
    assert_eq!(up.queue.submit(Request::discard(range(10, 1))).unwrap_err().into_error(), SubmitError::Full);
    up.queue.publish();
    completed(&mut up).result.unwrap();
    assert_eq!(runs(&bench)[0], (DISCARDED, 10));
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn what_a_device_did_not_offer_is_not_asked_of_it() {
    let bench = bench_with(bits::FLUSH, |_| {});
    let mut up = bench.start();
    let asks: [Request<Data>; 4] = [
        Request::discard(range(0, 1)),
        Request::write_zeroes(range(0, 1), false),
        Request::secure_erase(range(0, 1)),
        Request::lifetime(bench.data(&[6])),
    ];
    for request in asks {
        assert_eq!(up.queue.submit(request).unwrap_err().into_error(), SubmitError::Unsupported);
    }
    assert!(!up.control.set_write_cache(false) && up.control.write_cache());
    assert_eq!(up.queue.in_flight(), 0);
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn a_read_only_disk_keeps_what_it_holds() {
    let bench = bench_with(ALL | bits::RO, |_| {});
    let mut up = bench.start();
    let asks: [Request<Data>; 3] = [
        Request::discard(range(0, 1)),
        Request::write_zeroes(range(0, 1), true),
        Request::secure_erase(range(0, 1)),
    ];
    for request in asks {
        assert_eq!(up.queue.submit(request).unwrap_err().into_error(), SubmitError::ReadOnly);
    }
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn memory_is_given_up_where_both_agree() {
    for (may_unmap, device_may, flags) in [(true, true, 1), (true, false, 0), (false, true, 0)] {
        let bench = bench_with(ALL, |blk| blk.zeroes_may_unmap = device_may);
        let mut up = bench.start();
        ask(&mut up, Request::write_zeroes(range(0, 8), may_unmap)).result.unwrap();
        assert_eq!(bench.model().class.last_flags, flags);
        ask(&mut up, Request::discard(range(0, 8))).result.unwrap();
        assert_eq!(bench.model().class.last_flags, 0);
        stop(up);
        bench.assert_at_rest();
    }
}

#[test]
fn a_part_that_fails_fails_its_request_and_no_other() {
    let bench = bench_with(ALL, |blk| _ = blk.bad_sectors.insert(20));
    let mut up = bench.start();
    up.queue.submit(Request::discard(range(0, 40)).with_token(5)).unwrap();
    up.queue.submit(Request::discard(range(40, 8)).with_token(6)).unwrap();
    up.queue.publish();
    let error = completed(&mut up).result.unwrap_err();
    let operation = Operation::Discard { sector: 0, sectors: 40 };
    assert_eq!((error.token, error.operation, error.fault), (5, operation, RequestFault::Io));
    let next = completed(&mut up);
    assert_eq!((next.request.token, next.result), (6, Ok(())));
    assert_eq!(runs(&bench), [(DISCARDED, 16), (0x11, 16), (DISCARDED, 16), (0x11, 16)]);
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn a_device_that_changes_its_mind_is_heard() {
    let bench = bench_with(ALL, |_| {});
    bench.lie(Action::Set { field: Field::Kind, value: 2 });
    let mut up = bench.start();
    let error = ask(&mut up, Request::secure_erase(range(0, 1))).result.unwrap_err();
    assert_eq!(error.fault, RequestFault::Unsupported);
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn a_disk_says_how_its_blocks_lie_and_how_worn_it_is() {
    let bench = bench_with(ALL | bits::TOPOLOGY | bits::GEOMETRY, |blk| {
        blk.blk_size = 1024;
        blk.topology = (2, 1, 4, 256);
        blk.lifetime = [2, 7, 11];
    });
    let mut up = bench.start();
    let info = up.control.info();
    let topology = Topology {
        physical_block_exponent: 2,
        first_aligned_block: 1,
        min_io_blocks: 4,
        optimal_io_blocks: 256,
    };
    assert_eq!((info.block_bytes, info.topology), (1024, topology));
    assert_eq!(info.geometry, Some(Geometry { cylinders: 16, heads: 4, sectors: 32 }));
    assert_eq!(up.queue.info(), &info);
    let worn = ask(&mut up, Request::lifetime(bench.data(&[6])));
    worn.result.unwrap();
    let bytes: [u8; 6] = bytes_of(&worn.request.data.unwrap()).try_into().unwrap();
    let expected = Lifetime { reserve: Reserve::Low, used_percent_a: Some(70), used_percent_b: Some(110) };
    assert_eq!(Lifetime::from_bytes(bytes), expected);
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn blocks_of_the_device_are_what_ranges_are_made_of() {
    let bench = bench_with(ALL, |blk| (blk.blk_size, blk.discard.max_sectors) = (1024, 5));
    let mut up = bench.start();
    let odd = up.queue.submit(Request::discard(range(1, 2))).unwrap_err().into_error();
    assert_eq!(odd, SubmitError::NotBlocks { bytes: 1024, block_bytes: 1024 });
    ask(&mut up, Request::discard(range(2, 8))).result.unwrap();
    assert_eq!(bench.model().class.take_ranges(), [(2, 4), (6, 4)], "two blocks of the five sectors");
    stop(up);
    bench.assert_at_rest();
}

fn write_one(bench: &Bench, up: &mut Up, sector: u64, fill: u8) {
    ask(up, Request::write(sector, bench.filled(&[SECTOR], fill))).result.unwrap();
}

#[test]
fn a_flush_saves_what_was_written_before_it_and_a_cache_that_is_off_saves_all() {
    let bench = bench_with(ALL, |_| {});
    let mut up = bench.start();
    assert!(up.control.write_cache());
    write_one(&bench, &mut up, 0, 1);
    ask(&mut up, Request::flush()).result.unwrap();
    write_one(&bench, &mut up, 1, 2);
    bench.model().class.lose_power();
    assert_eq!(runs(&bench), [(1, 1), (0x11, SECTORS - 1)]);

    assert!(up.control.set_write_cache(false) && !up.control.write_cache());
    write_one(&bench, &mut up, 1, 3);
    bench.model().class.lose_power();
    assert_eq!(bench.model().class.disk[SECTOR], 3, "stored when the write completed");
    ask(&mut up, Request::flush()).result.unwrap();

    assert!(up.control.set_write_cache(true) && up.control.write_cache());
    write_one(&bench, &mut up, 1, 4);
    bench.model().class.lose_power();
    assert_eq!(bench.model().class.disk[SECTOR], 3);
    assert_eq!(up.control.poll(), Ok(Events::empty()));
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn a_cache_that_is_off_at_the_start_is_known_to_be() {
    let bench = bench_with(ALL, |blk| blk.writeback = false);
    let mut up = bench.start();
    assert!(!up.control.write_cache() && up.control.info().write_cache, "and can be flushed");
    ask(&mut up, Request::flush()).result.unwrap();
    assert_eq!(asked(&bench), [(kind::FLUSH, 0, 0)]);
    stop(up);
    bench.assert_at_rest();
}

#[test]
fn a_device_that_keeps_its_cache_is_not_believed_to_have_switched_it() {
    let bench = bench_with(ALL, |blk| blk.keeps_writeback = true);
    let mut up = bench.start();
    assert!(!up.control.set_write_cache(false));
    assert!(up.control.write_cache());
    stop(up);
    bench.assert_at_rest();
}
