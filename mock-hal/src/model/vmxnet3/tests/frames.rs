//! Frames with headers, made byte by byte.

use std::net::IpAddr;

/// Ethernet, to the device's address.
const ETHERNET: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn be(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap().to_be_bytes()
}

/// `payload` of `protocol` in an IP packet, of the version that the addresses have.
pub(super) fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (octets(source), octets(destination));
    let mut frame = ETHERNET.to_vec();
    if source.len() == 4 {
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(be(20 + payload.len()));
        frame.extend([0x12, 0x34, 0, 0, 64, protocol, 0, 0]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(be(payload.len()));
        frame.extend([protocol, 64]);
    }
    frame.extend([source, destination].concat());
    frame.extend(payload);
    frame
}

/// A payload that starts with two ports.
pub(super) fn ports(source: u16, destination: u16) -> Vec<u8> {
    let mut payload = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    payload.resize(20, 0x50);
    payload
}
