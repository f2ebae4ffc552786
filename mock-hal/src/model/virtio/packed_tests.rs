//! The packed ring against statements of the specification.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

use super::hand::{Hand, LINE};
use super::net::{RX, TX, bits};
use super::*;
use crate::fault::{Action, Fault, FaultPoint, Field};

const BASIC: u64 = feature::VERSION_1 | feature::RING_PACKED | bits::MAC | bits::STATUS;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

fn personality() -> Personality {
    let ring_features = Personality::microvm().ring_features | feature::RING_PACKED;
    Personality { ring_features, ..Personality::microvm() }
}

/// A started device whose rings have so many entries.
fn ready(entries: u16, more: u64) -> Hand<Net> {
    ready_as(personality(), entries, more)
}

fn ready_as(personality: Personality, entries: u16, more: u64) -> Hand<Net> {
    let hand = Hand::new(personality, Net::new([0x52, 0x54, 0, 1, 2, 3]));
    hand.set_up(BASIC | more, 2, entries);
    for index in 0..8 {
        hand.poke(hand.buffer(index), &[0; 0x200]);
    }
    hand
}

/// What makes a descriptor available in a lap.
fn available(lap: u16) -> u16 {
    if lap.is_multiple_of(2) { AVAIL } else { USED }
}

/// And what makes it used.
fn is_used(flags: u16, lap: u16) -> bool {
    flags & (AVAIL | USED) == if lap.is_multiple_of(2) { AVAIL | USED } else { 0 }
}

impl Hand<Net> {
    fn describe(&self, queue: usize, slot: u16, (addr, len): (u64, u32), id: u16, flags: u16) {
        self.describe_at(self.area(queue, 0) + 16 * u64::from(slot), (addr, len), id, flags);
    }

    fn describe_at(&self, at: u64, (addr, len): (u64, u32), id: u16, flags: u16) {
        let words = [&addr.to_le_bytes()[..], &len.to_le_bytes(), &id.to_le_bytes(), &flags.to_le_bytes()];
        self.poke(at, &words.concat());
    }

    /// A frame of one piece in `slot`, by buffer and ID `id`.
    fn offer(&self, slot: u16, id: u16, lap: u16) {
        self.describe(TX, slot, (self.buffer(id % 8), 72), id, available(lap));
    }

    /// Length, ID and flags of a slot.
    fn slot(&self, queue: usize, slot: u16) -> (u32, u16, u16) {
        let at = self.area(queue, 0) + 16 * u64::from(slot);
        let half = |at| u16::from_le_bytes(self.peek(at));
        (u32::from_le_bytes(self.peek(at + 8)), half(at + 12), half(at + 14))
    }

    fn used_id(&self, queue: usize, slot: u16, lap: u16) -> Option<u16> {
        let (_, id, flags) = self.slot(queue, slot);
        is_used(flags, lap).then_some(id)
    }

    /// Whom the driver wants to hear from.
    fn event(&self, queue: usize, off_wrap: u16, flags: u16) {
        self.poke(self.area(queue, 1), &[off_wrap.to_le_bytes(), flags.to_le_bytes()].concat());
    }

    /// What the device says of that.
    fn wish(&self, queue: usize) -> (u16, u16) {
        let half = |at| u16::from_le_bytes(self.peek(at));
        (half(self.area(queue, 2)), half(self.area(queue, 2) + 2))
    }

    fn sent(&self) -> Vec<usize> {
        self.device.lock().take_sent().iter().map(|sent| sent.segments).collect()
    }
}

#[test]
fn frames_go_round_rings_of_any_size() {
    for entries in [1, 2, 3, 7, 64] {
        let hand = ready(entries, 0);
        assert!(hand.device.lock().queues[TX].is_packed());
        for turn in 0..3 * entries + 1 {
            let (slot, lap) = (turn % entries, turn / entries);
            hand.offer(slot, 1000 + turn, lap);
            hand.notify(TX);
            assert_eq!(hand.sent(), [1], "turn {turn} of {entries}");
            assert_eq!(hand.used_id(TX, slot, lap), Some(1000 + turn));
            assert_eq!(hand.slot(TX, slot).2 & WRITE, 0, "nothing was written");
        }
        assert_eq!(hand.violations(), Vec::<String>::new());
    }
}

#[test]
fn a_chain_is_passed_over_by_its_length_2_8_6() {
    let hand = ready(5, 0);
    for turn in 0..20_u16 {
        // Three pieces in slots that may lie on both sides of the end; laps by counting slots.
        let pieces: Vec<(u16, u16)> =
            (0..3).map(|ahead| ((turn * 3 + ahead) % 5, (turn * 3 + ahead) / 5)).collect();
        for (ahead, (place, lap)) in pieces.iter().enumerate().rev() {
            let next = if ahead < 2 { NEXT } else { 0 };
            let id = if ahead == 2 { turn } else { 0xdead };
            let piece = (hand.buffer(ahead as u16), 30);
            hand.describe(TX, *place, piece, id, next | available(*lap));
        }
        hand.notify(TX);
        assert_eq!(hand.sent(), [3], "turn {turn}");
        let (place, lap) = pieces[0];
        assert_eq!(hand.used_id(TX, place, lap), Some(turn), "where the chain began, with its last ID");
    }
    assert_eq!(hand.violations(), Vec::<String>::new());
}

#[test]
fn used_out_of_order_they_are_written_one_behind_the_other() {
    let hand = ready_as(Personality { shuffles: true, ..personality() }, 8, 0);
    hand.offer(0, 5, 0);
    hand.describe(TX, 1, (hand.buffer(1), 40), 9, NEXT | available(0));
    hand.describe(TX, 2, (hand.buffer(2), 40), 6, available(0));
    hand.offer(3, 7, 0);
    hand.notify(TX);
    let used: Vec<_> = [0, 1, 3].map(|slot| hand.used_id(TX, slot, 0)).to_vec();
    assert_eq!(used, [Some(7), Some(6), Some(5)], "each as many slots on as the one before was long");
    assert_eq!(hand.used_id(TX, 2, 0), None, "within a chain nothing is written");
    assert_eq!(hand.violations(), Vec::<String>::new());
}

/// One that agreed to use buffers in order, and tells of several at once.
fn ready_in_batches(entries: u16, more: u64) -> Hand<Net> {
    let ring_features = personality().ring_features | feature::IN_ORDER;
    let personality = Personality { ring_features, batches: true, shuffles: true, ..personality() };
    ready_as(personality, entries, feature::IN_ORDER | more)
}

#[test]
fn several_used_in_order_are_told_by_the_last_2_8_9() {
    let hand = ready_in_batches(5, 0);
    hand.offer(0, 5, 0);
    hand.describe(TX, 1, (hand.buffer(1), 40), 6, NEXT | available(0));
    hand.describe(TX, 2, (hand.buffer(2), 40), 6, available(0));
    hand.offer(3, 7, 0);
    hand.notify(TX);
    assert_eq!(hand.sent(), [1, 2, 1]);
    let used: Vec<_> = (0..4).map(|slot| hand.used_id(TX, slot, 0)).collect();
    assert_eq!(used, [Some(7), None, None, None], "where the first was");
    // Two more, round the end; and one alone behind them.
    hand.offer(4, 8, 0);
    hand.offer(0, 9, 1);
    hand.notify(TX);
    assert_eq!((hand.used_id(TX, 4, 0), hand.used_id(TX, 0, 1)), (Some(9), None));
    hand.offer(1, 3, 1);
    hand.notify(TX);
    assert_eq!(hand.used_id(TX, 1, 1), Some(3));
    assert_eq!(hand.violations(), Vec::<String>::new());
}

#[test]
fn a_buffer_that_is_not_full_ends_a_batch_2_8_9() {
    let hand = ready_in_batches(8, bits::MRG_RXBUF);
    for slot in 0..4 {
        hand.describe(RX, slot, (hand.buffer(slot), 100), slot, WRITE | available(0));
    }
    assert!(hand.device.lock().fill_one(&[7; 60]));
    assert!(hand.device.lock().deliver(&[7; 150]));
    let used = [0, 1].map(|slot| hand.slot(RX, slot));
    assert_eq!(used.map(|(len, id, _)| (len, id)), [(60, 0), (62, 2)]);
    assert_eq!([0, 1, 2, 3].map(|slot| hand.used_id(RX, slot, 0).is_some()), [true, true, false, false]);
    assert_eq!(hand.violations(), Vec::<String>::new());
}

#[test]
fn what_was_written_is_said_with_the_flag_2_8_17() {
    let hand = ready(4, bits::MRG_RXBUF);
    for slot in 0..2 {
        hand.describe(RX, slot, (hand.buffer(slot), 100), slot, WRITE | available(0));
    }
    assert!(hand.device.lock().deliver(&[7; 150]));
    let used = [0, 1].map(|slot| hand.slot(RX, slot));
    assert_eq!(used.map(|(len, id, _)| (len, id)), [(100, 0), (62, 1)]);
    assert!(used.iter().all(|(.., flags)| flags & WRITE != 0 && is_used(*flags, 0)));
    assert_eq!(hand.peek::<12>(hand.buffer(0))[10..], [2, 0], "num_buffers");
    assert_eq!(hand.violations(), Vec::<String>::new());
}

#[test]
fn a_table_is_one_descriptor_of_the_ring_2_8_7() {
    let hand = ready(4, feature::INDIRECT_DESC);
    let table = hand.area(TX, 3);
    hand.describe_at(table, (hand.buffer(0), 36), 0, 0);
    hand.describe_at(table + 16, (hand.buffer(1), 36), 0, 0);
    hand.describe(TX, 0, (table, 32), 3, INDIRECT | available(0));
    hand.offer(1, 4, 0);
    hand.notify(TX);
    assert_eq!((hand.sent(), hand.used_id(TX, 0, 0), hand.used_id(TX, 1, 0)), (vec![2, 1], Some(3), Some(4)));
    assert_eq!(hand.violations(), Vec::<String>::new());
}

#[test]
fn a_doorbell_with_data_says_where_the_ring_goes_on_2_9() {
    let hand = Hand::new(personality(), Net::new([0x52, 0x54, 0, 1, 2, 3]));
    let offered = hand.device.lock().offered() | feature::NOTIFICATION_DATA;
    hand.device.lock().offer(offered);
    hand.set_up(BASIC | feature::NOTIFICATION_DATA, 2, 3);
    let ring = |slot: u32, wrap: u32| hand.write(0x50, wrap << 31 | slot << 16 | TX as u32);
    // Three entries, two at a time: each slot in either lap.
    for (round, (slot, wrap)) in [(2, 1), (1, 0), (0, 1), (2, 1), (1, 0)].into_iter().enumerate() {
        for index in 0..2 {
            let number = 2 * round as u16 + index;
            hand.offer(number % 3, number % 3, number / 3);
        }
        ring(slot, wrap);
        assert_eq!(hand.violations(), [""; 0], "round {round}");
    }
    for (slot, wrap) in [(1, 1), (0, 0), (2, 0)] {
        ring(slot, wrap);
        assert!(hand.violations()[0].contains("goes on at 0x1"), "{slot} {wrap}");
    }
}

#[test]
fn rings_that_break_the_rules_are_told_by_rule() {
    type Break = fn(&Hand<Net>);
    let cases: [(&str, Break); 11] = [
        ("is not available", |hand| hand.describe(TX, 0, (hand.buffer(0), 72), 0, NEXT | AVAIL)),
        ("longer than its ring", |hand| {
            (0..4).for_each(|slot| hand.describe(TX, slot, (hand.buffer(slot), 9), 0, NEXT | AVAIL));
        }),
        ("an empty descriptor", |hand| hand.describe(TX, 0, (hand.buffer(0), 0), 0, AVAIL)),
        ("unknown flags", |hand| hand.describe(TX, 0, (hand.buffer(0), 72), 0, AVAIL | 8)),
        ("writable", |hand| hand.describe(TX, 0, (hand.buffer(0), 72), 0, AVAIL | WRITE)),
        ("behind a writable one", |hand| {
            hand.describe(TX, 1, (hand.buffer(1), 72), 0, AVAIL);
            hand.describe(TX, 0, (hand.buffer(0), 72), 0, AVAIL | WRITE | NEXT);
        }),
        ("in a chain", |hand| hand.describe(TX, 0, (hand.area(TX, 3), 16), 0, AVAIL | INDIRECT | NEXT)),
        ("a table of 0", |hand| hand.describe(TX, 0, (hand.area(TX, 3), 0), 0, AVAIL | INDIRECT)),
        ("table of 80", |hand| hand.describe(TX, 0, (hand.area(TX, 3), 80), 0, AVAIL | INDIRECT)),
        ("flags 0x1 in an indirect", |hand| {
            hand.describe_at(hand.area(TX, 3), (hand.buffer(0), 72), 0, NEXT);
            hand.describe(TX, 0, (hand.area(TX, 3), 16), 0, AVAIL | INDIRECT);
        }),
        ("made available twice", |hand| {
            hand.device.lock().class.serves_doorbells = false;
            hand.offer(0, 3, 0);
            hand.describe(TX, 1, (hand.buffer(4), 72), 3, AVAIL);
            let mut model = hand.device.lock();
            assert!(model.take(TX).is_some() && model.take(TX).is_some());
        }),
    ];
    for (expected, fault) in cases {
        let hand = ready(4, feature::INDIRECT_DESC);
        fault(&hand);
        hand.notify(TX);
        let violations = hand.violations();
        let expected = expected.replace("a table", "an indirect table");
        assert!(violations.iter().any(|said| said.contains(&expected)), "{expected}: {violations:?}");
    }
}

#[test]
fn a_ring_without_the_feature_is_split() {
    let hand = Hand::new(personality(), Net::new([2; 6]));
    hand.set_up(BASIC & !feature::RING_PACKED, 2, 8);
    assert!(!hand.device.lock().queues[TX].is_packed());
    let other = Hand::new(personality(), Net::new([2; 6]));
    other.negotiate(BASIC & !feature::RING_PACKED);
    other.write(0x38, 7);
    assert_eq!(other.violations().len(), 1, "only packed rings have any size");
    assert_eq!(other.status(0), 0);
    other.negotiate(BASIC);
    other.write(0x38, 0);
    other.write(0x38, 257);
    assert_eq!(other.violations().len(), 2);
    other.write(0x38, 7);
    for (at, part) in [(0x80, 0), (0x90, 1), (0xa0, 2)] {
        // Two bytes off is enough for an event structure of four.
        let addr = other.area(0, part) + if part == 1 { 2 } else { 0 };
        other.write(at, addr as u32);
        other.write(at + 4, (addr >> 32) as u32);
    }
    other.write(0x44, 1);
    assert!(other.violations()[0].contains("crooked"));
}

#[test]
#[should_panic(expected = "changed while the device had it: 16 bytes")]
fn a_descriptor_is_left_alone_until_it_is_used() {
    let hand = ready(4, 0);
    hand.offer(0, 3, 0);
    hand.device.lock().class.serves_doorbells = false;
    assert!(hand.device.lock().take(TX).is_some());
    hand.describe(TX, 0, (hand.buffer(0), 71), 3, AVAIL);
    let mut model = hand.device.lock();
    model.put(TX, 3, 0);
    model.show(TX, 0);
}

/// Whichever chain was used first, it is the first slots that are free then.
#[test]
fn a_slot_is_the_drivers_when_the_device_has_passed_it() {
    let hand = ready(4, 0);
    hand.device.lock().class.serves_doorbells = false;
    for (slot, flags) in [(0, NEXT), (1, 0), (2, NEXT), (3, 0)] {
        hand.describe(TX, slot, (hand.buffer(slot), 72), slot / 2, AVAIL | flags);
    }
    let mut model = hand.device.lock();
    assert!(model.take(TX).is_some() && model.take(TX).is_some());
    // The second one.
    model.put(TX, 1, 0);
    model.show(TX, 0);
    drop(model);
    for (slot, flags) in [(0, NEXT), (1, 0)] {
        hand.describe(TX, slot, (hand.buffer(slot + 4), 72), 1, USED | flags);
    }
    assert_eq!(hand.device.lock().take(TX).map(|chain| chain.head), Some(1));
    assert_eq!(hand.violations(), [""; 0]);
}

#[test]
fn interrupts_come_as_the_driver_says_2_8_10() {
    let interrupts = |entries: u16, more: u64, events: &[(u16, u16)], frames: &[u16]| {
        let hand = ready_as(Personality { trigger: Trigger::Edge, ..personality() }, entries, more);
        let mut turn = 0;
        let mut seen = Vec::new();
        for ((off_wrap, flags), frames) in events.iter().zip(frames) {
            hand.event(TX, *off_wrap, *flags);
            for _ in 0..*frames {
                hand.offer(turn % entries, turn, turn / entries);
                turn += 1;
            }
            hand.notify(TX);
            seen.push(hand.platform.interrupts().take_pulses(LINE));
        }
        (seen, hand.violations().len())
    };
    let wrap = 1 << 15;
    assert_eq!(interrupts(4, 0, &[(0, 0), (0, 1), (0, 0)], &[1, 1, 1]), (vec![1, 0, 1], 0));
    let at = [(2 | wrap, 2), (2 | wrap, 2), (2 | wrap, 2), (0, 2), (3, 2)];
    assert_eq!(
        interrupts(4, feature::EVENT_IDX, &at, &[2, 1, 1, 1, 2]),
        (vec![0, 1, 0, 1, 0], 0),
        "slot 2 of the first lap, slot 0 of the second, slot 3 of it not yet"
    );
    assert_eq!(interrupts(4, 0, &[(0, 2)], &[1]), (vec![0], 1), "without EVENT_IDX");
    assert_eq!(interrupts(4, feature::EVENT_IDX, &[(0, 3)], &[1]), (vec![0], 1), "no such flags");
    assert_eq!(interrupts(4, feature::EVENT_IDX, &[(4, 2)], &[1]), (vec![0], 1), "no such slot");
}

#[test]
fn the_device_says_when_it_wants_to_be_told() {
    let hand = ready(3, feature::EVENT_IDX);
    let wish = |wish| {
        hand.device.lock().queues[TX].wish = wish;
        hand.device.lock().tell_wish(TX);
        hand.wish(TX)
    };
    let wrap = 1 << 15;
    assert_eq!(wish(Wish::After(0)), (wrap, 2));
    assert_eq!(wish(Wish::After(2)), (wrap | 2, 2));
    assert_eq!(wish(Wish::Never).1, 1);
    for turn in 0..2 {
        hand.offer(turn, turn, 0);
    }
    hand.notify(TX);
    assert_eq!(wish(Wish::After(0)), (wrap | 2, 2));
    assert_eq!(wish(Wish::After(1)), (0, 2), "past the end");
    let plain = ready(3, 0);
    plain.device.lock().tell_wish(TX);
    assert_eq!(plain.wish(TX).1, 0);
}

#[test]
fn faults_change_what_is_said_of_a_buffer() {
    let said = |action: Action| {
        let hand = ready(8, 0);
        (0..2).for_each(|id| hand.offer(id, id, 0));
        hand.device.lock().faults.add(Fault::nth(FaultPoint::TxCompletion, 1, action));
        hand.notify(TX);
        (0..3).for_each(|_| hand.device.lock().tick());
        (0..8).map_while(|slot| hand.used_id(TX, slot, 0)).collect::<Vec<_>>()
    };
    assert_eq!(said(Action::Drop), [1]);
    assert_eq!(said(Action::Duplicate), [0, 0, 1]);
    assert_eq!(said(Action::Reorder), [1, 0]);
    assert_eq!(said(Action::Invent { index: 6 }), [6, 0, 1]);
    assert_eq!(said(Action::Set { field: Field::Index, value: 77 }), [77, 1]);
    assert_eq!(said(Action::Delay { ticks: 2 }), [1, 0]);
    // The last of a batch says how far ahead of the truth the device is.
    let hand = ready(8, 0);
    hand.offer(0, 0, 0);
    let ahead = Action::Set { field: Field::Generation, value: 2 };
    hand.device.lock().faults.add(Fault::nth(FaultPoint::TxCompletion, 1, ahead));
    hand.notify(TX);
    let used = (0..8).map_while(|slot| hand.used_id(TX, slot, 0)).count();
    assert_eq!(used, 3);
}

#[test]
fn a_device_that_lost_count_writes_elsewhere() {
    let hand = ready(4, 0);
    hand.device.lock().misplace(TX, 2);
    hand.offer(0, 1, 0);
    hand.notify(TX);
    assert_eq!([0, 2].map(|slot| hand.used_id(TX, slot, 0)), [None, Some(1)]);
}

#[test]
fn noise_goes_where_the_device_writes() {
    let mut stopped = 0;
    for seed in 0..40 {
        let hand = ready(8, 0);
        (0..4).for_each(|id| hand.offer(id, id, 0));
        let look = || {
            let ring = [RX, TX].map(|queue| hand.peek::<128>(hand.area(queue, 0)));
            (ring, [RX, TX].map(|queue| hand.wish(queue)))
        };
        let before = look();
        let noise = Action::Scribble { seed };
        hand.device.lock().faults.add(Fault::nth(FaultPoint::Tick, 1, noise));
        hand.device.lock().class.serves_doorbells = false;
        hand.device.lock().tick();
        assert_ne!(look(), before, "seed {seed}");
        // Addresses are the driver's.
        let addrs = |ring: &[[u8; 128]; 2]| -> Vec<u8> {
            ring.iter().flat_map(|ring| ring.chunks(16).flat_map(|slot| slot[..8].to_vec())).collect()
        };
        assert_eq!(addrs(&look().0), addrs(&before.0));
        stopped += usize::from(hand.device.lock().queues.iter().any(|queue| queue.is_stopped));
    }
    assert!((1..40).contains(&stopped), "{stopped}: it follows nothing that it wrote over");
}

#[test]
fn the_kind_of_ring_is_the_drivers_whatever_the_device_heard() {
    for heard in [Action::Drop, Action::Flip { field: Field::Value, bits: 4 }] {
        let hand = Hand::new(personality(), Net::new([0x52, 0x54, 0, 1, 2, 3]));
        let high_half = Fault::nth(FaultPoint::RegisterWrite, 2, heard).of(common_register(0x0c));
        hand.device.lock().faults.add(high_half);
        for step in [1, 3] {
            hand.status(step);
        }
        hand.accept(BASIC);
        hand.status(11);
        assert_eq!(hand.device.lock().faults.hits(), 1);
        assert_ne!(hand.device.lock().accepted() & feature::RING_PACKED, 0, "{heard:?}");
    }
}

#[test]
fn the_kind_of_ring_is_the_drivers_where_the_device_refused() {
    let hand = Hand::new(personality(), Net::new([0x52, 0x54, 0, 1, 2, 3]));
    hand.device.lock().faults.add(Fault::nth(FaultPoint::Features, 1, Action::Refuse));
    for step in [1, 3] {
        hand.status(step);
    }
    hand.accept(BASIC);
    // It hears that its features are agreed, and goes on.
    let heard = Action::Set { field: Field::Value, value: 11 };
    hand.device.lock().faults.add(Fault::nth(FaultPoint::RegisterRead, 1, heard));
    assert_eq!(hand.status(11), 11);
    hand.set_up_queue(TX, 8);
    assert_eq!(hand.device.lock().status(), 3);
    assert!(hand.device.lock().queues[TX].is_packed());
    assert_eq!(hand.violations(), [""; 0]);
}

#[test]
fn a_driver_looks_as_often_as_it_likes_at_what_is_not_there_yet() {
    let hand = ready(8, 0);
    hand.offer(0, 1, 0);
    let (slot, wish) = (hand.area(TX, 0), hand.area(TX, 2));
    let is_hint = |at| hand.device.lock().is_hint(at);
    assert_eq!([slot + 8, slot + 12, wish, slot + 16 * 8].map(is_hint), [true, true, true, false]);
    hand.notify(TX);
    assert_eq!([slot + 8, slot + 12, wish].map(is_hint), [false, false, true], "it was used");
}

#[test]
fn what_a_driver_saw_wrongly_it_may_believe() {
    for (offset, width, told, excused) in [
        // Flags that look used; an ID in front of them; a length, and flags that do not.
        (14, 2, u64::from(AVAIL | USED), true),
        (12, 4, u64::from(AVAIL | USED) << 16 | 3, true),
        (8, 4, 77, false),
        (14, 2, u64::from(USED), false),
        (8, 8, 5 | 1 << 32 | u64::from(AVAIL) << 48, false),
        (8, 8, 5 | 1 << 32, true),
        (14 + 16 * 8, 2, u64::from(AVAIL | USED), false),
    ] {
        let hand = ready(8, 0);
        hand.offer(0, 1, 0);
        let at = hand.area(TX, 0) + offset;
        hand.device.lock().misheard(at, width, told);
        hand.describe(TX, 0, (hand.buffer(0), 0), 1, AVAIL);
        hand.notify(TX);
        assert_eq!(hand.violations().is_empty(), excused, "{told:#x} in {width} bytes at {offset}");
    }
}
