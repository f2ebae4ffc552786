//! What wakes a machine.

use super::*;

const CONF: u64 = 0x8000;
const FILTERS: u64 = CONF + 8;

/// A device that is told to wake its machine by `events`, and by `filters` of mask and pattern.
fn asleep(events: u16, filters: &[(&[u8], &[u8])]) -> (Hand, u32) {
    let hand = Hand::up(Personality::esxi(), 1);
    hand.put32(shared::PM_CONF_DESC, 1);
    hand.put32(shared::PM_CONF_DESC + 4, 920);
    hand.put64(shared::PM_CONF_DESC + 8, hand.base + CONF);
    hand.put(CONF, &events.to_le_bytes());
    hand.put(CONF + 2, &[filters.len() as u8]);
    for (index, (mask, pattern)) in filters.iter().enumerate() {
        let at = FILTERS + 152 * index as u64;
        hand.put(at, &[mask.len() as u8, pattern.len() as u8]);
        hand.put(at + 2, mask);
        hand.put(at + 18, pattern);
    }
    let result = hand.command(cmd::UPDATE_PMCFG);
    (hand, result)
}

fn magic() -> Vec<u8> {
    [frame(ALL, 14), vec![0xff; 6], MAC.repeat(16)].concat()
}

#[test]
fn a_magic_packet_wakes_where_it_was_asked_for_until_reset() {
    let (hand, result) = asleep(1, &[]);
    assert_eq!(result, 0);
    let mut almost = magic();
    *almost.last_mut().unwrap() ^= 1;
    assert_eq!(
        [magic(), almost, frame(MAC, 60)].map(|frame| hand.model().would_wake(&frame)),
        [true, false, false]
    );
    hand.command(cmd::QUIESCE_DEV);
    assert!(hand.model().would_wake(&magic()), "asleep");
    hand.command(cmd::RESET_DEV);
    assert!(!hand.model().would_wake(&magic()));
    assert!(!asleep(2, &[]).0.model().would_wake(&magic()));
}

#[test]
fn a_filter_wakes_by_the_bytes_that_its_mask_has() {
    let pattern = [MAC.as_slice(), &[0; 6], &[8, 6]].concat();
    let filters: [(&[u8], &[u8]); 2] = [(&[0x3f, 0x30], &pattern), (&[0x01], &[0x77])];
    let (hand, result) = asleep(2, &filters);
    assert_eq!(result, 0);
    let wakes = |frame: &[u8]| hand.model().would_wake(frame);
    let mut arp = frame(MAC, 42);
    arp[12..14].copy_from_slice(&[8, 6]);
    assert!(wakes(&arp));
    assert!(!wakes(&frame(MAC, 42)), "another type");
    assert!(!wakes(&arp[..13]), "too short");
    arp[0] = 0x77;
    assert!(wakes(&arp), "by the second one");
    assert!(!asleep(1, &filters).0.model().would_wake(&arp), "filters were not asked for");
}

#[test]
fn what_cannot_wake_is_refused() {
    let (hand, result) = asleep(4, &[]);
    assert_eq!((result, hand.violations()), (1, vec!["UPDATE_PMCFG: events that there are not".to_owned()]));
    let (hand, result) = asleep(2, &[(&[][..], &[][..]); 7]);
    assert_eq!((result, hand.violations()), (1, vec!["UPDATE_PMCFG: more filters than six".to_owned()]));
    let (hand, _) = asleep(2, &[(&[], &[])]);
    hand.put(FILTERS, &[17]);
    assert_eq!(hand.command(cmd::UPDATE_PMCFG), 1);
    hand.put(FILTERS, &[16, 129]);
    assert_eq!(hand.command(cmd::UPDATE_PMCFG), 1);
    assert_eq!(hand.violations(), ["UPDATE_PMCFG: a filter that is too long"; 2]);
    hand.put32(shared::PM_CONF_DESC + 4, 919);
    assert_eq!(hand.command(cmd::UPDATE_PMCFG), 1);
    hand.write(1, bar1::DSAL, 0);
    assert_eq!(hand.command(cmd::UPDATE_PMCFG), 1);
    let said = ["no configuration of version 1 and 920 bytes", "no DriverShared"];
    assert_eq!(hand.violations(), said.map(|what| format!("UPDATE_PMCFG: {what}")));
}
