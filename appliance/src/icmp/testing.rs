//! Frames for tests, made of plain bytes and summed by smoltcp.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

use paravane_mock_hal::MockPlatform;
use paravane_net::{Frame, FrameLayout, FramePool, MacAddr};
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, Ipv4Packet, Ipv6Packet};

use crate::interface::Interface;

/// The station behind which all of these senders are.
pub(super) const SENDER: MacAddr = MacAddr([2, 0, 0, 0, 0, 8]);
/// Our interfaces.
pub(super) const OWN: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
/// Our addresses on the first one.
pub(super) const OWN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const OWN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Some host behind it.
pub(super) const HOST_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
pub(super) const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);
/// Some host behind the other one.
pub(super) const FAR_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
pub(super) const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7);

pub(super) fn interfaces() -> [Interface; 2] {
    let [mut public, mut private] = OWN.map(|mac| Interface::new(mac, 1500));
    public.v4.push((OWN_V4, 24));
    public.v6.extend([(OWN_V6, 64), ("fe80::1".parse().unwrap(), 64)]);
    private.v4.push((Ipv4Addr::new(10, 0, 0, 1), 8));
    private.v6.extend([("2001:db8:7::1".parse().unwrap(), 64), ("fe80::2".parse().unwrap(), 64)]);
    [public, private]
}

pub(super) fn pool(frames: u32) -> FramePool {
    FramePool::new(MockPlatform::new(), FrameLayout::new(frames)).unwrap()
}

/// `bytes` in segments of `each`, the first one of 128 at least.
pub(super) fn frame_of(bytes: &[u8], each: usize) -> Frame {
    let (first, rest) = bytes.split_at(bytes.len().min(each.max(128)));
    let pool = pool(1 + u32::try_from(rest.len().div_ceil(each)).unwrap());
    let mut frame = pool.get().unwrap();
    assert!(frame.append(first));
    for part in rest.chunks(each) {
        let mut segment = pool.get().unwrap();
        assert!(segment.append(part));
        frame.extend(segment);
    }
    frame
}

pub(super) fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    assert_eq!(frame.copy_out(&mut bytes), Some(bytes.len()));
    bytes
}

/// Bytes of payload, none like its neighbour.
pub(super) fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn ethernet(ethertype: [u8; 2]) -> Vec<u8> {
    [&OWN[0].0[..], &SENDER.0, &ethertype].concat()
}

/// An IPv4 packet in a frame to our first interface.
pub(super) fn v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut bytes = ethernet([8, 0]);
    bytes.extend([0x45, 0x28, total[0], total[1], 0x12, 0x34, 0x40, 0, 1, protocol, 0, 0]);
    bytes.extend([source.octets(), destination.octets()].concat());
    bytes.extend(payload);
    sum_v4(&mut bytes);
    bytes
}

/// Sums the IPv4 header in `bytes` anew.
pub(super) fn sum_v4(bytes: &mut [u8]) {
    Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
}

/// An IPv6 packet in a frame to our first interface.
pub(super) fn v6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = ethernet([0x86, 0xdd]);
    bytes.extend([0x62, 0x81, 0x23, 0x45, len[0], len[1], next_header, 1]);
    bytes.extend([source.octets(), destination.octets()].concat());
    bytes.extend(payload);
    bytes
}

/// A UDP datagram without a checksum.
pub(super) fn udp(len: usize) -> Vec<u8> {
    let total = u16::try_from(8 + len).unwrap().to_be_bytes();
    let mut bytes = vec![0x30, 0x39, 0, 53, total[0], total[1], 0, 0];
    bytes.extend(payload(len));
    bytes
}

/// An ICMP message of that kind over IPv4.
pub(super) fn icmp_v4(kind: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, 0xab, 0xcd, 0, 7];
    bytes.extend(payload(len));
    Icmpv4Packet::new_unchecked(&mut bytes[..]).fill_checksum();
    bytes
}

/// The same over IPv6.
pub(super) fn icmp_v6(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, 0xab, 0xcd, 0, 7];
    bytes.extend(payload(len));
    Icmpv6Packet::new_unchecked(&mut bytes[..]).fill_checksum(&source, &destination);
    bytes
}

/// Panics unless `bytes` is a frame with one whole ICMP message, summed rightly; the message.
pub(super) fn checked(bytes: &[u8]) -> Vec<u8> {
    etherparse::SlicedPacket::from_ethernet(bytes).unwrap();
    let packet = &bytes[14..];
    match bytes[12..14] {
        [8, 0] => {
            let ip = Ipv4Packet::new_checked(packet).unwrap();
            assert!(ip.verify_checksum());
            let icmp = Icmpv4Packet::new_checked(ip.payload()).unwrap();
            assert!(icmp.verify_checksum());
            ip.payload().to_vec()
        }
        [0x86, 0xdd] => {
            let ip = Ipv6Packet::new_checked(packet).unwrap();
            let icmp = Icmpv6Packet::new_checked(ip.payload()).unwrap();
            assert!(icmp.verify_checksum(&ip.src_addr(), &ip.dst_addr()));
            ip.payload().to_vec()
        }
        _ => panic!("neither IP"),
    }
}
