//! A driver that does anything: the model may complain, and may be denied memory, and that is all.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

use std::collections::BTreeSet;

use super::hand::Hand;
use super::*;
use crate::fault::Seeded;

/// Registers that are written to start a device, and noise among them.
const REGISTERS: [usize; 16] =
    [0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0x100];

/// Small, about a limit, or anything.
fn number(chance: &mut Seeded) -> u64 {
    match chance.below(5) {
        0 => chance.next_u64(),
        1 => (1 << chance.below(64)) - u64::from(chance.below(2)),
        2 => u64::MAX - u64::from(chance.below(64)),
        _ => chance.below(9).into(),
    }
}

/// Something that looks like part of a ring: addresses that are there, flags that mean something.
fn word(hand: &Hand<impl Class>, chance: &mut Seeded) -> [u8; 8] {
    let word = match chance.below(4) {
        0 => number(chance),
        1 => hand.buffer(chance.below(8) as u16),
        2 => hand.area(chance.below(3) as usize, chance.below(4).into()),
        _ => {
            let flags = [0, 1, 2, 3, 4, 0x80, 0x81, 0x82, 0x83, 0x84, 0x8000, 0x8002, 0x8004];
            let flags: u64 = flags[chance.below(13) as usize];
            u64::from(chance.below(64)) | u64::from(chance.below(9)) << 32 | flags << 48
        }
    };
    word.to_le_bytes()
}

fn chaos<C: Class>(personality: Personality, class: C, features: u64, seed: u64) -> BTreeSet<String> {
    let mut chance = Seeded::new(seed);
    let hand = Hand::forgiving(personality, class);
    let queues = hand.device.lock().class.queues().min(3).into();
    let is_packed = features & feature::RING_PACKED != 0;
    let entries = if is_packed { 1 + chance.below(9) } else { 1 << chance.below(4) };
    hand.set_up(features, queues, entries as u16);
    let mut said = BTreeSet::new();
    for _ in 0..2000 {
        let queue = chance.below(queues as u32) as usize;
        match chance.below(32) {
            0 => hand.write(REGISTERS[chance.below(16) as usize], number(&mut chance) as u32),
            1 => _ = hand.read(REGISTERS[chance.below(16) as usize]),
            2..4 => hand.device.lock().tick(),
            4..8 => hand.notify(queue),
            8..16 => {
                // Indices and flags of the split ring, events of the packed one.
                let at = hand.area(queue, 1 + u64::from(chance.below(2))) + u64::from(chance.below(16)) * 2;
                hand.poke(at, &[chance.below(9) as u8, 0]);
            }
            16..20 => {
                let noise = number(&mut chance).to_le_bytes();
                hand.poke(hand.buffer(chance.below(8) as u16), &noise);
            }
            _ => {
                let at = hand.area(queue, 0) + u64::from(chance.below(32)) * 8;
                hand.poke(at, &word(&hand, &mut chance));
            }
        }
        said.extend(hand.violations().into_iter().map(|said| said[..said.len().min(12)].to_string()));
    }
    let _ = hand.platform.memory().forgive();
    said
}

#[test]
fn no_driver_brings_the_model_down() {
    let mut said = BTreeSet::new();
    for seed in 0..40 {
        let packed = if seed % 2 == 0 { feature::RING_PACKED } else { 0 };
        let more = if seed % 3 == 0 { feature::EVENT_IDX } else { feature::INDIRECT_DESC };
        let ring_features = Personality::microvm().ring_features | feature::RING_PACKED;
        let personality = Personality { ring_features, shuffles: seed % 5 == 0, ..Personality::microvm() };
        let features = feature::VERSION_1 | packed | more;
        said.extend(chaos(personality, Net::new([2; 6]), features, seed));
        let mut disk = Blk::new(64);
        disk.takes_its_time = seed % 7 == 0;
        said.extend(chaos(personality, disk, features, seed));
    }
    assert!(said.len() > 40, "it met few rules: {said:#?}");
}
