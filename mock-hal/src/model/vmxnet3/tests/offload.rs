//! What is asked for on the way out, and what goes over the wire for it.

use super::frames::{V4, V6, inside, parsed, to_cut, to_sum, tunnel};
use super::*;
use crate::model::vmxnet3::{Sent, capability};

/// Where frames lie that take several descriptors.
const LONG: u64 = 0xc_0000;
const PIECE_BYTES: usize = 16_384;

const CSUM: u32 = 2 << 10;
const TSO: u32 = 3 << 10;
const ENCAPSULATED: u32 = 1 << 10;
const EXT1: u32 = 1 << 17;
const OCO: u32 = 1 << 15;

/// A device of that revision that was asked for all of its capabilities.
fn up(revision: u8) -> Hand {
    let hand = Hand::revised(Personality::esxi(), revision, 1);
    if revision >= 7 {
        hand.write(1, bar1::DCR, capability::ALL & !capability::LARGE_BAR);
    }
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
    hand
}

/// Sends a frame of any length from slot 0 on.
fn send(hand: &Hand, bytes: &[u8], word2: u32, word3: u32) -> Vec<Sent> {
    hand.put(LONG, bytes);
    let pieces = bytes.len().div_ceil(PIECE_BYTES);
    for piece in 0..pieces {
        let at = TX + piece as u64 * 16;
        let start = piece * PIECE_BYTES;
        let len = (bytes.len() - start).min(PIECE_BYTES) % PIECE_BYTES;
        let is_first = piece == 0;
        let end = if piece + 1 == pieces { 0b11 << 12 } else { 0 };
        hand.put64(at, hand.base + LONG + start as u64);
        hand.put32(at + 12, end | if is_first { word3 } else { 0 });
        hand.put32(at + 8, 1 << 14 | len as u32 | if is_first { word2 } else { 0 });
    }
    hand.write(0, bar0::TXPROD, pieces as u32);
    hand.model().take_sent()
}

fn honest(hand: &Hand, sent: &[Sent]) -> Vec<Vec<u8>> {
    assert_eq!(hand.violations(), [""; 0]);
    assert_eq!(sent.len(), 1);
    sent[0].on_wire()
}

/// Segments of TCP that an independent parser takes: put together again, they are `payload`.
fn check_segments(segments: &[Vec<u8>], mss: usize, payload: &[u8]) {
    let mut all = Vec::new();
    for (number, segment) in segments.iter().enumerate() {
        let (tcp, bytes) = parsed(segment);
        let tcp = tcp.unwrap();
        assert_eq!(tcp.sequence_number, 0xffff_ff00_u32.wrapping_add((number * mss) as u32));
        let is_last = number + 1 == segments.len();
        assert_eq!((tcp.fin, tcp.psh, tcp.ack, tcp.cwr), (is_last, is_last, true, number == 0));
        assert!(if is_last { bytes.len() <= mss } else { bytes.len() == mss });
        all.extend(bytes);
    }
    assert_eq!(all, payload);
}

#[test]
fn a_large_frame_leaves_as_valid_segments() {
    for (addresses, l4) in [(V4, 34), (V6, 54)] {
        for option_words in [0, 3, 10] {
            let frame = to_cut(addresses, option_words, 60_000);
            let headers = l4 + 20 + 4 * option_words;
            let hand = up(1);
            let sent = send(&hand, &frame, 1448 << 18, TSO | headers as u32);
            assert_eq!(sent[0].descriptors, 4);
            let segments = honest(&hand, &sent);
            assert_eq!(segments.len(), 42);
            check_segments(&segments, 1448, &frame[headers..]);
            if addresses == V4 {
                let ids: Vec<_> = segments.iter().map(|segment| segment[19]).collect();
                assert_eq!(ids, (0x34..0x34 + 42).collect::<Vec<u8>>(), "each packet has its own");
            }
        }
    }
}

#[test]
fn every_segment_has_the_tag() {
    let hand = up(1);
    let frame = to_cut(V4, 0, 3000);
    let sent = send(&hand, &frame, 1000 << 18, TSO | 54 | 1 << 15 | 0x123 << 16);
    let segments = honest(&hand, &sent);
    assert_eq!(segments.len(), 3);
    for segment in &segments {
        assert_eq!(segment[12..16], [0x81, 0, 0x01, 0x23]);
        assert_eq!(segment[..12], frame[..12]);
    }
    check_segments(&segments, 1000, &frame[54..]);

    let mut inside = frame;
    inside.splice(12..12, [0x81, 0, 0, 7]);
    let sent = send(&up(1), &inside, 1000 << 18, TSO | 58);
    let segments = sent[0].on_wire();
    assert_eq!(segments[2][12..16], [0x81, 0, 0, 7], "and keeps one that it came with");
    check_segments(&segments, 1000, &inside[58..]);
}

#[test]
fn checksums_are_made_where_they_go() {
    for (addresses, l4) in [(V4, 34), (V6, 54)] {
        for (protocol, field) in [(6, 16), (17, 6)] {
            let hand = up(1);
            let mut frame = to_sum(addresses, protocol, 101);
            if addresses == V4 {
                frame = with_ip_checksum(frame);
            }
            let sent = send(&hand, &frame, (l4 + field) << 18, CSUM | l4);
            let wire = honest(&hand, &sent);
            assert_eq!(parsed(&wire[0]).1.len(), 101);
            assert_eq!(sent[0].bytes, frame, "as it was given");
        }
    }
}

fn with_ip_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let header = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap().0;
    frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    frame
}

#[test]
fn tunnels_are_cut_inside() {
    for revision in [4, 6, 7] {
        for (outer, inner, is_geneve, with_outer) in
            [(V4, V4, true, false), (V4, V6, false, true), (V6, V4, true, true), (V6, V6, false, false)]
        {
            let packet = to_cut(inner, 3, 5000);
            let frame = tunnel(&packet, outer, is_geneve);
            let start = inside(outer, is_geneve);
            let headers = start + if inner == V6 { 54 } else { 34 } + 32;
            let (om, ext1) = if revision < 7 { (ENCAPSULATED, 0) } else { (TSO, EXT1) };
            let oco = if with_outer { OCO } else { 0 };
            let hand = up(revision);
            let sent = send(&hand, &frame, 1400 << 18 | ext1 | oco, om | headers as u32);
            let segments = honest(&hand, &sent);
            let inner: Vec<_> = segments.iter().map(|segment| segment[start..].to_vec()).collect();
            check_segments(&inner, 1400, &packet[headers - start..]);
            for segment in &segments {
                let l4 = start - 8 - if is_geneve { 16 } else { 8 };
                if with_outer {
                    assert_eq!(parsed(segment).1.len(), segment.len() - l4 - 8);
                } else {
                    assert_eq!(segment[l4 + 6..l4 + 8], [0; 2], "left as it was");
                    let udp = etherparse::UdpHeader::from_slice(&segment[l4..]).unwrap().0;
                    assert_eq!(usize::from(udp.length), segment.len() - l4);
                }
            }
            assert_eq!(hand.stats(false)[at::TSO], 4, "counted by its segments");
        }
    }
}

#[test]
fn tunnels_are_summed_inside() {
    for revision in [4, 7] {
        for (inner, protocol, is_geneve) in [(V4, 6, true), (V6, 17, false)] {
            let mut packet = to_sum(inner, protocol, 100);
            if inner == V4 {
                packet = with_ip_checksum(packet);
            }
            let frame = tunnel(&packet, V4, is_geneve);
            let start = inside(V4, is_geneve);
            let l4 = start + if inner == V6 { 54 } else { 34 };
            let (end, field) = if protocol == 6 { (l4 + 20, l4 + 16) } else { (l4 + 8, l4 + 6) };
            let (word2, om) =
                if revision < 7 { (0, ENCAPSULATED) } else { ((field as u32) << 18 | EXT1, CSUM) };
            let hand = up(revision);
            let sent = send(&hand, &frame, word2, om | end as u32);
            let wire = honest(&hand, &sent);
            assert_eq!(parsed(&wire[0][start..]).1.len(), 100);
            assert_eq!(wire[0][..start], frame[..start]);
        }
    }
}

/// A change to a good request, and what the device says then.
type Spoilt = (&'static str, u32, fn(&mut Vec<u8>), u32, u32);

#[test]
fn requests_that_do_not_fit_their_headers_stop_the_queue() {
    let none: fn(&mut Vec<u8>) = |_| {};
    let cut: [Spoilt; 9] = [
        ("to be cut, and no TCP", stop::TXD_INVALID, |frame| frame[23] = 17, 1000 << 18, TSO | 54),
        ("to be cut, and no TCP", stop::TXD_INVALID, |frame| frame[12] = 9, 1000 << 18, TSO | 54),
        ("hlen is not where the payload starts", stop::TXD_INVALID, none, 1000 << 18, TSO | 66),
        ("to be cut, with an IP checksum", stop::TXD_INVALID, |frame| frame[24] = 1, 1000 << 18, TSO | 54),
        (
            "to be cut, without the sum of a pseudo-header of length 0",
            stop::TXD_INVALID,
            |frame| frame[50] ^= 1,
            1000 << 18,
            TSO | 54,
        ),
        (
            "a packet that ends before its frame",
            stop::TXD_INVALID,
            |frame| frame.push(0),
            1000 << 18,
            TSO | 54,
        ),
        ("segments of zero bytes", stop::TXD_INVALID, none, 0, TSO | 54),
        ("ext1 below revision 7", stop::DESC_NOT_SPT, none, 1000 << 18 | EXT1, TSO | 54),
        ("oco where no tunnel is cut", stop::TXD_INVALID, none, 1000 << 18 | OCO, TSO | 54),
    ];
    let sum: [Spoilt; 7] = [
        ("a checksum beyond the frame", stop::TXD_INVALID, none, 154 << 18, CSUM | 34),
        ("msscof is not where the checksum is", stop::TXD_INVALID, none, 40 << 18, CSUM | 34),
        ("hlen is not where the headers say", stop::TXD_INVALID, none, 50 << 18, CSUM | 14),
        (
            "no sum of the pseudo-header where the checksum goes",
            stop::TXD_INVALID,
            |frame| frame[51] ^= 1,
            50 << 18,
            CSUM | 34,
        ),
        (
            "a frame that is longer than the MTU",
            stop::TXD_INVALID,
            |frame| frame.resize(1515, 0),
            50 << 18,
            CSUM | 34,
        ),
        ("offload fields without an offload", stop::TXD_INVALID, none, 0, 34),
        ("a transmit descriptor of an unknown type", stop::DESC_NOT_SPT, none, 1 << 16, 0),
    ];
    let cut = cut.into_iter().map(|spoilt| (to_cut(V4, 0, 3000), spoilt));
    let sum = sum.into_iter().map(|spoilt| (to_sum(V4, 6, 100), spoilt));
    for (mut frame, (what, code, change, word2, word3)) in cut.chain(sum) {
        change(&mut frame);
        let hand = up(1);
        assert_eq!(send(&hand, &frame, word2, word3).len(), 0, "{what}");
        assert_eq!(hand.violations(), [what]);
        hand.command(cmd::GET_QUEUE_STATUS);
        assert_eq!(hand.get32(TABLE + queue_desc::ERROR), code, "{what}");
    }
    let hand = up(1);
    let mut padded = to_sum(V4, 6, 1);
    padded.resize(60, 0);
    assert_eq!(send(&hand, &padded, 50 << 18, CSUM | 34).len(), 1);
    assert_eq!(hand.violations(), [""; 0], "padding is no part of the packet");
}

#[test]
fn requests_about_tunnels_have_a_revision_and_a_grant() {
    let frame = tunnel(&to_cut(V4, 0, 3000), V4, true);
    let hlen = inside(V4, true) as u32 + 54;
    let said = |hand: Hand, frame: &[u8], word2: u32, word3: u32| {
        let _ = send(&hand, frame, word2, word3);
        hand.violations().pop().unwrap_or_default()
    };
    let mss = 1000 << 18;
    assert_eq!(said(up(3), &frame, mss, ENCAPSULATED | hlen), "om = 1 below revision 4");
    assert_eq!(said(up(7), &frame, mss, ENCAPSULATED | hlen), "om = 1 from revision 7 on");
    assert_eq!(said(up(7), &frame, EXT1, 0), "ext1 without an offload");
    assert_eq!(
        said(up(4), &to_cut(V4, 0, 3000), mss, ENCAPSULATED | 54),
        "a tunnel's offload for what is in none"
    );
    let asked = |granted: u32| {
        let hand = Hand::revised(Personality::esxi(), 7, 1);
        hand.write(1, bar1::DCR, granted);
        hand.command(cmd::ACTIVATE_DEV);
        hand
    };
    let not_granted = "a tunnel's offload that is not granted";
    assert_eq!(said(asked(capability::GENEVE_CHECKSUM), &frame, mss | EXT1, TSO | hlen), not_granted);
    assert_eq!(said(asked(capability::VXLAN_TSO), &frame, mss | EXT1, TSO | hlen), not_granted);
    assert_eq!(said(asked(capability::GENEVE_TSO), &frame, mss | EXT1 | OCO, TSO | hlen), not_granted);
    assert_eq!(said(asked(capability::GENEVE_TSO), &frame, mss | EXT1, TSO | hlen), "");
}

#[test]
fn a_descriptor_is_used_again_after_its_completion_only() {
    let hand = up(1);
    for slot in 0..ENTRIES {
        hand.post_tx(0, slot, &frame(MAC, 60), 0, 1 << 12);
    }
    hand.write(0, bar0::TXPROD, 0);
    assert_eq!(hand.violations(), [""; 0], "none asked for a completion");
    hand.put32(TX + 12, 0b11 << 12);
    hand.put32(TX + 8, 60);
    hand.write(0, bar0::TXPROD, 1);
    assert_eq!(hand.violations(), ["a descriptor used again before it was completed"]);
    hand.command(cmd::GET_QUEUE_STATUS);
    assert_eq!(hand.get32(TABLE + queue_desc::ERROR), stop::TXD_REUSE);
}

#[test]
fn all_headers_are_in_the_first_descriptor() {
    for (first, says) in [(53, &["headers beyond the first descriptor"][..]), (54, &[])] {
        let hand = up(1);
        let frame = to_cut(V4, 0, 300);
        hand.put(LONG, &frame);
        let halves =
            [(LONG, first, 1000 << 18, TSO | 54), (LONG + first as u64, frame.len() - first, 0, 0b11 << 12)];
        for (slot, (at, len, word2, word3)) in halves.into_iter().enumerate() {
            hand.put64(TX + 16 * slot as u64, hand.base + at);
            hand.put32(TX + 16 * slot as u64 + 12, word3);
            hand.put32(TX + 16 * slot as u64 + 8, 1 << 14 | word2 | len as u32);
        }
        hand.write(0, bar0::TXPROD, 2);
        assert_eq!(hand.violations(), says);
    }
}

#[test]
fn a_tag_makes_a_frame_longer_than_the_mtu() {
    let mut tagged = frame(MAC, 1518);
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    for (bytes, says) in [
        (frame(MAC, 1514), &[][..]),
        (frame(MAC, 1515), &["a frame that is longer than the MTU"]),
        (tagged, &[]),
    ] {
        let hand = up(1);
        let _ = send(&hand, &bytes, 0, 0);
        assert_eq!(hand.violations(), says);
    }
}

#[test]
fn qemus_device_looks_at_no_headers() {
    let hand = Hand::up(Personality::qemu(), 1);
    assert_eq!(send(&hand, &[0x33; 2000], 1000 << 18, TSO | 54).len(), 1);
    assert_eq!(hand.violations(), [""; 0]);
}
