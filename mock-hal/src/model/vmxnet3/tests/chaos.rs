//! A driver that does anything: the model may complain, and may be denied memory, and that is all.

use std::collections::BTreeSet;

use super::frames::{V4, V6, to_cut, tunnel, whole};
use super::*;
use crate::fault::Seeded;
use crate::model::vmxnet3::cut;

/// Where the words of `DriverShared` are that decide something.
const SHARED: [u64; 20] = [
    shared::UPT_FEATURES,
    shared::QUEUE_DESC_PA,
    shared::QUEUE_DESC_LEN,
    shared::MTU,
    shared::MAX_NUM_RX_SG,
    shared::AUTO_MASK,
    shared::INTR_CTRL,
    shared::RX_MODE,
    shared::MF_TABLE_LEN,
    shared::MF_TABLE_PA,
    shared::VF_TABLE,
    shared::RSS_CONF_DESC,
    shared::RSS_CONF_DESC + 4,
    shared::RSS_CONF_DESC + 8,
    shared::PM_CONF_DESC,
    shared::PM_CONF_DESC + 8,
    shared::ECR,
    shared::CMD_INFO,
    shared::CMD_INFO + 4,
    shared::CMD_INFO + 8,
];

/// Small, about a power of two, an address that is there, or anything.
fn number(hand: &Hand, chance: &mut Seeded) -> u32 {
    match chance.below(5) {
        0 => chance.next_u32(),
        1 => (1 << chance.below(32)) - chance.below(2),
        2 => (hand.base as u32).wrapping_add(chance.below(0x10_0000)),
        _ => chance.below(200),
    }
}

/// A descriptor of either side, as likely right as not.
fn descriptor(hand: &Hand, chance: &mut Seeded, at: u64, is_tx: bool) {
    hand.put64(at, hand.base + BUFFERS + u64::from(chance.below(0x8_0000)));
    let len = chance.below(2000);
    let (word2, word3) = match (is_tx, chance.below(4)) {
        (_, 0) => (chance.next_u32(), chance.next_u32()),
        (true, _) => (
            1 << 14 | len | (chance.below(4) * 700) << 18,
            chance.below(4) << 12 | chance.below(4) << 10 | 54,
        ),
        (false, _) => (1 << 31 | len | chance.below(2) << 14, 0),
    };
    hand.put32(at + 12, word3);
    hand.put32(at + 8, word2);
}

fn frames() -> Vec<Vec<u8>> {
    let inner = to_cut(V4, 2, 900);
    vec![
        whole(V4, 6, 100),
        whole(V6, 17, 700),
        tunnel(&inner, V6, true),
        tunnel(&inner, V4, false),
        frame(ALL, 14),
        vec![8],
    ]
}

fn chaos(personality: Personality, revision: u8, queues: u8, seed: u64) -> BTreeSet<String> {
    let mut chance = Seeded::new(seed);
    let hand = Hand::revised(personality, revision, queues);
    hand.put64(shared::UPT_FEATURES, chance.below(32).into());
    hand.model().faults = FaultPlan::storm(seed, 10_000);
    hand.command(cmd::ACTIVATE_DEV);
    let mut said = BTreeSet::new();
    for _ in 0..1500 {
        let queue = u64::from(chance.below(queues.into()));
        let slot = u64::from(chance.below(ENTRIES));
        match chance.below(24) {
            0 => hand.put32(SHARED[chance.below(20) as usize], number(&hand, &mut chance)),
            1 => hand.put32(TABLE + u64::from(chance.below(0x800)) * 4, number(&hand, &mut chance)),
            2 => {
                hand.command(cmd::QUIESCE_DEV);
                hand.describe(queues);
                hand.put64(shared::UPT_FEATURES, chance.below(32).into());
                hand.model().be_honest();
                hand.model().faults = FaultPlan::storm(chance.next_u64(), 10_000);
                hand.command(cmd::ACTIVATE_DEV);
            }
            3 => _ = hand.command(cmd::FIRST_GET + chance.below(0x16)),
            4 => _ = hand.command(cmd::FIRST_SET + 3 + chance.below(0x12)),
            5 => hand.write(1, chance.below(0x18) as usize * 8, number(&hand, &mut chance)),
            6 => hand.write(0, chance.below(0x200) as usize * 8, number(&hand, &mut chance)),
            7..10 => {
                let registers = [bar0::TXPROD, bar0::RXPROD, bar0::RXPROD2];
                let register = registers[chance.below(3) as usize] + queue as usize * bar0::STRIDE;
                hand.write(0, register, chance.below(ENTRIES));
            }
            10..14 => descriptor(&hand, &mut chance, TX + queue * STRIDE + slot * 16, true),
            14..18 => {
                let ring = RX + queue * STRIDE + u64::from(chance.below(2)) * RING2;
                descriptor(&hand, &mut chance, ring + slot * 16, false);
            }
            18 => hand.model().tick(),
            19 => _ = hand.model().deliver_lro(&cut(&to_cut(V4, 1, 2000), 500)),
            20 => _ = hand.model().deliver_to(queue as usize, &frame(MAC, 60)),
            _ => {
                let frames = frames();
                let frame = &frames[chance.below(6) as usize];
                let mut model = hand.model();
                let _ = (model.deliver(frame), model.has_room(frame.len()), model.would_wake(frame));
            }
        }
        let wire: usize = hand.model().take_sent().iter().map(|sent| sent.on_wire().len()).sum();
        assert!(wire < 100_000);
        // As far as the first number in it.
        let rules = hand.violations().into_iter();
        said.extend(
            rules.filter_map(|said| said.split(|c: char| c.is_ascii_digit()).next().map(str::to_owned)),
        );
        let _ = hand.platform.memory().forgive();
    }
    said
}

#[test]
fn no_driver_brings_the_model_down() {
    let mut said = BTreeSet::new();
    for seed in 0..28 {
        let revision = 1 + (seed % 7) as u8;
        let queues = if revision < 6 { 4 } else { 5 };
        said.extend(chaos(Personality::esxi(), revision, queues, seed));
        if seed < 4 {
            said.extend(chaos(Personality::qemu(), 1, 4, seed));
        }
    }
    assert!(said.len() > 35, "it met few rules: {said:#?}");
}
