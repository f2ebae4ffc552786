//! Commands that tell the device something besides.

use super::*;
use crate::model::vmxnet3::{BufferSizes, Coalescing, MemoryRegion};

const CONF: u64 = 0x8000;

fn up(revision: u8) -> Hand {
    let hand = Hand::revised(Personality::esxi(), revision, 2);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
    hand
}

/// A command about a configuration at `CONF` of so many bytes.
fn about(hand: &Hand, command: u32, len_bytes: u32) -> u32 {
    hand.put32(shared::CMD_INFO, 1);
    hand.put32(shared::CMD_INFO + 4, len_bytes);
    hand.put64(shared::CMD_INFO + 8, hand.base + CONF);
    hand.command(command)
}

fn put_words(hand: &Hand, words: [u32; 4]) {
    hand.put(CONF, &words.map(u32::to_le_bytes).concat());
}

#[test]
fn coalescing_is_set_and_told_until_the_device_stops() {
    let cases = [
        ([0, 0, 0, 0], Coalescing::Disabled),
        ([1, 0, 0, 0], Coalescing::Adaptive),
        ([2, 64, 128, 1], Coalescing::Static { tx_depth: 64, tx_comp_depth: 128, rx_depth: 1 }),
        ([3, 100_000, 0, 0], Coalescing::RateBased { interrupts_per_second: 100_000 }),
    ];
    let hand = up(3);
    assert_eq!(hand.model().coalescing(), None);
    for (words, expected) in cases {
        put_words(&hand, words);
        assert_eq!(about(&hand, cmd::SET_COALESCE, 16), 0);
        assert_eq!(hand.model().coalescing(), Some(expected));
        put_words(&hand, [9; 4]);
        assert_eq!(about(&hand, cmd::GET_COALESCE, 16), 0);
        assert_eq!([0, 4, 8, 12].map(|offset| hand.get32(CONF + offset)), words);
    }
    assert_eq!(hand.violations(), [""; 0]);
    for words in [[4, 0, 0, 0], [2, 129, 0, 0], [2, 0, 0, 129], [3, 99, 0, 0], [3, 100_001, 0, 0]] {
        put_words(&hand, words);
        assert_eq!(about(&hand, cmd::SET_COALESCE, 16), 1);
        assert_eq!(hand.violations(), ["SET_COALESCE: a mode or a number out of range"]);
    }
    assert_eq!(about(&hand, cmd::SET_COALESCE, 20), 1);
    assert_eq!(hand.violations(), ["SET_COALESCE: no configuration of version 1 and 16 bytes"]);
    assert!(matches!(hand.model().coalescing(), Some(Coalescing::RateBased { .. })), "as before");
    hand.command(cmd::QUIESCE_DEV);
    assert_eq!(about(&hand, cmd::SET_COALESCE, 16), 1);
    assert_eq!(hand.violations(), ["SET_COALESCE before activation"]);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
    assert_eq!(hand.model().coalescing(), None, "to be told again");
}

fn put_regions(hand: &Hand, regions: &[MemoryRegion]) -> u32 {
    hand.put(CONF, &(regions.len() as u64).to_le_bytes());
    for (index, region) in regions.iter().enumerate() {
        let at = CONF + 8 + 16 * index as u64;
        hand.put64(at, region.start);
        hand.put32(at + 8, region.len_bytes);
        hand.put(at + 12, &[region.tx_queues.to_le_bytes(), region.rx_queues.to_le_bytes()].concat());
    }
    about(hand, cmd::REGISTER_MEMREGS, 8 + 16 * regions.len() as u32)
}

#[test]
fn regions_lie_in_memory_and_are_for_queues_that_there_are() {
    let hand = up(3);
    let good = MemoryRegion { start: hand.base, len_bytes: 0x10_0000, tx_queues: 0b11, rx_queues: 0b10 };
    assert_eq!(put_regions(&hand, &[good; 16]), 0);
    assert_eq!(hand.model().memory_regions(), [good; 16]);
    let bad = [
        (vec![good; 17], "more regions than 16 of a queue"),
        (vec![MemoryRegion { len_bytes: 0x10_0001, ..good }], "a region that is not there"),
        (vec![MemoryRegion { len_bytes: 0, ..good }], "a region that is not there"),
        (vec![MemoryRegion { start: u64::MAX, ..good }], "a region that is not there"),
        (vec![MemoryRegion { tx_queues: 0b100, ..good }], "a queue that is not there"),
        (vec![MemoryRegion { rx_queues: 0x8000, ..good }], "a queue that is not there"),
        (vec![], "more regions than 256, or none"),
        (vec![MemoryRegion { tx_queues: 0, rx_queues: 0, ..good }; 257], "more regions than 256, or none"),
    ];
    for (regions, what) in bad {
        assert_eq!(put_regions(&hand, &regions), 1, "{what}");
        assert_eq!(hand.violations(), [format!("REGISTER_MEMREGS: {what}")]);
    }
    put_regions(&hand, &[good]);
    assert_eq!(about(&hand, cmd::REGISTER_MEMREGS, 8), 1, "too short for its region");
    assert_eq!(hand.violations().len(), 1);
    assert_eq!(hand.model().memory_regions(), [good], "what is refused is not carried out");
    assert_eq!(hand.platform.memory().violations(), [""; 0]);
}

#[test]
fn buffers_are_as_long_as_was_announced() {
    let hand = up(7);
    let announce = |sizes: [u16; 3]| {
        hand.put(shared::CMD_INFO, &sizes.map(u16::to_le_bytes).concat());
        hand.command(cmd::SET_RING_BUFFER_SIZE)
    };
    assert_eq!(announce([256, 0, 257]), 0);
    let sizes = BufferSizes { head_bytes: 256, ring1_body_bytes: 0, ring2_body_bytes: 257 };
    assert_eq!(hand.model().buffer_sizes(), Some(sizes));
    hand.post_rx(0, 0);
    hand.post_body(0, 1);
    hand.model().tick();
    assert_eq!(hand.violations(), ["a receive buffer of 256 bytes, where 257 were announced"]);
    assert_eq!([[127, 0, 0], [1 << 14, 0, 0], [128, 0, 1 << 14]].map(announce), [1; 3]);
    assert_eq!(hand.violations(), ["SET_RING_BUFFER_SIZE: a length that no buffer has"; 3]);
    assert_eq!(up(6).command(cmd::SET_RING_BUFFER_SIZE), u32::MAX);
}

#[test]
fn vectors_are_moderated_by_levels_from_either_place() {
    for (queues, place) in [(2, shared::MOD_LEVELS), (16, shared::MOD_LEVELS_EXT)] {
        let hand = Hand::revised(Personality::esxi(), 6, queues);
        hand.put(interrupt_conf(queues)[0], &[1, 3]);
        hand.put(place, &[8, 7, 0]);
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
        assert_eq!(
            [0, 1, 2, 3].map(|vector| hand.model().moderation(vector)),
            [Some(8), Some(7), Some(0), None]
        );
        hand.put(place, &[1]);
        assert_eq!(hand.model().moderation(0), Some(8), "nobody told the device");
        assert_eq!(hand.command(cmd::UPDATE_IML), 0);
        assert_eq!(hand.model().moderation(0), Some(1));
        hand.put(place, &[9]);
        assert_eq!(hand.command(cmd::UPDATE_IML), 1);
        assert_eq!(hand.violations(), ["UPDATE_IML: modLevels are 0 to 8"]);
        hand.command(cmd::QUIESCE_DEV);
        assert_eq!(hand.command(cmd::UPDATE_IML), 1);
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
        assert_eq!(
            hand.violations(),
            ["UPDATE_IML before activation", "at activation: modLevels are 0 to 8"]
        );
    }
}

/// What each revision brings, by the last word of the command.
#[test]
fn every_command_has_its_revision() {
    let since = |command: u32| match (command & 0xffff_0000, command & 0xffff) {
        (cmd::FIRST_SET, 0x0a..=0x0d | 0x11 | 0x12) | (cmd::FIRST_GET, 0x0d | 0x0e | 0x10) => None,
        (_, 0..=0x09) => Some(1),
        (cmd::FIRST_SET, 0x0e | 0x0f) | (cmd::FIRST_GET, 0x0a | 0x0b) => Some(3),
        (cmd::FIRST_SET, 0x10) | (cmd::FIRST_GET, 0x0c) => Some(4),
        (cmd::FIRST_GET, 0x0f) => Some(6),
        (cmd::FIRST_SET, 0x13) | (cmd::FIRST_GET, 0x11 | 0x12) => Some(7),
        _ => None,
    };
    for revision in 1..=7 {
        for command in (0..0x18).flat_map(|number| [cmd::FIRST_SET + number, cmd::FIRST_GET + number]) {
            let hand = Hand::revised(Personality::esxi(), revision, 1);
            let result = hand.command(command);
            let said = hand.violations();
            let is_unknown = said.iter().any(|what| what.starts_with(&format!("command {command:#x}")));
            let is_there = since(command).is_some_and(|since| since <= revision);
            assert_eq!(!is_unknown, is_there, "{command:#x} at {revision}: {said:?}");
            assert!(is_there || result == u32::MAX);
        }
    }
}

#[test]
fn what_a_device_is_and_how_fast_it_can_be_asked() {
    let hand = up(1);
    let said = [cmd::GET_DID_LO, cmd::GET_DID_HI, cmd::GET_DEV_EXTRA_INFO, cmd::GET_ADAPTIVE_RING_INFO];
    assert_eq!(said.map(|command| hand.command(command)), [0x7b0, 1, 0, 1]);
    assert_eq!(hand.command(cmd::GET_LINK), 10_000 << 16 | 1);
    hand.model().set_link_speed(25_000);
    assert_eq!(hand.get32(shared::ECR), ecr::LINK);
    assert_eq!(hand.command(cmd::GET_LINK), 25_000 << 16 | 1);
    hand.model().set_link(false);
    hand.model().set_link_speed(1_000);
    assert_eq!(hand.command(cmd::GET_LINK), 1_000 << 16, "it stays down");
    assert_eq!(hand.violations(), [""; 0]);
}
