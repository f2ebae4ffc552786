//! Checksums of the internet: made, and judged.

use super::layout::rcd;
use super::packet::{Packet, TCP, UDP};
use crate::checksum::{add, complement, fold};

/// The sum of `bytes`, folded and not complemented: all ones where the checksum among them is
/// right.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    fold(add(bytes))
}

/// The sum of the pseudo-header of a payload that has `len_bytes`, folded and not complemented.
pub(super) fn pseudo(frame: &[u8], packet: &Packet, len_bytes: usize) -> u16 {
    fold(add(packet.addresses(frame)) + u64::from(packet.protocol) + len_bytes as u64)
}

/// Stores the checksum of the IP header of a version that has one.
pub(super) fn store_ip(frame: &mut [u8], packet: &Packet) {
    if !packet.is_v6 {
        frame[packet.l3 + 10..packet.l3 + 12].fill(0);
        let checksum = !sum(&frame[packet.l3..packet.l4]);
        frame[packet.l3 + 10..packet.l3 + 12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Stores the checksum of what is carried, over all of it. Zero is one like others in TCP.
pub(super) fn store_l4(frame: &mut [u8], packet: &Packet) {
    let Some(at) = l4_field(packet).filter(|at| at + 2 <= packet.end) else { return };
    frame[at..at + 2].fill(0);
    let len_bytes = packet.end - packet.l4;
    let all = u64::from(pseudo(frame, packet, len_bytes)) + add(packet.payload(frame));
    let checksum = if packet.protocol == UDP { complement(fold(all)) } else { !fold(all) };
    frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Where the checksum of what is carried is.
pub(super) fn l4_field(packet: &Packet) -> Option<usize> {
    match packet.protocol {
        TCP => Some(packet.l4 + 16),
        UDP => Some(packet.l4 + 6),
        _ => None,
    }
}

/// What a receive completion says about the checksums of `frame`, by words 0 and 3. `at` is where
/// the Ethernet header is that is asked about.
///
/// A datagram that says that it has no checksum has none that is good.
pub(super) fn verdict(frame: &[u8], at: usize) -> [u32; 2] {
    let Some(packet) = Packet::parse(frame, at) else { return [rcd::CNC, 0] };
    let mut says = if packet.is_v6 { rcd::V6 } else { rcd::V4 };
    if !packet.is_v6 && sum(&frame[packet.l3..packet.l4]) == 0xffff {
        says |= rcd::IPC;
    }
    says |= match packet.protocol {
        TCP => rcd::TCP,
        UDP => rcd::UDP,
        _ => 0,
    };
    if packet.is_fragment {
        return [0, says | rcd::FRG];
    }
    let payload = packet.payload(frame);
    let all = u64::from(pseudo(frame, &packet, payload.len())) + add(payload);
    let is_there = l4_field(&packet).and_then(|at| frame[..packet.end].get(at..at + 2));
    let says_one = |field: &[u8]| packet.protocol != UDP || field != [0; 2];
    if is_there.is_some_and(says_one) && fold(all) == 0xffff {
        says |= rcd::TUC;
    }
    [0, says]
}
