//! Data rings of both sides.

use super::*;

const SLOTS: u64 = 0xc_0000;
const SLOT_BYTES: u64 = 256;

/// A device of revision 3 whose queue has a data ring of its kind.
fn described(revision: u8, rx: bool) -> Hand {
    let hand = Hand::revised(Personality::esxi(), revision, 1);
    let desc = TABLE + if rx { queue_desc::BYTES } else { 0 };
    if rx {
        hand.put64(desc + queue_desc::RX_DATA_RING_BASE_PA, hand.base + SLOTS);
    } else {
        hand.put64(desc + queue_desc::TX_DATA_RING_BASE_PA, hand.base + SLOTS);
        hand.put32(desc + queue_desc::TX_DATA_RING_SIZE, ENTRIES);
    }
    if revision >= 3 {
        hand.put(desc + queue_desc::DATA_SLOT_BYTES, &(SLOT_BYTES as u16).to_le_bytes());
    }
    hand
}

fn up(revision: u8, rx: bool) -> Hand {
    let hand = described(revision, rx);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
    for command in [cmd::UPDATE_RX_MODE, cmd::UPDATE_VLAN_FILTERS] {
        hand.command(command);
    }
    hand
}

/// Describes `len` bytes at `at` in slot `slot` of the transmit queue.
fn describe(hand: &Hand, slot: u64, at: u64, len: u32, word3: u32) {
    hand.put64(TX + slot * 16, hand.base + at);
    hand.put32(TX + slot * 16 + 12, word3);
    hand.put32(TX + slot * 16 + 8, 1 << 14 | len);
}

#[test]
fn a_frame_is_sent_from_its_slot_or_starts_there() {
    let hand = up(3, false);
    hand.put(SLOTS, &frame(MAC, 60));
    describe(&hand, 0, SLOTS, 60, 0b11 << 12);
    hand.put(SLOTS + SLOT_BYTES, &frame(MAC, 64));
    hand.put(BUFFERS, &[9; 100]);
    describe(&hand, 1, SLOTS + SLOT_BYTES, 64, 0);
    describe(&hand, 2, BUFFERS, 100, 0b11 << 12);
    describe(&hand, 3, BUFFERS, 100, 0b11 << 12);
    hand.write(0, bar0::TXPROD, 4);
    let sent = hand.model().take_sent();
    let of_slots: Vec<_> = sent.iter().map(|sent| (sent.bytes.len(), sent.data_ring_bytes)).collect();
    assert_eq!(of_slots, [(60, 60), (164, 64), (100, 0)]);
    assert_eq!(hand.violations(), [""; 0]);
}

#[test]
fn the_slot_is_its_descriptors_own_and_the_first_ones() {
    let own = "data of a slot that is not its own";
    for (at, len, rest, what) in [
        (SLOTS + SLOT_BYTES, 60, None, own),
        (SLOTS + 4, 60, None, own),
        (SLOTS, 257, None, "more data than a slot has"),
        (BUFFERS, 60, Some(SLOTS + SLOT_BYTES), own),
    ] {
        let hand = up(3, false);
        describe(&hand, 0, at, len, if rest.is_some() { 0 } else { 0b11 << 12 });
        if let Some(rest) = rest {
            describe(&hand, 1, rest, 60, 0b11 << 12);
        }
        hand.write(0, bar0::TXPROD, 1);
        assert_eq!(hand.violations(), [what]);
        hand.command(cmd::GET_QUEUE_STATUS);
        assert_eq!(hand.get32(TABLE + queue_desc::ERROR), stop::TXD_INVALID);
    }
    let hand = up(3, false);
    describe(&hand, 0, SLOTS + u64::from(ENTRIES) * SLOT_BYTES, 60, 0b11 << 12);
    hand.write(0, bar0::TXPROD, 1);
    assert_eq!(hand.violations(), [""; 0], "behind the data ring");
}

#[test]
fn slots_are_as_long_as_the_device_says() {
    type Change = fn(&Hand);
    let size =
        |hand: &Hand, at: u64, bytes: u16| hand.put(at + queue_desc::DATA_SLOT_BYTES, &bytes.to_le_bytes());
    for (bytes, result) in [(256, 0), (128, 0), (0, 0), (192, 1), (512, 1)] {
        let hand = described(3, false);
        size(&hand, TABLE, bytes);
        assert_eq!(hand.command(cmd::GET_TXDATA_DESC_SIZE), 256);
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), result, "{bytes}");
    }
    let first = described(2, false);
    assert_eq!(first.command(cmd::ACTIVATE_DEV), 0, "128 before anybody could say");
    let hand = described(2, false);
    size(&hand, TABLE, 256);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
    let changes: [Change; 2] = [
        |hand| hand.put32(TABLE + queue_desc::TX_DATA_RING_SIZE, ENTRIES - 1),
        |hand| hand.put64(TABLE + queue_desc::TX_DATA_RING_BASE_PA, hand.base + SLOTS + 64),
    ];
    for change in changes {
        let hand = described(3, false);
        change(&hand);
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
    }
    for (revision, bytes, result) in
        [(3, 256, 0), (3, 2048, 0), (3, 2112, 1), (3, 96, 1), (3, 0, 1), (2, 256, 1)]
    {
        let hand = described(revision, true);
        size(&hand, TABLE + queue_desc::BYTES, bytes);
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), result, "{bytes}");
    }
}

#[test]
fn a_small_frame_arrives_in_a_slot_and_leaves_its_buffer_alone() {
    let hand = up(3, true);
    for slot in 0..3 {
        hand.post_rx(slot, slot);
    }
    hand.post_body(0, 9);
    assert!(hand.model().deliver(&frame(MAC, 256)));
    assert!(hand.model().deliver(&frame(MAC, 257)));
    assert!(hand.model().deliver(&frame(MAC, 60)));
    let said = |slot: u64| hand.get32(RX + COMPLETIONS + slot * 16) & 0x3ff_ffff;
    assert_eq!(said(0), 0b11 << 14 | 2 << 16, "the data ring of queue 0 of one");
    assert_eq!([said(1), said(2)], [1 | 1 << 15, 1 << 14 | 1 << 16], "too long for a slot");
    assert_eq!(said(3), 2 | 0b11 << 14 | 2 << 16);
    assert_eq!(hand.get::<256>(SLOTS), *frame(MAC, 256));
    assert_eq!(hand.get::<60>(SLOTS + 2 * SLOT_BYTES), *frame(MAC, 60));
    assert_eq!(
        hand.get::<8>(BUFFERS + 2 * u64::from(BUFFER_BYTES)),
        [0xdb; 8],
        "poisoned as the device took it"
    );
    assert_eq!(hand.violations(), [""; 0]);
    assert_eq!(hand.platform.memory().violations(), [""; 0]);
    assert_eq!(hand.stats(true)[at::UCAST], 3);
    let own = hand.model().own_memory();
    assert!(own.contains(&(hand.base + SLOTS..hand.base + SLOTS + u64::from(ENTRIES) * SLOT_BYTES)));
}

#[test]
fn a_frame_in_a_slot_gives_its_buffer_back_and_no_other() {
    let hand = up(3, true);
    hand.post_rx(0, 0);
    hand.post_rx(1, 1);
    assert!(hand.model().deliver(&frame(MAC, 60)));
    hand.post_rx(2, 0);
    hand.model().tick();
    assert_eq!(hand.platform.memory().violations(), [""; 0], "the first one is the driver's again");
    hand.post_rx(3, 1);
    hand.model().tick();
    let said = hand.platform.memory().violations();
    assert!(said[0].starts_with("given to device `vmxnet3 00:04.0` while it is out already"), "{said:?}");
    hand.platform.memory().forgive();
}

#[test]
fn a_length_beyond_the_slot_is_a_lie_that_is_told() {
    let hand = up(3, true);
    hand.post_rx(0, 0);
    let longer = Action::Add { field: Field::Length, value: 4000 };
    hand.model().faults = FaultPlan::new([Fault::nth(FaultPoint::RxCompletion, 1, longer)]);
    assert!(hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(hand.get32(RX + COMPLETIONS + 8) & 0x3fff, 4060);
}
