//! Datagrams in parts, through both modes.

use core::net::SocketAddr;

use etherparse::PacketBuilder;
use paravane_appliance::balance::{Protocol, Service};
use paravane_appliance::drops::Reason;
use paravane_appliance::nat::Mode;
use smoltcp::wire::Ipv4Packet;

use super::support::{Balanced, PORT, SERVER_PORT, V4, VIP_V4, settings};
use crate::world::{FAR_V4, GATEWAY_MAC, HOST_MAC, HOST_V4, OWN_MAC, PRIVATE, PUBLIC};

fn balanced(mode: Mode) -> Balanced {
    let service = Service::new("dns", Protocol::Udp, SocketAddr::new(V4.vip, PORT));
    Balanced::of(V4, Service { mode, ..service }, settings())
}

/// The parts of a datagram of 2,000 bytes, from the client to the service.
fn parts(id: u16) -> Vec<Vec<u8>> {
    let payload: Vec<u8> = (0..2000_u32).map(|byte| byte as u8).collect();
    let packet = PacketBuilder::ethernet2(GATEWAY_MAC.0, OWN_MAC[0].0)
        .ipv4(FAR_V4.octets(), VIP_V4.octets(), 64)
        .udp(5000, PORT);
    let mut whole = vec![0; packet.size(payload.len())];
    packet.write_to_slice(&mut whole, &payload).unwrap();
    let (head, body) = whole.split_at(34);
    let all = body.chunks(800).enumerate().map(|(index, part)| {
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(part);
        let more = if (index + 1) * 800 < body.len() { 0x2000 } else { 0 };
        let total = (20 + part.len()) as u16;
        bytes[16..18].copy_from_slice(&total.to_be_bytes());
        bytes[18..20].copy_from_slice(&id.to_be_bytes());
        bytes[20..22].copy_from_slice(&(more | (index * 100) as u16).to_be_bytes());
        Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
        bytes
    });
    all.collect()
}

/// What came, put together again: addresses, ports, payload.
fn together(mut parts: Vec<Vec<u8>>) -> (SocketAddr, SocketAddr, Vec<u8>) {
    parts.sort_by_key(|part| u16::from_be_bytes([part[20], part[21]]) & 0x1fff);
    let mut whole = parts[0][..34].to_vec();
    for part in &parts {
        assert!(Ipv4Packet::new_checked(&part[14..]).unwrap().verify_checksum());
        whole.extend_from_slice(&part[34..]);
    }
    let total = (whole.len() - 14) as u16;
    whole[16..18].copy_from_slice(&total.to_be_bytes());
    whole[20..22].copy_from_slice(&[0, 0]);
    Ipv4Packet::new_unchecked(&mut whole[14..]).fill_checksum();
    let packet = etherparse::SlicedPacket::from_ethernet(&whole).unwrap();
    let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Udp(udp))) =
        (packet.net, packet.transport)
    else {
        panic!("no UDP");
    };
    let header = ip.header().to_header();
    let sum = udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap();
    assert_eq!(sum, udp.checksum(), "of the whole datagram");
    let source = SocketAddr::new(ip.header().source_addr().into(), udp.source_port());
    let destination = SocketAddr::new(ip.header().destination_addr().into(), udp.destination_port());
    (source, destination, udp.payload().to_vec())
}

#[test]
fn parts_go_the_way_of_the_first_one_in_any_order() {
    for mode in [Mode::Dnat, Mode::Full] {
        for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1]] {
            let mut balanced = balanced(mode);
            let parts = parts(77);
            for at in order {
                balanced.world.take(PUBLIC, &parts[at]);
            }
            let came = balanced.world.sent(PRIVATE);
            assert_eq!(came.len(), 3, "{order:?}, dropped {:?}", balanced.world.dropped());
            let (source, destination, payload) = together(came);
            assert_eq!(destination, SocketAddr::new(HOST_V4.into(), SERVER_PORT));
            match mode {
                Mode::Dnat => assert_eq!(source, balanced.client(5000)),
                _ => assert_eq!(source.ip(), V4.own),
            }
            assert_eq!(payload.len(), 2000);
            assert!(payload.iter().zip(0_u32..).all(|(byte, number)| *byte == number as u8));
            assert_eq!(balanced.flows(), 1);
            assert!(balanced.world.all_home());
        }
    }
}

#[test]
fn parts_of_what_is_routed_are_routed() {
    let mut balanced = balanced(Mode::Dnat);
    // A server asks somebody, in parts: the later one first.
    let mut parts = parts(78);
    for part in &mut parts {
        part[..6].copy_from_slice(&OWN_MAC[1].0);
        part[6..12].copy_from_slice(&HOST_MAC.0);
        part[26..30].copy_from_slice(&HOST_V4.octets());
        part[30..34].copy_from_slice(&FAR_V4.octets());
        Ipv4Packet::new_unchecked(&mut part[14..]).fill_checksum();
    }
    for at in [1, 0, 2] {
        balanced.world.take(PRIVATE, &parts[at]);
    }
    assert_eq!(balanced.world.sent(PUBLIC).len(), 3, "{:?}", balanced.world.dropped());
    assert_eq!(balanced.flows(), 0);
    assert!(balanced.world.all_home());
}

#[test]
fn parts_that_overlap_or_lack_a_first_one_go_nowhere() {
    let mut balanced = balanced(Mode::Dnat);
    let parts = parts(79);
    balanced.world.take(PUBLIC, &parts[1]);
    balanced.world.take(PUBLIC, &parts[1]);
    assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::FragmentOverlap, 1)]);
    let mut lonely = parts[2].clone();
    lonely[18..20].copy_from_slice(&80_u16.to_be_bytes());
    Ipv4Packet::new_unchecked(&mut lonely[14..]).fill_checksum();
    balanced.world.take(PUBLIC, &lonely);
    assert!(balanced.world.sent(PRIVATE).is_empty());
    balanced.pass(5);
    assert!(balanced.world.all_home(), "what waited in vain is gone");
    // No packet is so long.
    let mut far = parts[1].clone();
    far[20..22].copy_from_slice(&0x3fff_u16.to_be_bytes());
    Ipv4Packet::new_unchecked(&mut far[14..]).fill_checksum();
    balanced.world.take(PUBLIC, &far);
    assert!(balanced.world.dropped().contains(&(PUBLIC, Reason::FragmentPlace, 1)));
}

#[test]
fn so_many_parts_wait_for_a_first_one() {
    let mut balanced = balanced(Mode::Dnat);
    let part = &parts(81)[1];
    for place in 1..=5_u16 {
        let mut bytes = part.clone();
        // With gaps between.
        bytes[20..22].copy_from_slice(&(0x2000 | (place * 200)).to_be_bytes());
        Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
        balanced.world.take(PUBLIC, &bytes);
    }
    assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::FragmentsFull, 1)]);
    balanced.pass(5);
    assert!(balanced.world.all_home());
}
