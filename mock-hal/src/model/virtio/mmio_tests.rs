//! The front without a bus against statements of the specification.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

use std::sync::Arc;

use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::{Mmio, MmioMap};

use super::hand::{Hand, LINE, START};
use super::net::{RX, TX, bits};
use super::*;
use crate::fault::{Action, Fault, FaultPoint, Field};

const BASIC: u64 = feature::VERSION_1 | bits::MAC | bits::STATUS;

fn hand(personality: Personality) -> Hand<Net> {
    Hand::new(personality, Net::new([0x52, 0x54, 0, 1, 2, 3]))
}

/// A frame of 60 bytes to be sent, made available as the first.
fn offer_frame(hand: &Hand<Net>) {
    hand.poke(hand.buffer(0), &[0; 72]);
    let descriptor = [&hand.buffer(0).to_le_bytes()[..], &72_u32.to_le_bytes(), &[0; 4]].concat();
    hand.poke(hand.area(TX, 0), &descriptor);
    hand.poke(hand.area(TX, 1) + 2, &1_u16.to_le_bytes());
}

#[test]
fn a_device_says_what_it_is_4_2_2() {
    let hand = hand(Personality::microvm());
    let said = [0x0, 0x4, 0x8, 0xc].map(|at| hand.read(at));
    assert_eq!(said, [0x7472_6976, 2, 1, 0x554d_4551]);
    let shared = [0xb0, 0xb4, 0xb8, 0xbc].map(|at| hand.read(at));
    assert_eq!(shared, [u32::MAX; 4], "no shared memory");
    hand.write(0x14, 1);
    assert_eq!(hand.read(0x10), 1, "VERSION_1 in the second word");
    for (queue, most) in [(0, 256), (1, 256), (2, 0), (0x1_0000, 0)] {
        hand.write(0x30, queue);
        assert_eq!(hand.read(0x34), most, "queue {queue}");
    }
    assert_eq!(hand.violations().len(), 1, "a queue of more than 16 bits");
}

#[test]
fn a_frame_is_sent_on_every_monitor() {
    for personality in Personality::on_no_bus() {
        let hand = hand(personality);
        let access = if personality.needs_access_platform { feature::ACCESS_PLATFORM } else { 0 };
        hand.set_up(BASIC | access, 2, 8);
        offer_frame(&hand);
        hand.notify(TX);
        assert_eq!(hand.device.lock().take_sent().len(), 1, "{}", personality.name);
        assert_eq!(hand.peek(hand.area(TX, 2) + 2), [1, 0]);
        assert_eq!((hand.violations(), hand.refusals()), (vec![], vec![]), "{}", personality.name);
    }
}

#[test]
fn control_registers_are_words_4_2_2_2() {
    let hand = hand(Personality::firecracker());
    hand.registers.write8(0x70, 1);
    assert_eq!((hand.registers.read8(0x70), hand.registers.read16(0x34)), (0, 0));
    assert_eq!(hand.read(0x70), 0, "it did not arrive");
    assert_eq!((hand.violations().len(), hand.refusals().len()), (3, 3));
    let mac: Vec<u8> = (0..6).map(|at| hand.registers.read8(0x100 + at)).collect();
    assert_eq!((mac[0], mac[5], hand.violations().len()), (0x52, 3, 0));
}

#[test]
fn registers_go_one_way_4_2_2() {
    let hand = hand(Personality::microvm());
    for at in [0x14, 0x20, 0x24, 0x30, 0x38, 0x50, 0x64, 0x80, 0xa4, 0x3c, 0x48] {
        assert_eq!(hand.read(at), 0);
        assert_eq!(hand.violations().len(), 1, "a read of {at:#x}");
    }
    for at in [0x0, 0x4, 0x8, 0xc, 0x10, 0x34, 0x60, 0xb0, 0xfc, 0x28, 0x40] {
        hand.write(at, 1);
        assert_eq!(hand.violations().len(), 1, "a write to {at:#x}");
    }
    hand.write(0x70, 0x101);
    assert!(hand.violations()[0].contains("no such bits"));
}

#[test]
fn firecracker_takes_one_step_at_a_time() {
    let hand = hand(Personality::firecracker());
    assert_eq!(hand.status(3), 0, "two bits at once");
    assert_eq!(hand.status(1), 1);
    hand.accept(BASIC);
    assert_eq!(hand.device.lock().accepted(), 0, "features before DRIVER");
    hand.status(3);
    hand.write(0x38, 8);
    assert_eq!(hand.device.lock().queues[0].entries, 256, "a queue before FEATURES_OK");
    hand.accept(BASIC);
    assert_eq!(hand.status(11), 11);
    assert_eq!((hand.violations().len(), hand.refusals().len()), (4, 4));
}

#[test]
fn a_level_stays_until_what_was_read_is_acknowledged() {
    let hand = hand(Personality::microvm());
    hand.set_up(BASIC, 2, 8);
    offer_frame(&hand);
    hand.notify(TX);
    hand.device.lock().set_link(false);
    let interrupts = hand.platform.interrupts();
    assert!(interrupts.is_raised(LINE));
    assert_eq!((hand.read(0x60), hand.read(0x60)), (3, 3), "reading takes nothing back");
    hand.write(0x64, 1);
    assert!(interrupts.is_raised(LINE), "the configuration changed as well");
    hand.write(0x64, 2);
    assert!(!interrupts.is_raised(LINE));
    assert_eq!((hand.read(0x60), interrupts.take_pulses(LINE)), (0, 0));
    assert_eq!(hand.violations(), Vec::<String>::new());
    hand.device.lock().set_link(true);
    hand.write(0x64, 6);
    assert_eq!(hand.violations().len(), 2, "not read before, and a bit that means nothing");
}

#[test]
fn an_edge_comes_for_each_cause_and_is_gone() {
    let hand = hand(Personality::firecracker());
    hand.negotiate(BASIC);
    hand.write(0x64, 1);
    assert_eq!((hand.violations().len(), hand.refusals().len()), (1, 1), "before DRIVER_OK");
    hand.set_up_queue(RX, 8);
    assert_eq!(hand.status(15), 15);
    let interrupts = hand.platform.interrupts();
    for up in [false, true] {
        hand.device.lock().set_link(up);
    }
    assert!(!interrupts.is_raised(LINE));
    assert_eq!([interrupts.take_pulses(LINE), interrupts.take_pulses(LINE)], [2, 0]);
    assert_eq!(hand.read(0x60), 2);
    hand.write(0x64, 2);
    assert_eq!((hand.read(0x60), hand.violations().len()), (0, 0));
}

#[test]
fn the_generation_moves_with_the_configuration_2_5() {
    let hand = hand(Personality::microvm());
    hand.set_up(BASIC, 2, 8);
    let before = hand.read(0xfc);
    assert_eq!(hand.registers.read16(0x106), 1);
    hand.device.lock().set_link(false);
    assert_ne!(hand.read(0xfc), before);
    assert_eq!(hand.registers.read16(0x106), 0);
    hand.registers.read16(0x108);
    assert_eq!(hand.violations().len(), 2, "MQ was not agreed on");
}

#[test]
fn a_queue_that_is_not_ready_has_nothing() {
    let hand = hand(Personality::microvm());
    hand.set_up(BASIC, 2, 8);
    offer_frame(&hand);
    hand.device.lock().class.serves_doorbells = false;
    hand.notify(TX);
    assert!(hand.device.lock().take(TX).is_some());
    hand.write(0x30, TX as u32);
    hand.write(0x44, 0);
    assert_eq!(hand.read(0x44), 0);
    hand.notify(TX);
    assert_eq!(hand.violations().len(), 1, "a doorbell of a queue that is not ready");
    assert!(hand.device.lock().take(TX).is_none());
    let strict = self::hand(Personality::firecracker());
    strict.set_up(BASIC, 2, 8);
    strict.write(0x44, 0);
    assert_eq!((strict.read(0x44), strict.refusals().len()), (1, 1), "too late there");
}

#[test]
fn a_back_end_that_cannot_be_reset_does_not_say_that_it_was() {
    let hand = hand(Personality::firecracker_without_reset());
    hand.set_up(BASIC, 2, 8);
    assert_eq!(hand.status(0), 15);
    assert_eq!(hand.status(1), 15);
}

#[test]
fn a_register_has_one_name_on_both_transports() {
    let hand = hand(Personality::microvm());
    let lie = Action::Set { field: Field::Value, value: 5 };
    hand.device.lock().faults = FaultPlan::new(
        [common_register(0x14), mmio_register(0x8)]
            .map(|register| Fault::nth(FaultPoint::RegisterRead, 1, lie).of(register)),
    );
    assert_eq!([0x70, 0x8, 0x70, 0x8].map(|at| hand.read(at)), [5, 5, 0, 1]);
}

#[test]
fn devices_are_where_their_monitor_puts_them() {
    let places = Personality::on_no_bus().map(|personality| personality.place(3));
    assert_eq!(places.map(|(start, _)| start.get()), [0xfeb0_0600, 0xc000_4000, 0xc000_4000]);
    assert_eq!(places.map(|(_, line)| line), [8; 3]);
}

#[test]
fn slots_without_a_device_are_left_alone() {
    let platform = MockPlatform::new();
    let next = PhysAddr::new(START.get() + 0x200);
    let slots = [Slot::empty(&platform, START), Slot::empty_legacy(&platform, next)];
    let said = [START, next].map(|start| {
        let registers = MmioMap::map(&platform, start, 0x200).unwrap();
        let said = [0x0, 0x4, 0x8].map(|at| registers.read32(at));
        registers.write32(0x70, 0);
        said
    });
    assert_eq!(said, [[0x7472_6976, 2, 0], [0x7472_6976, 1, 0]]);
    assert!(slots.iter().all(|slot| slot.lock().unwrap().violations.len() == 1));
    assert_eq!(Arc::strong_count(&slots[0]), 2, "the platform's and this one");
}

const RESET_AT: usize = 0xc0;

#[test]
fn a_queue_is_reset_and_set_up_again_while_the_device_runs_2_6_1() {
    let hand = hand(Personality::qemu());
    hand.device.lock().queue_reset = Reset::AfterReads(2);
    hand.set_up(BASIC | feature::RING_RESET, 2, 8);
    offer_frame(&hand);
    hand.device.lock().class.serves_doorbells = false;
    hand.notify(TX);
    hand.write(0x30, TX as u32);
    hand.write(RESET_AT, 1);
    let seen = [RESET_AT, 0x44, RESET_AT, RESET_AT, 0x44].map(|at| hand.read(at));
    assert_eq!(seen, [1, 1, 1, 0, 0], "enabled until it is done");
    // It is nobody's: what was there is not looked at any more, and a doorbell is for none.
    hand.device.lock().class.serves_doorbells = true;
    hand.device.lock().tick();
    assert_eq!(hand.device.lock().take_sent().len(), 0);
    assert_eq!(hand.violations(), [""; 0]);
    hand.notify(TX);
    assert!(hand.violations()[0].contains("not enabled"));

    hand.poke(hand.area(TX, 1) + 2, &[0, 0]);
    hand.set_up_queue(TX, 4);
    offer_frame(&hand);
    hand.notify(TX);
    assert_eq!(hand.device.lock().take_sent().len(), 1);
    assert_eq!(hand.peek(hand.area(TX, 2) + 2), [1, 0], "it begins anew");
    assert_eq!((hand.violations(), hand.refusals()), (vec![], vec![]));
    // Its settings are closed again.
    hand.write(0x38, 8);
    assert!(hand.violations()[0].contains("3.1.1"));
}

#[test]
fn resets_of_queues_that_break_the_rules_are_told_2_6_1() {
    let cases: [(u64, u32, u32, &str); 4] = [
        (0, TX as u32, 1, "without RING_RESET"),
        (feature::RING_RESET, TX as u32, 0, "0 written to queue_reset"),
        (feature::RING_RESET, TX as u32, 3, "3 written to queue_reset"),
        (feature::RING_RESET, 7, 1, "not enabled"),
    ];
    for (feature, queue, value, expected) in cases {
        let hand = hand(Personality::qemu());
        hand.set_up(BASIC | feature, 2, 8);
        hand.write(0x30, queue);
        hand.write(RESET_AT, value);
        let violations = hand.violations();
        assert!(
            violations.iter().any(|violation| violation.contains(expected)),
            "{expected}: {violations:?}"
        );
    }
    let hand = hand(Personality::qemu());
    hand.device.lock().queue_reset = Reset::Never;
    hand.set_up(BASIC | feature::RING_RESET, 2, 8);
    hand.write(0x30, TX as u32);
    hand.write(RESET_AT, 1);
    assert_eq!([(); 9].map(|()| hand.read(RESET_AT)), [1; 9]);
    assert_eq!(hand.read(0x44), 1);
}

#[test]
fn a_doorbell_with_data_says_where_the_queue_goes_on_2_9() {
    let hand = hand(Personality::microvm());
    let offered = hand.device.lock().offered() | feature::NOTIFICATION_DATA;
    hand.device.lock().offer(offered);
    hand.set_up(BASIC | feature::NOTIFICATION_DATA, 2, 8);
    offer_frame(&hand);
    hand.write(0x50, 1 << 16 | TX as u32);
    assert_eq!(hand.device.lock().take_sent().len(), 1);
    assert_eq!(hand.violations(), [""; 0]);
    for data in [0, 2, 0x8001] {
        hand.write(0x50, data << 16 | TX as u32);
        assert!(hand.violations()[0].contains("goes on at 0x1"), "{data:#x}");
    }
}
