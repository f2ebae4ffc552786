//! The block device against statements of the specification, by a hand that writes rings itself.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

use super::blk::{Done, REQUESTS, bits, kind, outcome};
use super::hand::Hand;
use super::*;
use crate::fault::{Action, Fault, FaultPoint, Field};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const ENTRIES: u16 = 16;
const SECTORS: usize = 64;
const BASIC: u64 = feature::VERSION_1 | bits::FLUSH | bits::SEG_MAX | bits::BLK_SIZE;

/// What nobody wrote to, of what the device has.
const UNTOUCHED: u8 = 0xdb;

/// A descriptor: address, length, whether it can be written.
type Piece = (u64, u32, bool);

fn ready_with(personality: Personality, features: u64, change: impl FnOnce(&mut Blk)) -> Hand<Blk> {
    let mut blk = Blk::of(&personality, SECTORS);
    blk.features = features & !(feature::VERSION_1 | feature::ACCESS_PLATFORM);
    (0..SECTORS).for_each(|sector| blk.disk[sector * 512] = sector as u8);
    change(&mut blk);
    let hand = Hand::new(personality, blk);
    hand.set_up(features, 1, ENTRIES);
    hand
}

fn ready() -> Hand<Blk> {
    ready_with(Personality::microvm(), BASIC, |_| {})
}

impl Hand<Blk> {
    fn header(&self, request: u16, kind: u32, sector: u64) -> Piece {
        let at = self.buffer(4 * request);
        self.poke(at, &[&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat());
        (at, 16, false)
    }

    fn data(&self, request: u16, len: u32, is_writable: bool) -> Piece {
        (self.buffer(4 * request + 1), len, is_writable)
    }

    fn status_byte(&self, request: u16) -> Piece {
        self.poke(self.buffer(4 * request + 3), &[0xff]);
        (self.buffer(4 * request + 3), 1, true)
    }

    fn status_of(&self, request: u16) -> u8 {
        self.peek::<1>(self.buffer(4 * request + 3))[0]
    }

    /// Describes `pieces` from descriptor `first` on, as the `nth` that is made available.
    fn submit(&self, nth: u16, first: u16, pieces: &[Piece]) {
        let table = self.area(REQUESTS, 0);
        for ((index, piece), left) in (first..).zip(pieces).zip((0..pieces.len()).rev()) {
            let (addr, len, is_writable) = piece;
            let flags = if left > 0 { NEXT } else { 0 } | if *is_writable { WRITE } else { 0 };
            let words = [&addr.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes()];
            self.poke(table + 16 * u64::from(index), &words.concat());
            self.poke(table + 16 * u64::from(index) + 14, &(index + 1).to_le_bytes());
        }
        self.poke(self.area(REQUESTS, 1) + 4 + 2 * u64::from(nth), &first.to_le_bytes());
        self.poke(self.area(REQUESTS, 1) + 2, &(nth + 1).to_le_bytes());
    }

    /// One request alone, as the first.
    fn do_it(&self, kind: u32, sector: u64, data: &[Piece]) -> u8 {
        let pieces = [&[self.header(0, kind, sector)], data, &[self.status_byte(0)]].concat();
        self.submit(0, 0, &pieces);
        self.notify(REQUESTS);
        self.status_of(0)
    }

    fn used(&self) -> Vec<(u32, u32)> {
        let used = self.area(REQUESTS, 2);
        let count = u16::from_le_bytes(self.peek(used + 2));
        let element = |slot: u16| used + 4 + 8 * u64::from(slot % ENTRIES);
        let words = |at| (u32::from_le_bytes(self.peek(at)), u32::from_le_bytes(self.peek(at + 4)));
        (0..count).map(|slot| words(element(slot))).collect()
    }
}

#[test]
fn sectors_are_read_and_written_5_2_6() {
    let hand = ready();
    let pieces = [hand.data(0, 512, true), (hand.buffer(2), 512, true)];
    assert_eq!(hand.do_it(kind::IN, 7, &pieces), outcome::OK);
    assert_eq!([1, 2].map(|buffer| hand.peek::<1>(hand.buffer(buffer))[0]), [7, 8]);
    assert_eq!(hand.used(), [(0, 1025)], "data and status");
    hand.poke(hand.buffer(5), &[0x5a; 512]);
    let write = [hand.header(1, kind::OUT, 63), hand.data(1, 512, false), hand.status_byte(1)];
    hand.submit(1, 4, &write);
    hand.notify(REQUESTS);
    assert_eq!((hand.status_of(1), hand.used()[1]), (outcome::OK, (4, 1)));
    assert_eq!(hand.device.lock().class.disk[63 * 512..], [0x5a; 512]);
    assert_eq!(hand.device.lock().class.unflushed, 1);
    let flush = [hand.header(2, kind::FLUSH, 0), hand.status_byte(2)];
    hand.submit(2, 8, &flush);
    hand.notify(REQUESTS);
    assert_eq!((hand.status_of(2), hand.device.lock().class.unflushed), (outcome::OK, 0));
    let done = |kind, sector, len_bytes, segments| Done { kind, sector, len_bytes, segments, status: 0 };
    let expected = [done(kind::IN, 7, 1024, 2), done(kind::OUT, 63, 512, 1), done(kind::FLUSH, 0, 0, 0)];
    assert_eq!(hand.device.lock().take_done(), expected);
    assert_eq!(hand.violations(), Vec::<String>::new());
}

#[test]
fn a_disk_says_who_it_is() {
    let hand = ready();
    assert_eq!(hand.do_it(kind::GET_ID, 0, &[hand.data(0, 20, true)]), outcome::OK);
    assert_eq!(hand.peek::<20>(hand.buffer(1)), *b"paravane-disk-000001");
    assert_eq!((hand.used(), hand.violations()), (vec![(0, 21)], vec![]));
}

#[test]
fn requests_that_break_the_rules_are_told_by_rule() {
    let hand = || ready_with(Personality::microvm(), BASIC | bits::SIZE_MAX, |blk| blk.size_max = 512);
    let data = |hand: &Hand<Blk>, len, is_writable| vec![hand.data(0, len, is_writable)];
    type Ask = (&'static str, u32, u64, u8);
    let cases: [(Ask, Vec<(u32, bool)>); 12] = [
        (("goes one way", kind::IN, 0, outcome::IOERR), vec![(512, false)]),
        (("goes one way", kind::OUT, 0, outcome::IOERR), vec![(512, true)]),
        (("whole sectors", kind::IN, 0, outcome::IOERR), vec![(511, true)]),
        (("whole sectors", kind::OUT, 0, outcome::IOERR), vec![]),
        (("inside the disk", kind::IN, 64, outcome::IOERR), vec![(512, true)]),
        (("inside the disk", kind::OUT, u64::MAX, outcome::IOERR), vec![(512, false)]),
        (("size_max", kind::IN, 0, outcome::IOERR), vec![(1024, true)]),
        (("FLUSH of sector 1", kind::FLUSH, 1, outcome::OK), vec![]),
        (("with data", kind::FLUSH, 0, outcome::OK), vec![(512, true)]),
        (("GET_ID into 19", kind::GET_ID, 0, outcome::OK), vec![(19, true)]),
        (("type 11", 11, 0, outcome::UNSUPP), vec![(16, false)]),
        (("type 5", 5, 0, outcome::UNSUPP), vec![]),
    ];
    for ((expected, kind, sector, status), pieces) in cases {
        let hand = hand();
        let pieces: Vec<Piece> =
            pieces.into_iter().flat_map(|(len, is_writable)| data(&hand, len, is_writable)).collect();
        assert_eq!(hand.do_it(kind, sector, &pieces), status, "{expected}");
        let violations = hand.violations();
        assert!(violations.iter().any(|said| said.contains(expected)), "{expected}: {violations:?}");
    }
}

#[test]
fn a_chain_is_a_header_data_and_a_status() {
    type Make = fn(&Hand<Blk>) -> Vec<Piece>;
    let cases: [(&str, Make); 3] = [
        ("no request", |hand| vec![(hand.buffer(0), 15, false), hand.status_byte(0)]),
        ("no request", |hand| vec![hand.header(0, kind::FLUSH, 0)]),
        ("reserved word", |hand| {
            let header = hand.header(0, kind::FLUSH, 0);
            hand.poke(header.0 + 4, &[1]);
            vec![header, hand.status_byte(0)]
        }),
    ];
    for (expected, make) in cases {
        let hand = ready();
        hand.submit(0, 0, &make(&hand));
        hand.notify(REQUESTS);
        let violations = hand.violations();
        assert!(violations[0].contains(expected), "{expected}: {violations:?}");
        assert_eq!(hand.used().len(), 1, "it comes back all the same");
    }
    // Any framing is one, where the monitor does not mind.
    for (personality, status) in
        [(Personality::microvm(), outcome::OK), (Personality::firecracker(), UNTOUCHED)]
    {
        let hand = ready_with(personality, BASIC & !bits::SEG_MAX & !bits::BLK_SIZE, |_| {});
        let (header, ..) = hand.header(0, kind::IN, 3);
        let pieces = [(header, 10, false), (header + 10, 6, false), (hand.buffer(1), 513, true)];
        hand.submit(0, 0, &pieces);
        hand.notify(REQUESTS);
        assert_eq!(hand.peek::<1>(hand.buffer(1) + 512), [status], "{}", personality.name);
        assert_eq!(hand.used(), [(0, if status == 0 { 513 } else { 0 })]);
        assert_eq!((hand.violations().len(), hand.refusals().len()), (0, usize::from(status != 0)));
    }
}

#[test]
fn more_segments_than_seg_max_are_too_many() {
    let hand = ready_with(Personality::microvm(), BASIC, |blk| blk.seg_max = 2);
    let pieces = [1, 2, 4].map(|buffer| (hand.buffer(buffer), 512, true));
    assert_eq!(hand.do_it(kind::IN, 0, &pieces), outcome::IOERR);
    assert!(hand.violations()[0].contains("seg_max"));
}

#[test]
fn a_disk_that_is_read_only_is_not_written_5_2_6_2() {
    for (features, violations) in [(BASIC | bits::RO, 1), (BASIC, 0)] {
        let hand = ready_with(Personality::microvm(), features, |blk| blk.features |= bits::RO);
        assert_eq!(hand.do_it(kind::OUT, 0, &[hand.data(0, 512, false)]), outcome::IOERR);
        assert_eq!(hand.violations().len(), violations, "whoever agreed on RO knows");
        assert_eq!(hand.used(), [(0, 1)]);
    }
    let without_flush = ready_with(Personality::microvm(), BASIC & !bits::FLUSH, |_| {});
    assert_eq!(without_flush.do_it(kind::FLUSH, 0, &[]), outcome::UNSUPP);
    assert!(without_flush.violations()[0].contains("not agreed"));
}

#[test]
fn a_bad_sector_is_an_error_and_no_violation() {
    let hand = ready_with(Personality::microvm(), BASIC, |blk| _ = blk.bad_sectors.insert(5));
    for (sector, status) in [(5, outcome::IOERR), (4, outcome::IOERR), (3, outcome::OK), (6, outcome::OK)] {
        hand.device.lock().reset();
        hand.set_up(BASIC, 1, ENTRIES);
        hand.poke(hand.area(REQUESTS, 2), &[0; 8]);
        assert_eq!(hand.do_it(kind::IN, sector, &[(hand.buffer(1), 1024, true)]), status, "sector {sector}");
    }
    assert_eq!(hand.violations(), Vec::<String>::new());
}

#[test]
fn the_configuration_is_as_long_as_what_is_offered_5_2_4() {
    let hand = ready_with(Personality::microvm(), BASIC | bits::SIZE_MAX, |_| {});
    let words = [0x100, 0x104, 0x108, 0x10c, 0x114].map(|at| hand.read(at));
    assert_eq!(words, [64, 0, 1 << 16, 126, 512]);
    let generation = hand.read(0xfc);
    hand.device.lock().resize(128);
    assert_eq!((hand.read(0x100), hand.read(0x60)), (128, 2));
    assert_ne!(hand.read(0xfc), generation);
    assert_eq!(hand.violations(), Vec::<String>::new());
    hand.read(0x110);
    hand.read(0x118);
    assert_eq!(hand.violations().len(), 8, "GEOMETRY and TOPOLOGY were not agreed");
}

#[test]
fn a_disk_that_shrank_fails_what_its_driver_could_not_know() {
    let hand = ready();
    hand.device.lock().resize(4);
    assert_eq!(hand.do_it(kind::IN, 4, &[hand.data(0, 512, true)]), outcome::IOERR);
    assert_eq!(hand.violations(), Vec::<String>::new());
    hand.device.lock().reset();
    hand.set_up(BASIC, 1, ENTRIES);
    assert_eq!(hand.do_it(kind::IN, 4, &[hand.data(0, 512, true)]), outcome::IOERR);
    assert!(hand.violations()[0].contains("inside the disk"));
}

#[test]
fn every_monitor_reads_a_sector() {
    for personality in Personality::on_no_bus() {
        let access = if personality.needs_access_platform { feature::ACCESS_PLATFORM } else { 0 };
        let features = feature::VERSION_1 | personality.blk_features & Blk::PLAYED;
        let hand = ready_with(personality, features | access, |blk| blk.features = personality.blk_features);
        assert_eq!(hand.do_it(kind::IN, 9, &[hand.data(0, 512, true)]), outcome::OK, "{}", personality.name);
        assert_eq!((hand.violations(), hand.refusals()), (vec![], vec![]));
    }
}

/// Three reads in flight, of sectors 1 to 3; first descriptors 0, 3 and 6.
fn three(change: impl FnOnce(&mut Virtio<Blk>)) -> Hand<Blk> {
    let hand = ready();
    change(&mut hand.device.lock());
    for request in 0..3 {
        let header = hand.header(request, kind::IN, u64::from(request) + 1);
        hand.submit(
            request,
            3 * request,
            &[header, hand.data(request, 512, true), hand.status_byte(request)],
        );
    }
    hand.notify(REQUESTS);
    hand
}

#[test]
fn requests_come_back_in_the_order_that_the_device_likes() {
    let heads = |hand: &Hand<Blk>| hand.used().iter().map(|(head, _)| *head).collect::<Vec<_>>();
    assert_eq!(heads(&three(|_| {})), [0, 3, 6]);
    assert_eq!(heads(&three(|model| model.personality.shuffles = true)), [6, 3, 0]);
    let hand = three(|model| model.class.takes_its_time = true);
    assert_eq!((heads(&hand), hand.device.lock().waiting(REQUESTS)), (vec![], 0), "taken, and not done");
    hand.device.lock().tick();
    assert_eq!((heads(&hand), hand.violations()), (vec![0, 3, 6], vec![]));
    let hand = three(|model| model.class.serves_doorbells = false);
    assert_eq!(hand.device.lock().waiting(REQUESTS), 3);
    assert_eq!(hand.device.lock().serve_one(), Some(0));
    assert_eq!(heads(&hand), [0; 0], "not shown yet");
}

#[test]
fn faults_change_what_is_said_of_a_request() {
    let said = |action: Action| {
        let fault = Fault::nth(FaultPoint::RequestCompletion, 1, action);
        let hand = three(|model| model.faults.add(fault));
        (0..3).for_each(|_| hand.device.lock().tick());
        assert_eq!(hand.device.lock().faults.hits(), 1, "{action:?}");
        (hand.used(), hand.status_of(0))
    };
    let full = 513;
    let set = |field, value| Action::Set { field, value };
    assert_eq!(said(Action::Drop), (vec![(3, full), (6, full)], 0));
    assert_eq!(said(Action::Duplicate).0, [(0, full), (0, full), (3, full), (6, full)]);
    assert_eq!(said(Action::Reorder).0, [(3, full), (0, full), (6, full)]);
    assert_eq!(said(Action::Invent { index: 9 }).0[0], (9, full));
    assert_eq!(said(Action::Delay { ticks: 2 }).0[2], (0, full));
    assert_eq!(said(set(Field::Index, 1)).0[0], (1, full));
    assert_eq!(said(set(Field::Length, 0)).0[0], (0, 0));
    assert_eq!(said(set(Field::Kind, 0xff)), (vec![(0, full), (3, full), (6, full)], 0xff));
    assert_eq!(said(set(Field::Kind, 2)).1, 2);
}

#[test]
fn what_a_misled_driver_took_back_is_not_looked_for() {
    let hand = three(|model| model.class.takes_its_time = true);
    // It saw 6 used, and takes the memory of that away: here, leads nowhere.
    let element = hand.area(REQUESTS, 2) + 4;
    hand.device.lock().misheard(element, 4, 6);
    hand.device.lock().put(REQUESTS, 77, 0);
    hand.submit(3, 9, &[(0x10, 16, false), (0x20, 1, true)]);
    (0..2).for_each(|_| hand.device.lock().tick());
    assert_eq!(hand.violations(), Vec::<String>::new());
    assert_eq!(hand.device.lock().take_done().len(), 2, "the one that it saw used is not done");
}
