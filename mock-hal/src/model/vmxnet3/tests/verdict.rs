//! What is said of the checksums of what is received.

use super::frames::{V4, V6, inside, tunnel, whole};
use super::*;

const CNC: u32 = 1 << 30;
const INNER: u32 = 1 << 13;
// Bits of the last word.
const TUC: u32 = 1 << 16;
const UDP: u32 = 1 << 17;
const TCP: u32 = 1 << 18;
const IPC: u32 = 1 << 19;
const IP6: u32 = 1 << 20;
const IP4: u32 = 1 << 21;
const FRG: u32 = 1 << 22;
const FCS: u32 = 1 << 23;

fn up(revision: u8, features: u64) -> Hand {
    let hand = Hand::revised(Personality::esxi(), revision, 1);
    hand.put64(shared::UPT_FEATURES, features);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
    for command in [cmd::UPDATE_RX_MODE, cmd::UPDATE_VLAN_FILTERS] {
        hand.command(command);
    }
    hand.post_rx(0, 0);
    hand
}

/// What the first word says of the verdict, and the last one.
fn said(hand: &Hand, frame: &[u8]) -> (u32, u32) {
    assert!(hand.model().deliver(frame));
    (hand.get32(RX + COMPLETIONS) & (CNC | INNER), hand.get32(RX + COMPLETIONS + 12) & 0x00ff_ffff)
}

/// Addresses, a change to a good frame, and the verdict then.
type Spoilt = ([&'static str; 2], fn(&mut Vec<u8>), u32);

#[test]
fn each_layer_has_its_own_verdict() {
    let none: fn(&mut Vec<u8>) = |_| {};
    let tcp: [Spoilt; 5] = [
        (V4, none, IP4 | IPC | TCP | TUC),
        (V4, |frame| frame[60] ^= 1, IP4 | IPC | TCP),
        (V4, |frame| frame[22] ^= 1, IP4 | TCP | TUC),
        (V6, none, IP6 | TCP | TUC),
        (V6, |frame| frame[60] ^= 1, IP6 | TCP),
    ];
    for (addresses, change, expected) in tcp {
        let mut frame = whole(addresses, 6, 101);
        change(&mut frame);
        assert_eq!(said(&up(1, upt::RXCSUM), &frame), (0, expected | FCS));
    }
    let udp = whole(V4, 17, 100);
    assert_eq!(said(&up(1, upt::RXCSUM), &udp), (0, IP4 | IPC | UDP | TUC | FCS));
    let mut without = udp;
    without[40..42].fill(0);
    assert_eq!(said(&up(1, upt::RXCSUM), &without), (0, IP4 | IPC | UDP | FCS), "it says that it has none");
    let mut tagged = whole(V6, 17, 20);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(said(&up(1, upt::RXCSUM | upt::RXVLAN), &tagged), (0, IP6 | UDP | TUC | FCS));
}

#[test]
fn what_is_no_ip_a_fragment_or_not_asked_about_is_not_verified() {
    assert_eq!(said(&up(1, upt::RXCSUM), &frame(MAC, 60)), (CNC, FCS));
    let mut short = whole(V4, 6, 100);
    short.pop();
    assert_eq!(said(&up(1, upt::RXCSUM), &short), (CNC, FCS), "longer than it is");
    let mut fragment = whole(V4, 17, 100);
    fragment[20] = 0x20;
    fragment[24] -= 0x20;
    assert_eq!(said(&up(1, upt::RXCSUM), &fragment), (0, IP4 | IPC | UDP | FRG | FCS));
    assert_eq!(said(&up(1, 0), &whole(V4, 6, 100)), (CNC, FCS), "nobody asked");
    let qemu = Hand::up(Personality::qemu(), 1);
    qemu.post_rx(0, 0);
    assert_eq!(said(&qemu, &whole(V4, 6, 100)), (0, 0));
}

#[test]
fn a_verdict_is_about_the_frame_inside_where_that_was_asked_for() {
    let inner = whole(V6, 6, 20);
    let outer = tunnel(&inner, V4, true);
    assert_eq!(said(&up(4, upt::RXCSUM), &outer).1, IP4 | UDP | FCS, "the outer header's checksum is bad");
    assert_eq!(said(&up(4, upt::RXCSUM | upt::RXINNEROFLD), &outer), (INNER, IP6 | TCP | TUC | FCS));
    let mut bad = outer;
    bad[inside(V4, true) + 60] ^= 1;
    assert_eq!(said(&up(4, upt::RXCSUM | upt::RXINNEROFLD), &bad), (INNER, IP6 | TCP | FCS));
    let plain = whole(V6, 6, 20);
    assert_eq!(said(&up(4, upt::RXCSUM | upt::RXINNEROFLD), &plain), (0, IP6 | TCP | TUC | FCS));
}

#[test]
fn a_test_can_say_what_it_wants() {
    let hand = up(1, upt::RXCSUM);
    assert!(hand.model().deliver_with(&whole(V4, 6, 100), [CNC, 7, 0, UDP]));
    assert_eq!(hand.get32(RX + COMPLETIONS) & CNC, CNC);
    assert_eq!(hand.get32(RX + COMPLETIONS + 4), 7);
    assert_eq!(hand.get32(RX + COMPLETIONS + 12) & 0x00ff_ffff, UDP);
}
