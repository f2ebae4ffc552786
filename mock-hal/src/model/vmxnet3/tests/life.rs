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
fn a_revision_that_is_not_played_is_refused() {
    let hand = Hand::new(Personality::esxi(), 1);
    hand.write(1, bar1::VRRS, 1 << 2);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
    assert_eq!(hand.violations(), ["at activation: the revision is one that this model plays"]);
    hand.write(1, bar1::VRRS, 1 << 7);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
    assert_eq!(hand.violations(), ["at activation: 0x80 chosen of the revisions"]);
    hand.write(1, bar1::VRRS, 1);
    hand.command(cmd::FIRST_GET + 0x0a);
    assert_eq!(hand.violations(), ["command 0xf00d000a at revision bit 0x1"]);
    assert!(ESXI_REVISIONS.is_sorted_by_key(|revision| (revision.number, revision.last_get)));
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
