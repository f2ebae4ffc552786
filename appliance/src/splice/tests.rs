//! Splicing: rule by rule, and between two hosts that know nothing of it.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

mod bench;
mod cookies;
mod hostile;
mod hosts;
mod middle;
mod opened;
mod segment;
mod states;
mod table;
mod transfer;
mod world;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// A frame that leaves is what it says, to a reader that is not ours, with checksums that are
/// right.
fn is_right(bytes: &[u8]) {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP: {packet:?}") };
    let sum = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
            tcp.to_header().calc_checksum_ipv4(&ip.header().to_header(), tcp.payload())
        }
        NetSlice::Ipv6(ip) => tcp.to_header().calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()),
        other => panic!("no IP: {other:?}"),
    };
    assert_eq!(sum.unwrap(), tcp.checksum());
}
