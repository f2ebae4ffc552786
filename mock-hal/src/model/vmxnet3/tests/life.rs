//! Activation, and how it ends.

use super::*;

/// As where rings lie over their own description.
#[test]
fn rings_whose_lengths_are_noise_are_refused() {
    let hand = Hand::new(Personality::qemu(), 1);
    for size in [queue_desc::RING_SIZE, queue_desc::RING2_SIZE] {
        hand.put32(TABLE + queue_desc::BYTES + size, u32::MAX);
    }
    assert_ne!(hand.command(cmd::ACTIVATE_DEV), 0);
    assert!(hand.violations()[1].contains("takes both rings"));
}

#[test]
fn a_revision_that_is_not_offered_is_refused() {
    let hand = Hand::new(Personality::esxi(), 1);
    hand.write(1, bar1::VRRS, 1 << 2);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
    assert_eq!(hand.command(cmd::QUIESCE_DEV), 0);
    hand.write(1, bar1::VRRS, 1 << 7);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
    assert_eq!(hand.violations(), ["at activation: 0x80 chosen of the revisions"]);
    hand.write(1, bar1::VRRS, 1);
    assert_eq!(hand.command(cmd::FIRST_GET + 0x0a), u32::MAX);
    assert_eq!(hand.violations(), ["command 0xf00d000a at revision bit 0x1"]);
    assert!(ESXI_REVISIONS.is_sorted_by_key(|revision| (revision.number, revision.last_get)));
    let third = Hand::new(Personality::esxi().up_to(3), 1);
    third.write(1, bar1::VRRS, 1 << 3);
    assert_eq!(third.bars[1].read32(bar1::VRRS), 0b111);
    assert_eq!(third.command(cmd::ACTIVATE_DEV), 1, "a revision that is not offered");
}

#[test]
fn a_device_stops_by_its_commands_or_with_its_address() {
    let state = |hand: &Hand| {
        let model = hand.model();
        (model.is_active(), model.shared_addr())
    };
    for personality in [Personality::qemu(), Personality::esxi()] {
        let hand = Hand::up(personality, 1);
        assert_eq!(state(&hand), (true, Some(hand.base)));
        let refused = |command| Fault::nth(FaultPoint::Command, 1, Action::Refuse).of(command);
        hand.model().faults = FaultPlan::new([refused(cmd::QUIESCE_DEV), refused(cmd::RESET_DEV)]);
        assert_eq!([cmd::QUIESCE_DEV, cmd::RESET_DEV].map(|command| hand.command(command)), [1; 2]);
        assert_eq!(state(&hand), (true, Some(hand.base)), "what is refused is not carried out");
        assert_eq!(hand.command(cmd::RESET_DEV), 0);
        assert_eq!(state(&hand), (false, (!personality.forgets_shared).then_some(hand.base)));

        let hand = Hand::up(personality, 1);
        hand.write(1, bar1::DSAL, 0);
        hand.write(1, bar1::DSAH, 0);
        assert_eq!(state(&hand), (false, None));
    }
}

#[test]
fn the_lengths_of_rings_are_powers_of_two_from_the_seventh_revision_on() {
    for (revision, result) in [(6, 0), (7, 1)] {
        let hand = Hand::revised(Personality::esxi(), revision, 1);
        for size in [queue_desc::RING_SIZE, queue_desc::COMP_RING_SIZE] {
            hand.put32(TABLE + size, 96);
        }
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), result);
        let what = "at activation: the lengths of rings are powers of two from revision 7 on";
        assert_eq!(hand.violations(), vec![what; result as usize]);
    }
}

#[test]
fn completion_rings_lie_and_end_as_the_others() {
    let hand = Hand::new(Personality::esxi(), 1);
    hand.put64(TABLE + queue_desc::COMP_RING_BASE_PA, hand.base + TX + COMPLETIONS + 16);
    hand.put32(TABLE + queue_desc::BYTES + queue_desc::COMP_RING_SIZE, 8224);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
    let said = hand.violations();
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[0], "at activation: completion rings are at 512 bytes");
}

#[test]
fn features_that_the_revision_does_not_know_are_refused() {
    for (revision, features, result) in [(3, 0xf, 0), (3, 0x10, 1), (4, 0x1d, 0), (7, 0x20, 1)] {
        let hand = Hand::revised(Personality::esxi(), revision, 1);
        let features = features & !upt::RSS;
        hand.put64(shared::UPT_FEATURES, features);
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), result, "{revision} {features:#x}");
        hand.put64(shared::UPT_FEATURES, 0);
        hand.command(cmd::QUIESCE_DEV);
        hand.violations();
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
        hand.put64(shared::UPT_FEATURES, features);
        assert_eq!(hand.command(cmd::UPDATE_FEATURE), result);
        assert_eq!(hand.violations().len(), result as usize);
    }
}
