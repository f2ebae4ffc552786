//! The spread of frames over queues.

use super::frames::{ip, ports, to_cut};
use super::*;
use crate::model::vmxnet3::cut;
use crate::model::vmxnet3::layout::{hash_type, rss_field, rss_type};

const CONF: u64 = 0x8000;
/// The key, and hashes that were published with it.
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];
const V4: [&str; 2] = ["66.9.149.187", "161.142.100.80"];
const V6: [&str; 2] = ["3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1"];
const V4_ADDRESSES: u32 = 0x323e_8fc2;
const V4_PORTS: u32 = 0x51cc_c178;
const V6_ADDRESSES: u32 = 0x2cc1_8cd5;
const V6_PORTS: u32 = 0x4020_7d3d;

/// Four queues, over which frames are spread by `types` and a table that goes round.
fn spread(revision: u8, types: u16) -> Hand {
    let hand = Hand::revised(Personality::esxi(), revision, 4);
    hand.put64(shared::UPT_FEATURES, upt::RSS);
    hand.put32(shared::RSS_CONF_DESC, 1);
    hand.put32(shared::RSS_CONF_DESC + 4, 176);
    hand.put64(shared::RSS_CONF_DESC + 8, hand.base + CONF);
    hand.put(CONF, &[types.to_le_bytes(), [1, 0], [40, 0], [128, 0]].concat());
    hand.put(CONF + 8, &KEY);
    table(&hand, |bucket| bucket % 4);
    hand
}

fn table(hand: &Hand, queue: impl Fn(u8) -> u8) {
    hand.put(CONF + 0x30, &(0..128).map(queue).collect::<Vec<_>>());
}

fn up(hand: Hand) -> Hand {
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
    for command in [cmd::UPDATE_RX_MODE, cmd::UPDATE_VLAN_FILTERS] {
        hand.command(command);
    }
    for queue in 0..4 {
        hand.post(RX + u64::from(queue) * STRIDE, 0, 0, queue);
        hand.write(0, bar0::RXPROD + queue as usize * bar0::STRIDE, 1);
    }
    hand
}

/// What the first completion of `queue` says: `rqID`, `rssType` and the hash.
fn said(hand: &Hand, queue: u64) -> (u32, u32, u32) {
    let at = RX + queue * STRIDE + COMPLETIONS;
    let word0 = hand.get32(at);
    (word0 >> 16 & 0x3ff, word0 >> 26 & 0xf, hand.get32(at + 4))
}

#[test]
fn a_frame_goes_where_its_published_hash_says_and_tells_it() {
    let cases = [
        (V4, 6, hash_type::ALL, rss_type::TCP4, V4_PORTS),
        (V4, 6, hash_type::IPV4, rss_type::IPV4, V4_ADDRESSES),
        (V4, 17, hash_type::ALL, rss_type::IPV4, V4_ADDRESSES),
        (V6, 6, hash_type::ALL, rss_type::TCP6, V6_PORTS),
        (V6, 6, hash_type::IPV6, rss_type::IPV6, V6_ADDRESSES),
        (V6, 17, hash_type::ALL, rss_type::IPV6, V6_ADDRESSES),
        (V4, 6, hash_type::TCP_IPV6 | hash_type::IPV6, 0, 0),
    ];
    for ([source, destination], protocol, types, kind, hash) in cases {
        let hand = up(spread(1, types));
        let frame = ip(source, destination, protocol, &ports(2794, 1766));
        let queue = hash % 128 % 4;
        assert_eq!(hand.model().queue_of(&frame), queue as usize);
        assert!(hand.model().deliver(&frame));
        assert_eq!(said(&hand, queue.into()), (queue, kind, hash), "{protocol} {types:#x}");
        assert_eq!(hand.violations(), [""; 0]);
    }
}

#[test]
fn tags_and_extensions_do_not_hide_what_is_hashed_and_fragments_have_no_ports() {
    let hand = up(spread(1, hash_type::ALL));
    let hash = |frame: &[u8]| hand.model().steer(frame).1;
    let frame = ip(V4[0], V4[1], 6, &ports(2794, 1766));
    let mut tagged = frame.clone();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(hash(&tagged), Some((rss_type::TCP4, V4_PORTS)));
    let mut optional = frame.clone();
    optional[14] = 0x46;
    optional[17] += 4;
    optional.splice(34..34, [1; 4]);
    assert_eq!(hash(&optional), Some((rss_type::TCP4, V4_PORTS)));
    let mut fragment = frame.clone();
    fragment[20] = 0x20;
    assert_eq!(hash(&fragment), Some((rss_type::IPV4, V4_ADDRESSES)));
    let mut short = frame;
    short[17] -= 1;
    short.pop();
    short.truncate(14 + 20 + 3);
    short[17] = 23;
    assert_eq!(hash(&short), Some((rss_type::IPV4, V4_ADDRESSES)));

    let behind =
        |next: u8, extension: [u8; 8]| ip(V6[0], V6[1], next, &[&extension[..], &ports(2794, 1766)].concat());
    assert_eq!(hash(&behind(60, [6, 0, 1, 4, 0, 0, 0, 0])), Some((rss_type::TCP6, V6_PORTS)));
    assert_eq!(hash(&behind(44, [6, 0, 0, 1, 0, 0, 0, 9])), Some((rss_type::IPV6, V6_ADDRESSES)));
    assert_eq!(hash(&behind(44, [6, 0, 0, 0, 0, 0, 0, 9])), Some((rss_type::TCP6, V6_PORTS)), "an atom");
    assert_eq!(hash(&behind(60, [6, 9, 1, 4, 0, 0, 0, 0])), None, "past its end");
    assert_eq!(hash(&[0x33; 60]), None);
    assert_eq!(hash(&[8]), None);
}

#[test]
fn fields_are_asked_for_from_the_fourth_revision_on() {
    let udp = ip(V4[0], V4[1], 17, &ports(2794, 1766));
    let esp = ip(V6[0], V6[1], 50, &ports(2794, 1766));
    let hand = up(spread(4, hash_type::ALL));
    let set = |hand: &Hand, fields: u32| {
        hand.put32(shared::CMD_INFO, fields);
        hand.command(cmd::SET_RSS_FIELDS)
    };
    assert_eq!(hand.command(cmd::GET_RSS_FIELDS), rss_field::TCP4 | rss_field::TCP6);
    assert_eq!(hand.model().steer(&udp).1, Some((rss_type::IPV4, V4_ADDRESSES)));
    assert_eq!(set(&hand, rss_field::UDP4), 0);
    assert_eq!(hand.command(cmd::GET_RSS_FIELDS), rss_field::UDP4);
    assert_eq!(hand.model().steer(&udp).1, Some((rss_type::UDP4, V4_PORTS)));
    let tcp = ip(V4[0], V4[1], 6, &ports(2794, 1766));
    assert_eq!(hand.model().steer(&tcp).1, Some((rss_type::IPV4, V4_ADDRESSES)), "not asked for any more");
    assert_eq!(hand.violations(), [""; 0]);
    assert_eq!(set(&hand, rss_field::ESP6), 1, "which is newer");
    assert_eq!(hand.violations(), ["SET_RSS_FIELDS with 0x20"]);
    assert_eq!(hand.command(cmd::GET_RSS_FIELDS), rss_field::UDP4, "what is refused is not carried out");

    let sixth = up(spread(6, hash_type::ALL));
    assert_eq!(set(&sixth, rss_field::ESP6 | rss_field::ESP4), 0);
    assert_eq!(sixth.model().steer(&esp).1, Some((rss_type::ESP6, V6_PORTS)));
    sixth.model().personality.rss_fields = rss_field::TCP4 | rss_field::UDP6;
    assert_eq!(set(&sixth, rss_field::ALL), 0);
    assert_eq!(sixth.command(cmd::GET_RSS_FIELDS), rss_field::TCP4 | rss_field::UDP6, "what is granted");

    let third = up(spread(3, hash_type::ALL));
    assert_eq!(set(&third, rss_field::UDP4), u32::MAX);
    assert_eq!(third.violations(), ["command 0xcafe0010 at revision bit 0x4"]);
    let alone = Hand::revised(Personality::esxi(), 4, 1);
    assert_eq!(set(&alone, rss_field::UDP4), 1);
    alone.command(cmd::ACTIVATE_DEV);
    assert_eq!(set(&alone, rss_field::UDP4), 1);
    let said = ["SET_RSS_FIELDS before activation", "SET_RSS_FIELDS with one receive queue"];
    assert_eq!(alone.violations(), said);
}

#[test]
fn the_table_changes_by_its_command_and_nothing_else_does() {
    let hand = up(spread(1, hash_type::ALL));
    let frame = ip(V4[0], V4[1], 6, &ports(2794, 1766));
    table(&hand, |_| 3);
    assert_eq!(hand.model().queue_of(&frame), 0, "nobody told the device");
    hand.put(CONF + 8, &[0; 40]);
    assert_eq!(hand.command(cmd::UPDATE_RSSIDT), 0);
    assert_eq!(hand.model().steer(&frame), (3, Some((rss_type::TCP4, V4_PORTS))), "by the old key");
    table(&hand, |bucket| bucket / 32 + 1);
    assert_eq!(hand.command(cmd::UPDATE_RSSIDT), 1);
    assert_eq!(hand.violations(), ["UPDATE_RSSIDT: not so that indTable names queues that there are"]);
    assert_eq!(hand.model().queue_of(&frame), 3, "what is refused is not carried out");
    hand.put(CONF + 6, &[64, 0]);
    table(&hand, |_| 1);
    assert_eq!(hand.command(cmd::UPDATE_RSSIDT), 1);
    assert_eq!(hand.violations(), ["UPDATE_RSSIDT with another indTableSize"]);

    hand.put64(shared::UPT_FEATURES, 0);
    hand.command(cmd::UPDATE_FEATURE);
    assert_eq!(hand.model().steer(&frame), (0, None), "not spread any more");

    let plain = Hand::up(Personality::esxi(), 2);
    assert_eq!(plain.command(cmd::UPDATE_RSSIDT), 1);
    assert_eq!(plain.violations(), ["UPDATE_RSSIDT without RSS"]);
    assert_eq!(plain.model().queue_of(&frame), 0);
}

#[test]
fn what_was_put_together_has_no_hash_in_one_completion_and_goes_to_its_queue() {
    let hand = spread(2, hash_type::ALL);
    hand.put64(shared::UPT_FEATURES, upt::RSS | upt::LRO);
    let hand = up(hand);
    let segments = cut(&to_cut(frames::V4, 0, 150), 100);
    let queue = hand.model().queue_of(&segments[0]) as u64;
    assert!(hand.model().deliver_lro(&segments));
    assert_eq!(said(&hand, queue), (queue as u32, 0, 2), "segCnt is where the hash would be");
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    type Change = fn(&Hand);
    let cases: [(&str, Change); 6] = [
        ("rssConfDesc says version 1 and 176 bytes", |hand| hand.put32(shared::RSS_CONF_DESC + 4, 175)),
        ("hashType is known", |hand| hand.put(CONF, &[0x10])),
        ("hashFunc is Toeplitz, by 40 bytes", |hand| hand.put(CONF + 2, &[0])),
        ("hashFunc is Toeplitz, by 40 bytes", |hand| hand.put(CONF + 4, &[39])),
        ("indTableSize", |hand| hand.put(CONF + 6, &[129])),
        ("indTable names queues that there are", |hand| table(hand, |bucket| bucket / 25)),
    ];
    for (what, change) in cases {
        let hand = spread(1, hash_type::ALL);
        change(&hand);
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
        assert_eq!(hand.violations(), [format!("at activation: {what}")]);
        let qemu = spread(1, hash_type::ALL);
        qemu.model().personality = Personality::qemu();
        change(&qemu);
        assert_eq!(qemu.command(cmd::ACTIVATE_DEV), 0, "which QEMU's device does not look at");
        qemu.violations();
        assert_eq!(qemu.command(cmd::UPDATE_RSSIDT), 0);
        assert_eq!(qemu.violations(), [""; 0]);
    }
    let alone = Hand::new(Personality::esxi(), 1);
    alone.put64(shared::UPT_FEATURES, upt::RSS);
    assert_eq!(alone.command(cmd::ACTIVATE_DEV), 1);
    assert_eq!(alone.violations(), ["at activation: RSS is for several receive queues"]);
}
